//! Who may do what: reviews of access, roles that are brought up to date, and names in selectors.

mod support;

use k8s_client::{Body, Request, Verb};
use k8s_object::{GroupVersionResource, UserInfo, resources};
use serde_json::{Value, json};
use store::Store;
use support::http::{ask, with_names};
use support::{Cluster, call, request, start, with_cluster, with_options};
use world::World;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

async fn review(cluster: &Cluster, path: &str, body: Value) -> (u16, Value) {
    let answer = ask(cluster, "admin", &format!("POST {REVIEWS}/{path}"), &[], &body.to_string()).await;
    (answer.status, answer.json())
}

#[test]
fn questions_that_cannot_be_asked_are_refused() {
    with_options(with_names, |cluster| async move {
        let pods = json!({"verb": "list", "resource": "pods", "namespace": "default"});
        let cases = [
            (
                "subjectaccessreviews",
                json!({"spec": {"resourceAttributes": pods}}),
                r#".authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or group must be specified"#,
            ),
            (
                "selfsubjectaccessreviews",
                json!({"spec": {}}),
                r#".authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"#,
            ),
            (
                "selfsubjectaccessreviews",
                json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": {}}}}),
                r#".authorization.k8s.io "" is invalid: spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required"#,
            ),
            (
                "namespaces/default/localsubjectaccessreviews",
                json!({"metadata": {"namespace": "default"}, "spec": {"user": "jane", "resourceAttributes": {"verb": "list", "resource": "pods"}}}),
                r#".authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "": must match metadata.namespace"#,
            ),
            ("selfsubjectrulesreviews", json!({"spec": {}}), "no namespace on request"),
        ];
        for (path, body, message) in cases {
            let (_, value) = review(&cluster, path, body.clone()).await;
            assert_eq!(value["message"], message, "{path} {body}");
        }
    });
}

#[test]
fn answers_tell_what_was_not_understood() {
    with_options(with_names, |cluster| async move {
        let ask = async |selector: Value| {
            let attributes = json!({"verb": "list", "resource": "pods", "fieldSelector": selector});
            let body = json!({"spec": {"user": "jane", "resourceAttributes": attributes}});
            review(&cluster, "subjectaccessreviews", body).await.1["status"].clone()
        };
        let requirement = |operator: &str| json!({"key": "spec.nodeName", "operator": operator, "values": ["n"]});
        let cases = [
            (json!({"rawSelector": "spec.nodeName=n"}), Value::Null),
            (
                json!({"requirements": [requirement("Near")]}),
                json!("spec.resourceAttributes.fieldSelector ignored due to parse error"),
            ),
            (
                json!({"requirements": [requirement("In"), requirement("Near")]}),
                json!("spec.resourceAttributes.fieldSelector partially ignored due to parse error"),
            ),
        ];
        for (selector, expected) in cases {
            let status = ask(selector.clone()).await;
            assert_eq!((&status["allowed"], &status["evaluationError"]), (&json!(false), &expected), "{selector}");
        }
        // A node may list its own pods, which only the selector tells.
        let node = json!({"user": "system:node:n", "groups": ["system:nodes"], "resourceAttributes": {
            "verb": "list", "resource": "pods", "fieldSelector": {"rawSelector": "spec.nodeName=n"},
        }});
        assert_eq!(review(&cluster, "subjectaccessreviews", json!({"spec": node})).await.1["status"]["allowed"], true);
    });
}

#[test]
fn rules_of_administrators_are_those_of_their_roles() {
    with_options(with_names, |cluster| async move {
        let body = json!({"spec": {"namespace": "default"}});
        let status = review(&cluster, "selfsubjectrulesreviews", body).await.1["status"].clone();
        let rules = status["resourceRules"].as_array().unwrap();
        assert!(
            rules.iter().any(|rule| rule["resources"] == json!(["*"]) && rule["verbs"] == json!(["*"])),
            "{rules:?}"
        );
        assert!(rules.iter().any(|rule| rule["resources"] == json!(["selfsubjectreviews"])), "{rules:?}");
    });
}

