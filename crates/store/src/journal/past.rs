//! Answers for what memory has forgotten and the disk still retains: from an old snapshot and the log behind it.

use std::sync::Arc;

use world::{Timestamp, World};

use super::frame::Home;
use super::recovery::{Replay, io, last_before};
use super::{Journal, locked, segment};
use crate::embedded::State;
use crate::{OpenError, RangeRequest, RangeResult, Revision, StoreError, snapshot};

/// Reads the files of a running store. Slow: it replays what led to the state that is asked for.
pub(crate) struct Past {
    journal: Arc<Journal>,
    world: World,
}

impl Past {
    pub fn new(world: &World, journal: &Arc<Journal>) -> Past {
        Past { journal: journal.clone(), world: world.clone() }
    }

    /// Reads at a revision.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when it is not retained, [`StoreError::Past`] when the files cannot be read.
    pub fn range(&self, request: &RangeRequest, revision: Revision) -> Result<RangeResult, StoreError> {
        let state = self.state_at(revision)?;
        let mut result = state.range(&RangeRequest { revision: Some(revision), ..request.clone() });
        result.revision = state.visible;
        Ok(result)
    }

    /// The last revision that was there at a time.
    ///
    /// # Errors
    /// [`StoreError::TimeNotRetained`], [`StoreError::Past`].
    pub fn revision_at(&self, time: Timestamp) -> Result<Revision, StoreError> {
        let disk = &self.journal.disk;
        let (numbers, snapshots) = self.files();
        let mut found: Option<(Timestamp, Revision)> = None;
        let mut oldest: Option<Timestamp> = None;
        let mut note = |at: Timestamp, revision: Revision| {
            oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
            if at <= time && found.is_none_or(|(_, known)| known <= revision) {
                found = Some((at, revision));
            }
        };
        for frame in snapshots {
            let head = snapshot::head(disk, &snapshot::name(frame)).map_err(failed)?;
            note(head.time, head.revision);
        }
        for number in numbers {
            let name = segment::name(number);
            let bytes = disk.read(&name).map_err(io(disk, "cannot read", &name)).map_err(failed)?;
            let home = Home { store: self.journal.store, segment: number };
            if let Some((head, _)) = super::frame::open(&bytes[segment::SEGMENT_HEADER as usize..], home) {
                note(head.time, head.revision);
            }
            if let Some(head) = last_before(&bytes, home, time) {
                note(head.time, head.revision);
            }
        }
        match (found, oldest) {
            (Some((_, revision)), _) => Ok(revision),
            (None, oldest) => Err(StoreError::TimeNotRetained { oldest: oldest.unwrap_or_else(|| self.world.now()) }),
        }
    }

    fn files(&self) -> (Vec<u64>, Vec<u64>) {
        let files = locked(&self.journal.files);
        let written = files.segments.iter().filter(|(_, segment)| segment.first_frame.is_some());
        (written.map(|(number, _)| *number).collect(), files.snapshots.keys().copied().collect())
    }

    /// The state as it was after a revision.
    fn state_at(&self, revision: Revision) -> Result<State, StoreError> {
        let disk = &self.journal.disk;
        let (numbers, snapshots) = self.files();
        let mut replay = Replay::new(disk, self.world.random(), self.world.elapsed());
        let mut begin = None;
        for frame in snapshots.iter().rev() {
            let head = snapshot::head(disk, &snapshot::name(*frame)).map_err(failed)?;
            if head.compacted <= revision {
                begin = Some(*frame);
                break;
            }
        }
        let first = numbers.first().and_then(|number| locked(&self.journal.files).segments.get(number)?.first_frame);
        match begin {
            Some(frame) => replay.load(frame).map_err(failed)?,
            None if first == Some(1) => {}
            None => return Err(StoreError::Compacted { compact_revision: self.oldest(&snapshots) }),
        }
        let firsts: Vec<(u64, u64)> = {
            let files = locked(&self.journal.files);
            numbers.iter().filter_map(|number| Some((*number, files.segments.get(number)?.first_frame?))).collect()
        };
        let from = firsts.iter().rposition(|(_, first)| *first <= replay.next).unwrap_or(0);
        for (number, _) in &firsts[from..] {
            if replay.state.revision >= revision {
                break;
            }
            // A frame holds several revisions: it is replayed whole, and read at the one that is wanted.
            let mut until = |state: &State, _: &super::frame::Head| state.revision >= revision;
            replay.segment(*number, Some(&mut until)).map_err(failed)?;
        }
        if replay.state.revision < revision {
            return Err(StoreError::FutureRevision { revision: replay.state.revision });
        }
        if replay.state.compacted > revision {
            return Err(StoreError::Compacted { compact_revision: replay.state.compacted });
        }
        Ok(replay.state)
    }

    fn oldest(&self, snapshots: &[u64]) -> Revision {
        let heads =
            snapshots.iter().filter_map(|frame| snapshot::head(&self.journal.disk, &snapshot::name(*frame)).ok());
        heads.map(|head| head.compacted).min().unwrap_or_default()
    }
}

fn failed(error: OpenError) -> StoreError {
    StoreError::Past { reason: error.to_string().into() }
}
