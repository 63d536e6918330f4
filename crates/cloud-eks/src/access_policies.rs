//! Access policies: what they allow, as tables. Pure; the webhook authorizer of a cluster asks [`allows`].
//!
//! Source: "Review access policy permissions" in the EKS User Guide. Policies that only AWS services can be associated with are
//! listed by name and allow nothing here.

use cloud_wire::AwsError;
use serde_json::{Value, json};

use crate::service::{Call, paged};

/// A request, as a Kubernetes authorizer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes<'a> {
    /// `get`, `list` …
    pub verb: &'a str,
    /// API group; empty for core.
    pub group: &'a str,
    /// Plural name; empty for paths.
    pub resource: &'a str,
    /// For example `log`; may be empty.
    pub subresource: &'a str,
    /// Empty for what has none.
    pub namespace: &'a str,
    /// Object name; may be empty.
    pub name: &'a str,
    /// The path of a request that is about no resource, for example `/healthz`.
    pub path: Option<&'a str>,
}

/// Where an associated policy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Cluster,
    /// In these namespaces; a name may end in `*`.
    Namespaces(Vec<String>),
}

/// A policy of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociatedPolicy {
    /// For example `AmazonEKSViewPolicy`.
    pub name: String,
    /// Where it holds.
    pub scope: Scope,
}

impl Scope {
    fn holds(&self, attributes: &Attributes<'_>) -> bool {
        match self {
            Scope::Cluster => true,
            Scope::Namespaces(names) => {
                !attributes.namespace.is_empty()
                    && names.iter().any(|name| match name.strip_suffix('*') {
                        Some(prefix) => attributes.namespace.starts_with(prefix),
                        None => name == attributes.namespace,
                    })
            }
        }
    }
}

struct Rule {
    group: &'static str,
    /// With subresources, as in RBAC.
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
}

struct Policy {
    name: &'static str,
    rules: &'static [&'static [Rule]],
    /// All paths that are about no resource.
    paths: bool,
    /// Only AWS services can be given it.
    service_only: bool,
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const ALL: &[&str] = &["*"];

const fn rule(group: &'static str, resources: &'static [&'static str], verbs: &'static [&'static str]) -> Rule {
    Rule { group, resources, verbs }
}

static ADMIN: &[Rule] = &[
    rule("authorization.k8s.io", &["localsubjectaccessreviews"], &["create"]),
    rule("networking.k8s.io", &["ingresses/status"], WRITE),
    rule("rbac.authorization.k8s.io", &["roles", "rolebindings"], READ),
    rule("rbac.authorization.k8s.io", &["roles", "rolebindings"], WRITE),
];

static EDIT: &[Rule] = &[
    rule(
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
        WRITE,
    ),
    rule("autoscaling", &["horizontalpodautoscalers"], WRITE),
    rule("batch", &["cronjobs", "jobs"], WRITE),
    rule(
        "extensions",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "ingresses",
            "networkpolicies",
            "replicasets",
            "replicasets/scale",
            "replicationcontrollers/scale",
        ],
        WRITE,
    ),
    rule("networking.k8s.io", &["ingresses", "networkpolicies"], WRITE),
    rule("policy", &["poddisruptionbudgets"], WRITE),
    rule("", &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"], READ),
    rule("", &["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"], WRITE),
    rule(
        "",
        &[
            "configmaps",
            "events",
            "persistentvolumeclaims",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "secrets",
            "serviceaccounts",
            "services",
            "services/proxy",
        ],
        WRITE,
    ),
    rule("", &["serviceaccounts"], &["impersonate"]),
];

static VIEW: &[Rule] = &[
    rule(
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
        READ,
    ),
    rule("autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"], READ),
    rule("batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"], READ),
    rule("discovery.k8s.io", &["endpointslices"], READ),
    rule(
        "extensions",
        &[
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "ingresses",
            "ingresses/status",
            "networkpolicies",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "replicationcontrollers/scale",
        ],
        READ,
    ),
    rule("networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"], READ),
    rule("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"], READ),
    rule(
        "",
        &[
            "configmaps",
            "endpoints",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
            "services/status",
        ],
        READ,
    ),
    rule(
        "",
        &[
            "bindings",
            "events",
            "limitranges",
            "namespaces/status",
            "pods/log",
            "pods/status",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
        ],
        READ,
    ),
    rule("", &["namespaces"], READ),
];

