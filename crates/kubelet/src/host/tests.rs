//! Whole Hosts on virtual time, against a fake API server.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Identity, Options, PatchType, Preconditions};
use k8s_object::{Quantity, UserInfo, resources};
use serde_json::{Value, json};
use world::{Simulation, Tasks, World};

use super::{Host, HostError, HostOptions, HostStats, NodeState, Removal};
use crate::fake::FakeApi;
use crate::network::PodAddresses;
use crate::node::NodeSpec;

/// A cluster of fake API server and Host.
struct Cluster {
    world: World,
    api: Arc<FakeApi>,
    tasks: Tasks,
    host: Host,
}

const SECOND: Duration = Duration::from_secs(1);

fn node(name: &str, addresses: u32) -> NodeSpec {
    let number: u8 = name.trim_start_matches('n').parse().unwrap();
    let base = u32::from_be_bytes([10, number, 0, 0]);
    let resources = |cpu: i64| -> BTreeMap<String, Quantity> {
        [("cpu", cpu), ("memory", 16 << 30), ("pods", 110)]
            .map(|(name, units)| (name.to_owned(), Quantity::units(units)))
            .into()
    };
    let user = UserInfo::new(format!("system:node:{name}"), &["system:nodes"]);
    NodeSpec {
        name: name.to_owned(),
        provider_id: format!("aws:///eu-west-1a/i-{number}"),
        labels: [("topology.kubernetes.io/zone".to_owned(), "eu-west-1a".to_owned())].into(),
        annotations: BTreeMap::new(),
        register_with_taints: Vec::new(),
        capacity: resources(8),
        allocatable: resources(7),
        addresses: vec![("InternalIP".to_owned(), format!("192.168.0.{number}"))],
        kubelet_version: "v1.33.4-eks-e386d34".to_owned(),
        os_image: "Amazon Linux 2023".to_owned(),
        kernel_version: "6.12".to_owned(),
        container_runtime: "containerd://2.1.4".to_owned(),
        architecture: "amd64".to_owned(),
        identity: Identity::Fixed(Arc::new(user)),
        pod_addresses: PodAddresses::list((1..=addresses).map(|offset| IpAddr::from((base + offset).to_be_bytes()))),
        network: None,
    }
}

impl Cluster {
    fn new(world: &World) -> Cluster {
        Cluster::over(world, FakeApi::new(world), HostOptions::default())
    }

    fn over(world: &World, api: Arc<FakeApi>, options: HostOptions) -> Cluster {
        let tasks = world.tasks("kubelet test");
        let host = Host::start(api.client(), world.clone(), &tasks, options);
        Cluster { world: world.clone(), api, tasks, host }
    }

    async fn add_node(&self, name: &str, addresses: u32) {
        self.host.add_node(node(name, addresses)).unwrap();
        self.host.node_is(name, |state| state == Some(&NodeState::Running)).await;
    }

    async fn create(&self, name: &str, node: &str, extra: Value) {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "annotations": extra["annotations"].clone()},
            "spec": {"nodeName": node, "containers": [{"name": "main", "image": "nginx:1"}]},
            "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]},
        });
        if pod["metadata"]["annotations"].is_null() {
            pod["metadata"].as_object_mut().unwrap().remove("annotations");
        }
        for (key, value) in extra["container"].as_object().into_iter().flatten() {
            pod["spec"]["containers"][0][key] = value.clone();
        }
        self.api.client().create(&resources::PODS, "default", pod).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        self.api.client().delete(&resources::PODS, "default", name, Preconditions::default()).await.unwrap();
    }

    fn pod(&self, name: &str) -> Value {
        self.api.value(&resources::PODS, "default", name)
    }

    fn is_ready(&self, name: &str) -> bool {
        let pod = self.pod(name);
        let ready = |own: &Value| own["type"] == "Ready" && own["status"] == "True";
        pod["status"]["phase"] == "Running" && pod["status"]["conditions"].as_array().unwrap().iter().any(ready)
    }

    async fn sleep(&self, seconds: f64) {
        self.world.sleep(Duration::from_secs_f64(seconds)).await;
    }
}

