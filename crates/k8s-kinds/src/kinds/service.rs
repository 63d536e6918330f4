//! Service. Addresses, their families and node ports are given out by the server; what clients may ask for is judged by `service_rules`.

use serde_json::{Value, json};

use super::service_rules::{is_external, needs_health_check, validate, warnings};
use crate::columns::{AGE, Column, NAME, labels};
use crate::fields::{at, carry_over, child, default_to, default_zero_to, flag, int, is_empty, items, items_mut, text};
use crate::names::{dns_1035, label};
use crate::strategy::{drop_status, keep_apart};
use crate::{Context, Kind, STATUS, proxy};

pub(crate) static KIND: Kind = Kind {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    type_name: "io.k8s.api.core.v1.Service",
    subresources: &[proxy("ServiceProxyOptions"), STATUS],
    columns: &[
        NAME,
        Column::text("Type", "How it is reached.", |object, _| text(object, "spec.type").into()),
        Column::text("Cluster-IP", "Its address inside the cluster.", |object, _| cluster_ip(object).into()),
        Column::text("External-IP", "Its addresses outside the cluster.", |object, _| external_ip(object).into()),
        Column::text("Port(s)", "Its ports, with the nodes' ports where there are any.", |object, _| {
            ports(object).into()
        }),
        AGE,
        Column::text("Selector", "Selects the pods behind it.", |object, _| labels(at(object, "spec.selector")).into())
            .wide(),
    ],
    selectable: &["spec.clusterIP", "spec.type"],
    name_rule: dns_1035,
    // Feature `RelaxedServiceNameValidation`.
    later_name_rule: Some((36, label)),
    default,
    prepare_create: drop_status_to_empty,
    prepare_update,
    validate,
    warnings,
    creates_on_update: true,
    returns_deleted: true,
    ..Kind::BASE
};

fn drop_status_to_empty(object: &mut Value, context: &Context<'_>) {
    drop_status(object, context);
    drop_internal_policy(object);
    default_to(object, "status", json!({"loadBalancer": {}}));
}

