//! Reads from a million keys: one at a time, and a thousand at once without copying a value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::store::{KeyRange, RangeRequest, RangeResult, Store};
use anyhow::{Result, bail};
use bytes::Bytes;
use world::World;

use super::data::{Directory, KEYS, KEYS_PER_PREFIX, fill, key, open, prefix};
use crate::report::{line, rate};

const VALUE_BYTES: usize = 100;

/// Point reads of each thread. The keys asked for are made before, so that making them is not measured.
const READS: usize = 3_000_000;
const SAMPLE: usize = 200_000;

const RANGES: usize = 5_000;

pub async fn run(world: &World) -> Result<()> {
    let directory = Directory::new(world)?;
    let store = open(world, &directory).await?;
    fill(world, &store, |number| Bytes::from(format!("{number:0VALUE_BYTES$}"))).await?;
    let limit = ordered_map(world);
    for threads in [1, 2] {
        let (count, took) = points(world, &store, threads).await?;
        line(
            &format!("point reads of {KEYS} keys, {threads} thread{}", if threads == 1 { "" } else { "s" }),
            &format!("{:.2} M/s", rate(count, took) / 1e6),
            &format!("goal 2 M/s; a BTreeMap of the same keys {limit:.2} M/s on one thread"),
        );
    }
    ranges(world, &store).await?;
    store.shutdown().await;
    Ok(())
}

/// Millions of look-ups per second in an ordered map of the same keys, which nobody shares and nothing protects.
fn ordered_map(world: &World) -> f64 {
    let map: BTreeMap<Bytes, usize> = (0..KEYS).map(|number| (key(number), number)).collect();
    let sample: Vec<Bytes> = (0..SAMPLE).map(|_| key(world.below(KEYS as u64) as usize)).collect();
    let began = world.elapsed();
    let found = (0..READS).filter(|number| map.contains_key(&sample[number % SAMPLE])).count();
    rate(found, world.elapsed() - began) / 1e6
}

/// How many reads took how long.
async fn points(world: &World, store: &Store, threads: usize) -> Result<(usize, Duration)> {
    let samples: Vec<Arc<Vec<Bytes>>> =
        (0..threads).map(|_| Arc::new((0..SAMPLE).map(|_| key(world.below(KEYS as u64) as usize)).collect())).collect();
    let (sender, mut ended) = tokio::sync::mpsc::channel(threads);
    let began = world.elapsed();
    for sample in samples {
        let (store, sender) = (store.clone(), sender.clone());
        world.spawn("reader", async move {
            let mut missed = 0;
            for number in 0..READS {
                let found = store.get(sample[number % SAMPLE].clone()).await;
                missed += usize::from(!matches!(found, Ok(Some(kv)) if kv.value.len() == VALUE_BYTES));
            }
            let _ = sender.send(missed).await;
        });
    }
    drop(sender);
    while let Some(missed) = ended.recv().await {
        if missed > 0 {
            bail!("{missed} reads did not find their key");
        }
    }
    Ok((READS * threads, world.elapsed() - began))
}

async fn ranges(world: &World, store: &Store) -> Result<()> {
    let read = async |group: usize| -> Result<RangeResult> {
        let result = store.range(RangeRequest::new(KeyRange::prefix(prefix(group)))).await?;
        if result.kvs.len() != KEYS_PER_PREFIX {
            bail!("{} keys below {}", result.kvs.len(), prefix(group));
        }
        Ok(result)
    };
    let groups = (KEYS / KEYS_PER_PREFIX) as u64;
    let mut copied = 0;
    for group in 0..groups as usize {
        let (first, second) = (read(group).await?, read(group).await?);
        copied += first.kvs.iter().zip(&second.kvs).filter(|(a, b)| a.value.as_ptr() != b.value.as_ptr()).count();
    }
    if copied > 0 {
        bail!("{copied} of {KEYS} values are at another place in memory when they are read again: they are copied");
    }
    let began = world.elapsed();
    for _ in 0..RANGES {
        read(world.below(groups) as usize).await?;
    }
    let per_second = rate(RANGES, world.elapsed() - began);
    line(
        &format!("ranges of {KEYS_PER_PREFIX} keys"),
        &format!("{per_second:.0}/s"),
        &format!("{:.1} M keys/s; no value copied: two reads of all gave the same memory", per_second / 1e3),
    );
    Ok(())
}
