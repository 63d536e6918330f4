//! Runs drawn sequences of commands against every embedded engine and the naive model of `support`. The engine on etcd has a
//! test of its own, because it needs one.

mod support;

use std::time::Duration;

use store::{Disk, DiskOptions, Limits, SimulatedDisk, Store};
use world::{Simulation, World};

/// Seeds per engine and configuration. A failing one is printed by the panic of its run.
const SEEDS: u64 = 150;

/// Commands per seed.
const STEPS: usize = 300;

type Engine = fn(&World, &mut Simulation, Limits) -> Store;

fn memory(world: &World, _: &mut Simulation, limits: Limits) -> Store {
    Store::memory(world, limits)
}

/// The durable engine, with segments so short that runs cross many, and snapshots all the time.
fn durable(world: &World, simulation: &mut Simulation, limits: Limits) -> Store {
    let options = support::small_disk(limits);
    let disk = SimulatedDisk::new(world.random());
    simulation.block_on(Store::open(world, Disk::simulated(&disk), options)).unwrap()
}

fn run(seed: u64, kind: support::Engine, engine: Engine, limits: Limits) {
    let (world, mut simulation) = World::simulated(seed);
    let store = engine(&world, &mut simulation, limits);
    println!("seed {seed}");
    simulation.block_on(support::run(&world, &world, store, STEPS, kind));
}

fn agrees(engine: Engine) {
    for seed in 0..SEEDS {
        run(seed, support::Engine::Local, engine, Limits::default());
    }
}

fn agrees_while_it_compacts_itself(engine: Engine) {
    let small = [
        Limits { history_revisions: 10, ..Limits::default() },
        Limits { history_bytes: 2_000, ..Limits::default() },
        Limits { history_age: Duration::from_secs(5), ..Limits::default() },
    ];
    for seed in 0..SEEDS {
        run(seed, support::Engine::Compacting, engine, small[seed as usize % small.len()].clone());
    }
}

#[test]
fn the_memory_engine_agrees_with_the_model() {
    agrees(memory);
}

#[test]
fn the_memory_engine_agrees_with_the_model_while_it_compacts_itself() {
    agrees_while_it_compacts_itself(memory);
}

#[test]
fn the_durable_engine_agrees_with_the_model() {
    agrees(durable);
}

#[test]
fn the_durable_engine_agrees_with_the_model_while_it_compacts_itself() {
    agrees_while_it_compacts_itself(durable);
}

#[test]
fn the_durable_engine_agrees_with_the_model_on_a_real_disk() {
    let directory = std::env::temp_dir().join(format!("minato-store-model-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    for seed in 0..5 {
        let (world, mut simulation) = World::simulated(seed);
        println!("seed {seed}");
        simulation.block_on(async {
            let disk = Disk::directory(directory.join(seed.to_string()));
            let store = Store::open(&world, disk, DiskOptions::default()).await.unwrap();
            support::run(&world, &world, store, STEPS, support::Engine::Local).await;
        });
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
