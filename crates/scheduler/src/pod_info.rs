//! A pod as the scheduler sees it: everything that plugins ask is computed once, when the pod is first seen or changes.

use std::sync::Arc;

use k8s_object::views::{Container, Pod, PodAffinity, Toleration, TopologySpreadConstraint};
use k8s_object::{DecodeError, NamespacedName, Object, Properties};
use world::Timestamp;

use crate::groups::{PodGroup, PodTerm};
use crate::node_selector::Term;
use crate::resources::{self, Amounts};
use crate::tallies::Wish;

/// Names a pod in all tables; shared, not copied.
pub type PodKey = Arc<NamespacedName>;

/// One pod.
#[derive(Debug, Clone)]
pub struct PodInfo {
    pub key: PodKey,
    pub uid: Box<str>,
    /// Where it runs; empty when that is still to be decided.
    pub node_name: Box<str>,
    pub scheduler_name: Box<str>,
    /// Reason and message of its condition PodScheduled when that is False.
    pub failure: Option<(Box<str>, Box<str>)>,
    /// `status.nominatedNodeName`: where room is made for it.
    pub nominated: Box<str>,
    pub started: Option<Timestamp>,
    /// `metadata.generation`; zero where pods have none.
    pub generation: i64,
    pub terminating: bool,
    /// Whether it is being deleted to make room for another.
    pub preempted: bool,
    pub finished: bool,
    pub shape: Shape,
}

/// The condition of a pod that is deleted for others' sake, and its reason when those are pods of higher priority.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";
pub const PREEMPTED: &str = "PreemptionByScheduler";

/// What decides where a pod can run: two pods of the same shape are scheduled the same way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    pub priority: i32,
    /// `spec.preemptionPolicy` is `Never`.
    pub never_preempts: bool,
    pub labels: Properties,
    /// The labels of its namespace, by which affinity of others may select it.
    pub namespace_labels: Arc<Properties>,
    pub requests: Amounts,
    /// CPU in thousandths and memory in bytes with the defaults that scoring assumes.
    pub scoring_requests: (i64, i64),
    pub host_ports: Vec<HostPort>,
    /// `spec.nodeSelector`: all of these labels.
    pub node_selector: Vec<(String, String)>,
    /// Required node affinity: one of these terms.
    pub required: Option<Vec<Term>>,
    /// Preferred node affinity: the weights of the terms that match add up.
    pub preferred: Vec<(i64, Term)>,
    pub tolerations: Vec<Toleration>,
    pub scheduling_gates: Vec<String>,
    pub images: Vec<String>,
    /// The uid of the ReplicaSet, ReplicationController or StatefulSet that it belongs to.
    pub controller: Option<Box<str>>,
    pub spread: Vec<SpreadConstraint>,
    /// Whether `spread` is not the pod's own, but what pods without any get.
    pub spread_is_default: bool,
    pub affinity: InterPodAffinity,
    /// What the pod requires and no plugin here can guarantee.
    pub unsupported: Option<Unsupported>,
}

/// A topology spread constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpreadConstraint {
    pub group: Arc<PodGroup>,
    pub topology_key: Box<str>,
    pub max_skew: i64,
    /// `DoNotSchedule`.
    pub hard: bool,
    pub min_domains: Option<i64>,
    /// Whether nodes that the pod's node affinity leaves out do not count.
    pub honor_affinity: bool,
    /// Whether nodes with taints that the pod does not tolerate do not count.
    pub honor_taints: bool,
}

/// Pod affinity and anti-affinity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterPodAffinity {
    pub required: Vec<PodTerm>,
    /// The pods that match all required terms, if there are any terms.
    pub required_all: Option<Arc<PodGroup>>,
    pub required_anti: Vec<PodTerm>,
    /// With weights below zero for anti-affinity.
    pub preferred: Vec<(i64, PodTerm)>,
}

/// What a pod that meets a required affinity of a running pod is worth to it (`hardPodAffinityWeight`).
const REQUIRED_AFFINITY_WEIGHT: i64 = 1;

impl InterPodAffinity {
    /// What the pod wants of pods that come later.
    pub fn wishes(&self) -> impl Iterator<Item = (Wish, &PodTerm)> {
        let anti = self.required_anti.iter().map(|term| (Wish::NeverNear, term));
        let required = self.required.iter().map(|term| (Wish::Weight(REQUIRED_AFFINITY_WEIGHT), term));
        let preferred = self.preferred.iter().map(|(weight, term)| (Wish::Weight(*weight), term));
        anti.chain(required).chain(preferred)
    }
}

