//! DaemonSet: a pod on every node that it selects.

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::causes::{immutable, invalid, non_negative, not_supported, required};
use crate::columns::{AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR, labels};
use crate::fields::{at, child, default_to, default_zero_to, int, is_empty, text};
use crate::workload::{self, int_or_percent, percent};
use crate::{Context, Kind, STATUS, names};

pub(crate) static KIND: Kind = Kind {
    group: "apps",
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    type_name: "io.k8s.api.apps.v1.DaemonSet",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::integer("Desired", "Nodes that should run its pod.", |object, _| {
            int(object, "status.desiredNumberScheduled").into()
        }),
        Column::integer("Current", "Nodes that run it.", |object, _| {
            int(object, "status.currentNumberScheduled").into()
        }),
        Column::integer("Ready", "Nodes where it is ready.", |object, _| int(object, "status.numberReady").into()),
        Column::integer("Up-to-date", "Nodes with the current template.", |object, _| {
            int(object, "status.updatedNumberScheduled").into()
        }),
        Column::integer("Available", "Nodes where it is ready for at least minReadySeconds.", |object, _| {
            int(object, "status.numberAvailable").into()
        }),
        Column::text("Node Selector", "Selects the nodes.", |object, _| {
            labels(at(object, "spec.template.spec.nodeSelector")).into()
        }),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    has_generation: true,
    default,
    prepare_create: |object, context| {
        workload::prepare_create(object, context);
        set_generation(object, GENERATION_OF_NEW);
    },
    prepare_update,
    validate,
    warnings: workload::warnings,
    ..Kind::BASE
};

/// Where the count of template changes stands, which the type has no field for any more.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const GENERATION_OF_NEW: i64 = 1;

