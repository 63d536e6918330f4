//! HorizontalPodAutoscaler, `autoscaling/v1`: CPU use only; what else there is of metrics, behavior and conditions travels in
//! annotations, so that clients of this version lose nothing.

use serde_json::{Map, Value, json};

use super::horizontal_pod_autoscaler::{self as stored, COLUMNS, DEFAULT_CPU_UTILIZATION, default_metric};
use crate::fields::{at, child, default_to, is_empty, text};
use crate::strategy::{in_stored_form, judge_stored_form};
use crate::{Conversion, Kind, STATUS, names};

pub(crate) static KIND: Kind = Kind {
    group: "autoscaling",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    stored_as: Some(&stored::KIND),
    conversion: Some(CONVERSION),
    type_name: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    subresources: &[STATUS],
    columns: COLUMNS,
    name_rule: names::subdomain,
    default: |object, _| {
        if let Some(spec) = child(object, "spec") {
            default_to(spec, "minReplicas", 1);
        }
    },
    prepare_create: |object, context| in_stored_form(object, context, CONVERSION, stored::prepare_create),
    prepare_update: |object, context| in_stored_form(object, context, CONVERSION, stored::prepare_update),
    validate: |object, context| judge_stored_form(object, context, CONVERSION, stored::validate),
    ..Kind::BASE
};

const CONVERSION: Conversion = Conversion { to_storage, from_storage, selectable: |path| path };

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// Annotations that only carry what this version has no field for.
const CARRIERS: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

/// Fields of the annotations in the order in which upstream writes them.
const ORDER: &[&str] = &[
    "type",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "target",
    "kind",
    "name",
    "apiVersion",
    "metricName",
    "metricSelector",
    "targetValue",
    "currentValue",
    "targetAverageUtilization",
    "targetAverageValue",
    "currentAverageUtilization",
    "currentAverageValue",
    "selector",
    "averageValue",
    "container",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
    "Type",
    "Value",
    "PeriodSeconds",
    "Tolerance",
];

/// JSON with the fields of objects in upstream's order; others follow by name.
fn written(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let rank = |key: &str| ORDER.iter().position(|own| *own == key).unwrap_or(ORDER.len());
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| (rank(key), key.as_str()));
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                written(value, out);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                written(value, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// An object of those fields that have a value.
fn object<const N: usize>(fields: [(&str, &Value); N]) -> Value {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.map(|(key, value)| (key.to_owned(), value.clone())).collect())
}

fn or_zero(amount: &Value) -> Value {
    if amount.is_null() { "0".into() } else { amount.clone() }
}

/// The amounts of a metric: what it should be (`target`) or is (`current`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Current,
    Target,
}

impl Side {
    fn key(self) -> &'static str {
        match self {
            Side::Current => "current",
            Side::Target => "target",
        }
    }

    /// `targetAverageValue`, `currentAverageValue`, …
    fn named(self, rest: &str) -> String {
        format!("{}{rest}", self.key())
    }
}

fn metric_to_v1(metric: &Value, side: Side) -> Value {
    let mut made = Map::new();
    for (kind, source) in metric.as_object().into_iter().flatten() {
        let amounts = at(source, side.key());
        let (value, average) = (at(amounts, "value"), at(amounts, "averageValue"));
        let utilization = at(amounts, "averageUtilization");
        let mut v1 = match kind.as_str() {
            "object" => object([
                ("target", at(source, "describedObject")),
                ("metricName", at(source, "metric.name")),
                ("selector", at(source, "metric.selector")),
                ("averageValue", average),
            ]),
            "pods" => object([("metricName", at(source, "metric.name")), ("selector", at(source, "metric.selector"))]),
            "external" => {
                object([("metricName", at(source, "metric.name")), ("metricSelector", at(source, "metric.selector"))])
            }
            "resource" | "containerResource" => {
                object([("name", at(source, "name")), ("container", at(source, "container"))])
            }
            _ => {
                made.insert(kind.clone(), source.clone());
                continue;
            }
        };
        // Upstream writes an amount of zero where the field cannot be absent.
        let needed = |amount: &Value, always: bool| if always { or_zero(amount) } else { amount.clone() };
        let is_current = side == Side::Current;
        let fields = match kind.as_str() {
            "object" => vec![(side.named("Value"), or_zero(value))],
            "pods" => vec![(side.named("AverageValue"), or_zero(average))],
            "external" => {
                vec![(side.named("Value"), needed(value, is_current)), (side.named("AverageValue"), average.clone())]
            }
            _ => vec![
                (side.named("AverageUtilization"), utilization.clone()),
                (side.named("AverageValue"), needed(average, is_current)),
            ],
        };
        for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
            v1[key.as_str()] = value;
        }
        made.insert(kind.clone(), v1);
    }
    Value::Object(made)
}

