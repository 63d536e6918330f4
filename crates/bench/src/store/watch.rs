//! A hundred watchers of ten thousand updates a second: each event delivered once, and how long it took from the call of the
//! put, so that the sync is part of it.

use std::sync::Arc;
use std::time::Duration;

use ::store::{KeyRange, Store, WatchRequest, Watcher};
use anyhow::{Result, bail};
use bytes::Bytes;
use tokio::sync::mpsc;
use world::World;

use super::data::{Directory, open};
use crate::report::{line, millis};

const WATCHERS: usize = 100;
const WRITERS: usize = 32;

/// Updates per second of all writers together, for so long.
const RATE: usize = 10_000;
const UPDATES: usize = RATE * 5;

const KEYS: usize = 1_000;
const PREFIX: &str = "watched/";

/// The last event may take so long after the last put; only a lost one takes longer.
const DEADLINE: Duration = Duration::from_secs(20);

pub async fn run(world: &World) -> Result<()> {
    let directory = Directory::new(world)?;
    let store = open(world, &directory).await?;
    let (sender, mut delivered) = mpsc::channel(WATCHERS);
    for _ in 0..WATCHERS {
        let watcher = store.watch(WatchRequest::new(KeyRange::prefix(PREFIX))).await?;
        let (world2, sender) = (world.clone(), sender.clone());
        world.spawn("watcher", async move {
            let _ = sender.send(follow(&world2, watcher).await).await;
        });
    }
    drop(sender);
    let began = world.elapsed();
    write(world, &store).await?;
    let took = world.elapsed() - began;
    let (mut lags, mut lost) = (Vec::with_capacity(WATCHERS * UPDATES), 0);
    while let Some(followed) = delivered.recv().await {
        let followed = followed?;
        lost += UPDATES.saturating_sub(followed.len());
        lags.extend(followed);
    }
    lags.sort_unstable();
    let at = |share: f64| Duration::from_micros(u64::from(lags[((lags.len() - 1) as f64 * share) as usize]));
    line(
        &format!("{WATCHERS} watchers of {RATE} durable updates/s"),
        &format!("{:.0} events/s", lags.len() as f64 / took.as_secs_f64()),
        &format!(
            "{} delivered, {lost} lost; from put to delivery p50 {}, p99 {}, worst {}; updates {:.0}/s",
            lags.len(),
            millis(at(0.5)),
            millis(at(0.99)),
            millis(at(1.0)),
            UPDATES as f64 / took.as_secs_f64()
        ),
    );
    if lost > 0 {
        bail!("{lost} events were lost");
    }
    store.shutdown().await;
    Ok(())
}

/// Microseconds from put to delivery of each event; fewer than there are when the rest does not come.
async fn follow(world: &World, mut watcher: Watcher) -> Result<Vec<u32>> {
    let (mut lags, mut revision) = (Vec::with_capacity(UPDATES), 0);
    while lags.len() < UPDATES {
        let Ok(batch) = world.timeout(DEADLINE, watcher.next()).await else { break };
        let now = world.elapsed();
        for event in batch?.events {
            if event.kv.mod_revision <= revision {
                bail!("revision {} came after {revision}", event.kv.mod_revision);
            }
            revision = event.kv.mod_revision;
            let stamp = Duration::from_micros(u64::from_be_bytes(event.kv.value[..8].try_into()?));
            lags.push(u32::try_from(now.saturating_sub(stamp).as_micros()).unwrap_or(u32::MAX));
        }
    }
    Ok(lags)
}

/// All updates, each at its time. A writer that is late writes at once.
async fn write(world: &World, store: &Store) -> Result<()> {
    let (sender, mut ended) = mpsc::channel(WRITERS);
    let began = world.elapsed();
    let store = Arc::new(store.clone());
    for writer in 0..WRITERS {
        let (world2, store, sender) = (world.clone(), store.clone(), sender.clone());
        world.spawn("writer", async move {
            let mut outcome = Ok(());
            for number in (writer..UPDATES).step_by(WRITERS) {
                world2.sleep_until(began + Duration::from_secs(1) * number as u32 / RATE as u32).await;
                let mut value = [0; 256];
                value[..8].copy_from_slice(&(world2.elapsed().as_micros() as u64).to_be_bytes());
                let put = store.put(format!("{PREFIX}{:06}", number % KEYS), Bytes::copy_from_slice(&value)).await;
                if let Err(error) = put {
                    outcome = Err(error);
                    break;
                }
            }
            let _ = sender.send(outcome).await;
        });
    }
    drop(sender);
    while let Some(outcome) = ended.recv().await {
        outcome?;
    }
    Ok(())
}
