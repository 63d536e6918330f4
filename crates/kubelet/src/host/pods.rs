//! Pods on the Host: from objects to steps, from actions to the runtime.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_object::views::{Node, Pod};
use k8s_object::{NamespacedName, Object, resources};

use super::engine::Due;
use super::nodes::NodeId;
use super::queue::Job;
use super::{Core, Inner};
use crate::admission;
use crate::pod::{Action, Event, Life, PodState, Resize, step};
use crate::runtime::{PodContext, PodHandle};

/// One pod on one node.
pub(super) struct PodSlot {
    pub(super) node: NodeId,
    /// The newest object seen, by informer or as the answer to a write.
    pub(super) object: Arc<Object>,
    /// Absent only while it is being stepped.
    state: Option<PodState>,
    /// The pod whose requests the node has counted in: with the resources that it has promised.
    counted: Option<Arc<Pod>>,
    /// When the pod asked to be stepped.
    pub(super) timer: Option<Duration>,
    pub(super) write: Write,
}

/// Where the pod's status is on its way to the API server.
#[derive(Default)]
pub(super) struct Write {
    /// It may differ from what the API server has.
    pub(super) dirty: bool,
    pub(super) queued: bool,
    pub(super) writing: bool,
    /// When it is queued at the latest.
    pub(super) flush_at: Option<Duration>,
    /// How often in a row it could not be written.
    pub(super) failures: u32,
}

impl PodSlot {
    pub(super) fn state(&self) -> &PodState {
        self.state.as_ref().expect("a pod is only read between its steps")
    }

    pub(super) fn running_containers(&self) -> usize {
        self.state.as_ref().map_or(0, PodState::running_containers)
    }

    fn address(&self) -> Option<IpAddr> {
        self.state().address()
    }

    /// Nothing of the pod runs and the API server knows.
    pub(super) fn is_over(&self) -> bool {
        let quiet = !self.write.dirty && !self.write.queued && !self.write.writing;
        matches!(self.state().life(), Life::Ended { .. } | Life::Gone) && quiet
    }
}

/// Revisions are numbers in every store in use; one that is not is taken as newer.
fn is_newer(new: &Object, old: &Object) -> bool {
    let revision = |object: &Object| object.meta().resource_version.parse::<u64>().ok();
    match (revision(new), revision(old)) {
        (Some(new), Some(old)) => new > old,
        _ => new.meta().resource_version != old.meta().resource_version,
    }
}

impl Inner {
    /// The informer has seen something happen to a pod. Only the informer adds and forgets pods: an answer to a write may be
    /// ahead of it, and a pod forgotten too early would look new again.
    pub(super) fn pod_noted(&self, core: &mut Core, key: &NamespacedName) {
        let object = self.informers.read(&resources::PODS).get(key);
        let Some(pod) = core.by_key.get(key).copied() else {
            if let Some(object) = object {
                self.adopt(core, key, object);
            }
            return;
        };
        let known = core.pods.get(&pod).map(|slot| slot.object.clone());
        match (object, known) {
            (Some(object), Some(known)) if object.meta().uid == known.meta().uid => {
                self.observe(core, pod, object.clone());
                let finished = object.view::<Pod>().is_ok_and(|pod| pod.is_finished());
                if finished && !object.meta().is_terminating() && core.pods.get(&pod).is_some_and(|slot| slot.is_over())
                {
                    self.forget(core, pod);
                }
            }
            (object, _) => {
                core.by_key.remove(key);
                self.feed(core, pod, Event::PodRemoved);
                if let Some(object) = object {
                    self.adopt(core, key, object);
                }
            }
        }
    }

    /// Takes a newer state of a pod in.
    pub(super) fn observe(&self, core: &mut Core, pod: PodHandle, object: Arc<Object>) {
        let Some(slot) = core.pods.get_mut(&pod) else { return };
        if !is_newer(&object, &slot.object) {
            return;
        }
        let Ok(view) = object.view::<Pod>() else { return };
        slot.object = object;
        let changed = slot.counted.as_ref().is_some_and(|own| own.metadata.generation != view.metadata.generation);
        self.feed(core, pod, Event::PodUpdated(view));
        if changed {
            self.resize(core, pod);
        }
    }

