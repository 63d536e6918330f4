//! Watching: the events of a range from a revision on, in order, none lost.

use bytes::Buf;

use crate::embedded::EmbeddedWatcher;
use crate::etcd::EtcdWatcher;
use crate::{KeyRange, KeyValue, Revision, WatchError};

/// Asks for the events of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRequest {
    pub range: KeyRange,
    /// The first revision whose events are wanted, past or future; from now on when absent or not positive.
    pub from: Option<Revision>,
    /// Whether events carry the version that was live before, as far as it is not compacted.
    pub prev_kv: bool,
    /// How many events a batch should have at most; 0 is [`crate::DEFAULT_WATCH_CAPACITY`]. A revision is never
    /// split, so one large transaction can exceed it.
    pub capacity: usize,
}

impl WatchRequest {
    /// The events of `range` from now on.
    pub fn new(range: KeyRange) -> WatchRequest {
        WatchRequest { range, from: None, prev_kv: false, capacity: 0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Delete,
    Put,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    /// What was written; a deletion has only key and `mod_revision`.
    pub kv: KeyValue,
    /// What was live before, if the watch asked for it.
    pub prev: Option<KeyValue>,
}

/// The events of one revision, or of several that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision of the last event.
    pub revision: Revision,
    /// In order; never empty.
    pub events: Vec<Event>,
}

/// A watch under way; dropping it ends it.
pub struct Watcher {
    source: Source,
    /// Bytes of every key that its keyspace hides.
    hidden: usize,
}

/// One per engine.
enum Source {
    Embedded(EmbeddedWatcher),
    Etcd(EtcdWatcher),
}

impl Watcher {
    pub(crate) fn embedded(watcher: EmbeddedWatcher) -> Watcher {
        Watcher { source: Source::Embedded(watcher), hidden: 0 }
    }

    pub(crate) fn etcd(watcher: EtcdWatcher) -> Watcher {
        Watcher { source: Source::Etcd(watcher), hidden: 0 }
    }

    pub(crate) fn hide(mut self, bytes: usize) -> Watcher {
        self.hidden += bytes;
        self
    }

    /// Waits for events. May be cancelled without losing any.
    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        let mut batch = match &mut self.source {
            Source::Embedded(watcher) => watcher.next().await?,
            Source::Etcd(watcher) => watcher.next().await?,
        };
        if self.hidden > 0 {
            for event in &mut batch.events {
                event.kv.key.advance(self.hidden);
                if let Some(prev) = &mut event.prev {
                    prev.key.advance(self.hidden);
                }
            }
        }
        Ok(batch)
    }

    /// All events of the range up to this revision have been returned: resume after it.
    pub fn progress(&self) -> Revision {
        match &self.source {
            Source::Embedded(watcher) => watcher.progress(),
            Source::Etcd(watcher) => watcher.progress(),
        }
    }
}
