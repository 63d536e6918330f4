//! The search for a node: which can run the pod, and which of them is best.

use super::Core;
use crate::filters;
use crate::framework::{Cycle, Diagnosis, PluginSet, PreFilter, Reason};
use crate::plugins::PLUGINS;
use crate::pod_info::PodInfo;
use crate::snapshot::Slot;

/// With fewer nodes all are tried (kube-scheduler `minFeasibleNodesToFind`).
const MIN_FEASIBLE_NODES: usize = 100;

/// The smallest share of nodes to find, in percent (`minFeasibleNodesPercentageToFind`).
const MIN_PERCENTAGE: usize = 5;

/// Why no node was found.
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) plugins: PluginSet,
    /// What making room for the pod begins with; absent when there is nothing to make room on.
    pub(super) hope: Option<Hope>,
}

/// What the search leaves to preemption.
pub(super) struct Hope {
    /// Nodes that the pod could run on if others were gone.
    pub(super) nodes: Vec<Slot>,
    /// What was noted about the pod before nodes were tried.
    pub(super) cycle: Cycle,
}

/// What the filters left.
#[derive(Default)]
pub(super) struct Sieve {
    feasible: Vec<Slot>,
    /// Refused, but not for good.
    refused: Vec<Slot>,
}

impl Core {
    pub(super) fn find_node(&mut self, pod: &PodInfo, below: &mut dyn FnMut(u64) -> u64) -> Result<Slot, Refusal> {
        let nodes = self.snapshot.len();
        if nodes == 0 {
            let message = "no nodes available to schedule pods".into();
            return Err(Refusal { message, plugins: PluginSet::default(), hope: None });
        }
        let mut diagnosis = Diagnosis::default();
        let mut cycle = Cycle::default();
        let only = self.pre_filter(pod, &mut cycle, &mut diagnosis)?;
        if let Some(slot) = self.nominated_node(pod, &cycle) {
            return Ok(slot);
        }
        let mut sieve = std::mem::take(&mut self.sieve);
        sieve.feasible.clear();
        sieve.refused.clear();
        self.filter(pod, only.as_deref(), &cycle, &mut sieve, &mut diagnosis);
        let chosen = match sieve.feasible[..] {
            [] => {
                let hope = Hope { nodes: sieve.refused.clone(), cycle };
                Err(Refusal { message: diagnosis.message(nodes), plugins: diagnosis.plugins, hope: Some(hope) })
            }
            [slot] => Ok(slot),
            _ => Ok(self.best(pod, &sieve.feasible, &mut cycle, below)),
        };
        self.sieve = sieve;
        chosen
    }

    /// The node where room was made for the pod, if it can run there by now: no other need be tried.
    fn nominated_node(&self, pod: &PodInfo, cycle: &Cycle) -> Option<Slot> {
        let slot = self.snapshot.slot(self.nominations.node_of(&pod.key)?)?;
        self.refusal(pod, slot, cycle, &mut Diagnosis::default()).is_none().then_some(slot)
    }

    fn refusal(&self, pod: &PodInfo, slot: Slot, cycle: &Cycle, diagnosis: &mut Diagnosis) -> Option<filters::Refusal> {
        let node = self.snapshot.node(slot);
        match self.nominations.on(&node.name) {
            [] => filters::refusal(pod, node, cycle, diagnosis),
            nominated => filters::refusal_beside(pod, node, cycle, nominated, diagnosis),
        }
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
                    // Whatever pods were gone, it would be refused again.
                    let hope = Hope { nodes: Vec::new(), cycle: Cycle::default() };
                    return Err(Refusal { message, plugins: diagnosis.plugins, hope: Some(hope) });
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
        sieve: &mut Sieve,
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
            match self.refusal(pod, *slot, cycle, diagnosis) {
                None => sieve.feasible.push(*slot),
                Some(refusal) => {
                    diagnosis.plugins.insert(refusal.plugin);
                    if !refusal.hopeless {
                        sieve.refused.push(*slot);
                    }
                }
            }
            if sieve.feasible.len() >= enough {
                break;
            }
        }
        if only.is_none() {
            self.next_start = (start + tried) % order.len();
        }
    }

    /// kube-scheduler's `numFeasibleNodesToFind`.
    pub(super) fn nodes_to_find(&self, nodes: usize) -> usize {
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
    fn best(&self, pod: &PodInfo, feasible: &[Slot], cycle: &mut Cycle, below: &mut dyn FnMut(u64) -> u64) -> Slot {
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
