//! A pod's status as the API shows it: phase, conditions, container statuses (kubelet `generateAPIPodStatus`).

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use world::Timestamp;

use super::resize::{IN_PROGRESS, PENDING};
use super::{Container, Life, Phase, PodState, Sandbox, Terminated};
use crate::simulated::image_reference;

/// What a status says about the node.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    /// Addresses of the node, the primary one first.
    pub addresses: Vec<IpAddr>,
}

/// `Pending`, `Running`, `Succeeded` or `Failed`. The last two only when nothing runs any more.
pub fn phase(state: &PodState) -> &'static str {
    let mains = &state.containers[state.pod.spec.init_containers.len()..];
    if matches!(state.life, Life::Ended { .. } | Life::Gone) {
        let succeeded = |container: &Container| matches!(&container.phase, Phase::Exited(end) if end.exit_code == 0);
        let all = state.outcome.is_none() && state.initialized && mains.iter().all(succeeded);
        return if all { "Succeeded" } else { "Failed" };
    }
    // A container that waits for its first start keeps the whole pod Pending.
    let waits = |container: &Container| container.phase.running_since().is_none() && !has_ended(container);
    if !state.initialized || mains.iter().any(waits) { "Pending" } else { "Running" }
}

fn has_ended(container: &Container) -> bool {
    container.last.is_some() || matches!(container.phase, Phase::Exited(_) | Phase::Backoff { .. })
}

/// The status, whole except for what others own (`qosClass`, `nominatedNodeName`, resizes …). Conditions of others and
/// transition times are carried over from `current`, the status in the newest object.
pub fn status(state: &PodState, node: &NodeFacts, current: &Value, now: Timestamp) -> Value {
    let inits = state.pod.spec.init_containers.len();
    let mut status = Map::new();
    let mut set = |key: &str, value: Value| status.insert(key.to_owned(), value);
    set("phase", json!(phase(state)));
    if let Some(outcome) = &state.outcome
        && matches!(state.life, Life::Ended { .. })
    {
        set("reason", json!(outcome.reason));
        let rejected = state.sandbox_attempts == 0 && state.containers.iter().all(|container| container.runs == 0);
        let prefix = if rejected && outcome.reason != "Terminated" { "Pod was rejected: " } else { "" };
        set("message", json!(format!("{prefix}{}", outcome.message)));
    }
    if state.pod.metadata.generation > 0 {
        set("observedGeneration", json!(state.pod.metadata.generation));
    }
    if let Some(started_at) = state.started_at {
        set("startTime", json!(started_at.to_string()));
    }
    if let Some(primary) = node.addresses.first() {
        set("hostIP", json!(primary.to_string()));
        set("hostIPs", addresses(&node.addresses));
    }
    if let Some(address) = state.sandbox.address() {
        let all = if state.pod.spec.host_network { node.addresses.as_slice() } else { &[] };
        set("podIP", json!(address.to_string()));
        set("podIPs", if all.is_empty() { addresses(&[address]) } else { addresses(all) });
    }
    set("conditions", conditions(state, current, now));
    let never_ran = state.started_at.is_none() || (state.sandbox_attempts == 0 && state.outcome.is_some());
    if !never_ran {
        let containers = |range: std::ops::Range<usize>| range.map(|index| container_status(state, index)).collect();
        if inits > 0 {
            set("initContainerStatuses", Value::Array(containers(0..inits)));
        }
        set("containerStatuses", Value::Array(containers(inits..state.containers.len())));
    }
    Value::Object(status)
}

fn addresses(addresses: &[IpAddr]) -> Value {
    addresses.iter().map(|address| json!({"ip": address.to_string()})).collect()
}

