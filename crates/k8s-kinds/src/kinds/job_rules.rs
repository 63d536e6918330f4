//! The rules of a Job's specification, which CronJobs have for their template too.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use super::job_indexes as indexes;
use crate::causes::{
    duplicate, invalid, invalid_without_value, non_negative, not_supported, required, too_long, too_many,
};
use crate::fields::{at, int, is_empty, items, text};
use crate::names::{domain_prefixed_path, qualified};
use crate::pod_spec::validate_template;

/// Pods of an indexed Job at once, and indexes that may fail.
const INDEXED_LIMIT: i64 = 100_000;
/// Completions above which the limits per index are lower.
const MANY_COMPLETIONS: i64 = 100_000;
const LIMIT_OF_MANY: i64 = 10_000;
const RULES_LIMIT: usize = 20;
const EXIT_CODES_LIMIT: usize = 255;
const PATTERNS_LIMIT: usize = 20;
/// Bytes of `managedBy`.
const MANAGED_BY_LIMIT: usize = 63;
/// Bytes of a list of indexes.
const INDEXES_LIMIT: usize = 64 * 1024;

pub(super) fn validate(spec: &Value, field: &str, minor: u8) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        causes.extend(non_negative(format!("{field}.{key}"), at(spec, key)));
    }
    let has = |key: &str| !at(spec, key).is_null();
    if has("maxFailedIndexes") && !has("backoffLimitPerIndex") {
        causes.push(required(format!("{field}.backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    }
    if let Some(manager) = at(spec, "managedBy").as_str() {
        let field = format!("{field}.managedBy");
        causes.extend(domain_prefixed_path(manager, &field));
        if manager.len() > MANAGED_BY_LIMIT {
            causes.push(too_long(field, MANAGED_BY_LIMIT));
        }
    }
    causes.extend(completion_mode(spec, field));
    let failure = at(spec, "podFailurePolicy");
    if !failure.is_null() {
        causes.extend(failure_policy(spec, failure, &format!("{field}.podFailurePolicy.rules")));
    }
    let success = at(spec, "successPolicy");
    if !success.is_null() {
        if text(spec, "completionMode") == "Indexed" {
            causes.extend(success_policy(spec, success, &format!("{field}.successPolicy.rules")));
        } else {
            let field = format!("{field}.successPolicy");
            causes.push(invalid(field, success.clone(), "requires indexed completion mode"));
        }
    }
    let replacement = at(spec, "podReplacementPolicy");
    let allowed: &[&str] = if failure.is_null() { &["Failed", "TerminatingOrFailed"] } else { &["Failed"] };
    if replacement.as_str().is_some_and(|policy| !allowed.contains(&policy)) {
        causes.push(not_supported(format!("{field}.podReplacementPolicy"), replacement.clone(), allowed));
    }
    causes.extend(validate_template(at(spec, "template"), &format!("{field}.template"), minor));
    let policy_field = format!("{field}.template.spec.restartPolicy");
    match text(spec, "template.spec.restartPolicy") {
        "Always" | "" => causes.push(required(policy_field, r#"valid values: "OnFailure", "Never""#)),
        "OnFailure" if !failure.is_null() => {
            let detail = r#"only "Never" is supported when podFailurePolicy is specified"#;
            causes.push(invalid(policy_field, "OnFailure", detail));
        }
        "OnFailure" | "Never" => {}
        other => causes.push(not_supported(policy_field, other, &["OnFailure", "Never"])),
    }
    causes
}

fn completion_mode(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let number = |key: &str| at(spec, key).as_i64();
    let (completions, parallelism) = (number("completions"), number("parallelism"));
    let (most_failed, per_index) = (number("maxFailedIndexes"), number("backoffLimitPerIndex"));
    let mode = at(spec, "completionMode").as_str();
    if let Some(other) = mode.filter(|mode| !matches!(*mode, "Indexed" | "NonIndexed")) {
        causes.push(not_supported(format!("{field}.completionMode"), other, &["NonIndexed", "Indexed"]));
    }
    let mut refuse =
        |key: &str, value: i64, detail: &str| causes.push(invalid(format!("{field}.{key}"), value, detail));
    if matches!(mode, None | Some("NonIndexed")) {
        for (key, value) in [("backoffLimitPerIndex", per_index), ("maxFailedIndexes", most_failed)] {
            if let Some(value) = value {
                refuse(key, value, "requires indexed completion mode");
            }
        }
    }
    if mode != Some("Indexed") {
        return causes;
    }
    if let Some(pods) = parallelism.filter(|pods| *pods > INDEXED_LIMIT) {
        let detail = format!("must be less than or equal to {INDEXED_LIMIT} when completion mode is Indexed");
        refuse("parallelism", pods, &detail);
    }
    if let Some(failed) = most_failed {
        if completions.is_some_and(|completions| failed > completions) {
            refuse("maxFailedIndexes", failed, "must be less than or equal to completions");
        }
        if failed > INDEXED_LIMIT {
            refuse("maxFailedIndexes", failed, &format!("must be less than or equal to {INDEXED_LIMIT}"));
        }
    }
    if completions.is_some_and(|completions| completions > MANY_COMPLETIONS) && per_index.is_some() {
        let detail = format!(
            "must be less than or equal to {LIMIT_OF_MANY} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
        );
        for (key, value) in [("parallelism", parallelism), ("maxFailedIndexes", most_failed)] {
            if let Some(value) = value.filter(|value| *value > LIMIT_OF_MANY) {
                refuse(key, value, &detail);
            }
        }
        if most_failed.is_none() {
            let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            causes.push(required(format!("{field}.maxFailedIndexes"), &detail));
        }
    }
    if completions.is_none() {
        causes.push(required(format!("{field}.completions"), "when completion mode is Indexed"));
    }
    causes
}

/// `["A" "B"]`, as Go writes a list of texts.
fn listed(values: &[&str]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", values.join(" "))
}

/// One of a set of texts, which must be given.
fn one_of(value: &str, allowed: &[&str], field: String) -> Option<Cause> {
    match value {
        "" => Some(required(field, &listed(allowed))),
        value if allowed.contains(&value) => None,
        value => Some(not_supported(field, value, allowed)),
    }
}

fn failure_policy(spec: &Value, policy: &Value, field: &str) -> Vec<Cause> {
    const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
    let mut causes = Vec::new();
    let rules = items(policy, "rules");
    if rules.len() > RULES_LIMIT {
        causes.push(too_many(field, rules.len(), RULES_LIMIT));
    }
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let action = text(rule, "action");
        if action == "FailIndex" && at(spec, "backoffLimitPerIndex").is_null() {
            let detail = "requires the backoffLimitPerIndex to be set";
            causes.push(invalid(format!("{field}.action"), action, detail));
        }
        causes.extend(one_of(action, &ACTIONS, format!("{field}.action")));
        let (codes, conditions) = (at(rule, "onExitCodes"), at(rule, "onPodConditions"));
        if !codes.is_null() {
            causes.extend(exit_codes(spec, codes, &format!("{field}.onExitCodes")));
        }
        causes.extend(conditions_of(rule, &format!("{field}.onPodConditions")));
        match (codes.is_null(), is_empty(conditions)) {
            (false, false) => causes
                .push(invalid_without_value(field, "specifying both OnExitCodes and OnPodConditions is not supported")),
            (true, true) => causes
                .push(invalid_without_value(field, "specifying one of OnExitCodes and OnPodConditions is required")),
            _ => {}
        }
    }
    causes
}

fn exit_codes(spec: &Value, codes: &Value, field: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> =
        one_of(text(codes, "operator"), &["In", "NotIn"], format!("{field}.operator")).into_iter().collect();
    if let Some(name) = at(codes, "containerName").as_str() {
        let mut containers = ["containers", "initContainers"]
            .into_iter()
            .flat_map(|list| items(at(spec, "template.spec"), list).iter().map(|container| text(container, "name")));
        if !containers.any(|own| own == name) {
            let detail = "must be one of the container or initContainer names in the pod template";
            causes.push(invalid(format!("{field}.containerName"), name, detail));
        }
    }
    let field = format!("{field}.values");
    let values: Vec<i64> = items(codes, "values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        causes.push(invalid(&field, at(codes, "values").clone(), "at least one value is required"));
    } else if values.len() > EXIT_CODES_LIMIT {
        causes.push(too_many(&field, values.len(), EXIT_CODES_LIMIT));
    }
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        if *value == 0 && text(codes, "operator") == "In" {
            causes.push(invalid(format!("{field}[{index}]"), 0, "must not be 0 for the In operator"));
        }
        if !seen.insert(value) {
            causes.push(duplicate(format!("{field}[{index}]"), *value));
        }
    }
    if !values.is_sorted() {
        causes.push(invalid(field, at(codes, "values").clone(), "must be ordered"));
    }
    causes
}

fn conditions_of(rule: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let patterns = items(rule, "onPodConditions");
    if patterns.len() > PATTERNS_LIMIT {
        causes.push(too_many(field, patterns.len(), PATTERNS_LIMIT));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let kind = text(pattern, "type");
        causes.extend(qualified(kind).iter().map(|problem| invalid(format!("{field}.type"), kind, problem)));
        causes.extend(one_of(text(pattern, "status"), &["False", "True", "Unknown"], format!("{field}.status")));
    }
    causes
}

fn success_policy(spec: &Value, policy: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let rules = items(policy, "rules");
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        causes.push(required(field, detail));
    }
    if rules.len() > RULES_LIMIT {
        causes.push(too_many(field, rules.len(), RULES_LIMIT));
    }
    let completions = int(spec, "completions");
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let (count, list) = (at(rule, "succeededCount").as_i64(), at(rule, "succeededIndexes").as_str());
        if count.is_none() && list.is_none() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            causes.push(required(&field, detail));
        }
        let mut named = 0;
        if let Some(list) = list {
            let field = format!("{field}.succeededIndexes");
            if list.len() > INDEXES_LIMIT {
                causes.push(too_long(&field, INDEXES_LIMIT));
            }
            match indexes::count(list, completions) {
                Ok(count) => named = count,
                Err(problem) => {
                    causes.push(invalid(field, list, &format!("error parsing succeededIndexes: {problem}")));
                }
            }
        }
        if let Some(count) = count {
            let field = format!("{field}.succeededCount");
            causes.extend(non_negative(&field, at(rule, "succeededCount")));
            if count > completions {
                let detail =
                    format!("must be less than or equal to {completions} (the number of specified completions)");
                causes.push(invalid(&field, count, &detail));
            }
            if list.is_some() && count > named {
                let detail = format!(
                    "must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)"
                );
                causes.push(invalid(&field, count, &detail));
            }
        }
    }
    causes
}

