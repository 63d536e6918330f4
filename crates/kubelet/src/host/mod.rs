//! All simulated kubelets of one cluster: one informer, one timer heap, one task, and writers that exist while there is
//! something to write.
//!
//! What happens is decided elsewhere: by [`crate::pod::step`] for pods, by [`crate::NodeSpec`] for nodes. The Host routes:
//! changes of objects and answers of the runtime go in, calls to the runtime and writes to the API server come out. A pod
//! has at most one write under way, and only its newest status is ever written.

mod engine;
mod nodes;
mod pods;
mod queue;
mod recorder;
mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_client::{Client, Index, Informers};
use k8s_object::views::Pod;
use k8s_object::{NamespacedName, resources};
use world::watch;
use world::{Tasks, World};

use crate::network::COOLDOWN;
use crate::node::NodeSpec;
use crate::pace::Pace;
use crate::runtime::{Completions, Inbox, Input, PodHandle, Runtime};
use crate::simulated::SimulatedRuntime;
use engine::Timers;
use nodes::{NodeId, NodeSlot};
use pods::PodSlot;
use queue::Queue;
use recorder::Recorder;

/// The index of pods by the node they are bound to.
const BY_NODE: Index = Index {
    name: "node",
    keys: |object| match object.view::<Pod>() {
        Ok(pod) if !pod.spec.node_name.is_empty() => vec![pod.spec.node_name.clone()],
        _ => Vec::new(),
    },
};

/// How a Host behaves.
#[derive(Debug, Clone)]
pub struct HostOptions {
    pub pace: Pace,
    /// Event objects written per second by all nodes together, with bursts of twice as many; 0 writes none. Warnings come
    /// first when there are too many.
    pub events_per_second: u32,
    /// How long a released pod address rests.
    pub address_cooldown: Duration,
    /// How many writes to the API server are under way at once.
    pub writers: usize,
}

impl Default for HostOptions {
    fn default() -> HostOptions {
        HostOptions { pace: Pace::instant(), events_per_second: 100, address_cooldown: COOLDOWN, writers: 32 }
    }
}

/// A request that a Host cannot carry out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("node {0:?} is on this host already")]
    NodeExists(String),
    #[error("there is no node {0:?} on this host")]
    NoSuchNode(String),
    #[error("a host runs at most {MAX_NODES} nodes")]
    TooManyNodes,
}

/// Nodes of one Host: what upstream supports in a cluster, and room to replace every one of them at once.
pub const MAX_NODES: usize = 10_000;

/// How a node leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Containers are stopped with at most this grace, pods are reported as Failed, then the node is silent.
    Graceful { grace: Duration },
    /// Everything on the node is gone at once, and nobody says so. A node of the same name that is added later is the same
    /// machine after a reboot.
    Crash,
}

/// How a node is doing, as far as its kubelet knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// It has not been able to register; the error of the last attempt.
    Joining {
        error: Option<String>,
    },
    Running,
    ShuttingDown,
}

/// Numbers about a Host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostStats {
    pub nodes: usize,
    pub nodes_joined: usize,
    pub pods: usize,
    pub containers_running: usize,
    /// Writes that wait for their turn.
    pub writes_queued: usize,
}

/// All simulated nodes of one cluster. Cheap to clone; all clones are the same Host. It ends with its tasks.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

pub(crate) struct Inner {
    world: World,
    client: Client,
    tasks: Tasks,
    options: HostOptions,
    informers: Informers,
    runtime: Arc<dyn Runtime>,
    inbox: Arc<Inbox>,
    core: Mutex<Core>,
    /// Counts up when a node's state changes.
    changes: watch::Sender<u64>,
}

