//! One client of one server: a few kept connections, one request on each at a time.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use k8s_object::ApiError;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use serde_json::Value;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use world::World;

use super::address::Address;
use super::dial::{Connection, Dialer};
use super::tls::{self, ClientIdentity, Trust};
use crate::core::Core;

/// Bytes of an answer. Webhooks answer with an object at most (upstream's limit is that of a request, 3 MiB).
const MAX_ANSWER_BYTES: usize = 3 << 20;
/// Connections that a client keeps (client-go `idleConnsPerHost`).
const MAX_IDLE: usize = 25;
/// How long a kept connection is used again (Go's transport: 90 s).
const MAX_IDLE_TIME: Duration = Duration::from_secs(90);
const AGENT: &str = "kube-apiserver-admission";

/// A call that brought no answer, in the words of upstream's client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// Nothing was sent, or nothing came back: `Post "https://…": why`.
    #[error("{method} {url:?}: {why}", method = title(.method))]
    Failed { method: Method, url: String, why: String },
    /// The client cannot be used at all.
    #[error("{0}")]
    Unusable(String),
}

/// Go writes `Post` and `Get`.
fn title(method: &Method) -> String {
    let text = method.as_str();
    format!("{}{}", &text[..1], text[1..].to_lowercase())
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// What upstream's client says about a status that is no success, with the reason and code that go with it.
    pub(crate) fn failure(&self) -> Option<ApiError> {
        use k8s_object::Reason;
        if (200..300).contains(&self.status) {
            return None;
        }
        let status: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        if status["kind"] == "Status" && status["message"].is_string() {
            let message = status["message"].as_str().unwrap_or("").to_owned();
            return Some(ApiError::new(Reason::InternalError, message));
        }
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        let text = if text.is_empty() { "unknown" } else { text };
        Some(match self.status {
            400 => ApiError::bad_request("the server rejected our request for an unknown reason"),
            401 => ApiError::new(Reason::Unauthorized, "the server has asked for the client to provide credentials"),
            403 => ApiError::new(Reason::Forbidden, text),
            404 => ApiError::new(Reason::NotFound, "the server could not find the requested resource"),
            405 => ApiError::method_not_allowed(),
            422 => ApiError::new(Reason::Invalid, "the server rejected our request due to an error in our request"),
            429 => ApiError::new(
                Reason::TooManyRequests,
                "the server has received too many requests and has asked us to try again later",
            ),
            503 => ApiError::new(Reason::ServiceUnavailable, "the server is currently unable to handle the request"),
            504 => ApiError::new(
                Reason::Timeout,
                "the server was unable to return a response in the time allotted, but may still be processing the request",
            ),
            500.. => ApiError::new(
                Reason::InternalError,
                format!("an error on the server ({text:?}) has prevented the request from succeeding"),
            ),
            _ => ApiError::new(
                Reason::InternalError,
                format!(
                    "the server responded with the status code {} but did not return more information",
                    self.status
                ),
            ),
        })
    }
}

type Stream = TlsStream<Box<dyn Connection>>;
type Driver = Pin<Box<http1::Connection<TokioIo<Stream>, Full<Bytes>>>>;

/// An open connection and what moves it.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    to: (String, u16),
    since: Duration,
}

/// A client of one server.
pub(crate) struct Client {
    address: Address,
    path: String,
    server_name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    dialer: Arc<dyn Dialer>,
    idle: Mutex<Vec<Open>>,
}

impl Client {
    /// A client of what a `clientConfig` names.
    pub(crate) fn of_client_config(core: &Core, config: &Value) -> Result<Client, CallError> {
        let (address, path) = Address::of_client_config(config).map_err(CallError::Unusable)?;
        let trust = match config["caBundle"].as_str().filter(|text| !text.is_empty()) {
            Some(text) => {
                use base64::Engine;
                let pem = base64::engine::general_purpose::STANDARD.decode(text);
                Trust::Bundle(pem.map_err(|error| CallError::Unusable(format!("caBundle: {error}")))?)
            }
            None => Trust::System,
        };
        Client::new(core, address, path, &trust, None)
    }

    /// A client of a server, below a path.
    ///
    /// # Errors
    /// If the trust or the identity cannot be used, or if this server can open no connections.
    pub(crate) fn new(
        core: &Core,
        address: Address,
        path: String,
        trust: &Trust,
        identity: Option<ClientIdentity>,
    ) -> Result<Client, CallError> {
        let unusable = |error: &dyn std::fmt::Display| CallError::Unusable(error.to_string());
        let dialer = core.dialer.clone().ok_or_else(|| unusable(&"this API server opens no connections"))?;
        let roots = if *trust == Trust::System { dialer.roots() } else { Vec::new() };
        let tls = tls::config(&core.world, trust, &roots, identity).map_err(|error| unusable(&error))?;
        let server_name = ServerName::try_from(address.server_name()).map_err(|error| unusable(&error))?;
        Ok(Client { address, path, server_name, tls, dialer, idle: Mutex::default() })
    }

    async fn connect_to(&self, (host, port): &(String, u16)) -> Result<Stream, String> {
        let socket = self.dialer.dial(host, *port).await.map_err(|error| dial_error(host, *port, &error))?;
        let connector = TlsConnector::from(self.tls.clone());
        connector.connect(self.server_name.clone(), socket).await.map_err(|error| tls_error(&error))
    }

