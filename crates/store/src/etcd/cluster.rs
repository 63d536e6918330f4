//! Connections to the members of one etcd cluster: which to ask, whom to ask next, and as whom.
//!
//! A request that may be repeated is, on the next member, until its time is up. One that writes is sent once more only when it is
//! certain that nobody carried it out.

use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_wire::{AuthenticateRequest, AuthenticateResponse, ResponseHeader, paths};
use futures_util::Stream;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;
use world::{BoxFuture, World};

use super::answer::{Attempt, Failure};
use super::options::{EtcdCredentials, EtcdError, EtcdOptions};
use crate::Revision;

/// How long a connection may take to come about before another member is asked.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// etcd closes connections that ping more often than every five seconds.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long a member may take to answer a ping before its connection is given up.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait after every member has failed, growing up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
pub(super) const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// One answer, in bytes: etcd sends the range of a whole store as one message, and its own limit is 2 GiB.
const MAX_MESSAGE_BYTES: usize = 1 << 30;
/// Unread bytes of one stream, which is how far a watch runs ahead of its reader.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Times that one request may find its token expired.
const MAX_TOKENS: usize = 3;

/// Whether a request may be sent again when nobody knows what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    Always,
    WhenNotDone,
}

/// Sends a request once, on a connection and with a token.
type Attempted<'a, B> =
    dyn Fn(Grpc<Channel>, Option<AsciiMetadataValue>) -> BoxFuture<'static, Result<B, Status>> + Send + Sync + 'a;

struct Member {
    name: String,
    channel: Channel,
}

pub(super) struct Cluster {
    world: World,
    members: Vec<Member>,
    /// Which member is asked, modulo their number.
    preferred: AtomicUsize,
    credentials: Option<EtcdCredentials>,
    token: Mutex<Option<AsciiMetadataValue>>,
    attempt_timeout: Duration,
    retry_for: Duration,
    /// The highest revision that any answer named.
    revision: AtomicI64,
}

/// Starts the tasks of connections in the world.
#[derive(Clone)]
struct Executor(World);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("store-etcd-connection", future);
    }
}

impl Cluster {
    pub fn new(world: &World, options: &EtcdOptions) -> Result<Cluster, EtcdError> {
        let members = options.endpoints.iter().map(|name| member(world, name, options)).collect::<Result<_, _>>()?;
        Ok(Cluster {
            world: world.clone(),
            members,
            preferred: AtomicUsize::new(0),
            credentials: options.credentials.clone(),
            token: Mutex::new(None),
            attempt_timeout: options.attempt_timeout,
            retry_for: options.retry_for,
            revision: AtomicI64::new(1),
        })
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// The highest revision that any answer named.
    pub fn revision(&self) -> Revision {
        self.revision.load(Ordering::Acquire)
    }

    /// Notes the revision that an answer names.
    pub fn note(&self, header: Option<&ResponseHeader>) -> Revision {
        let revision = header.map_or(0, |header| header.revision);
        self.revision.fetch_max(revision, Ordering::AcqRel);
        revision
    }

    /// Sends a request and waits for its one answer.
    pub async fn call<A, B>(&self, path: &'static str, message: A, repeat: Repeat) -> Result<B, Failure>
    where
        A: Message + Clone + 'static,
        B: Message + Default + 'static,
    {
        let attempt = |mut grpc: Grpc<Channel>, token| -> BoxFuture<'static, _> {
            let request = with_token(Request::new(message.clone()), token);
            Box::pin(async move {
                Ok(grpc.unary(request, PathAndQuery::from_static(path), ProstCodec::default()).await?.into_inner())
            })
        };
        self.retry(&attempt, repeat).await
    }

    /// As [`Cluster::call`], for a method of streams that is asked for one answer.
    pub async fn call_stream<A, B>(&self, path: &'static str, message: A) -> Result<B, Failure>
    where
        A: Message + Clone + 'static,
        B: Message + Default + 'static,
    {
        let attempt = |mut grpc: Grpc<Channel>, token| -> BoxFuture<'static, _> {
            let requests = futures_util::stream::iter([message.clone()]);
            let request = with_token(Request::new(requests), token);
            Box::pin(async move {
                let answers = grpc.streaming(request, PathAndQuery::from_static(path), ProstCodec::default()).await?;
                let answer = answers.into_inner().message().await?;
                answer.ok_or_else(|| Status::unavailable("the stream ended without an answer"))
            })
        };
        self.retry(&attempt, Repeat::Always).await
    }

    /// Opens a stream for as long as it lasts. The caller opens another when it breaks, having called [`Cluster::avoid`].
    pub async fn open<A, B>(
        &self,
        path: &'static str,
        requests: impl Stream<Item = A> + Send + 'static,
    ) -> Result<(usize, Streaming<B>), (usize, String)>
    where
        A: Message + 'static,
        B: Message + Default + 'static,
    {
        let asked = self.preferred.load(Ordering::Acquire);
        let opened = async {
            let token = self.token(asked).await?;
            let mut request = with_token(Request::new(requests), token.clone());
            // Without it a member that is cut off from the others would be silent instead of saying so.
            request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
            let mut grpc = self.grpc(asked).await.map_err(Attempt::of)?;
            let opened = grpc.streaming(request, PathAndQuery::from_static(path), ProstCodec::default()).await;
            opened.map_err(|status| match Attempt::of(status) {
                Attempt::Token => {
                    self.forget(&token);
                    Attempt::Token
                }
                other => other,
            })
        };
        match self.world.timeout(self.attempt_timeout, opened).await {
            Ok(Ok(opened)) => Ok((asked, opened.into_inner())),
            Ok(Err(attempt)) => Err((asked, format!("{attempt:?}"))),
            Err(elapsed) => Err((asked, elapsed.to_string())),
        }
    }

    /// Asks another member from now on, unless that has been decided already.
    pub fn avoid(&self, asked: usize) {
        let _ = self.preferred.compare_exchange(asked, asked + 1, Ordering::AcqRel, Ordering::Acquire);
    }

    async fn retry<B>(&self, attempt: &Attempted<'_, B>, repeat: Repeat) -> Result<B, Failure> {
        let deadline = self.world.elapsed() + self.retry_for;
        let mut repeated = false;
        let (mut failures, mut tokens, mut backoff) = (0, 0, FIRST_BACKOFF);
        loop {
            let asked = self.preferred.load(Ordering::Acquire);
            let outcome = self.once(asked, attempt).await;
            let reason = match outcome {
                Ok(answer) => return Ok(answer),
                Err(Attempt::Refused(status)) => return Err(Failure::Refused { status, repeated }),
                Err(Attempt::Token) if tokens < MAX_TOKENS => {
                    tokens += 1;
                    continue;
                }
                Err(Attempt::Token) => "etcd takes none of its own tokens".to_owned(),
                Err(Attempt::NotDone(reason)) => reason,
                Err(Attempt::Unknown(reason)) => {
                    self.avoid(asked);
                    if repeat == Repeat::WhenNotDone {
                        return Err(Failure::Unknown(format!("{}: {reason}", self.name(asked))));
                    }
                    repeated = true;
                    reason
                }
            };
            self.avoid(asked);
            if self.world.elapsed() >= deadline {
                let reason = format!("{}: {reason}", self.name(asked));
                return Err(if repeated { Failure::Unknown(reason) } else { Failure::Unavailable(reason) });
            }
            failures += 1;
            // The other members are asked at once; only when all have failed is there reason to wait.
            if failures % self.members.len() == 0 {
                self.world.sleep(backoff).await;
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
            }
        }
    }

    async fn once<B>(&self, asked: usize, attempt: &Attempted<'_, B>) -> Result<B, Attempt> {
        let token = match self.world.timeout(self.attempt_timeout, self.token(asked)).await {
            Ok(token) => token?,
            Err(elapsed) => return Err(Attempt::NotDone(elapsed.to_string())),
        };
        let grpc = match self.world.timeout(self.attempt_timeout, self.grpc(asked)).await {
            Ok(grpc) => grpc.map_err(|status| Attempt::NotDone(status.to_string()))?,
            Err(elapsed) => return Err(Attempt::NotDone(elapsed.to_string())),
        };
        let answer = self.world.timeout(self.attempt_timeout, attempt(grpc, token.clone())).await;
        let answer = answer.map_err(|elapsed| Attempt::Unknown(elapsed.to_string()))?;
        answer.map_err(|status| match Attempt::of(status) {
            Attempt::Token => {
                self.forget(&token);
                Attempt::Token
            }
            other => other,
        })
    }

    fn member(&self, asked: usize) -> &Member {
        &self.members[asked % self.members.len()]
    }

    fn name(&self, asked: usize) -> &str {
        &self.member(asked).name
    }

    async fn grpc(&self, asked: usize) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.member(asked).channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        Ok(grpc)
    }

