//! How many seats a priority level could have used: average and deviation over time, and the smoothed value that seats are lent by.

use std::time::Duration;

/// How much of what was stays in the smoothed demand after a period (upstream `seatDemandSmoothingCoefficient`).
const SMOOTHING: f64 = 0.977;

/// Integrates a value over time.
#[derive(Debug)]
pub(super) struct Demand {
    value: f64,
    since: Duration,
    /// Seconds, and the integrals of the value and of its square.
    moments: [f64; 3],
    most: f64,
}

/// What is known about the demand of a level.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Stats {
    pub average: f64,
    pub deviation: f64,
    pub high_watermark: f64,
    pub smoothed: f64,
}

impl Demand {
    pub(super) fn new(now: Duration) -> Demand {
        Demand { value: 0.0, since: now, moments: [0.0; 3], most: 0.0 }
    }

    pub(super) fn set(&mut self, value: f64, now: Duration) {
        self.pass(now);
        self.value = value;
        self.most = self.most.max(value);
    }

    fn pass(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.since).as_secs_f64();
        self.since = now;
        for (moment, power) in self.moments.iter_mut().zip([1.0, self.value, self.value * self.value]) {
            *moment += seconds * power;
        }
    }

    /// Ends a period.
    pub(super) fn period(&mut self, stats: &mut Stats, now: Duration) {
        self.pass(now);
        let [seconds, first, second] = std::mem::take(&mut self.moments);
        stats.high_watermark = self.most.round();
        self.most = self.value;
        if seconds <= 0.0 {
            return;
        }
        stats.average = first / seconds;
        stats.deviation = (second / seconds - stats.average * stats.average).max(0.0).sqrt();
        let envelope = stats.average + stats.deviation;
        stats.smoothed = envelope.max(SMOOTHING * stats.smoothed + (1.0 - SMOOTHING) * envelope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_is_averaged_over_time_and_forgotten_slowly() {
        let at = Duration::from_secs;
        let (mut demand, mut stats) = (Demand::new(at(0)), Stats::default());
        demand.set(4.0, at(5));
        demand.period(&mut stats, at(10));
        assert_eq!((stats.average, stats.deviation, stats.high_watermark, stats.smoothed), (2.0, 2.0, 4.0, 4.0));
        demand.set(0.0, at(10));
        demand.period(&mut stats, at(20));
        assert_eq!((stats.average, stats.high_watermark), (0.0, 4.0));
        assert!((stats.smoothed - 0.977 * 4.0).abs() < 1e-9);
        demand.period(&mut stats, at(30));
        assert_eq!(stats.high_watermark, 0.0);
    }
}
