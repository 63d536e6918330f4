//! All controllers together on simulated time, over the small API server of the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_client::{Client, Options as CallOptions, Propagation, Verb, WatchEvent};
use k8s_object::resources::{
    CONFIG_MAPS, CONTROLLER_REVISIONS, CUSTOM_RESOURCE_DEFINITIONS, DAEMON_SETS, DEPLOYMENTS, ENDPOINT_SLICES, EVENTS,
    JOBS, NAMESPACES, NODES, PODS, REPLICA_SETS, SERVICE_ACCOUNTS, SERVICES,
};
use k8s_object::views::{ControllerRevision, DaemonSet, Deployment, Node, Pod, ReplicaSet};
use k8s_object::{ApiError, GroupVersionResource, Object};
use serde_json::{Value, json};
use world::{Simulation, Tasks, World};

use crate::controllers::CONTROLLERS;
use crate::executor::ActionLog;
use crate::manager::{Controllers, start_logged};
use crate::testing::{Fake, Kubelets, admin, manager, options};

/// A cluster with all controllers.
struct Cluster {
    world: World,
    simulation: Simulation,
    tasks: Tasks,
    fake: Arc<Fake>,
    client: Client,
    controllers: Controllers,
    log: Arc<Mutex<Vec<String>>>,
}

impl Cluster {
    fn start(seed: u64) -> Cluster {
        let (world, mut simulation) = World::simulated(seed);
        let fake = Fake::new(&world);
        let tasks = world.tasks("cluster");
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = log.clone();
        let logged: ActionLog =
            Arc::new(move |who, what, when| lines.lock().unwrap().push(format!("{when:?} {who} {what}")));
        let controllers = start_logged(manager(&fake), &world, &tasks, options(), Some(logged));
        simulation.block_on(controllers.synced());
        let client = admin(&fake);
        Cluster { world, simulation, tasks, fake, client, controllers, log }
    }

    fn nodes(&self, nodes: &[&str]) -> Kubelets {
        Kubelets::start(&self.fake, &self.tasks, nodes, Duration::from_secs(2))
    }

    fn create(&mut self, resource: &GroupVersionResource, namespace: &str, body: Value) -> Arc<Object> {
        self.simulation.block_on(self.client.create(resource, namespace, body)).unwrap()
    }

    fn patch(&mut self, resource: &GroupVersionResource, name: &str, body: Value) {
        let patch = self.client.patch(resource, "a", name, "", k8s_client::PatchType::Merge, body);
        self.simulation.block_on(patch).unwrap();
    }

    fn delete(&mut self, resource: &GroupVersionResource, namespace: &str, name: &str, options: CallOptions) {
        self.simulation.block_on(self.client.delete_with(resource, namespace, name, options)).unwrap();
    }

    fn until(&mut self, what: &str, met: impl Fn(&Fake) -> bool) {
        let limit = Duration::from_secs(3600);
        let done = self.simulation.block_on(self.world.timeout(limit, self.fake.until(met)));
        let tail: Vec<String> = self.fake.requests().into_iter().rev().take(30).collect();
        done.unwrap_or_else(|_| panic!("{what}: not within an hour; {:#?}\n{tail:#?}", self.controllers.metrics()));
    }

    fn pass(&mut self, duration: Duration) {
        self.simulation.block_on(self.world.sleep(duration));
    }

    fn stop(mut self) -> Vec<String> {
        let late = self.simulation.block_on(self.tasks.shutdown(Duration::from_secs(5)));
        assert_eq!(late, [""; 0], "every task stops when asked to");
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

fn deployment(replicas: i64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}], "tolerations": [
                    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                ]},
            },
        },
    })
}

/// What `kubectl rollout status` waits for.
fn is_rolled_out(fake: &Fake) -> bool {
    let Some(object) = fake.get(&DEPLOYMENTS, "a", "web") else { return false };
    let web = object.view::<Deployment>().unwrap();
    let wanted = web.spec.replicas.unwrap();
    let progressing = web.status.conditions.iter().find(|condition| condition.kind == "Progressing");
    web.status.observed_generation == object.meta().generation
        && (web.status.updated_replicas, web.status.replicas, web.status.available_replicas) == (wanted, wanted, wanted)
        && progressing.is_some_and(|condition| condition.reason == "NewReplicaSetAvailable")
}

