//! Controllers on a whole cluster: what people create comes to what it should, through the real API server, scheduler and
//! simulated nodes.

mod support;

use std::time::Duration;

use k8s_client::{Client, Options, PatchType, Preconditions, Propagation};
use k8s_object::resources::{
    CONTROLLER_REVISIONS, CRON_JOBS, ENDPOINT_SLICES, ENDPOINTS, EVENTS, JOBS, PODS, REPLICATION_CONTROLLERS, SERVICES,
    STATEFUL_SETS,
};
use k8s_object::{GroupVersionResource, Object};
use region::{Pace, Region};
use serde_json::{Value, json};
use store::Store;
use world::World;

use support::*;

/// A cluster with nodes.
async fn cluster(world: &World, store: &Store) -> (Region, Client) {
    let region = start(world, store, Pace::Instant).await;
    begin_cluster(&region).await;
    active(world, &region).await;
    begin_nodegroup(&region, 3).await;
    let client = ready(world, &region, 3).await;
    (region, client)
}

async fn value(client: &Client, resource: &GroupVersionResource, name: &str) -> Value {
    client.get(resource, "default", name).await.map_or(Value::Null, |object| object.value())
}

async fn selected(client: &Client, resource: &GroupVersionResource, selector: &str) -> Vec<Value> {
    let options = Options { label_selector: Some(selector.to_owned()), ..Options::default() };
    let (found, _) = client.list_with(resource, "default", options).await.unwrap();
    found.iter().map(|object| object.value()).collect()
}

async fn patch(client: &Client, resource: &GroupVersionResource, name: &str, body: Value) {
    client.patch(resource, "default", name, "", PatchType::Merge, body).await.unwrap();
}

async fn delete(client: &Client, resource: &GroupVersionResource, name: &str, propagation: Propagation) {
    let options = Options { propagation: Some(propagation), ..Options::default() };
    client.delete_with(resource, "default", name, options).await.unwrap();
}

/// Reasons of the events about an object.
async fn reasons(client: &Client, name: &str) -> Vec<String> {
    let (events, _) = client.list(&EVENTS, "default").await.unwrap();
    let own = events.iter().map(|event| event.value()).filter(|event| event["involvedObject"]["name"] == name);
    own.map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn replication_controllers_keep_their_pods() {
    run(1, async |world, store| {
        let (_region, client) = cluster(&world, &store).await;
        let labels = json!({"app": "rc"});
        let template =
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}});
        let body =
            json!({"metadata": {"name": "rc"}, "spec": {"replicas": 2, "selector": labels, "template": template}});
        client.create(&REPLICATION_CONTROLLERS, "default", body).await.unwrap();
        let available = |count: i64| {
            let client = client.clone();
            move || {
                let client = client.clone();
                async move {
                    let status = value(&client, &REPLICATION_CONTROLLERS, "rc").await["status"].clone();
                    (&status["replicas"], &status["availableReplicas"]) == (&json!(count), &json!(count))
                }
            }
        };
        until(&world, "two replicas", available(2)).await;
        let first = selected(&client, &PODS, "app=rc").await[0]["metadata"]["name"].as_str().unwrap().to_owned();
        patch(&client, &PODS, &first, json!({"metadata": {"labels": {"app": "free"}}})).await;
        until(&world, "it is released and replaced", || async {
            let freed = value(&client, &PODS, &first).await;
            freed["metadata"]["ownerReferences"].is_null() && selected(&client, &PODS, "app=rc").await.len() == 2
        })
        .await;
        patch(&client, &REPLICATION_CONTROLLERS, "rc", json!({"spec": {"replicas": 1}})).await;
        until(&world, "one replica", available(1)).await;
        delete(&client, &REPLICATION_CONTROLLERS, "rc", Propagation::Background).await;
        until(&world, "all pods are gone", || async { selected(&client, &PODS, "app=rc").await.is_empty() }).await;
    });
}

