//! Who a verified AWS caller is in a cluster: access entries first, then the aws-auth ConfigMap, as the cluster's
//! authentication mode says. Sources: "Grant IAM users access to Kubernetes with EKS access entries"; aws-iam-authenticator.

use std::collections::BTreeMap;

use cloud_iam::records::Tx;
use cloud_iam::{Caller, CallerKind};
use cloud_wire::AwsError;

use crate::access_policies::{self, AssociatedPolicy, Scope};
use crate::aws_auth::{AwsAuth, Mapping};
use crate::model::{AccessEntry, Cluster};
use crate::service::Eks;

/// A Kubernetes user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Templates filled in.
    pub username: String,
    /// Without `system:authenticated`, which the API server adds.
    pub groups: Vec<String>,
    /// `aws-iam-authenticator:<account>:<user id>`.
    pub uid: String,
    /// `arn`, `canonicalArn`, `sessionName`, `accessKeyId`, `principalId`.
    pub extra: BTreeMap<String, Vec<String>>,
    /// For the authorizer; empty when the ConfigMap mapped the caller.
    pub policies: Vec<AssociatedPolicy>,
}

/// Why a caller is nobody in a cluster: 401 for the client, the reason for the log.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotMapped {
    /// No such cluster.
    #[error("no cluster is named {0}")]
    NoCluster(String),
    /// Neither an access entry nor the ConfigMap names the principal.
    #[error("{0} has no access entry and is not in aws-auth")]
    Unknown(String),
    /// The entry belongs to a principal of the same name that was deleted.
    #[error("the access entry of {0} belongs to an earlier principal of that name")]
    Recreated(String),
    /// The username needs a node that does not exist.
    #[error("{0} is not an instance of this account, which the username asks for")]
    NoInstance(String),
    /// The store failed.
    #[error("{0}")]
    Failed(AwsError),
}

impl From<AwsError> for NotMapped {
    fn from(error: AwsError) -> NotMapped {
        NotMapped::Failed(error)
    }
}

impl Eks {
    /// Maps a caller. `aws_auth` is the ConfigMap's data; it is read only in the modes that use it.
    ///
    /// # Errors
    /// [`NotMapped`].
    pub async fn identify(
        &self,
        cluster: &str,
        caller: &Caller,
        aws_auth: Option<&AwsAuth>,
    ) -> Result<Identity, NotMapped> {
        let name = cluster;
        let cluster = self.cluster(name).await?.ok_or_else(|| NotMapped::NoCluster(name.to_owned()))?;
        let mut recreated = None;
        if cluster.authentication.has_entries()
            && let Some(entry) = self.entry_for(&cluster, caller).await?
        {
            if entry.principal_id.is_empty() || entry.principal_id == caller.principal_id() {
                return self.identity_of_entry(caller, &entry).await;
            }
            recreated = Some(NotMapped::Recreated(entry.principal));
        }
        if cluster.authentication.has_config_map() {
            if let Some(mapping) = aws_auth.and_then(|auth| auth.map(&canonical_arn(caller), &caller.account)) {
                return self.identity_of_mapping(caller, mapping).await;
            }
            // In this mode there is no entry for the creator, who gets in all the same.
            let is_creator = self.principal_arn(caller).await? == cluster.creator;
            if !cluster.authentication.has_entries() && cluster.creator_admin && is_creator {
                let mapping =
                    Mapping { username: "kubernetes-admin".to_owned(), groups: vec!["system:masters".to_owned()] };
                return self.identity_of_mapping(caller, mapping).await;
            }
        }
        Err(recreated.unwrap_or_else(|| NotMapped::Unknown(caller.arn.clone())))
    }

    /// The caller's user, or its role with the role's path.
    async fn principal_arn(&self, caller: &Caller) -> Result<String, NotMapped> {
        let role = self.0.parts.iam.role_arn_of(caller).await.map_err(AwsError::from)?;
        Ok(role.unwrap_or_else(|| caller.arn.clone()))
    }

