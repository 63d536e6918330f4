//! JSON into messages, byte for byte as Go writes them: fields in the order of their numbers, zero values of everything that is
//! no pointer, keys of maps sorted.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use world::Timestamp;

use super::ProtobufError;
use super::duration;
use super::json::Json;
use super::table::{Field, MessageId, Shape, Table};
use super::wire::{BYTES, FIXED64, VARINT, Writer};
use crate::model::Leaf;

fn mismatch(name: &str, what: &str) -> ProtobufError {
    ProtobufError(format!("{name} is no {what}"))
}

/// Writes the fields of a message from an object.
pub(super) fn message(out: &mut Writer, id: MessageId, object: &Json<'_>) -> Result<(), ProtobufError> {
    for field in &Table::get().message(id).fields {
        if field.embedded {
            embedded(out, field, object)?;
            continue;
        }
        match (object.get(field.name), field.pointer) {
            (Some(value), _) => put(out, field, value)?,
            (None, true) => {}
            (None, false) => absent(out, field)?,
        }
    }
    Ok(())
}

/// A message of its own whose fields stand in JSON beside the others. Behind a pointer it is there if any of them is.
fn embedded(out: &mut Writer, field: &Field, object: &Json<'_>) -> Result<(), ProtobufError> {
    let Shape::Message(inner) = field.shape else { return Ok(()) };
    let fields = &Table::get().message(inner).fields;
    if field.pointer && !fields.iter().any(|field| object.get(field.name).is_some()) {
        return Ok(());
    }
    out.nested(field.number, |out| message(out, inner, object))
}

/// What Go writes for a field that is not there.
fn absent(out: &mut Writer, field: &Field) -> Result<(), ProtobufError> {
    match &field.shape {
        Shape::Bytes | Shape::List(_) | Shape::Map(..) | Shape::Wrapped(_) => Ok(()),
        shape => zero(out, field.number, shape),
    }
}

fn zero(out: &mut Writer, number: u32, shape: &Shape) -> Result<(), ProtobufError> {
    match shape {
        Shape::Bool | Shape::Int => out.varint_field(number, 0),
        Shape::Float64 => out.fixed64_field(number, 0),
        Shape::Text => out.bytes_field(number, b""),
        Shape::Message(id) => return out.nested(number, |out| message(out, *id, &Json::Null)),
        Shape::Leaf(leaf) => {
            return out.nested(number, |out| {
                match leaf {
                    Leaf::Duration => out.varint_field(1, 0),
                    Leaf::IntOrString => int_or_string(out, 0, 0, ""),
                    Leaf::Quantity => out.bytes_field(1, b"0"),
                    _ => {}
                }
                Ok(())
            });
        }
        Shape::SchemaOr(leaf, _) => {
            return out.nested(number, |out| {
                if *leaf == Leaf::JsonSchemaOrBool {
                    out.varint_field(1, 0);
                }
                Ok(())
            });
        }
        Shape::Bytes | Shape::List(_) | Shape::Map(..) | Shape::Wrapped(_) => out.bytes_field(number, b""),
    }
    Ok(())
}

fn put(out: &mut Writer, field: &Field, value: &Json<'_>) -> Result<(), ProtobufError> {
    match (&field.shape, value) {
        (Shape::List(item), Json::List(list)) => {
            for value in list {
                element(out, field, item, value)?;
            }
            Ok(())
        }
        (Shape::List(_), _) => Err(mismatch(field.name, "list")),
        (Shape::Map(key, item), Json::Map(entries)) => entries.iter().try_for_each(|(name, value)| {
            out.nested(field.number, |out| {
                match **key {
                    Shape::Int => {
                        let number: i64 = name.parse().map_err(|_| mismatch(field.name, "map of numbers"))?;
                        out.varint_field(1, number as u64);
                    }
                    _ => out.bytes_field(1, name.as_bytes()),
                }
                match (value, &**item) {
                    (Json::Null, Shape::Bytes) => Ok(()),
                    (Json::Null, item) => zero(out, 2, item),
                    (value, item) => single(out, 2, field.name, item, value),
                }
            })
        }),
        (Shape::Map(..), _) => Err(mismatch(field.name, "map")),
        (shape, value) => single(out, field.number, field.name, shape, value),
    }
}

fn element(out: &mut Writer, field: &Field, item: &Shape, value: &Json<'_>) -> Result<(), ProtobufError> {
    match value {
        Json::Null => zero(out, field.number, item),
        value => single(out, field.number, field.name, item, value),
    }
}

