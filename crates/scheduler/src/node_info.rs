//! A node with what runs there or was promised to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_object::views::{Node, Taint};
use k8s_object::{DecodeError, Object, Properties};

use crate::framework::Events;
use crate::pod_info::{HostPort, PodInfo, PodKey};
use crate::resources::Amounts;
use crate::snapshot::Slot;

/// The labels by which nodes are told apart by zone, in the order they are looked for.
const ZONE_LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];

/// One node.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    pub name: Arc<str>,
    /// Where it stands in the snapshot.
    pub slot: Slot,
    object: Arc<Object>,
    pub unschedulable: bool,
    /// Those that keep pods away; what only should is in `soft_taints`.
    pub hard_taints: Vec<Taint>,
    pub soft_taints: Vec<Taint>,
    pub allocatable: Amounts,
    pub allocatable_pods: i64,
    /// The sum of what its pods ask for.
    pub requested: Amounts,
    /// The sum with the defaults that scoring assumes: CPU in thousandths, memory in bytes.
    pub scoring_requested: (i64, i64),
    pub host_ports: Vec<HostPort>,
    /// Sizes in bytes by name.
    pub images: Arc<BTreeMap<String, i64>>,
    pods: BTreeMap<PodKey, Arc<PodInfo>>,
}

impl NodeInfo {
    pub fn new(object: Arc<Object>) -> Result<NodeInfo, DecodeError> {
        let node = object.view::<Node>()?;
        let taints = |hard: bool| {
            let is_hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") == hard;
            node.spec.taints.iter().filter(is_hard).cloned().collect()
        };
        let mut images = BTreeMap::new();
        for image in &node.status.images {
            images.extend(image.names.iter().map(|name| (name.clone(), image.size_bytes)));
        }
        Ok(NodeInfo {
            name: object.meta().name.as_str().into(),
            slot: 0,
            unschedulable: node.spec.unschedulable,
            hard_taints: taints(true),
            soft_taints: taints(false).into_iter().filter(|taint: &Taint| taint.effect == "PreferNoSchedule").collect(),
            allocatable: Amounts::from_map(&node.status.allocatable),
            allocatable_pods: node.status.allocatable.get("pods").map_or(0, |pods| pods.value()),
            requested: Amounts::default(),
            scoring_requested: (0, 0),
            host_ports: Vec::new(),
            images: Arc::new(images),
            pods: BTreeMap::new(),
            object,
        })
    }

    pub fn labels(&self) -> &Properties {
        &self.object.meta().labels
    }

    pub fn zone(&self) -> &str {
        ZONE_LABELS.iter().find_map(|label| self.labels().get(label)).unwrap_or("")
    }

    pub fn pods(&self) -> &BTreeMap<PodKey, Arc<PodInfo>> {
        &self.pods
    }

    /// Takes the pods of an older state of the same node.
    pub(crate) fn take_pods(&mut self, older: &mut NodeInfo) {
        for pod in std::mem::take(&mut older.pods).into_values() {
            self.add(pod);
        }
    }

    /// Counts a pod. One that is counted already is replaced.
    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.remove(&pod.key);
        self.requested.add(&pod.shape.requests);
        self.scoring_requested.0 += pod.shape.scoring_requests.0;
        self.scoring_requested.1 += pod.shape.scoring_requests.1;
        self.host_ports.extend_from_slice(&pod.shape.host_ports);
        self.pods.insert(pod.key.clone(), pod);
    }

    /// Puts what is known of a pod now in the place of what was; what it takes is the same.
    pub(crate) fn replace(&mut self, pod: &Arc<PodInfo>) {
        if let Some(known) = self.pods.get_mut(&pod.key) {
            *known = pod.clone();
        }
    }

    /// Counts a pod no longer.
    pub(crate) fn remove(&mut self, key: &PodKey) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(key)?;
        self.requested.subtract(&pod.shape.requests);
        self.scoring_requested.0 -= pod.shape.scoring_requests.0;
        self.scoring_requested.1 -= pod.shape.scoring_requests.1;
        for port in &pod.shape.host_ports {
            if let Some(at) = self.host_ports.iter().position(|own| own == port) {
                self.host_ports.swap_remove(at);
            }
        }
        Some(pod)
    }

    /// What has changed since an older state in a way that matters to pods that found no place.
    pub(crate) fn changes_since(&self, older: &NodeInfo) -> Events {
        let mut events = Events::NONE;
        if self.labels() != older.labels() {
            events |= Events::NODE_LABELS;
        }
        if self.unschedulable != older.unschedulable || self.hard_taints != older.hard_taints {
            events |= Events::NODE_TAINTS;
        }
        if self.allocatable != older.allocatable || self.allocatable_pods != older.allocatable_pods {
            events |= Events::NODE_ALLOCATABLE;
        }
        events
    }
}
