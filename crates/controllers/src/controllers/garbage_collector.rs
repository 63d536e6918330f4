//! Deletes what belongs to objects that are gone, in the order that was asked for.
//!
//! Owners and dependents are found by uid in the indices of all watched resources; there is no second graph. What the view
//! takes for absent is asked of the server before anything is deleted for it.
//!
//! | owner                                   | its dependents                                                   |
//! |-----------------------------------------|------------------------------------------------------------------|
//! | there                                   | stay                                                             |
//! | gone                                    | are deleted, or lose the reference if another owner is there     |
//! | going, finalizer `foregroundDeletion`   | are deleted first; those that block keep the owner               |
//! | going, finalizer `orphan`               | lose the reference and stay                                      |

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Index, Propagation};
use k8s_object::{NamespacedName, Object, ObjectMeta, OwnerReference};
use serde_json::json;
use world::Timestamp;

use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger};
use crate::options::ResourceInfo;
use crate::ownership::owners;
use crate::view::{Read, View};

pub(super) static CONTROLLER: Controller = Controller {
    name: "garbage-collector-controller",
    event_source: "garbage-collector-controller",
    service_account: "generic-garbage-collector",
    about: "Deletes the dependents of objects that are gone or going.",
    watches: &[],
    watches_everything: true,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 20,
    rest: Duration::ZERO,
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().any(|own| own == finalizer)
}

/// Whether an object waits for its dependents to go.
fn waits(meta: &ObjectMeta) -> bool {
    meta.is_terminating() && has(meta, FOREGROUND)
}

/// Where an owner would be; `None` for kinds that the cluster does not serve and for references that cannot be, from a
/// cluster-scoped object to a namespaced one. Such owners count as there: deleting for them would be a guess.
fn place(view: &View<'_>, meta: &ObjectMeta, owner: &OwnerReference) -> Option<(ResourceInfo, NamespacedName)> {
    let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let info = view.resource_of(group, &owner.kind)?;
    if info.namespaced && meta.namespace.is_empty() {
        return None;
    }
    let namespace = if info.namespaced { meta.namespace.as_str() } else { "" };
    Some((info, NamespacedName::new(namespace, owner.name.as_str())))
}

/// All objects that name `uid` as an owner.
fn dependents(view: &View<'_>, uid: &str) -> Vec<(ResourceInfo, Arc<Object>)> {
    let of = |info: &ResourceInfo| view.indexed(&info.resource, Index::OWNER.name, uid);
    let resources = view.resources().into_iter();
    resources.flat_map(|info| of(&info).into_iter().map(move |object| (info.clone(), object))).collect()
}

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    let mut keys: Vec<Key> = Vec::new();
    let dependents_of = |uid: &str| {
        let dependents = dependents(view, uid);
        dependents.into_iter().map(|(info, object)| Key::of(info.resource, &object)).collect::<Vec<Key>>()
    };
    let old = change.old.as_deref().map(Object::meta);
    let new = change.new.as_deref().map(Object::meta);
    if let Some(meta) = new {
        if meta.is_terminating() && (has(meta, FOREGROUND) || has(meta, ORPHAN)) {
            keys.push(Key { resource: change.resource.clone(), object: change.key.clone() });
            if waits(meta) && !old.is_some_and(waits) {
                keys.extend(dependents_of(&meta.uid));
            }
        } else if !meta.is_terminating() && meta.owner_references.iter().any(|owner| is_doubtful(view, meta, owner)) {
            keys.push(Key { resource: change.resource.clone(), object: change.key.clone() });
        }
    } else if let Some(meta) = old {
        keys.extend(dependents_of(&meta.uid));
    }
    // Owners that wait for this object to go, or to stop blocking them.
    if let Some(meta) = old {
        for owner in &meta.owner_references {
            if new.is_some_and(|new| new.uid == meta.uid && new.owner_references.contains(owner)) {
                continue;
            }
            let Some((info, key)) = place(view, meta, owner) else { continue };
            if view.get(&info.resource, &key).is_some_and(|found| found.meta().uid == owner.uid && waits(found.meta()))
            {
                keys.push(Key { resource: info.resource, object: key });
            }
        }
    }
    keys.into_iter().map(Trigger::from).collect()
}

