//! Writing pods to the API server: the newest status only, one write per pod at a time, never over somebody else's change.

use std::time::Duration;

use k8s_client::{Client, Options, PatchType, Preconditions};
use k8s_object::{ApiError, NamespacedName, Object, Reason, resources};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

use super::engine::Due;
use super::queue::Job;
use super::recorder::EventWrite;
use super::{Core, Inner};
use crate::pod::{Event, Life, NodeFacts, status};
use crate::runtime::PodHandle;

/// The first pause after a write that failed, doubled up to the maximum.
const BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// How long to wait after that many failures in a row.
pub(super) fn backoff(failures: u32) -> Duration {
    BACKOFF.saturating_mul(1 << failures.min(10)).min(MAX_BACKOFF)
}

/// A status on its way.
struct Prepared {
    client: Client,
    key: NamespacedName,
    body: Value,
    ended: bool,
}

/// The status in an object, whole.
pub(super) fn current_status(object: &Object) -> Value {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        status: Value,
    }
    serde_json::from_slice(object.bytes()).map_or(Value::Null, |status: Status| status.status)
}

/// Whether everything in `new` is in `current` already.
fn is_contained(new: &Value, current: &Value) -> bool {
    new.as_object().is_some_and(|new| new.iter().all(|(key, value)| current.get(key) == Some(value)))
}

impl Inner {
    pub(super) fn mark_dirty(&self, core: &mut Core, pod: PodHandle, urgent: bool) {
        let Some(slot) = core.pods.get_mut(&pod) else { return };
        slot.write.dirty = true;
        if slot.write.queued || slot.write.writing {
            return; // The write that follows takes the newest status.
        }
        let waits_for_retry = slot.write.failures > 0 && slot.write.flush_at.is_some();
        if urgent && !waits_for_retry {
            slot.write.queued = true;
            core.queue.push(Job::Status(pod));
        } else if slot.write.flush_at.is_none() {
            let at = self.world.elapsed().saturating_add(self.options.pace.coalesce);
            slot.write.flush_at = Some(at);
            core.timers.push(at, Due::Status(pod));
        }
    }

    pub(super) fn status_due(&self, core: &mut Core, pod: PodHandle, at: Duration) {
        let Some(slot) = core.pods.get_mut(&pod) else { return };
        if slot.write.flush_at != Some(at) {
            return;
        }
        slot.write.flush_at = None;
        if slot.write.dirty && !slot.write.queued && !slot.write.writing {
            slot.write.queued = true;
            core.queue.push(Job::Status(pod));
        }
    }

    pub(super) fn delete_due(&self, core: &mut Core, pod: PodHandle) {
        if core.pods.contains_key(&pod) {
            core.queue.push(Job::Delete(pod));
        }
    }

    /// The newest status of a pod; `None` when there is nothing to write.
    fn prepare_status(&self, pod: PodHandle) -> Option<Prepared> {
        let mut core = self.core();
        let slot = core.pods.get_mut(&pod)?;
        slot.write.queued = false;
        slot.write.dirty = false;
        slot.write.flush_at = None;
        let object = slot.object.clone();
        let state = slot.state();
        let ended = matches!(state.life(), Life::Ended { .. });
        let id = slot.node;
        let facts = NodeFacts { addresses: core.nodes.get(&id)?.runtime.addresses.clone() };
        let current = current_status(&object);
        let slot = core.pods.get_mut(&pod)?;
        let new = status(slot.state(), &facts, &current, self.world.now());
        if is_contained(&new, &current) {
            self.feed(&mut core, pod, Event::StatusWritten { ended });
            self.leave_if_done(&mut core, id);
            return None;
        }
        slot.write.writing = true;
        let meta = object.meta();
        // Both preconditions: a write that is late neither overwrites what others wrote nor touches a namesake.
        let body = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": new});
        Some(Prepared { client: core.nodes.get(&id)?.client.clone(), key: object.key(), body, ended })
    }

    pub(super) async fn write_status(&self, pod: PodHandle) {
        let Some(Prepared { client, key, body, ended }) = self.prepare_status(pod) else { return };
        let patched = client.patch(&resources::PODS, &key.namespace, &key.name, "status", PatchType::Merge, body).await;
        match patched {
            Ok(object) => self.status_written(pod, object, ended),
            Err(error) if error.is_conflict() => {
                let newest = client.get(&resources::PODS, &key.namespace, &key.name).await;
                self.status_refused(pod, error, newest.ok());
            }
            Err(error) => self.status_refused(pod, error, None),
        }
    }

