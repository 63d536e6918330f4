//! One watch at etcd over everything below the prefix, from a revision on, whatever happens to connections and members.
//!
//! It yields whole revisions, each once and in order: after a break it begins anew with the first revision that it has not
//! yielded. Whoever does not call [`Upstream::next`] holds etcd back, not memory.

use std::sync::Arc;
use std::time::Duration;

use etcd_wire::{WatchAction, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse, paths};
use tokio::sync::mpsc;
use tonic::Streaming;
use world::BoxFuture;

use super::cluster::{Cluster, LONGEST_BACKOFF};
use super::convert::Convert;
use crate::{Event, Revision, WatchError};

/// Wait before a watch that broke is opened again, growing with failures in a row.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
/// Requests that wait to be sent on one stream: the creation and demands for progress.
const MAX_QUEUED_REQUESTS: usize = 4;

/// What a watch brings.
#[derive(Debug)]
pub(super) struct News {
    /// All events up to this revision have been yielded, with these.
    pub upto: Revision,
    /// Of whole revisions, in order; empty when there is only progress.
    pub events: Vec<Event>,
}

pub(super) struct Upstream {
    cluster: Arc<Cluster>,
    convert: Convert,
    /// The first revision that has not been yielded.
    next: Revision,
    open: Option<Open>,
    opening: Option<BoxFuture<'static, Result<Open, usize>>>,
    /// When the next stream may be opened.
    not_before: Duration,
    /// Events of the revision that a fragment may have cut.
    partial: Vec<Event>,
    /// The revision of the last event that came.
    last: Revision,
    backoff: Duration,
}

struct Open {
    asked: usize,
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

impl Upstream {
    pub fn new(cluster: Arc<Cluster>, convert: Convert, next: Revision) -> Upstream {
        Upstream {
            cluster,
            convert,
            next,
            open: None,
            opening: None,
            not_before: Duration::ZERO,
            partial: Vec::new(),
            last: 0,
            backoff: FIRST_BACKOFF,
        }
    }

    /// Waits for news. May be cancelled without losing any.
    ///
    /// # Errors
    /// [`WatchError::Compacted`] when the events that come next are gone.
    pub async fn next(&mut self) -> Result<News, WatchError> {
        loop {
            if self.open.is_none() {
                // Kept here, so that whoever cancels this call before a distant member has answered does not begin anew.
                let opening = self.opening.get_or_insert_with(|| {
                    let (cluster, convert) = (self.cluster.clone(), self.convert.clone());
                    Box::pin(open(cluster, convert, self.next, self.not_before))
                });
                let opened = opening.as_mut().await;
                self.opening = None;
                match opened {
                    Ok(open) => self.open = Some(open),
                    Err(asked) => {
                        self.broken(asked);
                        continue;
                    }
                }
            }
            let Some(open) = &mut self.open else { continue };
            match open.responses.message().await {
                Ok(Some(response)) => {
                    if let Some(news) = self.take(response)? {
                        return Ok(news);
                    }
                    if self.open.is_none() {
                        self.back_off();
                    }
                }
                // Whatever the reason, the next stream continues where this one has stopped.
                Ok(None) | Err(_) => {
                    let asked = open.asked;
                    self.broken(asked);
                }
            }
        }
    }

    /// Asks etcd to say how far it is. Only exact where etcd answers in order with the events, see [`super::tail`].
    pub fn request_progress(&self) {
        if let Some(open) = &self.open {
            // A full queue means that the same has been asked already.
            let _ =
                open.requests.try_send(WatchRequest { request: Some(WatchAction::Progress(WatchProgressRequest {})) });
        }
    }

    /// Gives the connection up and continues at another member.
    pub fn reopen(&mut self) {
        if let Some(open) = self.open.take() {
            self.cluster.avoid(open.asked);
        }
        self.partial.clear();
    }

    fn broken(&mut self, asked: usize) {
        self.reopen();
        self.cluster.avoid(asked);
        self.back_off();
    }

    fn back_off(&mut self) {
        self.not_before = self.cluster.world().elapsed() + self.backoff;
        self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
    }

    fn take(&mut self, response: WatchResponse) -> Result<Option<News>, WatchError> {
        let revision = self.cluster.note(response.header.as_ref());
        if response.canceled {
            self.open = None;
            self.partial.clear();
            if response.compact_revision > 0 {
                return Err(WatchError::Compacted { compact_revision: response.compact_revision });
            }
            return Ok(None);
        }
        if response.created {
            return Ok(None);
        }
        self.backoff = FIRST_BACKOFF;
        // Progress is said apart from events, never between the fragments of a response.
        if response.events.is_empty() && !response.fragment && self.partial.is_empty() {
            return Ok(self.upto(revision, Vec::new()));
        }
        let mut last = self.last;
        for event in response.events {
            last = event.kv.as_ref().map_or(last, |kv| kv.mod_revision);
            self.partial.extend(self.convert.event(event));
        }
        let mut events = std::mem::take(&mut self.partial);
        self.last = last;
        if response.fragment {
            // The rest of the last revision may be in the next fragment.
            let whole = events.partition_point(|event| event.kv.mod_revision < last);
            self.partial = events.split_off(whole);
            last -= 1;
        }
        Ok(self.upto(last, events))
    }

    fn upto(&mut self, upto: Revision, mut events: Vec<Event>) -> Option<News> {
        if upto < self.next {
            return None;
        }
        // A member may repeat what came before the revision that was asked for.
        let repeated = events.partition_point(|event| event.kv.mod_revision < self.next);
        events.drain(..repeated);
        self.next = upto + 1;
        Some(News { upto, events })
    }
}

/// Opens a stream with a watch of everything from `next` on, or says who was asked.
async fn open(cluster: Arc<Cluster>, convert: Convert, next: Revision, not_before: Duration) -> Result<Open, usize> {
    cluster.world().sleep_until(not_before).await;
    let (key, range_end) = convert.everything();
    let create = WatchCreateRequest {
        key,
        range_end,
        start_revision: next,
        progress_notify: true,
        prev_kv: true,
        fragment: true,
        ..WatchCreateRequest::default()
    };
    let (requests, mut queued) = mpsc::channel(MAX_QUEUED_REQUESTS);
    // The queue is empty, so there is room.
    let _ = requests.try_send(WatchRequest { request: Some(WatchAction::Create(create)) });
    let stream = futures_util::stream::poll_fn(move |context| queued.poll_recv(context));
    let (asked, responses) = cluster.open(paths::WATCH, stream).await.map_err(|(asked, _)| asked)?;
    Ok(Open { asked, requests, responses })
}
