//! What the server itself writes into `metadata`, the same for every kind (apiserver `registry/rest`). Judging it is the
//! table of kinds' work.

use k8s_object::{ApiError, Reason};
use serde_json::{Map, Value, json};
use world::World;

/// What the random part of a generated name is drawn from: no vowels, no digits that look like letters.
const SUFFIX: &str = "bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// A generated name stays within the 63 bytes of a label.
const MAX_PREFIX: usize = 63 - SUFFIX_LENGTH;

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// `metadata` as a map, made if it is missing.
///
/// # Errors
/// If the object or its metadata is something else.
pub(crate) fn of(object: &mut Value) -> Result<&mut Map<String, Value>, ApiError> {
    let map =
        object.as_object_mut().ok_or_else(|| ApiError::bad_request("the object provided is not a JSON object"))?;
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    metadata.as_object_mut().ok_or_else(|| ApiError::bad_request("metadata is not a JSON object"))
}

/// The text of a field of `metadata`, empty where there is none.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or("")
}

/// The revision that a write expects an object to have, empty where it takes any: zero is none, as in Go.
pub(crate) fn expected_version(object: &Value) -> &str {
    let version = text(object, "resourceVersion");
    if version == "0" { "" } else { version }
}

/// Refuses a revision that is no number, as upstream's store does where it reads it.
pub(crate) fn check_version(version: &str) -> Result<(), ApiError> {
    let problem = match version.parse::<u64>() {
        Ok(_) => return Ok(()),
        Err(error) if *error.kind() == std::num::IntErrorKind::PosOverflow => "value out of range",
        Err(_) => "invalid syntax",
    };
    let message = format!("strconv.ParseUint: parsing {version:?}: {problem}");
    Err(ApiError::new(Reason::InternalError, message).verbatim(500, ""))
}

/// Texts of a list in `metadata`.
pub(crate) fn texts(object: &Value, field: &str) -> Vec<String> {
    let list = object["metadata"][field].as_array();
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether deletion has been asked for.
pub(crate) fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Drops what is never stored: `selfLink`, and empty or null entries. An empty list of `managedFields` says something.
pub(crate) fn tidy(metadata: &mut Map<String, Value>) {
    metadata.remove("selfLink");
    metadata.retain(|key, value| match value {
        Value::Array(_) if key == "managedFields" => true,
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    });
    for field in ["labels", "annotations"] {
        if let Some(Value::Object(map)) = metadata.get_mut(field) {
            for value in map.values_mut().filter(|value| value.is_null()) {
                *value = json!("");
            }
        }
    }
    for field in ["name", "generateName", "namespace", "uid", "resourceVersion"] {
        if metadata.get(field).and_then(Value::as_str) == Some("") {
            metadata.remove(field);
        }
    }
}

/// A name from `generateName`.
pub(crate) fn generate_name(world: &World, prefix: &str) -> String {
    let mut end = prefix.len().min(MAX_PREFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &prefix[..end], world.random_string(SUFFIX, SUFFIX_LENGTH))
}

/// Removes what only the server says of a new object.
pub(crate) fn wipe(metadata: &mut Map<String, Value>) {
    for field in ["creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "uid"] {
        metadata.remove(field);
    }
}

/// Fills what the server sets on a new object. The name is set already, and the version taken out.
pub(crate) fn fill_new(metadata: &mut Map<String, Value>, world: &World, has_generation: bool) {
    wipe(metadata);
    metadata.insert("uid".into(), json!(world.uuid()));
    metadata.insert("creationTimestamp".into(), json!(world.now().to_string()));
    if has_generation {
        metadata.insert("generation".into(), json!(1));
    }
}

/// Carries over what an update cannot change and need not say. What it says otherwise is left to be judged.
pub(crate) fn carry_over(metadata: &mut Map<String, Value>, old: &Value) {
    let old = &old["metadata"];
    // The server counts, and nobody takes back that an object is to go.
    for field in ["deletionTimestamp", "generation"] {
        match old.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None if field == "generation" => metadata.remove(field),
            None => None,
        };
    }
    for field in ["creationTimestamp", "deletionGracePeriodSeconds", "uid"] {
        if let Some(value) = old.get(field).filter(|_| metadata.get(field).is_none_or(Value::is_null)) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_keep_within_a_label() {
        let (world, _simulation) = World::simulated(1);
        let name = generate_name(&world, &"é".repeat(60));
        assert!(name.len() <= 63);
        assert!(generate_name(&world, "web-").starts_with("web-") && generate_name(&world, "web-").len() == 9);
    }
}
