//! Kinds that are served in several versions, or by several groups, have one set of objects.

mod support;

use k8s_client::{Options, PatchType, Preconditions, Watch, WatchEvent};
use k8s_object::{GroupVersionResource, Reason};
use serde_json::{Value, json};
use support::with_cluster;

fn newer() -> GroupVersionResource {
    GroupVersionResource::of("events.k8s.io", "v1", "events")
}

fn older() -> GroupVersionResource {
    GroupVersionResource::of("", "v1", "events")
}

fn event(name: &str) -> Value {
    json!({
        "metadata": {"name": name}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "action": "Run",
        "reason": "Ran", "note": "It ran", "reportingController": "example.com/c", "reportingInstance": "c-1",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    })
}

fn fields(selector: &str) -> Options {
    Options { field_selector: Some(selector.into()), ..Options::default() }
}

#[test]
fn events_of_both_groups_are_the_same_objects() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let mut watch: Watch = client.watch(&older(), Options::default()).await.unwrap();
        let created = client.create(&newer(), "default", event("e")).await.unwrap();
        assert_eq!(created.kind().api_version(), "events.k8s.io/v1");
        let seen = client.get(&older(), "default", "e").await.unwrap();
        let value = seen.value();
        assert_eq!((&value["apiVersion"], &value["message"]), (&json!("v1"), &json!("It ran")));
        assert_eq!(value["involvedObject"]["name"], "p");
        assert_eq!(seen.meta().resource_version, created.meta().resource_version);
        match &watch.next().await.unwrap()[..] {
            [WatchEvent::Added(object)] => assert_eq!(object.value()["message"], "It ran"),
            other => panic!("{other:?}"),
        }
        for (resource, selector, count) in [
            (newer(), "regarding.name=p", 1),
            (newer(), "reportingController=other", 0),
            (older(), "involvedObject.name=p,source=example.com/c", 1),
        ] {
            let (found, _) = client.list_with(&resource, "default", fields(selector)).await.unwrap();
            assert_eq!(found.len(), count, "{selector}");
            assert!(found.iter().all(|object| object.kind().group == resource.group));
        }
        let unknown = client.list_with(&newer(), "default", fields("involvedObject.name=p")).await.unwrap_err();
        assert_eq!(unknown.to_string(), "field label not supported: involvedObject.name");

        let note = json!({"note": "Other words"});
        let refused = client.patch(&newer(), "default", "e", "", PatchType::Merge, note).await.unwrap_err();
        assert!(refused.reason == Reason::Invalid && refused.causes[0].field == "message", "{refused}");
        let message = json!({"message": "Other words"});
        client.patch(&older(), "default", "e", "", PatchType::Merge, message).await.unwrap();
        assert_eq!(client.get(&newer(), "default", "e").await.unwrap().value()["note"], "Other words");
        client.delete(&newer(), "default", "e", Preconditions::default()).await.unwrap();
        assert!(client.get(&older(), "default", "e").await.unwrap_err().is_not_found());
    });
}

/// What is kept in one form must be found in all versions after a restart too.
#[test]
fn a_restart_finds_the_objects_of_both_groups() {
    with_cluster(|cluster| async move {
        cluster.admin().create(&newer(), "default", event("e")).await.unwrap();
        let again = support::start(&cluster.world, &cluster.store).await;
        for resource in [older(), newer()] {
            assert_eq!(again.admin().list(&resource, "default").await.unwrap().0.len(), 1, "{}", resource.group);
        }
    });
}