fn active_pods(fake: &Fake) -> Vec<Arc<Pod>> {
    let pods = fake.list(&PODS).into_iter().map(|pod| pod.view::<Pod>().unwrap());
    pods.filter(|pod| pod.is_active()).collect()
}

#[test]
fn a_deployment_settles_and_is_served() {
    let mut cluster = Cluster::start(1);
    cluster.nodes(&["n1", "n2"]);
    cluster.create(&NAMESPACES, "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    });
    cluster.create(&SERVICES, "a", service);
    cluster.create(&DEPLOYMENTS, "a", deployment(3, "v1"));
    cluster.until("rolled out", is_rolled_out);
    assert!(cluster.world.elapsed() < Duration::from_secs(5), "{:?}", cluster.world.elapsed());
    assert_eq!(active_pods(&cluster.fake).len(), 3);
    cluster.until("three endpoints", |fake| {
        let endpoints = fake
            .list(&ENDPOINT_SLICES)
            .iter()
            .map(|slice| slice.value()["endpoints"].as_array().unwrap().len())
            .sum::<usize>();
        endpoints == 3
    });
    assert_eq!(cluster.fake.get(&CONFIG_MAPS, "a", "kube-root-ca.crt").unwrap().value()["data"]["ca.crt"], "CA");
    assert!(cluster.fake.get(&SERVICE_ACCOUNTS, "a", "default").is_some());
    let reasons: Vec<String> =
        cluster.fake.list(&EVENTS).iter().map(|event| event.value()["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(reasons.iter().filter(|reason| *reason == "SuccessfulCreate").count(), 3);
    assert!(reasons.contains(&"ScalingReplicaSet".to_owned()));
    let errors: Vec<String> = cluster.fake.requests().into_iter().filter(|line| line.contains("may not")).collect();
    assert_eq!(errors, [""; 0], "controllers do what their roles allow");
    // Everything is at rest: an hour makes no difference.
    let plans = |cluster: &Cluster| cluster.controllers.metrics().values().map(|metrics| metrics.actions).sum::<u64>();
    cluster.pass(Duration::from_secs(60));
    let before = plans(&cluster);
    cluster.pass(Duration::from_secs(3600));
    assert_eq!(plans(&cluster), before);
    assert!(cluster.controllers.metrics().values().all(|metrics| metrics.depth == 0));
    cluster.stop();
}

#[test]
fn a_disruption_budget_follows_its_pods_and_their_number() {
    let budgets = GroupVersionResource::of("policy", "v1", "poddisruptionbudgets");
    let mut cluster = Cluster::start(3);
    cluster.nodes(&["n1", "n2"]);
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    cluster.create(&budgets, "a", budget);
    cluster.create(&DEPLOYMENTS, "a", deployment(3, "v1"));
    let says = |expected: i64, allowed: i64| {
        let budgets = budgets.clone();
        move |fake: &Fake| {
            let status = fake.get(&budgets, "a", "web").map(|budget| budget.value()["status"].clone());
            status.is_some_and(|is| is["expectedPods"] == expected && is["disruptionsAllowed"] == allowed)
        }
    };
    cluster.until("three are ready and one may go", says(3, 1));
    cluster.patch(&DEPLOYMENTS, "web", json!({"spec": {"replicas": 5}}));
    cluster.until("two are missing and none may go", says(5, 0));
    cluster.until("five are ready and one may go", says(5, 1));
    cluster.patch(&budgets, "web", json!({"spec": {"maxUnavailable": 2}}));
    cluster.until("the budget is larger", says(5, 2));
    let errors: Vec<String> = cluster.fake.requests().into_iter().filter(|line| line.contains("may not")).collect();
    assert_eq!(errors, [""; 0], "controllers do what their roles allow");
    cluster.stop();
}

#[test]
fn an_idle_manager_has_no_task_but_its_informers() {
    let mut cluster = Cluster::start(2);
    cluster.pass(Duration::from_secs(60));
    let plans = |cluster: &Cluster| cluster.controllers.metrics().values().map(|metrics| metrics.plans).sum::<u64>();
    let (tasks, before) = (cluster.tasks.len(), plans(&cluster));
    assert_eq!(
        tasks,
        options().resources.len() - 1 + 1 + 1,
        "one per resource but events, custom resources, the manager"
    );
    cluster.pass(Duration::from_secs(24 * 3600));
    assert_eq!(plans(&cluster), before);
    cluster.stop();
}

#[test]
fn a_rolling_update_never_leaves_its_limits() {
    for seed in 0..8 {
        let mut cluster = Cluster::start(seed);
        cluster.nodes(&["n1", "n2", "n3"]);
        cluster.create(&DEPLOYMENTS, "a", deployment(10, "v1"));
        cluster.until("first rollout", is_rolled_out);
        let begin = cluster.fake.history().last().unwrap().0;
        cluster.patch(
            &DEPLOYMENTS,
            "web",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "v2"}]}}}}),
        );
        cluster.until("second rollout", is_rolled_out);
        // 10 replicas, 25 %: at most 13 asked for, at least 8 available, at every revision in between.
        let mut sizes: BTreeMap<String, i64> = BTreeMap::new();
        let mut available: BTreeMap<String, bool> = BTreeMap::new();
        for (revision, _, event) in cluster.fake.history() {
            let (object, gone) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(_) => continue,
            };
            match object.kind().kind.as_ref() {
                "ReplicaSet" => {
                    sizes.insert(
                        object.meta().name.clone(),
                        object.view::<ReplicaSet>().unwrap().spec.replicas.unwrap(),
                    );
                }
                "Pod" => {
                    let pod = object.view::<Pod>().unwrap();
                    available.insert(object.meta().name.clone(), !gone && pod.is_active() && pod.is_ready());
                }
                _ => continue,
            }
            if revision > begin {
                let total: i64 = sizes.values().sum();
                let ready = available.values().filter(|available| **available).count();
                assert!(total <= 13, "seed {seed}, revision {revision}: {total} pods asked for");
                assert!(ready >= 8, "seed {seed}, revision {revision}: {ready} pods available");
            }
        }
        let images: Vec<Value> = cluster
            .fake
            .list(&PODS)
            .iter()
            .filter(|pod| !pod.meta().is_terminating())
            .map(|pod| pod.value()["spec"]["containers"][0]["image"].clone())
            .collect();
        assert_eq!(images, vec![json!("v2"); 10]);
        cluster.stop();
    }
}

