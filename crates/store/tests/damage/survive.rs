//! Opens whatever files a directory has, and uses the store if there is one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use store::{
    Disk, DiskOptions, KeyRange, KeyValue, Limits, OpenError, RangeRequest, Revision, SimulatedDisk, Store,
    WatchRequest,
};
use world::World;

use crate::mutate::Files;

/// So small that a directory has many files.
pub fn options() -> DiskOptions {
    DiskOptions {
        limits: Limits { request_bytes: 4_096, history_revisions: 200, ..Limits::default() },
        first_segment_bytes: 32 << 10,
        segment_bytes: 64 << 10,
        snapshot_bytes: 200 << 10,
        group_bytes: 8 << 10,
        reserve_bytes: 8 << 10,
        ..DiskOptions::default()
    }
}

/// All live keys.
pub type Content = BTreeMap<Bytes, KeyValue>;

pub async fn content(store: &Store, revision: Option<Revision>) -> Content {
    let request = RangeRequest { revision, ..RangeRequest::new(KeyRange::all()) };
    let result = store.range(request).await.unwrap_or_else(|error| panic!("a read at {revision:?}: {error}"));
    result.kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect()
}

/// Puts the files on a simulated disk, opens the store there and, when that works, reads, watches, writes and opens it again.
///
/// Returns the revision and what is there at first.
///
/// # Errors
/// The store's refusal to open.
pub fn survive(seed: u64, files: &Files) -> Result<(Revision, Content), OpenError> {
    let (world, mut simulation) = World::simulated(seed);
    let disk = SimulatedDisk::new(seed);
    for (name, bytes) in files {
        disk.put_file(name, Some(bytes.clone()));
    }
    simulation.block_on(async {
        let store = Store::open(&world, Disk::simulated(&disk), options()).await?;
        let (revision, found) = (store.revision(), content(&store, None).await);
        let compacted = store.compacted();
        assert!(compacted <= revision, "compacted up to {compacted} at revision {revision}");
        content(&store, Some(compacted.max(1))).await;
        let request = WatchRequest { from: Some(compacted.max(1)), ..WatchRequest::new(KeyRange::all()) };
        let mut watcher = store.watch(request).await.expect("a watch of what is held");
        let written = store.put("written-after", "value").await;
        if let Ok(written) = written {
            let mut last = 0;
            while last < written {
                let batch = world.timeout(Duration::from_secs(60), watcher.next()).await;
                last = batch.expect("the watch comes to the end").expect("nothing is compacted meanwhile").revision;
            }
        }
        drop(watcher);
        store.shutdown().await;
        drop(store);
        if written.is_ok() {
            // What it has written on top of what it found is sound in any case.
            let again = Store::open(&world, Disk::simulated(&disk), options()).await;
            let again =
                again.unwrap_or_else(|error| panic!("it was opened and written to, and now is refused: {error}"));
            assert!(again.get("written-after").await.expect("a read").is_some(), "an acknowledged write is gone");
            again.shutdown().await;
        }
        Ok((revision, found))
    })
}
