//! Regions in the simulated world, what is made in them, and what is looked at.

#![allow(dead_code)] // Each test uses its part.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use k8s_client::{Client, Options, Reply};
use k8s_object::UserInfo;
use k8s_object::resources::{DEPLOYMENTS, NODES, PODS, SERVICE_ACCOUNTS};
use k8s_object::views::{Deployment, Node, Pod};
use region::{Pace, Region};
use serde_json::{Value, json};
use store::{Disk, DiskOptions, Limits, SimulatedDisk, Store};
use world::World;

/// Longest virtual time that any wait may take: the slowest is a cluster at AWS's pace.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Between two looks at what is waited for, in virtual time.
const LOOK: Duration = Duration::from_millis(500);

/// How a region ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Shutdown,
    Killed,
    /// The machine loses power: what the disk had not made durable is gone, or half there.
    PowerLoss,
}

pub async fn until<F: Future<Output = bool>>(world: &World, what: &str, mut holds: impl FnMut() -> F) {
    let give_up = world.elapsed() + PATIENCE;
    while !holds().await {
        assert!(world.elapsed() < give_up, "waited in vain until {what}");
        world.sleep(LOOK).await;
    }
}

pub fn options(world: &World, store: &Store, pace: Pace) -> region::Options {
    region::Options {
        world: world.clone(),
        store: store.clone(),
        listener: None,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        region: "us-east-1".into(),
        account: "111122223333".into(),
        pace,
        audit_folder: None,
        outside: None,
    }
}

pub async fn start(world: &World, store: &Store, pace: Pace) -> Region {
    Region::start(options(world, store, pace)).await.unwrap()
}

/// Ends a region and starts the next one after a while, as long as an update of the program or a night takes.
pub async fn restart(
    world: &World,
    ground: &mut Ground,
    pace: Pace,
    region: Region,
    end: End,
    pause: Duration,
) -> Region {
    match end {
        End::Shutdown => assert_eq!(region.shutdown(Duration::from_secs(60)).await, Vec::<&str>::new()),
        End::Killed | End::PowerLoss => region.abort(),
    }
    drop(region);
    if let Some(disk) = &ground.disk {
        if end == End::PowerLoss {
            disk.crash();
        }
        ground.store.shutdown().await;
        disk.restart();
    }
    world.sleep(pause).await;
    if let Some(disk) = &ground.disk {
        ground.store = open(world, disk).await;
    }
    start(world, &ground.store, pace).await
}

/// What a region stands on: a store in memory, which stays, or one on a disk, which is opened again after every end.
pub struct Ground {
    pub store: Store,
    pub disk: Option<SimulatedDisk>,
}

impl Ground {
    pub fn memory(store: &Store) -> Ground {
        Ground { store: store.clone(), disk: None }
    }

    pub async fn disk(world: &World, seed: u64) -> Ground {
        let disk = SimulatedDisk::new(seed);
        Ground { store: open(world, &disk).await, disk: Some(disk) }
    }
}

async fn open(world: &World, disk: &SimulatedDisk) -> Store {
    // Short files, so that there are several, with snapshots between them.
    let options = DiskOptions {
        first_segment_bytes: 3 << 20,
        segment_bytes: 3 << 20,
        snapshot_bytes: 1 << 20,
        ..DiskOptions::default()
    };
    Store::open(world, Disk::simulated(disk), options).await.unwrap_or_else(|error| panic!("{error}"))
}

pub async fn call(region: &Region, service: &str, operation: &str, input: Value) -> Value {
    let answer = region.call_as_administrator(service, operation, &input).await;
    answer.unwrap_or_else(|error| panic!("{operation}: {error}"))
}

pub async fn role(region: &Region, name: &str, service: &str) -> String {
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]});
    let input = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
    call(region, "iam", "CreateRole", input).await["Role"]["Arn"].as_str().unwrap().to_owned()
}

pub async fn cluster_status(region: &Region) -> Value {
    let described = region.call_as_administrator("eks", "DescribeCluster", &json!({"name": "sim"})).await;
    described.map_or(Value::Null, |answer| answer["cluster"]["status"].clone())
}

pub async fn nodegroup(region: &Region) -> Value {
    let input = json!({"clusterName": "sim", "nodegroupName": "g"});
    let described = region.call_as_administrator("eks", "DescribeNodegroup", &input).await;
    described.map_or(Value::Null, |answer| answer["nodegroup"].clone())
}

pub async fn begin_cluster(region: &Region) {
    let role = role(region, "c", "eks.amazonaws.com").await;
    let subnets = subnets(region).await;
    call(
        region,
        "eks",
        "CreateCluster",
        json!({"name": "sim", "roleArn": role, "resourcesVpcConfig": {"subnetIds": subnets}}),
    )
    .await;
}

pub async fn subnets(region: &Region) -> Value {
    let subnets = call(region, "ec2", "DescribeSubnets", json!({})).await;
    subnets["Subnets"].as_array().unwrap().iter().map(|own| own["SubnetId"].clone()).collect()
}

