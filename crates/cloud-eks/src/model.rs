//! Stored types of EKS.

use std::collections::{BTreeMap, BTreeSet};

use cloud_iam::records::Record;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use world::Timestamp;

use crate::access_policies::Scope;
use crate::identity::EntryType;
use crate::identity_providers::IdentityProvider;
use crate::ports::NodeConfig;
use crate::restore::Restoring;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// CREATING → ACTIVE ⇄ UPDATING; CREATING → FAILED; ACTIVE, FAILED → DELETING → gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ClusterStatus {
    /// Its control plane starts.
    Creating,
    /// It works.
    Active,
    /// An update is in progress.
    Updating,
    /// It goes away.
    Deleting,
    /// It never came to be.
    Failed,
}

impl ClusterStatus {
    /// As EKS writes it.
    pub fn name(self) -> &'static str {
        match self {
            ClusterStatus::Creating => "CREATING",
            ClusterStatus::Active => "ACTIVE",
            ClusterStatus::Updating => "UPDATING",
            ClusterStatus::Deleting => "DELETING",
            ClusterStatus::Failed => "FAILED",
        }
    }
}

/// Who is asked which IAM principals get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuthenticationMode {
    /// Only the aws-auth ConfigMap.
    ConfigMap,
    /// Access entries, then the ConfigMap.
    ApiAndConfigMap,
    /// Only access entries.
    Api,
}

impl AuthenticationMode {
    /// As EKS writes it.
    pub fn name(self) -> &'static str {
        match self {
            AuthenticationMode::ConfigMap => "CONFIG_MAP",
            AuthenticationMode::ApiAndConfigMap => "API_AND_CONFIG_MAP",
            AuthenticationMode::Api => "API",
        }
    }

    /// Whether access entries count.
    pub fn has_entries(self) -> bool {
        self != AuthenticationMode::ConfigMap
    }

    /// Whether the ConfigMap counts.
    pub fn has_config_map(self) -> bool {
        self != AuthenticationMode::Api
    }
}

/// A problem, for the health of a cluster or node group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// `ClusterIssueCode` or `NodegroupIssueCode`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// With what.
    pub resources: Vec<String>,
}

pub(crate) fn issues_json(issues: &[Issue]) -> Value {
    issues
        .iter()
        .map(|issue| json!({"code": issue.code, "message": issue.message, "resourceIds": issue.resources}))
        .collect()
}

/// Where the control plane has its interfaces, and who may reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcConfig {
    /// Subnets of the control plane's interfaces.
    pub subnets: Vec<String>,
    /// Additional security groups.
    pub security_groups: Vec<String>,
    /// The group that EKS makes; none while the cluster is being created.
    pub cluster_security_group: Option<String>,
    /// The VPC of the subnets.
    pub vpc: String,
    /// From the internet.
    pub public: bool,
    /// From the VPC.
    pub private: bool,
    /// From where on the internet.
    pub public_cidrs: Vec<String>,
}

/// The address of a control plane, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEndpoint {
    /// `https://…`.
    pub url: String,
    /// PEM.
    pub ca_pem: String,
    /// Issuer URL.
    pub issuer: String,
}

/// A cluster. Stored under its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Unique in account and region.
    pub name: String,
    /// Thirty-two hexadecimal digits.
    pub id: String,
    /// `arn:aws:eks:R:A:cluster/NAME`.
    pub arn: String,
    /// Microseconds since the epoch.
    pub created: i64,
    /// For example `1.35`.
    pub version: String,
    /// The cluster role.
    pub role: String,
    /// Network.
    pub network: VpcConfig,
    /// For example `10.100.0.0/16`.
    pub service_cidr: String,
    /// Log types that are on.
    pub logging: BTreeSet<String>,
    /// Who decides who gets in.
    pub authentication: AuthenticationMode,
    /// Whether the creator is an administrator: by an access entry where the mode has entries, else without.
    pub creator_admin: bool,
    /// Whether vpc-cni, kube-proxy and coredns are installed without being add-ons.
    pub default_addons: bool,
    /// `EXTENDED` or `STANDARD`.
    pub support: String,
    /// Whether it refuses to be deleted.
    pub deletion_protection: bool,
    /// Whether zonal shift is on.
    pub zonal_shift: bool,
    /// `encryptionConfig` as it was given.
    pub encryption: Vec<Value>,
    /// The OpenID Connect provider whose users get in; EKS has one per cluster.
    #[serde(default)]
    pub provider: Option<IdentityProvider>,
    /// Tags.
    pub tags: Tags,
    /// Where it stands.
    pub status: ClusterStatus,
    /// When the present status may end, in microseconds since the epoch.
    pub due: i64,
    /// Where its control plane is.
    pub endpoint: Option<StoredEndpoint>,
    /// Problems.
    pub health: Vec<Issue>,
    /// The update in progress.
    pub update: Option<String>,
    /// The restore in progress, during which it has no control plane.
    #[serde(default)]
    pub restoring: Option<Restoring>,
    /// `clientRequestToken` of its creation.
    pub token: Option<String>,
    /// Digest of the request that created it.
    pub digest: String,
    /// Who created it: a user, root, or the role (with its path) of a session.
    pub creator: String,
}

