//! The fields that a value has.

use k8s_schema::{Atom, List, Map, Step, Typed};
use serde_json::Value;

use super::items::element_of;
use super::{Duplicates, Problems, validate};
use crate::field::{Element, Set};

/// The fields that a value has: scalars and what is set as a whole, items of lists, keys of maps, and what is empty.
///
/// # Errors
/// If the value does not fit its type.
pub fn to_set(typed: Typed<'_>, value: &Value) -> Result<Set, Problems> {
    validate(typed, value, Duplicates::Allowed)?;
    Ok(below(typed, value).0)
}

/// The fields below a value, and whether it is one itself. The value fits its type.
fn below(typed: Typed<'_>, value: &Value) -> (Set, bool) {
    match typed.atom(Some(value)) {
        Atom::Scalar(_) => (Set::default(), true),
        Atom::List(list) if list.atomic => (Set::default(), true),
        Atom::Map(map) if map.atomic => (Set::default(), true),
        Atom::List(list) => (of_list(&list, value), false),
        Atom::Map(map) => (of_map(&map, value), false),
    }
}

fn of_map(map: &Map<'_>, value: &Value) -> Set {
    let mut set = Set::default();
    for (key, value) in value.as_object().into_iter().flatten() {
        let step = map.step(key);
        let named = matches!(step, Step::Field(_));
        let Some(typed) = step.into_type() else { continue };
        let (fields, own) = below(typed, value);
        let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        set.put(Element::field(key), own || empty || !named, fields);
    }
    set
}

fn of_list(list: &List<'_>, value: &Value) -> Set {
    let mut items: Vec<(Element, &Value)> = Vec::new();
    for item in value.as_array().into_iter().flatten() {
        if let Ok(element) = element_of(list, item) {
            items.push((element, item));
        }
    }
    items.sort_by(|a, b| a.0.cmp(&b.0));
    let mut set = Set::default();
    let mut rest = items.into_iter().peekable();
    while let Some((element, item)) = rest.next() {
        let mut several = false;
        while rest.next_if(|(other, _)| *other == element).is_some() {
            several = true;
        }
        // Of items that are the same nobody can own parts.
        let fields = if several { Set::default() } else { below(list.item, item).0 };
        set.put(element, true, fields);
    }
    set
}
