//! What webhooks and policies of admission share: which requests they are about.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::causes::{duplicate, invalid, not_supported, required, too_many};
use crate::expressions::{self, Expression, Judged, Sees, Yields};
use crate::fields::{at, child, default_to, items, items_mut, text};
use crate::names::{label_selector, path_segment, qualified};

pub(super) const GROUP: &str = "admissionregistration.k8s.io";
pub(super) const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
pub(super) const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];
/// Operations at which something can be changed.
pub(super) const MUTATING_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
/// Conditions of one webhook or policy.
const MATCH_CONDITIONS_LIMIT: usize = 64;

/// Defaults of what webhooks and `matchResources` say alike.
pub(super) fn default_match(object: &mut Value) {
    default_to(object, "matchPolicy", "Equivalent");
    default_to(object, "namespaceSelector", json!({}));
    default_to(object, "objectSelector", json!({}));
}

/// Defaults of `matchConstraints` and `matchResources`, where they are.
pub(super) fn default_match_resources(spec: &mut Value, key: &str) {
    if spec.get(key).is_none_or(Value::is_null) {
        return;
    }
    let Some(resources) = child(spec, key) else { return };
    default_match(resources);
    default_rules(resources, "resourceRules");
    default_rules(resources, "excludeResourceRules");
}

pub(super) fn default_rules(object: &mut Value, key: &str) {
    items_mut(object, key).for_each(|rule| default_to(rule, "scope", "*"));
}

/// One of a few words, where it is there.
pub(super) fn one_of(object: &Value, key: &str, field: &str, allowed: &[&str]) -> Option<Cause> {
    let value = at(object, key).as_str()?;
    (!allowed.contains(&value)).then(|| not_supported(format!("{field}.{key}"), value, allowed))
}

/// As [`one_of`], and it must be there.
pub(super) fn needed_of(object: &Value, key: &str, field: &str, allowed: &[&str]) -> Option<Cause> {
    match at(object, key) {
        Value::Null => Some(required(format!("{field}.{key}"), "")),
        _ => one_of(object, key, field, allowed),
    }
}

pub(super) fn match_policy(object: &Value, field: &str) -> Option<Cause> {
    one_of(object, "matchPolicy", field, &MATCH_POLICIES)
}

/// `matchConstraints` or `matchResources`.
pub(super) fn match_resources(resources: &Value, field: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = needed_of(resources, "matchPolicy", field, &MATCH_POLICIES).into_iter().collect();
    for key in ["namespaceSelector", "objectSelector"] {
        let field = format!("{field}.{key}");
        match at(resources, key) {
            Value::Null => causes.push(required(field, "")),
            selector => causes.extend(label_selector(selector, &field)),
        }
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in items(resources, key).iter().enumerate() {
            causes.extend(named_rule(rule, &format!("{field}.{key}[{index}]")));
        }
    }
    causes
}

/// Operations in rules at which nothing can be changed.
pub(super) fn mutating_operations(resources: &Value, field: &str) -> Vec<Cause> {
    let operations = items(resources, "resourceRules").iter().flat_map(|rule| items(rule, "operations"));
    operations
        .filter_map(Value::as_str)
        .filter(|operation| !MUTATING_OPERATIONS.contains(operation))
        .map(|operation| not_supported(format!("{field}.resourceRules.operations"), operation, &MUTATING_OPERATIONS))
        .collect()
}

fn named_rule(rule: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, name) in items(rule, "resourceNames").iter().filter_map(Value::as_str).enumerate() {
        let field = format!("{field}.resourceNames[{index}]");
        causes.extend(path_segment(name, false).iter().map(|problem| invalid(&field, name, problem)));
        if !seen.insert(name) {
            causes.push(duplicate(field, name));
        }
    }
    causes.extend(self::rule(rule, field));
    causes
}

fn texts<'a>(object: &'a Value, key: &str) -> Vec<&'a str> {
    items(object, key).iter().map(|text| text.as_str().unwrap_or_default()).collect()
}

/// A rule: operations, groups, versions, resources, scope.
pub(super) fn rule(rule: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, what) in [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let (list, field) = (texts(rule, key), format!("{field}.{key}"));
        if list.is_empty() {
            causes.push(required(&field, ""));
        }
        if list.len() > 1 && list.contains(&"*") {
            let problem = format!("if '*' is present, must not specify other {what}");
            causes.push(invalid(&field, at(rule, key).clone(), &problem));
        }
        for (index, text) in list.iter().enumerate() {
            if key == "operations" && !OPERATIONS.contains(text) {
                causes.push(not_supported(format!("{field}[{index}]"), *text, &OPERATIONS));
            } else if key == "apiVersions" && text.is_empty() {
                causes.push(required(format!("{field}[{index}]"), ""));
            }
        }
    }
    causes.extend(resources(rule, &format!("{field}.resources")));
    causes.extend(one_of(rule, "scope", field, &SCOPES));
    causes
}

