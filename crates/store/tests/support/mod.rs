//! The naive model that engines are compared with, and the sequences of commands that are run against both.
//!
//! The model keeps every revision as a whole list of changes and answers by replaying them from the beginning. It shares no
//! code with any engine, and the sequences use the public interface only, so a new engine is one more call of [`run`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use store::*;
use world::World;

/// What one revision changed: key to value and lease, or to nothing.
type Changes = Vec<(Bytes, Option<(Bytes, LeaseId)>)>;

#[derive(Default)]
pub struct Model {
    /// The changes of revision 2 come first.
    history: Vec<Changes>,
    compacted: Revision,
    /// Time to live and deadline.
    leases: BTreeMap<LeaseId, (Duration, Duration)>,
}

impl Model {
    fn revision(&self) -> Revision {
        self.history.len() as Revision + 1
    }

    /// Everything that was live at a revision, computed from the beginning of time.
    fn at(&self, revision: Revision) -> BTreeMap<Bytes, KeyValue> {
        let mut keys = BTreeMap::new();
        for (i, changes) in self.history.iter().enumerate().take_while(|(i, _)| *i as Revision + 2 <= revision) {
            apply(&mut keys, changes, i as Revision + 2);
        }
        keys
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeResult, StoreError> {
        let revision = request.revision.filter(|revision| *revision > 0).unwrap_or(self.revision());
        if revision > self.revision() {
            return Err(StoreError::FutureRevision { revision: self.revision() });
        }
        if revision < self.compacted {
            return Err(StoreError::Compacted { compact_revision: self.compacted });
        }
        Ok(select(&self.at(revision), request, self.revision()))
    }

    fn txn(&mut self, txn: &Txn, now: Duration) -> Result<TxnResult, StoreError> {
        let before = self.at(self.revision());
        let mut view = before.clone();
        let mut changes = Vec::new();
        let result = self.run_txn(txn, &before, &mut view, &mut changes, now)?;
        if !changes.is_empty() {
            self.history.push(changes);
        }
        Ok(result)
    }

    fn run_txn(
        &self,
        txn: &Txn,
        before: &BTreeMap<Bytes, KeyValue>,
        view: &mut BTreeMap<Bytes, KeyValue>,
        changes: &mut Changes,
        now: Duration,
    ) -> Result<TxnResult, StoreError> {
        let succeeded = txn.compare.iter().all(|compare| {
            let stored = before.get(compare.key());
            let or_empty = stored.cloned().unwrap_or_default();
            match compare {
                Compare::CreateRevision { op, revision, .. } => op.holds(&or_empty.create_revision, revision),
                Compare::Lease { op, lease, .. } => op.holds(&or_empty.lease, lease),
                Compare::ModRevision { op, revision, .. } => op.holds(&or_empty.mod_revision, revision),
                Compare::Value { op, value, .. } => stored.is_some() && op.holds(&or_empty.value, value),
                Compare::Version { op, version, .. } => op.holds(&or_empty.version, version),
            }
        });
        let mut results = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            results.push(match op {
                Op::Delete { range, prev_kv } => {
                    let gone: Vec<KeyValue> = view.values().filter(|kv| range.contains(&kv.key)).cloned().collect();
                    for kv in &gone {
                        self.change(view, changes, (kv.key.clone(), None));
                    }
                    OpResult::Delete { deleted: gone.len(), prev: if *prev_kv { gone } else { Vec::new() } }
                }
                Op::Put { key, value, lease, prev_kv } => {
                    if *lease != NO_LEASE && self.leases.get(lease).is_none_or(|(_, deadline)| *deadline <= now) {
                        return Err(StoreError::LeaseNotFound { id: *lease });
                    }
                    let prev = view.get(key).cloned();
                    self.change(view, changes, (key.clone(), Some((value.clone(), *lease))));
                    OpResult::Put { prev: prev.filter(|_| *prev_kv) }
                }
                Op::Range(request) => {
                    let revision = self.revision() + i64::from(!changes.is_empty());
                    match request.revision {
                        Some(past) if past > 0 && past <= self.revision() => {
                            let mut result = self.range(request)?;
                            result.revision = revision;
                            OpResult::Range(result)
                        }
                        Some(past) if past > 0 => {
                            return Err(StoreError::FutureRevision { revision: self.revision() });
                        }
                        _ => OpResult::Range(select(view, request, revision)),
                    }
                }
                Op::Txn(nested) => OpResult::Txn(self.run_txn(nested, before, view, changes, now)?),
            });
        }
        let revision = self.revision() + i64::from(!changes.is_empty());
        Ok(TxnResult { revision, succeeded, results })
    }

