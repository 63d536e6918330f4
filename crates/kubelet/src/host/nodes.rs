//! Nodes on the Host: registration, status, lease, and how they leave.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Client, PatchType};
use k8s_object::views::{Node, Pod};
use k8s_object::{ApiError, NamespacedName, Object, Reason, resources};
use serde_json::{Value, json};

use super::engine::Due;
use super::queue::Job;
use super::status::current_status;
use super::{Core, HostError, Inner, MAX_NODES, NodeState, Removal};
use crate::admission::Used;
use crate::network::{AddressPool, PodNetwork};
use crate::node::{Condition, LEASE_SECONDS, NodeSpec};
use crate::pod::Event;
use crate::runtime::{PodHandle, RuntimeNode};

/// How often a lease is renewed: a quarter of its duration, as the kubelet does.
const LEASE_PERIOD: Duration = Duration::from_secs(LEASE_SECONDS as u64 / 4);
/// How often the status is written though nothing changed (kubelet `nodeStatusReportFrequency`).
const STATUS_PERIOD: Duration = Duration::from_secs(300);
/// How soon a changed list of images is reported (kubelet `nodeStatusUpdateFrequency`).
const IMAGES_DELAY: Duration = Duration::from_secs(10);
/// Pauses between attempts to register, doubled up to the maximum, as the kubelet does.
const REGISTER_BACKOFF: Duration = Duration::from_millis(100);
const MAX_REGISTER_BACKOFF: Duration = Duration::from_secs(7);
/// How long a node that shuts down waits for its last writes beyond the grace of its pods.
const LAST_WRITES: Duration = Duration::from_secs(30);

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// A node within one Host; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(super) u64);

/// What a node asked to be done later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeTimer {
    Register,
    Lease,
    /// The regular status.
    Heartbeat,
    Status,
    /// The shutdown has taken long enough.
    GiveUp,
}

/// What a node wants written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeWrite {
    Register,
    Status,
}

enum Stage {
    Joining {
        error: Option<String>,
        backoff: Duration,
    },
    /// When the network plugin is ready.
    Joined {
        ready_at: Duration,
    },
    ShuttingDown,
    /// It is being taken off the Host.
    Left,
}

/// One kubelet.
pub(super) struct NodeSlot {
    pub(super) spec: Arc<NodeSpec>,
    pub(super) client: Client,
    pub(super) runtime: Arc<RuntimeNode>,
    /// The newest Node seen.
    pub(super) object: Option<Arc<Object>>,
    /// How often the machine has restarted after a crash.
    pub(super) boots: u32,
    pub(super) used: Used,
    pub(super) pods: BTreeSet<PodHandle>,
    /// Pods that ask for more than there is left.
    pub(super) deferred: BTreeSet<PodHandle>,
    /// The API server has refused the last request: the kubelet learns of no new pods either.
    pub(super) denied: bool,
    stage: Stage,
    lease_known: bool,
    /// A status is queued, or on its way.
    status_queued: bool,
    /// It is written even if nothing has changed.
    heartbeat_due: bool,
    images_pending: bool,
}

impl NodeSlot {
    pub(super) fn state(&self) -> NodeState {
        match &self.stage {
            Stage::Joining { error, .. } => NodeState::Joining { error: error.clone() },
            Stage::Joined { .. } => NodeState::Running,
            Stage::ShuttingDown | Stage::Left => NodeState::ShuttingDown,
        }
    }

    pub(super) fn is_joined(&self) -> bool {
        matches!(self.stage, Stage::Joined { .. })
    }

    /// Whether the kubelet takes on pods that it finds.
    pub(super) fn sees_pods(&self) -> bool {
        self.is_joined() && !self.denied
    }

    fn ready(&self, elapsed: Duration) -> Result<(), (&'static str, &'static str)> {
        match self.stage {
            Stage::Joined { ready_at } if ready_at <= elapsed => Ok(()),
            Stage::ShuttingDown | Stage::Left => Err(("KubeletNotReady", "node is shutting down")),
            Stage::Joined { .. } | Stage::Joining { .. } => Err((
                "KubeletNotReady",
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                 message:Network plugin returns error: cni plugin not initialized",
            )),
        }
    }
}

