//! The state machine of instances, driven by one task that looks at what is due.
//!
//! | state | when due | next |
//! |---|---|---|
//! | pending | booted | running |
//! | running | never | |
//! | shutting-down | stopped | terminated; interfaces and their addresses are given back |
//! | terminated | shown long enough | the record is deleted |

use std::collections::BTreeMap;
use std::time::Duration;

use cloud_iam::records::{Record, RecordError, Tx, decode, key_of};
use cloud_wire::AwsError;
use store::{EventKind, KeyRange, RangeRequest, Revision, WatchError, WatchRequest, Watcher};
use world::{Tasks, Timestamp};

use crate::launch::owned_key;
use crate::model::{Instance, InstanceState, Owned};
use crate::network_interfaces;
use crate::service::Ec2;

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From launch to running.
    pub boot: Duration,
    /// From terminate to terminated.
    pub shut_down: Duration,
    /// How long a terminated instance is shown.
    pub forget: Duration,
}

impl Pace {
    /// As fast as the machine.
    pub const INSTANT: Pace = Pace { boot: Duration::ZERO, shut_down: Duration::ZERO, forget: Duration::from_secs(60) };
    /// As AWS takes.
    pub const REAL: Pace =
        Pace { boot: Duration::from_secs(15), shut_down: Duration::from_secs(30), forget: Duration::from_secs(3600) };
}

/// What has become of an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum InstanceChange {
    /// It is new or has another state, tag or address.
    Put(Box<Instance>),
    /// Its record is gone; the id.
    Gone(String),
}

/// The changes of instances from a point on.
pub struct InstanceWatch {
    watcher: Watcher,
}

impl InstanceWatch {
    /// Waits for changes. May be cancelled without losing any.
    ///
    /// # Errors
    /// The store has closed, or the watch fell too far behind: list and watch again.
    pub async fn next(&mut self) -> Result<Vec<InstanceChange>, WatchError> {
        let batch = self.watcher.next().await?;
        let prefix = Instance::KIND.len() + 1;
        let change = |event: &store::Event| {
            let key = String::from_utf8_lossy(&event.kv.key).into_owned();
            match event.kind {
                EventKind::Delete => Some(InstanceChange::Gone(key[prefix..].to_owned())),
                EventKind::Put => {
                    decode(&key, &event.kv.value).ok().map(|instance| InstanceChange::Put(Box::new(instance)))
                }
            }
        };
        Ok(batch.events.iter().filter_map(change).collect())
    }
}

/// What the state machine does with an instance that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Run,
    Terminate,
    Forget,
    Nothing,
}

fn step(instance: &Instance, now: Timestamp) -> Step {
    if instance.due.is_none_or(|due| due > now.micros()) {
        return Step::Nothing;
    }
    match instance.state {
        InstanceState::Pending => Step::Run,
        InstanceState::Running => Step::Nothing,
        InstanceState::ShuttingDown => Step::Terminate,
        InstanceState::Terminated => Step::Forget,
    }
}

/// Reads an instance without making the transaction depend on it.
pub(crate) async fn peek(tx: &mut Tx, id: &str) -> Result<Option<Instance>, RecordError> {
    let key = key_of::<Instance>(id);
    let found = tx.space().get(key.clone()).await?;
    found.map(|kv| decode(&key, &kv.value)).transpose()
}

impl Ec2 {
    /// All instances, and the watch of what happens to them from then on.
    ///
    /// # Errors
    /// The store's.
    pub async fn instances(&self) -> Result<(Vec<Instance>, InstanceWatch), AwsError> {
        let (instances, revision) = self.snapshot().await?;
        let watcher = self.watch_from(revision + 1).await?;
        Ok((instances, InstanceWatch { watcher }))
    }

    async fn snapshot(&self) -> Result<(Vec<Instance>, Revision), RecordError> {
        let prefix = key_of::<Instance>("");
        let result = self.0.space.range(RangeRequest::new(KeyRange::prefix(prefix))).await?;
        let decoded = result.kvs.iter().map(|kv| decode(&String::from_utf8_lossy(&kv.key), &kv.value));
        Ok((decoded.collect::<Result<_, _>>()?, result.revision))
    }

    async fn watch_from(&self, from: Revision) -> Result<Watcher, RecordError> {
        let range = KeyRange::prefix(key_of::<Instance>(""));
        Ok(self.0.space.watch(WatchRequest { from: Some(from), ..WatchRequest::new(range) }).await?)
    }

    /// Starts the task that moves instances on.
    pub fn run(&self, tasks: &Tasks) {
        let (ec2, stop) = (self.clone(), tasks.stop());
        tasks.spawn("ec2 instances", async move {
            // An error ends a round, not the task: it lists again, as after a restart.
            while !stop.is_stopped() {
                let ended = stop.or(ec2.follow()).await;
                if matches!(ended, None | Some(Err(Ended::Closed))) {
                    break;
                }
            }
        });
    }

    async fn follow(&self) -> Result<(), Ended> {
        let (instances, mut watch) = self.instances().await.map_err(|_| Ended::Closed)?;
        let mut due: BTreeMap<String, i64> =
            instances.into_iter().filter_map(|instance| Some((instance.id, instance.due?))).collect();
        loop {
            let now = self.0.world.now().micros();
            let ready: Vec<String> = due.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
            for id in ready {
                due.remove(&id);
                // A failure leaves the instance for the next round.
                self.advance(&id).await.map_err(|_| Ended::Again)?;
            }
            let next = due.values().min().copied();
            let wait = async {
                match next {
                    Some(at) => self.0.world.sleep(Duration::from_micros(u64::try_from(at - now).unwrap_or(0))).await,
                    None => std::future::pending().await,
                }
            };
            let changes = tokio::select! {
                biased;
                changes = watch.next() => changes,
                () = wait => continue,
            };
            for change in
                changes.map_err(|error| if error == WatchError::Closed { Ended::Closed } else { Ended::Again })?
            {
                match change {
                    InstanceChange::Put(instance) => match instance.due {
                        Some(at) => due.insert(instance.id, at),
                        None => due.remove(&instance.id),
                    },
                    InstanceChange::Gone(id) => due.remove(&id),
                };
            }
        }
    }

    /// Takes the step that is due, if one is.
    async fn advance(&self, id: &str) -> Result<(), AwsError> {
        self.transact(|mut tx| async move {
            let tx = &mut tx;
            let Some(mut instance) = tx.get::<Instance>(id).await? else { return Ok(()) };
            let now = self.0.world.now();
            match step(&instance, now) {
                Step::Nothing => return Ok(()),
                Step::Run => {
                    instance.state = InstanceState::Running;
                    instance.due = None;
                }
                Step::Terminate => {
                    for interface in std::mem::take(&mut instance.interfaces) {
                        network_interfaces::remove(tx, &interface).await?;
                    }
                    instance.state = InstanceState::Terminated;
                    instance.due = Some((now + self.0.pace.forget).micros());
                }
                Step::Forget => {
                    tx.delete::<Instance>(id);
                    tx.delete::<Owned>(&owned_key(&instance.owner, id));
                    return Ok(());
                }
            }
            tx.put(id, &instance);
            Ok(())
        })
        .await
    }
}

enum Ended {
    /// The store has closed.
    Closed,
    /// Something was missed or failed: begin again.
    Again,
}