impl Record for Cluster {
    const KIND: &'static str = "cluster";
}

impl Cluster {
    /// When it was created.
    pub fn created_at(&self) -> Timestamp {
        Timestamp::from_micros(self.created)
    }
}

/// CREATING → ACTIVE ⇄ UPDATING, DEGRADED; CREATE_FAILED; → DELETING → gone, DELETE_FAILED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodegroupStatus {
    /// Its first nodes start.
    Creating,
    /// It has what it wants.
    Active,
    /// An update is in progress.
    Updating,
    /// It goes away.
    Deleting,
    /// Its nodes did not come.
    CreateFailed,
    /// It could not be deleted.
    DeleteFailed,
    /// It lacks something; see its health.
    Degraded,
}

impl NodegroupStatus {
    /// As EKS writes it.
    pub fn name(self) -> &'static str {
        match self {
            NodegroupStatus::Creating => "CREATING",
            NodegroupStatus::Active => "ACTIVE",
            NodegroupStatus::Updating => "UPDATING",
            NodegroupStatus::Deleting => "DELETING",
            NodegroupStatus::CreateFailed => "CREATE_FAILED",
            NodegroupStatus::DeleteFailed => "DELETE_FAILED",
            NodegroupStatus::Degraded => "DEGRADED",
        }
    }
}

/// How many nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// At least.
    pub min_size: i64,
    /// At most.
    pub max_size: i64,
    /// Now.
    pub desired_size: i64,
}

/// A taint, with its effect as EKS writes it (`NO_SCHEDULE`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Taint {
    /// Key.
    #[serde(default)]
    pub key: String,
    /// May be empty.
    #[serde(default)]
    pub value: String,
    /// `NO_SCHEDULE`, `NO_EXECUTE`, `PREFER_NO_SCHEDULE`.
    #[serde(default)]
    pub effect: String,
}

impl Taint {
    /// The effect as Kubernetes writes it.
    pub fn kubernetes_effect(&self) -> &'static str {
        match self.effect.as_str() {
            "NO_EXECUTE" => "NoExecute",
            "PREFER_NO_SCHEDULE" => "PreferNoSchedule",
            _ => "NoSchedule",
        }
    }
}

/// A managed node group. Stored under `<cluster>/<name>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nodegroup {
    /// Its cluster.
    pub cluster: String,
    /// Unique in its cluster.
    pub name: String,
    /// Last part of its ARN.
    pub uuid: String,
    /// `arn:aws:eks:R:A:nodegroup/CLUSTER/NAME/UUID`.
    pub arn: String,
    /// Microseconds since the epoch.
    pub created: i64,
    /// Microseconds since the epoch.
    pub modified: i64,
    /// Kubernetes version of its nodes.
    pub version: String,
    /// For example `1.35.2-20260724`.
    pub release: String,
    /// `ON_DEMAND` or `SPOT`.
    pub capacity: String,
    /// How many.
    pub scaling: Scaling,
    /// In order of preference.
    pub instance_types: Vec<String>,
    /// Where.
    pub subnets: Vec<String>,
    /// For example `AL2023_x86_64_STANDARD`.
    pub ami_type: String,
    /// The node role.
    pub role: String,
    /// Labels of its nodes.
    pub labels: BTreeMap<String, String>,
    /// Taints of its nodes.
    pub taints: Vec<Taint>,
    /// What its nodes have now, or may have as long as not all of them are Ready: an update takes away what it no longer wants.
    pub applied_labels: BTreeMap<String, String>,
    /// See `applied_labels`.
    pub applied_taints: Vec<Taint>,
    /// GiB.
    pub disk: i64,
    /// `updateConfig`, as shown.
    pub update_config: Value,
    /// `nodeRepairConfig`, as shown.
    pub repair: Option<Value>,
    /// Tags.
    pub tags: Tags,
    /// Where it stands.
    pub status: NodegroupStatus,
    /// When the present status began, in microseconds since the epoch.
    pub since: i64,
    /// When the present status may end, in microseconds since the epoch.
    pub due: i64,
    /// Since when some node of its instances is not Ready, in microseconds since the epoch.
    #[serde(default)]
    pub unready_since: Option<i64>,
    /// Problems.
    pub health: Vec<Issue>,
    /// The update in progress.
    pub update: Option<String>,
    /// `clientRequestToken` of its creation.
    pub token: Option<String>,
    /// Digest of the request that created it.
    pub digest: String,
}

