//! What every cluster has from its first moment: namespaces, priority classes, RBAC's defaults, the defaults of priority and
//! fairness, where Services get their addresses, its own Service, and the Lease of the server.
//!
//! Many objects are written at once, so that a new cluster does not wait for a hundred commits.

use std::sync::Arc;

use bytes::Bytes;
use k8s_client::{Body, Request, Verb};
use k8s_kinds::flow_control;
use k8s_object::{ApiError, GroupVersionResource, NamespacedName, Reason, UserInfo, resources};
use serde_json::{Value, json};

use crate::audit::Record;
use crate::core::Core;
use crate::own_objects;
use crate::storage::{self, Written};
use crate::{create, network, server_lease};

const AGENT: &str = "kube-apiserver";
const PRIORITY_CLASSES: GroupVersionResource = GroupVersionResource::of("scheduling.k8s.io", "v1", "priorityclasses");
pub(crate) const FLOW_SCHEMAS: GroupVersionResource =
    GroupVersionResource::of(flow_control::GROUP, "v1", "flowschemas");
pub(crate) const PRIORITY_LEVELS: GroupVersionResource =
    GroupVersionResource::of(flow_control::GROUP, "v1", "prioritylevelconfigurations");
const SERVICE_CIDRS: GroupVersionResource = GroupVersionResource::of("networking.k8s.io", "v1", "servicecidrs");

/// Objects of one transaction: etcd takes 128 operations (`--max-txn-ops`).
const BATCH: usize = 120;
/// How often it is tried again when another server of the same store is doing the same.
const ATTEMPTS: usize = 5;

/// Kinds of the default policy and their resources.
const RBAC: &[(&str, GroupVersionResource)] = &[
    ("ClusterRole", resources::CLUSTER_ROLES),
    ("ClusterRoleBinding", resources::CLUSTER_ROLE_BINDINGS),
    ("Role", resources::ROLES),
    ("RoleBinding", resources::ROLE_BINDINGS),
];

/// An object that every cluster has.
struct Wanted {
    resource: GroupVersionResource,
    namespace: String,
    object: Value,
}

impl Wanted {
    fn cluster(resource: GroupVersionResource, object: Value) -> Wanted {
        Wanted { resource, namespace: String::new(), object }
    }

    fn request(self) -> (Request, Body) {
        let request = Request::new(Verb::Create, &self.resource, &self.namespace, "");
        (request, Body::Json(self.object))
    }
}

/// Creates what is missing and leaves what is there.
pub(crate) async fn run(core: &Core) -> Result<(), ApiError> {
    let user = own_objects::user();
    ensure_all(core, &user, namespaces).await?;
    ensure_all(core, &user, objects).await?;
    store(core, network::missing(core)).await?;
    service(core).await
}

fn namespaces(_: &Core) -> Vec<Wanted> {
    let namespace = |name| {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        Wanted::cluster(resources::NAMESPACES, object)
    };
    ["default", "kube-node-lease", "kube-public", "kube-system"].map(namespace).into()
}

fn objects(core: &Core) -> Vec<Wanted> {
    let mut wanted = priority_classes();
    for object in k8s_auth::bootstrap::objects(core.minor) {
        let Some(resource) = RBAC.iter().find(|(kind, _)| *kind == object.kind().kind).map(|(_, resource)| resource)
        else {
            continue;
        };
        let namespace = object.meta().namespace.clone();
        wanted.push(Wanted { resource: resource.clone(), namespace, object: object.value() });
    }
    wanted.extend(flow_control_objects(core));
    wanted.push(service_cidr(core));
    let lease = server_lease::object(core, None);
    wanted.push(Wanted { resource: resources::LEASES, namespace: server_lease::NAMESPACE.to_owned(), object: lease });
    wanted
}

/// The defaults of priority and fairness, and where they are.
pub(crate) fn flow_control() -> Vec<(GroupVersionResource, &'static flow_control::Fixed)> {
    let of = |resource: GroupVersionResource, fixed: &'static [flow_control::Fixed]| {
        fixed.iter().map(move |fixed| (resource.clone(), fixed))
    };
    of(PRIORITY_LEVELS, flow_control::LEVELS).chain(of(FLOW_SCHEMAS, flow_control::SCHEMAS)).collect()
}

fn flow_control_objects(_: &Core) -> Vec<Wanted> {
    let wanted = |(resource, fixed)| Wanted::cluster(resource, flow_control::object(fixed));
    flow_control().into_iter().map(wanted).collect()
}

