//! What verifiers of signatures learn of a key. It is read from the store each time: another process may have made the key, or
//! switched it off, a moment ago, and neither may be missed.

use store::Keyspace;
use world::Timestamp;

use crate::call::Caller;
use crate::iam::model::{AccessKey, Session};
use crate::records::{Record, RecordError, Tx};

/// What ids of temporary keys begin with; those of users begin with `AKIA`.
pub(crate) const TEMPORARY: &str = "ASIA";

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

/// The credential behind a key id, as it is now.
pub(crate) async fn find(space: &Keyspace, account: &str, id: &str) -> Result<Option<Credential>, RecordError> {
    // Whoever signs names the key: what cannot be one is not looked for.
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(None);
    }
    let mut tx = Tx::new(space);
    if id.starts_with(TEMPORARY) {
        return Ok(readable(tx.get::<Session>(id).await)?.map(|record| record.credential(account)));
    }
    Ok(readable(tx.get::<AccessKey>(id).await)?.map(|record| record.credential(account)))
}

/// A record that cannot be read is no credential: whoever uses its key is refused.
fn readable<T: Record>(found: Result<Option<T>, RecordError>) -> Result<Option<T>, RecordError> {
    match found {
        Err(RecordError::Corrupt { .. }) => Ok(None),
        found => found,
    }
}
