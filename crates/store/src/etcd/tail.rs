//! The recent history of the store, followed by one watch at etcd and shared by all watchers of this process.
//!
//! A watcher here costs etcd nothing, and sees the revisions of all other keys as progress. History is bounded by [`Limits`]; who
//! asks for older events reads them from etcd itself (see [`super::watcher`]).
//!
//! Revisions of keys outside of the prefix bring no events. When an answer named a revision that the watch has not reached, etcd is
//! asked how far it is. Before 3.4.31 and 3.5.13 its answer can overtake events, so there a write of the key that is the
//! prefix itself, which no store can see, marks how far the watch is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use etcd_wire::{PutRequest, RangeResponse, paths};
use tokio::sync::Notify;

use super::cluster::{Cluster, Repeat};
use super::convert::Convert;
use super::upstream::{News, Upstream};
use crate::{Event, KeyRange, KeyValue, Limits, Revision, StoreError, WatchError};

/// How long the watch may lag behind a known revision before etcd is asked.
const ASK_AFTER: Duration = Duration::from_millis(100);
/// How long it may lag before a mark is written, which costs a revision.
const MARK_AFTER: Duration = Duration::from_secs(2);
/// How long a watch that lags may be silent before it is opened anew at another member: a connection that lost its other end looks
/// open for longer than that.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// Watchers that nothing concerns learn of progress this often at most.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(10);
/// Memory of an event beside its key and values, in bytes.
const EVENT_BYTES: u64 = size_of::<Event>() as u64;

/// Names a watcher.
pub(super) type WatcherId = u64;

pub(super) struct Tail {
    limits: Limits,
    state: Mutex<State>,
    /// Told when the store is shut down.
    closed: Notify,
}

pub(super) struct State {
    /// Events of whole revisions.
    log: VecDeque<Event>,
    bytes: u64,
    /// The log has everything from this revision on.
    pub first: Revision,
    /// The log has everything up to this revision.
    pub seen: Revision,
    /// What etcd is known to have compacted.
    pub compacted: Revision,
    pub closed: bool,
    watchers: BTreeMap<WatcherId, Registration>,
    next_id: WatcherId,
}

struct Registration {
    range: KeyRange,
    /// The first revision that the watcher wants.
    from: Revision,
    /// What it has read elsewhere, which can be more than the log has seen.
    returned: Revision,
    /// The first revision with an event that waits for it.
    pending: Option<Revision>,
    waker: Option<Waker>,
}

/// What a watcher finds.
pub(super) enum Look {
    Events(Vec<Event>),
    Nothing,
    /// The log does not reach back far enough: read from this revision at etcd.
    Before(Revision),
}

