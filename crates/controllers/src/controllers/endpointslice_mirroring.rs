//! Mirrors Endpoints that somebody wrote by hand, for a Service without selector, in EndpointSlices: consumers read only those.
//!
//! One slice stands for the addresses of one family with the same ports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Index};
use k8s_object::resources::{ENDPOINT_SLICES, ENDPOINTS, SERVICES};
use k8s_object::views::{EndpointSlice, Endpoints, Service};
use k8s_object::{NamespacedName, Object};
use serde_json::{Value, json};
use world::Timestamp;

use super::endpoint_subsets::repack;
use super::endpoints::LEADER;
use super::endpointslice::desired::Group;
use super::endpointslice::{MANAGED_BY, SERVICE_NAME};
use crate::controller::{Action, Controller, Key, Plan, Planned, Step, Trigger, Watched};
use crate::json::{normal, replacement};
use crate::ownership::controller_reference;
use crate::view::View;

/// Our slices, by `namespace/name` of the Endpoints.
const MIRRORED: Index =
    Index { name: "mirrored", keys: |object| source(object).map(|source| source.to_string()).into_iter().collect() };

pub(super) static CONTROLLER: Controller = Controller {
    name: "endpointslice-mirroring-controller",
    event_source: "endpoint-slice-mirroring-controller",
    service_account: "endpointslicemirroring-controller",
    about: "Mirrors Endpoints of Services without selectors in EndpointSlices.",
    watches: &[
        Watched { resource: ENDPOINTS, indices: &[] },
        Watched { resource: ENDPOINT_SLICES, indices: &[MIRRORED] },
        Watched { resource: SERVICES, indices: &[] },
    ],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 5,
    rest: Duration::from_millis(100),
};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// The label of Endpoints that are not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotations that say something about the Endpoints and not about its mirror.
const NOT_MIRRORED: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];
/// Addresses of a subset that are mirrored: upstream's default of `--mirroring-max-endpoints-per-subset`.
const MAX_ADDRESSES: usize = 1000;
/// Bytes of a name that a random part is added to.
const MAX_PREFIX: usize = 253;

/// The Endpoints that a slice mirrors.
fn source(slice: &Object) -> Option<NamespacedName> {
    let labels = &slice.meta().labels;
    let name = labels.get(SERVICE_NAME).filter(|_| labels.get(MANAGED_BY) == Some(MANAGER))?;
    Some(NamespacedName::new(slice.meta().namespace.as_str(), name))
}

fn triggers(change: &Change, _: &View<'_>) -> Vec<Trigger> {
    let states = || change.old.iter().chain(&change.new);
    let key = |object: NamespacedName| Key { resource: ENDPOINTS, object };
    let own = || vec![key(change.key.clone()).into()];
    if change.resource == ENDPOINT_SLICES {
        let keys: BTreeSet<Key> = states().filter_map(|slice| source(slice)).map(key).collect();
        return keys.into_iter().map(Trigger::from).collect();
    }
    if change.resource == ENDPOINTS {
        return if states().any(|endpoints| is_mirrored(endpoints)) { own() } else { Vec::new() };
    }
    let without = |service: &Arc<Object>| service.view::<Service>().is_ok_and(|own| own.spec.selector.is_empty());
    match (&change.old, &change.new) {
        (Some(old), Some(new)) if without(old) == without(new) => Vec::new(),
        _ if states().any(without) => own(),
        _ => Vec::new(),
    }
}

fn is_mirrored(endpoints: &Object) -> bool {
    endpoints.meta().labels.get(SKIP) != Some("true") && endpoints.meta().annotations.get(LEADER).is_none()
}

