//! Objects as keys and values of the store. The only file that names store keys.
//!
//! A key is `registry/<plural>.<group>/<namespace>/<name>`, without the namespace for cluster-scoped objects; the core group
//! leaves `.<group>` out. A value is what [`k8s_object::encode`] writes, without a resourceVersion.

use bytes::Bytes;
use k8s_object::{ApiError, NamespacedName, Object, Reason};
use store::{Compare, KeyRange, KeyValue, Keyspace, LeaseId, NO_LEASE, Op, Revision, StoreError, Txn};

use crate::encryption::Encryption;

const ROOT: &str = "registry/";
/// Where it is written what only one object may have; the value is the object's key.
const CLAIMS: &str = "claims/";

/// All keys of the API server.
pub(crate) fn everything() -> KeyRange {
    KeyRange::prefix(ROOT)
}

/// The key of an object.
pub(crate) fn key(group: &str, plural: &str, object: &NamespacedName) -> Bytes {
    let mut key =
        String::with_capacity(ROOT.len() + plural.len() + group.len() + object.namespace.len() + object.name.len() + 3);
    key.push_str(ROOT);
    key.push_str(plural);
    if !group.is_empty() {
        key.push('.');
        key.push_str(group);
    }
    key.push('/');
    if !object.namespace.is_empty() {
        key.push_str(&object.namespace);
        key.push('/');
    }
    key.push_str(&object.name);
    Bytes::from(key)
}

/// The keys of a resource's objects, of one namespace unless it is empty, after the key `after`.
pub(crate) fn keys(group: &str, plural: &str, namespace: &str, after: Option<&Bytes>) -> KeyRange {
    let first = key(group, plural, &NamespacedName::new(namespace, ""));
    let start = after.map_or_else(|| first.clone(), |after| [after.as_ref(), b"\0"].concat().into());
    // Every such key begins with `first`, which ends in a slash: the byte after it ends the range.
    let end = [&first[..first.len() - 1], &[b'/' + 1]].concat();
    KeyRange::span(start, end)
}

/// An object as it is stored.
///
/// # Errors
/// If it is damaged.
pub(crate) fn object(kv: &KeyValue) -> Result<Object, ApiError> {
    Object::from_stored(kv.value.clone(), kv.mod_revision).map_err(|error| {
        ApiError::internal(format!("the stored {} is damaged: {error}", String::from_utf8_lossy(&kv.key)))
    })
}

/// A key's parts.
#[derive(Debug, PartialEq, Eq)]
pub struct StoredKey<'a> {
    /// Empty for the core group.
    pub group: &'a str,
    pub plural: &'a str,
    /// Empty for cluster-scoped objects.
    pub namespace: &'a str,
    pub name: &'a str,
}

/// Reads a key of an API server's keyspace, without the keyspace's prefix; `None` for one that no API server writes.
pub fn parse(key: &[u8]) -> Option<StoredKey<'_>> {
    let text = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
    let (resource, object) = text.split_once('/')?;
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (namespace, name) = object.split_once('/').unwrap_or(("", object));
    Some(StoredKey { group, plural, namespace, name })
}

/// How a write ended.
pub(crate) enum Written {
    /// At this revision.
    Done(Revision),
    /// Somebody was faster: the object is not at the expected revision, or a claim is taken. The store's own revision then.
    Conflict(Revision),
}

/// What only one object may have, and which it takes or lets go together with a write of it: addresses and ports of Services. The
/// store decides who was first, so that it holds between servers of several processes too.
#[derive(Default)]
pub(crate) struct Claims {
    /// Must not be there yet, and is there afterwards; with what is written, which is the object's key where nothing is said.
    taken: Vec<(Bytes, Option<Bytes>)>,
    released: Vec<Bytes>,
    guards: Vec<Guard>,
}

/// What a write was judged by, of which nobody else may have written meanwhile: a key below `claims/` and its revision then. A write
/// that holds it moves it on.
pub(crate) struct Guard {
    key: Bytes,
    revision: Revision,
}

impl Guard {
    /// # Errors
    /// If the store cannot be read.
    pub(crate) async fn read(keyspace: &Keyspace, key: &str) -> Result<Guard, ApiError> {
        let key = Bytes::from(format!("{CLAIMS}{key}"));
        let found = keyspace.get(key.clone()).await.map_err(error)?;
        Ok(Guard { key, revision: found.map_or(0, |found| found.mod_revision) })
    }

    /// Of whoever wrote last; 0 if nobody has.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }
}

impl Claims {
    /// Takes what has this key below `claims/`.
    pub(crate) fn take(&mut self, key: &str) {
        self.taken.push((Bytes::from(format!("{CLAIMS}{key}")), None));
    }

    /// Creates an object whose being there is the claim: that of an address.
    pub(crate) fn create(&mut self, key: Bytes, value: Bytes) {
        self.taken.push((key, Some(value)));
    }

    /// Encrypts the objects that are written beside another, as the configuration has it.
    pub(crate) async fn seal(&mut self, encryption: &Encryption) -> Result<(), ApiError> {
        for (key, value) in &mut self.taken {
            let place = value.is_some().then(|| parse(key)).flatten();
            if let (Some(value), Some(place)) = (value, place) {
                *value = encryption.seal(place.group, place.plural, key, value).await?;
            }
        }
        Ok(())
    }

