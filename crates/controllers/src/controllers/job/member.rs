//! A pod of a Job, and what the Job reads from it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_object::Object;
use k8s_object::views::{ContainerStatus, Job, Pod};
use world::Timestamp;

use super::super::time;

/// Annotation and label of the pods of an Indexed Job.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often the index has failed before, without and with the failures that a policy ignored.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub(super) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// A pod and its object.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) object: Arc<Object>,
    pub(super) pod: Arc<Pod>,
    /// Whether it has the finalizer that keeps it until it is counted.
    pub(super) tracked: bool,
}

impl Member {
    pub(super) fn uid(&self) -> &str {
        &self.object.meta().uid
    }

    pub(super) fn succeeded(&self) -> bool {
        self.pod.status.phase == "Succeeded"
    }

    /// Whether it counts as failed: one that is going does so before it has ended, unless only ended ones are replaced.
    pub(super) fn failed(&self, job: &Job) -> bool {
        self.pod.status.phase == "Failed"
            || (!replaces_only_failed(job) && self.object.meta().is_terminating() && !self.succeeded())
    }

    pub(super) fn is_terminating(&self) -> bool {
        self.object.meta().is_terminating() && !self.pod.is_finished()
    }

    /// Its completion index, if it has one.
    pub(super) fn index(&self) -> Option<i64> {
        let index = self.object.meta().annotations.get(INDEX)?.parse::<i64>().ok()?;
        (index >= 0).then_some(index)
    }

    fn count(&self, annotation: &str) -> i64 {
        let count = self.object.meta().annotations.get(annotation).and_then(|text| text.parse::<i32>().ok());
        count.map_or(0, |count| i64::from(count.max(0)))
    }

    pub(super) fn failures(&self) -> i64 {
        self.count(FAILURES)
    }

    pub(super) fn ignored_failures(&self) -> i64 {
        self.count(IGNORED_FAILURES)
    }

    pub(super) fn all_failures(&self) -> i64 {
        self.failures() + self.ignored_failures()
    }

    pub(super) fn restarts(&self) -> i64 {
        let statuses = self.pod.status.init_container_statuses.iter().chain(&self.pod.status.container_statuses);
        statuses.map(|status| status.restart_count).sum()
    }

    /// When it ended: its last container, else when it stopped being ready, else when it was deleted.
    pub(super) fn finished_at(&self) -> Timestamp {
        let meta = self.object.meta();
        let of_containers = || {
            let sidecar = |status: &&ContainerStatus| {
                let mut own = self.pod.spec.init_containers.iter().filter(|own| own.name == status.name);
                own.any(|own| own.restart_policy.as_deref() == Some("Always"))
            };
            let sidecars = self.pod.status.init_container_statuses.iter().filter(sidecar);
            let ends = self.pod.status.container_statuses.iter().chain(sidecars).map(|status| {
                let end = status.state.get("terminated")?.get("finishedAt")?.as_str()?;
                Timestamp::parse(end).ok()
            });
            // One that has not ended says that none of the times counts.
            ends.collect::<Option<Vec<_>>>()?.into_iter().max()
        };
        let not_ready = || {
            let ready = self.pod.condition("Ready").filter(|ready| ready.status == "False")?;
            ready.last_transition_time.as_ref().map(|at| time(Some(at)))
        };
        let deleted = || {
            let grace = u64::try_from(meta.deletion_grace_period_seconds.unwrap_or(0)).unwrap_or(0);
            meta.deletion_timestamp.as_ref().map(|at| time(Some(at)) - Duration::from_secs(grace))
        };
        let created = || time(meta.creation_timestamp.as_ref());
        of_containers().or_else(not_ready).or_else(deleted).unwrap_or_else(created)
    }
}

/// Whether a pod is replaced only when it has ended.
pub(super) fn replaces_only_failed(job: &Job) -> bool {
    job.spec.pod_replacement_policy.as_deref() == Some("Failed") || job.spec.pod_failure_policy.is_some()
}

/// Whether the pods have indexes.
pub(super) fn is_indexed(job: &Job) -> bool {
    job.spec.completion_mode == "Indexed"
}

/// Active pods to delete: of an Indexed Job those without a valid index and all but one of each index, then as many as make
/// `count`, in upstream's order (`ActivePods`).
pub(super) fn doomed(job: &Job, active: &[Member], count: usize) -> Vec<Member> {
    let (mut doomed, mut left) = (Vec::new(), Vec::new());
    if is_indexed(job) {
        let completions = job.spec.completions.unwrap_or(0);
        let mut by_index: BTreeMap<Option<i64>, Vec<Member>> = BTreeMap::new();
        for member in active {
            let index = member.index().filter(|index| *index < completions);
            by_index.entry(index).or_default().push(member.clone());
        }
        for (index, mut members) in by_index {
            members.sort_by_cached_key(order);
            if index.is_some() {
                left.extend(members.pop());
            }
            doomed.extend(members);
        }
    } else {
        left.extend_from_slice(active);
    }
    let more = count.saturating_sub(doomed.len());
    if more > 0 {
        left.sort_by_cached_key(order);
        doomed.extend(left.into_iter().take(more));
    }
    doomed
}

/// Not bound before bound, pending before running, not ready before ready, young before old, often restarted before stable.
fn order(member: &Member) -> impl Ord + use<> {
    let (pod, meta) = (&member.pod, member.object.meta());
    let phase = match pod.status.phase.as_str() {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let ready = pod.condition("Ready").filter(|ready| ready.status == "True");
    let restarts = pod.status.container_statuses.iter().map(|status| status.restart_count).max();
    (
        !pod.spec.node_name.is_empty(),
        phase,
        ready.map(|ready| Reverse(time(ready.last_transition_time.as_ref()))),
        Reverse(restarts),
        Reverse(time(meta.creation_timestamp.as_ref())),
        meta.name.clone(),
    )
}
