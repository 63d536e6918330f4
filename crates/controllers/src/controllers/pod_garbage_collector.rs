//! Removes pods that nobody else removes: of nodes that are gone, of nodes taken out of service, never bound and being
//! deleted, and finished ones when there are too many.

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Index};
use k8s_object::resources::{NODES, PODS};
use k8s_object::views::{Node, Pod};
use k8s_object::{NamespacedName, Object};
use serde_json::json;
use world::Timestamp;

use super::{BY_NODE, disruption_target, time, with_condition};
use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::view::{Read, View};

/// Pods that have come to their end.
const FINISHED: Index = Index {
    name: "finished",
    keys: |object| match object.view::<Pod>() {
        Ok(pod) if pod.is_finished() => vec![String::new()],
        _ => Vec::new(),
    },
};

pub(super) static CONTROLLER: Controller = Controller {
    name: "pod-garbage-collector-controller",
    event_source: "pod-garbage-collector-controller",
    service_account: "pod-garbage-collector",
    about: "Deletes pods of nodes that are gone, pods that were deleted before they were bound, and surplus finished pods.",
    watches: &[Watched { resource: NODES, indices: &[] }, Watched { resource: PODS, indices: &[BY_NODE, FINISHED] }],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 2,
    // A burst of pods that finish is one look at the surplus.
    rest: Duration::from_secs(1),
};

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    let grace = view.options().orphaned_pod_grace_period;
    if change.resource == NODES {
        let Some(new) = &change.new else {
            return vec![Trigger { key: Key::new(NODES, "", &change.key.name), after: grace }];
        };
        let out = new.view::<Node>().is_ok_and(|node| is_out_of_service(&node));
        return if out { vec![Key::of(NODES, new).into()] } else { Vec::new() };
    }
    let Some(new) = &change.new else { return Vec::new() };
    let Ok(pod) = new.view::<Pod>() else { return Vec::new() };
    let mut triggers = Vec::new();
    let node = pod.spec.node_name.as_str();
    if node.is_empty() {
        if new.meta().is_terminating() {
            triggers.push(Key::of(PODS, new).into());
        }
    } else {
        let key = Key::new(NODES, "", node);
        match view.get(&NODES, &key.object).map(|node| node.view::<Node>()) {
            None => triggers.push(Trigger { key, after: grace }),
            Some(Ok(node)) if new.meta().is_terminating() && is_out_of_service(&node) => triggers.push(key.into()),
            Some(_) => {}
        }
    }
    let was_finished = change.old.as_ref().and_then(|old| old.view::<Pod>().ok()).is_some_and(|old| old.is_finished());
    if pod.is_finished() && !was_finished {
        triggers.push(Key::new(PODS, "", "").into());
    }
    triggers
}

fn is_out_of_service(node: &Node) -> bool {
    node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE)
        && node.condition("Ready").is_none_or(|ready| ready.status != "True")
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    if key.resource == NODES {
        return node(view, key, now);
    }
    if key.object.name.is_empty() {
        return surplus(view);
    }
    let mut plan = Plan::nothing();
    if let Some(object) = view.get(&PODS, &key.object)
        && object.meta().is_terminating()
        && object.view::<Pod>()?.spec.node_name.is_empty()
    {
        remove(&mut plan, &object, None, now)?;
    }
    Ok(plan)
}

/// The pods of a node that is gone or out of service.
fn node(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let pods = view.indexed(&PODS, BY_NODE.name, &key.object.name);
    if pods.is_empty() {
        return Ok(plan);
    }
    if let Some(node) = view.get(&NODES, &key.object) {
        if is_out_of_service(&*node.view::<Node>()?) {
            for pod in pods.iter().filter(|pod| pod.meta().is_terminating()) {
                remove(&mut plan, pod, None, now)?;
            }
        }
        return Ok(plan);
    }
    let read = Read::Object(NODES, NamespacedName::new("", key.object.name.as_str()));
    match view.live(&read) {
        None => return Ok(Plan::ask(vec![read])),
        Some([]) => {}
        Some(_) => return Ok(plan),
    }
    for pod in &pods {
        remove(&mut plan, pod, Some("PodGC: node no longer exists"), now)?;
    }
    Ok(plan)
}

/// Finished pods above the threshold, the oldest first.
fn surplus(view: &View<'_>) -> Planned {
    let mut plan = Plan::nothing();
    let threshold = view.options().terminated_pod_gc_threshold;
    let mut finished = view.indexed(&PODS, FINISHED.name, "");
    finished.retain(|pod| !pod.meta().is_terminating());
    if threshold == 0 || finished.len() <= threshold {
        return Ok(plan);
    }
    let many = finished.len() - threshold;
    finished.sort_by_cached_key(|pod| (time(pod.meta().creation_timestamp.as_ref()), pod.key()));
    for pod in finished.iter().take(many) {
        plan.then(force_delete(pod));
    }
    Ok(plan)
}

