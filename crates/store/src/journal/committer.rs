//! The one writer: takes the group that is pending, writes it, syncs it once, and makes it visible.
//!
//! Never tries again after a failed sync: what the system has kept of the data is unknown then, and a later sync may succeed
//! without it. The store stops instead.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use world::Timestamp;

use super::driver::{Step, Worker};
use super::files::SegmentFile;
use super::frame::{self, FRAME_HEADER, Home, size_of_frame};
use super::segment::{self, SEGMENT_HEADER, Segment};
use super::{Journal, locked};
use crate::Revision;
use crate::embedded::{Core, wake};

/// When this has passed without a group, an empty frame says that the last one is complete, so that later damage to it is not
/// taken for a write that was torn.
const CONFIRM_AFTER: Duration = Duration::from_millis(50);

pub(super) struct Committer {
    core: Arc<Core>,
    journal: Arc<Journal>,
    segment: Segment,
    /// Number of the next frame.
    next: u64,
    /// Written, but not synced.
    written: Option<Written>,
    /// Memory for the group after the next.
    spare: Vec<u8>,
    /// Whether the last frame in the log has no other behind it.
    unconfirmed: bool,
    last: Duration,
}

struct Written {
    frame: Vec<u8>,
    number: u64,
    ticket: u64,
    time: Timestamp,
    /// The state's revision and the end of its events after the group.
    revision: Revision,
    events_end: u64,
}

impl Worker for Committer {
    fn step(&mut self) -> Step {
        self.try_step().unwrap_or_else(|(what, error)| {
            let file = self.journal.disk.path_of(&segment::name(self.segment.number));
            self.core.fail(format!("{what} {} failed: {error}; mend the disk and start again", file.display()));
            Step::End
        })
    }
}

type Failed = (&'static str, io::Error);

impl Committer {
    pub fn new(core: &Arc<Core>, journal: &Arc<Journal>, segment: Segment, next: u64) -> Committer {
        Committer {
            core: core.clone(),
            journal: journal.clone(),
            segment,
            next,
            written: None,
            spare: Vec::new(),
            unconfirmed: false,
            last: core.world.elapsed(),
        }
    }

    fn try_step(&mut self) -> Result<Step, Failed> {
        if let Some(failure) = self.core.failure() {
            wake(self.core.durable.fail(failure));
            return Ok(Step::End);
        }
        if self.written.is_some() {
            self.segment.file.sync().map_err(|error| ("syncing", error))?;
        }
        let stopping = self.journal.is_stopping();
        if self.turn(stopping)? {
            return Ok(Step::After(self.journal.disk.sync_latency()));
        }
        if !self.unconfirmed {
            return Ok(if stopping { Step::End } else { Step::Park(None) });
        }
        let idle = self.core.world.elapsed().saturating_sub(self.last);
        if !stopping && idle < CONFIRM_AFTER {
            return Ok(Step::Park(Some(CONFIRM_AFTER - idle)));
        }
        self.confirm()?;
        Ok(Step::Again)
    }

    /// Makes visible what has been synced, and writes what is pending. Returns whether anything was.
    fn turn(&mut self, stopping: bool) -> Result<bool, Failed> {
        let (mut wakers, mut ticket) = (Vec::new(), None);
        let mut shared = self.core.write_soon();
        let crate::embedded::Shared { state, pending, in_flight, frame } = &mut *shared;
        if let Some(written) = self.written.take() {
            let clocks = (written.time, self.core.world.elapsed());
            let limits = &self.core.limits;
            if let Some(compacted) = state.publish(written.revision, written.events_end, limits, clocks, &mut wakers) {
                pending.compact(compacted);
            }
            in_flight.clear();
            *frame = written.number;
            ticket = Some(written.ticket);
            self.spare = written.frame;
        }
        let taken = pending.take(std::mem::take(&mut self.spare), stopping);
        let mut group = None;
        if let Some((frame, ticket, leases)) = taken {
            *in_flight = leases;
            group = Some((frame, ticket, state.revision, state.log.end()));
        }
        let size = group.as_ref().map_or(0, |(frame, ..)| size_of_frame(frame.len() - FRAME_HEADER) as u64);
        let prepared = locked(&self.journal.prepared).as_ref().map(|next| next.length - SEGMENT_HEADER);
        if size <= self.segment.room() {
            (pending.tail_room, pending.next_ready) = (self.segment.room() - size, prepared.is_some());
        } else {
            (pending.tail_room, pending.next_ready) = (prepared.unwrap_or(0).saturating_sub(size), false);
        }
        drop(shared);
        if let Some(ticket) = ticket {
            wake(self.core.durable.advance(ticket));
            wake(wakers);
            self.core.progress.notify_waiters();
        }
        let Some((frame, ticket, revision, events_end)) = group else { return Ok(false) };
        let (frame, time) = self.write(frame, revision)?;
        self.written = Some(Written { frame, number: self.next - 1, ticket, time, revision, events_end });
        self.unconfirmed = true;
        Ok(true)
    }

    /// Writes a frame where the last one ends, in the next segment if this one has no room.
    fn write(&mut self, mut frame: Vec<u8>, revision: Revision) -> Result<(Vec<u8>, Timestamp), Failed> {
        if size_of_frame(frame.len() - FRAME_HEADER) as u64 > self.segment.room() {
            self.roll().map_err(|error| ("making the segment after", error))?;
        }
        let (time, elapsed) = self.core.clocks();
        let home = Home { store: self.journal.store, segment: self.segment.number };
        frame::seal(&mut frame, home, self.next, time, revision);
        self.segment.file.write_at(&frame, self.segment.offset).map_err(|error| ("writing", error))?;
        if self.segment.offset == SEGMENT_HEADER {
            let file = SegmentFile { bytes: self.segment.length, first_frame: Some(self.next) };
            locked(&self.journal.files).segments.insert(self.segment.number, file);
        }
        self.segment.offset += frame.len() as u64;
        self.next += 1;
        self.last = elapsed;
        let before = self.journal.since_snapshot.fetch_add(frame.len() as u64, Ordering::Relaxed);
        if before + frame.len() as u64 > self.journal.snapshot_threshold() {
            self.journal.maintenance.kick();
        }
        Ok((frame, time))
    }

    fn roll(&mut self) -> io::Result<()> {
        let prepared = locked(&self.journal.prepared).take();
        self.segment = match prepared {
            Some(segment) => segment,
            // Deletions may fill the very last room before the next segment is ready.
            None => super::maintenance::prepare_next(&self.journal, self.segment.number + 1)?,
        };
        self.journal.maintenance.kick();
        Ok(())
    }

    /// Writes an empty frame behind the last one.
    fn confirm(&mut self) -> Result<(), Failed> {
        let revision = self.core.read().state.visible;
        self.write(vec![0; FRAME_HEADER], revision)?;
        self.segment.file.sync().map_err(|error| ("syncing", error))?;
        self.unconfirmed = false;
        let mut shared = self.core.write();
        shared.frame = self.next - 1;
        shared.pending.tail_room = self.segment.room();
        Ok(())
    }
}
