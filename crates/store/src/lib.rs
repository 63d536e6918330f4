//! Versioned key-value storage on etcd's data model: one revision counter, ranges at a revision, transactions that compare,
//! watch from a past revision, leases, compaction.
//!
//! Keys and values are bytes; nothing here knows what they mean. [`Store`] is a handle on one of a closed set of engines,
//! of which the one in memory is the reference for the others. Semantics are etcd's v3 API, and so are the words of errors.

mod check;
mod error;
mod etcd;
mod key_range;
mod keyspace;
mod limits;
mod memory;
mod types;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use world::World;

pub use error::{StoreError, WatchError};
pub use etcd::{EtcdCredentials, EtcdError, EtcdOptions, EtcdTls};
pub use key_range::{End, KeyRange};
pub use keyspace::Keyspace;
pub use limits::{DEFAULT_WATCH_CAPACITY, Limits, MAX_LEASE_TTL, MAX_TXN_OPS, MIN_LEASE_TTL};
pub use types::{
    Cmp, Compare, KeyValue, Lease, LeaseId, LeaseStatus, NO_LEASE, Op, OpResult, RangeRequest, RangeResult, Revision,
    Stats, Txn, TxnResult,
};
pub use watch::{Event, EventKind, WatchBatch, WatchRequest, Watcher};

/// A store. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store(Engine);

#[derive(Clone)]
enum Engine {
    Etcd(Arc<etcd::Etcd>),
    Memory(Arc<memory::Memory>),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Engine::Etcd(etcd) => write!(f, "Store(etcd, revision {})", etcd.revision()),
            Engine::Memory(memory) => write!(f, "Store(memory, revision {})", memory.revision()),
        }
    }
}

impl Store {
    /// A store that lives as long as its handles and is empty at first.
    ///
    /// A stored value is the [`Bytes`] that was given: one cut out of a larger buffer keeps all of that buffer.
    pub fn memory(world: &World, limits: Limits) -> Store {
        Store(Engine::Memory(memory::Memory::new(world, limits)))
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
            Engine::Etcd(etcd) => etcd.range(&request).await,
            Engine::Memory(memory) => memory.range(&request),
        }
    }

    /// Carries out a transaction, or refuses it and changes nothing.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.txn(txn).await,
            Engine::Memory(memory) => memory.txn(txn),
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
            Engine::Etcd(etcd) => Ok(Watcher::etcd(etcd.watch(request).await?)),
            Engine::Memory(memory) => Ok(Watcher::memory(memory.watch(request)?)),
        }
    }

    /// Forgets the history before `revision`; reads and watches from `revision` on stay possible.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when that has been done already, [`StoreError::FutureRevision`].
    pub async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.compact(revision).await,
            Engine::Memory(memory) => memory.compact(revision),
        }
    }

    /// Creates a lease of whole seconds, rounded up, with an id of the store's choice unless one is given.
    ///
    /// # Errors
    /// [`StoreError::LeaseExists`], [`StoreError::LeaseTtlTooLarge`], [`StoreError::TooManyLeases`].
    pub async fn lease_grant(&self, ttl: Duration, id: Option<LeaseId>) -> Result<Lease, StoreError> {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.lease_grant(ttl, id).await,
            Engine::Memory(memory) => memory.lease_grant(ttl, id),
        }
    }

    /// Ends a lease and deletes its keys at one revision.
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.lease_revoke(id).await,
            Engine::Memory(memory) => memory.lease_revoke(id),
        }
    }

    /// Starts the time to live of a lease anew.
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, StoreError> {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.lease_keep_alive(id).await,
            Engine::Memory(memory) => memory.lease_keep_alive(id),
        }
    }

    /// How long a lease still lives, and the keys that die with it.
    pub async fn lease_time_to_live(&self, id: LeaseId) -> Result<LeaseStatus, StoreError> {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.lease_time_to_live(id).await,
            Engine::Memory(memory) => memory.lease_time_to_live(id),
        }
    }

    /// The ids of all leases, ascending.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.leases().await,
            Engine::Memory(memory) => memory.leases(),
        }
    }

    /// The revision of the last write that anyone has been told of, now: what is read at it or later is not stale.
    pub async fn current_revision(&self) -> Result<Revision, StoreError> {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.current_revision().await,
            Engine::Memory(memory) => Ok(memory.revision()),
        }
    }

    /// The revision of the last write that this process knows of; 1 in a store that was never written to.
    pub fn revision(&self) -> Revision {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.revision(),
            Engine::Memory(memory) => memory.revision(),
        }
    }

    /// The first revision that can be read and watched from; 0 when nothing was compacted.
    pub fn compacted(&self) -> Revision {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.compacted(),
            Engine::Memory(memory) => memory.compacted(),
        }
    }

    /// How much it holds.
    pub fn stats(&self) -> Stats {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.stats(),
            Engine::Memory(memory) => memory.stats(),
        }
    }

    /// The keys below `prefix` as a store of their own. Prefixes must not be prefixes of each other: end them with a slash.
    pub fn keyspace(&self, prefix: &str) -> Keyspace {
        Keyspace::new(self.clone(), prefix)
    }

    /// Ends all watches and refuses everything from now on.
    pub async fn shutdown(&self) {
        match &self.0 {
            Engine::Etcd(etcd) => etcd.shutdown().await,
            Engine::Memory(memory) => memory.shutdown().await,
        }
    }
}
