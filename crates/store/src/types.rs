//! Requests and results: plain data, the same for every engine. Their names and meanings are etcd's.

use std::time::Duration;

use bytes::Bytes;

use crate::KeyRange;

/// A point in the history of the store: it grows by one with every transaction that writes.
pub type Revision = i64;

/// Names a lease; [`NO_LEASE`] is none.
pub type LeaseId = i64;

/// The lease of keys that live until they are deleted.
pub const NO_LEASE: LeaseId = 0;

/// One version of one key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyValue {
    pub key: Bytes,
    /// Empty in the event of a deletion.
    pub value: Bytes,
    /// Where the key came into being after its last deletion; 0 in the event of a deletion.
    pub create_revision: Revision,
    /// Where this version was written.
    pub mod_revision: Revision,
    /// 1 for the first version since the key came into being; 0 in the event of a deletion.
    pub version: i64,
    /// The lease that the key dies with, or [`NO_LEASE`].
    pub lease: LeaseId,
}

/// Asks for the keys of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    pub range: KeyRange,
    /// The point in history to read at; now when absent or not positive.
    pub revision: Option<Revision>,
    /// At most this many keys; 0 is no limit.
    pub limit: usize,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
}

impl RangeRequest {
    /// All of `range`, now.
    pub fn new(range: KeyRange) -> RangeRequest {
        RangeRequest { range, revision: None, limit: 0, keys_only: false, count_only: false }
    }
}

/// Keys in byte order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeResult {
    /// The store's revision when it read; not the one that was asked for.
    pub revision: Revision,
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left keys out.
    pub more: bool,
    /// How many keys are in the range, with those that the limit left out.
    pub count: usize,
}

/// How a [`Compare`] relates what is stored (left) to what is given (right).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cmp {
    Equal,
    NotEqual,
    Greater,
    Less,
}

impl Cmp {
    /// Whether `stored` relates to `given` this way.
    pub fn holds<T: Ord + ?Sized>(self, stored: &T, given: &T) -> bool {
        match self {
            Cmp::Equal => stored == given,
            Cmp::NotEqual => stored != given,
            Cmp::Greater => stored > given,
            Cmp::Less => stored < given,
        }
    }
}

/// A condition on one key. A key that does not exist has revision, version and lease 0, and no value: every
/// comparison with its value fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    CreateRevision { key: Bytes, op: Cmp, revision: Revision },
    Lease { key: Bytes, op: Cmp, lease: LeaseId },
    ModRevision { key: Bytes, op: Cmp, revision: Revision },
    Value { key: Bytes, op: Cmp, value: Bytes },
    Version { key: Bytes, op: Cmp, version: i64 },
}

impl Compare {
    /// The key it is about.
    pub fn key(&self) -> &Bytes {
        match self {
            Compare::CreateRevision { key, .. }
            | Compare::Lease { key, .. }
            | Compare::ModRevision { key, .. }
            | Compare::Value { key, .. }
            | Compare::Version { key, .. } => key,
        }
    }

    pub(crate) fn key_mut(&mut self) -> &mut Bytes {
        match self {
            Compare::CreateRevision { key, .. }
            | Compare::Lease { key, .. }
            | Compare::ModRevision { key, .. }
            | Compare::Value { key, .. }
            | Compare::Version { key, .. } => key,
        }
    }

    /// That `key` does not exist.
    pub fn absent(key: impl Into<Bytes>) -> Compare {
        Compare::ModRevision { key: key.into(), op: Cmp::Equal, revision: 0 }
    }

    /// That `key` was last written at `revision`.
    pub fn unchanged(key: impl Into<Bytes>, revision: Revision) -> Compare {
        Compare::ModRevision { key: key.into(), op: Cmp::Equal, revision }
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Delete { range: KeyRange, prev_kv: bool },
    Put { key: Bytes, value: Bytes, lease: LeaseId, prev_kv: bool },
    Range(RangeRequest),
    Txn(Box<Txn>),
}

impl Op {
    /// Writes `key`, without a lease.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Op {
        Op::Put { key: key.into(), value: value.into(), lease: NO_LEASE, prev_kv: false }
    }

    /// Deletes `range`.
    pub fn delete(range: KeyRange) -> Op {
        Op::Delete { range, prev_kv: false }
    }

    /// Reads one key.
    pub fn get(key: impl Into<Bytes>) -> Op {
        Op::Range(RangeRequest::new(KeyRange::key(key)))
    }
}

/// If all of `compare` hold, does `success`, else `failure`; all of it at one revision, or nothing.
///
/// Ranges see what operations before them wrote. All comparisons, those of nested transactions too, see the state
/// before the transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    pub compare: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
}

impl Txn {
    /// Does one operation, whatever the state.
    pub fn of(op: Op) -> Txn {
        Txn { success: vec![op], ..Txn::default() }
    }

    /// A transaction that is only done when `compare` holds.
    pub fn when(compare: Compare) -> Txn {
        Txn { compare: vec![compare], ..Txn::default() }
    }

    /// Adds a condition.
    pub fn and(mut self, compare: Compare) -> Txn {
        self.compare.push(compare);
        self
    }

    /// Adds an operation for when all conditions hold.
    pub fn then(mut self, op: Op) -> Txn {
        self.success.push(op);
        self
    }

    /// Adds an operation for when some condition does not hold.
    pub fn or_else(mut self, op: Op) -> Txn {
        self.failure.push(op);
        self
    }
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnResult {
    /// The store's revision after it: a new one if anything was written.
    pub revision: Revision,
    /// Whether all conditions held.
    pub succeeded: bool,
    /// One per operation of the branch that was taken.
    pub results: Vec<OpResult>,
}

/// What one operation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    /// `prev` is empty unless asked for.
    Delete {
        deleted: usize,
        prev: Vec<KeyValue>,
    },
    /// `prev` is absent unless asked for.
    Put {
        prev: Option<KeyValue>,
    },
    Range(RangeResult),
    Txn(TxnResult),
}

/// A granted lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub id: LeaseId,
    /// How long it lives after it was granted or last kept alive.
    pub ttl: Duration,
}

/// How a lease stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStatus {
    pub id: LeaseId,
    /// How long it lives after it was granted or last kept alive.
    pub granted: Duration,
    /// How long it still lives.
    pub remaining: Duration,
    /// The keys that die with it, in byte order.
    pub keys: Vec<Bytes>,
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Live keys.
    pub keys: usize,
    /// Live keys and their values, in bytes.
    pub bytes: u64,
    /// Memory of history, in bytes: log entries and superseded values.
    pub history_bytes: u64,
    /// Revisions that can be read and watched from.
    pub revisions: i64,
    pub watchers: usize,
    pub leases: usize,
    /// What a durable store has on its disk.
    pub disk: Option<DiskStats>,
}

/// How much a durable store has on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskStats {
    /// All files, in bytes: segments at their full length, and snapshots.
    pub bytes: u64,
    pub segments: usize,
    pub snapshots: usize,
    /// Whether writes are refused because the disk is full.
    pub full: bool,
}
