//! What was written, in order, since the last compaction: the one history that every watcher reads.
//!
//! Holds each event once; watchers are positions in it. A position counts all events ever written, so it stays valid
//! when the oldest are dropped.

use std::collections::VecDeque;

use super::record::Record;
use crate::Revision;

/// What one event costs. The record is the one that the index holds, but for deletions.
const EVENT_BYTES: u64 = size_of::<Record>() as u64;

#[derive(Default)]
pub(crate) struct Log {
    /// In order of revision; a deletion has version 0.
    events: VecDeque<Record>,
    /// The position of the first event held.
    first: u64,
    bytes: u64,
}

fn cost(event: &Record) -> u64 {
    EVENT_BYTES + if event.is_tombstone() { event.cost() } else { 0 }
}

impl Log {
    /// The position after the last event.
    pub fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The position of the first event held.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Memory of the events beside what the index holds of them, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn push(&mut self, event: Record) {
        self.bytes += cost(&event);
        self.events.push_back(event);
    }

    /// The event at a position, when it is held.
    pub fn get(&self, position: u64) -> Option<&Record> {
        self.events.get(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    /// Events from a position on, which must not be before the first held, up to another.
    pub fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &Record> {
        let len = self.events.len() as u64;
        let to = to.saturating_sub(self.first).min(len) as usize;
        let from = (from.saturating_sub(self.first) as usize).min(to);
        self.events.range(from..to)
    }

    /// The position of the first held event that is not below `revision`.
    pub fn position_of(&self, revision: Revision) -> u64 {
        self.first + self.events.partition_point(|event| event.mod_revision() < revision) as u64
    }

    /// Drops all events below `revision`.
    pub fn trim(&mut self, revision: Revision) {
        while let Some(event) = self.events.front().filter(|event| event.mod_revision() < revision) {
            self.bytes -= cost(event);
            self.events.pop_front();
            self.first += 1;
        }
        // A burst must not keep its memory for ever.
        if self.events.capacity() > 4 * self.events.len().max(64) {
            self.events.shrink_to(2 * self.events.len());
        }
    }
}
