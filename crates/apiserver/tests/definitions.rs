//! CustomResourceDefinitions with several versions: conversion by a webhook, deprecated versions, names that others have.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_client::{Client, Options, PatchType, Preconditions, Reply, Request, Verb, WatchEvent};
use k8s_object::{GroupVersionResource, Object, Reason, resources};
use serde_json::{Value, json};
use store::{KeyRange, RangeRequest, Store};
use support::hooks::{Answer, Hooks};
use support::http::{ask, with_names};
use support::{Cluster, request, start_with, with_cluster, with_options};
use world::World;

const DEFINITIONS: &GroupVersionResource = &resources::CUSTOM_RESOURCE_DEFINITIONS;

fn endpoints(version: &str) -> GroupVersionResource {
    GroupVersionResource::new("stable.example.com", version, "endpoints")
}

fn definition(storage: &str, conversion: Value) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let versions: Vec<Value> = ["v1", "v2"]
        .iter()
        .map(|name| json!({"name": name, "served": true, "storage": *name == storage, "schema": schema, "subresources": {"status": {}}}))
        .collect();
    json!({
        "metadata": {"name": "endpoints.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced", "conversion": conversion,
            "names": {"plural": "endpoints", "kind": "Endpoint"}, "versions": versions,
        },
    })
}

