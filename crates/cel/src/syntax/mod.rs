//! What is wrong with a text that does not parse. Upstream's generated parser goes on after an error and reports more, so a text
//! that the parser has given up is walked through once more here, as that parser does it (ANTLR's recovery: skip a token, make one
//! up, or leave the rule and skip what cannot follow). Only texts that are refused come here.

mod choose;
mod grammar;

use crate::decl::RESERVED;
use crate::lexer::{Span, Token};
use crate::parser::ESCAPED;
use crate::source::{Issue, Lines, MAX_ISSUES};
use grammar::{Choose, Network, Place, RULES, Rule, Set, State, Sync};

/// Most recoveries in one text, and most tokens that one of them skips (cel-go's defaults).
const MAX_RECOVERIES: usize = 30;
const MAX_SKIPPED: usize = 256;

/// Deepest nesting of one rule in itself (cel-go's default).
const MAX_RECURSION: usize = 250;

/// All errors of syntax, in the order of the text.
pub(crate) fn errors(chars: &[char], lines: &Lines, tokens: &[Span]) -> Vec<Issue> {
    let network = Network::new();
    let start = network.start(Rule::Start);
    let mut walk = Walk {
        network: &network,
        text: Text { chars, lines, tokens },
        at: 0,
        place: start,
        frames: vec![Frame { rule: Rule::Start, precedence: 0, back: None }],
        depths: [0; RULES],
        recovering: false,
        last: None,
        recoveries: 0,
        found: Vec::new(),
    };
    // Only limits end a walk early, and they have told why.
    let _ = walk.run();
    walk.found
}

struct Text<'a> {
    chars: &'a [char],
    lines: &'a Lines,
    tokens: &'a [Span],
}

/// A rule that is being read.
struct Frame {
    rule: Rule,
    /// Operators that bind less are not its own.
    precedence: u8,
    /// Where the rule that has called it goes on.
    back: Option<Place>,
}

/// Why a rule is left.
enum Fault {
    Mismatch,
    /// Nothing that the rule may be begins with the tokens from one to another.
    NoWay(usize, usize),
    /// A limit is reached.
    Halt,
}

