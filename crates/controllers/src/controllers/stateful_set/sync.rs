//! One look at a StatefulSet: the next pod to make, delete or update, and its status.
//!
//! In order, each step waits until every pod before it is available; `Parallel` does not wait, but for updates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_client::Verb;
use k8s_object::resources::{PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS};
use k8s_object::views::{Pod, StatefulSet};
use k8s_object::{DecodeError, Object};
use serde_json::{Value, json};
use world::Timestamp;

use super::claims::{self, Owner};
use super::replica::{POD_NAME, Replica, body, ordinal};
use super::revision::Revisions;
use crate::controller::{Action, Plan, Planned, Step};
use crate::json::count;
use crate::view::{Failure, View};

/// Pods created by one plan at most.
const BURST: usize = 500;
/// How soon to look again at a claim that is going.
const CLAIM_WAIT: Duration = Duration::from_secs(5);

/// Whether to go on to the next pod.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

struct Sync<'a> {
    view: &'a View<'a>,
    object: &'a Arc<Object>,
    set: &'a StatefulSet,
    /// By number.
    replicas: BTreeMap<i64, Replica>,
    revisions: Revisions,
    now: Timestamp,
    plan: Plan,
    /// Creations of pods that need not wait for each other, and the events about them.
    creations: Vec<Action>,
    events: Vec<Action>,
    /// Pods of the current revision that this plan deletes for an update.
    replaced: usize,
}

pub(super) fn plan(
    view: &View<'_>,
    object: &Arc<Object>,
    set: &StatefulSet,
    pods: Vec<Arc<Object>>,
    revisions: Vec<Arc<Object>>,
    now: Timestamp,
    plan: Plan,
) -> Planned {
    let mut replicas = BTreeMap::new();
    for pod in pods {
        if let Some(ordinal) = ordinal(object, &pod) {
            replicas.insert(ordinal, Replica { pod: pod.view::<Pod>()?, object: pod, ordinal });
        }
    }
    let revisions = Revisions::new(view, object, set, revisions)?;
    let (creations, events) = (Vec::new(), Vec::new());
    let sync = Sync { view, object, set, replicas, revisions, now, plan, creations, events, replaced: 0 };
    sync.run()
}