fn run<F: Future>(seed: u64, test: impl FnOnce(World) -> F) -> F::Output {
    let (world, mut simulation): (World, Simulation) = World::simulated(seed);
    simulation.block_on(test(world))
}

#[test]
fn nodes_register_report_and_renew() {
    run(1, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 5).await;
        cluster.add_node("n2", 5).await;
        assert_eq!(cluster.host.add_node(node("n1", 1)), Err(HostError::NodeExists("n1".into())));
        let n1 = cluster.api.value(&resources::NODES, "", "n1");
        assert_eq!(n1["spec"]["providerID"], "aws:///eu-west-1a/i-1");
        assert_eq!(n1["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
        assert_eq!(n1["status"]["allocatable"]["cpu"], "7");
        assert_eq!(n1["status"]["nodeInfo"]["kubeletVersion"], "v1.33.4-eks-e386d34");
        let ready = n1["status"]["conditions"].as_array().unwrap().iter().find(|own| own["type"] == "Ready").unwrap();
        assert_eq!((&ready["status"], &ready["reason"]), (&json!("True"), &json!("KubeletReady")));
        cluster.sleep(60.0).await;
        let lease = cluster.api.value(&resources::LEASES, "kube-node-lease", "n1");
        assert_eq!(lease["spec"]["leaseDurationSeconds"], 40);
        assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], n1["metadata"]["uid"]);
        let renewals = cluster.api.count(&["system:node:n1", "leases"]);
        assert!((6..=8).contains(&renewals), "{renewals} lease writes in a minute");
        let before = cluster.api.log().len();
        cluster.sleep(600.0).await;
        let other = cluster.api.log()[before..].iter().filter(|line| !line.contains("leases")).count();
        assert!(other <= 6, "an idle node writes its lease and, every five minutes, its status: {other}");
    });
}

#[test]
fn a_node_without_access_never_joins_until_it_has_it() {
    run(2, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.api.deny("system:node:n1", true);
        cluster.host.add_node(node("n1", 5)).unwrap();
        cluster.create("early", "n1", json!({})).await;
        cluster.sleep(60.0).await;
        assert_eq!(cluster.host.node("n1"), Some(NodeState::Joining { error: Some("Unauthorized".into()) }));
        assert_eq!(cluster.api.count(&["system:node:n1"]), 0);
        cluster.api.deny("system:node:n1", false);
        cluster.sleep(8.0).await;
        assert!(cluster.is_ready("early"));
        // It loses its access: what runs runs on, what is new is not seen.
        cluster.api.deny("system:node:n1", true);
        cluster.sleep(15.0).await;
        cluster.create("late", "n1", json!({})).await;
        cluster.sleep(60.0).await;
        assert_eq!(cluster.pod("late")["status"]["phase"], "Pending");
        cluster.api.deny("system:node:n1", false);
        cluster.sleep(15.0).await;
        assert!(cluster.is_ready("late"));
    });
}

#[test]
fn two_hundred_pods_run_with_one_write_each_and_go() {
    run(3, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 110).await;
        cluster.add_node("n2", 110).await;
        for index in 0..200 {
            cluster.create(&format!("p{index}"), if index % 2 == 0 { "n1" } else { "n2" }, json!({})).await;
        }
        cluster.sleep(1.0).await;
        assert!((0..200).all(|index| cluster.is_ready(&format!("p{index}"))));
        let writes = cluster.api.count(&["Patch", "pods/status"]);
        assert_eq!(writes, 200, "a pod that starts at once needs one write");
        let expected = HostStats { nodes: 2, nodes_joined: 2, pods: 200, containers_running: 200, writes_queued: 0 };
        assert_eq!(cluster.host.stats(), expected);
        let mut addresses: Vec<String> =
            cluster.api.values(&resources::PODS).iter().map(|pod| pod["status"]["podIP"].to_string()).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 200, "every pod has an address of its own");
        for index in 0..200 {
            cluster.delete(&format!("p{index}")).await;
        }
        cluster.sleep(1.0).await;
        assert!(cluster.api.values(&resources::PODS).is_empty());
        assert_eq!((cluster.host.stats().pods, cluster.host.stats().containers_running), (0, 0));
        cluster.sleep(15.0).await;
        let n1 = cluster.api.value(&resources::NODES, "", "n1");
        assert_eq!(n1["status"]["images"][0]["names"][1], "docker.io/library/nginx:1");
    });
}

