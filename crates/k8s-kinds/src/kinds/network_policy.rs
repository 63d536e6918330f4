//! NetworkPolicy: which pods may talk with which.

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::addresses::{Cidr, cidr_warnings, legacy_cidr};
use crate::causes::{forbidden, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME, label_selector as selector_text};
use crate::fields::{at, child, default_to, is_empty, items, items_mut, text};
use crate::names::{label_selector, port_name, port_number};
use crate::{Context, Kind};

/// Rules and the peers in them.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

pub(crate) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    type_name: "io.k8s.api.networking.v1.NetworkPolicy",
    columns: &[
        NAME,
        Column::text("Pod-Selector", "The pods to which it applies.", |object, _| {
            selector_text(at(object, "spec.podSelector")).into()
        }),
        AGE,
    ],
    has_generation: true,
    default,
    validate,
    warnings,
    ..Kind::BASE
};

fn default(object: &mut Value, _: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    for (rules, _) in DIRECTIONS {
        for port in items_mut(spec, rules).flat_map(|rule| items_mut(rule, "ports")) {
            default_to(port, "protocol", "TCP");
        }
    }
    if is_empty(at(spec, "policyTypes")) {
        let egress = !items(spec, "egress").is_empty();
        let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("policyTypes".to_owned(), types);
        }
    }
}

/// Every block of addresses and its path.
fn blocks(object: &Value) -> impl Iterator<Item = (String, &Value)> {
    DIRECTIONS.into_iter().flat_map(move |(rules, peers)| {
        items(object, &format!("spec.{rules}")).iter().enumerate().flat_map(move |(rule_index, rule)| {
            items(rule, peers).iter().enumerate().filter_map(move |(index, peer)| {
                let block = at(peer, "ipBlock");
                (!block.is_null()).then(|| (format!("spec.{rules}[{rule_index}].{peers}[{index}].ipBlock"), block))
            })
        })
    })
}

fn warnings(object: &Value, _: &Context<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (field, block) in blocks(object) {
        warnings.extend(cidr_warnings(&format!("{field}.cidr"), text(block, "cidr")));
        for (index, except) in items(block, "except").iter().filter_map(Value::as_str).enumerate() {
            warnings.extend(cidr_warnings(&format!("{field}.except[{index}]"), except));
        }
    }
    warnings
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    const TYPES: [&str; 2] = ["Ingress", "Egress"];
    let before: Vec<&str> = context
        .old
        .into_iter()
        .flat_map(blocks)
        .flat_map(|(_, block)| std::iter::once(at(block, "cidr")).chain(items(block, "except")))
        .filter_map(Value::as_str)
        .collect();
    let spec = &object["spec"];
    let mut causes = label_selector(at(spec, "podSelector"), "spec.podSelector");
    for (rules, peers) in DIRECTIONS {
        for (index, rule) in items(spec, rules).iter().enumerate() {
            let field = format!("spec.{rules}[{index}]");
            for (index, port) in items(rule, "ports").iter().enumerate() {
                causes.extend(validate_port(port, &format!("{field}.ports[{index}]")));
            }
            for (index, peer) in items(rule, peers).iter().enumerate() {
                causes.extend(validate_peer(peer, &format!("{field}.{peers}[{index}]"), &before, context.minor));
            }
        }
    }
    let types = items(spec, "policyTypes");
    if types.len() > TYPES.len() {
        let value = at(spec, "policyTypes").clone();
        causes.push(invalid("spec.policyTypes", value, "may not specify more than two policyTypes"));
        return causes;
    }
    for (index, kind) in types.iter().filter_map(Value::as_str).enumerate() {
        if !TYPES.contains(&kind) {
            causes.push(not_supported(format!("spec.policyTypes[{index}]"), kind, &TYPES));
        }
    }
    causes
}

fn validate_port(entry: &Value, field: &str) -> Vec<Cause> {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    let mut causes = Vec::new();
    if let Some(protocol) = at(entry, "protocol").as_str()
        && !PROTOCOLS.contains(&protocol)
    {
        causes.push(not_supported(format!("{field}.protocol"), protocol, &PROTOCOLS));
    }
    let (port_field, end_field) = (format!("{field}.port"), format!("{field}.endPort"));
    let end = at(entry, "endPort").as_i64();
    match (at(entry, "port"), end) {
        (Value::Null, Some(end)) => {
            causes.push(invalid(end_field, end, "may not be specified when `port` is not specified"));
        }
        (Value::Null, None) => {}
        (Value::String(name), end) => {
            if let Some(end) = end {
                causes.push(invalid(end_field, end, "may not be specified when `port` is non-numeric"));
            }
            causes.extend(port_name(name).iter().map(|problem| invalid(&port_field, name.as_str(), problem)));
        }
        (number, end) => {
            let port = number.as_i64().unwrap_or_default();
            causes.extend(port_number(port).iter().map(|problem| invalid(&port_field, port, problem)));
            if let Some(end) = end {
                if end < port {
                    causes.push(invalid(&end_field, port, "must be greater than or equal to `port`"));
                }
                causes.extend(port_number(end).iter().map(|problem| invalid(&end_field, end, problem)));
            }
        }
    }
    causes
}

