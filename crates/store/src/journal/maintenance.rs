//! Everything that a store does with its disk beside committing: the next segment, snapshots, what is no longer retained, space.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use world::Timestamp;

use super::driver::{Step, Worker};
use super::files::{SegmentFile, SnapshotFile};
use super::segment::{self, Segment, TEMPORARY};
use super::{Journal, locked};
use crate::disk::{File, is_full};
use crate::embedded::Core;
use crate::snapshot::{self, Source};

/// Before looking again for space on a full disk, and before beginning a snapshot anew that has failed.
const RETRY: Duration = Duration::from_secs(1);

/// How often the age of what is retained is looked at.
const LOOK: Duration = Duration::from_secs(60);

pub(super) struct Maintenance {
    core: Arc<Core>,
    journal: Arc<Journal>,
    job: Option<Job>,
    /// No snapshot is begun before this.
    not_before: Duration,
}

/// A snapshot that is being written.
struct Job {
    source: Source,
    file: File,
    offset: u64,
    /// Bytes of log that it makes superfluous.
    covers: u64,
}

impl Worker for Maintenance {
    fn step(&mut self) -> Step {
        if self.journal.is_stopping() {
            self.abandon();
            return Step::End;
        }
        match self.prepare() {
            Ok(true) => {}
            Ok(false) => return Step::Park(Some(RETRY)),
            Err(error) => return self.fail("preparing a segment", &error),
        }
        match self.snapshot() {
            Ok(true) => return Step::Again,
            Ok(false) => {}
            // The log holds everything, so a snapshot that has to wait costs only time.
            Err(Trouble::Source) => self.postpone(),
            Err(Trouble::Disk(error)) if is_full(&error) => self.postpone(),
            // A disk that fails one file is not believed for others either.
            Err(Trouble::Disk(error)) => return self.fail("writing a snapshot", &error),
        }
        self.remove_excess();
        Step::Park(Some(if self.core.world.elapsed() < self.not_before { RETRY } else { LOOK }))
    }
}

/// Why a snapshot does not go on.
enum Trouble {
    /// The store has ended, or could not keep history for it any longer.
    Source,
    Disk(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Disk(error)
    }
}

/// Makes the segment that comes next, twice as long as the last.
pub(super) fn prepare_next(journal: &Journal, number: u64) -> io::Result<Segment> {
    let before = locked(&journal.files).segments.last_key_value().map_or(0, |(_, segment)| segment.bytes);
    let options = &journal.options;
    let length = (before * 2).clamp(options.first_segment_bytes, options.segment_bytes);
    if journal.disk.free_bytes()? < length + options.free_bytes {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let segment = segment::prepare(&journal.disk, journal.store, number, length)?;
    locked(&journal.files).segments.insert(number, SegmentFile { bytes: length, first_frame: None });
    Ok(segment)
}

impl Maintenance {
    pub fn new(core: &Arc<Core>, journal: &Arc<Journal>) -> Maintenance {
        Maintenance { core: core.clone(), journal: journal.clone(), job: None, not_before: Duration::ZERO }
    }

    /// Makes the next segment if there is none. False when there is no space for it.
    fn prepare(&self) -> io::Result<bool> {
        if locked(&self.journal.prepared).is_some() {
            return Ok(true);
        }
        let last = locked(&self.journal.files).segments.last_key_value().map_or(0, |(number, _)| *number);
        let prepared = prepare_next(&self.journal, last + 1);
        let full = match &prepared {
            Ok(_) => false,
            Err(error) if is_full(error) => true,
            Err(_) => return prepared.map(|_| true),
        };
        let mut shared = self.core.write();
        *locked(&self.journal.prepared) = prepared.ok();
        (shared.pending.next_ready, shared.pending.full) = (!full, full);
        drop(shared);
        self.journal.full.store(full, Ordering::Relaxed);
        self.core.progress.notify_waiters();
        if full {
            // What is retained for restores gives way to what is written now.
            self.remove(Duration::MAX, 0);
        }
        Ok(!full)
    }

    fn fail(&self, what: &str, error: &io::Error) -> Step {
        let directory = self.journal.disk.path_of("");
        self.core.fail(format!("{what} in {} failed: {error}; mend the disk and start again", directory.display()));
        Step::End
    }

    fn postpone(&mut self) {
        self.abandon();
        self.not_before = self.core.world.elapsed() + RETRY;
    }

    /// Goes on with a snapshot, or begins one if it is due. Returns whether there is more to do.
    fn snapshot(&mut self) -> Result<bool, Trouble> {
        let Some(job) = &mut self.job else { return self.begin() };
        match job.source.next_block().map_err(|_| Trouble::Source)? {
            Some(block) => {
                job.file.write_at(&block, job.offset)?;
                job.offset += block.len() as u64;
                Ok(true)
            }
            None => {
                let job = self.job.take().expect("there is a job");
                self.finish(job)?;
                Ok(true)
            }
        }
    }

    fn begin(&mut self) -> Result<bool, Trouble> {
        let since = self.journal.since_snapshot.load(Ordering::Relaxed);
        if since <= self.journal.snapshot_threshold() || self.core.world.elapsed() < self.not_before {
            return Ok(false);
        }
        let source = Source::begin(&self.core, self.journal.store).map_err(|_| Trouble::Source)?;
        let free = self.journal.disk.free_bytes()?;
        if free < self.journal.options.free_bytes {
            return Err(Trouble::Disk(io::ErrorKind::StorageFull.into()));
        }
        let file = self.journal.disk.create(&unfinished(&source))?;
        self.job = Some(Job { source, file, offset: 0, covers: since });
        Ok(true)
    }

    fn finish(&mut self, job: Job) -> io::Result<()> {
        job.file.sync()?;
        let (disk, name) = (&self.journal.disk, snapshot::name(job.source.frame()));
        disk.rename(&unfinished(&job.source), &name)?;
        disk.sync_directory()?;
        let file = SnapshotFile { bytes: job.offset, time: job.source.time() };
        locked(&self.journal.files).snapshots.insert(job.source.frame(), file);
        self.journal.since_snapshot.fetch_sub(job.covers, Ordering::Relaxed);
        Ok(())
    }

    fn abandon(&mut self) {
        if let Some(job) = self.job.take() {
            // If it cannot be removed now, the next start does.
            let _ = self.journal.disk.remove(&unfinished(&job.source));
        }
    }

    fn remove_excess(&self) {
        let options = &self.journal.options;
        self.remove(options.retain_age, options.retain_bytes);
    }

    fn remove(&self, age: Duration, bytes: u64) {
        let now: Timestamp = self.core.world.now();
        let excess = locked(&self.journal.files).take_excess(now, age, bytes);
        let disk = &self.journal.disk;
        // A file that stays is only space, and the next start finds it again. The log goes first, and from its beginning, so that
        // what is left always reaches from a snapshot to the end.
        for number in &excess.segments {
            let _ = disk.remove(&segment::name(*number));
        }
        for frame in &excess.snapshots {
            let _ = disk.remove(&snapshot::name(*frame));
        }
    }
}

fn unfinished(source: &Source) -> String {
    format!("{}{TEMPORARY}", snapshot::name(source.frame()))
}
