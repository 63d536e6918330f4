//! NodeName: a pod that names its node runs there. Such pods are not scheduled, so this guards against a race only.

use crate::framework::{Events, Plugin, Reason, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

pub const PLUGIN: Plugin = Plugin {
    filter: Some(|pod, node, _, diagnosis| {
        let accepted = accepts(pod, node);
        if !accepted {
            diagnosis.count(Reason::Text("node(s) didn't match the requested node name"));
        }
        Verdict::or_hopeless(accepted)
    }),
    events: Events::NODE_ADDED,
    hint: |pod, event| event.node_is(|node| accepts(pod, node)),
    ..Plugin::named("NodeName")
};

fn accepts(pod: &PodInfo, node: &NodeInfo) -> bool {
    pod.node_name.is_empty() || *pod.node_name == *node.name
}

#[cfg(test)]
mod tests {
    use super::PLUGIN;
    use crate::plugins::testing::{check_filter, node, pod};
    use serde_json::json;

    #[test]
    fn a_named_node_is_the_only_one() {
        let why = "node(s) didn't match the requested node name";
        check_filter(&PLUGIN, "no name", pod(json!({})), node(json!({})), "");
        check_filter(&PLUGIN, "its name", pod(json!({"nodeName": "node"})), node(json!({})), "");
        check_filter(&PLUGIN, "another name", pod(json!({"nodeName": "other"})), node(json!({})), why);
    }
}
