//! One watcher's walk through the log.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::Core;
use super::state::State;
use super::watchers::Cursor;
use crate::{DEFAULT_WATCH_CAPACITY, Event, EventKind, KeyRange, Revision, WatchBatch, WatchError, WatchRequest};

/// How many events a watcher looks at before it lets a waiting writer have the lock.
const EVENTS_PER_LOCK: usize = 4096;

pub(crate) struct EmbeddedWatcher {
    core: Arc<Core>,
    range: KeyRange,
    id: u64,
    cursor: Arc<Cursor>,
    prev_kv: bool,
    capacity: usize,
    /// All events of the range up to here have been returned.
    seen: Revision,
}

impl Drop for EmbeddedWatcher {
    fn drop(&mut self) {
        self.core.unwatch(&self.range, self.id);
    }
}

/// What one look at the log gave.
enum Look {
    Batch(WatchBatch),
    /// Nothing so far, and there is more to look at.
    Again,
    /// Nothing, and all is seen.
    Nothing,
}

impl EmbeddedWatcher {
    pub(super) fn new(
        core: Arc<Core>,
        request: WatchRequest,
        id: u64,
        cursor: Arc<Cursor>,
        seen: Revision,
    ) -> EmbeddedWatcher {
        let capacity = if request.capacity == 0 { DEFAULT_WATCH_CAPACITY } else { request.capacity };
        EmbeddedWatcher { core, range: request.range, id, cursor, prev_kv: request.prev_kv, capacity, seen }
    }

    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    pub fn progress(&self) -> Revision {
        let state = &self.core.read().state;
        match self.cursor.position() {
            None => state.visible,
            // Everything before the event that waits has been seen; when it is compacted, `next` will say so.
            Some(position) => {
                state.log.get(position).map_or(self.seen, |event| event.mod_revision() - 1).max(self.seen)
            }
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchBatch, WatchError>> {
        loop {
            let core = self.core.clone();
            let shared = core.read();
            match self.look(&shared.state) {
                Ok(Look::Again) => {}
                Ok(Look::Batch(batch)) => return Poll::Ready(Ok(batch)),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(Look::Nothing) => {
                    // Under the same lock as the look, so that no event comes between the two.
                    let replaced = self.cursor.register(context.waker());
                    drop(shared);
                    drop(replaced);
                    return Poll::Pending;
                }
            }
        }
    }

    fn look(&mut self, state: &State) -> Result<Look, WatchError> {
        if state.closed.is_some() {
            return Err(WatchError::Closed);
        }
        let Some(mut position) = self.cursor.position() else { return Ok(Look::Nothing) };
        if position < state.log.first() {
            return Err(WatchError::Compacted { compact_revision: state.compacted });
        }
        let mut events = Vec::new();
        let mut revision = self.seen;
        let mut boundary = None;
        for (looked, event) in state.log.range(position, state.visible_end).enumerate() {
            // A revision is never split: it ends where the next event has another.
            if event.mod_revision() != revision {
                if events.len() >= self.capacity || looked >= EVENTS_PER_LOCK {
                    boundary = Some(position);
                    break;
                }
                revision = event.mod_revision();
            }
            position += 1;
            if self.range.contains(event.key()) {
                let prev = if self.prev_kv {
                    let before = state.index.get_at(event.key(), event.mod_revision() - 1);
                    before.map(|version| version.to_key_value(true))
                } else {
                    None
                };
                let kind = if event.is_tombstone() { EventKind::Delete } else { EventKind::Put };
                events.push(Event { kind, kv: event.to_key_value(true), prev });
            }
        }
        self.cursor.set_position(boundary);
        self.seen = revision;
        if let Some(last) = events.last() {
            return Ok(Look::Batch(WatchBatch { revision: last.kv.mod_revision, events }));
        }
        Ok(if boundary.is_some() { Look::Again } else { Look::Nothing })
    }
}