#[test]
fn undo_restart_pause_and_resume_work_as_kubectl_does_them() {
    let mut cluster = Cluster::start(3);
    cluster.nodes(&["n1"]);
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    let revision = |cluster: &Cluster| {
        let web = cluster.fake.get(&DEPLOYMENTS, "a", "web").unwrap();
        web.meta().annotations.get("deployment.kubernetes.io/revision").unwrap().to_owned()
    };
    cluster.create(&DEPLOYMENTS, "a", deployment(2, "v1"));
    cluster.until("v1", is_rolled_out);
    cluster.patch(&DEPLOYMENTS, "web", image("v2"));
    cluster.until("v2", is_rolled_out);
    assert_eq!(revision(&cluster), "2");
    cluster.patch(&DEPLOYMENTS, "web", image("v1"));
    cluster.until("back to v1", is_rolled_out);
    assert_eq!(
        (revision(&cluster).as_str(), cluster.fake.list(&REPLICA_SETS).len()),
        ("3", 2),
        "the old set serves again"
    );
    cluster.patch(&DEPLOYMENTS, "web", json!({"spec": {"paused": true}}));
    cluster.patch(&DEPLOYMENTS, "web", image("v3"));
    cluster.pass(Duration::from_secs(60));
    assert_eq!(cluster.fake.list(&REPLICA_SETS).len(), 2, "paused");
    cluster.patch(&DEPLOYMENTS, "web", json!({"spec": {"paused": false}}));
    cluster.until("v3", is_rolled_out);
    let restart =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    cluster.patch(&DEPLOYMENTS, "web", restart);
    cluster.until("restarted", is_rolled_out);
    assert_eq!(revision(&cluster), "5");
    cluster.patch(&DEPLOYMENTS, "web", json!({"spec": {"replicas": 7}}));
    cluster.until("scaled", is_rolled_out);
    cluster.patch(&DEPLOYMENTS, "web", json!({"spec": {"replicas": 1}}));
    cluster.until("scaled down", |fake| is_rolled_out(fake) && fake.list(&PODS).len() == 1);
    cluster.stop();
}