impl Record for Nodegroup {
    const KIND: &'static str = "nodegroup";
}

impl Nodegroup {
    /// The name of its record.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.cluster, self.name)
    }

    /// The owner of its instances in EC2.
    pub fn owner(&self) -> String {
        format!("eks/{}/{}", self.cluster, self.name)
    }

    /// The name of its Auto Scaling group.
    pub fn scaling_group(&self) -> String {
        format!("eks-{}-{}", self.name, self.uuid)
    }

    /// What its nodes should have.
    pub fn node_config(&self) -> NodeConfig {
        NodeConfig { labels: self.labels.clone(), taints: self.taints.clone() }
    }

    pub(crate) fn applied_config(&self) -> NodeConfig {
        NodeConfig { labels: self.applied_labels.clone(), taints: self.applied_taints.clone() }
    }
}

/// What an update does when its time has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// Endpoint access: public, private, CIDRs.
    Endpoint { public: bool, private: bool, cidrs: Vec<String> },
    /// Subnets and security groups.
    Vpc { subnets: Vec<String>, security_groups: Vec<String> },
    /// Log types that are on.
    Logging(BTreeSet<String>),
    /// Authentication mode.
    Access(AuthenticationMode),
    /// `STANDARD` or `EXTENDED`.
    Support(String),
    /// Zonal shift.
    ZonalShift(bool),
    /// Deletion protection.
    DeletionProtection(bool),
    /// Kubernetes version.
    Version(String),
    /// `encryptionConfig`, which the record has already.
    Encryption(Vec<Value>),
    /// The provider that the record has is the cluster's from now on.
    AssociateProvider,
    /// The provider that the record has is gone from now on.
    DisassociateProvider,
    /// The node group's record has it already; nodes follow.
    Nodegroup,
}

/// An update. Stored under `<cluster>/<scope>/<created>/<id>`, where the scope is empty for the cluster or `ng:<name>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// A UUID.
    pub id: String,
    /// `InProgress`, `Successful`, `Failed`, `Cancelled`.
    pub status: String,
    /// `UpdateType`.
    pub kind: String,
    /// `UpdateParamType` and text.
    pub params: Vec<(String, String)>,
    /// Microseconds since the epoch.
    pub created: i64,
    /// Code, message, resource ids.
    pub errors: Vec<Issue>,
    /// What it does.
    pub change: Change,
    /// `clientRequestToken`.
    pub token: Option<String>,
}

impl Record for Update {
    const KIND: &'static str = "update";
}

impl Update {
    pub(crate) fn json(&self) -> Value {
        let params: Vec<Value> =
            self.params.iter().map(|(kind, value)| json!({"type": kind, "value": value})).collect();
        let errors: Vec<Value> = self
            .errors
            .iter()
            .map(
                |error| json!({"errorCode": error.code, "errorMessage": error.message, "resourceIds": error.resources}),
            )
            .collect();
        json!({
            "id": self.id, "status": self.status, "type": self.kind, "params": params,
            "createdAt": Timestamp::from_micros(self.created).epoch_seconds(), "errors": errors,
        })
    }
}

/// An access entry. Stored under `<cluster>/<principal ARN>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessEntry {
    /// Its cluster.
    pub cluster: String,
    /// An IAM user or role.
    pub principal: String,
    /// The principal's unique id when the entry was made; empty for principals of other accounts.
    pub principal_id: String,
    /// Its own ARN.
    pub arn: String,
    /// What kind of caller it is for.
    pub kind: EntryType,
    /// With placeholders: given, or the default of the kind.
    pub username: String,
    /// Kubernetes groups as shown; those that a kind of node brings besides are added when a caller is mapped.
    pub groups: BTreeSet<String>,
    /// Scopes by policy ARN.
    pub policies: BTreeMap<String, Association>,
    /// Tags.
    pub tags: Tags,
    /// Microseconds since the epoch.
    pub created: i64,
    /// Microseconds since the epoch.
    pub modified: i64,
    /// Whether EKS made it for a node role, and takes it away again.
    pub managed: bool,
}

impl Record for AccessEntry {
    const KIND: &'static str = "access";
}

/// A policy of an access entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Association {
    /// Namespaces; none for the whole cluster.
    pub namespaces: Option<Vec<String>>,
    /// Microseconds since the epoch.
    pub created: i64,
    /// Microseconds since the epoch.
    pub modified: i64,
}

impl Association {
    /// Where it holds.
    pub(crate) fn scope(&self) -> Scope {
        self.namespaces.clone().map_or(Scope::Cluster, Scope::Namespaces)
    }
}
