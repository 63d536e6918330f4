//! How full a level was, and for how long: histograms over time, whose counts are nanoseconds (upstream's timing ratio histograms).

use std::time::Duration;

use crate::metrics::{About, Bounds, Page};

const SEATS: Bounds = &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];
const REQUESTS: Bounds = &[0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0];
const DEMAND: Bounds = &[0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.8, 4.0, 6.0];

static SEAT_UTILIZATION: About = About {
    name: "apiserver_flowcontrol_priority_level_seat_utilization",
    help: "[ALPHA] Nanoseconds by the part of the level's seats that was occupied.",
    labels: &[],
};
static REQUEST_UTILIZATION: About = About {
    name: "apiserver_flowcontrol_priority_level_request_utilization",
    help: "[ALPHA] Nanoseconds by the number of requests that ran or waited, as a part of the limit.",
    labels: &[],
};
static DEMAND_SEATS: About = About {
    name: "apiserver_flowcontrol_demand_seats",
    help: "[ALPHA] Nanoseconds by the seats that the level could have used, as a part of its nominal seats.",
    labels: &[],
};

/// How long a value was in which bucket.
#[derive(Debug)]
struct TimeIn {
    bounds: Bounds,
    nanoseconds: Box<[u64]>,
    sum: f64,
    value: f64,
    bucket: usize,
    since: Duration,
}

impl TimeIn {
    fn new(bounds: Bounds, now: Duration) -> TimeIn {
        let nanoseconds = bounds.iter().map(|_| 0).chain([0]).collect();
        TimeIn { bounds, nanoseconds, sum: 0.0, value: 0.0, bucket: 0, since: now }
    }

    fn pass(&mut self, now: Duration) {
        let passed = u64::try_from(now.saturating_sub(self.since).as_nanos()).unwrap_or(u64::MAX);
        self.since = now;
        self.nanoseconds[self.bucket] = self.nanoseconds[self.bucket].saturating_add(passed);
        self.sum += self.value * passed as f64;
    }

    fn set(&mut self, count: usize, of: usize, now: Duration) {
        self.pass(now);
        self.value = count as f64 / of.max(1) as f64;
        self.bucket = self.bounds.iter().position(|bound| self.value <= *bound).unwrap_or(self.bounds.len());
    }

    fn show(&mut self, page: &mut Page, about: &'static About, labels: &[(&str, &str)], now: Duration) {
        self.pass(now);
        let mut seen = 0;
        let mut below = Vec::with_capacity(self.bounds.len());
        for (bound, time) in self.bounds.iter().zip(&self.nanoseconds) {
            seen += time;
            below.push((*bound, seen));
        }
        seen += self.nanoseconds[self.bounds.len()];
        page.histogram(about, labels, &below, seen, self.sum);
    }
}

/// A level at one moment, each with what it is a part of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub seats: (usize, usize),
    pub executing: (usize, usize),
    pub waiting: (usize, usize),
    pub demand: (usize, usize),
}

/// How full a level was.
#[derive(Debug)]
pub(super) struct Ratios {
    seats: TimeIn,
    executing: TimeIn,
    waiting: TimeIn,
    demand: TimeIn,
}

impl Ratios {
    pub(super) fn new(now: Duration) -> Ratios {
        Ratios {
            seats: TimeIn::new(SEATS, now),
            executing: TimeIn::new(REQUESTS, now),
            waiting: TimeIn::new(REQUESTS, now),
            demand: TimeIn::new(DEMAND, now),
        }
    }

    pub(super) fn set(&mut self, moment: Moment, now: Duration) {
        let Moment { seats, executing, waiting, demand } = moment;
        self.seats.set(seats.0, seats.1, now);
        self.executing.set(executing.0, executing.1, now);
        self.waiting.set(waiting.0, waiting.1, now);
        self.demand.set(demand.0, demand.1, now);
    }

    pub(super) fn show(&mut self, page: &mut Page, level: &str, now: Duration) {
        let own = ("priority_level", level);
        let (executing, waiting) = (("phase", "executing"), ("phase", "waiting"));
        self.seats.show(page, &SEAT_UTILIZATION, &[own, executing], now);
        self.executing.show(page, &REQUEST_UTILIZATION, &[own, executing], now);
        self.waiting.show(page, &REQUEST_UTILIZATION, &[own, waiting], now);
        self.demand.show(page, &DEMAND_SEATS, &[own], now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_where_the_value_was() {
        let at = Duration::from_nanos;
        let mut ratios = Ratios::new(at(0));
        let moment = |seats| Moment { seats: (seats, 4), executing: (seats, 4), waiting: (0, 100), demand: (seats, 2) };
        ratios.set(moment(1), at(10));
        ratios.set(moment(4), at(30));
        let mut page = Page::default();
        ratios.show(&mut page, "l", at(60));
        let text = page.text();
        let name = "apiserver_flowcontrol_priority_level_seat_utilization";
        let own = r#"phase="executing",priority_level="l""#;
        for (what, count) in [
            (format!(r#"{name}_bucket{{{own},le="0"}}"#), "10"),
            (format!(r#"{name}_bucket{{{own},le="0.3"}}"#), "30"),
            (format!(r#"{name}_bucket{{{own},le="0.99"}}"#), "30"),
            (format!(r#"{name}_bucket{{{own},le="1"}}"#), "60"),
            (format!("{name}_sum{{{own}}}"), "35"),
            (r#"apiserver_flowcontrol_demand_seats_bucket{priority_level="l",le="0.6"}"#.to_owned(), "30"),
        ] {
            assert!(text.contains(&format!("{what} {count}\n")), "{what} {count} in\n{text}");
        }
    }
}
