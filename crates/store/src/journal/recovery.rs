//! Opening a store: the newest snapshot, then the log behind it.
//!
//! The log ends at the first frame that is not sound. That is where a crash has torn a write, unless a sound frame with a later
//! number follows, here or in a later segment: then the broken one was acknowledged, and the store is refused instead of losing it.

use std::time::Duration;

use bytes::Bytes;
use world::{Timestamp, World};

use super::files::{Files, SegmentFile, SnapshotFile};
use super::frame::{self, ALIGN, FRAME_HEADER, Head, Home};
use super::item::Items;
use super::segment::{self, SEGMENT_HEADER, Segment};
use super::{DiskOptions, Item};
use crate::disk::Disk;
use crate::embedded::State;
use crate::open_error::ADVICE;
use crate::{OpenError, snapshot};

/// What was found on a disk.
pub(super) struct Recovered {
    pub store: u64,
    pub state: State,
    /// Where the log goes on.
    pub segment: Segment,
    pub prepared: Option<Segment>,
    pub next_frame: u64,
    pub files: Files,
    /// Bytes of log since the newest snapshot.
    pub since_snapshot: u64,
}

/// How often a segment's length may be read in the search for frames behind a broken one. Bytes that only look like frames, so many
/// of them, were put there by somebody.
const MOST_LOOKED: usize = 8;

pub(super) fn io(disk: &Disk, what: &'static str, name: &str) -> impl FnOnce(std::io::Error) -> OpenError {
    let file = disk.path_of(name);
    move |source| OpenError::Io { what, file, error: source }
}

fn corrupt(disk: &Disk, name: &str, offset: usize, why: String) -> OpenError {
    OpenError::Corrupt { file: disk.path_of(name), offset: offset as u64, why, advice: ADVICE.to_owned() }
}

pub(super) fn recover(world: &World, disk: &Disk, options: &DiskOptions) -> Result<Recovered, OpenError> {
    let (names, unfinished) = super::names(disk).map_err(io(disk, "cannot list", ""))?;
    for name in unfinished {
        disk.remove(&name).map_err(io(disk, "cannot remove", &name))?;
    }
    let (seed, now) = (world.random(), world.elapsed());
    let (mut files, mut snapshots, mut numbers) = (Files::default(), Vec::new(), Vec::new());
    for name in &names {
        if let Some(frame) = snapshot::frame_of(name) {
            snapshots.push(frame);
        } else if let Some(number) = segment::number(name) {
            numbers.push(number);
        }
    }
    let mut replay = Replay::new(disk, seed, now);
    for frame in &snapshots {
        let name = snapshot::name(*frame);
        let head = snapshot::head(disk, &name)?;
        replay.belongs(&name, head.store)?;
        files.snapshots.insert(*frame, SnapshotFile { bytes: length(disk, &name)?, time: head.time });
    }
    if let Some(frame) = snapshots.last() {
        replay.load(*frame)?;
    }
    let firsts = first_frames(disk, &numbers, &mut replay, &mut files)?;
    // The log begins in the last segment whose first frame the state still needs, or has just seen.
    let begin = firsts.iter().rposition(|(_, first)| first.is_some_and(|first| first <= replay.next)).unwrap_or(0);
    let mut tail = None;
    for (i, (number, _)) in firsts.iter().enumerate().skip(begin) {
        let later = firsts[i + 1..].iter().find_map(|(number, first)| Some((*number, (*first)?)));
        let end = replay.segment(*number, None)?;
        if let Some((later, first)) = later {
            if first != replay.next {
                let why = format!(
                    "the log has a hole: frame {} is broken or missing, and segment {later:016x} goes on with {first}",
                    replay.next
                );
                return Err(corrupt(disk, &segment::name(*number), end, why));
            }
            continue;
        }
        tail = Some((*number, end));
        break;
    }
    let since_snapshot = replay.bytes;
    let Replay { state, store, next, .. } = replay;
    let store = store.unwrap_or_else(|| world.random());
    let (segment, used) = match tail {
        Some((number, end)) => (reopen(disk, number, end)?, number),
        None => {
            let number = numbers.last().map_or(1, |last| last + 1);
            let length = options.first_segment_bytes;
            let made = segment::prepare(disk, store, number, length).map_err(io(disk, "cannot begin a log in", ""))?;
            files.segments.insert(number, SegmentFile { bytes: length, first_frame: None });
            (made, number)
        }
    };
    let prepared = take_prepared(disk, store, used, next, &mut files)?;
    Ok(Recovered { store, state, segment, prepared, next_frame: next, files, since_snapshot })
}