fn by_webhook(outside: &Hooks) -> Value {
    let config = json!({"url": "https://hook.example/convert", "caBundle": outside.ca});
    json!({"strategy": "Webhook", "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]}})
}

/// v1 has `spec.address` `host:port`, v2 has `spec.host` and `spec.port`.
fn convert(mut object: Value, to: &str) -> Value {
    let spec = &mut object["spec"];
    if to.ends_with("/v2") {
        let address = spec["address"].as_str().unwrap_or(":").to_owned();
        let (host, port) = address.split_once(':').unwrap();
        *spec = json!({"host": host, "port": port});
    } else {
        let text = |key: &str| spec[key].as_str().unwrap_or("").to_owned();
        *spec = json!({"address": format!("{}:{}", text("host"), text("port"))});
    }
    object["apiVersion"] = json!(to);
    // What a webhook does to the rest of the metadata does not count.
    object["metadata"]["labels"] = json!({"converted": "yes"});
    object["metadata"]["finalizers"] = json!(["a/b"]);
    object
}

/// Runs a test against a cluster whose webhook converts, until it is told to fail.
fn with_webhook<F: Future<Output = ()>>(test: impl FnOnce(Cluster, Arc<Hooks>, Arc<AtomicBool>) -> F) {
    let (world, mut simulation) = World::simulated(1);
    let fails = Arc::new(AtomicBool::new(false));
    let failing = fails.clone();
    let answer: Answer = Arc::new(move |path, review| {
        assert_eq!((path.split('?').next().unwrap(), &review["kind"]), ("/convert", &json!("ConversionReview")));
        let request = &review["request"];
        let to = request["desiredAPIVersion"].as_str().unwrap();
        let objects = request["objects"].as_array().unwrap();
        let result = match failing.load(Ordering::Relaxed) {
            true => json!({"status": "Failure", "message": "out of order"}),
            false => json!({"status": "Success"}),
        };
        let converted: Vec<Value> = objects.iter().map(|object| convert(object.clone(), to)).collect();
        let review = json!({
            "apiVersion": review["apiVersion"], "kind": review["kind"],
            "response": {"uid": request["uid"], "result": result, "convertedObjects": converted},
        });
        Some((200, review))
    });
    let outside = Hooks::new(&world, &["hook.example"], answer);
    let store = Store::memory(&world, store::Limits::default());
    simulation.block_on(async move {
        let dialer = outside.clone();
        let cluster = start_with(&world, &store, |options| {
            with_names(options);
            options.dialer = Some(dialer);
        });
        test(cluster.await, outside, fails).await;
    });
}

fn spec(object: &Object) -> Value {
    object.value()["spec"].clone()
}

/// What the store has of the objects, as `apiVersion spec`.
async fn stored(cluster: &Cluster) -> Vec<String> {
    let range = cluster.store.range(RangeRequest::new(KeyRange::all())).await.unwrap();
    let ours =
        range.kvs.iter().filter(|kv| String::from_utf8_lossy(&kv.key).contains("/endpoints.stable.example.com/"));
    let values = ours.map(|kv| serde_json::from_slice::<Value>(&kv.value).unwrap());
    values.map(|value| format!("{} {}", value["apiVersion"].as_str().unwrap(), value["spec"])).collect()
}

async fn create(client: &Client, version: &str, name: &str, spec: Value) -> Arc<Object> {
    let object = json!({"metadata": {"name": name}, "spec": spec});
    client.create(&endpoints(version), "default", object).await.unwrap()
}

#[test]
fn a_webhook_converts_what_is_read_written_listed_and_watched() {
    with_webhook(|cluster, outside, fails| async move {
        let client = cluster.admin();
        client.create(DEFINITIONS, "", definition("v1", by_webhook(&outside))).await.unwrap();
        let (v1, v2) = (endpoints("v1"), endpoints("v2"));
        create(&client, "v1", "a", json!({"address": "a:1"})).await;
        let b = create(&client, "v2", "b", json!({"host": "b", "port": "2"})).await;
        assert_eq!((spec(&b), &*b.kind().version), (json!({"host": "b", "port": "2"}), "v2"));
        assert!(b.meta().finalizers.is_empty() && b.meta().labels.get("converted") == Some("yes"));
        let in_v1 = [r#"stable.example.com/v1 {"address":"a:1"}"#, r#"stable.example.com/v1 {"address":"b:2"}"#];
        assert_eq!(stored(&cluster).await, in_v1);

        let a = client.get(&v2, "default", "a").await.unwrap();
        assert_eq!(spec(&a), json!({"host": "a", "port": "1"}));
        let (items, _) = client.list(&v2, "default").await.unwrap();
        assert_eq!(items.iter().map(|item| spec(item)["host"].clone()).collect::<Vec<_>>(), [json!("a"), json!("b")]);
        let mut watch = client.watch(&v2, Options::default()).await.unwrap();
        assert_eq!(watch.next().await.unwrap().len(), 2);

        let patch = json!({"spec": {"port": "3"}});
        let patched = client.patch(&v2, "default", "a", "", PatchType::Merge, patch).await.unwrap();
        assert_eq!(spec(&patched), json!({"host": "a", "port": "3"}));
        assert_eq!(spec(&client.get(&v1, "default", "a").await.unwrap()), json!({"address": "a:3"}));
        let events = watch.next().await.unwrap();
        let [WatchEvent::Modified(seen)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(spec(seen), json!({"host": "a", "port": "3"}));
        let same =
            client.patch(&v2, "default", "a", "", PatchType::Merge, json!({"spec": {"port": "3"}})).await.unwrap();
        assert_eq!(same.meta().resource_version, patched.meta().resource_version, "nothing changed");

        fails.store(true, Ordering::Relaxed);
        let message = "conversion webhook for stable.example.com/v1, Kind=Endpoint failed: out of order";
        let errors = [
            client.get(&v2, "default", "a").await.unwrap_err(),
            client.list(&v2, "default").await.unwrap_err(),
            client.patch(&v2, "default", "a", "", PatchType::Merge, json!({"spec": {"port": "4"}})).await.unwrap_err(),
        ];
        for error in errors {
            assert!(error.code() == 500 && error.message.contains(message), "{error}");
        }
        assert_eq!(spec(&client.get(&v1, "default", "a").await.unwrap()), json!({"address": "a:3"}), "needs nobody");
        fails.store(false, Ordering::Relaxed);

        // Another storage version: what is stored is converted when it is written next.
        let change = json!({"spec": definition("v2", by_webhook(&outside))["spec"]});
        let changed = client.patch(DEFINITIONS, "", "endpoints.stable.example.com", "", PatchType::Merge, change).await;
        assert_eq!(changed.unwrap().value()["status"]["storedVersions"], json!(["v1", "v2"]));
        create(&client, "v1", "c", json!({"address": "c:5"})).await;
        let mixed = [
            in_v1[1].replace("b:2", "a:3"),
            in_v1[1].to_owned(),
            r#"stable.example.com/v2 {"host":"c","port":"5"}"#.to_owned(),
        ];
        assert_eq!(stored(&cluster).await, mixed);
        let (items, _) = client.list(&v1, "default").await.unwrap();
        let addresses: Vec<Value> = items.iter().map(|item| spec(item)["address"].clone()).collect();
        assert_eq!(addresses, [json!("a:3"), json!("b:2"), json!("c:5")]);
        for name in ["a", "b", "c"] {
            client.delete(&v1, "default", name, Preconditions::default()).await.unwrap();
        }
        assert!(stored(&cluster).await.is_empty());
    });
}

#[test]
fn fields_of_a_version_that_a_webhook_makes_can_be_selected() {
    with_webhook(|cluster, outside, _| async move {
        let client = cluster.admin();
        let mut object = definition("v1", by_webhook(&outside));
        for (index, field) in ["address", "host"].into_iter().enumerate() {
            let version = &mut object["spec"]["versions"][index];
            let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {field: {"type": "string"}}});
            version["schema"]["openAPIV3Schema"]["properties"] = json!({"spec": spec});
            version["selectableFields"] = json!([{"jsonPath": format!(".spec.{field}")}]);
        }
        client.create(DEFINITIONS, "", object).await.unwrap();
        let selected = |selector: &str| Options { field_selector: Some(selector.to_owned()), ..Options::default() };
        let mut watch = client.watch(&endpoints("v2"), selected("spec.host=a")).await.unwrap();
        create(&client, "v1", "first", json!({"address": "a:1"})).await;
        create(&client, "v1", "other", json!({"address": "b:1"})).await;
        let names = async |version: &str, selector: &str| -> Result<Vec<String>, String> {
            let request =
                Request { options: selected(selector), ..request(Verb::List, &endpoints(version), "default", "") };
            match client.call(request).await.map_err(|error| error.message)? {
                Reply::List { items, .. } => Ok(items.iter().map(|item| item.meta().name.clone()).collect()),
                _ => panic!("a list is a list"),
            }
        };
        assert_eq!(names("v2", "spec.host=a").await.unwrap(), ["first"]);
        assert_eq!(names("v2", "spec.host!=a").await.unwrap(), ["other"]);
        assert_eq!(names("v1", "spec.address=b:1").await.unwrap(), ["other"]);
        assert_eq!(names("v1", "spec.host=a").await.unwrap_err(), "field label not supported: spec.host");
        for address in ["b:2", "a:3"] {
            let patch = json!({"spec": {"address": address}});
            client.patch(&endpoints("v1"), "default", "first", "", PatchType::Merge, patch).await.unwrap();
        }
        client.delete(&endpoints("v1"), "default", "first", Preconditions::default()).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 4 {
            for event in watch.next().await.unwrap() {
                seen.push(match event {
                    WatchEvent::Added(object) => format!("added {}", spec(&object)["host"]),
                    WatchEvent::Deleted(object) => format!("deleted {}", spec(&object)["host"]),
                    other => format!("{other:?}"),
                });
            }
        }
        assert_eq!(seen, ["added \"a\"", "deleted \"a\"", "added \"a\"", "deleted \"a\""]);
    });
}

#[test]
fn a_webhook_that_nobody_can_trust_converts_nothing() {
    with_webhook(|cluster, outside, _| async move {
        let client = cluster.admin();
        let mut conversion = by_webhook(&outside);
        conversion["webhook"]["clientConfig"]["caBundle"] = json!("Q2VydGlmaWNhdGU=");
        let established = |object: &Object| {
            let value = object.value();
            let mut conditions = value["status"]["conditions"].as_array().unwrap().iter();
            conditions.find(|own| own["type"] == "Established").unwrap()["reason"].as_str().unwrap().to_owned()
        };
        let object = client.create(DEFINITIONS, "", definition("v1", conversion.clone())).await.unwrap();
        assert_eq!(established(&object), "InvalidCABundle");
        let (name, change) = (&object.meta().name, |conversion: &Value| json!({"spec": {"conversion": conversion}}));
        let good = change(&by_webhook(&outside));
        let object = client.patch(DEFINITIONS, "", name, "", PatchType::Merge, good).await.unwrap();
        assert_eq!(established(&object), "InitialNamesAccepted");
        let bad = change(&conversion);
        let refused = client.patch(DEFINITIONS, "", name, "", PatchType::Merge, bad).await.unwrap_err();
        assert_eq!(refused.causes[0].field, "spec.conversion.webhookClientConfig.caBundle");
    });
}

#[test]
fn versions_with_different_schemas_show_what_they_know() {
    let schema = |properties: Value| json!({"openAPIV3Schema": {"type": "object", "properties": properties}});
    let text = json!({"type": "string"});
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let mut object = definition("v2", json!({"strategy": "None"}));
        let versions = object["spec"]["versions"].as_array_mut().unwrap();
        versions[0]["schema"] = schema(json!({"spec": {"type": "object", "properties": {"a": text, "both": text}}}));
        let b = json!({"type": "string", "default": "B"});
        versions[1]["schema"] = schema(json!({"spec": {"type": "object", "properties": {"b": b, "both": text}}}));
        for version in versions {
            version.as_object_mut().unwrap().remove("subresources");
        }
        client.create(DEFINITIONS, "", object).await.unwrap();
        let created = create(&client, "v1", "x", json!({"a": "A", "both": "C"})).await;
        assert_eq!(spec(&created), json!({"both": "C"}), "the version that is stored does not know the rest");
        assert_eq!(stored(&cluster).await, [r#"stable.example.com/v2 {"both":"C"}"#]);
        let read = client.get(&endpoints("v2"), "default", "x").await.unwrap();
        assert_eq!(spec(&read), json!({"b": "B", "both": "C"}));
        let (listed, _) = client.list(&endpoints("v1"), "default").await.unwrap();
        assert_eq!(spec(&listed[0]), json!({"both": "C"}));
        assert_eq!(created.meta().generation, 1);
    });
}

#[test]
fn watches_end_when_what_they_watch_is_defined_anew() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        client.create(DEFINITIONS, "", definition("v1", json!({"strategy": "None"}))).await.unwrap();
        let first = create(&client, "v1", "x", json!({"a": 1})).await;
        let change = async |change: Value| {
            let name = "endpoints.stable.example.com";
            client.patch(DEFINITIONS, "", name, "", PatchType::Merge, change).await.unwrap();
        };
        let options =
            || Options { resource_version: Some(first.meta().resource_version.clone()), ..Options::default() };
        let mut watch = client.watch(&endpoints("v1"), options()).await.unwrap();
        change(json!({"metadata": {"labels": {"a": "b"}}})).await;
        create(&client, "v1", "y", json!({"a": 1})).await;
        assert_eq!(watch.next().await.unwrap().len(), 1, "labels of the definition say nothing about its objects");
        assert_eq!(create(&client, "v1", "z", json!({"a": 1})).await.meta().name, "z");
        assert_eq!(watch.next().await.unwrap().len(), 1);
        change(json!({"spec": {"names": {"categories": ["all"]}}})).await;
        assert_eq!(watch.next().await.unwrap_err().reason, Reason::Expired);
        let before = client.watch(&endpoints("v1"), options()).await.map(drop);
        assert_eq!(before.unwrap_err().reason, Reason::Expired, "what there is may read otherwise since");
        let (items, revision) = client.list(&endpoints("v1"), "default").await.unwrap();
        assert_eq!(items.len(), 3);
        // Its end is seen to the last object.
        let options = Options { resource_version: Some(revision), ..Options::default() };
        let mut watch = client.watch(&endpoints("v1"), options).await.unwrap();
        client.delete(DEFINITIONS, "", "endpoints.stable.example.com", Preconditions::default()).await.unwrap();
        let mut gone = 0;
        let end = loop {
            match watch.next().await {
                Ok(events) => gone += events.iter().filter(|event| matches!(event, WatchEvent::Deleted(_))).count(),
                Err(error) => break error,
            }
        };
        assert_eq!((gone, end.reason), (3, Reason::Expired));
    });
}

