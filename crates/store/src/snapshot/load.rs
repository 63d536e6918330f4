//! Reads snapshots, and believes nothing that has no right checksum.

use std::time::Duration;

use sha2::{Digest, Sha256};
use world::Timestamp;

use super::{END, EVENTS, HEAD, Head, LEASES, MAGIC, VERSIONS, checksum};
use crate::disk::{Disk, File};
use crate::embedded::{Record, State};
use crate::journal::FORMAT;
use crate::{LeaseId, OpenError, Revision};

/// The longest block: the one that a version of the largest key and value makes, with room to spare.
const MAX_BLOCK: usize = 64 << 20;

/// Snapshots that etcd's clients save are padded to a multiple of this, in bytes, before their checksum.
const ETCD_BLOCK: u64 = 512;
const ETCD_SUM: u64 = 32;

const ADVICE: &str = "Remove it if an older snapshot and the log since then are there, or restore another snapshot into a new \
                      directory";

/// A snapshot that is being read, block by block.
pub(super) struct Reader<'a> {
    disk: &'a Disk,
    name: &'a str,
    file: File,
    length: u64,
    pub head: Head,
    offset: u64,
    place: u64,
    ended: bool,
}

/// What one block holds.
pub(super) enum Block {
    Versions(Vec<Record>),
    Events(Vec<Record>),
    Leases(Vec<(LeaseId, Duration)>),
    /// How many versions, events and leases there were.
    End([u64; 3]),
}

impl<'a> Reader<'a> {
    pub fn open(disk: &'a Disk, name: &'a str) -> Result<Reader<'a>, OpenError> {
        let io = |source| OpenError::Io { what: "cannot read", file: disk.path_of(name), error: source };
        let file = disk.open(name).map_err(io)?;
        let length = file.length().map_err(io)?;
        let corrupt = |offset, why: &str| corrupt(disk, name, offset, why);
        if length < HEAD as u64 {
            return Err(corrupt(length, "it ends before the head of a snapshot does"));
        }
        let mut bytes = [0; HEAD];
        file.read_at(&mut bytes, 0).map_err(io)?;
        if bytes[0..8] != MAGIC {
            return Err(corrupt(0, "it does not begin as a snapshot of Minato's store does"));
        }
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if short(8) != FORMAT {
            return Err(OpenError::Format { file: disk.path_of(name), found: short(8), known: FORMAT });
        }
        if short(12) != crc32fast::hash(&bytes[16..]) {
            return Err(corrupt(12, "the checksum of its head does not match"));
        }
        let head = Head {
            store: long(16),
            frame: long(24),
            revision: long(32) as Revision,
            compacted: long(40) as Revision,
            time: Timestamp::from_micros(long(48) as i64),
        };
        Ok(Reader { disk, name, file, length, head, offset: HEAD as u64, place: 0, ended: false })
    }

    /// Where the next block begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes from a place up to the next block.
    pub fn raw(&self, from: u64) -> Result<Vec<u8>, OpenError> {
        let mut bytes = vec![0; (self.offset - from) as usize];
        let io = |source| OpenError::Io { what: "cannot read", file: self.disk.path_of(self.name), error: source };
        self.file.read_at(&mut bytes, from).map_err(io)?;
        Ok(bytes)
    }

    /// Whether nothing follows the last block but what etcd's clients want at the end of a snapshot: zeros up to a multiple of 512
    /// bytes, and the SHA-256 of all that.
    fn ends_here(&self) -> Result<bool, OpenError> {
        let padded = self.offset.next_multiple_of(ETCD_BLOCK);
        if self.length != padded + ETCD_SUM {
            return Ok(self.offset == self.length);
        }
        let io = |source| OpenError::Io { what: "cannot read", file: self.disk.path_of(self.name), error: source };
        let (mut hasher, mut piece, mut at) = (Sha256::new(), vec![0; 1 << 20], 0);
        while at < padded {
            let taken = (padded - at).min(piece.len() as u64) as usize;
            self.file.read_at(&mut piece[..taken], at).map_err(io)?;
            hasher.update(&piece[..taken]);
            at += taken as u64;
        }
        let mut sum = [0; ETCD_SUM as usize];
        self.file.read_at(&mut sum, padded).map_err(io)?;
        Ok(hasher.finalize()[..] == sum)
    }

    pub fn corrupt(&self, why: &str) -> OpenError {
        corrupt(self.disk, self.name, self.offset, why)
    }

    /// The next block; none after the last, which must be the end of the file.
    pub fn next(&mut self) -> Result<Option<Block>, OpenError> {
        if self.ended {
            return if self.ends_here()? { Ok(None) } else { Err(self.corrupt("something follows its end")) };
        }
        let io = |source| OpenError::Io { what: "cannot read", file: self.disk.path_of(self.name), error: source };
        if self.length - self.offset < 9 {
            return Err(self.corrupt("it ends too early"));
        }
        let mut head = [0; 8];
        self.file.read_at(&mut head, self.offset).map_err(io)?;
        let length = u32::from_le_bytes(head[0..4].try_into().expect("four bytes")) as usize;
        if length == 0 || length > MAX_BLOCK || length as u64 > self.length - self.offset - 8 {
            return Err(self.corrupt("a block has an impossible length"));
        }
        let mut content = vec![0; length];
        self.file.read_at(&mut content, self.offset + 8).map_err(io)?;
        if head[4..8] != checksum(self.head.store, self.place, &content).to_le_bytes() {
            return Err(self.corrupt("the checksum of a block does not match"));
        }
        let block = decode(&content).ok_or_else(|| self.corrupt("a block cannot be decoded"))?;
        self.offset += 8 + length as u64;
        self.place += 1;
        self.ended = matches!(block, Block::End(_));
        Ok(Some(block))
    }
}

