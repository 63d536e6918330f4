//! A regular expression that Go takes as the one of Rust that means the same: classes are of ASCII, names of groups are of no use
//! and may repeat, flags may repeat, and what has a meaning only in Rust is escaped.

use super::go::{character, class_character, counts, next, perl_class};

const DIGITS: &str = "0-9";
const WORDS: &str = "0-9A-Za-z_";
const SPACES: &str = r"\t\n\f\r ";

/// Of an expression that is known to be one.
pub(super) fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut rest = source;
    while let (Some(c), after) = next(rest) {
        rest = match c {
            '(' if after.starts_with('?') => group(&after[1..], &mut out),
            '[' => class(after, &mut out),
            '\\' => escape(rest, after, &mut out),
            '{' => match counts(after) {
                Some((.., behind)) => {
                    out.push_str(&rest[..rest.len() - behind.len()]);
                    behind
                }
                None => {
                    out.push_str("\\{");
                    after
                }
            },
            ']' | '}' => {
                out.push('\\');
                out.push(c);
                after
            }
            c => {
                out.push(c);
                after
            }
        };
    }
    out
}

/// What stands behind `(?`.
fn group<'s>(text: &'s str, out: &mut String) -> &'s str {
    if let Some(name) = text.strip_prefix("P<").or_else(|| text.strip_prefix('<')) {
        out.push('(');
        return name.split_once('>').map_or("", |(_, behind)| behind);
    }
    let end = text.find([':', ')']).unwrap_or(text.len());
    let (flags, behind) = text.split_at(end);
    let (on, off) = flags.split_once('-').unwrap_or((flags, ""));
    let pick = |wanted: &dyn Fn(char) -> bool| -> String { "imsU".chars().filter(|flag| wanted(*flag)).collect() };
    let (on, off) = (pick(&|flag| on.contains(flag) && !off.contains(flag)), pick(&|flag| off.contains(flag)));
    let opens = behind.starts_with(':');
    if opens || !on.is_empty() || !off.is_empty() {
        out.push_str("(?");
        out.push_str(&on);
        if !off.is_empty() {
            out.push('-');
            out.push_str(&off);
        }
        out.push(if opens { ':' } else { ')' });
    }
    behind.get(1..).unwrap_or("")
}

/// What stands behind `[`.
fn class<'s>(text: &'s str, out: &mut String) -> &'s str {
    out.push('[');
    let mut rest = text;
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if let Some((name, behind)) = rest.strip_prefix("[:").and_then(|inside| inside.split_once(":]")) {
            out.push_str("[:");
            out.push_str(name);
            out.push_str(":]");
            rest = behind;
        } else if let Some(behind) = perl_class(rest) {
            perl(rest, behind, out);
            rest = behind;
        } else if rest.starts_with("\\p") || rest.starts_with("\\P") {
            rest = property(rest, out);
        } else {
            let Ok((low, behind)) = class_character(rest, text) else { return "" };
            rest = behind;
            push(low, out);
            if let Some(high) = rest.strip_prefix('-').filter(|high| !high.is_empty() && !high.starts_with(']')) {
                let Ok((high, behind)) = class_character(high, text) else { return "" };
                rest = behind;
                out.push('-');
                push(high, out);
            }
        }
    }
    out.push(']');
    &rest[1..]
}

/// A character by its number.
fn push(character: u32, out: &mut String) {
    out.push_str(&format!("\\x{{{character:X}}}"));
}

/// `\d` and its like, which are of ASCII.
fn perl(text: &str, behind: &str, out: &mut String) {
    let letter = text[..text.len() - behind.len()].chars().next_back().unwrap_or('d');
    out.push('[');
    if letter.is_ascii_uppercase() {
        out.push('^');
    }
    out.push_str(match letter.to_ascii_lowercase() {
        'd' => DIGITS,
        's' => SPACES,
        _ => WORDS,
    });
    out.push(']');
}

/// `\pN` and `\p{^Greek}`.
fn property<'s>(text: &'s str, out: &mut String) -> &'s str {
    let negated = text.starts_with("\\P");
    let (name, behind) = match text[2..].strip_prefix('{') {
        Some(inside) => inside.split_once('}').unwrap_or((inside, "")),
        None => {
            let behind = next(&text[2..]).1;
            (&text[2..text.len() - behind.len()], behind)
        }
    };
    let plain = name.strip_prefix('^').unwrap_or(name);
    out.push_str(if negated == name.starts_with('^') { "\\p{" } else { "\\P{" });
    out.push_str(plain);
    out.push('}');
    behind
}

fn escape<'s>(text: &'s str, after: &'s str, out: &mut String) -> &'s str {
    if let Some(quoted) = after.strip_prefix('Q') {
        let (literal, behind) = quoted.split_once("\\E").unwrap_or((quoted, ""));
        out.push_str(&regex::escape(literal));
        return behind;
    }
    if let Some(behind) = after.strip_prefix('b') {
        out.push_str("(?-u:\\b)");
        return behind;
    }
    if let Some(behind) = after.strip_prefix(['A', 'B', 'z']) {
        out.push_str(&text[..2]);
        return behind;
    }
    if let Some(behind) = perl_class(text) {
        perl(text, behind, out);
        return behind;
    }
    if after.starts_with(['p', 'P']) {
        return property(text, out);
    }
    let Ok((value, behind)) = character(text) else { return "" };
    push(value, out);
    behind
}
