//! Regular expressions that are written for Go's RE2: of schemas and of expressions.
//!
//! Rust's `regex` has the same guarantees (linear time, no look-around) and almost the same syntax. What Go refuses is refused in
//! its words (`go.rs`), and what it takes is rewritten (`translate.rs`).

mod go;
mod translate;

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

/// # Errors
/// What is wrong, as Go says it.
pub(crate) fn compile(source: &str) -> Result<Regex, String> {
    let too_large = || format!("error parsing regexp: expression too large: `{source}`");
    if source.len() > MAX_PATTERN_BYTES {
        return Err(format!("error parsing regexp: expression too large: longer than {MAX_PATTERN_BYTES} bytes"));
    }
    go::check(source).map_err(|problem| problem.to_string())?;
    let built = RegexBuilder::new(&translate::translate(source)).size_limit(MAX_COMPILED_BYTES).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => too_large(),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("error parsing regexp: {last}: `{source}`")
        }
    })
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
