//! Keeps claims that pods use.
//!
//! Admission gives every PersistentVolumeClaim a finalizer; a claim that is being deleted loses it when no pod that has a node refers
//! to the claim (kubelets start no pod with a claim that is going).

use std::time::Duration;

use k8s_client::{Change, Index};
use k8s_object::resources::PODS;
use k8s_object::views::Pod;
use k8s_object::{GroupVersionResource, NamespacedName, Object};
use serde_json::{Value, json};
use world::Timestamp;

use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::view::View;

const CLAIMS: GroupVersionResource = GroupVersionResource::of("", "v1", "persistentvolumeclaims");
const FINALIZER: &str = "kubernetes.io/pvc-protection";

/// Pods that have a node by the claims that they use.
const BY_CLAIM: Index =
    Index { name: "claim", keys: |object| claims(object).into_iter().map(|key| key.to_string()).collect() };

pub(super) static CONTROLLER: Controller = Controller {
    name: "persistentvolumeclaim-protection-controller",
    event_source: "persistentvolumeclaim-protection-controller",
    service_account: "pvc-protection-controller",
    about: "Lets claims go that are being deleted when no pod uses them.",
    // Claims are watched where the cluster serves them.
    watches: &[Watched { resource: PODS, indices: &[BY_CLAIM] }],
    watches_everything: true,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 2,
    rest: Duration::ZERO,
};

/// The claims of a pod that has a node.
fn claims(pod: &Object) -> Vec<NamespacedName> {
    // Everybody who reads pods shares this view, and this is asked at every change of each.
    let Ok(view) = pod.view::<Pod>() else { return Vec::new() };
    if view.spec.node_name.is_empty() {
        return Vec::new();
    }
    let names =
        view.spec.volumes.iter().filter_map(|volume| match volume["persistentVolumeClaim"]["claimName"].as_str() {
            Some(name) => Some(name.to_owned()),
            None if volume["ephemeral"].is_object() => {
                Some(format!("{}-{}", pod.meta().name, volume["name"].as_str().unwrap_or("")))
            }
            None => None,
        });
    names.map(|name| NamespacedName::new(pod.meta().namespace.clone(), name)).collect()
}

fn triggers(change: &Change, _view: &View<'_>) -> Vec<Trigger> {
    if change.resource == CLAIMS {
        return vec![Key { resource: CLAIMS, object: change.key.clone() }.into()];
    }
    // Only what a pod lets go matters.
    if change.resource != PODS {
        return Vec::new();
    }
    let Some(old) = &change.old else { return Vec::new() };
    let kept = change.new.as_ref().map(|new| claims(new)).unwrap_or_default();
    let gone = claims(old).into_iter().filter(|claim| !kept.contains(claim));
    gone.map(|object| Key { resource: CLAIMS, object }.into()).collect()
}

fn plan(view: &View<'_>, key: &Key, _now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(claim) = view.get(&CLAIMS, &key.object) else { return Ok(plan) };
    let used = || !view.indexed(&PODS, BY_CLAIM.name, &key.object.to_string()).is_empty();
    if let Some(finalizers) = protected(&claim, FINALIZER, used) {
        let change = json!({"metadata": {"finalizers": finalizers}});
        plan.then(Action::Update { resource: CLAIMS, base: claim, subresource: "", change });
    }
    Ok(plan)
}

/// The finalizers that an object should have instead of its own: with the protection while it lives, without it when it is to go and
/// nobody uses it.
pub(super) fn protected(object: &Object, finalizer: &str, used: impl FnOnce() -> bool) -> Option<Value> {
    let own = &object.meta().finalizers;
    let has = own.iter().any(|name| name == finalizer);
    if object.meta().is_terminating() {
        let rest: Vec<&String> = own.iter().filter(|name| *name != finalizer).collect();
        return (has && !used()).then(|| json!(rest));
    }
    (!has).then(|| own.iter().map(String::as_str).chain([finalizer]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, object};

    #[test]
    fn claims_go_when_no_pod_uses_them() {
        let claim = |going: bool| {
            let mut meta = json!({"metadata": {"finalizers": ["a/b", FINALIZER]}});
            if going {
                meta["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            object(&CLAIMS, "a", "c", meta)
        };
        let pod = |node: &str, volume: Value| {
            object(&PODS, "a", "p", json!({"spec": {"nodeName": node, "volumes": [volume]}}))
        };
        let named = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
        let key = Key::new(CLAIMS, "a", "c");
        let released = r#"update persistentvolumeclaims a/c {"metadata":{"finalizers":["a/b"]}}"#;
        check(&CONTROLLER, &[claim(false)], &key, &[]);
        check(&CONTROLLER, &[claim(true)], &key, &[released]);
        check(&CONTROLLER, &[claim(true), pod("n", named.clone())], &key, &[]);
        check(&CONTROLLER, &[claim(true), pod("", named)], &key, &[released]);
        let key = Key::new(CLAIMS, "a", "p-v");
        let ephemeral = || {
            object(
                &CLAIMS,
                "a",
                "p-v",
                json!({"metadata": {"finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            )
        };
        check(&CONTROLLER, &[ephemeral(), pod("n", json!({"name": "v", "ephemeral": {}}))], &key, &[]);
        let unprotected = object(&CLAIMS, "a", "p-v", json!({}));
        check(
            &CONTROLLER,
            &[unprotected],
            &key,
            &[r#"update persistentvolumeclaims a/p-v {"metadata":{"finalizers":["kubernetes.io/pvc-protection"]}}"#],
        );
    }
}
