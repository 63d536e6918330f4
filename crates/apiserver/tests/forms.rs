//! What HTTP adds to a request: compression, limits, versions, OpenAPI, and words for what is not served.

mod support;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use k8s_object::resources;
use serde_json::{Value, json};
use support::http::{Answer, ask, send, with_names};
use support::with_options;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn the_version_names_the_build() {
    with_options(with_names, |cluster| async move {
        let version = send(&cluster, "GET /version", &[], serve::empty()).await.json();
        for (field, expected) in [
            ("major", "1"),
            ("minor", "34"),
            ("gitVersion", "v1.34.4-eks-4d696e6"),
            ("gitCommit", "4d696e6"),
            ("minCompatibilityMinor", "33"),
            ("goVersion", ""),
            ("platform", "linux/amd64"),
        ] {
            assert_eq!(version[field], expected, "{field}");
        }
    });
}

#[test]
fn streams_of_what_is_not_there_are_refused() {
    with_options(with_names, |cluster| async move {
        let pod = "/api/v1/namespaces/default/pods/a";
        for (line, what) in [
            (format!("GET {pod}/log?container=c"), "pods"),
            (format!("POST {pod}/exec?command=ls&stdout=true"), "pods"),
            (format!("GET {pod}/exec?command=ls"), "pods"),
            (format!("POST {pod}/attach"), "pods"),
            (format!("POST {pod}/portforward"), "pods"),
            (format!("GET {pod}/proxy/metrics"), "pods"),
            ("GET /api/v1/namespaces/default/services/a/proxy/".to_owned(), "endpoints"),
            ("GET /api/v1/nodes/a/proxy/stats/summary".to_owned(), "nodes"),
        ] {
            let answer = ask(&cluster, "admin", &line, &[], "").await;
            let message = format!("{what} \"a\" not found");
            assert_eq!((answer.status, &answer.json()["message"]), (404, &json!(message)), "{line}");
            assert_eq!(ask(&cluster, "jane", &line, &[], "").await.status, 403, "{line}");
        }
        // A method that is none of REST's has no verb, so that only those may use it who may use all.
        for (name, verb) in [("john", "get"), ("jim", "*")] {
            let rules = json!([{"apiGroups": [""], "resources": ["services/proxy"], "verbs": [verb]}]);
            let role = json!({"metadata": {"name": name}, "rules": rules});
            let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
            let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
            let binding = json!({"metadata": {"name": name}, "roleRef": role_ref, "subjects": [subject]});
            cluster.admin().create(&resources::CLUSTER_ROLES, "", role).await.unwrap();
            cluster.admin().create(&resources::CLUSTER_ROLE_BINDINGS, "", binding).await.unwrap();
        }
        for (user, method, status) in
            [("john", "GET", 404), ("john", "OPTIONS", 403), ("jim", "OPTIONS", 404), ("admin", "PURGE", 404)]
        {
            let line = format!("{method} /api/v1/namespaces/default/services/a/proxy/");
            assert_eq!(ask(&cluster, user, &line, &[], "").await.status, status, "{user} {line}");
        }
        let nothing = ask(&cluster, "admin", &format!("GET {pod}/nothing"), &[], "").await;
        assert_eq!((nothing.status, &nothing.json()["reason"]), (404, &json!("NotFound")));
    });
}

fn unzipped(answer: &Answer) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut plain).unwrap();
    plain
}

#[test]
fn large_answers_are_compressed_for_those_who_accept_it() {
    with_options(with_names, |cluster| async move {
        let list = format!("GET {CONFIG_MAPS}");
        // A list under the threshold, one that is sent whole, and one that is streamed.
        for (index, compressed) in [(0, false), (1, true), (2, true), (3, true)] {
            let zipped = ask(&cluster, "admin", &list, &["accept-encoding: deflate, gzip"], "").await;
            let plain = ask(&cluster, "admin", &list, &[], "").await;
            assert_eq!(plain.header("content-encoding"), "");
            if compressed {
                assert_eq!((zipped.header("content-encoding"), zipped.header("vary")), ("gzip", "Accept-Encoding"));
                assert!(zipped.body.len() < plain.body.len() / 2);
                assert!(unzipped(&zipped) == plain.body, "{index}: what comes out is what went in");
            } else {
                assert_eq!((zipped.header("content-encoding"), &zipped.body), ("", &plain.body));
            }
            assert_eq!(plain.json()["items"].as_array().map(Vec::len), Some(index));
            let object =
                json!({"metadata": {"name": format!("m{index}")}, "data": {"k": "x".repeat(600 << 10)}}).to_string();
            assert_eq!(ask(&cluster, "admin", &format!("POST {CONFIG_MAPS}"), &[], &object).await.status, 201);
        }
    });
}