#[test]
fn a_failing_create_backs_off_and_is_shown() {
    let mut cluster = Cluster::start(4);
    cluster.fake.fail(|request| {
        let create = request.verb == Verb::Create && request.resource == PODS;
        create.then(|| ApiError::forbidden("", "pods", "", "exceeded quota"))
    });
    cluster.create(&DEPLOYMENTS, "a", deployment(50, "v1"));
    cluster.pass(Duration::from_secs(300));
    let attempts: Vec<String> =
        cluster.fake.requests().into_iter().filter(|line| line.contains("create pods")).collect();
    assert!((14..=24).contains(&attempts.len()), "{} attempts: one per doubled delay, not 50", attempts.len());
    let web = cluster.fake.get(&DEPLOYMENTS, "a", "web").unwrap().view::<Deployment>().unwrap();
    let failure = web.status.conditions.iter().find(|condition| condition.kind == "ReplicaFailure").unwrap();
    assert_eq!(failure.message, "pods is forbidden: exceeded quota");
    let events = cluster.fake.list(&EVENTS);
    let event = events.iter().find(|event| event.value()["reason"] == "FailedCreate").unwrap().value();
    assert!(event["count"].as_i64().unwrap() > 10 && event["type"] == "Warning", "{event}");
    cluster.fake.fail(|_| None);
    cluster.nodes(&["n1"]);
    cluster.until("recovered", is_rolled_out);
    let web = cluster.fake.get(&DEPLOYMENTS, "a", "web").unwrap().view::<Deployment>().unwrap();
    assert!(!web.status.conditions.iter().any(|condition| condition.kind == "ReplicaFailure"));
    cluster.stop();
}

#[test]
fn a_burst_starts_slowly_and_ends_with_the_batch_that_fails() {
    let mut cluster = Cluster::start(4);
    let created = Mutex::new(0);
    cluster.fake.fail(move |request| {
        let mut created = created.lock().unwrap();
        *created += usize::from(request.verb == Verb::Create && request.resource == PODS);
        (request.resource == PODS && *created > 5).then(|| ApiError::forbidden("", "pods", "", "exceeded quota"))
    });
    cluster.create(&DEPLOYMENTS, "a", deployment(50, "v1"));
    cluster.pass(Duration::from_secs(1));
    let requests = cluster.fake.requests();
    let creates: Vec<&str> = requests.iter().filter(|line| line.contains("create pods")).map(String::as_str).collect();
    let instant = creates[0].split(' ').next();
    let first = creates.iter().take_while(|line| line.split(' ').next() == instant).count();
    assert_eq!(first, 1 + 2 + 4, "{creates:#?}");
    assert_eq!(cluster.fake.list(&PODS).len(), 5);
    cluster.stop();
}

#[test]
fn a_rollout_that_stands_still_times_out() {
    let mut cluster = Cluster::start(5);
    cluster.create(&DEPLOYMENTS, "a", deployment(1, "v1"));
    let timed_out = |fake: &Fake| {
        let web = fake.get(&DEPLOYMENTS, "a", "web").unwrap().view::<Deployment>().unwrap();
        web.status.conditions.iter().any(|condition| condition.reason == "ProgressDeadlineExceeded")
    };
    cluster.until("deadline", timed_out);
    let elapsed = cluster.world.elapsed().as_secs();
    assert!((600..=605).contains(&elapsed), "{elapsed} s");
    cluster.stop();
}

