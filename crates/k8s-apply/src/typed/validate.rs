//! Whether a value fits its type, as far as owners of fields need it.

use k8s_schema::{Atom, List, Map, Scalar, Step, Typed};
use serde_json::Value;

use super::items::element_of;
use super::{Problems, golang};
use crate::field::Element;

/// Whether a list may hold several items that are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    Allowed,
    Refused,
}

/// Checks a value.
///
/// # Errors
/// What does not fit.
pub fn validate(typed: Typed<'_>, value: &Value, duplicates: Duplicates) -> Result<(), Problems> {
    let mut problems = Problems::default();
    visit(typed, value, duplicates, &mut problems);
    problems.into_result(())
}

fn visit(typed: Typed<'_>, value: &Value, duplicates: Duplicates, problems: &mut Problems) {
    if problems.is_full() {
        return;
    }
    match typed.atom(Some(value)) {
        Atom::Map(map) => visit_map(&map, value, duplicates, problems),
        Atom::List(list) => visit_list(&list, value, duplicates, problems),
        Atom::Scalar(scalar) => {
            if let Some(message) = wrong_scalar(scalar, Some(value), "") {
                problems.push(message);
            }
        }
    }
}

fn visit_map(map: &Map<'_>, value: &Value, duplicates: Duplicates, problems: &mut Problems) {
    let entries = match value {
        Value::Null => return,
        Value::Object(entries) => entries,
        other => return problems.push(format!("expected map, got &{{{}}}", golang::plain(other))),
    };
    for (key, below) in entries {
        let start = problems.0.len();
        let (known, step) = match map.step(key) {
            Step::Field(typed) | Step::Key(typed) => (true, Some(typed)),
            Step::Undeclared => (false, None),
        };
        match step {
            Some(typed) => visit(typed, below, duplicates, problems),
            None => problems.push("field not declared in schema"),
        }
        problems.prefix(start, || format!(".{key}"));
        if !known {
            return;
        }
    }
}

fn visit_list(list: &List<'_>, value: &Value, duplicates: Duplicates, problems: &mut Problems) {
    let items = match value {
        Value::Null => return,
        Value::Array(items) => items,
        other => return problems.push(format!("expected list, got &{{{}}}", golang::plain(other))),
    };
    let mut seen = std::collections::BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let element = if list.atomic {
            Element::Index(index as i64)
        } else {
            match element_of(list, item) {
                Ok(element) => element,
                Err(message) => return problems.push(format!("element {index}: {message}")),
            }
        };
        let start = problems.0.len();
        visit(list.item, item, duplicates, problems);
        problems.prefix(start, || element.to_string());
        if !list.atomic && duplicates == Duplicates::Refused && !seen.insert(element.clone()) {
            problems.push(format!("duplicate entries for key {element}"));
        }
    }
}

/// What is wrong with a scalar; nothing if it is missing or null.
pub(super) fn wrong_scalar(scalar: Scalar, value: Option<&Value>, side: &str) -> Option<String> {
    let value = value.filter(|value| !value.is_null())?;
    let fits = match scalar {
        Scalar::Boolean => value.is_boolean(),
        Scalar::Numeric => value.is_number(),
        Scalar::String => value.is_string(),
        Scalar::Untyped => !value.is_array() && !value.is_object(),
    };
    if fits {
        return None;
    }
    Some(match scalar {
        Scalar::Boolean => format!("{side}expected boolean, got &{{{}}}", golang::plain(value)),
        Scalar::Numeric => format!("{side}expected numeric (int or float), got {}", golang::type_name(value)),
        Scalar::String => {
            format!("{side}expected string, got &value.valueUnstructured{{Value:{}}}", golang::syntax(value))
        }
        Scalar::Untyped => format!("{side}expected any scalar, got &{{{}}}", golang::plain(value)),
    })
}
