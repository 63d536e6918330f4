//! Deletes Jobs some time after they have ended, if they ask for it.

use std::time::Duration;

use k8s_client::{Change, Propagation};
use k8s_object::Object;
use k8s_object::resources::JOBS;
use k8s_object::views::Job;
use world::Timestamp;

use super::time;
use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::view::{Read, View};

pub(super) static CONTROLLER: Controller = Controller {
    name: "ttl-after-finished-controller",
    event_source: "ttl-after-finished-controller",
    service_account: "ttl-after-finished-controller",
    about: "Deletes Jobs that have ended when their time to live is over.",
    watches: &[Watched { resource: JOBS, indices: &[] }],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 5,
    rest: Duration::ZERO,
};

fn triggers(change: &Change, _: &View<'_>) -> Vec<Trigger> {
    let key = change.new.as_ref().filter(|job| expiry(job).is_some()).map(|job| Key::of(JOBS, job));
    key.into_iter().map(Trigger::from).collect()
}

/// When a Job is to be deleted; never, if it has not ended or does not say.
fn expiry(object: &Object) -> Option<Timestamp> {
    let job = object.view::<Job>().ok()?;
    let seconds = u64::try_from(job.spec.ttl_seconds_after_finished?).ok()?;
    let ended = job.finished()?["lastTransitionTime"].as_str()?.to_owned();
    (!object.meta().is_terminating()).then(|| time(Some(&ended)) + Duration::from_secs(seconds))
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(at) = view.get(&JOBS, &key.object).and_then(|object| expiry(&object)) else { return Ok(plan) };
    if at > now {
        plan.requeue(at.since(now));
        return Ok(plan);
    }
    // The time may have been prolonged since the view was made.
    let read = Read::Object(JOBS, key.object.clone());
    let Some(live) = view.live(&read) else { return Ok(Plan::ask(vec![read])) };
    if let Some(live) = live.first().filter(|live| expiry(live).is_some_and(|at| at <= now)) {
        plan.then(Action::Delete {
            resource: JOBS,
            object: key.object.clone(),
            uid: live.meta().uid.clone(),
            resource_version: None,
            propagation: Some(Propagation::Foreground),
            grace_period_seconds: None,
        });
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, plan_of};
    use serde_json::{Value, json};

    #[test]
    fn jobs_go_when_their_time_is_over() {
        let ended = || json!([{"type": "Complete", "status": "True", "lastTransitionTime": "2025-12-31T23:59:00Z"}]);
        // Seconds to live, conditions, whether it is deleted, seconds to wait.
        let cases = [
            (json!(60), ended(), true, None),
            (json!(0), ended(), true, None),
            (json!(90), ended(), false, Some(30)),
            (Value::Null, ended(), false, None),
            (json!(0), json!([]), false, None),
        ];
        for (ttl, conditions, deleted, wait) in cases {
            let value = json!({"spec": {"ttlSecondsAfterFinished": ttl}, "status": {"conditions": conditions}});
            let plan = plan_of(&CONTROLLER, &[object(&JOBS, "a", "work", value)], &Key::new(JOBS, "a", "work"));
            let delete: &[&str] = if deleted { &["delete jobs a/work Foreground"] } else { &[] };
            assert_eq!(plan.actions, delete, "{ttl}");
            assert_eq!(plan.requeue_after.map(|wait| wait.as_secs()), wait, "{ttl}");
        }
    }
}
