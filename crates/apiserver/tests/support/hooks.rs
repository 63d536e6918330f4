//! Servers that the API server asks, webhooks mostly, in a simulated world: TLS and HTTP over pipes in memory.

use std::io;
use std::sync::{Arc, Mutex};

use apiserver::{Connection, Dialer};
use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_auth::pki::{Authority, Purpose};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use world::{BoxFuture, Tasks, World};

/// Answers a question: status and body. Nothing means that it never answers.
pub type Answer = Arc<dyn Fn(&str, &Value) -> Option<(u16, Value)> + Send + Sync>;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Reaches one server under every name and port but 1, where nobody listens.
pub struct Hooks {
    world: World,
    tasks: Tasks,
    acceptor: TlsAcceptor,
    answer: Answer,
    pub ca: String,
    /// Where connections were opened to.
    pub dialled: Mutex<Vec<String>>,
    /// The questions, with the path and query on which they came.
    pub asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// The headers that came with them.
    pub headers: Arc<Mutex<Vec<http::HeaderMap>>>,
}

impl Hooks {
    /// A server whose certificate is for these names.
    pub fn new(world: &World, names: &[&str], answer: Answer) -> Arc<Hooks> {
        let ca = Authority::generate(world, "webhooks").unwrap();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let identity = ca.issue(world, &Purpose::Server { names, addresses: Vec::new() }).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate.clone()], identity.key.to_der())
            .unwrap();
        Arc::new(Hooks {
            world: world.clone(),
            tasks: world.tasks("webhooks"),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            answer,
            ca: base64::engine::general_purpose::STANDARD.encode(ca.certificate_pem()),
            dialled: Mutex::default(),
            asked: Arc::default(),
            headers: Arc::default(),
        })
    }

    /// What was asked since the last time.
    pub fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.asked.lock().unwrap())
            .into_iter()
            .map(|(_, review)| review["request"].clone())
            .collect()
    }
}

impl Dialer for Hooks {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        self.dialled.lock().unwrap().push(format!("{host}:{port}"));
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (acceptor, answer, asked) = (self.acceptor.clone(), self.answer.clone(), self.asked.clone());
        let headers = self.headers.clone();
        let world = self.world.clone();
        self.tasks.spawn("webhook", async move {
            let Ok(stream) = acceptor.accept(theirs).await else { return };
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let (answer, asked, world) = (answer.clone(), asked.clone(), world.clone());
                let known = request.headers().get(http::header::IF_NONE_MATCH).cloned();
                headers.lock().unwrap().push(request.headers().clone());
                async move {
                    let path = request.uri().to_string();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    // What is only read has no body.
                    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
                    asked.lock().unwrap().push((path.clone(), review.clone()));
                    let Some((status, answer)) = answer(&path, &review) else {
                        world.sleep(std::time::Duration::from_secs(3600)).await;
                        unreachable!("nobody waits for an hour");
                    };
                    let media = match answer["kind"].as_str() {
                        Some("APIGroupDiscoveryList") => AGGREGATED,
                        _ => "application/json",
                    };
                    let body = match answer {
                        Value::String(text) => text,
                        answer => answer.to_string(),
                    };
                    // What has another length is another answer, as far as tests go.
                    let tag = format!("\"{}\"", body.len());
                    let (status, body) = match known.is_some_and(|known| known == tag) {
                        true => (304, String::new()),
                        false => (status, body),
                    };
                    let response = http::Response::builder().status(status).header(http::header::ETAG, tag);
                    let response = response.header(http::header::CONTENT_TYPE, media);
                    let response = response.body(Full::new(Bytes::from(body)));
                    Ok::<_, std::convert::Infallible>(response.unwrap())
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        Box::pin(async move {
            match port {
                1 => Err(io::ErrorKind::ConnectionRefused.into()),
                _ => Ok(Box::new(ours) as Box<dyn Connection>),
            }
        })
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        Vec::new()
    }
}

/// An AdmissionReview that answers another.
pub fn review(question: &Value, response: Value) -> (u16, Value) {
    let mut response = response;
    response["uid"] = question["request"]["uid"].clone();
    (200, json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
}

/// A JSON patch in a response.
pub fn patch(operations: &Value) -> Value {
    let patch = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
}
