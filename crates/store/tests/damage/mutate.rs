//! Ways to damage a data directory. What to draw comes from the caller: a seed in the test, a fuzzer's input in `fuzz/`.

use std::collections::BTreeMap;

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Where frames begin in a segment, and how long the head of one is (see `journal/segment.rs` and `journal/frame.rs`).
const SEGMENT_HEADER: usize = 64;
pub const FRAME_HEADER: usize = 40;
const FRAME_MAGIC: &[u8; 4] = b"MNTF";
const SEGMENT_MAGIC: &[u8; 8] = b"MINATOLG";

/// Random bytes are at most this long.
const MOST_RANDOM: usize = 4_096;

/// What was done to the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Checksums can tell: what is read back must be a state that once was.
    Accident,
    /// Checksums were made to fit: anything may be read back, but nothing may break.
    Lie,
}

/// Draws a number below a bound, 0 when the bound is 0.
pub trait Draw {
    fn below(&mut self, bound: usize) -> usize;

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

/// Damages files in one way, and says how in words.
pub fn mutate(files: &mut Files, draw: &mut dyn Draw) -> (Damage, String) {
    let names: Vec<String> = files.keys().cloned().collect();
    if names.is_empty() {
        return (Damage::Accident, "nothing is left to damage".to_owned());
    }
    let name = names[draw.below(names.len())].clone();
    let other = names[draw.below(names.len())].clone();
    match draw.below(12) {
        0..=2 => {
            let Some((at, bit)) = position(&files[&name], draw).map(|at| (at, draw.below(8))) else {
                return (Damage::Accident, format!("{name} is empty"));
            };
            edit(files, &name, |bytes| bytes[at] ^= 1 << bit);
            (Damage::Accident, format!("bit {bit} of byte {at} of {name} is flipped"))
        }
        3 => {
            let length = position(&files[&name], draw).unwrap_or(0);
            edit(files, &name, |bytes| bytes.truncate(length));
            (Damage::Accident, format!("{name} is cut to {length} bytes"))
        }
        4 => {
            let at = position(&files[&name], draw).unwrap_or(0);
            let length = (1 + draw.below(MOST_RANDOM)).min(files[&name].len() - at);
            let zeros = draw.below(2) == 0;
            let bytes: Vec<u8> = (0..length).map(|_| if zeros { 0 } else { draw.byte() }).collect();
            edit(files, &name, |file| file[at..at + length].copy_from_slice(&bytes));
            (
                Damage::Accident,
                format!("{length} bytes of {name} from {at} on are {}", if zeros { "zero" } else { "random" }),
            )
        }
        5 => {
            // A piece of one file at a place in another: sectors that went astray.
            let from = position(&files[&other], draw).unwrap_or(0) / 8 * 8;
            let to = position(&files[&name], draw).unwrap_or(0) / 8 * 8;
            let length = (1 + draw.below(8 * MOST_RANDOM)).min(files[&other].len() - from).min(files[&name].len() - to);
            let piece = files[&other][from..from + length].to_vec();
            edit(files, &name, |bytes| bytes[to..to + length].copy_from_slice(&piece));
            (Damage::Accident, format!("{length} bytes of {other} from {from} on are in {name} at {to}"))
        }
        6 => {
            let (a, b) = (files[&name].clone(), files[&other].clone());
            files.insert(name.clone(), b);
            files.insert(other.clone(), a);
            (Damage::Accident, format!("{name} and {other} have changed places"))
        }
        7 => {
            let copy = files[&name].clone();
            files.insert(other.clone(), copy);
            (Damage::Accident, format!("{other} is a copy of {name}"))
        }
        8 => {
            let new = renamed(&name, draw);
            let copy = files[&name].clone();
            files.insert(new.clone(), copy);
            (Damage::Accident, format!("{name} is also there as {new}"))
        }
        9 => {
            files.remove(&name);
            (Damage::Accident, format!("{name} is gone"))
        }
        10 => {
            let bytes: Vec<u8> = (0..draw.below(MOST_RANDOM)).map(|_| draw.byte()).collect();
            let words = format!("{name} is {} random bytes", bytes.len());
            files.insert(name, bytes);
            (Damage::Accident, words)
        }
        _ => lie(files, &name, draw),
    }
}

fn edit(files: &mut Files, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    if let Some(bytes) = files.get_mut(name) {
        change(bytes);
    }
}

/// A place in a file: mostly where something was written, not in the zeros behind; none in an empty file.
fn position(bytes: &[u8], draw: &mut dyn Draw) -> Option<usize> {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let bound = match draw.below(8) {
        0 => bytes.len(),
        1 | 2 => used.min(SEGMENT_HEADER + FRAME_HEADER),
        _ => used,
    };
    (!bytes.is_empty()).then(|| if bound == 0 { 0 } else { draw.below(bound) })
}

/// A name of the same kind, near by.
fn renamed(name: &str, draw: &mut dyn Draw) -> String {
    let Some((digits, kind)) = name.split_once('.') else { return format!("{name}0") };
    match u64::from_str_radix(digits, 16) {
        Ok(number) => format!("{:016x}.{kind}", number.wrapping_add(draw.below(5) as u64).wrapping_sub(2)),
        Err(_) => format!("0{name}"),
    }
}

/// Changes what a frame says, its items included, and makes its checksum fit. Other files only get random bytes.
fn lie(files: &mut Files, name: &str, draw: &mut dyn Draw) -> (Damage, String) {
    let bytes = &files[name];
    let mut frames = frames(bytes);
    frames.retain(|(_, length)| *length > 0);
    if frames.is_empty() {
        let bytes: Vec<u8> = (0..draw.below(MOST_RANDOM)).map(|_| draw.byte()).collect();
        edit(files, name, |file| *file = bytes);
        return (Damage::Accident, format!("{name} is random bytes"));
    }
    let (at, length) = frames[draw.below(frames.len())];
    let (mut words, home) = (String::new(), bytes[16..32].to_vec());
    for _ in 0..1 + draw.below(3) {
        // The head's number, time and revision, or an item.
        let place = match draw.below(4) {
            0 => at + 8 + draw.below(24),
            _ => at + FRAME_HEADER + draw.below(length),
        };
        let value = match draw.below(4) {
            0 => 0xff,
            1 => 0x80,
            2 => draw.below(6) as u8,
            _ => draw.byte(),
        };
        words.push_str(&format!("byte {place} is {value:#04x}, "));
        edit(files, name, |bytes| bytes[place] = value);
    }
    edit(files, name, |bytes| {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&home);
        hasher.update(&bytes[at..at + 32]);
        hasher.update(&bytes[at + FRAME_HEADER..at + FRAME_HEADER + length]);
        let checksum = hasher.finalize();
        bytes[at + 32..at + 36].copy_from_slice(&checksum.to_le_bytes());
    });
    (Damage::Lie, format!("in frame {at} of {name}, {words}with a checksum that fits"))
}

/// Offset and length of the items of the frames of a segment; the frame that only confirms others has none.
pub fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut frames, mut at) = (Vec::new(), SEGMENT_HEADER);
    if !bytes.starts_with(SEGMENT_MAGIC) {
        return frames;
    }
    while bytes.len() >= at + FRAME_HEADER && bytes[at..].starts_with(FRAME_MAGIC) {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes")) as usize;
        if bytes.len() - at - FRAME_HEADER < length {
            break;
        }
        frames.push((at, length));
        at += (FRAME_HEADER + length).next_multiple_of(8);
    }
    frames
}
