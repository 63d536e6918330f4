//! The scheduler in its surroundings: follows pods and nodes, carries out decisions, many at the same time.
//!
//! One task owns the [`Core`]; changes reach it as names of what changed, so that what waits is bounded by what exists.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_client::{Client, Informers, InformersBuilder, PatchType};
use k8s_object::{ApiError, GroupVersionResource, NamespacedName, resources};
use serde_json::{Value, json};
use tokio::sync::Notify;
use world::{Stop, Tasks, World};

use crate::core::{Core, CoreOptions, Decision, Nominate};
use crate::evict;
use crate::pod_info::PodInfo;
use crate::recorder::Recorder;

const BUDGETS: GroupVersionResource = GroupVersionResource::of("policy", "v1", "poddisruptionbudgets");

/// Decisions between two looks at what has changed.
const DECISIONS_PER_TURN: usize = 64;

/// What a scheduler is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Pods with this `spec.schedulerName` are scheduled.
    pub scheduler_name: String,
    /// The share of nodes to find in percent before the best is chosen; `None` adapts to how many there are.
    pub percentage_of_nodes_to_score: Option<usize>,
    /// The cluster's minor version of Kubernetes 1, which some messages depend on.
    pub minor: u8,
    /// Requests to the API server at the same time; no pod is decided while they are all under way.
    pub requests_in_flight: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            scheduler_name: "default-scheduler".into(),
            percentage_of_nodes_to_score: None,
            minor: 36,
            requests_in_flight: 256,
        }
    }
}

/// Adds what the scheduler reads to informers that are shared with others.
pub fn watches(builder: InformersBuilder) -> InformersBuilder {
    LISTS.iter().fold(builder, |builder, (resource, _)| builder.with(resource.clone(), &[]))
}

/// Starts a scheduler with informers of its own; it stops with `tasks`.
pub fn run(client: Client, tasks: &Tasks, options: Options) {
    let informers = watches(Informers::builder()).build(client.clone());
    run_with(client, &informers, tasks, options);
    informers.start(tasks);
}

/// Starts a scheduler on informers built with [`watches`]. They must be started afterwards, so that it misses nothing.
pub fn run_with(client: Client, informers: &Informers, tasks: &Tasks, options: Options) {
    let inbox = Arc::new(Inbox::default());
    for (resource, list) in LISTS {
        let (inbox, list) = (inbox.clone(), *list);
        informers.subscribe(resource, move |change| inbox.note(list, &change.key));
    }
    let world = tasks.world().clone();
    let (recorder, recording) =
        Recorder::new(client.clone(), world.clone(), options.scheduler_name.clone(), tasks.stop());
    tasks.spawn("scheduler-events", recording);
    let core = Core::new(CoreOptions {
        scheduler_name: options.scheduler_name,
        percentage_of_nodes_to_score: options.percentage_of_nodes_to_score,
        minor: options.minor,
    });
    let shell = Shell {
        client,
        informers: informers.clone(),
        inbox,
        recorder,
        world,
        tasks: tasks.clone(),
        stop: tasks.stop(),
        core,
        in_flight: 0,
        max_in_flight: options.requests_in_flight.max(1),
    };
    tasks.spawn("scheduler", shell.run());
}

/// What the scheduler reads.
static LISTS: &[(GroupVersionResource, List)] = &[
    (BUDGETS, List::Budgets),
    (resources::NAMESPACES, List::Namespaces),
    (resources::NODES, List::Nodes),
    (resources::PODS, List::Pods),
    (resources::SERVICES, List::Services),
];

#[derive(Debug, Clone, Copy)]
enum List {
    Budgets,
    Namespaces,
    Nodes,
    Pods,
    Services,
}

/// Names in the order in which they were first noted, each once.
#[derive(Default)]
struct Names {
    order: VecDeque<NamespacedName>,
    noted: BTreeSet<NamespacedName>,
}

impl Names {
    fn note(&mut self, name: &NamespacedName) {
        if self.noted.insert(name.clone()) {
            self.order.push_back(name.clone());
        }
    }
}

/// How a request of this scheduler ended.
pub(crate) enum Outcome {
    Bound(Arc<PodInfo>),
    BindFailed(Arc<PodInfo>),
    /// Of those that make room for the pod, the last is about to be told. The request goes on.
    Preempting(Arc<PodInfo>),
    /// All are told; whether the pod has to try again, since none of them will wake it.
    Preempted(Arc<PodInfo>, bool),
    /// The condition of a pod was written, or not; nothing depends on it.
    Told,
}

