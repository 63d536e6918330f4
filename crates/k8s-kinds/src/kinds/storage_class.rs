//! StorageClass: how volumes are made.

use std::collections::{BTreeMap, BTreeSet};

use k8s_object::Cause;
use serde_json::Value;

use super::csi::{parameters, provisioner};
use crate::causes::{duplicate, forbidden, immutable, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME, text_or};
use crate::fields::{at, default_to, flag, items, text};
use crate::names::qualified;
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
    returns_deleted: true,
    ..Kind::BASE
};

fn name(object: &Value) -> String {
    let name = text(object, "metadata.name");
    let annotations = at(object, "metadata.annotations");
    let is_default =
        annotations.get("storageclass.kubernetes.io/is-default-class").is_some_and(|value| value == "true");
    if is_default { format!("{name} (default)") } else { name.to_owned() }
}

/// Where volumes may be made (storage `validateAllowedTopologies`).
fn topologies(terms: &[Value]) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let list = format!("allowedTopologies[{index}].matchLabelExpressions");
        let mut expressions = BTreeMap::new();
        for (at, expression) in items(term, "matchLabelExpressions").iter().enumerate() {
            let field = format!("{list}[{at}]");
            let mut values = BTreeSet::new();
            if items(expression, "values").is_empty() {
                causes.push(required(format!("{field}.values"), ""));
            }
            for (at, value) in items(expression, "values").iter().filter_map(Value::as_str).enumerate() {
                if !values.insert(value) {
                    causes.push(duplicate(format!("{field}.values[{at}]"), value));
                }
            }
            let key = text(expression, "key");
            causes.extend(qualified(key).iter().map(|problem| invalid(format!("{field}.key"), key, problem)));
            if expressions.insert(key, values).is_some() {
                causes.push(duplicate(format!("{field}.key"), key));
            }
        }
        if seen.contains(&expressions) {
            causes.push(duplicate(list, ""));
        }
        seen.push(expressions);
    }
    causes
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
    causes.extend(topologies(items(object, "allowedTopologies")));
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
