//! Which addresses and ports are taken, and by which Service, and what ranges there are: kept along with the watch cache, so that
//! giving an address does not read all Services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use k8s_object::{NamespacedName, Object};
use serde_json::Value;
use world::World;

use super::{ServiceCidr, ip_address};
use crate::storage::Claims;

/// What one Service has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Holding {
    pub addresses: BTreeSet<Ipv4Addr>,
    pub ports: BTreeSet<i64>,
}

impl Holding {
    fn of(service: &Value) -> Holding {
        let spec = &service["spec"];
        let address = spec["clusterIP"].as_str().and_then(|text| text.parse().ok());
        Holding { addresses: address.into_iter().collect(), ports: Holding::ports_of(spec) }
    }

    /// The ports of the nodes that the spec of a Service names.
    pub(super) fn ports_of(spec: &Value) -> BTreeSet<i64> {
        let ports = spec["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
        let ports = ports.chain([&spec["healthCheckNodePort"]]).filter_map(Value::as_i64);
        ports.filter(|port| *port != 0).collect()
    }
}

impl Holding {
    /// What a Service takes and lets go that has this from now on. `taken` makes the IPAddress of an address.
    fn claims(&self, before: Option<&Holding>, taken: impl Fn(Ipv4Addr) -> Bytes) -> Claims {
        let nothing = Holding::default();
        let before = before.unwrap_or(&nothing);
        let mut claims = Claims::default();
        let port = |port: &i64| format!("ports/{port}");
        self.addresses.difference(&before.addresses).for_each(|own| claims.create(ip_address::key(*own), taken(*own)));
        before.addresses.difference(&self.addresses).for_each(|gone| claims.remove(ip_address::key(*gone)));
        self.ports.difference(&before.ports).for_each(|own| claims.take(&port(own)));
        before.ports.difference(&self.ports).for_each(|gone| claims.release(&port(gone)));
        claims
    }
}

#[derive(Debug, Default)]
pub(super) struct Taken {
    services: BTreeMap<NamespacedName, Holding>,
    addresses: BTreeMap<Ipv4Addr, NamespacedName>,
    ports: BTreeMap<i64, NamespacedName>,
    /// By the name of the ServiceCIDR; those only that are ready.
    ranges: BTreeMap<String, Vec<ServiceCidr>>,
    /// What is being written right now, by whom.
    pending: BTreeMap<u64, (NamespacedName, Holding)>,
    next: u64,
}

impl Taken {
    fn put(&mut self, key: &NamespacedName, service: Option<&Object>) {
        let old = self.services.remove(key).unwrap_or_default();
        for address in old.addresses {
            if self.addresses.get(&address) == Some(key) {
                self.addresses.remove(&address);
            }
        }
        for port in old.ports {
            if self.ports.get(&port) == Some(key) {
                self.ports.remove(&port);
            }
        }
        let Some(service) = service else { return };
        let holding = Holding::of(&service.value());
        self.addresses.extend(holding.addresses.iter().map(|address| (*address, key.clone())));
        self.ports.extend(holding.ports.iter().map(|port| (*port, key.clone())));
        self.services.insert(key.clone(), holding);
    }

    fn put_range(&mut self, name: &str, cidr: Option<&Object>) {
        let ranges = cidr.filter(|cidr| is_ready(cidr)).map(|cidr| ranges(&cidr.value())).unwrap_or_default();
        match ranges.is_empty() {
            true => self.ranges.remove(name),
            false => self.ranges.insert(name.to_owned(), ranges),
        };
    }

    /// What addresses are given from.
    pub(super) fn ranges(&self) -> impl Iterator<Item = ServiceCidr> {
        self.ranges.values().flatten().copied()
    }

    /// What a Service lets go when it is removed.
    pub(super) fn release(&self, service: &NamespacedName) -> Claims {
        Holding::default().claims(self.services.get(service), |_| Bytes::new())
    }

    /// What others are about to have.
    fn pending(&self, own: &NamespacedName) -> impl Iterator<Item = &Holding> {
        self.pending.values().filter(move |(owner, _)| owner != own).map(|(_, holding)| holding)
    }

    /// Whether a Service may have an address: nobody else has it or is about to.
    pub(super) fn is_free(&self, address: Ipv4Addr, own: &NamespacedName) -> bool {
        self.addresses.get(&address).is_none_or(|owner| owner == own)
            && self.pending(own).all(|holding| !holding.addresses.contains(&address))
    }

