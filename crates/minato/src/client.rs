//! A small signed client of the region, for the commands of this binary: the same AWS API that everybody uses.

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use cloud_wire::Element;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use world::{Task, World};

use crate::home::RegionFile;

/// Largest answer that a command reads.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A service of the query protocol: its name in credential scopes, and the version of its API.
#[derive(Debug, Clone, Copy)]
pub struct Query(&'static str, &'static str);

impl Query {
    pub const EC2: Query = Query("ec2", "2016-11-15");
    pub const IAM: Query = Query("iam", "2010-05-08");
}

/// The region refused a request.
#[derive(Debug)]
pub struct Refused {
    pub status: u16,
    /// AWS error code, e.g. `ResourceNotFoundException`.
    pub code: String,
    pub message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

/// Signs and sends requests to one region.
pub struct Client {
    world: World,
    file: RegionFile,
}

impl Client {
    /// A client of the region in `file`, with its administrator's key.
    pub fn new(world: World, file: RegionFile) -> Client {
        Client { world, file }
    }

    /// The region this talks to.
    pub fn region(&self) -> &RegionFile {
        &self.file
    }

    /// A request of EKS or of Minato's own status, whose bodies are JSON.
    pub async fn json(&self, service: &str, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let answer = self.send(service, method, path, "application/json", body).await?;
        serde_json::from_slice(&answer).context("the answer is not JSON")
    }

    /// A request in the query protocol, answered in XML.
    pub async fn query(&self, service: Query, action: &str, parameters: &[(&str, &str)]) -> Result<Element> {
        let Query(name, version) = service;
        let mut form = format!("Action={action}&Version={version}");
        for (key, value) in parameters {
            form.push_str(&format!("&{key}={}", cloud_wire::encode_percent(value, false)));
        }
        let answer = self.send(name, Method::POST, "/", "application/x-www-form-urlencoded", form.into()).await?;
        Element::parse(&String::from_utf8_lossy(&answer))
            .map_err(|problem| anyhow!("the answer to {action} is not XML: {problem}"))
    }

    /// Hands the answer to a request of Minato's own on as it comes, however long it is.
    pub async fn download(&self, path: &str, mut take: impl FnMut(Bytes) -> Result<()>) -> Result<()> {
        let (response, task) = self.begin("minato", Method::GET, path, "application/json", Bytes::new()).await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let answer = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            task.abort();
            bail!(refused(
                status.as_u16(),
                &answer.map_err(|error| anyhow!("reading the answer: {error}"))?.to_bytes()
            ));
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.with_context(|| format!("the region at {} broke the connection", self.file.endpoint))?;
            if let Ok(chunk) = frame.into_data() {
                take(chunk)?;
            }
        }
        task.abort();
        Ok(())
    }

    async fn send(&self, service: &str, method: Method, path: &str, content_type: &str, body: Bytes) -> Result<Bytes> {
        let (response, task) = self.begin(service, method, path, content_type, body).await?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        task.abort();
        let answer = answer.map_err(|error| anyhow!("reading the answer: {error}"))?.to_bytes();
        if !status.is_success() {
            bail!(refused(status.as_u16(), &answer));
        }
        Ok(answer)
    }

    /// Sends a request on a connection of its own, which the task drives.
    async fn begin(
        &self,
        service: &str,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<(Response<Incoming>, Task)> {
        let endpoint = &self.file.endpoint;
        let host = endpoint.strip_prefix("http://").with_context(|| format!("{endpoint} is not an http address"))?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", host)
            .header("content-type", content_type)
            .body(body)?;
        crate::sign::sign(&mut request, &self.file, service, self.world.now())?;
        let stream = tokio::net::TcpStream::connect(host)
            .await
            .with_context(|| format!("the region at {endpoint} does not answer"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let task = self.world.spawn("http client", async move {
            // What breaks a connection breaks the request on it, which reports it.
            let _ = connection.await;
        });
        let response = sender.send_request(request.map(Full::new)).await;
        let response = response.with_context(|| format!("the region at {endpoint} broke the connection"))?;
        Ok((response, task))
    }
}

fn refused(status: u16, answer: &[u8]) -> Refused {
    let text = String::from_utf8_lossy(answer);
    let (code, message) = match (serde_json::from_slice::<Value>(answer), Element::parse(&text)) {
        (Ok(body), _) => {
            let text = |member: &str| body[member].as_str().map(str::to_owned);
            (text("__type"), text("message").or_else(|| text("Message")))
        }
        (Err(_), Ok(body)) => (first(&body, "Code"), first(&body, "Message")),
        (Err(_), Err(_)) => (None, None),
    };
    let code = code.unwrap_or_else(|| format!("HTTP {status}"));
    Refused { status, code, message: message.unwrap_or_else(|| text.into_owned()) }
}

/// The text of the first element of that name, at any depth.
fn first(element: &Element, name: &str) -> Option<String> {
    all(element, name).into_iter().next()
}

/// The texts of all elements of that name, at any depth, in order.
pub fn all(element: &Element, name: &str) -> Vec<String> {
    let own = (element.name == name).then(|| element.text.clone());
    own.into_iter().chain(element.children.iter().flat_map(|child| all(child, name))).collect()
}

/// Whether the error is a refusal with this AWS error code.
pub fn has_code(error: &anyhow::Error, code: &str) -> bool {
    error
        .downcast_ref::<Refused>()
        .is_some_and(|refused| refused.code == code || refused.code == format!("{code}Exception"))
}
