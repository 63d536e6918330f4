//! NodeUnschedulable: a cordoned node takes no pods but those that tolerate the taint that stands for it.

use k8s_object::views::Taint;

use crate::framework::{Events, Plugin, Reason, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

const TAINT: &str = "node.kubernetes.io/unschedulable";

pub const PLUGIN: Plugin = Plugin {
    filter: Some(|pod, node, _, diagnosis| {
        let accepted = accepts(pod, node);
        if !accepted {
            diagnosis.count(Reason::Text("node(s) were unschedulable"));
        }
        Verdict::or_hopeless(accepted)
    }),
    events: Events::NODE_ADDED.and(Events::NODE_TAINTS),
    hint: |pod, event| event.node_is(|node| accepts(pod, node)),
    ..Plugin::named("NodeUnschedulable")
};

fn accepts(pod: &PodInfo, node: &NodeInfo) -> bool {
    if !node.unschedulable {
        return true;
    }
    let taint = Taint { key: TAINT.into(), effect: "NoSchedule".into(), ..Taint::default() };
    pod.shape.tolerations.iter().any(|toleration| toleration.tolerates(&taint))
}

#[cfg(test)]
mod tests {
    use super::PLUGIN;
    use crate::plugins::testing::{check_filter, node, pod};
    use serde_json::json;

    #[test]
    fn cordoned_nodes_take_only_pods_that_tolerate_it() {
        let cordoned = || node(json!({"spec": {"unschedulable": true}}));
        let why = "node(s) were unschedulable";
        check_filter(&PLUGIN, "a schedulable node", pod(json!({})), node(json!({})), "");
        check_filter(&PLUGIN, "a cordoned node", pod(json!({})), cordoned(), why);
        let tolerant = json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]});
        check_filter(&PLUGIN, "a pod of a daemon set", pod(tolerant), cordoned(), "");
    }
}
