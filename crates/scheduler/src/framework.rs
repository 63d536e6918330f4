//! What a plugin is and what it may say: extension points as functions in a row of a table.
//!
//! Plugins are pure: they look at a pod, a node and what they noted about the pod earlier in the same decision, and answer.
//! Reserving (counting the pod on its node) belongs to the core and binding to the shell: no plugin takes part in them yet.

use std::ops::{BitOr, BitOrAssign};

use crate::node_info::NodeInfo;
use crate::plugins::{inter_pod_affinity, pod_topology_spread};
use crate::pod_info::PodInfo;
use crate::snapshot::{Slot, Snapshot};

/// The highest score that a plugin gives a node.
pub const MAX_NODE_SCORE: i64 = 100;

/// Whether a pod can run on a node; if not, the diagnosis is told why.
pub type Filter = fn(&PodInfo, &NodeInfo, &Cycle, &mut Diagnosis) -> Verdict;

/// What a plugin says of a pod on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Fits,
    /// Not with the pods that the node has.
    Refused,
    /// Not with any others either: making room for the pod there is in vain (upstream's `UnschedulableAndUnresolvable`).
    Hopeless,
}

impl Verdict {
    pub fn or_refused(fits: bool) -> Verdict {
        if fits { Verdict::Fits } else { Verdict::Refused }
    }

    pub fn or_hopeless(fits: bool) -> Verdict {
        if fits { Verdict::Fits } else { Verdict::Hopeless }
    }
}

/// Corrects what was noted about a pod for another that is counted on a node (1), or no longer (-1). Afterwards the notes are
/// good for that node alone.
pub type Adjust = fn(&PodInfo, &PodInfo, &NodeInfo, i64, &mut Cycle);

/// One plugin: its name and the extension points at which it has something to say.
pub struct Plugin {
    pub name: &'static str,
    /// Whether a pod may enter the queue at all.
    pub pre_enqueue: Option<fn(&PodInfo) -> bool>,
    /// Refuses a pod for all nodes, or names the only ones worth trying.
    pub pre_filter: Option<fn(&PodInfo, &Snapshot, &mut Cycle) -> PreFilter>,
    /// Whether a pod can run on a node; if not, says why.
    pub filter: Option<Filter>,
    /// For plugins that note something before nodes are tried: what changes when a pod of a node comes or goes.
    pub adjust: Option<Adjust>,
    /// How good a node is.
    pub score: Option<Scoring>,
    /// What can change this plugin's mind about a pod that it refused.
    pub events: Events,
    /// Whether it could have, in this case. Only asked about `events`.
    pub hint: fn(&PodInfo, &Event<'_>) -> bool,
}

impl Plugin {
    /// A row without extension points, to be completed.
    pub const fn named(name: &'static str) -> Plugin {
        Plugin {
            name,
            pre_enqueue: None,
            pre_filter: None,
            filter: None,
            adjust: None,
            score: None,
            events: Events::NONE,
            hint: |_, _| true,
        }
    }
}

/// What a plugin says before nodes are tried one by one.
#[derive(Debug, PartialEq, Eq)]
pub enum PreFilter {
    /// Any node may do.
    All,
    /// Only these may.
    Only(Vec<Slot>),
    /// None will.
    Refuse(String),
}

/// What plugins note about a pod for the rest of one decision.
#[derive(Debug, Clone, Default)]
pub struct Cycle {
    pub affinity: inter_pod_affinity::State,
    pub spread: pod_topology_spread::State,
}

/// How a plugin scores nodes.
pub struct Scoring {
    /// What the plugin's opinion counts.
    pub weight: i64,
    /// Notes what it needs to score the nodes in these slots; false when it has no opinion on this pod.
    pub prepare: fn(&PodInfo, &Snapshot, &[Slot], &mut Cycle) -> bool,
    pub score: fn(&PodInfo, &NodeInfo, &Snapshot, &Cycle) -> i64,
    pub normalize: Normalize,
}

/// How the scores of one plugin are brought to 0..=[`MAX_NODE_SCORE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalize {
    /// They already are.
    None,
    /// The highest becomes the maximum.
    Highest,
    /// The highest becomes zero.
    Lowest,
    /// The highest becomes the maximum, the lowest zero (InterPodAffinity).
    Range,
    /// The lowest becomes the maximum, and the others lose their share of the highest (PodTopologySpread).
    FewestBest,
}

