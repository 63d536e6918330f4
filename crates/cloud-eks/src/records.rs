//! Following the records of clusters and node groups: which one has changed, never how. Whoever hears of it looks at the record.

use std::collections::BTreeSet;

use cloud_iam::records::{Record, RecordError, key_of};
use cloud_wire::AwsError;
use store::{KeyRange, Keyspace, RangeRequest, WatchError, WatchRequest, Watcher};

use crate::model::{Cluster, Nodegroup};
use crate::reconcile::Key;
use crate::service::Eks;

/// Tells which clusters and node groups have changed, from a point on.
pub(crate) struct RecordWatch(Watcher);

impl RecordWatch {
    /// Waits for changes; each key once. May be cancelled without losing any.
    pub(crate) async fn next(&mut self) -> Result<BTreeSet<Key>, WatchError> {
        Ok(self.0.next().await?.events.iter().filter_map(|event| parse(&event.kv.key)).collect())
    }
}

/// What a key of the keyspace is the record of.
fn parse(key: &[u8]) -> Option<Key> {
    let (kind, name) = std::str::from_utf8(key).ok()?.split_once('/')?;
    match kind {
        Cluster::KIND => Some(Key::Cluster(name.to_owned())),
        Nodegroup::KIND => name.split_once('/').map(|(cluster, name)| Key::Nodegroup(cluster.into(), name.into())),
        _ => None,
    }
}

/// All clusters and node groups, and the watch of what happens to them from then on.
pub(crate) async fn follow(space: &Keyspace) -> Result<(BTreeSet<Key>, RecordWatch), RecordError> {
    let mut request = RangeRequest::new(KeyRange::all());
    request.keys_only = true;
    let found = space.range(request).await?;
    let request = WatchRequest { from: Some(found.revision + 1), ..WatchRequest::new(KeyRange::all()) };
    let watcher = space.watch(request).await?;
    Ok((found.kvs.iter().filter_map(|kv| parse(&kv.key)).collect(), RecordWatch(watcher)))
}

/// Tells which clusters have changed, from a point on.
pub struct ClusterWatch(Watcher);

impl ClusterWatch {
    /// Waits for changes and returns the names of the clusters. May be cancelled without losing any.
    ///
    /// # Errors
    /// The store has closed, or the watch fell too far behind: list and watch again.
    pub async fn next(&mut self) -> Result<BTreeSet<String>, WatchError> {
        let batch = self.0.next().await?;
        let name = |event: &store::Event| match parse(&event.kv.key)? {
            Key::Cluster(name) => Some(name),
            Key::Nodegroup(..) => None,
        };
        Ok(batch.events.iter().filter_map(name).collect())
    }
}

impl Eks {
    /// The names of all clusters, and the watch of what happens to them from then on, through whichever process.
    ///
    /// # Errors
    /// The store's.
    pub async fn follow_clusters(&self) -> Result<(BTreeSet<String>, ClusterWatch), AwsError> {
        let range = KeyRange::prefix(key_of::<Cluster>(""));
        let mut request = RangeRequest::new(range.clone());
        request.keys_only = true;
        let space = &self.0.parts.space;
        let found = space.range(request).await.map_err(RecordError::from)?;
        let request = WatchRequest { from: Some(found.revision + 1), ..WatchRequest::new(range) };
        let watcher = space.watch(request).await.map_err(RecordError::from)?;
        let names = found.kvs.iter().filter_map(|kv| match parse(&kv.key)? {
            Key::Cluster(name) => Some(name),
            Key::Nodegroup(..) => None,
        });
        Ok((names.collect(), ClusterWatch(watcher)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_what_they_are_of() {
        let group = Key::Nodegroup("blue".into(), "workers".into());
        for (key, expected) in [
            (key_of::<Cluster>("blue"), Some(Key::Cluster("blue".into()))),
            (key_of::<Nodegroup>("blue/workers"), Some(group)),
            ("update/blue/1".to_owned(), None),
            ("cluster".to_owned(), None),
        ] {
            assert_eq!(parse(key.as_bytes()), expected, "{key}");
        }
    }
}
