//! What the bootstrap roles of the controllers allow (Kubernetes' `controller_policy.go`), so that a controller that does more
//! fails in the tests and not in a cluster.

use k8s_client::Request;
use k8s_object::UserInfo;

/// Service account, verbs, resources with subresources.
const RULES: &[(&str, &str, &str)] = &[
    ("certificate-controller", "delete get list watch", "certificatesigningrequests"),
    ("certificate-controller", "update", "certificatesigningrequests/approval certificatesigningrequests/status"),
    ("certificate-controller", "create", "subjectaccessreviews"),
    ("clusterrole-aggregation-controller", "escalate get list watch update patch", "clusterroles"),
    ("cronjob-controller", "get list watch update", "cronjobs"),
    ("cronjob-controller", "get list watch create update delete patch", "jobs"),
    ("cronjob-controller", "update", "cronjobs/status cronjobs/finalizers"),
    ("cronjob-controller", "list watch delete", "pods"),
    ("cronjob-controller", "create update patch", "events"),
    ("daemon-set-controller", "get list watch", "daemonsets"),
    ("daemon-set-controller", "update", "daemonsets/status daemonsets/finalizers"),
    ("daemon-set-controller", "list watch", "nodes"),
    ("daemon-set-controller", "list watch create delete patch", "pods"),
    ("daemon-set-controller", "create delete get list patch update watch", "controllerrevisions"),
    ("daemon-set-controller", "create update patch", "events"),
    ("deployment-controller", "get list watch update", "deployments pods"),
    ("deployment-controller", "update", "deployments/status deployments/finalizers"),
    ("deployment-controller", "get list watch create update patch delete", "replicasets"),
    ("deployment-controller", "create update patch", "events"),
    (
        "disruption-controller",
        "get list watch",
        "deployments poddisruptionbudgets replicasets replicationcontrollers statefulsets",
    ),
    ("disruption-controller", "update", "poddisruptionbudgets/status"),
    ("disruption-controller", "create update patch", "events"),
    ("endpoint-controller", "get list watch", "services pods"),
    ("endpoint-controller", "get list watch create update delete", "endpoints"),
    ("endpoint-controller", "create", "endpoints/restricted"),
    ("endpoint-controller", "create update patch", "events"),
    ("endpointslice-controller", "get list watch", "services pods nodes"),
    ("endpointslice-controller", "update", "services/finalizers"),
    ("endpointslice-controller", "get list watch create update delete", "endpointslices"),
    ("endpointslice-controller", "create update patch", "events"),
    ("endpointslicemirroring-controller", "get list watch", "services endpoints"),
    ("endpointslicemirroring-controller", "update", "services/finalizers endpoints/finalizers"),
    ("endpointslicemirroring-controller", "get list watch create update delete", "endpointslices"),
    ("endpointslicemirroring-controller", "create update patch", "events"),
    ("generic-garbage-collector", "get list watch patch update delete", "*"),
    ("job-controller", "get list watch update patch", "jobs"),
    ("job-controller", "update", "jobs/status jobs/finalizers"),
    ("job-controller", "list watch patch create delete", "pods"),
    ("job-controller", "create update patch", "events"),
    ("namespace-controller", "get list watch delete deletecollection", "*"),
    ("namespace-controller", "update", "namespaces/finalize namespaces/status"),
    ("node-controller", "get list watch update delete patch", "nodes"),
    ("node-controller", "patch update", "nodes/status pods/status"),
    ("node-controller", "list watch get delete", "pods"),
    ("node-controller", "create update patch", "events"),
    ("pod-garbage-collector", "list watch delete", "pods"),
    ("pod-garbage-collector", "get list watch", "nodes"),
    ("pod-garbage-collector", "patch", "pods/status"),
    ("replicaset-controller", "get list watch update", "replicasets"),
    ("replicaset-controller", "update", "replicasets/status replicasets/finalizers"),
    ("replicaset-controller", "list watch patch create delete", "pods"),
    ("replicaset-controller", "create update patch", "events"),
    ("replication-controller", "get list watch update", "replicationcontrollers"),
    ("replication-controller", "update", "replicationcontrollers/status replicationcontrollers/finalizers"),
    ("replication-controller", "list watch patch create delete", "pods"),
    ("replication-controller", "create update patch", "events"),
    ("root-ca-cert-publisher", "create update", "configmaps"),
    ("root-ca-cert-publisher", "create update patch", "events"),
    ("service-account-controller", "create", "serviceaccounts"),
    ("service-account-controller", "create update patch", "events"),
    ("service-cidrs-controller", "get list patch update watch", "servicecidrs"),
    ("service-cidrs-controller", "patch update", "servicecidrs/finalizers servicecidrs/status"),
    ("service-cidrs-controller", "get list watch", "ipaddresses"),
    ("service-cidrs-controller", "create update patch", "events"),
    ("statefulset-controller", "get list watch", "statefulsets"),
    ("statefulset-controller", "update", "statefulsets/status statefulsets/finalizers pods/finalizers"),
    ("statefulset-controller", "list watch create delete get patch update", "pods"),
    ("statefulset-controller", "create delete get list patch update watch", "controllerrevisions"),
    ("statefulset-controller", "create get list watch delete update", "persistentvolumeclaims"),
    ("statefulset-controller", "create update patch", "events"),
    ("ttl-after-finished-controller", "get list watch delete", "jobs"),
    ("ttl-after-finished-controller", "create update patch", "events"),
    ("ttl-controller", "list patch update watch", "nodes"),
    ("ttl-controller", "create update patch", "events"),
];

pub(super) fn allows(user: &UserInfo, request: &Request) -> bool {
    let verb = request.verb.as_str();
    if user.in_group("system:masters") {
        return true;
    }
    if user.username == "system:kube-controller-manager" {
        return matches!(verb, "list" | "watch");
    }
    let Some(account) = user.username.strip_prefix("system:serviceaccount:kube-system:") else { return false };
    let target = match request.subresource.as_str() {
        "" => request.resource.resource.to_string(),
        subresource => format!("{}/{subresource}", request.resource.resource),
    };
    RULES.iter().any(|(own, verbs, resources)| {
        *own == account
            && verbs.split(' ').any(|own| own == verb)
            && resources.split(' ').any(|own| own == target || (own == "*" && request.subresource.is_empty()))
    })
}