#[test]
fn deletion_follows_the_propagation_that_was_asked_for() {
    for (propagation, sets, pods) in
        [(Propagation::Foreground, 0, 0), (Propagation::Background, 0, 0), (Propagation::Orphan, 1, 3)]
    {
        let mut cluster = Cluster::start(6);
        cluster.nodes(&["n1"]);
        cluster.create(&DEPLOYMENTS, "a", deployment(3, "v1"));
        cluster.until("rolled out", is_rolled_out);
        let options = CallOptions { propagation: Some(propagation), ..CallOptions::default() };
        cluster.delete(&DEPLOYMENTS, "a", "web", options);
        cluster.until("gone", |fake| {
            fake.list(&DEPLOYMENTS).is_empty()
                && fake.list(&REPLICA_SETS).len() == sets
                && fake.list(&PODS).len() == pods
        });
        cluster.pass(Duration::from_secs(120));
        assert_eq!(
            (cluster.fake.list(&REPLICA_SETS).len(), cluster.fake.list(&PODS).len()),
            (sets, pods),
            "{propagation:?}"
        );
        let order: Vec<String> = cluster
            .fake
            .history()
            .iter()
            .filter_map(|(_, _, event)| match event {
                WatchEvent::Deleted(object) => Some(object.kind().kind.to_string()),
                _ => None,
            })
            .collect();
        match propagation {
            Propagation::Foreground => assert_eq!(order, ["Pod", "Pod", "Pod", "ReplicaSet", "Deployment"]),
            Propagation::Background => assert_eq!(order[..2], ["Deployment", "ReplicaSet"]),
            Propagation::Orphan => {
                assert_eq!(order, ["Deployment"]);
                assert!(cluster.fake.list(&REPLICA_SETS)[0].meta().owner_references.is_empty());
            }
        }
        cluster.stop();
    }
}

#[test]
fn a_namespace_is_emptied_and_goes() {
    let mut cluster = Cluster::start(7);
    cluster.nodes(&["n1"]);
    cluster.create(&NAMESPACES, "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
    cluster.create(&DEPLOYMENTS, "a", deployment(3, "v1"));
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["x/y"]}});
    cluster.create(&CONFIG_MAPS, "a", held);
    cluster.until("rolled out", is_rolled_out);
    cluster.delete(&NAMESPACES, "", "a", CallOptions::default());
    cluster.pass(Duration::from_secs(120));
    let status = cluster.fake.get(&NAMESPACES, "", "a").unwrap().value()["status"].to_string();
    assert!(status.contains("x/y in 1 resource instances"), "{status}");
    cluster.patch(&CONFIG_MAPS, "held", json!({"metadata": {"finalizers": []}}));
    cluster.until("gone", |fake| fake.get(&NAMESPACES, "", "a").is_none());
    for (resource, ..) in
        [(&PODS,), (&DEPLOYMENTS,), (&REPLICA_SETS,), (&CONFIG_MAPS,), (&SERVICE_ACCOUNTS,), (&EVENTS,)]
    {
        let left: Vec<_> =
            cluster.fake.list(resource).into_iter().filter(|object| object.meta().namespace == "a").collect();
        assert!(left.is_empty(), "{left:?}");
    }
    cluster.stop();
}

#[test]
fn a_silent_node_loses_its_pods_after_40_and_300_seconds() {
    let mut cluster = Cluster::start(8);
    let kubelets = cluster.nodes(&["n1", "n2"]);
    cluster.create(&DEPLOYMENTS, "a", deployment(4, "v1"));
    cluster.until("rolled out", is_rolled_out);
    let silent = cluster.world.elapsed();
    kubelets.kill("n1");
    let unknown = |fake: &Fake| {
        let node = fake.get(&NODES, "", "n1").unwrap().view::<Node>().unwrap();
        node.condition("Ready").unwrap().status == "Unknown"
    };
    cluster.until("noticed", unknown);
    cluster.until("told by the component that upstream names", |fake| {
        let mut events = fake.list(&EVENTS).into_iter().map(|event| event.value());
        events.any(|event| {
            event["reason"] == "NodeNotReady"
                && event["source"]["component"] == "node-controller"
                && event["reportingComponent"] == "node-controller"
        })
    });
    let noticed = cluster.world.elapsed() - silent;
    assert!((30..=40).contains(&noticed.as_secs()), "{noticed:?} after the last but one renewal");
    let ready = |fake: &Fake| active_pods(fake).iter().filter(|pod| pod.is_ready()).count();
    cluster.until("told", move |fake| ready(fake) == 2);
    let evicted = |fake: &Fake| fake.list(&PODS).iter().filter(|pod| pod.meta().is_terminating()).count() == 2;
    cluster.until("evicted", evicted);
    let after = cluster.world.elapsed() - silent - noticed;
    assert!((299..=302).contains(&after.as_secs()), "{after:?} after it was noticed");
    cluster.until("replaced on the other node", move |fake| ready(fake) == 4);
    assert!(active_pods(&cluster.fake).iter().all(|pod| pod.spec.node_name == "n2"));
    // The node is taken away: what is left of its pods goes after the grace period.
    cluster.delete(&NODES, "", "n1", CallOptions::default());
    let deleted = cluster.world.elapsed();
    cluster.until("collected", |fake| fake.list(&PODS).len() == 4);
    assert!((40..=42).contains(&(cluster.world.elapsed() - deleted).as_secs()));
    cluster.stop();
}

