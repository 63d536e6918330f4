//! Objects in Kubernetes' protobuf form, to and from the JSON form that everything else works with.
//!
//! `application/vnd.kubernetes.protobuf` is four magic bytes and a `runtime.Unknown` that names the kind and holds the message.
//! Go clients send and ask for it for built-in kinds. Messages are written as Go writes them, byte for byte, from an object's JSON
//! text without building values; the caller keeps them beside the text.

mod decode;
mod duration;
mod encode;
mod envelope;
mod json;
mod table;
pub(crate) mod wire;

use serde_json::{Map, Value, json};
use thiserror::Error;

use json::Json;
use table::{MessageId, Table};
use wire::Writer;

pub use envelope::{ProtobufList, protobuf_envelope, protobuf_event};

const MAGIC: &[u8] = b"k8s\0";

/// Bytes that are no message of a built-in kind, or an object that is none, with what is wrong with them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the protobuf body cannot be read: {0}")]
pub struct ProtobufError(String);

fn broken(what: &str) -> ProtobufError {
    ProtobufError(what.to_owned())
}

/// The message of a built-in kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtobufKind(MessageId);

impl ProtobufKind {
    /// By group (empty for core), version and kind; lists and `meta.k8s.io` included.
    pub fn find(group: &str, version: &str, kind: &str) -> Option<ProtobufKind> {
        Table::get().kind(group, version, kind).map(ProtobufKind)
    }

    /// The message, without its envelope, of an object in JSON.
    ///
    /// # Errors
    /// For JSON that is no object of the kind.
    pub fn encode(self, json: &[u8]) -> Result<Vec<u8>, ProtobufError> {
        let object = Json::read(json).map_err(|error| ProtobufError(error.to_string()))?;
        let mut out = Writer::with_capacity(json.len());
        encode::message(&mut out, self.0, &object)?;
        Ok(out.into_bytes())
    }
}

