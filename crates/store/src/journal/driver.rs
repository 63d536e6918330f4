//! Runs a worker that goes in steps: on a thread of its own in the real world, as a task in the simulated one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use tokio::sync::Notify;
use world::World;

use super::Journal;
use crate::embedded::Core;

/// How long a thread with nothing to do looks for work before it sleeps, if the last work came as soon as this: a client that
/// writes one thing after the other comes back so soon, and to wake a thread takes a third of the time that the disk takes.
const SPIN: Duration = Duration::from_micros(100);

/// What a step says of the next one.
pub(crate) enum Step {
    /// At once.
    Again,
    /// When this has passed in the simulated world; the real disk has taken its time already.
    After(Duration),
    /// When there is work, or this time has passed.
    Park(Option<Duration>),
    End,
}

pub(crate) trait Worker: Send + 'static {
    fn step(&mut self) -> Step;
}

/// Wakes a worker that has nothing to do. Costs an atomic operation when it is at work.
#[derive(Default)]
pub(crate) struct Kick {
    idle: AtomicBool,
    thread: OnceLock<Thread>,
    task: Notify,
}

impl Kick {
    pub fn kick(&self) {
        if self.idle.swap(false, Ordering::SeqCst) {
            match self.thread.get() {
                Some(thread) => thread.unpark(),
                None => self.task.notify_one(),
            }
        }
    }

    /// The worker has found nothing to do. It must look once more before it sleeps: work that came before this has not woken it.
    fn set_idle(&self) {
        self.idle.store(true, Ordering::SeqCst);
    }

    fn is_kicked(&self) -> bool {
        !self.idle.load(Ordering::SeqCst)
    }
}

pub(super) fn start(
    core: &Arc<Core>,
    journal: &Arc<Journal>,
    name: &'static str,
    kick: fn(&Journal) -> &Kick,
    worker: impl Worker,
) {
    let (core, journal, world) = (core.clone(), journal.clone(), core.world.clone());
    if world.is_simulated() || journal.disk.is_simulated() {
        let clock = world.clone();
        world.spawn(name, async move {
            as_task(&clock, kick(&journal), worker).await;
            journal.worker_ended();
        });
        return;
    }
    let clock = world.clone();
    world.spawn_thread(name, move || {
        // Without its worker the store would wait for ever; the panic itself has been reported when it happened.
        let ended = catch_unwind(AssertUnwindSafe(|| as_thread(&clock, kick(&journal), worker)));
        if ended.is_err() {
            core.fail(format!("a defect of Minato has ended {name}; start it again, and report this"));
        }
        journal.worker_ended();
    });
}

async fn as_task(world: &World, kick: &Kick, mut worker: impl Worker) {
    let mut looked = false;
    loop {
        match worker.step() {
            Step::Again => world.yield_now().await,
            Step::After(Duration::ZERO) => world.yield_now().await,
            Step::After(latency) => world.sleep(latency).await,
            Step::Park(_) if !looked => {
                kick.set_idle();
                looked = true;
                continue;
            }
            Step::Park(None) => kick.task.notified().await,
            Step::Park(Some(time)) => {
                let _ = world.timeout(time, kick.task.notified()).await;
            }
            Step::End => return,
        }
        looked = false;
    }
}

fn as_thread(world: &World, kick: &Kick, mut worker: impl Worker) {
    let _ = kick.thread.set(std::thread::current());
    let (mut looked, mut spins) = (false, true);
    loop {
        match worker.step() {
            Step::Again | Step::After(_) => {}
            Step::Park(_) if !looked => {
                kick.set_idle();
                looked = true;
                continue;
            }
            Step::Park(time) => {
                let idle_since = world.elapsed();
                while spins && !kick.is_kicked() && world.elapsed() < idle_since + SPIN {
                    std::hint::spin_loop();
                }
                if !kick.is_kicked() {
                    match time {
                        Some(time) => std::thread::park_timeout(time),
                        None => std::thread::park(),
                    }
                }
                spins = world.elapsed() < idle_since + SPIN;
            }
            Step::End => return,
        }
        looked = false;
    }
}
