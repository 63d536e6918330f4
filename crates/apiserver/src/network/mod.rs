//! Addresses and ports of Services: each is given once.
//!
//! What looks free here is claimed in the store together with the Service that gets it, because a server in another process may
//! give the same at the same time.

mod cidr;
mod families;
mod ip_address;
mod taken;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
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
const CIDRS: &str = "servicecidrs";
const PORT_TAKEN: &str = "provided port is already allocated";

pub(crate) struct ServiceNetwork {
    pub cidr: ServiceCidr,
    book: Book,
}

impl ServiceNetwork {
    pub(crate) fn new(cidr: ServiceCidr) -> ServiceNetwork {
        ServiceNetwork { cidr, book: Book::default() }
    }

    /// Takes in changed Services and ServiceCIDRs; other resources have nothing to do with it.
    pub(crate) fn changed(&self, group: &str, plural: &str, changes: &[(NamespacedName, Option<Arc<Object>>)]) {
        match (group, plural) {
            ("", "services") => self.book.changed(changes),
            (ip_address::GROUP, CIDRS) => self.book.ranges_changed(changes),
            _ => {}
        }
    }

    /// Takes in the Services and ServiceCIDRs among all objects, and no others.
    pub(crate) fn replace(&self, objects: &[(String, String, Arc<Object>)]) {
        let of = |group: &'static str, plural: &'static str| {
            objects.iter().filter(move |(own, kind, _)| (own.as_str(), kind.as_str()) == (group, plural))
        };
        self.book.replace(
            of("", "services").map(|(_, _, object)| object),
            of(ip_address::GROUP, CIDRS).map(|(_, _, object)| object),
        );
    }
}

/// Gives a Service the addresses and ports it needs. For other kinds there is nothing to do.
pub(crate) fn reserve(call: &Call<'_>, object: &mut Value, old: Option<&Value>) -> Result<Option<Reserved>, ApiError> {
    if !call.resource.is("", "services") || call.request.subresource == "status" {
        return Ok(None);
    }
    let own = NamespacedName::new(metadata::text(object, "namespace"), metadata::text(object, "name"));
    let spec = &mut object["spec"];
    let before = old.map(|old| &old["spec"]);
    let kind = spec["type"].as_str().unwrap_or("ClusterIP").to_owned();
    if kind != "ExternalName" {
        if before.is_none() && has_text(spec, "clusterIP") && is_nothing(&spec["clusterIPs"]) {
            // A client that knows of one address only.
            spec["clusterIPs"] = json!([spec["clusterIP"]]);
        }
        let causes = families::init(spec, before, call.core.minor);
        if !causes.is_empty() {
            return Err(ApiError::invalid("", "Service", &own.name, causes));
        }
    }
    let network = &call.core.network;
    let taken = network.book.open();
    let addresses = call.core.registry.cache(ip_address::GROUP, ip_address::PLURAL);
    let allocator = Allocator {
        taken: &taken,
        addresses: addresses.as_deref(),
        own: &own,
        world: &call.core.world,
        is_dry_run: call.request.options.dry_run,
    };
    let mut holding = Holding::default();
    if kind != "ExternalName" {
        holding.addresses.extend(match before.filter(|before| before["type"] != "ExternalName") {
            None => allocator.address(spec)?,
            // What has an address keeps it: the rules of the kind refuse another.
            Some(_) => spec["clusterIP"].as_str().and_then(|text| text.parse().ok()),
        });
    }
    let had = before.map(Holding::ports_of).unwrap_or_default();
    let mut ports = Ports { allocator: &allocator, had, given: BTreeSet::new() };
    if kind == "NodePort" || kind == "LoadBalancer" {
        let gives = kind == "NodePort" || spec["allocateLoadBalancerNodePorts"] != false;
        match before {
            None => ports.of_new(spec, gives)?,
            Some(_) => ports.of_changed(spec, gives)?,
        }
    }
    if needs_health_check(spec) && !before.is_some_and(needs_health_check) {
        ports.health_check(spec)?;
    }
    holding.ports = Holding::ports_of(spec);
    Ok(Some(network.book.reserve(taken, own, holding, old.is_some(), &call.core.world)))
}

