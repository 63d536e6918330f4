//! ResourceQuota: how much of everything a namespace may have.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{invalid, required};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, entries, is_empty, items, text};
use crate::strategy::{drop_status, keep_apart};
use crate::{Context, Kind, STATUS, resource_names};

pub(crate) static KIND: Kind = Kind {
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    type_name: "io.k8s.api.core.v1.ResourceQuota",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("Request", "What is used of what may be requested.", |object, _| used(object, false).into()),
        Column::text("Limit", "What is used of what may be set as a limit.", |object, _| used(object, true).into()),
        AGE,
    ],
    prepare_create: drop_status,
    prepare_update: keep_apart,
    validate,
    returns_deleted: true,
    ..Kind::BASE
};

/// `cpu: 1/2, pods: 3/10`; limits stand in a column of their own.
fn used(object: &Value, limits: bool) -> String {
    let written = |amount: Option<&Value>| match amount {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "0".to_owned(),
    };
    let of = entries(object, "status.hard").filter(|(name, _)| name.starts_with("limits.") == limits);
    let of = of.map(|(name, hard)| {
        format!("{name}: {}/{}", written(at(object, "status.used").get(name)), written(Some(hard)))
    });
    of.collect::<Vec<String>>().join(", ")
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let amounts = |path: &str| -> Vec<Cause> {
        let of = entries(object, path).flat_map(|(name, amount)| {
            let field = format!("{path}[{name}]");
            let mut causes = resource_names::of_quota(name, &field);
            causes.extend(resource_names::amount(name, amount, &field));
            causes
        });
        of.collect()
    };
    if context.subresource == "status" {
        return [amounts("status.hard"), amounts("status.used")].concat();
    }
    let spec = at(object, "spec");
    let mut causes = amounts("spec.hard");
    causes.extend(scopes(spec));
    causes.extend(scope_selector(spec));
    if let Some(old) = context.old {
        let set = |object: &Value| -> BTreeSet<String> {
            items(object, "spec.scopes").iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if set(old) != set(object) {
            causes.push(invalid("spec.scopes", at(spec, "scopes").clone(), "field is immutable"));
        }
    }
    causes
}

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// Whether a scope says something about a resource that quotas know.
fn applies(scope: &str, resource: &str) -> bool {
    let is_pods = resource == "pods";
    let is_compute =
        ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"].contains(&resource);
    match scope {
        "BestEffort" => is_pods,
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        scope if SCOPES.contains(&scope) => is_pods || is_compute,
        _ => true,
    }
}

fn misapplied(spec: &Value, scope: &str) -> usize {
    let known = entries(spec, "hard").filter(|(name, _)| resource_names::is_standard_for_quota(name));
    known.filter(|(name, _)| !applies(scope, name)).count()
}

fn conflicting(seen: &[&str]) -> usize {
    let pairs = [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")];
    pairs.iter().filter(|(a, b)| seen.contains(a) && seen.contains(b)).count()
}

fn scopes(spec: &Value) -> Vec<Cause> {
    let all = at(spec, "scopes");
    let seen: Vec<&str> = items(spec, "scopes").iter().filter_map(Value::as_str).collect();
    let wrong = |detail: &str| invalid("spec.scopes", all.clone(), detail);
    let mut causes = Vec::new();
    for scope in &seen {
        if !SCOPES.contains(scope) {
            causes.push(wrong("unsupported scope"));
        }
        causes.extend((0..misapplied(spec, scope)).map(|_| wrong("unsupported scope applied to resource")));
    }
    causes.extend((0..conflicting(&seen)).map(|_| wrong("conflicting scopes")));
    causes
}

fn scope_selector(spec: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.scopeSelector.matchExpressions";
    let mut causes = Vec::new();
    let mut seen = Vec::new();
    for expression in items(spec, "scopeSelector.matchExpressions") {
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        if !SCOPES.contains(&scope) {
            causes.push(invalid(format!("{FIELD}.scopeName"), scope, "unsupported scope"));
        }
        for _ in 0..misapplied(spec, scope) {
            causes.push(invalid(FIELD, at(spec, "scopeSelector").clone(), "unsupported scope applied to resource"));
        }
        let has_values = matches!(scope, "PriorityClass" | "VolumeAttributesClass") || !SCOPES.contains(&scope);
        if !has_values && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            causes.push(invalid(format!("{FIELD}.operator"), operator, detail));
        }
        let values = at(expression, "values");
        match operator {
            "In" | "NotIn" if is_empty(values) => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                causes.push(required(format!("{FIELD}.values"), detail));
            }
            "Exists" | "DoesNotExist" if !is_empty(values) => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                causes.push(invalid(format!("{FIELD}.values"), values.clone(), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => causes.push(invalid(format!("{FIELD}.operator"), other, "not a valid selector operator")),
        }
        seen.push(scope);
    }
    let all = at(spec, "scopes");
    causes.extend((0..conflicting(&seen)).map(|_| invalid("spec.scopes", all.clone(), "conflicting scopes")));
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use world::Timestamp;

    fn check(new: Value, old: Option<Value>, subresource: &str) -> Vec<String> {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: old.as_ref(), subresource };
        let causes = validate(&new, &context);
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn quotas_are_judged() {
        let cases = [
            (
                json!({"hard": {"cpu": "1", "pods": "3", "count/deployments.apps": "2"}, "scopes": ["NotBestEffort"]}),
                vec![],
            ),
            (
                json!({"hard": {"pods": "1.5", "gpu": "-1"}}),
                vec![
                    r#"spec.hard[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified"#,
                    r#"spec.hard[gpu]: Invalid value: "gpu": must be a standard resource for quota"#,
                    r#"spec.hard[gpu]: Invalid value: "-1": must be greater than or equal to 0"#,
                    r#"spec.hard[pods]: Invalid value: "1.5": must be an integer"#,
                ],
            ),
            (
                json!({"hard": {"services": "1"}, "scopes": ["Terminating"]}),
                vec![r#"spec.scopes: Invalid value: ["Terminating"]: unsupported scope applied to resource"#],
            ),
            (
                json!({"scopes": ["BestEffort", "NotBestEffort"]}),
                vec![r#"spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes"#],
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}}),
                vec![
                    "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                ],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(check(json!({"spec": spec}), None, ""), expected, "{spec}");
        }
        assert_eq!(
            check(json!({"spec": {"scopes": ["Terminating"]}}), Some(json!({"spec": {}})), ""),
            [r#"spec.scopes: Invalid value: ["Terminating"]: field is immutable"#]
        );
        assert_eq!(
            check(json!({"status": {"used": {"cpu": "-1"}}}), Some(json!({})), "status"),
            [r#"status.used[cpu]: Invalid value: "-1": must be greater than or equal to 0"#]
        );
    }

    #[test]
    fn what_is_used_shows_in_two_columns() {
        let quota = json!({"status": {"hard": {"cpu": "2", "limits.cpu": "4", "pods": "9"}, "used": {"cpu": "1"}}});
        assert_eq!((used(&quota, false), used(&quota, true)), ("cpu: 1/2, pods: 0/9".into(), "limits.cpu: 0/4".into()));
    }
}
