//! Frames: what is written and synced at once. One group of items, with a length and a checksum.
//!
//! A frame is only written when the one before it has been synced. So a sound frame after a broken one means that the broken one
//! was sound once: damage, not a torn tail. The checksum covers the store, the segment and the frame's number, so that what is
//! left of another store, segment or life is never taken for a frame of this one.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `MNTF` |
//! | 4..8 | length of the items in bytes |
//! | 8..16 | number of the frame: one more than that of the frame before |
//! | 16..24 | when it was written, microseconds since 1970 |
//! | 24..32 | the store's revision after it |
//! | 32..36 | CRC-32 of the store's id, the segment's number, bytes 0..32 and the items |
//! | 36..40 | zero |
//!
//! All little-endian. The next frame begins at the next multiple of eight.

use world::Timestamp;

use crate::Revision;

/// Length of a frame without items, in bytes.
pub(crate) const FRAME_HEADER: usize = 40;

const MAGIC: [u8; 4] = *b"MNTF";

/// Frames begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

/// Where a frame belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    pub store: u64,
    pub segment: u64,
}

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub number: u64,
    pub time: Timestamp,
    pub revision: Revision,
    /// Bytes of its items.
    pub length: usize,
}

impl Head {
    /// Bytes that it takes in its segment.
    pub fn size(&self) -> usize {
        (FRAME_HEADER + self.length).next_multiple_of(ALIGN)
    }
}

/// The bytes that a frame of `length` bytes of items takes in its segment.
pub(crate) fn size_of_frame(length: usize) -> usize {
    (FRAME_HEADER + length).next_multiple_of(ALIGN)
}

fn checksum(home: Home, head: &[u8], items: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&home.store.to_le_bytes());
    hasher.update(&home.segment.to_le_bytes());
    hasher.update(head);
    hasher.update(items);
    hasher.finalize()
}

/// Completes a frame in place: `frame` begins with [`FRAME_HEADER`] bytes of room, and items follow.
pub(crate) fn seal(frame: &mut Vec<u8>, home: Home, number: u64, time: Timestamp, revision: Revision) {
    let length = frame.len() - FRAME_HEADER;
    frame[0..4].copy_from_slice(&MAGIC);
    // A group is bounded far below four gigabytes.
    frame[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    frame[8..16].copy_from_slice(&number.to_le_bytes());
    frame[16..24].copy_from_slice(&time.micros().to_le_bytes());
    frame[24..32].copy_from_slice(&revision.to_le_bytes());
    let checksum = checksum(home, &frame[..32], &frame[FRAME_HEADER..]);
    frame[32..36].copy_from_slice(&checksum.to_le_bytes());
    frame[36..40].fill(0);
    frame.resize(frame.len().next_multiple_of(ALIGN), 0);
}

/// The number of what looks like a frame at the start of `bytes`, and the length of its items.
pub(crate) fn peek(bytes: &[u8]) -> Option<(u64, usize)> {
    let head = bytes.get(..FRAME_HEADER).filter(|head| head[0..4] == MAGIC)?;
    let length = u32::from_le_bytes(head[4..8].try_into().expect("four bytes"));
    Some((u64::from_le_bytes(head[8..16].try_into().expect("eight bytes")), length as usize))
}

/// The frame at the start of `bytes`, if a sound one is there, and its items.
pub(crate) fn open(bytes: &[u8], home: Home) -> Option<(Head, &[u8])> {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    if bytes.len() < FRAME_HEADER || bytes[0..4] != MAGIC || short(36) != 0 {
        return None;
    }
    let length = short(4) as usize;
    let items = bytes[FRAME_HEADER..].get(..length)?;
    if checksum(home, &bytes[..32], items) != short(32) {
        return None;
    }
    let time = Timestamp::from_micros(number(16) as i64);
    Some((Head { number: number(8), time, revision: number(24) as Revision, length }, items))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Home = Home { store: 7, segment: 3 };

    fn frame(items: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; FRAME_HEADER];
        frame.extend_from_slice(items);
        seal(&mut frame, HOME, 12, Timestamp::from_micros(99), 5);
        frame
    }

    #[test]
    fn a_frame_is_read_back_where_it_belongs_and_nowhere_else() {
        for items in [&b""[..], b"i", b"some items"] {
            let bytes = frame(items);
            let (head, read) = open(&bytes, HOME).unwrap();
            assert_eq!((head.number, head.time.micros(), head.revision, read), (12, 99, 5, items));
            assert_eq!(head.size(), bytes.len());
            assert!(open(&bytes, Home { segment: 4, ..HOME }).is_none());
            assert!(open(&bytes, Home { store: 8, ..HOME }).is_none());
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = frame(b"items");
        for bit in 0..(FRAME_HEADER + 5) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&flipped, HOME).is_none(), "bit {bit}");
        }
        for cut in 0..FRAME_HEADER + 5 {
            assert!(open(&bytes[..cut], HOME).is_none(), "cut at {cut}");
        }
    }
}
