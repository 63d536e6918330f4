//! What runs once per cluster, however many processes serve it: controllers, scheduler, and the host of its simulated nodes, in
//! one group of tasks. It writes only as long as its process leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apiserver::ApiServer;
use cloud_eks::Eks;
use controllers::{Controllers, ResourceInfo};
use k8s_client::{Client, Informers};
use k8s_object::resources::NODES;
use k8s_object::views::Node;
use k8s_object::{GroupVersionResource, Object, UserInfo};
use kubelet::{Host, HostOptions};
use store::Compare;
use world::{Tasks, World};

use crate::Pace;
use crate::cloud_provider;
use crate::control_plane::{self, ControlPlane};

/// The running components of one cluster.
pub(crate) struct Components {
    pub(crate) host: Host,
    /// Whom they work for.
    pub(crate) plane: Arc<ControlPlane>,
    server: ApiServer,
    tasks: Tasks,
    /// Kept for as long as they run.
    _controllers: Controllers,
}

impl Components {
    /// Starts them on what the cluster has stored: they take on what others have left.
    pub(crate) fn start(
        world: &World,
        pace: Pace,
        plane: &Arc<ControlPlane>,
        guard: &Compare,
        eks: &Eks,
    ) -> Components {
        let tasks = world.tasks("components");
        let server = plane.server.guarded(guard.clone());
        let client = |user: &str| server.client(UserInfo::new(user, &[]), user.trim_start_matches("system:"));
        let controllers = controllers::start(
            client("system:kube-controller-manager"),
            world,
            &tasks,
            controllers::Options {
                minor: server.minor(),
                root_ca_pem: plane.endpoint.ca_pem.clone(),
                authority: Some(plane.authority.clone()),
                started: world.now(),
                resources: resources(server.minor()),
                ..controllers::Options::default()
            },
        );
        let options = scheduler::Options { minor: server.minor(), ..scheduler::Options::default() };
        scheduler::run(client("system:kube-scheduler"), &tasks, options);
        let pace = match pace {
            Pace::Instant => kubelet::Pace::instant(),
            Pace::Real => kubelet::Pace::realistic(),
        };
        // The host only watches under this name; each node writes under its own.
        let watcher = server.client(UserInfo::new("eks:node-host", &["system:masters"]), "kubelet-host");
        let host = Host::start(watcher, world.clone(), &tasks, HostOptions { pace, ..HostOptions::default() });
        let provider =
            server.client(UserInfo::new("eks:cloud-controller-manager", &["system:masters"]), "cloud-controller");
        cloud_provider::start(&provider, &tasks);
        tell_eks_of_nodes(eks, &plane.spec.name, &server, &tasks);
        Components { host, plane: plane.clone(), server, tasks, _controllers: controllers }
    }

    /// EKS itself, at work in the cluster.
    pub(crate) fn eks(&self) -> Client {
        control_plane::eks(&self.server)
    }

    /// Ends them by the deadline at the latest. Pods run on: they are the store's.
    pub(crate) async fn stop(&self, deadline: Duration) {
        self.tasks.shutdown(deadline).await;
    }

    /// Ends them in the midst of whatever they do.
    pub(crate) fn abort(&self) {
        self.tasks.abort();
    }
}

/// Tells EKS when a node of a node group becomes Ready or stops being so, so that no life cycle waits for its next look.
fn tell_eks_of_nodes(eks: &Eks, cluster: &str, server: &ApiServer, tasks: &Tasks) {
    let client = server.client(UserInfo::new("eks:node-watcher", &["system:masters"]), "eks");
    let informers = Informers::builder().with(NODES, &[]).build(client);
    let (eks, cluster) = (eks.clone(), cluster.to_owned());
    informers.subscribe(&NODES, move |change| {
        let ready = |object: &Option<Arc<Object>>| {
            let node = object.as_ref()?.view::<Node>().ok()?;
            Some(node.condition("Ready")?.status == "True")
        };
        let group = change.latest().meta().labels.get("eks.amazonaws.com/nodegroup");
        if let Some(group) = group.filter(|_| ready(&change.old) != ready(&change.new)) {
            eks.nodes_changed(&cluster, group);
        }
    });
    informers.start(tasks);
}

/// The stored built-in resources of a minor, one version of each.
fn resources(minor: u8) -> Vec<ResourceInfo> {
    let mut newest = BTreeMap::new();
    for kind in k8s_kinds::KINDS {
        let served = kind.since <= minor && kind.until.is_none_or(|until| minor < until);
        if served && ["list", "watch", "delete"].iter().all(|verb| kind.verbs.contains(verb)) {
            let resource = GroupVersionResource::of(kind.group, kind.version, kind.plural);
            let namespaced = kind.scope == k8s_kinds::Scope::Namespaced;
            let info = ResourceInfo::new(resource, kind.kind, namespaced);
            let stored = kind.stored();
            // The stored version where it is served: nothing has to be converted then.
            match kind.stored_as {
                None => _ = newest.insert((stored.group, stored.plural), info),
                Some(_) => _ = newest.entry((stored.group, stored.plural)).or_insert(info),
            }
        }
    }
    newest.into_values().collect()
}
