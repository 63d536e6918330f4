//! PodTopologySpread: pods of a group are spread over zones, nodes or other values of a label, strictly or where possible.
//!
//! A pod without constraints is spread where possible over zones and nodes with the other pods of its ReplicaSet,
//! ReplicationController or StatefulSet, or else of its Services.

use crate::framework::{Cycle, Diagnosis, Event, Events, Normalize, Plugin, PreFilter, Reason, Scoring, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::{PodInfo, SpreadConstraint};
use crate::snapshot::{Slot, Snapshot};
use crate::tallies::Topology;

const HOSTNAME: &str = "kubernetes.io/hostname";

pub const PLUGIN: Plugin = Plugin {
    pre_filter: Some(pre_filter),
    filter: Some(filter),
    adjust: Some(adjust),
    score: Some(Scoring { weight: 2, prepare, score, normalize: Normalize::FewestBest }),
    events: Events::NODE_ADDED
        .and(Events::NODE_LABELS)
        .and(Events::NODE_TAINTS)
        .and(Events::NODE_REMOVED)
        .and(Events::POD_ADDED)
        .and(Events::POD_REMOVED),
    hint,
    ..Plugin::named("PodTopologySpread")
};

/// What is known of the pod's constraints during a decision.
#[derive(Debug, Clone, Default)]
pub struct State {
    hard: Vec<Hard>,
    soft: Vec<Soft>,
    /// Nodes without all labels of soft constraints come last.
    soft_needs_all: bool,
}

#[derive(Debug, Clone)]
struct Hard {
    topology: Topology,
    /// Pods by domain; nothing for domains that cannot be used anyway.
    pods: Vec<Option<i64>>,
    fewest: i64,
    /// Domains that the pod asks for are missing: whatever changes, the fewest pods are none.
    missing: bool,
    /// Whether the pod itself is of its group.
    own: i64,
    max_skew: i64,
}

#[derive(Debug, Clone)]
struct Soft {
    topology: Topology,
    pods: Vec<i64>,
    /// The more domains, the more a pod too many matters.
    weight: f64,
    max_skew: i64,
}

/// Whether pods on a node count for a constraint of the pod.
fn counts(pod: &PodInfo, constraint: &SpreadConstraint, node: &NodeInfo) -> bool {
    (!constraint.honor_affinity || super::node_affinity::accepts(pod, node))
        && (!constraint.honor_taints || super::taint_toleration::untolerated(pod, node).is_none())
}

fn pre_filter(pod: &PodInfo, snapshot: &Snapshot, cycle: &mut Cycle) -> PreFilter {
    let constraints: Vec<&SpreadConstraint> = pod.shape.spread.iter().filter(|constraint| constraint.hard).collect();
    if constraints.is_empty() {
        return PreFilter::All;
    }
    let topologies: Vec<&Topology> = constraints.iter().map(|c| snapshot.topology(&c.topology_key)).collect();
    let mut hard = Vec::new();
    for (constraint, topology) in constraints.iter().zip(&topologies) {
        let per_slot = snapshot.per_slot(&constraint.group);
        let mut pods: Vec<Option<i64>> = vec![None; topology.domains()];
        let domain = |slot: Slot| {
            let everywhere = || topologies.iter().all(|topology| topology.domain(slot).is_some());
            topology.domain(slot).filter(|_| everywhere() && counts(pod, constraint, snapshot.node(slot)))
        };
        for domain in snapshot.order().iter().filter_map(|slot| domain(*slot)) {
            pods[domain] = Some(0);
        }
        for (slot, count) in per_slot.iter() {
            if let Some(domain) = domain(slot) {
                *pods[domain].get_or_insert(0) += count;
            }
        }
        let domains = pods.iter().flatten().count() as i64;
        // Domains that are still missing have no pods.
        let missing = constraint.min_domains.is_some_and(|min| domains < min);
        let fewest = fewest(&pods, missing);
        let own = i64::from(constraint.group.contains(pod));
        hard.push(Hard { topology: (*topology).clone(), pods, fewest, missing, own, max_skew: constraint.max_skew });
    }
    cycle.spread.hard = hard;
    PreFilter::All
}

fn filter(_: &PodInfo, node: &NodeInfo, cycle: &Cycle, diagnosis: &mut Diagnosis) -> Verdict {
    for constraint in &cycle.spread.hard {
        let Some(domain) = constraint.topology.domain(node.slot) else {
            diagnosis
                .count(Reason::Text("node(s) didn't match pod topology spread constraints (missing required label)"));
            return Verdict::Hopeless;
        };
        let pods = constraint.pods[domain].unwrap_or(0) + constraint.own;
        if pods.saturating_sub(constraint.fewest) > constraint.max_skew {
            diagnosis.count(Reason::Text("node(s) didn't match pod topology spread constraints"));
            return Verdict::Refused;
        }
    }
    Verdict::Fits
}

fn fewest(pods: &[Option<i64>], missing: bool) -> i64 {
    if missing { 0 } else { pods.iter().flatten().copied().min().unwrap_or(i64::MAX) }
}

fn adjust(pod: &PodInfo, other: &PodInfo, node: &NodeInfo, by: i64, cycle: &mut Cycle) {
    let hard = &mut cycle.spread.hard;
    // A node without all labels counts for none.
    if hard.iter().any(|constraint| constraint.topology.domain(node.slot).is_none()) {
        return;
    }
    for (state, constraint) in hard.iter_mut().zip(pod.shape.spread.iter().filter(|constraint| constraint.hard)) {
        let Some(domain) = state.topology.domain(node.slot) else { continue };
        if constraint.group.contains(other)
            && counts(pod, constraint, node)
            && let Some(pods) = &mut state.pods[domain]
        {
            *pods += by;
            state.fewest = fewest(&state.pods, state.missing);
        }
    }
}

fn prepare(pod: &PodInfo, snapshot: &Snapshot, feasible: &[Slot], cycle: &mut Cycle) -> bool {
    let constraints: Vec<&SpreadConstraint> = pod.shape.spread.iter().filter(|constraint| !constraint.hard).collect();
    if constraints.is_empty() {
        return false;
    }
    let needs_all = !pod.shape.spread_is_default;
    let topologies: Vec<&Topology> = constraints.iter().map(|c| snapshot.topology(&c.topology_key)).collect();
    let usable = |slot: &Slot| !needs_all || topologies.iter().all(|topology| topology.domain(*slot).is_some());
    let mut soft = Vec::new();
    for (constraint, topology) in constraints.iter().zip(&topologies) {
        let per_slot = snapshot.per_slot(&constraint.group);
        let mut pods = vec![0; topology.domains()];
        // Most pods leave all nodes in, and then there is nothing to ask of each.
        let all_count = !needs_all && !constraint.honor_taints && !super::node_affinity::requires(pod);
        if all_count {
            pods = topology.sum(per_slot);
        } else {
            for (slot, count) in per_slot.iter().filter(|(slot, _)| usable(slot)) {
                if let Some(domain) = topology.domain(slot)
                    && counts(pod, constraint, snapshot.node(slot))
                {
                    pods[domain] += count;
                }
            }
        }
        let candidates = feasible.iter().filter(|slot| usable(slot));
        let size = if &*constraint.topology_key == HOSTNAME {
            candidates.count()
        } else {
            let mut seen = vec![false; topology.domains()];
            candidates.filter_map(|slot| topology.domain(*slot)).for_each(|domain| seen[domain] = true);
            seen.into_iter().filter(|seen| *seen).count()
        };
        let weight = ((size + 2) as f64).ln();
        soft.push(Soft { topology: (*topology).clone(), pods, weight, max_skew: constraint.max_skew });
    }
    cycle.spread.soft = soft;
    cycle.spread.soft_needs_all = needs_all;
    true
}

fn score(_: &PodInfo, node: &NodeInfo, _: &Snapshot, cycle: &Cycle) -> i64 {
    let mut sum = 0.0;
    for constraint in &cycle.spread.soft {
        match constraint.topology.domain(node.slot) {
            Some(domain) => {
                sum += constraint.pods[domain] as f64 * constraint.weight + (constraint.max_skew - 1) as f64;
            }
            None if cycle.spread.soft_needs_all => return Normalize::LAST,
            None => {}
        }
    }
    sum.round() as i64
}

fn hint(pod: &PodInfo, event: &Event<'_>) -> bool {
    let own = |other: &PodInfo| pod.shape.spread.iter().any(|constraint| constraint.group.contains_when_live(other));
    event.pod.is_none_or(own)
}

#[cfg(test)]
mod tests {
    use super::PLUGIN;
    use crate::plugins::testing::{Cluster, pod_object};
    use serde_json::{Value, json};

    fn spreading(when: &str, key: &str, max_skew: i64) -> Value {
        json!({"maxSkew": max_skew, "topologyKey": key, "whenUnsatisfiable": when,
            "labelSelector": {"matchLabels": {"app": "web"}}})
    }

    fn cluster() -> Cluster {
        let mut cluster = Cluster::default();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("c1", "c")] {
            cluster.node(name, json!({"zone": zone, "kubernetes.io/hostname": name}));
        }
        cluster.node("nowhere", json!({}));
        for node in ["a1", "a1", "a2", "b1"] {
            cluster.pod(node, json!({"app": "web"}), json!({}));
        }
        cluster.pod("c1", json!({"app": "other"}), json!({}));
        cluster
    }

    fn check(name: &str, constraints: Value, expected: &[&str]) {
        check_spec(name, json!({"topologySpreadConstraints": constraints}), expected);
    }

    fn check_spec(name: &str, spec: Value, expected: &[&str]) {
        let accepted = cluster().accepted_by(&PLUGIN, &pod_object("new", spec, json!({"app": "web"})));
        assert_eq!(accepted, expected, "{name}");
    }

    #[test]
    fn hard_constraints_bound_the_skew() {
        let hard = |key, skew| spreading("DoNotSchedule", key, skew);
        check(
            "soft constraints refuse nothing",
            json!([spreading("ScheduleAnyway", "zone", 1)]),
            &["a1", "a2", "b1", "c1", "nowhere"],
        );
        check("only the emptiest zone", json!([hard("zone", 1)]), &["c1"]);
        check("one more is allowed", json!([hard("zone", 2)]), &["b1", "c1"]);
        check("nodes", json!([hard("kubernetes.io/hostname", 2)]), &["a2", "b1", "c1"]);
        check("both", json!([hard("zone", 2), hard("kubernetes.io/hostname", 1)]), &["c1"]);
        let mut wide = hard("zone", 1);
        wide["minDomains"] = json!(4);
        check("domains that are missing count as empty", json!([wide]), &["c1"]);
        let mut wide = hard("zone", 2);
        wide["minDomains"] = json!(4);
        check("and bound the skew", json!([wide]), &["b1", "c1"]);
        let in_a_and_b = json!({
            "topologySpreadConstraints": [hard("zone", 1)],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]}}},
        });
        check_spec("zones that the pod cannot use do not count", in_a_and_b.clone(), &["b1", "c1"]);
        let mut wide = in_a_and_b;
        wide["topologySpreadConstraints"][0]["minDomains"] = json!(3);
        check_spec("unless there are too few without them", wide, &["c1"]);
    }

    #[test]
    fn a_pod_outside_of_its_group_adds_nothing() {
        let spec = json!({"topologySpreadConstraints": [spreading("DoNotSchedule", "zone", 1)]});
        let accepted = cluster().accepted_by(&PLUGIN, &pod_object("new", spec, json!({"app": "other"})));
        assert_eq!(accepted, ["b1", "c1"]);
    }

    #[test]
    fn soft_constraints_prefer_the_emptiest() {
        let spec = json!({"topologySpreadConstraints": [spreading("ScheduleAnyway", "zone", 1)]});
        let scores = cluster().scores_of(&PLUGIN, &pod_object("new", spec, json!({"app": "web"})));
        assert_eq!(
            scores,
            [("a1", 0), ("a2", 0), ("b1", 60), ("c1", 100), ("nowhere", 0)].map(|(n, s)| (n.to_owned(), s))
        );
    }

    #[test]
    fn pods_of_a_controller_are_spread_by_default() {
        let mut cluster = Cluster::default();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
            cluster.node(name, json!({"topology.kubernetes.io/zone": zone, "kubernetes.io/hostname": name}));
        }
        let owned = |name: &str, node: &str| {
            let mut value = pod_object(name, json!({"nodeName": node}), json!({})).value();
            value["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs-uid", "controller": true}]);
            k8s_object::Object::from_value(&value).unwrap()
        };
        cluster.add(&owned("first", "a1"));
        let scores = cluster.scores_of(&PLUGIN, &owned("second", ""));
        let score = |name: &str| scores.iter().find(|(node, _)| node == name).unwrap().1;
        assert!(score("b1") > score("a2") && score("a2") > score("a1"), "{scores:?}");
        assert!(cluster.scores_of(&PLUGIN, &pod_object("alone", json!({}), json!({}))).is_empty(), "no opinion");
    }

    #[test]
    fn pods_that_are_being_deleted_do_not_count() {
        let mut cluster = cluster();
        let mut value = pod_object("going", json!({"nodeName": "c1"}), json!({"app": "web"})).value();
        value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        cluster.add(&k8s_object::Object::from_value(&value).unwrap());
        let spec = json!({"topologySpreadConstraints": [spreading("DoNotSchedule", "zone", 1)]});
        assert_eq!(cluster.accepted_by(&PLUGIN, &pod_object("new", spec, json!({"app": "web"}))), ["c1"]);
    }
}