impl Normalize {
    /// A score, for [`Normalize::FewestBest`], of a node that becomes zero and does not count.
    pub const LAST: i64 = -1;

    pub fn apply(self, scores: &mut [i64]) {
        match self {
            Normalize::None => {}
            Normalize::Highest => Self::share_of_highest(scores, false),
            Normalize::Lowest => Self::share_of_highest(scores, true),
            Normalize::Range => {
                let (low, high) = (scores.iter().min().copied(), scores.iter().max().copied());
                let (low, high) = (low.unwrap_or(0), high.unwrap_or(0));
                for score in scores {
                    *score = if high == low { 0 } else { MAX_NODE_SCORE * (*score - low) / (high - low) };
                }
            }
            Normalize::FewestBest => {
                let counted = || scores.iter().copied().filter(|score| *score != Self::LAST);
                let (low, high) = (counted().min().unwrap_or(0), counted().max().unwrap_or(0));
                for score in scores {
                    *score = match *score {
                        Self::LAST => 0,
                        _ if high == 0 => MAX_NODE_SCORE,
                        score => MAX_NODE_SCORE * (high + low - score) / high,
                    };
                }
            }
        }
    }

    /// Upstream's `helper.DefaultNormalizeScore`.
    fn share_of_highest(scores: &mut [i64], reverse: bool) {
        let highest = scores.iter().copied().max().unwrap_or(0);
        for score in scores {
            let share = if highest == 0 { 0 } else { MAX_NODE_SCORE * *score / highest };
            *score = if reverse { MAX_NODE_SCORE - share } else { share };
        }
    }
}

/// A set of kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Events(u16);

impl Events {
    pub const NONE: Events = Events(0);
    pub const NODE_ADDED: Events = Events(1);
    pub const NODE_ALLOCATABLE: Events = Events(1 << 1);
    pub const NODE_LABELS: Events = Events(1 << 2);
    /// Or whether it is schedulable.
    pub const NODE_TAINTS: Events = Events(1 << 3);
    pub const NODE_REMOVED: Events = Events(1 << 4);
    pub const POD_ADDED: Events = Events(1 << 5);
    /// A pod left a node, asks for less, or has other labels.
    pub const POD_REMOVED: Events = Events(1 << 6);

    pub fn intersects(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Events {
    type Output = Events;

    fn bitor(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }
}

impl BitOrAssign for Events {
    fn bitor_assign(&mut self, other: Events) {
        self.0 |= other.0;
    }
}

impl Events {
    /// Both sets, where operators cannot stand: in constants.
    pub const fn and(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }
}

/// Something happened that may give a place to a pod that found none.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    pub events: Events,
    /// The node it happened on, as it is afterwards; absent when it is gone.
    pub node: Option<&'a NodeInfo>,
    /// The pod that it happened to, as it was, if it was about a pod.
    pub pod: Option<&'a PodInfo>,
}

impl Event<'_> {
    /// Whether there is a node now that fulfils a condition.
    pub fn node_is(&self, condition: impl FnOnce(&NodeInfo) -> bool) -> bool {
        self.node.is_some_and(condition)
    }
}

/// Which plugins refused a pod: one bit per row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PluginSet(u32);

impl PluginSet {
    pub fn insert(&mut self, plugin: usize) {
        self.0 |= 1 << plugin;
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..u32::BITS as usize).filter(move |plugin| self.0 & (1 << plugin) != 0)
    }
}

