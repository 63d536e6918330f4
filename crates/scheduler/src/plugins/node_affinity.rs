//! NodeAffinity: `spec.nodeSelector` and node affinity, required and preferred.

use std::collections::BTreeSet;

use crate::framework::{Cycle, Events, Normalize, Plugin, PreFilter, Reason, Scoring, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub const PLUGIN: Plugin = Plugin {
    pre_filter: Some(pre_filter),
    filter: Some(|pod, node, _, diagnosis| {
        let accepted = accepts(pod, node);
        if !accepted {
            diagnosis.count(Reason::Text("node(s) didn't match Pod's node affinity/selector"));
        }
        Verdict::or_hopeless(accepted)
    }),
    score: Some(Scoring {
        weight: 2,
        prepare: |pod, _, _, _| !pod.shape.preferred.is_empty(),
        score: |pod, node, _, _| {
            pod.shape.preferred.iter().filter(|(_, term)| term.matches(node)).map(|(weight, _)| weight).sum()
        },
        normalize: Normalize::Highest,
    }),
    events: Events::NODE_ADDED.and(Events::NODE_LABELS),
    hint: |pod, event| event.node_is(|node| accepts(pod, node)),
    ..Plugin::named("NodeAffinity")
};

/// Whether the pod's node selector and required node affinity leave the node in.
pub(super) fn accepts(pod: &PodInfo, node: &NodeInfo) -> bool {
    let shape = &pod.shape;
    shape.node_selector.iter().all(|(key, value)| node.labels().get(key) == Some(value))
        && shape.required.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(node)))
}

/// Whether they could leave any node out.
pub(super) fn requires(pod: &PodInfo) -> bool {
    !pod.shape.node_selector.is_empty() || pod.shape.required.is_some()
}

/// Pods of daemon sets name their node in every term: the others need not be tried.
fn pre_filter(pod: &PodInfo, snapshot: &Snapshot, _: &mut Cycle) -> PreFilter {
    let Some(terms) = &pod.shape.required else { return PreFilter::All };
    let mut names = BTreeSet::new();
    for term in terms {
        match term.node_names() {
            Some(named) => names.extend(named),
            None => return PreFilter::All,
        }
    }
    PreFilter::Only(names.into_iter().filter_map(|name| snapshot.slot(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{check_filter, check_score, node, pod};
    use serde_json::{Value, json};

    fn labelled(labels: Value) -> Value {
        json!({"metadata": {"labels": labels}})
    }

    fn requiring(terms: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    }

    fn expression(operator: &str, values: &[&str]) -> Value {
        requiring(json!([{"matchExpressions": [{"key": "size", "operator": operator, "values": values}]}]))
    }

    #[test]
    fn required_terms_decide() {
        let cases = [
            ("nothing required", json!({}), true),
            ("the selected label", json!({"nodeSelector": {"size": "5"}}), true),
            ("another value", json!({"nodeSelector": {"size": "6"}}), false),
            ("a label that is absent", json!({"nodeSelector": {"gone": ""}}), false),
            ("In", expression("In", &["4", "5"]), true),
            ("not In", expression("In", &["4"]), false),
            ("NotIn", expression("NotIn", &["4"]), true),
            ("not NotIn", expression("NotIn", &["5"]), false),
            ("Exists", expression("Exists", &[]), true),
            ("DoesNotExist", expression("DoesNotExist", &[]), false),
            ("Gt", expression("Gt", &["4"]), true),
            ("not Gt", expression("Gt", &["5"]), false),
            ("Lt", expression("Lt", &["6"]), true),
            ("Gt without a number matches nothing", expression("Gt", &["x"]), false),
            ("an unknown operator matches nothing", expression("Like", &["5"]), false),
            ("no terms match nothing", requiring(json!([])), false),
            ("an empty term matches nothing", requiring(json!([{}])), false),
            (
                "terms are alternatives",
                requiring(json!([{}, {"matchExpressions": [{"key": "size", "operator": "Exists"}]}])),
                true,
            ),
            (
                "expressions of a term must all hold",
                requiring(json!([{"matchExpressions": [
                    {"key": "size", "operator": "Exists"}, {"key": "gone", "operator": "Exists"}]}])),
                false,
            ),
            (
                "the name",
                requiring(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node"]}]}])),
                true,
            ),
            (
                "another name",
                requiring(
                    json!([{"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["node"]}]}]),
                ),
                false,
            ),
            (
                "an unknown field matches nothing",
                requiring(json!([{"matchFields": [{"key": "spec.x", "operator": "In", "values": ["node"]}]}])),
                false,
            ),
        ];
        for (name, spec, accepted) in cases {
            let why = if accepted { "" } else { "node(s) didn't match Pod's node affinity/selector" };
            check_filter(&PLUGIN, name, pod(spec), node(labelled(json!({"size": "5"}))), why);
        }
    }

    #[test]
    fn preferred_terms_add_up() {
        let preferring = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 30, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}},
            {"weight": 10, "preference": {"matchExpressions": [{"key": "b", "operator": "Exists"}]}},
        ]}}});
        let nodes = vec![
            node(labelled(json!({"a": "", "b": ""}))),
            node(labelled(json!({"a": ""}))),
            node(labelled(json!({"b": ""}))),
            node(json!({})),
        ];
        check_score(&PLUGIN, "weights", pod(preferring), nodes, &[100, 75, 25, 0]);
    }

    #[test]
    fn named_nodes_are_the_only_ones_tried() {
        let mut snapshot = Snapshot::default();
        for name in ["a", "b"] {
            snapshot.set_node(node(json!({"metadata": {"name": name}})));
        }
        let named = |names: &[&str]| {
            pod(requiring(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": names}]}])))
        };
        assert_eq!(pre_filter(&named(&["b", "gone"]), &snapshot, &mut Cycle::default()), PreFilter::Only(vec![1]));
        assert_eq!(pre_filter(&pod(json!({})), &snapshot, &mut Cycle::default()), PreFilter::All);
        assert_eq!(pre_filter(&pod(expression("Exists", &[])), &snapshot, &mut Cycle::default()), PreFilter::All);
    }
}