pub async fn begin_nodegroup(region: &Region, desired: u32) {
    let (role, subnets) = (role(region, "n", "ec2.amazonaws.com").await, subnets(region).await);
    let scaling = json!({"minSize": 1, "maxSize": 6, "desiredSize": desired});
    let group = json!({"clusterName": "sim", "nodegroupName": "g", "nodeRole": role, "subnets": subnets, "scalingConfig": scaling});
    call(region, "eks", "CreateNodegroup", group).await;
}

pub async fn active(world: &World, region: &Region) {
    until(world, "the cluster is active", || async { cluster_status(region).await == "ACTIVE" }).await;
}

pub async fn ready(world: &World, region: &Region, nodes: usize) -> Client {
    until(world, "the node group is active", || async { nodegroup(region).await["status"] == "ACTIVE" }).await;
    let client = admin(region);
    until(world, "its nodes are ready", || async {
        let (found, _) = client.list(&NODES, "").await.unwrap();
        found.len() == nodes && found.iter().all(|node| node.view::<Node>().unwrap().is_ready())
    })
    .await;
    client
}

pub fn root() -> UserInfo {
    UserInfo::new("admin", &["system:masters"])
}

pub fn admin(region: &Region) -> Client {
    region.kubernetes("sim", root()).expect("the control plane runs")
}

pub fn web(replicas: u32) -> Value {
    let labels = json!({"app": "web"});
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nginx:1"}]}},
        },
    })
}

pub async fn rolled_out(world: &World, client: &Client, replicas: i64) {
    until(world, &format!("{replicas} replicas are available"), || async {
        let object = client.get(&DEPLOYMENTS, "default", "web").await.unwrap();
        let view = object.view::<Deployment>().unwrap();
        let status = &view.status;
        status.observed_generation == view.metadata.generation
            && (status.available_replicas, status.replicas) == (replicas, replicas)
    })
    .await;
}

/// What of the pods must be the same afterwards: uid, node, address, container, restarts, whether they are ready, how often
/// they were written is not.
pub async fn pods(client: &Client) -> Vec<Value> {
    let options = Options { label_selector: Some("app=web".into()), ..Options::default() };
    let (pods, _) = client.list_with(&PODS, "default", options).await.unwrap();
    let fact = |pod: &std::sync::Arc<k8s_object::Object>| {
        let value = pod.value();
        let container = &value["status"]["containerStatuses"][0];
        assert!(pod.view::<Pod>().unwrap().is_ready(), "{value}");
        json!([
            value["metadata"]["name"],
            value["metadata"]["uid"],
            value["spec"]["nodeName"],
            value["status"]["podIP"],
            container["containerID"],
            container["restartCount"],
            container["state"],
        ])
    };
    pods.iter().map(fact).collect()
}

/// What of the nodes must be the same afterwards.
pub async fn nodes(client: &Client) -> Vec<Value> {
    let (nodes, _) = client.list(&NODES, "").await.unwrap();
    let fact = |node: &std::sync::Arc<k8s_object::Object>| {
        let value = node.value();
        let conditions = value["status"]["conditions"].as_array().unwrap();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
        let system = &value["status"]["nodeInfo"];
        json!([
            value["metadata"]["name"],
            value["metadata"]["uid"],
            value["spec"],
            ready["status"],
            ready["lastTransitionTime"],
            [&system["bootID"], &system["machineID"]],
        ])
    };
    nodes.iter().map(fact).collect()
}

/// Everything of an EKS cluster that its clients hold on to, keys of the account with it.
pub async fn identity(region: &Region) -> Value {
    let cluster = call(region, "eks", "DescribeCluster", json!({"name": "sim"})).await["cluster"].clone();
    let instances = call(region, "ec2", "DescribeInstances", json!({})).await;
    let administrator = region.administrator();
    json!([cluster, instances, administrator.access_key_id, administrator.secret_access_key, nodegroup(region).await])
}

pub async fn token_of(client: &Client) -> String {
    client.create(&SERVICE_ACCOUNTS, "default", json!({"metadata": {"name": "robot"}})).await.unwrap();
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86_400}});
    let answer = client.create_subresource(&SERVICE_ACCOUNTS, "default", "robot", "token", request).await.unwrap();
    let Reply::Value(answer) = answer else { panic!("a token request is not stored") };
    answer["status"]["token"].as_str().unwrap().to_owned()
}

/// Whom the API server takes the bearer of a token for.
pub async fn reviewed(client: &Client, token: &str) -> Value {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let reviews = k8s_object::GroupVersionResource::of("authentication.k8s.io", "v1", "tokenreviews");
    client.create(&reviews, "", review).await.unwrap().value()["status"].clone()
}

pub fn run<F: Future<Output = ()>>(seed: u64, scenario: impl FnOnce(World, Store) -> F) {
    let (world, mut simulation) = World::simulated(seed);
    let store = Store::memory(&world, Limits::default());
    simulation.block_on(scenario(world.clone(), store));
}
