//! Sets of pods that constraints of other pods are about: those of a selector in some namespaces, or of one controller.

use std::sync::Arc;

use k8s_object::views::{PodAffinityTerm, TopologySpreadConstraint};
use k8s_object::{LabelSelector, Properties, Requirement};

use crate::pod_info::PodInfo;

/// See the module. Two groups with the same key have the same members.
#[derive(Debug, Clone)]
pub struct PodGroup {
    pub key: Box<str>,
    /// A member is in all of them.
    clauses: Vec<Clause>,
    /// Whether pods that are being deleted count.
    with_terminating: bool,
}

impl PartialEq for PodGroup {
    fn eq(&self, other: &PodGroup) -> bool {
        self.key == other.key
    }
}

impl Eq for PodGroup {}

#[derive(Debug, Clone)]
struct Clause {
    /// None is every namespace.
    namespaces: Option<Vec<String>>,
    members: Members,
}

#[derive(Debug, Clone)]
enum Members {
    /// Pods of the controller with this uid.
    Controller(Box<str>),
    Selector(LabelSelector),
}

impl PodGroup {
    fn new(clauses: Vec<Clause>, with_terminating: bool) -> Arc<PodGroup> {
        let key = format!("{with_terminating} {clauses:?}").into();
        Arc::new(PodGroup { key, clauses, with_terminating })
    }

    /// The pods that a spread constraint of a pod counts.
    pub fn of_spread(constraint: &TopologySpreadConstraint, namespace: &str, labels: &Properties) -> Arc<PodGroup> {
        let mut selector = constraint.label_selector.clone().unwrap_or_else(LabelSelector::nothing);
        restrict(&mut selector, &constraint.match_label_keys, labels, Requirement::In);
        let namespaces = Some(vec![namespace.to_owned()]);
        PodGroup::new(vec![Clause { namespaces, members: Members::Selector(selector) }], false)
    }

    /// The pods of one controller.
    pub fn of_controller(uid: &str, namespace: &str) -> Arc<PodGroup> {
        let namespaces = Some(vec![namespace.to_owned()]);
        PodGroup::new(vec![Clause { namespaces, members: Members::Controller(uid.into()) }], false)
    }

    /// The uid of the controller, when the group is its pods.
    pub fn controller(&self) -> Option<&str> {
        match &self.clauses[..] {
            [Clause { members: Members::Controller(uid), .. }] => Some(uid),
            _ => None,
        }
    }

    /// The pods that are in all of the groups.
    pub fn intersection<'a>(groups: impl IntoIterator<Item = &'a PodGroup>) -> Arc<PodGroup> {
        PodGroup::new(groups.into_iter().flat_map(|group| group.clauses.clone()).collect(), true)
    }

    /// Whether the pod is a member, as far as its being deleted matters to the group.
    pub fn contains(&self, pod: &PodInfo) -> bool {
        (self.with_terminating || !pod.terminating) && self.contains_when_live(pod)
    }

    /// Whether the pod is, or was until its deletion began, a member.
    pub fn contains_when_live(&self, pod: &PodInfo) -> bool {
        self.clauses.iter().all(|clause| {
            let here = |namespaces: &Vec<String>| namespaces.contains(&pod.key.namespace);
            clause.namespaces.as_ref().is_none_or(here)
                && match &clause.members {
                    Members::Controller(uid) => pod.shape.controller.as_ref() == Some(uid),
                    Members::Selector(selector) => selector.matches(&pod.shape.labels),
                }
        })
    }
}

/// A group of pods and how near counts: on nodes with the same value of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodTerm {
    pub group: Arc<PodGroup>,
    pub topology_key: Box<str>,
}

impl PodTerm {
    /// From a term of a pod with these labels in this namespace; `None` when it selects namespaces by their labels, which
    /// the scheduler does not read.
    pub fn new(term: &PodAffinityTerm, namespace: &str, labels: &Properties) -> Option<PodTerm> {
        let namespaces = match &term.namespace_selector {
            None if term.namespaces.is_empty() => Some(vec![namespace.to_owned()]),
            None => Some(term.namespaces.clone()),
            Some(selector) if selector.is_everything() => None,
            Some(_) => return None,
        };
        let mut selector = term.label_selector.clone().unwrap_or_else(LabelSelector::nothing);
        restrict(&mut selector, &term.match_label_keys, labels, Requirement::In);
        restrict(&mut selector, &term.mismatch_label_keys, labels, Requirement::NotIn);
        let group = PodGroup::new(vec![Clause { namespaces, members: Members::Selector(selector) }], true);
        Some(PodTerm { group, topology_key: term.topology_key.as_str().into() })
    }
}

/// Adds the pod's own values of some labels to a selector. Labels that the pod lacks are left out.
fn restrict(
    selector: &mut LabelSelector,
    keys: &[String],
    labels: &Properties,
    requirement: fn(String, std::collections::BTreeSet<String>) -> Requirement,
) {
    for key in keys {
        if let Some(value) = labels.get(key) {
            selector.requirements.push(requirement(key.clone(), [value.to_owned()].into()));
        }
    }
}
