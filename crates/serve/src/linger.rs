//! Connections that end while their client still sends: a body that was refused and not read to its end.
//!
//! A socket that is closed with something unread resets its connection, which takes what was sent, and not yet read by the client,
//! with it: the answer that says why. So such a socket first ends its own side, discards what still comes up to a limit, and waits
//! until the client has ended its side or the time is up (as Go's server does: `closeWriteAndWait`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use world::Tasks;

use crate::body::BoxError;

/// Bytes that are discarded (`maxPostHandlerReadBytes` of Go's `net/http`).
const MAX_DISCARDED_BYTES: usize = 256 << 10;

/// Whether a body of the connection was left before its end.
pub(crate) type Unread = Arc<AtomicBool>;

/// The socket of a connection, with its place among the connections.
pub(crate) struct Socket {
    /// Absent once it is dropped.
    open: Option<(TcpStream, OwnedSemaphorePermit)>,
    unread: Unread,
    tasks: Tasks,
    time: Duration,
}

impl Socket {
    /// Lingers for `time` at most, in `tasks`.
    pub(crate) fn new(
        socket: TcpStream,
        slot: OwnedSemaphorePermit,
        tasks: &Tasks,
        time: Duration,
    ) -> (Socket, Unread) {
        let unread = Unread::default();
        (Socket { open: Some((socket, slot)), unread: unread.clone(), tasks: tasks.clone(), time }, unread)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let open = self.open.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(&mut open.0))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some((mut socket, slot)) = self.open.take() else { return };
        if !self.unread.load(Ordering::Relaxed) {
            return;
        }
        let (world, time) = (self.tasks.world().clone(), self.time);
        self.tasks.spawn("lingering connection", async move {
            let give_up = world.sleep(time);
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
            tokio::select! {
                () = give_up => {}
                () = ends => {}
            }
            drop(slot);
        });
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
    unread: Unread,
}

impl Watched {
    pub(crate) fn new(inner: Incoming, unread: &Unread) -> Watched {
        Watched { ended: inner.is_end_stream(), inner, unread: unread.clone() }
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
            self.unread.store(true, Ordering::Relaxed);
        }
    }
}
