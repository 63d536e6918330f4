//! Amazon EKS: clusters, managed node groups, access entries, identity providers, versions, updates,
//! tags.
//!
//! [`Eks`] answers the API and drives the life cycles behind it. What it cannot do itself it asks of a port,
//! [`ControlPlanes`]: run a control plane, say which nodes are ready, drain one. It also answers who a verified AWS caller is in a
//! cluster ([`Eks::identify`]) and what an access policy allows ([`access_policies::allows`]). It knows no Kubernetes objects.

mod access_entries;
pub mod access_policies;
mod cluster_config;
mod cluster_create;
mod clusters;
mod encryption;
mod error;
mod identity;
mod identity_providers;
mod model;
mod nodegroup_config;
mod nodegroups;
mod pace;
mod ports;
mod reconcile;
mod reconcile_cluster;
mod reconcile_nodegroup;
mod records;
mod restore;
mod service;
mod tags;
mod updates;
mod versions;

pub use access_policies::{AssociatedPolicy, Attributes, Scope};
pub use identity::{ArnError, AwsAuth, AwsAuthError, EntryType, Identity, NotMapped, TemplateError};
pub use identity_providers::{IdentityProvider, ProviderStatus};
pub use model::{AccessEntry, AuthenticationMode, Cluster, ClusterStatus, Nodegroup, NodegroupStatus, Taint};
pub use pace::Pace;
pub use ports::{
    ControlPlaneSpec, ControlPlanes, DrainError, Endpoint, NodeConfig, OidcProvider, Settings, UpgradeError,
};
pub use records::ClusterWatch;
pub use restore::{Past, Restoring};
pub use service::{Eks, EksOperation, EksParts};
pub use versions::{Support, VERSIONS, Version, git_version};

#[cfg(test)]
mod tests;
