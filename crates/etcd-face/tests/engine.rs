//! The store's engine on etcd against this face of a store in memory: the generated sequences, without an etcd.

#[path = "../../store/tests/support/mod.rs"]
mod support;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_face::Options;
use store::{EtcdOptions, KeyRange, Limits, Store, StoreError, WatchError, WatchRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

/// Passes bytes on between clients and a server until it is told to keep the answers back.
struct Proxy {
    address: String,
    /// Answers are kept back from now on; connections look open.
    mute: Arc<AtomicBool>,
}

impl Proxy {
    async fn start(world: &World, server: String, delay: Duration) -> Proxy {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mute = Arc::new(AtomicBool::new(false));
        let (proxy, clock) = (Proxy { address, mute: mute.clone() }, world.clone());
        world.spawn("proxy", async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = tokio::net::TcpStream::connect(&server).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                clock.spawn("requests", async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                });
                let (mute, waits) = (mute.clone(), clock.clone());
                clock.spawn("answers", async move {
                    let mut bytes = [0; 4096];
                    while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
                        waits.sleep(delay).await;
                        if !mute.load(Ordering::SeqCst) && to_client.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        proxy
    }
}

#[test]
fn a_write_without_an_answer_has_an_unknown_outcome_and_is_not_repeated() {
    block_on(async {
        let world = World::real();
        let (store, _tasks, mut options) = serve(&world);
        let server = options.endpoints.remove(0);
        let proxy = Proxy::start(&world, server.clone(), Duration::ZERO).await;
        options.endpoints = vec![proxy.address.clone(), server];
        options.attempt_timeout = Duration::from_millis(300);
        let engine = Store::etcd(&world, options).await.unwrap();
        let mut watcher = engine.watch(WatchRequest::new(KeyRange::all())).await.unwrap();
        engine.put("k", "one").await.unwrap();
        proxy.mute.store(true, Ordering::SeqCst);
        let outcome = engine.put("k", "two").await;
        assert!(matches!(outcome, Err(StoreError::OutcomeUnknown { .. })), "{outcome:?}");
        // It was carried out, once. The next member is asked, and the watch goes on there, though its connection looks open.
        let kv = engine.get("k").await.unwrap().unwrap();
        assert_eq!((&kv.value[..], kv.version), (&b"two"[..], 2));
        assert_eq!(engine.put("k", "three").await, Ok(store.revision()));
        let values = async {
            let mut values = Vec::new();
            while values.len() < 3 {
                values.extend(watcher.next().await.unwrap().events.into_iter().map(|event| event.kv.value));
            }
            values
        };
        let values = world.timeout(Duration::from_secs(40), values).await.unwrap();
        assert_eq!(values, ["one", "two", "three"]);
        // A read that has no answer is repeated elsewhere, and nobody notices.
        let revision = store.revision();
        assert_eq!(engine.current_revision().await, Ok(revision));
    });
}

#[test]
fn a_distant_etcd_is_watched_too() {
    block_on(async {
        let world = World::real();
        let (_store, _tasks, mut options) = serve(&world);
        let proxy = Proxy::start(&world, options.endpoints.remove(0), Duration::from_millis(250)).await;
        options.endpoints = vec![proxy.address];
        let engine = Store::etcd(&world, options).await.unwrap();
        let mut watcher = engine.watch(WatchRequest::new(KeyRange::all())).await.unwrap();
        engine.put("k", "v").await.unwrap();
        let batch = world.timeout(Duration::from_secs(20), watcher.next()).await.unwrap().unwrap();
        assert_eq!(batch.events[0].kv.value, "v");
    });
}

#[test]
fn what_was_never_sent_is_sent_to_another_member() {
    block_on(async {
        let world = World::real();
        let (_store, _tasks, mut options) = serve(&world);
        // Nobody listens there any more.
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        options.endpoints.insert(0, gone.clone());
        let engine = Store::etcd(&world, options.clone()).await.unwrap();
        assert_eq!(engine.put("k", "v").await, Ok(2));
        options.endpoints = vec![gone];
        options.retry_for = Duration::from_millis(200);
        let error = Store::etcd(&world, options).await.unwrap_err().to_string();
        assert!(error.contains("not available"), "{error}");
    });
}
