//! Makes a Job whenever the schedule of a CronJob is due, and clears away those that have ended.
//!
//! The name of a Job comes from the minute that it is for, so that none is made twice. First the Job is made; when it is seen, the
//! status says so: a manager that ends in between finds the Job by its name.

mod due;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use k8s_client::{Change, Index, Propagation, Verb};
use k8s_object::resources::{CRON_JOBS, JOBS};
use k8s_object::views::{CronJob, CronJobStatus, Job};
use k8s_object::{DecodeError, NamespacedName, Object};
use serde_json::{Value, json};
use world::Timestamp;

use super::time;
use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::ownership::{controller_of, controller_reference};
use crate::view::{Failure, Read, View};
use due::Due;

pub(super) static CONTROLLER: Controller = Controller {
    name: "cronjob-controller",
    event_source: "cronjob-controller",
    service_account: "cronjob-controller",
    about: "Makes Jobs by the schedules of CronJobs.",
    watches: &[Watched { resource: CRON_JOBS, indices: &[] }, Watched { resource: JOBS, indices: &[Index::OWNER] }],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: true,
    concurrency: 5,
    rest: Duration::from_millis(20),
};

/// The annotation of a Job that tells the time that it is for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.resource == CRON_JOBS {
        return vec![Key { resource: CRON_JOBS, object: change.key.clone() }.into()];
    }
    let owners = change.old.iter().chain(&change.new);
    let owners = owners.filter_map(|job| controller_of(view, job.meta(), &CRON_JOBS, "CronJob"));
    let keys: BTreeSet<Key> = owners.map(|owner| Key::of(CRON_JOBS, &owner)).collect();
    keys.into_iter().map(Trigger::from).collect()
}

/// A Job of the CronJob.
type Child = (Arc<Object>, Arc<Job>);

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let Some(object) = view.get(&CRON_JOBS, &key.object) else { return Ok(Plan::nothing()) };
    let job = object.view::<CronJob>()?;
    if let Some(failure) = view.failure() {
        return Ok(told(&object, failure));
    }
    let mut children: Vec<Child> = Vec::new();
    for child in view.indexed(&JOBS, Index::OWNER.name, &object.meta().uid) {
        if child.meta().controller().is_some_and(|controller| controller.uid == object.meta().uid) {
            children.push((child.clone(), child.view::<Job>()?));
        }
    }
    let status = job.status.clone();
    let mut sync = Sync { view, object: &object, job: &job, children, now, status, plan: Plan::nothing() };
    sync.clear_away();
    if let Err(questions) = sync.follow() {
        return Ok(Plan::ask(questions));
    }
    if !object.meta().is_terminating() {
        sync.start()?;
    }
    let Sync { status, mut plan, .. } = sync;
    if status != job.status {
        plan.then(Action::Update {
            resource: CRON_JOBS,
            base: object.clone(),
            subresource: "status",
            change: change(&status),
        });
    }
    Ok(plan)
}

/// The event about a Job that could not be made or deleted.
fn told(object: &Arc<Object>, failure: &Failure) -> Plan {
    let mut plan = Plan::nothing();
    if failure.resource == JOBS {
        let error = &failure.error;
        plan.then(match failure.verb {
            Verb::Delete => Action::warning(object, "FailedDelete", format!("Deleted job: {error}")),
            _ => Action::warning(object, "FailedCreate", format!("Error creating job: {error}")),
        });
    }
    plan
}

fn change(status: &CronJobStatus) -> Value {
    json!({"status": {
        "active": if status.active.is_empty() { Value::Null } else { json!(status.active) },
        "lastScheduleTime": status.last_schedule_time,
        "lastSuccessfulTime": status.last_successful_time,
    }})
}

struct Sync<'a> {
    view: &'a View<'a>,
    object: &'a Arc<Object>,
    job: &'a CronJob,
    children: Vec<Child>,
    now: Timestamp,
    status: CronJobStatus,
    plan: Plan,
}

