//! `status.conditions` of the shared type `metav1.Condition` (apimachinery `meta/v1/validation`).

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{duplicate, invalid, not_supported, required, too_long};
use crate::fields::{at, int, text};
use crate::names::qualified;

/// Bytes of a reason and of a message.
const REASON_LIMIT: usize = 1024;
const MESSAGE_LIMIT: usize = 32 << 10;

/// Whether each condition is complete, and none is there twice.
pub(crate) fn validate(conditions: &[Value], field: &str) -> Vec<Cause> {
    const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            causes.push(duplicate(format!("{field}.type"), kind));
        }
        causes.extend(qualified(kind).iter().map(|problem| invalid(format!("{field}.type"), kind, problem)));
        let status = text(condition, "status");
        if !STATUSES.contains(&status) {
            causes.push(not_supported(format!("{field}.status"), status, &STATUSES));
        }
        let generation = int(condition, "observedGeneration");
        if generation < 0 {
            let problem = "must be greater than or equal to zero";
            causes.push(invalid(format!("{field}.observedGeneration"), generation, problem));
        }
        if at(condition, "lastTransitionTime").is_null() {
            causes.push(required(format!("{field}.lastTransitionTime"), ""));
        }
        causes.extend(reason(text(condition, "reason"), &format!("{field}.reason")));
        if text(condition, "message").len() > MESSAGE_LIMIT {
            causes.push(too_long(format!("{field}.message"), MESSAGE_LIMIT));
        }
    }
    causes
}

fn reason(reason: &str, field: &str) -> Vec<Cause> {
    const PROBLEM: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
    if reason.is_empty() {
        return vec![required(field, "")];
    }
    let ends = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let valid = reason.as_bytes()[0].is_ascii_alphabetic()
        && reason.bytes().last().is_some_and(ends)
        && reason.bytes().all(|byte| ends(byte) || byte == b',' || byte == b':');
    let mut causes = Vec::new();
    if !valid {
        causes.push(invalid(field, reason, PROBLEM));
    }
    if reason.len() > REASON_LIMIT {
        causes.push(too_long(field, REASON_LIMIT));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_are_complete_and_unique() {
        let good =
            json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "A_b"});
        assert!(validate(std::slice::from_ref(&good), "c").is_empty());
        let causes =
            validate(&[good, json!({"type": "Ready", "status": "x", "reason": "1", "observedGeneration": -1})], "c");
        let fields: Vec<(&str, &str)> =
            causes.iter().map(|cause| (cause.field.as_str(), cause.reason.as_str())).collect();
        assert_eq!(
            fields,
            [
                ("c[1].type", "FieldValueDuplicate"),
                ("c[1].status", "FieldValueNotSupported"),
                ("c[1].observedGeneration", "FieldValueInvalid"),
                ("c[1].lastTransitionTime", "FieldValueRequired"),
                ("c[1].reason", "FieldValueInvalid"),
            ]
        );
    }
}
