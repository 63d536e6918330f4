//! The text form of label selectors, read as upstream reads it, mistakes included: a lexer, and a parser that names what it found
//! and what it expected (apimachinery `labels/selector.go`).

use std::collections::BTreeSet;

use crate::names::{label_value, qualified};
use crate::selector::{ParseSelectorError, Requirement};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Close,
    Comma,
    DoubleEquals,
    End,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    Not,
    NotEquals,
    NotIn,
    Open,
}

const SYMBOLS: [(&str, Token); 9] = [
    ("!", Token::Not),
    ("!=", Token::NotEquals),
    ("(", Token::Open),
    (")", Token::Close),
    (",", Token::Comma),
    ("<", Token::Less),
    ("=", Token::Equals),
    ("==", Token::DoubleEquals),
    (">", Token::Greater),
];

/// The requirements of a selector, in the order of their keys.
///
/// # Errors
/// In upstream's words.
pub(crate) fn parse(text: &str) -> Result<Vec<Requirement>, ParseSelectorError> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut requirements = parser.selector().map_err(|problem| ParseSelectorError { problem })?;
    requirements.sort_by(|a, b| a.key().cmp(b.key()));
    Ok(requirements)
}

fn is_symbol(character: char) -> bool {
    matches!(character, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn tokens(text: &str) -> Vec<(Token, String)> {
    let mut tokens = Vec::new();
    // A byte of zero ends the text, as it does upstream.
    let mut rest = text.split('\0').next().unwrap_or_default();
    loop {
        rest = rest.trim_start_matches(is_blank);
        if rest.is_empty() {
            tokens.push((Token::End, String::new()));
            return tokens;
        }
        let word = rest.find(|c| is_symbol(c) || is_blank(c)).unwrap_or(rest.len());
        let (token, length) = match &rest[..word] {
            "" => symbol(rest),
            "in" => (Token::In, word),
            "notin" => (Token::NotIn, word),
            _ => (Token::Identifier, word),
        };
        tokens.push((token, rest[..length].to_owned()));
        rest = &rest[length..];
    }
}

/// The longest symbol that the text begins with; each of their characters is one by itself.
fn symbol(text: &str) -> (Token, usize) {
    let longest = SYMBOLS.iter().filter(|(symbol, _)| text.starts_with(symbol)).max_by_key(|(symbol, _)| symbol.len());
    longest.map_or((Token::End, text.len()), |(symbol, token)| (*token, symbol.len()))
}

struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

impl Parser {
    /// The next token; the words `in` and `notin` are names everywhere but between a key and its values.
    fn peek(&self) -> (Token, &str) {
        let (token, literal) = self.raw(self.at);
        match token {
            Token::In | Token::NotIn => (Token::Identifier, literal),
            _ => (token, literal),
        }
    }

    fn raw(&self, at: usize) -> (Token, &str) {
        // The end is there however often it is asked for.
        self.tokens.get(at).map_or((Token::End, ""), |(token, literal)| (*token, literal.as_str()))
    }

    fn next(&mut self) -> (Token, String) {
        let (token, literal) = self.peek();
        let next = (token, literal.to_owned());
        self.at += 1;
        next
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                (Token::Identifier | Token::Not, _) => {
                    let requirement = self.requirement();
                    requirements
                        .push(requirement.map_err(|problem| format!("unable to parse requirement: {problem}"))?);
                    match self.next() {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => {
                            let (token, found) = self.peek();
                            if !matches!(token, Token::Identifier | Token::Not) {
                                return Err(format!("found '{found}', expected: identifier after ','"));
                            }
                        }
                        (_, found) => return Err(format!("found '{found}', expected: ',' or 'end of string'")),
                    }
                }
                (Token::End, _) => return Ok(requirements),
                (_, found) => return Err(format!("found '{found}', expected: !, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let problems = qualified(&key);
        if !problems.is_empty() {
            return Err(format!("<nil>: Invalid value: {key:?}: {}", problems.join("; ")));
        }
        // After a `!` an operator is not looked for where the requirement ends.
        let ends = matches!(self.peek().0, Token::End | Token::Comma);
        match (negated, ends) {
            (true, _) => return Ok(Requirement::DoesNotExist(key)),
            (false, true) => return Ok(Requirement::Exists(key)),
            (false, false) => {}
        }
        let (operator, found) = self.raw(self.at);
        let found = found.to_owned();
        self.at += 1;
        let values = match operator {
            Token::In | Token::NotIn => self.values()?,
            Token::Equals | Token::DoubleEquals | Token::NotEquals | Token::Greater | Token::Less => self.value()?,
            _ => return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        required(key, operator, values)
    }

    fn value(&mut self) -> Result<BTreeSet<String>, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([String::new()]));
        }
        match self.next() {
            (Token::Identifier, value) => Ok(BTreeSet::from([value])),
            (_, found) => Err(format!("found '{found}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let (token, found) = self.next();
        if token != Token::Open {
            return Err(format!("found '{found}' expected: '('"));
        }
        let (token, first) = self.peek();
        let first = first.to_owned();
        match token {
            Token::Identifier | Token::Comma => {
                let values = self.list()?;
                match self.next() {
                    (Token::Close, _) => Ok(values),
                    // Upstream names what the list began with.
                    _ => Err(format!("found '{first}', expected: ')'")),
                }
            }
            Token::Close => {
                self.at += 1;
                Ok(BTreeSet::from([String::new()]))
            }
            _ => Err(format!("found '{first}', expected: ',', ')' or identifier")),
        }
    }

    fn list(&mut self) -> Result<BTreeSet<String>, String> {
        let mut values = BTreeSet::new();
        loop {
            match self.next() {
                (Token::Identifier, value) => {
                    values.insert(value);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, found) => return Err(format!("found '{found}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.at += 1;
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, found) => return Err(format!("found '{found}', expected: ',', or identifier")),
            }
        }
    }
}

fn required(key: String, operator: Token, values: BTreeSet<String>) -> Result<Requirement, String> {
    let mut problems = Vec::new();
    let bound = values.first().and_then(|value| value.parse::<i64>().ok());
    if matches!(operator, Token::Greater | Token::Less) && bound.is_none() {
        let value = values.first().map(String::as_str).unwrap_or_default();
        problems.push(format!(
            "values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
        ));
    }
    for (index, value) in values.iter().enumerate() {
        let wrong = label_value(value);
        if !wrong.is_empty() {
            problems.push(format!("values[{index}][{key}]: Invalid value: {value:?}: {}", wrong.join("; ")));
        }
    }
    match &problems[..] {
        [] => {}
        [one] => return Err(one.clone()),
        many => return Err(format!("[{}]", many.join(", "))),
    }
    Ok(match operator {
        Token::NotIn | Token::NotEquals => Requirement::NotIn(key, values),
        Token::Greater => Requirement::GreaterThan(key, bound.unwrap_or_default()),
        Token::Less => Requirement::LessThan(key, bound.unwrap_or_default()),
        _ => Requirement::In(key, values),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_in_upstreams_words() {
        const NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
        let requirement = |problem: &str| format!("unable to parse requirement: {problem}");
        let cases = [
            ("!", requirement("found '', expected: identifier")),
            ("a in b", requirement("found 'b' expected: '('")),
            ("a in (b", requirement("found '', expected: ',' or ')'")),
            ("a in (", requirement("found '', expected: ',', ')' or identifier")),
            (
                "a>x",
                requirement("values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"),
            ),
            ("a b", requirement("found 'b', expected: in, notin, =, ==, !=, gt, lt")),
            ("a=(", requirement("found '(', expected: identifier")),
            ("a=b=c", "found '=', expected: ',' or 'end of string'".to_owned()),
            (",", "found ',', expected: !, identifier, or 'end of string'".to_owned()),
            ("(", "found '(', expected: !, identifier, or 'end of string'".to_owned()),
            ("a,", "found '', expected: identifier after ','".to_owned()),
            ("-a", requirement(&format!("<nil>: Invalid value: \"-a\": {NAME}"))),
            ("a=-b", requirement(&format!("values[0][a]: Invalid value: \"-b\": {VALUE}"))),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err().problem, expected, "{text}");
        }
    }

    #[test]
    fn unusual_texts_are_read_as_upstream_reads_them() {
        let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<String>>();
        let cases = [
            ("", vec![]),
            ("  ", vec![]),
            ("b,a", vec![Requirement::Exists("a".into()), Requirement::Exists("b".into())]),
            ("in in (in,,notin)", vec![Requirement::In("in".into(), set(&["", "in", "notin"]))]),
            ("a in ()", vec![Requirement::In("a".into(), set(&[""]))]),
            ("a notin (,)", vec![Requirement::NotIn("a".into(), set(&[""]))]),
            ("a=,!b", vec![Requirement::In("a".into(), set(&[""])), Requirement::DoesNotExist("b".into())]),
            ("a == b", vec![Requirement::In("a".into(), set(&["b"]))]),
            ("a>1,a<5", vec![Requirement::GreaterThan("a".into(), 1), Requirement::LessThan("a".into(), 5)]),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }
}
