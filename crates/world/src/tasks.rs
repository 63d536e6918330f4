//! Tasks with an owner: a handle for one, and a group that stops, drains and aborts what it started.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::watch;

use crate::World;

/// A started task. Dropping the handle leaves it running.
pub struct Task {
    name: &'static str,
    finished: Finished,
    abort: Box<dyn Fn() + Send + Sync>,
}

impl Task {
    pub(crate) fn new(name: &'static str, finished: Finished, abort: Box<dyn Fn() + Send + Sync>) -> Task {
        Task { name, finished, abort }
    }

    /// The name it was spawned under.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Drops the task's future at its next await.
    pub fn abort(&self) {
        (self.abort)();
    }

    /// Completes when the task has returned, panicked or been aborted.
    pub async fn finished(&self) {
        self.finished.clone().wait().await;
    }
}

/// Closes when its [`watch::Sender`] is dropped, which the task's future owns: return, panic and abort all count.
#[derive(Clone)]
pub(crate) struct Finished(watch::Receiver<()>);

impl Finished {
    pub(crate) fn new() -> (Finished, watch::Sender<()>) {
        let (sender, receiver) = watch::channel(());
        (Finished(receiver), sender)
    }

    async fn wait(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// Tells a task that its owner wants it to end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// A token that never stops anything, for tests and one-shot use.
    pub fn never() -> Stop {
        let (sender, receiver) = watch::channel(false);
        drop(sender);
        Stop(receiver)
    }

    /// Whether the owner has asked to stop.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes when the owner asks to stop; for ever pending when it never can.
    pub async fn stopped(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|stopped| *stopped).await.is_err() {
            std::future::pending().await
        }
    }

    /// Runs `future` unless the stop comes first; a stop wins over a future that is ready too.
    pub async fn or<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.stopped() => None,
            output = future => Some(output),
        }
    }
}

/// Owns the tasks of one component. Cheap to clone; all clones are the same group.
#[derive(Clone)]
pub struct Tasks(Arc<Group>);

struct Group {
    world: World,
    name: &'static str,
    stop: watch::Sender<bool>,
    running: Mutex<Running>,
    /// The number of running tasks, for those who wait for the last.
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct Running {
    next: u64,
    tasks: BTreeMap<u64, Task>,
}

impl Tasks {
    pub(crate) fn new(world: World, name: &'static str) -> Tasks {
        let (stop, _) = watch::channel(false);
        let (count, _) = watch::channel(0);
        Tasks(Arc::new(Group { world, name, stop, running: Mutex::default(), count }))
    }

    /// The group's name.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The world the tasks run in.
    pub fn world(&self) -> &World {
        &self.0.world
    }

    /// The token that [`Tasks::shutdown`] stops.
    pub fn stop(&self) -> Stop {
        Stop(self.0.stop.subscribe())
    }

    /// Starts a task that this group owns. Once the group is shutting down nothing starts any more.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.0.running();
        if *self.0.stop.borrow() {
            return;
        }
        let id = running.next;
        running.next += 1;
        let done = Done { group: Arc::downgrade(&self.0), id };
        let task = self.0.world.spawn(name, async move {
            let _done = done;
            future.await;
        });
        running.tasks.insert(id, task);
        self.0.count.send_replace(running.tasks.len());
    }

    /// How many tasks run.
    pub fn len(&self) -> usize {
        self.0.running().tasks.len()
    }

    /// Whether no task runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all tasks where they stand, without telling them: what the end of a process does to them.
    pub fn abort(&self) {
        // Taken out first, as in shutdown.
        let tasks = std::mem::take(&mut self.0.running().tasks);
        tasks.into_values().for_each(|task| task.abort());
        self.0.stop.send_replace(true);
    }

    /// Asks all tasks to stop, waits for them until `deadline` has passed, then aborts the rest and returns their names.
    pub async fn shutdown(&self, deadline: Duration) -> Vec<&'static str> {
        self.0.stop.send_replace(true);
        let mut count = self.0.count.subscribe();
        let drained = count.wait_for(|count| *count == 0);
        if self.0.world.timeout(deadline, drained).await.is_ok() {
            return Vec::new();
        }
        // Taken out first: an abort drops the future, whose guard takes the same lock.
        let tasks = std::mem::take(&mut self.0.running().tasks);
        tasks.into_values().map(|task| (task.abort(), task.name()).1).collect()
    }
}

impl Group {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a task off its group's list however it ends.
struct Done {
    group: std::sync::Weak<Group>,
    id: u64,
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(group) = self.group.upgrade() {
            let mut running = group.running();
            let task = running.tasks.remove(&self.id);
            group.count.send_replace(running.tasks.len());
            drop(running);
            drop(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shutdown_waits_for_tasks_that_stop() {
        let (world, mut simulation) = World::simulated(1);
        let tasks = world.tasks("group");
        let stop = tasks.stop();
        let world2 = world.clone();
        tasks.spawn("tidy", async move {
            stop.stopped().await;
            world2.sleep(Duration::from_secs(1)).await;
        });
        assert_eq!(tasks.len(), 1);
        assert_eq!(simulation.block_on(tasks.shutdown(Duration::from_secs(5))), Vec::<&str>::new());
        assert_eq!(world.elapsed(), Duration::from_secs(1));
        assert!(tasks.is_empty());
    }

    #[test]
    fn shutdown_aborts_and_names_tasks_that_do_not() {
        let (world, mut simulation) = World::simulated(1);
        let tasks = world.tasks("group");
        tasks.spawn("stubborn", std::future::pending());
        assert_eq!(simulation.block_on(tasks.shutdown(Duration::from_secs(5))), ["stubborn"]);
        tasks.spawn("late", std::future::pending());
        assert!(tasks.is_empty(), "nothing starts after the end");
    }

    #[test]
    fn an_abort_tells_no_task_and_lets_none_start() {
        let (world, mut simulation) = World::simulated(1);
        let tasks = world.tasks("group");
        let stop = tasks.stop();
        let told = Arc::new(Mutex::new(false));
        let telling = told.clone();
        tasks.spawn("tidy", async move {
            stop.stopped().await;
            *telling.lock().unwrap() = true;
        });
        tasks.abort();
        tasks.spawn("late", std::future::pending());
        simulation.block_on(world.sleep(Duration::from_secs(1)));
        assert!(!*told.lock().unwrap() && tasks.is_empty());
    }

    #[test]
    fn the_real_world_drains_too() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(async {
            let world = World::real();
            let tasks = world.tasks("group");
            for _ in 0..50 {
                let stop = tasks.stop();
                tasks.spawn("waits", async move { stop.stopped().await });
            }
            tasks.spawn("returns at once", async {});
            assert_eq!(tasks.shutdown(Duration::from_secs(30)).await, Vec::<&str>::new());
        });
    }
}
