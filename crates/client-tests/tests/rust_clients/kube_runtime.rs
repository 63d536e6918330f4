//! kube's runtime as controllers use it: a derived kind, a controller with a finalizer and objects that it owns, events, reflectors
//! over streaming lists, metadata only, discovery, field owners.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::events::v1::Event as Told;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::discovery::{Discovery, Scope, verbs};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{Event as Finalizer, finalizer};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{Controller, WatchStreamExt, wait, watcher};
use kube::{Api, Client, CustomResource, CustomResourceExt, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use world::World;

use crate::PATIENCE;

const FINALIZER: &str = "fleet.example.com/cleanup";

#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug)]
#[kube(
    group = "fleet.example.com",
    version = "v1",
    kind = "Barge",
    namespaced,
    shortname = "bg",
    status = "BargeStatus"
)]
#[kube(printcolumn = r#"{"name":"Berths","type":"integer","jsonPath":".spec.berths"}"#)]
struct BargeSpec {
    berths: u32,
    #[serde(default = "white")]
    colour: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default)]
struct BargeStatus {
    moored: Option<u32>,
}

fn white() -> String {
    "white".to_owned()
}

type Failure = kube::runtime::finalizer::Error<kube::Error>;

/// Keeps a ConfigMap with the number of berths, says so in the status and in an event, and takes a note away in the end.
async fn reconcile(barge: Arc<Barge>, client: Arc<Client>) -> Result<Action, Failure> {
    let client = Client::clone(&client);
    let barges = Api::<Barge>::default_namespaced(client.clone());
    finalizer(&barges, FINALIZER, barge, |event| async {
        let maps = Api::<ConfigMap>::default_namespaced(client.clone());
        match event {
            Finalizer::Apply(barge) => {
                let owner = barge.controller_owner_ref(&()).expect("what is stored has a UID");
                let map = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": barge.name_any(), "ownerReferences": [owner], "labels": {"of": "barge"}},
                    "data": {"berths": barge.spec.berths.to_string()},
                });
                let apply = PatchParams::apply("fleet").force();
                maps.patch(&barge.name_any(), &apply, &Patch::Apply(map)).await?;
                let status = json!({
                    "apiVersion": "fleet.example.com/v1", "kind": "Barge", "status": {"moored": barge.spec.berths},
                });
                barges.patch_status(&barge.name_any(), &apply, &Patch::Apply(status)).await?;
                let recorder = Recorder::new(client.clone(), Reporter::from("fleet"));
                let event = Event {
                    type_: EventType::Normal,
                    reason: "Moored".into(),
                    note: Some("at the pier".into()),
                    action: "Moor".into(),
                    secondary: None,
                };
                recorder.publish(&event, &barge.object_ref(&())).await?;
            }
            Finalizer::Cleanup(_) => {
                maps.delete("note", &DeleteParams::default()).await?;
            }
        }
        Ok(Action::await_change())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_of_a_derived_kind_works() {
    let world = World::real();
    let region = crate::region(&world).await;
    let client = crate::cluster(&world, &region).await;
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let apply = PatchParams::apply("test");
    definitions.patch(Barge::crd_name(), &apply, &Patch::Apply(Barge::crd())).await.unwrap();
    let established =
        wait::await_condition(definitions.clone(), Barge::crd_name(), wait::conditions::is_crd_established());
    world.timeout(PATIENCE, established).await.expect("the kind is established").unwrap();
    discovered(&client).await;

    let barges = Api::<Barge>::default_namespaced(client.clone());
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let controller = Controller::new(barges.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(50)), Arc::new(client.clone()))
        .for_each(|_| std::future::ready(()));
    let script = async {
        lives(&world, &client).await;
        owners(&client).await;
        reflected(&world, &client).await;
    };
    pin_mut!(controller, script);
    match select(script, controller).await {
        Either::Left(((), _)) => {}
        Either::Right(((), _)) => panic!("the controller ended"),
    }
    region.shutdown(Duration::from_secs(10)).await;
}

/// Aggregated discovery knows what is built in and what was defined a moment ago.
async fn discovered(client: &Client) {
    let discovery = Discovery::new(client.clone()).run_aggregated().await.unwrap();
    for (group, version, kind, plural, scope) in [
        ("", "v1", "Node", "nodes", Scope::Cluster),
        ("apps", "v1", "Deployment", "deployments", Scope::Namespaced),
        ("fleet.example.com", "v1", "Barge", "barges", Scope::Namespaced),
    ] {
        let (resource, capabilities) = discovery.resolve_gvk(&GroupVersionKind::gvk(group, version, kind)).unwrap();
        assert_eq!((resource.plural.as_str(), &capabilities.scope), (plural, &scope));
        assert!(capabilities.supports_operation(verbs::WATCH) && capabilities.supports_operation(verbs::PATCH));
    }
}