#[test]
fn addresses_run_out_and_come_back() {
    run(4, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 1).await;
        cluster.create("first", "n1", json!({})).await;
        cluster.sleep(1.0).await;
        cluster.create("second", "n1", json!({})).await;
        cluster.sleep(1.0).await;
        let second = cluster.pod("second");
        assert_eq!(second["status"]["phase"], "Pending");
        assert_eq!(second["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
        let told = cluster.api.values(&resources::EVENTS);
        let told = told.iter().find(|event| event["reason"] == "FailedCreatePodSandBox").unwrap();
        let message = told["message"].as_str().unwrap();
        assert!(message.ends_with("failed (add): add cmd: failed to assign an IP address to container"), "{message}");
        cluster.delete("first").await;
        cluster.sleep(25.0).await;
        assert!(!cluster.is_ready("second"), "the address rests for 30 seconds");
        cluster.sleep(16.0).await;
        assert!(cluster.is_ready("second"));
    });
}

#[test]
fn a_full_node_refuses() {
    run(5, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        let greedy = json!({"container": {"resources": {"requests": {"cpu": "5"}}}});
        cluster.create("first", "n1", greedy.clone()).await;
        cluster.sleep(1.0).await;
        cluster.create("second", "n1", greedy.clone()).await;
        cluster.sleep(1.0).await;
        let status = &cluster.pod("second")["status"];
        assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("OutOfcpu")));
        assert_eq!(
            status["message"],
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 5000, used: 5000, capacity: 7000"
        );
        cluster.delete("first").await;
        cluster.sleep(1.0).await;
        cluster.create("third", "n1", greedy).await;
        cluster.sleep(1.0).await;
        assert!(cluster.is_ready("third"), "what has ended does not count");
    });
}

#[test]
fn annotations_decide_what_happens() {
    run(6, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        let setting = |name: &str, value: &str| json!({format!("simulation.minato.dev/{name}"): value});
        let probed = json!({"readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1}});
        let slow = json!({"annotations": setting("ready-seconds", "3"), "container": probed});
        cluster.create("slow", "n1", slow).await;
        let crashes = json!({"simulation.minato.dev/exit-after-seconds": "1", "simulation.minato.dev/exit-code": "3"});
        cluster.create("crashes", "n1", json!({"annotations": crashes})).await;
        cluster
            .create(
                "absent",
                "n1",
                json!({"annotations": setting("main.pull-error", "not found"), "container": {"image": "ghost:1"}}),
            )
            .await;
        for (name, image) in [("gone", "web:404"), ("nowhere", "registry.invalid/web:1"), ("here", "web:40")] {
            cluster.create(name, "n1", json!({"container": {"image": image}})).await;
        }
        cluster.create("stubborn", "n1", json!({"annotations": setting("ignores-sigterm", "true")})).await;
        cluster.sleep(2.0).await;
        assert!(!cluster.is_ready("slow") && cluster.is_ready("stubborn"));
        cluster.sleep(2.0).await;
        assert!(cluster.is_ready("slow"));
        let crashing = &cluster.pod("crashes")["status"]["containerStatuses"][0];
        assert_eq!(crashing["state"]["waiting"]["reason"], "CrashLoopBackOff");
        assert_eq!(crashing["lastState"]["terminated"]["exitCode"], 3);
        let absent = &cluster.pod("absent")["status"]["containerStatuses"][0];
        assert_eq!(absent["state"]["waiting"]["reason"], "ImagePullBackOff");
        // Names that say themselves that there is no such image.
        for name in ["gone", "nowhere"] {
            let own = &cluster.pod(name)["status"]["containerStatuses"][0]["state"];
            assert_eq!(own["waiting"]["reason"], "ImagePullBackOff", "{name}");
        }
        assert!(cluster.is_ready("here"));
        cluster.delete("stubborn").await;
        cluster.sleep(29.0).await;
        assert!(cluster.is_ready("stubborn"), "it has its grace");
        cluster.sleep(2.0).await;
        assert_eq!(cluster.pod("stubborn"), Value::Null);
        // People change their minds.
        let never = json!({"metadata": {"annotations": setting("ready-seconds", "never")}});
        let client = cluster.api.client();
        client.patch(&resources::PODS, "default", "slow", "", PatchType::Merge, never).await.unwrap();
        cluster.sleep(4.0).await;
        assert!(!cluster.is_ready("slow"));
    });
}

#[test]
fn a_crashed_node_is_silent_and_restarts_its_pods_when_it_is_back() {
    run(7, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        cluster.create("web", "n1", json!({})).await;
        cluster.sleep(1.0).await;
        let boot = cluster.api.value(&resources::NODES, "", "n1")["status"]["nodeInfo"]["bootID"].clone();
        cluster.host.remove_node("n1", Removal::Crash).unwrap();
        assert_eq!(cluster.host.remove_node("n1", Removal::Crash), Err(HostError::NoSuchNode("n1".into())));
        assert_eq!(cluster.host.stats(), HostStats::default());
        cluster.sleep(1.0).await;
        let before = cluster.api.log().len();
        cluster.sleep(100.0).await;
        assert_eq!(cluster.api.log().len(), before, "nobody writes for a dead node");
        cluster.add_node("n1", 10).await;
        cluster.sleep(1.0).await;
        assert!(cluster.is_ready("web"));
        let container = &cluster.pod("web")["status"]["containerStatuses"][0];
        assert_eq!(
            (&container["restartCount"], &container["lastState"]["terminated"]["exitCode"]),
            (&json!(1), &json!(255))
        );
        assert_ne!(cluster.api.value(&resources::NODES, "", "n1")["status"]["nodeInfo"]["bootID"], boot);
    });
}

