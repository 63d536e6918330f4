//! A watch as a stream of JSON lines or of protobuf frames, built from what the objects are encoded as.

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

use super::negotiate::{Accepted, Format, View};
use super::protobuf;
use super::respond;
use super::table::{self, Include};
use crate::core::Core;
use crate::metrics::{Counter, EVENT_SIZES, Histogram, Tally};
use crate::registry::Resource;
use crate::runs::{Run, Shape, Watching};
use crate::watch::{Cursor, FRAME, Item, Taken};

/// How often a quiet watch is told how far it is (apiserver: about a minute).
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch lasts that does not say: half an hour to an hour, so that clients do not all come back at once.
const MIN_TIMEOUT: u64 = 1800;
/// The minor from which on a time that is none is left out of JSON.
const OMITS_ZERO_TIME: u8 = 34;

struct Stream {
    core: Arc<Core>,
    cursor: Cursor,
    accepted: Accepted,
    include: Include,
    /// Of [`world::World::elapsed`].
    end: Duration,
    next_bookmark: Duration,
    /// What others are told too; `None` where they are not.
    shape: Option<Shape>,
    watching: Watching,
    /// Until when changes are gathered.
    pulse: Duration,
    /// Counts of what was sent, from the first event on.
    sent: Option<(Arc<Counter>, Arc<Histogram>)>,
    /// The columns of a Table are told once.
    columns_sent: bool,
    finished: bool,
}

/// What a watch has to tell.
enum Told {
    /// These frames.
    Run(Bytes),
    /// What was written, if anything was; all before this revision, or zero where that is not known.
    UpTo(Revision),
    /// That there is no more to come.
    End,
}

/// Answers as a watch that fails at once: whoever may watch is told in an event that it must list again.
pub(crate) fn failed(error: &ApiError, format: Format) -> Response<Body> {
    let mut frames = BytesMut::new();
    let status = error.to_status();
    match format {
        Format::Protobuf => match protobuf::event_of("ERROR", &status) {
            Ok(frame) => frames.put_slice(&frame),
            Err(error) => return respond::failure(&error, Format::Json),
        },
        Format::Json | Format::PrettyJson | Format::Yaml => {
            write_text(&mut frames, "ERROR", &respond::json_text(&status))
        }
    }
    respond::stream(serve::full(frames.freeze()), format)
}