fn metric_to_v2(metric: &Value, side: Side) -> Value {
    let mut made = Map::new();
    for (kind, source) in metric.as_object().into_iter().flatten() {
        let named = |rest: &str| at(source, &side.named(rest)).clone();
        let (value, average) = (named("Value"), named("AverageValue"));
        let utilization = named("AverageUtilization");
        let identifier =
            |selector: &str| object([("name", at(source, "metricName")), ("selector", at(source, selector))]);
        let is_current = side == Side::Current;
        let (mut v2, mut amounts, target_type) = match kind.as_str() {
            "object" => {
                let average = at(source, "averageValue");
                let kind = if average.is_null() { "Value" } else { "AverageValue" };
                let v2 = json!({"describedObject": at(source, "target"), "metric": identifier("selector")});
                (v2, object([("value", &or_zero(&value)), ("averageValue", average)]), kind)
            }
            "pods" => {
                let v2 = json!({"metric": identifier("selector")});
                (v2, object([("averageValue", &or_zero(&average))]), "AverageValue")
            }
            "external" => {
                let kind = if value.is_null() { "AverageValue" } else { "Value" };
                let value = if is_current { or_zero(&value) } else { value };
                let v2 = json!({"metric": identifier("metricSelector")});
                (v2, object([("value", &value), ("averageValue", &average)]), kind)
            }
            "resource" | "containerResource" => {
                let kind = if utilization.is_null() { "AverageValue" } else { "Utilization" };
                let average = if is_current { or_zero(&average) } else { average };
                let v2 = object([("name", at(source, "name")), ("container", at(source, "container"))]);
                (v2, object([("averageUtilization", &utilization), ("averageValue", &average)]), kind)
            }
            _ => {
                made.insert(kind.clone(), source.clone());
                continue;
            }
        };
        if side == Side::Target {
            amounts["type"] = target_type.into();
        }
        v2[side.key()] = amounts;
        made.insert(kind.clone(), v2);
    }
    Value::Object(made)
}

/// Behavior as upstream's internal type is written: all fields, by their names in Go.
fn behavior_to_v1(behavior: &Value) -> Value {
    let rules = |rules: &Value| match rules {
        Value::Object(_) => json!({
            "StabilizationWindowSeconds": at(rules, "stabilizationWindowSeconds"),
            "SelectPolicy": at(rules, "selectPolicy"),
            "Policies": match at(rules, "policies") {
                Value::Array(policies) => policies.iter().map(|policy| json!({
                    "Type": at(policy, "type"), "Value": at(policy, "value"), "PeriodSeconds": at(policy, "periodSeconds"),
                })).collect(),
                _ => Value::Null,
            },
            "Tolerance": at(rules, "tolerance"),
        }),
        _ => Value::Null,
    };
    json!({"ScaleUp": rules(at(behavior, "scaleUp")), "ScaleDown": rules(at(behavior, "scaleDown"))})
}

