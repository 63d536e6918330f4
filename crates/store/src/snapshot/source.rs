//! Writes a snapshot block by block while the store goes on: it holds the lock for a moment per block, and history from where it
//! began until it is done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use world::Timestamp;

use super::{BLOCK, END, EVENTS, Head, LEASES, VERSIONS, checksum};
use crate::embedded::{Core, Record};
use crate::journal::LeaseChange;
use crate::{LeaseId, StoreError};

/// Keys that are looked at under one lock, so that writers never wait long.
const KEYS_PER_LOCK: usize = 2048;

/// Leases per block.
const LEASES_PER_BLOCK: usize = BLOCK / 16;

/// See the module. Dropping it ends the hold on history.
pub(crate) struct Source {
    core: Arc<Core>,
    pin: u64,
    head: Head,
    /// Blocks so far; none before the head is out.
    place: Option<u64>,
    phase: Phase,
    events: VecDeque<Record>,
    leases: Vec<(LeaseId, Duration)>,
    /// Versions, events and leases so far.
    counts: [u64; 3],
}

enum Phase {
    /// The key to go on with.
    Versions(Vec<u8>),
    Events,
    Leases,
    End,
    Done,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.core.write().state.unpin(self.pin);
    }
}

impl Source {
    /// Begins a snapshot of all that is visible now. `store` is the id that it carries.
    ///
    /// # Errors
    /// The store has ended.
    pub fn begin(core: &Arc<Core>, store: u64) -> Result<Source, StoreError> {
        let time: Timestamp = core.world.now();
        let mut shared = core.write();
        shared.state.check_open()?;
        let (pin, compacted) = shared.state.pin();
        let state = &shared.state;
        let events: VecDeque<Record> = state.log.range(state.log.first(), state.visible_end).cloned().collect();
        let head = Head { store, frame: shared.frame, revision: state.visible, compacted, time };
        let changes = shared.in_flight.iter().chain(shared.pending.lease_changes());
        let leases = durable_leases(state.leases.all().collect(), changes.copied().collect());
        drop(shared);
        // Nothing was live before the first compaction.
        let phase = if compacted == 0 { Phase::Events } else { Phase::Versions(Vec::new()) };
        Ok(Source { core: core.clone(), pin, head, place: None, phase, events, leases, counts: [0; 3] })
    }

    /// The last frame that it contains.
    pub fn frame(&self) -> u64 {
        self.head.frame
    }

    /// When it was begun.
    pub fn time(&self) -> Timestamp {
        self.head.time
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// The store has ended, or could not keep the history any longer.
    pub fn next_block(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(place) = self.place else {
            self.place = Some(0);
            return Ok(Some(self.head.encode()));
        };
        // Room for the head of the block.
        let mut block = vec![0; 9];
        while block.len() == 9 {
            match &mut self.phase {
                Phase::Versions(_) => self.versions(&mut block)?,
                Phase::Events => self.events(&mut block),
                Phase::Leases => self.leases(&mut block),
                Phase::End => {
                    block[8] = END;
                    self.counts.iter().for_each(|count| block.extend_from_slice(&count.to_le_bytes()));
                    self.phase = Phase::Done;
                }
                Phase::Done => return Ok(None),
            }
        }
        let length = (block.len() - 8) as u32;
        block[0..4].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum(self.head.store, place, &block[8..]);
        block[4..8].copy_from_slice(&checksum.to_le_bytes());
        self.place = Some(place + 1);
        Ok(Some(block))
    }

    fn versions(&mut self, block: &mut Vec<u8>) -> Result<(), StoreError> {
        block[8] = VERSIONS;
        while block.len() < BLOCK {
            let Phase::Versions(from) = &mut self.phase else { return Ok(()) };
            let shared = self.core.read();
            shared.state.check_open()?;
            if !shared.state.is_pinned(self.pin) {
                return Err(StoreError::Compacted { compact_revision: shared.state.compacted });
            }
            let (found, next) = shared.state.index.scan(from, self.head.compacted, KEYS_PER_LOCK, BLOCK);
            drop(shared);
            for record in found {
                version(block, &record);
                self.counts[0] += 1;
            }
            match next {
                Some(next) => *from = next,
                None => self.phase = Phase::Events,
            }
        }
        Ok(())
    }

    fn events(&mut self, block: &mut Vec<u8>) {
        block[8] = EVENTS;
        while block.len() < BLOCK {
            let Some(event) = self.events.pop_front() else {
                self.phase = Phase::Leases;
                return;
            };
            version(block, &event);
            self.counts[1] += 1;
        }
    }

    fn leases(&mut self, block: &mut Vec<u8>) {
        block[8] = LEASES;
        let taken = self.leases.len().min(LEASES_PER_BLOCK);
        for (id, ttl) in self.leases.drain(..taken) {
            block.extend_from_slice(&id.to_le_bytes());
            block.extend_from_slice(&ttl.as_secs().to_le_bytes());
            self.counts[2] += 1;
        }
        if self.leases.is_empty() {
            self.phase = Phase::End;
        }
    }
}

fn version(block: &mut Vec<u8>, record: &Record) {
    let bytes = record.as_ref();
    // A record is hardly longer than a request.
    block.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    block.extend_from_slice(bytes);
}

/// The leases without what has happened to them since the last frame that is durable.
fn durable_leases(leases: Vec<(LeaseId, Duration)>, changes: Vec<LeaseChange>) -> Vec<(LeaseId, Duration)> {
    if changes.is_empty() {
        return leases;
    }
    let mut leases: std::collections::BTreeMap<LeaseId, Duration> = leases.into_iter().collect();
    for change in changes.into_iter().rev() {
        match change {
            LeaseChange::Granted(id) => drop(leases.remove(&id)),
            LeaseChange::Revoked(id, ttl) => drop(leases.insert(id, ttl)),
        }
    }
    leases.into_iter().collect()
}
