//! What is planned for which ReplicaSet and pods.

use super::*;
use crate::testing::{object, plan_of, plan_with_failure};
use k8s_object::{ApiError, NamespacedName};

const NOW_MINUS_HOUR: &str = "2025-12-31T23:00:00Z";

fn set(replicas: i64, extra: Value) -> Arc<Object> {
    let mut value = json!({
        "metadata": {"generation": 1},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}},
        },
        "status": {"observedGeneration": 1, "replicas": replicas, "fullyLabeledReplicas": replicas},
    });
    crate::json::merge(&mut value, &extra);
    object(&REPLICA_SETS, "a", "web", value)
}

fn pod(name: &str, extra: Value) -> Arc<Object> {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "replicasets-a-web", "controller": true});
    let mut value = json!({
        "metadata": {"labels": {"app": "web"}, "ownerReferences": [owner], "creationTimestamp": NOW_MINUS_HOUR},
    });
    crate::json::merge(&mut value, &extra);
    object(&PODS, "a", name, value)
}

fn ready(since: &str) -> Value {
    json!({
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]},
    })
}

fn actions(objects: &[Arc<Object>]) -> Vec<String> {
    plan_of(&CONTROLLER, objects, &Key::new(REPLICA_SETS, "a", "web")).actions
}

#[test]
fn pods_are_created_and_deleted_to_the_number_asked_for() {
    let create = "create pods a/web-";
    let finished = || pod("f", json!({"status": {"phase": "Failed"}}));
    let going = || pod("g", json!({"metadata": {"deletionTimestamp": NOW_MINUS_HOUR}}));
    let status = r#"update replicasets/status a/web {"status":{"availableReplicas":null,"conditions":null,"fullyLabeledReplicas":1,"observedGeneration":1,"readyReplicas":null,"replicas":1}}"#;
    assert_eq!(actions(&[set(2, json!({})), pod("a", json!({})), finished(), going()]), [create, status]);
    assert_eq!(actions(&[set(1, json!({})), pod("a", json!({}))]), [""; 0]);
    assert_eq!(actions(&[set(0, json!({})), pod("a", json!({}))])[0], "delete pods a/a");
    let terminating = json!({"metadata": {"deletionTimestamp": NOW_MINUS_HOUR, "finalizers": ["x"]}});
    assert_eq!(actions(&[set(1, terminating), pod("a", json!({}))]), [""; 0]);
    let many = actions(&[set(2000, json!({}))]);
    assert_eq!(many.iter().filter(|action| *action == create).count(), BURST);
}

