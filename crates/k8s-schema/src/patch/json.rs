//! JSON patch (RFC 6902), `application/json-patch+json`.

use serde_json::Value;

use super::PatchError;

/// Most operations in one patch; upstream's limit, which keeps one request from holding the server.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;

/// Applies all operations or none.
pub fn json_patch(original: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Array(list) = patch else {
        return Err(PatchError::Malformed("a JSON patch is an array of operations".to_owned()));
    };
    if list.len() > MAX_JSON_PATCH_OPERATIONS {
        return Err(PatchError::TooManyOperations { operations: list.len(), limit: MAX_JSON_PATCH_OPERATIONS });
    }
    let mut operations = Vec::with_capacity(list.len());
    for (index, operation) in list.iter().enumerate() {
        let parsed: json_patch::PatchOperation = serde_json::from_value(operation.clone())
            .map_err(|error| PatchError::Malformed(format!("operation {index} of the JSON patch: {error}")))?;
        operations.push(parsed);
    }
    let mut value = original.clone();
    json_patch::patch(&mut value, &operations).map_err(|error| explain(&operations, &error))?;
    Ok(value)
}

fn explain(operations: &[json_patch::PatchOperation], error: &json_patch::PatchError) -> PatchError {
    use json_patch::PatchErrorKind as Kind;
    use json_patch::PatchOperation as Op;
    let Some(operation) = operations.get(error.operation) else {
        return PatchError::NotApplicable(error.to_string());
    };
    let (name, path, from) = match operation {
        Op::Add(op) => ("add", op.path.to_string(), None),
        Op::Remove(op) => ("remove", op.path.to_string(), None),
        Op::Replace(op) => ("replace", op.path.to_string(), None),
        Op::Move(op) => ("move", op.path.to_string(), Some(op.from.to_string())),
        Op::Copy(op) => ("copy", op.path.to_string(), Some(op.from.to_string())),
        Op::Test(op) => ("test", op.path.to_string(), None),
    };
    let missing = |path: &str| format!("{name} operation does not apply: doc is missing path: {path:?}: missing value");
    PatchError::NotApplicable(match &error.kind {
        Kind::TestFailed => format!("testing value {path} failed: test failed"),
        Kind::InvalidFromPointer => missing(from.as_deref().unwrap_or(&path)),
        Kind::InvalidPointer => missing(&path),
        other => format!("{name} operation does not apply: {other}"),
    })
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
                {"op": "remove", "path": "/a~1b"},
            ]),
            Ok(json!({"spec": {"replicas": 3, "list": [0, 1, 2, 3], "copy": 3}})),
        );
    }

    #[test]
    fn what_does_not_apply_says_why() {
        check(
            json!([{"op": "test", "path": "/spec/replicas", "value": 2}]),
            Err("testing value /spec/replicas failed: test failed"),
        );
        check(
            json!([{"op": "remove", "path": "/spec/x"}]),
            Err("remove operation does not apply: doc is missing path: \"/spec/x\": missing value"),
        );
        check(
            json!([{"op": "add", "path": "/no/x", "value": 1}]),
            Err("add operation does not apply: doc is missing path: \"/no/x\": missing value"),
        );
        check(
            json!([{"op": "move", "from": "/no", "path": "/yes"}]),
            Err("move operation does not apply: doc is missing path: \"/no\": missing value"),
        );
    }

    #[test]
    fn malformed_and_huge_patches_are_refused() {
        assert!(matches!(json_patch(&json!({}), &json!({})), Err(PatchError::Malformed(_))));
        for bad in [
            json!([1]),
            json!([{"op": "shout", "path": "/a"}]),
            json!([{"op": "add", "path": "a", "value": 1}]),
            json!([{"op": "add"}]),
        ] {
            assert!(matches!(json_patch(&json!({}), &bad), Err(PatchError::Malformed(_))), "{bad}");
        }
        let many = Value::Array(vec![json!({"op": "remove", "path": "/a"}); MAX_JSON_PATCH_OPERATIONS + 1]);
        assert_eq!(
            json_patch(&json!({}), &many).unwrap_err().to_string(),
            "The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
    }
}