#[test]
fn a_body_is_read_up_to_its_limit() {
    with_options(with_names, |cluster| async move {
        const CHUNK: usize = 256 << 10;
        for (chunks, status) in [(12, 400), (13, 413), (usize::MAX, 413)] {
            let taken = Arc::new(AtomicUsize::new(0));
            let count = taken.clone();
            // Without a length, as a chunked body comes.
            let body = serve::stream(move |_| {
                let more = count.fetch_add(1, Ordering::Relaxed) < chunks;
                Poll::Ready(more.then(|| Ok(vec![b'x'; CHUNK].into())))
            });
            let token = "authorization: Bearer user:admin";
            let answer = send(&cluster, &format!("POST {CONFIG_MAPS}"), &[token], body).await;
            assert_eq!(answer.status, status, "{chunks} chunks: {}", answer.text());
            assert!(taken.load(Ordering::Relaxed) <= 13, "no more is read than the limit");
        }
    });
}

#[test]
fn openapi_describes_what_is_served() {
    with_options(with_names, |cluster| async move {
        let get = async |path: &str, headers: &[&str]| ask(&cluster, "jane", &format!("GET {path}"), headers, "").await;
        let v2 = get("/openapi/v2", &[]).await.json();
        assert_eq!(v2["swagger"], "2.0");
        assert!(v2["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"].is_object());
        assert!(v2["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"].is_object());
        let protobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        let asked = "accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        let answer = get("/openapi/v2", &[asked]).await;
        assert_eq!((answer.header("content-type"), answer.header("vary")), (protobuf, "Accept"));
        assert!(answer.body.starts_with(b"\x0a\x032.0\x12"), "a message whose first field is its version");
        let url = |group: &str, root: &Value| root["paths"][group]["serverRelativeURL"].as_str().map(str::to_owned);
        let root = get("/openapi/v3", &[]).await.json();
        let apps = url("apis/apps/v1", &root).unwrap();
        let answer = get(&apps, &[]).await;
        let document = answer.json();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.0"));
        assert!(document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
        let tag = answer.header("etag").to_owned();
        assert!(apps.ends_with(&format!("?hash={}", tag.trim_matches('"'))), "{apps} {tag}");
        for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
            assert_eq!(get(&apps, &[&format!("if-none-match: {known}")]).await.status, 304, "{known}");
        }
        let protobuf = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
        for asked in [protobuf, "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"] {
            let answer = get(&apps, &[&format!("accept: {asked}")]).await;
            assert_eq!((answer.header("content-type"), answer.header("vary")), (protobuf, "Accept"));
            assert_eq!((answer.header("etag"), answer.header("cache-control")), (tag.as_str(), "public, immutable"));
            assert!(answer.body.starts_with(b"\x0a\x053.0.0\x12"), "a message whose first field is its version");
            assert_eq!(get("/openapi/v3/apis?hash=old", &[&format!("accept: {asked}")]).await.status, 301);
        }
        for (path, accept, status) in [
            ("/openapi/v3/apis/apps/v1", "text/html", 406),
            ("/openapi/v3/apis/apps/v1", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", 406),
            ("/openapi/v3/apis/other/v1", "text/html", 404),
            ("/openapi/v3", protobuf, 200),
            ("/openapi/v3/apis/apps", protobuf, 200),
        ] {
            assert_eq!(get(path, &[&format!("accept: {accept}")]).await.status, status, "{path} {accept}");
        }
        assert_eq!(get("/openapi/v3/apis/stable.example.com/v1", &[]).await.status, 404);

        let definition = json!({
            "metadata": {"name": "crontabs.stable.example.com"},
            "spec": {
                "group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "crontabs", "kind": "CronTab"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": {"type": "object", "properties": {"cron": {"type": "string"}}}},
                }}}],
            },
        });
        let path = "POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        assert_eq!(ask(&cluster, "admin", path, &[], &definition.to_string()).await.status, 201);
        let root = get("/openapi/v3", &[]).await.json();
        assert_eq!(url("apis/apps/v1", &root), Some(apps), "what did not change keeps its hash");
        let custom = get(&url("apis/stable.example.com/v1", &root).unwrap(), &[]).await.json();
        let spec = &custom["components"]["schemas"]["com.example.stable.v1.CronTab"]["properties"]["spec"];
        assert_eq!(spec["properties"]["cron"]["type"], "string");
        let url = url("apis/stable.example.com/v1", &root).unwrap();
        let custom = get(&url, &[&format!("accept: {protobuf}")]).await.body;
        let name = b"com.example.stable.v1.CronTab";
        assert!(custom.windows(name.len()).any(|part| part == name));
        let v2 = get("/openapi/v2", &[]).await.json();
        assert!(v2["definitions"]["com.example.stable.v1.CronTab"].is_object());
    });
}

