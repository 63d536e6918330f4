//! Nodes of a test: they renew leases, take pods, make them ready after a while (those that are never restarted end instead) and
//! let them go.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_client::{Client, Options, PatchType, WatchEvent};
use k8s_object::Object;
use k8s_object::resources::{LEASES, NODES, PODS};
use k8s_object::views::{Node, Pod, PodSpec};
use serde_json::{Value, json};
use world::{Tasks, World};

use super::{Fake, admin};

/// A scheduler and all kubelets.
#[derive(Clone)]
pub(crate) struct Kubelets {
    fake: Arc<Fake>,
    client: Client,
    world: World,
    tasks: Tasks,
    alive: Arc<Mutex<BTreeSet<String>>>,
    start_time: Duration,
}

impl Kubelets {
    /// Nodes that take `start_time` to make a pod ready.
    pub(crate) fn start(fake: &Arc<Fake>, tasks: &Tasks, nodes: &[&str], start_time: Duration) -> Kubelets {
        let world = tasks.world().clone();
        let alive = Arc::new(Mutex::new(nodes.iter().map(|node| (*node).to_owned()).collect()));
        let kubelets =
            Kubelets { fake: fake.clone(), client: admin(fake), world, tasks: tasks.clone(), alive, start_time };
        for node in nodes {
            kubelets.register(node);
        }
        let (own, stop) = (kubelets.clone(), tasks.stop());
        tasks.spawn("kubelets", async move {
            stop.or(own.run()).await;
        });
        kubelets
    }

    /// The node falls silent.
    pub(crate) fn kill(&self, node: &str) {
        self.alive.lock().unwrap().remove(node);
    }

    fn is_alive(&self, node: &str) -> bool {
        self.alive.lock().unwrap().contains(node)
    }

    fn register(&self, name: &str) {
        let now = self.world.now().to_string();
        self.fake.put(&NODES, json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "uid": format!("node-{name}"), "creationTimestamp": now, "labels": {"topology.kubernetes.io/zone": "a"}},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}]},
        }));
        let (own, stop, node) = (self.clone(), self.tasks.stop(), name.to_owned());
        self.tasks.spawn("heartbeats", async move {
            while !stop.is_stopped() && own.is_alive(&node) {
                own.fake.put(
                    &LEASES,
                    json!({
                        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                        "metadata": {"name": node, "namespace": "kube-node-lease", "uid": format!("lease-{node}")},
                        "spec": {"renewTime": own.world.now().to_micro_string()},
                    }),
                );
                stop.or(own.world.sleep(Duration::from_secs(10))).await;
            }
        });
    }

    async fn run(&self) {
        let mut watch = self.client.watch(&PODS, Options::default()).await.unwrap();
        loop {
            for event in watch.next().await.unwrap() {
                if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event {
                    self.see(&pod).await;
                }
            }
        }
    }

    async fn see(&self, object: &Arc<Object>) {
        let pod = object.view::<Pod>().unwrap();
        let (own, object) = (self.clone(), object.clone());
        if pod.spec.node_name.is_empty() {
            if !object.meta().is_terminating() {
                self.bind(&object).await;
            }
        } else if !self.is_alive(&pod.spec.node_name) {
        } else if object.meta().is_terminating() {
            self.tasks.spawn("pod ends", async move {
                own.world.sleep(Duration::from_secs(1)).await;
                let options = Options { grace_period_seconds: Some(0), ..Options::default() };
                let _ = own.client.delete_with(&PODS, &object.meta().namespace, &object.meta().name, options).await;
            });
        } else if pod.status.phase == "Pending" {
            self.tasks.spawn("pod starts", async move {
                own.world.sleep(own.start_time).await;
                let ready =
                    json!({"type": "Ready", "status": "True", "lastTransitionTime": own.world.now().to_string()});
                if pod.spec.restart_policy == "Never" {
                    let end = json!({"terminated": {"exitCode": 0, "finishedAt": own.world.now().to_string()}});
                    let ended = json!([{"name": "c", "state": end}]);
                    let status = json!({"status": {"phase": "Succeeded", "containerStatuses": ended}});
                    return own.patch(&object, "status", status).await;
                }
                let ip = format!("10.0.{}.{}", own.world.below(250), own.world.below(250));
                let status = json!({"status": {"phase": "Running", "podIP": ip, "conditions": [ready]}});
                own.patch(&object, "status", status).await;
            });
        }
    }

    /// To the ready node with the fewest pods.
    async fn bind(&self, object: &Arc<Object>) {
        let pods = self.fake.list(&PODS);
        let load = |name: &str| pods.iter().filter(|pod| pod.view::<Pod>().unwrap().spec.node_name == name).count();
        let nodes = self.fake.list(&NODES);
        let spec = &object.view::<Pod>().unwrap().spec;
        let fits = |node: &Node| spec.selects_node(&node.metadata) && tolerates(spec, node);
        let free = nodes.iter().filter(|node| fits(&node.view::<Node>().unwrap()));
        if let Some(node) = free.min_by_key(|node| (load(&node.meta().name), node.meta().name.clone())) {
            self.patch(object, "", json!({"spec": {"nodeName": node.meta().name}})).await;
        }
    }

    async fn patch(&self, object: &Object, subresource: &str, body: Value) {
        let (namespace, name) = (&object.meta().namespace, &object.meta().name);
        let _ = self.client.patch(&PODS, namespace, name, subresource, PatchType::Merge, body).await;
    }
}

fn tolerates(spec: &PodSpec, node: &Node) -> bool {
    node.spec.taints.iter().all(|taint| spec.tolerations.iter().any(|toleration| toleration.tolerates(taint)))
}
