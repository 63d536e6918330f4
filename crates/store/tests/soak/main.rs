//! An hour of a cluster's life in virtual time: pods come and go, leases are renewed and run out, thousands watch, some of
//! them far too slowly. What the store holds stays within its bounds all the time, and nobody misses an event.

mod churn;
mod watchers;

use std::sync::Arc;
use std::time::Duration;

use store::{Disk, DiskOptions, Faults, KeyRange, KeyValue, Limits, RangeRequest, Revision, SimulatedDisk, Store};
use world::World;

use watchers::Watched;

const HOUR: Duration = Duration::from_secs(3600);

/// How often the bounds are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Limits small enough that an hour of churn meets all of them: history by age and by bytes.
fn limits() -> Limits {
    Limits {
        history_age: Duration::from_secs(120),
        history_bytes: 2 << 20,
        watchers: 5_000,
        leases: 1_000,
        ..Limits::default()
    }
}

/// The engine may hold this much more than a limit before it compacts: it does so in steps, not at each write.
const SLACK_PERCENT: u64 = 10;

/// A compaction by age comes at most so much later: it notes the revision some times per age.
const AGE_SLACK: Duration = Duration::from_secs(20);

/// Segments of some minutes, and states to restore of some more.
fn options() -> DiskOptions {
    DiskOptions {
        limits: limits(),
        first_segment_bytes: SEGMENT_BYTES,
        segment_bytes: SEGMENT_BYTES,
        snapshot_bytes: 4 << 20,
        retain_age: Duration::from_secs(600),
        retain_bytes: RETAIN_BYTES,
        ..DiskOptions::default()
    }
}

const SEGMENT_BYTES: u64 = 6 << 20;
const RETAIN_BYTES: u64 = 24 << 20;

/// What is retained, and what is needed to open the store: a snapshot, one that is being written, the log behind it, the segment
/// that is written and the next.
const MOST_DISK_BYTES: u64 = RETAIN_BYTES + 2 * (8 << 20) + 4 * SEGMENT_BYTES;

/// Time that a sync takes. Writes of the same moment share one.
const SYNC: Duration = Duration::from_millis(2);

/// Everything that is live.
async fn everything(store: &Store) -> Vec<KeyValue> {
    store.range(RangeRequest::new(KeyRange::all())).await.expect("a read of now").kvs
}

/// Looks at the bounds until the hour is over.
async fn look(world: &World, store: &Store, watched: &Watched, disk_bytes: impl Fn() -> Option<(u64, u64)>) {
    let limits = limits();
    let mut revisions: Vec<(Duration, Revision)> = Vec::new();
    let mut compactions = 0;
    while world.elapsed() < HOUR {
        world.sleep(LOOK).await;
        let (now, stats, compacted) = (world.elapsed(), store.stats(), store.compacted());
        let most = limits.history_bytes + limits.history_bytes * SLACK_PERCENT / 100;
        assert!(stats.history_bytes <= most, "{now:?}: {} bytes of history, at most {most}", stats.history_bytes);
        assert!(stats.keys <= churn::MOST_KEYS, "{now:?}: {} keys", stats.keys);
        assert!(stats.leases <= churn::MOST_LEASES, "{now:?}: {} leases", stats.leases);
        assert!(stats.watchers <= watchers::MOST, "{now:?}: {} watchers", stats.watchers);
        if let Some((bytes, most)) = disk_bytes() {
            assert!(bytes <= most, "{now:?}: {bytes} bytes on disk, at most {most}");
        }
        revisions.push((now, store.revision()));
        // A revision that was passed so long ago cannot be held any more.
        let old = revisions.iter().rev().find(|(then, _)| *then + limits.history_age + AGE_SLACK < now);
        if let Some((then, revision)) = old {
            assert!(compacted >= *revision, "{now:?}: compacted up to {compacted}, but {revision} is from {then:?}");
            compactions += 1;
        }
        watched.check(now);
    }
    assert!(compactions > 100, "age was looked at only {compactions} times");
}

#[test]
fn an_hour_in_memory_stays_within_its_bounds() {
    let (world, mut simulation) = World::simulated(1);
    simulation.block_on(async {
        let store = Store::memory(&world, limits());
        let watched = Arc::new(Watched::default());
        watchers::start(&world, &store, &watched).await;
        churn::start(&world, &store, &watched);
        look(&world, &store, &watched, || None).await;
        watched.finish(&world, &store).await;
        assert!(!everything(&store).await.is_empty());
        store.shutdown().await;
    });
}

#[test]
fn an_hour_on_a_disk_stays_within_its_bounds() {
    let (world, mut simulation) = World::simulated(2);
    let disk = SimulatedDisk::new(2);
    disk.set_faults(Faults { sync_latency: SYNC, ..Faults::default() });
    simulation.block_on(async {
        let store = Store::open(&world, Disk::simulated(&disk), options()).await.expect("an empty disk");
        let watched = Arc::new(Watched::default());
        watchers::start(&world, &store, &watched).await;
        churn::start(&world, &store, &watched);
        let looked_at = disk.clone();
        look(&world, &store, &watched, move || Some((looked_at.bytes(), MOST_DISK_BYTES))).await;
        watched.finish(&world, &store).await;
        let (revision, before) = (store.revision(), everything(&store).await);
        println!("{} bytes on disk, {:?}", disk.bytes(), store.stats());
        store.shutdown().await;
        drop(store);
        // Leases begin anew when a store is opened, so that nothing has run out yet.
        let again = Store::open(&world, Disk::simulated(&disk), options()).await.expect("it was closed");
        assert_eq!((again.revision(), everything(&again).await), (revision, before));
        again.shutdown().await;
    });
}
