//! The durable engine on a disk that crashes, tears, reorders, fails, fills up and flips bits.
//!
//! Several writers send self-describing changes; what was acknowledged is kept outside of the store. After every fault the store is
//! opened again and must hold every acknowledged change at its revision, and of the others each whole or not at all.

#[allow(dead_code)] // Every test file has its own copy of this module, and not all of them use all of it.
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use store::*;
use world::World;

/// A change of some keys: a value, or none for a deletion. In the order of events.
type Changes = Vec<(Bytes, Option<Bytes>)>;

/// What clients know, whatever happens to the store.
#[derive(Default)]
struct Known {
    acknowledged: BTreeMap<Revision, Changes>,
    /// Puts that were sent and not answered, by the value of their first key.
    unknown: BTreeMap<Bytes, Changes>,
    /// Deletions that were sent and not answered.
    unknown_deletions: Vec<KeyRange>,
    /// What a watcher was told, or a later life of the store was seen to hold.
    found: BTreeMap<Revision, Changes>,
    counter: u64,
}

type Shared = Arc<Mutex<Known>>;

fn options() -> DiskOptions {
    support::small_disk(Limits { history_revisions: 1_000_000, ..Limits::default() })
}

async fn open(world: &World, disk: &SimulatedDisk) -> Result<Store, OpenError> {
    Store::open(world, Disk::simulated(disk), options()).await
}

/// One writer: puts of one or more keys in one transaction, deletions, leases and compactions, until the store stops.
async fn write(world: World, store: Store, known: Shared, steps: u64) {
    for _ in 0..steps {
        let outcome = match world.below(20) {
            0 => lease(&world, &store, &known).await,
            1 => match store.compact((store.revision() - 60).max(1)).await {
                Err(StoreError::Compacted { .. } | StoreError::FutureRevision { .. }) => Ok(()),
                outcome => outcome,
            },
            2 | 3 => delete(&world, &store, &known).await,
            _ => put(&world, &store, &known).await,
        };
        match outcome {
            Ok(()) => {}
            Err(StoreError::Stopped { .. } | StoreError::Closed) => return,
            Err(error) => panic!("{error:?}"),
        }
        if world.below(4) == 0 {
            world.sleep(Duration::from_micros(world.below(500))).await;
        }
    }
}

fn key(world: &World) -> Bytes {
    Bytes::from(format!("k/{:02}", world.below(30)))
}

async fn put(world: &World, store: &Store, known: &Shared) -> Result<(), StoreError> {
    let mut changes: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
    let number = {
        let mut known = known.lock().unwrap();
        known.counter += 1;
        known.counter
    };
    for part in 0..1 + world.below(3) {
        let filler = "x".repeat(world.below(200) as usize);
        changes.insert(key(world), Some(Bytes::from(format!("{number}/{part}/{filler}"))));
    }
    let changes: Changes = changes.into_iter().collect();
    let first = changes[0].1.clone().unwrap();
    known.lock().unwrap().unknown.insert(first.clone(), changes.clone());
    let mut txn = Txn::default();
    for (key, value) in &changes {
        txn = txn.then(Op::put(key.clone(), value.clone().unwrap()));
    }
    let result = store.txn(txn).await?;
    let mut known = known.lock().unwrap();
    known.unknown.remove(&first);
    assert!(known.acknowledged.insert(result.revision, changes).is_none(), "a revision is given once");
    Ok(())
}

/// A lease with a key of its own, which is mostly revoked: its key goes with it.
async fn lease(world: &World, store: &Store, known: &Shared) -> Result<(), StoreError> {
    let id = store.lease_grant(Duration::from_secs(1_000), None).await?.id;
    let key = Bytes::from(format!("lease/{id}"));
    let changes: Changes = vec![(key.clone(), Some(key.clone()))];
    known.lock().unwrap().unknown.insert(key.clone(), changes.clone());
    let put = Op::Put { key: key.clone(), value: key.clone(), lease: id, prev_kv: false };
    let revision = store.txn(Txn::of(put)).await?.revision;
    {
        let mut known = known.lock().unwrap();
        known.unknown.remove(&key);
        known.acknowledged.insert(revision, changes);
    }
    if world.below(3) > 0 {
        known.lock().unwrap().unknown_deletions.push(KeyRange::key(key.clone()));
        store.lease_revoke(id).await?;
        assert_eq!(store.get(key).await?, None, "a key is gone when its lease is");
    }
    Ok(())
}