    /// Decides on what a pod asks for now, if that is not what the node has promised it.
    fn resize(&self, core: &mut Core, pod: PodHandle) {
        let Some(slot) = core.pods.get_mut(&pod) else { return };
        let Some(node) = core.nodes.get_mut(&slot.node) else { return };
        node.deferred.remove(&pod);
        let Some(counted) = &mut slot.counted else { return };
        let view = slot.state.as_ref().expect("a pod is only read between its steps").pod().clone();
        if !slot.state.as_ref().is_some_and(PodState::asks_for_more) {
            node.used.remove(counted);
            node.used.add(&view);
            *counted = view;
            return;
        }
        let machine = node.object.as_ref().and_then(|object| object.view::<Node>().ok()).unwrap_or_default();
        node.used.remove(counted);
        let decision = admission::resize(&view, &machine, &node.spec.allocatable, &node.used);
        match decision {
            Resize::Allocated => {
                *counted = view;
                core.resizes_due.insert(slot.node);
            }
            Resize::Deferred { .. } => {
                node.deferred.insert(pod);
            }
            Resize::Infeasible { .. } => {}
        }
        node.used.add(counted);
        self.feed(core, pod, Event::Resize(decision));
    }

    /// Tries again what was deferred on nodes that have room since: pods of high priority first.
    pub(super) fn retry_resizes(&self, core: &mut Core) {
        while let Some(id) = core.resizes_due.pop_first() {
            let Some(node) = core.nodes.get(&id).filter(|node| !node.deferred.is_empty()) else { continue };
            let priority =
                |pod: &PodHandle| core.pods.get(pod).and_then(|slot| slot.state().pod().spec.priority).unwrap_or(0);
            let mut deferred: Vec<PodHandle> = node.deferred.iter().copied().collect();
            deferred.sort_by_key(|pod| std::cmp::Reverse(priority(pod)));
            for pod in deferred {
                self.resize(core, pod);
            }
            // What was given to them leaves no more room than before.
            core.resizes_due.remove(&id);
        }
    }

    /// A pod that this Host does not know yet.
    fn adopt(&self, core: &mut Core, key: &NamespacedName, object: Arc<Object>) {
        let Ok(view) = object.view::<Pod>() else { return };
        if view.is_finished() && !view.metadata.is_terminating() {
            return;
        }
        let Some(id) = core.node_ids.get(view.spec.node_name.as_str()).copied() else { return };
        let handle = PodHandle(core.id());
        let Some(node) = core.nodes.get_mut(&id) else { return };
        if !node.sees_pods() {
            return;
        }
        let context = PodContext { handle, node: node.runtime.clone(), pod: view.clone() };
        let recovered = self.runtime.recover(&context, &object, node.boots > 0);
        let machine = node.object.as_ref().and_then(|object| object.view::<Node>().ok()).unwrap_or_default();
        let (event, taken) = match recovered {
            Some(recovered) => (Event::Recovered(recovered), !view.is_finished()),
            None => match admission::admit(&view, &machine, &node.spec.allocatable, &node.used) {
                Ok(()) => (Event::Admitted, true),
                Err(outcome) => (Event::Rejected(outcome), false),
            },
        };
        node.pods.insert(handle);
        let slot = PodSlot {
            node: id,
            object,
            state: Some(PodState::new(view.clone())),
            counted: None,
            timer: None,
            write: Write::default(),
        };
        core.pods.insert(handle, Box::new(slot));
        core.by_key.insert(key.clone(), handle);
        self.feed(core, handle, event);
        if taken {
            self.count(core, handle);
        }
    }

    /// Counts a pod in with what its node has promised it, which after a restart may not be what it asks for.
    fn count(&self, core: &mut Core, pod: PodHandle) {
        let Some(slot) = core.pods.get_mut(&pod) else { return };
        let state = slot.state.as_ref().expect("a pod is only read between its steps");
        if let Some(node) = core.nodes.get_mut(&slot.node)
            && !matches!(state.life(), Life::Ended { .. } | Life::Gone)
        {
            let promised = state.promised().clone();
            node.used.add(&promised);
            slot.counted = Some(promised);
            if state.asks_for_more() {
                // Decided when all that is on the node has been counted in.
                node.deferred.insert(pod);
                core.resizes_due.insert(slot.node);
            }
        }
    }

