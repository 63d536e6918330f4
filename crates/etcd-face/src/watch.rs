//! The Watch service: many watches on one stream, each a task, whose answers leave through one bounded queue.
//!
//! A client that does not read fills the queue, and then its watches wait; nobody else's do. What is said of progress leaves
//! through the same queue after the events that it covers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use etcd_wire as wire;
use prost::Message;
use store::{KeyRange, Revision, StoreError, WatchBatch, WatchError, WatchRequest, Watcher};
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};

use crate::service::Answers;
use crate::status::status;
use crate::{Face, convert, header};

/// Responses that wait for one client.
const MAX_QUEUED_RESPONSES: usize = 16;
/// Watches on one stream: each costs a task.
const MAX_WATCHES_PER_STREAM: usize = 10_000;
/// Demands for progress that wait for one watch; more ask for the same.
const MAX_QUEUED_DEMANDS: usize = 4;
/// From this size on, in bytes, a response is split where the client allows it (etcd's `--max-request-bytes`).
const FRAGMENT_BYTES: usize = 1536 << 10;
/// Events in a response, unless one revision has more.
const BATCH_EVENTS: usize = 1000;
/// The watch of a response that is for no watch in particular.
const NO_WATCH: i64 = -1;

type Queue = mpsc::Sender<Result<wire::WatchResponse, Status>>;

pub(crate) fn watch(face: Arc<Face>, mut requests: Streaming<wire::WatchRequest>) -> Answers<wire::WatchResponse> {
    let (queue, mut queued) = mpsc::channel(MAX_QUEUED_RESPONSES);
    let tasks = face.tasks.clone();
    tasks.spawn("etcd-watch-stream", async move {
        let stop = face.tasks.stop();
        let mut stream = Stream { face, queue: queue.clone(), watches: BTreeMap::new(), next_id: 0 };
        let serve = async {
            // A client that only listens has ended its side, and still listens.
            while let Ok(Some(request)) = requests.message().await {
                stream.handle(request).await;
            }
            queue.closed().await;
        };
        tokio::select! {
            biased;
            () = stop.stopped() => drop(queue.try_send(Err(status(StoreError::Closed)))),
            () = queue.closed() => {}
            () = serve => {}
        }
    });
    Answers::new(futures_util::stream::poll_fn(move |context| queued.poll_recv(context)))
}

/// One stream and its watches.
struct Stream {
    face: Arc<Face>,
    queue: Queue,
    watches: BTreeMap<i64, Watch>,
    next_id: i64,
}

/// Dropping it ends the watch.
struct Watch {
    /// Asks how far the watch is, once all events before have left.
    demands: mpsc::Sender<oneshot::Sender<Revision>>,
}

impl Stream {
    async fn handle(&mut self, request: wire::WatchRequest) {
        // Watches that ended by themselves have dropped their side.
        self.watches.retain(|_, watch| !watch.demands.is_closed());
        match request.request {
            Some(wire::WatchAction::Create(create)) => self.create(create).await,
            Some(wire::WatchAction::Cancel(cancel)) => self.cancel(cancel.watch_id).await,
            Some(wire::WatchAction::Progress(_)) => self.progress().await,
            None => {}
        }
    }

    async fn cancel(&mut self, watch_id: i64) {
        if self.watches.remove(&watch_id).is_some() {
            let header = Some(header(self.face.store.revision()));
            self.send(wire::WatchResponse { header, watch_id, canceled: true, ..wire::WatchResponse::default() }).await;
        }
    }

    async fn send(&self, response: wire::WatchResponse) {
        // The client is gone, and the stream's task ends for it.
        let _ = self.queue.send(Ok(response)).await;
    }

