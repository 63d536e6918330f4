//! What the wiring tells the manager: its cluster's resources and the knobs of kube-controller-manager.

use std::time::Duration;

use k8s_auth::pki::Authority;
use k8s_object::GroupVersionResource;
use world::Timestamp;

/// A resource that a cluster serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceInfo {
    pub resource: GroupVersionResource,
    pub kind: String,
    pub namespaced: bool,
    /// Whether a custom resource says how many replicas it wants, below `scale`.
    pub scale: bool,
}

impl ResourceInfo {
    /// From its names.
    pub fn new(resource: GroupVersionResource, kind: &str, namespaced: bool) -> ResourceInfo {
        ResourceInfo { resource, kind: kind.to_owned(), namespaced, scale: false }
    }
}

/// Whose certificates the cluster's authority signs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CertificatePolicy {
    /// EKS's: of applications and kubelets to serve with, and of nobody to call the API server with.
    #[default]
    Eks,
    /// kube-controller-manager's: of clients and kubelets.
    Upstream,
}

/// Options of the manager. The names are those of kube-controller-manager's flags where it has them.
#[derive(Debug, Clone)]
pub struct Options {
    /// The minor version of Kubernetes whose controllers these are.
    pub minor: u8,
    /// The built-in resources that can be listed, watched and deleted, one version of each: what garbage collection and the
    /// deletion of namespaces cover. Custom resources are added as their definitions come and go.
    pub resources: Vec<ResourceInfo>,
    /// The cluster's CA certificates in PEM, published in every namespace as `kube-root-ca.crt`.
    pub root_ca_pem: String,
    /// Signs certificates that were asked for and approved. Without one they wait.
    pub authority: Option<Authority>,
    pub certificates: CertificatePolicy,
    /// When the manager started: no node was listened to before, so none counts as silent for that time.
    pub started: Timestamp,
    /// How long a node may be silent before it counts as lost.
    pub node_monitor_grace_period: Duration,
    /// The same for a node that has never said anything.
    pub node_startup_grace_period: Duration,
    /// How long at least between the evictions of two nodes of a zone (upstream's rate of 0.1 per second).
    pub node_eviction_interval: Duration,
    /// The same in a zone most of whose nodes are lost, in a large cluster.
    pub secondary_node_eviction_interval: Duration,
    /// Up to this many nodes a zone most of whose nodes are lost gets no evictions at all.
    pub large_cluster_size_threshold: usize,
    /// The share of lost nodes from which a zone counts as broken, in percent.
    pub unhealthy_zone_threshold_percent: usize,
    /// How many finished pods may stay.
    pub terminated_pod_gc_threshold: usize,
    /// How long a node may be gone before its pods are.
    pub orphaned_pod_grace_period: Duration,
}

impl Options {
    /// Whether sets and Deployments say how many of their pods are going: the feature gate
    /// `DeploymentReplicaSetTerminatingReplicas` is on from 1.35.
    pub(crate) fn counts_terminating(&self) -> bool {
        self.minor >= 35
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            minor: 34,
            resources: Vec::new(),
            root_ca_pem: String::new(),
            authority: None,
            certificates: CertificatePolicy::default(),
            started: Timestamp::from_micros(0),
            node_monitor_grace_period: Duration::from_secs(40),
            node_startup_grace_period: Duration::from_secs(60),
            node_eviction_interval: Duration::from_secs(10),
            secondary_node_eviction_interval: Duration::from_secs(100),
            large_cluster_size_threshold: 50,
            unhealthy_zone_threshold_percent: 55,
            terminated_pod_gc_threshold: 12_500,
            orphaned_pod_grace_period: Duration::from_secs(40),
        }
    }
}