fn validate_peer(peer: &Value, field: &str, before: &[&str], minor: u8) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut peers = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if !at(peer, key).is_null() {
            peers += 1;
            causes.extend(label_selector(at(peer, key), &format!("{field}.{key}")));
        }
    }
    let block = at(peer, "ipBlock");
    if !block.is_null() {
        peers += 1;
        causes.extend(validate_block(block, &format!("{field}.ipBlock"), before, minor));
    }
    if peers == 0 {
        causes.push(required(field, "must specify a peer"));
    } else if peers > 1 && !block.is_null() {
        causes.push(forbidden(field, "may not specify both ipBlock and another peer"));
    }
    causes
}

fn validate_block(block: &Value, field: &str, before: &[&str], minor: u8) -> Vec<Cause> {
    let cidr = text(block, "cidr");
    if cidr.is_empty() {
        return vec![required(format!("{field}.cidr"), "")];
    }
    let mut causes: Vec<Cause> = legacy_cidr(&format!("{field}.cidr"), cidr, before, minor).into_iter().collect();
    let Some(whole) = Cidr::parse_lenient(cidr) else { return causes };
    for (index, except) in items(block, "except").iter().filter_map(Value::as_str).enumerate() {
        let field = format!("{field}.except[{index}]");
        causes.extend(legacy_cidr(&field, except, before, minor));
        if Cidr::parse_lenient(except).is_some_and(|part| !whole.contains_strictly(part)) {
            causes.push(invalid(field, except, "must be a strict subset of `cidr`"));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{created, told, told_of_update};

    #[test]
    fn rules_are_judged() {
        let ingress = |rule: Value| json!({"spec": {"podSelector": {}, "ingress": [rule]}});
        let cases = [
            (json!({"spec": {"podSelector": {}}}), vec![]),
            (ingress(json!({"from": [{"podSelector": {}, "namespaceSelector": {}}], "ports": [{"port": 80}]})), vec![]),
            (ingress(json!({"from": [{}]})), vec!["spec.ingress[0].from[0]: Required value: must specify a peer"]),
            (
                ingress(json!({"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]})),
                vec!["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"],
            ),
            (
                ingress(
                    json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8", "10.1.0.0/16"]}}]}),
                ),
                vec![
                    r#"spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`"#,
                ],
            ),
            (
                ingress(
                    json!({"ports": [{"port": 80, "endPort": 79}, {"port": "a", "endPort": 1}, {"endPort": 3, "protocol": "X"}]}),
                ),
                vec![
                    "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`",
                    "spec.ingress[0].ports[1].endPort: Invalid value: 1: may not be specified when `port` is non-numeric",
                    r#"spec.ingress[0].ports[2].protocol: Unsupported value: "X": supported values: "TCP", "UDP", "SCTP""#,
                    "spec.ingress[0].ports[2].endPort: Invalid value: 3: may not be specified when `port` is not specified",
                ],
            ),
            (
                json!({"spec": {"policyTypes": ["Other"]}}),
                vec![r#"spec.policyTypes[0]: Unsupported value: "Other": supported values: "Ingress", "Egress""#],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
    }

    #[test]
    fn a_bad_block_may_stay_where_it_is() {
        let with = |cidr: &str| json!({"spec": {"egress": [{"to": [{"ipBlock": {"cidr": cidr}}]}]}});
        assert!(told_of_update(&KIND, &with("x"), &with("x"), "").is_empty());
        assert_eq!(told_of_update(&KIND, &with("x"), &with("y"), "").len(), 1);
    }

    #[test]
    fn types_follow_from_the_rules() {
        let made = created(&KIND, &json!({"spec": {"egress": [{"ports": [{"port": 1}]}]}}));
        assert_eq!(made["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(made["spec"]["egress"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(created(&KIND, &json!({"spec": {}}))["spec"]["policyTypes"], json!(["Ingress"]));
    }
}
