//! Those who watch: fast ones, of which none may lag or miss; thousands of a single key each; slow ones that are left behind and
//! must be told so; and some that come and go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::{KeyRange, RangeRequest, Revision, Store, WatchError, WatchRequest, Watcher};
use world::World;

use crate::HOUR;
use crate::churn::{node_key, pod_prefix};

/// Watchers of all pods that take what comes at once.
const FAST: usize = 10;

/// Watchers of one node's lease each; several per node.
const OF_NODES: u64 = 2_000;

/// Watchers of all pods that take long after each batch, some so long that history has passed them.
const SLOW: u64 = 40;
const SLOWEST: Duration = Duration::from_secs(300);

/// Watchers of one namespace that are dropped after a few batches, and come back where they were.
const FLEETING: u64 = 100;

/// How long after a write a fast watcher may take, in virtual time: the time of nobody but the disk passes meanwhile.
const LAG: Duration = Duration::from_millis(500);

/// All at the same time.
pub const MOST: usize = FAST + (OF_NODES + SLOW + FLEETING) as usize;

/// What was written and what was seen.
#[derive(Default)]
pub struct Watched {
    /// Changes of pods that were acknowledged.
    pods: AtomicU64,
    renewals: Mutex<BTreeMap<u64, u64>>,
    /// Changes of pods that each fast watcher has seen.
    fast: Mutex<BTreeMap<usize, u64>>,
    /// Renewals that each node's watchers have seen.
    of_nodes: Mutex<BTreeMap<u64, u64>>,
    /// How often a slow watcher was left behind, and how often it got something.
    left_behind: AtomicUsize,
    slow_batches: AtomicUsize,
    /// The number of pod changes at the last look, with its time.
    looked: Mutex<(Duration, u64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    pub fn pods_written(&self, changes: u64) {
        self.pods.fetch_add(changes, Ordering::Relaxed);
    }

    pub fn node_renewed(&self, node: u64) {
        *lock(&self.renewals).entry(node).or_default() += 1;
    }

    /// No fast watcher is further behind than what was written since the last look, which is much longer ago than [`LAG`].
    pub fn check(&self, now: Duration) {
        let (then, written) = std::mem::replace(&mut *lock(&self.looked), (now, self.pods.load(Ordering::Relaxed)));
        if now - then < LAG {
            return;
        }
        for (watcher, seen) in lock(&self.fast).iter() {
            assert!(*seen >= written, "{now:?}: fast watcher {watcher} saw {seen} of {written} written at {then:?}");
        }
    }

    /// Waits until everyone who may not miss anything has seen everything.
    pub async fn finish(&self, world: &World, store: &Store) {
        world.sleep(crate::LOOK).await;
        let written = self.pods.load(Ordering::Relaxed);
        for (watcher, seen) in lock(&self.fast).iter() {
            assert_eq!(*seen, written, "changes that fast watcher {watcher} has seen");
        }
        let (renewals, seen) = (lock(&self.renewals), lock(&self.of_nodes));
        let nodes = renewals.len() as u64;
        for (node, renewed) in renewals.iter() {
            let watchers = (0..OF_NODES).filter(|watcher| watcher % nodes == *node).count() as u64;
            assert_eq!(
                seen.get(node),
                Some(&(renewed * watchers)),
                "renewals of node {node} times {watchers} watchers"
            );
        }
        let (left_behind, batches) =
            (self.left_behind.load(Ordering::Relaxed), self.slow_batches.load(Ordering::Relaxed));
        assert!(left_behind > 10 && batches > 100, "slow watchers: {left_behind} left behind, {batches} batches");
        println!(
            "{written} changes of pods, {} renewals, revision {}; slow watchers got {batches} batches and were left behind \
             {left_behind} times",
            renewals.values().sum::<u64>(),
            store.revision(),
        );
    }
}

/// Starts all of them; those that come and go end with the hour.
pub async fn start(world: &World, store: &Store, watched: &Arc<Watched>) {
    let all = |from| WatchRequest { from, ..WatchRequest::new(KeyRange::prefix("/registry/pods/")) };
    for number in 0..FAST {
        let watcher = store.watch(all(None)).await.expect("a watch");
        lock(&watched.fast).insert(number, 0);
        world.spawn("fast", fast(watcher, watched.clone(), number));
    }
    for number in 0..OF_NODES {
        let node = number % 100;
        let watcher = store.watch(WatchRequest::new(KeyRange::key(node_key(node)))).await.expect("a watch");
        world.spawn("of a node", of_node(watcher, watched.clone(), node));
    }
    for number in 0..SLOW {
        let pause = SLOWEST * (number as u32 + 1) / SLOW as u32;
        world.spawn("slow", slow(world.clone(), store.clone(), watched.clone(), pause));
    }
    for number in 0..FLEETING {
        world.spawn("fleeting", fleeting(world.clone(), store.clone(), number % 20));
    }
}

/// Counts; each change has its own revision.
async fn fast(mut watcher: Watcher, watched: Arc<Watched>, number: usize) {
    let mut revision = 0;
    while let Ok(batch) = watcher.next().await {
        for event in &batch.events {
            assert!(event.kv.mod_revision > revision, "revision {} after {revision}", event.kv.mod_revision);
            revision = event.kv.mod_revision;
        }
        *lock(&watched.fast).entry(number).or_default() += batch.events.len() as u64;
    }
}

async fn of_node(mut watcher: Watcher, watched: Arc<Watched>, node: u64) {
    while let Ok(batch) = watcher.next().await {
        assert!(batch.events.iter().all(|event| event.kv.key == node_key(node)));
        *lock(&watched.of_nodes).entry(node).or_default() += batch.events.len() as u64;
    }
}

/// Lists and watches as Kubernetes' reflectors do; when it is left behind, it lists again.
async fn slow(world: World, store: Store, watched: Arc<Watched>, pause: Duration) {
    let range = KeyRange::prefix("/registry/pods/");
    while world.elapsed() < HOUR {
        let list = store.range(RangeRequest { count_only: true, ..RangeRequest::new(range.clone()) }).await;
        let from = list.expect("a list").revision + 1;
        let request = WatchRequest { from: Some(from), capacity: 100, ..WatchRequest::new(range.clone()) };
        let mut watcher = store.watch(request).await.expect("a watch from a list");
        let mut revision: Revision = 0;
        loop {
            world.sleep(pause).await;
            match watcher.next().await {
                Ok(batch) => {
                    assert!(batch.events[0].kv.mod_revision > revision);
                    revision = batch.revision;
                    watched.slow_batches.fetch_add(1, Ordering::Relaxed);
                }
                Err(WatchError::Compacted { compact_revision }) => {
                    assert!(compact_revision > revision, "it was left behind at {revision} by {compact_revision}");
                    watched.left_behind.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(_) => return,
            }
        }
    }
}

async fn fleeting(world: World, store: Store, namespace: u64) {
    let mut from: Option<Revision> = None;
    while world.elapsed() < HOUR {
        let request = WatchRequest { from, ..WatchRequest::new(KeyRange::prefix(pod_prefix(namespace))) };
        let Ok(mut watcher) = store.watch(request).await else {
            from = None;
            continue;
        };
        for _ in 0..1 + world.below(5) {
            let Ok(batch) = watcher.next().await else { return };
            assert!(from.is_none_or(|from| batch.events[0].kv.mod_revision >= from));
            from = Some(batch.revision + 1);
        }
        drop(watcher);
        world.sleep(Duration::from_secs(world.below(60))).await;
    }
}
