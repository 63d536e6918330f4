//! Job and CronJob.

use serde::Deserialize;
use serde_json::Value;

use crate::{LabelSelector, ObjectMeta};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Job {
    pub metadata: ObjectMeta,
    pub spec: JobSpec,
    pub status: JobStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    pub parallelism: Option<i64>,
    /// Absent: one success is enough, and how many pods there are is up to them.
    pub completions: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    pub backoff_limit: Option<i64>,
    pub backoff_limit_per_index: Option<i64>,
    pub max_failed_indexes: Option<i64>,
    pub selector: Option<LabelSelector>,
    pub template: Value,
    pub ttl_seconds_after_finished: Option<i64>,
    /// `NonIndexed` or `Indexed`.
    pub completion_mode: String,
    pub suspend: bool,
    /// `TerminatingOrFailed` or `Failed`.
    pub pod_replacement_policy: Option<String>,
    pub pod_failure_policy: Option<PodFailurePolicy>,
    pub success_policy: Option<SuccessPolicy>,
    pub managed_by: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodFailurePolicy {
    #[serde(deserialize_with = "super::null_is_default")]
    pub rules: Vec<PodFailurePolicyRule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodFailurePolicyRule {
    /// `FailJob`, `FailIndex`, `Ignore` or `Count`.
    pub action: String,
    pub on_exit_codes: Option<OnExitCodes>,
    pub on_pod_conditions: Vec<PodConditionPattern>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OnExitCodes {
    /// Absent: any container.
    pub container_name: Option<String>,
    /// `In` or `NotIn`.
    pub operator: String,
    pub values: Vec<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodConditionPattern {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SuccessPolicy {
    #[serde(deserialize_with = "super::null_is_default")]
    pub rules: Vec<SuccessPolicyRule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessPolicyRule {
    /// E.g. `0,2-4`.
    pub succeeded_indexes: Option<String>,
    pub succeeded_count: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// As JSON: the controller writes them back.
    pub conditions: Vec<Value>,
    pub start_time: Option<String>,
    pub completion_time: Option<String>,
    pub active: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub terminating: Option<i64>,
    pub ready: Option<i64>,
    pub completed_indexes: String,
    pub failed_indexes: Option<String>,
    pub uncounted_terminated_pods: Option<UncountedTerminatedPods>,
}

/// Uids of pods that have ended and are not in the counters yet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UncountedTerminatedPods {
    pub succeeded: Vec<String>,
    pub failed: Vec<String>,
}

impl Job {
    /// The condition of that type, if it is true.
    pub fn true_condition(&self, kind: &str) -> Option<&Value> {
        self.status.conditions.iter().find(|condition| condition["type"] == kind && condition["status"] == "True")
    }

    /// The condition that says that it has come to its end: `Complete` or `Failed`.
    pub fn finished(&self) -> Option<&Value> {
        let ends = |condition: &&Value| {
            (condition["type"] == "Complete" || condition["type"] == "Failed") && condition["status"] == "True"
        };
        self.status.conditions.iter().find(ends)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CronJob {
    pub metadata: ObjectMeta,
    pub spec: CronJobSpec,
    pub status: CronJobStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobSpec {
    pub schedule: String,
    pub time_zone: Option<String>,
    pub starting_deadline_seconds: Option<i64>,
    /// `Allow`, `Forbid` or `Replace`.
    pub concurrency_policy: String,
    pub suspend: bool,
    pub job_template: Value,
    pub successful_jobs_history_limit: Option<i64>,
    pub failed_jobs_history_limit: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobStatus {
    /// References to Jobs, as JSON: the controller writes them back.
    pub active: Vec<Value>,
    pub last_schedule_time: Option<String>,
    pub last_successful_time: Option<String>,
}
