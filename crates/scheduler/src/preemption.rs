//! Finds the pods of lower priority whose end would give a pod a place (plugin DefaultPreemption, with its default arguments).
//!
//! Pure: nodes are tried on copies, and nothing is decided but whom to take from where. That nothing of lower priority runs
//! anywhere, the usual case, is known without looking at a node.

use std::cmp::Reverse;
use std::sync::Arc;

use world::Timestamp;

use crate::budgets::Budgets;
use crate::filters;
use crate::framework::{Cycle, Diagnosis, Reason};
use crate::node_info::NodeInfo;
use crate::nominations::Nominations;
use crate::pod_info::PodInfo;
use crate::snapshot::{Slot, Snapshot};

/// The share of nodes on which victims are looked for before one is chosen, in percent (`minCandidateNodesPercentage`).
const MIN_PERCENTAGE: usize = 10;

/// On no fewer nodes than this (`minCandidateNodesAbsolute`).
const MIN_NODES: usize = 100;

/// Whose end makes room for a pod.
#[derive(Debug, Clone)]
pub struct Preemption {
    pub node: Arc<str>,
    /// The most important first. Those that are being deleted already are among them.
    pub victims: Vec<Arc<PodInfo>>,
    /// Pods of lower priority for which room was made there: they have to look again.
    pub displaced: Vec<Arc<PodInfo>>,
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// The pod may not preempt, or not again.
    Ineligible(&'static str),
    /// No node has victims that help; why, in upstream's words.
    InVain(String),
    Found(Preemption),
}

/// What there is to choose from.
pub struct Preempting<'a> {
    pub snapshot: &'a Snapshot,
    pub nominations: &'a Nominations,
    pub budgets: &'a Budgets,
}

/// One node and who would have to go there.
#[derive(Debug)]
struct Candidate {
    slot: Slot,
    /// In order of importance; never empty.
    victims: Vec<Arc<PodInfo>>,
    /// How many of them a budget protects.
    violations: usize,
}

impl Preempting<'_> {
    /// Looks for room for a pod that was refused. `refused` are the nodes for which there is hope, `cycle` what was noted before
    /// nodes were tried. `below(n)` draws a number below `n`.
    pub fn run(&self, pod: &PodInfo, refused: &[Slot], cycle: &Cycle, below: impl FnOnce(u64) -> u64) -> Outcome {
        if let Some(why) = self.ineligible(pod, refused) {
            return Outcome::Ineligible(why);
        }
        let mut diagnosis = Diagnosis::default();
        let nodes = self.snapshot.len();
        let hopeless = nodes - refused.len();
        if hopeless > 0 {
            diagnosis.count_many(Reason::Text("Preemption is not helpful for scheduling"), hopeless);
        }
        let found = self.candidates(pod, refused, cycle, below, &mut diagnosis);
        match found.into_iter().min_by_key(Candidate::cost) {
            None => Outcome::InVain(diagnosis.message(nodes)),
            Some(Candidate { slot, victims, .. }) => {
                let node = self.snapshot.node(slot).name.clone();
                let lower = |other: &&Arc<PodInfo>| other.shape.priority < pod.shape.priority;
                let displaced = self.nominations.on(&node).iter().filter(lower).cloned().collect();
                Outcome::Found(Preemption { node, victims, displaced })
            }
        }
    }

    /// Why a pod may not preempt: it must not, or room is being made for it already.
    fn ineligible(&self, pod: &PodInfo, refused: &[Slot]) -> Option<&'static str> {
        if pod.shape.never_preempts {
            return Some("not eligible due to preemptionPolicy=Never.");
        }
        let slot = self.snapshot.slot(self.nominations.node_of(&pod.key)?)?;
        // Where there is no hope any more it may look elsewhere.
        let is_hopeless = !refused.contains(&slot);
        let leaving = |other: &Arc<PodInfo>| other.preempted && other.shape.priority < pod.shape.priority;
        if is_hopeless || !self.snapshot.node(slot).pods().values().any(leaving) {
            return None;
        }
        Some("not eligible due to a terminating pod on the nominated node.")
    }

    /// Tries nodes until enough are found to choose from; those without violated budgets come first.
    fn candidates(
        &self,
        pod: &PodInfo,
        refused: &[Slot],
        cycle: &Cycle,
        below: impl FnOnce(u64) -> u64,
        diagnosis: &mut Diagnosis,
    ) -> Vec<Candidate> {
        if refused.is_empty() {
            return Vec::new();
        }
        if self.snapshot.lowest_priority().is_none_or(|lowest| lowest >= pod.shape.priority) {
            diagnosis.count_many(NO_VICTIMS, refused.len());
            return Vec::new();
        }
        let enough = (refused.len() * MIN_PERCENTAGE / 100).max(MIN_NODES).min(refused.len());
        let start = below(refused.len() as u64) as usize % refused.len();
        let (mut peaceful, mut violating) = (Vec::new(), Vec::new());
        for slot in refused[start..].iter().chain(&refused[..start]) {
            let Some(candidate) = self.dry_run(pod, *slot, cycle, diagnosis) else { continue };
            match candidate.violations {
                0 => peaceful.push(candidate),
                // More of these are not wanted; only one without violations can end the search.
                _ if violating.len() < enough => violating.push(candidate),
                _ => {}
            }
            if !peaceful.is_empty() && peaceful.len() + violating.len() >= enough {
                break;
            }
        }
        peaceful.extend(violating);
        peaceful
    }

    /// Takes all pods of lower priority from a copy of a node, and if the pod fits then, spares those that it fits beside:
    /// first those that a budget protects, in both cases the most important first.
    fn dry_run(&self, pod: &PodInfo, slot: Slot, cycle: &Cycle, diagnosis: &mut Diagnosis) -> Option<Candidate> {
        let node = self.snapshot.node(slot);
        let lower = |other: &&Arc<PodInfo>| other.shape.priority < pod.shape.priority;
        let mut lower: Vec<Arc<PodInfo>> = node.pods().values().filter(lower).cloned().collect();
        if lower.is_empty() {
            diagnosis.count(NO_VICTIMS);
            return None;
        }
        let mut trial =
            Trial { node: node.clone(), cycle: cycle.clone(), nominated: self.nominations.on(&node.name), pod };
        lower.iter().for_each(|victim| trial.remove(victim));
        if !trial.fits(diagnosis) {
            return None;
        }
        lower.sort_by_key(|victim| importance(victim));
        let (protected, others) = self.budgets.part(lower);
        let mut victims = Vec::new();
        let mut violations = 0;
        for (victim, is_protected) in
            protected.into_iter().map(|victim| (victim, true)).chain(others.into_iter().map(|victim| (victim, false)))
        {
            if !trial.spares(&victim) {
                violations += usize::from(is_protected);
                victims.push(victim);
            }
        }
        if victims.is_empty() {
            let why = format!("expected at least one victim pod on node {:?}", node.name);
            diagnosis.count(Reason::Text(&why));
            return None;
        }
        victims.sort_by_key(|victim| importance(victim));
        Some(Candidate { slot, victims, violations })
    }
}

