//! NodeRestriction: a kubelet writes its own Node and what belongs to the pods that are bound to it, and nothing of others.

use k8s_auth::node::node_name;
use k8s_object::{ApiError, Object};
use serde_json::Value;

use super::{Operation, Review, Said, request_subject};
use crate::core::Call;
use crate::metadata;

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASES: &str = "kube-node-lease";

pub(super) fn judge(review: &Review<'_, '_>, object: &Value, _: &mut Said) -> Result<(), ApiError> {
    let call = review.call;
    let Some(node) = node_name(call.user) else { return Ok(()) };
    let subresource = call.request.subresource.as_str();
    let judged = match (call.resource.group.as_str(), call.resource.plural.as_str()) {
        ("", "nodes") => own_node(review, object, node),
        ("", "pods") => match subresource {
            "" => pod(review, object, node),
            "status" => pod_status(review, object, node),
            "eviction" => eviction(review, node),
            other => Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")),
        },
        ("", "persistentvolumeclaims") if subresource != "status" => Err("may only update PVC status".to_owned()),
        ("", "persistentvolumeclaims") => claim_status(review, object, node),
        ("", "serviceaccounts") if subresource == "token" => token(review, object, node),
        ("coordination.k8s.io", "leases") => lease(review, object, node),
        ("storage.k8s.io", "csinodes") if super::rules::name(call, Some(object)) != node => {
            Err("can only access CSINode with the same name as the requesting node".to_owned())
        }
        ("resource.k8s.io", "resourceslices")
            if review.operation == Operation::Create && object["spec"]["nodeName"] != node =>
        {
            Err("can only create ResourceSlice with the same NodeName as the requesting node".to_owned())
        }
        ("certificates.k8s.io", "certificatesigningrequests") if review.is_create() => signing_request(object, node),
        _ => Ok(()),
    };
    judged.map_err(|why| super::forbidden(review, object, &why))
}

