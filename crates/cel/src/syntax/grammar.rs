//! The grammar of expressions as a network of states, the way upstream's generated parser walks through it. What it expects at a
//! place, and where it goes on after something wrong, depends on the form of this network, so its blocks and loops are those of
//! cel-go's `CEL.g4`.

use crate::lexer::Token;

/// All tokens in the order in which messages list them.
const ORDER: [Token; 36] = [
    Token::End,
    Token::Equal,
    Token::NotEqual,
    Token::In,
    Token::Less,
    Token::LessEqual,
    Token::GreaterEqual,
    Token::Greater,
    Token::And,
    Token::Or,
    Token::LeftBracket,
    Token::RightBracket,
    Token::LeftBrace,
    Token::RightBrace,
    Token::LeftParen,
    Token::RightParen,
    Token::Dot,
    Token::Comma,
    Token::Minus,
    Token::Not,
    Token::Question,
    Token::Colon,
    Token::Plus,
    Token::Star,
    Token::Slash,
    Token::Percent,
    Token::True,
    Token::False,
    Token::Null,
    Token::Float,
    Token::Int,
    Token::Uint,
    Token::String,
    Token::Bytes,
    Token::Ident,
    Token::EscapedIdent,
];

/// Some tokens, and whether a rule may end here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    tokens: u64,
    pub(super) end: bool,
}

impl Set {
    pub(super) const fn of(tokens: &[Token]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < tokens.len() {
            bits |= 1 << tokens[at] as u64;
            at += 1;
        }
        Self { tokens: bits, end: false }
    }

    pub(super) fn contains(self, token: Token) -> bool {
        self.tokens & 1 << token as u64 != 0
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self { tokens: self.tokens | other.tokens, end: self.end || other.end }
    }

