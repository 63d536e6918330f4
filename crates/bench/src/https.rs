//! A plain HTTPS client over one connection: no pool, no retries, nothing that hides what the server does.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base64::Engine;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use world::World;

/// Where to connect, whom to trust, and what to show.
#[derive(Clone)]
pub struct Connector {
    host: String,
    tls: TlsConnector,
    token: String,
}

impl Connector {
    /// To `https://host:port`, trusting the authority of base64-encoded PEM, with a bearer token.
    pub fn new(endpoint: &str, authority: &str, token: &str) -> Result<Connector> {
        let host = endpoint.strip_prefix("https://").with_context(|| format!("{endpoint} is not https"))?;
        let pem = base64::engine::general_purpose::STANDARD.decode(authority)?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Connector { host: host.to_owned(), tls: TlsConnector::from(Arc::new(config)), token: token.to_owned() })
    }

    /// A new connection.
    pub async fn connect(&self, world: &World) -> Result<Https> {
        let stream = TcpStream::connect(&self.host).await.with_context(|| format!("connecting to {}", self.host))?;
        stream.set_nodelay(true)?;
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        let stream = self.tls.connect(ServerName::try_from(name.to_owned())?, stream).await.context("TLS")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        world.spawn("https connection", async move {
            // What breaks it shows in the request on it.
            let _ = connection.await;
        });
        Ok(Https { sender, host: self.host.clone(), token: self.token.clone() })
    }
}

/// What a body is, and what the answer is to be.
#[derive(Clone, Copy)]
pub struct Types {
    pub content: &'static str,
    pub accept: &'static str,
}

impl Types {
    pub const JSON: Types = Types { content: "application/json", accept: "application/json" };
}

/// One connection.
pub struct Https {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    token: String,
}

impl Https {
    /// Sends a request and returns its response with the body to come.
    pub async fn open(&mut self, method: Method, path: &str, body: Bytes) -> Result<http::Response<Incoming>> {
        self.open_as(method, path, Types::JSON, body).await
    }

    async fn open_as(
        &mut self,
        method: Method,
        path: &str,
        types: Types,
        body: Bytes,
    ) -> Result<http::Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", types.content)
            .header("accept", types.accept)
            .body(Full::new(body))?;
        self.sender.send_request(request).await.with_context(|| format!("{} {path}", self.host))
    }

    /// Sends a request and reads its body; anything but success is an error.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        self.send_as(method, path, Types::JSON, body).await
    }

    /// As [`Https::send`], of other types.
    pub async fn send_as(&mut self, method: Method, path: &str, types: Types, body: Bytes) -> Result<Bytes> {
        let response = self.open_as(method, path, types, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{path}: {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    /// Gets JSON.
    pub async fn get(&mut self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.send(Method::GET, path, Bytes::new()).await?)?)
    }
}
