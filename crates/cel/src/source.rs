//! Where in an expression something is wrong, and how that is shown.

use std::fmt;

/// Longest line of source that a rendered issue repeats, in bytes.
const MAX_SNIPPET_BYTES: usize = 16_384;

/// Most issues that one text is reported with.
pub const MAX_ISSUES: usize = 100;

/// One thing that is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Counted from one; -1 when the issue is with the text as a whole.
    pub line: i64,
    /// In code points, counted from zero; -1 when the issue is with the text as a whole.
    pub column: i64,
    pub message: String,
}

/// Everything that is wrong with one expression, in the order of the text. Displays as cel-go shows it: a line for each
/// issue, the line of source, and a caret below the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issues {
    list: Vec<Issue>,
    source: String,
}

impl std::error::Error for Issues {}

impl Issues {
    pub(crate) fn new(source: &str, mut list: Vec<Issue>) -> Self {
        list.sort_by_key(|issue| (issue.line, issue.column));
        list.truncate(MAX_ISSUES);
        Self { list, source: source.to_owned() }
    }

    /// Sorted by place; never empty.
    pub fn list(&self) -> &[Issue] {
        &self.list
    }
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issue) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "ERROR: <input>:{}:{}: {}", issue.line, issue.column + 1, issue.message)?;
            let Some(line) = usize::try_from(issue.line).ok().filter(|line| *line > 0) else { continue };
            let Some(snippet) = self.source.split('\n').nth(line - 1) else { continue };
            if snippet.len() > MAX_SNIPPET_BYTES || self.source.is_empty() {
                continue;
            }
            write!(f, "\n | {}\n | ", snippet.replace('\t', " "))?;
            let mut chars = snippet.chars();
            for _ in 0..issue.column.max(0) {
                match chars.next() {
                    Some(c) if c.len_utf8() > 1 => f.write_str("\u{ff0e}")?,
                    Some(_) => f.write_str(".")?,
                    None => break,
                }
            }
            f.write_str(if chars.next().is_some_and(|c| c.len_utf8() > 1) { "\u{ff3e}" } else { "^" })?;
        }
        Ok(())
    }
}

/// Turns offsets in code points into lines and columns.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Offsets of the first code point of each line after the first.
    starts: Vec<u32>,
}

impl Lines {
    pub(crate) fn new(chars: &[char]) -> Self {
        let starts = chars.iter().enumerate().filter(|(_, c)| **c == '\n').map(|(at, _)| at as u32 + 1).collect();
        Self { starts }
    }

    pub(crate) fn issue(&self, offset: u32, message: impl Into<String>) -> Issue {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = if line == 0 { 0 } else { self.starts[line - 1] };
        Issue { line: line as i64 + 1, column: i64::from(offset - start), message: message.into() }
    }
}
