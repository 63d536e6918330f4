//! Ways through JSON that never panic: what is absent, null or of another type reads as nothing. The schema has the last
//! word on types, so rules here need not complain about them.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// What stands at a dotted path such as `spec.nodeName`; null where nothing does. Names with dots need [`Value::get`].
pub fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, name| value.get(name).unwrap_or(&Value::Null))
}

/// The text at a path, empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The integer at a path, 0 where there is none.
pub(crate) fn int(value: &Value, path: &str) -> i64 {
    at(value, path).as_i64().unwrap_or_default()
}

/// The flag at a path, false where there is none.
pub(crate) fn flag(value: &Value, path: &str) -> bool {
    at(value, path).as_bool().unwrap_or_default()
}

/// The elements of the list at a path.
pub(crate) fn items<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The entries of the map at a path.
pub(crate) fn entries<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    at(value, path).as_object().into_iter().flatten()
}

/// Whether nothing, or an empty text, list or map, stands there.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A selectable field as text: numbers and flags as they are written in JSON.
pub(crate) fn text_at<'a>(value: &'a Value, path: &str) -> Cow<'a, str> {
    match at(value, path) {
        Value::String(text) => Cow::Borrowed(text),
        Value::Bool(_) | Value::Number(_) => Cow::Owned(at(value, path).to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Cow::Borrowed(""),
    }
}

/// The map under `key`, made where nothing is; nothing where something else is.
pub(crate) fn map_in<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let slot = value.as_object_mut()?.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut()
}

/// The map under `key`, made where nothing is, as a value.
pub(crate) fn child<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    map_in(value, key)?;
    value.get_mut(key)
}

/// The elements of the list under `key`, to change.
pub(crate) fn items_mut<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Sets `key` where nothing stands there.
pub(crate) fn default_to(value: &mut Value, key: &str, default: impl Into<Value>) {
    if let Some(map) = value.as_object_mut()
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.to_owned(), default.into());
    }
}

/// Sets `key` where nothing, an empty text or a zero stands there: upstream's defaults of plain (not pointer) fields.
pub(crate) fn default_zero_to(value: &mut Value, key: &str, default: impl Into<Value>) {
    let is_zero = value.get(key).is_some_and(|found| found == "" || found == 0);
    if is_zero && let Some(map) = value.as_object_mut() {
        map.remove(key);
    }
    default_to(value, key, default);
}

/// Puts what `from` has under `key` in the place of what `to` has there.
pub(crate) fn carry_over(to: &mut Value, from: &Value, key: &str) {
    let Some(map) = to.as_object_mut() else { return };
    match from.get(key) {
        Some(kept) => {
            map.insert(key.to_owned(), kept.clone());
        }
        None => {
            map.remove(key);
        }
    }
}
