//! Two API servers of one cluster over one store, as two processes have them.

mod support;

use std::collections::BTreeSet;

use apiserver::ServiceCidr;
use k8s_client::{Client, Options, PatchType, Preconditions, WatchEvent};
use k8s_object::resources::{CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, SERVICES};
use k8s_object::{ApiError, Reason};
use serde_json::{Value, json};
use store::{Cmp, Compare, KeyRange, Limits, Store};
use support::{Cluster, start, start_with};
use world::World;

fn config_map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"key": value}})
}

fn with_two<F: Future<Output = ()>>(test: impl FnOnce(Cluster, Cluster) -> F) {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, Limits::default());
    simulation.block_on(async move {
        let (one, two) = (start(&world, &store).await, start(&world, &store).await);
        test(one, two).await;
    });
}

/// What one server has acknowledged, the other has in its next answer: nothing runs between the two requests that could bring it
/// there.
#[test]
fn what_one_server_acknowledged_the_other_knows() {
    with_two(|one, two| async move {
        let (one, two) = (one.admin(), two.admin());
        one.create(&CONFIG_MAPS, "default", config_map("a", "1")).await.unwrap();
        let read = two.get(&CONFIG_MAPS, "default", "a").await.unwrap();
        assert_eq!(read.value()["data"]["key"], "1");
        one.update(&CONFIG_MAPS, "default", "a", "", config_map("a", "2")).await.unwrap();
        let (listed, _) = two.list(&CONFIG_MAPS, "default").await.unwrap();
        assert_eq!(listed[0].value()["data"]["key"], "2");

        let patch = json!({"data": {"key": "3"}, "metadata": {"resourceVersion": listed[0].meta().resource_version}});
        two.patch(&CONFIG_MAPS, "default", "a", "", PatchType::Merge, patch.clone()).await.unwrap();
        let late = one.patch(&CONFIG_MAPS, "default", "a", "", PatchType::Merge, patch).await.unwrap_err();
        assert!(late.is_conflict(), "{late}");
        let newest = one.get(&CONFIG_MAPS, "default", "a").await.unwrap().meta().resource_version.clone();
        let patch = json!({"data": {"key": "4"}, "metadata": {"resourceVersion": newest}});
        let patched = two.patch(&CONFIG_MAPS, "default", "a", "", PatchType::Merge, patch).await.unwrap();

        let options = Options { resource_version: Some("0".into()), ..Options::default() };
        let (any, _) = one.list_with(&CONFIG_MAPS, "default", options).await.unwrap();
        assert_eq!(any[0].value()["data"]["key"], "3", "who asks for any state gets the one that is at hand");
        let version = patched.meta().resource_version.clone();
        let options = Options { resource_version: Some(version), ..Options::default() };
        let (exact, _) = one.list_with(&CONFIG_MAPS, "default", options).await.unwrap();
        assert_eq!(exact[0].value()["data"]["key"], "4", "a revision that the other server told");

        one.delete(&CONFIG_MAPS, "", "a", Preconditions::default()).await.unwrap_err();
        one.delete(&CONFIG_MAPS, "default", "a", Preconditions::default()).await.unwrap();
        let gone = two.delete(&CONFIG_MAPS, "default", "a", Preconditions::default()).await.unwrap_err();
        assert!(gone.is_not_found(), "{gone}");
        two.create(&CONFIG_MAPS, "default", config_map("a", "5")).await.unwrap();
        let taken = one.create(&CONFIG_MAPS, "default", config_map("a", "6")).await.unwrap_err();
        assert_eq!(taken.reason, Reason::AlreadyExists);

        one.create(&NAMESPACES, "", json!({"metadata": {"name": "n"}})).await.unwrap();
        two.create(&CONFIG_MAPS, "n", config_map("b", "1")).await.unwrap();
        let mut watch = one.watch(&CONFIG_MAPS, Options::default()).await.unwrap();
        let names: Vec<String> = watch.next().await.unwrap().iter().map(name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| name.len() == 1).collect();
        assert_eq!(names, ["a", "b"], "a watch that names no state begins with all there is");
    });
}

fn name(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
            object.meta().name.clone()
        }
        WatchEvent::Bookmark(_) => String::new(),
    }
}

