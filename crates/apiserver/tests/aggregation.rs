//! Versions of groups that other servers serve: registered, looked at, told in discovery, and passed on to.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_object::{GroupVersionResource, resources};
use serde_json::{Value, json};
use store::Store;
use support::hooks::{Answer, Hooks};
use support::http::{ask, with_names};
use support::{Cluster, start_with};
use world::World;

const API_SERVICES: GroupVersionResource = GroupVersionResource::of("apiregistration.k8s.io", "v1", "apiservices");
const ADDRESS: &str = "10.0.0.9";
const VERSION: &str = "/apis/metrics.example/v1";

fn answer(path: &str, _: &Value) -> Option<(u16, Value)> {
    let found = match path {
        VERSION => json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.example/v1",
            "resources": [{"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]}],
        }),
        "/openapi/v3" => {
            let url = |place: &str| json!({"serverRelativeURL": format!("/openapi/v3/{place}?hash=X")});
            json!({"paths": {
                "api": url("api"), "apis/metrics.example/v1": url("apis/metrics.example/v1"), "extra": url("extra"),
            }})
        }
        "/openapi/v3/extra?hash=X" => json!({"openapi": "3.0.0", "info": {"title": "Metrics"}}),
        "/openapi/v3/apis/metrics.example/v1?hash=X" => json!({"openapi": "3.0.0"}),
        "/apis/metrics.example/v1/namespaces/default/pods?limit=x" => json!({"kind": "PodMetricsList", "items": []}),
        _ => return Some((404, json!({"kind": "Status", "code": 404}))),
    };
    Some((200, found))
}

async fn condition(cluster: &Cluster, name: &str) -> (String, String, String) {
    let Ok(object) = cluster.admin().get(&API_SERVICES, "", name).await else { return Default::default() };
    let condition = object.value()["status"]["conditions"][0].clone();
    let text = |field: &str| condition[field].as_str().unwrap_or("").to_owned();
    (text("status"), text("reason"), text("message"))
}

/// Waits until the condition has a reason.
async fn until(cluster: &Cluster, name: &str, reason: &str) -> (String, String, String) {
    for _ in 0..200 {
        let found = condition(cluster, name).await;
        if found.1 == reason {
            return found;
        }
        cluster.world.sleep(Duration::from_millis(500)).await;
    }
    panic!("{name} is {:?} and does not become {reason}", condition(cluster, name).await);
}

fn with_others<F: Future<Output = ()>>(test: impl FnOnce(Cluster, Arc<Hooks>) -> F) {
    with_server(Arc::new(answer), test);
}

fn with_server<F: Future<Output = ()>>(answer: Answer, test: impl FnOnce(Cluster, Arc<Hooks>) -> F) {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, store::Limits::default());
    simulation.block_on(async move {
        let hooks = Hooks::new(&world, &["metrics.default.svc"], answer);
        let dialer = hooks.clone();
        let cluster = start_with(&world, &store, |options| {
            with_names(options);
            options.dialer = Some(dialer);
        })
        .await;
        if cluster.server.count("apiregistration.k8s.io", "apiservices").is_none() {
            println!("skipped: APIServices are not served yet");
            return;
        }
        test(cluster, hooks).await;
    });
}

