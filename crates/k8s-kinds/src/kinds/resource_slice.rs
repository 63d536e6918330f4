//! ResourceSlice: devices that a driver offers.

use std::collections::{BTreeMap, BTreeSet};

use k8s_object::{Cause, Quantity};
use serde_json::Value;

use super::csi::driver_name;
use super::devices::{
    GROUP, SHARES_DEVICES_SINCE, attribute_name, binding_conditions, device_name, drop_fields, has_any, list,
    pool_name, repeated, taint,
};
use crate::causes::{duplicate, forbidden, immutable, invalid, required, too_long, too_many};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, child, default_to, entries, flag, int, items, items_mut, text};
use crate::names::{LABEL_LIMIT, subdomain};
use crate::pod_spec::node_selector;
use crate::{Context, Kind, Scope};

/// Devices of one slice, and what each may have.
const DEVICES_LIMIT: usize = 128;
const ATTRIBUTES_LIMIT: usize = 32;
const COUNTERS_OF_DEVICE_LIMIT: usize = 32;
const TAINTS_LIMIT: usize = 4;
/// Counters of one slice: those shared, and those that devices use up.
const SHARED_COUNTERS_LIMIT: usize = 32;
const USED_COUNTERS_LIMIT: usize = 1024;
/// Bytes of the value and of the name of an attribute.
const VALUE_LIMIT: usize = 64;
const ATTRIBUTE_NAME_LIMIT: usize = 63 + 1 + 32;
/// Values among which a request may choose.
const OPTIONS_LIMIT: usize = 10;

pub(crate) static KIND: Kind = Kind {
    group: GROUP,
    kind: "ResourceSlice",
    plural: "resourceslices",
    singular: "resourceslice",
    scope: Scope::Cluster,
    since: 34,
    type_name: "io.k8s.api.resource.v1.ResourceSlice",
    columns: &[
        NAME,
        Column::text("Node", "The node that has the devices.", |object, _| text(object, "spec.nodeName").into()),
        Column::text("Driver", "The driver that offers them.", |object, _| text(object, "spec.driver").into()),
        Column::text("Pool", "The pool of which they are a part.", |object, _| text(object, "spec.pool.name").into()),
        AGE,
    ],
    selectable: &["spec.driver", "spec.nodeName"],
    has_generation: true,
    default: |object, context| {
        let Some(spec) = child(object, "spec") else { return };
        for taint in items_mut(spec, "devices").flat_map(|device| items_mut(device, "taints")) {
            default_to(taint, "timeAdded", context.now.to_string());
        }
    },
    prepare_create: drop_unknown,
    prepare_update: drop_unknown,
    validate,
    returns_deleted: true,
    ..Kind::BASE
};

