//! Objects in Kubernetes' protobuf form, read into the JSON form that everything else works with.
//!
//! `application/vnd.kubernetes.protobuf` is four magic bytes and a `runtime.Unknown` that names the kind and holds the message.
//! Go clients send it for built-in kinds unless told otherwise; answers they take as JSON.

mod table;
mod wire;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use thiserror::Error;
use world::Timestamp;

use table::{Definition, Field, Table, Type};
use wire::{Payload, Reader};

const MAGIC: &[u8] = b"k8s\0";
/// Nesting of messages, as for JSON.
const MAX_DEPTH: usize = 100;

/// Bytes that are no message of a built-in kind, with what is wrong with them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the protobuf body cannot be read: {0}")]
pub struct ProtobufError(String);

fn broken(what: &str) -> ProtobufError {
    ProtobufError(what.to_owned())
}

/// Reads an object of a built-in kind.
///
/// # Errors
/// For bytes that are no message of such a kind.
pub fn decode_protobuf(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or_else(|| broken("it does not begin with the magic number"))?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Reader::new(envelope) {
        match field.map_err(broken)? {
            (1, Payload::Bytes(meta)) => {
                for field in Reader::new(meta) {
                    match field.map_err(broken)? {
                        (1, Payload::Bytes(text)) => api_version = text_of(text)?,
                        (2, Payload::Bytes(text)) => kind = text_of(text)?,
                        _ => {}
                    }
                }
            }
            (2, Payload::Bytes(bytes)) => raw = bytes,
            (3, Payload::Bytes(encoding)) if !encoding.is_empty() => return Err(broken("its content is encoded")),
            (4, Payload::Bytes(content)) if ![&b""[..], b"application/vnd.kubernetes.protobuf"].contains(&content) => {
                return Err(broken("its content is of another type"));
            }
            _ => {}
        }
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let (_, definition) = Table::get()
        .kind(group, version, &kind)
        .ok_or_else(|| broken(&format!("no kind {kind:?} is registered for version {api_version:?}")))?;
    let Definition::Struct(fields) = definition else { return Err(broken("the kind is no message")) };
    let mut object = Map::new();
    object.insert("kind".into(), json!(kind));
    object.insert("apiVersion".into(), json!(api_version));
    message(raw, fields, &mut object, 0)?;
    Ok(Value::Object(object))
}

fn text_of(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| broken("a text is not UTF-8"))
}

/// Reads the fields of a message into a map.
fn message(bytes: &[u8], fields: &[Field], object: &mut Map<String, Value>, depth: usize) -> Result<(), ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(broken("it is nested too deep"));
    }
    for entry in Reader::new(bytes) {
        let (number, payload) = entry.map_err(broken)?;
        let Some(field) = fields.iter().find(|field| field.number == number) else { continue };
        if field.name == "@" {
            if let (Type::Named(package, name), Payload::Bytes(inner)) = (&field.ty, payload)
                && let Some(Definition::Struct(fields)) = Table::get().find(package, name)
            {
                message(inner, fields, object, depth + 1)?;
            }
            continue;
        }
        put(object, field, payload, depth)?;
    }
    Ok(())
}

/// The type behind aliases, unless they are wrapped.
fn resolve(ty: &Type) -> &Type {
    match ty {
        Type::Named(package, name) => match Table::get().find(package, name) {
            Some(Definition::Alias { ty, wrapped: false }) => resolve(ty),
            _ => ty,
        },
        _ => ty,
    }
}

fn put(
    object: &mut Map<String, Value>,
    field: &Field,
    payload: Payload<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let (pointer, ty) = match &field.ty {
        Type::Pointer(inner) => (true, resolve(inner)),
        ty => (false, resolve(ty)),
    };
    match ty {
        Type::List(item) => {
            let list = object.entry(field.name).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                items(list, item, payload, depth)?;
            }
        }
        Type::Map(key, item) => {
            let Payload::Bytes(bytes) = payload else { return Err(broken("a map's entry is no message")) };
            let (mut name, mut found) = (String::new(), None);
            for entry in Reader::new(bytes) {
                match entry.map_err(broken)? {
                    (1, payload) => {
                        let read = value(resolve(key), payload, depth + 1)?;
                        name = read.as_str().map_or_else(|| read.to_string(), str::to_owned);
                    }
                    (2, payload) => found = Some(value(item, payload, depth + 1)?),
                    _ => {}
                }
            }
            let zero = zero(resolve(item));
            if let Some(map) = object.entry(field.name).or_insert_with(|| json!({})).as_object_mut() {
                map.insert(name, found.unwrap_or(zero));
            }
        }
        ty => {
            let read = value(ty, payload, depth + 1)?;
            // Go writes every field that is no pointer, zero or not; its JSON leaves these out.
            let empty = read.is_null() || read == "" || read == 0 || read == false;
            if pointer || !field.omit_empty || !empty {
                object.insert(field.name.to_owned(), read);
            }
        }
    }
    Ok(())
}

