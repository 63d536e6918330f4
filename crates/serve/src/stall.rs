//! Clients that do not take what they asked for.
//!
//! A client that keeps its connection alive and reads nothing would hold the connection's place, and what was written for it, for
//! as long as it likes: HTTP/2 answers pings for it, and HTTP/1.1 has none. So each response says whose turn it is. When for a
//! whole [`Limits::stall`](crate::Limits) it was the client's and nothing moved, the connection ends. A watch on which nothing
//! happens is the server's turn, and lasts.
//!
//! No clock is read while data flows: the connection looks at the counts a few times per limit.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::{Body, BoxError};

/// How often the counts are looked at until the limit is over.
pub(crate) const LOOKS: u32 = 4;
/// Bytes of a body that count as one step: whoever takes that much within the limit is only slow.
const PIECE_BYTES: usize = 64 << 10;
/// Responses of which those that are over are forgotten at the latest.
const FORGET_AT: usize = 16;

/// One response, or the socket itself.
#[derive(Default)]
struct Progress {
    /// Counts whatever moved.
    steps: AtomicUsize,
    /// Pieces that the connection has taken and not sent.
    unsent: AtomicUsize,
    /// Whether there is nothing to send.
    idle: AtomicBool,
}

impl Progress {
    fn step(&self, idle: bool) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.idle.store(idle, Ordering::Relaxed);
    }

    /// The count while the client is to move; `None` while it is not.
    fn waits(&self) -> Option<usize> {
        let waits = self.unsent.load(Ordering::Relaxed) > 0 || !self.idle.load(Ordering::Relaxed);
        waits.then(|| self.steps.load(Ordering::Relaxed))
    }
}

/// What was seen of one at the last look.
struct Watched {
    progress: Weak<Progress>,
    steps: Option<usize>,
    looks: u32,
}

/// The responses of one connection, and its socket.
#[derive(Clone)]
pub(crate) struct Stalls {
    socket: Arc<Progress>,
    watched: Arc<Mutex<(Vec<Watched>, usize)>>,
}

impl Stalls {
    pub(crate) fn new() -> Stalls {
        let socket = Arc::new(Progress { idle: AtomicBool::new(true), ..Progress::default() });
        let first = Watched { progress: Arc::downgrade(&socket), steps: None, looks: 0 };
        Stalls { socket, watched: Arc::new(Mutex::new((vec![first], FORGET_AT))) }
    }

    /// A body that says whose turn it is.
    pub(crate) fn body(&self, body: Body) -> Body {
        let progress = Arc::new(Progress::default());
        let new = Watched { progress: Arc::downgrade(&progress), steps: None, looks: 0 };
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, forget_at) = &mut *watched;
        if all.len() >= *forget_at {
            all.retain(|watched| watched.progress.strong_count() > 0);
            *forget_at = FORGET_AT.max(2 * all.len());
        }
        all.push(new);
        drop(watched);
        use http_body_util::BodyExt;
        Paced { inner: body, rest: Bytes::new(), progress }.boxed_unsync()
    }

    /// A socket that says whose turn it is.
    pub(crate) fn socket<S>(&self, inner: S) -> Socket<S> {
        Socket { inner, progress: self.socket.clone() }
    }

    /// Looks; true when something stood still since [`LOOKS`] looks ago.
    pub(crate) fn look(&self) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stalled = false;
        watched.0.retain_mut(|watched| {
            let Some(progress) = watched.progress.upgrade() else { return false };
            let steps = progress.waits();
            let same = steps.is_some() && steps == watched.steps;
            watched.looks = if same { watched.looks + 1 } else { 0 };
            watched.steps = steps;
            stalled |= watched.looks >= LOOKS;
            true
        });
        stalled
    }
}

/// A body in pieces.
struct Paced {
    inner: Body,
    /// What is left of the last frame.
    rest: Bytes,
    progress: Arc<Progress>,
}

impl Paced {
    fn piece(&mut self) -> Frame<Bytes> {
        let bytes = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        self.progress.unsent.fetch_add(1, Ordering::Relaxed);
        Frame::data(Bytes::from_owner(Piece { bytes, progress: self.progress.clone() }))
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            this.progress.step(false);
            return Poll::Ready(Some(Ok(this.piece())));
        }
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        this.progress.step(!matches!(polled, Poll::Ready(Some(_))));
        polled.map(|frame| {
            frame.map(|frame| {
                frame.map(|frame| match frame.into_data() {
                    Ok(data) => {
                        this.rest = data;
                        this.piece()
                    }
                    Err(trailers) => trailers,
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, inner) = (self.rest.len() as u64, self.inner.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(inner.lower() + rest);
        hint
    }
}

/// Part of a body until the connection has sent it.
struct Piece {
    bytes: Bytes,
    progress: Arc<Progress>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.progress.steps.fetch_add(1, Ordering::Relaxed);
        self.progress.unsent.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See [`Stalls::socket`].
pub(crate) struct Socket<S> {
    inner: S,
    progress: Arc<Progress>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, from);
        self.wrote(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, from);
        self.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S> Socket<S> {
    fn wrote(&self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Ready(_) => self.progress.step(true),
            // What does not fit waits for the client to read; asking again moves nothing.
            Poll::Pending => self.progress.idle.store(false, Ordering::Relaxed),
        }
    }
}
