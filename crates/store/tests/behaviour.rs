//! What the sequences of `model.rs` cannot see: errors at limits, waking, concurrency, keyspaces, the end of a store.

use std::time::Duration;

use bytes::Bytes;
use store::*;
use world::{Simulation, World};

fn store(limits: Limits) -> (World, Simulation, Store) {
    let (world, simulation) = World::simulated(1);
    let store = Store::memory(&world, limits);
    (world, simulation, store)
}

fn events(batch: &WatchBatch) -> Vec<(EventKind, &str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).expect("keys and values of these tests are text");
    batch.events.iter().map(|event| (event.kind, text(&event.kv.key), text(&event.kv.value))).collect()
}

#[test]
fn an_empty_store_is_at_revision_one() {
    let (_world, mut simulation, store) = store(Limits::default());
    simulation.block_on(async {
        assert_eq!((store.revision(), store.compacted()), (1, 0));
        assert_eq!(store.delete(KeyRange::all()).await, Ok(0));
        assert_eq!(store.revision(), 1, "a deletion of nothing is no revision");
        assert_eq!(store.put("k", "v").await, Ok(2));
    });
}

#[test]
fn a_key_begins_anew_after_its_deletion() {
    let (_world, mut simulation, store) = store(Limits::default());
    simulation.block_on(async {
        for value in ["1", "2"] {
            store.put("k", value).await.unwrap();
        }
        assert_eq!(store.delete(KeyRange::key("k")).await, Ok(1));
        assert_eq!(store.get("k").await, Ok(None));
        store.put("k", "3").await.unwrap();
        let kv = store.get("k").await.unwrap().unwrap();
        assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
    });
}

#[test]
fn the_quota_refuses_growth_and_lets_deletions_through() {
    let (_world, mut simulation, store) = store(Limits { quota_bytes: 20, ..Limits::default() });
    simulation.block_on(async {
        store.put("a", "123456789").await.unwrap();
        let error = store.put("b", "1234567890123").await.unwrap_err();
        assert_eq!(error.to_string(), "etcdserver: mvcc: database space exceeded");
        assert_eq!(store.delete(KeyRange::all()).await, Ok(1));
        assert_eq!(store.put("b", "1234567890123").await, Ok(4));
    });
}

#[test]
fn watchers_and_leases_are_bounded() {
    let (_world, mut simulation, store) = store(Limits { watchers: 1, leases: 1, ..Limits::default() });
    simulation.block_on(async {
        let watcher = store.watch(WatchRequest::new(KeyRange::all())).await.unwrap();
        let refused = store.watch(WatchRequest::new(KeyRange::all())).await.err();
        assert_eq!(refused, Some(StoreError::TooManyWatchers { limit: 1 }));
        drop(watcher);
        assert!(store.watch(WatchRequest::new(KeyRange::all())).await.is_ok());
        let ttl = Duration::from_millis(1500);
        let lease = store.lease_grant(ttl, None).await.unwrap();
        assert_eq!(lease.ttl, Duration::from_secs(2), "whole seconds, rounded up");
        assert_eq!(store.lease_grant(ttl, None).await, Err(StoreError::TooManyLeases { limit: 1 }));
        let long = MAX_LEASE_TTL + Duration::from_secs(1);
        assert_eq!(store.lease_grant(long, None).await, Err(StoreError::LeaseTtlTooLarge));
    });
}

#[test]
fn a_write_wakes_a_waiting_watcher() {
    let (world, mut simulation, store) = store(Limits::default());
    let mut watcher = simulation.block_on(store.watch(WatchRequest::new(KeyRange::prefix("a/")))).unwrap();
    let writer = store.clone();
    let clock = world.clone();
    world.spawn("writer", async move {
        clock.sleep(Duration::from_secs(5)).await;
        writer.put("b/1", "other").await.unwrap();
        clock.sleep(Duration::from_secs(5)).await;
        writer.put("a/1", "v").await.unwrap();
    });
    simulation.block_on(async {
        let batch = watcher.next().await.unwrap();
        assert_eq!(world.elapsed(), Duration::from_secs(10));
        assert_eq!(events(&batch), [(EventKind::Put, "a/1", "v")]);
        assert_eq!((batch.revision, watcher.progress()), (3, 3));
        store.put("b/2", "other").await.unwrap();
        assert_eq!(watcher.progress(), 4, "what does not concern the watcher is progress");
    });
}