#[test]
fn requests_for_custom_objects_that_make_no_sense_are_refused_as_upstream_refuses_them() {
    with_options(with_names, |cluster| async move {
        let client = cluster.admin();
        let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
        let mut object = definition("v1", json!({"strategy": "None"}));
        for version in object["spec"]["versions"].as_array_mut().unwrap() {
            version["schema"]["openAPIV3Schema"]["properties"] = json!({"embedded": embedded});
            version["subresources"]["scale"] =
                json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
        }
        client.create(DEFINITIONS, "", object).await.unwrap();
        create(&client, "v1", "bare", json!({})).await;
        let group = "/apis/stable.example.com/v1";
        let path = format!("{group}/namespaces/default/endpoints");
        let valid = json!({"apiVersion": "stable.example.com/v1", "kind": "Endpoint", "metadata": {"name": "a"}});
        let with = |pointer: &str, value: Value| {
            let mut object = valid.clone();
            match pointer.rsplit_once('/') {
                Some(("", key)) => object[key] = value,
                Some((above, key)) => object.pointer_mut(above).unwrap()[key] = value,
                None => {}
            }
            object.to_string()
        };
        let text = valid.to_string();
        let nowhere = "the server could not find the requested resource";
        let inside = |metadata: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata});
        let cases = [
            (format!("DELETE {group}/endpoints"), "", 404, nowhere),
            (format!("POST {group}/endpoints"), &*text, 404, nowhere),
            (format!("GET {group}/endpoints/bare"), "", 404, nowhere),
            (
                "DELETE /api/v1/configmaps".to_owned(),
                "",
                405,
                "the server does not allow this method on the requested resource",
            ),
            ("GET /api/v1/configmaps/a".to_owned(), "", 404, nowhere),
            (
                format!("POST {path}"),
                &with("/kind", json!("Other")),
                422,
                "Other.stable.example.com \"a\" is invalid: kind: Invalid value: \"Other\": must be Endpoint",
            ),
            (
                format!("POST {path}"),
                &with("/kind", json!("")),
                400,
                "Endpoint in version \"v1\" cannot be handled as a Endpoint: Object 'Kind' is missing in '",
            ),
            (
                format!("POST {path}"),
                &with("/apiVersion", json!("")),
                400,
                "the API version in the data () does not match the expected API version (stable.example.com/v1)",
            ),
            (
                format!("POST {path}"),
                &with("/metadata/labels", json!({"a": 42})),
                400,
                "Endpoint in version \"v1\" cannot be handled as a Endpoint: json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string",
            ),
            (
                format!("POST {path}"),
                &with("/embedded", inside(json!({"namespace": 42}))),
                400,
                "embedded.metadata: Invalid value: {\"namespace\":42}: json: cannot unmarshal number",
            ),
            (
                format!("POST {path}"),
                &with("/embedded", inside(json!({"name": ".."}))),
                422,
                "embedded.metadata.name: Invalid value: \"..\": may not be '..'",
            ),
            (
                format!("POST {path}"),
                &with("/spec", json!({"replicas": 3_000_000_000_i64})),
                422,
                ".spec.replicas: Invalid value: 3000000000: should be less than or equal to 2147483647",
            ),
            (format!("GET {path}/bare/scale"), "", 500, "the spec replicas field \".spec.replicas\" does not exist"),
            (
                format!("PATCH {path}/bare/scale"),
                "{}",
                400,
                "the spec replicas field \".spec.replicas\" cannot be empty",
            ),
        ];
        for (line, body, status, message) in cases {
            let kind = if line.starts_with("PATCH") { "application/merge-patch+json" } else { "application/json" };
            let answer = ask(&cluster, "admin", &line, &[&format!("content-type: {kind}")], body).await;
            assert!(
                answer.status == status && answer.text().replace("\\\"", "\"").contains(message),
                "{line} {body}: {} {}",
                answer.status,
                answer.text()
            );
        }
        let strategic = [&*"content-type: application/strategic-merge-patch+json".to_owned()];
        for below in ["", "/status", "/scale"] {
            let answer = ask(&cluster, "admin", &format!("PATCH {path}/bare{below}"), &strategic, "{}").await;
            assert_eq!(answer.status, 415, "{below}");
        }
        // A namespace where there are none goes, as it does not stand in the path.
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a", "namespace": "default"}});
        let roles = "POST /apis/rbac.authorization.k8s.io/v1/clusterroles";
        let answer = ask(&cluster, "admin", roles, &["content-type: application/json"], &role.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());

        // A definition that is going takes nothing new.
        let kept = json!({"metadata": {"name": "kept", "finalizers": ["a.example/b"]}});
        client.create(&endpoints("v1"), "default", kept).await.unwrap();
        client.delete(DEFINITIONS, "", "endpoints.stable.example.com", Preconditions::default()).await.unwrap();
        let refused = client.create(&endpoints("v1"), "default", json!({"metadata": {"name": "new"}})).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "endpoints.stable.example.com \"new\" is forbidden: create not allowed while custom resource definition is terminating"
        );
    });
}

