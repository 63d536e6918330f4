//! The Lease service.

use std::sync::Arc;
use std::time::Duration;

use etcd_wire as wire;
use store::{LeaseId, NO_LEASE, StoreError};
use tonic::{Status, Streaming};

use crate::Face;
use crate::service::Answers;
use crate::status::status;

pub(crate) async fn grant(
    face: Arc<Face>,
    request: wire::LeaseGrantRequest,
) -> Result<wire::LeaseGrantResponse, Status> {
    // A time that is not positive is the shortest, as in etcd.
    let ttl = Duration::from_secs(u64::try_from(request.ttl).unwrap_or(0));
    let id = (request.id != NO_LEASE).then_some(request.id);
    let lease = face.store.lease_grant(ttl, id).await.map_err(status)?;
    Ok(wire::LeaseGrantResponse {
        header: face.header(face.store.revision()),
        id: lease.id,
        ttl: seconds(lease.ttl),
        error: String::new(),
    })
}

pub(crate) async fn revoke(face: Arc<Face>, request: wire::LeaseRequest) -> Result<wire::HeaderResponse, Status> {
    face.store.lease_revoke(request.id).await.map_err(status)?;
    Ok(wire::HeaderResponse { header: face.header(face.store.revision()) })
}

pub(crate) fn keep_alive(
    face: Arc<Face>,
    requests: Streaming<wire::LeaseRequest>,
) -> Answers<wire::LeaseKeepAliveResponse> {
    // Each is answered before the next is read, so that nothing piles up.
    Answers::new(futures_util::stream::try_unfold((face, requests), |(face, mut requests)| async move {
        let stop = face.tasks.stop();
        let Some(request) = stop.or(requests.message()).await else {
            return Err(status(StoreError::Closed));
        };
        let Some(request) = request? else { return Ok(None) };
        let ttl = match face.store.lease_keep_alive(request.id).await {
            Ok(lease) => seconds(lease.ttl),
            Err(StoreError::LeaseNotFound { .. }) => 0,
            Err(error) => return Err(status(error)),
        };
        let header = face.header(face.store.revision());
        Ok(Some((wire::LeaseKeepAliveResponse { header, id: request.id, ttl }, (face, requests))))
    }))
}

pub(crate) async fn time_to_live(
    face: Arc<Face>,
    request: wire::LeaseTimeToLiveRequest,
) -> Result<wire::LeaseTimeToLiveResponse, Status> {
    let found = face.store.lease_time_to_live(request.id).await;
    let mut response = wire::LeaseTimeToLiveResponse {
        header: face.header(face.store.revision()),
        id: request.id,
        ttl: -1,
        ..wire::LeaseTimeToLiveResponse::default()
    };
    match found {
        Ok(lease) => {
            response.ttl = seconds(lease.remaining);
            response.granted_ttl = seconds(lease.granted);
            response.keys = if request.keys { lease.keys } else { Vec::new() };
        }
        Err(StoreError::LeaseNotFound { .. }) => {}
        Err(error) => return Err(status(error)),
    }
    Ok(response)
}

pub(crate) async fn leases(face: Arc<Face>, _: wire::EmptyRequest) -> Result<wire::LeaseLeasesResponse, Status> {
    let ids: Vec<LeaseId> = face.store.leases().await.map_err(status)?;
    let leases = ids.into_iter().map(|id| wire::LeaseStatus { id }).collect();
    Ok(wire::LeaseLeasesResponse { header: face.header(face.store.revision()), leases })
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
