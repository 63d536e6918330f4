//! How long plugins of admission take (`apiserver_admission_controller_admission_duration_seconds`).
//!
//! Most take less time than looking at a clock does. So of many writes at a time only some are measured, at most a thousand a second of
//! each step and operation; those in between count with the times of the last that was. Counts are exact.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_object::ApiError;

use super::{Operation, PLUGINS, Plugin};
use crate::core::Core;
use crate::metrics::{Family, Histogram};

/// Between two writes that are measured.
const INTERVAL: Duration = Duration::from_millis(1);
/// Writes that count with the times of another.
const MAX_UNMEASURED: u64 = 256;
/// The most that [`PLUGINS`] may have.
pub(super) const MAX_PLUGINS: usize = 24;

/// Of what admission does with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Admit,
    Validate,
}

const STEPS: [Step; 2] = [Step::Admit, Step::Validate];
const OPERATIONS: [Operation; 3] = [Operation::Create, Operation::Update, Operation::Delete];

#[derive(Default)]
struct Times {
    /// Writes since the last that was measured.
    unmeasured: AtomicU64,
    /// When that was, in nanoseconds of `World::elapsed`.
    at: AtomicU64,
    /// Nanoseconds that each plugin took then.
    took: [AtomicU64; MAX_PLUGINS],
}

/// By step and operation.
#[derive(Default)]
pub(crate) struct PluginTimes([[Times; OPERATIONS.len()]; STEPS.len()]);

impl PluginTimes {
    fn of(&self, step: Step, operation: Operation) -> &Times {
        // Streams have no plugins.
        let operation = OPERATIONS.iter().position(|own| *own == operation).unwrap_or(0);
        &self.0[usize::from(step == Step::Validate)][operation]
    }

    /// Counts what has not been measured.
    pub(crate) fn flush(&self, family: &Family<Histogram>) {
        for step in STEPS {
            for operation in OPERATIONS {
                let times = self.of(step, operation);
                times.count(family, step, operation, times.unmeasured.swap(0, Ordering::Relaxed));
            }
        }
    }
}

impl Times {
    /// Counts writes that all plugins have let through, with the times of the last that was measured.
    fn count(&self, family: &Family<Histogram>, step: Step, operation: Operation, writes: u64) {
        if writes == 0 {
            return;
        }
        for (plugin, took) in PLUGINS.iter().zip(&self.took) {
            let took = Duration::from_nanos(took.load(Ordering::Relaxed));
            plugin.took(family, step, operation, false, took, writes);
        }
    }
}

impl Plugin {
    /// Counts it, if upstream's has a say in such a step.
    fn took(
        &self,
        family: &Family<Histogram>,
        step: Step,
        operation: Operation,
        rejected: bool,
        took: Duration,
        times: u64,
    ) {
        if !self.handles.contains(&operation) || !self.has_part_in(step, operation) {
            return;
        }
        let name = if step == Step::Admit || self.admits { "admit" } else { "validate" };
        let labels = [self.name, name, operation.as_str(), if rejected { "true" } else { "false" }];
        family.with(&labels).observe_times(took.as_secs_f64(), times);
    }

    fn has_part_in(&self, step: Step, operation: Operation) -> bool {
        match step {
            Step::Admit => self.admit.is_some(),
            Step::Validate if operation == Operation::Delete => self.judge_delete.is_some(),
            Step::Validate => self.judge.is_some(),
        }
    }
}

/// Lets the plugins have their say, one after the other; `run` says nothing for those that have none in this step. It begins `now`.
pub(super) fn each(
    core: &Core,
    step: Step,
    operation: Operation,
    now: Duration,
    mut run: impl FnMut(&'static Plugin) -> Option<Result<(), ApiError>>,
) -> Result<(), ApiError> {
    let (times, family) = (core.metrics.plugins.of(step, operation), &core.metrics.plugin_time);
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let unmeasured = times.unmeasured.fetch_add(1, Ordering::Relaxed) + 1;
    let since = nanoseconds(now).saturating_sub(times.at.load(Ordering::Relaxed));
    let measures = unmeasured >= MAX_UNMEASURED || since >= nanoseconds(INTERVAL);
    let mut before = now;
    for (plugin, last) in PLUGINS.iter().zip(&times.took) {
        let Some(said) = run(plugin) else { continue };
        if measures || said.is_err() {
            let after = core.world.elapsed();
            let took = after.saturating_sub(before);
            before = after;
            if said.is_err() {
                // Those before it have let the write through, those behind it never saw it.
                times.unmeasured.fetch_sub(1, Ordering::Relaxed);
                let passed = PLUGINS.iter().zip(&times.took).take_while(|(own, _)| own.name != plugin.name);
                for (own, took) in passed {
                    let took = Duration::from_nanos(took.load(Ordering::Relaxed));
                    own.took(family, step, operation, false, took, 1);
                }
                plugin.took(family, step, operation, true, took, 1);
                return said;
            }
            last.store(nanoseconds(took), Ordering::Relaxed);
        }
    }
    if measures {
        times.at.store(nanoseconds(now), Ordering::Relaxed);
        times.count(family, step, operation, times.unmeasured.swap(0, Ordering::Relaxed));
    }
    Ok(())
}