fn plan(view: &View<'_>, key: &Key, _now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let mut existing = Vec::new();
    for slice in view.indexed(&ENDPOINT_SLICES, MIRRORED.name, &key.object.to_string()) {
        if !slice.meta().is_terminating() {
            existing.push((slice.clone(), slice.view::<EndpointSlice>()?));
        }
    }
    let endpoints = view.get(&ENDPOINTS, &key.object).filter(|endpoints| is_mirrored(endpoints));
    let service = view.get(&SERVICES, &key.object).map(|service| service.view::<Service>()).transpose()?;
    let service = service.filter(|service| service.spec.selector.is_empty());
    let (Some(endpoints), Some(_)) = (endpoints, service) else {
        let deletes = existing.iter().map(|(slice, _)| Action::delete(ENDPOINT_SLICES, slice));
        plan.steps.extend(deletes.map(Step::One));
        return Ok(plan);
    };
    let desired = Desired::new(&*endpoints.view::<Endpoints>()?);
    plan.steps.extend(desired.events(&endpoints).into_iter().map(Step::One));
    plan.steps.extend(desired.changes(&endpoints, existing).into_iter().map(Step::One));
    Ok(plan)
}

/// A slice that there is.
type Stored = (Arc<Object>, Arc<EndpointSlice>);

/// What should be mirrored.
#[derive(Default)]
struct Desired {
    /// Per group the ports and, by address and what has it, the endpoints. Groups without endpoints have no slice.
    groups: BTreeMap<Group, (Vec<Value>, BTreeMap<String, Value>)>,
    invalid: usize,
    skipped: usize,
}

impl Desired {
    fn new(endpoints: &Endpoints) -> Desired {
        let mut desired = Desired::default();
        for subset in repack(&endpoints.subsets) {
            let ports: Vec<Value> = subset.ports.iter().map(slice_port).collect();
            let total = subset.addresses.len() + subset.not_ready_addresses.len();
            let ready = subset.addresses.iter().map(|address| (address, true));
            let all = ready.chain(subset.not_ready_addresses.iter().map(|address| (address, false)));
            let mut added = 0;
            for (address, ready) in all {
                if added == MAX_ADDRESSES {
                    break;
                }
                let Some((family, endpoint)) = endpoint(address, ready) else {
                    desired.invalid += 1;
                    continue;
                };
                let group = desired.groups.entry(Group::new(family, &ports)).or_default();
                group.0.clone_from(&ports);
                group.1.insert(identity(&endpoint), endpoint);
                added += 1;
            }
            desired.skipped += total - added;
        }
        desired
    }

    fn events(&self, about: &Arc<Object>) -> Vec<Action> {
        let mut events = Vec::new();
        if self.invalid > 0 {
            let message = format!("Skipped {} invalid IP addresses when mirroring to EndpointSlices", self.invalid);
            events.push(Action::warning(about, "InvalidIPAddress", message));
        }
        if self.skipped > self.invalid {
            let message = format!(
                "A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                self.skipped
            );
            events.push(Action::warning(about, "TooManyAddressesToMirror", message));
        }
        events
    }

    /// Creations, updates, deletions. A slice that is not needed any more is used for a new group of its family.
    fn changes(self, endpoints: &Arc<Object>, existing: Vec<Stored>) -> Vec<Action> {
        let mut by_group: BTreeMap<Group, Vec<Stored>> = BTreeMap::new();
        for (slice, parsed) in existing {
            by_group.entry(Group::new(&parsed.address_type, &parsed.ports)).or_default().push((slice, parsed));
        }
        let meta = Metadata::of(endpoints);
        let (mut creates, mut updates, mut unused) = (Vec::new(), Vec::new(), Vec::new());
        for (group, (ports, wanted)) in self.groups {
            let mut slices = by_group.remove(&group).unwrap_or_default().into_iter();
            match slices.next() {
                Some(first) if meta.stand_in(&first.0) && same(&first.1, &wanted) => {}
                Some((first, _)) => updates.push(meta.update(&first, &ports, wanted)),
                None => creates.push((group.address_type().to_owned(), ports, wanted)),
            }
            unused.extend(slices);
        }
        unused.extend(by_group.into_values().flatten());
        let mut actions = Vec::new();
        for (family, ports, wanted) in creates {
            match unused.iter().position(|(_, parsed)| parsed.address_type == family) {
                Some(at) => updates.push(meta.update(&unused.remove(at).0, &ports, wanted)),
                None if endpoints.meta().is_terminating() => {}
                None => actions.push(meta.create(endpoints, &family, &ports, wanted)),
            }
        }
        actions.extend(updates);
        actions.extend(unused.iter().map(|(slice, _)| Action::delete(ENDPOINT_SLICES, slice)));
        actions
    }
}

