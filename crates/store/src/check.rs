//! What can be said of a request without looking at what is stored, the same for every engine.
//!
//! The rules are those of etcd's `api/v3rpc/key.go`.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{Compare, End, KeyRange, Limits, MAX_TXN_OPS, Op, StoreError, Txn};

/// Refuses a range that names no key or too long a one.
pub(crate) fn range(range: &KeyRange, limits: &Limits) -> Result<(), StoreError> {
    match range.end() {
        End::Key => key(range.start(), limits),
        End::Prefix | End::Unbounded => key_length(range.start(), limits),
        End::Before(end) => {
            key_length(range.start(), limits)?;
            key_length(end, limits)
        }
    }
}

/// What a transaction asks for, in both branches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Keys and values.
    pub bytes: usize,
    pub puts: usize,
    pub deletes: usize,
}

/// Refuses a transaction that is too large, or that would write a key twice.
pub(crate) fn txn(txn: &Txn, limits: &Limits) -> Result<Size, StoreError> {
    let mut size = Size::default();
    one_txn(txn, limits, MAX_TXN_OPS, &mut size)?;
    if size.bytes > limits.request_bytes {
        return Err(StoreError::RequestTooLarge { bytes: size.bytes, limit: limits.request_bytes });
    }
    for branch in [&txn.success, &txn.failure] {
        // One operation that is not a transaction cannot collide with another.
        if branch.len() > 1 || matches!(branch.first(), Some(Op::Txn(_))) {
            writes(branch)?;
        }
    }
    Ok(size)
}

fn key(key: &Bytes, limits: &Limits) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::EmptyKey);
    }
    key_length(key, limits)
}

fn key_length(key: &Bytes, limits: &Limits) -> Result<(), StoreError> {
    if key.len() > limits.key_bytes {
        return Err(StoreError::KeyTooLong { bytes: key.len(), limit: limits.key_bytes });
    }
    Ok(())
}

/// A nested transaction may be as large as its parent leaves room for, which bounds the depth too.
fn one_txn(txn: &Txn, limits: &Limits, ops: usize, size: &mut Size) -> Result<(), StoreError> {
    let largest = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    let Some(left) = ops.checked_sub(largest) else {
        return Err(StoreError::TooManyOperations);
    };
    for compare in &txn.compare {
        key(compare.key(), limits)?;
        size.bytes += compare.key().len();
        if let Compare::Value { value, .. } = compare {
            size.bytes += value.len();
        }
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Delete { range: deleted, .. } => {
                range(deleted, limits)?;
                size.bytes += range_bytes(deleted);
                size.deletes += 1;
            }
            Op::Put { key: put, value, .. } => {
                key(put, limits)?;
                size.bytes += put.len() + value.len();
                size.puts += 1;
            }
            Op::Range(request) => {
                range(&request.range, limits)?;
                size.bytes += request.range.start().len();
            }
            Op::Txn(nested) => one_txn(nested, limits, left, size)?,
        }
    }
    Ok(())
}

fn range_bytes(range: &KeyRange) -> usize {
    range.start().len() + if let End::Before(end) = range.end() { end.len() } else { 0 }
}

/// The keys that one branch puts and the ranges that it deletes, whatever its nested transactions decide.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a Bytes>,
    deletes: Vec<&'a KeyRange>,
}

impl<'a> Writes<'a> {
    fn put(&mut self, key: &'a Bytes) -> Result<(), StoreError> {
        let deleted = self.deletes.iter().any(|range| range.contains(key));
        if deleted || !self.puts.insert(key) {
            return Err(StoreError::DuplicateKey);
        }
        Ok(())
    }
}

