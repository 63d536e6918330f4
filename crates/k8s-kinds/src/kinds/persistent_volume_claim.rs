//! PersistentVolumeClaim: storage that is asked for.

use k8s_object::{Cause, Quantity, is_native_resource};
use serde_json::{Value, json};

use super::persistent_volume::{
    CLASS_ANNOTATION, access_modes, class, class_name, phase, positive, size, validate_access_modes,
    validate_volume_mode,
};
use crate::causes::{forbidden, immutable, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME};
use crate::difference::difference;
use crate::fields::{at, carry_over, child, default_to, default_zero_to, entries, text};
use crate::names::{label, label_selector, qualified, subdomain};
use crate::pod_spec::quantity;
use crate::strategy::keep_apart;
use crate::{Context, Kind, STATUS};

pub(crate) static KIND: Kind = Kind {
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    type_name: "io.k8s.api.core.v1.PersistentVolumeClaim",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("Status", "Whether it is pending, bound or lost.", |object, _| phase(object).into()),
        Column::text("Volume", "The volume that it is bound to.", |object, _| text(object, "spec.volumeName").into()),
        Column::text("Capacity", "How much the volume holds.", |object, _| match text(object, "spec.volumeName") {
            "" => "".into(),
            _ => size(at(object, "status.capacity")).into(),
        }),
        Column::text("Access Modes", "How the volume can be mounted.", |object, _| {
            match text(object, "spec.volumeName") {
                "" => "".into(),
                _ => access_modes(at(object, "status.accessModes")).into(),
            }
        }),
        Column::text("StorageClass", "Its storage class.", |object, _| class(object).into()),
        Column::text("VolumeAttributesClass", "Its volume attributes class.", |object, _| {
            at(object, "spec.volumeAttributesClassName").as_str().unwrap_or("<unset>").into()
        }),
        AGE,
        Column::text("VolumeMode", "Whether it is a file system or a block device.", |object, _| {
            at(object, "spec.volumeMode").as_str().unwrap_or("<unset>").into()
        })
        .wide(),
    ],
    selectable: &["name"],
    field: |object, _| text(object, "metadata.name").into(),
    name_rule: subdomain,
    default: |object, _| default_claim(object),
    prepare_create: |object, context| {
        if let Some(map) = object.as_object_mut() {
            map.insert("status".to_owned(), json!({"phase": "Pending"}));
        }
        data_source(object, context);
    },
    prepare_update: |object, context| {
        keep_apart(object, context);
        if context.is_main() {
            data_source(object, context);
        }
    },
    validate,
    warnings,
    returns_deleted: true,
    ..Kind::BASE
};

/// Of a claim, and of the templates that StatefulSets make claims from.
pub(crate) fn default_claim(object: &mut Value) {
    if let Some(status) = child(object, "status") {
        default_zero_to(status, "phase", "Pending");
    }
    if let Some(spec) = child(object, "spec") {
        default_to(spec, "volumeMode", "Filesystem");
    }
}

/// `dataSource` knows claims and snapshots only, `dataSourceRef` anything; what one says the other says too.
fn data_source(object: &mut Value, context: &Context<'_>) {
    let was_used = context
        .old
        .is_some_and(|old| ["spec.dataSource", "spec.dataSourceRef"].iter().any(|path| !at(old, path).is_null()));
    let was_referring = context.old.is_some_and(|old| !at(old, "spec.dataSourceRef").is_null());
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    // Sources in other namespaces are not served by default (feature `CrossNamespaceVolumeDataSource`).
    let is_foreign = |reference: &Value| !text(reference, "namespace").is_empty();
    if spec.get("dataSourceRef").is_some_and(is_foreign) && !was_referring {
        spec.remove("dataSourceRef");
    }
    let is_set = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
    if !was_used && !is_set(spec.get("dataSourceRef")) {
        let known = |source: &Value| {
            matches!(
                (text(source, "kind"), text(source, "apiGroup")),
                ("PersistentVolumeClaim", "") | ("VolumeSnapshot", "snapshot.storage.k8s.io")
            )
        };
        if !spec.get("dataSource").is_some_and(known) {
            spec.remove("dataSource");
        }
    }
    let copied = |source: &Value| {
        let mut copy = source.clone();
        if let Some(map) = copy.as_object_mut() {
            map.retain(|key, _| matches!(key.as_str(), "apiGroup" | "kind" | "name"));
        }
        copy
    };
    match (is_set(spec.get("dataSource")), is_set(spec.get("dataSourceRef"))) {
        (true, false) => {
            let copy = copied(&spec["dataSource"]);
            spec.insert("dataSourceRef".to_owned(), copy);
        }
        (false, true) if !is_foreign(&spec["dataSourceRef"]) => {
            let copy = copied(&spec["dataSourceRef"]);
            spec.insert("dataSource".to_owned(), copy);
        }
        _ => {}
    }
}

