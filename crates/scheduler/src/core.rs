//! The scheduler without its surroundings: objects go in, decisions come out. No clock, no io, no randomness of its own.
//!
//! A pod that was decided is counted on its node at once (assumed), before it is bound, so that the next decision sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_object::{NamespacedName, Object};

use crate::framework::{Cycle, Diagnosis, Event, Events, PluginSet, PreFilter, Reason};
use crate::node_info::NodeInfo;
use crate::plugins::PLUGINS;
use crate::pod_info::{PodInfo, PodKey};
use crate::queue::{Queue, QueueLengths};
use crate::snapshot::{Slot, Snapshot};

/// With fewer nodes all are tried (kube-scheduler `minFeasibleNodesToFind`).
const MIN_FEASIBLE_NODES: usize = 100;

/// The smallest share of nodes to find, in percent (`minFeasibleNodesPercentageToFind`).
const MIN_PERCENTAGE: usize = 5;

/// What is to be done about a pod.
#[derive(Debug, Clone)]
pub enum Decision {
    /// Bind it, then say how it went with [`Core::bound`] or [`Core::bind_failed`].
    Bind { pod: Arc<PodInfo>, node: Arc<str> },
    /// Tell that it found no node. It waits in the queue.
    Unschedulable { pod: Arc<PodInfo>, message: String },
}

/// Where a known pod stands.
#[derive(Debug)]
enum Place {
    Queued,
    /// Decided by this scheduler and not seen bound yet.
    Assumed(Arc<PodInfo>, Box<str>),
    /// Seen bound.
    Assigned(Arc<PodInfo>, Box<str>),
}

/// Which pods are this scheduler's, and how far it looks.
#[derive(Debug, Clone)]
pub struct CoreOptions {
    /// Pods with this `spec.schedulerName` are scheduled.
    pub scheduler_name: String,
    /// The share of nodes to find in percent before the best is chosen; `None` adapts to how many there are.
    pub percentage_of_nodes_to_score: Option<usize>,
}

/// See the module.
pub struct Core {
    options: CoreOptions,
    snapshot: Snapshot,
    queue: Queue,
    pods: BTreeMap<PodKey, Place>,
    /// Where the next search begins, so that all nodes have their turn.
    next_start: usize,
    /// Kept between decisions for its memory only.
    feasible: Vec<Slot>,
}

impl Core {
    pub fn new(options: CoreOptions) -> Core {
        Core {
            options,
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            pods: BTreeMap::new(),
            next_start: 0,
            feasible: Vec::new(),
        }
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn queue_lengths(&self) -> QueueLengths {
        self.queue.lengths()
    }

    /// When time alone gives the scheduler something to do.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.queue.next_deadline()
    }

    /// Whether a pod is to be tried now.
    pub fn is_ready(&mut self, now: Duration) -> bool {
        self.queue.is_ready(now)
    }

    /// A node as it is now; absent when it is gone. One that cannot be decoded is as good as gone.
    pub fn set_node(&mut self, name: &str, object: Option<&Arc<Object>>, now: Duration) {
        let Some(node) = object.and_then(|object| NodeInfo::new(object.clone()).ok()) else {
            if self.snapshot.remove_node(name) {
                self.queue.event(&Event { events: Events::NODE_REMOVED, node: None, pod: None }, now);
            }
            return;
        };
        let (slot, events) = self.snapshot.set_node(node);
        if !events.is_none() {
            self.queue.event(&Event { events, node: Some(self.snapshot.node(slot)), pod: None }, now);
        }
    }

