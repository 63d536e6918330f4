//! NodeRestriction: a kubelet writes its own Node and the pods that are bound to it, and nobody else's.

use k8s_auth::node::node_name;
use k8s_object::{ApiError, Object};
use serde_json::Value;

use super::{Review, Said};
use crate::core::Call;

pub(super) fn judge(review: &Review<'_, '_>, object: &Value, _: &mut Said) -> Result<(), ApiError> {
    let call = review.call;
    let Some(node) = node_name(call.user) else { return Ok(()) };
    let name = match call.request.name.as_str() {
        "" => object["metadata"]["name"].as_str().unwrap_or(""),
        name => name,
    };
    let refuse = |why: String| Err(call.resource.forbidden(name, &why));
    match (call.resource.group.as_str(), call.resource.plural.as_str()) {
        ("", "nodes") if name != node => refuse(format!("node {node:?} is not allowed to modify node {name:?}")),
        ("", "nodes") => match review.old {
            Some(old) if old["spec"]["taints"] != object["spec"]["taints"] => {
                refuse(format!("node {node:?} is not allowed to modify taints"))
            }
            Some(old) => {
                labels(old, object).map_or(Ok(()), |label| refuse(format!("is not allowed to modify labels: {label}")))
            }
            None => Ok(()),
        },
        ("", "pods") => {
            let own = review.old.unwrap_or(object)["spec"]["nodeName"].as_str().unwrap_or("");
            if own != node {
                return refuse(format!(
                    "node {node:?} can only create and update pods with spec.nodeName set to itself"
                ));
            }
            if review.is_create() && !object["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string() {
                return refuse(format!(
                    "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
                ));
            }
            Ok(())
        }
        ("coordination.k8s.io", "leases") => {
            if call.request.namespace == "kube-node-lease" && name != node {
                return refuse(format!(
                    "can only access node lease with the same name as the requesting node {node:?}"
                ));
            }
            if call.request.namespace != "kube-node-lease" {
                return refuse("can only access leases in the \"kube-node-lease\" system namespace".to_owned());
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(super) fn judge_delete(call: &Call<'_>, object: &Object) -> Result<(), ApiError> {
    let Some(node) = node_name(call.user) else { return Ok(()) };
    let name = object.meta().name.as_str();
    if call.resource.is("", "nodes") {
        return Err(call.resource.forbidden(name, &format!("node {node:?} is not allowed to delete node {name:?}")));
    }
    if call.resource.is("", "pods") && object.value()["spec"]["nodeName"].as_str() != Some(node) {
        return Err(call
            .resource
            .forbidden(name, &format!("node {node:?} can only delete pods with spec.nodeName set to itself")));
    }
    Ok(())
}

/// A label of the protected prefix that differs.
fn labels(old: &Value, new: &Value) -> Option<String> {
    const PROTECTED: &str = "node-restriction.kubernetes.io/";
    let (old, new) = (&old["metadata"]["labels"], &new["metadata"]["labels"]);
    let keys = [old, new].into_iter().filter_map(Value::as_object).flat_map(|map| map.keys());
    keys.filter(|key| key.starts_with(PROTECTED)).find(|key| old[key.as_str()] != new[key.as_str()]).cloned()
}