impl Sync<'_> {
    fn event(&mut self, reason: &'static str, message: String) {
        self.plan.then(Action::event(self.object, reason, message));
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        self.plan.then(Action::warning(self.object, reason, message));
    }

    fn is_active(&self, uid: &str) -> bool {
        self.status.active.iter().any(|own| own["uid"] == uid)
    }

    fn forget(&mut self, uid: &str) {
        self.status.active.retain(|own| own["uid"] != uid);
    }

    fn delete(&mut self, job: &Object) {
        self.plan.then(Action::Delete {
            resource: JOBS,
            object: job.key(),
            uid: job.meta().uid.clone(),
            resource_version: None,
            propagation: Some(Propagation::Background),
            grace_period_seconds: None,
        });
        self.event("SuccessfulDelete", format!("Deleted job {}", job.meta().name));
        self.forget(&job.meta().uid);
    }

    /// Deletes the oldest Jobs that have ended well and badly beyond the limits.
    fn clear_away(&mut self) {
        let limits = [
            ("Complete", self.job.spec.successful_jobs_history_limit),
            ("Failed", self.job.spec.failed_jobs_history_limit),
        ];
        for (end, limit) in limits {
            let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
            let ended = |(_, job): &&Child| job.finished().is_some_and(|condition| condition["type"] == end);
            let mut ended: Vec<Child> = self.children.iter().filter(ended).cloned().collect();
            ended.sort_by_key(|(object, job)| {
                let start = job.status.start_time.clone();
                (start.is_none(), time(start.as_ref()), object.meta().name.clone())
            });
            let surplus = ended.len().saturating_sub(limit);
            for (object, _) in ended.drain(..surplus) {
                if !object.meta().is_terminating() {
                    self.delete(&object);
                }
            }
        }
    }

    /// Brings the list of active Jobs and the time of the last success up to date; `Err` asks whether a Job is really gone.
    fn follow(&mut self) -> Result<(), Vec<Read>> {
        let expected = self.expected_name();
        for (object, job) in self.children.clone() {
            let meta = object.meta();
            let found = self.is_active(&meta.uid);
            match job.finished() {
                None if !found && expected.as_ref() != Some(&meta.name) => {
                    let message = format!("Saw a job that the controller did not create or forgot: {}", meta.name);
                    self.warn("UnexpectedJob", message);
                }
                None => {}
                Some(end) => {
                    if found {
                        self.forget(&meta.uid);
                        let end = end["type"].as_str().unwrap_or_default();
                        self.event("SawCompletedJob", format!("Saw completed job: {}, condition: {end}", meta.name));
                    }
                    let completed = job.status.completion_time.clone().filter(|_| end["type"] == "Complete");
                    if completed.as_ref().map(|at| time(Some(at)))
                        > self.status.last_successful_time.as_ref().map(|at| time(Some(at)))
                    {
                        self.status.last_successful_time = completed;
                    }
                }
            }
        }
        let uids: BTreeSet<&str> = self.children.iter().map(|(object, _)| object.meta().uid.as_str()).collect();
        let text = |own: &Value, key: &str| own[key].as_str().unwrap_or_default().to_owned();
        let missing = self.status.active.iter().filter(|own| !uids.contains(text(own, "uid").as_str()));
        let missing: Vec<(String, Read)> = missing
            .map(|own| {
                let place = NamespacedName::new(text(own, "namespace"), text(own, "name"));
                (text(own, "uid"), Read::Object(JOBS, place))
            })
            .collect();
        let questions: Vec<Read> =
            missing.iter().map(|(_, read)| read.clone()).filter(|read| self.view.live(read).is_none()).collect();
        if !questions.is_empty() {
            return Err(questions);
        }
        for (uid, read) in missing {
            if self.view.live(&read).is_some_and(<[_]>::is_empty)
                && let Read::Object(_, place) = &read
            {
                self.event("MissingJob", format!("Active job went missing: {}", place.name));
                self.forget(&uid);
            }
        }
        Ok(())
    }

    /// The schedule in its zone, if both can be read; else says why not.
    fn schedule(&mut self) -> Option<Due> {
        let spec = &self.job.spec;
        let mut zone = TimeZone::UTC;
        if let Some(name) = &spec.time_zone {
            let Some(known) = zone_of(name) else {
                self.warn("UnknownTimeZone", format!("invalid timeZone: {name:?}: unknown time zone {name}"));
                return None;
            };
            zone = known;
        }
        if spec.suspend {
            return None;
        }
        if spec.schedule.contains("TZ") {
            self.warn("UnsupportedSchedule", format!(
                "CRON_TZ or TZ used in schedule {:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                spec.schedule
            ));
        }
        let schedule = match k8s_kinds::cron::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(problem) => {
                self.warn("UnparseableSchedule", format!("unparseable schedule: {:?} : {problem}", spec.schedule));
                return None;
            }
        };
        if let Some(own) = schedule.zone.as_deref() {
            zone = zone_of(own)?;
        }
        Some(Due::new(schedule, zone))
    }

    /// The name of the Job that this plan may find made by the one before it.
    fn expected_name(&self) -> Option<String> {
        let schedule = k8s_kinds::cron::parse(&self.job.spec.schedule).ok()?;
        let zone = schedule.zone.as_deref().or(self.job.spec.time_zone.as_deref());
        let due = Due::new(schedule.clone(), zone.map_or(Some(TimeZone::UTC), zone_of)?);
        Some(self.name_at(due.latest(self.job, self.now, true).ok()?.at?))
    }

    fn name_at(&self, at: Timestamp) -> String {
        format!("{}-{}", self.object.meta().name, at.seconds().div_euclid(60))
    }

    fn wait(&mut self, due: &Due) {
        let job = CronJob { status: self.status.clone(), ..self.job.clone() };
        if let Some(wait) = due.wait(&job, self.now) {
            self.plan.requeue(wait);
        }
    }

    /// Makes the Job that is due, or notes that it is made.
    fn start(&mut self) -> Result<(), DecodeError> {
        let Some(due) = self.schedule() else { return Ok(()) };
        let latest = match due.latest(self.job, self.now, true) {
            Ok(latest) => latest,
            Err(problem) => {
                let schedule = self.job.spec.schedule.clone();
                self.warn("InvalidSchedule", format!("invalid schedule: {schedule} : {problem}"));
                return Ok(());
            }
        };
        let Some(at) = latest.at else {
            self.wait(&due);
            return Ok(());
        };
        if latest.has_missed_many() {
            let message =
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.warn("TooManyMissedTimes", message.to_owned());
        }
        let spec = &self.job.spec;
        let deadline = spec.starting_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        if deadline.is_some_and(|seconds| at + Duration::from_secs(seconds) < self.now) {
            self.warn("MissSchedule", format!("Missed scheduled time to start a job: {}", mail_date(at)));
            self.wait(&due);
            return Ok(());
        }
        let name = self.name_at(at);
        let done = self.job.status.last_schedule_time.as_ref().is_some_and(|last| time(Some(last)) == at);
        if done || self.status.active.iter().any(|own| own["name"] == name.as_str()) {
            self.wait(&due);
            return Ok(());
        }
        let place = NamespacedName::new(self.object.meta().namespace.as_str(), name.as_str());
        if let Some(made) = self.view.get(&JOBS, &place) {
            // A Job of that name that is somebody else's is left alone, and so is the time that it stands for.
            if made.meta().controller().is_some_and(|controller| controller.uid == self.object.meta().uid) {
                self.note(&made, at);
                self.wait(&due);
            }
            return Ok(());
        }
        if spec.concurrency_policy == "Forbid" && !self.status.active.is_empty() {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            self.event("JobAlreadyActive", message.to_owned());
            self.wait(&due);
            return Ok(());
        }
        if spec.concurrency_policy == "Replace" {
            let active = self.children.iter().filter(|(object, _)| self.is_active(&object.meta().uid));
            for (object, _) in active.cloned().collect::<Vec<_>>() {
                self.delete(&object);
            }
        }
        self.create(&name, at);
        Ok(())
    }

    fn create(&mut self, name: &str, at: Timestamp) {
        let template = &self.job.spec.job_template;
        let mut annotations = template["metadata"]["annotations"].clone();
        if !annotations.is_object() {
            annotations = json!({});
        }
        let zone = self.job.spec.time_zone.as_deref().map_or(Some(TimeZone::UTC), zone_of);
        annotations[SCHEDULED] = json!(local_date(at, zone.unwrap_or(TimeZone::UTC)));
        let mut metadata = json!({
            "name": name, "namespace": self.object.meta().namespace, "annotations": annotations,
            "ownerReferences": [controller_reference(self.object)],
        });
        if template["metadata"]["labels"].is_object() {
            metadata["labels"] = template["metadata"]["labels"].clone();
        }
        let body = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]});
        let namespace = self.object.meta().namespace.clone();
        self.plan.then(Action::Create { resource: JOBS, namespace, body, exists_ok: false });
        self.event("SuccessfulCreate", format!("Created job {name}"));
    }

    /// Says in the status that the Job of a time is made.
    fn note(&mut self, made: &Object, at: Timestamp) {
        let meta = made.meta();
        if !self.is_active(&meta.uid) {
            self.status.active.push(json!({
                "apiVersion": "batch/v1", "kind": "Job", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid,
                "resourceVersion": meta.resource_version,
            }));
        }
        self.status.last_schedule_time = Some(at.to_string());
    }
}

/// The zone of a name, by the database that is built in.
fn zone_of(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" | "Local" => Some(TimeZone::UTC),
        name => TimeZone::get(name).ok(),
    }
}

/// RFC 3339 with the offset of the zone.
fn local_date(at: Timestamp, zone: TimeZone) -> String {
    let Ok(moment) = jiff::Timestamp::from_second(at.seconds()) else { return at.to_string() };
    let local = moment.to_zoned(zone);
    match local.offset().is_zero() {
        true => at.to_string(),
        false => local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    }
}

/// As in mails: `Thu, 01 Jan 2026 00:00:00 +0000`.
fn mail_date(at: Timestamp) -> String {
    let moment = jiff::Timestamp::from_second(at.seconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    moment.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests;
