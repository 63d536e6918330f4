//! The EKS side of bringing a cluster back to a point in its past, beside the present one or in its place.
//!
//! The record of the target carries a [`Restoring`] from before the first object is written until the last one is; as long as it
//! is there no control plane runs, so half a cluster is never served. Whoever finds one after a restart ends it, one way or the
//! other: [`Eks::restores`]. The objects themselves are the caller's business.

use cloud_iam::records::{Record, Tx, decode, key_of};
use cloud_wire::AwsError;
use serde::{Deserialize, Serialize};
use store::{KeyRange, KeyValue, Revision};

use crate::cluster_create::check_name;
use crate::error;
use crate::model::{AccessEntry, Cluster, ClusterStatus, Nodegroup, NodegroupStatus};
use crate::reconcile::Key;
use crate::service::Eks;

/// Access entries in one transaction: a store takes 128 operations, and the cluster's record may be among them.
const BATCH: usize = 100;

/// A restore under way, in the record of the cluster that it makes or replaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Restoring {
    /// Tells the objects of this restore from those that were there before.
    pub generation: i64,
    /// The store's revision that it goes back to.
    pub revision: Revision,
    /// Whether the cluster was there before.
    pub replaces: bool,
    /// The node groups that are made when the objects are complete.
    pub nodegroups: Vec<Nodegroup>,
}

/// A cluster as EKS knew it at a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// Its record.
    pub cluster: Cluster,
    /// Those that were to stay.
    pub nodegroups: Vec<Nodegroup>,
    /// All of them.
    pub entries: Vec<AccessEntry>,
}

impl Past {
    /// The keys of EKS's keyspace that say what a cluster is.
    pub fn ranges(cluster: &str) -> [KeyRange; 3] {
        [
            KeyRange::key(key_of::<Cluster>(cluster)),
            KeyRange::prefix(key_of::<Nodegroup>(&format!("{cluster}/"))),
            KeyRange::prefix(key_of::<AccessEntry>(&format!("{cluster}/"))),
        ]
    }

    /// The cluster that these records describe; `None` if there was none.
    ///
    /// # Errors
    /// Records that cannot be read.
    pub fn read(records: [Vec<KeyValue>; 3]) -> Result<Option<Past>, AwsError> {
        let [clusters, nodegroups, entries] = records;
        let Some(cluster) = read::<Cluster>(clusters)?.pop() else { return Ok(None) };
        let stays = |group: &Nodegroup| {
            !matches!(
                group.status,
                NodegroupStatus::Deleting | NodegroupStatus::CreateFailed | NodegroupStatus::DeleteFailed
            )
        };
        let nodegroups = read::<Nodegroup>(nodegroups)?.into_iter().filter(stays).collect();
        Ok(Some(Past { cluster, nodegroups, entries: read(entries)? }))
    }
}

fn read<T: Record>(records: Vec<KeyValue>) -> Result<Vec<T>, AwsError> {
    let records = records.into_iter().map(|kv| decode(&String::from_utf8_lossy(&kv.key), &kv.value));
    Ok(records.collect::<Result<_, _>>()?)
}

impl Eks {
    /// Makes the record of a new cluster from that of a past one: its configuration and access entries, but an identity of its own.
    ///
    /// # Errors
    /// `ResourceInUseException` for a name that is taken, `InvalidParameterException` for one that cannot be.
    pub async fn begin_restore_as(
        &self,
        past: &Past,
        name: &str,
        generation: i64,
        revision: Revision,
    ) -> Result<(), AwsError> {
        check_name(name)?;
        let world = &self.0.parts.world;
        let now = world.now();
        let mut cluster = Cluster {
            name: name.to_owned(),
            arn: format!("arn:aws:eks:{}:{}:cluster/{name}", self.region(), self.account()),
            id: world.random_string("0123456789ABCDEF", 32),
            created: now.micros(),
            status: ClusterStatus::Creating,
            due: (now + self.0.parts.pace.cluster_create).micros(),
            endpoint: None,
            health: Vec::new(),
            update: None,
            token: None,
            digest: String::new(),
            restoring: None,
            ..past.cluster.clone()
        };
        cluster.network.cluster_security_group = None;
        cluster.provider = past.cluster.provider.as_ref().and_then(|provider| self.provider_anew(provider, name));
        let nodegroups = past.nodegroups.iter().map(|group| self.anew(group, name)).collect();
        cluster.restoring = Some(Restoring { generation, revision, replaces: false, nodegroups });
        let entries: Vec<AccessEntry> = past
            .entries
            .iter()
            .map(|entry| AccessEntry {
                cluster: name.to_owned(),
                arn: entry.arn.replacen(
                    &format!(":access-entry/{}/", entry.cluster),
                    &format!(":access-entry/{name}/"),
                    1,
                ),
                ..entry.clone()
            })
            .collect();
        let cluster = &cluster;
        self.transact(|mut tx| async move {
            if tx.get::<Cluster>(name).await?.is_some() {
                return Err(
                    error::in_use(format!("Cluster already exists with name: {name}")).with("clusterName", name)
                );
            }
            tx.put(name, cluster);
            Ok(())
        })
        .await?;
        for entries in entries.chunks(BATCH) {
            self.transact(|mut tx| async move {
                entries.iter().for_each(|entry| tx.put(&format!("{name}/{}", entry.principal), entry));
                Ok::<_, AwsError>(())
            })
            .await?;
        }
        Ok(())
    }

