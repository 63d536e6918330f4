//! One look at a Job that has not ended: how it goes, which pods it needs, and what its status says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_object::resources::{JOBS, PODS};
use k8s_object::views::{Job, JobStatus, Pod};
use k8s_object::{DecodeError, LabelSelector, Object};
use serde_json::{Value, json};
use world::Timestamp;

use super::indexes::Indexes;
use super::member::{FAILURES, IGNORED_FAILURES, INDEX, Member, doomed, is_indexed, replaces_only_failed};
use super::policy::{self, judge};
use super::status::{self, Verdict};
use super::{TRACKING, backoff, is_tracked, release};
use crate::controller::{Action, Announce, Plan, Planned, Step};
use crate::controllers::replicaset::pod_body;
use crate::controllers::time;
use crate::ownership::{Claim, claim};
use crate::view::View;

/// Pods created or deleted by one plan at most.
const BURST: usize = 500;
/// Pods that are named as uncounted in a status at most, which keeps its size.
const MAX_UNCOUNTED: usize = 500;
/// Bytes of a name before its random part.
const MAX_PREFIX: usize = 58;

pub(super) fn plan(view: &View<'_>, object: &Arc<Object>, job: &Job, now: Timestamp) -> Planned {
    let selector = job.spec.selector.clone().unwrap_or_else(LabelSelector::nothing);
    let claim = match claim(view, object, &JOBS, &selector, &PODS) {
        Ok(claim) => claim,
        Err(questions) => return Ok(Plan::ask(questions)),
    };
    // A write of the Job itself that failed is tried again; one of a pod must not keep the status from being told.
    if view.failure().is_some_and(|failure| failure.resource != PODS) {
        return Ok(Plan::nothing());
    }
    let manages = view.failure().is_none();
    let mut plan = Plan::nothing();
    let (members, actions) = tracked(claim)?;
    if manages {
        plan.steps.extend(actions.into_iter().map(Step::One));
    }
    Ok(Sync::new(object, job, members, now, manages, plan).run())
}

/// The pods, and the writes that adopt and release them, which add and take the finalizer too.
fn tracked(claim: Claim) -> Result<(Vec<Member>, Vec<Action>), DecodeError> {
    let mut adopted = BTreeSet::new();
    let owned: BTreeMap<String, Arc<Object>> =
        claim.owned.iter().map(|object| (object.meta().uid.clone(), object.clone())).collect();
    let actions = claim.actions.into_iter().map(|mut action| {
        if let Action::Patch { body, uid, .. } = &mut action {
            // One that is released loses the finalizer when it is seen that nobody counts it.
            if let Some(pod) = owned.get(uid) {
                let own = pod.meta().finalizers.iter().map(String::as_str);
                let others = own.filter(|finalizer| *finalizer != TRACKING);
                body["metadata"]["finalizers"] = json!(others.chain([TRACKING]).collect::<Vec<_>>());
                adopted.insert(uid.clone());
            }
        }
        action
    });
    let actions = actions.collect();
    let members = claim.owned.into_iter().map(|object| {
        let tracked = is_tracked(&object) || adopted.contains(&object.meta().uid);
        Ok(Member { pod: object.view::<Pod>()?, object, tracked })
    });
    Ok((members.collect::<Result<_, DecodeError>>()?, actions))
}