#[test]
fn a_webhook_that_is_not_trusted_or_not_there_is_named() {
    with_webhook(|cluster, outside, _| async move {
        let client = cluster.admin();
        let mut conversion = by_webhook(&outside);
        conversion["webhook"]["clientConfig"]["url"] = json!("https://stranger.example/convert");
        client.create(DEFINITIONS, "", definition("v1", conversion)).await.unwrap();
        create(&client, "v1", "a", json!({"address": "a:1"})).await;
        let error = client.get(&endpoints("v2"), "default", "a").await.unwrap_err();
        assert!(error.code() == 500 && error.message.contains("https://stranger.example:443/convert"), "{error}");
    });
}

#[test]
fn clients_of_a_deprecated_version_are_warned() {
    with_options(with_names, |cluster| async move {
        let mut object = definition("v2", json!({"strategy": "None"}));
        object["spec"]["versions"][0]["deprecated"] = json!(true);
        cluster.admin().create(DEFINITIONS, "", object).await.unwrap();
        let warned = r#"299 - "stable.example.com/v1 Endpoint is deprecated; use stable.example.com/v2 Endpoint""#;
        for (version, expected) in [("v1", warned), ("v2", "")] {
            let line = format!("GET /apis/stable.example.com/{version}/endpoints");
            let answer = ask(&cluster, "admin", &line, &[], "").await;
            assert_eq!((answer.status, answer.header("warning")), (200, expected), "{version}");
        }
    });
}

