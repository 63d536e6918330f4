//! The durable store in this process, on a real disk: writes beside a raw log and a bare sync, reads, watches, recovery, memory;
//! and behind its gRPC face, beside etcd.
//!
//! The data directory is beside this binary, because the system's temporary directory may be in memory.

pub mod data;
mod etcd;
mod load;
mod raw_log;
mod reads;
mod recovery;
mod space;
mod watch;
mod writes;

use anyhow::{Context, Result};
use world::World;

pub async fn run(world: World) -> Result<()> {
    // First, while the allocator has nothing of others to give back.
    space::run(&world).await?;
    writes::run(&world).await?;
    reads::run(&world).await?;
    watch::run(&world).await?;
    recovery::run(&world).await
}

pub async fn beside_etcd(world: World) -> Result<()> {
    etcd::run(&world).await
}

/// Resident memory of this process in bytes.
pub fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    let kibibytes: u64 = line.split_whitespace().nth(1).context("VmRSS has a number")?.parse()?;
    Ok(kibibytes * 1024)
}