    /// Removes an object whose being there was the claim.
    pub(crate) fn remove(&mut self, key: Bytes) {
        self.released.push(key);
    }

    /// Lets go what has this key below `claims/`.
    pub(crate) fn release(&mut self, key: &str) {
        self.released.push(Bytes::from(format!("{CLAIMS}{key}")));
    }

    /// Only while nobody else has written what is guarded.
    pub(crate) fn guard(&mut self, guard: Guard) {
        self.guards.push(guard);
    }

    fn add_to(self, mut txn: Txn, object: &Bytes) -> Txn {
        for Guard { key, revision } in self.guards {
            txn = txn.and(Compare::unchanged(key.clone(), revision)).then(Op::put(key, object.clone()));
        }
        for (key, value) in self.taken {
            let value = value.unwrap_or_else(|| object.clone());
            txn = txn.and(Compare::absent(key.clone())).then(Op::put(key, value));
        }
        self.released.into_iter().fold(txn, |txn, key| txn.then(Op::delete(KeyRange::key(key))))
    }
}

/// Writes `value` if the key was last written at `expected` (0: does not exist).
pub(crate) async fn put(
    keyspace: &Keyspace,
    key: Bytes,
    value: Bytes,
    expected: Revision,
    lease: Option<LeaseId>,
    claims: Claims,
) -> Result<Written, ApiError> {
    let op = Op::Put { key: key.clone(), value, lease: lease.unwrap_or(NO_LEASE), prev_kv: false };
    commit(keyspace, claims.add_to(Txn::when(Compare::unchanged(key.clone(), expected)).then(op), &key)).await
}

/// Writes many new objects at once: all, if none of them is there, or none.
pub(crate) async fn create_all(keyspace: &Keyspace, objects: &[(Bytes, Bytes)]) -> Result<Written, ApiError> {
    let txn = objects.iter().fold(Txn::default(), |txn, (key, value)| {
        txn.and(Compare::absent(key.clone())).then(Op::put(key.clone(), value.clone()))
    });
    commit(keyspace, txn).await
}

/// Deletes the key if it was last written at `expected`.
pub(crate) async fn delete(
    keyspace: &Keyspace,
    key: Bytes,
    expected: Revision,
    claims: Claims,
) -> Result<Written, ApiError> {
    let op = Op::delete(KeyRange::key(key.clone()));
    commit(keyspace, claims.add_to(Txn::when(Compare::unchanged(key.clone(), expected)).then(op), &key)).await
}

async fn commit(keyspace: &Keyspace, txn: Txn) -> Result<Written, ApiError> {
    let result = keyspace.txn(txn).await.map_err(error)?;
    Ok(if result.succeeded { Written::Done(result.revision) } else { Written::Conflict(result.revision) })
}

/// Bytes that upstream's client of etcd sends at most.
const MAX_SENT_BYTES: usize = 2 << 20;

/// The refusal of an object that is too large to be stored, in the words of etcd's server, or of its client where it does not even
/// send it. Neither is a status of the API.
pub(crate) fn too_large(bytes: usize) -> ApiError {
    let message = match bytes > MAX_SENT_BYTES {
        true => format!(
            "rpc error: code = ResourceExhausted desc = trying to send message larger than max ({bytes} vs. {MAX_SENT_BYTES})"
        ),
        false => "etcdserver: request is too large".to_owned(),
    };
    ApiError::new(Reason::InternalError, message).verbatim(500, "")
}

/// What a client is told when the store refuses.
pub(crate) fn error(error: StoreError) -> ApiError {
    match error {
        StoreError::RequestTooLarge { bytes, .. } => too_large(bytes),
        StoreError::Compacted { .. } => ApiError::expired("The resourceVersion for the provided watch is too old."),
        StoreError::Fenced => ApiError::new(Reason::ServiceUnavailable, error.to_string()),
        StoreError::Closed => ApiError::new(Reason::ServiceUnavailable, "the API server is shutting down"),
        StoreError::Stopped { .. } | StoreError::Unavailable { .. } => {
            ApiError::new(Reason::ServiceUnavailable, error.to_string())
        }
        // As upstream answers when etcd does not: the client must look whether it happened.
        StoreError::OutcomeUnknown { .. } => ApiError::new(Reason::Timeout, error.to_string()),
        other => ApiError::internal(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_were_written() {
        let cases = [
            ("", "pods", "default", "web", "registry/pods/default/web"),
            ("apps", "deployments", "default", "web", "registry/deployments.apps/default/web"),
            ("", "nodes", "", "n1.internal", "registry/nodes/n1.internal"),
            (
                "rbac.authorization.k8s.io",
                "clusterroles",
                "",
                "system:node",
                "registry/clusterroles.rbac.authorization.k8s.io/system:node",
            ),
        ];
        for (group, plural, namespace, name, expected) in cases {
            let written = key(group, plural, &NamespacedName::new(namespace, name));
            assert_eq!(written, expected);
            assert_eq!(parse(&written), Some(StoredKey { group, plural, namespace, name }));
        }
        assert_eq!(parse(b"elsewhere/pods/a"), None);
    }
}
