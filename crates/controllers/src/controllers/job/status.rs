//! The status of a Job: conditions, counters, and which pods become part of them.

use k8s_object::views::{JobStatus, UncountedTerminatedPods};
use serde_json::{Value, json};
use world::Timestamp;

use crate::json::count;

/// A condition that is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) kind: &'static str,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn new(kind: &'static str, reason: &str, message: &str) -> Verdict {
        Verdict { kind, reason: reason.to_owned(), message: message.to_owned() }
    }

    /// The same of another type.
    pub(super) fn again(kind: &'static str, condition: &Value) -> Verdict {
        let text = |key: &str| condition[key].as_str().unwrap_or_default();
        Verdict::new(kind, text("reason"), text("message"))
    }

    pub(super) fn json(&self, now: Timestamp) -> Value {
        condition(self.kind, "True", &self.reason, &self.message, now)
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let now = now.to_string();
    json!({
        "type": kind, "status": status, "lastProbeTime": now, "lastTransitionTime": now, "reason": reason,
        "message": message,
    })
}

/// Sets a condition. False when nothing changes: it is so already, or would be false and is not there.
pub(super) fn ensure(
    status: &mut JobStatus,
    kind: &str,
    state: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let new = condition(kind, state, reason, message, now);
    match status.conditions.iter_mut().find(|own| own["type"] == kind) {
        Some(own) if ["status", "reason", "message"].iter().all(|key| own[*key] == new[*key]) => false,
        Some(own) => {
            *own = new;
            true
        }
        None if state == "False" => false,
        None => {
            status.conditions.push(new);
            true
        }
    }
}

/// Makes uncounted pods that have lost their finalizer part of the counters.
pub(super) fn count_released(status: &mut JobStatus, is_tracked: impl Fn(&str) -> bool) {
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    for (uids, counter) in
        [(&mut uncounted.succeeded, &mut status.succeeded), (&mut uncounted.failed, &mut status.failed)]
    {
        let before = uids.len();
        uids.retain(|uid| is_tracked(uid));
        *counter += i64::try_from(before - uids.len()).unwrap_or(i64::MAX);
    }
}

/// What merges into a Job to give it this status.
pub(super) fn change(status: &JobStatus) -> Value {
    let list = |items: &[String]| if items.is_empty() { Value::Null } else { json!(items) };
    let none = UncountedTerminatedPods::default();
    let uncounted = status.uncounted_terminated_pods.as_ref().unwrap_or(&none);
    let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    json!({"status": {
        "conditions": if status.conditions.is_empty() { Value::Null } else { json!(status.conditions) },
        "startTime": status.start_time,
        "completionTime": status.completion_time,
        "active": count(status.active),
        "succeeded": count(status.succeeded),
        "failed": count(status.failed),
        "terminating": status.terminating,
        "ready": status.ready,
        "completedIndexes": text(&status.completed_indexes),
        "failedIndexes": status.failed_indexes,
        "uncountedTerminatedPods": {"succeeded": list(&uncounted.succeeded), "failed": list(&uncounted.failed)},
    }})
}
