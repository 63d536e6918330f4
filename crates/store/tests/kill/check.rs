//! What must be true of a store that was opened again after its process was killed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use store::{Event, EventKind, KeyRange, KeyValue, LeaseId, RangeRequest, Revision, Store, StoreError, WatchRequest};
use world::World;

use crate::child::{Report, Start};
use crate::plan::{self, Part, WRITERS};

/// What is known of one store over all its lives.
pub struct Known {
    seed: u64,
    /// Per writer: what its operations so far give, and how many they are.
    parts: Vec<(Part, u64)>,
    /// The highest revision that was reported or read.
    revision: Revision,
    compacted: Revision,
    /// The events of past lives, as far as a watch delivered them.
    events: BTreeMap<Revision, Vec<Event>>,
}

/// How much a round has proven.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proven {
    pub acknowledged: u64,
    /// Operations that were not reported, and found done.
    pub unreported: u64,
    pub events: u64,
}

impl Known {
    pub fn new(seed: u64) -> Known {
        let parts = (0..WRITERS).map(|_| (Part::default(), 0)).collect();
        Known { seed, parts, revision: 1, compacted: 0, events: BTreeMap::new() }
    }

    /// Where the writers of the next life begin.
    pub fn starts(&self) -> Vec<Start> {
        self.parts.iter().map(|(part, sequence)| Start { sequence: *sequence, leased: part.leased }).collect()
    }

    /// Checks the reopened store against the reports of the life that ended.
    pub async fn check(&mut self, world: &World, store: &Store, reports: &[Report]) -> Result<Proven, String> {
        let mut proven = Proven { acknowledged: reports.len() as u64, ..Proven::default() };
        for report in reports {
            let (part, sequence) = &mut self.parts[report.writer as usize];
            if report.sequence != *sequence {
                return Err(format!("{report:?} where sequence {sequence} is next: the harness is wrong"));
            }
            part.apply(*sequence, &plan::step(self.seed, report.writer, *sequence, part.leased));
            *sequence += 1;
            self.revision = self.revision.max(report.revision);
            self.compacted = self.compacted.max(report.compacted);
        }
        let revision = store.current_revision().await.map_err(|error| error.to_string())?;
        if revision < self.revision {
            return Err(format!("the store is at revision {revision}, but {} was acknowledged", self.revision));
        }
        self.revision = revision;
        let all = store.range(RangeRequest::new(KeyRange::all())).await.map_err(|error| error.to_string())?.kvs;
        let leases: BTreeSet<LeaseId> = store.leases().await.map_err(|error| error.to_string())?.into_iter().collect();
        for writer in 0..WRITERS {
            proven.unreported += u64::from(self.check_part(writer, &all, &leases)?);
        }
        check_leases(store, &all, &leases).await?;
        proven.events = self.check_events(world, store, &all).await?;
        Ok(proven)
    }

    /// Whether the operation in flight was done. Either way it must be as a whole.
    fn check_part(&mut self, writer: u64, all: &[KeyValue], leases: &BTreeSet<LeaseId>) -> Result<bool, String> {
        let seed = self.seed;
        let (part, sequence) = &mut self.parts[writer as usize];
        let Err(wrong) = compare(seed, writer, part, all, leases) else { return Ok(false) };
        let step = plan::step(seed, writer, *sequence, part.leased);
        let mut further = part.clone();
        further.apply(*sequence, &step);
        if let Err(also) = compare(seed, writer, &further, all, leases) {
            return Err(format!(
                "writer {writer}: {sequence} operations were acknowledged, but {wrong}; nor is {step:?} done: {also}"
            ));
        }
        (*part, *sequence) = (further, *sequence + 1);
        Ok(true)
    }

