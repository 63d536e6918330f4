//! PriorityClass: a name for a pod's priority.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{forbidden, not_supported};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, default_to, flag, int, text};
use crate::{Context, Kind, Scope};

/// Above this, priorities are Kubernetes' own.
const USER_LIMIT: i64 = 1_000_000_000;

/// Kubernetes' own classes.
const SYSTEM: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub(crate) static KIND: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    scope: Scope::Cluster,
    type_name: "io.k8s.api.scheduling.v1.PriorityClass",
    columns: &[
        NAME,
        Column::integer("Value", "The priority.", |object, _| int(object, "value").into()),
        Column {
            kind: "boolean",
            ..Column::text("Global-Default", "Whether pods without a class have it.", |object, _| {
                flag(object, "globalDefault").into()
            })
        },
        AGE,
        Column::text("PreemptionPolicy", "Whether its pods make room for themselves.", |object, _| {
            text(object, "preemptionPolicy").into()
        }),
    ],
    has_generation: true,
    default: |object, _| default_to(object, "preemptionPolicy", "PreemptLowerPriority"),
    validate,
    ..Kind::BASE
};

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    const POLICIES: [&str; 2] = ["Never", "PreemptLowerPriority"];
    let mut causes = Vec::new();
    let (name, value) = (text(object, "metadata.name"), int(object, "value"));
    if name.starts_with("system-") {
        if !SYSTEM.contains(&(name, value)) {
            let detail = "priority class names with 'system-' prefix are reserved for system use only. error: unknown system priority class";
            let detail = match SYSTEM.iter().find(|(known, _)| *known == name) {
                Some((_, known)) => format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: value of {name} PriorityClass must be {known}"
                ),
                None => format!("{detail} {name:?}"),
            };
            causes.push(forbidden("metadata.name", &detail));
        }
    } else if value > USER_LIMIT {
        causes.push(forbidden("value", &format!("maximum allowed value of a user defined priority is {USER_LIMIT}")));
    }
    let policy = text(object, "preemptionPolicy");
    if !policy.is_empty() && !POLICIES.contains(&policy) {
        causes.push(not_supported("preemptionPolicy", policy, &["PreemptLowerPriority", "Never"]));
    }
    if let Some(old) = context.old {
        if int(old, "value") != value {
            causes.push(forbidden("value", "may not be changed in an update."));
        }
        if at(old, "preemptionPolicy") != at(object, "preemptionPolicy") {
            causes.push(crate::causes::immutable("preemptionPolicy", at(object, "preemptionPolicy")));
        }
    }
    causes
}
