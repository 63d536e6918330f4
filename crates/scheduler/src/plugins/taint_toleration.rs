//! TaintToleration: pods stay away from nodes whose taints they do not tolerate, strictly or where possible.

use k8s_object::views::Taint;

use crate::framework::{Events, Normalize, Plugin, Reason, Scoring, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

pub const PLUGIN: Plugin = Plugin {
    filter: Some(|pod, node, _, diagnosis| match untolerated(pod, node) {
        None => Verdict::Fits,
        Some(taint) => {
            diagnosis.count(Reason::UntoleratedTaint { key: &taint.key, value: &taint.value });
            Verdict::Hopeless
        }
    }),
    score: Some(Scoring {
        weight: 3,
        prepare: |_, _, _, _| true,
        score: |pod, node, _, _| {
            let unwanted = node.soft_taints.iter().filter(|taint| {
                let mut tolerations = pod.shape.tolerations.iter();
                !tolerations.any(|toleration| toleration.tolerates(taint))
            });
            unwanted.count() as i64
        },
        normalize: Normalize::Lowest,
    }),
    events: Events::NODE_ADDED.and(Events::NODE_TAINTS),
    hint: |pod, event| event.node_is(|node| untolerated(pod, node).is_none()),
    ..Plugin::named("TaintToleration")
};

/// The first taint that keeps the pod away.
pub(super) fn untolerated<'a>(pod: &PodInfo, node: &'a NodeInfo) -> Option<&'a Taint> {
    let tolerated = |taint: &Taint| pod.shape.tolerations.iter().any(|toleration| toleration.tolerates(taint));
    node.hard_taints.iter().find(|taint| !tolerated(taint))
}

#[cfg(test)]
mod tests {
    use super::PLUGIN;
    use crate::plugins::testing::{check_filter, check_score, node, pod};
    use serde_json::{Value, json};

    fn tainted(effect: &str) -> Value {
        json!({"spec": {"taints": [{"key": "team", "value": "a", "effect": effect}]}})
    }

    fn tolerating(operator: &str, value: &str, effect: &str) -> Value {
        json!({"tolerations": [{"key": "team", "operator": operator, "value": value, "effect": effect}]})
    }

    #[test]
    fn hard_taints_need_a_toleration() {
        let why = "node(s) had untolerated taint {team: a}";
        let cases = [
            ("no toleration", json!({}), "NoSchedule", why),
            ("no toleration of eviction", json!({}), "NoExecute", why),
            ("a soft taint", json!({}), "PreferNoSchedule", ""),
            ("equal", tolerating("Equal", "a", ""), "NoSchedule", ""),
            ("another value", tolerating("Equal", "b", ""), "NoSchedule", why),
            ("exists", tolerating("Exists", "", "NoSchedule"), "NoSchedule", ""),
            ("another effect", tolerating("Exists", "", "NoSchedule"), "NoExecute", why),
            ("everything", json!({"tolerations": [{"operator": "Exists"}]}), "NoExecute", ""),
        ];
        for (name, spec, effect, expected) in cases {
            check_filter(&PLUGIN, name, pod(spec), node(tainted(effect)), expected);
        }
    }

    #[test]
    fn soft_taints_make_a_node_worse() {
        let nodes = || vec![node(json!({})), node(tainted("PreferNoSchedule"))];
        check_score(&PLUGIN, "not tolerated", pod(json!({})), nodes(), &[100, 0]);
        check_score(&PLUGIN, "tolerated", pod(tolerating("Exists", "", "")), nodes(), &[100, 100]);
    }
}
