//! The bounds of a store. Everything in it that can grow has one.

use std::time::Duration;

/// Operations in one branch of a transaction, and comparisons (etcd's `--max-txn-ops`).
pub const MAX_TXN_OPS: usize = 128;

/// The longest time to live of a lease (etcd's `MaxLeaseTTL`: nine billion seconds).
pub const MAX_LEASE_TTL: Duration = Duration::from_secs(9_000_000_000);

/// The shortest time to live of a lease; etcd too rounds up to what its clock can keep.
pub const MIN_LEASE_TTL: Duration = Duration::from_secs(1);

/// Events in one batch of a watch that does not say how many it takes.
pub const DEFAULT_WATCH_CAPACITY: usize = 1024;

/// How much a store may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Keys and values of one request, in bytes (etcd's `--max-request-bytes`).
    pub request_bytes: usize,
    /// One key, in bytes. A key lives in an index that is walked often, so it may not be as large as a request.
    pub key_bytes: usize,
    /// Live keys and their values, in bytes (etcd's `--quota-backend-bytes`). History has bounds of its own.
    pub quota_bytes: u64,
    /// Revisions of history before the oldest are compacted automatically.
    pub history_revisions: i64,
    /// Memory of history (log entries and superseded values) before the oldest is compacted automatically.
    pub history_bytes: u64,
    /// Age of history before it is compacted automatically (kube-apiserver compacts what is older than five minutes).
    pub history_age: Duration,
    /// Watchers at the same time.
    pub watchers: usize,
    /// Leases at the same time.
    pub leases: usize,
}

impl Default for Limits {
    /// etcd's defaults where it has them, and a history that costs at most some tens of megabytes.
    fn default() -> Limits {
        Limits {
            request_bytes: 1536 * 1024,
            key_bytes: 4 * 1024,
            quota_bytes: 2 * 1024 * 1024 * 1024,
            history_revisions: 100_000,
            history_bytes: 64 * 1024 * 1024,
            history_age: Duration::from_secs(5 * 60),
            watchers: 100_000,
            leases: 1_000_000,
        }
    }
}
