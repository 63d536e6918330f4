//! Strategic merge patch, `application/strategic-merge-patch+json`: what `kubectl apply`, `scale`, `label` and `set` send.
//!
//! A merge patch that knows the type: lists marked `merge` are merged by key or as sets, and directives (`$patch`,
//! `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`) say what plain merging cannot. Behaviour and errors
//! follow apimachinery's `strategicpatch`. What the schema knows nothing of is merged as a plain merge patch would.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::PatchError;
use crate::node::{ModelNode, ModelStep, Shape};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;

/// Applies a patch to an object of the type of `node`.
pub(crate) fn apply(node: ModelNode, original: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err(malformed("invalid JSON document: a strategic merge patch is a JSON object"));
    };
    merge_map(Some(node), original.clone(), patch.clone()).map(Value::Object)
}

fn malformed(text: impl Into<String>) -> PatchError {
    PatchError::Malformed(text.into())
}

fn unexplained(text: impl Into<String>) -> PatchError {
    PatchError::Unexplained(text.into())
}

/// How a field is merged.
#[derive(Clone, Copy, Default)]
struct Strategy {
    merge: bool,
    replace: bool,
    key: Option<&'static str>,
}

/// The type of a field's value (of its items for a list) and its strategy.
fn look_up(node: Option<ModelNode>, name: &str) -> (Option<ModelNode>, Strategy) {
    let Some(ModelStep::Known(child)) = node.map(|node| node.step(name)) else { return (None, Strategy::default()) };
    let strategies = || child.field.and_then(|field| field.patch_strategy).unwrap_or_default().split(',');
    let strategy = Strategy {
        merge: strategies().any(|s| s == "merge"),
        replace: strategies().any(|s| s == "replace"),
        key: child.field.and_then(|field| field.patch_merge_key),
    };
    match child.shape() {
        Shape::List(item) => (Some(child.of(item)), strategy),
        _ => (Some(child), strategy),
    }
}

fn merge_map(node: Option<ModelNode>, mut original: Object, mut patch: Object) -> Result<Object, PatchError> {
    if let Some(directive) = patch.get(DIRECTIVE).cloned() {
        let whole = go_text(&Value::Object(patch.clone()));
        patch.remove(DIRECTIVE);
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            // Merging is what happens anyway; upstream refuses to be told so.
            _ => Err(unexplained(format!("unknown patch type: {} in map: {whole}", plain(&directive)))),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    ordered_lists(node, &mut original, &mut patch)?;
    for (key, change) in patch {
        let (key, deletes) = match key.strip_prefix(DELETE_FROM_LIST) {
            Some(rest) => (rest.to_owned(), true),
            None => (key, false),
        };
        if change.is_null() {
            original.remove(&key);
            continue;
        }
        let Some(current) = original.remove(&key) else {
            if !deletes {
                add(&mut original, key, change);
            }
            continue;
        };
        let (child, strategy) = look_up(node, &key);
        let merged = match (current, change) {
            (Value::Object(_), change @ Value::Object(_)) if strategy.replace => change,
            (Value::Object(current), Value::Object(change)) => Value::Object(merge_map(child, current, change)?),
            (Value::Array(current), Value::Array(change)) if strategy.merge || deletes => {
                Value::Array(merge_list(child, strategy.key, current, change, deletes)?)
            }
            (Value::Array(_), change @ Value::Array(_)) => change,
            (current, _) if deletes => current,
            (_, change) => {
                add(&mut original, key, change);
                continue;
            }
        };
        original.insert(key, merged);
    }
    Ok(original)
}

/// Takes the patch's value, without nulls and directives, where there is nothing to merge with.
fn add(original: &mut Object, key: String, change: Value) {
    if let Some(value) = without_directives(without_nulls(change)) {
        original.insert(key, value);
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// `None` for an object that carries a `$patch` directive: there was nothing to delete or replace.
fn without_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => return None,
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(key, _)| !is_directive(key))
                .filter_map(|(key, value)| Some((key, without_directives(value)?)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().filter_map(without_directives).collect()),
        other => other,
    })
}

