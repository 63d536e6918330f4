//! Endpoints: the addresses behind a Service in their old form.

use k8s_object::Cause;
use serde_json::Value;

use super::endpoint_rules;
use crate::addresses::{endpoint_ip, legacy_ip};
use crate::causes::{invalid, required};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{int, items, text};
use crate::names::{label, port_number};
use crate::{Context, Deprecation, Kind};

pub(crate) static KIND: Kind = Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    deprecated: Some(Deprecation { since: 33, replacement: "discovery.k8s.io/v1 EndpointSlice" }),
    type_name: "io.k8s.api.core.v1.Endpoints",
    columns: &[
        NAME,
        Column::text("Endpoints", "Addresses and ports that are ready.", |object, _| endpoints(object).into()),
        AGE,
    ],
    default,
    validate,
    warnings,
    creates_on_update: true,
    ..Kind::BASE
};

fn default(object: &mut Value, _: &Context<'_>) {
    for subset in crate::fields::items_mut(object, "subsets") {
        for port in crate::fields::items_mut(subset, "ports") {
            crate::fields::default_zero_to(port, "protocol", "TCP");
        }
    }
}

/// The two lists of addresses of a subset.
const LISTS: [&str; 2] = ["addresses", "notReadyAddresses"];

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let subsets = items(object, "subsets");
    // What was there before there were these rules stays as it is.
    if context.old.is_some_and(|old| items(old, "subsets") == subsets) {
        return Vec::new();
    }
    let mut causes = Vec::new();
    for (index, subset) in subsets.iter().enumerate() {
        let field = format!("subsets[{index}]");
        if LISTS.iter().all(|list| items(subset, list).is_empty()) {
            causes.push(required(&*field, "must specify `addresses` or `notReadyAddresses`"));
        }
        for list in LISTS {
            for (index, one) in items(subset, list).iter().enumerate() {
                causes.extend(address(one, &format!("{field}.{list}[{index}]"), context.minor));
            }
        }
        let ports = items(subset, "ports");
        for (index, one) in ports.iter().enumerate() {
            causes.extend(port(one, ports.len() > 1, &format!("{field}.ports[{index}]")));
        }
    }
    causes
}

fn address(address: &Value, field: &str, minor: u8) -> Vec<Cause> {
    let (ip, ip_field) = (text(address, "ip"), format!("{field}.ip"));
    let mut causes: Vec<Cause> = legacy_ip(&ip_field, ip, &[], minor).into_iter().collect();
    let (node, host) = endpoint_rules::place(address, field);
    // An empty host name is none; an empty node name is a wrong one.
    causes.extend(host.into_iter().filter(|_| !text(address, "hostname").is_empty()));
    causes.extend(node);
    causes.extend(endpoint_ip(&ip_field, ip));
    causes
}

fn port(port: &Value, needs_name: bool, field: &str) -> Vec<Cause> {
    let (name, name_field) = (text(port, "name"), format!("{field}.name"));
    let mut causes = Vec::new();
    if !name.is_empty() {
        causes.extend(label(name, false).iter().map(|problem| invalid(&*name_field, name, problem)));
    } else if needs_name {
        causes.push(required(name_field, ""));
    }
    let number = int(port, "port");
    causes.extend(port_number(number).iter().map(|problem| invalid(format!("{field}.port"), number, problem)));
    causes.extend(endpoint_rules::protocols(port, field));
    causes
}

fn warnings(object: &Value, _: &Context<'_>) -> Vec<String> {
    let subsets = items(object, "subsets").iter().enumerate();
    let addresses = subsets.flat_map(|(subset, value)| {
        LISTS.iter().flat_map(move |list| {
            let all = items(value, list).iter().enumerate();
            all.map(move |(index, address)| (format!("subsets[{subset}].{list}[{index}].ip"), text(address, "ip")))
        })
    });
    endpoint_rules::warnings(object, "endpoints.kubernetes.io/managed-by", &["endpoint-controller"], addresses)
}

/// The first three pairs of address and port, and how many more there are.
fn endpoints(object: &Value) -> String {
    const SHOWN: usize = 3;
    let mut pairs = Vec::new();
    for subset in items(object, "subsets") {
        for address in items(subset, "addresses") {
            let ip = text(address, "ip");
            let ports = items(subset, "ports");
            if ports.is_empty() {
                pairs.push(ip.to_owned());
            }
            pairs.extend(ports.iter().map(|port| format!("{ip}:{}", port["port"])));
        }
    }
    let more = pairs.len().saturating_sub(SHOWN);
    let shown = pairs[..pairs.len() - more].join(",");
    match (shown.is_empty(), more) {
        (true, _) => "<none>".to_owned(),
        (false, 0) => shown,
        (false, more) => format!("{shown} + {more} more..."),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{told, told_of_update};

    #[test]
    fn subsets_are_judged_as_upstream_judges_them() {
        let ready = json!([{"ip": "10.0.0.1"}]);
        let cases = [
            (json!({"addresses": ready, "ports": [{"port": 80}]}), vec![]),
            (json!({"addresses": [{"ip": "10.0.0.1", "hostname": ""}]}), vec![]),
            (
                json!({"ports": [{"port": 80}]}),
                vec!["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
            ),
            (
                json!({"addresses": ready, "ports": [{"port": 0, "name": "a"}, {"port": 80, "protocol": "IP"}]}),
                vec![
                    "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                    "subsets[0].ports[1].name: Required value",
                    r#"subsets[0].ports[1].protocol: Unsupported value: "IP": supported values: "SCTP", "TCP", "UDP""#,
                ],
            ),
            (
                json!({"notReadyAddresses": [{"ip": "127.0.0.1"}]}),
                vec![
                    r#"subsets[0].notReadyAddresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
                ],
            ),
        ];
        for (subset, expected) in cases {
            assert_eq!(told(&KIND, &json!({"subsets": [subset]})), expected, "{subset}");
        }
        let wrong = json!({"subsets": [{"addresses": [{"ip": "192.0.2.300", "nodeName": "A", "hostname": "a.b"}]}]});
        let told = told(&KIND, &wrong);
        let fields: Vec<&str> = told.iter().filter_map(|line| line.split(':').next()).collect();
        let of = |name: &str| format!("subsets[0].addresses[0].{name}");
        assert_eq!(fields, [of("ip"), of("hostname"), of("nodeName"), of("ip")]);
        assert!(told_of_update(&KIND, &wrong, &wrong, "").is_empty(), "what was there stays");
        let more = json!({"subsets": [wrong["subsets"][0], {"addresses": ready}]});
        assert_eq!(told_of_update(&KIND, &wrong, &more, "").len(), 4);
    }

    #[test]
    fn forms_of_addresses_that_are_on_their_way_out_are_warned_of() {
        let context = Context { minor: 34, now: world::Timestamp::from_seconds(0), old: None, subresource: "" };
        let mut object = json!({"metadata": {"labels": {}}, "subsets": [{"addresses": [{"ip": "010.0.0.1"}]}]});
        let told = warnings(&object, &context);
        assert!(told.len() == 1 && told[0].starts_with("subsets[0].addresses[0].ip: non-standard IP"), "{told:?}");
        object["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"] = json!("endpoint-controller");
        assert!(warnings(&object, &context).is_empty());
    }
}
