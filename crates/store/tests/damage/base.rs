//! Sound directories to damage, and what must be true of one that was.

use std::collections::BTreeMap;
use std::time::Duration;

use store::{Disk, KeyRange, LeaseId, Op, Revision, SimulatedDisk, Store, Txn};
use world::World;

use crate::mutate::{Damage, Files};
use crate::survive::{Content, content, options, survive};

/// Transactions of one history.
const WRITES: u64 = 900;

/// A sound directory, and what it was at each revision of its life.
pub struct Base {
    pub files: Files,
    pub states: BTreeMap<Revision, Content>,
}

/// What became of a damaged directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Something that a lie made possible.
    Made,
    /// A state that once was, but not the last.
    Past,
    Refused,
    /// Nothing was lost.
    Whole,
}

impl Base {
    /// Puts, deletions, leases and compactions, over several lives of the store.
    pub fn new(seed: u64) -> Base {
        let (world, mut simulation) = World::simulated(seed);
        let disk = SimulatedDisk::new(seed);
        let mut states = BTreeMap::from([(1, Content::new())]);
        simulation.block_on(async {
            let mut store = Store::open(&world, Disk::simulated(&disk), options()).await.expect("an empty directory");
            for number in 0..WRITES {
                write(&world, &store, number).await;
                if number % 150 == 149 {
                    store.shutdown().await;
                    drop(store);
                    store = Store::open(&world, Disk::simulated(&disk), options()).await.expect("a sound directory");
                }
                states.insert(store.revision(), content(&store, None).await);
            }
            store.shutdown().await;
        });
        Base { files: disk.files(), states }
    }

    /// The last revision.
    pub fn last(&self) -> Revision {
        *self.states.last_key_value().expect("there is a state").0
    }

    /// Opens the damaged files of this directory.
    ///
    /// # Panics
    /// When what is found there was never there.
    pub fn check(&self, seed: u64, files: &Files, damage: Damage) -> Outcome {
        match (survive(seed, files), damage) {
            (Err(error), _) => {
                assert!(!error.to_string().is_empty());
                Outcome::Refused
            }
            (Ok(_), Damage::Lie) => Outcome::Made,
            (Ok((revision, found)), Damage::Accident) => {
                assert!(self.states.get(&revision) == Some(&found), "revision {revision} was never like this");
                if revision == self.last() { Outcome::Whole } else { Outcome::Past }
            }
        }
    }
}

async fn write(world: &World, store: &Store, number: u64) {
    let key = format!("k/{:02}", world.below(40));
    let value = vec![number as u8; world.below(3_500) as usize];
    match world.below(20) {
        0 | 1 => drop(store.delete(KeyRange::key(key)).await.expect("a deletion")),
        2 => {
            let id = 1 + world.below(5) as LeaseId;
            if store.lease_grant(Duration::from_secs(1_000_000), Some(id)).await.is_ok() {
                let put = Op::Put { key: key.into(), value: value.into(), lease: id, prev_kv: false };
                store.txn(Txn::of(put)).await.expect("a put with a lease");
            } else {
                store.lease_revoke(id).await.expect("a lease is revoked");
            }
        }
        // Too early, or done already, is refused and changes nothing.
        3 if number.is_multiple_of(3) => drop(store.compact(store.revision() - 20).await),
        _ => drop(store.put(key, value).await.expect("a put")),
    }
}
