//! The status of a pod, as its kubelet and the scheduler write it (core `ValidatePodStatusUpdate`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_object::Cause;
use serde_json::Value;

use super::{container_status, containers, is_restartable_init, security};
use crate::addresses::legacy_ip;
use crate::causes::{duplicate, forbidden, immutable, invalid};
use crate::fields::{at, child, int, is_empty, items, items_mut, text};
use crate::names::{qualified, subdomain};

/// The first minor that lets nobody nominate a node for a pod that has one (feature `ClearingNominatedNodeNameAfterBinding`).
const CLEARED_NOMINATION_SINCE: u8 = 35;

/// Before the write: a client that does not know of generations does not take them away.
pub(crate) fn keep_generations(new: &mut Value, old: &Value) {
    let was = at(old, "status.observedGeneration").clone();
    let Some(status) = child(new, "status") else { return };
    if int(status, "observedGeneration") == 0 && !was.is_null() {
        status["observedGeneration"] = was;
    }
    let mut known: Vec<&Value> = items(old, "status.conditions").iter().collect();
    for condition in items_mut(status, "conditions") {
        let Some(same) = known.iter().position(|old| text(old, "type") == text(condition, "type")) else { continue };
        let generation = at(known.remove(same), "observedGeneration").clone();
        if int(condition, "observedGeneration") == 0 && !generation.is_null() && condition.is_object() {
            condition["observedGeneration"] = generation;
        }
    }
}

/// Judges a new status.
pub(crate) fn validate_status(new: &Value, old: &Value, minor: u8) -> Vec<Cause> {
    let mut causes = security::annotation_updates(new, old);
    causes.extend(security::annotations(new, "metadata.annotations"));
    let (status, was) = (at(new, "status"), at(old, "status"));
    causes.extend(conditions(status));
    causes.extend(nomination(new, old, minor));
    if int(status, "observedGeneration") < 0 {
        let generation = int(status, "observedGeneration");
        causes.push(invalid("status.observedGeneration", generation, "must be a non-negative integer"));
    }
    if text(status, "qosClass") != text(was, "qosClass") {
        causes.push(immutable("status.qosClass", at(status, "qosClass")));
    }
    let spec = at(old, "spec");
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        causes.extend(transitions(items(status, list), items(was, list), spec, list));
    }
    causes.extend(claims(status, at(new, "spec")));
    causes.extend(addresses(status, was, "podIPs", minor));
    causes.extend(host_addresses(status, was, minor));
    causes.extend(container_status::validate(new));
    causes
}

fn conditions(status: &Value) -> Vec<Cause> {
    const SYSTEM: [&str; 3] = ["Initialized", "PodScheduled", "Ready"];
    let mut causes = Vec::new();
    for (index, condition) in items(status, "conditions").iter().enumerate() {
        let field = format!("status.conditions[{index}]");
        let generation = int(condition, "observedGeneration");
        if generation < 0 {
            let detail = "must be a non-negative integer";
            causes.push(invalid(format!("{field}.observedGeneration"), generation, detail));
        }
        let kind = text(condition, "type");
        if !SYSTEM.contains(&kind) {
            causes.extend(qualified(kind).iter().map(|problem| invalid(format!("{field}.Type"), kind, problem)));
        }
    }
    causes
}

fn nomination(new: &Value, old: &Value, minor: u8) -> Vec<Cause> {
    const FIELD: &str = "status.nominatedNodeName";
    let (node, was) = (text(new, FIELD), text(old, FIELD));
    let mut causes = Vec::new();
    if node.is_empty() || node == was {
        return causes;
    }
    causes.extend(subdomain(node, false).iter().map(|problem| invalid(FIELD, node, problem)));
    if minor >= CLEARED_NOMINATION_SINCE && !text(old, "spec.nodeName").is_empty() {
        causes.push(forbidden(FIELD, "may not be set on pods that are already bound to a node"));
    }
    causes
}

/// A container that has ended for good does not run again.
fn transitions(new: &[Value], old: &[Value], spec: &Value, list: &str) -> Vec<Cause> {
    let policy = text(spec, "restartPolicy");
    let is_ephemeral = list == "ephemeralContainerStatuses";
    let mut causes = Vec::new();
    if policy == "Always" && !is_ephemeral {
        return causes;
    }
    for (index, was) in old.iter().enumerate() {
        let terminated = at(was, "state.terminated");
        let name = text(was, "name");
        if !terminated.is_object() {
            continue;
        }
        let mut own = containers::all(spec, "").into_iter().map(|(container, _)| container);
        let own = own.rfind(|container| text(container, "name") == name);
        let is_sidecar = list == "initContainerStatuses" && own.is_some_and(is_restartable_init);
        let again = policy == "OnFailure" && int(terminated, "exitCode") != 0;
        // Rules of the container's own may start it again.
        let has_rules =
            own.is_some_and(|own| !is_empty(at(own, "restartPolicyRules")) || !at(own, "restartPolicy").is_null());
        if !is_ephemeral && (again || is_sidecar || (has_rules && list == "containerStatuses")) {
            continue;
        }
        let runs = |is: &&Value| text(is, "name") == name && !at(is, "state.terminated").is_object();
        if new.iter().any(|is| runs(&is)) {
            let field = format!("status.{list}[{index}].state");
            causes.push(forbidden(field, "may not be transitioned to non-terminated state"));
        }
    }
    causes
}

