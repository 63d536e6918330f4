//! A simulated container survives the process that simulated it: what a pod's status says ran, runs on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_object::views::Resources;
use k8s_object::{Object, Quantity};
use serde::Deserialize;
use world::Timestamp;

use crate::ids::ContainerId;
use crate::pod::{Recovered, RecoveredContainer, RecoveredResources, RecoveredState, Terminated};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    status: Status,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    init_containers: Vec<Named>,
    containers: Vec<Named>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    start_time: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<IpAddr>,
    container_statuses: Vec<Container>,
    init_container_statuses: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    state: State,
    last_state: State,
    ready: bool,
    started: bool,
    restart_count: u32,
    #[serde(rename = "imageID")]
    image_id: String,
    #[serde(rename = "containerID")]
    container_id: String,
    resources: Option<Resources>,
    allocated_resources: BTreeMap<String, Quantity>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
    running: Option<Running>,
    terminated: Option<End>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Running {
    started_at: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct End {
    exit_code: i32,
    reason: String,
    message: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    #[serde(rename = "containerID")]
    container_id: String,
}

fn time(text: Option<&String>) -> Option<Timestamp> {
    text.and_then(|text| Timestamp::parse(text).ok())
}

impl End {
    fn terminated(self) -> Terminated {
        Terminated {
            exit_code: self.exit_code,
            started_at: time(self.started_at.as_ref()),
            finished_at: time(self.finished_at.as_ref()),
            id: ContainerId::parse(&self.container_id),
            reason: self.reason,
            message: self.message,
        }
    }
}

/// What a pod's status says was there; absent if the node had not taken it yet. `rebooted`: the processes are gone.
pub(super) fn recover(object: &Object, rebooted: bool, now: Timestamp) -> Option<Recovered> {
    let head: Head = serde_json::from_slice(object.bytes()).ok()?;
    let started_at = time(head.status.start_time.as_ref())?;
    let inits = head.spec.init_containers.len();
    let mut statuses = head.status.init_container_statuses;
    statuses.extend(head.status.container_statuses);
    let mut find = |name: &str| {
        let at = statuses.iter().position(|status| status.name == name)?;
        Some(statuses.swap_remove(at))
    };
    let names = head.spec.init_containers.iter().chain(&head.spec.containers);
    let containers = names
        .enumerate()
        .map(|(index, spec)| {
            let status = find(&spec.name).unwrap_or_default();
            container(status, rebooted, index < inits, now)
        })
        .collect();
    let address = head.status.pod_ip;
    Some(Recovered { started_at, sandbox_ready: address.is_some() && !rebooted, address, containers })
}

fn container(status: Container, rebooted: bool, init: bool, now: Timestamp) -> RecoveredContainer {
    let id = ContainerId::parse(&status.container_id);
    let mut found = RecoveredContainer {
        runs: if id.is_some() { status.restart_count.saturating_add(1) } else { 0 },
        state: RecoveredState::Waiting { crash_loop: false },
        last: status.last_state.terminated.map(End::terminated),
        id,
        image_id: (!status.image_id.is_empty()).then(|| Arc::from(status.image_id)),
        started: status.started,
        ready: status.ready,
        resources: None,
    };
    if let Some(actual) = status.resources {
        found.resources = Some(Box::new(RecoveredResources { actual, allocated: status.allocated_resources }));
    }
    found.state = if let Some(end) = status.state.terminated {
        RecoveredState::Terminated(end.terminated())
    } else if let Some(running) = status.state.running {
        let started_at = time(running.started_at.as_ref()).unwrap_or(now);
        if rebooted {
            RecoveredState::Terminated(Terminated {
                exit_code: 255,
                reason: "Unknown".to_owned(),
                message: String::new(),
                started_at: Some(started_at),
                finished_at: Some(now),
                id,
            })
        } else {
            RecoveredState::Running { started_at }
        }
    } else {
        let crash_loop = status.state.waiting.is_some_and(|waiting| waiting.reason == "CrashLoopBackOff");
        RecoveredState::Waiting { crash_loop: crash_loop && found.last.is_some() }
    };
    if rebooted && init {
        // A new sandbox starts with its init containers again.
        if let RecoveredState::Terminated(end) = found.state {
            found.last = Some(end);
        }
        found.state = RecoveredState::Waiting { crash_loop: false };
    }
    found
}
