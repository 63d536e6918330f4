//! Lists the addresses behind each Service with a selector in EndpointSlices of at most a hundred endpoints.
//!
//! Existing slices are changed as little as possible, because every change goes to every node.

pub(super) mod desired;
mod hints;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Index};
use k8s_object::resources::{ENDPOINT_SLICES, NODES, PODS, SERVICES};
use k8s_object::views::{EndpointSlice, Pod, Service};
use k8s_object::{LabelSelector, Object};
use serde_json::{Value, json};
use world::Timestamp;

use super::BY_NODE;
use crate::controller::{Action, Controller, Key, Plan, Planned, Step, Trigger, Watched};
use crate::ownership::controller_reference;
use crate::view::View;
use desired::{Group, ZONE, desired};

/// Our slices, by `namespace/service`.
const BY_SERVICE: Index = Index {
    name: "service",
    keys: |object| {
        let labels = &object.meta().labels;
        match labels.get(SERVICE_NAME) {
            Some(service) if labels.get(MANAGED_BY) == Some(MANAGER) => {
                vec![format!("{}/{service}", object.meta().namespace)]
            }
            _ => Vec::new(),
        }
    },
};

pub(super) static CONTROLLER: Controller = Controller {
    name: "endpointslice-controller",
    event_source: "endpoint-slice-controller",
    service_account: "endpointslice-controller",
    about: "Keeps the EndpointSlices of Services with selectors.",
    watches: &[
        Watched { resource: ENDPOINT_SLICES, indices: &[BY_SERVICE] },
        Watched { resource: NODES, indices: &[] },
        Watched { resource: PODS, indices: &[BY_NODE] },
        Watched { resource: SERVICES, indices: &[] },
    ],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 5,
    rest: Duration::from_millis(100),
};

pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
pub(super) const HEADLESS: &str = "service.kubernetes.io/headless";
/// Endpoints in a slice: upstream's default of `--max-endpoints-per-slice`.
const MAX_ENDPOINTS: usize = 100;

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.resource == SERVICES {
        return vec![Key { resource: SERVICES, object: change.key.clone() }.into()];
    }
    if change.resource == ENDPOINT_SLICES {
        let labels = &change.latest().meta().labels;
        let service = labels.get(SERVICE_NAME).filter(|_| labels.get(MANAGED_BY) == Some(MANAGER));
        let key = service.map(|service| Key::new(SERVICES, &change.key.namespace, service));
        return key.into_iter().map(Trigger::from).collect();
    }
    let mut keys = Vec::new();
    if change.resource == NODES {
        let zone =
            |state: &Option<Arc<Object>>| state.as_ref().map(|node| node.meta().labels.get(ZONE).map(str::to_owned));
        if change.new.is_some() && zone(&change.old) != zone(&change.new) {
            for pod in view.indexed(&PODS, BY_NODE.name, &change.key.name) {
                keys.extend(services_of(view, &pod));
            }
        }
    } else if matters(change) {
        keys.extend(change.new.iter().chain(&change.old).flat_map(|pod| services_of(view, pod)));
    }
    keys.sort();
    keys.dedup();
    keys.into_iter().map(Trigger::from).collect()
}

/// Whether a change of a pod can change an endpoint.
pub(super) fn matters(change: &Change) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    if old.meta().labels != new.meta().labels || old.meta().deletion_timestamp != new.meta().deletion_timestamp {
        return true;
    }
    let (Ok(old), Ok(new)) = (old.view::<Pod>(), new.view::<Pod>()) else { return true };
    let part = |pod: &Pod| {
        let addresses: Vec<String> = pod.status.pod_ips.iter().map(|address| address.ip.clone()).collect();
        (pod.is_ready(), pod.is_finished(), pod.status.pod_ip.clone(), addresses, pod.spec.node_name.clone())
    };
    part(&old) != part(&new)
}

/// The Services that select a pod.
pub(super) fn services_of(view: &View<'_>, pod: &Object) -> Vec<Key> {
    let services = view.list_namespace(&SERVICES, &pod.meta().namespace);
    let selects = |object: &&Arc<Object>| {
        object.view::<Service>().is_ok_and(|service| {
            let selector = &service.spec.selector;
            !selector.is_empty() && selector.iter().all(|(key, value)| pod.meta().labels.get(key) == Some(value))
        })
    };
    services.iter().filter(selects).map(|service| Key::of(SERVICES, service)).collect()
}

