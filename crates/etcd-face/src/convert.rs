//! Between etcd's messages and the store's requests and results.

use std::collections::BTreeMap;

use bytes::Bytes;
use etcd_wire as wire;
use store::{
    Cmp, Compare, Event, EventKind, KeyRange, KeyValue, LeaseId, NO_LEASE, Op, OpResult, RangeRequest, RangeResult,
    Revision, Txn, TxnResult,
};
use tonic::Status;

use crate::header;
use crate::status::{key_not_found, status, unsupported};

/// Range and end of etcd's form. One zero byte as the end is no end; one as the start is every key.
pub(crate) fn key_range(key: Bytes, end: Bytes) -> Result<KeyRange, Status> {
    if key.is_empty() {
        return Err(status(store::StoreError::EmptyKey));
    }
    Ok(match (&key[..], &end[..]) {
        (_, b"") => KeyRange::key(key),
        (b"\0", b"\0") => KeyRange::all(),
        (_, b"\0") => KeyRange::from(key),
        _ => KeyRange::span(key, end),
    })
}

/// What of a range the store does itself; the rest is [`range_response`]'s.
pub(crate) fn range_request(request: &wire::RangeRequest) -> Result<RangeRequest, Status> {
    let sorts = sorts(request)?;
    let own = !sorts && !filters(request);
    Ok(RangeRequest {
        range: key_range(request.key.clone(), request.range_end.clone())?,
        revision: (request.revision > 0).then_some(request.revision),
        limit: if own { usize::try_from(request.limit).unwrap_or(0) } else { 0 },
        // To sort by value takes the value.
        keys_only: request.keys_only && own,
        count_only: request.count_only,
    })
}

fn sorts(request: &wire::RangeRequest) -> Result<bool, Status> {
    let order = wire::SortOrder::try_from(request.sort_order).map_err(|_| invalid("sort option"))?;
    let target = wire::SortTarget::try_from(request.sort_target).map_err(|_| invalid("sort option"))?;
    // Keys are in ascending order as they are.
    Ok(target != wire::SortTarget::Key || order == wire::SortOrder::Descend)
}

fn filters(request: &wire::RangeRequest) -> bool {
    let bounds =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    bounds.iter().any(|bound| *bound != 0)
}

fn invalid(what: &str) -> Status {
    Status::invalid_argument(format!("etcdserver: invalid {what}"))
}

/// Filters, sorts and limits as etcd does, in this order. The count is of the whole range.
pub(crate) fn range_response(request: &wire::RangeRequest, result: RangeResult) -> wire::RangeResponse {
    let (mut kvs, mut more) = (result.kvs, result.more);
    if filters(request) {
        let within =
            |revision: Revision, low: i64, high: i64| (low == 0 || revision >= low) && (high == 0 || revision <= high);
        kvs.retain(|kv| {
            within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
                && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
        });
    }
    match wire::SortTarget::try_from(request.sort_target) {
        Ok(wire::SortTarget::Version) => kvs.sort_by_key(|kv| kv.version),
        Ok(wire::SortTarget::Create) => kvs.sort_by_key(|kv| kv.create_revision),
        Ok(wire::SortTarget::Mod) => kvs.sort_by_key(|kv| kv.mod_revision),
        Ok(wire::SortTarget::Value) => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
        Ok(wire::SortTarget::Key) | Err(_) => {}
    }
    if request.sort_order == i32::from(wire::SortOrder::Descend) {
        kvs.reverse();
    }
    let limit = usize::try_from(request.limit).unwrap_or(0);
    if limit > 0 && kvs.len() > limit {
        kvs.truncate(limit);
        more = true;
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    wire::RangeResponse {
        header: Some(header(result.revision)),
        kvs: kvs.into_iter().map(key_value).collect(),
        more,
        count: i64::try_from(result.count).unwrap_or(i64::MAX),
    }
}

pub(crate) fn key_value(kv: KeyValue) -> wire::KeyValue {
    wire::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

/// A lease that nobody can have, so that a transaction which would put a missing key is refused if it takes that branch.
pub(crate) const MISSING: LeaseId = LeaseId::MIN;

/// What is stored at the keys of which a request keeps the value or the lease.
pub(crate) type Kept = BTreeMap<Bytes, Option<KeyValue>>;

/// The keys of which a request keeps the value or the lease.
pub(crate) fn kept_keys(request: &wire::TxnRequest, keys: &mut Kept) {
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(wire::Request::Put(put)) if put.ignore_value || put.ignore_lease => {
                keys.insert(put.key.clone(), None);
            }
            Some(wire::Request::Txn(nested)) => kept_keys(nested, keys),
            _ => {}
        }
    }
}

