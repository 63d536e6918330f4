//! What happens to objects, through the port for components in the same process, on virtual time.

mod support;

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Body, Options, PatchType, Preconditions, Propagation, Reply, Request, Verb, WatchEvent};
use k8s_object::{ApiError, GroupVersionResource, Object, Reason, resources};
use serde_json::{Value, json};
use support::{request, with_cluster};

const CM: GroupVersionResource = resources::CONFIG_MAPS;

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

fn version(object: &Object) -> i64 {
    object.meta().resource_version.parse().unwrap()
}

fn reason<T: std::fmt::Debug>(result: Result<T, ApiError>) -> Reason {
    result.unwrap_err().reason
}

#[test]
fn an_object_is_created_read_updated_patched_and_deleted() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let created = client.create(&CM, "default", config_map("a")).await.unwrap();
        let meta = created.meta();
        assert_eq!((meta.name.as_str(), meta.namespace.as_str(), meta.generation), ("a", "default", 0));
        assert!(!meta.uid.is_empty() && meta.creation_timestamp.as_deref() == Some("2026-01-01T00:00:00Z"));
        let error = client.create(&CM, "default", config_map("a")).await.unwrap_err();
        assert_eq!(error.to_string(), r#"configmaps "a" already exists"#);

        let read = client.get(&CM, "default", "a").await.unwrap();
        assert_eq!(read.json(), created.json());
        let mut changed = read.value();
        changed["data"]["k"] = json!("w");
        let updated = client.update(&CM, "default", "a", "", changed.clone()).await.unwrap();
        assert!(version(&updated) > version(&created));
        assert_eq!(updated.meta().uid, created.meta().uid);
        let stale = client.update(&CM, "default", "a", "", changed.clone()).await.unwrap_err();
        assert_eq!(
            stale.to_string(),
            r#"Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again"#
        );
        changed["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        let same = client.update(&CM, "default", "a", "", changed).await.unwrap();
        assert_eq!(version(&same), version(&updated), "what changes nothing is not written");

        let patches = [
            (PatchType::Merge, json!({"data": {"m": "1"}, "metadata": {"labels": {"l": "x"}}})),
            (PatchType::Strategic, json!({"data": {"s": "1", "k": null}})),
            (PatchType::Json, json!([{"op": "add", "path": "/data/j", "value": "1"}])),
        ];
        for (kind, patch) in patches {
            client.patch(&CM, "default", "a", "", kind, patch).await.unwrap();
        }
        let patched = client.get(&CM, "default", "a").await.unwrap();
        assert_eq!(patched.value()["data"], json!({"j": "1", "m": "1", "s": "1"}));
        assert_eq!(patched.meta().labels.get("l"), Some("x"));
        let stale = json!({"metadata": {"resourceVersion": created.meta().resource_version}});
        assert_eq!(reason(client.patch(&CM, "default", "a", "", PatchType::Merge, stale).await), Reason::Conflict);

        let wrong = Preconditions { uid: Some("x".into()), ..Preconditions::default() };
        assert_eq!(reason(client.delete(&CM, "default", "a", wrong).await), Reason::Conflict);
        client.delete(&CM, "default", "a", Preconditions::default()).await.unwrap();
        assert_eq!(client.get(&CM, "default", "a").await.unwrap_err().to_string(), r#"configmaps "a" not found"#);
    });
}