fn corrupt(disk: &Disk, name: &str, offset: u64, why: &str) -> OpenError {
    OpenError::Corrupt { file: disk.path_of(name), offset, why: why.to_owned(), advice: ADVICE.to_owned() }
}

fn decode(content: &[u8]) -> Option<Block> {
    let (kind, mut rest) = content.split_first()?;
    let long = |rest: &mut &[u8]| -> Option<u64> {
        let (number, left) = rest.split_first_chunk::<8>()?;
        *rest = left;
        Some(u64::from_le_bytes(*number))
    };
    match *kind {
        VERSIONS | EVENTS => {
            let mut records = Vec::new();
            while !rest.is_empty() {
                let (length, left) = rest.split_first_chunk::<4>()?;
                let (bytes, left) = left.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                records.push(Record::from_bytes(bytes)?);
                rest = left;
            }
            Some(if *kind == VERSIONS { Block::Versions(records) } else { Block::Events(records) })
        }
        LEASES => {
            let mut leases = Vec::new();
            while !rest.is_empty() {
                leases.push((long(&mut rest)? as LeaseId, Duration::from_secs(long(&mut rest)?)));
            }
            Some(Block::Leases(leases))
        }
        END => {
            let counts = [long(&mut rest)?, long(&mut rest)?, long(&mut rest)?];
            rest.is_empty().then_some(Block::End(counts))
        }
        _ => None,
    }
}

/// The head of a snapshot.
pub(crate) fn head(disk: &Disk, name: &str) -> Result<Head, OpenError> {
    Ok(Reader::open(disk, name)?.head)
}

/// Loads a snapshot into an empty state.
pub(crate) fn load(disk: &Disk, name: &str, state: &mut State, now: Duration) -> Result<Head, OpenError> {
    let mut reader = Reader::open(disk, name)?;
    let (head, mut counts) = (reader.head, [0; 3]);
    state.begin_restore(head.compacted);
    while let Some(block) = reader.next()? {
        match block {
            Block::Versions(records) => {
                counts[0] += records.len() as u64;
                for record in records {
                    state.restore_version(record).map_err(|why| reader.corrupt(why))?;
                }
            }
            Block::Events(records) => {
                counts[1] += records.len() as u64;
                for record in records {
                    state.restore_event(record).map_err(|why| reader.corrupt(why))?;
                }
            }
            Block::Leases(leases) => {
                counts[2] += leases.len() as u64;
                leases.into_iter().for_each(|(id, ttl)| state.leases.restore(id, ttl, now));
            }
            Block::End(expected) if expected == counts => {}
            Block::End(_) => return Err(reader.corrupt("it does not hold as much as it says")),
        }
    }
    state.end_restore(head.revision).map_err(|why| reader.corrupt(why))?;
    Ok(head)
}