/// A barge is reconciled, what it owns comes back when somebody takes it away, and it ends when the controller has cleaned up.
async fn lives(world: &World, client: &Client) {
    let barges = Api::<Barge>::default_namespaced(client.clone());
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let refused: Barge = serde_json::from_value(json!({
        "apiVersion": "fleet.example.com/v1", "kind": "Barge", "metadata": {"name": "Wrong_Name"}, "spec": {"berths": 1, "colour": "x"},
    }))
    .unwrap();
    let error = barges.create(&PostParams::default(), &refused).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.is_invalid()), "{error}");

    let note: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "note"}})).unwrap();
    maps.create(&PostParams::default(), &note).await.unwrap();
    let barge = Barge::new("one", BargeSpec { berths: 3, colour: white() });
    let made = barges.create(&PostParams::default(), &barge).await.unwrap();
    let moored = |berths| {
        move |barge: Option<&Barge>| {
            barge.and_then(|barge| barge.status.as_ref()).is_some_and(|status| status.moored == Some(berths))
        }
    };
    world.timeout(PATIENCE, wait::await_condition(barges.clone(), "one", moored(3))).await.expect("it moors").unwrap();
    let map = maps.get("one").await.unwrap();
    assert_eq!(
        (map.owner_references()[0].uid.as_str(), map.owner_references()[0].controller),
        (made.uid().unwrap().as_str(), Some(true))
    );
    let grown = json!({"spec": {"berths": 5}});
    barges.patch("one", &PatchParams::default(), &Patch::Merge(&grown)).await.unwrap();
    world.timeout(PATIENCE, wait::await_condition(barges.clone(), "one", moored(5))).await.expect("it grows").unwrap();

    let first = map.uid().unwrap();
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    let again = move |map: Option<&ConfigMap>| map.is_some_and(|map| map.uid().as_ref() != Some(&first));
    world
        .timeout(PATIENCE, wait::await_condition(maps.clone(), "one", again))
        .await
        .expect("it is made again")
        .unwrap();

    let events = Api::<Told>::default_namespaced(client.clone());
    let told = events.list(&ListParams::default().fields("reason=Moored,regarding.name=one")).await.unwrap();
    assert_eq!(told.items[0].reporting_controller.as_deref(), Some("fleet"));

    let uid = made.uid().unwrap();
    barges.delete("one", &DeleteParams::default()).await.unwrap();
    let gone = wait::conditions::is_deleted(&uid);
    world.timeout(PATIENCE, wait::await_condition(barges.clone(), "one", gone)).await.expect("it goes").unwrap();
    assert!(maps.get_opt("note").await.unwrap().is_none(), "the finalizer came before the end");
}

/// Server-side apply through kube: a conflict names the other owner, force takes the field.
async fn owners(client: &Client) {
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let map = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {"k": value}});
    let by = |manager: &str| PatchParams::apply(manager);
    maps.patch("shared", &by("a"), &Patch::Apply(map("1"))).await.unwrap();
    let error = maps.patch("shared", &by("b"), &Patch::Apply(map("2"))).await.unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.is_conflict() && status.message.contains(r#"conflict with "a": .data.k"#)),
        "{error}"
    );
    let taken = maps.patch("shared", &by("b").force(), &Patch::Apply(map("2"))).await.unwrap();
    let managers: Vec<_> = taken.managed_fields().iter().filter_map(|entry| entry.manager.clone()).collect();
    assert_eq!(managers, ["b"], "who owns nothing any more is not told");
}

/// Stores that follow a list: one streamed, one in pages, one of metadata only, and one of a selection.
async fn reflected(world: &World, client: &Client) {
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let make = |number: u32| {
        serde_json::from_value::<ConfigMap>(json!({
            "metadata": {"name": format!("m{number}"), "labels": {"set": "many", "odd": (number % 2 == 1).to_string()}},
            "data": {"number": number.to_string()},
        }))
        .unwrap()
    };
    for number in 0..7 {
        maps.create(&PostParams::default(), &make(number)).await.unwrap();
    }
    let many = watcher::Config::default().labels("set=many");
    let configs = [many.clone().streaming_lists(), many.clone().page_size(2), many.clone().any_semantic()];
    for config in configs {
        let (reader, writer) = reflector::store::<ConfigMap>();
        let stream = watcher(maps.clone(), config).reflect(writer).applied_objects();
        // A store is filled by whoever polls its stream, and is ready when that has seen the end of the list.
        let filled = stream.for_each(|object| {
            object.unwrap();
            std::future::ready(())
        });
        let ready = reader.wait_until_ready();
        pin_mut!(filled, ready);
        match world.timeout(PATIENCE, select(ready, filled)).await.expect("the list comes") {
            Either::Left((ready, _)) => ready.unwrap(),
            Either::Right(((), _)) => panic!("the watch ended"),
        }
        assert_eq!(reader.len(), 7);
        let one = reader.get(&ObjectRef::new("m3").within("default")).unwrap();
        assert_eq!(one.data.as_ref().unwrap()["number"], "3");
    }

    let metadata = Api::<PartialObjectMeta<ConfigMap>>::default_namespaced(client.clone());
    let stream = watcher(metadata, watcher::Config::default().labels("set=many,odd=true")).touched_objects();
    pin_mut!(stream);
    let mut names = Vec::new();
    for _ in 0..3 {
        let next = world.timeout(PATIENCE, stream.next()).await.expect("the list comes").unwrap().unwrap();
        names.push(next.name_any());
    }
    names.sort_unstable();
    assert_eq!(names, ["m1", "m3", "m5"]);
    maps.delete("m3", &DeleteParams::default()).await.unwrap();
    let gone = world.timeout(PATIENCE, stream.next()).await.expect("the end comes").unwrap().unwrap();
    assert_eq!((gone.name_any().as_str(), gone.types.is_some()), ("m3", true));

    let mut page = maps.list(&ListParams::default().labels("set=many").limit(4)).await.unwrap();
    let mut seen = page.items.len();
    while let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) {
        page = maps.list(&ListParams::default().labels("set=many").limit(4).continue_token(&token)).await.unwrap();
        seen += page.items.len();
    }
    assert_eq!(seen, 6);
    let none = Api::<Pod>::all(client.clone()).list_metadata(&ListParams::default()).await.unwrap();
    assert!(none.items.is_empty(), "a cluster without nodes runs nothing");
}