/// What a map's entry without a value holds.
fn zero(ty: &Type) -> Value {
    match ty {
        Type::Bool => json!(false),
        Type::Float64 | Type::Int => json!(0),
        Type::Bytes | Type::String => json!(""),
        Type::List(_) => json!([]),
        Type::Map(..) => json!({}),
        Type::Pointer(inner) => zero(resolve(inner)),
        Type::Named(_, "Quantity") => json!("0"),
        Type::Named(..) => json!({}),
    }
}

/// Adds an element, or several that are packed.
fn items(list: &mut Vec<Value>, item: &Type, payload: Payload<'_>, depth: usize) -> Result<(), ProtobufError> {
    let item = resolve(match item {
        Type::Pointer(inner) => inner,
        item => item,
    });
    if let (Type::Int | Type::Bool, Payload::Bytes(packed)) = (item, payload) {
        for number in wire::varints(packed) {
            list.push(value(item, Payload::Varint(number.map_err(broken)?), depth)?);
        }
        return Ok(());
    }
    list.push(value(item, payload, depth + 1)?);
    Ok(())
}

fn value(ty: &Type, payload: Payload<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match (resolve(ty), payload) {
        (Type::Pointer(inner), payload) => value(inner, payload, depth)?,
        (Type::Bool, Payload::Varint(number)) => json!(number != 0),
        (Type::Int, Payload::Varint(number)) => json!(number as i64),
        (Type::Float64, Payload::Fixed64(bits)) => json!(f64::from_bits(bits)),
        (Type::String, Payload::Bytes(bytes)) => json!(text_of(bytes)?),
        (Type::Bytes, Payload::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
        (Type::Named(package, name), Payload::Bytes(bytes)) => match Table::get().find(package, name) {
            Some(Definition::Struct(fields)) => {
                let mut object = Map::new();
                message(bytes, fields, &mut object, depth + 1)?;
                Value::Object(object)
            }
            Some(Definition::Alias { ty, .. }) => {
                let Type::List(item) = ty else { return Err(broken("only lists are wrapped")) };
                let mut list = Vec::new();
                for entry in Reader::new(bytes) {
                    if let (1, payload) = entry.map_err(broken)? {
                        items(&mut list, item, payload, depth + 1)?;
                    }
                }
                Value::Array(list)
            }
            Some(Definition::Leaf) => leaf(package, name, bytes, depth)?,
            None => return Err(broken(&format!("{name} is not known"))),
        },
        _ => return Err(broken("a field is of another type")),
    })
}

/// The fields of a message by number, the last of each.
fn numbered<'a, const N: usize>(bytes: &'a [u8]) -> Result<[Option<Payload<'a>>; N], ProtobufError> {
    let mut found = [None; N];
    for entry in Reader::new(bytes) {
        let (number, payload) = entry.map_err(broken)?;
        if let Some(slot) = found.get_mut(number as usize) {
            *slot = Some(payload);
        }
    }
    Ok(found)
}

