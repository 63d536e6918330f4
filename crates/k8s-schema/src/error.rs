//! Errors about fields, worded as upstream words them, because clients print and match these texts.
//!
//! Free of transport: the server maps them to `Status` causes (`reason` is the cause's type).

use std::fmt;

use serde_json::Value;
use thiserror::Error;

/// Most field errors that one validation reports; an object with more is wrong as a whole, and the answer must stay small.
pub const MAX_FIELD_ERRORS: usize = 1_000;

/// What is wrong with a field. The reasons and labels are those of `k8s.io/apimachinery/pkg/util/validation/field`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldErrorKind {
    Duplicate,
    Forbidden,
    Internal,
    Invalid,
    NotSupported,
    Required,
    TooLong,
    TooMany,
    TypeInvalid,
}

impl FieldErrorKind {
    /// The `reason` of a `Status` cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::Internal => "InternalError",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Required => "FieldValueRequired",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::Internal => "Internal error",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Required => "Required value",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
        }
    }
}

/// One invalid field. Displays as `path: message`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// `spec.containers[0].name`; `<nil>` where upstream has no path.
    pub path: String,
    pub kind: FieldErrorKind,
    /// What the client sent; `None` where upstream leaves it out.
    pub bad_value: Option<Value>,
    /// Empty when the kind says everything.
    pub detail: String,
}

impl FieldError {
    pub fn duplicate(path: impl Into<String>, value: Value) -> Self {
        Self::new(path, FieldErrorKind::Duplicate, Some(value), String::new())
    }

    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Forbidden, None, detail.into())
    }

    pub fn invalid(path: impl Into<String>, value: Value, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Invalid, Some(value), detail.into())
    }

    pub fn internal(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Internal, None, detail.into())
    }

    /// An invalid value of which `detail` begins with the value as it is shown.
    pub(crate) fn invalid_as_shown(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Invalid, None, detail.into())
    }

    pub fn not_supported(path: impl Into<String>, value: Value, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = match quoted.is_empty() {
            true => String::new(),
            false => format!("supported values: {}", quoted.join(", ")),
        };
        Self::new(path, FieldErrorKind::NotSupported, Some(value), detail)
    }

    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Required, None, detail.into())
    }

    pub fn too_long(path: impl Into<String>, max: u64) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(path, FieldErrorKind::TooLong, None, format!("may not be more than {max} {unit}"))
    }

    pub fn too_many(path: impl Into<String>, actual: u64, max: u64) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(path, FieldErrorKind::TooMany, Some(actual.into()), format!("must have at most {max} {unit}"))
    }

    pub fn type_invalid(path: impl Into<String>, value: Value, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::TypeInvalid, Some(value), detail.into())
    }

    fn new(path: impl Into<String>, kind: FieldErrorKind, bad_value: Option<Value>, detail: String) -> Self {
        Self { path: path.into(), kind, bad_value, detail }
    }

    /// The message without the path: the `message` of a `Status` cause.
    pub fn body(&self) -> String {
        let mut text = self.kind.label().to_owned();
        if let Some(value) = &self.bad_value {
            text.push_str(": ");
            text.push_str(&value.to_string());
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// A JSON value of a kind that the field of a built-in type cannot hold. The text is Go's `encoding/json` text, which
/// the server puts after `… cannot be handled as a …: `.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TypeMismatch(pub String);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_read_as_upstream_prints_them() {
        let cases = [
            (FieldError::required("spec.x", ""), "spec.x: Required value"),
            (FieldError::required("spec.x", "must be set"), "spec.x: Required value: must be set"),
            (FieldError::invalid("a", json!(3), "too odd"), "a: Invalid value: 3: too odd"),
            (FieldError::invalid("a", json!("q\"x"), "bad"), "a: Invalid value: \"q\\\"x\": bad"),
            (FieldError::duplicate("a[1]", json!({"name": "x"})), "a[1]: Duplicate value: {\"name\":\"x\"}"),
            (
                FieldError::not_supported("a", json!("z"), &["x", "y"]),
                "a: Unsupported value: \"z\": supported values: \"x\", \"y\"",
            ),
            (FieldError::too_long("a", 5), "a: Too long: may not be more than 5 bytes"),
            (FieldError::too_many("a", 4, 1), "a: Too many: 4: must have at most 1 item"),
            (FieldError::forbidden("a", "no"), "a: Forbidden: no"),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }
}
