//! What clients did and saw: plain data, recorded outside of the store.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Names a key. Keys with neighbouring numbers are neighbours in the store, so that a prefix is a range of numbers.
pub type Key = u16;

/// Stands for the bytes of a value. A writer should use each only once: then no read can be right by accident.
pub type Value = u64;

/// The revision counter of the store.
pub type Revision = i64;

/// A moment on a clock that all clients of a history share; only the order matters.
pub type Time = u64;

/// The keys that a range or a deletion is about.
pub type Scope = RangeInclusive<Key>;

/// One version of one key, as a client reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    pub value: Value,
    /// Where the key came into being after its last deletion.
    pub created: Revision,
    /// Where this version was written.
    pub modified: Revision,
    /// 1 for the first version since the key came into being.
    pub version: i64,
}

/// A condition of a transaction on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// The key was last written at this revision; 0 is a key that does not exist.
    Modified(Key, Revision),
    /// The key has this value.
    Value(Key, Value),
}

/// A change that a transaction makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Delete(Scope),
    Put(Key, Value),
}

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// All keys of a range, now.
    Read(Scope),
    /// All changes at one revision if all guards hold, else nothing. A put, a deletion and a compare-and-swap are cases.
    Write { guards: Vec<Guard>, changes: Vec<Change> },
}

/// What the store answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Read(Vec<(Key, Held)>),
    /// Whether the guards held.
    Written(bool),
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The store's revision after the operation. When absent, revisions and versions are not compared, only values.
    pub revision: Option<Revision>,
    pub answer: Answer,
}

/// One operation of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub client: usize,
    pub call: Call,
    pub invoked: Time,
    /// When the answer came. Without an outcome: when the store crashed, after which the operation can no longer take
    /// effect; absent when it still may.
    pub returned: Option<Time>,
    /// Absent when nobody knows: then it took effect, as a whole, or it never did.
    pub outcome: Option<Outcome>,
}

/// What a watch of all keys delivered: the changes of every revision from `from` to `to`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    pub from: Revision,
    pub to: Revision,
    /// Each key's new value, or nothing for a deletion, in the order of keys.
    pub changes: BTreeMap<Revision, BTreeMap<Key, Option<Value>>>,
}

/// Everything that is judged together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    pub operations: Vec<Operation>,
    /// When present, the order found must be the one that the watch delivered.
    pub log: Option<Log>,
}
