//! What the disk can do: a pre-allocated file that one thread writes groups to, each with one sync; and a bare sync.
//!
//! It keeps nothing in memory, checks nothing and cannot be read: it is the limit, not a rival.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use tokio::sync::oneshot;
use world::World;

use crate::report::spread;

/// The file is written with zeros first, so that no write changes its length or allocates blocks.
const FILE_BYTES: usize = 256 << 20;

/// The most that one group writes.
const GROUP_BYTES: usize = 4 << 20;

struct Append {
    record: Bytes,
    done: oneshot::Sender<()>,
}

/// Handle of the writer thread, which ends when all handles are dropped.
#[derive(Clone)]
pub struct RawLog(mpsc::Sender<Append>);

impl RawLog {
    pub fn start(path: &Path) -> Result<RawLog> {
        let file = allocate(path)?;
        let (sender, queue) = mpsc::channel();
        std::thread::Builder::new().name("raw-log".to_owned()).spawn(move || {
            // Its clients see a failure as a log that has gone away.
            if let Err(error) = write_groups(&file, &queue) {
                eprintln!("bench: the raw log: {error}");
            }
        })?;
        Ok(RawLog(sender))
    }

    /// Returns when the record is durable.
    pub async fn append(&self, record: Bytes) -> Result<()> {
        let (done, waits) = oneshot::channel();
        self.0.send(Append { record, done }).map_err(|_| anyhow!("the raw log has ended"))?;
        waits.await.context("the raw log has ended")
    }
}

fn allocate(path: &Path) -> Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0; 1 << 20];
    for offset in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset as u64)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn write_groups(file: &File, queue: &mpsc::Receiver<Append>) -> io::Result<()> {
    let (mut offset, mut buffer, mut waiting) = (0, Vec::new(), Vec::new());
    while let Ok(first) = queue.recv() {
        let mut next = Some(first);
        while let Some(Append { record, done }) = next {
            buffer.extend_from_slice(&record);
            waiting.push(done);
            next = if buffer.len() < GROUP_BYTES { queue.try_recv().ok() } else { None };
        }
        if offset + buffer.len() > FILE_BYTES {
            offset = 0;
        }
        file.write_all_at(&buffer, offset as u64)?;
        file.sync_data()?;
        offset += buffer.len();
        buffer.clear();
        for done in waiting.drain(..) {
            // A client that has given up does not need to be told.
            let _ = done.send(());
        }
    }
    Ok(())
}

/// Median time of writing a record and syncing it, on the calling thread, with nobody else.
pub fn bare_sync(world: &World, path: &Path, record: &[u8], duration: Duration) -> Result<Duration> {
    let file = allocate(path)?;
    let (mut took, began, mut offset) = (Vec::new(), world.elapsed(), 0);
    loop {
        let start = world.elapsed();
        if start - began >= duration {
            return Ok(spread(took).median);
        }
        file.write_all_at(record, offset as u64)?;
        file.sync_data()?;
        took.push(world.elapsed() - start);
        offset = (offset + record.len()) % (FILE_BYTES - record.len());
    }
}