fn default(object: &mut Value, _: &Context<'_>) {
    if text(object, "spec.type") == "LoadBalancer"
        && let Some(balancer) = object.get_mut("status").and_then(|status| status.get_mut("loadBalancer"))
    {
        for ingress in items_mut(balancer, "ingress").filter(|ingress| !text(ingress, "ip").is_empty()) {
            default_to(ingress, "ipMode", "VIP");
        }
    }
    let Some(spec) = child(object, "spec") else { return };
    default_zero_to(spec, "sessionAffinity", "None");
    default_zero_to(spec, "type", "ClusterIP");
    if text(spec, "sessionAffinity") == "None"
        && let Some(map) = spec.as_object_mut()
    {
        map.remove("sessionAffinityConfig");
    }
    if text(spec, "sessionAffinity") == "ClientIP"
        && at(spec, "sessionAffinityConfig.clientIP.timeoutSeconds").is_null()
    {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10_800}});
    }
    for port in items_mut(spec, "ports") {
        default_zero_to(port, "protocol", "TCP");
        let number = at(port, "port").clone();
        default_zero_to(port, "targetPort", number);
    }
    if is_external(spec) {
        default_zero_to(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(text(spec, "type"), "ClusterIP" | "LoadBalancer" | "NodePort") {
        default_to(spec, "internalTrafficPolicy", "Cluster");
    }
    if text(spec, "type") == "LoadBalancer" {
        default_to(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// What has no addresses has no policy for them either. Upstream stores the policy and never shows it.
fn drop_internal_policy(object: &mut Value) {
    if let Some(spec) = child(object, "spec")
        && !needs_address(spec)
        && matches!(text(spec, "internalTrafficPolicy"), "Cluster" | "Local")
        && let Some(map) = spec.as_object_mut()
    {
        map.remove("internalTrafficPolicy");
    }
}

fn needs_address(spec: &Value) -> bool {
    text(spec, "type") != "ExternalName"
}

/// Whether the server gives it ports of the nodes.
fn is_given_node_ports(spec: &Value) -> bool {
    text(spec, "type") == "NodePort"
        || (text(spec, "type") == "LoadBalancer" && at(spec, "allocateLoadBalancerNodePorts") != false)
}

/// A client that read an older form, or none at all, need not repeat what the server gave out; and what a Service of another type
/// has no use for goes, unless the client has changed it too (core service strategy).
fn prepare_update(object: &mut Value, context: &Context<'_>) {
    keep_apart(object, context);
    let Some(old) = context.old.filter(|_| context.is_main()) else { return };
    let Some(spec) = child(object, "spec") else { return };
    let old = at(old, "spec");
    keep_addresses(spec, old);
    if is_given_node_ports(spec) && is_given_node_ports(old) {
        keep_node_ports(spec, old);
    }
    if needs_health_check(spec) && needs_health_check(old) && int(spec, "healthCheckNodePort") == 0 {
        carry_over(spec, old, "healthCheckNodePort");
    }
    drop_unused(spec, old);
    drop_internal_policy(object);
    if text(&object["spec"], "type") != "LoadBalancer" && !is_empty(at(object, "status.loadBalancer")) {
        object["status"]["loadBalancer"] = json!({});
    }
}

fn keep_addresses(spec: &mut Value, old: &Value) {
    if needs_address(spec) && needs_address(old) {
        for key in ["clusterIP", "clusterIPs"] {
            if is_empty(at(spec, key)) {
                carry_over(spec, old, key);
            }
        }
    }
    if is_empty(at(spec, "clusterIPs")) && at(spec, "clusterIP") == at(old, "clusterIP") {
        // A client that knows of one address only.
        carry_over(spec, old, "clusterIPs");
    }
    let same = |key: &str| at(spec, key) == at(old, key);
    if same("clusterIP") || !same("clusterIPs") {
        return;
    }
    // The list follows the one address that an old client has changed.
    let address = text(spec, "clusterIP").to_owned();
    if let Some(map) = spec.as_object_mut() {
        match address.is_empty() {
            true => map.remove("clusterIPs"),
            false => map.insert("clusterIPs".to_owned(), json!([address])),
        };
    }
}

/// A port that does not say which port of the nodes it wants keeps the one that it had under its name.
fn keep_node_ports(spec: &mut Value, old: &Value) {
    let numbers =
        |spec: &Value| -> Vec<i64> { items(spec, "ports").iter().map(|port| int(port, "nodePort")).collect() };
    let (asked, had) = (numbers(spec), numbers(old));
    for port in items_mut(spec, "ports").filter(|port| int(port, "nodePort") == 0) {
        let known = items(old, "ports").iter().rev().find(|old| text(old, "name") == text(port, "name"));
        let number = known.map_or(0, |known| int(known, "nodePort"));
        if number != 0 && !(asked.contains(&number) && had.contains(&number)) {
            port["nodePort"] = json!(number);
        }
    }
}

fn drop_unused(spec: &mut Value, old: &Value) {
    let is_balanced = |spec: &Value| text(spec, "type") == "LoadBalancer";
    let has_node_ports = |spec: &Value| matches!(text(spec, "type"), "NodePort" | "LoadBalancer");
    let same = |spec: &Value, key: &str| at(spec, key) == at(old, key);
    let mut gone = Vec::new();
    if needs_address(old) && !needs_address(spec) {
        if same(spec, "clusterIP") && same(spec, "clusterIPs") {
            gone.extend(["clusterIP", "clusterIPs"]);
        }
        gone.extend(["ipFamilies", "ipFamilyPolicy"].into_iter().filter(|key| same(spec, key)));
    }
    if has_node_ports(old) && !has_node_ports(spec) {
        let had: Vec<i64> = items(old, "ports").iter().map(|port| int(port, "nodePort")).collect();
        let kept = |port: &Value| int(port, "nodePort") == 0 || had.contains(&int(port, "nodePort"));
        if items(spec, "ports").iter().all(kept) {
            for port in items_mut(spec, "ports").filter_map(Value::as_object_mut) {
                port.remove("nodePort");
            }
        }
    }
    if needs_health_check(old) && !needs_health_check(spec) && same(spec, "healthCheckNodePort") {
        gone.push("healthCheckNodePort");
    }
    if is_balanced(old) && !is_balanced(spec) {
        let key = "allocateLoadBalancerNodePorts";
        if flag(spec, key) == flag(old, key) {
            gone.push(key);
        }
        gone.extend(["loadBalancerClass"].into_iter().filter(|key| same(spec, key)));
    }
    if is_external(old) && !is_external(spec) && same(spec, "externalTrafficPolicy") {
        gone.push("externalTrafficPolicy");
    }
    if let Some(map) = spec.as_object_mut() {
        gone.into_iter().for_each(|key| drop(map.remove(key)));
    }
}

fn cluster_ip(object: &Value) -> String {
    let first = items(object, "spec.clusterIPs").first().and_then(Value::as_str);
    first.filter(|ip| !ip.is_empty()).unwrap_or("<none>").to_owned()
}

fn external_ip(object: &Value) -> String {
    let own: Vec<&str> = items(object, "spec.externalIPs").iter().filter_map(Value::as_str).collect();
    match text(object, "spec.type") {
        "ClusterIP" | "NodePort" if own.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => own.join(","),
        "LoadBalancer" => {
            let mut all: Vec<&str> = items(object, "status.loadBalancer.ingress")
                .iter()
                .map(|ingress| match text(ingress, "ip") {
                    "" => text(ingress, "hostname"),
                    ip => ip,
                })
                .filter(|address| !address.is_empty())
                .collect();
            all.sort_unstable();
            all.dedup();
            all.extend(own);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => text(object, "spec.externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(object: &Value) -> String {
    let written = |port: &Value| match int(port, "nodePort") {
        0 => format!("{}/{}", int(port, "port"), text(port, "protocol")),
        node => format!("{}:{node}/{}", int(port, "port"), text(port, "protocol")),
    };
    let ports: Vec<String> = items(object, "spec.ports").iter().map(written).collect();
    if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }
}
