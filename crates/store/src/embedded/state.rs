//! What the lock of the engine protects, and the rules of reading and writing it: etcd's, without time or tasks.
//!
//! What is decided and what may be seen are two things: [`State::revision`] is the last write that was decided, and
//! [`State::visible`] the last one that is durable. Only writers look at what is between the two, and they are answered when
//! it is durable.

use std::collections::{BTreeSet, VecDeque};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use world::Timestamp;

use super::index::Index;
use super::leases::Leases;
use super::log::Log;
use super::record::Record;
use super::watchers::Watchers;
use crate::journal::{Item, Pending, Write};
use crate::{
    Compare, KeyRange, LeaseId, Limits, NO_LEASE, Op, OpResult, RangeRequest, RangeResult, Revision, Stats, StoreError,
    Txn, TxnResult,
};

/// Automatic compaction waits until this many revisions are over the limit, so that a key that is written all the time is
/// not visited for each of its versions.
const COMPACTION_STEP: i64 = 64;

/// Automatic compaction by age notes the revision this many times per age.
const CHECKPOINTS_PER_AGE: u32 = 30;

/// How finely the times of revisions are known.
const TIME_STEP: Duration = Duration::from_millis(1);

/// How many times its limit history may grow while a snapshot needs it, before the snapshot fails.
const PINNED_HISTORY: u64 = 4;

pub(crate) struct State {
    /// The last revision that was decided.
    pub revision: Revision,
    /// The last revision that may be seen.
    pub visible: Revision,
    /// The end of the events that may be seen.
    pub visible_end: u64,
    /// What lies before this revision cannot be read or watched any more; 0 when nothing was compacted.
    pub compacted: Revision,
    /// What lies before this revision is gone from memory. Behind [`State::compacted`] while a snapshot needs it.
    pub dropped: Revision,
    pub index: Index,
    pub log: Log,
    pub watchers: Watchers,
    pub leases: Leases,
    pub closed: Option<StoreError>,
    /// Which revision the store had when, oldest first: by the world's elapsed time, for ages.
    checkpoints: VecDeque<(Duration, Revision)>,
    /// The same by the clock, for those who ask for a time. Not more than one per [`TIME_STEP`].
    times: VecDeque<(Timestamp, Revision)>,
    /// What snapshots under way still need: nothing after these revisions is dropped.
    pins: Vec<(u64, Revision)>,
    next_pin: u64,
}

impl State {
    pub fn new(seed: u64) -> State {
        State {
            revision: 1,
            visible: 1,
            visible_end: 0,
            compacted: 0,
            dropped: 0,
            index: Index::new(seed),
            log: Log::default(),
            watchers: Watchers::default(),
            leases: Leases::default(),
            closed: None,
            checkpoints: VecDeque::new(),
            times: VecDeque::new(),
            pins: Vec::new(),
            next_pin: 0,
        }
    }

    pub fn check_open(&self) -> Result<(), StoreError> {
        self.closed.clone().map_or(Ok(()), Err)
    }

    /// Whether a read at `revision` can be answered by one who may see up to `newest`.
    pub fn check_revision(&self, revision: Option<Revision>, newest: Revision) -> Result<(), StoreError> {
        match revision.filter(|revision| *revision > 0) {
            Some(revision) if revision > newest => Err(StoreError::FutureRevision { revision: newest }),
            Some(revision) if revision < self.compacted => {
                Err(StoreError::Compacted { compact_revision: self.compacted })
            }
            _ => Ok(()),
        }
    }

    pub fn stats(&self) -> Stats {
        Stats {
            keys: self.index.live(),
            bytes: self.index.live_bytes(),
            history_bytes: self.history_bytes(),
            revisions: self.visible - self.compacted.max(1) + 1,
            watchers: self.watchers.len(),
            leases: self.leases.len(),
            ..Stats::default()
        }
    }

    fn history_bytes(&self) -> u64 {
        self.log.bytes() + self.index.superseded_bytes()
    }

