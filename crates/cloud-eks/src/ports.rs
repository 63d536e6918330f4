//! What EKS asks of Kubernetes. The region implements it over its control planes and nodes.
//!
//! Every call may be made again with the same arguments, after a restart too, and must then do nothing that is done already.

use std::collections::{BTreeMap, BTreeSet};

use world::BoxFuture;

use crate::model::Taint;

/// What a control plane is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneSpec {
    /// Unique among the account's clusters.
    pub name: String,
    /// The cluster's ARN.
    pub arn: String,
    /// Thirty-two hexadecimal digits, part of endpoint and issuer.
    pub id: String,
    /// For example `1.35`.
    pub version: String,
    /// For example `10.100.0.0/16`.
    pub service_cidr: String,
    /// What may change while it runs.
    pub settings: Settings,
}

/// What a control plane is told while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The OpenID Connect provider whose tokens it takes.
    pub provider: Option<OidcProvider>,
    /// ARN of the KMS key that Secrets are encrypted with.
    pub key: Option<String>,
}

/// Whose tokens a control plane takes, and what it makes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcProvider {
    /// `https://…`, the `iss` of its tokens.
    pub issuer: String,
    /// The `aud` that its tokens must have.
    pub client_id: String,
    /// The claim that is the user's name.
    pub username_claim: String,
    /// Before the name.
    pub username_prefix: String,
    /// The claim with the user's groups; none when empty.
    pub groups_claim: String,
    /// Before each group.
    pub groups_prefix: String,
    /// Claims and the values that they must have.
    pub required_claims: BTreeMap<String, String>,
}

/// Where a control plane is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://…`.
    pub url: String,
    /// Certificates of its authority, in PEM.
    pub ca_pem: String,
    /// Issuer of service account tokens.
    pub oidc_issuer: String,
}

/// What the nodes of a group have beyond what their instances say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
}

/// Why a control plane does not change its version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// It cannot serve that version.
    #[error("{0}")]
    NotSupported(String),
    /// It failed and may succeed later.
    #[error("{0}")]
    Failed(String),
}

/// Why a node was not drained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// Pods that may not be evicted; their names.
    #[error("pods could not be evicted: {}", .0.join(", "))]
    Blocked(Vec<String>),
    /// The cluster could not be asked.
    #[error("{0}")]
    Failed(String),
}

/// See the module.
pub trait ControlPlanes: Send + Sync {
    /// Starts a control plane, or finds the one that runs and gives it the settings.
    ///
    /// # Errors
    /// Why it cannot run, for the cluster's health.
    fn ensure<'a>(&'a self, spec: &'a ControlPlaneSpec) -> BoxFuture<'a, Result<Endpoint, String>>;

    /// Makes sure that there is a KMS key by this ARN that Secrets can be encrypted with.
    ///
    /// # Errors
    /// Why there is none.
    fn ensure_key<'a>(&'a self, arn: &'a str) -> BoxFuture<'a, Result<(), String>>;

    /// Where this process serves a cluster, `https://…`; none when it does not (yet).
    fn endpoint(&self, cluster: &str) -> Option<String>;

    /// Stops a control plane and forgets its data.
    ///
    /// # Errors
    /// Why it still runs; it is asked again.
    fn remove<'a>(&'a self, cluster: &'a str) -> BoxFuture<'a, Result<(), String>>;

    /// Whether a running control plane could change to a version. Asked before an update is accepted.
    ///
    /// # Errors
    /// [`UpgradeError::NotSupported`].
    fn can_upgrade(&self, cluster: &str, version: &str) -> Result<(), UpgradeError>;

    /// Changes the version of a running control plane.
    ///
    /// # Errors
    /// See [`UpgradeError`].
    fn upgrade<'a>(&'a self, cluster: &'a str, version: &'a str) -> BoxFuture<'a, Result<(), UpgradeError>>;

    /// Lets the nodes of a role in through the aws-auth ConfigMap, as EKS does for node groups in the modes that read it.
    ///
    /// # Errors
    /// Why the ConfigMap could not be written; it is asked again.
    fn map_node_role<'a>(&'a self, cluster: &'a str, role_arn: &'a str) -> BoxFuture<'a, Result<(), String>>;

    /// The instances of a node group whose nodes are Ready.
    fn ready_nodes<'a>(&'a self, cluster: &'a str, nodegroup: &'a str) -> BoxFuture<'a, BTreeSet<String>>;

    /// Gives the nodes of these instances a group's labels and taints, and takes those of `previous` away.
    ///
    /// # Errors
    /// Why a node could not be changed; it is asked again.
    fn configure_nodes<'a>(
        &'a self,
        cluster: &'a str,
        instances: &'a [String],
        previous: &'a NodeConfig,
        config: &'a NodeConfig,
    ) -> BoxFuture<'a, Result<(), String>>;

    /// Cordons the node of an instance and evicts its pods, respecting PodDisruptionBudgets until it is dropped; a node that does
    /// not exist is drained.
    ///
    /// # Errors
    /// See [`DrainError`].
    fn drain<'a>(&'a self, cluster: &'a str, instance: &'a str) -> BoxFuture<'a, Result<(), DrainError>>;
}
