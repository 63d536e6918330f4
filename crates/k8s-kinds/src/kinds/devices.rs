//! What the kinds of dynamic resource allocation share: names of devices, lists with limits, selectors, configuration, and what a
//! minor knows.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::{Map, Value};

use crate::causes::{duplicate, invalid, not_supported, required, too_long, too_many};
use crate::expressions::{self, Expression, Judged, Sees, Yields};
use crate::fields::{at, items, text};
use crate::names::{SUBDOMAIN_LIMIT, label, label_value, qualified, subdomain};

pub(super) const GROUP: &str = "resource.k8s.io";

/// Requests of one claim, and devices given to it.
pub(super) const REQUESTS_LIMIT: usize = 32;
/// Configurations of one claim or class.
pub(super) const CONFIG_LIMIT: usize = 32;
/// Bytes of the parameters of a device, and of what a driver says of one.
pub(super) const OPAQUE_LIMIT: usize = 10 << 10;
/// Conditions that a device may name.
const BINDING_CONDITIONS_LIMIT: usize = 4;
const SELECTORS_LIMIT: usize = 32;
/// Bytes of the expression of a selector.
const EXPRESSION_LIMIT: usize = 10 << 10;
/// Bytes of the part of a name behind its domain.
const ID_LIMIT: usize = 32;
const EFFECTS: [&str; 2] = ["NoExecute", "NoSchedule"];

/// First minor in which devices have taints, shared counters, capacities to share, conditions to bind, and names of extended
/// resources: what upstream switches on by its feature gates.
pub(crate) const SHARES_DEVICES_SINCE: u8 = 36;

/// A list with a limit, each element of which is judged.
pub(super) fn list<'a>(
    object: &'a Value,
    key: &str,
    field: &str,
    limit: Option<usize>,
    mut judge: impl FnMut(&'a Value, &str) -> Vec<Cause>,
) -> Vec<Cause> {
    let (all, field) = (items(object, key), format!("{field}.{key}"));
    let mut causes = Vec::new();
    for (index, item) in all.iter().enumerate() {
        causes.extend(judge(item, &format!("{field}[{index}]")));
    }
    if let Some(limit) = limit.filter(|limit| all.len() > *limit) {
        causes.push(too_many(field, all.len(), limit));
    }
    causes
}

/// Elements whose keys are there twice; `below` is the path of the key in an element, empty for the element itself.
pub(super) fn repeated(object: &Value, key: &str, field: &str, below: &str) -> Vec<Cause> {
    let mut seen = BTreeSet::new();
    let mut causes = Vec::new();
    for (index, item) in items(object, key).iter().enumerate() {
        let (value, suffix) = match below {
            "" => (item.as_str().unwrap_or_default(), String::new()),
            below => (text(item, below), format!(".{below}")),
        };
        if !seen.insert(value) {
            causes.push(duplicate(format!("{field}.{key}[{index}]{suffix}"), value));
        }
    }
    causes
}

fn told(problems: Vec<String>, field: &str, value: &str) -> Vec<Cause> {
    problems.iter().map(|problem| invalid(field, value, problem)).collect()
}

/// The name of a device, a request or a counter.
pub(super) fn device_name(name: &str, field: &str) -> Vec<Cause> {
    told(label(name, false), field, name)
}

/// The name of a DeviceClass, which must be there.
pub(super) fn class_name(name: &str, field: &str) -> Vec<Cause> {
    if name.is_empty() { vec![required(field, "")] } else { told(subdomain(name, false), field, name) }
}

/// The name of a pool: names of domains, with slashes between them.
pub(super) fn pool_name(name: &str, field: &str) -> Vec<Cause> {
    if name.is_empty() {
        return vec![required(field, "")];
    }
    let mut causes = Vec::new();
    if name.len() > SUBDOMAIN_LIMIT {
        causes.push(too_long(field, SUBDOMAIN_LIMIT));
    }
    causes.extend(name.split('/').flat_map(|part| told(subdomain(part, false), field, part)));
    causes
}

/// The name of an attribute or a capacity, with the domain of who defines it or without.
pub(super) fn attribute_name(name: &str, field: &str) -> Vec<Cause> {
    if name.is_empty() {
        return vec![required(field, "name required")];
    }
    match name.split('/').collect::<Vec<_>>()[..] {
        [name] => identifier(name, field),
        [domain, name] => {
            let mut causes = match domain {
                "" => vec![required(field, "the domain must not be empty")],
                domain => super::csi::driver_name(domain, field),
            };
            causes.extend(match name {
                "" => vec![required(field, "the name must not be empty")],
                name => identifier(name, field),
            });
            causes
        }
        _ => Vec::new(),
    }
}

/// As [`attribute_name`], with a domain.
pub(super) fn attribute_reference(name: &str, field: &str) -> Vec<Cause> {
    let mut causes = attribute_name(name, field);
    if !name.is_empty() && !name.contains('/') {
        causes.push(invalid(field, name, "must include a domain"));
    }
    causes
}

fn identifier(name: &str, field: &str) -> Vec<Cause> {
    const PROBLEM: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
    let mut causes = Vec::new();
    if name.len() > ID_LIMIT {
        causes.push(too_long(field, ID_LIMIT));
    }
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        causes.push(invalid(field, name, PROBLEM));
    }
    causes
}

