//! Growing pauses after failures, as client-go's `flowcontrol.Backoff` computes them for the kubelet.

use std::time::Duration;

use world::Timestamp;

/// The first pause (kubelet `backOffPeriod`).
const INITIAL: Duration = Duration::from_secs(10);
/// The longest pause (kubelet `MaxCrashLoopBackOff`, also of image pulls).
const MAXIMUM: Duration = Duration::from_secs(300);
/// After this long without a failure the pauses start over: twice the longest.
const RESET: Duration = Duration::from_secs(600);

/// The pause of one container, for its crashes or for its image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Absent before the first failure.
    entry: Option<(Duration, Timestamp)>,
}

impl Backoff {
    /// Until when to wait after a failure at `failed_at`; `None` when there is no need to.
    pub(crate) fn until(&self, failed_at: Timestamp) -> Option<Timestamp> {
        let (pause, updated) = self.entry?;
        (failed_at.since(updated) <= RESET).then(|| failed_at + pause)
    }

    /// Counts an attempt at `now`: the next pause is twice as long, or the first again after a long quiet.
    pub(crate) fn grow(&mut self, now: Timestamp) {
        let pause = match self.entry {
            Some((pause, updated)) if now.since(updated) <= RESET => (pause * 2).min(MAXIMUM),
            _ => INITIAL,
        };
        self.entry = Some((pause, now));
    }

    /// The pause in force.
    pub(crate) fn pause(&self) -> Duration {
        self.entry.map_or(Duration::ZERO, |(pause, _)| pause)
    }

    /// What a container that has restarted `restarts` times in a row would have, the last time at `at`.
    pub(crate) fn after(restarts: u32, at: Timestamp) -> Backoff {
        let mut backoff = Backoff::default();
        // Past the tenth doubling the pause is at its maximum.
        (0..restarts.min(10)).for_each(|_| backoff.grow(at));
        backoff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000_000) + Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_to_five_minutes_and_start_over_after_ten() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.until(at(0)), None, "the first failure costs nothing");
        let mut pauses = Vec::new();
        for _ in 0..7 {
            backoff.grow(at(0));
            pauses.push(backoff.pause().as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.until(at(600)), Some(at(900)));
        assert_eq!(backoff.until(at(601)), None);
        backoff.grow(at(601));
        assert_eq!(backoff.pause().as_secs(), 10);
        assert_eq!(Backoff::after(3, at(0)).pause().as_secs(), 40);
    }
}
