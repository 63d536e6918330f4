//! Evicts pods from nodes whose `NoExecute` taints they do not tolerate, or no longer.

use std::time::Duration;

use k8s_client::Change;
use k8s_object::NamespacedName;
use k8s_object::resources::{NODES, PODS};
use k8s_object::views::{Node, Pod, Taint};
use serde_json::json;
use world::Timestamp;

use super::{BY_NODE, disruption_target, time, with_condition};
use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::view::View;

pub(super) static CONTROLLER: Controller = Controller {
    name: "taint-eviction-controller",
    event_source: "taint-eviction-controller",
    service_account: "node-controller",
    about: "Deletes pods that do not tolerate the NoExecute taints of their node, after the seconds they tolerate them.",
    watches: &[Watched { resource: NODES, indices: &[] }, Watched { resource: PODS, indices: &[BY_NODE] }],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 8,
    rest: Duration::ZERO,
};

fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.taints.iter().filter(|taint| taint.effect == "NoExecute")
}

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.resource == NODES {
        let Some(new) = change.new.as_ref().and_then(|new| new.view::<Node>().ok()) else { return Vec::new() };
        let old = change.old.as_ref().and_then(|old| old.view::<Node>().ok());
        let same = old.as_deref().is_some_and(|old| no_execute(old).eq(no_execute(&new)));
        if same || no_execute(&new).next().is_none() {
            return Vec::new();
        }
        let pods = view.indexed(&PODS, BY_NODE.name, &change.key.name);
        return pods.iter().map(|pod| Key::of(PODS, pod).into()).collect();
    }
    let Some(new) = &change.new else { return Vec::new() };
    let Ok(pod) = new.view::<Pod>() else { return Vec::new() };
    let old = change.old.as_ref().and_then(|old| old.view::<Pod>().ok());
    let same =
        old.is_some_and(|old| old.spec.node_name == pod.spec.node_name && old.spec.tolerations == pod.spec.tolerations);
    let node = view.get(&NODES, &NamespacedName::new("", pod.spec.node_name.as_str()));
    let tainted = node.and_then(|node| node.view::<Node>().ok()).is_some_and(|node| no_execute(&node).next().is_some());
    if tainted && !same { vec![Key::of(PODS, new).into()] } else { Vec::new() }
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(object) = view.get(&PODS, &key.object) else { return Ok(plan) };
    let pod = object.view::<Pod>()?;
    let node = view.get(&NODES, &NamespacedName::new("", pod.spec.node_name.as_str()));
    let Some(node) = node.filter(|_| !object.meta().is_terminating()) else { return Ok(plan) };
    let node = node.view::<Node>()?;
    match evicted_at(&pod, &node, now) {
        Some(at) if at > now => plan.requeue(at.since(now)),
        Some(_) => {
            plan.then(Action::event(
                &object,
                "TaintManagerEviction",
                format!("Marking for deletion Pod {}", key.object),
            ));
            let mut condition = disruption_target(&object, "True", now);
            condition["reason"] = json!("DeletionByTaintManager");
            condition["message"] = json!("Taint manager: deleting due to NoExecute taint");
            if pod.condition("DisruptionTarget").is_none_or(|known| known.reason != "DeletionByTaintManager") {
                let conditions = with_condition(&object.value()["status"]["conditions"], condition);
                plan.then(Action::merge(PODS, &object, "status", json!({"status": {"conditions": conditions}})));
            }
            plan.then(Action::delete(PODS, &object));
        }
        None => {}
    }
    Ok(plan)
}

/// When the node's taints end the pod's stay; `None` if it may stay.
fn evicted_at(pod: &Pod, node: &Node, now: Timestamp) -> Option<Timestamp> {
    let mut earliest: Option<Timestamp> = None;
    for taint in no_execute(node) {
        let since = taint.time_added.as_ref().map_or(now, |added| time(Some(added)));
        let tolerations: Vec<_> =
            pod.spec.tolerations.iter().filter(|toleration| toleration.tolerates(taint)).collect();
        let at = match tolerations.is_empty() {
            true => Some(since.min(now)),
            // Of several that match the shortest counts; one without seconds is no limit.
            false => tolerations
                .iter()
                .filter_map(|toleration| toleration.toleration_seconds)
                .min()
                .map(|seconds| since + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
        };
        earliest = match (earliest, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    earliest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, plan_of};
    use serde_json::Value;

    #[test]
    fn pods_stay_as_long_as_they_tolerate() {
        // Time is 2026-01-01T00:00:00Z; taints are a minute old.
        let taint = |effect: &str| json!([{"key": "k", "effect": effect, "timeAdded": "2025-12-31T23:59:00Z"}]);
        let tolerate = |seconds: Value| json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
        let cases = [
            ("no taint", json!([]), json!([]), None, false),
            ("another effect", taint("NoSchedule"), json!([]), None, false),
            ("not tolerated", taint("NoExecute"), json!([]), None, true),
            ("tolerated", taint("NoExecute"), tolerate(json!(null)), None, false),
            ("tolerated for now", taint("NoExecute"), tolerate(json!(300)), Some(240), false),
            ("tolerated too long", taint("NoExecute"), tolerate(json!(60)), None, true),
            ("tolerated never", taint("NoExecute"), tolerate(json!(-1)), None, true),
        ];
        for (name, taints, tolerations, requeue, evicted) in cases {
            let objects = [
                object(&NODES, "", "n", json!({"spec": {"taints": taints}})),
                object(&PODS, "a", "p", json!({"spec": {"nodeName": "n", "tolerations": tolerations}})),
            ];
            let plan = plan_of(&CONTROLLER, &objects, &Key::new(PODS, "a", "p"));
            assert_eq!(plan.requeue_after, requeue.map(Duration::from_secs), "{name}");
            assert_eq!(plan.actions.last().map(String::as_str), evicted.then_some("delete pods a/p"), "{name}");
        }
    }
}