    fn change(
        &self,
        view: &mut BTreeMap<Bytes, KeyValue>,
        changes: &mut Changes,
        change: (Bytes, Option<(Bytes, LeaseId)>),
    ) {
        changes.push(change);
        apply(view, &changes[changes.len() - 1..], self.revision() + 1);
    }

    fn revoke(&mut self, id: LeaseId) {
        self.leases.remove(&id);
        let now = self.at(self.revision());
        let changes: Changes = now.into_values().filter(|kv| kv.lease == id).map(|kv| (kv.key, None)).collect();
        if !changes.is_empty() {
            self.history.push(changes);
        }
    }

    /// Ends the leases that have run out, the earliest first.
    fn expire(&mut self, now: Duration) {
        let mut due: Vec<(Duration, LeaseId)> = self
            .leases
            .iter()
            .map(|(id, (_, deadline))| (*deadline, *id))
            .filter(|(deadline, _)| *deadline <= now)
            .collect();
        due.sort();
        due.into_iter().for_each(|(_, id)| self.revoke(id));
    }

    /// All events of a range from a revision on. The previous version is only known from the compaction on.
    fn events(&self, range: &KeyRange, from: Revision) -> Vec<Event> {
        let mut events = Vec::new();
        let mut keys = BTreeMap::new();
        for (i, changes) in self.history.iter().enumerate() {
            let revision = i as Revision + 2;
            let before = keys.clone();
            apply(&mut keys, changes, revision);
            for (key, change) in changes.iter().filter(|(key, _)| revision >= from && range.contains(key)) {
                let deletion = KeyValue { key: key.clone(), mod_revision: revision, ..KeyValue::default() };
                events.push(Event {
                    kind: if change.is_some() { EventKind::Put } else { EventKind::Delete },
                    kv: if change.is_some() { keys[key].clone() } else { deletion },
                    prev: before.get(key).cloned(),
                });
            }
        }
        events
    }
}

fn apply(keys: &mut BTreeMap<Bytes, KeyValue>, changes: &[(Bytes, Option<(Bytes, LeaseId)>)], revision: Revision) {
    for (key, change) in changes {
        let Some((value, lease)) = change else {
            keys.remove(key);
            continue;
        };
        let (create_revision, version) =
            keys.get(key).map_or((revision, 1), |before| (before.create_revision, before.version + 1));
        let (key, value) = (key.clone(), value.clone());
        let kv = KeyValue { key: key.clone(), value, create_revision, mod_revision: revision, version, lease: *lease };
        keys.insert(key, kv);
    }
}

fn select(keys: &BTreeMap<Bytes, KeyValue>, request: &RangeRequest, revision: Revision) -> RangeResult {
    let mut kvs: Vec<KeyValue> = keys.values().filter(|kv| request.range.contains(&kv.key)).cloned().collect();
    let count = kvs.len();
    if request.count_only {
        return RangeResult { revision, kvs: Vec::new(), more: false, count };
    }
    if request.limit > 0 {
        kvs.truncate(request.limit);
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeResult { revision, more: kvs.len() < count, kvs, count }
}

/// A durable store with short segments and frequent snapshots.
#[allow(dead_code)] // A test binary uses the kinds that it has.
pub fn small_disk(limits: Limits) -> DiskOptions {
    DiskOptions {
        limits: Limits { request_bytes: 4_000, ..limits },
        first_segment_bytes: 16 << 10,
        segment_bytes: 32 << 10,
        snapshot_bytes: 12 << 10,
        retain_age: Duration::from_secs(3600),
        retain_bytes: 64 << 10,
        group_bytes: 2_000,
        reserve_bytes: 1_000,
        free_bytes: 0,
    }
}

/// Draws commands from a world's randomness. Few keys and short histories, so that commands meet.
struct Draw<'a>(&'a World);

