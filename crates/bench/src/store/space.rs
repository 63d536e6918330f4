//! Memory per key without its value: how much the resident memory of this process grows by a million keys.
//!
//! Values are five bytes, which are counted. So are the keys themselves, index, revisions, what is left of history after a
//! compaction, and what the allocator keeps.

use anyhow::Result;
use bytes::Bytes;
use world::World;

use super::data::{Directory, KEYS, fill, key, open};
use super::resident;
use crate::report::line;

pub async fn run(world: &World) -> Result<()> {
    let directory = Directory::new(world)?;
    let store = open(world, &directory).await?;
    let before = resident()?;
    fill(world, &store, |_| Bytes::from_static(b"value")).await?;
    // History has limits of its own; what stays for ever is what counts.
    let revision = store.current_revision().await?;
    match store.compact(revision).await {
        Ok(()) | Err(::store::StoreError::Compacted { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    print("as written", before)?;
    store.shutdown().await;
    drop(store);
    // The allocator keeps some of the first store's memory, so this is what the second one took on top.
    let before = resident()?;
    let store = open(world, &directory).await?;
    print("as recovered", before)?;
    store.shutdown().await;
    Ok(())
}

fn print(how: &str, before: u64) -> Result<()> {
    let after = resident()?;
    line(
        &format!("memory per key without its value, {how}"),
        &format!("{:.0} bytes", after.saturating_sub(before) as f64 / KEYS as f64),
        &format!("goal 200; {KEYS} keys of {} bytes, which are counted", key(0).len()),
    );
    Ok(())
}
