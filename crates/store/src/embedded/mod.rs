//! The embedded engine: the state in memory, and behind it a log on a disk or nothing.
//!
//! One lock around the [`State`] and the group that is to be written next; readers share it. Nothing awaits or touches the disk
//! while it is held, and no waker runs under it, because a waker may run the task that drops a watcher, which takes the lock.
//! Without a log what is decided is visible at once; with one, when the [committer](crate::journal) has made it durable.

mod durable;
mod index;
mod leases;
mod log;
mod record;
mod state;
mod watcher;
mod watchers;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use world::{Stop, Tasks, Timestamp, World};

use crate::journal::{ITEM_OVERHEAD, Journal, LeaseChange, Past, Pending, Room, WRITE_OVERHEAD};
use crate::snapshot::Source;
use crate::{
    KeyRange, Lease, LeaseId, LeaseStatus, Limits, MAX_LEASE_TTL, MIN_LEASE_TTL, RangeRequest, RangeResult, Revision,
    Stats, StoreError, Txn, TxnResult, WatchRequest, check,
};
use watchers::Cursor;

pub(crate) use durable::Durable;
pub(crate) use record::Record;
pub(crate) use state::State;
pub(crate) use watcher::EmbeddedWatcher;

/// How long the expiry of leases may take to stop. It only ever sleeps, so this is never reached.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);

/// Leases that are ended in one group at most, so that many at once leave room for others.
const EXPIRED_AT_ONCE: usize = 64;

/// How often the committer tries for the lock before it sleeps: some twenty microseconds.
const LOCK_ATTEMPTS: usize = 1000;

/// Before trying again to end leases for which the disk has no space. For clients they are gone already.
const EXPIRY_RETRY: Duration = Duration::from_secs(1);

/// The handle that ends the engine when it is dropped.
pub(crate) struct Embedded {
    core: Arc<Core>,
    tasks: Tasks,
}

pub(crate) struct Core {
    pub(crate) world: World,
    pub(crate) limits: Limits,
    shared: RwLock<Shared>,
    /// How far what was decided is durable, and who waits for it.
    pub(crate) durable: Durable,
    pub(crate) journal: Option<Arc<Journal>>,
    /// Told when the disk has caught up, for writers who found no room.
    pub(crate) progress: Notify,
    /// Told when the first deadline of all leases has changed, and when the engine ends.
    deadline_changed: Arc<Notify>,
}

pub(crate) struct Shared {
    pub state: State,
    pub pending: Pending,
    /// What has happened to leases in the group that is being written.
    pub in_flight: Vec<LeaseChange>,
    /// Number of the last frame whose changes are visible.
    pub frame: u64,
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.core.close(StoreError::Closed);
    }
}

impl Embedded {
    /// An engine without a log.
    pub fn memory(world: &World, limits: Limits) -> Arc<Embedded> {
        Self::start(world, limits, State::new(world.random()), Pending::default(), 0, None)
    }

    /// An engine on a state, of which `frame` is the last frame in the log. What is decided from now on goes to the journal.
    pub fn start(
        world: &World,
        limits: Limits,
        state: State,
        pending: Pending,
        frame: u64,
        journal: Option<Arc<Journal>>,
    ) -> Arc<Embedded> {
        let core = Arc::new(Core {
            world: world.clone(),
            limits,
            shared: RwLock::new(Shared { state, pending, in_flight: Vec::new(), frame }),
            durable: Durable::default(),
            journal,
            progress: Notify::new(),
            deadline_changed: Arc::default(),
        });
        let tasks = world.tasks("store");
        let (alive, changed) = (Arc::downgrade(&core), core.deadline_changed.clone());
        tasks.spawn("store-leases", expire_leases(alive, world.clone(), tasks.stop(), changed));
        Arc::new(Embedded { core, tasks })
    }

    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// A way to what memory has forgotten, if there is a log.
    pub fn past(&self) -> Option<Past> {
        Some(Past::new(&self.core.world, self.core.journal.as_ref()?))
    }

    pub fn is_simulated(&self) -> bool {
        self.core.journal.as_ref().is_some_and(|journal| journal.disk.is_simulated())
    }

