//! Whom a pod takes the place of, decided by the whole core.

use std::time::Duration;

use k8s_object::{NamespacedName, Object};
use serde_json::{Value, json};

use crate::core::{Core, CoreOptions, Decision, Nominate};
use crate::plugins::testing::{node_object, pod_object};
use crate::pod_info::PodInfo;
use std::sync::Arc;

const SECOND: Duration = Duration::from_secs(1);

fn key(name: &str) -> NamespacedName {
    NamespacedName::new("default", name)
}

/// A cluster to decide about.
struct Scene(Core);

/// A pod with a node: name, node, thousandths of a CPU, priority, minute of its start.
type Running = (&'static str, &'static str, u32, i32, u32);

impl Scene {
    /// With nodes `a`, `b` … of 2 CPUs, each in a zone of its own.
    fn new(nodes: &[&str]) -> Scene {
        let mut scene = Scene(Core::new(CoreOptions {
            scheduler_name: "default-scheduler".into(),
            percentage_of_nodes_to_score: None,
            minor: 34,
        }));
        nodes.iter().for_each(|name| scene.node(name, "2", "110"));
        scene
    }

    fn node(&mut self, name: &str, cpu: &str, pods: &str) {
        let node = node_object(json!({
            "metadata": {"name": name, "labels": {"zone": name}},
            "status": {"allocatable": {"cpu": cpu, "memory": "64Gi", "pods": pods}},
        }));
        self.0.set_node(name, Some(&Arc::new(node)), Duration::ZERO);
    }

    fn running(mut self, pods: &[Running]) -> Scene {
        for (name, node, cpu, priority, minute) in pods {
            let mut spec = asking(*cpu, *priority);
            spec["nodeName"] = json!(node);
            let mut value = pod_object(name, spec, json!({"app": name.trim_end_matches(char::is_numeric)})).value();
            value["status"] = json!({"startTime": format!("2026-01-01T00:{minute:02}:00Z")});
            self.set(&value, Duration::ZERO);
        }
        self
    }

    fn budget(mut self, app: &str, allowed: i64) -> Scene {
        let value = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"namespace": "default", "name": app},
            "spec": {"selector": {"matchLabels": {"app": app}}}, "status": {"disruptionsAllowed": allowed},
        });
        self.0.set_budget(&key(app), Some(&Object::from_value(&value).unwrap()));
        self
    }

    fn set(&mut self, value: &Value, now: Duration) {
        let object = Object::from_value(value).unwrap();
        self.0.set_pod(&object.key(), Some(&object), now);
    }

    fn pod(&mut self, name: &str, spec: Value, now: Duration) {
        self.set(&pod_object(name, spec, json!({"app": name})).value(), now);
    }

    /// What is deleted gracefully stays for a while, and says whose doing it is.
    fn terminate(&mut self, name: &str, node: &str, cpu: u32, priority: i32, now: Duration) {
        let mut spec = asking(cpu, priority);
        spec["nodeName"] = json!(node);
        let mut value = pod_object(name, spec, json!({"app": name})).value();
        value["metadata"]["deletionTimestamp"] = json!("2026-01-01T01:00:00Z");
        let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"});
        value["status"] = json!({"conditions": [condition]});
        self.set(&value, now);
    }

    fn gone(&mut self, name: &str, now: Duration) {
        self.0.set_pod(&key(name), None, now);
    }

    /// The next decision in short: `pod -> node`, `pod takes node from victims`, or `pod: why not`.
    fn decide(&mut self, now: Duration) -> Option<String> {
        let decision = self.0.schedule(now, |_| 0)?;
        Some(match decision {
            Decision::Bind { pod, node } => format!("{} -> {node}", pod.key.name),
            Decision::Unschedulable { pod, preemption: Some(preemption), nominate, .. } => {
                assert_eq!(nominate, Nominate::Node(preemption.node.clone()));
                let names =
                    |pods: &[Arc<PodInfo>]| pods.iter().map(|pod| pod.key.name.clone()).collect::<Vec<_>>().join(" ");
                let mut text =
                    format!("{} takes {} from {}", pod.key.name, preemption.node, names(&preemption.victims));
                if !preemption.displaced.is_empty() {
                    text.push_str(&format!(" before {}", names(&preemption.displaced)));
                }
                text
            }
            Decision::Unschedulable { pod, message, .. } => {
                let why = message.split_once("preemption: ").map_or(&*message, |(_, why)| why);
                format!("{}: {why}", pod.key.name)
            }
        })
    }

    /// Everybody whom the last decision told to go has been told.
    fn told(&mut self, name: &str, now: Duration) {
        let pod = PodInfo::new(&pod_object(name, json!({}), json!({})), &Default::default()).unwrap();
        self.0.preemption_ends(&pod, now);
        self.0.preemption_ended(&pod, false, now);
    }
}

