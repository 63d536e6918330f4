//! The process that is killed: writers who report each operation after the store has acknowledged it, never before.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use store::{Op, Revision, Store, StoreError, Txn};
use world::World;

use crate::plan::{self, LONG_TTL_SECONDS, Step, WRITERS};

/// Where each writer goes on, and whether its lease is granted: what the parent found in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    pub sequence: u64,
    pub leased: bool,
}

/// `12,1 7,0 …`, one per writer.
pub fn encode(starts: &[Start]) -> String {
    starts.iter().map(|start| format!("{},{} ", start.sequence, u8::from(start.leased))).collect()
}

pub fn decode(text: &str) -> Vec<Start> {
    let parse = |start: &str| {
        let (sequence, leased) = start.split_once(',').expect("a start is two numbers");
        Start { sequence: sequence.parse().expect("a sequence number"), leased: leased == "1" }
    };
    text.split_whitespace().map(parse).collect()
}

/// One line of the reports: the store acknowledged `sequence` of `writer` when it was at least at `revision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub writer: u64,
    pub sequence: u64,
    /// 0 where the answer does not say.
    pub revision: Revision,
    /// What a compaction was acknowledged for, else 0.
    pub compacted: Revision,
}

impl Report {
    fn line(self) -> String {
        format!("done {} {} {} {}\n", self.writer, self.sequence, self.revision, self.compacted)
    }

    /// Nothing when the line says something else.
    pub fn parse(line: &str) -> Option<Report> {
        let mut words = line.strip_prefix("done ")?.split(' ');
        let mut number = || words.next()?.parse::<i64>().ok();
        let (writer, sequence, revision, compacted) = (number()?, number()?, number()?, number()?);
        Some(Report { writer: writer as u64, sequence: sequence as u64, revision, compacted })
    }
}

/// Writes until it is killed.
pub async fn run(world: &World, store: Store, seed: u64, starts: Vec<Start>) {
    assert_eq!(starts.len() as u64, WRITERS);
    let (store, mut tasks) = (Arc::new(store), Vec::new());
    for (writer, start) in (0..).zip(starts) {
        let store = store.clone();
        tasks.push(world.spawn("writer", async move {
            let Start { mut sequence, mut leased } = start;
            loop {
                let step = plan::step(seed, writer, sequence, leased);
                let (revision, compacted) = match act(&store, seed, writer, sequence, &step).await {
                    Ok(told) => told,
                    Err(error) => {
                        // The parent knows that a child does not end by itself, and shows what it said.
                        eprintln!("writer {writer} sequence {sequence} {step:?}: {error}");
                        std::process::exit(1);
                    }
                };
                leased = match step {
                    Step::Grant { .. } => true,
                    Step::Revoke { .. } => false,
                    _ => leased,
                };
                let line = Report { writer, sequence, revision, compacted }.line();
                // One write per line: the pipe takes lines of this length whole.
                if std::io::stderr().write_all(line.as_bytes()).is_err() {
                    return;
                }
                sequence += 1;
            }
        }));
    }
    for task in tasks {
        task.finished().await;
    }
}

/// The revision that the answer tells, and the compaction that it acknowledges.
async fn act(
    store: &Store,
    seed: u64,
    writer: u64,
    sequence: u64,
    step: &Step,
) -> Result<(Revision, Revision), StoreError> {
    if let Some(txn) = step.txn(plan::value(seed, writer, sequence)) {
        return Ok((store.txn(txn).await?.revision, 0));
    }
    match step {
        Step::Compact { keep } => {
            let revision = (store.current_revision().await? - keep).max(1);
            return match store.compact(revision).await {
                Ok(()) => Ok((0, revision)),
                Err(StoreError::Compacted { .. }) => Ok((0, 0)),
                Err(error) => Err(error),
            };
        }
        Step::Expire { id } => {
            match store.lease_grant(Duration::from_secs(1), Some(*id)).await {
                // An earlier life was killed after it had granted it.
                Ok(_) | Err(StoreError::LeaseExists { .. }) => {}
                Err(error) => return Err(error),
            }
            let put = Op::Put { key: plan::expiring(*id), value: Default::default(), lease: *id, prev_kv: false };
            match store.txn(Txn::of(put)).await {
                Ok(result) => return Ok((result.revision, 0)),
                // A slow machine: it has run out.
                Err(StoreError::LeaseNotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Step::Grant { id } => {
            store.lease_grant(Duration::from_secs(LONG_TTL_SECONDS), Some(*id)).await?;
        }
        Step::Revoke { id } => store.lease_revoke(*id).await?,
        Step::Delete { .. } | Step::Put { .. } | Step::Together { .. } => unreachable!("they are transactions"),
    }
    Ok((0, 0))
}
