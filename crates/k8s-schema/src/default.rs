//! Defaults that the schema declares: `+default` markers of built-in types, `default` of custom schemas.
//!
//! Defaults that upstream computes in code for one kind belong to that kind, not here.

use serde_json::{Map, Value};

use crate::crd::{Additional, Structural};
use crate::model::{Field, TyKind, model};
use crate::node::{ModelNode, Shape};

/// Upstream fills a field that has Go's zero value; behind a pointer only an absent one.
pub(crate) fn builtin(node: ModelNode, value: &mut Value) {
    if let TyKind::Named(id) = &node.ty.kind
        && !model().has_defaults(*id)
    {
        return;
    }
    match (node.shape(), value) {
        (Shape::Struct(_), Value::Object(map)) => {
            for field in node.fields() {
                builtin_field(node.at(field), field, map);
            }
        }
        (Shape::Map(item), Value::Object(map)) => map.values_mut().for_each(|below| builtin(node.of(item), below)),
        (Shape::List(item), Value::Array(list)) => list.iter_mut().for_each(|below| builtin(node.of(item), below)),
        _ => {}
    }
}

fn builtin_field(node: ModelNode, field: &'static Field, map: &mut Map<String, Value>) {
    if let Some(default) = &field.default {
        let absent = match map.get(field.name) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => !field.ty.pointer && text.is_empty(),
            Some(_) => false,
        };
        // A zero default of a field that cannot be told from absent would only add noise to the object.
        let says_nothing = !field.ty.pointer && field.omit_empty && is_zero(default);
        if absent && !says_nothing {
            map.insert(field.name.to_owned(), default.clone());
        }
        return;
    }
    match map.get_mut(field.name) {
        Some(below) if !below.is_null() => builtin(node, below),
        _ => {
            // A struct that is not behind a pointer always exists upstream, so defaults inside it apply.
            if field.ty.pointer || !matches!(node.shape(), Shape::Struct(_)) {
                return;
            }
            let mut empty = Value::Object(Map::new());
            builtin(node, &mut empty);
            if empty.as_object().is_some_and(|map| !map.is_empty()) {
                map.insert(field.name.to_owned(), empty);
            }
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.is_empty(),
    }
}

/// Fills absent properties, and nulls where null is not allowed.
pub(crate) fn custom(schema: &Structural, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                if map.get(name).is_none_or(|below| below.is_null() && !property.nullable) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, below) in map.iter_mut() {
                if let Some(property) = schema.properties.get(name) {
                    custom(property, below);
                } else if let Additional::Schema(additional) = &schema.additional {
                    replace_null(additional, below);
                    custom(additional, below);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for below in list {
                replace_null(items, below);
                custom(items, below);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn replace_null(schema: &Structural, value: &mut Value) {
    if value.is_null()
        && !schema.nullable
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
}
