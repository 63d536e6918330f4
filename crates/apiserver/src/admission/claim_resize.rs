//! PersistentVolumeClaimResize: only a bound claim of a class that allows it can grow.

use k8s_kinds::quota::Amount;
use k8s_object::ApiError;
use serde_json::Value;

use super::{Review, Said, forbidden};

pub(super) fn judge(review: &Review<'_, '_>, object: &Value, _: &mut Said) -> Result<(), ApiError> {
    let call = review.call;
    if !call.resource.is("", "persistentvolumeclaims") || !call.request.subresource.is_empty() {
        return Ok(());
    }
    let Some(old) = review.old else { return Ok(()) };
    let size =
        |claim: &Value| Amount::of(&claim["spec"]["resources"]["requests"]["storage"]).unwrap_or_default().quantity;
    if size(object) <= size(old) {
        return Ok(());
    }
    if old["status"]["phase"] != "Bound" {
        return Err(forbidden(review, object, "Only bound persistent volume claims can be expanded"));
    }
    let (class, before) = (class(object), class(old));
    let allows = !class.is_empty()
        && class == before
        && call
            .core
            .lookup("storage.k8s.io", "storageclasses", "", class)
            .is_some_and(|class| class.value()["allowVolumeExpansion"] == true);
    if allows {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    Err(forbidden(review, object, why))
}

fn class(claim: &Value) -> &str {
    let annotation = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    annotation.or_else(|| claim["spec"]["storageClassName"].as_str()).unwrap_or("")
}
