//! Between the store's requests and results and etcd's messages, with the prefix put before every key and taken off again.
//!
//! The prefix itself is a key that no store can name: it is kept out of every range, and marks progress (see [`super::tail`]).

use bytes::{Buf, Bytes};
use etcd_wire as wire;

use crate::key_range::{join, successor_of_prefix};
use crate::{
    Cmp, Compare, End, Event, EventKind, KeyRange, KeyValue, Op, OpResult, RangeRequest, RangeResult, Revision, Txn,
    TxnResult,
};

/// How etcd writes the end of a range that has none, and the lowest key that there can be.
const ZERO: Bytes = Bytes::from_static(b"\0");

/// Translates for one prefix.
#[derive(Debug, Clone)]
pub(super) struct Convert {
    prefix: Bytes,
}

impl Convert {
    pub fn new(prefix: &str) -> Convert {
        Convert { prefix: Bytes::copy_from_slice(prefix.as_bytes()) }
    }

    /// The key that marks progress; none where every key of etcd is the store's.
    pub fn mark(&self) -> Option<Bytes> {
        (!self.prefix.is_empty()).then(|| self.prefix.clone())
    }

    pub fn key(&self, key: &Bytes) -> Bytes {
        if self.prefix.is_empty() { key.clone() } else { join(&self.prefix, key) }
    }

    /// First key and end, as etcd writes a range; none when no key can be in it.
    pub fn range(&self, range: &KeyRange) -> Option<(Bytes, Bytes)> {
        if let End::Before(end) = range.end()
            && end <= range.start()
        {
            return None;
        }
        let range = range.clone().below(&self.prefix);
        let start = range.start().clone();
        if *range.end() == End::Key {
            return Some((start, Bytes::new()));
        }
        let end = match range.end() {
            End::Before(end) => end.clone(),
            // A prefix of nothing but the highest byte has no end.
            End::Prefix => successor_of_prefix(&start).unwrap_or(ZERO),
            _ => ZERO,
        };
        let start = if start == self.prefix { join(&start, &ZERO) } else { start };
        (end == ZERO || start < end).then_some((start, end))
    }

    /// A range without keys: etcd has none but one that ends before it begins.
    fn nothing(&self) -> (Bytes, Bytes) {
        (join(&self.prefix, b"\x02"), join(&self.prefix, b"\x01"))
    }

    /// Every key of the store, and the one that marks progress.
    pub fn everything(&self) -> (Bytes, Bytes) {
        match successor_of_prefix(&self.prefix) {
            Some(end) => (self.prefix.clone(), end),
            None => (ZERO, ZERO),
        }
    }

    pub fn range_request(&self, request: &RangeRequest) -> wire::RangeRequest {
        let (key, range_end) = self.range(&request.range).unwrap_or_else(|| self.nothing());
        wire::RangeRequest {
            key,
            range_end,
            limit: i64::try_from(request.limit).unwrap_or(i64::MAX),
            revision: request.revision.unwrap_or(0).max(0),
            keys_only: request.keys_only,
            count_only: request.count_only,
            ..wire::RangeRequest::default()
        }
    }

    pub fn txn_request(&self, txn: &Txn) -> wire::TxnRequest {
        let ops = |ops: &[Op]| ops.iter().map(|op| wire::RequestOp { request: Some(self.op(op)) }).collect();
        wire::TxnRequest {
            compare: txn.compare.iter().map(|compare| self.compare(compare)).collect(),
            success: ops(&txn.success),
            failure: ops(&txn.failure),
        }
    }

    fn op(&self, op: &Op) -> wire::Request {
        match op {
            Op::Delete { range, prev_kv } => {
                let (key, range_end) = self.range(range).unwrap_or_else(|| self.nothing());
                wire::Request::DeleteRange(wire::DeleteRangeRequest { key, range_end, prev_kv: *prev_kv })
            }
            Op::Put { key, value, lease, prev_kv } => wire::Request::Put(wire::PutRequest {
                key: self.key(key),
                value: value.clone(),
                lease: *lease,
                prev_kv: *prev_kv,
                ..wire::PutRequest::default()
            }),
            Op::Range(request) => wire::Request::Range(self.range_request(request)),
            Op::Txn(nested) => wire::Request::Txn(self.txn_request(nested)),
        }
    }

    fn compare(&self, compare: &Compare) -> wire::Compare {
        use wire::{CompareTarget as Target, TargetUnion as Given};
        let (op, target, given) = match compare {
            Compare::CreateRevision { op, revision, .. } => (op, Target::Create, Given::CreateRevision(*revision)),
            Compare::Lease { op, lease, .. } => (op, Target::Lease, Given::Lease(*lease)),
            Compare::ModRevision { op, revision, .. } => (op, Target::Mod, Given::ModRevision(*revision)),
            Compare::Value { op, value, .. } => (op, Target::Value, Given::Value(value.clone())),
            Compare::Version { op, version, .. } => (op, Target::Version, Given::Version(*version)),
        };
        let result = match op {
            Cmp::Equal => wire::CompareResult::Equal,
            Cmp::NotEqual => wire::CompareResult::NotEqual,
            Cmp::Greater => wire::CompareResult::Greater,
            Cmp::Less => wire::CompareResult::Less,
        };
        wire::Compare {
            result: result.into(),
            target: target.into(),
            key: self.key(compare.key()),
            target_union: Some(given),
            range_end: Bytes::new(),
        }
    }

