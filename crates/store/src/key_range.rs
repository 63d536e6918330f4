//! Which keys a request is about: one key, a prefix, a span, or everything from a key on.
//!
//! A range is compared, never enumerated: nothing here looks at stored keys.

use bytes::Bytes;

/// A set of keys that lie next to each other in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: Bytes,
    end: End,
}

/// Where a [`KeyRange`] that begins at its start ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The start is the only key.
    Key,
    /// All keys that begin with the start.
    Prefix,
    /// All keys below this one, which is not part of the range.
    Before(Bytes),
    /// No end.
    Unbounded,
}

impl KeyRange {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> KeyRange {
        KeyRange { start: key.into(), end: End::Key }
    }

    /// Every key that begins with `prefix`; the empty prefix is every key.
    pub fn prefix(prefix: impl Into<Bytes>) -> KeyRange {
        KeyRange { start: prefix.into(), end: End::Prefix }
    }

    /// `start` and everything up to `end`, which is left out. Empty when `end` is not above `start`.
    pub fn span(start: impl Into<Bytes>, end: impl Into<Bytes>) -> KeyRange {
        let (start, end) = (start.into(), end.into());
        // Clients of etcd write a prefix as a span; recognising it keeps their watches in the index of prefixes.
        if !start.is_empty() && successor_of_prefix(&start).is_some_and(|successor| successor == end) {
            return KeyRange::prefix(start);
        }
        KeyRange { start, end: End::Before(end) }
    }

    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange::prefix(Bytes::new())
    }

    /// `start` and everything above it.
    pub fn from(start: impl Into<Bytes>) -> KeyRange {
        let start = start.into();
        let end = if start.is_empty() { End::Prefix } else { End::Unbounded };
        KeyRange { start, end }
    }

    /// The lowest key that can be in the range.
    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// Where the range ends.
    pub fn end(&self) -> &End {
        &self.end
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Key => key == self.start,
            End::Prefix => key.starts_with(&self.start),
            End::Before(end) => key >= &self.start[..] && key < &end[..],
            End::Unbounded => key >= &self.start[..],
        }
    }

    /// Whether a key that is not below the start is in the range: the cheap half of [`KeyRange::contains`] for ordered walks.
    pub(crate) fn reaches(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Key => key == self.start,
            End::Prefix => key.starts_with(&self.start),
            End::Before(end) => key < &end[..],
            End::Unbounded => true,
        }
    }

    /// The same range below `prefix`.
    pub(crate) fn below(self, prefix: &Bytes) -> KeyRange {
        let start = join(prefix, &self.start);
        match self.end {
            End::Key => KeyRange::key(start),
            End::Prefix => KeyRange::prefix(start),
            End::Before(end) => KeyRange { start, end: End::Before(join(prefix, &end)) },
            End::Unbounded => match successor_of_prefix(prefix) {
                Some(end) => KeyRange { start, end: End::Before(end) },
                None => KeyRange::from(start),
            },
        }
    }
}

/// `prefix` followed by `key`.
pub(crate) fn join(prefix: &[u8], key: &[u8]) -> Bytes {
    let mut joined = Vec::with_capacity(prefix.len() + key.len());
    joined.extend_from_slice(prefix);
    joined.extend_from_slice(key);
    Bytes::from(joined)
}

/// The lowest key above every key that begins with `prefix`; none when there is no such key.
pub(crate) fn successor_of_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut successor = prefix[..=last].to_vec();
    successor[last] += 1;
    Some(Bytes::from(successor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&[u8]; 9] = [b"", b"a", b"a/", b"a/1", b"a/2", b"a0", b"b", b"\xff", b"\xff\xff"];

    fn check(range: KeyRange, expected: &[&[u8]]) {
        let contained: Vec<&[u8]> = KEYS.into_iter().filter(|key| range.contains(key)).collect();
        assert_eq!(contained, expected, "{range:?}");
        let walked: Vec<&[u8]> =
            KEYS.into_iter().filter(|key| *key >= &range.start[..] && range.reaches(key)).collect();
        assert_eq!(walked, expected, "walking {range:?}");
    }

    #[test]
    fn ranges_contain_what_they_say() {
        check(KeyRange::key("a/"), &[b"a/"]);
        check(KeyRange::key("c"), &[]);
        check(KeyRange::prefix("a/"), &[b"a/", b"a/1", b"a/2"]);
        check(KeyRange::prefix(""), &KEYS);
        check(KeyRange::prefix(&b"\xff"[..]), &[b"\xff", b"\xff\xff"]);
        check(KeyRange::all(), &KEYS);
        check(KeyRange::span("a/1", "b"), &[b"a/1", b"a/2", b"a0"]);
        check(KeyRange::span("b", "a"), &[]);
        check(KeyRange::from("b"), &[b"b", b"\xff", b"\xff\xff"]);
        check(KeyRange::from(""), &KEYS);
    }

    #[test]
    fn a_span_that_is_a_prefix_becomes_one() {
        assert_eq!(KeyRange::span("a/", "a0"), KeyRange::prefix("a/"));
        assert_eq!(KeyRange::span(&b"a\xff"[..], "b"), KeyRange::prefix(&b"a\xff"[..]));
        assert_ne!(KeyRange::span("a/", "a1"), KeyRange::prefix("a/"));
    }

    #[test]
    fn a_range_below_a_prefix_never_leaves_it() {
        let prefix = Bytes::from_static(b"p/");
        let cases = [
            (KeyRange::key("k"), KeyRange::key("p/k")),
            (KeyRange::prefix("k"), KeyRange::prefix("p/k")),
            (KeyRange::all(), KeyRange::prefix("p/")),
            (KeyRange::span("a", "c"), KeyRange::span("p/a", "p/c")),
            (KeyRange::from("b"), KeyRange::span("p/b", "p0")),
        ];
        for (range, expected) in cases {
            assert_eq!(range.below(&prefix), expected);
        }
    }
}
