//! The accept loop and the connections it owns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use world::{BoxFuture, Stop, Tasks};

use crate::body::{Body, BoxError, empty};
use crate::linger::{self, Linger};
use crate::stall::{self, Stalls};
use crate::tls::{Tls, TlsError};

/// How long to wait after the system refused to accept, e.g. for want of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Bytes of one HTTP/2 stream and of one connection that a client may send before they are read.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Who sent a request.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// The client's certificate first, verified against the client CA; empty when it showed none.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// Answers requests. The future owns what it needs, so that it outlives neither its connection nor a shutdown's deadline.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, peer: &Arc<Peer>, request: Request<Body>) -> BoxFuture<'static, Response<Body>>;
}

/// What clients may use of the server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time; further ones wait in the system's backlog.
    pub connections: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Time for a TLS handshake: a stalled one holds a connection and nothing else.
    pub handshake_timeout: Duration,
    /// Time for a request's head to arrive, and for the first one to begin.
    pub header_timeout: Duration,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// Time in which a client must take something of what it asked for, before its connection ends. Long enough for somebody who
    /// looks at the output of a watch page by page.
    pub stall: Duration,
    /// Time in which a client that still sends what was refused may read why, before its connection is cut.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 20_000,
            header_bytes: 64 << 10,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(20),
            streams: 250,
            stall: Duration::from_secs(300),
            linger: Duration::from_millis(500),
        }
    }
}

