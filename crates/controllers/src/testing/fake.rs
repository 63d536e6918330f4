//! A small API server in memory: revisions, watches, finalizers, graceful deletion, preconditions, the controllers' roles.

#![allow(clippy::result_large_err)] // The port that is faked returns this error.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_client::{Api, Body, PatchType, Propagation, Reply, Request, Verb, Watch, WatchEvent, WatchSource};
use k8s_object::resources::{NAMESPACES, PODS};
use k8s_object::{ApiError, Cause, GroupVersionResource, NamespacedName, Object, UserInfo};
use serde_json::{Value, json};
use tokio::sync::Notify;
use world::{BoxFuture, World};

use super::rbac;
use crate::json::merge;
use crate::view::Read;

type Place = (GroupVersionResource, NamespacedName);
type Fault = Box<dyn Fn(&Request) -> Option<ApiError> + Send + Sync>;

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Place, Arc<Object>>,
    history: Vec<(u64, GroupVersionResource, WatchEvent)>,
    requests: Vec<String>,
}

/// The server.
pub(crate) struct Fake {
    world: World,
    state: Arc<Mutex<State>>,
    /// Wakes in order, unlike `tokio::sync::watch`, which draws the order from a generator of its own.
    changes: Arc<Notify>,
    fault: Mutex<Option<Fault>>,
}

