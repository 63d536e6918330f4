//! Two processes that are one region: each a [`Region`] on clones of one store, in one simulated world.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use k8s_client::{Client, Options, PatchType, Preconditions};
use k8s_object::UserInfo;
use k8s_object::resources::{CONFIG_MAPS, DEPLOYMENTS, NODES, PODS};
use k8s_object::views::Pod;
use region::{Pace, Region};
use serde_json::{Value, json};
use store::{Limits, Store};
use world::World;

/// Longest virtual time that any wait may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at what is waited for, in virtual time.
const LOOK: Duration = Duration::from_millis(20);
/// How long a process may be missed that has died.
const REPLACED: Duration = Duration::from_secs(5);

async fn until<F: Future<Output = bool>>(world: &World, what: &str, mut holds: impl FnMut() -> F) {
    let give_up = world.elapsed() + PATIENCE;
    while !holds().await {
        assert!(world.elapsed() < give_up, "waited in vain until {what}");
        world.sleep(LOOK).await;
    }
}

async fn process(world: &World, store: &Store) -> Region {
    let options = region::Options {
        world: world.clone(),
        store: store.clone(),
        listener: None,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        region: "us-east-1".into(),
        account: "111122223333".into(),
        pace: Pace::Instant,
        audit_folder: None,
        outside: None,
    };
    Region::start(options).await.unwrap()
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

async fn create_cluster(region: &Region, name: &str) {
    let role = role(region, &format!("{name}-cluster"), "eks.amazonaws.com").await;
    let subnets = subnets(region).await;
    let vpc = json!({"subnetIds": subnets});
    call(region, "eks", "CreateCluster", json!({"name": name, "roleArn": role, "resourcesVpcConfig": vpc})).await;
}

async fn create_nodes(region: &Region, cluster: &str, group: &str, count: u32) {
    let role = role(region, &format!("{cluster}-{group}"), "ec2.amazonaws.com").await;
    let scaling = json!({"minSize": 1, "maxSize": 10, "desiredSize": count});
    let input = json!({
        "clusterName": cluster, "nodegroupName": group, "nodeRole": role, "subnets": subnets(region).await,
        "scalingConfig": scaling,
    });
    call(region, "eks", "CreateNodegroup", input).await;
}

async fn subnets(region: &Region) -> Vec<String> {
    let answer = call(region, "ec2", "DescribeSubnets", json!({})).await;
    let subnets = answer["Subnets"].as_array().unwrap().iter();
    subnets.filter_map(|own| own["SubnetId"].as_str().map(str::to_owned)).collect()
}

async fn cluster_status(region: &Region, name: &str) -> String {
    let answer = call(region, "eks", "DescribeCluster", json!({"name": name})).await;
    answer["cluster"]["status"].as_str().unwrap().to_owned()
}

async fn nodegroup_status(region: &Region, cluster: &str, name: &str) -> String {
    let input = json!({"clusterName": cluster, "nodegroupName": name});
    let answer = call(region, "eks", "DescribeNodegroup", input).await;
    answer["nodegroup"]["status"].as_str().unwrap().to_owned()
}

fn admin(region: &Region, cluster: &str) -> Client {
    let user = UserInfo::new("admin", &["system:masters"]);
    region.kubernetes(cluster, user).expect("the control plane runs in this process")
}

fn deployment(replicas: usize) -> Value {
    let labels = json!({"app": "web"});
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}},
        },
    })
}

async fn scale(client: &Client, replicas: usize) {
    let patch = json!({"spec": {"replicas": replicas}});
    client.patch(&DEPLOYMENTS, "default", "web", "", PatchType::Merge, patch).await.unwrap();
}

/// Name, address and restarts of every ready pod of the deployment.
async fn ready(client: &Client) -> BTreeMap<String, (String, u64)> {
    let options = Options { label_selector: Some("app=web".into()), ..Options::default() };
    let (pods, _) = client.list_with(&PODS, "default", options).await.unwrap();
    let ready = pods.iter().filter(|pod| pod.view::<Pod>().unwrap().is_ready());
    let facts = |pod: &Value| {
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap();
        (pod["status"]["podIP"].as_str().unwrap().to_owned(), restarts)
    };
    ready.map(|pod| (pod.meta().name.clone(), facts(&pod.value()))).collect()
}

