//! PodTopologyLabels: a pod gets the zone and region of its node as labels when it is bound, on by default since 1.35.

use k8s_object::ApiError;
use serde_json::{Value, json};

use super::{Operation, Review};
use crate::metadata;

const SINCE_MINOR: u8 = 35;
const LABELS: &[&str] = &["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

pub(super) fn admit(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    let call = review.call;
    if call.core.minor < SINCE_MINOR || review.operation != Operation::Create || !call.resource.is("", "pods") {
        return Ok(());
    }
    let node = match call.request.subresource.as_str() {
        "" => object["spec"]["nodeName"].as_str(),
        "binding" if object["target"]["kind"] == "Node" => object["target"]["name"].as_str(),
        _ => None,
    };
    let Some(node) = node.and_then(|name| call.core.lookup("", "nodes", "", name)) else { return Ok(()) };
    for key in LABELS {
        if let Some(value) = node.meta().labels.get(key) {
            let labels = metadata::of(object)?.entry("labels").or_insert_with(|| json!({}));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert((*key).to_owned(), json!(value));
            }
        }
    }
    Ok(())
}
