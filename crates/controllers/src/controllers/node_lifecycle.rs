//! Notices nodes that fall silent, taints what cannot take pods, and tells the pods of lost nodes that they are not ready.
//!
//! A node is heard through its lease and through its status. Its taints follow from its conditions:
//!
//! | condition                 | NoSchedule                  | NoExecute                   |
//! |---------------------------|-----------------------------|-----------------------------|
//! | Ready False               | not-ready                   | not-ready                   |
//! | Ready Unknown             | unreachable                 | unreachable                 |
//! | Memory, Disk, PIDPressure | …-pressure                  |                             |
//! | NetworkUnavailable        | network-unavailable         |                             |
//! | spec.unschedulable        | unschedulable               |                             |
//!
//! `NoExecute` is rationed per zone by the times of the taints already given, so that the loss of a zone does not evict
//! everything; where all nodes of all zones are lost, nothing is evicted: then it is rather the control plane that is cut off.

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Index};
use k8s_object::resources::{LEASES, NODES, PODS};
use k8s_object::views::{Condition, Lease, Node, Pod, Taint};
use k8s_object::{DecodeError, NamespacedName, Object};
use serde_json::{Value, json};
use world::Timestamp;

use super::{BY_NODE, condition_json, time, with_condition};
use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::view::View;

/// Nodes whose condition Ready is not True.
const UNREADY: Index = Index {
    name: "unready",
    keys: |object| match object.view::<Node>() {
        Ok(node) if is_ready(&node) => Vec::new(),
        _ => vec![String::new()],
    },
};

pub(super) static CONTROLLER: Controller = Controller {
    name: "node-lifecycle-controller",
    event_source: "node-controller",
    service_account: "node-controller",
    about: "Marks nodes that fall silent, taints nodes by their conditions, and marks the pods of lost nodes.",
    watches: &[
        Watched { resource: LEASES, indices: &[] },
        Watched { resource: NODES, indices: &[UNREADY] },
        Watched { resource: PODS, indices: &[BY_NODE] },
    ],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 8,
    rest: Duration::from_millis(10),
};

const LEASE_NAMESPACE: &str = "kube-node-lease";
const ZONE: &str = "topology.kubernetes.io/zone";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Condition, the status that taints, and the taint.
const PRESSURES: [(&str, &str); 4] = [
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// What a silent node can no longer tell.
const KUBELET_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

fn ready_status(node: &Node) -> Option<&str> {
    node.condition("Ready").map(|ready| ready.status.as_str())
}

fn is_ready(node: &Node) -> bool {
    ready_status(node) == Some("True")
}

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.resource == LEASES {
        // Renewals only move a deadline, which the node's own timer finds.
        let new = change.old.is_none() && change.key.namespace == LEASE_NAMESPACE;
        return if new { vec![Key::new(NODES, "", &change.key.name).into()] } else { Vec::new() };
    }
    if change.resource == PODS {
        // A pod bound to a lost node was not told with the others.
        let Some(new) = &change.new else { return Vec::new() };
        let Ok(pod) = new.view::<Pod>() else { return Vec::new() };
        let old = change.old.as_ref().and_then(|old| old.view::<Pod>().ok());
        if !pod.is_ready() || old.is_some_and(|old| old.is_ready() && old.spec.node_name == pod.spec.node_name) {
            return Vec::new();
        }
        let key = Key::new(NODES, "", &pod.spec.node_name);
        let node = view.get(&NODES, &key.object).and_then(|node| node.view::<Node>().ok());
        return if node.is_some_and(|node| !is_ready(&node)) { vec![key.into()] } else { Vec::new() };
    }
    let ready = |state: &Option<Arc<Object>>| {
        let node = state.as_ref().and_then(|object| object.view::<Node>().ok());
        node.map(|node| ready_status(&node).map(str::to_owned))
    };
    let mut keys = vec![Key { resource: NODES, object: change.key.clone() }];
    if ready(&change.old) != ready(&change.new) {
        // How many nodes are lost decides what happens to each of them.
        let others = view.indexed(&NODES, UNREADY.name, "");
        keys.extend(others.iter().filter(|other| other.key() != change.key).map(|other| Key::of(NODES, other)));
    }
    keys.into_iter().map(Trigger::from).collect()
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(object) = view.get(&NODES, &key.object) else { return Ok(plan) };
    let node = object.view::<Node>()?;
    let silent_at = silent_at(view, &object, &node)?;
    if silent_at > now {
        plan.requeue(silent_at.since(now));
    } else if let Some(conditions) = silent_conditions(&object, &node, now) {
        let name = &object.meta().name;
        if is_ready(&node) {
            plan.then(Action::event(&object, "NodeNotReady", format!("Node {name} status is now: NodeNotReady")));
        }
        let change = json!({"status": {"conditions": conditions}});
        plan.then(Action::Update { resource: NODES, base: object, subresource: "status", change });
        // The rest follows from the new conditions, which the view will show.
        return Ok(plan);
    }
    let (taints, retry) = taints(view, &object, &node, now)?;
    if let Some(retry) = retry {
        plan.requeue(retry);
    }
    if let Some(taints) = taints {
        plan.then(Action::Update {
            resource: NODES,
            base: object.clone(),
            subresource: "",
            change: json!({"spec": {"taints": taints}}),
        });
    }
    tell_pods(view, &object, &node, &mut plan, now)?;
    Ok(plan)
}

