//! What a Service may be (core `validateService`), and what its author is warned of.

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::Context;
use crate::addresses::{cidr_warnings, endpoint_ip, ip_warnings, legacy_cidr, legacy_ip, parse_lenient};
use crate::causes::{duplicate, forbidden, invalid, not_supported, required};
use crate::fields::{at, int, is_empty, items, text};
use crate::names::{self, label, port_name, port_number, qualified, subdomain};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
/// A day, in seconds (core `MaxClientIPServiceAffinitySeconds`).
const MAX_AFFINITY_SECONDS: i64 = 86_400;
/// Zone and node as aims of traffic are served by default (feature `PreferSameTrafficDistribution`).
const SAME_ZONE_AND_NODE_SINCE: u8 = 34;
const ONLY_LOAD_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";

/// Whether packets from outside are routed by policy.
pub(super) fn is_external(spec: &Value) -> bool {
    matches!(text(spec, "type"), "NodePort" | "LoadBalancer")
        || (text(spec, "type") == "ClusterIP" && !is_empty(at(spec, "externalIPs")))
}

/// Whether each node answers on a port of its own whether it has pods of the Service.
pub(super) fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

fn is_headless(spec: &Value) -> bool {
    matches!(items(spec, "clusterIPs"), [only] if only == "None")
        || (is_empty(at(spec, "clusterIPs")) && text(spec, "clusterIP") == "None")
}

fn texts<'a>(value: &'a Value, path: &str) -> Vec<&'a str> {
    items(value, path).iter().filter_map(Value::as_str).collect()
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    at(object, "metadata.annotations").get(name).and_then(Value::as_str)
}

pub(super) fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let spec = &object["spec"];
    if context.subresource == "status" {
        return balancer_status(object, context.old, context.minor);
    }
    let kind = text(spec, "type");
    let mut causes = Vec::new();
    if let Some(old) = context.old {
        causes.extend(validate_update(spec, at(old, "spec")));
    }
    if let (Some(mode), Some(hints)) = (annotation(object, TOPOLOGY_MODE), annotation(object, TOPOLOGY_HINTS))
        && mode != hints
    {
        let field = format!("metadata.annotations[{TOPOLOGY_MODE}]");
        causes.push(invalid(field, mode, &format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified")));
    }
    if items(spec, "ports").is_empty() && !is_headless(spec) && kind != "ExternalName" {
        causes.push(required("spec.ports", ""));
    }
    match kind {
        "ExternalName" => causes.extend(external_name(spec)),
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            causes.push(invalid("spec.clusterIPs[0]", "None", &detail));
        }
        _ => {}
    }
    causes.extend(validate_ports(spec));
    causes.extend(names::labels(at(spec, "selector"), "spec.selector"));
    causes.extend(affinity(spec));
    let nothing = Value::Null;
    let old_spec = context.old.map_or(&nothing, |old| at(old, "spec"));
    if kind != "ExternalName" {
        causes.extend(addresses(spec, old_spec, context.minor));
    }
    let before = texts(old_spec, "externalIPs");
    for (index, ip) in texts(spec, "externalIPs").into_iter().enumerate() {
        let field = format!("spec.externalIPs[{index}]");
        match legacy_ip(&field, ip, &before, context.minor) {
            Some(problem) => causes.push(problem),
            None => causes.extend(endpoint_ip(&field, ip)),
        }
    }
    match kind {
        "" => causes.push(required("spec.type", "")),
        _ if !TYPES.contains(&kind) => causes.push(not_supported("spec.type", kind, &TYPES)),
        _ => {}
    }
    causes.extend(port_numbers(spec));
    causes.extend(source_ranges(object, context.old, context.minor));
    if !at(spec, "allocateLoadBalancerNodePorts").is_null() && kind != "LoadBalancer" {
        causes.push(forbidden("spec.allocateLoadBalancerNodePorts", ONLY_LOAD_BALANCERS));
    }
    if let Some(class) = at(spec, "loadBalancerClass").as_str() {
        if kind == "LoadBalancer" {
            let problems = qualified(class);
            causes.extend(problems.iter().map(|problem| invalid("spec.loadBalancerClass", class, problem)));
        } else {
            causes.push(forbidden("spec.loadBalancerClass", ONLY_LOAD_BALANCERS));
        }
    }
    causes.extend(traffic(spec, context.minor));
    causes
}

