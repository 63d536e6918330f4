//! Laws of reading, writing, forming and patching, over objects that are spoilt at random. A seed names a run; `fuzz/` has the
//! same laws for a fuzzer.

#[path = "laws/draw.rs"]
mod draw;
#[path = "laws/hold.rs"]
mod hold;
#[path = "laws/mutate.rs"]
mod mutate;
#[path = "laws/published.rs"]
mod published;

use std::panic::{AssertUnwindSafe, catch_unwind};

use draw::Draw;
use world::World;

/// Runs of each object.
const ROUNDS: u64 = 5;

struct Seeded(World);

impl Draw for Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound.max(1) as u64) as usize
    }
}

#[test]
fn spoilt_objects_keep_the_laws() {
    let schema = published::definition_schema();
    for (number, (object, message)) in published::objects().iter().enumerate() {
        for round in 0..rounds() {
            let seed = round << 32 | number as u64;
            let (world, _simulation) = World::simulated(seed);
            let held = catch_unwind(AssertUnwindSafe(|| hold::all(&mut Seeded(world), object, message, &schema)));
            assert!(held.is_ok(), "seed {seed}: a {}", object["kind"]);
        }
    }
}

/// `MINATO_LAW_ROUNDS` makes it longer.
fn rounds() -> u64 {
    std::env::var("MINATO_LAW_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}
