//! One request to an API server and its answer, free of HTTP.

use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use k8s_object::{GroupVersionResource, Object};
use serde_json::Value;

/// What to do. `Watch` is asked for through [`crate::Api::watch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// As RBAC and audit write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

/// How to read the body of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PatchType {
    /// `application/json-patch+json`
    Json,
    /// `application/merge-patch+json`
    Merge,
    /// `application/strategic-merge-patch+json`
    Strategic,
    /// `application/apply-patch+yaml`
    Apply,
}

/// What a request carries.
#[derive(Debug, Clone, Default)]
pub enum Body {
    #[default]
    None,
    /// A parsed object or patch.
    Json(Value),
    /// An object as it came over the wire; parsed strictly as `field_validation` says.
    Bytes(bytes::Bytes),
    /// The same in YAML.
    Yaml(bytes::Bytes),
}

/// What becomes of an object's dependents when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What must still be true of the object for the request to be carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// Parameters of a request; each verb reads its own.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub dry_run: bool,
    pub field_manager: Option<String>,
    /// `Ignore`, `Warn` or `Strict`; absent is `Warn`.
    pub field_validation: Option<String>,
    /// For apply patches, and only for them: take over fields that others own.
    pub force: Option<bool>,
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
    pub resource_version: Option<String>,
    pub resource_version_match: Option<String>,
    /// 0: no limit.
    pub limit: usize,
    pub continue_token: Option<String>,
    pub propagation: Option<Propagation>,
    /// How propagation was asked for before it had its name: true is to orphan. Not to be given beside it.
    pub orphan_dependents: Option<bool>,
    pub grace_period_seconds: Option<i64>,
    pub preconditions: Preconditions,
    /// When whoever asks stops waiting, of `World::elapsed`: those who are asked because of the request are told. Absent where
    /// nobody stops.
    pub deadline: Option<Duration>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub verb: Verb,
    pub resource: GroupVersionResource,
    /// E.g. `status`, `scale`, `binding`; empty for the object itself.
    pub subresource: String,
    /// Empty for cluster-scoped resources and requests across namespaces.
    pub namespace: String,
    /// Empty for list, create and deletecollection.
    pub name: String,
    pub body: Body,
    /// Set for [`Verb::Patch`].
    pub patch: Option<PatchType>,
    pub options: Options,
}

impl Request {
    /// About a resource, without a body or options.
    pub fn new(verb: Verb, resource: &GroupVersionResource, namespace: &str, name: &str) -> Request {
        Request {
            verb,
            resource: resource.clone(),
            subresource: String::new(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            body: Body::None,
            patch: None,
            options: Options::default(),
        }
    }
}

/// The objects of a list. Those who ask for the same list of the same state share it.
#[derive(Debug, Clone)]
pub struct Items(Arc<[Arc<Object>]>);

impl Items {
    /// To be recognised by later, without keeping the objects.
    pub fn downgrade(&self) -> Weak<[Arc<Object>]> {
        Arc::downgrade(&self.0)
    }

    /// Whether it is the very list that another was, not only an equal one.
    pub fn is(&self, other: &Weak<[Arc<Object>]>) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.0), other.as_ptr())
    }
}

impl From<Vec<Arc<Object>>> for Items {
    fn from(objects: Vec<Arc<Object>>) -> Items {
        Items(objects.into())
    }
}

impl FromIterator<Arc<Object>> for Items {
    fn from_iter<I: IntoIterator<Item = Arc<Object>>>(objects: I) -> Items {
        Items(objects.into_iter().collect())
    }
}

impl Deref for Items {
    type Target = [Arc<Object>];

    fn deref(&self) -> &[Arc<Object>] {
        &self.0
    }
}

/// A successful answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The object, as it is after the request.
    Object(Arc<Object>),
    /// A page of a list.
    List { items: Items, resource_version: String, continue_token: String, remaining: Option<u64> },
    /// An answer that is not a stored object: a `Status`, a `Scale`, a `TokenRequest` …
    Value(Value),
}
