//! Lists and watches by revision: which state they show, how pages hang together, what happens when it is forgotten.

mod support;

use std::time::Duration;

use k8s_client::{Client, Options, PatchType, Preconditions, Reply, Request, Verb};
use k8s_object::{ApiError, Reason, resources};
use serde_json::{Value, json};
use support::http::{ask, with_names};
use support::{Cluster, request, with_cluster, with_options};

const PATH: &str = "/api/v1/namespaces/default/configmaps";

struct Page {
    names: Vec<String>,
    revision: String,
    token: String,
    remaining: Option<u64>,
}

async fn list(cluster: &Cluster, namespace: &str, options: Options) -> Result<Page, ApiError> {
    let request = Request { options, ..request(Verb::List, &resources::CONFIG_MAPS, namespace, "") };
    match cluster.admin().call(request).await? {
        Reply::List { items, resource_version, continue_token, remaining } => Ok(Page {
            names: items.iter().map(|item| item.key().to_string()).collect(),
            revision: resource_version,
            token: continue_token,
            remaining,
        }),
        other => panic!("{other:?}"),
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn limited(limit: usize, token: &str) -> Options {
    Options { limit, continue_token: some(token), ..Options::default() }
}

fn at(version: &str, matching: &str, limit: usize) -> Options {
    Options { resource_version: some(version), resource_version_match: some(matching), limit, ..Options::default() }
}

async fn create(client: &Client, namespace: &str, names: &[&str]) {
    for name in names {
        client.create(&resources::CONFIG_MAPS, namespace, json!({"metadata": {"name": name}})).await.unwrap();
    }
}

/// More changes than the watch cache remembers.
async fn forget(client: &Client) {
    let _ = client.create(&resources::CONFIG_MAPS, "default", json!({"metadata": {"name": "noise"}})).await;
    for count in 0..17_000 {
        let patch = json!({"data": {"k": count.to_string()}});
        client.patch(&resources::CONFIG_MAPS, "default", "noise", "", PatchType::Merge, patch).await.unwrap();
    }
}

#[test]
fn a_revision_means_what_its_match_says() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        create(&client, "default", &["a", "b"]).await;
        let then = list(&cluster, "default", Options::default()).await.unwrap().revision;
        create(&client, "default", &["c"]).await;
        let (two, three) = (["default/a", "default/b"], ["default/a", "default/b", "default/c"]);
        let cases: [(&str, &str, usize, &[&str]); 8] = [
            ("", "", 0, &three),
            ("0", "", 0, &three),
            ("0", "", 9, &three),
            (&then, "", 0, &three),
            (&then, "", 9, &two),
            (&then, "Exact", 0, &two),
            (&then, "NotOlderThan", 0, &three),
            (&then, "NotOlderThan", 9, &three),
        ];
        for (version, matching, limit, expected) in cases {
            let page = list(&cluster, "default", at(version, matching, limit)).await.unwrap();
            assert_eq!(page.names, expected, "{version} {matching} {limit}");
            let exact = matching == "Exact" || (matching.is_empty() && limit > 0 && version == then);
            assert_eq!(page.revision == then, exact, "{version} {matching} {limit}");
        }
        for (version, matching, reason) in [
            ("x", "", Reason::BadRequest),
            ("-1", "", Reason::BadRequest),
            ("", "Exact", Reason::Invalid),
            ("0", "Exact", Reason::Invalid),
            (&then, "Newest", Reason::Invalid),
            ("999999", "", Reason::Timeout),
            ("999999", "Exact", Reason::Timeout),
        ] {
            let error = list(&cluster, "default", at(version, matching, 0)).await.err().map(|error| error.reason);
            assert_eq!(error, Some(reason), "{version} {matching}");
        }
    });
}

#[test]
fn pages_go_on_where_the_watch_cache_has_forgotten() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        create(&client, "default", &["a", "b", "c", "d", "e"]).await;
        let first = list(&cluster, "default", limited(2, "")).await.unwrap();
        assert_eq!((first.names.len(), first.remaining), (2, Some(3)));
        client.delete(&resources::CONFIG_MAPS, "default", "c", Preconditions::default()).await.unwrap();
        create(&client, "default", &["bb"]).await;
        forget(&client).await;
        let second = list(&cluster, "default", limited(2, &first.token)).await.unwrap();
        assert_eq!(
            (second.names, &second.revision),
            (vec!["default/c".to_owned(), "default/d".to_owned()], &first.revision)
        );
        let third = list(&cluster, "default", limited(2, &second.token)).await.unwrap();
        assert_eq!((third.names, third.token.as_str()), (vec!["default/e".to_owned()], ""));
        let exact = list(&cluster, "default", at(&first.revision, "Exact", 0)).await.unwrap();
        assert_eq!(exact.names.len(), 5);

        // When that is too long ago, a client may go on with what there is now, and so it may when the store has forgotten too.
        cluster.world.sleep(Duration::from_secs(4 * 60)).await;
        assert!(list(&cluster, "default", limited(2, &first.token)).await.is_ok());
        cluster.world.sleep(Duration::from_secs(7 * 60)).await;
        assert_eq!(
            list(&cluster, "default", limited(2, &first.token)).await.err().map(|error| error.code()),
            Some(410)
        );
        let recent = list(&cluster, "default", limited(2, "")).await.unwrap();
        forget(&client).await;
        cluster.store.compact(cluster.store.revision()).await.unwrap();
        assert_eq!(
            list(&cluster, "default", limited(2, &recent.token)).await.err().map(|error| error.code()),
            Some(410)
        );
        let error = list(&cluster, "default", limited(2, &first.token)).await.err().unwrap();
        assert_eq!((error.reason, error.code()), (Reason::Expired, 410));
        let token = error.to_status()["metadata"]["continue"].as_str().unwrap().to_owned();
        let now = list(&cluster, "default", limited(9, &token)).await.unwrap();
        assert_eq!(now.names, ["default/bb", "default/d", "default/e", "default/noise"]);
        let error = list(&cluster, "default", at(&first.revision, "Exact", 0)).await.err().unwrap();
        assert_eq!((error.reason, error.continue_token.as_str()), (Reason::Expired, ""));
    });
}

