//! What `minato status` shows.

use std::sync::Arc;

use k8s_object::resources::{NODES, PODS};
use k8s_object::views::{Node, Pod};
use serde_json::{Value, json};

use crate::Inner;
use crate::control_plane::ControlPlane;

/// The region, its clusters, and how many of their nodes and pods are well.
pub(crate) async fn read(inner: &Arc<Inner>) -> Value {
    let planes: Vec<Arc<ControlPlane>> = inner.clusters().values().cloned().collect();
    let mut clusters = Vec::new();
    for plane in planes {
        let client = plane.eks();
        // A cluster that is just stopping shows nothing.
        let (nodes, _) = client.list(&NODES, "").await.unwrap_or_default();
        let (pods, _) = client.list(&PODS, "").await.unwrap_or_default();
        let ready = nodes.iter().filter(|node| node.view::<Node>().is_ok_and(|node| node.is_ready())).count();
        let running =
            pods.iter().filter(|pod| pod.view::<Pod>().is_ok_and(|pod| pod.status.phase == "Running")).count();
        let context = inner.context(inner.administrator.caller.clone());
        let described =
            inner.eks.call(&context, "DescribeCluster", &json!({"name": plane.spec.name})).await.unwrap_or_default();
        clusters.push(json!({
            "name": plane.spec.name,
            "status": described["cluster"]["status"],
            "version": plane.spec.version,
            "endpoint": plane.endpoint.url,
            "nodes": nodes.len(),
            "readyNodes": ready,
            "pods": pods.len(),
            "runningPods": running,
        }));
    }
    json!({
        "region": inner.region,
        "account": inner.account,
        "endpoint": inner.endpoint,
        // Of several processes, the one that runs controllers, nodes and life cycles.
        "leader": inner.leader().await.ok().flatten(),
        "store": store(inner).await,
        "clusters": clusters,
    })
}

/// How much the store holds, and whether it takes writes.
async fn store(inner: &Arc<Inner>) -> Value {
    let store = &inner.store;
    let stats = store.stats();
    let full = stats.disk.is_some_and(|disk| disk.full);
    // A read says why a store has ended.
    let health = match store.get("/region").await {
        Err(error) => error.to_string(),
        Ok(_) if full => "the disk is full: writes are refused until there is space".to_owned(),
        Ok(_) => "healthy".to_owned(),
    };
    json!({
        "revision": store.revision(),
        "compacted": store.compacted(),
        "keys": stats.keys,
        "bytes": stats.bytes,
        "diskBytes": stats.disk.map(|disk| disk.bytes),
        "health": health,
    })
}
