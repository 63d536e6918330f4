//! The port to a container runtime, in the shape of the CRI.
//!
//! A call only begins an operation; its result arrives later as a [`RuntimeEvent`] through [`Completions`]. A real runtime
//! delivers when its own call returns. A simulated one delivers at once with a delay, which the Host's timer heap holds,
//! so that thousands of containers need neither tasks nor timers of their own.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_object::views::Pod;
use k8s_object::{NamespacedName, Object};
use tokio::sync::Notify;

use crate::network::PodNetwork;
use crate::pod::{Hook, ProbeKind, Recovered, RuntimeEvent};

/// A pod within one Host; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodHandle(pub(crate) u64);

/// What a runtime knows of its node.
pub struct RuntimeNode {
    pub name: Arc<str>,
    /// Addresses of the node, the primary one first: pods on the host network have them.
    pub addresses: Vec<IpAddr>,
    /// Where its pods get theirs.
    pub network: Arc<dyn PodNetwork>,
}

/// The pod that a call is about.
#[derive(Clone)]
pub struct PodContext {
    pub handle: PodHandle,
    pub node: Arc<RuntimeNode>,
    pub pod: Arc<Pod>,
}

/// When to ask a registry for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// An image in a node's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `docker.io/library/nginx:1.29` and `docker.io/library/nginx@sha256:…`.
    pub names: Vec<String>,
    pub size_bytes: u64,
}

/// Where containers run. Containers are named by their index in a pod: init containers first, then containers.
pub trait Runtime: Send + Sync {
    /// Creates the pod's sandbox and its address: [`RuntimeEvent::SandboxReady`] or `SandboxFailed`.
    fn run_pod_sandbox(&self, pod: &PodContext, attempt: u32);

    /// Stops and removes the sandbox and releases its address: [`RuntimeEvent::SandboxStopped`].
    fn stop_pod_sandbox(&self, pod: &PodContext, address: Option<IpAddr>);

    /// Makes a container's image present: [`RuntimeEvent::ImageReady`] or `ImageFailed`.
    fn pull_image(&self, pod: &PodContext, container: u16, policy: PullPolicy);

    /// Creates and starts a container: [`RuntimeEvent::ContainerStarted`] or `ContainerStartFailed`, later `ContainerExited`.
    fn start_container(&self, pod: &PodContext, container: u16, attempt: u32);

    /// Sends SIGTERM, and SIGKILL when `grace` has passed: [`RuntimeEvent::ContainerExited`]. May be repeated to shorten the grace.
    fn stop_container(&self, pod: &PodContext, container: u16, attempt: u32, grace: Duration);

    /// Gives a running container the resources that its pod has been promised: [`RuntimeEvent::ContainerResized`].
    fn resize_container(&self, pod: &PodContext, container: u16, attempt: u32);

    /// Runs a hook in a container: [`RuntimeEvent::HookDone`].
    fn run_hook(&self, pod: &PodContext, container: u16, attempt: u32, hook: Hook);

    /// Probes a container once: [`RuntimeEvent::Probed`].
    fn probe(&self, pod: &PodContext, container: u16, attempt: u32, probe: ProbeKind);

    /// What still runs of a pod that the Host finds but did not start, because the process or the node (`rebooted`)
    /// restarted in between; absent if the pod never ran. Exits of what still runs are reported from now on.
    fn recover(&self, pod: &PodContext, object: &Object, rebooted: bool) -> Option<Recovered>;

    /// The images in a node's cache, in a stable order.
    fn list_images(&self, node: &str) -> Vec<Image>;

    /// Every container of this pod is gone without a trace, as when its node lost power.
    fn forget_pod(&self, pod: &PodContext, address: Option<IpAddr>);

    /// The node's disk is gone, and the image cache on it.
    fn forget_node(&self, node: &str);
}

/// What wakes the Host.
pub(crate) enum Input {
    /// An object of this key came, changed or went.
    Pod(NamespacedName),
    Node(Arc<str>),
    /// A runtime's answer, due after a delay.
    Runtime(PodHandle, RuntimeEvent, Duration),
}

#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<VecDeque<Input>>,
    pub(crate) notify: Notify,
}

impl Inbox {
    pub(crate) fn push(&self, input: Input) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(input);
        self.notify.notify_one();
    }

    pub(crate) fn take(&self) -> VecDeque<Input> {
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where a runtime delivers what became of the operations it was asked for. Cheap to clone.
#[derive(Clone)]
pub struct Completions(pub(crate) Arc<Inbox>);

impl Completions {
    /// Delivers `event` to the pod when `delay` has passed. Delivery to a pod that is gone does nothing.
    pub fn deliver(&self, pod: PodHandle, delay: Duration, event: RuntimeEvent) {
        self.0.push(Input::Runtime(pod, event, delay));
    }
}