fn length(disk: &Disk, name: &str) -> Result<u64, OpenError> {
    disk.open(name).and_then(|file| file.length()).map_err(io(disk, "cannot read", name))
}

/// The first frame of every segment, and what is known of the files.
fn first_frames(
    disk: &Disk,
    numbers: &[u64],
    replay: &mut Replay<'_>,
    files: &mut Files,
) -> Result<Vec<(u64, Option<u64>)>, OpenError> {
    let mut firsts = Vec::new();
    for number in numbers {
        let name = segment::name(*number);
        let file = disk.open(&name).map_err(io(disk, "cannot open", &name))?;
        let bytes = file.length().map_err(io(disk, "cannot read", &name))?;
        let mut start = vec![0; bytes.min(SEGMENT_HEADER + FRAME_HEADER as u64) as usize];
        file.read_at(&mut start, 0).map_err(io(disk, "cannot read", &name))?;
        let store = segment::check(disk, &name, &start)?;
        replay.belongs(&name, store)?;
        let home = Home { store, segment: *number };
        let mut first = None;
        // The head says how long the frame is; only the whole frame tells whether it is sound.
        if let Some((_, length)) = frame::peek(&start[SEGMENT_HEADER as usize..]) {
            let whole = (FRAME_HEADER + length).min((bytes - SEGMENT_HEADER) as usize);
            let mut frame = vec![0; whole];
            file.read_at(&mut frame, SEGMENT_HEADER).map_err(io(disk, "cannot read", &name))?;
            first = frame::open(&frame, home).map(|(head, _)| head.number);
        }
        files.segments.insert(*number, SegmentFile { bytes, first_frame: first });
        firsts.push((*number, first));
    }
    Ok(firsts)
}

/// Opens the last segment where its last frame ends, and overwrites what a torn write has left behind that.
fn reopen(disk: &Disk, number: u64, end: usize) -> Result<Segment, OpenError> {
    let name = segment::name(number);
    let bytes = disk.read(&name).map_err(io(disk, "cannot read", &name))?;
    let file = disk.open(&name).map_err(io(disk, "cannot open", &name))?;
    if let Some(last) = bytes[end..].iter().rposition(|byte| *byte != 0) {
        let zeros = vec![0; last + 1];
        file.write_at(&zeros, end as u64).map_err(io(disk, "cannot write", &name))?;
        file.sync().map_err(io(disk, "cannot sync", &name))?;
    }
    Ok(Segment { number, file, length: bytes.len() as u64, offset: end as u64 })
}

/// The segment that was prepared after the last one; further ones are of no use. None of them may hold a frame that is still
/// needed: `next` or one after it.
fn take_prepared(
    disk: &Disk,
    store: u64,
    used: u64,
    next: u64,
    files: &mut Files,
) -> Result<Option<Segment>, OpenError> {
    let later: Vec<u64> = files.segments.range(used + 1..).map(|(number, _)| *number).collect();
    let mut prepared = None;
    for number in later {
        let name = segment::name(number);
        let bytes = disk.read(&name).map_err(io(disk, "cannot read", &name))?;
        if let Some((at, frame)) =
            later_frame(&bytes, SEGMENT_HEADER as usize, Home { store, segment: number }, next - 1)
        {
            let why = format!("its first frame is broken, and a sound frame {frame} follows at byte {at}");
            return Err(corrupt(disk, &name, SEGMENT_HEADER as usize, why));
        }
        if prepared.is_none() && number == used + 1 {
            prepared = Some(reopen(disk, number, SEGMENT_HEADER as usize)?);
        } else {
            disk.remove(&name).map_err(io(disk, "cannot remove", &name))?;
            files.segments.remove(&number);
        }
    }
    Ok(prepared)
}

/// Builds a state from a snapshot and segments, in order.
pub(super) struct Replay<'a> {
    disk: &'a Disk,
    now: Duration,
    pub state: State,
    /// The store that all files so far belong to.
    pub store: Option<u64>,
    /// Number of the next frame.
    pub next: u64,
    /// Bytes of the frames that were replayed.
    pub bytes: u64,
}

/// Where a replay ends.
pub(super) type Until<'a> = &'a mut dyn FnMut(&State, &Head) -> bool;

