//! Versioned key-value storage on etcd's data model: one revision counter, ranges at a revision, transactions that compare,
//! watch from a past revision, leases, compaction.
//!
//! Keys and values are bytes; nothing here knows what they mean. [`Store`] is a handle on one of a closed set of engines,
//! of which the one in memory is the reference for the others. Semantics are etcd's v3 API, and so are the words of errors.

mod check;
mod disk;
mod embedded;
mod error;
mod etcd;
mod journal;
mod key_range;
mod keyspace;
mod limits;
mod open_error;
pub mod snapshot;
mod types;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use world::{Timestamp, World};

pub use disk::{Disk, Faults, SimulatedDisk};
pub use error::{StoreError, WatchError};
pub use etcd::{EtcdCredentials, EtcdError, EtcdOptions, EtcdTls};
pub use journal::DiskOptions;
pub use key_range::{End, KeyRange};
pub use keyspace::Keyspace;
pub use limits::{DEFAULT_WATCH_CAPACITY, Limits, MAX_LEASE_TTL, MAX_TXN_OPS, MIN_LEASE_TTL};
pub use open_error::OpenError;
pub use snapshot::SnapshotReader;
pub use types::{
    Cmp, Compare, DiskStats, KeyValue, Lease, LeaseId, LeaseStatus, NO_LEASE, Op, OpResult, RangeRequest, RangeResult,
    Revision, Stats, Txn, TxnResult,
};
pub use watch::{Event, EventKind, WatchBatch, WatchRequest, Watcher};

/// A store. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store(Engine);

#[derive(Clone)]
enum Engine {
    Embedded(Arc<embedded::Embedded>),
    Etcd(Arc<etcd::Etcd>),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Engine::Embedded(engine) => write!(f, "Store(embedded, revision {})", engine.core().visible()),
            Engine::Etcd(etcd) => write!(f, "Store(etcd, revision {})", etcd.revision()),
        }
    }
}

impl Store {
    /// A store that lives as long as its handles and is empty at first.
    ///
    /// A stored value is copied once; what is read shares the copy.
    pub fn memory(world: &World, limits: Limits) -> Store {
        Store(Engine::Embedded(embedded::Embedded::memory(world, limits)))
    }

    /// A store whose files are on a disk, read back if there are any. What it acknowledges is there after a crash.
    ///
    /// # Errors
    /// A disk that is in use, damaged, of another format, or refuses.
    pub async fn open(world: &World, disk: Disk, options: DiskOptions) -> Result<Store, OpenError> {
        // Reading takes as long as it takes, and tasks do not wait for a disk.
        let at_work = world.clone();
        let opened = blocking(world, disk.is_simulated(), move || journal::open(&at_work, disk, options)).await;
        Ok(Store(Engine::Embedded(opened?)))
    }

    /// The part of an etcd below the prefix of `options`, shared with every other process that opens it.
    ///
    /// # Errors
    /// [`EtcdError`] when no member can be reached, or the user may not read there.
    ///
    /// # Panics
    /// Outside a tokio runtime with sockets and time: a simulated world has no network.
    pub async fn etcd(world: &World, options: EtcdOptions) -> Result<Store, EtcdError> {
        Ok(Store(Engine::Etcd(etcd::Etcd::open(world, options).await?)))
    }