    /// Takes a cluster out of service, to be replaced by its past. Its configuration stays; node groups that it no longer has are
    /// made anew.
    ///
    /// # Errors
    /// `ResourceNotFoundException` for a cluster that does not exist, `ResourceInUseException` for one that is busy, or whose node
    /// groups are.
    pub async fn begin_restore_in_place(
        &self,
        past: &Past,
        generation: i64,
        revision: Revision,
    ) -> Result<(), AwsError> {
        let name = past.cluster.name.as_str();
        self.transact(|mut tx| async move {
            let mut cluster = tx.get::<Cluster>(name).await?.ok_or_else(|| error::no_cluster(name))?;
            let busy = |what: String| error::in_use(what).with("clusterName", name);
            if cluster.status != ClusterStatus::Active {
                let status = cluster.status.name();
                return Err(busy(format!("Cluster {name} is {status}: it can be replaced when it is ACTIVE")));
            }
            let groups = tx.list::<Nodegroup>(&format!("{name}/")).await?;
            for (_, group) in &groups {
                if matches!(
                    group.status,
                    NodegroupStatus::Creating | NodegroupStatus::Updating | NodegroupStatus::Deleting
                ) {
                    let (group, status) = (&group.name, group.status.name());
                    return Err(busy(format!(
                        "Node group {group} of cluster {name} is {status}: wait until it has settled"
                    )));
                }
            }
            let missing = past.nodegroups.iter().filter(|then| groups.iter().all(|(_, now)| now.name != then.name));
            let nodegroups = missing.map(|group| self.anew(group, name)).collect();
            cluster.restoring = Some(Restoring { generation, revision, replaces: true, nodegroups });
            cluster.status = ClusterStatus::Updating;
            tx.put(name, &cluster);
            Ok(())
        })
        .await
    }

    /// A node group like a past one, of another cluster perhaps: its instances are new.
    fn anew(&self, past: &Nodegroup, cluster: &str) -> Nodegroup {
        let uuid = self.0.parts.world.uuid();
        let (name, now) = (&past.name, self.0.parts.world.now());
        Nodegroup {
            cluster: cluster.to_owned(),
            arn: format!("arn:aws:eks:{}:{}:nodegroup/{cluster}/{name}/{uuid}", self.region(), self.account()),
            uuid,
            created: now.micros(),
            modified: now.micros(),
            applied_labels: past.labels.clone(),
            applied_taints: past.taints.clone(),
            status: NodegroupStatus::Creating,
            since: now.micros(),
            due: (now + self.0.parts.pace.nodegroup_create).micros(),
            unready_since: None,
            health: Vec::new(),
            update: None,
            token: None,
            digest: String::new(),
            ..past.clone()
        }
    }

    /// The objects are complete: the cluster goes on to ACTIVE, its missing node groups to CREATING.
    ///
    /// # Errors
    /// The store's.
    pub async fn finish_restore(&self, name: &str, generation: i64) -> Result<(), AwsError> {
        let now = self.0.parts.world.now();
        let made = self
            .transact(|mut tx| async move {
                let Some((mut cluster, restoring)) = restoring(&mut tx, name, generation).await? else {
                    return Ok(Vec::new());
                };
                if restoring.replaces {
                    cluster.status = ClusterStatus::Active;
                }
                let mut made = Vec::new();
                for mut group in restoring.nodegroups {
                    if tx.get::<Nodegroup>(&group.key()).await?.is_some() {
                        continue;
                    }
                    (group.since, group.due) = (now.micros(), (now + self.0.parts.pace.nodegroup_create).micros());
                    tx.put(&group.key(), &group);
                    if cluster.authentication.has_entries() {
                        crate::access_entries::ensure_node_entry(self, &mut tx, &group).await?;
                    }
                    made.push(group.name.clone());
                }
                tx.put(name, &cluster);
                Ok(made)
            })
            .await?;
        self.poke(Key::Cluster(name.to_owned()));
        for group in made {
            self.poke(Key::Nodegroup(name.to_owned(), group));
        }
        Ok(())
    }

    /// Undoes a restore whose objects are not complete: a new cluster is gone, a replaced one works again as it did.
    ///
    /// # Errors
    /// The store's.
    pub async fn abandon_restore(&self, name: &str, generation: i64) -> Result<(), AwsError> {
        loop {
            let more = self.transact(|mut tx| async move { abandon(&mut tx, name, generation).await }).await?;
            if !more {
                break;
            }
        }
        self.poke(Key::Cluster(name.to_owned()));
        Ok(())
    }

    /// The restores that are under way, by cluster. After a start those that the end of the last process interrupted.
    ///
    /// # Errors
    /// The store's.
    pub async fn restores(&self) -> Result<Vec<(String, Restoring)>, AwsError> {
        let clusters = self.clusters().await?;
        Ok(clusters.into_iter().filter_map(|cluster| Some((cluster.name, cluster.restoring?))).collect())
    }
}

/// The cluster and the restore that is taken out of it, if it is this one.
async fn restoring(tx: &mut Tx, name: &str, generation: i64) -> Result<Option<(Cluster, Restoring)>, AwsError> {
    let Some(mut cluster) = tx.get::<Cluster>(name).await? else { return Ok(None) };
    let restoring = cluster.restoring.take().filter(|restoring| restoring.generation == generation);
    Ok(restoring.map(|restoring| (cluster, restoring)))
}

/// One transaction of undoing a restore; whether there is more to undo.
async fn abandon(tx: &mut Tx, name: &str, generation: i64) -> Result<bool, AwsError> {
    let Some((mut cluster, restoring)) = restoring(tx, name, generation).await? else { return Ok(false) };
    if restoring.replaces {
        cluster.status = ClusterStatus::Active;
        tx.put(name, &cluster);
        return Ok(false);
    }
    let entries = tx.list::<AccessEntry>(&format!("{name}/")).await?;
    for (key, _) in entries.iter().take(BATCH) {
        tx.delete::<AccessEntry>(key);
    }
    let more = entries.len() > BATCH;
    if !more {
        tx.delete::<Cluster>(name);
    }
    Ok(more)
}
