//! Opening a directory with a million keys: from the log alone, and from a snapshot with the log behind it. Beside it, the time
//! that only reading the same files takes. All of it comes from the page cache, as after a restart of the process.

use std::time::Duration;

use ::store::{Disk, DiskOptions, Store};
use anyhow::{Result, bail};
use bytes::Bytes;
use world::World;

use super::data::{Directory, KEYS, fill};
use crate::report::{line, millis};

const VALUE_BYTES: usize = 100;
const RUNS: usize = 3;

/// How long the first snapshot may take to be there.
const SNAPSHOT: Duration = Duration::from_secs(120);

pub async fn run(world: &World) -> Result<()> {
    let never = DiskOptions { snapshot_bytes: u64::MAX, ..DiskOptions::default() };
    measure(world, "the log alone", never, 0).await?;
    measure(world, "a snapshot and the log behind it", DiskOptions::default(), 1).await
}

async fn measure(world: &World, what: &str, options: DiskOptions, snapshots: usize) -> Result<()> {
    let directory = Directory::new(world)?;
    let disk = Disk::directory(directory.path());
    let store = Store::open(world, disk.clone(), options.clone()).await?;
    fill(world, &store, |number| Bytes::from(format!("{number:0VALUE_BYTES$}"))).await?;
    let began = world.elapsed();
    while store.stats().disk.unwrap_or_default().snapshots < snapshots {
        if world.elapsed() - began > SNAPSHOT {
            bail!("there is no snapshot after {SNAPSHOT:?}");
        }
        world.sleep(Duration::from_millis(10)).await;
    }
    let revision = store.revision();
    store.shutdown().await;
    drop(store);
    let (mut took, mut reading) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let began = world.elapsed();
        let mut bytes = 0;
        for entry in std::fs::read_dir(directory.path())? {
            bytes += std::fs::read(entry?.path())?.len();
        }
        reading.push((world.elapsed() - began, bytes));
        let began = world.elapsed();
        let store = Store::open(world, disk.clone(), options.clone()).await?;
        took.push(world.elapsed() - began);
        if (store.revision(), store.stats().keys) != (revision, KEYS) {
            bail!("revision {} with {} keys was recovered, not {revision}", store.revision(), store.stats().keys);
        }
        store.shutdown().await;
    }
    took.sort();
    reading.sort();
    let (read, bytes) = reading[RUNS / 2];
    line(
        &format!("recovery of {KEYS} keys from {what}"),
        &format!("{:.2} s", took[RUNS / 2].as_secs_f64()),
        &format!("goal 3 s; reading the files, {:.0} MB, takes {}", bytes as f64 / 1e6, millis(read)),
    );
    Ok(())
}
