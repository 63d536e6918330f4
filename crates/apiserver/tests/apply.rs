//! Owners of fields under every kind of write, and server-side apply, over HTTP on virtual time.

mod support;

use serde_json::{Value, json};
use support::http::{Answer, ask, with_names};
use support::{Cluster, with_options};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// A request of a client that calls itself `agent`.
async fn write(cluster: &Cluster, agent: &str, line: &str, kind: &str, body: &Value) -> Answer {
    let headers = [format!("user-agent: {agent}/v1"), format!("content-type: {kind}")];
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    ask(cluster, "admin", line, &headers, &body.to_string()).await
}

async fn post(cluster: &Cluster, agent: &str, path: &str, body: &Value) -> Answer {
    write(cluster, agent, &format!("POST {path}"), "application/json", body).await
}

async fn put(cluster: &Cluster, agent: &str, path: &str, body: &Value) -> Answer {
    write(cluster, agent, &format!("PUT {path}"), "application/json", body).await
}

async fn merge(cluster: &Cluster, agent: &str, path: &str, body: &Value) -> Answer {
    write(cluster, agent, &format!("PATCH {path}"), "application/merge-patch+json", body).await
}

async fn apply(cluster: &Cluster, manager: &str, path: &str, body: &Value) -> Answer {
    let separator = if path.contains('?') { '&' } else { '?' };
    let line = format!("PATCH {path}{separator}fieldManager={manager}");
    write(cluster, "test", &line, "application/apply-patch+yaml", body).await
}

async fn get(cluster: &Cluster, path: &str) -> Answer {
    ask(cluster, "admin", &format!("GET {path}"), &[], "").await
}

/// `manager operation subresource fields`, one line per entry, in their order.
fn owners(answer: &Answer) -> Vec<String> {
    let text = answer.text();
    let json = answer.json();
    let entries = json["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let mut rest = text.as_str();
    let entries = entries.iter().map(|entry| {
        // The text itself: its order is part of it.
        const FIELDS: &str = "\"fieldsV1\":";
        let at = rest.find(FIELDS).unwrap() + FIELDS.len();
        rest = &rest[at..];
        let mut fields = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        fields.next().unwrap().unwrap();
        let fields = &rest[..fields.byte_offset()];
        let word = |name: &str| entry[name].as_str().unwrap_or("").to_owned();
        let subresource = word("subresource");
        let subresource = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
        format!("{} {}{subresource} {} {fields}", word("manager"), word("operation"), word("apiVersion"))
    });
    entries.collect()
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx", "ports": [{"containerPort": 443}, {"containerPort": 80}]}]},
            },
        },
    })
}

