//! What every cluster has from its first moment: namespaces, priority classes, RBAC's defaults, and its own Service.

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_client::{Body, Options, Request, Verb};
use k8s_object::{ApiError, GroupVersionResource, NamespacedName, Reason, UserInfo, resources};
use serde_json::{Value, json};

use crate::core::Core;

const AGENT: &str = "kube-apiserver";
const PRIORITY_CLASSES: GroupVersionResource = GroupVersionResource::of("scheduling.k8s.io", "v1", "priorityclasses");

/// Kinds of the default policy and their resources.
const RBAC: &[(&str, GroupVersionResource)] = &[
    ("ClusterRole", resources::CLUSTER_ROLES),
    ("ClusterRoleBinding", resources::CLUSTER_ROLE_BINDINGS),
    ("Role", resources::ROLES),
    ("RoleBinding", resources::ROLE_BINDINGS),
];

/// Creates what is missing and leaves what is there.
pub(crate) async fn run(core: &Core, endpoint: Option<SocketAddr>) -> Result<(), ApiError> {
    let user = Arc::new(UserInfo::new("system:apiserver", &["system:masters"]));
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(core, &user, &resources::NAMESPACES, "", namespace).await?;
    }
    for (name, value, description) in [
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
    ] {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description,
        });
        ensure(core, &user, &PRIORITY_CLASSES, "", class).await?;
    }
    for object in k8s_auth::bootstrap::objects() {
        let Some(resource) = RBAC.iter().find(|(kind, _)| *kind == object.kind().kind).map(|(_, resource)| resource)
        else {
            continue;
        };
        ensure(core, &user, resource, &object.meta().namespace, object.value()).await?;
    }
    service(core, &user, endpoint).await
}

/// The Service `kubernetes`, and where it leads.
async fn service(core: &Core, user: &Arc<UserInfo>, endpoint: Option<SocketAddr>) -> Result<(), ApiError> {
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": core.network.cidr.address(1).to_string(), "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": endpoint.map_or(443, |address| address.port())}],
        },
    });
    ensure(core, user, &resources::SERVICES, "default", service).await?;
    let Some(address) = endpoint else { return Ok(()) };
    // A slice may not lead to a loopback address; the server's own is not told to anybody then.
    if address.ip().is_loopback() {
        return Ok(());
    }
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
    });
    ensure(core, user, &resources::ENDPOINT_SLICES, "default", slice).await
}

async fn ensure(
    core: &Core,
    user: &Arc<UserInfo>,
    resource: &GroupVersionResource,
    namespace: &str,
    object: Value,
) -> Result<(), ApiError> {
    let (entry, _) = core.registry.find(resource)?;
    let name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
    if entry.cache.get(&NamespacedName::new(namespace, name)).is_some() {
        return Ok(());
    }
    let request = Request {
        verb: Verb::Create,
        resource: resource.clone(),
        subresource: String::new(),
        namespace: namespace.to_owned(),
        name: String::new(),
        body: Body::Json(object),
        patch: None,
        options: Options::default(),
    };
    match core.execute(&core.keyspace, user, AGENT, None, request).await {
        Ok(_) => Ok(()),
        // Another server of the same store was faster.
        Err(error) if error.reason == Reason::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