#[test]
fn a_node_that_shuts_down_ends_its_pods_first() {
    run(8, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        cluster.create("web", "n1", json!({})).await;
        cluster.sleep(1.0).await;
        cluster.host.remove_node("n1", Removal::Graceful { grace: 10 * SECOND }).unwrap();
        cluster.host.node_is("n1", |state| state.is_none()).await;
        let status = &cluster.pod("web")["status"];
        assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("Terminated")));
        let conditions = &cluster.api.value(&resources::NODES, "", "n1")["status"]["conditions"];
        let ready = conditions.as_array().unwrap().iter().find(|own| own["type"] == "Ready").unwrap();
        assert_eq!((&ready["status"], &ready["message"]), (&json!("False"), &json!("node is shutting down")));
        assert_eq!(cluster.host.stats(), HostStats::default());
    });
}

#[test]
fn a_restarted_host_leaves_running_pods_alone() {
    run(9, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        let probed = json!({"container": {"readinessProbe": {"exec": {"command": ["x"]}}}});
        cluster.create("web", "n1", probed).await;
        let job = json!({"annotations": {"simulation.minato.dev/exit-after-seconds": "60"}});
        cluster.create("ends", "n1", job).await;
        cluster.sleep(20.0).await;
        let (web, ends) = (cluster.pod("web"), cluster.pod("ends"));
        assert_eq!(cluster.tasks.shutdown(SECOND).await, Vec::<&str>::new());
        cluster.sleep(20.0).await;

        let cluster = Cluster::over(&world, cluster.api.clone(), HostOptions::default());
        cluster.add_node("n1", 10).await;
        cluster.sleep(10.0).await;
        assert_eq!(cluster.pod("web"), web, "not even written again");
        assert_eq!(cluster.pod("ends"), ends);
        assert_eq!(cluster.host.stats().containers_running, 2);
        cluster.create("new", "n1", json!({})).await;
        cluster.sleep(1.0).await;
        assert!(cluster.is_ready("new"));
        assert_ne!(cluster.pod("new")["status"]["podIP"], web["status"]["podIP"], "addresses in use stay in use");
        cluster.sleep(10.0).await;
        let container = &cluster.pod("ends")["status"]["containerStatuses"][0];
        assert_eq!(container["restartCount"], 1, "it ends when it would have ended");
        cluster.delete("web").await;
        cluster.sleep(1.0).await;
        assert_eq!(cluster.pod("web"), Value::Null);
    });
}