static CLUSTER_ADMIN: &[Rule] = &[rule("*", &["*"], ALL)];
static ADMIN_VIEW: &[Rule] = &[rule("*", &["*"], READ)];
static SECRET_READER: &[Rule] = &[rule("", &["secrets"], READ)];
static HYBRID: &[Rule] = &[rule("", &["nodes"], &["list"])];

const fn of(name: &'static str, rules: &'static [&'static [Rule]]) -> Policy {
    Policy { name, rules, paths: false, service_only: false }
}

const fn service_only(name: &'static str) -> Policy {
    Policy { name, rules: &[], paths: false, service_only: true }
}

/// By name.
static POLICIES: &[Policy] = &[
    service_only("AIDevOpsAgentAccessPolicy"),
    service_only("AmazonAIOpsAssistantPolicy"),
    service_only("AmazonARCRegionSwitchScalingPolicy"),
    service_only("AmazonEKSACKPolicy"),
    of("AmazonEKSAdminPolicy", &[VIEW, EDIT, ADMIN]),
    of("AmazonEKSAdminViewPolicy", &[ADMIN_VIEW]),
    service_only("AmazonEKSArgoCDClusterPolicy"),
    service_only("AmazonEKSArgoCDPolicy"),
    service_only("AmazonEKSAutoNodePolicy"),
    service_only("AmazonEKSBlockStorageClusterPolicy"),
    service_only("AmazonEKSBlockStoragePolicy"),
    Policy { name: "AmazonEKSClusterAdminPolicy", rules: &[CLUSTER_ADMIN], paths: true, service_only: false },
    service_only("AmazonEKSComputeClusterPolicy"),
    service_only("AmazonEKSComputePolicy"),
    of("AmazonEKSEditPolicy", &[VIEW, EDIT]),
    service_only("AmazonEKSEventPolicy"),
    of("AmazonEKSHybridPolicy", &[HYBRID]),
    service_only("AmazonEKSKROPolicy"),
    service_only("AmazonEKSLoadBalancingClusterPolicy"),
    service_only("AmazonEKSLoadBalancingPolicy"),
    service_only("AmazonEKSNetworkingClusterPolicy"),
    service_only("AmazonEKSNetworkingPolicy"),
    service_only("AmazonEKSPodIdentityPolicy"),
    service_only("AmazonEKSSecretAdminPolicy"),
    of("AmazonEKSSecretReaderPolicy", &[SECRET_READER]),
    of("AmazonEKSViewPolicy", &[VIEW]),
    service_only("AmazonEMRJobPolicy"),
    service_only("AmazonSagemakerHyperpodClusterPolicy"),
    service_only("AmazonSagemakerHyperpodControllerPolicy"),
    service_only("AmazonSagemakerHyperpodSpacePolicy"),
    service_only("AmazonSagemakerHyperpodSpaceTemplatePolicy"),
    service_only("AmazonSagemakerHyperpodSystemNamespacePolicy"),
    service_only("AmazonSagemakerHyperpodUserClusterPolicy"),
];

const ARN_PREFIX: &str = "arn:aws:eks::aws:cluster-access-policy/";

/// The name in a policy's ARN, if it is a policy.
pub fn name_of(arn: &str) -> Option<&'static str> {
    let name = arn.strip_prefix(ARN_PREFIX)?;
    find(name).map(|policy| policy.name)
}

/// Whether only AWS services can be given this policy.
pub fn is_service_only(name: &str) -> bool {
    find(name).is_some_and(|policy| policy.service_only)
}

fn find(name: &str) -> Option<&'static Policy> {
    POLICIES.binary_search_by(|policy| policy.name.cmp(name)).ok().map(|at| &POLICIES[at])
}

