//! Resident memory: the service with one cluster, and each further idle one.

use std::time::Duration;

use anyhow::Result;
use world::World;

use crate::clusters;
use crate::region::Region;
use crate::report::line;

const FURTHER: u64 = 99;
/// What a cluster does at first (bootstrap objects, caches) is over by then; what it then holds is idle memory.
const SETTLE: Duration = Duration::from_secs(5);

pub async fn run(world: World) -> Result<()> {
    let region = Region::up(&world, &[])?;
    world.sleep(SETTLE).await;
    let one = region.resident()?;
    line("the service with one cluster of two nodes", &format!("{:.1} MB", megabytes(one)), "goal 50 MB");
    for number in 0..FURTHER {
        clusters::create(&world, &region, &format!("idle-{number}")).await?;
    }
    world.sleep(SETTLE).await;
    let all = region.resident()?;
    let each = megabytes(all.saturating_sub(one)) / FURTHER as f64;
    line(
        &format!("each of {FURTHER} further idle clusters"),
        &format!("{each:.2} MB"),
        &format!("goal 10 MB; {:.1} MB in all", megabytes(all)),
    );
    Ok(())
}

fn megabytes(kibibytes: u64) -> f64 {
    kibibytes as f64 * 1024.0 / 1e6
}