    /// Begins a snapshot. One of an engine without a log gets an id of its own.
    pub fn snapshot(&self) -> Result<Source, StoreError> {
        let id = self.core.journal.as_ref().map_or_else(|| self.core.world.random(), |journal| journal.store);
        Source::begin(&self.core, id)
    }

    pub async fn shutdown(&self) {
        self.core.close(StoreError::Closed);
        self.tasks.shutdown(SHUTDOWN_DEADLINE).await;
        if let Some(journal) = &self.core.journal {
            journal.ended().await;
        }
    }
}

impl Core {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Shared> {
        if self.shared.is_poisoned() {
            drop(self.write());
        }
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever panicked with the lock may have left half a decision behind. None of it was visible, and none of it ever will be.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Shared> {
        self.shared.write().unwrap_or_else(|poisoned| {
            let mut shared = poisoned.into_inner();
            let reason = "a defect of Minato has interrupted a write; start it again, and report this";
            shared.state.closed = Some(StoreError::Stopped { reason: reason.into() });
            self.shared.clear_poison();
            if let Some(journal) = &self.journal {
                journal.stop();
            }
            shared
        })
    }

    /// The same for the committer, for whom everyone waits: it would rather try for a while than sleep, because the lock is only
    /// ever held for microseconds, and to be woken takes tens of them.
    pub(crate) fn write_soon(&self) -> RwLockWriteGuard<'_, Shared> {
        for _ in 0..LOCK_ATTEMPTS {
            match self.shared.try_write() {
                Ok(shared) => return shared,
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
                Err(TryLockError::Poisoned(_)) => break,
            }
        }
        self.write()
    }

