//! From a verified AWS caller to a Kubernetes user: access entries, the `aws-auth` ConfigMap and the cluster's creator.
//!
//! Must never verify tokens or decide what the user may do. Groups get nothing implicit: the API server adds
//! `system:authenticated`. Sources: EKS user guide ("Create access entries", "Grant IAM users access to Kubernetes with a
//! ConfigMap") and the mappers of aws-iam-authenticator 0.7.

mod arn;
mod aws_auth;
mod entry;
mod template;

use std::collections::{BTreeMap, BTreeSet};

use cloud_iam::Caller;
use cloud_iam::records::Tx;
use cloud_wire::AwsError;

use crate::access_policies::{self, AssociatedPolicy};
use crate::model::{AccessEntry, AuthenticationMode, Cluster};
use crate::service::Eks;
pub use arn::ArnError;
pub(crate) use arn::{Kind, PrincipalArn};
pub use aws_auth::{AwsAuth, AwsAuthError};
pub use entry::EntryType;
pub(crate) use entry::{
    EntryError, default_username, shown_groups, validate_groups, validate_principal, validate_username,
};
pub use template::TemplateError;

/// The user that creates a cluster is in `CONFIG_MAP` mode, whatever its ARN.
const CREATOR_USERNAME: &str = "kubernetes-admin";
/// The groups of that user.
const CREATOR_GROUPS: &[&str] = &["system:masters"];

/// A Kubernetes user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Placeholders filled in. Empty when `aws-auth` names none, as upstream leaves it.
    pub username: String,
    /// Without `system:authenticated`.
    pub groups: Vec<String>,
    /// `aws-iam-authenticator:<account>:<unique id>`.
    pub uid: String,
    /// What audit logs show: `accessKeyId`, `arn`, `canonicalArn`, `principalId`, `sessionName`.
    pub extra: BTreeMap<String, Vec<String>>,
    /// What the access entry allows beside RBAC; empty when `aws-auth` mapped the caller.
    pub policies: Vec<AssociatedPolicy>,
}

/// Why a caller is nobody in a cluster. The API server answers 401 without telling; this is for its log.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotMapped {
    /// No such cluster.
    #[error("no cluster is named {0}")]
    NoCluster(String),
    /// The caller's ARN is of a kind that never maps, such as a service.
    #[error(transparent)]
    Arn(#[from] ArnError),
    /// The unique id does not have the form that goes with the ARN.
    #[error("malformed user id {0:?}: that of an assumed role is its unique id, a colon and the session's name")]
    UserId(String),
    /// Nothing names it.
    #[error("{arn} is mapped by no {searched} of the cluster")]
    Unknown {
        /// Canonical, without a path.
        arn: String,
        /// What was searched.
        searched: &'static str,
    },
    /// The principal was deleted and made again since its access entry was.
    #[error(
        "the access entry of {arn} is bound to {bound}, but the caller is {caller}: the IAM principal was recreated; \
         delete the entry and create it again"
    )]
    Recreated {
        /// The entry's.
        arn: String,
        /// The unique id that the entry has.
        bound: String,
        /// The unique id that the caller has.
        caller: String,
    },
    /// A username or a group cannot be filled in.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The store failed.
    #[error("{0}")]
    Failed(#[from] AwsError),
}

/// Where a cluster takes users from.
#[derive(Debug, Clone, Copy)]
struct Sources<'a> {
    /// Which of the others count.
    mode: AuthenticationMode,
    /// Those of the cluster that may be the caller's.
    entries: &'a [AccessEntry],
    /// The `aws-auth` ConfigMap of `kube-system`, when there is one.
    aws_auth: Option<&'a AwsAuth>,
    /// The role (path or not) or user that made the cluster, unless it asked not to be its administrator.
    creator: Option<&'a str>,
}

/// A caller as the mappers compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subject<'a> {
    caller: &'a Caller,
    /// Of the role, the user, root or the federated user; never a path on a role.
    canonical_arn: String,
    /// The unique id without the session.
    id: &'a str,
    /// Empty when there is none.
    session: &'a str,
}

