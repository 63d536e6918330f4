//! Views of objects: `meta.k8s.io/v1` Table and PartialObjectMetadata.

use k8s_kinds::Column;
use k8s_kinds::columns::{AGE, CREATED_AT, NAME};
use k8s_object::Object;
use serde_json::{Value, json};
use world::Timestamp;

use super::negotiate::{Accepted, View};
use crate::registry::{Resource, Strategy};

/// The columns of a `Scale`, whatever it belongs to.
const SCALE: &[Column] = &[
    NAME,
    Column::integer("Desired", "How many replicas are wanted.", |scale, _| replicas(&scale["spec"])),
    Column::integer("Available", "How many replicas there are.", |scale, _| replicas(&scale["status"])),
    AGE,
];
/// The columns of what has none of its own.
const PLAIN: &[Column] = &[NAME, CREATED_AT];

fn replicas(of: &Value) -> Value {
    of["replicas"].as_i64().unwrap_or(0).into()
}

/// What a row carries beside its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    Metadata,
    Nothing,
    Object,
}

impl Include {
    pub(crate) fn parse(text: Option<&str>) -> Option<Include> {
        match text.unwrap_or("Metadata") {
            "Metadata" => Some(Include::Metadata),
            "None" => Some(Include::Nothing),
            "Object" => Some(Include::Object),
            _ => None,
        }
    }
}

/// A PartialObjectMetadata of an object, in a version of `meta.k8s.io`.
pub(crate) fn partial(value: &Value, meta: &str) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": meta, "metadata": value["metadata"]})
}

fn definitions(columns: &[Column]) -> Value {
    let definitions = columns.iter().map(|column| {
        json!({
            "name": column.name, "type": column.kind, "format": column.format,
            "description": column.description, "priority": column.priority,
        })
    });
    definitions.collect()
}

/// The definitions of the columns.
fn columns(resource: &Resource) -> Value {
    match &resource.strategy {
        Strategy::Builtin(kind) => definitions(kind.columns),
        Strategy::Custom(custom) => {
            let own = &k8s_kinds::columns::NAME;
            let name = json!({
                "name": own.name, "type": own.kind, "format": own.format, "description": own.description, "priority": 0,
            });
            let columns = custom.columns.iter().map(|column| {
                json!({
                    "name": column.name, "type": column.kind, "format": column.format,
                    "description": column.description, "priority": column.priority,
                })
            });
            std::iter::once(name).chain(columns).collect()
        }
    }
}

fn cells(resource: &Resource, value: &Value, now: Timestamp) -> Vec<Value> {
    match &resource.strategy {
        Strategy::Builtin(kind) => {
            let stored = kind.conversion.map(|conversion| {
                let mut stored = value.clone();
                (conversion.to_storage)(&mut stored);
                stored
            });
            let value = stored.as_ref().unwrap_or(value);
            kind.columns.iter().map(|column| (column.cell)(value, now)).collect()
        }
        Strategy::Custom(custom) => {
            let name = value["metadata"]["name"].clone();
            let cells = custom.columns.iter().map(|column| custom_cell(&column.kind, column.path.first(value), now));
            std::iter::once(name).chain(cells).collect()
        }
    }
}

fn custom_cell(kind: &str, found: Option<&Value>, now: Timestamp) -> Value {
    let Some(found) = found else { return Value::Null };
    match (kind, found) {
        ("integer", Value::Number(number)) => {
            number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)).map_or(Value::Null, Value::from)
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => found.clone(),
        ("date", Value::String(text)) => match Timestamp::parse(text) {
            Ok(moment) => Value::from(k8s_kinds::human_duration(now.since(moment))),
            Err(_) => Value::from("<invalid>"),
        },
        ("string", Value::String(_)) => found.clone(),
        ("string", other) => Value::from(other.to_string()),
        _ => Value::Null,
    }
}

/// What is asked for beside the columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub include: Include,
    /// The version of `meta.k8s.io` in which it is told.
    pub meta: &'static str,
}

/// A row for an object.
pub(crate) fn row(resource: &Resource, object: &Object, options: Options, now: Timestamp) -> Value {
    row_of(resource, object.value(), options, now)
}

/// A row for an object as a value.
pub(crate) fn row_of(resource: &Resource, value: Value, options: Options, now: Timestamp) -> Value {
    let cells = cells(resource, &value, now);
    row_with(cells, value, options)
}

fn row_with(cells: Vec<Value>, value: Value, options: Options) -> Value {
    // The mark of a bookmark is told in any case.
    let marked = value["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true";
    let object = match options.include {
        Include::Object => value,
        Include::Nothing if !marked => Value::Null,
        Include::Metadata | Include::Nothing => partial(&value, options.meta),
    };
    json!({"cells": cells, "object": object})
}

/// An answer that is no object of the resource, such as a `Scale` or a review, as it was asked for. A `Status` is what it is in
/// any view (apiserver `handlers/response.go`).
pub(crate) fn answer(value: Value, accepted: Accepted, include: Include, now: Timestamp) -> Value {
    let kind = value["kind"].as_str().unwrap_or("");
    let meta = accepted.meta;
    match accepted.view {
        View::PartialObjectMetadata if kind != "Status" => partial(&value, meta),
        View::Table if kind != "Status" => {
            let columns = if kind == "Scale" { SCALE } else { PLAIN };
            let metadata = match value["metadata"].get("resourceVersion") {
                Some(version) => json!({"resourceVersion": version}),
                None => json!({}),
            };
            let cells = columns.iter().map(|column| (column.cell)(&value, now)).collect();
            let row = row_with(cells, value, Options { include, meta });
            json!({
                "kind": "Table", "apiVersion": meta, "metadata": metadata,
                "columnDefinitions": definitions(columns), "rows": [row],
            })
        }
        _ => value,
    }
}

/// A Table of rows.
pub(crate) fn table(resource: &Resource, metadata: Value, rows: Vec<Value>, meta: &str, with_columns: bool) -> Value {
    let columns = if with_columns { columns(resource) } else { Value::Null };
    json!({
        "kind": "Table", "apiVersion": meta, "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}