impl Inner {
    pub(super) fn add_node(&self, spec: NodeSpec) -> Result<(), HostError> {
        let mut core = self.core();
        if core.node_ids.contains_key(spec.name.as_str()) {
            return Err(HostError::NodeExists(spec.name));
        }
        if core.nodes.len() >= MAX_NODES {
            return Err(HostError::TooManyNodes);
        }
        let name: Arc<str> = spec.name.as_str().into();
        let id = NodeId(core.id());
        let pool = || -> Arc<dyn PodNetwork> {
            Arc::new(AddressPool::new(self.world.clone(), spec.pod_addresses.clone(), self.options.address_cooldown))
        };
        let network = spec.network.clone().unwrap_or_else(pool);
        let agent = format!("kubelet/{} (linux/{})", spec.kubelet_version, spec.architecture);
        let slot = NodeSlot {
            client: self.client.with_identity(spec.identity.clone(), &agent),
            runtime: Arc::new(RuntimeNode { name: name.clone(), addresses: spec.internal_addresses(), network }),
            object: None,
            boots: core.boots.get(&name).copied().unwrap_or(0),
            used: Used::default(),
            pods: BTreeSet::new(),
            deferred: BTreeSet::new(),
            denied: false,
            stage: Stage::Joining { error: None, backoff: REGISTER_BACKOFF },
            lease_known: false,
            status_queued: false,
            heartbeat_due: false,
            images_pending: false,
            spec: Arc::new(spec),
        };
        core.nodes.insert(id, slot);
        core.node_ids.insert(name, id);
        // Through the engine, which starts writers.
        core.timers.push(Duration::ZERO, Due::Node(id, NodeTimer::Register));
        drop(core);
        self.inbox.notify.notify_one();
        self.changed();
        Ok(())
    }

    pub(super) fn remove_node(&self, name: &str, how: Removal) -> Result<(), HostError> {
        let mut core = self.core();
        let no_such = || HostError::NoSuchNode(name.to_owned());
        let id = core.node_ids.get(name).copied().ok_or_else(no_such)?;
        let node = core.nodes.get_mut(&id).ok_or_else(no_such)?;
        let pods: Vec<PodHandle> = node.pods.iter().copied().collect();
        match how {
            Removal::Crash => {
                let boots = node.boots + 1;
                core.boots.insert(name.into(), boots);
                self.leave(&mut core, id);
            }
            Removal::Graceful { grace } => {
                let joined = node.is_joined();
                node.stage = Stage::ShuttingDown;
                pods.into_iter().for_each(|pod| self.feed(&mut core, pod, Event::NodeShutdown { grace }));
                if joined {
                    self.queue_status(&mut core, id);
                }
                let at = self.world.elapsed().saturating_add(grace).saturating_add(LAST_WRITES);
                core.timers.push(at, Due::Node(id, NodeTimer::GiveUp));
                self.leave_if_done(&mut core, id);
            }
        }
        drop(core);
        self.inbox.notify.notify_one();
        self.changed();
        Ok(())
    }

    /// A node that shuts down is gone when its pods and its last status are.
    pub(super) fn leave_if_done(&self, core: &mut Core, id: NodeId) {
        let Some(node) = core.nodes.get(&id) else { return };
        let over = |pod: &PodHandle| core.pods.get(pod).is_none_or(|slot| slot.is_over());
        if matches!(node.stage, Stage::ShuttingDown) && !node.status_queued && node.pods.iter().all(over) {
            self.runtime.forget_node(&node.spec.name);
            self.leave(core, id);
        }
    }

