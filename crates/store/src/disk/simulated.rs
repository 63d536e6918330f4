//! A disk in memory that loses, tears and reorders what was not synced, and fails when it is told to.
//!
//! Beside the content that readers see, each file has what is durable of it, sector by sector. A crash keeps the durable content
//! and, of each sector that was written since, the old or a new state, drawn from a seed. Names work the same: after a crash a
//! prefix of the changes since the last sync of the directory has happened.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a device writes as a whole, in bytes: the smallest that disks have.
const SECTOR: usize = 512;

/// A small generator of its own (SplitMix64), so that one seed gives one crash whatever else the world draws.
#[derive(Debug, Clone)]
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// What goes wrong on a [`SimulatedDisk`].
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The disk crashes at this operation, counted from 0 over its whole life: it fails, and so does every later one until
    /// [`SimulatedDisk::restart`].
    pub crash_at: Option<u64>,
    /// This sync of a file, counted from 0, fails, and what it was to make durable may or may not be.
    pub fail_sync: Option<u64>,
    /// Writes take part of what they are given, as system calls may.
    pub short_writes: bool,
    /// Bytes that all files together may have.
    pub capacity: Option<u64>,
    /// Time that a sync takes in the simulated world.
    pub sync_latency: Duration,
}

/// A disk in memory. Cheap to clone; all clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

struct State {
    faults: Faults,
    draw: Draw,
    operations: u64,
    syncs: u64,
    crashed: bool,
    /// Grows with every crash: files that were open before are not any more.
    life: u64,
    locked: bool,
    contents: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since the directory was synced: the name and what it then stood for.
    changes: Vec<Change>,
}

enum Change {
    Set(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Default, Clone)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// States of a sector since the last sync, by its number.
    written: BTreeMap<usize, Vec<Vec<u8>>>,
}

fn crashed() -> io::Error {
    io::Error::other("the simulated disk has crashed")
}

impl SimulatedDisk {
    /// An empty disk without faults. What a crash keeps is drawn from the seed.
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(State {
            faults: Faults::default(),
            draw: Draw(seed),
            operations: 0,
            syncs: 0,
            crashed: false,
            life: 0,
            locked: false,
            contents: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation, which is where crashes happen.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if !state.crashed && state.faults.crash_at == Some(state.operations) {
            state.crash();
        }
        if state.crashed {
            return Err(crashed());
        }
        state.operations += 1;
        Ok(state)
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Operations that were done so far: writes, syncs and changes of names.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Whether it has crashed since it was last restarted.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Crashes now: whoever has files open gets errors.
    pub fn crash(&self) {
        self.state().crash();
    }

    /// Lets it work again, with what the crash has left and without faults.
    pub fn restart(&self) {
        let mut state = self.state();
        if !state.crashed {
            state.crash();
        }
        (state.crashed, state.faults) = (false, Faults::default());
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.state().bytes()
    }

    /// All files by name, as a reader would see them.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(name, content)| (name.clone(), state.contents[*content].bytes.clone())).collect()
    }

    /// Puts a file there, durable at once, in place of one that is there; nothing removes it.
    pub fn put_file(&self, name: &str, bytes: Option<Vec<u8>>) {
        let mut state = self.state();
        let Some(bytes) = bytes else {
            state.names.remove(name);
            state.durable_names.remove(name);
            return;
        };
        state.contents.push(Content { durable: bytes.clone(), bytes, written: BTreeMap::new() });
        let content = state.contents.len() - 1;
        state.names.insert(name.to_owned(), content);
        state.durable_names.insert(name.to_owned(), content);
    }

    pub(super) fn sync_latency(&self) -> Duration {
        self.state().faults.sync_latency
    }

    pub(super) fn lock(&self) -> io::Result<Option<SimulatedLock>> {
        let mut state = self.operate()?;
        if std::mem::replace(&mut state.locked, true) {
            return Ok(None);
        }
        Ok(Some(SimulatedLock { disk: self.clone(), life: state.life }))
    }

    pub(super) fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.operate()?.names.keys().cloned().collect())
    }

    pub(super) fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let state = self.operate()?;
        let content = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(SimulatedFile { disk: self.clone(), content, life: state.life })
    }

    pub(super) fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut state = self.operate()?;
        state.contents.push(Content::default());
        let content = state.contents.len() - 1;
        state.names.insert(name.to_owned(), content);
        state.changes.push(Change::Set(name.to_owned(), content));
        Ok(SimulatedFile { disk: self.clone(), content, life: state.life })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        let content = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), content);
        state.changes.push(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.changes.push(Change::Remove(name.to_owned()));
        Ok(())
    }

    pub(super) fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.operate()?;
        state.durable_names = state.names.clone();
        state.changes.clear();
        state.drop_unnamed();
        Ok(())
    }

    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let state = self.operate()?;
        Ok(state.faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.bytes())))
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.names.values().map(|content| self.contents[*content].bytes.len() as u64).sum()
    }

    /// Memory of files that no name leads to any more.
    fn drop_unnamed(&mut self) {
        let named: Vec<usize> = self.names.values().chain(self.durable_names.values()).copied().collect();
        for (i, content) in self.contents.iter_mut().enumerate() {
            if !named.contains(&i) {
                *content = Content::default();
            }
        }
    }

    fn crash(&mut self) {
        self.crashed = true;
        self.locked = false;
        self.life += 1;
        let kept = self.draw.below(self.changes.len() as u64 + 1) as usize;
        let mut names = self.durable_names.clone();
        for change in self.changes.drain(..).take(kept) {
            match change {
                Change::Set(name, content) => drop(names.insert(name, content)),
                Change::Remove(name) => drop(names.remove(&name)),
                Change::Rename(from, to) => {
                    if let Some(content) = names.remove(&from) {
                        names.insert(to, content);
                    }
                }
            }
        }
        self.names = names.clone();
        self.durable_names = names;
        for content in &mut self.contents {
            content.crash(&mut self.draw);
        }
        self.drop_unnamed();
    }
}

