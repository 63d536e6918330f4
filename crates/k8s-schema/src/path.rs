//! Builds the path of the value being looked at, in upstream's notation, without allocating per step.

use std::fmt::Write as _;

/// `spec.containers[0].name`. Steps are taken back by [`Path::truncate`] to the length that a step returned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    text: String,
}

impl Path {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// Returns the length before the step.
    pub(crate) fn field(&mut self, name: &str) -> usize {
        let length = self.text.len();
        if length > 0 {
            self.text.push('.');
        }
        self.text.push_str(name);
        length
    }

    /// Returns the length before the step.
    pub(crate) fn index(&mut self, index: usize) -> usize {
        let length = self.text.len();
        // Writing to a String cannot fail.
        let _ = write!(self.text, "[{index}]");
        length
    }

    /// A map key in the notation of `field.Path.Key`. Returns the length before the step.
    pub(crate) fn key(&mut self, key: &str) -> usize {
        let length = self.text.len();
        let _ = write!(self.text, "[{key}]");
        length
    }

    /// Goes to a child: to a field if the schema names it, else to a key.
    pub(crate) fn step(&mut self, name: &str, named: bool) -> usize {
        if named { self.field(name) } else { self.key(name) }
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.text.truncate(length);
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The path of a field below, for one message.
    pub(crate) fn child(&self, name: &str) -> String {
        match self.text.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.text),
        }
    }
}
