//! The life of one pod on its node, as a pure state machine: [`step`] takes a state, an event and the moment, and gives the
//! next state and what to do. It knows no clock, no runtime and no API server, and it never waits.
//!
//! # Lives
//!
//! | life | what happens in it | leaves to | when |
//! |---|---|---|---|
//! | `New` | nothing: the node has not admitted the pod | `Active` | `Admitted`, or `Recovered` with something to run |
//! | | | `Ended` | `Rejected`, deletion, or `Recovered` already finished |
//! | `Active` | sandbox, init containers and sidecars in order, then all containers; restarts and probes | `Stopping` | deletion, a final phase set by others, `PodRemoved`, `NodeShutdown`, active deadline, or all containers are done |
//! | `Stopping` | containers get preStop, SIGTERM, SIGKILL; sidecars last, in reverse order | `TearingDown` | nothing runs any more |
//! | `TearingDown` | the sandbox is stopped | `Ended` | `SandboxStopped`, or there was none |
//! | `Ended` | the last status is written; a pod being deleted is then deleted for good | `Gone` | the object is gone |
//! | `Gone` | nothing, ever | | |
//!
//! # Phases of a container
//!
//! | phase | shown as | leaves to | when |
//! |---|---|---|---|
//! | `Pending` | waiting | `Pulling` | it is its turn |
//! | `Pulling` | waiting | `Starting` / `PullBackoff` | `ImageReady` / `ImageFailed` |
//! | `PullBackoff` | waiting, ErrImagePull then ImagePullBackOff | `Pulling` | the backoff is over |
//! | `Starting` | waiting | `PostStart` or `Running` / `Exited` | `ContainerStarted` / `ContainerStartFailed` |
//! | `PostStart` | waiting | `Running` / `Stopping` | the hook succeeded / failed |
//! | `Running` | running | `PreStop` or `Stopping` | a stop is asked for: liveness, startup, new image, end of the pod |
//! | `PreStop` | running | `Stopping` | the hook is done or the grace is used up |
//! | `Stopping` | running | `Exited` | `ContainerExited` |
//! | `Exited` | terminated | `Pending` / `Backoff` | it is to be restarted, at once / after its crash loop backoff |
//! | `Backoff` | waiting, CrashLoopBackOff | `Pending` | the backoff is over |
//!
//! From `PostStart`, `Running`, `PreStop` and `Stopping`, `ContainerExited` leads to `Exited`. Every start counts in
//! `Container::runs`; answers that name another attempt are ignored, so nothing late can revive a container.

mod backoff;
mod container;
mod notes;
mod probes;
mod resize;
mod spec;
mod status;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_object::Quantity;
use k8s_object::views::{Pod, Resources};
use world::Timestamp;

use crate::ids::ContainerId;
use crate::runtime::PullPolicy;
use backoff::Backoff;
use probes::Probes;
use resize::Resizing;

pub use notes::{Killing, Note, NoteText};
pub use resize::Resize;
pub(crate) use spec::container_spec;
pub use status::{NodeFacts, phase, status};
pub use step::step;

/// How long after a failed sandbox the next one is tried (kubelet `backOffPeriod`).
pub(crate) const SANDBOX_RETRY: Duration = Duration::from_secs(10);
/// The grace of pods that say nothing (`terminationGracePeriodSeconds`).
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(30);
/// What a container gets at least after its preStop hook (kubelet `minimumGracePeriodInSeconds`).
pub(crate) const MINIMUM_GRACE: Duration = Duration::from_secs(2);
/// How long a failed pull is shown as ErrImagePull before it is shown as ImagePullBackOff.
pub(crate) const SHOW_PULL_ERROR: Duration = Duration::from_secs(2);

/// Which hook of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    PostStart,
    PreStop,
}

/// Which probe of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

