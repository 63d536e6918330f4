//! Rolls Deployments out: one ReplicaSet per pod template, sized so that never too many and never too few pods are there.
//!
//! A plan does one thing at a time, as upstream's sync does: create the new set, or scale up, or scale down, or clean up; the
//! next plan sees the result. `kubectl rollout` reads what stands in the status and the revision annotations.

mod conditions;
mod revision;
mod rollout;
mod scale;
pub(super) mod template;

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Index, Verb};
use k8s_object::resources::{DEPLOYMENTS, PODS, REPLICA_SETS};
use k8s_object::views::{Condition, Deployment, IntOrString, Pod, ReplicaSet};
use k8s_object::{DecodeError, Object, Reason};
use serde_json::{Value, json};
use world::Timestamp;

use super::time;
use crate::controller::{Action, Controller, Key, Plan, Planned, Step, Trigger, Watched};
use crate::ownership::{ORPHAN, claim, controller_of};
use crate::view::{Failure, Read, View};

pub(super) static CONTROLLER: Controller = Controller {
    name: "deployment-controller",
    event_source: "deployment-controller",
    service_account: "deployment-controller",
    about: "Rolls pod templates out through ReplicaSets.",
    watches: &[
        Watched { resource: DEPLOYMENTS, indices: &[] },
        Watched { resource: PODS, indices: &[Index::OWNER] },
        Watched { resource: REPLICA_SETS, indices: &[Index::OWNER, ORPHAN] },
    ],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: true,
    concurrency: 5,
    rest: Duration::from_millis(10),
};

const KIND: &str = "Deployment";

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.resource == DEPLOYMENTS {
        return vec![Key { resource: DEPLOYMENTS, object: change.key.clone() }.into()];
    }
    let mut keys: Vec<Key> = Vec::new();
    if change.resource == PODS {
        // Only Recreate waits for pods to be gone; otherwise the ReplicaSet's status says enough.
        let ended = match &change.new {
            None => true,
            Some(new) => new.view::<Pod>().is_ok_and(|pod| pod.is_finished()),
        };
        let set = ended.then(|| controller_of(view, change.latest().meta(), &REPLICA_SETS, "ReplicaSet")).flatten();
        let owner = set.and_then(|set| controller_of(view, set.meta(), &DEPLOYMENTS, KIND));
        let recreates =
            |owner: &Arc<Object>| owner.view::<Deployment>().is_ok_and(|d| d.spec.strategy.kind == "Recreate");
        keys.extend(owner.filter(recreates).map(|owner| Key::of(DEPLOYMENTS, &owner)));
    } else {
        for state in change.new.iter().chain(&change.old) {
            let owner = controller_of(view, state.meta(), &DEPLOYMENTS, KIND);
            keys.extend(owner.map(|owner| Key::of(DEPLOYMENTS, &owner)));
        }
        if let Some(new) = &change.new
            && new.meta().controller().is_none()
            && !new.meta().is_terminating()
        {
            let selects = |object: &&Arc<Object>| {
                let deployment = object.view::<Deployment>().ok();
                deployment.is_some_and(|d| d.spec.selector.as_ref().is_some_and(|s| s.matches(&new.meta().labels)))
            };
            let deployments = view.list_namespace(&DEPLOYMENTS, &change.key.namespace);
            keys.extend(deployments.iter().filter(selects).map(|object| Key::of(DEPLOYMENTS, object)));
        }
        keys.sort();
        keys.dedup();
    }
    keys.into_iter().map(Trigger::from).collect()
}

/// A ReplicaSet of the deployment.
#[derive(Debug, Clone)]
struct Set {
    object: Arc<Object>,
    view: Arc<ReplicaSet>,
}

impl Set {
    fn name(&self) -> &str {
        &self.object.meta().name
    }

    /// `spec.replicas`.
    fn size(&self) -> i64 {
        self.view.spec.replicas.unwrap_or(1)
    }

    fn available(&self) -> i64 {
        self.view.status.available_replicas
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.object.meta().annotations.get(key)
    }

    /// Age and name: upstream's `ReplicaSetsByCreationTimestamp`.
    fn age(&self) -> (Timestamp, String) {
        (time(self.object.meta().creation_timestamp.as_ref()), self.name().to_owned())
    }
}

/// One deployment while it is planned.
struct Sync<'a> {
    view: &'a View<'a>,
    object: &'a Arc<Object>,
    deployment: &'a Deployment,
    /// The set with the deployment's template, if there is one.
    new: Option<Set>,
    /// All others, the oldest first.
    old: Vec<Set>,
    /// `status.conditions` as they shall be.
    conditions: Vec<Condition>,
    now: Timestamp,
    plan: Plan,
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let Some(object) = view.get(&DEPLOYMENTS, &key.object) else { return Ok(Plan::nothing()) };
    let deployment = object.view::<Deployment>()?;
    let selector = match &deployment.spec.selector {
        Some(selector) if !selector.is_everything() => selector.clone(),
        _ => return Ok(selects_everything(&object, &deployment)),
    };
    let claim = match claim(view, &object, &DEPLOYMENTS, &selector, &REPLICA_SETS) {
        Ok(claim) => claim,
        Err(questions) => return Ok(Plan::ask(questions)),
    };
    let sets = claim.owned.into_iter().map(|object| object.view().map(|view| Set { object, view }));
    let mut sets: Vec<Set> = sets.collect::<Result<_, DecodeError>>()?;
    sets.sort_by_cached_key(Set::age);
    let new = sets.iter().position(|set| template::same(&set.view.spec.template, &deployment.spec.template));
    let new = new.map(|at| sets.remove(at));
    let mut sync = Sync {
        view,
        object: &object,
        deployment: &deployment,
        new,
        old: sets,
        conditions: deployment.status.conditions.clone(),
        now,
        plan: Plan::nothing(),
    };
    if let Some(failure) = view.failure() {
        return Ok(sync.report(failure));
    }
    sync.plan.steps.extend(claim.actions.into_iter().map(Step::One));
    sync.run()?;
    Ok(sync.plan)
}

