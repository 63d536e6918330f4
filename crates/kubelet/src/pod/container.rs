//! What becomes of each container: order, starts, ends, restarts, stops.

use std::time::Duration;

use world::Timestamp;

use super::spec::Restart;
use super::{
    Action, Hook, Killing, Life, MINIMUM_GRACE, Note, Phase, PodState, Problem, RuntimeEvent, SHOW_PULL_ERROR,
    Terminated,
};
use crate::pod::step::Out;

/// Whether a pod's containers have all come to their end.
pub(super) enum Done {
    No,
    Yes,
}

impl PodState {
    /// Starts what is next, restarts what has ended, probes what runs.
    pub(super) fn drive_containers(&mut self, now: Timestamp, out: &mut Out) -> Done {
        for index in 0..self.inits() {
            // An init container that has done its work stays done; a sidecar is kept running.
            if !self.is_sidecar(index) && self.containers[index].passed {
                continue;
            }
            self.drive(index, now, out);
            if self.has_failed_for_good(index) {
                return Done::Yes;
            }
            if !self.containers[index].passed {
                return Done::No;
            }
        }
        if !self.initialized {
            self.initialized = true;
            out.changed = true;
        }
        let containers = self.inits()..self.containers.len();
        for index in containers.clone() {
            self.drive(index, now, out);
        }
        let over =
            |index: usize| matches!(&self.containers[index].phase, Phase::Exited(_)) && !self.wants_restart(index);
        if containers.clone().all(over) { Done::Yes } else { Done::No }
    }

    /// An init container whose failure ends the pod.
    fn has_failed_for_good(&self, index: usize) -> bool {
        matches!(&self.containers[index].phase, Phase::Exited(end) if end.exit_code != 0) && !self.wants_restart(index)
    }

    /// Whether a container that has ended is to be started again.
    fn wants_restart(&self, index: usize) -> bool {
        let Phase::Exited(end) = &self.containers[index].phase else { return false };
        self.containers[index].replace
            || match self.restart(index) {
                Restart::Always => true,
                Restart::OnFailure => end.exit_code != 0,
                Restart::Never => false,
            }
    }

    fn drive(&mut self, index: usize, now: Timestamp, out: &mut Out) {
        if self.wants_restart(index) {
            self.schedule_restart(index, now, out);
        }
        match self.containers[index].phase {
            Phase::Pending => self.pull(index, out),
            Phase::PullBackoff { retry_at, .. } if retry_at <= now => {
                self.pull(index, out);
            }
            Phase::PullBackoff { flip_at: Some(flip_at), retry_at } if flip_at <= now => {
                self.containers[index].phase = Phase::PullBackoff { flip_at: None, retry_at };
                self.show_pull_backoff(index, out);
            }
            Phase::Backoff { until } if until <= now => {
                self.containers[index].crash.grow(now);
                self.pull(index, out);
            }
            Phase::Running { .. } => self.send_probes(index, now, out),
            Phase::PreStop { kill_at, .. } if kill_at <= now => self.terminate(index, MINIMUM_GRACE, out),
            Phase::PullBackoff { .. } | Phase::Backoff { .. } | Phase::PreStop { .. } => {}
            Phase::Pulling | Phase::Starting | Phase::PostStart { .. } | Phase::Stopping { .. } | Phase::Exited(_) => {}
        }
    }

    /// From an end to the next start, at once or after the crash loop backoff.
    fn schedule_restart(&mut self, index: usize, now: Timestamp, out: &mut Out) {
        let message = {
            let (name, pod) = (&self.spec(index).name, &self.pod.metadata);
            let pause = self.containers[index].crash.pause();
            let pause = match (pause.as_secs() / 60, pause.as_secs() % 60) {
                (0, seconds) => format!("{seconds}s"),
                (minutes, seconds) => format!("{minutes}m{seconds}s"),
            };
            format!(
                "back-off {pause} restarting failed container={name} pod={}_{}({})",
                pod.name, pod.namespace, pod.uid
            )
        };
        let container = &mut self.containers[index];
        let phase = std::mem::replace(&mut container.phase, Phase::Pending);
        let Phase::Exited(end) = phase else {
            container.phase = phase;
            return;
        };
        let until = if container.replace { None } else { container.crash.until(end.finished_at.unwrap_or(now)) };
        container.replace = false;
        container.last = Some(end);
        match until {
            Some(until) if until > now => {
                container.phase = Phase::Backoff { until };
                container.problem = Some(Box::new(Problem { reason: "CrashLoopBackOff", message }));
                out.note(Some(index), Note::BackOffRestart);
            }
            _ => container.crash.grow(now),
        }
        out.changed = true;
    }

    fn pull(&mut self, index: usize, out: &mut Out) {
        let policy = self.pull_policy(index);
        self.containers[index].phase = Phase::Pulling;
        out.push(Action::PullImage { container: index as u16, policy });
    }

