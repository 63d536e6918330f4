//! What differs between two values of a type.

use k8s_schema::{Atom, List, Map, Typed};
use serde_json::Value;

use super::Problems;
use super::items::element_of;
use super::validate::wrong_scalar;
use crate::field::{Element, Set, equal};

/// What differs between an older value and a newer one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

impl Comparison {
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// The differences of one element, below the differences of what holds it.
    fn put(&mut self, element: &Element, below: Comparison, own: Own) {
        let sets = [
            (&mut self.added, below.added, own == Own::Added),
            (&mut self.modified, below.modified, own == Own::Modified),
            (&mut self.removed, below.removed, own == Own::Removed),
        ];
        for (set, below, own) in sets {
            if own || !below.is_empty() {
                set.put(element.clone(), own, below);
            }
        }
    }
}

/// What became of an element itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Same,
    Added,
    Modified,
    Removed,
}

/// Levels below the root at which equal values are looked for before the walk: two passes over an object at most, which
/// save the walk through the parts that did not change.
const SHORTCUTS: usize = 2;

/// Compares two values.
///
/// # Errors
/// If they do not fit their type.
pub fn compare(typed: Typed<'_>, old: &Value, new: &Value) -> Result<Comparison, Problems> {
    let mut walk = Walk { problems: Problems::default() };
    let (below, _) = walk.visit(typed, Some(old), Some(new), 0);
    walk.problems.into_result(below)
}

struct Walk {
    problems: Problems,
}

type Side<'v> = Option<&'v Value>;

impl Walk {
    /// The differences below an element, and what became of it. At least one side is there.
    fn visit(&mut self, typed: Typed<'_>, old: Side<'_>, new: Side<'_>, depth: usize) -> (Comparison, Own) {
        if depth > 0
            && depth <= SHORTCUTS
            && let (Some(old), Some(new)) = (old, new)
            && old == new
        {
            return (Comparison::default(), Own::Same);
        }
        let mut leaf = Own::Same;
        let below = match (old, new) {
            (_, None) => self.atom(typed.atom(old), old, new, depth, &mut leaf),
            (None, _) => self.atom(typed.atom(new), old, new, depth, &mut leaf),
            (Some(_), Some(_)) => {
                let (one, other) = (typed.atom(old), typed.atom(new));
                if std::mem::discriminant(&one) == std::mem::discriminant(&other) {
                    self.atom(other, old, new, depth, &mut leaf)
                } else {
                    let mut below = self.atom(one, old, new, depth, &mut leaf);
                    let more = self.atom(other, old, new, depth, &mut leaf);
                    below.added.add(more.added);
                    below.modified.add(more.modified);
                    below.removed.add(more.removed);
                    below
                }
            }
        };
        let own = match (old, new) {
            (None, _) => Own::Added,
            (_, None) => Own::Removed,
            _ => leaf,
        };
        (below, own)
    }

    fn atom(&mut self, atom: Atom<'_>, old: Side<'_>, new: Side<'_>, depth: usize, leaf: &mut Own) -> Comparison {
        match atom {
            Atom::Scalar(scalar) => {
                let wrong = (wrong_scalar(scalar, old, "lhs: "), wrong_scalar(scalar, new, "rhs: "));
                if let (Some(one), Some(other)) = wrong {
                    self.problems.push(one);
                    self.problems.push(other);
                    return Comparison::default();
                }
                as_whole(old, new, leaf);
                Comparison::default()
            }
            Atom::List(list) => {
                let items = |side: Side<'_>| side.and_then(Value::as_array).is_some_and(|items| !items.is_empty());
                if list.atomic || (!items(old) && !items(new)) {
                    as_whole(old, new, leaf);
                    return Comparison::default();
                }
                self.list(&list, old, new, depth)
            }
            Atom::Map(map) => {
                let entries = |side: Side<'_>| side.and_then(Value::as_object).is_some_and(|map| !map.is_empty());
                if map.atomic || (!entries(old) && !entries(new)) {
                    as_whole(old, new, leaf);
                    return Comparison::default();
                }
                self.map(&map, old, new, depth)
            }
        }
    }