fn default(object: &mut Value, _: &Context<'_>) {
    // Upstream's types have the count always, so whoever leaves it out says zero, and owns it.
    if let Some(annotations) = child(object, "metadata").and_then(|metadata| child(metadata, "annotations")) {
        default_to(annotations, TEMPLATE_GENERATION, "0");
    }
    let Some(spec) = child(object, "spec") else { return };
    if let Some(strategy) = child(spec, "updateStrategy") {
        default_zero_to(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = child(strategy, "rollingUpdate")
        {
            default_to(rolling, "maxUnavailable", 1);
            default_to(rolling, "maxSurge", 0);
        }
    }
    default_to(spec, "revisionHistoryLimit", 10);
    workload::default_template(spec);
}

fn generation(object: &Value) -> Option<i64> {
    at(object, "metadata.annotations").get(TEMPLATE_GENERATION)?.as_str()?.parse().ok()
}

fn set_generation(object: &mut Value, least: i64) {
    let generation = generation(object).unwrap_or(0).max(least);
    let annotations = child(object, "metadata").and_then(|metadata| child(metadata, "annotations"));
    if let Some(annotations) = annotations {
        annotations[TEMPLATE_GENERATION] = json!(generation.to_string());
    }
}

fn prepare_update(object: &mut Value, context: &Context<'_>) {
    workload::prepare_update(object, context);
    let Some(old) = context.old else { return };
    // The count is the server's: clients neither set it nor lose it.
    let changed = at(old, "spec.template") != at(object, "spec.template");
    let count = generation(old).unwrap_or(0) + i64::from(changed);
    let annotations = child(object, "metadata").and_then(|metadata| child(metadata, "annotations"));
    if let Some(annotations) = annotations {
        annotations[TEMPLATE_GENERATION] = json!(count.to_string());
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        let counts = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        let status = at(object, "status");
        let causes = counts.iter().filter_map(|key| non_negative(format!("status.{key}"), at(status, key)));
        let mut causes: Vec<Cause> = causes.collect();
        causes.extend(workload::collisions(object, context));
        return causes;
    }
    let spec = at(object, "spec");
    let mut causes = Vec::new();
    let selector = at(spec, "selector");
    if let Some(old) = context.old
        && at(old, "spec.selector") != selector
    {
        causes.push(immutable("spec.selector", selector));
    }
    causes.extend(names::label_selector(selector, "spec.selector"));
    if !selector.is_null() && is_empty(at(selector, "matchLabels")) && is_empty(at(selector, "matchExpressions")) {
        causes.push(invalid("spec.selector", selector.clone(), "empty selector is invalid for daemonset"));
    }
    let template = at(spec, "template");
    let matches = workload::selects(selector, at(template, "metadata.labels")) != Some(false);
    causes.extend(workload::judge_template(template, matches, "DaemonSet", context.minor));
    causes.extend(non_negative("spec.minReadySeconds", at(spec, "minReadySeconds")));
    causes.extend(strategy(at(spec, "updateStrategy")));
    causes.extend(non_negative("spec.revisionHistoryLimit", at(spec, "revisionHistoryLimit")));
    causes
}

fn strategy(strategy: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.updateStrategy.rollingUpdate";
    match text(strategy, "type") {
        "OnDelete" => return Vec::new(),
        "RollingUpdate" => {}
        _ => return vec![not_supported("spec.updateStrategy", strategy.clone(), &["RollingUpdate", "OnDelete"])],
    }
    let rolling = at(strategy, "rollingUpdate");
    if rolling.is_null() {
        return vec![required(FIELD, "")];
    }
    let amounts = [("maxUnavailable", at(rolling, "maxUnavailable")), ("maxSurge", at(rolling, "maxSurge"))];
    let mut causes = Vec::new();
    for (key, amount) in amounts {
        causes.extend(int_or_percent(amount, &format!("{FIELD}.{key}")));
    }
    for (key, amount) in amounts {
        if percent(amount).is_some_and(|percent| percent > 100) {
            causes.push(invalid(format!("{FIELD}.{key}"), amount.clone(), "must not be greater than 100%"));
        }
    }
    let is_some = |amount: &Value| percent(amount).or(amount.as_i64()).unwrap_or_default() != 0;
    match (is_some(amounts[0].1), is_some(amounts[1].1)) {
        (true, true) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            causes.push(invalid(format!("{FIELD}.maxSurge"), amounts[1].1.clone(), detail));
        }
        (false, false) => {
            causes.push(required(format!("{FIELD}.maxUnavailable"), "cannot be 0 when maxSurge is 0"));
        }
        _ => {}
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use world::Timestamp;

    fn set(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
        }});
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object
    }

    fn context(old: Option<&Value>) -> Context<'_> {
        Context { minor: 34, now: Timestamp::from_seconds(0), old, subresource: "" }
    }

    #[test]
    fn broken_sets_are_refused() {
        let cases = [
            (json!({}), vec![]),
            (
                json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}),
                vec![
                    "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
                ],
            ),
            (
                json!({"updateStrategy": {"rollingUpdate": {"maxSurge": "101%"}}}),
                vec![
                    r#"spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "101%": must not be greater than 100%"#,
                    r#"spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "101%": may not be set when maxUnavailable is non-zero"#,
                ],
            ),
            (
                json!({"selector": {}}),
                vec!["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
            ),
            (
                json!({"updateStrategy": {"type": "Odd"}}),
                vec![
                    r#"spec.updateStrategy: Unsupported value: {"type":"Odd"}: supported values: "RollingUpdate", "OnDelete""#,
                ],
            ),
        ];
        for (spec, expected) in cases {
            let mut object = set(spec.clone());
            default(&mut object, &context(None));
            let causes = validate(&object, &context(None));
            let causes: Vec<String> =
                causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(causes, expected, "{spec}");
        }
    }

    #[test]
    fn the_server_counts_changes_of_the_template() {
        let mut object = set(json!({}));
        (KIND.prepare_create)(&mut object, &context(None));
        assert_eq!(generation(&object), Some(1));
        let mut new = set(json!({"minReadySeconds": 1}));
        prepare_update(&mut new, &context(Some(&object)));
        assert_eq!(generation(&new), Some(1));
        new["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
        prepare_update(&mut new, &context(Some(&object)));
        assert_eq!(generation(&new), Some(2));
    }
}
