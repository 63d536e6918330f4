//! What tests of planners and of the executor share: objects, views made of them, and a small API server.

mod fake;
mod kubelet;
mod rbac;

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Client, Identity};
use k8s_object::resources::{
    CLUSTER_ROLES, CONFIG_MAPS, CONTROLLER_REVISIONS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, ENDPOINT_SLICES, ENDPOINTS,
    EVENTS, JOBS, LEASES, NAMESPACES, NODES, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICE_ACCOUNTS, SERVICES,
    STATEFUL_SETS,
};
use k8s_object::{GroupVersionResource, Object, UserInfo};
use serde_json::{Value, json};
use world::World;

use crate::controller::{Action, Controller, Key, Step};
use crate::manager::watch;
use crate::options::{Options, ResourceInfo};
use crate::view::{Answers, Failure};

pub(crate) use fake::Fake;
pub(crate) use kubelet::Kubelets;

/// Resource, kind, whether namespaced.
const KINDS: &[(GroupVersionResource, &str, bool)] = &[
    (
        GroupVersionResource::of("certificates.k8s.io", "v1", "certificatesigningrequests"),
        "CertificateSigningRequest",
        false,
    ),
    (CLUSTER_ROLES, "ClusterRole", false),
    (CONFIG_MAPS, "ConfigMap", true),
    (CONTROLLER_REVISIONS, "ControllerRevision", true),
    (CRON_JOBS, "CronJob", true),
    (DAEMON_SETS, "DaemonSet", true),
    (DEPLOYMENTS, "Deployment", true),
    (ENDPOINTS, "Endpoints", true),
    (ENDPOINT_SLICES, "EndpointSlice", true),
    (EVENTS, "Event", true),
    (GroupVersionResource::of("networking.k8s.io", "v1", "ipaddresses"), "IPAddress", false),
    (JOBS, "Job", true),
    (LEASES, "Lease", true),
    (NAMESPACES, "Namespace", false),
    (NODES, "Node", false),
    (GroupVersionResource::of("", "v1", "persistentvolumeclaims"), "PersistentVolumeClaim", true),
    (GroupVersionResource::of("", "v1", "persistentvolumes"), "PersistentVolume", false),
    (PODS, "Pod", true),
    (GroupVersionResource::of("policy", "v1", "poddisruptionbudgets"), "PodDisruptionBudget", true),
    (REPLICA_SETS, "ReplicaSet", true),
    (REPLICATION_CONTROLLERS, "ReplicationController", true),
    (GroupVersionResource::of("", "v1", "resourcequotas"), "ResourceQuota", true),
    (SERVICE_ACCOUNTS, "ServiceAccount", true),
    (SERVICES, "Service", true),
    (GroupVersionResource::of("networking.k8s.io", "v1", "servicecidrs"), "ServiceCIDR", false),
    (STATEFUL_SETS, "StatefulSet", true),
    (GroupVersionResource::of("storage.k8s.io", "v1", "volumeattributesclasses"), "VolumeAttributesClass", false),
];

/// Options that know the kinds of the tests.
pub(crate) fn options() -> Options {
    let resources =
        KINDS.iter().map(|(resource, kind, namespaced)| ResourceInfo::new(resource.clone(), kind, *namespaced));
    Options { resources: resources.collect(), root_ca_pem: "CA".into(), ..Options::default() }
}

/// An object with a uid made of its resource, namespace and name, and what `extra` adds.
pub(crate) fn object(resource: &GroupVersionResource, namespace: &str, name: &str, extra: Value) -> Arc<Object> {
    let kind = KINDS.iter().find(|(own, ..)| own == resource).map_or("Unknown", |(_, kind, _)| kind);
    let uid = format!("{}-{namespace}-{name}", resource.resource);
    let mut value = json!({"apiVersion": resource.api_version(), "kind": kind, "metadata": {"name": name, "uid": uid}});
    if !namespace.is_empty() {
        value["metadata"]["namespace"] = json!(namespace);
    }
    crate::json::merge(&mut value, &extra);
    Arc::new(Object::from_value(&value).expect("tests write objects"))
}

