//! What is planned for which StatefulSet and pods.

use super::*;
use crate::testing::{object, plan_of, plan_with_failure};
use k8s_client::Verb;
use k8s_object::{ApiError, NamespacedName};
use serde_json::{Value, json};

const START: &str = "2025-12-31T23:00:00Z";

fn set(spec: Value, status: Value) -> Arc<Object> {
    let mut value = json!({
        "metadata": {"generation": 1},
        "spec": {
            "replicas": 2, "serviceName": "db", "podManagementPolicy": "OrderedReady",
            "selector": {"matchLabels": {"app": "db"}}, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "1"}]}},
        },
        "status": {"observedGeneration": 1, "currentRevision": "db-1", "updateRevision": "db-1", "collisionCount": 0},
    });
    crate::json::merge(&mut value["spec"], &spec);
    crate::json::merge(&mut value["status"], &status);
    object(&STATEFUL_SETS, "a", "db", value)
}

fn owner() -> Value {
    json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "statefulsets-a-db", "controller": true}])
}

fn pod(ordinal: i64, ready: bool, extra: Value) -> Arc<Object> {
    let name = format!("db-{ordinal}");
    let labels = json!({"app": "db", replica::POD_NAME: name, replica::REVISION: "db-1"});
    let state = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": START}]);
    let mut value = json!({
        "metadata": {"labels": labels, "ownerReferences": owner()}, "status": {"phase": "Running", "conditions": state},
    });
    crate::json::merge(&mut value, &extra);
    object(&PODS, "a", &name, value)
}

/// The revision of an image.
fn revision(number: i64, image: &str) -> Arc<Object> {
    let template = json!({
        "$patch": "replace", "metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": image}]},
    });
    let value = json!({
        "metadata": {"labels": {"app": "db"}, "ownerReferences": owner()}, "revision": number,
        "data": {"spec": {"template": template}},
    });
    object(&CONTROLLER_REVISIONS, "a", &format!("db-{number}"), value)
}

fn key() -> Key {
    Key::new(STATEFUL_SETS, "a", "db")
}

/// The actions without the bodies of patches, and without events and the status.
fn actions(objects: &[Arc<Object>]) -> Vec<String> {
    let actions = plan_of(&CONTROLLER, objects, &key()).actions.into_iter();
    let short = actions.map(|action| action.split(" {").next().unwrap_or_default().to_owned());
    short.filter(|action| !action.starts_with("event") && !action.starts_with("update statefulsets/status")).collect()
}

fn status(objects: &[Arc<Object>]) -> Value {
    let actions = plan_of(&CONTROLLER, objects, &key()).actions;
    let status = actions.iter().find_map(|action| action.strip_prefix("update statefulsets/status a/db "));
    status.map_or(Value::Null, |status| serde_json::from_str::<Value>(status).unwrap()["status"].clone())
}

#[test]
fn the_first_pod_is_made_with_its_revision_and_claims() {
    let claim = json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"storageClassName": "s"}}]});
    let plan = plan_of(&CONTROLLER, &[set(claim, json!({"currentRevision": null, "updateRevision": null}))], &key());
    let heads: Vec<&str> = plan.actions.iter().map(|action| action.split(" {").next().unwrap()).collect();
    let name = plan.bodies[0]["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        heads,
        [
            format!("create controllerrevisions a/{name}").as_str(),
            "create persistentvolumeclaims a/data-db-0",
            "event a/db SuccessfulCreate: create Claim data-db-0 Pod db-0 in StatefulSet db success",
            "create pods a/db-0",
            "event a/db SuccessfulCreate: create Pod db-0 in StatefulSet db successful",
            "update statefulsets/status a/db",
        ]
    );
    assert_eq!(plan.bodies[0]["data"]["spec"]["template"]["$patch"], "replace");
    assert_eq!((&plan.bodies[0]["revision"], name.len() > 10), (&json!(1), true));
    assert_eq!(plan.bodies[1]["metadata"]["labels"], json!({"app": "db"}));
    let body = &plan.bodies[2];
    assert_eq!(
        body["metadata"]["labels"],
        json!({
            "app": "db", "statefulset.kubernetes.io/pod-name": "db-0", "apps.kubernetes.io/pod-index": "0",
            "controller-revision-hash": name,
        })
    );
    assert_eq!((&body["spec"]["hostname"], &body["spec"]["subdomain"]), (&json!("db-0"), &json!("db")));
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]);
    assert_eq!(body["spec"]["volumes"], volumes);
}