/// What names a caller, placeholders not yet filled in.
#[derive(Debug)]
struct Match {
    username: String,
    groups: Vec<String>,
    policies: Vec<AssociatedPolicy>,
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
        let subject = Subject::new(caller)?;
        let entries = self.entries_for(&cluster, &subject).await?;
        let creator = cluster.creator_admin.then_some(cluster.creator.as_str());
        let sources = Sources { mode: cluster.authentication, entries: &entries, aws_auth, creator };
        let found = find(&subject, &sources)?;
        let private_dns = match found.instance(&subject) {
            Some(instance) => self.private_dns(instance).await?,
            None => None,
        };
        Ok(subject.identity(found, private_dns.as_deref())?)
    }

    /// The entries that may be a caller's: of its role with the path that the role has now, and without one.
    async fn entries_for(&self, cluster: &Cluster, subject: &Subject<'_>) -> Result<Vec<AccessEntry>, AwsError> {
        let role = self.0.parts.iam.role_arn_of(subject.caller).await?;
        let principals: BTreeSet<&String> = role.iter().chain([&subject.canonical_arn]).collect();
        let mut tx = Tx::new(&self.0.parts.space);
        let mut entries = vec![];
        for principal in principals {
            entries.extend(tx.get::<AccessEntry>(&format!("{}/{principal}", cluster.name)).await?);
        }
        Ok(entries)
    }

    /// The private name of an instance that is not gone.
    async fn private_dns(&self, instance: &str) -> Result<Option<String>, AwsError> {
        match self.0.parts.ec2.instance(instance).await {
            Ok(instance) => Ok(instance.state.is_live().then_some(instance.private_dns)),
            Err(error) if error.status >= 500 => Err(error),
            Err(_) => Ok(None),
        }
    }
}

/// What names a caller in a cluster.
///
/// Order: access entries (bound to the unique id), then the creator, then roles, users and accounts of `aws-auth`. An entry whose
/// principal was recreated counts as absent, so in `API_AND_CONFIG_MAP` mode `aws-auth`, which knows ARNs only, may still map it.
fn find(subject: &Subject<'_>, sources: &Sources<'_>) -> Result<Match, NotMapped> {
    let mut recreated = None;
    if sources.mode.has_entries() {
        match find_entry(subject, sources.entries) {
            Found::Entry(entry) => return Ok(Match::of_entry(entry)),
            Found::Recreated(reason) => recreated = Some(reason),
            Found::Nothing => {}
        }
    }
    // In the other modes the creator needs an entry, like everybody.
    if !sources.mode.has_entries() && sources.creator.is_some_and(|arn| subject.is(arn)) {
        let groups = CREATOR_GROUPS.iter().map(|group| (*group).to_owned()).collect();
        return Ok(Match { username: CREATOR_USERNAME.to_owned(), groups, policies: vec![] });
    }
    if let Some(aws_auth) = sources.aws_auth.filter(|_| sources.mode.has_config_map()) {
        let mappings = aws_auth.read();
        if let Some(mapping) = mappings.find(&subject.canonical_arn) {
            let (username, groups) = (mapping.username.clone(), mapping.groups.clone());
            return Ok(Match { username, groups, policies: vec![] });
        }
        if mappings.accounts.contains(&subject.caller.account) {
            return Ok(Match { username: subject.canonical_arn.clone(), groups: vec![], policies: vec![] });
        }
    }
    let searched = match sources.mode {
        AuthenticationMode::Api => "access entry",
        AuthenticationMode::ApiAndConfigMap => "access entry or aws-auth ConfigMap",
        AuthenticationMode::ConfigMap => "aws-auth ConfigMap",
    };
    Err(recreated.unwrap_or_else(|| NotMapped::Unknown { arn: subject.canonical_arn.clone(), searched }))
}