    async fn create(&mut self, create: wire::WatchCreateRequest) {
        let id = match self.id(create.watch_id) {
            Ok(id) => id,
            Err(reason) => return self.refuse(NO_WATCH, reason.to_owned(), 0).await,
        };
        let range = match range(&create) {
            Ok(range) => range,
            Err(reason) => return self.refuse(NO_WATCH, reason, 0).await,
        };
        let revision = match self.face.store.current_revision().await {
            Ok(revision) => revision,
            Err(error) => return self.refuse(NO_WATCH, error.to_string(), 0).await,
        };
        // A client that begins now resumes from the revision that it is told.
        let from = if create.start_revision > 0 { create.start_revision } else { revision + 1 };
        let request = WatchRequest { range, from: Some(from), prev_kv: create.prev_kv, capacity: BATCH_EVENTS };
        let created = wire::WatchResponse {
            header: Some(header(revision)),
            watch_id: id,
            created: true,
            ..wire::WatchResponse::default()
        };
        match self.face.store.watch(request).await {
            Ok(watcher) => {
                self.send(created).await;
                let watch = self.follow(id, watcher, &create);
                self.watches.insert(id, watch);
            }
            Err(StoreError::Compacted { compact_revision }) => {
                self.send(created).await;
                self.send(compacted(id, revision, compact_revision)).await;
            }
            Err(error) => self.refuse(NO_WATCH, error.to_string(), 0).await,
        }
    }

    fn id(&mut self, wanted: i64) -> Result<i64, &'static str> {
        if self.watches.len() >= MAX_WATCHES_PER_STREAM {
            return Err("etcdserver: too many watches on the stream");
        }
        if wanted != 0 {
            let taken = self.watches.contains_key(&wanted);
            return if taken { Err("mvcc: duplicate watch ID provided on the WatchStream") } else { Ok(wanted) };
        }
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    async fn refuse(&self, watch_id: i64, cancel_reason: String, compact_revision: Revision) {
        self.send(wire::WatchResponse {
            header: Some(header(self.face.store.revision())),
            watch_id,
            created: true,
            canceled: true,
            cancel_reason,
            compact_revision,
            ..wire::WatchResponse::default()
        })
        .await;
    }

    /// How far all watches of the stream are. A watch that has ended is no longer asked.
    async fn progress(&self) {
        let mut revision = match self.watches.is_empty() {
            true => self.face.store.revision(),
            false => Revision::MAX,
        };
        for watch in self.watches.values() {
            let (answer, answered) = oneshot::channel();
            if watch.demands.send(answer).await.is_ok()
                && let Ok(progress) = answered.await
            {
                revision = revision.min(progress);
            }
        }
        if revision < Revision::MAX {
            let header = Some(header(revision));
            self.send(wire::WatchResponse { header, watch_id: NO_WATCH, ..wire::WatchResponse::default() }).await;
        }
    }

    fn follow(&self, id: i64, watcher: Watcher, create: &wire::WatchCreateRequest) -> Watch {
        let (demands, demanded) = mpsc::channel(MAX_QUEUED_DEMANDS);
        let without = |filter: wire::FilterType| create.filters.contains(&filter.into());
        let follower = Follower {
            face: self.face.clone(),
            queue: self.queue.clone(),
            id,
            watcher,
            demanded,
            without_puts: without(wire::FilterType::Noput),
            without_deletes: without(wire::FilterType::Nodelete),
            fragment: create.fragment,
            notify: create.progress_notify,
        };
        let stop = self.face.tasks.stop();
        self.face.tasks.spawn("etcd-watch", async move {
            stop.or(follower.run()).await;
        });
        Watch { demands }
    }
}

fn range(create: &wire::WatchCreateRequest) -> Result<KeyRange, String> {
    // A watch, unlike a read, may begin with the empty key, which is the lowest.
    let key = if create.key.is_empty() { Bytes::from_static(b"\0") } else { create.key.clone() };
    let end = create.range_end.clone();
    if !end.is_empty() && &end[..] != b"\0" && key >= end {
        return Err("mvcc: watcher range is empty".to_owned());
    }
    convert::key_range(key, end).map_err(|status| status.message().to_owned())
}