#[test]
fn wrong_objects_are_refused() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let with = |change: fn(&mut Value)| {
            let mut object = config_map("a");
            change(&mut object);
            object
        };
        let cases: Vec<(&str, Value, Reason, &str)> = vec![
            ("gone", config_map("a"), Reason::NotFound, r#"namespaces "gone" not found"#),
            ("default", with(|o| o["metadata"]["name"] = json!("A")), Reason::Invalid, "lowercase RFC 1123 subdomain"),
            ("default", with(|o| o["metadata"] = json!({})), Reason::Invalid, "name or generateName is required"),
            (
                "default",
                with(|o| o["metadata"]["namespace"] = json!("other")),
                Reason::BadRequest,
                "does not match the namespace",
            ),
            (
                "default",
                with(|o| o["metadata"]["resourceVersion"] = json!("1")),
                Reason::InternalError,
                "resourceVersion should not be set",
            ),
            ("default", with(|o| o["metadata"]["labels"] = json!({"a b": "c"})), Reason::Invalid, "metadata.labels"),
            ("default", with(|o| o["kind"] = json!("Secret")), Reason::BadRequest, "cannot be handled as a ConfigMap"),
            (
                "default",
                with(|o| o["apiVersion"] = json!("v2")),
                Reason::BadRequest,
                "does not match the expected API version",
            ),
            ("default", with(|o| o["data"] = json!({"k": 3})), Reason::BadRequest, "cannot be handled as a ConfigMap"),
            ("default", with(|o| o["data"] = json!({"a/b": "c"})), Reason::Invalid, "data[a/b]"),
            ("default", json!([]), Reason::BadRequest, "not a JSON object"),
            (
                "default",
                with(|o| o["data"]["big"] = json!("x".repeat(1_600_000))),
                Reason::Invalid,
                "is invalid: []: Too long: may not be more than 1048576 bytes",
            ),
        ];
        for (namespace, object, reason, text) in cases {
            let error = client.create(&CM, namespace, object).await.unwrap_err();
            assert_eq!(error.reason, reason, "{error}");
            assert!(error.to_string().contains(text), "{error} does not tell {text:?}");
        }
        // What does not fit into the store is told in etcd's words.
        let labels = |megabytes: usize| -> Value {
            let label = |n| (format!("l{n}-{}", "x".repeat(40)), Value::from("x".repeat(50)));
            (0..megabytes * 10_000).map(label).collect()
        };
        for (labels, text) in [
            (labels(2), "etcdserver: request is too large"),
            (labels(3), "rpc error: code = ResourceExhausted desc = trying to send message larger than max ("),
        ] {
            let object = json!({"metadata": {"name": "l", "labels": labels}});
            let error = client.create(&CM, "default", object).await.unwrap_err();
            assert_eq!((error.code(), error.to_status()["reason"].as_str().unwrap_or("")), (500, ""));
            assert!(error.message.starts_with(text), "{}", error.message);
        }
        let body = Body::Bytes(vec![b'x'; 4 << 20].into());
        let too_large = client.call(Request { body, ..request(Verb::Create, &CM, "default", "") }).await;
        assert_eq!(reason(too_large), Reason::RequestEntityTooLarge);
        let unknown = GroupVersionResource::of("", "v1", "unknowns");
        assert_eq!(reason(client.list(&unknown, "").await), Reason::NotFound);
    });
}

#[test]
fn unknown_and_duplicate_fields_are_ignored_warned_about_or_refused() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let text = br#"{"metadata":{"generateName":"a-"},"zeta":1,"data":{"k":"v","k":"w"},"extra":1}"#;
        for (mode, accepted) in [
            (None, true),
            (Some("Ignore"), true),
            (Some("Warn"), true),
            (Some("Strict"), false),
            (Some("Other"), false),
        ] {
            let options = Options { field_validation: mode.map(str::to_owned), ..Options::default() };
            let body = Body::Bytes(text.as_slice().into());
            let result = client.call(Request { body, options, ..request(Verb::Create, &CM, "default", "") }).await;
            match result {
                Ok(Reply::Object(object)) => {
                    assert!(accepted);
                    assert_eq!(object.value()["data"], json!({"k": "w"}));
                    assert!(object.value().get("extra").is_none());
                    assert!(object.meta().name.starts_with("a-") && object.meta().name.len() == 7);
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => {
                    assert!(!accepted);
                    if mode == Some("Strict") {
                        let text = r#"strict decoding error: unknown field "zeta", duplicate field "data.k", unknown field "extra""#;
                        assert!(error.to_string().contains(text), "{error}");
                    }
                }
            }
        }
    });
}

