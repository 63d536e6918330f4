//! How many pods there should be: what the owners of a budget's pods ask for in total.
//!
//! Sets of this cluster's own kinds are looked up, a Deployment in place of its ReplicaSets; what any other resource asks for is
//! read from its subresource `scale`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_object::resources::{DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS};
use k8s_object::views::{Deployment, ReplicaSet, ReplicationController, StatefulSet};
use k8s_object::{GroupVersionResource, NamespacedName, Object, OwnerReference};
use serde_json::Value;

use crate::ownership::controller_of;
use crate::view::{Read, View};

/// What asks for pods by number, apart from custom resources.
pub(super) static SETS: [(GroupVersionResource, &str); 4] = [
    (DEPLOYMENTS, "Deployment"),
    (REPLICA_SETS, "ReplicaSet"),
    (REPLICATION_CONTROLLERS, "ReplicationController"),
    (STATEFUL_SETS, "StatefulSet"),
];

/// The number of pods that a set asks for.
pub(super) fn replicas(set: &Object) -> Option<i64> {
    match set.kind().kind.as_ref() {
        "Deployment" => set.view::<Deployment>().ok()?.spec.replicas,
        "ReplicationController" => set.view::<ReplicationController>().ok()?.spec.replicas,
        "StatefulSet" => set.view::<StatefulSet>().ok()?.spec.replicas,
        _ => set.view::<ReplicaSet>().ok()?.spec.replicas,
    }
}

/// What is asked for in total.
#[derive(Debug, Default)]
pub(super) struct Total {
    pub(super) pods: i64,
    /// Whether there are pods that nobody controls: they are expected by nobody.
    pub(super) unmanaged: bool,
}

/// Why the total is not known.
#[derive(Debug)]
pub(super) enum Unknown {
    /// The server must be asked first.
    Ask(Vec<Read>),
    /// Nobody will ever know, for this reason.
    Problem(String),
}

/// What the owners of `pods` ask for.
pub(super) fn total<'a>(view: &View<'_>, pods: impl Iterator<Item = &'a Arc<Object>>) -> Result<Total, Unknown> {
    let (mut seen, mut scales, mut questions) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
    let mut total = Total::default();
    for pod in pods {
        let Some(reference) = pod.meta().controller() else {
            total.unmanaged = true;
            continue;
        };
        if !seen.insert(reference.uid.as_str()) {
            continue;
        }
        let found = match own_kind(reference) {
            Some((resource, kind)) => own_set(view, pod, resource, kind),
            None => match custom(view, pod, reference) {
                Err(Unknown::Ask(reads)) => {
                    questions.extend(reads);
                    continue;
                }
                other => other?,
            },
        };
        let problem = || Unknown::Problem(format!("found no controllers for pod {:?}", pod.meta().name));
        let (uid, replicas) = found.ok_or_else(problem)?;
        scales.insert(uid, replicas);
    }
    if !questions.is_empty() {
        return Err(Unknown::Ask(questions));
    }
    total.pods = scales.into_values().fold(0, i64::saturating_add);
    Ok(total)
}

fn group_of(reference: &OwnerReference) -> &str {
    reference.api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// The kind of set that controls pods by itself, which a Deployment does not: what says so is asked like a stranger.
fn own_kind(reference: &OwnerReference) -> Option<&'static (GroupVersionResource, &'static str)> {
    let is = |set: &&'static (GroupVersionResource, &'static str)| {
        set.0.group == group_of(reference) && set.1 == reference.kind && set.1 != "Deployment"
    };
    SETS.iter().find(is)
}

/// The uid of the set that controls a pod, or of the Deployment above it, and how many pods it asks for.
fn own_set(view: &View<'_>, pod: &Object, resource: &GroupVersionResource, kind: &str) -> Option<(String, i64)> {
    let set = controller_of(view, pod.meta(), resource, kind)?;
    let set = match kind {
        "ReplicaSet" => controller_of(view, set.meta(), &DEPLOYMENTS, "Deployment").unwrap_or(set),
        _ => set,
    };
    Some((set.meta().uid.clone(), replicas(&set).unwrap_or(1)))
}

/// The same of what is scaled below `scale`.
fn custom(view: &View<'_>, pod: &Object, reference: &OwnerReference) -> Result<Option<(String, i64)>, Unknown> {
    let info = view.resource_of(group_of(reference), &reference.kind).ok_or_else(|| {
        Unknown::Problem(format!("no matches for kind {:?} in version {:?}", reference.kind, reference.api_version))
    })?;
    if !info.scale && info.resource != DEPLOYMENTS {
        let resource = info.resource.group_resource();
        return Err(Unknown::Problem(format!("{resource} does not implement the scale subresource")));
    }
    let place = NamespacedName::new(pod.meta().namespace.as_str(), reference.name.as_str());
    let read = Read::Scale(info.resource, place);
    let Some(answer) = view.live(&read) else { return Err(Unknown::Ask(vec![read])) };
    let scale = answer.first().filter(|scale| scale.meta().uid == reference.uid);
    Ok(scale.map(|scale| (reference.uid.clone(), scale.value()["spec"]["replicas"].as_i64().unwrap_or(0))))
}

/// The event about pods that nobody controls, with the selector in the form in which upstream prints it.
pub(super) fn unmanaged(selector: &Value) -> String {
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB \
         cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \
         \".spec.minAvailable\" field of the PDB to an integer value.",
        printed(selector)
    )
}

/// A label selector as Go prints it.
fn printed(selector: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels: BTreeMap<&str, String> = labels.map(|(key, value)| (key.as_str(), text(value))).collect();
    let labels: String = labels.iter().map(|(key, value)| format!("{key}: {value},")).collect();
    let requirement = |own: &Value| {
        let values: Vec<String> = own["values"].as_array().into_iter().flatten().map(text).collect();
        let (key, operator, values) = (text(&own["key"]), text(&own["operator"]), values.join(" "));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
    };
    let requirements: String = selector["matchExpressions"].as_array().into_iter().flatten().map(requirement).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )
}
