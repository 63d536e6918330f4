//! Rules of ClusterRoles that gather others' rules by label.

use k8s_object::views::{PolicyRule, Role};

use super::RbacIndex;

/// Rules that an aggregated ClusterRole is to have: those of the ClusterRoles that its selectors select, each once, in order
/// of the selectors, then of the names. Nothing for a role that gathers none.
pub fn aggregated_rules(role: &Role, index: &RbacIndex) -> Option<Vec<PolicyRule>> {
    let aggregation = role.aggregation_rule.as_ref()?;
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in &aggregation.cluster_role_selectors {
        let selected = index
            .cluster_roles()
            .filter(|other| other.metadata.name != role.metadata.name && selector.matches(&other.metadata.labels));
        for rule in selected.flat_map(|other| &other.rules) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(rules)
}
