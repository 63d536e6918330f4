//! A part of a store below a prefix, for one API server or one AWS service. It cannot name a key of another.
//!
//! Revisions and leases are the store's: they are shared with all other keyspaces.
//!
//! A [guarded](Keyspace::guarded) one writes only as long as a condition holds, which the store checks with every write. So a
//! writer that has lost its right to write, and does not know it yet, cannot do harm.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::key_range::join;
use crate::{
    Compare, End, KeyRange, KeyValue, Lease, LeaseId, LeaseStatus, Op, OpResult, RangeRequest, RangeResult, Revision,
    Store, StoreError, Txn, TxnResult, WatchRequest, Watcher,
};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Keyspace {
    store: Store,
    prefix: Bytes,
    /// Conditions of every write, on keys of the store. Mostly none, and a few at most.
    guards: Arc<[Compare]>,
}

impl Keyspace {
    pub(crate) fn new(store: Store, prefix: &str) -> Keyspace {
        Keyspace { store, prefix: Bytes::copy_from_slice(prefix.as_bytes()), guards: Arc::default() }
    }

    /// The same keyspace for a writer who may write only while `guard` holds: every write of it fails with
    /// [`StoreError::Fenced`] from then on, and changes nothing. The guard names a key of the store, not of the keyspace. Reads,
    /// watches and leases are not guarded.
    #[must_use]
    pub fn guarded(&self, guard: Compare) -> Keyspace {
        let guards = self.guards.iter().cloned().chain([guard]).collect();
        Keyspace { store: self.store.clone(), prefix: self.prefix.clone(), guards }
    }

    /// The store that it is a part of.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What every key of it begins with in the store.
    pub fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    /// See [`Store::range`].
    pub async fn range(&self, mut request: RangeRequest) -> Result<RangeResult, StoreError> {
        request.range = self.prefix_range(request.range)?;
        let mut result = self.store.range(request).await?;
        self.hide_in(&mut result.kvs);
        Ok(result)
    }

    /// See [`Store::txn`].
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when a guard does not hold.
    pub async fn txn(&self, mut txn: Txn) -> Result<TxnResult, StoreError> {
        self.prefix_txn(&mut txn)?;
        let mut result = self.commit(txn).await?;
        self.hide_in_txn(&mut result);
        Ok(result)
    }

    /// See [`Store::put`] and [`Keyspace::txn`].
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Revision, StoreError> {
        Ok(self.txn(Txn::of(Op::put(key, value))).await?.revision)
    }

    /// See [`Store::get`].
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<KeyValue>, StoreError> {
        let mut key = key.into();
        self.prefix_key(&mut key)?;
        let mut found = self.store.get(key).await?;
        self.hide_in(found.as_mut_slice());
        Ok(found)
    }

    /// See [`Store::delete`] and [`Keyspace::txn`].
    pub async fn delete(&self, range: KeyRange) -> Result<usize, StoreError> {
        let result = self.txn(Txn::of(Op::delete(range))).await?;
        Ok(result.results.iter().map(|op| if let OpResult::Delete { deleted, .. } = op { *deleted } else { 0 }).sum())
    }

    /// See [`Store::watch`].
    pub async fn watch(&self, mut request: WatchRequest) -> Result<Watcher, StoreError> {
        request.range = self.prefix_range(request.range)?;
        Ok(self.store.watch(request).await?.hide(self.prefix.len()))
    }

    /// See [`Store::lease_grant`].
    pub async fn lease_grant(&self, ttl: Duration, id: Option<LeaseId>) -> Result<Lease, StoreError> {
        self.store.lease_grant(ttl, id).await
    }

    /// See [`Store::lease_revoke`].
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        self.store.lease_revoke(id).await
    }

    /// See [`Store::lease_keep_alive`].
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, StoreError> {
        self.store.lease_keep_alive(id).await
    }

    /// See [`Store::lease_time_to_live`]; only the keys of this keyspace are told.
    pub async fn lease_time_to_live(&self, id: LeaseId) -> Result<LeaseStatus, StoreError> {
        let mut status = self.store.lease_time_to_live(id).await?;
        status.keys.retain(|key| key.starts_with(&self.prefix));
        for key in &mut status.keys {
            key.advance(self.prefix.len());
        }
        Ok(status)
    }

    /// See [`Store::current_revision`].
    pub async fn current_revision(&self) -> Result<Revision, StoreError> {
        self.store.current_revision().await
    }

    /// See [`Store::revision`].
    pub fn revision(&self) -> Revision {
        self.store.revision()
    }

    /// See [`Store::compacted`].
    pub fn compacted(&self) -> Revision {
        self.store.compacted()
    }

    /// Carries out a transaction on keys of the store if the guards hold.
    async fn commit(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        if self.guards.is_empty() {
            return self.store.txn(txn).await;
        }
        // Whether it was a guard that did not hold is only asked where something did not, so that the usual write costs one
        // comparison more. Both see the same state: that before the transaction.
        let otherwise = Txn { compare: self.guards.to_vec(), success: txn.failure, failure: Vec::new() };
        let compare = self.guards.iter().cloned().chain(txn.compare).collect();
        let guarded = Txn { compare, success: txn.success, failure: vec![Op::Txn(Box::new(otherwise))] };
        let mut outer = self.store.txn(guarded).await?;
        if outer.succeeded {
            return Ok(outer);
        }
        match outer.results.pop() {
            Some(OpResult::Txn(otherwise)) if otherwise.succeeded => {
                Ok(TxnResult { results: otherwise.results, ..outer })
            }
            _ => Err(StoreError::Fenced),
        }
    }

    /// An empty key would become the prefix itself, which is nobody's key.
    fn prefix_key(&self, key: &mut Bytes) -> Result<(), StoreError> {
        if key.is_empty() {
            return Err(StoreError::EmptyKey);
        }
        *key = join(&self.prefix, key);
        Ok(())
    }

    fn prefix_range(&self, range: KeyRange) -> Result<KeyRange, StoreError> {
        if *range.end() == End::Key && range.start().is_empty() {
            return Err(StoreError::EmptyKey);
        }
        Ok(range.below(&self.prefix))
    }

    fn prefix_txn(&self, txn: &mut Txn) -> Result<(), StoreError> {
        for compare in &mut txn.compare {
            self.prefix_key(compare.key_mut())?;
        }
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match op {
                Op::Delete { range, .. } | Op::Range(RangeRequest { range, .. }) => {
                    let inner = std::mem::replace(range, KeyRange::all());
                    *range = self.prefix_range(inner)?;
                }
                Op::Put { key, .. } => self.prefix_key(key)?,
                Op::Txn(nested) => self.prefix_txn(nested)?,
            }
        }
        Ok(())
    }

    fn hide_in(&self, kvs: &mut [KeyValue]) {
        for kv in kvs {
            kv.key.advance(self.prefix.len());
        }
    }

    fn hide_in_txn(&self, result: &mut TxnResult) {
        for result in &mut result.results {
            match result {
                OpResult::Delete { prev, .. } => self.hide_in(prev),
                OpResult::Put { prev } => self.hide_in(prev.as_mut_slice()),
                OpResult::Range(range) => self.hide_in(&mut range.kvs),
                OpResult::Txn(nested) => self.hide_in_txn(nested),
            }
        }
    }
}
