//! Damaged data directories: whatever the files are, opening them ends in a state that once was, or in an error that says what
//! is wrong. Never in a panic, a hang, or memory without bounds.

mod mutate;
mod survive;

use std::collections::BTreeMap;

use store::{Disk, KeyRange, LeaseId, Op, Revision, SimulatedDisk, Store, Txn};
use world::World;

use mutate::{Damage, Draw, Files, mutate};
use survive::{Content, content, options, survive};

/// Damaged directories in one run.
const SEEDS: u64 = 2_000;

/// Directories that are damaged, each of another history.
const BASES: u64 = 6;

/// Transactions of each.
const WRITES: u64 = 900;

/// How much more memory all of it may take than before. A length that is believed unseen takes gigabytes.
const MOST_MEMORY: u64 = 1 << 30;

/// Draws from a simulated world.
struct Seeded(World);

impl Draw for Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }
}

/// A sound directory, and what it was at each revision of its life.
struct Base {
    files: Files,
    states: BTreeMap<Revision, Content>,
}

/// Puts, deletions, leases and compactions, over several lives of the store.
fn base(seed: u64) -> Base {
    let (world, mut simulation) = World::simulated(seed);
    let disk = SimulatedDisk::new(seed);
    let mut states = BTreeMap::from([(1, Content::new())]);
    simulation.block_on(async {
        let mut store = Store::open(&world, Disk::simulated(&disk), options()).await.expect("an empty directory");
        for number in 0..WRITES {
            let key = format!("k/{:02}", world.below(40));
            let value = vec![number as u8; world.below(3_500) as usize];
            match world.below(20) {
                0 | 1 => drop(store.delete(KeyRange::key(key)).await.expect("a deletion")),
                2 => {
                    let id = 1 + world.below(5) as LeaseId;
                    if store.lease_grant(std::time::Duration::from_secs(1_000_000), Some(id)).await.is_ok() {
                        let put = Op::Put { key: key.into(), value: value.into(), lease: id, prev_kv: false };
                        store.txn(Txn::of(put)).await.expect("a put with a lease");
                    } else {
                        store.lease_revoke(id).await.expect("a lease is revoked");
                    }
                }
                3 if number % 3 == 0 => {
                    let revision = store.revision() - 20;
                    // Too early, or done already.
                    let _ = store.compact(revision).await;
                }
                4 if number % 8 == 0 => {
                    store.shutdown().await;
                    drop(store);
                    store = Store::open(&world, Disk::simulated(&disk), options()).await.expect("a sound directory");
                }
                _ => drop(store.put(key, value).await.expect("a put")),
            }
            states.insert(store.revision(), content(&store, None).await);
        }
        store.shutdown().await;
    });
    Base { files: disk.files(), states }
}

/// The most memory that this process has had, in bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it has a peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
}

/// What became of the damaged directories.
#[derive(Debug, Default)]
struct Tally {
    /// Nothing was lost.
    whole: u64,
    /// A past state was found.
    past: u64,
    refused: u64,
    lies: u64,
}

#[test]
fn damage_ends_in_data_or_in_a_clean_error() {
    let bases: Vec<Base> = (0..BASES).map(base).collect();
    let (before, mut tally) = (most_memory(), Tally::default());
    for seed in 0..SEEDS {
        let base = &bases[(seed % BASES) as usize];
        let mut draw = Seeded(World::simulated(seed).0);
        let (mut files, mut damage, mut words) = (base.files.clone(), Damage::Accident, Vec::new());
        for _ in 0..1 + draw.below(3) {
            let (done, how) = mutate(&mut files, &mut draw);
            words.push(how);
            if done == Damage::Lie {
                damage = Damage::Lie;
            }
        }
        println!("seed {seed}: {}", words.join("; "));
        match (survive(seed, &files), damage) {
            (Err(error), _) => {
                tally.refused += 1;
                assert!(!error.to_string().is_empty());
            }
            (Ok(_), Damage::Lie) => tally.lies += 1,
            (Ok((revision, found)), Damage::Accident) => {
                let (last, _) = base.states.last_key_value().expect("there is a state");
                let once = base.states.get(&revision);
                assert!(once.is_some_and(|once| *once == found), "revision {revision} was never like this");
                if revision == *last { tally.whole += 1 } else { tally.past += 1 }
            }
        }
    }
    eprintln!("{tally:?}");
    assert!(tally.refused > SEEDS / 10 && tally.whole > SEEDS / 50, "damage was hardly tried: {tally:?}");
    let grown = most_memory().saturating_sub(before);
    assert!(grown < MOST_MEMORY, "opening damaged directories took {grown} bytes more");
}

/// A frame that others follow was acknowledged. Damage to it is refused, wherever it is; unless a snapshot makes up for it.
#[test]
fn no_acknowledged_frame_is_given_up_in_silence() {
    let (mut refused, mut covered) = (0, 0);
    for seed in 0..BASES {
        let base = base(seed);
        let (last, _) = base.states.last_key_value().expect("there is a state");
        let segments = base.files.iter().filter(|(name, _)| name.ends_with(".log"));
        let mut frames: Vec<(&String, usize, usize)> = segments
            .flat_map(|(name, bytes)| mutate::frames(bytes).into_iter().map(move |(at, length)| (name, at, length)))
            .collect();
        frames.pop();
        let mut draw = Seeded(World::simulated(seed).0);
        // The first and the last frames of each segment, and some of the others.
        let edges: Vec<usize> = (0..frames.len())
            .filter(|i| {
                *i == 0
                    || *i + 1 == frames.len()
                    || frames[*i].0 != frames[*i - 1].0
                    || frames[*i].0 != frames[*i + 1].0
            })
            .collect();
        let others: Vec<usize> = (0..20).map(|_| draw.below(frames.len())).collect();
        for number in edges.into_iter().chain(others) {
            let (name, at, length) = frames[number];
            let mut files = base.files.clone();
            // The magic, the length, the checksum or, if there is one, an item.
            let places = [0, 5, 33, mutate::FRAME_HEADER + draw.below(length)];
            let place = at + places[draw.below(3 + usize::from(length > 0))];
            files.get_mut(name).expect("it is there")[place] ^= 1 << draw.below(8);
            println!("base {seed}: byte {place} of frame {at} of {name}");
            match survive(seed, &files) {
                Err(_) => refused += 1,
                Ok((revision, found)) => {
                    covered += 1;
                    assert_eq!(revision, *last, "acknowledged revisions are gone, and nobody was told");
                    assert_eq!(found, base.states[last]);
                }
            }
        }
    }
    assert!(refused > 20, "{refused} refused, {covered} covered by a snapshot");
}
