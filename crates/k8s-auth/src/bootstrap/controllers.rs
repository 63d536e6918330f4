//! Roles of controllers: each is a ClusterRole `system:controller:<name>`, bound to the ServiceAccount of that name in
//! `kube-system` (bootstrappolicy `controller_policy.go`).

use super::Rule::{self, Named, On};
use super::{EVENTS, READ};

const PODS_OF_A_CONTROLLER: Rule = On("core", "pods", "create delete list patch watch");

/// By name.
pub(super) static CONTROLLERS: &[(&str, &[Rule])] = &[
    (
        "attachdetach-controller",
        &[
            On("core", "persistentvolumeclaims persistentvolumes", "list watch"),
            On("core", "nodes", READ),
            On("core", "nodes/status", "patch update"),
            On("core", "pods", "list watch"),
            EVENTS,
            On("storage.k8s.io", "volumeattachments", "create delete get list watch"),
            On("storage.k8s.io", "csidrivers", READ),
            On("storage.k8s.io", "csinodes", READ),
        ],
    ),
    (
        "certificate-controller",
        &[
            On("certificates.k8s.io", "certificatesigningrequests", "delete get list watch"),
            On(
                "certificates.k8s.io",
                "certificatesigningrequests/approval certificatesigningrequests/status",
                "update",
            ),
            Named("certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet", "approve"),
            Named(
                "certificates.k8s.io",
                "signers",
                "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown",
                "sign",
            ),
            On("authorization.k8s.io", "subjectaccessreviews", "create"),
            EVENTS,
        ],
    ),
    (
        "clusterrole-aggregation-controller",
        &[On("rbac.authorization.k8s.io", "clusterroles", "escalate get list patch update watch")],
    ),
    (
        "cronjob-controller",
        &[
            On("batch", "cronjobs", "get list update watch"),
            On("batch", "jobs", "create delete get list patch update watch"),
            On("batch", "cronjobs/status", "update"),
            On("batch", "cronjobs/finalizers", "update"),
            On("core", "pods", "delete list watch"),
            EVENTS,
        ],
    ),
    (
        "daemon-set-controller",
        &[
            On("apps extensions", "daemonsets", READ),
            On("apps extensions", "daemonsets/status", "update"),
            On("apps extensions", "daemonsets/finalizers", "update"),
            On("core", "nodes", "list watch"),
            PODS_OF_A_CONTROLLER,
            On("core", "pods/binding", "create"),
            On("apps", "controllerrevisions", "create delete get list patch update watch"),
            EVENTS,
        ],
    ),
    (
        "deployment-controller",
        &[
            On("apps extensions", "deployments", "get list update watch"),
            On("apps extensions", "deployments/status", "update"),
            On("apps extensions", "deployments/finalizers", "update"),
            On("apps extensions", "replicasets", "create delete get list patch update watch"),
            On("core", "pods", "get list update watch"),
            EVENTS,
        ],
    ),
    (
        "disruption-controller",
        &[
            On("apps extensions", "deployments", READ),
            On("apps extensions", "replicasets", READ),
            On("core", "replicationcontrollers", READ),
            On("policy", "poddisruptionbudgets", READ),
            On("apps", "statefulsets", READ),
            On("policy", "poddisruptionbudgets/status", "update"),
            On("core", "pods/status", "patch update"),
            On("*", "*/scale", "get"),
            EVENTS,
        ],
    ),
    (
        "endpoint-controller",
        &[
            On("core", "pods services", READ),
            On("core", "endpoints", "create delete get list update watch"),
            On("core", "endpoints/restricted", "create"),
            EVENTS,
        ],
    ),
    (
        "endpointslice-controller",
        &[
            On("core", "nodes pods services", READ),
            On("core", "services/finalizers", "update"),
            On("discovery.k8s.io", "endpointslices", "create delete get list update watch"),
            EVENTS,
        ],
    ),
    (
        "endpointslicemirroring-controller",
        &[
            On("core", "endpoints services", READ),
            On("core", "services/finalizers", "update"),
            On("core", "endpoints/finalizers", "update"),
            On("discovery.k8s.io", "endpointslices", "create delete get list update watch"),
            EVENTS,
        ],
    ),
    (
        "ephemeral-volume-controller",
        &[
            On("core", "pods", READ),
            On("core", "pods/finalizers", "update"),
            On("core", "persistentvolumeclaims", "create get list watch"),
            EVENTS,
        ],
    ),
    (
        "expand-controller",
        &[
            On("core", "persistentvolumes", "get list patch update watch"),
            On("core", "persistentvolumeclaims/status", "patch update"),
            On("core", "persistentvolumeclaims", READ),
            EVENTS,
            On("core", "services", "get"),
        ],
    ),
    ("generic-garbage-collector", &[On("*", "*", "delete get list patch update watch"), EVENTS]),
    (
        "horizontal-pod-autoscaler",
        &[
            On("autoscaling", "horizontalpodautoscalers", READ),
            On("autoscaling", "horizontalpodautoscalers/status", "update"),
            On("*", "*/scale", "get update"),
            On("core", "pods", "list watch"),
            On("metrics.k8s.io", "pods", "list watch"),
            On("custom.metrics.k8s.io", "*", READ),
            On("external.metrics.k8s.io", "*", READ),
            EVENTS,
        ],
    ),
    (
        "job-controller",
        &[
            On("batch", "jobs", "get list patch update watch"),
            On("batch", "jobs/status", "update"),
            On("batch", "jobs/finalizers", "update"),
            PODS_OF_A_CONTROLLER,
            EVENTS,
        ],
    ),
    (
        "legacy-service-account-token-cleaner",
        &[
            Named("core", "configmaps", "kube-apiserver-legacy-service-account-token-tracking", "get"),
            On("core", "secrets", "delete patch"),
        ],
    ),
    (
        "namespace-controller",
        &[
            On("core", "namespaces", "delete get list watch"),
            On("core", "namespaces/finalize namespaces/status", "update"),
            On("*", "*", "delete deletecollection get list watch"),
        ],
    ),
    (
        "node-controller",
        &[
            On("core", "nodes", "delete get list patch update watch"),
            On("core", "nodes/status", "patch update"),
            On("core", "pods/status", "patch update"),
            On("core", "pods", "delete get list watch"),
            EVENTS,
        ],
    ),
    (
        "persistent-volume-binder",
        &[
            On("core", "persistentvolumes", "create delete get list update watch"),
            On("core", "persistentvolumes/status", "update"),
            On("core", "persistentvolumeclaims", "get list update watch"),
            On("core", "persistentvolumeclaims/status", "update"),
            On("core", "pods", "create delete get list watch"),
            On("storage.k8s.io", "storageclasses", READ),
            On("core", "nodes", "list watch"),
            EVENTS,
            On("core", "events", "watch"),
            On("core", "services", "get"),
        ],
    ),
    (
        "pod-garbage-collector",
        &[On("core", "pods", "delete list watch"), On("core", "nodes", READ), On("core", "pods/status", "patch")],
    ),
    ("pv-protection-controller", &[On("core", "persistentvolumes", "get list update watch"), EVENTS]),
    (
        "pvc-protection-controller",
        &[On("core", "persistentvolumeclaims", "get list update watch"), On("core", "pods", READ), EVENTS],
    ),
    (
        "replicaset-controller",
        &[
            On("apps extensions", "replicasets", "get list update watch"),
            On("apps extensions", "replicasets/status", "update"),
            On("apps extensions", "replicasets/finalizers", "update"),
            PODS_OF_A_CONTROLLER,
            EVENTS,
        ],
    ),
    (
        "replication-controller",
        &[
            On("core", "replicationcontrollers", "get list update watch"),
            On("core", "replicationcontrollers/status", "update"),
            On("core", "replicationcontrollers/finalizers", "update"),
            PODS_OF_A_CONTROLLER,
            EVENTS,
        ],
    ),
    (
        "resource-claim-controller",
        &[
            On("core", "pods", READ),
            On("core", "pods/finalizers", "update"),
            On("resource.k8s.io", "resourceclaims", "create delete get list watch"),
            On("resource.k8s.io", "resourceclaims resourceclaims/status", "patch update"),
            On("core", "pods/status", "patch update"),
            EVENTS,
        ],
    ),
    ("resourcequota-controller", &[On("*", "*", "list watch"), On("core", "resourcequotas/status", "update"), EVENTS]),
    ("root-ca-cert-publisher", &[On("core", "configmaps", "create update"), EVENTS]),
    ("route-controller", &[On("core", "nodes", "list watch"), On("core", "nodes/status", "patch"), EVENTS]),
    (
        "selinux-warning-controller",
        &[
            EVENTS,
            On("core", "persistentvolumes", READ),
            On("core", "persistentvolumeclaims", READ),
            On("core", "pods", READ),
            On("storage.k8s.io", "csidrivers", READ),
        ],
    ),
    ("service-account-controller", &[On("core", "serviceaccounts", "create"), EVENTS]),
    (
        "service-cidrs-controller",
        &[
            On("networking.k8s.io", "servicecidrs", "get list patch update watch"),
            On("networking.k8s.io", "servicecidrs/finalizers", "patch update"),
            On("networking.k8s.io", "servicecidrs/status", "patch update"),
            On("networking.k8s.io", "ipaddresses", READ),
            EVENTS,
        ],
    ),
    (
        "service-controller",
        &[
            On("core", "services", READ),
            On("core", "services/status", "patch update"),
            On("core", "nodes", "list watch"),
            EVENTS,
        ],
    ),
    (
        "statefulset-controller",
        &[
            On("core", "pods", "list watch"),
            On("apps", "statefulsets", READ),
            On("apps", "statefulsets/status", "update"),
            On("apps", "statefulsets/finalizers", "update"),
            On("core", "pods", "create delete get patch update"),
            On("apps", "controllerrevisions", "create delete get list patch update watch"),
            On("core", "persistentvolumeclaims", "create get list watch"),
            On("core", "persistentvolumeclaims", "delete update"),
            On("core", "pods/finalizers", "update"),
            EVENTS,
        ],
    ),
    ("ttl-after-finished-controller", &[On("batch", "jobs", "delete get list watch"), EVENTS]),
    ("ttl-controller", &[On("core", "nodes", "list patch update watch"), EVENTS]),
    (
        "validatingadmissionpolicy-status-controller",
        &[
            On("admissionregistration.k8s.io", "validatingadmissionpolicies", READ),
            On("admissionregistration.k8s.io", "validatingadmissionpolicies/status", "get patch update"),
            EVENTS,
        ],
    ),
    (
        "volumeattributesclass-protection-controller",
        &[
            On("core", "persistentvolumeclaims", READ),
            On("core", "persistentvolumes", READ),
            On("storage.k8s.io", "volumeattributesclasses", "get list update watch"),
            EVENTS,
        ],
    ),
];
