//! Resources inside of a custom resource (`x-kubernetes-embedded-resource`): they say what they are, and their metadata is that of
//! any object, whatever the schema says of it (apiextensions `schema/objectmeta`, `schema/defaulting/prune.go`).

use serde_json::{Map, Value};

use super::{Additional, Structural};
use crate::error::{FieldError, MAX_FIELD_ERRORS};
use crate::node::{ModelNode, ModelStep, Node, object_meta};
use crate::path::Path;
use crate::{check, nulls, unknown};

/// Tells of each resource inside of a value, those outside first.
pub(crate) fn each(schema: &Structural, value: &Value, tell: &mut dyn FnMut(&str, &Map<String, Value>)) {
    visit(schema, value, &mut Path::default(), tell);
}

fn visit(schema: &Structural, value: &Value, path: &mut Path, tell: &mut dyn FnMut(&str, &Map<String, Value>)) {
    if !schema.has_embedded {
        return;
    }
    match value {
        Value::Object(map) => {
            if schema.embedded_resource {
                tell(path.as_str(), map);
            }
            for (name, below) in map {
                let Some((child, named)) = schema.child(name) else { continue };
                let length = path.step(name, named);
                visit(child, below, path, tell);
                path.truncate(length);
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for (index, below) in list.iter().enumerate() {
                let length = path.index(index);
                visit(items, below, path, tell);
                path.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Each says what it is.
pub(crate) fn validate(schema: &Structural, value: &Value, errors: &mut Vec<FieldError>) {
    each(schema, value, &mut |path, map| {
        for name in ["apiVersion", "kind"] {
            if errors.len() >= MAX_FIELD_ERRORS {
                return;
            }
            let path = Path::new(path).child(name);
            match map.get(name) {
                None => errors.push(FieldError::required(path, "")),
                Some(Value::String(text)) if text.is_empty() => {
                    errors.push(FieldError::invalid(path, "".into(), "must not be empty"));
                }
                Some(Value::String(_)) => {}
                Some(other) => errors.push(FieldError::invalid(path, other.clone(), "must be a string")),
            }
        }
    });
}

/// Brings type and metadata of the resources inside of a value into their types.
pub(crate) fn coerce(schema: &Structural, value: &mut Value) -> Result<(), FieldError> {
    walk(schema, value, &mut Path::default(), false)
}

fn walk(schema: &Structural, value: &mut Value, path: &mut Path, drop_invalid: bool) -> Result<(), FieldError> {
    if !schema.has_embedded {
        return Ok(());
    }
    match value {
        Value::Object(map) => {
            if schema.embedded_resource {
                type_and_metadata(map, path, drop_invalid)?;
            }
            for (name, below) in map {
                let Some((child, named)) = schema.child(name) else { continue };
                let length = path.step(name, named);
                walk(child, below, path, drop_invalid)?;
                path.truncate(length);
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return Ok(()) };
            for (index, below) in list.iter_mut().enumerate() {
                let length = path.index(index);
                walk(items, below, path, drop_invalid)?;
                path.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

fn type_and_metadata(map: &mut Map<String, Value>, path: &Path, drop_invalid: bool) -> Result<(), FieldError> {
    for name in ["apiVersion", "kind"] {
        match map.get(name) {
            None | Some(Value::String(_)) => {}
            Some(_) if drop_invalid => {
                map.remove(name);
            }
            Some(other) => return Err(FieldError::invalid(path.child(name), other.clone(), "must be a string")),
        }
    }
    let (Some(metadata), Some(node)) = (map.get_mut("metadata"), object_meta()) else { return Ok(()) };
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    match check::types(node, metadata) {
        Ok(()) => {}
        Err(_) if drop_invalid => drop_mistyped(node, metadata),
        Err(error) => return Err(FieldError::invalid(path.child("metadata"), metadata.clone(), error.to_string())),
    }
    unknown::prune(Node::Builtin(node), metadata);
    nulls::drop_builtin(node, metadata);
    nulls::canonicalise(node, metadata);
    if let Some(metadata) = metadata.as_object_mut()
        && metadata.get("creationTimestamp").is_some_and(|time| !time.is_string())
    {
        metadata.remove("creationTimestamp");
    }
    Ok(())
}

/// Takes away the fields whose values are not of their types.
fn drop_mistyped(node: ModelNode, metadata: &mut Value) {
    match metadata {
        Value::Object(map) => {
            map.retain(|name, value| below(node, name).is_none_or(|node| check::types(node, value).is_ok()))
        }
        other => *other = Value::Object(Map::new()),
    }
}

/// What metadata has below a name; `None` where it has nothing of that name, or does not say.
pub(crate) fn below(meta: ModelNode, name: &str) -> Option<ModelNode> {
    match meta.step(name) {
        ModelStep::Known(below) => Some(below),
        ModelStep::Free | ModelStep::Unknown => None,
    }
}

/// Whether a default has what the schema does not know, metadata of resources inside of it left out.
pub(crate) fn has_unknown(schema: &Structural, default: &Value) -> bool {
    let mut known = default.clone();
    each_mut(schema, &mut known, &mut |map| {
        map.remove("metadata");
    });
    !unknown::find(Node::Custom(schema, false), &known).is_empty()
}

fn each_mut(schema: &Structural, value: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            if schema.embedded_resource {
                change(map);
            }
            for (name, below) in map {
                if let Some((child, _)) = schema.child(name) {
                    each_mut(child, below, change);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            list.iter_mut().for_each(|below| each_mut(items, below, change));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Takes away from defaults what the metadata of resources does not have; `resource` where the schema is that of one.
pub(crate) fn prune_defaults(schema: &mut Structural, resource: bool) {
    if let Some(mut default) = schema.default.take() {
        // What is invalid goes, so nothing is refused.
        let _ = walk(schema, &mut default, &mut Path::default(), true);
        schema.default = Some(default);
    }
    let resource = resource || schema.embedded_resource;
    for (name, property) in &mut schema.properties {
        match (resource && name == "metadata", object_meta()) {
            (true, Some(node)) => prune_in_metadata(property, node),
            _ => prune_defaults(property, false),
        }
    }
    if let Some(items) = &mut schema.items {
        prune_defaults(items, false);
    }
    if let Additional::Schema(below) = &mut schema.additional {
        prune_defaults(below, false);
    }
}

fn prune_in_metadata(schema: &mut Structural, node: ModelNode) {
    if let Some(default) = &mut schema.default {
        if check::types(node, default).is_err() {
            drop_mistyped(node, default);
        }
        unknown::prune(Node::Builtin(node), default);
    }
    for (name, property) in &mut schema.properties {
        match below(node, name) {
            Some(node) => prune_in_metadata(property, node),
            None => property.default = None,
        }
    }
}