#[test]
fn a_name_in_a_selector_is_a_name() {
    with_options(with_names, |cluster| async move {
        let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"], "resourceNames": ["a"]});
        let role = json!({"metadata": {"name": "r"}, "rules": [rule]});
        let binding = json!({
            "metadata": {"name": "r"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        });
        cluster.admin().create(&resources::CLUSTER_ROLES, "", role).await.unwrap();
        cluster.admin().create(&resources::CLUSTER_ROLE_BINDINGS, "", binding).await.unwrap();
        for (query, status) in
            [("", 403), ("?fieldSelector=metadata.name%3Da", 200), ("?fieldSelector=metadata.name%3Db", 403)]
        {
            let line = format!("GET /api/v1/namespaces/default/configmaps{query}");
            assert_eq!(ask(&cluster, "jane", &line, &[], "").await.status, status, "{query}");
        }
    });
}

#[test]
fn default_roles_are_brought_up_to_date_at_the_start() {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, store::Limits::default());
    simulation.block_on(async move {
        let cluster = start(&world, &store).await;
        let client = cluster.admin();
        let (view, basic, kept) = ("system:discovery", "system:basic-user", "system:public-info-viewer");
        let before = client.get(&resources::CLUSTER_ROLES, "", view).await.unwrap().value();
        for (name, auto) in [(view, "true"), (kept, "false")] {
            let mut role = client.get(&resources::CLUSTER_ROLES, "", name).await.unwrap().value();
            role["rules"] = json!([{"apiGroups": ["own.example"], "resources": ["things"], "verbs": ["get"]}]);
            role["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = json!(auto);
            client.update(&resources::CLUSTER_ROLES, "", name, "", role).await.unwrap();
        }
        let mut binding = client.get(&resources::CLUSTER_ROLE_BINDINGS, "", basic).await.unwrap().value();
        binding["subjects"] = json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]);
        client.update(&resources::CLUSTER_ROLE_BINDINGS, "", basic, "", binding).await.unwrap();
        cluster.tasks.shutdown(std::time::Duration::from_secs(1)).await;

        let cluster = start(&world, &store).await;
        let client = cluster.server.client(UserInfo::new("admin", &["system:masters"]), "test");
        let rules =
            async |name: &str| client.get(&resources::CLUSTER_ROLES, "", name).await.unwrap().value()["rules"].clone();
        let after = rules(view).await;
        assert_eq!(after[0]["resources"], json!(["things"]));
        assert_eq!(after[1]["nonResourceURLs"].as_array().map(Vec::len), Some(1), "{after}");
        let urls = |rules: &Value| {
            rules
                .as_array()
                .unwrap()
                .iter()
                .map(|rule| rule["nonResourceURLs"].as_array().map_or(0, Vec::len))
                .sum::<usize>()
        };
        assert_eq!(urls(&after), urls(&before["rules"]));
        assert_eq!(rules(kept).await.as_array().map(Vec::len), Some(1));
        let binding = client.get(&resources::CLUSTER_ROLE_BINDINGS, "", basic).await.unwrap().value();
        let names: Vec<&str> =
            binding["subjects"].as_array().unwrap().iter().filter_map(|own| own["name"].as_str()).collect();
        assert_eq!(names, ["jane", "system:authenticated"]);
    });
}

#[test]
fn what_a_put_would_create_is_judged_before_it_is_asked_whether_it_may() {
    with_options(with_names, |cluster| async move {
        let rule = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update", "patch"]});
        let role = json!({"metadata": {"name": "r"}, "rules": [rule]});
        let binding = json!({
            "metadata": {"name": "r"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        });
        cluster.admin().create(&resources::CLUSTER_ROLES, "", role).await.unwrap();
        cluster.admin().create(&resources::CLUSTER_ROLE_BINDINGS, "", binding).await.unwrap();
        let object = |seconds: i64| {
            let spec = json!({"leaseDurationSeconds": seconds});
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "e"}, "spec": spec,
            });
            lease.to_string()
        };
        let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
        let line = format!("PUT {path}/e");
        let cases = [
            ("nobody", 0, 403, r#"cannot update resource "leases""#),
            ("jane", 0, 422, "spec.leaseDurationSeconds: Invalid value"),
            ("jane", 1, 403, r#"cannot create resource "leases""#),
            ("admin", 1, 201, ""),
        ];
        for (user, seconds, status, told) in cases {
            let answer = ask(&cluster, user, &line, &[], &object(seconds)).await;
            assert_eq!(answer.status, status, "{user} {seconds}: {}", answer.text());
            let message = answer.json()["message"].as_str().unwrap_or("").to_owned();
            assert!(message.contains(told), "{user} {seconds}: {message}");
        }
        let applied = r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "f"}}"#;
        let line = format!("PATCH {path}/f?fieldManager=m");
        let answer = ask(&cluster, "jane", &line, &["content-type: application/apply-patch+yaml"], applied).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
    });
}

#[test]
fn a_node_is_told_what_is_missing_behind_a_volume_that_may_ask_for_its_token() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let account = json!({"metadata": {"name": "a"}});
        client.create(&resources::SERVICE_ACCOUNTS, "default", account).await.unwrap();
        let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "a", "nodeName": "n", "volumes": [volume], "containers": [{"name": "c", "image": "i"}]}});
        let pod = client.create(&resources::PODS, "default", pod).await.unwrap();
        let node = UserInfo::new("system:node:n", &["system:nodes"]);
        let refused = async || {
            let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod.meta().uid});
            let body = Body::Json(json!({"spec": {"audiences": ["vault"], "boundObjectRef": bound}}));
            let about = request(Verb::Create, &resources::SERVICE_ACCOUNTS, "default", "a");
            let asked = Request { subresource: "token".into(), body, ..about };
            call(&cluster, &node, asked).await.unwrap_err().message
        };
        let told =
            |what: &str| format!("serviceaccounts \"a\" is forbidden: error validating audience \"vault\": {what}");
        assert_eq!(refused().await, told("persistentvolumeclaim \"c\" not found"));
        let claim = json!({"metadata": {"name": "c"}, "spec": {
            "volumeName": "pv", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        client.create(&resources::PERSISTENT_VOLUME_CLAIMS, "default", claim).await.unwrap();
        assert_eq!(refused().await, told("persistentvolume \"pv\" not found"));
        let volume = json!({"metadata": {"name": "pv"}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "csi": {"driver": "d.example", "volumeHandle": "h"}}});
        client.create(&GroupVersionResource::of("", "v1", "persistentvolumes"), "", volume).await.unwrap();
        assert_eq!(refused().await, told("csidriver.storage.k8s.io \"d.example\" not found"));
    });
}