/// Of a claim's specification at `field`.
pub(crate) fn validate_spec(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let selector = at(spec, "selector");
    let mut modes = validate_access_modes(spec, "at least 1 access mode is required", field);
    // Upstream says that none is named before it looks at the selector, and the rest after.
    let first = usize::from(modes.first().is_some_and(|cause| cause.reason == "FieldValueRequired"));
    let rest = modes.split_off(first);
    causes.append(&mut modes);
    if !selector.is_null() {
        causes.extend(label_selector(selector, &format!("{field}.selector")));
    }
    causes.extend(rest);
    let (storage, storage_field) = (at(spec, "resources.requests.storage"), format!("{field}.resources[storage]"));
    if storage.is_null() {
        causes.push(required(&storage_field, ""));
    } else {
        causes.extend(positive(storage, &storage_field));
    }
    for key in ["storageClassName", "volumeAttributesClassName"] {
        if let Some(name) = at(spec, key).as_str().filter(|name| !name.is_empty()) {
            let cause = class_name(name, format!("{field}.{key}"));
            if key == "storageClassName" {
                causes.extend(cause);
                causes.extend(validate_volume_mode(spec, field));
                causes.extend(sources(spec, field));
            } else {
                causes.extend(cause);
            }
        } else if key == "storageClassName" {
            causes.extend(validate_volume_mode(spec, field));
            causes.extend(sources(spec, field));
        }
    }
    causes
}

fn sources(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (source, reference) = (at(spec, "dataSource"), at(spec, "dataSourceRef"));
    for (key, source) in [("dataSource", source), ("dataSourceRef", reference)] {
        if source.is_null() {
            continue;
        }
        let field = format!("{field}.{key}");
        for part in ["name", "kind"] {
            if text(source, part).is_empty() {
                causes.push(required(format!("{field}.{part}"), ""));
            }
        }
        match text(source, "apiGroup") {
            "" if text(source, "kind") != "PersistentVolumeClaim" => {
                let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
                causes.push(invalid(&field, text(source, "kind"), detail));
            }
            "" => {}
            group => {
                let problems = subdomain(group, false);
                causes.extend(problems.iter().map(|problem| invalid(format!("{field}.apiGroup"), group, problem)));
            }
        }
        let namespace = text(source, "namespace");
        if !namespace.is_empty() {
            let problems = label(namespace, false);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.namespace"), namespace, problem)));
        }
    }
    if !source.is_null() && !reference.is_null() {
        // Upstream gives the path of the field as its value, of which nothing can be written.
        let named = json!({});
        let same = |key: &str| at(source, key) == at(reference, key);
        if !text(reference, "namespace").is_empty() {
            causes.push(invalid(field, named, "may not be specified when dataSourceRef.namespace is specified"));
        } else if !["apiGroup", "kind", "name"].into_iter().all(same) {
            causes.push(invalid(field, named, "must match dataSourceRef"));
        }
    }
    causes
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        return validate_status(object);
    }
    let mut causes = validate_spec(at(object, "spec"), "spec");
    if let Some(old) = context.old {
        causes.extend(updated(object, old));
    }
    causes
}