#[test]
fn endpoints_follow_services_and_are_mirrored_without_selectors() {
    run(2, async |world, store| {
        let (_region, client) = cluster(&world, &store).await;
        let labels = json!({"app": "web"});
        client.create(&k8s_object::resources::DEPLOYMENTS, "default", web(3)).await.unwrap();
        let service = json!({
            "metadata": {"name": "web", "labels": {"team": "x"}},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        });
        client.create(&SERVICES, "default", service).await.unwrap();
        until(&world, "three addresses", || async {
            let found = value(&client, &ENDPOINTS, "web").await;
            found["subsets"][0]["addresses"].as_array().is_some_and(|addresses| addresses.len() == 3)
        })
        .await;
        let found = value(&client, &ENDPOINTS, "web").await;
        assert_eq!(found["subsets"][0]["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
        assert_eq!(found["metadata"]["labels"]["team"], "x");
        let slices = selected(&client, &ENDPOINT_SLICES, "kubernetes.io/service-name=web").await;
        assert_eq!(slices.len(), 1, "what has a selector is not mirrored: {slices:#?}");
        client.delete(&SERVICES, "default", "web", Preconditions::default()).await.unwrap();
        until(&world, "they go with their Service", || async { value(&client, &ENDPOINTS, "web").await.is_null() })
            .await;

        let service = json!({"metadata": {"name": "db"}, "spec": {"ports": [{"name": "sql", "port": 5432}]}});
        client.create(&SERVICES, "default", service).await.unwrap();
        let subsets = |ip: &str| json!([{"addresses": [{"ip": ip}], "ports": [{"name": "sql", "port": 5432}]}]);
        let endpoints = json!({"metadata": {"name": "db"}, "subsets": subsets("10.1.2.3")});
        client.create(&ENDPOINTS, "default", endpoints).await.unwrap();
        let mirrored = |address: &str| {
            let (client, address) = (client.clone(), json!(address));
            move || {
                let (client, address) = (client.clone(), address.clone());
                async move {
                    let slices = selected(&client, &ENDPOINT_SLICES, "kubernetes.io/service-name=db").await;
                    slices.len() == 1 && slices[0]["endpoints"][0]["addresses"][0] == address
                }
            }
        };
        until(&world, "the mirror", mirrored("10.1.2.3")).await;
        patch(&client, &ENDPOINTS, "db", json!({"subsets": subsets("10.2.3.4")})).await;
        until(&world, "the change in the mirror", mirrored("10.2.3.4")).await;
        client.delete(&ENDPOINTS, "default", "db", Preconditions::default()).await.unwrap();
        until(&world, "the mirror is gone", || async {
            selected(&client, &ENDPOINT_SLICES, "kubernetes.io/service-name=db").await.is_empty()
        })
        .await;
    });
}

/// A Job of one container that runs a script.
fn job(name: &str, script: &str, spec: Value) -> Value {
    let container = json!({"name": "c", "image": "busybox:1", "command": ["sh", "-c", script]});
    let mut value = json!({
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    });
    for (key, field) in spec.as_object().unwrap() {
        match key.as_str() {
            "restartPolicy" => value["spec"]["template"]["spec"]["restartPolicy"] = field.clone(),
            key => value["spec"][key] = field.clone(),
        }
    }
    value
}

/// How a Job ended: the last condition, its reason, counters and indexes.
fn end(job: &Value) -> String {
    let status = &job["status"];
    let last = status["conditions"].as_array().and_then(|conditions| conditions.last()).cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let number = |key: &str| status[key].as_i64().unwrap_or(0);
    let indexes = (text(&status["completedIndexes"]), text(&status["failedIndexes"]));
    let (kind, reason) = (text(&last["type"]), text(&last["reason"]));
    format!("{kind} {reason} {}/{} {}/{}", number("succeeded"), number("failed"), indexes.0, indexes.1)
}

#[test]
fn jobs_come_to_their_end() {
    let indexed = |more: Value| {
        let mut spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let policy = json!({"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]});
    let success = json!({"rules": [{"succeededCount": 1}]});
    // Name, script, spec, how it ends.
    let cases = [
        ("one", "true", json!({}), "Complete CompletionsReached 1/0 -/-"),
        ("many", "sleep 5", json!({"completions": 7, "parallelism": 3}), "Complete CompletionsReached 7/0 -/-"),
        ("queue", "sleep 5", json!({"parallelism": 3}), "Complete CompletionsReached 3/0 -/-"),
        ("fails", "exit 1", json!({"backoffLimit": 1}), "Failed BackoffLimitExceeded 0/2 -/-"),
        (
            "restarts",
            "exit 1",
            json!({"backoffLimit": 2, "restartPolicy": "OnFailure"}),
            "Failed BackoffLimitExceeded 0/1 -/-",
        ),
        ("late", "sleep 1h", json!({"activeDeadlineSeconds": 20}), "Failed DeadlineExceeded 0/1 -/-"),
        ("indexed", "true", indexed(json!({})), "Complete CompletionsReached 3/0 0-2/-"),
        ("each", "exit 1", indexed(json!({"backoffLimitPerIndex": 1})), "Failed FailedIndexes 0/6 -/0-2"),
        (
            "few",
            "exit 1",
            indexed(json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 1, "parallelism": 1})),
            "Failed MaxFailedIndexesExceeded 0/2 -/0,1",
        ),
        ("policy", "exit 42", json!({"podFailurePolicy": policy}), "Failed PodFailurePolicy 0/1 -/-"),
        (
            "enough",
            "sleep 5",
            indexed(json!({"successPolicy": success, "parallelism": 1})),
            "Complete SuccessPolicy 1/0 0/-",
        ),
        ("nothing", "true", json!({"completions": 0}), "Complete CompletionsReached 0/0 -/-"),
    ];
    run(3, async |world, store| {
        let (_region, client) = cluster(&world, &store).await;
        for (name, script, spec, _) in &cases {
            client.create(&JOBS, "default", job(name, script, spec.clone())).await.unwrap();
        }
        until(&world, "all have ended", || async {
            let (jobs, _) = client.list(&JOBS, "default").await.unwrap();
            let ended = |object: &std::sync::Arc<Object>| {
                let end = end(&object.value());
                end.starts_with("Complete") || end.starts_with("Failed")
            };
            world.elapsed() > Duration::from_secs(3000) || jobs.iter().all(ended)
        })
        .await;
        for (name, _, _, expected) in &cases {
            let ended = value(&client, &JOBS, name).await;
            assert_eq!(end(&ended), *expected, "{name}: {:#}", ended["status"]);
            assert_eq!(ended["status"]["uncountedTerminatedPods"], json!({}), "{name}");
            assert!(ended["status"]["active"].is_null(), "{name}");
        }
        let told = [("one", "Completed"), ("fails", "BackoffLimitExceeded"), ("late", "SuccessfulDelete")];
        for (name, reason) in told {
            assert!(reasons(&client, name).await.iter().any(|own| own == reason), "{name} {reason}");
        }
        let (pods, _) = client.list(&PODS, "default").await.unwrap();
        assert!(pods.iter().all(|pod| pod.meta().finalizers.is_empty()), "all pods are counted");
        for (name, ..) in &cases {
            delete(&client, &JOBS, name, Propagation::Background).await;
        }
        until(&world, "all pods went with their Jobs", || async {
            client.list(&PODS, "default").await.unwrap().0.is_empty()
        })
        .await;
    });
}

#[test]
fn jobs_are_suspended_resumed_and_cleared_away() {
    run(4, async |world, store| {
        let (_region, client) = cluster(&world, &store).await;
        let spec = json!({"suspend": true, "completions": 2, "parallelism": 2, "ttlSecondsAfterFinished": 30});
        client.create(&JOBS, "default", job("work", "sleep 60", spec)).await.unwrap();
        let condition = |state: &'static str| {
            let client = client.clone();
            move || {
                let client = client.clone();
                async move {
                    let conditions = value(&client, &JOBS, "work").await["status"]["conditions"].clone();
                    let mut conditions = conditions.as_array().into_iter().flatten();
                    conditions.any(|own| own["type"] == "Suspended" && own["status"] == state)
                }
            }
        };
        let running = |count: usize| {
            let client = client.clone();
            move || {
                let client = client.clone();
                async move {
                    let pods = selected(&client, &PODS, "job-name=work").await;
                    pods.len() == count && pods.iter().all(|pod| pod["status"]["phase"] == "Running")
                }
            }
        };
        until(&world, "it is suspended", condition("True")).await;
        assert!(selected(&client, &PODS, "job-name=work").await.is_empty());
        patch(&client, &JOBS, "work", json!({"spec": {"suspend": false}})).await;
        until(&world, "it is resumed", condition("False")).await;
        until(&world, "it runs", running(2)).await;
        patch(&client, &JOBS, "work", json!({"spec": {"suspend": true}})).await;
        until(&world, "its pods are gone", running(0)).await;
        assert_eq!(value(&client, &JOBS, "work").await["status"]["failed"], Value::Null, "none of them has failed");
        patch(&client, &JOBS, "work", json!({"spec": {"suspend": false}})).await;
        until(&world, "it ends", || async { end(&value(&client, &JOBS, "work").await).starts_with("Complete") }).await;
        assert_eq!(end(&value(&client, &JOBS, "work").await), "Complete CompletionsReached 2/0 -/-");
        until(&world, "it is cleared away with its pods", || async {
            value(&client, &JOBS, "work").await.is_null() && selected(&client, &PODS, "job-name=work").await.is_empty()
        })
        .await;
    });
}

#[test]
fn cron_jobs_make_jobs_by_the_clock() {
    let cron = |name: &str, script: &str, policy: &str| {
        let template = job(name, script, json!({"backoffLimit": 0}))["spec"].clone();
        json!({
            "metadata": {"name": name},
            "spec": {
                "schedule": "* * * * *", "concurrencyPolicy": policy, "successfulJobsHistoryLimit": 2,
                "jobTemplate": {"metadata": {"labels": {"cron": name}}, "spec": template},
            },
        })
    };
    run(5, async |world, store| {
        let (_region, client) = cluster(&world, &store).await;
        for (name, script, policy) in [
            ("quick", "true", "Allow"),
            ("slow", "sleep 600", "Allow"),
            ("alone", "sleep 600", "Forbid"),
            ("newest", "sleep 600", "Replace"),
        ] {
            client.create(&CRON_JOBS, "default", cron(name, script, policy)).await.unwrap();
        }
        world.sleep(Duration::from_secs(290)).await;
        let jobs = async |name: &str| {
            let mut jobs = selected(&client, &JOBS, &format!("cron={name}")).await;
            jobs.retain(|job| job["metadata"]["deletionTimestamp"].is_null());
            jobs
        };
        let active = async |name: &str| {
            let status = value(&client, &CRON_JOBS, name).await["status"].clone();
            status["active"].as_array().map_or(0, Vec::len)
        };
        assert_eq!((jobs("quick").await.len(), active("quick").await), (2, 0), "those beyond the limit are gone");
        assert!((4..=5).contains(&jobs("slow").await.len()), "{:#?}", jobs("slow").await.len());
        assert_eq!(active("slow").await, jobs("slow").await.len());
        assert_eq!((jobs("alone").await.len(), active("alone").await), (1, 1));
        assert_eq!((jobs("newest").await.len(), active("newest").await), (1, 1));
        let status = value(&client, &CRON_JOBS, "quick").await["status"].clone();
        assert!(status["lastScheduleTime"].is_string() && status["lastSuccessfulTime"].is_string(), "{status}");
        assert!(reasons(&client, "alone").await.iter().any(|reason| reason == "JobAlreadyActive"));
        let last = jobs("newest").await.remove(0);
        let minute =
            last["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].as_str().unwrap();
        let minute = world::Timestamp::parse(minute).unwrap();
        assert_eq!(last["metadata"]["name"], format!("newest-{}", minute.seconds() / 60));
        for name in ["quick", "slow", "alone", "newest"] {
            delete(&client, &CRON_JOBS, name, Propagation::Background).await;
        }
        until(&world, "all Jobs and pods went with them", || async {
            client.list(&JOBS, "default").await.unwrap().0.is_empty()
                && client.list(&PODS, "default").await.unwrap().0.is_empty()
        })
        .await;
    });
}

#[test]
fn stateful_sets_move_their_pods_one_by_one() {
    run(6, async |world, store| {
        let (_region, client) = cluster(&world, &store).await;
        let labels = json!({"app": "db"});
        let image =
            |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
        let template =
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}});
        let selector = json!({"matchLabels": labels});
        let body = json!({
            "metadata": {"name": "db"},
            "spec": {"replicas": 3, "serviceName": "db", "selector": selector, "template": template},
        });
        client.create(&STATEFUL_SETS, "default", body).await.unwrap();
        let settled = |replicas: i64| {
            let client = client.clone();
            move || {
                let client = client.clone();
                async move {
                    let set = value(&client, &STATEFUL_SETS, "db").await;
                    let status = &set["status"];
                    let counts =
                        ["replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "currentReplicas"];
                    status["observedGeneration"] == set["metadata"]["generation"]
                        && status["currentRevision"] == status["updateRevision"]
                        && counts.iter().all(|key| status[*key].as_i64().unwrap_or(0) == replicas)
                }
            }
        };
        let facts = async || {
            let pods = selected(&client, &PODS, "app=db").await.into_iter();
            let mut facts: Vec<(String, String, String)> = pods
                .map(|pod| {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let image = text(&pod["spec"]["containers"][0]["image"]);
                    (text(&pod["metadata"]["name"]), image, text(&pod["metadata"]["creationTimestamp"]))
                })
                .collect();
            facts.sort();
            facts
        };
        until(&world, "three pods", settled(3)).await;
        let first = facts().await;
        assert_eq!(first.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["db-0", "db-1", "db-2"]);
        assert!(first.is_sorted_by_key(|(.., created)| created.clone()), "one after the other: {first:?}");

        patch(&client, &STATEFUL_SETS, "db", json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}}))
            .await;
        patch(&client, &STATEFUL_SETS, "db", image("nginx:2")).await;
        until(&world, "the last pod is new", || async {
            let status = value(&client, &STATEFUL_SETS, "db").await["status"].clone();
            status["updatedReplicas"] == 1 && status["readyReplicas"] == 3
        })
        .await;
        let images = async || facts().await.into_iter().map(|(_, image, _)| image).collect::<Vec<_>>();
        assert_eq!(images().await, ["nginx:1", "nginx:1", "nginx:2"]);
        patch(&client, &STATEFUL_SETS, "db", json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}))
            .await;
        until(&world, "all pods are new", settled(3)).await;
        assert_eq!(images().await, ["nginx:2"; 3]);
        patch(&client, &STATEFUL_SETS, "db", image("nginx:1")).await;
        until(&world, "all pods are as before", settled(3)).await;
        assert_eq!(images().await, ["nginx:1"; 3]);
        let (revisions, _) = client.list(&CONTROLLER_REVISIONS, "default").await.unwrap();
        assert_eq!(revisions.len(), 2, "the first template is used again");

        patch(&client, &STATEFUL_SETS, "db", json!({"spec": {"replicas": 1}})).await;
        until(&world, "one pod", settled(1)).await;
        assert_eq!(facts().await.len(), 1);
        delete(&client, &STATEFUL_SETS, "db", Propagation::Foreground).await;
        until(&world, "all is gone", || async {
            let (revisions, _) = client.list(&CONTROLLER_REVISIONS, "default").await.unwrap();
            revisions.is_empty() && facts().await.is_empty()
        })
        .await;
    });
}