/// Brings system namespaces back.
pub(crate) async fn keep_namespaces(core: &Core, user: &Arc<UserInfo>) -> Result<(), ApiError> {
    ensure_all(core, user, namespaces).await
}

/// Brings the defaults of priority and fairness back.
pub(crate) async fn keep_flow_control(core: &Core, user: &Arc<UserInfo>) -> Result<(), ApiError> {
    ensure_all(core, user, flow_control_objects).await
}

/// Brings the range of Services, and the Service `kubernetes`, back.
pub(crate) async fn keep_network(core: &Core, user: &Arc<UserInfo>) -> Result<(), ApiError> {
    ensure_all(core, user, |core| vec![service_cidr(core)]).await?;
    service(core).await
}

fn priority_classes() -> Vec<Wanted> {
    let class = |(name, value, description): (&str, i64, &str)| {
        let object = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description,
        });
        Wanted::cluster(PRIORITY_CLASSES, object)
    };
    [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ]
    .map(class)
    .into()
}

/// Where Services get their addresses.
fn service_cidr(core: &Core) -> Wanted {
    let condition = json!({
        "type": "Ready", "status": "True", "lastTransitionTime": core.world.now().to_string(),
        "reason": "", "message": "Kubernetes default Service CIDR is ready",
    });
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [core.network.cidr.to_string()]}, "status": {"conditions": [condition]},
    });
    Wanted::cluster(SERVICE_CIDRS, object)
}

/// The Service `kubernetes`, and where it leads.
async fn service(core: &Core) -> Result<(), ApiError> {
    let endpoint = core.endpoint;
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": core.network.cidr.address(1).to_string(), "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": endpoint.map_or(443, |address| address.port())}],
        },
    });
    ensure(core, Wanted { resource: resources::SERVICES, namespace: "default".to_owned(), object: service }).await?;
    let Some(address) = endpoint else { return Ok(()) };
    // A slice may not lead to a loopback address; the server's own is not told to anybody then.
    if address.ip().is_loopback() {
        return Ok(());
    }
    // The old form of the same, for those who still read it; the slice stands beside it and is no mirror.
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{
            "addresses": [{"ip": address.ip().to_string()}],
            "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
        }],
    });
    ensure(core, Wanted { resource: resources::ENDPOINTS, namespace: "default".to_owned(), object: endpoints }).await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
    });
    ensure(core, Wanted { resource: resources::ENDPOINT_SLICES, namespace: "default".to_owned(), object: slice }).await
}

/// Whether the object, or one in its place, is there.
fn exists(core: &Core, wanted: &Wanted) -> Result<bool, ApiError> {
    let (entry, _) = core.registry.find(&wanted.resource)?;
    let name = wanted.object["metadata"]["name"].as_str().unwrap_or_default();
    Ok(entry.cache.get(&NamespacedName::new(wanted.namespace.clone(), name)).is_some())
}

/// Creates what is missing of many, in few transactions.
async fn ensure_all(core: &Core, user: &Arc<UserInfo>, wanted: impl Fn(&Core) -> Vec<Wanted>) -> Result<(), ApiError> {
    for _ in 0..ATTEMPTS {
        let mut prepared = Vec::new();
        for wanted in wanted(core) {
            if exists(core, &wanted)? {
                continue;
            }
            let (request, body) = wanted.request();
            let mut call = core.begin(&core.keyspace, user, AGENT, &Record::NONE, request).await?;
            prepared.push(create::prepared(&mut call, body).await?);
        }
        if store(core, prepared).await? {
            return Ok(());
        }
    }
    Err(ApiError::internal("what every cluster has is written by somebody else again and again"))
}

/// Stores objects; `false` if one of them was there. Caches are current afterwards.
async fn store(core: &Core, objects: Vec<(Bytes, Bytes)>) -> Result<bool, ApiError> {
    let mut is_done = true;
    for batch in objects.chunks(BATCH) {
        let revision = match storage::create_all(&core.keyspace, batch).await? {
            Written::Done(revision) => revision,
            Written::Conflict(revision) => {
                is_done = false;
                revision
            }
        };
        core.reach(revision).await;
    }
    Ok(is_done)
}

async fn ensure(core: &Core, wanted: Wanted) -> Result<(), ApiError> {
    if exists(core, &wanted)? {
        return Ok(());
    }
    let (mut request, body) = wanted.request();
    request.body = body;
    match own_objects::execute(core, AGENT, request).await {
        Ok(_) => Ok(()),
        // Another server of the same store was faster.
        Err(error) if error.reason == Reason::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
