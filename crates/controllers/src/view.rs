//! What planners see: the watched objects, the server's answers to questions they asked, and the failure they recover from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use k8s_client::{Informers, Verb};
use k8s_object::{ApiError, GroupVersionResource, NamespacedName, Object};
use serde_json::{Value, json};
use world::Timestamp;

use crate::executor::Backoffs;
use crate::options::{Options, ResourceInfo};

/// A question to the server itself, for decisions that a stale view must not make.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Read {
    /// One object.
    Object(GroupVersionResource, NamespacedName),
    /// All objects of a resource in a namespace.
    Namespace(GroupVersionResource, String),
    /// How many replicas an object wants: its subresource `scale`.
    Scale(GroupVersionResource, NamespacedName),
    /// Whether somebody may do something. The answer is the review, with its status.
    Access(AccessReview),
}

/// Who wants to do what to objects without a namespace: a SubjectAccessReview.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessReview {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: &'static str,
    pub verb: &'static str,
}

impl AccessReview {
    /// The object that asks the server.
    pub(crate) fn body(&self) -> Value {
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
                "user": self.user, "uid": self.uid, "groups": self.groups, "extra": self.extra,
                "resourceAttributes": {
                    "group": self.group, "version": "*", "resource": self.resource, "subresource": self.subresource,
                    "verb": self.verb,
                },
            },
        })
    }
}

/// The answer: objects, none where there are none. A resource that the server does not have (any more) has none.
pub(crate) type Answers = BTreeMap<Read, Vec<Arc<Object>>>;

/// A write that went wrong in the plan before this one.
#[derive(Debug, Clone)]
pub struct Failure {
    pub verb: Verb,
    pub resource: GroupVersionResource,
    /// Namespace and name; the name is empty for creations under a generated name.
    pub object: NamespacedName,
    pub error: ApiError,
}

/// Where views read from.
pub(crate) struct Sources {
    fixed: Informers,
    fixed_resources: BTreeSet<GroupVersionResource>,
    built_in: Vec<ResourceInfo>,
    custom: RwLock<BTreeMap<GroupVersionResource, (ResourceInfo, Informers)>>,
    pub(crate) options: Options,
}

impl Sources {
    pub(crate) fn new(fixed: Informers, fixed_resources: BTreeSet<GroupVersionResource>, options: Options) -> Sources {
        let mut built_in = options.resources.clone();
        built_in.sort_by(|a, b| a.resource.cmp(&b.resource));
        built_in.dedup_by(|a, b| a.resource == b.resource);
        Sources { fixed, fixed_resources, built_in, custom: RwLock::default(), options }
    }

    /// Tells what a custom resource has come to be; one that is not known stays so.
    pub(crate) fn describe_custom(&self, info: ResourceInfo) {
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, _)) = custom.get_mut(&info.resource) {
            *known = info;
        }
    }

    /// Adds or removes a custom resource.
    pub(crate) fn set_custom(&self, resource: &GroupVersionResource, entry: Option<(ResourceInfo, Informers)>) {
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        match entry {
            Some(entry) => custom.insert(resource.clone(), entry),
            None => custom.remove(resource),
        };
    }

    pub(crate) fn view<'a>(&'a self, answers: &'a Answers, failure: Option<&'a Failure>) -> View<'a> {
        View { sources: self, answers, failure, backoffs: None }
    }

    /// The informers that hold a resource, if it is watched.
    fn informers(&self, resource: &GroupVersionResource) -> Option<Informers> {
        if self.fixed_resources.contains(resource) {
            return Some(self.fixed.clone());
        }
        let custom = self.custom.read().unwrap_or_else(PoisonError::into_inner);
        custom.get(resource).map(|(_, informers)| informers.clone())
    }
}

/// What a planner sees. Each call shows the newest state; a resource that is not watched is empty.
#[derive(Clone, Copy)]
pub struct View<'a> {
    sources: &'a Sources,
    answers: &'a Answers,
    failure: Option<&'a Failure>,
    backoffs: Option<&'a Mutex<Backoffs>>,
}

impl<'a> View<'a> {
    pub(crate) fn with_backoffs(self, backoffs: &'a Mutex<Backoffs>) -> View<'a> {
        View { backoffs: Some(backoffs), ..self }
    }

    /// How long something that was tried in vain by [`crate::Action::Backoff`] has to wait.
    pub fn backoff(&self, item: &str, now: Timestamp) -> Duration {
        let backoffs = self.backoffs.map(|backoffs| backoffs.lock().unwrap_or_else(PoisonError::into_inner));
        backoffs.map_or(Duration::ZERO, |backoffs| backoffs.remaining(item, now))
    }

    /// The manager's options.
    pub fn options(&self) -> &'a Options {
        &self.sources.options
    }

    /// The write that failed just before, for controllers that report failures.
    pub fn failure(&self) -> Option<&'a Failure> {
        self.failure
    }

    /// The server's answer to a question asked by [`crate::Plan::ask`]; `None` when it was not asked.
    pub fn live(&self, read: &Read) -> Option<&'a [Arc<Object>]> {
        self.answers.get(read).map(Vec::as_slice)
    }

    /// Whether changes of a resource are seen.
    pub fn watches(&self, resource: &GroupVersionResource) -> bool {
        self.sources.informers(resource).is_some()
    }

    /// One object.
    pub fn get(&self, resource: &GroupVersionResource, key: &NamespacedName) -> Option<Arc<Object>> {
        self.sources.informers(resource)?.read(resource).get(key)
    }

    /// All objects of a resource in order of namespace and name.
    pub fn list(&self, resource: &GroupVersionResource) -> Vec<Arc<Object>> {
        self.sources.informers(resource).map(|informers| informers.read(resource).list()).unwrap_or_default()
    }

    /// The objects of a namespace in order of their names.
    pub fn list_namespace(&self, resource: &GroupVersionResource, namespace: &str) -> Vec<Arc<Object>> {
        let informers = self.sources.informers(resource);
        informers.map(|informers| informers.read(resource).list_namespace(namespace)).unwrap_or_default()
    }

    /// The objects that an index holds under a value, in order of their keys.
    pub fn indexed(&self, resource: &GroupVersionResource, index: &str, value: &str) -> Vec<Arc<Object>> {
        let informers = self.sources.informers(resource);
        informers.map(|informers| informers.read(resource).indexed(index, value)).unwrap_or_default()
    }

    /// All resources that the cluster is known to serve, in order.
    pub fn resources(&self) -> Vec<ResourceInfo> {
        let custom = self.sources.custom.read().unwrap_or_else(PoisonError::into_inner);
        self.sources.built_in.iter().chain(custom.values().map(|(info, _)| info)).cloned().collect()
    }

    /// The resource of a kind in any version of a group.
    pub fn resource_of(&self, group: &str, kind: &str) -> Option<ResourceInfo> {
        let of = |info: &&ResourceInfo| info.resource.group == group && info.kind == kind;
        let custom = self.sources.custom.read().unwrap_or_else(PoisonError::into_inner);
        let found = self.sources.built_in.iter().find(of).cloned();
        found.or_else(|| custom.values().map(|(info, _)| info).find(of).cloned())
    }
}
