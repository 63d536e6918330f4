//! InterPodAffinity: pods run near or far from pods of a group, strictly or where possible; what runs already has its say too.

use crate::framework::{Cycle, Diagnosis, Event, Events, Normalize, Plugin, PreFilter, Reason, Scoring, Verdict};
use crate::groups::PodTerm;
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::{Slot, Snapshot};
use crate::tallies::{PerSlot, Topology, Wish};

pub const PLUGIN: Plugin = Plugin {
    pre_filter: Some(pre_filter),
    filter: Some(filter),
    adjust: Some(adjust),
    score: Some(Scoring { weight: 2, prepare, score, normalize: Normalize::Range }),
    events: Events::NODE_ADDED.and(Events::NODE_LABELS).and(Events::POD_ADDED).and(Events::POD_REMOVED),
    hint,
    ..Plugin::named("InterPodAffinity")
};

/// What is known of pods near each node during a decision.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// One per required term: pods of the group by domain.
    near: Vec<Near>,
    /// The pod would match itself: when no other does, it may be the first anywhere.
    matches_itself: bool,
    /// Required anti-affinity of the pod.
    far: Vec<Near>,
    /// Required anti-affinity of pods that run already.
    forbidden: Vec<Near>,
    /// How many more there are near the node at hand than `forbidden` says, counted for each of their terms.
    more_forbidden: i64,
    /// What pods near by are worth, by domain.
    worth: Vec<Near>,
}

/// A number by domain.
#[derive(Debug, Clone)]
struct Near {
    topology: Topology,
    by_domain: Vec<i64>,
    total: i64,
}

impl Near {
    fn new(snapshot: &Snapshot, term: &PodTerm, per_slot: &PerSlot) -> Near {
        let topology = snapshot.topology(&term.topology_key).clone();
        let by_domain = topology.sum(per_slot);
        let total = by_domain.iter().sum();
        Near { topology, by_domain, total }
    }

    fn at(&self, slot: Slot) -> Option<i64> {
        self.topology.domain(slot).map(|domain| self.by_domain[domain])
    }

    fn adjust(&mut self, slot: Slot, by: i64) {
        if let Some(domain) = self.topology.domain(slot) {
            self.by_domain[domain] += by;
            self.total += by;
        }
    }
}

fn pre_filter(pod: &PodInfo, snapshot: &Snapshot, cycle: &mut Cycle) -> PreFilter {
    let affinity = &pod.shape.affinity;
    let state = &mut cycle.affinity;
    if let Some(all) = &affinity.required_all {
        // Only pods that match all terms count for each of them.
        let per_slot = snapshot.per_slot(all);
        state.near = affinity.required.iter().map(|term| Near::new(snapshot, term, per_slot)).collect();
        state.matches_itself = all.contains(pod);
    }
    let far = affinity.required_anti.iter();
    state.far = far.map(|term| Near::new(snapshot, term, snapshot.per_slot(&term.group))).collect();
    let held = snapshot.held().filter(|held| held.wish == Wish::NeverNear && held.term.group.contains(pod));
    state.forbidden = held.map(|held| Near::new(snapshot, &held.term, &held.per_slot)).collect();
    PreFilter::All
}

fn filter(_: &PodInfo, node: &NodeInfo, cycle: &Cycle, diagnosis: &mut Diagnosis) -> Verdict {
    let state = &cycle.affinity;
    let pods = |near: &Near| near.at(node.slot).unwrap_or(0);
    let (refused, verdict) = if !is_reachable(state, node) {
        ("node(s) didn't match pod affinity rules", Verdict::Hopeless)
    } else if state.far.iter().any(|near| pods(near) > 0) {
        ("node(s) didn't match pod anti-affinity rules", Verdict::Refused)
    } else if state.forbidden.iter().map(pods).sum::<i64>() + state.more_forbidden > 0 {
        ("node(s) didn't satisfy existing pods anti-affinity rules", Verdict::Refused)
    } else {
        return Verdict::Fits;
    };
    diagnosis.count(Reason::Text(refused));
    verdict
}

