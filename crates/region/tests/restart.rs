//! A region that ends, in order or abruptly, and starts again on the same store is the same region to everybody: the same
//! clusters, keys, tokens, nodes and pods, and what was under way goes on.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use k8s_client::{Client, Options, PatchType, Reply};
use k8s_object::UserInfo;
use k8s_object::resources::{CONFIG_MAPS, DEPLOYMENTS, NODES, PODS, SERVICE_ACCOUNTS, SERVICES};
use k8s_object::views::{Deployment, Node, Pod};
use region::{Pace, Region, StartError};
use serde_json::{Value, json};
use store::{Limits, Store};
use world::World;

/// Longest virtual time that any wait may take: the slowest is a cluster at AWS's pace.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Between two looks at what is waited for, in virtual time.
const LOOK: Duration = Duration::from_millis(500);

/// How a region ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Shutdown,
    Killed,
}

async fn until<F: Future<Output = bool>>(world: &World, what: &str, mut holds: impl FnMut() -> F) {
    let give_up = world.elapsed() + PATIENCE;
    while !holds().await {
        assert!(world.elapsed() < give_up, "waited in vain until {what}");
        world.sleep(LOOK).await;
    }
}

fn options(world: &World, store: &Store, pace: Pace) -> region::Options {
    region::Options {
        world: world.clone(),
        store: store.clone(),
        listener: None,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        region: "us-east-1".into(),
        account: "111122223333".into(),
        pace,
    }
}

async fn start(world: &World, store: &Store, pace: Pace) -> Region {
    Region::start(options(world, store, pace)).await.unwrap()
}

/// Ends a region and starts the next one after a while, as long as an update of the program or a night takes.
async fn restart(world: &World, store: &Store, pace: Pace, region: Region, end: End, pause: Duration) -> Region {
    match end {
        End::Shutdown => assert_eq!(region.shutdown(Duration::from_secs(60)).await, Vec::<&str>::new()),
        End::Killed => region.abort(),
    }
    drop(region);
    world.sleep(pause).await;
    start(world, store, pace).await
}

async fn call(region: &Region, service: &str, operation: &str, input: Value) -> Value {
    let answer = region.call_as_administrator(service, operation, &input).await;
    answer.unwrap_or_else(|error| panic!("{operation}: {error}"))
}

async fn role(region: &Region, name: &str, service: &str) -> String {
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]});
    let input = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
    call(region, "iam", "CreateRole", input).await["Role"]["Arn"].as_str().unwrap().to_owned()
}

async fn cluster_status(region: &Region) -> Value {
    let described = region.call_as_administrator("eks", "DescribeCluster", &json!({"name": "sim"})).await;
    described.map_or(Value::Null, |answer| answer["cluster"]["status"].clone())
}

async fn nodegroup(region: &Region) -> Value {
    let input = json!({"clusterName": "sim", "nodegroupName": "g"});
    let described = region.call_as_administrator("eks", "DescribeNodegroup", &input).await;
    described.map_or(Value::Null, |answer| answer["nodegroup"].clone())
}

