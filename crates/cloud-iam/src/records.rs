//! Versioned JSON records in a service's keyspace, read and written in optimistic transactions.
//!
//! An operation reads and writes through one [`Tx`]: all its reads see one revision, its writes are committed only if nothing
//! that it read has changed, and otherwise the operation runs again. Nothing here knows what the records mean.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::{Compare, KeyRange, Keyspace, LeaseId, NO_LEASE, Op, RangeRequest, Revision, StoreError, Txn};

/// How often an operation that loses against others runs again before it gives up: a livelock would be a bug, not load.
pub const MAX_ATTEMPTS: usize = 64;

/// A stored type. The stamp of its version is stored beside its fields as `v`.
pub trait Record: Serialize + DeserializeOwned + Send + Sync {
    /// First part of its keys.
    const KIND: &'static str;
    /// Version that is written; older ones are converted by [`Record::upgrade`].
    const VERSION: u64 = 1;

    /// Turns fields of an older version into those of [`Record::VERSION`].
    ///
    /// # Errors
    /// A version that is not known.
    fn upgrade(version: u64, _fields: &mut Value) -> Result<(), String> {
        Err(format!("version {version} is unknown, expected {}", Self::VERSION))
    }
}

/// Why records could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The store refused.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// What is stored is not a record of its kind.
    #[error("the record {key} cannot be read: {why}")]
    Corrupt {
        /// Its key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// Others kept changing what the operation read.
    #[error("gave up after {MAX_ATTEMPTS} conflicts with other operations")]
    Contended,
}

/// Reads one record from what is stored under `key`.
///
/// # Errors
/// [`RecordError::Corrupt`].
pub fn decode<T: Record>(key: &str, bytes: &[u8]) -> Result<T, RecordError> {
    let corrupt = |why: String| RecordError::Corrupt { key: key.to_owned(), why };
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| corrupt(error.to_string()))?;
    let version = value.as_object_mut().and_then(|fields| fields.remove("v")).and_then(|v| v.as_u64());
    match version {
        Some(version) if version == T::VERSION => {}
        Some(version) => T::upgrade(version, &mut value).map_err(corrupt)?,
        None => return Err(corrupt("it has no version".to_owned())),
    }
    serde_json::from_value(value).map_err(|error| corrupt(error.to_string()))
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u64,
    #[serde(flatten)]
    record: &'a T,
}

fn encode<T: Record>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Versioned { v: T::VERSION, record }).expect("records are maps with string keys")
}

/// A key of a record: its kind and its name, which may hold slashes.
pub fn key_of<T: Record>(name: &str) -> String {
    format!("{}/{name}", T::KIND)
}

/// Reads at one revision and writes that are kept until [`Tx::commit`]. Clones are the same transaction.
#[derive(Clone)]
pub struct Tx {
    space: Keyspace,
    state: Arc<Mutex<State>>,
}

/// What a transaction has seen and will write.
#[derive(Default)]
struct State {
    revision: Option<Revision>,
    reads: BTreeMap<String, Read>,
    writes: BTreeMap<String, Option<(Vec<u8>, LeaseId)>>,
}

/// Runs `work` until its transaction is committed. The work must have no effect but through its transaction: it may run
/// several times.
///
/// # Errors
/// Those of the work; the store's; [`RecordError::Contended`].
pub async fn transact<T, E, F>(space: &Keyspace, work: impl Fn(Tx) -> F) -> Result<T, E>
where
    E: From<RecordError>,
    F: Future<Output = Result<T, E>>,
{
    for _ in 0..MAX_ATTEMPTS {
        let tx = Tx::new(space);
        let output = work(tx.clone()).await?;
        if let Commit::Done(_) = tx.commit().await? {
            return Ok(output);
        }
    }
    Err(RecordError::Contended.into())
}

struct Read {
    revision: Revision,
    value: Option<Vec<u8>>,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// Written at this revision, or nothing was to be written.
    Done(Option<Revision>),
    /// Something that was read has changed; run again on a new [`Tx`].
    Conflict,
}

