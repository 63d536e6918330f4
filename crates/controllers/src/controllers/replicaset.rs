//! Keeps as many pods as a ReplicaSet asks for. A ReplicationController is the same thing under an older name: it brings its
//! own [`Shape`] and nothing else.

mod rank;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Index, Verb};
use k8s_object::resources::{PODS, REPLICA_SETS};
use k8s_object::views::{Condition, Pod, ReplicaSet};
use k8s_object::{DecodeError, GroupVersionResource, LabelSelector, Object, Properties};
use serde_json::{Value, json};
use world::Timestamp;

use super::{condition_json, time};
use crate::controller::{Action, Announce, Controller, Key, Plan, Planned, Step, Trigger, Watched};
use crate::json::count;
use crate::ownership::{ORPHAN, claim, controller_of, controller_reference};
use crate::view::View;

pub(super) static CONTROLLER: Controller = Controller {
    name: "replicaset-controller",
    event_source: "replicaset-controller",
    service_account: "replicaset-controller",
    about: "Creates and deletes pods until a ReplicaSet has as many as it asks for.",
    watches: &[
        Watched { resource: PODS, indices: &[Index::OWNER, ORPHAN] },
        Watched { resource: REPLICA_SETS, indices: &[Index::OWNER] },
    ],
    watches_everything: false,
    triggers: |change, view| triggers(&SHAPE, change, view),
    plan: |view, key, now| plan(&SHAPE, view, key, now),
    reports_failures: true,
    concurrency: 5,
    rest: Duration::from_millis(20),
};

/// Pods created or deleted by one plan at most: upstream's `BurstReplicas`.
const BURST: usize = 500;

/// What tells a ReplicaSet from a ReplicationController.
pub(super) struct Shape {
    pub(super) resource: GroupVersionResource,
    pub(super) kind: &'static str,
    pub(super) read: fn(&Object) -> Result<Arc<ReplicaSet>, DecodeError>,
}

static SHAPE: Shape = Shape { resource: REPLICA_SETS, kind: "ReplicaSet", read: |object| object.view() };

