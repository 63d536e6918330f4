//! Deployment.

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::causes::{forbidden, invalid, non_negative, not_supported, required};
use crate::columns::{AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR};
use crate::fields::{at, child, default_to, default_zero_to, int, text};
use crate::strategy::{changes_beyond_status, keep_apart_and_labels};
use crate::workload::{self, int_or_percent, percent};
use crate::{Context, Kind, SCALE, STATUS};

pub(crate) static KIND: Kind = Kind {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    type_name: "io.k8s.api.apps.v1.Deployment",
    subresources: &[SCALE, STATUS],
    columns: &[
        NAME,
        Column::text("Ready", "Ready pods, of all that are wanted.", |object, _| {
            format!("{}/{}", int(object, "status.readyReplicas"), int(object, "spec.replicas")).into()
        }),
        Column::count("Up-to-date", "Pods of the current template.", |object, _| {
            int(object, "status.updatedReplicas").into()
        }),
        Column::count("Available", "Pods ready for at least minReadySeconds.", |object, _| {
            int(object, "status.availableReplicas").into()
        }),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    has_generation: true,
    // The controller writes the rollout's revision into annotations; upstream counts those too.
    counts_as_change: |old, new| {
        changes_beyond_status(old, new) || at(old, "metadata.annotations") != at(new, "metadata.annotations")
    },
    default,
    prepare_create: workload::prepare_create,
    prepare_update: |object, context| {
        keep_apart_and_labels(object, context);
        workload::prepare_update(object, context);
    },
    validate,
    warnings: workload::warnings,
    ..Kind::BASE
};

fn default(object: &mut Value, _: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    default_to(spec, "replicas", 1);
    default_to(spec, "revisionHistoryLimit", 10);
    default_to(spec, "progressDeadlineSeconds", 600);
    if let Some(strategy) = child(spec, "strategy") {
        default_zero_to(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = child(strategy, "rollingUpdate")
        {
            default_to(rolling, "maxUnavailable", "25%");
            default_to(rolling, "maxSurge", "25%");
        }
    }
    workload::default_template(spec);
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        let counts = [
            "availableReplicas",
            "collisionCount",
            "observedGeneration",
            "readyReplicas",
            "replicas",
            "unavailableReplicas",
            "updatedReplicas",
        ];
        return workload::validate_status(object, &counts);
    }
    let mut causes = workload::validate(object, "deployment", context);
    let spec = &object["spec"];
    causes.extend(strategy(at(spec, "strategy")));
    causes.extend(non_negative("spec.revisionHistoryLimit", at(spec, "revisionHistoryLimit")));
    if let Some(deadline) = at(spec, "progressDeadlineSeconds").as_i64() {
        causes.extend(non_negative("spec.progressDeadlineSeconds", &json!(deadline)));
        if deadline <= int(spec, "minReadySeconds") {
            causes.push(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"));
        }
    }
    causes
}

fn strategy(strategy: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.strategy.rollingUpdate";
    let rolling = at(strategy, "rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if rolling.is_null() => Vec::new(),
        "Recreate" => vec![forbidden(FIELD, "may not be specified when strategy `type` is 'Recreate'")],
        "RollingUpdate" if rolling.is_null() => vec![required(FIELD, "this should be defaulted and never be nil")],
        "RollingUpdate" => {
            let (unavailable, surge) = (at(rolling, "maxUnavailable"), at(rolling, "maxSurge"));
            let mut causes = int_or_percent(unavailable, &format!("{FIELD}.maxUnavailable"));
            causes.extend(int_or_percent(surge, &format!("{FIELD}.maxSurge")));
            let is_zero = |value: &Value| percent(value).or(value.as_i64()).unwrap_or_default() == 0;
            if is_zero(unavailable) && is_zero(surge) {
                let detail = "may not be 0 when `maxSurge` is 0";
                causes.push(invalid(format!("{FIELD}.maxUnavailable"), unavailable.clone(), detail));
            }
            if percent(unavailable).is_some_and(|percent| percent > 100) {
                causes.push(invalid(
                    format!("{FIELD}.maxUnavailable"),
                    unavailable.clone(),
                    "must not be greater than 100%",
                ));
            }
            causes
        }
        other => vec![not_supported("spec.strategy.type", other, &["Recreate", "RollingUpdate"])],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use world::Timestamp;

    fn deployment(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
        }});
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        object
    }

    fn check(mut object: Value, old: Option<Value>) -> Vec<String> {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: old.as_ref(), subresource: "" };
        default(&mut object, &context);
        validate(&object, &context).into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn a_deployment_gets_upstreams_defaults() {
        let mut object = deployment(json!({}));
        default(&mut object, &Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" });
        let spec = &object["spec"];
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        assert_eq!(
            (&spec["replicas"], &spec["revisionHistoryLimit"], &spec["progressDeadlineSeconds"]),
            (&json!(1), &json!(10), &json!(600))
        );
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
        assert!(spec["template"]["spec"].get("enableServiceLinks").is_none());
    }

    #[test]
    fn broken_deployments_are_refused() {
        let cases = [
            (json!({}), vec![]),
            (json!({"replicas": -1}), vec!["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
            (
                json!({"selector": null}),
                vec![
                    "spec.selector: Required value",
                    r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#,
                ],
            ),
            (
                json!({"selector": {"matchLabels": {"app": "db"}}}),
                vec![
                    r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#,
                ],
            ),
            (
                json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}}),
                vec!["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
            ),
            (
                json!({"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}}),
                vec!["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
            ),
            (
                json!({"progressDeadlineSeconds": 5, "minReadySeconds": 5}),
                vec!["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(check(deployment(spec.clone()), None), expected, "{spec}");
        }
    }

    #[test]
    fn the_selector_never_changes() {
        let new = deployment(json!({"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}));
        assert_eq!(
            check(new, Some(deployment(json!({})))),
            [
                r#"spec.selector: Invalid value: {"matchExpressions":[{"key":"app","operator":"Exists"}]}: field is immutable"#
            ]
        );
    }
}
