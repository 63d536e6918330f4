//! Starts all controllers of one cluster: one set of informers, one runner per row, and informers for custom resources as
//! their definitions come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use k8s_client::{Client, Index, Informers};
use k8s_object::resources::{CUSTOM_RESOURCE_DEFINITIONS, EVENTS};
use k8s_object::{GroupVersionResource, UserInfo};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::Notify;
use world::{Tasks, World};

use crate::controllers::CONTROLLERS;
use crate::executor::{ActionLog, Metrics, Runner};
use crate::options::{Options, ResourceInfo};
use crate::view::{Answers, Sources};

/// How long the informer of a removed custom resource may take to end.
const DRAIN: Duration = Duration::from_secs(1);

/// The running controllers of one cluster. They run until their [`Tasks`] shut down, whether or not this is kept.
pub struct Controllers {
    informers: Informers,
    runners: Arc<Vec<Arc<Runner>>>,
}

impl Controllers {
    /// Completes when everything watched has been listed once.
    pub async fn synced(&self) {
        self.informers.synced().await;
    }

    /// What the controllers did so far, by name.
    pub fn metrics(&self) -> BTreeMap<&'static str, Metrics> {
        self.runners.iter().map(|runner| (runner.row.name, runner.metrics())).collect()
    }
}

/// Starts all controllers. `client` is who watches (upstream: `system:kube-controller-manager`); each controller writes as
/// its own service account.
pub fn start(client: Client, world: &World, tasks: &Tasks, options: Options) -> Controllers {
    start_logged(client, world, tasks, options, None)
}

/// As [`start`], telling every write to `log`.
pub(crate) fn start_logged(
    client: Client,
    world: &World,
    tasks: &Tasks,
    options: Options,
    log: Option<ActionLog>,
) -> Controllers {
    let (informers, sources, everything) = watch(&client, options);
    let runners: Vec<Arc<Runner>> = CONTROLLERS
        .iter()
        .map(|row| {
            let user = UserInfo::service_account("kube-system", row.service_account);
            let agent = format!("kube-controller-manager/{}", row.name);
            Runner::new(row, client.as_user(user, &agent), sources.clone(), tasks.clone(), log.clone())
        })
        .collect();
    let runners = Arc::new(runners);
    for runner in runners.iter() {
        let mut resources: BTreeSet<&GroupVersionResource> =
            runner.row.watches.iter().map(|watched| &watched.resource).collect();
        if runner.row.watches_everything {
            resources.extend(&everything);
        }
        for resource in resources {
            subscribe(&informers, resource, runner);
        }
    }
    let definitions = Arc::new(Notify::new());
    let changed = definitions.clone();
    informers.subscribe(&CUSTOM_RESOURCE_DEFINITIONS, move |_| changed.notify_one());
    informers.start(tasks);
    let custom = Custom { client, sources, runners: runners.clone(), world: world.clone(), running: BTreeMap::new() };
    let (stop, synced) = (tasks.stop(), informers.clone());
    let opened = runners.clone();
    tasks.spawn("controller-manager", async move {
        if stop.or(synced.synced()).await.is_none() {
            return;
        }
        for runner in opened.iter() {
            runner.open();
        }
        custom.run(&definitions, &stop).await;
    });
    Controllers { informers, runners }
}

/// Informers for everything that any controller reads, what views read from them, and the resources that controllers which
/// watch everything watch.
pub(crate) fn watch(
    client: &Client,
    mut options: Options,
) -> (Informers, Arc<Sources>, BTreeSet<GroupVersionResource>) {
    // Events are served in two groups; they are the same objects.
    options.resources.retain(|info| info.resource.resource != EVENTS.resource || info.resource.group.is_empty());
    let mut builder = Informers::builder().with(CUSTOM_RESOURCE_DEFINITIONS, &[Index::OWNER]);
    let mut watched = BTreeSet::from([CUSTOM_RESOURCE_DEFINITIONS]);
    for resource in CONTROLLERS.iter().flat_map(|row| row.watches) {
        builder =
            builder.with(resource.resource.clone(), resource.indices).with(resource.resource.clone(), &[Index::OWNER]);
        watched.insert(resource.resource.clone());
    }
    // Events own nothing, are owned by nothing, and are many: only the deletion of a namespace asks for them, directly.
    let resources = options.resources.iter().map(|info| info.resource.clone());
    let everything: BTreeSet<GroupVersionResource> = resources.filter(|resource| *resource != EVENTS).collect();
    for resource in &everything {
        builder = builder.with(resource.clone(), &[Index::OWNER]);
        watched.insert(resource.clone());
    }
    let informers = builder.build(client.clone());
    (informers.clone(), Arc::new(Sources::new(informers, watched, options)), everything)
}