fn is_directive(key: &str) -> bool {
    key == RETAIN_KEYS || key.starts_with(SET_ELEMENT_ORDER) || key.starts_with(DELETE_FROM_LIST)
}

/// `$retainKeys` names all keys that may stay: a union's other members are cleared this way.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let invalid = || malformed("invalid patch format of retainKeys");
    let Value::Array(list) = directive else { return Err(invalid()) };
    let keep: BTreeSet<&str> = list.iter().filter_map(Value::as_str).collect();
    let stray =
        |(key, value): (&String, &Value)| !value.is_null() && !is_directive(key) && !keep.contains(key.as_str());
    if patch.iter().any(stray) {
        return Err(PatchError::NotApplicable("patch content doesn't match retainKeys".to_owned()));
    }
    original.retain(|key, _| keep.contains(key.as_str()));
    Ok(())
}

/// Merges the lists that a `$setElementOrder` directive orders, and removes them and the directives from the patch.
fn ordered_lists(node: Option<ModelNode>, original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else { continue };
        let key = &directive[SET_ELEMENT_ORDER.len()..];
        let Value::Array(order) = order else {
            return Err(malformed("invalid patch format of setElementOrder list"));
        };
        let (item, strategy) = look_up(node, key);
        let change = match patch.get(key) {
            None => None,
            Some(Value::Array(_)) => patch.remove(key).and_then(into_list),
            // A null deletes the list; the order of what is gone does not matter.
            Some(Value::Null) => continue,
            Some(other) => return Err(unexplained(format!("expected a list for {key}, but received {other}"))),
        };
        let current = match original.get(key) {
            None => None,
            Some(Value::Array(_)) => original.remove(key).and_then(into_list),
            Some(other) => return Err(unexplained(format!("expected a list for {key}, but received {other}"))),
        };
        if let Some(change) = &change {
            check_order(change, &order, strategy.key)?;
        }
        let live = current.clone().unwrap_or_default();
        let merged = match (current, change) {
            (Some(current), None) => current,
            (None, Some(change)) => without_directives(Value::Array(change)).and_then(into_list).unwrap_or_default(),
            (Some(current), Some(change)) if strategy.merge => merge_list(item, strategy.key, current, change, false)?,
            (Some(_), Some(change)) => change,
            (None, None) => continue,
        };
        original.insert(key.to_owned(), Value::Array(arrange(merged, &order, &live, strategy.key)?));
    }
    Ok(())
}

fn into_list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        _ => None,
    }
}

/// The items of the patch must be a subsequence of the order that comes with it.
fn check_order(change: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in change.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let wanted = identity(item, key)?;
        let found = rest.try_fold(false, |_, other| match identity(other, key) {
            Ok(other) if other == wanted => Err(Ok(())),
            Ok(_) => Ok(false),
            Err(error) => Err(Err(error)),
        });
        match found {
            Err(Ok(())) => {}
            Err(Err(error)) => return Err(error),
            Ok(_) => {
                return Err(unexplained(format!(
                    "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                    go_text(&Value::Array(change.to_vec())),
                    go_text(&Value::Array(order.to_vec()))
                )));
            }
        }
    }
    Ok(())
}

/// What tells an item of a list from the others: its merge key's value, or the item itself in a list of scalars.
fn identity(item: &Value, key: Option<&str>) -> Result<String, PatchError> {
    let Some(key) = key else { return Ok(item.to_string()) };
    let Value::Object(map) = item else {
        return Err(unexplained(format!("expected a map with merge key {key}, but received {item}")));
    };
    match map.get(key) {
        Some(value) => Ok(value.to_string()),
        None => Err(unexplained(format!("map: {} does not contain declared merge key: {key}", go_text(item)))),
    }
}

