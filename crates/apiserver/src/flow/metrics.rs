//! What is counted about flows, in upstream's names (`apiserver_flowcontrol_…`).

use std::time::Duration;

use super::queues::{QueueSet, seat_seconds};
use super::{Level, Snapshot};
use crate::metrics::{About, Bounds, Counter, Gauge, Histogram, Page, Show};

const QUEUE_LENGTHS: Bounds = &[0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const SECONDS: Bounds = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const WATCHES: Bounds = &[0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0];
const SEATS: Bounds = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];

/// Why a request was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejected {
    ConcurrencyLimit,
    QueueFull,
    TimeOut,
}

const REASONS: [&str; 3] = ["concurrency-limit", "queue-full", "time-out"];

macro_rules! about {
    ($($constant:ident = $name:literal, $help:literal, [$($label:literal),*];)*) => {
        $(static $constant: About = About {
            name: concat!("apiserver_flowcontrol_", $name), help: $help, labels: &[$($label),*],
        };)*
    };
}

about! {
    REJECTED = "rejected_requests_total", "[BETA] Requests that priority and fairness turned away.", [];
    DISPATCHED = "dispatched_requests_total", "[BETA] Requests that priority and fairness let run.", [];
    IN_QUEUE = "current_inqueue_requests", "[BETA] Requests that wait in queues.", [];
    IN_QUEUE_SEATS = "current_inqueue_seats", "[ALPHA] Seats that requests in queues wait for.", [];
    QUEUE_LENGTH = "request_queue_length_after_enqueue", "[ALPHA] Length of its queue that a request saw, with itself.", [];
    EXECUTING = "current_executing_requests", "[BETA] Requests that run; of watches, those that begin.", [];
    EXECUTING_SEATS = "current_executing_seats", "[BETA] Seats that running requests occupy.", [];
    WAIT = "request_wait_duration_seconds", "[BETA] Time that requests spent in their queue.", [];
    EXECUTION = "request_execution_seconds", "[ALPHA] Time that requests ran; of watches, their beginning.", [];
    WATCH_COUNT = "watch_count_samples", "[ALPHA] Watchers that a write was thought to reach.", [];
    ESTIMATED_SEATS = "work_estimated_seats", "[ALPHA] Seats that requests were thought to need.", [];
    NO_ROOM = "request_dispatch_no_accommodation_total", "[ALPHA] Times that the next request needed more seats than were free.", [];
    CURRENT_R = "current_r", "[ALPHA] Virtual time of the level.", [];
    DISPATCH_R = "dispatch_r", "[ALPHA] Virtual time when a request was last let run.", [];
    LATEST_S = "latest_s", "[ALPHA] Virtual start of the request that was last let run.", [];
    NEXT_S = "next_s_bounds", "[ALPHA] Least and most virtual start over queues.", [];
    NEXT_DISCOUNTED_S = "next_discounted_s_bounds", "[ALPHA] As next_s_bounds, less the work under way.", [];
    NOMINAL = "nominal_limit_seats", "[BETA] Seats that the level has by its shares.", [];
    LOWER = "lower_limit_seats", "[ALPHA] Seats that the level keeps whoever borrows.", [];
    UPPER = "upper_limit_seats", "[ALPHA] Seats that the level may have by borrowing.", [];
    CURRENT = "current_limit_seats", "[ALPHA] Seats that the level has now.", [];
    HIGH_WATERMARK = "demand_seats_high_watermark", "[ALPHA] Most seats that the level could have used in the last period.", [];
    AVERAGE = "demand_seats_average", "[ALPHA] Average of the seats that the level could have used in the last period.", [];
    DEVIATION = "demand_seats_stdev", "[ALPHA] Deviation of the seats that the level could have used in the last period.", [];
    SMOOTHED = "demand_seats_smoothed", "[ALPHA] Smoothed demand for seats.", [];
    TARGET = "target_seats", "[ALPHA] Seats that the level is to have if there are enough.", [];
    FAIR = "seat_fair_frac", "[ALPHA] Fraction of its target that each level gets.", [];
}

/// Of one schema and its level.
pub(crate) struct Counts {
    level: String,
    schema: String,
    rejected: [Counter; 3],
    pub(super) dispatched: Counter,
    in_queue: Gauge,
    in_queue_seats: Gauge,
    queue_length: Histogram,
    executing: Gauge,
    executing_seats: Gauge,
    /// Of those that were turned away, and of those that ran.
    wait: [Histogram; 2],
    /// Watches, and the rest.
    execution: [Histogram; 2],
    watches: Histogram,
    seats: Histogram,
    no_room: Counter,
}

