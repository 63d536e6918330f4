//! The rules of HorizontalPodAutoscalers, in the form of `autoscaling/v2`.

use k8s_object::{Cause, Quantity};
use serde_json::Value;

use crate::causes::{forbidden, invalid, not_supported, required};
use crate::fields::{at, int, is_empty, items, text};
use crate::names::{label, path_segment};
use crate::pod_spec::quantity;
use crate::resource_names;

/// Seconds that a scaling policy may look back.
const PERIOD_LIMIT: i64 = 1800;
/// Seconds over which recommendations may be smoothed.
const WINDOW_LIMIT: i64 = 3600;
const METRICS: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

/// Which versions a reference may name.
#[derive(Clone, Copy)]
struct Reference {
    any: bool,
    core: bool,
}

/// Judges a spec; `old` is the one before an update.
pub(super) fn validate(spec: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (least, most) = (at(spec, "minReplicas").as_i64(), int(spec, "maxReplicas"));
    let bound = i64::from(old.is_none_or(|old| at(old, "minReplicas").as_i64() != Some(0)));
    if let Some(least) = least.filter(|least| *least < bound) {
        causes.push(invalid("spec.minReplicas", least, &format!("must be greater than or equal to {bound}")));
    }
    if most < 1 {
        causes.push(invalid("spec.maxReplicas", most, "must be greater than 0"));
    }
    if least.is_some_and(|least| most < least) {
        causes.push(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"));
    }
    let target = at(spec, "scaleTargetRef");
    let same = |old: &Value| {
        ["apiVersion", "kind"].iter().all(|key| text(target, key) == text(at(old, "scaleTargetRef"), key))
    };
    let allowed = Reference { any: old.is_some_and(same), core: text(target, "kind") == "ReplicationController" };
    causes.extend(reference(target, "spec.scaleTargetRef", allowed));
    // Metrics that were wrong before may stay so.
    let was_wrong = |metric: &Value| {
        text(metric, "type") == "Object" && version(at(metric, "object.describedObject"), true).is_err()
    };
    let described = Reference { any: old.is_some_and(|old| items(old, "metrics").iter().any(was_wrong)), core: true };
    let metrics = items(spec, "metrics");
    for (index, metric) in metrics.iter().enumerate() {
        causes.extend(validate_metric(metric, &format!("spec.metrics[{index}]"), described));
    }
    if least == Some(0) && !metrics.iter().any(|metric| matches!(text(metric, "type"), "Object" | "External")) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        causes.push(forbidden("spec.metrics", detail));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = at(at(spec, "behavior"), direction);
        if !rules.is_null() {
            causes.extend(scaling(rules, &format!("spec.behavior.{direction}")));
        }
    }
    causes
}

/// What is wrong with the version of a reference.
fn version(reference: &Value, core: bool) -> Result<(), String> {
    let version = text(reference, "apiVersion");
    let group = match version.split('/').collect::<Vec<&str>>()[..] {
        [_] => "",
        [group, _] => group,
        _ => return Err(format!("unexpected GroupVersion string: {version}")),
    };
    if group.is_empty() && !core { Err("apiVersion must specify API group".to_owned()) } else { Ok(()) }
}

fn reference(reference: &Value, field: &str, allowed: Reference) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in ["kind", "name"] {
        match text(reference, key) {
            "" => causes.push(required(format!("{field}.{key}"), "")),
            value => {
                let problems = path_segment(value, false);
                causes.extend(problems.iter().map(|problem| invalid(format!("{field}.{key}"), value, problem)));
            }
        }
    }
    if !allowed.any
        && let Err(problem) = version(reference, allowed.core)
    {
        causes.push(invalid(format!("{field}.apiVersion"), text(reference, "apiVersion"), &problem));
    }
    causes
}

