//! The claims on storage of a StatefulSet's pods, and who owns them: nobody as long as they are to be kept.

use std::sync::Arc;

use k8s_object::resources::PERSISTENT_VOLUME_CLAIMS;
use k8s_object::views::StatefulSet;
use k8s_object::{NamespacedName, Object, OwnerReference};
use serde_json::{Value, json};

use crate::controller::Action;
use crate::ownership::controller_reference;
use crate::view::View;

pub(super) fn claim_name(set: &Object, template: &str, ordinal: i64) -> String {
    format!("{template}-{}-{ordinal}", set.meta().name)
}

/// The claims of a pod: each template with the name that the claim has or would have.
fn names<'a>(
    object: &'a Object,
    set: &'a StatefulSet,
    ordinal: i64,
) -> impl Iterator<Item = (&'a Value, NamespacedName)> {
    set.spec.volume_claim_templates.iter().map(move |template| {
        let name = claim_name(object, template["metadata"]["name"].as_str().unwrap_or_default(), ordinal);
        (template, NamespacedName::new(object.meta().namespace.as_str(), name))
    })
}

/// What to do about the claims of a pod before it is made.
pub(super) struct Missing {
    /// Creations, each with its event.
    pub(super) actions: Vec<Action>,
    /// A claim that is going: the pod must wait for its end.
    pub(super) going: Option<String>,
}

/// The claims of a pod that are not there.
pub(super) fn missing(view: &View<'_>, object: &Arc<Object>, set: &StatefulSet, ordinal: i64) -> Missing {
    let mut missing = Missing { actions: Vec::new(), going: None };
    for (template, place) in names(object, set, ordinal) {
        match view.get(&PERSISTENT_VOLUME_CLAIMS, &place) {
            Some(claim) if claim.meta().is_terminating() => missing.going = Some(place.name),
            Some(_) => {}
            None => {
                let (set_name, name) = (&object.meta().name, &place.name);
                let message = format!("create Claim {name} Pod {set_name}-{ordinal} in StatefulSet {set_name} success");
                missing.actions.push(Action::Create {
                    resource: PERSISTENT_VOLUME_CLAIMS,
                    namespace: place.namespace.clone(),
                    body: body(object, template, name),
                    exists_ok: false,
                });
                missing.actions.push(Action::event(object, "SuccessfulCreate", message));
            }
        }
    }
    missing
}

fn body(object: &Object, template: &Value, name: &str) -> Value {
    let mut metadata = template["metadata"].clone();
    metadata["name"] = json!(name);
    metadata["namespace"] = json!(object.meta().namespace);
    let selector = object.value()["spec"]["selector"]["matchLabels"].clone();
    for (key, value) in selector.as_object().into_iter().flatten() {
        metadata["labels"][key] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]})
}

/// Which claims are deleted: with the set, and with a pod that is scaled away.
fn deletes(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    policy.map_or((false, false), |policy| (policy.when_deleted == "Delete", policy.when_scaled == "Delete"))
}

/// A pod as an owner: its name, and its uid if it is there.
pub(super) struct Owner<'a> {
    pub(super) name: &'a str,
    pub(super) pod: Option<&'a Object>,
    /// Whether it is beyond the size of the set.
    pub(super) surplus: bool,
}

fn is_set(reference: &OwnerReference, set: &Object) -> bool {
    reference.api_version == "apps/v1" && reference.kind == "StatefulSet" && reference.name == set.meta().name
}

fn is_pod(reference: &OwnerReference, name: &str) -> bool {
    reference.api_version == "v1" && reference.kind == "Pod" && reference.name == name
}

/// Whether a claim still belongs to an earlier pod of the name, with which it will go.
pub(super) fn is_stale(view: &View<'_>, object: &Object, set: &StatefulSet, ordinal: i64) -> bool {
    let name = format!("{}-{ordinal}", object.meta().name);
    deletes(set).1
        && names(object, set, ordinal).any(|(_, place)| {
            let claim = view.get(&PERSISTENT_VOLUME_CLAIMS, &place);
            claim.is_some_and(|claim| claim.meta().owner_references.iter().any(|own| is_pod(own, &name)))
        })
}

/// Writes that give the claims of a pod the owners that the retention policy asks for.
pub(super) fn owned(
    view: &View<'_>,
    object: &Arc<Object>,
    set: &StatefulSet,
    ordinal: i64,
    owner: &Owner<'_>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for (_, place) in names(object, set, ordinal) {
        let Some(claim) = view.get(&PERSISTENT_VOLUME_CLAIMS, &place) else { continue };
        let Some((references, conflict)) = references(&claim, object, set, owner) else { continue };
        if conflict {
            let message = format!(
                "PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim",
                place.name
            );
            actions.push(Action::warning(object, "ConflictingController", message));
        }
        actions.push(Action::Update {
            resource: PERSISTENT_VOLUME_CLAIMS,
            base: claim,
            subresource: "",
            change: json!({"metadata": {"ownerReferences": references}}),
        });
    }
    actions
}

/// The owners of a claim as they should be, and whether somebody else controls it; `None` if they are so, or must be left alone.
fn references(claim: &Object, object: &Object, set: &StatefulSet, owner: &Owner<'_>) -> Option<(Vec<Value>, bool)> {
    let own = &claim.meta().owner_references;
    let (set_uid, pod_uid) = (object.meta().uid.as_str(), owner.pod.map(|pod| pod.meta().uid.as_str()));
    let ours = |reference: &OwnerReference| reference.uid == set_uid || Some(reference.uid.as_str()) == pod_uid;
    let named = |reference: &OwnerReference| is_set(reference, object) || is_pod(reference, owner.name);
    // Of an earlier set or pod: it goes with that.
    if own.iter().any(|reference| named(reference) && !ours(reference)) {
        return None;
    }
    let (when_deleted, when_scaled) = deletes(set);
    let others = || own.iter().filter(|reference| !named(reference));
    let conflict = (when_deleted || when_scaled) && others().any(|reference| reference.controller == Some(true));
    let json = |reference: &OwnerReference| serde_json::to_value(reference).unwrap_or(Value::Null);
    if conflict {
        return own.iter().any(ours).then(|| (others().map(json).collect(), true));
    }
    let pod_owns = when_scaled && owner.surplus;
    let set_owns = when_deleted && !pod_owns;
    let has = |uid: Option<&str>| own.iter().any(|reference| Some(reference.uid.as_str()) == uid);
    let weak = own.iter().any(|reference| ours(reference) && reference.controller != Some(true));
    if has(Some(set_uid)) == set_owns && has(pod_uid) == (pod_owns && pod_uid.is_some()) && !weak {
        return None;
    }
    let mut references: Vec<Value> = others().map(json).collect();
    references.extend(set_owns.then(|| controller_reference(object)));
    references.extend(owner.pod.filter(|_| pod_owns).map(controller_reference));
    Some((references, false))
}
