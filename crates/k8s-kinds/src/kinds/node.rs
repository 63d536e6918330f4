//! Node.

use std::borrow::Cow;
use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use crate::addresses::{cidr_warnings, legacy_cidr};
use crate::causes::{duplicate, forbidden, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME, text_or};
use crate::fields::{at, entries, flag, is_empty, items, text, text_at};
use crate::names::{label_value, qualified};
use crate::strategy::{agree_on_first, keep_apart};
use crate::{Context, Kind, STATUS, Scope, proxy, resource_names};

pub(crate) static KIND: Kind = Kind {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    scope: Scope::Cluster,
    type_name: "io.k8s.api.core.v1.Node",
    subresources: &[proxy("NodeProxyOptions"), STATUS],
    columns: &[
        NAME,
        Column::text("Status", "Whether it is ready, and whether pods may be scheduled.", |object, _| {
            status(object).into()
        }),
        Column::text("Roles", "Roles from its labels.", |object, _| roles(object).into()),
        AGE,
        Column::text("Version", "Version of its kubelet.", |object, _| {
            text(object, "status.nodeInfo.kubeletVersion").into()
        }),
        Column::text("Internal-IP", "Address inside the network.", |object, _| address(object, "InternalIP")).wide(),
        Column::text("External-IP", "Address outside the network.", |object, _| address(object, "ExternalIP")).wide(),
        Column::text("OS-Image", "Name of the operating system.", |object, _| {
            text_or(object, "status.nodeInfo.osImage", "<unknown>")
        })
        .wide(),
        Column::text("Kernel-Version", "Version of the kernel.", |object, _| {
            text_or(object, "status.nodeInfo.kernelVersion", "<unknown>")
        })
        .wide(),
        Column::text("Container-Runtime", "Name and version of the container runtime.", |object, _| {
            text_or(object, "status.nodeInfo.containerRuntimeVersion", "<unknown>")
        })
        .wide(),
    ],
    selectable: &["spec.unschedulable"],
    field,
    default,
    // A kubelet registers itself with its status: create keeps it.
    prepare_update: keep_apart,
    validate,
    warnings,
    ..Kind::BASE
};

fn field<'a>(object: &'a Value, path: &str) -> Cow<'a, str> {
    match path {
        "spec.unschedulable" => if flag(object, path) { "true" } else { "false" }.into(),
        other => text_at(object, other),
    }
}

/// What a node can give away is what it has, unless it says otherwise.
fn default(object: &mut Value, _: &Context<'_>) {
    if let Some(spec) = object.get_mut("spec") {
        agree_on_first(spec, "podCIDR", "podCIDRs", |cidr| cidr.into());
    }
    if let Some(status) = object.get_mut("status")
        && is_empty(at(status, "allocatable"))
        && !is_empty(at(status, "capacity"))
    {
        status["allocatable"] = at(status, "capacity").clone();
    }
}