/// Whether the pods that the pod requires are near the node, or it may be the first of them.
fn is_reachable(state: &State, node: &NodeInfo) -> bool {
    let labelled = || state.near.iter().all(|near| near.topology.domain(node.slot).is_some());
    let nobody = || state.near.iter().all(|near| near.total == 0);
    let near = |near: &Near| near.at(node.slot).is_some_and(|pods| pods > 0);
    state.near.iter().all(near) || (state.matches_itself && labelled() && nobody())
}

fn adjust(pod: &PodInfo, other: &PodInfo, node: &NodeInfo, by: i64, cycle: &mut Cycle) {
    let (affinity, state) = (&pod.shape.affinity, &mut cycle.affinity);
    if affinity.required_all.as_ref().is_some_and(|all| all.contains(other)) {
        state.near.iter_mut().for_each(|near| near.adjust(node.slot, by));
    }
    for (near, term) in state.far.iter_mut().zip(&affinity.required_anti) {
        if term.group.contains(other) {
            near.adjust(node.slot, by);
        }
    }
    let theirs = other.shape.affinity.required_anti.iter();
    let here = |term: &&PodTerm| term.group.contains(pod) && node.labels().get(&term.topology_key).is_some();
    state.more_forbidden += by * theirs.filter(here).count() as i64;
}

fn prepare(pod: &PodInfo, snapshot: &Snapshot, _: &[Slot], cycle: &mut Cycle) -> bool {
    let mut worth = Vec::new();
    for (weight, term) in &pod.shape.affinity.preferred {
        let mut near = Near::new(snapshot, term, snapshot.per_slot(&term.group));
        near.by_domain.iter_mut().for_each(|pods| *pods *= weight);
        worth.push(near);
    }
    for held in snapshot.held() {
        let Wish::Weight(weight) = held.wish else { continue };
        if held.term.group.contains(pod) {
            let mut near = Near::new(snapshot, &held.term, &held.per_slot);
            near.by_domain.iter_mut().for_each(|pods| *pods *= weight);
            worth.push(near);
        }
    }
    cycle.affinity.worth = worth;
    !cycle.affinity.worth.is_empty()
}

fn score(_: &PodInfo, node: &NodeInfo, _: &Snapshot, cycle: &Cycle) -> i64 {
    cycle.affinity.worth.iter().filter_map(|near| near.at(node.slot)).sum()
}

fn hint(pod: &PodInfo, event: &Event<'_>) -> bool {
    let affinity = &pod.shape.affinity;
    event.pod.is_none_or(|other| {
        let mut terms = affinity.required.iter().chain(&affinity.required_anti);
        let mut theirs = other.shape.affinity.required_anti.iter();
        terms.any(|term| term.group.contains(other)) || theirs.any(|term| term.group.contains(pod))
    })
}

#[cfg(test)]
mod tests {
    use super::PLUGIN;
    use crate::plugins::testing::{Cluster, pod_object};
    use serde_json::{Value, json};

