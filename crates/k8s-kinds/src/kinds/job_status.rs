//! The rules of a Job's status: whoever manages it may only move it on.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;
use world::Timestamp;

use super::job_indexes as indexes;
use crate::causes::{duplicate, invalid, invalid_without_value, non_negative, required};
use crate::fields::{at, flag, int, is_empty, items, text};

/// Whether a condition of the Job is true.
pub(super) fn is_true(job: &Value, kind: &str) -> bool {
    items(job, "status.conditions")
        .iter()
        .any(|condition| text(condition, "type") == kind && text(condition, "status") == "True")
}

fn is_finished(job: &Value) -> bool {
    is_true(job, "Complete") || is_true(job, "Failed")
}

/// Judges a new status. What was wrong before may stay, so most rules look at what changes.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<Cause> {
    let status = at(new, "status");
    let mut causes = Vec::new();
    for key in ["active", "succeeded", "failed", "ready", "terminating"] {
        causes.extend(non_negative(format!("status.{key}"), at(status, key)));
    }
    causes.extend(uncounted(status));
    causes.extend(ends(new, old));
    causes.extend(of_finished(new, old));
    causes.extend(lists(new, old));
    causes.extend(success(new));
    causes.extend(transitions(new, old));
    causes
}

fn uncounted(status: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        for (index, uid) in items(at(status, "uncountedTerminatedPods"), list).iter().enumerate() {
            let field = format!("status.uncountedTerminatedPods.{list}[{index}]");
            match uid.as_str().unwrap_or_default() {
                "" => causes.push(invalid(field, "", "must not be empty")),
                uid if !seen.insert(uid) => causes.push(duplicate(field, uid)),
                _ => {}
            }
        }
    }
    causes
}

fn differs(new: &Value, old: &Value, path: &str) -> bool {
    let (new, old) = (at(new, path), at(old, path));
    let zero = |value: &Value| is_empty(value) || *value == 0;
    new != old && !(zero(new) && zero(old))
}

fn turned(new: &Value, old: &Value, kind: &str) -> bool {
    is_true(new, kind) != is_true(old, kind)
}