/// Why a node cannot run a pod, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason<'a> {
    Insufficient(&'a str),
    Text(&'a str),
    UntoleratedTaint { key: &'a str, value: &'a str },
}

#[derive(Debug)]
enum Counted {
    Insufficient(String),
    Text(String),
    UntoleratedTaint { key: String, value: String },
}

impl Counted {
    fn as_reason(&self) -> Reason<'_> {
        match self {
            Counted::Insufficient(resource) => Reason::Insufficient(resource),
            Counted::Text(text) => Reason::Text(text),
            Counted::UntoleratedTaint { key, value } => Reason::UntoleratedTaint { key, value },
        }
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Counted::Insufficient(resource) => write!(f, "Insufficient {resource}"),
            Counted::Text(text) => f.write_str(text),
            Counted::UntoleratedTaint { key, value } => {
                write!(f, "node(s) had untolerated taint {{{key}: {value}}}")
            }
        }
    }
}

/// Counts why nodes cannot run a pod. There are few reasons and thousands of nodes, so a reason is only written out once.
#[derive(Debug, Default)]
pub struct Diagnosis {
    reasons: Vec<(Counted, usize)>,
    pub plugins: PluginSet,
}

impl Diagnosis {
    /// Counts a reason for one node.
    pub fn count(&mut self, reason: Reason<'_>) {
        self.count_many(reason, 1);
    }

    /// Counts a reason for several nodes.
    pub fn count_many(&mut self, reason: Reason<'_>, nodes: usize) {
        if let Some((_, count)) = self.reasons.iter_mut().find(|(counted, _)| counted.as_reason() == reason) {
            *count += nodes;
            return;
        }
        let counted = match reason {
            Reason::Insufficient(resource) => Counted::Insufficient(resource.to_owned()),
            Reason::Text(text) => Counted::Text(text.to_owned()),
            Reason::UntoleratedTaint { key, value } => {
                Counted::UntoleratedTaint { key: key.to_owned(), value: value.to_owned() }
            }
        };
        self.reasons.push((counted, nodes));
    }

    /// `0/2 nodes are available: 2 Insufficient cpu.` (framework `FitError.Error`).
    pub fn message(&self, nodes: usize) -> String {
        let mut counted: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        counted.sort();
        let mut message = format!("0/{nodes} nodes are available:");
        if !counted.is_empty() {
            message.push_str(&format!(" {}.", counted.join(", ")));
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_counts_reasons_as_upstream_does() {
        let mut diagnosis = Diagnosis::default();
        for _ in 0..2 {
            diagnosis.count(Reason::Insufficient("memory"));
            diagnosis.count(Reason::UntoleratedTaint { key: "a", value: "" });
        }
        diagnosis.count(Reason::Text("node(s) were unschedulable"));
        diagnosis.count(Reason::Insufficient("cpu"));
        assert_eq!(
            diagnosis.message(5),
            "0/5 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable, 2 Insufficient memory, \
             2 node(s) had untolerated taint {a: }."
        );
        assert_eq!(Diagnosis::default().message(3), "0/3 nodes are available:");
    }

    #[test]
    fn scores_are_normalized_as_upstream_does() {
        let cases: [(Normalize, &[i64], &[i64]); 10] = [
            (Normalize::None, &[5, 7], &[5, 7]),
            (Normalize::Highest, &[1, 2, 4], &[25, 50, 100]),
            (Normalize::Highest, &[0, 0], &[0, 0]),
            (Normalize::Lowest, &[0, 1, 3], &[100, 67, 0]),
            (Normalize::Lowest, &[0, 0], &[100, 100]),
            (Normalize::Range, &[-10, 0, 10], &[0, 50, 100]),
            (Normalize::Range, &[3, 3], &[0, 0]),
            (Normalize::FewestBest, &[0, 2, 4], &[100, 50, 0]),
            (Normalize::FewestBest, &[1, 2, Normalize::LAST], &[100, 50, 0]),
            (Normalize::FewestBest, &[0, 0], &[100, 100]),
        ];
        for (normalize, given, expected) in cases {
            let mut scores = given.to_vec();
            normalize.apply(&mut scores);
            assert_eq!(scores, expected, "{normalize:?} {given:?}");
        }
    }
}
