//! Candidates that are killed, paused, started again and asked to resign at random: never two holders, never none for long.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use election::{Election, TTL, Term};
use store::{EventKind, KeyRange, Keyspace, Limits, Store, StoreError, WatchRequest};
use world::{Task, World};

const KEY: &str = "/election/leader";
const CANDIDATES: usize = 3;
const FAULTS: usize = 40;
/// Between two faults: long enough for what one fault may cost to be over before the next.
const QUIET: Duration = Duration::from_secs(8);
/// What may come on top of a lease's time before another holds.
const SLACK: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(20);

/// What stops a candidate in the midst of anything, as SIGSTOP does.
#[derive(Default)]
struct Gate(Mutex<(bool, Option<Waker>)>);

impl Gate {
    fn pause(&self) {
        self.0.lock().unwrap().0 = true;
    }

    fn resume(&self) {
        let waker = {
            let mut gate = self.0.lock().unwrap();
            gate.0 = false;
            gate.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether it lets through; else the waker is kept.
    fn passes(&self, waker: &Waker) -> bool {
        let mut gate = self.0.lock().unwrap();
        if gate.0 {
            gate.1 = Some(waker.clone());
        }
        !gate.0
    }
}

struct Gated<F>(Arc<Gate>, Pin<Box<F>>);

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if !self.0.passes(context.waker()) {
            return Poll::Pending;
        }
        self.1.as_mut().poll(context)
    }
}

/// One process. It writes all the time, and sees itself as allowed to only while it holds.
struct Candidate {
    gate: Arc<Gate>,
    task: Task,
    resign: Arc<tokio::sync::Notify>,
}

type Terms = Arc<Mutex<Vec<Weak<Term>>>>;

/// Writes as fast as a component would, whether the term holds or not: the guard alone keeps a late write out.
async fn work(world: &World, space: &Keyspace, term: &Term, number: usize) {
    let guarded = space.guarded(term.guard());
    loop {
        match guarded.put("by", format!("{number}")).await {
            Ok(_) => {}
            Err(error) => assert_eq!(error, StoreError::Fenced),
        }
        world.sleep(Duration::from_millis(1 + world.below(50))).await;
    }
}

fn start(world: &World, store: &Store, terms: &Terms, number: usize) -> Candidate {
    let (gate, resign) = (Arc::new(Gate::default()), Arc::new(tokio::sync::Notify::new()));
    let (inner, space, terms, asked) = (world.clone(), store.keyspace("/work/"), terms.clone(), resign.clone());
    let election = Election::new(world, store, KEY, &format!("candidate {number}"));
    let future = async move {
        loop {
            let term = Arc::new(election.campaign().await.expect("the store is open"));
            terms.lock().unwrap().push(Arc::downgrade(&term));
            tokio::select! {
                biased;
                () = term.keep() => {}
                () = asked.notified() => {}
                () = work(&inner, &space, &term, number) => {}
            }
            if let Some(term) = Arc::into_inner(term) {
                term.resign().await;
            }
        }
    };
    let task = world.spawn("candidate", Gated(gate.clone(), Box::pin(future)));
    Candidate { gate, task, resign }
}

fn holding(terms: &Terms) -> usize {
    let mut terms = terms.lock().unwrap();
    terms.retain(|term| term.strong_count() > 0);
    terms.iter().filter_map(Weak::upgrade).filter(|term| term.holds()).count()
}

/// Looks at the holders for a while; the longest time without one.
async fn observe(world: &World, terms: &Terms, time: Duration, seed: u64) -> Duration {
    let end = world.elapsed() + time;
    let (mut since, mut longest) = (world.elapsed(), Duration::ZERO);
    while world.elapsed() < end {
        let now = world.elapsed();
        match holding(terms) {
            0 => longest = longest.max(now - since),
            1 => since = now,
            more => panic!("seed {seed}: {more} holders at {now:?}"),
        }
        world.sleep(LOOK).await;
    }
    longest
}