/// Pods that were bound while nobody was there do not get the addresses of those that run, whatever their names.
#[test]
fn a_restarted_host_takes_on_what_runs_before_what_is_new() {
    for seed in 0..5 {
        run(seed, |world| async move {
            let cluster = Cluster::new(&world);
            cluster.add_node("n1", 10).await;
            for name in ["m", "n", "o"] {
                cluster.create(name, "n1", json!({})).await;
            }
            cluster.sleep(5.0).await;
            let running = ["m", "n", "o"].map(|name| cluster.pod(name));
            assert_eq!(cluster.tasks.shutdown(SECOND).await, Vec::<&str>::new());
            for name in ["a", "b", "z"] {
                cluster.create(name, "n1", json!({})).await;
            }
            let cluster = Cluster::over(&world, cluster.api.clone(), HostOptions::default());
            cluster.add_node("n1", 10).await;
            cluster.sleep(5.0).await;
            assert_eq!(["m", "n", "o"].map(|name| cluster.pod(name)), running, "seed {seed}");
            let addresses: std::collections::BTreeSet<String> = ["a", "b", "m", "n", "o", "z"]
                .map(|name| cluster.pod(name)["status"]["podIP"].as_str().unwrap().to_owned())
                .into();
            assert_eq!(addresses.len(), 6, "seed {seed}: {addresses:?}");
        });
    }
}

#[test]
fn a_namesake_is_another_pod() {
    run(10, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        let stubborn = json!({"annotations": {"simulation.minato.dev/ignores-sigterm": "true"}});
        cluster.create("db-0", "n1", stubborn).await;
        cluster.sleep(1.0).await;
        let force = Options { grace_period_seconds: Some(0), ..Options::default() };
        cluster.api.client().delete_with(&resources::PODS, "default", "db-0", force).await.unwrap();
        cluster.create("db-0", "n1", json!({})).await;
        cluster.sleep(1.0).await;
        assert!(cluster.is_ready("db-0"));
        assert_eq!(cluster.host.stats().containers_running, 2, "the old one is still stopping");
        cluster.sleep(40.0).await;
        assert!(cluster.is_ready("db-0"), "the end of the old one does not touch the new one");
        assert_eq!(cluster.host.stats().pods, 1);
    });
}

#[test]
fn finished_pods_cost_nothing_and_can_be_deleted() {
    run(11, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        let container = json!({"command": ["sh", "-c", "sleep 5; exit 2"], "restartPolicy": "Never"});
        cluster.create("job", "n1", json!({"container": container})).await;
        cluster.sleep(10.0).await;
        assert_eq!(cluster.pod("job")["status"]["phase"], "Failed");
        assert_eq!(cluster.host.stats().pods, 0);
        let writes = cluster.api.log().len();
        cluster.sleep(5.0).await;
        let later = cluster.api.log()[writes..].iter().filter(|line| line.contains("Resource=pods")).count();
        assert_eq!(later, 0, "the end is written once");
        cluster.delete("job").await;
        cluster.sleep(1.0).await;
        assert_eq!(cluster.pod("job"), Value::Null);
        assert_eq!(cluster.host.stats().pods, 0);
    });
}

#[test]
fn a_pod_is_small() {
    // Beyond the object that everybody shares: the slot with its state, one container, its key and its entry in maps.
    let probe = 64;
    let container = size_of::<crate::pod::Container>() + probe;
    let size = size_of::<super::PodSlot>() + container + size_of::<k8s_object::NamespacedName>() + 64;
    assert!(size <= 1024, "{size} bytes");
}

