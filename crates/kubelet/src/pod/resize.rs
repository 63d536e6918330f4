//! Changing the CPU and memory of a pod that runs (kubelet `allocation` and `computePodResizeAction`).
//!
//! | the pod asks for | the node says | until |
//! |---|---|---|
//! | something else than it was promised | `PodResizePending`, `Infeasible`: never on this node, or `Deferred`: not now | it asks for something else, or there is room |
//! | what it was just promised | `PodResizeInProgress` | every running container has it, or has ended |
//!
//! A container whose policy for what changed says `RestartContainer` is started again, all others are told. The node's part, which is to
//! decide, is the Host's.

use std::sync::Arc;

use k8s_object::Quantity;
use k8s_object::views::{Pod, Resources};
use serde_json::{Value, json};
use world::Timestamp;

use super::step::Out;
use super::{Action, Killing, Life, Note, Phase, PodState, Recovered, container_spec};

/// The resources that can change in place.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// What the node decides about the resources that a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resize {
    Allocated,
    /// There is not enough left now.
    Deferred {
        message: String,
    },
    /// There will never be enough.
    Infeasible {
        message: String,
    },
}

/// A change of resources that is not at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resizing {
    pub(crate) pending: Option<Pending>,
    /// The generation of the pod that asked for what is being carried out.
    pub(crate) in_progress: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) generation: i64,
}

/// Whether two containers differ in what can change in place; one resource if given.
fn differ(a: &Resources, b: &Resources, only: Option<&str>) -> bool {
    let zero = Quantity::ZERO;
    RESIZABLE.iter().filter(|name| only.is_none_or(|only| **name == only)).any(|name| {
        a.requests.get(*name).unwrap_or(&zero) != b.requests.get(*name).unwrap_or(&zero)
            || a.limits.get(*name).unwrap_or(&zero) != b.limits.get(*name).unwrap_or(&zero)
    })
}

impl PodState {
    /// What the node has promised a container.
    pub(super) fn allocated(&self, container: usize) -> &Resources {
        &container_spec(&self.allocated.spec, container).resources
    }

    /// Containers whose resources can change: all but init containers that end.
    fn resizable(&self) -> impl Iterator<Item = usize> {
        let sidecars: Vec<usize> = (0..self.inits()).filter(|index| self.is_sidecar(*index)).collect();
        sidecars.into_iter().chain(self.inits()..self.containers.len())
    }

    /// Whether the pod asks for something that the node has not promised it.
    pub(crate) fn asks_for_more(&self) -> bool {
        matches!(self.life, Life::Active)
            && self.resizable().any(|index| differ(&self.spec(index).resources, self.allocated(index), None))
    }

    /// Takes a newer pod in: as long as it asks for nothing new, it is what the node has promised.
    pub(super) fn note_resources(&mut self, out: &mut Out) {
        if self.asks_for_more() {
            return;
        }
        self.allocated = self.pod.clone();
        if let Some(resizing) = &mut self.resize
            && resizing.pending.take().is_some()
        {
            out.changed = true;
            self.drop_resize_if_over();
        }
    }

    fn drop_resize_if_over(&mut self) {
        if self.resize.as_deref() == Some(&Resizing::default()) {
            self.resize = None;
        }
    }

    /// The node has decided.
    pub(super) fn decided(&mut self, resize: Resize, out: &mut Out) {
        if self.life != Life::Active {
            return;
        }
        let generation = self.pod.metadata.generation;
        let (reason, message) = match resize {
            Resize::Allocated => return self.allocate(generation, out),
            Resize::Deferred { message } => ("Deferred", message),
            Resize::Infeasible { message } => ("Infeasible", message),
        };
        let resizing = self.resize.get_or_insert_default();
        let pending = Some(Pending { reason, message, generation });
        if resizing.pending != pending {
            resizing.pending = pending;
            out.changed = true;
        }
    }

    fn allocate(&mut self, generation: i64, out: &mut Out) {
        let before = std::mem::replace(&mut self.allocated, self.pod.clone());
        for index in self.resizable().collect::<Vec<_>>() {
            let old = &container_spec(&before.spec, index).resources;
            let container = &mut self.containers[index];
            if container.phase.is_alive() && container.actual.is_none() {
                container.actual = Some(Box::new(old.clone()));
            }
        }
        let resizing = self.resize.get_or_insert_default();
        **resizing = Resizing { pending: None, in_progress: Some(generation) };
        out.changed = true;
    }

