//! What the lock of the engine protects, and the rules of reading and writing it: etcd's, without time or tasks.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::index::Index;
use super::leases::Leases;
use super::log::Log;
use super::watchers::Watchers;
use crate::{
    Compare, KeyRange, KeyValue, LeaseId, Limits, NO_LEASE, Op, OpResult, RangeRequest, RangeResult, Revision, Stats,
    StoreError, Txn, TxnResult,
};

/// Automatic compaction waits until this many revisions are over the limit, so that a key that is written all the time is
/// not visited for each of its versions.
const COMPACTION_STEP: i64 = 64;

/// Automatic compaction by age notes the revision this many times per age.
const CHECKPOINTS_PER_AGE: u32 = 30;

pub(super) struct State {
    pub revision: Revision,
    /// What lies before this revision cannot be read or watched any more; 0 when nothing was compacted.
    pub compacted: Revision,
    pub index: Index,
    pub log: Log,
    pub watchers: Watchers,
    pub leases: Leases,
    pub closed: bool,
    /// Which revision the store had when, oldest first.
    checkpoints: VecDeque<(Duration, Revision)>,
}

impl State {
    pub fn new() -> State {
        State {
            revision: 1,
            compacted: 0,
            index: Index::default(),
            log: Log::default(),
            watchers: Watchers::default(),
            leases: Leases::default(),
            closed: false,
            checkpoints: VecDeque::new(),
        }
    }

