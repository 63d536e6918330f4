//! Service. Addresses and node ports are given out by the server; the rules here are for what clients ask for.

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::causes::{duplicate, forbidden, immutable, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME, labels};
use crate::fields::{at, carry_over, child, default_to, default_zero_to, int, is_empty, items, items_mut, text};
use crate::names::{self, dns_1035, label, port_name, port_number, subdomain};
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
    default,
    prepare_create: drop_status_to_empty,
    prepare_update,
    validate,
    ..Kind::BASE
};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

fn drop_status_to_empty(object: &mut Value, context: &Context<'_>) {
    drop_status(object, context);
    default_to(object, "status", json!({"loadBalancer": {}}));
}

/// Whether packets from outside are routed by policy.
fn is_external(spec: &Value) -> bool {
    matches!(text(spec, "type"), "NodePort" | "LoadBalancer")
        || (text(spec, "type") == "ClusterIP" && !is_empty(at(spec, "externalIPs")))
}

fn default(object: &mut Value, _: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    default_zero_to(spec, "sessionAffinity", "None");
    default_zero_to(spec, "type", "ClusterIP");
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
    // The cluster serves one family: IPv4.
    if text(spec, "type") != "ExternalName" {
        default_to(spec, "ipFamilyPolicy", "SingleStack");
        if is_empty(at(spec, "ipFamilies"))
            && let Some(map) = spec.as_object_mut()
        {
            map.insert("ipFamilies".to_owned(), json!(["IPv4"]));
        }
    }
}

fn prepare_update(object: &mut Value, context: &Context<'_>) {
    keep_apart(object, context);
    let Some(old) = context.old.filter(|_| context.is_main()) else { return };
    let Some(spec) = child(object, "spec") else { return };
    let old = at(old, "spec");
    let needs_ip = |spec: &Value| text(spec, "type") != "ExternalName";
    if needs_ip(spec) && needs_ip(old) {
        // A client that read an older form, or none at all, need not repeat what the server gave out.
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if is_empty(at(spec, key)) {
                carry_over(spec, old, key);
            }
        }
        if is_empty(at(spec, "clusterIPs")) && !is_empty(at(spec, "clusterIP")) {
            spec["clusterIPs"] = json!([at(spec, "clusterIP")]);
        }
    } else if !needs_ip(spec)
        && needs_ip(old)
        && let Some(map) = spec.as_object_mut()
    {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            map.remove(key);
        }
    }
    let needs_node_ports = |spec: &Value| matches!(text(spec, "type"), "NodePort" | "LoadBalancer");
    if needs_node_ports(spec) && needs_node_ports(old) {
        keep_node_ports(spec, old);
    } else if !needs_node_ports(spec) && needs_node_ports(old) {
        for port in items_mut(spec, "ports") {
            if let Some(map) = port.as_object_mut() {
                map.remove("nodePort");
            }
        }
        if !is_external(spec)
            && let Some(map) = spec.as_object_mut()
        {
            map.remove("externalTrafficPolicy");
            map.remove("allocateLoadBalancerNodePorts");
        }
    }
}

/// A port that does not say which port of the nodes it wants keeps the one it has.
fn keep_node_ports(spec: &mut Value, old: &Value) {
    let used: Vec<i64> = items(spec, "ports").iter().map(|port| int(port, "nodePort")).collect();
    for port in items_mut(spec, "ports") {
        let same =
            |old: &&Value| (int(old, "port"), text(old, "protocol")) == (int(port, "port"), text(port, "protocol"));
        if int(port, "nodePort") == 0
            && let Some(known) = items(old, "ports").iter().find(same)
            && !used.contains(&int(known, "nodePort"))
        {
            carry_over(port, known, "nodePort");
        }
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

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let spec = &object["spec"];
    let kind = text(spec, "type");
    let headless = text(spec, "clusterIP") == "None";
    let mut causes = Vec::new();
    if !TYPES.contains(&kind) {
        causes.push(not_supported("spec.type", kind, &TYPES));
    }
    if items(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        causes.push(required("spec.ports", ""));
    }
    causes.extend(validate_ports(spec));
    causes.extend(names::labels(at(spec, "selector"), "spec.selector"));
    match text(spec, "sessionAffinity") {
        "" => causes.push(required("spec.sessionAffinity", "")),
        "ClientIP" | "None" => {}
        other => causes.push(not_supported("spec.sessionAffinity", other, &["ClientIP", "None"])),
    }
    match kind {
        "ExternalName" => {
            if !text(spec, "clusterIP").is_empty() && !headless {
                causes.push(forbidden("spec.clusterIP", "may not be set when `type` is 'ExternalName'"));
            }
            let target = text(spec, "externalName").trim_end_matches('.');
            if target.is_empty() {
                causes.push(required("spec.externalName", "externalName should not be empty"));
            } else {
                causes.extend(
                    subdomain(target, false).iter().map(|problem| invalid("spec.externalName", target, problem)),
                );
            }
        }
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            causes.push(invalid("spec.clusterIPs[0]", "None", &detail));
        }
        _ => {}
    }
    for (key, allowed) in
        [("externalTrafficPolicy", ["Cluster", "Local"]), ("internalTrafficPolicy", ["Cluster", "Local"])]
    {
        let policy = text(spec, key);
        if !policy.is_empty() && !allowed.contains(&policy) {
            causes.push(not_supported(format!("spec.{key}"), policy, &allowed));
        }
    }
    if !is_external(spec) && !text(spec, "externalTrafficPolicy").is_empty() {
        let detail = "may only be set for externally-accessible services";
        causes.push(invalid("spec.externalTrafficPolicy", text(spec, "externalTrafficPolicy"), detail));
    }
    for (index, ip) in items(spec, "externalIPs").iter().filter_map(Value::as_str).enumerate() {
        if ip.parse::<std::net::IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.push(invalid(format!("spec.externalIPs[{index}]"), ip, detail));
        }
    }
    causes.extend(addresses(spec));
    if let Some(old) = context.old {
        causes.extend(validate_update(spec, at(old, "spec")));
    }
    causes
}