    /// One step of a pod, and what follows from it.
    pub(super) fn feed(&self, core: &mut Core, pod: PodHandle, event: Event) {
        let Some(slot) = core.pods.get_mut(&pod) else { return };
        let Some(state) = slot.state.take() else { return };
        let (state, actions) = step(state, event, self.world.now());
        let over = matches!(state.life(), Life::Ended { .. } | Life::Gone);
        slot.state = Some(state);
        if over
            && let Some(counted) = slot.counted.take()
            && let Some(node) = core.nodes.get_mut(&slot.node)
        {
            node.used.remove(&counted);
            node.deferred.remove(&pod);
            core.resizes_due.insert(slot.node);
        }
        for action in actions {
            self.act(core, pod, action);
        }
    }

    fn act(&self, core: &mut Core, pod: PodHandle, action: Action) {
        let Some(slot) = core.pods.get_mut(&pod) else { return };
        let Some(node) = core.nodes.get_mut(&slot.node) else { return };
        let context = || PodContext { handle: pod, node: node.runtime.clone(), pod: slot.state().pod().clone() };
        match action {
            Action::CreateSandbox { attempt } => self.runtime.run_pod_sandbox(&context(), attempt),
            Action::StopSandbox => self.runtime.stop_pod_sandbox(&context(), slot.address()),
            Action::PullImage { container, policy } => {
                self.runtime.pull_image(&context(), container, policy);
                let node = slot.node;
                self.images_changed(core, node);
            }
            Action::StartContainer { container, attempt } => {
                self.runtime.start_container(&context(), container, attempt)
            }
            Action::StopContainer { container, attempt, grace } => {
                self.runtime.stop_container(&context(), container, attempt, grace);
            }
            Action::ResizeContainer { container, attempt } => {
                self.runtime.resize_container(&context(), container, attempt);
            }
            Action::RunHook { container, attempt, hook } => self.runtime.run_hook(&context(), container, attempt, hook),
            Action::RunProbe { container, attempt, probe } => self.runtime.probe(&context(), container, attempt, probe),
            Action::WriteStatus { urgent } => self.mark_dirty(core, pod, urgent),
            Action::DeleteFromApi => core.queue.push(Job::Delete(pod)),
            Action::SetTimer(at) => {
                let at = self.world.elapsed().saturating_add(at.since(self.world.now()));
                slot.timer = Some(at);
                core.timers.push(at, Due::Pod(pod));
            }
            Action::Note { container, note } => {
                let (elapsed, now) = (self.world.elapsed(), self.world.now());
                let (id, name) = (slot.node, node.runtime.name.clone());
                if let Some(event) = core.recorder.record(slot.state(), container, &note, id, &name, elapsed, now) {
                    core.queue.push(Job::Event(event));
                }
            }
            Action::Forget => self.forget(core, pod),
        }
    }

    /// Drops what is known of a pod.
    pub(super) fn forget(&self, core: &mut Core, pod: PodHandle) {
        let Some(slot) = core.pods.remove(&pod) else { return };
        let key = slot.object.key();
        if core.by_key.get(&key) == Some(&pod) {
            core.by_key.remove(&key);
        }
        if let Some(node) = core.nodes.get_mut(&slot.node) {
            node.pods.remove(&pod);
            node.deferred.remove(&pod);
            if let Some(counted) = &slot.counted {
                node.used.remove(counted);
                core.resizes_due.insert(slot.node);
            }
        }
        self.leave_if_done(core, slot.node);
    }

    /// Drops a pod together with everything the runtime has of it, as when its machine loses power.
    pub(super) fn lose(&self, core: &mut Core, pod: PodHandle) {
        if let Some(slot) = core.pods.get(&pod)
            && let Some(node) = core.nodes.get(&slot.node)
        {
            let context = PodContext { handle: pod, node: node.runtime.clone(), pod: slot.state().pod().clone() };
            self.runtime.forget_pod(&context, slot.state().held_address());
        }
        self.forget(core, pod);
    }
}