    fn status_written(&self, pod: PodHandle, object: Arc<Object>, ended: bool) {
        let mut core = self.core();
        let Some(slot) = core.pods.get_mut(&pod) else { return };
        slot.write.writing = false;
        slot.write.failures = 0;
        let node = slot.node;
        self.access_granted(&mut core, node);
        self.observe(&mut core, pod, object);
        self.feed(&mut core, pod, Event::StatusWritten { ended });
        self.requeue(&mut core, pod);
        self.leave_if_done(&mut core, node);
    }

    /// Changes that came while a write was under way.
    fn requeue(&self, core: &mut Core, pod: PodHandle) {
        if core.pods.get(&pod).is_some_and(|slot| slot.write.dirty) {
            self.mark_dirty(core, pod, true);
        }
    }

    fn status_refused(&self, pod: PodHandle, error: ApiError, newest: Option<Arc<Object>>) {
        let mut core = self.core();
        let Some(slot) = core.pods.get_mut(&pod) else { return };
        slot.write.writing = false;
        let (node, uid) = (slot.node, slot.object.meta().uid.clone());
        if error.is_not_found() {
            slot.write.dirty = false; // The informer will say that it is gone.
            return;
        }
        slot.write.dirty = true;
        slot.write.failures += 1;
        // Somebody else's change is taken in and the write repeated at once; anything else waits.
        let at_once = newest.is_some() && slot.write.failures <= 2;
        let pause = if at_once { Duration::ZERO } else { backoff(slot.write.failures) };
        let at = self.world.elapsed().saturating_add(pause);
        slot.write.flush_at = Some(at);
        core.timers.push(at, Due::Status(pod));
        self.access_refused(&mut core, node, &error);
        if let Some(newest) = newest.filter(|newest| newest.meta().uid == uid) {
            self.observe(&mut core, pod, newest);
        }
    }

    /// Removes a pod whose containers have stopped.
    pub(super) async fn delete_pod(&self, pod: PodHandle) {
        let Some((client, key, uid)) = self.pod_to_delete(pod) else { return };
        let options = Options {
            grace_period_seconds: Some(0),
            preconditions: Preconditions { uid: Some(uid), resource_version: None },
            ..Options::default()
        };
        let deleted = client.delete_with(&resources::PODS, &key.namespace, &key.name, options).await;
        let mut core = self.core();
        let Some(slot) = core.pods.get_mut(&pod) else { return };
        let node = slot.node;
        match deleted {
            Ok(()) => self.access_granted(&mut core, node),
            // It is gone, or a namesake has taken its place: the informer will say so.
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => {
                slot.write.failures += 1;
                let at = self.world.elapsed().saturating_add(backoff(slot.write.failures));
                core.timers.push(at, Due::Delete(pod));
                self.access_refused(&mut core, node, &error);
            }
        }
    }

    fn pod_to_delete(&self, pod: PodHandle) -> Option<(Client, NamespacedName, String)> {
        let core = self.core();
        let slot = core.pods.get(&pod)?;
        let client = core.nodes.get(&slot.node)?.client.clone();
        Some((client, slot.object.key(), slot.object.meta().uid.clone()))
    }

    pub(super) async fn write_event(&self, event: EventWrite) {
        let client = {
            let core = self.core();
            let Some(node) = core.nodes.get(&event.node) else { return };
            node.client.clone()
        };
        // An event that cannot be written is lost: it must not be in the way of anything.
        let _ = match event.patch {
            false => client.create(&resources::EVENTS, &event.namespace, event.body).await,
            true => {
                let patch = PatchType::Merge;
                client.patch(&resources::EVENTS, &event.namespace, &event.name, "", patch, event.body).await
            }
        };
    }

    /// The API server does not let a node do what a kubelet does.
    pub(super) fn access_refused(&self, core: &mut Core, node: super::NodeId, error: &ApiError) {
        if matches!(error.reason, Reason::Unauthorized | Reason::Forbidden)
            && let Some(node) = core.nodes.get_mut(&node)
        {
            node.denied = true;
        }
    }

    /// The API server has carried out a node's request.
    pub(super) fn access_granted(&self, core: &mut Core, node: super::NodeId) {
        if let Some(slot) = core.nodes.get_mut(&node)
            && std::mem::replace(&mut slot.denied, false)
        {
            // What has happened meanwhile.
            self.find_pods(core, node);
        }
    }
}