async fn begin_cluster(region: &Region) {
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

async fn subnets(region: &Region) -> Value {
    let subnets = call(region, "ec2", "DescribeSubnets", json!({})).await;
    subnets["Subnets"].as_array().unwrap().iter().map(|own| own["SubnetId"].clone()).collect()
}

async fn begin_nodegroup(region: &Region, desired: u32) {
    let (role, subnets) = (role(region, "n", "ec2.amazonaws.com").await, subnets(region).await);
    let scaling = json!({"minSize": 1, "maxSize": 6, "desiredSize": desired});
    let group = json!({"clusterName": "sim", "nodegroupName": "g", "nodeRole": role, "subnets": subnets, "scalingConfig": scaling});
    call(region, "eks", "CreateNodegroup", group).await;
}

async fn active(world: &World, region: &Region) {
    until(world, "the cluster is active", || async { cluster_status(region).await == "ACTIVE" }).await;
}

async fn ready(world: &World, region: &Region, nodes: usize) -> Client {
    until(world, "the node group is active", || async { nodegroup(region).await["status"] == "ACTIVE" }).await;
    let client = admin(region);
    until(world, "its nodes are ready", || async {
        let (found, _) = client.list(&NODES, "").await.unwrap();
        found.len() == nodes && found.iter().all(|node| node.view::<Node>().unwrap().is_ready())
    })
    .await;
    client
}

fn admin(region: &Region) -> Client {
    region.kubernetes("sim", UserInfo::new("admin", &["system:masters"])).expect("the control plane runs")
}

fn web(replicas: u32) -> Value {
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

async fn rolled_out(world: &World, client: &Client, replicas: i64) {
    until(world, &format!("{replicas} replicas are available"), || async {
        let object = client.get(&DEPLOYMENTS, "default", "web").await.unwrap();
        let view = object.view::<Deployment>().unwrap();
        let status = &view.status;
        status.observed_generation == view.metadata.generation
            && (i64::from(status.available_replicas), i64::from(status.replicas)) == (replicas, replicas)
    })
    .await;
}

/// What of the pods must be the same afterwards: uid, node, address, container, restarts, whether they are ready, how often
/// they were written is not.
async fn pods(client: &Client) -> Vec<Value> {
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
async fn nodes(client: &Client) -> Vec<Value> {
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
async fn identity(region: &Region) -> Value {
    let cluster = call(region, "eks", "DescribeCluster", json!({"name": "sim"})).await["cluster"].clone();
    let instances = call(region, "ec2", "DescribeInstances", json!({})).await;
    let administrator = region.administrator();
    json!([cluster, instances, administrator.access_key_id, administrator.secret_access_key, nodegroup(region).await])
}

async fn token_of(client: &Client) -> String {
    client.create(&SERVICE_ACCOUNTS, "default", json!({"metadata": {"name": "robot"}})).await.unwrap();
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86_400}});
    let answer = client.create_subresource(&SERVICE_ACCOUNTS, "default", "robot", "token", request).await.unwrap();
    let Reply::Value(answer) = answer else { panic!("a token request is not stored") };
    answer["status"]["token"].as_str().unwrap().to_owned()
}

/// Whom the API server takes the bearer of a token for.
async fn reviewed(client: &Client, token: &str) -> Value {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let reviews = k8s_object::GroupVersionResource::of("authentication.k8s.io", "v1", "tokenreviews");
    client.create(&reviews, "", review).await.unwrap().value()["status"].clone()
}

fn run<F: Future<Output = ()>>(seed: u64, scenario: impl FnOnce(World, Store) -> F) {
    let (world, mut simulation) = World::simulated(seed);
    let store = Store::memory(&world, Limits::default());
    simulation.block_on(scenario(world.clone(), store));
}

#[test]
fn a_region_is_as_it_was() {
    let cases = [
        (End::Shutdown, Pace::Instant, Duration::ZERO),
        (End::Shutdown, Pace::Real, Duration::from_secs(8 * 3600)),
        (End::Killed, Pace::Instant, Duration::from_secs(3600)),
        (End::Killed, Pace::Real, Duration::from_secs(30)),
    ];
    for (seed, (end, pace, pause)) in (1..).zip(cases) {
        run(seed, async |world, store| {
            let region = start(&world, &store, pace).await;
            begin_cluster(&region).await;
            active(&world, &region).await;
            begin_nodegroup(&region, 3).await;
            let client = ready(&world, &region, 3).await;
            client.create(&DEPLOYMENTS, "default", web(6)).await.unwrap();
            let service =
                json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
            let service = client.create(&SERVICES, "default", service).await.unwrap().value()["spec"].clone();
            rolled_out(&world, &client, 6).await;
            let token = token_of(&client).await;
            let before = (identity(&region).await, nodes(&client).await, pods(&client).await);
            let known = reviewed(&client, &token).await;
            assert_eq!(known["user"]["username"], "system:serviceaccount:default:robot", "{known}");
            let revision = store.revision();

            let region = restart(&world, &store, pace, region, end, pause).await;
            until(&world, "the control plane runs", || async {
                region.kubernetes("sim", UserInfo::new("admin", &["system:masters"])).is_some()
            })
            .await;
            let client = admin(&region);
            assert_eq!(reviewed(&client, &token).await, known, "{end:?}: a token issued before is still valid");
            // Longer than a silent node is borne and its pods are spared.
            world.sleep(Duration::from_secs(600)).await;
            let after = (identity(&region).await, nodes(&client).await, pods(&client).await);
            assert_eq!(after, before, "{end:?} at pace {pace:?} for {pause:?}");
            let found = client.get(&SERVICES, "default", "web").await.unwrap().value()["spec"].clone();
            assert_eq!(found, service);
            let written = client.create(&CONFIG_MAPS, "default", json!({"metadata": {"name": "later"}})).await.unwrap();
            assert!(written.meta().resource_version.parse::<i64>().unwrap() > revision);
            let scale = json!({"spec": {"replicas": 9}});
            client.patch(&DEPLOYMENTS, "default", "web", "", PatchType::Merge, scale).await.unwrap();
            rolled_out(&world, &client, 9).await;
            let grown = pods(&client).await;
            let addresses: std::collections::BTreeSet<_> = grown.iter().map(|pod| pod[3].to_string()).collect();
            assert_eq!(addresses.len(), 9, "no two pods have one address: {grown:?}");
            assert!(before.2.iter().all(|pod| grown.contains(pod)), "the old ones stay");
            region.shutdown(Duration::from_secs(60)).await;
        });
    }
}

/// A life cycle that is interrupted at any moment ends as it would have.
#[test]
fn what_was_under_way_goes_on() {
    for (seed, end) in [(11, End::Shutdown), (12, End::Killed)] {
        run(seed, async |world, store| {
            let pause = Duration::from_secs(90);
            let mut region = start(&world, &store, Pace::Real).await;
            begin_cluster(&region).await;
            for moment in [1, 60, 200] {
                world.sleep(Duration::from_secs(moment)).await;
                assert_eq!(cluster_status(&region).await, "CREATING");
                region = restart(&world, &store, Pace::Real, region, end, pause).await;
            }
            active(&world, &region).await;
            begin_nodegroup(&region, 2).await;
            for moment in [1, 15, 20] {
                world.sleep(Duration::from_secs(moment)).await;
                region = restart(&world, &store, Pace::Real, region, end, Duration::from_secs(1)).await;
            }
            let client = ready(&world, &region, 2).await;
            client.create(&DEPLOYMENTS, "default", web(4)).await.unwrap();
            rolled_out(&world, &client, 4).await;
            let input = json!({"clusterName": "sim", "nodegroupName": "g", "scalingConfig": {"desiredSize": 4}});
            call(&region, "eks", "UpdateNodegroupConfig", input).await;
            world.sleep(Duration::from_secs(2)).await;
            region = restart(&world, &store, Pace::Real, region, end, pause).await;
            ready(&world, &region, 4).await;
            let input = json!({"clusterName": "sim", "nodegroupName": "g", "scalingConfig": {"desiredSize": 1}});
            call(&region, "eks", "UpdateNodegroupConfig", input).await;
            world.sleep(Duration::from_secs(2)).await;
            region = restart(&world, &store, Pace::Real, region, end, pause).await;
            let client = ready(&world, &region, 1).await;
            rolled_out(&world, &client, 4).await;
            call(&region, "eks", "DeleteNodegroup", json!({"clusterName": "sim", "nodegroupName": "g"})).await;
            world.sleep(Duration::from_secs(10)).await;
            region = restart(&world, &store, Pace::Real, region, end, pause).await;
            until(&world, "the node group is gone", || async { nodegroup(&region).await.is_null() }).await;
            call(&region, "eks", "DeleteCluster", json!({"name": "sim"})).await;
            world.sleep(Duration::from_secs(10)).await;
            region = restart(&world, &store, Pace::Real, region, end, pause).await;
            until(&world, "the cluster is gone", || async { cluster_status(&region).await.is_null() }).await;
            for prefix in ["/clusters/", "/control-planes/"] {
                let left = store.range(store::RangeRequest::new(store::KeyRange::prefix(prefix))).await.unwrap();
                assert_eq!(left.kvs, [], "nothing of the cluster is left");
            }
            region.shutdown(Duration::from_secs(60)).await;
        });
    }
}

#[test]
fn a_store_belongs_to_one_region() {
    run(21, async |world, store| {
        let region = start(&world, &store, Pace::Instant).await;
        region.shutdown(Duration::from_secs(60)).await;
        for (account, name) in [("444455556666", "us-east-1"), ("111122223333", "eu-west-1")] {
            let mut other = options(&world, &store, Pace::Instant);
            (other.account, other.region) = (account.into(), name.into());
            let Err(error) = Region::start(other).await else { panic!("{account} {name} is refused") };
            assert!(matches!(error, StartError::OtherRegion { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains("region us-east-1 of account 111122223333, not "), "{text}");
        }
        start(&world, &store, Pace::Instant).await.shutdown(Duration::from_secs(60)).await;
    });
}
