//! What is counted for which budget and pods. Time is 2026-01-01T00:00:00Z.

use super::*;
use crate::testing::{Planned, object, plan_of};

fn budget(spec: Value, status: Value) -> Arc<Object> {
    let mut own = json!({"selector": {"matchLabels": {"app": "web"}}});
    crate::json::merge(&mut own, &spec);
    object(&BUDGETS, "a", "b", json!({"metadata": {"generation": 2}, "spec": own, "status": status}))
}

fn pod(name: &str, owner: &str, ready: bool, extra: Value) -> Arc<Object> {
    let mut value = json!({
        "metadata": {"labels": {"app": "web"}},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    });
    if !owner.is_empty() {
        value["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": format!("replicasets-a-{owner}"),
            "controller": true,
        }]);
    }
    crate::json::merge(&mut value, &extra);
    object(&PODS, "a", name, value)
}

fn set(name: &str, replicas: i64) -> Arc<Object> {
    object(&REPLICA_SETS, "a", name, json!({"spec": {"replicas": replicas}}))
}

fn planned(objects: &[Arc<Object>]) -> Planned {
    plan_of(&CONTROLLER, objects, &Key::new(BUDGETS, "a", "b"))
}

/// The status that the only update of a plan writes.
fn written(plan: &Planned) -> Value {
    let prefix = "update poddisruptionbudgets/status a/b ";
    let changes: Vec<&str> = plan.actions.iter().filter_map(|action| action.strip_prefix(prefix)).collect();
    assert_eq!(changes.len(), 1, "{plan:?}");
    serde_json::from_str::<Value>(changes[0]).unwrap()["status"].clone()
}

fn counts(status: &Value) -> [i64; 4] {
    ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"].map(|key| status[key].as_i64().unwrap())
}

#[test]
fn every_kind_of_set_says_how_many_pods_there_should_be() {
    for (resource, kind) in &SETS {
        let owner = json!([{"apiVersion": resource.api_version(), "kind": kind, "name": "web", "uid": format!("{}-a-web", resource.resource), "controller": true}]);
        let own = pod("p", "", true, json!({"metadata": {"ownerReferences": owner}}));
        let set = object(resource, "a", "web", json!({"spec": {"replicas": 4}}));
        let plan = planned(&[budget(json!({"maxUnavailable": 1}), json!({})), own, set]);
        assert_eq!(counts(&written(&plan)), [4, 3, 1, 0], "{kind}");
    }
}

#[test]
fn budgets_count_their_pods() {
    // Of `web`, 5 are asked for, and 4 of the 5 pods are ready; `c` is ready and nobody's.
    let mut pods: Vec<_> = (0..5).map(|n| pod(&format!("p{n}"), "web", n != 0, json!({}))).collect();
    pods.push(set("web", 5));
    let loose = [pod("c", "", true, json!({})), pod("other", "", true, json!({"metadata": {"labels": {"app": "db"}}}))];
    let all: Vec<_> = pods.iter().chain(&loose).cloned().collect();
    let cases = [
        ("a number that must stay", json!({"minAvailable": 3}), &pods, [5, 3, 4, 1]),
        ("a number counts pods that nobody controls", json!({"minAvailable": 3}), &all, [6, 3, 5, 2]),
        ("a share that must stay is rounded up", json!({"minAvailable": "50%"}), &pods, [5, 3, 4, 1]),
        ("a share does not expect pods that nobody controls", json!({"minAvailable": "50%"}), &all, [5, 3, 5, 2]),
        ("a number that may go", json!({"maxUnavailable": 2}), &pods, [5, 3, 4, 1]),
        ("a share that may go is rounded up", json!({"maxUnavailable": "30%"}), &pods, [5, 3, 4, 1]),
        ("more may go than there are", json!({"maxUnavailable": 9}), &pods, [5, 0, 4, 4]),
        ("nothing may go", json!({"maxUnavailable": 0}), &pods, [5, 5, 4, 0]),
        ("more must stay than there are", json!({"minAvailable": 9}), &pods, [5, 9, 4, 0]),
        ("neither number", json!({}), &pods, [0, 0, 4, 0]),
        (
            "an empty selector selects all",
            json!({"minAvailable": 3, "selector": {"matchLabels": null}}),
            &all,
            [7, 3, 6, 3],
        ),
        ("no selector selects none", json!({"minAvailable": 0, "selector": null}), &all, [0, 0, 0, 0]),
    ];
    for (name, spec, objects, expected) in cases {
        let mut objects = objects.clone();
        objects.push(budget(spec, json!({})));
        let status = written(&planned(&objects));
        assert_eq!(counts(&status), expected, "{name}");
        let (allowed, reason) =
            if expected[3] > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        let condition = json!([{
            "type": "DisruptionAllowed", "status": allowed, "reason": reason, "message": "", "observedGeneration": 2,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
        assert_eq!(status["conditions"], condition, "{name}");
        assert_eq!(status["observedGeneration"], 2, "{name}");
    }
}

#[test]
fn a_deployment_counts_in_place_of_its_replica_sets() {
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "deployments-a-web", "controller": true}]);
    let of_web = |name, replicas| {
        object(
            &REPLICA_SETS,
            "a",
            name,
            json!({"metadata": {"ownerReferences": owner}, "spec": {"replicas": replicas}}),
        )
    };
    let objects = [
        object(&DEPLOYMENTS, "a", "web", json!({"spec": {"replicas": 4}})),
        of_web("old", 3),
        of_web("new", 2),
        pod("o", "old", true, json!({})),
        pod("n", "new", true, json!({})),
        budget(json!({"maxUnavailable": 1}), json!({})),
    ];
    assert_eq!(counts(&written(&planned(&objects))), [4, 3, 2, 0]);
}

