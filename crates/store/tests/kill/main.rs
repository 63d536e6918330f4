//! `kill -9` of a process that writes to a store under load, at random moments, over and over: what was acknowledged is
//! there, and what was not is there as a whole or not at all.
//!
//! The process is this test binary, started again. `MINATO_KILL_ROUNDS` and `MINATO_KILL_SEED` choose how often, and replay
//! the operations of a run; the moments of the kills are the machine's.

mod check;
mod child;
mod plan;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use store::{Disk, DiskOptions, Limits, Store};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use world::World;

use check::{Known, Proven};
use child::{Report, Start};

/// Kills in one run of the test.
const ROUNDS: u64 = 300;

/// Kills of one data directory, before the next begins empty.
const LIVES: u64 = 20;

/// A round is killed after at most so many reports.
const MOST_REPORTS: u64 = 400;

/// Some rounds are killed after a time instead, also while they open the store.
const MOST_MILLIS: u64 = 60;

/// How long anything may take that does not depend on the disk. Only what is broken takes so long.
const DEADLINE: Duration = Duration::from_secs(60);

/// The largest request: several values at once.
const REQUEST_BYTES: usize = 64 << 10;

/// The test that is the child, and how it is told what to do.
const CHILD: &str = "writes_until_it_is_killed";
const CHILD_ENGINE: &str = "MINATO_KILL_CHILD_ENGINE";
const CHILD_DIRECTORY: &str = "MINATO_KILL_CHILD_DIRECTORY";
const CHILD_SEED: &str = "MINATO_KILL_CHILD_SEED";
const CHILD_STARTS: &str = "MINATO_KILL_CHILD_STARTS";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Disk,
    /// Forgets everything, which the check must notice.
    Memory,
}

impl Engine {
    async fn open(self, world: &World, directory: &Path) -> Result<Store, String> {
        match self {
            Engine::Disk => {
                let opened = Store::open(world, Disk::directory(directory), options()).await;
                opened.map_err(|error| error.to_string())
            }
            Engine::Memory => Ok(Store::memory(world, Limits::default())),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Engine::Disk => "disk",
            Engine::Memory => "memory",
        }
    }

    fn named(name: &str) -> Engine {
        match name {
            "disk" => Engine::Disk,
            "memory" => Engine::Memory,
            _ => panic!("no engine {name:?}"),
        }
    }
}

