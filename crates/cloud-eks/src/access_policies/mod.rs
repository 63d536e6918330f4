//! EKS access policies: what a principal may do to a cluster by an association, without any RBAC object.
//!
//! Must never deny: a policy only allows, and what none allows is left to RBAC. Must never read the cluster.
//! Source: EKS user guide, "Review access policy permissions" and "Associate access policies with access entries".

mod table;

use cloud_wire::AwsError;
use serde_json::{Value, json};

use crate::service::{Call, paged};
use table::POLICIES;

/// The partition that this service is in, and its policies.
const PARTITION: &str = "aws";
/// What stands before the name in a policy's ARN, after the partition.
const ARN_MIDDLE: &str = ":eks::aws:cluster-access-policy/";

/// Something that a policy allows. Either resources or URLs, never both.
#[derive(Debug, PartialEq, Eq)]
enum Rule {
    /// Verbs on resources.
    Resources {
        /// API groups, `""` is core, `*` every one.
        groups: &'static [&'static str],
        /// `pods`, `pods/exec` or `*` (subresources included).
        resources: &'static [&'static str],
        /// Verbs, `*` every one.
        verbs: &'static [&'static str],
    },
    /// Verbs on paths that belong to no resource.
    NonResourceUrls {
        /// Paths; a trailing `*` stands for any rest.
        urls: &'static [&'static str],
        /// Verbs, `*` every one.
        verbs: &'static [&'static str],
    },
}

/// Who may associate a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Associable {
    /// Anybody who may call the operation.
    ByCallers,
    /// EKS itself, for its service-linked roles.
    ByServiceOnly,
}

/// An access policy of AWS.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// `AmazonEKSViewPolicy`.
    pub(crate) name: &'static str,
    /// Who may associate it.
    associable: Associable,
    /// What it allows, in layers that policies share. `None` where AWS publishes only the name or a summary; such a policy is
    /// listed, allows nothing, and cannot be associated.
    rules: Option<&'static [&'static [Rule]]>,
}

/// Where an association holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In these namespaces; a trailing `*` stands for any rest, as in `dev-*`.
    Namespaces(Vec<String>),
}

/// A policy associated with an access entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociatedPolicy {
    /// The name of the policy, not its ARN.
    pub name: String,
    /// Where it holds.
    pub scope: Scope,
}

/// A request to the Kubernetes API as authorizers see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, … `impersonate`.
    pub verb: &'a str,
    /// Empty is core.
    pub group: &'a str,
    /// Plural: `pods`.
    pub resource: &'a str,
    /// `exec`, or empty.
    pub subresource: &'a str,
    /// Empty for cluster-scoped resources and for lists over all namespaces. As in Kubernetes, a request for the Namespace object
    /// `blue` itself has the namespace `blue`.
    pub namespace: &'a str,
    /// Empty for lists and creations.
    pub name: &'a str,
    /// The path of a request that is for no resource; the fields above but `verb` are then ignored.
    pub path: Option<&'a str>,
}

/// Why a policy cannot be associated. The texts without a name of this service are those of AWS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AssociateError {
    /// Not the ARN of an access policy, for example one of an IAM policy. `InvalidParameterException`.
    #[error("The policyArn parameter format is not valid")]
    Format,
    /// No such policy in this partition. `ResourceNotFoundException`.
    #[error("The specified policyArn could not be found.")]
    NotFound,
    /// For EKS's own roles. `InvalidRequestException`.
    #[error("The specified policyArn can only be associated with service-linked roles")]
    ServiceOnly,
    /// AWS has not published its rules. `InvalidRequestException`.
    #[error(
        "The access policy {0} cannot be associated: AWS publishes no rules of it, so Minato cannot enforce it; \
         give the principal Kubernetes groups and RBAC bindings instead"
    )]
    RulesUnknown(&'static str),
}

/// Why an `accessScope` is refused; all are `InvalidParameterException`. The first two texts are those of AWS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScopeError {
    /// `namespace` without namespaces.
    #[error("At least 1 namespace must be provided if the type is set as namespace")]
    NoNamespaces,
    /// `cluster` with namespaces.
    #[error("accessScope should not include namespaces if the type is not set as namespace")]
    UnexpectedNamespaces,
    /// Neither `cluster` nor `namespace`.
    #[error("The accessScope type {0:?} is invalid, it must be one of [cluster, namespace]")]
    Type(String),
}

impl Policy {
    /// `arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy`.
    fn arn(&self) -> String {
        format!("arn:{PARTITION}{ARN_MIDDLE}{}", self.name)
    }

    fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        self.rules.unwrap_or_default().iter().copied().flatten()
    }
}

