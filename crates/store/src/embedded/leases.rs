//! Leases: which keys die when. Does not delete keys itself; it says which are due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::{LeaseId, NO_LEASE};

pub(crate) struct Lease {
    pub ttl: Duration,
    /// On the world's elapsed time.
    pub deadline: Duration,
    /// In byte order.
    pub keys: BTreeSet<Bytes>,
}

#[derive(Default)]
pub(crate) struct Leases {
    leases: BTreeMap<LeaseId, Lease>,
    deadlines: BTreeSet<(Duration, LeaseId)>,
    /// Keys of leases that a snapshot has not told of yet.
    restored: BTreeMap<LeaseId, BTreeSet<Bytes>>,
}

impl Leases {
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    pub fn ids(&self) -> Vec<LeaseId> {
        self.leases.keys().copied().collect()
    }

    pub fn exists(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// A lease that has not run out; one that has is gone for clients even when its keys are not deleted yet.
    pub fn get(&self, id: LeaseId, now: Duration) -> Option<&Lease> {
        self.leases.get(&id).filter(|lease| lease.deadline > now)
    }

    pub fn grant(&mut self, id: LeaseId, ttl: Duration, now: Duration) {
        let deadline = now.saturating_add(ttl);
        self.leases.insert(id, Lease { ttl, deadline, keys: BTreeSet::new() });
        self.deadlines.insert((deadline, id));
    }

    /// Puts back a lease that was saved, with its whole time to live, and the keys that were put back before it.
    pub fn restore(&mut self, id: LeaseId, ttl: Duration, now: Duration) {
        let keys = self.restored.remove(&id).unwrap_or_default();
        self.grant(id, ttl, now);
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys = keys;
        }
    }

    /// Notes a key that is put back before its lease.
    pub fn restore_key(&mut self, key: &[u8], from: LeaseId, to: LeaseId) {
        if from != NO_LEASE
            && let Some(keys) = self.restored.get_mut(&from)
        {
            keys.remove(key);
        }
        if to != NO_LEASE {
            self.restored.entry(to).or_default().insert(Bytes::copy_from_slice(key));
        }
    }

    /// Starts the time to live of a lease anew and returns it.
    pub fn keep_alive(&mut self, id: LeaseId, now: Duration) -> Option<Duration> {
        let lease = self.leases.get_mut(&id).filter(|lease| lease.deadline > now)?;
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = now.saturating_add(lease.ttl);
        self.deadlines.insert((lease.deadline, id));
        Some(lease.ttl)
    }

    /// Takes a lease off.
    pub fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.leases.remove(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        Some(lease)
    }

    /// All leases and their times to live, ascending by id.
    pub fn all(&self) -> impl Iterator<Item = (LeaseId, Duration)> {
        self.leases.iter().map(|(id, lease)| (*id, lease.ttl))
    }

    /// Moves a key from one lease to another, either of which can be none.
    pub fn attach(&mut self, key: &[u8], from: LeaseId, to: LeaseId) {
        if from == to {
            return;
        }
        if from != NO_LEASE
            && let Some(lease) = self.leases.get_mut(&from)
        {
            lease.keys.remove(key);
        }
        if to != NO_LEASE
            && let Some(lease) = self.leases.get_mut(&to)
        {
            lease.keys.insert(Bytes::copy_from_slice(key));
        }
    }

    /// When the first lease runs out.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The lease that ran out first, if one has.
    pub fn expired(&self, now: Duration) -> Option<LeaseId> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }
}
