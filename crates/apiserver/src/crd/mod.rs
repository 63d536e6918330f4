//! CustomResourceDefinitions: what they must look like, what becomes served because of them, and how their objects are written.
//!
//! A definition is installed when the feed brings it, in the order of commits, so every reader of the caches agrees on what is
//! served at a revision.

mod as_read;
mod controller;
pub(crate) mod convert;
mod install;
mod judge;
mod names;
mod rules;

use std::sync::Arc;

use k8s_object::Object;
use serde_json::{Value, json};
use world::Timestamp;

use crate::core::Call;
use crate::jsonpath::JsonPath;
use crate::metadata;
use crate::registry::{Resource, Strategy};

pub(crate) use as_read::{as_read, reads_otherwise};
pub(crate) use controller::run as control;
pub(crate) use install::changed;
pub(crate) use judge::{coerce, judge, type_of};
pub(crate) use names::establish_alone;
pub(crate) use rules::validate;

pub(crate) const GROUP: &str = "apiextensions.k8s.io";
pub(crate) const PLURAL: &str = "customresourcedefinitions";
/// Keeps a definition until its objects are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What is particular about one version of a custom resource.
pub(crate) struct Custom {
    pub columns: Vec<CustomColumn>,
    pub has_status: bool,
    pub scale: Option<Scale>,
    /// The definition is being deleted: nothing new may be created.
    pub terminating: bool,
    /// Who converts between versions that differ in more than `apiVersion`.
    pub conversion: Option<Arc<convert::Webhook>>,
    /// Whether the versions of the definition have different schemas.
    pub differs: bool,
    /// Paths of the fields that selectors may name, `spec.color`.
    pub selectable: Vec<String>,
}

/// A printer column.
pub(crate) struct CustomColumn {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub description: String,
    pub priority: i64,
    pub path: JsonPath,
}

/// Where the scale subresource finds its fields, as lists of names.
pub(crate) struct Scale {
    pub spec: Vec<String>,
    pub status: Vec<String>,
    pub selector: Option<Vec<String>>,
}

/// Whether the resource is that of definitions.
pub(crate) fn is_definition(group: &str, plural: &str) -> bool {
    group == GROUP && plural == PLURAL
}

fn custom(resource: &Resource) -> Option<&Custom> {
    match &resource.strategy {
        Strategy::Custom(custom) => Some(custom),
        Strategy::Builtin(_) => None,
    }
}

/// Whether what is written in one version may read otherwise in another.
pub(crate) fn differs(resource: &Resource) -> bool {
    custom(resource).is_some_and(|custom| custom.differs)
}

/// Whether objects come into the version of the resource by a webhook.
pub(crate) fn converts_by_webhook(resource: &Resource) -> bool {
    custom(resource).is_some_and(|custom| custom.conversion.is_some())
}

/// Before create: with a status subresource, status is not the client's.
pub(crate) fn prepare_create(resource: &Resource, object: &mut Value) {
    if custom(resource).is_some_and(|custom| custom.has_status)
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
    }
}

/// Before update: with a status subresource, status and the rest are written apart.
pub(crate) fn prepare_update(resource: &Resource, subresource: &str, new: &mut Value, before: &Value) {
    if !custom(resource).is_some_and(|custom| custom.has_status) {
        return;
    }
    let (base, status) = match subresource {
        "status" => {
            let mut base = before.clone();
            base["apiVersion"] = new["apiVersion"].clone();
            (base, new.get("status").cloned())
        }
        _ => (new.take(), before.get("status").cloned()),
    };
    *new = base;
    if let Some(map) = new.as_object_mut() {
        match status {
            Some(status) => map.insert("status".into(), status),
            None => map.remove("status"),
        };
    }
}

/// Whether an update counts up `generation`: anything but metadata, and but status where that is written apart.
pub(crate) fn counts_as_change(resource: &Resource, before: &Value, new: &Value) -> bool {
    let apart = custom(resource).is_some_and(|custom| custom.has_status);
    let counts = |name: &str| !(matches!(name, "apiVersion" | "metadata") || apart && name == "status");
    let (Some(before), Some(new)) = (before.as_object(), new.as_object()) else { return true };
    let changed = new.iter().any(|(name, value)| counts(name) && before.get(name) != Some(value));
    changed || before.keys().any(|name| counts(name) && !new.contains_key(name))
}

/// Whether something other than finalizers in `metadata` keeps the object: a namespace's own.
pub(crate) fn is_waiting(call: &Call<'_>, object: &Value) -> bool {
    call.resource.is("", "namespaces") && object["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

/// Sets a condition; its transition time moves only with its status.
fn set_condition(definition: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) {
    let conditions = &mut definition["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(list) = conditions.as_array_mut() else { return };
    let mut condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now.to_string(),
    });
    match list.iter_mut().find(|own| own["type"] == kind) {
        Some(own) => {
            if own["status"] == status {
                condition["lastTransitionTime"] = own["lastTransitionTime"].clone();
            }
            *own = condition;
        }
        None => list.push(condition),
    }
}

/// Says in its status that a definition is being deleted.
pub(crate) fn set_terminating(definition: &mut Value, now: Timestamp) {
    let message = "CustomResource deletion is in progress";
    set_condition(definition, "Terminating", "True", "InstanceDeletionInProgress", message, now);
}

/// Whether a stored definition is served.
fn is_established(definition: &Object) -> bool {
    names::is_true(&definition.value(), "Established")
}

/// What the author of a custom object is warned of: new finalizers that others may have too (apiextensions
/// `validateKubeFinalizerName`).
pub(crate) fn warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let known = old.map(|old| metadata::texts(old, "finalizers")).unwrap_or_default();
    let new: std::collections::BTreeSet<String> = metadata::texts(object, "finalizers").into_iter().collect();
    let mut warnings = Vec::new();
    for name in new.iter().filter(|name| !known.contains(name)) {
        let mut warn = |problem: &str| warnings.push(format!("metadata.finalizers: {name:?}: {problem}"));
        k8s_kinds::names::qualified(name).iter().for_each(|problem| warn(problem));
        if !k8s_kinds::names::is_finalizer_of_somebody(name) {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            warn(&format!(
                "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
            ));
        }
    }
    warnings
}
