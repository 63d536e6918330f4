//! When a container is probed and what the answers mean (kubelet `prober`): delays, periods, thresholds.

use std::time::Duration;

use k8s_object::views::Probe as Spec;
use world::Timestamp;

use super::{Action, Killing, Note, PodState, ProbeKind, ProbeOutcome};
use crate::pod::Phase;
use crate::pod::step::Out;

const PERIOD_SECONDS: i64 = 10;
const FAILURES: i64 = 3;
const SUCCESSES: i64 = 1;

/// The probes of one running container, in the order of [`ProbeKind`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Probes(Vec<Probe>);

#[derive(Debug, Clone)]
struct Probe {
    kind: ProbeKind,
    /// Absent while an answer is awaited, before the container has started up, and when the answer is known to stay.
    next_at: Option<Timestamp>,
    /// When the probe whose answer is awaited was sent.
    sent_at: Option<Timestamp>,
    /// Successes in a row, or failures in a row as a negative number.
    streak: i32,
    steady: bool,
}

fn period(spec: &Spec) -> Duration {
    Duration::from_secs(u64::try_from(spec.period_seconds.unwrap_or(PERIOD_SECONDS)).unwrap_or(0).max(1))
}

impl Probes {
    /// The next moment at which one is due.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(|probe| probe.next_at).min()
    }

    /// Whether the first answer is still to come and expected at once.
    pub(super) fn awaits_answer(&self) -> bool {
        self.0.iter().any(|probe| probe.streak == 0 && probe.sent_at.is_some())
    }

    /// Something about the pod changed: what was promised to stay may not.
    pub(super) fn doubt(&mut self, now: Timestamp) {
        for probe in self.0.iter_mut().filter(|probe| probe.steady) {
            probe.steady = false;
            probe.next_at = Some(now);
        }
    }
}

impl PodState {
    /// Sets up the probes of a container that has started at `started_at`; `started`: its startup probe has succeeded.
    pub(super) fn arm_probes(&mut self, container: usize, started_at: Timestamp, now: Timestamp) {
        let mut probes = Vec::new();
        let started = self.containers[container].started;
        for kind in [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness] {
            let Some(spec) = self.probe_spec(container, kind) else { continue };
            if kind == ProbeKind::Startup && started {
                continue;
            }
            let first =
                (started_at + Duration::from_secs(u64::try_from(spec.initial_delay_seconds).unwrap_or(0))).max(now);
            let due = kind == ProbeKind::Startup || started;
            probes.push(Probe { kind, next_at: due.then_some(first), sent_at: None, streak: 0, steady: false });
        }
        self.containers[container].probes = (!probes.is_empty()).then(|| Box::new(Probes(probes)));
    }

    /// Sends the probes that are due.
    pub(super) fn send_probes(&mut self, container: usize, now: Timestamp, out: &mut Out) {
        let attempt = self.containers[container].attempt();
        let Some(probes) = &mut self.containers[container].probes else { return };
        for probe in probes.0.iter_mut().filter(|probe| probe.next_at.is_some_and(|at| at <= now)) {
            probe.next_at = None;
            probe.sent_at = Some(now);
            out.push(Action::RunProbe { container: container as u16, attempt, probe: probe.kind });
        }
    }

    /// Takes an answer.
    pub(super) fn probed(
        &mut self,
        container: usize,
        kind: ProbeKind,
        outcome: ProbeOutcome,
        now: Timestamp,
        out: &mut Out,
    ) {
        let Phase::Running { started_at } = self.containers[container].phase else { return };
        let Some(spec) = self.probe_spec(container, kind) else { return };
        let (period, success_threshold) = (period(spec), spec.success_threshold.unwrap_or(SUCCESSES));
        let failure_threshold = spec.failure_threshold.unwrap_or(FAILURES);
        let has_readiness = self.probe_spec(container, ProbeKind::Readiness).is_some();
        let state = &mut self.containers[container];
        let probe = state.probes.as_mut().and_then(|probes| probes.0.iter_mut().find(|probe| probe.kind == kind));
        let Some(probe) = probe else { return };
        let Some(sent_at) = probe.sent_at.take() else { return };
        probe.streak = match &outcome.result {
            Ok(()) => probe.streak.max(0).saturating_add(1),
            Err(_) => probe.streak.min(0).saturating_sub(1),
        };
        let succeeded = i64::from(probe.streak) >= success_threshold.max(1);
        let failed = i64::from(-probe.streak) >= failure_threshold.max(1);
        probe.steady = succeeded && outcome.steady;
        probe.next_at = (!probe.steady).then(|| (sent_at + period).max(now));
        if let Err(message) = outcome.result {
            out.note(Some(container), Note::Unhealthy { probe: kind, message });
        }
        match kind {
            ProbeKind::Readiness if succeeded != state.ready && (succeeded || failed) => {
                state.ready = succeeded;
                out.changed = true;
            }
            ProbeKind::Startup if succeeded => {
                state.started = true;
                state.passed = true;
                state.ready = !has_readiness;
                out.changed = true;
                self.arm_probes(container, started_at, now);
            }
            ProbeKind::Startup | ProbeKind::Liveness if failed => {
                let grace = self.probe_grace(container, kind);
                self.request_stop(container, grace, Killing::Probe(kind), now, out);
            }
            ProbeKind::Readiness | ProbeKind::Startup | ProbeKind::Liveness => {}
        }
    }
}