#[test]
fn others_conditions_survive_and_their_changes_are_not_overwritten() {
    run(12, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        let client = cluster.api.client();
        cluster.create("web", "n1", json!({"annotations": {"simulation.minato.dev/start-seconds": "1"}})).await;
        cluster.sleep(0.5).await;
        let mut conditions = cluster.pod("web")["status"]["conditions"].clone();
        let theirs = json!({"type": "example.com/target-health", "status": "True", "extra": 1});
        conditions.as_array_mut().unwrap().push(theirs.clone());
        let patch = json!({"status": {"conditions": conditions, "qosClass": "BestEffort"}});
        client.patch(&resources::PODS, "default", "web", "status", PatchType::Merge, patch).await.unwrap();
        cluster.sleep(2.0).await;
        assert!(cluster.is_ready("web"));
        let status = cluster.pod("web")["status"].clone();
        assert!(status["conditions"].as_array().unwrap().contains(&theirs));
        assert_eq!(status["qosClass"], "BestEffort");
    });
}

#[test]
fn a_final_phase_set_by_others_stops_the_pod() {
    run(13, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        cluster.create("web", "n1", json!({})).await;
        cluster.sleep(1.0).await;
        let patch = json!({"status": {"phase": "Failed"}});
        cluster
            .api
            .client()
            .patch(&resources::PODS, "default", "web", "status", PatchType::Merge, patch)
            .await
            .unwrap();
        cluster.sleep(1.0).await;
        assert_eq!(cluster.host.stats().containers_running, 0);
    });
}

#[test]
fn a_slow_pull_is_waited_for_by_all() {
    run(14, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        let slow = json!({"annotations": {"simulation.minato.dev/pull-seconds": "10"}});
        cluster.create("first", "n1", slow).await;
        cluster.sleep(4.0).await;
        cluster.create("second", "n1", json!({})).await;
        cluster.sleep(4.0).await;
        assert!(!cluster.is_ready("first") && !cluster.is_ready("second"));
        cluster.sleep(3.0).await;
        assert!(cluster.is_ready("first") && cluster.is_ready("second"));
    });
}

fn story(seed: u64) -> Vec<String> {
    run(seed, |world| async move {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 20).await;
        cluster.add_node("n2", 20).await;
        for index in 0..20 {
            let node = if world.below(2) == 0 { "n1" } else { "n2" };
            let exit = json!({"annotations": {"simulation.minato.dev/exit-after-seconds": format!("{}", index + 1)}});
            cluster.create(&format!("p{index}"), node, if index % 3 == 0 { exit } else { json!({}) }).await;
        }
        cluster.sleep(30.0).await;
        cluster.host.remove_node("n2", Removal::Crash).unwrap();
        for index in 0..20 {
            cluster.delete(&format!("p{index}")).await;
        }
        cluster.sleep(30.0).await;
        cluster.api.log()
    })
}

#[test]
fn the_same_seed_writes_the_same_log() {
    let log = story(21);
    assert!(log.len() > 100);
    assert_eq!(log, story(21));
    assert_ne!(log, story(22));
}

/// Asks for another amount of CPU, as `pods/resize` does.
async fn resize(cluster: &Cluster, name: &str, generation: i64, cpu: &str, policy: Option<&str>) {
    let mut container =
        json!({"name": "main", "image": "nginx:1", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}});
    if let Some(policy) = policy {
        container["resizePolicy"] = json!([{"resourceName": "cpu", "restartPolicy": policy}]);
    }
    let body = json!({"metadata": {"generation": generation}, "spec": {"containers": [container]}});
    cluster.api.client().patch(&resources::PODS, "default", name, "", PatchType::Merge, body).await.unwrap();
}

