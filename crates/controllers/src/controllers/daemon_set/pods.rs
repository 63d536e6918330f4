//! The pods of a DaemonSet by the node that they are on or meant for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_object::views::{DaemonSet, Pod};
use k8s_object::{DecodeError, Object};
use world::Timestamp;

use super::super::time;

/// The label that says which revision a pod, and which hash a revision, is of.
pub(super) const HASH: &str = "controller-revision-hash";
/// The older form of the same, a count of template changes: in the label of pods and the annotation of sets.
pub(super) const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION: &str = "deprecated.daemonset.template.generation";

/// The count of template changes of a set, as its annotation says it.
pub(super) fn template_generation(set: &DaemonSet) -> Option<i64> {
    set.metadata.annotations.get(GENERATION)?.parse().ok()
}

/// One pod.
#[derive(Clone)]
pub(super) struct Daemon {
    pub(super) object: Arc<Object>,
    pub(super) pod: Arc<Pod>,
}

impl Daemon {
    pub(super) fn is_terminating(&self) -> bool {
        self.object.meta().is_terminating()
    }

    pub(super) fn hash(&self) -> &str {
        self.object.meta().labels.get(HASH).unwrap_or_default()
    }

    /// Whether it is made from the template of now.
    pub(super) fn is_updated(&self, set: &DaemonSet, hash: &str) -> bool {
        let generation = template_generation(set).map(|generation| generation.to_string());
        let own = self.object.meta().labels.get(GENERATION_LABEL);
        (!hash.is_empty() && self.hash() == hash) || (generation.is_some() && own == generation.as_deref())
    }

    /// When it has been ready for long enough; `None` while it is not ready.
    pub(super) fn available_at(&self, set: &DaemonSet) -> Option<Timestamp> {
        let ready = self.pod.condition("Ready").filter(|ready| ready.status == "True")?;
        let seconds = u64::try_from(set.spec.min_ready_seconds).unwrap_or(0);
        Some(match seconds {
            0 => Timestamp::default(),
            seconds => time(ready.last_transition_time.as_ref()) + Duration::from_secs(seconds),
        })
    }

    pub(super) fn is_available(&self, set: &DaemonSet, now: Timestamp) -> bool {
        self.available_at(set).is_some_and(|at| at <= now)
    }

    /// The node that it is bound to, or that its affinity names.
    fn node(&self) -> Option<&str> {
        let spec = &self.pod.spec;
        if !spec.node_name.is_empty() {
            return Some(&spec.node_name);
        }
        let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let fields = required.node_selector_terms.iter().flat_map(|term| &term.match_fields);
        let mut names = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
        match &names.next()?.values[..] {
            [name] => Some(name),
            _ => None,
        }
    }
}

/// All pods of a set.
pub(super) struct DaemonPods {
    /// In order of names.
    all: Vec<Daemon>,
    /// Of those that somebody still has something to do with, per node the one first that counts: bound before unbound, then old
    /// before young.
    pub(super) by_node: BTreeMap<String, Vec<Daemon>>,
}

impl DaemonPods {
    pub(super) fn new(pods: Vec<Arc<Object>>) -> Result<DaemonPods, DecodeError> {
        let mut all = Vec::with_capacity(pods.len());
        for object in pods {
            all.push(Daemon { pod: object.view::<Pod>()?, object });
        }
        let mut by_node: BTreeMap<String, Vec<Daemon>> = BTreeMap::new();
        // One that has ended and is deleted waits for its finalizers or its kubelet only.
        for daemon in all.iter().filter(|daemon| !(daemon.pod.is_finished() && daemon.is_terminating())) {
            if let Some(node) = daemon.node() {
                by_node.entry(node.to_owned()).or_default().push(daemon.clone());
            }
        }
        for daemons in by_node.values_mut() {
            daemons.sort_by_cached_key(|daemon| {
                let meta = daemon.object.meta();
                (daemon.pod.spec.node_name.is_empty(), time(meta.creation_timestamp.as_ref()), meta.name.clone())
            });
        }
        Ok(DaemonPods { all, by_node })
    }

    pub(super) fn all(&self) -> &[Daemon] {
        &self.all
    }

    /// The pods of a node.
    pub(super) fn of(&self, node: &str) -> &[Daemon] {
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }
}
