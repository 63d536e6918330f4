//! A watch of this process: on the shared history as long as that reaches back far enough, and on etcd's own before that.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Etcd;
use super::tail::{Look, WatcherId};
use super::upstream::Upstream;
use crate::{DEFAULT_WATCH_CAPACITY, Event, KeyRange, Revision, StoreError, WatchBatch, WatchError, WatchRequest};

/// Batches that wait for a reader of old history; etcd is not read further until it takes one.
const MAX_WAITING_BATCHES: usize = 2;

/// How often a watch at etcd that is about to catch up but brings no news is asked how far it is.
const NUDGE_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct EtcdWatcher {
    etcd: Arc<Etcd>,
    id: WatcherId,
    range: KeyRange,
    prev_kv: bool,
    capacity: usize,
    /// Old history, while it is being read.
    old: Option<mpsc::Receiver<Old>>,
    ended: Option<WatchError>,
}

/// What the task that reads old history says.
enum Old {
    Batch(WatchBatch),
    /// Everything up to this revision has been said.
    Upto(Revision),
    Ended(WatchError),
}

impl Drop for EtcdWatcher {
    fn drop(&mut self) {
        self.etcd.tail.unwatch(self.id);
    }
}

impl EtcdWatcher {
    pub(super) fn new(etcd: Arc<Etcd>, request: WatchRequest, from: Revision) -> Result<EtcdWatcher, StoreError> {
        let id = etcd.tail.watch(request.range.clone(), from)?;
        let capacity = if request.capacity == 0 { DEFAULT_WATCH_CAPACITY } else { request.capacity };
        Ok(EtcdWatcher { etcd, id, range: request.range, prev_kv: request.prev_kv, capacity, old: None, ended: None })
    }

    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    pub fn progress(&self) -> Revision {
        self.etcd.tail.lock().progress(self.id)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchBatch, WatchError>> {
        loop {
            if let Some(error) = self.ended {
                return Poll::Ready(Err(error));
            }
            if let Some(old) = &mut self.old {
                let said = match old.poll_recv(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(said) => said,
                };
                match said {
                    Some(Old::Batch(batch)) => {
                        self.etcd.tail.lock().resume(self.id, batch.revision + 1);
                        return Poll::Ready(Ok(batch));
                    }
                    Some(Old::Upto(revision)) => self.etcd.tail.lock().resume(self.id, revision + 1),
                    Some(Old::Ended(error)) => self.ended = Some(error),
                    None => self.old = None,
                }
                continue;
            }
            let tail = self.etcd.tail.clone();
            let mut state = tail.lock();
            if state.closed {
                return Poll::Ready(Err(WatchError::Closed));
            }
            match state.look(self.id, self.capacity, context.waker()) {
                Look::Nothing => return Poll::Pending,
                Look::Events(mut events) => {
                    if !self.prev_kv {
                        events.iter_mut().for_each(|event| event.prev = None);
                    }
                    let revision = events.last().map_or(0, |event| event.kv.mod_revision);
                    return Poll::Ready(Ok(WatchBatch { revision, events }));
                }
                Look::Before(from) => {
                    drop(state);
                    self.old = Some(self.read_old(from));
                }
            }
        }
    }

    fn read_old(&self, from: Revision) -> mpsc::Receiver<Old> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_BATCHES);
        let (range, prev_kv, capacity) = (self.range.clone(), self.prev_kv, self.capacity);
        let nudge = self.etcd.nudge();
        let tail = self.etcd.tail.clone();
        let stop = self.etcd.tasks.stop();
        self.etcd.tasks.spawn("store-etcd-old-history", async move {
            let world = nudge.cluster.world().clone();
            let mut upstream = Upstream::new(nudge.cluster.clone(), nudge.convert.clone(), from);
            let read = async {
                let (mut quiet, mut asked) = (world.elapsed(), world.elapsed());
                loop {
                    let news = match world.timeout(NUDGE_INTERVAL, upstream.next()).await {
                        Ok(Ok(news)) => news,
                        Ok(Err(error)) => {
                            if let WatchError::Compacted { compact_revision } = error {
                                tail.compact(compact_revision);
                            }
                            let _ = sender.send(Old::Ended(error)).await;
                            return;
                        }
                        Err(_) => {
                            let now = world.elapsed();
                            if nudge.due(now - quiet, now - asked) {
                                (quiet, asked) = (if nudge.exact_progress { quiet } else { now }, now);
                                nudge.give(&mut upstream).await;
                            }
                            continue;
                        }
                    };
                    quiet = world.elapsed();
                    let own = news.events.into_iter().filter(|event| range.contains(&event.kv.key)).map(|mut event| {
                        event.prev = event.prev.filter(|_| prev_kv);
                        event
                    });
                    for batch in batches(own, capacity) {
                        if sender.send(Old::Batch(batch)).await.is_err() {
                            return;
                        }
                    }
                    let caught_up = news.upto + 1 >= tail.lock().first;
                    if sender.send(Old::Upto(news.upto)).await.is_err() || caught_up {
                        return;
                    }
                }
            };
            tokio::select! {
                biased;
                () = stop.stopped() => {}
                () = sender.closed() => {}
                () = read => {}
            }
        });
        receiver
    }
}

/// Cuts events into batches of about `capacity`, never within a revision.
fn batches(events: impl Iterator<Item = Event>, capacity: usize) -> Vec<WatchBatch> {
    let mut batches: Vec<WatchBatch> = Vec::new();
    for event in events {
        let revision = event.kv.mod_revision;
        match batches.last_mut() {
            Some(last) if last.revision == revision || last.events.len() < capacity => {
                last.revision = revision;
                last.events.push(event);
            }
            _ => batches.push(WatchBatch { revision, events: vec![event] }),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventKind, KeyValue};

    #[test]
    fn batches_are_cut_between_revisions() {
        let cases: [(&[Revision], &[usize]); 4] =
            [(&[], &[]), (&[1, 1, 1], &[3]), (&[1, 2, 3, 4, 5], &[2, 2, 1]), (&[1, 2, 2, 2, 3], &[4, 1])];
        for (revisions, expected) in cases {
            let events = revisions.iter().map(|revision| {
                let kv = KeyValue { mod_revision: *revision, ..KeyValue::default() };
                Event { kind: EventKind::Put, kv, prev: None }
            });
            let lengths: Vec<usize> = batches(events, 2).iter().map(|batch| batch.events.len()).collect();
            assert_eq!(lengths, expected, "{revisions:?}");
        }
    }
}