    /// A pod as it is now; absent when it is gone. One that cannot be decoded is as good as gone.
    pub fn set_pod(&mut self, key: &NamespacedName, object: Option<&Object>, now: Duration) {
        let pod = object.and_then(|object| PodInfo::new(object).ok());
        // A pod of the same name is another pod: the old one has gone unseen.
        let replaced = match (self.known(key), &pod) {
            (Some(known), Some(pod)) => known.uid != pod.uid,
            _ => false,
        };
        if replaced {
            self.forget(key, now);
        }
        // A finished pod takes nothing from its node any more.
        let Some(pod) = pod.filter(|pod| !pod.finished) else {
            self.forget(key, now);
            return;
        };
        let pod = Arc::new(pod);
        if !pod.node_name.is_empty() {
            self.assign(pod, now);
        } else if *pod.scheduler_name == *self.options.scheduler_name && !pod.terminating {
            match self.pods.get(&pod.key) {
                // What comes in now was written before the binding.
                Some(Place::Assumed(..)) => self.queue.set(pod, now),
                _ => {
                    self.pods.insert(pod.key.clone(), Place::Queued);
                    self.queue.set(pod, now);
                }
            }
        } else {
            self.forget(key, now);
        }
    }

    fn known(&self, key: &NamespacedName) -> Option<&PodInfo> {
        match self.pods.get(key)? {
            Place::Queued => self.queue.get(key),
            Place::Assumed(pod, _) | Place::Assigned(pod, _) => Some(pod),
        }
    }

    /// A pod is seen bound, by whomever.
    fn assign(&mut self, pod: Arc<PodInfo>, now: Duration) {
        self.queue.remove(&pod.key);
        let assigned = pod.node_name.clone();
        let place = Place::Assigned(pod.clone(), assigned.clone());
        let before = self.pods.insert(pod.key.clone(), place);
        if let Some(Place::Assumed(older, node) | Place::Assigned(older, node)) = before {
            if node == assigned && older.shape == pod.shape && older.terminating == pod.terminating {
                return;
            }
            // It asks for less than before, has other labels, is being deleted, or somebody else bound it elsewhere.
            self.snapshot.remove_pod(&node, &pod.key);
            self.snapshot.add_pod(&assigned, pod.clone());
            self.pod_event(Events::POD_REMOVED, &node, &older, now);
        } else {
            self.snapshot.add_pod(&assigned, pod.clone());
        }
        self.pod_event(Events::POD_ADDED, &assigned, &pod, now);
    }

    fn forget(&mut self, key: &NamespacedName, now: Duration) {
        self.queue.remove(key);
        let Some((key, place)) = self.pods.remove_entry(key) else { return };
        if let Place::Assumed(pod, node) | Place::Assigned(pod, node) = place {
            self.snapshot.remove_pod(&node, &key);
            self.pod_event(Events::POD_REMOVED, &node, &pod, now);
        }
    }

    fn pod_event(&mut self, events: Events, node: &str, pod: &PodInfo, now: Duration) {
        let node = self.snapshot.slot(node).map(|slot| self.snapshot.node(slot));
        self.queue.event(&Event { events, node, pod: Some(pod) }, now);
    }

    /// A pod was bound as decided. That it is, is also seen as a change of the pod; whichever comes first.
    pub fn bound(&mut self, pod: &PodInfo) {
        if self.is_assumed(pod) {
            self.queue.remove(&pod.key);
        }
    }

    /// A pod could not be bound: its node is free again, and it is tried again after a while.
    pub fn bind_failed(&mut self, pod: &PodInfo, now: Duration) {
        if !self.is_assumed(pod) {
            return;
        }
        if let Some(Place::Assumed(_, node)) = self.pods.insert(pod.key.clone(), Place::Queued) {
            self.snapshot.remove_pod(&node, &pod.key);
            self.queue.failed(&pod.key, now);
            self.pod_event(Events::POD_REMOVED, &node, pod, now);
        }
    }

    fn is_assumed(&self, pod: &PodInfo) -> bool {
        matches!(self.pods.get(&pod.key), Some(Place::Assumed(assumed, _)) if assumed.uid == pod.uid)
    }