/// When the node counts as silent, given what was heard of it last.
fn silent_at(view: &View<'_>, object: &Object, node: &Node) -> Result<Timestamp, DecodeError> {
    let options = view.options();
    let lease = view.get(&LEASES, &NamespacedName::new(LEASE_NAMESPACE, object.meta().name.as_str()));
    let renewed = match lease {
        Some(lease) => lease.view::<Lease>()?.spec.renew_time.clone(),
        None => None,
    };
    // What this controller wrote itself is no sign of life.
    let reported = node.condition("Ready").filter(|ready| ready.reason != "NodeStatusUnknown");
    let reported = reported.filter(|ready| ready.reason != "NodeStatusNeverUpdated");
    let heard = [renewed.as_ref(), reported.and_then(|ready| ready.last_heartbeat_time.as_ref())];
    let created = time(object.meta().creation_timestamp.as_ref());
    // While the control plane was down nobody could be heard: upstream too counts from its first look at a node.
    let heard = heard.into_iter().flatten().map(|at| time(Some(at)).max(options.started));
    let by_heartbeat = heard.map(|at| at + options.node_monitor_grace_period).max();
    Ok(match by_heartbeat {
        // A new node gets its startup time even if what it said first is old.
        Some(at) if node.condition("Ready").is_some() => at,
        Some(at) => at.max(created + options.node_startup_grace_period),
        None => created + options.node_startup_grace_period,
    })
}

