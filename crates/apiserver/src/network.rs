//! Addresses and ports of Services: each is given once.
//!
//! What is in use is read from the Services themselves; only what is being written right now is kept here.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_kinds::causes;
use k8s_object::{ApiError, Cause};
use serde_json::{Value, json};

use crate::core::Call;
use crate::metadata;

/// kube-apiserver's `--service-node-port-range`, last port included.
const NODE_PORTS: (i64, i64) = (30_000, 32_767);
/// Addresses tried at random before the range is walked.
const RANDOM_TRIES: usize = 32;

/// An IPv4 range in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceCidr {
    first: u32,
    /// Addresses in the range.
    size: u32,
}

impl ServiceCidr {
    /// Reads e.g. `172.20.0.0/16`. Between /12 and /28, as EKS and upstream allow.
    pub fn parse(text: &str) -> Option<ServiceCidr> {
        let (address, bits) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok().filter(|bits| (12..=28).contains(bits))?;
        let size = 1_u32 << (32 - bits);
        Some(ServiceCidr { first: u32::from(address) & !(size - 1), size })
    }

    /// The address at `index`; 1 is the API server's own Service.
    pub fn address(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.first.wrapping_add(index))
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        let index = u32::from(address).wrapping_sub(self.first);
        // Neither the network's own address nor the broadcast address.
        index > 0 && index < self.size - 1
    }
}

#[derive(Default)]
struct Pending {
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<i64>,
}

pub(crate) struct ServiceNetwork {
    pub cidr: ServiceCidr,
    pending: Arc<Mutex<Pending>>,
}

impl ServiceNetwork {
    pub(crate) fn new(cidr: ServiceCidr) -> ServiceNetwork {
        ServiceNetwork { cidr, pending: Arc::default() }
    }
}

/// Holds addresses and ports until the Service that has them is in the caches.
pub(crate) struct Reserved {
    pending: Arc<Mutex<Pending>>,
    addresses: Vec<Ipv4Addr>,
    ports: Vec<i64>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for address in &self.addresses {
            pending.addresses.remove(address);
        }
        for port in &self.ports {
            pending.ports.remove(port);
        }
    }
}

fn ports_of(service: &Value) -> Vec<i64> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let mut ports: Vec<i64> = ports.filter_map(|port| port["nodePort"].as_i64()).filter(|port| *port != 0).collect();
    ports.extend(service["spec"]["healthCheckNodePort"].as_i64().filter(|port| *port != 0));
    ports
}

