//! One version of one key in one allocation: the only form in which the engine holds keys and values.
//!
//! Index, history and the answers to clients share the allocation; nothing here copies it again.

use std::sync::Arc;

use bytes::Bytes;

use crate::{KeyValue, LeaseId, Revision};

/// Bytes before the key: create revision, revision, version, lease (eight each), length of the key (four).
const HEADER: usize = 36;

/// What an allocation costs beside its bytes: the counts of its references and the allocator's own.
const OVERHEAD: u64 = 32;

/// See the module. A deletion is a record of version 0.
#[derive(Clone)]
pub(crate) struct Record(Arc<[u8]>);

impl AsRef<[u8]> for Record {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The numbers of a [`Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub create_revision: Revision,
    pub mod_revision: Revision,
    pub version: i64,
    pub lease: LeaseId,
}

impl Record {
    pub fn new(stamp: Stamp, key: &[u8], value: &[u8]) -> Record {
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, HEADER + key.len() + value.len()).collect();
        let all = Arc::get_mut(&mut bytes).expect("an allocation that was just made has one owner");
        all[0..8].copy_from_slice(&stamp.create_revision.to_le_bytes());
        all[8..16].copy_from_slice(&stamp.mod_revision.to_le_bytes());
        all[16..24].copy_from_slice(&stamp.version.to_le_bytes());
        all[24..32].copy_from_slice(&stamp.lease.to_le_bytes());
        // A key is shorter than a request, which is far below four gigabytes.
        all[32..36].copy_from_slice(&(key.len() as u32).to_le_bytes());
        all[HEADER..HEADER + key.len()].copy_from_slice(key);
        all[HEADER + key.len()..].copy_from_slice(value);
        Record(bytes)
    }

    /// A record from the bytes of one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Record> {
        let key = u32::from_le_bytes(bytes.get(32..HEADER)?.try_into().ok()?) as usize;
        (key > 0 && key <= bytes.len() - HEADER).then(|| Record(Arc::from(bytes)))
    }

    /// The deletion of `key` at `revision`.
    pub fn tombstone(key: &[u8], revision: Revision) -> Record {
        Record::new(Stamp { create_revision: 0, mod_revision: revision, version: 0, lease: 0 }, key, &[])
    }

    fn number(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    pub fn stamp(&self) -> Stamp {
        Stamp {
            create_revision: self.create_revision(),
            mod_revision: self.mod_revision(),
            version: self.version(),
            lease: self.lease(),
        }
    }

    pub fn create_revision(&self) -> Revision {
        self.number(0)
    }

    pub fn mod_revision(&self) -> Revision {
        self.number(8)
    }

    pub fn version(&self) -> i64 {
        self.number(16)
    }

    pub fn lease(&self) -> LeaseId {
        self.number(24)
    }

    pub fn is_tombstone(&self) -> bool {
        self.version() == 0
    }

    fn value_at(&self) -> usize {
        HEADER + u32::from_le_bytes(self.0[32..36].try_into().expect("four bytes")) as usize
    }

    pub fn key(&self) -> &[u8] {
        &self.0[HEADER..self.value_at()]
    }

    pub fn value(&self) -> &[u8] {
        &self.0[self.value_at()..]
    }

    /// Memory that it takes, in bytes.
    pub fn cost(&self) -> u64 {
        self.0.len() as u64 + OVERHEAD
    }

    /// Key and value as bytes that share the record's memory.
    pub fn to_key_value(&self, with_value: bool) -> KeyValue {
        let (all, value_at) = (Bytes::from_owner(self.clone()), self.value_at());
        let stamp = self.stamp();
        KeyValue {
            key: all.slice(HEADER..value_at),
            value: if with_value { all.slice(value_at..) } else { Bytes::new() },
            create_revision: stamp.create_revision,
            mod_revision: stamp.mod_revision,
            version: stamp.version,
            lease: stamp.lease,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_back_what_it_was_made_of_without_copying() {
        let stamp = Stamp { create_revision: 3, mod_revision: 5, version: 2, lease: -7 };
        let record = Record::new(stamp, b"key", b"value");
        assert_eq!((record.stamp(), record.key(), record.value()), (stamp, &b"key"[..], &b"value"[..]));
        let kv = record.to_key_value(true);
        assert_eq!((&kv.key[..], &kv.value[..], kv.lease), (&b"key"[..], &b"value"[..], -7));
        assert_eq!(kv.value.as_ptr(), record.value().as_ptr());
        assert_eq!(record.to_key_value(false).value, Bytes::new());
        let gone = Record::tombstone(b"key", 9);
        assert!(gone.is_tombstone() && gone.value().is_empty() && gone.mod_revision() == 9);
    }
}