    fn leave(&self, core: &mut Core, id: NodeId) {
        let Some(node) = core.nodes.get_mut(&id) else { return };
        node.stage = Stage::Left;
        let pods: Vec<PodHandle> = node.pods.iter().copied().collect();
        pods.into_iter().for_each(|pod| self.lose(core, pod));
        if let Some(node) = core.nodes.remove(&id) {
            core.node_ids.remove(&node.runtime.name);
        }
        self.changed();
    }

    pub(super) fn node_due(&self, core: &mut Core, id: NodeId, timer: NodeTimer) {
        let Some(node) = core.nodes.get(&id) else { return };
        match timer {
            NodeTimer::Register => core.queue.push(Job::Node(id, NodeWrite::Register)),
            NodeTimer::Lease => core.queue.push(Job::Lease(id)),
            NodeTimer::Heartbeat if node.is_joined() => {
                core.timers.push(self.world.elapsed().saturating_add(STATUS_PERIOD), Due::Node(id, timer));
                if let Some(node) = core.nodes.get_mut(&id) {
                    node.heartbeat_due = true;
                }
                self.queue_status(core, id);
            }
            NodeTimer::Status if node.is_joined() => self.queue_status(core, id),
            NodeTimer::GiveUp => {
                self.runtime.forget_node(&node.spec.name);
                self.leave(core, id);
            }
            NodeTimer::Heartbeat | NodeTimer::Status => {}
        }
    }

    fn queue_status(&self, core: &mut Core, id: NodeId) {
        if let Some(node) = core.nodes.get_mut(&id)
            && !std::mem::replace(&mut node.status_queued, true)
        {
            core.queue.push(Job::Node(id, NodeWrite::Status));
        }
    }

    /// A pull has begun on a node.
    pub(super) fn images_changed(&self, core: &mut Core, id: NodeId) {
        if let Some(node) = core.nodes.get_mut(&id)
            && !std::mem::replace(&mut node.images_pending, true)
        {
            let at = self.world.elapsed().saturating_add(IMAGES_DELAY);
            core.timers.push(at, Due::Node(id, NodeTimer::Status));
        }
    }

    /// The informer has seen something happen to a Node.
    pub(super) fn node_noted(&self, core: &mut Core, name: &Arc<str>) {
        let Some(id) = core.node_ids.get(name).copied() else { return };
        let object = self.informers.read(&resources::NODES).get(&NamespacedName::new("", name.as_ref()));
        let (Some(object), Some(node)) = (object, core.nodes.get_mut(&id)) else { return };
        let ready = node.ready(self.world.elapsed()).is_ok();
        // Somebody has given the node up while it runs: it reports back at once.
        let given_up = object
            .view::<Node>()
            .is_ok_and(|node| node.condition("Ready").is_some_and(|condition| condition.status == "Unknown"));
        node.object = Some(object);
        if ready && given_up && node.is_joined() {
            self.queue_status(core, id);
        }
    }

    /// Takes on the pods that are bound to a node: first those that have an address from an earlier kubelet, so that it is not
    /// given to one that has none yet.
    pub(super) fn find_pods(&self, core: &mut Core, id: NodeId) {
        let Some(node) = core.nodes.get(&id) else { return };
        let found = self.informers.read(&resources::PODS).indexed("node", &node.runtime.name.clone());
        let has_address = |object: &Arc<Object>| object.view::<Pod>().is_ok_and(|pod| !pod.status.pod_ip.is_empty());
        let (running, new): (Vec<_>, Vec<_>) = found.into_iter().partition(has_address);
        for object in running.into_iter().chain(new) {
            self.pod_noted(core, &object.key());
        }
    }