impl Draw<'_> {
    fn one_of<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.0.below(choices.len() as u64) as usize]
    }

    fn chance(&self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    fn key(&self) -> Bytes {
        Bytes::from_static(self.one_of(&["a", "a/1", "a/2", "a/2/x", "a/3", "ab", "b", "b/1", "c/1", "c/2"]).as_bytes())
    }

    fn range(&self) -> KeyRange {
        match self.0.below(6) {
            0 => KeyRange::all(),
            1 => KeyRange::from(self.key()),
            2 => KeyRange::span(self.key(), self.key()),
            3 => KeyRange::prefix(self.one_of(&["a", "a/", "a/2", "b/", "c", "z"])),
            _ => KeyRange::key(self.key()),
        }
    }

    /// Mostly in the history that is held, sometimes around its ends.
    fn revision(&self, model: &Model) -> Revision {
        let low = (model.compacted - 2).max(0);
        low + self.0.below((model.revision() + 3 - low) as u64) as Revision
    }

    fn range_request(&self, model: &Model) -> RangeRequest {
        RangeRequest {
            range: self.range(),
            revision: self.chance(50).then(|| self.revision(model)),
            limit: self.one_of(&[0, 0, 1, 2, 5]),
            keys_only: self.chance(20),
            count_only: self.chance(10),
        }
    }

    fn lease(&self, model: &Model) -> LeaseId {
        let ids: Vec<LeaseId> = model.leases.keys().copied().chain([77]).collect();
        if self.chance(70) { NO_LEASE } else { self.one_of(&ids) }
    }

    fn put(&self, model: &Model) -> Op {
        let value = Bytes::from(format!("v{}", self.0.below(5)));
        Op::Put { key: self.key(), value, lease: self.lease(model), prev_kv: self.chance(50) }
    }

    fn delete(&self) -> Op {
        Op::Delete { range: self.range(), prev_kv: self.chance(50) }
    }

    fn compare(&self, model: &Model) -> Compare {
        let (key, op) = (self.key(), self.one_of(&[Cmp::Equal, Cmp::NotEqual, Cmp::Greater, Cmp::Less]));
        match self.0.below(5) {
            0 => Compare::CreateRevision { key, op, revision: self.revision(model) },
            1 => Compare::Lease { key, op, lease: self.lease(model) },
            2 => Compare::ModRevision { key, op, revision: self.one_of(&[0, self.revision(model)]) },
            3 => Compare::Value { key, op, value: Bytes::from(format!("v{}", self.0.below(5))) },
            _ => Compare::Version { key, op, version: self.0.below(3) as i64 },
        }
    }

    fn txn(&self, model: &Model, depth: u64) -> Txn {
        let ops = |count| {
            let op = |_| match self.0.below(4 + u64::from(depth > 0)) {
                0 => self.delete(),
                1 => Op::Range(self.range_request(model)),
                4 => Op::Txn(Box::new(self.txn(model, depth - 1))),
                _ => self.put(model),
            };
            (0..count).map(op).collect()
        };
        Txn {
            compare: (0..self.0.below(3)).map(|_| self.compare(model)).collect(),
            success: ops(self.0.below(4)),
            failure: ops(self.0.below(3)),
        }
    }
}

/// A watch that runs beside the commands, and how far it was compared.
struct Follower {
    watcher: Watcher,
    range: KeyRange,
    from: Revision,
    received: Vec<Event>,
}

/// What is known of an engine beyond the data model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // A test binary uses the kinds that it has.
pub enum Engine {
    /// In the process, on virtual time: everything is there at once.
    Local,
    /// Local, and compacts by itself; the model learns from the store how far.
    Compacting,
    /// Elsewhere, in real time: events come when they come, leases run out when they do, and [`Store::stats`] does not count
    /// keys and leases.
    Remote,
}

