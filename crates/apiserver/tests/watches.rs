//! Watches of a part: they see what concerns them, however much else happens, and are woken by nothing else.

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use k8s_client::{Client, Options, PatchType, Preconditions, Watch, WatchEvent};
use k8s_object::{Reason, resources};
use serde_json::{Value, json};
use support::with_cluster;

async fn put(client: &Client, name: &str, labels: Value) {
    let found = client.get(&resources::CONFIG_MAPS, "default", name).await.is_ok();
    let object = json!({"metadata": {"name": name, "labels": labels}});
    let written = match found {
        true => client.patch(&resources::CONFIG_MAPS, "default", name, "", PatchType::Merge, object).await,
        false => client.create(&resources::CONFIG_MAPS, "default", object).await,
    };
    written.unwrap();
}

/// The labels `n` of what changes next.
async fn next(watch: &mut Watch) -> Vec<String> {
    let events = watch.next().await.unwrap();
    let number = |object: &k8s_object::Object| object.meta().labels.get("n").unwrap_or("").to_owned();
    events
        .iter()
        .map(|event| match event {
            WatchEvent::Added(object) => format!("+{}", number(object)),
            WatchEvent::Modified(object) => format!("~{}", number(object)),
            WatchEvent::Deleted(object) => format!("-{}", number(object)),
            WatchEvent::Bookmark(_) => "bookmark".to_owned(),
        })
        .collect()
}

fn fields(selector: &str) -> Options {
    Options { field_selector: Some(selector.to_owned()), ..Options::default() }
}

#[test]
fn a_change_behind_many_that_are_not_selected_is_seen() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let first =
            client.create(&resources::CONFIG_MAPS, "default", json!({"metadata": {"name": "x"}})).await.unwrap();
        for count in 0..2_000 {
            put(&client, "noise", json!({"n": count.to_string()})).await;
        }
        put(&client, "y", json!({"n": "1", "app": "web"})).await;
        let from =
            |options: Options| Options { resource_version: Some(first.meta().resource_version.clone()), ..options };
        let labels = Options { label_selector: Some("app=web".into()), ..Options::default() };
        for options in [labels, fields("metadata.name=y")] {
            let mut watch = client.watch(&resources::CONFIG_MAPS, from(options)).await.unwrap();
            assert_eq!(next(&mut watch).await, ["+1"]);
        }
    });
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_watcher_of_one_object_sleeps_through_the_changes_of_others() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        put(&client, "mine", json!({"n": "0"})).await;
        let mut watch = client.watch(&resources::CONFIG_MAPS, fields("metadata.name=mine")).await.unwrap();
        assert_eq!(next(&mut watch).await, ["+0"]);
        let count = Arc::new(Count::default());
        {
            let waker = Waker::from(count.clone());
            let mut waiting = pin!(watch.next());
            assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            // More than the history holds: what does not concern a watcher does not make it too slow.
            for index in 0..17_000 {
                put(&client, "other", json!({"n": index.to_string()})).await;
            }
            assert_eq!(count.0.load(Ordering::Relaxed), 0);
            put(&client, "mine", json!({"n": "1"})).await;
            assert_eq!(count.0.load(Ordering::Relaxed), 1);
            put(&client, "mine", json!({"n": "2"})).await;
            match waiting.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(events) => assert_eq!(events.unwrap().len(), 2),
                Poll::Pending => panic!("it was woken"),
            }
        }
        client.delete(&resources::CONFIG_MAPS, "default", "mine", Preconditions::default()).await.unwrap();
        assert_eq!(next(&mut watch).await, ["-2"]);
        // Changes that concern it are another matter.
        for index in 0..17_000 {
            put(&client, "mine", json!({"n": index.to_string()})).await;
        }
        assert_eq!(watch.next().await.unwrap_err().reason, Reason::Expired);
    });
}

#[test]
fn a_node_sees_pods_come_and_go() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        client.create(&resources::SERVICE_ACCOUNTS, "default", json!({"metadata": {"name": "default"}})).await.unwrap();
        let pod = |name: &str| {
            let containers = json!([{"name": "c", "image": "i"}]);
            json!({"metadata": {"name": name, "labels": {"n": name}}, "spec": {"containers": containers}})
        };
        let bind = async |name: &str, node: &str| {
            let target = json!({"target": {"kind": "Node", "name": node}});
            client.create_subresource(&resources::PODS, "default", name, "binding", target).await.unwrap();
        };
        let mut mine = client.watch(&resources::PODS, fields("spec.nodeName=n1")).await.unwrap();
        let mut pending = client.watch(&resources::PODS, fields("spec.nodeName=")).await.unwrap();
        for name in ["a", "b", "c"] {
            client.create(&resources::PODS, "default", pod(name)).await.unwrap();
        }
        bind("b", "n2").await;
        bind("c", "n1").await;
        assert_eq!(next(&mut mine).await, ["+c"]);
        assert_eq!(next(&mut pending).await, ["+a", "+b", "+c", "-b", "-c"]);
        let list = async |selector: &str, limit: usize| {
            let (items, _) =
                client.list_with(&resources::PODS, "", Options { limit, ..fields(selector) }).await.unwrap();
            items.iter().map(|pod| pod.meta().name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(list("spec.nodeName=n1", 0).await, ["c"]);
        assert_eq!(list("spec.nodeName=n1,metadata.name=b", 0).await, [""; 0]);
        assert_eq!(list("spec.nodeName!=n1", 0).await, ["a", "b"]);
        bind("a", "n1").await;
        assert_eq!(list("spec.nodeName=n1", 1).await, ["a"]);
        let now = Options { grace_period_seconds: Some(0), ..Options::default() };
        client.delete_with(&resources::PODS, "default", "c", now).await.unwrap();
        assert_eq!(next(&mut mine).await, ["+a", "-c"]);
        assert_eq!(list("spec.nodeName=n1", 0).await, ["a"]);
    });
}