#[test]
fn other_owners_are_asked_for_their_scale() {
    // A ConfigMap stands for a custom resource.
    let owned_by = |version: &str, kind: &str, uid: &str| {
        let owner = json!([{"apiVersion": version, "kind": kind, "name": "web", "uid": uid, "controller": true}]);
        pod("p", "", true, json!({"metadata": {"ownerReferences": owner}}))
    };
    let web = object(&k8s_object::resources::CONFIG_MAPS, "a", "web", json!({"spec": {"replicas": 4}}));
    let mut options = crate::testing::options();
    for info in &mut options.resources {
        info.scale = info.kind == "ConfigMap";
    }
    let cases = [
        (owned_by("v1", "ConfigMap", "configmaps-a-web"), Ok([4, 3, 1, 0])),
        (owned_by("v1", "ConfigMap", "another"), Err(r#"found no controllers for pod "p""#)),
        (owned_by("v1", "Node", "web"), Err("nodes does not implement the scale subresource")),
        (owned_by("batch/v1", "Job", "web"), Err("jobs.batch does not implement the scale subresource")),
        (owned_by("x.io/v1", "Web", "web"), Err(r#"no matches for kind "Web" in version "x.io/v1""#)),
        (owned_by("x.io/v1", "StatefulSet", "web"), Err(r#"no matches for kind "StatefulSet" in version "x.io/v1""#)),
    ];
    for (pod, expected) in cases {
        let objects = [pod, web.clone(), budget(json!({"maxUnavailable": 1}), json!({}))];
        let plan = crate::testing::plan_with(&options, &CONTROLLER, &objects, &Key::new(BUDGETS, "a", "b"));
        let status = written(&plan);
        match expected {
            Ok(expected) => assert_eq!(counts(&status), expected),
            Err(problem) => assert_eq!(status["conditions"][0]["message"], problem),
        }
    }
}

#[test]
fn pods_that_nobody_controls_are_told_of_where_they_count_for_nothing() {
    let selector = json!({"matchExpressions": [{"key": "k", "operator": "NotIn", "values": ["x", "y"]}]});
    let cases = [
        (json!({"minAvailable": 1}), false),
        (json!({"maxUnavailable": 1}), true),
        (json!({"minAvailable": "50%", "selector": selector}), true),
    ];
    for (spec, told) in cases {
        let plan = planned(&[pod("p", "", true, json!({})), budget(spec.clone(), json!({}))]);
        let events: Vec<&String> = plan.actions.iter().filter(|action| action.contains(" UnmanagedPods: ")).collect();
        assert_eq!(!events.is_empty(), told, "{spec}");
        let selector = match spec.get("selector") {
            Some(_) => {
                "{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:NotIn,Values:[x y],},},}"
            }
            None => "{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},}",
        };
        for event in events {
            assert!(
                event.contains(&format!("(selector: &LabelSelector{selector}) were found to be unmanaged")),
                "{event}"
            );
        }
    }
}

#[test]
fn each_replica_set_counts_once_and_the_missing_pods_of_it_too() {
    let objects = [
        set("old", 1),
        set("new", 4),
        pod("o", "old", true, json!({})),
        pod("n0", "new", true, json!({})),
        pod("n1", "new", true, json!({})),
        budget(json!({"maxUnavailable": 2}), json!({})),
    ];
    assert_eq!(counts(&written(&planned(&objects))), [5, 3, 3, 0]);
}

#[test]
fn evicted_pods_are_not_healthy_until_they_are_overdue() {
    let evicted = json!({
        "fresh": "2025-12-31T23:59:00Z", "gone": "2025-12-31T23:59:30Z", "going": "2025-12-31T23:59:30Z",
        "overdue": "2025-12-31T23:58:00Z",
    });
    let going = json!({"metadata": {"deletionTimestamp": "2025-12-31T23:59:30Z"}});
    let objects = [
        pod("fresh", "", true, json!({})),
        pod("going", "", true, going),
        pod("overdue", "", true, json!({})),
        pod("untouched", "", true, json!({})),
        budget(json!({"minAvailable": 1}), json!({"disruptedPods": evicted})),
    ];
    let plan = planned(&objects);
    let status = written(&plan);
    assert_eq!(counts(&status), [4, 1, 2, 1]);
    let kept = json!({"fresh": "2025-12-31T23:59:00Z", "gone": null, "going": null, "overdue": null});
    assert_eq!(status["disruptedPods"], kept, "null takes a name out");
    assert_eq!(plan.actions[0], "event a/overdue NotDeleted: Pod was expected by PDB a/b to be deleted but it wasn't");
    assert_eq!(plan.requeue_after, Some(Duration::from_secs(60)), "when `fresh` is overdue");
    let last = [budget(json!({"minAvailable": 1}), json!({"disruptedPods": {"gone": "2025-12-31T23:59:30Z"}}))];
    assert_eq!(written(&planned(&last))["disruptedPods"], Value::Null);
}

fn status(observed_generation: i64, allowed: &str, reason: &str) -> Value {
    json!({
        "currentHealthy": 1, "desiredHealthy": 0, "disruptionsAllowed": 1, "expectedPods": 1,
        "observedGeneration": observed_generation,
        "conditions": [{
            "type": "DisruptionAllowed", "status": allowed, "reason": reason, "message": "",
            "lastTransitionTime": "2025-01-01T00:00:00Z",
        }],
    })
}

#[test]
fn a_status_is_written_only_when_it_changes_and_keeps_the_time_of_its_condition() {
    let (then, now) = ("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    let cases = [
        ("all is said", status(2, "True", "SufficientPods"), None),
        ("another generation", status(1, "True", "SufficientPods"), Some(then)),
        ("another reason", status(2, "True", "SyncFailed"), Some(then)),
        ("another status", status(2, "False", "InsufficientPods"), Some(now)),
    ];
    for (name, status, transition) in cases {
        let plan = planned(&[pod("p", "", true, json!({})), budget(json!({"minAvailable": 0}), status)]);
        match transition {
            None => assert_eq!(plan.actions, [""; 0], "{name}"),
            Some(time) => assert_eq!(written(&plan)["conditions"][0]["lastTransitionTime"], time, "{name}"),
        }
    }
}

#[test]
fn what_cannot_be_counted_allows_nothing() {
    let problem = r#"found no controllers for pod "p""#;
    let stray = pod("p", "gone", true, json!({}));
    let spec = json!({"maxUnavailable": 1});
    let plan = planned(&[stray.clone(), budget(spec.clone(), status(2, "True", "SufficientPods"))]);
    let reported = written(&plan);
    assert_eq!(counts(&reported), [1, 0, 1, 0]);
    assert_eq!(reported["conditions"][0]["reason"], "SyncFailed");
    assert_eq!(reported["conditions"][0]["message"], problem);
    let event = format!(
        "event a/b CalculateExpectedPodCountFailed: Failed to calculate the number of expected pods: {problem}"
    );
    assert_eq!(plan.actions[0], event);
    let again = planned(&[stray, budget(spec, reported)]);
    assert_eq!(again.actions, [""; 0], "a failure is told once");
}

#[test]
fn a_budget_without_pods_says_so_once() {
    let plan = planned(&[budget(json!({"minAvailable": 0}), json!({}))]);
    assert_eq!(plan.actions[0], "event a/b NoPods: No matching pods found");
    let again = planned(&[budget(json!({"minAvailable": 0}), written(&plan))]);
    assert_eq!(again.actions, [""; 0]);
}
