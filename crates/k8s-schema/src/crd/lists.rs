//! Uniqueness in lists of type `set` and `map`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{ListType, Structural};
use crate::error::{FieldError, MAX_FIELD_ERRORS};
use crate::path::Path;

pub(super) fn validate(schema: &Structural, value: &Value, errors: &mut Vec<FieldError>) {
    visit(schema, value, &mut Path::default(), errors);
}

fn visit(schema: &Structural, value: &Value, path: &mut Path, errors: &mut Vec<FieldError>) {
    if errors.len() >= MAX_FIELD_ERRORS {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, below) in map {
                let Some((child, named)) = schema.child(name) else { continue };
                let length = path.step(name, named);
                visit(child, below, path, errors);
                path.truncate(length);
            }
        }
        Value::Array(list) => {
            match schema.list_type {
                Some(ListType::Set) => duplicates(list.iter().cloned(), path, errors),
                Some(ListType::Map) => map_keys(&schema.list_map_keys, list, path, errors),
                Some(ListType::Atomic) | None => {}
            }
            let Some(items) = &schema.items else { return };
            for (index, below) in list.iter().enumerate() {
                let length = path.index(index);
                visit(items, below, path, errors);
                path.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Each value that occurs again is reported once, at its second place.
fn duplicates(values: impl Iterator<Item = Value>, path: &mut Path, errors: &mut Vec<FieldError>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (index, value) in values.enumerate() {
        let times = seen.entry(value.to_string()).or_insert(0);
        *times += 1;
        if *times == 2 && errors.len() < MAX_FIELD_ERRORS {
            let length = path.index(index);
            errors.push(FieldError::duplicate(path.as_str(), value));
            path.truncate(length);
        }
    }
}

fn map_keys(keys: &[String], list: &[Value], path: &mut Path, errors: &mut Vec<FieldError>) {
    if let Some((index, stray)) = list.iter().enumerate().find(|(_, item)| !item.is_object() && !item.is_null()) {
        let length = path.index(index);
        errors.push(FieldError::invalid(
            path.as_str(),
            stray.clone(),
            "must be an object for an array of list-type map",
        ));
        path.truncate(length);
        return;
    }
    let key_of = |item: &Value| {
        let found = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
        Value::Object(found.collect::<Map<_, _>>())
    };
    duplicates(list.iter().map(key_of), path, errors);
}
