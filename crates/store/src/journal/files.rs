//! Which files a store has, and which of them it no longer needs.

use std::collections::BTreeMap;
use std::time::Duration;

use world::Timestamp;

/// What is known of a segment without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub bytes: u64,
    /// The number of its first frame; none as long as it is empty.
    pub first_frame: Option<u64>,
}

/// What is known of a snapshot without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotFile {
    pub bytes: u64,
    pub time: Timestamp,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// By number.
    pub segments: BTreeMap<u64, SegmentFile>,
    /// By the last frame that they contain.
    pub snapshots: BTreeMap<u64, SnapshotFile>,
}

/// What is to be removed, oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Excess {
    pub segments: Vec<u64>,
    pub snapshots: Vec<u64>,
}

impl Files {
    pub fn bytes(&self) -> u64 {
        let segments: u64 = self.segments.values().map(|segment| segment.bytes).sum();
        segments + self.snapshots.values().map(|snapshot| snapshot.bytes).sum::<u64>()
    }

    pub fn newest_snapshot_bytes(&self) -> u64 {
        self.snapshots.last_key_value().map_or(0, |(_, snapshot)| snapshot.bytes)
    }

    /// Segments whose frames are all in the snapshot that ends with `frame`.
    fn covered_by(&self, frame: u64) -> Vec<u64> {
        let mut covered = Vec::new();
        for number in self.segments.keys() {
            let next = self.segments.range(number + 1..).next().and_then(|(_, segment)| segment.first_frame);
            if next.is_none_or(|first| first > frame + 1) {
                break;
            }
            covered.push(*number);
        }
        covered
    }

    /// Takes off what is retained neither to open the store nor to restore a state of it.
    ///
    /// A state is restored from a snapshot, or from nothing, and the log behind it.
    pub fn take_excess(&mut self, now: Timestamp, retain_age: Duration, retain_bytes: u64) -> Excess {
        let mut excess = Excess::default();
        let needed = self.needed_bytes();
        // Before the oldest snapshot that makes something else superfluous, nothing is needed but to go back further.
        while let Some((begin, time)) = self.next_beginning() {
            let too_old = now.since(time) > retain_age;
            let too_large = self.bytes() > needed.saturating_add(retain_bytes);
            if !too_old && !too_large {
                break;
            }
            for number in self.covered_by(begin) {
                self.segments.remove(&number);
                excess.segments.push(number);
            }
            while let Some(oldest) = self.snapshots.first_entry().filter(|oldest| *oldest.key() < begin) {
                excess.snapshots.push(*oldest.key());
                oldest.remove();
            }
        }
        excess
    }

    /// The oldest snapshot before which there is something to remove, and when it was taken.
    fn next_beginning(&self) -> Option<(u64, Timestamp)> {
        let mut snapshots = self.snapshots.iter().enumerate();
        let found = snapshots.find(|(earlier, (frame, _))| *earlier > 0 || !self.covered_by(**frame).is_empty());
        found.map(|(_, (frame, snapshot))| (*frame, snapshot.time))
    }

    /// Bytes without which the store could not be opened: the newest snapshot and the log behind it.
    fn needed_bytes(&self) -> u64 {
        let Some((frame, snapshot)) = self.snapshots.last_key_value() else { return self.bytes() };
        let covered = self.covered_by(*frame);
        let segments = self.segments.iter().filter(|(number, _)| !covered.contains(number));
        snapshot.bytes + segments.map(|(_, segment)| segment.bytes).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of 100 bytes with ten frames each, the last one empty; snapshots of 10 bytes, taken in the second of their frame.
    fn files(segments: u64, snapshots: &[u64]) -> Files {
        let mut files = Files::default();
        for number in 1..=segments {
            files.segments.insert(number, SegmentFile { bytes: 100, first_frame: Some(number * 10 - 9) });
        }
        files.segments.insert(segments + 1, SegmentFile { bytes: 100, first_frame: None });
        for frame in snapshots {
            let time = Timestamp::from_seconds(*frame as i64);
            files.snapshots.insert(*frame, SnapshotFile { bytes: 10, time });
        }
        files
    }

    fn excess(files: &mut Files, now: i64, age: u64, bytes: u64) -> (Vec<u64>, Vec<u64>) {
        let excess = files.take_excess(Timestamp::from_seconds(now), Duration::from_secs(age), bytes);
        (excess.segments, excess.snapshots)
    }

    #[test]
    fn what_is_not_needed_goes_by_size_and_by_age() {
        let unlimited = u64::MAX;
        assert_eq!(excess(&mut files(5, &[]), 100, 0, 0), (vec![], vec![]), "without a snapshot all is needed");
        assert_eq!(excess(&mut files(5, &[25]), 100, 1_000, unlimited), (vec![], vec![]), "all is retained");
        assert_eq!(excess(&mut files(5, &[25]), 100, 1_000, 0), (vec![1, 2], vec![]), "the log before the snapshot");
        assert_eq!(excess(&mut files(5, &[30]), 100, 1_000, 0), (vec![1, 2, 3], vec![]), "up to its very end");
        assert_eq!(excess(&mut files(5, &[25, 45]), 100, 1_000, 0), (vec![1, 2, 3, 4], vec![25]));
        assert_eq!(excess(&mut files(5, &[25, 45]), 100, 60, unlimited), (vec![1, 2], vec![]), "only one is too old");
        assert_eq!(excess(&mut files(5, &[25, 45]), 200, 60, unlimited), (vec![1, 2, 3, 4], vec![25]));
        // Needed are a snapshot, the segment of its frame, the one that is written and the empty one: 310 bytes of 620.
        assert_eq!(excess(&mut files(5, &[25, 45]), 100, 1_000, 210), (vec![1, 2], vec![]));
        // Two snapshots of the first segment: the first of them goes alone.
        assert_eq!(excess(&mut files(5, &[3, 7, 25, 45]), 100, 96, unlimited), (vec![], vec![]));
        assert_eq!(excess(&mut files(5, &[3, 7, 25, 45]), 100, 80, unlimited), (vec![], vec![3]));
        assert_eq!(excess(&mut files(5, &[3, 7, 25, 45]), 100, 70, unlimited), (vec![1, 2], vec![3, 7]));
        let mut repeated = files(5, &[25, 45]);
        excess(&mut repeated, 100, 1_000, 210);
        assert_eq!(excess(&mut repeated, 100, 1_000, 210), (vec![], vec![]));
    }
}
