//! Expressions of CEL in objects: where they are compiled when an object is judged.

use k8s_object::Cause;

/// What an expression yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yields {
    /// Whether a request, a device, or whatever else it looks at is meant.
    Flag,
    Text,
    /// Text or null.
    OptionalText,
    ApplyConfiguration,
    JsonPatch,
    /// Whatever it is: a variable.
    Any,
}

/// What an expression can look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// A request and its object; with parameters, with an authorizer.
    Request { params: bool, authorizer: bool },
    /// A device that a driver offers.
    Device,
}

/// One expression and what is around it.
#[derive(Debug, Clone, Copy)]
pub struct Expression<'a> {
    pub text: &'a str,
    pub yields: Yields,
    pub sees: Sees,
    /// Name and expression of each variable that stands before it.
    pub variables: &'a [(&'a str, &'a str)],
    /// It was there before this write, so that it may use what new expressions may not.
    pub stored: bool,
}

/// What is wrong with an expression; nothing means that it compiles. The one place where kinds have expressions compiled: as
/// long as nothing is compiled here, an expression that is wrong is told by who evaluates it.
pub fn problems(_expression: &Expression<'_>, _field: &str) -> Option<Cause> {
    None
}

/// Whether a name can be that of a variable.
pub(crate) fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 21] = [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ];
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !RESERVED.contains(&name)
}