/// A value as Go's `%v` writes it.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn merge_list(
    item: Option<ModelNode>,
    key: Option<&'static str>,
    original: Vec<Value>,
    patch: Vec<Value>,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    let objects = check_items(&original, &patch)?;
    if !objects {
        if deletes {
            let gone: BTreeSet<String> = patch.iter().map(Value::to_string).collect();
            return Ok(original.into_iter().filter(|value| !gone.contains(&value.to_string())).collect());
        }
        let mut seen = BTreeSet::new();
        let both = original.iter().chain(&patch).filter(|value| seen.insert(value.to_string())).cloned().collect();
        return arrange(both, &patch, &original, None);
    }
    let Some(key) = key else {
        return Err(unexplained("cannot merge lists without merge key for struct"));
    };
    let (mut merged, patch) = special_items(original, patch, key)?;
    let live = merged.clone();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (place, value) in merged.iter().enumerate() {
        if let Some(value) = value.get(key) {
            places.entry(value.to_string()).or_insert(place);
        }
    }
    for change in &patch {
        let wanted = identity(change, Some(key))?;
        match places.get(&wanted) {
            Some(place) => {
                if let (Value::Object(current), Value::Object(change)) = (merged[*place].take(), change) {
                    merged[*place] = Value::Object(merge_map(item, current, change.clone())?);
                }
            }
            None => {
                places.insert(wanted, merged.len());
                // Upstream keeps nulls here and loses them when it decodes the result; there is no decoding to rely on.
                let added = without_directives(without_nulls(change.clone())).unwrap_or_default();
                merged.push(added);
            }
        }
    }
    arrange(merged, &patch, &live, Some(key))
}

/// Whether the lists hold objects. Mixed lists and lists of lists cannot be merged.
fn check_items(original: &[Value], patch: &[Value]) -> Result<bool, PatchError> {
    let mut kind = None;
    for value in original.iter().chain(patch) {
        let this = std::mem::discriminant(value);
        if value.is_array() {
            return Err(PatchError::NotApplicable("lists of lists are not supported".to_owned()));
        }
        if *kind.get_or_insert(this) != this {
            return Err(unexplained("list element types are not identical"));
        }
    }
    Ok(original.iter().chain(patch).next().is_some_and(Value::is_object))
}

/// Carries out the items of a patch that are directives, and returns both lists without them.
fn special_items(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut gone = BTreeSet::new();
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(DIRECTIVE) else {
            rest.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                gone.insert(identity(&item, Some(key))?);
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(unexplained("merging lists cannot yet be specified in the patch")),
            _ => {
                return Err(unexplained(format!(
                    "unknown patch type: {} in map: {}",
                    plain(directive),
                    go_text(&item)
                )));
            }
        }
    }
    if replace {
        return Ok((Vec::new(), rest));
    }
    original.retain(|item| item.get(key).is_none_or(|value| !gone.contains(&value.to_string())));
    Ok((original, rest))
}

/// Orders a merged list: items that `order` names as it says; the others keep their place relative to those as far as
/// the live list tells.
fn arrange(merged: Vec<Value>, order: &[Value], live: &[Value], key: Option<&str>) -> Result<Vec<Value>, PatchError> {
    let places = |list: &[Value]| -> Result<BTreeMap<String, usize>, PatchError> {
        let mut places = BTreeMap::new();
        for (place, item) in list.iter().enumerate() {
            places.entry(identity(item, key)?).or_insert(place);
        }
        Ok(places)
    };
    let (wanted, known) = (places(order)?, places(live)?);
    let mut named: Vec<(String, Value)> = Vec::new();
    let mut others: Vec<(String, Value)> = Vec::new();
    for item in merged {
        let id = identity(&item, key)?;
        if wanted.contains_key(&id) { named.push((id, item)) } else { others.push((id, item)) }
    }
    let place = |places: &BTreeMap<String, usize>, id: &str| places.get(id).copied().unwrap_or(usize::MAX);
    named.sort_by_key(|(id, _)| place(&wanted, id));
    others.sort_by_key(|(id, _)| place(&known, id));
    let mut result = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (id, item) in named {
        while let Some((other, _)) = others.peek() {
            match (known.get(other), known.get(&id)) {
                (Some(left), Some(right)) if left < right => result.extend(others.next().map(|(_, item)| item)),
                _ => break,
            }
        }
        result.push(item);
    }
    result.extend(others.map(|(_, item)| item));
    Ok(result)
}
