//! Lists the addresses behind each Service with a selector in one Endpoints object of its name: the form before EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Verb};
use k8s_object::resources::{ENDPOINTS, PODS, SERVICES};
use k8s_object::views::{EndpointSubset, Endpoints, Pod, Service};
use k8s_object::{LabelSelector, Object};
use serde_json::{Value, json};
use world::Timestamp;

use super::endpoint_subsets::{AddressKey, key as address_key, repack};
use super::endpointslice::desired::{address, families, protocol, target_port};
use super::endpointslice::{HEADLESS, matters, services_of};
use super::time;
use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::json::{normal, remove, replacement};
use crate::view::{Failure, View};

pub(super) static CONTROLLER: Controller = Controller {
    name: "endpoints-controller",
    event_source: "endpoint-controller",
    service_account: "endpoint-controller",
    about: "Keeps the Endpoints of Services with selectors.",
    watches: &[
        Watched { resource: ENDPOINTS, indices: &[] },
        Watched { resource: PODS, indices: &[] },
        Watched { resource: SERVICES, indices: &[] },
    ],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: true,
    concurrency: 5,
    rest: Duration::from_millis(100),
};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
/// Says that addresses were left out.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// When what led to the latest change happened: how late consumers are is measured from it.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Elections before Leases were held in Endpoints, which no Service has.
pub(super) const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Addresses in one object, so that it stays below what a store takes.
const MAX_ADDRESSES: usize = 1000;

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    let own = || vec![Key { resource: SERVICES, object: change.key.clone() }.into()];
    if change.resource == SERVICES {
        return own();
    }
    if change.resource == ENDPOINTS {
        // Who makes Endpoints before their Service may; those that were left over when the manager began go.
        let left_over = change.new.as_ref().is_some_and(|new| {
            let meta = new.meta();
            // Objects know the second of their creation only.
            let before = time(meta.creation_timestamp.as_ref()).seconds() < view.options().started.seconds();
            change.old.is_none() && before && meta.annotations.get(LEADER).is_none()
        });
        return if change.new.is_none() || left_over { own() } else { Vec::new() };
    }
    if !matters(change) {
        return Vec::new();
    }
    let keys: BTreeSet<Key> = change.new.iter().chain(&change.old).flat_map(|pod| services_of(view, pod)).collect();
    keys.into_iter().map(Trigger::from).collect()
}

