//! A small signed client of the region, for the commands of this binary: the same AWS API that everybody uses.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use world::World;

use crate::home::RegionFile;

/// Largest answer that a command reads.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// An AWS service, as far as the client needs to know it.
#[derive(Debug, Clone, Copy)]
pub enum Query {
    Ec2,
    Iam,
}

impl Query {
    /// Name in credential scopes, and version of the API.
    fn service(self) -> (&'static str, &'static str) {
        match self {
            Query::Ec2 => ("ec2", "2016-11-15"),
            Query::Iam => ("iam", "2010-05-08"),
        }
    }
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
        Ok(serde_json::from_slice(&answer).context("the answer is not JSON")?)
    }

    /// A request in the query protocol, answered in JSON.
    pub async fn query(&self, service: Query, action: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let (name, version) = service.service();
        let mut form = format!("Action={action}&Version={version}");
        for (key, value) in parameters {
            form.push_str(&format!("&{key}={}", cloud_wire::encode_percent(value, false)));
        }
        let answer = self.send(name, Method::POST, "/", "application/x-www-form-urlencoded", form.into()).await?;
        let answer: Value = serde_json::from_slice(&answer).context("the answer is not JSON")?;
        Ok(answer[format!("{action}Response")][format!("{action}Result")].clone())
    }

    async fn send(&self, service: &str, method: Method, path: &str, content_type: &str, body: Bytes) -> Result<Bytes> {
        let endpoint = &self.file.endpoint;
        let host = endpoint.strip_prefix("http://").with_context(|| format!("{endpoint} is not an http address"))?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", host)
            .header("content-type", content_type)
            .header("accept", "application/json")
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
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        task.abort();
        let answer = answer.map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?.to_bytes();
        if !status.is_success() {
            bail!(refused(status.as_u16(), &answer));
        }
        Ok(answer)
    }
}

fn refused(status: u16, answer: &[u8]) -> Refused {
    let body: Value = serde_json::from_slice(answer).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let error = &body["Error"];
    let code = text(&body["__type"]).or_else(|| text(&error["Code"])).unwrap_or_else(|| format!("HTTP {status}"));
    let message = text(&body["message"]).or_else(|| text(&error["Message"]));
    let message = message.unwrap_or_else(|| String::from_utf8_lossy(answer).into_owned());
    Refused { status, code, message }
}

/// Whether the error is a refusal with this AWS error code.
pub fn has_code(error: &anyhow::Error, code: &str) -> bool {
    error
        .downcast_ref::<Refused>()
        .is_some_and(|refused| refused.code == code || refused.code == format!("{code}Exception"))
}
