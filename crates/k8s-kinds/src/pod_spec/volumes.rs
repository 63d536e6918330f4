//! Rules for the volumes of a pod.

use std::collections::BTreeSet;

use k8s_object::{Cause, Quantity};
use serde_json::Value;

use super::security::descending;
use super::{Owner, env, quantity};
use crate::causes::{duplicate, forbidden, invalid, not_supported, required};
use crate::fields::{at, items, text};
use crate::kinds::persistent_volume_claim as claim;
use crate::names::{self, label, subdomain};
use crate::volume_sources::{self, Owner as SourceOwner};

/// Sources in the order in which upstream looks at them.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// The volumes of a spec that are in order: only those can be mounted.
pub(super) struct Volumes<'a>(Vec<(&'a str, &'a Value)>);

impl<'a> Volumes<'a> {
    /// Judges the volumes of the spec at `field`.
    pub(super) fn judge(spec: &'a Value, field: &str, owner: Owner<'_>, causes: &mut Vec<Cause>) -> Volumes<'a> {
        let pod = owner.pod.map(|pod| text(pod, "metadata.name")).filter(|name| !name.is_empty());
        let volumes = items(spec, "volumes");
        let created: Vec<String> = match pod {
            Some(pod) => volumes
                .iter()
                .filter(|volume| !at(volume, "ephemeral").is_null())
                .map(|volume| format!("{pod}-{}", text(volume, "name")))
                .collect(),
            None => Vec::new(),
        };
        let mut right: Vec<(&str, &Value)> = Vec::new();
        for (index, volume) in volumes.iter().enumerate() {
            let field = format!("{field}.volumes[{index}]");
            let name = text(volume, "name");
            let mut wrong = source(volume, pod, owner, &field);
            if name.is_empty() {
                wrong.push(required(format!("{field}.name"), ""));
            } else {
                let problems = label(name, false);
                wrong.extend(problems.iter().map(|problem| invalid(format!("{field}.name"), name, problem)));
            }
            if right.iter().any(|(other, _)| *other == name) {
                wrong.push(duplicate(format!("{field}.name"), name));
            }
            if wrong.is_empty() {
                right.push((name, volume));
            }
            causes.append(&mut wrong);
            let claim = text(volume, "persistentVolumeClaim.claimName");
            if created.iter().any(|own| own == claim) {
                let detail = "must not reference a PVC that gets created for an ephemeral volume";
                causes.push(invalid(format!("{field}.persistentVolumeClaim.claimName"), claim, detail));
            }
        }
        Volumes(right)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, volume)| *volume)
    }
}

/// Exactly one source, and what each must say.
fn source(volume: &Value, pod: Option<&str>, owner: Owner<'_>, field: &str) -> Vec<Cause> {
    let present = volume_sources::present(volume, &SOURCES);
    let mut causes = Vec::new();
    let name = text(volume, "name");
    for (index, kind) in present.iter().enumerate() {
        // Upstream calls two of them by other names here.
        if index > 0 {
            let shown = match *kind {
                "cephfs" => "cephFS",
                "downwardAPI" => "downwarAPI",
                kind => kind,
            };
            causes.push(forbidden(format!("{field}.{shown}"), "may not specify more than 1 volume type"));
        } else {
            causes.extend(one_source(kind, at(volume, kind), owner, &format!("{field}.{kind}")));
        }
        if *kind == "iscsi"
            && !at(volume, "iscsi.initiatorName").is_null()
            && name.len() + 1 + text(volume, "iscsi.targetPortal").len() > 64
        {
            causes.push(invalid(format!("{field}.name"), name, volume_sources::TOO_LONG_WITH_INITIATOR));
        }
        if *kind == "ephemeral"
            && let Some(pod) = pod
        {
            let claim = format!("{pod}-{name}");
            for problem in subdomain(&claim, false) {
                causes.push(invalid(format!("{field}.name"), name, &format!("PVC name {claim:?}: {problem}")));
            }
        }
    }
    if present.is_empty() {
        causes.push(required(field, "must specify a volume type"));
    }
    causes
}

