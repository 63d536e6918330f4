//! The only door to time, randomness, ids and task spawning.
//!
//! Everything that is not a pure function of its input asks a [`World`] that was passed to it. [`World::real`] answers from
//! the operating system and tokio; [`World::simulated`] answers from a seed, in one thread, on virtual time, so that the
//! same seed gives the same run, byte for byte. Nothing here may know what it is used for.

mod random;
mod real;
mod simulated;
mod tasks;
mod time;
pub mod watch;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use simulated::{Deadlock, Simulation};
pub use tasks::{Stop, Task, Tasks};
pub use time::{ParseTimestampError, Timestamp};

use random::Random;
use simulated::Sim;

/// A future that a [`World`] can run.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The time given to a future ran out before it completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out after {0:?}")]
pub struct Elapsed(pub Duration);

/// Clock, randomness, ids and tasks. Cheap to clone; all clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    kind: Kind,
    random: Mutex<Random>,
}

enum Kind {
    Real(real::Real),
    Simulated(Arc<Sim>),
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_simulated() { "World(simulated)" } else { "World(real)" })
    }
}

impl World {
    /// The operating system's clock and entropy, and tokio's tasks.
    ///
    /// # Panics
    /// Outside a tokio runtime, and where the system has no entropy.
    pub fn real() -> World {
        World(Arc::new(Inner { kind: Kind::Real(real::Real::new()), random: Mutex::new(Random::from_system()) }))
    }

    /// A world of virtual time that starts at 2026-01-01T00:00:00Z and is driven by the returned [`Simulation`].
    pub fn simulated(seed: u64) -> (World, Simulation) {
        let random = Random::from_seed(seed);
        let sim = Arc::new(Sim::new(random.fork()));
        let world = World(Arc::new(Inner { kind: Kind::Simulated(sim.clone()), random: Mutex::new(random) }));
        (world, Simulation::new(sim))
    }

    /// Whether time is virtual.
    pub fn is_simulated(&self) -> bool {
        matches!(self.0.kind, Kind::Simulated(_))
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        match &self.0.kind {
            Kind::Real(real) => real.now(),
            Kind::Simulated(sim) => sim.now(),
        }
    }

    /// Time since the world began; never goes back.
    pub fn elapsed(&self) -> Duration {
        match &self.0.kind {
            Kind::Real(real) => real.elapsed(),
            Kind::Simulated(sim) => sim.elapsed(),
        }
    }

    /// Completes when `duration` has passed.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.elapsed().saturating_add(duration))
    }

    /// Completes when [`World::elapsed`] has reached `deadline`.
    pub fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        match &self.0.kind {
            Kind::Real(real) => real.sleep_until(deadline),
            Kind::Simulated(sim) => Box::pin(simulated::Sleep::new(sim.clone(), deadline)),
        }
    }

    /// Runs `future` for at most `duration`; it is dropped where it stands when the time is up.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        let sleep = self.sleep(duration);
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = sleep => Err(Elapsed(duration)),
        }
    }

    /// Starts a task. The name appears in reports of tasks that do not stop and of simulated deadlocks.
    /// Tasks that belong to a component go through [`Tasks`], which owns and drains them.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Task {
        match &self.0.kind {
            Kind::Real(real) => real.spawn(name, Box::pin(future)),
            Kind::Simulated(sim) => simulated::spawn(sim, name, Box::pin(future)),
        }
    }

    /// Starts a thread for work that blocks. Only for what has no other way, such as a disk.
    ///
    /// # Panics
    /// In a simulated world, which has one thread; and where the system has no more threads.
    pub fn spawn_thread(&self, name: &'static str, work: impl FnOnce() + Send + 'static) {
        match &self.0.kind {
            Kind::Real(real) => real.spawn_thread(name, work),
            Kind::Simulated(_) => panic!("{name}: a simulated world has no threads"),
        }
    }

    /// Lets other ready tasks run.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await
    }

    /// A group that owns tasks, see [`Tasks`].
    pub fn tasks(&self, name: &'static str) -> Tasks {
        Tasks::new(self.clone(), name)
    }

    /// Fills `bytes` from a cryptographic generator: seeded by the system in the real world, by the seed in a simulated one.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.random.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }

    /// 64 random bits.
    pub fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        // The bias of the multiplication is under 2^-32 for every bound in use.
        ((u128::from(self.random()) * u128::from(bound)) >> 64) as u64
    }

    /// A version 4 UUID in its usual form.
    pub fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let n = u128::from_be_bytes(bytes);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            n >> 96,
            (n >> 80) & 0xffff,
            (n >> 64) & 0xffff,
            (n >> 48) & 0xffff,
            n & 0xffff_ffff_ffff
        )
    }

    /// `length` random characters of `alphabet`.
    ///
    /// # Panics
    /// If `alphabet` is empty.
    pub fn random_string(&self, alphabet: &str, length: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        assert!(!alphabet.is_empty(), "an alphabet has at least one character");
        (0..length).map(|_| alphabet[self.below(alphabet.len() as u64) as usize]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_version_four_and_differ() {
        let (world, _simulation) = World::simulated(1);
        let (a, b) = (world.uuid(), world.uuid());
        assert_ne!(a, b);
        assert_eq!((a.len(), &a[14..15]), (36, "4"));
        assert!(matches!(&a[19..20], "8" | "9" | "a" | "b"));
    }

    #[test]
    fn the_same_seed_gives_the_same_randomness() {
        let draw = |seed| {
            let (world, _simulation) = World::simulated(seed);
            (world.random(), world.uuid(), world.below(1000), world.random_string("abc", 20))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn below_stays_below() {
        let (world, _simulation) = World::simulated(3);
        assert!((0..1000).all(|_| world.below(7) < 7));
        assert_eq!(world.below(0), 0);
    }
}
