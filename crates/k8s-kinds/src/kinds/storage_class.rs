//! StorageClass: how volumes are made.

use k8s_object::Cause;
use serde_json::Value;

use super::csi::{parameters, provisioner};
use crate::causes::{forbidden, immutable, not_supported};
use crate::columns::{AGE, Column, NAME, text_or};
use crate::fields::{at, default_to, flag, text};
use crate::{Context, Kind, Scope};

pub(crate) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    scope: Scope::Cluster,
    type_name: "io.k8s.api.storage.v1.StorageClass",
    columns: &[
        Column { cell: |object, _| name(object).into(), ..NAME },
        Column::text("Provisioner", "Who makes the volumes.", |object, _| text(object, "provisioner").into()),
        Column::text("ReclaimPolicy", "What becomes of a volume that is given back.", |object, _| {
            text_or(object, "reclaimPolicy", "Delete")
        }),
        Column::text("VolumeBindingMode", "When a volume is made.", |object, _| {
            text_or(object, "volumeBindingMode", "<unset>")
        }),
        Column::text("AllowVolumeExpansion", "Whether volumes can grow.", |object, _| {
            flag(object, "allowVolumeExpansion").into()
        }),
        AGE,
    ],
    default: |object, _| {
        default_to(object, "reclaimPolicy", "Delete");
        default_to(object, "volumeBindingMode", "Immediate");
    },
    validate,
    ..Kind::BASE
};

fn name(object: &Value) -> String {
    let name = text(object, "metadata.name");
    let annotations = at(object, "metadata.annotations");
    let is_default =
        annotations.get("storageclass.kubernetes.io/is-default-class").is_some_and(|value| value == "true");
    if is_default { format!("{name} (default)") } else { name.to_owned() }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    causes.extend(provisioner(text(object, "provisioner"), "provisioner"));
    causes.extend(parameters(object, true));
    for (key, allowed) in
        [("reclaimPolicy", ["Delete", "Retain"]), ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"])]
    {
        let value = text(object, key);
        if !value.is_empty() && !allowed.contains(&value) {
            causes.push(not_supported(key, value, &allowed));
        }
    }
    if let Some(old) = context.old {
        for key in ["parameters", "provisioner", "reclaimPolicy"] {
            if at(old, key) != at(object, key) {
                let detail = format!("updates to {key} are forbidden.");
                causes.push(forbidden(key, &detail));
            }
        }
        if at(old, "volumeBindingMode") != at(object, "volumeBindingMode") {
            causes.push(immutable("volumeBindingMode", at(object, "volumeBindingMode")));
        }
    }
    causes
}