/// What is claimed stays; only a bound claim may ask for more room, or for another class of attributes.
fn updated(object: &Value, old: &Value) -> Vec<Cause> {
    const SIZE_FIELD: &str = "spec.resources.requests.storage";
    const ATTRIBUTES: &str = "volumeAttributesClassName";
    let mut causes = Vec::new();
    let (spec, old_spec) = (at(object, "spec"), at(old, "spec"));
    let (mut new, mut was) = (spec.clone(), old_spec.clone());
    if text(&was, "volumeName").is_empty() {
        carry_over(&mut was, spec, "volumeName");
    }
    let annotation = |object: &Value| at(object, "metadata.annotations").get(CLASS_ANNOTATION).cloned();
    let (class, old_class) = (at(spec, "storageClassName"), at(old_spec, "storageClassName"));
    let upgraded = annotation(old).is_some_and(|old_class| *class == old_class)
        && old_class.is_null()
        && annotation(object).is_none_or(|own| *class == own);
    if upgraded {
        carry_over(&mut new, old_spec, "storageClassName");
    } else {
        if annotation(object) != annotation(old) {
            let field = format!("metadata.annotations.{CLASS_ANNOTATION}");
            causes.push(immutable(field, &annotation(object).unwrap_or_else(|| "".into())));
        }
        if !class.is_null() && old_class.is_null() && annotation(old).is_none_or(|old| *class == old) {
            carry_over(&mut new, old_spec, "storageClassName");
        }
    }
    if text(object, "status.phase") == "Bound" {
        if let Some(requests) = new.pointer_mut("/resources/requests").filter(|requests| requests.is_object()) {
            carry_over(requests, at(old_spec, "resources.requests"), "storage");
        }
        carry_over(&mut new, old_spec, ATTRIBUTES);
    }
    if new != was {
        let lines = difference(&new, &was, "spec");
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{lines}"
        );
        causes.push(forbidden("spec", &detail));
    }
    let amount = |value: &Value| quantity(value).unwrap_or(Quantity::ZERO);
    let size = amount(at(spec, "resources.requests.storage"));
    if size < amount(at(old_spec, "resources.requests.storage")) && size <= amount(at(old, "status.capacity.storage")) {
        causes.push(forbidden(SIZE_FIELD, "field can not be less than status.capacity"));
    }
    if at(spec, "volumeMode") != at(old_spec, "volumeMode") {
        causes.push(immutable("volumeMode", at(spec, "volumeMode")));
    }
    if at(spec, ATTRIBUTES) != at(old_spec, ATTRIBUTES) && !at(old, "status.currentVolumeAttributesClassName").is_null()
    {
        let what = match at(spec, ATTRIBUTES) {
            Value::Null => "nil",
            Value::String(name) if name.is_empty() => "empty string",
            _ => return causes,
        };
        let detail = format!("update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil");
        causes.push(forbidden(format!("spec.{ATTRIBUTES}"), &detail));
    }
    causes
}

fn validate_status(object: &Value) -> Vec<Cause> {
    let status = at(object, "status");
    let mut causes = Vec::new();
    let wrong = |amount: &Value, field: &str| {
        let units = quantity(amount).map(Quantity::value).filter(|units| *units < 0)?;
        Some(invalid(field, units, "must be a valid resource quantity"))
    };
    for (name, amount) in entries(status, "capacity") {
        causes.extend(wrong(amount, &format!("status.capacity[{name}]")));
    }
    let key = |name: &str, field: &str| -> Vec<Cause> {
        let causes: Vec<Cause> = qualified(name).iter().map(|problem| invalid(field, name, problem)).collect();
        if causes.is_empty() && is_native_resource(name) && name != "storage" {
            return vec![not_supported(field, name, &["storage"])];
        }
        causes
    };
    const STATES: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    for (name, state) in entries(status, "allocatedResourceStatuses") {
        const FIELD: &str = "status.allocatedResourceStatuses";
        causes.extend(key(name, FIELD));
        if !state.as_str().is_some_and(|state| STATES.contains(&state)) {
            let mut states = STATES;
            states.sort_unstable();
            causes.push(not_supported(FIELD, name.as_str(), &states));
        }
    }
    for (name, amount) in entries(status, "allocatedResources") {
        let wrong_key = key(name, "status.allocatedResources");
        if wrong_key.is_empty() {
            causes.extend(wrong(amount, &format!("status.allocatedResources[{name}]")));
        } else {
            causes.extend(wrong_key);
        }
    }
    causes
}

