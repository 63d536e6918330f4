//! DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or not reachable, unless it says otherwise.

use k8s_object::ApiError;
use serde_json::{Value, json};

use super::Review;

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) fn admit(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    let call = review.call;
    if !call.resource.is("", "pods") || !call.request.subresource.is_empty() {
        return Ok(());
    }
    let tolerations = &mut object["spec"]["tolerations"];
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    let Some(list) = tolerations.as_array_mut() else { return Ok(()) };
    for taint in TAINTS {
        let tolerated = list.iter().any(|own| {
            let key = own["key"].as_str().unwrap_or("");
            let effect = own["effect"].as_str().unwrap_or("");
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            list.push(json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}));
        }
    }
    Ok(())
}