/// A cluster with nodes and a deployment of six, made through both.
async fn scene(world: &World, one: &Region, two: &Region) -> (Client, Client) {
    create_cluster(one, "blue").await;
    // Whoever is asked has it from the moment that it was accepted, and a usable endpoint when it is active.
    assert_eq!(call(two, "eks", "ListClusters", json!({})).await["clusters"], json!(["blue"]));
    until(world, "the cluster is active", || async { cluster_status(two, "blue").await == "ACTIVE" }).await;
    let clients = (admin(one, "blue"), admin(two, "blue"));
    create_nodes(two, "blue", "workers", 3).await;
    until(world, "there are nodes", || async { nodegroup_status(one, "blue", "workers").await == "ACTIVE" }).await;
    clients.1.create(&DEPLOYMENTS, "default", deployment(6)).await.unwrap();
    until(world, "the deployment is ready", || async { ready(&clients.0).await.len() == 6 }).await;
    clients
}

fn with_two(seed: u64, test: impl AsyncFnOnce(&World, &Store, Region, Region)) {
    let (world, mut simulation) = World::simulated(seed);
    let store = Store::memory(&world, Limits::default());
    simulation.block_on(async {
        let one = process(&world, &store).await;
        // The first one leads.
        world.sleep(Duration::from_millis(10)).await;
        let two = process(&world, &store).await;
        test(&world, &store, one, two).await;
    });
}

#[test]
fn both_are_one_region() {
    with_two(1, async |world, _, one, two| {
        let (first, second) = (one.administrator(), two.administrator());
        assert_eq!(
            (first.access_key_id, first.secret_access_key),
            (second.access_key_id, second.secret_access_key),
            "one account"
        );
        let vpcs = async |region| call(region, "ec2", "DescribeVpcs", json!({})).await["Vpcs"].clone();
        assert_eq!(vpcs(&one).await, vpcs(&two).await);
        let (client, other) = scene(world, &one, &two).await;
        let map = json!({"metadata": {"name": "a"}, "data": {"key": "value"}});
        client.create(&CONFIG_MAPS, "default", map).await.unwrap();
        let read = other.get(&CONFIG_MAPS, "default", "a").await.unwrap();
        assert_eq!(read.value()["data"]["key"], "value");
        let describe =
            async |region| call(region, "eks", "DescribeCluster", json!({"name": "blue"})).await["cluster"].clone();
        assert_eq!(describe(&one).await, describe(&two).await, "without sockets even the endpoint is the same");
        // What is made through both at the same time has an address of its own each.
        scale(&client, 20).await;
        scale(&other, 40).await;
        until(world, "all are ready", || async { ready(&client).await.len() == 40 }).await;
        let pods = ready(&other).await;
        let mut addresses: Vec<&String> = pods.values().map(|(address, _)| address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 40);
        one.shutdown(Duration::from_secs(5)).await;
        two.shutdown(Duration::from_secs(5)).await;
    });
}

