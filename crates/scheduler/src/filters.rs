//! Asks all plugins whether a pod can run on a node.

use std::sync::Arc;

use crate::framework::{Cycle, Diagnosis, Verdict};
use crate::node_info::NodeInfo;
use crate::plugins::PLUGINS;
use crate::pod_info::PodInfo;

/// Which plugin keeps a pod away from a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub plugin: usize,
    /// Whether it would whatever pods the node had.
    pub hopeless: bool,
}

/// Asks the plugins in their order; the first that refuses decides.
pub fn refusal(pod: &PodInfo, node: &NodeInfo, cycle: &Cycle, diagnosis: &mut Diagnosis) -> Option<Refusal> {
    PLUGINS.iter().enumerate().find_map(|(plugin, row)| match (row.filter?)(pod, node, cycle, diagnosis) {
        Verdict::Fits => None,
        verdict => Some(Refusal { plugin, hopeless: verdict == Verdict::Hopeless }),
    })
}

/// The same on a node where room is made for pods. Those of the same or a higher priority come first, so the pod must find its
/// place beside them; since they may yet go elsewhere, it must find it without them too (its affinity may be to them).
pub fn refusal_beside(
    pod: &PodInfo,
    node: &NodeInfo,
    cycle: &Cycle,
    nominated: &[Arc<PodInfo>],
    diagnosis: &mut Diagnosis,
) -> Option<Refusal> {
    let mut rivals =
        nominated.iter().filter(|other| other.shape.priority >= pod.shape.priority && other.key != pod.key).peekable();
    if rivals.peek().is_some() {
        let (mut node, mut cycle) = (node.clone(), cycle.clone());
        for rival in rivals {
            add(pod, rival, &mut node, &mut cycle);
        }
        let refused = refusal(pod, &node, &cycle, diagnosis);
        if refused.is_some() {
            return refused;
        }
    }
    refusal(pod, node, cycle, diagnosis)
}

/// Counts another pod on a copy of a node, in all that was noted about `pod` too.
pub fn add(pod: &PodInfo, other: &Arc<PodInfo>, node: &mut NodeInfo, cycle: &mut Cycle) {
    node.add(other.clone());
    adjust(pod, other, node, 1, cycle);
}

/// Counts it no longer.
pub fn remove(pod: &PodInfo, other: &PodInfo, node: &mut NodeInfo, cycle: &mut Cycle) {
    node.remove(&other.key);
    adjust(pod, other, node, -1, cycle);
}

fn adjust(pod: &PodInfo, other: &PodInfo, node: &NodeInfo, by: i64, cycle: &mut Cycle) {
    for adjust in PLUGINS.iter().filter_map(|plugin| plugin.adjust) {
        adjust(pod, other, node, by, cycle);
    }
}
