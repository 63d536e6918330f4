//! The scheduler without its surroundings: objects go in, decisions come out. No clock, no io, no randomness of its own.
//!
//! A pod that was decided is counted on its node at once (assumed), before it is bound, so that the next decision sees it.

mod search;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_object::{NamespacedName, Object, Properties};

use self::search::{Hope, Sieve};
use crate::budgets::Budgets;
use crate::framework::{Event, Events};
use crate::node_info::NodeInfo;
use crate::nominations::{Nomination, Nominations};
use crate::pod_info::{PodInfo, PodKey};
use crate::preemption::{Outcome, Preempting, Preemption};
use crate::queue::{Queue, QueueLengths};
use crate::services::Services;
use crate::snapshot::Snapshot;

/// What is to be done about a pod.
#[derive(Debug, Clone)]
pub enum Decision {
    /// Bind it, then say how it went with [`Core::bound`] or [`Core::bind_failed`].
    Bind { pod: Arc<PodInfo>, node: Arc<str> },
    /// Tell that it found no node. It waits in the queue. If others are to make room for it, say when that is almost done and
    /// when it is, with [`Core::preemption_ends`] and [`Core::preemption_ended`].
    Unschedulable { pod: Arc<PodInfo>, message: String, nominate: Nominate, preemption: Option<Preemption> },
}

/// What becomes of `status.nominatedNodeName`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nominate {
    /// It stays as it is.
    Keep,
    Clear,
    Node(Arc<str>),
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
    /// The cluster's minor version of Kubernetes 1.
    pub minor: u8,
}

/// The minor from which on `DynamicResources` is asked before preemption who could make room. It has nothing to say of pods without
/// claims, and says so.
const ASKS_FOR_DEVICES: u8 = 34;

/// See the module.
pub struct Core {
    options: CoreOptions,
    snapshot: Snapshot,
    queue: Queue,
    pods: BTreeMap<PodKey, Place>,
    /// The labels of all namespaces.
    namespaces: BTreeMap<String, Arc<Properties>>,
    nominations: Nominations,
    budgets: Budgets,
    services: Services,
    /// Where the next search begins, so that all nodes have their turn.
    next_start: usize,
    /// Kept between decisions for its memory only.
    sieve: Sieve,
}