#[test]
fn the_other_takes_over_from_one_that_died() {
    for seed in 0..3 {
        with_two(seed, async |world, store, one, two| {
            let (_, client) = scene(world, &one, &two).await;
            let before = ready(&client).await;
            one.abort();
            drop(one);
            let died = world.elapsed();
            scale(&client, 9).await;
            until(world, "the deployment has grown", || async { ready(&client).await.len() == 9 }).await;
            let took = world.elapsed() - died;
            assert!(took <= REPLACED, "seed {seed}: it took {took:?}");
            let after = ready(&client).await;
            for (name, facts) in &before {
                assert_eq!(after.get(name), Some(facts), "seed {seed}: {name} runs on where it ran");
            }
            // Nothing is taken for dead that only was not looked after for a while.
            world.sleep(Duration::from_secs(90)).await;
            assert_eq!(ready(&client).await, after, "seed {seed}");
            let (nodes, _) = client.list(&NODES, "").await.unwrap();
            assert_eq!(nodes.len(), 3);
            // Somebody takes the election away by hand: whoever wins it goes on.
            store.delete(store::KeyRange::key("/region/leader")).await.unwrap();
            // Life cycles go on too, of what there was and of what is new.
            let input = json!({"clusterName": "blue", "nodegroupName": "workers", "scalingConfig": {"minSize": 1, "maxSize": 10, "desiredSize": 4}});
            call(&two, "eks", "UpdateNodegroupConfig", input).await;
            until(world, "there is a fourth node", || async { client.list(&NODES, "").await.unwrap().0.len() == 4 })
                .await;
            // A process that starts later follows, and leads when this one goes.
            let three = process(world, store).await;
            create_cluster(&three, "green").await;
            until(world, "it is active", || async { cluster_status(&three, "green").await == "ACTIVE" }).await;
            two.shutdown(Duration::from_secs(5)).await;
            let handed_over = world.elapsed();
            let client = admin(&three, "blue");
            scale(&client, 12).await;
            until(world, "the deployment has grown", || async { ready(&client).await.len() == 12 }).await;
            let took = world.elapsed() - handed_over;
            assert!(took <= Duration::from_secs(2), "seed {seed}: who resigns is followed at once, not after {took:?}");
            for (name, facts) in &after {
                assert_eq!(ready(&client).await.get(name), Some(facts), "seed {seed}");
            }
            three.shutdown(Duration::from_secs(5)).await;
        });
    }
}

#[test]
fn a_deleted_cluster_is_gone_everywhere() {
    with_two(7, async |world, store, one, two| {
        let (_, client) = scene(world, &one, &two).await;
        call(&two, "eks", "DeleteNodegroup", json!({"clusterName": "blue", "nodegroupName": "workers"})).await;
        let names =
            async || call(&one, "eks", "ListNodegroups", json!({"clusterName": "blue"})).await["nodegroups"].clone();
        until(world, "the node group is gone", || async { names().await == json!([]) }).await;
        call(&two, "eks", "DeleteCluster", json!({"name": "blue"})).await;
        let clusters = async |region| call(region, "eks", "ListClusters", json!({})).await["clusters"].clone();
        until(world, "the cluster is gone", || async { clusters(&one).await == json!([]) }).await;
        let user = || UserInfo::new("admin", &["system:masters"]);
        until(world, "no control plane runs", || async {
            one.kubernetes("blue", user()).is_none() && two.kubernetes("blue", user()).is_none()
        })
        .await;
        // A client that is still there writes nothing into what comes after.
        let map = json!({"metadata": {"name": "late"}});
        assert!(client.create(&CONFIG_MAPS, "default", map).await.is_err());
        let left = store.range(store::RangeRequest::new(store::KeyRange::prefix("/clusters/blue/"))).await.unwrap();
        assert_eq!(left.count, 0, "{:?}", left.kvs.first());
        create_cluster(&one, "blue-green").await;
        let input = json!({"RoleName": "blue-cluster"});
        let role = call(&one, "iam", "GetRole", input).await["Role"]["Arn"].clone();
        let vpc = json!({"subnetIds": subnets(&one).await});
        call(&one, "eks", "CreateCluster", json!({"name": "blue", "roleArn": role, "resourcesVpcConfig": vpc})).await;
        until(world, "one of the same name is active", || async { cluster_status(&two, "blue").await == "ACTIVE" })
            .await;
        let client = admin(&two, "blue");
        assert!(client.get(&DEPLOYMENTS, "default", "web").await.unwrap_err().is_not_found(), "it is another one");
        client.create(&CONFIG_MAPS, "default", json!({"metadata": {"name": "new"}})).await.unwrap();
        admin(&one, "blue").delete(&CONFIG_MAPS, "default", "new", Preconditions::default()).await.unwrap();
        one.shutdown(Duration::from_secs(5)).await;
        two.shutdown(Duration::from_secs(5)).await;
    });
}