#[test]
fn pods_come_and_go_in_order_or_all_at_once() {
    let r = || revision(1, "1");
    let ready = |ordinal| pod(ordinal, true, json!({}));
    let unready = |ordinal| pod(ordinal, false, json!({}));
    let parallel = || json!({"podManagementPolicy": "Parallel"});
    let with = |mut spec: Value, replicas: i64| {
        spec["replicas"] = json!(replicas);
        set(spec, json!({}))
    };
    let going = json!({"metadata": {"deletionTimestamp": START}});
    let cases = vec![
        ("the next when the first is ready", vec![with(json!({}), 3), r(), ready(0)], vec!["create pods a/db-1"]),
        ("not before", vec![with(json!({}), 3), r(), unready(0)], vec![]),
        ("at once", vec![with(parallel(), 3), r(), unready(0)], vec!["create pods a/db-1", "create pods a/db-2"]),
        ("nothing", vec![with(json!({}), 2), r(), ready(0), ready(1)], vec![]),
        ("the last first", vec![with(json!({}), 1), r(), ready(0), ready(1), ready(2)], vec!["delete pods a/db-2"]),
        ("one after the other", vec![with(json!({}), 0), r(), ready(0), pod(1, true, going)], vec![]),
        ("an unready one holds", vec![with(json!({}), 1), r(), unready(0), ready(1)], vec![]),
        (
            "the one that is unready itself goes",
            vec![with(json!({}), 1), r(), ready(0), unready(1)],
            vec!["delete pods a/db-1"],
        ),
        (
            "all at once",
            vec![with(parallel(), 1), r(), ready(0), ready(1), ready(2)],
            vec!["delete pods a/db-2", "delete pods a/db-1"],
        ),
        (
            "one that ended is replaced",
            vec![with(json!({}), 2), r(), pod(0, false, json!({"status": {"phase": "Failed"}}))],
            vec!["delete pods a/db-0"],
        ),
        (
            "numbers may begin later",
            vec![with(json!({"ordinals": {"start": 5}}), 1), r(), ready(0)],
            vec!["create pods a/db-5"],
        ),
    ];
    for (name, objects, expected) in cases {
        assert_eq!(actions(&objects), expected, "{name}");
    }
    let many = actions(&[with(parallel(), 2_000_000_000), r()]);
    assert_eq!(many.len(), 500, "one plan makes so many");
}

#[test]
fn an_update_goes_from_the_last_to_the_first() {
    let new = |extra: Value| {
        let mut spec = json!({"template": {"spec": {"containers": [{"name": "c", "image": "2"}]}}});
        crate::json::merge(&mut spec, &extra);
        set(spec, json!({"replicas": 2, "readyReplicas": 2, "currentReplicas": 2}))
    };
    let old = |ordinal| pod(ordinal, true, json!({}));
    let moved = |ordinal, ready| pod(ordinal, ready, json!({"metadata": {"labels": {replica::REVISION: "db-2"}}}));
    let revisions = || vec![revision(1, "1"), revision(2, "2")];
    let with = |more: Vec<Arc<Object>>| revisions().into_iter().chain(more).collect::<Vec<_>>();
    assert_eq!(actions(&with(vec![new(json!({})), old(0), old(1)])), ["delete pods a/db-1"]);
    assert_eq!(actions(&with(vec![new(json!({})), old(0), moved(1, true)])), ["delete pods a/db-0"]);
    assert_eq!(actions(&with(vec![new(json!({})), old(0), moved(1, false)])), [""; 0], "the new one must be available");
    let partition = json!({"updateStrategy": {"rollingUpdate": {"partition": 1}}});
    assert_eq!(actions(&with(vec![new(partition.clone()), old(0), moved(1, true)])), [""; 0]);
    let at_once = |limit: Value| {
        let strategy = json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": limit}}, "replicas": 4, "podManagementPolicy": "Parallel"});
        let pods = vec![old(0), old(1), moved(2, false), old(3)];
        actions(&with([vec![new(strategy)], pods].concat()))
    };
    assert_eq!(at_once(json!(1)), [""; 0], "one is unavailable");
    assert_eq!(at_once(json!(3)), ["delete pods a/db-3", "delete pods a/db-1"]);
    assert_eq!(at_once(json!("50%")), ["delete pods a/db-3"]);
    assert_eq!(at_once(json!("10%")), [""; 0], "never less than one, which is unavailable");
    let on_delete = json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}});
    assert_eq!(actions(&with(vec![new(on_delete), old(0), old(1)])), [""; 0]);
    // A pod below the partition is made from the template that it had.
    let image = |objects: &[Arc<Object>]| {
        plan_of(&CONTROLLER, objects, &key()).bodies[0]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!(image(&with(vec![new(partition), moved(1, true)])), "1");
    assert_eq!(image(&with(vec![new(json!({})), old(0)])), "2");
    let status = status(&with(vec![new(json!({})), moved(0, true), moved(1, true)]));
    assert_eq!((&status["currentRevision"], &status["currentReplicas"]), (&json!("db-2"), &json!(2)), "it is over");
}

