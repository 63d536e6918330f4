//! Which value of an object before an update is the counterpart of one after it, and whether the update left it as it was.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::{ListType, Structural};

/// A value and its counterpart. Whether they are equal is found out when first asked.
#[derive(Debug)]
pub(crate) struct Correlation<'a> {
    schema: &'a Structural,
    new: &'a Value,
    old: &'a Value,
    unchanged: OnceCell<bool>,
}

impl<'a> Correlation<'a> {
    pub(crate) fn new(schema: &'a Structural, new: &'a Value, old: &'a Value) -> Self {
        Self { schema, new, old, unchanged: OnceCell::new() }
    }

    pub(crate) fn old(&self) -> &'a Value {
        self.old
    }

    pub(crate) fn is_unchanged(&self) -> bool {
        *self.unchanged.get_or_init(|| unchanged(self.schema, self.new, self.old))
    }
}

/// The order of lists that are maps does not matter. What the schema does not know has no counterpart, so that an object which
/// holds such fields has always changed; a resource does, whose metadata no schema describes.
fn unchanged(schema: &Structural, new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Array(new), Value::Array(old)) => {
            if new.len() != old.len() {
                return false;
            }
            let (Some(ListType::Map), Some(items)) = (schema.list_type, &schema.items) else { return new == old };
            let old = OldItems::of(schema, old);
            new.iter().all(|item| old.get(item).is_some_and(|old| unchanged(items, item, old)))
        }
        (Value::Object(new), Value::Object(old)) => {
            new.len() == old.len()
                && new.iter().all(|(name, value)| {
                    let Some((child, _)) = schema.child(name) else { return false };
                    old.get(name).is_some_and(|old| unchanged(child, value, old))
                })
        }
        _ => new == old,
    }
}

/// The items of a list before an update, by their keys. Of lists that are no maps, no item has a counterpart.
pub(crate) struct OldItems<'a> {
    keys: &'a [String],
    items: BTreeMap<String, &'a Value>,
}

impl<'a> OldItems<'a> {
    pub(crate) fn new(schema: &'a Structural, old: Option<&'a Value>) -> Self {
        match (schema.list_type, old) {
            (Some(ListType::Map), Some(Value::Array(old))) => Self::of(schema, old),
            _ => Self { keys: &[], items: BTreeMap::new() },
        }
    }

    fn of(schema: &'a Structural, old: &'a [Value]) -> Self {
        let keys = schema.list_map_keys.as_slice();
        let mut items = BTreeMap::new();
        for item in old {
            if let Some(key) = key_of(keys, item) {
                items.entry(key).or_insert(item);
            }
        }
        Self { keys, items }
    }

    pub(crate) fn get(&self, item: &Value) -> Option<&'a Value> {
        if self.items.is_empty() {
            return None;
        }
        self.items.get(&key_of(self.keys, item)?).copied()
    }
}

/// All keys of an item as one text; `None` when one is missing or no scalar.
fn key_of(keys: &[String], item: &Value) -> Option<String> {
    let mut text = String::new();
    for key in keys {
        match item.get(key)? {
            scalar @ (Value::Bool(_) | Value::Number(_) | Value::String(_)) => text.push_str(&scalar.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        }
        text.push('\0');
    }
    Some(text)
}
