//! Reads the rules of a node and checks what can be checked without compiling them.

use serde_json::{Map, Value};

use super::{Expressions, Rule, field_path};
use crate::crd::Structural;
use crate::error::FieldError;
use crate::path::Path;

const NAME: &str = "x-kubernetes-validations";
const REASONS: &[&str] = &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

fn text(rule: &Value, name: &str) -> String {
    rule.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn has_line_breaks(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

/// The rules of a node; `None` when it has none.
pub(crate) fn read(
    map: &Map<String, Value>,
    node: &Structural,
    path: &Path,
    errors: &mut Vec<FieldError>,
) -> Option<Box<Expressions>> {
    let list = match map.get(NAME)? {
        Value::Null => return None,
        Value::Array(list) if list.is_empty() => return None,
        Value::Array(list) => list,
        other => {
            errors.push(FieldError::invalid(path.child(NAME), other.clone(), "must be a list of rules"));
            return None;
        }
    };
    let mut rules = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let mut at = path.clone();
        at.field(NAME);
        at.index(index);
        let rule = Rule {
            rule: text(value, "rule"),
            message: text(value, "message"),
            message_expression: text(value, "messageExpression"),
            reason: value.get("reason").and_then(Value::as_str).map(str::to_owned),
            field_path: text(value, "fieldPath"),
            optional_old_self: value.get("optionalOldSelf").and_then(Value::as_bool),
            normalised_path: String::new(),
            program: None,
            message_program: None,
        };
        check(&rule, node, &at, errors);
        rules.push(rule);
    }
    Some(Box::new(Expressions { rules, decl: None }))
}

fn check(rule: &Rule, node: &Structural, at: &Path, errors: &mut Vec<FieldError>) {
    let mut invalid = |name: &str, value: &str, detail: &str| {
        errors.push(FieldError::invalid(at.child(name), value.into(), detail));
    };
    let (expression, message) = (rule.rule.trim(), rule.message.trim());
    let mut missing = Vec::new();
    if expression.is_empty() {
        missing.push(("rule", "rule is not specified"));
    } else if !rule.message.is_empty() && message.is_empty() {
        invalid("message", &rule.message, "must be non-empty if specified");
    } else if has_line_breaks(message) {
        invalid("message", &rule.message, "must not contain line breaks");
    } else if has_line_breaks(expression) && message.is_empty() {
        missing.push(("message", "message must be specified if rule contains line breaks"));
    }
    if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
        missing.push(("messageExpression", "messageExpression must be non-empty if specified"));
    }
    if !rule.field_path.is_empty() {
        if rule.field_path.trim().is_empty() {
            invalid("fieldPath", &rule.field_path, "must be non-empty if specified");
        }
        if has_line_breaks(&rule.field_path) {
            invalid("fieldPath", &rule.field_path, "must not contain line breaks");
        }
        if field_path::normalise(&rule.field_path, node).is_none() {
            invalid("fieldPath", &rule.field_path, "must be a valid path");
        }
    }
    for (name, detail) in missing {
        errors.push(FieldError::required(at.child(name), detail));
    }
    if let Some(reason) = rule.reason.as_ref().filter(|reason| !REASONS.contains(&reason.as_str())) {
        errors.push(FieldError::not_supported(at.child("reason"), reason.as_str().into(), REASONS));
    }
}
