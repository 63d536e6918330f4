//! NamespaceLifecycle: nothing is created where there is no namespace or where it is going away, and the namespaces that the
//! cluster needs cannot be deleted.

use k8s_object::{ApiError, Cause, Object};
use serde_json::Value;

use super::{Review, Said, namespace};
use crate::core::Call;

/// Namespaces that cannot be deleted.
const IMMORTAL: &[&str] = &["default", "kube-public", "kube-system"];

pub(super) fn judge(review: &Review<'_, '_>, object: &Value, _: &mut Said) -> Result<(), ApiError> {
    let call = review.call;
    // Whoever asks about access is not told whether the namespace exists.
    if !review.is_create() || !call.resource.namespaced || call.resource.is_virtual() {
        return Ok(());
    }
    let namespace = namespace(call, object);
    let Some(found) = call.core.lookup("", "namespaces", "", namespace) else {
        return Err(ApiError::not_found("", "namespaces", namespace));
    };
    if !found.meta().is_terminating() {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut error = call.resource.forbidden(object["metadata"]["name"].as_str().unwrap_or(""), &why);
    error.causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    });
    Err(error)
}

pub(super) fn judge_delete(call: &Call<'_>, object: &Object) -> Result<(), ApiError> {
    let name = object.meta().name.as_str();
    if call.resource.is("", "namespaces") && IMMORTAL.contains(&name) {
        return Err(call.resource.forbidden(name, "this namespace may not be deleted"));
    }
    Ok(())
}