enum Found<'a> {
    Entry(&'a AccessEntry),
    Recreated(NotMapped),
    Nothing,
}

/// Names of roles and of users are unique in an account whatever their paths, so the path is no part of the comparison: callers
/// that assumed a role do not show it. The unique id settles who it is; only principals of other accounts have entries without.
fn find_entry<'a>(subject: &Subject<'_>, entries: &'a [AccessEntry]) -> Found<'a> {
    let mut of_name = entries.iter().filter(|entry| subject.is(&entry.principal)).peekable();
    let first = of_name.peek().copied();
    let bound = |entry: &&AccessEntry| entry.principal_id.is_empty() || entry.principal_id == subject.id;
    match (of_name.find(bound), first) {
        (Some(entry), _) => Found::Entry(entry),
        (None, Some(entry)) => Found::Recreated(NotMapped::Recreated {
            arn: entry.principal.clone(),
            bound: entry.principal_id.clone(),
            caller: subject.id.to_owned(),
        }),
        (None, None) => Found::Nothing,
    }
}

impl Match {
    fn of_entry(entry: &AccessEntry) -> Match {
        // What can no longer be associated allows nothing.
        let policies = entry.policies.iter().filter_map(|(arn, association)| {
            let policy = access_policies::associable(arn).ok()?;
            Some(AssociatedPolicy { name: policy.name.to_owned(), scope: association.scope() })
        });
        Match { username: entry.username.clone(), groups: entry.mapped_groups(), policies: policies.collect() }
    }

    /// The instance whose private name must be known, if one must.
    fn instance<'a>(&self, subject: &Subject<'a>) -> Option<&'a str> {
        let mut texts = self.groups.iter().chain([&self.username]);
        let asked = texts.any(|text| text.contains(template::PRIVATE_DNS_NAME));
        (asked && template::is_instance_id(subject.session)).then_some(subject.session)
    }
}

impl<'a> Subject<'a> {
    fn new(caller: &'a Caller) -> Result<Subject<'a>, NotMapped> {
        let arn = PrincipalArn::parse(&caller.arn)?;
        let (id, session) = match arn.kind {
            Kind::AssumedRole | Kind::Role => match caller.user_id.split_once(':') {
                Some((id, session)) if !id.is_empty() && !session.contains(':') => (id, session),
                _ => return Err(NotMapped::UserId(caller.user_id.clone())),
            },
            // A federated user's id holds the account, which alone would be root's.
            Kind::FederatedUser | Kind::Root | Kind::User => (caller.user_id.as_str(), ""),
        };
        Ok(Subject { caller, canonical_arn: arn.canonical(), id, session })
    }

    /// Whether an ARN, with or without a role's path, is this principal's. Case is no difference in IAM names.
    fn is(&self, arn: &str) -> bool {
        PrincipalArn::parse(arn).is_ok_and(|arn| arn.canonical().eq_ignore_ascii_case(&self.canonical_arn))
    }

    /// Fills the placeholders in. `private_dns` is the name of [`Match::instance`].
    fn identity(&self, found: Match, private_dns: Option<&str>) -> Result<Identity, TemplateError> {
        let values = template::Values { subject: self, private_dns };
        let extra = [
            ("accessKeyId", self.caller.access_key_id.as_str()),
            ("arn", &self.caller.arn),
            ("canonicalArn", &self.canonical_arn),
            ("principalId", self.id),
            ("sessionName", self.session),
            ("sigs.k8s.io/aws-iam-authenticator/principalId", self.id),
        ];
        Ok(Identity {
            username: template::render(&found.username, values)?,
            groups: found.groups.iter().map(|group| template::render(group, values)).collect::<Result<_, _>>()?,
            uid: format!("aws-iam-authenticator:{}:{}", self.caller.account, self.id),
            extra: extra.into_iter().map(|(key, value)| (key.to_owned(), vec![value.to_owned()])).collect(),
            policies: found.policies,
        })
    }
}

#[cfg(test)]
mod tests;
