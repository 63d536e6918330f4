//! A cluster is brought back to a point in its past, as a new one beside it or in its place, whole or not at all.

mod support;

use std::time::Duration;

use k8s_client::{Client, PatchType, Preconditions};
use k8s_object::UserInfo;
use k8s_object::resources::{CONFIG_MAPS, DEPLOYMENTS, NODES, PODS};
use k8s_object::views::{Node, Pod};
use region::{Pace, Region};
use serde_json::{Value, json};
use store::{KeyRange, RangeRequest, Store};
use world::World;

use support::*;

fn client(region: &Region, cluster: &str) -> Option<Client> {
    region.kubernetes(cluster, UserInfo::new("admin", &["system:masters"]))
}

/// A cluster `sim` of two nodes with a deployment and a ConfigMap; then both are spoilt. Returns the revision before that.
async fn spoilt(world: &World, store: &Store, region: &Region) -> i64 {
    begin_cluster(region).await;
    active(world, region).await;
    begin_nodegroup(region, 2).await;
    let client = ready(world, region, 2).await;
    client.create(&DEPLOYMENTS, "default", web(4)).await.unwrap();
    client
        .create(&CONFIG_MAPS, "default", json!({"metadata": {"name": "settings"}, "data": {"a": "1"}}))
        .await
        .unwrap();
    rolled_out(world, &client, 4).await;
    let revision = store.revision();
    world.sleep(Duration::from_secs(1)).await;
    client.delete(&DEPLOYMENTS, "default", "web", Preconditions::default()).await.unwrap();
    let change = json!({"data": {"a": "2", "b": "3"}});
    client.patch(&CONFIG_MAPS, "default", "settings", "", PatchType::Merge, change).await.unwrap();
    client.create(&CONFIG_MAPS, "default", json!({"metadata": {"name": "later"}})).await.unwrap();
    until(world, "its pods are gone", || async { client.list(&PODS, "default").await.unwrap().0.is_empty() }).await;
    revision
}

async fn status(region: &Region, cluster: &str) -> Value {
    let described = region.call_as_administrator("eks", "DescribeCluster", &json!({"name": cluster})).await;
    described.map_or(Value::Null, |answer| answer["cluster"]["status"].clone())
}

/// The cluster has what `sim` had at first and nothing of what came after, on `nodes` Ready nodes.
async fn is_the_past(world: &World, region: &Region, cluster: &str, nodes: usize) -> Client {
    until(world, "the cluster is active", || async {
        status(region, cluster).await == "ACTIVE" && client(region, cluster).is_some()
    })
    .await;
    let client = client(region, cluster).unwrap();
    until(world, "its nodes are ready", || async {
        let (found, _) = client.list(&NODES, "").await.unwrap();
        found.len() == nodes && found.iter().all(|node| node.view::<Node>().unwrap().is_ready())
    })
    .await;
    let settings = client.get(&CONFIG_MAPS, "default", "settings").await.unwrap().value();
    assert_eq!(settings["data"], json!({"a": "1"}));
    assert!(client.get(&CONFIG_MAPS, "default", "later").await.unwrap_err().is_not_found());
    until(world, "all pods run on nodes that exist", || async {
        let (found, _) = client.list(&NODES, "").await.unwrap();
        let (pods, _) = client.list(&PODS, "default").await.unwrap();
        let well = |pod: &std::sync::Arc<k8s_object::Object>| {
            let pod = pod.view::<Pod>().unwrap();
            pod.is_ready() && found.iter().any(|node| node.meta().name == pod.spec.node_name)
        };
        pods.len() == 4 && pods.iter().all(well)
    })
    .await;
    rolled_out(world, &client, 4).await;
    let scale = json!({"spec": {"replicas": 5}});
    client.patch(&DEPLOYMENTS, "default", "web", "", PatchType::Merge, scale).await.unwrap();
    rolled_out(world, &client, 5).await;
    client
}

