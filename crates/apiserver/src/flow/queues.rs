//! The queues of one priority level: fair queuing by virtual time over queues that flows are dealt to (KEP-1040). A state machine: it
//! is told the time, and what it decides is in what it returns and in the promises that it keeps.
//!
//! | event | what follows |
//! |---|---|
//! | [`QueueSet::start`] | runs, waits in the shortest queue of its hand, or is turned away |
//! | [`QueueSet::finish`] | its seats are free at once, or by [`QueueSet::release`]; others start |
//! | [`QueueSet::give_up`] | leaves its queue, unless it runs by now |
//! | [`QueueSet::configure`] | more seats or queues: others start |

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use k8s_object::UserInfo;
use tokio::sync::oneshot;

use super::config::{MAX_HAND, Response, Schema};
use super::demand::Demand;
use super::metrics::Rejected;
use super::ratios::{Moment, Ratios};

/// How long a request is thought to run before it has (upstream `estimatedServiceDuration`).
const ESTIMATED: Duration = Duration::from_millis(3);

/// Work: seats times time, in hundred-millionths of a seat-second (upstream `SeatSeconds`).
pub(super) type SeatTime = i64;

pub(super) fn seat_time(seats: f64, time: Duration) -> SeatTime {
    (seats * time.as_nanos() as f64 / 10.0) as SeatTime
}

/// In seat-seconds.
pub(super) fn seat_seconds(time: SeatTime) -> f64 {
    time as f64 / 1e8
}

/// What a request occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Work {
    pub initial_seats: usize,
    pub final_seats: usize,
    /// How long its seats stay taken after it has been answered.
    pub additional: Duration,
}

impl Work {
    pub(super) fn seats(&self) -> usize {
        self.initial_seats.max(self.final_seats)
    }

    fn total(&self) -> SeatTime {
        seat_time(self.initial_seats as f64, ESTIMATED)
            .saturating_add(seat_time(self.final_seats as f64, self.additional))
    }
}

/// A request that asks for seats.
pub(super) struct Applicant {
    pub schema: Arc<Schema>,
    pub work: Work,
    /// Of schema and flow.
    pub hash: u64,
    /// For those who look at the queues.
    pub user: Arc<UserInfo>,
    pub verb: &'static str,
    pub uri: Uri,
}

/// A request in a queue.
pub(super) struct Waiting {
    id: u64,
    pub applicant: Applicant,
    pub arrived: Duration,
    arrived_at: SeatTime,
    promise: Option<oneshot::Sender<()>>,
}

/// A request that has seats.
pub(super) struct Running {
    pub applicant: Applicant,
    pub queue: Option<usize>,
    pub arrived: Duration,
    pub started: Duration,
}

#[derive(Default)]
pub(super) struct Queue {
    pub waiting: VecDeque<Waiting>,
    pub executing: usize,
    pub seats_in_use: usize,
    /// Virtual time at which its next request would start.
    pub next: SeatTime,
    pub work_waiting: SeatTime,
    pub seats_waiting: usize,
    pub initial_seats_waiting: usize,
}

impl Queue {
    fn is_active(&self) -> bool {
        !self.waiting.is_empty() || self.executing > 0
    }

    /// No request starts before the virtual time of its arrival.
    fn bound(&mut self) {
        if let Some(oldest) = self.waiting.front() {
            self.next = self.next.max(oldest.arrived_at);
        }
    }

    fn take(&mut self, at: usize) -> Option<Waiting> {
        let waiting = self.waiting.remove(at)?;
        let work = &waiting.applicant.work;
        self.work_waiting -= work.total();
        self.seats_waiting -= work.seats();
        self.initial_seats_waiting -= work.initial_seats;
        Some(waiting)
    }
}

/// What an applicant is told.
pub(super) enum Answer {
    /// It runs under this number.
    Run(u64),
    /// It is to wait under this number until the promise is kept.
    Wait(u64, oneshot::Receiver<()>),
    Rejected(Rejected),
}

/// What finishing a request leaves to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finished {
    Done,
    /// Seats of a queue to release after a while.
    Later {
        seats: usize,
        queue: Option<usize>,
        after: Duration,
    },
}