    fn show_pull_backoff(&mut self, index: usize, out: &mut Out) {
        let image = self.spec(index).image.clone();
        let container = &mut self.containers[index];
        let cause = container.problem.take().map(|problem| format!(": {}: {}", problem.reason, problem.message));
        let message = format!("Back-off pulling image \"{image}\"{}", cause.unwrap_or_default());
        container.problem = Some(Box::new(Problem { reason: "ImagePullBackOff", message }));
        out.note(Some(index), Note::BackOffPull);
        out.note(Some(index), Note::WaitingError { reason: "ImagePullBackOff" });
        out.changed = true;
    }

    /// Takes a runtime's report about one container.
    pub(super) fn container_event(&mut self, index: usize, event: RuntimeEvent, now: Timestamp, out: &mut Out) {
        let (attempt, started_at) = (self.containers[index].attempt(), self.containers[index].phase.running_since());
        match event {
            RuntimeEvent::ImagePulling { .. } if self.containers[index].phase == Phase::Pulling => {
                out.note(Some(index), Note::Pulling);
            }
            RuntimeEvent::ImageReady { image_id, pulled, .. } if self.containers[index].phase == Phase::Pulling => {
                if self.life != Life::Active {
                    self.containers[index].phase = Phase::Pending;
                    return;
                }
                out.note(Some(index), pulled.map_or(Note::Present, Note::Pulled));
                let container = &mut self.containers[index];
                container.image_id = Some(image_id);
                container.phase = Phase::Starting;
                container.runs += 1;
                // It begins with what its pod has been promised.
                (container.actual, container.resizing) = (None, None);
                let attempt = container.attempt();
                out.push(Action::StartContainer { container: index as u16, attempt });
            }
            RuntimeEvent::ImageFailed { reason, message, .. } if self.containers[index].phase == Phase::Pulling => {
                self.pull_failed(index, reason, message, now, out);
            }
            RuntimeEvent::ContainerStarted { attempt: of, id, .. }
                if of == attempt && self.containers[index].phase == Phase::Starting =>
            {
                self.started(index, id, now, out);
            }
            RuntimeEvent::ContainerStartFailed { attempt: of, message, .. }
                if of == attempt && self.containers[index].phase == Phase::Starting =>
            {
                out.note(Some(index), Note::StartFailed { message: message.clone() });
                self.ended(index, 128, "StartError", message, None, now, out);
            }
            RuntimeEvent::ContainerExited { attempt: of, exit_code, reason, .. }
                if of == attempt && self.containers[index].phase.is_alive() =>
            {
                let started_at = match self.containers[index].phase {
                    Phase::PostStart { started_at } => Some(started_at),
                    _ => started_at,
                };
                self.ended(index, exit_code, reason, String::new(), started_at, now, out);
            }
            RuntimeEvent::ContainerResized { attempt: of, .. } if of == attempt => self.resized(index, out),
            RuntimeEvent::HookDone { attempt: of, hook, result, .. } if of == attempt => {
                self.hook_done(index, hook, result, now, out);
            }
            RuntimeEvent::Probed { attempt: of, probe, outcome, .. } if of == attempt => {
                self.probed(index, probe, outcome, now, out);
            }
            // Late answers about what is over.
            _ => {}
        }
    }

    fn pull_failed(&mut self, index: usize, reason: &'static str, message: String, now: Timestamp, out: &mut Out) {
        if self.life != Life::Active {
            self.containers[index].phase = Phase::Pending;
            return;
        }
        if reason == "ErrImagePull" {
            out.note(Some(index), Note::PullFailed { message: message.clone() });
        }
        out.note(Some(index), Note::WaitingError { reason });
        let container = &mut self.containers[index];
        container.pull.grow(now);
        let retry_at = now + container.pull.pause();
        let flip_at = (reason == "ErrImagePull").then(|| now + SHOW_PULL_ERROR);
        container.phase = Phase::PullBackoff { flip_at, retry_at };
        container.problem = Some(Box::new(Problem { reason, message }));
        out.changed = true;
    }

    fn started(&mut self, index: usize, id: crate::ids::ContainerId, now: Timestamp, out: &mut Out) {
        out.note(Some(index), Note::Created);
        out.note(Some(index), Note::Started);
        let attempt = self.containers[index].attempt();
        self.containers[index].id = Some(id);
        if self.life == Life::Active && self.has_hook(index, Hook::PostStart) {
            self.containers[index].phase = Phase::PostStart { started_at: now };
            out.push(Action::RunHook { container: index as u16, attempt, hook: Hook::PostStart });
        } else {
            self.running(index, now, now, out);
        }
    }

    fn running(&mut self, index: usize, started_at: Timestamp, now: Timestamp, out: &mut Out) {
        let started = self.spec(index).startup_probe.is_none();
        let ready = started && self.spec(index).readiness_probe.is_none();
        let sidecar = self.is_sidecar(index);
        let container = &mut self.containers[index];
        container.phase = Phase::Running { started_at };
        container.problem = None;
        (container.started, container.ready) = (started, ready);
        container.passed |= sidecar && started;
        self.arm_probes(index, started_at, now);
        out.changed = true;
    }