struct Walk<'a> {
    network: &'a Network,
    text: Text<'a>,
    at: usize,
    /// Where the walk was last when it looked at a token.
    place: Place,
    frames: Vec<Frame>,
    depths: [usize; RULES],
    /// Something is told, and no token has fitted since.
    recovering: bool,
    /// The token at which a rule was left last, and from which places.
    last: Option<(usize, Vec<Place>)>,
    recoveries: usize,
    found: Vec<Issue>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        let mut next = self.place;
        while !self.frames.is_empty() {
            next = match self.step(next) {
                Ok(place) => place,
                Err(Fault::Halt) => return Err(Fault::Halt),
                Err(fault) => {
                    self.report(&fault)?;
                    self.note_field();
                    self.recover()?;
                    self.leave()
                }
            };
        }
        Ok(())
    }

    /// What is done at a place; the place that comes after it.
    fn step(&mut self, place: Place) -> Result<Place, Fault> {
        let network = self.network;
        match network.state(place) {
            State::Stop => Ok(self.leave()),
            State::Call(rule, precedence, back) => {
                self.place = place;
                let depth = &mut self.depths[*rule as usize];
                *depth += 1;
                if *depth > MAX_RECURSION {
                    return self.halt(format!("expression recursion limit exceeded: {MAX_RECURSION}"));
                }
                self.frames.push(Frame { rule: *rule, precedence: *precedence, back: Some(*back) });
                Ok(network.start(*rule))
            }
            State::Match(set, next) => {
                self.place = place;
                if set.contains(self.token(0)) {
                    self.fits();
                    self.consume();
                } else {
                    self.recover_inline(*next)?;
                }
                Ok(*next)
            }
            State::Ways { sync, choose, ways, optional } => {
                self.place = place;
                self.sync(*sync)?;
                let way = self.choose(*choose, ways, *optional)?;
                self.note_name(*choose, way);
                Ok(ways[way])
            }
        }
    }

    /// Tells, as upstream does when it makes a tree of what it has read, of names that nothing may have.
    fn note_name(&mut self, choose: Choose, way: usize) {
        let field = self.frames.last().is_some_and(|frame| frame.rule == Rule::FieldName);
        match choose {
            // The name of a variable or of a function.
            Choose::Primary if way < 2 => {
                let name = self.at + usize::from(self.token(0) == Token::Dot);
                let word = self.between(name, name);
                if RESERVED.binary_search(&word.as_str()).is_ok() {
                    self.note(format!("reserved identifier: {word}"));
                }
            }
            Choose::Next if field && way == 1 && self.is_selection() => self.note(ESCAPED.to_owned()),
            _ => {}
        }
    }

    /// Tells of a selection whose field is no name.
    fn note_field(&mut self) {
        if self.frames.last().is_some_and(|frame| frame.rule == Rule::FieldName) && self.is_selection() {
            self.note("unsupported ident kind".to_owned());
        }
    }

    fn is_selection(&self) -> bool {
        self.frames.iter().rev().nth(1).is_some_and(|frame| frame.rule == Rule::Member)
    }

    fn note(&mut self, message: String) {
        if self.found.len() < MAX_ISSUES {
            let issue = self.text.lines.issue(self.span(self.at).start, message);
            self.found.push(issue);
        }
    }

    /// Leaves the innermost rule.
    fn leave(&mut self) -> Place {
        let Some(frame) = self.frames.pop() else { return self.place };
        let depth = &mut self.depths[frame.rule as usize];
        *depth = depth.saturating_sub(1);
        frame.back.unwrap_or(self.place)
    }

    fn token(&self, ahead: usize) -> Token {
        let tokens = self.text.tokens;
        tokens[(self.at + ahead).min(tokens.len() - 1)].token
    }

    fn consume(&mut self) {
        if self.at + 1 < self.text.tokens.len() {
            self.at += 1;
        }
    }

    fn precedence(&self) -> u8 {
        self.frames.last().map_or(0, |frame| frame.precedence)
    }

    /// What may come next at a place, seen from all rules that are being read.
    fn expected(&self, place: Place) -> Set {
        let mut expected = self.network.next(place);
        for frame in self.frames.iter().rev() {
            if !expected.end {
                return expected;
            }
            expected.end = false;
            match frame.back {
                Some(back) => expected = expected.with(self.network.next(back)),
                None => return expected.with(Set::of(&[Token::End])),
            }
        }
        expected
    }

    /// What may follow any of the rules that are being read.
    fn follows(&self) -> Set {
        let backs = self.frames.iter().filter_map(|frame| frame.back);
        backs.fold(Set::default(), |set, back| set.with(self.network.next(back)))
    }

    /// A token was what it had to be.
    fn fits(&mut self) {
        self.recovering = false;
        self.last = None;
    }

    fn sync(&mut self, sync: Sync) -> Result<(), Fault> {
        if self.recovering {
            return Ok(());
        }
        let next = self.network.next(self.place);
        if next.end || next.contains(self.token(0)) {
            return Ok(());
        }
        match sync {
            Sync::Begin if self.skip_one()? => Ok(()),
            Sync::Begin => Err(Fault::Mismatch),
            Sync::Again => {
                self.report_extraneous()?;
                let wanted = self.expected(self.place).with(self.follows());
                while self.token(0) != Token::End && !wanted.contains(self.token(0)) {
                    self.consume();
                }
                Ok(())
            }
        }
    }

    /// Skips a token when the one behind it is what is expected.
    fn skip_one(&mut self) -> Result<bool, Fault> {
        if !self.expected(self.place).contains(self.token(1)) {
            return Ok(false);
        }
        self.report_extraneous()?;
        self.consume();
        self.fits();
        Ok(true)
    }

    /// Goes on at a token that does not fit as if one had been skipped or one more had been there.
    fn recover_inline(&mut self, next: Place) -> Result<(), Fault> {
        self.count_recovery()?;
        if self.skip_one()? {
            self.consume();
            return Ok(());
        }
        if self.expected(next).contains(self.token(0)) {
            if !self.recovering {
                let missing = self.expected(self.place).display();
                self.tell(self.at, format!("missing {missing} at {}", self.shown(self.at)))?;
            }
            return Ok(());
        }
        Err(Fault::Mismatch)
    }

    /// Skips what cannot follow the rules that are being read.
    fn recover(&mut self) -> Result<(), Fault> {
        self.count_recovery()?;
        let mut skipped = 0;
        let been = self.last.as_ref().is_some_and(|(at, places)| *at == self.at && places.contains(&self.place));
        if been {
            // Nothing was skipped the last time: without this, nothing ever would be.
            self.consume();
            skipped += 1;
        }
        let mut places = self.last.take().map(|(_, places)| places).unwrap_or_default();
        if !places.contains(&self.place) {
            places.push(self.place);
        }
        self.last = Some((self.at, places));
        let wanted = self.follows();
        while self.token(0) != Token::End && !wanted.contains(self.token(0)) {
            if skipped >= MAX_SKIPPED {
                return self.halt(format!("error recovery token lookahead limit exceeded: {MAX_SKIPPED}"));
            }
            self.consume();
            skipped += 1;
        }
        Ok(())
    }

    fn count_recovery(&mut self) -> Result<(), Fault> {
        if self.recoveries == MAX_RECOVERIES {
            self.tell(self.at, format!("error recovery attempt limit exceeded: {MAX_RECOVERIES}"))?;
            return Err(Fault::Halt);
        }
        self.recoveries += 1;
        Ok(())
    }

    fn report(&mut self, fault: &Fault) -> Result<(), Fault> {
        if self.recovering {
            return Ok(());
        }
        match fault {
            Fault::Halt => Ok(()),
            Fault::Mismatch => {
                let expected = self.expected(self.place).display();
                self.tell(self.at, format!("mismatched input {} expecting {expected}", self.shown(self.at)))
            }
            Fault::NoWay(from, to) => {
                let input = self.between(*from, *to);
                let mut rest = input.chars();
                let word = rest.next().map_or("", |_| rest.as_str());
                let message = match word {
                    "true" | "false" | "null" => format!("mismatched input '{word}' expecting IDENTIFIER"),
                    _ => format!("no viable alternative at input {}", quoted(&input)),
                };
                self.tell(*to, message)
            }
        }
    }

    fn report_extraneous(&mut self) -> Result<(), Fault> {
        if self.recovering {
            return Ok(());
        }
        let expected = self.expected(self.place).display();
        self.tell(self.at, format!("extraneous input {} expecting {expected}", self.shown(self.at)))
    }

    fn span(&self, at: usize) -> Span {
        let tokens = self.text.tokens;
        tokens[at.min(tokens.len() - 1)]
    }

    fn shown(&self, at: usize) -> String {
        let span = self.span(at);
        match span.token {
            Token::End => "'<EOF>'".to_owned(),
            _ => quoted(&self.between(at, at)),
        }
    }

    /// The text from one token to another.
    fn between(&self, from: usize, to: usize) -> String {
        let (first, last) = (self.span(from), self.span(to));
        match first.token {
            Token::End => "<EOF>".to_owned(),
            _ => self.text.chars[first.start as usize..last.end as usize].iter().collect(),
        }
    }

    /// Tells of an error at a token, and is silent then until a token fits.
    fn tell(&mut self, at: usize, message: String) -> Result<(), Fault> {
        self.recovering = true;
        let (message, full) = match self.found.len() < MAX_ISSUES {
            true => (message, false),
            false => (format!("More than {MAX_ISSUES} syntax errors"), true),
        };
        let mut issue = self.text.lines.issue(self.span(at).start, format!("Syntax error: {message}"));
        if self.text.chars.is_empty() {
            issue.column = -1;
        }
        self.found.push(issue);
        if full { Err(Fault::Halt) } else { Ok(()) }
    }

    fn halt<T>(&mut self, message: String) -> Result<T, Fault> {
        self.found.push(Issue { line: -1, column: -1, message });
        Err(Fault::Halt)
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer;

    fn errors_of(text: &str) -> Vec<Issue> {
        let chars: Vec<char> = text.chars().collect();
        let lines = Lines::new(&chars);
        let mut issues = Vec::new();
        let tokens = lexer::tokens(&chars, &lines, &mut issues);
        issues.extend(errors(&chars, &lines, &tokens));
        issues
    }

    /// The walk and the parser take the same texts.
    #[test]
    fn what_parses_has_no_errors() {
        let texts = [
            "1",
            "-1 - -2.5 - -x - - 3",
            "!!a && !b || c",
            "a ? b : c ? d : e",
            "a < b == c in d",
            "a + b * c - d / e % f",
            "a.b.c[0].d(e, f).?g[?h]",
            ".a.b + .c(1) + .d.e{f: 1, ?g: h,}",
            "[] == [,] && [1, ?a, 2,] != {} && {,} == {1: 2, ?b: c,}",
            "has(a.b) && f()",
            "((a))",
            "-5.a + (-5).b",
            "'a' + b'c' + true + null + 1u",
        ];
        for text in texts {
            assert_eq!(errors_of(text), [], "{text}");
        }
    }

    #[test]
    fn a_walk_ends_at_its_limits() {
        let cases = [
            (format!("({}", "x ".repeat(1000)), "error recovery token lookahead limit exceeded: 256"),
            ("1 ".repeat(1000), "error recovery token lookahead limit exceeded: 256"),
            ("(".repeat(1000), "expression recursion limit exceeded: 250"),
        ];
        for (text, limit) in cases {
            assert!(errors_of(&text).iter().any(|issue| issue.message == limit), "{}", &text[..10]);
        }
    }
}