/// How to serve.
#[derive(Default)]
pub struct Options {
    /// Plain HTTP when absent.
    pub tls: Option<Tls>,
    pub limits: Limits,
}

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the listening socket cannot be used: {0}")]
    Listener(#[source] std::io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running server. It stops when its tasks are shut down: no new connections, and the open ones end after the requests
/// that they are at.
#[derive(Debug, Clone)]
pub struct Server {
    address: SocketAddr,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves connections of `listener` with `handler` in `tasks`.
///
/// # Errors
/// If the socket or the TLS identity cannot be used.
pub fn start(
    listener: std::net::TcpListener,
    handler: Arc<dyn Handler>,
    options: Options,
    tasks: &Tasks,
) -> Result<Server, ServeError> {
    listener.set_nonblocking(true).map_err(ServeError::Listener)?;
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    let listener = TcpListener::from_std(listener).map_err(ServeError::Listener)?;
    let tls = options.tls.map(Tls::config).transpose()?.map(TlsAcceptor::from);
    let http = Arc::new(builder(&options.limits));
    let slots = Arc::new(Semaphore::new(options.limits.connections));
    let acceptor = Acceptor { handler, tls, tasks: tasks.clone(), http, limits: Arc::new(options.limits) };
    let stop = tasks.stop();
    tasks.spawn("accept", async move {
        stop.or(acceptor.accept(listener, slots)).await;
    });
    Ok(Server { address })
}

type Http = auto::Builder<TokioExecutor>;

fn builder(limits: &Limits) -> Http {
    let mut http = auto::Builder::new(TokioExecutor::new());
    // Without `pipeline_flush`: with it hyper takes all that a body has, however little of it the client reads.
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes.max(8 << 10));
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

#[derive(Clone)]
struct Acceptor {
    handler: Arc<dyn Handler>,
    tls: Option<TlsAcceptor>,
    tasks: Tasks,
    http: Arc<Http>,
    limits: Arc<Limits>,
}

impl Acceptor {
    async fn accept(self, listener: TcpListener, slots: Arc<Semaphore>) {
        loop {
            // A slot first: a connection over the limit stays in the backlog instead of being cut.
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((socket, address)) => {
                    let acceptor = self.clone();
                    self.tasks.spawn("connection", acceptor.connection(socket, address, slot));
                }
                Err(_) => self.tasks.world().sleep(ACCEPT_BACKOFF).await,
            }
        }
    }

    /// The slot is the socket's: one that is upgraded outlives this.
    async fn connection(self, socket: TcpStream, address: SocketAddr, slot: OwnedSemaphorePermit) {
        // Without it small responses wait for the client's delayed acknowledgement; failing costs only that time.
        let _ = socket.set_nodelay(true);
        crate::unsent::bound(&socket);
        let (stop, world, time) = (self.tasks.stop(), self.tasks.world().clone(), self.limits.linger);
        let stalls = Stalls::new();
        let (socket, linger) = linger::Socket::new(socket, slot);
        self.attend(stalls.socket(socket), address, stalls, linger.clone()).await;
        stop.or(linger.finish(&world, time)).await;
    }

    /// Until the connection is gone, or is another task's.
    async fn attend(
        self,
        socket: stall::Socket<linger::Socket>,
        address: SocketAddr,
        stalls: Stalls,
        linger: Arc<Linger>,
    ) {
        let stop = self.tasks.stop();
        let Some(tls) = self.tls.clone() else {
            let peer = Peer { address, certificates: Vec::new(), tls: false };
            return self.serve(TokioIo::new(socket), peer, stalls, linger, stop).await;
        };
        let handshake = self.tasks.world().timeout(self.limits.handshake_timeout, tls.accept(socket));
        // A client that speaks no TLS or takes too long is the client's problem, and there is nobody to tell.
        let Some(Ok(Ok(socket))) = stop.or(handshake).await else { return };
        let certificates = socket.get_ref().1.peer_certificates().unwrap_or_default();
        let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let peer = Peer { address, certificates, tls: true };
        self.serve(TokioIo::new(socket), peer, stalls, linger, stop).await;
    }

    async fn serve<I>(self, io: I, peer: Peer, stalls: Stalls, linger: Arc<Linger>, stop: Stop)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (peer, handler) = (Arc::new(peer), self.handler);
        let (begun, begin) = (Arc::new(AtomicBool::new(false)), self.limits.header_timeout);
        let (begins, bodies) = (begun.clone(), stalls.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            begins.store(true, Ordering::Relaxed);
            let request = match request.version() {
                Version::HTTP_2 => request.map(|body| body.map_err(|error| Box::new(error) as BoxError).boxed_unsync()),
                _ => request.map(|body| linger::Watched::new(body, &linger).boxed_unsync()),
            };
            let head_only = request.method() == Method::HEAD;
            let (answer, bodies) = (handler.handle(&peer, request), bodies.clone());
            async move {
                let answer = answer.await;
                let answer = if head_only { without_body(answer) } else { answer };
                Ok::<_, std::convert::Infallible>(answer.map(|body| bodies.body(body)))
            }
        });
        let connection = self.http.serve_connection_with_upgrades(io, service);
        let mut connection = std::pin::pin!(connection);
        // Hyper's own limit begins when it knows the version, which a client that says nothing does not tell.
        let world = self.tasks.world();
        let mut late = std::pin::pin!(world.sleep(begin));
        let mut waited = false;
        let between_looks = self.limits.stall / stall::LOOKS;
        let mut look = std::pin::pin!(world.sleep(between_looks));
        loop {
            tokio::select! {
                biased;
                () = stop.stopped() => break connection.as_mut().graceful_shutdown(),
                () = late.as_mut(), if !waited => waited = true,
                () = look.as_mut() => {
                    if stalls.look() {
                        return;
                    }
                    look.set(world.sleep(between_looks));
                }
                // The client sees what went wrong with the connection; nobody else can do anything about it.
                _ = connection.as_mut() => return,
            }
            if waited && !begun.load(Ordering::Relaxed) {
                return;
            }
        }
        let _ = connection.await;
    }
}