/// How it ends, and when.
fn ends(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let is = |kind: &str| is_true(new, kind);
    let turned = |kind: &str| turned(new, old, kind);
    let mut conditions = |detail: &str| causes.push(invalid_without_value("status.conditions", detail));
    if (turned("Complete") || turned("Failed")) && is("Complete") && is("Failed") {
        conditions("cannot set Complete=True and Failed=true conditions");
    }
    if (turned("Complete") || turned("FailureTarget")) && is("Complete") && is("FailureTarget") {
        conditions("cannot set Complete=True and FailureTarget=true conditions");
    }
    let end = at(new, "status.completionTime");
    let moved = turned("Complete") || differs(new, old, "status.completionTime");
    if moved && !end.is_null() && !is("Complete") {
        let detail = "cannot set completionTime when there is no Complete=True condition";
        causes.push(invalid("status.completionTime", end.clone(), detail));
    }
    if moved && end.is_null() && is("Complete") {
        causes.push(required("status.completionTime", "completionTime is required for Complete jobs"));
    }
    let moment = |path: &str| Timestamp::parse(text(new, path)).ok();
    let timed = differs(new, old, "status.completionTime") || differs(new, old, "status.startTime");
    if let (true, Some(start), Some(finish)) = (timed, moment("status.startTime"), moment("status.completionTime"))
        && finish < start
    {
        causes.push(invalid("status.completionTime", end.clone(), "must be equal to or after `startTime`"));
    }
    let mut conditions = |detail: &str| causes.push(invalid_without_value("status.conditions", detail));
    if (turned("Failed") || differs(new, old, "status.failedIndexes")) && is("Failed") && !is("FailureTarget") {
        conditions("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if (turned("Complete") || turned("SuccessCriteriaMet")) && is("Complete") && !is("SuccessCriteriaMet") {
        conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    causes
}

/// What a Job that has ended may not have any more.
fn of_finished(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let status = at(new, "status");
    let (finished, turned) = (is_finished(new), is_finished(new) != is_finished(old));
    let changed = |key: &str| turned || differs(new, old, &format!("status.{key}"));
    if !finished {
        return causes;
    }
    if changed("active") && int(status, "active") > 0 {
        causes.push(invalid("status.active", int(status, "active"), "active>0 is invalid for finished job"));
    }
    let never_ran = flag(new, "spec.suspend") && at(new, "spec.completions").as_i64() == Some(0);
    if changed("startTime") && !never_ran && at(status, "startTime").is_null() {
        causes.push(required("status.startTime", "startTime is required for finished job"));
    }
    let uncounted = at(status, "uncountedTerminatedPods");
    let some = |list: &str| !items(uncounted, list).is_empty();
    if changed("uncountedTerminatedPods") && (some("failed") || some("succeeded")) {
        let field = "status.uncountedTerminatedPods";
        causes.push(invalid(field, uncounted.clone(), "must be empty for finished job"));
    }
    if changed("terminating") && int(status, "terminating") > 0 {
        let detail = "terminating>0 is invalid for finished job";
        causes.push(invalid("status.terminating", int(status, "terminating"), detail));
    }
    causes
}

/// Lists of indexes, and counts of pods.
fn lists(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let status = at(new, "status");
    let (completed, failed) = (text(status, "completedIndexes"), at(status, "failedIndexes").as_str());
    let completions = at(new, "spec.completions").as_i64();
    let per_index = !at(new, "spec.backoffLimitPerIndex").is_null();
    let (completed_changed, failed_changed) = (
        differs(new, old, "status.completedIndexes"),
        at(new, "status.failedIndexes") != at(old, "status.failedIndexes"),
    );
    if let (true, Some(completions)) = (completed_changed, completions)
        && let Err(problem) = indexes::count(completed, completions)
    {
        let detail = format!("error parsing completedIndexes: {problem}");
        causes.push(invalid("status.completedIndexes", completed, &detail));
    }
    if let (true, true, Some(completions), Some(failed)) = (failed_changed, per_index, completions, failed)
        && let Err(problem) = indexes::count(failed, completions)
    {
        let detail = format!("error parsing failedIndexes: {problem}");
        causes.push(invalid("status.failedIndexes", failed, &detail));
    }
    if completed_changed && !completed.is_empty() && text(new, "spec.completionMode") != "Indexed" {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        causes.push(invalid("status.completedIndexes", completed, detail));
    }
    if let (true, false, Some(failed)) = (failed_changed, per_index, failed) {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        causes.push(invalid("status.failedIndexes", failed, detail));
    }
    if let (true, Some(completions), Some(failed)) = (failed_changed || completed_changed, completions, failed)
        && let Some(index) = indexes::overlap(completed, failed, completions)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        causes.push(invalid("status.failedIndexes", failed, &detail));
    }
    let ready = int(status, "ready");
    if (differs(new, old, "status.ready") || differs(new, old, "status.active")) && ready > int(status, "active") {
        causes.push(invalid("status.ready", ready, "cannot set more ready pods than active"));
    }
    causes
}

/// What goes together with meeting the criteria of success.
fn success(new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let is = |kind: &str| is_true(new, kind);
    let mut conditions = |detail: &str| causes.push(invalid_without_value("status.conditions", detail));
    if is("SuccessCriteriaMet") && is("Failed") {
        conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if is("SuccessCriteriaMet") && is("FailureTarget") {
        conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if !at(new, "spec.successPolicy").is_null() && !is("SuccessCriteriaMet") && is("Complete") {
        conditions("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
    }
    causes
}

/// What was reached stays.
fn transitions(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let status = at(new, "status");
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is_true(old, kind) && !is_true(new, kind) {
            let detail = format!("cannot disable the terminal {kind}=True condition");
            causes.push(invalid_without_value("status.conditions", &detail));
        }
    }
    let mut count = |key: &str| {
        if int(status, key) < int(at(old, "status"), key) {
            let detail = format!("cannot decrease the {key} counter");
            causes.push(invalid(format!("status.{key}"), int(status, key), &detail));
        }
    };
    count("failed");
    // A Job that is scaled down may lose what its last indexes had done.
    let elastic =
        text(new, "spec.completionMode") == "Indexed" && at(new, "spec.completions") == at(new, "spec.parallelism");
    if !elastic {
        count("succeeded");
    }
    let (end, old_end) = (at(status, "completionTime"), at(old, "status.completionTime"));
    if !end.is_null() && !old_end.is_null() && end != old_end {
        causes.push(invalid("status.completionTime", end.clone(), "field is immutable"));
    }
    let old_start = at(old, "status.startTime");
    if !old_start.is_null() && at(status, "startTime") != old_start && !flag(new, "spec.suspend") {
        causes.push(required("status.startTime", "startTime cannot be removed for unsuspended job"));
    }
    let met = |job: &Value| is_true(job, "SuccessCriteriaMet");
    let mut conditions = |detail: &str| causes.push(invalid_without_value("status.conditions", detail));
    if met(old) && !met(new) {
        conditions("cannot disable the SuccessCriteriaMet=True condition");
    }
    if is_true(old, "Complete") && !met(old) && met(new) {
        conditions("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions");
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn conditions(kinds: &[&str]) -> Value {
        kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
    }

    fn job(status: Value) -> Value {
        json!({"spec": {"completions": 3, "parallelism": 1, "completionMode": "Indexed"}, "status": status})
    }

    #[test]
    fn a_job_only_moves_on() {
        const START: &str = "2026-01-01T00:00:00Z";
        const END: &str = "2026-01-01T00:01:00Z";
        let done = json!({"startTime": START, "completionTime": END, "succeeded": 3,
            "conditions": conditions(&["SuccessCriteriaMet", "Complete"])});
        let cases: Vec<(Value, Value, Vec<&str>)> = vec![
            (json!({}), json!({"startTime": START, "active": 1, "ready": 1}), vec![]),
            (json!({"startTime": START}), done.clone(), vec![]),
            (
                json!({"startTime": START}),
                json!({"startTime": START, "conditions": conditions(&["Complete"])}),
                vec![
                    "status.completionTime: Required value: completionTime is required for Complete jobs",
                    "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                ],
            ),
            (
                done.clone(),
                json!({"startTime": START, "succeeded": 2}),
                vec![
                    "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                    "status.succeeded: Invalid value: 2: cannot decrease the succeeded counter",
                    "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
                ],
            ),
            (
                json!({}),
                json!({"ready": 2, "active": 1}),
                vec!["status.ready: Invalid value: 2: cannot set more ready pods than active"],
            ),
            (
                json!({}),
                json!({"completedIndexes": "0,5"}),
                vec![
                    r#"status.completedIndexes: Invalid value: "0,5": error parsing completedIndexes: too large index: "5""#,
                ],
            ),
            (
                json!({}),
                json!({"failedIndexes": "0", "completedIndexes": "0"}),
                vec![
                    r#"status.failedIndexes: Invalid value: "0": cannot set non-null failedIndexes when backoffLimitPerIndex is null"#,
                    r#"status.failedIndexes: Invalid value: "0": failedIndexes and completedIndexes overlap at index: 0"#,
                ],
            ),
            (
                json!({"startTime": START}),
                json!({}),
                vec!["status.startTime: Required value: startTime cannot be removed for unsuspended job"],
            ),
            (
                json!({}),
                json!({"uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]}}),
                vec![
                    r#"status.uncountedTerminatedPods.succeeded[1]: Invalid value: "": must not be empty"#,
                    r#"status.uncountedTerminatedPods.failed[0]: Duplicate value: "a""#,
                ],
            ),
        ];
        for (old, new, expected) in cases {
            let causes = validate(&job(new.clone()), &job(old));
            let causes: Vec<String> =
                causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(causes, expected, "{new}");
        }
    }
}