fn behavior_to_v2(behavior: &Value) -> Value {
    let rules = |rules: &Value| match rules {
        Value::Object(_) => {
            let policies = at(rules, "Policies").as_array().map(|policies| {
                let policy = |policy: &Value| {
                    object([
                        ("type", at(policy, "Type")),
                        ("value", at(policy, "Value")),
                        ("periodSeconds", at(policy, "PeriodSeconds")),
                    ])
                };
                policies.iter().map(policy).collect::<Value>()
            });
            object([
                ("stabilizationWindowSeconds", at(rules, "StabilizationWindowSeconds")),
                ("selectPolicy", at(rules, "SelectPolicy")),
                ("policies", &policies.unwrap_or_default()),
                ("tolerance", at(rules, "Tolerance")),
            ])
        }
        _ => Value::Null,
    };
    object([("scaleUp", &rules(at(behavior, "ScaleUp"))), ("scaleDown", &rules(at(behavior, "ScaleDown")))])
}

/// The JSON in an annotation, if it is of that shape.
fn carried(object: &Value, annotation: &str) -> Option<Value> {
    serde_json::from_str(at(object, "metadata.annotations").get(annotation)?.as_str()?).ok()
}

fn drop_carriers(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    let before = annotations.len();
    annotations.retain(|key, _| !CARRIERS.contains(&key.as_str()));
    if annotations.is_empty() && before > 0 {
        metadata.remove("annotations");
    }
}

fn is_cpu_utilization(metric: &Value) -> bool {
    text(metric, "type") == "Resource"
        && text(metric, "resource.name") == "cpu"
        && !at(metric, "resource.target.averageUtilization").is_null()
}

fn take(object: &mut Value, part: &str, key: &str) -> Value {
    let taken = object.get_mut(part).and_then(Value::as_object_mut).and_then(|map| map.remove(key));
    taken.unwrap_or_default()
}

fn to_storage(object: &mut Value) {
    if !object.is_object() {
        return;
    }
    let utilization = take(object, "spec", "targetCPUUtilizationPercentage");
    let current = take(object, "status", "currentCPUUtilizationPercentage");
    let of = |object: &Value, annotation: &str, side: Side| match carried(object, annotation) {
        Some(Value::Array(metrics)) => {
            Some(metrics.iter().map(|metric| metric_to_v2(metric, side)).collect::<Vec<_>>())
        }
        _ => None,
    };
    let mut metrics = of(object, METRICS, Side::Target).unwrap_or_default();
    metrics.extend(utilization.as_i64().map(default_metric));
    if metrics.is_empty() {
        metrics.push(default_metric(DEFAULT_CPU_UTILIZATION));
    }
    let statuses = of(object, CURRENT_METRICS, Side::Current).or_else(|| {
        current.as_i64().map(|percent| {
            vec![json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}})]
        })
    });
    let behavior = carried(object, BEHAVIOR).filter(Value::is_object).map(|behavior| behavior_to_v2(&behavior));
    let conditions = carried(object, CONDITIONS).filter(Value::is_array);
    drop_carriers(object);
    if let Some(spec) = child(object, "spec") {
        spec["metrics"] = metrics.into();
        if let Some(behavior) = behavior.filter(|behavior| !is_empty(behavior)) {
            spec["behavior"] = behavior;
        }
    }
    if statuses.is_some() || conditions.is_some() {
        let Some(status) = child(object, "status") else { return };
        if let Some(statuses) = statuses {
            status["currentMetrics"] = statuses.into();
        }
        if let Some(conditions) = conditions {
            status["conditions"] = conditions;
        }
    }
}

