//! DefaultStorageClass and DefaultIngressClass: the class of claims and ingresses that name none. Of several defaults the newest
//! counts.

use std::cmp::Reverse;

use k8s_object::ApiError;
use serde_json::{Value, json};

use super::Review;

pub(super) fn admit_claim(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    let is_claim = review.call.resource.is("", "persistentvolumeclaims");
    if !is_claim || !review.call.request.subresource.is_empty() {
        return Ok(());
    }
    let annotation = &object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    if object["spec"]["storageClassName"].is_string() || annotation.is_string() {
        return Ok(());
    }
    const DEFAULT: &[&str] =
        &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    if let Some(class) = newest(review, "storage.k8s.io", "storageclasses", DEFAULT) {
        object["spec"]["storageClassName"] = json!(class);
    }
    Ok(())
}

pub(super) fn admit_ingress(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    if !review.is_create() || !review.call.resource.is("networking.k8s.io", "ingresses") {
        return Ok(());
    }
    let annotation = &object["metadata"]["annotations"]["kubernetes.io/ingress.class"];
    if object["spec"]["ingressClassName"].is_string() || annotation.is_string() {
        return Ok(());
    }
    const DEFAULT: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];
    if let Some(class) = newest(review, "networking.k8s.io", "ingressclasses", DEFAULT) {
        object["spec"]["ingressClassName"] = json!(class);
    }
    Ok(())
}

/// The newest of the classes that an annotation makes a default; of those of one second the first by name.
fn newest(review: &Review<'_, '_>, group: &str, plural: &str, annotations: &[&str]) -> Option<String> {
    let mut classes = review.call.core.lookup_all(group, plural, "");
    classes.retain(|class| annotations.iter().any(|key| class.meta().annotations.get(key) == Some("true")));
    let order = |class: &std::sync::Arc<k8s_object::Object>| {
        (Reverse(class.meta().creation_timestamp.clone()), class.meta().name.clone())
    };
    classes.into_iter().min_by_key(order).map(|class| class.meta().name.clone())
}
