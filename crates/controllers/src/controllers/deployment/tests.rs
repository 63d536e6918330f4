//! What is planned for which Deployment and ReplicaSets. Time is 2026-01-01T00:00:00Z.

use super::*;
use crate::testing::{object, plan_bodies, plan_of, plan_with_failure};
use k8s_object::{ApiError, NamespacedName};

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn name(image: &str) -> String {
    format!("web-{}", template::hash(&template(image), None))
}

/// A deployment of image `b` with 10 replicas, surge 3, unavailable 2.
fn deployment(extra: Value) -> Arc<Object> {
    let mut value = json!({
        "metadata": {"generation": 2, "annotations": {"deployment.kubernetes.io/revision": "2", "note": "x"}},
        "spec": {
            "replicas": 10, "selector": {"matchLabels": {"app": "web"}}, "template": template("b"),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}},
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
        },
    });
    crate::json::merge(&mut value, &extra);
    object(&DEPLOYMENTS, "a", "web", value)
}

/// A set of an image: size, available pods, revision.
fn set(image: &str, size: i64, available: i64, revision: &str) -> Arc<Object> {
    set_with(image, size, available, revision, json!({}))
}

fn set_with(image: &str, size: i64, available: i64, revision: &str, extra: Value) -> Arc<Object> {
    let hash = template::hash(&template(image), None);
    let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "deployments-a-web", "controller": true});
    let mut value = json!({
        "metadata": {
            "labels": {"app": "web"}, "ownerReferences": [owner], "creationTimestamp": format!("2025-12-3{revision}T00:00:00Z"),
            "annotations": {
                revision::REVISION: revision, revision::DESIRED: "10", revision::MAX: "13", "note": "x",
            },
        },
        "spec": {"replicas": size, "selector": {"matchLabels": {"app": "web"}}, "template": template::labelled(&template(image), &hash)},
        "status": {"replicas": size, "readyReplicas": available, "availableReplicas": available},
    });
    crate::json::merge(&mut value, &extra);
    object(&REPLICA_SETS, "a", &name(image), value)
}

fn key() -> Key {
    Key::new(DEPLOYMENTS, "a", "web")
}

