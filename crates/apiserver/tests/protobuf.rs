//! Protobuf over HTTP: bodies, answers, lists, errors, views and watches; and who gets JSON instead.

mod support;

use k8s_schema::{decode_protobuf, encode_protobuf};
use serde_json::{Value, json};
use support::http::{Answer, ask, send, with_names};
use support::{Cluster, with_options};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const ACCEPT: &str = "accept: application/vnd.kubernetes.protobuf";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CRONTABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";

async fn get(cluster: &Cluster, path: &str, accept: &str) -> Answer {
    ask(cluster, "admin", &format!("GET {path}"), &[accept], "").await
}

fn decoded(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), PROTOBUF, "{}", answer.text());
    decode_protobuf(&answer.body).unwrap()
}

async fn post(cluster: &Cluster, path: &str, object: &Value) -> Answer {
    let body = encode_protobuf(object).unwrap().unwrap();
    let headers = ["authorization: Bearer user:admin", ACCEPT, "content-type: application/vnd.kubernetes.protobuf"];
    send(cluster, &format!("POST {path}"), &headers, serve::full(body)).await
}

async fn define_crontabs(cluster: &Cluster) {
    let definition = json!({
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "crontabs", "kind": "CronTab"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    let path = "POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(ask(cluster, "admin", path, &[], &definition.to_string()).await.status, 201);
    let object = json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "c"}});
    assert_eq!(ask(cluster, "admin", &format!("POST {CRONTABS}"), &[], &object.to_string()).await.status, 201);
}

#[test]
fn objects_and_lists_are_the_same_in_both_forms() {
    with_options(with_names, |cluster| async move {
        for name in ["a", "b"] {
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}, "binaryData": {"b": "AAE="},
            });
            let created = post(&cluster, CONFIG_MAPS, &object).await;
            assert_eq!((created.status, &decoded(&created)["metadata"]["name"]), (201, &json!(name)));
        }
        for path in [
            format!("{CONFIG_MAPS}/a"),
            CONFIG_MAPS.to_owned(),
            "/api/v1/namespaces".to_owned(),
            "/api/v1/services".to_owned(),
        ] {
            let expected = get(&cluster, &path, "accept: */*").await.json();
            let answer = get(&cluster, &path, ACCEPT).await;
            let found = decoded(&answer);
            assert_eq!(found, expected, "{path}");
            assert_eq!(get(&cluster, &path, ACCEPT).await.body, answer.body, "{path}: and again");
        }
    });
}

#[test]
fn large_lists_are_streamed_and_compressed_in_either_form() {
    with_options(with_names, |cluster| async move {
        for index in 0..3 {
            let object = json!({"metadata": {"name": format!("m{index}")}, "data": {"k": "x".repeat(600 << 10)}});
            assert_eq!(
                ask(&cluster, "admin", &format!("POST {CONFIG_MAPS}"), &[], &object.to_string()).await.status,
                201
            );
        }
        let plain = get(&cluster, CONFIG_MAPS, ACCEPT).await;
        assert_eq!(decoded(&plain)["items"].as_array().map(Vec::len), Some(3));
        let zipped =
            ask(&cluster, "admin", &format!("GET {CONFIG_MAPS}"), &[ACCEPT, "accept-encoding: gzip"], "").await;
        assert_eq!(zipped.header("content-encoding"), "gzip");
        let mut unzipped = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&zipped.body[..]), &mut unzipped).unwrap();
        assert!(unzipped == plain.body);
    });
}

#[test]
fn errors_and_documents_come_in_protobuf_too() {
    with_options(with_names, |cluster| async move {
        let missing = get(&cluster, &format!("{CONFIG_MAPS}/none"), ACCEPT).await;
        let status = decoded(&missing);
        assert_eq!((missing.status, &status["kind"], &status["reason"]), (404, &json!("Status"), &json!("NotFound")));
        assert_eq!(status["details"]["name"], "none");
        let forbidden = ask(&cluster, "jane", "GET /api/v1/secrets", &[ACCEPT], "").await;
        assert_eq!((forbidden.status, &decoded(&forbidden)["reason"]), (403, &json!("Forbidden")));
        assert_eq!(decoded(&get(&cluster, "/api/v1", ACCEPT).await)["kind"], "APIResourceList");
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
            "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}},
        });
        let answer = post(&cluster, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
        assert_eq!(decoded(&answer)["status"]["allowed"], true, "{}", answer.status);
    });
}

