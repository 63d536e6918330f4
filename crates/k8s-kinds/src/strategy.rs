//! Ways that many kinds share of preparing a write: status is the server's, and apart from the rest.

use serde_json::Value;

use crate::fields::{carry_over, text};
use crate::{Context, Conversion};

/// Before create: clients do not write status.
pub(crate) fn drop_status(object: &mut Value, _: &Context<'_>) {
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
}

/// Before update: the object's own path keeps the status, the path `status` keeps everything but status and metadata.
pub(crate) fn keep_apart(object: &mut Value, context: &Context<'_>) {
    let Some(old) = context.old else { return };
    match context.subresource {
        "" => carry_over(object, old, "status"),
        "status" => keep_all_but_status(object, old),
        _ => {}
    }
}

/// As [`keep_apart`]; a write of status cannot change labels either, which select what a workload owns.
pub(crate) fn keep_apart_and_labels(object: &mut Value, context: &Context<'_>) {
    keep_apart(object, context);
    if context.subresource == "status"
        && let (Some(old), Some(metadata)) = (context.old, object.get_mut("metadata"))
    {
        carry_over(metadata, &old["metadata"], "labels");
    }
}

/// As [`keep_apart`]; a write of status cannot change metadata that clients write (apimachinery `ResetObjectMetaForStatus`).
pub(crate) fn keep_apart_and_metadata(object: &mut Value, context: &Context<'_>) {
    keep_apart(object, context);
    if context.subresource == "status"
        && let (Some(old), Some(metadata)) = (context.old, object.get_mut("metadata"))
    {
        for key in ["annotations", "finalizers", "labels", "ownerReferences"] {
            carry_over(metadata, &old["metadata"], key);
        }
    }
}

/// One value is the first of a list, of which older clients do not know: where they differ the one counts (core v1 conversions).
/// `wrap` makes an item of the list of it.
pub(crate) fn agree_on_first(parent: &mut Value, one: &str, all: &str, wrap: fn(&str) -> Value) {
    let (own, first) = (text(parent, one), parent.get(all).and_then(|all| all.get(0)));
    match first {
        None if own.is_empty() => {}
        Some(first) if own.is_empty() => {
            let first = first.as_str().unwrap_or_else(|| text(first, "ip")).to_owned();
            parent[one] = first.into();
        }
        first => {
            let wanted = wrap(own);
            if first != Some(&wanted) {
                parent[all] = Value::Array(vec![wanted]);
            }
        }
    }
}

/// Before update: nothing is carried over but what a write of status may not change.
pub(crate) fn keep_all_but_status_on_status(object: &mut Value, context: &Context<'_>) {
    if context.subresource == "status" {
        keep_apart_and_metadata(object, context);
    }
}

fn keep_all_but_status(object: &mut Value, old: &Value) {
    const OWN: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];
    if let Some(map) = object.as_object_mut() {
        map.retain(|key, _| OWN.contains(&key.as_str()));
    }
    for (key, _) in old.as_object().into_iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            carry_over(object, old, key);
        }
    }
}

/// Whether anything but metadata and status differs.
pub(crate) fn changes_beyond_status(old: &Value, new: &Value) -> bool {
    fn counted(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
        const NOT: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];
        value.as_object().into_iter().flatten().filter(|(key, _)| !NOT.contains(&key.as_str()))
    }
    !counted(old).eq(counted(new))
}

/// Does a step in the stored form, for a version whose form differs.
pub(crate) fn in_stored_form(
    object: &mut Value,
    context: &Context<'_>,
    conversion: Conversion,
    step: fn(&mut Value, &Context<'_>),
) {
    let old = context.old.map(|old| stored_form(old, conversion));
    (conversion.to_storage)(object);
    step(object, &Context { old: old.as_ref(), ..*context });
    (conversion.from_storage)(object);
}

/// Judges an object in its stored form, for a version whose form differs.
pub(crate) fn judge_stored_form<T>(
    object: &Value,
    context: &Context<'_>,
    conversion: Conversion,
    judge: fn(&Value, &Context<'_>) -> T,
) -> T {
    let old = context.old.map(|old| stored_form(old, conversion));
    judge(&stored_form(object, conversion), &Context { old: old.as_ref(), ..*context })
}

fn stored_form(object: &Value, conversion: Conversion) -> Value {
    let mut object = object.clone();
    (conversion.to_storage)(&mut object);
    object
}

/// Whether the object is being deleted.
pub(crate) fn is_terminating(object: &Value) -> bool {
    !text(object, "metadata.deletionTimestamp").is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use world::Timestamp;

    fn update(new: Value, old: &Value, subresource: &str) -> Value {
        let mut new = new;
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: Some(old), subresource };
        keep_apart_and_labels(&mut new, &context);
        new
    }

    #[test]
    fn status_and_the_rest_are_written_apart() {
        let old = json!({"metadata": {"labels": {"a": "1"}}, "spec": 1, "status": 1, "extra": 1});
        let new = json!({"metadata": {"labels": {"a": "2"}}, "spec": 2, "status": 2, "other": 2});
        assert_eq!(
            update(new.clone(), &old, ""),
            json!({"metadata": {"labels": {"a": "2"}}, "spec": 2, "status": 1, "other": 2})
        );
        assert_eq!(
            update(new, &old, "status"),
            json!({"metadata": {"labels": {"a": "1"}}, "spec": 1, "status": 2, "extra": 1})
        );
    }

    #[test]
    fn only_what_is_wanted_counts_as_a_change() {
        let old = json!({"metadata": {"a": 1}, "spec": 1, "status": 1});
        assert!(!changes_beyond_status(&old, &json!({"metadata": {"a": 2}, "spec": 1, "status": 2})));
        assert!(changes_beyond_status(&old, &json!({"spec": 2})));
    }

    #[test]
    fn the_one_is_the_first_of_all() {
        let cases = [
            (json!({}), json!({})),
            (json!({"all": ["a", "b"]}), json!({"one": "a", "all": ["a", "b"]})),
            (json!({"one": "a"}), json!({"one": "a", "all": ["a"]})),
            (json!({"one": "a", "all": ["a", "b"]}), json!({"one": "a", "all": ["a", "b"]})),
            (json!({"one": "c", "all": ["a", "b"]}), json!({"one": "c", "all": ["c"]})),
        ];
        for (mut value, expected) in cases {
            agree_on_first(&mut value, "one", "all", |one| one.into());
            assert_eq!(value, expected);
        }
        let mut status = json!({"podIPs": [{"ip": "10.0.0.1"}]});
        agree_on_first(&mut status, "podIP", "podIPs", |ip| json!({"ip": ip}));
        assert_eq!(status["podIP"], "10.0.0.1");
    }
}
