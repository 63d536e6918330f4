//! Requests to the handler itself: HTTP without sockets, on virtual time.

use std::sync::Arc;

use apiserver::{AuthError, Options, TokenAuthenticator};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use k8s_object::UserInfo;
use serde_json::Value;
use serve::{Body, Peer};
use world::BoxFuture;

use super::Cluster;

/// Where requests say that they come from.
pub const CLIENT: [u8; 4] = [192, 0, 2, 7];

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What `Warning` headers tell.
    pub fn warnings(&self) -> Vec<String> {
        let values = self.headers.get_all("warning").iter().map(|value| value.to_str().unwrap());
        let text =
            |value: &str| value.strip_prefix("299 - \"")?.strip_suffix('"').map(|text| text.replace("\\\"", "\""));
        values.filter_map(text).collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Sends a request, `GET /path` with headers such as `accept: */*`, and reads the whole answer.
pub async fn send(cluster: &Cluster, line: &str, headers: &[&str], body: Body) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let peer = Arc::new(Peer { address: (CLIENT, 4711).into(), certificates: Vec::new(), tls: false });
    let response = cluster.server.handler().handle(&peer, request.body(body).unwrap()).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// As [`send`], as the user whom [`Names`] sees in a token.
pub async fn ask(cluster: &Cluster, user: &str, line: &str, headers: &[&str], body: &str) -> Answer {
    let token = format!("authorization: Bearer user:{user}");
    let headers: Vec<&str> = headers.iter().copied().chain([token.as_str()]).collect();
    send(cluster, line, &headers, serve::full(body.to_owned())).await
}

/// Takes tokens of the form `user:name`; the user `admin` may do everything.
pub struct Names;

impl TokenAuthenticator for Names {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<UserInfo>, AuthError>> {
        let user = match token.split_once(':') {
            Some(("user", "admin")) => Ok(Some(UserInfo::new("admin", &["system:masters"]))),
            Some(("user", name)) => Ok(Some(UserInfo::new(name, &["people"]))),
            Some(("expired", _)) => Err(AuthError::Invalid("it has expired".to_owned())),
            Some(("down", _)) => Err(AuthError::Unavailable("IAM cannot be reached".to_owned())),
            _ => Ok(None),
        };
        Box::pin(async move { user })
    }
}

/// Lets users in by name.
pub fn with_names(options: &mut Options) {
    options.token_authenticators.push(Arc::new(Names));
}