fn asking(milli_cpu: u32, priority: i32) -> Value {
    json!({"priority": priority, "containers": [
        {"name": "c", "resources": {"requests": {"cpu": format!("{milli_cpu}m")}}}]})
}

fn check(name: &str, mut scene: Scene, spec: Value, expected: &str) {
    scene.pod("new", spec, Duration::ZERO);
    assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some(&*format!("new{expected}")), "{name}");
}

#[test]
fn the_least_is_taken() {
    let one = |pods: &[Running]| Scene::new(&["a"]).running(pods);
    let two = |pods: &[Running]| Scene::new(&["a", "b"]).running(pods);
    let cases = [
        ("only what is needed", one(&[("x", "a", 1000, 5, 0), ("y", "a", 1000, 3, 0)]), " takes a from y"),
        ("the older stays", one(&[("x", "a", 1000, 5, 9), ("y", "a", 1000, 5, 8)]), " takes a from x"),
        (
            "all if need be",
            one(&[("x", "a", 600, 1, 0), ("y", "a", 600, 2, 0), ("z", "a", 800, 9, 0)]),
            " takes a from y x",
        ),
        (
            "a small one of higher priority stays",
            one(&[("x", "a", 1500, 5, 0), ("y", "a", 500, 9, 0)]),
            " takes a from x",
        ),
        (
            "nobody of the same priority",
            one(&[("x", "a", 2000, 10, 0)]),
            ": 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        ),
        (
            "others on another node",
            two(&[("x", "a", 2000, 10, 0), ("y", "b", 500, 1, 0), ("z", "b", 1500, 10, 0)]),
            ": 0/2 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod.",
        ),
        ("the lowest highest priority", two(&[("x", "a", 2000, 5, 0), ("y", "b", 2000, 4, 0)]), " takes b from y"),
        (
            "the fewest",
            two(&[("x1", "a", 700, 0, 0), ("x2", "a", 700, 0, 0), ("x3", "a", 600, 0, 0), ("y", "b", 2000, 0, 0)]),
            " takes b from y",
        ),
        (
            "negative priorities add up too",
            two(&[("x1", "a", 700, -2, 0), ("x2", "a", 700, -2, 0), ("x3", "a", 600, -2, 0), ("y", "b", 2000, -2, 0)]),
            " takes b from y",
        ),
        ("the latest start", two(&[("x", "a", 2000, 0, 4), ("y", "b", 2000, 0, 5)]), " takes b from y"),
        ("the first of equals", two(&[("x", "a", 2000, 0, 4), ("y", "b", 2000, 0, 4)]), " takes a from x"),
        (
            "a budget weighs more than priority",
            two(&[("x", "a", 2000, 0, 0), ("y", "b", 2000, 9, 0)]).budget("x", 0),
            " takes b from y",
        ),
        (
            "a budget with room does not count",
            two(&[("x", "a", 2000, 0, 0), ("y", "b", 2000, 9, 0)]).budget("x", 1),
            " takes a from x",
        ),
        (
            "budgets are broken if need be",
            two(&[("x1", "a", 2000, 0, 0), ("x2", "b", 2000, 9, 0)]).budget("x", 0),
            " takes a from x1",
        ),
        (
            "those with a budget are spared first",
            one(&[("x", "a", 1000, 0, 0), ("y", "a", 1000, 9, 0)]).budget("x", 0),
            " takes a from y",
        ),
    ];
    for (name, scene, expected) in cases {
        check(name, scene, asking(1000, 10), expected);
    }
    let pods: [Running; 4] =
        [("x", "a", 1000, 5, 0), ("x2", "a", 1000, 3, 0), ("y", "b", 1000, 5, 0), ("y2", "b", 1000, 2, 0)];
    check("the lowest sum", two(&pods), asking(2000, 10), " takes b from y y2");
}

#[test]
fn every_plugin_has_its_say() {
    let full = || Scene::new(&["a"]).running(&[("x", "a", 2000, 0, 0)]);
    let near = |kind: &str, app: &str| {
        json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}}]}})
    };
    let with = |mut spec: Value, field: &str, value: Value| {
        spec[field] = value;
        spec
    };
    let port = || json!([{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]);
    let in_vain = ": 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";

    check("what never fits", full(), asking(3000, 10), in_vain);
    check("a selector", full(), with(asking(1000, 10), "nodeSelector", json!({"zone": "b"})), in_vain);
    check("company that is not there", full(), with(asking(0, 10), "affinity", near("podAffinity", "y")), in_vain);
    let company = with(asking(1000, 10), "affinity", near("podAffinity", "x"));
    check(
        "company that would have to go",
        full(),
        company,
        ": 0/1 nodes are available: 1 node(s) didn't match pod affinity rules.",
    );
    let away = with(asking(0, 10), "affinity", near("podAntiAffinity", "x"));
    check("unwanted company", full(), away.clone(), " takes a from x");
    let mixed = Scene::new(&["a"]).running(&[("x", "a", 500, 0, 0), ("y", "a", 500, 0, 0), ("x2", "a", 500, 0, 0)]);
    check("all of the unwanted company, and nobody else", mixed, away, " takes a from x x2");

    let mut shy = Scene::new(&["a"]);
    let mut spec = with(asking(500, 0), "affinity", near("podAntiAffinity", "new"));
    spec["nodeName"] = json!("a");
    shy.pod("shy", spec, Duration::ZERO);
    check("who does not want it near", shy, asking(500, 10), " takes a from shy");

    let mut ports = Scene::new(&["a"]).running(&[("x", "a", 500, 0, 0)]);
    ports.pod("server", json!({"nodeName": "a", "priority": 1, "containers": port()}), Duration::ZERO);
    check("a port", ports, json!({"priority": 10, "containers": port()}), " takes a from server");

    let mut small = Scene::new(&[]);
    small.node("a", "8", "2");
    let small = small.running(&[("x", "a", 1, 3, 0), ("y", "a", 1, 2, 0)]);
    check("the number of pods", small, asking(1, 10), " takes a from y");

    let spread = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "new"}}}]);
    let crowd = |scene: &mut Scene, name: &str, node: &str, priority: i32| {
        let mut value =
            pod_object(name, json!({"nodeName": node, "priority": priority}), json!({"app": "new"})).value();
        value["status"] = json!({"startTime": "2026-01-01T00:00:00Z"});
        scene.set(&value, Duration::ZERO);
    };
    let mut skewed = Scene::new(&["a", "b"]).running(&[("x", "b", 2000, 20, 0)]);
    crowd(&mut skewed, "first", "a", 0);
    crowd(&mut skewed, "second", "a", 1);
    check("a spread", skewed, with(asking(100, 10), "topologySpreadConstraints", spread), " takes a from second first");
}

