//! Event of `events.k8s.io/v1`: the same objects as the core group's Events, with newer names and stricter rules.

use k8s_object::Cause;
use serde_json::Value;
use world::Timestamp;

use super::event;
use crate::causes::{immutable, invalid, required};
use crate::fields::{at, int, text};
use crate::names::path_segment;
use crate::strategy::judge_stored_form;
use crate::{Context, Conversion, Kind, names};

pub(crate) static KIND: Kind = Kind {
    group: "events.k8s.io",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    stored_as: Some(&event::KIND),
    conversion: Some(CONVERSION),
    type_name: "io.k8s.api.events.v1.Event",
    columns: event::COLUMNS,
    selectable: &[
        "reason",
        "regarding.apiVersion",
        "regarding.fieldPath",
        "regarding.kind",
        "regarding.name",
        "regarding.namespace",
        "regarding.resourceVersion",
        "regarding.uid",
        "reportingController",
        "type",
    ],
    name_rule: path_segment,
    validate: |object, context| judge_stored_form(object, context, CONVERSION, judge),
    creates_on_update: true,
    ..Kind::BASE
};

/// Fields by their names here and in the stored form.
const FIELDS: [(&str, &str); 7] = [
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
];

const CONVERSION: Conversion = Conversion {
    to_storage: |object| rename(object, FIELDS.iter().copied()),
    from_storage: |object| rename(object, FIELDS.iter().map(|(here, stored)| (*stored, *here))),
    selectable: |path| match path {
        "regarding.apiVersion" => "involvedObject.apiVersion",
        "regarding.fieldPath" => "involvedObject.fieldPath",
        "regarding.kind" => "involvedObject.kind",
        "regarding.name" => "involvedObject.name",
        "regarding.namespace" => "involvedObject.namespace",
        "regarding.resourceVersion" => "involvedObject.resourceVersion",
        "regarding.uid" => "involvedObject.uid",
        "reportingController" => "reportingComponent",
        same => same,
    },
};

fn rename<'a>(object: &mut Value, fields: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(map) = object.as_object_mut() else { return };
    for (from, to) in fields {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

/// The rules of this API, in the words of the stored form as upstream has them.
fn judge(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes = event::legacy(object, "reportingController");
    match context.old {
        None => created(object, &mut causes),
        Some(old) => updated(object, old, &mut causes),
    }
    causes
}

fn created(object: &Value, causes: &mut Vec<Cause>) {
    causes.extend(
        names::subdomain(text(object, "metadata.name"), false)
            .iter()
            .map(|problem| invalid("metadata.name", text(object, "metadata.name"), problem)),
    );
    series(object, causes);
    if text(object, "eventTime").is_empty() {
        causes.push(required("eventTime", ""));
    }
    let kind = text(object, "type");
    if !matches!(kind, "Normal" | "Warning") {
        causes.push(invalid("type", "", &format!("has invalid value: {kind}")));
    }
    let mut unset = |field: &str, is_set: bool| {
        if is_set {
            causes.push(invalid(field, "", "needs to be unset"));
        }
    };
    unset("firstTimestamp", !text(object, "firstTimestamp").is_empty());
    unset("lastTimestamp", !text(object, "lastTimestamp").is_empty());
    unset("count", int(object, "count") != 0);
    unset("source", ["source.component", "source.host"].iter().any(|path| !text(object, path).is_empty()));
}

/// An Event only gets a series, and that grows.
fn updated(object: &Value, old: &Value, causes: &mut Vec<Cause>) {
    if at(object, "series") != at(old, "series") {
        series(object, causes);
    }
    let mut unchanged = |path: &str, field: &str, same: bool| {
        if !same {
            // What is missing is the empty text in Go.
            let nothing = at(object, path).is_null() && at(old, path).is_string();
            causes.push(if nothing { immutable(field, &"".into()) } else { immutable(field, at(object, path)) });
        }
    };
    for path in ["involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "type"] {
        unchanged(path, path, is_same(at(object, path), at(old, path)));
    }
    // Clients that write less than microseconds change nothing.
    let moment = |event: &Value| Timestamp::parse(text(event, "eventTime")).ok().map(Timestamp::micros);
    unchanged("eventTime", "eventTime", moment(object) == moment(old));
    for (path, field) in [
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        unchanged(path, field, is_same(at(object, path), at(old, path)));
    }
}

/// Whether two values are one; absent and empty are.
fn is_same(a: &Value, b: &Value) -> bool {
    let nothing = |value: &Value| crate::fields::is_empty(value) || *value == 0;
    a == b || (nothing(a) && nothing(b))
}

fn series(object: &Value, causes: &mut Vec<Cause>) {
    if at(object, "series").is_null() {
        return;
    }
    if int(object, "series.count") < 2 {
        causes.push(invalid("series.count", "", "should be at least 2"));
    }
    if text(object, "series.lastObservedTime").is_empty() {
        causes.push(required("series.lastObservedTime", ""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(change: Value) -> Value {
        let mut event = json!({
            "metadata": {"name": "e", "namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z",
            "type": "Normal", "reportingController": "c", "reportingInstance": "c-1", "action": "Run", "reason": "Ran",
        });
        event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        event
    }

    fn check(new: Value, old: Option<Value>) -> Vec<String> {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: old.as_ref(), subresource: "" };
        let causes = (KIND.validate)(&new, &context);
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn new_events_are_of_the_new_form() {
        let cases = [
            (json!({}), vec![]),
            (
                json!({"series": {"count": 1, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}}),
                vec![r#"series.count: Invalid value: "": should be at least 2"#],
            ),
            (json!({"type": "Odd"}), vec![r#"type: Invalid value: "": has invalid value: Odd"#]),
            (json!({"deprecatedCount": 1}), vec![r#"count: Invalid value: "": needs to be unset"#]),
            (json!({"deprecatedSource": {"host": "n"}}), vec![r#"source: Invalid value: "": needs to be unset"#]),
        ];
        for (change, expected) in cases {
            assert_eq!(check(event(change.clone()), None), expected, "{change}");
        }
    }

    #[test]
    fn only_the_series_changes() {
        let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}});
        let cases = [
            (series, vec![]),
            (json!({"eventTime": "2026-01-01T00:00:00.0000009Z"}), vec![]),
            (json!({"note": "x"}), vec![r#"message: Invalid value: "x": field is immutable"#]),
            (
                json!({"regarding": {"name": "p"}}),
                vec![r#"involvedObject: Invalid value: {"name":"p"}: field is immutable"#],
            ),
            (
                json!({"reportingController": "d"}),
                vec![r#"reportingController: Invalid value: "d": field is immutable"#],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(check(event(change.clone()), Some(event(json!({})))), expected, "{change}");
        }
    }
}
