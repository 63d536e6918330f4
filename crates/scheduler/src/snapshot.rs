//! All nodes with their pods, as the next decision will see them.
//!
//! One owner changes it in place between decisions, so that nothing is copied for a decision however many nodes there are.
//! A node keeps its slot while it exists.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::framework::Events;
use crate::groups::PodGroup;
use crate::node_info::NodeInfo;
use crate::pod_info::{PodInfo, PodKey};
use crate::tallies::{Held, PerSlot, Tallies, Topologies, Topology};

/// Where a node stands in the snapshot.
pub type Slot = usize;

/// See the module.
#[derive(Debug, Default)]
pub struct Snapshot {
    slots: Vec<Option<NodeInfo>>,
    free: Vec<Slot>,
    by_name: BTreeMap<Arc<str>, Slot>,
    /// The order in which nodes are tried: one of each zone in turn, so that a search that stops early has seen all zones.
    order: Vec<Slot>,
    order_is_stale: bool,
    /// Pods whose node is not known, or no longer.
    homeless: BTreeMap<Box<str>, BTreeMap<PodKey, Arc<PodInfo>>>,
    /// How many nodes have an image.
    images: BTreeMap<String, usize>,
    tallies: Tallies,
    topologies: Topologies,
}

impl Snapshot {
    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The node in a slot.
    ///
    /// # Panics
    /// If there is none: slots come from [`Snapshot::order`] and [`Snapshot::slot`] of the same state.
    pub fn node(&self, slot: Slot) -> &NodeInfo {
        self.slots[slot].as_ref().expect("slots in use have a node")
    }

    pub fn slot(&self, name: &str) -> Option<Slot> {
        self.by_name.get(name).copied()
    }

    /// All slots in use, in the order to try them.
    pub fn order(&self) -> &[Slot] {
        debug_assert!(!self.order_is_stale, "`prepare` comes before a decision");
        &self.order
    }

    /// How many nodes have an image.
    pub fn nodes_with_image(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// Adds a node or replaces its older state. Says what that means to pods that found no place.
    pub fn set_node(&mut self, mut node: NodeInfo) -> (Slot, Events) {
        for image in node.images.keys() {
            *self.images.entry(image.clone()).or_default() += 1;
        }
        if let Some(slot) = self.slot(&node.name) {
            let older = self.slots[slot].as_mut().expect("slots in use have a node");
            node.take_pods(older);
            let events = node.changes_since(older);
            self.order_is_stale |= node.labels() != older.labels();
            node.slot = slot;
            let older = self.slots[slot].replace(node);
            self.forget_images(older.as_ref());
            return (slot, events);
        }
        let slot = self.free.pop().unwrap_or(self.slots.len());
        node.slot = slot;
        for pod in self.homeless.remove(&*node.name).unwrap_or_default().into_values() {
            self.tallies.count(slot, &pod, 1);
            node.add(pod);
        }
        self.by_name.insert(node.name.clone(), slot);
        if slot == self.slots.len() {
            self.slots.push(Some(node));
        } else {
            self.slots[slot] = Some(node);
        }
        self.order_is_stale = true;
        (slot, Events::NODE_ADDED)
    }

    /// Removes a node; its pods wait for it to come back. False when there is none.
    pub fn remove_node(&mut self, name: &str) -> bool {
        let Some(slot) = self.by_name.remove(name) else { return false };
        let node = self.slots[slot].take();
        self.forget_images(node.as_ref());
        let pods = node.map(|node| node.pods().clone()).unwrap_or_default();
        for pod in pods.values() {
            self.tallies.count(slot, pod, -1);
        }
        if !pods.is_empty() {
            self.homeless.insert(name.into(), pods);
        }
        self.free.push(slot);
        self.order_is_stale = true;
        true
    }

    fn forget_images(&mut self, node: Option<&NodeInfo>) {
        for image in node.iter().flat_map(|node| node.images.keys()) {
            if let Some(count) = self.images.get_mut(image) {
                *count -= 1;
                if *count == 0 {
                    self.images.remove(image);
                }
            }
        }
    }

    /// Counts a pod on a node, known or not. What was counted of it there before is forgotten.
    pub fn add_pod(&mut self, node: &str, pod: Arc<PodInfo>) {
        self.remove_pod(node, &pod.key);
        let Some(slot) = self.slot(node) else {
            self.homeless.entry(node.into()).or_default().insert(pod.key.clone(), pod);
            return;
        };
        self.tallies.count(slot, &pod, 1);
        self.slots[slot].as_mut().expect("slots in use have a node").add(pod);
    }

    /// Puts what is known of a pod now in the place of what was; it is of the same shape.
    pub fn replace_pod(&mut self, node: &str, pod: &Arc<PodInfo>) {
        if let Some(slot) = self.slot(node) {
            self.slots[slot].as_mut().expect("slots in use have a node").replace(pod);
        } else if let Some(known) = self.homeless.get_mut(node).and_then(|pods| pods.get_mut(&pod.key)) {
            *known = pod.clone();
        }
    }

    /// Counts a pod on a node no longer.
    pub fn remove_pod(&mut self, node: &str, key: &PodKey) -> Option<Arc<PodInfo>> {
        if let Some(slot) = self.slot(node) {
            let pod = self.slots[slot].as_mut().expect("slots in use have a node").remove(key)?;
            self.tallies.count(slot, &pod, -1);
            return Some(pod);
        }
        let pods = self.homeless.get_mut(node)?;
        let pod = pods.remove(key);
        if pods.is_empty() {
            self.homeless.remove(node);
        }
        pod
    }

    /// How many pods of a group each node has; the group is one of the pod that was prepared for.
    pub fn per_slot(&self, group: &PodGroup) -> &PerSlot {
        self.tallies.per_slot(group)
    }

    /// The lowest priority that a pod with a node has.
    pub fn lowest_priority(&self) -> Option<i32> {
        self.tallies.lowest_priority()
    }

    /// What pods with nodes want of others.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.tallies.held()
    }

    /// The values of a label; the key is one of the pod that was prepared for, or of what is held.
    pub fn topology(&self, key: &str) -> &Topology {
        self.topologies.get(key)
    }

    /// Makes everything ready that a decision about a pod asks for.
    pub fn prepare(&mut self, pod: &PodInfo) {
        self.refresh();
        let nodes = || self.slots.iter().enumerate().filter_map(|(slot, node)| Some((slot, node.as_ref()?)));
        self.tallies.prepare(pod, nodes());
        self.topologies.bound();
        let held = self.tallies.held().map(|held| &*held.term.topology_key);
        for key in pod.shape.topology_keys().chain(held) {
            self.topologies.prepare(key, self.slots.len(), nodes());
        }
    }

    /// Orders the nodes anew if nodes or zones have changed.
    fn refresh(&mut self) {
        if !std::mem::take(&mut self.order_is_stale) {
            return;
        }
        self.topologies.clear();
        let mut zones: BTreeMap<&str, Vec<Slot>> = BTreeMap::new();
        for slot in self.by_name.values() {
            zones.entry(self.node(*slot).zone()).or_default().push(*slot);
        }
        let longest = zones.values().map(Vec::len).max().unwrap_or(0);
        let order = (0..longest).flat_map(|i| zones.values().filter_map(move |zone| zone.get(i))).copied().collect();
        self.order = order;
    }
}
