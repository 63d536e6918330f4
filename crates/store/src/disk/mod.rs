//! The files of a store: one directory, on a real disk or on a simulated one with its faults.
//!
//! Calls block and do what they say or fail; nothing here retries. What is written is only durable after [`File::sync`], and a
//! file's name after [`Disk::sync_directory`].

mod directory;
mod simulated;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use simulated::{Faults, SimulatedDisk};

/// Where a durable store keeps its files. Cheap to clone.
#[derive(Clone)]
pub struct Disk(Kind);

#[derive(Clone)]
enum Kind {
    Directory(Arc<directory::Directory>),
    Simulated(SimulatedDisk),
}

/// An open file.
pub(crate) enum File {
    Real(std::fs::File),
    Simulated(simulated::SimulatedFile),
}

/// Keeps others away from a store's files until it is dropped, however the process ends.
#[allow(dead_code)] // Held, never read.
pub(crate) enum Lock {
    Real(std::fs::File),
    Simulated(simulated::SimulatedLock),
}

impl Disk {
    /// A directory, made where it is missing, readable by its owner only.
    pub fn directory(path: impl Into<PathBuf>) -> Disk {
        Disk(Kind::Directory(Arc::new(directory::Directory::new(path.into()))))
    }

    /// A simulated disk.
    pub fn simulated(disk: &SimulatedDisk) -> Disk {
        Disk(Kind::Simulated(disk.clone()))
    }

    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self.0, Kind::Simulated(_))
    }

    /// How errors name a file of it.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        match &self.0 {
            Kind::Directory(directory) => directory.path().join(name),
            Kind::Simulated(_) => Path::new("simulated").join(name),
        }
    }

    /// How long a sync takes beside the call that does it: time that passes in the simulated world.
    pub(crate) fn sync_latency(&self) -> Duration {
        match &self.0 {
            Kind::Directory(_) => Duration::ZERO,
            Kind::Simulated(disk) => disk.sync_latency(),
        }
    }

    /// Makes the directory and takes it for this process; `None` when another has it.
    pub(crate) fn lock(&self) -> io::Result<Option<Lock>> {
        match &self.0 {
            Kind::Directory(directory) => Ok(directory.lock()?.map(Lock::Real)),
            Kind::Simulated(disk) => Ok(disk.lock()?.map(Lock::Simulated)),
        }
    }

    /// The names of all files.
    pub(crate) fn list(&self) -> io::Result<Vec<String>> {
        match &self.0 {
            Kind::Directory(directory) => directory.list(),
            Kind::Simulated(disk) => disk.list(),
        }
    }

    /// Opens a file that is there, to read and write.
    pub(crate) fn open(&self, name: &str) -> io::Result<File> {
        match &self.0 {
            Kind::Directory(directory) => Ok(File::Real(directory.open(name)?)),
            Kind::Simulated(disk) => Ok(File::Simulated(disk.open(name)?)),
        }
    }

    /// Makes an empty file, in place of one that is there.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        match &self.0 {
            Kind::Directory(directory) => Ok(File::Real(directory.create(name)?)),
            Kind::Simulated(disk) => Ok(File::Simulated(disk.create(name)?)),
        }
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match &self.0 {
            Kind::Directory(directory) => directory.rename(from, to),
            Kind::Simulated(disk) => disk.rename(from, to),
        }
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match &self.0 {
            Kind::Directory(directory) => directory.remove(name),
            Kind::Simulated(disk) => disk.remove(name),
        }
    }

    /// Makes the names of files durable.
    pub(crate) fn sync_directory(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Directory(directory) => directory.sync(),
            Kind::Simulated(disk) => disk.sync_directory(),
        }
    }

    /// Bytes that can still be written.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        match &self.0 {
            Kind::Directory(directory) => directory.free_bytes(),
            Kind::Simulated(disk) => disk.free_bytes(),
        }
    }

    /// All of a file.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.open(name)?;
        let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

impl File {
    pub(crate) fn length(&self) -> io::Result<u64> {
        match self {
            File::Real(file) => Ok(file.metadata()?.len()),
            File::Simulated(file) => file.length(),
        }
    }

    /// Fills `bytes` from an offset on; an end of file before that is an error.
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            File::Real(file) => std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset),
            File::Simulated(file) => file.read_at(bytes, offset),
        }
    }

    /// Writes all of `bytes`, however many calls it takes.
    pub(crate) fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = match self {
                File::Real(file) => std::os::unix::fs::FileExt::write_at(file, bytes, offset),
                File::Simulated(file) => file.write_at(bytes, offset),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes what was written durable (fdatasync). After an error nothing may be believed of the file: see `Embedded::fail`.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            File::Real(file) => file.sync_data(),
            File::Simulated(file) => file.sync(),
        }
    }
}

/// Whether an error says that the disk is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
