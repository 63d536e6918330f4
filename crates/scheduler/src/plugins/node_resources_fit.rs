//! NodeResourcesFit: a node must have left what a pod asks for; the less it has promised already, the better.

use crate::framework::{Cycle, Diagnosis, Events, MAX_NODE_SCORE, Normalize, Plugin, Reason, Scoring, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub const PLUGIN: Plugin = Plugin {
    filter: Some(|pod, node, _, diagnosis| fits(pod, node, diagnosis)),
    score: Some(Scoring { weight: 1, prepare: |_, _, _, _| true, score: least_allocated, normalize: Normalize::None }),
    events: Events::NODE_ADDED.and(Events::NODE_ALLOCATABLE).and(Events::POD_REMOVED),
    hint: |pod, event| event.node_is(|node| fits(pod, node, &mut Diagnosis::default()) == Verdict::Fits),
    ..Plugin::named("NodeResourcesFit")
};

/// Names every resource that is short, as upstream does. A node that never had enough is hopeless.
fn fits(pod: &PodInfo, node: &NodeInfo, diagnosis: &mut Diagnosis) -> Verdict {
    let (wanted, has, promised) = (&pod.shape.requests, &node.allocatable, &node.requested);
    let mut verdict = Verdict::Fits;
    if node.pods().len() as i64 >= node.allocatable_pods {
        diagnosis.count(Reason::Text("Too many pods"));
        verdict = Verdict::Refused;
    }
    let mut check = |name: &str, wanted: i64, has: i64, promised: i64| {
        if wanted > 0 && wanted > has.saturating_sub(promised) {
            diagnosis.count(Reason::Insufficient(name));
            let hopeless = wanted > has || verdict == Verdict::Hopeless;
            verdict = if hopeless { Verdict::Hopeless } else { Verdict::Refused };
        }
    };
    check("cpu", wanted.milli_cpu, has.milli_cpu, promised.milli_cpu);
    check("memory", wanted.memory, has.memory, promised.memory);
    check("ephemeral-storage", wanted.ephemeral_storage, has.ephemeral_storage, promised.ephemeral_storage);
    for (name, amount) in &wanted.scalar {
        check(name, *amount, has.scalar(name), promised.scalar(name));
    }
    verdict
}

/// The average share of CPU and memory that would be left (strategy `LeastAllocated`).
fn least_allocated(pod: &PodInfo, node: &NodeInfo, _: &Snapshot, _: &Cycle) -> i64 {
    let (milli_cpu, memory) = node.scoring_requested;
    let pairs = [
        (node.allocatable.milli_cpu, milli_cpu + pod.shape.scoring_requests.0),
        (node.allocatable.memory, memory + pod.shape.scoring_requests.1),
    ];
    let (mut sum, mut resources) = (0, 0);
    for (has, promised) in pairs {
        if has > 0 {
            resources += 1;
            if promised <= has {
                sum += ((i128::from(has - promised) * i128::from(MAX_NODE_SCORE)) / i128::from(has)) as i64;
            }
        }
    }
    if resources == 0 { 0 } else { sum / resources }
}

#[cfg(test)]
mod tests {
    use super::PLUGIN;
    use crate::plugins::testing::{check_filter, check_score, node, node_with, pod};
    use serde_json::{Value, json};

    fn asking(requests: Value) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
    }

    fn with(allocatable: Value) -> Value {
        json!({"status": {"allocatable": allocatable}})
    }

    #[test]
    fn a_pod_fits_where_everything_it_asks_for_is_left() {
        let allocatable = json!({"cpu": "2", "memory": "1Gi", "pods": "2", "nvidia.com/gpu": "1"});
        let cases = [
            ("nothing", json!({}), ""),
            ("just what is left", json!({"cpu": "1", "memory": "512Mi", "nvidia.com/gpu": "1"}), ""),
            ("a little more CPU", json!({"cpu": "1001m"}), "Insufficient cpu"),
            ("two are short", json!({"cpu": "3", "memory": "2Gi"}), "Insufficient cpu, Insufficient memory"),
            ("an extended resource", json!({"nvidia.com/gpu": "2"}), "Insufficient nvidia.com/gpu"),
            ("a resource that the node lacks", json!({"example.com/x": "1"}), "Insufficient example.com/x"),
            ("zero of what the node lacks", json!({"example.com/x": "0"}), ""),
            ("disk", json!({"ephemeral-storage": "1Gi"}), "Insufficient ephemeral-storage"),
        ];
        for (name, requests, expected) in cases {
            let there = pod(asking(json!({"cpu": "1", "memory": "512Mi"})));
            check_filter(
                &PLUGIN,
                name,
                pod(asking(requests)),
                node_with(with(allocatable.clone()), vec![there]),
                expected,
            );
        }
    }

    #[test]
    fn a_node_takes_as_many_pods_as_it_may() {
        let small = || with(json!({"cpu": "8", "pods": "1"}));
        check_filter(&PLUGIN, "the first", pod(json!({})), node(small()), "");
        check_filter(&PLUGIN, "the second", pod(json!({})), node_with(small(), vec![pod(json!({}))]), "Too many pods");
    }

    #[test]
    fn the_emptier_node_is_better() {
        let size = || with(json!({"cpu": "4", "memory": "8Gi", "pods": "10"}));
        let used = || pod(asking(json!({"cpu": "2", "memory": "4Gi"})));
        let nodes = vec![node(size()), node_with(size(), vec![used()]), node(json!({}))];
        let wanted = pod(asking(json!({"cpu": "1", "memory": "2Gi"})));
        check_score(&PLUGIN, "least allocated", wanted, nodes, &[75, 25, 0]);
    }
}