fn plan(view: &View<'_>, key: &Key, _now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    // The slices of a Service that is gone are its dependents: garbage collection takes them.
    let Some(object) = view.get(&SERVICES, &key.object) else { return Ok(plan) };
    let service = object.view::<Service>()?;
    if object.meta().is_terminating() || service.spec.selector.is_empty() || service.spec.kind == "ExternalName" {
        return Ok(plan);
    }
    let selector =
        LabelSelector::labels(service.spec.selector.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let mut pods = Vec::new();
    for pod in view.list_namespace(&PODS, &key.object.namespace) {
        if selector.matches(&pod.meta().labels) {
            pods.push((pod.clone(), pod.view::<Pod>()?));
        }
    }
    let zone = |node: &str| {
        let node = view.get(&NODES, &k8s_object::NamespacedName::new("", node))?;
        node.meta().labels.get(ZONE).map(str::to_owned)
    };
    let mut wanted = desired(&service, &pods, zone);
    hints::hint(&object, wanted.values_mut().flatten());
    let mut existing: BTreeMap<Group, Vec<Stored>> = BTreeMap::new();
    for slice in view.indexed(&ENDPOINT_SLICES, BY_SERVICE.name, &key.object.to_string()) {
        if slice.meta().is_terminating() {
            continue;
        }
        let parsed = slice.view::<EndpointSlice>()?;
        let group = Group::new(&parsed.address_type, &parsed.ports);
        wanted.entry(group.clone()).or_default();
        existing.entry(group).or_default().push((slice, parsed));
    }
    let placeholder = wanted.values().all(Vec::is_empty).then(|| Group::placeholder(&service));
    if let Some(group) = &placeholder {
        wanted.entry(group.clone()).or_default();
    }
    let metadata = metadata(&object, &service);
    let (mut creates, mut updates, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
    for (group, endpoints) in wanted {
        let keep_one = placeholder.as_ref() == Some(&group);
        let slices = existing.remove(&group).unwrap_or_default();
        let fill = fill(slices, endpoints, keep_one, &metadata);
        creates.extend(fill.new.into_iter().map(|endpoints| Action::Create {
            resource: ENDPOINT_SLICES,
            namespace: key.object.namespace.clone(),
            body: body(&key.object.name, &metadata, &group, endpoints),
            exists_ok: false,
        }));
        updates.extend(fill.changed);
        deletes.extend(fill.empty.iter().map(|slice| Action::delete(ENDPOINT_SLICES, slice)));
    }
    let actions = creates.into_iter().chain(updates).chain(deletes);
    plan.steps.extend(actions.map(Step::One));
    Ok(plan)
}

/// Labels and owner of every slice of a service.
fn metadata(object: &Object, service: &Service) -> Value {
    let mut labels: BTreeMap<&str, &str> = object.meta().labels.iter().filter(|(key, _)| *key != HEADLESS).collect();
    labels.insert(SERVICE_NAME, &object.meta().name);
    labels.insert(MANAGED_BY, MANAGER);
    if service.spec.cluster_ip == "None" {
        labels.insert(HEADLESS, "");
    }
    json!({"labels": labels, "ownerReferences": [controller_reference(object)]})
}

fn body(service: &str, metadata: &Value, group: &Group, endpoints: Vec<Value>) -> Value {
    let mut metadata = metadata.clone();
    metadata["generateName"] = json!(format!("{service}-"));
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
        "addressType": group.address_type(), "endpoints": endpoints, "ports": group.ports(),
    })
}

/// A slice that there is.
type Stored = (Arc<Object>, Arc<EndpointSlice>);

/// How the endpoints of one group are spread over slices.
#[derive(Default)]
struct Fill {
    new: Vec<Vec<Value>>,
    changed: Vec<Action>,
    empty: Vec<Arc<Object>>,
}

/// Keeps every endpoint in the slice it is in, fills slices that change anyway, then the fullest slice with room for the rest,
/// then new slices.
fn fill(slices: Vec<Stored>, endpoints: Vec<Value>, keep_one: bool, metadata: &Value) -> Fill {
    let identity = |endpoint: &Value| (endpoint["targetRef"]["uid"].to_string(), endpoint["addresses"].to_string());
    let mut missing: BTreeMap<(String, String), Value> =
        endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    struct Slice {
        object: Arc<Object>,
        endpoints: Vec<Value>,
        changed: bool,
    }
    let mut slices: Vec<Slice> = slices
        .into_iter()
        .map(|(object, parsed)| {
            let kept: Vec<Value> =
                parsed.endpoints.iter().filter_map(|endpoint| missing.remove(&identity(endpoint))).collect();
            let changed = kept != parsed.endpoints || !same_metadata(&object, metadata);
            Slice { object, endpoints: kept, changed }
        })
        .collect();
    let mut rest: Vec<Value> = missing.into_values().collect();
    for slice in slices.iter_mut().filter(|slice| slice.changed) {
        let room = MAX_ENDPOINTS.saturating_sub(slice.endpoints.len()).min(rest.len());
        slice.endpoints.extend(rest.drain(..room));
    }
    if !rest.is_empty() {
        let fits = |slice: &&mut Slice| !slice.changed && slice.endpoints.len() + rest.len() <= MAX_ENDPOINTS;
        if let Some(slice) = slices.iter_mut().filter(fits).max_by_key(|slice| slice.endpoints.len()) {
            slice.endpoints.append(&mut rest);
            slice.changed = true;
        }
    }
    let mut fill = Fill { new: rest.chunks(MAX_ENDPOINTS).map(<[Value]>::to_vec).collect(), ..Fill::default() };
    let mut kept = fill.new.len();
    for slice in slices {
        if slice.endpoints.is_empty() && !(keep_one && kept == 0) {
            fill.empty.push(slice.object);
            continue;
        }
        kept += 1;
        if slice.changed {
            let mut change = json!({"endpoints": slice.endpoints, "metadata": metadata});
            // A label that the Service has lost goes.
            for (key, _) in slice.object.meta().labels.iter() {
                if metadata["labels"][key].is_null() {
                    change["metadata"]["labels"][key] = Value::Null;
                }
            }
            fill.changed.push(Action::Update {
                resource: ENDPOINT_SLICES,
                base: slice.object,
                subresource: "",
                change,
            });
        }
    }
    if keep_one && kept == 0 {
        fill.new.push(Vec::new());
    }
    fill
}

fn same_metadata(slice: &Object, metadata: &Value) -> bool {
    let labels: BTreeMap<&str, &str> = slice.meta().labels.iter().collect();
    metadata["labels"] == json!(labels)
}

#[cfg(test)]
mod tests;