/// Writes down what a watcher is told: it must be there for ever after.
async fn record(mut watcher: Watcher, known: Shared) {
    loop {
        match watcher.next().await {
            Ok(batch) => {
                let mut known = known.lock().unwrap();
                let told = by_revision(batch.events);
                known.found.extend(told);
            }
            Err(WatchError::Closed) => return,
            Err(error) => panic!("the recorder is too slow: {error}"),
        }
    }
}

fn by_revision(events: Vec<Event>) -> BTreeMap<Revision, Changes> {
    let mut history: BTreeMap<Revision, Changes> = BTreeMap::new();
    for event in events {
        let value = (event.kind == EventKind::Put).then_some(event.kv.value);
        history.entry(event.kv.mod_revision).or_default().push((event.kv.key, value));
    }
    history
}

async fn delete(world: &World, store: &Store, known: &Shared) -> Result<(), StoreError> {
    let range =
        if world.below(2) == 0 { KeyRange::key(key(world)) } else { KeyRange::prefix(format!("k/{}", world.below(3))) };
    known.lock().unwrap().unknown_deletions.push(range.clone());
    let txn = Txn::of(Op::Delete { range: range.clone(), prev_kv: true });
    let result = store.txn(txn).await?;
    let mut known = known.lock().unwrap();
    let sent = known.unknown_deletions.iter().position(|other| *other == range).unwrap();
    known.unknown_deletions.swap_remove(sent);
    let OpResult::Delete { prev, .. } = &result.results[0] else { panic!("{result:?}") };
    if !prev.is_empty() {
        let changes = prev.iter().map(|kv| (kv.key.clone(), None)).collect();
        assert!(known.acknowledged.insert(result.revision, changes).is_none());
    }
    Ok(())
}

/// What a watch from the beginning of history says, by revision.
async fn history(store: &Store) -> BTreeMap<Revision, Changes> {
    let (from, last) = (store.compacted().max(1), store.revision());
    let request = WatchRequest { from: Some(from), ..WatchRequest::new(KeyRange::all()) };
    let mut watcher = store.watch(request).await.unwrap();
    let mut history: BTreeMap<Revision, Changes> = BTreeMap::new();
    // Every revision has an event, so the last one comes.
    while last > 1 && history.last_key_value().is_none_or(|(revision, _)| *revision < last) {
        history.extend(by_revision(watcher.next().await.unwrap().events));
    }
    history
}

/// Compares a store that was opened again with what clients know.
async fn verify(store: &Store, known: &Shared) {
    let history = history(store).await;
    let expected = expected(&history, &mut known.lock().unwrap(), store.revision());
    let kvs = store.range(RangeRequest::new(KeyRange::all())).await.unwrap().kvs;
    let held: BTreeMap<Bytes, (Bytes, Revision)> =
        kvs.into_iter().map(|kv| (kv.key, (kv.value, kv.mod_revision))).collect();
    assert_eq!(held, expected);
}

/// What a store at a revision must hold, if this is its history.
fn expected(
    history: &BTreeMap<Revision, Changes>,
    known: &mut Known,
    at: Revision,
) -> BTreeMap<Bytes, (Bytes, Revision)> {
    for told in [&known.acknowledged, &known.found] {
        let last = told.last_key_value().map_or(1, |(revision, _)| *revision);
        assert!(at >= last, "revision {last}, which clients know, is lost: {at}");
    }
    for (revision, changes) in history {
        let (acknowledged, found) = (known.acknowledged.get(revision), known.found.get(revision));
        for expected in acknowledged.iter().chain(&found) {
            assert_eq!(changes, *expected, "revision {revision}");
        }
        if acknowledged.is_some() || found.is_some() {
            continue;
        }
        let deletion = changes.iter().all(|(_, value)| value.is_none());
        if deletion {
            let covers = |range: &KeyRange| changes.iter().all(|(key, _)| range.contains(key));
            assert!(known.unknown_deletions.iter().any(covers), "revision {revision} deletes what nobody deleted");
        } else {
            let first = changes[0].1.clone().unwrap();
            let sent = known.unknown.remove(&first);
            assert_eq!(Some(changes), sent.as_ref(), "revision {revision} is half there, or twice, or was never sent");
        }
        known.found.insert(*revision, changes.clone());
    }
    // What is not found now must never appear later.
    known.unknown.clear();
    known.unknown_deletions.clear();
    let mut expected: BTreeMap<Bytes, (Bytes, Revision)> = BTreeMap::new();
    let all: BTreeMap<Revision, Changes> = known.acknowledged.clone().into_iter().chain(known.found.clone()).collect();
    assert_eq!(all.len() as i64, at - 1, "every revision is known");
    for (revision, changes) in all {
        for (key, value) in changes {
            match value {
                Some(value) => drop(expected.insert(key, (value, revision))),
                None => drop(expected.remove(&key)),
            }
        }
    }
    expected
}