/// In the order of commits, nobody writes once the key has gone on to another.
async fn check_writes(store: &Store, seed: u64) -> usize {
    let request = WatchRequest { from: Some(1), capacity: usize::MAX / 2, ..WatchRequest::new(KeyRange::all()) };
    let mut watcher = store.watch(request).await.unwrap();
    let last = store.revision();
    let (mut holder, mut writes) = (None, 0);
    while watcher.progress() < last {
        for event in watcher.next().await.unwrap().events {
            let value = String::from_utf8_lossy(&event.kv.value).into_owned();
            match (&event.kv.key[..], event.kind) {
                (key, EventKind::Put) if key == KEY.as_bytes() => holder = Some(value),
                (key, EventKind::Delete) if key == KEY.as_bytes() => holder = None,
                _ => {
                    writes += 1;
                    let expected = Some(format!("candidate {value}"));
                    assert_eq!(holder, expected, "seed {seed}: a write at {}", event.kv.mod_revision);
                }
            }
        }
    }
    writes
}

fn run(seed: u64) {
    let (world, mut simulation) = World::simulated(seed);
    let limits =
        Limits { history_age: Duration::from_secs(86_400), history_revisions: 10_000_000, ..Limits::default() };
    let store = Store::memory(&world, limits);
    simulation.block_on(async {
        let terms = Terms::default();
        let mut candidates: Vec<Candidate> =
            (0..CANDIDATES).map(|number| start(&world, &store, &terms, number)).collect();
        for fault in 0..FAULTS {
            let victim = world.below(CANDIDATES as u64) as usize;
            let what = world.below(4);
            match what {
                0 => candidates[victim].task.abort(),
                1 => candidates[victim].gate.pause(),
                2 => candidates[victim].resign.notify_one(),
                _ => {
                    store.delete(KeyRange::key(KEY)).await.unwrap();
                }
            }
            let vacant = observe(&world, &terms, QUIET, seed).await;
            let limit = TTL + SLACK;
            assert!(vacant <= limit, "seed {seed}, fault {fault} ({what}): nobody held for {vacant:?}");
            match what {
                0 => candidates[victim] = start(&world, &store, &terms, victim),
                1 => candidates[victim].gate.resume(),
                _ => {}
            }
            let pause = Duration::from_millis(world.below(3000));
            observe(&world, &terms, pause, seed).await;
        }
        let writes = check_writes(&store, seed).await;
        assert!(writes > FAULTS * 50, "they were at work: {writes} writes");
    });
}

#[test]
fn there_is_one_holder_whatever_happens_to_it() {
    for seed in 0..20 {
        run(seed);
    }
}

#[test]
fn an_uncontended_campaign_takes_no_time_and_a_resignation_is_followed_at_once() {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, Limits::default());
    simulation.block_on(async {
        let first = Election::new(&world, &store, KEY, "first").campaign().await.unwrap();
        assert_eq!(world.elapsed(), Duration::ZERO);
        assert_eq!(store.revision(), 2, "one transaction");
        let (second, other) = (Election::new(&world, &store, KEY, "second"), Arc::new(Mutex::new(None)));
        let won = other.clone();
        let task = world.spawn("second", async move {
            let term = second.campaign().await.unwrap();
            *won.lock().unwrap() = Some(term);
        });
        world.sleep(Duration::from_secs(1)).await;
        assert!(other.lock().unwrap().is_none());
        let guarded = store.keyspace("/work/").guarded(first.guard());
        assert!(guarded.put("k", "v").await.is_ok());
        first.resign().await;
        task.finished().await;
        assert_eq!(world.elapsed(), Duration::from_secs(1));
        assert_eq!(guarded.put("k", "v").await, Err(StoreError::Fenced));
        let term = other.lock().unwrap().take().unwrap();
        assert!(term.holds());
        store.shutdown().await;
        term.keep().await;
        assert!(!term.holds(), "without a store nobody holds");
    });
}

/// After a crash the only process of a store does not wait for itself.
#[test]
fn what_a_crash_has_left_in_a_store_of_ones_own_is_taken_over_at_once() {
    let (world, mut simulation) = World::simulated(1);
    let disk = store::SimulatedDisk::new(1);
    simulation.block_on(async {
        let open = async || {
            let disk = store::Disk::simulated(&disk);
            Store::open(&world, disk, store::DiskOptions::default()).await.unwrap()
        };
        let store = open().await;
        assert!(store.is_exclusive());
        let first = Election::new(&world, &store, KEY, "first").campaign().await.unwrap();
        // No resignation: the process is killed.
        drop(first);
        store.shutdown().await;
        drop(store);
        let store = open().await;
        let before = world.elapsed();
        let second = Election::new(&world, &store, KEY, "second").campaign().await.unwrap();
        assert!(second.holds() && world.elapsed() - before < Duration::from_millis(500));
    });
}
