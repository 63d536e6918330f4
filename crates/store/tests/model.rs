//! Runs drawn sequences of commands against every engine and the naive model of `support`.

mod support;

use std::time::Duration;

use store::{Limits, Store};
use world::World;

/// Seeds per engine and configuration. A failing one is printed by the panic of its run.
const SEEDS: u64 = 150;

/// Commands per seed.
const STEPS: usize = 300;

fn run(seed: u64, kind: support::Engine, engine: fn(&World, Limits) -> Store, limits: Limits) {
    let (world, mut simulation) = World::simulated(seed);
    let store = engine(&world, limits);
    println!("seed {seed}");
    simulation.block_on(support::run(&world, &world, store, STEPS, kind));
}

#[test]
fn the_memory_engine_agrees_with_the_model() {
    for seed in 0..SEEDS {
        run(seed, support::Engine::Local, Store::memory, Limits::default());
    }
}

#[test]
fn the_memory_engine_agrees_with_the_model_while_it_compacts_itself() {
    let small = [
        Limits { history_revisions: 10, ..Limits::default() },
        Limits { history_bytes: 2_000, ..Limits::default() },
        Limits { history_age: Duration::from_secs(5), ..Limits::default() },
    ];
    for seed in 0..SEEDS {
        run(seed, support::Engine::Compacting, Store::memory, small[seed as usize % small.len()].clone());
    }
}