#[test]
fn owners_and_dependents_may_be_custom_resources() {
    let mut cluster = Cluster::start(9);
    let widgets = GroupVersionResource::new("x.io", "v1", "widgets");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.x.io"},
        "spec": {
            "group": "x.io", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true}],
        },
    });
    let definition = cluster.create(&CUSTOM_RESOURCE_DEFINITIONS, "", definition);
    let mut established = definition.value();
    established["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
    cluster.fake.put(&CUSTOM_RESOURCE_DEFINITIONS, established);
    let widget = |name: &str| json!({"apiVersion": "x.io/v1", "kind": "Widget", "metadata": {"name": name}});
    let owner = cluster.create(&widgets, "a", widget("w"));
    let reference = json!([{"apiVersion": "x.io/v1", "kind": "Widget", "name": "w", "uid": owner.meta().uid}]);
    let owned = |kind: &str, version: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "owned", "ownerReferences": reference}});
    cluster.create(&CONFIG_MAPS, "a", owned("ConfigMap", "v1"));
    cluster.create(&widgets, "a", owned("Widget", "x.io/v1"));
    cluster.pass(Duration::from_secs(10));
    assert_eq!((cluster.fake.list(&widgets).len(), cluster.fake.list(&CONFIG_MAPS).len()), (2, 1));
    cluster.delete(&widgets, "a", "w", CallOptions::default());
    cluster.until("collected", move |fake| fake.list(&widgets).is_empty() && fake.list(&CONFIG_MAPS).is_empty());
    cluster.delete(&CUSTOM_RESOURCE_DEFINITIONS, "", "widgets.x.io", CallOptions::default());
    cluster.pass(Duration::from_secs(10));
    cluster.stop();
}

#[test]
fn one_seed_gives_one_action_log() {
    let run = |seed| {
        let mut cluster = Cluster::start(seed);
        let kubelets = cluster.nodes(&["n1", "n2"]);
        cluster.create(&NAMESPACES, "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
        cluster.create(&DEPLOYMENTS, "a", deployment(5, "v1"));
        cluster.until("rolled out", is_rolled_out);
        cluster.patch(
            &DEPLOYMENTS,
            "web",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "v2"}]}}}}),
        );
        cluster.until("rolled out again", is_rolled_out);
        kubelets.kill("n2");
        cluster.pass(Duration::from_secs(400));
        cluster.stop()
    };
    for seed in 100..110 {
        run(seed); // Every interleaving gets there.
    }
    let (first, second) = (run(11), run(11));
    assert!(first.len() > 50);
    let differs = first.iter().zip(&second).find(|(first, second)| first != second);
    assert!(first.len() == second.len() && differs.is_none(), "{differs:?}");
    assert_ne!(first, run(12), "another seed is another run");
    let writers: Vec<&str> =
        CONTROLLERS.iter().map(|row| row.name).filter(|name| first.iter().any(|line| line.contains(name))).collect();
    assert!(writers.len() >= 6, "{writers:?}");
}

