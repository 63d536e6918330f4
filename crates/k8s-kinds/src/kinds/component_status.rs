//! ComponentStatus: how the parts of the control plane are. It is answered, not stored.

use serde_json::Value;

use crate::columns::{Column, NAME};
use crate::fields::{items, text};
use crate::{Deprecation, Kind, Scope};

pub(crate) static KIND: Kind = Kind {
    kind: "ComponentStatus",
    plural: "componentstatuses",
    singular: "componentstatus",
    short_names: &["cs"],
    scope: Scope::Cluster,
    verbs: &["get", "list"],
    deprecated: Some(Deprecation { since: 19, replacement: "" }),
    type_name: "io.k8s.api.core.v1.ComponentStatus",
    columns: &[
        NAME,
        Column::text("Status", "Whether it is healthy.", |object, _| match healthy(object) {
            Some(condition) if text(condition, "status") == "True" => "Healthy".into(),
            Some(_) => "Unhealthy".into(),
            None => "Unknown".into(),
        }),
        Column::text("Message", "What it said.", |object, _| said(object, "message").into()),
        Column::text("Error", "What went wrong.", |object, _| said(object, "error").into()),
    ],
    ..Kind::BASE
};

fn healthy(object: &Value) -> Option<&Value> {
    items(object, "conditions").iter().find(|condition| text(condition, "type") == "Healthy")
}

fn said<'a>(object: &'a Value, key: &str) -> &'a str {
    healthy(object).map_or("", |condition| text(condition, key))
}