/// One condition as it should be.
struct Wanted {
    kind: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

fn names(state: &PodState, range: std::ops::Range<usize>, unmet: impl Fn(usize) -> bool) -> String {
    let names: Vec<&str> = range.filter(|index| unmet(*index)).map(|index| state.spec(index).name.as_str()).collect();
    names.join(" ")
}

fn wanted(state: &PodState) -> [Wanted; 4] {
    let (inits, count) = (state.pod.spec.init_containers.len(), state.containers.len());
    let over = matches!(state.life, Life::Ended { .. } | Life::Gone);
    let finished = match phase(state) {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let met = |kind, status| Wanted { kind, status, reason: "", message: String::new() };

    let sandbox = met("PodReadyToStartContainers", matches!(state.sandbox, Sandbox::Ready { .. }));
    let initialized = if state.initialized || inits == 0 {
        Wanted {
            reason: if finished == Some("PodCompleted") { "PodCompleted" } else { "" },
            ..met("Initialized", true)
        }
    } else {
        let incomplete = names(state, 0..inits, |index| !state.containers[index].passed);
        let message = format!("containers with incomplete status: [{incomplete}]");
        Wanted { kind: "Initialized", status: false, reason: "ContainersNotInitialized", message }
    };
    let sidecar = |index: usize| state.is_sidecar(index);
    let unready = names(state, 0..count, |index| (index >= inits || sidecar(index)) && !state.containers[index].ready);
    let ready = |kind| match finished {
        Some(reason) if over => Wanted { kind, status: false, reason, message: String::new() },
        _ if unready.is_empty() => met(kind, true),
        _ => {
            let message = format!("containers with unready status: [{unready}]");
            Wanted { kind, status: false, reason: "ContainersNotReady", message }
        }
    };
    let containers_ready = ready("ContainersReady");
    let mut pod_ready = ready("Ready");
    let gates = unmet_gates(state);
    if pod_ready.status && !gates.is_empty() {
        pod_ready =
            Wanted { kind: "Ready", status: false, reason: "ReadinessGatesNotReady", message: gates.join(", ") };
    }
    [sandbox, initialized, pod_ready, containers_ready]
}

fn unmet_gates(state: &PodState) -> Vec<String> {
    let gates = state.pod.spec.readiness_gates.iter().map(|gate| gate.condition_type.as_str());
    gates
        .filter_map(|gate| match state.pod.condition(gate) {
            None => Some(format!("corresponding condition of pod readiness gate \"{gate}\" does not exist.")),
            Some(condition) if condition.status != "True" => {
                let status = &condition.status;
                Some(format!("the status of pod readiness gate \"{gate}\" is not \"True\", but {status}"))
            }
            Some(_) => None,
        })
        .collect()
}

/// Own conditions first; those of others as they are.
fn conditions(state: &PodState, current: &Value, now: Timestamp) -> Value {
    let generation = state.pod.metadata.generation;
    let current = current["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let find = |kind: &str| current.iter().find(|condition| condition["type"] == kind);
    let mut list: Vec<Value> = Vec::with_capacity(6);
    let own = wanted(state);
    for wanted in &own {
        let status = if wanted.status { "True" } else { "False" };
        let before = find(wanted.kind).filter(|before| before["status"] == status);
        let since = before.and_then(|before| before["lastTransitionTime"].as_str());
        let since = since.map_or_else(|| now.to_string(), str::to_owned);
        let mut condition = json!({"type": wanted.kind, "status": status, "lastTransitionTime": since});
        if !wanted.reason.is_empty() {
            condition["reason"] = json!(wanted.reason);
        }
        if !wanted.message.is_empty() {
            condition["message"] = json!(wanted.message);
        }
        if generation > 0 {
            condition["observedGeneration"] = json!(generation);
        }
        list.push(condition);
    }
    if matches!(state.life, Life::Active) {
        for (kind, reason, message, generation) in state.resize_conditions() {
            let before = find(kind).filter(|before| before["reason"].as_str().unwrap_or("") == reason);
            let since = before.and_then(|before| before["lastTransitionTime"].as_str());
            let since = since.map_or_else(|| now.to_string(), str::to_owned);
            let mut condition = json!({"type": kind, "status": "True", "lastTransitionTime": since});
            condition["lastProbeTime"] = json!(since);
            for (key, text) in [("reason", reason), ("message", message)] {
                if !text.is_empty() {
                    condition[key] = json!(text);
                }
            }
            if generation > 0 {
                condition["observedGeneration"] = json!(generation);
            }
            list.push(condition);
        }
    }
    let is_own = |kind: &Value| own.iter().any(|wanted| kind == wanted.kind) || kind == PENDING || kind == IN_PROGRESS;
    let others = current.iter().filter(|other| !is_own(&other["type"]));
    list.extend(others.cloned());
    if find("PodScheduled").is_none() {
        // A pod that was created with a node name has no scheduler to say so.
        list.push(json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now.to_string()}));
    }
    Value::Array(list)
}

fn terminated(end: &Terminated) -> Value {
    let mut value = json!({"exitCode": end.exit_code, "reason": end.reason});
    if !end.message.is_empty() {
        value["message"] = json!(end.message);
    }
    for (key, time) in [("startedAt", end.started_at), ("finishedAt", end.finished_at)] {
        if let Some(time) = time {
            value[key] = json!(time.to_string());
        }
    }
    if let Some(id) = end.id {
        value["containerID"] = json!(id.to_string());
    }
    value
}

fn container_status(state: &PodState, index: usize) -> Value {
    let (container, spec) = (&state.containers[index], state.spec(index));
    let inits = state.pod.spec.init_containers.len();
    let completed = matches!(&container.phase, Phase::Exited(end) if end.exit_code == 0);
    let ready = container.ready || (index < inits && !state.is_sidecar(index) && completed);
    let image = if container.image_id.is_some() { image_reference(&spec.image) } else { spec.image.clone() };
    let mut value = json!({
        "name": spec.name,
        "image": image,
        "imageID": container.image_id.as_deref().unwrap_or_default(),
        "ready": ready,
        "started": container.started,
        "restartCount": container.runs.saturating_sub(1),
        "state": container_state(state, index),
        "lastState": container.last.as_ref().map_or_else(|| json!({}), |last| json!({"terminated": terminated(last)})),
    });
    if let Some(id) = container.id {
        value["containerID"] = json!(id.to_string());
        // Of those that have a container; what is only to come is in the spec.
        value["resources"] = state.resources_status(index);
        let requests = &state.allocated(index).json()["requests"];
        if requests.as_object().is_some_and(|requests| !requests.is_empty()) {
            value["allocatedResources"] = requests.clone();
        }
    }
    value
}

fn container_state(state: &PodState, index: usize) -> Value {
    let container = &state.containers[index];
    if let Phase::Exited(end) = &container.phase {
        return json!({"terminated": terminated(end)});
    }
    if let Some(started_at) = container.phase.running_since() {
        return json!({"running": {"startedAt": started_at.to_string()}});
    }
    let inits = state.pod.spec.init_containers.len();
    if matches!(state.life, Life::Ended { .. }) && (index >= inits || state.initialized) {
        let message = "The container could not be located when the pod was terminated";
        return json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": message}});
    }
    match &container.problem {
        Some(problem) => json!({"waiting": {"reason": problem.reason, "message": problem.message}}),
        None if inits > 0 => json!({"waiting": {"reason": "PodInitializing"}}),
        None => json!({"waiting": {"reason": "ContainerCreating"}}),
    }
}
