//! Whose a store is: the account and region that its first start gave it, and the port of its AWS endpoint.
//!
//! Records name their account and region in every ARN, so a store must never be served as those of another.

use serde::{Deserialize, Serialize};
use store::{Compare, Op, Store, StoreError, Txn};

use crate::StartError;

/// Where it is kept. No keyspace begins like this.
const KEY: &str = "/region";
/// The version of the record that this build reads and writes.
const VERSION: u32 = 1;

/// What a store says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    v: u32,
    /// Twelve digits.
    pub account: String,
    /// E.g. `us-east-1`.
    pub region: String,
    /// Where the AWS endpoint listened last, so that clients find it there again; 0 if it never had a socket.
    pub port: u16,
}

/// What the store says of itself; `None` when no region was ever started on it.
///
/// # Errors
/// The store's, and a record of another version.
pub async fn marker(store: &Store) -> Result<Option<Marker>, StartError> {
    let Some(stored) = store.get(KEY).await.map_err(failed)? else { return Ok(None) };
    let marker: Marker = serde_json::from_slice(&stored.value)
        .map_err(|error| StartError::Store(format!("what it says of its region cannot be read: {error}")))?;
    if marker.v != VERSION {
        let text =
            format!("it was written in form {}, this build reads {VERSION}: use the build that wrote it", marker.v);
        return Err(StartError::Store(text));
    }
    Ok(Some(marker))
}

/// Makes an empty store that of this account and region, and refuses that of another. Notes the port if there is one.
///
/// # Errors
/// [`StartError::OtherRegion`], and those of [`marker`].
pub(crate) async fn claim(store: &Store, account: &str, region: &str, port: Option<u16>) -> Result<(), StartError> {
    // Another process that starts on the same empty store may be first: then its word is read.
    while !attempt(store, account, region, port).await? {}
    Ok(())
}

async fn attempt(store: &Store, account: &str, region: &str, port: Option<u16>) -> Result<bool, StartError> {
    let known = marker(store).await?;
    if let Some(known) = &known
        && (known.account != account || known.region != region)
    {
        return Err(StartError::OtherRegion {
            found: Box::new(known.clone()),
            wanted_account: account.to_owned(),
            wanted_region: region.to_owned(),
        });
    }
    let port = port.or(known.as_ref().map(|known| known.port)).unwrap_or(0);
    let marker = Marker { v: VERSION, account: account.to_owned(), region: region.to_owned(), port };
    if known.as_ref() == Some(&marker) {
        return Ok(true);
    }
    let text = serde_json::to_vec(&marker).map_err(|error| StartError::Store(error.to_string()))?;
    let write = Txn { success: vec![Op::put(KEY, text)], ..Txn::default() };
    let write = if known.is_none() { write.and(Compare::absent(KEY)) } else { write };
    Ok(store.txn(write).await.map_err(failed)?.succeeded)
}

fn failed(error: StoreError) -> StartError {
    StartError::Store(error.to_string())
}