/// A weak reference, because the informers live as long as the runners that read them.
fn subscribe(informers: &Informers, resource: &GroupVersionResource, runner: &Arc<Runner>) {
    let runner: Weak<Runner> = Arc::downgrade(runner);
    informers.subscribe(resource, move |change| {
        if let Some(runner) = runner.upgrade() {
            runner.on_change(change);
        }
    });
}

/// The informers of custom resources.
struct Custom {
    client: Client,
    sources: Arc<Sources>,
    runners: Arc<Vec<Arc<Runner>>>,
    world: World,
    running: BTreeMap<GroupVersionResource, Tasks>,
}

impl Custom {
    async fn run(mut self, definitions: &Notify, stop: &world::Stop) {
        loop {
            let wanted = self.wanted();
            let gone: Vec<_> =
                self.running.keys().filter(|resource| !wanted.contains_key(*resource)).cloned().collect();
            for resource in gone {
                self.sources.set_custom(&resource, None);
                if let Some(tasks) = self.running.remove(&resource) {
                    tasks.shutdown(DRAIN).await;
                }
            }
            for (resource, info) in wanted {
                if self.running.contains_key(&resource) {
                    self.sources.describe_custom(info);
                } else {
                    self.add(info);
                }
            }
            if stop.or(definitions.notified()).await.is_none() {
                break;
            }
        }
        for (_, tasks) in std::mem::take(&mut self.running) {
            tasks.shutdown(DRAIN).await;
        }
    }

    fn add(&mut self, info: ResourceInfo) {
        let resource = info.resource.clone();
        let informers = Informers::builder().with(resource.clone(), &[Index::OWNER]).build(self.client.clone());
        for runner in self.runners.iter().filter(|runner| runner.row.watches_everything) {
            subscribe(&informers, &resource, runner);
        }
        let tasks = self.world.tasks("custom resource informers");
        self.sources.set_custom(&resource, Some((info, informers.clone())));
        informers.start(&tasks);
        self.running.insert(resource, tasks);
    }

    /// The resources of all established definitions.
    fn wanted(&self) -> BTreeMap<GroupVersionResource, ResourceInfo> {
        let answers = Answers::new();
        let definitions = self.sources.view(&answers, None).list(&CUSTOM_RESOURCE_DEFINITIONS);
        // A definition that cannot be read serves nothing.
        let infos = definitions.iter().filter_map(|definition| resource_of(&*definition.view::<Definition>().ok()?));
        infos.map(|info| (info.resource.clone(), info)).collect()
    }
}

/// What a definition makes the server serve: its storage version.
fn resource_of(definition: &Definition) -> Option<ResourceInfo> {
    let established = definition.status.conditions.iter().any(|c| c.kind == "Established" && c.status == "True");
    let spec = &definition.spec;
    let version = spec.versions.iter().filter(|version| version.served).max_by_key(|version| version.storage)?;
    let resource = GroupVersionResource::new(&spec.group, &version.name, &spec.names.plural);
    let info = ResourceInfo::new(resource, &spec.names.kind, spec.scope == "Namespaced");
    established.then(|| ResourceInfo { scale: version.subresources.scale.is_some(), ..info })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Definition {
    spec: DefinitionSpec,
    status: DefinitionStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DefinitionSpec {
    group: String,
    scope: String,
    names: DefinitionNames,
    versions: Vec<DefinitionVersion>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DefinitionNames {
    plural: String,
    kind: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DefinitionVersion {
    name: String,
    served: bool,
    storage: bool,
    subresources: DefinitionSubresources,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DefinitionSubresources {
    scale: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DefinitionStatus {
    conditions: Vec<k8s_object::views::Condition>,
}