fn validate_metric(metric: &Value, field: &str, described: Reference) -> Vec<Cause> {
    let mut causes = Vec::new();
    let kind = text(metric, "type");
    if kind.is_empty() {
        causes.push(required(format!("{field}.type"), "must specify a metric source type"));
    }
    if !METRICS.contains(&kind) {
        causes.push(not_supported(format!("{field}.type"), kind, &METRICS));
    }
    let sources = ["object", "external", "pods", "resource", "containerResource"];
    let present: Vec<&str> = sources.into_iter().filter(|source| !at(metric, source).is_null()).collect();
    if let Some(first) = present.first() {
        causes.extend(source(first, at(metric, first), &format!("{field}.{first}"), described));
    }
    let expected = match kind {
        "ContainerResource" => "containerResource",
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        _ => {
            causes.push(not_supported(format!("{field}.type"), kind, &METRICS));
            ""
        }
    };
    if !expected.is_empty() && !present.contains(&expected) {
        let detail = "must populate information for the given metric source";
        causes.push(required(format!("{field}.{expected}"), detail));
    }
    if present.len() != 1 {
        let others = present.iter().filter(|source| **source != expected);
        let detail = "must populate the given metric source only";
        causes.extend(others.map(|source| forbidden(format!("{field}.{source}"), detail)));
    }
    causes
}

fn source(kind: &str, source: &Value, field: &str, described: Reference) -> Vec<Cause> {
    let mut causes = Vec::new();
    let target = at(source, "target");
    let has = |key: &str| !at(target, key).is_null();
    match kind {
        "resource" | "containerResource" => match text(source, "name") {
            "" => causes.push(required(format!("{field}.name"), "must specify a resource name")),
            name if kind == "containerResource" => {
                causes.extend(resource_names::of_container(name, &format!("{field}.name")));
            }
            _ => {}
        },
        _ => {
            if kind == "object" {
                causes.extend(reference(at(source, "describedObject"), &format!("{field}.describedObject"), described));
            }
            match text(source, "metric.name") {
                "" => causes.push(required(format!("{field}.metric.name"), "must specify a metric name")),
                name => {
                    let problems = path_segment(name, false);
                    causes
                        .extend(problems.iter().map(|problem| invalid(format!("{field}.metric.name"), name, problem)));
                }
            }
        }
    }
    if kind == "containerResource" {
        match text(source, "container") {
            "" => causes.push(required(format!("{field}.container"), "must specify a container")),
            name => {
                let problems = label(name, false);
                causes.extend(problems.iter().map(|problem| invalid(format!("{field}.container"), name, problem)));
            }
        }
    }
    let field = format!("{field}.target");
    causes.extend(metric_target(target, &field));
    let missing = |key: &str, detail: &str| required(format!("{field}.{key}"), detail);
    match kind {
        "object" if !has("value") && !has("averageValue") => {
            causes.push(missing("averageValue", "must set either a target value or averageValue"));
        }
        "external" if !has("value") && !has("averageValue") => {
            causes.push(missing("averageValue", "must set either a target value for metric or a per-pod target"));
        }
        "external" if has("value") && has("averageValue") => {
            let detail = "may not set both a target value for metric and a per-pod target";
            causes.push(forbidden(format!("{field}.value"), detail));
        }
        "pods" if !has("averageValue") => {
            causes.push(missing("averageValue", "must specify a positive target averageValue"));
        }
        "resource" | "containerResource" => match (has("averageUtilization"), has("averageValue")) {
            (false, false) => {
                let detail = "must set either a target raw value or a target utilization";
                causes.push(missing("averageUtilization", detail));
            }
            (true, true) => {
                let detail = "may not set both a target raw value and a target utilization";
                causes.push(forbidden(format!("{field}.averageValue"), detail));
            }
            _ => {}
        },
        _ => {}
    }
    causes
}

fn metric_target(target: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let kind = text(target, "type");
    if kind.is_empty() {
        causes.push(required(format!("{field}.type"), "must specify a metric target type"));
    }
    if !matches!(kind, "AverageValue" | "Utilization" | "Value") {
        let detail = "must be either Utilization, Value, or AverageValue";
        causes.push(invalid(format!("{field}.type"), kind, detail));
    }
    for key in ["value", "averageValue"] {
        if quantity(at(target, key)).is_some_and(|amount| amount <= Quantity::ZERO) {
            causes.push(invalid(format!("{field}.{key}"), at(target, key).clone(), "must be positive"));
        }
    }
    if let Some(percent) = at(target, "averageUtilization").as_i64().filter(|percent| *percent < 1) {
        causes.push(invalid(format!("{field}.averageUtilization"), percent, "must be greater than 0"));
    }
    causes
}