#[test]
fn every_write_says_whose_fields_are() {
    with_options(with_names, |cluster| async move {
        let created = post(&cluster, "kubectl", MAPS, &map("a", json!({"k": "v"}))).await;
        assert_eq!(created.status, 201);
        assert_eq!(owners(&created), [r#"kubectl Update v1 {"f:data":{".":{},"f:k":{}}}"#]);
        let entry = &created.json()["metadata"]["managedFields"][0];
        assert_eq!((&entry["fieldsType"], &entry["time"]), (&json!("FieldsV1"), &json!("2026-01-01T00:00:00Z")));

        let path = format!("{MAPS}/a");
        let patched = merge(&cluster, "other", &path, &json!({"data": {"k": "w", "l": "x"}})).await;
        assert_eq!(
            owners(&patched),
            [r#"kubectl Update v1 {"f:data":{}}"#, r#"other Update v1 {"f:data":{"f:k":{},"f:l":{}}}"#]
        );
        let named = format!("{path}?fieldManager=mine");
        let updated = put(&cluster, "other", &named, &map("a", json!({"k": "w", "l": "y"}))).await;
        assert_eq!(
            owners(&updated),
            [
                r#"kubectl Update v1 {"f:data":{}}"#,
                r#"mine Update v1 {"f:data":{"f:l":{}}}"#,
                r#"other Update v1 {"f:data":{"f:k":{}}}"#
            ]
        );
        assert_eq!(owners(&get(&cluster, &path).await), owners(&updated));
        let version = |answer: &Answer| answer.json()["metadata"]["resourceVersion"].clone();
        let same = put(&cluster, "third", &path, &map("a", json!({"k": "w", "l": "y"}))).await;
        assert_eq!(version(&same), version(&updated), "what changes nothing changes no owner");
        let removed = merge(&cluster, "third", &path, &json!({"data": {"l": null}})).await;
        assert_eq!(
            owners(&removed),
            [r#"kubectl Update v1 {"f:data":{}}"#, r#"other Update v1 {"f:data":{"f:k":{}}}"#]
        );
    });
}

#[test]
fn what_the_server_adds_is_nobodys_and_defaults_are_the_clients() {
    with_options(with_names, |cluster| async move {
        let created = post(&cluster, "kubectl", DEPLOYMENTS, &deployment("web")).await;
        assert_eq!(created.status, 201, "{}", created.text());
        assert_eq!(
            owners(&created),
            [concat!(
                r#"kubectl Update apps/v1 {"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:progressDeadlineSeconds":{},"#,
                r#""f:replicas":{},"f:revisionHistoryLimit":{},"f:selector":{},"f:strategy":{"f:rollingUpdate":{".":{},"#,
                r#""f:maxSurge":{},"f:maxUnavailable":{}},"f:type":{}},"f:template":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"#,
                r#""f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"#,
                r#""f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}},"#,
                r#""k:{\"containerPort\":443,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}},"#,
                r#""f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"#,
                r#""f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}}}"#
            )]
        );
        let path = format!("{DEPLOYMENTS}/web");
        let status = json!({"status": {"replicas": 2, "conditions": [{"type": "Available", "status": "True", "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}, "spec": {"replicas": 9}});
        let answer = merge(&cluster, "controller", &format!("{path}/status"), &status).await;
        assert_eq!(answer.json()["spec"]["replicas"], 2);
        assert_eq!(
            owners(&answer)[0],
            r#"controller Update/status apps/v1 {"f:status":{"f:conditions":{".":{},"k:{\"type\":\"Available\"}":{".":{},"f:lastTransitionTime":{},"f:lastUpdateTime":{},"f:status":{},"f:type":{}}},"f:replicas":{}}}"#
        );
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        post(&cluster, "controller", "/api/v1/namespaces/default/serviceaccounts", &account).await;
        let created = post(&cluster, "kubectl", "/api/v1/namespaces/default/pods", &pod).await;
        assert_eq!(created.status, 201, "{}", created.text());
        assert_eq!(
            owners(&created),
            [concat!(
                r#"kubectl Update v1 {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:imagePullPolicy":{},"#,
                r#""f:name":{},"f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"#,
                r#""f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"#,
                r#""f:terminationGracePeriodSeconds":{}}}"#
            )]
        );
        // A binding is past the bookkeeping.
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
        let bound = post(&cluster, "scheduler", "/api/v1/namespaces/default/pods/p/binding", &binding).await;
        assert_eq!(bound.status, 201, "{}", bound.text());
        let after = get(&cluster, "/api/v1/namespaces/default/pods/p").await;
        assert_eq!((after.json()["spec"]["nodeName"].clone(), owners(&after)), (json!("n"), owners(&created)));
    });
}

#[test]
fn an_apply_creates_changes_and_takes_back() {
    with_options(with_names, |cluster| async move {
        let path = format!("{MAPS}/a");
        let created = apply(&cluster, "one", &path, &map("a", json!({"k": "1", "l": "1"}))).await;
        assert_eq!(created.status, 201, "{}", created.text());
        assert_eq!(owners(&created), [r#"one Apply v1 {"f:data":{"f:k":{},"f:l":{}}}"#]);
        let changed = apply(&cluster, "one", &path, &map("a", json!({"k": "2"}))).await;
        assert_eq!((changed.status, &changed.json()["data"]), (200, &json!({"k": "2"})));
        let again = apply(&cluster, "one", &path, &map("a", json!({"k": "2"}))).await;
        assert_eq!(again.text(), changed.text());
        // Another manager adds to it, and shares what it wants in the same way.
        let shared = apply(&cluster, "two", &path, &map("a", json!({"k": "2", "m": "3"}))).await;
        assert_eq!(
            owners(&shared),
            [r#"one Apply v1 {"f:data":{"f:k":{}}}"#, r#"two Apply v1 {"f:data":{"f:k":{},"f:m":{}}}"#]
        );
        // Nothing is written on a dry run.
        let dry = apply(&cluster, "one", &format!("{path}?dryRun=All"), &map("a", json!({"z": "1"}))).await;
        assert_eq!(dry.json()["data"], json!({"k": "2", "m": "3", "z": "1"}));
        assert_eq!(get(&cluster, &path).await.text(), shared.text());
        let dry = apply(&cluster, "one", &format!("{MAPS}/b?dryRun=All"), &map("b", json!({}))).await;
        assert_eq!((dry.status, get(&cluster, &format!("{MAPS}/b")).await.status), (201, 404));
        // YAML is read as well.
        let headers = ["content-type: application/apply-patch+yaml"];
        let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\ndata:\n  a: \"1\"\n  a: \"2\"\n";
        let line = format!("PATCH {MAPS}/y?fieldManager=one");
        let answer = ask(&cluster, "admin", &line, &headers, yaml).await;
        assert_eq!((answer.status, &answer.json()["data"]), (201, &json!({"a": "2"})));
        assert_eq!(answer.warnings(), ["line 7: key \"a\" already set in map"]);
        let strict = ask(&cluster, "admin", &format!("{line}&fieldValidation=Strict"), &headers, yaml).await;
        assert_eq!(strict.status, 400);
    });
}

#[test]
fn a_conflict_names_who_owns_what() {
    with_options(with_names, |cluster| async move {
        let path = format!("{DEPLOYMENTS}/web");
        let mut wanted = deployment("web");
        assert_eq!(apply(&cluster, "one", &path, &wanted).await.status, 201);
        merge(&cluster, "kube-controller-manager", &path, &json!({"spec": {"replicas": 5}})).await;
        let refused = apply(&cluster, "one", &path, &wanted).await;
        assert_eq!(
            refused.json(),
            json!({
                "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": 409, "reason": "Conflict",
                "message": "Apply failed with 1 conflict: conflict with \"kube-controller-manager\" using apps/v1: .spec.replicas",
                "details": {"causes": [{
                    "reason": "FieldManagerConflict",
                    "message": "conflict with \"kube-controller-manager\" using apps/v1",
                    "field": ".spec.replicas",
                }]},
            })
        );
        wanted["spec"]["template"]["spec"]["containers"][0]["image"] = json!("httpd");
        let refused = apply(&cluster, "two", &path, &wanted).await;
        assert_eq!(
            refused.json()["message"],
            "Apply failed with 2 conflicts: conflicts with \"kube-controller-manager\" using apps/v1:\n- .spec.replicas\nconflicts with \"one\":\n- .spec.template.spec.containers[name=\"web\"].image"
        );
        let forced = apply(&cluster, "two", &format!("{path}?force=true"), &wanted).await;
        assert_eq!((forced.status, &forced.json()["spec"]["replicas"]), (200, &json!(2)));
        assert!(!owners(&forced).iter().any(|owner| owner.starts_with("kube-controller-manager")));
    });
}

#[test]
fn what_cannot_be_applied_is_refused_as_upstream_does() {
    with_options(with_names, |cluster| async move {
        let path = format!("{MAPS}/a");
        assert_eq!(apply(&cluster, "one", &path, &map("a", json!({"k": "1"}))).await.status, 201);
        let cases: Vec<(String, Value, u16, &str)> = vec![
            (
                path.clone(),
                map("b", json!({})),
                400,
                "the name of the object (b) does not match the name on the URL (a)",
            ),
            (path.clone(), json!({"apiVersion": "v1", "kind": "Secret"}), 400, "invalid object type: /v1, Kind=Secret"),
            (
                path.clone(),
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "managedFields": []}}),
                400,
                "metadata.managedFields must be nil",
            ),
            (
                path.clone(),
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "other"}}),
                400,
                "the namespace of the provided object does not match the namespace sent on the request",
            ),
            (
                path.clone(),
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "spec": {}}),
                500,
                "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .spec: field not declared in schema",
            ),
            (
                path.clone(),
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "1"}}),
                409,
                "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
            ),
            (
                format!("{MAPS}/new"),
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new", "uid": "x"}}),
                409,
                "Operation cannot be fulfilled on configmaps \"new\": uid mismatch: the provided object specified uid x, and no existing object was found",
            ),
            (
                format!("{MAPS}/new"),
                json!({"apiVersion": "v1", "kind": "ConfigMap"}),
                400,
                "the name of the object (new based on URL) was undeterminable: name must be provided",
            ),
        ];
        for (path, body, status, message) in cases {
            let answer = apply(&cluster, "one", &path, &body).await;
            assert_eq!((answer.status, &answer.json()["message"]), (status, &json!(message)), "{body}");
        }
        let lines = [
            (
                format!("PATCH {path}"),
                "application/apply-patch+yaml",
                422,
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ),
            (
                format!("PATCH {path}?force=true"),
                "application/merge-patch+json",
                422,
                "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
            ),
            (
                format!("PATCH {path}?fieldManager=a%0ab"),
                "application/merge-patch+json",
                422,
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\nb\": invalid character U+000A (at position 1)",
            ),
            (
                format!("PATCH {path}"),
                "application/json",
                415,
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
            ),
        ];
        for (line, kind, status, message) in lines {
            let answer = write(&cluster, "test", &line, kind, &map("a", json!({}))).await;
            assert_eq!((answer.status, &answer.json()["message"]), (status, &json!(message)), "{line}");
        }
        let long = format!("PATCH {path}?fieldManager={}", "x".repeat(129));
        let answer = write(&cluster, "test", &long, "application/merge-patch+json", &json!({})).await;
        assert_eq!(
            answer.json()["message"],
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes"
        );
        // Who may patch, but not create, cannot create by applying.
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "patcher"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "patcher"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
        post(&cluster, "test", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", &role).await;
        post(&cluster, "test", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding).await;
        let headers = ["content-type: application/apply-patch+yaml"];
        for (name, status) in [("a", 200), ("c", 403)] {
            let line = format!("PATCH {MAPS}/{name}?fieldManager=jane");
            let answer = ask(&cluster, "jane", &line, &headers, &map(name, json!({})).to_string()).await;
            assert_eq!(answer.status, status, "{}", answer.text());
        }
    });
}

#[test]
fn owners_may_be_given_up_and_set() {
    with_options(with_names, |cluster| async move {
        let path = format!("{MAPS}/a");
        apply(&cluster, "one", &path, &map("a", json!({"k": "1"}))).await;
        // What is no list of owners says nothing.
        let mut broken = map("a", json!({"k": "2"}));
        broken["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Create"}]);
        let kept = put(&cluster, "other", &path, &broken).await;
        assert_eq!(owners(&kept), [r#"other Update v1 {"f:data":{"f:k":{}}}"#], "{}", kept.text());
        let mut mine = map("a", json!({"k": "2"}));
        mine["metadata"]["managedFields"] = json!([{"manager": "mine", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:k": {}}}}]);
        assert_eq!(owners(&put(&cluster, "other", &path, &mine).await), [r#"mine Apply v1 {"f:data":{"f:k":{}}}"#]);
        mine["metadata"]["managedFields"][0]["manager"] = json!("x".repeat(129));
        let refused = put(&cluster, "other", &path, &mine).await;
        assert_eq!(
            refused.json()["message"],
            "ConfigMap \"a\" is invalid: metadata.managedFields[0].manager: Too long: may not be more than 128 bytes"
        );
        // The documented way to give all of them up.
        let patch = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
        let answer = write(&cluster, "other", &format!("PATCH {path}"), "application/json-patch+json", &patch).await;
        assert_eq!((answer.status, owners(&answer)), (200, vec![]), "{}", answer.text());
        assert_eq!(owners(&merge(&cluster, "other", &path, &json!({"data": {"k": "3"}})).await), Vec::<String>::new());
        // Until somebody applies.
        let applied = apply(&cluster, "one", &format!("{path}?force=true"), &map("a", json!({"k": "4"}))).await;
        assert_eq!(
            owners(&applied),
            [r#"one Apply v1 {"f:data":{"f:k":{}}}"#, r#"before-first-apply Update v1 {"f:data":{}}"#]
        );
    });
}

#[test]
fn replicas_have_owners_on_both_paths() {
    with_options(with_names, |cluster| async move {
        let path = format!("{DEPLOYMENTS}/web");
        let mut wanted = deployment("web");
        apply(&cluster, "one", &path, &wanted).await;
        let scale = |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": replicas}});
        let scaled = merge(&cluster, "kubectl", &format!("{path}/scale"), &json!({"spec": {"replicas": 4}})).await;
        assert_eq!((scaled.status, &scaled.json()["spec"]["replicas"]), (200, &json!(4)));
        let answer = get(&cluster, &path).await;
        assert_eq!(owners(&answer)[1], r#"kubectl Update/scale apps/v1 {"f:spec":{"f:replicas":{}}}"#);
        assert!(!owners(&answer)[0].contains("f:replicas"));
        let refused = apply(&cluster, "one", &path, &wanted).await;
        assert_eq!(
            refused.json()["message"],
            "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas"
        );
        let applied = apply(&cluster, "two", &format!("{path}/scale?force=true"), &scale(5)).await;
        assert_eq!((applied.status, &applied.json()["spec"]["replicas"]), (200, &json!(5)), "{}", applied.text());
        let refused = apply(&cluster, "three", &format!("{path}/scale"), &scale(6)).await;
        assert_eq!(
            refused.json()["message"],
            "Apply failed with 1 conflict: conflict with \"two\" with subresource \"scale\": .spec.replicas"
        );
        let answer = get(&cluster, &path).await;
        assert!(
            owners(&answer).contains(&r#"two Apply/scale apps/v1 {"f:spec":{"f:replicas":{}}}"#.to_owned()),
            "{:?}",
            owners(&answer)
        );
        wanted["spec"].as_object_mut().unwrap().remove("replicas");
        let applied = apply(&cluster, "one", &path, &wanted).await;
        assert_eq!((applied.status, &applied.json()["spec"]["replicas"]), (200, &json!(5)), "{}", applied.text());
    });
}

#[test]
fn custom_resources_are_applied_by_their_schema() {
    with_options(with_names, |cluster| async move {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer"},
                "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
                    "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "value": {"type": "string", "default": "d"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }},
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
        }});
        let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema.clone()}, "subresources": {"status": {}}});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
                "versions": [version("v1", true), version("v2", false)]},
        });
        let answer =
            post(&cluster, "test", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let path = |version: &str| format!("/apis/example.com/{version}/namespaces/default/things/a");
        let thing = |version: &str, spec: Value| json!({"apiVersion": format!("example.com/{version}"), "kind": "Thing", "metadata": {"name": "a"}, "spec": spec});
        let created = apply(
            &cluster,
            "one",
            &path("v1"),
            &thing("v1", json!({"size": 1, "items": [{"name": "x"}], "free": {"a": [1]}})),
        )
        .await;
        assert_eq!(created.status, 201, "{}", created.text());
        assert_eq!(created.json()["spec"]["items"], json!([{"name": "x", "value": "d"}]));
        assert_eq!(
            owners(&created),
            [
                r#"one Apply example.com/v1 {"f:spec":{"f:free":{"f:a":{}},"f:items":{"k:{\"name\":\"x\"}":{".":{},"f:name":{}}},"f:size":{}}}"#
            ]
        );
        let added =
            apply(&cluster, "two", &path("v2"), &thing("v2", json!({"items": [{"name": "y", "value": "z"}]}))).await;
        assert_eq!(added.json()["spec"]["items"], json!([{"name": "x", "value": "d"}, {"name": "y", "value": "z"}]));
        let refused = apply(&cluster, "two", &path("v2"), &thing("v2", json!({"size": 2}))).await;
        assert_eq!(refused.json()["message"], "Apply failed with 1 conflict: conflict with \"one\": .spec.size");
        let status = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "status": {"ready": true}});
        let answer = apply(&cluster, "controller", &format!("{}/status", path("v1")), &status).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!({"ready": true})), "{}", answer.text());
        assert!(
            owners(&answer)
                .contains(&r#"controller Apply/status example.com/v1 {"f:status":{"f:ready":{}}}"#.to_owned())
        );
        let created = post(&cluster, "kubectl", "/apis/example.com/v1/namespaces/default/things", &{
            let mut thing = thing("v1", json!({"size": 1}));
            thing["metadata"]["name"] = json!("b");
            thing
        })
        .await;
        assert_eq!(owners(&created), [r#"kubectl Update example.com/v1 {"f:spec":{".":{},"f:size":{}}}"#]);
        let strategic = write(
            &cluster,
            "test",
            &format!("PATCH {}", path("v1")),
            "application/strategic-merge-patch+json",
            &json!({}),
        )
        .await;
        assert_eq!(
            (strategic.status, &strategic.json()["message"]),
            (
                415,
                &json!(
                    "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
                )
            )
        );
    });
}

#[test]
fn patches_that_do_not_fit_are_told_as_upstream_does() {
    with_options(with_names, |cluster| async move {
        post(&cluster, "kubectl", DEPLOYMENTS, &deployment("web")).await;
        let rejected = "the server rejected our request due to an error in our request";
        let json_patch = "application/json-patch+json";
        let merge_patch = "application/merge-patch+json";
        let strategic = "application/strategic-merge-patch+json";
        let cases = [
            (json_patch, json!([{"op": "test", "path": "/spec/replicas", "value": 7}]), 422, rejected.to_owned()),
            (json_patch, json!([{"op": "remove", "path": "/spec/nothing"}]), 422, rejected.to_owned()),
            (
                merge_patch,
                json!({"metadata": {"name": "other"}}),
                400,
                "the name of the object (other) does not match the name on the URL (web)".to_owned(),
            ),
            (
                strategic,
                json!({"spec": {"replicas": "two"}}),
                422,
                " \"\" is invalid: patch: Invalid value: \"map[spec:map[replicas:two]]\": unrecognized type: int32".to_owned(),
            ),
            (
                strategic,
                json!({"spec": {"selector": "x"}}),
                422,
                " \"\" is invalid: patch: Invalid value: \"map[spec:map[selector:x]]\": cannot restore struct from: string".to_owned(),
            ),
            (
                strategic,
                json!({"metadata": {"labels": {"a": 1}}}),
                422,
                " \"\" is invalid: patch: Invalid value: \"map[metadata:map[labels:map[a:1]]]\": cannot convert int64 to string".to_owned(),
            ),
            (
                strategic,
                json!({"spec": {"replicas": 1.5}}),
                422,
                " \"\" is invalid: patch: Invalid value: \"map[spec:map[replicas:1.5]]\": cannot convert float64 to int32".to_owned(),
            ),
            (
                strategic,
                json!({"spec": {"template": {"spec": {"tolerations": "x"}}}}),
                422,
                " \"\" is invalid: patch: Invalid value: \"map[spec:map[template:map[spec:map[tolerations:x]]]]\": cannot restore slice from string".to_owned(),
            ),
            (
                strategic,
                json!({"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}),
                500,
                "map: map[image:x] does not contain declared merge key: name".to_owned(),
            ),
        ];
        for (kind, patch, status, message) in cases {
            let answer = write(&cluster, "test", &format!("PATCH {DEPLOYMENTS}/web"), kind, &patch).await;
            assert_eq!((answer.status, &answer.json()["message"]), (status, &json!(message)), "{patch}");
        }
    });
}