/// For a specification at `field`.
pub(super) fn warnings(spec: &Value, field: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    if text(spec, "completionMode") == "Indexed"
        && int(spec, "completions") > MANY_COMPLETIONS
        && int(spec, "parallelism") > LIMIT_OF_MANY
    {
        warnings.push(format!(
            "{field}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    warnings.extend(crate::pod_spec::warnings(at(spec, "template"), &format!("{field}.template")));
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;
    use serde_json::json;

    fn check(change: Value) -> Vec<String> {
        let context = Context { minor: 34, now: world::Timestamp::from_seconds(0), old: None, subresource: "" };
        let mut job = json!({"metadata": {"name": "j"}, "spec": {
            "template": {"spec": {"containers": [{"name": "c", "image": "busybox"}], "restartPolicy": "Never"}},
        }});
        job["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        (super::super::job::KIND.default)(&mut job, &context);
        let causes = validate(&job["spec"], "spec", 34);
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn jobs_are_judged_in_upstreams_words() {
        let rule = |rule: Value| json!({"podFailurePolicy": {"rules": [rule]}});
        let cases = [
            (json!({}), vec![]),
            (
                json!({"parallelism": -1}),
                vec!["spec.parallelism: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({"template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}}),
                vec![r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#],
            ),
            (
                json!({"completionMode": "Indexed", "parallelism": 1}),
                vec!["spec.completions: Required value: when completion mode is Indexed"],
            ),
            (
                json!({"backoffLimitPerIndex": 1}),
                vec!["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
            ),
            (
                json!({"managedBy": "me"}),
                vec![r#"spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")"#],
            ),
            (
                rule(json!({"action": "Ignore"})),
                vec![
                    "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
                ],
            ),
            (
                rule(json!({"onPodConditions": [{"type": "DisruptionTarget"}]})),
                vec![
                    r#"spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]"#,
                ],
            ),
            (
                rule(
                    json!({"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [2, 0, 0], "containerName": "d"}}),
                ),
                vec![
                    r#"spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set"#,
                    r#"spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "d": must be one of the container or initContainer names in the pod template"#,
                    "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                    "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Invalid value: 0: must not be 0 for the In operator",
                    "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 0",
                    "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,0,0]: must be ordered",
                ],
            ),
            (
                json!({"podReplacementPolicy": "TerminatingOrFailed", "podFailurePolicy": {"rules": []}}),
                vec![
                    r#"spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed""#,
                ],
            ),
            (
                json!({"successPolicy": {"rules": []}}),
                vec![r#"spec.successPolicy: Invalid value: {"rules":[]}: requires indexed completion mode"#],
            ),
            (
                json!({"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 3}, {"succeededIndexes": "2-1"}]}}),
                vec![
                    "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
                    r#"spec.successPolicy.rules[1].succeededIndexes: Invalid value: "2-1": error parsing succeededIndexes: non-increasing order, previous: 2, current: 1"#,
                ],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(check(change.clone()), expected, "{change}");
        }
    }
}
