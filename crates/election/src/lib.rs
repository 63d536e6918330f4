//! One holder at a time among processes that share a store.
//!
//! The holder is who has put the election's key, with a lease that it keeps alive. The others wait for the key to go: at once when
//! the holder resigns, after [`TTL`] when it is not heard of any more. A holder counts the time of its lease on its own clock
//! from before it asked for it, and stops [`MARGIN`] before the store could have given the lease up; so two never hold at once, as
//! long as a second of two clocks is about as long. For those who do not stop in time, because they were stopped themselves,
//! there is the [guard](Term::guard): a condition that the store checks with each of their writes.
//!
//! A store that no other process can use knows no other holder: what is found there is of a process that has ended, and is taken
//! over without waiting. Must never know what is held.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use store::{
    Cmp, Compare, EventKind, KeyRange, LeaseId, Op, RangeRequest, Revision, Store, StoreError, Txn, WatchRequest,
};
use world::World;

/// How long a holder that is not heard of stays one: a lease counts in seconds, and another process shall be at work within five.
/// Less than the two seconds that etcd grants at least would not be had anyway.
pub const TTL: Duration = Duration::from_secs(3);
/// How long before its lease can have run out a holder stops being one. Its work has this long to end.
pub const MARGIN: Duration = Duration::from_millis(750);
/// Between two keep-alives: two may be lost before the third comes too late.
const KEEP_ALIVE: Duration = Duration::from_millis(600);
/// After an error of the store that may pass.
const RETRY: Duration = Duration::from_millis(200);

/// What is campaigned for, by one process. Cheap to clone.
#[derive(Clone)]
pub struct Election {
    world: World,
    store: Store,
    key: Bytes,
    /// Who campaigns, for people who look into the store.
    identity: Bytes,
}

impl Election {
    /// The election with this key of the store. `identity` is for people: two may have the same.
    pub fn new(world: &World, store: &Store, key: &str, identity: &str) -> Election {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        Election { world: world.clone(), store: store.clone(), key: bytes(key), identity: bytes(identity) }
    }

    /// Waits until this process is the holder. May be cancelled: what was won meanwhile is given up when its lease ends.
    ///
    /// # Errors
    /// [`StoreError::Closed`]. Other errors are waited out.
    pub async fn campaign(&self) -> Result<Term, StoreError> {
        if self.store.is_exclusive() {
            // What cannot be deleted now is waited for.
            let _ = self.store.delete(KeyRange::key(self.key.clone())).await;
        }
        loop {
            match self.attempt().await {
                Ok(Some(term)) => return Ok(term),
                Ok(None) => {}
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(_) => self.world.sleep(RETRY).await,
            }
        }
    }

    /// Takes the key if it is free, else waits until it may be.
    async fn attempt(&self) -> Result<Option<Term>, StoreError> {
        let found = self.store.range(RangeRequest::new(KeyRange::key(self.key.clone()))).await?;
        if !found.kvs.is_empty() {
            self.wait_for_vacancy(found.revision).await?;
            return Ok(None);
        }
        let asked = self.world.elapsed();
        let lease = self.store.lease_grant(TTL, None).await?.id;
        let put = Op::Put { key: self.key.clone(), value: self.identity.clone(), lease, prev_kv: false };
        let outcome = self.store.txn(Txn::when(Compare::absent(self.key.clone())).then(put)).await;
        match outcome {
            Ok(result) if result.succeeded => {
                let term = Term {
                    election: self.clone(),
                    lease,
                    since: result.revision,
                    until: Mutex::new(asked + TTL - MARGIN),
                };
                // A store that took so long to say so may have given the lease up by now.
                Ok(term.holds().then_some(term))
            }
            // Also after an error: if the key was put in spite of it, it goes with the lease.
            lost => {
                let _ = self.store.lease_revoke(lease).await;
                lost.map(|_| None)
            }
        }
    }

    async fn wait_for_vacancy(&self, seen: Revision) -> Result<(), StoreError> {
        let range = KeyRange::key(self.key.clone());
        let mut watcher = self.store.watch(WatchRequest { from: Some(seen + 1), ..WatchRequest::new(range) }).await?;
        // A watch that ends is as good a reason to look again.
        while let Ok(batch) = watcher.next().await {
            if batch.events.last().is_some_and(|event| event.kind == EventKind::Delete) {
                return Ok(());
            }
        }
        Err(StoreError::Compacted { compact_revision: seen })
    }
}

/// The time in which a process is the holder. It must be [kept](Term::keep), or it ends soon.
pub struct Term {
    election: Election,
    lease: LeaseId,
    /// The revision at which it began.
    since: Revision,
    /// When it ends unless it is prolonged, on the clock of [`World::elapsed`].
    until: Mutex<Duration>,
}

impl Term {
    /// What holds in the store only as long as this term lasts there: the condition of all writes that the holder alone may do.
    pub fn guard(&self) -> Compare {
        Compare::CreateRevision { key: self.election.key.clone(), op: Cmp::Equal, revision: self.since }
    }

    /// Whether this process is still the holder. No other is while it says so, unless somebody has deleted the key by hand: then
    /// the guard alone tells the two apart until this one has heard of it.
    pub fn holds(&self) -> bool {
        self.election.world.elapsed() < self.until()
    }

    fn until(&self) -> Duration {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the term alive, and completes when it is over. What the holder does must have ended [`MARGIN`] later.
    pub async fn keep(&self) {
        tokio::select! {
            biased;
            () = self.taken_away() => {}
            () = self.prolong() => {}
        }
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Duration::ZERO;
    }

    /// Keeps the lease alive as long as that succeeds in time.
    async fn prolong(&self) {
        let Election { world, store, .. } = &self.election;
        let mut pause = KEEP_ALIVE;
        loop {
            let left = self.until().saturating_sub(world.elapsed());
            if left.is_zero() {
                return;
            }
            world.sleep(pause.min(left)).await;
            let asked = world.elapsed();
            let left = self.until().saturating_sub(asked);
            match world.timeout(left, store.lease_keep_alive(self.lease)).await {
                Ok(Ok(_)) if self.holds() => {
                    *self.until.lock().unwrap_or_else(PoisonError::into_inner) = asked + TTL - MARGIN;
                    pause = KEEP_ALIVE;
                }
                Ok(Err(StoreError::Closed | StoreError::LeaseNotFound { .. })) => return,
                // There is time to try again, or there is none and the loop ends.
                Ok(_) => pause = RETRY,
                Err(_) => return,
            }
        }
    }

    /// Completes when the key is deleted though its lease lives: somebody wants another holder.
    async fn taken_away(&self) {
        let Election { store, key, world, .. } = &self.election;
        let request = WatchRequest { from: Some(self.since + 1), ..WatchRequest::new(KeyRange::key(key.clone())) };
        let mut watcher = loop {
            match store.watch(request.clone()).await {
                Ok(watcher) => break watcher,
                Err(StoreError::Closed | StoreError::Compacted { .. }) => return,
                Err(_) => world.sleep(RETRY).await,
            }
        };
        while let Ok(batch) = watcher.next().await {
            if batch.events.iter().any(|event| event.kind == EventKind::Delete) {
                return;
            }
        }
    }

    /// Gives the key up, so that another holder follows at once. Only to be called when what was done under it has ended.
    pub async fn resign(self) {
        // If it cannot be told now, the lease tells it later.
        let _ = self.election.store.lease_revoke(self.lease).await;
    }
}
