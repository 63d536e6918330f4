//! StorageObjectInUseProtection: volumes and claims get a finalizer, which their controllers take off when nobody uses them.

use k8s_object::ApiError;
use serde_json::{Value, json};

use super::Review;
use crate::metadata;

const FINALIZERS: &[(&str, &str, &str)] = &[
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

pub(super) fn admit(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    if !review.is_create() {
        return Ok(());
    }
    let resource = &review.call.resource;
    let Some((_, _, finalizer)) = FINALIZERS.iter().find(|(group, plural, _)| resource.is(group, plural)) else {
        return Ok(());
    };
    let finalizers = metadata::of(object)?.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(list) = finalizers.as_array_mut()
        && !list.iter().any(|own| own == finalizer)
    {
        list.push(json!(finalizer));
    }
    Ok(())
}
