//! Events live for an hour. They share leases of the store, a new one each minute, as etcd clients do: a lease per Event would
//! cost more than the Event.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_object::ApiError;
use store::LeaseId;

use crate::core::Core;
use crate::storage;

/// kube-apiserver's `--event-ttl`.
const EVENT_TTL: Duration = Duration::from_secs(3600);
/// How long one lease takes in new Events; they live up to this much longer.
const REUSE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct EventLeases(Mutex<Option<(LeaseId, Duration)>>);

impl EventLeases {
    /// The lease for an Event written now.
    pub(crate) async fn current(&self, core: &Core) -> Result<LeaseId, ApiError> {
        let now = core.world.elapsed();
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((lease, until)) = known
            && now < until
        {
            return Ok(lease);
        }
        let lease = core.keyspace.lease_grant(EVENT_TTL + REUSE, None).await.map_err(storage::error)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((lease.id, now + REUSE));
        Ok(lease.id)
    }
}
