//! Pods of lower priority make room for others on a whole cluster: through the real API server, scheduler, controllers and
//! simulated nodes.

mod support;

use k8s_client::Client;
use k8s_object::resources::{DEPLOYMENTS, EVENTS, NODES, PODS};
use k8s_object::views::Node;
use k8s_object::{GroupVersionResource, LabelSelector};
use region::Pace;
use serde_json::{Value, json};

use support::*;

const PRIORITY_CLASSES: GroupVersionResource = GroupVersionResource::of("scheduling.k8s.io", "v1", "priorityclasses");
const BUDGETS: GroupVersionResource = GroupVersionResource::of("policy", "v1", "poddisruptionbudgets");

/// The names of pods with this label `app`, with their phases.
async fn pods(client: &Client, app: &str) -> Vec<(String, String)> {
    let selector = LabelSelector::labels([("app", app)]);
    let (pods, _) = client.list(&PODS, "default").await.unwrap();
    let own = pods.iter().filter(|pod| selector.matches(&pod.meta().labels)).map(|pod| pod.value());
    own.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["status"]["phase"]))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn running(pods: &[(String, String)]) -> usize {
    pods.iter().filter(|(_, phase)| phase == "Running").count()
}

#[test]
fn pods_of_lower_priority_make_room() {
    run(1, async |world, store| {
        let region = start(&world, &store, Pace::Instant).await;
        begin_cluster(&region).await;
        active(&world, &region).await;
        begin_nodegroup(&region, 2).await;
        let client = ready(&world, &region, 2).await;
        for (name, priority) in [("low", 1), ("middle", 50), ("high", 100)] {
            let class = json!({"metadata": {"name": name}, "value": priority});
            client.create(&PRIORITY_CLASSES, "", class).await.unwrap();
        }
        let (nodes, _) = client.list(&NODES, "").await.unwrap();
        let milli_cpu = nodes.iter().map(|node| node.view::<Node>().unwrap().status.allocatable["cpu"].milli()).min();
        // One of these takes a node.
        let cpu = format!("{}m", milli_cpu.unwrap() * 3 / 5);
        let template = |app: &str, priority: &str| {
            let container = json!({"name": "c", "image": "nginx:1", "resources": {"requests": {"cpu": cpu}}});
            json!({"metadata": {"labels": {"app": app}}, "spec": {"priorityClassName": priority, "containers": [container]}})
        };
        // The one of middle priority is protected, which is nothing but a wish.
        for (name, priority) in [("cheap", "low"), ("dear", "middle")] {
            let selector = json!({"matchLabels": {"app": name}});
            let spec = json!({"replicas": 1, "selector": selector, "template": template(name, priority)});
            client.create(&DEPLOYMENTS, "default", json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
            until(&world, "it runs", || async { running(&pods(&client, name).await) == 1 }).await;
        }
        let budget = json!({
            "metadata": {"name": "dear"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "dear"}}},
        });
        client.create(&BUDGETS, "default", budget).await.unwrap();

        let (cheap, dear) = (pods(&client, "cheap").await[0].0.clone(), pods(&client, "dear").await[0].0.clone());
        for (i, (victim, app)) in [(&cheap, "cheap"), (&dear, "dear")].into_iter().enumerate() {
            let name = format!("high-{i}");
            let mut pod = template("high", "high");
            pod["metadata"]["name"] = json!(name);
            client.create(&PODS, "default", pod).await.unwrap();
            until(&world, "it has a place", || async { running(&pods(&client, "high").await) == i + 1 }).await;
            let pod = client.get(&PODS, "default", &name).await.unwrap().value();
            assert_eq!(pod["status"]["nominatedNodeName"], pod["spec"]["nodeName"]);
            until(&world, "its victim is told of", || async {
                let (events, _) = client.list(&EVENTS, "default").await.unwrap();
                let mut events = events.iter().map(|event| event.value());
                events.any(|event| {
                    event["reason"] == "Preempted"
                        && event["involvedObject"]["name"] == **victim
                        && event["related"]["name"] == *name
                })
            })
            .await;
            // The Deployment puts another in its place, which finds none and takes nobody's.
            until(&world, "another waits in its place", || async {
                let pods = pods(&client, app).await;
                pods.len() == 1 && pods[0].0 != *victim && pods[0].1 == "Pending"
            })
            .await;
        }
        assert_eq!(running(&pods(&client, "high").await), 2);
        client.delete(&PODS, "default", "high-0", Default::default()).await.unwrap();
        until(&world, "the most important gets what becomes free", || async {
            running(&pods(&client, "dear").await) == 1
        })
        .await;
        assert_eq!(running(&pods(&client, "cheap").await), 0);
    });
}
