//! Event: what happened to an object, said by a component.

use std::borrow::Cow;

use k8s_object::Cause;
use serde_json::Value;
use world::Timestamp;

use crate::age::since;
use crate::causes::{invalid, required};
use crate::columns::{Column, NAME};
use crate::fields::{at, int, text, text_at};
use crate::names::{self, path_segment};
use crate::{Context, Kind};

pub(crate) static KIND: Kind = Kind {
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    type_name: "io.k8s.api.core.v1.Event",
    name_rule: path_segment,
    columns: COLUMNS,
    selectable: &[
        "involvedObject.apiVersion",
        "involvedObject.fieldPath",
        "involvedObject.kind",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.resourceVersion",
        "involvedObject.uid",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    field,
    validate,
    creates_on_update: true,
    ..Kind::BASE
};

/// What a table shows of Events of both groups.
pub(super) const COLUMNS: &[Column] = &[
    Column::text("Last Seen", "Time since it was last seen.", |object, now| last_seen(object, now).into()),
    Column::text("Type", "Normal or Warning.", |object, _| text(object, "type").into()),
    Column::text("Reason", "Why, in one word.", |object, _| text(object, "reason").into()),
    Column::text("Object", "What it is about.", |object, _| about(object).into()),
    Column::text("Subobject", "The part of the object it is about.", |object, _| {
        text(object, "involvedObject.fieldPath").into()
    })
    .wide(),
    Column::text("Source", "Who says so.", |object, _| source(object).into()).wide(),
    Column::text("Message", "What happened.", |object, _| text(object, "message").trim().into()),
    Column::text("First Seen", "Time since it was first seen.", |object, now| first_seen(object, now).into()).wide(),
    Column::text("Count", "How often it was seen.", |object, _| count(object).into()).wide(),
    NAME.wide(),
];

fn field<'a>(object: &'a Value, path: &str) -> Cow<'a, str> {
    match path {
        "source" => first_of(object, "source.component", "reportingComponent").into(),
        other => text_at(object, other),
    }
}

fn first_of<'a>(object: &'a Value, first: &str, second: &str) -> &'a str {
    let found = text(object, first);
    if found.is_empty() { text(object, second) } else { found }
}

fn source(object: &Value) -> String {
    let component = first_of(object, "source.component", "reportingComponent");
    match first_of(object, "source.host", "reportingInstance") {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}

fn about(object: &Value) -> String {
    let kind = text(object, "involvedObject.kind").to_lowercase();
    match text(object, "involvedObject.name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn first_seen(object: &Value, now: Timestamp) -> String {
    since(first_of(object, "firstTimestamp", "eventTime"), now)
}

fn last_seen(object: &Value, now: Timestamp) -> String {
    if at(object, "series").is_object() {
        return since(text(object, "series.lastObservedTime"), now);
    }
    match text(object, "lastTimestamp") {
        "" => first_seen(object, now),
        seen => since(seen, now),
    }
}

fn count(object: &Value) -> i64 {
    match at(object, "series") {
        Value::Object(_) => int(object, "series.count"),
        _ => int(object, "count").max(1),
    }
}

/// What clients of the older API may send and change is hardly judged.
fn validate(object: &Value, _: &Context<'_>) -> Vec<Cause> {
    legacy(object, "reportingComponent")
}

/// The rules for writes through either API; `controller` is what its field is called there.
pub(super) fn legacy(object: &Value, controller: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (about, own) = (text(object, "involvedObject.namespace"), text(object, "metadata.namespace"));
    let mismatch = || invalid("involvedObject.namespace", about, "does not match event.namespace");
    // Events of the newer form, told by their time, have stricter rules.
    if text(object, "eventTime").is_empty() {
        // What has no namespace is reported on in `default`.
        if if about.is_empty() { !matches!(own, "" | "default") } else { about != own } {
            causes.push(mismatch());
        }
    } else {
        if about.is_empty() && !matches!(own, "default" | "kube-system") {
            causes.push(mismatch());
        }
        let reporter = text(object, "reportingComponent");
        if reporter.is_empty() {
            causes.push(required(controller, ""));
        }
        causes.extend(names::qualified(reporter).iter().map(|problem| invalid(controller, reporter, problem)));
        for (path, limit) in [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)] {
            let value = text(object, path);
            if value.is_empty() && path != "message" {
                causes.push(required(path, ""));
            }
            if value.len() > limit {
                causes.push(invalid(path, "", &format!("can have at most {limit} characters")));
            }
        }
    }
    causes.extend(names::subdomain(own, false).iter().map(|problem| invalid("namespace", own, problem)));
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_of_either_form_have_their_rules() {
        let newer = |change: Value| {
            let mut event = json!({
                "metadata": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z",
                "reportingComponent": "example.com/c", "reportingInstance": "c-1", "action": "Run", "reason": "Ran",
            });
            event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            event
        };
        let cases = [
            (json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}}), vec![]),
            (json!({"metadata": {"namespace": "default"}}), vec![]),
            (
                json!({"metadata": {"namespace": "a"}}),
                vec![r#"involvedObject.namespace: Invalid value: "": does not match event.namespace"#],
            ),
            (
                json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}}),
                vec![r#"involvedObject.namespace: Invalid value: "b": does not match event.namespace"#],
            ),
            (newer(json!({})), vec![]),
            (
                newer(json!({"reportingInstance": "", "action": ""})),
                vec!["reportingInstance: Required value", "action: Required value"],
            ),
            (
                newer(json!({"message": "x".repeat(1025)})),
                vec![r#"message: Invalid value: "": can have at most 1024 characters"#],
            ),
        ];
        for (event, expected) in cases {
            let causes = legacy(&event, "reportingComponent");
            let causes: Vec<String> =
                causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(causes, expected, "{event}");
        }
    }
}
