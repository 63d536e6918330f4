//! Every key with its versions since the last compaction, in byte order.
//!
//! Knows nothing of watchers, leases' times or the order of commits; it is told revisions and keeps versions.

mod order;
mod slots;
mod table;

use super::record::{Record, Stamp};
use crate::{KeyRange, LeaseId, Revision};
use order::Order;
use slots::{Slots, Versions};

impl Versions {
    fn at(&self, revision: Revision) -> Option<&Record> {
        if self.latest.mod_revision() <= revision {
            return Some(&self.latest);
        }
        let older = self.older.as_ref()?;
        let after = older.partition_point(|version| version.mod_revision() <= revision);
        older.get(after.checked_sub(1)?)
    }

    /// Makes `latest` the latest version.
    fn supersede(&mut self, latest: Record) {
        let previous = std::mem::replace(&mut self.latest, latest);
        self.older.get_or_insert_default().push_back(previous);
    }
}

pub(crate) struct Index {
    slots: Slots,
    order: Order,
    live: usize,
    live_bytes: u64,
    superseded_bytes: u64,
}

impl Index {
    /// An empty index. The seed is that of its hashes.
    pub fn new(seed: u64) -> Index {
        Index { slots: Slots::new(seed), order: Order::default(), live: 0, live_bytes: 0, superseded_bytes: 0 }
    }

    /// Live keys.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Bytes of live keys and their values.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Memory of superseded versions, in bytes.
    pub fn superseded_bytes(&self) -> u64 {
        self.superseded_bytes
    }

    /// The live version of `key`.
    pub fn get(&self, key: &[u8]) -> Option<&Record> {
        let latest = &self.slots.get(self.slots.find(key)?).latest;
        (!latest.is_tombstone()).then_some(latest)
    }

    /// The version of `key` that was live at `revision`, as far as it is still held.
    pub fn get_at(&self, key: &[u8], revision: Revision) -> Option<&Record> {
        self.slots.get(self.slots.find(key)?).at(revision).filter(|version| !version.is_tombstone())
    }

    /// The versions of `range` that are live at `revision` in byte order of their keys; `None` is now.
    pub fn walk(&self, range: &KeyRange, revision: Option<Revision>) -> impl Iterator<Item = &Record> {
        let place = self.order.lower_bound(&self.slots, range.start());
        self.order
            .iter_from(place)
            .map(|id| self.slots.get(id))
            .take_while(move |versions| range.reaches(versions.latest.key()))
            .filter_map(move |versions| {
                let version = match revision {
                    None => Some(&versions.latest),
                    Some(revision) => versions.at(revision),
                };
                version.filter(|version| !version.is_tombstone())
            })
    }

    /// Writes a version of `key` at `revision`. Returns it and the version that was live before.
    pub fn put(&mut self, key: &[u8], value: &[u8], lease: LeaseId, revision: Revision) -> (Record, Option<Record>) {
        self.live_bytes += value.len() as u64;
        let mut stamp = Stamp { create_revision: revision, mod_revision: revision, version: 1, lease };
        let Some(id) = self.slots.find(key) else {
            self.live += 1;
            self.live_bytes += key.len() as u64;
            let record = Record::new(stamp, key, value);
            self.add(record.clone());
            return (record, None);
        };
        let versions = self.slots.get_mut(id);
        let previous = versions.latest.clone();
        if !previous.is_tombstone() {
            (stamp.create_revision, stamp.version) = (previous.create_revision(), previous.version() + 1);
        }
        let record = Record::new(stamp, key, value);
        versions.supersede(record.clone());
        self.superseded_bytes += previous.cost();
        if previous.is_tombstone() {
            self.live += 1;
            self.live_bytes += key.len() as u64;
            return (record, None);
        }
        self.live_bytes -= previous.value().len() as u64;
        (record, Some(previous))
    }

    /// Puts back a version that was live when it was saved, under a key that is not there.
    pub fn restore(&mut self, record: Record) {
        self.live += 1;
        self.live_bytes += (record.key().len() + record.value().len()) as u64;
        self.add(record);
    }

    /// Makes a version that was written before the latest, and returns the one that was live until then.
    pub fn apply(&mut self, record: Record) -> Option<Record> {
        let (bytes, deleted) = ((record.key().len() + record.value().len()) as u64, record.is_tombstone());
        let Some(id) = self.slots.find(record.key()) else {
            if !deleted {
                self.restore(record);
            }
            return None;
        };
        let versions = self.slots.get_mut(id);
        let previous = versions.latest.clone();
        versions.supersede(record);
        self.superseded_bytes += previous.cost();
        let previous = (!previous.is_tombstone()).then_some(previous);
        if let Some(previous) = &previous {
            self.live -= 1;
            self.live_bytes -= (previous.key().len() + previous.value().len()) as u64;
        }
        if !deleted {
            self.live += 1;
            self.live_bytes += bytes;
        }
        previous
    }

