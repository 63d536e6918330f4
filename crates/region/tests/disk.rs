//! A region whose disk is full or broken says so to its clients, in the words that they look for, and never serves on as if nothing
//! had happened.

mod support;

use std::time::Duration;

use k8s_client::Preconditions;
use k8s_object::Reason;
use k8s_object::resources::CONFIG_MAPS;
use region::Pace;
use serde_json::json;
use store::{Faults, StoreError};

use support::*;

/// etcd's words, which Kubernetes passes on.
const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

fn config_map(number: usize) -> serde_json::Value {
    json!({"metadata": {"name": format!("c{number}")}, "data": {"text": "x".repeat(100_000)}})
}

#[test]
fn a_full_disk_is_told_to_clients_and_recovered_from() {
    run(51, async |world, _| {
        let ground = Ground::disk(&world, 51).await;
        let disk = ground.disk.clone().unwrap();
        let region = start(&world, &ground.store, Pace::Instant).await;
        begin_cluster(&region).await;
        active(&world, &region).await;
        let client = admin(&region);
        disk.set_faults(Faults { capacity: Some(disk.bytes() + (1 << 20)), ..Faults::default() });
        let mut written = 0;
        let refused = loop {
            match client.create(&CONFIG_MAPS, "default", config_map(written)).await {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 1000, "the disk never fills");
        };
        assert!(refused.code() >= 500 && refused.message.contains(NO_SPACE), "{refused:?}");
        // Something smaller may still have found room.
        let mut users = 0;
        let refused = loop {
            let user = json!({"UserName": format!("u{users}")});
            match region.call_as_administrator("iam", "CreateUser", &user).await {
                Ok(_) => users += 1,
                Err(error) => break error,
            }
            assert!(users < 10_000, "the disk never fills");
        };
        assert!(refused.status >= 500 && refused.message.contains(NO_SPACE), "{refused:?}");
        // Reads go on, and so does what makes space.
        let kept = client.get(&CONFIG_MAPS, "default", "c0").await.unwrap();
        assert_eq!(kept.value()["data"], config_map(0)["data"]);
        client.delete(&CONFIG_MAPS, "default", "c0", Preconditions::default()).await.unwrap();
        disk.set_faults(Faults::default());
        until(&world, "writes are taken again", || async {
            client.create(&CONFIG_MAPS, "default", config_map(1000)).await.is_ok()
        })
        .await;
        call(&region, "iam", "CreateUser", json!({"UserName": "late"})).await;
        region.shutdown(Duration::from_secs(60)).await;
    });
}

#[test]
fn a_store_that_cannot_keep_its_promise_refuses_and_what_it_kept_is_there_afterwards() {
    run(52, async |world, _| {
        let mut ground = Ground::disk(&world, 52).await;
        let disk = ground.disk.clone().unwrap();
        let region = start(&world, &ground.store, Pace::Instant).await;
        begin_cluster(&region).await;
        active(&world, &region).await;
        let client = admin(&region);
        client.create(&CONFIG_MAPS, "default", config_map(0)).await.unwrap();
        disk.crash();
        let refused = client.create(&CONFIG_MAPS, "default", config_map(1)).await.unwrap_err();
        assert!(
            refused.reason == Reason::ServiceUnavailable && refused.message.contains("server stopped"),
            "{refused:?}"
        );
        let refused =
            region.call_as_administrator("iam", "CreateUser", &json!({"UserName": "late"})).await.unwrap_err();
        assert!(refused.status >= 500 && refused.message.contains("server stopped"), "{refused:?}");
        let stopped = ground.store.get("/region").await.unwrap_err();
        assert!(matches!(stopped, StoreError::Stopped { .. }), "{stopped:?}");
        let region = restart(&world, &mut ground, Pace::Instant, region, End::Killed, Duration::ZERO).await;
        until(&world, "the control plane runs", || async {
            region.kubernetes("sim", k8s_object::UserInfo::new("a", &[])).is_some()
        })
        .await;
        let kept = admin(&region).get(&CONFIG_MAPS, "default", "c0").await.unwrap();
        assert_eq!(kept.value()["data"], config_map(0)["data"]);
        region.shutdown(Duration::from_secs(60)).await;
    });
}
