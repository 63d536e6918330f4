//! The status of a deployment: its counts and the conditions `Available`, `Progressing` and `ReplicaFailure`, with upstream's
//! reasons and messages.

use std::time::Duration;

use k8s_object::views::{Condition, DeploymentStatus};
use serde_json::{Value, json};

use super::{Set, Sync};
use crate::controllers::{condition_json, time};
use crate::json::count;

const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

impl Sync<'_> {
    pub(super) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// The time a rollout may stand still, if it is limited.
    pub(super) fn progress_deadline(&self) -> Option<Duration> {
        let seconds =
            self.deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds < i64::from(i32::MAX))?;
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }

    /// Sets a condition unless it has that status and reason already; the transition time moves only with the status.
    pub(super) fn set_condition(&mut self, kind: &str, status: &str, reason: &str, message: impl Into<String>) {
        let known = self.condition(kind);
        if known.is_some_and(|known| known.status == status && known.reason == reason) {
            return;
        }
        let since = known.filter(|known| known.status == status).and_then(|known| known.last_transition_time.clone());
        self.put_condition(Condition {
            kind: kind.into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
            last_update_time: Some(self.now.to_string()),
            last_transition_time: Some(since.unwrap_or_else(|| self.now.to_string())),
            ..Condition::default()
        });
    }

    fn put_condition(&mut self, condition: Condition) {
        self.conditions.retain(|known| known.kind != condition.kind);
        self.conditions.push(condition);
    }

    /// Says that the rollout is paused or goes on, so that the pause does not count against the deadline.
    pub(super) fn note_pause(&mut self) {
        if self.progress_deadline().is_none() {
            return;
        }
        let reason = self.condition("Progressing").map(|condition| condition.reason.as_str());
        match (self.deployment.spec.paused, reason) {
            (_, Some(TIMED_OUT)) | (true, Some("DeploymentPaused")) => {}
            (true, _) => self.set_condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused"),
            (false, Some("DeploymentPaused")) => {
                self.set_condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed");
            }
            (false, _) => {}
        }
    }

    fn counts(&self) -> DeploymentStatus {
        let available = self.all().map(Set::available).sum();
        let total: i64 = self.all().map(Set::size).sum();
        DeploymentStatus {
            observed_generation: self.object.meta().generation,
            replicas: self.all().map(|set| set.view.status.replicas).sum(),
            updated_replicas: self.new.as_ref().map_or(0, |new| new.view.status.replicas),
            ready_replicas: self.all().map(|set| set.view.status.ready_replicas).sum(),
            available_replicas: available,
            unavailable_replicas: (total - available).max(0),
            terminating_replicas: self.terminating(),
            ..DeploymentStatus::default()
        }
    }

    /// How many pods are going, if all sets say so.
    fn terminating(&self) -> Option<i64> {
        let counts = self.view.options().counts_terminating();
        counts.then(|| self.all().map(|set| set.view.status.terminating_replicas).sum())?
    }

    /// Whether the stored status says that the rollout is done.
    pub(super) fn is_complete(&self) -> bool {
        self.completes(&self.deployment.status)
    }

    fn completes(&self, status: &DeploymentStatus) -> bool {
        let wanted = self.size();
        status.updated_replicas == wanted
            && status.replicas == wanted
            && status.available_replicas == wanted
            && status.observed_generation >= self.object.meta().generation
    }

    /// Writes the status as it is, without judging progress.
    pub(super) fn sync_status(&mut self) {
        let counts = self.counts();
        self.set_availability(&counts);
        self.write_status(&counts);
    }

    /// Writes the status and judges the progress of the rollout.
    pub(super) fn sync_rollout_status(&mut self) {
        let counts = self.counts();
        self.set_availability(&counts);
        self.judge_progress(&counts);
        self.set_failure();
        self.write_status(&counts);
        if let Some(deadline) = self.progress_deadline()
            && !self.completes(&counts)
            && let Some(progressing) = self.condition("Progressing").filter(|condition| condition.reason != TIMED_OUT)
        {
            let at = time(progressing.last_update_time.as_ref()) + deadline + Duration::from_secs(1);
            let wait = at.since(self.now).max(Duration::from_secs(1));
            self.plan.requeue(wait);
        }
    }

    fn set_availability(&mut self, counts: &DeploymentStatus) {
        if counts.available_replicas >= self.size() - self.max_unavailable() {
            let message = "Deployment has minimum availability.";
            self.set_condition("Available", "True", "MinimumReplicasAvailable", message);
        } else {
            let message = "Deployment does not have minimum availability.";
            self.set_condition("Available", "False", "MinimumReplicasUnavailable", message);
        }
    }

    fn judge_progress(&mut self, counts: &DeploymentStatus) {
        let Some(deadline) = self.progress_deadline() else {
            self.conditions.retain(|condition| condition.kind != "Progressing");
            return;
        };
        let known = self.condition("Progressing").cloned();
        let was_complete = known.as_ref().is_some_and(|known| known.reason == AVAILABLE);
        if was_complete && counts.replicas == counts.updated_replicas {
            return;
        }
        let who = match &self.new {
            Some(new) => format!("ReplicaSet {:?}", new.name()),
            None => format!("Deployment {:?}", self.object.meta().name),
        };
        if self.completes(counts) {
            self.set_condition("Progressing", "True", AVAILABLE, format!("{who} has successfully progressed."));
        } else if self.progresses(counts) {
            // Progress renews the time of update even where nothing else changes.
            let since = known.filter(|known| known.status == "True").and_then(|known| known.last_transition_time);
            self.put_condition(Condition {
                kind: "Progressing".into(),
                status: "True".into(),
                reason: "ReplicaSetUpdated".into(),
                message: format!("{who} is progressing."),
                last_update_time: Some(self.now.to_string()),
                last_transition_time: Some(since.unwrap_or_else(|| self.now.to_string())),
                ..Condition::default()
            });
        } else if let Some(known) = known
            && known.reason != AVAILABLE
            && (known.reason == TIMED_OUT || time(known.last_update_time.as_ref()) + deadline < self.now)
        {
            self.set_condition("Progressing", "False", TIMED_OUT, format!("{who} has timed out progressing."));
        }
    }

    /// Whether more pods are new, ready or available, or fewer are old, than when the status was last written.
    fn progresses(&self, counts: &DeploymentStatus) -> bool {
        let old = &self.deployment.status;
        counts.updated_replicas > old.updated_replicas
            || counts.replicas - counts.updated_replicas < old.replicas - old.updated_replicas
            || counts.ready_replicas > old.ready_replicas
            || counts.available_replicas > old.available_replicas
    }

    /// Shows the failure of the new set, or else of any.
    fn set_failure(&mut self) {
        let of = |set: &Set| {
            let mut conditions = set.view.status.conditions.iter();
            conditions.find(|condition| condition.kind == "ReplicaFailure").cloned()
        };
        let failure = self.new.iter().chain(&self.old).find_map(of);
        match failure {
            Some(failure) => {
                let (status, reason, message) = (failure.status, failure.reason, failure.message);
                self.set_condition("ReplicaFailure", &status, &reason, message);
            }
            None => self.conditions.retain(|condition| condition.kind != "ReplicaFailure"),
        }
    }

    fn write_status(&mut self, counts: &DeploymentStatus) {
        let old = &self.deployment.status;
        let key = |status: &DeploymentStatus| {
            (
                status.observed_generation,
                status.replicas,
                status.updated_replicas,
                status.ready_replicas,
                status.available_replicas,
                status.unavailable_replicas,
                status.terminating_replicas,
            )
        };
        if key(old) == key(counts) && old.conditions == self.conditions {
            return;
        }
        let conditions: Vec<Value> = self.conditions.iter().map(condition_json).collect();
        let mut status = json!({
            "observedGeneration": counts.observed_generation,
            "replicas": count(counts.replicas),
            "updatedReplicas": count(counts.updated_replicas),
            "readyReplicas": count(counts.ready_replicas),
            "availableReplicas": count(counts.available_replicas),
            "unavailableReplicas": count(counts.unavailable_replicas),
            "conditions": conditions,
        });
        // A count of zero is told, unlike those above.
        if counts.terminating_replicas != old.terminating_replicas {
            status["terminatingReplicas"] = json!(counts.terminating_replicas);
        }
        self.update_status(status);
    }
}