#[test]
fn room_that_is_made_is_kept_for_whom_it_is_made() {
    let cases: [(i32, u32, &str); 4] = [
        (5, 1000, "late: 0/1 nodes are available: 1 No preemption victims found for incoming pod."),
        (10, 1000, "late: 0/1 nodes are available: 1 No preemption victims found for incoming pod."),
        (10, 500, "late -> a"),
        (20, 1000, "late -> a"),
    ];
    for (priority, cpu, expected) in cases {
        let mut scene = Scene::new(&["a"]).running(&[("x", "a", 1500, 5, 0), ("y", "a", 500, 50, 0)]);
        scene.pod("new", asking(1000, 10), Duration::ZERO);
        assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some("new takes a from x"));
        scene.told("new", Duration::ZERO);
        scene.gone("x", Duration::ZERO);
        scene.pod("late", asking(cpu, priority), Duration::ZERO);
        assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some(expected), "{priority} {cpu}");
        if priority <= 10 {
            assert_eq!(scene.decide(2 * SECOND).as_deref(), Some("new -> a"), "{priority} {cpu}");
        }
    }
}

#[test]
fn who_has_made_room_waits_for_it() {
    let mut scene = Scene::new(&["a", "b"]).running(&[("x", "a", 2000, 5, 0), ("y", "b", 2000, 5, 0)]);
    scene.pod("new", asking(2000, 10), Duration::ZERO);
    assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some("new takes a from x"));
    assert_eq!(scene.decide(10 * SECOND), None, "nothing has happened");
    // A node that it would fit on: not while others are being told.
    scene.node("c", "1", "110");
    scene.node("c", "2", "110");
    assert_eq!(scene.decide(10 * SECOND), None);
    scene.told("new", 10 * SECOND);
    assert_eq!(scene.decide(10 * SECOND).as_deref(), Some("new -> c"), "but then it is not forgotten");
}