#[test]
fn a_stale_view_makes_no_pod_too_many() {
    for seed in 0..20 {
        let mut cluster = Cluster::start(seed);
        cluster.nodes(&["n1"]);
        cluster.create(&DEPLOYMENTS, "a", deployment(30, "v1"));
        cluster.until("rolled out", is_rolled_out);
        cluster.patch(&DEPLOYMENTS, "web", json!({"spec": {"replicas": 7}}));
        cluster.until("scaled", |fake| is_rolled_out(fake) && fake.list(&PODS).len() == 7);
        let count = |what: &str| cluster.fake.requests().iter().filter(|line| line.contains(what)).count();
        assert_eq!(count("replicaset-controller create pods"), 30, "seed {seed}");
        assert_eq!(count("replicaset-controller delete pods"), 23, "seed {seed}");
        cluster.stop();
    }
}

#[test]
fn every_pod_of_a_job_counts_once_whatever_the_view_shows() {
    for seed in 0..20 {
        let mut cluster = Cluster::start(seed);
        cluster.nodes(&["n1", "n2"]);
        let labels = json!({"job": "work"});
        let template = json!({
            "metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
        });
        let spec = json!({
            "completions": 10, "parallelism": 4, "selector": {"matchLabels": labels}, "template": template,
            "ttlSecondsAfterFinished": 7200,
        });
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": spec});
        cluster.create(&JOBS, "a", job);
        let succeeded = |fake: &Fake| fake.get(&JOBS, "a", "work").unwrap().value()["status"]["succeeded"].clone();
        let ended = |fake: &Fake| {
            let status = fake.get(&JOBS, "a", "work").unwrap().value()["status"].clone();
            status["conditions"].as_array().is_some_and(|own| own.iter().any(|own| own["type"] == "Complete"))
        };
        cluster.until("it is complete", ended);
        assert_eq!(succeeded(&cluster.fake), 10, "seed {seed}");
        let creates = cluster.fake.requests().iter().filter(|line| line.contains("job-controller create pods")).count();
        assert_eq!(creates, 10, "seed {seed}");
        cluster.pass(Duration::from_secs(60));
        assert!(cluster.fake.list(&PODS).iter().all(|pod| pod.meta().finalizers.is_empty()), "seed {seed}");
        let before = cluster.fake.requests().len();
        cluster.pass(Duration::from_secs(3600));
        assert_eq!(cluster.fake.requests().len(), before, "seed {seed}: what has ended is at rest");
        cluster.until("it is gone with its pods", |fake| fake.list(&JOBS).is_empty() && fake.list(&PODS).is_empty());
        let denied: Vec<String> = cluster.fake.requests().into_iter().filter(|line| line.contains("may not")).collect();
        assert_eq!(denied, [""; 0], "controllers do what their roles allow");
        cluster.stop();
    }
}

fn daemon_set(image: &str) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": "agent"}},
        "spec": {"nodeSelector": {"topology.kubernetes.io/zone": "a"}, "containers": [{"name": "c", "image": image}]},
    });
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}}, "revisionHistoryLimit": 10, "template": template,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        },
    })
}

/// What `kubectl rollout status` waits for, with a pod on so many nodes.
fn runs_on(nodes: i64) -> impl Fn(&Fake) -> bool {
    move |fake| {
        let Some(object) = fake.get(&DAEMON_SETS, "a", "agent") else { return false };
        let status = &object.view::<DaemonSet>().unwrap().status;
        let counts = [status.desired_number_scheduled, status.updated_number_scheduled, status.number_available];
        status.observed_generation == object.meta().generation && counts == [nodes; 3]
    }
}

