//! Damaged data directories: whatever the files are, opening them ends in a state that once was, or in an error that says what
//! is wrong. Never in a panic, a hang, or memory without bounds. The same, driven by a fuzzer, is in `fuzz/`.

mod base;
mod mutate;
mod survive;

use world::World;

use base::{Base, Outcome};
use mutate::{Damage, Draw, mutate};

/// Damaged directories in one run, each of a seed that replays it.
const SEEDS: u64 = 2_000;

/// Directories that are damaged, each of another history.
const BASES: u64 = 4;

/// How much more memory all of it may take than before. A length that is believed unseen takes gigabytes.
const MOST_MEMORY: u64 = 1 << 30;

/// Draws from a simulated world.
struct Seeded(World);

impl Draw for Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }
}

/// The most memory that this process has had, in bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it has a peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
}

#[test]
fn damage_ends_in_data_or_in_a_clean_error() {
    let bases: Vec<Base> = (0..BASES).map(Base::new).collect();
    let before = most_memory();
    let mut outcomes = Vec::new();
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
        // Seen only when this seed fails.
        println!("seed {seed}: {}", words.join("; "));
        outcomes.push(base.check(seed, &files, damage));
    }
    let count = |outcome| outcomes.iter().filter(|other| **other == outcome).count() as u64;
    let (refused, whole, made) = (count(Outcome::Refused), count(Outcome::Whole), count(Outcome::Made));
    println!("{refused} refused, {whole} whole, {} past states, {made} made by lies", count(Outcome::Past));
    assert!(refused > SEEDS / 10 && whole > SEEDS / 50 && made > SEEDS / 100, "damage was hardly tried");
    let grown = most_memory().saturating_sub(before);
    assert!(grown < MOST_MEMORY, "opening damaged directories took {grown} bytes more");
}

/// A frame that others follow was acknowledged. Damage to it is refused, wherever it is; unless a snapshot makes up for it.
#[test]
fn no_acknowledged_frame_is_given_up_in_silence() {
    let mut refused = 0;
    for seed in 0..BASES {
        let base = Base::new(seed);
        let segments = base.files.iter().filter(|(name, _)| name.ends_with(".log"));
        let mut frames: Vec<(&String, usize, usize)> = segments
            .flat_map(|(name, bytes)| mutate::frames(bytes).into_iter().map(move |(at, length)| (name, at, length)))
            .collect();
        frames.pop();
        let mut draw = Seeded(World::simulated(seed).0);
        // The first and the last frames of each segment, and some of the others.
        let is_edge = |i: usize| {
            i == 0 || i + 1 == frames.len() || frames[i].0 != frames[i - 1].0 || frames[i].0 != frames[i + 1].0
        };
        let others: Vec<usize> = (0..20).map(|_| draw.below(frames.len())).collect();
        for number in (0..frames.len()).filter(|i| is_edge(*i)).chain(others) {
            let (name, at, length) = frames[number];
            let mut files = base.files.clone();
            // The magic, the length, the checksum or, if there is one, an item.
            let places = [0, 5, 33, mutate::FRAME_HEADER + draw.below(length)];
            let place = at + places[draw.below(3 + usize::from(length > 0))];
            files.get_mut(name).expect("it is there")[place] ^= 1 << draw.below(8);
            println!("base {seed}: byte {place} of frame {at} of {name}");
            match base.check(seed, &files, Damage::Accident) {
                Outcome::Refused => refused += 1,
                Outcome::Whole => {}
                outcome => panic!("{outcome:?}: acknowledged revisions are gone, and nobody was told"),
            }
        }
    }
    assert!(refused > 20, "only {refused} were refused");
}