    fn map(&mut self, map: &Map<'_>, old: Side<'_>, new: Side<'_>, depth: usize) -> Comparison {
        let empty = serde_json::Map::new();
        let old = old.and_then(Value::as_object).unwrap_or(&empty);
        let new = new.and_then(Value::as_object).unwrap_or(&empty);
        let mut differences = Comparison::default();
        let mut each = |walk: &mut Walk, key: &str, old: Side<'_>, new: Side<'_>| {
            let start = walk.problems.0.len();
            let Some(typed) = map.step(key).into_type() else {
                walk.problems.push("field not declared in schema");
                return walk.problems.prefix(start, || format!(".{key}"));
            };
            let (below, own) = walk.visit(typed, old, new, depth + 1);
            walk.problems.prefix(start, || format!(".{key}"));
            if own != Own::Same || !below.is_same() {
                differences.put(&Element::field(key), below, own);
            }
        };
        // Both are sorted, so that elements come in order.
        let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (olds.peek(), news.peek()) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => break,
            };
            let one = if order.is_le() { olds.next() } else { None };
            let other = if order.is_ge() { news.next() } else { None };
            if let Some((key, _)) = one.or(other) {
                each(self, key, one.map(|(_, value)| value), other.map(|(_, value)| value));
            }
        }
        differences
    }

    fn list(&mut self, list: &List<'_>, old: Side<'_>, new: Side<'_>, depth: usize) -> Comparison {
        let olds = self.grouped(list, old);
        let news = self.grouped(list, new);
        let mut differences = Comparison::default();
        let (mut olds, mut news) = (olds.into_iter().peekable(), news.into_iter().peekable());
        loop {
            let order = match (olds.peek(), news.peek()) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => break,
            };
            let one = if order.is_le() { olds.next() } else { None };
            let other = if order.is_ge() { news.next() } else { None };
            let element = one.as_ref().or(other.as_ref()).map(|(element, _)| element.clone());
            let Some(element) = element else { break };
            let one = one.map(|(_, items)| items).unwrap_or_default();
            let other = other.map(|(_, items)| items).unwrap_or_default();
            self.item(list, &element, &one, &other, depth, &mut differences);
        }
        differences
    }

    /// Items that are the same are compared one by one as long as there is only one of each; several are one thing.
    fn item(
        &mut self,
        list: &List<'_>,
        element: &Element,
        old: &[&Value],
        new: &[&Value],
        depth: usize,
        differences: &mut Comparison,
    ) {
        let start = self.problems.0.len();
        match (old, new) {
            ([] | [_], [] | [_]) => {
                let (below, own) = self.visit(list.item, old.first().copied(), new.first().copied(), depth + 1);
                if own != Own::Same || !below.is_same() {
                    differences.put(element, below, own);
                }
            }
            ([_, _, ..], [_, _, ..]) => {
                if old.len() != new.len() || !old.iter().zip(new).all(|(a, b)| equal(a, b)) {
                    differences.put(element, Comparison::default(), Own::Modified);
                }
            }
            ([_, _, ..], _) => {
                if let Some(new) = new.first() {
                    let (below, own) = self.visit(list.item, None, Some(new), depth + 1);
                    differences.put(element, below, own);
                }
                differences.put(element, Comparison::default(), Own::Removed);
            }
            (_, [_, _, ..]) => {
                if let Some(old) = old.first() {
                    let (below, own) = self.visit(list.item, Some(old), None, depth + 1);
                    differences.put(element, below, own);
                }
                differences.put(element, Comparison::default(), Own::Added);
            }
        }
        self.problems.prefix(start, || element.to_string());
    }

    /// The items of a list by what tells them apart, sorted.
    fn grouped<'v>(&mut self, list: &List<'_>, side: Side<'v>) -> Vec<(Element, Vec<&'v Value>)> {
        let mut items: Vec<(Element, &Value)> = Vec::new();
        for (index, item) in side.and_then(Value::as_array).into_iter().flatten().enumerate() {
            match element_of(list, item) {
                Ok(element) => items.push((element, item)),
                Err(message) => self.problems.push(format!("element {index}: {message}")),
            }
        }
        items.sort_by(|a, b| a.0.cmp(&b.0));
        let mut groups: Vec<(Element, Vec<&Value>)> = Vec::with_capacity(items.len());
        for (element, item) in items {
            match groups.last_mut().filter(|(last, _)| *last == element) {
                Some((_, group)) => group.push(item),
                None => groups.push((element, vec![item])),
            }
        }
        groups
    }
}

/// Both sides as one thing, whatever is below.
fn as_whole(old: Side<'_>, new: Side<'_>, leaf: &mut Own) {
    if let (Some(old), Some(new)) = (old, new)
        && !equal(old, new)
    {
        *leaf = Own::Modified;
    }
}