#[derive(Default)]
struct Notes {
    budgets: Names,
    namespaces: Names,
    nodes: Names,
    pods: Names,
    services: Names,
    /// At most as many as requests in flight.
    outcomes: Vec<Outcome>,
}

/// What the scheduler's task has not looked at yet.
#[derive(Default)]
pub(crate) struct Inbox {
    notes: Mutex<Notes>,
    arrived: Notify,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, list: List, name: &NamespacedName) {
        let mut notes = self.lock();
        match list {
            List::Budgets => notes.budgets.note(name),
            List::Namespaces => notes.namespaces.note(name),
            List::Nodes => notes.nodes.note(name),
            List::Pods => notes.pods.note(name),
            List::Services => notes.services.note(name),
        }
        drop(notes);
        self.arrived.notify_one();
    }

    pub(crate) fn finish(&self, outcome: Outcome) {
        self.lock().outcomes.push(outcome);
        self.arrived.notify_one();
    }
}

struct Shell {
    client: Client,
    informers: Informers,
    inbox: Arc<Inbox>,
    recorder: Recorder,
    world: World,
    tasks: Tasks,
    stop: Stop,
    core: Core,
    in_flight: usize,
    max_in_flight: usize,
}

impl Shell {
    async fn run(mut self) {
        // Before everything is known a node would look emptier than it is.
        if self.stop.or(self.informers.synced()).await.is_none() {
            return;
        }
        loop {
            self.read_notes();
            for _ in 0..DECISIONS_PER_TURN {
                if self.in_flight >= self.max_in_flight || !self.decide() {
                    break;
                }
            }
            if self.in_flight < self.max_in_flight && self.core.is_ready(self.world.elapsed()) {
                if self.stop.is_stopped() {
                    return;
                }
                self.world.yield_now().await;
                continue;
            }
            let deadline = self.core.next_deadline().filter(|_| self.in_flight < self.max_in_flight);
            let sleep = async {
                match deadline {
                    Some(deadline) => self.world.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.stopped() => return,
                () = self.inbox.arrived.notified() => {}
                () = sleep => {}
            }
        }
    }

    fn read_notes(&mut self) {
        let notes = std::mem::take(&mut *self.inbox.lock());
        let now = self.world.elapsed();
        for outcome in notes.outcomes {
            if !matches!(outcome, Outcome::Preempting(_)) {
                self.in_flight -= 1;
            }
            match outcome {
                Outcome::Bound(pod) => self.core.bound(&pod),
                Outcome::BindFailed(pod) => self.core.bind_failed(&pod, now),
                Outcome::Preempting(pod) => self.core.preemption_ends(&pod, now),
                Outcome::Preempted(pod, retry) => self.core.preemption_ended(&pod, retry, now),
                Outcome::Told => {}
            }
        }
        let (nodes, pods) = (self.informers.read(&resources::NODES), self.informers.read(&resources::PODS));
        if !notes.budgets.order.is_empty() {
            let budgets = self.informers.read(&BUDGETS);
            for key in notes.budgets.order {
                self.core.set_budget(&key, budgets.get(&key).as_deref());
            }
        }
        if !notes.services.order.is_empty() {
            let services = self.informers.read(&resources::SERVICES);
            for key in notes.services.order {
                self.core.set_service(&key, services.get(&key).as_deref());
            }
        }
        if !notes.namespaces.order.is_empty() {
            let namespaces = self.informers.read(&resources::NAMESPACES);
            for key in notes.namespaces.order {
                self.core.set_namespace(&key.name, namespaces.get(&key).as_deref(), now);
            }
        }
        for key in notes.nodes.order {
            self.core.set_node(&key.name, nodes.get(&key).as_ref(), now);
        }
        for key in notes.pods.order {
            self.core.set_pod(&key, pods.get(&key).as_deref(), now);
        }
    }

    /// Decides about one pod and starts what follows from it; false when there is none to decide about.
    fn decide(&mut self) -> bool {
        let Some(decision) = self.core.schedule(self.world.elapsed(), |bound| self.world.below(bound)) else {
            return false;
        };
        match decision {
            Decision::Bind { pod, node } => {
                self.in_flight += 1;
                let (client, inbox, recorder, world) =
                    (self.client.clone(), self.inbox.clone(), self.recorder.clone(), self.world.clone());
                self.tasks.spawn("scheduler-bind", async move {
                    let outcome = match bind(&client, &pod, &node).await {
                        Ok(()) => {
                            recorder.scheduled(&pod, &node);
                            Outcome::Bound(pod)
                        }
                        Err(error) => {
                            bind_failed(&client, &world, &recorder, &pod, &error).await;
                            Outcome::BindFailed(pod)
                        }
                    };
                    inbox.finish(outcome);
                });
            }
            Decision::Unschedulable { pod, message, nominate, preemption } => {
                self.tell(&pod, message, nominate);
                if let Some(preemption) = preemption {
                    self.in_flight += 1;
                    let (client, inbox, recorder, world) =
                        (self.client.clone(), self.inbox.clone(), self.recorder.clone(), self.world.clone());
                    self.tasks.spawn("scheduler-preempt", async move {
                        evict::evict(&client, &world, &recorder, &inbox, pod, preemption).await;
                    });
                }
            }
        }
        true
    }

    /// Tells that a pod found no node.
    fn tell(&mut self, pod: &Arc<PodInfo>, message: String, nominate: Nominate) {
        // What is said already is not said again: every write of a pod wakes everybody who watches pods.
        let failure = pod.failure.as_ref();
        let said = failure.is_some_and(|(reason, said)| &**reason == UNSCHEDULABLE && **said == *message);
        let nominated = match &nominate {
            Nominate::Keep => true,
            Nominate::Clear => pod.nominated.is_empty(),
            Nominate::Node(node) => *pod.nominated == **node,
        };
        if !said {
            self.recorder.failed(pod, &message);
        }
        if said && nominated {
            return;
        }
        self.in_flight += 1;
        let (client, inbox, world, pod) = (self.client.clone(), self.inbox.clone(), self.world.clone(), pod.clone());
        self.tasks.spawn("scheduler-condition", async move {
            set_condition(&client, &world, &pod, UNSCHEDULABLE, &message, &nominate).await;
            inbox.finish(Outcome::Told);
        });
    }
}

/// Reasons of a False condition PodScheduled.
const UNSCHEDULABLE: &str = "Unschedulable";
const SCHEDULER_ERROR: &str = "SchedulerError";

async fn bind(client: &Client, pod: &PodInfo, node: &str) -> Result<(), ApiError> {
    let body = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"namespace": pod.key.namespace, "name": pod.key.name, "uid": pod.uid},
        "target": {"kind": "Node", "name": node},
    });
    let (namespace, name) = (&pod.key.namespace, &pod.key.name);
    client.create_subresource(&resources::PODS, namespace, name, "binding", body).await.map(drop)
}

