//! etcd as the engine: the same store, held by a cluster that several processes share.
//!
//! Every key lies below a prefix, so that an etcd can be shared; revisions, compaction and leases are etcd's and are seen by all
//! that use it. Behaviour is that of the engine in memory, with these differences:
//!
//! - A write whose outcome nobody knows is [`StoreError::OutcomeUnknown`]; it is never sent a second time.
//! - etcd raises short times to live of leases (to 2 s with its default election timeout); the granted lease says so. It
//!   notices within half a second that one has run out, and gives every lease its whole time anew when its leader changes.
//! - A transaction that names a missing lease and an impossible revision is refused for the lease, whichever comes first.
//! - [`Stats`] tell of this process: its watchers and the history that it keeps for them. Keys and leases are etcd's to count.
//! - [`Store::revision`](crate::Store::revision) and `compacted` are what this process has heard of; another may have gone on.
//! - It needs tokio's sockets, so it does not work in a simulated world.

mod answer;
mod cluster;
mod convert;
mod options;
mod tail;
mod upstream;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use etcd_wire::{self as wire, paths};
use prost::Message;
use world::{Tasks, World};

use crate::{
    KeyRange, Lease, LeaseId, LeaseStatus, Limits, MAX_LEASE_TTL, MIN_LEASE_TTL, NO_LEASE, Op, RangeRequest,
    RangeResult, Revision, Stats, StoreError, Txn, TxnResult, WatchError, WatchRequest, check,
};
use answer::{About, Failure};
use cluster::{Cluster, Repeat};
use convert::{Convert, only_reads};
use tail::{Nudge, Tail};
use upstream::Upstream;

pub use options::{EtcdCredentials, EtcdError, EtcdOptions, EtcdTls};
pub(crate) use watcher::EtcdWatcher;

/// How long the tasks may take to stop. They only wait for etcd, so this is hardly ever reached.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);

/// How long to look for the revision that etcd has compacted, which it tells within a tenth of a second.
const COMPACTED_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Etcd {
    cluster: Arc<Cluster>,
    convert: Convert,
    limits: Limits,
    tail: Arc<Tail>,
    tasks: Tasks,
    exact_progress: bool,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.tail.close();
    }
}

impl Etcd {
    pub async fn open(world: &World, options: EtcdOptions) -> Result<Arc<Etcd>, EtcdError> {
        let cluster = Arc::new(Cluster::new(world, &options)?);
        let convert = Convert::new(&options.prefix);
        let unusable = |failure: Failure| EtcdError::Unusable {
            endpoints: options.endpoints.join(", "),
            error: failure.into_error(About::default(), &options.limits),
        };
        // Asked as any read is, so that a user who may not read the prefix learns of it now.
        let first = RangeRequest { count_only: true, ..RangeRequest::new(KeyRange::all()) };
        let first = convert.range_request(&first);
        let first: wire::RangeResponse = cluster.call(paths::RANGE, first, Repeat::Always).await.map_err(unusable)?;
        let revision = cluster.note(first.header.as_ref());
        let status: wire::StatusResponse =
            cluster.call(paths::STATUS, wire::EmptyRequest {}, Repeat::Always).await.map_err(unusable)?;
        let tail = Tail::new(options.limits.clone(), revision);
        let exact_progress = tail::exact_progress(&status.version);
        let tasks = world.tasks("store-etcd");
        tasks.spawn("store-etcd-tail", tail.clone().follow(cluster.clone(), convert.clone(), exact_progress));
        Ok(Arc::new(Etcd { cluster, convert, limits: options.limits, tail, tasks, exact_progress }))
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.tail.lock().closed { Err(StoreError::Closed) } else { Ok(()) }
    }

    fn nudge(&self) -> Nudge {
        let (cluster, convert) = (self.cluster.clone(), self.convert.clone());
        Nudge { cluster, convert, exact_progress: self.exact_progress }
    }

    pub fn revision(&self) -> Revision {
        self.cluster.revision()
    }

    pub fn compacted(&self) -> Revision {
        self.tail.lock().compacted
    }

    pub fn stats(&self) -> Stats {
        let (revisions, history_bytes, watchers) = self.tail.lock().held();
        Stats { revisions, history_bytes, watchers, ..Stats::default() }
    }

    pub async fn current_revision(&self) -> Result<Revision, StoreError> {
        let request = RangeRequest { count_only: true, ..RangeRequest::new(KeyRange::key("\0")) };
        Ok(self.range(&request).await?.revision)
    }

    pub async fn range(&self, request: &RangeRequest) -> Result<RangeResult, StoreError> {
        check::range(&request.range, &self.limits)?;
        self.check_open()?;
        let message = self.convert.range_request(request);
        match self.cluster.call::<_, wire::RangeResponse>(paths::RANGE, message, Repeat::Always).await {
            Ok(response) => {
                let revision = self.cluster.note(response.header.as_ref());
                Ok(self.convert.range_result(response, revision))
            }
            Err(failure) => Err(self.read_error(failure, request.revision.unwrap_or(0)).await),
        }
    }

