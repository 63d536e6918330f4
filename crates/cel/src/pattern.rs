//! Regular expressions that are written for Go's RE2: of schemas and of expressions.
//!
//! Rust's `regex` has the same guarantees (linear time, no look-around) and almost the same syntax; this file rewrites
//! the difference: ASCII-only classes, literal brackets and braces, `\Q…\E`, and class operators that Go does not have.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

/// Largest compiled program, in bytes. Go has a limit of the same order; a repetition of repetitions must not eat the heap.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// Longest pattern in bytes: the rewrite and the parse stay cheap.
const MAX_PATTERN_BYTES: usize = 16 << 10;

/// A pattern that is known to compile. Compiled when first used, because most of a schema's patterns never are.
#[derive(Debug)]
pub struct Pattern {
    source: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Errors with why the pattern cannot be compiled.
    pub fn new(source: &str) -> Result<Self, String> {
        compile(source)?;
        Ok(Self { source: source.into(), compiled: OnceLock::new() })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn is_match(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.source).ok());
        compiled.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

pub(crate) fn compile(source: &str) -> Result<Regex, String> {
    if source.len() > MAX_PATTERN_BYTES {
        return Err(format!("longer than {MAX_PATTERN_BYTES} bytes"));
    }
    RegexBuilder::new(&translate(source)).size_limit(MAX_COMPILED_BYTES).build().map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// Go syntax to Rust syntax.
fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut rest = source;
    let mut in_class = false;
    // A `]` that comes first in a class is literal in Go.
    let mut class_start = false;
    while let Some(c) = rest.chars().next() {
        let first = std::mem::replace(&mut class_start, false);
        if c == '\\' {
            rest = escape(rest, in_class, &mut out);
            continue;
        }
        let after = &rest[c.len_utf8()..];
        match c {
            '[' if !in_class => {
                in_class = true;
                class_start = true;
                out.push('[');
                if let Some(negated) = after.strip_prefix('^') {
                    out.push('^');
                    rest = negated;
                    continue;
                }
            }
            '[' if after.starts_with(':') && after.contains(":]") => {
                let end = after.find(":]").unwrap_or(0) + 2;
                out.push('[');
                out.push_str(&after[..end]);
                rest = &after[end..];
                continue;
            }
            '[' => out.push_str("\\["),
            ']' if in_class && first => out.push_str("\\]"),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && after.starts_with('-') => out.push_str("\\-"),
            '{' if !in_class && !is_repetition(after) => out.push_str("\\{"),
            '}' if !in_class && !closes_repetition(&out) => out.push_str("\\}"),
            c => out.push(c),
        }
        rest = after;
    }
    out
}

/// Whether `{` opens `{n}`, `{n,}` or `{n,m}`; anything else is a literal brace in Go.
fn is_repetition(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

fn closes_repetition(out: &str) -> bool {
    let opened = out.trim_end_matches(|c: char| c.is_ascii_digit() || c == ',');
    (opened.ends_with('{') && !opened.ends_with("\\{")) || opened_property(out)
}

/// `\p{Greek` and `\x{10FFFF`, whose brace belongs to the escape.
fn opened_property(out: &str) -> bool {
    out.rfind('{').is_some_and(|at| ["\\p", "\\P", "\\x"].iter().any(|escape| out[..at].ends_with(escape)))
        && !out[out.rfind('{').unwrap_or(0)..].contains('}')
}

/// Rewrites one escape and returns what follows it.
fn escape<'a>(rest: &'a str, in_class: bool, out: &mut String) -> &'a str {
    let Some(c) = rest[1..].chars().next() else {
        out.push('\\');
        return "";
    };
    let after = &rest[1 + c.len_utf8()..];
    let class = match c {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\f\\r ",
        'D' => "^0-9",
        'W' => "^0-9A-Za-z_",
        'S' => "^\\t\\n\\f\\r ",
        'b' if !in_class => {
            out.push_str("(?-u:\\b)");
            return after;
        }
        'Q' => {
            let (literal, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(literal));
            return after;
        }
        'p' | 'P' | 'x' if after.starts_with('{') => {
            let end = after.find('}').map_or(after.len(), |end| end + 1);
            out.push('\\');
            out.push(c);
            out.push_str(&after[..end]);
            return &after[end..];
        }
        '/' | '"' | '\'' | '<' | '>' | '@' | '%' | ',' | ';' | '=' | '!' | '`' | ':' => {
            out.push(c);
            return after;
        }
        c => {
            out.push('\\');
            out.push(c);
            return after;
        }
    };
    if in_class && !class.starts_with('^') {
        out.push_str(class);
    } else {
        out.push('[');
        out.push_str(class);
        out.push(']');
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let cases: [(&str, &[&str], &[&str]); 13] = [
            (r"^\d+$", &["12"], &["", "١", "1\n"]),
            (r"^[\w.-]+$", &["a.b-c_1"], &["é", "a b"]),
            (r"^[^\s]+$", &["abc"], &["a b"]),
            (r"^a{,2}$", &["a{,2}"], &["aa"]),
            (r"^{x}$", &["{x}"], &["x"]),
            (r"^[a-z]{2,3}$", &["ab", "abc"], &["a", "abcd"]),
            (r"^[[]$", &["["], &["]"]),
            (r"^[]a]$", &["]", "a"], &["["]),
            (r"^[a&&b]$", &["&", "a", "b"], &["c"]),
            (r"^\Qa.b\E$", &["a.b"], &["axb"]),
            (r"(?i)^abc$", &["ABC"], &["ab"]),
            (r"^[[:alpha:]]+$", &["abc"], &["1"]),
            (r"^\/v1\p{L}$", &["/v1x"], &["/v11"]),
        ];
        for (source, good, bad) in cases {
            let pattern = Pattern::new(source).unwrap_or_else(|error| panic!("{source}: {error}"));
            for text in good {
                assert!(pattern.is_match(text), "{source} must match {text:?}");
            }
            for text in bad {
                assert!(!pattern.is_match(text), "{source} must not match {text:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_compiled_is_refused() {
        for source in ["(", "[a", "(?=a)", r"\1", "((((a{1000}){1000}){1000}){1000})", "*"] {
            assert!(Pattern::new(source).is_err(), "{source}");
        }
        assert!(Pattern::new(&"a".repeat(MAX_PATTERN_BYTES + 1)).is_err());
    }
}
