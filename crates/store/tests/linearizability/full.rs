//! A disk that fills up under concurrent clients: what is refused has not happened, what makes space is still done, and when there
//! is space again, writes are.

use std::time::Duration;

use store::{Disk, Faults, KeyRange, SimulatedDisk, Store, StoreError};
use world::World;

use crate::agree::Watches;
use crate::clients::{self, Load};
use crate::record::Recorder;
use crate::{WATCH_DEADLINE, judge, small};

const SEEDS: u64 = 40;

/// Space for a few segments of [`small`] and a snapshot.
const CAPACITY: u64 = 60_000;

/// The store looks for space every second.
const DEADLINE: Duration = Duration::from_secs(30);

async fn history(world: &World, seed: u64) {
    let disk = SimulatedDisk::new(seed);
    let faults = |capacity| Faults { capacity, sync_latency: Duration::from_micros(500), ..Faults::default() };
    disk.set_faults(faults(Some(CAPACITY)));
    let store = Store::open(world, Disk::simulated(&disk), small()).await.expect("there is space for a beginning");
    let (recorder, watches) = (Recorder::default(), Watches::start(world, &store).await);
    let (mut refused, mut clients) = (0, 0);
    while refused == 0 {
        refused =
            clients::run(world, &store, &recorder, Load { clients: 4, first: clients, operations: 60, aborts: false })
                .await;
        clients += 4;
        assert!(clients < 400, "the disk does not fill up");
    }
    assert!(disk.bytes() <= CAPACITY);
    // The refusal is the word that Kubernetes looks for, and reads and deletions go on.
    assert!(StoreError::DiskFull.to_string().contains("database space exceeded"));
    store.delete(KeyRange::key("nothing")).await.expect("a deletion on a full disk");
    clients::read_all(world, &store, &recorder).await;
    disk.set_faults(faults(None));
    let began = world.elapsed();
    loop {
        let load = Load { clients: 4, first: clients, operations: 30, aborts: false };
        if clients::run(world, &store, &recorder, load).await == 0 {
            break;
        }
        clients += 4;
        assert!(world.elapsed() - began < DEADLINE, "there is space, and writes are still refused");
        world.sleep(Duration::from_millis(200)).await;
    }
    clients::read_all(world, &store, &recorder).await;
    let log = world.timeout(WATCH_DEADLINE, watches.finish(&store)).await.expect("a watch did not deliver all events");
    store.shutdown().await;
    judge(&format!("seed {seed}"), &recorder.history(Some(log)));
}

#[test]
fn the_durable_engine_is_linearizable_on_a_disk_that_fills_up() {
    for seed in 0..SEEDS {
        let (world, mut simulation) = World::simulated(seed);
        println!("seed {seed}");
        simulation.block_on(history(&world, seed));
    }
}
