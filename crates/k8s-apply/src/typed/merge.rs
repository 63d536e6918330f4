//! One value laid over another of the same type.

use k8s_schema::{Atom, List, Map, Typed};
use serde_json::Value;

use super::Problems;
use super::items::element_of;
use super::validate::wrong_scalar;
use crate::field::Element;

/// `new` laid over `old`: what `new` says wins, what only `old` has stays, items of lists keep the order of `new` as far as
/// it says one.
///
/// # Errors
/// If they do not fit their type, or `new` has items that cannot be told apart.
pub fn merge(typed: Typed<'_>, old: &Value, new: &Value) -> Result<Value, Problems> {
    let mut walk = Walk { problems: Problems::default() };
    let merged = walk.visit(typed, Some(old), Some(new));
    walk.problems.into_result(merged.unwrap_or(Value::Null))
}

struct Walk {
    problems: Problems,
}

type Side<'v> = Option<&'v Value>;

impl Walk {
    fn visit(&mut self, typed: Typed<'_>, old: Side<'_>, new: Side<'_>) -> Option<Value> {
        match (old, new) {
            (_, None) => self.atom(typed.atom(old), old, new),
            (None, _) => self.atom(typed.atom(new), old, new),
            (Some(_), Some(_)) => {
                let (one, other) = (typed.atom(old), typed.atom(new));
                if std::mem::discriminant(&one) != std::mem::discriminant(&other) {
                    // Only for what is wrong with it.
                    self.atom(one, old, new);
                }
                self.atom(other, old, new)
            }
        }
    }

    fn atom(&mut self, atom: Atom<'_>, old: Side<'_>, new: Side<'_>) -> Option<Value> {
        match atom {
            Atom::Scalar(scalar) => {
                let wrong = (wrong_scalar(scalar, old, "lhs: "), wrong_scalar(scalar, new, "rhs: "));
                if let (Some(one), Some(other)) = wrong {
                    self.problems.push(one);
                    self.problems.push(other);
                    return None;
                }
                new.or(old).cloned()
            }
            Atom::List(list) => {
                let items = |side: Side<'_>| side.and_then(Value::as_array).is_some_and(|items| !items.is_empty());
                if list.atomic || (!items(old) && !items(new)) {
                    return new.or(old).cloned();
                }
                self.list(&list, old, new)
            }
            Atom::Map(map) => {
                let entries = |side: Side<'_>| side.and_then(Value::as_object).is_some_and(|map| !map.is_empty());
                if map.atomic || (!entries(old) && !entries(new)) {
                    return new.or(old).cloned();
                }
                self.map(&map, old, new)
            }
        }
    }

    fn map(&mut self, map: &Map<'_>, old: Side<'_>, new: Side<'_>) -> Option<Value> {
        let empty = serde_json::Map::new();
        let old = old.and_then(Value::as_object).unwrap_or(&empty);
        let new = new.and_then(Value::as_object).unwrap_or(&empty);
        let mut merged = serde_json::Map::new();
        for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
            let start = self.problems.0.len();
            match map.step(key).into_type() {
                Some(typed) => {
                    if let Some(value) = self.visit(typed, old.get(key), new.get(key)) {
                        merged.insert(key.clone(), value);
                    }
                }
                None => self.problems.push("field not declared in schema"),
            }
            self.problems.prefix(start, || format!(".{key}"));
        }
        (!merged.is_empty()).then_some(Value::Object(merged))
    }

    /// Items that both have are merged at their place in `new`; those that only `old` has stay between their neighbours.
    fn list(&mut self, list: &List<'_>, old: Side<'_>, new: Side<'_>) -> Option<Value> {
        let start = self.problems.0.len();
        let news = self.elements(list, new, false);
        let olds = self.elements(list, old, true);
        if self.problems.0.len() > start {
            return None;
        }
        let old_at = Index::of(&olds);
        let new_at = Index::of(&news);
        let mut shared = news.iter().map(|(element, _)| element).filter(|element| old_at.has(element));
        let mut next_shared = shared.next();
        let mut taken = vec![false; news.len()];
        let mut merged = Vec::with_capacity(olds.len().max(news.len()));
        let (mut at_old, mut at_new) = (0, 0);
        while at_old < olds.len() || at_new < news.len() {
            if at_old < olds.len() && at_new < news.len() {
                let (element, _) = &olds[at_old];
                if *element == news[at_new].0 {
                    taken[at_new] = true;
                    merged.extend(self.item(list, element, old_at.only(&olds, element), Some(news[at_new].1)));
                    at_old += 1;
                    at_new += 1;
                    next_shared = shared.next();
                    continue;
                }
                if new_at.has(element) && next_shared.is_some_and(|next| next != element) {
                    // Shared, but its turn in `new` comes later or has been.
                    at_old += 1;
                    continue;
                }
            }
            if at_old < olds.len() {
                let (element, value) = &olds[at_old];
                match new_at.first(element) {
                    None => {
                        merged.extend(self.item(list, element, Some(value), None));
                        at_old += 1;
                        continue;
                    }
                    Some(place) if taken[place] => at_old += 1,
                    Some(_) => {}
                }
            }
            if at_new < news.len() {
                let (element, value) = &news[at_new];
                taken[at_new] = true;
                merged.extend(self.item(list, element, old_at.only(&olds, element), Some(value)));
                at_new += 1;
                if next_shared.is_some_and(|next| next == element) {
                    next_shared = shared.next();
                }
            }
        }
        (!merged.is_empty()).then_some(Value::Array(merged))
    }

    fn item(&mut self, list: &List<'_>, element: &Element, old: Side<'_>, new: Side<'_>) -> Option<Value> {
        let start = self.problems.0.len();
        let merged = self.visit(list.item, old, new);
        self.problems.prefix(start, || element.to_string());
        merged
    }

    fn elements<'v>(&mut self, list: &List<'_>, side: Side<'v>, duplicates: bool) -> Vec<(Element, &'v Value)> {
        let items = side.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut elements: Vec<(Element, &Value)> = Vec::with_capacity(items.len());
        let mut seen = std::collections::BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            match element_of(list, item) {
                Ok(element) if !duplicates && !seen.insert(element.clone()) => {
                    self.problems.push(format!("duplicate entries for key {element}"));
                }
                Ok(element) => elements.push((element, item)),
                Err(message) => self.problems.push(format!("element {index}: {message}")),
            }
        }
        elements
    }
}

/// Where elements stand in a list.
struct Index<'e>(Vec<(&'e Element, usize)>);

impl<'e> Index<'e> {
    fn of(list: &'e [(Element, &Value)]) -> Index<'e> {
        let mut places: Vec<(&Element, usize)> =
            list.iter().enumerate().map(|(place, (element, _))| (element, place)).collect();
        places.sort();
        Index(places)
    }

    fn first(&self, element: &Element) -> Option<usize> {
        let at = self.0.partition_point(|(own, _)| *own < element);
        self.0.get(at).filter(|(own, _)| *own == element).map(|(_, place)| *place)
    }

    fn has(&self, element: &Element) -> bool {
        self.first(element).is_some()
    }

    /// The value of an element. Of several that are the same none is merged with: they count as null.
    fn only<'v>(&self, list: &[(Element, &'v Value)], element: &Element) -> Option<&'v Value> {
        let at = self.0.partition_point(|(own, _)| *own < element);
        let place = self.0.get(at).filter(|(own, _)| *own == element)?.1;
        let several = self.0.get(at + 1).is_some_and(|(own, _)| *own == element);
        Some(if several { &Value::Null } else { list[place].1 })
    }
}
