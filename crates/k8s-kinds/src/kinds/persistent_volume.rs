//! PersistentVolume: storage that is there, for whoever claims it.

use k8s_object::{Cause, Quantity};
use serde_json::{Value, json};

use crate::causes::{forbidden, immutable, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME};
use crate::difference::difference;
use crate::fields::{at, carry_over, child, default_to, default_zero_to, entries, is_empty, items, text};
use crate::names::subdomain;
use crate::pod_spec::{node_selector_warnings, quantity};
use crate::strategy::{is_terminating, keep_apart};
use crate::volume_sources::{self, Owner};
use crate::{Context, Kind, STATUS, Scope};

pub(crate) static KIND: Kind = Kind {
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    scope: Scope::Cluster,
    type_name: "io.k8s.api.core.v1.PersistentVolume",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("Capacity", "How much it holds.", |object, _| size(at(object, "spec.capacity")).into()),
        Column::text("Access Modes", "How it can be mounted.", |object, _| {
            access_modes(at(object, "spec.accessModes")).into()
        }),
        Column::text("Reclaim Policy", "What becomes of it when it is released.", |object, _| {
            text(object, "spec.persistentVolumeReclaimPolicy").into()
        }),
        Column::text("Status", "Whether it is available, bound or released.", |object, _| phase(object).into()),
        Column::text("Claim", "The claim that it is bound to.", |object, _| claim(object).into()),
        Column::text("StorageClass", "Its storage class.", |object, _| class(object).into()),
        Column::text("VolumeAttributesClass", "Its volume attributes class.", |object, _| {
            or_unset(at(object, "spec.volumeAttributesClassName"))
        }),
        Column::text("Reason", "Why it is in its status.", |object, _| text(object, "status.reason").into()),
        AGE,
        Column::text("VolumeMode", "Whether it is a file system or a block device.", |object, _| {
            or_unset(at(object, "spec.volumeMode"))
        })
        .wide(),
    ],
    selectable: &["name"],
    field: |object, _| text(object, "metadata.name").into(),
    name_rule: subdomain,
    default,
    prepare_create,
    prepare_update: |object, context| {
        keep_apart(object, context);
        if context.subresource == "status" {
            note_transition(object, context);
        }
    },
    validate,
    warnings,
    returns_deleted: true,
    ..Kind::BASE
};

/// The class of a volume or claim from before there was a field for it.
pub(super) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const MOUNT_OPTIONS_ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// Sources in the order in which upstream looks at them.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

