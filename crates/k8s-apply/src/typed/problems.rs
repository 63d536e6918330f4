//! What is wrong with a value of a type, in upstream's words.

use std::fmt;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `.spec.ports[containerPort=80]`; empty for the value itself.
    pub path: String,
    pub message: String,
}

/// All that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

/// Most problems that are told; a value with more is wrong as a whole.
const MAX_PROBLEMS: usize = 100;

impl Problems {
    pub(super) fn push(&mut self, message: impl Into<String>) {
        if self.0.len() < MAX_PROBLEMS {
            self.0.push(Problem { path: String::new(), message: message.into() });
        }
    }

    /// Puts a step before the paths of what was found since `start`.
    pub(super) fn prefix(&mut self, start: usize, step: impl Fn() -> String) {
        if self.0.len() > start {
            let step = step();
            for problem in &mut self.0[start..] {
                problem.path.insert_str(0, &step);
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_PROBLEMS
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Problems> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = &self.0[..] {
            return only.fmt(f);
        }
        f.write_str("errors:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