/// The prefixes of objects that the store holds.
async fn generations(store: &Store) -> Vec<String> {
    let kvs = store.range(RangeRequest::new(KeyRange::prefix("/clusters/"))).await.unwrap().kvs;
    let segment = |kv: &store::KeyValue| String::from_utf8_lossy(&kv.key).split('/').nth(2).unwrap().to_owned();
    let mut found: Vec<String> = kvs.iter().map(segment).collect();
    found.dedup();
    found
}

#[test]
fn the_past_becomes_a_new_cluster() {
    run(31, async |world, store| {
        let region = start(&world, &store, Pace::Instant).await;
        let revision = spoilt(&world, &store, &region).await;
        let token = token_of(&client(&region, "sim").unwrap()).await;
        let request = json!({"cluster": "sim", "revision": revision, "as": "copy"});
        let answer = region.restore_cluster(&request).await.unwrap();
        assert_eq!((&answer["cluster"], &answer["revision"]), (&json!("copy"), &json!(revision)));
        let copy = is_the_past(&world, &region, "copy", 2).await;
        let described =
            async |name: &str| call(&region, "eks", "DescribeCluster", json!({"name": name})).await["cluster"].clone();
        let (old, new) = (described("sim").await, described("copy").await);
        for own in ["arn", "endpoint", "certificateAuthority", "identity", "createdAt"] {
            assert_ne!(old[own], new[own], "{own} is its own");
        }
        for same in ["roleArn", "version", "kubernetesNetworkConfig", "accessConfig", "logging"] {
            assert_eq!(old[same], new[same], "{same} is as it was");
        }
        assert_eq!(reviewed(&copy, &token).await["authenticated"], Value::Null, "keys of the other are not its keys");
        let authority = copy.get(&CONFIG_MAPS, "default", "kube-root-ca.crt").await.unwrap().value();
        let theirs =
            client(&region, "sim").unwrap().get(&CONFIG_MAPS, "default", "kube-root-ca.crt").await.unwrap().value();
        assert_ne!(authority["data"], theirs["data"], "pods are told of its own authority");
        let old = client(&region, "sim").unwrap();
        assert!(old.get(&DEPLOYMENTS, "default", "web").await.unwrap_err().is_not_found(), "the old one is left alone");
        for (request, code, text) in [
            (json!({"cluster": "sim", "revision": revision, "as": "copy"}), "ResourceInUseException", "already exists"),
            (json!({"cluster": "sim", "revision": revision, "as": "-"}), "InvalidParameterException", "not valid"),
            (
                json!({"cluster": "copy", "revision": revision, "as": "x"}),
                "ResourceNotFoundException",
                "There was no cluster copy at revision",
            ),
            (
                json!({"cluster": "sim", "revision": 1, "as": "x"}),
                "ResourceNotFoundException",
                "There was no cluster sim",
            ),
            (
                json!({"cluster": "sim", "revision": 1_i64 << 40, "as": "x"}),
                "InvalidParameterException",
                "does not exist",
            ),
            (json!({"cluster": "sim", "time": "yesterday", "as": "x"}), "InvalidParameterException", "yesterday"),
            (json!({"cluster": "sim", "as": "x"}), "InvalidParameterException", "either a revision or a time"),
            (json!({"cluster": "sim", "revision": revision}), "InvalidParameterException", "replaced"),
        ] {
            let error = region.restore_cluster(&request).await.unwrap_err();
            assert!(error.code == code && error.message.contains(text), "{request}: {error:?}");
        }
        region.shutdown(Duration::from_secs(60)).await;
    });
}