#[test]
fn nobody_preempts_twice_while_victims_leave() {
    let mut scene = Scene::new(&["a", "b"]).running(&[("x", "a", 2000, 5, 0), ("y", "b", 2000, 5, 0)]);
    scene.pod("new", asking(2000, 10), Duration::ZERO);
    assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some("new takes a from x"));
    scene.told("new", Duration::ZERO);
    scene.terminate("x", "a", 2000, 5, SECOND);
    // Its status says so by now, and it is tried again because it has changed.
    let mut value = pod_object("new", asking(2000, 10), json!({"app": "new", "changed": "yes"})).value();
    value["status"] = json!({"nominatedNodeName": "a"});
    scene.set(&value, 10 * SECOND);
    let leaving = "new: not eligible due to a terminating pod on the nominated node.";
    assert_eq!(scene.decide(10 * SECOND).as_deref(), Some(leaving));
    scene.gone("x", 20 * SECOND);
    assert_eq!(scene.decide(20 * SECOND).as_deref(), Some("new -> a"));
}

#[test]
fn a_node_that_is_hopeless_by_now_is_given_up() {
    let mut scene = Scene::new(&["a", "b"]).running(&[("x", "a", 2000, 5, 0), ("y", "b", 2000, 5, 0)]);
    scene.pod("new", asking(2000, 10), Duration::ZERO);
    assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some("new takes a from x"));
    scene.told("new", Duration::ZERO);
    scene.terminate("x", "a", 2000, 5, SECOND);
    scene.node("a", "1", "110");
    scene.pod("new", asking(2000, 11), 10 * SECOND);
    assert_eq!(scene.decide(10 * SECOND).as_deref(), Some("new takes b from y"));
}

#[test]
fn a_higher_priority_takes_the_room_that_was_made() {
    let mut scene = Scene::new(&["a"]).running(&[("x", "a", 2000, 5, 0)]);
    scene.pod("new", asking(2000, 10), Duration::ZERO);
    assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some("new takes a from x"));
    scene.told("new", Duration::ZERO);
    scene.terminate("x", "a", 2000, 5, Duration::ZERO);
    scene.pod("higher", asking(2000, 20), Duration::ZERO);
    assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some("higher takes a from x before new"));
    scene.gone("x", 5 * SECOND);
    assert_eq!(scene.decide(5 * SECOND).as_deref(), Some("higher -> a"));
}

