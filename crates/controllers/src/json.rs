//! Small operations on JSON that planners share.

use std::collections::BTreeMap;

use k8s_object::Properties;
use serde_json::{Map, Value, json};

/// Merges `patch` into `target` (RFC 7396): null removes, maps merge, everything else replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

/// Takes a key out of a map.
pub(crate) fn remove(target: &mut Value, key: &str) {
    if let Value::Object(fields) = target {
        fields.remove(key);
    }
}

/// What merges `old` labels or annotations into exactly `new`: what is not wanted any more is null.
pub(crate) fn replacement(old: &Properties, new: &BTreeMap<&str, &str>) -> Value {
    let gone = old.iter().filter(|(key, _)| !new.contains_key(key)).map(|(key, _)| (key.to_owned(), Value::Null));
    Value::Object(gone.chain(new.iter().map(|(key, value)| ((*key).to_owned(), json!(value)))).collect())
}

/// The value without nulls and without empty metadata maps, which mean the same as absent fields: two pod templates are
/// equal when they are equal in this form.
pub(crate) fn normal(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept =
                fields.iter().filter(|(_, field)| !field.is_null()).map(|(key, field)| (key.clone(), normal(field)));
            let kept = kept.filter(|(key, field)| {
                let droppable = matches!(key.as_str(), "annotations" | "labels" | "metadata" | "ownerReferences");
                !(droppable
                    && (field.as_object().is_some_and(Map::is_empty) || field.as_array().is_some_and(Vec::is_empty)))
            });
            Value::Object(kept.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        other => other.clone(),
    }
}

/// A count as Kubernetes writes optional ones: absent when zero.
pub(crate) fn count(number: i64) -> Value {
    if number == 0 { Value::Null } else { Value::from(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_follows_rfc_7396() {
        let cases = [
            (json!({"a": 1}), json!({"a": null, "b": {"c": null, "d": 2}}), json!({"b": {"d": 2}})),
            (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
            (json!(5), json!({"a": 1}), json!({"a": 1})),
        ];
        for (mut target, patch, merged) in cases {
            merge(&mut target, &patch);
            assert_eq!(target, merged, "{patch}");
        }
    }

    #[test]
    fn labels_are_replaced_whole() {
        let old: Properties = [("a", "1"), ("b", "2")].into_iter().collect();
        let new = BTreeMap::from([("b", "3"), ("c", "4")]);
        let mut labels = json!({"a": "1", "b": "2"});
        merge(&mut labels, &replacement(&old, &new));
        assert_eq!(labels, json!({"b": "3", "c": "4"}));
    }

    #[test]
    fn absent_null_and_empty_metadata_are_the_same() {
        let written =
            json!({"metadata": {"creationTimestamp": null, "labels": {}}, "spec": {"volumes": [{"emptyDir": {}}]}});
        assert_eq!(normal(&written), json!({"spec": {"volumes": [{"emptyDir": {}}]}}));
    }
}
