//! Whether a node takes a pod that the API server has bound to it (kubelet `lifecycle.PredicateAdmitHandler`).
//!
//! The scheduler has usually checked all of this; the node checks again because pods come with a node name of their own,
//! and because two bindings can race. Pure: it reads a pod, a node and what the node has promised already.

use std::collections::BTreeMap;

use k8s_object::views::{Node, Pod};
use k8s_object::{Quantity, is_extended_resource};

use crate::pod::{Outcome, Resize};

/// What pods on a node have been promised.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    pods: i64,
    resources: BTreeMap<String, Quantity>,
    host_ports: BTreeMap<(u16, String), u32>,
}

impl Used {
    /// Counts a pod in.
    pub(crate) fn add(&mut self, pod: &Pod) {
        self.pods += 1;
        for (name, quantity) in requests(pod) {
            let sum = self.resources.entry(name).or_default();
            *sum = *sum + quantity;
        }
        for port in host_ports(pod) {
            *self.host_ports.entry(port).or_default() += 1;
        }
    }

    /// Counts a pod out that was counted in with the same spec.
    pub(crate) fn remove(&mut self, pod: &Pod) {
        self.pods -= 1;
        for (name, quantity) in requests(pod) {
            let sum = self.resources.entry(name).or_default();
            *sum = *sum - quantity;
        }
        for port in host_ports(pod) {
            if let Some(count) = self.host_ports.get_mut(&port) {
                *count -= 1;
            }
        }
        self.host_ports.retain(|_, count| *count > 0);
    }
}

/// What a pod asks of its node: the larger of its containers together and its hungriest moment of initialisation, and its
/// overhead (`resourcehelper.PodRequests`).
pub(crate) fn requests(pod: &Pod) -> BTreeMap<String, Quantity> {
    let add = |sums: &mut BTreeMap<String, Quantity>, more: &BTreeMap<String, Quantity>| {
        for (name, quantity) in more {
            let sum = sums.entry(name.clone()).or_default();
            *sum = *sum + *quantity;
        }
    };
    let mut total = BTreeMap::new();
    pod.spec.containers.iter().for_each(|container| add(&mut total, &container.resources.requests));
    let (mut sidecars, mut peak) = (BTreeMap::new(), BTreeMap::<String, Quantity>::new());
    for container in &pod.spec.init_containers {
        let mut moment = sidecars.clone();
        add(&mut moment, &container.resources.requests);
        for (name, quantity) in &moment {
            let most = peak.entry(name.clone()).or_default();
            *most = (*most).max(*quantity);
        }
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut total, &container.resources.requests);
            sidecars = moment;
        }
    }
    for (name, quantity) in peak {
        let most = total.entry(name).or_default();
        *most = (*most).max(quantity);
    }
    add(&mut total, &pod.spec.overhead);
    total
}

fn host_ports(pod: &Pod) -> Vec<(u16, String)> {
    let ports = pod.spec.containers.iter().flat_map(|container| &container.ports).filter(|port| port.host_port != 0);
    let protocol = |text: &str| if text.is_empty() { "TCP".to_owned() } else { text.to_owned() };
    ports.map(|port| (port.host_port, protocol(&port.protocol))).collect()
}

fn predicate(name: &str, why: &str) -> Outcome {
    Outcome { reason: name.to_owned(), message: format!("Predicate {name} failed: {why}") }
}

fn out_of(resource: &str, requested: i64, used: i64, capacity: i64) -> Outcome {
    Outcome {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    }
}

/// CPU counts in thousandths, everything else in units.
fn amount(resource: &str, quantity: Quantity) -> i64 {
    if resource == "cpu" { quantity.milli() } else { quantity.value() }
}

