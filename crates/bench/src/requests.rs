//! Create, get and list of ConfigMaps over HTTPS, beside a raw HTTPS echo of the same bytes with the same connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use serde_json::json;
use world::World;

use crate::https::Connector;
use crate::limit;
use crate::region::{self, Region};
use crate::report::{line, millis, rate, spread};

const CONNECTIONS: usize = 16;
const OBJECTS: usize = 2000;
const LISTS: usize = 100;
const PAYLOAD_BYTES: usize = 1024;
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub async fn run(world: World) -> Result<()> {
    let region = Region::up(&world, &["--nodes", "0"])?;
    let cluster = region.aws(&world)?.json("eks", Method::GET, "/clusters/minato", None).await?;
    let server = region::connector(&world, &region.file()?, &cluster["cluster"])?;
    let tasks = world.tasks("echo");
    let echo = limit::echo(&world, &tasks)?;

    let body = |number: usize| {
        let map = json!({"metadata": {"name": format!("bench-{number}")}, "data": {"a": "x".repeat(PAYLOAD_BYTES)}});
        Bytes::from(map.to_string())
    };
    let (raw, _) = load(&world, &echo, OBJECTS, move |number| (Method::POST, "/".to_owned(), body(number))).await?;
    let create =
        load(&world, &server, OBJECTS, move |number| (Method::POST, CONFIG_MAPS.to_owned(), body(number))).await?;
    print("create", create, raw);
    let path = |number: usize| format!("{CONFIG_MAPS}/bench-{}", number % OBJECTS);
    let get = load(&world, &server, OBJECTS * 5, move |number| (Method::GET, path(number), Bytes::new())).await?;
    print("get", get, raw);
    let list = load(&world, &server, LISTS, |_| (Method::GET, CONFIG_MAPS.to_owned(), Bytes::new())).await?;
    print(&format!("list of {OBJECTS}"), list, raw);
    tasks.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

fn print(what: &str, (rate, latency): (f64, Duration), raw: f64) {
    let beside = format!("p50 {}; raw HTTPS echo {raw:.0}/s, ratio {:.2}", millis(latency), rate / raw);
    line(&format!("{what}, {CONNECTIONS} connections"), &format!("{rate:.0}/s"), &beside);
}

/// Requests per second and median latency of `count` requests over all connections.
async fn load(
    world: &World,
    connector: &Connector,
    count: usize,
    request: impl Fn(usize) -> (Method, String, Bytes) + Send + Sync + 'static,
) -> Result<(f64, Duration)> {
    let (next, request) = (Arc::new(AtomicUsize::new(0)), Arc::new(request));
    let (sender, mut results) = tokio::sync::mpsc::channel(CONNECTIONS);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connector.connect(world).await?);
    }
    let began = world.elapsed();
    for mut connection in connections {
        let (world2, next, request, sender) = (world.clone(), next.clone(), request.clone(), sender.clone());
        world.spawn("load", async move {
            let mut latencies = Vec::new();
            let outcome = loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break Ok(latencies);
                }
                let (method, path, body) = request(number);
                let began = world2.elapsed();
                if let Err(error) = connection.send(method, &path, body).await {
                    break Err(error);
                }
                latencies.push(world2.elapsed() - began);
            };
            // The receiver is gone only when another connection has already failed.
            let _ = sender.send(outcome).await;
        });
    }
    drop(sender);
    let mut latencies = Vec::with_capacity(count);
    while let Some(outcome) = results.recv().await {
        latencies.extend(outcome?);
    }
    Ok((rate(count, world.elapsed() - began), spread(latencies).median))
}
