//! ClusterRoles that are not of a controller, and whom they are bound to (bootstrappolicy `policy.go`).

use super::Rule::{Named, On, Urls};
use super::Whom::{Account, Group, User};
use super::{ClusterRole, EVENTS, READ, READ_WRITE, Rule, WRITE, Whom};

const TOKEN_REVIEWS: Rule = On("authentication.k8s.io", "tokenreviews", "create");
const ACCESS_REVIEWS: Rule = On("authorization.k8s.io", "subjectaccessreviews", "create");

const fn gathering(name: &'static str, joins: &'static str) -> ClusterRole {
    ClusterRole { name, gathers: name, joins, rules: &[] }
}

const fn joining(name: &'static str, joins: &'static str, rules: &'static [Rule]) -> ClusterRole {
    ClusterRole { name, gathers: "", joins, rules }
}

/// By name.
pub(super) static CLUSTER_ROLES: &[ClusterRole] = &[
    gathering("admin", ""),
    ClusterRole::new("cluster-admin", &[On("*", "*", "*"), Urls("*", "*")]),
    gathering("edit", "admin"),
    joining(
        "system:aggregate-to-admin",
        "admin",
        &[
            On("authorization.k8s.io", "localsubjectaccessreviews", "create"),
            On("rbac.authorization.k8s.io", "rolebindings roles", READ_WRITE),
        ],
    ),
    joining(
        "system:aggregate-to-edit",
        "edit",
        &[
            On("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", READ),
            On("core", "serviceaccounts", "impersonate"),
            On("core", "pods pods/attach pods/exec pods/portforward pods/proxy", WRITE),
            On("core", "pods/eviction", "create"),
            On(
                "core",
                "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy",
                WRITE,
            ),
            On("core", "serviceaccounts/token", "create"),
            On(
                "apps",
                "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale",
                WRITE,
            ),
            On("autoscaling", "horizontalpodautoscalers", WRITE),
            On("batch", "cronjobs jobs", WRITE),
            On(
                "extensions",
                "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale",
                WRITE,
            ),
            On("policy", "poddisruptionbudgets", WRITE),
            On("networking.k8s.io", "ingresses networkpolicies", WRITE),
            On("coordination.k8s.io", "leases", READ_WRITE),
        ],
    ),
    joining(
        "system:aggregate-to-view",
        "view",
        &[
            On(
                "core",
                "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
                READ,
            ),
            On(
                "core",
                "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status",
                READ,
            ),
            On("core", "namespaces", READ),
            On("discovery.k8s.io", "endpointslices", READ),
            On(
                "apps",
                "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
                READ,
            ),
            On("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", READ),
            On("batch", "cronjobs cronjobs/status jobs jobs/status", READ),
            On(
                "extensions",
                "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale",
                READ,
            ),
            On("policy", "poddisruptionbudgets poddisruptionbudgets/status", READ),
            On("networking.k8s.io", "ingresses ingresses/status networkpolicies", READ),
        ],
    ),
    ClusterRole::new("system:auth-delegator", &[TOKEN_REVIEWS, ACCESS_REVIEWS]),
    ClusterRole::new(
        "system:basic-user",
        &[
            On("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
            On("authentication.k8s.io", "selfsubjectreviews", "create"),
        ],
    ),
    ClusterRole::new(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[On("certificates.k8s.io", "certificatesigningrequests/nodeclient", "create")],
    ),
    ClusterRole::new(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[On("certificates.k8s.io", "certificatesigningrequests/selfnodeclient", "create")],
    ),
    ClusterRole::new(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[Named("certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client", "approve")],
    ),
    ClusterRole::new(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[Named("certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet", "approve")],
    ),
    ClusterRole::new(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[Named("certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving", "approve")],
    ),
    ClusterRole::new(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[Named("certificates.k8s.io", "signers", "kubernetes.io/legacy-unknown", "approve")],
    ),
    ClusterRole::new(
        "system:discovery",
        &[Urls("/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/", "get")],
    ),
    ClusterRole::new(
        "system:heapster",
        &[On("core", "events namespaces nodes pods", READ), On("extensions", "deployments", READ)],
    ),
    ClusterRole::new("system:kube-aggregator", &[On("core", "endpoints services", READ)]),
    ClusterRole::new(
        "system:kube-controller-manager",
        &[
            EVENTS,
            On("coordination.k8s.io", "leases", "create"),
            Named("coordination.k8s.io", "leases", "kube-controller-manager", "get update"),
            On("core", "secrets serviceaccounts", "create"),
            On("core", "secrets", "delete"),
            On("core", "configmaps namespaces secrets serviceaccounts", "get"),
            On("core", "secrets serviceaccounts", "update"),
            TOKEN_REVIEWS,
            ACCESS_REVIEWS,
            On("*", "*", "list watch"),
            On("core", "serviceaccounts/token", "create"),
        ],
    ),
    ClusterRole::new("system:kube-dns", &[On("core", "endpoints services", "list watch")]),
    ClusterRole::new(
        "system:kube-scheduler",
        &[
            EVENTS,
            On("coordination.k8s.io", "leases", "create"),
            Named("coordination.k8s.io", "leases", "kube-scheduler", "get update"),
            On("core", "nodes", READ),
            On("core", "pods", "delete get list watch"),
            On("core", "bindings pods/binding", "create"),
            On("core", "pods/status", "patch update"),
            On("core", "replicationcontrollers services", READ),
            On("apps extensions", "replicasets", READ),
            On("apps", "statefulsets", READ),
            On("policy", "poddisruptionbudgets", READ),
            On("core", "persistentvolumeclaims persistentvolumes", READ),
            TOKEN_REVIEWS,
            ACCESS_REVIEWS,
            On("storage.k8s.io", "csinodes", READ),
            On("core", "namespaces", READ),
            On("storage.k8s.io", "csidrivers", READ),
            On("storage.k8s.io", "csistoragecapacities", READ),
        ],
    ),
    ClusterRole::new(
        "system:kubelet-api-admin",
        &[
            On("core", "nodes", READ),
            On("core", "nodes", "proxy"),
            On("core", "nodes/log nodes/metrics nodes/proxy nodes/stats", "*"),
        ],
    ),
    ClusterRole::new(
        "system:monitoring",
        &[
            Urls("/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*", "get"),
            On("core", "nodes/metrics", "get"),
        ],
    ),
    ClusterRole::new(
        "system:node",
        &[
            TOKEN_REVIEWS,
            On("authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews", "create"),
            On("core", "services", READ),
            On("core", "nodes", "create get list watch"),
            On("core", "nodes/status", "patch update"),
            On("core", "nodes", "patch update"),
            On("core", "events", "create patch update"),
            On("core", "pods", READ),
            On("core", "pods", "create delete"),
            On("core", "pods/status", "patch update"),
            On("core", "pods/eviction", "create"),
            On("core", "configmaps secrets", READ),
            On("core", "persistentvolumeclaims persistentvolumes", "get"),
            On("core", "endpoints", "get"),
            On("certificates.k8s.io", "certificatesigningrequests", "create get list watch"),
            On("coordination.k8s.io", "leases", "create delete get patch update"),
            On("storage.k8s.io", "volumeattachments", "get"),
            On("core", "serviceaccounts/token", "create"),
            On("core", "persistentvolumeclaims/status", "get patch update"),
            On("storage.k8s.io", "csidrivers", READ),
            On("storage.k8s.io", "csinodes", "create delete get patch update"),
            On("node.k8s.io", "runtimeclasses", READ),
        ],
    ),
    ClusterRole::new(
        "system:node-bootstrapper",
        &[On("certificates.k8s.io", "certificatesigningrequests", "create get list watch")],
    ),
    ClusterRole::new(
        "system:node-problem-detector",
        &[On("core", "nodes", "get"), On("core", "nodes/status", "patch"), EVENTS],
    ),
    ClusterRole::new(
        "system:node-proxier",
        &[
            On("core", "endpoints services", "list watch"),
            On("core", "nodes", READ),
            EVENTS,
            On("discovery.k8s.io", "endpointslices", "list watch"),
            On("networking.k8s.io", "servicecidrs", "list watch"),
        ],
    ),
    ClusterRole::new(
        "system:persistent-volume-provisioner",
        &[
            On("core", "persistentvolumes", "create delete get list watch"),
            On("core", "persistentvolumeclaims", "get list update watch"),
            On("storage.k8s.io", "storageclasses", READ),
            On("core", "events", "watch"),
            EVENTS,
        ],
    ),
    ClusterRole::new("system:public-info-viewer", &[Urls("/healthz /livez /readyz /version /version/", "get")]),
    ClusterRole::new(
        "system:service-account-issuer-discovery",
        &[Urls("/.well-known/openid-configuration /openid/v1/jwks", "get")],
    ),
    ClusterRole::new(
        "system:volume-scheduler",
        &[
            On("core", "persistentvolumes", "get list patch update watch"),
            On("storage.k8s.io", "storageclasses", READ),
            On("core", "persistentvolumeclaims", "get list patch update watch"),
        ],
    ),
    gathering("view", "edit"),
];

/// Bindings, named as the ClusterRole they grant.
pub(super) static BINDINGS: &[(&str, &[Whom])] = &[
    ("cluster-admin", &[Group("system:masters")]),
    ("system:basic-user", &[Group("system:authenticated")]),
    ("system:discovery", &[Group("system:authenticated")]),
    ("system:kube-controller-manager", &[User("system:kube-controller-manager")]),
    ("system:kube-dns", &[Account("kube-dns")]),
    ("system:kube-scheduler", &[User("system:kube-scheduler")]),
    ("system:monitoring", &[Group("system:monitoring")]),
    // Nodes have an authorizer of their own; the binding stays for those who add subjects to it.
    ("system:node", &[]),
    ("system:node-proxier", &[User("system:kube-proxy")]),
    ("system:public-info-viewer", &[Group("system:authenticated"), Group("system:unauthenticated")]),
    ("system:service-account-issuer-discovery", &[Group("system:serviceaccounts")]),
    ("system:volume-scheduler", &[User("system:kube-scheduler")]),
];

/// EKS's own ClusterRoles, and whom they are bound to: nodes may ask for their serving certificates, and those who decide on them and
/// on those of applications may do more than upstream's.
pub(super) static EKS: &[(ClusterRole, &[Whom])] = &[
    (
        ClusterRole::new(
            "eks:certificate-controller-approver",
            &[Named("certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving", "approve")],
        ),
        &[Account("certificate-controller")],
    ),
    (
        ClusterRole::new(
            "eks:certificate-controller-signer",
            &[Named("certificates.k8s.io", "signers", "beta.eks.amazonaws.com/app-serving", "sign")],
        ),
        &[Account("certificate-controller")],
    ),
    (
        ClusterRole::new(
            "eks:node-bootstrapper",
            &[On("certificates.k8s.io", "certificatesigningrequests/selfnodeserver", "create")],
        ),
        &[Group("system:bootstrappers"), Group("system:nodes")],
    ),
];
