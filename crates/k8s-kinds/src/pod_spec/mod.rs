//! What pods and pod templates share: defaults, rules, and facts computed from a spec.

mod container_status;
mod containers;
mod defaults;
mod env;
mod gates;
mod mounts;
mod probes;
mod resize;
mod resources;
mod scheduling;
mod security;
mod status;
mod update;
mod validate;
mod volumes;
mod warnings;

use std::collections::BTreeMap;

use k8s_object::Quantity;
use serde_json::Value;

use crate::fields::{at, entries, is_empty, items, text};

pub(crate) use defaults::{default_pod, default_spec};
pub(crate) use gates::{drop_unserved, drop_unserved_status};
pub(crate) use resize::{keep_all_but_resources, validate_resize};
pub(crate) use resources::fixed_overhead;
pub(crate) use scheduling::{MERGED_SPREAD_SINCE, node_selector, node_term as node_selector_term, tolerations};
pub(crate) use security::{annotated, apply_apparmor_annotations};
pub(crate) use status::{keep_generations, validate_status};
pub(crate) use update::{validate_ephemeral_containers, validate_update};
pub(crate) use validate::{grace_period, validate_pod, validate_template};
pub(crate) use warnings::{deprecated_node_label, node_selector_warnings, warnings};

/// What a spec belongs to.
#[derive(Clone, Copy)]
struct Owner<'a> {
    /// Minor of Kubernetes 1.x that the cluster serves.
    minor: u8,
    /// The pod; nothing for a template.
    pod: Option<&'a Value>,
}

/// Lists of containers in a pod's spec.
const CONTAINER_LISTS: [&str; 3] = ["containers", "ephemeralContainers", "initContainers"];

/// Whether a pod has come to its end and will not run again.
pub fn is_pod_terminal(pod: &Value) -> bool {
    matches!(text(pod, "status.phase"), "Succeeded" | "Failed")
}

/// Whether an init container keeps running beside the others (a sidecar).
pub(crate) fn is_restartable_init(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// An amount of a resource; nothing where it cannot be read.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Quality of service, from the CPU and memory that containers ask for (core `ComputePodQOS`).
pub(crate) fn qos_class(spec: &Value) -> &'static str {
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let of_pod = at(spec, "resources");
    let whole_pod = !is_empty(at(of_pod, "requests")) || !is_empty(at(of_pod, "limits"));
    let sources: Vec<&Value> = if whole_pod {
        vec![of_pod]
    } else {
        let containers = items(spec, "containers").iter().chain(items(spec, "initContainers"));
        containers.map(|container| &container["resources"]).collect()
    };
    let mut requests: BTreeMap<&str, Quantity> = BTreeMap::new();
    let mut limits: BTreeMap<&str, Quantity> = BTreeMap::new();
    let mut every_limit_set = true;
    for resources in sources {
        let counted = |list: &'static str| {
            let all = entries(resources, list).filter(|(name, _)| COUNTED.contains(&name.as_str()));
            all.filter_map(|(name, value)| {
                Some((name.as_str(), quantity(value).filter(|amount| *amount > Quantity::ZERO)?))
            })
        };
        for (name, amount) in counted("requests") {
            let sum = requests.entry(name).or_default();
            *sum = *sum + amount;
        }
        let mut set = 0;
        for (name, amount) in counted("limits") {
            let sum = limits.entry(name).or_default();
            *sum = *sum + amount;
            set += 1;
        }
        every_limit_set &= set == COUNTED.len();
    }
    match (requests.is_empty() && limits.is_empty(), every_limit_set && requests == limits) {
        (true, _) => "BestEffort",
        (false, true) => "Guaranteed",
        (false, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quality_of_service_follows_requests_and_limits() {
        let container = |resources: Value| json!({ "resources": resources });
        let full = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}});
        let cases = [
            (json!({"containers": [container(json!({}))]}), "BestEffort"),
            (json!({"containers": [container(json!({"requests": {"cpu": "0"}}))]}), "BestEffort"),
            (json!({"containers": [container(json!({"requests": {"example.com/gpu": "1"}}))]}), "BestEffort"),
            (json!({"containers": [container(full.clone())]}), "Guaranteed"),
            (json!({"containers": [container(full.clone()), container(json!({}))]}), "Burstable"),
            (json!({"containers": [container(full.clone())], "initContainers": [container(json!({}))]}), "Burstable"),
            (json!({"containers": [container(json!({"requests": {"cpu": "100m"}}))]}), "Burstable"),
            (
                json!({"containers": [container(json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}))]}),
                "Burstable",
            ),
            (json!({"resources": full, "containers": [container(json!({}))]}), "Guaranteed"),
        ];
        for (spec, expected) in cases {
            assert_eq!(qos_class(&spec), expected, "{spec}");
        }
    }
}
