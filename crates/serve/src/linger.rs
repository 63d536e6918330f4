//! Connections that end while their client still sends: a body that was refused and not read to its end.
//!
//! A socket that is closed with something unread resets its connection, which takes what was sent, and not yet read by the client,
//! with it: the answer that says why. So such a socket first ends its own side, discards what still comes up to a limit, and waits
//! until the client has ended its side or the time is up (as Go's server does: `closeWriteAndWait`).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use world::World;

use crate::body::BoxError;

/// Bytes that are discarded (`maxPostHandlerReadBytes` of Go's `net/http`).
const MAX_DISCARDED_BYTES: usize = 256 << 10;

/// What the end of a connection needs to know.
#[derive(Default)]
pub(crate) struct Linger {
    /// Whether a body was left before its end.
    unread: AtomicBool,
    /// The socket, once nobody uses it any more, if it is to linger.
    left: Mutex<Option<Open>>,
}

/// A socket with its place among the connections.
type Open = (TcpStream, OwnedSemaphorePermit);

impl Linger {
    /// Lets the socket linger for `time` at most, if that is needed. To be called when the connection is gone.
    pub(crate) async fn finish(&self, world: &World, time: Duration) {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((mut socket, _slot)) = left else { return };
        let ends = async {
            // One that is broken already has nobody who reads.
            if socket.shutdown().await.is_err() {
                return;
            }
            let (mut discarded, mut chunk) = (0, vec![0; 16 << 10]);
            while discarded < MAX_DISCARDED_BYTES {
                match socket.read(&mut chunk).await {
                    Ok(0) | Err(_) => return,
                    Ok(bytes) => discarded += bytes,
                }
            }
            std::future::pending::<()>().await;
        };
        // Either way it is over.
        let _ = world.timeout(time, ends).await;
    }
}

/// The socket of a connection. Dropped, it leaves what may have to linger.
pub(crate) struct Socket {
    /// Absent once it is dropped.
    open: Option<Open>,
    linger: Arc<Linger>,
}

impl Socket {
    pub(crate) fn new(socket: TcpStream, slot: OwnedSemaphorePermit) -> (Socket, Arc<Linger>) {
        let linger = Arc::<Linger>::default();
        (Socket { open: Some((socket, slot)), linger: linger.clone() }, linger)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let open = self.open.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(&mut open.0))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.linger.unread.load(Ordering::Relaxed) {
            *self.linger.left.lock().unwrap_or_else(PoisonError::into_inner) = self.open.take();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, to)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.open.as_ref().is_some_and(|(socket, _)| socket.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}

/// The body of an HTTP/1.1 request, which says when it is left before its end. HTTP/2 has frames for that.
pub(crate) struct Watched {
    inner: Incoming,
    ended: bool,
    linger: Arc<Linger>,
}

impl Watched {
    pub(crate) fn new(inner: Incoming, linger: &Arc<Linger>) -> Watched {
        Watched { ended: inner.is_end_stream(), inner, linger: linger.clone() }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        self.ended |= matches!(polled, Poll::Ready(None));
        polled.map(|frame| frame.map(|frame| frame.map_err(|error| Box::new(error) as BoxError)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.ended && !self.inner.is_end_stream() {
            self.linger.unread.store(true, Ordering::Relaxed);
        }
    }
}
