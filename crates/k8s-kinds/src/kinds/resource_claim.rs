//! ResourceClaim: devices that somebody wants, and those that he got.

use std::collections::{BTreeMap, BTreeSet};

use k8s_object::Cause;
use serde_json::{Value, json};

use super::devices::{
    CONFIG_LIMIT, GROUP, REQUESTS_LIMIT, SHARES_DEVICES_SINCE, attribute_reference, binding_conditions, class_name,
    configuration, device_name, drop_fields, has_any, list, pool_name, raw_object, repeated, selectors, toleration,
};
use crate::addresses::interface_address;
use crate::causes::{duplicate, forbidden, immutable, invalid, not_supported, required, too_long, too_many};
use crate::columns::{AGE, Column, NAME};
use crate::expressions::Judged;
use crate::fields::{at, child, default_zero_to, int, is_empty, items, items_mut, text};
use crate::pod_spec::node_selector;
use crate::strategy::{drop_status, is_terminating, keep_apart_and_metadata};
use crate::{Context, Kind, STATUS, conditions};

/// Alternatives of one request, and constraints of one claim.
const ALTERNATIVES_LIMIT: usize = 8;
const CONSTRAINTS_LIMIT: usize = 32;
/// Consumers of one claim.
const CONSUMERS_LIMIT: usize = 256;
/// Conditions, addresses, and bytes of names and hardware addresses of one device.
const CONDITIONS_LIMIT: usize = 8;
const ADDRESSES_LIMIT: usize = 16;
const INTERFACE_LIMIT: usize = 256;
const HARDWARE_LIMIT: usize = 128;

pub(crate) static KIND: Kind = Kind {
    group: GROUP,
    kind: "ResourceClaim",
    plural: "resourceclaims",
    singular: "resourceclaim",
    since: 34,
    type_name: "io.k8s.api.resource.v1.ResourceClaim",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("State", "Whether devices are given to it, and to whom.", |object, _| state(object).into()),
        AGE,
    ],
    default: |object, _| {
        if let Some(spec) = child(object, "spec") {
            default_spec(spec);
        }
    },
    prepare_create: |object, context| {
        drop_status(object, context);
        drop_unknown(object, "spec", context);
    },
    prepare_update,
    validate,
    returns_deleted: true,
    ..Kind::BASE
};

fn state(object: &Value) -> String {
    let mut states = Vec::new();
    let (deleted, allocated) = (is_terminating(object), !at(object, "status.allocation").is_null());
    if deleted {
        states.push("deleted");
    }
    match (allocated, deleted) {
        (true, _) => states.push("allocated"),
        (false, false) => states.push("pending"),
        (false, true) => {}
    }
    if allocated && !items(object, "status.reservedFor").is_empty() {
        states.push("reserved");
    }
    states.join(",")
}

/// Defaults of a claim's spec: one device for each request.
pub(super) fn default_spec(spec: &mut Value) {
    fn count(request: &mut Value) {
        default_zero_to(request, "allocationMode", "ExactCount");
        if text(request, "allocationMode") == "ExactCount" {
            default_zero_to(request, "count", 1);
        }
    }
    let Some(devices) = spec.get_mut("devices") else { return };
    for request in items_mut(devices, "requests") {
        if let Some(exactly) = request.get_mut("exactly").filter(|exactly| exactly.is_object()) {
            count(exactly);
        }
        items_mut(request, "firstAvailable").for_each(count);
    }
}

/// Requests of a claim's spec with what each wants: itself, or its alternatives.
fn wants(spec: &Value) -> impl Iterator<Item = &Value> {
    items(spec, "devices.requests")
        .iter()
        .flat_map(|request| std::iter::once(at(request, "exactly")).chain(items(request, "firstAvailable")))
}

/// Whether a claim's spec asks for parts of devices.
fn shares_devices(spec: &Value) -> bool {
    items(spec, "devices.constraints").iter().any(|constraint| has_any(constraint, &["distinctAttribute"]))
        || wants(spec).any(|want| has_any(want, &["capacity"]))
}

/// Takes out of a claim's spec what the minor does not know, unless the spec before had such things. `path` leads to the spec.
pub(super) fn drop_unknown(object: &mut Value, path: &str, context: &Context<'_>) {
    if context.minor >= SHARES_DEVICES_SINCE || context.old.is_some_and(|old| shares_devices(at(old, path))) {
        return;
    }
    let spec = path.split('.').try_fold(object, |object, key| object.get_mut(key));
    let Some(devices) = spec.and_then(|spec| spec.get_mut("devices")) else { return };
    for request in items_mut(devices, "requests") {
        if let Some(exactly) = request.get_mut("exactly") {
            drop_fields(exactly, &["capacity"]);
        }
        items_mut(request, "firstAvailable").for_each(|request| drop_fields(request, &["capacity"]));
    }
}