/// Whether a policy allows a request in its scope. Policies only ever allow; what none allows is for others to decide.
pub fn allows(policy: &str, attributes: &Attributes<'_>, scope: &Scope) -> bool {
    let Some(policy) = find(policy) else { return false };
    if attributes.path.is_some() {
        return policy.paths && *scope == Scope::Cluster;
    }
    if !scope.holds(attributes) {
        return false;
    }
    policy.rules.iter().copied().flatten().any(|rule| {
        let resource = match attributes.subresource {
            "" => attributes.resource.to_owned(),
            subresource => format!("{}/{subresource}", attributes.resource),
        };
        (rule.group == "*" || rule.group == attributes.group)
            && rule.resources.iter().any(|name| *name == "*" || *name == resource)
            && rule.verbs.iter().any(|verb| *verb == "*" || *verb == attributes.verb)
    })
}

pub(crate) async fn list(call: Call<'_>) -> Result<Value, AwsError> {
    let items = POLICIES
        .iter()
        .map(|policy| {
            (policy.name.to_owned(), json!({"name": policy.name, "arn": format!("{ARN_PREFIX}{}", policy.name)}))
        })
        .collect();
    paged(call.input, items, "accessPolicies")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(POLICIES.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert_eq!(POLICIES.len(), 33);
    }

    #[test]
    fn policies_allow_what_is_documented_and_no_more() {
        let dev = || Scope::Namespaces(vec!["dev".to_owned(), "team-*".to_owned()]);
        // policy, verb, group, resource, subresource, namespace, whole cluster, in dev and team-*
        for (policy, verb, group, resource, subresource, namespace, cluster, scoped) in [
            ("View", "get", "", "pods", "", "dev", true, true),
            ("View", "get", "", "pods", "", "prod", true, false),
            ("View", "list", "", "pods", "log", "team-a", true, true),
            ("View", "get", "", "secrets", "", "dev", false, false),
            ("View", "create", "", "pods", "", "dev", false, false),
            ("View", "list", "", "namespaces", "", "", true, false),
            ("View", "list", "", "nodes", "", "", false, false),
            ("Edit", "create", "apps", "deployments", "", "dev", true, true),
            ("Edit", "get", "", "secrets", "", "dev", true, true),
            ("Edit", "create", "", "pods", "exec", "dev", true, true),
            ("Edit", "create", "rbac.authorization.k8s.io", "roles", "", "dev", false, false),
            ("Edit", "create", "example.com", "widgets", "", "dev", false, false),
            ("Edit", "impersonate", "", "serviceaccounts", "", "dev", true, true),
            ("Edit", "create", "", "namespaces", "", "", false, false),
            ("Admin", "create", "rbac.authorization.k8s.io", "rolebindings", "", "dev", true, true),
            ("Admin", "create", "", "resourcequotas", "", "dev", false, false),
            ("Admin", "create", "authorization.k8s.io", "localsubjectaccessreviews", "", "dev", true, true),
            ("AdminView", "list", "example.com", "widgets", "", "dev", true, true),
            ("AdminView", "get", "", "secrets", "", "dev", true, true),
            ("AdminView", "delete", "", "secrets", "", "dev", false, false),
            ("ClusterAdmin", "delete", "", "nodes", "", "", true, false),
            ("ClusterAdmin", "delete", "example.com", "widgets", "status", "dev", true, true),
            ("SecretReader", "get", "", "secrets", "", "dev", true, true),
            ("SecretReader", "get", "", "configmaps", "", "dev", false, false),
            ("None", "get", "", "pods", "", "dev", false, false),
        ] {
            let name = format!("AmazonEKS{policy}Policy");
            let attributes = Attributes { verb, group, resource, subresource, namespace, ..Attributes::default() };
            assert_eq!(
                allows(&name, &attributes, &Scope::Cluster),
                cluster,
                "{policy} {verb} {resource}/{subresource}"
            );
            assert_eq!(allows(&name, &attributes, &dev()), scoped, "{policy} {verb} {resource}/{subresource} scoped");
        }
        let healthz = Attributes { verb: "get", path: Some("/healthz"), ..Attributes::default() };
        assert!(allows("AmazonEKSClusterAdminPolicy", &healthz, &Scope::Cluster));
        assert!(!allows("AmazonEKSClusterAdminPolicy", &healthz, &dev()));
        assert!(!allows("AmazonEKSAdminViewPolicy", &healthz, &Scope::Cluster));
    }
}
