//! HorizontalPodAutoscaler, `autoscaling/v2`: the form in which both versions are stored.

use k8s_object::Cause;
use serde_json::{Value, json};

use super::horizontal_pod_autoscaler_rules as rules;
use crate::causes::non_negative;
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, child, default_to, int, is_empty, items, text};
use crate::strategy::{drop_status, keep_apart};
use crate::{Context, Kind, STATUS, names};

pub(crate) static KIND: Kind = Kind {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    type_name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    subresources: &[STATUS],
    columns: COLUMNS,
    name_rule: names::subdomain,
    default,
    prepare_create,
    prepare_update,
    validate,
    ..Kind::BASE
};

/// The first minor that serves tolerances (feature `HPAConfigurableTolerance`).
const TOLERANCES_SINCE: u8 = 35;

pub(super) fn prepare_create(object: &mut Value, context: &Context<'_>) {
    drop_status(object, context);
    drop_tolerances(object, context);
}

pub(super) fn prepare_update(object: &mut Value, context: &Context<'_>) {
    keep_apart(object, context);
    drop_tolerances(object, context);
}

/// Takes tolerances out that the minor does not serve, unless there were some before.
fn drop_tolerances(object: &mut Value, context: &Context<'_>) {
    const DIRECTIONS: [&str; 2] = ["/spec/behavior/scaleDown", "/spec/behavior/scaleUp"];
    let has = |old: &Value| {
        DIRECTIONS.iter().any(|rules| old.pointer(rules).is_some_and(|rules| !at(rules, "tolerance").is_null()))
    };
    if context.minor >= TOLERANCES_SINCE || context.old.is_some_and(has) {
        return;
    }
    for rules in DIRECTIONS {
        if let Some(rules) = object.pointer_mut(rules).and_then(Value::as_object_mut) {
            rules.remove("tolerance");
        }
    }
}

/// What a table shows of both versions.
pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Reference", "What it scales.", |object, _| {
        format!("{}/{}", text(object, "spec.scaleTargetRef.kind"), text(object, "spec.scaleTargetRef.name")).into()
    }),
    Column::text("Targets", "Its metrics: as they are, and as they should be.", |object, _| {
        targets(items(object, "spec.metrics"), items(object, "status.currentMetrics")).into()
    }),
    Column::text("MinPods", "The fewest pods.", |object, _| match at(object, "spec.minReplicas").as_i64() {
        Some(least) => least.to_string().into(),
        None => "<unset>".into(),
    }),
    Column::text("MaxPods", "The most pods.", |object, _| int(object, "spec.maxReplicas").into()),
    Column::text("Replicas", "The pods that there are.", |object, _| int(object, "status.currentReplicas").into()),
    AGE,
];

/// Use of the CPU that is aimed at where no metric is named, in percent of what is requested.
pub(super) const DEFAULT_CPU_UTILIZATION: i64 = 80;

/// The metric of an autoscaler that names none.
pub(super) fn default_metric(utilization: i64) -> Value {
    json!({
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": utilization}},
    })
}

fn default(object: &mut Value, _: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    default_to(spec, "minReplicas", 1);
    if is_empty(at(spec, "metrics")) {
        spec["metrics"] = json!([default_metric(DEFAULT_CPU_UTILIZATION)]);
    }
    if let Some(behavior) = spec.get_mut("behavior").filter(|behavior| behavior.is_object()) {
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        default_rules(behavior, "scaleUp", json!([pods, percent]));
        default_rules(behavior, "scaleDown", json!([percent]));
        if let Some(up) = behavior.get_mut("scaleUp") {
            default_to(up, "stabilizationWindowSeconds", 0);
        }
    }
}

fn default_rules(behavior: &mut Value, direction: &str, policies: Value) {
    if let Some(rules) = child(behavior, direction) {
        default_to(rules, "selectPolicy", "Max");
        default_to(rules, "policies", policies);
    }
}

/// The rules of either version, in the stored form.
pub(super) fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        let counts = ["currentReplicas", "desiredReplicas"];
        let causes = counts.iter().map(|key| non_negative(format!("status.{key}"), at(&object["status"], key)));
        return causes.flatten().collect();
    }
    rules::validate(at(object, "spec"), context.old.map(|old| at(old, "spec")))
}