#[test]
fn objects_are_read_by_the_schema_of_now() {
    let schema = |properties: Value| json!({"openAPIV3Schema": {"type": "object", "properties": properties}});
    let text = |default: &str| match default {
        "" => json!({"type": "string"}),
        default => json!({"type": "string", "default": default}),
    };
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let put = async |properties: Value| {
            let patch = json!([{"op": "replace", "path": "/spec/versions/0/schema", "value": schema(properties)}]);
            let name = "endpoints.stable.example.com";
            client.patch(DEFINITIONS, "", name, "", PatchType::Json, patch).await.unwrap();
        };
        let mut object = definition("v1", json!({"strategy": "None"}));
        object["spec"]["versions"].as_array_mut().unwrap().truncate(1);
        object["spec"]["versions"][0]["schema"] = schema(json!({"a": text(""), "b": text(""), "c": text("")}));
        client.create(DEFINITIONS, "", object).await.unwrap();
        let resource = endpoints("v1");
        let read = async |name: &str| {
            let value = client.get(&resource, "default", name).await.unwrap().value();
            ["a", "b", "c"].map(|key| value[key].as_str().unwrap_or("-").to_owned()).join(" ")
        };
        let first =
            client.create(&resource, "default", json!({"metadata": {"name": "first"}, "c": "C"})).await.unwrap();
        assert_eq!(read("first").await, "- - C");
        put(json!({"a": text("A"), "b": text("")})).await;
        assert_eq!(read("first").await, "A - -", "a default since then, and a field that is no more");
        let again = client.get(&resource, "default", "first").await.unwrap();
        assert_eq!(again.meta().resource_version, first.meta().resource_version, "nobody has written");
        client.create(&resource, "default", json!({"metadata": {"name": "second"}})).await.unwrap();
        put(json!({"a": text(""), "b": text("B")})).await;
        assert_eq!(read("second").await, "A B -", "what was stored with its default keeps it");
        assert_eq!(read("first").await, "- B -", "what was only read with it does not");
    });
}

