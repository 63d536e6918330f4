//! What is told to people, as Event objects: counted instead of repeated, limited in rate, lost rather than in the way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use world::Timestamp;

use super::nodes::NodeId;
use crate::pod::{Note, PodState};

/// Events that are remembered so that a repetition counts up. More would be rare repetitions.
const MAX_REMEMBERED: usize = 4_096;
/// A repetition after this long is a new event: the old one may have expired.
const FORGET: Duration = Duration::from_secs(600);

/// One write of an Event.
pub(super) struct EventWrite {
    pub(super) node: NodeId,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Whether it counts up an event that exists.
    pub(super) patch: bool,
    pub(super) body: Value,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Key {
    uid: String,
    reason: String,
    message: String,
}

struct Remembered {
    name: String,
    count: u32,
    last: Duration,
}

#[derive(Default)]
pub(super) struct Recorder {
    per_second: u32,
    /// Thousandths of an event that may be written.
    tokens: u64,
    refilled: Duration,
    remembered: BTreeMap<Key, Remembered>,
    order: VecDeque<Key>,
    sequence: u64,
}

impl Recorder {
    pub(super) fn new(per_second: u32) -> Recorder {
        Recorder { per_second, tokens: u64::from(per_second) * 2_000, ..Recorder::default() }
    }

    fn take_token(&mut self, warning: bool, elapsed: Duration) -> bool {
        let capacity = u64::from(self.per_second) * 2_000;
        let millis = elapsed.saturating_sub(self.refilled).as_millis() as u64;
        if millis > 0 {
            self.refilled = elapsed;
            self.tokens = self.tokens.saturating_add(millis.saturating_mul(u64::from(self.per_second))).min(capacity);
        }
        // A fifth is kept for warnings.
        let reserve = if warning { 0 } else { capacity / 5 };
        let enough = self.tokens >= reserve + 1_000;
        self.tokens -= if enough { 1_000 } else { 0 };
        enough
    }

    /// The write that tells `note`; `None` when it is not told.
    #[allow(clippy::too_many_arguments)] // What, about whom, by whom, when.
    pub(super) fn record(
        &mut self,
        state: &PodState,
        container: Option<u16>,
        note: &Note,
        node: NodeId,
        node_name: &str,
        elapsed: Duration,
        now: Timestamp,
    ) -> Option<EventWrite> {
        if self.per_second == 0 || !self.take_token(note.is_warning(), elapsed) {
            return None;
        }
        let text = note.text(state, container);
        let pod = &state.pod().metadata;
        let key = Key { uid: pod.uid.clone(), reason: text.reason.clone(), message: text.message.clone() };
        let namespace = pod.namespace.clone();
        if let Some(known) = self.remembered.get_mut(&key)
            && elapsed.saturating_sub(known.last) < FORGET
        {
            known.count += 1;
            known.last = elapsed;
            let body = json!({"count": known.count, "lastTimestamp": now.to_string()});
            return Some(EventWrite { node, namespace, name: known.name.clone(), patch: true, body });
        }
        self.sequence += 1;
        let name =
            format!("{}.{:x}", pod.name, (now.micros() as u64).wrapping_mul(1_000).wrapping_add(self.sequence % 1_000));
        let mut involved = json!({
            "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid,
            "resourceVersion": pod.resource_version,
        });
        if let Some(container) = container {
            let index = usize::from(container);
            let list = if index < state.pod().spec.init_containers.len() { "initContainers" } else { "containers" };
            involved["fieldPath"] = json!(format!("spec.{list}{{{}}}", state.spec(index).name));
        }
        let body = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved,
            "type": if text.warning { "Warning" } else { "Normal" },
            "reason": text.reason,
            "message": text.message,
            "source": {"component": "kubelet", "host": node_name},
            "reportingComponent": "kubelet",
            "reportingInstance": node_name,
            "firstTimestamp": now.to_string(),
            "lastTimestamp": now.to_string(),
            "count": 1,
        });
        if self.remembered.insert(key.clone(), Remembered { name: name.clone(), count: 1, last: elapsed }).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.remembered.remove(&oldest);
        }
        Some(EventWrite { node, namespace, name, patch: false, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_object::views::Pod;
    use std::sync::Arc;

    #[test]
    fn repetitions_count_and_too_many_are_lost_warnings_last() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "spec": {"containers": [{"name": "main", "image": "nginx"}]},
        }))
        .unwrap();
        let state = PodState::new(Arc::new(pod));
        let mut recorder = Recorder::new(5);
        let mut tell = |note: &Note, seconds| {
            let (elapsed, now) = (Duration::from_secs(seconds), Timestamp::from_seconds(1_000 + seconds as i64));
            recorder.record(&state, Some(0), note, NodeId(1), "n1", elapsed, now)
        };
        let first = tell(&Note::Started, 0).unwrap();
        assert_eq!(first.body["involvedObject"]["fieldPath"], "spec.containers{main}");
        assert_eq!(first.body["message"], "Started container main");
        let again = tell(&Note::Started, 1).unwrap();
        assert!(again.patch && again.name == first.name);
        assert_eq!(again.body["count"], 2);
        let normal = (0..20).filter(|_| tell(&Note::Started, 1).is_some()).count();
        let warnings = (0..20).filter(|_| tell(&Note::BackOffRestart, 1).is_some()).count();
        assert_eq!((normal, warnings), (7, 2), "ten tokens, two of them for warnings");
        assert!(!tell(&Note::Started, 1_000).unwrap().patch, "after ten minutes it is a new event");
    }
}
