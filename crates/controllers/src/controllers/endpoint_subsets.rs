//! The canonical layout of an Endpoints' subsets: every set of addresses once, with all ports that lead to it, sorted.
//!
//! Upstream sorts subsets and ports by a hash of their Go structs; here they stand in the order of their JSON.

use std::collections::BTreeMap;

use k8s_object::views::EndpointSubset;
use serde_json::Value;

use crate::json::normal;

/// What makes two addresses one: the IP, and the uid of what has it.
pub(super) type AddressKey = (String, String);

/// The key of an entry of `addresses`.
pub(super) fn key(address: &Value) -> AddressKey {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&address["ip"]), text(&address["targetRef"]["uid"]))
}

/// Packs subsets anew. An address that is not ready in one subset and ready in another, for one port, is not ready.
pub(super) fn repack(subsets: &[EndpointSubset]) -> Vec<EndpointSubset> {
    let mut addresses: BTreeMap<AddressKey, &Value> = BTreeMap::new();
    // By port (none: an entry without ports), the addresses and whether they are ready.
    let mut by_port: BTreeMap<Option<String>, BTreeMap<AddressKey, bool>> = BTreeMap::new();
    for subset in subsets {
        let ports: Vec<Option<String>> = match subset.ports.is_empty() {
            true => vec![None],
            false => subset.ports.iter().map(|port| Some(normal(port).to_string())).collect(),
        };
        let entries = subset.addresses.iter().map(|address| (address, true));
        let entries = entries.chain(subset.not_ready_addresses.iter().map(|address| (address, false)));
        for (address, ready) in entries {
            let key = key(address);
            addresses.entry(key.clone()).or_insert(address);
            for port in &ports {
                let known = by_port.entry(port.clone()).or_default().entry(key.clone()).or_insert(ready);
                *known &= ready;
            }
        }
    }
    let mut ports_of: BTreeMap<BTreeMap<AddressKey, bool>, Vec<Value>> = BTreeMap::new();
    for (port, addresses) in by_port {
        let ports = ports_of.entry(addresses).or_default();
        ports.extend(port.map(|port| serde_json::from_str(&port).expect("it was JSON when it was made")));
    }
    let subsets = ports_of.into_iter().map(|(members, ports)| {
        let of = |wanted: bool| {
            let members = members.iter().filter(|(_, ready)| **ready == wanted);
            members.map(|(key, _)| addresses[key].clone()).collect()
        };
        EndpointSubset { addresses: of(true), not_ready_addresses: of(false), ports }
    });
    subsets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn subset(ready: &[&str], not_ready: &[&str], ports: &[u16]) -> EndpointSubset {
        let addresses = |ips: &[&str]| ips.iter().map(|ip| json!({"ip": ip})).collect();
        EndpointSubset {
            addresses: addresses(ready),
            not_ready_addresses: addresses(not_ready),
            ports: ports.iter().map(|port| json!({"port": port})).collect(),
        }
    }

    #[test]
    fn addresses_with_the_same_ports_are_one_subset() {
        let cases = [
            ("nothing", vec![], vec![]),
            (
                "ports of one address",
                vec![subset(&["1"], &[], &[80]), subset(&["1"], &[], &[90])],
                vec![subset(&["1"], &[], &[80, 90])],
            ),
            (
                "addresses of one port",
                vec![subset(&["2"], &[], &[80]), subset(&["1"], &["3"], &[80])],
                vec![subset(&["1", "2"], &["3"], &[80])],
            ),
            (
                "not ready wins",
                vec![subset(&["1"], &[], &[80]), subset(&[], &["1"], &[80])],
                vec![subset(&[], &["1"], &[80])],
            ),
            (
                "ready for one port only",
                vec![subset(&["1"], &[], &[80]), subset(&[], &["1"], &[90])],
                vec![subset(&[], &["1"], &[90]), subset(&["1"], &[], &[80])],
            ),
            ("without ports", vec![subset(&["1"], &[], &[])], vec![subset(&["1"], &[], &[])]),
        ];
        for (name, subsets, packed) in cases {
            assert_eq!(repack(&subsets), packed, "{name}");
        }
    }
}
