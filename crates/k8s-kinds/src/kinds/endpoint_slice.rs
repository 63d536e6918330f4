//! EndpointSlice: some of the addresses behind a Service.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{duplicate, immutable, invalid, not_supported, required, too_many};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, default_to, items, items_mut, text};
use crate::names::label;
use crate::{Context, Kind};

/// Upstream's limits of one slice.
const ENDPOINTS_LIMIT: usize = 1000;
const ADDRESSES_LIMIT: usize = 100;
const PORTS_LIMIT: usize = 20_000;

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
    default: |object, _| {
        for port in items_mut(object, "ports") {
            default_to(port, "name", "");
            default_to(port, "protocol", "TCP");
        }
    },
    validate,
    ..Kind::BASE
};

fn first_three(all: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let all: Vec<String> = all.collect();
    match all.len() {
        0 => "<unset>".to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
        _ => all.join(","),
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
    let mut causes = Vec::new();
    let kind = text(object, "addressType");
    match kind {
        "" => causes.push(required("addressType", "")),
        _ if !TYPES.contains(&kind) => causes.push(not_supported("addressType", kind, &TYPES)),
        _ => {}
    }
    if let Some(old) = context.old
        && at(old, "addressType") != at(object, "addressType")
    {
        causes.push(immutable("addressType", at(object, "addressType")));
    }
    let endpoints = items(object, "endpoints");
    if endpoints.len() > ENDPOINTS_LIMIT {
        causes.push(too_many("endpoints", endpoints.len(), ENDPOINTS_LIMIT));
        return causes;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let field = format!("endpoints[{index}].addresses");
        let addresses = items(endpoint, "addresses");
        match addresses.len() {
            0 => causes.push(required(&field, "must contain at least 1 address")),
            count if count > ADDRESSES_LIMIT => causes.push(too_many(&field, count, ADDRESSES_LIMIT)),
            _ => {}
        }
        for (at, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
            let (valid, detail) = match kind {
                "IPv4" => (address.parse::<std::net::Ipv4Addr>().is_ok(), "must be a valid IPv4 address"),
                "IPv6" => (address.parse::<std::net::Ipv6Addr>().is_ok(), "must be a valid IPv6 address"),
                _ => (true, ""),
            };
            if !valid {
                causes.push(invalid(format!("{field}[{at}]"), address, detail));
            }
        }
    }
    causes.extend(ports(items(object, "ports")));
    causes
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
        let protocol = text(port, "protocol");
        if !matches!(protocol, "SCTP" | "TCP" | "UDP") {
            causes.push(not_supported(format!("{field}.protocol"), protocol, &["SCTP", "TCP", "UDP"]));
        }
    }
    causes
}
