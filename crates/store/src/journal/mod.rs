//! The log behind an embedded engine: what was decided goes to the disk in groups, one sync per group.
//!
//! | part | what it does |
//! |---|---|
//! | [`pending`] | collects the next group, under the lock of the state |
//! | [`committer`] | writes and syncs groups, then makes them visible |
//! | [`maintenance`] | prepares segments, writes snapshots, removes what is no longer retained, watches the space |
//! | [`recovery`] | reads it all back |
//! | [`past`] | answers for revisions that memory has forgotten |
//!
//! Committer and maintenance are machines of steps that block on the disk. In the real world each has a thread of its own, so
//! that no task waits for a disk; in the simulated one they are tasks like any other.

mod committer;
mod driver;
mod files;
mod frame;
mod item;
mod maintenance;
mod past;
mod pending;
mod recovery;
mod segment;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use world::World;

use crate::disk::{Disk, Lock};
use crate::embedded::{Core, Embedded};
use crate::{DiskStats, Limits, MAX_TXN_OPS, OpenError, StoreError};

pub(crate) use driver::Kick;
pub(crate) use files::Files;
pub(crate) use item::{ITEM_OVERHEAD, Item, WRITE_OVERHEAD, Write};
pub(crate) use past::Past;
pub(crate) use pending::{LeaseChange, Pending, Room};
pub(crate) use segment::{FORMAT, TEMPORARY};

use segment::Segment;

/// What a durable store may take, and how far back it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    pub limits: Limits,
    /// Length of the first segment of the log, in bytes; each further one is twice as long, up to `segment_bytes`.
    pub first_segment_bytes: u64,
    /// Length of the longest segments, in bytes.
    pub segment_bytes: u64,
    /// A snapshot is written when the log since the last one is longer than this, and longer than that snapshot, in bytes.
    pub snapshot_bytes: u64,
    /// How old a state may be that can still be restored.
    pub retain_age: Duration,
    /// Bytes on disk, beside what is needed to open the store, that states to restore may take.
    pub retain_bytes: u64,
    /// Bytes of one group of writes, which are written and synced at once, before further ones wait for the disk.
    pub group_bytes: usize,
    /// Room at the end of the log that only deletions, leases and compactions may take, in bytes: what makes space must not be
    /// refused for the lack of it.
    pub reserve_bytes: u64,
    /// Space that is left to others, in bytes: the disk counts as full when less is free.
    pub free_bytes: u64,
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions {
            limits: Limits::default(),
            first_segment_bytes: 4 << 20,
            segment_bytes: 64 << 20,
            snapshot_bytes: 128 << 20,
            retain_age: Duration::from_secs(24 * 3600),
            retain_bytes: 512 << 20,
            group_bytes: 2 << 20,
            reserve_bytes: 256 << 10,
            free_bytes: 64 << 20,
        }
    }
}

/// Room in a segment for what comes on top of the largest group: the head of its frame, and compactions.
const SLACK: u64 = 1024;

impl DiskOptions {
    fn check(&self) -> Result<(), OpenError> {
        let largest = self.limits.request_bytes + MAX_TXN_OPS * WRITE_OVERHEAD;
        let least = self.group_bytes.max(largest) as u64 + segment::SEGMENT_HEADER + self.reserve_bytes + SLACK;
        if self.first_segment_bytes < least || self.segment_bytes < self.first_segment_bytes {
            return Err(OpenError::Options(format!(
                "segments of {} to {} bytes: they must not shrink, and the first must have at least {least}",
                self.first_segment_bytes, self.segment_bytes
            )));
        }
        Ok(())
    }
}

