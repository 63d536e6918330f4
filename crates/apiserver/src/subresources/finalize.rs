//! `namespaces/finalize`: the namespace controller takes itself off `spec.finalizers`, and with the last one the namespace goes.

use std::sync::Arc;

use k8s_client::Body;
use k8s_object::{ApiError, Object};

use crate::core::Call;
use crate::{metadata, update, write};

pub(super) async fn update(call: &mut Call<'_>, body: Body) -> Result<Arc<Object>, ApiError> {
    let (mut new, text) = write::parse(body)?;
    write::conform(call, &mut new, text)?;
    let old = call.current().await?;
    let mut finalized = old.value_without_managed_fields();
    finalized["spec"]["finalizers"] = new["spec"]["finalizers"].take();
    if finalized["spec"]["finalizers"].is_null() {
        finalized["spec"] = serde_json::json!({});
    }
    let version = metadata::text(&new, "resourceVersion");
    if !version.is_empty() {
        finalized["metadata"]["resourceVersion"] = serde_json::json!(version);
    }
    let done = update::replace(call, &old, finalized).await?;
    done.ok_or_else(|| call.resource.conflict(&old.meta().name, update::MODIFIED))
}