fn external_name(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !is_empty(at(spec, key)) || (key == "clusterIPs" && !text(spec, "clusterIP").is_empty()) {
            causes.push(forbidden(format!("spec.{key}"), "may not be set for ExternalName services"));
        }
    }
    let name = text(spec, "externalName");
    let target = name.strip_suffix('.').unwrap_or(name);
    if target.is_empty() {
        causes.push(required("spec.externalName", ""));
    } else {
        let problems = subdomain(target, false);
        causes.extend(problems.iter().map(|problem| invalid("spec.externalName", target, problem)));
    }
    causes
}

fn affinity(spec: &Value) -> Vec<Cause> {
    match text(spec, "sessionAffinity") {
        "" => vec![required("spec.sessionAffinity", "")],
        "None" => Vec::new(),
        "ClientIP" => {
            let seconds = int(spec, "sessionAffinityConfig.clientIP.timeoutSeconds");
            if (1..=MAX_AFFINITY_SECONDS).contains(&seconds) {
                return Vec::new();
            }
            let detail = format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}");
            vec![invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, &detail)]
        }
        other => vec![not_supported("spec.sessionAffinity", other, &["ClientIP", "None"])],
    }
}

/// What is wrong with addresses and their families (core `ValidateServiceClusterIPsRelatedFields`). `old`: the spec before, null for a
/// new Service.
pub fn addresses(spec: &Value, old: &Value, minor: u8) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (first, all) = (text(spec, "clusterIP"), texts(spec, "clusterIPs"));
    let value = || at(spec, "clusterIPs").clone();
    match all.first() {
        None if !first.is_empty() => causes.push(required("spec.clusterIPs", "")),
        Some(_) if first.is_empty() => {
            causes.push(invalid("spec.clusterIPs", value(), "must be empty when `clusterIP` is not specified"));
        }
        Some(other) if *other != first => {
            causes.push(invalid("spec.clusterIPs", value(), "first value must match `clusterIP`"));
        }
        _ => {}
    }
    const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
    let families = texts(spec, "ipFamilies");
    for (index, family) in families.iter().enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        if !FAMILIES.contains(family) {
            causes.push(not_supported(&field, *family, &FAMILIES));
        }
        if families[..index].contains(family) {
            causes.push(duplicate(&field, *family));
        }
    }
    let policy = at(spec, "ipFamilyPolicy").as_str();
    const FAMILY_POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if let Some(policy) = policy.filter(|policy| !FAMILY_POLICIES.contains(policy)) {
        causes.push(not_supported("spec.ipFamilyPolicy", policy, &FAMILY_POLICIES));
    }
    let before = texts(old, "clusterIPs");
    let known = causes.len();
    for (index, ip) in all.iter().enumerate() {
        if index == 0 && *ip == "None" {
            if all.len() > 1 {
                causes.push(invalid("spec.clusterIPs", value(), "'None' must be the first and only value"));
            }
            continue;
        }
        causes.extend(legacy_ip(&format!("spec.clusterIPs[{index}]"), ip, &before, minor));
    }
    let unreadable = causes.len() > known;
    if all.len() > 2 {
        causes.push(invalid("spec.clusterIPs", value(), "may only hold up to 2 values"));
    }
    if unreadable {
        return causes;
    }
    let is_v4 = |ip: &&str| parse_lenient(ip).is_some_and(|address| address.is_ipv4());
    if all.len() > 1 && (all.iter().all(is_v4) || !all.iter().any(is_v4)) {
        causes.push(invalid("spec.clusterIPs", value(), "may specify no more than one IP for each IP family"));
    }
    if !is_headless(spec) {
        for (index, (ip, family)) in all.iter().zip(&families).enumerate() {
            if is_v4(ip) != (*family == "IPv4") && FAMILIES.contains(family) {
                let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
                causes.push(invalid(format!("spec.clusterIPs[{index}]"), *ip, &detail));
            }
        }
    }
    causes
}