fn default(object: &mut Value, _: &Context<'_>) {
    if let Some(spec) = child(object, "spec") {
        default_zero_to(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_to(spec, "volumeMode", "Filesystem");
        if let Some(path) = spec.get_mut("hostPath").filter(|path| path.is_object()) {
            default_to(path, "type", "");
        }
    }
    if let Some(status) = child(object, "status") {
        default_zero_to(status, "phase", "Pending");
    }
}

fn prepare_create(object: &mut Value, context: &Context<'_>) {
    if let Some(map) = object.as_object_mut() {
        let now = context.now.to_string();
        map.insert("status".to_owned(), json!({"phase": "Pending", "lastPhaseTransitionTime": now}));
    }
}

/// When the phase last changed.
fn note_transition(object: &mut Value, context: &Context<'_>) {
    let Some(old) = context.old else { return };
    const MOMENT: &str = "status.lastPhaseTransitionTime";
    let (new_phase, old_phase) = (at(object, "status.phase").clone(), at(old, "status.phase"));
    let (moment, old_moment) = (at(object, MOMENT).clone(), at(old, MOMENT));
    let Some(status) = child(object, "status") else { return };
    if new_phase != *old_phase && (moment.is_null() || moment == *old_moment) {
        status["lastPhaseTransitionTime"] = json!(context.now.to_string());
    } else if new_phase == *old_phase && moment.is_null() {
        carry_over(status, at(old, "status"), "lastPhaseTransitionTime");
    }
}

fn or_unset(value: &Value) -> Value {
    value.as_str().unwrap_or("<unset>").into()
}

/// The storage in a list of amounts.
pub(super) fn size(amounts: &Value) -> String {
    match at(amounts, "storage") {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "0".to_owned(),
    }
}

/// `RWO,ROX`
pub(super) fn access_modes(modes: &Value) -> String {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let modes = modes.as_array().map_or(&[][..], Vec::as_slice);
    let known = short.iter().filter(|(mode, _)| modes.iter().any(|own| own == mode));
    known.map(|(_, short)| *short).collect::<Vec<&str>>().join(",")
}

pub(super) fn phase(object: &Value) -> &str {
    if is_terminating(object) { "Terminating" } else { text(object, "status.phase") }
}

fn claim(object: &Value) -> String {
    let claim = at(object, "spec.claimRef");
    if claim.is_null() { String::new() } else { format!("{}/{}", text(claim, "namespace"), text(claim, "name")) }
}

/// The class, which an annotation names in the old form.
pub(super) fn class(object: &Value) -> &str {
    let annotation = at(object, "metadata.annotations").get(CLASS_ANNOTATION).and_then(Value::as_str);
    annotation.unwrap_or_else(|| text(object, "spec.storageClassName"))
}

/// How it may be mounted.
pub(super) fn validate_access_modes(spec: &Value, missing: &str, field: &str) -> Vec<Cause> {
    let field = format!("{field}.accessModes");
    let modes: Vec<&str> = items(spec, "accessModes").iter().filter_map(Value::as_str).collect();
    let mut causes = Vec::new();
    if modes.is_empty() {
        causes.push(required(&field, missing));
    }
    let unknown = modes.iter().filter(|mode| !ACCESS_MODES.contains(mode));
    causes.extend(unknown.map(|mode| not_supported(&field, *mode, &ACCESS_MODES)));
    let others = modes.iter().any(|mode| *mode != "ReadWriteOncePod" && ACCESS_MODES.contains(mode));
    if modes.contains(&"ReadWriteOncePod") && others {
        causes.push(forbidden(field, "may not use ReadWriteOncePod with other access modes"));
    }
    causes
}

pub(super) fn validate_volume_mode(spec: &Value, field: &str) -> Option<Cause> {
    let mode = at(spec, "volumeMode").as_str().filter(|mode| !VOLUME_MODES.contains(mode))?;
    Some(not_supported(format!("{field}.volumeMode"), mode, &VOLUME_MODES))
}

pub(super) fn class_name(name: &str, field: String) -> Vec<Cause> {
    subdomain(name, false).iter().map(|problem| invalid(field.clone(), name, problem)).collect()
}

/// More than nothing.
pub(super) fn positive(amount: &Value, field: &str) -> Option<Cause> {
    let wrong = quantity(amount).is_some_and(|amount| amount <= Quantity::ZERO);
    wrong.then(|| invalid(field, amount.clone(), "must be greater than zero"))
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        return Vec::new();
    }
    let spec = at(object, "spec");
    let mut causes = validate_access_modes(spec, "", "spec");
    causes.extend(capacity(spec));
    const POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    if !policy.is_empty() && !POLICIES.contains(&policy) {
        causes.push(not_supported("spec.persistentVolumeReclaimPolicy", policy, &POLICIES));
    }
    causes.extend(node_affinity(spec));
    causes.extend(source(spec, text(object, "metadata.name")));
    let host_path = text(spec, "hostPath.path");
    if !host_path.is_empty() && host_path.split('/').all(|part| matches!(part, "" | ".")) && policy == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        causes.push(forbidden("spec.persistentVolumeReclaimPolicy", detail));
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        causes.extend(class_name(class, "spec.storageClassName".to_owned()));
    }
    causes.extend(validate_volume_mode(spec, "spec"));
    if let Some(attributes) = at(spec, "volumeAttributesClassName").as_str() {
        if attributes.is_empty() {
            causes.push(required("spec.volumeAttributesClassName", "an empty string is disallowed"));
        } else {
            causes.extend(class_name(attributes, "spec.volumeAttributesClassName".to_owned()));
        }
        if at(spec, "csi").is_null() {
            causes.push(required("spec.csi", "has to be specified when using volumeAttributesClassName"));
        }
    }
    causes.extend(mount_options(object));
    if let Some(old) = context.old {
        causes.extend(updated(spec, at(old, "spec")));
    }
    causes
}

fn capacity(spec: &Value) -> Vec<Cause> {
    let capacity = at(spec, "capacity");
    let mut causes = Vec::new();
    if is_empty(capacity) {
        causes.push(required("spec.capacity", ""));
    }
    if at(capacity, "storage").is_null() || capacity.as_object().is_some_and(|map| map.len() > 1) {
        causes.push(not_supported("spec.capacity", capacity.clone(), &["storage"]));
    }
    for (name, amount) in entries(spec, "capacity") {
        let field = format!("spec.capacity[{name}]");
        if let Some(negative) = quantity(amount).map(Quantity::value).filter(|amount| *amount < 0) {
            causes.push(invalid(&field, negative, "must be a valid resource quantity"));
        }
        causes.extend(positive(amount, &field));
    }
    causes
}