fn claims(status: &Value, spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, claim) in items(status, "resourceClaimStatuses").iter().enumerate() {
        let field = format!("status.resourceClaimStatuses[{index}].name");
        let name = text(claim, "name");
        if !items(spec, "resourceClaims").iter().any(|own| text(own, "name") == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            causes.push(invalid(&field, name, detail));
        }
        if !seen.insert(name) {
            causes.push(duplicate(&field, name));
        }
        if let Some(made) = at(claim, "resourceClaimName").as_str() {
            causes.extend(subdomain(made, false).iter().map(|problem| invalid(&field, made, problem)));
        }
    }
    causes
}

/// Addresses are addresses, at most one of each family; those that were there before are not judged again.
fn addresses(status: &Value, was: &Value, list: &str, minor: u8) -> Vec<Cause> {
    let field = format!("status.{list}");
    let texts = |of: &'_ Value| -> Vec<String> {
        items(of, list).iter().map(|address| text(address, "ip").to_owned()).collect()
    };
    let (now, before) = (texts(status), texts(was));
    let mut causes = Vec::new();
    for (index, ip) in now.iter().enumerate().filter(|(_, ip)| !before.contains(ip)) {
        causes.extend(legacy_ip(&format!("{field}[{index}]"), ip, &[], minor));
    }
    let families: BTreeSet<bool> =
        now.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()).map(|ip| ip.is_ipv4()).collect();
    if now.len() > 1 && (families.len() < 2 || now.len() > 2) {
        let detail = "may specify no more than one IP for each IP family";
        causes.push(invalid(field, at(status, list).clone(), detail));
    }
    causes
}

fn host_addresses(status: &Value, was: &Value, minor: u8) -> Vec<Cause> {
    let mut causes = Vec::new();
    let Some(first) = items(status, "hostIPs").first() else { return causes };
    if text(first, "ip") != text(status, "hostIP") {
        causes.push(invalid("status.hostIPs[0].ip", text(first, "ip"), "must be equal to `hostIP`"));
    }
    causes.extend(addresses(status, was, "hostIPs", minor));
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: Value) -> Value {
        json!({"spec": {"restartPolicy": "OnFailure", "nodeName": "n", "containers": [{"name": "c"}],
            "initContainers": [{"name": "s", "restartPolicy": "Always"}]}, "status": status})
    }

    #[test]
    fn a_status_is_judged() {
        let ended = |name: &str, code: i64| json!([{"name": name, "state": {"terminated": {"exitCode": code}}}]);
        let running = |name: &str| json!([{"name": name, "state": {"running": {}}}]);
        let cases = [
            (json!({}), json!({"podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "a.b/C"}]}), vec![]),
            (json!({"containerStatuses": ended("c", 1)}), json!({"containerStatuses": running("c")}), vec![]),
            (
                json!({"containerStatuses": ended("c", 0)}),
                json!({"containerStatuses": running("c")}),
                vec!["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"],
            ),
            (json!({"initContainerStatuses": ended("s", 0)}), json!({"initContainerStatuses": running("s")}), vec![]),
            (
                json!({"ephemeralContainerStatuses": ended("e", 1)}),
                json!({"ephemeralContainerStatuses": running("e")}),
                vec![
                    "status.ephemeralContainerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
                ],
            ),
            (
                json!({"qosClass": "Burstable"}),
                json!({"qosClass": "Guaranteed"}),
                vec![r#"status.qosClass: Invalid value: "Guaranteed": field is immutable"#],
            ),
            (
                json!({}),
                json!({"nominatedNodeName": "m"}),
                vec!["status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node"],
            ),
            (
                json!({}),
                json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}),
                vec![
                    r#"status.podIPs: Invalid value: [{"ip":"10.0.0.1"},{"ip":"10.0.0.2"}]: may specify no more than one IP for each IP family"#,
                ],
            ),
            (
                json!({}),
                json!({"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.2"}]}),
                vec![r#"status.hostIPs[0].ip: Invalid value: "10.0.0.2": must be equal to `hostIP`"#],
            ),
        ];
        for (old, new, expected) in cases {
            let causes = validate_status(&pod(new.clone()), &pod(old), 35);
            let causes: Vec<String> =
                causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(causes, expected, "{new}");
        }
    }

    #[test]
    fn generations_stay_where_a_client_does_not_know_them() {
        let old = pod(json!({"observedGeneration": 2, "conditions": [{"type": "Ready", "observedGeneration": 2}]}));
        let mut new = pod(json!({"conditions": [{"type": "Ready"}, {"type": "Initialized"}]}));
        keep_generations(&mut new, &old);
        assert_eq!(
            new["status"],
            json!({"observedGeneration": 2, "conditions": [{"type": "Ready", "observedGeneration": 2}, {"type": "Initialized"}]})
        );
    }
}