fn validate_ports(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let ports = items(spec, "ports");
    let mut seen = Vec::new();
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
            if seen.contains(&name) {
                causes.push(duplicate(format!("{field}.name"), name));
            }
            seen.push(name);
        }
        let number = int(port, "port");
        causes.extend(port_number(number).iter().map(|problem| invalid(format!("{field}.port"), number, problem)));
        match text(port, "protocol") {
            "" => causes.push(required(format!("{field}.protocol"), "")),
            "SCTP" | "TCP" | "UDP" => {}
            other => causes.push(not_supported(format!("{field}.protocol"), other, &["SCTP", "TCP", "UDP"])),
        }
        let target = match at(port, "targetPort") {
            Value::Null => json!(0),
            target => target.clone(),
        };
        let problems = match &target {
            Value::String(name) => port_name(name),
            other => port_number(other.as_i64().unwrap_or_default()),
        };
        causes.extend(problems.iter().map(|problem| invalid(format!("{field}.targetPort"), target.clone(), problem)));
        if let Some(protocol) = at(port, "appProtocol").as_str() {
            let problems = qualified(protocol);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.appProtocol"), protocol, problem)));
        }
    }
    causes
}

/// Each number once for each protocol, and ports of the nodes only where there are any.
fn port_numbers(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let ports = items(spec, "ports");
    if text(spec, "type") == "ClusterIP" {
        for index in (0..ports.len()).filter(|index| int(&ports[*index], "nodePort") != 0) {
            let detail = "may not be used when `type` is 'ClusterIP'";
            causes.push(forbidden(format!("spec.ports[{index}].nodePort"), detail));
        }
    }
    let repeated = |index: usize, key: &str| {
        let of = |port: &Value| (int(port, key), text(port, "protocol").to_owned());
        let own = of(&ports[index]);
        own.0 != 0 && ports[..index].iter().any(|port| of(port) == own)
    };
    for index in (0..ports.len()).filter(|index| repeated(*index, "nodePort")) {
        causes.push(duplicate(format!("spec.ports[{index}].nodePort"), int(&ports[index], "nodePort")));
    }
    for index in (0..ports.len()).filter(|index| repeated(*index, "port")) {
        let port = &ports[index];
        let value = json!({"port": int(port, "port"), "protocol": text(port, "protocol")});
        causes.push(duplicate(format!("spec.ports[{index}]"), value));
    }
    causes
}

/// Where load balancers are reached from; an old annotation says the same.
fn source_ranges(object: &Value, old: Option<&Value>, minor: u8) -> Vec<Cause> {
    let ranges = texts(object, "spec.loadBalancerSourceRanges");
    let is_balanced = text(object, "spec.type") == "LoadBalancer";
    let mut causes = Vec::new();
    if !ranges.is_empty() {
        // Upstream writes this one field with a capital.
        const FIELD: &str = "spec.LoadBalancerSourceRanges";
        if !is_balanced {
            causes.push(forbidden(FIELD, ONLY_LOAD_BALANCERS));
        }
        let before = old.map(|old| texts(old, "spec.loadBalancerSourceRanges")).unwrap_or_default();
        let before: Vec<&str> = before.into_iter().map(str::trim).collect();
        for (index, range) in ranges.iter().enumerate() {
            causes.extend(legacy_cidr(&format!("{FIELD}[{index}]"), range.trim(), &before, minor));
        }
    } else if let Some(ranges) = annotation(object, SOURCE_RANGES) {
        let field = format!("metadata.annotations[{SOURCE_RANGES}]");
        if !is_balanced {
            causes.push(forbidden(&field, ONLY_LOAD_BALANCERS));
        }
        if old.and_then(|old| annotation(old, SOURCE_RANGES)) != Some(ranges) && !ranges.trim().is_empty() {
            causes.extend(ranges.trim().split(',').flat_map(|range| legacy_cidr(&field, range.trim(), &[], minor)));
        }
    }
    causes
}

fn traffic(spec: &Value, minor: u8) -> Vec<Cause> {
    let mut causes = Vec::new();
    let policy = text(spec, "externalTrafficPolicy");
    match (is_external(spec), policy) {
        (false, "") | (true, "Cluster" | "Local") => {}
        (false, _) => {
            let detail = "may only be set for externally-accessible services";
            causes.push(invalid("spec.externalTrafficPolicy", policy, detail));
        }
        (true, "") => causes.push(required("spec.externalTrafficPolicy", "")),
        (true, _) => causes.push(not_supported("spec.externalTrafficPolicy", policy, &POLICIES)),
    }
    let port = int(spec, "healthCheckNodePort");
    match (needs_health_check(spec), port) {
        (false, 0) => {}
        (false, _) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            causes.push(invalid("spec.healthCheckNodePort", port, detail));
        }
        (true, 0) => causes.push(required("spec.healthCheckNodePort", "")),
        (true, _) => {
            let problems = port_number(port);
            causes.extend(problems.iter().map(|problem| invalid("spec.healthCheckNodePort", port, problem)));
        }
    }
    match at(spec, "internalTrafficPolicy").as_str() {
        None if matches!(text(spec, "type"), "ClusterIP" | "LoadBalancer" | "NodePort") => {
            causes.push(required("spec.internalTrafficPolicy", ""));
        }
        Some(policy) if !POLICIES.contains(&policy) => {
            causes.push(not_supported("spec.internalTrafficPolicy", policy, &POLICIES));
        }
        _ => {}
    }
    const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    let supported = if minor < SAME_ZONE_AND_NODE_SINCE { &DISTRIBUTIONS[..1] } else { &DISTRIBUTIONS[..] };
    if let Some(distribution) = at(spec, "trafficDistribution").as_str()
        && !supported.contains(&distribution)
    {
        causes.push(not_supported("spec.trafficDistribution", distribution, supported));
    }
    causes
}