fn writes(ops: &[Op]) -> Result<Writes<'_>, StoreError> {
    let mut all = Writes::default();
    for op in ops {
        if let Op::Delete { range, .. } = op {
            all.deletes.push(range);
        }
    }
    for op in ops {
        let Op::Txn(nested) = op else { continue };
        let (success, failure) = (writes(&nested.success)?, writes(&nested.failure)?);
        // etcd forgets this order of the two, but no more than one event of a key may have one revision.
        let mut deletes = success.deletes.iter().chain(&failure.deletes);
        if deletes.any(|range| all.puts.iter().any(|key| range.contains(key))) {
            return Err(StoreError::DuplicateKey);
        }
        // Only one of the two branches is taken, so both may put the same key.
        for key in success.puts.union(&failure.puts) {
            all.put(key)?;
        }
        all.deletes.extend(success.deletes);
        all.deletes.extend(failure.deletes);
    }
    for op in ops {
        if let Op::Put { key, .. } = op {
            all.put(key)?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Limits {
        Limits { request_bytes: 20, key_bytes: 8, ..Limits::default() }
    }

    fn nested(success: Vec<Op>, failure: Vec<Op>) -> Op {
        Op::Txn(Box::new(Txn { compare: Vec::new(), success, failure }))
    }

    #[test]
    fn transactions_are_refused_as_etcd_refuses_them() {
        let put = |key: &'static str| Op::put(key, "v");
        let many = |n: usize| (0..n).map(|i| Op::put(format!("k{i}"), "")).collect::<Vec<_>>();
        let delete = |prefix: &'static str| Op::delete(KeyRange::prefix(prefix));
        let of = |ops: Vec<Op>| Txn { success: ops, ..Txn::default() };
        let cases = [
            ("nothing", of(vec![]), Ok(())),
            ("an empty key", of(vec![put("")]), Err(StoreError::EmptyKey)),
            ("a range of an empty key", of(vec![Op::get("")]), Err(StoreError::EmptyKey)),
            ("a comparison of an empty key", Txn::when(Compare::absent("")), Err(StoreError::EmptyKey)),
            ("a long key", of(vec![put("123456789")]), Err(StoreError::KeyTooLong { bytes: 9, limit: 8 })),
            (
                "a large value",
                of(vec![Op::put("k", "12345678901234567890")]),
                Err(StoreError::RequestTooLarge { bytes: 21, limit: 20 }),
            ),
            ("the same key twice", of(vec![put("a"), put("a")]), Err(StoreError::DuplicateKey)),
            ("two keys", of(vec![put("a"), put("b")]), Ok(())),
            ("a put of what is deleted", of(vec![put("a1"), delete("a")]), Err(StoreError::DuplicateKey)),
            ("two deletions of the same", of(vec![delete("a"), delete("a1")]), Ok(())),
            (
                "a key put in both branches of the top",
                Txn { success: vec![put("a")], failure: vec![put("a")], ..Txn::default() },
                Ok(()),
            ),
            ("a key put in both nested branches", of(vec![nested(vec![put("a")], vec![put("a")])]), Ok(())),
            (
                "a key put by two nested transactions",
                of(vec![nested(vec![put("a")], vec![]), nested(vec![], vec![put("a")])]),
                Err(StoreError::DuplicateKey),
            ),
            (
                "a key put by one nested transaction and deleted by the next",
                of(vec![nested(vec![put("a1")], vec![]), nested(vec![delete("a")], vec![])]),
                Err(StoreError::DuplicateKey),
            ),
            (
                "a key put in one nested branch and deleted in the other",
                of(vec![nested(vec![put("a1")], vec![delete("a")])]),
                Ok(()),
            ),
            (
                "a key put by parent and child",
                of(vec![nested(vec![put("a")], vec![]), put("a")]),
                Err(StoreError::DuplicateKey),
            ),
            (
                "a key put by the parent and deleted by the child",
                of(vec![put("a1"), nested(vec![], vec![delete("a")])]),
                Err(StoreError::DuplicateKey),
            ),
        ];
        for (name, given, expected) in cases {
            assert_eq!(txn(&given, &small()).map(drop), expected, "{name}");
        }
        let limits = Limits::default();
        assert_eq!(txn(&of(many(MAX_TXN_OPS)), &limits).map(|size| size.puts), Ok(MAX_TXN_OPS));
        assert_eq!(txn(&of(many(MAX_TXN_OPS + 1)), &limits).map(drop), Err(StoreError::TooManyOperations));
        let mut deep = of(vec![put("a")]);
        for _ in 0..MAX_TXN_OPS {
            deep = of(vec![Op::Txn(Box::new(deep))]);
        }
        assert_eq!(txn(&deep, &limits).map(drop), Err(StoreError::TooManyOperations));
    }
}
