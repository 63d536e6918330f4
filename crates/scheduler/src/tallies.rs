//! How many pods of a group each node has, kept up to date instead of counted anew for every decision.
//!
//! A group is counted from the first decision that asks for it. Nodes are told apart by their slots in the snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::groups::{PodGroup, PodTerm};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Slot;

/// Groups that are counted beyond those of the pod at hand; the one that was asked for longest ago goes first.
const MAX_GROUPS: usize = 256;

/// Topology keys that are remembered; pods use few, and no more than this many are kept for those that do not.
const MAX_TOPOLOGIES: usize = 64;

/// Counts of the nodes that have any, in order of their slots: most groups are on few nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PerSlot(Vec<(Slot, u32)>);

impl PerSlot {
    pub fn get(&self, slot: Slot) -> i64 {
        let found = self.0.binary_search_by_key(&slot, |(slot, _)| *slot);
        found.map_or(0, |at| i64::from(self.0[at].1))
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, i64)> {
        self.0.iter().map(|(slot, count)| (*slot, i64::from(*count)))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn adjust(&mut self, slot: Slot, by: i32) {
        match self.0.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(at) => {
                self.0[at].1 = self.0[at].1.saturating_add_signed(by);
                if self.0[at].1 == 0 {
                    self.0.remove(at);
                }
            }
            Err(at) if by > 0 => self.0.insert(at, (slot, by.unsigned_abs())),
            Err(_) => {}
        }
    }
}

#[derive(Debug)]
struct Counter {
    group: Arc<PodGroup>,
    per_slot: PerSlot,
    last_used: u64,
}

/// What a pod that has a node wants of pods that come later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Required anti-affinity.
    NeverNear,
    /// Affinity: how much a pod near by is worth, below zero if it is unwanted.
    Weight(i64),
}

/// A wish that pods with nodes share, and how many of them each node has.
#[derive(Debug)]
pub struct Held {
    pub wish: Wish,
    pub term: PodTerm,
    pub per_slot: PerSlot,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Tallies {
    /// Groups of selectors.
    counters: BTreeMap<Box<str>, Counter>,
    /// Groups of controllers by uid: a pod is in one at most, so these cost little and are all kept.
    controllers: BTreeMap<Box<str>, PerSlot>,
    held: BTreeMap<(Wish, Box<str>, Box<str>), Held>,
    /// How many pods have each priority.
    priorities: BTreeMap<i32, usize>,
    decisions: u64,
    empty: PerSlot,
}

impl Tallies {
    /// Counts a pod on a node (1), or no longer (-1).
    pub fn count(&mut self, slot: Slot, pod: &PodInfo, by: i32) {
        let of_priority = self.priorities.entry(pod.shape.priority).or_default();
        *of_priority = of_priority.saturating_add_signed(by as isize);
        if *of_priority == 0 {
            self.priorities.remove(&pod.shape.priority);
        }
        for counter in self.counters.values_mut() {
            if counter.group.contains(pod) {
                counter.per_slot.adjust(slot, by);
            }
        }
        if let Some(uid) = pod.shape.controller.as_ref().filter(|_| !pod.terminating) {
            if !self.controllers.contains_key(uid) {
                self.controllers.insert(uid.clone(), PerSlot::default());
            }
            let per_slot = self.controllers.get_mut(uid).expect("it was just made if it was missing");
            per_slot.adjust(slot, by);
            if per_slot.is_empty() {
                self.controllers.remove(uid);
            }
        }
        for (wish, term) in pod.shape.affinity.wishes() {
            let key = (wish, term.topology_key.clone(), term.group.key.clone());
            let new = || Held { wish, term: term.clone(), per_slot: PerSlot::default() };
            let held = self.held.entry(key).or_insert_with(new);
            held.per_slot.adjust(slot, by);
            if held.per_slot.is_empty() {
                self.held.remove(&(wish, term.topology_key.clone(), term.group.key.clone()));
            }
        }
    }

    /// Begins to count the groups that a decision about a pod needs.
    pub fn prepare<'a>(&mut self, pod: &PodInfo, nodes: impl Iterator<Item = (Slot, &'a NodeInfo)> + Clone) {
        self.decisions += 1;
        for group in pod.shape.groups().filter(|group| group.controller().is_none()) {
            if let Some(counter) = self.counters.get_mut(&group.key) {
                counter.last_used = self.decisions;
                continue;
            }
            let mut per_slot = PerSlot::default();
            for (slot, node) in nodes.clone() {
                let members = node.pods().values().filter(|pod| group.contains(pod)).count();
                per_slot.adjust(slot, members as i32);
            }
            let counter = Counter { group: group.clone(), per_slot, last_used: self.decisions };
            self.counters.insert(group.key.clone(), counter);
        }
        while self.counters.len() > MAX_GROUPS {
            let oldest = self.counters.iter().min_by_key(|(_, counter)| counter.last_used);
            let Some((key, _)) = oldest.filter(|(_, counter)| counter.last_used < self.decisions) else { return };
            let key = key.clone();
            self.counters.remove(&key);
        }
    }

    /// How many pods of a group each node has.
    ///
    /// # Panics
    /// If the group is not one of the pod for which [`Tallies::prepare`] was called last.
    pub fn per_slot(&self, group: &PodGroup) -> &PerSlot {
        match group.controller() {
            Some(uid) => self.controllers.get(uid).unwrap_or(&self.empty),
            None => &self.counters.get(&group.key).expect("groups are prepared before a decision").per_slot,
        }
    }

    /// The lowest priority of all pods.
    pub fn lowest_priority(&self) -> Option<i32> {
        self.priorities.keys().next().copied()
    }

    /// What pods with nodes want of others.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.values()
    }
}

