//! What the two forms of the addresses behind a Service have in common: Endpoints and EndpointSlices (core
//! `ValidateEndpoints`, discovery `ValidateEndpointSlice`).

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use crate::addresses::ip_warnings;
use crate::causes::{duplicate, invalid, not_supported, required, too_many};
use crate::fields::{items, text};
use crate::names::{Rule, label, label_value, qualified, subdomain};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// Zones, and nodes, that one endpoint may be meant for.
const HINTS_LIMIT: usize = 8;

/// A text that a rule of names has to allow; one that is absent is allowed.
fn named(value: &Value, field: &str, rule: Rule) -> Vec<Cause> {
    let Some(text) = value.as_str() else { return Vec::new() };
    rule(text, false).iter().map(|problem| invalid(field, text, problem)).collect()
}

/// The node and the host name of an endpoint.
pub(super) fn place(endpoint: &Value, field: &str) -> (Vec<Cause>, Vec<Cause>) {
    let node = named(&endpoint["nodeName"], &format!("{field}.nodeName"), subdomain);
    (node, named(&endpoint["hostname"], &format!("{field}.hostname"), label))
}

/// The protocol of a port, and that of the application on it.
pub(super) fn protocols(port: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    match port["protocol"].as_str() {
        None => causes.push(required(format!("{field}.protocol"), "")),
        Some(protocol) if !PROTOCOLS.contains(&protocol) => {
            causes.push(not_supported(format!("{field}.protocol"), protocol, &PROTOCOLS));
        }
        _ => {}
    }
    causes.extend(named(&port["appProtocol"], &format!("{field}.appProtocol"), |name, _| qualified(name)));
    causes
}

/// Whom an endpoint is meant for.
pub(super) fn hints(hints: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let lists: [(&str, Rule); 2] = [("forZones", |zone, _| label_value(zone)), ("forNodes", subdomain)];
    for (list, rule) in lists {
        let field = format!("{field}.{list}");
        let all = items(hints, list);
        if all.len() > HINTS_LIMIT {
            causes.push(too_many(field, all.len(), HINTS_LIMIT));
            return causes;
        }
        let mut seen = BTreeSet::new();
        for (index, hint) in all.iter().enumerate() {
            let (field, name) = (format!("{field}[{index}].name"), text(hint, "name"));
            if !seen.insert(name) {
                causes.push(duplicate(&*field, name));
            }
            causes.extend(rule(name, false).iter().map(|problem| invalid(&*field, name, problem)));
        }
    }
    causes
}

/// Warns of addresses in a form that is on its way out, unless a controller wrote them that puts them right.
pub(super) fn warnings<'a>(
    object: &Value,
    label: &str,
    controllers: &[&str],
    addresses: impl Iterator<Item = (String, &'a str)>,
) -> Vec<String> {
    if object["metadata"]["labels"][label].as_str().is_some_and(|own| controllers.contains(&own)) {
        return Vec::new();
    }
    addresses.filter_map(|(field, address)| ip_warnings(&field, address)).collect()
}
