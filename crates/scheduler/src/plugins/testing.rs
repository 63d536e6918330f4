//! Pods and nodes for tables of cases, and the two checks that plugins' tests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_object::Object;
use serde_json::{Value, json};

use crate::framework::{Cycle, Diagnosis, Plugin, PreFilter, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::{PodInfo, PodKey};
use crate::snapshot::{Slot, Snapshot};

/// A pod with this spec and a name of its own.
pub fn pod(spec: Value) -> PodInfo {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("pod-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    named_pod(&name, spec)
}

/// A pod with this name and spec.
pub fn named_pod(name: &str, spec: Value) -> PodInfo {
    PodInfo::new(&pod_object(name, spec, json!({})), &Default::default()).unwrap()
}

/// The object of a pod that the default scheduler is to place.
pub fn pod_object(name: &str, mut spec: Value, labels: Value) -> Object {
    if spec["schedulerName"].is_null() {
        spec["schedulerName"] = json!("default-scheduler");
    }
    let value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "default", "name": name, "uid": format!("uid-of-{name}"), "labels": labels},
        "spec": spec,
    });
    Object::from_value(&value).unwrap()
}

/// A node, named `node` unless it says otherwise.
pub fn node(value: Value) -> NodeInfo {
    NodeInfo::new(Arc::new(node_object(value))).unwrap()
}

/// The object of a node.
pub fn node_object(mut value: Value) -> Object {
    value["apiVersion"] = json!("v1");
    value["kind"] = json!("Node");
    if value["metadata"]["name"].is_null() {
        value["metadata"]["name"] = json!("node");
    }
    Object::from_value(&value).unwrap()
}

/// A node with pods.
pub fn node_with(value: Value, pods: Vec<PodInfo>) -> NodeInfo {
    let mut node = node(value);
    pods.into_iter().for_each(|pod| node.add(Arc::new(pod)));
    node
}

/// Checks why a plugin refuses a node; the empty string is that it does not.
pub fn check_filter(plugin: &Plugin, name: &str, pod: PodInfo, node: NodeInfo, expected: &str) {
    let mut diagnosis = Diagnosis::default();
    let accepted = plugin.filter.unwrap()(&pod, &node, &Cycle::default(), &mut diagnosis) == Verdict::Fits;
    let message = diagnosis.message(1);
    let why =
        message.trim_start_matches("0/1 nodes are available:").trim_start().trim_end_matches('.').replace("1 ", "");
    assert_eq!((accepted, why.as_str()), (expected.is_empty(), expected), "{}: {name}", plugin.name);
}

/// Checks the normalized scores of nodes, which get names of their own where they have none.
pub fn check_score(plugin: &Plugin, name: &str, pod: PodInfo, nodes: Vec<NodeInfo>, expected: &[i64]) {
    let mut snapshot = Snapshot::default();
    let slots: Vec<usize> = nodes
        .into_iter()
        .enumerate()
        .map(|(i, mut node)| {
            node.name = format!("node-{i}").into();
            snapshot.set_node(node).0
        })
        .collect();
    snapshot.prepare(&pod);
    let scoring = plugin.score.as_ref().unwrap();
    let mut cycle = Cycle::default();
    assert!((scoring.prepare)(&pod, &snapshot, &slots, &mut cycle), "{}: {name}: has no opinion", plugin.name);
    let mut scores: Vec<i64> =
        slots.into_iter().map(|slot| (scoring.score)(&pod, snapshot.node(slot), &snapshot, &cycle)).collect();
    scoring.normalize.apply(&mut scores);
    assert_eq!(scores, expected, "{}: {name}", plugin.name);
}

/// A snapshot to ask one plugin about.
#[derive(Default)]
pub struct Cluster {
    snapshot: Snapshot,
}

impl Cluster {
    pub fn node(&mut self, name: &str, labels: Value) {
        self.snapshot.set_node(node(json!({"metadata": {"name": name, "labels": labels}})));
    }

    /// Adds a pod on a node and returns its name in the tables.
    pub fn pod(&mut self, node: &str, labels: Value, spec: Value) -> PodKey {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("running-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let pod = Arc::new(PodInfo::new(&pod_object(&name, spec, labels), &Default::default()).unwrap());
        self.snapshot.add_pod(node, pod.clone());
        pod.key.clone()
    }

    /// Adds a pod on the node that it names.
    pub fn add(&mut self, object: &Object) {
        let pod = PodInfo::new(object, &Default::default()).unwrap();
        let node = pod.node_name.clone();
        self.snapshot.add_pod(&node, Arc::new(pod));
    }

    pub fn remove_node(&mut self, name: &str) {
        assert!(self.snapshot.remove_node(name));
    }

    pub fn remove(&mut self, node: &str, key: &PodKey) {
        assert!(self.snapshot.remove_pod(node, key).is_some());
    }

    fn prepare(&mut self, pod: &Object) -> (PodInfo, Vec<Slot>) {
        let pod = PodInfo::new(pod, &Default::default()).unwrap();
        self.snapshot.prepare(&pod);
        let mut slots = self.snapshot.order().to_vec();
        slots.sort_by_key(|slot| self.snapshot.node(*slot).name.clone());
        (pod, slots)
    }

    /// The nodes that a plugin accepts, by name.
    pub fn accepted_by(&mut self, plugin: &Plugin, pod: &Object) -> Vec<String> {
        let (pod, slots) = self.prepare(pod);
        let mut cycle = Cycle::default();
        assert_eq!(plugin.pre_filter.unwrap()(&pod, &self.snapshot, &mut cycle), PreFilter::All);
        let accepts =
            |node: &&NodeInfo| plugin.filter.unwrap()(&pod, node, &cycle, &mut Diagnosis::default()) == Verdict::Fits;
        slots.iter().map(|slot| self.snapshot.node(*slot)).filter(accepts).map(|node| node.name.to_string()).collect()
    }

    /// The normalized scores of all nodes, by name; none when the plugin has no opinion.
    pub fn scores_of(&mut self, plugin: &Plugin, pod: &Object) -> Vec<(String, i64)> {
        let (pod, slots) = self.prepare(pod);
        let (mut cycle, scoring) = (Cycle::default(), plugin.score.as_ref().unwrap());
        if !(scoring.prepare)(&pod, &self.snapshot, &slots, &mut cycle) {
            return Vec::new();
        }
        let nodes = || slots.iter().map(|slot| self.snapshot.node(*slot));
        let mut scores: Vec<i64> = nodes().map(|node| (scoring.score)(&pod, node, &self.snapshot, &cycle)).collect();
        scoring.normalize.apply(&mut scores);
        nodes().map(|node| node.name.to_string()).zip(scores).collect()
    }
}
