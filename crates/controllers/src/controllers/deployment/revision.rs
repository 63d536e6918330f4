//! Revisions: which set is the newest, and the annotations by which `kubectl rollout history` and `undo` know.

use k8s_object::resources::{DEPLOYMENTS, REPLICA_SETS};
use k8s_object::{Object, Properties};
use serde_json::{Map, Value, json};

use super::{Set, Sync, template};
use crate::controller::Action;
use crate::ownership::controller_reference;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a deployment that its sets do not inherit.
const OWN: [&str; 6] = [
    "deprecated.deployment.rollback.to",
    DESIRED,
    MAX,
    REVISION,
    HISTORY,
    "kubectl.kubernetes.io/last-applied-configuration",
];
/// Characters of the history at most, as upstream; the oldest revisions are forgotten.
const MAX_HISTORY: usize = 2000;

/// The revision of a set; 0 when it has none that can be read.
pub(super) fn of(object: &Object) -> i64 {
    object.meta().annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn inherited(annotations: &Properties) -> Map<String, Value> {
    let inherited = annotations.iter().filter(|(key, _)| !OWN.contains(key));
    inherited.map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

/// The history with one more revision.
fn history(old: Option<&str>, revision: &str) -> String {
    let mut history = match old {
        Some(old) if !old.is_empty() => format!("{old},{revision}"),
        _ => revision.to_owned(),
    };
    while history.len() > MAX_HISTORY
        && let Some((_, rest)) = history.split_once(',')
    {
        history = rest.to_owned();
    }
    history
}

impl Sync<'_> {
    fn next_revision(&self) -> i64 {
        self.old.iter().map(|set| of(&set.object)).max().unwrap_or(0) + 1
    }

    /// Makes the set that has the deployment's template the newest revision, if it is not.
    pub(super) fn adopt_revision(&mut self) {
        let Some(set) = self.new.clone() else { return };
        let (mut revision, next) = (of(&set.object), self.next_revision());
        let mut annotations = inherited(&self.object.meta().annotations);
        annotations.retain(|key, value| set.annotation(key) != value.as_str());
        if revision < next {
            if let Some(known) = set.annotation(REVISION) {
                annotations.insert(HISTORY.to_owned(), json!(history(set.annotation(HISTORY), known)));
            }
            annotations.insert(REVISION.to_owned(), json!(next.to_string()));
            revision = next;
        }
        let mut change = json!({});
        if !annotations.is_empty() {
            change["metadata"] = json!({"annotations": annotations});
        }
        if set.view.spec.min_ready_seconds != self.deployment.spec.min_ready_seconds {
            change["spec"] = json!({"minReadySeconds": self.deployment.spec.min_ready_seconds});
        }
        if change != json!({}) {
            self.update_set(&set, change);
        }
        self.annotate(revision);
        if self.progress_deadline().is_some() && self.condition("Progressing").is_none() {
            let message = format!("Found new replica set {:?}", set.name());
            self.set_condition("Progressing", "True", "FoundNewReplicaSet", message);
        }
    }

    /// Writes the newest revision on the deployment.
    fn annotate(&mut self, revision: i64) {
        if of(self.object) != revision {
            let change = json!({"metadata": {"annotations": {REVISION: revision.to_string()}}});
            self.plan.then(Action::Update {
                resource: DEPLOYMENTS,
                base: self.object.clone(),
                subresource: "",
                change,
            });
        }
    }

    /// Creates the set of the deployment's template.
    pub(super) fn create_new(&mut self) {
        let (object, spec) = (self.object, &self.deployment.spec);
        let hash = template::hash(&spec.template, self.deployment.status.collision_count);
        let name = format!("{}-{hash}", object.meta().name);
        let replicas = self.new_size(0);
        let revision = self.next_revision();
        let template = template::labelled(&spec.template, &hash);
        let mut annotations = inherited(&object.meta().annotations);
        annotations.insert(REVISION.to_owned(), json!(revision.to_string()));
        annotations.insert(DESIRED.to_owned(), json!(self.size().to_string()));
        annotations.insert(MAX.to_owned(), json!((self.size() + self.max_surge()).to_string()));
        // The selector as it was written, which the view does not keep.
        let mut selector = object.value()["spec"]["selector"].take();
        selector["matchLabels"][template::HASH_LABEL] = json!(hash);
        let body = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name, "namespace": object.meta().namespace, "labels": template["metadata"]["labels"],
                "annotations": annotations, "ownerReferences": [controller_reference(object)],
            },
            "spec": {
                "replicas": replicas, "minReadySeconds": spec.min_ready_seconds, "selector": selector, "template": template,
            },
        });
        let namespace = object.meta().namespace.clone();
        self.plan.then(Action::Create { resource: REPLICA_SETS, namespace, body, exists_ok: false });
        if replicas > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {replicas}");
            self.plan.then(Action::event(object, "ScalingReplicaSet", message));
        }
        self.annotate(revision);
        if self.progress_deadline().is_some() {
            self.set_condition(
                "Progressing",
                "True",
                "NewReplicaSetCreated",
                format!("Created new replica set {name:?}"),
            );
        }
    }

    /// Deletes old sets beyond the limit of history, the oldest revisions first.
    pub(super) fn clean_up(&mut self) {
        let limit = self.deployment.spec.revision_history_limit.filter(|limit| *limit < i64::from(i32::MAX));
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
        let mut sets: Vec<&Set> = self.old.iter().filter(|set| !set.object.meta().is_terminating()).collect();
        let surplus = sets.len().saturating_sub(limit);
        sets.sort_by_key(|set| (of(&set.object), set.age()));
        let idle = |set: &&Set| {
            set.size() == 0
                && set.view.status.replicas == 0
                && set.object.meta().generation <= set.view.status.observed_generation
        };
        let doomed = sets.into_iter().take(surplus).filter(idle);
        let deletes: Vec<Action> = doomed.map(|set| Action::delete(REPLICA_SETS, &set.object)).collect();
        deletes.into_iter().for_each(|delete| self.plan.then(delete));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_grows_and_forgets() {
        assert_eq!(history(None, "1"), "1");
        assert_eq!(history(Some("1,3"), "5"), "1,3,5");
        let long = "100000000,".repeat(199) + "100000000";
        let grown = history(Some(&long), "7");
        assert!(grown.len() <= MAX_HISTORY && grown.ends_with(",7"));
    }
}
