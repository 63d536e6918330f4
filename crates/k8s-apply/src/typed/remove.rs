//! A value without some of its fields.

use k8s_schema::{Atom, Typed};
use serde_json::Value;

use super::items::element_of;
use crate::field::{Element, Set};

/// `value` without the fields in `set`. What loses everything below it becomes null, unless it is in the set itself.
pub fn remove(typed: Typed<'_>, value: &Value, set: &Set) -> Value {
    match typed.atom(Some(value)) {
        Atom::Scalar(_) => value.clone(),
        Atom::List(list) => {
            let Value::Array(items) = value else { return Value::Null };
            if list.atomic {
                return Value::Null;
            }
            let mut kept = Vec::with_capacity(items.len());
            for item in items {
                let Ok(element) = element_of(&list, item) else {
                    kept.push(item.clone());
                    continue;
                };
                if set.has_element(&element) {
                    continue;
                }
                kept.push(match set.below(&element) {
                    Some(below) => remove(list.item, item, below),
                    None => item.clone(),
                });
            }
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        Atom::Map(map) => {
            let Value::Object(entries) = value else { return Value::Null };
            if map.atomic {
                return Value::Null;
            }
            let mut kept = serde_json::Map::new();
            for (key, value) in entries {
                let element = Element::field(key);
                if set.has_element(&element) {
                    continue;
                }
                let value = match (set.below(&element), map.step(key).into_type()) {
                    (Some(below), Some(typed)) => remove(typed, value, below),
                    _ => value.clone(),
                };
                kept.insert(key.clone(), value);
            }
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
    }
}
