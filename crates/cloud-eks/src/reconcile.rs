//! Life cycles: per cluster and node group at most one worker, which looks at the record and does the next step until the
//! record is settled. A trigger carries no data, so a restart, a call of the API and an instance that died are one path. What the
//! API writes, here or in another process, triggers through the store alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloud_ec2::InstanceChange;
use cloud_iam::records::RecordError;
use cloud_wire::AwsError;
use tokio::sync::Notify;
use world::Timestamp;

use crate::records::{self, RecordWatch};
use crate::service::Eks;

/// How long a worker waits after an error that may pass.
const RETRY: Duration = Duration::from_secs(1);

/// What a worker works on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Cluster(String),
    Nodegroup(String, String),
}

/// What is left to do after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, until something changes.
    Settled,
    /// Look again after this time, or when something changes.
    After(Duration),
}

#[derive(Default)]
pub(crate) struct Workers(Mutex<BTreeMap<Key, Arc<Worker>>>);

#[derive(Default)]
struct Worker {
    changed: Notify,
    /// Something has changed since the last look.
    dirty: std::sync::atomic::AtomicBool,
}

impl Workers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Worker>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long until a time on the wall clock.
pub(crate) fn until(due: i64, now: Timestamp) -> Option<Duration> {
    u64::try_from(due - now.micros()).ok().filter(|micros| *micros > 0).map(Duration::from_micros)
}

impl Eks {
    /// Resumes all life cycles from what is stored, and follows instances from then on.
    ///
    /// # Errors
    /// The store's.
    pub async fn run(&self) -> Result<(), AwsError> {
        let mut records = self.follow_all().await?;
        let (eks, tasks) = (self.clone(), self.0.parts.tasks.clone());
        let stop = tasks.stop();
        tasks.spawn("eks records", async move {
            loop {
                match stop.or(records.next()).await {
                    None | Some(Err(store::WatchError::Closed)) => break,
                    Some(Ok(changed)) => changed.into_iter().for_each(|key| eks.poke(key)),
                    Some(Err(store::WatchError::Compacted { .. })) => match eks.follow_all().await {
                        Ok(again) => records = again,
                        // The store has ended, or ends its watches for another reason than their age.
                        Err(_) => break,
                    },
                }
            }
        });
        let (eks, tasks) = (self.clone(), self.0.parts.tasks.clone());
        let stop = tasks.stop();
        tasks.spawn("eks instances", async move {
            loop {
                match stop.or(eks.follow_instances()).await {
                    None | Some(Err(store::WatchError::Closed)) => break,
                    Some(Ok(()) | Err(store::WatchError::Compacted { .. })) => {}
                }
            }
        });
        Ok(())
    }

    /// Makes a worker look at everything there is; returns what tells of changes from then on.
    async fn follow_all(&self) -> Result<RecordWatch, RecordError> {
        let (keys, watch) = records::follow(&self.0.parts.space).await?;
        keys.into_iter().for_each(|key| self.poke(key));
        Ok(watch)
    }

    /// Looks at a node group again: its nodes have changed. The region calls it so that nothing waits for the next poll.
    pub fn nodes_changed(&self, cluster: &str, nodegroup: &str) {
        self.poke(Key::Nodegroup(cluster.to_owned(), nodegroup.to_owned()));
    }

    async fn follow_instances(&self) -> Result<(), store::WatchError> {
        let Ok((instances, mut watch)) = self.0.parts.ec2.instances().await else {
            return Err(store::WatchError::Closed);
        };
        // Who had which instance: the end of a record no longer tells.
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        for instance in instances {
            owners.insert(instance.id, instance.owner);
        }
        loop {
            for change in watch.next().await? {
                let owner = match change {
                    InstanceChange::Put(instance) => {
                        owners.insert(instance.id.clone(), instance.owner.clone());
                        Some(instance.owner)
                    }
                    InstanceChange::Gone(id) => owners.remove(&id),
                };
                let mut parts = owner.as_deref().unwrap_or_default().splitn(3, '/');
                if let (Some("eks"), Some(cluster), Some(nodegroup)) = (parts.next(), parts.next(), parts.next()) {
                    self.nodes_changed(cluster, nodegroup);
                }
            }
        }
    }

    /// Makes a worker look at something.
    pub(crate) fn poke(&self, key: Key) {
        let mut workers = self.0.workers.lock();
        if let Some(worker) = workers.get(&key) {
            worker.dirty.store(true, std::sync::atomic::Ordering::Release);
            worker.changed.notify_one();
            return;
        }
        let worker = Arc::new(Worker::default());
        workers.insert(key.clone(), worker.clone());
        drop(workers);
        let eks = self.clone();
        let name = match key {
            Key::Cluster(_) => "eks cluster",
            Key::Nodegroup(..) => "eks nodegroup",
        };
        self.0.parts.tasks.spawn(name, async move { eks.work(key, worker).await });
    }

    async fn work(&self, key: Key, worker: Arc<Worker>) {
        let stop = self.0.parts.tasks.stop();
        loop {
            worker.dirty.store(false, std::sync::atomic::Ordering::Release);
            let step = async {
                match &key {
                    Key::Cluster(name) => self.reconcile_cluster(name).await,
                    Key::Nodegroup(cluster, name) => self.reconcile_nodegroup(cluster, name).await,
                }
            };
            let Some(next) = stop.or(step).await else { break };
            let wait = match next {
                Ok(Next::Settled) => {
                    let mut workers = self.0.workers.lock();
                    if worker.dirty.load(std::sync::atomic::Ordering::Acquire) {
                        continue;
                    }
                    workers.remove(&key);
                    return;
                }
                Ok(Next::After(wait)) => wait,
                Err(_) => RETRY,
            };
            let changed = async {
                tokio::select! {
                    biased;
                    () = worker.changed.notified() => {}
                    () = self.0.parts.world.sleep(wait) => {}
                }
            };
            if stop.or(changed).await.is_none() {
                break;
            }
        }
        self.0.workers.lock().remove(&key);
    }
}
