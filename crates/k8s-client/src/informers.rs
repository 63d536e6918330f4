//! What components watch, kept once per cluster: pointers to the server's objects, by key and by indices.
//!
//! One task per resource lists, then watches, and lists again when history was lost; readers see the difference as
//! ordinary changes. A change is told to subscribers after the index holds it, in order, in the task of the resource;
//! a subscriber must only note the key somewhere (triggers carry no data) and never block.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use k8s_object::{ApiError, GroupVersionResource, NamespacedName, Object};
use world::watch;
use world::{Tasks, World};

use crate::client::{Client, WatchEvent};
use crate::request::Options;

/// How long to wait before listing again after an error, doubled up to the maximum.
const BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// An object came, changed or went.
#[derive(Debug, Clone)]
pub struct Change {
    pub resource: GroupVersionResource,
    pub key: NamespacedName,
    /// Absent when the object is new.
    pub old: Option<Arc<Object>>,
    /// Absent when the object is gone.
    pub new: Option<Arc<Object>>,
}

impl Change {
    /// The newest state there is.
    pub fn latest(&self) -> &Arc<Object> {
        self.new.as_ref().or(self.old.as_ref()).expect("a change has an old or a new state")
    }
}

/// The values under which an index holds an object, e.g. its node's name.
pub type Indexer = fn(&Object) -> Vec<String>;

/// A named index of one resource.
#[derive(Clone, Copy)]
pub struct Index {
    pub name: &'static str,
    pub keys: Indexer,
}

impl Index {
    /// By the uid of every owner.
    pub const OWNER: Index = Index {
        name: "owner",
        keys: |object| object.meta().owner_references.iter().map(|owner| owner.uid.clone()).collect(),
    };
}

/// All objects of one resource, by key and by indices.
#[derive(Default)]
struct Table {
    objects: BTreeMap<NamespacedName, Arc<Object>>,
    indices: Vec<(Index, BTreeMap<String, BTreeSet<NamespacedName>>)>,
}

impl Table {
    /// Puts or removes an object and returns what was there.
    fn set(&mut self, key: &NamespacedName, new: Option<Arc<Object>>) -> Option<Arc<Object>> {
        let old = match new.clone() {
            Some(object) => self.objects.insert(key.clone(), object),
            None => self.objects.remove(key),
        };
        for (index, entries) in &mut self.indices {
            let before = old.as_deref().map(index.keys).unwrap_or_default();
            let after = new.as_deref().map(index.keys).unwrap_or_default();
            for value in before.iter().filter(|value| !after.contains(value)) {
                if let Some(keys) = entries.get_mut(value) {
                    keys.remove(key);
                    if keys.is_empty() {
                        entries.remove(value);
                    }
                }
            }
            for value in after {
                entries.entry(value).or_default().insert(key.clone());
            }
        }
        old
    }
}

type Subscriber = Arc<dyn Fn(&Change) + Send + Sync>;

struct Resource {
    gvr: GroupVersionResource,
    table: RwLock<Table>,
    subscribers: RwLock<Vec<Subscriber>>,
    synced: watch::Sender<bool>,
}

/// Chooses what to watch.
#[derive(Default)]
pub struct InformersBuilder {
    resources: BTreeMap<GroupVersionResource, Vec<Index>>,
}

impl InformersBuilder {
    /// Watches `resource`, with these indices in addition to those already asked for.
    pub fn with(mut self, resource: GroupVersionResource, indices: &[Index]) -> InformersBuilder {
        let known = self.resources.entry(resource).or_default();
        for index in indices {
            if !known.iter().any(|own| own.name == index.name) {
                known.push(*index);
            }
        }
        self
    }

    /// Builds the tables; nothing is watched before [`Informers::start`], so that subscribers miss nothing.
    pub fn build(self, client: Client) -> Informers {
        let resources = self.resources.into_iter().map(|(gvr, indices)| {
            let table = Table {
                indices: indices.into_iter().map(|index| (index, BTreeMap::new())).collect(),
                ..Table::default()
            };
            let resource = Resource {
                gvr: gvr.clone(),
                table: RwLock::new(table),
                subscribers: RwLock::default(),
                synced: watch::channel(false).0,
            };
            (gvr, Arc::new(resource))
        });
        Informers(Arc::new(Inner { client, resources: resources.collect() }))
    }
}

/// The watched resources of one cluster. Cheap to clone; all clones are the same tables.
#[derive(Clone)]
pub struct Informers(Arc<Inner>);

struct Inner {
    client: Client,
    resources: BTreeMap<GroupVersionResource, Arc<Resource>>,
}

impl Informers {
    /// Starts with nothing to watch.
    pub fn builder() -> InformersBuilder {
        InformersBuilder::default()
    }