    fn term(app: &str, key: &str) -> Value {
        json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key})
    }

    fn requiring(kind: &str, terms: Value) -> Value {
        json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
    }

    fn preferring(kind: &str, weight: i64, term: Value) -> Value {
        let weighted = json!([{"weight": weight, "podAffinityTerm": term}]);
        json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}})
    }

    /// Two zones of two nodes, a node without labels, a database on a1.
    fn cluster() -> Cluster {
        let mut cluster = Cluster::default();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")] {
            cluster.node(name, json!({"zone": zone, "host": name}));
        }
        cluster.node("nowhere", json!({}));
        cluster.pod("a1", json!({"app": "db", "tier": "data"}), json!({}));
        cluster
    }

    const ALL: &[&str] = &["a1", "a2", "b1", "b2", "nowhere"];

    #[test]
    fn required_affinity_and_anti_affinity_decide() {
        let near = |terms| requiring("podAffinity", terms);
        let far = |terms| requiring("podAntiAffinity", terms);
        let mut elsewhere = term("db", "zone");
        elsewhere["namespaces"] = json!(["elsewhere"]);
        let mut everywhere = term("db", "zone");
        everywhere["namespaceSelector"] = json!({});
        let cases: [(&str, Value, &[&str]); 11] = [
            ("nothing required", json!({}), ALL),
            ("near in the zone", near(json!([term("db", "zone")])), &["a1", "a2"]),
            ("near on the node", near(json!([term("db", "host")])), &["a1"]),
            ("near what does not exist", near(json!([term("gone", "zone")])), &[]),
            ("the first of its kind", near(json!([term("web", "zone")])), &["a1", "a2", "b1", "b2"]),
            ("all terms must match one pod", near(json!([term("db", "zone"), term("web", "zone")])), &[]),
            ("far in the zone", far(json!([term("db", "zone")])), &["b1", "b2", "nowhere"]),
            ("far on the node", far(json!([term("db", "host")])), &["a2", "b1", "b2", "nowhere"]),
            ("other namespaces do not count", far(json!([elsewhere])), ALL),
            ("all namespaces", far(json!([everywhere])), &["b1", "b2", "nowhere"]),
            ("no selector selects nothing", far(json!([{"topologyKey": "zone"}])), ALL),
        ];
        for (name, spec, expected) in cases {
            let accepted = cluster().accepted_by(&PLUGIN, &pod_object("new", spec, json!({"app": "web"})));
            assert_eq!(accepted, expected, "{name}");
        }
    }

    #[test]
    fn pods_that_run_keep_others_away() {
        let mut cluster = cluster();
        let key = cluster.pod("b1", json!({"app": "shy"}), requiring("podAntiAffinity", json!([term("web", "zone")])));
        let new = |app: &str| pod_object("new", json!({}), json!({"app": app}));
        assert_eq!(cluster.accepted_by(&PLUGIN, &new("web")), ["a1", "a2", "nowhere"]);
        assert_eq!(cluster.accepted_by(&PLUGIN, &new("other")), ALL);
        cluster.remove("b1", &key);
        assert_eq!(cluster.accepted_by(&PLUGIN, &new("web")), ALL);
    }

    #[test]
    fn pods_come_and_go_with_their_nodes() {
        let mut cluster = cluster();
        let cache = cluster.pod("a1", json!({"app": "cache"}), json!({}));
        let near = || pod_object("new", requiring("podAffinity", json!([term("cache", "zone")])), json!({}));
        assert_eq!(cluster.accepted_by(&PLUGIN, &near()), ["a1", "a2"]);
        cluster.remove_node("a1");
        assert!(cluster.accepted_by(&PLUGIN, &near()).is_empty());
        cluster.node("a1", json!({"zone": "b", "host": "a1"}));
        assert_eq!(cluster.accepted_by(&PLUGIN, &near()), ["a1", "b1", "b2"]);
        cluster.remove("a1", &cache);
        assert!(cluster.accepted_by(&PLUGIN, &near()).is_empty());
    }

    #[test]
    fn preferences_of_both_sides_add_up() {
        let new = |spec| pod_object("new", spec, json!({"app": "web"}));
        let scores = |cluster: &mut Cluster, spec| -> Vec<i64> {
            cluster.scores_of(&PLUGIN, &new(spec)).into_iter().map(|(_, score)| score).collect()
        };
        let mut cluster = cluster();
        assert!(scores(&mut cluster, json!({})).is_empty(), "no opinion");
        assert_eq!(scores(&mut cluster, preferring("podAffinity", 10, term("db", "zone"))), [100, 100, 0, 0, 0]);
        assert_eq!(
            scores(&mut cluster, preferring("podAntiAffinity", 10, term("db", "host"))),
            [0, 100, 100, 100, 100]
        );
        cluster.pod("b1", json!({"app": "fan"}), preferring("podAffinity", 5, term("web", "host")));
        assert_eq!(scores(&mut cluster, json!({})), [0, 0, 100, 0, 0]);
        assert_eq!(scores(&mut cluster, preferring("podAffinity", 10, term("db", "zone"))), [100, 100, 50, 0, 0]);
    }
}
