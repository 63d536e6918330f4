//! The whole scheduler on simulated time against an API server of a few lines: what it writes, and what it does when that fails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_client::{Api, Body, Client, Identity, Reply, Request, Verb, Watch, WatchEvent, WatchSource};
use k8s_object::{ApiError, GroupVersionResource, NamespacedName, Object, Reason, UserInfo, resources};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use world::{BoxFuture, Tasks, World};

type Key = (GroupVersionResource, NamespacedName);

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Arc<Object>>,
    watches: Vec<(GroupVersionResource, mpsc::UnboundedSender<WatchEvent>)>,
    /// Requests that change something, in order.
    log: Vec<String>,
    /// How many bindings fail from now on, and how.
    failing: Vec<ApiError>,
}

/// Stores what it is given; knows of bindings and of patches of conditions.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

struct Source(mpsc::UnboundedReceiver<WatchEvent>);

impl WatchSource for Source {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<WatchEvent>, ApiError>> {
        Box::pin(async { self.0.recv().await.map(|event| vec![event]).ok_or_else(|| ApiError::expired("closed")) })
    }
}

impl Server {
    fn set(&self, resource: &GroupVersionResource, mut value: Value) -> Arc<Object> {
        let mut state = self.0.lock().unwrap();
        state.revision += 1;
        value["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        let object = Arc::new(Object::from_value(&value).unwrap());
        let older = state.objects.insert((resource.clone(), object.key()), object.clone());
        let event = match older {
            None => WatchEvent::Added(object.clone()),
            Some(_) => WatchEvent::Modified(object.clone()),
        };
        Self::tell(&state, resource, event);
        object
    }

    fn delete(&self, resource: &GroupVersionResource, key: &NamespacedName) {
        let mut state = self.0.lock().unwrap();
        if let Some(object) = state.objects.remove(&(resource.clone(), key.clone())) {
            Self::tell(&state, resource, WatchEvent::Deleted(object));
        }
    }

    fn tell(state: &State, resource: &GroupVersionResource, event: WatchEvent) {
        for (_, watch) in state.watches.iter().filter(|(watched, _)| watched == resource) {
            let _ = watch.send(event.clone());
        }
    }

    fn pod(&self, name: &str) -> Value {
        let key = (resources::PODS, NamespacedName::new("default", name));
        self.0.lock().unwrap().objects[&key].value()
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().log)
    }

    #[allow(clippy::result_large_err)] // The port's own error.
    fn answer(&self, request: Request) -> Result<Reply, ApiError> {
        let key = (request.resource.clone(), NamespacedName::new(&request.namespace, &request.name));
        let body = match request.body {
            Body::Json(body) => body,
            _ => Value::Null,
        };
        match (request.verb, request.subresource.as_str()) {
            (Verb::List, _) => {
                let state = self.0.lock().unwrap();
                let items = state.objects.iter().filter(|((resource, _), _)| *resource == request.resource);
                let items = items.map(|(_, object)| object.clone()).collect();
                let resource_version = state.revision.to_string();
                Ok(Reply::List { items, resource_version, continue_token: String::new(), remaining: None })
            }
            (Verb::Create, "binding") => {
                let failure = self.0.lock().unwrap().failing.pop();
                let node = body["target"]["name"].as_str().unwrap().to_owned();
                if let Some(error) = failure {
                    self.0.lock().unwrap().log.push(format!("bind {} fails", request.name));
                    return Err(error);
                }
                let mut pod = self.pod(&request.name);
                assert_eq!(body["metadata"]["uid"], pod["metadata"]["uid"]);
                pod["spec"]["nodeName"] = json!(node);
                self.0.lock().unwrap().log.push(format!("bind {} to {node}", request.name));
                self.set(&resources::PODS, pod);
                Ok(Reply::Value(json!({"kind": "Status", "status": "Success"})))
            }
            (Verb::Patch, "status") => {
                let mut pod = self.pod(&request.name);
                if let Some(condition) = body["status"]["conditions"].get(0) {
                    let (reason, message) = (condition["reason"].as_str(), condition["message"].as_str());
                    let text = format!("{}: {}", reason.unwrap(), message.unwrap());
                    self.0.lock().unwrap().log.push(format!("condition of {} {text}", request.name));
                    pod["status"]["conditions"] = json!([condition]);
                }
                if let Some(node) = body["status"].get("nominatedNodeName") {
                    self.0.lock().unwrap().log.push(format!("{} is nominated to {node}", request.name));
                    pod["status"]["nominatedNodeName"] = node.clone();
                }
                Ok(Reply::Object(self.set(&resources::PODS, pod)))
            }
            (Verb::Delete, "") => {
                let pod = self.pod(&request.name);
                assert_eq!(request.options.preconditions.uid.as_deref(), pod["metadata"]["uid"].as_str());
                self.0.lock().unwrap().log.push(format!("delete {}", request.name));
                self.delete(&resources::PODS, &key.1);
                Ok(Reply::Value(json!({"kind": "Status", "status": "Success"})))
            }
            (Verb::Create, "") if key.0 == resources::EVENTS => {
                let about = body["involvedObject"]["name"].as_str().unwrap();
                assert!(body["eventTime"].is_string() && body["source"].is_null() && body["count"].is_null(), "{body}");
                let text = format!(
                    "event {} of {about}: {}",
                    body["reason"].as_str().unwrap(),
                    body["message"].as_str().unwrap()
                );
                self.0.lock().unwrap().log.push(text);
                Ok(Reply::Object(self.set(&resources::EVENTS, body)))
            }
            other => panic!("unexpected request {other:?}"),
        }
    }
}