impl Counts {
    pub(super) fn new(level: &str, schema: &str) -> Counts {
        let seconds = || Histogram::new(SECONDS);
        Counts {
            level: level.to_owned(),
            schema: schema.to_owned(),
            rejected: Default::default(),
            dispatched: Counter::default(),
            in_queue: Gauge::default(),
            in_queue_seats: Gauge::default(),
            queue_length: Histogram::new(QUEUE_LENGTHS),
            executing: Gauge::default(),
            executing_seats: Gauge::default(),
            wait: [seconds(), seconds()],
            execution: [seconds(), seconds()],
            watches: Histogram::new(WATCHES),
            seats: Histogram::new(SEATS),
            no_room: Counter::default(),
        }
    }

    pub(super) fn rejected(&self, why: Rejected) {
        self.rejected[why as usize].inc();
    }

    pub(super) fn in_queue(&self, requests: i64, seats: usize) {
        self.in_queue.add(requests);
        self.in_queue_seats.add(requests * seats as i64);
    }

    pub(super) fn queue_length(&self, length: usize) {
        self.queue_length.observe(length as f64);
    }

    pub(super) fn executing(&self, requests: i64, seats: i64) {
        self.executing.add(requests);
        self.executing_seats.add(seats);
    }

    pub(super) fn waited(&self, time: Duration, ran: bool) {
        self.wait[usize::from(ran)].seconds(time);
    }

    pub(super) fn executed(&self, time: Duration, watch: bool) {
        self.execution[usize::from(!watch)].seconds(time);
    }

    pub(super) fn watches(&self, count: usize) {
        self.watches.observe(count as f64);
    }

    pub(super) fn seats(&self, seats: usize) {
        self.seats.observe(seats as f64);
    }

    pub(super) fn no_room(&self) {
        self.no_room.inc();
    }

    fn show(&self, page: &mut Page) {
        let own = [("priority_level", self.level.as_str()), ("flow_schema", self.schema.as_str())];
        let with = |label| [own[0], own[1], label];
        for (reason, count) in REASONS.iter().zip(&self.rejected).filter(|(_, count)| count.get() > 0) {
            count.show(page, &REJECTED, &with(("reason", *reason)));
        }
        self.dispatched.show(page, &DISPATCHED, &own);
        self.in_queue.show(page, &IN_QUEUE, &own);
        self.in_queue_seats.show(page, &IN_QUEUE_SEATS, &own);
        self.queue_length.show(page, &QUEUE_LENGTH, &own);
        self.executing.show(page, &EXECUTING, &own);
        self.executing_seats.show(page, &EXECUTING_SEATS, &own);
        for (execute, wait) in ["false", "true"].into_iter().zip(&self.wait) {
            wait.show(page, &WAIT, &with(("execute", execute)));
        }
        for (kind, execution) in ["watch", "regular"].into_iter().zip(&self.execution) {
            execution.show(page, &EXECUTION, &with(("type", kind)));
        }
        self.watches.show(page, &WATCH_COUNT, &own);
        self.seats.show(page, &ESTIMATED_SEATS, &own);
        self.no_room.show(page, &NO_ROOM, &own);
    }
}

pub(super) fn show(snapshot: &Snapshot, fair: f64, now: Duration, page: &mut Page) {
    page.sample(&FAIR, "gauge", &[], fair);
    for schema in &snapshot.schemas {
        schema.counts.show(page);
    }
    for level in snapshot.levels.values() {
        show_level(level, now, page);
    }
}

fn show_level(level: &Level, now: Duration, page: &mut Page) {
    let own = [("priority_level", level.spec.name.as_str())];
    let mut gauge = |about, value| page.sample(about, "gauge", &own, value);
    for (about, seats) in [(&NOMINAL, level.nominal), (&LOWER, level.lower), (&UPPER, level.upper)] {
        gauge(about, seats as f64);
    }
    let (stats, target) = *level.shared.stats();
    gauge(&HIGH_WATERMARK, stats.high_watermark);
    gauge(&AVERAGE, stats.average);
    gauge(&DEVIATION, stats.deviation);
    gauge(&SMOOTHED, stats.smoothed);
    gauge(&TARGET, target);
    let mut queues = level.shared.queues();
    queues.ratios.show(page, &level.spec.name, now);
    let mut gauge = |about, value| page.sample(about, "gauge", &own, value);
    let QueueSet { limit, r, last, .. } = &*queues;
    gauge(&CURRENT, *limit as f64);
    gauge(&CURRENT_R, seat_seconds(*r));
    gauge(&DISPATCH_R, last.r);
    gauge(&LATEST_S, last.s);
    for (about, bounds) in [(&NEXT_S, &last.bounds[..2]), (&NEXT_DISCOUNTED_S, &last.bounds[2..])] {
        for (bound, value) in ["min", "max"].into_iter().zip(bounds) {
            page.sample(about, "gauge", &[own[0], ("bound", bound)], *value);
        }
    }
}
