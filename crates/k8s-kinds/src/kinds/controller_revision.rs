//! ControllerRevision: a past state of a StatefulSet or DaemonSet; its data never changes.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{immutable, non_negative, required};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, int, items, text};
use crate::{Context, Kind};

pub(crate) static KIND: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    type_name: "io.k8s.api.apps.v1.ControllerRevision",
    columns: &[
        NAME,
        Column::text("Controller", "Who controls it.", |object, _| controller(object).into()),
        Column::count("Revision", "Its place in the order of revisions.", |object, _| int(object, "revision").into()),
        AGE,
    ],
    validate,
    ..Kind::BASE
};

/// `statefulset.apps/web`
fn controller(object: &Value) -> String {
    let owner = items(object, "metadata.ownerReferences").iter().find(|owner| owner["controller"] == true);
    let Some(owner) = owner else { return "<none>".to_owned() };
    let kind = text(owner, "kind").to_lowercase();
    match text(owner, "apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "name")),
        None => format!("{kind}/{}", text(owner, "name")),
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes: Vec<Cause> = non_negative("revision", at(object, "revision")).into_iter().collect();
    match at(object, "data") {
        Value::Null => causes.push(required("data", "data is mandatory")),
        Value::Object(_) => {}
        _ => causes.push(required("data", "data must be a valid JSON object")),
    }
    if let Some(old) = context.old
        && at(old, "data") != at(object, "data")
    {
        causes.push(immutable("data", at(object, "data")));
    }
    causes
}
