//! Node selectors, parsed once per pod (component-helpers `nodeaffinity`).

use k8s_object::Requirement;
use k8s_object::views::{NodeSelectorRequirement, NodeSelectorTerm};

use crate::node_info::NodeInfo;

/// One term: all of its requirements must hold. A term without any, or with one that cannot be understood, matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    labels: Vec<Requirement>,
    names: Vec<NameRequirement>,
    valid: bool,
}

/// `metadata.name`, the only field that can be selected.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NameRequirement {
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Term {
    pub fn new(term: &NodeSelectorTerm) -> Term {
        let label = |requirement: &NodeSelectorRequirement| {
            let NodeSelectorRequirement { key, operator, values } = requirement.clone();
            Requirement::from_operator(key, &operator, values).ok()
        };
        let labels: Option<Vec<Requirement>> = term.match_expressions.iter().map(label).collect();
        let names: Option<Vec<NameRequirement>> = term.match_fields.iter().map(name).collect();
        let empty = term.match_expressions.is_empty() && term.match_fields.is_empty();
        let valid = !empty && labels.is_some() && names.is_some();
        Term { labels: labels.unwrap_or_default(), names: names.unwrap_or_default(), valid }
    }

    pub fn matches(&self, node: &NodeInfo) -> bool {
        self.valid
            && self.labels.iter().all(|requirement| requirement.matches(node.labels()))
            && self.names.iter().all(|requirement| match requirement {
                NameRequirement::In(names) => names.iter().any(|name| **name == *node.name),
                NameRequirement::NotIn(names) => names.iter().all(|name| **name != *node.name),
            })
    }

    /// The only nodes that can match, when the term names them.
    pub fn node_names(&self) -> Option<&[String]> {
        self.names.iter().find_map(|requirement| match requirement {
            NameRequirement::In(names) => Some(&names[..]),
            NameRequirement::NotIn(_) => None,
        })
    }
}

fn name(requirement: &NodeSelectorRequirement) -> Option<NameRequirement> {
    if requirement.key != "metadata.name" || requirement.values.is_empty() {
        return None;
    }
    match requirement.operator.as_str() {
        "In" => Some(NameRequirement::In(requirement.values.clone())),
        "NotIn" => Some(NameRequirement::NotIn(requirement.values.clone())),
        _ => None,
    }
}