    /// Calls `subscriber` for every change of `resource` from now on.
    ///
    /// # Panics
    /// If the resource was not asked for when building: that is a mistake in the wiring.
    pub fn subscribe(&self, resource: &GroupVersionResource, subscriber: impl Fn(&Change) + Send + Sync + 'static) {
        let resource = self.resource(resource);
        resource.subscribers.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(subscriber));
    }

    /// Starts one task per resource.
    pub fn start(&self, tasks: &Tasks) {
        for resource in self.0.resources.values() {
            let (client, resource, world, stop) =
                (self.0.client.clone(), resource.clone(), tasks.world().clone(), tasks.stop());
            tasks.spawn("informer", async move {
                stop.or(run(&client, &resource, &world)).await;
            });
        }
    }

    /// Completes when every resource has been listed once.
    pub async fn synced(&self) {
        for resource in self.0.resources.values() {
            // The sender lives in `resource`, so waiting cannot fail.
            let _ = resource.synced.subscribe().wait_for(|synced| *synced).await;
        }
    }

    /// Reads one resource.
    ///
    /// # Panics
    /// If the resource was not asked for when building.
    pub fn read(&self, resource: &GroupVersionResource) -> Reader<'_> {
        Reader(self.resource(resource))
    }

    fn resource(&self, resource: &GroupVersionResource) -> &Arc<Resource> {
        self.0.resources.get(resource).unwrap_or_else(|| panic!("{resource} is not among the informers"))
    }
}

/// A view of one resource. Each call sees the newest state; nothing is held between calls.
#[derive(Clone, Copy)]
pub struct Reader<'a>(&'a Arc<Resource>);

impl Reader<'_> {
    /// One object.
    pub fn get(&self, key: &NamespacedName) -> Option<Arc<Object>> {
        self.with(|table| table.objects.get(key).cloned())
    }

    /// All objects, in order of namespace and name.
    pub fn list(&self) -> Vec<Arc<Object>> {
        self.with(|table| table.objects.values().cloned().collect())
    }

    /// The objects of one namespace, in order of their names.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<Object>> {
        let first = NamespacedName::new(namespace, "");
        self.with(|table| {
            let range = table.objects.range(first..);
            range.take_while(|(key, _)| key.namespace == namespace).map(|(_, object)| object.clone()).collect()
        })
    }

    /// The objects that the index `name` holds under `value`, in order of their keys.
    ///
    /// # Panics
    /// If the resource has no such index.
    pub fn indexed(&self, name: &str, value: &str) -> Vec<Arc<Object>> {
        self.with(|table| {
            let index = table.indices.iter().find(|(index, _)| index.name == name);
            let (_, entries) = index.unwrap_or_else(|| panic!("{} has no index {name}", self.0.gvr));
            let keys = entries.get(value).into_iter().flatten();
            keys.filter_map(|key| table.objects.get(key).cloned()).collect()
        })
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.with(|table| table.objects.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.0.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn run(client: &Client, resource: &Resource, world: &World) {
    let mut backoff = BACKOFF;
    loop {
        match list_and_watch(client, resource, &mut backoff).await {
            // History was lost or the server closed the watch: list again at once, which shows the difference.
            Err(error) if error.reason == k8s_object::Reason::Expired => {}
            Err(_) => {
                world.sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
            Ok(never) => match never {},
        }
    }
}

async fn list_and_watch(
    client: &Client,
    resource: &Resource,
    backoff: &mut Duration,
) -> Result<std::convert::Infallible, ApiError> {
    let (objects, version) = client.list(&resource.gvr, "").await?;
    *backoff = BACKOFF;
    replace(resource, objects);
    resource.synced.send_replace(true);
    let options = Options { resource_version: Some(version), ..Options::default() };
    let mut watch = client.watch(&resource.gvr, options).await?;
    loop {
        for event in watch.next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let key = object.key();
                    apply(resource, key, Some(object));
                }
                WatchEvent::Deleted(object) => {
                    let key = object.key();
                    apply(resource, key, None);
                }
                WatchEvent::Bookmark(_) => {}
            }
        }
    }
}

/// Makes the table what a list says, told to subscribers as single changes.
fn replace(resource: &Resource, objects: Vec<Arc<Object>>) {
    let listed: BTreeMap<NamespacedName, Arc<Object>> =
        objects.into_iter().map(|object| (object.key(), object)).collect();
    let table = resource.table.read().unwrap_or_else(PoisonError::into_inner);
    let gone: Vec<NamespacedName> = table.objects.keys().filter(|key| !listed.contains_key(key)).cloned().collect();
    drop(table);
    for key in gone {
        apply(resource, key, None);
    }
    for (key, object) in listed {
        apply(resource, key, Some(object));
    }
}

fn apply(resource: &Resource, key: NamespacedName, new: Option<Arc<Object>>) {
    let old = resource.table.write().unwrap_or_else(PoisonError::into_inner).set(&key, new.clone());
    let unchanged = match (&old, &new) {
        (Some(old), Some(new)) => old.meta().resource_version == new.meta().resource_version,
        (None, None) => true,
        _ => false,
    };
    if unchanged {
        return;
    }
    let change = Change { resource: resource.gvr.clone(), key, old, new };
    let subscribers = resource.subscribers.read().unwrap_or_else(PoisonError::into_inner).clone();
    for subscriber in subscribers {
        subscriber(&change);
    }
}