fn prepare_update(object: &mut Value, context: &Context<'_>) {
    keep_apart_and_metadata(object, context);
    let Some(old) = context.old else { return };
    if context.subresource != "status" {
        drop_unknown(object, "spec", context);
        return;
    }
    drop_given_back(object, old);
    if context.minor >= SHARES_DEVICES_SINCE {
        return;
    }
    const BINDING: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    const SHARES: [&str; 2] = ["shareID", "consumedCapacity"];
    let results = items(old, "status.allocation.devices.results");
    let binds = has_any(at(old, "status.allocation"), &["allocationTimestamp"])
        || results.iter().any(|result| has_any(result, &BINDING));
    let shares = shares_devices(&old["spec"])
        || results.iter().any(|result| has_any(result, &SHARES))
        || items(old, "status.devices").iter().any(|device| has_any(device, &["shareID"]));
    let Some(status) = object.get_mut("status") else { return };
    if !shares {
        items_mut(status, "devices").for_each(|device| drop_fields(device, &["shareID"]));
    }
    let Some(allocation) = status.get_mut("allocation") else { return };
    if !binds {
        drop_fields(allocation, &["allocationTimestamp"]);
    }
    let Some(devices) = allocation.get_mut("devices") else { return };
    for result in items_mut(devices, "results") {
        if !binds {
            drop_fields(result, &BINDING);
        }
        if !shares {
            drop_fields(result, &SHARES);
        }
    }
}

/// What tells devices of a claim apart.
fn device_id(device: &Value) -> [&str; 4] {
    ["driver", "pool", "device", "shareID"].map(|key| text(device, key))
}

fn given(object: &Value) -> BTreeSet<[&str; 4]> {
    items(object, "status.allocation.devices.results").iter().map(device_id).collect()
}

/// Nothing is said any more of devices that are given back with this write.
fn drop_given_back(object: &mut Value, old: &Value) {
    let new = object.clone();
    let gone: BTreeSet<[&str; 4]> = given(old).difference(&given(&new)).copied().collect();
    let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) else { return };
    if let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) {
        devices.retain(|device| !gone.contains(&device_id(device)));
        if devices.is_empty() {
            status.remove("devices");
        }
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    match (context.subresource, context.old) {
        ("status", Some(old)) => validate_status(object, old),
        (_, Some(old)) => {
            let mut causes = validate_spec(&object["spec"], "spec", true, context);
            if old["spec"] != object["spec"] {
                causes.push(immutable("spec", &object["spec"]));
            }
            causes
        }
        (_, None) => validate_spec(&object["spec"], "spec", false, context),
    }
}

/// Names of requests, and of the alternatives of each.
struct Requests<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Requests<'a> {
    fn of(spec: &'a Value) -> Requests<'a> {
        let requests = items(spec, "devices.requests").iter();
        let named = |request: &'a Value| {
            let below = items(request, "firstAvailable").iter().map(|request| text(request, "name"));
            (text(request, "name"), below.collect())
        };
        Requests(requests.map(named).collect())
    }

    /// A reference to a request, or to one of its alternatives.
    fn check(&self, name: &str, field: &str) -> Vec<Cause> {
        const PROBLEM: &str =
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        let parts: Vec<&str> = name.split('/').collect();
        let known = match parts[..] {
            [name] => self.0.contains_key(name),
            [name, below] => self.0.get(name).is_some_and(|known| known.contains(below)),
            _ => return vec![invalid(field, name, PROBLEM)],
        };
        let mut causes: Vec<Cause> = parts.into_iter().flat_map(|part| device_name(part, field)).collect();
        if !known {
            causes.push(invalid(field, name, PROBLEM));
        }
        causes
    }

    /// A list of such references.
    fn check_all(&self, object: &Value, field: &str) -> Vec<Cause> {
        let mut causes = list(object, "requests", field, Some(REQUESTS_LIMIT), |name, field| {
            self.check(name.as_str().unwrap_or_default(), field)
        });
        causes.extend(repeated(object, "requests", field, ""));
        causes
    }
}

