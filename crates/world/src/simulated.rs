//! The simulated world: one thread, virtual time, a seed.
//!
//! Ready tasks run in an order drawn from the seed, so that different seeds explore different interleavings and one seed
//! replays one. When no task is ready the clock jumps to the next timer. There is no other source of events: a run that has
//! neither ready tasks nor timers is a [`Deadlock`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::random::Random;
use crate::tasks::{Finished, Task};
use crate::{BoxFuture, Timestamp};

/// 2026-01-01T00:00:00Z: where every simulated clock starts.
const EPOCH: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// The future given to [`Simulation::block_on`] can never complete: nothing is ready and no timer is set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("deadlock at {elapsed:?}: nothing is ready and no timer is set; waiting tasks: {}", waiting.join(", "))]
pub struct Deadlock {
    /// Virtual time since the simulation began.
    pub elapsed: Duration,
    /// Names of the tasks that wait.
    pub waiting: Vec<&'static str>,
}

pub(crate) struct Sim {
    state: Mutex<State>,
}

struct State {
    elapsed: Duration,
    random: Random,
    next_id: u64,
    tasks: BTreeMap<u64, Slot>,
    ready: Vec<Arc<Ready>>,
    timers: BinaryHeap<Reverse<Timer>>,
    timer_sequence: u64,
}

struct Slot {
    name: &'static str,
    /// Absent while the task is being polled.
    future: Option<BoxFuture<'static, ()>>,
    ready: Arc<Ready>,
}

/// Where a waker finds its task. `queued` keeps a task from standing in the queue twice.
struct Ready {
    id: u64,
    queued: AtomicBool,
    sim: std::sync::Weak<Sim>,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel)
            && let Some(sim) = self.sim.upgrade()
        {
            sim.lock().ready.push(self.clone());
        }
    }
}

struct Timer {
    deadline: Duration,
    sequence: u64,
    waker: Waker,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Timer {}
impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.deadline, self.sequence).cmp(&(other.deadline, other.sequence))
    }
}