impl Api for Server {
    fn call<'a>(
        &'a self,
        _: &'a Arc<UserInfo>,
        _: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, ApiError>> {
        Box::pin(async move { self.answer(request) })
    }

    fn watch<'a>(
        &'a self,
        _: &'a Arc<UserInfo>,
        _: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Watch, ApiError>> {
        Box::pin(async move {
            let (sender, receiver) = mpsc::unbounded_channel();
            let mut state = self.0.lock().unwrap();
            // Nothing is lost between list and watch here: both happen without a pause when nothing else runs.
            for object in
                state.objects.iter().filter(|((resource, _), _)| *resource == request.resource).map(|(_, o)| o)
            {
                let _ = sender.send(WatchEvent::Modified(object.clone()));
            }
            state.watches.push((request.resource, sender));
            Ok(Watch(Box::new(Source(receiver))))
        })
    }
}

fn node(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {"allocatable": {"cpu": cpu, "memory": "64Gi", "pods": "110"}},
    })
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "default", "name": name, "uid": format!("uid-of-{name}")},
        "spec": {
            "schedulerName": "default-scheduler",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}],
        },
    })
}

/// Runs a scheduler and then `then`, and checks that the scheduler stops when asked.
fn with_scheduler<F: Future<Output = ()>>(server: &Server, then: impl FnOnce(World, Tasks) -> F) {
    let (world, mut simulation) = World::simulated(1);
    let tasks = world.tasks("test");
    let user = Arc::new(UserInfo::new("system:kube-scheduler", &[]));
    let client = Client::new(Arc::new(server.clone()), Identity::Fixed(user), "test");
    scheduler::run(client, &tasks, scheduler::Options::default());
    simulation.block_on(async {
        then(world.clone(), tasks.clone()).await;
        assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, Vec::<&str>::new());
    });
}

#[test]
fn pods_are_bound_and_told_about() {
    let server = Server::default();
    server.set(&resources::NODES, node("a", "1"));
    server.set(&resources::PODS, pod("early", "500m"));
    with_scheduler(&server, async |world, _| {
        world.sleep(Duration::from_secs(1)).await;
        server.set(&resources::PODS, pod("late", "500m"));
        world.sleep(Duration::from_secs(1)).await;
        let expected = [
            "bind early to a",
            "event Scheduled of early: Successfully assigned default/early to a",
            "bind late to a",
            "event Scheduled of late: Successfully assigned default/late to a",
        ];
        assert_eq!(server.log(), expected);
    });
}

#[test]
fn an_unschedulable_pod_is_told_why_once_and_bound_when_there_is_room() {
    let server = Server::default();
    server.set(&resources::NODES, node("a", "1"));
    server.set(&resources::PODS, pod("first", "1"));
    with_scheduler(&server, async |world, _| {
        world.sleep(Duration::from_secs(1)).await;
        server.log();
        server.set(&resources::PODS, pod("second", "1"));
        world.sleep(Duration::from_secs(1)).await;
        let mut log = server.log();
        log.sort();
        let why = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: \
                   1 No preemption victims found for incoming pod.";
        let expected =
            [format!("condition of second Unschedulable: {why}"), format!("event FailedScheduling of second: {why}")];
        assert_eq!(log, expected);
        let condition = &server.pod("second")["status"]["conditions"][0];
        assert_eq!((&condition["type"], &condition["status"]), (&json!("PodScheduled"), &json!("False")));
        assert!(condition["lastTransitionTime"].is_string());
        world.sleep(Duration::from_secs(1000)).await;
        assert_eq!(server.log(), Vec::<String>::new(), "it was tried again, and there was nothing new to tell");
        server.delete(&resources::PODS, &NamespacedName::new("default", "first"));
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(server.log()[0], "bind second to a");
    });
}