    /// Key and value are copies: what was decoded shares the memory of its whole message, of which a key that lives long would
    /// keep all.
    pub fn key_value(&self, kv: wire::KeyValue) -> KeyValue {
        KeyValue {
            key: Bytes::copy_from_slice(&kv.key[self.prefix.len().min(kv.key.len())..]),
            value: Bytes::copy_from_slice(&kv.value),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }

    pub fn range_result(&self, response: wire::RangeResponse, revision: Revision) -> RangeResult {
        RangeResult {
            revision,
            kvs: response.kvs.into_iter().map(|kv| self.key_value(kv)).collect(),
            more: response.more,
            count: usize::try_from(response.count).unwrap_or(0),
        }
    }

    /// etcd leaves the revision out of nested answers, so it is counted here: the one before the transaction until
    /// something was written, then the one after it.
    pub fn txn_result(&self, response: wire::TxnResponse, revision: Revision) -> TxnResult {
        let mut counting = Counting { before: revision - i64::from(wrote(&response)), after: revision, wrote: false };
        self.one_txn(response, &mut counting)
    }

    fn one_txn(&self, response: wire::TxnResponse, counting: &mut Counting) -> TxnResult {
        let mut results = Vec::with_capacity(response.responses.len());
        for op in response.responses {
            results.push(match op.response {
                Some(wire::Response::DeleteRange(deleted)) => {
                    counting.wrote |= deleted.deleted > 0;
                    OpResult::Delete {
                        deleted: usize::try_from(deleted.deleted).unwrap_or(0),
                        prev: deleted.prev_kvs.into_iter().map(|kv| self.key_value(kv)).collect(),
                    }
                }
                Some(wire::Response::Put(put)) => {
                    counting.wrote = true;
                    OpResult::Put { prev: put.prev_kv.map(|kv| self.key_value(kv)) }
                }
                Some(wire::Response::Range(range)) => OpResult::Range(self.range_result(range, counting.now())),
                Some(wire::Response::Txn(nested)) => OpResult::Txn(self.one_txn(nested, counting)),
                // An empty nested transaction encodes as nothing in some versions of etcd.
                None => OpResult::Txn(TxnResult { revision: counting.now(), succeeded: true, results: Vec::new() }),
            });
        }
        TxnResult { revision: counting.now(), succeeded: response.succeeded, results }
    }

    /// An event, unless it is of the key that marks progress.
    pub fn event(&self, event: wire::Event) -> Option<Event> {
        let is_delete = event.r#type == i32::from(wire::EventType::Delete);
        let kv = self.key_value(event.kv?);
        let kind = if is_delete { EventKind::Delete } else { EventKind::Put };
        (!kv.key.is_empty()).then(|| Event { kind, kv, prev: event.prev_kv.map(|kv| self.key_value(kv)) })
    }

    /// The store's own keys among those that a lease holds, in byte order.
    pub fn lease_keys(&self, keys: Vec<Bytes>) -> Vec<Bytes> {
        let mut own: Vec<Bytes> = keys
            .into_iter()
            .filter_map(|mut key| {
                let own = key.starts_with(&self.prefix) && key.len() > self.prefix.len();
                own.then(|| {
                    key.advance(self.prefix.len());
                    key
                })
            })
            .collect();
        own.sort();
        own
    }
}

/// Which revision the operations of a transaction see.
struct Counting {
    before: Revision,
    after: Revision,
    wrote: bool,
}

impl Counting {
    fn now(&self) -> Revision {
        if self.wrote { self.after } else { self.before }
    }
}

fn wrote(response: &wire::TxnResponse) -> bool {
    response.responses.iter().any(|op| match &op.response {
        Some(wire::Response::DeleteRange(deleted)) => deleted.deleted > 0,
        Some(wire::Response::Put(_)) => true,
        Some(wire::Response::Txn(nested)) => wrote(nested),
        Some(wire::Response::Range(_)) | None => false,
    })
}

/// Whether carrying out a transaction twice is the same as once, whatever its comparisons decide.
pub(super) fn only_reads(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match op {
        Op::Delete { .. } | Op::Put { .. } => false,
        Op::Range(_) => true,
        Op::Txn(nested) => only_reads(nested),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_below_the_prefix_and_leave_the_mark_out() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let cases = [
            ("/p/", KeyRange::key("k"), Some((bytes("/p/k"), bytes("")))),
            ("/p/", KeyRange::all(), Some((bytes("/p/\0"), bytes("/p0")))),
            ("/p/", KeyRange::prefix("a"), Some((bytes("/p/a"), bytes("/p/b")))),
            ("/p/", KeyRange::from("a"), Some((bytes("/p/a"), bytes("/p0")))),
            ("/p/", KeyRange::span("", "b"), Some((bytes("/p/\0"), bytes("/p/b")))),
            ("/p/", KeyRange::span("b", "a"), None),
            ("/p/", KeyRange::span("", "\0"), None),
            ("", KeyRange::all(), Some((bytes("\0"), bytes("\0")))),
            ("", KeyRange::from("a"), Some((bytes("a"), bytes("\0")))),
            ("", KeyRange::span("a", ""), None),
        ];
        for (prefix, range, expected) in cases {
            assert_eq!(Convert::new(prefix).range(&range), expected, "{range:?} below {prefix:?}");
        }
    }
}
