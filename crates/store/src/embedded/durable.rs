//! How far what was decided is durable, and the tasks that wait for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::StoreError;

/// Tickets count decisions, see [`crate::journal::Pending`].
#[derive(Default)]
pub(crate) struct Durable {
    ticket: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Nearly in the order of tickets; a group takes nearly all of them.
    wakers: VecDeque<(u64, Waker)>,
    failed: Option<StoreError>,
}

impl Durable {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything up to a ticket is durable.
    ///
    /// # Errors
    /// Why it never will be.
    pub async fn reached(&self, ticket: u64) -> Result<(), StoreError> {
        if self.ticket.load(Ordering::Acquire) >= ticket {
            return Ok(());
        }
        std::future::poll_fn(|context| {
            let mut waiting = self.waiting();
            // Under the lock that the committer takes to advance, so that it cannot do so between the look and the wait.
            if self.ticket.load(Ordering::Acquire) >= ticket {
                return Poll::Ready(Ok(()));
            }
            if let Some(failed) = &waiting.failed {
                return Poll::Ready(Err(failed.clone()));
            }
            waiting.wakers.push_back((ticket, context.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Everything up to a ticket is durable. Returns who waited for that, to be woken outside of all locks.
    #[must_use]
    pub fn advance(&self, ticket: u64) -> Vec<Waker> {
        let mut waiting = self.waiting();
        self.ticket.store(ticket, Ordering::Release);
        let mut due = Vec::new();
        waiting.wakers.retain(|(awaited, waker)| {
            let reached = *awaited <= ticket;
            if reached {
                due.push(waker.clone());
            }
            !reached
        });
        due
    }

    /// Nothing becomes durable any more. Returns everyone who waits.
    #[must_use]
    pub fn fail(&self, reason: StoreError) -> Vec<Waker> {
        let mut waiting = self.waiting();
        waiting.failed = Some(reason);
        waiting.wakers.drain(..).map(|(_, waker)| waker).collect()
    }
}
