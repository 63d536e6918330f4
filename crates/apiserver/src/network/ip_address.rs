//! IPAddresses: that one is there is the claim to its address. Those of Services are written and removed with them.

use std::net::Ipv4Addr;

use bytes::Bytes;
use k8s_object::{NamespacedName, Object};
use serde_json::{Value, json};
use world::World;

use crate::core::Core;
use crate::storage;

pub(super) const GROUP: &str = "networking.k8s.io";
pub(super) const PLURAL: &str = "ipaddresses";

/// Where the IPAddress is stored.
pub(super) fn key(address: Ipv4Addr) -> Bytes {
    storage::key(GROUP, PLURAL, &NamespacedName::new("", address.to_string()))
}

/// A new IPAddress of a Service, as it is stored.
pub(super) fn object(address: Ipv4Addr, service: &NamespacedName, world: &World) -> Bytes {
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(), "uid": world.uuid(), "creationTimestamp": world.now().to_string(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {"resource": "services", "namespace": service.namespace, "name": service.name}},
    });
    k8s_object::encode(&object).into()
}

/// Whether the address is that of a Service.
pub(super) fn belongs_to(address: &Object, service: &NamespacedName) -> bool {
    let value = address.value();
    let parent = &value["spec"]["parentRef"];
    let text = |key: &str| parent[key].as_str().unwrap_or_default();
    (text("group"), text("resource"), text("namespace"), text("name"))
        == ("", "services", service.namespace.as_str(), service.name.as_str())
}

/// Keys and values of the IPAddresses that Services from before there were any should have.
pub(crate) fn missing(core: &Core) -> Vec<(Bytes, Bytes)> {
    let Some(known) = core.registry.cache(GROUP, PLURAL) else { return Vec::new() };
    let mut objects = Vec::new();
    for service in core.lookup_all("", "services", "") {
        let value: &Value = &service.value();
        let Some(address) = value["spec"]["clusterIP"].as_str().and_then(|text| text.parse::<Ipv4Addr>().ok()) else {
            continue;
        };
        if known.get(&NamespacedName::new("", address.to_string())).is_none() {
            objects.push((key(address), object(address, &service.key(), &core.world)));
        }
    }
    objects
}