fn resources(rule: &Value, field: &str) -> Vec<Cause> {
    let list = texts(rule, "resources");
    let mut causes = Vec::new();
    if list.is_empty() {
        causes.push(required(field, ""));
    }
    let (mut all_below, mut everywhere) = (BTreeSet::new(), BTreeSet::new());
    let mut last_is_whole = false;
    for (index, text) in list.iter().enumerate() {
        let field = format!("{field}[{index}]");
        if text.is_empty() {
            causes.push(required(field, ""));
            continue;
        }
        let Some((resource, below)) = text.split_once('/') else {
            // Upstream remembers the last one only.
            last_is_whole = *text != "*";
            continue;
        };
        if all_below.contains(resource) {
            let problem = format!("if '{resource}/*' is present, must not specify {text}");
            causes.push(invalid(&field, *text, &problem));
        }
        if everywhere.contains(below) {
            causes.push(invalid(&field, *text, &format!("if '*/{below}' is present, must not specify {text}")));
        }
        if below == "*" {
            all_below.insert(resource);
        }
        if resource == "*" {
            everywhere.insert(below);
        }
    }
    let value = || at(rule, "resources").clone();
    if list.len() > 1 && list.contains(&"*/*") {
        causes.push(invalid(field, value(), "if '*/*' is present, must not specify other resources"));
    }
    if list.contains(&"*") && last_is_whole {
        let problem = "if '*' is present, must not specify other resources without subresources";
        causes.push(invalid(field, value(), problem));
    }
    causes
}

/// `matchConditions`: expressions that all must say yes. `before` are those of the object before the write.
pub(super) fn match_conditions(
    conditions: &[Value],
    field: &str,
    params: bool,
    before: &[&str],
    minor: u8,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    if conditions.len() > MATCH_CONDITIONS_LIMIT {
        causes.push(too_many(field, conditions.len(), MATCH_CONDITIONS_LIMIT));
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let written = text(condition, "expression").trim();
        let expression = Expression {
            text: written,
            yields: Yields::Flag,
            sees: Sees::Request { params, authorizer: true },
            variables: None,
            judged: Judged { minor, stored: before.contains(&written) },
        };
        causes.extend(expression_or_required(&expression, &format!("{field}.expression"), ""));
        let (name, field) = (text(condition, "name"), format!("{field}.name"));
        match name {
            "" => causes.push(required(&field, "")),
            name => causes.extend(qualified(name).iter().map(|problem| invalid(&field, name, problem))),
        }
        if !name.is_empty() && !seen.insert(name) {
            causes.push(duplicate(field, name));
        }
    }
    causes
}

/// What is wrong with an expression, which must be there.
pub(super) fn expression_or_required(expression: &Expression<'_>, field: &str, missing: &str) -> Option<Cause> {
    match expression.text.trim() {
        "" => Some(required(field, missing)),
        _ => expressions::problem(expression, field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lines;

    #[test]
    fn rules_are_judged() {
        let with = |resources: &[&str]| json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": resources});
        let cases = [
            (with(&["pods", "pods/status"]), vec![]),
            (
                json!({}),
                vec![
                    "r.operations: Required value",
                    "r.apiGroups: Required value",
                    "r.apiVersions: Required value",
                    "r.resources: Required value",
                ],
            ),
            (
                with(&["*/*", "pods"]),
                vec![
                    r#"r.resources: Invalid value: ["*/*","pods"]: if '*/*' is present, must not specify other resources"#,
                ],
            ),
            (
                with(&["pods/*", "pods/status"]),
                vec![
                    r#"r.resources[1]: Invalid value: "pods/status": if 'pods/*' is present, must not specify pods/status"#,
                ],
            ),
            (
                with(&["*", "pods"]),
                vec![
                    r#"r.resources: Invalid value: ["*","pods"]: if '*' is present, must not specify other resources without subresources"#,
                ],
            ),
            (
                json!({"operations": ["*", "GET"], "apiGroups": ["*", "a"], "apiVersions": [""], "resources": ["a"], "scope": "x"}),
                vec![
                    r#"r.operations: Invalid value: ["*","GET"]: if '*' is present, must not specify other operations"#,
                    r#"r.operations[1]: Unsupported value: "GET": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE""#,
                    r#"r.apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other API groups"#,
                    "r.apiVersions[0]: Required value",
                    r#"r.scope: Unsupported value: "x": supported values: "*", "Cluster", "Namespaced""#,
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(lines(rule(&object, "r")), expected, "{object}");
        }
    }

    #[test]
    fn conditions_have_names_and_expressions() {
        let conditions = [
            json!({"name": "a", "expression": "true"}),
            json!({"name": "a", "expression": " "}),
            json!({"expression": "true"}),
        ];
        assert_eq!(
            lines(match_conditions(&conditions, "m", false, &[], 34)),
            ["m[1].expression: Required value", r#"m[1].name: Duplicate value: "a""#, "m[2].name: Required value",]
        );
        let many = vec![json!({"name": "a", "expression": "true"}); 65];
        assert_eq!(
            lines(match_conditions(&many, "m", false, &[], 34))[0],
            "m: Too many: 65: must have at most 64 items"
        );
    }
}
