//! Sets of completion indexes in the form in which a status has them: `1,3-5,7`.

use std::fmt;

/// Intervals in order, neither overlapping nor touching.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i64, i64)>);

impl Indexes {
    /// Reads the text; what is no number, and what is beyond the number of completions, is left out.
    pub(super) fn parse(text: &str, completions: i64) -> Indexes {
        let mut indexes = Indexes::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) else { continue };
            if first >= completions {
                break;
            }
            indexes.push((first, last.min(completions - 1)));
        }
        indexes
    }

    /// Adds an interval that begins no earlier than any other.
    fn push(&mut self, (first, last): (i64, i64)) {
        match self.0.last_mut() {
            Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
            _ => self.0.push((first, last)),
        }
    }

    /// With more indexes, in any order.
    pub(super) fn with(&self, more: impl IntoIterator<Item = i64>) -> Indexes {
        self.union(&Indexes(more.into_iter().map(|index| (index, index)).collect()))
    }

    pub(super) fn union(&self, other: &Indexes) -> Indexes {
        let mut all: Vec<(i64, i64)> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        let mut union = Indexes::default();
        all.into_iter().for_each(|interval| union.push(interval));
        union
    }

    pub(super) fn total(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn has(&self, index: i64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many are in both.
    pub(super) fn common(&self, other: &Indexes) -> i64 {
        let overlap = |(first, last): &(i64, i64)| {
            let overlaps = other.0.iter().map(move |(start, end)| (last.min(end) - first.max(start) + 1).max(0));
            overlaps.sum::<i64>()
        };
        self.0.iter().map(overlap).sum()
    }

    /// The first `count` indexes below `completions` that are not in it.
    pub(super) fn missing(&self, count: usize, completions: i64) -> Vec<i64> {
        let mut missing = Vec::new();
        let mut candidate = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            let end = first.min(completions);
            while candidate < end && missing.len() < count {
                missing.push(candidate);
                candidate += 1;
            }
            candidate = candidate.max(last + 1);
        }
        missing
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_read_joined_and_written() {
        // The text, completions, more indexes, the text afterwards, how many.
        let cases: [(&str, i64, &[i64], &str, i64); 6] = [
            ("", 5, &[], "", 0),
            ("", 5, &[4, 0, 1], "0,1,4", 3),
            ("1,3-5", 10, &[2], "1-5", 5),
            ("0-2,3", 10, &[], "0-3", 4),
            ("0-9", 4, &[], "0-3", 4),
            ("x,1,7", 5, &[3], "1,3", 2),
        ];
        for (text, completions, more, expected, total) in cases {
            let indexes = Indexes::parse(text, completions).with(more.iter().copied());
            assert_eq!((indexes.to_string().as_str(), indexes.total()), (expected, total), "{text} with {more:?}");
        }
    }

    #[test]
    fn what_is_missing_and_what_is_common() {
        let indexes = Indexes::parse("1,3-5", 10);
        assert_eq!(indexes.missing(4, 10), [0, 2, 6, 7]);
        assert_eq!(indexes.missing(9, 7), [0, 2, 6]);
        assert_eq!(Indexes::default().missing(2, 9), [0, 1]);
        assert_eq!([1, 2, 3, 5, 6].map(|index| indexes.has(index)), [true, false, true, true, false]);
        assert_eq!(indexes.common(&Indexes::parse("0-3,5,9", 10)), 3);
    }
}