    /// Decides about the next pod, if one is to be tried. `below(n)` draws a number below `n`.
    pub fn schedule(&mut self, now: Duration, below: impl FnOnce(u64) -> u64) -> Option<Decision> {
        let pod = self.queue.pop(now)?;
        self.snapshot.prepare(&pod);
        match self.find_node(&pod, below) {
            Ok(slot) => {
                let node = self.snapshot.node(slot).name.clone();
                self.snapshot.add_pod(&node, pod.clone());
                self.pods.insert(pod.key.clone(), Place::Assumed(pod.clone(), Box::from(&*node)));
                self.pod_event(Events::POD_ADDED, &node, &pod, now);
                Some(Decision::Bind { pod, node })
            }
            Err(Refusal { message, plugins }) => {
                self.queue.unschedulable(&pod.key, plugins, now);
                Some(Decision::Unschedulable { pod, message })
            }
        }
    }

    fn find_node(&mut self, pod: &PodInfo, below: impl FnOnce(u64) -> u64) -> Result<Slot, Refusal> {
        let nodes = self.snapshot.len();
        if nodes == 0 {
            return Err(Refusal {
                message: "no nodes available to schedule pods".into(),
                plugins: PluginSet::default(),
            });
        }
        let mut diagnosis = Diagnosis::default();
        let mut cycle = Cycle::default();
        let only = self.pre_filter(pod, &mut cycle, &mut diagnosis)?;
        let mut feasible = std::mem::take(&mut self.feasible);
        feasible.clear();
        self.filter(pod, only.as_deref(), &cycle, &mut feasible, &mut diagnosis);
        let chosen = match feasible[..] {
            [] => Err(Refusal { message: diagnosis.message(nodes), plugins: diagnosis.plugins }),
            [slot] => Ok(slot),
            _ => Ok(self.best(pod, &feasible, &mut cycle, below)),
        };
        self.feasible = feasible;
        chosen
    }

    /// The only nodes worth trying, if plugins name them.
    fn pre_filter(
        &self,
        pod: &PodInfo,
        cycle: &mut Cycle,
        diagnosis: &mut Diagnosis,
    ) -> Result<Option<Vec<Slot>>, Refusal> {
        let nodes = self.snapshot.len();
        let mut only: Option<Vec<Slot>> = None;
        for (i, plugin) in PLUGINS.iter().enumerate() {
            let Some(pre_filter) = plugin.pre_filter else { continue };
            match pre_filter(pod, &self.snapshot, cycle) {
                PreFilter::All => {}
                PreFilter::Refuse(why) => {
                    diagnosis.plugins.insert(i);
                    let message = format!("0/{nodes} nodes are available: {why}.");
                    return Err(Refusal { message, plugins: diagnosis.plugins });
                }
                PreFilter::Only(named) => {
                    diagnosis.plugins.insert(i);
                    let reason = format!("node(s) didn't satisfy plugin(s) [{}]", plugin.name);
                    if nodes > named.len() {
                        diagnosis.count_many(Reason::Text(&reason), nodes - named.len());
                    }
                    only = Some(match only {
                        None => named,
                        Some(before) => before.into_iter().filter(|slot| named.contains(slot)).collect(),
                    });
                }
            }
        }
        Ok(only)
    }

    /// Finds nodes that can run the pod, as many as are enough to choose from.
    fn filter(
        &mut self,
        pod: &PodInfo,
        only: Option<&[Slot]>,
        cycle: &Cycle,
        feasible: &mut Vec<Slot>,
        diagnosis: &mut Diagnosis,
    ) {
        let order = only.unwrap_or(self.snapshot.order());
        if order.is_empty() {
            return;
        }
        let enough = self.nodes_to_find(order.len());
        let start = if only.is_some() { 0 } else { self.next_start % order.len() };
        let mut tried = 0;
        for slot in order[start..].iter().chain(&order[..start]) {
            tried += 1;
            let node = self.snapshot.node(*slot);
            let refusing = PLUGINS
                .iter()
                .position(|plugin| plugin.filter.is_some_and(|filter| !filter(pod, node, cycle, diagnosis)));
            match refusing {
                Some(plugin) => diagnosis.plugins.insert(plugin),
                None => feasible.push(*slot),
            }
            if feasible.len() >= enough {
                break;
            }
        }
        if only.is_none() {
            self.next_start = (start + tried) % order.len();
        }
    }