/// Labels, annotations and owner of a mirror.
struct Metadata<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'a str, &'a str>,
    owner: Value,
}

impl Metadata<'_> {
    fn of(endpoints: &Object) -> Metadata<'_> {
        let meta = endpoints.meta();
        let mut labels: BTreeMap<&str, &str> = meta.labels.iter().collect();
        labels.insert(SERVICE_NAME, &meta.name);
        labels.insert(MANAGED_BY, MANAGER);
        let annotations = meta.annotations.iter().filter(|(key, _)| !NOT_MIRRORED.contains(key)).collect();
        Metadata { labels, annotations, owner: controller_reference(endpoints) }
    }

    /// Whether a slice has them.
    fn stand_in(&self, slice: &Object) -> bool {
        let meta = slice.meta();
        self.labels == meta.labels.iter().collect()
            && self.annotations == meta.annotations.iter().collect()
            && meta.owner_references.iter().any(|owner| self.owner["uid"] == owner.uid.as_str())
    }

    fn update(&self, slice: &Arc<Object>, ports: &[Value], endpoints: BTreeMap<String, Value>) -> Action {
        let metadata = json!({
            "labels": replacement(&slice.meta().labels, &self.labels),
            "annotations": replacement(&slice.meta().annotations, &self.annotations),
            "ownerReferences": [self.owner],
        });
        let endpoints: Vec<Value> = endpoints.into_values().collect();
        let change = json!({"metadata": metadata, "endpoints": endpoints, "ports": ports});
        Action::Update { resource: ENDPOINT_SLICES, base: slice.clone(), subresource: "", change }
    }

    fn create(&self, source: &Object, family: &str, ports: &[Value], endpoints: BTreeMap<String, Value>) -> Action {
        let meta = source.meta();
        let dash = if meta.name.len() < MAX_PREFIX { "-" } else { "" };
        let mut metadata = json!({
            "generateName": format!("{}{dash}", meta.name), "namespace": meta.namespace, "labels": self.labels,
            "ownerReferences": [self.owner],
        });
        if !self.annotations.is_empty() {
            metadata["annotations"] = json!(self.annotations);
        }
        let endpoints: Vec<Value> = endpoints.into_values().collect();
        let body = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
            "addressType": family, "endpoints": endpoints, "ports": ports,
        });
        Action::Create { resource: ENDPOINT_SLICES, namespace: meta.namespace.clone(), body, exists_ok: false }
    }
}

/// Whether a slice has these endpoints, in any order.
fn same(slice: &EndpointSlice, wanted: &BTreeMap<String, Value>) -> bool {
    let known: BTreeMap<String, Value> =
        slice.endpoints.iter().map(|endpoint| (identity(endpoint), normal(endpoint))).collect();
    known.len() == slice.endpoints.len()
        && known.len() == wanted.len()
        && wanted.iter().all(|(identity, endpoint)| known.get(identity) == Some(&normal(endpoint)))
}

/// What makes two endpoints one.
fn identity(endpoint: &Value) -> String {
    let target = &endpoint["targetRef"];
    format!("{} {} {}", endpoint["addresses"], target["namespace"], target["name"])
}

/// A port of Endpoints as a port of a slice, which always has a name.
fn slice_port(port: &Value) -> Value {
    let mut port = port.clone();
    if port["name"].is_null() {
        port["name"] = json!("");
    }
    port
}

/// The family of an address and its endpoint; `None` for what is no address.
fn endpoint(address: &Value, ready: bool) -> Option<(&'static str, Value)> {
    let ip = k8s_kinds::parse_ip_lenient(address["ip"].as_str()?)?.to_canonical();
    let mut endpoint = json!({"addresses": [ip.to_string()], "conditions": {"ready": ready}});
    for key in ["hostname", "nodeName", "targetRef"] {
        if !address[key].is_null() {
            endpoint[key] = address[key].clone();
        }
    }
    Some((if ip.is_ipv4() { "IPv4" } else { "IPv6" }, endpoint))
}

#[cfg(test)]
mod tests;
