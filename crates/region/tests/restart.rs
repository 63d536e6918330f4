//! A region that ends, in order or abruptly, and starts again on the same store is the same region to everybody: the same
//! clusters, keys, tokens, nodes and pods, and what was under way goes on.

mod support;

use std::time::Duration;

use k8s_client::PatchType;
use k8s_object::UserInfo;
use k8s_object::resources::{CONFIG_MAPS, DEPLOYMENTS, SERVICES};
use region::{Pace, Region, StartError};
use serde_json::json;

use support::*;

#[test]
fn a_region_is_as_it_was() {
    let cases = [
        (End::Shutdown, Pace::Instant, Duration::ZERO),
        (End::Shutdown, Pace::Real, Duration::from_secs(8 * 3600)),
        (End::Killed, Pace::Instant, Duration::from_secs(3600)),
        (End::Killed, Pace::Real, Duration::from_secs(30)),
        (End::Shutdown, Pace::Instant, Duration::from_secs(60)),
        (End::PowerLoss, Pace::Instant, Duration::from_secs(60)),
        (End::PowerLoss, Pace::Real, Duration::from_secs(3600)),
    ];
    for (seed, (end, pace, pause)) in (1..).zip(cases) {
        run(seed, async |world, memory| {
            let mut ground = if seed <= 4 { Ground::memory(&memory) } else { Ground::disk(&world, seed).await };
            let store = ground.store.clone();
            let region = start(&world, &store, pace).await;
            begin_cluster(&region).await;
            active(&world, &region).await;
            begin_nodegroup(&region, 3).await;
            let client = ready(&world, &region, 3).await;
            client.create(&DEPLOYMENTS, "default", web(6)).await.unwrap();
            let service =
                json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
            let service = client.create(&SERVICES, "default", service).await.unwrap().value()["spec"].clone();
            rolled_out(&world, &client, 6).await;
            let token = token_of(&client).await;
            let before = (identity(&region).await, nodes(&client).await, pods(&client).await);
            let known = reviewed(&client, &token).await;
            assert_eq!(known["user"]["username"], "system:serviceaccount:default:robot", "{known}");
            let revision = store.revision();

            let region = restart(&world, &mut ground, pace, region, end, pause).await;
            until(&world, "the control plane runs", || async {
                region.kubernetes("sim", UserInfo::new("admin", &["system:masters"])).is_some()
            })
            .await;
            let client = admin(&region);
            assert_eq!(reviewed(&client, &token).await, known, "{end:?}: a token issued before is still valid");
            // Longer than a silent node is borne and its pods are spared.
            world.sleep(Duration::from_secs(600)).await;
            let after = (identity(&region).await, nodes(&client).await, pods(&client).await);
            assert_eq!(after, before, "{end:?} at pace {pace:?} for {pause:?}");
            let found = client.get(&SERVICES, "default", "web").await.unwrap().value()["spec"].clone();
            assert_eq!(found, service);
            let written = client.create(&CONFIG_MAPS, "default", json!({"metadata": {"name": "later"}})).await.unwrap();
            assert!(written.meta().resource_version.parse::<i64>().unwrap() > revision);
            let scale = json!({"spec": {"replicas": 9}});
            client.patch(&DEPLOYMENTS, "default", "web", "", PatchType::Merge, scale).await.unwrap();
            rolled_out(&world, &client, 9).await;
            let grown = pods(&client).await;
            let addresses: std::collections::BTreeSet<_> = grown.iter().map(|pod| pod[3].to_string()).collect();
            assert_eq!(addresses.len(), 9, "no two pods have one address: {grown:?}");
            assert!(before.2.iter().all(|pod| grown.contains(pod)), "the old ones stay");
            region.shutdown(Duration::from_secs(60)).await;
        });
    }
}

/// A life cycle that is interrupted at any moment ends as it would have.
#[test]
fn what_was_under_way_goes_on() {
    for (seed, end) in [(11, End::Shutdown), (12, End::Killed), (13, End::PowerLoss)] {
        run(seed, async |world, memory| {
            let mut ground =
                if end == End::PowerLoss { Ground::disk(&world, seed).await } else { Ground::memory(&memory) };
            let store = ground.store.clone();
            let pause = Duration::from_secs(90);
            let mut region = start(&world, &store, Pace::Real).await;
            begin_cluster(&region).await;
            for moment in [1, 60, 200] {
                world.sleep(Duration::from_secs(moment)).await;
                assert_eq!(cluster_status(&region).await, "CREATING");
                region = restart(&world, &mut ground, Pace::Real, region, end, pause).await;
            }
            active(&world, &region).await;
            begin_nodegroup(&region, 2).await;
            for moment in [1, 15, 20] {
                world.sleep(Duration::from_secs(moment)).await;
                region = restart(&world, &mut ground, Pace::Real, region, end, Duration::from_secs(1)).await;
            }
            let client = ready(&world, &region, 2).await;
            client.create(&DEPLOYMENTS, "default", web(4)).await.unwrap();
            rolled_out(&world, &client, 4).await;
            let input = json!({"clusterName": "sim", "nodegroupName": "g", "scalingConfig": {"desiredSize": 4}});
            call(&region, "eks", "UpdateNodegroupConfig", input).await;
            world.sleep(Duration::from_secs(2)).await;
            region = restart(&world, &mut ground, Pace::Real, region, end, pause).await;
            ready(&world, &region, 4).await;
            let input = json!({"clusterName": "sim", "nodegroupName": "g", "scalingConfig": {"desiredSize": 1}});
            call(&region, "eks", "UpdateNodegroupConfig", input).await;
            world.sleep(Duration::from_secs(2)).await;
            region = restart(&world, &mut ground, Pace::Real, region, end, pause).await;
            let client = ready(&world, &region, 1).await;
            rolled_out(&world, &client, 4).await;
            call(&region, "eks", "DeleteNodegroup", json!({"clusterName": "sim", "nodegroupName": "g"})).await;
            world.sleep(Duration::from_secs(10)).await;
            region = restart(&world, &mut ground, Pace::Real, region, end, pause).await;
            until(&world, "the node group is gone", || async { nodegroup(&region).await.is_null() }).await;
            call(&region, "eks", "DeleteCluster", json!({"name": "sim"})).await;
            world.sleep(Duration::from_secs(10)).await;
            region = restart(&world, &mut ground, Pace::Real, region, end, pause).await;
            until(&world, "the cluster is gone", || async { cluster_status(&region).await.is_null() }).await;
            for prefix in ["/clusters/", "/control-planes/"] {
                let left = ground.store.range(store::RangeRequest::new(store::KeyRange::prefix(prefix))).await.unwrap();
                assert_eq!(left.kvs, [], "nothing of the cluster is left");
            }
            region.shutdown(Duration::from_secs(60)).await;
        });
    }
}

#[test]
fn a_store_belongs_to_one_region() {
    run(21, async |world, store| {
        let region = start(&world, &store, Pace::Instant).await;
        region.shutdown(Duration::from_secs(60)).await;
        for (account, name) in [("444455556666", "us-east-1"), ("111122223333", "eu-west-1")] {
            let mut other = options(&world, &store, Pace::Instant);
            (other.account, other.region) = (account.into(), name.into());
            let Err(error) = Region::start(other).await else { panic!("{account} {name} is refused") };
            assert!(matches!(error, StartError::OtherRegion { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains("region us-east-1 of account 111122223333, not "), "{text}");
        }
        start(&world, &store, Pace::Instant).await.shutdown(Duration::from_secs(60)).await;
    });
}