/// Opens, verifies, writes with several writers at once until all are done or the store stops, and ends the store.
async fn live(world: &World, disk: &SimulatedDisk, known: &Shared, steps: u64) -> Result<(), OpenError> {
    let store = open(world, disk).await?;
    verify(&store, known).await;
    let recorder = world.tasks("recorder");
    let request = WatchRequest { from: Some(store.revision() + 1), ..WatchRequest::new(KeyRange::all()) };
    if let Ok(watcher) = store.watch(request).await {
        recorder.spawn("recorder", record(watcher, known.clone()));
    }
    let tasks = world.tasks("writers");
    for _ in 0..4 {
        tasks.spawn("writer", write(world.clone(), store.clone(), known.clone(), steps));
    }
    while !tasks.is_empty() {
        world.sleep(Duration::from_millis(1)).await;
    }
    store.shutdown().await;
    while !recorder.is_empty() {
        world.sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// One life that ends at an operation of the disk, one more that ends well, and a last look.
fn crash_at(seed: u64, operation: u64, steps: u64) -> bool {
    let (world, mut simulation) = World::simulated(seed);
    let disk = SimulatedDisk::new(seed ^ operation << 32);
    let known = Shared::default();
    let latency = Duration::from_micros(100);
    disk.set_faults(Faults { crash_at: Some(operation), sync_latency: latency, ..Faults::default() });
    simulation.block_on(async {
        // The crash may come while the store is opened.
        let first = live(&world, &disk, &known, steps).await;
        let crashed = disk.has_crashed();
        assert!(first.is_ok() || crashed, "{first:?}");
        disk.restart();
        live(&world, &disk, &known, 5)
            .await
            .unwrap_or_else(|error| panic!("seed {seed}, operation {operation}: {error}"));
        let store = open(&world, &disk).await.unwrap();
        verify(&store, &known).await;
        store.shutdown().await;
        crashed
    })
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    let mut crashes = 0;
    for seed in 0..6 {
        let mut operation = 0;
        println!("seed {seed}");
        // Until the run is over before the crash comes.
        while crash_at(seed, operation, 60) {
            operation += 1;
            crashes += 1;
        }
        assert!(operation > 100, "the run of seed {seed} has only {operation} operations");
    }
    println!("{crashes} crashes");
}

#[test]
fn crash_after_crash_loses_nothing_that_was_acknowledged() {
    for seed in 0..40 {
        println!("seed {seed}");
        let (world, mut simulation) = World::simulated(seed);
        let (disk, known) = (SimulatedDisk::new(seed), Shared::default());
        simulation.block_on(async {
            for _ in 0..25 {
                let crash_at = Some(disk.operations() + world.below(120));
                let sync_latency = Duration::from_micros(world.below(300));
                disk.set_faults(Faults { crash_at, sync_latency, short_writes: true, ..Faults::default() });
                let outcome = live(&world, &disk, &known, 60).await;
                assert!(outcome.is_ok() || disk.has_crashed(), "{outcome:?}");
                disk.restart();
            }
            live(&world, &disk, &known, 5).await.unwrap();
        });
    }
}

#[test]
fn a_sync_that_fails_stops_the_store_and_loses_nothing_that_was_acknowledged() {
    for seed in 0..120 {
        println!("seed {seed}");
        let (world, mut simulation) = World::simulated(seed);
        let (disk, known) = (SimulatedDisk::new(seed), Shared::default());
        simulation.block_on(async {
            let store = open(&world, &disk).await.unwrap();
            let fail_sync = Some(5 + seed % 40);
            disk.set_faults(Faults { fail_sync, sync_latency: Duration::from_micros(50), ..Faults::default() });
            let tasks = world.tasks("writers");
            for _ in 0..4 {
                tasks.spawn("writer", write(world.clone(), store.clone(), known.clone(), 200));
            }
            let mut watcher = store.watch(WatchRequest::new(KeyRange::all())).await.unwrap();
            let stopped = world.timeout(Duration::from_secs(60), async { while watcher.next().await.is_ok() {} }).await;
            assert!(stopped.is_ok(), "no sync has failed");
            while !tasks.is_empty() {
                world.sleep(Duration::from_millis(1)).await;
            }
            // A failed sync is never tried again, and nothing is answered from a store that may have lost something.
            let refused = store.put("k", "v").await.unwrap_err();
            assert!(
                matches!(&refused, StoreError::Stopped { reason } if reason.contains("fails this sync")),
                "{refused}"
            );
            assert_eq!(store.get("k").await.unwrap_err(), refused);
            store.shutdown().await;
            disk.crash();
            disk.restart();
            live(&world, &disk, &known, 5).await.unwrap();
        });
    }
}

#[test]
fn writes_that_are_done_in_parts_are_whole() {
    for seed in 0..20 {
        let (world, mut simulation) = World::simulated(seed);
        let disk = SimulatedDisk::new(seed);
        disk.set_faults(Faults { short_writes: true, ..Faults::default() });
        simulation.block_on(async {
            let store = open(&world, &disk).await.unwrap();
            support::run(&world, &world, store, 200, support::Engine::Local).await;
        });
    }
}

/// A store that was ended well, its files, and what is in it.
async fn sound(world: &World, seed: u64) -> (SimulatedDisk, Vec<KeyValue>, BTreeMap<Revision, Changes>) {
    let (disk, known) = (SimulatedDisk::new(seed), Shared::default());
    live(world, &disk, &known, 100).await.unwrap();
    let store = open(world, &disk).await.unwrap();
    let kvs = store.range(RangeRequest::new(KeyRange::all())).await.unwrap().kvs;
    let history = history(&store).await;
    store.shutdown().await;
    (disk, kvs, history)
}

#[test]
fn flipped_bits_are_refused_or_harmless_and_never_lose_anything() {
    let (mut refused, mut harmless) = (0, 0);
    for seed in 0..2 {
        let (world, mut simulation) = World::simulated(seed);
        simulation.block_on(async {
            let (disk, kvs, expected) = sound(&world, seed).await;
            let files = disk.files();
            for (name, bytes) in &files {
                let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
                // Every place of the beginning, where heads are, and a part of the rest.
                let places = (0..200.min(written)).chain((200..written).step_by(97));
                for place in places {
                    let mut flipped = bytes.clone();
                    flipped[place] ^= 1 << (place % 8);
                    disk.put_file(name, Some(flipped));
                    match open(&world, &disk).await {
                        Ok(store) => {
                            harmless += 1;
                            let held = store.range(RangeRequest::new(KeyRange::all())).await.unwrap().kvs;
                            assert_eq!(held, kvs, "a bit of {name} at {place}");
                            assert_eq!(history(&store).await, expected, "a bit of {name} at {place}");
                            store.shutdown().await;
                        }
                        Err(OpenError::Corrupt { file, .. }) => {
                            refused += 1;
                            // It may be noticed in a file that does not fit the broken one any more.
                            assert!(file.starts_with("simulated"), "{file:?}");
                        }
                        Err(OpenError::Format { .. }) => refused += 1,
                        Err(error) => panic!("a bit of {name} at {place}: {error}"),
                    }
                    for (name, bytes) in &files {
                        disk.put_file(name, Some(bytes.clone()));
                    }
                    for name in disk.files().keys().filter(|name| !files.contains_key(*name)) {
                        disk.put_file(name, None);
                    }
                }
            }
        });
    }
    println!("{refused} refused, {harmless} harmless");
    assert!(refused > 500, "{refused} refused, {harmless} harmless");
}

#[test]
fn a_broken_first_frame_of_the_last_segment_is_noticed_however_many_frames_came_before() {
    let (world, mut simulation) = World::simulated(1);
    let disk = SimulatedDisk::new(1);
    simulation.block_on(async {
        // Without a snapshot all of the log is read.
        let options = DiskOptions { snapshot_bytes: 1 << 30, ..options() };
        let open = async || Store::open(&world, Disk::simulated(&disk), options.clone()).await;
        let store = open().await.unwrap();
        // More frames than would fit in a segment, so that their numbers are far from those of a first one.
        for i in 0..3_000 {
            store.put(format!("k/{}", i % 30), "value").await.unwrap();
        }
        store.shutdown().await;
        let frames = |bytes: &[u8]| bytes[64..].chunks_exact(8).filter(|chunk| chunk.starts_with(b"MNTF")).count();
        let files = disk.files();
        let last = files.iter().rfind(|(name, bytes)| name.ends_with(".log") && frames(bytes) > 0).unwrap();
        assert!(frames(last.1) > 3, "{} frames", frames(last.1));
        let mut broken = last.1.clone();
        broken[64 + 20] ^= 1;
        disk.put_file(last.0, Some(broken));
        let error = open().await.expect_err("acknowledged writes are not given up in silence");
        assert!(matches!(&error, OpenError::Corrupt { file, .. } if file.ends_with(last.0)), "{error}");
    });
}

#[test]
fn a_full_disk_refuses_writes_takes_deletions_and_recovers() {
    for seed in 0..20 {
        println!("seed {seed}");
        let (world, mut simulation) = World::simulated(seed);
        let disk = SimulatedDisk::new(seed);
        simulation.block_on(async {
            let store = open(&world, &disk).await.unwrap();
            disk.set_faults(Faults { capacity: Some(disk.bytes() + 100_000), ..Faults::default() });
            let mut written = 0_u64;
            let full = loop {
                match store.put(format!("k/{}", written % 50), vec![b'x'; 500]).await {
                    Ok(_) => written += 1,
                    Err(error) => break error,
                }
                assert!(written < 10_000, "it is never full");
            };
            assert_eq!(full, StoreError::DiskFull);
            assert_eq!(full.to_string(), "etcdserver: mvcc: database space exceeded");
            assert!(store.stats().disk.unwrap().full);
            let before = store.revision();
            assert_eq!(store.get("k/1").await.unwrap().unwrap().value.len(), 500, "it can still be read");
            assert_eq!(store.delete(KeyRange::key("k/1")).await, Ok(1), "and what makes space is taken");
            assert_eq!(store.put("k/2", vec![b'x'; 500]).await, Err(StoreError::DiskFull));
            disk.set_faults(Faults::default());
            while store.stats().disk.unwrap().full {
                world.sleep(Duration::from_millis(100)).await;
            }
            store.put("k/2", "v").await.unwrap();
            assert_eq!(store.revision(), before + 2, "what was refused is no revision");
            store.shutdown().await;
            let store = open(&world, &disk).await.unwrap();
            assert_eq!(store.revision(), before + 2);
            assert_eq!(store.get("k/2").await.unwrap().unwrap().value, "v");
            store.shutdown().await;
        });
    }
}

#[test]
fn files_of_others_and_of_other_formats_are_refused_by_name() {
    let (world, mut simulation) = World::simulated(1);
    simulation.block_on(async {
        let (disk, ..) = sound(&world, 1).await;
        let (other, ..) = sound(&world, 2).await;
        let files = disk.files();
        let last = files.keys().rfind(|name| name.ends_with(".log")).unwrap().clone();
        let snapshot = files.keys().rfind(|name| name.ends_with(".snapshot")).unwrap().clone();

        let foreign = other.files().into_iter().find(|(name, _)| name.ends_with(".log")).unwrap();
        disk.put_file(&foreign.0, Some(foreign.1));
        let error = open(&world, &disk).await.err().unwrap().to_string();
        assert!(error.contains(&foreign.0) && error.contains("belongs to the store"), "{error}");
        disk.put_file(&foreign.0, files.get(&foreign.0).cloned());

        for name in [&last, &snapshot] {
            let mut newer = files[name].clone();
            newer[8] = 9;
            disk.put_file(name, Some(newer));
            let error = open(&world, &disk).await.err().unwrap().to_string();
            assert!(error.contains(name.as_str()) && error.contains("has format 9, this build reads 1"), "{error}");
            disk.put_file(name, Some(files[name].clone()));
        }

        let store = open(&world, &disk).await.unwrap();
        assert!(matches!(open(&world, &disk).await, Err(OpenError::Locked { .. })), "one store per directory");
        store.shutdown().await;
        open(&world, &disk).await.unwrap().shutdown().await;
    });
}