fn plan(view: &View<'_>, key: &Key, _now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let stored = view.get(&ENDPOINTS, &key.object);
    let Some(object) = view.get(&SERVICES, &key.object) else {
        plan.steps.extend(stored.map(|stored| crate::Step::One(Action::delete(ENDPOINTS, &stored))));
        return Ok(plan);
    };
    let service = object.view::<Service>()?;
    if service.spec.kind == "ExternalName" || service.spec.selector.is_empty() {
        return Ok(plan);
    }
    let selector =
        LabelSelector::labels(service.spec.selector.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let mut members = Vec::new();
    for pod in view.list_namespace(&PODS, &key.object.namespace) {
        if selector.matches(&pod.meta().labels) {
            members.push((pod.clone(), pod.view::<Pod>()?));
        }
    }
    let mut subsets = repack(&single(&service, &members));
    let over_capacity = truncate(&mut subsets);
    let current = match &stored {
        Some(stored) => stored.view::<Endpoints>()?,
        None => Arc::default(),
    };
    let mut labels: BTreeMap<&str, &str> = object.meta().labels.iter().filter(|(key, _)| *key != HEADLESS).collect();
    if matches!(service.spec.cluster_ip.as_str(), "" | "None") {
        labels.insert(HEADLESS, "");
    }
    labels.insert(MANAGED_BY, MANAGER);
    let wanted = json!(subsets.iter().map(subset_json).collect::<Vec<_>>());
    if let Some(stored) = &stored {
        let known: BTreeMap<&str, &str> = stored.meta().labels.iter().collect();
        let marked = stored.meta().annotations.get(OVER_CAPACITY).is_some();
        if comparable(&current.subsets) == comparable(&subsets) && known == labels && marked == over_capacity {
            return Ok(plan);
        }
    }
    let mut times = changed(&current.subsets, &subsets, &members);
    if stored.is_none() {
        times.extend(object.meta().creation_timestamp.clone());
    }
    let mut annotations = json!({TRIGGER_TIME: times.into_iter().min()});
    annotations[OVER_CAPACITY] = if over_capacity { json!("truncated") } else { Value::Null };
    let action = match &stored {
        Some(stored) => Action::Update {
            resource: ENDPOINTS,
            base: stored.clone(),
            subresource: "",
            change: json!({
                "metadata": {"labels": replacement(&stored.meta().labels, &labels), "annotations": annotations},
                "subsets": wanted,
            }),
        },
        None => Action::Create {
            resource: ENDPOINTS,
            namespace: key.object.namespace.clone(),
            body: normal(&json!({
                "apiVersion": "v1", "kind": "Endpoints",
                "metadata": {
                    "name": key.object.name, "namespace": key.object.namespace, "labels": labels,
                    "annotations": annotations,
                },
                "subsets": wanted,
            })),
            exists_ok: false,
        },
    };
    plan.then(match (view.failure(), &action) {
        (Some(failure), Action::Create { body, .. }) => failed(failure, &Arc::new(Object::from_value(body)?), key),
        (Some(failure), _) => failed(failure, stored.as_ref().unwrap_or(&object), key),
        (None, _) => action,
    });
    Ok(plan)
}

/// The event about a write that went wrong.
fn failed(failure: &Failure, about: &Arc<Object>, key: &Key) -> Action {
    let (service, error) = (&key.object, &failure.error);
    match failure.verb {
        Verb::Create => {
            let message = format!("Failed to create endpoint for service {service}: {error}");
            Action::warning(about, "FailedToCreateEndpoint", message)
        }
        _ => {
            let message = format!("Failed to update endpoint {service}: {error}");
            Action::warning(about, "FailedToUpdateEndpoint", message)
        }
    }
}

/// One subset per pod and port.
fn single(service: &Service, members: &[(Arc<Object>, Arc<Pod>)]) -> Vec<EndpointSubset> {
    let family = families(service)[0];
    let publishes = service.spec.publish_not_ready_addresses;
    let mut subsets = Vec::new();
    for (object, pod) in members {
        let Some(ip) = address(pod, family) else { continue };
        if pod.is_finished() || (object.meta().is_terminating() && !publishes) {
            continue;
        }
        let mut entry = json!({
            "ip": ip,
            "targetRef": {
                "kind": "Pod", "namespace": object.meta().namespace, "name": object.meta().name,
                "uid": object.meta().uid,
            },
        });
        if !pod.spec.node_name.is_empty() {
            entry["nodeName"] = json!(pod.spec.node_name);
        }
        if !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name {
            entry["hostname"] = json!(pod.spec.hostname);
        }
        let mut add = |ports: Vec<Value>| {
            let (mut ready, mut not_ready) = (vec![entry.clone()], Vec::new());
            if !publishes && !pod.is_ready() {
                std::mem::swap(&mut ready, &mut not_ready);
            }
            subsets.push(EndpointSubset { addresses: ready, not_ready_addresses: not_ready, ports });
        };
        if service.spec.ports.is_empty() && service.spec.cluster_ip == "None" {
            add(Vec::new());
        }
        for port in &service.spec.ports {
            let Some(number) = target_port(port, pod) else { continue };
            let mut json = json!({"port": number, "protocol": protocol(port)});
            if !port.name.is_empty() {
                json["name"] = json!(port.name);
            }
            if let Some(application) = &port.app_protocol {
                json["appProtocol"] = json!(application);
            }
            add(vec![json]);
        }
    }
    subsets
}

fn subset_json(subset: &EndpointSubset) -> Value {
    let mut json = json!({});
    let lists = [
        ("addresses", &subset.addresses),
        ("notReadyAddresses", &subset.not_ready_addresses),
        ("ports", &subset.ports),
    ];
    for (key, list) in lists {
        if !list.is_empty() {
            json[key] = json!(list);
        }
    }
    json
}

/// Subsets without the revisions of what they lead to, which say nothing about where that is.
fn comparable(subsets: &[EndpointSubset]) -> Value {
    let mut subsets: Vec<Value> = subsets.iter().map(|subset| normal(&subset_json(subset))).collect();
    for subset in &mut subsets {
        for list in ["addresses", "notReadyAddresses"] {
            for address in subset[list].as_array_mut().into_iter().flatten() {
                if address.get("targetRef").is_some() {
                    remove(&mut address["targetRef"], "resourceVersion");
                }
            }
        }
    }
    Value::Array(subsets.into_iter().map(|subset| normal(&subset)).collect())
}

/// Leaves out addresses beyond the capacity: first those that are not ready, of all subsets in proportion. Says whether it did.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let ready: usize = subsets.iter().map(|subset| subset.addresses.len()).sum();
    let not_ready: usize = subsets.iter().map(|subset| subset.not_ready_addresses.len()).sum();
    if ready + not_ready <= MAX_ADDRESSES {
        return false;
    }
    let only_ready = ready > MAX_ADDRESSES;
    let (room, total) = if only_ready { (MAX_ADDRESSES, ready) } else { (MAX_ADDRESSES - ready, not_ready) };
    let mut left = room;
    for subset in subsets {
        if only_ready {
            subset.not_ready_addresses.clear();
        }
        let list = if only_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.truncate((list.len() * room).div_ceil(total).min(left));
        left -= list.len();
    }
    true
}

/// When the pods whose entries are new became what they are now.
fn changed(old: &[EndpointSubset], new: &[EndpointSubset], members: &[(Arc<Object>, Arc<Pod>)]) -> Vec<String> {
    let states = |subsets: &[EndpointSubset]| -> BTreeSet<(AddressKey, bool)> {
        let of = |subset: &EndpointSubset| {
            let ready = subset.addresses.iter().map(|address| (address_key(address), true));
            let not_ready = subset.not_ready_addresses.iter().map(|address| (address_key(address), false));
            ready.chain(not_ready).collect::<Vec<_>>()
        };
        subsets.iter().flat_map(of).collect()
    };
    let (old, new) = (states(old), states(new));
    let uids: BTreeSet<&str> = new.difference(&old).map(|((_, uid), _)| uid.as_str()).collect();
    let times = members.iter().filter(|(object, _)| uids.contains(object.meta().uid.as_str()));
    times.filter_map(|(_, pod)| pod.condition("Ready")?.last_transition_time.clone()).collect()
}

#[cfg(test)]
mod tests;
