//! An index of all live keys in memory, kept in step with the store by a watch, so that signatures are verified without waiting.
//!
//! The store is the truth. One task applies its events in order; who has just written waits for the index to catch up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{EventKind, KeyRange, Keyspace, RangeRequest, Revision, WatchRequest};
use world::watch;
use world::{Tasks, Timestamp};

use crate::call::Caller;
use crate::iam::model::{AccessKey, Session};
use crate::records::{Record, RecordError, decode};

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// It may.
    Active,
    /// Its owner has switched it off: `InvalidClientTokenId`.
    Inactive,
}

/// What a verifier needs to know of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The secret that signs.
    pub secret: String,
    /// Temporary keys are only good together with this token.
    pub session_token: Option<String>,
    /// Whose key it is.
    pub caller: Caller,
    /// When a temporary key ends.
    pub expires: Option<Timestamp>,
    /// Active or not.
    pub status: KeyStatus,
}

/// See the module.
pub(crate) struct Index {
    entries: Mutex<BTreeMap<String, Credential>>,
    applied: watch::Sender<Revision>,
}

impl Index {
    pub(crate) fn lookup(&self, access_key_id: &str) -> Option<Credential> {
        self.entries().get(access_key_id).cloned()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Credential>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what was written at `revision` is in the index, or the index has ended.
    pub(crate) async fn caught_up(&self, revision: Revision) {
        let mut applied = self.applied.subscribe();
        // An error means that the task has ended and the region with it.
        let _ = applied.wait_for(|applied| *applied >= revision).await;
    }

    /// Loads what is stored and starts the task that follows it.
    pub(crate) async fn open(space: &Keyspace, account: &str, tasks: &Tasks) -> Result<Arc<Index>, RecordError> {
        let (applied, _) = watch::channel(0);
        let index = Arc::new(Index { entries: Mutex::default(), applied });
        let revision = index.load(space, account).await?;
        // Both kinds lie below one prefix, so that one watch sees them in order.
        let request = WatchRequest { from: Some(revision + 1), ..WatchRequest::new(KeyRange::prefix("credential/")) };
        let mut watcher = space.watch(request).await?;
        let (following, account, stop, space) = (index.clone(), account.to_owned(), tasks.stop(), space.clone());
        tasks.spawn("iam credentials", async move {
            loop {
                let Some(batch) = stop.or(watcher.next()).await else { break };
                match batch {
                    Ok(batch) => {
                        for event in &batch.events {
                            let value = (event.kind == EventKind::Put).then_some(&event.kv.value[..]);
                            following.apply(&event.kv.key, value, &account);
                        }
                        following.applied.send_replace(batch.revision);
                    }
                    Err(store::WatchError::Closed) => break,
                    Err(store::WatchError::Compacted { .. }) => {
                        let Ok(revision) = following.load(&space, &account).await else { break };
                        let request = WatchRequest {
                            from: Some(revision + 1),
                            ..WatchRequest::new(KeyRange::prefix("credential/"))
                        };
                        let Ok(next) = space.watch(request).await else { break };
                        watcher = next;
                    }
                }
            }
            // Whoever waits must not wait for ever.
            following.applied.send_replace(Revision::MAX);
        });
        Ok(index)
    }

    async fn load(&self, space: &Keyspace, account: &str) -> Result<Revision, RecordError> {
        let result = space.range(RangeRequest::new(KeyRange::prefix("credential/"))).await?;
        self.entries().clear();
        for kv in &result.kvs {
            self.apply(&kv.key, Some(&kv.value), account);
        }
        self.applied.send_replace(result.revision);
        Ok(result.revision)
    }

    /// A record that cannot be read is no credential: whoever uses its key is refused.
    fn apply(&self, key: &[u8], value: Option<&[u8]>, account: &str) {
        let key = String::from_utf8_lossy(key);
        let Some(id) = key.rsplit('/').next() else { return };
        let credential = value.and_then(|bytes| {
            if key.starts_with(AccessKey::KIND) {
                decode::<AccessKey>(&key, bytes).ok().map(|record| record.credential(account))
            } else {
                decode::<Session>(&key, bytes).ok().map(|record| record.credential(account))
            }
        });
        match credential {
            Some(credential) => self.entries().insert(id.to_owned(), credential),
            None => self.entries().remove(id),
        };
    }
}