pub(crate) fn txn(request: &wire::TxnRequest, kept: &Kept) -> Result<Txn, Status> {
    let ops = |ops: &[wire::RequestOp]| ops.iter().map(|request| op(request, kept)).collect::<Result<_, _>>();
    Ok(Txn {
        compare: request.compare.iter().map(compare).collect::<Result<_, _>>()?,
        success: ops(&request.success)?,
        failure: ops(&request.failure)?,
    })
}

fn op(request: &wire::RequestOp, kept: &Kept) -> Result<Op, Status> {
    Ok(match request.request.as_ref().ok_or_else(key_not_found)? {
        wire::Request::Range(range) => Op::Range(range_request(range)?),
        wire::Request::Put(put) => self::put(put, kept)?,
        wire::Request::DeleteRange(delete) => {
            Op::Delete { range: key_range(delete.key.clone(), delete.range_end.clone())?, prev_kv: delete.prev_kv }
        }
        wire::Request::Txn(nested) => Op::Txn(Box::new(txn(nested, kept)?)),
    })
}

fn put(put: &wire::PutRequest, kept: &Kept) -> Result<Op, Status> {
    if put.ignore_value && !put.value.is_empty() {
        return Err(Status::invalid_argument("etcdserver: value is provided"));
    }
    if put.ignore_lease && put.lease != NO_LEASE {
        return Err(Status::invalid_argument("etcdserver: lease is provided"));
    }
    let (mut value, mut lease) = (put.value.clone(), put.lease);
    if put.ignore_value || put.ignore_lease {
        match kept.get(&put.key).and_then(Option::as_ref) {
            Some(stored) => {
                value = if put.ignore_value { stored.value.clone() } else { value };
                lease = if put.ignore_lease { stored.lease } else { lease };
            }
            None => lease = MISSING,
        }
    }
    Ok(Op::Put { key: put.key.clone(), value, lease, prev_kv: put.prev_kv })
}

fn compare(compare: &wire::Compare) -> Result<Compare, Status> {
    use wire::{CompareTarget as Target, TargetUnion as Given};
    if !compare.range_end.is_empty() {
        return Err(unsupported("the comparison of a range of keys (range_end of Compare)"));
    }
    let op = match wire::CompareResult::try_from(compare.result).map_err(|_| invalid("comparison"))? {
        wire::CompareResult::Equal => Cmp::Equal,
        wire::CompareResult::Greater => Cmp::Greater,
        wire::CompareResult::Less => Cmp::Less,
        wire::CompareResult::NotEqual => Cmp::NotEqual,
    };
    let key = compare.key.clone();
    let target = wire::CompareTarget::try_from(compare.target).map_err(|_| invalid("comparison"))?;
    // What is not given is zero: protocol buffers leave it out.
    Ok(match (target, &compare.target_union) {
        (Target::Create, Some(Given::CreateRevision(revision))) => {
            Compare::CreateRevision { key, op, revision: *revision }
        }
        (Target::Create, _) => Compare::CreateRevision { key, op, revision: 0 },
        (Target::Lease, Some(Given::Lease(lease))) => Compare::Lease { key, op, lease: *lease },
        (Target::Lease, _) => Compare::Lease { key, op, lease: NO_LEASE },
        (Target::Mod, Some(Given::ModRevision(revision))) => Compare::ModRevision { key, op, revision: *revision },
        (Target::Mod, _) => Compare::ModRevision { key, op, revision: 0 },
        (Target::Value, Some(Given::Value(value))) => Compare::Value { key, op, value: value.clone() },
        (Target::Value, _) => Compare::Value { key, op, value: Bytes::new() },
        (Target::Version, Some(Given::Version(version))) => Compare::Version { key, op, version: *version },
        (Target::Version, _) => Compare::Version { key, op, version: 0 },
    })
}

/// The answer to a transaction, whose ranges are finished here.
pub(crate) fn txn_response(request: &wire::TxnRequest, result: TxnResult) -> wire::TxnResponse {
    let asked = if result.succeeded { &request.success } else { &request.failure };
    let responses = asked
        .iter()
        .zip(result.results)
        .map(|(asked, did)| wire::ResponseOp { response: Some(response(asked, did, result.revision)) });
    wire::TxnResponse {
        header: Some(header(result.revision)),
        succeeded: result.succeeded,
        responses: responses.collect(),
    }
}