/// The value of a label as a small number, by slot.
#[derive(Debug, Clone)]
pub struct Topology {
    domain_of: Arc<[u32]>,
    domains: usize,
}

/// The domain of nodes without the label.
const NOWHERE: u32 = u32::MAX;

impl Topology {
    fn new<'a>(key: &str, slots: usize, nodes: impl Iterator<Item = (Slot, &'a NodeInfo)>) -> Topology {
        let mut domain_of = vec![NOWHERE; slots];
        let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
        for (slot, node) in nodes {
            if let Some(value) = node.labels().get(key) {
                let next = numbers.len() as u32;
                domain_of[slot] = *numbers.entry(value).or_insert(next);
            }
        }
        Topology { domain_of: domain_of.into(), domains: numbers.len() }
    }

    /// How many values the label has.
    pub fn domains(&self) -> usize {
        self.domains
    }

    /// The domain of a node, if it has the label.
    pub fn domain(&self, slot: Slot) -> Option<usize> {
        Some(self.domain_of[slot]).filter(|domain| *domain != NOWHERE).map(|domain| domain as usize)
    }

    /// Sums counts of nodes up by domain.
    pub fn sum(&self, per_slot: &PerSlot) -> Vec<i64> {
        let mut sums = vec![0; self.domains];
        for (slot, count) in per_slot.iter() {
            if let Some(domain) = self.domain(slot) {
                sums[domain] += count;
            }
        }
        sums
    }
}

/// The topologies of all keys in use; valid until a node or its labels change.
#[derive(Debug, Default)]
pub struct Topologies(BTreeMap<Box<str>, Topology>);

impl Topologies {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn prepare<'a>(&mut self, key: &str, slots: usize, nodes: impl Iterator<Item = (Slot, &'a NodeInfo)>) {
        if !self.0.contains_key(key) {
            self.0.insert(key.into(), Topology::new(key, slots, nodes));
        }
    }

    /// Forgets all when there are more than can be in use.
    pub fn bound(&mut self) {
        if self.0.len() > MAX_TOPOLOGIES {
            self.0.clear();
        }
    }

    /// # Panics
    /// If the key was not prepared.
    pub fn get(&self, key: &str) -> &Topology {
        self.0.get(key).expect("topologies are prepared before a decision")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{node, node_with, pod_object};
    use serde_json::json;

    fn pod(name: &str, app: &str) -> PodInfo {
        PodInfo::new(&pod_object(name, json!({}), json!({"app": app})), &Default::default()).unwrap()
    }

    /// A pod whose decision asks for the pods of an app.
    fn asking_for(app: &str) -> PodInfo {
        let spec = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": app}}}]});
        PodInfo::new(&pod_object("asking", spec, json!({})), &Default::default()).unwrap()
    }

    fn counted(tallies: &Tallies, asking: &PodInfo) -> Vec<(Slot, i64)> {
        tallies.per_slot(&asking.shape.spread[0].group).iter().collect()
    }

    #[test]
    fn a_group_is_counted_from_when_it_is_asked_for_and_kept_up_to_date() {
        let mut tallies = Tallies::default();
        let nodes = [node_with(json!({}), vec![pod("a", "web"), pod("b", "db")]), node(json!({}))];
        let asking = asking_for("web");
        tallies.prepare(&asking, nodes.iter().enumerate());
        assert_eq!(counted(&tallies, &asking), [(0, 1)]);
        for (slot, app, by, expected) in [
            (1, "web", 1, vec![(0, 1), (1, 1)]),
            (1, "db", 1, vec![(0, 1), (1, 1)]),
            (0, "web", -1, vec![(1, 1)]),
            (1, "web", 1, vec![(1, 2)]),
        ] {
            tallies.count(slot, &pod("x", app), by);
            tallies.prepare(&asking, nodes.iter().enumerate());
            assert_eq!(counted(&tallies, &asking), expected);
        }
    }

    #[test]
    fn groups_that_nobody_asks_for_any_more_are_forgotten() {
        let mut tallies = Tallies::default();
        for i in 0..MAX_GROUPS + 50 {
            tallies.prepare(&asking_for("often"), std::iter::empty());
            tallies.prepare(&asking_for(&format!("app-{i}")), std::iter::empty());
        }
        assert_eq!(tallies.counters.len(), MAX_GROUPS);
        let often = asking_for("often").shape.spread[0].group.clone();
        assert!(tallies.counters.contains_key(&often.key), "what is asked for often stays");
    }
}