impl Tail {
    /// A history that begins after `revision`.
    pub fn new(limits: Limits, revision: Revision) -> Arc<Tail> {
        // Nothing ever happens at revision 1, so a store that is at it has its whole history here.
        let first = if revision <= 1 { 0 } else { revision + 1 };
        let state = State {
            log: VecDeque::new(),
            bytes: 0,
            first,
            seen: revision,
            compacted: 0,
            closed: false,
            watchers: BTreeMap::new(),
            next_id: 0,
        };
        Arc::new(Tail { limits, state: Mutex::new(state), closed: Notify::new() })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all watches.
    pub fn close(&self) {
        let wakers = {
            let mut state = self.lock();
            state.closed = true;
            state.wakers()
        };
        self.closed.notify_one();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Notes that etcd has compacted.
    pub fn compact(&self, revision: Revision) {
        let mut state = self.lock();
        if revision > state.compacted {
            state.compacted = revision;
            state.trim(revision);
        }
    }

    /// Adds a watcher of the events from `from` on.
    pub fn watch(&self, range: KeyRange, from: Revision) -> Result<WatcherId, StoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        if state.watchers.len() >= self.limits.watchers {
            return Err(StoreError::TooManyWatchers { limit: self.limits.watchers });
        }
        let id = state.next_id;
        state.next_id += 1;
        let pending = state.pending(&range, from);
        state.watchers.insert(id, Registration { range, from, returned: 0, pending, waker: None });
        Ok(id)
    }

    pub fn unwatch(&self, id: WatcherId) {
        let registration = self.lock().watchers.remove(&id);
        // A waker may run code that takes the lock when it is dropped.
        drop(registration);
    }

    /// Follows etcd until the store is closed.
    pub async fn follow(self: Arc<Tail>, cluster: Arc<Cluster>, convert: Convert, exact_progress: bool) {
        let world = cluster.world().clone();
        let nudge = Nudge { cluster: cluster.clone(), convert: convert.clone(), exact_progress };
        let next = self.lock().seen + 1;
        let mut upstream = Upstream::new(cluster.clone(), convert.clone(), next);
        let mut lag: Option<(Duration, Duration)> = None;
        let mut heard = world.elapsed();
        let mut progress_due: Option<Duration> = None;
        loop {
            let (seen, closed) = {
                let state = self.lock();
                (state.seen, state.closed)
            };
            if closed {
                return;
            }
            if seen >= cluster.revision() {
                lag = None;
            }
            let now = world.elapsed();
            let tick = progress_due.unwrap_or(now + ASK_AFTER).min(now + ASK_AFTER);
            let idle = lag.is_none() && progress_due.is_none() && seen >= cluster.revision();
            tokio::select! {
                biased;
                () = self.closed.notified() => {}
                news = upstream.next() => match news {
                    Ok(news) => {
                        heard = world.elapsed();
                        self.append(news);
                        progress_due.get_or_insert(world.elapsed() + PROGRESS_INTERVAL);
                    }
                    Err(WatchError::Compacted { compact_revision }) => {
                        self.lose(compact_revision);
                        upstream = Upstream::new(cluster.clone(), convert.clone(), compact_revision);
                    }
                    Err(WatchError::Closed) => return,
                },
                // A known revision can rise at any time, so even an idle watch looks now and then.
                () = world.sleep_until(if idle { now + ASK_AFTER } else { tick }) => {}
            }
            let now = world.elapsed();
            if progress_due.is_some_and(|due| due <= now) {
                progress_due = None;
                let wakers = self.lock().wakers();
                wakers.into_iter().for_each(Waker::wake);
            }
            let seen = self.lock().seen;
            if seen >= cluster.revision() {
                continue;
            }
            if lag.is_none() {
                heard = now;
            }
            if now - heard >= STALLED_AFTER {
                heard = now;
                upstream.reopen();
            }
            let (since, asked) = *lag.get_or_insert((now, now));
            if nudge.due(now - since, now - asked) {
                lag = Some((if exact_progress { since } else { now }, now));
                nudge.give(&mut upstream).await;
            }
        }
    }

    fn append(&self, news: News) {
        let mut wakers = Vec::new();
        {
            let mut state = self.lock();
            state.append(news, &self.limits, &mut wakers);
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// etcd has compacted what the log needs next: it begins anew, and every watcher must ask etcd, which will refuse.
    fn lose(&self, compact_revision: Revision) {
        let wakers = {
            let mut state = self.lock();
            let lost = state.seen + 1;
            state.log.clear();
            state.bytes = 0;
            state.compacted = state.compacted.max(compact_revision);
            state.first = compact_revision;
            state.seen = compact_revision - 1;
            for watcher in state.watchers.values_mut() {
                let lost = lost.max(watcher.from);
                watcher.pending.get_or_insert(lost);
            }
            state.wakers()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn wakers(&mut self) -> Vec<Waker> {
        self.watchers.values_mut().filter_map(|watcher| watcher.waker.take()).collect()
    }

    /// The first revision from `from` on with an event of `range`, or `from` itself when the log begins after it.
    fn pending(&self, range: &KeyRange, from: Revision) -> Option<Revision> {
        if from < self.first {
            return Some(from);
        }
        let position = self.log.partition_point(|event| event.kv.mod_revision < from);
        self.log.range(position..).find(|event| range.contains(&event.kv.key)).map(|event| event.kv.mod_revision)
    }

    fn append(&mut self, news: News, limits: &Limits, wakers: &mut Vec<Waker>) {
        for event in &news.events {
            let revision = event.kv.mod_revision;
            for watcher in self.watchers.values_mut() {
                if watcher.pending.is_none() && revision >= watcher.from && watcher.range.contains(&event.kv.key) {
                    watcher.pending = Some(revision);
                    wakers.extend(watcher.waker.take());
                }
            }
        }
        self.bytes += news.events.iter().map(cost).sum::<u64>();
        self.log.extend(news.events);
        self.seen = news.upto;
        while self.bytes > limits.history_bytes || self.log.len() as i64 > limits.history_revisions {
            let Some(oldest) = self.log.front().map(|event| event.kv.mod_revision) else { return };
            self.trim(oldest + 1);
        }
    }

    /// Drops what lies before `revision`.
    fn trim(&mut self, revision: Revision) {
        while let Some(oldest) = self.log.front().filter(|event| event.kv.mod_revision < revision) {
            self.bytes -= cost(oldest);
            self.log.pop_front();
        }
        self.first = self.first.max(revision);
    }

    /// What waits for a watcher, at most `capacity` events but whole revisions; without any, `waker` is kept.
    pub fn look(&mut self, id: WatcherId, capacity: usize, waker: &Waker) -> Look {
        let Some(watcher) = self.watchers.get_mut(&id) else { return Look::Nothing };
        let Some(pending) = watcher.pending else {
            watcher.waker = Some(waker.clone());
            return Look::Nothing;
        };
        if pending < self.first {
            return Look::Before(pending);
        }
        let position = self.log.partition_point(|event| event.kv.mod_revision < pending);
        let mut events: Vec<Event> = Vec::new();
        watcher.pending = None;
        for event in self.log.range(position..) {
            if !watcher.range.contains(&event.kv.key) {
                continue;
            }
            let is_new = events.last().is_none_or(|last| last.kv.mod_revision != event.kv.mod_revision);
            if is_new && events.len() >= capacity {
                watcher.pending = Some(event.kv.mod_revision);
                break;
            }
            events.push(event.clone());
        }
        match events.last() {
            Some(last) => {
                watcher.from = last.kv.mod_revision + 1;
                Look::Events(events)
            }
            None => {
                watcher.waker = Some(waker.clone());
                Look::Nothing
            }
        }
    }

    /// A watcher has read everything before `from` elsewhere.
    pub fn resume(&mut self, id: WatcherId, from: Revision) {
        let Some(range) = self.watchers.get(&id).map(|watcher| watcher.range.clone()) else { return };
        let pending = self.pending(&range, from);
        if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.from = from;
            watcher.returned = from - 1;
            watcher.pending = pending;
        }
    }

    /// All events of a watcher up to this revision have been returned.
    pub fn progress(&self, id: WatcherId) -> Revision {
        match self.watchers.get(&id) {
            Some(Registration { pending: Some(pending), .. }) => pending - 1,
            Some(watcher) => self.seen.max(watcher.returned),
            None => self.seen,
        }
    }

    /// Revisions and bytes of history, and watchers.
    pub fn held(&self) -> (i64, u64, usize) {
        (self.seen - self.first.max(1) + 1, self.bytes, self.watchers.len())
    }
}

fn cost(event: &Event) -> u64 {
    let kv = |kv: &KeyValue| (kv.key.len() + kv.value.len()) as u64;
    EVENT_BYTES + kv(&event.kv) + event.prev.as_ref().map_or(0, kv)
}

/// Gets a watch to say how far it is when no event comes.
#[derive(Clone)]
pub(super) struct Nudge {
    pub cluster: Arc<Cluster>,
    pub convert: Convert,
    pub exact_progress: bool,
}

impl Nudge {
    /// Whether it is time, `lag` after the watch was seen to lag and `asked` after the last time.
    pub fn due(&self, lag: Duration, asked: Duration) -> bool {
        if self.exact_progress { lag >= ASK_AFTER && asked >= ASK_AFTER } else { lag >= MARK_AFTER }
    }

    pub async fn give(&self, upstream: &mut Upstream) {
        if self.exact_progress {
            return upstream.request_progress();
        }
        let Some(key) = self.convert.mark() else { return };
        let mark = PutRequest { key, ..PutRequest::default() };
        // When it fails the next one will do: the lag is still there.
        if let Ok(response) = self.cluster.call::<_, RangeResponse>(paths::PUT, mark, Repeat::WhenNotDone).await {
            self.cluster.note(response.header.as_ref());
        }
    }
}

/// Whether the answers of this version of etcd to a demand for progress are in order with the events.
pub(super) fn exact_progress(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    let mut part = || parts.next().flatten();
    match (part(), part(), part()) {
        (Some(3), Some(4), Some(patch)) => patch >= 31,
        (Some(3), Some(5), Some(patch)) => patch >= 13,
        (Some(major), Some(minor), Some(_)) => (major, minor) > (3, 5),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_that_answer_in_order_are_trusted() {
        let cases = [
            ("3.4.23", false),
            ("3.4.31", true),
            ("3.5.12", false),
            ("3.5.13", true),
            ("3.6.0-rc.1", true),
            ("4.0.0", true),
            ("3.3.99", false),
            ("", false),
            ("x.y.z", false),
        ];
        for (version, expected) in cases {
            assert_eq!(exact_progress(version), expected, "{version}");
        }
    }
}