impl<'a> Replay<'a> {
    pub fn new(disk: &'a Disk, seed: u64, now: Duration) -> Replay<'a> {
        Replay { disk, now, state: State::new(seed), store: None, next: 1, bytes: 0 }
    }

    /// Refuses a file of another store.
    pub fn belongs(&mut self, name: &str, store: u64) -> Result<(), OpenError> {
        if self.store.is_some_and(|known| known != store) {
            let why = format!("it belongs to the store {store:016x}, other files to {:016x}", self.store.unwrap_or(0));
            return Err(corrupt(self.disk, name, 16, why));
        }
        self.store = Some(store);
        Ok(())
    }

    /// Loads a snapshot into the empty state.
    pub fn load(&mut self, frame: u64) -> Result<(), OpenError> {
        snapshot::load(self.disk, &snapshot::name(frame), &mut self.state, self.now)?;
        self.next = frame + 1;
        Ok(())
    }

    /// Replays a segment up to its end, or until told to stop before a frame. Returns the offset where it stopped.
    pub fn segment(&mut self, number: u64, mut until: Option<Until<'_>>) -> Result<usize, OpenError> {
        let name = segment::name(number);
        let bytes = Bytes::from(self.disk.read(&name).map_err(io(self.disk, "cannot read", &name))?);
        let store = segment::check(self.disk, &name, &bytes)?;
        self.belongs(&name, store)?;
        let home = Home { store, segment: number };
        let mut offset = SEGMENT_HEADER as usize;
        while let Some((head, items)) = frame::open(&bytes[offset..], home) {
            if head.number > self.next {
                let why = format!("frame {} is missing before frame {}", self.next, head.number);
                return Err(corrupt(self.disk, &name, offset, why));
            }
            if head.number == self.next {
                if until.as_mut().is_some_and(|until| until(&self.state, &head)) {
                    return Ok(offset);
                }
                self.frame(&head, bytes.slice_ref(items)).map_err(|why| corrupt(self.disk, &name, offset, why))?;
            }
            offset = (offset + head.size()).min(bytes.len());
        }
        match later_frame(&bytes, offset, home, self.next) {
            None => Ok(offset),
            Some((at, number)) => {
                let why = format!("frame {} is broken, and a sound frame {number} follows at byte {at}", self.next);
                Err(corrupt(self.disk, &name, offset, why))
            }
        }
    }

    fn frame(&mut self, head: &Head, items: Bytes) -> Result<(), String> {
        let mut items = Items(items);
        while let Some(item) = items.next().map_err(|error| error.to_string())? {
            self.item(item)?;
        }
        if self.state.revision != head.revision {
            return Err(format!("it leads to revision {}, but says {}", self.state.revision, head.revision));
        }
        self.state.note_time(head.time);
        self.next = head.number + 1;
        self.bytes += head.size() as u64;
        Ok(())
    }

    fn item(&mut self, item: Item) -> Result<(), String> {
        self.state.replay(item, self.now).map_err(str::to_owned)
    }
}

/// A sound frame behind a broken one, whose number says that it was written after it.
fn later_frame(bytes: &[u8], from: usize, home: Home, number: u64) -> Option<(usize, u64)> {
    let (mut at, mut looked) = (from, 0);
    while at + FRAME_HEADER <= bytes.len() {
        // Most of what lies behind the end of a log was never written.
        let skip = bytes[at..].iter().position(|byte| *byte != 0)?;
        at += skip / ALIGN * ALIGN;
        // No more frames fit in the segment than this, so other numbers need no checksum.
        let plausible = number + 1..number + 2 + (bytes.len() / FRAME_HEADER) as u64;
        if let Some((found, length)) = frame::peek(&bytes[at..])
            && plausible.contains(&found)
        {
            looked += length;
            if frame::open(&bytes[at..], home).is_some() || looked > MOST_LOOKED * bytes.len() {
                return Some((at, found));
            }
        }
        at += ALIGN;
    }
    None
}

/// When the log says that something was written, for those who ask for a time: the last revision of a segment not after it.
pub(super) fn last_before(bytes: &[u8], home: Home, time: Timestamp) -> Option<Head> {
    let (mut offset, mut last) = (SEGMENT_HEADER as usize, None);
    while let Some((head, _)) = frame::open(&bytes[offset..], home) {
        if head.time > time {
            break;
        }
        last = Some(head);
        offset = (offset + head.size()).min(bytes.len());
    }
    last
}