/// What the minor does not know goes, unless such things were there before.
fn drop_unknown(object: &mut Value, context: &Context<'_>) {
    const PARTS: [&str; 4] = ["consumesCounters", "nodeName", "nodeSelector", "allNodes"];
    const BINDING: [&str; 3] = ["bindingConditions", "bindingFailureConditions", "bindsToNode"];
    const SPEC_PARTS: [&str; 2] = ["sharedCounters", "perDeviceNodeSelection"];
    if context.minor >= SHARES_DEVICES_SINCE {
        return;
    }
    let before = context.old.map(|old| &old["spec"]).unwrap_or(&Value::Null);
    let had = |keys: &[&str]| items(before, "devices").iter().any(|device| has_any(device, keys));
    let parts = has_any(before, &SPEC_PARTS) || had(&PARTS);
    let (taints, binding) = (had(&["taints"]), had(&BINDING));
    let policies = |device: &Value| entries(device, "capacity").any(|(_, value)| has_any(value, &["requestPolicy"]));
    let shared = had(&["allowMultipleAllocations"]) || items(before, "devices").iter().any(policies);
    let Some(spec) = object.get_mut("spec") else { return };
    if !parts {
        drop_fields(spec, &SPEC_PARTS);
    }
    for device in items_mut(spec, "devices") {
        let gone: [(bool, &[&str]); 4] =
            [(parts, &PARTS), (taints, &["taints"]), (binding, &BINDING), (shared, &["allowMultipleAllocations"])];
        gone.iter().filter(|(kept, _)| !kept).for_each(|(_, keys)| drop_fields(device, keys));
        let capacity = device.get_mut("capacity").and_then(Value::as_object_mut).filter(|_| !shared);
        capacity.into_iter().flatten().for_each(|(_, value)| drop_fields(value, &["requestPolicy"]));
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = driver_name(text(spec, "driver"), "spec.driver");
    causes.extend(validate_pool(at(spec, "pool")));
    if let Some(old) = context.old {
        for key in ["pool.name", "driver", "nodeName"] {
            if at(&old["spec"], key) != at(spec, key) {
                causes.push(immutable(format!("spec.{key}"), at(spec, key)));
            }
        }
    }
    causes.extend(validate_nodes(spec));
    let counters: BTreeMap<&str, BTreeSet<&str>> = items(spec, "sharedCounters")
        .iter()
        .map(|set| (text(set, "name"), entries(set, "counters").map(|(name, _)| name.as_str()).collect()))
        .collect();
    let per_device = flag(spec, "perDeviceNodeSelection");
    causes.extend(list(spec, "devices", "spec", Some(DEVICES_LIMIT), |device, field| {
        validate_device(device, field, &counters, per_device)
    }));
    causes.extend(repeated(spec, "devices", "spec", "name"));
    let used: usize = items(spec, "devices")
        .iter()
        .flat_map(|device| items(device, "consumesCounters"))
        .map(|set| entries(set, "counters").count())
        .sum();
    if used > USED_COUNTERS_LIMIT {
        let problem = format!("the total number of counters in devices must not exceed {USED_COUNTERS_LIMIT}");
        causes.push(invalid("spec.devices", used, &problem));
    }
    let shared: usize = counters.values().map(BTreeSet::len).sum();
    if shared > SHARED_COUNTERS_LIMIT {
        let problem = format!("the total number of shared counters must not exceed {SHARED_COUNTERS_LIMIT}");
        causes.push(invalid("spec.sharedCounters", shared, &problem));
    }
    causes.extend(list(spec, "sharedCounters", "spec", None, |set, field| {
        let mut causes = match text(set, "name") {
            "" => vec![required(format!("{field}.name"), "")],
            name => device_name(name, &format!("{field}.name")),
        };
        causes.extend(validate_counters(set, field));
        causes
    }));
    causes.extend(repeated(spec, "sharedCounters", "spec", "name"));
    causes
}

fn validate_pool(pool: &Value) -> Vec<Cause> {
    let mut causes = pool_name(text(pool, "name"), "spec.pool.name");
    let (count, generation) = (int(pool, "resourceSliceCount"), int(pool, "generation"));
    if count <= 0 {
        causes.push(invalid("spec.pool.resourceSliceCount", count, "must be greater than zero"));
    }
    if generation < 0 {
        causes.push(invalid("spec.pool.generation", generation, "must be greater than or equal to zero"));
    }
    causes
}

fn node_name(name: &str, field: &str) -> Vec<Cause> {
    subdomain(name, false).iter().map(|problem| invalid(field, name, problem)).collect()
}

/// On which nodes the devices of the slice are: one way to say it.
fn validate_nodes(spec: &Value) -> Vec<Cause> {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut causes = Vec::new();
    let mut set = Vec::new();
    match at(spec, "nodeName").as_str() {
        Some("") => causes.push(invalid("spec.nodeName", "", "must be either unset or set to a non-empty string")),
        Some(name) => {
            set.push("`nodeName`");
            causes.extend(node_name(name, "spec.nodeName"));
        }
        None => {}
    }
    let selector = at(spec, "nodeSelector");
    if !selector.is_null() {
        set.push("`nodeSelector`");
        causes.extend(node_selector(selector, "spec.nodeSelector"));
        let terms = items(selector, "nodeSelectorTerms");
        if terms.len() != 1 {
            let problem = "must have exactly one node selector term";
            causes.push(invalid("spec.nodeSelector.nodeSelectorTerms", terms.to_vec(), problem));
        }
    }
    for (key, name) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match at(spec, key).as_bool() {
            Some(true) => set.push(name),
            Some(false) => {
                causes.push(invalid(format!("spec.{key}"), false, "must be either unset or set to true"));
            }
            None => {}
        }
    }
    match set.len() {
        0 => causes.push(required("spec", ONE)),
        1 => {}
        _ => {
            let problem = format!("{ONE}, but multiple fields are set");
            causes.push(invalid("spec", format!("{{{}}}", set.join(", ")), &problem));
        }
    }
    causes
}

/// A key of a map as it stands in a path; long ones are shortened in the middle.
fn key_path(field: &str, key: &str, limit: usize) -> String {
    if key.len() <= limit {
        return format!("{field}[{key}]");
    }
    let remaining = limit - 3;
    let (head, tail) = (remaining.div_ceil(2), remaining / 2);
    let head: String = key.chars().take(head).collect();
    let tail: Vec<char> = key.chars().rev().take(tail).collect();
    format!("{field}[{head}...{}]", tail.iter().rev().collect::<String>())
}