impl Fake {
    pub(crate) fn new(world: &World) -> Arc<Fake> {
        Arc::new(Fake { world: world.clone(), state: Arc::default(), changes: Arc::default(), fault: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Makes requests fail.
    pub(crate) fn fail(&self, fault: impl Fn(&Request) -> Option<ApiError> + Send + Sync + 'static) {
        *self.fault.lock().unwrap() = Some(Box::new(fault));
    }

    /// Stores an object as it is.
    pub(crate) fn put(&self, resource: &GroupVersionResource, value: Value) -> Arc<Object> {
        let stored = self.store(&mut self.state(), resource, value);
        self.tell();
        stored
    }

    pub(crate) fn get(&self, resource: &GroupVersionResource, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.state().objects.get(&(resource.clone(), NamespacedName::new(namespace, name))).cloned()
    }

    pub(crate) fn list(&self, resource: &GroupVersionResource) -> Vec<Arc<Object>> {
        let state = self.state();
        state.objects.iter().filter(|((own, _), _)| own == resource).map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn answer(&self, read: &Read) -> Vec<Arc<Object>> {
        match read {
            Read::Object(resource, object) => Vec::from_iter(self.get(resource, &object.namespace, &object.name)),
            Read::Namespace(resource, namespace) => {
                self.list(resource).into_iter().filter(|object| object.meta().namespace == *namespace).collect()
            }
            Read::Scale(resource, object) => {
                let found = self.get(resource, &object.namespace, &object.name);
                let scale = found.map(|found| {
                    let meta = json!({"name": found.meta().name, "uid": found.meta().uid});
                    let spec = json!({"replicas": found.value()["spec"]["replicas"]});
                    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": meta, "spec": spec})
                });
                scale.into_iter().map(|scale| Arc::new(Object::from_value(&scale).unwrap())).collect()
            }
            Read::Access(review) => {
                let mut body = review.body();
                body["metadata"] = json!({"name": ""});
                body["status"] = json!({"allowed": !review.groups.contains(&"denied".to_owned())});
                vec![Arc::new(Object::from_value(&body).unwrap())]
            }
        }
    }

    /// Every change so far.
    pub(crate) fn history(&self) -> Vec<(u64, GroupVersionResource, WatchEvent)> {
        self.state().history.clone()
    }

    /// Every write so far: who, what, and how it ended.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Completes when `met` holds.
    pub(crate) async fn until(&self, met: impl Fn(&Fake) -> bool) {
        loop {
            let changed = self.changes.notified();
            if met(self) {
                return;
            }
            changed.await;
        }
    }

    fn tell(&self) {
        self.changes.notify_waiters();
    }

    fn store(&self, state: &mut State, resource: &GroupVersionResource, mut value: Value) -> Arc<Object> {
        state.revision += 1;
        value["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        let object = Arc::new(Object::from_value(&value).unwrap());
        let old = state.objects.insert((resource.clone(), object.key()), object.clone());
        let event =
            if old.is_some() { WatchEvent::Modified(object.clone()) } else { WatchEvent::Added(object.clone()) };
        state.history.push((state.revision, resource.clone(), event));
        object
    }

    fn remove(&self, state: &mut State, place: &Place) {
        let Some(object) = state.objects.remove(place) else { return };
        state.revision += 1;
        let mut value = object.value();
        value["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        let last = Arc::new(Object::from_value(&value).unwrap());
        state.history.push((state.revision, place.0.clone(), WatchEvent::Deleted(last)));
    }

    fn create(&self, state: &mut State, request: &Request, mut body: Value) -> Result<Reply, ApiError> {
        let resource = &request.resource;
        if let Some(namespace) = state.objects.get(&(NAMESPACES, NamespacedName::new("", request.namespace.as_str())))
            && namespace.meta().is_terminating()
            && !request.namespace.is_empty()
        {
            let cause = Cause { reason: "NamespaceTerminating".into(), message: String::new(), field: String::new() };
            let error = ApiError::forbidden(&resource.group, &resource.resource, "", "namespace is being terminated");
            return Err(ApiError { causes: vec![cause], ..error });
        }
        let meta = &mut body["metadata"];
        if meta["name"].is_null() {
            let suffix = self.world.random_string("bcdfghjklmnpqrstvwxz2456789", 5);
            meta["name"] = json!(format!("{}{suffix}", meta["generateName"].as_str().unwrap()));
        }
        if !request.namespace.is_empty() {
            meta["namespace"] = json!(request.namespace);
        }
        meta["uid"] = json!(self.world.uuid());
        meta["creationTimestamp"] = json!(self.world.now().to_string());
        meta["generation"] = json!(1);
        let name = meta["name"].as_str().unwrap().to_owned();
        let place = (resource.clone(), NamespacedName::new(request.namespace.as_str(), name.as_str()));
        if state.objects.contains_key(&place) {
            return Err(ApiError::already_exists(&resource.group, &resource.resource, &name));
        }
        if *resource == PODS {
            body["status"] = json!({"phase": "Pending"});
        } else if *resource == NAMESPACES {
            body["spec"] = json!({"finalizers": ["kubernetes"]});
            body["status"] = json!({"phase": "Active"});
        }
        Ok(Reply::Object(self.store(state, resource, body)))
    }

    fn replace(
        &self,
        state: &mut State,
        request: &Request,
        old: &Arc<Object>,
        mut new: Value,
    ) -> Result<Reply, ApiError> {
        let resource = &request.resource;
        let stored = old.value();
        let version = new["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty());
        let uid = new["metadata"]["uid"].as_str();
        if version.is_some_and(|version| version != old.meta().resource_version)
            || uid.is_some_and(|uid| uid != old.meta().uid)
        {
            let why = "the object has been modified";
            return Err(ApiError::conflict(&resource.group, &resource.resource, &old.meta().name, why));
        }
        match request.subresource.as_str() {
            "" => {
                new["status"] = stored["status"].clone();
                if new["spec"] != stored["spec"] {
                    new["metadata"]["generation"] = json!(old.meta().generation + 1);
                }
            }
            "status" => {
                let status = new["status"].take();
                new = stored.clone();
                new["status"] = status;
            }
            "finalize" => {
                let finalizers = new["spec"]["finalizers"].take();
                new = stored.clone();
                new["spec"]["finalizers"] = finalizers;
            }
            other => return Err(ApiError::bad_request(format!("no subresource {other}"))),
        }
        new["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
        if new["status"].is_null() {
            crate::json::remove(&mut new, "status");
        }
        let object = if new == stored { old.clone() } else { self.store(state, resource, new) };
        let held = object.value()["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
        let graceful = object.meta().deletion_grace_period_seconds.is_some_and(|seconds| seconds > 0);
        if object.meta().is_terminating() && object.meta().finalizers.is_empty() && !held && !graceful {
            self.remove(state, &(resource.clone(), object.key()));
        }
        Ok(Reply::Object(object))
    }

    fn delete(&self, state: &mut State, request: &Request, old: &Arc<Object>) -> Result<Reply, ApiError> {
        let (resource, options) = (&request.resource, &request.options);
        let wrong = |wanted: &Option<String>, have: &str| wanted.as_ref().is_some_and(|wanted| wanted != have);
        if wrong(&options.preconditions.uid, &old.meta().uid)
            || wrong(&options.preconditions.resource_version, &old.meta().resource_version)
        {
            return Err(ApiError::conflict(
                &resource.group,
                &resource.resource,
                &old.meta().name,
                "precondition failed",
            ));
        }
        let mut value = old.value();
        let mut finalizers = old.meta().finalizers.clone();
        let finalizer = match options.propagation {
            Some(Propagation::Foreground) => Some("foregroundDeletion"),
            Some(Propagation::Orphan) => Some("orphan"),
            Some(Propagation::Background) | None => None,
        };
        finalizers.extend(finalizer.map(str::to_owned).filter(|finalizer| !old.meta().finalizers.contains(finalizer)));
        let bound = *resource == PODS && value["spec"]["nodeName"].is_string();
        let grace = if bound { options.grace_period_seconds.unwrap_or(30) } else { 0 };
        let namespace = *resource == NAMESPACES && value["spec"]["finalizers"] != json!([]);
        if finalizers.is_empty() && grace == 0 && !namespace {
            self.remove(state, &(resource.clone(), old.key()));
            return Ok(Reply::Object(old.clone()));
        }
        value["metadata"]["finalizers"] = json!(finalizers);
        value["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        if !old.meta().is_terminating() {
            let at = self.world.now() + Duration::from_secs(u64::try_from(grace).unwrap());
            value["metadata"]["deletionTimestamp"] = json!(at.to_string());
        }
        if namespace {
            value["status"]["phase"] = json!("Terminating");
        }
        if value == old.value() {
            return Ok(Reply::Object(old.clone()));
        }
        Ok(Reply::Object(self.store(state, resource, value)))
    }

    fn answer_request(&self, user: &UserInfo, request: &Request) -> Result<Reply, ApiError> {
        let resource = &request.resource;
        if !rbac::allows(user, request) {
            let why = format!("{} may not {} {}", user.username, request.verb.as_str(), request.subresource);
            return Err(ApiError::forbidden(&resource.group, &resource.resource, &request.name, &why));
        }
        if let Some(error) = self.fault.lock().unwrap().as_ref().and_then(|fault| fault(request)) {
            return Err(error);
        }
        let mut state = self.state();
        let place = (resource.clone(), NamespacedName::new(request.namespace.as_str(), request.name.as_str()));
        let old = state.objects.get(&place).cloned();
        let found =
            || old.clone().ok_or_else(|| ApiError::not_found(&resource.group, &resource.resource, &request.name));
        let body = match &request.body {
            Body::Json(body) => body.clone(),
            Body::Bytes(_) | Body::Yaml(_) | Body::None => Value::Null,
        };
        match request.verb {
            Verb::Get => Ok(Reply::Object(found()?)),
            Verb::List => {
                let mine = |(own, key): &Place| {
                    own == resource && (request.namespace.is_empty() || key.namespace == request.namespace)
                };
                let items =
                    state.objects.iter().filter(|(place, _)| mine(place)).map(|(_, object)| object.clone()).collect();
                let resource_version = state.revision.to_string();
                Ok(Reply::List { items, resource_version, continue_token: String::new(), remaining: None })
            }
            Verb::Create => self.create(&mut state, request, body),
            Verb::Update => self.replace(&mut state, request, &found()?, body),
            Verb::Patch => {
                let old = found()?;
                let mut new = old.value();
                let mut body = body;
                // Of strategic patches the fake knows what takes finalizers away.
                const TAKEN: &str = "$deleteFromPrimitiveList/finalizers";
                if request.patch == Some(PatchType::Strategic) {
                    let taken = body["metadata"][TAKEN].take();
                    crate::json::remove(&mut body["metadata"], TAKEN);
                    let taken = taken.as_array().expect("a strategic patch takes finalizers").clone();
                    let kept = old.meta().finalizers.iter().filter(|own| !taken.contains(&json!(own)));
                    body["metadata"]["finalizers"] = json!(kept.collect::<Vec<_>>());
                } else {
                    assert_eq!(request.patch, Some(PatchType::Merge), "the fake knows no other patches");
                }
                merge(&mut new, &body);
                self.replace(&mut state, request, &old, new)
            }
            Verb::Delete => self.delete(&mut state, request, &found()?),
            Verb::DeleteCollection => {
                let keys: Vec<Place> = state.objects.keys().cloned().collect();
                for place in keys.iter().filter(|(own, key)| own == resource && key.namespace == request.namespace) {
                    let object = state.objects[place].clone();
                    self.delete(&mut state, request, &object)?;
                }
                Ok(Reply::Value(Value::Null))
            }
            Verb::Watch => Err(ApiError::method_not_allowed()),
        }
    }
}

impl Api for Fake {
    fn call<'a>(
        &'a self,
        user: &'a Arc<UserInfo>,
        _: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, ApiError>> {
        Box::pin(async move {
            // As a real server, it answers later than it was asked.
            self.world.yield_now().await;
            let answer = self.answer_request(user, &request);
            if !matches!(request.verb, Verb::Get | Verb::List) {
                let who = user.username.rsplit(':').next().unwrap_or_default();
                let outcome = answer.as_ref().err().map(|error| format!(": {error}")).unwrap_or_default();
                let (verb, resource) = (request.verb.as_str(), &request.resource.resource);
                let place = NamespacedName::new(request.namespace.as_str(), request.name.as_str());
                let line = format!(
                    "{:?} {who} {verb} {resource} {} {place}{outcome}",
                    self.world.elapsed(),
                    request.subresource
                );
                self.state().requests.push(line);
                self.tell();
            }
            self.world.yield_now().await;
            answer
        })
    }

    fn watch<'a>(
        &'a self,
        user: &'a Arc<UserInfo>,
        _: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Watch, ApiError>> {
        Box::pin(async move {
            if !rbac::allows(user, &request) {
                return Err(ApiError::forbidden("", &request.resource.resource, "", "may not watch"));
            }
            let from: u64 =
                request.options.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0);
            let state = self.state();
            let seen = state.history.iter().take_while(|(revision, ..)| *revision <= from).count();
            drop(state);
            let world = self.world.clone();
            let changes = self.changes.clone();
            let history = self.state.clone();
            Ok(Watch(Box::new(Source { history, resource: request.resource, seen, changes, world })))
        })
    }
}

struct Source {
    history: Arc<Mutex<State>>,
    resource: GroupVersionResource,
    seen: usize,
    changes: Arc<Notify>,
    world: World,
}

impl WatchSource for Source {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<WatchEvent>, ApiError>> {
        Box::pin(async move {
            loop {
                let changed = self.changes.notified();
                let new = self.history.lock().unwrap().history[self.seen..].to_vec();
                self.seen += new.len();
                let mine = new.into_iter().filter(|(_, resource, _)| *resource == self.resource);
                let events: Vec<WatchEvent> = mine.map(|(_, _, event)| event).collect();
                if !events.is_empty() {
                    // Views lag behind the server for longer than keys rest, as the seed decides.
                    self.world.sleep(Duration::from_millis(self.world.below(60))).await;
                    return Ok(events);
                }
                changed.await;
            }
        })
    }
}
