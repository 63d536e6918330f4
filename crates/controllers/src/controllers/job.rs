//! Runs pods to their end: as many as a Job wants to succeed, with retries, limits and policies.
//!
//! Pods keep a finalizer until they are counted in the status of their Job, so that none is lost and none counts twice: first the
//! status names them as uncounted, then the finalizer goes, then they become a number.

mod backoff;
mod indexes;
mod member;
mod policy;
mod status;
mod sync;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Index, PatchType};
use k8s_object::Object;
use k8s_object::resources::{JOBS, PODS};
use k8s_object::views::Job;
use serde_json::json;
use world::Timestamp;

use crate::controller::{Action, Controller, Key, Plan, Planned, Step, Trigger, Watched};
use crate::ownership::{ORPHAN, controller_of};
use crate::view::View;

pub(super) static CONTROLLER: Controller = Controller {
    name: "job-controller",
    event_source: "job-controller",
    service_account: "job-controller",
    about: "Runs the pods of Jobs until enough of them have succeeded or too many have failed.",
    watches: &[
        Watched { resource: JOBS, indices: &[Index::OWNER] },
        Watched { resource: PODS, indices: &[Index::OWNER, ORPHAN] },
    ],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: true,
    concurrency: 5,
    rest: Duration::from_millis(100),
};

/// The finalizer of pods that are not counted yet.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The value of `managedBy` that means this controller.
const OURSELVES: &str = "kubernetes.io/job-controller";

fn is_tracked(pod: &Object) -> bool {
    pod.meta().finalizers.iter().any(|finalizer| finalizer == TRACKING)
}

/// Whether somebody else runs the Job.
fn is_foreign(job: &Job) -> bool {
    job.spec.managed_by.as_deref().is_some_and(|manager| manager != OURSELVES)
}

/// Lets a pod go that is counted, or that nobody counts.
fn release(pod: &Object) -> Action {
    let body = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [TRACKING], "uid": pod.meta().uid}});
    let uid = pod.meta().uid.clone();
    Action::Patch { resource: PODS, object: pod.key(), uid, subresource: "", kind: PatchType::Strategic, body }
}

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    let mut keys = BTreeSet::new();
    if change.resource == JOBS {
        keys.insert(Key { resource: JOBS, object: change.key.clone() });
        if let (Some(old), None) = (&change.old, &change.new) {
            let left = view.indexed(&PODS, Index::OWNER.name, &old.meta().uid);
            keys.extend(left.iter().filter(|pod| is_tracked(pod)).map(|pod| Key::of(PODS, pod)));
        }
        return keys.into_iter().map(Trigger::from).collect();
    }
    for state in change.old.iter().chain(&change.new) {
        if let Some(job) = controller_of(view, state.meta(), &JOBS, "Job") {
            keys.insert(Key::of(JOBS, &job));
        }
    }
    if let Some(new) = &change.new {
        if is_tracked(new) && is_left_over(view, new) {
            keys.insert(Key::of(PODS, new));
        }
        if new.meta().controller().is_none() && !new.meta().is_terminating() {
            let jobs = view.list_namespace(&JOBS, &new.meta().namespace);
            let selects = |job: &&Arc<Object>| {
                let selector = job.view::<Job>().ok().and_then(|job| job.spec.selector.clone());
                selector.is_some_and(|selector| selector.matches(&new.meta().labels))
            };
            keys.extend(jobs.iter().filter(selects).map(|job| Key::of(JOBS, job)));
        }
    }
    keys.into_iter().map(Trigger::from).collect()
}

/// Whether nobody counts the pod: it has no controller, or a Job that is gone or has ended.
fn is_left_over(view: &View<'_>, pod: &Object) -> bool {
    let Some(reference) = pod.meta().controller() else { return true };
    if reference.kind != "Job" || reference.api_version != "batch/v1" {
        return false;
    }
    match controller_of(view, pod.meta(), &JOBS, "Job") {
        None => true,
        Some(job) => job.view::<Job>().is_ok_and(|job| job.finished().is_some() && !is_foreign(&job)),
    }
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    if key.resource == PODS {
        let pod = view.get(&PODS, &key.object).filter(|pod| is_tracked(pod) && is_left_over(view, pod));
        plan.steps.extend(pod.map(|pod| Step::One(release(&pod))));
        return Ok(plan);
    }
    let Some(object) = view.get(&JOBS, &key.object) else { return Ok(plan) };
    let job = object.view::<Job>()?;
    if is_foreign(&job) {
        return Ok(plan);
    }
    if job.finished().is_some() {
        let left = view.indexed(&PODS, Index::OWNER.name, &object.meta().uid);
        let left = left.iter().filter(|pod| is_tracked(pod) && is_left_over(view, pod));
        let actions: Vec<Action> = left.map(|pod| release(pod)).collect();
        if !actions.is_empty() {
            plan.steps.push(Step::Burst { actions, announce: None });
        }
        return Ok(plan);
    }
    sync::plan(view, &object, &job, now)
}

#[cfg(test)]
mod tests;
