//! What each writer does, as a function of the seed: the child that is killed and the parent that checks both know it, so
//! that a report is a number, and what was in flight at the kill is known as well.
//!
//! Each writer has keys of its own and does one thing at a time. So its part of the store must be what its operations up to
//! the last reported one give, or one more: whole, or not at all.

use std::collections::BTreeMap;

use bytes::Bytes;
use store::{KeyRange, LeaseId, Op, Txn};

/// Writers of one child, each a task.
pub const WRITERS: u64 = 8;

/// Keys that a writer puts and deletes one at a time.
const SINGLES: u64 = 6;

/// Keys that a writer only writes all at once.
const TOGETHER: u64 = 5;

/// Values have between these many bytes: less than a page, and several.
const VALUE_BYTES: std::ops::Range<u64> = 200..6_000;

/// Long enough that no lease of a writer runs out while it is looked at.
pub const LONG_TTL_SECONDS: u64 = 3_600;

/// One operation of one writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Forgets what is older than so many revisions.
    Compact {
        keep: i64,
    },
    Delete {
        range: KeyRange,
    },
    /// Grants a lease of one second and binds a key to it, which nobody deletes but time.
    Expire {
        id: LeaseId,
    },
    Grant {
        id: LeaseId,
    },
    /// Puts one key, bound to a lease or to [`store::NO_LEASE`].
    Put {
        key: Bytes,
        lease: LeaseId,
    },
    Revoke {
        id: LeaseId,
    },
    /// Puts several keys at one revision.
    Together {
        keys: Vec<Bytes>,
    },
}

/// A generator of which every draw is a function of its arguments (SplitMix64's mixing).
pub fn draw(seed: u64, writer: u64, sequence: u64, what: u64) -> u64 {
    let mut mixed = seed;
    for part in [writer, sequence, what] {
        mixed = mixed.wrapping_add(part.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    mixed
}

/// What every key of a writer begins with.
pub fn prefix(writer: u64) -> String {
    format!("w{writer}/")
}

fn single(writer: u64, number: u64) -> Bytes {
    Bytes::from(format!("w{writer}/single/{number}"))
}

fn together(writer: u64) -> Vec<Bytes> {
    (0..TOGETHER).map(|number| Bytes::from(format!("w{writer}/together/{number}"))).collect()
}

/// The lease that a writer grants, binds keys to and revokes, over and over.
fn lease(writer: u64) -> LeaseId {
    1_000 + writer as LeaseId
}

/// Where the key of an expiring lease is. Outside of all writers' prefixes: when it ends is the clock's affair.
pub fn expiring(id: LeaseId) -> Bytes {
    Bytes::from(format!("expiring/{id}"))
}

/// The operation of `writer` that comes after `sequence` others. `leased` is whether its lease is granted.
pub fn step(seed: u64, writer: u64, sequence: u64, leased: bool) -> Step {
    let below = |what, bound| draw(seed, writer, sequence, what) % bound;
    let key = single(writer, below(1, SINGLES));
    match below(0, 100) {
        0..=54 => Step::Put { key, lease: store::NO_LEASE },
        55..=64 if leased => Step::Put { key, lease: lease(writer) },
        65..=69 if leased => Step::Revoke { id: lease(writer) },
        55..=69 => Step::Grant { id: lease(writer) },
        70..=84 => Step::Together { keys: together(writer) },
        85..=93 => Step::Delete { range: KeyRange::key(key) },
        94 | 95 => Step::Delete { range: KeyRange::prefix(prefix(writer)) },
        96 | 97 => Step::Compact { keep: below(2, 200) as i64 },
        _ => Step::Expire { id: (1_000_000 * (writer + 1) + sequence) as LeaseId },
    }
}

/// The bytes that an operation puts: they say who wrote them and when, and all of them depend on it.
pub fn value(seed: u64, writer: u64, sequence: u64) -> Bytes {
    let length = VALUE_BYTES.start + draw(seed, writer, sequence, 3) % (VALUE_BYTES.end - VALUE_BYTES.start);
    let mut bytes = format!("writer {writer} sequence {sequence} length {length} ").into_bytes();
    let mut block = 0;
    while bytes.len() < length as usize {
        bytes.extend_from_slice(&draw(seed, writer, sequence, 4 + block).to_le_bytes());
        block += 1;
    }
    bytes.truncate(length as usize);
    Bytes::from(bytes)
}

impl Step {
    /// The transaction that it is, if it is one.
    pub fn txn(&self, value: Bytes) -> Option<Txn> {
        match self {
            Step::Delete { range } => Some(Txn::of(Op::delete(range.clone()))),
            Step::Put { key, lease } => {
                Some(Txn::of(Op::Put { key: key.clone(), value, lease: *lease, prev_kv: false }))
            }
            Step::Together { keys } => {
                let success = keys.iter().map(|key| Op::put(key.clone(), value.clone())).collect();
                Some(Txn { success, ..Txn::default() })
            }
            Step::Compact { .. } | Step::Expire { .. } | Step::Grant { .. } | Step::Revoke { .. } => None,
        }
    }
}

/// What a writer's part of the store is after some of its operations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Which operation wrote each key, and the lease of it.
    pub keys: BTreeMap<Bytes, (u64, LeaseId)>,
    pub leased: bool,
}

impl Part {
    /// Does an operation to it.
    pub fn apply(&mut self, sequence: u64, step: &Step) {
        match step {
            Step::Compact { .. } | Step::Expire { .. } => {}
            Step::Delete { range } => self.keys.retain(|key, _| !range.contains(key)),
            Step::Grant { .. } => self.leased = true,
            Step::Put { key, lease } => drop(self.keys.insert(key.clone(), (sequence, *lease))),
            Step::Revoke { id } => {
                self.leased = false;
                self.keys.retain(|_, (_, lease)| lease != id);
            }
            Step::Together { keys } => {
                self.keys.extend(keys.iter().map(|key| (key.clone(), (sequence, store::NO_LEASE))));
            }
        }
    }

    /// The id of the writer's lease when it is granted.
    pub fn lease(&self, writer: u64) -> Option<LeaseId> {
        self.leased.then(|| lease(writer))
    }
}
