//! Which nodes a pod may be on, by its node selector and required node affinity (component-helpers `GetRequiredNodeAffinity`). For those
//! who ask once; the scheduler, which asks about thousands of nodes, parses the terms first.

use super::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use crate::{ObjectMeta, Properties};

impl PodSpec {
    /// Whether a node with this name and these labels is one that the pod may be on.
    pub fn selects_node(&self, node: &ObjectMeta) -> bool {
        let selected = self.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value.as_str()));
        let affinity = self.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required =
            affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        selected
            && required.is_none_or(|selector| selector.node_selector_terms.iter().any(|term| term_matches(term, node)))
    }
}

/// All requirements of a term hold; a term without any matches nothing.
fn term_matches(term: &NodeSelectorTerm, node: &ObjectMeta) -> bool {
    let name: Properties = [("metadata.name", node.name.as_str())].into_iter().collect();
    let empty = term.match_expressions.is_empty() && term.match_fields.is_empty();
    !empty
        && term.match_expressions.iter().all(|requirement| holds(requirement, &node.labels))
        && term.match_fields.iter().all(|requirement| holds(requirement, &name))
}

fn holds(requirement: &NodeSelectorRequirement, labels: &Properties) -> bool {
    let value = labels.get(&requirement.key);
    let listed = |value: &str| requirement.values.iter().any(|own| own == value);
    let bound = || Some((value?.parse::<i64>().ok()?, requirement.values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => bound().is_some_and(|(value, bound)| value > bound),
        "Lt" => bound().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}
