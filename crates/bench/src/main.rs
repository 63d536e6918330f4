//! `cargo xtask bench [NAME…]`: what a running minato does, each figure beside a limit of the machine from the same run.
//!
//! The region under test is the release binary, started as people start it; the load comes from this process over its
//! public endpoints. Every benchmark is bounded and stops what it started.

mod clusters;
mod https;
mod idle;
mod limit;
mod memory;
mod pods;
mod region;
mod report;
mod requests;
mod store;
mod up;

use std::process::ExitCode;

use anyhow::{Result, bail};
use world::{BoxFuture, World};

/// One benchmark.
struct Bench {
    name: &'static str,
    summary: &'static str,
    run: fn(World) -> BoxFuture<'static, Result<()>>,
}

/// All benchmarks, alphabetical.
static BENCHES: &[Bench] = &[
    Bench {
        name: "clusters",
        summary: "from CreateCluster to a served, IAM-authenticated endpoint; and 100 of them",
        run: |world| Box::pin(clusters::run(world)),
    },
    Bench {
        name: "etcd",
        summary: "durable puts through etcd's API, beside etcd on the same disk",
        run: |world| Box::pin(async move { store::beside_etcd(world).await }),
    },
    Bench {
        name: "idle",
        summary: "resident memory with one cluster and with 100 more",
        run: |world| Box::pin(idle::run(world)),
    },
    Bench {
        name: "memory",
        summary: "bytes per pod beside its JSON; 150,000 pods and 5,000 nodes; further API servers",
        run: |world| Box::pin(memory::run(world)),
    },
    Bench {
        name: "pods",
        summary: "2,000 pods on 200 nodes, from the first create to Running",
        run: |world| Box::pin(pods::run(world)),
    },
    Bench {
        name: "requests",
        summary: "requests for ConfigMaps beside a raw HTTPS echo, protobuf beside JSON, custom objects beside ConfigMaps",
        run: |world| Box::pin(requests::run(world)),
    },
    Bench {
        name: "store",
        summary: "the durable store beside a raw log: writes, reads, watches, recovery, memory",
        run: |world| Box::pin(store::run(world)),
    },
    Bench {
        name: "up",
        summary: "`minato up` in an empty directory to two Ready nodes",
        run: |world| Box::pin(up::run(world)),
    },
];

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run()),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    for name in &names {
        if !BENCHES.iter().any(|bench| bench.name == name) {
            let known: Vec<String> =
                BENCHES.iter().map(|bench| format!("  {:<10} {}", bench.name, bench.summary)).collect();
            bail!("there is no benchmark {name:?}; there are\n{}", known.join("\n"));
        }
    }
    let world = World::real();
    for bench in BENCHES.iter().filter(|bench| names.is_empty() || names.iter().any(|name| name == bench.name)) {
        println!("{}: {}", bench.name, bench.summary);
        (bench.run)(world.clone()).await?;
    }
    Ok(())
}
