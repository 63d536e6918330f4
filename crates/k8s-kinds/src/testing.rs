//! What tests of kinds share: causes as lines of text, so that a case is a pair of an object and its lines.

use k8s_object::Cause;
use serde_json::Value;
use world::Timestamp;

use crate::{Context, Kind};

/// `field: message` of each cause.
pub(crate) fn lines(causes: Vec<Cause>) -> Vec<String> {
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

/// The newest minor that serves the kind.
fn minor(kind: &Kind) -> u8 {
    kind.until.map_or(k8s_schema::NEWEST_MINOR, |until| until - 1)
}

/// What a kind says of a new object, as it would be after its defaults.
pub(crate) fn told(kind: &Kind, object: &Value) -> Vec<String> {
    let context = Context { minor: minor(kind), now: Timestamp::from_seconds(0), old: None, subresource: "" };
    let mut object = object.clone();
    (kind.default)(&mut object, &context);
    lines((kind.validate)(&object, &context))
}

/// What a kind says of a write of `new`, or of a subresource of it, over `old`.
pub(crate) fn told_of_update(kind: &Kind, old: &Value, new: &Value, subresource: &str) -> Vec<String> {
    let (mut old, mut new) = (old.clone(), new.clone());
    let minor = minor(kind);
    let now = Timestamp::from_seconds(0);
    (kind.default)(&mut old, &Context { minor, now, old: None, subresource: "" });
    let context = Context { minor, now, old: Some(&old), subresource };
    (kind.default)(&mut new, &context);
    (kind.prepare_update)(&mut new, &context);
    lines((kind.validate)(&new, &context))
}

/// An object as a create makes it.
pub(crate) fn created(kind: &Kind, object: &Value) -> Value {
    let context = Context { minor: minor(kind), now: Timestamp::from_seconds(0), old: None, subresource: "" };
    let mut object = object.clone();
    (kind.default)(&mut object, &context);
    (kind.prepare_create)(&mut object, &context);
    object
}