/// The spec of a claim, or of the claims that a template makes.
pub(super) fn validate_spec(spec: &Value, field: &str, stored: bool, context: &Context<'_>) -> Vec<Cause> {
    let (devices, field) = (at(spec, "devices"), format!("{field}.devices"));
    let requests = Requests::of(spec);
    let judged = Judged { minor: context.minor, stored };
    let mut causes = list(devices, "requests", &field, Some(REQUESTS_LIMIT), |request, field| {
        validate_request(request, field, judged)
    });
    causes.extend(repeated(devices, "requests", &field, "name"));
    causes.extend(list(devices, "constraints", &field, Some(CONSTRAINTS_LIMIT), |constraint, field| {
        let mut causes = requests.check_all(constraint, field);
        let attribute = |key: &str| at(constraint, key).as_str();
        match (attribute("matchAttribute"), attribute("distinctAttribute")) {
            (Some(name), _) => causes.extend(attribute_reference(name, &format!("{field}.matchAttribute"))),
            (None, Some(name)) => causes.extend(attribute_reference(name, &format!("{field}.distinctAttribute"))),
            (None, None) if context.minor >= SHARES_DEVICES_SINCE => {
                let detail = r#"exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set"#;
                causes.push(required(field, detail));
            }
            (None, None) => causes.push(required(format!("{field}.matchAttribute"), "")),
        }
        causes
    }));
    causes.extend(list(devices, "config", &field, Some(CONFIG_LIMIT), |config, field| {
        let mut causes = requests.check_all(config, field);
        causes.extend(configuration(config, field, stored));
        causes
    }));
    causes
}

fn validate_request(request: &Value, field: &str, judged: Judged) -> Vec<Cause> {
    let mut causes = device_name(text(request, "name"), &format!("{field}.name"));
    let (exactly, first) = (at(request, "exactly"), items(request, "firstAvailable"));
    if !first.is_empty() {
        causes.extend(list(request, "firstAvailable", field, Some(ALTERNATIVES_LIMIT), |request, field| {
            let mut causes = device_name(text(request, "name"), &format!("{field}.name"));
            causes.extend(validate_want(request, field, judged));
            causes
        }));
        causes.extend(repeated(request, "firstAvailable", field, "name"));
    }
    if !exactly.is_null() {
        causes.extend(validate_want(exactly, &format!("{field}.exactly"), judged));
    }
    match (exactly.is_null(), first.is_empty()) {
        (true, true) => causes.push(required(field, "exactly one of `exactly` or `firstAvailable` is required")),
        (false, false) => {
            let problem = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            causes.push(invalid(field, Value::Null, problem));
        }
        _ => {}
    }
    causes
}