/// How a probe went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// `Err` with what the probe saw.
    pub result: Result<(), String>,
    /// The runtime promises the same result for as long as this container runs and its pod does not change:
    /// there is no need to ask again.
    pub steady: bool,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminated {
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled` …
    pub reason: String,
    pub message: String,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub id: Option<ContainerId>,
}

/// Why a pod has failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub reason: String,
    pub message: String,
}

/// What a runtime reports about a pod. Containers are named by index: init containers first, then containers.
#[derive(Debug, Clone, PartialEq)]
pub enum RuntimeEvent {
    SandboxReady {
        attempt: u32,
        address: Option<IpAddr>,
    },
    SandboxFailed {
        attempt: u32,
        message: String,
    },
    SandboxStopped,
    /// The registry is being asked.
    ImagePulling {
        container: u16,
    },
    /// `pulled` is absent when the image was there already.
    ImageReady {
        container: u16,
        image_id: Arc<str>,
        pulled: Option<Pulled>,
    },
    /// `reason` is `ErrImagePull`, `ErrImageNeverPull` or `InvalidImageName`.
    ImageFailed {
        container: u16,
        reason: &'static str,
        message: String,
    },
    ContainerStarted {
        container: u16,
        attempt: u32,
        id: ContainerId,
    },
    ContainerStartFailed {
        container: u16,
        attempt: u32,
        message: String,
    },
    ContainerExited {
        container: u16,
        attempt: u32,
        exit_code: i32,
        reason: &'static str,
    },
    /// It has the resources that it was last to be given.
    ContainerResized {
        container: u16,
        attempt: u32,
    },
    HookDone {
        container: u16,
        attempt: u32,
        hook: Hook,
        result: Result<(), String>,
    },
    Probed {
        container: u16,
        attempt: u32,
        probe: ProbeKind,
        outcome: ProbeOutcome,
    },
}

/// What it took to fetch an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulled {
    pub took: Duration,
    pub size_bytes: u64,
}

/// What happens to a pod.
#[derive(Debug, Clone)]
pub enum Event {
    /// The node takes the pod.
    Admitted,
    /// The node does not take the pod.
    Rejected(Outcome),
    /// The pod was on the node before the kubelet or the node restarted; this is what is left of it.
    Recovered(Recovered),
    /// The object changed.
    PodUpdated(Arc<Pod>),
    /// The object is gone.
    PodRemoved,
    /// The node has decided on the resources that the pod asks for now and has not been promised yet.
    Resize(Resize),
    /// The node is being shut down; containers get at most this grace.
    NodeShutdown { grace: Duration },
    /// The time asked for with [`Action::SetTimer`] has come.
    TimerFired,
    /// The API server holds the status as it was when the pod had this life.
    StatusWritten { ended: bool },
    /// A runtime's answer.
    Runtime(RuntimeEvent),
}

/// What is left of a pod after a restart.
#[derive(Debug, Clone)]
pub struct Recovered {
    pub started_at: Timestamp,
    /// Whether the sandbox still stands, and its address.
    pub sandbox_ready: bool,
    pub address: Option<IpAddr>,
    /// One per container: init containers first. Missing ones have not run.
    pub containers: Vec<RecoveredContainer>,
}

/// What is left of a container.
#[derive(Debug, Clone)]
pub struct RecoveredContainer {
    /// How often it has been started.
    pub runs: u32,
    pub state: RecoveredState,
    pub last: Option<Terminated>,
    pub id: Option<ContainerId>,
    pub image_id: Option<Arc<str>>,
    pub started: bool,
    pub ready: bool,
    /// What it ran with, and what was requested for it; unknown of those that have not run.
    pub resources: Option<Box<RecoveredResources>>,
}

/// What a found container ran with.
#[derive(Debug, Clone)]
pub struct RecoveredResources {
    pub actual: Resources,
    /// The requests that its node had promised it.
    pub allocated: BTreeMap<String, Quantity>,
}

/// What a found container does.
#[derive(Debug, Clone)]
pub enum RecoveredState {
    /// It does not run; with `crash_loop` its last end counts as a crash.
    Waiting {
        crash_loop: bool,
    },
    Running {
        started_at: Timestamp,
    },
    Terminated(Terminated),
}

/// What to do. Answers come back as events.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    CreateSandbox {
        attempt: u32,
    },
    StopSandbox,
    PullImage {
        container: u16,
        policy: PullPolicy,
    },
    StartContainer {
        container: u16,
        attempt: u32,
    },
    StopContainer {
        container: u16,
        attempt: u32,
        grace: Duration,
    },
    ResizeContainer {
        container: u16,
        attempt: u32,
    },
    RunHook {
        container: u16,
        attempt: u32,
        hook: Hook,
    },
    RunProbe {
        container: u16,
        attempt: u32,
        probe: ProbeKind,
    },
    /// The status has changed. Not urgent when more changes will follow shortly.
    WriteStatus {
        urgent: bool,
    },
    /// Delete the object with grace 0, if it still has this pod's uid.
    DeleteFromApi,
    /// Send `TimerFired` at this moment; replaces the one asked for before.
    SetTimer(Timestamp),
    /// Tell people, as an Event object.
    Note {
        container: Option<u16>,
        note: Note,
    },
    /// The machine is at its end.
    Forget,
}

/// Where a pod is in its life; see the module's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    New,
    Active,
    /// `kill_at`: when the grace is used up.
    Stopping {
        kill_at: Timestamp,
    },
    TearingDown,
    /// `deleting`: the deletion of the object has been asked for; its status is not written any more.
    Ended {
        deleting: bool,
    },
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sandbox {
    None,
    Creating,
    Failed {
        retry_at: Timestamp,
    },
    Ready {
        address: Option<IpAddr>,
    },
    /// Its address stays in the status.
    Stopping {
        address: Option<IpAddr>,
    },
    Stopped {
        address: Option<IpAddr>,
    },
}

impl Sandbox {
    pub(crate) fn address(self) -> Option<IpAddr> {
        match self {
            Sandbox::Ready { address } | Sandbox::Stopping { address } | Sandbox::Stopped { address } => address,
            Sandbox::None | Sandbox::Creating | Sandbox::Failed { .. } => None,
        }
    }
}

/// What a container does; see the module's table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    Pending,
    Pulling,
    /// Shown as ErrImagePull until `flip_at`.
    PullBackoff {
        flip_at: Option<Timestamp>,
        retry_at: Timestamp,
    },
    Starting,
    PostStart {
        started_at: Timestamp,
    },
    Running {
        started_at: Timestamp,
    },
    PreStop {
        started_at: Timestamp,
        kill_at: Timestamp,
    },
    Stopping {
        started_at: Timestamp,
    },
    Exited(Box<Terminated>),
    /// How it ended is in `last`.
    Backoff {
        until: Timestamp,
    },
}

impl Phase {
    /// Since when its process runs, as far as the status tells.
    pub(crate) fn running_since(&self) -> Option<Timestamp> {
        match self {
            Phase::Running { started_at } | Phase::PreStop { started_at, .. } | Phase::Stopping { started_at } => {
                Some(*started_at)
            }
            _ => None,
        }
    }

    /// Whether the runtime has, or is about to have, a process for it.
    pub(crate) fn is_alive(&self) -> bool {
        match self {
            Phase::Starting
            | Phase::PostStart { .. }
            | Phase::Running { .. }
            | Phase::PreStop { .. }
            | Phase::Stopping { .. } => true,
            Phase::Pending | Phase::Pulling | Phase::PullBackoff { .. } | Phase::Exited(_) | Phase::Backoff { .. } => {
                false
            }
        }
    }
}

/// Why a container waits, beyond the ordinary.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) phase: Phase,
    /// How often it has been started; the current attempt is one less.
    pub(crate) runs: u32,
    pub(crate) started: bool,
    pub(crate) ready: bool,
    /// It has once done what the next init container waits for.
    pub(crate) passed: bool,
    /// Its definition changed: restart it whatever its policy.
    pub(crate) replace: bool,
    pub(crate) id: Option<ContainerId>,
    pub(crate) image_id: Option<Arc<str>>,
    pub(crate) last: Option<Box<Terminated>>,
    pub(crate) problem: Option<Box<Problem>>,
    pub(crate) crash: Backoff,
    pub(crate) pull: Backoff,
    pub(crate) probes: Option<Box<Probes>>,
    /// What it runs with, as long as that is not what its pod has been promised.
    pub(crate) actual: Option<Box<Resources>>,
    /// What the runtime was asked to give it, until it has.
    pub(crate) resizing: Option<Box<Resources>>,
}

impl Container {
    fn new() -> Container {
        Container {
            phase: Phase::Pending,
            runs: 0,
            started: false,
            ready: false,
            passed: false,
            replace: false,
            id: None,
            image_id: None,
            last: None,
            problem: None,
            crash: Backoff::default(),
            pull: Backoff::default(),
            probes: None,
            actual: None,
            resizing: None,
        }
    }

    /// The number of the run that is under way or was last.
    pub(crate) fn attempt(&self) -> u32 {
        self.runs.saturating_sub(1)
    }
}

/// One pod on its node.
#[derive(Debug, Clone)]
pub struct PodState {
    pub(crate) pod: Arc<Pod>,
    /// The pod with the resources that the node has promised it; the same as `pod` but while a change of them waits.
    pub(crate) allocated: Arc<Pod>,
    pub(crate) resize: Option<Box<Resizing>>,
    pub(crate) life: Life,
    pub(crate) sandbox: Sandbox,
    pub(crate) sandbox_attempts: u32,
    /// When the node took the pod (`status.startTime`).
    pub(crate) started_at: Option<Timestamp>,
    /// Set when the pod fails as a whole.
    pub(crate) outcome: Option<Box<Outcome>>,
    /// The object is gone.
    pub(crate) removed: bool,
    /// All init containers have done their work.
    pub(crate) initialized: bool,
    pub(crate) containers: Box<[Container]>,
    pub(crate) timer: Option<Timestamp>,
}

impl PodState {
    /// A pod that the node has just seen.
    pub fn new(pod: Arc<Pod>) -> PodState {
        let count = pod.spec.init_containers.len() + pod.spec.containers.len();
        PodState {
            allocated: pod.clone(),
            resize: None,
            pod,
            life: Life::New,
            sandbox: Sandbox::None,
            sandbox_attempts: 0,
            started_at: None,
            outcome: None,
            removed: false,
            initialized: false,
            containers: (0..count).map(|_| Container::new()).collect(),
            timer: None,
        }
    }

    /// Where the pod is in its life.
    pub fn life(&self) -> Life {
        self.life
    }

    /// The newest object known.
    pub fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// The pod with the resources that its node has promised it.
    pub(crate) fn promised(&self) -> &Arc<Pod> {
        &self.allocated
    }

    /// The pod's address, once it has one.
    pub fn address(&self) -> Option<IpAddr> {
        self.sandbox.address()
    }

    /// The address while the sandbox stands: nobody else can have it.
    pub(crate) fn held_address(&self) -> Option<IpAddr> {
        match self.sandbox {
            Sandbox::Ready { address } => address,
            _ => None,
        }
    }

    /// How many containers run, as far as the status tells.
    pub fn running_containers(&self) -> usize {
        self.containers.iter().filter(|container| container.phase.running_since().is_some()).count()
    }
}
