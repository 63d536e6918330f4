//! Runs of changes as they were encoded for one watcher, for others who watch the same: with a hundred watchers a change is
//! encoded once, not a hundred times.
//!
//! Those of a group send at the same moments, so that they find each other's runs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::http::Accepted;
use crate::metrics::Tally;

/// Groups of watchers that send one after the other: if all sent at one moment, writers would wait for that, and then those who
/// send for the writers.
const GROUPS: u32 = 8;
/// Runs that are kept per cache: one for each group, and more since some watchers are behind others.
const MAX_RUNS: usize = 16;
/// Bytes that a run may have to be kept.
const MAX_RUN_BYTES: usize = 1 << 20;
/// How long changes are gathered for each watcher that there is: about what it costs to send to one.
const GATHER_PER_WATCHER: Duration = Duration::from_micros(200);
const MIN_GATHER: Duration = Duration::from_millis(2);
const MAX_GATHER: Duration = Duration::from_millis(20);

/// What watchers have in common who are sent the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub accepted: Accepted,
    pub group: String,
    pub version: String,
    /// Empty for all.
    pub namespace: String,
}

/// Changes between two positions of the ring of a cache, encoded.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub from: u64,
    /// The position after the last.
    pub to: u64,
    pub frames: Bytes,
    /// How many bytes its events have.
    pub sizes: Arc<Tally>,
}

/// The runs of one cache, and how many might share them.
#[derive(Default)]
pub(crate) struct Runs {
    watchers: AtomicUsize,
    entered: AtomicU32,
    kept: Mutex<VecDeque<(Shape, Run)>>,
}

/// One who sends changes on; it counts until it is dropped.
pub(crate) struct Watching {
    runs: Arc<Runs>,
    /// Which of the groups it is in that send at different moments.
    group: u32,
}

impl Runs {
    pub(crate) fn enter(self: &Arc<Runs>) -> Watching {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        let group = self.entered.fetch_add(1, Ordering::Relaxed) % GROUPS;
        Watching { runs: self.clone(), group }
    }

    /// The run that begins at a position.
    pub(crate) fn find(&self, shape: &Shape, from: u64) -> Option<Run> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(own, run)| run.from == from && own == shape).map(|(_, run)| run.clone())
    }
}

impl Watching {
    /// Keeps a run for the others, if there are any.
    pub(crate) fn keep(&self, shape: &Shape, run: Run) {
        if run.frames.len() > MAX_RUN_BYTES || self.runs.watchers.load(Ordering::Relaxed) < 2 {
            return;
        }
        let mut kept = self.runs.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MAX_RUNS {
            kept.pop_front();
        }
        kept.push_back((shape.clone(), run));
    }

    /// When changes are to be sent next, after some were sent now: the more watchers there are, the more changes go together,
    /// since with many of them the cost of a change is that of its packets.
    pub(crate) fn next_pulse(&self, now: Duration) -> Duration {
        let watchers = u32::try_from(self.runs.watchers.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        let gather = GATHER_PER_WATCHER.saturating_mul(watchers).clamp(MIN_GATHER, MAX_GATHER);
        let gather = gather.as_nanos();
        let shift = gather * u128::from(self.group) / u128::from(GROUPS);
        let pulse = (now.as_nanos() + gather - shift) / gather * gather + shift;
        Duration::from_nanos(u64::try_from(pulse).unwrap_or(u64::MAX))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if self.runs.watchers.fetch_sub(1, Ordering::Relaxed) <= 2 {
            self.runs.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Format, View};

    fn shape(namespace: &str) -> Shape {
        let accepted = Accepted { view: View::Object, meta: "meta.k8s.io/v1", format: Format::Json };
        Shape { accepted, group: String::new(), version: "v1".into(), namespace: namespace.into() }
    }

    fn run(from: u64, bytes: usize) -> Run {
        let sizes = Arc::new(Tally::new(&[], &[bytes as f64]));
        Run { from, to: from + 1, frames: vec![0; bytes].into(), sizes }
    }

    #[test]
    fn a_run_is_for_those_who_watch_the_same_from_the_same_place() {
        let runs = Arc::new(Runs::default());
        let (one, other) = (runs.enter(), runs.enter());
        one.keep(&shape("a"), run(7, 1));
        assert_eq!(runs.find(&shape("a"), 7).map(|run| run.to), Some(8));
        assert!(runs.find(&shape("a"), 8).is_none());
        assert!(runs.find(&shape("b"), 7).is_none());
        drop(other);
        assert!(runs.find(&shape("a"), 7).is_none(), "nobody is there to share it");
        one.keep(&shape("a"), run(7, 1));
        assert!(runs.find(&shape("a"), 7).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let runs = Arc::new(Runs::default());
        let (one, _other) = (runs.enter(), runs.enter());
        one.keep(&shape("a"), run(1, MAX_RUN_BYTES + 1));
        assert!(runs.find(&shape("a"), 1).is_none());
        (0..=MAX_RUNS as u64).for_each(|from| one.keep(&shape("a"), run(from, 1)));
        assert!(runs.find(&shape("a"), 0).is_none());
        assert!(runs.find(&shape("a"), MAX_RUNS as u64).is_some());
    }

    #[test]
    fn pulses_are_common_to_a_group_and_longer_with_more_watchers() {
        let runs = Arc::new(Runs::default());
        let one = runs.enter();
        let ms = Duration::from_millis;
        assert_eq!(one.next_pulse(ms(4)), ms(6));
        assert_eq!(one.next_pulse(Duration::from_micros(5_999)), ms(6));
        let others: Vec<Watching> = (0..39).map(|_| runs.enter()).collect();
        let (same, next) = (&others[7], &others[8]);
        assert_eq!((one.group, same.group, next.group), (0, 0, 1));
        assert_eq!((one.next_pulse(ms(32)), same.next_pulse(ms(39))), (ms(40), ms(40)));
        assert_eq!(
            (next.next_pulse(ms(32)), next.next_pulse(ms(33)), next.next_pulse(ms(40))),
            (ms(33), ms(41), ms(41))
        );
    }
}