    /// As messages show it.
    pub(super) fn display(self) -> String {
        let names: Vec<&str> =
            ORDER.iter().filter(|token| self.contains(**token)).map(|token| token.display()).collect();
        if let [only] = names[..] { only.to_owned() } else { format!("{{{}}}", names.join(", ")) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Start,
    Expr,
    Or,
    And,
    Relation,
    Calc,
    Unary,
    Member,
    Primary,
    Arguments,
    List,
    Fields,
    Field,
    Entries,
    FieldName,
    Element,
    Literal,
}

/// How one of several ways is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choose {
    /// By the next token.
    Next,
    /// Whether an operator of at least the precedence of the rule follows.
    Relation,
    Calc,
    Unary,
    /// Whether a minus is one more sign.
    Sign,
    Member,
    Selection,
    Primary,
    Literal,
    /// Whether something follows a comma.
    More,
}

enum Part {
    One(Token),
    OneOf(&'static [Token]),
    /// A rule, with the least precedence of its operators.
    Read(Rule, u8),
    Choice(Choose, &'static [&'static [Part]]),
    Optional(&'static [Part]),
    /// Any number of times.
    Many(Choose, &'static [&'static [Part]]),
    /// At least once.
    Some(Choose, Token),
}

use Part::{Choice, Many, One, OneOf, Optional, Read};

pub(super) const COMPARISONS: &[Token] =
    &[Token::Less, Token::LessEqual, Token::GreaterEqual, Token::Greater, Token::Equal, Token::NotEqual, Token::In];
pub(super) const FACTORS: &[Token] = &[Token::Star, Token::Slash, Token::Percent];
pub(super) const TERMS: &[Token] = &[Token::Plus, Token::Minus];
/// How strongly the operators of a rule bind.
pub(super) const FACTOR: u8 = 2;
pub(super) const TERM: u8 = 1;
pub(super) const COMPARISON: u8 = 1;

fn parts(rule: Rule) -> &'static [Part] {
    const LEADING_DOT: Part = Optional(&[One(Token::Dot)]);
    const TRAILING_COMMA: Part = Optional(&[One(Token::Comma)]);
    const MARK: Part = Optional(&[One(Token::Question)]);
    const SIGN: Part = Optional(&[One(Token::Minus)]);
    const ARGUMENTS: Part = Optional(&[Read(Rule::Arguments, 0)]);
    match rule {
        Rule::Start => &[Read(Rule::Expr, 0), One(Token::End)],
        Rule::Expr => &[
            Read(Rule::Or, 0),
            Optional(&[One(Token::Question), Read(Rule::Or, 0), One(Token::Colon), Read(Rule::Expr, 0)]),
        ],
        Rule::Or => &[Read(Rule::And, 0), Many(Choose::Next, &[&[One(Token::Or), Read(Rule::And, 0)]])],
        Rule::And => &[Read(Rule::Relation, 0), Many(Choose::Next, &[&[One(Token::And), Read(Rule::Relation, 0)]])],
        Rule::Relation => &[
            Read(Rule::Calc, 0),
            Many(Choose::Relation, &[&[OneOf(COMPARISONS), Read(Rule::Relation, COMPARISON + 1)]]),
        ],
        Rule::Calc => &[
            Read(Rule::Unary, 0),
            Many(
                Choose::Calc,
                &[&[OneOf(FACTORS), Read(Rule::Calc, FACTOR + 1)], &[OneOf(TERMS), Read(Rule::Calc, TERM + 1)]],
            ),
        ],
        Rule::Unary => &[Choice(
            Choose::Unary,
            &[
                &[Read(Rule::Member, 0)],
                &[Part::Some(Choose::Next, Token::Not), Read(Rule::Member, 0)],
                &[Part::Some(Choose::Sign, Token::Minus), Read(Rule::Member, 0)],
            ],
        )],
        Rule::Member => &[
            Read(Rule::Primary, 0),
            Many(
                Choose::Member,
                &[
                    &[One(Token::Dot), MARK, Read(Rule::FieldName, 0)],
                    &[One(Token::Dot), One(Token::Ident), One(Token::LeftParen), ARGUMENTS, One(Token::RightParen)],
                    &[One(Token::LeftBracket), MARK, Read(Rule::Expr, 0), One(Token::RightBracket)],
                ],
            ),
        ],
        Rule::Primary => &[Choice(
            Choose::Primary,
            &[
                &[LEADING_DOT, One(Token::Ident)],
                &[LEADING_DOT, One(Token::Ident), One(Token::LeftParen), ARGUMENTS, One(Token::RightParen)],
                &[One(Token::LeftParen), Read(Rule::Expr, 0), One(Token::RightParen)],
                &[One(Token::LeftBracket), Optional(&[Read(Rule::List, 0)]), TRAILING_COMMA, One(Token::RightBracket)],
                &[One(Token::LeftBrace), Optional(&[Read(Rule::Entries, 0)]), TRAILING_COMMA, One(Token::RightBrace)],
                &[
                    LEADING_DOT,
                    One(Token::Ident),
                    Many(Choose::Next, &[&[One(Token::Dot), One(Token::Ident)]]),
                    One(Token::LeftBrace),
                    Optional(&[Read(Rule::Fields, 0)]),
                    TRAILING_COMMA,
                    One(Token::RightBrace),
                ],
                &[Read(Rule::Literal, 0)],
            ],
        )],
        Rule::Arguments => &[Read(Rule::Expr, 0), Many(Choose::Next, &[&[One(Token::Comma), Read(Rule::Expr, 0)]])],
        Rule::List => &[Read(Rule::Element, 0), Many(Choose::More, &[&[One(Token::Comma), Read(Rule::Element, 0)]])],
        Rule::Fields => &[
            Read(Rule::Field, 0),
            One(Token::Colon),
            Read(Rule::Expr, 0),
            Many(Choose::More, &[&[One(Token::Comma), Read(Rule::Field, 0), One(Token::Colon), Read(Rule::Expr, 0)]]),
        ],
        Rule::Field => &[MARK, Read(Rule::FieldName, 0)],
        Rule::Entries => &[
            Read(Rule::Element, 0),
            One(Token::Colon),
            Read(Rule::Expr, 0),
            Many(Choose::More, &[&[One(Token::Comma), Read(Rule::Element, 0), One(Token::Colon), Read(Rule::Expr, 0)]]),
        ],
        Rule::FieldName => &[Choice(Choose::Next, &[&[One(Token::Ident)], &[One(Token::EscapedIdent)]])],
        Rule::Element => &[MARK, Read(Rule::Expr, 0)],
        Rule::Literal => &[Choice(
            Choose::Literal,
            &[
                &[SIGN, One(Token::Int)],
                &[One(Token::Uint)],
                &[SIGN, One(Token::Float)],
                &[One(Token::String)],
                &[One(Token::Bytes)],
                &[One(Token::True)],
                &[One(Token::False)],
                &[One(Token::Null)],
            ],
        )],
    }
}

pub(super) const RULES: usize = Rule::Literal as usize + 1;

/// What is looked at before a way is chosen at a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// One token too many is skipped; else the rule is given up.
    Begin,
    /// The end of one turn of a loop: what neither begins another nor may follow is skipped.
    Again,
}