/// Devices of a class: how many, and which.
fn validate_want(request: &Value, field: &str, judged: Judged) -> Vec<Cause> {
    let mut causes = class_name(text(request, "deviceClassName"), &format!("{field}.deviceClassName"));
    causes.extend(selectors(request, field, judged));
    let count = int(request, "count");
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            let problem = "must not be specified when allocationMode is 'All'";
            causes.push(invalid(format!("{field}.count"), count, problem));
        }
        "ExactCount" if count <= 0 => {
            causes.push(invalid(format!("{field}.count"), count, "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        other => causes.push(not_supported(format!("{field}.allocationMode"), other, &["All", "ExactCount"])),
    }
    causes.extend(list(request, "tolerations", field, None, toleration));
    causes
}

fn validate_status(object: &Value, old: &Value) -> Vec<Cause> {
    let status = &object["status"];
    let allocation = at(status, "allocation");
    let mut causes = list(status, "reservedFor", "status", Some(CONSUMERS_LIMIT), |consumer, field| {
        let missing = ["resource", "name", "uid"].into_iter().filter(|key| text(consumer, key).is_empty());
        missing.map(|key| required(format!("{field}.{key}"), "")).collect()
    });
    causes.extend(repeated(status, "reservedFor", "status", "uid"));
    let given = given(object);
    causes.extend(list(status, "devices", "status", None, |device, field| validate_device(device, field, &given)));
    let mut seen = BTreeSet::new();
    for (index, device) in items(status, "devices").iter().enumerate() {
        if !seen.insert(device_id(device)) {
            causes.push(duplicate(format!("status.devices[{index}].deviceID"), written_id(device)));
        }
    }
    let consumers = items(status, "reservedFor");
    if !consumers.is_empty() && allocation.is_null() {
        causes.push(forbidden("status.reservedFor", "may not be specified when `allocated` is not set"));
    } else if is_terminating(object) {
        let before = items(old, "status.reservedFor");
        if consumers.iter().any(|consumer| !before.contains(consumer)) {
            let problem = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            causes.push(forbidden("status.reservedFor", problem));
        }
    }
    let before = at(old, "status.allocation");
    if allocation.is_null() {
        return causes;
    }
    if before.is_null() {
        causes.extend(validate_allocation(allocation, &Requests::of(&object["spec"])));
    } else if before != allocation {
        causes.push(immutable("status.allocation", allocation));
    }
    causes
}

/// As upstream writes what tells devices apart: the names of its fields in Go.
fn written_id(device: &Value) -> Value {
    let [driver, pool, name, share] = device_id(device);
    json!({"Driver": driver, "Pool": pool, "Device": name, "ShareID": share})
}

fn validate_allocation(allocation: &Value, requests: &Requests<'_>) -> Vec<Cause> {
    const FIELD: &str = "status.allocation.devices";
    let devices = at(allocation, "devices");
    let mut causes = list(devices, "results", FIELD, Some(REQUESTS_LIMIT), |result, field| {
        let mut causes = requests.check(text(result, "request"), &format!("{field}.request"));
        causes.extend(place(result, field));
        causes.extend(binding_conditions(result, field));
        causes.extend(share_id(result, field));
        causes
    });
    // Those of the claim and of its classes.
    causes.extend(list(devices, "config", FIELD, Some(2 * CONFIG_LIMIT), |config, field| {
        let source_field = format!("{field}.source");
        let mut causes = match text(config, "source") {
            "" => vec![required(source_field, "")],
            "FromClaim" | "FromClass" => Vec::new(),
            other => vec![not_supported(source_field, other, &["FromClaim", "FromClass"])],
        };
        causes.extend(requests.check_all(config, field));
        causes.extend(configuration(config, field, false));
        causes
    }));
    let selector = at(allocation, "nodeSelector");
    if !selector.is_null() {
        causes.extend(node_selector(selector, "status.allocation.nodeSelector"));
    }
    causes
}

/// Driver, pool and name of a device.
fn place(device: &Value, field: &str) -> Vec<Cause> {
    let mut causes = super::csi::driver_name(text(device, "driver"), &format!("{field}.driver"));
    causes.extend(pool_name(text(device, "pool"), &format!("{field}.pool")));
    causes.extend(device_name(text(device, "device"), &format!("{field}.device")));
    causes
}

fn share_id(device: &Value, field: &str) -> Option<Cause> {
    let id = at(device, "shareID").as_str()?;
    let dashes = [8, 13, 18, 23];
    let well_formed = id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match dashes.contains(&at) {
            true => byte == b'-',
            false => byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'),
        });
    (!well_formed).then(|| {
        let problem = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        invalid(format!("{field}.shareID"), id, problem)
    })
}