    /// Reads keys in byte order, now or at a past revision.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] and [`StoreError::FutureRevision`] for a revision outside of the history held.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResult, StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().range(&request),
            Engine::Etcd(etcd) => etcd.range(&request).await,
        }
    }

    /// Carries out a transaction, or refuses it and changes nothing.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().txn(txn).await,
            Engine::Etcd(etcd) => etcd.txn(txn).await,
        }
    }

    /// Writes a key, without a lease, and returns the revision of it.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Revision, StoreError> {
        Ok(self.txn(Txn::of(Op::put(key, value))).await?.revision)
    }

    /// Reads one key.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<KeyValue>, StoreError> {
        Ok(self.range(RangeRequest::new(KeyRange::key(key))).await?.kvs.pop())
    }

    /// Deletes all keys of a range at one revision and returns how many they were.
    pub async fn delete(&self, range: KeyRange) -> Result<usize, StoreError> {
        let result = self.txn(Txn::of(Op::delete(range))).await?;
        Ok(result.results.iter().map(|op| if let OpResult::Delete { deleted, .. } = op { *deleted } else { 0 }).sum())
    }

    /// Follows the events of a range. A revision that is still to come is waited for, as etcd does.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the events it asks for are gone.
    pub async fn watch(&self, request: WatchRequest) -> Result<Watcher, StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => Ok(Watcher::embedded(engine.core().watch(request)?)),
            Engine::Etcd(etcd) => Ok(Watcher::etcd(etcd.watch(request).await?)),
        }
    }

    /// Reads as [`Store::range`] does, at a revision that may be compacted as long as the disk retains it. Slow where it is.
    ///
    /// # Errors
    /// Those of [`Store::range`], [`StoreError::Past`].
    pub async fn range_past(&self, request: RangeRequest) -> Result<RangeResult, StoreError> {
        match (self.range(request.clone()).await, &self.0, request.revision) {
            (Err(compacted @ StoreError::Compacted { .. }), Engine::Embedded(engine), Some(revision)) => {
                let Some(past) = engine.past() else { return Err(compacted) };
                blocking(&engine.core().world, engine.is_simulated(), move || past.range(&request, revision)).await
            }
            (result, ..) => result,
        }
    }

    /// The last revision that was there at a time, exact to a millisecond.
    ///
    /// # Errors
    /// [`StoreError::TimeNotRetained`], [`StoreError::Past`].
    pub async fn revision_at(&self, time: Timestamp) -> Result<Revision, StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => match (engine.core().revision_at(time)?, engine.past()) {
                (Ok(revision), _) => Ok(revision),
                (Err(oldest), None) => Err(StoreError::TimeNotRetained { oldest }),
                (Err(_), Some(past)) => {
                    blocking(&engine.core().world, engine.is_simulated(), move || past.revision_at(time)).await
                }
            },
            Engine::Etcd(etcd) => Err(etcd.unsupported("the revision at a time", "etcd does not keep when it was")),
        }
    }

    /// All of the store as it is now, as the bytes of a snapshot file, while it goes on.
    ///
    /// # Errors
    /// The store has ended.
    pub async fn snapshot(&self) -> Result<SnapshotReader, StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => Ok(SnapshotReader::new(engine.snapshot()?)),
            Engine::Etcd(etcd) => Err(etcd.unsupported("a snapshot", "take one with `etcdctl snapshot save`")),
        }
    }

    /// Forgets the history before `revision`; reads and watches from `revision` on stay possible.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when that has been done already, [`StoreError::FutureRevision`].
    pub async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().compact(revision).await,
            Engine::Etcd(etcd) => etcd.compact(revision).await,
        }
    }

    /// Creates a lease of whole seconds, rounded up, with an id of the store's choice unless one is given.
    ///
    /// # Errors
    /// [`StoreError::LeaseExists`], [`StoreError::LeaseTtlTooLarge`], [`StoreError::TooManyLeases`].
    pub async fn lease_grant(&self, ttl: Duration, id: Option<LeaseId>) -> Result<Lease, StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().lease_grant(ttl, id).await,
            Engine::Etcd(etcd) => etcd.lease_grant(ttl, id).await,
        }
    }

    /// Ends a lease and deletes its keys at one revision.
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().lease_revoke(id).await,
            Engine::Etcd(etcd) => etcd.lease_revoke(id).await,
        }
    }

    /// Starts the time to live of a lease anew.
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().lease_keep_alive(id),
            Engine::Etcd(etcd) => etcd.lease_keep_alive(id).await,
        }
    }

    /// How long a lease still lives, and the keys that die with it.
    pub async fn lease_time_to_live(&self, id: LeaseId) -> Result<LeaseStatus, StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().lease_time_to_live(id),
            Engine::Etcd(etcd) => etcd.lease_time_to_live(id).await,
        }
    }

    /// The ids of all leases, ascending.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().leases(),
            Engine::Etcd(etcd) => etcd.leases().await,
        }
    }

    /// Whether no other process can use it, as long as this one does: then nobody else holds what a lease says that somebody does.
    pub fn is_exclusive(&self) -> bool {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().journal.is_some(),
            Engine::Etcd(_) => false,
        }
    }

    /// The revision of the last write that anyone has been told of, now: what is read at it or later is not stale.
    pub async fn current_revision(&self) -> Result<Revision, StoreError> {
        match &self.0 {
            Engine::Embedded(engine) => Ok(engine.core().visible()),
            Engine::Etcd(etcd) => etcd.current_revision().await,
        }
    }

    /// The revision of the last write that this process knows of; 1 in a store that was never written to.
    pub fn revision(&self) -> Revision {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().visible(),
            Engine::Etcd(etcd) => etcd.revision(),
        }
    }

    /// The first revision that can be read and watched from; 0 when nothing was compacted.
    pub fn compacted(&self) -> Revision {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().compacted(),
            Engine::Etcd(etcd) => etcd.compacted(),
        }
    }

    /// How much it holds.
    pub fn stats(&self) -> Stats {
        match &self.0 {
            Engine::Embedded(engine) => engine.core().stats(),
            Engine::Etcd(etcd) => etcd.stats(),
        }
    }

    /// The keys below `prefix` as a store of their own. Prefixes must not be prefixes of each other: end them with a slash.
    pub fn keyspace(&self, prefix: &str) -> Keyspace {
        Keyspace::new(self.clone(), prefix)
    }

    /// Ends all watches and refuses everything from now on.
    pub async fn shutdown(&self) {
        match &self.0 {
            Engine::Embedded(engine) => engine.shutdown().await,
            Engine::Etcd(etcd) => etcd.shutdown().await,
        }
    }
}

/// Does what blocks on a disk without keeping a task from running. A simulated disk does not block.
async fn blocking<T: Send + 'static>(world: &World, simulated: bool, work: impl FnOnce() -> T + Send + 'static) -> T {
    if simulated || world.is_simulated() {
        return work();
    }
    let (sender, receiver) = tokio::sync::oneshot::channel();
    world.spawn_thread("store-reader", move || {
        let _ = sender.send(work());
    });
    receiver.await.expect("the thread sends what it has done, or its panic is reported")
}
