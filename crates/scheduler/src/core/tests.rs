//! The scheduler's decisions as tables: objects go in, decisions come out.

use super::*;
use crate::plugins::testing::{node_object, pod_object};
use serde_json::{Value, json};
use world::World;

fn core() -> Core {
    Core::new(CoreOptions { scheduler_name: "default-scheduler".into(), percentage_of_nodes_to_score: None, minor: 34 })
}

fn add_node(core: &mut Core, name: &str, value: Value) {
    let mut value = value;
    value["metadata"]["name"] = json!(name);
    core.set_node(name, Some(&Arc::new(node_object(value))), Duration::ZERO);
}

fn size(cpu: &str, pods: u32) -> Value {
    json!({"status": {"allocatable": {"cpu": cpu, "memory": "64Gi", "pods": pods.to_string()}}})
}

fn asking(cpu: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
}

fn add_pod(core: &mut Core, name: &str, spec: Value, now: Duration) {
    core.set_pod(&key(name), Some(&pod_object(name, spec, json!({}))), now);
}

fn key(name: &str) -> NamespacedName {
    NamespacedName::new("default", name)
}

/// The next decision in short: `pod -> node`, or `pod: why not`.
fn decide(core: &mut Core, now: Duration) -> Option<String> {
    Some(match core.schedule(now, |_| 0)? {
        Decision::Bind { pod, node } => format!("{} -> {node}", pod.key.name),
        Decision::Unschedulable { pod, message, .. } => format!("{}: {message}", pod.key.name),
    })
}

fn info(core: &Core, name: &str) -> Arc<PodInfo> {
    match &core.pods[&key(name)] {
        Place::Assumed(pod, _) | Place::Assigned(pod, _) => pod.clone(),
        Place::Queued => panic!("{name} has no node"),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_decided_pod_counts_before_it_is_bound() {
    let mut core = core();
    add_node(&mut core, "a", size("1", 10));
    add_pod(&mut core, "first", asking("600m"), Duration::ZERO);
    add_pod(&mut core, "second", asking("600m"), Duration::ZERO);
    assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), "first -> a");
    let why = "second: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: \
               1 No preemption victims found for incoming pod.";
    assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), why);
    assert_eq!(decide(&mut core, Duration::ZERO), None);
}

#[test]
fn a_failed_binding_gives_the_place_back_and_the_pod_is_tried_again() {
    let mut core = core();
    add_node(&mut core, "a", size("1", 10));
    add_pod(&mut core, "first", asking("600m"), Duration::ZERO);
    decide(&mut core, Duration::ZERO);
    let first = info(&core, "first");
    core.bind_failed(&first, Duration::ZERO);
    assert_eq!(core.snapshot().node(0).requested.milli_cpu, 0);
    assert_eq!(decide(&mut core, SECOND / 2), None);
    assert_eq!(core.next_deadline(), Some(SECOND));
    assert_eq!(decide(&mut core, SECOND).unwrap(), "first -> a");
    core.bound(&first);
    assert_eq!(core.queue_lengths(), QueueLengths::default());
    core.bind_failed(&first, SECOND);
    core.set_pod(&key("first"), None, SECOND);
    assert_eq!(core.snapshot().node(0).requested.milli_cpu, 0);
}

#[test]
fn what_becomes_free_goes_to_those_who_wait() {
    let mut core = core();
    add_node(&mut core, "a", size("1", 10));
    add_pod(&mut core, "runs", asking("1"), Duration::ZERO);
    decide(&mut core, Duration::ZERO);
    add_pod(&mut core, "waits", asking("1"), Duration::ZERO);
    decide(&mut core, Duration::ZERO);
    core.set_pod(
        &key("runs"),
        Some(&pod_object("runs", json!({"nodeName": "a", "containers": []}), json!({}))),
        SECOND,
    );
    assert_eq!(decide(&mut core, 2 * SECOND).unwrap(), "waits -> a", "the pod was changed to ask for less");
    add_pod(&mut core, "late", asking("1"), 2 * SECOND);
    assert!(decide(&mut core, 2 * SECOND).unwrap().contains("1 Insufficient cpu."));
    core.set_pod(&key("waits"), None, 20 * SECOND);
    assert_eq!(decide(&mut core, 20 * SECOND).unwrap(), "late -> a");
}