/// `Err` with what becomes of the pod if the node does not take it.
pub(crate) fn admit(
    pod: &Pod,
    node: &Node,
    allocatable: &BTreeMap<String, Quantity>,
    used: &Used,
) -> Result<(), Outcome> {
    let capacity = |resource: &str| allocatable.get(resource).map_or(0, |quantity| amount(resource, *quantity));
    if used.pods + 1 > capacity("pods") {
        return Err(out_of("pods", 1, used.pods, capacity("pods")));
    }
    for (resource, quantity) in requests(pod) {
        // Devices that no plugin of the node has told of are the scheduler's to count (kubelet `removeMissingExtendedResources`).
        if is_extended_resource(&resource) && !allocatable.contains_key(&resource) {
            continue;
        }
        let taken = used.resources.get(&resource).map_or(0, |taken| amount(&resource, *taken));
        let (requested, capacity) = (amount(&resource, quantity), capacity(&resource));
        if requested > 0 && taken.saturating_add(requested) > capacity {
            return Err(out_of(&resource, requested, taken, capacity));
        }
    }
    if !pod.spec.selects_node(&node.metadata) {
        return Err(predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    if host_ports(pod).iter().any(|port| used.host_ports.contains_key(port)) {
        return Err(predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports"));
    }
    let evicts = |taint: &&k8s_object::views::Taint| taint.effect == "NoExecute";
    let tolerated = |taint: &k8s_object::views::Taint| pod.spec.tolerations.iter().any(|own| own.tolerates(taint));
    if node.spec.taints.iter().filter(evicts).any(|taint| !tolerated(taint)) {
        return Err(predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate"));
    }
    Ok(())
}

/// Whether the node gives a pod what it asks for now. `used` is what all others have been promised.
pub(crate) fn resize(pod: &Pod, node: &Node, allocatable: &BTreeMap<String, Quantity>, used: &Used) -> Resize {
    let requests = requests(pod);
    // Memory is told of before CPU.
    for resource in ["memory", "cpu"] {
        let of = |amounts: &BTreeMap<String, Quantity>| amounts.get(resource).map_or(0, |own| amount(resource, *own));
        let (requested, capacity) = (of(&requests), of(allocatable));
        if requested > capacity {
            let message =
                format!("Node didn't have enough capacity: {resource}, requested: {requested}, capacity: {capacity}");
            return Resize::Infeasible { message };
        }
    }
    match admit(pod, node, allocatable, used) {
        Ok(()) => Resize::Allocated,
        Err(outcome) => Resize::Deferred { message: outcome.message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn wants(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn the_node_refuses_what_does_not_fit_with_upstreams_words() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "4"}},
            "spec": {"taints": [{"key": "old", "effect": "NoSchedule"}, {"key": "sick", "effect": "NoExecute"}]},
        }))
        .unwrap();
        let tolerates = json!([{"operator": "Exists"}]);
        let required = |expression: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [expression]}}});
        let cases = [
            ("it fits", json!({"containers": [wants("1")]}), None),
            (
                "too much cpu",
                json!({"containers": [wants("1"), wants("600m")]}),
                Some(("OutOfcpu", "Node didn't have enough resource: cpu, requested: 1600, used: 500, capacity: 2000")),
            ),
            (
                "too much cpu while initialising beside a sidecar",
                json!({"containers": [wants("1")], "initContainers": [
                    {"restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}}, wants("1500m")]}),
                Some(("OutOfcpu", "Node didn't have enough resource: cpu, requested: 1600, used: 500, capacity: 2000")),
            ),
            (
                "a device that nothing on the node knows of",
                json!({"containers": [{"resources": {"requests": {"nvidia.com/gpu": 1}}}]}),
                None,
            ),
            (
                "more of a device than the node has",
                json!({"containers": [{"resources": {"requests": {"example.com/fpga": 3}}}]}),
                Some((
                    "OutOfexample.com/fpga",
                    "Node didn't have enough resource: example.com/fpga, requested: 3, used: 0, capacity: 2",
                )),
            ),
            (
                "huge pages that the node does not have",
                json!({"containers": [{"resources": {"requests": {"hugepages-2Mi": "2Mi"}}}]}),
                Some((
                    "OutOfhugepages-2Mi",
                    "Node didn't have enough resource: hugepages-2Mi, requested: 2097152, used: 0, capacity: 0",
                )),
            ),
            (
                "another zone",
                json!({"nodeSelector": {"zone": "b"}}),
                Some((
                    "NodeAffinity",
                    "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
                )),
            ),
            (
                "affinity to too many cores",
                json!({"affinity": required(json!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}))}),
                Some((
                    "NodeAffinity",
                    "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
                )),
            ),
            (
                "affinity to this node, as a DaemonSet's pods have",
                json!({"affinity": required(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}))}),
                None,
            ),
            (
                "a port that is taken",
                json!({"containers": [{"ports": [{"hostPort": 80}]}]}),
                Some((
                    "NodePorts",
                    "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
                )),
            ),
        ];
        let allocatable = [("cpu", 2), ("pods", 3), ("example.com/fpga", 2)]
            .map(|(name, units)| (name.to_owned(), Quantity::units(units)));
        let allocatable = BTreeMap::from(allocatable);
        let mut used = Used::default();
        used.add(&pod(
            json!({"containers": [{"ports": [{"hostPort": 80}], "resources": {"requests": {"cpu": "500m"}}}]}),
        ));
        for (case, mut spec, expected) in cases {
            spec["tolerations"] = tolerates.clone();
            let refused = admit(&pod(spec), &node, &allocatable, &used).err();
            let refused = refused.as_ref().map(|outcome| (outcome.reason.as_str(), outcome.message.as_str()));
            assert_eq!(refused, expected, "{case}");
        }
        let refused = admit(&pod(json!({})), &node, &allocatable, &used).unwrap_err();
        assert_eq!(refused.reason, "TaintToleration", "NoExecute is the node's business, NoSchedule is not");
        used.add(&pod(json!({})));
        used.add(&pod(json!({})));
        let refused = admit(&pod(json!({})), &node, &allocatable, &used).unwrap_err();
        assert_eq!(refused.reason, "OutOfpods");
        used.remove(&pod(json!({})));
        assert!(admit(&pod(json!({"tolerations": tolerates})), &node, &allocatable, &used).is_ok());
    }
}