/// A plugin of kube-scheduler that is missing, and what in the pod needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    pub plugin: &'static str,
    pub field: String,
}

/// A port on the node that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// `0.0.0.0` is every address.
    pub ip: Box<str>,
    pub protocol: Box<str>,
    pub port: u16,
}

impl HostPort {
    /// Whether two pods cannot have these ports on one node.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        const ANY: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || &*self.ip == ANY || &*other.ip == ANY)
    }
}

impl PodInfo {
    /// A pod whose namespace has these labels.
    pub fn new(object: &Object, namespace_labels: &Arc<Properties>) -> Result<PodInfo, DecodeError> {
        let pod = object.view::<Pod>()?;
        let terminating = object.meta().is_terminating();
        let disrupted =
            || pod.condition(DISRUPTION_TARGET).is_some_and(|c| c.status == "True" && c.reason == PREEMPTED);
        let failure = pod.condition("PodScheduled").filter(|condition| condition.status == "False");
        Ok(PodInfo {
            key: Arc::new(object.key()),
            uid: object.meta().uid.as_str().into(),
            node_name: pod.spec.node_name.as_str().into(),
            scheduler_name: pod.spec.scheduler_name.as_str().into(),
            failure: failure.map(|condition| (condition.reason.as_str().into(), condition.message.as_str().into())),
            nominated: pod.status.nominated_node_name.as_str().into(),
            started: pod.status.start_time.as_deref().and_then(|time| Timestamp::parse(time).ok()),
            generation: object.meta().generation,
            terminating,
            preempted: terminating && disrupted(),
            finished: pod.is_finished(),
            shape: Shape::new(&pod, object, namespace_labels),
        })
    }
}

impl Shape {
    pub fn new(pod: &Pod, object: &Object, namespace_labels: &Arc<Properties>) -> Shape {
        let spec = &pod.spec;
        let (namespace, labels) = (object.meta().namespace.as_str(), &object.meta().labels);
        let controller = object.meta().controller();
        let controller = controller.filter(|owner| SPREAD_CONTROLLERS.contains(&owner.kind.as_ref()));
        let mut spread: Vec<SpreadConstraint> =
            spec.topology_spread_constraints.iter().map(|c| spread_constraint(c, namespace, labels)).collect();
        let spread_is_default = spread.is_empty() && controller.is_some();
        if let Some(owner) = controller.filter(|_| spread_is_default) {
            let group = PodGroup::of_controller(&owner.uid, namespace);
            spread = default_spread(&group);
        }
        let node_affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = node_affinity.and_then(|affinity| {
            let selector = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
            Some(selector.node_selector_terms.iter().map(Term::new).collect())
        });
        let preferred =
            node_affinity.map_or(&[][..], |affinity| &affinity.preferred_during_scheduling_ignored_during_execution);
        let sidecars = spec.init_containers.iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        Shape {
            priority: spec.priority.unwrap_or(0),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
            labels: labels.clone(),
            namespace_labels: namespace_labels.clone(),
            requests: resources::requests(pod),
            scoring_requests: resources::scoring_requests(pod),
            host_ports: spec.containers.iter().chain(sidecars).flat_map(host_ports).collect(),
            node_selector: spec.node_selector.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            required,
            preferred: preferred.iter().map(|term| (term.weight, Term::new(&term.preference))).collect(),
            tolerations: spec.tolerations.clone(),
            scheduling_gates: spec.scheduling_gates.iter().map(|gate| gate.name.clone()).collect(),
            images: spec.init_containers.iter().chain(&spec.containers).map(|c| normalized_image(&c.image)).collect(),
            controller: controller.map(|owner| owner.uid.as_str().into()),
            spread,
            spread_is_default,
            affinity: inter_pod_affinity(pod, namespace, labels),
            unsupported: unsupported(pod),
        }
    }

    /// All groups of pods that a decision about the pod asks for.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<PodGroup>> {
        let spread = self.spread.iter().map(|constraint| &constraint.group);
        let anti = self.affinity.required_anti.iter().map(|term| &term.group);
        let preferred = self.affinity.preferred.iter().map(|(_, term)| &term.group);
        spread.chain(&self.affinity.required_all).chain(anti).chain(preferred)
    }

    /// All topology keys that a decision about the pod asks for.
    pub fn topology_keys(&self) -> impl Iterator<Item = &str> {
        let spread = self.spread.iter().map(|constraint| &*constraint.topology_key);
        spread.chain(self.affinity.wishes().map(|(_, term)| &*term.topology_key))
    }
}

