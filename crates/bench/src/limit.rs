//! What the machine itself can do: the same bytes over the same TLS to a server that only echoes, and a bare channel.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use bytes::Bytes;
use http::{Method, Request, Response};
use k8s_auth::pki::{Authority, Purpose};
use serve::{Body, Handler, Peer};
use world::{BoxFuture, Tasks, World};

use crate::https::Connector;
use crate::report::spread;

struct Echo;

impl Handler for Echo {
    fn handle(&self, _: &Arc<Peer>, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move {
            let body = serve::read_limited(request.into_body(), 1 << 20).await.unwrap_or_default();
            Response::new(serve::full(body))
        })
    }
}

/// An HTTPS server in this process that answers with what it was sent; it runs as long as `tasks`.
pub fn echo(world: &World, tasks: &Tasks) -> Result<Connector> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("https://{}", listener.local_addr()?);
    let authority = Authority::generate(world, "echo")?;
    let purpose = Purpose::Server { names: vec!["localhost".to_owned()], addresses: vec![Ipv4Addr::LOCALHOST.into()] };
    let identity = authority.issue(world, &purpose)?;
    let tls =
        serve::Tls { chain: vec![identity.certificate], key: identity.key.to_der(), clients: serve::Clients::Anyone };
    let authority = base64::engine::general_purpose::STANDARD.encode(authority.certificate_pem());
    let options = serve::Options { tls: Some(tls), ..serve::Options::default() };
    serve::start(listener, Arc::new(Echo), options, tasks).context("the echo server")?;
    Connector::new(&endpoint, &authority, "none")
}

/// Median time to connect with TLS and get one answer.
pub async fn https_round_trip(world: &World) -> Result<Duration> {
    let tasks = world.tasks("echo");
    let connector = echo(world, &tasks)?;
    let mut took = Vec::new();
    for _ in 0..50 {
        let began = world.elapsed();
        connector.connect(world).await?.send(Method::POST, "/", Bytes::from_static(b"ping")).await?;
        took.push(world.elapsed() - began);
    }
    tasks.shutdown(Duration::from_secs(1)).await;
    Ok(spread(took).median)
}

/// Messages per second through a bounded channel between two tasks, each answered through another.
pub async fn channel_round_trips(world: &World, count: usize) -> f64 {
    let (there, mut at_server) = tokio::sync::mpsc::channel::<usize>(1);
    let (back, mut at_client) = tokio::sync::mpsc::channel::<usize>(1);
    world.spawn("echo", async move {
        while let Some(message) = at_server.recv().await {
            if back.send(message).await.is_err() {
                return;
            }
        }
    });
    let began = world.elapsed();
    for number in 0..count {
        if there.send(number).await.is_err() || at_client.recv().await.is_none() {
            break;
        }
    }
    crate::report::rate(count, world.elapsed() - began)
}
