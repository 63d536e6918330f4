//! One step of a pod's life: take the event in, then do everything that has become possible.

use std::sync::Arc;

use k8s_object::views::Pod;
use world::Timestamp;

use super::container::Done;
use super::{
    Action, Event, Killing, Life, Note, Outcome, Phase, PodState, Recovered, RecoveredState, RuntimeEvent,
    SANDBOX_RETRY, Sandbox,
};
use crate::pod::backoff::Backoff;

/// What a step decides, as it is found out.
#[derive(Default)]
pub(super) struct Out {
    actions: Vec<Action>,
    /// The status is not what it was.
    pub(super) changed: bool,
}

impl Out {
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn note(&mut self, container: Option<usize>, note: Note) {
        self.actions.push(Action::Note { container: container.map(|container| container as u16), note });
    }
}

/// The next state of a pod after `event` at `now`, and what to do. Every combination is legal; what does not fit is ignored.
pub fn step(mut state: PodState, event: Event, now: Timestamp) -> (PodState, Vec<Action>) {
    let mut out = Out::default();
    state.take(event, now, &mut out);
    state.advance(now, &mut out);
    let writes = !matches!(state.life, Life::New | Life::Gone | Life::Ended { deleting: true });
    if out.changed && writes && !state.removed {
        out.push(Action::WriteStatus { urgent: state.is_settled() });
    }
    if let Some(next) = state.next_timer()
        && state.timer != Some(next)
    {
        state.timer = Some(next);
        out.push(Action::SetTimer(next));
    }
    (state, out.actions)
}

impl PodState {
    fn take(&mut self, event: Event, now: Timestamp, out: &mut Out) {
        match event {
            Event::Admitted if self.life == Life::New && self.pod.is_finished() => self.end_found(out),
            Event::Admitted if self.life == Life::New => {
                self.life = Life::Active;
                self.started_at = Some(now);
                out.changed = true;
            }
            Event::Rejected(outcome) if self.life == Life::New => {
                out.note(None, Note::Rejected(outcome.clone()));
                self.outcome = Some(Box::new(outcome));
                self.started_at = Some(now);
                self.life = Life::Ended { deleting: false };
                out.changed = true;
            }
            Event::Recovered(recovered) if self.life == Life::New => self.recover(recovered, now, out),
            Event::Admitted | Event::Rejected(_) | Event::Recovered(_) => {}
            Event::PodUpdated(pod) => self.update(pod, now, out),
            Event::PodRemoved => self.removed = true,
            Event::Resize(resize) => self.decided(resize, out),
            Event::NodeShutdown { grace } => {
                if matches!(self.life, Life::New | Life::Active) {
                    self.outcome = Some(Box::new(Outcome {
                        reason: "Terminated".to_owned(),
                        message: "Pod was terminated in response to imminent node shutdown.".to_owned(),
                    }));
                    let grace = grace.min(self.grace());
                    self.begin_stop(now + grace, out);
                }
            }
            Event::TimerFired => self.timer = None,
            Event::StatusWritten { ended } => {
                if let Life::Ended { deleting: false } = self.life
                    && ended
                    && !self.removed
                    && self.pod.metadata.is_terminating()
                {
                    self.life = Life::Ended { deleting: true };
                    out.push(Action::DeleteFromApi);
                }
            }
            Event::Runtime(event) => self.report(event, now, out),
        }
    }

    fn update(&mut self, pod: Arc<Pod>, now: Timestamp, out: &mut Out) {
        let count = pod.spec.init_containers.len() + pod.spec.containers.len();
        if count != self.containers.len() {
            return; // The API never changes these lists; indices would no longer fit.
        }
        let before = std::mem::replace(&mut self.pod, pod);
        let was_terminating = before.metadata.is_terminating();
        for container in 0..count {
            let changed = super::spec::container_spec(&before.spec, container).image != self.spec(container).image;
            if changed && self.life == Life::Active {
                self.replace_image(container, now, out);
            }
            // Annotations decide what a simulated container answers.
            if before.metadata.annotations != self.pod.metadata.annotations
                && let Some(probes) = &mut self.containers[container].probes
            {
                probes.doubt(now);
            }
        }
        self.note_resources(out);
        if let Life::Ended { deleting: false } = self.life {
            // The write of the status tells when the object may go; a deletion that comes after it asks again.
            out.changed |= self.pod.metadata.is_terminating() && !was_terminating;
        }
        if let Life::Stopping { kill_at } = self.life
            && self.pod.metadata.is_terminating()
            && now + self.grace() < kill_at
        {
            self.shorten_grace(now + self.grace(), now, out);
        }
        // Conditions of others decide readiness gates; generation is part of the status.
        let gates = !self.pod.spec.readiness_gates.is_empty() && before.status.conditions != self.pod.status.conditions;
        out.changed |= gates || before.metadata.generation != self.pod.metadata.generation;
    }