/// How dispatching last went, for the metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dispatch {
    pub r: f64,
    pub s: f64,
    /// Least and most over queues, without and with what they run.
    pub bounds: [f64; 4],
}

pub(super) struct QueueSet {
    pub response: Response,
    /// Seats.
    pub limit: usize,
    pub queues: Vec<Queue>,
    /// Virtual time: the work that each busy queue has been given.
    pub r: SeatTime,
    synced: Duration,
    robin: usize,
    enqueued: usize,
    active: usize,
    next_id: u64,
    pub running: BTreeMap<u64, Running>,
    pub waiting: usize,
    pub seats_in_use: usize,
    pub seats_waiting: usize,
    pub dispatched: u64,
    pub rejected: u64,
    pub cancelled: u64,
    pub demand: Demand,
    pub last: Dispatch,
    /// Seats that the level has by its shares.
    pub nominal: usize,
    pub ratios: Ratios,
}

impl QueueSet {
    pub(super) fn new(response: Response, limit: usize, now: Duration) -> QueueSet {
        let mut set = QueueSet {
            response,
            limit,
            queues: Vec::new(),
            r: 0,
            synced: now,
            robin: 0,
            enqueued: 0,
            active: 0,
            next_id: 0,
            running: BTreeMap::new(),
            waiting: 0,
            seats_in_use: 0,
            seats_waiting: 0,
            dispatched: 0,
            rejected: 0,
            cancelled: 0,
            demand: Demand::new(now),
            last: Dispatch::default(),
            nominal: limit,
            ratios: Ratios::new(now),
        };
        set.configure(response, limit, now);
        set
    }

    pub(super) fn configure(&mut self, response: Response, limit: usize, now: Duration) {
        self.sync(now);
        (self.response, self.limit) = (response, limit);
        let queues = self.desired();
        if self.queues.len() < queues {
            self.queues.resize_with(queues, Queue::default);
        }
        self.shrink();
        self.dispatch(now);
        self.note_demand(now);
    }

    fn desired(&self) -> usize {
        if let Response::Queue { queues, .. } = self.response { queues } else { 0 }
    }

    /// Lets go of queues that are too many as they become empty, from the end.
    fn shrink(&mut self) {
        while self.queues.len() > self.desired() && self.queues.last().is_some_and(|queue| !queue.is_active()) {
            self.queues.pop();
        }
        if self.robin >= self.queues.len() {
            self.robin = 0;
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.running.is_empty()
    }

    /// Lets virtual time pass: the faster, the fewer queues share the seats.
    fn sync(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.synced);
        self.synced = now;
        if self.active == 0 {
            return;
        }
        let wanted = self.seats_in_use + self.seats_waiting;
        let ratio = wanted.min(self.limit) as f64 / self.active as f64;
        self.r = self.r.saturating_add(seat_time(ratio, passed));
    }

    fn note_demand(&mut self, now: Duration) {
        let wanted = self.seats_in_use + self.seats_waiting;
        self.demand.set(wanted as f64, now);
        let places = if let Response::Queue { queues, length, .. } = self.response { queues * length } else { 1 };
        let moment = Moment {
            seats: (self.seats_in_use, self.limit),
            executing: (self.running.len(), self.limit),
            waiting: (self.waiting, places),
            demand: (wanted, self.nominal),
        };
        self.ratios.set(moment, now);
    }

    pub(super) fn start(&mut self, applicant: Applicant, now: Duration) -> Answer {
        self.sync(now);
        let id = self.next_id;
        self.next_id += 1;
        let Response::Queue { length, .. } = self.response else {
            if !self.has_room(applicant.work.seats()) {
                self.rejected += 1;
                return Answer::Rejected(Rejected::ConcurrencyLimit);
            }
            self.run(id, applicant, None, now, now);
            return Answer::Run(id);
        };
        let at = self.deal(applicant.hash);
        let full = self.seats_in_use >= self.limit && self.queues[at].waiting.len() >= length;
        self.queues[at].bound();
        if full {
            self.rejected += 1;
            return Answer::Rejected(Rejected::QueueFull);
        }
        self.enqueue(id, at, applicant, now);
        self.dispatch(now);
        if self.running.contains_key(&id) {
            return Answer::Run(id);
        }
        let (promise, receiver) = oneshot::channel();
        // It has just come, so it is the last.
        if let Some(own) = self.queues[at].waiting.back_mut() {
            own.promise = Some(promise);
        }
        Answer::Wait(id, receiver)
    }