#[test]
fn finalizers_keep_an_object_until_the_last_has_gone() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let mut object = config_map("a");
        object["metadata"]["finalizers"] = json!(["x.io/a", "x.io/b"]);
        client.create(&CM, "default", object).await.unwrap();
        client.delete(&CM, "default", "a", Preconditions::default()).await.unwrap();
        let waiting = client.get(&CM, "default", "a").await.unwrap();
        assert!(waiting.meta().is_terminating());
        let patch = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
        let more = client.patch(&CM, "default", "a", "", PatchType::Merge, patch(json!(["x.io/a", "x.io/c"]))).await;
        assert!(more.unwrap_err().to_string().contains("no new finalizers can be added"));
        client.patch(&CM, "default", "a", "", PatchType::Merge, patch(json!(["x.io/a"]))).await.unwrap();
        assert!(client.get(&CM, "default", "a").await.is_ok());
        client.patch(&CM, "default", "a", "", PatchType::Merge, patch(json!([]))).await.unwrap();
        assert_eq!(reason(client.get(&CM, "default", "a").await), Reason::NotFound);

        for (propagation, finalizer) in
            [(Propagation::Foreground, "foregroundDeletion"), (Propagation::Orphan, "orphan")]
        {
            client.create(&CM, "default", config_map("b")).await.unwrap();
            let options = Options { propagation: Some(propagation), ..Options::default() };
            client.delete_with(&CM, "default", "b", options).await.unwrap();
            assert_eq!(client.get(&CM, "default", "b").await.unwrap().meta().finalizers, [finalizer]);
            client.patch(&CM, "default", "b", "", PatchType::Merge, patch(Value::Null)).await.unwrap();
            assert_eq!(reason(client.get(&CM, "default", "b").await), Reason::NotFound);
        }
    });
}

#[test]
fn dry_runs_write_nothing() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let dry = || Options { dry_run: true, ..Options::default() };
        let body = Body::Json(config_map("a"));
        client.call(Request { body, options: dry(), ..request(Verb::Create, &CM, "default", "") }).await.unwrap();
        assert_eq!(reason(client.get(&CM, "default", "a").await), Reason::NotFound);
        let created = client.create(&CM, "default", config_map("a")).await.unwrap();
        client.delete_with(&CM, "default", "a", dry()).await.unwrap();
        assert_eq!(version(&client.get(&CM, "default", "a").await.unwrap()), version(&created));
    });
}

async fn next(watch: &mut k8s_client::Watch) -> Vec<String> {
    let events = watch.next().await.unwrap();
    // The system's own objects are not what is tested.
    let is_own = |event: &&WatchEvent| match event {
        WatchEvent::Added(object) => object.meta().namespace != "kube-system",
        _ => true,
    };
    let events = events.iter().filter(is_own).map(|event| match event {
        WatchEvent::Added(object) => format!("+{}", object.meta().name),
        WatchEvent::Modified(object) => format!("~{}", object.meta().name),
        WatchEvent::Deleted(object) => format!("-{}", object.meta().name),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
    });
    events.collect()
}

#[test]
fn watches_see_every_change_once_in_order_and_resume() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let first = client.create(&CM, "default", config_map("a")).await.unwrap();
        let mut all = client.watch(&CM, Options::default()).await.unwrap();
        assert_eq!(next(&mut all).await, ["+a"]);
        client.create(&CM, "default", config_map("b")).await.unwrap();
        let label = json!({"metadata": {"labels": {"app": "x"}}});
        client.patch(&CM, "default", "b", "", PatchType::Merge, label).await.unwrap();
        client.delete(&CM, "default", "a", Preconditions::default()).await.unwrap();
        assert_eq!(next(&mut all).await, ["+b", "~b", "-a"]);

        let from =
            |options: Options| Options { resource_version: Some(first.meta().resource_version.clone()), ..options };
        let mut resumed = client.watch(&CM, from(Options::default())).await.unwrap();
        assert_eq!(next(&mut resumed).await, ["+b", "~b", "-a"]);
        let labelled = Options { label_selector: Some("app=x".into()), ..Options::default() };
        let mut selected = client.watch(&CM, from(labelled)).await.unwrap();
        assert_eq!(next(&mut selected).await, ["+b"], "what comes to be selected is added");
        let label = json!({"metadata": {"labels": {"app": "y"}}});
        let gone = client.patch(&CM, "default", "b", "", PatchType::Merge, label).await.unwrap();
        match &selected.next().await.unwrap()[..] {
            [WatchEvent::Deleted(object)] => {
                assert_eq!(object.meta().labels.get("app"), Some("x"), "the state in which it was selected");
                assert_eq!(object.meta().resource_version, gone.meta().resource_version);
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_watcher_that_is_too_slow_is_told_so() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let first = client.create(&CM, "default", config_map("a")).await.unwrap();
        let mut slow = client.watch(&CM, Options::default()).await.unwrap();
        assert_eq!(next(&mut slow).await, ["+a"]);
        for count in 0..16_500 {
            let patch = json!({"data": {"k": count.to_string()}});
            client.patch(&CM, "default", "a", "", PatchType::Merge, patch).await.unwrap();
        }
        assert_eq!(reason(slow.next().await), Reason::Expired);
        let old = || Options { resource_version: Some(first.meta().resource_version.clone()), ..Options::default() };
        assert_eq!(reason(client.watch(&CM, old()).await.map(|_| ())), Reason::Expired);
    });
}

