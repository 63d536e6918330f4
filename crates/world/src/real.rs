//! The real world: the system's clocks and tokio's tasks.
#![allow(clippy::disallowed_methods)] // This is the door that the bans protect.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;

use crate::tasks::{Finished, Task};
use crate::{BoxFuture, Timestamp};

pub(crate) struct Real {
    began: Instant,
    runtime: Handle,
}

impl Real {
    pub(crate) fn new() -> Real {
        Real { began: Instant::now(), runtime: Handle::current() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        // A deadline past what an Instant can hold is a sleep that never ends within this process.
        match self.began.checked_add(deadline) {
            Some(instant) => Box::pin(tokio::time::sleep_until(instant.into())),
            None => Box::pin(std::future::pending()),
        }
    }

    pub(crate) fn spawn_thread(&self, name: &'static str, work: impl FnOnce() + Send + 'static) {
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(work).expect("the system has a thread to give");
    }

    pub(crate) fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        let (finished, signal) = Finished::new();
        let handle = self.runtime.spawn(async move {
            let _signal = signal;
            future.await;
        });
        Task::new(name, finished, Box::new(move || handle.abort()))
    }
}
