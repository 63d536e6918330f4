//! Segments: files of a fixed length, written with zeros beforehand, that hold frames one after the other.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `MINATOLG` |
//! | 8..12 | version of the format |
//! | 12..16 | CRC-32 of bytes 0..12 and 16..32 |
//! | 16..24 | the store's id |
//! | 24..32 | the segment's number |
//! | 64.. | frames |

use std::io;

use crate::OpenError;
use crate::disk::{Disk, File};

/// Where the first frame begins.
pub(crate) const SEGMENT_HEADER: u64 = 64;

/// The version of all files that this build writes and reads.
pub(crate) const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"MINATOLG";

/// Zeros are written in pieces of this many bytes.
const PIECE: usize = 1 << 20;

/// Ends the names of files that were not finished; they mean nothing.
pub(crate) const TEMPORARY: &str = ".tmp";

/// A segment that is open for writing.
pub(crate) struct Segment {
    pub number: u64,
    pub file: File,
    pub length: u64,
    /// Where the next frame goes.
    pub offset: u64,
}

impl Segment {
    /// Bytes that frames can still take.
    pub fn room(&self) -> u64 {
        self.length - self.offset
    }
}

pub(crate) fn name(number: u64) -> String {
    format!("{number:016x}.log")
}

/// The number in the name of a segment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

fn header(store: u64, number: u64) -> Vec<u8> {
    let mut bytes = vec![0; SEGMENT_HEADER as usize];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..24].copy_from_slice(&store.to_le_bytes());
    bytes[24..32].copy_from_slice(&number.to_le_bytes());
    let checksum = checksum(&bytes);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[0..12]);
    hasher.update(&bytes[16..32]);
    hasher.finalize()
}

/// Makes a segment of `length` bytes, all of them written, so that later writes neither run out of space nor move anything.
pub(crate) fn prepare(disk: &Disk, store: u64, number: u64, length: u64) -> io::Result<Segment> {
    let (name, temporary) = (name(number), format!("{}{TEMPORARY}", self::name(number)));
    let made = (|| {
        let file = disk.create(&temporary)?;
        let zeros = vec![0; PIECE.min(length as usize)];
        let mut offset = 0;
        while offset < length {
            let piece = &zeros[..(length - offset).min(PIECE as u64) as usize];
            file.write_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        file.write_at(&header(store, number), 0)?;
        file.sync()?;
        disk.rename(&temporary, &name)?;
        disk.sync_directory()?;
        Ok(file)
    })();
    match made {
        Ok(file) => Ok(Segment { number, file, length, offset: SEGMENT_HEADER }),
        Err(error) => {
            // What is left of it would only take space; if that fails too, the next start removes it.
            let _ = disk.remove(&temporary);
            Err(error)
        }
    }
}

/// The store that a segment says it belongs to, from its bytes.
pub(crate) fn check(disk: &Disk, name: &str, bytes: &[u8]) -> Result<u64, OpenError> {
    let corrupt = |offset, why: &str| OpenError::Corrupt {
        file: disk.path_of(name),
        offset,
        why: why.to_owned(),
        advice: crate::open_error::ADVICE.to_owned(),
    };
    if bytes.len() < SEGMENT_HEADER as usize {
        return Err(corrupt(bytes.len() as u64, "it is shorter than the header of a segment"));
    }
    if bytes[0..8] != MAGIC {
        return Err(corrupt(0, "it does not begin as a segment of Minato's log does"));
    }
    let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    if short(8) != FORMAT {
        return Err(OpenError::Format { file: disk.path_of(name), found: short(8), known: FORMAT });
    }
    if short(12) != checksum(bytes) {
        return Err(corrupt(12, "the checksum of its header does not match"));
    }
    if number(name) != Some(long(24)) {
        return Err(corrupt(24, "it was written under another name"));
    }
    Ok(long(16))
}