#[test]
fn a_finished_pod_takes_nothing() {
    let mut core = core();
    add_node(&mut core, "a", size("1", 10));
    let mut spec = asking("1");
    spec["nodeName"] = json!("a");
    add_pod(&mut core, "job", spec.clone(), Duration::ZERO);
    assert_eq!(core.snapshot().node(0).requested.milli_cpu, 1000);
    let mut value = pod_object("job", spec, json!({})).value();
    value["status"] = json!({"phase": "Succeeded"});
    core.set_pod(&key("job"), Some(&Object::from_value(&value).unwrap()), Duration::ZERO);
    assert_eq!(core.snapshot().node(0).requested.milli_cpu, 0);
}

#[test]
fn a_pod_of_the_same_name_is_another_pod() {
    let mut core = core();
    add_node(&mut core, "a", size("1", 10));
    add_pod(&mut core, "x", asking("1"), Duration::ZERO);
    decide(&mut core, Duration::ZERO);
    let old = info(&core, "x");
    let mut value = pod_object("x", asking("500m"), json!({})).value();
    value["metadata"]["uid"] = json!("another");
    core.set_pod(&key("x"), Some(&Object::from_value(&value).unwrap()), Duration::ZERO);
    assert_eq!(core.snapshot().node(0).requested.milli_cpu, 0);
    core.bind_failed(&old, Duration::ZERO);
    assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), "x -> a");
    assert_eq!(core.snapshot().node(0).requested.milli_cpu, 500);
}

#[test]
fn a_node_that_comes_back_has_its_pods() {
    let mut core = core();
    let mut spec = asking("1");
    spec["nodeName"] = json!("a");
    add_pod(&mut core, "early", spec, Duration::ZERO);
    add_node(&mut core, "a", size("1", 10));
    assert_eq!(core.snapshot().node(0).requested.milli_cpu, 1000, "the pod was seen before its node");
    core.set_node("a", None, Duration::ZERO);
    assert!(core.snapshot().is_empty());
    add_node(&mut core, "a", size("4", 10));
    assert_eq!(core.snapshot().node(0).requested.milli_cpu, 1000);
    core.set_pod(&key("early"), None, Duration::ZERO);
    assert_eq!(core.snapshot().node(0).requested.milli_cpu, 0);
}

#[test]
fn pods_that_are_not_ours_are_left_alone() {
    let mut core = core();
    add_node(&mut core, "a", size("1", 10));
    add_pod(&mut core, "foreign", json!({"schedulerName": "other", "containers": []}), Duration::ZERO);
    let mut value = pod_object("going", json!({"containers": []}), json!({})).value();
    value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    core.set_pod(&key("going"), Some(&Object::from_value(&value).unwrap()), Duration::ZERO);
    assert_eq!(decide(&mut core, Duration::ZERO), None);
}

#[test]
fn a_pod_that_wants_company_waits_for_it() {
    let host = json!({"labels": {"host": "a"}});
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "db"}}}]}}});
    for seen_bound in [false, true] {
        let mut core = core();
        let mut node = size("4", 10);
        node["metadata"] = host.clone();
        add_node(&mut core, "a", node);
        add_pod(&mut core, "waits", near.clone(), Duration::ZERO);
        let why = "waits: 0/1 nodes are available: 1 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: \
                   0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
        assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), why);
        add_pod(&mut core, "other", json!({}), 2 * SECOND);
        assert_eq!(decide(&mut core, 2 * SECOND).unwrap(), "other -> a");
        assert_eq!(decide(&mut core, 2 * SECOND), None, "that is not the company it wants");
        let spec = if seen_bound { json!({"nodeName": "a"}) } else { json!({}) };
        core.set_pod(&key("db"), Some(&pod_object("db", spec, json!({"app": "db"}))), 3 * SECOND);
        if !seen_bound {
            assert_eq!(decide(&mut core, 3 * SECOND).unwrap(), "db -> a");
        }
        assert_eq!(decide(&mut core, 3 * SECOND).unwrap(), "waits -> a");
    }
}

