//! Carries out the steps of a plan through the controller's client.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use k8s_client::{Options, PatchType, Preconditions, Request, Verb};
use k8s_object::resources::EVENTS;
use k8s_object::{ApiError, GroupVersionResource, NamespacedName, Object, Reason};
use serde_json::json;

use super::events::EventWrite;
use super::expectations::{Written, version_of};
use super::{Runner, lock};
use crate::controller::{Action, Announce, Key, Plan, Step};
use crate::json::merge;
use crate::view::{Failure, Read};

/// Requests of a burst that are under way at once: enough to fill a group commit of the store.
const MAX_PARALLEL: usize = 64;

const SUBJECT_ACCESS_REVIEWS: GroupVersionResource =
    GroupVersionResource::of("authorization.k8s.io", "v1", "subjectaccessreviews");

/// Why a plan was not carried out to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// A write failed.
    Failed(Box<Failure>),
    /// A planner could not read an object, or the server could not be asked.
    Unreadable(String),
    /// The namespace is being deleted, nothing new can be made there, and there is no point in trying again.
    Harmless,
}

/// Where an action wrote, and what stands there now.
type Wrote = ((GroupVersionResource, NamespacedName), Arc<Object>);

/// The latest revision of what a plan has updated so far.
type Updated = BTreeMap<(GroupVersionResource, NamespacedName), Arc<Object>>;

impl Runner {
    pub(super) async fn read(&self, read: &Read) -> Result<Vec<Arc<Object>>, Stopped> {
        let answer = match read {
            Read::Object(resource, object) => {
                self.client.get(resource, &object.namespace, &object.name).await.map(|found| vec![found])
            }
            Read::Namespace(resource, namespace) => self.client.list(resource, namespace).await.map(|(found, _)| found),
            Read::Scale(resource, object) => {
                let scale = self.client.get_subresource(resource, &object.namespace, &object.name, "scale").await;
                scale.map(|found| vec![found])
            }
            Read::Access(review) => {
                self.client.create(&SUBJECT_ACCESS_REVIEWS, "", review.body()).await.map(|answer| vec![answer])
            }
        };
        match answer {
            Ok(found) => Ok(found),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(Stopped::Unreadable(format!("{read:?}: {error}"))),
        }
    }

    pub(super) async fn apply(&self, key: &Key, plan: Plan) -> Result<(), Stopped> {
        let mut updated = Updated::new();
        for step in plan.steps {
            match step {
                Step::One(action) => {
                    if let Some((place, object)) = self.act(key, &action, &updated).await? {
                        updated.insert(place, object);
                    }
                }
                Step::Burst { actions, announce } => self.burst(key, &actions, announce.as_ref()).await?,
            }
        }
        Ok(())
    }