    /// Gives running containers what they were promised, and notices when all of them have it.
    pub(super) fn drive_resize(&mut self, now: Timestamp, out: &mut Out) {
        if self.resize.as_ref().is_none_or(|resizing| resizing.in_progress.is_none()) {
            return;
        }
        for index in self.resizable().collect::<Vec<_>>() {
            let wanted = self.allocated(index).clone();
            let spec = self.spec(index);
            let policies = &spec.resize_policy;
            let container = &self.containers[index];
            let Some(actual) = &container.actual else { continue };
            if !container.phase.is_alive() || !differ(actual, &wanted, None) {
                self.containers[index].actual = None;
                self.containers[index].resizing = None;
                continue;
            }
            if !matches!(container.phase, Phase::Running { .. }) || container.resizing.is_some() {
                continue;
            }
            let restarts = policies.iter().any(|policy| {
                policy.restart_policy == "RestartContainer" && differ(actual, &wanted, Some(&policy.resource_name))
            });
            if restarts {
                self.containers[index].replace = true;
                self.request_stop(index, self.grace(), Killing::Resized, now, out);
            } else {
                let attempt = self.containers[index].attempt();
                self.containers[index].resizing = Some(Box::new(wanted));
                out.push(Action::ResizeContainer { container: index as u16, attempt });
            }
        }
        if self.containers.iter().all(|container| container.actual.is_none()) {
            if let Some(resizing) = &mut self.resize {
                resizing.in_progress = None;
            }
            self.drop_resize_if_over();
            out.note(None, Note::Resized);
            out.changed = true;
        }
    }

    /// The runtime has given a container what it was last asked to.
    pub(super) fn resized(&mut self, index: usize, out: &mut Out) {
        let container = &mut self.containers[index];
        if let Some(resources) = container.resizing.take() {
            container.actual = Some(resources);
            out.changed = true;
        }
    }

    /// What a restart has left: a container may run with less than its pod asks for now, promised or not.
    pub(super) fn recover_resources(&mut self, recovered: &Recovered) {
        let mut promised = None::<Pod>;
        for (index, found) in recovered.containers.iter().enumerate().take(self.containers.len()) {
            let Some(found) = &found.resources else { continue };
            let wanted = &self.spec(index).resources;
            if !differ(wanted, &found.actual, None) {
                continue;
            }
            let same = |name: &str| wanted.requests.get(name) == found.allocated.get(name);
            if RESIZABLE.iter().all(|name| same(name)) {
                self.containers[index].actual = Some(Box::new(found.actual.clone()));
                let generation = self.pod.metadata.generation;
                self.resize.get_or_insert_default().in_progress = Some(generation);
            } else {
                let pod = promised.get_or_insert_with(|| (*self.pod).clone());
                let inits = pod.spec.init_containers.len();
                let spec = match index < inits {
                    true => &mut pod.spec.init_containers[index],
                    false => &mut pod.spec.containers[index - inits],
                };
                spec.resources = found.actual.clone();
            }
        }
        if let Some(promised) = promised {
            self.allocated = Arc::new(promised);
        }
    }

    /// What a container's status says of its resources: those it runs with, or will.
    pub(super) fn resources_status(&self, index: usize) -> Value {
        match &self.containers[index].actual {
            Some(actual) if self.containers[index].phase.running_since().is_some() => actual.json(),
            _ => self.allocated(index).json(),
        }
    }

    /// What the event about the end of a change says that all containers have now.
    pub(super) fn resources_summary(&self) -> String {
        let of = |range: std::ops::Range<usize>| -> Vec<Value> {
            range
                .map(|index| json!({"name": self.spec(index).name, "resources": self.allocated(index).json()}))
                .collect()
        };
        let mut summary = json!({"containers": of(self.inits()..self.containers.len())});
        if self.inits() > 0 {
            summary["initContainers"] = json!(of(0..self.inits()));
        }
        summary.to_string()
    }

    /// The conditions about a change that is not at its end: type, reason, message, generation.
    pub(super) fn resize_conditions(&self) -> Vec<(&'static str, &str, &str, i64)> {
        let Some(resizing) = &self.resize else { return Vec::new() };
        let pending = resizing.pending.as_ref();
        let pending = pending.map(|own| (PENDING, own.reason, own.message.as_str(), own.generation));
        let in_progress = resizing.in_progress.map(|generation| (IN_PROGRESS, "", "", generation));
        pending.into_iter().chain(in_progress).collect()
    }
}

pub(super) const PENDING: &str = "PodResizePending";
pub(super) const IN_PROGRESS: &str = "PodResizeInProgress";
