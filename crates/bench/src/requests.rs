//! Requests for ConfigMaps over HTTPS, beside a raw HTTPS echo of the same bytes with the same connections; protobuf beside JSON, and
//! custom objects beside ConfigMaps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use world::World;

use crate::https::{Connector, Types};
use crate::limit;
use crate::region::{self, Region};
use crate::report::{line, millis, rate, spread};

const CONNECTIONS: usize = 16;
const OBJECTS: usize = 2000;
const LISTS: usize = 100;
const PAYLOAD_BYTES: usize = 1024;
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CUSTOM: &str = "/apis/bench.minato.dev/v1/namespaces/default/notes";
const PROTOBUF: Types = Types { accept: "application/vnd.kubernetes.protobuf", ..Types::JSON };
const MERGE: Types = Types { content: "application/merge-patch+json", ..Types::JSON };
const APPLY: Types = Types { content: "application/apply-patch+yaml", ..Types::JSON };

/// One request.
struct Ask {
    method: Method,
    path: String,
    types: Types,
    body: Bytes,
}

impl Ask {
    fn get(path: String, types: Types) -> Ask {
        Ask { method: Method::GET, path, types, body: Bytes::new() }
    }

    fn post(path: &str, body: Value) -> Ask {
        Ask { method: Method::POST, path: path.to_owned(), types: Types::JSON, body: body.to_string().into() }
    }

    fn patch(path: String, types: Types, body: Value) -> Ask {
        Ask { method: Method::PATCH, path, types, body: body.to_string().into() }
    }
}

/// An object with a kilobyte of text.
fn object(number: usize) -> Value {
    json!({"metadata": {"name": format!("bench-{number}")}, "data": {"a": "x".repeat(PAYLOAD_BYTES)}})
}

/// A custom kind that is like ConfigMaps.
fn definition() -> Value {
    let data = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"data": data}}});
    let names = json!({"kind": "Note", "plural": "notes"});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "notes.bench.minato.dev"},
        "spec": {"group": "bench.minato.dev", "scope": "Namespaced", "names": names, "versions": [version]},
    })
}

pub async fn run(world: World) -> Result<()> {
    let region = Region::up(&world, &["--nodes", "0"])?;
    let cluster = region.aws(&world)?.json("eks", Method::GET, "/clusters/minato", None).await?;
    let server = region::connector(&world, &region.file()?, &cluster["cluster"])?;
    let tasks = world.tasks("echo");
    let echo = limit::echo(&world, &tasks)?;

    let (raw, _) = load(&world, &echo, OBJECTS, |number| Ask::post("/", object(number))).await?;
    let beside_raw = |what: &str, (rate, latency): (f64, Duration)| {
        let beside = format!("p50 {}; raw HTTPS echo {raw:.0}/s, ratio {:.2}", millis(latency), rate / raw);
        line(&format!("{what}, {CONNECTIONS} connections"), &format!("{rate:.0}/s"), &beside);
        rate
    };
    let beside = |what: &str, (rate, latency): (f64, Duration), peer: &str, other: f64| {
        let beside = format!("p50 {}; {peer} {other:.0}/s, ratio {:.2}", millis(latency), rate / other);
        line(&format!("{what}, {CONNECTIONS} connections"), &format!("{rate:.0}/s"), &beside);
    };
    let path = |number: usize| format!("{CONFIG_MAPS}/bench-{}", number % OBJECTS);
    let create = load(&world, &server, OBJECTS, |number| Ask::post(CONFIG_MAPS, object(number))).await?;
    let create = beside_raw("create", create);
    let get = load(&world, &server, OBJECTS * 5, move |number| Ask::get(path(number), Types::JSON)).await?;
    let get = beside_raw("get", get);
    let patch = move |number: usize| Ask::patch(path(number), MERGE, json!({"data": {"b": "1"}}));
    beside_raw("merge patch", load(&world, &server, OBJECTS, patch).await?);
    let apply = move |number: usize| {
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"c": "2"}});
        Ask::patch(format!("{}?fieldManager=bench", path(number)), APPLY, config)
    };
    beside_raw("server-side apply", load(&world, &server, OBJECTS, apply).await?);
    let list = |types: Types| move |_: usize| Ask::get(CONFIG_MAPS.to_owned(), types);
    let lists = load(&world, &server, LISTS, list(Types::JSON)).await?;
    let lists = beside_raw(&format!("list of {OBJECTS}"), lists);
    // The first reader of an object in protobuf pays for all: who reads often is measured.
    load(&world, &server, 1, list(PROTOBUF)).await?;
    let protobuf = load(&world, &server, OBJECTS * 5, move |number| Ask::get(path(number), PROTOBUF)).await?;
    beside("get in protobuf", protobuf, "in JSON", get);
    let protobuf = load(&world, &server, LISTS, list(PROTOBUF)).await?;
    beside(&format!("list of {OBJECTS} in protobuf"), protobuf, "in JSON", lists);

    load(&world, &server, 1, |_| Ask::post(DEFINITIONS, definition())).await?;
    let custom = |number: usize| {
        let mut object = object(number);
        (object["apiVersion"], object["kind"]) = (json!("bench.minato.dev/v1"), json!("Note"));
        Ask::post(CUSTOM, object)
    };
    beside("create of a custom object", load(&world, &server, OBJECTS, custom).await?, "ConfigMap", create);
    let custom = |number: usize| Ask::get(format!("{CUSTOM}/bench-{}", number % OBJECTS), Types::JSON);
    beside("get of a custom object", load(&world, &server, OBJECTS * 5, custom).await?, "ConfigMap", get);
    tasks.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// Requests per second and median latency of `count` requests over all connections.
async fn load(
    world: &World,
    connector: &Connector,
    count: usize,
    request: impl Fn(usize) -> Ask + Send + Sync + 'static,
) -> Result<(f64, Duration)> {
    let (next, request) = (Arc::new(AtomicUsize::new(0)), Arc::new(request));
    let (sender, mut results) = tokio::sync::mpsc::channel(CONNECTIONS);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connector.connect(world).await?);
    }
    let began = world.elapsed();
    for mut connection in connections {
        let (world2, next, request, sender) = (world.clone(), next.clone(), request.clone(), sender.clone());
        world.spawn("load", async move {
            let mut latencies = Vec::new();
            let outcome = loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break Ok(latencies);
                }
                let Ask { method, path, types, body } = request(number);
                let began = world2.elapsed();
                if let Err(error) = connection.send_as(method, &path, types, body).await {
                    break Err(error);
                }
                latencies.push(world2.elapsed() - began);
            };
            // The receiver is gone only when another connection has already failed.
            let _ = sender.send(outcome).await;
        });
    }
    drop(sender);
    let mut latencies = Vec::with_capacity(count);
    while let Some(outcome) = results.recv().await {
        latencies.extend(outcome?);
    }
    Ok((rate(count, world.elapsed() - began), spread(latencies).median))
}