pub(super) type Place = usize;

#[derive(Clone, Debug)]
pub(super) enum State {
    Match(Set, Place),
    Call(Rule, u8, Place),
    /// One of several ways; the last of an optional part and of a loop leads on.
    Ways {
        sync: Sync,
        choose: Choose,
        ways: Vec<Place>,
        optional: bool,
    },
    /// The end of a rule.
    Stop,
}

pub(super) struct Network {
    states: Vec<State>,
    starts: [Place; RULES],
    firsts: [Set; RULES],
}

impl Network {
    pub(super) fn new() -> Self {
        const ALL: [Rule; RULES] = [
            Rule::Start,
            Rule::Expr,
            Rule::Or,
            Rule::And,
            Rule::Relation,
            Rule::Calc,
            Rule::Unary,
            Rule::Member,
            Rule::Primary,
            Rule::Arguments,
            Rule::List,
            Rule::Fields,
            Rule::Field,
            Rule::Entries,
            Rule::FieldName,
            Rule::Element,
            Rule::Literal,
        ];
        let mut network = Self { states: vec![State::Stop], starts: [0; RULES], firsts: [Set::default(); RULES] };
        for rule in ALL {
            network.starts[rule as usize] = network.sequence(parts(rule), 0);
        }
        // A rule may begin with one that is further down.
        for rule in ALL.into_iter().rev() {
            network.firsts[rule as usize] = network.next(network.starts[rule as usize]);
        }
        // And brackets begin with themselves, so that one more turn is all that it takes.
        for rule in ALL.into_iter().rev() {
            network.firsts[rule as usize] = network.next(network.starts[rule as usize]);
        }
        network
    }

    fn add(&mut self, state: State) -> Place {
        self.states.push(state);
        self.states.len() - 1
    }

    /// The state in which parts begin that lead to a place.
    fn sequence(&mut self, parts: &[Part], end: Place) -> Place {
        parts.iter().rev().fold(end, |end, part| self.part(part, end))
    }

    fn part(&mut self, part: &Part, end: Place) -> Place {
        let ways = |sync, choose, ways, optional| State::Ways { sync, choose, ways, optional };
        match part {
            One(token) => self.add(State::Match(Set::of(&[*token]), end)),
            OneOf(tokens) => self.add(State::Match(Set::of(tokens), end)),
            Read(rule, precedence) => self.add(State::Call(*rule, *precedence, end)),
            Part::Choice(choose, alternatives) => {
                let begins = alternatives.iter().map(|parts| self.sequence(parts, end)).collect();
                self.add(ways(Sync::Begin, *choose, begins, false))
            }
            Part::Optional(parts) => {
                let begin = self.sequence(parts, end);
                self.add(ways(Sync::Begin, Choose::Next, vec![begin, end], true))
            }
            Part::Many(choose, alternatives) => {
                let back = self.add(State::Stop);
                let begins: Vec<Place> = alternatives.iter().map(|parts| self.sequence(parts, back)).collect();
                let body = match begins[..] {
                    [only] => only,
                    _ => {
                        let inner = if *choose == Choose::Member { Choose::Selection } else { Choose::Next };
                        self.add(ways(Sync::Begin, inner, begins, false))
                    }
                };
                self.states[back] = ways(Sync::Again, *choose, vec![body, end], true);
                self.add(ways(Sync::Begin, *choose, vec![body, end], true))
            }
            Part::Some(choose, token) => {
                let back = self.add(State::Stop);
                let body = self.add(State::Match(Set::of(&[*token]), back));
                self.states[back] = ways(Sync::Again, *choose, vec![body, end], true);
                self.add(ways(Sync::Begin, Choose::Next, vec![body], false))
            }
        }
    }

    pub(super) fn state(&self, place: Place) -> &State {
        &self.states[place]
    }

    pub(super) fn start(&self, rule: Rule) -> Place {
        self.starts[rule as usize]
    }

    pub(super) fn first(&self, rule: Rule) -> Set {
        self.firsts[rule as usize]
    }

    /// What may come next at a place; `end` when that may be what follows the rule. No rule is empty.
    pub(super) fn next(&self, place: Place) -> Set {
        match &self.states[place] {
            State::Match(set, _) => *set,
            State::Call(rule, ..) => self.first(*rule),
            State::Stop => Set { tokens: 0, end: true },
            State::Ways { ways, .. } => ways.iter().fold(Set::default(), |set, way| set.with(self.next(*way))),
        }
    }
}