#[test]
fn a_slow_watcher_is_told_that_it_lost_history_and_an_idle_one_is_not() {
    let (_world, mut simulation, store) = store(Limits { history_revisions: 50, ..Limits::default() });
    simulation.block_on(async {
        let mut slow = store.watch(WatchRequest::new(KeyRange::prefix("busy/"))).await.unwrap();
        let mut idle = store.watch(WatchRequest::new(KeyRange::prefix("quiet/"))).await.unwrap();
        for i in 0..1000 {
            store.put(format!("busy/{}", i % 7), "v").await.unwrap();
        }
        assert!(store.stats().revisions <= 50 + 64, "{:?}", store.stats());
        let compact_revision = store.compacted();
        assert_eq!(slow.next().await, Err(WatchError::Compacted { compact_revision }));
        store.put("quiet/1", "v").await.unwrap();
        assert_eq!(events(&idle.next().await.unwrap()), [(EventKind::Put, "quiet/1", "v")]);
        assert_eq!(store.range(RangeRequest::new(KeyRange::prefix("busy/"))).await.unwrap().count, 7);
    });
}

#[test]
fn history_stays_within_its_bytes() {
    const LIMIT: u64 = 20_000;
    let (_world, mut simulation, store) = store(Limits { history_bytes: LIMIT, ..Limits::default() });
    simulation.block_on(async {
        for i in 0..500 {
            store.put(format!("k{}", i % 3), vec![b'v'; 1000]).await.unwrap();
            assert!(store.stats().history_bytes <= LIMIT, "write {i}: {:?}", store.stats());
        }
        assert!(store.compacted() > 0 && store.stats().keys == 3);
    });
}

#[test]
fn history_older_than_the_limit_is_forgotten_at_the_next_write() {
    let (world, mut simulation, store) = store(Limits { history_age: Duration::from_secs(300), ..Limits::default() });
    simulation.block_on(async {
        for i in 0..100 {
            store.put("k", format!("{i}")).await.unwrap();
        }
        let before = store.stats().history_bytes;
        world.sleep(Duration::from_secs(299)).await;
        store.put("other", "v").await.unwrap();
        assert_eq!(store.compacted(), 0);
        world.sleep(Duration::from_secs(10)).await;
        store.put("other", "v").await.unwrap();
        assert!(store.compacted() > 0);
        world.sleep(Duration::from_secs(600)).await;
        store.put("other", "v").await.unwrap();
        assert!(store.stats().history_bytes < before / 10, "{:?}", store.stats());
        assert_eq!(store.get("k").await.unwrap().unwrap().value, "99");
    });
}

#[test]
fn a_batch_takes_many_revisions_but_splits_none() {
    let (_world, mut simulation, store) = store(Limits::default());
    simulation.block_on(async {
        let mut watcher =
            store.watch(WatchRequest { capacity: 3, ..WatchRequest::new(KeyRange::all()) }).await.unwrap();
        store.put("a", "1").await.unwrap();
        store.put("b", "1").await.unwrap();
        let txn = (0..5).fold(Txn::default(), |txn, i| txn.then(Op::put(format!("t{i}"), "1")));
        store.txn(txn).await.unwrap();
        store.put("c", "1").await.unwrap();
        let mut lengths = Vec::new();
        for _ in 0..2 {
            let batch = watcher.next().await.unwrap();
            lengths.push((batch.events.len(), batch.revision));
        }
        assert_eq!(lengths, [(7, 4), (1, 5)]);
    });
}

#[test]
fn a_lease_takes_all_its_keys_at_one_revision() {
    let (world, mut simulation, store) = store(Limits::default());
    simulation.block_on(async {
        let lease = store.lease_grant(Duration::from_secs(10), Some(7)).await.unwrap();
        let mut txn = Txn::default();
        for key in ["a", "b", "c"] {
            let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(b"v"));
            txn = txn.then(Op::Put { key, value, lease: lease.id, prev_kv: false });
        }
        store.txn(txn).await.unwrap();
        store.put("b", "without the lease").await.unwrap();
        assert_eq!(store.lease_time_to_live(7).await.unwrap().keys, ["a", "c"]);
        world.sleep(Duration::from_secs(8)).await;
        store.lease_keep_alive(7).await.unwrap();
        world.sleep(Duration::from_secs(8)).await;
        assert_eq!(store.lease_time_to_live(7).await.unwrap().remaining, Duration::from_secs(2));
        let mut watcher = store.watch(WatchRequest::new(KeyRange::all())).await.unwrap();
        let batch = watcher.next().await.unwrap();
        assert_eq!(world.elapsed(), Duration::from_secs(18));
        assert_eq!(events(&batch), [(EventKind::Delete, "a", ""), (EventKind::Delete, "c", "")]);
        assert_eq!((batch.revision, store.revision()), (4, 4));
        assert_eq!(store.lease_keep_alive(7).await, Err(StoreError::LeaseNotFound { id: 7 }));
        assert_eq!(store.leases().await, Ok(vec![]));
    });
}

