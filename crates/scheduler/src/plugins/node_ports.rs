//! NodePorts: two pods of a node cannot have the same host port.

use crate::framework::{Events, Plugin, Reason, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

pub const PLUGIN: Plugin = Plugin {
    filter: Some(|pod, node, _, diagnosis| {
        let accepted = accepts(pod, node);
        if !accepted {
            diagnosis.count(Reason::Text("node(s) didn't have free ports for the requested pod ports"));
        }
        Verdict::or_refused(accepted)
    }),
    events: Events::NODE_ADDED.and(Events::POD_REMOVED),
    hint: |pod, event| event.node_is(|node| accepts(pod, node)),
    ..Plugin::named("NodePorts")
};

fn accepts(pod: &PodInfo, node: &NodeInfo) -> bool {
    !pod.shape.host_ports.iter().any(|wanted| node.host_ports.iter().any(|taken| taken.conflicts(wanted)))
}

#[cfg(test)]
mod tests {
    use super::PLUGIN;
    use crate::plugins::testing::{check_filter, node_with, pod};
    use serde_json::{Value, json};

    fn port(port: u16, ip: &str, protocol: &str) -> Value {
        json!({"containers": [{"name": "c", "ports": [
            {"containerPort": 80, "hostPort": port, "hostIP": ip, "protocol": protocol}]}]})
    }

    #[test]
    fn host_ports_are_taken_once() {
        let why = "node(s) didn't have free ports for the requested pod ports";
        let taken = || vec![pod(port(8080, "127.0.0.1", "TCP")), pod(port(9090, "", ""))];
        let cases = [
            ("no host port", json!({"containers": [{"name": "c", "ports": [{"containerPort": 8080}]}]}), ""),
            ("a free port", port(8081, "", "TCP"), ""),
            ("the same port", port(8080, "127.0.0.1", "TCP"), why),
            ("the same port of every address", port(8080, "", ""), why),
            ("a port that is taken on every address", port(9090, "10.0.0.1", "TCP"), why),
            ("the same port of another address", port(8080, "10.0.0.1", "TCP"), ""),
            ("the same port of another protocol", port(8080, "127.0.0.1", "UDP"), ""),
        ];
        for (name, spec, expected) in cases {
            check_filter(&PLUGIN, name, pod(spec), node_with(json!({}), taken()), expected);
        }
    }

    #[test]
    fn a_port_is_free_again_when_its_pod_is_gone() {
        let mut node = node_with(json!({}), vec![pod(port(8080, "", "TCP"))]);
        let key = node.pods().keys().next().unwrap().clone();
        node.remove(&key);
        check_filter(&PLUGIN, "after", pod(port(8080, "", "TCP")), node, "");
    }
}