fn validate_counters(set: &Value, field: &str) -> Vec<Cause> {
    let field = format!("{field}.counters");
    if entries(set, "counters").next().is_none() {
        return vec![required(field, "")];
    }
    entries(set, "counters").flat_map(|(name, _)| device_name(name, &key_path(&field, name, LABEL_LIMIT))).collect()
}

fn validate_device(
    device: &Value,
    field: &str,
    counters: &BTreeMap<&str, BTreeSet<&str>>,
    per_device: bool,
) -> Vec<Cause> {
    let mut causes = device_name(text(device, "name"), &format!("{field}.name"));
    let count = entries(device, "attributes").count() + entries(device, "capacity").count();
    if count > ATTRIBUTES_LIMIT {
        let problem = format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_LIMIT}");
        causes.push(invalid(field, count, &problem));
    }
    for (name, attribute) in entries(device, "attributes") {
        let field = key_path(&format!("{field}.attributes"), name, ATTRIBUTE_NAME_LIMIT);
        causes.extend(attribute_name(name, &field));
        causes.extend(validate_attribute(attribute, &field));
    }
    let shared = flag(device, "allowMultipleAllocations");
    for (name, capacity) in entries(device, "capacity") {
        let field = key_path(&format!("{field}.capacity"), name, ATTRIBUTE_NAME_LIMIT);
        causes.extend(attribute_name(name, &field));
        let (policy, field) = (at(capacity, "requestPolicy"), format!("{field}.requestPolicy"));
        match (policy.is_null(), shared) {
            (true, _) => {}
            (false, false) => causes.push(forbidden(field, "allowMultipleAllocations must be true")),
            (false, true) => causes.extend(validate_policy(policy, quantity(at(capacity, "value")), &field)),
        }
    }
    causes.extend(list(device, "taints", field, Some(TAINTS_LIMIT), taint));
    causes.extend(validate_consumed(device, field, counters));
    causes.extend(validate_device_nodes(device, field, per_device));
    causes.extend(binding_conditions(device, field));
    causes
}

fn validate_attribute(attribute: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in ["string", "version"] {
        let Some(value) = at(attribute, key).as_str() else { continue };
        let field = format!("{field}.{key}");
        if key == "version" && !is_semantic_version(value) {
            causes.push(invalid(&field, value, "must be a string compatible with semver.org spec 2.0.0"));
        }
        if value.len() > VALUE_LIMIT {
            causes.push(too_long(field, VALUE_LIMIT));
        }
    }
    let values = ["bool", "int", "string", "version"].iter().filter(|key| !at(attribute, key).is_null()).count();
    match values {
        0 => causes.push(required(field, "exactly one value must be specified")),
        1 => {}
        _ => causes.push(invalid(field, attribute.clone(), "exactly one value must be specified")),
    }
    causes
}

