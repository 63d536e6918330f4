//! EndpointSlice: some of the addresses behind a Service.

use k8s_object::Cause;
use serde_json::Value;

use super::endpoint_rules;
use crate::addresses::{endpoint_ip, legacy_ip, parse_lenient, strict_ip_problem};
use crate::causes::{duplicate, immutable, invalid, not_supported, required, too_many};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, default_to, items, items_mut, text};
use crate::names::{self, label};
use crate::strategy::changes_beyond_status;
use crate::{Context, Kind};

/// Upstream's limits of one slice.
const ENDPOINTS_LIMIT: usize = 1000;
const ADDRESSES_LIMIT: usize = 100;
const PORTS_LIMIT: usize = 20_000;
const TOPOLOGY_LIMIT: usize = 16;

pub(crate) static KIND: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    type_name: "io.k8s.api.discovery.v1.EndpointSlice",
    columns: &[
        NAME,
        Column::text("AddressType", "What the addresses are.", |object, _| text(object, "addressType").into()),
        Column::text("Ports", "Ports of every endpoint.", |object, _| {
            first_three(items(object, "ports").iter().map(|port| match (&port["port"], text(port, "name")) {
                (Value::Number(number), _) => number.to_string(),
                (_, "") => "*".to_owned(),
                (_, name) => name.to_owned(),
            }))
            .into()
        }),
        Column::text("Endpoints", "Addresses of the endpoints.", |object, _| {
            let addresses = items(object, "endpoints").iter().flat_map(|endpoint| items(endpoint, "addresses"));
            first_three(addresses.filter_map(Value::as_str).map(str::to_owned)).into()
        }),
        AGE,
    ],
    has_generation: true,
    counts_as_change: |old, new| {
        changes_beyond_status(old, new) || at(old, "metadata.labels") != at(new, "metadata.labels")
    },
    prepare_create: drop_topology,
    prepare_update: drop_topology,
    default: |object, _| {
        for port in items_mut(object, "ports") {
            default_to(port, "name", "");
            default_to(port, "protocol", "TCP");
        }
    },
    validate,
    warnings,
    ..Kind::BASE
};

/// The first version of the API had a map of labels where there are a node and a zone now; it is not written any more.
fn drop_topology(object: &mut Value, _: &Context<'_>) {
    for endpoint in items_mut(object, "endpoints").filter_map(Value::as_object_mut) {
        endpoint.remove("deprecatedTopology");
    }
}

fn first_three(all: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let all: Vec<String> = all.collect();
    match all.len() {
        0 => "<unset>".to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
        _ => all.join(","),
    }
}

const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let kind = text(object, "addressType");
    match kind {
        "" => causes.push(required("addressType", "")),
        _ if !TYPES.contains(&kind) => causes.push(not_supported("addressType", kind, &TYPES)),
        _ => {}
    }
    causes.extend(ports(items(object, "ports")));
    let all = items(object, "endpoints");
    // What was there before there were these rules stays as it is.
    if context.old.is_none_or(|old| items(old, "endpoints") != all) {
        causes.extend(endpoints(all, kind, context.minor));
    }
    if let Some(old) = context.old
        && at(old, "addressType") != at(object, "addressType")
    {
        causes.push(immutable("addressType", at(object, "addressType")));
    }
    causes
}

fn endpoints(endpoints: &[Value], kind: &str, minor: u8) -> Vec<Cause> {
    if endpoints.len() > ENDPOINTS_LIMIT {
        return vec![too_many("endpoints", endpoints.len(), ENDPOINTS_LIMIT)];
    }
    let mut causes = Vec::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let of_endpoint = format!("endpoints[{index}]");
        let field = format!("{of_endpoint}.addresses");
        let addresses = items(endpoint, "addresses");
        match addresses.len() {
            0 => causes.push(required(&*field, "must contain at least 1 address")),
            count if count > ADDRESSES_LIMIT => causes.push(too_many(&*field, count, ADDRESSES_LIMIT)),
            _ => {}
        }
        for (at, text) in addresses.iter().filter_map(Value::as_str).enumerate() {
            causes.extend(address(&field, at, text, kind, minor));
        }
        let (node, host) = endpoint_rules::place(endpoint, &of_endpoint);
        causes.extend(node);
        let topology = format!("{of_endpoint}.deprecatedTopology");
        let labels = &endpoint["deprecatedTopology"];
        let count = labels.as_object().map_or(0, serde_json::Map::len);
        if count > TOPOLOGY_LIMIT {
            causes.push(too_many(&*topology, count, TOPOLOGY_LIMIT));
        }
        causes.extend(names::labels(labels, &topology));
        causes.extend(host);
        causes.extend(endpoint_rules::hints(&endpoint["hints"], &format!("{of_endpoint}.hints")));
    }
    causes
}

