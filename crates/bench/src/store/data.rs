//! A data directory that goes away with its benchmark, and the million keys that fill it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::store::{Disk, DiskOptions, Op, Store, Txn};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use world::World;

/// Keys of the benchmarks of reads, recovery and memory.
pub const KEYS: usize = 1_000_000;

/// Keys below each prefix that [`prefix`] gives.
pub const KEYS_PER_PREFIX: usize = 1_000;

/// Keys of one transaction while filling.
const BATCH: usize = 100;

/// Tasks that fill, so that groups of transactions share a sync.
const FILLERS: usize = 16;

/// Removed when dropped.
pub struct Directory(PathBuf);

impl Directory {
    /// An empty directory.
    pub fn new(world: &World) -> Result<Directory> {
        let beside = std::env::current_exe()?;
        let parent = beside.parent().context("the binary is in a directory")?;
        let path = parent.join(format!("bench-store-{}", world.uuid()));
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Directory(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A directory that stays is only untidy; the figures are printed already.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Opens the durable store of a directory.
pub async fn open(world: &World, directory: &Directory) -> Result<Store> {
    Ok(Store::open(world, Disk::directory(directory.path()), DiskOptions::default()).await?)
}

/// What the keys of one group begin with.
pub fn prefix(group: usize) -> String {
    format!("/registry/configmaps/tenant-{group:04}/")
}

/// The key of a number below [`KEYS`]: 50 bytes, as Kubernetes' are. Neighbouring numbers are far apart in the store.
pub fn key(number: usize) -> Bytes {
    let groups = KEYS / KEYS_PER_PREFIX;
    Bytes::from(format!("{}settings-{:012}", prefix(number % groups), number / groups))
}

/// Puts all keys, each with the value of its number.
pub async fn fill(world: &World, store: &Store, value: fn(usize) -> Bytes) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let (sender, mut ended) = tokio::sync::mpsc::channel(FILLERS);
    for _ in 0..FILLERS {
        let (store, next, sender) = (store.clone(), next.clone(), sender.clone());
        world.spawn("fill", async move {
            let outcome = loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= KEYS {
                    break Ok(());
                }
                let success = (first..first + BATCH).map(|number| Op::put(key(number), value(number))).collect();
                if let Err(error) = store.txn(Txn { success, ..Txn::default() }).await {
                    break Err(error);
                }
            };
            // The receiver is gone only when another has failed already.
            let _ = sender.send(outcome).await;
        });
    }
    drop(sender);
    while let Some(outcome) = ended.recv().await {
        outcome?;
    }
    let keys = store.stats().keys;
    if keys != KEYS {
        bail!("{keys} keys are there instead of {KEYS}");
    }
    Ok(())
}