fn pod(review: &Review<'_, '_>, pod: &Value, node: &str) -> Result<(), String> {
    if review.operation != Operation::Create {
        let operation = review.operation.as_str();
        return Err(format!(
            "unexpected operation {operation:?}, node {node:?} can only create and delete mirror pods"
        ));
    }
    if !pod["metadata"]["annotations"][MIRROR].is_string() {
        return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if pod["spec"]["nodeName"] != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners = pod["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let itself = "an owner reference set to itself";
    let owner = match owners {
        [] => return Err(format!("node {node:?} can only create pods with {itself}")),
        [owner] => owner,
        _ => {
            return Err(format!("node {node:?} can only create pods with a single owner reference set to itself"));
        }
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return Err(format!("node {node:?} can only create pods with {itself}"));
    }
    if owner["controller"] != true {
        return Err(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let own = review.call.core.lookup("", "nodes", "", node).map(|own| own.meta().uid.clone()).unwrap_or_default();
    let uid = owner["uid"].as_str().unwrap_or("");
    if uid != own {
        return Err(format!("node {node} UID mismatch: expected {uid} got {own}"));
    }
    match refers_to(pod) {
        Some(what) => Err(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// What a pod needs of the API, if anything: a node must not get at it by saying so.
fn refers_to(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    if spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        return Some("serviceaccounts");
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let containers: Vec<Value> =
        ["containers", "initContainers", "ephemeralContainers"].iter().flat_map(|field| list(&spec[*field])).collect();
    let uses = |key: &str, source: &str| {
        containers.iter().any(|container| {
            list(&container["env"]).iter().any(|env| env["valueFrom"][key].is_object())
                || list(&container["envFrom"]).iter().any(|from| from[source].is_object())
        })
    };
    if uses("secretKeyRef", "secretRef") || !list(&spec["imagePullSecrets"]).is_empty() {
        return Some("secrets");
    }
    if uses("configMapKeyRef", "configMapRef") {
        return Some("configmaps");
    }
    if !list(&spec["resourceClaims"]).is_empty() {
        return Some("resourceclaims");
    }
    const SOURCES: &[(&str, &str)] = &[
        ("azureFile", "secrets (via azureFile volumes)"),
        ("configMap", "configmaps (via configmap volumes)"),
        ("csi", "csidrivers (via CSI volumes)"),
        ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
        ("glusterfs", "endpoints (via glusterFS volumes)"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        ("secret", "secrets (via secret volumes)"),
    ];
    const PROJECTED: &[(&str, &str)] = &[
        ("clusterTrustBundle", "clustertrustbundles"),
        ("configMap", "configmaps (via projected volumes)"),
        ("podCertificate", "podcertificates"),
        ("secret", "secrets (via projected volumes)"),
        ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ];
    let first = |value: &Value, table: &[(&str, &'static str)]| {
        table.iter().find(|(field, _)| value[*field].is_object()).map(|(_, what)| *what)
    };
    list(&spec["volumes"]).iter().find_map(|volume| {
        let projected = list(&volume["projected"]["sources"]);
        first(volume, SOURCES).or_else(|| projected.iter().find_map(|source| first(source, PROJECTED)))
    })
}

fn pod_status(review: &Review<'_, '_>, pod: &Value, node: &str) -> Result<(), String> {
    let Some(old) = review.old else { return Ok(()) };
    if old["spec"]["nodeName"] != node {
        return Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    if old["metadata"]["labels"] != pod["metadata"]["labels"] {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    let same = |field: &str| old["status"][field] == pod["status"][field];
    if !same("resourceClaimStatuses") {
        return Err(format!("node {node:?} cannot update resource claim statues"));
    }
    if !same("extendedResourceClaimStatus") {
        return Err(format!("node {node:?} cannot update extended resource claim status"));
    }
    Ok(())
}

fn eviction(review: &Review<'_, '_>, node: &str) -> Result<(), String> {
    let request = &review.call.request;
    let pod = review.call.core.lookup("", "pods", &request.namespace, &request.name);
    match pod.is_some_and(|pod| pod.value()["spec"]["nodeName"] != node) {
        true => Err(format!("node {node} can only evict pods with spec.nodeName set to itself")),
        false => Ok(()),
    }
}

fn claim_status(review: &Review<'_, '_>, claim: &Value, node: &str) -> Result<(), String> {
    let Some(old) = review.old else { return Ok(()) };
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for field in ["resourceVersion", "managedFields"] {
            claim["metadata"][field] = Value::Null;
        }
        for field in ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"] {
            claim["status"][field] = Value::Null;
        }
        claim
    };
    match rest(old) == rest(claim) {
        true => Ok(()),
        false => Err(format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        )),
    }
}

fn own_node(review: &Review<'_, '_>, object: &Value, node: &str) -> Result<(), String> {
    let name = super::rules::name(review.call, Some(object));
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let Some(old) = review.old else {
        if object["spec"]["configSource"].is_object() {
            return Err(format!("node {node:?} is not allowed to create pods with a non-nil configSource"));
        }
        let forbidden = forbidden_labels(&Value::Null, object);
        if !forbidden.is_empty() {
            return Err(format!("node {node:?} is not allowed to set the following labels: {}", forbidden.join(", ")));
        }
        return Ok(());
    };
    let source = &object["spec"]["configSource"];
    if !source.is_null() && *source != old["spec"]["configSource"] {
        return Err(format!("node {node:?} is not allowed to update configSource to a new non-nil configSource"));
    }
    if old["spec"]["taints"] != object["spec"]["taints"] {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    if old["metadata"]["ownerReferences"] != object["metadata"]["ownerReferences"] {
        return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    let forbidden = forbidden_labels(old, object);
    if !forbidden.is_empty() {
        return Err(format!("is not allowed to modify labels: {}", forbidden.join(", ")));
    }
    Ok(())
}

/// Labels of Kubernetes' own domains that kubelets set on their nodes; beside them all of two domains.
const KUBELET_LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

fn forbidden_labels<'a>(old: &'a Value, new: &'a Value) -> Vec<&'a str> {
    let (old, new) = (&old["metadata"]["labels"], &new["metadata"]["labels"]);
    let keys = [old, new].into_iter().filter_map(Value::as_object).flat_map(|map| map.keys());
    let changed = keys.filter(|key| old[key.as_str()] != new[key.as_str()]).map(String::as_str);
    let mut forbidden: Vec<&str> = changed.filter(|key| is_forbidden(key)).collect();
    forbidden.sort_unstable();
    forbidden.dedup();
    forbidden
}

fn is_forbidden(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    let is_kubelets = KUBELET_LABELS.contains(&key) || within("kubelet.kubernetes.io") || within("node.kubernetes.io");
    (within("kubernetes.io") || within("k8s.io")) && !is_kubelets
}

/// A node gets tokens for pods that run on it, and for nothing else.
fn token(review: &Review<'_, '_>, request: &Value, node: &str) -> Result<(), String> {
    let call = review.call;
    let bound = &request["spec"]["boundObjectRef"];
    let text = |field: &str| bound[field].as_str().unwrap_or("");
    if text("apiVersion") != "v1" || text("kind") != "Pod" || text("name").is_empty() {
        return Err("node requested token not bound to a pod".to_owned());
    }
    let uid = text("uid");
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    // One that is not there is told by the subresource.
    let Some(pod) = call.core.lookup("", "pods", &call.request.namespace, text("name")) else { return Ok(()) };
    if uid != pod.meta().uid {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    let value = pod.value();
    if value["spec"]["nodeName"] != node {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    audience(review, request, &value, node)
}

/// Since 1.33 a token for somebody else's ears must be asked for by a volume of the pod, unless the node has leave.
fn audience(review: &Review<'_, '_>, request: &Value, pod: &Value, node: &str) -> Result<(), String> {
    let call = review.call;
    let audiences = request["spec"]["audiences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let audience = match audiences {
        [] => "",
        [audience] => audience.as_str().unwrap_or(""),
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    let volumes = pod["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let projected = volumes.iter().flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    let asked = projected
        .map(|source| &source["serviceAccountToken"])
        .any(|token| token.is_object() && token["audience"].as_str().unwrap_or("") == audience);
    if asked {
        return Ok(());
    }
    let mut problems = Vec::new();
    for volume in volumes {
        match driver_asks(call, pod, volume, audience) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        let joined = problems.join(", ");
        let joined = if problems.len() == 1 { joined } else { format!("[{joined}]") };
        return Err(format!("error validating audience {audience:?}: {joined}"));
    }
    let attributes = k8s_auth::Attributes {
        version: "v1",
        namespace: &call.request.namespace,
        name: &call.request.name,
        ..k8s_auth::Attributes::resource(call.user, "request-serviceaccounts-token-audience", "", audience)
    };
    match call.core.auth.decide_at_once(call.core, &attributes) {
        crate::ports::Decision::Allow(_) => Ok(()),
        _ => Err(format!(
            "audience {audience:?} not found in pod spec volume, system:node:{node} is not authorized to request tokens for this audience"
        )),
    }
}

/// Whether the CSI driver behind a volume has asked for tokens for an audience. The error names what is missing on the way there.
fn driver_asks(call: &Call<'_>, pod: &Value, volume: &Value, audience: &str) -> Result<bool, String> {
    let find = |(group, plural): (&str, &str), told: &str, namespace: &str, name: &str| {
        let found = call.core.lookup(group, plural, namespace, name);
        found.map(|found| found.value()).ok_or_else(|| format!("{told} {name:?} not found"))
    };
    let claim = match volume["persistentVolumeClaim"]["claimName"].as_str() {
        Some(name) => Some(name.to_owned()),
        None if volume["ephemeral"].is_object() => {
            let name = volume["name"].as_str().unwrap_or("");
            Some(format!("{}-{name}", metadata::text(pod, "name")))
        }
        None => None,
    };
    let bound;
    let driver = match claim {
        Some(claim) => {
            let namespace = call.request.namespace.as_str();
            let claim = find(("", "persistentvolumeclaims"), "persistentvolumeclaim", namespace, &claim)?;
            let name = claim["spec"]["volumeName"].as_str().unwrap_or("");
            bound = find(("", "persistentvolumes"), "persistentvolume", "", name)?;
            &bound["spec"]["csi"]["driver"]
        }
        None => &volume["csi"]["driver"],
    };
    let Some(driver) = driver.as_str() else { return Ok(false) };
    let driver = find(("storage.k8s.io", "csidrivers"), "csidriver.storage.k8s.io", "", driver)?;
    let requests = driver["spec"]["tokenRequests"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(requests.iter().any(|request| request["audience"].as_str().unwrap_or("") == audience))
}

fn lease(review: &Review<'_, '_>, object: &Value, node: &str) -> Result<(), String> {
    if review.call.request.namespace != LEASES {
        return Err(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    match super::rules::name(review.call, Some(object)) == node {
        true => Ok(()),
        false => Err("can only access node lease with the same name as the requesting node".to_owned()),
    }
}

fn signing_request(object: &Value, node: &str) -> Result<(), String> {
    const SIGNERS: &[&str] = &["kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"];
    if !SIGNERS.contains(&object["spec"]["signerName"].as_str().unwrap_or("")) {
        return Ok(());
    }
    let subject = request_subject(object).map_err(|error| format!("unable to parse csr: {error}"))?;
    match subject.common_name == format!("system:node:{node}") {
        true => Ok(()),
        false => Err(format!("can only create a node CSR with CN=system:node:{node}")),
    }
}

pub(super) fn judge_delete(call: &Call<'_>, object: &Object) -> Result<(), ApiError> {
    let Some(node) = node_name(call.user) else { return Ok(()) };
    let name = object.meta().name.as_str();
    let refuse = |why: &str| Err(call.resource.forbidden(name, why));
    let is_elsewhere = || object.value()["spec"]["nodeName"].as_str() != Some(node);
    match (call.resource.group.as_str(), call.resource.plural.as_str()) {
        ("", "nodes") if name != node => refuse(&format!("node {node:?} is not allowed to modify node {name:?}")),
        ("", "pods") if is_elsewhere() => {
            refuse(&format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        ("", "persistentvolumeclaims") => refuse("may only update PVC status"),
        ("coordination.k8s.io", "leases") if call.request.namespace != LEASES => {
            refuse(&format!("can only access leases in the {LEASES:?} system namespace"))
        }
        ("coordination.k8s.io", "leases") if name != node => {
            refuse("can only access node lease with the same name as the requesting node")
        }
        ("storage.k8s.io", "csinodes") if name != node => {
            refuse("can only access CSINode with the same name as the requesting node")
        }
        ("resource.k8s.io", "resourceslices") if is_elsewhere() => {
            refuse("can only delete ResourceSlice with the same NodeName as the requesting node")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_label_themselves_with_what_is_theirs() {
        let cases = [
            ("role", false),
            ("example.com/role", false),
            ("eks.amazonaws.com/nodegroup", false),
            ("kubernetes.io/hostname", false),
            ("kubernetes.io/role", true),
            ("node-role.kubernetes.io/master", true),
            ("node.kubernetes.io/anything", false),
            ("x.node.kubernetes.io/anything", false),
            ("kubelet.kubernetes.io/x", false),
            ("node-restriction.kubernetes.io/x", true),
            ("a.node-restriction.kubernetes.io/x", true),
            ("k8s.io/x", true),
            ("notkubernetes.io/x", false),
        ];
        for (key, expected) in cases {
            assert_eq!(is_forbidden(key), expected, "{key}");
        }
    }
}