fn one_source(kind: &str, source: &Value, owner: Owner<'_>, field: &str) -> Vec<Cause> {
    if let Some(causes) = volume_sources::judge(kind, source, field, SourceOwner::Pod) {
        return causes;
    }
    let needed = |key: &str| text(source, key).is_empty().then(|| required(format!("{field}.{key}"), ""));
    let mut causes = Vec::new();
    match kind {
        "emptyDir" if quantity(at(source, "sizeLimit")).is_some_and(|size| size < Quantity::ZERO) => {
            let detail = "SizeLimit field must be a valid resource quantity";
            causes.push(forbidden(format!("{field}.sizeLimit"), detail));
        }
        "gitRepo" => {
            causes.extend(needed("repository"));
            causes.extend(descending(text(source, "directory"), &format!("{field}.directory")));
        }
        "secret" | "configMap" => {
            causes.extend(needed(if kind == "secret" { "secretName" } else { "name" }));
            causes.extend(mode(source, "defaultMode", field));
            causes.extend(keys_to_paths(source, field));
        }
        "persistentVolumeClaim" => causes.extend(needed("claimName")),
        "downwardAPI" => {
            causes.extend(mode(source, "defaultMode", field));
            // Upstream blames the volume, not its item.
            causes.extend(items(source, "items").iter().flat_map(|item| downward_file(item, field)));
        }
        "projected" => {
            causes.extend(mode(source, "defaultMode", field));
            causes.extend(projected(source, field));
        }
        "csi" => {
            causes.extend(volume_sources::csi_driver(text(source, "driver"), &format!("{field}.driver")));
            let secret = at(source, "nodePublishSecretRef");
            match text(secret, "name") {
                _ if secret.is_null() => {}
                "" => causes.push(required(format!("{field}.nodePublishSecretRef.name"), "")),
                name => {
                    let problems = subdomain(name, false);
                    causes.extend(problems.iter().map(|problem| invalid(format!("{field}.name"), name, problem)));
                }
            }
        }
        "ephemeral" => causes.extend(ephemeral(source, field)),
        "image" => {
            if owner.pod.is_some() {
                causes.extend(needed("reference"));
            }
            match text(source, "pullPolicy") {
                "" => causes.push(required(format!("{field}.pullPolicy"), "")),
                "Always" | "IfNotPresent" | "Never" => {}
                other => {
                    let allowed = ["Always", "IfNotPresent", "Never"];
                    causes.push(not_supported(format!("{field}.pullPolicy"), other, &allowed));
                }
            }
        }
        _ => {}
    }
    causes
}

fn mode(of: &Value, key: &str, field: &str) -> Option<Cause> {
    let mode = at(of, key).as_i64().filter(|mode| !(0..=0o777).contains(mode))?;
    let detail = "must be a number between 0 and 0777 (octal), both inclusive";
    Some(invalid(format!("{field}.{key}"), mode, detail))
}

/// A path inside a volume: relative, never upwards, and not among the volume's own names.
fn local_path(path: &str, field: &str) -> Vec<Cause> {
    let mut causes = descending(path, field);
    if path.starts_with("..") && !path.starts_with("../") {
        causes.push(invalid(field, path, "must not start with '..'"));
    }
    causes
}

fn keys_to_paths(source: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, item) in items(source, "items").iter().enumerate() {
        let field = format!("{field}.items[{index}]");
        for key in ["key", "path"] {
            if text(item, key).is_empty() {
                causes.push(required(format!("{field}.{key}"), ""));
            }
        }
        causes.extend(local_path(text(item, "path"), &format!("{field}.path")));
        causes.extend(mode(item, "mode", &field));
    }
    causes
}

