//! Stored custom objects as clients read them: by the schema of now, whatever it was when they were written (apiextensions
//! `customresource_handler.go`, the decoder of the storage). What a definition gives a default since then has it, and what it
//! does not name any more is gone; what is stored changes only when somebody writes.

use std::sync::Arc;

use k8s_object::Object;

use crate::registry::{Resource, Strategy};

/// The object by the schema of the version that it is stored in; itself if that makes no difference.
pub(crate) fn as_read(versions: &[Arc<Resource>], object: Arc<Object>) -> Arc<Object> {
    let version = &object.kind().version;
    let Some(resource) = versions.iter().find(|resource| resource.version == *version) else { return object };
    if !matches!(resource.strategy, Strategy::Custom(_)) {
        return object;
    }
    let before = object.value_without_managed_fields();
    let mut value = before.clone();
    resource.schema.prune(&mut value);
    resource.schema.drop_nulls(&mut value);
    resource.schema.default(&mut value);
    if value == before {
        return object;
    }
    let json = k8s_object::encode_with(&value, object.managed_fields());
    Object::from_json(json).map_or(object, Arc::new)
}

/// Whether objects may be read otherwise than before a definition changed.
pub(crate) fn reads_otherwise(old: &[Arc<Resource>], new: &[Arc<Resource>]) -> bool {
    new.iter().any(|resource| {
        let source =
            |resource: &Resource| resource.schema.0.as_ref().and_then(|schema| schema.source().map(str::to_owned));
        let before = old.iter().find(|old| old.version == resource.version);
        before.is_none_or(|before| source(before) != source(resource))
    })
}