#[test]
fn names_are_accepted_once_they_are_free() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let other = {
            let mut object = definition("v1", json!({"strategy": "None"}));
            object["metadata"]["name"] = json!("targets.stable.example.com");
            object["spec"]["names"]["plural"] = json!("targets");
            object
        };
        client.create(DEFINITIONS, "", definition("v1", json!({"strategy": "None"}))).await.unwrap();
        let second = client.create(DEFINITIONS, "", other).await.unwrap();
        let conditions = |object: &Object| -> Vec<String> {
            let value = object.value();
            let list = value["status"]["conditions"].as_array().unwrap().iter();
            list.map(|c| format!("{} {} {}", c["type"], c["status"], c["reason"]).replace('"', "")).collect()
        };
        assert_eq!(conditions(&second), ["NamesAccepted False ListKindConflict", "Established False NotAccepted"]);
        let targets = GroupVersionResource::new("stable.example.com", "v1", "targets");
        assert!(client.list(&targets, "").await.unwrap_err().is_not_found());
        client.delete(DEFINITIONS, "", "endpoints.stable.example.com", Preconditions::default()).await.unwrap();
        cluster.world.sleep(Duration::from_secs(5)).await;
        let second = client.get(DEFINITIONS, "", "targets.stable.example.com").await.unwrap();
        assert_eq!(conditions(&second), ["NamesAccepted True NoConflicts", "Established True InitialNamesAccepted"]);
        assert!(client.list(&targets, "").await.is_ok());
    });
}

