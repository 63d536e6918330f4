//! Who controls what: finding the objects of a controller, adopting and releasing them by selector.
//!
//! The rules are upstream's `ControllerRefManager`: an object with another controller is never touched, one without is
//! adopted when the selector selects it, one of ours is released when the selector no longer does.

use std::sync::Arc;

use k8s_client::Index;
use k8s_object::{GroupVersionResource, LabelSelector, NamespacedName, Object, ObjectMeta};
use serde_json::{Value, json};

use crate::controller::Action;
use crate::view::{Read, View};

/// By namespace, the objects that nobody controls.
pub(crate) const ORPHAN: Index = Index {
    name: "orphan",
    keys: |object| match object.meta().controller() {
        Some(_) => Vec::new(),
        None => vec![object.meta().namespace.clone()],
    },
};

/// An entry of `metadata.ownerReferences` that makes `owner` the controller.
pub(crate) fn controller_reference(owner: &Object) -> Value {
    json!({
        "apiVersion": owner.kind().api_version(), "kind": owner.kind().kind, "name": owner.meta().name,
        "uid": owner.meta().uid, "controller": true, "blockOwnerDeletion": true,
    })
}

/// The controller of an object if it is an object of `resource` (whose kind is `kind`) that the view holds.
pub(crate) fn controller_of(
    view: &View<'_>,
    meta: &ObjectMeta,
    resource: &GroupVersionResource,
    kind: &str,
) -> Option<Arc<Object>> {
    let reference = meta.controller().filter(|reference| reference.kind == kind)?;
    let owner = view.get(resource, &NamespacedName::new(meta.namespace.as_str(), reference.name.as_str()))?;
    (owner.meta().uid == reference.uid).then_some(owner)
}

/// What a controller has and what it must write to have it.
pub(crate) struct Claim {
    /// Owned and selected, adopted ones included, in order of their names.
    pub(crate) owned: Vec<Arc<Object>>,
    pub(crate) actions: Vec<Action>,
}

/// Claims the objects of `resource` for `owner`; `Err` asks the server first whether the owner may still adopt.
pub(crate) fn claim(
    view: &View<'_>,
    owner: &Object,
    owner_resource: &GroupVersionResource,
    selector: &LabelSelector,
    resource: &GroupVersionResource,
) -> Result<Claim, Vec<Read>> {
    let meta = owner.meta();
    let (mut owned, mut actions) = (Vec::new(), Vec::new());
    for object in view.indexed(resource, Index::OWNER.name, &meta.uid) {
        let mine = object.meta().controller().is_some_and(|controller| controller.uid == meta.uid);
        if !mine || object.meta().namespace != meta.namespace {
            continue;
        }
        if selector.matches(&object.meta().labels) {
            owned.push(object);
        } else if !meta.is_terminating() && !object.meta().is_terminating() {
            actions.push(owners(resource, &object, |reference| reference["uid"] != meta.uid.as_str(), None));
        }
    }
    if meta.is_terminating() {
        return Ok(Claim { owned, actions });
    }
    let orphans = view.indexed(resource, ORPHAN.name, &meta.namespace);
    let orphans: Vec<Arc<Object>> = orphans
        .into_iter()
        .filter(|orphan| !orphan.meta().is_terminating() && selector.matches(&orphan.meta().labels))
        .collect();
    if !orphans.is_empty() {
        let read = Read::Object(owner_resource.clone(), owner.key());
        let Some(live) = view.live(&read) else { return Err(vec![read]) };
        if live.first().is_some_and(|live| live.meta().uid == meta.uid && !live.meta().is_terminating()) {
            for orphan in orphans {
                actions.push(owners(resource, &orphan, |_| true, Some(controller_reference(owner))));
                owned.push(orphan);
            }
            owned.sort_by_key(|object| object.key());
        }
    }
    Ok(Claim { owned, actions })
}

/// Rewrites the owners of exactly this revision of an object: keeps some and adds one, in the place of what named it before.
pub(crate) fn owners(
    resource: &GroupVersionResource,
    object: &Object,
    keep: impl Fn(&Value) -> bool,
    add: Option<Value>,
) -> Action {
    let references = object.meta().owner_references.iter();
    let references =
        references.map(|reference| serde_json::to_value(reference).expect("an owner reference is plain JSON"));
    let mut references: Vec<Value> = references.filter(keep).collect();
    if let Some(add) = add {
        match references.iter_mut().find(|known| known["uid"] == add["uid"]) {
            Some(known) => *known = add,
            None => references.push(add),
        }
    }
    Action::merge(resource.clone(), object, "", json!({"metadata": {"ownerReferences": references}}))
}
