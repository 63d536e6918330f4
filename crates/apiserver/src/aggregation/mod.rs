//! Versions of groups that other servers serve (`APIService`): their requests are authorized here and passed on, with who sends them.

mod availability;
mod discovery;
mod documents;
mod priorities;
mod proxy;
mod register;
mod told;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use k8s_client::{Request, Verb};
use k8s_object::{GroupVersionResource, NamespacedName, Object};
use serde_json::Value;
use world::watch;

pub(crate) use availability::run as check_availability;
pub(crate) use discovery::{Group, Ties, aggregated_version, groups};
pub(crate) use documents::run as keep_documents;
pub(crate) use proxy::{answer, set_user};
pub(crate) use register::run as register;
pub(crate) use told::run as keep_discovery;

use crate::core::Core;
use crate::webhook::{Address, Trust};

pub(crate) const GROUP: &str = "apiregistration.k8s.io";
pub(crate) const PLURAL: &str = "apiservices";
/// Port of a reference to a Service that names none.
const HTTPS: u16 = 443;
/// Bytes of a remote server's document that are looked at.
const MAX_DISCOVERY_BYTES: usize = 1 << 20;

/// A version of a group that somebody else serves.
pub(crate) struct Remote {
    pub name: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub service: String,
    pub port: u16,
    pub trust: Trust,
    pub available: bool,
    group_priority: i64,
    version_priority: i64,
}

impl Remote {
    /// Nothing for what this server serves itself.
    fn of(object: &Object) -> Option<Remote> {
        let value = object.value();
        let spec = &value["spec"];
        let service = spec["service"].as_object()?;
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let port = service.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        let trust = match (spec["insecureSkipTLSVerify"] == true, spec["caBundle"].as_str().unwrap_or("")) {
            (true, _) => Trust::Anybody,
            (false, "") => Trust::System,
            (false, bundle) => {
                use base64::Engine;
                // What cannot be read trusts nobody, as a bundle of nothing does.
                Trust::Bundle(base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default())
            }
        };
        Some(Remote {
            name: object.meta().name.clone(),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            namespace: text(service.get("namespace")?),
            service: text(service.get("name")?),
            port: port.unwrap_or(HTTPS),
            trust,
            available: is_available(&value),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
            version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
        })
    }

    pub(crate) fn address(&self) -> Address {
        Address::Service { namespace: self.namespace.clone(), name: self.service.clone(), port: self.port }
    }

    /// A request about the version itself.
    pub(crate) fn request(&self) -> Request {
        Request::new(Verb::Get, &GroupVersionResource::new(&self.group, &self.version, ""), "", "")
    }

    /// Where its resources are.
    fn path(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }
}

fn is_available(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Available" && condition["status"] == "True")
}

/// Whether objects of this resource are APIServices.
pub(crate) fn is_service(group: &str, plural: &str) -> bool {
    group == GROUP && plural == PLURAL
}

type Remotes = BTreeMap<(String, String), Arc<Remote>>;

/// What is known of other servers.
#[derive(Default)]
pub(crate) struct Aggregator {
    remotes: RwLock<Arc<Remotes>>,
    /// What each said that it serves when it was last asked, by the name of its APIService.
    said: RwLock<BTreeMap<String, Arc<Told>>>,
    documents: documents::Kept,
    /// Counts changes of all this, for documents that are kept.
    generation: AtomicU64,
}

/// What a remote server says that it serves of a version.
#[derive(Debug, PartialEq)]
struct Told {
    /// Entries of the aggregated form.
    resources: Vec<Value>,
}

impl Aggregator {
    /// Another number after each change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    fn advance(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them, by group and version.
    pub(crate) fn remotes(&self) -> Arc<Remotes> {
        self.remotes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who serves a version of a group; nothing where this server does, or nobody.
    pub(crate) fn find(&self, group: &str, version: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes.read().unwrap_or_else(PoisonError::into_inner);
        if remotes.is_empty() {
            return None;
        }
        remotes.get(&(group.to_owned(), version.to_owned())).cloned()
    }

    /// Takes in changed APIServices.
    pub(crate) fn changed(&self, group: &str, plural: &str, changes: &[(NamespacedName, Option<Arc<Object>>)]) {
        if !is_service(group, plural) {
            return;
        }
        let mut slot = self.remotes.write().unwrap_or_else(PoisonError::into_inner);
        let mut remotes = Remotes::clone(&slot);
        for (name, object) in changes {
            remotes.retain(|_, remote| remote.name != name.name);
            match object.as_ref().and_then(|object| Remote::of(object)) {
                Some(remote) => {
                    remotes.insert((remote.group.clone(), remote.version.clone()), Arc::new(remote));
                }
                None => self.set_said(&name.name, None),
            }
        }
        // Most changes are of what this server serves itself.
        if !(slot.is_empty() && remotes.is_empty()) {
            *slot = Arc::new(remotes);
            self.advance();
        }
    }

    /// Takes in all APIServices, and nothing else.
    pub(crate) fn replace<'a>(&self, objects: impl Iterator<Item = &'a Arc<Object>>) {
        let remotes = objects.filter_map(|object| Remote::of(object));
        let remotes = remotes.map(|remote| ((remote.group.clone(), remote.version.clone()), Arc::new(remote)));
        *self.remotes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(remotes.collect());
        self.advance();
    }

    /// Whether this server serves all there is.
    pub(crate) fn is_empty(&self) -> bool {
        self.remotes.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Waits for a change, or until something is due. Whether there can be another change: not once the registry has gone.
async fn changed_or_due(core: &Core, changes: &mut watch::Receiver<u64>, due: Option<Duration>) -> bool {
    let wait = async {
        match due {
            Some(due) => core.world.sleep(due.saturating_sub(core.world.elapsed())).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        changed = changes.changed() => changed.is_ok(),
        () = wait => true,
    }
}

#[cfg(test)]
mod testing {
    use std::sync::Arc;

    use super::Remote;
    use crate::webhook::Trust;

    /// A server that serves a version of a group, with the priorities of both.
    pub(super) fn remote(group: &str, version: &str, group_priority: i64, version_priority: i64) -> Arc<Remote> {
        Arc::new(Remote {
            name: format!("{version}.{group}"),
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: "default".to_owned(),
            service: "server".to_owned(),
            port: 443,
            trust: Trust::System,
            available: true,
            group_priority,
            version_priority,
        })
    }
}