#[test]
fn ten_thousand_objects_in_pages_are_each_seen_once_in_the_order_of_their_keys() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        for namespace in ["a", "a-b"] {
            client.create(&resources::NAMESPACES, "", json!({"metadata": {"name": namespace}})).await.unwrap();
        }
        for index in 0..10_000 {
            let namespace = ["a", "a-b", "default"][index % 3];
            create(&client, namespace, &[&format!("n{index}")]).await;
        }
        let all = 10_000 + list(&cluster, "kube-system", limited(10, "")).await.unwrap().names.len();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(&cluster, "", limited(512, &token)).await.unwrap();
            seen.extend(page.names);
            assert_eq!(page.remaining, Some((all - seen.len()) as u64).filter(|left| *left > 0));
            token = page.token;
            if token.is_empty() {
                break;
            }
            // What comes later is not part of it.
            create(&client, "a", &[&format!("later-{}", seen.len())]).await;
        }
        assert_eq!(seen.len(), all);
        assert!(seen.is_sorted(), "a-b/x is before a/x, as the keys of the store are");
        let page = list(&cluster, "a-b", limited(10, "")).await.unwrap();
        assert_eq!(page.remaining, Some(3_333 - 10));
        let labelled = Options { label_selector: Some("!x".into()), ..limited(10, "") };
        assert_eq!(list(&cluster, "a-b", labelled).await.unwrap().remaining, None, "a selector may leave some out");

        // One whose state is forgotten on its way goes on with what there is by then, from where it was.
        let (mut seen, mut token, mut expired) = (Vec::new(), String::new(), 0);
        loop {
            let page = match list(&cluster, "default", limited(500, &token)).await {
                Ok(page) => page,
                Err(error) => {
                    assert_eq!((error.reason, expired), (Reason::Expired, 0), "{error}");
                    expired += 1;
                    token = error.continue_token;
                    continue;
                }
            };
            seen.extend(page.names);
            token = page.token;
            if token.is_empty() {
                break;
            }
            if seen.len() == 1_000 {
                create(&client, "default", &["a-before", "z-after"]).await;
                client.delete(&resources::CONFIG_MAPS, "default", "n9998", Preconditions::default()).await.unwrap();
                cluster.world.sleep(Duration::from_secs(12 * 60)).await;
            }
        }
        let mut expected: Vec<String> = (0..10_000)
            .filter(|index| index % 3 == 2 && *index != 9998)
            .map(|index| format!("default/n{index}"))
            .collect();
        expected.push("default/z-after".to_owned());
        expected.sort();
        seen.retain(|name| name != "default/kube-root-ca.crt");
        assert_eq!((expired, seen), (1, expected));
    });
}

#[test]
fn tokens_that_were_not_given_are_refused() {
    with_cluster(|cluster| async move {
        let cases = [
            ("!", "it is not one that this server has given"),
            ("e30", "it is not one that this server has given"),
            // {"v":"v2","rv":1,"start":"a"}, rv 0, no start
            ("eyJ2IjoidjIiLCJydiI6MSwic3RhcnQiOiJhIn0", "server does not recognize this encoded version v2"),
            ("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhIn0", "incorrect encoded start resourceVersion"),
            ("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIifQ", "encoded start key empty"),
        ];
        for (token, expected) in cases {
            let error = list(&cluster, "default", limited(1, token)).await.err().unwrap();
            assert!(error.code() == 400 && error.message.contains(expected), "{token}: {error}");
        }
        let good = {
            create(&cluster.admin(), "default", &["a", "b"]).await;
            list(&cluster, "default", limited(1, "")).await.unwrap().token
        };
        let error = list(&cluster, "default", Options { continue_token: some(&good), ..at("5", "", 1) }).await;
        assert_eq!(error.err().unwrap().message, "specifying resource version is not allowed when using continue");
    });
}