#[test]
fn pods_are_near_or_far_by_the_labels_of_their_namespaces() {
    let near = |kind: &str, namespaces: Value| {
        json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "host",
            "labelSelector": {"matchLabels": {"app": "db"}}, "namespaces": namespaces,
            "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["one"]}]}}]}}})
    };
    let namespace = |core: &mut Core, team: &str| {
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "data", "labels": {"team": team}}});
        core.set_namespace("data", Some(&Object::from_value(&object).unwrap()), Duration::ZERO);
    };
    let db_on_b = |core: &mut Core| {
        let mut value = pod_object("db", json!({"nodeName": "b"}), json!({"app": "db"})).value();
        value["metadata"]["namespace"] = json!("data");
        core.set_pod(&NamespacedName::new("data", "db"), Some(&Object::from_value(&value).unwrap()), Duration::ZERO);
    };
    let cases = [
        ("selected", "podAffinity", "one", json!([]), "b"),
        ("not selected", "podAffinity", "two", json!([]), ""),
        ("not selected, but named", "podAffinity", "two", json!(["data"]), "b"),
        ("selected by what keeps away", "podAntiAffinity", "one", json!([]), "a"),
    ];
    // The labels may be heard of before the pods, or afterwards.
    for ((name, kind, team, names, expected), labels_first) in
        cases.iter().flat_map(|case| [(case, true), (case, false)])
    {
        let mut core = core();
        for host in ["a", "b"] {
            let mut node = size("4", 10);
            node["metadata"] = json!({"labels": {"host": host}});
            add_node(&mut core, host, node);
        }
        if labels_first {
            namespace(&mut core, team);
            db_on_b(&mut core);
        } else {
            namespace(&mut core, "another");
            db_on_b(&mut core);
            namespace(&mut core, team);
        }
        add_pod(&mut core, "new", near(kind, names.clone()), Duration::ZERO);
        let decision = decide(&mut core, Duration::ZERO).unwrap();
        let wanted = if expected.is_empty() { "new: 0/2 nodes".to_owned() } else { format!("new -> {expected}") };
        assert!(decision.starts_with(&wanted), "{name}, labels first {labels_first}: {decision}");
    }
}

#[test]
fn pods_that_run_keep_away_those_of_selected_namespaces() {
    let mut core = core();
    let mut node = size("4", 10);
    node["metadata"] = json!({"labels": {"host": "a"}});
    add_node(&mut core, "a", node);
    let shy = json!({"nodeName": "a", "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "host", "labelSelector": {}, "namespaceSelector": {"matchLabels": {"team": "one"}}}]}}});
    core.set_pod(&key("shy"), Some(&pod_object("shy", shy, json!({}))), Duration::ZERO);
    let object = |team: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": {"team": team}}});
    let label = |core: &mut Core, team: &str, now| {
        core.set_namespace("default", Some(&Object::from_value(&object(team)).unwrap()), now);
    };
    label(&mut core, "one", Duration::ZERO);
    add_pod(&mut core, "new", json!({}), Duration::ZERO);
    let refused = decide(&mut core, Duration::ZERO).unwrap();
    assert!(refused.contains("1 node(s) didn't satisfy existing pods anti-affinity rules"), "{refused}");
    label(&mut core, "two", SECOND);
    assert_eq!(decide(&mut core, 2 * SECOND).unwrap(), "new -> a", "it is tried again when the labels have changed");
}

#[test]
fn without_nodes_pods_wait_for_the_first() {
    let mut core = core();
    add_pod(&mut core, "x", asking("1"), Duration::ZERO);
    assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), "x: no nodes available to schedule pods");
    let node = Arc::new(node_object(json!({"status": size("2", 10)["status"]})));
    core.set_node("node", Some(&node), 2 * SECOND);
    assert_eq!(decide(&mut core, 2 * SECOND).unwrap(), "x -> node");
}

#[test]
fn messages_are_those_of_upstream() {
    let mut core = core();
    add_node(&mut core, "a", json!({"spec": {"unschedulable": true}}));
    add_node(&mut core, "b", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}));
    add_node(&mut core, "c", size("1", 10));
    add_pod(&mut core, "large", asking("2"), Duration::ZERO);
    let named = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
        [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}}}});
    add_pod(&mut core, "named", named, Duration::ZERO);
    add_pod(&mut core, "claims", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {}}]}), Duration::ZERO);
    let expected = [
        "large: 0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: v}, \
         1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
        "named: 0/3 nodes are available: 1 node(s) were unschedulable, \
         2 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
        "claims: 0/3 nodes are available: spec.volumes[0].persistentVolumeClaim requires the scheduler plugin \
         VolumeBinding, which Minato does not support yet. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
    ];
    for expected in expected {
        assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), expected);
    }
}