    async fn entry_for(&self, cluster: &Cluster, caller: &Caller) -> Result<Option<AccessEntry>, NotMapped> {
        let principal = self.principal_arn(caller).await?;
        let mut tx = Tx::new(&self.0.parts.space);
        Ok(tx.get::<AccessEntry>(&format!("{}/{principal}", cluster.name)).await.map_err(AwsError::from)?)
    }

    async fn identity_of_entry(&self, caller: &Caller, entry: &AccessEntry) -> Result<Identity, NotMapped> {
        let policy = |(arn, association): (&String, &crate::model::Association)| {
            let name = access_policies::name_of(arn)?.to_owned();
            let scope = association.namespaces.clone().map_or(Scope::Cluster, Scope::Namespaces);
            Some(AssociatedPolicy { name, scope })
        };
        let policies = entry.policies.iter().filter_map(policy).collect();
        let groups = entry.groups.iter().cloned().collect();
        self.identity(caller, &entry.username, groups, policies).await
    }

    async fn identity_of_mapping(&self, caller: &Caller, mapping: Mapping) -> Result<Identity, NotMapped> {
        self.identity(caller, &mapping.username, mapping.groups, Vec::new()).await
    }

    async fn identity(
        &self,
        caller: &Caller,
        username: &str,
        groups: Vec<String>,
        policies: Vec<AssociatedPolicy>,
    ) -> Result<Identity, NotMapped> {
        let session = caller.session_name().unwrap_or_default();
        let needs_node = username.contains("{{EC2PrivateDNSName}}")
            || groups.iter().any(|group| group.contains("{{EC2PrivateDNSName}}"));
        let node = if needs_node { self.private_dns(session).await? } else { String::new() };
        let fill = |text: &str| {
            text.replace("{{AccessKeyID}}", &caller.access_key_id)
                .replace("{{AccountID}}", &caller.account)
                .replace("{{EC2PrivateDNSName}}", &node)
                // A session may be named like a mail address, which not every user name may be.
                .replace("{{SessionName}}", &session.replace('@', "-"))
                .replace("{{SessionNameRaw}}", session)
        };
        let extra = [
            ("accessKeyId", caller.access_key_id.clone()),
            ("arn", caller.arn.clone()),
            ("canonicalArn", canonical_arn(caller)),
            ("principalId", caller.principal_id().to_owned()),
            ("sessionName", session.to_owned()),
            ("sigs.k8s.io/aws-iam-authenticator/principalId", caller.principal_id().to_owned()),
        ];
        Ok(Identity {
            username: fill(username),
            groups: groups.iter().map(|group| fill(group)).collect(),
            uid: format!("aws-iam-authenticator:{}:{}", caller.account, caller.principal_id()),
            extra: extra.into_iter().map(|(key, value)| (key.to_owned(), vec![value])).collect(),
            policies,
        })
    }

    /// Nodes name their sessions after their instances.
    async fn private_dns(&self, session: &str) -> Result<String, NotMapped> {
        match self.0.parts.ec2.instance(session).await {
            Ok(instance) if instance.state.is_live() => Ok(instance.private_dns),
            Ok(_) => Err(NotMapped::NoInstance(session.to_owned())),
            Err(error) if error.status >= 500 => Err(error.into()),
            Err(_) => Err(NotMapped::NoInstance(session.to_owned())),
        }
    }
}

/// The principal behind a session, without path: what aws-auth names.
fn canonical_arn(caller: &Caller) -> String {
    match &caller.kind {
        CallerKind::AssumedRole { role, .. } => format!("arn:aws:iam::{}:role/{role}", caller.account),
        CallerKind::Root | CallerKind::User { .. } | CallerKind::UserSession { .. } | CallerKind::Service { .. } => {
            caller.arn.clone()
        }
    }
}
