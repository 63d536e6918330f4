//! Any bytes as what a client sends: an object in JSON, YAML or protobuf, a patch, owners of fields. They are read or refused, and
//! what was read is written and read as the same.

#![no_main]

#[path = "../../crates/k8s-schema/tests/laws/draw.rs"]
mod draw;
#[path = "../../crates/k8s-schema/tests/laws/hold.rs"]
mod hold;
#[path = "../../crates/k8s-schema/tests/laws/mutate.rs"]
mod mutate;
#[path = "../../crates/k8s-schema/tests/laws/published.rs"]
mod published;

use std::sync::OnceLock;

use fuzz::Input;
use k8s_apply::Managed;
use k8s_schema::{Decoded, decode, decode_from, json_patch, merge_patch};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    static OBJECTS: OnceLock<Vec<(Value, Vec<u8>)>> = OnceLock::new();
    let objects = OBJECTS.get_or_init(published::objects);
    let mut input = Input(data);
    let choice = input.below(5);
    match choice {
        0 => written(decode(input.0).ok()),
        1 => written(decode_from(serde_yaml::Deserializer::from_slice(input.0)).ok()),
        2 => hold::object_of(input.0),
        3 => owners(input.0),
        _ => {
            let (object, _) = &objects[input.below(objects.len())];
            patched(object, input.0);
        }
    }
});

fn written(read: Option<Decoded>) {
    let Some(Decoded { value, .. }) = read else { return };
    hold::decoding(&value);
    hold::message_of(&value);
    if let Some(schema) = hold::schema_of(&value) {
        hold::forming(&schema, &value);
    }
}

fn owners(text: &[u8]) {
    let Ok(read) = Managed::parse(text) else { return };
    let Some(written) = read.to_text() else { return };
    let again = Managed::parse(written.as_bytes()).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(again.to_text().as_deref(), Some(written.as_str()));
}

fn patched(object: &Value, patch: &[u8]) {
    let Ok(Decoded { value: patch, .. }) = decode(patch) else { return };
    drop(json_patch(object, &patch));
    drop(merge_patch(object, &patch));
    if let Some(schema) = hold::schema_of(object) {
        hold::strategic(&schema, object, &patch);
    }
}