/// The events of a watch that ends at once, as `TYPE name`.
async fn watch(cluster: &Cluster, query: &str) -> (u16, Vec<String>) {
    let line = format!("GET {PATH}?watch=1&timeoutSeconds=1&{query}");
    let answer = ask(cluster, "admin", &line, &[], "").await;
    let events = answer.text();
    let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    // An answer that is no watch is a `Status`.
    let events = events.filter(|event| event["type"].is_string()).map(|event| {
        let object = &event["object"];
        let end = object["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true";
        let what = object["metadata"]["name"].as_str().unwrap_or(if end { "end" } else { "" });
        let code = object["code"].as_u64().map(|code| code.to_string());
        format!("{} {}", event["type"].as_str().unwrap_or(""), code.as_deref().unwrap_or(what)).trim().to_owned()
    });
    (answer.status, events.collect())
}

#[test]
fn watches_begin_as_their_options_say() {
    for minor in [33, 34] {
        let options = move |options: &mut apiserver::Options| {
            with_names(options);
            options.minor = minor;
        };
        with_options(options, |cluster| async move {
            create(&cluster.admin(), "default", &["a"]).await;
            let then = list(&cluster, "default", Options::default()).await.unwrap().revision;
            create(&cluster.admin(), "default", &["b"]).await;
            let streaming = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
            let quiet = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
            let since = minor > 33;
            let refused = (422, vec![]);
            let (both, only) = (vec!["ADDED a", "ADDED b"], vec!["ADDED b"]);
            let with_end = vec!["ADDED a", "ADDED b", "BOOKMARK end", "BOOKMARK"];
            let without = vec!["ADDED a", "ADDED b", "BOOKMARK"];
            let cases: Vec<(String, (u16, Vec<&str>))> = vec![
                (String::new(), (200, both.clone())),
                ("resourceVersion=0".into(), (200, both.clone())),
                (format!("resourceVersion={then}"), (200, only.clone())),
                ("allowWatchBookmarks=true".into(), (200, if since { with_end.clone() } else { without })),
                (streaming.into(), if since { (200, both.clone()) } else { refused.clone() }),
                (format!("{streaming}&resourceVersion={then}"), if since { (200, both) } else { refused.clone() }),
                (format!("{streaming}&allowWatchBookmarks=1"), if since { (200, with_end) } else { refused.clone() }),
                (quiet.into(), if since { (200, vec![]) } else { refused.clone() }),
                (format!("{quiet}&resourceVersion={then}"), if since { (200, only) } else { refused.clone() }),
                ("sendInitialEvents=true".into(), refused.clone()),
                ("resourceVersionMatch=NotOlderThan&resourceVersion=1".into(), refused),
            ];
            for (query, (status, events)) in cases {
                assert_eq!(
                    watch(&cluster, &query).await,
                    (status, events.iter().map(|e| (*e).to_owned()).collect()),
                    "1.{minor} {query}"
                );
            }
        });
    }
}

#[test]
fn a_watch_from_a_forgotten_revision_says_so_in_an_event() {
    with_options(with_names, |cluster| async move {
        let client = cluster.admin();
        create(&client, "default", &["a"]).await;
        let then = list(&cluster, "default", Options::default()).await.unwrap().revision;
        forget(&client).await;
        assert_eq!(watch(&cluster, &format!("resourceVersion={then}")).await, (200, vec!["ERROR 410".to_owned()]));
        assert_eq!(watch(&cluster, "resourceVersion=x").await, (500, vec![]));
        let one = "GET /api/v1/watch/namespaces/default/configmaps/a?timeoutSeconds=1&fieldSelector=metadata.name%3D";
        for (name, status) in [("a", 200), ("b", 400)] {
            assert_eq!(ask(&cluster, "admin", &format!("{one}{name}"), &[], "").await.status, status, "{name}");
        }
    });
}

#[test]
fn items_of_built_in_kinds_leave_it_to_the_list_to_say_what_they_are() {
    with_options(with_names, |cluster| async move {
        let definition = json!({
            "metadata": {"name": "things.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
        });
        cluster.admin().create(&resources::CUSTOM_RESOURCE_DEFINITIONS, "", definition).await.unwrap();
        let things = "/apis/example.com/v1/namespaces/default/things";
        let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}}).to_string();
        assert_eq!(ask(&cluster, "admin", &format!("POST {things}"), &[], &thing).await.status, 201);
        create(&cluster.admin(), "default", &["a", "b"]).await;
        for (path, kind) in [(PATH, None), (things, Some("Thing"))] {
            for form in ["", "?pretty=true"] {
                let list = ask(&cluster, "admin", &format!("GET {path}{form}"), &[], "").await.json();
                for item in list["items"].as_array().unwrap() {
                    assert_eq!(item.get("kind").and_then(Value::as_str), kind, "{path}{form}");
                    assert_eq!(item.get("apiVersion").is_some(), kind.is_some(), "{path}{form}");
                    let one = format!("GET {path}/{}", item["metadata"]["name"].as_str().unwrap());
                    let mut one = ask(&cluster, "admin", &one, &[], "").await.json();
                    if kind.is_none() {
                        let one = one.as_object_mut().unwrap();
                        assert!(one.remove("kind").is_some() && one.remove("apiVersion").is_some());
                    }
                    assert_eq!(*item, one, "{path}{form}");
                }
            }
        }
    });
}
