//! Keeps volumes that are bound to claims: a PersistentVolume that is being deleted loses its finalizer when it is bound no more.

use std::time::Duration;

use k8s_client::Change;
use k8s_object::GroupVersionResource;
use serde_json::json;
use world::Timestamp;

use super::claim_protection::protected;
use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger};
use crate::view::View;

const VOLUMES: GroupVersionResource = GroupVersionResource::of("", "v1", "persistentvolumes");
const FINALIZER: &str = "kubernetes.io/pv-protection";

pub(super) static CONTROLLER: Controller = Controller {
    name: "persistentvolume-protection-controller",
    event_source: "persistentvolume-protection-controller",
    service_account: "pv-protection-controller",
    about: "Lets volumes go that are being deleted when no claim is bound to them.",
    // Where the cluster serves volumes.
    watches: &[],
    watches_everything: true,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 2,
    rest: Duration::ZERO,
};

fn triggers(change: &Change, _view: &View<'_>) -> Vec<Trigger> {
    if change.resource != VOLUMES {
        return Vec::new();
    }
    vec![Key { resource: VOLUMES, object: change.key.clone() }.into()]
}

fn plan(view: &View<'_>, key: &Key, _now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(volume) = view.get(&VOLUMES, &key.object) else { return Ok(plan) };
    if let Some(finalizers) = protected(&volume, FINALIZER, || volume.value()["status"]["phase"] == "Bound") {
        let change = json!({"metadata": {"finalizers": finalizers}});
        plan.then(Action::Update { resource: VOLUMES, base: volume, subresource: "", change });
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, object};

    #[test]
    fn volumes_go_when_they_are_not_bound() {
        let volume = |phase: &str| {
            let meta = json!({"finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"});
            object(&VOLUMES, "", "v", json!({"metadata": meta, "status": {"phase": phase}}))
        };
        let key = Key::new(VOLUMES, "", "v");
        check(&CONTROLLER, &[volume("Bound")], &key, &[]);
        check(
            &CONTROLLER,
            &[volume("Released")],
            &key,
            &[r#"update persistentvolumes v {"metadata":{"finalizers":[]}}"#],
        );
        check(
            &CONTROLLER,
            &[object(&VOLUMES, "", "v", json!({}))],
            &key,
            &[r#"update persistentvolumes v {"metadata":{"finalizers":["kubernetes.io/pv-protection"]}}"#],
        );
    }
}