impl Core {
    pub fn new(options: CoreOptions) -> Core {
        Core {
            options,
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            pods: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            nominations: Nominations::default(),
            budgets: Budgets::default(),
            services: Services::default(),
            next_start: 0,
            sieve: Sieve::default(),
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
                self.wake_nominated(name, now);
            }
            return;
        };
        let (slot, events) = self.snapshot.set_node(node);
        if !events.is_none() {
            self.queue.event(&Event { events, node: Some(self.snapshot.node(slot)), pod: None }, now);
        }
    }

    /// A PodDisruptionBudget as it is now; absent when it is gone.
    pub fn set_budget(&mut self, key: &NamespacedName, object: Option<&Object>) {
        self.budgets.set(key, object);
    }

    /// A Service as it is now; absent when it is gone.
    pub fn set_service(&mut self, key: &NamespacedName, object: Option<&Object>) {
        self.services.set(key, object);
    }

    /// A namespace as it is now; absent when it is gone. Its pods are what others want or avoid by its labels.
    pub fn set_namespace(&mut self, name: &str, object: Option<&Object>, now: Duration) {
        let labels = match object {
            Some(object) => Arc::new(object.meta().labels.clone()),
            None => Arc::default(),
        };
        let before = match object {
            Some(_) => self.namespaces.insert(name.to_owned(), labels.clone()),
            None => self.namespaces.remove(name),
        };
        if before.unwrap_or_default() == labels {
            return;
        }
        let first = NamespacedName::new(name, "");
        let inside = self.pods.range(first..).take_while(|(key, _)| key.namespace == name);
        let keys: Vec<PodKey> = inside.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(known) = self.known(&key) else { continue };
            let mut pod = known.clone();
            pod.shape.namespace_labels = labels.clone();
            let pod = Arc::new(pod);
            match self.pods.get_mut(&key) {
                Some(Place::Queued) => self.queue.set(pod, now),
                Some(Place::Assumed(assumed, node)) => {
                    *assumed = pod.clone();
                    self.snapshot.add_pod(node, pod.clone());
                    self.queue.set(pod, now);
                }
                Some(Place::Assigned(..)) => self.assign(pod, now),
                None => {}
            }
        }
    }

    /// A pod as it is now; absent when it is gone. One that cannot be decoded is as good as gone.
    pub fn set_pod(&mut self, key: &NamespacedName, object: Option<&Object>, now: Duration) {
        let labels = self.namespaces.get(&key.namespace).cloned().unwrap_or_default();
        let pod = object.and_then(|object| PodInfo::new(object, &labels).ok());
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
                    let ended = self.nominations.follow(&pod);
                    self.queue.set(pod, now);
                    self.nomination_ended(ended, now);
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
        let ended = self.nominations.remove(&pod.key).filter(|ended| ended.node != assigned);
        self.nomination_ended(ended, now);
        let place = Place::Assigned(pod.clone(), assigned.clone());
        let before = self.pods.insert(pod.key.clone(), place);
        if let Some(Place::Assumed(older, node) | Place::Assigned(older, node)) = before {
            if node == assigned && older.shape == pod.shape && older.terminating == pod.terminating {
                self.snapshot.replace_pod(&assigned, &pod);
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
        let ended = self.nominations.remove(&key);
        self.nomination_ended(ended, now);
        if let Place::Assumed(pod, node) | Place::Assigned(pod, node) = place {
            self.snapshot.remove_pod(&node, &key);
            self.pod_event(Events::POD_REMOVED, &node, &pod, now);
            self.wake_nominated(&node, now);
        }
    }

    /// The room that was made on a node has changed. Those that it was made for look again even where it is too little, or no
    /// more: else they would keep what others could have.
    fn wake_nominated(&mut self, node: &str, now: Duration) {
        let nominated: Vec<PodKey> = self.nominations.on(node).iter().map(|pod| pod.key.clone()).collect();
        for key in nominated {
            self.queue.wake(&key, now);
        }
    }

    fn pod_event(&mut self, events: Events, node: &str, pod: &PodInfo, now: Duration) {
        let node = self.snapshot.slot(node).map(|slot| self.snapshot.node(slot));
        self.queue.event(&Event { events, node, pod: Some(pod) }, now);
    }

    /// Room is made for a pod on a node no longer: those that had to leave it free may have it. They are of the same priority or
    /// lower; others did not mind.
    fn nomination_ended(&mut self, ended: Option<Nomination>, now: Duration) {
        let Some(Nomination { pod, node }) = ended else { return };
        let node = self.snapshot.slot(&node).map(|slot| self.snapshot.node(slot));
        let event = Event { events: Events::POD_REMOVED, node, pod: Some(&pod) };
        self.queue.event_up_to(&event, pod.shape.priority, now);
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

    /// All pods that make room for a pod are told to but one, and that is about to be: from now on it is tried again when a
    /// pod that matters has gone. Before, it would only find them leaving.
    pub fn preemption_ends(&mut self, pod: &PodInfo, now: Duration) {
        if self.known(&pod.key).is_some_and(|known| known.uid == pod.uid) {
            self.queue.preemption_ended(&pod.key, false, now);
        }
    }

    /// The last one is told. If that was in vain (`retry`: some could not be told, or all had gone by themselves), the pod is
    /// tried again, since the end of the others will not wake it.
    pub fn preemption_ended(&mut self, pod: &PodInfo, retry: bool, now: Duration) {
        if self.known(&pod.key).is_some_and(|known| known.uid == pod.uid) {
            self.queue.preemption_ended(&pod.key, retry, now);
        }
    }

    /// Decides about the next pod, if one is to be tried. `below(n)` draws a number below `n`.
    pub fn schedule(&mut self, now: Duration, mut below: impl FnMut(u64) -> u64) -> Option<Decision> {
        let pod = self.queue.pop(now)?;
        let spread = self.services.with_default_spread(&pod);
        self.snapshot.prepare(&spread);
        let found = self.find_node(&spread, &mut below);
        match found {
            Ok(slot) => {
                let node = self.snapshot.node(slot).name.clone();
                self.snapshot.add_pod(&node, pod.clone());
                self.pods.insert(pod.key.clone(), Place::Assumed(pod.clone(), Box::from(&*node)));
                let ended = self.nominations.remove(&pod.key).filter(|ended| *ended.node != *node);
                self.nomination_ended(ended, now);
                self.pod_event(Events::POD_ADDED, &node, &pod, now);
                Some(Decision::Bind { pod, node })
            }
            Err(refusal) => {
                self.queue.unschedulable(&pod.key, refusal.plugins, now);
                let (mut message, mut nominate, mut preemption) = (refusal.message, Nominate::Clear, None);
                if let Some(hope) = refusal.hope {
                    // What is not supported is refused before anybody is asked.
                    let asks = self.options.minor >= ASKS_FOR_DEVICES && pod.shape.unsupported.is_none();
                    let before = if asks { "no new claims to deallocate, " } else { "" };
                    match self.make_room(&pod, &hope, below) {
                        Outcome::Ineligible(why) => {
                            nominate = Nominate::Keep;
                            message.push_str(&format!(" {before}preemption: {why}"));
                        }
                        Outcome::InVain(why) => message.push_str(&format!(" {before}preemption: {why}")),
                        Outcome::Found(found) => {
                            nominate = Nominate::Node(found.node.clone());
                            preemption = Some(found);
                        }
                    }
                }
                self.nominate(&pod, &nominate, now);
                if let Some(preemption) = &preemption {
                    self.begin_preemption(&pod, preemption, now);
                }
                Some(Decision::Unschedulable { pod, message, nominate, preemption })
            }
        }
    }

    fn make_room(&self, pod: &PodInfo, hope: &Hope, below: impl FnMut(u64) -> u64) -> Outcome {
        let preempting =
            Preempting { snapshot: &self.snapshot, nominations: &self.nominations, budgets: &self.budgets };
        preempting.run(pod, &hope.nodes, &hope.cycle, below)
    }

    fn nominate(&mut self, pod: &Arc<PodInfo>, nominate: &Nominate, now: Duration) {
        let ended = match nominate {
            Nominate::Keep => None,
            Nominate::Clear => self.nominations.remove(&pod.key),
            Nominate::Node(node) => self.nominations.set(pod, node),
        };
        self.nomination_ended(ended, now);
    }

    fn begin_preemption(&mut self, pod: &PodInfo, preemption: &Preemption, now: Duration) {
        for displaced in &preemption.displaced {
            // It must look for another place. Nobody else is told: the room is for the pod of higher priority.
            self.nominations.remove(&displaced.key);
            self.queue.wake(&displaced.key, now);
        }
        if preemption.victims.iter().any(|victim| !victim.terminating) {
            self.queue.preempting(&pod.key);
        }
    }
}

#[cfg(test)]
mod tests;
