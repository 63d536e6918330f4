//! Messages into JSON values.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use world::Timestamp;

use super::table::{Field, MessageId, Shape, Table};
use super::wire::{self, Payload, Reader};
use super::{ProtobufError, broken, duration};
use crate::model::Leaf;

/// Nesting of messages, as for JSON.
const MAX_DEPTH: usize = 100;

pub(super) fn text_of(bytes: &[u8]) -> Result<String, ProtobufError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| broken("a text is not UTF-8"))
}

/// Reads the fields of a message into a map.
pub(super) fn message(
    bytes: &[u8],
    id: MessageId,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(broken("it is nested too deep"));
    }
    let fields = Table::get().message(id);
    for entry in Reader::new(bytes) {
        let (number, payload) = entry.map_err(broken)?;
        let Some(field) = fields.field(number) else { continue };
        if !field.embedded {
            put(object, field, payload, depth)?;
        } else if let (Shape::Message(inner), Payload::Bytes(bytes)) = (&field.shape, payload) {
            message(bytes, *inner, object, depth + 1)?;
        }
    }
    Ok(())
}

/// A list or map to add to: absent at first. Names of fields are looked up before they are copied.
fn collected<'a>(object: &'a mut Map<String, Value>, name: &str, empty: fn() -> Value) -> &'a mut Value {
    if !object.contains_key(name) {
        object.insert(name.to_owned(), empty());
    }
    &mut object[name]
}

fn put(
    object: &mut Map<String, Value>,
    field: &Field,
    payload: Payload<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    match &field.shape {
        Shape::List(item) => {
            if let Value::Array(list) = collected(object, field.name, || Value::Array(Vec::new())) {
                items(list, item, payload, depth)?;
            }
        }
        Shape::Map(key, item) => {
            let Payload::Bytes(bytes) = payload else { return Err(broken("a map's entry is no message")) };
            let (mut name, mut found) = (String::new(), None);
            for entry in Reader::new(bytes) {
                match entry.map_err(broken)? {
                    (1, Payload::Bytes(text)) if **key == Shape::Text => name = text_of(text)?,
                    (1, payload) => name = value(key, payload, depth + 1)?.to_string(),
                    (2, payload) => found = Some(value(item, payload, depth + 1)?),
                    _ => {}
                }
            }
            if let Value::Object(map) = collected(object, field.name, || Value::Object(Map::new())) {
                map.insert(name, found.unwrap_or_else(|| zero(item)));
            }
        }
        shape => {
            let read = value(shape, payload, depth + 1)?;
            // Go writes every field that is no pointer, zero or not; its JSON leaves these out.
            if field.pointer || !field.omit_empty || !is_zero(&read) {
                object.insert(field.name.to_owned(), read);
            }
        }
    }
    Ok(())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// What a map's entry without a value holds.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Bool => json!(false),
        Shape::Float64 | Shape::Int | Shape::Leaf(Leaf::IntOrString) => json!(0),
        Shape::Bytes | Shape::Text => json!(""),
        Shape::List(_) | Shape::Wrapped(_) => json!([]),
        Shape::Leaf(Leaf::Quantity) => json!("0"),
        Shape::Leaf(Leaf::Duration) => json!("0s"),
        Shape::Leaf(Leaf::Time | Leaf::MicroTime) => Value::Null,
        Shape::Map(..) | Shape::Message(_) | Shape::Leaf(_) | Shape::SchemaOr(..) => json!({}),
    }
}

/// Adds an element, or several that are packed.
fn items(list: &mut Vec<Value>, item: &Shape, payload: Payload<'_>, depth: usize) -> Result<(), ProtobufError> {
    if let (Shape::Int | Shape::Bool, Payload::Bytes(packed)) = (item, payload) {
        for number in wire::varints(packed) {
            list.push(value(item, Payload::Varint(number.map_err(broken)?), depth)?);
        }
        return Ok(());
    }
    list.push(value(item, payload, depth + 1)?);
    Ok(())
}