fn status(object: &Value) -> String {
    let ready = items(object, "status.conditions").iter().find(|condition| text(condition, "type") == "Ready");
    let mut status = match ready {
        Some(condition) if text(condition, "status") == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if flag(object, "spec.unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(object: &Value) -> String {
    let mut roles: Vec<&str> = entries(object, "metadata.labels")
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn address(object: &Value, kind: &str) -> Value {
    let found = items(object, "status.addresses").iter().find(|address| text(address, "type") == kind);
    found.map_or("<none>", |address| text(address, "address")).into()
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes = taints(items(object, "spec.taints"));
    causes.extend(pod_cidrs(items(object, "spec.podCIDRs"), context.minor));
    for list in ["status.capacity", "status.allocatable"] {
        let amounts = entries(object, list);
        causes
            .extend(amounts.flat_map(|(name, amount)| resource_names::amount(name, amount, &format!("{list}.{name}"))));
    }
    let Some(old) = context.old else { return causes };
    let addresses = items(object, "status.addresses");
    for (index, address) in addresses.iter().enumerate() {
        if addresses[..index].contains(address) {
            causes.push(duplicate(format!("status.addresses[{index}]"), address.clone()));
        }
    }
    if at(object, "spec.externalID") != at(old, "spec.externalID") {
        causes.push(forbidden("spec.externalID", "may not be updated"));
    }
    for (key, word) in [("podCIDRs", "podCIDR"), ("providerID", "providerID")] {
        let field = format!("spec.{key}");
        let (is, was) = (at(object, &field), at(old, &field));
        if !is_empty(was) && is != was {
            causes.push(forbidden(field, &format!("node updates may not change {word} except from \"\" to valid")));
        }
    }
    causes
}

fn pod_cidrs(cidrs: &[Value], minor: u8) -> Vec<Cause> {
    const FIELD: &str = "spec.podCIDRs";
    let cidrs: Vec<&str> = cidrs.iter().filter_map(Value::as_str).collect();
    let each = cidrs.iter().enumerate();
    let mut causes: Vec<Cause> =
        each.filter_map(|(index, cidr)| legacy_cidr(&format!("{FIELD}[{index}]"), cidr, &[], minor)).collect();
    let families: BTreeSet<bool> = cidrs.iter().map(|cidr| cidr.contains(':')).collect();
    if cidrs.len() > 1 && (!causes.is_empty() || families.len() < 2 || cidrs.len() > 2) {
        causes.push(invalid(FIELD, cidrs, "may specify no more than one CIDR for each IP family"));
    }
    causes
}

fn warnings(object: &Value, _: &Context<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if !text(object, "spec.externalID").is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    if !at(object, "spec.configSource").is_null() {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    for (index, cidr) in items(object, "spec.podCIDRs").iter().filter_map(Value::as_str).enumerate() {
        warnings.extend(cidr_warnings(&format!("spec.podCIDRs[{index}]"), cidr));
    }
    warnings
}

fn taints(taints: &[Value]) -> Vec<Cause> {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let mut causes = Vec::new();
    let mut seen = Vec::new();
    for (index, taint) in taints.iter().enumerate() {
        let field = format!("metadata.taints[{index}]");
        let (key, effect) = (text(taint, "key"), text(taint, "effect"));
        causes.extend(qualified(key).iter().map(|problem| invalid(format!("{field}.key"), key, problem)));
        let value = text(taint, "value");
        causes.extend(label_value(value).iter().map(|problem| invalid(format!("{field}.value"), value, problem)));
        match effect {
            "" => causes.push(required(format!("{field}.effect"), "")),
            _ if EFFECTS.contains(&effect) => {}
            _ => causes.push(not_supported(format!("{field}.effect"), effect, &EFFECTS)),
        }
        if seen.contains(&(key, effect)) {
            let mut cause = duplicate(&field, taint.clone());
            cause.message.push_str(": taints must be unique by key and effect pair");
            causes.push(cause);
        }
        seen.push((key, effect));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_show_readiness_and_roles() {
        let node = json!({
            "metadata": {"labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/gpu": "", "kubernetes.io/role": "worker"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
        });
        assert_eq!(status(&node), "Ready,SchedulingDisabled");
        assert_eq!(roles(&node), "gpu,worker");
        assert_eq!(address(&node, "InternalIP"), "10.0.0.1");
        assert_eq!(address(&node, "ExternalIP"), "<none>");
        assert_eq!((status(&json!({})).as_str(), roles(&json!({})).as_str()), ("Unknown", "<none>"));
        assert_eq!(
            (field(&node, "spec.unschedulable"), field(&json!({}), "spec.unschedulable")),
            ("true".into(), "false".into())
        );
    }

    #[test]
    fn taints_are_judged() {
        let found: Vec<String> = taints(json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "", "effect": "x"}]).as_array().unwrap())
            .into_iter()
            .map(|cause| format!("{} {}", cause.field, cause.reason))
            .collect();
        assert!(found.contains(&"metadata.taints[1] FieldValueDuplicate".to_owned()), "{found:?}");
        assert!(found.contains(&"metadata.taints[2].effect FieldValueNotSupported".to_owned()), "{found:?}");
        assert!(found.contains(&"metadata.taints[2].key FieldValueInvalid".to_owned()), "{found:?}");
    }
}