#[test]
fn who_loses_the_room_that_was_made_looks_again() {
    for told_before in [true, false] {
        let mut scene = Scene::new(&["a", "b"]).running(&[("x", "a", 2000, 5, 0), ("y", "b", 2000, 6, 0)]);
        scene.pod("new", asking(2000, 10), Duration::ZERO);
        assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some("new takes a from x"));
        if told_before {
            scene.told("new", Duration::ZERO);
        }
        scene.pod("higher", asking(2000, 20), Duration::ZERO);
        assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some("higher takes a from x before new"));
        if !told_before {
            scene.told("new", Duration::ZERO);
        }
        assert_eq!(scene.decide(5 * SECOND).as_deref(), Some("new takes b from y"), "{told_before}");
    }
}

#[test]
fn a_nomination_ends_when_its_room_went_to_another_or_with_its_node() {
    // Another of higher priority has taken the room when it is there, or the node has gone.
    for node_goes in [false, true] {
        let mut scene = Scene::new(&["a"]).running(&[("x", "a", 1000, 0, 0)]);
        scene.pod("medium", asking(2000, 5), Duration::ZERO);
        assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some("medium takes a from x"));
        scene.told("medium", Duration::ZERO);
        scene.terminate("x", "a", 1000, 0, Duration::ZERO);
        while scene.decide(Duration::ZERO).is_some() {}
        if node_goes {
            scene.0.set_node("a", None, SECOND);
        } else {
            scene.pod("high", asking(1000, 10), SECOND);
            assert_eq!(scene.decide(SECOND).as_deref(), Some("high -> a"));
            scene.gone("x", SECOND);
        }
        let Some(Decision::Unschedulable { pod, nominate, .. }) = scene.0.schedule(2 * SECOND, |_| 0) else {
            panic!("it is tried again: node goes {node_goes}");
        };
        assert_eq!((&*pod.key.name, nominate), ("medium", Nominate::Clear), "node goes {node_goes}");
    }
}

#[test]
fn when_a_nomination_ends_others_look_again() {
    let mut scene = Scene::new(&["a"]).running(&[("x", "a", 2000, 5, 0)]);
    scene.pod("new", asking(2000, 10), Duration::ZERO);
    assert_eq!(scene.decide(Duration::ZERO).as_deref(), Some("new takes a from x"));
    scene.told("new", Duration::ZERO);
    // Nothing but the nomination stands in its way once x has gone.
    scene.gone("x", Duration::ZERO);
    scene.pod("late", asking(2000, 5), Duration::ZERO);
    assert_eq!(
        scene.decide(Duration::ZERO).as_deref(),
        Some("late: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")
    );
    scene.gone("new", SECOND / 2);
    assert_eq!(scene.decide(5 * SECOND).as_deref(), Some("late -> a"));
}

#[test]
fn some_never_preempt() {
    let scene = || Scene::new(&["a"]).running(&[("x", "a", 2000, 0, 0)]);
    let mut never = asking(1000, 10);
    never["preemptionPolicy"] = json!("Never");
    check("never", scene(), never, ": not eligible due to preemptionPolicy=Never.");
    let mut yes = asking(1000, 10);
    yes["preemptionPolicy"] = json!("PreemptLowerPriority");
    check("otherwise", scene(), yes, " takes a from x");
}

#[test]
fn enough_nodes_are_tried_and_no_more() {
    // 300 nodes: 100 candidates, counted from the node that was drawn.
    let names: Vec<String> = (0..300).map(|i| format!("n{i:03}")).collect();
    let mut scene = Scene::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for (i, name) in names.iter().enumerate() {
        let mut spec = asking(2000, if (150..160).contains(&i) { 1 } else { 2 });
        spec["nodeName"] = json!(name);
        scene.pod(&format!("on-{name}"), spec, Duration::ZERO);
    }
    for (drawn, expected) in [(0, 2), (100, 1), (160, 2)] {
        scene.pod(&format!("new-{drawn}"), asking(1000, 10), Duration::ZERO);
        let decision = scene.0.schedule(Duration::ZERO, |bound| {
            assert_eq!(bound, 300);
            drawn
        });
        let Some(Decision::Unschedulable { preemption: Some(preemption), .. }) = decision else {
            panic!("{decision:?}")
        };
        assert_eq!(preemption.victims[0].shape.priority, expected, "{drawn}");
        scene.gone(&format!("new-{drawn}"), Duration::ZERO);
    }
}