/// What the engine, the committer and the maintenance share.
pub(crate) struct Journal {
    pub disk: Disk,
    pub options: DiskOptions,
    /// The id that all files of the store carry.
    pub store: u64,
    pub committer: Kick,
    pub maintenance: Kick,
    /// The segment that comes next.
    prepared: Mutex<Option<Segment>>,
    files: Mutex<Files>,
    /// Bytes of frames since the last snapshot.
    since_snapshot: AtomicU64,
    full: AtomicBool,
    stopping: AtomicBool,
    /// Workers that have not ended.
    running: AtomicUsize,
    lock: Mutex<Option<Lock>>,
    ended: Notify,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    pub fn stats(&self) -> DiskStats {
        let files = locked(&self.files);
        DiskStats {
            bytes: files.bytes(),
            segments: files.segments.len(),
            snapshots: files.snapshots.len(),
            full: self.full.load(Ordering::Relaxed),
        }
    }

    /// Asks both workers to finish what was decided, and to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.committer.kick();
        self.maintenance.kick();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// A worker has ended; the last one gives the directory back.
    fn worker_ended(&self) {
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            drop(locked(&self.lock).take());
            self.ended.notify_waiters();
        }
    }

    /// Completes when both workers have ended and another process can have the directory.
    pub async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Bytes of log before the next snapshot.
    fn snapshot_threshold(&self) -> u64 {
        self.options.snapshot_bytes.max(locked(&self.files).newest_snapshot_bytes())
    }
}

impl Core {
    /// Stops the store because it cannot keep its promise: nothing more is made durable, and nobody is told otherwise.
    pub(crate) fn fail(&self, reason: String) {
        let stopped = StoreError::Stopped { reason: reason.into() };
        let waiting = self.durable.fail(stopped.clone());
        self.close(stopped);
        crate::embedded::wake(waiting);
    }
}

/// Reads a store from its disk, or begins one, and starts it.
pub(crate) fn open(world: &World, disk: Disk, options: DiskOptions) -> Result<Arc<Embedded>, OpenError> {
    options.check()?;
    let io = |what, source| OpenError::Io { what, file: disk.path_of(""), error: source };
    let lock = disk.lock().map_err(|source| io("cannot use", source))?;
    let Some(lock) = lock else { return Err(OpenError::Locked { directory: disk.path_of("") }) };
    let recovered = recovery::recover(world, &disk, &options)?;
    let journal = Arc::new(Journal {
        disk: disk.clone(),
        store: recovered.store,
        committer: Kick::default(),
        maintenance: Kick::default(),
        prepared: Mutex::new(recovered.prepared),
        files: Mutex::new(recovered.files),
        since_snapshot: AtomicU64::new(recovered.since_snapshot),
        full: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        running: AtomicUsize::new(2),
        lock: Mutex::new(Some(lock)),
        ended: Notify::new(),
        options,
    });
    let mut pending = Pending::new(&journal.options);
    pending.tail_room = recovered.segment.room();
    pending.next_ready = locked(&journal.prepared).is_some();
    let (limits, last_frame) = (journal.options.limits.clone(), recovered.next_frame - 1);
    let engine = Embedded::start(world, limits, recovered.state, pending, last_frame, Some(journal.clone()));
    let core = engine.core();
    let committer = committer::Committer::new(core, &journal, recovered.segment, recovered.next_frame);
    driver::start(core, &journal, "store-committer", |journal| &journal.committer, committer);
    let maintenance = maintenance::Maintenance::new(core, &journal);
    driver::start(core, &journal, "store-maintenance", |journal| &journal.maintenance, maintenance);
    Ok(engine)
}

/// The names of a directory that mean something to a store, and those of files that were never finished.
fn names(disk: &Disk) -> std::io::Result<(BTreeSet<String>, Vec<String>)> {
    let (mut known, mut unfinished) = (BTreeSet::new(), Vec::new());
    for name in disk.list()? {
        if name.ends_with(TEMPORARY) {
            unfinished.push(name);
        } else if segment::number(&name).is_some() || crate::snapshot::frame_of(&name).is_some() {
            known.insert(name);
        }
    }
    Ok((known, unfinished))
}