async fn bind_failed(client: &Client, world: &World, recorder: &Recorder, pod: &Arc<PodInfo>, error: &ApiError) {
    // Gone, or bound by somebody else: there is nobody to tell.
    if error.is_not_found() || error.is_conflict() {
        return;
    }
    let message = format!("running Bind plugin \"DefaultBinder\": {}", error.message);
    recorder.failed(pod, &message);
    set_condition(client, world, pod, SCHEDULER_ERROR, &message, &Nominate::Clear).await;
}

/// Says in the pod's status why it has no node, and where room is made for it. A failure to say so is not one of scheduling; the
/// next attempt says it again.
async fn set_condition(
    client: &Client,
    world: &World,
    pod: &PodInfo,
    reason: &str,
    message: &str,
    nominate: &Nominate,
) {
    let mut condition = json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message});
    if pod.failure.is_none() {
        condition["lastTransitionTime"] = json!(world.now().to_string());
    }
    if pod.generation > 0 {
        condition["observedGeneration"] = json!(pod.generation);
    }
    let mut status = json!({"conditions": [condition]});
    match nominate {
        Nominate::Node(node) => status["nominatedNodeName"] = json!(node),
        Nominate::Clear if !pod.nominated.is_empty() => status["nominatedNodeName"] = Value::Null,
        Nominate::Clear | Nominate::Keep => {}
    }
    let _ = patch_status(client, pod, status).await;
}

/// Patches the status of a pod, unless another has its name by now.
pub(crate) async fn patch_status(client: &Client, pod: &PodInfo, status: Value) -> Result<(), ApiError> {
    let patch = json!({"metadata": {"uid": pod.uid}, "status": status});
    let (namespace, name) = (&pod.key.namespace, &pod.key.name);
    client.patch(&resources::PODS, namespace, name, "status", PatchType::Strategic, patch).await.map(drop)
}
