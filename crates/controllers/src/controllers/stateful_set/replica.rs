//! A pod of a StatefulSet: its name and number, what is made of the template for it, and how it does.

use std::sync::Arc;
use std::time::Duration;

use k8s_object::Object;
use k8s_object::views::{Pod, StatefulSet};
use serde_json::{Value, json};
use world::Timestamp;

use super::super::replicaset::pod_body;
use super::super::time;
use super::claims::claim_name;

/// Labels of every pod: its name, its number, its revision.
pub(super) const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
pub(super) const REVISION: &str = "controller-revision-hash";

/// The number at the end of a pod's name, if the rest is the name of the set.
pub(super) fn ordinal(set: &Object, pod: &Object) -> Option<i64> {
    let (name, digits) = pod.meta().name.rsplit_once('-')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<i32>().ok().filter(|_| is_number)?;
    (name == set.meta().name).then_some(i64::from(number))
}

/// A pod that is there.
#[derive(Clone)]
pub(super) struct Replica {
    pub(super) object: Arc<Object>,
    pub(super) pod: Arc<Pod>,
    pub(super) ordinal: i64,
}

impl Replica {
    pub(super) fn name(&self) -> &str {
        &self.object.meta().name
    }

    pub(super) fn revision(&self) -> &str {
        self.object.meta().labels.get(REVISION).unwrap_or_default()
    }

    pub(super) fn is_terminating(&self) -> bool {
        self.object.meta().is_terminating()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.pod.status.phase == "Running" && self.pod.is_ready()
    }

    /// When it has been ready for long enough; `None` while it is not ready.
    pub(super) fn available_at(&self, set: &StatefulSet) -> Option<Timestamp> {
        let ready = self.pod.condition("Ready").filter(|ready| ready.status == "True")?;
        let seconds = u64::try_from(set.spec.min_ready_seconds).unwrap_or(0);
        Some(match seconds {
            0 => Timestamp::default(),
            seconds => time(ready.last_transition_time.as_ref()) + Duration::from_secs(seconds),
        })
    }

    pub(super) fn is_available(&self, set: &StatefulSet, now: Timestamp) -> bool {
        self.available_at(set).is_some_and(|at| at <= now)
    }

    /// Whether it counts as missing in an update: not available, or going.
    pub(super) fn is_unavailable(&self, set: &StatefulSet, now: Timestamp) -> bool {
        !self.is_available(set, now) || self.is_terminating()
    }
}

/// The pod of a number.
pub(super) fn body(object: &Object, set: &StatefulSet, template: &Value, revision: &str, ordinal: i64) -> Value {
    let name = format!("{}-{ordinal}", object.meta().name);
    let mut body = pod_body(object, template);
    body["metadata"]["name"] = json!(name);
    let labels = [(POD_NAME, name.clone()), (POD_INDEX, ordinal.to_string()), (REVISION, revision.to_owned())];
    for (key, value) in labels {
        body["metadata"]["labels"][key] = json!(value);
    }
    body["spec"]["hostname"] = json!(name);
    if !set.spec.service_name.is_empty() {
        body["spec"]["subdomain"] = json!(set.spec.service_name);
    }
    let names: Vec<&str> =
        set.spec.volume_claim_templates.iter().filter_map(|own| own["metadata"]["name"].as_str()).collect();
    if !names.is_empty() {
        let claims = names.iter().map(|volume| {
            json!({"name": volume, "persistentVolumeClaim": {"claimName": claim_name(object, volume, ordinal)}})
        });
        let others = body["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let others = others.into_iter().filter(|volume| !names.iter().any(|name| volume["name"] == *name));
        body["spec"]["volumes"] = claims.chain(others).collect();
    }
    body
}
