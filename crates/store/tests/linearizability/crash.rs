//! A store whose disk crashes under its clients, and that is opened again, several times: one history over all its lives.
//!
//! What the disk keeps of unsynced writes is drawn from the seed. Operations in flight at a crash have happened before it, or
//! never; what any read or watch has told of stays.

use std::time::Duration;

use store::{Disk, Event, Faults, SimulatedDisk, Store};
use world::World;

use crate::agree::{self, Watches};
use crate::clients::{self, Load};
use crate::record::Recorder;
use crate::{WATCH_DEADLINE, judge, small};

/// Histories with crashes at drawn moments.
const SEEDS: u64 = 150;

/// Lives of one history before the last, which ends well.
const LIVES: u64 = 4;

/// A life crashes before so many operations of the disk were done in it.
const MOST_OPERATIONS: u64 = 160;

/// Syncs of which each fails once, in a store of its own: segments, groups and snapshots are among them.
const FAILED_SYNCS: u64 = 40;

const LOAD: Load = Load { clients: 5, first: 0, operations: 25, aborts: false };

/// One life that ends in a crash at that operation of the disk, or with its clients if that comes first.
///
/// Returns what a watch has told, or nothing if the store could not even be opened.
async fn life(world: &World, disk: &SimulatedDisk, recorder: &Recorder, first: usize, crash_at: u64) -> Vec<Event> {
    let sync_latency = Duration::from_micros(world.below(3_000));
    let short_writes = world.below(2) == 0;
    disk.set_faults(Faults { crash_at: Some(crash_at), short_writes, sync_latency, ..Faults::default() });
    let mut told = Vec::new();
    match Store::open(world, Disk::simulated(disk), small()).await {
        Ok(store) => {
            let watches = Watches::start(world, &store).await;
            clients::run(world, &store, recorder, Load { first, ..LOAD }).await;
            told = watches.so_far();
            if !disk.has_crashed() {
                disk.crash();
            }
            store.shutdown().await;
        }
        Err(error) => assert!(disk.has_crashed(), "a sound disk is refused: {error}"),
    }
    recorder.crash();
    disk.restart();
    told
}

/// Lives with crashes at the given operations of the disk, then a last one that is judged with all before.
async fn lives(world: &World, name: &str, disk: &SimulatedDisk, crashes: &[u64]) {
    let (recorder, mut told) = (Recorder::default(), Vec::new());
    for (number, crash_at) in crashes.iter().enumerate() {
        let first = number * LOAD.clients;
        told.push(life(world, disk, &recorder, first, disk.operations() + crash_at).await);
    }
    last_life(world, name, disk, &recorder, told).await;
}

/// Opens the store once more, and judges its history with what watches of earlier lives have told.
async fn last_life(world: &World, name: &str, disk: &SimulatedDisk, recorder: &Recorder, told: Vec<Vec<Event>>) {
    let store = Store::open(world, Disk::simulated(disk), small()).await;
    let store = store.unwrap_or_else(|error| panic!("{name}: a crash has made the disk unreadable: {error}"));
    clients::read_all(world, &store, recorder).await;
    let watches = Watches::start(world, &store).await;
    let all = world.timeout(WATCH_DEADLINE, watches.all_events(&store)).await;
    let (last, all) = all.unwrap_or_else(|_| panic!("{name}: a watch did not deliver all events"));
    for told in told {
        // Each life's watch began with the first event of all.
        assert!(all.starts_with(&told), "{name}: a watch told of {} events that a crash has taken back", told.len());
    }
    let log = agree::log(&store, &all, last).await;
    store.shutdown().await;
    judge(name, &recorder.history(Some(log)));
}

#[test]
fn the_durable_engine_is_linearizable_across_crashes() {
    for seed in 0..SEEDS {
        let (world, mut simulation) = World::simulated(seed);
        let disk = SimulatedDisk::new(seed);
        let crashes: Vec<u64> = (0..LIVES).map(|_| world.below(MOST_OPERATIONS)).collect();
        simulation.block_on(lives(&world, &format!("seed {seed}, crashes {crashes:?}"), &disk, &crashes));
    }
}

/// Every operation of the disk, from the first of an empty directory to the last of two lives, is one where it crashes once.
#[test]
fn a_crash_at_every_operation_of_the_disk_loses_nothing() {
    for crash_at in 0..MOST_OPERATIONS {
        let (world, mut simulation) = World::simulated(crash_at);
        let disk = SimulatedDisk::new(crash_at);
        simulation.block_on(lives(
            &world,
            &format!("a crash at operation {crash_at}"),
            &disk,
            &[crash_at, crash_at / 2],
        ));
    }
}

/// A sync that fails stops the store: nobody is told of what it was to make durable, and it is not tried again.
#[test]
fn the_durable_engine_is_linearizable_across_failed_syncs() {
    for sync in 0..FAILED_SYNCS {
        let (world, mut simulation) = World::simulated(sync);
        let disk = SimulatedDisk::new(sync);
        disk.set_faults(Faults { fail_sync: Some(sync), ..Faults::default() });
        simulation.block_on(async {
            let recorder = Recorder::default();
            if let Ok(store) = Store::open(&world, Disk::simulated(&disk), small()).await {
                let watches = Watches::start(&world, &store).await;
                clients::run(&world, &store, &recorder, LOAD).await;
                let (told, stopped) = (watches.so_far(), store.put("after", "all").await);
                assert!(stopped.is_err(), "sync {sync} failed, and the store goes on");
                store.shutdown().await;
                recorder.crash();
                disk.restart();
                last_life(&world, &format!("sync {sync}"), &disk, &recorder, vec![told]).await;
            }
        });
    }
}
