//! One value that many follow: like `tokio::sync::watch`, whose names this keeps, but followers wake in the order in which they
//! began to wait. Tokio's wakes them in an order of its own chance, which no seed replays.

use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

/// The last sender is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody changes the value any more")]
pub struct Closed;

struct Shared<T> {
    state: RwLock<State<T>>,
    changed: Notify,
    senders: AtomicUsize,
}

struct State<T> {
    version: u64,
    value: T,
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, State<T>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes the value.
pub struct Sender<T>(Arc<Shared<T>>);

/// Follows the value.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The value, locked against changes for as long as this lives: not to be held across an await.
pub struct Ref<'a, T>(RwLockReadGuard<'a, State<T>>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

/// A value and its first follower.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let shared = Shared {
        state: RwLock::new(State { version: 0, value }),
        changed: Notify::new(),
        senders: AtomicUsize::new(1),
    };
    let shared = Arc::new(shared);
    (Sender(shared.clone()), Receiver { shared, seen: 0 })
}

impl<T> Sender<T> {
    /// Replaces the value and returns the one before.
    pub fn send_replace(&self, value: T) -> T {
        let mut before = value;
        self.send_modify(|own| std::mem::swap(own, &mut before));
        before
    }

    /// Changes the value in place.
    pub fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        state.version += 1;
        modify(&mut state.value);
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// The value.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    /// A further follower, who has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        let seen = self.0.read().version;
        Receiver { shared: self.0.clone(), seen }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.senders.fetch_add(1, Ordering::AcqRel);
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Receiver<T> {
    /// The value.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    /// The value, which then counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let state = self.shared.read();
        self.seen = state.version;
        Ref(state)
    }

    /// Waits for a value that has not been seen.
    ///
    /// # Errors
    /// [`Closed`] when there is none and no sender is left.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Registered before looking, so that no change falls between.
            let mut notified = pin!(self.shared.changed.notified());
            notified.as_mut().enable();
            let version = self.shared.read().version;
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return Err(Closed);
            }
            notified.await;
        }
    }

    /// Waits until the value meets `condition`; at once if it does.
    ///
    /// # Errors
    /// [`Closed`] when it does not and no sender is left.
    pub async fn wait_for(&mut self, mut condition: impl FnMut(&T) -> bool) -> Result<(), Closed> {
        loop {
            if condition(&self.borrow_and_update()) {
                return Ok(());
            }
            self.changed().await?;
        }
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender(…)")
    }
}

impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;
    use std::sync::Mutex;

    #[test]
    fn followers_wake_in_the_order_in_which_they_wait() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let (sender, receiver) = channel(0);
        // Only wakers are compared here: polled by hand, there is no executor to shuffle them.
        struct Note(usize, Arc<Mutex<Vec<usize>>>);
        impl std::task::Wake for Note {
            fn wake(self: Arc<Self>) {
                self.1.lock().unwrap().push(self.0);
            }
        }
        let mut waiting: Vec<_> = (0..20)
            .map(|_| {
                let mut receiver = receiver.clone();
                Box::pin(async move { receiver.changed().await })
            })
            .collect();
        for (number, future) in waiting.iter_mut().enumerate() {
            let waker = std::task::Waker::from(Arc::new(Note(number, order.clone())));
            assert!(future.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        }
        sender.send_replace(1);
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_change_is_seen_once_and_the_end_is_seen() {
        let (_world, mut simulation) = World::simulated(1);
        let (sender, mut receiver) = channel(1);
        sender.send_replace(2);
        simulation.block_on(async {
            assert_eq!(receiver.changed().await, Ok(()));
            assert_eq!(*receiver.borrow(), 2);
            assert_eq!(receiver.wait_for(|value| *value == 2).await, Ok(()));
            let second = sender.clone();
            drop(sender);
            second.send_modify(|value| *value += 1);
            assert_eq!(receiver.changed().await, Ok(()));
            drop(second);
            assert_eq!(receiver.changed().await, Err(Closed));
            assert_eq!(receiver.wait_for(|value| *value == 9).await, Err(Closed));
        });
    }
}
