//! Where the versions of keys are: slots in chunks, found by id, by key through a hash table, or in order by [`super::Order`].

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::super::record::Record;
use super::table::Table;

/// Slots per chunk, so that growth never copies what is there.
const CHUNK: usize = 1024;

/// The versions of one key. Most keys are idle and have one, so the older ones cost a pointer until they exist.
pub(super) struct Versions {
    pub latest: Record,
    /// Oldest first.
    #[allow(clippy::box_collection)] // A third of the size where there are none, which is nearly everywhere.
    pub older: Option<Box<VecDeque<Record>>>,
}

pub(super) struct Slots {
    chunks: Vec<Vec<Option<Versions>>>,
    free: Vec<u32>,
    table: Table,
    /// Seeded by the store, so that nobody can choose keys that collide.
    hasher: FixedState,
}

impl Slots {
    pub fn new(seed: u64) -> Slots {
        Slots { chunks: Vec::new(), free: Vec::new(), table: Table::default(), hasher: FixedState::with_seed(seed) }
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
        self.table.find(self.hash(key), |id| self.key(id) == key)
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
        self.table.insert(hash, id);
        id
    }

    /// Frees the slot of a key.
    pub fn remove(&mut self, id: u32) {
        self.table.remove(self.hash(self.key(id)), id);
        self.chunks[id as usize / CHUNK][id as usize % CHUNK] = None;
        self.free.push(id);
    }
}