    /// Sends JSON and waits for the whole answer, for at most `timeout`, which the server is told.
    pub(crate) async fn post(&self, core: &Core, body: Bytes, timeout: Duration) -> Result<Answer, CallError> {
        // What is left of a second counts as one.
        let query = format!("timeout={}s", timeout.as_millis().div_ceil(1000));
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        self.send(core, Method::POST, &query, HeaderMap::from_iter(headers), body, timeout).await
    }

    /// Sends a request to the client's path and waits for the whole answer, for at most `timeout`.
    pub(crate) async fn send(
        &self,
        core: &Core,
        method: Method,
        query: &str,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        let target = match query {
            "" => path.to_owned(),
            query => format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' }),
        };
        let authority = self.address.authority();
        let failed = |why: String| CallError::Failed {
            method: method.clone(),
            url: format!("https://{authority}{target}"),
            why,
        };
        let request = || {
            let mut request = Request::builder().method(method.clone()).uri(&target).header(HOST, &authority);
            if let Some(own) = request.headers_mut() {
                // Who only reads names what is wanted, or nothing at all, as Go's client: servers of the aggregated form take no other.
                if method == Method::POST {
                    own.insert(ACCEPT, HeaderValue::from_static("application/json, */*"));
                }
                own.insert(USER_AGENT, HeaderValue::from_static(AGENT));
                own.extend(headers.clone());
            }
            request.body(Full::new(body.clone())).map_err(|error| failed(error.to_string()))
        };
        let exchange = async {
            let to = self.address.resolve(core).map_err(|error| failed(error.message))?;
            // A kept connection may have been closed by the other side, which shows when it is used.
            while let Some(open) = self.take(&core.world, &to) {
                if let Ok(answer) = self.exchange(&core.world, open, request()?).await {
                    return answer.map_err(failed);
                }
            }
            let stream = self.connect_to(&to).await.map_err(failed)?;
            let (sender, driver) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
            let open = Open { sender, driver: Box::pin(driver), to, since: Duration::ZERO };
            match self.exchange(&core.world, open, request()?).await {
                Ok(answer) => answer.map_err(failed),
                Err(error) => Err(failed(error)),
            }
        };
        match core.world.timeout(timeout, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(failed("context deadline exceeded".to_owned())),
        }
    }

    /// A kept connection to where the request goes.
    fn take(&self, world: &World, to: &(String, u16)) -> Option<Open> {
        let now = world.elapsed();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|open| now.saturating_sub(open.since) < MAX_IDLE_TIME);
        let at = idle.iter().rposition(|open| open.to == *to)?;
        Some(idle.swap_remove(at))
    }

    fn keep(&self, world: &World, mut open: Open) {
        open.since = world.elapsed();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(open);
        }
    }

    /// One request and its answer. The outer error says that nothing came back, the inner one that the answer is of no use.
    async fn exchange(
        &self,
        world: &World,
        mut open: Open,
        request: Request<Full<Bytes>>,
    ) -> Result<Result<Answer, String>, String> {
        let (answer, is_open) = {
            let sender = &mut open.sender;
            let mut answer = Box::pin(async move {
                sender.ready().await.map_err(|error| http_error(&error))?;
                let response = sender.send_request(request).await.map_err(|error| http_error(&error))?;
                Ok(read(response).await)
            });
            tokio::select! {
                biased;
                answer = &mut answer => (answer, true),
                // What it has brought can still be read.
                _ = &mut open.driver => (answer.as_mut().await, false),
            }
        };
        if is_open && matches!(answer, Ok(Ok(_))) {
            self.keep(world, open);
        }
        answer
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, String> {
    let (parts, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| http_error(&error))?.into_data() else { continue };
        if bytes.len() + data.len() > MAX_ANSWER_BYTES {
            return Err(format!("http: response body too large: limit is {MAX_ANSWER_BYTES} bytes"));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: bytes.freeze() })
}

/// As Go's net package words it.
pub(crate) fn dial_error(host: &str, port: u16, error: &io::Error) -> String {
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let is_name = host.parse::<std::net::IpAddr>().is_err();
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused",
        io::ErrorKind::TimedOut => "i/o timeout",
        io::ErrorKind::HostUnreachable => "connect: no route to host",
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable",
        _ if is_name => return format!("dial tcp: lookup {host}: no such host"),
        _ => return format!("dial tcp {authority}: connect: {error}"),
    };
    format!("dial tcp {authority}: {why}")
}

/// As Go's crypto packages word it.
pub(crate) fn tls_error(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
            _ => error.to_string(),
        };
    };
    let why = match inner {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "certificate has expired or is not yet valid".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "certificate has expired or is not yet valid".to_owned()
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names: Vec<&str> =
                    presented.iter().map(|name| name.trim_start_matches("DnsName(").trim_matches([')', '"'])).collect();
                let expected = expected.to_str();
                match names.is_empty() {
                    true => format!("certificate is not valid for any names, but wanted to match {expected}"),
                    false => format!("certificate is valid for {}, not {expected}", names.join(", ")),
                }
            }
            other => other.to_string(),
        },
        rustls::Error::InvalidMessage(_) => return "tls: first record does not look like a TLS handshake".to_owned(),
        other => return format!("remote error: tls: {other}"),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

fn http_error(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return "EOF".to_owned();
    }
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