    /// The queue with the least work among those that the hash deals (upstream `shufflesharding.Dealer`).
    fn deal(&mut self, hash: u64) -> usize {
        let Response::Queue { queues, hand, .. } = self.response else { return 0 };
        let (mut hash, mut remainders, mut cards) = (hash, [0_usize; MAX_HAND], [0_usize; MAX_HAND]);
        for (at, remainder) in remainders[..hand].iter_mut().enumerate() {
            let deck = (queues - at) as u64;
            *remainder = (hash % deck) as usize;
            hash /= deck;
        }
        for at in 0..hand {
            let mut card = remainders[at];
            // Those that were dealt before are no more in the deck.
            for before in (0..at).rev() {
                card += usize::from(card >= remainders[before]);
            }
            cards[at] = card;
        }
        let offset = self.enqueued % hand;
        self.enqueued += 1;
        let hand = (0..hand).map(|at| cards[(offset + at) % hand]);
        hand.min_by_key(|card| self.queues[*card].work_waiting).unwrap_or(0)
    }

    fn enqueue(&mut self, id: u64, at: usize, applicant: Applicant, now: Duration) {
        let queue = &mut self.queues[at];
        if !queue.is_active() {
            // The queue is out of date: it has been given nothing since.
            queue.next = self.r;
            self.active += 1;
        }
        let (work, counts) = (applicant.work, &applicant.schema.counts);
        counts.in_queue(1, work.seats());
        queue.work_waiting += work.total();
        queue.seats_waiting += work.seats();
        queue.initial_seats_waiting += work.initial_seats;
        counts.queue_length(queue.waiting.len() + 1);
        queue.waiting.push_back(Waiting { id, applicant, arrived: now, arrived_at: self.r, promise: None });
        queue.bound();
        self.waiting += 1;
        self.seats_waiting += work.seats();
        self.note_demand(now);
    }

    fn has_room(&self, seats: usize) -> bool {
        match self.response {
            Response::Exempt => true,
            // One that is wider than all there is runs alone.
            _ if seats > self.limit => self.running.is_empty(),
            _ => self.seats_in_use + seats <= self.limit,
        }
    }

    fn run(&mut self, id: u64, applicant: Applicant, queue: Option<usize>, arrived: Duration, now: Duration) {
        let seats = applicant.work.seats();
        self.seats_in_use += seats;
        self.dispatched += 1;
        applicant.schema.counts.executing(1, seats as i64);
        self.running.insert(id, Running { applicant, queue, arrived, started: now });
        self.note_demand(now);
    }

    /// Starts what there is room for.
    fn dispatch(&mut self, now: Duration) {
        while self.waiting > 0 && self.seats_in_use < self.limit && self.dispatch_one(now) {}
    }

    fn dispatch_one(&mut self, now: Duration) -> bool {
        let Some(at) = self.next_queue() else { return false };
        let limit = self.limit;
        let Some(seats) = self.queues[at].waiting.front().map(|oldest| oldest.applicant.work.seats()) else {
            return false;
        };
        if !self.has_room(seats) {
            if let Some(oldest) = self.queues[at].waiting.front() {
                oldest.applicant.schema.counts.no_room();
            }
            return false;
        }
        self.robin = at;
        let queue = &mut self.queues[at];
        let Some(mut waiting) = queue.take(0) else { return false };
        self.waiting -= 1;
        self.seats_waiting -= seats;
        waiting.applicant.schema.counts.in_queue(-1, seats);
        let work = &mut waiting.applicant.work;
        if work.final_seats > limit && limit > 0 {
            // As much work in fewer seats.
            let total = work.additional.as_secs_f64() * work.final_seats as f64;
            (work.final_seats, work.additional) = (limit, Duration::from_secs_f64(total / limit as f64));
        }
        (self.last.r, self.last.s) = (seat_seconds(self.r), seat_seconds(queue.next));
        let work = *work;
        queue.next = queue.next.saturating_add(work.total());
        queue.executing += 1;
        queue.seats_in_use += work.seats();
        queue.bound();
        if let Some(promise) = waiting.promise.take() {
            // Whoever does not wait any more finishes what it is given here.
            let _ = promise.send(());
        }
        self.run(waiting.id, waiting.applicant, Some(at), waiting.arrived, now);
        true
    }