fn response(asked: &wire::RequestOp, did: OpResult, revision: Revision) -> wire::Response {
    match (did, &asked.request) {
        (OpResult::Range(range), Some(wire::Request::Range(request))) => {
            wire::Response::Range(range_response(request, range))
        }
        (OpResult::Txn(nested), Some(wire::Request::Txn(request))) => {
            wire::Response::Txn(txn_response(request, nested))
        }
        (OpResult::Put { prev }, _) => {
            wire::Response::Put(wire::PutResponse { header: Some(header(revision)), prev_kv: prev.map(key_value) })
        }
        (OpResult::Delete { deleted, prev }, _) => wire::Response::DeleteRange(wire::DeleteRangeResponse {
            header: Some(header(revision)),
            deleted: i64::try_from(deleted).unwrap_or(i64::MAX),
            prev_kvs: prev.into_iter().map(key_value).collect(),
        }),
        (OpResult::Range(_) | OpResult::Txn(_), _) => unreachable!("the store answers what it was asked, in order"),
    }
}

pub(crate) fn event(event: Event) -> wire::Event {
    let kind = match event.kind {
        EventKind::Delete => wire::EventType::Delete,
        EventKind::Put => wire::EventType::Put,
    };
    wire::Event { r#type: kind.into(), kv: Some(key_value(event.kv)), prev_kv: event.prev.map(key_value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &'static str, value: &'static str, create: Revision, modified: Revision, version: i64) -> KeyValue {
        KeyValue {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
            create_revision: create,
            mod_revision: modified,
            version,
            lease: NO_LEASE,
        }
    }

    #[test]
    fn ranges_are_filtered_sorted_and_limited_as_etcd_does() {
        use wire::{SortOrder, SortTarget};
        let stored = [kv("a", "3", 5, 9, 4), kv("b", "1", 3, 3, 1), kv("c", "2", 4, 8, 2)];
        let request = |target: SortTarget, order: SortOrder| wire::RangeRequest {
            sort_target: target.into(),
            sort_order: order.into(),
            ..wire::RangeRequest::default()
        };
        let plain = request(SortTarget::Key, SortOrder::None);
        let cases = [
            (plain.clone(), "abc", false),
            (request(SortTarget::Key, SortOrder::Descend), "cba", false),
            (request(SortTarget::Version, SortOrder::None), "bca", false),
            (request(SortTarget::Version, SortOrder::Descend), "acb", false),
            (request(SortTarget::Create, SortOrder::Ascend), "bca", false),
            (request(SortTarget::Mod, SortOrder::Ascend), "bca", false),
            (request(SortTarget::Value, SortOrder::Descend), "acb", false),
            (wire::RangeRequest { limit: 1, ..request(SortTarget::Value, SortOrder::Ascend) }, "b", true),
            (wire::RangeRequest { min_mod_revision: 8, ..plain.clone() }, "ac", false),
            (wire::RangeRequest { max_mod_revision: 8, ..plain.clone() }, "bc", false),
            (wire::RangeRequest { min_create_revision: 4, max_create_revision: 4, ..plain.clone() }, "c", false),
            (wire::RangeRequest { min_mod_revision: 8, limit: 1, ..plain.clone() }, "a", true),
        ];
        for (request, expected, more) in cases {
            let result = RangeResult { revision: 9, kvs: stored.to_vec(), more: false, count: 3 };
            let response = range_response(&request, result);
            let keys: Vec<u8> = response.kvs.iter().map(|kv| kv.key[0]).collect();
            assert_eq!((&keys[..], response.more, response.count), (expected.as_bytes(), more, 3), "{request:?}");
        }
    }

    #[test]
    fn ranges_are_read_as_etcd_reads_them() {
        let range =
            |key: &'static [u8], end: &'static [u8]| key_range(Bytes::from_static(key), Bytes::from_static(end));
        assert_eq!(range(b"a", b"").unwrap(), KeyRange::key("a"));
        assert_eq!(range(b"a", b"b").unwrap(), KeyRange::prefix("a"));
        assert_eq!(range(b"a", b"\0").unwrap(), KeyRange::from("a"));
        assert_eq!(range(b"\0", b"\0").unwrap(), KeyRange::all());
        assert_eq!(range(b"", b"\0").unwrap_err().message(), "etcdserver: key is not provided");
    }
}
