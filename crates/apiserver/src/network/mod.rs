//! Addresses and ports of Services: each is given once.
//!
//! What looks free here is claimed in the store together with the Service that gets it, because a server in another process may
//! give the same at the same time.

mod cidr;
mod ip_address;
mod taken;

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use k8s_kinds::causes;
use k8s_object::{ApiError, NamespacedName, Object};
use serde_json::{Value, json};
use world::World;

use crate::cache::Cache;
use crate::core::Call;
use crate::metadata;
use crate::storage::Claims;
use taken::{Book, Holding, Taken};

pub use cidr::ServiceCidr;
pub(crate) use ip_address::missing;
pub(crate) use taken::Reserved;

/// kube-apiserver's `--service-node-port-range`.
const NODE_PORTS: RangeInclusive<i64> = 30_000..=32_767;
/// Addresses tried at random before the range is walked.
const RANDOM_TRIES: usize = 32;
const PORT_TAKEN: &str = "provided port is already allocated";

pub(crate) struct ServiceNetwork {
    pub cidr: ServiceCidr,
    book: Book,
}

impl ServiceNetwork {
    pub(crate) fn new(cidr: ServiceCidr) -> ServiceNetwork {
        ServiceNetwork { cidr, book: Book::default() }
    }

    /// Takes in changed Services; other resources have nothing to do with it.
    pub(crate) fn changed(&self, group: &str, plural: &str, changes: &[(NamespacedName, Option<Arc<Object>>)]) {
        if (group, plural) == ("", "services") {
            self.book.changed(changes);
        }
    }

    /// Takes in all Services, and nothing else.
    pub(crate) fn replace<'a>(&self, services: impl Iterator<Item = &'a Arc<Object>>) {
        self.book.replace(services);
    }
}

/// Gives a Service the addresses and ports it needs. For other kinds there is nothing to do.
pub(crate) fn reserve(call: &Call<'_>, object: &mut Value, old: Option<&Value>) -> Result<Option<Reserved>, ApiError> {
    if !call.resource.is("", "services") || call.request.subresource == "status" {
        return Ok(None);
    }
    let network = &call.core.network;
    let kind = object["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
    let own = NamespacedName::new(metadata::text(object, "namespace"), metadata::text(object, "name"));
    let taken = network.book.open();
    let addresses = call.core.registry.cache(ip_address::GROUP, ip_address::PLURAL);
    let allocator = Allocator {
        cidr: network.cidr,
        taken: &taken,
        addresses: addresses.as_deref(),
        own: &own,
        world: &call.core.world,
    };
    let mut holding = Holding::default();
    let has_addresses = object["spec"]["clusterIPs"].as_array().is_some_and(|all| !all.is_empty());
    if kind != "ExternalName" && has_addresses && object["spec"]["clusterIP"].as_str().unwrap_or("").is_empty() {
        // The rules of the kind refuse it.
        return Ok(None);
    }
    if kind != "ExternalName" {
        holding.addresses.extend(allocator.address(object)?);
    }
    if kind == "NodePort" || kind == "LoadBalancer" {
        let gives = kind == "NodePort" || object["spec"]["allocateLoadBalancerNodePorts"] != false;
        allocator.ports(object, old.is_none(), gives, &mut holding)?;
    }
    if kind == "LoadBalancer" && object["spec"]["externalTrafficPolicy"] == "Local" {
        allocator.health_check_port(object, old, &mut holding)?;
    }
    Ok(Some(network.book.reserve(taken, own, holding, old.is_some(), &call.core.world)))
}

/// What a Service lets go when it is removed.
pub(crate) fn release(call: &Call<'_>, service: &NamespacedName) -> Claims {
    match call.resource.is("", "services") {
        true => call.core.network.book.open().release(service),
        false => Claims::default(),
    }
}

/// Finds what is free for one Service.
struct Allocator<'a> {
    cidr: ServiceCidr,
    taken: &'a Taken,
    /// IPAddresses: clients may make some of their own.
    addresses: Option<&'a Cache>,
    own: &'a NamespacedName,
    world: &'a World,
}