    fn report(&mut self, event: RuntimeEvent, now: Timestamp, out: &mut Out) {
        match event {
            RuntimeEvent::SandboxReady { attempt, address } => {
                if self.sandbox == Sandbox::Creating && attempt + 1 == self.sandbox_attempts {
                    self.sandbox = Sandbox::Ready { address };
                    out.changed = true;
                }
            }
            RuntimeEvent::SandboxFailed { attempt, message } => {
                if self.sandbox == Sandbox::Creating && attempt + 1 == self.sandbox_attempts {
                    self.sandbox = Sandbox::Failed { retry_at: now + SANDBOX_RETRY };
                    out.note(None, Note::SandboxFailed { message });
                    out.changed = true;
                }
            }
            RuntimeEvent::SandboxStopped => {
                if let Sandbox::Stopping { address } = self.sandbox {
                    self.sandbox = Sandbox::Stopped { address };
                }
            }
            RuntimeEvent::ImagePulling { container }
            | RuntimeEvent::ImageReady { container, .. }
            | RuntimeEvent::ImageFailed { container, .. }
            | RuntimeEvent::ContainerStarted { container, .. }
            | RuntimeEvent::ContainerStartFailed { container, .. }
            | RuntimeEvent::ContainerExited { container, .. }
            | RuntimeEvent::ContainerResized { container, .. }
            | RuntimeEvent::HookDone { container, .. }
            | RuntimeEvent::Probed { container, .. } => {
                if usize::from(container) < self.containers.len() {
                    self.container_event(usize::from(container), event, now, out);
                }
            }
        }
    }

    /// Does what has become possible.
    fn advance(&mut self, now: Timestamp, out: &mut Out) {
        if self.life == Life::New && (self.removed || self.pod.metadata.is_terminating()) {
            // It never ran here; there is nothing to stop.
            self.life = Life::Ended { deleting: false };
            out.changed = true;
        }
        if self.life == Life::Active {
            self.advance_active(now, out);
        }
        if let Life::Stopping { kill_at } = self.life
            && self.stop_containers(kill_at, now, out)
        {
            self.life = Life::TearingDown;
        }
        if self.life == Life::TearingDown {
            match self.sandbox {
                Sandbox::Ready { address } => {
                    self.sandbox = Sandbox::Stopping { address };
                    out.push(Action::StopSandbox);
                }
                Sandbox::Creating | Sandbox::Stopping { .. } => {}
                Sandbox::None | Sandbox::Failed { .. } | Sandbox::Stopped { .. } => {
                    self.life = Life::Ended { deleting: false };
                    out.changed = true;
                }
            }
        }
        if matches!(self.life, Life::Ended { .. }) && self.removed {
            self.life = Life::Gone;
            out.push(Action::Forget);
        }
    }

