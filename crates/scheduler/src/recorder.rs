//! Events about pods, written behind everything else: when there are more than fit, the latest are dropped, as upstream does.

use std::sync::Arc;
use std::time::Duration;

use k8s_client::Client;
use k8s_object::resources;
use serde_json::json;
use tokio::sync::mpsc;
use world::{Stop, World};

use crate::pod_info::{PodInfo, PodKey};

/// Events that wait to be written; what comes beyond is dropped.
const WAITING: usize = 10_000;

/// Time between two events once a burst is used up: events may not take the machine from what they tell about.
const SPACING: Duration = Duration::from_millis(2);

/// How far events may run ahead of the spacing.
const BURST: Duration = Duration::from_millis(500);

/// Names of objects are DNS subdomains of at most this many characters; the suffix of an event's name takes 17.
const MAX_NAME: usize = 253 - 17;

/// The longest message of an event in bytes (events.k8s.io `NoteLengthLimit`).
const MAX_MESSAGE: usize = 1024;

/// Where upstream's scheduler has the name of its host.
const INSTANCE: &str = "minato";

fn truncated(message: &str) -> String {
    const MORE: &str = " ...";
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let end = (0..=MAX_MESSAGE - MORE.len()).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{MORE}", &message[..end])
}

struct Record {
    pod: Arc<PodInfo>,
    reason: &'static str,
    /// What the scheduler was doing.
    action: &'static str,
    warning: bool,
    message: String,
    /// Another pod that it is about.
    related: Option<(PodKey, Box<str>)>,
}

/// Where to leave events. Cheap to clone; leaving one never waits.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<Record>);

impl Recorder {
    /// A recorder, and the task that writes what it is left.
    pub fn new(client: Client, world: World, component: String, stop: Stop) -> (Recorder, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Recorder(sender), write(client, world, component, stop, receiver))
    }

    pub fn scheduled(&self, pod: &Arc<PodInfo>, node: &str) {
        let message = format!("Successfully assigned {} to {node}", pod.key);
        self.record(pod, ("Scheduled", "Binding"), false, message, None);
    }

    pub fn failed(&self, pod: &Arc<PodInfo>, message: &str) {
        self.record(pod, ("FailedScheduling", "Scheduling"), true, truncated(message), None);
    }

    pub fn preempted(&self, victim: &Arc<PodInfo>, preemptor: &PodInfo, node: &str) {
        let message = format!("Preempted by pod {} on node {node}", preemptor.uid);
        let related = Some((preemptor.key.clone(), preemptor.uid.clone()));
        self.record(victim, ("Preempted", "Preempting"), false, message, related);
    }

    fn record(
        &self,
        pod: &Arc<PodInfo>,
        (reason, action): (&'static str, &'static str),
        warning: bool,
        message: String,
        related: Option<(PodKey, Box<str>)>,
    ) {
        // A full channel drops the event, and so does one whose reader has stopped.
        let _ = self.0.try_send(Record { pod: pod.clone(), reason, action, warning, message, related });
    }
}

async fn write(client: Client, world: World, component: String, stop: Stop, mut records: mpsc::Receiver<Record>) {
    let mut paced_until = Duration::ZERO;
    while let Some(Some(record)) = stop.or(records.recv()).await {
        paced_until = paced_until.max(world.elapsed()) + SPACING;
        let early = paced_until.saturating_sub(world.elapsed()).saturating_sub(BURST);
        if !early.is_zero() && stop.or(world.sleep(early)).await.is_none() {
            return;
        }
        let key = &record.pod.key;
        let name: String = key.name.chars().take(MAX_NAME).collect();
        let mut event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": key.namespace, "name": format!("{name}.{:016x}", world.random())},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": key.namespace, "name": key.name, "uid": record.pod.uid,
            },
            "reason": record.reason,
            "action": record.action,
            "message": record.message,
            "type": if record.warning { "Warning" } else { "Normal" },
            // As what came through events.k8s.io, which is what upstream's scheduler writes to: neither a source nor times of
            // first and last.
            "eventTime": world.now().to_micro_string(),
            "reportingComponent": component,
            "reportingInstance": format!("{component}-{INSTANCE}"),
        });
        if let Some((related, uid)) = &record.related {
            event["related"] = json!({
                "apiVersion": "v1", "kind": "Pod", "namespace": related.namespace, "name": related.name, "uid": uid,
            });
        }
        // An event that cannot be written, e.g. because its namespace is being deleted, is lost; nothing depends on it.
        let _ = client.create(&resources::EVENTS, &key.namespace, event).await;
    }
}