    /// Why what was decided must not be made durable any more, if it must not.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.read().state.closed.clone().filter(|closed| matches!(closed, StoreError::Stopped { .. }))
    }

    pub(crate) fn clocks(&self) -> (Timestamp, Duration) {
        (self.world.now(), self.world.elapsed())
    }

    /// The last revision that may be seen.
    pub fn visible(&self) -> Revision {
        self.read().state.visible
    }

    pub fn compacted(&self) -> Revision {
        self.read().state.compacted
    }

    pub fn stats(&self) -> Stats {
        let stats = self.read().state.stats();
        Stats { disk: self.journal.as_ref().map(|journal| journal.stats()), ..stats }
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeResult, StoreError> {
        check::range(&request.range, &self.limits)?;
        let state = &self.read().state;
        state.check_open()?;
        state.check_revision(request.revision, state.visible)?;
        Ok(state.range(request))
    }

    /// The last revision that was there at a time, or since when memory knows.
    pub fn revision_at(&self, time: Timestamp) -> Result<Result<Revision, Timestamp>, StoreError> {
        let state = &self.read().state;
        state.check_open()?;
        Ok(state.revision_at(time).map_err(|oldest| oldest.unwrap_or_else(|| self.world.now())))
    }

    pub async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        let size = check::txn(&txn, &self.limits)?;
        if size.puts + size.deletes == 0 {
            return self.read().state.read(&txn);
        }
        let bytes = size.bytes + (size.puts + size.deletes) * WRITE_OVERHEAD + ITEM_OVERHEAD;
        let mut txn = Some(txn);
        self.decide(bytes, size.puts == 0, |shared| {
            let now = self.world.elapsed();
            let txn = txn.take().expect("a decision is made once");
            let before = shared.state.revision;
            let result = shared.state.txn(txn, &self.limits, now, &mut shared.pending)?;
            Ok((result, shared.state.revision > before))
        })
        .await
    }

    /// Decides something once there is room for it in the log, makes it visible or waits until it is durable. `apply` says whether
    /// it has changed anything.
    async fn decide<T>(
        &self,
        bytes: usize,
        frees: bool,
        mut apply: impl FnMut(&mut Shared) -> Result<(T, bool), StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            // Before the look, so that no progress comes between the two.
            let progress = self.progress.notified();
            if let Some((result, ticket)) = self.try_decide(bytes, frees, &mut apply)? {
                return self.durable.reached(ticket).await.map(|()| result);
            }
            progress.await;
        }
    }

    /// Decides if there is room for it now. Returns what was decided and what to wait for.
    fn try_decide<T>(
        &self,
        bytes: usize,
        frees: bool,
        apply: &mut impl FnMut(&mut Shared) -> Result<(T, bool), StoreError>,
    ) -> Result<Option<(T, u64)>, StoreError> {
        let mut shared = self.write();
        shared.state.check_open()?;
        match shared.pending.room(bytes, frees) {
            Room::Enough => {
                let (result, changed) = apply(&mut shared)?;
                Ok(Some((result, self.decided(shared, changed))))
            }
            Room::Full => Err(StoreError::DiskFull),
            Room::Wait => Ok(None),
        }
    }

    /// What follows a decision: it becomes visible, or the committer learns of it. Returns what to wait for.
    fn decided(&self, mut shared: RwLockWriteGuard<'_, Shared>, changed: bool) -> u64 {
        let ticket = shared.pending.ticket(changed);
        match &self.journal {
            Some(journal) => {
                drop(shared);
                if changed {
                    journal.committer.kick();
                }
            }
            None => {
                let mut wakers = Vec::new();
                let state = &mut shared.state;
                let (revision, end) = (state.revision, state.log.end());
                state.publish(revision, end, &self.limits, self.clocks(), &mut wakers);
                drop(shared);
                wake(wakers);
            }
        }
        ticket
    }

    pub async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.decide(ITEM_OVERHEAD, true, |shared| {
            let state = &mut shared.state;
            if revision <= state.compacted {
                return Err(StoreError::Compacted { compact_revision: state.compacted });
            }
            if revision > state.visible {
                return Err(StoreError::FutureRevision { revision: state.visible });
            }
            state.compact(revision);
            shared.pending.compact(revision);
            Ok(((), true))
        })
        .await
    }

    pub fn watch(self: &Arc<Self>, request: WatchRequest) -> Result<EmbeddedWatcher, StoreError> {
        check::range(&request.range, &self.limits)?;
        let state = &mut self.write().state;
        state.check_open()?;
        if state.watchers.len() >= self.limits.watchers {
            return Err(StoreError::TooManyWatchers { limit: self.limits.watchers });
        }
        let from = request.from.filter(|from| *from > 0).unwrap_or(state.visible + 1);
        if from < state.compacted {
            return Err(StoreError::Compacted { compact_revision: state.compacted });
        }
        // A revision that is still to come is waited for, as etcd does.
        let position = (from <= state.visible).then(|| state.log.position_of(from));
        let cursor = Arc::new(Cursor::new(position, from));
        let id = state.watchers.add(&request.range, cursor.clone());
        Ok(EmbeddedWatcher::new(self.clone(), request, id, cursor, from - 1))
    }

    fn unwatch(&self, range: &KeyRange, id: u64) {
        let cursor = self.write().state.watchers.remove(range, id);
        drop(cursor);
    }

    pub async fn lease_grant(&self, ttl: Duration, id: Option<LeaseId>) -> Result<Lease, StoreError> {
        if ttl > MAX_LEASE_TTL {
            return Err(StoreError::LeaseTtlTooLarge);
        }
        // etcd counts whole seconds.
        let whole = Duration::from_secs(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0));
        let ttl = whole.max(MIN_LEASE_TTL);
        let lease = self.decide(ITEM_OVERHEAD, true, |shared| {
            let leases = &mut shared.state.leases;
            if leases.len() >= self.limits.leases {
                return Err(StoreError::TooManyLeases { limit: self.limits.leases });
            }
            let id = match id.filter(|id| *id != crate::NO_LEASE) {
                Some(id) if leases.exists(id) => return Err(StoreError::LeaseExists { id }),
                Some(id) => id,
                None => loop {
                    let id = (self.world.random() >> 1) as LeaseId;
                    if id != crate::NO_LEASE && !leases.exists(id) {
                        break id;
                    }
                },
            };
            leases.grant(id, ttl, self.world.elapsed());
            shared.pending.grant(id, ttl);
            Ok((Lease { id, ttl }, true))
        });
        let lease = lease.await?;
        self.deadline_changed.notify_one();
        Ok(lease)
    }

    pub async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        self.decide(ITEM_OVERHEAD, true, |shared| {
            if shared.state.revoke(id, &mut shared.pending) {
                Ok(((), true))
            } else {
                Err(StoreError::LeaseNotFound { id })
            }
        })
        .await
    }

    pub fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, StoreError> {
        let now = self.world.elapsed();
        let state = &mut self.write().state;
        state.check_open()?;
        // A deadline that moves away need not wake the task: it looks again when the old one comes.
        let ttl = state.leases.keep_alive(id, now).ok_or(StoreError::LeaseNotFound { id })?;
        Ok(Lease { id, ttl })
    }

    pub fn lease_time_to_live(&self, id: LeaseId) -> Result<LeaseStatus, StoreError> {
        let now = self.world.elapsed();
        let state = &self.read().state;
        state.check_open()?;
        let lease = state.leases.get(id, now).ok_or(StoreError::LeaseNotFound { id })?;
        Ok(LeaseStatus {
            id,
            granted: lease.ttl,
            remaining: lease.deadline.saturating_sub(now),
            keys: lease.keys.iter().cloned().collect(),
        })
    }

    pub fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        let state = &self.read().state;
        state.check_open()?;
        Ok(state.leases.ids())
    }

    /// Deletes the keys of every lease that has run out, and says when the next will.
    async fn expire(&self) -> Result<Option<Duration>, StoreError> {
        loop {
            let now = self.world.elapsed();
            let next = {
                let state = &self.read().state;
                state.check_open()?;
                state.leases.next_deadline()
            };
            if next.is_none_or(|deadline| deadline > now) {
                return Ok(next);
            }
            self.decide(EXPIRED_AT_ONCE * ITEM_OVERHEAD, true, |shared| {
                let Shared { state, pending, .. } = shared;
                let mut expired = 0;
                while expired < EXPIRED_AT_ONCE
                    && let Some(id) = state.leases.expired(now)
                {
                    state.revoke(id, pending);
                    expired += 1;
                }
                Ok(((), expired > 0))
            })
            .await?;
        }
    }

    /// Refuses everything from now on, for a reason, and ends all watches. What was decided before is still made durable.
    pub(crate) fn close(&self, reason: StoreError) {
        let wakers = {
            let state = &mut self.write().state;
            if state.closed.is_none() {
                state.closed = Some(reason);
            }
            state.watchers.take_wakers()
        };
        wake(wakers);
        self.progress.notify_waiters();
        self.deadline_changed.notify_one();
        if let Some(journal) = &self.journal {
            journal.stop();
        }
    }
}

