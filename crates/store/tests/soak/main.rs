//! An hour of a cluster's life in virtual time: pods come and go, leases are renewed and run out, thousands watch, some of
//! them far too slowly. What the store holds stays within its bounds all the time, and nobody misses an event.

mod churn;
mod watchers;

use std::sync::Arc;
use std::time::Duration;

use store::{KeyRange, KeyValue, Limits, RangeRequest, Revision, Store};
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
