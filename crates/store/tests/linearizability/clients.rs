//! Clients that meet: few keys, all kinds of operations, and transactions guarded by what the client has read before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use linear::{Answer, Call, Change, Guard, Held, Key, Outcome, Scope, Value};
use store::{Cmp, Compare, KeyRange, KeyValue, Op, RangeRequest, Store, StoreError, Txn};
use world::World;

use crate::record::Recorder;

/// Keys in all, and below each prefix.
pub const KEYS: Key = 8;
const KEYS_PER_PREFIX: Key = 4;

/// The client of operations that belong to none.
const NOBODY: usize = usize::MAX;

/// How much is asked for.
#[derive(Clone, Copy)]
pub struct Load {
    pub clients: usize,
    /// The number of the first client: values of clients of different numbers differ.
    pub first: usize,
    /// Per client.
    pub operations: usize,
    /// Some clients are cut off in the middle of an operation, whose outcome is then unknown.
    pub aborts: bool,
}

pub fn key(key: Key) -> Bytes {
    Bytes::from(format!("g{}/{}", key / KEYS_PER_PREFIX, key % KEYS_PER_PREFIX))
}

pub fn key_of(bytes: &[u8]) -> Key {
    let digit = |index: usize| Key::from(bytes[index] - b'0');
    digit(1) * KEYS_PER_PREFIX + digit(3)
}

/// Values are of different lengths, so that a wrong one is also wrongly long.
pub fn value(value: Value) -> Bytes {
    Bytes::from(format!("{value:016x}{}", "-".repeat(value as usize % 97)))
}

pub fn value_of(bytes: &[u8]) -> Value {
    let parsed = std::str::from_utf8(&bytes[..16]).ok().and_then(|digits| Value::from_str_radix(digits, 16).ok());
    let number = parsed.unwrap_or_else(|| panic!("not a value of this test: {bytes:?}"));
    assert_eq!(bytes, self::value(number), "a value changed");
    number
}

pub fn held(kv: &KeyValue) -> Held {
    let (created, modified, version) = (kv.create_revision, kv.mod_revision, kv.version);
    Held { value: value_of(&kv.value), created, modified, version }
}

fn range(scope: &Scope) -> KeyRange {
    let (first, last) = (*scope.start(), *scope.end());
    if first == last {
        KeyRange::key(key(first))
    } else if first % KEYS_PER_PREFIX == 0 && last == first + KEYS_PER_PREFIX - 1 {
        KeyRange::prefix(format!("g{}/", first / KEYS_PER_PREFIX))
    } else {
        KeyRange::span(key(first), [&key(last)[..], b"\0"].concat())
    }
}

/// One client. It remembers what it has read, to guard what it writes.
struct Client {
    world: World,
    store: Store,
    recorder: Recorder,
    number: usize,
    written: Value,
    read: BTreeMap<Key, Held>,
    /// Counts operations of all clients that a full disk refused.
    refused: Arc<AtomicUsize>,
}

impl Client {
    fn key(&self) -> Key {
        self.world.below(u64::from(KEYS)) as Key
    }

    fn scope(&self) -> Scope {
        match self.world.below(4) {
            0 => 0..=KEYS - 1,
            1 => {
                let first = self.world.below(u64::from(KEYS / KEYS_PER_PREFIX)) as Key * KEYS_PER_PREFIX;
                first..=first + KEYS_PER_PREFIX - 1
            }
            2 => {
                let (a, b) = (self.key(), self.key());
                a.min(b)..=a.max(b)
            }
            _ => {
                let key = self.key();
                key..=key
            }
        }
    }

    fn put(&mut self, key: Key) -> Change {
        self.written += 1;
        Change::Put(key, (self.number as Value) << 32 | self.written)
    }

    fn guard(&self, key: Key) -> Guard {
        match self.read.get(&key) {
            Some(held) if self.world.below(3) == 0 => Guard::Value(key, held.value),
            held => Guard::Modified(key, held.map_or(0, |held| held.modified)),
        }
    }

    fn call(&mut self) -> Call {
        match self.world.below(10) {
            0..=2 => Call::Read(self.scope()),
            3 | 4 => {
                let key = self.key();
                Call::Write { guards: Vec::new(), changes: vec![self.put(key)] }
            }
            5 => Call::Write { guards: Vec::new(), changes: vec![Change::Delete(self.scope())] },
            6 => {
                // A transaction over several keys: a deletion and puts outside of it.
                let (gone, first, second) = (self.key(), self.key(), self.key());
                let mut changes = vec![Change::Delete(gone..=gone)];
                for key in [first, second] {
                    if key != gone && changes.len() < 2 + usize::from(key != first) {
                        changes.push(self.put(key));
                    }
                }
                Call::Write { guards: Vec::new(), changes }
            }
            _ => {
                // Compare and swap over two keys. One is only compared sometimes: that is how writes skew.
                let (first, second) = (self.key(), self.key());
                let mut changes = vec![self.put(first)];
                if second != first && self.world.below(2) == 0 {
                    changes.push(self.put(second));
                }
                Call::Write { guards: vec![self.guard(first), self.guard(second)], changes }
            }
        }
    }

