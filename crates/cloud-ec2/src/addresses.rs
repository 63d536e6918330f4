//! The addresses of a subnet: which are taken, and which is next. Pure; stored as one record per subnet.

use std::net::Ipv4Addr;

use cloud_iam::records::Record;
use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;

/// AWS keeps the first four and the last address of every subnet.
const RESERVED_LOW: u32 = 4;
const RESERVED: u64 = 5;

/// Addresses are given out in order, going on after the last one, so that an address that was given back is not used at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    cidr: Cidr,
    /// Runs of taken offsets, `[start, length]`, sorted, not touching each other.
    taken: Vec<[u32; 2]>,
    /// Where the search for the next address begins.
    next: u32,
}

impl Record for AddressPool {
    const KIND: &'static str = "pool";
}

impl AddressPool {
    /// All addresses of a subnet are free.
    pub fn new(cidr: Cidr) -> AddressPool {
        AddressPool { cidr, taken: Vec::new(), next: RESERVED_LOW }
    }

    /// How many addresses can be taken.
    pub fn free(&self) -> u64 {
        let taken: u64 = self.taken.iter().map(|[_, length]| u64::from(*length)).sum();
        self.cidr.size().saturating_sub(RESERVED).saturating_sub(taken)
    }

    /// How many addresses are taken.
    pub fn used(&self) -> u64 {
        self.taken.iter().map(|[_, length]| u64::from(*length)).sum()
    }

    /// One past the last offset that can be taken.
    fn end(&self) -> u32 {
        // The smallest subnet is a /28, the largest a /16.
        u32::try_from(self.cidr.size() - 1).unwrap_or(u32::MAX)
    }

    /// The next free address, or none.
    pub fn take(&mut self) -> Option<Ipv4Addr> {
        let offset = self.first_free(self.next, self.end()).or_else(|| self.first_free(RESERVED_LOW, self.next))?;
        self.insert(offset);
        self.next = if offset + 1 >= self.end() { RESERVED_LOW } else { offset + 1 };
        self.cidr.at(offset)
    }

    /// This address, if it is free and not reserved.
    pub fn take_this(&mut self, address: Ipv4Addr) -> bool {
        let Some(offset) = self.offset(address) else { return false };
        if offset < RESERVED_LOW || offset >= self.end() || self.run_of(offset).is_ok() {
            return false;
        }
        self.insert(offset);
        true
    }

    /// Gives an address back; false when it was not taken.
    pub fn release(&mut self, address: Ipv4Addr) -> bool {
        let Some(offset) = self.offset(address) else { return false };
        let Ok(at) = self.run_of(offset) else { return false };
        let [start, length] = self.taken[at];
        let (before, after) = (offset - start, start + length - offset - 1);
        let mut left = Vec::with_capacity(2);
        if before > 0 {
            left.push([start, before]);
        }
        if after > 0 {
            left.push([offset + 1, after]);
        }
        self.taken.splice(at..=at, left);
        true
    }

    fn offset(&self, address: Ipv4Addr) -> Option<u32> {
        self.cidr.has(address).then(|| u32::from(address) - u32::from(self.cidr.base()))
    }

    /// The run that holds an offset, or where a run would stand.
    fn run_of(&self, offset: u32) -> Result<usize, usize> {
        self.taken.binary_search_by(|[start, length]| {
            if start + length <= offset {
                std::cmp::Ordering::Less
            } else if *start > offset {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Equal
            }
        })
    }

    fn first_free(&self, from: u32, end: u32) -> Option<u32> {
        let mut offset = from;
        while offset < end {
            match self.run_of(offset) {
                Ok(run) => offset = self.taken[run][0] + self.taken[run][1],
                Err(_) => return Some(offset),
            }
        }
        None
    }

    fn insert(&mut self, offset: u32) {
        let Err(at) = self.run_of(offset) else { return };
        let joins_left = at > 0 && self.taken[at - 1][0] + self.taken[at - 1][1] == offset;
        let joins_right = at < self.taken.len() && self.taken[at][0] == offset + 1;
        match (joins_left, joins_right) {
            (true, true) => {
                self.taken[at - 1][1] += 1 + self.taken[at][1];
                self.taken.remove(at);
            }
            (true, false) => self.taken[at - 1][1] += 1,
            (false, true) => self.taken[at] = [offset, self.taken[at][1] + 1],
            (false, false) => self.taken.insert(at, [offset, 1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_gives_all_but_five_addresses_and_takes_them_back() {
        for bits in [28, 24, 20] {
            let cidr = Cidr::containing(Ipv4Addr::new(10, 1, 0, 0), bits);
            let mut pool = AddressPool::new(cidr);
            let size = cidr.size() - 5;
            let mut seen = std::collections::BTreeSet::new();
            for left in (0..size).rev() {
                let address = pool.take().expect("free");
                assert!(cidr.has(address) && seen.insert(address), "{address} twice");
                assert_eq!(pool.free(), left);
            }
            assert_eq!(pool.take(), None, "a full /{bits}");
            assert!(!seen.contains(&cidr.base()) && seen.contains(&cidr.at(4).expect("in range")));
            assert_eq!(pool.taken.len(), 1, "runs join");
            for address in &seen {
                assert!(pool.release(*address));
                assert!(!pool.release(*address), "{address} given back twice");
            }
            assert_eq!((pool.free(), pool.taken.len()), (size, 0));
        }
    }

    #[test]
    fn addresses_are_not_reused_at_once() {
        let mut pool = AddressPool::new("10.0.0.0/24".parse().expect("valid"));
        let first = pool.take().expect("free");
        assert!(pool.release(first));
        assert_ne!(pool.take(), Some(first));
    }

    #[test]
    fn a_certain_address_is_taken_once_and_only_where_allowed() {
        let mut pool = AddressPool::new("10.0.0.0/24".parse().expect("valid"));
        for (last, taken) in [(3, false), (9, true), (9, false), (11, true), (10, true), (255, false)] {
            assert_eq!(pool.take_this(Ipv4Addr::new(10, 0, 0, last)), taken, "{last}");
        }
        assert!(!pool.take_this(Ipv4Addr::new(10, 0, 1, 9)), "another subnet");
        assert_eq!(pool.taken, [[9, 3]]);
    }
}