#[test]
fn versions_of_other_servers_are_served_as_long_as_they_are_there() {
    with_others(|cluster, hooks| async move {
        let client = cluster.admin();
        let spec = json!({
            "group": "metrics.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"namespace": "default", "name": "metrics"}, "caBundle": hooks.ca,
        });
        let name = "v1.metrics.example";
        client.create(&API_SERVICES, "", json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
        let found = until(&cluster, name, "ServiceNotFound").await;
        assert_eq!(found.2, "service/metrics in \"default\" is not present");
        let get = async |user: &str, path: &str| ask(&cluster, user, &format!("GET {path}"), &[], "").await;
        let refused = get("admin", &format!("{VERSION}/namespaces/default/pods")).await;
        assert_eq!((refused.status, refused.text().as_str()), (503, "service unavailable\n"));

        let ports = json!([{"name": "https", "port": 443, "targetPort": 443}]);
        let service = json!({"metadata": {"name": "metrics"}, "spec": {"selector": {"a": "b"}, "ports": ports}});
        client.create(&resources::SERVICES, "default", service).await.unwrap();
        let found = until(&cluster, name, "EndpointsNotFound").await;
        assert_eq!(found.2, "cannot find endpointslices for service/metrics in \"default\"");
        let mut slice = json!({
            "metadata": {"name": "metrics", "labels": {"kubernetes.io/service-name": "metrics"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": false}}],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
        });
        client.create(&resources::ENDPOINT_SLICES, "default", slice.clone()).await.unwrap();
        until(&cluster, name, "MissingEndpoints").await;
        slice["endpoints"][0]["conditions"]["ready"] = json!(true);
        client.update(&resources::ENDPOINT_SLICES, "default", "metrics", "", slice).await.unwrap();
        assert_eq!(until(&cluster, name, "Passed").await.0, "True");

        hooks.headers.lock().unwrap().clear();
        let headers = ["x-remote-user: root", "x-remote-group: system:masters"];
        let line = format!("GET {VERSION}/namespaces/default/pods?limit=x");
        let answer = ask(&cluster, "admin", &line, &headers, "").await;
        assert_eq!((answer.status, &answer.json()["kind"]), (200, &json!("PodMetricsList")), "{}", answer.text());
        let sent = hooks.headers.lock().unwrap().pop().unwrap();
        let all =
            |name: &str| -> Vec<&str> { sent.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect() };
        assert_eq!(all("x-remote-user"), ["admin"]);
        assert_eq!(all("x-remote-group"), ["system:masters", "system:authenticated"]);
        assert!(all("authorization").is_empty());
        assert_eq!(get("admin", &format!("{VERSION}/nothing")).await.status, 404);
        let refused = get("jane", &format!("{VERSION}/namespaces/default/pods")).await;
        let message = r#"pods.metrics.example is forbidden: User "jane" cannot list resource "pods" in API group "metrics.example" in the namespace "default""#;
        assert_eq!(refused.json()["message"], message);

        let groups = get("admin", "/apis").await.json()["groups"].clone();
        let own = groups.as_array().unwrap().iter().find(|group| group["name"] == "metrics.example").unwrap().clone();
        assert_eq!(own["preferredVersion"]["groupVersion"], "metrics.example/v1");
        assert_eq!(get("admin", "/apis/metrics.example").await.json()["kind"], "APIGroup");
        assert_eq!(get("admin", VERSION).await.json()["kind"], "APIResourceList");
        let accept = ["accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"];
        let list = ask(&cluster, "admin", "GET /apis", &accept, "").await.json();
        let own = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|group| group["metadata"]["name"] == "metrics.example")
            .unwrap()
            .clone();
        assert_eq!(own["versions"][0]["resources"][0]["resource"], "pods");
        let paths = get("admin", "/openapi/v3").await.json()["paths"].clone();
        let url = paths["apis/metrics.example/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
        assert_eq!(get("admin", &url).await.json()["openapi"], "3.0.0");
        let url = |place: &str| paths[place]["serverRelativeURL"].as_str().unwrap().to_owned();
        assert_eq!(get("admin", &url("extra")).await.json()["info"]["title"], "Metrics", "what only they have");
        assert!(!url("api").ends_with("?hash=X"), "what this server has is its own");
        assert_eq!(get("admin", &url("api")).await.json()["info"]["title"], "Kubernetes");

        client.delete(&resources::SERVICES, "default", "metrics", Default::default()).await.unwrap();
        until(&cluster, name, "ServiceNotFound").await;
        client.delete(&API_SERVICES, "", name, Default::default()).await.unwrap();
        assert_eq!(get("admin", VERSION).await.status, 404);
    });
}

/// A server that has the aggregated form, and nothing to say in the old one.
#[test]
fn what_other_servers_serve_is_asked_in_the_aggregated_form() {
    let (answers, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (does, has_told) = (answers.clone(), told.clone());
    let answer = move |path: &str, _: &Value| match path {
        "/apis" if does.load(Ordering::Relaxed) => {
            has_told.store(true, Ordering::Relaxed);
            let jobs = json!({"resource": "jobs", "verbs": ["list"], "shortNames": ["jz"]});
            let group = |name: &str, resources: Value| json!({"metadata": {"name": name}, "versions": [{"version": "v1", "resources": resources}]});
            let items = [group("other.example", json!([])), group("metrics.example", json!([jobs]))];
            Some((
                200,
                json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items}),
            ))
        }
        "/apis" => None,
        VERSION => Some((200, json!(""))),
        _ => Some((404, json!({}))),
    };
    with_server(Arc::new(answer), |cluster, hooks| async move {
        let client = cluster.admin();
        let ports = json!([{"port": 443}]);
        let service = json!({"metadata": {"name": "metrics"}, "spec": {"ports": ports}});
        client.create(&resources::SERVICES, "default", service).await.unwrap();
        let slice = json!({
            "metadata": {"name": "metrics", "labels": {"kubernetes.io/service-name": "metrics"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": [ADDRESS]}], "ports": [{"name": "", "port": 443}],
        });
        client.create(&resources::ENDPOINT_SLICES, "default", slice).await.unwrap();
        let name = "v1.metrics.example";
        let spec = json!({
            "group": "metrics.example", "version": "v1", "groupPriorityMinimum": 20000, "versionPriority": 100,
            "service": {"namespace": "default", "name": "metrics"}, "caBundle": hooks.ca,
        });
        client.create(&API_SERVICES, "", json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
        until(&cluster, name, "Passed").await;
        let first = hooks.headers.lock().unwrap()[0].clone();
        assert!(!first.contains_key("accept"), "a server that has nothing else than what is asked refuses: {first:?}");
        let accept = ["accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"];
        let versions = async || {
            let list = ask(&cluster, "admin", "GET /apis", &accept, "").await.json();
            let names: Vec<&str> =
                list["items"].as_array().unwrap().iter().filter_map(|own| own["metadata"]["name"].as_str()).collect();
            assert_eq!(names[..3], ["apiregistration.k8s.io", "metrics.example", "apps"]);
            list["items"][1]["versions"].clone()
        };
        assert_eq!(versions().await, json!([{"version": "v1", "freshness": "Stale"}]), "it has not answered yet");
        answers.store(true, Ordering::Relaxed);
        while !told.load(Ordering::Relaxed) || versions().await[0]["freshness"] == "Stale" {
            cluster.world.sleep(Duration::from_secs(1)).await;
        }
        let jobs = json!({
            "resource": "jobs", "responseKind": {"group": "", "version": "", "kind": ""}, "scope": "",
            "singularResource": "", "verbs": ["list"], "shortNames": ["jz"],
        });
        assert_eq!(versions().await, json!([{"version": "v1", "resources": [jobs], "freshness": "Current"}]));
        let asked = hooks.asked.lock().unwrap().iter().filter(|(path, _)| path == "/apis").count();
        client
            .create(
                &API_SERVICES,
                "",
                json!({"metadata": {"name": "v1.third.example"}, "spec": {
                    "group": "third.example", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
                    "service": {"namespace": "default", "name": "nobody"}, "caBundle": hooks.ca,
                }}),
            )
            .await
            .unwrap();
        until(&cluster, "v1.third.example", "ServiceNotFound").await;
        let now = hooks.asked.lock().unwrap().iter().filter(|(path, _)| path == "/apis").count();
        assert_eq!(now, asked, "what changed says nothing about this server");
    });
}

#[test]
fn what_this_server_serves_is_registered() {
    with_others(|cluster, _| async move {
        let client = cluster.admin();
        until(&cluster, "v1.apps", "Local").await;
        let core = client.get(&API_SERVICES, "", "v1.").await.unwrap().value();
        assert_eq!(core["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"}));
        assert_eq!(core["spec"], json!({"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}));
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let definition = json!({
            "metadata": {"name": "things.own.example"},
            "spec": {
                "group": "own.example", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
            },
        });
        client.create(&resources::CUSTOM_RESOURCE_DEFINITIONS, "", definition).await.unwrap();
        until(&cluster, "v1.own.example", "Local").await;
        let own = client.get(&API_SERVICES, "", "v1.own.example").await.unwrap().value();
        assert_eq!(
            (&own["spec"]["groupPriorityMinimum"], &own["spec"]["versionPriority"]),
            (&json!(1000), &json!(100))
        );
        client
            .delete(&resources::CUSTOM_RESOURCE_DEFINITIONS, "", "things.own.example", Default::default())
            .await
            .unwrap();
        until(&cluster, "v1.own.example", "").await;
    });
}

/// A document with one path of the version, one of a type that everybody has, and one outside of the version.
fn published(field: &str) -> Value {
    let leads_to = |name: &str| {
        let schema = json!({"$ref": format!("#/definitions/{name}")});
        json!({
            "get": {"responses": {"200": {"description": "OK", "schema": schema}}, "parameters": [{"$ref": "#/parameters/p"}]},
        })
    };
    let mut metrics = json!({"type": "object", "properties": {}});
    metrics["properties"][field] = json!({"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Status"});
    json!({
        "swagger": "2.0", "info": {"title": "Metrics", "version": "1"},
        "paths": {"/apis/metrics.example/v1/pods": leads_to("example.PodMetrics"), "/other/": leads_to("example.Info")},
        "definitions": {
            "example.Info": {"type": "object"}, "example.PodMetrics": metrics,
            "io.k8s.apimachinery.pkg.apis.meta.v1.Status": {"type": "string"},
        },
        "parameters": {"p": {"name": "p", "in": "query", "type": "string", "uniqueItems": true}},
    })
}

#[test]
fn the_v2_documents_of_other_servers_are_merged() {
    let document = Arc::new(Mutex::new((200, published("cpu"))));
    let told = document.clone();
    let answers = move |path: &str, asked: &Value| match path {
        "/openapi/v2" => Some(told.lock().unwrap().clone()),
        // A server that publishes v2 alone.
        "/openapi/v3" => Some((404, json!(null))),
        _ => answer(path, asked),
    };
    with_server(Arc::new(answers), |cluster, hooks| async move {
        let client = cluster.admin();
        let ports = json!([{"name": "https", "port": 443}]);
        let service = json!({"metadata": {"name": "metrics"}, "spec": {"ports": ports, "type": "NodePort"}});
        client.create(&resources::SERVICES, "default", service).await.unwrap();
        let slice = json!({
            "metadata": {"name": "metrics", "labels": {"kubernetes.io/service-name": "metrics"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": [ADDRESS]}], "ports": [{"name": "https", "port": 443}],
        });
        client.create(&resources::ENDPOINT_SLICES, "default", slice).await.unwrap();
        let get = async |headers: &[&str]| ask(&cluster, "admin", "GET /openapi/v2", headers, "").await;
        let before = get(&[]).await.header("etag").to_owned();
        let spec = json!({
            "group": "metrics.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"namespace": "default", "name": "metrics"}, "caBundle": hooks.ca,
        });
        let name = "v1.metrics.example";
        client.create(&API_SERVICES, "", json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
        let until = async |what: &str, is_there: &dyn Fn(&Value) -> bool| {
            for _ in 0..300 {
                let document = get(&[]).await.json();
                if is_there(&document) {
                    return document;
                }
                cluster.world.sleep(Duration::from_secs(1)).await;
            }
            panic!("not in time: {what}");
        };
        const PATH: &str = "/apis/metrics.example/v1/pods";
        let has = |document: &Value, field: &str| {
            document["definitions"]["example.PodMetrics"]["properties"][field].is_object()
        };
        let merged = until("their part", &|document| has(document, "cpu")).await;
        assert_eq!(merged["info"]["title"], "Kubernetes");
        assert_eq!(merged["paths"][PATH]["get"]["parameters"][0]["$ref"], "#/parameters/p");
        assert_eq!(merged["parameters"]["p"]["name"], "p");
        assert!(merged["paths"]["/apis/apps/v1/deployments"].is_object());
        assert!(merged["paths"].get("/other/").is_none() && merged["definitions"].get("example.Info").is_none());
        // A type of one name that is another.
        const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
        let renamed = format!("{STATUS}_v2");
        let reference = &merged["definitions"]["example.PodMetrics"]["properties"]["cpu"]["$ref"];
        assert_eq!(*reference, format!("#/definitions/{renamed}"));
        assert_eq!(
            (&merged["definitions"][&renamed]["type"], &merged["definitions"][STATUS]["type"]),
            (&json!("string"), &json!("object"))
        );
        let protobuf = get(&["accept: application/com.github.proto-openapi.spec.v2.v1.0+protobuf"]).await.body;
        assert!(protobuf.windows(PATH.len()).any(|part| part == PATH.as_bytes()));

        let index = ask(&cluster, "admin", "GET /openapi/v3", &[], "").await.json();
        let url = index["paths"]["apis/metrics.example/v1"]["serverRelativeURL"].as_str().unwrap();
        let theirs = ask(&cluster, "admin", &format!("GET {url}"), &[], "").await.json();
        let schema = &theirs["paths"][PATH]["get"]["responses"]["200"]["description"];
        assert_eq!((&theirs["openapi"], schema), (&json!("3.0.0"), &json!("OK")));
        assert!(theirs["components"]["schemas"]["example.PodMetrics"].is_object());
        let accept = ["accept: application/com.github.proto-openapi.spec.v3.v1.0+protobuf"];
        let protobuf = ask(&cluster, "admin", &format!("GET {url}"), &accept, "").await;
        assert_eq!(protobuf.status, 200);
        assert!(protobuf.body.windows(PATH.len()).any(|part| part == PATH.as_bytes()));

        *document.lock().unwrap() = (200, published("memory_bytes"));
        until("what has changed", &|document| has(document, "memory_bytes") && !has(document, "cpu")).await;
        let sent: Vec<_> =
            hooks.headers.lock().unwrap().iter().filter_map(|sent| sent.get("if-none-match").cloned()).collect();
        assert_eq!(sent[0], format!("\"{}\"", published("cpu").to_string().len()), "what is known is told");
        *document.lock().unwrap() = (500, json!("out of order"));
        cluster.world.sleep(Duration::from_secs(300)).await;
        until("what is known of a server that fails", &|document| has(document, "memory_bytes")).await;
        client.delete(&API_SERVICES, "", name, Default::default()).await.unwrap();
        until("without their part", &|document| document["paths"].get(PATH).is_none()).await;
        assert_eq!(get(&[]).await.header("etag"), before, "as it was before");
    });
}