impl Sync<'_> {
    fn run(mut self) -> Result<Plan, DecodeError> {
        match self.view.failure() {
            Some(failure) if failure.resource == PODS || failure.resource == PERSISTENT_VOLUME_CLAIMS => {
                self.tell(failure);
            }
            Some(_) => return Ok(self.plan),
            None => {
                self.plan.steps.extend(self.revisions.action.take().map(Step::One));
                if !self.object.meta().is_terminating() {
                    self.manage();
                }
                if !self.creations.is_empty() {
                    self.plan.steps.push(Step::Burst { actions: std::mem::take(&mut self.creations), announce: None });
                }
                let events = std::mem::take(&mut self.events);
                self.plan.steps.extend(events.into_iter().map(Step::One));
            }
        }
        let waits = self.replicas.values().filter_map(|replica| replica.available_at(self.set));
        if let Some(next) = waits.filter(|at| *at > self.now).min() {
            self.plan.requeue(next.since(self.now));
        }
        self.write_status();
        let used: Vec<String> = self.replicas.values().map(|replica| replica.revision().to_owned()).collect();
        let surplus = self.revisions.surplus(self.set, used.iter().map(String::as_str));
        self.plan.steps.extend(surplus.into_iter().map(Step::One));
        Ok(self.plan)
    }

    /// The event about a write of a pod or claim that went wrong.
    fn tell(&mut self, failure: &Failure) {
        let (set, name, error) = (&self.object.meta().name, &failure.object.name, &failure.error);
        let (verb, reason) = match failure.verb {
            Verb::Create => ("create", "FailedCreate"),
            Verb::Delete => ("delete", "FailedDelete"),
            _ => ("update", "FailedUpdate"),
        };
        let message = if failure.resource == PODS {
            format!("{verb} Pod {name} in StatefulSet {set} failed error: {error}")
        } else {
            let pod = name.rsplit_once('-').map_or("", |(_, ordinal)| ordinal);
            format!("{verb} Claim {name} for Pod {set}-{pod} in StatefulSet {set} failed error: {error}")
        };
        self.plan.then(Action::warning(self.object, reason, message));
    }

    /// The numbers that the set has: from the first to before the last.
    fn range(&self) -> std::ops::Range<i64> {
        let start = self.set.spec.ordinals.as_ref().map_or(0, |ordinals| ordinals.start);
        start..start + self.set.spec.replicas.unwrap_or(1)
    }

    fn in_order(&self) -> bool {
        self.set.spec.pod_management_policy != "Parallel"
    }

    fn unavailable(&self, replica: &Replica) -> bool {
        replica.is_unavailable(self.set, self.now)
    }

    fn manage(&mut self) {
        let first = self.first_unavailable();
        for ordinal in self.range() {
            // What is missing beyond one plan's share waits for the next, and so do those after it.
            if self.creations.len() >= BURST || (self.process(ordinal) == Next::Stop && self.in_order()) {
                return;
            }
        }
        let range = self.range();
        let condemned: Vec<Replica> =
            self.replicas.values().rev().filter(|replica| !range.contains(&replica.ordinal)).cloned().collect();
        for replica in &condemned {
            let claims = self.claims_of(replica, true);
            self.plan.steps.extend(claims.into_iter().map(Step::One));
        }
        for replica in &condemned {
            if self.condemn(replica, first) == Next::Stop && self.in_order() {
                return;
            }
        }
        if self.set.spec.update_strategy.kind != "OnDelete" {
            self.update();
        }
    }

    /// The first number of the set whose pod is not available; without one, the first of those beyond the set.
    fn first_unavailable(&self) -> Option<i64> {
        let missing = |ordinal: &i64| self.replicas.get(ordinal).is_none_or(|replica| self.unavailable(replica));
        let mut range = self.range();
        let (start, end) = (range.start, range.end);
        range.find(missing).or_else(|| {
            let beyond = self.replicas.values().filter(|replica| !(start..end).contains(&replica.ordinal));
            beyond.into_iter().find(|replica| self.unavailable(replica)).map(|replica| replica.ordinal)
        })
    }

    fn delete(&mut self, replica: &Replica) {
        self.plan.then(Action::delete(PODS, &replica.object));
        let (pod, set) = (replica.name(), &self.object.meta().name);
        let message = format!("delete Pod {pod} in StatefulSet {set} successful");
        self.plan.then(Action::event(self.object, "SuccessfulDelete", message));
    }

    fn process(&mut self, ordinal: i64) -> Next {
        let Some(replica) = self.replicas.get(&ordinal).cloned() else { return self.create(ordinal) };
        if replica.pod.is_finished() {
            if !replica.is_terminating() {
                self.delete(&replica);
            }
            return Next::Stop;
        }
        if matches!(replica.pod.status.phase.as_str(), "" | "Pending") {
            let missing = claims::missing(self.view, self.object, self.set, ordinal);
            self.plan.steps.extend(missing.actions.into_iter().map(Step::One));
        }
        if self.in_order()
            && (replica.is_terminating() || !replica.is_ready() || !replica.is_available(self.set, self.now))
        {
            return Next::Stop;
        }
        let mut actions = self.claims_of(&replica, false);
        if replica.object.meta().labels.get(POD_NAME) != Some(replica.name()) && !replica.is_terminating() {
            let labels = json!({"metadata": {"labels": {POD_NAME: replica.name()}}});
            actions.push(Action::merge(PODS, &replica.object, "", labels));
        }
        if !actions.is_empty() {
            let (pod, set) = (replica.name(), &self.object.meta().name);
            let message = format!("update Pod {pod} in StatefulSet {set} successful");
            actions.push(Action::event(self.object, "SuccessfulUpdate", message));
        }
        self.plan.steps.extend(actions.into_iter().map(Step::One));
        Next::GoOn
    }

    fn claims_of(&self, replica: &Replica, surplus: bool) -> Vec<Action> {
        let owner = Owner { name: replica.name(), pod: Some(&replica.object), surplus };
        claims::owned(self.view, self.object, self.set, replica.ordinal, &owner)
    }

    fn create(&mut self, ordinal: i64) -> Next {
        let (view, object, set) = (self.view, self.object, self.set);
        if claims::is_stale(view, object, set, ordinal) {
            self.plan.requeue(CLAIM_WAIT);
            return Next::Stop;
        }
        let name = &object.meta().name;
        let missing = claims::missing(view, object, set, ordinal);
        if let Some(claim) = missing.going {
            let message =
                format!("create Pod {name}-{ordinal} in StatefulSet {name} failed error: pvc {claim} is being deleted");
            self.plan.then(Action::warning(object, "FailedCreate", message));
            self.plan.requeue(CLAIM_WAIT);
            return Next::Stop;
        }
        self.plan.steps.extend(missing.actions.into_iter().map(Step::One));
        let revision = if self.is_old(ordinal) { &self.revisions.current } else { &self.revisions.update };
        let body = body(object, set, &revision.template, &revision.name, ordinal);
        let namespace = object.meta().namespace.clone();
        self.creations.push(Action::Create { resource: PODS, namespace, body, exists_ok: false });
        let owner = Owner { name: &format!("{name}-{ordinal}"), pod: None, surplus: false };
        self.creations.extend(claims::owned(view, object, set, ordinal, &owner));
        let message = format!("create Pod {name}-{ordinal} in StatefulSet {name} successful");
        self.events.push(Action::event(object, "SuccessfulCreate", message));
        Next::Stop
    }

    /// Whether a new pod of the number still gets the current template.
    fn is_old(&self, ordinal: i64) -> bool {
        let strategy = &self.set.spec.update_strategy;
        let start = self.range().start;
        match &strategy.rolling_update {
            Some(rolling) => ordinal < start + rolling.partition.unwrap_or(0),
            None => strategy.kind == "RollingUpdate" && ordinal < start + self.set.status.current_replicas,
        }
    }

    /// Deletes a pod beyond the set, the last first.
    fn condemn(&mut self, replica: &Replica, first_unavailable: Option<i64>) -> Next {
        if replica.is_terminating() {
            return Next::Stop;
        }
        let waits = !replica.is_ready() || !replica.is_available(self.set, self.now);
        if waits && self.in_order() && first_unavailable != Some(replica.ordinal) {
            return Next::Stop;
        }
        self.delete(replica);
        Next::Stop
    }

    /// Deletes the last pod that is not of the new template, once all after it are available; or as many as may be unavailable,
    /// whatever their order.
    fn update(&mut self) {
        let rolling = self.set.spec.update_strategy.rolling_update.as_ref();
        let partition = rolling.and_then(|own| own.partition).unwrap_or(0);
        let range = self.range();
        if let Some(limit) = rolling.and_then(|own| own.max_unavailable.as_ref()) {
            // Rounded down, but never to none.
            let limit = limit.scaled(range.end - range.start, false).unwrap_or(1).max(1);
            return self.update_some(range.start + partition, limit);
        }
        for ordinal in (range.start + partition..range.end).rev() {
            let Some(replica) = self.replicas.get(&ordinal).cloned() else { return };
            if replica.revision() != self.revisions.update.name && !replica.is_terminating() {
                self.delete(&replica);
                self.replaced += 1;
                return;
            }
            if self.unavailable(&replica) {
                return;
            }
        }
    }

    fn update_some(&mut self, first: i64, limit: i64) {
        let missing = |ordinal: &i64| self.replicas.get(ordinal).is_none_or(|replica| self.unavailable(replica));
        let unavailable = self.range().filter(missing).count();
        let left = usize::try_from(limit).unwrap_or(0).saturating_sub(unavailable);
        let is_old = |replica: &&Replica| replica.revision() != self.revisions.update.name && !replica.is_terminating();
        let last = self.range().end;
        let doomed: Vec<Replica> = self
            .replicas
            .range(first..last.max(first))
            .rev()
            .map(|(_, own)| own)
            .filter(is_old)
            .take(left)
            .cloned()
            .collect();
        for replica in doomed {
            self.delete(&replica);
            self.replaced += 1;
        }
    }

    fn write_status(&mut self) {
        let (set, old) = (self.set, &self.set.status);
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let of = |counts: &dyn Fn(&Replica) -> bool| {
            number(self.replicas.values().filter(|replica| counts(replica)).count())
        };
        let replicas = of(&|replica| !replica.pod.status.phase.is_empty());
        let ready = of(&|replica| replica.is_ready());
        let available = of(&|replica| replica.is_ready() && replica.is_available(set, self.now));
        let made_from = |name: &str| of(&|replica| !replica.is_terminating() && replica.revision() == name);
        let updated = made_from(&self.revisions.update.name);
        let mut current = made_from(&self.revisions.current.name) - number(self.replaced);
        let mut current_revision = &self.revisions.current.name;
        let wanted = set.spec.replicas.unwrap_or(1);
        if set.spec.update_strategy.kind == "RollingUpdate" && (updated, ready, replicas) == (wanted, wanted, wanted) {
            (current, current_revision) = (updated, &self.revisions.update.name);
        }
        let generation = self.object.meta().generation;
        let unchanged = generation <= old.observed_generation
            && (replicas, ready, available, current, updated)
                == (
                    old.replicas,
                    old.ready_replicas,
                    old.available_replicas,
                    old.current_replicas,
                    old.updated_replicas,
                )
            && *current_revision == old.current_revision
            && self.revisions.update.name == old.update_revision;
        if unchanged {
            return;
        }
        let change = json!({"status": {
            "observedGeneration": generation,
            "replicas": replicas,
            "readyReplicas": count(ready),
            "currentReplicas": count(current),
            "updatedReplicas": count(updated),
            "availableReplicas": available,
            "currentRevision": current_revision,
            "updateRevision": self.revisions.update.name,
            "collisionCount": self.revisions.collisions,
        }});
        let change: Value = change;
        let base = self.object.clone();
        self.plan.then(Action::Update { resource: STATEFUL_SETS, base, subresource: "status", change });
    }
}