    /// Reads what may be seen; the revision has been checked.
    pub fn range(&self, request: &RangeRequest) -> RangeResult {
        self.range_up_to(request, self.visible)
    }

    /// Reads for one who may see up to `newest`.
    fn range_up_to(&self, request: &RangeRequest, newest: Revision) -> RangeResult {
        let asked = request.revision.filter(|revision| *revision > 0 && *revision <= newest).unwrap_or(newest);
        // The latest versions need no search, where nothing is newer.
        let revision = (asked < newest || newest < self.revision).then_some(asked);
        let mut result = RangeResult { revision: newest, ..RangeResult::default() };
        if let crate::End::Key = request.range.end() {
            let found = match revision {
                None => self.index.get(request.range.start()),
                Some(revision) => self.index.get_at(request.range.start(), revision),
            };
            result.count = usize::from(found.is_some());
            if !request.count_only {
                result.kvs.extend(found.map(|record| record.to_key_value(!request.keys_only)));
            }
            return result;
        }
        let mut walk = self.index.walk(&request.range, revision);
        if request.count_only {
            result.count = walk.count();
            return result;
        }
        let limit = if request.limit == 0 { usize::MAX } else { request.limit };
        result.kvs.extend(walk.by_ref().take(limit).map(|record| record.to_key_value(!request.keys_only)));
        let left_out = walk.count();
        result.more = left_out > 0;
        result.count = result.kvs.len() + left_out;
        result
    }