#[test]
fn keyspaces_share_revisions_and_nothing_else() {
    let (_world, mut simulation, store) = store(Limits::default());
    simulation.block_on(async {
        let (a, b) = (store.keyspace("/a/"), store.keyspace("/b/"));
        let mut watcher = b.watch(WatchRequest { prev_kv: true, ..WatchRequest::new(KeyRange::all()) }).await.unwrap();
        a.put("k", "of a").await.unwrap();
        b.put("k", "of b").await.unwrap();
        assert_eq!((a.revision(), b.revision()), (3, 3));
        assert_eq!(a.get("k").await.unwrap().unwrap().value, "of a");
        assert_eq!(store.get("/b/k").await.unwrap().unwrap().value, "of b");
        for range in [KeyRange::all(), KeyRange::from("a"), KeyRange::span("a", "z"), KeyRange::prefix("k")] {
            let result = a.range(RangeRequest::new(range.clone())).await.unwrap();
            let found: Vec<&Bytes> = result.kvs.iter().map(|kv| &kv.key).collect();
            assert_eq!(found, ["k"], "{range:?}");
        }
        let swap = Txn::when(Compare::unchanged("k", 3))
            .then(Op::Put { key: "k".into(), value: "new".into(), lease: NO_LEASE, prev_kv: true })
            .then(Op::get("k"));
        let result = b.txn(swap).await.unwrap();
        let [OpResult::Put { prev: Some(prev) }, OpResult::Range(range)] = &result.results[..] else {
            panic!("{result:?}");
        };
        assert_eq!((&prev.key[..], &range.kvs[0].key[..]), (&b"k"[..], &b"k"[..]));
        let batch = watcher.next().await.unwrap();
        assert_eq!(events(&batch), [(EventKind::Put, "k", "of b"), (EventKind::Put, "k", "new")]);
        assert_eq!(batch.events[1].prev.as_ref().unwrap().key, "k");
        assert_eq!(a.delete(KeyRange::all()).await, Ok(1));
        assert!(b.get("k").await.unwrap().is_some());
        assert_eq!(a.put("", "v").await, Err(StoreError::EmptyKey));
        assert_eq!(a.delete(KeyRange::key("")).await, Err(StoreError::EmptyKey));
        assert_eq!(a.get("").await, Err(StoreError::EmptyKey));
    });
}

#[test]
fn the_end_of_a_store_ends_watches_and_requests() {
    let (world, mut simulation, store) = store(Limits::default());
    let mut watcher = simulation.block_on(store.watch(WatchRequest::new(KeyRange::all()))).unwrap();
    let (ender, clock) = (store.clone(), world.clone());
    world.spawn("ender", async move {
        clock.sleep(Duration::from_secs(1)).await;
        ender.shutdown().await;
    });
    simulation.block_on(async {
        assert_eq!(watcher.next().await, Err(WatchError::Closed));
        assert_eq!(store.put("k", "v").await, Err(StoreError::Closed));
        assert!(store.watch(WatchRequest::new(KeyRange::all())).await.is_err());
    });
}

#[test]
fn a_store_without_handles_leaves_no_task_behind() {
    let (_world, mut simulation, store) = store(Limits::default());
    simulation.block_on(async { store.lease_grant(Duration::from_secs(3600), None).await.unwrap() });
    drop(store);
    let deadlock = simulation.try_block_on(std::future::pending::<()>()).unwrap_err();
    assert_eq!(deadlock.waiting, Vec::<&str>::new());
}

/// Several threads write the same counters by compare-and-swap while watchers follow: no update and no event is lost.
#[test]
fn threads_that_compare_and_swap_lose_nothing() {
    const WRITERS: usize = 4;
    const WRITES: usize = 500;
    const WATCHERS: usize = 20;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let world = World::real();
        let store = Store::memory(&world, Limits::default());
        let mut tasks = Vec::new();
        for _ in 0..WRITERS {
            let store = store.clone();
            tasks.push(world.spawn("writer", async move {
                let mut done = 0;
                while done < WRITES {
                    let now = store.get("counter").await.unwrap();
                    let (revision, count) = now.map_or((0, 0), |kv| {
                        (kv.mod_revision, std::str::from_utf8(&kv.value).unwrap().parse::<usize>().unwrap())
                    });
                    let txn = Txn::when(Compare::unchanged("counter", revision))
                        .then(Op::put("counter", (count + 1).to_string()));
                    done += usize::from(store.txn(txn).await.unwrap().succeeded);
                }
            }));
        }
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..WATCHERS {
            let mut watcher = store
                .watch(WatchRequest { from: Some(1), ..WatchRequest::new(KeyRange::key("counter")) })
                .await
                .unwrap();
            let sender = sender.clone();
            tasks.push(world.spawn("watcher", async move {
                let mut seen = Vec::new();
                while seen.len() < WRITERS * WRITES {
                    seen.extend(watcher.next().await.unwrap().events.into_iter().map(|event| event.kv.value));
                }
                sender.send(seen).unwrap();
            }));
        }
        let expected: Vec<Bytes> = (1..=WRITERS * WRITES).map(|count| Bytes::from(count.to_string())).collect();
        for _ in 0..WATCHERS {
            assert!(receiver.recv().await.unwrap() == expected, "every count once and in order");
        }
        for task in tasks {
            task.finished().await;
        }
        store.shutdown().await;
    });
}