#[test]
fn custom_resources_have_no_messages_but_their_metadata_does() {
    with_options(with_names, |cluster| async move {
        define_crontabs(&cluster).await;
        let refused = get(&cluster, CRONTABS, ACCEPT).await;
        let message = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        assert_eq!((refused.status, &decoded(&refused)["message"]), (406, &json!(message)));
        let fallback = get(&cluster, CRONTABS, &format!("{ACCEPT},application/json")).await;
        assert_eq!((fallback.status, fallback.header("content-type")), (200, "application/json"));
        let list = format!("{ACCEPT};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
        let list = decoded(&get(&cluster, CRONTABS, &list).await);
        assert_eq!(
            (&list["kind"], &list["items"][0]["metadata"]["name"]),
            (&json!("PartialObjectMetadataList"), &json!("c"))
        );
        // Nor are they read from any, nor patched strategically.
        let strategic = ask(
            &cluster,
            "admin",
            &format!("PATCH {CRONTABS}/c"),
            &["content-type: application/strategic-merge-patch+json"],
            "{}",
        )
        .await;
        let message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        assert_eq!((strategic.status, &strategic.json()["message"]), (415, &json!(message)));
    });
}

#[test]
fn views_are_told_in_the_version_and_shape_that_is_asked_for() {
    with_options(with_names, |cluster| async move {
        let view = |kind: &str, version: &str| format!("accept: application/json;as={kind};g=meta.k8s.io;v={version}");
        let all = "/api/v1/namespaces";
        let one = "/api/v1/namespaces/default";
        for (path, kind, version, status, told) in [
            (all, "Table", "v1", 200, "Table"),
            (one, "Table", "v1beta1", 200, "Table"),
            (all, "PartialObjectMetadataList", "v1beta1", 200, "PartialObjectMetadataList"),
            (one, "PartialObjectMetadata", "v1", 200, "PartialObjectMetadata"),
            (all, "PartialObjectMetadata", "v1", 406, "Status"),
            (one, "PartialObjectMetadataList", "v1", 406, "Status"),
        ] {
            let answer = get(&cluster, path, &view(kind, version)).await;
            assert_eq!((answer.status, &answer.json()["kind"]), (status, &json!(told)), "{path} {kind}");
            let expected = if status == 200 { format!("meta.k8s.io/{version}") } else { "v1".to_owned() };
            assert_eq!(answer.json()["apiVersion"], expected.as_str(), "{path} {kind}");
        }
        let message = get(&cluster, all, &view("PartialObjectMetadata", "v1")).await.json()["message"].clone();
        assert_eq!(
            message,
            "you requested PartialObjectMetadata, but the requested object is a list (*core.NamespaceList)"
        );
        for (include, expected) in
            [("None", json!(null)), ("Metadata", json!("PartialObjectMetadata")), ("Object", json!("Namespace"))]
        {
            let table = get(&cluster, &format!("{one}?includeObject={include}"), &view("Table", "v1")).await.json();
            assert_eq!(table["rows"][0]["object"]["kind"], expected, "{include}");
        }
        let answer = get(&cluster, &format!("{one}?includeObject=Everything"), &view("Table", "v1")).await;
        assert_eq!((answer.status, &answer.json()["reason"]), (400, &json!("BadRequest")));
        assert_eq!(get(&cluster, &format!("{one}?includeObject=Everything"), "accept: */*").await.status, 200);
    });
}

#[test]
fn people_get_json_in_lines_and_yaml_is_no_stream() {
    with_options(with_names, |cluster| async move {
        let pretty = get(&cluster, "/api/v1/namespaces/default?pretty=true", "accept: */*").await;
        assert!(pretty.text().starts_with("{\n  \"apiVersion\": \"v1\""), "{}", pretty.text());
        assert!(!get(&cluster, "/api/v1/namespaces/default", "user-agent: curl/8").await.text().starts_with("{\"api"));
        assert!(get(&cluster, "/api/v1/namespaces/default", "accept: */*").await.text().ends_with("}\n"));
        let yaml = get(&cluster, "/api/v1/namespaces?watch=1", "accept: application/yaml").await;
        let message = "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!((yaml.status, yaml.text().contains(message)), (406, true), "{}", yaml.text());
    });
}

/// The events of the frames that are there.
fn events(mut frames: &[u8]) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    while let Some((length, rest)) = frames.split_first_chunk::<4>() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        frames = rest;
        // A WatchEvent: its type, and its object in an extension.
        assert_eq!(frame[0], 0x0a);
        let kind = String::from_utf8(frame[2..2 + usize::from(frame[1])].to_vec()).unwrap();
        let at = frame.windows(4).position(|window| window == b"k8s\0").unwrap();
        events.push((kind, decode_protobuf(&frame[at..]).unwrap()));
    }
    events
}