#[test]
fn before_devices_were_scheduled_nobody_spoke_of_claims() {
    let core = core();
    let mut core = Core::new(CoreOptions { minor: 33, ..core.options });
    add_node(&mut core, "a", size("1", 10));
    add_pod(&mut core, "large", asking("2"), Duration::ZERO);
    let why = "large: 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
               1 Preemption is not helpful for scheduling.";
    assert_eq!(decide(&mut core, Duration::ZERO).unwrap(), why);
}

#[test]
fn the_search_is_as_wide_as_upstreams() {
    let core = core();
    for (nodes, expected) in [(5, 5), (99, 99), (100, 100), (200, 100), (1000, 420), (5000, 500), (10_000, 500)] {
        assert_eq!(core.nodes_to_find(nodes), expected, "{nodes}");
    }
    let options = CoreOptions { percentage_of_nodes_to_score: Some(20), ..core.options };
    assert_eq!(Core::new(options).nodes_to_find(1000), 200);
}

/// 1,000 nodes in three zones, some tainted or cordoned, and 6,000 pods of several shapes, some of which leave again.
fn run(seed: u64) -> Vec<String> {
    let (world, _simulation) = World::simulated(seed);
    let mut core = core();
    for i in 0..1000 {
        let zone = ["a", "b", "c"][i % 3];
        let mut node = size(["2", "4", "8"][world.below(3) as usize], 8);
        node["metadata"] = json!({"labels": {"topology.kubernetes.io/zone": zone, "size": format!("{}", i % 4)}});
        node["spec"] = match i % 50 {
            7 => json!({"unschedulable": true}),
            9 => json!({"taints": [{"key": "team", "value": "x", "effect": "NoSchedule"}]}),
            _ => json!({}),
        };
        add_node(&mut core, &format!("node-{i:04}"), node);
    }
    let mut log = Vec::new();
    let mut now = Duration::ZERO;
    for i in 0..6000 {
        now += Duration::from_millis(10);
        let mut spec = asking(["100m", "500m", "1", "2"][world.below(4) as usize]);
        match world.below(5) {
            0 => spec["nodeSelector"] = json!({"size": "2"}),
            1 => spec["tolerations"] = json!([{"operator": "Exists"}]),
            2 => spec["priority"] = json!(world.below(3)),
            _ => {}
        }
        add_pod(&mut core, &format!("pod-{i:05}"), spec, now);
        if i % 7 == 0 {
            let gone = format!("pod-{:05}", world.below(i + 1));
            core.set_pod(&key(&gone), None, now);
        }
        while let Some(decision) = core.schedule(now, |bound| world.below(bound)) {
            if let Decision::Bind { pod, node } = &decision {
                log.push(format!("{} {node}", pod.key));
                core.bound(pod);
            } else if let Decision::Unschedulable { pod, message, .. } = decision {
                log.push(format!("{} {message}", pod.key));
            }
        }
    }
    for slot in core.snapshot().order() {
        let node = core.snapshot().node(*slot);
        let sum: i64 = node.pods().values().map(|pod| pod.shape.requests.milli_cpu).sum();
        assert_eq!(node.requested.milli_cpu, sum, "{}", node.name);
        assert!(sum <= node.allocatable.milli_cpu && node.pods().len() as i64 <= node.allocatable_pods);
        let tolerant = |pod: &Arc<PodInfo>| !pod.shape.tolerations.is_empty();
        let guarded = node.unschedulable || !node.hard_taints.is_empty();
        assert!(!guarded || node.pods().values().all(tolerant), "{}", node.name);
    }
    log
}

#[test]
fn the_same_seed_gives_the_same_decisions() {
    let (first, second) = (run(1), run(1));
    assert!(first == second);
    let bound = first.iter().filter(|line| line.contains(" node-")).count();
    assert!(bound > 4000 && first.len() > bound, "{bound} of {}", first.len());
    assert!(first != run(2), "ties are drawn");
}
