//! The work queue of one controller: each key once, never worked twice at a time, with backoff and delays.
//!
//! A plain state machine over time since the world began; the runner spawns workers and the timer that it asks for, so an
//! idle queue has no task at all.
//!
//! | key is  | `add`      | `next`  | `done`                              | `expire`            |
//! |---------|------------|---------|-------------------------------------|---------------------|
//! | absent  | queued     |         |                                     | queued              |
//! | queued  | queued     | working |                                     | queued              |
//! | working | noted      |         | resting (noted or not)              | noted               |
//! | resting | noted      |         |                                     | queued if noted, else absent |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::controller::Key;

/// First delay after a failure, doubled with each further one up to the maximum: upstream's item rate limiter.
const BASE_DELAY: Duration = Duration::from_millis(5);
const MAX_DELAY: Duration = Duration::from_secs(1000);

/// How a key's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Well; look again after a while if given.
    Done(Option<Duration>),
    /// Not at all yet; look again after a while at the latest.
    Waiting(Duration),
    /// Badly: look again after the key's backoff.
    Failed,
}

/// What the runner must spawn after a change of the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Spawn {
    pub(crate) worker: bool,
    pub(crate) timer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// The rest after work is over.
    Rested,
    /// A delayed add is due.
    Due,
}

#[derive(Debug)]
pub(crate) struct Queue {
    concurrency: usize,
    rest: Duration,
    open: bool,
    order: VecDeque<Key>,
    queued: BTreeSet<Key>,
    /// Whether the key was added again meanwhile.
    working: BTreeMap<Key, bool>,
    resting: BTreeMap<Key, bool>,
    later: BTreeMap<Key, Duration>,
    alarms: BTreeSet<(Duration, Alarm, Key)>,
    failures: BTreeMap<Key, u32>,
    workers: usize,
    timer: bool,
    /// When the timer task will look next.
    timer_at: Duration,
}

impl Queue {
    pub(crate) fn new(concurrency: usize, rest: Duration) -> Queue {
        Queue {
            concurrency,
            rest,
            open: false,
            order: VecDeque::new(),
            queued: BTreeSet::new(),
            working: BTreeMap::new(),
            resting: BTreeMap::new(),
            later: BTreeMap::new(),
            alarms: BTreeSet::new(),
            failures: BTreeMap::new(),
            workers: 0,
            timer: false,
            timer_at: Duration::MAX,
        }
    }

    /// Lets workers start; before, keys only gather.
    pub(crate) fn open(&mut self) -> Spawn {
        self.open = true;
        self.spawn()
    }

    /// How many keys wait to be worked.
    pub(crate) fn depth(&self) -> usize {
        self.order.len()
    }

    /// Adds a key to be worked soon.
    pub(crate) fn add(&mut self, key: Key) -> Spawn {
        self.enqueue(key);
        self.spawn()
    }

    /// Adds a key to be worked after a while, or earlier if that was asked for already.
    pub(crate) fn add_after(&mut self, key: Key, now: Duration, after: Duration) -> Spawn {
        self.schedule(key, now, after);
        self.spawn()
    }

    fn schedule(&mut self, key: Key, now: Duration, after: Duration) {
        if after.is_zero() {
            return self.enqueue(key);
        }
        let due = now.saturating_add(after);
        match self.later.get(&key) {
            Some(earlier) if *earlier <= due => {}
            earlier => {
                if let Some(earlier) = earlier {
                    self.alarms.remove(&(*earlier, Alarm::Due, key.clone()));
                }
                self.later.insert(key.clone(), due);
                self.alarms.insert((due, Alarm::Due, key));
            }
        }
    }

    /// The next key to work on; `None` ends the worker that asks.
    pub(crate) fn next(&mut self) -> Option<Key> {
        let Some(key) = self.order.pop_front() else {
            self.workers -= 1;
            return None;
        };
        self.queued.remove(&key);
        // A plan says anew when it wants to look again.
        if let Some(due) = self.later.remove(&key) {
            self.alarms.remove(&(due, Alarm::Due, key.clone()));
        }
        self.working.insert(key.clone(), false);
        Some(key)
    }

    /// The key's work ended.
    pub(crate) fn done(&mut self, key: Key, now: Duration, outcome: Outcome) -> Spawn {
        let again = self.working.remove(&key).unwrap_or(false);
        let delay = match outcome {
            Outcome::Done(after) => {
                self.failures.remove(&key);
                after
            }
            Outcome::Waiting(after) => Some(after),
            Outcome::Failed => {
                let failures = self.failures.entry(key.clone()).or_insert(0);
                let delay = BASE_DELAY.saturating_mul(1_u32.checked_shl(*failures).unwrap_or(u32::MAX)).min(MAX_DELAY);
                *failures = (*failures + 1).min(31);
                Some(delay)
            }
        };
        if self.rest.is_zero() {
            if again {
                self.enqueue(key.clone());
            }
        } else {
            self.alarms.insert((now.saturating_add(self.rest), Alarm::Rested, key.clone()));
            self.resting.insert(key.clone(), again);
        }
        if let Some(delay) = delay {
            self.schedule(key, now, delay);
        }
        self.spawn()
    }

