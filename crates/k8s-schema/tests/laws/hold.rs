//! What holds of any object, patch, message and schema, however spoilt.

use k8s_schema::{MAX_DEPTH, NEWEST_MINOR, Schema, decode, decode_protobuf, encode_protobuf, json_patch, merge_patch};
use serde_json::{Value, json};

use super::draw::Draw;
use super::mutate::{anything, mutate, mutate_bytes};

/// The schema of a built-in kind, by what an object says it is.
pub fn schema_of(object: &Value) -> Option<Schema> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    Schema::builtin_kind(group, version, text("kind"), NEWEST_MINOR)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Reading gives what was written, and refuses only what is too deep.
pub fn decoding(value: &Value) {
    match decode(value.to_string().as_bytes()) {
        Ok(read) => assert_eq!(read.value, *value),
        Err(error) => assert!(depth(value) >= MAX_DEPTH, "{error}: {value}"),
    }
}

/// Each step towards the stored form, done twice, is that step done once; and none of them breaks on what is no object.
pub fn forming(schema: &Schema, value: &Value) {
    let twice = |what: &str, step: &dyn Fn(&mut Value), from: &Value| {
        let mut once = from.clone();
        step(&mut once);
        let mut again = once.clone();
        step(&mut again);
        assert_eq!(once, again, "{what} twice is not {what} once: {from}");
        once
    };
    let _ = schema.validate(value);
    let _ = schema.missing_required(value);
    let _ = schema.unknown_fields(value);
    let pruned = twice("pruning", &|value| drop(schema.prune(value)), value);
    assert_eq!(schema.unknown_fields(&pruned), Vec::<String>::new(), "of {value}");
    if schema.check_types(&pruned).is_err() {
        return;
    }
    let bare = twice("dropping nulls", &|value| schema.drop_nulls(value), &pruned);
    let full = twice("defaulting", &|value| schema.default(value), &bare);
    let canonical = twice("writing in canonical form", &|value| schema.canonicalise(value), &full);
    schema
        .check_types(&canonical)
        .unwrap_or_else(|error| panic!("the stored form of {value} has other types: {error}"));
    let _ = schema.validate_update(&canonical, &pruned);
}

/// An object that has a message is read back from it, and that is written and read as the same. The first message may lack what
/// is always read: a null in a map of bytes is left out, and read as no bytes.
pub fn message_of(value: &Value) {
    let Ok(Some(message)) = encode_protobuf(value) else { return };
    let read =
        decode_protobuf(&message).unwrap_or_else(|error| panic!("what was written is not read: {error}: {value}"));
    let again = encode_protobuf(&read).unwrap_or_else(|error| panic!("what was read is not written: {error}: {read}"));
    let again = again.unwrap_or_default();
    assert_eq!(decode_protobuf(&again).as_ref(), Ok(&read), "{value}");
    assert_eq!(encode_protobuf(&read), Ok(Some(again)), "{value}");
}

/// A message that is read is an object that is written, with what may be absent and is always written, and then as the same.
pub fn object_of(message: &[u8]) {
    let Ok(read) = decode_protobuf(message) else { return };
    let written =
        encode_protobuf(&read).unwrap_or_else(|error| panic!("what was read is not written: {error}: {read}"));
    assert!(written.is_some(), "what was read has no message: {read}");
    message_of(&read);
}

/// Whether a value has a null anywhere.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

/// The merge patch from one value to another.
fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (from, to) else { return to.clone() };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let set = new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, value)| {
        let below = old.get(key).map_or_else(|| value.clone(), |old| difference(old, value));
        (key.clone(), below)
    });
    Value::Object(gone.chain(set).collect())
}

/// Merge patches do what RFC 7386 says: twice is once, and a difference leads from one to the other.
pub fn merging(object: &Value, patch: &Value) {
    if let Ok(patched) = merge_patch(object, patch) {
        assert_eq!(merge_patch(&patched, patch).as_ref(), Ok(&patched), "{patch} twice is not {patch} once");
    }
    if !has_null(patch) && patch.is_object() {
        let difference = difference(object, patch);
        assert_eq!(merge_patch(object, &difference).as_ref(), Ok(patch), "by {difference}");
    }
}