/// How long a remote engine may take for what it does by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `steps` drawn commands against `store` and the model, and compares every answer and every watch. The commands are drawn
/// from the randomness of `chance`.
pub async fn run(world: &World, chance: &World, store: Store, steps: usize, engine: Engine) {
    let mut model = Model::default();
    let mut followers: Vec<Follower> = Vec::new();
    let draw = Draw(chance);
    let automatic = engine == Engine::Compacting;
    let remote = engine == Engine::Remote;
    for step in 0..steps {
        model.expire(world.elapsed());
        if automatic {
            let compacted = store.compacted();
            assert!(compacted >= model.compacted && compacted <= store.revision());
            model.compacted = compacted;
        }
        match chance.below(20) {
            0..=5 => {
                let op = if draw.chance(80) { draw.put(&model) } else { draw.delete() };
                let txn = Txn::of(op);
                compare_txn(world, &store, &mut model, txn, engine, step).await;
            }
            6..=9 => {
                let txn = draw.txn(&model, 2);
                compare_txn(world, &store, &mut model, txn, engine, step).await;
            }
            10..=12 => {
                let request = draw.range_request(&model);
                assert_eq!(store.range(request.clone()).await, model.range(&request), "step {step}: {request:?}");
            }
            13 => {
                let revision = draw.revision(&model);
                if automatic || draw.chance(60) {
                    continue;
                }
                let expected = if revision <= model.compacted {
                    Err(StoreError::Compacted { compact_revision: model.compacted })
                } else if revision > model.revision() {
                    Err(StoreError::FutureRevision { revision: model.revision() })
                } else {
                    model.compacted = revision;
                    Ok(())
                };
                assert_eq!(store.compact(revision).await, expected, "step {step}: compact {revision}");
            }
            14 => {
                let (range, from) = (draw.range(), draw.revision(&model));
                let request = WatchRequest { range: range.clone(), from: Some(from), prev_kv: true, capacity: 3 };
                let from = if from == 0 { model.revision() + 1 } else { from };
                match store.watch(request).await {
                    Ok(watcher) => {
                        assert!(from >= model.compacted, "step {step}: watch from {from}");
                        followers.push(Follower { watcher, range, from, received: Vec::new() });
                    }
                    Err(error) => {
                        let compact_revision = model.compacted;
                        assert_eq!(error, StoreError::Compacted { compact_revision }, "step {step}");
                        assert!(from < compact_revision, "step {step}: watch from {from}");
                    }
                }
            }
            15 => {
                if let Some(chosen) = (chance.below(followers.len() as u64 + 1) as usize).checked_sub(1) {
                    drop(followers.swap_remove(chosen));
                }
            }
            16 => {
                // Where time is real, leases of the drawn commands do not run out; those that do are waited for.
                let ttl = Duration::from_secs(chance.below(20) + if remote { 10_000 } else { 1 });
                let id = draw.chance(50).then(|| 1 + chance.below(4) as LeaseId);
                match store.lease_grant(ttl, id).await {
                    Ok(lease) => {
                        assert!(id.is_none_or(|id| id == lease.id) && lease.ttl == ttl, "step {step}");
                        let before = model.leases.insert(lease.id, (ttl, world.elapsed() + ttl));
                        assert_eq!(before, None, "step {step}: a lease is granted once");
                    }
                    Err(error) => {
                        let id = id.expect("only a chosen id can be taken");
                        assert_eq!(error, StoreError::LeaseExists { id });
                        assert!(model.leases.contains_key(&id), "step {step}");
                    }
                }
            }
            17 => {
                let ids: Vec<LeaseId> = model.leases.keys().copied().chain([NO_LEASE, 77]).collect();
                let id = draw.one_of(&ids);
                if remote {
                    check_lease(&store, &model, id, step).await;
                }
                if draw.chance(50) {
                    let known = model.leases.contains_key(&id);
                    assert_eq!(store.lease_revoke(id).await.is_ok(), known, "step {step}: revoke {id}");
                    if known {
                        model.revoke(id);
                    }
                } else if let Some((ttl, deadline)) = model.leases.get_mut(&id) {
                    *deadline = world.elapsed() + *ttl;
                    assert_eq!(store.lease_keep_alive(id).await, Ok(Lease { id, ttl: *ttl }), "step {step}");
                } else {
                    assert_eq!(store.lease_keep_alive(id).await, Err(StoreError::LeaseNotFound { id }), "step {step}");
                }
            }
            18 if remote => {
                if draw.chance(8) {
                    run_out(world, &store, &mut model, draw.key(), step).await;
                }
            }
            18 => {
                // Expiry happens on the way, so the model is told after each second.
                for _ in 0..chance.below(4) {
                    world.sleep(Duration::from_secs(1)).await;
                    world.yield_now().await;
                    settle(world, &store, &mut model).await;
                }
            }
            _ => {
                let mut kept = Vec::new();
                for mut follower in followers {
                    if catch_up(world, &mut follower, &model, &store, engine, step).await {
                        kept.push(follower);
                    }
                }
                followers = kept;
            }
        }
        assert_eq!(store.revision(), model.revision(), "step {step}");
        if !remote {
            check_stats(&store, &model, step);
        }
    }
    if automatic {
        model.compacted = store.compacted();
    }
    for mut follower in followers {
        catch_up(world, &mut follower, &model, &store, engine, steps).await;
    }
    store.shutdown().await;
    assert_eq!(store.get("a").await, Err(StoreError::Closed));
}