fn has_text(spec: &Value, key: &str) -> bool {
    spec[key].as_str().is_some_and(|text| !text.is_empty())
}

fn is_nothing(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn needs_health_check(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
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
    taken: &'a Taken,
    /// IPAddresses: clients may make some of their own.
    addresses: Option<&'a Cache>,
    own: &'a NamespacedName,
    world: &'a World,
    /// What is only tried gets what stands for an address or a port, as upstream's allocators answer.
    is_dry_run: bool,
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
    fn address(&self, spec: &mut Value) -> Result<Option<Ipv4Addr>, ApiError> {
        let asked = spec["clusterIP"].as_str().unwrap_or("");
        if asked == "None" {
            return Ok(None);
        }
        let address = match asked {
            "" => {
                self.any_address().ok_or_else(|| ApiError::internal("failed to allocate a serviceIP: range is full"))?
            }
            text => self.check_address(text).map_err(|problem| {
                let problem = format!("failed to allocate IP {text}: {problem}");
                self.refuse("spec.clusterIPs", spec["clusterIPs"].clone(), &problem)
            })?,
        };
        spec["clusterIP"] = json!(address.to_string());
        spec["clusterIPs"] = json!([address.to_string()]);
        Ok(Some(address))
    }

    fn check_address(&self, text: &str) -> Result<Ipv4Addr, String> {
        let Ok(address) = text.parse::<Ipv4Addr>() else {
            return Err("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned());
        };
        if !self.taken.ranges().any(|range| range.contains(address)) {
            return Err(match self.taken.ranges().next().filter(|_| self.is_dry_run) {
                Some(range) => {
                    let known = format!("The range of valid IPs is {range}");
                    format!("the provided IP ({address}) is not in the valid range. {known}")
                }
                None => "the provided network does not match the current range".to_owned(),
            });
        }
        match self.is_dry_run || self.is_free(address) {
            true => Ok(address),
            false => Err("provided IP is already allocated".to_owned()),
        }
    }

    fn any_address(&self) -> Option<Ipv4Addr> {
        let ranges: Vec<ServiceCidr> = self.taken.ranges().collect();
        if self.is_dry_run {
            return ranges.first().map(|range| range.address(0));
        }
        // Upstream too tries ranges in an order that chance chooses.
        let start = if ranges.len() > 1 { self.world.below(ranges.len() as u64) as usize } else { 0 };
        (0..ranges.len()).find_map(|step| self.any_address_of(ranges[(start + step) % ranges.len()]))
    }

    fn any_address_of(&self, range: ServiceCidr) -> Option<Ipv4Addr> {
        let free = |index: u32| {
            let address = range.address(index);
            self.is_free(address).then_some(address)
        };
        let all = range.indices();
        let first = all.start + range.chosen();
        let span = u64::from(all.end.saturating_sub(first));
        let random = (0..RANDOM_TRIES).filter(|_| span > 0).find_map(|_| free(first + self.world.below(span) as u32));
        random.or_else(|| (first..all.end).chain(all.start..first.min(all.end)).find_map(free))
    }

    fn is_free_port(&self, port: i64) -> bool {
        self.taken.is_free_port(port, self.own)
    }
}

/// Gives ports of the nodes to one Service.
struct Ports<'a> {
    allocator: &'a Allocator<'a>,
    /// What it had before.
    had: BTreeSet<i64>,
    /// What it is given now.
    given: BTreeSet<i64>,
}

impl Ports<'_> {
    /// Each port of a new Service gets the number that it asks for, or any if the Service is given such. Ports of one number, of
    /// two protocols, get one number on the nodes too.
    fn of_new(&mut self, spec: &mut Value, gives: bool) -> Result<(), ApiError> {
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
        let number = |port: &Value, key: &str| port[key].as_i64().unwrap_or(0);
        let mut by_port = BTreeMap::new();
        for index in 0..ports.len() {
            let (own, asked) = (number(&ports[index], "port"), number(&ports[index], "nodePort"));
            if asked == 0 && !gives {
                continue;
            }
            let given = match by_port.get(&own).copied() {
                None => {
                    let same = ports.iter().filter(|port| number(port, "port") == own);
                    let asked = same.map(|port| number(port, "nodePort")).find(|asked| *asked != 0);
                    let given = match asked {
                        Some(asked) => self.take(index, asked)?,
                        None => self.any()?,
                    };
                    by_port.insert(own, given);
                    given
                }
                Some(given) if asked == 0 || asked == given => given,
                Some(_) => self.take(index, asked)?,
            };
            ports[index]["nodePort"] = json!(given);
        }
        Ok(())
    }

    /// Each port of a Service that was there keeps its number or gets the one that it asks for, or any.
    fn of_changed(&mut self, spec: &mut Value, gives: bool) -> Result<(), ApiError> {
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
        for (index, port) in ports.iter_mut().enumerate() {
            match port["nodePort"].as_i64().unwrap_or(0) {
                0 if gives => port["nodePort"] = json!(self.any()?),
                0 => {}
                asked if self.had.contains(&asked) || self.given.contains(&asked) => {}
                asked => drop(self.take(index, asked)?),
            }
        }
        Ok(())
    }

    /// The port on which nodes tell a load balancer whether they have pods of the Service.
    fn health_check(&mut self, spec: &mut Value) -> Result<(), ApiError> {
        let number = match spec["healthCheckNodePort"].as_i64().unwrap_or(0) {
            0 => self
                .next()
                .ok_or_else(|| ApiError::internal("failed to allocate a HealthCheck NodePort 0: range is full"))?,
            asked => self.check(asked).map(|()| asked).map_err(|problem| {
                ApiError::internal(format!("failed to allocate requested HealthCheck NodePort {asked}: {problem}"))
            })?,
        };
        self.given.insert(number);
        spec["healthCheckNodePort"] = json!(number);
        Ok(())
    }

    fn take(&mut self, index: usize, asked: i64) -> Result<i64, ApiError> {
        self.check(asked).map_err(|problem| {
            self.allocator.refuse(format!("spec.ports[{index}].nodePort"), json!(asked), &problem)
        })?;
        self.given.insert(asked);
        Ok(asked)
    }

    fn any(&mut self) -> Result<i64, ApiError> {
        let port = self.next().ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))?;
        self.given.insert(port);
        Ok(port)
    }

    fn check(&self, port: i64) -> Result<(), String> {
        // Upstream looks at the range when it takes a port, not when it only tries.
        if !NODE_PORTS.contains(&port) && !self.allocator.is_dry_run {
            let (first, last) = (NODE_PORTS.start(), NODE_PORTS.end());
            return Err(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"));
        }
        match self.given.contains(&port) || !self.allocator.is_free_port(port) {
            true => Err(PORT_TAKEN.to_owned()),
            false => Ok(()),
        }
    }

    fn next(&self) -> Option<i64> {
        if self.allocator.is_dry_run {
            // Beyond the range: it stands for any port.
            return Some(self.given.last().copied().unwrap_or(NODE_PORTS.end() + 1) + 1);
        }
        let free =
            |port: &i64| !self.given.contains(port) && !self.had.contains(port) && self.allocator.is_free_port(*port);
        let span = (NODE_PORTS.end() - NODE_PORTS.start() + 1) as u64;
        let world = self.allocator.world;
        let random = (0..RANDOM_TRIES).map(|_| NODE_PORTS.start() + world.below(span) as i64).find(free);
        random.or_else(|| NODE_PORTS.clone().find(free))
    }
}