/// Kinds of controllers whose pods are spread by default (kube-scheduler `helper.DefaultSelector`).
const SPREAD_CONTROLLERS: [&str; 3] = ["ReplicaSet", "ReplicationController", "StatefulSet"];

/// Topology keys and skews of the default constraints (`podtopologyspread` system defaults).
const DEFAULT_SPREAD: [(&str, i64); 2] = [("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5)];

/// What pods without constraints of their own get.
pub fn default_spread(group: &Arc<PodGroup>) -> Vec<SpreadConstraint> {
    DEFAULT_SPREAD.map(|(key, max_skew)| default_constraint(group, key, max_skew)).into()
}

fn default_constraint(group: &Arc<PodGroup>, topology_key: &str, max_skew: i64) -> SpreadConstraint {
    SpreadConstraint {
        group: group.clone(),
        topology_key: topology_key.into(),
        max_skew,
        hard: false,
        min_domains: None,
        honor_affinity: true,
        honor_taints: false,
    }
}

fn spread_constraint(constraint: &TopologySpreadConstraint, namespace: &str, labels: &Properties) -> SpreadConstraint {
    SpreadConstraint {
        group: PodGroup::of_spread(constraint, namespace, labels),
        topology_key: constraint.topology_key.as_str().into(),
        max_skew: constraint.max_skew,
        hard: constraint.when_unsatisfiable != "ScheduleAnyway",
        min_domains: constraint.min_domains,
        honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
        honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn inter_pod_affinity(pod: &Pod, namespace: &str, labels: &Properties) -> InterPodAffinity {
    let Some(affinity) = &pod.spec.affinity else { return InterPodAffinity::default() };
    let required = |affinity: &Option<PodAffinity>| -> Vec<PodTerm> {
        let terms = affinity.iter().flat_map(|a| &a.required_during_scheduling_ignored_during_execution);
        terms.map(|term| PodTerm::new(term, namespace, labels)).collect()
    };
    let preferred = |affinity: &Option<PodAffinity>, sign: i64| -> Vec<(i64, PodTerm)> {
        let terms = affinity.iter().flat_map(|a| &a.preferred_during_scheduling_ignored_during_execution);
        terms.map(|term| (sign * term.weight, PodTerm::new(&term.pod_affinity_term, namespace, labels))).collect()
    };
    let near = required(&affinity.pod_affinity);
    let all = (!near.is_empty()).then(|| PodGroup::intersection(near.iter().map(|term| &*term.group)));
    let mut weighted = preferred(&affinity.pod_affinity, 1);
    weighted.extend(preferred(&affinity.pod_anti_affinity, -1));
    InterPodAffinity {
        required_all: all,
        required: near,
        required_anti: required(&affinity.pod_anti_affinity),
        preferred: weighted,
    }
}

fn host_ports(container: &Container) -> impl Iterator<Item = HostPort> {
    container.ports.iter().filter(|port| port.host_port > 0).map(|port| HostPort {
        ip: if port.host_ip.is_empty() { "0.0.0.0" } else { &port.host_ip }.into(),
        protocol: if port.protocol.is_empty() { "TCP" } else { &port.protocol }.into(),
        port: port.host_port,
    })
}

/// With the tag that a reference without one means, as nodes report it.
fn normalized_image(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// The first thing that the pod requires of a plugin that does not exist here.
fn unsupported(pod: &Pod) -> Option<Unsupported> {
    /// Volume sources by the plugin that decides where they can be used.
    const VOLUMES: &[(&str, &str)] = &[
        ("awsElasticBlockStore", "VolumeRestrictions"),
        ("azureDisk", "VolumeRestrictions"),
        ("ephemeral", "VolumeBinding"),
        ("gcePersistentDisk", "VolumeRestrictions"),
        ("iscsi", "VolumeRestrictions"),
        ("persistentVolumeClaim", "VolumeBinding"),
        ("rbd", "VolumeRestrictions"),
    ];
    let spec = &pod.spec;
    for (i, volume) in spec.volumes.iter().enumerate() {
        if let Some((source, plugin)) = VOLUMES.iter().find(|(source, _)| volume.get(source).is_some()) {
            return Some(Unsupported { plugin, field: format!("spec.volumes[{i}].{source}") });
        }
    }
    if !spec.resource_claims.is_empty() {
        return Some(Unsupported { plugin: "DynamicResources", field: "spec.resourceClaims".into() });
    }
    None
}
