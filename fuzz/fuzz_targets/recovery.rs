//! Any bytes as the files of a data directory: the store opens with a state that once was, or refuses with an error. The input
//! says how a sound directory is damaged, or what its files are outright.

#![no_main]

#[path = "../../crates/store/tests/damage/base.rs"]
mod base;
#[path = "../../crates/store/tests/damage/mutate.rs"]
mod mutate;
#[path = "../../crates/store/tests/damage/survive.rs"]
mod survive;

use std::sync::OnceLock;

use base::{Base, Outcome};
use libfuzzer_sys::fuzz_target;
use mutate::{Damage, Draw, Files, mutate};

/// Draws what the fuzzer wants; zeros at the end of its input.
struct Input<'a>(&'a [u8]);

impl Draw for Input<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let width = self.0.len().min(if bound <= 256 { 1 } else { 3 });
        let (taken, rest) = self.0.split_at(width);
        self.0 = rest;
        taken.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) % bound.max(1)
    }
}

/// Names that mean something to a store.
const NAMES: [&str; 5] = [
    "0000000000000001.log",
    "0000000000000002.log",
    "0000000000000003.log",
    "0000000000000007.snapshot",
    "0000000000000009.snapshot",
];

fuzz_target!(|data: &[u8]| {
    static BASE: OnceLock<Base> = OnceLock::new();
    let base = BASE.get_or_init(|| Base::new(0));
    let mut input = Input(data);
    if input.below(4) == 0 {
        let mut files = Files::new();
        for name in NAMES.iter().take(1 + input.below(NAMES.len())) {
            let length = input.below(1 << 16).min(input.0.len());
            let (bytes, rest) = input.0.split_at(length);
            files.insert((*name).to_owned(), bytes.to_vec());
            input.0 = rest;
        }
        base.check(0, &files, Damage::Lie);
        return;
    }
    let (mut files, mut damage) = (base.files.clone(), Damage::Accident);
    for _ in 0..1 + input.below(4) {
        if mutate(&mut files, &mut input).0 == Damage::Lie {
            damage = Damage::Lie;
        }
    }
    let outcome = base.check(0, &files, damage);
    assert!(damage == Damage::Lie || outcome != Outcome::Made);
});