/// The answer to HEAD: all but the body. Hyper sees to that in HTTP/1.1 only.
fn without_body(response: Response<Body>) -> Response<Body> {
    let size = response.body().size_hint().exact();
    let mut response = response.map(|_| empty());
    if let Some(size) = size {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(HeaderValue::from(size));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use world::World;

    struct Echo;

    impl Handler for Echo {
        fn handle(&self, peer: &Arc<Peer>, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
            let tls = peer.tls;
            Box::pin(async move {
                match crate::read_limited(request.into_body(), 8).await {
                    Ok(bytes) => Response::new(crate::full(format!("{tls} {}", bytes.len()))),
                    Err(_) => Response::builder().status(413).body(crate::empty()).expect("a valid response"),
                }
            })
        }
    }

    /// Sends `request` over a plain connection and returns all that comes back.
    fn exchange(address: SocketAddr, request: &str) -> String {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer);
        answer
    }

    /// A server of [`Echo`] on its own threads.
    fn echo(limits: Limits) -> (tokio::runtime::Runtime, SocketAddr, Tasks) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, tasks) = runtime.block_on(async {
            let tasks = World::real().tasks("test");
            let server = start(listener, Arc::new(Echo), Options { limits, tls: None }, &tasks).unwrap();
            (server.address(), tasks)
        });
        (runtime, address, tasks)
    }

    #[test]
    fn requests_are_answered_limited_and_drained() {
        let (runtime, address, tasks) = echo(Limits { header_bytes: 8 << 10, ..Limits::default() });
        let post = |length: usize| {
            let body = "x".repeat(length);
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            exchange(address, &(head + &body))
        };
        let long_head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(9 << 10));
        let cases = [(post(3), "HTTP/1.1 200", "false 3"), (post(9), "HTTP/1.1 413", "")];
        for (answer, status, body) in cases {
            assert!(answer.starts_with(status) && answer.ends_with(body), "{answer} instead of {status}");
        }
        // Neither is answered as a request; what was not read yet when the server closes may take its answer with it.
        for request in [long_head.as_str(), "nonsense\r\n\r\n"] {
            let refused = exchange(address, request);
            assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 4"), "{refused}");
        }
        let idle = std::net::TcpStream::connect(address).unwrap();
        assert!(
            runtime.block_on(tasks.shutdown(Duration::from_secs(10))).is_empty(),
            "an idle connection does not hold up the end"
        );
        assert!(std::net::TcpStream::connect(address).is_err());
        drop(idle);
    }

    #[test]
    fn whoever_still_sends_what_is_refused_reads_why() {
        let (_runtime, address, _tasks) = echo(Limits { linger: Duration::from_secs(60), ..Limits::default() });
        for framing in ["transfer-encoding: chunked", "content-length: 1000000000"] {
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n");
            socket.write_all(head.as_bytes()).unwrap();
            let mut sending = socket.try_clone().unwrap();
            let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
            // It reads only when it can send no more.
            sending.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let sent = (0..10_000).take_while(|_| sending.write_all(&chunk).is_ok()).count();
            assert!(sent < 10_000, "not all that comes is read");
            let mut answer = [0; 12];
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            socket.read_exact(&mut answer).unwrap_or_else(|error| panic!("{framing}: no answer: {error}"));
            assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413");
        }
    }

    #[test]
    fn a_head_that_does_not_come_ends_the_connection() {
        let (_runtime, address, _tasks) =
            echo(Limits { header_timeout: Duration::from_millis(50), ..Limits::default() });
        for head in ["", "GET / HTTP/1.1\r\nhost: a\r\nx: "] {
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            socket.write_all(head.as_bytes()).unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{head:?} is waited for: {error}"));
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        }
    }

    #[test]
    fn a_connection_over_the_limit_waits_for_one_to_end() {
        let (_runtime, address, _tasks) = echo(Limits { connections: 1, ..Limits::default() });
        let first = std::net::TcpStream::connect(address).unwrap();
        let mut second = std::net::TcpStream::connect(address).unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        second.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(second.read(&mut [0; 1]).is_err(), "the first has the only place");
        drop(first);
        second.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        second.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[test]
    fn a_request_under_way_is_answered_before_the_end() {
        let (runtime, address, tasks) = echo(Limits::default());
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").unwrap();
        // The handler has begun to read the body: it is under way.
        let mut interim = [0; 25];
        socket.read_exact(&mut interim).unwrap();
        assert!(interim.starts_with(b"HTTP/1.1 100"));
        let ending = runtime.spawn(async move { tasks.shutdown(Duration::from_secs(10)).await });
        while std::net::TcpStream::connect(address).is_ok() {
            std::thread::yield_now();
        }
        socket.write_all(b"abc").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("false 3"), "{answer}");
        assert!(runtime.block_on(ending).unwrap().is_empty());
    }
}
