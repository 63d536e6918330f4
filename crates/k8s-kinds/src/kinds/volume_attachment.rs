//! VolumeAttachment: a volume that is to be attached to a node.

use k8s_object::Cause;
use serde_json::{Value, json};

use super::csi::{COUNTS_ANEW_SINCE, driver_name};
use crate::causes::{forbidden, immutable, invalid, required, too_long};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, default_to, entries, flag, is_empty, text};
use crate::names::subdomain;
use crate::strategy::{drop_status, keep_apart_and_metadata};
use crate::{Context, Kind, STATUS, Scope};

/// Bytes of what the driver says of the attachment, and of an error.
const METADATA_LIMIT: usize = 256 << 10;
const ERROR_LIMIT: usize = 1024;

pub(crate) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttachment",
    plural: "volumeattachments",
    singular: "volumeattachment",
    scope: Scope::Cluster,
    type_name: "io.k8s.api.storage.v1.VolumeAttachment",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column {
            format: "name",
            ..Column::text("Attacher", "The driver that attaches it.", |object, _| text(object, "spec.attacher").into())
        },
        Column::text("PV", "The PersistentVolume.", |object, _| {
            text(object, "spec.source.persistentVolumeName").into()
        }),
        Column::text("Node", "The node to which it is attached.", |object, _| text(object, "spec.nodeName").into()),
        Column::boolean("Attached", "Whether it is attached.", |object, _| flag(object, "status.attached").into()),
        AGE,
    ],
    updates_name_version: true,
    prepare_create: |object, context| {
        drop_status(object, context);
        default_to(object, "status", json!({"attached": false}));
    },
    prepare_update,
    validate,
    returns_deleted: true,
    ..Kind::BASE
};

fn prepare_update(object: &mut Value, context: &Context<'_>) {
    keep_apart_and_metadata(object, context);
    if context.subresource != "status" || context.minor >= COUNTS_ANEW_SINCE {
        return;
    }
    // Codes of errors are of a later minor, unless one is there already.
    for key in ["attachError", "detachError"] {
        let before = context.old.map(|old| &old["status"][key]["errorCode"]);
        if before.is_none_or(Value::is_null)
            && let Some(error) = object.get_mut("status").and_then(|status| status.get_mut(key))
            && let Some(error) = error.as_object_mut()
        {
            error.remove("errorCode");
        }
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let spec = &object["spec"];
    let attacher = text(spec, "attacher");
    let mut causes = Vec::new();
    if attacher.is_empty() {
        causes.push(required("spec.attacher", ""));
    }
    causes.extend(validate_source(at(spec, "source")));
    let node = text(spec, "nodeName");
    causes.extend(subdomain(node, false).iter().map(|problem| invalid("spec.nodeName", node, problem)));
    causes.extend(validate_status(&object["status"]));
    match context.old {
        None => {
            causes.extend(driver_name(attacher, "spec.attacher"));
            if let Some(name) = at(spec, "source.persistentVolumeName").as_str() {
                let problems = subdomain(name, false);
                let field = "spec.source.persistentVolumeName";
                causes.extend(problems.iter().map(|problem| invalid(field, name, problem)));
            }
        }
        Some(old) if &old["spec"] != spec => causes.push(immutable("spec", spec)),
        Some(_) => {}
    }
    causes
}

fn validate_source(source: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.source";
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let (inline, name) = (at(source, "inlineVolumeSpec"), at(source, "persistentVolumeName").as_str());
    match (inline.is_null(), name) {
        (true, None) => vec![required(FIELD, ONE)],
        (false, Some(_)) => vec![forbidden(FIELD, ONE)],
        (true, Some("")) => {
            let field = format!("{FIELD}.persistentVolumeName");
            vec![required(field, "must specify non empty persistentVolumeName")]
        }
        (true, Some(_)) => Vec::new(),
        (false, None) => validate_inline(inline, &format!("{FIELD}.inlineVolumeSpec")),
    }
}

/// What a volume may not have that is described in place.
fn validate_inline(volume: &Value, field: &str) -> Vec<Cause> {
    const NOT_INLINE: &str = "may not be specified in the context of inline volumes";
    let mut causes = Vec::new();
    if !at(volume, "claimRef").is_null() {
        causes.push(forbidden(format!("{field}.claimRef"), NOT_INLINE));
    }
    if !is_empty(at(volume, "capacity")) {
        causes.push(forbidden(format!("{field}.capacity"), NOT_INLINE));
    }
    if at(volume, "csi").is_null() {
        causes.push(required(format!("{field}.csi"), "has to be specified in the context of inline volumes"));
    }
    if is_empty(at(volume, "accessModes")) {
        causes.push(required(format!("{field}.accessModes"), ""));
    }
    if !matches!(text(volume, "persistentVolumeReclaimPolicy"), "" | "Retain") {
        let problem = "may only be Retain in the context of inline volumes";
        causes.push(forbidden(format!("{field}.persistentVolumeReclaimPolicy"), problem));
    }
    causes
}

fn validate_status(status: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let bytes: usize =
        entries(status, "attachmentMetadata").map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > METADATA_LIMIT {
        causes.push(too_long("status.attachmentMetadata", METADATA_LIMIT));
    }
    for key in ["attachError", "detachError"] {
        let error = at(status, key);
        if text(error, "message").len() > ERROR_LIMIT {
            // Upstream tells the limit of the metadata.
            causes.push(too_long(format!("status.{key}.message"), METADATA_LIMIT));
        }
        if let Some(code) = at(error, "errorCode").as_i64().filter(|code| *code < 0) {
            let problem = "must be between 0 and 2147483647, inclusive";
            causes.push(invalid(format!("status.{key}.errorCode"), code, problem));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{created, told, told_of_update};

    fn attachment(source: Value) -> Value {
        json!({"spec": {"attacher": "a.example", "nodeName": "n", "source": source}})
    }

    #[test]
    fn one_source_is_named_and_stays() {
        let cases = [
            (attachment(json!({"persistentVolumeName": "v"})), vec![]),
            (
                attachment(json!({})),
                vec![
                    "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
                ],
            ),
            (
                attachment(json!({"persistentVolumeName": "v", "inlineVolumeSpec": {}})),
                vec!["spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
            ),
            (
                attachment(json!({"inlineVolumeSpec": {"claimRef": {}, "accessModes": ["ReadWriteOnce"]}})),
                vec![
                    "spec.source.inlineVolumeSpec.claimRef: Forbidden: may not be specified in the context of inline volumes",
                    "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
        let old = attachment(json!({"persistentVolumeName": "v"}));
        let new = attachment(json!({"persistentVolumeName": "w"}));
        assert_eq!(told_of_update(&KIND, &old, &new, "").len(), 1);
        assert!(told_of_update(&KIND, &old, &new, "status").is_empty(), "a write of status leaves the spec");
        assert_eq!(created(&KIND, &json!({"status": {"attached": true}}))["status"], json!({"attached": false}));
    }
}
