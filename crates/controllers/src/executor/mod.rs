//! Carries out plans: one [`Runner`] per controller. Nothing here knows what any controller is for.

mod apply;
mod backoffs;
mod events;
mod expectations;
mod queue;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_client::{Change, Client};
use tokio::sync::Notify;
use world::{Tasks, Timestamp, World};

use crate::controller::{Controller, Key, Plan};
use crate::view::{Answers, Failure, Sources};
use apply::Stopped;
pub(crate) use backoffs::Backoffs;
use events::Recorder;
use expectations::Expectations;
use queue::{Outcome, Queue, Spawn};

/// How often a planner may ask the server before its plan must be a plan.
const MAX_READ_ROUNDS: usize = 4;

/// What a controller did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Keys that changes asked to work on.
    pub adds: u64,
    /// Keys that wait to be worked now.
    pub depth: usize,
    /// Times a key was planned.
    pub plans: u64,
    /// Writes carried out.
    pub actions: u64,
    /// Times a key was put back because of an error.
    pub retries: u64,
    /// Time spent working on keys, summed over workers.
    pub working: Duration,
    /// The latest error.
    pub last_error: Option<String>,
}

/// Told of every write before it is carried out; tests compare runs by it.
pub(crate) type ActionLog = Arc<dyn Fn(&'static str, &str, Timestamp) + Send + Sync>;

/// One controller at work.
pub(crate) struct Runner {
    pub(crate) row: &'static Controller,
    client: Client,
    sources: Arc<Sources>,
    world: World,
    tasks: Tasks,
    queue: Mutex<Queue>,
    alarm: Notify,
    expectations: Mutex<Expectations>,
    recorder: Mutex<Recorder>,
    backoffs: Mutex<Backoffs>,
    metrics: Mutex<Metrics>,
    log: Option<ActionLog>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner {
    pub(crate) fn new(
        row: &'static Controller,
        client: Client,
        sources: Arc<Sources>,
        tasks: Tasks,
        log: Option<ActionLog>,
    ) -> Arc<Runner> {
        Arc::new(Runner {
            row,
            client,
            sources,
            world: tasks.world().clone(),
            tasks,
            queue: Mutex::new(Queue::new(row.concurrency, row.rest)),
            alarm: Notify::new(),
            expectations: Mutex::default(),
            recorder: Mutex::new(Recorder::new(row.event_source)),
            backoffs: Mutex::default(),
            metrics: Mutex::default(),
            log,
        })
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let depth = lock(&self.queue).depth();
        Metrics { depth, ..lock(&self.metrics).clone() }
    }

    /// Starts working; to be called when all watched resources have been listed.
    pub(crate) fn open(self: &Arc<Self>) {
        let spawn = lock(&self.queue).open();
        self.spawn(spawn);
    }

    /// Notes which keys a change concerns. Called by informers; does not block.
    pub(crate) fn on_change(self: &Arc<Self>, change: &Change) {
        let free = lock(&self.expectations).see(change);
        let answers = Answers::new();
        let triggers = (self.row.triggers)(change, &self.sources.view(&answers, None));
        if !triggers.is_empty() {
            lock(&self.metrics).adds += triggers.len() as u64;
        }
        for key in free {
            let spawn = lock(&self.queue).add(key);
            self.spawn(spawn);
        }
        for trigger in triggers {
            let spawn = lock(&self.queue).add_after(trigger.key, self.world.elapsed(), trigger.after);
            self.spawn(spawn);
        }
    }

    fn spawn(self: &Arc<Self>, spawn: Spawn) {
        if spawn.worker {
            let runner = self.clone();
            self.tasks.spawn(self.row.name, async move { runner.work().await });
        }
        if spawn.timer {
            let runner = self.clone();
            self.tasks.spawn(self.row.name, async move { runner.time().await });
        } else if lock(&self.queue).timer_is_late() {
            self.alarm.notify_one();
        }
    }

    /// Works until the queue is empty.
    async fn work(self: Arc<Self>) {
        let stop = self.tasks.stop();
        loop {
            let Some(key) = lock(&self.queue).next() else { return };
            let begin = self.world.elapsed();
            let Some(outcome) = stop.or(self.process(&key)).await else { return };
            let now = self.world.elapsed();
            lock(&self.metrics).working += now.saturating_sub(begin);
            let spawn = lock(&self.queue).done(key, now, outcome);
            self.spawn(spawn);
        }
    }

    /// Queues what is due until nothing waits for time any more.
    async fn time(self: Arc<Self>) {
        let stop = self.tasks.stop();
        loop {
            let (next, spawn) = lock(&self.queue).expire(self.world.elapsed());
            self.spawn(spawn);
            let Some(next) = next else { return };
            let sleep = self.world.sleep_until(next);
            tokio::select! {
                biased;
                () = stop.stopped() => return,
                () = self.alarm.notified() => {}
                () = sleep => {}
            }
        }
    }

    async fn process(&self, key: &Key) -> Outcome {
        if let Some(wait) = self.stale(key) {
            return Outcome::Waiting(wait);
        }
        let failure = match self.round(key, None).await {
            Ok(requeue) => return Outcome::Done(requeue),
            Err(Stopped::Harmless) => return Outcome::Done(None),
            Err(Stopped::Failed(failure)) => failure,
            Err(Stopped::Unreadable(problem)) => {
                self.note_retry(problem);
                return Outcome::Failed;
            }
        };
        self.note_retry(format!(
            "{} {} {}: {}",
            failure.verb.as_str(),
            failure.resource.resource,
            failure.object,
            failure.error
        ));
        if self.row.reports_failures {
            // What this second plan cannot write is written by a retry of the first.
            let _ = self.round(key, Some(&failure)).await;
        }
        Outcome::Failed
    }

    fn note_retry(&self, problem: String) {
        let mut metrics = lock(&self.metrics);
        metrics.retries += 1;
        metrics.last_error = Some(problem);
    }

    /// How long at most the view may still be older than the key's own writes.
    fn stale(&self, key: &Key) -> Option<Duration> {
        let answers = Answers::new();
        let view = self.sources.view(&answers, None);
        lock(&self.expectations).wait(key, self.world.elapsed(), |resource, object| view.get(resource, object))
    }

    /// Plans a key, asking the server as often as the planner wants, and carries the plan out.
    async fn round(&self, key: &Key, failure: Option<&Failure>) -> Result<Option<Duration>, Stopped> {
        let mut answers = Answers::new();
        for _ in 0..=MAX_READ_ROUNDS {
            let plan = self.plan(key, &answers, failure)?;
            if plan.reads.is_empty() {
                let requeue = plan.requeue_after;
                return self.apply(key, plan).await.map(|()| requeue);
            }
            for read in plan.reads {
                let answer = self.read(&read).await?;
                answers.insert(read, answer);
            }
        }
        Err(Stopped::Unreadable(format!("{} asks about {key} without end", self.row.name)))
    }

    fn plan(&self, key: &Key, answers: &Answers, failure: Option<&Failure>) -> Result<Plan, Stopped> {
        lock(&self.metrics).plans += 1;
        let view = self.sources.view(answers, failure).with_backoffs(&self.backoffs);
        (self.row.plan)(&view, key, self.world.now()).map_err(|error| Stopped::Unreadable(error.to_string()))
    }
}