fn downward_file(item: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if text(item, "path").is_empty() {
        causes.push(required(format!("{field}.path"), ""));
    }
    causes.extend(local_path(text(item, "path"), &format!("{field}.path")));
    let (of_field, of_resource) = (at(item, "fieldRef"), at(item, "resourceFieldRef"));
    if !of_field.is_null() {
        causes.extend(env::field_ref(of_field, &env::OF_FILES, &format!("{field}.fieldRef")));
        if !of_resource.is_null() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            causes.push(invalid(field, "resource", detail));
        }
    } else if !of_resource.is_null() {
        causes.extend(env::resource_field_ref(of_resource, true, &format!("{field}.resourceFieldRef")));
    } else {
        causes.push(required(field, "one of fieldRef and resourceFieldRef is required"));
    }
    causes.extend(mode(item, "mode", field));
    causes
}

fn ephemeral(source: &Value, field: &str) -> Vec<Cause> {
    let template = at(source, "volumeClaimTemplate");
    let field = format!("{field}.volumeClaimTemplate");
    if template.is_null() {
        return vec![required(field, "")];
    }
    let metadata = at(template, "metadata");
    let mut causes = names::annotations(at(metadata, "annotations"), &format!("{field}.metadata.annotations"));
    causes.extend(names::labels(at(metadata, "labels"), &format!("{field}.metadata.labels")));
    let others = metadata.as_object().into_iter().flatten();
    let others = others
        .filter(|(key, value)| !matches!(key.as_str(), "annotations" | "labels") && !crate::fields::is_empty(value));
    causes.extend(others.map(|(key, _)| forbidden(format!("{field}.metadata.{key}"), "cannot be set")));
    causes.extend(claim::validate_spec(at(template, "spec"), &format!("{field}.spec")));
    causes
}

fn projected(source: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut paths: BTreeSet<&str> = BTreeSet::new();
    for (index, source) in items(source, "sources").iter().enumerate() {
        let own = format!("{field}.sources[{index}]");
        let conflict = |path: &str, value: &str, causes: &mut Vec<Cause>, paths: &BTreeSet<&str>| {
            if paths.contains(path) {
                causes.push(invalid(field, value, "conflicting duplicate paths"));
            }
        };
        let mut count = 0;
        for kind in ["secret", "configMap"] {
            let source = at(source, kind);
            if source.is_null() {
                continue;
            }
            count += 1;
            let field = format!("{own}.{kind}");
            if text(source, "name").is_empty() {
                causes.push(required(format!("{field}.name"), ""));
            }
            causes.extend(keys_to_paths(source, &field));
            for path in items(source, "items").iter().map(|item| text(item, "path")).filter(|path| !path.is_empty()) {
                conflict(path, text(source, "name"), &mut causes, &paths);
                paths.insert(path);
            }
        }
        if !at(source, "downwardAPI").is_null() {
            count += 1;
            for item in items(source, "downwardAPI.items") {
                causes.extend(downward_file(item, &format!("{own}.downwardAPI")));
                let path = text(item, "path");
                if !path.is_empty() {
                    conflict(path, path, &mut causes, &paths);
                    paths.insert(path);
                }
            }
        }
        if !at(source, "serviceAccountToken").is_null() {
            count += 1;
            causes.extend(token(at(source, "serviceAccountToken"), &format!("{own}.serviceAccountToken"), field));
        }
        if !at(source, "clusterTrustBundle").is_null() {
            count += 1;
            let bundle = at(source, "clusterTrustBundle");
            causes.extend(trust_bundle(bundle, &format!("{own}.clusterTrustBundle")));
            let path = text(bundle, "path");
            conflict(path, path, &mut causes, &paths);
            paths.insert(path);
        }
        if count > 1 {
            causes.push(forbidden(own, "may not specify more than 1 volume type per source"));
        }
    }
    causes
}