fn compacted(watch_id: i64, revision: Revision, compact_revision: Revision) -> wire::WatchResponse {
    wire::WatchResponse {
        header: Some(header(revision)),
        watch_id,
        canceled: true,
        compact_revision,
        cancel_reason: StoreError::Compacted { compact_revision }.to_string(),
        ..wire::WatchResponse::default()
    }
}

/// The task of one watch.
struct Follower {
    face: Arc<Face>,
    queue: Queue,
    id: i64,
    watcher: Watcher,
    demanded: mpsc::Receiver<oneshot::Sender<Revision>>,
    without_puts: bool,
    without_deletes: bool,
    fragment: bool,
    notify: bool,
}

impl Follower {
    async fn run(mut self) {
        loop {
            let idle = self.face.world().sleep(self.face.progress_interval);
            tokio::select! {
                // Events first: what is said of progress covers them.
                biased;
                batch = self.watcher.next() => {
                    let sent = match batch {
                        Ok(batch) => self.send(batch).await,
                        Err(WatchError::Compacted { compact_revision }) => {
                            let revision = self.face.store.revision();
                            let _ = self.queue.send(Ok(compacted(self.id, revision, compact_revision))).await;
                            return;
                        }
                        Err(WatchError::Closed) => {
                            let _ = self.queue.send(Err(status(StoreError::Closed))).await;
                            return;
                        }
                    };
                    if !sent {
                        return;
                    }
                }
                demand = self.demanded.recv() => match demand {
                    // Whoever asked may have gone meanwhile.
                    Some(answer) => drop(answer.send(self.watcher.progress())),
                    None => return,
                },
                () = idle, if self.notify => {
                    let header = Some(header(self.watcher.progress()));
                    let notice = wire::WatchResponse { header, watch_id: self.id, ..wire::WatchResponse::default() };
                    if self.queue.send(Ok(notice)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Sends what the filters leave; false when the client is gone, or has cancelled the watch meanwhile.
    async fn send(&mut self, batch: WatchBatch) -> bool {
        let wanted = |event: &store::Event| match event.kind {
            store::EventKind::Delete => !self.without_deletes,
            store::EventKind::Put => !self.without_puts,
        };
        let events: Vec<wire::Event> = batch.events.into_iter().filter(wanted).map(convert::event).collect();
        if events.is_empty() {
            return true;
        }
        let pieces = if self.fragment { pieces(events) } else { vec![events] };
        let last = pieces.len() - 1;
        for (i, events) in pieces.into_iter().enumerate() {
            let response = wire::WatchResponse {
                header: Some(header(batch.revision)),
                watch_id: self.id,
                fragment: i < last,
                events,
                ..wire::WatchResponse::default()
            };
            if self.queue.send(Ok(response)).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Splits events where a response would become too large. At least one piece; none is empty.
fn pieces(events: Vec<wire::Event>) -> Vec<Vec<wire::Event>> {
    let mut pieces: Vec<Vec<wire::Event>> = Vec::new();
    let mut bytes = 0;
    for event in events {
        let size = event.encoded_len();
        match pieces.last_mut() {
            Some(piece) if bytes + size <= FRAGMENT_BYTES => piece.push(event),
            _ => {
                bytes = 0;
                pieces.push(vec![event]);
            }
        }
        bytes += size;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_responses_are_split() {
        let event = |bytes: usize| {
            let kv = wire::KeyValue { value: vec![0; bytes].into(), ..wire::KeyValue::default() };
            wire::Event { kv: Some(kv), ..wire::Event::default() }
        };
        let mib = 1 << 20;
        let cases: [(&[usize], &[usize]); 4] = [
            (&[1, 1, 1], &[3]),
            (&[mib, mib, mib], &[1, 1, 1]),
            (&[mib / 2, mib / 2, mib / 2, mib / 2], &[2, 2]),
            (&[2 * mib, 1], &[1, 1]),
        ];
        for (sizes, expected) in cases {
            let events = sizes.iter().map(|size| event(*size)).collect();
            let lengths: Vec<usize> = pieces(events).iter().map(Vec::len).collect();
            assert_eq!(lengths, expected, "{sizes:?}");
        }
    }
}