    /// kube-scheduler's `numFeasibleNodesToFind`.
    fn nodes_to_find(&self, nodes: usize) -> usize {
        if nodes < MIN_FEASIBLE_NODES {
            return nodes;
        }
        let percentage = match self.options.percentage_of_nodes_to_score {
            Some(percentage) => percentage.min(100),
            None => 50_usize.saturating_sub(nodes / 125).max(MIN_PERCENTAGE),
        };
        (nodes * percentage / 100).max(MIN_FEASIBLE_NODES)
    }

    /// The node with the highest score; among several, one is drawn.
    fn best(&self, pod: &PodInfo, feasible: &[Slot], cycle: &mut Cycle, below: impl FnOnce(u64) -> u64) -> Slot {
        let mut totals = vec![0; feasible.len()];
        let mut scores = vec![0; feasible.len()];
        for plugin in PLUGINS {
            let Some(scoring) = &plugin.score else { continue };
            if !(scoring.prepare)(pod, &self.snapshot, feasible, cycle) {
                continue;
            }
            for (score, slot) in scores.iter_mut().zip(feasible) {
                *score = (scoring.score)(pod, self.snapshot.node(*slot), &self.snapshot, cycle);
            }
            scoring.normalize.apply(&mut scores);
            for (total, score) in totals.iter_mut().zip(&scores) {
                *total += scoring.weight * score;
            }
        }
        let highest = totals.iter().copied().max().unwrap_or(0);
        let ties = totals.iter().filter(|total| **total == highest).count();
        let drawn = if ties == 1 { 0 } else { below(ties as u64) as usize };
        let mut winners = feasible.iter().zip(&totals).filter(|(_, total)| **total == highest);
        *winners.nth(drawn).expect("the drawn number is below the number of winners").0
    }
}

/// Why no node was found.
struct Refusal {
    message: String,
    plugins: PluginSet,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{node_object, pod_object};
    use serde_json::{Value, json};
    use world::World;

    fn core() -> Core {
        Core::new(CoreOptions { scheduler_name: "default-scheduler".into(), percentage_of_nodes_to_score: None })
    }

    fn add_node(core: &mut Core, name: &str, value: Value) {
        let mut value = value;
        value["metadata"]["name"] = json!(name);
        core.set_node(name, Some(&Arc::new(node_object(value))), Duration::ZERO);
    }

    fn size(cpu: &str, pods: u32) -> Value {
        json!({"status": {"allocatable": {"cpu": cpu, "memory": "64Gi", "pods": pods.to_string()}}})
    }

    fn asking(cpu: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
    }

    fn add_pod(core: &mut Core, name: &str, spec: Value, now: Duration) {
        core.set_pod(&key(name), Some(&pod_object(name, spec, json!({}))), now);
    }

    fn key(name: &str) -> NamespacedName {
        NamespacedName::new("default", name)
    }

    /// The next decision in short: `pod -> node`, or `pod: why not`.
    fn decide(core: &mut Core, now: Duration) -> Option<String> {
        Some(match core.schedule(now, |_| 0)? {
            Decision::Bind { pod, node } => format!("{} -> {node}", pod.key.name),
            Decision::Unschedulable { pod, message } => format!("{}: {message}", pod.key.name),
        })
    }