    fn advance_active(&mut self, now: Timestamp, out: &mut Out) {
        // A final phase that somebody else has set, as pod garbage collection does, is final.
        if self.removed || self.pod.metadata.is_terminating() || self.pod.is_finished() {
            return self.begin_stop(now + self.grace(), out);
        }
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            self.outcome = Some(Box::new(Outcome { reason: "DeadlineExceeded".to_owned(), message }));
            out.note(None, Note::DeadlineExceeded);
            return self.begin_stop(now + self.grace(), out);
        }
        match self.sandbox {
            Sandbox::Ready { .. } => {}
            Sandbox::Failed { retry_at } if now < retry_at => return,
            Sandbox::None | Sandbox::Failed { .. } | Sandbox::Stopped { .. } => {
                out.push(Action::CreateSandbox { attempt: self.sandbox_attempts });
                self.sandbox = Sandbox::Creating;
                self.sandbox_attempts += 1;
                return;
            }
            Sandbox::Creating | Sandbox::Stopping { .. } => return,
        }
        self.drive_resize(now, out);
        match self.drive_containers(now, out) {
            Done::No => {}
            Done::Yes => self.begin_stop(now + self.grace(), out),
        }
    }

    fn begin_stop(&mut self, kill_at: Timestamp, out: &mut Out) {
        self.life = Life::Stopping { kill_at };
        out.changed = true;
    }

    /// When `activeDeadlineSeconds` is over.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = u64::try_from(self.pod.spec.active_deadline_seconds?).unwrap_or(0);
        Some(self.started_at? + std::time::Duration::from_secs(seconds))
    }

    /// The next moment at which something happens by itself. Never past: a step does all that is due.
    fn next_timer(&self) -> Option<Timestamp> {
        let (active, stopping) = (self.life == Life::Active, matches!(self.life, Life::Stopping { .. }));
        if !active && !stopping {
            return None;
        }
        let sandbox = match self.sandbox {
            Sandbox::Failed { retry_at } if active => Some(retry_at),
            _ => None,
        };
        let deadline = if active { self.deadline() } else { None };
        let containers = self.containers.iter().filter_map(|container| match &container.phase {
            Phase::PreStop { kill_at, .. } => Some(*kill_at),
            Phase::PullBackoff { flip_at, retry_at } if active => Some(flip_at.unwrap_or(*retry_at).min(*retry_at)),
            Phase::Backoff { until } if active => Some(*until),
            Phase::Running { .. } if active => container.probes.as_ref().and_then(|probes| probes.next_at()),
            _ => None,
        });
        containers.chain(sandbox).chain(deadline).min()
    }

    /// Whether nothing is expected to change within moments.
    fn is_settled(&self) -> bool {
        match self.life {
            Life::Ended { .. } | Life::Gone => true,
            Life::New | Life::Stopping { .. } | Life::TearingDown => false,
            Life::Active => {
                !matches!(self.sandbox, Sandbox::None | Sandbox::Creating)
                    && self.containers.iter().enumerate().all(|(index, container)| match &container.phase {
                        // It is there to end.
                        Phase::Running { .. } if index < self.inits() && !self.is_sidecar(index) => false,
                        Phase::Pulling | Phase::Starting | Phase::PostStart { .. } | Phase::PreStop { .. } => false,
                        Phase::Stopping { .. } => false,
                        Phase::Running { .. } => {
                            !container.probes.as_ref().is_some_and(|probes| probes.awaits_answer())
                        }
                        Phase::Pending | Phase::PullBackoff { .. } | Phase::Exited(_) | Phase::Backoff { .. } => true,
                    })
            }
        }
    }

    /// A pod that is found at its end: its last status is in the object and not to be written again, nothing of it runs.
    fn end_found(&mut self, out: &mut Out) {
        let deleting = self.pod.metadata.is_terminating();
        self.life = Life::Ended { deleting };
        if deleting {
            out.push(Action::DeleteFromApi);
        }
    }

    /// Goes on with what a restart has left.
    fn recover(&mut self, recovered: Recovered, now: Timestamp, out: &mut Out) {
        self.started_at = Some(recovered.started_at);
        if self.pod.is_finished() {
            return self.end_found(out);
        }
        self.life = Life::Active;
        self.recover_resources(&recovered);
        if recovered.sandbox_ready {
            self.sandbox = Sandbox::Ready { address: recovered.address };
            self.sandbox_attempts = 1;
        } else {
            out.changed = true;
        }
        let inits = self.inits();
        for (index, found) in recovered.containers.into_iter().enumerate().take(self.containers.len()) {
            let sidecar = self.is_sidecar(index);
            let container = &mut self.containers[index];
            container.runs = found.runs;
            container.id = found.id;
            container.image_id = found.image_id;
            container.last = found.last.map(Box::new);
            match found.state {
                RecoveredState::Waiting { crash_loop } => {
                    let ended = container.last.as_ref().and_then(|last| last.finished_at);
                    if crash_loop && let Some(ended) = ended {
                        container.crash = Backoff::after(found.runs.saturating_sub(1).max(1), ended);
                        let last = container.last.take().expect("its end was just read");
                        container.phase = Phase::Exited(last);
                    }
                }
                RecoveredState::Running { started_at } => {
                    container.phase = Phase::Running { started_at };
                    container.started = found.started;
                    container.ready = found.ready;
                    container.passed = found.started && sidecar;
                    self.arm_probes(index, started_at, now);
                }
                RecoveredState::Terminated(terminated) => {
                    container.crash = match terminated.finished_at {
                        Some(finished_at) if found.runs > 1 => Backoff::after(found.runs - 1, finished_at),
                        _ => Backoff::default(),
                    };
                    container.passed = index < inits && terminated.exit_code == 0;
                    container.phase = Phase::Exited(Box::new(terminated));
                }
            }
        }
        self.initialized = (0..inits).all(|index| self.containers[index].passed);
    }

    /// A container's image was changed in the spec.
    fn replace_image(&mut self, container: usize, now: Timestamp, out: &mut Out) {
        match self.containers[container].phase {
            Phase::PullBackoff { .. } => {
                self.containers[container].phase = Phase::Pending;
                self.containers[container].pull = Backoff::default();
            }
            Phase::PostStart { .. } | Phase::Running { .. } => {
                self.containers[container].replace = true;
                self.request_stop(container, self.grace(), Killing::Changed, now, out);
            }
            Phase::PreStop { .. } | Phase::Stopping { .. } | Phase::Starting => {
                self.containers[container].replace = true
            }
            Phase::Pending | Phase::Pulling | Phase::Exited(_) | Phase::Backoff { .. } => {}
        }
    }
}