/// So small that a life of some hundred writes begins segments, writes snapshots and compacts.
fn options() -> DiskOptions {
    DiskOptions {
        limits: Limits { request_bytes: REQUEST_BYTES, history_bytes: 512 << 10, ..Limits::default() },
        first_segment_bytes: 128 << 10,
        segment_bytes: 256 << 10,
        snapshot_bytes: 400 << 10,
        retain_bytes: 1 << 20,
        group_bytes: REQUEST_BYTES,
        reserve_bytes: 16 << 10,
        ..DiskOptions::default()
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
#[ignore = "the process that the other tests start and kill"]
fn writes_until_it_is_killed() {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by the parent"));
    let (engine, directory) = (Engine::named(&variable(CHILD_ENGINE)), PathBuf::from(variable(CHILD_DIRECTORY)));
    let (seed, starts) = (number(CHILD_SEED).expect("a seed"), child::decode(&variable(CHILD_STARTS)));
    runtime().block_on(async {
        let world = World::real();
        match engine.open(&world, &directory).await {
            Ok(store) => child::run(&world, store, seed, starts).await,
            Err(error) => panic!("the child cannot open the store: {error}"),
        }
    });
}

/// Starts a child, kills it at some moment, and returns what it reported.
async fn live(world: &World, engine: Engine, directory: &Path, seed: u64, starts: &[Start]) -> Vec<Report> {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--ignored", "--exact", CHILD, "--nocapture"])
        .env(CHILD_ENGINE, engine.name())
        .env(CHILD_DIRECTORY, directory)
        .env(CHILD_SEED, seed.to_string())
        .env(CHILD_STARTS, child::encode(starts))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let (mut reports, mut said) = (Vec::new(), Vec::new());
    let by_time = world.below(4) == 0;
    let after = if by_time { usize::MAX } else { 1 + world.below(MOST_REPORTS) as usize };
    let time = if by_time { Duration::from_millis(world.below(MOST_MILLIS)) } else { DEADLINE };
    let deadline = world.sleep(time);
    tokio::pin!(deadline);
    while reports.len() < after {
        tokio::select! {
            biased;
            () = &mut deadline => break,
            line = lines.next_line() => match line.expect("the pipe can be read") {
                Some(line) => match Report::parse(&line) {
                    Some(report) => reports.push(report),
                    None => said.push(line),
                },
                None => panic!("the child ended by itself:\n{}", said.join("\n")),
            },
        }
    }
    assert!(by_time || reports.len() >= after, "only {} reports in {DEADLINE:?}; it said {said:?}", reports.len());
    child.start_kill().expect("the child is killed");
    while let Some(line) = lines.next_line().await.expect("the pipe can be read") {
        reports.extend(Report::parse(&line));
    }
    child.wait().await.expect("the child has ended");
    reports
}

/// Lives of one data directory. The error says in which life, and what is wrong.
async fn lives(world: &World, engine: Engine, directory: &Path, seed: u64, count: u64) -> Result<Proven, String> {
    let (mut known, mut total) = (Known::new(seed), Proven::default());
    for life in 0..count {
        let reports = live(world, engine, directory, seed, &known.starts()).await;
        let store = engine.open(world, directory).await.map_err(|error| format!("life {life}: reopening: {error}"))?;
        let proven = known.check(world, &store, &reports).await.map_err(|error| format!("life {life}: {error}"))?;
        store.shutdown().await;
        total.acknowledged += proven.acknowledged;
        total.unreported += proven.unreported;
        total.events += proven.events;
    }
    Ok(total)
}

fn directory(seed: u64) -> PathBuf {
    std::env::temp_dir().join(format!("minato-kill-{}-{seed:x}", std::process::id()))
}

#[test]
fn a_store_that_forgets_is_found() {
    runtime().block_on(async {
        let world = World::real();
        for seed in 0..3 {
            let outcome = lives(&world, Engine::Memory, &directory(seed), seed, 3).await;
            assert!(outcome.is_err(), "seed {seed}: a store in memory survived its process");
        }
    });
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = number("MINATO_KILL_ROUNDS").unwrap_or(ROUNDS);
    runtime().block_on(async {
        let world = World::real();
        let first = number("MINATO_KILL_SEED").unwrap_or_else(|| world.random() >> 16);
        let (mut total, mut done, mut segments, mut snapshots) = (Proven::default(), 0, 0, 0);
        for seed in first.. {
            if done == rounds {
                break;
            }
            let count = LIVES.min(rounds - done);
            let directory = directory(seed);
            let proven = lives(&world, Engine::Disk, &directory, seed, count).await.unwrap_or_else(|error| {
                panic!("MINATO_KILL_SEED={seed}, directory {}: {error}", directory.display())
            });
            let names = std::fs::read_dir(&directory).expect("the directory is there").flatten();
            let names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            let newest = names.iter().filter_map(|name| name.strip_suffix(".log")).max();
            segments += newest.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
            snapshots += names.iter().filter(|name| name.ends_with(".snapshot")).count();
            std::fs::remove_dir_all(&directory).expect("the directory is removed");
            done += count;
            total.acknowledged += proven.acknowledged;
            total.unreported += proven.unreported;
            total.events += proven.events;
        }
        println!(
            "{done} kills from MINATO_KILL_SEED={first} on: {} acknowledged, {} found done that were not reported, {} events \
             replayed, {segments} segments",
            total.acknowledged, total.unreported, total.events
        );
        // Otherwise the rounds were too short to prove anything.
        assert!(total.acknowledged > done && total.unreported > done / 10, "hardly anything was in flight: {total:?}");
        assert!(rounds < ROUNDS || (segments > 2 * done / LIVES && snapshots > 0), "{segments} segments, {snapshots} snapshots");
    });
}