/// Sizes that are given to sets, in order.
fn sizes(objects: &[Arc<Object>]) -> Vec<(String, i64)> {
    let plan = plan_of(&CONTROLLER, objects, &key());
    let image =
        |action: &str| ["a", "b", "c"].into_iter().find(|image| action.contains(&name(image))).unwrap().to_owned();
    let size = |action: &str| -> i64 {
        let (_, size) = action.rsplit_once(r#""replicas":"#).unwrap();
        size.trim_end_matches('}').parse().unwrap()
    };
    let updates = plan
        .actions
        .iter()
        .filter(|action| action.starts_with("update replicasets") && action.contains(r#""replicas":"#));
    updates.map(|action| (image(action), size(action))).collect()
}

fn sized(sizes: &[(&str, i64)]) -> Vec<(String, i64)> {
    sizes.iter().map(|(image, size)| ((*image).to_owned(), *size)).collect()
}

/// The conditions that are written: type, status, reason.
fn conditions(plan: &crate::testing::Planned) -> Vec<String> {
    let status = plan.actions.iter().rev().find_map(|action| action.strip_prefix("update deployments/status a/web "));
    let status: Value = serde_json::from_str(status.unwrap_or("{}")).unwrap();
    let conditions = status["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    conditions.iter().map(|c| format!("{}={} {}", text(&c["type"]), text(&c["status"]), text(&c["reason"]))).collect()
}

#[test]
fn the_first_set_has_the_templates_hash_and_all_replicas() {
    let plan = plan_of(&CONTROLLER, &[deployment(json!({"metadata": {"annotations": null}}))], &key());
    assert_eq!(plan.actions[0], format!("create replicasets a/{}", name("b")));
    assert_eq!(
        plan.actions[1],
        format!("event a/web ScalingReplicaSet: Scaled up replica set {} from 0 to 10", name("b"))
    );
    assert_eq!(
        plan.actions[2],
        r#"update deployments a/web {"metadata":{"annotations":{"deployment.kubernetes.io/revision":"1"}}}"#
    );
    assert_eq!(
        conditions(&plan),
        ["Progressing=True NewReplicaSetCreated", "Available=False MinimumReplicasUnavailable"]
    );
    let body = &plan.bodies[0];
    let hash = template::hash(&template("b"), None);
    assert_eq!(body["spec"]["selector"]["matchLabels"], json!({"app": "web", "pod-template-hash": hash}));
    assert_eq!(body["spec"]["template"]["metadata"]["labels"], json!({"app": "web", "pod-template-hash": hash}));
    assert_eq!(body["metadata"]["annotations"][revision::MAX], "13");
    assert_eq!(body["metadata"]["ownerReferences"][0]["blockOwnerDeletion"], true);
}

#[test]
fn a_rollout_goes_by_surge_and_availability() {
    // Old size and availability, new size and availability, what happens.
    let cases = [
        ("surge for a new set", (10, 10), (0, 0), sized(&[("b", 3)])),
        ("wait for the surge, but use what may be unavailable", (10, 10), (3, 0), sized(&[("a", 8)])),
        ("grow into the room", (8, 8), (3, 0), sized(&[("b", 5)])),
        ("nothing to spare", (8, 8), (5, 0), sized(&[])),
        ("old goes as new comes", (8, 8), (5, 2), sized(&[("a", 6)])),
        ("the unavailable go first", (10, 5), (3, 3), sized(&[("a", 5)])),
        ("a status older than the size", (8, 10), (5, 3), sized(&[("a", 5)])),
        ("too few already", (2, 2), (10, 3), sized(&[])),
        ("the last ones", (2, 2), (10, 10), sized(&[("a", 0)])),
        ("done", (0, 0), (10, 10), sized(&[])),
    ];
    for (name, (old, old_available), (new, new_available), expected) in cases {
        let objects = [deployment(json!({})), set("a", old, old_available, "1"), set("b", new, new_available, "2")];
        assert_eq!(sizes(&objects), expected, "{name}");
    }
}

#[test]
fn recreate_waits_until_old_pods_are_gone() {
    let recreate = || deployment(json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}));
    assert_eq!(sizes(&[recreate(), set("a", 10, 10, "1")]), sized(&[("a", 0)]));
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name("a"), "uid": format!("replicasets-a-{}", name("a")), "controller": true});
    let pod = object(&PODS, "a", "p", json!({"metadata": {"ownerReferences": [owner]}}));
    let plan = plan_of(&CONTROLLER, &[recreate(), set("a", 0, 0, "1"), pod], &key());
    assert!(!plan.actions.iter().any(|action| action.contains("replicasets")), "{:?}", plan.actions);
    let bodies = plan_bodies(&CONTROLLER, &[recreate(), set("a", 0, 0, "1")], &key());
    assert_eq!(bodies[0]["spec"]["replicas"], 10);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_proportions() {
    let to = |replicas: i64| deployment(json!({"spec": {"replicas": replicas}}));
    let one = |size: i64| set("b", size, size, "2");
    assert_eq!(sizes(&[to(5), one(10)]), sized(&[("b", 5)]), "one set takes it all");
    // 13 pods for 10 replicas become 23 for 20: 8 grow to about 14, 5 to about 9.
    assert_eq!(sizes(&[to(20), set("a", 8, 8, "1"), set("b", 5, 5, "2")]), sized(&[("a", 14), ("b", 9)]));
    assert_eq!(sizes(&[to(0), set("a", 8, 8, "1"), set("b", 5, 5, "2")]), sized(&[("a", 0), ("b", 0)]));
    let paused = deployment(json!({"spec": {"paused": true, "replicas": 4}}));
    assert_eq!(sizes(&[paused.clone(), set("a", 10, 10, "1")]), sized(&[("a", 4)]));
    assert_eq!(
        plan_bodies(&CONTROLLER, &[paused, set("a", 10, 10, "1")], &key()),
        [] as [Value; 0],
        "no rollout while paused"
    );
}

#[test]
fn percentages_round_surge_up_and_unavailability_down() {
    let rolling = |replicas: i64, surge: Value, unavailable: Value| {
        deployment(
            json!({"spec": {"replicas": replicas, "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}),
        )
    };
    let old = |size: i64| {
        set_with("a", size, size, "1", json!({"metadata": {"annotations": {revision::DESIRED: size.to_string()}}}))
    };
    let cases = [
        (3, json!("25%"), json!("25%"), Some(1), sized(&[])),
        (10, json!("25%"), json!("25%"), Some(3), sized(&[])),
        (1, json!(0), json!(0), Some(0), sized(&[])),
    ];
    for (replicas, surge, unavailable, created, _) in cases {
        let bodies = plan_bodies(&CONTROLLER, &[rolling(replicas, surge, unavailable), old(replicas)], &key());
        assert_eq!(bodies[0]["spec"]["replicas"].as_i64(), created);
    }
    // Neither surge nor unavailability: one pod may be unavailable.
    let annotations = json!({"metadata": {"annotations": {revision::DESIRED: "1"}}});
    let objects = [rolling(1, json!(0), json!(0)), old(1), set_with("b", 0, 0, "2", annotations)];
    assert_eq!(sizes(&objects), sized(&[("a", 0)]));
}

#[test]
fn going_back_to_a_template_makes_its_set_the_newest_revision() {
    let history = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision-history": "1"}}});
    let objects = [deployment(json!({})), set("a", 10, 10, "4"), set_with("b", 0, 0, "3", history)];
    let plan = plan_of(&CONTROLLER, &objects, &key());
    let annotated = format!(
        r#"update replicasets a/{} {{"metadata":{{"annotations":{{"deployment.kubernetes.io/revision":"5","deployment.kubernetes.io/revision-history":"1,3"}}}}}}"#,
        name("b")
    );
    assert_eq!(plan.actions[0], annotated);
    assert_eq!(
        plan.actions[1],
        r#"update deployments a/web {"metadata":{"annotations":{"deployment.kubernetes.io/revision":"5"}}}"#
    );
}

#[test]
fn old_sets_beyond_the_limit_are_deleted_when_the_rollout_is_done() {
    let status = json!({"observedGeneration": 2, "replicas": 10, "updatedReplicas": 10, "readyReplicas": 10, "availableReplicas": 10});
    let done = deployment(json!({"spec": {"revisionHistoryLimit": 0}, "status": status}));
    let plan = plan_of(&CONTROLLER, &[done, set("a", 0, 0, "1"), set("b", 10, 10, "2")], &key());
    assert_eq!(plan.actions[0], format!("delete replicasets a/{}", name("a")));
    let going = deployment(json!({"spec": {"revisionHistoryLimit": 0}}));
    let plan = plan_of(&CONTROLLER, &[going, set("a", 0, 0, "1"), set("b", 10, 10, "2")], &key());
    assert!(!plan.actions.iter().any(|action| action.starts_with("delete")));
}

#[test]
fn conditions_tell_progress() {
    let progressing = |status: &str, reason: &str, updated: &str| json!([{"type": "Progressing", "status": status, "reason": reason, "lastUpdateTime": updated, "lastTransitionTime": updated}]);
    let ten = json!({"observedGeneration": 2, "replicas": 10, "updatedReplicas": 10, "readyReplicas": 8, "availableReplicas": 8, "unavailableReplicas": 2});
    let with = |conditions: Value| {
        let mut status = ten.clone();
        status["conditions"] = conditions;
        deployment(json!({"status": status}))
    };
    let recent = "2025-12-31T23:55:00Z";
    let cases = [
        (
            "progress",
            with(progressing("True", "NewReplicaSetCreated", recent)),
            9,
            "Progressing=True ReplicaSetUpdated",
        ),
        (
            "complete",
            with(progressing("True", "ReplicaSetUpdated", recent)),
            10,
            "Progressing=True NewReplicaSetAvailable",
        ),
        (
            "timed out",
            with(progressing("True", "ReplicaSetUpdated", "2025-12-31T23:00:00Z")),
            8,
            "Progressing=False ProgressDeadlineExceeded",
        ),
        ("too early", with(progressing("True", "ReplicaSetUpdated", recent)), 8, "Progressing=True ReplicaSetUpdated"),
    ];
    for (name, deployment, available, expected) in cases {
        let plan = plan_of(&CONTROLLER, &[deployment, set("b", 10, available, "2")], &key());
        let conditions = conditions(&plan);
        assert!(conditions.iter().any(|condition| condition == expected), "{name}: {conditions:?}");
        if name == "too early" {
            assert_eq!(plan.requeue_after, Some(Duration::from_secs(301)), "{name}");
        }
    }
    let paused = deployment(json!({"spec": {"paused": true}}));
    let plan = plan_of(&CONTROLLER, &[paused, set("b", 10, 10, "2")], &key());
    assert_eq!(conditions(&plan), ["Progressing=Unknown DeploymentPaused", "Available=True MinimumReplicasAvailable"]);
    let failing = json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]}});
    let plan = plan_of(&CONTROLLER, &[deployment(json!({})), set_with("b", 10, 0, "2", failing)], &key());
    assert!(conditions(&plan).iter().any(|condition| condition == "ReplicaFailure=True FailedCreate"));
}

