//! 2,000 pods on 200 simulated nodes: created over HTTPS, scheduled, bound, started, and seen Running by a watch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use world::World;

use crate::https::Https;
use crate::limit;
use crate::region::{self, Region};
use crate::report::{line, rate};

const NODES: &str = "200";
const PODS: usize = 2000;
const CONNECTIONS: usize = 16;
const RUNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
const PATH: &str = "/api/v1/namespaces/default/pods";

pub async fn run(world: World) -> Result<()> {
    let channel = limit::channel_round_trips(&world, 200_000).await;
    for run in 1..=RUNS {
        let region = Region::up(&world, &["--nodes", NODES])?;
        let file = region.file()?;
        let cluster = region.aws(&world)?.json("eks", Method::GET, "/clusters/minato", None).await?["cluster"].take();
        wait_for_service_account(&world, &mut region::connect(&world, &file, &cluster).await?).await?;
        let connector = region::connector(&world, &file, &cluster)?;
        let mut watcher = connector.connect(&world).await?;
        let watch = watcher.open(Method::GET, &format!("{PATH}?watch=true"), Bytes::new()).await?;
        let began = world.elapsed();
        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..CONNECTIONS {
            let (mut connection, next) = (connector.connect(&world).await?, next.clone());
            world.spawn("create pods", async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= PODS {
                        return;
                    }
                    if let Err(error) = connection.send(Method::POST, PATH, pod(number)).await {
                        eprintln!("bench: {error:#}");
                        return;
                    }
                }
            });
        }
        let (bound, running) = world.timeout(PATIENCE, follow(&world, watch.into_body(), began)).await??;
        let beside =
            format!("goal 2000/s; upstream bound 200/s on such a machine; a bare channel {channel:.0} round trips/s");
        line(&format!("run {run}: bound"), &format!("{:.0}/s", rate(PODS, bound)), &beside);
        line(
            &format!("run {run}: Running, from the first create"),
            &format!("{:.0}/s", rate(PODS, running)),
            "goal 2000/s",
        );
    }
    Ok(())
}

fn pod(number: usize) -> Bytes {
    let container = json!({"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}});
    Bytes::from(
        json!({"metadata": {"name": format!("bench-{number}")}, "spec": {"containers": [container]}}).to_string(),
    )
}

/// Pods need the namespace's ServiceAccount, which a controller makes.
async fn wait_for_service_account(world: &World, https: &mut Https) -> Result<()> {
    let give_up = world.elapsed() + PATIENCE;
    while https.get("/api/v1/namespaces/default/serviceaccounts/default").await.is_err() {
        if world.elapsed() > give_up {
            bail!("namespace default has no ServiceAccount");
        }
        world.sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Times from the start until all pods were bound, and until all were Running.
async fn follow(world: &World, mut body: hyper::body::Incoming, began: Duration) -> Result<(Duration, Duration)> {
    let (mut bound, mut running) = (BTreeSet::new(), BTreeSet::new());
    let mut all_bound = None;
    let mut buffer = Vec::new();
    loop {
        let frame = body.frame().await.context("the watch ended")??;
        buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
        let mut start = 0;
        while let Some(end) = buffer[start..].iter().position(|byte| *byte == b'\n').map(|at| start + at) {
            let event: Value = serde_json::from_slice(&buffer[start..end])?;
            start = end + 1;
            let pod = &event["object"];
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if pod["spec"]["nodeName"].is_string() {
                bound.insert(name.clone());
            }
            if pod["status"]["phase"] == "Running" {
                running.insert(name);
            }
        }
        buffer.drain(..start);
        if bound.len() == PODS && all_bound.is_none() {
            all_bound = Some(world.elapsed() - began);
        }
        if let (Some(all_bound), true) = (all_bound, running.len() == PODS) {
            return Ok((all_bound, world.elapsed() - began));
        }
    }
}
