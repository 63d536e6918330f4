//! What is planned for which DaemonSet, nodes and pods.

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
            "selector": {"matchLabels": {"app": "d"}}, "revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "1"}]}},
        },
        "status": {"observedGeneration": 1},
    });
    crate::json::merge(&mut value["spec"], &spec);
    crate::json::merge(&mut value["status"], &status);
    object(&DAEMON_SETS, "a", "d", value)
}

fn image(image: &str) -> Value {
    json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}})
}

fn node(name: &str, extra: Value) -> Arc<Object> {
    object(&NODES, "", name, extra)
}

fn tainted(name: &str, key: &str, effect: &str) -> Arc<Object> {
    node(name, json!({"spec": {"taints": [{"key": key, "effect": effect}]}}))
}

fn owner() -> Value {
    json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "daemonsets-a-d", "controller": true}])
}

/// A pod that is ready on a node, named after both.
fn pod(node: &str, revision: &str, extra: Value) -> Arc<Object> {
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": START}]);
    let mut value = json!({
        "metadata": {"labels": {"app": "d", pods::HASH: revision}, "ownerReferences": owner()},
        "spec": {"nodeName": node}, "status": {"phase": "Running", "conditions": ready},
    });
    crate::json::merge(&mut value, &extra);
    object(&PODS, "a", &format!("{revision}-{node}"), value)
}

fn unready() -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}})
}

/// The revision of an image, whose hash is the image's name.
fn revision(number: i64, image: &str) -> Arc<Object> {
    let template = json!({
        "$patch": "replace", "metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": image}]},
    });
    let value = json!({
        "metadata": {"labels": {"app": "d", pods::HASH: image}, "ownerReferences": owner()}, "revision": number,
        "data": {"spec": {"template": template}},
    });
    object(&CONTROLLER_REVISIONS, "a", &format!("d-{number}"), value)
}

fn key() -> Key {
    Key::new(DAEMON_SETS, "a", "d")
}

/// The actions without their bodies, and without the status; creations as the nodes that they are for.
fn actions(objects: &[Arc<Object>]) -> Vec<String> {
    let plan = plan_of(&CONTROLLER, objects, &key());
    let mut bodies = plan.bodies.iter();
    let mut short = Vec::new();
    for action in plan.actions {
        let body = action.starts_with("create").then(|| bodies.next().unwrap());
        match body.filter(|body| body["kind"] == "Pod") {
            Some(body) => short.push(format!("create on {}", target(body))),
            None if action.starts_with("update daemonsets/status") => {}
            None => short.push(action.split(" {").next().unwrap_or_default().to_owned()),
        }
    }
    short
}

fn target(body: &Value) -> String {
    let required = &body["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let fields = &required["nodeSelectorTerms"][0]["matchFields"][0];
    assert_eq!((&fields["key"], &fields["operator"]), (&json!("metadata.name"), &json!("In")));
    fields["values"][0].as_str().unwrap().to_owned()
}

fn status(objects: &[Arc<Object>]) -> Value {
    let plan = plan_of(&CONTROLLER, objects, &key());
    let status = plan.actions.iter().find_map(|action| action.strip_prefix("update daemonsets/status a/d "));
    let mut change: Value = serde_json::from_str(status.expect("the status changes")).unwrap();
    change["status"].take()
}

#[test]
fn a_new_set_makes_a_revision_and_a_pod_for_each_node() {
    let tolerations = json!([
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
        {"key": "own", "operator": "Exists"},
    ]);
    let affinity = json!({
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []},
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [],
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]},
            ]},
        },
    });
    let template = json!({"spec": {"hostNetwork": true, "tolerations": tolerations, "affinity": affinity}});
    let mut value = set(json!({"template": template}), json!({})).value();
    value["metadata"]["annotations"] = json!({"deprecated.daemonset.template.generation": "3"});
    let objects = [
        Arc::new(Object::from_value(&value).unwrap()),
        node("n1", json!({})),
        node("n2", json!({"metadata": {"labels": {"gpu": "1"}}})),
    ];
    let plan = plan_of(&CONTROLLER, &objects, &key());
    let (revision, pod) = (&plan.bodies[0], &plan.bodies[1]);
    assert_eq!(plan.bodies.len(), 2, "the node with a GPU is not selected");
    let hash = revision["metadata"]["labels"][pods::HASH].as_str().unwrap();
    assert_eq!(revision["metadata"]["name"], format!("d-{hash}"));
    assert_eq!(
        (&revision["revision"], &revision["data"]["spec"]["template"]["$patch"]),
        (&json!(1), &json!("replace"))
    );
    assert_eq!(revision["metadata"]["annotations"]["deprecated.daemonset.template.generation"], "3");
    assert_eq!(
        pod["metadata"]["labels"],
        json!({"app": "d", "controller-revision-hash": hash, "pod-template-generation": "3"})
    );
    assert_eq!(pod["metadata"]["generateName"], "d-");
    assert_eq!(target(pod), "n1");
    let affinity = &pod["spec"]["affinity"];
    assert!(
        affinity["podAffinity"].is_object()
            && affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"].is_array()
    );
    assert_eq!(
        affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let own = |key: &str, effect: &str| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": effect});
    let expected = json!([
        own("not-ready", "NoExecute"), {"key": "own", "operator": "Exists"}, own("unreachable", "NoExecute"),
        own("disk-pressure", "NoSchedule"), own("memory-pressure", "NoSchedule"), own("pid-pressure", "NoSchedule"),
        own("unschedulable", "NoSchedule"), own("network-unavailable", "NoSchedule"),
    ]);
    assert_eq!(pod["spec"]["tolerations"], expected);
}

