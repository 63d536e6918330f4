//! Durable writes beside the raw log: many writers for the rate, one for the latency.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use world::World;

use super::data::{Directory, open};
use super::load::{self, Write};
use super::raw_log::{RawLog, bare_sync};
use crate::report::{line, millis};

const WRITERS: usize = 32;
const VALUE_BYTES: usize = 1024;

/// Keys of each writer; more are written, over and over, so that the store does not grow.
const KEYS_PER_WRITER: usize = 1_000;

/// The machine's speed changes while it runs: both take turns, and the median of the ratios counts.
const TURNS: usize = 9;
const TURN: Duration = Duration::from_secs(1);

pub async fn run(world: &World) -> Result<()> {
    let directory = Directory::new(world)?;
    let raw_log = RawLog::start(&directory.path().join("raw-log"))?;
    let data = Directory::new(world)?;
    let store = open(world, &data).await?;
    let mut value = vec![0; VALUE_BYTES];
    world.fill(&mut value);
    let value = Bytes::from(value);

    let (record, log) = (value.clone(), raw_log);
    let raw: Write = Arc::new(move |_, _| {
        let (log, record) = (log.clone(), record.clone());
        Box::pin(async move { log.append(record).await })
    });
    let (put, target) = (value.clone(), store.clone());
    let durable: Write = Arc::new(move |writer, number| {
        let (store, value) = (target.clone(), put.clone());
        Box::pin(async move {
            store.put(format!("bench/{writer:03}/{:04}", number % KEYS_PER_WRITER), value).await?;
            Ok(())
        })
    });

    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let limit = load::run(world, WRITERS, TURN, &raw).await?;
        let ours = load::run(world, WRITERS, TURN, &durable).await?;
        turns.push((ours.per_second / limit.per_second, ours, limit));
    }
    turns.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, ours, limit) = &turns[TURNS / 2];
    line(
        &format!("durable puts of 1 KiB, {WRITERS} writers"),
        &format!("{:.0}/s", ours.per_second),
        &format!(
            "p50 {}; raw log {:.0}/s, ratio {ratio:.2} ({:.2} to {:.2}), goal 0.80",
            millis(ours.median),
            limit.per_second,
            turns[0].0,
            turns[TURNS - 1].0
        ),
    );

    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let limit = bare_sync(world, &directory.path().join("bare-sync"), &value, TURN)?;
        let log = load::run(world, 1, TURN, &raw).await?.median;
        let ours = load::run(world, 1, TURN, &durable).await?.median;
        turns.push((ours.as_secs_f64() / limit.as_secs_f64(), ours, log, limit));
    }
    turns.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, ours, log, limit) = &turns[TURNS / 2];
    line(
        "a durable put of 1 KiB, 1 writer",
        &format!("p50 {}", millis(*ours)),
        &format!(
            "write and fdatasync {}, ratio {ratio:.2} ({:.2} to {:.2}), goal 1.30; raw log {}",
            millis(*limit),
            turns[0].0,
            turns[TURNS - 1].0,
            millis(*log)
        ),
    );
    store.shutdown().await;
    Ok(())
}