/// Writes a value that is there once.
fn single(out: &mut Writer, number: u32, name: &str, shape: &Shape, value: &Json<'_>) -> Result<(), ProtobufError> {
    match (shape, value) {
        (Shape::Bool, Json::Bool(value)) => out.varint_field(number, u64::from(*value)),
        (Shape::Int, Json::Number(value)) => out.varint_field(number, integer(name, value)? as u64),
        (Shape::Float64, Json::Number(value)) => {
            out.fixed64_field(number, value.as_f64().ok_or_else(|| mismatch(name, "number"))?.to_bits());
        }
        (Shape::Text, Json::Text(value)) => out.bytes_field(number, value.as_bytes()),
        (Shape::Bytes, Json::Text(value)) => out.bytes_field(number, &base64(name, value)?),
        (Shape::Message(id), Json::Map(_)) => return out.nested(number, |out| message(out, *id, value)),
        (Shape::Wrapped(list), Json::List(items)) => {
            let Shape::List(item) = &**list else { return Err(mismatch(name, "list")) };
            return out.nested(number, |out| {
                items.iter().try_for_each(|value| match value {
                    Json::Null => zero(out, 1, item),
                    value => single(out, 1, name, item, value),
                })
            });
        }
        (Shape::Leaf(kind), value) => return out.nested(number, |out| leaf(out, name, *kind, value)),
        (Shape::SchemaOr(kind, id), value) => return out.nested(number, |out| schema_or(out, name, *kind, *id, value)),
        _ => return Err(ProtobufError(format!("{name} is of another type"))),
    }
    Ok(())
}

fn integer(name: &str, number: &serde_json::Number) -> Result<i64, ProtobufError> {
    // Go reads 1.0 as an integer, and it may be stored so.
    let whole = || number.as_f64().filter(|float| float.fract() == 0.0).map(|float| float as i64);
    number.as_i64().or_else(whole).ok_or_else(|| mismatch(name, "integer"))
}

/// Standard base64; line breaks are skipped, as Go does.
fn base64(name: &str, text: &str) -> Result<Vec<u8>, ProtobufError> {
    STANDARD
        .decode(text)
        .or_else(|_| STANDARD.decode(text.replace(['\r', '\n'], "")))
        .map_err(|_| mismatch(name, "base64"))
}

fn int_or_string(out: &mut Writer, kind: u64, number: i64, text: &str) {
    out.varint_field(1, kind);
    out.varint_field(2, number as u64);
    out.bytes_field(3, text.as_bytes());
}

/// Types whose JSON is not that of their message.
fn leaf(out: &mut Writer, name: &str, leaf: Leaf, value: &Json<'_>) -> Result<(), ProtobufError> {
    match (leaf, value) {
        (Leaf::Time | Leaf::MicroTime, Json::Text(text)) => {
            let moment = Timestamp::parse(text).map_err(|_| mismatch(name, "time"))?;
            let micros = if leaf == Leaf::MicroTime { moment.micros().rem_euclid(1_000_000) } else { 0 };
            out.varint_field(1, moment.micros().div_euclid(1_000_000) as u64);
            out.varint_field(2, (micros * 1000) as u64);
        }
        (Leaf::Duration, Json::Text(text)) => {
            out.varint_field(1, duration::parse(text).ok_or_else(|| mismatch(name, "duration"))? as u64);
        }
        (Leaf::Quantity, Json::Text(text)) => out.bytes_field(1, text.as_bytes()),
        (Leaf::Quantity, Json::Number(number)) => out.bytes_field(1, number.to_string().as_bytes()),
        (Leaf::IntOrString, Json::Text(text)) => int_or_string(out, 1, 0, text),
        (Leaf::IntOrString, Json::Number(number)) => int_or_string(out, 0, integer(name, number)?, ""),
        (Leaf::RawExtension | Leaf::Json | Leaf::FieldsV1, value) => {
            out.bytes_field(1, &serde_json::to_vec(value).map_err(|_| mismatch(name, "JSON"))?);
        }
        _ => return Err(ProtobufError(format!("{name} is of another type"))),
    }
    Ok(())
}

fn schema_or(
    out: &mut Writer,
    name: &str,
    leaf: Leaf,
    schema: MessageId,
    value: &Json<'_>,
) -> Result<(), ProtobufError> {
    match (leaf, value) {
        (Leaf::JsonSchemaOrBool, Json::Bool(value)) => {
            out.varint_field(1, u64::from(*value));
            Ok(())
        }
        (Leaf::JsonSchemaOrBool, Json::Map(_)) => {
            // A schema allows what it describes.
            out.varint_field(1, 1);
            out.nested(2, |out| message(out, schema, value))
        }
        (_, Json::Map(_)) => out.nested(1, |out| message(out, schema, value)),
        (Leaf::JsonSchemaOrArray, Json::List(schemas)) => {
            schemas.iter().try_for_each(|value| out.nested(2, |out| message(out, schema, value)))
        }
        (Leaf::JsonSchemaOrStringArray, Json::List(texts)) => texts.iter().try_for_each(|text| {
            let text = text.text().ok_or_else(|| mismatch(name, "list of texts"))?;
            out.bytes_field(2, text.as_bytes());
            Ok(())
        }),
        _ => Err(ProtobufError(format!("{name} is of another type"))),
    }
}

impl Writer {
    fn varint_field(&mut self, number: u32, value: u64) {
        self.tag(number, VARINT);
        self.varint(value);
    }

    fn fixed64_field(&mut self, number: u32, bits: u64) {
        self.tag(number, FIXED64);
        self.raw(&bits.to_le_bytes());
    }

    fn bytes_field(&mut self, number: u32, bytes: &[u8]) {
        self.tag(number, BYTES);
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }
}
