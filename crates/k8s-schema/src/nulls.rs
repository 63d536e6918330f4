//! What `null` means, and the form in which upstream would write an object back.
//!
//! Built-in types are Go structs upstream: a null field is an absent one, a null list item or map value is a zero value,
//! and a field tagged `omitempty` disappears when it is zero. Custom resources keep a null only where it is allowed.

use serde_json::{Map, Value, json};

use crate::crd::{Additional, Structural};
use crate::model::{Field, Leaf};
use crate::node::{ModelNode, Shape};
use crate::{leaf, quantities};

/// Removes nulls from a built-in object, and writes its quantities and times in the one form, as decoding it into its Go type would.
pub(crate) fn drop_builtin(node: ModelNode, value: &mut Value) {
    match (node.shape(), value) {
        (Shape::Struct(_), Value::Object(map)) => {
            map.retain(|_, below| !below.is_null());
            for field in node.fields() {
                if let Some(below) = map.get_mut(field.name) {
                    drop_builtin(node.at(field), below);
                }
            }
        }
        (Shape::Map(item), Value::Object(map)) => map.values_mut().for_each(|below| fill(node.of(item), below)),
        (Shape::List(item), Value::Array(list)) => list.iter_mut().for_each(|below| fill(node.of(item), below)),
        (Shape::Leaf(Leaf::Quantity, _), value) => quantities::canonicalise(value),
        (Shape::Leaf(Leaf::Time, _), Value::String(text)) => leaf::canonical_time(text, false),
        (Shape::Leaf(Leaf::MicroTime, _), Value::String(text)) => leaf::canonical_time(text, true),
        _ => {}
    }
}

/// An item of a list or a value of a map cannot be absent, so null becomes the zero value.
fn fill(node: ModelNode, value: &mut Value) {
    if !value.is_null() {
        return drop_builtin(node, value);
    }
    if !node.ty.pointer {
        // No bytes are stored as an empty text, and read as one.
        let bytes = matches!(node.shape(), Shape::Bytes).then(|| json!(""));
        *value = zero(node).or(bytes).unwrap_or(Value::Null);
    }
}

/// The zero value in JSON; `None` where that is null.
fn zero(node: ModelNode) -> Option<Value> {
    match node.shape() {
        Shape::Bool => Some(json!(false)),
        Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::Leaf(Leaf::IntOrString, _) => Some(json!(0)),
        Shape::String => Some(json!("")),
        Shape::Struct(_) => Some(json!({})),
        Shape::Leaf(Leaf::Quantity, _) => Some(json!("0")),
        Shape::Leaf(Leaf::Duration, _) => Some(json!("0s")),
        Shape::Any | Shape::Bytes | Shape::Leaf(..) | Shape::List(_) | Shape::Map(_) => None,
    }
}

/// The first minor that does not write a `creationTimestamp` that is not known.
const CREATION_OMITTED_SINCE: u8 = 34;

/// Brings a built-in object, its nulls dropped before, into the form that upstream stores and returns.
pub(crate) fn canonicalise(node: ModelNode, value: &mut Value) {
    match (node.shape(), value) {
        (Shape::Struct(_), Value::Object(map)) => {
            for field in node.fields() {
                canonicalise_field(node.at(field), field, map);
            }
        }
        (Shape::Map(item), Value::Object(map)) => map.values_mut().for_each(|below| canonicalise(node.of(item), below)),
        (Shape::List(item), Value::Array(list)) => list.iter_mut().for_each(|below| canonicalise(node.of(item), below)),
        (Shape::Bytes, Value::String(text)) => leaf::canonical_base64(text),
        _ => {}
    }
}

fn canonicalise_field(node: ModelNode, field: &'static Field, map: &mut Map<String, Value>) {
    if let Some(below) = map.get_mut(field.name) {
        canonicalise(node, below);
        if field.omit_empty && !field.ty.pointer && is_zero(node, below) {
            map.remove(field.name);
        }
        return;
    }
    if field.ty.pointer {
        if !field.omit_empty {
            map.insert(field.name.to_owned(), Value::Null);
        }
        return;
    }
    match node.shape() {
        // `omitempty` never leaves out a struct.
        Shape::Struct(_) => {
            let mut empty = json!({});
            canonicalise(node, &mut empty);
            map.insert(field.name.to_owned(), empty);
        }
        // Nor these, which are structs too: a moment that is not known is null. Only that of creation came to be left out.
        Shape::Leaf(Leaf::Time | Leaf::MicroTime, _) => {
            if field.name != "creationTimestamp" || node.minor < CREATION_OMITTED_SINCE {
                map.insert(field.name.to_owned(), Value::Null);
            }
        }
        Shape::Leaf(Leaf::Quantity | Leaf::IntOrString, _) => {
            map.insert(field.name.to_owned(), zero(node).unwrap_or(Value::Null));
        }
        _ if field.omit_empty => {}
        _ => {
            map.insert(field.name.to_owned(), zero(node).unwrap_or(Value::Null));
        }
    }
}

fn is_zero(node: ModelNode, value: &Value) -> bool {
    match (node.shape(), value) {
        (Shape::Struct(_) | Shape::Leaf(..), _) => false,
        (_, Value::Null) => true,
        (_, Value::Bool(value)) => !value,
        (_, Value::Number(value)) => value.as_f64() == Some(0.0),
        (_, Value::String(value)) => value.is_empty(),
        (_, Value::Array(value)) => value.is_empty(),
        (_, Value::Object(value)) => value.is_empty(),
    }
}

/// Removes the nulls of a custom object that are neither allowed nor waiting for a default.
pub(crate) fn drop_custom(schema: &Structural, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|key, below| {
            let Some(child) = schema.properties.get(key).or(match &schema.additional {
                Additional::Schema(schema) => Some(schema),
                Additional::Any | Additional::None => None,
            }) else {
                return true;
            };
            if below.is_null() && !child.nullable && child.default.is_none() {
                return false;
            }
            drop_custom(child, below);
            true
        }),
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                list.iter_mut().for_each(|below| drop_custom(items, below));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