    /// A watch from the oldest revision held must tell what watches of earlier lives have told, and lead to what is there.
    async fn check_events(&mut self, world: &World, store: &Store, all: &[KeyValue]) -> Result<u64, String> {
        let compacted = store.compacted();
        if compacted < self.compacted {
            return Err(format!("compacted up to {compacted}, but {} was before", self.compacted));
        }
        self.compacted = compacted;
        let from = compacted.max(2);
        if compacted > 1 {
            let early = WatchRequest { from: Some(compacted - 1), ..WatchRequest::new(KeyRange::all()) };
            match store.watch(early).await.map(drop) {
                Err(StoreError::Compacted { compact_revision }) if compact_revision == compacted => {}
                other => return Err(format!("a watch from before the compaction gave {other:?}")),
            }
        }
        // At the compacted revision reads are possible, and events begin with it.
        let base = RangeRequest { revision: Some(compacted.max(1)), ..RangeRequest::new(KeyRange::all()) };
        let base = store.range(base).await.map_err(|error| format!("a read at {compacted}: {error}"))?;
        let mut keys: BTreeMap<Bytes, KeyValue> = base.kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        let mut events: BTreeMap<Revision, Vec<Event>> = BTreeMap::new();
        let request = WatchRequest { from: Some(from), ..WatchRequest::new(KeyRange::all()) };
        let mut watcher = store.watch(request).await.map_err(|error| format!("a watch from {from}: {error}"))?;
        while events.last_key_value().map_or(1, |(revision, _)| *revision) < self.revision && from <= self.revision {
            let batch = world.timeout(crate::DEADLINE, watcher.next()).await;
            let batch = batch.map_err(|_| format!("a watch from {from} stopped after {:?}", events.keys().last()))?;
            for event in batch.map_err(|error| error.to_string())?.events {
                events.entry(event.kv.mod_revision).or_default().push(event);
            }
        }
        for revision in from..=self.revision {
            let Some(now) = events.get(&revision) else {
                // The revision of a compaction may have been a deletion that compaction took.
                if revision == compacted {
                    continue;
                }
                return Err(format!("no event of revision {revision}"));
            };
            if let Some(before) = self.events.get(&revision)
                && before != now
            {
                return Err(format!("revision {revision} was {before:?} in an earlier life and is {now:?}"));
            }
            for event in now {
                match event.kind {
                    EventKind::Delete => drop(keys.remove(&event.kv.key)),
                    EventKind::Put => drop(keys.insert(event.kv.key.clone(), event.kv.clone())),
                }
            }
        }
        if !keys.values().eq(all) {
            return Err("the events since the compaction do not lead to what the store holds".to_owned());
        }
        let count = events.len() as u64;
        self.events = events;
        Ok(count)
    }
}

/// Compares what is stored below a writer's prefix, byte for byte, and its lease.
fn compare(seed: u64, writer: u64, part: &Part, all: &[KeyValue], leases: &BTreeSet<LeaseId>) -> Result<(), String> {
    let prefix = plan::prefix(writer);
    let stored: BTreeMap<&Bytes, &KeyValue> =
        all.iter().filter(|kv| kv.key.starts_with(prefix.as_bytes())).map(|kv| (&kv.key, kv)).collect();
    for (key, (sequence, lease)) in &part.keys {
        let Some(kv) = stored.get(key) else { return Err(format!("{key:?} of sequence {sequence} is not there")) };
        if kv.value != plan::value(seed, writer, *sequence) {
            let begin = String::from_utf8_lossy(&kv.value[..kv.value.len().min(50)]).into_owned();
            return Err(format!("{key:?} should be of sequence {sequence} and begins with {begin:?}"));
        }
        if kv.lease != *lease {
            return Err(format!("{key:?} should have lease {lease} and has {}", kv.lease));
        }
    }
    if let Some(key) = stored.keys().find(|key| !part.keys.contains_key(**key)) {
        return Err(format!("{key:?} is there and should not be"));
    }
    let modified: BTreeSet<Revision> = part
        .keys
        .iter()
        .filter_map(|(key, (sequence, _))| {
            // Keys that one operation wrote have one revision.
            let first =
                part.keys.iter().find(|(_, (other, _))| other == sequence).map(|(key, _)| stored[key].mod_revision);
            (first != Some(stored[key].mod_revision)).then_some(stored[key].mod_revision)
        })
        .collect();
    if !modified.is_empty() {
        return Err(format!("one operation has several revisions, {modified:?} among them"));
    }
    // A new lease of each life is granted only after the old one is revoked, so it is there exactly when granted.
    let expected = part.lease(writer);
    let own = Part { leased: true, ..Part::default() }.lease(writer);
    if own.is_some_and(|id| leases.contains(&id)) != expected.is_some() {
        return Err(format!("its lease should be {expected:?}, and the leases are {leases:?}"));
    }
    Ok(())
}

/// No key outlives its lease, and each lease knows its keys.
async fn check_leases(store: &Store, all: &[KeyValue], leases: &BTreeSet<LeaseId>) -> Result<(), String> {
    for kv in all.iter().filter(|kv| kv.lease != store::NO_LEASE) {
        if !leases.contains(&kv.lease) {
            return Err(format!("{:?} has lease {}, which does not exist", kv.key, kv.lease));
        }
        // One that has run out since has taken its keys along.
        if let Ok(status) = store.lease_time_to_live(kv.lease).await
            && !status.keys.contains(&kv.key)
        {
            return Err(format!("lease {} does not know its key {:?}", kv.lease, kv.key));
        }
    }
    Ok(())
}
