//! What is decided but not yet written: the next group. It stands under the lock of the state, in the order of decisions.

use std::time::Duration;

use super::DiskOptions;
use super::frame::{FRAME_HEADER, size_of_frame};
use super::item::{self, ITEM_OVERHEAD, TxnEncoder};
use crate::{KeyRange, LeaseId, Revision};

/// What has happened to leases in a group: a snapshot of what is durable must undo it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseChange {
    Granted(LeaseId),
    Revoked(LeaseId, Duration),
}

/// Whether a write may be decided now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Enough,
    /// Not before the disk has caught up.
    Wait,
    /// The disk is full.
    Full,
}

/// See the module. Of an engine without a log it stays empty.
#[derive(Default)]
pub(crate) struct Pending {
    /// Whether there is a log.
    enabled: bool,
    /// Bytes of the next group before further writes wait for the disk.
    max_bytes: usize,
    /// Room that only what makes space may take.
    reserve: u64,
    /// The frame to be: room for its head, then items.
    frame: Vec<u8>,
    /// Number of the last change of state: what waiters wait for.
    ticket: u64,
    /// Whether somebody waits for it.
    urgent: bool,
    leases: Vec<LeaseChange>,
    /// Room in the segment that is being written, and whether a further one is ready.
    pub tail_room: u64,
    pub next_ready: bool,
    /// The disk has no space for a further segment.
    pub full: bool,
    txn: Option<TxnEncoder>,
}

impl Pending {
    pub fn new(options: &DiskOptions) -> Pending {
        let (max_bytes, reserve) = (options.group_bytes, options.reserve_bytes);
        Pending { enabled: true, max_bytes, reserve, frame: vec![0; FRAME_HEADER], ..Pending::default() }
    }

    /// Whether a write of `bytes` may be decided now. `frees` says that it makes space.
    pub fn room(&self, bytes: usize, frees: bool) -> Room {
        if !self.enabled {
            return Room::Enough;
        }
        let frame = size_of_frame(self.frame.len() - FRAME_HEADER + bytes) as u64;
        // A compaction by the store itself may come on top.
        let reserve = if frees { ITEM_OVERHEAD as u64 } else { self.reserve };
        let fits = self.next_ready || frame + reserve <= self.tail_room;
        if fits && (self.is_empty() || self.frame.len() + bytes <= self.max_bytes) {
            Room::Enough
        } else if self.full && !fits {
            Room::Full
        } else {
            Room::Wait
        }
    }

    pub fn is_empty(&self) -> bool {
        self.frame.len() <= FRAME_HEADER
    }

    /// What somebody waits for who was told what is decided so far; `changed` says that a change of theirs is part of it.
    pub fn ticket(&mut self, changed: bool) -> u64 {
        if self.enabled && changed {
            self.ticket += 1;
            self.urgent = true;
        }
        self.ticket
    }

    pub fn begin_txn(&mut self) {
        if self.enabled {
            self.txn = Some(TxnEncoder::begin(&mut self.frame));
        }
    }

    pub fn put(&mut self, key: &[u8], value: &[u8], lease: LeaseId) {
        if let Some(txn) = &mut self.txn {
            txn.put(&mut self.frame, key, value, lease);
        }
    }

    pub fn delete(&mut self, range: &KeyRange) {
        if let Some(txn) = &mut self.txn {
            txn.delete(&mut self.frame, range);
        }
    }

    pub fn end_txn(&mut self) {
        if let Some(txn) = self.txn.take() {
            txn.finish(&mut self.frame);
        }
    }

    pub fn grant(&mut self, id: LeaseId, ttl: Duration) {
        if self.enabled {
            item::encode_grant(&mut self.frame, id, ttl.as_secs());
            self.leases.push(LeaseChange::Granted(id));
        }
    }

    pub fn revoke(&mut self, id: LeaseId, ttl: Duration) {
        if self.enabled {
            item::encode_revoke(&mut self.frame, id);
            self.leases.push(LeaseChange::Revoked(id, ttl));
        }
    }

    /// Nobody waits for a compaction: one that is lost only leaves more history.
    pub fn compact(&mut self, revision: Revision) {
        if self.enabled {
            item::encode_compact(&mut self.frame, revision);
        }
    }

    /// The next group as a frame, what waits for it, and what it does to leases; if somebody waits for it, or if it is the last. `spare` is an old frame whose memory is used again.
    pub fn take(&mut self, mut spare: Vec<u8>, last: bool) -> Option<(Vec<u8>, u64, Vec<LeaseChange>)> {
        if !self.urgent && (!last || self.is_empty()) {
            return None;
        }
        self.urgent = false;
        spare.clear();
        spare.resize(FRAME_HEADER, 0);
        let frame = std::mem::replace(&mut self.frame, spare);
        Some((frame, self.ticket, std::mem::take(&mut self.leases)))
    }

    /// What has happened to leases since the last group was taken, oldest first.
    pub fn lease_changes(&self) -> &[LeaseChange] {
        &self.leases
    }
}