    /// Answers a transaction that only reads, from what may be seen.
    pub fn read(&self, txn: &Txn) -> Result<TxnResult, StoreError> {
        self.check_open()?;
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare, Some(self.visible)));
        let mut results = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            results.push(match op {
                Op::Range(request) => {
                    self.check_revision(request.revision, self.visible)?;
                    OpResult::Range(self.range(request))
                }
                Op::Txn(nested) => OpResult::Txn(self.read(nested)?),
                Op::Delete { .. } | Op::Put { .. } => unreachable!("the caller has looked for writes"),
            });
        }
        Ok(TxnResult { revision: self.visible, succeeded, results })
    }

    /// Decides a transaction, or refuses it and changes nothing.
    pub fn txn(
        &mut self,
        txn: Txn,
        limits: &Limits,
        now: Duration,
        pending: &mut Pending,
    ) -> Result<TxnResult, StoreError> {
        self.check_open()?;
        let mut plan = Plan::default();
        self.plan(&txn, now, &mut plan)?;
        if plan.bytes > 0 && self.index.live_bytes() + plan.bytes > limits.quota_bytes {
            return Err(StoreError::NoSpace { quota: limits.quota_bytes });
        }
        let from = self.log.end();
        let revision = self.revision + 1;
        pending.begin_txn();
        let result = self.apply(txn, &mut plan.decisions.into_iter(), revision, from, pending);
        pending.end_txn();
        self.decide(from);
        Ok(result)
    }

    /// Evaluates all comparisons against the state before the transaction, and refuses what cannot be done.
    fn plan(&self, txn: &Txn, now: Duration, plan: &mut Plan) -> Result<(), StoreError> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare, None));
        plan.decisions.push(succeeded);
        for op in if succeeded { &txn.success } else { &txn.failure } {
            match op {
                Op::Delete { .. } => {}
                Op::Put { key, value, lease, .. } => {
                    if *lease != NO_LEASE && self.leases.get(*lease, now).is_none() {
                        return Err(StoreError::LeaseNotFound { id: *lease });
                    }
                    plan.bytes += (key.len() + value.len()) as u64;
                }
                Op::Range(request) => self.check_revision(request.revision, self.revision)?,
                Op::Txn(nested) => self.plan(nested, now, plan)?,
            }
        }
        Ok(())
    }

    /// Whether a comparison holds at a revision, or after all that was decided.
    fn holds(&self, compare: &Compare, revision: Option<Revision>) -> bool {
        let stored = match revision.filter(|revision| *revision < self.revision) {
            None => self.index.get(compare.key()),
            Some(revision) => self.index.get_at(compare.key(), revision),
        };
        match compare {
            Compare::CreateRevision { op, revision, .. } => {
                op.holds(&stored.map_or(0, Record::create_revision), revision)
            }
            Compare::Lease { op, lease, .. } => op.holds(&stored.map_or(NO_LEASE, Record::lease), lease),
            Compare::ModRevision { op, revision, .. } => op.holds(&stored.map_or(0, Record::mod_revision), revision),
            Compare::Value { op, value, .. } => stored.is_some_and(|version| op.holds(version.value(), &value[..])),
            Compare::Version { op, version, .. } => op.holds(&stored.map_or(0, Record::version), version),
        }
    }

    /// Does what was planned; it cannot fail. `from` is the end of the log before the transaction.
    fn apply(
        &mut self,
        txn: Txn,
        decisions: &mut impl Iterator<Item = bool>,
        revision: Revision,
        from: u64,
        pending: &mut Pending,
    ) -> TxnResult {
        let succeeded = decisions.next().expect("the plan has a decision for every transaction");
        let ops = if succeeded { txn.success } else { txn.failure };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                Op::Delete { range, prev_kv } => {
                    let (deleted, prev) = self.delete(&range, prev_kv, revision);
                    if deleted > 0 {
                        pending.delete(&range);
                    }
                    OpResult::Delete { deleted, prev: prev.iter().map(|record| record.to_key_value(true)).collect() }
                }
                Op::Put { key, value, lease, prev_kv } => {
                    pending.put(&key, &value, lease);
                    let prev = self.put(&key, &value, lease, revision);
                    OpResult::Put { prev: prev.filter(|_| prev_kv).map(|record| record.to_key_value(true)) }
                }
                Op::Range(request) => {
                    let newest = self.revision_after(from, revision);
                    let mut result = self.range_up_to(&request, newest);
                    result.revision = newest;
                    OpResult::Range(result)
                }
                Op::Txn(nested) => OpResult::Txn(self.apply(*nested, decisions, revision, from, pending)),
            });
        }
        TxnResult { revision: self.revision_after(from, revision), succeeded, results }
    }

    /// The transaction's revision once it has written something, the store's until then.
    fn revision_after(&self, from: u64, revision: Revision) -> Revision {
        if self.log.end() > from { revision } else { self.revision }
    }

    fn put(&mut self, key: &[u8], value: &[u8], lease: LeaseId, revision: Revision) -> Option<Record> {
        let (written, previous) = self.index.put(key, value, lease, revision);
        self.leases.attach(key, previous.as_ref().map_or(NO_LEASE, Record::lease), lease);
        self.log.push(written);
        previous
    }

    fn delete(&mut self, range: &KeyRange, wanted: bool, revision: Revision) -> (usize, Vec<Record>) {
        let found: Vec<Record> = self.index.walk(range, None).cloned().collect();
        for record in &found {
            self.delete_key(record.key(), revision);
        }
        (found.len(), if wanted { found } else { Vec::new() })
    }

    fn delete_key(&mut self, key: &[u8], revision: Revision) {
        if let Some((written, previous)) = self.index.delete(key, revision) {
            self.leases.attach(key, previous.lease(), NO_LEASE);
            self.log.push(written);
        }
    }

    /// Ends a lease and deletes its keys at one revision; false when there is none.
    pub fn revoke(&mut self, id: LeaseId, pending: &mut Pending) -> bool {
        let from = self.log.end();
        let Some(lease) = self.leases.remove(id) else { return false };
        pending.revoke(id, lease.ttl);
        self.delete_all(lease.keys);
        self.decide(from);
        true
    }

    fn delete_all(&mut self, keys: BTreeSet<Bytes>) {
        for key in keys {
            self.delete_key(&key, self.revision + 1);
        }
    }

    /// Makes what was written since `from` the next revision, if anything was.
    fn decide(&mut self, from: u64) {
        if self.log.end() > from {
            self.revision += 1;
        }
    }

    /// Lets everything up to `revision`, whose events end at `end`, be seen. Returns how far history was compacted, if it was.
    pub fn publish(
        &mut self,
        revision: Revision,
        end: u64,
        limits: &Limits,
        clocks: (Timestamp, Duration),
        wakers: &mut Vec<Waker>,
    ) -> Option<Revision> {
        if revision == self.visible {
            return None;
        }
        for (position, event) in (self.visible_end..).zip(self.log.range(self.visible_end, end)) {
            self.watchers.notify(event.key(), position, event.mod_revision(), wakers);
        }
        (self.visible, self.visible_end) = (revision, end);
        let (time, now) = clocks;
        self.note_time(time);
        self.bound_history(limits, now)
    }

    /// Notes that everything visible was there at a time.
    pub fn note_time(&mut self, time: Timestamp) {
        match self.times.back_mut() {
            Some((noted, revision)) if time.since(*noted) < TIME_STEP => *revision = self.visible,
            _ => self.times.push_back((time, self.visible)),
        }
    }

    /// The last revision that was there at a time, or the first time that is known.
    pub fn revision_at(&self, time: Timestamp) -> Result<Revision, Option<Timestamp>> {
        let after = self.times.partition_point(|(noted, _)| *noted <= time);
        match after.checked_sub(1).and_then(|at| self.times.get(at)) {
            Some((_, revision)) => Ok(*revision),
            None => Err(self.times.front().map(|(noted, _)| *noted)),
        }
    }

    /// Refuses what lies before `revision` from now on, and forgets it unless a snapshot needs it.
    pub fn compact(&mut self, revision: Revision) {
        self.compacted = revision;
        self.drop_compacted();
    }

    fn drop_compacted(&mut self) {
        let revision =
            self.pins.iter().map(|(_, revision)| *revision).min().unwrap_or(Revision::MAX).min(self.compacted);
        if revision <= self.dropped {
            return;
        }
        let first = self.log.first();
        // Only keys that were written between the two compactions have versions to drop.
        for event in self.log.range(first, u64::MAX).take_while(|event| event.mod_revision() <= revision) {
            self.index.compact(event.key(), revision);
        }
        self.log.trim(revision);
        self.dropped = revision;
        while self.times.get(1).is_some_and(|(_, later)| *later < revision) {
            self.times.pop_front();
        }
    }

    /// Keeps what is held now until [`State::unpin`]. Returns the pin and the first revision that it keeps.
    pub fn pin(&mut self) -> (u64, Revision) {
        self.next_pin += 1;
        self.pins.push((self.next_pin, self.dropped));
        (self.next_pin, self.dropped)
    }

    pub fn is_pinned(&self, pin: u64) -> bool {
        self.pins.iter().any(|(id, _)| *id == pin)
    }

    pub fn unpin(&mut self, pin: u64) {
        self.pins.retain(|(id, _)| *id != pin);
        self.drop_compacted();
    }

    /// The automatic compaction.
    fn bound_history(&mut self, limits: &Limits, now: Duration) -> Option<Revision> {
        let before = self.compacted;
        let spacing = limits.history_age / CHECKPOINTS_PER_AGE;
        if self.checkpoints.back().is_none_or(|(noted, _)| now.saturating_sub(*noted) >= spacing) {
            self.checkpoints.push_back((now, self.visible));
        }
        let mut target = 0;
        while let Some((_, revision)) =
            self.checkpoints.front().filter(|(noted, _)| now.saturating_sub(*noted) >= limits.history_age)
        {
            target = *revision;
            self.checkpoints.pop_front();
        }
        if self.visible - self.compacted >= limits.history_revisions + COMPACTION_STEP.min(limits.history_revisions) {
            target = target.max(self.visible - limits.history_revisions);
        }
        if target > self.compacted {
            self.compact(target);
        }
        if self.history_bytes() > limits.history_bytes.saturating_mul(PINNED_HISTORY) && !self.pins.is_empty() {
            // A snapshot that is read this slowly must not cost the memory of everyone.
            self.pins.clear();
            self.drop_compacted();
        }
        while self.history_bytes() > limits.history_bytes && self.compacted < self.visible && self.pins.is_empty() {
            self.compact((self.compacted + COMPACTION_STEP).min(self.visible));
        }
        (self.compacted > before).then_some(self.compacted)
    }

    /// Begins to put back what a snapshot holds into an empty state whose history begins at `compacted`.
    pub fn begin_restore(&mut self, compacted: Revision) {
        (self.compacted, self.dropped) = (compacted, compacted);
        self.revision = compacted.max(1);
    }

    /// Puts back a version that was live where history begins.
    pub fn restore_version(&mut self, record: Record) -> Result<(), &'static str> {
        if record.is_tombstone() || record.mod_revision() > self.compacted {
            return Err("a version is not older than history");
        }
        if self.index.get(record.key()).is_some() {
            return Err("a key occurs twice");
        }
        self.leases.restore_key(record.key(), NO_LEASE, record.lease());
        self.index.restore(record);
        Ok(())
    }

    /// Puts back an event, in order.
    pub fn restore_event(&mut self, record: Record) -> Result<(), &'static str> {
        if record.mod_revision() < self.revision.max(2) {
            return Err("events are out of order");
        }
        // What was written where history begins is among the versions.
        if record.mod_revision() > self.compacted {
            let previous = self.index.apply(record.clone());
            self.leases.restore_key(
                record.key(),
                previous.map_or(NO_LEASE, |previous| previous.lease()),
                record.lease(),
            );
        }
        self.revision = record.mod_revision();
        self.log.push(record);
        Ok(())
    }

    /// All is put back. `revision` is that of the last event, or where history begins.
    pub fn end_restore(&mut self, revision: Revision) -> Result<(), &'static str> {
        if self.revision != revision {
            return Err("its last event is not that of its revision");
        }
        (self.visible, self.visible_end) = (self.revision, self.log.end());
        Ok(())
    }

    /// Does again what the log says. It is visible at once.
    ///
    /// # Errors
    /// What the log says cannot have happened.
    pub fn replay(&mut self, item: Item, now: Duration) -> Result<(), &'static str> {
        let (from, revision) = (self.log.end(), self.revision + 1);
        match item {
            Item::Txn(writes) => {
                for write in writes {
                    match write {
                        Write::Put { key, value, lease } => drop(self.put(&key, &value, lease, revision)),
                        Write::Delete(range) => drop(self.delete(&range, false, revision)),
                    }
                }
                if self.log.end() == from {
                    return Err("a transaction in the log changes nothing");
                }
            }
            Item::Grant { id, .. } if self.leases.exists(id) => return Err("the log grants a lease that exists"),
            Item::Grant { id, ttl_seconds } => self.leases.grant(id, Duration::from_secs(ttl_seconds), now),
            Item::Revoke { id } => {
                let lease = self.leases.remove(id).ok_or("the log ends a lease that was not granted")?;
                self.delete_all(lease.keys);
            }
            Item::Compact { revision } => {
                if revision > self.revision {
                    return Err("the log compacts a revision that is still to come");
                }
                if revision > self.compacted {
                    self.compact(revision);
                }
            }
        }
        self.decide(from);
        (self.visible, self.visible_end) = (self.revision, self.log.end());
        Ok(())
    }
}

/// What a transaction is going to do.
#[derive(Default)]
struct Plan {
    /// Which branch each transaction takes, parents before children.
    decisions: Vec<bool>,
    /// Keys and values that it puts, in bytes.
    bytes: u64,
}