fn from_storage(object: &mut Value) {
    if !object.is_object() {
        return;
    }
    let metrics = take(object, "spec", "metrics");
    let behavior = take(object, "spec", "behavior");
    let statuses = take(object, "status", "currentMetrics");
    let conditions = take(object, "status", "conditions");
    drop_carriers(object);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let metrics = list(&metrics);
    if let Some(cpu) = metrics.iter().find(|metric| is_cpu_utilization(metric))
        && let Some(spec) = child(object, "spec")
    {
        spec["targetCPUUtilizationPercentage"] = at(cpu, "resource.target.averageUtilization").clone();
    }
    let is_cpu = |metric: &&Value| text(metric, "type") == "Resource" && text(metric, "resource.name") == "cpu";
    let percent =
        |metric: &Value| Some(at(metric, "resource.current.averageUtilization").clone()).filter(Value::is_number);
    let statuses = list(&statuses);
    if let Some(percent) = statuses.iter().filter(is_cpu).filter_map(percent).next_back()
        && let Some(status) = child(object, "status")
    {
        status["currentCPUUtilizationPercentage"] = percent;
    }
    let others: Vec<Value> = metrics
        .iter()
        .filter(|metric| !is_cpu_utilization(metric))
        .map(|metric| metric_to_v1(metric, Side::Target))
        .collect();
    let current: Vec<Value> = statuses.iter().map(|metric| metric_to_v1(metric, Side::Current)).collect();
    let mut carry = |annotation: &str, value: Value| {
        let mut text = String::new();
        written(&value, &mut text);
        let annotations = child(object, "metadata").and_then(|metadata| child(metadata, "annotations"));
        if let Some(annotations) = annotations {
            annotations[annotation] = text.into();
        }
    };
    if !others.is_empty() {
        carry(METRICS, others.into());
    }
    if !current.is_empty() {
        carry(CURRENT_METRICS, current.into());
    }
    if behavior.is_object() {
        carry(BEHAVIOR, behavior_to_v1(&behavior));
    }
    if !is_empty(&conditions) {
        carry(CONDITIONS, conditions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored_form() -> Value {
        json!({
            "metadata": {"name": "web", "annotations": {"own": "x"}},
            "spec": {
                "minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
                    default_metric(70),
                ],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 2}]}},
            },
            "status": {
                "currentReplicas": 1, "desiredReplicas": 2,
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 20, "averageValue": "100m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        })
    }

    #[test]
    fn what_v1_has_no_field_for_travels_in_annotations() {
        let mut object = stored_form();
        from_storage(&mut object);
        assert_eq!(
            object,
            json!({
                "metadata": {"name": "web", "annotations": {
                    "own": "x",
                    METRICS: r#"[{"type":"Pods","pods":{"metricName":"rps","targetAverageValue":"10"}}]"#,
                    CURRENT_METRICS: r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":20,"currentAverageValue":"100m"}}]"#,
                    BEHAVIOR: r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":null,"Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":2}],"Tolerance":null},"ScaleDown":null}"#,
                    CONDITIONS: r#"[{"type":"AbleToScale","status":"True"}]"#,
                }},
                "spec": {
                    "minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                    "targetCPUUtilizationPercentage": 70,
                },
                "status": {"currentReplicas": 1, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 20},
            })
        );
        to_storage(&mut object);
        assert_eq!(object, stored_form());
    }

    #[test]
    fn every_kind_of_metric_comes_back() {
        let selector = json!({"matchLabels": {"a": "b"}});
        let described = json!({"kind": "Service", "name": "s", "apiVersion": "v1"});
        let metrics = [
            json!({"type": "Object", "object": {"describedObject": described, "metric": {"name": "m", "selector": selector}, "target": {"type": "Value", "value": "3"}}}),
            json!({"type": "External", "external": {"metric": {"name": "m", "selector": selector}, "target": {"type": "AverageValue", "averageValue": "3"}}}),
            json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 3}}}),
            json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "3"}}}),
        ];
        for metric in metrics {
            assert_eq!(metric_to_v2(&metric_to_v1(&metric, Side::Target), Side::Target), metric);
        }
    }

    #[test]
    fn an_autoscaler_without_metrics_aims_at_the_cpu() {
        let mut object = json!({"metadata": {"name": "web"}, "spec": {"maxReplicas": 3}});
        to_storage(&mut object);
        assert_eq!(object["spec"]["metrics"], json!([default_metric(80)]));
        from_storage(&mut object);
        assert_eq!(object["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}));
    }
}
