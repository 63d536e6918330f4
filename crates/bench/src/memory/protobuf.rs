//! A client that reads everything in protobuf, as client-go's informers do.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use apiserver::{ApiServer, AuthError, TokenAuthenticator};
use http::Request;
use http_body_util::BodyExt;
use k8s_object::UserInfo;
use serve::Peer;
use world::BoxFuture;

use super::objects::{NAMESPACES, namespace};

/// Knows one token, that of an administrator.
struct Administrator;

const TOKEN: &str = "administrator";

impl TokenAuthenticator for Administrator {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<UserInfo>, AuthError>> {
        let user = (token == TOKEN).then(|| UserInfo::new("admin", &["system:masters"]));
        Box::pin(async move { Ok(user) })
    }
}

pub fn administrator() -> Arc<dyn TokenAuthenticator> {
    Arc::new(Administrator)
}

/// Lists the pods of all namespaces; bytes of the answers.
pub async fn read_all(server: &ApiServer, pods: usize) -> Result<usize> {
    let peer = Arc::new(Peer { address: ([127, 0, 0, 1], 1).into(), certificates: Vec::new(), tls: false });
    let handler = server.handler();
    let mut bytes = 0;
    for number in 0..NAMESPACES.min(pods) {
        let request = Request::get(format!("/api/v1/namespaces/{}/pods", namespace(number)))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("accept", "application/vnd.kubernetes.protobuf")
            .body(serve::empty())?;
        let response = handler.handle(&peer, request).await;
        if !response.status().is_success() {
            bail!("listing pods in protobuf was answered with {}", response.status());
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(anyhow::Error::from_boxed).context("reading a list")?;
            bytes += frame.into_data().map_or(0, |data| data.len());
        }
    }
    Ok(bytes)
}
