//! What an API server holds in memory: bytes for each pod beside its JSON, a cluster of 150,000 pods and 5,000 nodes, and each
//! further API server that has nothing but what every cluster has.
//!
//! The servers are in this process, on a durable store, and are asked through their own pipeline. Figures are growth of resident
//! memory: they count what the allocator wastes, keys, indices, metadata and the store's copy.

mod objects;
mod protobuf;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::store::Store;
use anyhow::{Result, bail};
use apiserver::{ApiServer, Options};
use k8s_client::{Client, PatchType};
use k8s_object::{ApiError, UserInfo};
use world::{Tasks, World};

use crate::report::line;
use crate::store::data::{Directory, open};
use crate::store::resident;
use objects::{NAMESPACES, NODE, POD, namespace};

const NODES: usize = 5_000;
const PODS: usize = 150_000;
/// Tasks that write at a time, so that groups of transactions share a sync.
const WRITERS: usize = 64;
/// API servers beside the first.
const FURTHER: usize = 20;

pub async fn run(world: World) -> Result<()> {
    let directory = Directory::new(&world)?;
    let store = open(&world, &directory).await?;
    let tasks = world.tasks("bench memory");
    let before = resident()?;
    let server = start(&world, &store, &tasks, "first").await?;
    let first = resident()?.saturating_sub(before);
    let mut further = Vec::new();
    let before = resident()?;
    for number in 0..FURTHER {
        further.push(start(&world, &store, &tasks, &format!("further-{number}")).await?);
    }
    let each = resident()?.saturating_sub(before) as f64 / FURTHER as f64;
    line(
        &format!("each of {FURTHER} further idle API servers"),
        &megabytes(each),
        &format!("the first, with what all share: {}", megabytes(first as f64)),
    );
    load(&world, &store, &server).await?;
    drop(further);
    tasks.shutdown(std::time::Duration::from_secs(5)).await;
    store.shutdown().await;
    Ok(())
}

async fn load(world: &World, store: &Store, server: &ApiServer) -> Result<()> {
    let client = |agent: &str| server.client(UserInfo::new("admin", &["system:masters"]), agent);
    let (controllers, kubelets) = (client("kube-controller-manager"), client("kubelet"));
    for number in 0..NAMESPACES {
        objects::create_namespace(&controllers, number).await?;
    }
    let writer = kubelets.clone();
    many(world, NODES, move |number| {
        let writer = writer.clone();
        async move {
            writer.create(&NODE, "", objects::node(number)).await?;
            let name = objects::node_name(number);
            writer.patch(&NODE, "", &name, "status", PatchType::Strategic, objects::node_status(number)).await
        }
    })
    .await?;
    let before = settled(store).await?;
    many(world, PODS, move |number| {
        let (controllers, kubelets) = (controllers.clone(), kubelets.clone());
        async move {
            let pod = controllers.create(&POD, &namespace(number), objects::pod(number, NODES)).await?;
            let status = objects::pod_status(number);
            kubelets.patch(&POD, &namespace(number), &pod.meta().name, "status", PatchType::Strategic, status).await
        }
    })
    .await?;
    let loaded = resident()?;
    let after = settled(store).await?;
    let bytes = json_bytes(&client("bench")).await?;
    line(
        "a pod in memory, of its JSON",
        &format!("{:.2} times", after.saturating_sub(before) as f64 / bytes as f64),
        &format!("goal 2; {PODS} pods of {} bytes", bytes / PODS),
    );
    line(
        &format!("{PODS} pods and {NODES} nodes"),
        &megabytes(after as f64),
        &format!("goal 1500 MB; {} with the history that stays for minutes", megabytes(loaded as f64)),
    );
    let sent = protobuf::read_all(server, PODS).await?;
    line(
        "a pod in memory, once somebody read it in protobuf",
        &format!("{:.2} times", resident()?.saturating_sub(before) as f64 / bytes as f64),
        &format!("its message is {} bytes", sent / PODS),
    );
    Ok(())
}

/// An API server of its own in a store that others use too.
async fn start(world: &World, store: &Store, tasks: &Tasks, name: &str) -> Result<ApiServer> {
    let options = Options {
        token_authenticators: vec![protobuf::administrator()],
        ..Options::alone(world, store.keyspace(&format!("{name}/")))
    };
    Ok(ApiServer::start(options, tasks).await?)
}

/// Does something for all numbers below `count`, [`WRITERS`] at a time.
async fn many<F, T>(world: &World, count: usize, each: impl Fn(usize) -> F + Clone + Send + 'static) -> Result<()>
where
    F: Future<Output = Result<T, ApiError>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let (sender, mut ended) = tokio::sync::mpsc::channel(WRITERS);
    for _ in 0..WRITERS {
        let (next, sender, each) = (next.clone(), sender.clone(), each.clone());
        world.spawn("write", async move {
            let outcome = loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break Ok(());
                }
                if let Err(error) = each(number).await {
                    break Err(error);
                }
            };
            // The receiver is gone only when another has failed already.
            let _ = sender.send(outcome).await;
        });
    }
    drop(sender);
    while let Some(outcome) = ended.recv().await {
        outcome?;
    }
    Ok(())
}

/// Resident memory once history is gone, which has limits of its own.
async fn settled(store: &Store) -> Result<u64> {
    match store.compact(store.current_revision().await?).await {
        Ok(()) | Err(::store::StoreError::Compacted { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    resident()
}

/// Of all pods.
async fn json_bytes(client: &Client) -> Result<usize> {
    let mut bytes = 0;
    for number in 0..NAMESPACES {
        let (pods, _) = client.list(&POD, &namespace(number)).await?;
        bytes += pods.iter().map(|pod| pod.json().len()).sum::<usize>();
    }
    if bytes == 0 {
        bail!("there are no pods");
    }
    Ok(bytes)
}

fn megabytes(bytes: f64) -> String {
    format!("{:.2} MB", bytes / 1e6)
}
