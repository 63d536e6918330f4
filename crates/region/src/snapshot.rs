//! `minato snapshot save` from a region that runs: the store's snapshot as the body of an answer, chunk by chunk, so that its
//! size does not matter.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use cloud_wire::AwsError;
use http::{HeaderValue, Response};
use serve::Body;
use store::{SnapshotReader, StoreError};

use crate::Inner;

type Next = Pin<Box<dyn Future<Output = (SnapshotReader, Result<Option<Bytes>, StoreError>)> + Send>>;

/// A snapshot of everything that was acknowledged before the request.
pub(crate) async fn stream(inner: &Arc<Inner>) -> Result<Response<Body>, AwsError> {
    let reader = inner.store.snapshot().await.map_err(|error| AwsError::internal(error.to_string()))?;
    let mut next = Some(next(reader));
    let body = serve::stream(move |context| {
        let Some(future) = next.as_mut() else { return Poll::Ready(None) };
        let Poll::Ready((reader, chunk)) = future.as_mut().poll(context) else { return Poll::Pending };
        next = matches!(chunk, Ok(Some(_))).then(|| self::next(reader));
        // An error breaks the connection off: nobody takes half a snapshot for a whole one, which its checksum would show too.
        Poll::Ready(chunk.map_err(Into::into).transpose())
    });
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

fn next(mut reader: SnapshotReader) -> Next {
    Box::pin(async move {
        let chunk = reader.next().await;
        (reader, chunk)
    })
}