/// Types whose JSON is not that of their message.
fn leaf(package: &'static str, name: &str, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    let fields = numbered::<4>(bytes)?;
    let number = |at: usize| if let Some(Payload::Varint(number)) = fields[at] { number as i64 } else { 0 };
    let raw = |at: usize| if let Some(Payload::Bytes(bytes)) = fields[at] { bytes } else { &[][..] };
    let embedded = |bytes: &[u8]| match bytes {
        [] => Ok(Value::Null),
        bytes => serde_json::from_slice(bytes).map_err(|_| broken("embedded JSON cannot be read")),
    };
    let schema = |bytes: &[u8]| value(&Type::Named(package, "JSONSchemaProps"), Payload::Bytes(bytes), depth + 1);
    Ok(match name {
        // A message without seconds is Go's zero time, which JSON writes as null.
        "Time" | "MicroTime" if bytes.is_empty() => Value::Null,
        "Time" => json!(Timestamp::from_seconds(number(1)).to_string()),
        "MicroTime" => {
            let micros = number(1).saturating_mul(1_000_000).saturating_add(number(2) / 1000);
            json!(Timestamp::from_micros(micros).to_micro_string())
        }
        "Duration" => json!(go_duration(number(1))),
        "Quantity" => json!(text_of(raw(1))?),
        "IntOrString" => {
            if number(1) == 0 {
                json!(number(2))
            } else {
                json!(text_of(raw(3))?)
            }
        }
        "RawExtension" | "JSON" | "FieldsV1" => embedded(raw(1))?,
        "JSONSchemaPropsOrBool" => match fields[2] {
            Some(Payload::Bytes(bytes)) => schema(bytes)?,
            _ => json!(number(1) != 0),
        },
        "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray" => {
            if let Some(Payload::Bytes(bytes)) = fields[1] {
                return schema(bytes);
            }
            let mut list = Vec::new();
            for entry in Reader::new(bytes) {
                if let (2, Payload::Bytes(bytes)) = entry.map_err(broken)? {
                    list.push(if name == "JSONSchemaPropsOrArray" { schema(bytes)? } else { json!(text_of(bytes)?) });
                }
            }
            Value::Array(list)
        }
        _ => return Err(broken(&format!("{name} is not known"))),
    })
}

/// A number of nanoseconds as Go writes it: `1h30m0s`, `1.5s`, `20ms`.
fn go_duration(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let decimal = |amount: u64, unit: u64, name: &str| {
        let fraction = format!("{:09}", amount % unit * (1_000_000_000 / unit));
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            format!("{}{name}", amount / unit)
        } else {
            format!("{}.{fraction}{name}", amount / unit)
        }
    };
    let text = match total {
        0..1_000 => format!("{total}ns"),
        1_000..1_000_000 => decimal(total, 1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(total, 1_000_000, "ms"),
        _ => {
            let (hours, minutes) = (total / 3_600_000_000_000, total / 60_000_000_000 % 60);
            let seconds = decimal(total % 60_000_000_000, 1_000_000_000, "s");
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let cases = [
            (0, "0s"),
            (20_000_000, "20ms"),
            (1_500_000_000, "1.5s"),
            (5_400_000_000_000, "1h30m0s"),
            (-90_000_000_000, "-1m30s"),
            (15, "15ns"),
            (1_500, "1.5µs"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(go_duration(nanoseconds), text);
        }
    }

    /// A frame of a watch is no object; the list may only shrink.
    const NOT_YET: &[&str] = &["core.v1.WatchEvent"];

    #[test]
    fn published_messages_are_read_as_their_json() {
        let folder = std::env::var("MINATO_TEST_DATA")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").to_owned());
        let Ok(files) = std::fs::read_dir(format!("{folder}/kubernetes")) else {
            eprintln!("skipped: there is no test data at {folder}");
            return;
        };
        let mut failed = Vec::new();
        let mut count = 0;
        for file in files {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if path.extension().is_none_or(|extension| extension != "pb") {
                continue;
            }
            count += 1;
            let expected: Value = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
            match decode_protobuf(&std::fs::read(&path).unwrap()) {
                Ok(value) if value == expected => {}
                Ok(value) => failed.push(format!("{name}: {}", difference("", &value, &expected))),
                Err(error) => failed.push(format!("{name}: {error}")),
            }
        }
        failed.retain(|line| !NOT_YET.iter().any(|name| line.starts_with(&format!("{name}: "))));
        assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n"));
        assert!(count > 100);
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
    fn broken_messages_are_refused() {
        let long = [MAGIC, &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
        let unknown = [MAGIC, &[0x0a, 9, 0x0a, 2, b'v', b'1', 0x12, 3, b'F', b'o', b'o']].concat();
        for bytes in [
            &b""[..],
            b"k8s",
            b"{}",
            b"k8s\0\x0a",
            b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            &long,
            &unknown,
        ] {
            assert!(decode_protobuf(bytes).is_err(), "{bytes:?}");
        }
    }
}
