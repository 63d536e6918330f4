//! Where the versions of keys are: slots in chunks, found by id, by key through a hash table, or in order by [`super::Order`].

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::super::record::Record;

/// Slots per chunk, so that growth never copies what is there.
const CHUNK: usize = 1024;

/// The versions of one key. Most keys are idle and have one, so the older ones cost a pointer until they exist.
pub(super) struct Versions {
    pub latest: Record,
    /// Oldest first.
    #[allow(clippy::box_collection)] // A third of the size where there are none, which is nearly everywhere.
    pub older: Option<Box<VecDeque<Record>>>,
}

/// A key's slot and part of its hash, so that growing the table reads no key.
#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    id: u32,
}

pub(super) struct Slots {
    chunks: Vec<Vec<Option<Versions>>>,
    free: Vec<u32>,
    table: HashTable<Entry>,
    /// Seeded by the store, so that nobody can choose keys that collide.
    hasher: FixedState,
}

impl Slots {
    pub fn new(seed: u64) -> Slots {
        Slots { chunks: Vec::new(), free: Vec::new(), table: HashTable::new(), hasher: FixedState::with_seed(seed) }
    }

    fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        (hash ^ (hash >> 32)) as u32
    }

    pub fn get(&self, id: u32) -> &Versions {
        let slot = &self.chunks[id as usize / CHUNK][id as usize % CHUNK];
        slot.as_ref().expect("an id that is known has versions")
    }

    pub fn get_mut(&mut self, id: u32) -> &mut Versions {
        let slot = &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK];
        slot.as_mut().expect("an id that is known has versions")
    }

    pub fn key(&self, id: u32) -> &[u8] {
        self.get(id).latest.key()
    }

    /// The slot of a key.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hash(key);
        let same = |entry: &Entry| entry.hash == hash && self.key(entry.id) == key;
        self.table.find(spread(hash), same).map(|entry| entry.id)
    }

    /// Gives a key that has none a slot.
    pub fn insert(&mut self, latest: Record) -> u32 {
        let hash = self.hash(latest.key());
        let versions = Some(Versions { latest, older: None });
        let id = match self.free.pop() {
            Some(id) => {
                self.chunks[id as usize / CHUNK][id as usize % CHUNK] = versions;
                id
            }
            None => {
                if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
                    self.chunks.push(Vec::with_capacity(CHUNK));
                }
                let chunk = self.chunks.len() - 1;
                self.chunks[chunk].push(versions);
                // The memory of four billion keys ends before their ids do.
                (chunk * CHUNK + self.chunks[chunk].len() - 1) as u32
            }
        };
        self.table.insert_unique(spread(hash), Entry { hash, id }, |entry| spread(entry.hash));
        id
    }

    /// Frees the slot of a key.
    pub fn remove(&mut self, id: u32) {
        let hash = self.hash(self.key(id));
        if let Ok(entry) = self.table.find_entry(spread(hash), |entry| entry.id == id) {
            entry.remove();
        }
        self.chunks[id as usize / CHUNK][id as usize % CHUNK] = None;
        self.free.push(id);
    }
}

/// The table takes its tags from the high bits of a hash and its places from the low ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
