//! The Maintenance service, the Cluster service of one member, and an Auth service that is off.

use std::sync::Arc;

use bytes::Bytes;
use etcd_wire as wire;
use sha2::{Digest, Sha256};
use store::{KeyRange, RangeRequest, SnapshotReader};
use tonic::Status;

use crate::Face;
use crate::service::Answers;
use crate::status::{status as of_error, unsupported};

pub(crate) async fn status(face: Arc<Face>, _: wire::EmptyRequest) -> Result<wire::StatusResponse, Status> {
    let revision = face.store.current_revision().await.map_err(of_error)?;
    let stats = face.store.stats();
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let index = u64::try_from(revision).unwrap_or(0);
    Ok(wire::StatusResponse {
        header: face.header(revision),
        version: face.version.clone(),
        db_size: bytes(stats.bytes + stats.history_bytes),
        db_size_in_use: bytes(stats.bytes),
        leader: Face::MEMBER_ID,
        raft_index: index,
        raft_applied_index: index,
        raft_term: Face::RAFT_TERM,
        ..wire::StatusResponse::default()
    })
}

/// A hash of every live key at a revision. Two faces of stores with the same content agree; etcd hashes its own files.
pub(crate) async fn hash_kv(face: Arc<Face>, request: wire::HashKvRequest) -> Result<wire::HashKvResponse, Status> {
    let everything = RangeRequest {
        revision: (request.revision > 0).then_some(request.revision),
        ..RangeRequest::new(KeyRange::all())
    };
    let result = face.store.range(everything).await.map_err(of_error)?;
    let mut hash = Sha256::new();
    for kv in &result.kvs {
        for bytes in [&kv.key, &kv.value] {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        for number in [kv.create_revision, kv.mod_revision, kv.version, kv.lease] {
            hash.update(number.to_be_bytes());
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    let first = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let compact_revision = face.store.compacted();
    Ok(wire::HashKvResponse { header: face.header(result.revision), hash: first, compact_revision })
}

/// There are none: a full store says so in the answer to each write, and recovers by itself.
pub(crate) async fn alarm(face: Arc<Face>, request: wire::AlarmRequest) -> Result<wire::AlarmResponse, Status> {
    if request.action == i32::from(wire::AlarmAction::Activate) {
        return Err(unsupported("alarms that are set by hand (Alarm with action ACTIVATE)"));
    }
    Ok(wire::AlarmResponse { header: face.header(face.store.revision()), alarms: Vec::new() })
}

/// The length of etcd's files is a multiple of this, in bytes, and its clients look for a checksum behind one.
const SNAPSHOT_PAGE_BYTES: u64 = 512;

/// Where the stream of a snapshot is.
enum Sending {
    Begin,
    File { reader: Box<SnapshotReader>, hash: Sha256, bytes: u64 },
    Done,
}

/// The store's snapshot file, zeros up to a whole page, and the SHA-256 of both, as etcd's clients expect. The file is Minato's, not
/// etcd's: Minato restores it. How long it will be is not known, so `remaining_bytes` stays 0.
pub(crate) fn snapshot(face: Arc<Face>, _: wire::EmptyRequest) -> Answers<wire::SnapshotResponse> {
    Answers::new(futures_util::stream::try_unfold((face, Sending::Begin), |(face, sending)| async move {
        let (mut reader, mut hash, mut bytes) = match sending {
            Sending::Begin => (Box::new(face.store.snapshot().await.map_err(of_error)?), Sha256::new(), 0),
            Sending::File { reader, hash, bytes } => (reader, hash, bytes),
            Sending::Done => return Ok(None),
        };
        let (blob, next) = match reader.next().await.map_err(of_error)? {
            Some(blob) => {
                hash.update(&blob);
                bytes += blob.len() as u64;
                (blob, Sending::File { reader, hash, bytes })
            }
            None => {
                let missing = bytes.next_multiple_of(SNAPSHOT_PAGE_BYTES) - bytes;
                // Less than a page, so it fits.
                let mut last = vec![0; missing as usize];
                hash.update(&last);
                last.extend_from_slice(&hash.finalize());
                (Bytes::from(last), Sending::Done)
            }
        };
        let header = face.header(face.store.revision());
        Ok(Some((wire::SnapshotResponse { header, remaining_bytes: 0, blob }, (face, next))))
    }))
}

pub(crate) async fn member_list(
    face: Arc<Face>,
    _: wire::MemberListRequest,
) -> Result<wire::MemberListResponse, Status> {
    let member = wire::Member {
        id: Face::MEMBER_ID,
        name: face.name.clone(),
        client_urls: face.client_urls.clone(),
        ..wire::Member::default()
    };
    Ok(wire::MemberListResponse { header: face.header(face.store.revision()), members: vec![member] })
}

pub(crate) async fn authenticate(
    _: Arc<Face>,
    _: wire::AuthenticateRequest,
) -> Result<wire::AuthenticateResponse, Status> {
    Err(Status::failed_precondition("etcdserver: authentication is not enabled"))
}

pub(crate) async fn auth_status(face: Arc<Face>, _: wire::EmptyRequest) -> Result<wire::AuthStatusResponse, Status> {
    let header = face.header(face.store.revision());
    Ok(wire::AuthStatusResponse { header, enabled: false, auth_revision: 0 })
}