struct Sync<'a> {
    object: &'a Arc<Object>,
    job: &'a Job,
    members: Vec<Member>,
    now: Timestamp,
    /// Whether pods may be created and deleted: not while a failure to do so is told.
    manages: bool,
    plan: Plan,
    status: JobStatus,
    /// Counters as they will be when what has ended is counted.
    succeeded: i64,
    failed: i64,
    /// What this plan expects the pods to be when it is done.
    active: i64,
    ready: i64,
    terminating: i64,
    /// Of an Indexed Job: what the status says, and with what has ended since.
    known_indexes: Indexes,
    succeeded_indexes: Indexes,
    failed_indexes: Option<Indexes>,
    /// By index, the failed pod that stays uncounted until it is replaced, because it says how often the index has failed.
    kept: BTreeMap<i64, Member>,
    finish: Option<Verdict>,
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl<'a> Sync<'a> {
    fn new(
        object: &'a Arc<Object>,
        job: &'a Job,
        members: Vec<Member>,
        now: Timestamp,
        manages: bool,
        plan: Plan,
    ) -> Sync<'a> {
        let mut status = job.status.clone();
        status.uncounted_terminated_pods.get_or_insert_default();
        Sync {
            object,
            job,
            now,
            manages,
            plan,
            succeeded: 0,
            failed: 0,
            active: number(members.iter().filter(|member| member.pod.is_active()).count()),
            ready: number(members.iter().filter(|member| member.pod.is_active() && member.pod.is_ready()).count()),
            terminating: number(members.iter().filter(|member| member.is_terminating()).count()),
            known_indexes: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            kept: BTreeMap::new(),
            finish: None,
            status,
            members,
        }
    }

    fn run(mut self) -> Plan {
        if self.status.start_time.is_none() && !self.job.spec.suspend {
            self.status.start_time = Some(self.now.to_string());
        }
        self.count();
        self.decide();
        if self.finish.is_some() {
            self.end_active();
        } else {
            self.go_on();
        }
        self.status.active = self.active;
        self.status.ready = Some(self.ready);
        self.status.terminating = Some(self.terminating);
        self.track();
        self.plan
    }

    fn completions(&self) -> i64 {
        self.job.spec.completions.unwrap_or(0)
    }

    fn indexed(&self) -> bool {
        is_indexed(self.job)
    }

    fn per_index(&self) -> bool {
        self.indexed() && self.job.spec.backoff_limit_per_index.is_some()
    }

    /// The index of a pod, if the Job has it.
    fn valid_index(&self, member: &Member) -> Option<i64> {
        member.index().filter(|index| *index < self.completions())
    }

    /// Pods that are still to be counted.
    fn uncounted(&self) -> impl Iterator<Item = &Member> {
        let valid = |member: &&Member| member.tracked && (!self.indexed() || self.valid_index(member).is_some());
        self.members.iter().filter(valid)
    }

    fn active_members(&self) -> Vec<Member> {
        self.members.iter().filter(|member| member.pod.is_active()).cloned().collect()
    }

    fn count(&mut self) {
        let known = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let named = |uids: &[String]| uids.iter().cloned().collect::<BTreeSet<String>>();
        let (known_succeeded, known_failed) = (named(&known.succeeded), named(&known.failed));
        let succeeded = self.uncounted().filter(|member| member.succeeded());
        let succeeded = succeeded.filter(|member| !known_succeeded.contains(member.uid())).count();
        let failed = self.uncounted().filter(|member| member.failed(self.job));
        let failed = failed.filter(|member| !known_failed.contains(member.uid()));
        let failed = failed.filter(|member| judge(self.job, member) != policy::Verdict::Ignored).count();
        self.succeeded = self.status.succeeded + number(succeeded + known_succeeded.len());
        self.failed = self.status.failed + number(failed + known_failed.len());
    }

    /// Whether it comes to its end, and which.
    fn decide(&mut self) {
        let (spec, job) = (&self.job.spec, self.job);
        if let Some(met) = job.true_condition("SuccessCriteriaMet") {
            self.finish = Some(Verdict::again("SuccessCriteriaMet", met));
        } else if let Some(target) = job.true_condition("FailureTarget") {
            self.finish = Some(Verdict::again("Failed", target));
        } else if let Some(message) =
            self.members.iter().filter(|member| member.failed(job)).find_map(|member| match judge(job, member) {
                policy::Verdict::FailsJob(message) => Some(message),
                _ => None,
            })
        {
            self.finish = Some(Verdict::new("FailureTarget", "PodFailurePolicy", &message));
        } else if self.failed > spec.backoff_limit.unwrap_or(6) || self.restarted_too_often() {
            let message = "Job has reached the specified backoff limit";
            self.finish = Some(Verdict::new("FailureTarget", "BackoffLimitExceeded", message));
        } else if let Some(left) = self.time_left() {
            if left.is_zero() {
                let message = "Job was active longer than specified deadline";
                self.finish = Some(Verdict::new("FailureTarget", "DeadlineExceeded", message));
            } else {
                self.plan.requeue(left);
            }
        }
        if self.indexed() {
            self.decide_indexes();
        }
    }

    fn decide_indexes(&mut self) {
        let (spec, completions) = (&self.job.spec, self.completions());
        self.known_indexes = Indexes::parse(&self.status.completed_indexes, completions);
        let new: Vec<i64> = self.uncounted().filter(|member| member.succeeded()).filter_map(Member::index).collect();
        self.succeeded_indexes = self.known_indexes.with(new);
        self.succeeded = self.succeeded_indexes.total();
        if let Some(limit) = spec.backoff_limit_per_index {
            let known = Indexes::parse(self.status.failed_indexes.as_deref().unwrap_or_default(), completions);
            let fails = |member: &&Member| {
                member.failed(self.job)
                    && match judge(self.job, member) {
                        policy::Verdict::FailsIndex => true,
                        policy::Verdict::Ignored => false,
                        _ => member.failures() >= limit,
                    }
            };
            let new: Vec<i64> = self.uncounted().filter(fails).filter_map(Member::index).collect();
            let failed = known.with(new);
            let total = failed.total();
            if self.finish.is_none() {
                if spec.max_failed_indexes.is_some_and(|most| total > most) {
                    let message = "Job has exceeded the specified maximal number of failed indexes";
                    self.finish = Some(Verdict::new("FailureTarget", "MaxFailedIndexesExceeded", message));
                } else if total > 0 && total + self.succeeded >= completions {
                    self.finish = Some(Verdict::new("FailureTarget", "FailedIndexes", "Job has failed indexes"));
                }
            }
            self.failed_indexes = Some(failed);
            self.kept = self.latest_failures();
        }
        if self.finish.is_none()
            && let Some(message) = policy::is_success(self.job, &self.succeeded_indexes)
        {
            self.finish = Some(Verdict::new("SuccessCriteriaMet", "SuccessPolicy", &message));
        }
    }

    /// By index that runs on and has no active pod, the pod that failed last.
    fn latest_failures(&self) -> BTreeMap<i64, Member> {
        let active: BTreeSet<i64> = self.active_members().iter().filter_map(Member::index).collect();
        let over = |index: i64| {
            self.succeeded_indexes.has(index) || self.failed_indexes.as_ref().is_some_and(|failed| failed.has(index))
        };
        let mut latest: BTreeMap<i64, Member> = BTreeMap::new();
        for member in self.uncounted().filter(|member| member.failed(self.job)) {
            let Some(index) = member.index().filter(|index| !over(*index) && !active.contains(index)) else {
                continue;
            };
            let rank = |member: &Member| (member.all_failures(), member.finished_at());
            if latest.get(&index).is_none_or(|known| rank(known) <= rank(member)) {
                latest.insert(index, member.clone());
            }
        }
        latest
    }

    /// With restarts in place, they count as the failures.
    fn restarted_too_often(&self) -> bool {
        if self.job.spec.template["spec"]["restartPolicy"] != "OnFailure" {
            return false;
        }
        let lives = |member: &&Member| matches!(member.pod.status.phase.as_str(), "" | "Pending" | "Running");
        let restarts: i64 = self.members.iter().filter(lives).map(Member::restarts).sum();
        let limit = self.job.spec.backoff_limit.unwrap_or(6);
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    /// Until the deadline, if there is one and it runs.
    fn time_left(&self) -> Option<Duration> {
        let deadline = self.job.spec.active_deadline_seconds.filter(|_| !self.job.spec.suspend)?;
        let start = time(Some(self.status.start_time.as_ref()?));
        let deadline = Duration::from_secs(u64::try_from(deadline).unwrap_or(0));
        Some(deadline.saturating_sub(self.now.since(start)))
    }

    /// Deletes what still runs when the end is decided.
    fn end_active(&mut self) {
        let active = self.active_members();
        if active.is_empty() {
            return;
        }
        if !self.manages {
            self.finish = None;
            return;
        }
        self.delete(&active);
    }

    /// Deletions of active pods, and what that makes of the counts.
    fn delete(&mut self, doomed: &[Member]) {
        let actions = doomed.iter().map(|member| Action::delete(PODS, &member.object)).collect();
        self.burst(actions, "SuccessfulDelete", "FailedDelete");
        let ready = doomed.iter().filter(|member| member.pod.is_ready()).count();
        self.active -= number(doomed.len());
        self.terminating += number(doomed.len());
        self.ready -= number(ready);
    }

    fn burst(&mut self, actions: Vec<Action>, success: &'static str, failure: &'static str) {
        if !actions.is_empty() {
            let announce = Some(Announce { about: self.object.clone(), what: "pod", success, failure });
            self.plan.steps.push(Step::Burst { actions, announce });
        }
    }

    /// Makes or deletes pods, and notices when all is done.
    fn go_on(&mut self) {
        let manages = self.manages && !self.object.meta().is_terminating();
        if manages {
            self.manage();
        }
        let complete = match self.job.spec.completions {
            None => self.succeeded > 0 && self.active == 0,
            Some(completions) => self.succeeded >= completions && self.active == 0,
        };
        if complete {
            let message = "Reached expected number of succeeded pods";
            self.finish = Some(Verdict::new("SuccessCriteriaMet", "CompletionsReached", message));
        } else if manages {
            self.tell_suspension();
        }
    }

    fn tell_suspension(&mut self) {
        let (state, reason, message, event) = match self.job.spec.suspend {
            true => ("True", "JobSuspended", "Job suspended", "Suspended"),
            false => ("False", "JobResumed", "Job resumed", "Resumed"),
        };
        if status::ensure(&mut self.status, "Suspended", state, reason, message, self.now) {
            self.plan.then(Action::event(self.object, event, message));
            if !self.job.spec.suspend {
                self.status.start_time = Some(self.now.to_string());
            }
        }
    }

    fn manage(&mut self) {
        let spec = &self.job.spec;
        let active = self.active_members();
        if spec.suspend {
            let doomed = doomed(self.job, &active, active.len());
            return self.take_away(&doomed);
        }
        let parallelism = spec.parallelism.unwrap_or(1);
        let wanted = match spec.completions {
            None if self.succeeded > 0 => self.active,
            None => parallelism,
            Some(completions) => (completions - self.succeeded).min(parallelism).max(0),
        };
        let surplus = usize::try_from(self.active - wanted).unwrap_or(0);
        let mut doomed = doomed(self.job, &active, surplus);
        doomed.truncate(BURST);
        if !doomed.is_empty() {
            return self.take_away(&doomed);
        }
        let going = if replaces_only_failed(self.job) { self.terminating } else { 0 };
        let missing = usize::try_from(wanted - going - self.active).unwrap_or(0).min(BURST);
        if missing > 0 {
            self.create(missing);
        }
    }

    /// Deletes active pods that are not wanted, and does not count them as failed.
    fn take_away(&mut self, doomed: &[Member]) {
        let actions: Vec<Action> =
            doomed.iter().filter(|member| member.tracked).map(|member| release(&member.object)).collect();
        if !actions.is_empty() {
            self.plan.steps.push(Step::Burst { actions, announce: None });
        }
        self.delete(doomed);
        let uids: BTreeSet<&str> = doomed.iter().map(Member::uid).collect();
        for member in self.members.iter_mut().filter(|member| uids.contains(member.object.meta().uid.as_str())) {
            member.tracked = false;
        }
    }

    fn create(&mut self, missing: usize) {
        let mut wait = Duration::ZERO;
        if !self.per_index() {
            wait = backoff::of_job(self.job, &self.members, self.now);
        }
        let mut indexes = Vec::new();
        if self.indexed() && wait.is_zero() {
            indexes = self.pending(missing);
            if self.per_index() {
                let wait_of = |index: &i64| {
                    self.kept.get(index).map_or(Duration::ZERO, |latest| backoff::of_index(latest, self.now))
                };
                let earliest = indexes.iter().map(wait_of).min();
                indexes.retain(|index| wait_of(index).is_zero());
                wait = earliest.filter(|_| indexes.is_empty()).unwrap_or_default();
            }
        }
        if !wait.is_zero() {
            // Upstream's status has no active pods while it waits, whatever still runs.
            self.active = 0;
            return self.plan.requeue(wait);
        }
        let template = self.template();
        let bodies: Vec<Value> = match self.indexed() {
            true => indexes.into_iter().map(|index| self.indexed_pod(&template, index)).collect(),
            false => vec![pod_body(self.object, &template); missing],
        };
        self.active += number(bodies.len());
        let namespace = &self.object.meta().namespace;
        let create = |body| Action::Create { resource: PODS, namespace: namespace.clone(), body, exists_ok: false };
        let actions = bodies.into_iter().map(create).collect();
        self.burst(actions, "SuccessfulCreate", "FailedCreate");
    }

    /// The first indexes that need a pod.
    fn pending(&self, count: usize) -> Vec<i64> {
        let active = self.members.iter().filter(|member| member.pod.is_active());
        let mut taken = self.succeeded_indexes.with(active.filter_map(Member::index));
        if replaces_only_failed(self.job) {
            taken = taken.with(self.members.iter().filter(|member| member.is_terminating()).filter_map(Member::index));
        }
        if let Some(failed) = &self.failed_indexes {
            taken = taken.union(failed);
        }
        taken.missing(count, self.completions())
    }

    /// The template of all pods.
    fn template(&self) -> Value {
        let mut template = self.job.spec.template.clone();
        let finalizers = template["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let others = finalizers.into_iter().filter(|finalizer| finalizer != TRACKING);
        template["metadata"]["finalizers"] = others.chain([json!(TRACKING)]).collect();
        if self.indexed() {
            let variable = json!({
                "name": "JOB_COMPLETION_INDEX",
                "valueFrom": {"fieldRef": {"fieldPath": format!("metadata.labels['{INDEX}']")}},
            });
            for list in ["initContainers", "containers"] {
                for container in template["spec"][list].as_array_mut().into_iter().flatten() {
                    let mut variables = container["env"].as_array().cloned().unwrap_or_default();
                    if !variables.iter().any(|own| own["name"] == variable["name"]) {
                        variables.push(variable.clone());
                        container["env"] = Value::Array(variables);
                    }
                }
            }
        }
        template
    }

    fn indexed_pod(&self, template: &Value, index: i64) -> Value {
        let mut template = template.clone();
        let name = &self.object.meta().name;
        template["metadata"]["annotations"][INDEX] = json!(index.to_string());
        template["metadata"]["labels"][INDEX] = json!(index.to_string());
        template["spec"]["hostname"] = json!(format!("{name}-{index}"));
        if self.per_index() {
            let (failures, ignored) = match self.kept.get(&index) {
                None => (0, 0),
                Some(latest) if judge(self.job, latest) == policy::Verdict::Ignored => {
                    (latest.failures(), latest.ignored_failures() + 1)
                }
                Some(latest) => (latest.failures() + 1, latest.ignored_failures()),
            };
            template["metadata"]["annotations"][FAILURES] = json!(failures.to_string());
            if ignored > 0 {
                template["metadata"]["annotations"][IGNORED_FAILURES] = json!(ignored.to_string());
            }
        }
        let end = format!("-{index}-");
        let mut cut = name.len().min(MAX_PREFIX - end.len());
        while !name.is_char_boundary(cut) {
            cut -= 1;
        }
        let mut body = pod_body(self.object, &template);
        body["metadata"]["generateName"] = json!(format!("{}{end}", &name[..cut]));
        body
    }

    /// Counts what has ended, tells the end, and writes the status: once with what is about to be counted, then again.
    fn track(&mut self) {
        let tracked: BTreeSet<String> =
            self.members.iter().filter(|member| member.tracked).map(|member| member.uid().to_owned()).collect();
        status::count_released(&mut self.status, |uid| tracked.contains(uid));
        let (released, all) = self.release_counted();
        if let Some(failed) = &self.failed_indexes {
            self.status.failed_indexes = Some(failed.to_string());
        }
        // The end is told in two steps: what it will be, and when the last pod is gone, that it is.
        let last = match self.finish.take() {
            Some(target) if target.kind == "FailureTarget" => {
                self.status.conditions.push(target.json(self.now));
                Some(Verdict { kind: "Failed", ..target })
            }
            Some(met) if met.kind == "SuccessCriteriaMet" => {
                if self.job.true_condition("SuccessCriteriaMet").is_none() {
                    self.status.conditions.push(met.json(self.now));
                }
                Some(Verdict { kind: "Complete", ..met })
            }
            other => other,
        };
        let before = self.status.clone();
        self.write(before != self.job.status);
        let uids: BTreeSet<String> = released.iter().map(|member| member.uid().to_owned()).collect();
        let actions: Vec<Action> = released.iter().map(|member| release(&member.object)).collect();
        if !actions.is_empty() {
            self.plan.steps.push(Step::Burst { actions, announce: None });
        }
        status::count_released(&mut self.status, |uid| tracked.contains(uid) && !uids.contains(uid));
        let left = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let counted = all && left.succeeded.is_empty() && left.failed.is_empty();
        let last = last.filter(|_| counted && self.terminating == 0);
        if let Some(last) = &last {
            status::ensure(&mut self.status, last.kind, "True", &last.reason, &last.message, self.now);
            if last.kind == "Complete" {
                self.status.completion_time = Some(self.now.to_string());
            }
        }
        self.write(self.status != before);
        if let Some(last) = last {
            self.tell_end(&last);
        }
    }

    fn write(&mut self, changed: bool) {
        if changed {
            self.plan.then(Action::Update {
                resource: JOBS,
                base: self.object.clone(),
                subresource: "status",
                change: status::change(&self.status),
            });
        }
    }

    fn tell_end(&mut self, end: &Verdict) {
        if end.kind == "Complete" {
            if self.job.spec.completions.is_some_and(|completions| self.status.succeeded > completions) {
                let message = "Too many succeeded pods running after completion count reached";
                self.plan.then(Action::warning(self.object, "TooManySucceededPods", message));
            }
            return self.plan.then(Action::event(self.object, "Completed", "Job completed"));
        }
        // Events have reasons that the code knows.
        let reasons = [
            "BackoffLimitExceeded",
            "DeadlineExceeded",
            "FailedIndexes",
            "MaxFailedIndexesExceeded",
            "PodFailurePolicy",
        ];
        let reason = reasons.into_iter().find(|reason| *reason == end.reason).unwrap_or("Failed");
        self.plan.then(Action::warning(self.object, reason, end.message.clone()));
    }

    /// Names pods that have ended as uncounted, or their indexes as completed. Returns those that may lose their finalizer, and
    /// whether these are all: a status names only so many at a time.
    fn release_counted(&mut self) -> (Vec<Member>, bool) {
        let known = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let (known_succeeded, known_failed): (BTreeSet<String>, BTreeSet<String>) =
            (known.succeeded.iter().cloned().collect(), known.failed.iter().cloned().collect());
        let mut uncounted = known;
        let fails_rest = self.finish.as_ref().is_some_and(|finish| finish.kind != "SuccessCriteriaMet");
        let ends = self.finish.is_some() || self.object.meta().is_terminating();
        let (mut released, mut new_indexes, mut all) = (Vec::new(), Vec::new(), true);
        let mut members: Vec<&Member> = self.members.iter().filter(|member| member.tracked).collect();
        if self.indexed() {
            members.sort_by_key(|member| member.index());
        }
        for member in members {
            let failed = member.failed(self.job);
            let kept = || member.index().and_then(|index| self.kept.get(&index));
            let is_kept = self.per_index() && kept().is_some_and(|kept| kept.uid() == member.uid());
            if !ends && !member.succeeded() && (!failed || is_kept) {
                continue;
            }
            released.push(member.clone());
            let index = self.valid_index(member);
            if member.succeeded() && !known_failed.contains(member.uid()) {
                if self.indexed() {
                    new_indexes.extend(index.filter(|index| !self.known_indexes.has(*index)));
                } else if !known_succeeded.contains(member.uid()) {
                    uncounted.succeeded.push(member.uid().to_owned());
                }
            } else if (failed || fails_rest)
                && !known_failed.contains(member.uid())
                && (!self.indexed() || index.is_some())
                && judge(self.job, member) != policy::Verdict::Ignored
            {
                uncounted.failed.push(member.uid().to_owned());
            }
            if new_indexes.len() + uncounted.succeeded.len() + uncounted.failed.len() >= MAX_UNCOUNTED {
                all = false;
                break;
            }
        }
        self.status.uncounted_terminated_pods = Some(uncounted);
        if self.indexed() {
            self.succeeded_indexes = self.succeeded_indexes.with(new_indexes);
            self.status.succeeded = self.succeeded_indexes.total();
            self.status.completed_indexes = self.succeeded_indexes.to_string();
        }
        (released, all)
    }
}
