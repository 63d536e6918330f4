//! PodDisruptionBudget: how many pods of an application may be evicted at once.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{invalid, not_supported};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, int};
use crate::names::label_selector;
use crate::strategy::{drop_status, keep_apart};
use crate::workload::{int_or_percent, percent};
use crate::{Context, Kind, STATUS};

pub(crate) static KIND: Kind = Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    type_name: "io.k8s.api.policy.v1.PodDisruptionBudget",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("Min Available", "Pods that must stay.", |object, _| amount(at(object, "spec.minAvailable"))),
        Column::text("Max Unavailable", "Pods that may go.", |object, _| amount(at(object, "spec.maxUnavailable"))),
        Column::integer("Allowed Disruptions", "Pods that may be evicted now.", |object, _| {
            int(object, "status.disruptionsAllowed").into()
        }),
        AGE,
    ],
    has_generation: true,
    prepare_create: drop_status,
    prepare_update: keep_apart,
    validate,
    updates_name_version: true,
    ..Kind::BASE
};

fn amount(value: &Value) -> Value {
    match value {
        Value::Null => "N/A".into(),
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

fn validate(object: &Value, _: &Context<'_>) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    let (least, most) = (at(spec, "minAvailable"), at(spec, "maxUnavailable"));
    if !least.is_null() && !most.is_null() {
        causes.push(invalid("spec", spec.clone(), "minAvailable and maxUnavailable cannot be both set"));
    }
    for (key, value) in [("minAvailable", least), ("maxUnavailable", most)] {
        let field = format!("spec.{key}");
        causes.extend(int_or_percent(value, &field));
        if percent(value).is_some_and(|percent| percent > 100) {
            causes.push(invalid(field, value.clone(), "must not be greater than 100%"));
        }
    }
    causes.extend(label_selector(at(spec, "selector"), "spec.selector"));
    const POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];
    if let Some(policy) = at(spec, "unhealthyPodEvictionPolicy").as_str()
        && !POLICIES.contains(&policy)
    {
        causes.push(not_supported("spec.unhealthyPodEvictionPolicy", policy, &POLICIES));
    }
    causes
}
