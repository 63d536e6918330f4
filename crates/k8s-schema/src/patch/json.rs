//! JSON patch (RFC 6902), `application/json-patch+json`, as upstream's library has it (`evanphx/json-patch` 4), which differs from
//! the letter: negative indices count from the end, `replace` sets what is missing in an object, what precedes the first slash
//! of a path does not matter, and `test` finds null in what is missing.

use serde_json::{Map, Value};

use super::PatchError;
use crate::check::kind_of;

/// Most operations in one patch; upstream's limit, which keeps one request from holding the server.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;
/// By how many bytes of JSON `copy` operations of one patch may make an object grow (apiserver `JSONPatchMaxCopyBytes`).
const MAX_COPY_BYTES: usize = 3 << 20;

/// Applies all operations or none.
pub fn json_patch(original: &Value, patch: &Value) -> Result<Value, PatchError> {
    const MALFORMED: &str = "error decoding patch: json: cannot unmarshal";
    let Value::Array(list) = patch else {
        let kind = kind_of(patch);
        let message = format!("{MALFORMED} {kind} into Go value of type []handlers.jsonPatchOp");
        return Err(PatchError::Malformed(message));
    };
    let mut operations = Vec::with_capacity(list.len().min(MAX_JSON_PATCH_OPERATIONS));
    for operation in list {
        let Value::Object(operation) = operation else {
            let kind = kind_of(operation);
            let message = format!("{MALFORMED} {kind} into Go value of type handlers.jsonPatchOp");
            return Err(PatchError::Malformed(message));
        };
        operations.push(Operation(operation));
    }
    if operations.len() > MAX_JSON_PATCH_OPERATIONS {
        return Err(PatchError::TooManyOperations { operations: list.len(), limit: MAX_JSON_PATCH_OPERATIONS });
    }
    let mut value = original.clone();
    let mut copied = 0;
    for operation in operations {
        operation.apply(&mut value, &mut copied).map_err(PatchError::NotApplicable)?;
    }
    Ok(value)
}

const MISSING: &str = "missing value";

struct Operation<'a>(&'a Map<String, Value>);

impl<'a> Operation<'a> {
    fn text(&self, key: &str) -> Result<&'a str, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Err(format!("operation missing {key} field: {MISSING}")),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(format!("json: cannot unmarshal {} into Go value of type string", kind_of(other))),
        }
    }

    fn value(&self) -> Value {
        self.0.get("value").cloned().unwrap_or_default()
    }

    fn apply(&self, document: &mut Value, copied: &mut usize) -> Result<(), String> {
        let name = self.text("op").unwrap_or("unknown");
        let path =
            |key: &str| self.text(key).map_err(|problem| format!("{name} operation failed to decode {key}: {problem}"));
        match name {
            "add" => add(document, path("path")?, self.value(), "add"),
            "remove" => {
                let path = path("path")?;
                let (place, key) = place(document, path).ok_or_else(|| missing("remove", path))?;
                remove(place, &key).map(drop).map_err(|problem| wrong("remove", path, &problem))
            }
            "replace" => self.replace(document, path("path")?),
            "move" => {
                let from = path("from")?;
                let (place, key) = place(document, from).ok_or_else(|| missing("move", from))?;
                let moved = remove(place, &key).map_err(|problem| wrong("move", &key, &problem))?;
                add(document, path("path")?, moved, "move")
            }
            "copy" => {
                let from = path("from")?;
                let (place, key) = place(document, from).ok_or_else(|| missing("copy", from))?;
                let found = get(place, &key).map_err(|problem| wrong("copy", from, &problem))?;
                let copy = found.map(|found| found.clone()).unwrap_or_default();
                *copied += copy.to_string().len();
                if *copied > MAX_COPY_BYTES {
                    return Err(format!(
                        "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPY_BYTES}"
                    ));
                }
                add(document, path("path")?, copy, "copy")
            }
            "test" => self.test(document, path("path")?),
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    fn replace(&self, document: &mut Value, path: &str) -> Result<(), String> {
        let value = self.value();
        if path.is_empty() {
            if !(value.is_object() || value.is_array()) {
                return Err("replace operation value must be object or array".to_owned());
            }
            *document = value;
            return Ok(());
        }
        let (place, key) = place(document, path).ok_or_else(|| missing("replace", path))?;
        if let Value::Object(map) = place {
            map.insert(key, value);
            return Ok(());
        }
        match get(place, &key) {
            Ok(Some(found)) => {
                *found = value;
                Ok(())
            }
            _ => Err(format!("replace operation does not apply: doc is missing key: {path}: {MISSING}")),
        }
    }

    fn test(&self, document: &mut Value, path: &str) -> Result<(), String> {
        let failed = || format!("testing value {path} failed: test failed");
        let expected = self.0.get("value");
        if path.is_empty() {
            return if expected == Some(&*document) { Ok(()) } else { Err(failed()) };
        }
        let (place, key) = place(document, path).ok_or_else(|| missing("test", path))?;
        let found = get(place, &key).map_err(|problem| wrong("test", path, &problem))?;
        let expected = expected.unwrap_or(&Value::Null);
        let same = found.map_or(expected.is_null(), |found| found == expected);
        if same { Ok(()) } else { Err(failed()) }
    }
}

fn missing(name: &str, path: &str) -> String {
    format!("{name} operation does not apply: doc is missing path: {path:?}: {MISSING}")
}

fn wrong(name: &str, path: &str, problem: &str) -> String {
    format!("error in {name} for path: '{path}': {problem}")
}

/// The map or list that holds what a path names, and the last part of the path.
fn place<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (_, path) = path.split_once('/')?;
    let decoded = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let (way, key) = path.rsplit_once('/').map_or((None, path), |(way, key)| (Some(way), key));
    let mut place = document;
    for part in way.into_iter().flat_map(|way| way.split('/')) {
        place = get(place, &decoded(part)).ok()??;
    }
    (place.is_object() || place.is_array()).then(|| (place, decoded(key)))
}