/// Of a claim's specification at `field`.
pub(crate) fn spec_warnings(spec: &Value, field: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["requests", "limits"] {
        let amount = at(at(spec, "resources"), list).get("storage").unwrap_or(&Value::Null);
        if quantity(amount).is_some_and(|amount| amount.milli() % 1000 != 0) {
            warnings.push(format!(
                "{field}.resources.{list}[storage]: fractional byte value {:?} is invalid, must be an integer",
                amount.as_str().unwrap_or_default()
            ));
        }
    }
    warnings
}

fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    if !context.is_main() {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    if at(object, "metadata.annotations").get(CLASS_ANNOTATION).is_some() {
        let words = r#"deprecated since v1.8; use "storageClassName" attribute instead"#;
        warnings.push(format!("metadata.annotations[{CLASS_ANNOTATION}]: {words}"));
    }
    warnings.extend(spec_warnings(at(object, "spec"), "spec"));
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use world::Timestamp;

    fn claim(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "c"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }});
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object
    }

    fn context(old: Option<&Value>) -> Context<'_> {
        Context { minor: 34, now: Timestamp::from_seconds(0), old, subresource: "" }
    }

    fn check(new: &Value, old: Option<&Value>) -> Vec<String> {
        let causes = validate(new, &context(old));
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn claims_are_judged_in_upstreams_words() {
        let cases = [
            (json!({}), vec![]),
            (
                json!({"accessModes": [], "resources": {}}),
                vec![
                    "spec.accessModes: Required value: at least 1 access mode is required",
                    "spec.resources[storage]: Required value",
                ],
            ),
            (
                json!({"resources": {"requests": {"storage": "-1"}}}),
                vec![r#"spec.resources[storage]: Invalid value: "-1": must be greater than zero"#],
            ),
            (
                json!({"volumeMode": "Tape"}),
                vec![r#"spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem""#],
            ),
            (
                json!({"dataSource": {"kind": "VolumeSnapshot", "name": "s"}}),
                vec![
                    r#"spec.dataSource: Invalid value: "VolumeSnapshot": must be 'PersistentVolumeClaim' when referencing the default apiGroup"#,
                ],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(check(&claim(spec.clone()), None), expected, "{spec}");
        }
    }

    #[test]
    fn a_bound_claim_may_only_grow() {
        let mut old = claim(json!({"volumeName": "v"}));
        old["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        let with = |size: &str, phase: &str| {
            let mut new = old.clone();
            new["spec"]["resources"]["requests"]["storage"] = json!(size);
            new["status"]["phase"] = json!(phase);
            check(&new, Some(&old))
        };
        assert!(with("2Gi", "Bound").is_empty());
        assert_eq!(
            with("512Mi", "Bound"),
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
        );
        assert!(
            with("2Gi", "Pending")[0]
                .starts_with("spec: Forbidden: spec is immutable after creation except resources.requests")
        );
    }

    #[test]
    fn both_data_sources_say_the_same() {
        let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
        let populator = json!({"apiGroup": "example.com", "kind": "Book", "name": "b"});
        for (spec, source, reference) in [
            (json!({"dataSource": snapshot}), &snapshot, &snapshot),
            (json!({"dataSourceRef": populator}), &populator, &populator),
            (json!({"dataSource": populator}), &Value::Null, &Value::Null),
        ] {
            let mut object = claim(spec.clone());
            (KIND.prepare_create)(&mut object, &context(None));
            let own = &object["spec"];
            assert_eq!((at(own, "dataSource"), at(own, "dataSourceRef")), (source, reference), "{spec}");
        }
    }
}