/// Grants a lease, and waits until it has run out and its key is gone.
async fn run_out(world: &World, store: &Store, model: &mut Model, key: Bytes, step: usize) {
    let lease = store.lease_grant(MIN_LEASE_TTL, None).await.unwrap();
    model.leases.insert(lease.id, (lease.ttl, Duration::MAX));
    let txn = Txn::of(Op::Put { key: key.clone(), value: Bytes::new(), lease: lease.id, prev_kv: false });
    assert_eq!(store.txn(txn.clone()).await, model.txn(&txn, world.elapsed()), "step {step}");
    let deadline = world.elapsed() + PATIENCE;
    while store.get(key.clone()).await.unwrap().is_some() {
        assert!(world.elapsed() < deadline, "step {step}: the lease does not run out");
        world.sleep(Duration::from_millis(20)).await;
    }
    model.revoke(lease.id);
}

/// Compares what the store says of a lease.
async fn check_lease(store: &Store, model: &Model, id: LeaseId, step: usize) {
    let ids: Vec<LeaseId> = model.leases.keys().copied().collect();
    assert_eq!(store.leases().await, Ok(ids), "step {step}");
    let keys = model.at(model.revision()).into_values().filter(|kv| kv.lease == id).map(|kv| kv.key).collect();
    match (store.lease_time_to_live(id).await, model.leases.get(&id)) {
        (Ok(status), Some((ttl, _))) => {
            assert!(status.remaining <= *ttl && status.remaining + PATIENCE * 10 > *ttl, "step {step}: {status:?}");
            assert_eq!((status.granted, status.keys), (*ttl, keys), "step {step}");
        }
        (status, known) => {
            assert_eq!((status, known), (Err(StoreError::LeaseNotFound { id }), None), "step {step}");
        }
    }
}

/// Waits until the store's own expiry has done what the model's has.
async fn settle(world: &World, store: &Store, model: &mut Model) {
    model.expire(world.elapsed());
    for _ in 0..10_000 {
        if store.revision() == model.revision() && store.stats().leases == model.leases.len() {
            return;
        }
        world.yield_now().await;
    }
    panic!("leases that have run out are not expired: {} of {}", store.revision(), model.revision());
}

async fn compare_txn(world: &World, store: &Store, model: &mut Model, txn: Txn, engine: Engine, step: usize) {
    let result = store.txn(txn.clone()).await;
    if result == Err(StoreError::DuplicateKey) {
        assert!(may_collide(&txn), "step {step}: {txn:?} has no duplicate key");
        return;
    }
    let expected = model.txn(&txn, world.elapsed());
    if let (Engine::Remote, Err(StoreError::LeaseNotFound { .. }), Err(_)) = (engine, &result, &expected) {
        // etcd looks at all leases of a transaction before it looks at any revision.
        return;
    }
    assert_eq!(result, expected, "step {step}: {txn:?}");
}