#[test]
fn a_watch_is_frames_of_events() {
    with_options(with_names, |cluster| async move {
        let path = format!(
            "{CONFIG_MAPS}?watch=true&timeoutSeconds=5&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        );
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
        assert_eq!(post(&cluster, CONFIG_MAPS, &object).await.status, 201);
        let answer = get(&cluster, &path, &format!("{ACCEPT};stream=watch")).await;
        assert_eq!(answer.header("content-type"), "application/vnd.kubernetes.protobuf;stream=watch");
        let events = events(&answer.body);
        let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
        assert!(kinds.starts_with(&["ADDED"]) && kinds.contains(&"BOOKMARK"), "{kinds:?}");
        let expected = get(&cluster, &format!("{CONFIG_MAPS}/a"), "accept: */*").await.json();
        let added = events.iter().find(|(_, object)| object["metadata"]["name"] == "a").unwrap();
        assert_eq!(added.1, expected);
        let bookmark = &events.iter().find(|(kind, _)| kind == "BOOKMARK").unwrap().1;
        assert_eq!(bookmark["kind"], "ConfigMap");
        assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");

        let view = "accept: application/json;as=Table;g=meta.k8s.io;v=v1";
        let answer = get(&cluster, &format!("{path}&includeObject=None"), view).await;
        let tables: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(tables.len() > 1);
        for (index, table) in tables.iter().enumerate() {
            assert_eq!(table["object"]["kind"], "Table");
            assert_eq!(table["object"]["columnDefinitions"].is_array(), index == 0, "only the first has columns");
        }
    });
}

#[test]
fn a_single_object_is_watched_under_its_old_path() {
    with_options(with_names, |cluster| async move {
        for name in ["a", "b"] {
            let object = json!({"metadata": {"name": name}});
            assert_eq!(
                ask(&cluster, "admin", &format!("POST {CONFIG_MAPS}"), &[], &object.to_string()).await.status,
                201
            );
        }
        let answer =
            get(&cluster, "/api/v1/watch/namespaces/default/configmaps/b?timeoutSeconds=1", "accept: */*").await;
        let names: Vec<Value> = answer
            .text()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["object"]["metadata"]["name"].clone())
            .collect();
        assert_eq!(names, [json!("b")]);
        let object = get(&cluster, &format!("{CONFIG_MAPS}/b?watch=true"), "accept: */*").await;
        assert_eq!(object.json()["metadata"]["name"], "b", "an object's own path is no watch");
    });
}

#[test]
fn discovery_is_told_once_to_those_who_remember() {
    with_options(with_names, |cluster| async move {
        let aggregated =
            "accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let answer = get(&cluster, "/apis", aggregated).await;
        assert_eq!(
            answer.header("content-type"),
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        );
        assert_eq!((answer.header("cache-control"), answer.header("vary")), ("public", "Accept"));
        let tag = answer.header("etag").to_owned();
        let headers = [aggregated, &format!("if-none-match: {tag}")];
        assert_eq!(ask(&cluster, "admin", "GET /apis", &headers, "").await.status, 304);
        define_crontabs(&cluster).await;
        let answer = ask(&cluster, "admin", "GET /apis", &headers, "").await;
        assert_eq!(answer.status, 200, "what is served has changed");
        let items = answer.json()["items"].clone();
        let last = items.as_array().unwrap().last().unwrap();
        assert_eq!(
            (&last["metadata"]["name"], &last["versions"][0]["resources"][0]["resource"]),
            (&json!("stable.example.com"), &json!("crontabs"))
        );
        assert_eq!(last["versions"][0]["resources"][0]["verbs"][0], "delete");
        let message = get(&cluster, "/apis/stable.example.com/v2", aggregated).await;
        assert_eq!((message.status, message.text().as_str()), (404, "404 page not found\n"));
        let nothing = get(&cluster, "/api/v1/foos", "accept: */*").await;
        assert_eq!((nothing.status, &nothing.json()["details"]), (404, &json!({})));
    });
}