fn node_affinity(spec: &Value) -> Vec<Cause> {
    let affinity = at(spec, "nodeAffinity");
    match (affinity.is_null(), at(affinity, "required")) {
        (true, _) => Vec::new(),
        (false, Value::Null) => {
            vec![required("spec.nodeAffinity.required", "must specify required node constraints")]
        }
        (false, terms) => volume_sources::node_selector(terms, "spec.nodeAffinity.required"),
    }
}

fn source(spec: &Value, name: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let present = volume_sources::present(spec, &SOURCES);
    for (index, kind) in present.iter().enumerate() {
        let source = at(spec, kind);
        if index > 0 && *kind != "flexVolume" {
            let kind = if *kind == "cephfs" { "cephFS" } else { kind };
            causes.push(forbidden(format!("spec.{kind}"), "may not specify more than 1 volume type"));
            continue;
        }
        let field = format!("spec.{kind}");
        match *kind {
            "csi" => causes.extend(volume_sources::persistent_csi(source, &field)),
            "local" => {
                match text(source, "path") {
                    "" => causes.push(required(format!("{field}.path"), "")),
                    path => causes.extend(volume_sources::no_backsteps(path, &format!("{field}.path"))),
                }
                if at(spec, "nodeAffinity").is_null() {
                    causes.push(required("spec.nodeAffinity", "Local volume requires node affinity"));
                }
            }
            kind => {
                let owner = Owner::PersistentVolume(name);
                causes.extend(volume_sources::judge(kind, source, &field, owner).unwrap_or_default());
            }
        }
    }
    if present.is_empty() {
        causes.push(required("spec", "must specify a volume type"));
    }
    causes
}

/// The old annotation works with the types that had it.
fn mount_options(object: &Value) -> Option<Cause> {
    const WITH: [&str; 13] = [
        "awsElasticBlockStore",
        "azureDisk",
        "azureFile",
        "cephfs",
        "cinder",
        "gcePersistentDisk",
        "glusterfs",
        "iscsi",
        "nfs",
        "photonPersistentDisk",
        "quobyte",
        "rbd",
        "vsphereVolume",
    ];
    at(object, "metadata.annotations").get(MOUNT_OPTIONS_ANNOTATION)?;
    volume_sources::present(at(object, "spec"), &WITH).is_empty().then(|| {
        let field = format!("metadata.annotations.{MOUNT_OPTIONS_ANNOTATION}");
        forbidden(field, "may not specify mount options for this volume type")
    })
}

fn updated(spec: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let of = |spec: &Value| -> Value {
        SOURCES
            .iter()
            .filter(|kind| !at(spec, kind).is_null())
            .map(|kind| ((*kind).to_owned(), at(spec, kind).clone()))
            .collect()
    };
    let (mut new_source, old_source) = (of(spec), of(old));
    // A secret for expanding may be added later.
    const EXPAND: &str = "controllerExpandSecretRef";
    if old_source["csi"].is_object()
        && at(&old_source, "csi").get(EXPAND).is_none()
        && let Some(csi) = new_source.get_mut("csi").and_then(Value::as_object_mut)
    {
        csi.remove(EXPAND);
    }
    if new_source != old_source {
        let lines = difference(&new_source, &old_source, "");
        let detail = format!("spec.persistentvolumesource is immutable after creation\n{lines}");
        causes.push(forbidden("spec.persistentvolumesource", &detail));
    }
    if at(spec, "volumeMode") != at(old, "volumeMode") {
        causes.push(immutable("volumeMode", at(spec, "volumeMode")));
    }
    let (affinity, old_affinity) = (at(spec, "nodeAffinity"), at(old, "nodeAffinity"));
    if !old_affinity.is_null() && renamed(affinity) != renamed(old_affinity) {
        let detail = "field is immutable, except for updating from beta label to GA";
        causes.push(invalid("nodeAffinity", affinity.clone(), detail));
    }
    const ATTRIBUTES: &str = "volumeAttributesClassName";
    if !at(old, ATTRIBUTES).is_null() && at(spec, ATTRIBUTES).is_null() {
        causes.push(forbidden(format!("spec.{ATTRIBUTES}"), "update from non-nil value to nil is forbidden"));
    }
    causes
}

