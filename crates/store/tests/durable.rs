//! What a durable store is after it was closed and opened again, its snapshots, and its past.

#[allow(dead_code)] // Every test file has its own copy of this module, and not all of them use all of it.
mod support;

use std::time::Duration;

use store::*;
use world::{Simulation, Timestamp, World};

fn simulated(seed: u64) -> (World, Simulation, SimulatedDisk) {
    let (world, simulation) = World::simulated(seed);
    (world, simulation, SimulatedDisk::new(seed))
}

async fn open(world: &World, disk: &SimulatedDisk, limits: Limits) -> Store {
    Store::open(world, Disk::simulated(disk), support::small_disk(limits)).await.unwrap()
}

async fn events(store: &Store, from: Revision) -> Vec<Event> {
    let request = WatchRequest { from: Some(from), prev_kv: true, ..WatchRequest::new(KeyRange::all()) };
    let mut watcher = store.watch(request).await.unwrap();
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.kv.mod_revision < store.revision()) {
        events.extend(watcher.next().await.unwrap().events);
    }
    events
}

/// A scratch directory of a test, empty.
fn scratch(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("minato-store-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn history_is_the_same_after_every_opening_whether_from_snapshots_or_from_the_log() {
    let (world, mut simulation, disk) = simulated(3);
    simulation.block_on(async {
        let (mut seen, mut snapshots) = (Vec::new(), 0);
        for life in 0..12_i64 {
            let store = open(&world, &disk, Limits::default()).await;
            if life > 0 {
                assert_eq!(events(&store, store.compacted().max(2)).await, seen, "life {life}");
            }
            for i in 0..60 {
                let key = format!("k/{}", world.below(20));
                if world.below(5) == 0 {
                    store.delete(KeyRange::prefix(key)).await.unwrap();
                } else {
                    // Several keys in an order that is not theirs: it is the order of events.
                    let txn = Txn::default().then(Op::put(key, vec![b'v'; world.below(150) as usize]));
                    store.txn(txn.then(Op::put("a", format!("{life}/{i}")))).await.unwrap();
                }
            }
            if life % 3 == 2 {
                store.compact(store.revision() - 30).await.unwrap();
            }
            world.sleep(Duration::from_secs(1)).await;
            snapshots += store.stats().disk.unwrap().snapshots;
            seen = events(&store, store.compacted().max(2)).await;
            let (revision, compacted, stats) = (store.revision(), store.compacted(), store.stats());
            store.shutdown().await;
            let store = open(&world, &disk, Limits::default()).await;
            assert_eq!((store.revision(), store.compacted()), (revision, compacted), "life {life}");
            let again = store.stats();
            assert_eq!((again.keys, again.bytes, again.revisions), (stats.keys, stats.bytes, stats.revisions));
            for old in [compacted.max(2), revision - 10, revision] {
                let request = RangeRequest { revision: Some(old), ..RangeRequest::new(KeyRange::all()) };
                assert!(!store.range(request).await.unwrap().kvs.is_empty(), "a read at {old}");
            }
            store.shutdown().await;
        }
        assert!(snapshots > 0, "no snapshot was ever written");
    });
}

#[test]
fn leases_live_on_with_their_whole_time_and_their_keys_die_with_them() {
    let (world, mut simulation, disk) = simulated(4);
    simulation.block_on(async {
        let store = open(&world, &disk, Limits::default()).await;
        let kept = store.lease_grant(Duration::from_secs(100), Some(7)).await.unwrap().id;
        let short = store.lease_grant(Duration::from_secs(10), None).await.unwrap().id;
        let revoked = store.lease_grant(Duration::from_secs(100), None).await.unwrap().id;
        for (key, lease) in [("kept", kept), ("short", short), ("revoked", revoked), ("moved", short)] {
            let put = Op::Put { key: key.into(), value: "v".into(), lease, prev_kv: false };
            store.txn(Txn::of(put)).await.unwrap();
        }
        let put = Op::Put { key: "moved".into(), value: "v".into(), lease: kept, prev_kv: false };
        store.txn(Txn::of(put)).await.unwrap();
        store.lease_revoke(revoked).await.unwrap();
        world.sleep(Duration::from_secs(5)).await;
        // Enough for a snapshot, so that leases come from one.
        for i in 0..200 {
            store.put(format!("filler/{}", i % 10), vec![b'x'; 200]).await.unwrap();
        }
        world.sleep(Duration::from_secs(1)).await;
        assert!(store.stats().disk.unwrap().snapshots > 0);
        store.shutdown().await;

        let store = open(&world, &disk, Limits::default()).await;
        let mut expected = vec![kept, short];
        expected.sort();
        assert_eq!(store.leases().await.unwrap(), expected);
        let status = store.lease_time_to_live(short).await.unwrap();
        assert_eq!((status.granted, status.remaining), (Duration::from_secs(10), Duration::from_secs(10)));
        assert_eq!(status.keys, ["short"]);
        assert_eq!(store.lease_time_to_live(kept).await.unwrap().keys, ["kept", "moved"]);
        world.sleep(Duration::from_secs(11)).await;
        assert_eq!(store.get("short").await.unwrap(), None);
        assert!(store.get("moved").await.unwrap().is_some());
        store.shutdown().await;
        let store = open(&world, &disk, Limits::default()).await;
        assert_eq!(store.get("short").await.unwrap(), None, "an expiry is durable");
        assert_eq!(store.leases().await.unwrap(), [kept]);
        store.shutdown().await;
    });
}

#[test]
fn nothing_that_is_not_durable_can_be_seen() {
    let (world, mut simulation, disk) = simulated(5);
    simulation.block_on(async {
        let store = open(&world, &disk, Limits::default()).await;
        store.put("k", "old").await.unwrap();
        disk.set_faults(Faults { sync_latency: Duration::from_secs(1), ..Faults::default() });
        let mut watcher = store.watch(WatchRequest::new(KeyRange::all())).await.unwrap();
        let (writer, began) = (store.clone(), world.elapsed());
        world.spawn("writer", async move {
            writer.put("k", "new").await.unwrap();
        });
        world.sleep(Duration::from_millis(500)).await;
        // The write is on its way, and a reader does not wait for it.
        assert_eq!(store.get("k").await.unwrap().unwrap().value, "old");
        let read = Txn::when(Compare::absent("none")).then(Op::get("k"));
        let OpResult::Range(range) = &store.txn(read).await.unwrap().results[0] else { panic!() };
        assert_eq!((&range.kvs[0].value[..], range.revision), (&b"old"[..], 2));
        assert_eq!((store.revision(), world.elapsed() - began), (2, Duration::from_millis(500)));
        // A write that depends on it does.
        let compare = Compare::Value { key: "k".into(), op: Cmp::Equal, value: "new".into() };
        let result = store.txn(Txn::when(compare).then(Op::put("k", "newer"))).await.unwrap();
        assert!(result.succeeded && world.elapsed() - began >= Duration::from_secs(1));
        assert_eq!(watcher.next().await.unwrap().events[0].kv.value, "new");
        store.shutdown().await;
    });
}

#[test]
fn a_store_is_restored_from_a_snapshot_that_was_taken_while_it_was_written_to() {
    let (world, mut simulation, _) = simulated(6);
    let directory = scratch("restore");
    simulation.block_on(async {
        let store = Store::open(&world, Disk::directory(directory.join("a")), DiskOptions::default()).await.unwrap();
        for i in 0..3_000 {
            store.put(format!("k/{:04}", i % 2_500), vec![b'v'; 300]).await.unwrap();
        }
        store.compact(1_000).await.unwrap();
        let lease = store.lease_grant(Duration::from_secs(60), None).await.unwrap().id;
        let expected = store.range(RangeRequest::new(KeyRange::all())).await.unwrap();
        let history = events(&store, 1_000).await;

        let mut reader = store.snapshot().await.unwrap();
        let (mut bytes, mut pieces) = (Vec::new(), 0);
        while let Some(piece) = reader.next().await.unwrap() {
            bytes.extend_from_slice(&piece);
            pieces += 1;
            // None of this is part of it, not even what is compacted while it is read.
            store.put(format!("k/{pieces:04}"), "later").await.unwrap();
            store.compact(store.revision()).await.unwrap();
        }
        assert!(pieces > 5, "{pieces}");
        let file = directory.join("snapshot");
        std::fs::write(&file, &bytes).unwrap();

        let mut keys = 0;
        let status = snapshot::status(&world, &file, &mut |_| keys += 1).unwrap();
        assert_eq!((status.revision, status.compacted, status.keys), (expected.revision, 1_000, 2_500));
        assert_eq!((status.file_bytes, status.leases, keys), (bytes.len() as u64, 1, 2_500));
        let restored = directory.join("b");
        assert_eq!(snapshot::restore(&world, &file, &restored).unwrap(), status);
        let copy = Store::open(&world, Disk::directory(&restored), DiskOptions::default()).await.unwrap();
        assert_eq!(copy.range(RangeRequest::new(KeyRange::all())).await.unwrap(), expected);
        assert_eq!(events(&copy, 1_000).await, history);
        assert_eq!(copy.leases().await.unwrap(), [lease]);
        copy.put("k/0000", "goes on").await.unwrap();
        copy.shutdown().await;
        let copy = Store::open(&world, Disk::directory(&restored), DiskOptions::default()).await.unwrap();
        assert_eq!(copy.get("k/0000").await.unwrap().unwrap().value, "goes on");
        copy.shutdown().await;

        let again = snapshot::restore(&world, &file, &restored).unwrap_err().to_string();
        assert!(again.contains("is not empty; restore into a new directory"), "{again}");
        for (name, damaged) in [
            ("cut", bytes[..bytes.len() - 1].to_vec()),
            ("half", bytes[..bytes.len() / 2].to_vec()),
            ("longer", [&bytes[..], b"x"].concat()),
            ("empty", Vec::new()),
            ("other", b"this is not a snapshot, however long it is, and it says so in its very first bytes".to_vec()),
            ("flipped", {
                let mut flipped = bytes.clone();
                flipped[bytes.len() / 3] ^= 4;
                flipped
            }),
        ] {
            let file = directory.join(name);
            std::fs::write(&file, damaged).unwrap();
            let error = snapshot::restore(&world, &file, &directory.join("c")).unwrap_err();
            assert!(matches!(&error, OpenError::Corrupt { file, .. } if file.ends_with(name)), "{name}: {error}");
            assert!(!directory.join("c").exists(), "nothing is left of a failed restore");
        }
        let error = snapshot::status(&world, &directory.join("none"), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("none") && error.contains("No such file"), "{error}");
        store.shutdown().await;
    });
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_memory_engine_has_snapshots_too() {
    let (world, mut simulation, _) = simulated(7);
    let directory = scratch("memory-snapshot");
    simulation.block_on(async {
        let store = Store::memory(&world, Limits::default());
        store.put("k", "v").await.unwrap();
        let (mut reader, mut bytes) = (store.snapshot().await.unwrap(), Vec::new());
        while let Some(piece) = reader.next().await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
        let file = directory.join("snapshot");
        std::fs::write(&file, bytes).unwrap();
        snapshot::restore(&world, &file, &directory.join("data")).unwrap();
        let copy = Store::open(&world, Disk::directory(directory.join("data")), DiskOptions::default()).await.unwrap();
        assert_eq!(copy.get("k").await.unwrap(), store.get("k").await.unwrap());
        copy.shutdown().await;
    });
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_past_is_read_from_the_disk_when_memory_has_forgotten_it() {
    let (world, mut simulation, disk) = simulated(8);
    simulation.block_on(async {
        let limits = Limits { history_revisions: 50, ..Limits::default() };
        let options = DiskOptions { retain_bytes: 120 << 10, ..support::small_disk(limits) };
        let open = async || Store::open(&world, Disk::simulated(&disk), options.clone()).await.unwrap();
        let mut store = open().await;
        let began = world.now();
        let mut states: Vec<(Revision, Timestamp, Vec<KeyValue>)> = Vec::new();
        for i in 0..1_500 {
            store.put(format!("k/{}", world.below(12)), vec![b'v'; world.below(120) as usize]).await.unwrap();
            if i % 40 == 39 {
                store.delete(KeyRange::prefix("k/1")).await.unwrap();
            }
            if i % 10 == 0 {
                let kvs = store.range(RangeRequest::new(KeyRange::prefix("k/"))).await.unwrap();
                states.push((kvs.revision, world.now(), kvs.kvs));
            }
            world.sleep(Duration::from_secs(1)).await;
            if i % 150 == 149 {
                store.shutdown().await;
                store = open().await;
            }
        }
        let (mut retained, mut timed, mut gone) = (0, 0, 0);
        for (revision, time, kvs) in &states {
            let request = RangeRequest { revision: Some(*revision), ..RangeRequest::new(KeyRange::prefix("k/")) };
            match store.range_past(request.clone()).await {
                Ok(past) => {
                    retained += 1;
                    assert_eq!(past.kvs, *kvs, "at revision {revision}");
                    let later = *time + Duration::from_millis(900);
                    match store.revision_at(*time).await {
                        Ok(found) => {
                            timed += 1;
                            assert_eq!(found, *revision, "at {time}");
                            assert_eq!(store.revision_at(later).await, Ok(*revision), "until the next write");
                        }
                        // The oldest snapshot has history from before it, without its times.
                        Err(error) => assert!(timed == 0, "at {time}: {error}"),
                    }
                }
                Err(StoreError::Compacted { compact_revision }) => {
                    gone += 1;
                    assert!(retained == 0 && compact_revision > *revision, "only the oldest are gone");
                }
                Err(error) => panic!("at revision {revision}: {error}"),
            }
        }
        assert!(timed > 30 && gone > 0, "{retained} are retained, {timed} of them by time, {gone} gone");
        assert!(
            matches!(store.revision_at(began).await, Err(StoreError::TimeNotRetained { oldest }) if oldest > began)
        );
        assert_eq!(store.revision_at(world.now()).await, Ok(store.revision()));
        let bytes = store.stats().disk.unwrap().bytes;
        assert_eq!(bytes, disk.bytes(), "what is on the disk is known");
        assert!(bytes < 330_000, "disk use is bounded: {bytes}");
        store.shutdown().await;
    });
}

#[test]
fn a_store_on_a_real_disk_gives_its_directory_back() {
    let directory = scratch("lock");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::real();
        for life in 0..3 {
            let store = Store::open(&world, Disk::directory(&directory), DiskOptions::default()).await.unwrap();
            let second = Store::open(&world, Disk::directory(&directory), DiskOptions::default()).await.err().unwrap();
            assert!(second.to_string().contains("is in use by another process"), "{second}");
            assert_eq!(store.get("k").await.unwrap().map_or(0, |kv| kv.version), life);
            store.put("k", "v").await.unwrap();
            store.shutdown().await;
            assert_eq!(store.put("k", "v").await, Err(StoreError::Closed));
        }
    });
    std::fs::remove_dir_all(directory).unwrap();
}
