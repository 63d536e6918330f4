//! ImageLocality: a node is better where large images of the pod are present already, weighted by how widespread they are.

use crate::framework::{Cycle, MAX_NODE_SCORE, Normalize, Plugin, Scoring};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

const MIB: i64 = 1024 * 1024;

/// Below this sum of bytes an image is pulled so fast that it does not matter.
const MIN_BYTES: i64 = 23 * MIB;

/// Above this many bytes per container more makes no difference.
const MAX_BYTES_PER_CONTAINER: i64 = 1000 * MIB;

pub const PLUGIN: Plugin = Plugin {
    score: Some(Scoring { weight: 1, prepare: |_, _, _, _| true, score, normalize: Normalize::None }),
    ..Plugin::named("ImageLocality")
};

fn score(pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot, _: &Cycle) -> i64 {
    if node.images.is_empty() || pod.shape.images.is_empty() {
        return 0;
    }
    let present = pod.shape.images.iter().map(|image| {
        let Some(size) = node.images.get(image) else { return 0 };
        // An image that few nodes have must not pull all pods to those.
        (*size as f64 * snapshot.nodes_with_image(image) as f64 / snapshot.len().max(1) as f64) as i64
    });
    let max = MAX_BYTES_PER_CONTAINER * pod.shape.images.len() as i64;
    let sum = present.sum::<i64>().clamp(MIN_BYTES, max);
    MAX_NODE_SCORE * (sum - MIN_BYTES) / (max - MIN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::PLUGIN;
    use crate::plugins::testing::{check_score, node, pod};
    use serde_json::{Value, json};

    fn having(name: &str, mib: i64) -> Value {
        json!({"metadata": {"name": name}, "status": {"images": [{"names": ["app:latest"], "sizeBytes": mib * 1024 * 1024}]}})
    }

    #[test]
    fn a_present_image_makes_a_node_better() {
        let nodes = vec![node(having("a", 1000)), node(having("b", 1000)), node(json!({}))];
        let wanted = || pod(json!({"containers": [{"name": "c", "image": "app"}]}));
        check_score(&PLUGIN, "two of three have it", wanted(), nodes, &[65, 65, 0]);
        check_score(&PLUGIN, "a small image does not count", wanted(), vec![node(having("a", 20))], &[0]);
    }
}
