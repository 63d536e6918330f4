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
    namespaces: Namespaces,
    members: Members,
}

#[derive(Debug, Clone)]
enum Namespaces {
    All,
    /// Those with these names, and those whose labels are selected.
    Of(Vec<String>, Option<LabelSelector>),
}

impl Namespaces {
    fn only(name: &str) -> Namespaces {
        Namespaces::Of(vec![name.to_owned()], None)
    }

    fn contain(&self, pod: &PodInfo) -> bool {
        match self {
            Namespaces::All => true,
            Namespaces::Of(names, selector) => {
                names.contains(&pod.key.namespace)
                    || selector.as_ref().is_some_and(|selector| selector.matches(&pod.shape.namespace_labels))
            }
        }
    }
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
        let namespaces = Namespaces::only(namespace);
        PodGroup::new(vec![Clause { namespaces, members: Members::Selector(selector) }], false)
    }

    /// The pods that Services of a namespace select.
    pub fn of_services(selector: LabelSelector, namespace: &str) -> Arc<PodGroup> {
        let namespaces = Namespaces::only(namespace);
        PodGroup::new(vec![Clause { namespaces, members: Members::Selector(selector) }], false)
    }

    /// The pods of one controller.
    pub fn of_controller(uid: &str, namespace: &str) -> Arc<PodGroup> {
        let namespaces = Namespaces::only(namespace);
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
            clause.namespaces.contain(pod)
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
    /// From a term of a pod with these labels in this namespace.
    pub fn new(term: &PodAffinityTerm, namespace: &str, labels: &Properties) -> PodTerm {
        let namespaces = match &term.namespace_selector {
            None if term.namespaces.is_empty() => Namespaces::only(namespace),
            Some(selector) if selector.is_everything() => Namespaces::All,
            selector => Namespaces::Of(term.namespaces.clone(), selector.clone()),
        };
        let mut selector = term.label_selector.clone().unwrap_or_else(LabelSelector::nothing);
        restrict(&mut selector, &term.match_label_keys, labels, Requirement::In);
        restrict(&mut selector, &term.mismatch_label_keys, labels, Requirement::NotIn);
        let group = PodGroup::new(vec![Clause { namespaces, members: Members::Selector(selector) }], true);
        PodTerm { group, topology_key: term.topology_key.as_str().into() }
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
