//! `minato up` in an empty directory to a kubectl-ready cluster with two Ready nodes.

use std::time::Duration;

use anyhow::{Result, ensure};
use http::Method;
use world::World;

use crate::region::{self, Region};
use crate::report::{line, millis, spread};

const RUNS: usize = 10;
const GOAL: Duration = Duration::from_secs(1);

pub async fn run(world: World) -> Result<()> {
    let (mut ups, mut spawns) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let began = world.elapsed();
        let region = Region::up(&world, &[])?;
        let file = region.file()?;
        let cluster = region.aws(&world)?.json("eks", Method::GET, "/clusters/minato", None).await?;
        let nodes = region::connect(&world, &file, &cluster["cluster"]).await?.get("/api/v1/nodes").await?;
        ups.push(world.elapsed() - began);
        let ready = nodes["items"].as_array().into_iter().flatten().filter(|node| {
            let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        });
        ensure!(ready.count() == 2, "two nodes are Ready: {nodes}");
        let began = world.elapsed();
        region.minato(&["version"])?;
        spawns.push(world.elapsed() - began);
    }
    let (up, spawn) = (spread(ups), spread(spawns));
    let beside = format!(
        "goal {}, worst of {RUNS} {}; starting a process {}",
        millis(GOAL),
        millis(up.worst),
        millis(spawn.median)
    );
    line("up to two Ready nodes, listed over HTTPS", &millis(up.median), &beside);
    Ok(())
}
