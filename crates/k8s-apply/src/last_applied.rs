//! From client-side apply to server-side apply: what `kubectl apply` has left in an annotation is not in the way of
//! `kubectl apply --server-side`, and stays true after it.

use k8s_schema::Typed;
use serde_json::Value;

use crate::field::Set;
use crate::typed::{Duplicates, compare, to_set, validate};

/// The annotation in which client-side apply keeps what it applied last.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Bytes of all annotations of an object (apimachinery `TotalAnnotationSizeLimitB`).
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())
}

/// Fields of `live` that are as client-side apply set them last, and so may be taken over without force.
pub(crate) fn allowed(typed: Typed<'_>, version: &str, live: &Value) -> Option<Set> {
    let last: Value = serde_json::from_str(annotation(live)?).ok()?;
    if last["apiVersion"] != version {
        return None;
    }
    validate(typed, live, Duplicates::Refused).ok()?;
    validate(typed, &last, Duplicates::Refused).ok()?;
    let mut set = to_set(typed, &last).ok()?;
    let differences = compare(typed, &last, live).ok()?;
    for set_of in [differences.modified, differences.added, differences.removed] {
        set.subtract(&set_of);
    }
    Some(set)
}

/// Puts what was applied into the annotation, if the object has it.
pub(crate) fn renew(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let text = text_of(config);
    let Some(annotations) = object["metadata"]["annotations"].as_object_mut() else { return };
    annotations.insert(LAST_APPLIED.to_owned(), Value::String(text));
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().unwrap_or("").len()).sum();
    if bytes > MAX_ANNOTATION_BYTES {
        annotations.remove(LAST_APPLIED);
    }
}

/// What was applied, without the annotation itself, as upstream's encoder writes it.
fn text_of(config: &Value) -> String {
    let mut config = config.clone();
    if let Some(Value::Object(annotations)) = config.pointer_mut("/metadata/annotations") {
        annotations.remove(LAST_APPLIED);
    }
    let text = config.to_string();
    let mut hidden = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => hidden.push_str(&format!("\\u{:04x}", c as u32)),
            c => hidden.push(c),
        }
    }
    hidden.push('\n');
    hidden
}
