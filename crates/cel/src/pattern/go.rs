//! What Go says is wrong with a regular expression (regexp/syntax, with the flags that everybody uses).

/// Most repetitions, also of repetitions of repetitions.
const MAX_REPEAT: i64 = 1000;

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// What is wrong, and with which part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem<'s> {
    what: &'static str,
    part: &'s str,
}

impl std::fmt::Display for Problem<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error parsing regexp: {}: `{}`", self.what, self.part)
    }
}

type Result<'s, T> = std::result::Result<T, Problem<'s>>;

fn wrong<'s, T>(what: &'static str, part: &'s str) -> Result<'s, T> {
    Err(Problem { what, part })
}

/// What of `from` stands before `rest`.
fn before<'s>(from: &'s str, rest: &str) -> &'s str {
    &from[..from.len() - rest.len()]
}

pub(super) fn next(text: &str) -> (Option<char>, &str) {
    let mut chars = text.chars();
    (chars.next(), chars.as_str())
}

/// What stands in one pair of parentheses, as far as repetitions need it.
#[derive(Default)]
struct Group {
    /// How often the last part is repeated at most; `None` when there is none to repeat.
    last: Option<i64>,
    /// The most of those before it.
    most: i64,
}

impl Group {
    fn push(&mut self, repeated: i64) {
        self.most = self.most.max(self.last.unwrap_or(1));
        self.last = Some(repeated);
    }

    fn repeated(&self) -> i64 {
        self.most.max(self.last.unwrap_or(1))
    }
}

/// # Errors
/// What is wrong first.
pub(super) fn check(source: &str) -> Result<'_, ()> {
    let mut inner = Group::default();
    let mut outer: Vec<Group> = Vec::new();
    let mut rest = source;
    // Where the repetition stands that has just ended.
    let mut repetition: Option<&str> = None;
    while let (Some(c), after) = next(rest) {
        let (from, last) = (rest, repetition.take());
        let (part, behind) = match c {
            '(' if after.starts_with('?') => {
                let (opens, behind) = flags(from)?;
                if opens {
                    outer.push(std::mem::take(&mut inner));
                }
                (None, behind)
            }
            '(' => {
                outer.push(std::mem::take(&mut inner));
                (None, after)
            }
            '|' => {
                inner = Group { last: None, most: inner.repeated() };
                (None, after)
            }
            ')' => {
                let Some(above) = outer.pop() else { return wrong("unexpected )", source) };
                let repeated = std::mem::replace(&mut inner, above).repeated();
                (Some(repeated), after)
            }
            '[' => (Some(1), class(from)?),
            '*' | '+' | '?' => {
                repetition = Some(from);
                (None, repeat(from, after, last, None, &mut inner)?)
            }
            '{' => match counts(after) {
                None => (Some(1), after),
                Some((low, high, behind)) => {
                    if !(0..=MAX_REPEAT).contains(&low) || high > MAX_REPEAT || (high >= 0 && low > high) {
                        return wrong("invalid repeat count", before(from, behind));
                    }
                    repetition = Some(from);
                    (None, repeat(from, behind, last, Some((low, high)), &mut inner)?)
                }
            },
            '\\' => match after.strip_prefix('Q') {
                Some(quoted) => {
                    let (quoted, behind) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                    ((!quoted.is_empty()).then_some(1), behind)
                }
                None => (Some(1), escape(from)?),
            },
            _ => (Some(1), after),
        };
        if let Some(repeated) = part {
            inner.push(repeated);
        }
        rest = behind;
    }
    if outer.is_empty() { Ok(()) } else { wrong("missing closing )", source) }
}

/// Whether `(?…` opens a group, and what follows.
fn flags(text: &str) -> Result<'_, (bool, &str)> {
    let name = text.strip_prefix("(?P<").or_else(|| text.strip_prefix("(?<")).filter(|name| !name.is_empty());
    if let Some(name) = name {
        let Some((name, behind)) = name.split_once('>') else { return wrong("invalid named capture", text) };
        let valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return if valid { Ok((true, behind)) } else { wrong("invalid named capture", before(text, behind)) };
    }
    let mut rest = &text[2..];
    let (mut negative, mut some) = (false, false);
    while let (Some(c), behind) = next(rest) {
        rest = behind;
        match c {
            'i' | 'm' | 's' | 'U' => some = true,
            '-' if !negative => (negative, some) = (true, false),
            ':' | ')' if !negative || some => return Ok((c == ':', behind)),
            _ => break,
        }
    }
    wrong("invalid or unsupported Perl syntax", before(text, rest))
}

/// `n}`, `n,}` or `n,m}`, with what follows. A number that is much too large is -1, and so is the end of an open range.
pub(super) fn counts(text: &str) -> Option<(i64, i64, &str)> {
    let number = |text| {
        let digits = str::len(text) - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = text.split_at(digits);
        let plain = !number.is_empty() && (number.len() == 1 || !number.starts_with('0'));
        plain.then(|| (if number.len() > 9 { -1 } else { number.parse().unwrap_or(-1) }, rest))
    };
    let (low, rest) = number(text)?;
    let (low, high, rest) = match rest.strip_prefix(',') {
        None => (low, low, rest),
        Some(rest) if rest.starts_with('}') => (low, -1, rest),
        Some(rest) => {
            let (high, rest) = number(rest)?;
            (if high < 0 { -1 } else { low }, high, rest)
        }
    };
    Some((low, high, rest.strip_prefix('}')?))
}

