//! ExtendedResourceToleration: who asks for a device tolerates the taint that keeps others off the nodes that have it. EKS enables it
//! (Amazon EKS User Guide, platform versions).

use std::collections::BTreeSet;

use k8s_object::{ApiError, is_extended_resource};
use serde_json::{Value, json};

use super::Review;

pub(super) fn admit(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    let call = review.call;
    if !call.resource.is("", "pods") || !call.request.subresource.is_empty() {
        return Ok(());
    }
    let containers = ["containers", "initContainers"].into_iter().flat_map(|field| object["spec"][field].as_array());
    let requests = containers.flatten().filter_map(|container| container["resources"]["requests"].as_object());
    let devices: BTreeSet<String> =
        requests.flat_map(|requests| requests.keys()).filter(|name| is_extended_resource(name)).cloned().collect();
    if devices.is_empty() {
        return Ok(());
    }
    let tolerations = &mut object["spec"]["tolerations"];
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    let Some(list) = tolerations.as_array_mut() else { return Ok(()) };
    for device in devices {
        let toleration = json!({"key": device, "operator": "Exists", "effect": "NoSchedule"});
        let same = |own: &&mut Value| {
            ["key", "operator", "effect"].iter().all(|field| own[*field] == toleration[*field])
                && own["value"].as_str().unwrap_or("").is_empty()
        };
        match list.iter_mut().find(same) {
            Some(own) => *own = toleration,
            None => list.push(toleration),
        }
    }
    Ok(())
}