/// Everything that changes.
#[derive(Default)]
pub(crate) struct Core {
    nodes: BTreeMap<NodeId, NodeSlot>,
    node_ids: BTreeMap<Arc<str>, NodeId>,
    pods: BTreeMap<PodHandle, Box<PodSlot>>,
    by_key: BTreeMap<NamespacedName, PodHandle>,
    /// How often each machine was started again after a crash.
    boots: BTreeMap<Arc<str>, u32>,
    timers: Timers,
    /// Nodes on which there may be room for what was deferred.
    resizes_due: BTreeSet<NodeId>,
    queue: Queue,
    recorder: Recorder,
    next_id: u64,
}

impl Core {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Inner {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Host {
    /// Starts a Host without nodes over the simulated runtime. `client` lists and watches pods and nodes; each node writes
    /// under its own identity.
    pub fn start(client: Client, world: World, tasks: &Tasks, options: HostOptions) -> Host {
        let (runtime_world, pace) = (world.clone(), options.pace.clone());
        Host::start_with(client, world, tasks, options, |completions| {
            Arc::new(SimulatedRuntime::new(runtime_world, completions, pace))
        })
    }

    /// Starts a Host over another runtime.
    pub fn start_with(
        client: Client,
        world: World,
        tasks: &Tasks,
        options: HostOptions,
        runtime: impl FnOnce(Completions) -> Arc<dyn Runtime>,
    ) -> Host {
        let inbox = Arc::new(Inbox::default());
        let informers =
            Informers::builder().with(resources::PODS, &[BY_NODE]).with(resources::NODES, &[]).build(client.clone());
        let pods = inbox.clone();
        informers.subscribe(&resources::PODS, move |change| {
            let bound = |pod: Arc<Pod>| !pod.spec.node_name.is_empty();
            if change.latest().view::<Pod>().is_ok_and(bound) {
                pods.push(Input::Pod(change.key.clone()));
            }
        });
        let nodes = inbox.clone();
        informers.subscribe(&resources::NODES, move |change| nodes.push(Input::Node(change.key.name.as_str().into())));
        let inner = Arc::new(Inner {
            runtime: runtime(Completions(inbox.clone())),
            world,
            client,
            tasks: tasks.clone(),
            core: Mutex::new(Core { recorder: Recorder::new(options.events_per_second), ..Core::default() }),
            options,
            informers,
            inbox,
            changes: watch::channel(0).0,
        });
        inner.informers.start(tasks);
        tasks.spawn("kubelets", engine::run(inner.clone(), tasks.stop()));
        Host(inner)
    }

    /// Starts a kubelet. It registers its node as soon as the API server lets it, and takes on the pods it finds there.
    pub fn add_node(&self, spec: NodeSpec) -> Result<(), HostError> {
        self.0.add_node(spec)
    }

    /// Stops a kubelet. The Node object stays: deleting it is the business of whoever owns the machine.
    pub fn remove_node(&self, name: &str, how: Removal) -> Result<(), HostError> {
        self.0.remove_node(name, how)
    }

    /// How a node is doing; `None` when it is not on this host (any more).
    pub fn node(&self, name: &str) -> Option<NodeState> {
        let core = self.0.core();
        core.nodes.get(core.node_ids.get(name)?).map(NodeSlot::state)
    }

    /// Names of the nodes on this host, in order.
    pub fn nodes(&self) -> BTreeSet<String> {
        self.0.core().node_ids.keys().map(|name| name.to_string()).collect()
    }

    /// Completes when `condition` holds of a node's state.
    pub async fn node_is(&self, name: &str, condition: impl Fn(Option<&NodeState>) -> bool) {
        let mut changes = self.0.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if condition(self.node(name).as_ref()) {
                return;
            }
            // The sender lives in this Host, so waiting cannot fail.
            let _ = changes.changed().await;
        }
    }

    /// Numbers for people and tests.
    pub fn stats(&self) -> HostStats {
        let core = self.0.core();
        HostStats {
            nodes: core.nodes.len(),
            nodes_joined: core.nodes.values().filter(|node| node.is_joined()).count(),
            pods: core.pods.len(),
            containers_running: core.pods.values().map(|slot| slot.running_containers()).sum(),
            writes_queued: core.queue.len(),
        }
    }
}