/// A place in a list; negative ones count from the end, which is at `length`.
fn index(key: &str, length: usize) -> Result<usize, String> {
    let number: i64 = key.parse().map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))?;
    let place = if number < 0 { number + length as i64 } else { number };
    let invalid = || format!("Unable to access invalid index: {number}: invalid index referenced");
    usize::try_from(place)
        .map_err(|_| invalid())
        .and_then(|place| if place < length { Ok(place) } else { Err(invalid()) })
}

/// What a place has under a key; a map has nothing under keys that it does not have.
fn get<'a>(place: &'a mut Value, key: &str) -> Result<Option<&'a mut Value>, String> {
    match place {
        Value::Object(map) => Ok(map.get_mut(key)),
        Value::Array(list) => {
            let at = index(key, list.len())?;
            Ok(list.get_mut(at))
        }
        _ => Err(MISSING.to_owned()),
    }
}

fn remove(place: &mut Value, key: &str) -> Result<Value, String> {
    match place {
        Value::Object(map) => {
            map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))
        }
        Value::Array(list) => {
            let at = index(key, list.len())?;
            Ok(list.remove(at))
        }
        _ => Err(MISSING.to_owned()),
    }
}

fn add(document: &mut Value, path: &str, value: Value, name: &str) -> Result<(), String> {
    let (place, key) = place(document, path).ok_or_else(|| missing(name, path))?;
    match place {
        Value::Object(map) => drop(map.insert(key, value)),
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            // There is one place more than there are elements.
            let at = index(&key, list.len() + 1).map_err(|problem| wrong(name, path, &problem))?;
            list.insert(at, value);
        }
        _ => return Err(missing(name, path)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(patch: Value, expected: Result<Value, &str>) {
        let original = json!({"spec": {"replicas": 1, "list": [1, 2]}, "a/b": 1});
        let got = json_patch(&original, &patch).map_err(|error| error.to_string());
        assert_eq!(got, expected.map_err(str::to_owned), "{patch}");
    }

    #[test]
    fn operations_apply_in_order() {
        check(
            json!([
                {"op": "test", "path": "/spec/replicas", "value": 1},
                {"op": "replace", "path": "/spec/replicas", "value": 3},
                {"op": "add", "path": "/spec/list/-", "value": 3},
                {"op": "add", "path": "/spec/list/0", "value": 0},
                {"op": "copy", "from": "/spec/replicas", "path": "/spec/copy"},
                {"op": "move", "from": "/a~1b", "path": "/spec/moved"},
            ]),
            Ok(json!({"spec": {"replicas": 3, "list": [0, 1, 2, 3], "copy": 3, "moved": 1}})),
        );
    }

    #[test]
    fn places_are_read_as_upstreams_library_reads_them() {
        let list = |patch: Value, expected: Value| {
            check(patch, Ok(json!({"spec": {"replicas": 1, "list": expected}, "a/b": 1})));
        };
        list(json!([{"op": "add", "path": "/spec/list/-1", "value": 3}]), json!([1, 2, 3]));
        list(json!([{"op": "add", "path": "/spec/list/-3", "value": 0}]), json!([0, 1, 2]));
        list(json!([{"op": "remove", "path": "/spec/list/-1"}]), json!([1]));
        list(json!([{"op": "replace", "path": "/spec/list/-2", "value": 9}]), json!([9, 2]));
        list(json!([{"op": "test", "path": "/spec/list/-1", "value": 2}]), json!([1, 2]));
        list(json!([{"op": "remove", "path": "whatever/spec/list/0"}]), json!([2]));
        list(json!([{"op": "test", "path": "/spec/none", "value": null}]), json!([1, 2]));
        check(
            json!([{"op": "replace", "path": "/spec/new", "value": 1}]),
            Ok(json!({"spec": {"replicas": 1, "list": [1, 2], "new": 1}, "a/b": 1})),
        );
    }

    #[test]
    fn what_does_not_apply_says_why() {
        let cases = [
            (
                json!({"op": "test", "path": "/spec/replicas", "value": 2}),
                "testing value /spec/replicas failed: test failed",
            ),
            (
                json!({"op": "remove", "path": "/spec/x"}),
                "error in remove for path: '/spec/x': Unable to remove nonexistent key: x: missing value",
            ),
            (
                json!({"op": "add", "path": "/no/x", "value": 1}),
                "add operation does not apply: doc is missing path: \"/no/x\": missing value",
            ),
            (
                json!({"op": "add", "path": "/spec/list/-4", "value": 1}),
                "error in add for path: '/spec/list/-4': Unable to access invalid index: -4: invalid index referenced",
            ),
            (
                json!({"op": "replace", "path": "/spec/list/2", "value": 1}),
                "replace operation does not apply: doc is missing key: /spec/list/2: missing value",
            ),
            (
                json!({"op": "move", "from": "/no", "path": "/yes"}),
                "error in move for path: 'no': Unable to remove nonexistent key: no: missing value",
            ),
            (
                json!({"op": "add", "path": "a"}),
                "add operation does not apply: doc is missing path: \"a\": missing value",
            ),
            (json!({"op": "shout", "path": "/a"}), "Unexpected kind: shout"),
            (json!({"op": "add"}), "add operation failed to decode path: operation missing path field: missing value"),
        ];
        for (operation, expected) in cases {
            check(json!([operation]), Err(expected));
        }
    }

    #[test]
    fn malformed_and_huge_patches_are_refused() {
        for bad in [json!({}), json!([1])] {
            assert!(matches!(json_patch(&json!({}), &bad), Err(PatchError::Malformed(_))), "{bad}");
        }
        let many = Value::Array(vec![json!({"op": "remove", "path": "/a"}); MAX_JSON_PATCH_OPERATIONS + 1]);
        assert_eq!(
            json_patch(&json!({}), &many).unwrap_err().to_string(),
            "The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
        // Each doubles what there is.
        let doubling = Value::Array(vec![json!({"op": "copy", "from": "/a", "path": "/a/-"}); 64]);
        let error = json_patch(&json!({"a": ["x"]}), &doubling).unwrap_err().to_string();
        assert!(error.starts_with("Unable to complete the copy"), "{error}");
    }
}
