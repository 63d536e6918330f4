//! The order of keys: ids of slots, sorted by the keys of the slots, in leaves that are searched by halving.
//!
//! Holds four bytes per key. A list of leaves instead of a tree: at ten million keys it has some ten thousand entries, and to
//! make room in it costs less than the search that led there.

use super::slots::Slots;

/// Ids per leaf: one kibibyte.
const LEAF: usize = 256;

#[derive(Default)]
pub(super) struct Order {
    /// None is empty.
    leaves: Vec<Vec<u32>>,
}

/// A place in the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    leaf: usize,
    at: usize,
}

impl Order {
    /// The first place whose key is not below `key`; it may be the end.
    pub fn lower_bound(&self, slots: &Slots, key: &[u8]) -> Place {
        // The leaf before the first one that begins at or above the key can hold it, or end just below it.
        let after = self.leaves.partition_point(|leaf| slots.key(leaf[0]) < key);
        let Some(leaf) = after.checked_sub(1) else { return Place { leaf: 0, at: 0 } };
        let at = self.leaves[leaf].partition_point(|id| slots.key(*id) < key);
        if at == self.leaves[leaf].len() { Place { leaf: after, at: 0 } } else { Place { leaf, at } }
    }

    /// The ids from a place on.
    pub fn iter_from(&self, place: Place) -> impl Iterator<Item = u32> {
        let rest = self.leaves.get(place.leaf..).unwrap_or_default();
        let (first, others) = rest.split_first().map_or((&[][..], &[][..]), |(first, others)| (&first[..], others));
        first[place.at.min(first.len())..].iter().chain(others.iter().flatten()).copied()
    }

    /// Adds a slot whose key is not there yet.
    pub fn insert(&mut self, slots: &Slots, id: u32) {
        let key = slots.key(id);
        let last = self.leaves.last().and_then(|leaf| leaf.last());
        if last.is_none_or(|last| slots.key(*last) < key) {
            // Keys that come in order fill their leaves.
            match self.leaves.last_mut().filter(|leaf| leaf.len() < LEAF) {
                Some(leaf) => leaf.push(id),
                None => self.leaves.push(new_leaf(&[id])),
            }
            return;
        }
        let leaf = self.leaves.partition_point(|leaf| slots.key(leaf[0]) < key).saturating_sub(1);
        let at = self.leaves[leaf].partition_point(|id| slots.key(*id) < key);
        self.leaves[leaf].insert(at, id);
        if self.leaves[leaf].len() >= LEAF {
            let upper = new_leaf(&self.leaves[leaf][LEAF / 2..]);
            self.leaves[leaf].truncate(LEAF / 2);
            self.leaves.insert(leaf + 1, upper);
        }
    }

    /// Takes a slot off, before its key is gone.
    pub fn remove(&mut self, slots: &Slots, id: u32) {
        let Place { leaf, at } = self.lower_bound(slots, slots.key(id));
        debug_assert_eq!(self.leaves[leaf][at], id, "the order and the slots agree");
        self.leaves[leaf].remove(at);
        if self.leaves[leaf].is_empty() {
            self.leaves.remove(leaf);
            return;
        }
        // Two leaves that fit in half of one become one, so that deletions leave no crumbs.
        let neighbour = if leaf > 0 { leaf - 1 } else { leaf };
        let fits = |pair: &[Vec<u32>]| pair.iter().map(Vec::len).sum::<usize>() <= LEAF / 2;
        if self.leaves.get(neighbour..neighbour + 2).is_some_and(fits) {
            let upper = self.leaves.remove(neighbour + 1);
            self.leaves[neighbour].extend(upper);
        }
    }
}

fn new_leaf(ids: &[u32]) -> Vec<u32> {
    let mut leaf = Vec::with_capacity(LEAF);
    leaf.extend_from_slice(ids);
    leaf
}