/// Whether an owner is absent from the view or waits for its dependents.
fn is_doubtful(view: &View<'_>, meta: &ObjectMeta, owner: &OwnerReference) -> bool {
    let Some((info, key)) = place(view, meta, owner) else { return false };
    view.get(&info.resource, &key).is_none_or(|found| found.meta().uid != owner.uid || waits(found.meta()))
}

fn plan(view: &View<'_>, key: &Key, _now: Timestamp) -> Planned {
    let Some(object) = view.get(&key.resource, &key.object) else { return Ok(Plan::nothing()) };
    if object.meta().is_terminating() {
        return Ok(release(view, key, &object));
    }
    Ok(collect(view, key, &object))
}

/// What a going owner does about its dependents.
fn release(view: &View<'_>, key: &Key, object: &Object) -> Plan {
    let mut plan = Plan::nothing();
    let meta = object.meta();
    let without = |finalizer: &str| {
        let kept: Vec<&String> = meta.finalizers.iter().filter(|own| *own != finalizer).collect();
        Action::merge(key.resource.clone(), object, "", json!({"metadata": {"finalizers": kept}}))
    };
    if has(meta, ORPHAN) {
        for (info, dependent) in dependents(view, &meta.uid) {
            plan.then(owners(&info.resource, &dependent, |reference| reference["uid"] != meta.uid.as_str(), None));
        }
        plan.then(without(ORPHAN));
    } else if has(meta, FOREGROUND) {
        let blocks = |dependent: &Object| {
            let mut references = dependent.meta().owner_references.iter();
            references.any(|owner| owner.uid == meta.uid && owner.block_owner_deletion == Some(true))
        };
        if !dependents(view, &meta.uid).iter().any(|(_, dependent)| blocks(dependent)) {
            plan.then(without(FOREGROUND));
        }
    }
    plan
}