/// A client that may do everything.
pub(crate) fn admin(fake: &Arc<Fake>) -> Client {
    Client::new(fake.clone(), Identity::Fixed(Arc::new(UserInfo::new("admin", &["system:masters"]))), "test")
}

/// A client that may only watch, as the manager does.
pub(crate) fn manager(fake: &Arc<Fake>) -> Client {
    Client::new(fake.clone(), Identity::Fixed(Arc::new(UserInfo::new("system:kube-controller-manager", &[]))), "test")
}

/// A plan as tests compare it.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) actions: Vec<String>,
    pub(crate) bodies: Vec<Value>,
    pub(crate) requeue_after: Option<Duration>,
}

fn planned(
    options: &Options,
    row: &'static Controller,
    objects: &[Arc<Object>],
    key: &Key,
    failure: Option<&Failure>,
) -> Planned {
    let (world, mut simulation) = World::simulated(1);
    let fake = Fake::new(&world);
    for object in objects {
        let resource =
            KINDS.iter().find(|(_, kind, _)| *kind == object.kind().kind).map(|(resource, ..)| resource.clone());
        fake.put(&resource.expect("a kind of the tests"), object.value());
    }
    let (informers, sources, _) = watch(&manager(&fake), options.clone());
    let tasks = world.tasks("test");
    informers.start(&tasks);
    simulation.block_on(informers.synced());
    let mut answers = Answers::new();
    for _ in 0..5 {
        let plan =
            (row.plan)(&sources.view(&answers, failure), key, world.now()).expect("tests write readable objects");
        if plan.reads.is_empty() {
            let steps = plan.steps.into_iter();
            let actions: Vec<Action> = steps
                .flat_map(|step| match step {
                    Step::One(action) => vec![action],
                    Step::Burst { actions, .. } => actions,
                })
                .collect();
            let bodies = actions.iter().filter_map(|action| match action {
                Action::Create { body, .. } => Some(body.clone()),
                _ => None,
            });
            let bodies = bodies.collect();
            let actions = actions.iter().map(Action::to_string).collect();
            return Planned { actions, bodies, requeue_after: plan.requeue_after };
        }
        for read in plan.reads {
            let answer = fake.answer(&read);
            answers.insert(read, answer);
        }
    }
    panic!("{row:?} asks without end");
}

/// What a controller plans for a key when there are these objects, at 2026-01-01T00:00:00Z.
pub(crate) fn plan_of(row: &'static Controller, objects: &[Arc<Object>], key: &Key) -> Planned {
    planned(&options(), row, objects, key, None)
}

/// The same with options.
pub(crate) fn plan_with(options: &Options, row: &'static Controller, objects: &[Arc<Object>], key: &Key) -> Planned {
    planned(options, row, objects, key, None)
}

/// The same after a failed write.
pub(crate) fn plan_with_failure(
    row: &'static Controller,
    objects: &[Arc<Object>],
    key: &Key,
    failure: Failure,
) -> Planned {
    planned(&options(), row, objects, key, Some(&failure))
}

/// The bodies of the creations that a controller plans.
pub(crate) fn plan_bodies(row: &'static Controller, objects: &[Arc<Object>], key: &Key) -> Vec<Value> {
    planned(&options(), row, objects, key, None).bodies
}

/// Compares the actions of a plan.
#[track_caller]
pub(crate) fn check(row: &'static Controller, objects: &[Arc<Object>], key: &Key, actions: &[&str]) {
    check_with(&options(), row, objects, key, actions);
}

/// Compares the actions of a plan made with options.
#[track_caller]
pub(crate) fn check_with(
    options: &Options,
    row: &'static Controller,
    objects: &[Arc<Object>],
    key: &Key,
    actions: &[&str],
) {
    assert_eq!(planned(options, row, objects, key, None).actions, actions);
}