    /// As [`Taken::is_free`], for a port.
    pub(super) fn is_free_port(&self, port: i64, own: &NamespacedName) -> bool {
        self.ports.get(&port).is_none_or(|owner| owner == own)
            && self.pending(own).all(|holding| !holding.ports.contains(&port))
    }
}

/// Whether addresses may be given from a ServiceCIDR: its controller has seen it, and nobody wants it gone.
fn is_ready(cidr: &Object) -> bool {
    let value = cidr.value();
    let conditions = value["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().any(|own| own["type"] == "Ready" && own["status"] == "True");
    ready && !cidr.meta().is_terminating()
}

/// The ranges of a ServiceCIDR in the cluster's family.
fn ranges(cidr: &Value) -> Vec<ServiceCidr> {
    let texts = cidr["spec"]["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.filter_map(ServiceCidr::read).collect()
}

/// What is taken in one cluster.
#[derive(Clone, Default)]
pub(super) struct Book(Arc<Mutex<Taken>>);

impl Book {
    pub(super) fn open(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changed(&self, changes: &[(NamespacedName, Option<Arc<Object>>)]) {
        let mut taken = self.open();
        for (key, service) in changes {
            taken.put(key, service.as_deref());
        }
    }

    /// Takes in changed ServiceCIDRs.
    pub(super) fn ranges_changed(&self, changes: &[(NamespacedName, Option<Arc<Object>>)]) {
        let mut taken = self.open();
        for (key, cidr) in changes {
            taken.put_range(&key.name, cidr.as_deref());
        }
    }

    pub(super) fn replace<'a>(
        &self,
        services: impl Iterator<Item = &'a Arc<Object>>,
        cidrs: impl Iterator<Item = &'a Arc<Object>>,
    ) {
        let mut taken = self.open();
        let (pending, next) = (std::mem::take(&mut taken.pending), taken.next);
        *taken = Taken { pending, next, ..Taken::default() };
        for service in services {
            taken.put(&service.key(), Some(service));
        }
        for cidr in cidrs {
            taken.put_range(&cidr.meta().name, Some(cidr));
        }
    }

    /// Holds what a Service is about to have. `exists`: it is there already, with what it has.
    pub(super) fn reserve(
        &self,
        mut taken: MutexGuard<'_, Taken>,
        own: NamespacedName,
        holding: Holding,
        exists: bool,
        world: &World,
    ) -> Reserved {
        let made = |address| ip_address::object(address, &own, world);
        let claims = holding.claims(exists.then(|| taken.services.get(&own)).flatten(), made);
        let id = taken.next;
        taken.next += 1;
        taken.pending.insert(id, (own, holding));
        Reserved { book: self.clone(), id, claims }
    }
}

/// Holds addresses and ports until the Service that has them is in the caches.
pub(crate) struct Reserved {
    book: Book,
    id: u64,
    claims: Claims,
}

impl Reserved {
    /// What is to be claimed in the store with the write of the Service; nothing the second time.
    pub(crate) fn claims(&mut self) -> Claims {
        std::mem::take(&mut self.claims)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.book.open().pending.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, address: &str, port: i64) -> Arc<Object> {
        let stored = format!(
            r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}","namespace":"a"}},"spec":{{"clusterIP":"{address}","ports":[{{"nodePort":{port}}}]}}}}"#
        );
        Arc::new(Object::from_stored(stored, 1).unwrap())
    }

    #[test]
    fn what_services_have_is_taken_until_they_let_it_go() {
        let (book, (world, _simulation)) = (Book::default(), World::simulated(1));
        let key = |name: &str| NamespacedName::new("a", name);
        let (one, two) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        book.changed(&[(key("x"), Some(service("x", "10.0.0.1", 30_000)))]);
        let free = |address, port, own: &str| {
            let taken = book.open();
            (taken.is_free(address, &key(own)), taken.is_free_port(port, &key(own)))
        };
        assert_eq!(free(one, 30_000, "y"), (false, false));
        assert_eq!(free(one, 30_000, "x"), (true, true), "its own");
        let holding = Holding { addresses: [two].into(), ports: [30_001].into() };
        let reserved = book.reserve(book.open(), key("w"), holding, false, &world);
        assert_eq!(free(two, 30_001, "w"), (true, true), "its own");
        assert_eq!(free(two, 30_001, "y"), (false, false), "about to be taken");
        book.replace([service("z", "None", 0)].iter(), [].iter());
        assert_eq!((free(one, 30_000, "y"), free(two, 30_001, "y")), ((true, true), (false, false)));
        drop(reserved);
        assert_eq!(free(two, 30_001, "y"), (true, true));
        book.changed(&[(key("x"), Some(service("x", "10.0.0.1", 30_000)))]);
        book.changed(&[(key("x"), Some(service("x", "10.0.0.2", 30_001)))]);
        assert_eq!((free(one, 30_000, "y"), free(two, 30_001, "y")), ((true, true), (false, false)));
        book.changed(&[(key("x"), None)]);
        assert_eq!(free(two, 30_001, "y"), (true, true));
    }

    #[test]
    fn addresses_come_from_what_is_ready() {
        let cidr = |more: &str, status: &str| {
            let stored = format!(
                r#"{{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","metadata":{{"name":"x"{more}}},"spec":{{"cidrs":["10.0.0.0/24","2001:db8::/64"]}},"status":{{"conditions":[{{"type":"Ready","status":"{status}"}}]}}}}"#
            );
            Arc::new(Object::from_stored(stored, 1).unwrap())
        };
        let (book, key) = (Book::default(), NamespacedName::new("", "x"));
        let ranges = || book.open().ranges().map(|range| range.to_string()).collect::<Vec<_>>();
        let gone = r#","deletionTimestamp":"2026-01-01T00:00:00Z""#;
        let cases: [(Option<Arc<Object>>, &[&str]); 5] = [
            (Some(cidr("", "False")), &[]),
            (Some(cidr("", "True")), &["10.0.0.0/24"]),
            (Some(cidr(gone, "True")), &[]),
            (Some(cidr("", "True")), &["10.0.0.0/24"]),
            (None, &[]),
        ];
        for (object, expected) in cases {
            book.ranges_changed(&[(key.clone(), object)]);
            assert_eq!(ranges(), expected);
        }
        book.replace([].iter(), [cidr("", "True")].iter());
        assert_eq!(ranges(), ["10.0.0.0/24"]);
    }
}