/// A token for the pod's ServiceAccount; what is wrong with its path is blamed on the volume.
fn token(token: &Value, field: &str, volume: &str) -> Vec<Cause> {
    const SECONDS_MIN: i64 = 600;
    const SECONDS_MAX: i64 = 1 << 32;
    let mut causes = Vec::new();
    let seconds = at(token, "expirationSeconds").as_i64().unwrap_or_default();
    let detail = match seconds {
        seconds if seconds < SECONDS_MIN => "may not specify a duration less than 10 minutes",
        seconds if seconds > SECONDS_MAX => "may not specify a duration larger than 2^32 seconds",
        _ => "",
    };
    if !detail.is_empty() {
        causes.push(invalid(format!("{field}.expirationSeconds"), seconds, detail));
    }
    match text(token, "path") {
        "" => causes.push(required(format!("{volume}.path"), "")),
        path => causes.extend(local_path(path, &format!("{volume}.path"))),
    }
    causes
}

fn trust_bundle(bundle: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    match (at(bundle, "name").as_str(), at(bundle, "signerName").as_str()) {
        (Some(_), Some(_)) => {
            causes.push(invalid(field, bundle.clone(), "only one of name and signerName may be used"));
        }
        (Some(name), None) => {
            if name.is_empty() {
                causes.push(required(format!("{field}.name"), "must be a valid object name"));
            }
            let selector = at(bundle, "labelSelector");
            if !selector.is_null() {
                let detail = "labelSelector must be unset if name is specified";
                causes.push(invalid(format!("{field}.labelSelector"), selector.clone(), detail));
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                causes.push(required(format!("{field}.signerName"), "must be a valid signer name"));
            }
            let selector = at(bundle, "labelSelector");
            causes.extend(names::label_selector(selector, &format!("{field}.labelSelector")));
        }
        (None, None) => causes.push(required(field, "either name or signerName must be specified")),
    }
    let path = text(bundle, "path");
    if path.is_empty() {
        causes.push(required(format!("{field}.path"), ""));
    }
    causes.extend(local_path(path, &format!("{field}.path")));
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(volumes: Value) -> Vec<String> {
        let spec = json!({ "volumes": volumes });
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        let mut causes = Vec::new();
        Volumes::judge(&spec, "spec", Owner { minor: 34, pod: Some(&pod) }, &mut causes);
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn volumes_are_judged_in_upstreams_words() {
        let cases = [
            (json!([{"name": "v", "emptyDir": {}}]), vec![]),
            (json!([{"name": "v"}]), vec!["spec.volumes[0]: Required value: must specify a volume type"]),
            (
                json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
                vec!["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
            ),
            (
                json!([{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]),
                vec![r#"spec.volumes[1].name: Duplicate value: "v""#],
            ),
            (
                json!([{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "../x", "mode": 512}]}}]),
                vec![
                    r#"spec.volumes[0].configMap.items[0].path: Invalid value: "../x": must not contain '..'"#,
                    "spec.volumes[0].configMap.items[0].mode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                ],
            ),
            (
                json!([{"name": "v", "projected": {"sources": [
                    {"secret": {"name": "a", "items": [{"key": "k", "path": "x"}]}},
                    {"configMap": {"name": "b", "items": [{"key": "k", "path": "x"}]}, "serviceAccountToken": {"path": "t", "expirationSeconds": 1}},
                ]}}]),
                vec![
                    r#"spec.volumes[0].projected: Invalid value: "b": conflicting duplicate paths"#,
                    "spec.volumes[0].projected.sources[1].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
                    "spec.volumes[0].projected.sources[1]: Forbidden: may not specify more than 1 volume type per source",
                ],
            ),
            (
                json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "x"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}},
                {"name": "w", "persistentVolumeClaim": {"claimName": "p-v"}}]),
                vec![
                    "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
                    r#"spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: "p-v": must not reference a PVC that gets created for an ephemeral volume"#,
                ],
            ),
            (
                json!([{"name": "v", "downwardAPI": {"items": [{"path": "p"}]}}]),
                vec!["spec.volumes[0].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required"],
            ),
        ];
        for (volumes, expected) in cases {
            assert_eq!(check(volumes.clone()), expected, "{volumes}");
        }
    }
}