fn value(shape: &Shape, payload: Payload<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match (shape, payload) {
        (Shape::Bool, Payload::Varint(number)) => Value::Bool(number != 0),
        (Shape::Int, Payload::Varint(number)) => Value::from(number as i64),
        (Shape::Float64, Payload::Fixed64(bits)) => json!(f64::from_bits(bits)),
        (Shape::Text, Payload::Bytes(bytes)) => Value::String(text_of(bytes)?),
        (Shape::Bytes, Payload::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
        (Shape::Message(id), Payload::Bytes(bytes)) => {
            let mut object = Map::new();
            message(bytes, *id, &mut object, depth + 1)?;
            Value::Object(object)
        }
        (Shape::Wrapped(list), Payload::Bytes(bytes)) => {
            let Shape::List(item) = &**list else { return Err(broken("only lists are wrapped")) };
            let mut list = Vec::new();
            for entry in Reader::new(bytes) {
                if let (1, payload) = entry.map_err(broken)? {
                    items(&mut list, item, payload, depth + 1)?;
                }
            }
            Value::Array(list)
        }
        (Shape::Leaf(kind), Payload::Bytes(bytes)) => leaf(*kind, bytes)?,
        (Shape::SchemaOr(kind, schema), Payload::Bytes(bytes)) => schema_or(*kind, *schema, bytes, depth)?,
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
fn leaf(leaf: Leaf, bytes: &[u8]) -> Result<Value, ProtobufError> {
    let fields = numbered::<4>(bytes)?;
    let number = |at: usize| if let Some(Payload::Varint(number)) = fields[at] { number as i64 } else { 0 };
    let raw = |at: usize| if let Some(Payload::Bytes(bytes)) = fields[at] { bytes } else { &[][..] };
    Ok(match leaf {
        // A message without seconds is Go's zero time, which JSON writes as null.
        Leaf::Time | Leaf::MicroTime if bytes.is_empty() => Value::Null,
        Leaf::Time => json!(moment(number(1), 0)?.to_string()),
        Leaf::MicroTime => json!(moment(number(1), number(2) / 1000)?.to_micro_string()),
        Leaf::Duration => json!(duration::write(number(1))),
        Leaf::Quantity => json!(text_of(raw(1))?),
        Leaf::IntOrString if number(1) == 0 => json!(number(2)),
        Leaf::IntOrString => json!(text_of(raw(3))?),
        Leaf::RawExtension | Leaf::Json | Leaf::FieldsV1 => match raw(1) {
            [] => Value::Null,
            bytes => crate::decode(bytes).map_err(|_| broken("embedded JSON cannot be read"))?.value,
        },
        Leaf::JsonSchemaOrArray | Leaf::JsonSchemaOrBool | Leaf::JsonSchemaOrStringArray => {
            return Err(broken("a field is of another type"));
        }
    })
}

/// Seconds that a time of Go's can have: years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

fn moment(seconds: i64, micros: i64) -> Result<Timestamp, ProtobufError> {
    if !SECONDS.contains(&seconds) || !(0..1_000_000).contains(&micros) {
        return Err(broken("a time is out of range"));
    }
    Ok(Timestamp::from_micros(seconds * 1_000_000 + micros))
}

fn schema_or(leaf: Leaf, schema: MessageId, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    let schema = |bytes: &[u8]| value(&Shape::Message(schema), Payload::Bytes(bytes), depth + 1);
    let fields = numbered::<3>(bytes)?;
    if leaf == Leaf::JsonSchemaOrBool {
        return match fields[2] {
            Some(Payload::Bytes(bytes)) => schema(bytes),
            _ => Ok(json!(matches!(fields[1], Some(Payload::Varint(1..))))),
        };
    }
    if let Some(Payload::Bytes(bytes)) = fields[1] {
        return schema(bytes);
    }
    let mut list = Vec::new();
    for entry in Reader::new(bytes) {
        if let (2, Payload::Bytes(bytes)) = entry.map_err(broken)? {
            list.push(if leaf == Leaf::JsonSchemaOrArray { schema(bytes)? } else { json!(text_of(bytes)?) });
        }
    }
    Ok(Value::Array(list))
}