/// Gives a Service the addresses and ports it needs. For other kinds there is nothing to do.
pub(crate) fn reserve(call: &Call<'_>, object: &mut Value, old: Option<&Value>) -> Result<Option<Reserved>, ApiError> {
    if !call.resource.is("", "services") || call.request.subresource == "status" {
        return Ok(None);
    }
    let network = &call.core.network;
    let kind = object["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
    if let Some(old) = old {
        keep(object, old, &kind);
    }
    let (own_namespace, own_name) =
        (metadata::text(object, "namespace").to_owned(), metadata::text(object, "name").to_owned());
    // Taken before looking at the Services: one that is stored meanwhile is in the caches or still pending.
    let mut pending = network.pending.lock().unwrap_or_else(PoisonError::into_inner);
    let mut used = Pending { addresses: pending.addresses.clone(), ports: pending.ports.clone() };
    for other in call.core.lookup_all("", "services", "") {
        if other.meta().namespace == own_namespace && other.meta().name == own_name {
            continue;
        }
        let other = other.value();
        used.addresses.extend(other["spec"]["clusterIP"].as_str().and_then(|text| text.parse::<Ipv4Addr>().ok()));
        used.ports.extend(ports_of(&other));
    }
    let mut reserved = Reserved { pending: network.pending.clone(), addresses: Vec::new(), ports: Vec::new() };
    let refuse = |causes: Vec<Cause>| Err(ApiError::invalid("", "Service", &own_name, causes));
    if kind != "ExternalName" {
        let asked = object["spec"]["clusterIP"].as_str().unwrap_or("").to_owned();
        match asked.as_str() {
            "None" => {
                object["spec"]["clusterIPs"] = json!(["None"]);
            }
            "" => {
                let Some(address) = free_address(call, &used.addresses) else {
                    drop(pending);
                    return Err(ApiError::internal("failed to allocate a serviceIP: range is full"));
                };
                set_address(object, address);
                reserved.addresses.push(address);
            }
            text => {
                let problem = match text.parse::<IpAddr>() {
                    Ok(IpAddr::V4(address)) if !network.cidr.contains(address) => {
                        Some("failed to allocate IP: the provided IP is not in the valid range".to_owned())
                    }
                    Ok(IpAddr::V4(address)) if used.addresses.contains(&address) => {
                        Some("failed to allocate IP: provided IP is already allocated".to_owned())
                    }
                    Ok(IpAddr::V4(address)) => {
                        set_address(object, address);
                        reserved.addresses.push(address);
                        None
                    }
                    Ok(IpAddr::V6(_)) => Some("IPv6 is not configured on this cluster".to_owned()),
                    Err(_) => Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()),
                };
                if let Some(problem) = problem {
                    drop(pending);
                    return refuse(vec![causes::invalid("spec.clusterIPs", json!([text]), &problem)]);
                }
            }
        }
    }
    if kind == "NodePort" || (kind == "LoadBalancer" && object["spec"]["allocateLoadBalancerNodePorts"] != false) {
        let ports = object["spec"]["ports"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
        for (index, port) in ports.iter_mut().enumerate() {
            let path = format!("spec.ports[{index}].nodePort");
            match port["nodePort"].as_i64().unwrap_or(0) {
                0 => {
                    let Some(free) = free_port(call, &used.ports) else {
                        drop(pending);
                        return Err(ApiError::internal("failed to allocate a nodePort: range is full"));
                    };
                    port["nodePort"] = json!(free);
                    used.ports.insert(free);
                    reserved.ports.push(free);
                }
                asked if !(NODE_PORTS.0..=NODE_PORTS.1).contains(&asked) => {
                    let problem = format!(
                        "provided port is not in the valid range. The range of valid ports is {}-{}",
                        NODE_PORTS.0, NODE_PORTS.1
                    );
                    drop(pending);
                    return refuse(vec![causes::invalid(path, asked, &problem)]);
                }
                // The same number for two protocols of one Service is fine.
                asked if used.ports.contains(&asked) && !reserved.ports.contains(&asked) => {
                    drop(pending);
                    return refuse(vec![causes::invalid(path, asked, "provided port is already allocated")]);
                }
                asked => {
                    used.ports.insert(asked);
                    reserved.ports.push(asked);
                }
            }
        }
    }
    pending.addresses.extend(&reserved.addresses);
    pending.ports.extend(&reserved.ports);
    drop(pending);
    Ok(Some(reserved))
}

/// What an update leaves out stays: the address, and the ports' numbers (service `patchAllocatedValues`).
fn keep(object: &mut Value, old: &Value, kind: &str) {
    let old_kind = old["spec"]["type"].as_str().unwrap_or("ClusterIP");
    if kind == "ExternalName" {
        if old_kind != "ExternalName"
            && let Some(spec) = object["spec"].as_object_mut()
        {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                spec.remove(field);
            }
        }
        return;
    }
    if old_kind != "ExternalName" && object["spec"]["clusterIP"].as_str().unwrap_or("").is_empty() {
        object["spec"]["clusterIP"] = old["spec"]["clusterIP"].clone();
    }
    let needs_ports = |kind: &str| kind == "NodePort" || kind == "LoadBalancer";
    let old_ports = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let old = old_ports.iter().find(|old| old["port"] == port["port"] && old["protocol"] == port["protocol"]);
        if needs_ports(kind) && needs_ports(old_kind) {
            if let (0, Some(old)) =
                (port["nodePort"].as_i64().unwrap_or(0), old.and_then(|old| old["nodePort"].as_i64()))
            {
                port["nodePort"] = json!(old);
            }
        } else if !needs_ports(kind)
            && needs_ports(old_kind)
            && let Some(map) = port.as_object_mut()
            && old.is_some_and(|old| old["nodePort"] == map.get("nodePort").cloned().unwrap_or_default())
        {
            map.remove("nodePort");
        }
    }
}

fn set_address(object: &mut Value, address: Ipv4Addr) {
    object["spec"]["clusterIP"] = json!(address.to_string());
    object["spec"]["clusterIPs"] = json!([address.to_string()]);
    object["spec"]["ipFamilies"] = json!(["IPv4"]);
    if !object["spec"]["ipFamilyPolicy"].is_string() {
        object["spec"]["ipFamilyPolicy"] = json!("SingleStack");
    }
}

fn free_address(call: &Call<'_>, used: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let cidr = call.core.network.cidr;
    // The first addresses are left for those who choose theirs: the API server's, the cluster DNS's.
    let reserved = (cidr.size / 16).clamp(1, 256).min(cidr.size - 2);
    let free =
        |index: u32| Some(cidr.address(index)).filter(|address| cidr.contains(*address) && !used.contains(address));
    let span = u64::from(cidr.size - 1 - reserved);
    let random = (0..RANDOM_TRIES).find_map(|_| free(reserved + call.core.world.below(span) as u32));
    random.or_else(|| (reserved..cidr.size).chain(1..reserved).find_map(free))
}

fn free_port(call: &Call<'_>, used: &BTreeSet<i64>) -> Option<i64> {
    let span = (NODE_PORTS.1 - NODE_PORTS.0 + 1) as u64;
    let random =
        (0..RANDOM_TRIES).map(|_| NODE_PORTS.0 + call.core.world.below(span) as i64).find(|port| !used.contains(port));
    random.or_else(|| (NODE_PORTS.0..=NODE_PORTS.1).find(|port| !used.contains(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let cidr = ServiceCidr::parse("172.20.3.4/16").unwrap();
        assert_eq!(cidr.address(1).to_string(), "172.20.0.1");
        for (address, inside) in [
            ("172.20.0.0", false),
            ("172.20.0.1", true),
            ("172.20.255.254", true),
            ("172.20.255.255", false),
            ("172.21.0.1", false),
        ] {
            assert_eq!(cidr.contains(address.parse().unwrap()), inside, "{address}");
        }
        for text in ["", "10.0.0.0", "10.0.0.0/8", "10.0.0.0/30", "x/16"] {
            assert!(ServiceCidr::parse(text).is_none(), "{text}");
        }
    }
}