    fn known_token(&self) -> MutexGuard<'_, Option<AsciiMetadataValue>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, token: &Option<AsciiMetadataValue>) {
        let mut known = self.known_token();
        if *known == *token {
            *known = None;
        }
    }

    /// The token that requests carry: none without credentials, and none where etcd has no authentication.
    async fn token(&self, asked: usize) -> Result<Option<AsciiMetadataValue>, Attempt> {
        let Some(credentials) = &self.credentials else { return Ok(None) };
        if let Some(token) = self.known_token().clone() {
            return Ok(Some(token));
        }
        let request = AuthenticateRequest { name: credentials.user.clone(), password: credentials.password.clone() };
        let mut grpc = self.grpc(asked).await.map_err(|status| Attempt::NotDone(status.to_string()))?;
        let path = PathAndQuery::from_static(paths::AUTHENTICATE);
        let answer = grpc.unary(Request::new(request), path, ProstCodec::<_, AuthenticateResponse>::default()).await;
        match answer {
            Ok(answer) => {
                let token = AsciiMetadataValue::try_from(answer.into_inner().token)
                    .map_err(|_| Attempt::NotDone("the token of etcd is not text".to_owned()))?;
                *self.known_token() = Some(token.clone());
                Ok(Some(token))
            }
            Err(status) if status.message() == "etcdserver: authentication is not enabled" => Ok(None),
            // The request that needs the token has not been sent, whatever became of this one.
            Err(status) => Err(match Attempt::of(status) {
                Attempt::Unknown(reason) => Attempt::NotDone(reason),
                other => other,
            }),
        }
    }
}

fn with_token<T>(mut request: Request<T>, token: Option<AsciiMetadataValue>) -> Request<T> {
    if let Some(token) = token {
        request.metadata_mut().insert("token", token);
    }
    request
}

fn member(world: &World, name: &str, options: &EtcdOptions) -> Result<Member, EtcdError> {
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let refuse = |error: tonic::transport::Error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        EtcdError::Setup { endpoint: name.to_owned(), problem: format!("{error}: {cause}") }
    };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{name}"))
        .map_err(refuse)?
        .executor(Executor(world.clone()))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    if let Some(tls) = &options.tls {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
        if let Some((certificate, key)) = &tls.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        if let Some(name) = &tls.server_name {
            config = config.domain_name(name);
        }
        endpoint = endpoint.tls_config(config).map_err(refuse)?;
    }
    Ok(Member { name: name.to_owned(), channel: endpoint.connect_lazy() })
}