/// `selectors`: expressions that a device must satisfy.
pub(super) fn selectors(object: &Value, field: &str, judged: Judged) -> Vec<Cause> {
    list(object, "selectors", field, Some(SELECTORS_LIMIT), |selector, field| {
        if at(selector, "cel").is_null() {
            return vec![required(format!("{field}.cel"), "")];
        }
        let (written, field) = (text(selector, "cel.expression"), format!("{field}.cel.expression"));
        if written.len() > EXPRESSION_LIMIT {
            return vec![too_long(field, EXPRESSION_LIMIT)];
        }
        let expression =
            Expression { text: written, yields: Yields::Flag, sees: Sees::Device, variables: None, judged };
        expressions::problem(&expression, &field).into_iter().collect()
    })
}

/// What a driver is told about a device: `opaque` with the driver's name and parameters.
pub(super) fn configuration(config: &Value, field: &str, stored: bool) -> Vec<Cause> {
    let (opaque, field) = (at(config, "opaque"), format!("{field}.opaque"));
    if opaque.is_null() {
        return vec![required(field, "")];
    }
    let mut causes = super::csi::driver_name(text(opaque, "driver"), &format!("{field}.driver"));
    causes.extend(raw_object(at(opaque, "parameters"), &format!("{field}.parameters"), stored));
    causes
}

/// Any object, of a limited size unless it has been there before.
pub(super) fn raw_object(value: &Value, field: &str, stored: bool) -> Option<Cause> {
    match value {
        Value::Null => Some(required(field, "")),
        value if !stored && value.to_string().len() > OPAQUE_LIMIT => Some(too_long(field, OPAQUE_LIMIT)),
        Value::Object(_) => None,
        _ => Some(invalid(field, "<value omitted>", "must be a valid JSON object")),
    }
}

/// A taint of a device.
pub(super) fn taint(taint: &Value, field: &str) -> Vec<Cause> {
    let (key, value) = (text(taint, "key"), text(taint, "value"));
    let mut causes = told(qualified(key), &format!("{field}.key"), key);
    if !value.is_empty() {
        causes.extend(told(label_value(value), &format!("{field}.value"), value));
    }
    match text(taint, "effect") {
        "" => causes.push(required(format!("{field}.effect"), "")),
        _ => causes.extend(effect(taint, field)),
    }
    causes
}

fn effect(object: &Value, field: &str) -> Option<Cause> {
    let effect = text(object, "effect");
    let known = effect.is_empty() || EFFECTS.contains(&effect);
    (!known).then(|| not_supported(format!("{field}.effect"), effect, &EFFECTS))
}

/// What taints a request bears.
pub(super) fn toleration(toleration: &Value, field: &str) -> Vec<Cause> {
    let (key, value, operator) = (text(toleration, "key"), text(toleration, "value"), text(toleration, "operator"));
    let mut causes = Vec::new();
    if !key.is_empty() {
        causes.extend(told(qualified(key), &format!("{field}.key"), key));
    }
    match operator {
        "Exists" if !value.is_empty() => {
            causes.push(invalid(format!("{field}.value"), value, "must be empty for operator `Exists`"));
        }
        "Exists" => {}
        "Equal" => causes.extend(told(label_value(value), &format!("{field}.value"), value)),
        "" => causes.push(required(format!("{field}.operator"), "")),
        other => causes.push(not_supported(format!("{field}.operator"), other, &["Equal", "Exists"])),
    }
    causes.extend(effect(toleration, field));
    causes
}

/// `bindingConditions` and `bindingFailureConditions` of a device.
pub(super) fn binding_conditions(device: &Value, field: &str) -> Vec<Cause> {
    const GOOD: &str = "bindingConditions";
    const BAD: &str = "bindingFailureConditions";
    let mut causes = Vec::new();
    for key in [GOOD, BAD] {
        causes.extend(list(device, key, field, Some(BINDING_CONDITIONS_LIMIT), |condition, field| {
            let name = condition.as_str().unwrap_or_default();
            told(qualified(name), field, name)
        }));
    }
    let (good, bad) = (items(device, GOOD), items(device, BAD));
    causes.extend(repeated(device, GOOD, field, ""));
    causes.extend(repeated(device, BAD, field, ""));
    for (index, condition) in bad.iter().enumerate().filter(|(_, condition)| good.contains(condition)) {
        let problem = "bindingFailureConditions must not overlap with bindingConditions";
        causes.push(invalid(format!("{field}.{BAD}[{index}]"), condition.clone(), problem));
    }
    for (key, list, other) in [(GOOD, good, bad), (BAD, bad, good)] {
        if list.is_empty() && !other.is_empty() {
            let needing = if key == GOOD { BAD } else { GOOD };
            let problem = format!("{key} are required to use {needing}");
            causes.push(invalid(format!("{field}.{key}"), at(device, key).clone(), &problem));
        }
    }
    causes
}

/// Takes fields out of an object.
pub(super) fn drop_fields(object: &mut Value, keys: &[&str]) {
    if let Some(map) = object.as_object_mut() {
        map.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

/// Whether any of these fields is there.
pub(super) fn has_any(object: &Value, keys: &[&str]) -> bool {
    let has = |map: &Map<String, Value>| keys.iter().any(|key| map.get(*key).is_some_and(|value| !value.is_null()));
    object.as_object().is_some_and(has)
}