    fn info(core: &Core, name: &str) -> Arc<PodInfo> {
        match &core.pods[&key(name)] {
            Place::Assumed(pod, _) | Place::Assigned(pod, _) => pod.clone(),
            Place::Queued => panic!("{name} has no node"),
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_decided_pod_counts_before_it_is_bound() {
        let mut core = core();
        add_node(&mut core, "a", size("1", 10));
        add_pod(&mut core, "first", asking("600m"), Duration::ZERO);
        add_pod(&mut core, "second", asking("600m"), Duration::ZERO);
        assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), "first -> a");
        let why = "second: 0/1 nodes are available: 1 Insufficient cpu.";
        assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), why);
        assert_eq!(decide(&mut core, Duration::ZERO), None);
    }

    #[test]
    fn a_failed_binding_gives_the_place_back_and_the_pod_is_tried_again() {
        let mut core = core();
        add_node(&mut core, "a", size("1", 10));
        add_pod(&mut core, "first", asking("600m"), Duration::ZERO);
        decide(&mut core, Duration::ZERO);
        let first = info(&core, "first");
        core.bind_failed(&first, Duration::ZERO);
        assert_eq!(core.snapshot().node(0).requested.milli_cpu, 0);
        assert_eq!(decide(&mut core, SECOND / 2), None);
        assert_eq!(core.next_deadline(), Some(SECOND));
        assert_eq!(decide(&mut core, SECOND).unwrap(), "first -> a");
        core.bound(&first);
        assert_eq!(core.queue_lengths(), QueueLengths::default());
        core.bind_failed(&first, SECOND);
        core.set_pod(&key("first"), None, SECOND);
        assert_eq!(core.snapshot().node(0).requested.milli_cpu, 0);
    }

    #[test]
    fn what_becomes_free_goes_to_those_who_wait() {
        let mut core = core();
        add_node(&mut core, "a", size("1", 10));
        add_pod(&mut core, "runs", asking("1"), Duration::ZERO);
        decide(&mut core, Duration::ZERO);
        add_pod(&mut core, "waits", asking("1"), Duration::ZERO);
        decide(&mut core, Duration::ZERO);
        core.set_pod(
            &key("runs"),
            Some(&pod_object("runs", json!({"nodeName": "a", "containers": []}), json!({}))),
            SECOND,
        );
        assert_eq!(decide(&mut core, 2 * SECOND).unwrap(), "waits -> a", "the pod was changed to ask for less");
        add_pod(&mut core, "late", asking("1"), 2 * SECOND);
        assert!(decide(&mut core, 2 * SECOND).unwrap().ends_with("1 Insufficient cpu."));
        core.set_pod(&key("waits"), None, 20 * SECOND);
        assert_eq!(decide(&mut core, 20 * SECOND).unwrap(), "late -> a");
    }

    #[test]
    fn a_finished_pod_takes_nothing() {
        let mut core = core();
        add_node(&mut core, "a", size("1", 10));
        let mut spec = asking("1");
        spec["nodeName"] = json!("a");
        add_pod(&mut core, "job", spec.clone(), Duration::ZERO);
        assert_eq!(core.snapshot().node(0).requested.milli_cpu, 1000);
        let mut value = pod_object("job", spec, json!({})).value();
        value["status"] = json!({"phase": "Succeeded"});
        core.set_pod(&key("job"), Some(&Object::from_value(&value).unwrap()), Duration::ZERO);
        assert_eq!(core.snapshot().node(0).requested.milli_cpu, 0);
    }

    #[test]
    fn a_pod_of_the_same_name_is_another_pod() {
        let mut core = core();
        add_node(&mut core, "a", size("1", 10));
        add_pod(&mut core, "x", asking("1"), Duration::ZERO);
        decide(&mut core, Duration::ZERO);
        let old = info(&core, "x");
        let mut value = pod_object("x", asking("500m"), json!({})).value();
        value["metadata"]["uid"] = json!("another");
        core.set_pod(&key("x"), Some(&Object::from_value(&value).unwrap()), Duration::ZERO);
        assert_eq!(core.snapshot().node(0).requested.milli_cpu, 0);
        core.bind_failed(&old, Duration::ZERO);
        assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), "x -> a");
        assert_eq!(core.snapshot().node(0).requested.milli_cpu, 500);
    }

    #[test]
    fn a_node_that_comes_back_has_its_pods() {
        let mut core = core();
        let mut spec = asking("1");
        spec["nodeName"] = json!("a");
        add_pod(&mut core, "early", spec, Duration::ZERO);
        add_node(&mut core, "a", size("1", 10));
        assert_eq!(core.snapshot().node(0).requested.milli_cpu, 1000, "the pod was seen before its node");
        core.set_node("a", None, Duration::ZERO);
        assert!(core.snapshot().is_empty());
        add_node(&mut core, "a", size("4", 10));
        assert_eq!(core.snapshot().node(0).requested.milli_cpu, 1000);
        core.set_pod(&key("early"), None, Duration::ZERO);
        assert_eq!(core.snapshot().node(0).requested.milli_cpu, 0);
    }

    #[test]
    fn pods_that_are_not_ours_are_left_alone() {
        let mut core = core();
        add_node(&mut core, "a", size("1", 10));
        add_pod(&mut core, "foreign", json!({"schedulerName": "other", "containers": []}), Duration::ZERO);
        let mut value = pod_object("going", json!({"containers": []}), json!({})).value();
        value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        core.set_pod(&key("going"), Some(&Object::from_value(&value).unwrap()), Duration::ZERO);
        assert_eq!(decide(&mut core, Duration::ZERO), None);
    }

    #[test]
    fn a_pod_that_wants_company_waits_for_it() {
        let host = json!({"labels": {"host": "a"}});
        let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "db"}}}]}}});
        for seen_bound in [false, true] {
            let mut core = core();
            let mut node = size("4", 10);
            node["metadata"] = host.clone();
            add_node(&mut core, "a", node);
            add_pod(&mut core, "waits", near.clone(), Duration::ZERO);
            let why = "waits: 0/1 nodes are available: 1 node(s) didn't match pod affinity rules.";
            assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), why);
            add_pod(&mut core, "other", json!({}), 2 * SECOND);
            assert_eq!(decide(&mut core, 2 * SECOND).unwrap(), "other -> a");
            assert_eq!(decide(&mut core, 2 * SECOND), None, "that is not the company it wants");
            let spec = if seen_bound { json!({"nodeName": "a"}) } else { json!({}) };
            core.set_pod(&key("db"), Some(&pod_object("db", spec, json!({"app": "db"}))), 3 * SECOND);
            if !seen_bound {
                assert_eq!(decide(&mut core, 3 * SECOND).unwrap(), "db -> a");
            }
            assert_eq!(decide(&mut core, 3 * SECOND).unwrap(), "waits -> a");
        }
    }

    #[test]
    fn without_nodes_pods_wait_for_the_first() {
        let mut core = core();
        add_pod(&mut core, "x", asking("1"), Duration::ZERO);
        assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), "x: no nodes available to schedule pods");
        let node = Arc::new(node_object(json!({"status": size("2", 10)["status"]})));
        core.set_node("node", Some(&node), 2 * SECOND);
        assert_eq!(decide(&mut core, 2 * SECOND).unwrap(), "x -> node");
    }

    #[test]
    fn messages_are_those_of_upstream() {
        let mut core = core();
        add_node(&mut core, "a", json!({"spec": {"unschedulable": true}}));
        add_node(&mut core, "b", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}));
        add_node(&mut core, "c", size("1", 10));
        add_pod(&mut core, "large", asking("2"), Duration::ZERO);
        let named = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
            [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}}}});
        add_pod(&mut core, "named", named, Duration::ZERO);
        add_pod(&mut core, "claims", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {}}]}), Duration::ZERO);
        let expected = [
            "large: 0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: v}, \
             1 node(s) were unschedulable.",
            "named: 0/3 nodes are available: 1 node(s) were unschedulable, \
             2 node(s) didn't satisfy plugin(s) [NodeAffinity].",
            "claims: 0/3 nodes are available: spec.volumes[0].persistentVolumeClaim requires the scheduler plugin \
             VolumeBinding, which Minato does not support yet.",
        ];
        for expected in expected {
            assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), expected);
        }
    }

    #[test]
    fn the_search_is_as_wide_as_upstreams() {
        let core = core();
        for (nodes, expected) in [(5, 5), (99, 99), (100, 100), (200, 100), (1000, 420), (5000, 500), (10_000, 500)] {
            assert_eq!(core.nodes_to_find(nodes), expected, "{nodes}");
        }
        let options = CoreOptions { percentage_of_nodes_to_score: Some(20), ..core.options };
        assert_eq!(Core::new(options).nodes_to_find(1000), 200);
    }

    /// 1,000 nodes in three zones, some tainted or cordoned, and 6,000 pods of several shapes, some of which leave again.
    fn run(seed: u64) -> Vec<String> {
        let (world, _simulation) = World::simulated(seed);
        let mut core = core();
        for i in 0..1000 {
            let zone = ["a", "b", "c"][i % 3];
            let mut node = size(["2", "4", "8"][world.below(3) as usize], 8);
            node["metadata"] = json!({"labels": {"topology.kubernetes.io/zone": zone, "size": format!("{}", i % 4)}});
            node["spec"] = match i % 50 {
                7 => json!({"unschedulable": true}),
                9 => json!({"taints": [{"key": "team", "value": "x", "effect": "NoSchedule"}]}),
                _ => json!({}),
            };
            add_node(&mut core, &format!("node-{i:04}"), node);
        }
        let mut log = Vec::new();
        let mut now = Duration::ZERO;
        for i in 0..6000 {
            now += Duration::from_millis(10);
            let mut spec = asking(["100m", "500m", "1", "2"][world.below(4) as usize]);
            match world.below(5) {
                0 => spec["nodeSelector"] = json!({"size": "2"}),
                1 => spec["tolerations"] = json!([{"operator": "Exists"}]),
                2 => spec["priority"] = json!(world.below(3)),
                _ => {}
            }
            add_pod(&mut core, &format!("pod-{i:05}"), spec, now);
            if i % 7 == 0 {
                let gone = format!("pod-{:05}", world.below(i + 1));
                core.set_pod(&key(&gone), None, now);
            }
            while let Some(decision) = core.schedule(now, |bound| world.below(bound)) {
                if let Decision::Bind { pod, node } = &decision {
                    log.push(format!("{} {node}", pod.key));
                    core.bound(pod);
                } else if let Decision::Unschedulable { pod, message } = decision {
                    log.push(format!("{} {message}", pod.key));
                }
            }
        }
        for slot in core.snapshot().order() {
            let node = core.snapshot().node(*slot);
            let sum: i64 = node.pods().values().map(|pod| pod.shape.requests.milli_cpu).sum();
            assert_eq!(node.requested.milli_cpu, sum, "{}", node.name);
            assert!(sum <= node.allocatable.milli_cpu && node.pods().len() as i64 <= node.allocatable_pods);
            let tolerant = |pod: &Arc<PodInfo>| !pod.shape.tolerations.is_empty();
            let guarded = node.unschedulable || !node.hard_taints.is_empty();
            assert!(!guarded || node.pods().values().all(tolerant), "{}", node.name);
        }
        log
    }

    #[test]
    fn the_same_seed_gives_the_same_decisions() {
        let (first, second) = (run(1), run(1));
        assert!(first == second);
        let bound = first.iter().filter(|line| line.contains(" node-")).count();
        assert!(bound > 4000 && first.len() > bound, "{bound} of {}", first.len());
        assert!(first != run(2), "ties are drawn");
    }
}