impl Scope {
    /// Reads the members of `accessScope`.
    ///
    /// # Errors
    /// An unknown type, or namespaces where they do not belong or are missing.
    pub(crate) fn parse(kind: &str, namespaces: Vec<String>) -> Result<Scope, ScopeError> {
        match (kind, namespaces.is_empty()) {
            ("cluster", true) => Ok(Scope::Cluster),
            ("cluster", false) => Err(ScopeError::UnexpectedNamespaces),
            ("namespace", true) => Err(ScopeError::NoNamespaces),
            ("namespace", false) => Ok(Scope::Namespaces(namespaces)),
            _ => Err(ScopeError::Type(kind.to_owned())),
        }
    }

    /// The value of `accessScope.type`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Scope::Cluster => "cluster",
            Scope::Namespaces(_) => "namespace",
        }
    }

    /// The value of `accessScope.namespaces`; empty for the cluster.
    pub(crate) fn namespaces(&self) -> &[String] {
        match self {
            Scope::Cluster => &[],
            Scope::Namespaces(list) => list,
        }
    }

    fn covers(&self, request: &Attributes<'_>) -> bool {
        match self {
            Scope::Cluster => true,
            Scope::Namespaces(list) => {
                request.path.is_none()
                    && !request.namespace.is_empty()
                    && list.iter().any(|pattern| matches_prefix(pattern, request.namespace))
            }
        }
    }
}

/// The ARN of the policy that makes a cluster's creator its administrator.
pub(crate) fn cluster_admin_arn() -> String {
    find("AmazonEKSClusterAdminPolicy").expect("a test finds it in the table").arn()
}

/// The policy of this name.
fn find(name: &str) -> Option<&'static Policy> {
    POLICIES.binary_search_by_key(&name, |policy| policy.name).ok().map(|index| &POLICIES[index])
}

/// The policy that `AssociateAccessPolicy` may associate under this ARN.
///
/// # Errors
/// See [`AssociateError`].
pub(crate) fn associable(arn: &str) -> Result<&'static Policy, AssociateError> {
    let rest = arn.strip_prefix("arn:").ok_or(AssociateError::Format)?;
    let (found, name) = rest.split_once(ARN_MIDDLE).ok_or(AssociateError::Format)?;
    if name.is_empty() || found.is_empty() || found.contains([':', '/']) {
        return Err(AssociateError::Format);
    }
    let policy = find(name).filter(|_| found == PARTITION).ok_or(AssociateError::NotFound)?;
    match (policy.associable, policy.rules) {
        (Associable::ByServiceOnly, _) => Err(AssociateError::ServiceOnly),
        (Associable::ByCallers, None) => Err(AssociateError::RulesUnknown(policy.name)),
        (Associable::ByCallers, Some(_)) => Ok(policy),
    }
}

/// Whether the policy of this name allows a request in a scope. A namespace scope never allows cluster-scoped resources, lists
/// over all namespaces, or paths, not even by `AmazonEKSClusterAdminPolicy`. A name that no policy has allows nothing.
pub fn allows(policy: &str, request: &Attributes<'_>, scope: &Scope) -> bool {
    scope.covers(request) && find(policy).is_some_and(|policy| policy.rules().any(|rule| rule.allows(request)))
}

pub(crate) async fn list(call: Call<'_>) -> Result<Value, AwsError> {
    let item = |policy: &Policy| (policy.name.to_owned(), json!({"name": policy.name, "arn": policy.arn()}));
    paged(call.input, POLICIES.iter().map(item).collect(), "accessPolicies")
}

impl Rule {
    fn allows(&self, request: &Attributes<'_>) -> bool {
        match (self, request.path) {
            (Rule::Resources { groups, resources, verbs }, None) => {
                has(verbs, request.verb)
                    && has(groups, request.group)
                    && resources.iter().any(|resource| names_resource(resource, request))
            }
            (Rule::NonResourceUrls { urls, verbs }, Some(path)) => {
                has(verbs, request.verb) && urls.iter().any(|url| matches_prefix(url, path))
            }
            (Rule::Resources { .. }, Some(_)) | (Rule::NonResourceUrls { .. }, None) => false,
        }
    }
}

fn has(list: &[&str], wanted: &str) -> bool {
    list.iter().any(|item| *item == "*" || *item == wanted)
}

fn names_resource(rule: &str, request: &Attributes<'_>) -> bool {
    let (resource, subresource) = rule.split_once('/').unwrap_or((rule, ""));
    rule == "*" || (resource == request.resource && subresource == request.subresource)
}

fn matches_prefix(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    }
}

#[cfg(test)]
mod tests;
