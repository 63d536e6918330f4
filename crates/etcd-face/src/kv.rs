//! The KV service.

use std::sync::Arc;

use etcd_wire as wire;
use store::{Compare, Op, OpResult, StoreError, Txn, TxnResult};
use tonic::Status;

use crate::Face;
use crate::convert::{self, Kept, MISSING, kept_keys};
use crate::status::{key_not_found, status};

/// Times that a put which keeps what is stored may find it changed by others. Each time somebody else has written.
const MAX_KEPT_ATTEMPTS: usize = 1000;

pub(crate) async fn range(face: Arc<Face>, request: wire::RangeRequest) -> Result<wire::RangeResponse, Status> {
    let result = face.store.range(convert::range_request(&request)?).await.map_err(status)?;
    Ok(convert::range_response(&request, result))
}

pub(crate) async fn put(face: Arc<Face>, request: wire::PutRequest) -> Result<wire::PutResponse, Status> {
    match one(face, wire::Request::Put(request)).await? {
        Some(wire::Response::Put(response)) => Ok(response),
        _ => Err(Status::internal("a put was not answered as one")),
    }
}

pub(crate) async fn delete_range(
    face: Arc<Face>,
    request: wire::DeleteRangeRequest,
) -> Result<wire::DeleteRangeResponse, Status> {
    match one(face, wire::Request::DeleteRange(request)).await? {
        Some(wire::Response::DeleteRange(response)) => Ok(response),
        _ => Err(Status::internal("a deletion was not answered as one")),
    }
}

async fn one(face: Arc<Face>, request: wire::Request) -> Result<Option<wire::Response>, Status> {
    let request =
        wire::TxnRequest { success: vec![wire::RequestOp { request: Some(request) }], ..wire::TxnRequest::default() };
    let mut answer = txn(face, request).await?;
    Ok(answer.responses.pop().and_then(|op| op.response))
}

pub(crate) async fn txn(face: Arc<Face>, request: wire::TxnRequest) -> Result<wire::TxnResponse, Status> {
    let mut kept = Kept::new();
    kept_keys(&request, &mut kept);
    let refused = |error| match error {
        StoreError::LeaseNotFound { id: MISSING } => key_not_found(),
        error => status(error),
    };
    if kept.is_empty() {
        let result = face.store.txn(convert::txn(&request, &kept)?).await.map_err(refused)?;
        return Ok(convert::txn_response(&request, result));
    }
    for _ in 0..MAX_KEPT_ATTEMPTS {
        for (key, stored) in &mut kept {
            *stored = face.store.get(key.clone()).await.map_err(status)?;
        }
        // The transaction is carried out on what was read, or not at all.
        let unchanged = kept.iter().map(|(key, stored)| {
            Compare::unchanged(key.clone(), stored.as_ref().map_or(0, |stored| stored.mod_revision))
        });
        let inner = Op::Txn(Box::new(convert::txn(&request, &kept)?));
        let outer = Txn { compare: unchanged.collect(), success: vec![inner], failure: Vec::new() };
        let mut result: TxnResult = face.store.txn(outer).await.map_err(refused)?;
        if let Some(OpResult::Txn(result)) = result.results.pop() {
            return Ok(convert::txn_response(&request, result));
        }
    }
    Err(Status::aborted("the key whose value or lease is to be kept changes all the time, try again"))
}

pub(crate) async fn compact(face: Arc<Face>, request: wire::CompactionRequest) -> Result<wire::HeaderResponse, Status> {
    face.store.compact(request.revision).await.map_err(status)?;
    Ok(wire::HeaderResponse { header: face.header(face.store.revision()) })
}