/// An address once given is kept until the Service stops needing one.
fn validate_update(spec: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if text(spec, "type") != "ExternalName" && text(old, "type") != "ExternalName" {
        let (new_ips, old_ips) = (items(spec, "clusterIPs"), items(old, "clusterIPs"));
        let value = || json!(new_ips);
        let stays_headless = is_headless(spec) && is_headless(old);
        if !stays_headless && !old_ips.is_empty() {
            match new_ips.first() {
                None => {
                    let detail = "primary clusterIP can not be unset";
                    causes.push(invalid("spec.clusterIPs[0]", value(), detail));
                }
                Some(first) if first != &old_ips[0] => {
                    causes.push(invalid("spec.clusterIPs[0]", value(), "may not change once set"));
                }
                Some(_) => {}
            }
        }
        let (new_families, old_families) = (items(spec, "ipFamilies"), items(old, "ipFamilies"));
        if !is_headless(spec) && !is_headless(old) && !old_families.is_empty() {
            let value = json!(new_families);
            if new_families.first() != old_families.first() {
                causes.push(invalid("spec.ipFamilies[0]", value, "may not change once set"));
            }
        }
    }
    let (new_class, old_class) = (at(spec, "loadBalancerClass"), at(old, "loadBalancerClass"));
    if text(spec, "type") == "LoadBalancer" && text(old, "type") == "LoadBalancer" && new_class != old_class {
        causes.push(invalid("spec.loadBalancerClass", new_class.clone(), "may not change once set"));
    }
    if needs_health_check(spec)
        && needs_health_check(old)
        && int(spec, "healthCheckNodePort") != int(old, "healthCheckNodePort")
    {
        causes.push(forbidden("spec.healthCheckNodePort", "field is immutable"));
    }
    causes
}

/// What load balancers report.
fn balancer_status(object: &Value, old: Option<&Value>, minor: u8) -> Vec<Cause> {
    const FIELD: &str = "status.loadBalancer.ingress";
    let ingresses = items(object, FIELD);
    if text(object, "spec.type") != "LoadBalancer" && !ingresses.is_empty() {
        return vec![forbidden(FIELD, "may only be used when `spec.type` is 'LoadBalancer'")];
    }
    let before = old.map(|old| items(old, FIELD)).unwrap_or_default();
    let before: Vec<&str> = before.iter().map(|ingress| text(ingress, "ip")).filter(|ip| !ip.is_empty()).collect();
    let mut causes = Vec::new();
    for (index, ingress) in ingresses.iter().enumerate() {
        let field = format!("{FIELD}[{index}]");
        let (ip, mode, hostname) = (text(ingress, "ip"), text(ingress, "ipMode"), text(ingress, "hostname"));
        if !ip.is_empty() {
            causes.extend(legacy_ip(&format!("{field}.ip"), ip, &before, minor));
        }
        let field_of_mode = format!("{field}.ipMode");
        match (at(ingress, "ipMode").is_null(), ip.is_empty()) {
            (true, true) => {}
            (true, false) => causes.push(required(field_of_mode, "must be specified when `ip` is set")),
            (false, true) => causes.push(forbidden(field_of_mode, "may not be specified when `ip` is not set")),
            (false, false) if !matches!(mode, "Proxy" | "VIP") => {
                causes.push(not_supported(field_of_mode, mode, &["Proxy", "VIP"]));
            }
            (false, false) => {}
        }
        if !hostname.is_empty() {
            let field = format!("{field}.hostname");
            causes.extend(subdomain(hostname, false).iter().map(|problem| invalid(&field, hostname, problem)));
            if parse_lenient(hostname).is_some() {
                causes.push(invalid(&field, hostname, "must be a DNS name, not an IP address"));
            }
        }
    }
    causes
}

