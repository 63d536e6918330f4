//! Bodies of requests and responses: whole, streamed, and read up to a limit.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// What may go wrong while a body is read or made.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that may be streamed.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is longer than the limit.
    #[error("the body is longer than {limit} bytes")]
    TooLarge { limit: usize },
    /// The connection broke, or the client sent something that is no body.
    #[error("the body could not be read: {0}")]
    Broken(BoxError),
}

/// No bytes.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// These bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// These bytes, one part after the other.
pub fn chunks(parts: impl Into<VecDeque<Bytes>>) -> Body {
    Chunks(parts.into()).boxed_unsync()
}

struct Chunks(VecDeque<Bytes>);

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}

/// The chunks that `next` yields, until it yields `None`. An error breaks the connection off, so that the client does not
/// mistake what it got for the whole.
pub fn stream<F>(next: F) -> Body
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> + Send + Unpin + 'static,
{
    Stream(next).boxed_unsync()
}

struct Stream<F>(F);

impl<F> HttpBody for Stream<F>
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        (self.0)(context).map(|next| next.map(|chunk| chunk.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Reads a whole body of at most `limit` bytes. What is longer is not read to its end.
pub async fn read_limited(mut body: Body, limit: usize) -> Result<Bytes, ReadError> {
    let too_large = || ReadError::TooLarge { limit };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(ReadError::Broken)?.into_data() else { continue };
        let so_far = first.as_ref().map_or(0, Bytes::len) + rest.len();
        if so_far + data.len() > limit {
            return Err(too_large());
        }
        match &first {
            // Most bodies come in one piece, which is then not copied.
            None => first = Some(data),
            Some(_) => rest.extend_from_slice(&data),
        }
    }
    match first {
        None => Ok(Bytes::new()),
        Some(first) if rest.is_empty() => Ok(first),
        Some(first) => {
            let mut whole = BytesMut::with_capacity(first.len() + rest.len());
            whole.extend_from_slice(&first);
            whole.extend_from_slice(&rest);
            Ok(whole.freeze())
        }
    }
}