    fn describe<T>(&self, id: NodeId, use_it: impl FnOnce(&NodeSlot, &Condition<'_>) -> T) -> Option<T> {
        let core = self.core();
        let node = core.nodes.get(&id)?;
        let images = self.runtime.list_images(&node.spec.name);
        let condition = Condition { ready: node.ready(self.world.elapsed()), images, boots: node.boots };
        Some(use_it(node, &condition))
    }

    pub(super) async fn register(&self, id: NodeId) {
        let now = self.world.now();
        let immediate = self.options.pace.node_ready.is_zero();
        let Some((client, spec, body)) = self.describe(id, |node, condition| {
            let condition = Condition {
                ready: if immediate { Ok(()) } else { condition.ready },
                images: condition.images.clone(),
                ..*condition
            };
            (node.client.clone(), node.spec.clone(), node.spec.object(&condition, now))
        }) else {
            return;
        };
        let registered = match client.create(&resources::NODES, "", body).await {
            Err(error) if error.reason == Reason::AlreadyExists => reuse(&client, &spec).await,
            other => other,
        };
        let mut core = self.core();
        let Some(node) = core.nodes.get_mut(&id) else { return };
        let elapsed = self.world.elapsed();
        let backoff = match &node.stage {
            Stage::Joining { backoff, .. } => *backoff,
            Stage::Joined { .. } | Stage::ShuttingDown | Stage::Left => return,
        };
        match registered {
            Ok(object) => {
                // A server that drops the status on create, and a Node from an earlier life, get it by a write of its own.
                let view = object.view::<Node>().unwrap_or_default();
                let reported = view.is_ready();
                // The network plugin of a machine that runs on outlives the process that simulated its kubelet.
                let well = view.condition("Ready").is_some_and(|ready| ready.status != "False") && node.boots == 0;
                let ready_at = if well { elapsed } else { elapsed.saturating_add(self.options.pace.node_ready) };
                node.stage = Stage::Joined { ready_at };
                node.object = Some(object);
                node.denied = false;
                let jitter = Duration::from_millis(self.world.below(STATUS_PERIOD.as_millis() as u64));
                core.timers.push(elapsed.saturating_add(jitter), Due::Node(id, NodeTimer::Heartbeat));
                core.queue.push(Job::Lease(id));
                if !immediate {
                    core.timers.push(ready_at, Due::Node(id, NodeTimer::Status));
                }
                if !reported || core.nodes.get(&id).is_some_and(|node| node.boots > 0) || is_outdated(&view, &spec) {
                    self.queue_status(&mut core, id);
                }
                self.find_pods(&mut core, id);
            }
            Err(error) => {
                let next = (backoff * 2).min(MAX_REGISTER_BACKOFF);
                node.stage = Stage::Joining { error: Some(error.to_string()), backoff: next };
                core.timers.push(elapsed.saturating_add(backoff), Due::Node(id, NodeTimer::Register));
            }
        }
        drop(core);
        self.changed();
    }

    pub(super) async fn write_lease(&self, id: NodeId) {
        let now = self.world.now();
        let prepared = {
            let core = self.core();
            core.nodes.get(&id).map(|node| {
                let uid = node.object.as_ref().map_or(String::new(), |object| object.meta().uid.clone());
                (node.client.clone(), node.spec.clone(), uid, node.lease_known)
            })
        };
        let Some((client, spec, uid, known)) = prepared else { return };
        let leases = resources::LEASES;
        let patch = || {
            let renewal = json!({"spec": {
                "holderIdentity": spec.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now.to_micro_string(),
            }});
            client.patch(&leases, LEASE_NAMESPACE, &spec.name, "", PatchType::Merge, renewal)
        };
        let create = || client.create(&leases, LEASE_NAMESPACE, spec.lease(&uid, now));
        let written = if known {
            match patch().await {
                Err(error) if error.is_not_found() => create().await,
                other => other,
            }
        } else {
            match create().await {
                Err(error) if error.reason == Reason::AlreadyExists => patch().await,
                other => other,
            }
        };
        let mut core = self.core();
        let Some(node) = core.nodes.get_mut(&id) else { return };
        node.lease_known = written.is_ok();
        // A little earlier or later each time, so that nodes that started together do not stay together.
        let jitter = Duration::from_millis(self.world.below(400));
        let at = self.world.elapsed().saturating_add(LEASE_PERIOD - Duration::from_millis(200) + jitter);
        core.timers.push(at, Due::Node(id, NodeTimer::Lease));
        match written {
            Ok(_) => self.access_granted(&mut core, id),
            Err(error) => self.access_refused(&mut core, id, &error),
        }
    }

    pub(super) async fn write_node_status(&self, id: NodeId) {
        let Some((client, name, known)) =
            self.describe(id, |node, _| (node.client.clone(), node.spec.name.clone(), node.object.clone()))
        else {
            return;
        };
        let mut newest = match known {
            Some(object) => Ok(object),
            None => client.get(&resources::NODES, "", &name).await,
        };
        // Others write conditions too: the second attempt starts from what they wrote.
        for _ in 0..3 {
            let Ok(object) = &newest else { break };
            let Some((body, due)) = self.node_status_body(id, object) else { return };
            if !due && is_reported(&body["status"], &current_status(object)) {
                break;
            }
            let patched = client.patch(&resources::NODES, "", &name, "status", PatchType::Merge, body).await;
            match patched {
                Err(error) if error.is_conflict() => newest = client.get(&resources::NODES, "", &name).await,
                other => {
                    newest = other;
                    break;
                }
            }
        }
        self.node_status_written(id, newest);
    }

    fn node_status_body(&self, id: NodeId, object: &Object) -> Option<(Value, bool)> {
        let (current, now) = (current_status(object), self.world.now());
        let meta = object.meta();
        self.describe(id, |node, condition| {
            let body = json!({
                "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
                "status": node.spec.status(condition, &current, now),
            });
            (body, node.heartbeat_due)
        })
    }

    fn node_status_written(&self, id: NodeId, written: Result<Arc<Object>, ApiError>) {
        let mut core = self.core();
        let Some(node) = core.nodes.get_mut(&id) else { return };
        node.status_queued = false;
        node.images_pending = false;
        node.heartbeat_due = false;
        match written {
            Ok(object) => {
                node.object = Some(object);
                self.access_granted(&mut core, id);
            }
            // The Node was deleted; a kubelet does not register twice.
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                self.access_refused(&mut core, id, &error);
                core.timers.push(self.world.elapsed().saturating_add(IMAGES_DELAY), Due::Node(id, NodeTimer::Status));
            }
        }
        self.leave_if_done(&mut core, id);
    }
}