fn force_delete(pod: &Object) -> Action {
    Action::Delete {
        resource: PODS,
        object: pod.key(),
        uid: pod.meta().uid.clone(),
        resource_version: None,
        propagation: None,
        grace_period_seconds: Some(0),
    }
}

/// Marks a pod that has not finished as failed, so that its controller counts it right, then deletes it without grace.
fn remove(
    plan: &mut Plan,
    object: &Arc<Object>,
    disrupted: Option<&str>,
    now: Timestamp,
) -> Result<(), k8s_object::DecodeError> {
    if !object.view::<Pod>()?.is_finished() {
        let mut status = json!({"status": {"phase": "Failed"}});
        if object.meta().generation > 0 {
            status["status"]["observedGeneration"] = object.meta().generation.into();
        }
        if let Some(message) = disrupted {
            let mut condition = disruption_target(object, "True", now);
            condition["reason"] = json!("DeletionByPodGC");
            condition["message"] = json!(message);
            status["status"]["conditions"] = with_condition(&object.value()["status"]["conditions"], condition);
        }
        plan.then(Action::merge(PODS, object, "status", status));
    }
    plan.then(force_delete(object));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_with, object, options};
    use serde_json::Value;

    fn pod(name: &str, extra: Value) -> Arc<Object> {
        object(&PODS, "a", name, extra)
    }

    const FAILED: &str = r#"patch pods/status a/p {"status":{"phase":"Failed"}}"#;
    const DISRUPTED: &str = r#"patch pods/status a/p {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"PodGC: node no longer exists","reason":"DeletionByPodGC","status":"True","type":"DisruptionTarget"}],"phase":"Failed"}}"#;
    const DISRUPTED_4: &str = r#"patch pods/status a/p {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"PodGC: node no longer exists","observedGeneration":4,"reason":"DeletionByPodGC","status":"True","type":"DisruptionTarget"}],"observedGeneration":4,"phase":"Failed"}}"#;

    #[test]
    fn lost_pods_are_removed() {
        let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let (bound, delete) = (json!({"spec": {"nodeName": "n"}}), "delete pods a/p");
        let node = || object(&NODES, "", "n", json!({}));
        let (pod_key, node_key) = (Key::new(PODS, "a", "p"), Key::new(NODES, "", "n"));
        let finished = json!({"spec": {"nodeName": "n"}, "status": {"phase": "Succeeded"}});
        let options = options();
        check_with(&options, &CONTROLLER, &[pod("p", going)], &pod_key, &[FAILED, delete]);
        check_with(&options, &CONTROLLER, &[pod("p", json!({}))], &pod_key, &[]);
        check_with(&options, &CONTROLLER, &[pod("p", bound.clone())], &node_key, &[DISRUPTED, delete]);
        let fourth = pod("p", json!({"metadata": {"generation": 4}, "spec": {"nodeName": "n"}}));
        check_with(&options, &CONTROLLER, &[fourth], &node_key, &[DISRUPTED_4, delete]);
        check_with(&options, &CONTROLLER, &[pod("p", finished)], &node_key, &[delete]);
        check_with(&options, &CONTROLLER, &[pod("p", bound.clone()), node()], &node_key, &[]);
        let out = object(
            &NODES,
            "",
            "n",
            json!({
                "spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]},
                "status": {"conditions": [{"type": "Ready", "status": "False"}]},
            }),
        );
        let mut leaving = bound;
        leaving["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        check_with(&options, &CONTROLLER, &[pod("p", leaving), out], &node_key, &[FAILED, delete]);
    }

    #[test]
    fn the_oldest_finished_pods_above_the_threshold_go() {
        let finished = |name: &str, created: &str| {
            pod(name, json!({"metadata": {"creationTimestamp": created}, "status": {"phase": "Failed"}}))
        };
        let options = crate::Options { terminated_pod_gc_threshold: 1, ..options() };
        let pods = [
            finished("a", "2025-01-03T00:00:00Z"),
            finished("b", "2025-01-01T00:00:00Z"),
            finished("c", "2025-01-02T00:00:00Z"),
            pod("d", json!({"status": {"phase": "Running"}})),
        ];
        check_with(&options, &CONTROLLER, &pods, &Key::new(PODS, "", ""), &["delete pods a/b", "delete pods a/c"]);
    }
}