impl Tx {
    /// A transaction on a keyspace.
    pub fn new(space: &Keyspace) -> Tx {
        Tx { space: space.clone(), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a record and remembers that the outcome depends on it, also when it is absent.
    pub async fn get<T: Record>(&mut self, name: &str) -> Result<Option<T>, RecordError> {
        let key = key_of::<T>(name);
        {
            let state = self.state();
            if let Some(written) = state.writes.get(&key) {
                return written.as_ref().map(|(bytes, _)| decode(&key, bytes)).transpose();
            }
            if let Some(read) = state.reads.get(&key) {
                return read.value.as_ref().map(|bytes| decode(&key, bytes)).transpose();
            }
        }
        let result = self.read(RangeRequest::new(KeyRange::key(key.clone()))).await?;
        let found = result.into_iter().next();
        let read =
            Read { revision: found.as_ref().map_or(0, |kv| kv.mod_revision), value: found.map(|kv| kv.value.to_vec()) };
        let decoded = read.value.as_ref().map(|bytes| decode(&key, bytes)).transpose();
        self.state().reads.insert(key, read);
        decoded
    }

    /// Reads all records whose name begins with `prefix`, by name in byte order. The outcome does not depend on them: whoever
    /// must be sure that one of them is unchanged reads it with [`Tx::get`] too.
    pub async fn list<T: Record>(&mut self, prefix: &str) -> Result<Vec<(String, T)>, RecordError> {
        let start = key_of::<T>(prefix);
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for kv in self.read(RangeRequest::new(KeyRange::prefix(start.clone()))).await? {
            found.insert(String::from_utf8_lossy(&kv.key).into_owned(), kv.value.to_vec());
        }
        for (key, written) in self.state().writes.range(start.clone()..).take_while(|(key, _)| key.starts_with(&start))
        {
            match written {
                Some((bytes, _)) => found.insert(key.clone(), bytes.clone()),
                None => found.remove(key),
            };
        }
        let skip = T::KIND.len() + 1;
        found.into_iter().map(|(key, bytes)| Ok((key[skip..].to_owned(), decode(&key, &bytes)?))).collect()
    }

    async fn read(&mut self, mut request: RangeRequest) -> Result<Vec<store::KeyValue>, RecordError> {
        request.revision = self.state().revision;
        let result = self.space.range(request).await?;
        self.state().revision.get_or_insert(result.revision);
        Ok(result.kvs)
    }

    /// Writes a record.
    pub fn put<T: Record>(&mut self, name: &str, record: &T) {
        self.state().writes.insert(key_of::<T>(name), Some((encode(record), NO_LEASE)));
    }

    /// Writes a record that dies with a lease.
    pub fn put_leased<T: Record>(&mut self, name: &str, record: &T, lease: LeaseId) {
        self.state().writes.insert(key_of::<T>(name), Some((encode(record), lease)));
    }

    /// Deletes a record.
    pub fn delete<T: Record>(&mut self, name: &str) {
        self.state().writes.insert(key_of::<T>(name), None);
    }

    /// The keyspace that it works on.
    pub fn space(&self) -> &Keyspace {
        &self.space
    }

    /// Writes everything at one revision, if what was read still holds.
    pub async fn commit(self) -> Result<Commit, RecordError> {
        let State { reads, writes, .. } = std::mem::take(&mut *self.state());
        if writes.is_empty() {
            return Ok(Commit::Done(None));
        }
        let mut txn = Txn::default();
        for (key, read) in reads {
            txn.compare.push(Compare::unchanged(key, read.revision));
        }
        for (key, write) in writes {
            txn.success.push(match write {
                Some((value, lease)) => Op::Put { key: key.into(), value: value.into(), lease, prev_kv: false },
                None => Op::delete(KeyRange::key(key)),
            });
        }
        let result = self.space.txn(txn).await?;
        Ok(if result.succeeded { Commit::Done(Some(result.revision)) } else { Commit::Conflict })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use store::{Limits, Store};
    use world::World;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        size: u32,
    }
    impl Record for Thing {
        const KIND: &'static str = "thing";
    }

    #[test]
    fn a_transaction_reads_its_writes_and_one_revision() {
        let (world, mut simulation) = World::simulated(1);
        let space = Store::memory(&world, Limits::default()).keyspace("t/");
        simulation.block_on(async {
            let mut tx = Tx::new(&space);
            assert_eq!(tx.get::<Thing>("a").await, Ok(None));
            tx.put("a", &Thing { size: 1 });
            assert_eq!(tx.get::<Thing>("a").await, Ok(Some(Thing { size: 1 })));
            assert_eq!(tx.list::<Thing>("").await.map(|list| list.len()), Ok(1));
            assert!(matches!(tx.commit().await, Ok(Commit::Done(Some(_)))));
            let mut old = Tx::new(&space);
            assert_eq!(old.get::<Thing>("b").await, Ok(None));
            let mut other = Tx::new(&space);
            other.put("a", &Thing { size: 2 });
            other.commit().await.expect("written");
            assert_eq!(old.get::<Thing>("a").await, Ok(Some(Thing { size: 1 })), "the revision is pinned");
            old.put("b", &Thing { size: 3 });
            assert_eq!(old.commit().await, Ok(Commit::Conflict), "a changed read loses");
            let mut left = Tx::new(&space);
            assert_eq!(left.get::<Thing>("b").await, Ok(None));
        });
    }

    #[test]
    fn unreadable_records_are_named() {
        for (bytes, why) in [("{}", "no version"), ("{\"v\":9,\"size\":1}", "version 9"), ("x", "expected value")] {
            let error = decode::<Thing>("thing/a", bytes.as_bytes()).expect_err(bytes).to_string();
            assert!(error.contains("thing/a") && error.contains(why), "{error}");
        }
    }
}
