//! Which nodes a DaemonSet is for, and the pod that it makes for one of them.

use k8s_object::Object;
use k8s_object::views::{DaemonSet, Node, Taint, Toleration};
use serde_json::{Value, json};

use super::super::replicaset::pod_body;
use super::pods::{GENERATION_LABEL, HASH, template_generation};

/// Taints of nodes in trouble that every daemon tolerates, and the effect of each.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// One more that those on the network of their node tolerate.
const TOLERATED_BY_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

fn tolerated(set: &DaemonSet) -> impl Iterator<Item = (&'static str, &'static str)> {
    let host = set.spec.template.spec.host_network;
    TOLERATED.into_iter().chain(host.then_some(TOLERATED_BY_HOST_NETWORK))
}

/// What a DaemonSet has to do with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    /// It should have a pod there.
    pub(super) should_run: bool,
    /// A pod that is there may stay.
    pub(super) may_stay: bool,
}

impl Placement {
    pub(super) fn of(set: &DaemonSet, node: &Node) -> Placement {
        let spec = &set.spec.template.spec;
        let is_named = spec.node_name.is_empty() || spec.node_name == node.metadata.name;
        if !is_named || !spec.selects_node(&node.metadata) {
            return Placement { should_run: false, may_stay: false };
        }
        let untolerated = |taint: &&Taint| {
            let own = spec.tolerations.iter().any(|toleration| toleration.tolerates(taint));
            !own && !tolerated(set).any(|(key, effect)| key == taint.key && effect == taint.effect)
        };
        let with =
            |effect: &str| node.spec.taints.iter().filter(|taint| taint.effect == effect).any(|own| untolerated(&own));
        let evicted = with("NoExecute");
        Placement { should_run: !evicted && !with("NoSchedule"), may_stay: !evicted }
    }
}

/// A pod for a node. The scheduler binds it: its affinity leaves only that node.
pub(super) fn body(object: &Object, set: &DaemonSet, hash: &str, node: &str) -> Value {
    let mut body = pod_body(object, &set.spec.template.json);
    let labels = &mut body["metadata"]["labels"];
    if let Some(generation) = template_generation(set) {
        labels[GENERATION_LABEL] = json!(generation.to_string());
    }
    labels[HASH] = json!(hash);
    let mut tolerations = body["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for (key, effect) in tolerated(set) {
        tolerate(&mut tolerations, key, effect);
    }
    body["spec"]["tolerations"] = Value::Array(tolerations);
    let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]);
    body["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] =
        terms;
    body
}

/// Tolerates a taint without end: instead of an equal toleration that has one, or at the end of the list.
fn tolerate(tolerations: &mut Vec<Value>, key: &str, effect: &str) {
    let own = json!({"key": key, "operator": "Exists", "effect": effect});
    let is_same = |other: &Value| {
        let other: Toleration = serde_json::from_value(other.clone()).unwrap_or_default();
        (other.key.as_str(), other.operator.as_str(), other.effect.as_str()) == (key, "Exists", effect)
            && other.value.is_empty()
    };
    let mut found = false;
    for other in tolerations.iter_mut().filter(|other| is_same(other)) {
        *other = own.clone();
        found = true;
    }
    if !found {
        tolerations.push(own);
    }
}
