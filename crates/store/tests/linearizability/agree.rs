//! Watches beside the clients: of everything, of a part, and one that is dropped and resumed all the time. They must deliver
//! each revision once, in order, and what they deliver must be what reads at these revisions give.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use linear::{Held, Key, Log};
use store::{Event, EventKind, KeyRange, RangeRequest, Revision, Store, WatchBatch, WatchRequest};
use world::{Task, World};

use crate::clients::{held, key_of};

/// The first revision that anybody can write.
const FIRST: Revision = 2;

/// The keys of the watch that sees only a part, and its range.
const PART: std::ops::Range<Key> = 0..4;
const PART_PREFIX: &str = "g0/";

#[derive(Default)]
struct Received {
    events: Vec<Event>,
    progress: Revision,
}

impl Received {
    fn add(&mut self, batch: WatchBatch) {
        self.events.extend(batch.events);
        self.progress = batch.revision;
    }

    fn up_to(&self, last: Revision) -> Option<Vec<Event>> {
        (self.progress >= last).then(|| self.events.clone())
    }
}

/// A watch and what it has delivered so far.
struct Follower {
    received: Arc<Mutex<Received>>,
    task: Task,
}

impl Follower {
    /// With `resumes`, the watch is given up after every batch and a new one begins where it had come to.
    async fn start(world: &World, store: &Store, range: KeyRange, resumes: bool) -> Follower {
        let received: Arc<Mutex<Received>> = Arc::default();
        let (sink, store, world2) = (received.clone(), store.clone(), world.clone());
        let request = move |from| WatchRequest { range: range.clone(), from: Some(from), prev_kv: false, capacity: 3 };
        let mut watcher = store.watch(request(FIRST)).await.expect("a watch from the beginning");
        let task = world.spawn("follower", async move {
            while let Ok(batch) = watcher.next().await {
                let progress = watcher.progress();
                assert!(!batch.events.is_empty() && batch.revision <= progress);
                sink.lock().unwrap_or_else(PoisonError::into_inner).add(batch);
                world2.yield_now().await;
                if resumes {
                    let Ok(resumed) = store.watch(request(progress + 1)).await else { return };
                    watcher = resumed;
                }
            }
        });
        Follower { received, task }
    }

    /// Everything up to the last event that concerns it.
    async fn finish(self, world: &World, last: Revision) -> Vec<Event> {
        loop {
            if let Some(events) = self.received.lock().unwrap_or_else(PoisonError::into_inner).up_to(last) {
                self.task.abort();
                return events;
            }
            world.sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

/// The watches of one history.
pub struct Watches {
    world: World,
    all: Follower,
    part: Follower,
    resumed: Follower,
}

impl Watches {
    pub async fn start(world: &World, store: &Store) -> Watches {
        Watches {
            world: world.clone(),
            all: Follower::start(world, store, KeyRange::all(), false).await,
            part: Follower::start(world, store, KeyRange::prefix(PART_PREFIX), false).await,
            resumed: Follower::start(world, store, KeyRange::all(), true).await,
        }
    }

    /// What the watch of everything has delivered so far. Ends the watches.
    pub fn so_far(self) -> Vec<Event> {
        [&self.all, &self.part, &self.resumed].into_iter().for_each(|follower| follower.task.abort());
        self.all.received.lock().unwrap_or_else(PoisonError::into_inner).events.clone()
    }

    /// Waits for all events, compares the watches with each other and with reads of the past, and returns what they told.
    pub async fn finish(self, store: &Store) -> Log {
        let (last, all) = self.all_events(store).await;
        log(store, &all, last).await
    }

    /// Waits for all events and compares the watches with each other. Also returns the store's revision.
    pub async fn all_events(self, store: &Store) -> (Revision, Vec<Event>) {
        let last = store.current_revision().await.expect("the store is open");
        let all = self.all.finish(&self.world, if last < FIRST { 0 } else { last }).await;
        let partial: Vec<&Event> = all.iter().filter(|event| PART.contains(&key_of(&event.kv.key))).collect();
        let last_of_part = partial.last().map_or(0, |event| event.kv.mod_revision);
        let part = self.part.finish(&self.world, last_of_part).await;
        assert!(part.iter().eq(partial), "the watch of a part differs from that of everything");
        let resumed = self.resumed.finish(&self.world, if last < FIRST { 0 } else { last }).await;
        assert_eq!(resumed, all, "a resumed watch differs from one that was never dropped");
        (last, all)
    }
}

/// Replays the events, comparing each state with a read of that revision.
pub async fn log(store: &Store, events: &[Event], last: Revision) -> Log {
    let mut log = Log { from: FIRST, to: last, changes: BTreeMap::new() };
    let mut before = FIRST;
    for event in events {
        assert!(event.kv.mod_revision >= before, "revision {} after {before}", event.kv.mod_revision);
        before = event.kv.mod_revision;
        let value = (event.kind == EventKind::Put).then(|| held(&event.kv).value);
        let told_twice = log.changes.entry(before).or_default().insert(key_of(&event.kv.key), value);
        assert_eq!(told_twice, None, "revision {before} tells of one key twice");
    }
    let mut keys: BTreeMap<Key, Held> = BTreeMap::new();
    let mut rest = events;
    for revision in FIRST..=last {
        let (now, later) = rest.split_at(rest.partition_point(|event| event.kv.mod_revision <= revision));
        assert!(!now.is_empty(), "the watch has left out revision {revision}");
        rest = later;
        for event in now {
            match event.kind {
                EventKind::Delete => drop(keys.remove(&key_of(&event.kv.key))),
                EventKind::Put => drop(keys.insert(key_of(&event.kv.key), held(&event.kv))),
            }
        }
        let request = RangeRequest { revision: Some(revision), ..RangeRequest::new(KeyRange::all()) };
        let read = store.range(request).await.expect("nothing was compacted");
        let read: BTreeMap<Key, Held> = read.kvs.iter().map(|kv| (key_of(&kv.key), held(kv))).collect();
        assert_eq!(read, keys, "a read at revision {revision} differs from what the watch has told");
    }
    log
}