#[test]
fn the_past_takes_the_place_of_the_present() {
    run(32, async |world, store| {
        let mut region = start(&world, &store, Pace::Instant).await;
        let revision = spoilt(&world, &store, &region).await;
        let before = identity(&region).await;
        let names = async |region: &Region| -> Vec<String> {
            let (nodes, _) = client(region, "sim").unwrap().list(&NODES, "").await.unwrap();
            nodes.iter().map(|node| node.meta().name.clone()).collect()
        };
        let nodes = names(&region).await;
        region.restore_cluster(&json!({"cluster": "sim", "revision": revision, "replace": true})).await.unwrap();
        is_the_past(&world, &region, "sim", 2).await;
        assert_eq!(identity(&region).await, before, "to the AWS side nothing has changed");
        assert_eq!(names(&region).await, nodes);
        let present = generations(&store).await;
        assert_eq!(present.len(), 1, "the objects that were replaced are gone: {present:?}");
        // Back again, and over a restart.
        region
            .restore_cluster(&json!({"cluster": "sim", "revision": store.revision(), "replace": true}))
            .await
            .unwrap();
        region =
            restart(&world, &mut Ground::memory(&store), Pace::Instant, region, End::Killed, Duration::from_secs(5))
                .await;
        until(&world, "the cluster is active", || async {
            status(&region, "sim").await == "ACTIVE" && client(&region, "sim").is_some()
        })
        .await;
        let found = client(&region, "sim").unwrap().get(&CONFIG_MAPS, "default", "settings").await.unwrap().value();
        assert_eq!(found["data"], json!({"a": "1"}));
        region.shutdown(Duration::from_secs(60)).await;
    });
}

/// Memory keeps minutes of history, the disk keeps a day.
#[test]
fn the_past_is_there_for_as_long_as_the_disk_retains_it() {
    for durable in [false, true] {
        run(34, async |world, memory| {
            let ground = if durable { Ground::disk(&world, 34).await } else { Ground::memory(&memory) };
            let store = &ground.store;
            let region = start(&world, store, Pace::Instant).await;
            let revision = spoilt(&world, store, &region).await;
            let spoilt_since = world.now();
            world.sleep(Duration::from_secs(3600)).await;
            // History is compacted as it grows.
            let client = client(&region, "sim").unwrap();
            client.create(&CONFIG_MAPS, "default", json!({"metadata": {"name": "much-later"}})).await.unwrap();
            until(&world, "memory has forgotten", || async { store.compacted() > revision }).await;
            let earlier = world::Timestamp::from_micros(spoilt_since.micros() - 1_000_000 - 60_000_000);
            let by_revision = json!({"cluster": "sim", "revision": revision, "as": "by-revision"});
            let too_early = json!({"cluster": "sim", "time": "2001-01-01T00:00:00Z", "as": "too-early"});
            let error = region.restore_cluster(&too_early).await.unwrap_err();
            assert!(error.code == "InvalidParameterException" && error.message.contains("is retained"), "{error:?}");
            if !durable {
                let error = region.restore_cluster(&by_revision).await.unwrap_err();
                assert!(error.message.contains("nothing from before 2026-01-01T0"), "{error:?}");
                let by_time = json!({"cluster": "sim", "time": earlier.to_micro_string(), "as": "by-time"});
                let error = region.restore_cluster(&by_time).await.unwrap_err();
                assert!(error.message.contains("is retained"), "{error:?}");
                region.shutdown(Duration::from_secs(60)).await;
                return;
            }
            region.restore_cluster(&by_revision).await.unwrap();
            is_the_past(&world, &region, "by-revision", 2).await;
            let by_time = json!({"cluster": "sim", "time": spoilt_since.to_micro_string(), "as": "by-time"});
            let answer = region.restore_cluster(&by_time).await.unwrap();
            let then = answer["revision"].as_i64().unwrap();
            assert!(then > revision && then < store.compacted(), "{answer}");
            until(&world, "it runs", || async { self::client(&region, "by-time").is_some() }).await;
            let settings =
                self::client(&region, "by-time").unwrap().get(&CONFIG_MAPS, "default", "settings").await.unwrap();
            assert_eq!(settings.value()["data"], json!({"a": "2", "b": "3"}), "what it was at that time");
            region.shutdown(Duration::from_secs(60)).await;
        });
    }
}