#[test]
fn each_node_has_what_it_should() {
    let r = || revision(1, "1");
    let d = || set(json!({}), json!({}));
    let with = |spec: Value| set(spec, json!({}));
    let selects = || with(json!({"template": {"spec": {"nodeSelector": {"zone": "a"}}}}));
    let of_selects = || {
        let template = json!({"data": {"spec": {"template": {"spec": {"nodeSelector": {"zone": "a"}}}}}});
        let mut value = revision(1, "1").value();
        crate::json::merge(&mut value, &template);
        Arc::new(Object::from_value(&value).unwrap())
    };
    let n = |name: &str| node(name, json!({}));
    let phase = |phase: &str| json!({"status": {"phase": phase}});
    let going = || json!({"metadata": {"deletionTimestamp": START}});
    let pinned = |to: &str| {
        let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [to]}]}]);
        json!({"spec": {"nodeName": null, "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}})
    };
    let twin = |node: &str, created: &str| {
        let extra = json!({"metadata": {"name": format!("twin-{node}"), "creationTimestamp": created}});
        let mut value = pod(node, "1", extra).value();
        value["metadata"]["uid"] = json!("twin");
        Arc::new(Object::from_value(&value).unwrap())
    };
    type Case = (&'static str, Vec<Arc<Object>>, Vec<&'static str>);
    let cases: Vec<Case> = vec![
        ("one each", vec![d(), r(), n("n1"), n("n2"), pod("n1", "1", json!({}))], vec!["create on n2"]),
        ("one that waits counts", vec![d(), r(), n("n1"), pod("x", "1", pinned("n1"))], vec![]),
        ("one that is going holds its place", vec![d(), r(), n("n1"), pod("n1", "1", going())], vec![]),
        (
            "one that is going and has ended does not",
            vec![d(), r(), n("n1"), {
                let mut extra = going();
                crate::json::merge(&mut extra, &phase("Failed"));
                pod("n1", "1", extra)
            }],
            vec!["create on n1"],
        ),
        ("a label that is missing", vec![selects(), of_selects(), n("n1")], vec![]),
        (
            "a label that is there",
            vec![selects(), of_selects(), node("n1", json!({"metadata": {"labels": {"zone": "a"}}}))],
            vec!["create on n1"],
        ),
        (
            "a label that is gone",
            vec![selects(), of_selects(), n("n1"), pod("n1", "1", json!({}))],
            vec!["delete pods a/1-n1"],
        ),
        ("a taint keeps pods away", vec![d(), r(), tainted("n1", "k", "NoSchedule")], vec![]),
        (
            "but not those that are there",
            vec![d(), r(), tainted("n1", "k", "NoSchedule"), pod("n1", "1", json!({}))],
            vec![],
        ),
        (
            "NoExecute does",
            vec![d(), r(), tainted("n1", "k", "NoExecute"), pod("n1", "1", json!({}))],
            vec!["delete pods a/1-n1"],
        ),
        ("a preference does not matter", vec![d(), r(), tainted("n1", "k", "PreferNoSchedule")], vec!["create on n1"]),
        (
            "nor do the troubles of nodes",
            vec![
                d(),
                r(),
                tainted("n1", "node.kubernetes.io/unreachable", "NoExecute"),
                tainted("n2", "node.kubernetes.io/unschedulable", "NoSchedule"),
            ],
            vec!["create on n1", "create on n2"],
        ),
        (
            "networks do, but for those on that of the node",
            vec![d(), r(), tainted("n1", "node.kubernetes.io/network-unavailable", "NoSchedule")],
            vec![],
        ),
        (
            "a failed one goes",
            vec![d(), r(), n("n1"), pod("n1", "1", phase("Failed"))],
            vec![
                "back off daemonsets-a-d/1/n1",
                "event a/d FailedDaemonPod: Found failed daemon pod a/1-n1 on node n1, will try to kill it",
                "delete pods a/1-n1",
            ],
        ),
        (
            "one that has succeeded goes",
            vec![d(), r(), n("n1"), pod("n1", "1", phase("Succeeded"))],
            vec![
                "event a/d SucceededDaemonPod: Found succeeded daemon pod a/1-n1 on node n1, will try to delete it",
                "delete pods a/1-n1",
            ],
        ),
        (
            "the younger of two goes",
            vec![
                d(),
                r(),
                n("n1"),
                twin("n1", "2025-12-31T22:00:00Z"),
                pod("n1", "1", json!({"metadata": {"creationTimestamp": START}})),
            ],
            vec!["delete pods a/1-n1"],
        ),
        (
            "one that waits for a node that is gone",
            vec![d(), r(), pod("n9", "1", pinned("n9"))],
            vec!["delete pods a/1-n9"],
        ),
        ("what was bound there is collected by others", vec![d(), r(), pod("n9", "1", json!({}))], vec![]),
        (
            "a set that is going does nothing",
            vec![
                object(
                    &DAEMON_SETS,
                    "a",
                    "d",
                    json!({"metadata": {"deletionTimestamp": START}, "spec": {"selector": {"matchLabels": {"app": "d"}}}}),
                ),
                n("n1"),
            ],
            vec![],
        ),
    ];
    for (name, objects, expected) in cases {
        assert_eq!(actions(&objects), expected, "{name}");
    }
    let nodes = (0..1000).map(|n| node(&format!("n{n}"), json!({})));
    assert_eq!(actions(&nodes.chain([d(), r()]).collect::<Vec<_>>()).len(), 250, "one plan makes so many");
    let all = object(&DAEMON_SETS, "a", "d", json!({"spec": {"selector": {}}}));
    let told = "event a/d SelectingAll: This daemon set is selecting all pods. A non-empty selector is required.";
    assert_eq!(actions(&[all, node("n1", json!({}))]), [told]);
}

#[test]
fn a_rolling_update_respects_its_limits() {
    let updated = |unavailable: Value, surge: Value| {
        let mut spec = image("2");
        spec["updateStrategy"] = json!({"rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
        set(spec, json!({}))
    };
    let revisions = || vec![revision(1, "1"), revision(2, "2")];
    let old = |node: &str| pod(node, "1", json!({}));
    let new = |node: &str| pod(node, "2", json!({}));
    let n = |names: &[&str]| names.iter().map(|name| node(name, json!({}))).collect::<Vec<_>>();
    let nodes = || n(&["n1", "n2", "n3", "n4"]);
    type Case = (&'static str, Arc<Object>, Vec<Arc<Object>>, Vec<&'static str>);
    let cases: Vec<Case> = vec![
        (
            "one at a time",
            updated(json!(1), json!(0)),
            vec![old("n1"), old("n2"), old("n3"), old("n4")],
            vec!["delete pods a/1-n1"],
        ),
        (
            "a share, rounded up",
            updated(json!("30%"), json!(0)),
            vec![old("n1"), old("n2"), old("n3"), old("n4")],
            vec!["delete pods a/1-n1", "delete pods a/1-n2"],
        ),
        (
            "not before the new one is ready",
            updated(json!(1), json!(0)),
            vec![pod("n1", "2", unready()), old("n2"), old("n3"), old("n4")],
            vec![],
        ),
        (
            "then the next",
            updated(json!(1), json!(0)),
            vec![new("n1"), old("n2"), old("n3"), old("n4")],
            vec!["delete pods a/1-n2"],
        ),
        (
            "old ones that are of no use go at once, and count",
            updated(json!(2), json!(0)),
            vec![old("n1"), pod("n2", "1", unready()), pod("n3", "1", unready()), old("n4")],
            vec!["delete pods a/1-n2", "delete pods a/1-n3"],
        ),
        (
            "what is missing is made first",
            updated(json!(1), json!(0)),
            vec![old("n1"), old("n2"), old("n3")],
            vec!["create on n4"],
        ),
        (
            "neither nor is one at a time",
            updated(json!(0), json!(0)),
            vec![old("n1"), old("n2"), old("n3"), old("n4")],
            vec!["delete pods a/1-n1"],
        ),
        (
            "one beside another",
            updated(json!(0), json!(1)),
            vec![old("n1"), old("n2"), old("n3"), old("n4")],
            vec!["create on n1"],
        ),
        (
            "no more than that",
            updated(json!(0), json!(1)),
            vec![old("n1"), pod("n1", "2", unready()), old("n2"), old("n3"), old("n4")],
            vec![],
        ),
        (
            "the old one goes when the new one is there",
            updated(json!(0), json!(1)),
            vec![old("n1"), new("n1"), old("n2"), old("n3"), old("n4")],
            vec!["delete pods a/1-n1"],
        ),
        (
            "or when it is not ready itself",
            updated(json!(0), json!(1)),
            vec![pod("n1", "1", unready()), pod("n1", "2", unready()), old("n2"), old("n3"), old("n4")],
            vec!["delete pods a/1-n1"],
        ),
        (
            "old ones that are of no use get company at once",
            updated(json!(0), json!(1)),
            vec![pod("n1", "1", unready()), pod("n2", "1", unready()), old("n3"), old("n4")],
            vec!["create on n1", "create on n2", "create on n3"],
        ),
    ];
    for (name, set, pods, expected) in cases {
        let objects: Vec<Arc<Object>> = revisions().into_iter().chain(nodes()).chain(pods).chain([set]).collect();
        assert_eq!(actions(&objects), expected, "{name}");
    }
    let mut on_delete = image("2");
    on_delete["updateStrategy"] = json!({"type": "OnDelete", "rollingUpdate": null});
    let objects: Vec<Arc<Object>> =
        revisions().into_iter().chain([set(on_delete, json!({})), node("n1", json!({})), old("n1")]).collect();
    assert_eq!(actions(&objects), [""; 0], "OnDelete leaves it to the user");
    // A node that the set has left keeps its pod until there are enough elsewhere.
    let tainted = tainted("n1", "k", "NoSchedule");
    let left = |pods: Vec<Arc<Object>>| {
        let set = updated(json!(0), json!(1));
        actions(
            &revisions()
                .into_iter()
                .chain([set, tainted.clone(), node("n2", json!({}))])
                .chain(pods)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(left(vec![old("n1"), pod("n2", "2", unready())]), [""; 0]);
    assert_eq!(left(vec![old("n1"), new("n2")]), ["delete pods a/1-n1"]);
}

#[test]
fn revisions_are_used_again_united_and_cut() {
    let n = || node("n1", json!({}));
    let with = |spec: Value, more: Vec<Arc<Object>>| {
        actions(&more.into_iter().chain([set(spec, json!({})), n()]).collect::<Vec<_>>())
    };
    let now = || pod("n1", "1", json!({}));
    // A template of the past becomes the newest again.
    let back = with(json!({}), vec![revision(1, "1"), revision(2, "2"), now()]);
    assert_eq!(back, ["update controllerrevisions a/d-1"]);
    // Two revisions of one template.
    let twins = {
        let mut twin = revision(3, "1").value();
        twin["metadata"]["labels"][pods::HASH] = json!("other");
        with(json!({}), vec![revision(1, "1"), Arc::new(Object::from_value(&twin).unwrap()), now()])
    };
    assert_eq!(twins, ["patch pods a/1-n1", "delete controllerrevisions a/d-1"]);
    // Without the label.
    let bare = object(
        &CONTROLLER_REVISIONS,
        "a",
        "d-1",
        json!({"metadata": {"ownerReferences": owner(), "labels": {"app": "d"}}, "data": revision(1, "1").value()["data"], "revision": 1}),
    );
    let labelled = with(json!({}), vec![bare, pod("n1", "d-1", json!({}))]);
    assert_eq!(labelled, ["update controllerrevisions a/d-1"]);
    // The oldest that no pod is of go.
    let many = || vec![revision(1, "0"), revision(2, "2"), revision(3, "3"), revision(4, "4"), revision(5, "1"), now()];
    let going = || pod("n9", "2", json!({"metadata": {"deletionTimestamp": START}, "status": {"phase": "Failed"}}));
    let spec = json!({"revisionHistoryLimit": 1});
    let cut = with(spec, many().into_iter().chain([going()]).collect());
    assert_eq!(
        cut,
        ["delete controllerrevisions a/d-1", "delete controllerrevisions a/d-3", "delete controllerrevisions a/d-4"]
    );
    // A name that is taken by a stranger.
    let plan = plan_of(&CONTROLLER, &[set(json!({}), json!({}))], &key());
    let name = plan.bodies[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let objects = [set(json!({}), json!({})), object(&CONTROLLER_REVISIONS, "a", &name, json!({}))];
    assert_ne!(plan_of(&CONTROLLER, &objects, &key()).bodies[0]["metadata"]["name"], name);
    assert_eq!(status(&objects)["collisionCount"], 1);
}

#[test]
fn statuses_count_nodes() {
    let late = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2025-12-31T23:59:50Z"}]}});
    let mut spec = image("2");
    spec["minReadySeconds"] = json!(30);
    let objects = [
        set(spec, json!({})),
        revision(1, "1"),
        revision(2, "2"),
        node("n1", json!({})),
        node("n2", json!({})),
        node("n3", json!({})),
        node("n4", json!({})),
        tainted("n5", "k", "NoSchedule"),
        pod("n1", "2", json!({})),
        pod("n2", "2", late),
        pod("n3", "1", unready()),
        pod("n5", "1", json!({})),
    ];
    let expected = json!({
        "currentNumberScheduled": 3, "numberMisscheduled": 1, "desiredNumberScheduled": 4, "numberReady": 2,
        "observedGeneration": 1, "updatedNumberScheduled": 2, "numberAvailable": 1, "numberUnavailable": 3, "collisionCount": null,
    });
    assert_eq!(status(&objects), expected);
    assert_eq!(plan_of(&CONTROLLER, &objects, &key()).requeue_after, Some(Duration::from_secs(20)));
}

#[test]
fn orphans_are_adopted_and_strangers_released() {
    let orphan = pod("n1", "1", json!({"metadata": {"ownerReferences": []}}));
    let d = || set(json!({}), json!({}));
    let plan = actions(&[d(), revision(1, "1"), node("n1", json!({})), orphan]);
    assert_eq!(plan, ["patch pods a/1-n1"], "and it is the pod of its node");
    let stranger = pod("n1", "1", json!({"metadata": {"labels": {"app": "other"}}}));
    let plan = actions(&[d(), revision(1, "1"), node("n1", json!({})), stranger]);
    assert_eq!(plan, ["patch pods a/1-n1", "create on n1"]);
}

#[test]
fn a_failure_to_create_still_writes_the_status() {
    let failure = |resource| crate::Failure {
        verb: Verb::Create,
        resource,
        object: NamespacedName::new("a", ""),
        error: ApiError::forbidden("", "pods", "", "exceeded quota"),
    };
    let objects = [set(json!({}), json!({})), revision(1, "1"), node("n1", json!({}))];
    let plan = |resource| plan_with_failure(&CONTROLLER, &objects, &key(), failure(resource)).actions;
    let [status] = &plan(PODS)[..] else { panic!("{:?}", plan(PODS)) };
    assert!(
        status.starts_with("update daemonsets/status") && status.contains(r#""desiredNumberScheduled":1"#),
        "{status}"
    );
    assert_eq!(plan(CONTROLLER_REVISIONS), [""; 0]);
}