/// A client that is guarded by an election writes until the election is lost; others of the same server go on.
#[test]
fn a_guarded_client_is_fenced_and_nobody_else() {
    with_two(|one, two| async move {
        let won = one.store.put("leader", "one").await.unwrap();
        let guard = Compare::CreateRevision { key: "leader".into(), op: Cmp::Equal, revision: won };
        let user = k8s_object::UserInfo::new("controller", &["system:masters"]);
        let guarded = one.server.guarded(guard).client(user, "test");
        guarded.create(&CONFIG_MAPS, "default", config_map("a", "1")).await.unwrap();
        one.store.delete(KeyRange::key("leader")).await.unwrap();
        let attempts: [Result<(), ApiError>; 3] = [
            guarded.create(&CONFIG_MAPS, "default", config_map("b", "1")).await.map(drop),
            guarded.update(&CONFIG_MAPS, "default", "a", "", config_map("a", "2")).await.map(drop),
            guarded.delete(&CONFIG_MAPS, "default", "a", Preconditions::default()).await,
        ];
        for attempt in attempts {
            assert_eq!(attempt.unwrap_err().reason, Reason::ServiceUnavailable);
        }
        let (left, _) = two.admin().list(&CONFIG_MAPS, "default").await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].value()["data"]["key"], "1");
        one.admin().create(&CONFIG_MAPS, "default", config_map("b", "1")).await.unwrap();
    });
}

/// What one Service has.
fn holding(service: &Value) -> (String, i64) {
    let address = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
    (address, service["spec"]["ports"][0]["nodePort"].as_i64().unwrap())
}

async fn fill(client: Client, prefix: &'static str, count: usize) {
    for number in 0..count {
        let service = json!({
            "metadata": {"name": format!("{prefix}{number}")},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]},
        });
        client.create(&SERVICES, "default", service).await.unwrap();
        if number % 3 == 0 {
            let name = format!("{prefix}{number}");
            client.delete(&SERVICES, "default", &name, Preconditions::default()).await.unwrap();
        }
    }
}

/// Threads that create Services through both servers at the same time, in a range that becomes nearly full.
#[test]
fn no_address_and_no_port_is_given_twice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let world = World::real();
        let store = Store::memory(&world, Limits::default());
        let cidr = |options: &mut apiserver::Options| {
            options.service_cidr = ServiceCidr::parse("172.20.0.0/24").unwrap();
        };
        let servers = [start_with(&world, &store, cidr).await, start_with(&world, &store, cidr).await];
        let tasks = world.tasks("clients");
        for (at, prefix) in ["a", "b", "c", "d"].into_iter().enumerate() {
            tasks.spawn("client", fill(servers[at % 2].admin(), prefix, 80));
        }
        while !tasks.is_empty() {
            world.sleep(std::time::Duration::from_millis(5)).await;
        }
        let (services, _) = servers[0].admin().list(&SERVICES, "default").await.unwrap();
        let held: Vec<(String, i64)> =
            services.iter().filter(|own| own.meta().name != "kubernetes").map(|own| holding(&own.value())).collect();
        assert_eq!(held.len(), 4 * 53);
        let addresses: BTreeSet<&String> = held.iter().map(|(address, _)| address).collect();
        let ports: BTreeSet<i64> = held.iter().map(|(_, port)| *port).collect();
        assert_eq!((addresses.len(), ports.len()), (held.len(), held.len()));
        // What was let go can be had again, down to the last address.
        let asked = |address: &str| {
            json!({"metadata": {"name": "last"}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}})
        };
        let free = (2..255).map(|last| format!("172.20.0.{last}")).find(|address| !addresses.contains(address)).unwrap();
        let taken = servers[1].admin().create(&SERVICES, "default", asked(&held[0].0)).await.unwrap_err();
        assert_eq!(taken.reason, Reason::Invalid, "{taken}");
        servers[1].admin().create(&SERVICES, "default", asked(&free)).await.unwrap();
    });
}

fn definition(plural: &str, kind: &str) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    json!({
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}

/// Threads that define the same kind through both servers at the same time.
#[test]
fn no_two_definitions_get_the_same_name() {
    const ROUNDS: usize = 40;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let world = World::real();
        let store = Store::memory(&world, Limits::default());
        let servers = [start(&world, &store).await, start(&world, &store).await];
        let tasks = world.tasks("clients");
        for round in 0..ROUNDS {
            for (at, prefix) in ["a", "b", "c", "d"].into_iter().enumerate() {
                let client = servers[at % 2].admin();
                tasks.spawn("client", async move {
                    let definition = definition(&format!("{prefix}{round}s"), &format!("Kind{round}"));
                    client.create(&CUSTOM_RESOURCE_DEFINITIONS, "", definition).await.unwrap();
                });
            }
        }
        while !tasks.is_empty() {
            world.sleep(std::time::Duration::from_millis(5)).await;
        }
        let (all, _) = servers[1].admin().list(&CUSTOM_RESOURCE_DEFINITIONS, "").await.unwrap();
        assert_eq!(all.len(), 4 * ROUNDS);
        let mut kinds: Vec<Value> =
            all.iter().map(|own| own.value()["status"]["acceptedNames"]["kind"].clone()).collect();
        kinds.retain(|kind| kind.as_str().is_some_and(|kind| !kind.is_empty()));
        let different: BTreeSet<&str> = kinds.iter().filter_map(Value::as_str).collect();
        assert_eq!((kinds.len(), different.len()), (ROUNDS, ROUNDS), "each kind is somebody's, and of one only");
    });
}