/// An affinity with the labels of nodes by their present names.
fn renamed(affinity: &Value) -> Value {
    let mut text = affinity.to_string();
    for (old, new) in [
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ] {
        text = text.replace(&format!("\"{old}\""), &format!("\"{new}\""));
    }
    text.into()
}

fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    if !context.is_main() {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    for (key, words) in [
        (CLASS_ANNOTATION, r#"deprecated since v1.8; use "storageClassName" attribute instead"#),
        (MOUNT_OPTIONS_ANNOTATION, r#"deprecated since v1.31; use "mountOptions" attribute instead"#),
    ] {
        if at(object, "metadata.annotations").get(key).is_some() {
            warnings.push(format!("metadata.annotations[{key}]: {words}"));
        }
    }
    let spec = at(object, "spec");
    if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
    }
    let terms = items(spec, "nodeAffinity.required.nodeSelectorTerms").iter().enumerate();
    for (index, term) in terms {
        let field = format!("spec.nodeAffinity.required.nodeSelectorTerms[{index}]");
        warnings.extend(node_selector_warnings(term, &field));
    }
    for (kind, shown, words) in [
        ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ] {
        if !at(spec, kind).is_null() {
            warnings.push(format!("spec.{shown}: {words}"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use world::Timestamp;

    fn volume(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "v"}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"},
        }});
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object
    }

    fn check(mut object: Value, old: Option<&Value>) -> Vec<String> {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old, subresource: "" };
        default(&mut object, &context);
        let causes = validate(&object, &context);
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn volumes_are_judged_in_upstreams_words() {
        let cases = [
            (json!({}), vec![]),
            (json!({"accessModes": []}), vec!["spec.accessModes: Required value"]),
            (
                json!({"accessModes": ["ReadWriteOncePod", "ReadWriteMany"]}),
                vec!["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
            ),
            (
                json!({"capacity": {"cpu": "1"}}),
                vec![r#"spec.capacity: Unsupported value: {"cpu":"1"}: supported values: "storage""#],
            ),
            (
                json!({"capacity": {"storage": "0"}}),
                vec![r#"spec.capacity[storage]: Invalid value: "0": must be greater than zero"#],
            ),
            (json!({"csi": null}), vec!["spec: Required value: must specify a volume type"]),
            (
                json!({"csi": null, "local": {"path": "/a"}}),
                vec!["spec.nodeAffinity: Required value: Local volume requires node affinity"],
            ),
            (
                json!({"nfs": {"server": "s", "path": "/"}}),
                vec!["spec.csi: Forbidden: may not specify more than 1 volume type"],
            ),
            (
                json!({"nodeAffinity": {"required": {"nodeSelectorTerms": []}}}),
                vec![
                    "spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term",
                ],
            ),
            (
                json!({"csi": null, "hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"}),
                vec!["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(check(volume(spec.clone()), None), expected, "{spec}");
        }
    }

    #[test]
    fn the_source_does_not_change() {
        let mut old = volume(json!({}));
        default(&mut old, &Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" });
        let with = |csi: Value| check(volume(json!({"csi": csi})), Some(&old));
        let expand = json!({"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1", "controllerExpandSecretRef": {"name": "a", "namespace": "b"}});
        assert!(with(expand).is_empty());
        let causes = with(json!({"driver": "ebs.csi.aws.com", "volumeHandle": "vol-2"}));
        assert!(
            causes[0].starts_with(
                "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n"
            ),
            "{causes:?}"
        );
    }

    #[test]
    fn changes_of_the_phase_are_timed() {
        let old = json!({"status": {"phase": "Available", "lastPhaseTransitionTime": "2026-01-01T00:00:00Z"}});
        let context = Context {
            minor: 34,
            now: Timestamp::parse("2026-01-01T01:00:00Z").unwrap(),
            old: Some(&old),
            subresource: "status",
        };
        for (phase, expected) in [("Available", "2026-01-01T00:00:00Z"), ("Bound", "2026-01-01T01:00:00Z")] {
            let mut new = json!({"status": {"phase": phase}});
            (KIND.prepare_update)(&mut new, &context);
            assert_eq!(new["status"]["lastPhaseTransitionTime"], expected, "{phase}");
        }
    }
}
