//! Event: what happened to an object, said by a component.

use std::borrow::Cow;

use k8s_object::Cause;
use serde_json::Value;
use world::Timestamp;

use crate::age::since;
use crate::causes::{invalid, required};
use crate::columns::{Column, NAME};
use crate::fields::{at, int, text, text_at};
use crate::{Context, Kind};

pub(crate) static KIND: Kind = Kind {
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    type_name: "io.k8s.api.core.v1.Event",
    columns: &[
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
        Column::text("First Seen", "Time since it was first seen.", |object, now| first_seen(object, now).into())
            .wide(),
        Column::text("Count", "How often it was seen.", |object, _| count(object).into()).wide(),
        NAME.wide(),
    ],
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
    ..Kind::BASE
};

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

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    const NOTE_LIMIT: usize = 1024;
    let mut causes = Vec::new();
    let about = text(object, "involvedObject.namespace");
    let own = text(object, "metadata.namespace");
    // What has no namespace is reported on in `default` or wherever the reporter lives.
    if !about.is_empty() && about != own {
        causes.push(invalid("involvedObject.namespace", about, "does not match event.namespace"));
    }
    // Events of the newer form, told by their time, have stricter rules.
    if context.old.is_none() && !text(object, "eventTime").is_empty() {
        for (path, name) in [
            ("reportingComponent", "reportingController"),
            ("reportingInstance", "reportingInstance"),
            ("action", "action"),
            ("reason", "reason"),
        ] {
            if text(object, path).is_empty() {
                causes.push(required(name, ""));
            }
        }
        if text(object, "message").len() > NOTE_LIMIT {
            causes.push(invalid("message", "", "can have at most 1024 characters"));
        }
    }
    causes
}
