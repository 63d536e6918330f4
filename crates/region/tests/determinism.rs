//! The same simulated region run twice from one seed gives the same event log, byte for byte: every revision of everything that
//! the region and its clusters store, certificates and tokens included.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_client::{Client, Options, PatchType, Preconditions};
use k8s_object::UserInfo;
use k8s_object::resources::{DEPLOYMENTS, NODES, PODS};
use k8s_object::views::{Deployment, Pod};
use region::{Pace, Region};
use serde_json::{Value, json};
use store::{EventKind, KeyRange, Limits, Store, WatchRequest};
use world::World;

/// Longest virtual time that any wait may take: the slowest is a node group at AWS's pace.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Between two looks at what is waited for, in virtual time.
const LOOK: Duration = Duration::from_millis(500);

async fn until<F: Future<Output = bool>>(world: &World, what: &str, mut holds: impl FnMut() -> F) {
    let give_up = world.elapsed() + PATIENCE;
    while !holds().await {
        assert!(world.elapsed() < give_up, "waited in vain until {what}");
        world.sleep(LOOK).await;
    }
}

async fn role(region: &Region, name: &str, service: &str) -> String {
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]});
    let input = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
    let answer = region.call_as_administrator("iam", "CreateRole", &input).await.unwrap();
    answer["Role"]["Arn"].as_str().unwrap().to_owned()
}

async fn eks(region: &Region, operation: &str, input: Value) -> Value {
    region.call_as_administrator("eks", operation, &input).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
}

/// A cluster with a node group of three.
async fn cluster(world: &World, region: &Region) -> Client {
    let (cluster_role, node_role) =
        (role(region, "c", "eks.amazonaws.com").await, role(region, "n", "ec2.amazonaws.com").await);
    let subnets = region.call_as_administrator("ec2", "DescribeSubnets", &json!({})).await.unwrap();
    let subnets: Vec<&str> =
        subnets["Subnets"].as_array().unwrap().iter().filter_map(|own| own["SubnetId"].as_str()).collect();
    eks(
        region,
        "CreateCluster",
        json!({"name": "sim", "roleArn": cluster_role, "resourcesVpcConfig": {"subnetIds": subnets}}),
    )
    .await;
    until(world, "the cluster is active", || async {
        eks(region, "DescribeCluster", json!({"name": "sim"})).await["cluster"]["status"] == "ACTIVE"
    })
    .await;
    let scaling = json!({"minSize": 1, "maxSize": 4, "desiredSize": 3});
    let group = json!({"clusterName": "sim", "nodegroupName": "g", "nodeRole": node_role, "subnets": subnets, "scalingConfig": scaling});
    eks(region, "CreateNodegroup", group).await;
    until(world, "the node group is active", || async {
        let described = eks(region, "DescribeNodegroup", json!({"clusterName": "sim", "nodegroupName": "g"})).await;
        described["nodegroup"]["status"] == "ACTIVE"
    })
    .await;
    region.kubernetes("sim", UserInfo::new("admin", &["system:masters"])).unwrap()
}

fn deployment(image: &str) -> Value {
    let labels = json!({"app": "web"});
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 12,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}},
        },
    })
}

async fn rolled_out(client: &Client, image: &str) -> bool {
    let object = client.get(&DEPLOYMENTS, "default", "web").await.unwrap();
    let view = object.view::<Deployment>().unwrap();
    let status = &view.status;
    let counts = (status.updated_replicas, status.available_replicas, status.replicas);
    if status.observed_generation != view.metadata.generation || counts != (12, 12, 12) {
        return false;
    }
    let options = Options { label_selector: Some("app=web".into()), ..Options::default() };
    let (pods, _) = client.list_with(&PODS, "default", options).await.unwrap();
    let pods: Vec<_> = pods.iter().map(|pod| pod.view::<Pod>().unwrap()).collect();
    pods.len() == 12 && pods.iter().all(|pod| pod.spec.containers[0].image == image && pod.is_ready())
}