/// Takes over a Node that exists: labels and provider id are set again, taints and the rest are left as they are.
async fn reuse(client: &Client, spec: &NodeSpec) -> Result<Arc<Object>, ApiError> {
    let object = client.get(&resources::NODES, "", &spec.name).await?;
    let labels = spec.all_labels();
    let same = labels.iter().all(|(key, value)| object.meta().labels.get(key) == Some(value.as_str()));
    let view = object.view::<Node>().map_err(ApiError::internal)?;
    let mut body = json!({"metadata": {"labels": labels}});
    if view.spec.provider_id.is_empty() && !spec.provider_id.is_empty() {
        body["spec"] = json!({"providerID": spec.provider_id});
    } else if same {
        return Ok(object);
    }
    client.patch(&resources::NODES, "", &spec.name, "", PatchType::Merge, body).await
}

/// Whether a status says nothing that the API server does not know, apart from the time.
fn is_reported(new: &Value, current: &Value) -> bool {
    let same =
        |new: &Value, current: &Value| ["status", "reason", "message"].iter().all(|key| new[key] == current[key]);
    new.as_object().into_iter().flatten().all(|(key, value)| match value.as_array() {
        Some(conditions) if key == "conditions" => conditions.iter().all(|condition| {
            let known = current[key].as_array().into_iter().flatten();
            known.filter(|known| known["type"] == condition["type"]).any(|known| same(condition, known))
        }),
        _ => current.get(key) == Some(value),
    })
}

/// Whether a Node says something else than its kubelet.
fn is_outdated(node: &Node, spec: &NodeSpec) -> bool {
    node.status.capacity != spec.capacity || node.status.allocatable != spec.allocatable
}