impl Sim {
    pub(crate) fn new(random: Random) -> Sim {
        Sim {
            state: Mutex::new(State {
                elapsed: Duration::ZERO,
                random,
                next_id: 0,
                tasks: BTreeMap::new(),
                ready: Vec::new(),
                timers: BinaryHeap::new(),
                timer_sequence: 0,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    pub(crate) fn now(&self) -> Timestamp {
        EPOCH + self.elapsed()
    }
}

pub(crate) fn spawn(sim: &Arc<Sim>, name: &'static str, future: BoxFuture<'static, ()>) -> Task {
    let (finished, signal) = Finished::new();
    let future = Box::pin(async move {
        let _signal = signal;
        future.await;
    });
    let mut state = sim.lock();
    let id = state.next_id;
    state.next_id += 1;
    let ready = Arc::new(Ready { id, queued: AtomicBool::new(true), sim: Arc::downgrade(sim) });
    state.ready.push(ready.clone());
    state.tasks.insert(id, Slot { name, future: Some(future), ready });
    let sim = Arc::downgrade(sim);
    Task::new(
        name,
        finished,
        Box::new(move || {
            if let Some(sim) = sim.upgrade() {
                // Dropped outside the lock: dropping a future can wake and spawn.
                let slot = sim.lock().tasks.remove(&id);
                drop(slot);
            }
        }),
    )
}

/// A sleep on virtual time.
pub(crate) struct Sleep {
    sim: Arc<Sim>,
    deadline: Duration,
    registered: Option<Waker>,
}

impl Sleep {
    pub(crate) fn new(sim: Arc<Sim>, deadline: Duration) -> Sleep {
        Sleep { sim, deadline, registered: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.sim.lock();
        if state.elapsed >= self.deadline {
            return Poll::Ready(());
        }
        let waker = context.waker();
        if !self.registered.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
            let sequence = state.timer_sequence;
            state.timer_sequence += 1;
            state.timers.push(Reverse(Timer { deadline: self.deadline, sequence, waker: waker.clone() }));
            drop(state);
            self.registered = Some(waker.clone());
        }
        Poll::Pending
    }
}

/// Drives a simulated [`crate::World`]: the thread that owns it is the only one that runs its tasks.
pub struct Simulation {
    sim: Arc<Sim>,
}

/// The waker of the future given to `block_on`.
struct Main(AtomicBool);

impl Wake for Main {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Simulation {
    pub(crate) fn new(sim: Arc<Sim>) -> Simulation {
        Simulation { sim }
    }

    /// Runs all tasks until `future` completes.
    ///
    /// # Panics
    /// On a deadlock, with the names of the tasks that wait; [`Simulation::try_block_on`] returns it instead.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        self.try_block_on(future).unwrap_or_else(|deadlock| panic!("{deadlock}"))
    }

    /// Runs all tasks until `future` completes or can never complete.
    pub fn try_block_on<F: Future>(&mut self, future: F) -> Result<F::Output, Deadlock> {
        let mut future = pin!(future);
        let main = Arc::new(Main(AtomicBool::new(true)));
        let main_waker = Waker::from(main.clone());
        loop {
            if main.0.swap(false, Ordering::AcqRel)
                && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&main_waker))
            {
                return Ok(output);
            }
            if self.run_one_task() || main.0.load(Ordering::Acquire) || self.advance() {
                continue;
            }
            let state = self.sim.lock();
            let waiting = state.tasks.values().map(|slot| slot.name).collect();
            return Err(Deadlock { elapsed: state.elapsed, waiting });
        }
    }

    /// Polls one ready task, drawn by the seed; false when none is ready.
    fn run_one_task(&mut self) -> bool {
        let mut state = self.sim.lock();
        if state.ready.is_empty() {
            return false;
        }
        let State { ready, random, .. } = &mut *state;
        let chosen = ready.swap_remove(random.below(ready.len()));
        chosen.queued.store(false, Ordering::Release);
        let Some(mut future) = state.tasks.get_mut(&chosen.id).and_then(|slot| slot.future.take()) else {
            return true; // It was aborted or has finished since it was woken.
        };
        drop(state);
        let waker = Waker::from(chosen.clone());
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut state = self.sim.lock();
        if polled.is_ready() {
            let slot = state.tasks.remove(&chosen.id);
            drop(state);
            drop((slot, future));
        } else if let Some(slot) = state.tasks.get_mut(&chosen.id) {
            debug_assert!(Arc::ptr_eq(&slot.ready, &chosen), "a task has one queue entry");
            slot.future = Some(future);
        } else {
            drop(state); // Aborted by itself while it ran.
            drop(future);
        }
        true
    }

    /// Moves the clock to the next timer and wakes all that are due; false when there is none.
    fn advance(&mut self) -> bool {
        let mut state = self.sim.lock();
        let Some(Reverse(next)) = state.timers.peek() else { return false };
        let deadline = next.deadline.max(state.elapsed);
        state.elapsed = deadline;
        let mut due = Vec::new();
        while state.timers.peek().is_some_and(|Reverse(timer)| timer.deadline <= deadline) {
            due.extend(state.timers.pop().map(|Reverse(timer)| timer.waker));
        }
        drop(state);
        due.into_iter().for_each(Waker::wake);
        true
    }
}

impl Drop for Simulation {
    /// Futures hold the world and the world holds the futures; the end of the simulation ends both.
    fn drop(&mut self) {
        loop {
            let mut state = self.sim.lock();
            state.timers.clear();
            state.ready.clear();
            let tasks = std::mem::take(&mut state.tasks);
            drop(state);
            if tasks.is_empty() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;
    use tokio::sync::mpsc;

    #[test]
    fn time_jumps_to_the_next_timer() {
        let (world, mut simulation) = World::simulated(1);
        simulation.block_on(world.sleep(Duration::from_secs(7200)));
        assert_eq!(world.elapsed(), Duration::from_secs(7200));
        assert_eq!(world.now().to_string(), "2026-01-01T02:00:00Z");
    }

    #[test]
    fn timers_fire_in_order_of_their_deadlines() {
        let (world, mut simulation) = World::simulated(1);
        let (sender, mut receiver) = mpsc::unbounded_channel();
        for seconds in [3, 1, 2] {
            let (world2, sender) = (world.clone(), sender.clone());
            world.spawn("sleeper", async move {
                world2.sleep(Duration::from_secs(seconds)).await;
                let _ = sender.send(seconds);
            });
        }
        let order = simulation.block_on(async {
            [receiver.recv().await, receiver.recv().await, receiver.recv().await].map(Option::unwrap)
        });
        assert_eq!(order, [1, 2, 3]);
    }

    fn interleaving(seed: u64) -> Vec<u32> {
        let (world, mut simulation) = World::simulated(seed);
        let (sender, mut receiver) = mpsc::unbounded_channel();
        for task in 0..8 {
            let (world2, sender) = (world.clone(), sender.clone());
            world.spawn("racer", async move {
                for _ in 0..4 {
                    let _ = sender.send(task);
                    world2.yield_now().await;
                }
            });
        }
        drop(sender);
        simulation.block_on(async {
            let mut seen = Vec::new();
            while let Some(task) = receiver.recv().await {
                seen.push(task);
            }
            seen
        })
    }

    #[test]
    fn one_seed_replays_one_interleaving_and_others_differ() {
        assert_eq!(interleaving(5), interleaving(5));
        assert_ne!(interleaving(5), interleaving(6));
    }

    #[test]
    fn a_deadlock_names_who_waits() {
        let (world, mut simulation) = World::simulated(1);
        world.spawn("waits for ever", std::future::pending());
        let deadlock = simulation.try_block_on(std::future::pending::<()>()).unwrap_err();
        assert_eq!(deadlock.waiting, ["waits for ever"]);
    }

    #[test]
    fn a_timeout_drops_what_it_waited_for() {
        let (world, mut simulation) = World::simulated(1);
        let outcome = simulation.block_on(world.timeout(Duration::from_millis(5), world.sleep(Duration::from_secs(1))));
        assert_eq!(outcome, Err(crate::Elapsed(Duration::from_millis(5))));
        assert_eq!(world.elapsed(), Duration::from_millis(5));
    }

    #[test]
    fn an_aborted_task_finishes_without_running_further() {
        let (world, mut simulation) = World::simulated(1);
        let task = world.spawn("aborted", std::future::pending());
        task.abort();
        simulation.block_on(task.finished());
    }
}