    #[allow(clippy::too_many_arguments)] // One call per way to end, each with all of it.
    fn ended(
        &mut self,
        index: usize,
        exit_code: i32,
        reason: &str,
        message: String,
        started_at: Option<Timestamp>,
        now: Timestamp,
        out: &mut Out,
    ) {
        let init = index < self.inits() && !self.is_sidecar(index);
        let container = &mut self.containers[index];
        let id = container.id;
        let (reason, finished_at) = (reason.to_owned(), Some(now));
        let started_at = started_at.or(finished_at);
        container.phase =
            Phase::Exited(Box::new(Terminated { exit_code, reason, message, started_at, finished_at, id }));
        (container.started, container.ready) = (false, false);
        container.passed |= init && exit_code == 0 && !container.replace;
        container.probes = None;
        container.problem = None;
        out.changed = true;
    }

    fn hook_done(&mut self, index: usize, hook: Hook, result: Result<(), String>, now: Timestamp, out: &mut Out) {
        match (hook, self.containers[index].phase.clone()) {
            (Hook::PostStart, Phase::PostStart { started_at }) => {
                self.running(index, started_at, now, out);
                if let Err(message) = result {
                    (self.containers[index].started, self.containers[index].ready) = (false, false);
                    self.containers[index].probes = None;
                    out.note(Some(index), Note::PostStartFailed { message });
                    self.request_stop(index, self.grace(), Killing::PostStartHook, now, out);
                }
            }
            (Hook::PreStop, Phase::PreStop { kill_at, .. }) => {
                if let Err(message) = result {
                    out.note(Some(index), Note::PreStopFailed { message });
                }
                self.terminate(index, kill_at.since(now).max(MINIMUM_GRACE), out);
            }
            _ => {}
        }
    }

    /// Stops a running container: its preStop hook first, if the grace leaves time for it.
    pub(super) fn request_stop(&mut self, index: usize, grace: Duration, why: Killing, now: Timestamp, out: &mut Out) {
        let started_at = match self.containers[index].phase {
            Phase::Running { started_at } | Phase::PostStart { started_at } => started_at,
            _ => return,
        };
        let hook = matches!(self.containers[index].phase, Phase::Running { .. }) && self.has_hook(index, Hook::PreStop);
        out.note(Some(index), Note::Killing(why));
        if hook && !grace.is_zero() {
            let attempt = self.containers[index].attempt();
            self.containers[index].phase = Phase::PreStop { started_at, kill_at: now + grace };
            out.push(Action::RunHook { container: index as u16, attempt, hook: Hook::PreStop });
        } else {
            self.containers[index].phase = Phase::Running { started_at };
            self.terminate(index, grace, out);
        }
    }

    /// SIGTERM, then SIGKILL after `grace`.
    fn terminate(&mut self, index: usize, grace: Duration, out: &mut Out) {
        if let Some(started_at) = self.containers[index].phase.running_since() {
            let attempt = self.containers[index].attempt();
            self.containers[index].phase = Phase::Stopping { started_at };
            out.push(Action::StopContainer { container: index as u16, attempt, grace });
        }
    }

    /// Stops everything, sidecars after the others and in reverse order. True when nothing runs any more.
    pub(super) fn stop_containers(&mut self, kill_at: Timestamp, now: Timestamp, out: &mut Out) -> bool {
        let mut stopped = true;
        for index in (0..self.containers.len()).filter(|index| !self.is_sidecar(*index)).collect::<Vec<_>>() {
            stopped &= self.stop_container(index, kill_at, now, out);
        }
        for index in (0..self.inits()).rev().filter(|index| self.is_sidecar(*index)).collect::<Vec<_>>() {
            stopped = stopped && self.stop_container(index, kill_at, now, out);
        }
        stopped
    }

    fn stop_container(&mut self, index: usize, kill_at: Timestamp, now: Timestamp, out: &mut Out) -> bool {
        match self.containers[index].phase {
            Phase::Exited(_) => return true,
            Phase::Pending | Phase::Pulling | Phase::PullBackoff { .. } | Phase::Backoff { .. } => {
                // What waits for its next start has ended for good; what never started stays as it is.
                let container = &mut self.containers[index];
                if let Some(end) = container.last.take() {
                    container.phase = Phase::Exited(end);
                    out.changed = true;
                }
                return true;
            }
            Phase::PostStart { .. } | Phase::Running { .. } => {
                self.request_stop(index, kill_at.since(now), Killing::Pod, now, out);
            }
            Phase::PreStop { kill_at, .. } if kill_at <= now => self.terminate(index, MINIMUM_GRACE, out),
            Phase::Starting | Phase::PreStop { .. } | Phase::Stopping { .. } => {}
        }
        false
    }

    /// The pod is to be gone earlier than was said.
    pub(super) fn shorten_grace(&mut self, kill_at: Timestamp, now: Timestamp, out: &mut Out) {
        self.life = Life::Stopping { kill_at };
        for (index, container) in self.containers.iter_mut().enumerate() {
            let attempt = container.attempt();
            match &mut container.phase {
                Phase::PreStop { kill_at: own, .. } => *own = (*own).min(kill_at),
                Phase::Stopping { .. } => {
                    let grace = kill_at.since(now);
                    out.push(Action::StopContainer { container: index as u16, attempt, grace });
                }
                _ => {}
            }
        }
    }
}
