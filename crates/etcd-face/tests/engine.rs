//! The store's engine on etcd against this face of a store in memory: the generated sequences, without an etcd.

#[path = "../../store/tests/support/mod.rs"]
mod support;

use std::net::TcpListener;
use std::time::Duration;

use etcd_face::Options;
use store::{EtcdOptions, KeyRange, Limits, Store, WatchError, WatchRequest};
use world::{Tasks, World};

/// Seeds per test. A failing one is printed.
const SEEDS: u64 = 5;
/// Commands per seed.
const STEPS: usize = 300;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// A store in memory behind a face.
fn serve(world: &World) -> (Store, Tasks, EtcdOptions) {
    let store = Store::memory(world, Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tasks = world.tasks("face");
    let server = etcd_face::start(store.clone(), listener, Options::default(), &tasks).unwrap();
    (store, tasks, EtcdOptions::new(vec![server.address().to_string()]))
}

/// With `history`, watchers soon have to read what they missed from the face.
fn agrees(seeds: std::ops::Range<u64>, history: Option<i64>) {
    for seed in seeds {
        println!("seed {seed}");
        block_on(async {
            let (chance, _simulation) = World::simulated(seed);
            let world = World::real();
            let (store, tasks, mut options) = serve(&world);
            if let Some(history) = history {
                options.limits.history_revisions = history;
            }
            let engine = Store::etcd(&world, options).await.unwrap();
            support::run(&world, &chance, engine, STEPS, support::Engine::Remote).await;
            store.shutdown().await;
            assert_eq!(tasks.shutdown(Duration::from_secs(10)).await, Vec::<&str>::new());
        });
    }
}

#[test]
fn the_engine_agrees_with_the_model_through_the_face() {
    agrees(0..SEEDS, None);
}

#[test]
fn the_engine_agrees_with_the_model_through_the_face_when_watchers_must_read_old_history() {
    agrees(SEEDS..2 * SEEDS, Some(4));
}

#[test]
fn progress_is_asked_for_and_told() {
    block_on(async {
        let world = World::real();
        let (store, _tasks, options) = serve(&world);
        let engine = Store::etcd(&world, options).await.unwrap();
        let mut watcher = engine.watch(WatchRequest::new(KeyRange::all())).await.unwrap();
        // Outside of the engine's prefix.
        let revision = store.put("other", "v").await.unwrap();
        assert_eq!(engine.current_revision().await, Ok(revision));
        let deadline = world.elapsed() + Duration::from_secs(20);
        while watcher.progress() < revision {
            assert!(world.elapsed() < deadline, "{} does not reach {revision}", watcher.progress());
            let came = world.timeout(Duration::from_millis(10), watcher.next()).await;
            assert!(came.is_err(), "{came:?} came from nowhere");
        }
        assert_eq!(store.revision(), revision, "nothing was written to learn it");
        engine.shutdown().await;
        assert_eq!(watcher.next().await, Err(WatchError::Closed));
    });
}

#[test]
fn the_end_of_a_face_ends_its_streams() {
    block_on(async {
        let world = World::real();
        let (store, tasks, options) = serve(&world);
        let engine = Store::etcd(&world, EtcdOptions { retry_for: Duration::ZERO, ..options }).await.unwrap();
        let mut watcher = engine.watch(WatchRequest::new(KeyRange::all())).await.unwrap();
        engine.put("k", "v").await.unwrap();
        assert_eq!(watcher.next().await.unwrap().events.len(), 1);
        assert_eq!(tasks.shutdown(Duration::from_secs(10)).await, Vec::<&str>::new(), "no stream holds it up");
        assert!(engine.put("k", "v").await.is_err());
        assert_eq!(store.stats().watchers, 0);
    });
}