#[test]
fn pods_that_are_going_are_counted_from_1_35() {
    let going = |name: &str, extra: Value| {
        let mut value = json!({"metadata": {"deletionTimestamp": NOW_MINUS_HOUR}});
        crate::json::merge(&mut value, &extra);
        pod(name, value)
    };
    let objects = |status: Value| {
        let ended = json!({"status": {"phase": "Succeeded"}});
        [set(1, status), pod("a", json!({})), going("b", json!({})), going("c", ended)]
    };
    for (minor, count) in [(34, None), (35, Some(1))] {
        let options = crate::Options { minor, ..crate::testing::options() };
        let key = Key::new(REPLICA_SETS, "a", "web");
        let told = |status| crate::testing::plan_with(&options, &CONTROLLER, &objects(status), &key).actions;
        let before = told(json!({}));
        let wrote = before.iter().any(|action| action.contains(r#""replicas":1,"terminatingReplicas":1}"#));
        assert_eq!(wrote, count.is_some(), "{before:?}");
        assert_eq!(told(json!({"status": {"terminatingReplicas": count}})), [""; 0]);
        let other = told(json!({"status": {"terminatingReplicas": 7}}));
        let change = format!(r#""terminatingReplicas":{}}}"#, json!(count));
        assert!(other.iter().any(|action| action.contains(&change)), "{other:?}");
    }
}

#[test]
fn pods_are_adopted_and_released_by_their_labels() {
    let orphan = pod("o", json!({"metadata": {"ownerReferences": null}}));
    let plan = actions(&[set(1, json!({})), orphan]);
    assert_eq!(plan.len(), 1);
    assert!(plan[0].starts_with(
        r#"patch pods a/o {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true"#
    ));
    // One that names the set as an owner already gets no second reference.
    let known = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "m", "uid": "m"}, {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "replicasets-a-web"}]);
    let plan = actions(&[set(1, json!({})), pod("o", json!({"metadata": {"ownerReferences": known}}))]);
    assert_eq!(
        plan,
        [
            r#"patch pods a/o {"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"m","uid":"m"},{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web","uid":"replicasets-a-web"}]}}"#
        ]
    );
    let stray = pod("s", json!({"metadata": {"labels": {"app": "debug"}}}));
    let plan = actions(&[set(1, json!({})), stray]);
    assert_eq!(plan[..2], [r#"patch pods a/s {"metadata":{"ownerReferences":[]}}"#, "create pods a/web-"]);
}

#[test]
fn the_status_counts_ready_and_available_pods() {
    let objects = [
        set(3, json!({"spec": {"minReadySeconds": 60}})),
        pod("a", ready("2025-12-31T23:00:00Z")),
        pod("b", ready("2025-12-31T23:59:30Z")),
        pod("c", json!({})),
    ];
    let plan = plan_of(&CONTROLLER, &objects, &Key::new(REPLICA_SETS, "a", "web"));
    let status = r#"update replicasets/status a/web {"status":{"availableReplicas":1,"conditions":null,"fullyLabeledReplicas":3,"observedGeneration":1,"readyReplicas":2,"replicas":3}}"#;
    assert_eq!(plan.actions, [status]);
    assert_eq!(plan.requeue_after, Some(Duration::from_secs(30)), "when the second pod becomes available");
}

#[test]
fn a_failed_creation_becomes_a_condition_and_success_takes_it_away() {
    let failure = crate::Failure {
        verb: Verb::Create,
        resource: PODS,
        object: NamespacedName::new("a", ""),
        error: ApiError::forbidden("", "pods", "", "exceeded quota"),
    };
    let objects = [set(1, json!({"status": {"replicas": 0, "fullyLabeledReplicas": 0}}))];
    let plan = plan_with_failure(&CONTROLLER, &objects, &Key::new(REPLICA_SETS, "a", "web"), failure);
    assert_eq!(plan.actions.len(), 1, "nothing is tried while a failure is reported");
    assert!(plan.actions[0].contains(r#""message":"pods is forbidden: exceeded quota","reason":"FailedCreate","status":"True","type":"ReplicaFailure""#));
    let known = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "old"}]);
    let plan = actions(&[set(1, json!({"status": {"conditions": known}})), pod("a", json!({}))]);
    assert!(plan[0].contains(r#""conditions":null"#));
}

#[test]
fn pods_go_in_upstreams_order() {
    let cost = |cost: &str| {
        let mut pod = ready(NOW_MINUS_HOUR);
        pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] = json!(cost);
        pod
    };
    let on = |node: &str| {
        let mut pod = ready(NOW_MINUS_HOUR);
        pod["spec"]["nodeName"] = json!(node);
        pod
    };
    let restarted = || {
        let mut pod = ready(NOW_MINUS_HOUR);
        pod["status"]["containerStatuses"] = json!([{"name": "c", "restartCount": 3}]);
        pod
    };
    // The first of each pair goes before the second; names are in the other order so that they do not decide.
    let pairs = [
        ("unassigned before assigned", json!({}), json!({"spec": {"nodeName": "n1"}})),
        (
            "pending before running",
            json!({"spec": {"nodeName": "n1"}}),
            json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}),
        ),
        (
            "not ready before ready",
            json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}),
            ready(NOW_MINUS_HOUR),
        ),
        ("cheap before dear", cost("-5"), ready(NOW_MINUS_HOUR)),
        ("young before old", ready("2025-12-31T23:59:59Z"), ready(NOW_MINUS_HOUR)),
        ("restarted before stable", restarted(), ready(NOW_MINUS_HOUR)),
    ];
    for (name, first, second) in pairs {
        let plan = actions(&[set(1, json!({})), pod("z", first), pod("a", second)]);
        assert_eq!(plan[0], "delete pods a/z", "{name}");
    }
    let plan = actions(&[set(2, json!({})), pod("z1", on("n2")), pod("z2", on("n2")), pod("a", on("n1"))]);
    assert_eq!(plan[0], "delete pods a/z1", "of the crowded node");
}