fn scaling(rules: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let window = format!("{field}.stabilizationWindowSeconds");
    match at(rules, "stabilizationWindowSeconds").as_i64() {
        Some(seconds) if seconds < 0 => {
            causes.push(invalid(window, seconds, "must be greater than or equal to zero"));
        }
        Some(seconds) if seconds > WINDOW_LIMIT => {
            causes.push(invalid(window, seconds, &format!("must be less than or equal to {WINDOW_LIMIT}")));
        }
        _ => {}
    }
    const SELECT: [&str; 3] = ["Disabled", "Max", "Min"];
    if let Some(policy) = at(rules, "selectPolicy").as_str().filter(|policy| !SELECT.contains(policy)) {
        causes.push(not_supported(format!("{field}.selectPolicy"), policy, &SELECT));
    }
    if is_empty(at(rules, "policies")) {
        causes.push(required(format!("{field}.policies"), "must specify at least one Policy"));
    }
    for (index, policy) in items(rules, "policies").iter().enumerate() {
        let field = format!("{field}.policies[{index}]");
        const TYPES: [&str; 2] = ["Percent", "Pods"];
        let kind = text(policy, "type");
        if !TYPES.contains(&kind) {
            causes.push(not_supported(format!("{field}.type"), kind, &TYPES));
        }
        for key in ["value", "periodSeconds"] {
            if int(policy, key) <= 0 {
                causes.push(invalid(format!("{field}.{key}"), int(policy, key), "must be greater than zero"));
            }
        }
        if int(policy, "periodSeconds") > PERIOD_LIMIT {
            let detail = format!("must be less than or equal to {PERIOD_LIMIT}");
            causes.push(invalid(format!("{field}.periodSeconds"), int(policy, "periodSeconds"), &detail));
        }
    }
    let tolerance = at(rules, "tolerance");
    if quantity(tolerance).is_some_and(|amount| amount < Quantity::ZERO) {
        let detail = "must be greater than or equal to 0";
        causes.push(invalid(format!("{field}.tolerance"), tolerance.clone(), detail));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(change: Value) -> Value {
        let mut spec = json!({
            "minReplicas": 1, "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        });
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        spec
    }

    fn check(new: &Value, old: Option<&Value>) -> Vec<String> {
        validate(new, old).into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn autoscalers_are_judged_in_upstreams_words() {
        let resource =
            |target: Value| json!({"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]});
        let cases = [
            (json!({}), vec![]),
            (
                json!({"minReplicas": 0}),
                vec![
                    "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                    "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
                ],
            ),
            (
                json!({"minReplicas": 4}),
                vec!["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"],
            ),
            (
                json!({"scaleTargetRef": {"apiVersion": "v1", "kind": "Pod", "name": ""}}),
                vec![
                    "spec.scaleTargetRef.name: Required value",
                    r#"spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group"#,
                ],
            ),
            (json!({"scaleTargetRef": {"kind": "ReplicationController", "name": "x"}}), vec![]),
            (
                json!({"scaleTargetRef": {"apiVersion": "a/b/c", "kind": "X", "name": "x"}}),
                vec![
                    r#"spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#,
                ],
            ),
            (resource(json!({"type": "Utilization", "averageUtilization": 50})), vec![]),
            (
                resource(json!({"type": "Utilization"})),
                vec![
                    "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
                ],
            ),
            (
                resource(json!({"type": "Value", "averageUtilization": 0, "averageValue": "0"})),
                vec![
                    r#"spec.metrics[0].resource.target.averageValue: Invalid value: "0": must be positive"#,
                    "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
                    "spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
                ],
            ),
            (
                json!({"metrics": [{"type": "Pods"}]}),
                vec!["spec.metrics[0].pods: Required value: must populate information for the given metric source"],
            ),
            (
                json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601, "policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]}}}),
                vec![
                    "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                    "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                    "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
                ],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(check(&spec(change.clone()), None), expected, "{change}");
        }
    }

    #[test]
    fn what_was_allowed_once_may_stay() {
        let old = spec(json!({"minReplicas": 0, "scaleTargetRef": {"apiVersion": "v1", "kind": "X", "name": "x"},
            "metrics": [{"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "1"}}}]}));
        assert_eq!(check(&old, Some(&old)), Vec::<String>::new());
    }
}