    /// False when the store is gone.
    async fn operate(&mut self, call: Call) -> bool {
        let operation = self.recorder.begin(self.number, call.clone());
        // Others may run between the call and its effect, and between the effect and the return.
        self.pause().await;
        let outcome = match ask(&self.store, &call).await {
            Ok(outcome) => outcome,
            // It has died, and what it was asked may have happened.
            Err(StoreError::Closed | StoreError::Stopped { .. }) => return false,
            Err(StoreError::DiskFull) => {
                self.recorder.refuse(operation);
                self.refused.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            Err(error) => panic!("client {}: {call:?}: {error}", self.number),
        };
        self.pause().await;
        if let (Call::Read(scope), Answer::Read(keys)) = (&call, &outcome.answer) {
            self.read.retain(|key, _| !scope.contains(key));
            self.read.extend(keys.iter().copied());
        }
        self.recorder.end(operation, outcome);
        true
    }

    async fn pause(&self) {
        for _ in 0..self.world.below(3) {
            self.world.yield_now().await;
        }
    }

    /// Counts itself in `ended` unless it panics, which a task of the real world does unheard.
    async fn run(mut self, operations: usize, ended: Arc<AtomicUsize>) {
        for _ in 0..operations {
            let call = self.call();
            if !self.operate(call).await {
                break;
            }
        }
        ended.fetch_add(1, Ordering::Relaxed);
    }
}

async fn ask(store: &Store, call: &Call) -> Result<Outcome, StoreError> {
    match call {
        Call::Read(scope) => {
            let result = store.range(RangeRequest::new(range(scope))).await?;
            let keys = result.kvs.iter().map(|kv| (key_of(&kv.key), held(kv))).collect();
            Ok(Outcome { revision: Some(result.revision), answer: Answer::Read(keys) })
        }
        Call::Write { guards, changes } => {
            let compare = guards.iter().map(|guard| match guard {
                Guard::Modified(name, revision) => Compare::unchanged(key(*name), *revision),
                Guard::Value(name, number) => Compare::Value { key: key(*name), op: Cmp::Equal, value: value(*number) },
            });
            let success = changes.iter().map(|change| match change {
                Change::Delete(scope) => Op::delete(range(scope)),
                Change::Put(name, number) => Op::put(key(*name), value(*number)),
            });
            let txn = Txn { compare: compare.collect(), success: success.collect(), failure: Vec::new() };
            let result = store.txn(txn).await?;
            Ok(Outcome { revision: Some(result.revision), answer: Answer::Written(result.succeeded) })
        }
    }
}

/// Runs all clients to their end, which is that of the store if it dies before.
///
/// Returns how many operations a full disk refused.
pub async fn run(world: &World, store: &Store, recorder: &Recorder, load: Load) -> usize {
    let refused = Arc::new(AtomicUsize::new(0));
    let (mut tasks, ended) = (Vec::new(), Arc::new(AtomicUsize::new(0)));
    for number in load.first..load.first + load.clients {
        let client = Client {
            world: world.clone(),
            store: store.clone(),
            recorder: recorder.clone(),
            number,
            written: 0,
            read: BTreeMap::new(),
            refused: refused.clone(),
        };
        tasks.push(world.spawn("client", client.run(load.operations, ended.clone())));
    }
    if load.aborts {
        for task in tasks.iter().step_by(2) {
            for _ in 0..world.below(60) {
                world.yield_now().await;
            }
            task.abort();
        }
    }
    for task in tasks {
        task.finished().await;
    }
    assert!(load.aborts || ended.load(Ordering::Relaxed) == load.clients, "a client has panicked, see above");
    refused.load(Ordering::Relaxed)
}

/// Reads all keys, as an operation of the history.
pub async fn read_all(world: &World, store: &Store, recorder: &Recorder) {
    let (world, store, recorder) = (world.clone(), store.clone(), recorder.clone());
    let (read, refused) = (BTreeMap::new(), Arc::default());
    let mut client = Client { world, store, recorder, number: NOBODY, written: 0, read, refused };
    assert!(client.operate(Call::Read(0..=KEYS - 1)).await, "the store is gone");
}