fn with_cpu(cpu: &str) -> Value {
    json!({"container": {"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}}})
}

/// What a pod's status says: CPU that the container has, CPU promised, restarts, and what is told of a change of them.
fn cpu_of(cluster: &Cluster, name: &str) -> (String, String, u64, String) {
    let status = cluster.pod(name)["status"].clone();
    let container = &status["containerStatuses"][0];
    let conditions = status["conditions"].as_array().unwrap().iter();
    let resizes = conditions.filter(|own| own["type"].as_str().unwrap().starts_with("PodResize"));
    let told: Vec<String> = resizes
        .map(|own| {
            let text = |key: &str| own[key].as_str().unwrap_or("-").to_owned();
            format!("{} {}: {}", text("type"), text("reason"), text("message"))
        })
        .collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(container["resources"]["limits"]["cpu"], container["resources"]["requests"]["cpu"]);
    (
        text(&container["resources"]["requests"]["cpu"]),
        text(&container["allocatedResources"]["cpu"]),
        container["restartCount"].as_u64().unwrap(),
        told.join("; "),
    )
}

fn told(cpu: &str, promised: &str, restarts: u64, conditions: &str) -> (String, String, u64, String) {
    (cpu.to_owned(), promised.to_owned(), restarts, conditions.to_owned())
}

#[test]
fn resources_change_in_place_or_with_a_restart() {
    run(41, async |world| {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        cluster.create("a", "n1", with_cpu("1")).await;
        cluster.sleep(5.0).await;
        assert_eq!(cpu_of(&cluster, "a"), told("1", "1", 0, ""));
        resize(&cluster, "a", 2, "2500m", None).await;
        cluster.sleep(5.0).await;
        assert_eq!(cpu_of(&cluster, "a"), told("2500m", "2500m", 0, ""));
        let events = cluster.api.values(&resources::EVENTS);
        let message = events.iter().find(|event| event["reason"] == "ResizeCompleted").unwrap()["message"].clone();
        let expected = r#"Pod resize completed: {"containers":[{"name":"main","resources":{"limits":{"cpu":"2500m"},"requests":{"cpu":"2500m"}}}]}"#;
        assert_eq!(message, expected);
        resize(&cluster, "a", 3, "3", Some("RestartContainer")).await;
        cluster.sleep(60.0).await;
        assert_eq!(cpu_of(&cluster, "a"), told("3", "3", 1, ""));
        let killing = "Container main resize requires restart";
        assert!(cluster.api.values(&resources::EVENTS).iter().any(|event| event["message"] == killing));
    });
}

#[test]
fn what_does_not_fit_waits_or_never_comes() {
    run(42, async |world| {
        let cluster = Cluster::new(&world);
        cluster.add_node("n1", 10).await;
        for name in ["a", "b"] {
            cluster.create(name, "n1", with_cpu("3")).await;
        }
        cluster.sleep(5.0).await;
        resize(&cluster, "a", 2, "8", None).await;
        cluster.sleep(5.0).await;
        let never =
            "PodResizePending Infeasible: Node didn't have enough capacity: cpu, requested: 8000, capacity: 7000";
        assert_eq!(cpu_of(&cluster, "a"), told("3", "3", 0, never));
        resize(&cluster, "a", 3, "5", None).await;
        cluster.sleep(5.0).await;
        let later = "PodResizePending Deferred: Node didn't have enough resource: cpu, requested: 5000, used: 3000, capacity: 7000";
        assert_eq!(cpu_of(&cluster, "a"), told("3", "3", 0, later));
        // The process starts again: what was promised is what counts.
        cluster.tasks.abort();
        let again = Cluster::over(&world, cluster.api.clone(), HostOptions::default());
        again.add_node("n1", 10).await;
        again.sleep(5.0).await;
        assert_eq!(cpu_of(&again, "a"), told("3", "3", 0, later));
        resize(&again, "b", 2, "2", None).await;
        again.sleep(5.0).await;
        assert_eq!(cpu_of(&again, "b"), told("2", "2", 0, ""));
        assert_eq!(cpu_of(&again, "a"), told("5", "5", 0, ""), "the other has made room");
        resize(&again, "b", 3, "3", None).await;
        again.sleep(5.0).await;
        assert!(cpu_of(&again, "b").3.starts_with("PodResizePending Deferred"));
        resize(&again, "b", 4, "2", None).await;
        again.sleep(5.0).await;
        assert_eq!(cpu_of(&again, "b"), told("2", "2", 0, ""), "it no longer asks");
        resize(&again, "b", 5, "7", None).await;
        again.delete("a").await;
        again.sleep(60.0).await;
        assert_eq!(cpu_of(&again, "b"), told("7", "7", 0, ""));
    });
}