async fn names(cluster: &support::Cluster, options: Options) -> Result<(Vec<String>, String, Option<u64>), ApiError> {
    let request = Request { options, ..request(Verb::List, &CM, "default", "") };
    match cluster.admin().call(request).await? {
        Reply::List { items, continue_token, remaining, .. } => {
            Ok((items.iter().map(|item| item.meta().name.clone()).collect(), continue_token, remaining))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pages_of_a_list_are_of_one_moment() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        for name in ["a", "b", "c", "d", "e"] {
            client.create(&CM, "default", config_map(name)).await.unwrap();
        }
        let limited = |token: &str| Options {
            limit: 2,
            continue_token: (!token.is_empty()).then(|| token.to_owned()),
            ..Options::default()
        };
        let (page, token, remaining) = names(&cluster, limited("")).await.unwrap();
        assert_eq!((page, remaining), (vec!["a".to_owned(), "b".to_owned()], Some(3)));
        client.delete(&CM, "default", "c", Preconditions::default()).await.unwrap();
        client.create(&CM, "default", config_map("bb")).await.unwrap();
        let (page, token, remaining) = names(&cluster, limited(&token)).await.unwrap();
        assert_eq!((page, remaining), (vec!["c".to_owned(), "d".to_owned()], Some(1)), "as it was at the first page");
        let (page, token, remaining) = names(&cluster, limited(&token)).await.unwrap();
        assert_eq!((page, token.as_str(), remaining), (vec!["e".to_owned()], "", None));
        assert_eq!(reason(names(&cluster, limited("nonsense")).await), Reason::BadRequest);
        let select = |labels: &str, fields: &str| Options {
            label_selector: Some(labels.to_owned()),
            field_selector: Some(fields.to_owned()),
            ..Options::default()
        };
        assert_eq!(names(&cluster, select("", "metadata.name=d")).await.unwrap().0, ["d"]);
        assert_eq!(names(&cluster, select("app=x", "")).await.unwrap().0, [""; 0]);
        assert_eq!(reason(names(&cluster, select("a of b", "")).await), Reason::BadRequest);
        assert_eq!(reason(names(&cluster, select("", "data.k=v")).await), Reason::BadRequest);
        let future = Options { resource_version: Some("999999".into()), ..Options::default() };
        assert_eq!(reason(names(&cluster, future).await), Reason::Timeout);
    });
}

#[test]
fn everything_selected_is_deleted_together() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        for (name, app) in [("a", "x"), ("b", "y"), ("c", "x")] {
            let mut object = config_map(name);
            object["metadata"]["labels"] = json!({"app": app});
            client.create(&CM, "default", object).await.unwrap();
        }
        let options = Options { label_selector: Some("app=x".into()), ..Options::default() };
        client.call(Request { options, ..request(Verb::DeleteCollection, &CM, "default", "") }).await.unwrap();
        assert_eq!(names(&cluster, Options::default()).await.unwrap().0, ["b"]);
    });
}

#[test]
fn state_outlives_the_server() {
    with_cluster(|cluster| async move {
        let created = cluster.admin().create(&CM, "default", config_map("a")).await.unwrap();
        assert!(cluster.tasks.shutdown(Duration::from_secs(1)).await.is_empty());
        let again = support::start(&cluster.world, &cluster.store).await;
        let read = again.admin().get(&CM, "default", "a").await.unwrap();
        assert_eq!(read.json(), created.json());
        let updated: Arc<Object> =
            again.admin().patch(&CM, "default", "a", "", PatchType::Merge, json!({"data": null})).await.unwrap();
        assert!(version(&updated) > version(&created));
    });
}