pub(crate) fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

/// Sleeps from deadline to deadline until the engine stops or is dropped. It must not keep the engine alive.
async fn expire_leases(core: Weak<Core>, world: World, stop: Stop, deadline_changed: Arc<Notify>) {
    loop {
        let Some(alive) = core.upgrade() else { return };
        let next = match alive.expire().await {
            Ok(next) => next,
            Err(StoreError::DiskFull) => Some(world.elapsed() + EXPIRY_RETRY),
            Err(_) => return,
        };
        drop(alive);
        let sleep = async {
            match next {
                Some(deadline) => world.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.stopped() => return,
            () = deadline_changed.notified() => {}
            () = sleep => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Disk, DiskOptions, Op, SimulatedDisk};

    #[test]
    fn a_defect_under_the_lock_stops_the_store_and_half_a_decision_is_never_written() {
        let (world, mut simulation) = World::simulated(1);
        let disk = SimulatedDisk::new(1);
        let open = || crate::journal::open(&world, Disk::simulated(&disk), DiskOptions::default()).unwrap();
        simulation.block_on(async {
            let engine = open();
            let core = engine.core().clone();
            core.txn(Txn::of(Op::put("k", "whole"))).await.unwrap();
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut shared = core.write();
                shared.pending.begin_txn();
                shared.pending.put(b"k", b"half", 0);
                shared.pending.ticket(true);
                panic!("as a defect would");
            }));
            assert!(panicked.is_err());
            let refused = core.txn(Txn::of(Op::put("k", "later"))).await.unwrap_err();
            assert!(refused.to_string().contains("a defect of Minato"), "{refused}");
            engine.shutdown().await;
            let engine = open();
            let read = engine.core().range(&RangeRequest::new(KeyRange::all())).unwrap();
            assert_eq!((read.revision, &read.kvs[0].value[..]), (2, &b"whole"[..]));
            engine.shutdown().await;
        });
    }
}
