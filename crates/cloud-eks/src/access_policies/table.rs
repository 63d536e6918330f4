//! The access policies of AWS and their rules, as data. Must never hold a rule that AWS has not published.

use super::{Associable, Policy, Rule};

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const ANY: &[&str] = &["*"];

const fn rule(
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule::Resources { groups, resources, verbs }
}

const fn known(name: &'static str, rules: &'static [&'static [Rule]]) -> Policy {
    Policy { name, associable: Associable::ByCallers, rules: Some(rules) }
}

const fn unpublished(name: &'static str) -> Policy {
    Policy { name, associable: Associable::ByCallers, rules: None }
}

const fn service_only(name: &'static str) -> Policy {
    Policy { name, associable: Associable::ByServiceOnly, rules: None }
}

/// What `AmazonEKSViewPolicy` allows.
static VIEW: &[Rule] = &[
    rule(
        &[""],
        &[
            "bindings",
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "pods/log",
            "pods/status",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
            "serviceaccounts",
            "services",
            "services/status",
        ],
        READ,
    ),
    rule(
        &["apps"],
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
    rule(&["autoscaling"], &["horizontalpodautoscalers", "horizontalpodautoscalers/status"], READ),
    rule(&["batch"], &["cronjobs", "cronjobs/status", "jobs", "jobs/status"], READ),
    rule(&["discovery.k8s.io"], &["endpointslices"], READ),
    rule(
        &["extensions"],
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
    rule(&["networking.k8s.io"], &["ingresses", "ingresses/status", "networkpolicies"], READ),
    rule(&["policy"], &["poddisruptionbudgets", "poddisruptionbudgets/status"], READ),
];

/// What `AmazonEKSEditPolicy` allows beyond [`VIEW`].
static EDIT: &[Rule] = &[
    rule(&[""], &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"], READ),
    rule(
        &[""],
        &[
            "configmaps",
            "events",
            "persistentvolumeclaims",
            "pods",
            "pods/attach",
            "pods/exec",
            "pods/portforward",
            "pods/proxy",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "secrets",
            "serviceaccounts",
            "services",
            "services/proxy",
        ],
        WRITE,
    ),
    rule(&[""], &["serviceaccounts"], &["impersonate"]),
    rule(
        &["apps"],
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
    rule(&["autoscaling"], &["horizontalpodautoscalers"], WRITE),
    rule(&["batch"], &["cronjobs", "jobs"], WRITE),
    rule(
        &["extensions"],
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
    rule(&["networking.k8s.io"], &["ingresses", "networkpolicies"], WRITE),
    rule(&["policy"], &["poddisruptionbudgets"], WRITE),
];

/// What `AmazonEKSAdminPolicy` allows beyond [`EDIT`].
static ADMIN: &[Rule] = &[
    rule(&["authorization.k8s.io"], &["localsubjectaccessreviews"], &["create"]),
    rule(&["rbac.authorization.k8s.io"], &["rolebindings", "roles"], READ),
    rule(&["rbac.authorization.k8s.io"], &["rolebindings", "roles"], WRITE),
];

static CLUSTER_ADMIN: &[Rule] = &[rule(ANY, ANY, ANY), Rule::NonResourceUrls { urls: ANY, verbs: ANY }];

static ADMIN_VIEW: &[Rule] = &[rule(ANY, ANY, READ)];

static HYBRID: &[Rule] = &[rule(ANY, &["nodes"], &["list"])];

static SECRET_READER: &[Rule] = &[rule(&[""], &["secrets"], READ)];

/// All policies that `ListAccessPolicies` names, alphabetical.
pub(super) static POLICIES: &[Policy] = &[
    unpublished("AIDevOpsAgentAccessPolicy"),
    unpublished("AmazonAIOpsAssistantPolicy"),
    unpublished("AmazonARCRegionSwitchScalingPolicy"),
    unpublished("AmazonEKSACKPolicy"),
    known("AmazonEKSAdminPolicy", &[VIEW, EDIT, ADMIN]),
    known("AmazonEKSAdminViewPolicy", &[ADMIN_VIEW]),
    unpublished("AmazonEKSArgoCDClusterPolicy"),
    unpublished("AmazonEKSArgoCDPolicy"),
    unpublished("AmazonEKSAutoNodePolicy"),
    service_only("AmazonEKSBlockStorageClusterPolicy"),
    unpublished("AmazonEKSBlockStoragePolicy"),
    known("AmazonEKSClusterAdminPolicy", &[CLUSTER_ADMIN]),
    service_only("AmazonEKSComputeClusterPolicy"),
    unpublished("AmazonEKSComputePolicy"),
    known("AmazonEKSEditPolicy", &[VIEW, EDIT]),
    unpublished("AmazonEKSEventPolicy"),
    known("AmazonEKSHybridPolicy", &[HYBRID]),
    unpublished("AmazonEKSKROPolicy"),
    unpublished("AmazonEKSLoadBalancingClusterPolicy"),
    unpublished("AmazonEKSLoadBalancingPolicy"),
    unpublished("AmazonEKSNetworkingClusterPolicy"),
    unpublished("AmazonEKSNetworkingPolicy"),
    unpublished("AmazonEKSPodIdentityPolicy"),
    unpublished("AmazonEKSSecretAdminPolicy"),
    known("AmazonEKSSecretReaderPolicy", &[SECRET_READER]),
    known("AmazonEKSViewPolicy", &[VIEW]),
    unpublished("AmazonEMRJobPolicy"),
    unpublished("AmazonSagemakerHyperpodClusterPolicy"),
    unpublished("AmazonSagemakerHyperpodControllerPolicy"),
    unpublished("AmazonSagemakerHyperpodSpacePolicy"),
    unpublished("AmazonSagemakerHyperpodSpaceTemplatePolicy"),
    unpublished("AmazonSagemakerHyperpodSystemNamespacePolicy"),
    unpublished("AmazonSagemakerHyperpodUserClusterPolicy"),
];