/// The conditions of a silent node, if they are not so already.
fn silent_conditions(object: &Object, node: &Node, now: Timestamp) -> Option<Value> {
    let mut conditions = object.value()["status"]["conditions"].take();
    let mut changed = false;
    for kind in KUBELET_CONDITIONS {
        let known = node.condition(kind);
        if known.is_some_and(|known| known.status == "Unknown") {
            continue;
        }
        let (reason, message) = match known {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        let heartbeat = match known {
            Some(known) => known.last_heartbeat_time.clone(),
            None => object.meta().creation_timestamp.clone(),
        };
        let unknown = Condition {
            kind: kind.into(),
            status: "Unknown".into(),
            reason: reason.into(),
            message: message.into(),
            last_heartbeat_time: heartbeat,
            last_transition_time: Some(now.to_string()),
            ..Condition::default()
        };
        conditions = with_condition(&conditions, condition_json(&unknown));
        changed = true;
    }
    changed.then_some(conditions)
}

/// The taints as they should be, if they are not so, and when to look again if a taint has to wait for its turn.
fn taints(
    view: &View<'_>,
    object: &Object,
    node: &Node,
    now: Timestamp,
) -> Result<(Option<Vec<Value>>, Option<Duration>), DecodeError> {
    let ready = ready_status(node);
    let lost = match ready {
        Some("True") => None,
        Some("False") => Some(NOT_READY),
        // A node without the condition has not said yet that it is well.
        Some(_) => Some(UNREACHABLE),
        None => Some(NOT_READY),
    };
    let mut wanted: Vec<(&str, &str)> = lost.map(|key| (key, "NoSchedule")).into_iter().collect();
    let pressed = PRESSURES.iter().filter(|(kind, _)| node.condition(kind).is_some_and(|c| c.status == "True"));
    wanted.extend(pressed.map(|(_, key)| (*key, "NoSchedule")));
    if node.spec.unschedulable {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let mut retry = None;
    if let (Some(key), Some(_)) = (lost, ready) {
        let evicting = |taint: &Taint| taint.effect == "NoExecute" && is_lost(&taint.key);
        match ration(view, object, now)? {
            Ration::Now => wanted.push((key, "NoExecute")),
            Ration::After(wait) if !node.spec.taints.iter().any(evicting) => retry = Some(wait),
            // It had its turn before; only which of the two taints it has may change.
            Ration::After(_) => wanted.push((key, "NoExecute")),
            Ration::Never => {}
        }
    }
    let managed = |taint: &Taint| {
        is_lost(&taint.key)
            || taint.effect == "NoSchedule"
                && (taint.key == UNSCHEDULABLE || PRESSURES.iter().any(|(_, key)| *key == taint.key))
    };
    let kept: Vec<&Taint> = node
        .spec
        .taints
        .iter()
        .filter(|taint| !managed(taint) || wanted.contains(&(taint.key.as_str(), taint.effect.as_str())))
        .collect();
    let missing: Vec<&(&str, &str)> = wanted
        .iter()
        .filter(|(key, effect)| !kept.iter().any(|taint| taint.key == *key && taint.effect == *effect))
        .collect();
    if missing.is_empty() && kept.len() == node.spec.taints.len() {
        return Ok((None, retry));
    }
    let kept = kept.into_iter().map(|taint| {
        let mut json = json!({"key": taint.key, "effect": taint.effect});
        if !taint.value.is_empty() {
            json["value"] = json!(taint.value);
        }
        if let Some(added) = &taint.time_added {
            json["timeAdded"] = json!(added);
        }
        json
    });
    let added =
        missing.into_iter().map(|(key, effect)| json!({"key": key, "effect": effect, "timeAdded": now.to_string()}));
    Ok((Some(kept.chain(added).collect()), retry))
}

fn is_lost(key: &str) -> bool {
    key == NOT_READY || key == UNREACHABLE
}

/// Whether a lost node may be emptied.
#[derive(Debug, PartialEq, Eq)]
enum Ration {
    Now,
    After(Duration),
    Never,
}

/// The zone's turn: one node per interval, slower or not at all where most of the zone is lost, never where everything is.
fn ration(view: &View<'_>, object: &Object, now: Timestamp) -> Result<Ration, DecodeError> {
    let options = view.options();
    let zone_of = |object: &Object| object.meta().labels.get(ZONE).unwrap_or_default().to_owned();
    let zone = zone_of(object);
    let (mut ready, mut in_zone, mut lost_in_zone) = (0_usize, 0_usize, 0_usize);
    let mut last: Option<Timestamp> = None;
    for other in view.list(&NODES) {
        let node = other.view::<Node>()?;
        let is_ready = is_ready(&node);
        ready += usize::from(is_ready);
        if zone_of(&other) != zone {
            continue;
        }
        in_zone += 1;
        lost_in_zone += usize::from(!is_ready);
        let evicting = node.spec.taints.iter().find(|taint| taint.effect == "NoExecute" && is_lost(&taint.key));
        if let Some(taint) = evicting.filter(|_| other.key() != object.key()) {
            last = last.max(Some(time(taint.time_added.as_ref())));
        }
    }
    if ready == 0 {
        return Ok(Ration::Never);
    }
    let broken = lost_in_zone > 2
        && lost_in_zone < in_zone
        && lost_in_zone * 100 >= in_zone * options.unhealthy_zone_threshold_percent;
    let interval = match broken {
        false => options.node_eviction_interval,
        true if in_zone > options.large_cluster_size_threshold => options.secondary_node_eviction_interval,
        true => return Ok(Ration::Never),
    };
    Ok(match last.map(|last| last + interval) {
        Some(turn) if turn > now => Ration::After(turn.since(now)),
        _ => Ration::Now,
    })
}

/// Marks the pods of a node that is not ready as not ready, each once per loss: what the kubelet reports later stands.
fn tell_pods(
    view: &View<'_>,
    object: &Object,
    node: &Node,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<(), DecodeError> {
    let Some(ready) = node.condition("Ready").filter(|ready| ready.status != "True") else { return Ok(()) };
    let lost_since = time(ready.last_transition_time.as_ref());
    for found in view.indexed(&PODS, BY_NODE.name, &object.meta().name) {
        let pod = found.view::<Pod>()?;
        let Some(known) = pod.condition("Ready").filter(|ready| ready.status == "True") else { continue };
        if ready.status == "False" && time(known.last_transition_time.as_ref()) > lost_since {
            continue;
        }
        let mut conditions = found.value()["status"]["conditions"].take();
        let mut not_ready = condition_json(&Condition {
            status: "False".into(),
            last_transition_time: Some(now.to_string()),
            ..known.clone()
        });
        for (key, value) in
            conditions.as_array().into_iter().flatten().filter(|own| own["type"] == "Ready").flat_map(fields)
        {
            if not_ready[key].is_null() {
                not_ready[key] = value.clone();
            }
        }
        conditions = with_condition(&conditions, not_ready);
        plan.then(Action::warning(&found, "NodeNotReady", "Node is not ready"));
        plan.then(Action::merge(PODS, &found, "status", json!({"status": {"conditions": conditions}})));
    }
    Ok(())
}

fn fields(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_with, object, options, plan_of};

    /// A node heard `heard` seconds before now (2026-01-01T00:00:00Z).
    fn node(name: &str, ready: &str, extra: Value) -> Arc<Object> {
        let mut value = json!({
            "metadata": {"creationTimestamp": "2025-12-31T00:00:00Z"},
            "status": {"conditions": [
                {"type": "MemoryPressure", "status": "False"}, {"type": "DiskPressure", "status": "False"},
                {"type": "PIDPressure", "status": "False"},
                {"type": "Ready", "status": ready, "lastTransitionTime": "2025-12-31T23:50:00Z"},
            ]},
        });
        crate::json::merge(&mut value, &extra);
        object(&NODES, "", name, value)
    }

    fn lease(renewed: &str) -> Arc<Object> {
        object(&LEASES, LEASE_NAMESPACE, "n", json!({"spec": {"renewTime": renewed}}))
    }

    fn planned(objects: &[Arc<Object>]) -> crate::testing::Planned {
        plan_of(&CONTROLLER, objects, &Key::new(NODES, "", "n"))
    }

    #[test]
    fn a_node_is_silent_after_the_grace_period() {
        let heard = planned(&[node("n", "True", json!({})), lease("2025-12-31T23:59:30.000000Z")]);
        assert_eq!((heard.actions.len(), heard.requeue_after), (0, Some(Duration::from_secs(10))));
        let silent = planned(&[node("n", "True", json!({})), lease("2025-12-31T23:59:20.000000Z")]);
        assert_eq!(silent.actions[0], "event n NodeNotReady: Node n status is now: NodeNotReady");
        assert_eq!(silent.actions[1].matches(r#""reason":"NodeStatusUnknown","status":"Unknown""#).count(), 4);
        let new = json!({"metadata": {"creationTimestamp": "2025-12-31T23:59:30Z"}, "status": {"conditions": null}});
        let new = planned(&[node("n", "", new)]);
        assert_eq!(new.requeue_after, Some(Duration::from_secs(30)), "the startup grace period");
        let never = planned(&[node("n", "", json!({"status": {"conditions": null}}))]);
        assert!(never.actions[0].contains("NodeStatusNeverUpdated"), "{:?}", never.actions);
    }

    #[test]
    fn no_node_is_silent_for_the_time_before_the_controllers_started() {
        let objects = [node("n", "True", json!({})), lease("2025-12-31T12:00:00.000000Z")];
        let key = Key::new(NODES, "", "n");
        let started = |at: &str| crate::Options { started: Timestamp::parse(at).unwrap(), ..options() };
        check_with(&started("2025-12-31T23:59:30Z"), &CONTROLLER, &objects, &key, &[]);
        let silent = plan_of(&CONTROLLER, &objects, &key);
        assert!(silent.actions[0].contains("NodeNotReady"), "{:?}", silent.actions);
    }

    #[test]
    fn taints_follow_conditions() {
        let fresh = || lease("2026-01-01T00:00:00Z");
        let healthy = || node("m", "True", json!({}));
        let taints = |taints: &[(&str, &str)]| {
            let taints: Vec<Value> = taints
                .iter()
                .map(|(key, effect)| json!({"effect": effect, "key": format!("node.kubernetes.io/{key}"), "timeAdded": "2026-01-01T00:00:00Z"}))
                .collect();
            format!(r#"update nodes n {{"spec":{{"taints":{}}}}}"#, json!(taints))
        };
        let cases = [
            ("ready", "True", json!({}), None),
            ("not ready", "False", json!({}), Some(taints(&[("not-ready", "NoSchedule"), ("not-ready", "NoExecute")]))),
            (
                "unreachable",
                "Unknown",
                json!({}),
                Some(taints(&[("unreachable", "NoSchedule"), ("unreachable", "NoExecute")])),
            ),
            (
                "cordoned",
                "True",
                json!({"spec": {"unschedulable": true}}),
                Some(taints(&[("unschedulable", "NoSchedule")])),
            ),
            (
                "recovered",
                "True",
                json!({"spec": {"taints": [{"key": NOT_READY, "effect": "NoExecute"}, {"key": "mine", "effect": "NoSchedule"}]}}),
                Some(r#"update nodes n {"spec":{"taints":[{"effect":"NoSchedule","key":"mine"}]}}"#.to_owned()),
            ),
        ];
        for (name, ready, extra, action) in cases {
            let plan = planned(&[node("n", ready, extra), fresh(), healthy()]);
            assert_eq!(plan.actions, Vec::from_iter(action), "{name}");
        }
    }

    #[test]
    fn evictions_are_rationed_by_zone() {
        let tainted = |name: &str, at: &str| {
            node(
                name,
                "Unknown",
                json!({"spec": {"taints": [{"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": at}]}}),
            )
        };
        let healthy = || node("healthy", "True", json!({}));
        let lost = || node("n", "Unknown", json!({}));
        let evicts = |objects: &[Arc<Object>]| {
            let plan = planned(&[objects, &[lease("2026-01-01T00:00:00Z")]].concat());
            (plan.actions.iter().any(|action| action.contains("NoExecute")), plan.requeue_after)
        };
        let (grace, wait) = (Some(Duration::from_secs(40)), Some(Duration::from_secs(6)));
        assert_eq!(evicts(&[lost(), healthy()]), (true, grace));
        assert_eq!(evicts(&[lost()]), (false, grace), "everything is lost");
        assert_eq!(
            evicts(&[lost(), healthy(), tainted("x", "2025-12-31T23:59:56Z")]),
            (false, wait),
            "one per ten seconds"
        );
        assert_eq!(evicts(&[lost(), healthy(), tainted("x", "2025-12-31T23:59:50Z")]), (true, grace));
        let most = [lost(), healthy(), tainted("x", "2025-12-31T00:00:00Z"), tainted("y", "2025-12-31T00:00:00Z")];
        assert_eq!(evicts(&most), (false, grace), "most of a small zone is lost");
    }

    #[test]
    fn pods_of_lost_nodes_are_not_ready() {
        let pod = |since: &str| {
            let status = json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since, "observedGeneration": 1}]});
            object(&PODS, "a", "p", json!({"spec": {"nodeName": "n"}, "status": status}))
        };
        let told = |ready: &str, since: &str| {
            let plan = planned(&[
                node("n", ready, json!({})),
                node("m", "True", json!({})),
                lease("2026-01-01T00:00:00Z"),
                pod(since),
            ]);
            plan.actions.last().cloned().unwrap_or_default()
        };
        let patch = r#"patch pods/status a/p {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":1,"status":"False","type":"Ready"}]}}"#;
        assert_eq!(told("Unknown", "2025-12-31T23:00:00Z"), patch);
        assert_eq!(told("False", "2025-12-31T23:00:00Z"), patch);
        assert!(!told("False", "2025-12-31T23:55:00Z").starts_with("patch"), "the kubelet said so after the loss");
        assert_eq!(told("True", "2025-12-31T23:00:00Z"), "");
    }
}
