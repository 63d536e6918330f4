//! The reference engine: everything in memory, gone when the process ends.
//!
//! One lock around one [`State`]; readers share it. Nothing awaits while it is held, and no waker runs under it, because a
//! waker may run the task that drops a watcher, which takes the lock.

mod index;
mod leases;
mod log;
mod state;
mod watcher;
mod watchers;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use world::{Stop, Tasks, World};

use crate::{
    KeyRange, Lease, LeaseId, LeaseStatus, Limits, MAX_LEASE_TTL, MIN_LEASE_TTL, RangeRequest, RangeResult, Revision,
    Stats, StoreError, Txn, TxnResult, WatchRequest, check,
};
use state::State;
use watchers::Cursor;

pub(crate) use watcher::MemoryWatcher;

/// How long the expiry of leases may take to stop. It only ever sleeps, so this is never reached.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);

pub(crate) struct Memory {
    world: World,
    limits: Limits,
    state: RwLock<State>,
    tasks: Tasks,
    /// Told when the first deadline of all leases has changed, and when the engine is dropped.
    deadline_changed: Arc<Notify>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.deadline_changed.notify_one();
    }
}

impl Memory {
    pub fn new(world: &World, limits: Limits) -> Arc<Memory> {
        let memory = Arc::new(Memory {
            world: world.clone(),
            limits,
            state: RwLock::new(State::new()),
            tasks: world.tasks("store"),
            deadline_changed: Arc::new(Notify::new()),
        });
        let expiry =
            expire_leases(Arc::downgrade(&memory), world.clone(), memory.tasks.stop(), memory.deadline_changed.clone());
        memory.tasks.spawn("store-leases", expiry);
        memory
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn revision(&self) -> Revision {
        self.read().revision
    }

    pub fn compacted(&self) -> Revision {
        self.read().compacted
    }

    pub fn stats(&self) -> Stats {
        self.read().stats()
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeResult, StoreError> {
        check::range(&request.range, &self.limits)?;
        let state = self.read();
        state.check_open()?;
        state.check_revision(request.revision)?;
        Ok(state.range(request))
    }

    pub fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        check::txn(&txn, &self.limits)?;
        let now = self.world.elapsed();
        let mut wakers = Vec::new();
        let result = self.write().txn(txn, &self.limits, now, &mut wakers);
        wake(wakers);
        result
    }

    pub fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let mut state = self.write();
        state.check_open()?;
        if revision <= state.compacted {
            return Err(StoreError::Compacted { compact_revision: state.compacted });
        }
        if revision > state.revision {
            return Err(StoreError::FutureRevision { revision: state.revision });
        }
        state.compact(revision);
        Ok(())
    }

    pub fn watch(self: &Arc<Self>, request: WatchRequest) -> Result<MemoryWatcher, StoreError> {
        check::range(&request.range, &self.limits)?;
        let mut state = self.write();
        state.check_open()?;
        if state.watchers.len() >= self.limits.watchers {
            return Err(StoreError::TooManyWatchers { limit: self.limits.watchers });
        }
        let from = request.from.filter(|from| *from > 0).unwrap_or(state.revision + 1);
        if from < state.compacted {
            return Err(StoreError::Compacted { compact_revision: state.compacted });
        }
        // A revision that is still to come is waited for, as etcd does.
        let position = (from <= state.revision).then(|| state.log.position_of(from));
        let cursor = Arc::new(Cursor::new(position, from));
        let id = state.watchers.add(&request.range, cursor.clone());
        Ok(MemoryWatcher::new(self.clone(), request, id, cursor, from - 1))
    }

    fn unwatch(&self, range: &KeyRange, id: u64) {
        let cursor = self.write().watchers.remove(range, id);
        drop(cursor);
    }

    pub fn lease_grant(&self, ttl: Duration, id: Option<LeaseId>) -> Result<Lease, StoreError> {
        if ttl > MAX_LEASE_TTL {
            return Err(StoreError::LeaseTtlTooLarge);
        }
        // etcd counts whole seconds.
        let whole = Duration::from_secs(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0));
        let ttl = whole.max(MIN_LEASE_TTL);
        let now = self.world.elapsed();
        let mut state = self.write();
        state.check_open()?;
        if state.leases.len() >= self.limits.leases {
            return Err(StoreError::TooManyLeases { limit: self.limits.leases });
        }
        let id = match id.filter(|id| *id != crate::NO_LEASE) {
            Some(id) if state.leases.exists(id) => return Err(StoreError::LeaseExists { id }),
            Some(id) => id,
            None => loop {
                let id = (self.world.random() >> 1) as LeaseId;
                if id != crate::NO_LEASE && !state.leases.exists(id) {
                    break id;
                }
            },
        };
        state.leases.grant(id, ttl, now);
        drop(state);
        self.deadline_changed.notify_one();
        Ok(Lease { id, ttl })
    }

    pub fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        let now = self.world.elapsed();
        let mut wakers = Vec::new();
        let mut state = self.write();
        state.check_open()?;
        let found = state.revoke(id, &self.limits, now, &mut wakers);
        drop(state);
        wake(wakers);
        if found { Ok(()) } else { Err(StoreError::LeaseNotFound { id }) }
    }

    pub fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, StoreError> {
        let now = self.world.elapsed();
        let mut state = self.write();
        state.check_open()?;
        // A deadline that moves away need not wake the task: it looks again when the old one comes.
        let ttl = state.leases.keep_alive(id, now).ok_or(StoreError::LeaseNotFound { id })?;
        Ok(Lease { id, ttl })
    }

    pub fn lease_time_to_live(&self, id: LeaseId) -> Result<LeaseStatus, StoreError> {
        let now = self.world.elapsed();
        let state = self.read();
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
        let state = self.read();
        state.check_open()?;
        Ok(state.leases.ids())
    }

    /// Deletes the keys of every lease that has run out, and says when the next will.
    fn expire(&self) -> Option<Duration> {
        let now = self.world.elapsed();
        let mut wakers = Vec::new();
        let mut state = self.write();
        while let Some(id) = state.leases.expired(now) {
            state.revoke(id, &self.limits, now, &mut wakers);
        }
        let next = state.leases.next_deadline();
        drop(state);
        wake(wakers);
        next
    }

    pub async fn shutdown(&self) {
        let wakers = {
            let mut state = self.write();
            state.closed = true;
            state.watchers.take_wakers()
        };
        wake(wakers);
        self.tasks.shutdown(SHUTDOWN_DEADLINE).await;
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

/// Sleeps from deadline to deadline until the engine stops or is dropped. It must not keep the engine alive.
async fn expire_leases(memory: Weak<Memory>, world: World, stop: Stop, deadline_changed: Arc<Notify>) {
    loop {
        let Some(next) = memory.upgrade().map(|memory| memory.expire()) else { return };
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
