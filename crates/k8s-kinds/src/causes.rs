//! The causes of an `Invalid` error in upstream's words (apimachinery `field.Error`).

use k8s_object::Cause;
use serde_json::Value;

fn cause(reason: &str, field: impl Into<String>, message: String) -> Cause {
    Cause { reason: reason.to_owned(), message, field: field.into() }
}

fn with_detail(head: String, detail: &str) -> String {
    if detail.is_empty() { head } else { format!("{head}: {detail}") }
}

/// `Required value: detail`
pub fn required(field: impl Into<String>, detail: &str) -> Cause {
    cause("FieldValueRequired", field, with_detail("Required value".to_owned(), detail))
}

/// `Invalid value: "x": detail`; the value is written as JSON.
pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: &str) -> Cause {
    cause("FieldValueInvalid", field, with_detail(format!("Invalid value: {}", value.into()), detail))
}

/// `Invalid value: detail`, where the value would say nothing.
pub fn invalid_without_value(field: impl Into<String>, detail: &str) -> Cause {
    cause("FieldValueInvalid", field, with_detail("Invalid value".to_owned(), detail))
}

/// `Unsupported value: "x": supported values: "A", "B"`
pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Cause {
    let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
    let detail =
        if supported.is_empty() { String::new() } else { format!("supported values: {}", supported.join(", ")) };
    cause("FieldValueNotSupported", field, with_detail(format!("Unsupported value: {}", value.into()), &detail))
}

/// `Duplicate value: "x"`
pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Cause {
    cause("FieldValueDuplicate", field, format!("Duplicate value: {}", value.into()))
}

/// `Forbidden: detail`
pub fn forbidden(field: impl Into<String>, detail: &str) -> Cause {
    cause("FieldValueForbidden", field, with_detail("Forbidden".to_owned(), detail))
}

/// `Not found: "x"`
pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Cause {
    cause("FieldValueNotFound", field, format!("Not found: {}", value.into()))
}

/// `Too long: may not be more than 63 bytes`
pub fn too_long(field: impl Into<String>, limit_bytes: usize) -> Cause {
    cause("FieldValueTooLong", field, format!("Too long: may not be more than {limit_bytes} bytes"))
}

/// `Too many: 101: must have at most 100 items`
pub fn too_many(field: impl Into<String>, actual: usize, limit: usize) -> Cause {
    let items = if limit == 1 { "item" } else { "items" };
    cause("FieldValueTooMany", field, format!("Too many: {actual}: must have at most {limit} {items}"))
}

/// `Invalid value: …: field is immutable`
pub fn immutable(field: impl Into<String>, value: &Value) -> Cause {
    invalid(field, value.clone(), "field is immutable")
}

/// An integer below zero, as upstream words it; nothing otherwise.
pub(crate) fn non_negative(field: impl Into<String>, value: &Value) -> Option<Cause> {
    let number = value.as_i64().filter(|number| *number < 0)?;
    Some(invalid(field, number, "must be greater than or equal to 0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn causes_read_as_upstreams() {
        let cases = [
            (required("a", ""), "Required value"),
            (required("a", "name is needed"), "Required value: name is needed"),
            (invalid("a", "x", "must be y"), r#"Invalid value: "x": must be y"#),
            (invalid("a", -1, "must be positive"), "Invalid value: -1: must be positive"),
            (immutable("a", &json!({"b": "c"})), r#"Invalid value: {"b":"c"}: field is immutable"#),
            (not_supported("a", "x", &["A", "B"]), r#"Unsupported value: "x": supported values: "A", "B""#),
            (duplicate("a", "x"), r#"Duplicate value: "x""#),
            (forbidden("a", "no"), "Forbidden: no"),
            (too_long("a", 63), "Too long: may not be more than 63 bytes"),
            (too_many("a", 3, 1), "Too many: 3: must have at most 1 item"),
        ];
        for (cause, message) in cases {
            assert_eq!(cause.message, message);
        }
    }
}