#[test]
fn a_cluster_that_is_busy_is_not_replaced() {
    run(33, async |world, store| {
        let region = start(&world, &store, Pace::Real).await;
        begin_cluster(&region).await;
        let refused = async |code: &str, text: &str| {
            let request = json!({"cluster": "sim", "revision": store.revision(), "replace": true});
            let error = region.restore_cluster(&request).await.unwrap_err();
            assert!(error.code == code && error.message.contains(text), "{error:?}");
        };
        refused("InvalidParameterException", "was CREATING").await;
        active(&world, &region).await;
        begin_nodegroup(&region, 1).await;
        refused("ResourceInUseException", "Node group g of cluster sim is CREATING").await;
        ready(&world, &region, 1).await;
        call(&region, "eks", "UpdateClusterConfig", json!({"name": "sim", "deletionProtection": true})).await;
        refused("ResourceInUseException", "Cluster sim is UPDATING").await;
        region.shutdown(Duration::from_secs(60)).await;
    });
}

/// The process ends at any point of a restore: after the next start, all of the past is there or all of the present.
#[test]
fn an_interrupted_restore_is_whole_or_undone() {
    let mut outcomes = std::collections::BTreeMap::<(bool, &str), u32>::new();
    for step in 0..14 {
        for replace in [false, true] {
            let mut outcome = "";
            run(40 + step, async |world, store| {
                let region = start(&world, &store, Pace::Instant).await;
                let revision = spoilt(&world, &store, &region).await;
                let began = store.revision();
                let target = if replace { "sim" } else { "copy" };
                let request = match replace {
                    true => json!({"cluster": "sim", "revision": revision, "replace": true}),
                    false => json!({"cluster": "sim", "revision": revision, "as": "copy"}),
                };
                // Ended when the restore has written so often.
                tokio::select! {
                    biased;
                    () = async { while store.revision() < began + step as i64 { world.sleep(Duration::from_micros(1)).await } } => {}
                    _ = region.restore_cluster(&request) => {}
                }
                region.abort();
                drop(region);
                let region = start(&world, &store, Pace::Instant).await;
                until(&world, "the cluster has settled", || async {
                    !matches!(status(&region, target).await.as_str(), Some("CREATING" | "UPDATING"))
                        && client(&region, "sim").is_some()
                })
                .await;
                let sim = client(&region, "sim").unwrap();
                if status(&region, target).await.is_null() {
                    assert!(!replace);
                    outcome = "undone";
                } else {
                    until(&world, "it runs", || async { client(&region, target).is_some() }).await;
                    let restored = client(&region, target).unwrap();
                    let value =
                        restored.get(&CONFIG_MAPS, "default", "settings").await.unwrap().value()["data"].clone();
                    let later = restored.get(&CONFIG_MAPS, "default", "later").await;
                    let web = restored.get(&DEPLOYMENTS, "default", "web").await;
                    outcome = if value == json!({"a": "1"}) { "done" } else { "undone" };
                    assert_eq!(
                        (outcome == "undone", later.is_ok(), web.is_ok()),
                        (outcome == "undone", outcome == "undone", outcome == "done")
                    );
                }
                if !replace {
                    assert_eq!(sim.get(&CONFIG_MAPS, "default", "settings").await.unwrap().value()["data"]["a"], "2");
                }
                let expected = if !replace && outcome == "done" { 2 } else { 1 };
                until(&world, "nothing of it is left over", || async { generations(&store).await.len() == expected })
                    .await;
                region.shutdown(Duration::from_secs(60)).await;
            });
            *outcomes.entry((replace, outcome)).or_default() += 1;
        }
    }
    assert_eq!(outcomes.len(), 4, "both outcomes of both kinds were seen: {outcomes:?}");
}
