//! An API server for tests: objects in a map, watches, merge patches with preconditions, graceful deletion of bound pods.
//! Every write is logged, so that two runs can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_client::{Api, Body, Client, Identity, Reply, Request, Verb, Watch, WatchEvent, WatchSource};
use k8s_object::{ApiError, GroupVersionResource, NamespacedName, Object, UserInfo, resources};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use world::{BoxFuture, World};

pub(crate) struct FakeApi {
    world: World,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: i64,
    objects: BTreeMap<(GroupVersionResource, NamespacedName), Arc<Object>>,
    history: Vec<(i64, GroupVersionResource, WatchEvent)>,
    watchers: Vec<(GroupVersionResource, mpsc::UnboundedSender<WatchEvent>)>,
    log: Vec<String>,
    /// Users whose requests are refused.
    denied: BTreeSet<String>,
}

struct Events(mpsc::UnboundedReceiver<WatchEvent>);

impl WatchSource for Events {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<WatchEvent>, ApiError>> {
        Box::pin(async { self.0.recv().await.map(|event| vec![event]).ok_or_else(|| ApiError::expired("the end")) })
    }
}

impl State {
    fn store(&mut self, key: (GroupVersionResource, NamespacedName), mut value: Value) -> Arc<Object> {
        self.revision += 1;
        value["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(Object::from_value(&value).unwrap());
        let old = self.objects.insert(key.clone(), object.clone());
        let event =
            if old.is_some() { WatchEvent::Modified(object.clone()) } else { WatchEvent::Added(object.clone()) };
        self.tell(key.0, event);
        object
    }

    fn tell(&mut self, resource: GroupVersionResource, event: WatchEvent) {
        self.watchers.retain(|(own, sender)| *own != resource || sender.send(event.clone()).is_ok());
        self.history.push((self.revision, resource, event));
    }

    fn remove(&mut self, key: &(GroupVersionResource, NamespacedName)) {
        if let Some(object) = self.objects.remove(key) {
            self.revision += 1;
            let mut value = object.value();
            value["metadata"]["resourceVersion"] = json!(self.revision.to_string());
            let last = Arc::new(Object::from_value(&value).unwrap());
            self.tell(key.0.clone(), WatchEvent::Deleted(last));
        }
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

impl FakeApi {
    pub(crate) fn new(world: &World) -> Arc<FakeApi> {
        Arc::new(FakeApi { world: world.clone(), state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An administrator's client.
    pub(crate) fn client(self: &Arc<Self>) -> Client {
        let user = Arc::new(UserInfo::new("admin", &["system:masters"]));
        Client::new(self.clone(), Identity::Fixed(user), "test")
    }

    /// Every write so far: revision, time, user, verb, object.
    pub(crate) fn log(&self) -> Vec<String> {
        self.lock().log.clone()
    }

    /// How many of the writes so far contain all of these words.
    pub(crate) fn count(&self, words: &[&str]) -> usize {
        self.lock().log.iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    pub(crate) fn deny(&self, user: &str, denied: bool) {
        let mut state = self.lock();
        if denied {
            state.denied.insert(user.to_owned());
        } else {
            state.denied.remove(user);
        }
    }

    /// An object's JSON, `Null` when there is none.
    pub(crate) fn value(&self, resource: &GroupVersionResource, namespace: &str, name: &str) -> Value {
        let key = (resource.clone(), NamespacedName::new(namespace, name));
        self.lock().objects.get(&key).map_or(Value::Null, |object| object.value())
    }

    /// All objects of a resource.
    pub(crate) fn values(&self, resource: &GroupVersionResource) -> Vec<Value> {
        let state = self.lock();
        state.objects.iter().filter(|((own, _), _)| own == resource).map(|(_, object)| object.value()).collect()
    }

    #[allow(clippy::result_large_err)] // The port's own error.
    fn carry_out(&self, user: &UserInfo, request: Request) -> Result<Reply, ApiError> {
        let mut state = self.lock();
        if state.denied.contains(&user.username) {
            return Err(ApiError::unauthorized());
        }
        let Request { verb, resource, subresource, namespace, name, body, options, .. } = request;
        let body = match body {
            Body::Json(value) => value,
            Body::None | Body::Bytes(_) | Body::Yaml(_) => Value::Null,
        };
        let name = if verb == Verb::Create { body["metadata"]["name"].as_str().unwrap().to_owned() } else { name };
        let key = (resource.clone(), NamespacedName::new(namespace.clone(), name.clone()));
        let not_found = || ApiError::not_found(&resource.group, &resource.resource, &name);
        let conflict = |why| ApiError::conflict(&resource.group, &resource.resource, &name, why);
        if !matches!(verb, Verb::Get | Verb::List | Verb::Watch) {
            let (revision, now) = (state.revision, self.world.now());
            let user = &user.username;
            state
                .log
                .push(format!("{revision} {now:?} {user} {verb:?} {resource}/{subresource} {namespace}/{name} {body}"));
        }
        match verb {
            Verb::Get => state.objects.get(&key).cloned().map(Reply::Object).ok_or_else(not_found),
            Verb::List => {
                let items = state.objects.iter().filter(|((own, _), _)| *own == resource);
                Ok(Reply::List {
                    items: items.map(|(_, object)| object.clone()).collect(),
                    resource_version: state.revision.to_string(),
                    continue_token: String::new(),
                    remaining: None,
                })
            }
            Verb::Create => {
                if state.objects.contains_key(&key) {
                    return Err(ApiError::already_exists(&resource.group, &resource.resource, &name));
                }
                let mut value = body;
                value["metadata"]["uid"] = json!(self.world.uuid());
                value["metadata"]["creationTimestamp"] = json!(self.world.now().to_string());
                Ok(Reply::Object(state.store(key, value)))
            }
            Verb::Patch => {
                let old = state.objects.get(&key).cloned().ok_or_else(not_found)?;
                for (field, own) in [("uid", &old.meta().uid), ("resourceVersion", &old.meta().resource_version)] {
                    if body["metadata"][field].as_str().is_some_and(|wanted| wanted != own) {
                        return Err(conflict("the object has been modified"));
                    }
                }
                let mut value = old.value();
                if subresource == "status" {
                    merge(&mut value["status"], &body["status"]);
                } else {
                    merge(&mut value, &body);
                }
                Ok(Reply::Object(state.store(key, value)))
            }
            Verb::Delete => {
                let old = state.objects.get(&key).cloned().ok_or_else(not_found)?;
                if options.preconditions.uid.as_ref().is_some_and(|uid| *uid != old.meta().uid) {
                    return Err(conflict("the UID in the precondition does not match"));
                }
                let mut value = old.value();
                let bound = resource == resources::PODS && value["spec"]["nodeName"].is_string();
                let grace = options.grace_period_seconds.or(value["spec"]["terminationGracePeriodSeconds"].as_i64());
                let grace = grace.unwrap_or(30);
                if bound && grace > 0 {
                    let at = self.world.now() + Duration::from_secs(grace as u64);
                    value["metadata"]["deletionTimestamp"] = json!(at.to_string());
                    value["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
                    return Ok(Reply::Object(state.store(key, value)));
                }
                state.remove(&key);
                Ok(Reply::Value(json!({"kind": "Status"})))
            }
            Verb::Watch | Verb::Update | Verb::DeleteCollection => Err(ApiError::method_not_allowed()),
        }
    }
}

impl Api for FakeApi {
    fn call<'a>(
        &'a self,
        user: &'a Arc<UserInfo>,
        _agent: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, ApiError>> {
        Box::pin(async move {
            // Others get a chance to run in between, as with a real server.
            self.world.yield_now().await;
            let reply = self.carry_out(user, request);
            self.world.yield_now().await;
            reply
        })
    }

    fn watch<'a>(
        &'a self,
        _user: &'a Arc<UserInfo>,
        _agent: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Watch, ApiError>> {
        Box::pin(async move {
            let (sender, receiver) = mpsc::unbounded_channel();
            let mut state = self.lock();
            let from: i64 = request.options.resource_version.unwrap().parse().unwrap();
            for (_, _, event) in state.history.iter().filter(|(at, own, _)| *at > from && *own == request.resource) {
                sender.send(event.clone()).unwrap();
            }
            state.watchers.push((request.resource, sender));
            Ok(Watch(Box::new(Events(receiver))))
        })
    }
}
