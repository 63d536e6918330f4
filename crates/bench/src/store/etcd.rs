//! The durable store behind its gRPC face beside a real etcd: the same client, the same disk, taking turns.
//!
//! Debian's `etcd-server` is the peer; without it there is only a line that says so.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ::store::{Limits, Store};
use anyhow::{Context, Result};
use bytes::Bytes;
use etcd_wire::{PutRequest, PutResponse, paths};
use http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use world::World;

use super::data::{Directory, open};
use super::load::{self, Write};
use crate::report::{line, millis};

/// Connections, which writers share. Both servers get the same.
const CONNECTIONS: usize = 8;
const WRITERS: [usize; 2] = [32, 256];
const VALUE_BYTES: usize = 1024;
const KEYS_PER_WRITER: usize = 100;

const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(1);

/// How long etcd may take to be there.
const READY: Duration = Duration::from_secs(20);

/// An etcd of one member on a directory beside the store's; killed when dropped.
struct Etcd {
    process: Child,
    endpoint: String,
    _directory: Directory,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that nobody listens on now.
fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

impl Etcd {
    /// Nothing when etcd is not installed.
    fn start(world: &World) -> Result<Option<Etcd>> {
        let directory = Directory::new(world)?;
        let (endpoint, peer) = (free_address()?, format!("http://{}", free_address()?));
        let url = format!("http://{endpoint}");
        let spawned = Command::new("etcd")
            .arg("--data-dir")
            .arg(directory.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url, "--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("default={peer}")])
            .args(["--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match spawned {
            Ok(process) => Ok(Some(Etcd { process, endpoint, _directory: directory })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("starting etcd"),
        }
    }
}

/// Clients of a server, one per connection: nothing but gRPC, so that the servers are what is measured.
async fn connect(world: &World, endpoint: &str) -> Result<Vec<Channel>> {
    let (mut clients, began) = (Vec::new(), world.elapsed());
    while clients.len() < CONNECTIONS {
        match Endpoint::from_shared(format!("http://{endpoint}"))?.connect().await {
            Ok(client) => clients.push(client),
            Err(error) if world.elapsed() - began > READY => return Err(error.into()),
            Err(_) => world.sleep(Duration::from_millis(100)).await,
        }
    }
    Ok(clients)
}

fn put(clients: &[Channel], value: &Bytes) -> Write {
    let (clients, value) = (clients.to_vec(), value.clone());
    Arc::new(move |writer, number| {
        let (client, value) = (clients[writer % CONNECTIONS].clone(), value.clone());
        Box::pin(async move {
            let key = Bytes::from(format!("bench/{writer:03}/{:04}", number % KEYS_PER_WRITER));
            let mut client = tonic::client::Grpc::new(client);
            client.ready().await?;
            let request = tonic::Request::new(PutRequest { key, value, ..PutRequest::default() });
            let codec = tonic_prost::ProstCodec::<PutRequest, PutResponse>::default();
            client.unary(request, PathAndQuery::from_static(paths::PUT), codec).await?;
            Ok(())
        })
    })
}

pub async fn run(world: &World) -> Result<()> {
    let Some(etcd) = Etcd::start(world)? else {
        line("durable puts beside etcd", "skipped", "etcd is not installed: apt-get install etcd-server");
        return Ok(());
    };
    let directory = Directory::new(world)?;
    let (store, tasks) = (open(world, &directory).await?, world.tasks("etcd-face"));
    let serve = |store: &Store| -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = etcd_face::start(store.clone(), listener, etcd_face::Options::default(), &tasks)?;
        Ok(server.address().to_string())
    };
    // Without a disk there is only gRPC: its client and server on these cores are the limit.
    let memory = Store::memory(world, Limits::default());
    let mut value = vec![0; VALUE_BYTES];
    world.fill(&mut value);
    let value = Bytes::from(value);
    let peer = put(&connect(world, &etcd.endpoint).await?, &value);
    let our = put(&connect(world, &serve(&store)?).await?, &value);
    let limit = put(&connect(world, &serve(&memory)?).await?, &value);
    for writers in WRITERS {
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            let peer = load::run(world, writers, TURN, &peer).await?;
            let our = load::run(world, writers, TURN, &our).await?;
            let limit = load::run(world, writers, TURN, &limit).await?;
            turns.push((our.per_second / peer.per_second, our, peer, limit));
        }
        turns.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ratio, our, peer, limit) = &turns[TURNS / 2];
        line(
            &format!("durable puts of 1 KiB over gRPC, {writers} clients"),
            &format!("{:.0}/s", our.per_second),
            &format!(
                "p50 {}; etcd {:.0}/s, p50 {}, ratio {ratio:.1} ({:.1} to {:.1}), goal 5; the same gRPC without a disk {:.0}/s",
                millis(our.median),
                peer.per_second,
                millis(peer.median),
                turns[0].0,
                turns[TURNS - 1].0,
                limit.per_second
            ),
        );
    }
    tasks.shutdown(Duration::from_secs(1)).await;
    store.shutdown().await;
    Ok(())
}
