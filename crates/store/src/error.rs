//! What a store refuses, in etcd's words where etcd has them, so that clients that match on the text keep working.

use world::Timestamp;

use crate::{LeaseId, Revision};

/// A request that was not carried out. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store has shut down.
    #[error("etcdserver: server stopped")]
    Closed,
    /// The history up to (not including) `compact_revision` is gone: list again.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted { compact_revision: Revision },
    /// The disk has no space for further writes. Deletions are accepted as long as there is a reserve; writes are again when there
    /// is space.
    #[error("etcdserver: mvcc: database space exceeded")]
    DiskFull,
    /// The files of a past state could not be read.
    #[error("the past of the store cannot be read: {reason}")]
    Past { reason: std::sync::Arc<str> },
    /// A transaction writes one key twice, or puts a key that it also deletes.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// A key is empty.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// A guard of the [`crate::Keyspace`] does not hold any more: whoever writes has lost the right to. Not to be tried again.
    #[error("the writer may not write any more: another has taken over, or what it writes for is gone")]
    Fenced,
    /// The store has not reached that revision; it is at `revision`.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision { revision: Revision },
    /// A key is longer than `limit` bytes.
    #[error("etcdserver: key of {bytes} bytes is longer than the limit of {limit} bytes")]
    KeyTooLong { bytes: usize, limit: usize },
    /// The asked-for lease id is taken.
    #[error("etcdserver: lease already exists")]
    LeaseExists { id: LeaseId },
    /// No such lease, or it has expired.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound { id: LeaseId },
    /// The time to live is above [`crate::MAX_LEASE_TTL`].
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    /// The live keys and values would take more than `quota` bytes. Deletions are still accepted.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace { quota: u64 },
    /// Nobody knows whether the write was carried out, or still will be: the connection to etcd broke, or the answer did not
    /// come in time. Read what it was about before writing again.
    #[error("the outcome of the write is unknown, read before writing again: {reason}")]
    OutcomeUnknown { reason: String },
    /// etcd does not allow it, for a reason that no other error here is.
    #[error("etcd refused: {reason}")]
    Refused { reason: String },
    /// Keys and values of the request are larger than `limit` bytes together.
    #[error("etcdserver: request is too large")]
    RequestTooLarge { bytes: usize, limit: usize },
    /// The store holds as many leases as it may.
    #[error("etcdserver: too many leases: the limit is {limit}")]
    TooManyLeases { limit: usize },
    /// The store has stopped, because it could not make writes durable: what was not acknowledged may or may not be there when
    /// it is opened again.
    #[error("etcdserver: server stopped: {reason}")]
    Stopped { reason: std::sync::Arc<str> },
    /// The time asked for lies before everything that is retained.
    #[error("the store retains nothing from before {oldest}")]
    TimeNotRetained { oldest: Timestamp },
    /// More than [`crate::MAX_TXN_OPS`] comparisons or operations.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOperations,
    /// The store has as many watchers as it may.
    #[error("etcdserver: too many watchers: the limit is {limit}")]
    TooManyWatchers { limit: usize },
    /// No member of etcd could be reached in time. Nothing was done; try again.
    #[error("etcd is not available, nothing was done, try again: {reason}")]
    Unavailable { reason: String },
}

/// Why a watch has ended. It delivers nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The store has shut down.
    #[error("etcdserver: server stopped")]
    Closed,
    /// The watcher was so slow that the events it needs next are gone: list again, and watch from there.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted { compact_revision: Revision },
}