#[test]
fn a_daemon_set_follows_its_nodes_and_its_template() {
    for seed in 0..10 {
        let mut cluster = Cluster::start(seed);
        cluster.nodes(&["n1", "n2", "n3"]);
        cluster.create(&DAEMON_SETS, "a", daemon_set("1"));
        cluster.until("everywhere", runs_on(3));
        let creates = |fake: &Fake| {
            fake.requests().iter().filter(|line| line.contains("daemon-set-controller create pods")).count()
        };
        assert_eq!(creates(&cluster.fake), 3, "seed {seed}: none too many");
        let mut elsewhere = cluster.fake.get(&NODES, "", "n2").unwrap().value();
        let mut back = elsewhere.clone();
        elsewhere["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!("b");
        cluster.fake.put(&NODES, elsewhere);
        cluster.until("it has left", |fake| runs_on(2)(fake) && fake.list(&PODS).len() == 2);
        back["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]);
        cluster.fake.put(&NODES, back.clone());
        cluster.pass(Duration::from_secs(10));
        assert!(runs_on(2)(&cluster.fake), "seed {seed}: a taint keeps it away");
        crate::json::remove(&mut back, "spec");
        cluster.fake.put(&NODES, back);
        cluster.until("it is back", runs_on(3));
        for image in ["2", "3", "1"] {
            let template = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
            cluster.patch(&DAEMON_SETS, "agent", template);
            cluster.until("rolled out", runs_on(3));
            let pods = active_pods(&cluster.fake);
            assert!(pods.iter().all(|pod| pod.spec.containers[0].image == image), "seed {seed}");
        }
        let revisions: Vec<i64> = cluster
            .fake
            .list(&CONTROLLER_REVISIONS)
            .iter()
            .map(|own| own.view::<ControllerRevision>().unwrap().revision)
            .collect();
        assert_eq!(revisions.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([2, 3, 4]), "seed {seed}");
        let before = cluster.fake.requests().len();
        cluster.pass(Duration::from_secs(3));
        let later = cluster.fake.requests();
        let own: Vec<&String> = later[before..].iter().filter(|line| line.contains("daemon-set-controller")).collect();
        assert!(own.is_empty(), "seed {seed}: it is at rest: {own:?}");
        cluster.delete(&DAEMON_SETS, "a", "agent", CallOptions::default());
        cluster.until("gone", |fake| fake.list(&PODS).is_empty() && fake.list(&CONTROLLER_REVISIONS).is_empty());
        let denied: Vec<String> = cluster.fake.requests().into_iter().filter(|line| line.contains("may not")).collect();
        assert_eq!(denied, [""; 0], "controllers do what their roles allow");
        cluster.stop();
    }
}

#[test]
fn daemons_that_fail_again_and_again_come_back_ever_later() {
    let mut cluster = Cluster::start(3);
    cluster.nodes(&["n1"]);
    cluster.create(&DAEMON_SETS, "a", daemon_set("1"));
    let mut waits = Vec::new();
    for _ in 0..7 {
        let alone = |fake: &Fake| fake.list(&PODS).len() == 1 && active_pods(fake).iter().all(|pod| pod.is_ready());
        cluster.until("it runs", |fake| alone(fake) && runs_on(1)(fake) && active_pods(fake).len() == 1);
        let pod = cluster.fake.list(&PODS)[0].clone();
        let mut failed = pod.value();
        failed["status"]["phase"] = json!("Failed");
        cluster.fake.put(&PODS, failed);
        let (begin, uid) = (cluster.world.elapsed(), pod.meta().uid.clone());
        let is_gone =
            move |fake: &Fake| fake.list(&PODS).iter().all(|pod| pod.meta().uid != uid || pod.meta().is_terminating());
        cluster.until("it is deleted", is_gone);
        waits.push((cluster.world.elapsed() - begin).as_secs());
    }
    assert!(waits.is_sorted() && waits[0] == 0 && (24..32).contains(&waits[6]), "{waits:?}");
    let events = cluster.fake.list(&EVENTS);
    let told = events.iter().map(|event| event.value()).find(|event| event["reason"] == "FailedDaemonPod").unwrap();
    assert_eq!((&told["type"], &told["reportingComponent"]), (&json!("Warning"), &json!("daemonset-controller")));
    cluster.stop();
}

#[test]
fn the_real_world_works_too() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let world = World::real();
        let fake = Fake::new(&world);
        let tasks = world.tasks("cluster");
        let controllers = crate::start(manager(&fake), &world, &tasks, options());
        controllers.synced().await;
        Kubelets::start(&fake, &tasks, &["n1", "n2"], Duration::from_millis(1));
        admin(&fake).create(&DEPLOYMENTS, "a", deployment(100, "v1")).await.unwrap();
        world.timeout(Duration::from_secs(60), fake.until(is_rolled_out)).await.unwrap();
        assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, [""; 0]);
    });
}
