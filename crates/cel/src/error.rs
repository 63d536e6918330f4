//! Why an evaluation has no value. The texts are cel-go's, which users see.

use std::borrow::Cow;

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The program costs more than one evaluation may. Nothing absorbs it.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
    #[error("{0}")]
    Failed(Cow<'static, str>),
    #[error("no such overload")]
    NoSuchOverload,
}

impl EvalError {
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn no_overload() -> Self {
        Self::NoSuchOverload
    }

    pub(crate) fn index(index: impl std::fmt::Display) -> Self {
        Self::new(format!("index out of bounds: {index}"))
    }

    pub(crate) fn key(key: &str) -> Self {
        Self::new(format!("no such key: {key}"))
    }
}
