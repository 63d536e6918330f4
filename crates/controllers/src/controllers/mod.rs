//! The table of controllers, one file each.

mod certificate_approving;
mod certificate_cleaner;
mod certificate_request;
mod certificate_signing;
#[cfg(test)]
mod certificate_testing;
mod claim_protection;
mod clusterrole_aggregation;
mod controller_revision;
mod cron_job;
mod daemon_set;
mod deployment;
mod disruption;
mod endpoint_subsets;
mod endpoints;
mod endpointslice;
mod endpointslice_mirroring;
mod garbage_collector;
mod job;
mod namespace;
mod node_lifecycle;
mod pod_garbage_collector;
mod replicaset;
mod replication_controller;
mod resource_quota;
mod root_ca_certificate_publisher;
mod service_cidr;
mod serviceaccount;
mod stateful_set;
mod taint_eviction;
mod ttl;
mod ttl_after_finished;
mod volume_attributes_class_protection;
mod volume_protection;

use k8s_client::Index;
use k8s_object::Object;
use k8s_object::views::{Condition, Pod};
use serde_json::{Value, json};
use world::Timestamp;

use crate::controller::Controller;

/// All controllers, in order of their names.
pub static CONTROLLERS: &[&Controller] = &[
    &certificate_approving::CONTROLLER,
    &certificate_cleaner::CONTROLLER,
    &certificate_signing::CONTROLLER,
    &clusterrole_aggregation::CONTROLLER,
    &cron_job::CONTROLLER,
    &daemon_set::CONTROLLER,
    &deployment::CONTROLLER,
    &disruption::CONTROLLER,
    &endpoints::CONTROLLER,
    &endpointslice::CONTROLLER,
    &endpointslice_mirroring::CONTROLLER,
    &garbage_collector::CONTROLLER,
    &job::CONTROLLER,
    &namespace::CONTROLLER,
    &node_lifecycle::CONTROLLER,
    &volume_protection::CONTROLLER,
    &claim_protection::CONTROLLER,
    &pod_garbage_collector::CONTROLLER,
    &replicaset::CONTROLLER,
    &replication_controller::CONTROLLER,
    &resource_quota::CONTROLLER,
    &root_ca_certificate_publisher::CONTROLLER,
    &service_cidr::CONTROLLER,
    &serviceaccount::CONTROLLER,
    &stateful_set::CONTROLLER,
    &taint_eviction::CONTROLLER,
    &ttl_after_finished::CONTROLLER,
    &ttl::CONTROLLER,
    &volume_attributes_class_protection::CONTROLLER,
];

/// Pods by the node they are bound to.
const BY_NODE: Index = Index {
    name: "node",
    keys: |object| match object.view::<Pod>() {
        Ok(pod) if !pod.spec.node_name.is_empty() => vec![pod.spec.node_name.clone()],
        _ => Vec::new(),
    },
};

/// A time that an object carries; one that cannot be read counts as long ago.
fn time(text: Option<&String>) -> Timestamp {
    text.and_then(|text| Timestamp::parse(text).ok()).unwrap_or_default()
}

/// A condition as JSON; what is absent stays absent.
fn condition_json(condition: &Condition) -> Value {
    let mut json = json!({"type": condition.kind, "status": condition.status});
    for (key, text) in [("reason", &condition.reason), ("message", &condition.message)] {
        if !text.is_empty() {
            json[key] = json!(text);
        }
    }
    let times = [
        ("lastHeartbeatTime", &condition.last_heartbeat_time),
        ("lastTransitionTime", &condition.last_transition_time),
        ("lastUpdateTime", &condition.last_update_time),
    ];
    for (key, time) in times {
        if let Some(time) = time {
            json[key] = json!(time);
        }
    }
    json
}

/// What a pod's status says about an end that something other than its kubelet brings, or brings no more. Where pods have a
/// generation, the condition names it.
fn disruption_target(pod: &Object, status: &str, now: Timestamp) -> Value {
    let mut condition = json!({"type": "DisruptionTarget", "status": status, "lastTransitionTime": now.to_string()});
    if pod.meta().generation > 0 {
        condition["observedGeneration"] = pod.meta().generation.into();
    }
    condition
}

/// The conditions of a stored status with one put in its place, or at the end. The stored JSON of the others is kept, so that
/// fields that views do not know survive.
fn with_condition(stored: &Value, condition: Value) -> Value {
    let mut conditions = stored.as_array().cloned().unwrap_or_default();
    match conditions.iter_mut().find(|own| own["type"] == condition["type"]) {
        Some(own) => *own = condition,
        None => conditions.push(condition),
    }
    Value::Array(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_alphabetical_complete_and_documented() {
        assert!(CONTROLLERS.windows(2).all(|pair| pair[0].name < pair[1].name), "names are unique and in order");
        for row in CONTROLLERS {
            assert!(row.about.ends_with('.') && row.concurrency > 0, "{row:?}");
            assert!(!row.watches.is_empty() || row.watches_everything, "{row:?} is never triggered");
        }
    }

    #[test]
    fn events_come_from_the_components_that_upstream_names() {
        let differ = CONTROLLERS.iter().filter(|row| row.event_source != row.name);
        let differ: Vec<(&str, &str)> = differ.map(|row| (row.name, row.event_source)).collect();
        let expected = [
            ("disruption-controller", "controllermanager"),
            ("endpoints-controller", "endpoint-controller"),
            ("endpointslice-controller", "endpoint-slice-controller"),
            ("endpointslice-mirroring-controller", "endpoint-slice-mirroring-controller"),
            ("node-lifecycle-controller", "node-controller"),
            ("replicationcontroller-controller", "replication-controller"),
        ];
        assert_eq!(differ, expected);
    }
}