/// `1.2.3-rc.1+build` (semver.org 2.0.0).
fn is_semantic_version(text: &str) -> bool {
    let number = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
    };
    let word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn validate_consumed(device: &Value, field: &str, counters: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Cause> {
    const KEY: &str = "consumesCounters";
    let mut causes = list(device, KEY, field, None, |set, field| {
        let mut causes = Vec::new();
        if text(set, "counterSet").is_empty() {
            causes.push(required(format!("{field}.counterSet"), ""));
        }
        causes.extend(validate_counters(set, field));
        causes
    });
    causes.extend(repeated(device, KEY, field, "counterSet"));
    let count: usize = items(device, KEY).iter().map(|set| entries(set, "counters").count()).sum();
    if count > COUNTERS_OF_DEVICE_LIMIT {
        let problem = format!("the total number of counters must not exceed {COUNTERS_OF_DEVICE_LIMIT}");
        causes.push(invalid(field, count, &problem));
    }
    for (index, set) in items(device, KEY).iter().enumerate() {
        let (name, field) = (text(set, "counterSet"), format!("{field}.{KEY}[{index}]"));
        let Some(known) = counters.get(name) else {
            let problem = "must reference a counterSet defined in the ResourceSlice sharedCounters";
            causes.push(invalid(format!("{field}.counterSet"), name, problem));
            continue;
        };
        for (counter, _) in entries(set, "counters").filter(|(counter, _)| !known.contains(counter.as_str())) {
            let problem = "must reference a counter defined in the ResourceSlice sharedCounters";
            causes.push(invalid(format!("{field}.counters"), counter.as_str(), problem));
        }
    }
    causes
}

fn validate_device_nodes(device: &Value, field: &str, per_device: bool) -> Vec<Cause> {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    if !per_device {
        return match has_any(device, &["nodeName", "nodeSelector", "allNodes"]) {
            true => {
                let problem = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
                vec![invalid(field, Value::Null, problem)]
            }
            false => Vec::new(),
        };
    }
    let mut causes = Vec::new();
    let mut set = Vec::new();
    match at(device, "nodeName").as_str() {
        Some("") => causes.push(invalid(format!("{field}.nodeName"), "", "must not be empty")),
        Some(name) => {
            set.push("`nodeName`");
            causes.extend(node_name(name, &format!("{field}.nodeName")));
        }
        None => {}
    }
    let selector = at(device, "nodeSelector");
    if !selector.is_null() {
        set.push("`nodeSelector`");
        causes.extend(node_selector(selector, &format!("{field}.nodeSelector")));
    }
    match at(device, "allNodes").as_bool() {
        Some(true) => set.push("`allNodes`"),
        Some(false) => {
            causes.push(invalid(format!("{field}.allNodes"), false, "must be either unset or set to true"));
        }
        None => {}
    }
    match set.len() {
        0 => causes.push(required(field, ONE)),
        1 => {}
        _ => causes.push(invalid(field, format!("{{{}}}", set.join(", ")), ONE)),
    }
    causes
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Which amounts of a capacity can be asked for.
fn validate_policy(policy: &Value, capacity: Option<Quantity>, field: &str) -> Vec<Cause> {
    let (options, range) = (items(policy, "validValues"), at(policy, "validRange"));
    let Some(capacity) = capacity else { return Vec::new() };
    let default = quantity(at(policy, "default"));
    match (options.is_empty(), range.is_null(), default) {
        (true, true, _) => Vec::new(),
        (false, false, _) => {
            let problem = r#"exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#;
            vec![forbidden(field, problem)]
        }
        (false, true, None) => vec![required(format!("{field}.default"), "required when validValues is defined")],
        (true, false, None) => vec![required(format!("{field}.default"), "required when validRange is defined")],
        (false, true, Some(default)) => validate_options(options, default, capacity, &format!("{field}.validValues")),
        (true, false, Some(default)) => validate_range(range, default, capacity, &format!("{field}.validRange")),
    }
}

fn validate_options(options: &[Value], default: Quantity, capacity: Quantity, field: &str) -> Vec<Cause> {
    let options: Vec<Quantity> = options.iter().filter_map(quantity).collect();
    let mut causes = Vec::new();
    for (index, pair) in options.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        let problem = "values must be sorted in ascending order";
        causes.push(invalid(format!("{field}[{}]", index + 1), pair[1].to_string(), problem));
    }
    for (index, option) in options.iter().enumerate().filter(|(_, option)| **option > capacity) {
        let problem = format!("option is larger than capacity value: {capacity}");
        causes.push(invalid(format!("{field}[{index}]"), option.to_string(), &problem));
    }
    if options.len() > OPTIONS_LIMIT {
        causes.push(too_many(field, options.len(), OPTIONS_LIMIT));
    }
    let mut seen = BTreeSet::new();
    for (index, option) in options.iter().enumerate() {
        if !seen.insert(option.value()) {
            causes.push(duplicate(format!("{field}[{index}]"), option.value().to_string()));
        }
    }
    if !options.contains(&default) {
        let problem = "default value is not valid according to the requestPolicy";
        causes.push(invalid(field, default.to_string(), problem));
    }
    causes
}

fn validate_range(range: &Value, default: Quantity, capacity: Quantity, field: &str) -> Vec<Cause> {
    let part = |key: &str| quantity(at(range, key));
    let Some(min) = part("min") else {
        return vec![required(format!("{field}.min"), "required when validRange is defined")];
    };
    let mut causes = Vec::new();
    let mut tell = |key: &str, value: Quantity, problem: String| {
        causes.push(invalid(format!("{field}.{key}"), value.to_string(), &problem));
    };
    if min > capacity {
        tell("min", min, format!("min is larger than capacity value: {capacity}"));
    }
    if default < min {
        tell("min", default, format!("default is less than min: {min}"));
    }
    let max = part("max");
    if let Some(max) = max {
        if min > max {
            tell("max", min, format!("min is larger than max: {max}"));
        }
        if max > capacity {
            tell("max", max, format!("max is larger than capacity value: {capacity}"));
        }
        if default > max {
            tell("max", default, format!("default is more than max: {max}"));
        }
    }
    if let Some(step) = part("step") {
        let first = min + step;
        if first > capacity {
            tell("step", step, format!("one step {first} is larger than capacity value: {capacity}"));
        }
        for value in [Some(default), max].into_iter().flatten() {
            // A step of nothing would divide by zero; nothing is a multiple of it.
            let is_multiple = (value.value() - min.value()).checked_rem(step.value()) == Some(0);
            if !is_multiple {
                tell("step", value, format!("value is not a multiple of a given step ({step}) from ({min})"));
            }
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{told, told_of_update};
    use serde_json::json;

    fn slice(changes: Value) -> Value {
        let mut spec = json!({
            "driver": "d.example", "pool": {"name": "p", "resourceSliceCount": 1}, "nodeName": "n",
        });
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        json!({"metadata": {"name": "s"}, "spec": spec})
    }

    #[test]
    fn devices_are_judged() {
        let device = |device: Value| slice(json!({"devices": [device]}));
        let cases = [
            (
                device(
                    json!({"name": "a", "attributes": {"model": {"string": "x"}}, "capacity": {"memory": {"value": "1Gi"}}}),
                ),
                vec![],
            ),
            (
                slice(json!({"nodeName": null, "pool": {"name": "", "generation": -1}})),
                vec![
                    "spec.pool.name: Required value",
                    "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                    "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
                    "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
                ],
            ),
            (
                slice(json!({"allNodes": true})),
                vec![
                    r#"spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"#,
                ],
            ),
            (
                device(json!({"name": "a", "attributes": {"1x": {}, "a.b/c": {"version": "1.2", "int": 1}}})),
                vec![
                    r#"spec.devices[0].attributes[1x]: Invalid value: "1x": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"#,
                    "spec.devices[0].attributes[1x]: Required value: exactly one value must be specified",
                    r#"spec.devices[0].attributes[a.b/c].version: Invalid value: "1.2": must be a string compatible with semver.org spec 2.0.0"#,
                    r#"spec.devices[0].attributes[a.b/c]: Invalid value: {"int":1,"version":"1.2"}: exactly one value must be specified"#,
                ],
            ),
            (
                device(
                    json!({"name": "a", "consumesCounters": [{"counterSet": "x", "counters": {"c": {"value": "1"}}}], "taints": [{"key": "k"}]}),
                ),
                vec![
                    "spec.devices[0].taints[0].effect: Required value",
                    r#"spec.devices[0].consumesCounters[0].counterSet: Invalid value: "x": must reference a counterSet defined in the ResourceSlice sharedCounters"#,
                ],
            ),
            (
                device(json!({"name": "a", "allNodes": true, "bindingConditions": ["c"]})),
                vec![
                    "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
                    "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
                ],
            ),
            (
                device(
                    json!({"name": "a", "allowMultipleAllocations": true, "capacity": {"m": {"value": "10", "requestPolicy": {
                        "default": "3", "validRange": {"min": "2", "max": "11", "step": "2"},
                    }}}}),
                ),
                vec![
                    r#"spec.devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: "11": max is larger than capacity value: 10"#,
                    r#"spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "3": value is not a multiple of a given step (2) from (2)"#,
                    r#"spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "11": value is not a multiple of a given step (2) from (2)"#,
                ],
            ),
            (
                device(json!({"name": "a", "capacity": {"m": {"value": "10", "requestPolicy": {}}}})),
                vec!["spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true"],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
        assert_eq!(
            told_of_update(&KIND, &slice(json!({})), &slice(json!({"nodeName": "m"})), ""),
            [r#"spec.nodeName: Invalid value: "m": field is immutable"#]
        );
    }

    #[test]
    fn versions_are_semantic() {
        let cases = [
            ("1.2.3", true),
            ("1.2", false),
            ("01.2.3", false),
            ("1.2.3-rc.1+b.2", true),
            ("1.2.3-01", false),
            ("1.2.3-", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_semantic_version(text), expected, "{text}");
        }
    }

    #[test]
    fn long_keys_are_shortened_in_paths() {
        assert_eq!(key_path("f", "short", 16), "f[short]");
        assert_eq!(key_path("f", "abcdefghijklmnopqrstuvwxyz", 16), "f[abcdefg...uvwxyz]");
    }

    #[test]
    fn what_the_minor_does_not_know_goes() {
        let with = slice(
            json!({"sharedCounters": [], "devices": [{"name": "a", "taints": [], "allowMultipleAllocations": true, "capacity": {"m": {"value": "1", "requestPolicy": {}}}}]}),
        );
        let now = world::Timestamp::from_seconds(0);
        for (minor, old, stays) in [(35, None, false), (36, None, true), (35, Some(&with), true)] {
            let mut object = with.clone();
            drop_unknown(&mut object, &Context { minor, now, old, subresource: "" });
            assert_eq!(object == with, stays, "{minor} {object}");
        }
    }
}