/// A selector that is empty would take every pod of the namespace: nothing is done but saying so.
fn selects_everything(object: &Arc<Object>, deployment: &Deployment) -> Plan {
    let mut plan = Plan::nothing();
    let generation = object.meta().generation;
    if deployment.status.observed_generation < generation {
        let message = "This deployment is selecting all pods. A non-empty selector is required.";
        plan.then(Action::warning(object, "SelectingAll", message));
        let change = json!({"status": {"observedGeneration": generation}});
        plan.then(Action::Update { resource: DEPLOYMENTS, base: object.clone(), subresource: "status", change });
    }
    plan
}

impl Sync<'_> {
    fn run(&mut self) -> Result<(), DecodeError> {
        if self.object.meta().is_terminating() {
            self.sync_status();
            return Ok(());
        }
        self.note_pause();
        self.adopt_revision();
        if self.deployment.spec.paused || self.is_scaling() {
            self.rescale();
            if self.deployment.spec.paused {
                self.clean_up();
            }
            self.sync_status();
            return Ok(());
        }
        match self.deployment.spec.strategy.kind.as_str() {
            "Recreate" => self.recreate()?,
            _ => self.roll(),
        }
        self.sync_rollout_status();
        Ok(())
    }

    /// What the status says about a write that failed.
    fn report(mut self, failure: &Failure) -> Plan {
        if failure.verb != Verb::Create || failure.resource != REPLICA_SETS {
            return self.plan;
        }
        if failure.error.reason == Reason::AlreadyExists {
            return self.collide(failure);
        }
        let message = format!("Failed to create new replica set {:?}: {}", failure.object.name, failure.error);
        self.plan.then(Action::warning(self.object, "ReplicaSetCreateError", message.as_str()));
        if self.progress_deadline().is_some() {
            self.set_condition("Progressing", "False", "ReplicaSetCreateError", message);
        }
        self.sync_status();
        self.plan
    }

    /// The name of the new set is taken by a set with another template: the next name is tried, unless it was only the view
    /// that did not show our own.
    fn collide(mut self, failure: &Failure) -> Plan {
        let read = Read::Object(REPLICA_SETS, failure.object.clone());
        let Some(answer) = self.view.live(&read) else { return Plan::ask(vec![read]) };
        let Some(found) = answer.first() else { return self.plan };
        let ours = found.meta().controller().is_some_and(|owner| owner.uid == self.object.meta().uid);
        let same = found
            .view::<ReplicaSet>()
            .is_ok_and(|set| template::same(&set.spec.template, &self.deployment.spec.template));
        if !(ours && same) {
            let count = self.deployment.status.collision_count.unwrap_or(0) + 1;
            self.update_status(json!({"collisionCount": count}));
        }
        self.plan
    }

    /// All sets, the new one last.
    fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    /// `spec.replicas`.
    fn size(&self) -> i64 {
        self.deployment.spec.replicas.unwrap_or(1)
    }

    fn is_rolling(&self) -> bool {
        self.deployment.spec.strategy.kind != "Recreate"
    }

    /// Surge and unavailability in pods: surge is rounded up, unavailability down, and not both are zero
    /// (upstream's `ResolveFenceposts`).
    fn fenceposts(&self) -> (i64, i64) {
        let rolling = self.deployment.spec.strategy.rolling_update.clone().unwrap_or_default();
        let quarter = || IntOrString::String("25%".to_owned());
        let surge = rolling.max_surge.unwrap_or_else(quarter).scaled(self.size(), true).unwrap_or(0);
        let unavailable = rolling.max_unavailable.unwrap_or_else(quarter).scaled(self.size(), false).unwrap_or(0);
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    fn max_surge(&self) -> i64 {
        if self.is_rolling() { self.fenceposts().0 } else { 0 }
    }

    fn max_unavailable(&self) -> i64 {
        if self.is_rolling() && self.size() > 0 { self.fenceposts().1.min(self.size()) } else { 0 }
    }

    fn update_set(&mut self, set: &Set, change: Value) {
        self.plan.then(Action::Update { resource: REPLICA_SETS, base: set.object.clone(), subresource: "", change });
    }

    fn update_status(&mut self, status: Value) {
        let change = json!({"status": status});
        self.plan.then(Action::Update {
            resource: DEPLOYMENTS,
            base: self.object.clone(),
            subresource: "status",
            change,
        });
    }
}

#[cfg(test)]
mod tests;
