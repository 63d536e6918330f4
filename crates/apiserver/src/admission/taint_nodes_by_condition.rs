//! TaintNodesByCondition: a new node takes no pods until the node controller has seen that it is ready.

use k8s_object::ApiError;
use serde_json::{Value, json};

use super::Review;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) fn admit(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    if !review.is_create() || !review.call.resource.is("", "nodes") {
        return Ok(());
    }
    let taints = &mut object["spec"]["taints"];
    if !taints.is_array() {
        *taints = json!([]);
    }
    if let Some(taints) = taints.as_array_mut()
        && !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule")
    {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
    Ok(())
}