/// What becomes of an object, given its owners.
fn collect(view: &View<'_>, key: &Key, object: &Object) -> Plan {
    let mut plan = Plan::nothing();
    let meta = object.meta();
    let (mut there, mut gone, mut waiting, mut questions) = (0, Vec::new(), Vec::new(), Vec::new());
    for owner in &meta.owner_references {
        let Some((info, place)) = place(view, meta, owner) else {
            there += 1;
            continue;
        };
        let seen = view.get(&info.resource, &place).filter(|found| found.meta().uid == owner.uid);
        let found = match seen {
            Some(found) => Some(found),
            None => {
                let read = Read::Object(info.resource, place);
                match view.live(&read) {
                    Some(answer) => answer.first().filter(|found| found.meta().uid == owner.uid).cloned(),
                    None => {
                        questions.push(read);
                        continue;
                    }
                }
            }
        };
        match found {
            None => gone.push(owner.uid.as_str()),
            Some(found) if waits(found.meta()) => waiting.push(owner.uid.as_str()),
            Some(_) => there += 1,
        }
    }
    if !questions.is_empty() {
        return Plan::ask(questions);
    }
    if gone.is_empty() && waiting.is_empty() {
        return plan;
    }
    if there > 0 {
        let lost = |uid: &serde_json::Value| gone.iter().chain(&waiting).any(|lost| uid == *lost);
        plan.then(owners(&key.resource, object, |reference| !lost(&reference["uid"]), None));
        return plan;
    }
    let propagation = if !waiting.is_empty() && !dependents(view, &meta.uid).is_empty() {
        // Two objects that own each other and both wait would wait for ever: the one that is looked at stops blocking.
        if dependents(view, &meta.uid).iter().any(|(_, dependent)| waits(dependent.meta())) {
            let unblocked = meta.owner_references.iter().map(|owner| {
                let mut json = serde_json::to_value(owner).expect("an owner reference is plain JSON");
                json["blockOwnerDeletion"] = json!(false);
                json
            });
            let unblocked: Vec<serde_json::Value> = unblocked.collect();
            plan.then(Action::merge(
                key.resource.clone(),
                object,
                "",
                json!({"metadata": {"ownerReferences": unblocked}}),
            ));
        }
        Propagation::Foreground
    } else if has(meta, ORPHAN) {
        Propagation::Orphan
    } else if has(meta, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    plan.then(Action::Delete {
        resource: key.resource.clone(),
        object: key.object.clone(),
        uid: meta.uid.clone(),
        // An owner may have come since; not so after the plan itself has just written the object.
        resource_version: plan.steps.is_empty().then(|| meta.resource_version.clone()),
        propagation: Some(propagation),
        grace_period_seconds: None,
    });
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, plan_of};
    use k8s_object::resources::{CONFIG_MAPS, NODES, PODS, REPLICA_SETS};
    use serde_json::Value;

    fn owner(name: &str, meta: Value) -> Arc<Object> {
        object(&REPLICA_SETS, "a", name, json!({"metadata": meta}))
    }

    fn reference(name: &str, blocks: bool) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": format!("replicasets-a-{name}"), "blockOwnerDeletion": blocks})
    }

    fn pod(references: Value) -> Arc<Object> {
        object(&PODS, "a", "p", json!({"metadata": {"ownerReferences": references}}))
    }

    fn going(finalizer: &str) -> Value {
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer, "other"]})
    }

    #[test]
    fn dependents_follow_their_owners() {
        let key = Key::new(PODS, "a", "p");
        let keep_one = r#"patch pods a/p {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"kind":"ReplicaSet","name":"r","uid":"replicasets-a-r"}]}}"#;
        let other_uid = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "older"}]);
        let unknown = json!([{"apiVersion": "x.io/v1", "kind": "Widget", "name": "w", "uid": "w"}]);
        let cases = [
            ("owner there", vec![owner("r", json!({})), pod(json!([reference("r", true)]))], vec![]),
            ("owner gone", vec![pod(json!([reference("r", true)]))], vec!["delete pods a/p Background"]),
            ("owner replaced", vec![owner("r", json!({})), pod(other_uid)], vec!["delete pods a/p Background"]),
            ("kind unknown", vec![pod(unknown)], vec![]),
            (
                "one of two gone",
                vec![owner("r", json!({})), pod(json!([reference("r", true), reference("s", true)]))],
                vec![keep_one],
            ),
            (
                "owner waits",
                vec![owner("r", going(FOREGROUND)), pod(json!([reference("r", true)]))],
                vec!["delete pods a/p Background"],
            ),
            ("owner going in background", vec![owner("r", going("z")), pod(json!([reference("r", true)]))], vec![]),
        ];
        for (name, objects, actions) in cases {
            assert_eq!(plan_of(&CONTROLLER, &objects, &key).actions, actions, "{name}");
        }
    }

    #[test]
    fn going_owners_wait_for_dependents_or_let_them_go() {
        let key = Key::new(REPLICA_SETS, "a", "r");
        let go = r#"patch replicasets a/r {"metadata":{"finalizers":["other"]}}"#;
        let orphan = r#"patch pods a/p {"metadata":{"ownerReferences":[]}}"#;
        let cases = [
            ("a blocking dependent", FOREGROUND, vec![pod(json!([reference("r", true)]))], vec![]),
            ("a dependent that does not block", FOREGROUND, vec![pod(json!([reference("r", false)]))], vec![go]),
            ("none left", FOREGROUND, vec![], vec![go]),
            ("orphans", ORPHAN, vec![pod(json!([reference("r", true)]))], vec![orphan, go]),
        ];
        for (name, finalizer, mut objects, actions) in cases {
            objects.push(owner("r", going(finalizer)));
            assert_eq!(plan_of(&CONTROLLER, &objects, &key).actions, actions, "{name}");
        }
    }

    #[test]
    fn a_cluster_scoped_object_cannot_have_a_namespaced_owner() {
        let node = object(&NODES, "", "n", json!({"metadata": {"ownerReferences": [reference("r", true)]}}));
        assert_eq!(plan_of(&CONTROLLER, &[node], &Key::new(NODES, "", "n")).actions, [""; 0]);
    }

    #[test]
    fn what_has_dependents_itself_goes_in_the_foreground() {
        let set = object(&REPLICA_SETS, "a", "s", json!({"metadata": {"ownerReferences": [reference("r", true)]}}));
        let map = json!({"metadata": {"ownerReferences": [reference("s", true)]}});
        let objects = [owner("r", going(FOREGROUND)), set, object(&CONFIG_MAPS, "a", "m", map)];
        let plan = plan_of(&CONTROLLER, &objects, &Key::new(REPLICA_SETS, "a", "s"));
        assert_eq!(plan.actions, ["delete replicasets a/s Foreground"]);
    }
}
