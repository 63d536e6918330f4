//! Snapshot files outside of a store: what they hold, and new stores made of them.

use std::path::Path;

use world::{Timestamp, World};

use super::load::{Block, Reader};
use super::{Head, checksum, name};
use crate::disk::Disk;
use crate::{OpenError, Revision};

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotStatus {
    pub revision: Revision,
    /// The first revision that can be read and watched from; 0 when nothing was compacted.
    pub compacted: Revision,
    /// Live keys, sorted.
    pub keys: usize,
    /// Live keys and their values, in bytes.
    pub bytes: u64,
    pub leases: usize,
    /// When it was taken.
    pub time: Timestamp,
    /// Length of the file, in bytes.
    pub file_bytes: u64,
}

fn split(file: &Path) -> Result<(Disk, String), OpenError> {
    let io = |source| OpenError::Io { what: "cannot read", file: file.to_owned(), error: source };
    let metadata = std::fs::metadata(file).map_err(io)?;
    if !metadata.is_file() {
        return Err(io(std::io::Error::other("it is not a file")));
    }
    let name =
        file.file_name().and_then(|name| name.to_str()).ok_or_else(|| io(std::io::ErrorKind::InvalidInput.into()))?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((Disk::directory(directory), name.to_owned()))
}

/// Reads all of a snapshot file, checks it, and says what it holds. `look` is shown every live key.
///
/// # Errors
/// A file that is not a whole and sound snapshot.
pub fn status(world: &World, file: &Path, look: &mut dyn FnMut(&[u8])) -> Result<SnapshotStatus, OpenError> {
    let (disk, name) = split(file)?;
    let mut state = crate::embedded::State::new(world.random());
    let head = super::load(&disk, &name, &mut state, world.elapsed())?;
    state.index.walk(&crate::KeyRange::all(), None).for_each(|record| look(record.key()));
    let stats = state.stats();
    let file_bytes = std::fs::metadata(file).map(|metadata| metadata.len()).unwrap_or_default();
    Ok(SnapshotStatus {
        revision: head.revision,
        compacted: head.compacted,
        keys: stats.keys,
        bytes: stats.bytes,
        leases: stats.leases,
        time: head.time,
        file_bytes,
    })
}

/// Makes the data directory of a new store out of a snapshot. What was written after the snapshot is not part of it.
///
/// # Errors
/// A file that is not a whole and sound snapshot, and a directory that holds something or is in use.
pub fn restore(world: &World, file: &Path, directory: &Path) -> Result<SnapshotStatus, OpenError> {
    let restored = status(world, file, &mut |_| {})?;
    let (source, source_name) = split(file)?;
    let disk = Disk::directory(directory);
    let io = |what| move |source| OpenError::Io { what, file: directory.to_owned(), error: source };
    let Some(_lock) = disk.lock().map_err(io("cannot use"))? else {
        return Err(OpenError::Locked { directory: directory.to_owned() });
    };
    if !disk.list().map_err(io("cannot list"))?.is_empty() {
        return Err(OpenError::NotEmpty { directory: directory.to_owned() });
    }
    let mut reader = Reader::open(&source, &source_name)?;
    // A store of its own, so that its log is never taken for that of the old one.
    let head = Head { store: world.random(), ..reader.head };
    let (unfinished, finished) = (format!("{}{}", name(head.frame), crate::journal::TEMPORARY), name(head.frame));
    let target = disk.create(&unfinished).map_err(io("cannot write"))?;
    target.write_at(&head.encode(), 0).map_err(io("cannot write"))?;
    let (mut offset, mut place) = (head.encode().len() as u64, 0);
    while let Some(mut block) = reader.next_raw()? {
        let sum = checksum(head.store, place, &block[8..]);
        block[4..8].copy_from_slice(&sum.to_le_bytes());
        target.write_at(&block, offset).map_err(io("cannot write"))?;
        offset += block.len() as u64;
        place += 1;
    }
    target.sync().map_err(io("cannot sync"))?;
    disk.rename(&unfinished, &finished).map_err(io("cannot finish"))?;
    disk.sync_directory().map_err(io("cannot sync"))?;
    Ok(restored)
}

impl Reader<'_> {
    /// The next block as it stands in the file, checked.
    fn next_raw(&mut self) -> Result<Option<Vec<u8>>, OpenError> {
        let from = self.offset();
        let Some(_block): Option<Block> = self.next()? else { return Ok(None) };
        self.raw(from).map(Some)
    }
}