    /// The queue whose oldest request would finish first, beginning after the one that was served last.
    fn next_queue(&mut self) -> Option<usize> {
        let count = self.queues.len();
        let (mut best, mut least) = (None, SeatTime::MAX);
        let (mut lowest, mut highest) = ((SeatTime::MAX, SeatTime::MAX), (SeatTime::MIN, SeatTime::MIN));
        let mut seen = 0;
        for step in 1..=count {
            let at = (self.robin + step) % count;
            let queue = &self.queues[at];
            let Some(oldest) = queue.waiting.front() else { continue };
            let discounted = queue.next.saturating_sub(seat_time(queue.seats_in_use as f64, ESTIMATED));
            lowest = (lowest.0.min(queue.next), lowest.1.min(discounted));
            highest = (highest.0.max(queue.next), highest.1.max(discounted));
            let end = queue.next.saturating_add(oldest.applicant.work.total());
            if end < least {
                (best, least) = (Some(at), end);
            }
            seen += queue.waiting.len();
            if seen == self.waiting {
                break;
            }
        }
        if best.is_some() {
            self.last.bounds = [lowest.0, highest.0, lowest.1, highest.1].map(seat_seconds);
        }
        best
    }

    /// A request has been answered.
    pub(super) fn finish(&mut self, id: u64, now: Duration) -> Finished {
        self.sync(now);
        let Some(Running { applicant, queue, started, .. }) = self.running.remove(&id) else { return Finished::Done };
        let work = applicant.work;
        applicant.schema.counts.executing(-1, -(work.seats() as i64));
        if let Some(queue) = queue.and_then(|at| self.queues.get_mut(at)) {
            // It was thought to take so long; now it is known.
            let took = now.saturating_sub(started);
            let initial = work.initial_seats as f64;
            queue.next =
                queue.next.saturating_sub(seat_time(initial, ESTIMATED)).saturating_add(seat_time(initial, took));
            queue.executing -= 1;
            queue.bound();
            if !queue.is_active() {
                self.active -= 1;
            }
        }
        if !work.additional.is_zero() {
            self.note_demand(now);
            self.dispatch(now);
            return Finished::Later { seats: work.seats(), queue, after: work.additional };
        }
        self.release(work.seats(), queue, now);
        Finished::Done
    }

    /// Frees seats of a request that was answered.
    pub(super) fn release(&mut self, seats: usize, queue: Option<usize>, now: Duration) {
        self.sync(now);
        self.seats_in_use -= seats;
        if let Some(queue) = queue.and_then(|at| self.queues.get_mut(at)) {
            queue.seats_in_use = queue.seats_in_use.saturating_sub(seats);
        }
        self.note_demand(now);
        self.shrink();
        self.dispatch(now);
    }

    /// A request waits no more. False if it runs by now, so that it is to be finished.
    pub(super) fn give_up(&mut self, id: u64, now: Duration) -> bool {
        self.sync(now);
        for at in 0..self.queues.len() {
            let queue = &mut self.queues[at];
            let Some(place) = queue.waiting.iter().position(|waiting| waiting.id == id) else { continue };
            let Some(waiting) = queue.take(place) else { continue };
            queue.bound();
            let seats = waiting.applicant.work.seats();
            waiting.applicant.schema.counts.in_queue(-1, seats);
            if !queue.is_active() {
                self.active -= 1;
            }
            self.waiting -= 1;
            self.seats_waiting -= seats;
            self.rejected += 1;
            self.cancelled += 1;
            self.note_demand(now);
            return true;
        }
        false
    }
}
