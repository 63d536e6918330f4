//! The shape of a controller and of what it plans. Data only; nothing here acts.

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Index, PatchType, Propagation};
use k8s_object::{DecodeError, GroupVersionResource, NamespacedName, Object};
use serde_json::Value;
use world::Timestamp;

use crate::view::{Read, View};

/// What a controller works on: one object, by resource and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub resource: GroupVersionResource,
    /// Namespace (empty for cluster-scoped objects) and name.
    pub object: NamespacedName,
}

impl Key {
    /// A key from its parts.
    pub fn new(resource: GroupVersionResource, namespace: &str, name: &str) -> Key {
        Key { resource, object: NamespacedName::new(namespace, name) }
    }

    /// The key of an object of `resource`.
    pub fn of(resource: GroupVersionResource, object: &Object) -> Key {
        Key { resource, object: object.key() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.resource.group_resource(), self.object)
    }
}

/// A key to work on, at once or after a while. Of several triggers of a key the earliest counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub key: Key,
    pub after: Duration,
}

impl From<Key> for Trigger {
    fn from(key: Key) -> Trigger {
        Trigger { key, after: Duration::ZERO }
    }
}

/// A resource that a controller watches and the indices it reads.
pub struct Watched {
    pub resource: GroupVersionResource,
    pub indices: &'static [Index],
}

/// What a planner returns: a plan, or an object that it cannot read. The latter is retried with backoff.
pub type Planned = Result<Plan, DecodeError>;

