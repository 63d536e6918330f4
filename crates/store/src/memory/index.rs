//! Every key with its versions since the last compaction, in byte order.
//!
//! Knows nothing of watchers, leases' times or the order of commits; it is told revisions and keeps versions.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use crate::{KeyRange, KeyValue, LeaseId, Revision};

/// What one superseded version costs beside its value.
const VERSION_BYTES: u64 = size_of::<Version>() as u64;

/// One version of a key, or the mark of its deletion, which has version 0.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub create_revision: Revision,
    pub mod_revision: Revision,
    pub version: i64,
    pub lease: LeaseId,
    pub value: Bytes,
}

impl Version {
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    pub fn to_key_value(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    fn cost(&self) -> u64 {
        VERSION_BYTES + self.value.len() as u64
    }
}

/// The versions of one key. Most keys are idle and have one, so the older ones cost a pointer until they exist.
struct Versions {
    latest: Version,
    /// Oldest first.
    #[allow(clippy::box_collection)] // A quarter of the size where there are none, which is nearly everywhere.
    older: Option<Box<VecDeque<Version>>>,
}

impl Versions {
    fn at(&self, revision: Revision) -> Option<&Version> {
        if self.latest.mod_revision <= revision {
            return Some(&self.latest);
        }
        let older = self.older.as_ref()?;
        let after = older.partition_point(|version| version.mod_revision <= revision);
        older.get(after.checked_sub(1)?)
    }
}

#[derive(Default)]
pub(super) struct Index {
    keys: BTreeMap<Bytes, Versions>,
    live: usize,
    live_bytes: u64,
    superseded_bytes: u64,
}

impl Index {
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
    pub fn get(&self, key: &[u8]) -> Option<&Version> {
        self.keys.get(key).map(|versions| &versions.latest).filter(|version| !version.is_tombstone())
    }

    /// The version of `key` that was live at `revision`, as far as it is still held.
    pub fn get_at(&self, key: &[u8], revision: Revision) -> Option<&Version> {
        self.keys.get(key)?.at(revision).filter(|version| !version.is_tombstone())
    }

    /// The keys of `range` that are live at `revision` in byte order; `None` is now.
    pub fn walk(&self, range: &KeyRange, revision: Option<Revision>) -> impl Iterator<Item = (&Bytes, &Version)> {
        self.keys
            .range::<[u8], _>((Bound::Included(&range.start()[..]), Bound::Unbounded))
            .take_while(move |(key, _)| range.reaches(key))
            .filter_map(move |(key, versions)| {
                let version = match revision {
                    None => Some(&versions.latest),
                    Some(revision) => versions.at(revision),
                };
                version.filter(|version| !version.is_tombstone()).map(|version| (key, version))
            })
    }

    /// Writes a version of `key` at `revision`. Returns the one event of it and the version that was live before.
    pub fn put(
        &mut self,
        key: Bytes,
        value: Bytes,
        lease: LeaseId,
        revision: Revision,
    ) -> (KeyValue, Option<KeyValue>) {
        use std::collections::btree_map::Entry;
        self.live_bytes += value.len() as u64;
        match self.keys.entry(key) {
            Entry::Vacant(entry) => {
                self.live += 1;
                self.live_bytes += entry.key().len() as u64;
                let latest = Version { create_revision: revision, mod_revision: revision, version: 1, lease, value };
                let written = latest.to_key_value(entry.key());
                entry.insert(Versions { latest, older: None });
                (written, None)
            }
            Entry::Occupied(mut entry) => {
                // The index's own key is cloned, so that history shares it and the request's copy is freed.
                let key = entry.key().clone();
                let versions = entry.get_mut();
                let before = &versions.latest;
                let (create_revision, version) =
                    if before.is_tombstone() { (revision, 1) } else { (before.create_revision, before.version + 1) };
                let latest = Version { create_revision, mod_revision: revision, version, lease, value };
                let written = latest.to_key_value(&key);
                let previous = Self::supersede(versions, latest, &mut self.superseded_bytes);
                if previous.is_tombstone() {
                    self.live += 1;
                    self.live_bytes += key.len() as u64;
                    return (written, None);
                }
                self.live_bytes -= previous.value.len() as u64;
                let previous = previous.to_key_value(&key);
                (written, Some(previous))
            }
        }
    }

    /// Marks `key` deleted at `revision`. Returns the event of it and the version that was live before, if one was.
    pub fn delete(&mut self, key: &[u8], revision: Revision) -> Option<(KeyValue, KeyValue)> {
        let (key, _) = self.keys.get_key_value(key)?;
        let key = key.clone();
        let versions = self.keys.get_mut(&key[..]).filter(|versions| !versions.latest.is_tombstone())?;
        let tombstone =
            Version { create_revision: 0, mod_revision: revision, version: 0, lease: 0, value: Bytes::new() };
        let written = tombstone.to_key_value(&key);
        let previous = Self::supersede(versions, tombstone, &mut self.superseded_bytes);
        self.live -= 1;
        self.live_bytes -= (key.len() + previous.value.len()) as u64;
        Some((written, previous.to_key_value(&key)))
    }

    fn supersede<'a>(versions: &'a mut Versions, latest: Version, superseded_bytes: &mut u64) -> &'a Version {
        let previous = std::mem::replace(&mut versions.latest, latest);
        *superseded_bytes += previous.cost();
        let older = versions.older.get_or_insert_default();
        older.push_back(previous);
        older.back().expect("a version was just pushed")
    }

    /// Drops the versions of `key` that no read at `revision` or later can see.
    pub fn compact(&mut self, key: &[u8], revision: Revision) {
        let Some(versions) = self.keys.get_mut(key) else { return };
        if let Some(older) = &mut versions.older {
            let visible = if versions.latest.mod_revision <= revision {
                older.len()
            } else {
                let after = older.partition_point(|version| version.mod_revision <= revision);
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
        if versions.older.is_none() && versions.latest.is_tombstone() && versions.latest.mod_revision <= revision {
            self.keys.remove(key);
        }
    }
}