    /// One, two, four … actions at a time; the first batch with a failure is the last.
    async fn burst(&self, key: &Key, actions: &[Action], announce: Option<&Announce>) -> Result<(), Stopped> {
        let (mut rest, mut size) = (actions, 1);
        let none = Updated::new();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            let results = join_all(batch.iter().map(|action| self.act(key, action, &none))).await;
            let mut stopped = None;
            for (action, result) in batch.iter().zip(results) {
                if let Some(announce) = announce {
                    self.announce(announce, action, &result).await;
                }
                if let Err(problem) = result {
                    stopped.get_or_insert(problem);
                }
            }
            if let Some(stopped) = stopped {
                return Err(stopped);
            }
            (rest, size) = (later, (size * 2).min(MAX_PARALLEL));
        }
        Ok(())
    }

    async fn announce(&self, announce: &Announce, action: &Action, result: &Result<Option<Wrote>, Stopped>) {
        let done = match action {
            Action::Create { .. } => "Created",
            Action::Delete { .. } => "Deleted",
            _ => return,
        };
        let what = announce.what;
        let (warning, reason, message) = match (result, action) {
            (Err(Stopped::Failed(failure)), _) => {
                let doing = if done == "Created" { "creating" } else { "deleting" };
                (true, announce.failure, format!("Error {doing}: {}", failure.error))
            }
            (Err(_), _) => return,
            (Ok(_), Action::Delete { object, .. }) => {
                (false, announce.success, format!("{done} {what}: {}", object.name))
            }
            (Ok(Some((_, object))), _) => (false, announce.success, format!("{done} {what}: {}", object.meta().name)),
            (Ok(None), _) => return,
        };
        self.event(&announce.about, warning, reason, &message).await;
    }

    /// Carries out one action; returns what it wrote.
    async fn act(&self, key: &Key, action: &Action, updated: &Updated) -> Result<Option<Wrote>, Stopped> {
        if let Some(log) = &self.log {
            log(self.row.name, &action.to_string(), self.world.now());
        }
        lock(&self.metrics).actions += 1;
        match action {
            Action::Create { resource, namespace, body, exists_ok } => {
                let created = self.client.create(resource, namespace, body.clone()).await;
                match created {
                    Ok(object) => Ok(Some(self.wrote(key, resource, object))),
                    Err(error) if *exists_ok && error.reason == Reason::AlreadyExists => Ok(None),
                    Err(error) if is_terminating_namespace(&error) => Err(Stopped::Harmless),
                    Err(error) => {
                        let name = body["metadata"]["name"].as_str().unwrap_or_default();
                        Err(failed(Verb::Create, resource, NamespacedName::new(namespace.as_str(), name), error))
                    }
                }
            }
            Action::Update { resource, base, subresource, change } => {
                let place = (resource.clone(), base.key());
                let base = updated.get(&place).unwrap_or(base);
                let mut body = base.value();
                merge(&mut body, change);
                let (namespace, name) = (&base.meta().namespace, &base.meta().name);
                match self.client.update(resource, namespace, name, subresource, body).await {
                    Ok(object) => Ok(Some(self.wrote(key, resource, object))),
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(failed(Verb::Update, resource, place.1, error)),
                }
            }
            Action::Patch { resource, object, subresource, kind, body, .. } => {
                let patched = self
                    .client
                    .patch(resource, &object.namespace, &object.name, subresource, *kind, body.clone())
                    .await;
                match patched {
                    Ok(new) => Ok(Some(self.wrote(key, resource, new))),
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(failed(Verb::Patch, resource, object.clone(), error)),
                }
            }
            Action::Delete { resource, object, uid, resource_version, propagation, grace_period_seconds } => {
                let options = Options {
                    preconditions: Preconditions { uid: Some(uid.clone()), resource_version: resource_version.clone() },
                    propagation: *propagation,
                    grace_period_seconds: *grace_period_seconds,
                    ..Options::default()
                };
                match self.client.delete_with(resource, &object.namespace, &object.name, options).await {
                    Ok(()) => {
                        let (resource, object, uid) = (resource.clone(), object.clone(), uid.clone());
                        self.expect(key, Written { resource, object, uid, version: None });
                        Ok(None)
                    }
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(failed(Verb::Delete, resource, object.clone(), error)),
                }
            }
            Action::DeleteAll { resource, namespace } => {
                let outcome = self.delete_all(resource, namespace).await;
                let object = NamespacedName::new(namespace.as_str(), "");
                outcome.map(|()| None).map_err(|error| failed(Verb::DeleteCollection, resource, object, error))
            }
            Action::Backoff { item } => {
                lock(&self.backoffs).note(item, self.world.now());
                Ok(None)
            }
            Action::Sign { base, request, usages, lifetime } => {
                let Some(authority) = &self.sources.options.authority else { return Ok(None) };
                let certificate = authority
                    .sign_request(&self.world, request, usages, *lifetime)
                    .map_err(|error| Stopped::Unreadable(format!("{}: {error}", base.key())))?;
                let change = json!({"status": {"certificate": STANDARD.encode(certificate)}});
                let (resource, base, subresource) = (key.resource.clone(), base.clone(), "status");
                let issue = Action::Update { resource, base, subresource, change };
                Box::pin(self.act(key, &issue, updated)).await
            }
            Action::Event { about, warning, reason, message } => {
                self.event(about, *warning, reason, message).await;
                Ok(None)
            }
        }
    }

    fn wrote(&self, key: &Key, resource: &GroupVersionResource, object: Arc<Object>) -> Wrote {
        let written = Written {
            resource: resource.clone(),
            object: object.key(),
            uid: object.meta().uid.clone(),
            version: version_of(&object),
        };
        // Removing the last finalizer of what is being deleted deletes it: its revision will not be seen, its end will.
        let gone = object.meta().is_terminating() && object.meta().finalizers.is_empty();
        self.expect(key, Written { version: written.version.filter(|_| !gone), ..written });
        ((resource.clone(), object.key()), object)
    }

    fn expect(&self, key: &Key, written: Written) {
        let watched = self.row.watches.iter().any(|watched| watched.resource == written.resource);
        if watched || (self.row.watches_everything && self.watches(&written.resource)) {
            lock(&self.expectations).expect(key, written, self.world.elapsed());
        }
    }

    fn watches(&self, resource: &GroupVersionResource) -> bool {
        self.sources.view(&Default::default(), None).watches(resource)
    }

    /// Deletes a collection, or its objects one by one where the resource knows no collections.
    async fn delete_all(&self, resource: &GroupVersionResource, namespace: &str) -> Result<(), ApiError> {
        let request = Request::new(Verb::DeleteCollection, resource, namespace, "");
        match self.client.call(request).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if error.reason == Reason::MethodNotAllowed => {}
            Err(error) => return Err(error),
        }
        for object in self.client.list(resource, namespace).await?.0 {
            let preconditions = Preconditions { uid: Some(object.meta().uid.clone()), resource_version: None };
            match self.client.delete(resource, namespace, &object.meta().name, preconditions).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes an event, or not: events are best effort (upstream drops what it cannot write, too).
    async fn event(&self, about: &Object, warning: bool, reason: &'static str, message: &str) {
        let write = lock(&self.recorder).record(about, warning, reason, message, self.world.now());
        match write {
            None => {}
            Some(EventWrite::Create { namespace, body }) => {
                let _ = self.client.create(&EVENTS, &namespace, body).await;
            }
            Some(EventWrite::Patch { namespace, name, body }) => {
                let patched = self.client.patch(&EVENTS, &namespace, &name, "", PatchType::Merge, body).await;
                if patched.is_err() {
                    lock(&self.recorder).forget(&name);
                }
            }
        }
    }
}

fn failed(verb: Verb, resource: &GroupVersionResource, object: NamespacedName, error: ApiError) -> Stopped {
    Stopped::Failed(Box::new(Failure { verb, resource: resource.clone(), object, error }))
}

/// Whether a creation was refused because its namespace is going away.
fn is_terminating_namespace(error: &ApiError) -> bool {
    error.reason == Reason::Forbidden && error.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}
