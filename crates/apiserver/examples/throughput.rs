//! How fast the request path is without sockets: creates, gets, patches and lists of ConfigMaps, and what idle clusters cost.
//!
//! `cargo run --release -p apiserver --example throughput`

use apiserver::{ApiServer, Options};
use k8s_client::{Client, PatchType};
use k8s_object::{UserInfo, resources};
use serde_json::json;
use store::Store;
use world::{Tasks, World};

const OBJECTS: usize = 20_000;
const CLUSTERS: usize = 100;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let world = World::real();
        let tasks = world.tasks("throughput");
        let store = Store::memory(&world, store::Limits::default());
        let api = start(&world, &store, &tasks, "one/").await;
        let client = api.client(UserInfo::new("admin", &["system:masters"]), "throughput");
        requests(&world, &client).await;
        let (before, began) = (resident(), world.elapsed());
        let mut clusters = Vec::new();
        for index in 0..CLUSTERS {
            clusters.push(start(&world, &store, &tasks, &format!("idle{index}/")).await);
        }
        let took = (world.elapsed() - began).as_secs_f64() * 1000.0 / CLUSTERS as f64;
        println!("{CLUSTERS} idle clusters: {took:.1} ms and {} KiB each", (resident() - before) / CLUSTERS);
    });
}

async fn start(world: &World, store: &Store, tasks: &Tasks, prefix: &str) -> ApiServer {
    let options = Options::alone(world, store.keyspace(prefix));
    ApiServer::start(options, tasks).await.expect("an API server")
}

async fn requests(world: &World, client: &Client) {
    let maps = &resources::CONFIG_MAPS;
    let report = |what: &str, count: usize, began: std::time::Duration| {
        println!("{what}: {:.0}/s", count as f64 / (world.elapsed() - began).as_secs_f64());
    };
    let began = world.elapsed();
    for index in 0..OBJECTS {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{index}")}, "data": {"k": "x".repeat(1024)}});
        client.create(maps, "default", map).await.expect("created");
    }
    report("create", OBJECTS, began);
    let began = world.elapsed();
    for index in 0..OBJECTS {
        client.get(maps, "default", &format!("m{index}")).await.expect("there");
    }
    report("get", OBJECTS, began);
    let began = world.elapsed();
    for index in 0..OBJECTS {
        let patch = json!({"metadata": {"labels": {"l": index.to_string()}}});
        client.patch(maps, "default", &format!("m{index}"), "", PatchType::Merge, patch).await.expect("patched");
    }
    report("patch", OBJECTS, began);
    let began = world.elapsed();
    for _ in 0..20 {
        client.list(maps, "default").await.expect("listed");
    }
    report(&format!("list of {OBJECTS}"), 20, began);
}

/// Resident memory in KiB; 0 where the system does not tell.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse().ok()).unwrap_or(0)
}
