//! Who waits for which keys. A write finds its watchers by key, without looking at the others.
//!
//! A watcher is a position in the log and a waker; nothing is queued for it, so a slow one costs nobody anything.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use bytes::Bytes;

use crate::{End, KeyRange, Revision};

/// The position of a watcher that has seen everything.
const IDLE: u64 = u64::MAX;

/// What the store and one watcher share. Touched only under the lock of the store's state, so the atomics order nothing.
pub(crate) struct Cursor {
    /// The first event not yet looked at, or [`IDLE`].
    position: AtomicU64,
    waker: Mutex<Option<Waker>>,
    /// Events before this revision are not for the watcher.
    pub from: Revision,
}

impl Cursor {
    pub fn new(position: Option<u64>, from: Revision) -> Cursor {
        Cursor { position: AtomicU64::new(position.unwrap_or(IDLE)), waker: Mutex::default(), from }
    }

    /// The first event not yet looked at; none when all have been.
    pub fn position(&self) -> Option<u64> {
        Some(self.position.load(Ordering::Relaxed)).filter(|position| *position != IDLE)
    }

    pub fn set_position(&self, position: Option<u64>) {
        self.position.store(position.unwrap_or(IDLE), Ordering::Relaxed);
    }

    /// Leaves a waker for the next event. The one that it replaces is returned, to be dropped outside of all locks:
    /// dropping the last waker of a task can drop the task, and with it a watcher.
    #[must_use]
    pub fn register(&self, waker: &Waker) -> Option<Waker> {
        let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
            return None;
        }
        slot.replace(waker.clone())
    }

    fn take_waker(&self) -> Option<Waker> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes an event. Only the first after an idle time does anything.
    fn notify(&self, position: u64, revision: Revision, wakers: &mut Vec<Waker>) {
        if self.position.load(Ordering::Relaxed) == IDLE && revision >= self.from {
            self.position.store(position, Ordering::Relaxed);
            wakers.extend(self.take_waker());
        }
    }
}

/// Watchers of the same keys, by id.
type Group = Vec<(u64, Arc<Cursor>)>;

#[derive(Default)]
pub(crate) struct Watchers {
    by_key: BTreeMap<Bytes, Group>,
    by_prefix: BTreeMap<Bytes, Group>,
    /// Ranges that are neither a key nor a prefix. Rare, so they are walked.
    by_span: BTreeMap<u64, (KeyRange, Arc<Cursor>)>,
    next_id: u64,
    count: usize,
}

impl Watchers {
    pub fn len(&self) -> usize {
        self.count
    }

    /// Registers a watcher and returns its id.
    pub fn add(&mut self, range: &KeyRange, cursor: Arc<Cursor>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.count += 1;
        match range.end() {
            End::Key => self.by_key.entry(range.start().clone()).or_default().push((id, cursor)),
            End::Prefix => self.by_prefix.entry(range.start().clone()).or_default().push((id, cursor)),
            End::Before(_) | End::Unbounded => {
                self.by_span.insert(id, (range.clone(), cursor));
            }
        }
        id
    }

    /// Takes a watcher off. Its cursor is returned, so that its waker is dropped outside of all locks.
    #[must_use]
    pub fn remove(&mut self, range: &KeyRange, id: u64) -> Option<Arc<Cursor>> {
        let removed = match range.end() {
            End::Key => Self::remove_from(&mut self.by_key, range.start(), id),
            End::Prefix => Self::remove_from(&mut self.by_prefix, range.start(), id),
            End::Before(_) | End::Unbounded => self.by_span.remove(&id).map(|(_, cursor)| cursor),
        };
        self.count -= usize::from(removed.is_some());
        removed
    }

    fn remove_from(groups: &mut BTreeMap<Bytes, Group>, key: &Bytes, id: u64) -> Option<Arc<Cursor>> {
        let group = groups.get_mut(key)?;
        // Ids only grow, so a group is in order of id.
        let found = group.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let (_, cursor) = group.remove(found);
        if group.is_empty() {
            groups.remove(key);
        }
        Some(cursor)
    }