impl Content {
    /// A crash: readers see what is durable.
    fn crash(&mut self, draw: &mut Draw) {
        self.lose(draw);
        self.bytes = self.durable.clone();
    }

    /// Of what was not synced some is durable from now on, and the rest never will be: after a sync that failed, the system takes
    /// it for written, so that a later sync does not write it again. Readers go on seeing it.
    fn lose(&mut self, draw: &mut Draw) {
        for (sector, states) in std::mem::take(&mut self.written) {
            // The state before all of them is one too.
            let Some(state) = (draw.below(states.len() as u64 + 1) as usize).checked_sub(1) else { continue };
            let (start, state) = (sector * SECTOR, &states[state]);
            if self.durable.len() < start + state.len() {
                self.durable.resize(start + state.len(), 0);
            }
            self.durable[start..start + state.len()].copy_from_slice(state);
        }
    }

    fn sync(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for (sector, _) in std::mem::take(&mut self.written) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.bytes.len());
            self.durable[start..end].copy_from_slice(&self.bytes[start..end]);
        }
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let start = sector * SECTOR;
            let state = self.bytes[start..(start + SECTOR).min(self.bytes.len())].to_vec();
            self.written.entry(sector).or_default().push(state);
        }
    }
}

/// A file of a [`SimulatedDisk`].
pub(crate) struct SimulatedFile {
    disk: SimulatedDisk,
    content: usize,
    life: u64,
}

impl SimulatedFile {
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.operate()?;
        // What was open before a crash is not open after it.
        if state.life == self.life { Ok(state) } else { Err(crashed()) }
    }

    pub fn length(&self) -> io::Result<u64> {
        Ok(self.operate()?.contents[self.content].bytes.len() as u64)
    }

    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.operate()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let all = &state.contents[self.content].bytes;
        bytes.copy_from_slice(all.get(offset..offset + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.operate()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut length = bytes.len();
        if state.faults.short_writes && length > 1 {
            length = 1 + state.draw.below(length as u64) as usize;
        }
        let grows = (offset + length).saturating_sub(state.contents[self.content].bytes.len()) as u64;
        if state.faults.capacity.is_some_and(|capacity| state.bytes() + grows > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.contents[self.content].write(&bytes[..length], offset);
        Ok(length)
    }

    pub fn sync(&self) -> io::Result<()> {
        let mut state = self.operate()?;
        let number = state.syncs;
        state.syncs += 1;
        if state.faults.fail_sync == Some(number) {
            let State { contents, draw, .. } = &mut *state;
            contents[self.content].lose(draw);
            return Err(io::Error::other("the simulated disk fails this sync"));
        }
        state.contents[self.content].sync();
        Ok(())
    }
}

/// The lock of a [`SimulatedDisk`].
pub(crate) struct SimulatedLock {
    disk: SimulatedDisk,
    life: u64,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locked = false;
        }
    }
}