/// `cpu: 20%/80%, memory: 1Gi/2Gi + 1 more...`
fn targets(specs: &[Value], statuses: &[Value]) -> String {
    const SHOWN: usize = 2;
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let texts = specs.iter().enumerate().map(|(index, spec)| target(spec, statuses.get(index).unwrap_or(&Value::Null)));
    let shown: Vec<String> = texts.take(SHOWN).collect();
    let shown = shown.join(", ");
    match specs.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn target(spec: &Value, status: &Value) -> String {
    let amount = |value: &Value, nothing: &str| match value {
        Value::String(text) => text.clone(),
        Value::Null => nothing.to_owned(),
        other => other.to_string(),
    };
    let (source, is_resource) = match text(spec, "type") {
        "ContainerResource" => ("containerResource", true),
        "External" => ("external", false),
        "Object" => ("object", false),
        "Pods" => ("pods", false),
        "Resource" => ("resource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let (wanted, current) = (at(spec, source), at(at(status, source), "current"));
    let (average, head) = (at(wanted, "target.averageValue"), format!("{}: ", text(wanted, "name")));
    let now = |key: &str| {
        let value = at(current, key);
        amount(value, if current.is_null() || key != "value" { "<unknown>" } else { "0" })
    };
    if is_resource {
        if !average.is_null() {
            return format!("{head}{}/{}", now("averageValue"), amount(average, "0"));
        }
        let percent = |value: &Value, nothing: &str| match value.as_i64() {
            Some(percent) => format!("{percent}%"),
            None => nothing.to_owned(),
        };
        let used = percent(at(current, "averageUtilization"), "<unknown>");
        return format!("{head}{used}/{}", percent(at(wanted, "target.averageUtilization"), "<auto>"));
    }
    match (source, average.is_null()) {
        ("pods", _) => format!("{}/{}", now("averageValue"), amount(average, "0")),
        (_, false) => format!("{}/{} (avg)", now("averageValue"), amount(average, "0")),
        (_, true) => format!("{}/{}", now("value"), amount(at(wanted, "target.value"), "0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use world::Timestamp;

    #[test]
    fn defaults_are_upstreams() {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" };
        let mut object = json!({"spec": {"maxReplicas": 3, "behavior": {"scaleDown": {"policies": []}}}});
        default(&mut object, &context);
        assert_eq!(
            object["spec"],
            json!({
                "minReplicas": 1, "maxReplicas": 3, "metrics": [default_metric(80)],
                "behavior": {
                    "scaleDown": {"policies": [], "selectPolicy": "Max"},
                    "scaleUp": {"selectPolicy": "Max", "stabilizationWindowSeconds": 0, "policies": [
                        {"type": "Pods", "value": 4, "periodSeconds": 15},
                        {"type": "Percent", "value": 100, "periodSeconds": 15},
                    ]},
                },
            })
        );
    }

    #[test]
    fn targets_read_as_kubectl_shows_them() {
        let cpu = default_metric(80);
        let cases = [
            (json!([]), json!([]), "<none>"),
            (json!([cpu]), json!([]), "cpu: <unknown>/80%"),
            (
                json!([cpu]),
                json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 20}}}]),
                "cpu: 20%/80%",
            ),
            (
                json!([{"type": "Pods", "pods": {"target": {"averageValue": "10"}}}, cpu, cpu]),
                json!([{"type": "Pods", "pods": {"current": {"averageValue": "5"}}}]),
                "5/10, cpu: <unknown>/80% + 1 more...",
            ),
            (
                json!([{"type": "External", "external": {"target": {"averageValue": "10"}}}]),
                json!([]),
                "<unknown>/10 (avg)",
            ),
            (
                json!([{"type": "Object", "object": {"target": {"value": "10"}}}]),
                json!([{"object": {"current": {"value": "3"}}}]),
                "3/10",
            ),
        ];
        for (specs, statuses, expected) in cases {
            assert_eq!(targets(specs.as_array().unwrap(), statuses.as_array().unwrap()), expected, "{specs}");
        }
    }
}
