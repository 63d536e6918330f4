//! CSIDriver: what a driver of volumes can do.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::{Value, json};

use super::csi::COUNTS_ANEW_SINCE;
use crate::causes::{duplicate, immutable, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME, or_none};
use crate::fields::{at, child, default_to, flag, int, is_empty, items, text};
use crate::strategy::changes_beyond_status;
use crate::{Context, Kind, Scope};

pub(crate) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIDriver",
    plural: "csidrivers",
    singular: "csidriver",
    scope: Scope::Cluster,
    type_name: "io.k8s.api.storage.v1.CSIDriver",
    columns: &[
        NAME,
        Column::boolean("AttachRequired", "Whether volumes are attached to nodes.", |object, _| {
            at(object, "spec.attachRequired").as_bool().unwrap_or(true).into()
        }),
        Column::boolean("PodInfoOnMount", "Whether the driver is told about the pod.", |object, _| {
            flag(object, "spec.podInfoOnMount").into()
        }),
        Column::boolean("StorageCapacity", "Whether scheduling looks at what is free.", |object, _| {
            flag(object, "spec.storageCapacity").into()
        }),
        Column::text("TokenRequests", "Audiences of the tokens that the driver gets.", |object, _| {
            match at(object, "spec.tokenRequests") {
                Value::Null => "<unset>".into(),
                _ => joined(items(object, "spec.tokenRequests").iter().map(|request| text(request, "audience"))).into(),
            }
        }),
        Column::boolean("RequiresRepublish", "Whether mounts are refreshed.", |object, _| {
            flag(object, "spec.requiresRepublish").into()
        }),
        Column::text("Modes", "Life cycles of volumes that the driver knows.", |object, _| {
            or_none(joined(items(object, "spec.volumeLifecycleModes").iter().filter_map(Value::as_str))).into()
        }),
        AGE,
    ],
    updates_name_version: true,
    default,
    prepare_create,
    prepare_update,
    validate,
    returns_deleted: true,
    ..Kind::BASE
};

fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

fn default(object: &mut Value, _: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    default_to(spec, "attachRequired", true);
    default_to(spec, "podInfoOnMount", false);
    default_to(spec, "storageCapacity", false);
    default_to(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if is_empty(at(spec, "volumeLifecycleModes"))
        && let Some(spec) = spec.as_object_mut()
    {
        spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
    }
    default_to(spec, "requiresRepublish", false);
    default_to(spec, "seLinuxMount", false);
}

/// What the minor does not know yet goes, unless it was there before.
fn drop_unknown(object: &mut Value, context: &Context<'_>) {
    const PERIOD: &str = "nodeAllocatableUpdatePeriodSeconds";
    let known = context.minor >= COUNTS_ANEW_SINCE
        || context.old.is_some_and(|old| !at(old, "spec.nodeAllocatableUpdatePeriodSeconds").is_null());
    if !known && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove(PERIOD);
    }
}

fn prepare_create(object: &mut Value, context: &Context<'_>) {
    drop_unknown(object, context);
}

/// Upstream counts changes, but from nothing: a driver that never changed has no generation.
fn prepare_update(object: &mut Value, context: &Context<'_>) {
    drop_unknown(object, context);
    if let Some(old) = context.old
        && changes_beyond_status(old, object)
        && let Some(metadata) = child(object, "metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("generation".to_owned(), json!(int(old, "metadata.generation") + 1));
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    const POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
    const MODES: [&str; 2] = ["Persistent", "Ephemeral"];
    let spec = &object["spec"];
    let mut causes = Vec::new();
    // Upstream's paths say `attachedRequired`.
    for (key, told) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if at(spec, key).is_null() {
            causes.push(required(format!("spec.{told}"), ""));
        }
    }
    if let Some(policy) = at(spec, "fsGroupPolicy").as_str()
        && !POLICIES.contains(&policy)
    {
        causes.push(not_supported("spec.fsGroupPolicy", policy, &POLICIES));
    }
    causes.extend(token_requests(items(spec, "tokenRequests")));
    for mode in items(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str) {
        if !MODES.contains(&mode) {
            causes.push(not_supported("spec.volumeLifecycleModes", mode, &MODES));
        }
    }
    if at(spec, "seLinuxMount").is_null() {
        causes.push(required("spec.seLinuxMount", ""));
    }
    if let Some(period) = at(spec, "nodeAllocatableUpdatePeriodSeconds").as_i64().filter(|period| *period < 10) {
        let problem = "must be greater than or equal to 10 seconds";
        causes.push(invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, problem));
    }
    if let Some(old) = context.old {
        for (key, told) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")] {
            if at(&old["spec"], key) != at(spec, key) {
                causes.push(immutable(format!("spec.{told}"), at(spec, key)));
            }
        }
    }
    causes
}

fn token_requests(requests: &[Value]) -> Vec<Cause> {
    /// Seconds for which a token lives at least and at most.
    const LEAST: i64 = 600;
    const MOST: i64 = 1 << 32;
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, request) in requests.iter().enumerate() {
        let field = format!("spec.tokenRequests[{index}]");
        let audience = text(request, "audience");
        if !seen.insert(audience) {
            causes.push(duplicate(format!("{field}.audience"), audience));
            continue;
        }
        let Some(seconds) = at(request, "expirationSeconds").as_i64() else { continue };
        let field = format!("{field}.expirationSeconds");
        if seconds < LEAST {
            causes.push(invalid(field, seconds, "may not specify a duration less than 10 minutes"));
        } else if seconds > MOST {
            causes.push(invalid(field, seconds, "may not specify a duration larger than 2^32 seconds"));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{created, told, told_of_update};

    #[test]
    fn what_a_driver_can_do_is_judged_and_mostly_stays() {
        let cases = [
            (json!({"spec": {}}), vec![]),
            (
                json!({"spec": {"fsGroupPolicy": "x", "volumeLifecycleModes": ["y"], "nodeAllocatableUpdatePeriodSeconds": 9}}),
                vec![
                    r#"spec.fsGroupPolicy: Unsupported value: "x": supported values: "File", "None", "ReadWriteOnceWithFSType""#,
                    r#"spec.volumeLifecycleModes: Unsupported value: "y": supported values: "Persistent", "Ephemeral""#,
                    "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
                ],
            ),
            (
                json!({"spec": {"tokenRequests": [{"audience": "a", "expirationSeconds": 599}, {"audience": "a"}]}}),
                vec![
                    "spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
                    r#"spec.tokenRequests[1].audience: Duplicate value: "a""#,
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
        let changed = json!({"spec": {"attachRequired": false, "podInfoOnMount": true}});
        assert_eq!(
            told_of_update(&KIND, &json!({"spec": {}}), &changed, ""),
            ["spec.attachedRequired: Invalid value: false: field is immutable"]
        );
    }

    #[test]
    fn generations_begin_with_the_first_change() {
        let old = created(&KIND, &json!({"metadata": {}, "spec": {}}));
        let update = |mut new: Value| {
            let now = world::Timestamp::from_seconds(0);
            prepare_update(&mut new, &Context { minor: 34, now, old: Some(&old), subresource: "" });
            new
        };
        assert_eq!(update(old.clone()), old);
        let mut changed = old.clone();
        changed["spec"]["requiresRepublish"] = json!(true);
        changed["spec"]["nodeAllocatableUpdatePeriodSeconds"] = json!(10);
        let updated = update(changed);
        assert_eq!(updated["metadata"]["generation"], 1);
        assert!(updated["spec"]["nodeAllocatableUpdatePeriodSeconds"].is_null(), "1.34 does not know it");
    }
}