pub(super) fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    let spec = &object["spec"];
    let mut warnings = Vec::new();
    if context.subresource == "status" {
        for (index, ingress) in items(object, "status.loadBalancer.ingress").iter().enumerate() {
            warnings.extend(ip_warnings(&format!("status.loadBalancer.ingress[{index}]"), text(ingress, "ip")));
        }
        return warnings;
    }
    if annotation(object, TOPOLOGY_HINTS).is_some() {
        warnings.push(format!("annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    let mut addresses = |path: &str| {
        for (index, ip) in texts(spec, path).into_iter().enumerate().filter(|(_, ip)| *ip != "None") {
            warnings.extend(ip_warnings(&format!("spec.{path}[{index}]"), ip));
        }
    };
    addresses("clusterIPs");
    let mut ignored = Vec::new();
    if text(spec, "type") == "ClusterIP" && text(spec, "clusterIP") == "None" {
        let fields = [
            ("loadBalancerIP", "loadBalancerIP"),
            ("externalIPs", "externalIPs"),
            ("sessionAffinity", "SessionAffinity"),
        ];
        let set = fields.into_iter().filter(|(path, _)| !is_empty(at(spec, path)));
        ignored.extend(set.map(|(_, field)| format!("spec.{field} is ignored for headless services")));
    }
    // Told between the addresses of the cluster and those outside of it.
    let mut told = std::mem::take(&mut warnings);
    told.extend(ignored);
    for (index, ip) in texts(spec, "externalIPs").into_iter().enumerate() {
        told.extend(ip_warnings(&format!("spec.externalIPs[{index}]"), ip));
    }
    told.extend(ip_warnings("spec.loadBalancerIP", text(spec, "loadBalancerIP")));
    for (index, range) in texts(spec, "loadBalancerSourceRanges").into_iter().enumerate() {
        told.extend(cidr_warnings(&format!("spec.loadBalancerSourceRanges[{index}]"), range));
    }
    let is_name = text(spec, "type") == "ExternalName";
    if is_name && !is_empty(at(spec, "externalIPs")) {
        told.push(r#"spec.externalIPs is ignored when spec.type is "ExternalName""#.to_owned());
    }
    if !is_name && !text(spec, "externalName").is_empty() {
        told.push(r#"spec.externalName is ignored when spec.type is not "ExternalName""#.to_owned());
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::kinds::service::KIND;
    use crate::testing::{created, told, told_of_update};

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": spec})
    }

    fn balanced(more: Value) -> Value {
        let mut spec = json!({"type": "LoadBalancer", "ports": [{"port": 80}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service(spec)
    }

    #[test]
    fn new_services_are_judged_in_upstreams_words() {
        let plain = |more: Value| {
            let mut spec = json!({"ports": [{"port": 80}]});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            service(spec)
        };
        let cases: &[(Value, &[&str])] = &[
            (plain(json!({})), &[]),
            (
                plain(json!({"loadBalancerSourceRanges": ["10.0.0.0/8"]})),
                &["spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"],
            ),
            (balanced(json!({"loadBalancerSourceRanges": [" 10.0.0.0/8 "]})), &[]),
            (
                balanced(json!({"loadBalancerSourceRanges": ["10.0.0.0"]})),
                &[
                    r#"spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#,
                ],
            ),
            (
                plain(json!({"healthCheckNodePort": 30_000})),
                &[
                    "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                ],
            ),
            (
                balanced(json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 70_000})),
                &["spec.healthCheckNodePort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
            ),
            (plain(json!({"trafficDistribution": "PreferSameZone"})), &[]),
            (
                plain(json!({"trafficDistribution": "Near"})),
                &[
                    r#"spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameZone", "PreferSameNode""#,
                ],
            ),
            (
                plain(
                    json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86_401}}}),
                ),
                &[
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
                ],
            ),
            (
                plain(json!({"loadBalancerClass": "a/b", "allocateLoadBalancerNodePorts": true})),
                &[
                    "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
                    "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
                ],
            ),
            (
                plain(json!({"externalIPs": ["127.0.0.1"]})),
                &[
                    r#"spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
                ],
            ),
            (
                service(json!({"type": "ExternalName", "clusterIP": "10.0.0.1"})),
                &[
                    "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
                    "spec.externalName: Required value",
                ],
            ),
            (
                service(json!({"type": "NodePort", "ports": [
                    {"name": "a", "port": 1, "nodePort": 30_001}, {"name": "b", "port": 2, "nodePort": 30_001},
                ]})),
                &["spec.ports[1].nodePort: Duplicate value: 30001"],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(&told(&KIND, object), expected, "{object}");
        }
    }

    #[test]
    fn updates_keep_what_was_given_and_drop_what_has_no_use() {
        let given =
            json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 31_000, "loadBalancerClass": "a/b"});
        let old = balanced(given);
        let cases: &[(Value, &[&str])] = &[
            (balanced(json!({"externalTrafficPolicy": "Local", "loadBalancerClass": "a/b"})), &[]),
            (
                balanced(
                    json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 31_001, "loadBalancerClass": "a/c"}),
                ),
                &[
                    r#"spec.loadBalancerClass: Invalid value: "a/c": may not change once set"#,
                    "spec.healthCheckNodePort: Forbidden: field is immutable",
                ],
            ),
            (
                service(json!({"type": "ClusterIP", "ports": [{"port": 80}], "externalTrafficPolicy": "Local",
                    "healthCheckNodePort": 31_000, "loadBalancerClass": "a/b", "allocateLoadBalancerNodePorts": true})),
                &[],
            ),
            (
                service(json!({"type": "ClusterIP", "ports": [{"port": 80}], "healthCheckNodePort": 31_001})),
                &[
                    "spec.healthCheckNodePort: Invalid value: 31001: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                ],
            ),
        ];
        for (new, expected) in cases {
            assert_eq!(&told_of_update(&KIND, &old, new, ""), expected, "{new}");
        }
    }

    #[test]
    fn what_becomes_a_name_lets_its_addresses_go() {
        let headless = service(json!({"clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": ["IPv4"]}));
        // A client that knows of one address only repeats that one.
        let named = service(json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "None"}));
        assert_eq!(told_of_update(&KIND, &headless, &named, ""), [""; 0]);
        let policy = |policy: &str| {
            let spec = json!({"type": "ExternalName", "externalName": "a.b", "internalTrafficPolicy": policy});
            created(&KIND, &service(spec))["spec"]["internalTrafficPolicy"].clone()
        };
        assert_eq!((policy("Cluster"), policy("Any")), (Value::Null, json!("Any")), "what is wrong is refused later");
    }

    #[test]
    fn what_load_balancers_report_is_judged() {
        let with = |kind: &str, ingress: Value| json!({"metadata": {"name": "a"}, "spec": {"type": kind}, "status": {"loadBalancer": {"ingress": [ingress]}}});
        let cases: &[(Value, &[&str])] = &[
            (with("LoadBalancer", json!({"ip": "1.2.3.4"})), &[]),
            (
                with("ClusterIP", json!({"ip": "1.2.3.4"})),
                &["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"],
            ),
            (
                with("LoadBalancer", json!({"hostname": "1.2.3.4", "ipMode": "VIP"})),
                &[
                    "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set",
                    r#"status.loadBalancer.ingress[0].hostname: Invalid value: "1.2.3.4": must be a DNS name, not an IP address"#,
                ],
            ),
        ];
        for (new, expected) in cases {
            let old = json!({"metadata": {"name": "a"}, "spec": {"type": new["spec"]["type"]}});
            assert_eq!(&told_of_update(&KIND, &old, new, "status"), expected, "{new}");
        }
    }

    #[test]
    fn warnings_are_told_in_upstreams_words() {
        let context = crate::Context { minor: 34, now: world::Timestamp::from_seconds(0), old: None, subresource: "" };
        let cases: &[(Value, &[&str])] = &[
            (service(json!({"type": "ClusterIP", "clusterIP": "172.20.0.9", "clusterIPs": ["172.20.0.9"]})), &[]),
            (
                service(
                    json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "None"}),
                ),
                &["spec.SessionAffinity is ignored for headless services"],
            ),
            (
                service(json!({"type": "ClusterIP", "externalName": "a.b"})),
                &[r#"spec.externalName is ignored when spec.type is not "ExternalName""#],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(&super::warnings(object, &context), expected, "{object}");
        }
    }
}