/// Whether a transaction puts a key that it also puts or deletes elsewhere; which of those are refused is tested by table.
fn may_collide(txn: &Txn) -> bool {
    fn collect(ops: &[Op], puts: &mut Vec<Bytes>, deletes: &mut Vec<KeyRange>) {
        for op in ops {
            match op {
                Op::Delete { range, .. } => deletes.push(range.clone()),
                Op::Put { key, .. } => puts.push(key.clone()),
                Op::Range(_) => {}
                Op::Txn(nested) => {
                    collect(&nested.success, puts, deletes);
                    collect(&nested.failure, puts, deletes);
                }
            }
        }
    }
    [&txn.success, &txn.failure].into_iter().any(|branch| {
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        collect(branch, &mut puts, &mut deletes);
        let distinct: BTreeSet<&Bytes> = puts.iter().collect();
        distinct.len() < puts.len() || puts.iter().any(|key| deletes.iter().any(|range| range.contains(key)))
    })
}

/// Reads all events that wait; false when the watch has ended because it was too slow, which must be true.
async fn catch_up(
    world: &World,
    follower: &mut Follower,
    model: &Model,
    store: &Store,
    engine: Engine,
    step: usize,
) -> bool {
    let at_once = Duration::from_nanos(1);
    let patience = if engine == Engine::Remote { PATIENCE } else { at_once };
    let expected = model.events(&follower.range, follower.from);
    while follower.received.len() < expected.len() {
        match world.timeout(patience, follower.watcher.next()).await {
            Ok(Ok(batch)) => {
                let last = batch.events.last().expect("a batch is never empty").kv.mod_revision;
                assert_eq!(batch.revision, last, "step {step}");
                follower.received.extend(batch.events);
                let next = expected.get(follower.received.len());
                assert!(next.is_none_or(|next| next.kv.mod_revision > last), "step {step}: a revision is split");
                assert!(follower.watcher.progress() >= last, "step {step}");
            }
            Ok(Err(WatchError::Compacted { compact_revision })) => {
                assert_eq!(compact_revision, store.compacted(), "step {step}");
                let seen = follower.received.last().map_or(follower.from - 1, |event| event.kv.mod_revision);
                assert!(compact_revision > seen + 1, "step {step}: nothing that the watcher needs is gone");
                return false;
            }
            Ok(Err(WatchError::Closed)) => panic!("step {step}: closed"),
            Err(_) => panic!("step {step}: an event is lost: {} of {}", follower.received.len(), expected.len()),
        }
    }
    for (received, expected) in follower.received.iter().zip(&expected) {
        assert_eq!((received.kind, &received.kv), (expected.kind, &expected.kv), "step {step}");
        // The previous version may have been compacted before the event was read, but is never a wrong one.
        assert!(received.prev.is_none() || received.prev == expected.prev, "step {step}: {received:?} {expected:?}");
        let held = expected.prev.as_ref().is_none_or(|_| expected.kv.mod_revision <= model.compacted);
        assert!(held || received.prev.is_some(), "step {step}: {received:?} has lost its previous version");
    }
    assert_eq!(follower.received.len(), expected.len(), "step {step}");
    let deadline = world.elapsed() + patience;
    loop {
        match world.timeout(at_once, follower.watcher.next()).await {
            Err(_) if follower.watcher.progress() == store.revision() => return true,
            Err(_) => {
                let (progress, revision) = (follower.watcher.progress(), store.revision());
                assert!(world.elapsed() < deadline, "step {step}: progress {progress} does not reach {revision}");
                world.sleep(Duration::from_millis(1)).await;
            }
            Ok(Err(WatchError::Compacted { .. })) => {
                assert!(follower.watcher.progress() < store.compacted(), "step {step}: nothing it needs is gone");
                return false;
            }
            Ok(other) => panic!("step {step}: {other:?} came from nowhere"),
        }
    }
}

fn check_stats(store: &Store, model: &Model, step: usize) {
    let live = model.at(model.revision());
    let bytes = live.values().map(|kv| (kv.key.len() + kv.value.len()) as u64).sum();
    let stats = store.stats();
    let expected = (live.len(), bytes, model.leases.len());
    assert_eq!((stats.keys, stats.bytes, stats.leases), expected, "step {step}");
}