/// One control loop.
pub struct Controller {
    /// Upstream's name, e.g. `deployment-controller`.
    pub name: &'static str,
    /// The component that its events come from, which upstream names by itself. That of the row's name where upstream tells nothing.
    pub event_source: &'static str,
    /// The service account in `kube-system` whose bootstrap role is `system:controller:<this>`.
    pub service_account: &'static str,
    /// What it is for, in one sentence.
    pub about: &'static str,
    pub watches: &'static [Watched],
    /// Also watches every resource that [`crate::Options::resources`] or a CustomResourceDefinition names.
    pub watches_everything: bool,
    /// The keys that a change concerns. Called for every change: must be quick, may be generous, carries no data.
    pub triggers: fn(&Change, &View<'_>) -> Vec<Trigger>,
    /// What to do about a key. Pure.
    pub plan: fn(&View<'_>, &Key, Timestamp) -> Planned,
    /// Plan again after a failed write, with [`View::failure`] set, to record the failure in a status.
    pub reports_failures: bool,
    /// How many keys are worked at once.
    pub concurrency: usize,
    /// How long a key rests after it was worked, so that a burst of changes is one plan and not a hundred.
    pub rest: Duration,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What to do about one key.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Answered by the server itself, then the key is planned again with [`View::live`]; the steps are not carried out.
    pub reads: Vec<Read>,
    /// Carried out in order; the first failure ends the plan.
    pub steps: Vec<Step>,
    /// Plan the key again after this time even if nothing changes.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// Nothing to do.
    pub fn nothing() -> Plan {
        Plan::default()
    }

    /// Asks the server before deciding.
    pub fn ask(reads: Vec<Read>) -> Plan {
        Plan { reads, ..Plan::default() }
    }

    /// Adds one action.
    pub fn then(&mut self, action: Action) {
        self.steps.push(Step::One(action));
    }

    /// Plans the key again after `duration`, or earlier if that was asked for already.
    pub fn requeue(&mut self, duration: Duration) {
        self.requeue_after = Some(self.requeue_after.map_or(duration, |earlier| earlier.min(duration)));
    }
}

/// A part of a plan.
#[derive(Debug, Clone)]
pub enum Step {
    One(Action),
    /// Actions independent of each other, tried one, then two, then four at a time, so that a cause that fails all of them
    /// costs one request and not a thousand.
    Burst {
        actions: Vec<Action>,
        announce: Option<Announce>,
    },
}

/// Events about the outcome of each action of a burst, told about an owner: `Created pod: web-x1`.
#[derive(Debug, Clone)]
pub struct Announce {
    pub about: Arc<Object>,
    /// What is created or deleted, e.g. `pod`.
    pub what: &'static str,
    /// Reason of the event of a success and of a failure.
    pub success: &'static str,
    pub failure: &'static str,
}

/// One write. Bodies of creations carry no apiVersion and kind that the resource does not imply: planners write them out.
#[derive(Debug, Clone)]
pub enum Action {
    /// `exists_ok` takes an object of that name for success.
    Create { resource: GroupVersionResource, namespace: String, body: Value, exists_ok: bool },
    /// Puts `base` with `change` merged in, unless it changed since. A second update of an object in one plan builds on the
    /// result of the first.
    Update { resource: GroupVersionResource, base: Arc<Object>, subresource: &'static str, change: Value },
    /// `metadata.resourceVersion` and `metadata.uid` in the body make it conditional.
    Patch {
        resource: GroupVersionResource,
        object: NamespacedName,
        uid: String,
        subresource: &'static str,
        kind: PatchType,
        body: Value,
    },
    /// An object that is gone is a success.
    Delete {
        resource: GroupVersionResource,
        object: NamespacedName,
        uid: String,
        resource_version: Option<String>,
        propagation: Option<Propagation>,
        grace_period_seconds: Option<i64>,
    },
    /// Deletes all objects of a namespace.
    DeleteAll { resource: GroupVersionResource, namespace: String },
    /// Signs a request for a certificate with the cluster's authority, and puts the certificate into the status of `base`, an object
    /// of the key's resource. Does nothing where there is no authority.
    Sign { base: Arc<Object>, request: Vec<u8>, usages: Vec<String>, lifetime: Duration },
    /// One more attempt at something below the key, which [`View::backoff`] then makes wait, longer each time. Never fails a plan.
    Backoff { item: String },
    /// Tells users what happened. Never fails a plan.
    Event { about: Arc<Object>, warning: bool, reason: &'static str, message: String },
}

impl Action {
    /// Deletes what is exactly this object.
    pub fn delete(resource: GroupVersionResource, object: &Object) -> Action {
        Action::Delete {
            resource,
            object: object.key(),
            uid: object.meta().uid.clone(),
            resource_version: None,
            propagation: None,
            grace_period_seconds: None,
        }
    }

    /// Merges `body` into what is exactly this revision of the object.
    pub fn merge(
        resource: GroupVersionResource,
        object: &Object,
        subresource: &'static str,
        mut body: Value,
    ) -> Action {
        body["metadata"]["resourceVersion"] = Value::from(object.meta().resource_version.as_str());
        body["metadata"]["uid"] = Value::from(object.meta().uid.as_str());
        let uid = object.meta().uid.clone();
        Action::Patch { resource, object: object.key(), uid, subresource, kind: PatchType::Merge, body }
    }

    /// A `Normal` event.
    pub fn event(about: &Arc<Object>, reason: &'static str, message: impl Into<String>) -> Action {
        Action::Event { about: about.clone(), warning: false, reason, message: message.into() }
    }

    /// A `Warning` event.
    pub fn warning(about: &Arc<Object>, reason: &'static str, message: impl Into<String>) -> Action {
        Action::Event { about: about.clone(), warning: true, reason, message: message.into() }
    }
}

/// One line that says what an action does, the same in every run.
impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let below = |subresource: &str| if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
        match self {
            Action::Create { resource, namespace, body, .. } => {
                let meta = &body["metadata"];
                let name = meta["name"].as_str().or(meta["generateName"].as_str()).unwrap_or_default();
                write!(f, "create {} {namespace}/{name}", resource.resource)
            }
            Action::Update { resource, base, subresource, change } => {
                write!(f, "update {}{} {} {change}", resource.resource, below(subresource), base.key())
            }
            Action::Patch { resource, object, subresource, body, .. } => {
                let mut body = body.clone();
                if let Some(meta) = body["metadata"].as_object_mut() {
                    meta.remove("resourceVersion");
                    meta.remove("uid");
                    if meta.is_empty() {
                        crate::json::remove(&mut body, "metadata");
                    }
                }
                write!(f, "patch {}{} {object} {body}", resource.resource, below(subresource))
            }
            Action::Delete { resource, object, propagation, .. } => {
                let propagation = propagation.map(|propagation| format!(" {propagation:?}")).unwrap_or_default();
                write!(f, "delete {} {object}{propagation}", resource.resource)
            }
            Action::DeleteAll { resource, namespace } => write!(f, "delete all {} {namespace}", resource.resource),
            Action::Sign { base, .. } => write!(f, "sign {}", base.key()),
            Action::Backoff { item } => write!(f, "back off {item}"),
            Action::Event { about, reason, message, .. } => write!(f, "event {} {reason}: {message}", about.key()),
        }
    }
}