#[test]
fn objects_of_a_definition_that_serves_no_version_go_with_it() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let mut object = definition("v1", json!({"strategy": "None"}));
        object["spec"]["versions"].as_array_mut().unwrap().truncate(1);
        client.create(DEFINITIONS, "", object.clone()).await.unwrap();
        create(&client, "v1", "a", json!({})).await;
        let patch = json!([{"op": "replace", "path": "/spec/versions/0/served", "value": false}]);
        client.patch(DEFINITIONS, "", "endpoints.stable.example.com", "", PatchType::Json, patch).await.unwrap();
        assert!(client.get(&endpoints("v1"), "default", "a").await.unwrap_err().is_not_found());
        client.delete(DEFINITIONS, "", "endpoints.stable.example.com", Preconditions::default()).await.unwrap();
        cluster.world.sleep(Duration::from_secs(5)).await;
        client.create(DEFINITIONS, "", object).await.unwrap();
        assert!(client.get(&endpoints("v1"), "default", "a").await.unwrap_err().is_not_found());
        assert!(client.list(&endpoints("v1"), "default").await.is_ok());
    });
}

#[test]
fn finalizers_that_others_may_have_are_warned_of() {
    with_options(with_names, |cluster| async move {
        let client = cluster.admin();
        let conversion = json!({"strategy": "None"});
        client.create(DEFINITIONS, "", definition("v1", conversion)).await.unwrap();
        let path = "/apis/stable.example.com/v1/namespaces/default/endpoints";
        let object = json!({
            "apiVersion": "stable.example.com/v1", "kind": "Endpoint",
            "metadata": {"name": "a", "finalizers": ["mine", "orphan", "a.example/b", "a.example"]}, "spec": {},
        });
        let answer =
            ask(&cluster, "admin", &format!("POST {path}"), &["content-type: application/json"], &object.to_string())
                .await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let warnings: Vec<&str> =
            answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect();
        let told = |name: &str, path: &str| {
            format!(
                r#"299 - "metadata.finalizers: \"{name}\": prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers""#
            )
        };
        assert_eq!(warnings, [told("a.example", " including a path (/)"), told("mine", "")]);
    });
}