/// Any object of a built-in kind in its envelope; none for other kinds.
///
/// # Errors
/// For a value that is no object of the kind that it names.
pub fn encode_protobuf(value: &Value) -> Result<Option<Vec<u8>>, ProtobufError> {
    let (api_version, kind) = (text(value, "apiVersion"), text(value, "kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let Some(found) = ProtobufKind::find(group, version, kind) else { return Ok(None) };
    let message = found.encode(value.to_string().as_bytes())?;
    Ok(Some(protobuf_envelope(api_version, kind, &message)))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

/// Reads an object of a built-in kind.
///
/// # Errors
/// For bytes that are no message of such a kind.
pub fn decode_protobuf(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let opened = envelope::open(bytes)?;
    let (group, version) = opened.api_version.split_once('/').unwrap_or(("", &opened.api_version));
    let message = Table::get().kind(group, version, &opened.kind).ok_or_else(|| {
        broken(&format!("no kind {:?} is registered for version {:?}", opened.kind, opened.api_version))
    })?;
    let mut object = Map::new();
    object.insert("kind".into(), json!(opened.kind));
    object.insert("apiVersion".into(), json!(opened.api_version));
    decode::message(opened.raw, message, &mut object, 0)?;
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published objects: name, JSON and message.
    fn published() -> Vec<(String, Value, Vec<u8>)> {
        let folder = std::env::var("MINATO_TEST_DATA")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").to_owned());
        let Ok(files) = std::fs::read_dir(format!("{folder}/kubernetes")) else {
            eprintln!("skipped: there is no test data at {folder}");
            return Vec::new();
        };
        let paths = files.map(|file| file.unwrap().path());
        let published: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "pb"))
            .map(|path| {
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                let json = std::fs::read(path.with_extension("json")).unwrap();
                (name, serde_json::from_slice(&json).unwrap(), std::fs::read(&path).unwrap())
            })
            .collect();
        assert!(published.len() > 100, "{}", published.len());
        published
    }

    /// A frame of a watch is no object: it has no envelope's kind, and is written by [`protobuf_event`].
    const FRAME: &str = "core.v1.WatchEvent";

    #[test]
    fn published_messages_are_read_as_their_json() {
        let mut failed = Vec::new();
        for (name, expected, bytes) in published().into_iter().filter(|(name, ..)| name != FRAME) {
            match decode_protobuf(&bytes) {
                Ok(value) if value == expected => {}
                Ok(value) => failed.push(format!("{name}: {}", difference("", &value, &expected))),
                Err(error) => failed.push(format!("{name}: {error}")),
            }
        }
        assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
    }

    #[test]
    fn published_objects_are_written_as_their_messages() {
        let mut failed = Vec::new();
        for (name, json, expected) in published().into_iter().filter(|(name, ..)| name != FRAME) {
            match encode_protobuf(&json) {
                Ok(Some(bytes)) if bytes == expected => {}
                Ok(Some(bytes)) => {
                    let at = bytes.iter().zip(&expected).take_while(|(a, b)| a == b).count();
                    let around = |bytes: &[u8]| {
                        let part = &bytes[at.saturating_sub(12)..bytes.len().min(at + 24)];
                        String::from_utf8_lossy(part).into_owned()
                    };
                    failed.push(format!("{name}: at {at}: {:?} instead of {:?}", around(&bytes), around(&expected)));
                }
                Ok(None) => failed.push(format!("{name}: it is not known")),
                Err(error) => failed.push(format!("{name}: {error}")),
            }
        }
        assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
    }

    /// The first place where two values differ.
    fn difference(path: &str, a: &Value, b: &Value) -> String {
        match (a, b) {
            (Value::Object(x), Value::Object(y)) => {
                let keys = x.keys().chain(y.keys()).find(|key| x.get(*key) != y.get(*key));
                let none = Value::Null;
                keys.map_or_else(String::new, |key| {
                    difference(&format!("{path}.{key}"), x.get(key).unwrap_or(&none), y.get(key).unwrap_or(&none))
                })
            }
            (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
                let at = (0..x.len()).find(|at| x[*at] != y[*at]);
                at.map_or_else(String::new, |at| difference(&format!("{path}[{at}]"), &x[at], &y[at]))
            }
            _ => format!("{path}: {a} instead of {b}"),
        }
    }

    #[test]
    fn what_is_absent_is_written_as_go_writes_it() {
        // A ConfigMap's metadata: name, generateName, namespace, selfLink, uid, resourceVersion, generation, creationTimestamp.
        let written = encode_protobuf(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}));
        let metadata = b"\x0a\x01a\x12\x00\x1a\x00\x22\x00\x2a\x00\x32\x00\x38\x00\x42\x00";
        let message = [&b"\x0a\x11"[..], metadata].concat();
        assert_eq!(written, Ok(Some(protobuf_envelope("v1", "ConfigMap", &message))));
        assert!(written.unwrap().unwrap().starts_with(b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x13\x0a\x11"));
        // Null is absent, in maps of bytes too.
        let nulls = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "labels": null}, "data": {"k": null}});
        let message = [&b"\x0a\x11"[..], metadata, b"\x12\x03\x0a\x01k\x1a\x00"].concat();
        assert_eq!(encode_protobuf(&nulls), Ok(Some(protobuf_envelope("v1", "Secret", &message))));
    }

    #[test]
    fn objects_that_are_no_such_kind_are_refused() {
        assert_eq!(encode_protobuf(&json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab"})), Ok(None));
        for (field, value) in [
            ("metadata", json!([])),
            ("metadata", json!({"name": 1})),
            ("metadata", json!({"creationTimestamp": "yesterday"})),
            ("data", json!([1])),
            ("binaryData", json!({"k": "?"})),
            ("immutable", json!("yes")),
        ] {
            let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap"});
            object[field] = value;
            assert!(encode_protobuf(&object).is_err(), "{object}");
        }
    }

    #[test]
    fn lists_and_events_are_joined_from_messages() {
        let item = |name: &str| json!({"metadata": {"name": name}, "data": {"k": name.repeat(200)}});
        let list = json!({
            "apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "7", "continue": "c"},
            "items": [item("a"), item("b")],
        });
        let kind = |kind: &str| ProtobufKind::find("", "v1", kind).unwrap();
        let items: Vec<Vec<u8>> =
            ["a", "b"].map(|name| kind("ConfigMap").encode(item(name).to_string().as_bytes()).unwrap()).to_vec();
        let metadata = kind("ListMeta").encode(list["metadata"].to_string().as_bytes()).unwrap();
        let length = items.iter().map(|item| ProtobufList::item_length(item.len())).sum();
        let mut joined = ProtobufList::head("v1", "ConfigMapList", &metadata, length);
        for item in &items {
            joined.extend(ProtobufList::before_item(item.len()));
            joined.extend_from_slice(item);
        }
        joined.extend_from_slice(ProtobufList::TAIL);
        assert_eq!(encode_protobuf(&list), Ok(Some(joined)));

        let event = protobuf_event("ADDED", "v1", "ConfigMap", &items[0]);
        let length = u32::from_be_bytes(event[..4].try_into().unwrap()) as usize;
        assert_eq!(length, event.len() - 4);
        let fields: Vec<_> = wire::Reader::new(&event[4..]).map(Result::unwrap).collect();
        assert_eq!(fields[0], (1, wire::Payload::Bytes(b"ADDED")));
        let (2, wire::Payload::Bytes(extension)) = fields[1] else { panic!("{fields:?}") };
        let Some(Ok((1, wire::Payload::Bytes(object)))) = wire::Reader::new(extension).next() else {
            panic!("{extension:?}")
        };
        assert_eq!(object, protobuf_envelope("v1", "ConfigMap", &items[0]));
    }

    #[test]
    fn broken_messages_are_refused() {
        let long = [MAGIC, &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
        let unknown = [MAGIC, &[0x0a, 9, 0x0a, 2, b'v', b'1', 0x12, 3, b'F', b'o', b'o']].concat();
        // A Lease whose renewal is in no year: seconds beyond what there is.
        let mut late = vec![0x0a, 0, 0x12, 12, 0x2a, 10, 0x08];
        late.extend([0xff; 8]);
        late.push(0x7f);
        let late = protobuf_envelope("coordination.k8s.io/v1", "Lease", &late);
        for bytes in [
            &b""[..],
            b"k8s",
            b"{}",
            b"k8s\0\x0a",
            b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            &long,
            &unknown,
            &late,
        ] {
            assert!(decode_protobuf(bytes).is_err(), "{bytes:?}");
        }
    }
}
