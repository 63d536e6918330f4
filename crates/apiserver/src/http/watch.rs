//! A watch as a stream of JSON lines, built from the objects' own bytes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::Response;
use k8s_object::{ApiError, Object};
use serde_json::{Value, json};
use serve::Body;
use store::Revision;
use world::BoxFuture;

use super::negotiate::View;
use super::respond;
use super::table::{self, Include};
use crate::core::Core;
use crate::watch::{Cursor, Item};

/// How often a quiet watch is told how far it is (apiserver: about a minute).
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch lasts that does not say: half an hour to an hour, so that clients do not all come back at once.
const MIN_TIMEOUT: u64 = 1800;

struct Stream {
    core: Arc<Core>,
    cursor: Cursor,
    view: View,
    include: Include,
    /// Of [`world::World::elapsed`].
    end: Duration,
    next_bookmark: Duration,
    /// The columns of a Table are told once.
    columns_sent: bool,
    finished: bool,
}

/// Answers as a watch that fails at once: whoever may watch is told in an event that it must list again.
pub(crate) fn failed(error: &ApiError) -> Response<Body> {
    let mut frames = BytesMut::new();
    write(&mut frames, "ERROR", error.to_status().to_string().as_bytes());
    respond::stream(serve::full(frames.freeze()))
}

/// Answers with the events of a watch until its time is up, the client goes, or the server stops.
pub(crate) fn respond(
    core: Arc<Core>,
    cursor: Cursor,
    view: View,
    include: Include,
    timeout: Option<u64>,
) -> Response<Body> {
    let seconds = timeout.unwrap_or_else(|| MIN_TIMEOUT + core.world.below(MIN_TIMEOUT));
    let now = core.world.elapsed();
    let stream = Stream {
        end: now + Duration::from_secs(seconds),
        next_bookmark: now + BOOKMARK_EVERY,
        columns_sent: false,
        finished: false,
        core,
        cursor,
        view,
        include,
    };
    type Step = BoxFuture<'static, (Stream, Option<Bytes>)>;
    let mut idle = Some(stream);
    let mut running: Option<Step> = None;
    let body = serve::stream(move |context| {
        let mut step = match (running.take(), idle.take()) {
            (Some(step), _) => step,
            (None, Some(stream)) => Box::pin(stream.next()),
            (None, None) => return Poll::Ready(None),
        };
        match Pin::new(&mut step).poll(context) {
            Poll::Pending => {
                running = Some(step);
                Poll::Pending
            }
            Poll::Ready((stream, Some(bytes))) => {
                idle = Some(stream);
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready((_, None)) => Poll::Ready(None),
        }
    });
    respond::stream(body)
}

impl Stream {
    async fn next(mut self) -> (Stream, Option<Bytes>) {
        if self.finished {
            return (self, None);
        }
        loop {
            let mut frames = BytesMut::new();
            let taken = match self.cursor.take(&self.core) {
                Ok((items, revision)) => self.cursor.convert(&self.core, items).await.map(|items| (items, revision)),
                Err(error) => Err(error),
            };
            let caught_up = match taken {
                Ok((items, revision)) => {
                    for item in items {
                        self.frame(&mut frames, item);
                    }
                    revision
                }
                Err(error) => {
                    self.finished = true;
                    write(&mut frames, "ERROR", error.to_status().to_string().as_bytes());
                    return (self, Some(frames.freeze()));
                }
            };
            if !frames.is_empty() {
                return (self, Some(frames.freeze()));
            }
            let now = self.core.world.elapsed();
            let over = now >= self.end;
            if self.cursor.bookmarks && caught_up > 0 && (over || now >= self.next_bookmark) {
                self.next_bookmark = now + BOOKMARK_EVERY;
                self.bookmark(&mut frames, caught_up, false);
                self.finished = over;
                return (self, Some(frames.freeze()));
            }
            if over {
                return (self, None);
            }
            let until = if self.cursor.bookmarks { self.end.min(self.next_bookmark) } else { self.end };
            let core = self.core.clone();
            let wait = core.world.timeout(until.saturating_sub(now), self.cursor.wait());
            if core.stop.or(wait).await.is_none() {
                return (self, None);
            }
        }
    }

    fn frame(&mut self, frames: &mut BytesMut, item: Item) {
        match item {
            Item::Added(object) => self.event(frames, "ADDED", &object),
            Item::Modified(object) => self.event(frames, "MODIFIED", &object),
            Item::Deleted(object) => self.event(frames, "DELETED", &object),
            Item::InitialEnd(revision) => self.bookmark(frames, revision, true),
        }
    }

    fn event(&mut self, frames: &mut BytesMut, kind: &str, object: &Object) {
        match self.view {
            View::Object => write(frames, kind, object.json()),
            View::PartialObjectMetadata | View::PartialObjectMetadataList => {
                write(frames, kind, table::partial(&object.value()).to_string().as_bytes());
            }
            View::Table => {
                let row = table::row(&self.cursor.resource, object, self.include, self.core.world.now());
                let metadata = json!({"resourceVersion": object.meta().resource_version});
                let columns = !std::mem::replace(&mut self.columns_sent, true);
                let table = table::table(&self.cursor.resource, metadata, vec![row], columns);
                write(frames, kind, table.to_string().as_bytes());
            }
        }
    }

    fn bookmark(&self, frames: &mut BytesMut, revision: Revision, initial_end: bool) {
        let resource = &self.cursor.resource;
        let (api_version, kind) = match self.view {
            View::Object => (resource.api_version(), resource.kind.as_str()),
            View::Table => ("meta.k8s.io/v1".to_owned(), "Table"),
            View::PartialObjectMetadata | View::PartialObjectMetadataList => {
                ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata")
            }
        };
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": Value::Null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        write(frames, "BOOKMARK", object.to_string().as_bytes());
    }
}

fn write(frames: &mut BytesMut, kind: &str, object: &[u8]) {
    frames.reserve(object.len() + kind.len() + 24);
    frames.put_slice(b"{\"type\":\"");
    frames.put_slice(kind.as_bytes());
    frames.put_slice(b"\",\"object\":");
    frames.put_slice(object);
    frames.put_slice(b"}\n");
}