    /// Tells everyone whose range holds `key` that there is an event at `position`.
    pub fn notify(&self, key: &[u8], position: u64, revision: Revision, wakers: &mut Vec<Waker>) {
        let mut notify = |group: &Group| {
            for (_, cursor) in group {
                cursor.notify(position, revision, wakers);
            }
        };
        if let Some(group) = self.by_key.get(key) {
            notify(group);
        }
        prefixes_of(&self.by_prefix, key, notify);
        for (range, cursor) in self.by_span.values() {
            if range.contains(key) {
                cursor.notify(position, revision, wakers);
            }
        }
    }

    /// The wakers of everyone, for the end of the store.
    pub fn take_wakers(&self) -> Vec<Waker> {
        let grouped = self.by_key.values().chain(self.by_prefix.values()).flatten().map(|(_, cursor)| cursor);
        grouped
            .chain(self.by_span.values().map(|(_, cursor)| cursor))
            .filter_map(|cursor| cursor.take_waker())
            .collect()
    }
}

/// Visits all entries whose key is a prefix of `key`, the longest first.
///
/// The highest entry not above a bound either is the longest prefix of it, or shares with it as much as the longest
/// prefix can; so each look-up finds one or skips all lengths that cannot be there.
fn prefixes_of<T>(map: &BTreeMap<Bytes, T>, key: &[u8], mut visit: impl FnMut(&T)) {
    let mut bound = key;
    while let Some((candidate, value)) = map.range::<[u8], _>((Bound::Unbounded, Bound::Included(bound))).next_back() {
        let common = candidate.iter().zip(bound).take_while(|(a, b)| a == b).count();
        if common < candidate.len() {
            bound = &bound[..common];
            continue;
        }
        visit(value);
        let Some(shorter) = common.checked_sub(1) else { return };
        bound = &bound[..shorter];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notified(watchers: &[KeyRange], key: &str) -> Vec<usize> {
        let mut registry = Watchers::default();
        let cursors: Vec<Arc<Cursor>> = watchers
            .iter()
            .map(|range| {
                let cursor = Arc::new(Cursor::new(None, 0));
                registry.add(range, cursor.clone());
                cursor
            })
            .collect();
        registry.notify(key.as_bytes(), 5, 2, &mut Vec::new());
        (0..watchers.len()).filter(|i| cursors[*i].position() == Some(5)).collect()
    }

    #[test]
    fn a_write_reaches_those_who_watch_its_key_and_nobody_else() {
        let watchers = [
            KeyRange::all(),
            KeyRange::prefix("a/"),
            KeyRange::prefix("a/b"),
            KeyRange::prefix("a/b/"),
            KeyRange::prefix("a/b/c"),
            KeyRange::key("a/b"),
            KeyRange::key("a/b/c"),
            KeyRange::span("a/a", "a/c"),
            KeyRange::from("b"),
            KeyRange::prefix("a/a"),
            KeyRange::prefix("a/bz"),
        ];
        for key in ["a/b", "a/b/c", "a/b/", "a/b/cc", "a/bz", "a/", "", "b", "c/a", "a/a", "A"] {
            let expected: Vec<usize> = (0..watchers.len()).filter(|i| watchers[*i].contains(key.as_bytes())).collect();
            assert_eq!(notified(&watchers, key), expected, "{key}");
        }
    }

    #[test]
    fn what_is_removed_is_no_longer_told() {
        let mut registry = Watchers::default();
        for range in [KeyRange::all(), KeyRange::key("k"), KeyRange::from("a")] {
            let (kept, removed) = (Arc::new(Cursor::new(None, 0)), Arc::new(Cursor::new(None, 0)));
            registry.add(&range, kept.clone());
            let id = registry.add(&range, removed.clone());
            assert!(registry.remove(&range, id).is_some() && registry.remove(&range, id).is_none());
            registry.notify(b"k", 1, 2, &mut Vec::new());
            assert_eq!((kept.position(), removed.position()), (Some(1), None));
        }
        assert_eq!(registry.len(), 3);
    }

    #[test]
    fn a_watcher_of_the_future_sleeps_until_then() {
        let mut registry = Watchers::default();
        let cursor = Arc::new(Cursor::new(None, 10));
        registry.add(&KeyRange::all(), cursor.clone());
        registry.notify(b"k", 7, 9, &mut Vec::new());
        assert_eq!(cursor.position(), None);
        registry.notify(b"k", 8, 10, &mut Vec::new());
        assert_eq!(cursor.position(), Some(8));
    }
}
