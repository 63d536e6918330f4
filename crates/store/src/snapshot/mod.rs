//! Snapshots: all of a store up to one frame of its log, with the history that it holds, in one file.
//!
//! | part | what |
//! |---|---|
//! | head | 64 bytes, see [`Head`] |
//! | blocks | length (4), CRC-32 (4) of the store's id, the block's place and what follows, then a kind (1) and its content |
//!
//! A block of kind 1 has versions that were live where history begins, in byte order of their keys; of kind 2 the events of
//! history in their order; of kind 3 leases; the last, of kind 4, says how many there were of each. A version is its length (4)
//! and the bytes of [`Record`](crate::embedded::Record), a lease its id and its time to live in seconds (8 each). Little-endian.
//!
//! The same bytes are a file of a data directory, the stream of [`Store::snapshot`](crate::Store::snapshot), and what is restored.

mod file;
mod load;
mod source;

use world::Timestamp;

use crate::Revision;
use crate::journal::FORMAT;

pub use file::{SnapshotStatus, restore, status};
pub(crate) use load::{head, load};
pub(crate) use source::Source;

use bytes::Bytes;

use crate::StoreError;

/// Bytes of the head.
const HEAD: usize = 64;

const MAGIC: [u8; 8] = *b"MINATOSN";

const VERSIONS: u8 = 1;
const EVENTS: u8 = 2;
const LEASES: u8 = 3;
const END: u8 = 4;

/// Blocks are ended at this many bytes; one version can make a block longer.
const BLOCK: usize = 256 << 10;

/// What a snapshot says of itself.
///
/// | bytes | what |
/// |---|---|
/// | 0..8 | `MINATOSN` |
/// | 8..12 | version of the format |
/// | 12..16 | CRC-32 of bytes 16..64 |
/// | 16..24 | the store's id |
/// | 24..32 | number of the last frame in it |
/// | 32..40 | its revision |
/// | 40..48 | the revision where its history begins |
/// | 48..56 | when it was begun, microseconds since 1970 |
/// | 56..64 | zero |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub store: u64,
    pub frame: u64,
    pub revision: Revision,
    pub compacted: Revision,
    pub time: Timestamp,
}

impl Head {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.store.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.frame.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.revision.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.compacted.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.time.micros().to_le_bytes());
        let checksum = crc32fast::hash(&bytes[16..]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// A snapshot of a running store, read piece by piece. Dropping it ends it.
pub struct SnapshotReader(Source);

impl SnapshotReader {
    pub(crate) fn new(source: Source) -> SnapshotReader {
        SnapshotReader(source)
    }

    /// The next bytes of the file; none at the end.
    ///
    /// # Errors
    /// The store has ended, or could not keep the history any longer because this was read too slowly.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.next_block()?.map(Bytes::from))
    }
}

/// The checksum of a block: it holds only for this store, at this place.
fn checksum(store: u64, place: u64, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&store.to_le_bytes());
    hasher.update(&place.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// The name of the snapshot that ends with a frame.
pub(crate) fn name(frame: u64) -> String {
    format!("{frame:016x}.snapshot")
}

/// The frame in the name of a snapshot.
pub(crate) fn frame_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".snapshot").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}