#[test]
fn a_group_and_version_that_are_built_in_are_served_as_they_are() {
    with_options(with_names, |cluster| async move {
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let version = |name: &str| json!({"name": name, "served": true, "storage": name == "v1", "schema": schema});
        let approved = json!({"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"});
        let object = json!({
            "metadata": {"name": "bars.apiextensions.k8s.io", "annotations": approved},
            "spec": {
                "group": "apiextensions.k8s.io", "scope": "Cluster", "names": {"plural": "bars", "kind": "Bar"},
                "versions": [version("v1"), version("vfake")],
            },
        });
        cluster.admin().create(DEFINITIONS, "", object).await.unwrap();
        let get =
            async |path: &str| ask(&cluster, "admin", &format!("GET /apis/apiextensions.k8s.io{path}"), &[], "").await;
        for (path, status) in
            [("/v1/bars", 404), ("/vfake/bars", 200), ("/v1/customresourcedefinitions/bars.apiextensions.k8s.io", 200)]
        {
            assert_eq!(get(path).await.status, status, "{path}");
        }
        for (path, expected) in [("/v1", "customresourcedefinitions"), ("/vfake", "bars")] {
            let list = get(path).await.json();
            let names: Vec<&Value> = list["resources"].as_array().unwrap().iter().map(|own| &own["name"]).collect();
            assert_eq!(names[0], expected, "{path}");
            assert!(names.iter().all(|name| name.as_str().unwrap().starts_with(expected)), "{names:?}");
        }
        let versions: Vec<Value> = get("").await.json()["versions"].as_array().unwrap().clone();
        let versions: Vec<&Value> = versions.iter().map(|own| &own["version"]).collect();
        assert_eq!(versions, ["vfake", "v1"], "those of custom resources have a higher priority");
    });
}

#[test]
fn objects_of_a_built_in_resource_outlive_a_definition_of_its_name() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let classes = GroupVersionResource::of("networking.k8s.io", "v1", "ingressclasses");
        let class = json!({"metadata": {"name": "mine"}, "spec": {"controller": "example.com/mine"}});
        client.create(&classes, "", class).await.unwrap();
        let schema = json!({"openAPIV3Schema": {"type": "object", "required": ["foo"], "properties": {"foo": {"type": "string"}}}});
        let approved = json!({"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"});
        let name = "ingressclasses.networking.k8s.io";
        let object = json!({
            "metadata": {"name": name, "annotations": approved},
            "spec": {
                "group": "networking.k8s.io", "scope": "Cluster", "names": {"plural": "ingressclasses", "kind": "Other"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
            },
        });
        client.create(DEFINITIONS, "", object).await.unwrap();
        let found = client.get(&classes, "", "mine").await.unwrap();
        assert_eq!(found.value()["kind"], "IngressClass");
        client.delete(DEFINITIONS, "", name, Default::default()).await.unwrap();
        while client.get(DEFINITIONS, "", name).await.is_ok() {
            cluster.world.sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(client.get(&classes, "", "mine").await.unwrap().meta().uid, found.meta().uid);
    });
}