    pub async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        check::txn(&txn, &self.limits)?;
        self.check_open()?;
        let repeat = if only_reads(&txn) { Repeat::Always } else { Repeat::WhenNotDone };
        let message = self.convert.txn_request(&txn);
        match self.cluster.call::<_, wire::TxnResponse>(paths::TXN, message, repeat).await {
            Ok(response) => {
                let revision = self.cluster.note(response.header.as_ref());
                Ok(self.convert.txn_result(response, revision))
            }
            Err(failure) if repeat == Repeat::Always => Err(self.txn_error(unavailable(failure), &txn).await),
            Err(failure) => Err(self.txn_error(failure, &txn).await),
        }
    }

    /// The error of a read at `revision`, with what etcd does not tell.
    async fn read_error(&self, failure: Failure, revision: Revision) -> StoreError {
        match unavailable(failure).into_error(self.about(NO_LEASE), &self.limits) {
            StoreError::Compacted { .. } => {
                StoreError::Compacted { compact_revision: self.find_compacted(revision).await }
            }
            StoreError::FutureRevision { .. } => match Box::pin(self.current_revision()).await {
                Ok(revision) => StoreError::FutureRevision { revision },
                Err(error) => error,
            },
            error => error,
        }
    }

    async fn txn_error(&self, failure: Failure, txn: &Txn) -> StoreError {
        match failure.into_error(self.about(NO_LEASE), &self.limits) {
            StoreError::Compacted { .. } => {
                let mut revisions = Vec::new();
                visit(txn, &mut |op| {
                    if let Op::Range(request) = op {
                        revisions.extend(request.revision.filter(|revision| *revision > 0));
                    }
                });
                let lowest = revisions.into_iter().min().unwrap_or(0);
                StoreError::Compacted { compact_revision: self.find_compacted(lowest).await }
            }
            StoreError::FutureRevision { .. } => match self.current_revision().await {
                Ok(revision) => StoreError::FutureRevision { revision },
                Err(error) => error,
            },
            StoreError::LeaseNotFound { .. } => {
                let mut leases = Vec::new();
                visit(txn, &mut |op| {
                    if let Op::Put { lease, .. } = op
                        && *lease != NO_LEASE
                        && !leases.contains(lease)
                    {
                        leases.push(*lease);
                    }
                });
                for id in leases {
                    if self.lease_time_to_live(id).await == Err(StoreError::LeaseNotFound { id }) {
                        return StoreError::LeaseNotFound { id };
                    }
                }
                StoreError::LeaseNotFound { id: NO_LEASE }
            }
            error => error,
        }
    }

    fn about(&self, lease: LeaseId) -> About {
        About { lease, revision: self.revision(), compacted: self.compacted() }
    }

    /// How far etcd has compacted, given a revision below that. Only a watch is told.
    async fn find_compacted(&self, below: Revision) -> Revision {
        let known = self.compacted();
        if known > below {
            return known;
        }
        let mut watch = Upstream::new(self.cluster.clone(), self.convert.clone(), below.max(1));
        let told = self.cluster.world().timeout(COMPACTED_TIMEOUT, watch.next()).await;
        if let Ok(Err(WatchError::Compacted { compact_revision })) = told {
            self.tail.compact(compact_revision);
        }
        self.compacted()
    }

    pub async fn watch(self: &Arc<Etcd>, request: WatchRequest) -> Result<EtcdWatcher, StoreError> {
        check::range(&request.range, &self.limits)?;
        self.check_open()?;
        let from = match request.from.filter(|from| *from > 0) {
            Some(from) => from,
            None => self.current_revision().await? + 1,
        };
        let (first, compacted) = {
            let state = self.tail.lock();
            (state.first, state.compacted)
        };
        if from < compacted {
            return Err(StoreError::Compacted { compact_revision: compacted });
        }
        if from < first && from <= self.revision() {
            // What can be read at can be watched from, and a read is told at once.
            let readable =
                RangeRequest { revision: Some(from), count_only: true, ..RangeRequest::new(KeyRange::key("\0")) };
            self.range(&readable).await?;
        }
        EtcdWatcher::new(self.clone(), request, from)
    }

    pub async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.check_open()?;
        // etcd compacts at 0 once, which does nothing.
        if revision <= self.compacted() {
            return Err(StoreError::Compacted { compact_revision: self.compacted() });
        }
        let request = wire::CompactionRequest { revision, physical: false };
        let failure = match self.cluster.call::<_, wire::HeaderResponse>(paths::COMPACT, request, Repeat::Always).await
        {
            Ok(response) => {
                self.cluster.note(response.header.as_ref());
                self.tail.compact(revision);
                return Ok(());
            }
            Err(failure) => failure,
        };
        let repeated = matches!(failure, Failure::Refused { repeated: true, .. });
        match self.read_error(failure, revision - 1).await {
            // The attempt whose answer was lost has done it.
            StoreError::Compacted { compact_revision } if repeated && compact_revision == revision => Ok(()),
            // Nobody had compacted further than that, and a watch from there is allowed.
            StoreError::Compacted { compact_revision } if compact_revision < revision => {
                self.tail.compact(revision);
                Err(StoreError::Compacted { compact_revision: revision })
            }
            error => Err(error),
        }
    }

    pub async fn lease_grant(&self, ttl: Duration, id: Option<LeaseId>) -> Result<Lease, StoreError> {
        self.check_open()?;
        if ttl > MAX_LEASE_TTL {
            return Err(StoreError::LeaseTtlTooLarge);
        }
        let seconds = ttl.max(MIN_LEASE_TTL).as_secs() + u64::from(ttl > MIN_LEASE_TTL && ttl.subsec_nanos() > 0);
        let id = id.unwrap_or(NO_LEASE);
        let request = wire::LeaseGrantRequest { ttl: i64::try_from(seconds).unwrap_or(i64::MAX), id };
        // A lease that nobody knows of runs out by itself, so one of etcd's choice may be asked for again.
        let repeat = if id == NO_LEASE { Repeat::Always } else { Repeat::WhenNotDone };
        let granted: wire::LeaseGrantResponse = self.lease_call(paths::LEASE_GRANT, request, repeat, id).await?;
        Ok(Lease { id: granted.id, ttl: duration(granted.ttl) })
    }

    pub async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        self.check_open()?;
        let request = wire::LeaseRequest { id };
        match self.cluster.call::<_, wire::HeaderResponse>(paths::LEASE_REVOKE, request, Repeat::Always).await {
            Ok(response) => {
                self.cluster.note(response.header.as_ref());
                Ok(())
            }
            Err(failure) => {
                let repeated = matches!(failure, Failure::Refused { repeated: true, .. });
                match failure.into_error(self.about(id), &self.limits) {
                    // The attempt whose answer was lost has done it.
                    StoreError::LeaseNotFound { .. } if repeated => Ok(()),
                    error => Err(error),
                }
            }
        }
    }

    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, StoreError> {
        self.check_open()?;
        let answer = self.cluster.call_stream(paths::LEASE_KEEP_ALIVE, wire::LeaseRequest { id }).await;
        let kept: wire::LeaseKeepAliveResponse =
            answer.map_err(|failure| unavailable(failure).into_error(self.about(id), &self.limits))?;
        self.cluster.note(kept.header.as_ref());
        if kept.ttl <= 0 {
            return Err(StoreError::LeaseNotFound { id });
        }
        Ok(Lease { id, ttl: duration(kept.ttl) })
    }

    pub async fn lease_time_to_live(&self, id: LeaseId) -> Result<LeaseStatus, StoreError> {
        self.check_open()?;
        let request = wire::LeaseTimeToLiveRequest { id, keys: true };
        let lease: wire::LeaseTimeToLiveResponse =
            self.lease_call(paths::LEASE_TIME_TO_LIVE, request, Repeat::Always, id).await?;
        self.cluster.note(lease.header.as_ref());
        if lease.ttl < 0 {
            return Err(StoreError::LeaseNotFound { id });
        }
        Ok(LeaseStatus {
            id,
            granted: duration(lease.granted_ttl),
            remaining: duration(lease.ttl),
            keys: self.convert.lease_keys(lease.keys),
        })
    }

    /// Those of all users of the etcd: a lease has no prefix.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        self.check_open()?;
        let listed: wire::LeaseLeasesResponse =
            self.lease_call(paths::LEASE_LEASES, wire::EmptyRequest {}, Repeat::Always, NO_LEASE).await?;
        let mut ids: Vec<LeaseId> = listed.leases.into_iter().map(|lease| lease.id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    async fn lease_call<A, B>(
        &self,
        path: &'static str,
        request: A,
        repeat: Repeat,
        id: LeaseId,
    ) -> Result<B, StoreError>
    where
        A: Message + Clone + 'static,
        B: Message + Default + 'static,
    {
        let answer = self.cluster.call(path, request, repeat).await;
        answer.map_err(|failure| {
            let failure = if repeat == Repeat::Always { unavailable(failure) } else { failure };
            failure.into_error(self.about(id), &self.limits)
        })
    }

    /// The error of what etcd cannot do.
    pub fn unsupported(&self, what: &str, instead: &str) -> StoreError {
        StoreError::Refused { reason: format!("Minato does not support {what} of a store in etcd: {instead}") }
    }

    pub async fn shutdown(&self) {
        self.tail.close();
        self.tasks.shutdown(SHUTDOWN_DEADLINE).await;
    }
}

/// A request that changes nothing has no outcome that could be unknown.
fn unavailable(failure: Failure) -> Failure {
    match failure {
        Failure::Unknown(reason) => Failure::Unavailable(reason),
        other => other,
    }
}

fn duration(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn visit(txn: &Txn, look: &mut dyn FnMut(&Op)) {
    for op in txn.success.iter().chain(&txn.failure) {
        look(op);
        if let Op::Txn(nested) = op {
            visit(nested, look);
        }
    }
}