/// Repeats the last part. `last` is the repetition right before this one.
fn repeat<'s>(
    from: &'s str,
    after: &'s str,
    last: Option<&'s str>,
    counts: Option<(i64, i64)>,
    inner: &mut Group,
) -> Result<'s, &'s str> {
    let after = after.strip_prefix('?').unwrap_or(after);
    if let Some(last) = last {
        return wrong("invalid nested repetition operator", before(last, after));
    }
    let Some(repeated) = inner.last else {
        return wrong("missing argument to repetition operator", before(from, after));
    };
    if let Some((low, high)) = counts {
        let most = match high {
            0 => 1,
            _ => repeated.saturating_mul(if high < 0 { low.max(1) } else { high }),
        };
        if (low >= 2 || high >= 2) && most > MAX_REPEAT {
            return wrong("invalid repeat count", before(from, after));
        }
        inner.last = Some(most);
    }
    Ok(after)
}

/// What follows the class in brackets with which a text begins.
fn class(text: &str) -> Result<'_, &str> {
    let mut rest = text[1..].strip_prefix('^').unwrap_or(&text[1..]);
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if let Some((name, behind)) = rest.strip_prefix("[:").and_then(|inside| inside.split_once(":]")) {
            if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
                return wrong("invalid character class range", before(rest, behind));
            }
            rest = behind;
            continue;
        }
        if let Some(behind) = property(rest)?.or_else(|| perl_class(rest)) {
            rest = behind;
            continue;
        }
        let from = rest;
        let (low, behind) = class_character(rest, text)?;
        rest = behind;
        if let Some(high) = rest.strip_prefix('-').filter(|high| !high.is_empty() && !high.starts_with(']')) {
            let (high, behind) = class_character(high, text)?;
            if high < low {
                return wrong("invalid character class range", before(from, behind));
            }
            rest = behind;
        }
    }
    Ok(&rest[1..])
}

pub(super) fn class_character<'s>(text: &'s str, class: &'s str) -> Result<'s, (u32, &'s str)> {
    match next(text) {
        (None, _) => wrong("missing closing ]", class),
        (Some('\\'), _) => character(text),
        (Some(c), rest) => Ok((u32::from(c), rest)),
    }
}

pub(super) fn perl_class(text: &str) -> Option<&str> {
    text.strip_prefix('\\')?.strip_prefix(['d', 's', 'w', 'D', 'S', 'W'])
}

/// What follows `\pN` or `\p{Greek}`, when a text begins so.
fn property(text: &str) -> Result<'_, Option<&str>> {
    let Some(name) = text.strip_prefix("\\p").or_else(|| text.strip_prefix("\\P")) else { return Ok(None) };
    let (name, behind) = match name.strip_prefix('{') {
        Some(inside) => match inside.split_once('}') {
            Some(both) => both,
            None => return wrong("invalid character class range", text),
        },
        None => {
            let behind = next(name).1;
            (before(name, behind), behind)
        }
    };
    match is_property(name.strip_prefix('^').unwrap_or(name)) {
        true => Ok(Some(behind)),
        false => wrong("invalid character class range", before(text, behind)),
    }
}

fn is_property(name: &str) -> bool {
    let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    is_word && regex::Regex::new(&format!("\\p{{{name}}}")).is_ok()
}

/// What follows the escape with which a text outside of classes begins.
fn escape(text: &str) -> Result<'_, &str> {
    if let Some(behind) = text[1..].strip_prefix(['A', 'b', 'B', 'z']) {
        return Ok(behind);
    }
    match property(text)?.or_else(|| perl_class(text)) {
        Some(behind) => Ok(behind),
        None => Ok(character(text)?.1),
    }
}

/// The character that an escape stands for, and what follows.
pub(super) fn character(text: &str) -> Result<'_, (u32, &str)> {
    let (Some(c), mut rest) = next(&text[1..]) else {
        return wrong("trailing backslash at end of expression", "");
    };
    let octal = |text: &str| text.starts_with(|c: char| c.is_digit(8));
    let found = match c {
        '0'..='7' if c == '0' || octal(rest) => {
            let mut value = c.to_digit(8).unwrap_or(0);
            for _ in 0..2 {
                let (Some(digit), behind) = next(rest) else { break };
                let Some(digit) = digit.to_digit(8) else { break };
                (value, rest) = (value * 8 + digit, behind);
            }
            Some(value)
        }
        'x' => hexadecimal(&mut rest),
        'a' => Some(7),
        'f' => Some(12),
        'n' => Some(10),
        'r' => Some(13),
        't' => Some(9),
        'v' => Some(11),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
        _ => None,
    };
    match found {
        Some(value) => Ok((value, rest)),
        None => wrong("invalid escape sequence", before(text, rest)),
    }
}

/// Two digits, or any number in braces. `rest` is behind what was looked at.
fn hexadecimal(rest: &mut &str) -> Option<u32> {
    let mut take = || {
        let (c, behind) = next(rest);
        *rest = behind;
        c
    };
    let first = take()?;
    if first != '{' {
        let second = take();
        return Some(first.to_digit(16)? * 16 + second?.to_digit(16)?);
    }
    let (mut value, mut digits) = (0, 0);
    loop {
        let c = take()?;
        if c == '}' {
            return (digits > 0).then_some(value);
        }
        value = value * 16 + c.to_digit(16)?;
        digits += 1;
        if value > u32::from(char::MAX) {
            return None;
        }
    }
}
