//! Reading the store as it was: a revision or a time becomes a point, and all that lies below a prefix is read there page by page.
//!
//! Must never read at the present by mistake: every read here names its revision.

use bytes::Bytes;
use cloud_wire::AwsError;
use store::{KeyRange, KeyValue, RangeRequest, Revision, Store, StoreError};
use world::Timestamp;

/// Keys that are held at once: some megabytes at most with usual objects.
const PAGE: usize = 500;

/// A moment in the past, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The store's revision.
    Revision(Revision),
    /// The last revision not after it.
    Time(Timestamp),
}

/// The store at a revision that is retained.
#[derive(Clone)]
pub(crate) struct Past {
    store: Store,
    pub(crate) revision: Revision,
}

impl Past {
    /// The store at `moment`.
    ///
    /// # Errors
    /// `InvalidParameterException` for a moment outside of what is retained, with its bounds.
    pub(crate) async fn at(store: &Store, moment: Moment) -> Result<Past, AwsError> {
        let now = match store.current_revision().await {
            Ok(now) => now,
            Err(error) => return Err(refused(store, error).await),
        };
        let revision = match moment {
            Moment::Revision(revision) if revision < 1 || revision > now => {
                let message = format!("revision {revision} does not exist: the store is at revision {now}");
                return Err(AwsError::new("InvalidParameterException", 400, message));
            }
            Moment::Revision(revision) => revision,
            Moment::Time(time) => match store.revision_at(time).await {
                Ok(revision) => revision,
                Err(error) => return Err(refused(store, error).await),
            },
        };
        let past = Past { store: store.clone(), revision };
        // Whether it is retained shows at the first read.
        past.page(KeyRange::key("/")).await?;
        Ok(past)
    }

    /// One key.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<KeyValue>, AwsError> {
        Ok(self.page(KeyRange::key(key.to_owned())).await?.pop())
    }

    /// All keys of a range that fits into memory.
    pub(crate) async fn all(&self, range: KeyRange, prefix: &str) -> Result<Vec<KeyValue>, AwsError> {
        let mut kvs = self.read(RangeRequest { limit: 0, ..self.request(range_below(range, prefix)) }).await?;
        for kv in &mut kvs {
            kv.key = kv.key.slice(prefix.len()..);
        }
        Ok(kvs)
    }

    /// The next keys below a prefix, which ends with a slash, after the key `after`; empty at the end.
    pub(crate) async fn below(&self, prefix: &str, after: Option<&Bytes>) -> Result<Vec<KeyValue>, AwsError> {
        let start = match after {
            Some(after) => [after.as_ref(), b"\0"].concat(),
            None => prefix.as_bytes().to_vec(),
        };
        // What follows a slash in byte order is a zero.
        let end = format!("{}0", prefix.trim_end_matches('/'));
        self.page(KeyRange::span(start, end)).await
    }

    fn request(&self, range: KeyRange) -> RangeRequest {
        RangeRequest { revision: Some(self.revision), limit: PAGE, ..RangeRequest::new(range) }
    }

    async fn page(&self, range: KeyRange) -> Result<Vec<KeyValue>, AwsError> {
        self.read(self.request(range)).await
    }

    async fn read(&self, request: RangeRequest) -> Result<Vec<KeyValue>, AwsError> {
        match self.store.range_past(request).await {
            Ok(found) => Ok(found.kvs),
            Err(error) => Err(refused(&self.store, error).await),
        }
    }
}

/// A key or prefix of a keyspace, in the store.
fn range_below(range: KeyRange, prefix: &str) -> KeyRange {
    let start = [prefix.as_bytes(), range.start()].concat();
    match range.end() {
        store::End::Key => KeyRange::key(start),
        _ => KeyRange::prefix(start),
    }
}

/// What whoever asked for a moment is told when the store does not have it: since when it has them.
async fn refused(store: &Store, error: StoreError) -> AwsError {
    let error = match error {
        // No revision is so old: the answer says since when there are some.
        StoreError::Compacted { .. } => store.revision_at(Timestamp::from_micros(0)).await.err().unwrap_or(error),
        error => error,
    };
    let StoreError::TimeNotRetained { oldest } = error else { return AwsError::internal(error.to_string()) };
    let message = format!(
        "nothing from before {oldest} is retained; choose a moment between that and now, or a revision up to {}",
        store.revision()
    );
    AwsError::new("InvalidParameterException", 400, message)
}
