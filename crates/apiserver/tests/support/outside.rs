//! A server outside of the API server, reached through its dialer: TLS in memory, on virtual time, and answers from a function.

use std::io;
use std::sync::Arc;

use apiserver::{Connection, Dialer};
use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_auth::pki::{Authority, Purpose};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio_rustls::TlsAcceptor;
use world::{BoxFuture, World};

type Answer = dyn Fn(&str, Value) -> Value + Send + Sync;

/// Answers every host and port.
pub struct Outside {
    world: World,
    ca: Authority,
    tls: Arc<ServerConfig>,
    answer: Arc<Answer>,
}

impl Outside {
    /// A server with certificates for `names` that answers a path and a JSON body with JSON.
    pub fn new(
        world: &World,
        names: &[&str],
        answer: impl Fn(&str, Value) -> Value + Send + Sync + 'static,
    ) -> Arc<Outside> {
        let ca = Authority::generate(world, "outside").unwrap();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let identity = ca.issue(world, &Purpose::Server { names, addresses: vec![] }).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = builder
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate.clone()], identity.key.to_der())
            .unwrap();
        Arc::new(Outside { world: world.clone(), ca, tls: Arc::new(tls), answer: Arc::new(answer) })
    }

    /// As `caBundle` has it.
    pub fn ca_bundle(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(self.ca.certificate_pem())
    }
}

async fn respond(answer: Arc<Answer>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let answer = answer(&path, serde_json::from_slice(&body).unwrap_or_default());
    Ok(Response::new(Full::from(answer.to_string())))
}

impl Dialer for Outside {
    fn dial<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (acceptor, answer) = (TlsAcceptor::from(self.tls.clone()), self.answer.clone());
        self.world.spawn("outside", async move {
            // A client that does not trust the server ends the connection; that is its test's business.
            let Ok(stream) = acceptor.accept(theirs).await else { return };
            let service = service_fn(move |request| respond(answer.clone(), request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn Connection>) })
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        Vec::new()
    }
}