#[test]
fn clients_are_told_where_the_server_is() {
    let at = "192.0.2.1:6443".parse().unwrap();
    let options = move |options: &mut apiserver::Options| {
        with_names(options);
        options.endpoint = Some(at);
    };
    with_options(options, |cluster| async move {
        let told = ask(&cluster, "admin", "GET /api", &[], "").await.json();
        let address = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": "192.0.2.1:6443"}]);
        assert_eq!(told["serverAddressByClientCIDRs"], address);
    });
}

#[test]
fn what_leads_elsewhere_is_published() {
    with_options(with_names, |cluster| async move {
        let document = ask(&cluster, "admin", "GET /openapi/v3/api/v1", &[], "").await.json();
        for (path, method, id) in [
            ("namespaces/{namespace}/pods/{name}/exec", "post", "connectCoreV1PostNamespacedPodExec"),
            ("namespaces/{namespace}/pods/{name}/log", "get", "readCoreV1NamespacedPodLog"),
            (
                "namespaces/{namespace}/services/{name}/proxy/{path}",
                "get",
                "connectCoreV1GetNamespacedServiceProxyWithPath",
            ),
            ("nodes/{name}/proxy", "delete", "connectCoreV1DeleteNodeProxy"),
        ] {
            assert_eq!(document["paths"][format!("/api/v1/{path}")][method]["operationId"], id);
        }
    });
}

#[test]
fn json_is_escaped_as_go_escapes_it() {
    with_options(with_names, |cluster| async move {
        let path = "/api/v1/namespaces/default/configmaps";
        let body = r#"{"metadata": {"name": "a"}, "data": {"k": "<a> && b"}}"#;
        let escaped = r"\u003ca\u003e \u0026\u0026 b";
        let created = ask(&cluster, "admin", &format!("POST {path}"), &[], body).await;
        let mut answers = vec![created.text()];
        for line in [format!("GET {path}/a"), format!("GET {path}"), format!("GET {path}?watch=1&timeoutSeconds=1")] {
            answers.push(ask(&cluster, "admin", &line, &[], "").await.text());
        }
        let pretty = ask(&cluster, "admin", &format!("GET {path}/a?pretty=true"), &[], "").await;
        answers.push(pretty.text());
        for answer in answers {
            assert!(answer.contains(escaped) && !answer.contains('<'), "{answer}");
        }
        let none = ask(&cluster, "admin", &format!("GET {path}/%3Cnone%3E"), &[], "").await;
        assert!(none.status == 404 && none.text().contains(r"\u003cnone\u003e"), "{}", none.text());
        let yaml = ask(&cluster, "admin", &format!("GET {path}/a"), &["accept: application/yaml"], "").await;
        assert!(yaml.text().contains("<a> && b"), "{}", yaml.text());
    });
}

#[test]
fn every_type_and_field_that_is_served_is_described() {
    for minor in k8s_schema::OLDEST_MINOR..=k8s_schema::NEWEST_MINOR {
        let options = move |options: &mut apiserver::Options| {
            with_names(options);
            options.minor = minor;
        };
        with_options(options, |cluster| async move {
            let document = ask(&cluster, "admin", "GET /openapi/v2", &[], "").await.json();
            let definitions = document["definitions"].as_object().unwrap();
            let is_described =
                |value: &serde_json::Value| value["description"].as_str().is_some_and(|text| !text.is_empty());
            let mut missing = Vec::new();
            let mut fields = 0;
            for (name, definition) in definitions {
                if !is_described(definition) {
                    missing.push(name.clone());
                }
                for (field, property) in definition["properties"].as_object().into_iter().flatten() {
                    fields += 1;
                    if !is_described(property) {
                        missing.push(format!("{name}.{field}"));
                    }
                }
            }
            assert!(missing.is_empty(), "1.{minor} does not describe {missing:#?}");
            assert!(
                definitions.len() > 500 && fields > 2_000,
                "1.{minor}: {} types, {fields} fields",
                definitions.len()
            );
        });
    }
}