fn addresses(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (first, all) = (text(spec, "clusterIP"), items(spec, "clusterIPs"));
    if let Some(other) = all.first().and_then(Value::as_str)
        && !first.is_empty()
        && other != first
    {
        causes.push(invalid("spec.clusterIPs", at(spec, "clusterIPs").clone(), "first value must match `clusterIP`"));
    }
    for (index, ip) in all.iter().filter_map(Value::as_str).enumerate() {
        if ip != "None" && ip.parse::<std::net::IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.push(invalid(format!("spec.clusterIPs[{index}]"), ip, detail));
        }
    }
    let policy = text(spec, "ipFamilyPolicy");
    if !matches!(policy, "" | "SingleStack" | "PreferDualStack" | "RequireDualStack") {
        let allowed = ["SingleStack", "PreferDualStack", "RequireDualStack"];
        causes.push(invalid("spec.ipFamilyPolicy", policy, &format!("must be one of {}", allowed.join(", "))));
    }
    for (index, family) in items(spec, "ipFamilies").iter().filter_map(Value::as_str).enumerate() {
        if !matches!(family, "IPv4" | "IPv6") {
            causes.push(not_supported(format!("spec.ipFamilies[{index}]"), family, &["IPv4", "IPv6"]));
        }
    }
    causes
}

fn validate_ports(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let ports = items(spec, "ports");
    let (mut seen_names, mut seen_ports) = (Vec::new(), Vec::new());
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                causes.push(required(format!("{field}.name"), ""));
            }
        } else {
            let problems = label(name, false);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.name"), name, problem)));
            if seen_names.contains(&name) {
                causes.push(duplicate(format!("{field}.name"), name));
            }
            seen_names.push(name);
        }
        let number = int(port, "port");
        causes.extend(port_number(number).iter().map(|problem| invalid(format!("{field}.port"), number, problem)));
        let protocol = text(port, "protocol");
        match protocol {
            "" => causes.push(required(format!("{field}.protocol"), "")),
            "SCTP" | "TCP" | "UDP" => {}
            other => causes.push(not_supported(format!("{field}.protocol"), other, &["SCTP", "TCP", "UDP"])),
        }
        let target = at(port, "targetPort");
        let problems = match target {
            Value::String(name) => port_name(name),
            other => port_number(other.as_i64().unwrap_or_default()),
        };
        causes.extend(problems.iter().map(|problem| invalid(format!("{field}.targetPort"), target.clone(), problem)));
        if matches!(text(spec, "type"), "ClusterIP" | "ExternalName") && int(port, "nodePort") != 0 {
            let detail = format!("may not be used when `type` is '{}'", text(spec, "type"));
            causes.push(forbidden(format!("{field}.nodePort"), &detail));
        }
        if seen_ports.contains(&(number, protocol)) {
            causes.push(duplicate(&field, json!({"port": number, "protocol": protocol})));
        }
        seen_ports.push((number, protocol));
    }
    causes
}

/// An address once given is kept until the Service stops needing one.
fn validate_update(spec: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if text(spec, "type") == "ExternalName" || text(old, "type") == "ExternalName" {
        return causes;
    }
    let (new_ip, old_ip) = (text(spec, "clusterIP"), text(old, "clusterIP"));
    if !old_ip.is_empty() && new_ip != old_ip {
        let value = at(spec, "clusterIPs").clone();
        let value = if is_empty(&value) { json!([new_ip]) } else { value };
        causes.push(invalid("spec.clusterIPs[0]", value, "may not change once set"));
    }
    let (new_class, old_class) = (at(spec, "loadBalancerClass"), at(old, "loadBalancerClass"));
    if text(spec, "type") == "LoadBalancer" && text(old, "type") == "LoadBalancer" && new_class != old_class {
        causes.push(invalid("spec.loadBalancerClass", new_class.clone(), "may not change once set"));
    }
    if items(spec, "ipFamilies").first() != items(old, "ipFamilies").first() && !is_empty(at(old, "ipFamilies")) {
        causes.push(immutable("spec.ipFamilies[0]", at(spec, "ipFamilies")));
    }
    causes
}