pub(super) fn triggers(shape: &Shape, change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.resource == shape.resource {
        return vec![Key { resource: shape.resource.clone(), object: change.key.clone() }.into()];
    }
    let states = [change.new.as_deref(), change.old.as_deref()];
    let mut keys: Vec<Key> = Vec::new();
    for state in states.into_iter().flatten() {
        if let Some(set) = controller_of(view, state.meta(), &shape.resource, shape.kind) {
            let key = Key::of(shape.resource.clone(), &set);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    if let Some(new) = change.new.as_deref()
        && new.meta().controller().is_none()
        && !new.meta().is_terminating()
    {
        let sets = view.list_namespace(&shape.resource, &new.meta().namespace);
        let selects = |set: &Arc<Object>| {
            let set = (shape.read)(set).ok();
            set.and_then(|set| set.spec.selector.clone()).is_some_and(|selector| selector.matches(&new.meta().labels))
        };
        keys.extend(sets.iter().filter(|set| selects(set)).map(|set| Key::of(shape.resource.clone(), set)));
    }
    keys.into_iter().map(Trigger::from).collect()
}

/// A pod and its object.
#[derive(Clone)]
struct Member {
    object: Arc<Object>,
    pod: Arc<Pod>,
}

impl Member {
    /// When the pod became or will become available; `None` while it is not ready.
    fn available_at(&self, min_ready_seconds: i64) -> Option<Timestamp> {
        let ready = self.pod.condition("Ready").filter(|ready| ready.status == "True")?;
        let min_ready = Duration::from_secs(u64::try_from(min_ready_seconds).unwrap_or(0));
        Some(if min_ready.is_zero() {
            Timestamp::default()
        } else {
            time(ready.last_transition_time.as_ref()) + min_ready
        })
    }
}

fn members(objects: Vec<Arc<Object>>) -> Result<Vec<Member>, DecodeError> {
    let members =
        objects.into_iter().map(|object| object.view::<Pod>().map(|pod| Member { pod, object: object.clone() }));
    members.collect()
}

pub(super) fn plan(shape: &Shape, view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let Some(object) = view.get(&shape.resource, &key.object) else { return Ok(Plan::nothing()) };
    let set = (shape.read)(&object)?;
    // An absent selector selects nothing; validation does not let it through.
    let selector = set.spec.selector.clone().unwrap_or_else(LabelSelector::nothing);
    let claim = match claim(view, &object, &shape.resource, &selector, &PODS) {
        Ok(claim) => claim,
        Err(questions) => return Ok(Plan::ask(questions)),
    };
    let owned = members(claim.owned)?;
    let terminating = terminating(shape, view, &owned);
    let active: Vec<Member> = owned.into_iter().filter(|member| member.pod.is_active()).collect();
    let mut plan = Plan::nothing();
    if view.failure().is_some_and(|failure| failure.resource != PODS) {
        return Ok(plan);
    }
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    let failure = failure_condition(view, &set, active.len(), wanted, now);
    if view.failure().is_none() {
        plan.steps.extend(claim.actions.into_iter().map(Step::One));
        if !object.meta().is_terminating() {
            plan.steps.extend(resize(shape, view, &object, &set, &active, wanted, now)?);
        }
    }
    let min_ready = set.spec.min_ready_seconds;
    let waits = active.iter().filter_map(|member| member.available_at(min_ready)).filter(|at| *at > now);
    if let Some(next) = waits.min() {
        plan.requeue(next.since(now));
    }
    plan.steps.extend(status(shape, &object, &set, &active, terminating, failure, now).map(Step::One));
    Ok(plan)
}

/// How many pods are going, where that is told: a ReplicationController never tells.
fn terminating(shape: &Shape, view: &View<'_>, owned: &[Member]) -> Option<i64> {
    let going = |member: &&Member| member.object.meta().is_terminating() && !member.pod.is_finished();
    let told = view.options().counts_terminating() && shape.resource == REPLICA_SETS;
    told.then(|| i64::try_from(owned.iter().filter(going).count()).unwrap_or(i64::MAX))
}

/// Creates what is missing or deletes what is too much.
fn resize(
    shape: &Shape,
    view: &View<'_>,
    object: &Arc<Object>,
    set: &ReplicaSet,
    active: &[Member],
    wanted: usize,
    now: Timestamp,
) -> Result<Option<Step>, DecodeError> {
    let announce = |success, failure| Some(Announce { about: object.clone(), what: "pod", success, failure });
    if active.len() < wanted {
        let create = Action::Create {
            resource: PODS,
            namespace: object.meta().namespace.clone(),
            body: pod_body(object, &set.spec.template),
            exists_ok: false,
        };
        let actions = vec![create; (wanted - active.len()).min(BURST)];
        return Ok(Some(Step::Burst { actions, announce: announce("SuccessfulCreate", "FailedCreate") }));
    }
    let surplus = (active.len() - wanted).min(BURST);
    if surplus == 0 {
        return Ok(None);
    }
    let doomed = match wanted {
        0 => active.iter().take(surplus).collect(),
        _ => rank::doomed(active, &crowd(shape, view, object)?, surplus, now),
    };
    let actions = doomed.into_iter().map(|member| Action::delete(PODS, &member.object)).collect();
    Ok(Some(Step::Burst { actions, announce: announce("SuccessfulDelete", "FailedDelete") }))
}

/// Active pods per node of all sets with the same controller: of two pods the one with more company goes first.
fn crowd(shape: &Shape, view: &View<'_>, object: &Object) -> Result<BTreeMap<String, usize>, DecodeError> {
    let siblings = match object.meta().controller() {
        Some(controller) => {
            let siblings = view.indexed(&shape.resource, Index::OWNER.name, &controller.uid);
            siblings.iter().map(|sibling| sibling.meta().uid.clone()).collect()
        }
        None => vec![object.meta().uid.clone()],
    };
    let mut crowd = BTreeMap::new();
    for uid in siblings {
        for member in members(view.indexed(&PODS, Index::OWNER.name, &uid))? {
            if member.pod.is_active() && !member.pod.spec.node_name.is_empty() {
                *crowd.entry(member.pod.spec.node_name.clone()).or_default() += 1;
            }
        }
    }
    Ok(crowd)
}

/// A pod of a template, controlled by `owner`.
pub(super) fn pod_body(owner: &Object, template: &Value) -> Value {
    let mut metadata = json!({
        "generateName": format!("{}-", owner.meta().name),
        "namespace": owner.meta().namespace,
        "ownerReferences": [controller_reference(owner)],
    });
    for field in ["annotations", "finalizers", "labels"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// The condition `ReplicaFailure` as it should be: what failed just now, or what stands there as long as nothing was tried.
fn failure_condition(
    view: &View<'_>,
    set: &ReplicaSet,
    have: usize,
    wanted: usize,
    now: Timestamp,
) -> Option<Condition> {
    let failure = view.failure()?;
    let known = set.status.conditions.iter().find(|condition| condition.kind == "ReplicaFailure");
    let reason = match failure.verb {
        Verb::Create if have < wanted => "FailedCreate",
        Verb::Delete if have > wanted => "FailedDelete",
        _ => return known.cloned(),
    };
    // Upstream leaves a condition that is there as it is, so that retries do not rewrite it.
    Some(known.cloned().unwrap_or_else(|| Condition {
        kind: "ReplicaFailure".into(),
        status: "True".into(),
        reason: reason.into(),
        message: failure.error.to_string(),
        last_transition_time: Some(now.to_string()),
        ..Condition::default()
    }))
}

/// The write of the status, if it changes.
fn status(
    shape: &Shape,
    object: &Arc<Object>,
    set: &ReplicaSet,
    active: &[Member],
    terminating: Option<i64>,
    failure: Option<Condition>,
    now: Timestamp,
) -> Option<Action> {
    let template: Properties =
        serde_json::from_value(set.spec.template["metadata"]["labels"].clone()).unwrap_or_default();
    let labeled =
        |member: &&Member| template.iter().all(|(key, value)| member.object.meta().labels.get(key) == Some(value));
    let available = |member: &&Member| member.available_at(set.spec.min_ready_seconds).is_some_and(|at| at <= now);
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let replicas = number(active.len());
    let fully_labeled = number(active.iter().filter(labeled).count());
    let ready = number(active.iter().filter(|member| member.pod.is_ready()).count());
    let available = number(active.iter().filter(available).count());
    let old = &set.status;
    let others = || old.conditions.iter().filter(|condition| condition.kind != "ReplicaFailure");
    let conditions: Vec<&Condition> = others().chain(&failure).collect();
    let unchanged = (old.replicas, old.fully_labeled_replicas, old.ready_replicas, old.available_replicas)
        == (replicas, fully_labeled, ready, available)
        && old.terminating_replicas == terminating
        && old.observed_generation == object.meta().generation
        && conditions.iter().copied().eq(&old.conditions);
    if unchanged {
        return None;
    }
    let conditions: Vec<Value> = conditions.into_iter().map(condition_json).collect();
    let mut status = json!({
        "replicas": replicas,
        "fullyLabeledReplicas": count(fully_labeled),
        "readyReplicas": count(ready),
        "availableReplicas": count(available),
        "observedGeneration": object.meta().generation,
        "conditions": if conditions.is_empty() { Value::Null } else { Value::Array(conditions) },
    });
    // A count of zero is told, unlike those above.
    if old.terminating_replicas != terminating {
        status["terminatingReplicas"] = json!(terminating);
    }
    Some(Action::Update {
        resource: shape.resource.clone(),
        base: object.clone(),
        subresource: "status",
        change: json!({"status": status}),
    })
}

#[cfg(test)]
mod tests;
