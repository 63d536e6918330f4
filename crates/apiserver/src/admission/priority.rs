//! Priority: the number and preemption policy behind a pod's `priorityClassName`.

use k8s_object::ApiError;
use serde_json::{Value, json};

use super::Review;

pub(super) fn admit(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    if !review.is_pod_create() {
        return Ok(());
    }
    let call = review.call;
    let asked = object["spec"]["priorityClassName"].as_str().unwrap_or("").to_owned();
    let class = if asked.is_empty() {
        // The lowest of the default classes wins, as upstream decides should there be several.
        let classes = call.core.lookup_all("scheduling.k8s.io", "priorityclasses", "");
        let classes = classes.iter().map(|class| class.value()).filter(|class| class["globalDefault"] == true);
        classes.min_by_key(|class| class["value"].as_i64().unwrap_or(0))
    } else {
        let class = call.core.lookup("scheduling.k8s.io", "priorityclasses", "", &asked);
        let why = format!("no PriorityClass with name {asked} was found");
        let name = object["metadata"]["name"].as_str().unwrap_or("");
        Some(class.ok_or_else(|| call.resource.forbidden(name, &why))?.value())
    };
    let (value, policy) = match &class {
        Some(class) => {
            (class["value"].as_i64().unwrap_or(0), class["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority"))
        }
        None => (0, "PreemptLowerPriority"),
    };
    let own = &object["spec"]["priority"];
    if own.as_i64().is_some_and(|own| own != value) {
        let name = object["metadata"]["name"].as_str().unwrap_or("");
        let why = format!(
            "the integer value of priority ({own}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(call.resource.forbidden(name, &why));
    }
    if let (true, Some(class)) = (asked.is_empty(), &class) {
        object["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
    }
    object["spec"]["priority"] = json!(value);
    if !object["spec"]["preemptionPolicy"].is_string() {
        object["spec"]["preemptionPolicy"] = json!(policy);
    }
    Ok(())
}