/// Strategic patches: nothing changes nothing, and what they make is of the kind's types.
pub fn strategic(schema: &Schema, object: &Value, patch: &Value) {
    assert_eq!(schema.strategic_merge_patch(object, &json!({})).as_ref(), Ok(object), "by nothing");
    let Ok(patched) = schema.strategic_merge_patch(object, patch) else { return };
    if schema.check_types(object).is_ok() && schema.check_types(patch).is_ok() {
        // Whatever it is, the next step of the pipeline judges it.
        forming(schema, &patched);
    }
}

/// A JSON patch is done as a whole or not at all, and a test of what is there holds.
pub fn json_patching(draw: &mut dyn Draw, object: &Value) {
    assert_eq!(json_patch(object, &json!([])).as_ref(), Ok(object));
    let path = |draw: &mut dyn Draw| {
        let (mut path, mut at) = (String::new(), object);
        while draw.below(6) > 0 {
            let key = match at {
                Value::Object(fields) if !fields.is_empty() => {
                    fields.keys().nth(draw.below(fields.len())).cloned().unwrap_or_default()
                }
                Value::Array(items) if !items.is_empty() => draw.below(items.len()).to_string(),
                _ => break,
            };
            at = at.get(&key).or_else(|| at.get(key.parse::<usize>().ok()?)).unwrap_or(&Value::Null);
            path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
        }
        (path, at.clone())
    };
    let (there, value) = path(draw);
    let tested = json_patch(object, &json!([{"op": "test", "path": there, "value": value}]));
    assert_eq!(tested.as_ref(), Ok(object), "{there} is {value}");
    let ops: Vec<Value> = (0..1 + draw.below(4))
        .map(|_| {
            let (to, from) = (path(draw).0, path(draw).0);
            let mut to = to;
            match draw.below(5) {
                0 => to.push_str("/-"),
                1 => to.push_str("/x"),
                2 => to.push_str("/99999999999999999999"),
                _ => {}
            }
            let op = ["add", "remove", "replace", "move", "copy", "test", "nonsense"][draw.below(7)];
            let mut op = json!({"op": op, "path": to, "from": from, "value": anything(draw, 1)});
            if draw.below(8) == 0 {
                mutate(draw, &mut op);
            }
            op
        })
        .collect();
    let all = json_patch(object, &Value::Array(ops.clone()));
    let one_by_one = ops.iter().try_fold(object.clone(), |at, op| json_patch(&at, &json!([op])));
    assert_eq!(all.is_ok(), one_by_one.is_ok(), "{ops:?}");
    if let (Ok(all), Ok(one_by_one)) = (all, one_by_one) {
        assert_eq!(all, one_by_one, "{ops:?}");
    }
}

/// A schema of a definition is refused or is one that all laws hold of.
pub fn definition(draw: &mut dyn Draw, schema: &Value, object: &Value) {
    let Ok(schema) = Schema::from_crd(schema) else { return };
    forming(&schema, object);
    let mut spoilt = object.clone();
    mutate(draw, &mut spoilt);
    forming(&schema, &spoilt);
}

/// All laws, of one object that is spoilt a little. `message` is the object in protobuf.
pub fn all(draw: &mut dyn Draw, object: &Value, message: &[u8], definition_schema: &Value) {
    let mut spoilt = object.clone();
    for _ in 0..draw.below(4) {
        mutate(draw, &mut spoilt);
    }
    decoding(&spoilt);
    message_of(&spoilt);
    let mut bytes = message.to_vec();
    for _ in 0..draw.below(4) {
        mutate_bytes(draw, &mut bytes);
    }
    object_of(&bytes);
    merging(object, &spoilt);
    json_patching(draw, object);
    if let Some(schema) = schema_of(object) {
        forming(&schema, &spoilt);
        strategic(&schema, object, &spoilt);
    }
    let mut of_definition = definition_schema.clone();
    for _ in 0..draw.below(3) {
        mutate(draw, &mut of_definition);
    }
    definition(draw, &of_definition, &spoilt);
}
