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
    tasks: BTreeMap<u64, Entry>,
}

struct Entry {
    name: &'static str,
    /// None while it is being started.
    task: Option<Task>,
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
        let Some(id) = self.0.enter(name) else { return };
        let done = Done { group: Arc::downgrade(&self.0), id };
        // Without the lock: a runtime that is shutting down drops the future here, and its guard takes the lock.
        let task = self.0.world.spawn(name, async move {
            let _done = done;
            future.await;
        });
        if let Some(unwanted) = self.0.started(id, task) {
            unwanted.abort();
        }
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
        tasks.into_values().filter_map(|entry| entry.task).for_each(|task| task.abort());
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
        let abort = |entry: Entry| {
            if let Some(task) = entry.task {
                task.abort();
            }
            entry.name
        };
        tasks.into_values().map(abort).collect()
    }
}

impl Group {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a task that is about to start; none once the group is shutting down.
    fn enter(&self, name: &'static str) -> Option<u64> {
        let mut running = self.running();
        if *self.stop.borrow() {
            return None;
        }
        let id = running.next;
        running.next += 1;
        running.tasks.insert(id, Entry { name, task: None });
        self.count.send_replace(running.tasks.len());
        Some(id)
    }

    /// Puts a task into its place, or gives back one whose place is gone: it has ended, or all are to end.
    fn started(&self, id: u64, task: Task) -> Option<Task> {
        match self.running().tasks.get_mut(&id) {
            Some(entry) => {
                entry.task = Some(task);
                None
            }
            None => Some(task),
        }
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
    fn a_task_for_a_runtime_that_is_gone_ends_at_once() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tasks = runtime.block_on(async { World::real().tasks("group") });
        drop(runtime);
        tasks.spawn("late", std::future::pending());
        assert!(tasks.is_empty());
    }

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
