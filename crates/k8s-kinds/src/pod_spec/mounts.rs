//! Rules for where a container mounts its pod's volumes, as file systems and as devices.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use super::security::descending;
use super::volumes::Volumes;
use crate::causes::{forbidden, invalid, not_found, not_supported, required};
use crate::fields::{at, flag, items, text};
use crate::volume_sources::no_backsteps;

pub(super) fn validate(container: &Value, volumes: &Volumes<'_>, field: &str) -> Vec<Cause> {
    let mut causes = mounts(container, volumes, &format!("{field}.volumeMounts"));
    causes.extend(devices(container, volumes, &format!("{field}.volumeDevices")));
    causes
}

fn mounts(container: &Value, volumes: &Volumes<'_>, list: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut paths = BTreeSet::new();
    let devices = items(container, "volumeDevices");
    for (index, mount) in items(container, "volumeMounts").iter().enumerate() {
        let field = format!("{list}[{index}]");
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            causes.push(required(format!("{field}.name"), ""));
        }
        if !volumes.has(name) {
            causes.push(not_found(format!("{field}.name"), name));
        }
        if path.is_empty() {
            causes.push(required(format!("{field}.mountPath"), ""));
        }
        if !paths.insert(path) {
            causes.push(invalid(format!("{field}.mountPath"), path, "must be unique"));
        }
        if devices.iter().any(|device| text(device, "name") == name) {
            causes.push(invalid(format!("{field}.name"), name, "must not already exist in volumeDevices"));
        }
        if devices.iter().any(|device| text(device, "devicePath") == path) {
            let detail = "must not already exist as a path in volumeDevices";
            causes.push(invalid(format!("{field}.mountPath"), path, detail));
        }
        let (below, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        // Upstream blames the list for what is wrong with paths and propagation.
        causes.extend(descending(below, &format!("{list}.subPath")));
        if !expression.is_empty() {
            if !below.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                causes.push(invalid(format!("{field}.subPathExpr"), expression, detail));
            }
            causes.extend(descending(expression, &format!("{list}.subPathExpr")));
        }
        causes.extend(propagation(mount, container, &format!("{list}.mountPropagation")));
        causes.extend(recursive_read_only(mount, &format!("{list}.recursiveReadOnly")));
    }
    causes
}

fn propagation(mount: &Value, container: &Value, field: &str) -> Vec<Cause> {
    const KINDS: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
    let mut causes = Vec::new();
    let Some(kind) = at(mount, "mountPropagation").as_str() else { return causes };
    if !KINDS.contains(&kind) {
        causes.push(not_supported(field, kind, &KINDS));
    }
    if kind == "Bidirectional" && !flag(container, "securityContext.privileged") {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        causes.push(forbidden(field, detail));
    }
    causes
}

fn recursive_read_only(mount: &Value, field: &str) -> Vec<Cause> {
    const KINDS: [&str; 3] = ["Disabled", "Enabled", "IfPossible"];
    let mut causes = Vec::new();
    match at(mount, "recursiveReadOnly").as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !flag(mount, "readOnly") {
                causes.push(forbidden(field, "may only be specified when readOnly is true"));
            }
            if !matches!(at(mount, "mountPropagation").as_str(), None | Some("None")) {
                let detail = "may only be specified when mountPropagation is None or not specified";
                causes.push(forbidden(field, detail));
            }
        }
        Some(other) => causes.push(not_supported(field, other, &KINDS)),
    }
    causes
}

fn devices(container: &Value, volumes: &Volumes<'_>, list: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    let mounts = items(container, "volumeMounts");
    for (index, device) in items(container, "volumeDevices").iter().enumerate() {
        let (name, path) = (text(device, "name"), text(device, "devicePath"));
        let (name_field, path_field) = (format!("{list}[{index}].name"), format!("{list}[{index}].devicePath"));
        if name.is_empty() {
            causes.push(required(&name_field, ""));
        }
        if names.contains(name) {
            causes.push(invalid(&name_field, name, "must be unique"));
        }
        match volumes.get(name) {
            None => causes.push(not_found(&name_field, name)),
            Some(volume) if at(volume, "persistentVolumeClaim").is_null() && at(volume, "ephemeral").is_null() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                causes.push(invalid(&name_field, name, detail));
            }
            Some(_) => {}
        }
        if path.is_empty() {
            causes.push(required(&path_field, ""));
        }
        if paths.contains(path) {
            causes.push(invalid(&path_field, path, "must be unique"));
        }
        if no_backsteps(path, &path_field).is_some() {
            causes.push(invalid(&path_field, path, "can not contain backsteps ('..')"));
        } else {
            paths.insert(path);
        }
        if mounts.iter().any(|mount| text(mount, "name") == name) {
            causes.push(invalid(&name_field, name, "must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|mount| text(mount, "mountPath") == path) {
            causes.push(invalid(&path_field, path, "must not already exist as a path in volumeMounts"));
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
    causes
}
