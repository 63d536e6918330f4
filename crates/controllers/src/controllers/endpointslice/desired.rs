//! The endpoints that a Service should have, grouped by what one slice can hold: an address family and a set of ports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_object::Object;
use k8s_object::views::{IntOrString, Pod, Service, ServicePort};
use serde_json::{Value, json};

/// The label of nodes that tells their zone.
pub(in crate::controllers) const ZONE: &str = "topology.kubernetes.io/zone";

/// Address family and ports; the ports as canonical JSON, so that groups have an order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::controllers) struct Group {
    address_type: String,
    ports: Vec<String>,
}

impl Group {
    pub(in crate::controllers) fn new(address_type: &str, ports: &[Value]) -> Group {
        let mut ports: Vec<String> = ports.iter().map(|port| crate::json::normal(port).to_string()).collect();
        ports.sort();
        Group { address_type: address_type.to_owned(), ports }
    }

    /// The group of the slice without endpoints that a service without endpoints has.
    pub(in crate::controllers) fn placeholder(service: &Service) -> Group {
        Group::new(families(service)[0], &[])
    }

    pub(in crate::controllers) fn address_type(&self) -> &str {
        &self.address_type
    }

    pub(in crate::controllers) fn ports(&self) -> Vec<Value> {
        self.ports.iter().map(|port| serde_json::from_str(port).expect("it was JSON when the group was made")).collect()
    }
}

/// The address families of a service; IPv4 unless it says otherwise.
pub(in crate::controllers) fn families(service: &Service) -> Vec<&str> {
    match service.spec.ip_families.is_empty() {
        true if service.spec.cluster_ip.contains(':') => vec!["IPv6"],
        true => vec!["IPv4"],
        false => service.spec.ip_families.iter().map(String::as_str).collect(),
    }
}

/// All endpoints of a service.
pub(in crate::controllers) fn desired(
    service: &Service,
    pods: &[(Arc<Object>, Arc<Pod>)],
    zone: impl Fn(&str) -> Option<String>,
) -> BTreeMap<Group, Vec<Value>> {
    let mut groups: BTreeMap<Group, Vec<Value>> = BTreeMap::new();
    for (object, pod) in pods.iter().filter(|(_, pod)| !pod.is_finished()) {
        // A pod that has none of the named ports is listed without ports, as upstream does.
        let ports: Vec<Value> = service.spec.ports.iter().filter_map(|port| endpoint_port(port, pod)).collect();
        for family in families(service) {
            let Some(address) = address(pod, family) else { continue };
            let endpoint = endpoint(service, object, pod, &address, &zone);
            groups.entry(Group::new(family, &ports)).or_default().push(endpoint);
        }
    }
    groups
}

/// The pod's first address of a family.
pub(in crate::controllers) fn address(pod: &Pod, family: &str) -> Option<String> {
    let mut addresses = pod.status.pod_ips.iter().map(|address| &address.ip).chain([&pod.status.pod_ip]);
    let of_family = |address: &&String| match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => family == "IPv4",
        Ok(IpAddr::V6(_)) => family == "IPv6",
        Err(_) => false,
    };
    addresses.find(of_family).cloned()
}

fn endpoint(
    service: &Service,
    object: &Object,
    pod: &Pod,
    address: &str,
    zone: impl Fn(&str) -> Option<String>,
) -> Value {
    let (serving, terminating) = (pod.is_ready(), object.meta().is_terminating());
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {
            "kind": "Pod", "namespace": object.meta().namespace, "name": object.meta().name, "uid": object.meta().uid,
        },
    });
    if !pod.spec.node_name.is_empty() {
        endpoint["nodeName"] = json!(pod.spec.node_name);
        if let Some(zone) = zone(&pod.spec.node_name) {
            endpoint["zone"] = json!(zone);
        }
    }
    if !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name {
        endpoint["hostname"] = json!(pod.spec.hostname);
    }
    endpoint
}

/// The port of an endpoint; `None` when it names a port that the pod does not have.
fn endpoint_port(port: &ServicePort, pod: &Pod) -> Option<Value> {
    let number = target_port(port, pod)?;
    let mut json = json!({"name": port.name, "port": number, "protocol": protocol(port)});
    if let Some(application) = &port.app_protocol {
        json["appProtocol"] = json!(application);
    }
    Some(json)
}

/// The protocol of a service's port.
pub(in crate::controllers) fn protocol(port: &ServicePort) -> &str {
    if port.protocol.is_empty() { "TCP" } else { &port.protocol }
}

/// The number of the pod's port that a service's port goes to; `None` when it names a port that the pod does not have.
pub(in crate::controllers) fn target_port(port: &ServicePort, pod: &Pod) -> Option<i64> {
    let protocol = protocol(port);
    Some(match &port.target_port {
        None => i64::from(port.port),
        Some(IntOrString::Int(0)) => i64::from(port.port),
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let sidecars =
                pod.spec.init_containers.iter().filter(|own| own.restart_policy.as_deref() == Some("Always"));
            let ports = pod.spec.containers.iter().chain(sidecars).flat_map(|container| &container.ports);
            let mut named = ports.filter(|own| own.name == *name);
            let same_protocol = |own: &str| own == protocol || (own.is_empty() && protocol == "TCP");
            i64::from(named.find(|own| same_protocol(&own.protocol))?.container_port)
        }
    })
}
