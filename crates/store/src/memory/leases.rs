//! Leases: which keys die when. Does not delete keys itself; it says which are due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::{LeaseId, NO_LEASE};

pub(super) struct Lease {
    pub ttl: Duration,
    /// On the world's elapsed time.
    pub deadline: Duration,
    pub keys: BTreeSet<Bytes>,
}

#[derive(Default)]
pub(super) struct Leases {
    leases: BTreeMap<LeaseId, Lease>,
    deadlines: BTreeSet<(Duration, LeaseId)>,
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

    /// Starts the time to live of a lease anew and returns it.
    pub fn keep_alive(&mut self, id: LeaseId, now: Duration) -> Option<Duration> {
        let lease = self.leases.get_mut(&id).filter(|lease| lease.deadline > now)?;
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = now.saturating_add(lease.ttl);
        self.deadlines.insert((lease.deadline, id));
        Some(lease.ttl)
    }

    /// Takes a lease off and returns the keys that die with it, in byte order.
    pub fn remove(&mut self, id: LeaseId) -> Option<BTreeSet<Bytes>> {
        let lease = self.leases.remove(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        Some(lease.keys)
    }

    /// Moves a key from one lease to another, either of which can be none.
    pub fn attach(&mut self, key: &Bytes, from: LeaseId, to: LeaseId) {
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
            lease.keys.insert(key.clone());
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