    /// What is due is queued. Returns when to look again; `None` ends the timer task that asks.
    pub(crate) fn expire(&mut self, now: Duration) -> (Option<Duration>, Spawn) {
        while let Some((at, _, _)) = self.alarms.first()
            && *at <= now
        {
            let Some((_, alarm, key)) = self.alarms.pop_first() else { break };
            match alarm {
                Alarm::Rested => {
                    if self.resting.remove(&key) == Some(true) {
                        self.enqueue(key);
                    }
                }
                Alarm::Due => {
                    self.later.remove(&key);
                    self.enqueue(key);
                }
            }
        }
        let next = self.alarms.first().map(|(at, _, _)| *at);
        self.timer = next.is_some();
        self.timer_at = next.unwrap_or(Duration::MAX);
        (next, self.spawn())
    }

    /// Whether an alarm is earlier than the timer task knows.
    pub(crate) fn timer_is_late(&self) -> bool {
        self.timer && self.alarms.first().is_some_and(|(at, _, _)| *at < self.timer_at)
    }

    fn enqueue(&mut self, key: Key) {
        if let Some(again) = self.working.get_mut(&key).or_else(|| self.resting.get_mut(&key)) {
            *again = true;
        } else if self.queued.insert(key.clone()) {
            self.order.push_back(key);
        }
    }

    fn spawn(&mut self) -> Spawn {
        let worker =
            self.open && self.workers < self.concurrency && self.workers < self.order.len() + self.working.len();
        let worker = worker && !self.order.is_empty();
        self.workers += usize::from(worker);
        let timer = self.open && !self.timer && !self.alarms.is_empty();
        if timer {
            self.timer = true;
            self.timer_at = Duration::ZERO;
        }
        Spawn { worker, timer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_object::resources::PODS;

    fn key(name: &str) -> Key {
        Key::new(PODS, "default", name)
    }

    fn open(rest: u64) -> Queue {
        let mut queue = Queue::new(2, Duration::from_millis(rest));
        let _ = queue.open();
        queue
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_key_stands_in_the_queue_once_and_is_worked_once_at_a_time() {
        let mut queue = open(0);
        assert!(queue.add(key("a")).worker);
        let _ = queue.add(key("a"));
        assert_eq!(queue.next(), Some(key("a")));
        let _ = queue.add(key("a"));
        assert_eq!(queue.depth(), 0, "it is being worked");
        let _ = queue.done(key("a"), ms(0), Outcome::Done(None));
        assert_eq!(queue.depth(), 1, "it was added meanwhile");
    }

    #[test]
    fn a_worker_that_ends_with_a_delay_asks_for_the_timer() {
        let mut queue = open(0);
        let _ = queue.add(key("a"));
        let _ = queue.next();
        let spawn = queue.done(key("a"), ms(0), Outcome::Done(Some(ms(5))));
        assert_eq!(spawn, Spawn { worker: false, timer: true });
    }

    #[test]
    fn nothing_is_worked_before_the_queue_opens() {
        let mut queue = Queue::new(1, Duration::ZERO);
        assert_eq!(queue.add(key("a")), Spawn::default());
        assert_eq!(queue.add_after(key("b"), ms(0), ms(5)), Spawn::default());
        assert_eq!(queue.open(), Spawn { worker: true, timer: true });
    }

    #[test]
    fn backoff_doubles_up_to_upstreams_maximum_and_is_forgotten_after_success() {
        let mut queue = open(0);
        let mut now = ms(0);
        let mut delays = Vec::new();
        for _ in 0..20 {
            let _ = queue.add(key("a"));
            assert_eq!(queue.next(), Some(key("a")));
            let _ = queue.done(key("a"), now, Outcome::Failed);
            let (next, _) = queue.expire(now);
            let next = next.unwrap();
            delays.push((next - now).as_millis());
            now = next;
            let _ = queue.expire(now);
        }
        assert_eq!(delays[..4], [5, 10, 20, 40]);
        assert_eq!(delays[17..], [655_360, 1_000_000, 1_000_000]);
        assert_eq!(queue.next(), Some(key("a")));
        let _ = queue.done(key("a"), now, Outcome::Done(None));
        let _ = queue.add(key("a"));
        let _ = queue.next();
        let _ = queue.done(key("a"), now, Outcome::Failed);
        assert_eq!(queue.expire(now).0, Some(now + ms(5)));
    }

    #[test]
    fn a_burst_of_adds_is_one_more_round_after_the_rest() {
        let mut queue = open(10);
        let _ = queue.add(key("a"));
        let _ = queue.next();
        let _ = queue.done(key("a"), ms(0), Outcome::Done(None));
        for _ in 0..3 {
            let _ = queue.add(key("a"));
        }
        assert_eq!((queue.depth(), queue.expire(ms(9)).0), (0, Some(ms(10))));
        assert_eq!((queue.expire(ms(10)).0, queue.depth()), (None, 1));
    }

    #[test]
    fn the_earliest_delay_counts_and_work_clears_it() {
        let mut queue = open(0);
        let _ = queue.add_after(key("a"), ms(0), ms(50));
        let _ = queue.add_after(key("a"), ms(0), ms(20));
        let _ = queue.add_after(key("a"), ms(0), ms(90));
        assert_eq!(queue.expire(ms(0)).0, Some(ms(20)));
        let _ = queue.add_after(key("b"), ms(0), ms(5));
        assert!(queue.timer_is_late());
        let _ = queue.add(key("a"));
        assert_eq!(queue.next(), Some(key("a")));
        let _ = queue.done(key("a"), ms(1), Outcome::Done(None));
        assert_eq!(queue.expire(ms(5)).0, None, "only b was left");
    }
}