#[test]
fn pods_of_lower_priority_make_room() {
    let server = Server::default();
    server.set(&resources::NODES, node("a", "2"));
    let running = |name: &str, priority: i32| {
        let mut value = pod(name, "1");
        value["spec"]["nodeName"] = json!("a");
        value["spec"]["priority"] = json!(priority);
        server.set(&resources::PODS, value);
    };
    running("low", 1);
    running("lower", 0);
    with_scheduler(&server, async |world, _| {
        world.sleep(Duration::from_secs(1)).await;
        let mut high = pod("high", "2");
        high["spec"]["priority"] = json!(10);
        server.set(&resources::PODS, high);
        world.sleep(Duration::from_secs(3)).await;
        let told = "PreemptionByScheduler: default-scheduler: preempting to accommodate a higher priority pod";
        let mut expected = vec![
            "bind high to a".to_owned(),
            "condition of high Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.".to_owned(),
            "event FailedScheduling of high: 0/1 nodes are available: 1 Insufficient cpu.".to_owned(),
            "event Scheduled of high: Successfully assigned default/high to a".to_owned(),
            "high is nominated to \"a\"".to_owned(),
        ];
        for victim in ["low", "lower"] {
            expected.push(format!("condition of {victim} {told}"));
            expected.push(format!("delete {victim}"));
            expected.push(format!("event Preempted of {victim}: Preempted by pod uid-of-high on node a"));
        }
        let log = server.log();
        let at = |text: &str| log.iter().position(|line| line == text);
        assert!(at("delete low") < at("delete lower") && at("delete lower") < at("bind high to a"), "{log:?}");
        let mut sorted = log.clone();
        sorted.sort();
        expected.sort();
        assert_eq!(sorted, expected);
    });
}

#[test]
fn a_binding_that_fails_is_told_and_tried_again() {
    let server = Server::default();
    server.set(&resources::NODES, node("a", "1"));
    server.0.lock().unwrap().failing = vec![ApiError::new(Reason::InternalError, "no disk"); 2];
    server.set(&resources::PODS, pod("x", "1"));
    with_scheduler(&server, async |world, _| {
        world.sleep(Duration::from_secs(10)).await;
        let log: Vec<String> = server.log().into_iter().filter(|line| !line.starts_with("event")).collect();
        let told = "condition of x SchedulerError: running Bind plugin \"DefaultBinder\": no disk";
        assert_eq!(log, ["bind x fails", told, "bind x fails", told, "bind x to a"]);
    });
}

#[test]
fn a_binding_that_came_too_late_is_not_told() {
    let server = Server::default();
    server.set(&resources::NODES, node("a", "1"));
    server.0.lock().unwrap().failing = vec![ApiError::conflict("", "pods/binding", "x", "it is bound already")];
    server.set(&resources::PODS, pod("x", "1"));
    with_scheduler(&server, async |world, _| {
        world.sleep(Duration::from_millis(500)).await;
        assert_eq!(server.log(), ["bind x fails"]);
    });
}

#[test]
fn many_pods_are_bound_although_requests_are_bounded() {
    let server = Server::default();
    for i in 0..20 {
        server.set(&resources::NODES, node(&format!("node-{i:02}"), "64"));
    }
    with_scheduler(&server, async |world, tasks| {
        world.sleep(Duration::from_secs(1)).await;
        for i in 0..1500 {
            server.set(&resources::PODS, pod(&format!("pod-{i:04}"), "100m"));
        }
        world.sleep(Duration::from_millis(100)).await;
        let bound = server.log().iter().filter(|line| line.starts_with("bind")).count();
        assert_eq!(bound, 1500);
        assert!(tasks.len() <= 8, "requests are over");
        let mut per_node = BTreeMap::<String, usize>::new();
        for i in 0..1500 {
            let node = server.pod(&format!("pod-{i:04}"))["spec"]["nodeName"].as_str().unwrap().to_owned();
            *per_node.entry(node).or_default() += 1;
        }
        assert!(per_node.len() == 20 && per_node.values().all(|count| (70..=80).contains(count)), "{per_node:?}");
    });
}