    /// The versions live at `revision` of the keys from one on, and the key to go on with: after a number of keys that were looked
    /// at, or of bytes that were found.
    pub fn scan(&self, from: &[u8], revision: Revision, keys: usize, bytes: usize) -> (Vec<Record>, Option<Vec<u8>>) {
        let (mut found, mut size) = (Vec::new(), 0);
        for (looked, id) in self.order.iter_from(self.order.lower_bound(&self.slots, from)).enumerate() {
            let versions = self.slots.get(id);
            if looked >= keys || size >= bytes {
                return (found, Some(versions.latest.key().to_vec()));
            }
            if let Some(record) = versions.at(revision).filter(|record| !record.is_tombstone()) {
                size += record.as_ref().len();
                found.push(record.clone());
            }
        }
        (found, None)
    }

    fn add(&mut self, record: Record) {
        let id = self.slots.insert(record);
        self.order.insert(&self.slots, id);
    }

    /// Marks `key` deleted at `revision`. Returns the deletion and the version that was live before, if one was.
    pub fn delete(&mut self, key: &[u8], revision: Revision) -> Option<(Record, Record)> {
        let versions = self.slots.get_mut(self.slots.find(key)?);
        if versions.latest.is_tombstone() {
            return None;
        }
        let previous = versions.latest.clone();
        let tombstone = Record::tombstone(key, revision);
        versions.supersede(tombstone.clone());
        self.superseded_bytes += previous.cost();
        self.live -= 1;
        self.live_bytes -= (key.len() + previous.value().len()) as u64;
        Some((tombstone, previous))
    }

    /// Drops the versions of `key` that no read at `revision` or later can see.
    pub fn compact(&mut self, key: &[u8], revision: Revision) {
        let Some(id) = self.slots.find(key) else { return };
        let versions = self.slots.get_mut(id);
        if let Some(older) = &mut versions.older {
            let visible = if versions.latest.mod_revision() <= revision {
                older.len()
            } else {
                let after = older.partition_point(|version| version.mod_revision() <= revision);
                // The last one at or below the revision is what a read there sees, unless it sees nothing.
                if after > 0 && !older[after - 1].is_tombstone() { after - 1 } else { after }
            };
            for dropped in older.drain(..visible) {
                self.superseded_bytes -= dropped.cost();
            }
            if older.is_empty() {
                versions.older = None;
            } else if older.capacity() > 4 * older.len() {
                older.shrink_to(2 * older.len());
            }
        }
        let latest = &versions.latest;
        if versions.older.is_none() && latest.is_tombstone() && latest.mod_revision() <= revision {
            self.order.remove(&self.slots, id);
            self.slots.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A small generator of its own: the index knows no world.
    fn draw(state: &mut u64, below: u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    }

    #[test]
    fn many_keys_stay_in_order_through_insertion_and_removal() {
        let (mut index, mut expected, mut state) = (Index::new(1), BTreeMap::new(), 7);
        for revision in 2..20_000 {
            let key = format!("k{:05}", draw(&mut state, 3_000)).into_bytes();
            if draw(&mut state, 5) < 2 {
                assert_eq!(index.delete(&key, revision).is_some(), expected.remove(&key).is_some());
            } else {
                index.put(&key, b"v", 0, revision);
                expected.insert(key.clone(), revision);
            }
            // Nothing but the present is held, so slots are freed and used again all the time.
            index.compact(&key, revision);
            if revision % 1_000 == 0 {
                let walked: Vec<_> =
                    index.walk(&KeyRange::all(), None).map(|kv| (kv.key().to_vec(), kv.mod_revision())).collect();
                assert_eq!(walked, expected.clone().into_iter().collect::<Vec<_>>(), "at {revision}");
                assert_eq!((index.live(), index.superseded_bytes()), (expected.len(), 0));
            }
        }
        for key in expected.keys().cloned().collect::<Vec<_>>() {
            index.delete(&key, 30_000);
            index.compact(&key, 30_000);
        }
        assert_eq!((index.walk(&KeyRange::all(), None).count(), index.live_bytes()), (0, 0));
    }

    #[test]
    fn a_walk_begins_and_ends_where_its_range_does() {
        let mut index = Index::new(1);
        for n in (0..2_000).rev() {
            index.put(format!("k{n:04}").as_bytes(), b"", 0, 2);
        }
        for n in [0, 1, 127, 128, 129, 255, 256, 257, 1_000, 1_999] {
            let range = KeyRange::span(format!("k{n:04}"), format!("k{:04}", n + 300));
            let count = index.walk(&range, None).count();
            assert_eq!(count, 300.min(2_000 - n), "from {n}");
            assert_eq!(index.walk(&range, None).next().unwrap().key(), format!("k{n:04}").as_bytes());
        }
        assert_eq!(index.walk(&KeyRange::prefix("l"), None).count(), 0);
        assert_eq!(index.walk(&KeyRange::prefix("k"), None).count(), 2_000);
    }
}
