//! Priority: the number and preemption policy behind a pod's `priorityClassName`.

use k8s_object::ApiError;
use serde_json::{Value, json};

use super::{Review, Said, forbidden};

pub(super) fn admit(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    if let (true, true, Some(old)) =
        (review.call.resource.is("", "pods"), review.call.request.subresource.is_empty(), review.old)
    {
        // What was added when the pod was created is not taken away by whoever does not know of it.
        for field in ["priority", "preemptionPolicy"] {
            if object["spec"][field].is_null() && !old["spec"][field].is_null() {
                object["spec"][field] = old["spec"][field].clone();
            }
        }
    }
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
    if let Some(own) = object["spec"]["preemptionPolicy"].as_str().filter(|own| *own != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(forbidden(review, object, &why));
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

/// There is one default at most.
pub(super) fn judge(review: &Review<'_, '_>, object: &Value, _: &mut Said) -> Result<(), ApiError> {
    let call = review.call;
    if !call.resource.is("scheduling.k8s.io", "priorityclasses") || object["globalDefault"] != true {
        return Ok(());
    }
    let classes = call.core.lookup_all("scheduling.k8s.io", "priorityclasses", "");
    let other = classes.iter().find(|class| {
        class.value()["globalDefault"] == true
            && (review.old.is_none() || object["metadata"]["name"] != class.meta().name.as_str())
    });
    match other {
        Some(other) => {
            let name = &other.meta().name;
            let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
            Err(forbidden(review, object, &why))
        }
        None => Ok(()),
    }
}