impl Allocator<'_> {
    fn refuse(&self, path: impl Into<String>, value: Value, problem: &str) -> ApiError {
        ApiError::invalid("", "Service", &self.own.name, vec![causes::invalid(path, value, problem)])
    }

    fn is_free(&self, address: Ipv4Addr) -> bool {
        let of_another = |addresses: &Cache| {
            let object = addresses.get(&NamespacedName::new("", address.to_string()));
            object.is_some_and(|object| !ip_address::belongs_to(&object, self.own))
        };
        self.taken.is_free(address, self.own) && !self.addresses.is_some_and(of_another)
    }

    /// Gives the Service the address that it asks for, or any; `None` for a headless one.
    fn address(&self, object: &mut Value) -> Result<Option<Ipv4Addr>, ApiError> {
        let asked = object["spec"]["clusterIP"].as_str().unwrap_or("").to_owned();
        if asked == "None" {
            object["spec"]["clusterIPs"] = json!(["None"]);
            return Ok(None);
        }
        let address = match asked.as_str() {
            "" => {
                self.any_address().ok_or_else(|| ApiError::internal("failed to allocate a serviceIP: range is full"))?
            }
            text => {
                self.check_address(text).map_err(|problem| self.refuse("spec.clusterIPs", json!([text]), problem))?
            }
        };
        object["spec"]["clusterIP"] = json!(address.to_string());
        object["spec"]["clusterIPs"] = json!([address.to_string()]);
        object["spec"]["ipFamilies"] = json!(["IPv4"]);
        if !object["spec"]["ipFamilyPolicy"].is_string() {
            object["spec"]["ipFamilyPolicy"] = json!("SingleStack");
        }
        Ok(Some(address))
    }

    fn check_address(&self, text: &str) -> Result<Ipv4Addr, &'static str> {
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if !self.cidr.contains(address) => {
                Err("failed to allocate IP: the provided IP is not in the valid range")
            }
            Ok(IpAddr::V4(address)) if !self.is_free(address) => {
                Err("failed to allocate IP: provided IP is already allocated")
            }
            Ok(IpAddr::V4(address)) => Ok(address),
            Ok(IpAddr::V6(_)) => Err("IPv6 is not configured on this cluster"),
            Err(_) => Err("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        }
    }

    fn any_address(&self) -> Option<Ipv4Addr> {
        let cidr = self.cidr;
        // The first addresses are left for those who choose theirs: the API server's, the cluster DNS's.
        let chosen = (cidr.size / 16).clamp(1, 256).min(cidr.size - 2);
        let free = |index: u32| {
            let address = cidr.address(index);
            (cidr.contains(address) && self.is_free(address)).then_some(address)
        };
        let span = u64::from(cidr.size - 1 - chosen);
        let random = (0..RANDOM_TRIES).find_map(|_| free(chosen + self.world.below(span) as u32));
        random.or_else(|| (chosen..cidr.size).chain(1..chosen).find_map(free))
    }

    /// Gives each port of the Service the number that it asks for, or any if the Service is given such.
    fn ports(&self, object: &mut Value, is_new: bool, gives: bool, holding: &mut Holding) -> Result<(), ApiError> {
        let ports = object["spec"]["ports"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
        // Ports of a new Service with one number, of two protocols, have one number on the nodes too.
        let shared = |ports: &[Value], index: usize| -> i64 {
            let same = |port: &&Value| port["port"] == ports[index]["port"];
            let numbers = ports.iter().filter(same).filter_map(|port| port["nodePort"].as_i64());
            numbers.into_iter().find(|number| is_new && *number != 0).unwrap_or(0)
        };
        for index in 0..ports.len() {
            let path = format!("spec.ports[{index}].nodePort");
            let mut asked = ports[index]["nodePort"].as_i64().unwrap_or(0);
            if asked == 0 && !gives {
                continue;
            }
            if asked == 0 {
                asked = shared(ports, index);
            }
            let number = match asked {
                0 => self
                    .any_port(holding)
                    .ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))?,
                asked if holding.ports.contains(&asked) => asked,
                asked => match self.check_port(asked) {
                    Ok(()) => asked,
                    Err(problem) => return Err(self.refuse(path, json!(asked), &problem)),
                },
            };
            ports[index]["nodePort"] = json!(number);
            holding.ports.insert(number);
        }
        Ok(())
    }

    /// The port on which nodes tell a load balancer whether they have pods of the Service. Once given it stays; that a client
    /// wants another is for the rules of the kind to refuse.
    fn health_check_port(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        holding: &mut Holding,
    ) -> Result<(), ApiError> {
        let had = old.and_then(|old| old["spec"]["healthCheckNodePort"].as_i64()).unwrap_or(0);
        let number = match object["spec"]["healthCheckNodePort"].as_i64().unwrap_or(0) {
            0 => self
                .any_port(holding)
                .ok_or_else(|| ApiError::internal("failed to allocate a HealthCheck NodePort 0: range is full"))?,
            asked if had != 0 => asked,
            asked => match self.check_port(asked).and_then(|()| match holding.ports.contains(&asked) {
                true => Err(PORT_TAKEN.to_owned()),
                false => Ok(()),
            }) {
                Ok(()) => asked,
                Err(problem) => {
                    let message = format!("failed to allocate requested HealthCheck NodePort {asked}: {problem}");
                    return Err(ApiError::internal(message));
                }
            },
        };
        object["spec"]["healthCheckNodePort"] = json!(number);
        holding.ports.insert(number);
        Ok(())
    }

    fn check_port(&self, port: i64) -> Result<(), String> {
        if !NODE_PORTS.contains(&port) {
            let (first, last) = (NODE_PORTS.start(), NODE_PORTS.end());
            return Err(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"));
        }
        if self.taken.is_free_port(port, self.own) { Ok(()) } else { Err(PORT_TAKEN.to_owned()) }
    }

    fn any_port(&self, holding: &Holding) -> Option<i64> {
        let free = |port: &i64| !holding.ports.contains(port) && self.taken.is_free_port(*port, self.own);
        let span = (NODE_PORTS.end() - NODE_PORTS.start() + 1) as u64;
        let random = (0..RANDOM_TRIES).map(|_| NODE_PORTS.start() + self.world.below(span) as i64).find(free);
        random.or_else(|| NODE_PORTS.clone().find(free))
    }
}