    pub fn check_open(&self) -> Result<(), StoreError> {
        if self.closed { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Whether a read at `revision` can be answered.
    pub fn check_revision(&self, revision: Option<Revision>) -> Result<(), StoreError> {
        match revision.filter(|revision| *revision > 0) {
            Some(revision) if revision > self.revision => Err(StoreError::FutureRevision { revision: self.revision }),
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
            revisions: self.revision - self.compacted.max(1) + 1,
            watchers: self.watchers.len(),
            leases: self.leases.len(),
        }
    }

    fn history_bytes(&self) -> u64 {
        self.log.bytes() + self.index.superseded_bytes()
    }

    /// Reads; the revision has been checked.
    pub fn range(&self, request: &RangeRequest) -> RangeResult {
        let revision = request.revision.filter(|revision| *revision > 0 && *revision <= self.revision);
        let mut result = RangeResult { revision: self.revision, ..RangeResult::default() };
        let mut walk = self.index.walk(&request.range, revision);
        if request.count_only {
            result.count = walk.count();
            return result;
        }
        let limit = if request.limit == 0 { usize::MAX } else { request.limit };
        for (key, version) in walk.by_ref().take(limit) {
            let mut kv = version.to_key_value(key);
            if request.keys_only {
                kv.value = Bytes::new();
            }
            result.kvs.push(kv);
        }
        let left_out = walk.count();
        result.more = left_out > 0;
        result.count = result.kvs.len() + left_out;
        result
    }

    /// Carries out a transaction, or refuses it and changes nothing.
    pub fn txn(
        &mut self,
        txn: Txn,
        limits: &Limits,
        now: Duration,
        wakers: &mut Vec<Waker>,
    ) -> Result<TxnResult, StoreError> {
        self.check_open()?;
        let mut plan = Plan::default();
        self.plan(&txn, now, &mut plan)?;
        if plan.bytes > 0 && self.index.live_bytes() + plan.bytes > limits.quota_bytes {
            return Err(StoreError::NoSpace { quota: limits.quota_bytes });
        }
        let from = self.log.end();
        let revision = self.revision + 1;
        let result = self.apply(txn, &mut plan.decisions.into_iter(), revision, from);
        self.commit(from, limits, now, wakers);
        Ok(result)
    }

    /// Evaluates all comparisons against the state before the transaction, and refuses what cannot be done.
    fn plan(&self, txn: &Txn, now: Duration, plan: &mut Plan) -> Result<(), StoreError> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
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
                Op::Range(request) => self.check_revision(request.revision)?,
                Op::Txn(nested) => self.plan(nested, now, plan)?,
            }
        }
        Ok(())
    }

    fn holds(&self, compare: &Compare) -> bool {
        let stored = self.index.get(compare.key());
        match compare {
            Compare::CreateRevision { op, revision, .. } => {
                op.holds(&stored.map_or(0, |version| version.create_revision), revision)
            }
            Compare::Lease { op, lease, .. } => op.holds(&stored.map_or(NO_LEASE, |version| version.lease), lease),
            Compare::ModRevision { op, revision, .. } => {
                op.holds(&stored.map_or(0, |version| version.mod_revision), revision)
            }
            Compare::Value { op, value, .. } => stored.is_some_and(|version| op.holds(&version.value, value)),
            Compare::Version { op, version, .. } => op.holds(&stored.map_or(0, |stored| stored.version), version),
        }
    }

    /// Does what was planned; it cannot fail. `from` is the end of the log before the transaction.
    fn apply(
        &mut self,
        txn: Txn,
        decisions: &mut impl Iterator<Item = bool>,
        revision: Revision,
        from: u64,
    ) -> TxnResult {
        let succeeded = decisions.next().expect("the plan has a decision for every transaction");
        let ops = if succeeded { txn.success } else { txn.failure };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                Op::Delete { range, prev_kv } => self.delete(&range, prev_kv, revision),
                Op::Put { key, value, lease, prev_kv } => {
                    let prev = self.put(key, value, lease, revision);
                    OpResult::Put { prev: prev.filter(|_| prev_kv) }
                }
                Op::Range(request) => {
                    let mut result = self.range(&request);
                    result.revision = self.revision_after(from, revision);
                    OpResult::Range(result)
                }
                Op::Txn(nested) => OpResult::Txn(self.apply(*nested, decisions, revision, from)),
            });
        }
        TxnResult { revision: self.revision_after(from, revision), succeeded, results }
    }

    /// The transaction's revision once it has written something, the store's until then.
    fn revision_after(&self, from: u64, revision: Revision) -> Revision {
        if self.log.end() > from { revision } else { self.revision }
    }

    fn put(&mut self, key: Bytes, value: Bytes, lease: LeaseId, revision: Revision) -> Option<KeyValue> {
        let (written, previous) = self.index.put(key, value, lease, revision);
        self.leases.attach(&written.key, previous.as_ref().map_or(NO_LEASE, |previous| previous.lease), lease);
        self.log.push(written);
        previous
    }

    fn delete(&mut self, range: &KeyRange, prev_kv: bool, revision: Revision) -> OpResult {
        let keys: Vec<Bytes> = self.index.walk(range, None).map(|(key, _)| key.clone()).collect();
        let mut prev = Vec::new();
        for key in &keys {
            let previous = self.delete_key(key, revision);
            if prev_kv {
                prev.extend(previous);
            }
        }
        OpResult::Delete { deleted: keys.len(), prev }
    }

    fn delete_key(&mut self, key: &Bytes, revision: Revision) -> Option<KeyValue> {
        let (written, previous) = self.index.delete(key, revision)?;
        self.leases.attach(key, previous.lease, NO_LEASE);
        self.log.push(written);
        Some(previous)
    }

    /// Ends a lease and deletes its keys at one revision; false when there is none.
    pub fn revoke(&mut self, id: LeaseId, limits: &Limits, now: Duration, wakers: &mut Vec<Waker>) -> bool {
        let Some(keys) = self.leases.remove(id) else { return false };
        let from = self.log.end();
        for key in keys {
            self.delete_key(&key, self.revision + 1);
        }
        self.commit(from, limits, now, wakers);
        true
    }

    /// Makes what was written since `from` the next revision, if anything was.
    fn commit(&mut self, from: u64, limits: &Limits, now: Duration, wakers: &mut Vec<Waker>) {
        if self.log.end() == from {
            return;
        }
        self.revision += 1;
        for (position, event) in (from..).zip(self.log.iter_from(from)) {
            self.watchers.notify(&event.key, position, self.revision, wakers);
        }
        self.bound_history(limits, now);
    }

    /// Forgets everything that no read or watch from `revision` on needs.
    pub fn compact(&mut self, revision: Revision) {
        let first = self.log.first();
        // Only keys that were written between the two compactions have versions to drop.
        for event in self.log.iter_from(first).take_while(|event| event.mod_revision <= revision) {
            self.index.compact(&event.key, revision);
        }
        self.log.trim(revision);
        self.compacted = revision;
    }

    /// The automatic compaction.
    fn bound_history(&mut self, limits: &Limits, now: Duration) {
        let spacing = limits.history_age / CHECKPOINTS_PER_AGE;
        if self.checkpoints.back().is_none_or(|(noted, _)| now.saturating_sub(*noted) >= spacing) {
            self.checkpoints.push_back((now, self.revision));
        }
        let mut target = 0;
        while let Some((_, revision)) =
            self.checkpoints.front().filter(|(noted, _)| now.saturating_sub(*noted) >= limits.history_age)
        {
            target = *revision;
            self.checkpoints.pop_front();
        }
        if self.revision - self.compacted >= limits.history_revisions + COMPACTION_STEP.min(limits.history_revisions) {
            target = target.max(self.revision - limits.history_revisions);
        }
        if target > self.compacted {
            self.compact(target);
        }
        while self.history_bytes() > limits.history_bytes && self.compacted < self.revision {
            self.compact((self.compacted + COMPACTION_STEP).min(self.revision));
        }
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
