//! NodeResourcesBalancedAllocation: a node is better where CPU and memory would be used to the same share.

use crate::framework::{Cycle, MAX_NODE_SCORE, Normalize, Plugin, Scoring};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub const PLUGIN: Plugin = Plugin {
    score: Some(Scoring {
        weight: 1,
        // A pod that asks for nothing changes no balance.
        prepare: |pod, _, _, _| pod.shape.requests.milli_cpu > 0 || pod.shape.requests.memory > 0,
        score: balance,
        normalize: Normalize::None,
    }),
    ..Plugin::named("NodeResourcesBalancedAllocation")
};

fn balance(pod: &PodInfo, node: &NodeInfo, _: &Snapshot, _: &Cycle) -> i64 {
    let share = |has: i64, promised: i64, wanted: i64| {
        (has > 0).then(|| ((promised.saturating_add(wanted)) as f64 / has as f64).min(1.0))
    };
    let (has, promised, wanted) = (&node.allocatable, &node.requested, &pod.shape.requests);
    let cpu = share(has.milli_cpu, promised.milli_cpu, wanted.milli_cpu);
    let memory = share(has.memory, promised.memory, wanted.memory);
    // The standard deviation of two numbers is half of their difference; one number has none.
    let deviation = match (cpu, memory) {
        (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
        _ => 0.0,
    };
    ((1.0 - deviation) * MAX_NODE_SCORE as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::PLUGIN;
    use crate::plugins::testing::{check_score, node, node_with, pod};
    use serde_json::{Value, json};

    fn asking(cpu: &str, memory: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
    }

    #[test]
    fn the_balanced_node_is_better() {
        let size = || json!({"status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "10"}}});
        let nodes = vec![
            node(size()),
            node_with(size(), vec![pod(asking("2", "0"))]),
            node_with(size(), vec![pod(asking("0", "1Gi"))]),
        ];
        check_score(&PLUGIN, "shares", pod(asking("1", "1Gi")), nodes, &[100, 75, 87]);
        let prepare = PLUGIN.score.unwrap().prepare;
        let idle = pod(json!({"containers": [{"name": "c"}]}));
        let opinion =
            prepare(&idle, &crate::snapshot::Snapshot::default(), &[], &mut crate::framework::Cycle::default());
        assert!(!opinion, "no opinion where nothing is asked for");
    }
}