/// Answers with the events of a watch until its time is up, the client goes, or the server stops.
pub(crate) fn respond(
    core: Arc<Core>,
    cursor: Cursor,
    accepted: Accepted,
    include: Include,
    timeout: Option<u64>,
) -> Response<Body> {
    let seconds = timeout.unwrap_or_else(|| MIN_TIMEOUT + core.world.below(MIN_TIMEOUT));
    let now = core.world.elapsed();
    let stream = Stream {
        end: now + Duration::from_secs(seconds),
        next_bookmark: now + BOOKMARK_EVERY,
        // A Table's first row has its columns with it.
        shape: (accepted.view != View::Table).then(|| cursor.shape(accepted)).flatten(),
        watching: cursor.enter(),
        pulse: Duration::ZERO,
        sent: None,
        columns_sent: false,
        finished: false,
        core,
        cursor,
        accepted,
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
    respond::stream(body, accepted.format)
}

impl Stream {
    async fn next(mut self) -> (Stream, Option<Bytes>) {
        if self.finished {
            return (self, None);
        }
        loop {
            let mut now = self.core.world.elapsed();
            // Changes that follow closely go together; what there is already does not wait.
            let until = if self.cursor.bookmarks { self.end.min(self.next_bookmark) } else { self.end };
            if now >= self.pulse.min(until) || self.cursor.is_behind() {
                let mut frames = BytesMut::new();
                let caught_up = match self.take(&mut frames).await {
                    Ok(Told::Run(run)) => return (self, Some(run)),
                    Ok(Told::UpTo(revision)) => revision,
                    Ok(Told::End) => return (self, None),
                    Err(error) => {
                        self.finished = true;
                        let Resource { group, plural, .. } = &*self.cursor.resource;
                        self.core.metrics.terminated_watchers.with(&[group, plural]).inc();
                        self.document(&mut frames, "ERROR", &error.to_status());
                        return (self, Some(frames.freeze()));
                    }
                };
                now = self.core.world.elapsed();
                if !frames.is_empty() {
                    self.pulse = self.watching.next_pulse(now);
                    return (self, Some(frames.freeze()));
                }
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
            }
            let core = self.core.clone();
            let wait = core.world.timeout(until.saturating_sub(now), self.cursor.wait());
            let Some(waited) = core.stop.or(wait).await else { return (self, None) };
            let rest = self.pulse.min(until).saturating_sub(core.world.elapsed());
            if waited.is_ok() && !rest.is_zero() && core.stop.or(core.world.sleep(rest)).await.is_none() {
                return (self, None);
            }
        }
    }

    /// Writes what there is to `frames`, or finds it written.
    async fn take(&mut self, frames: &mut BytesMut) -> Result<Told, ApiError> {
        let (items, revision, span) = match self.cursor.take(&self.core, self.shape.as_ref())? {
            Taken::Run(run) => {
                self.count(&run.sizes);
                self.pulse = self.watching.next_pulse(self.core.world.elapsed());
                return Ok(Told::Run(run.frames));
            }
            Taken::Items { items, revision, span } => (items, revision, span),
            Taken::End => return Ok(Told::End),
        };
        let items = self.cursor.convert(&self.core, items).await?;
        frames.reserve(items.iter().map(Item::bytes).sum());
        let mut sizes = Vec::with_capacity(items.len());
        for item in items {
            let before = frames.len();
            self.frame(frames, item);
            sizes.push((frames.len() - before) as f64);
        }
        let sizes = Tally::new(EVENT_SIZES, &sizes);
        self.count(&sizes);
        match (&self.shape, span) {
            (Some(shape), Some((from, to))) if !frames.is_empty() && !self.finished => {
                let run = Run { from, to, frames: std::mem::take(frames).freeze(), sizes: Arc::new(sizes) };
                self.watching.keep(shape, run.clone());
                self.pulse = self.watching.next_pulse(self.core.world.elapsed());
                Ok(Told::Run(run.frames))
            }
            _ => Ok(Told::UpTo(revision)),
        }
    }

    /// Events of such sizes go out.
    fn count(&mut self, sizes: &Tally) {
        let events = sizes.count();
        if events == 0 {
            return;
        }
        let metrics = &self.core.metrics;
        let (sent, bytes) = self.sent.get_or_insert_with(|| {
            let Resource { group, version, plural, .. } = &*self.cursor.resource;
            let labels = [group.as_str(), version, plural];
            (metrics.watch_events.with(&labels).clone(), metrics.watch_event_sizes.with(&labels).clone())
        });
        sent.add(events);
        bytes.add(sizes);
    }

    fn frame(&mut self, frames: &mut BytesMut, item: Item) {
        match item {
            Item::Added(object) => self.event(frames, "ADDED", &object),
            Item::Modified(object) => self.event(frames, "MODIFIED", &object),
            Item::Deleted(object) => self.event(frames, "DELETED", &object),
            Item::InitialEnd(revision) => self.bookmark(frames, revision, true),
            // It has been decided.
            Item::Undecided(_) => {}
        }
    }

    fn event(&mut self, frames: &mut BytesMut, kind: &str, object: &Object) {
        match (self.accepted.view, self.accepted.format) {
            (View::Object, Format::Protobuf) => match protobuf::event(kind, object) {
                Ok(frame) => frames.put_slice(&frame),
                Err(error) => self.fail(frames, &error),
            },
            (View::Object, _) => write(frames, kind, object.json_len(), |frames| object.write_json(frames)),
            (View::PartialObjectMetadata | View::PartialObjectMetadataList, _) => {
                let partial = table::partial(&object.value(), self.accepted.meta);
                self.document(frames, kind, &partial);
            }
            (View::Table, _) => {
                let table = self.table(object.value(), &object.meta().resource_version);
                self.document(frames, kind, &table);
            }
        }
    }

    fn table(&mut self, value: Value, resource_version: &str) -> Value {
        let options = table::Options { include: self.include, meta: self.accepted.meta };
        let row = table::row_of(&self.cursor.resource, value, options, self.core.world.now());
        let metadata = json!({"resourceVersion": resource_version});
        let columns = !std::mem::replace(&mut self.columns_sent, true);
        table::table(&self.cursor.resource, metadata, vec![row], self.accepted.meta, columns)
    }

    /// A bookmark is an object that has nothing but its kind and version.
    fn bookmark(&mut self, frames: &mut BytesMut, revision: Revision, initial_end: bool) {
        let resource = self.cursor.resource.clone();
        let revision = revision.to_string();
        let mut metadata = json!({"resourceVersion": revision});
        if self.core.minor < OMITS_ZERO_TIME {
            metadata["creationTimestamp"] = Value::Null;
        }
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut object = json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
        let told = match self.accepted.view {
            View::Object => {
                resource.schema.canonicalise(&mut object);
                object
            }
            View::Table => self.table(object, &revision),
            View::PartialObjectMetadata | View::PartialObjectMetadataList => {
                table::partial(&object, self.accepted.meta)
            }
        };
        self.document(frames, "BOOKMARK", &told);
    }

    /// Any document in the form of the watch.
    fn document(&mut self, frames: &mut BytesMut, kind: &str, value: &Value) {
        match self.accepted.format {
            Format::Protobuf => match protobuf::event_of(kind, value) {
                Ok(frame) => frames.put_slice(&frame),
                // It ends without a word: what cannot be told is what there was to tell.
                Err(_) if kind == "ERROR" => self.finished = true,
                Err(error) => self.fail(frames, &error),
            },
            Format::Json | Format::PrettyJson | Format::Yaml => write_text(frames, kind, &respond::json_text(value)),
        }
    }

    /// Ends the watch with an error, so that the client lists again instead of missing something.
    fn fail(&mut self, frames: &mut BytesMut, error: &ApiError) {
        self.finished = true;
        self.document(frames, "ERROR", &error.to_status());
    }
}

fn write_text(frames: &mut BytesMut, kind: &str, text: &[u8]) {
    write(frames, kind, text.len(), |frames| frames.put_slice(text));
}

/// Writes an event with an object of so many bytes.
fn write(frames: &mut BytesMut, kind: &str, length: usize, object: impl FnOnce(&mut BytesMut)) {
    frames.reserve(length + FRAME);
    frames.put_slice(b"{\"type\":\"");
    frames.put_slice(kind.as_bytes());
    frames.put_slice(b"\",\"object\":");
    object(frames);
    frames.put_slice(b"}\n");
}
