//! What one transaction, lease or compaction looks like in the log: what was decided, not what was asked, so that replaying
//! needs no clock and compares nothing.
//!
//! Numbers are LEB128, byte strings have their length before them. The revision of an item is not written: each one that changes
//! a key is the next.

use bytes::Bytes;

use crate::{End, KeyRange, LeaseId, Revision};

const TXN: u8 = 1;
const GRANT: u8 = 2;
const REVOKE: u8 = 3;
const COMPACT: u8 = 4;

const END: u8 = 0;
const PUT: u8 = 1;
const DELETE_KEY: u8 = 2;
const DELETE_PREFIX: u8 = 3;
const DELETE_SPAN: u8 = 4;
const DELETE_FROM: u8 = 5;

/// The most that a write adds to its key and value: tag, lease and two lengths.
pub(crate) const WRITE_OVERHEAD: usize = 1 + 10 + 5 + 5;

/// The most that an item adds to its writes, and the most that one without writes takes.
pub(crate) const ITEM_OVERHEAD: usize = 24;

/// One entry of the log, as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Txn(Vec<Write>),
    Grant { id: LeaseId, ttl_seconds: u64 },
    Revoke { id: LeaseId },
    Compact { revision: Revision },
}

/// One write of a transaction, in the order in which they were carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    Put { key: Bytes, value: Bytes, lease: LeaseId },
    Delete(KeyRange),
}

/// The bytes are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an item cannot be decoded")]
pub(crate) struct Malformed;

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes a transaction's writes as they happen. Nothing is left of one that wrote nothing.
pub(crate) struct TxnEncoder {
    start: usize,
    writes: usize,
}

impl TxnEncoder {
    pub fn begin(out: &mut Vec<u8>) -> TxnEncoder {
        let start = out.len();
        out.push(TXN);
        TxnEncoder { start, writes: 0 }
    }

    pub fn put(&mut self, out: &mut Vec<u8>, key: &[u8], value: &[u8], lease: LeaseId) {
        self.writes += 1;
        out.push(PUT);
        // As unsigned, so that the usual lease, none, takes one byte.
        number(out, lease as u64);
        string(out, key);
        string(out, value);
    }

    pub fn delete(&mut self, out: &mut Vec<u8>, range: &KeyRange) {
        self.writes += 1;
        let tag = match range.end() {
            End::Key => DELETE_KEY,
            End::Prefix => DELETE_PREFIX,
            End::Before(_) => DELETE_SPAN,
            End::Unbounded => DELETE_FROM,
        };
        out.push(tag);
        string(out, range.start());
        if let End::Before(end) = range.end() {
            string(out, end);
        }
    }

    /// Whether anything was written.
    pub fn finish(self, out: &mut Vec<u8>) -> bool {
        if self.writes == 0 {
            out.truncate(self.start);
            return false;
        }
        out.push(END);
        true
    }
}

pub(crate) fn encode_grant(out: &mut Vec<u8>, id: LeaseId, ttl_seconds: u64) {
    out.push(GRANT);
    number(out, id as u64);
    number(out, ttl_seconds);
}

pub(crate) fn encode_revoke(out: &mut Vec<u8>, id: LeaseId) {
    out.push(REVOKE);
    number(out, id as u64);
}

pub(crate) fn encode_compact(out: &mut Vec<u8>, revision: Revision) {
    out.push(COMPACT);
    number(out, revision as u64);
}

/// Takes items off the front of bytes that share the memory of their keys and values.
pub(crate) struct Items(pub Bytes);

impl Items {
    /// The next item; none at the end.
    pub fn next(&mut self) -> Result<Option<Item>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        Ok(Some(match self.tag()? {
            TXN => Item::Txn(self.writes()?),
            GRANT => Item::Grant { id: self.number()? as LeaseId, ttl_seconds: self.number()? },
            REVOKE => Item::Revoke { id: self.number()? as LeaseId },
            COMPACT => Item::Compact { revision: self.number()? as Revision },
            _ => return Err(Malformed),
        }))
    }

    fn writes(&mut self) -> Result<Vec<Write>, Malformed> {
        let mut writes = Vec::new();
        loop {
            let range = match self.tag()? {
                END => return if writes.is_empty() { Err(Malformed) } else { Ok(writes) },
                PUT => {
                    let lease = self.number()? as LeaseId;
                    writes.push(Write::Put { lease, key: self.key()?, value: self.string()? });
                    continue;
                }
                DELETE_KEY => KeyRange::key(self.key()?),
                DELETE_PREFIX => KeyRange::prefix(self.string()?),
                DELETE_SPAN => KeyRange::span(self.string()?, self.string()?),
                DELETE_FROM => KeyRange::from(self.string()?),
                _ => return Err(Malformed),
            };
            writes.push(Write::Delete(range));
        }
    }

    fn tag(&mut self) -> Result<u8, Malformed> {
        let tag = *self.0.first().ok_or(Malformed)?;
        let _ = self.0.split_to(1);
        Ok(tag)
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for (i, byte) in self.0.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            value |= bits.checked_shl(7 * i as u32).filter(|shifted| shifted >> (7 * i) == bits).ok_or(Malformed)?;
            if byte & 0x80 == 0 {
                let _ = self.0.split_to(i + 1);
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn string(&mut self) -> Result<Bytes, Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        if length > self.0.len() {
            return Err(Malformed);
        }
        Ok(self.0.split_to(length))
    }

    fn key(&mut self) -> Result<Bytes, Malformed> {
        self.string().and_then(|key| if key.is_empty() { Err(Malformed) } else { Ok(key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut out = Vec::new();
        let mut txn = TxnEncoder::begin(&mut out);
        txn.put(&mut out, b"k", b"value", -3);
        let ranges = [
            KeyRange::key("a"),
            KeyRange::prefix("b/"),
            KeyRange::all(),
            KeyRange::span("c", "x"),
            KeyRange::from("d"),
        ];
        for range in &ranges {
            txn.delete(&mut out, range);
        }
        assert!(txn.finish(&mut out));
        encode_grant(&mut out, i64::MAX, 300);
        encode_revoke(&mut out, i64::MIN);
        encode_compact(&mut out, 77);
        let before = out.len();
        assert!(!TxnEncoder::begin(&mut out).finish(&mut out) && out.len() == before, "nothing is left of nothing");

        let mut items = Items(Bytes::from(out.clone()));
        let mut expected = vec![Write::Put { key: "k".into(), value: "value".into(), lease: -3 }];
        expected.extend(ranges.map(Write::Delete));
        assert_eq!(items.next(), Ok(Some(Item::Txn(expected))));
        assert_eq!(items.next(), Ok(Some(Item::Grant { id: i64::MAX, ttl_seconds: 300 })));
        assert_eq!(items.next(), Ok(Some(Item::Revoke { id: i64::MIN })));
        assert_eq!(items.next(), Ok(Some(Item::Compact { revision: 77 })));
        assert_eq!(items.next(), Ok(None));

        let first = out.len() - 2;
        for cut in 1..first {
            let mut items = Items(Bytes::copy_from_slice(&out[..cut]));
            while let Ok(Some(_)) = items.next() {}
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let cases: [&[u8]; 8] = [
            &[9],
            &[TXN, END],
            &[TXN, PUT],
            &[TXN, PUT, 0, 0, 0, END],
            &[TXN, DELETE_KEY, 200, 1, b'k'],
            &[GRANT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1],
            &[COMPACT, 0x80],
            &[TXN, 77],
        ];
        for bytes in cases {
            assert_eq!(Items(Bytes::copy_from_slice(bytes)).next(), Err(Malformed), "{bytes:?}");
        }
    }
}