/// The whole scenario: create, deploy, roll out, lose a node; then all that was ever stored.
fn run(seed: u64, pace: Pace) -> (String, Duration) {
    let (world, mut simulation) = World::simulated(seed);
    let log = simulation.block_on(async {
        let options = region::Options {
            world: world.clone(),
            store: Store::memory(&world, Limits::default()),
            listener: None,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            region: "us-east-1".into(),
            account: "111122223333".into(),
            pace,
            audit_folder: None,
            outside: None,
        };
        let region = Region::start(options).await.unwrap();
        let recorder = Recorder::start(&world, &region).await;
        let client = cluster(&world, &region).await;
        client.create(&DEPLOYMENTS, "default", deployment("nginx:1")).await.unwrap();
        until(&world, "the deployment is rolled out", || rolled_out(&client, "nginx:1")).await;
        let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "nginx:2"}]}}}});
        client.patch(&DEPLOYMENTS, "default", "web", "", PatchType::Strategic, image).await.unwrap();
        until(&world, "the new version is rolled out", || rolled_out(&client, "nginx:2")).await;
        let (nodes, _) = client.list(&NODES, "").await.unwrap();
        assert_eq!(nodes.len(), 3);
        let lost = nodes[1].meta().name.clone();
        client.delete(&NODES, "", &lost, Preconditions::default()).await.unwrap();
        until(&world, "the deployment has recovered from the loss of a node", || async {
            let (pods, _) = client.list(&PODS, "default").await.unwrap();
            let elsewhere = pods.iter().all(|pod| pod.view::<Pod>().unwrap().spec.node_name != lost);
            elsewhere && rolled_out(&client, "nginx:2").await
        })
        .await;
        let log = recorder.finish(&world, &region).await;
        region.shutdown(Duration::from_secs(60)).await;
        log
    });
    (log, world.elapsed())
}

/// Writes down every revision of every key as it happens: the store forgets its history after a while.
struct Recorder {
    log: Arc<Mutex<(i64, String)>>,
}

impl Recorder {
    async fn start(world: &World, region: &Region) -> Recorder {
        let log = Arc::new(Mutex::new((0, String::new())));
        let mut watcher =
            region.store().watch(WatchRequest { from: Some(1), ..WatchRequest::new(KeyRange::all()) }).await.unwrap();
        let written = log.clone();
        world.spawn("recorder", async move {
            while let Ok(batch) = watcher.next().await {
                let mut log = written.lock().unwrap();
                for event in batch.events {
                    let kind = if event.kind == EventKind::Put { "put" } else { "delete" };
                    let (key, value) =
                        (String::from_utf8_lossy(&event.kv.key), String::from_utf8_lossy(&event.kv.value));
                    writeln!(log.1, "{} {kind} {key} {value}", event.kv.mod_revision).unwrap();
                }
                log.0 = batch.revision;
            }
        });
        Recorder { log }
    }

    /// All there is up to now.
    async fn finish(&self, world: &World, region: &Region) -> String {
        let last = region.store().revision();
        until(world, "the log is written", || async { self.log.lock().unwrap().0 >= last }).await;
        self.log.lock().unwrap().1.clone()
    }
}

/// Where two logs part.
fn difference(a: &str, b: &str) -> Option<(usize, String, String)> {
    let mut lines = a.lines().zip(b.lines()).enumerate();
    let found = lines.find(|(_, (a, b))| a != b).map(|(at, (a, b))| (at, a.to_owned(), b.to_owned()));
    found.or_else(|| (a.len() != b.len()).then(|| (a.lines().count(), "(end)".into(), "(end)".into())))
}

#[test]
fn one_seed_gives_one_event_log() {
    for (seed, pace) in [(1, Pace::Instant), (2, Pace::Real)] {
        let ((first, took), (second, took_again)) = (run(seed, pace), run(seed, pace));
        if let Some((line, a, b)) = difference(&first, &second) {
            panic!("seed {seed}: the runs part at line {line}:\n{a}\n{b}");
        }
        assert_eq!(took, took_again);
        assert!(first.lines().count() > 500, "the log holds the run: {} lines", first.lines().count());
        assert!(
            pace == Pace::Instant || took > Duration::from_secs(600),
            "a cluster takes its minutes at AWS's pace: {took:?}"
        );
    }
}

#[test]
fn another_seed_gives_another_event_log() {
    assert!(difference(&run(3, Pace::Instant).0, &run(4, Pace::Instant).0).is_some());
}
