//! Keeps classes of volume attributes that claims or volumes have: one that is being deleted loses its finalizer when nobody names it.

use std::time::Duration;

use k8s_client::Change;
use k8s_object::GroupVersionResource;
use serde_json::{Value, json};
use world::Timestamp;

use super::claim_protection::protected;
use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger};
use crate::view::View;

const CLASSES: GroupVersionResource = GroupVersionResource::of("storage.k8s.io", "v1", "volumeattributesclasses");
const CLAIMS: GroupVersionResource = GroupVersionResource::of("", "v1", "persistentvolumeclaims");
const VOLUMES: GroupVersionResource = GroupVersionResource::of("", "v1", "persistentvolumes");
const FINALIZER: &str = "kubernetes.io/vac-protection";

pub(super) static CONTROLLER: Controller = Controller {
    name: "volumeattributesclass-protection-controller",
    event_source: "volumeattributesclass-protection-controller",
    service_account: "volumeattributesclass-protection-controller",
    about: "Lets classes of volume attributes go that are being deleted when no claim or volume has them.",
    // Where the cluster serves classes.
    watches: &[],
    watches_everything: true,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 1,
    rest: Duration::from_secs(1),
};

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.resource == CLASSES {
        return vec![Key { resource: CLASSES, object: change.key.clone() }.into()];
    }
    if change.old.is_none() || ![CLAIMS, VOLUMES].contains(&change.resource) {
        return Vec::new();
    }
    let going = view.list(&CLASSES).into_iter().filter(|class| class.meta().is_terminating());
    going.map(|class| Key::of(CLASSES, &class).into()).collect()
}

fn plan(view: &View<'_>, key: &Key, _now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(class) = view.get(&CLASSES, &key.object) else { return Ok(plan) };
    let name = key.object.name.as_str();
    let used = || {
        let claims = view.list(&CLAIMS).iter().any(|claim| claim_names(&claim.value(), name));
        claims || view.list(&VOLUMES).iter().any(|own| own.value()["spec"]["volumeAttributesClassName"] == name)
    };
    if let Some(finalizers) = protected(&class, FINALIZER, used) {
        let change = json!({"metadata": {"finalizers": finalizers}});
        plan.then(Action::Update { resource: CLASSES, base: class, subresource: "", change });
    }
    Ok(plan)
}

/// Whether a claim has a class, wants it, or is on its way to it.
fn claim_names(claim: &Value, class: &str) -> bool {
    let status = &claim["status"];
    claim["spec"]["volumeAttributesClassName"] == class
        || status["currentVolumeAttributesClassName"] == class
        || status["modifyVolumeStatus"]["targetVolumeAttributesClassName"] == class
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, object};

    #[test]
    fn classes_go_when_nobody_has_them() {
        let meta = json!({"finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let class = || object(&CLASSES, "", "fast", json!({"metadata": meta}));
        let key = Key::new(CLASSES, "", "fast");
        let released = r#"update volumeattributesclasses fast {"metadata":{"finalizers":[]}}"#;
        let users = [
            object(&CLAIMS, "a", "c", json!({"spec": {"volumeAttributesClassName": "fast"}})),
            object(&CLAIMS, "a", "c", json!({"status": {"currentVolumeAttributesClassName": "fast"}})),
            object(&VOLUMES, "", "v", json!({"spec": {"volumeAttributesClassName": "fast"}})),
        ];
        for user in users {
            check(&CONTROLLER, &[class(), user], &key, &[]);
        }
        let other = object(&CLAIMS, "a", "c", json!({"spec": {"volumeAttributesClassName": "slow"}}));
        check(&CONTROLLER, &[class(), other], &key, &[released]);
    }
}