const NO_VICTIMS: Reason<'static> = Reason::Text("No preemption victims found for incoming pod");

/// A copy of a node, and of what was noted about the pod that is tried on it.
struct Trial<'a> {
    node: NodeInfo,
    cycle: Cycle,
    nominated: &'a [Arc<PodInfo>],
    pod: &'a PodInfo,
}

impl Trial<'_> {
    fn remove(&mut self, victim: &PodInfo) {
        filters::remove(self.pod, victim, &mut self.node, &mut self.cycle);
    }

    fn fits(&self, diagnosis: &mut Diagnosis) -> bool {
        filters::refusal_beside(self.pod, &self.node, &self.cycle, self.nominated, diagnosis).is_none()
    }

    /// Puts a victim back if the pod fits beside it.
    fn spares(&mut self, victim: &Arc<PodInfo>) -> bool {
        filters::add(self.pod, victim, &mut self.node, &mut self.cycle);
        let fits = self.fits(&mut Diagnosis::default());
        if !fits {
            self.remove(victim);
        }
        fits
    }
}

/// When it started; one that has not yet does now, later than all others.
fn started(pod: &PodInfo) -> Timestamp {
    pod.started.unwrap_or(Timestamp::from_micros(i64::MAX))
}

/// Orders pods by importance, the highest first: priority, then who has run longest.
fn importance(pod: &PodInfo) -> (Reverse<i32>, Timestamp) {
    (Reverse(pod.shape.priority), started(pod))
}

impl Candidate {
    /// What is least is chosen: fewest violations, the lowest among the highest priorities, the lowest sum of priorities, fewest
    /// victims, and the latest start among victims of the highest priority.
    fn cost(&self) -> (usize, i32, i64, usize, Reverse<Timestamp>) {
        let highest = self.victims[0].shape.priority;
        // Moved above zero, so that several of a negative priority are more than one of them.
        let sum = self.victims.iter().map(|victim| i64::from(victim.shape.priority) - i64::from(i32::MIN)).sum();
        let important = self.victims.iter().filter(|victim| victim.shape.priority == highest);
        let earliest = important.map(|victim| started(victim)).min().unwrap_or_default();
        (self.violations, highest, sum, self.victims.len(), Reverse(earliest))
    }
}

#[cfg(test)]
mod tests;
