//! Concurrent clients on a store, judged from outside: their histories must be linearizable, and every watch must tell the
//! same story. An engine is one row here. Durable stores also die, over and over, and what was told before must stay true.

mod agree;
mod clients;
mod crash;
mod full;
mod record;

use std::path::PathBuf;
use std::time::Duration;

use linear::{Answer, Call, History};
use store::{Disk, DiskOptions, Faults, Limits, SimulatedDisk, Store};
use world::{BoxFuture, World};

use clients::Load;

/// Opens an empty store. The directory, if it has one, goes away with what is returned.
type Engine = fn(&World) -> BoxFuture<'static, (Store, Option<Directory>)>;

/// Simulated histories per engine: each is an own interleaving.
const SEEDS: u64 = 200;

/// Histories per engine on real threads.
const THREAD_ROUNDS: usize = 12;

/// How long a watch may take to deliver what has been written. Only a watch that lost something waits for so long.
const WATCH_DEADLINE: Duration = Duration::from_secs(60);

/// Removed when dropped.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // One that stays is only untidy.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn memory(world: &World) -> BoxFuture<'static, (Store, Option<Directory>)> {
    let store = Store::memory(world, Limits::default());
    Box::pin(async move { (store, None) })
}

/// Segments and snapshots so small that a short history has several.
fn small() -> DiskOptions {
    DiskOptions {
        limits: Limits { request_bytes: 4_096, ..Limits::default() },
        first_segment_bytes: 14 << 10,
        segment_bytes: 14 << 10,
        snapshot_bytes: 10_000,
        group_bytes: 4_096,
        reserve_bytes: 4_096,
        free_bytes: 0,
        ..DiskOptions::default()
    }
}

fn simulated_disk(world: &World) -> BoxFuture<'static, (Store, Option<Directory>)> {
    let (world, disk) = (world.clone(), SimulatedDisk::new(world.random()));
    let sync_latency = Duration::from_micros(world.below(3_000));
    disk.set_faults(Faults { short_writes: true, sync_latency, ..Faults::default() });
    Box::pin(async move {
        let store = Store::open(&world, Disk::simulated(&disk), small()).await.expect("an empty disk");
        (store, None)
    })
}

fn real_disk(world: &World) -> BoxFuture<'static, (Store, Option<Directory>)> {
    let world = world.clone();
    Box::pin(async move {
        let directory = Directory(std::env::temp_dir().join(format!("minato-linear-{}", world.uuid())));
        let disk = Disk::directory(directory.0.clone());
        let store = Store::open(&world, disk, small()).await.expect("an empty directory");
        (store, Some(directory))
    })
}

/// One history of concurrent clients with all watches compared, not judged yet.
async fn record(world: &World, engine: Engine, load: Load) -> History {
    let (store, _directory) = engine(world).await;
    let (recorder, watches) = (record::Recorder::default(), agree::Watches::start(world, &store).await);
    clients::run(world, &store, &recorder, load).await;
    // A last read of everything makes the search account for all writes, also those of unknown outcome.
    clients::read_all(world, &store, &recorder).await;
    let log = world.timeout(WATCH_DEADLINE, watches.finish(&store)).await.expect("a watch did not deliver all events");
    store.shutdown().await;
    recorder.history(Some(log))
}

fn judge(name: &str, history: &History) {
    if let Err(violation) = linear::check(history) {
        panic!("{name}: {violation}");
    }
}

fn simulated(seed: u64, engine: Engine, load: Load) -> History {
    let (world, mut simulation) = World::simulated(seed);
    simulation.block_on(record(&world, engine, load))
}

fn in_every_interleaving(engine: Engine) {
    for seed in 0..SEEDS {
        let load = Load { clients: 5, first: 0, operations: 20, aborts: seed % 2 == 1 };
        judge(&format!("seed {seed}"), &simulated(seed, engine, load));
    }
}

fn on_threads(engine: Engine) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let world = World::real();
        for round in 0..THREAD_ROUNDS {
            let load = Load { clients: 6, first: 0, operations: 60, aborts: false };
            judge(&format!("round {round}"), &record(&world, engine, load).await);
        }
    });
}

#[test]
fn the_memory_engine_is_linearizable_in_every_interleaving() {
    in_every_interleaving(memory);
}

#[test]
fn the_memory_engine_is_linearizable_on_threads() {
    on_threads(memory);
}

#[test]
fn the_durable_engine_is_linearizable_in_every_interleaving() {
    in_every_interleaving(simulated_disk);
}

#[test]
fn the_durable_engine_is_linearizable_on_threads_and_a_real_disk() {
    on_threads(real_disk);
}

/// The harness sees what it should: one changed answer, and the history of a sound store is no longer accepted.
#[test]
fn one_wrong_answer_is_found() {
    let mut changed = 0;
    for seed in 0..SEEDS / 4 {
        let mut history = simulated(seed, memory, Load { clients: 5, first: 0, operations: 20, aborts: false });
        let reads = history.operations.iter_mut().filter(|operation| matches!(operation.call, Call::Read(_)));
        let answers = reads.filter_map(|operation| operation.outcome.as_mut()).map(|outcome| &mut outcome.answer);
        let mut found = answers.filter_map(|answer| match answer {
            Answer::Read(keys) if !keys.is_empty() => Some(keys),
            Answer::Read(_) | Answer::Written(_) => None,
        });
        let Some(keys) = found.nth(seed as usize % 3) else { continue };
        changed += 1;
        match seed % 3 {
            0 => drop(keys.pop()),
            1 => keys[0].1.value += 1,
            _ => keys[0].1.version += 1,
        }
        assert!(linear::check(&history).is_err(), "seed {seed}: a wrong answer was accepted");
    }
    assert!(changed >= SEEDS / 8, "only {changed} histories had an answer to change");
}
