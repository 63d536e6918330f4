//! Brings what was committed to the store into the watch caches, in order.
//!
//! Whoever wants the caches to be current pumps: a writer after its commit, a reader that must see what others have written, and
//! the feed's own task for everybody else (expired leases, other processes). So a reader never sees a state older than a write
//! that was answered before, whoever answered it.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use k8s_object::{ApiError, NamespacedName, Object};
use store::{EventKind, Keyspace, RangeRequest, Revision, WatchRequest, Watcher};
use world::World;
use world::watch;

use crate::encryption::Encryption;
use crate::storage;

/// How often it is looked how far a watch has come while somebody waits for it: the watch of a store that is elsewhere may get
/// there without an event.
const PROGRESS: Duration = Duration::from_millis(10);

/// Where changes go.
pub(crate) trait Target: Send + Sync {
    /// Changes of one revision and one resource, in order.
    fn apply(&self, group: &str, plural: &str, changes: Vec<(NamespacedName, Option<Arc<Object>>)>, revision: Revision);
    /// Everything there is, at one revision, by group and plural.
    fn replace(&self, objects: Vec<(String, String, Arc<Object>)>, revision: Revision);
}

pub(crate) struct Feed {
    keyspace: Keyspace,
    encryption: Arc<Encryption>,
    source: Mutex<Source>,
    revision: AtomicI64,
    reached: watch::Sender<Revision>,
}

struct Source {
    /// Absent before the first load and after history was lost.
    watcher: Option<Watcher>,
    /// Wakes the feed's task.
    waker: Waker,
}

impl Feed {
    pub(crate) fn new(keyspace: Keyspace, encryption: Arc<Encryption>) -> Feed {
        Feed {
            keyspace,
            encryption,
            source: Mutex::new(Source { watcher: None, waker: Waker::noop().clone() }),
            revision: AtomicI64::new(0),
            reached: watch::channel(0).0,
        }
    }

    /// The revision that the caches have reached.
    pub(crate) fn revision(&self) -> Revision {
        self.revision.load(Ordering::Acquire)
    }

    /// Reads everything and watches from there.
    pub(crate) async fn load(&self, target: &dyn Target) -> Result<(), ApiError> {
        let range = self.keyspace.range(RangeRequest::new(storage::everything())).await.map_err(storage::error)?;
        let mut objects = Vec::with_capacity(range.kvs.len());
        for kv in range.kvs {
            let Some(key) = storage::parse(&kv.key) else { continue };
            let object = Arc::new(self.encryption.object(&kv).await?);
            objects.push((key.group.to_owned(), key.plural.to_owned(), object));
        }
        let mut request = WatchRequest::new(storage::everything());
        request.from = Some(range.revision + 1);
        let watcher = self.keyspace.watch(request).await.map_err(storage::error)?;
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        target.replace(objects, range.revision);
        source.watcher = Some(watcher);
        self.advance(range.revision);
        Ok(())
    }

    fn advance(&self, revision: Revision) {
        self.revision.store(revision, Ordering::Release);
        if *self.reached.borrow() < revision {
            self.reached.send_replace(revision);
        }
    }

    /// Applies what there is without waiting. Returns whether the watch is still good.
    fn pump(&self, target: &dyn Target, waker: Option<&Waker>) -> bool {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = waker {
            source.waker = waker.clone();
        }
        let Source { watcher, waker } = &mut *source;
        let mut context = Context::from_waker(waker);
        let Some(watching) = watcher.as_mut() else { return false };
        let lost = loop {
            match pin!(watching.next()).poll(&mut context) {
                Poll::Ready(Ok(batch)) => {
                    if !self.apply(target, batch.events) {
                        break true;
                    }
                    self.advance(batch.revision);
                }
                Poll::Ready(Err(_)) => break true,
                Poll::Pending => break false,
            }
        };
        if lost {
            *watcher = None;
            // Whoever has found out, it is the feed's task that loads anew.
            waker.wake_by_ref();
            return false;
        }
        // Revisions of other keyspaces count too: they make bookmarks and lists newer.
        let progress = watching.progress();
        if progress > self.revision() {
            self.advance(progress);
        }
        true
    }

    /// False when an object is encrypted under a key that is not known yet: the next load asks for it.
    fn apply(&self, target: &dyn Target, events: Vec<store::Event>) -> bool {
        let mut pending: Vec<(NamespacedName, Option<Arc<Object>>)> = Vec::new();
        let mut current: (String, String, Revision) = Default::default();
        for event in events {
            let Some(key) = storage::parse(&event.kv.key) else { continue };
            let revision = event.kv.mod_revision;
            if (key.group, key.plural, revision) != (current.0.as_str(), current.1.as_str(), current.2) {
                if !pending.is_empty() {
                    target.apply(&current.0, &current.1, std::mem::take(&mut pending), current.2);
                }
                current = (key.group.to_owned(), key.plural.to_owned(), revision);
            }
            let object = match event.kind {
                EventKind::Delete => None,
                // Only this crate writes here, so a value that cannot be read is damage that the next load reports.
                EventKind::Put => match self.encryption.object_now(&event.kv) {
                    Ok(Some(object)) => Some(Arc::new(object)),
                    Ok(None) => return false,
                    Err(_) => continue,
                },
            };
            pending.push((NamespacedName::new(key.namespace, key.name), object));
        }
        if !pending.is_empty() {
            target.apply(&current.0, &current.1, pending, current.2);
        }
        true
    }

    /// Waits until the caches have reached `revision`; at once where the store tells of its commits at once.
    pub(crate) async fn reach(&self, target: &dyn Target, world: &World, revision: Revision) {
        if self.revision() >= revision {
            return;
        }
        self.pump(target, None);
        while self.revision() < revision {
            let mut reached = self.reached.subscribe();
            // The sender lives as long as `self`, so waiting fails only when it takes long.
            let _ = world.timeout(PROGRESS, reached.wait_for(|reached| *reached >= revision)).await;
            self.pump(target, None);
        }
    }

    /// Pumps whenever something comes, and loads anew when history was lost. Runs until it is dropped.
    pub(crate) async fn run(&self, target: &dyn Target, world: &World) {
        loop {
            std::future::poll_fn(|context| {
                let good = self.pump(target, Some(context.waker()));
                if good { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            if self.load(target).await.is_err() {
                world.sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
