//! Where audit events may go: a ring in memory that others read, and a file of lines with a limit.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use world::watch;

use super::event::AuditEvent;
use crate::ports::AuditSink;

/// Keeps the newest events for whoever reads them in time. Writers never wait: what nobody has read when the ring is full is lost,
/// and counted.
pub struct AuditRing {
    capacity: usize,
    state: Mutex<Ring>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<AuditEvent>,
    /// The number of the first event in the ring.
    first: u64,
}

impl AuditRing {
    /// Keeps so many events.
    pub fn new(capacity: usize) -> AuditRing {
        AuditRing { capacity: capacity.max(1), state: Mutex::default(), changed: watch::channel(0).0 }
    }

    fn state(&self) -> MutexGuard<'_, Ring> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to `limit` events from number `from` on, the number after them, and how many before them are lost.
    pub fn read(&self, from: u64, limit: usize) -> (Vec<AuditEvent>, u64, u64) {
        let state = self.state();
        let start = from.max(state.first);
        let skip = usize::try_from(start - state.first).unwrap_or(usize::MAX);
        let events: Vec<AuditEvent> = state.events.iter().skip(skip).take(limit).cloned().collect();
        let next = start + events.len() as u64;
        (events, next, start - from)
    }

    /// Sees a change whenever there are new events.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl AuditSink for AuditRing {
    fn record(&self, event: AuditEvent) -> bool {
        let mut state = self.state();
        if state.events.len() == self.capacity {
            state.events.pop_front();
            state.first += 1;
        }
        state.events.push_back(event);
        let end = state.first + state.events.len() as u64;
        drop(state);
        self.changed.send_replace(end);
        true
    }
}

/// Appends events to a file, one JSON object a line. When the file has reached its limit it is renamed to `<name>.1`, which replaces
/// the one before, and a new one begins: so twice the limit is what it takes.
pub struct AuditFile {
    path: PathBuf,
    max_bytes: u64,
    state: Mutex<(File, u64)>,
}

impl AuditFile {
    /// Opens or creates a file.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(path: impl Into<PathBuf>, max_bytes: u64) -> std::io::Result<AuditFile> {
        let path = path.into();
        let file = append(&path)?;
        let length = file.metadata()?.len();
        Ok(AuditFile { path, max_bytes, state: Mutex::new((file, length)) })
    }

    fn write(&self, line: &[u8]) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1 > 0 && state.1 + line.len() as u64 > self.max_bytes {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            *state = (append(&self.path)?, 0);
        }
        state.0.write_all(line)?;
        state.1 += line.len() as u64;
        Ok(())
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl AuditSink for AuditFile {
    fn record(&self, event: AuditEvent) -> bool {
        let mut line = event.to_json().to_string();
        line.push('\n');
        self.write(line.as_bytes()).is_ok()
    }
}