fn address(field: &str, index: usize, text: &str, kind: &str, minor: u8) -> Vec<Cause> {
    let own = format!("{field}[{index}]");
    let form = match kind {
        "IPv4" => legacy_ip(&own, text, &[], minor),
        "IPv6" => strict_ip_problem(text).map(|problem| invalid(&*own, text, &problem)),
        "FQDN" => return fully_qualified(&own, text),
        _ => return Vec::new(),
    };
    if let Some(cause) = form {
        return vec![cause];
    }
    let mut causes = Vec::new();
    if parse_lenient(text).is_some_and(|address| address.is_ipv4() != (kind == "IPv4")) {
        causes.push(invalid(field, text, &format!("must be an {kind} address")));
    }
    causes.extend(endpoint_ip(&own, text));
    causes
}

/// A name of a host with at least one dot (apimachinery `IsFullyQualifiedDomainName`).
fn fully_qualified(field: &str, name: &str) -> Vec<Cause> {
    if name.is_empty() {
        return vec![required(field, "")];
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let problems = names::subdomain(name, false);
    if !problems.is_empty() {
        return vec![invalid(field, name, &problems.join(","))];
    }
    if !name.contains('.') {
        return vec![invalid(field, name, "should be a domain with at least two segments separated by dots")];
    }
    for part in name.split('.') {
        let problems = label(part, false);
        if !problems.is_empty() {
            return vec![invalid(field, part, &problems.join(","))];
        }
    }
    Vec::new()
}

fn ports(ports: &[Value]) -> Vec<Cause> {
    let mut causes = Vec::new();
    if ports.len() > PORTS_LIMIT {
        return vec![too_many("ports", ports.len(), PORTS_LIMIT)];
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = format!("ports[{index}]");
        let name = text(port, "name");
        if !name.is_empty() {
            let problems = label(name, false);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.name"), name, problem)));
        }
        if !seen.insert(name) {
            causes.push(duplicate(format!("{field}.name"), name));
        }
        causes.extend(endpoint_rules::protocols(port, &field));
    }
    causes
}

fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    const CONTROLLERS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
    let mut warnings = Vec::new();
    if context.old.is_none() && text(object, "addressType") == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    let addresses = items(object, "endpoints").iter().enumerate().flat_map(|(endpoint, value)| {
        let all = items(value, "addresses").iter().enumerate();
        all.filter_map(move |(index, address)| {
            Some((format!("endpoints[{endpoint}].addresses[{index}]"), address.as_str()?))
        })
    });
    warnings.extend(endpoint_rules::warnings(
        object,
        "endpointslice.kubernetes.io/managed-by",
        &CONTROLLERS,
        addresses,
    ));
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{told, told_of_update};

    #[test]
    fn endpoints_are_judged_as_upstream_judges_them() {
        let many: Vec<Value> = (0..9).map(|zone| json!({"name": zone.to_string()})).collect();
        let cases = [
            ("IPv4", json!({"addresses": ["10.0.0.1"], "hostname": "a", "nodeName": "a.b"}), vec![]),
            ("FQDN", json!({"addresses": ["a.example."]}), vec![]),
            ("IPv6", json!({"addresses": ["2001:db8::1"]}), vec![]),
            (
                "IPv6",
                json!({"addresses": ["10.0.0.1"]}),
                vec![r#"endpoints[0].addresses: Invalid value: "10.0.0.1": must be an IPv6 address"#],
            ),
            (
                "IPv6",
                json!({"addresses": ["2001:DB8::1"]}),
                vec![
                    r#"endpoints[0].addresses[0]: Invalid value: "2001:DB8::1": must be in canonical form ("2001:db8::1")"#,
                ],
            ),
            (
                "IPv4",
                json!({"addresses": ["0.0.0.0"]}),
                vec![r#"endpoints[0].addresses[0]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)"#],
            ),
            (
                "FQDN",
                json!({"addresses": ["a", ""]}),
                vec![
                    r#"endpoints[0].addresses[0]: Invalid value: "a": should be a domain with at least two segments separated by dots"#,
                    "endpoints[0].addresses[1]: Required value",
                ],
            ),
            (
                "IPv4",
                json!({"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "a"}, {"name": "a"}]}}),
                vec![r#"endpoints[0].hints.forZones[1].name: Duplicate value: "a""#],
            ),
            (
                "IPv4",
                json!({"addresses": ["10.0.0.1"], "hints": {"forZones": many}}),
                vec!["endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"],
            ),
        ];
        for (kind, endpoint, expected) in cases {
            let object = json!({"addressType": kind, "endpoints": [endpoint]});
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
        let wrong = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["300.0.0.1"]}]});
        assert_eq!(told(&KIND, &wrong).len(), 1);
        assert!(told_of_update(&KIND, &wrong, &wrong, "").is_empty(), "what was there stays");
        let port = json!({"addressType": "IPv4", "ports": [{"port": 80, "appProtocol": "a b"}]});
        assert!(told(&KIND, &port)[0].starts_with("ports[0].appProtocol: Invalid value"));
    }
}
