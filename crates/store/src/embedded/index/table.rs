//! Finds slots by the hash of their keys: one array, open addressing, so that a look-up mostly touches one line of memory.
//!
//! Knows no keys: whoever asks says which of the slots with the same hash is meant.

/// Slots that an empty table has room for before it grows.
const FIRST: usize = 64;

/// What an entry holds: the hash above, the id plus one below, so that zero is none.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    const NONE: Entry = Entry(0);

    fn new(hash: u32, id: u32) -> Entry {
        Entry(u64::from(hash) << 32 | u64::from(id + 1))
    }

    fn hash(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn id(self) -> u32 {
        self.0 as u32 - 1
    }
}

#[derive(Default)]
pub(super) struct Table {
    /// A power of two, a quarter of them empty at least; or none.
    entries: Vec<Entry>,
    used: usize,
}

impl Table {
    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.entries.len() - 1)
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.entries.len() - 1)
    }

    /// The slot with this hash that is meant.
    pub fn find(&self, hash: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        let mut place = self.home(hash);
        while self.entries[place] != Entry::NONE {
            let entry = self.entries[place];
            if entry.hash() == hash && is(entry.id()) {
                return Some(entry.id());
            }
            place = self.next(place);
        }
        None
    }

    /// Adds a slot that is not there yet.
    pub fn insert(&mut self, hash: u32, id: u32) {
        if (self.used + 1) * 4 > self.entries.len() * 3 {
            let doubled = vec![Entry::NONE; (self.entries.len() * 2).max(FIRST)];
            for entry in std::mem::replace(&mut self.entries, doubled) {
                if entry != Entry::NONE {
                    self.place(entry);
                }
            }
        }
        self.place(Entry::new(hash, id));
        self.used += 1;
    }

    fn place(&mut self, entry: Entry) {
        let mut place = self.home(entry.hash());
        while self.entries[place] != Entry::NONE {
            place = self.next(place);
        }
        self.entries[place] = entry;
    }

    /// Takes a slot off, if it is there, and moves those that had to stand behind it.
    pub fn remove(&mut self, hash: u32, id: u32) {
        if self.entries.is_empty() {
            return;
        }
        let mut hole = self.home(hash);
        while self.entries[hole] != Entry::new(hash, id) {
            if self.entries[hole] == Entry::NONE {
                return;
            }
            hole = self.next(hole);
        }
        self.used -= 1;
        let mut place = hole;
        loop {
            place = self.next(place);
            let entry = self.entries[place];
            if entry == Entry::NONE {
                break;
            }
            // It may move to the hole unless its home lies behind the hole.
            let mask = self.entries.len() - 1;
            let (from_home, from_hole) =
                (place.wrapping_sub(self.home(entry.hash())) & mask, place.wrapping_sub(hole) & mask);
            if from_home >= from_hole {
                self.entries[hole] = entry;
                hole = place;
            }
        }
        self.entries[hole] = Entry::NONE;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn slots_are_found_until_they_are_removed_however_their_hashes_collide() {
        let (mut table, mut expected, mut state) = (Table::default(), BTreeSet::new(), 3_u32);
        // Few hashes, some at the very end of the array, so that runs are long and wrap around.
        let hash = |id: u32| if id.is_multiple_of(3) { u32::MAX - id % 5 } else { id % 40 };
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let id = (state >> 16) % 200;
            if expected.remove(&id) {
                table.remove(hash(id), id);
            } else {
                table.insert(hash(id), id);
                expected.insert(id);
            }
            assert_eq!(table.used, expected.len());
        }
        for id in 0..200 {
            assert_eq!(table.find(hash(id), |found| found == id).is_some(), expected.contains(&id), "{id}");
        }
        table.remove(7, 1_000);
        for id in expected {
            table.remove(hash(id), id);
        }
        assert!(table.used == 0 && table.entries.iter().all(|entry| *entry == Entry::NONE));
    }
}
