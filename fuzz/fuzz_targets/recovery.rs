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
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use mutate::{Damage, Draw, Files, mutate};

/// The numbers that the damage draws.
struct Choices<'a>(Input<'a>);

impl Draw for Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
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
    let mut input = Choices(Input(data));
    if input.below(4) == 0 {
        let mut files = Files::new();
        for name in NAMES.iter().take(1 + input.below(NAMES.len())) {
            let length = input.below(1 << 16);
            files.insert((*name).to_owned(), input.0.bytes(length).to_vec());
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