fn validate_device(device: &Value, field: &str, given: &BTreeSet<[&str; 4]>) -> Vec<Cause> {
    let mut causes = place(device, field);
    causes.extend(share_id(device, field));
    if !given.contains(&device_id(device)) {
        causes.push(invalid(field, written_id(device), "must be an allocated device in the claim"));
    }
    let told = items(device, "conditions");
    if told.len() > CONDITIONS_LIMIT {
        causes.push(too_many(format!("{field}.conditions"), told.len(), CONDITIONS_LIMIT));
    }
    causes.extend(conditions::validate(told, &format!("{field}.conditions")));
    let data = at(device, "data");
    if !data.is_null() {
        causes.extend(raw_object(data, &format!("{field}.data"), false));
    }
    let (network, field) = (at(device, "networkData"), format!("{field}.networkData"));
    for (key, limit) in [("interfaceName", INTERFACE_LIMIT), ("hardwareAddress", HARDWARE_LIMIT)] {
        if text(network, key).len() > limit {
            causes.push(too_long(format!("{field}.{key}"), limit));
        }
    }
    if !is_empty(at(network, "ips")) {
        causes.extend(list(network, "ips", &field, Some(ADDRESSES_LIMIT), |address, field| {
            interface_address(field, address.as_str().unwrap_or_default())
        }));
        causes.extend(repeated(network, "ips", &field, ""));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{created, told, told_of_update};

    fn claim(devices: Value) -> Value {
        json!({"metadata": {"name": "c"}, "spec": {"devices": devices}})
    }

    #[test]
    fn requests_are_judged() {
        let gpu = json!({"name": "gpu", "exactly": {"deviceClassName": "gpu.example"}});
        let cases = [
            (claim(json!({"requests": [gpu]})), vec![]),
            (
                claim(
                    json!({"requests": [{"name": "a"}, {"name": "a", "exactly": {"allocationMode": "All", "count": 1}}]}),
                ),
                vec![
                    "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                    "spec.devices.requests[1].exactly.deviceClassName: Required value",
                    "spec.devices.requests[1].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'",
                    r#"spec.devices.requests[1].name: Duplicate value: "a""#,
                ],
            ),
            (
                claim(
                    json!({"requests": [gpu], "constraints": [{"requests": ["gpu", "x"], "matchAttribute": "model"}]}),
                ),
                vec![
                    r#"spec.devices.constraints[0].requests[1]: Invalid value: "x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"#,
                    r#"spec.devices.constraints[0].matchAttribute: Invalid value: "model": must include a domain"#,
                ],
            ),
            (
                claim(json!({"requests": [{"name": "a", "firstAvailable": [
                    {"name": "b", "deviceClassName": "c", "tolerations": [{"operator": "Exists", "value": "x", "effect": "y"}]},
                ]}], "config": [{"requests": ["a/b", "a/c"], "opaque": {"driver": "d", "parameters": {}}}]})),
                vec![
                    r#"spec.devices.requests[0].firstAvailable[0].tolerations[0].value: Invalid value: "x": must be empty for operator `Exists`"#,
                    r#"spec.devices.requests[0].firstAvailable[0].tolerations[0].effect: Unsupported value: "y": supported values: "NoExecute", "NoSchedule""#,
                    r#"spec.devices.config[0].requests[1]: Invalid value: "a/c": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"#,
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
        let made = created(&KIND, &claim(json!({"requests": [gpu]})));
        assert_eq!(made["spec"]["devices"]["requests"][0]["exactly"]["count"], 1);
        let changed = claim(json!({"requests": [{"name": "gpu", "exactly": {"deviceClassName": "other"}}]}));
        assert_eq!(told_of_update(&KIND, &made, &changed, "").len(), 1, "the spec does not change");
    }

    #[test]
    fn what_the_minor_does_not_know_goes_unless_it_was_there() {
        let with =
            json!({"spec": {"devices": {"requests": [{"name": "a", "exactly": {"capacity": {"requests": {}}}}]}}});
        let now = world::Timestamp::from_seconds(0);
        for (minor, old, stays) in [(35, None, false), (36, None, true), (35, Some(&with), true)] {
            let mut object = with.clone();
            drop_unknown(&mut object, "spec", &Context { minor, now, old, subresource: "" });
            assert_eq!(object == with, stays, "{minor}");
        }
    }

    #[test]
    fn what_is_given_is_judged_and_stays() {
        let spec = json!({"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "c"}}]}});
        let with = |status: Value| json!({"metadata": {"name": "c"}, "spec": spec, "status": status});
        let result = json!({"request": "gpu", "driver": "d.example", "pool": "p", "device": "x"});
        let given = with(json!({"allocation": {"devices": {"results": [result]}}}));
        let consumer = json!({"resource": "pods", "name": "p", "uid": "u"});
        let device = json!({"driver": "d.example", "pool": "p", "device": "y"});
        let cases = [
            (with(json!({})), given.clone(), vec![]),
            (
                with(json!({})),
                with(json!({"reservedFor": [consumer]})),
                vec!["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
            ),
            (
                with(json!({})),
                with(
                    json!({"allocation": {"devices": {"results": [{"request": "x", "driver": "d", "pool": "", "device": "D"}]}}}),
                ),
                vec![
                    r#"status.allocation.devices.results[0].request: Invalid value: "x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"#,
                    "status.allocation.devices.results[0].pool: Required value",
                    r#"status.allocation.devices.results[0].device: Invalid value: "D": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#,
                ],
            ),
            (
                given.clone(),
                with(json!({"allocation": {"devices": {"results": [result]}}, "devices": [device]})),
                vec![
                    r#"status.devices[0]: Invalid value: {"Device":"y","Driver":"d.example","Pool":"p","ShareID":""}: must be an allocated device in the claim"#,
                ],
            ),
            (given.clone(), with(json!({})), vec![]),
        ];
        for (old, new, expected) in cases {
            assert_eq!(told_of_update(&KIND, &old, &new, "status"), expected, "{new}");
        }
        let other = with(json!({"allocation": {"devices": {"results": []}}}));
        assert!(told_of_update(&KIND, &given, &other, "status")[0].ends_with("field is immutable"));
        assert_eq!((state(&given), state(&with(json!({})))), ("allocated".to_owned(), "pending".to_owned()));
    }

    #[test]
    fn devices_that_are_given_back_are_forgotten() {
        let device = json!({"driver": "d", "pool": "p", "device": "x"});
        let old = json!({"status": {"allocation": {"devices": {"results": [device]}}, "devices": [device]}});
        let mut new = json!({"status": {"devices": [device]}});
        drop_given_back(&mut new, &old);
        assert_eq!(new, json!({"status": {}}));
    }
}
