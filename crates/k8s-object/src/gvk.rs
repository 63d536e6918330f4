//! Names of kinds and resources.

use std::borrow::Cow;
use std::fmt;

type Name = Cow<'static, str>;

/// A kind in a version of its group, e.g. `apps/v1 Deployment`. The core group is the empty string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// API group, empty for core.
    pub group: Name,
    /// Version, e.g. `v1`.
    pub version: Name,
    /// Kind, e.g. `Deployment`.
    pub kind: Name,
}

/// A resource in a version of its group, e.g. `apps/v1 deployments`. The core group is the empty string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionResource {
    /// API group, empty for core.
    pub group: Name,
    /// Version, e.g. `v1`.
    pub version: Name,
    /// Plural lower-case name, e.g. `deployments`.
    pub resource: Name,
}

/// `group/version`, or `version` for the core group: what stands in `apiVersion`.
fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The two halves of an `apiVersion`.
fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Names that most objects of a cluster have, sorted: they are not in memory once for each.
const KNOWN: &[&str] = &[
    "ConfigMap",
    "ControllerRevision",
    "Deployment",
    "EndpointSlice",
    "Endpoints",
    "Event",
    "Job",
    "Lease",
    "Node",
    "Pod",
    "ReplicaSet",
    "Secret",
    "Service",
    "ServiceAccount",
    "v1",
];

fn known(name: &str) -> Name {
    match KNOWN.binary_search(&name) {
        Ok(at) => Cow::Borrowed(KNOWN[at]),
        Err(_) => Cow::Owned(name.to_owned()),
    }
}

impl GroupVersionKind {
    /// From names known at compile time.
    pub const fn of(group: &'static str, version: &'static str, kind: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), version: Cow::Borrowed(version), kind: Cow::Borrowed(kind) }
    }

    /// From an object's `apiVersion` and `kind`.
    pub fn parse(api_version: &str, kind: &str) -> Self {
        let (group, version) = split(api_version);
        Self { group: group.to_owned().into(), version: known(version), kind: known(kind) }
    }

    /// What stands in `apiVersion`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

impl GroupVersionResource {
    /// From names known at compile time.
    pub const fn of(group: &'static str, version: &'static str, resource: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), version: Cow::Borrowed(version), resource: Cow::Borrowed(resource) }
    }

    /// From names known at run time.
    pub fn new(group: &str, version: &str, resource: &str) -> Self {
        Self {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            resource: resource.to_owned().into(),
        }
    }

    /// What stands in `apiVersion`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// `deployments.apps`, or `pods` for the core group: how messages name a resource.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.resource.to_string() } else { format!("{}.{}", self.resource, self.group) }
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.api_version(), self.kind)
    }
}

impl fmt::Display for GroupVersionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Resource={}", self.api_version(), self.resource)
    }
}

/// The resources that components of the control plane work with.
pub mod resources {
    use super::GroupVersionResource as Gvr;

    pub const CLUSTER_ROLES: Gvr = Gvr::of("rbac.authorization.k8s.io", "v1", "clusterroles");
    pub const CLUSTER_ROLE_BINDINGS: Gvr = Gvr::of("rbac.authorization.k8s.io", "v1", "clusterrolebindings");
    pub const CONFIG_MAPS: Gvr = Gvr::of("", "v1", "configmaps");
    pub const CONTROLLER_REVISIONS: Gvr = Gvr::of("apps", "v1", "controllerrevisions");
    pub const CRON_JOBS: Gvr = Gvr::of("batch", "v1", "cronjobs");
    pub const CUSTOM_RESOURCE_DEFINITIONS: Gvr = Gvr::of("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    pub const DAEMON_SETS: Gvr = Gvr::of("apps", "v1", "daemonsets");
    pub const DEPLOYMENTS: Gvr = Gvr::of("apps", "v1", "deployments");
    pub const ENDPOINTS: Gvr = Gvr::of("", "v1", "endpoints");
    pub const ENDPOINT_SLICES: Gvr = Gvr::of("discovery.k8s.io", "v1", "endpointslices");
    pub const EVENTS: Gvr = Gvr::of("", "v1", "events");
    pub const JOBS: Gvr = Gvr::of("batch", "v1", "jobs");
    pub const LEASES: Gvr = Gvr::of("coordination.k8s.io", "v1", "leases");
    pub const NAMESPACES: Gvr = Gvr::of("", "v1", "namespaces");
    pub const NODES: Gvr = Gvr::of("", "v1", "nodes");
    pub const PERSISTENT_VOLUME_CLAIMS: Gvr = Gvr::of("", "v1", "persistentvolumeclaims");
    pub const PODS: Gvr = Gvr::of("", "v1", "pods");
    pub const REPLICA_SETS: Gvr = Gvr::of("apps", "v1", "replicasets");
    pub const REPLICATION_CONTROLLERS: Gvr = Gvr::of("", "v1", "replicationcontrollers");
    pub const ROLES: Gvr = Gvr::of("rbac.authorization.k8s.io", "v1", "roles");
    pub const ROLE_BINDINGS: Gvr = Gvr::of("rbac.authorization.k8s.io", "v1", "rolebindings");
    pub const SECRETS: Gvr = Gvr::of("", "v1", "secrets");
    pub const SERVICES: Gvr = Gvr::of("", "v1", "services");
    pub const SERVICE_ACCOUNTS: Gvr = Gvr::of("", "v1", "serviceaccounts");
    pub const STATEFUL_SETS: Gvr = Gvr::of("apps", "v1", "statefulsets");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_most_objects_are_found() {
        assert!(KNOWN.is_sorted());
        for (name, is_known) in [("Pod", true), ("v1", true), ("v1beta1", false), ("", false)] {
            assert_eq!(matches!(known(name), Cow::Borrowed(_)), is_known, "{name}");
        }
    }
}