#[test]
fn a_taken_name_counts_as_collision_and_other_failures_are_shown() {
    let failure = |error: ApiError| Failure {
        verb: Verb::Create,
        resource: REPLICA_SETS,
        object: NamespacedName::new("a", name("b").as_str()),
        error,
    };
    let exists = || failure(ApiError::already_exists("apps", "replicasets", &name("b")));
    let other = object(&REPLICA_SETS, "a", &name("b"), json!({"spec": {"template": {}}}));
    let plan = plan_with_failure(&CONTROLLER, &[deployment(json!({})), other], &key(), exists());
    assert_eq!(plan.actions, [r#"update deployments/status a/web {"status":{"collisionCount":1}}"#]);
    let plan = plan_with_failure(&CONTROLLER, &[deployment(json!({})), set("b", 0, 0, "1")], &key(), exists());
    assert_eq!(plan.actions, [""; 0], "it is our own");
    let refused = failure(ApiError::forbidden("apps", "replicasets", "", "no"));
    let plan = plan_with_failure(&CONTROLLER, &[deployment(json!({}))], &key(), refused);
    assert_eq!(conditions(&plan)[0], "Progressing=False ReplicaSetCreateError");
}

#[test]
fn pods_that_are_going_are_counted_from_1_35_if_all_sets_say_so() {
    let with = |image, revision, count: Value| {
        set_with(image, 10, 10, revision, json!({"status": {"terminatingReplicas": count}}))
    };
    let cases =
        [(34, json!(2), json!(3), None), (35, json!(2), json!(3), Some("5")), (35, json!(2), Value::Null, None)];
    for (minor, new, old, expected) in cases {
        let options = crate::Options { minor, ..crate::testing::options() };
        let objects = [deployment(json!({})), with("b", "1", new), with("a", "0", old)];
        let plan = crate::testing::plan_with(&options, &CONTROLLER, &objects, &key());
        let status: Vec<&String> = plan.actions.iter().filter(|action| action.contains("deployments/status")).collect();
        assert_eq!(status.len(), 1, "{plan:?}");
        let told = status[0].split_once(r#""terminatingReplicas":"#).map(|(_, rest)| rest.split_once(',').unwrap().0);
        assert_eq!(told, expected, "{}", status[0]);
    }
}