#[test]
fn revisions_are_made_used_again_and_cut() {
    let spec = json!({"template": {"spec": {"containers": [{"name": "c", "image": "1"}]}}, "revisionHistoryLimit": 1});
    let pods = || vec![pod(0, true, json!({})), pod(1, true, json!({}))];
    let with = |more: Vec<Arc<Object>>| {
        let mut objects = vec![set(spec.clone(), json!({"updateRevision": "db-3", "currentRevision": "db-3"}))];
        objects.extend(more.into_iter().chain(pods()));
        objects
    };
    let back = with(vec![revision(1, "1"), revision(2, "2"), revision(3, "3")]);
    let plan = plan_of(&CONTROLLER, &back, &key()).actions;
    assert_eq!(plan[0], r#"update controllerrevisions a/db-1 {"revision":4}"#);
    let many = with(vec![revision(1, "1"), revision(5, "5"), revision(6, "6"), revision(3, "3"), revision(7, "1")]);
    assert_eq!(actions(&many), ["delete pods a/db-1", "delete controllerrevisions a/db-5"]);
}

#[test]
fn statuses_count_pods() {
    let late = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2025-12-31T23:59:50Z"}]}});
    let objects = [
        set(json!({"replicas": 3, "minReadySeconds": 30, "podManagementPolicy": "Parallel"}), json!({})),
        revision(1, "1"),
        pod(0, true, json!({})),
        pod(1, true, late),
        pod(2, false, json!({})),
    ];
    let expected = json!({
        "observedGeneration": 1, "replicas": 3, "readyReplicas": 2, "availableReplicas": 1, "currentReplicas": 3,
        "updatedReplicas": 3, "currentRevision": "db-1", "updateRevision": "db-1", "collisionCount": 0,
    });
    assert_eq!(status(&objects), expected);
    assert_eq!(plan_of(&CONTROLLER, &objects, &key()).requeue_after, Some(Duration::from_secs(20)));
}

#[test]
fn claims_are_kept_or_go_as_the_policy_says() {
    let claim = |name: &str, owners: Value| {
        object(&PERSISTENT_VOLUME_CLAIMS, "a", name, json!({"metadata": {"ownerReferences": owners}}))
    };
    let own = |kind: &str, version: &str, name: &str, uid: &str| json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true});
    let by_set = || json!([own("StatefulSet", "apps/v1", "db", "statefulsets-a-db")]);
    let policy = |deleted: &str, scaled: &str, replicas: i64| {
        set(
            json!({
                "replicas": replicas, "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {}}],
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled},
            }),
            json!({}),
        )
    };
    let plan = |set: Arc<Object>, owners: Value| {
        let objects = [set, revision(1, "1"), pod(0, true, json!({})), claim("v-db-0", owners)];
        let actions = plan_of(&CONTROLLER, &objects, &key()).actions;
        let update = actions.iter().find_map(|action| action.strip_prefix("update persistentvolumeclaims a/v-db-0 "));
        update.map(|update| {
            let update: Value = serde_json::from_str(update).unwrap();
            let owners = update["metadata"]["ownerReferences"].as_array().unwrap().iter();
            owners.map(|owner| owner["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        })
    };
    let stranger = json!([own("Widget", "x/v1", "w", "w")]);
    let earlier = json!([own("Pod", "v1", "db-0", "earlier")]);
    let cases = [
        ("kept", policy("Retain", "Retain", 1), json!([]), None),
        ("kept from now on", policy("Retain", "Retain", 1), by_set(), Some("")),
        ("goes with the set", policy("Delete", "Retain", 1), json!([]), Some("StatefulSet")),
        ("goes with the set already", policy("Delete", "Retain", 1), by_set(), None),
        ("goes with its pod", policy("Retain", "Delete", 0), json!([]), Some("Pod")),
        ("goes with its pod, not the set", policy("Delete", "Delete", 0), by_set(), Some("Pod")),
        ("somebody else's", policy("Delete", "Delete", 1), stranger, None),
        ("of an earlier pod", policy("Delete", "Delete", 1), earlier, None),
    ];
    for (name, set, owners, expected) in cases {
        assert_eq!(plan(set, owners).as_deref(), expected, "{name}");
    }
}

#[test]
fn pods_of_other_names_are_left_alone_and_failures_are_told() {
    let orphan = |name: &str| object(&PODS, "a", name, json!({"metadata": {"labels": {"app": "db"}}}));
    let adopts = |name: &str| {
        let plan = actions(&[set(json!({"replicas": 0}), json!({})), revision(1, "1"), orphan(name)]);
        plan.contains(&format!("patch pods a/{name}"))
    };
    assert_eq!(["db-0", "db-x", "other-0", "db-01x"].map(adopts), [true, false, false, false]);
    let failure = crate::Failure {
        verb: Verb::Create,
        resource: PODS,
        object: NamespacedName::new("a", "db-0"),
        error: ApiError::forbidden("", "pods", "db-0", "exceeded quota"),
    };
    let plan = plan_with_failure(&CONTROLLER, &[set(json!({}), json!({})), revision(1, "1")], &key(), failure);
    let text = r#"event a/db FailedCreate: create Pod db-0 in StatefulSet db failed error: pods "db-0" is forbidden: exceeded quota"#;
    assert_eq!(plan.actions, [text]);
}
