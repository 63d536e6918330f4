//! One API server in a simulated world.
#![allow(dead_code)] // Not every test file uses all of it.

pub mod hooks;
pub mod http;
pub mod tls;

use std::future::Future;

use apiserver::{ApiServer, Options};
use k8s_client::{Client, Reply, Request, Verb};
use k8s_object::{ApiError, GroupVersionResource, UserInfo};
use store::Store;
use world::{Tasks, World};

pub struct Cluster {
    pub world: World,
    pub tasks: Tasks,
    pub server: ApiServer,
    pub store: Store,
}

pub async fn start(world: &World, store: &Store) -> Cluster {
    start_with(world, store, |_| {}).await
}

/// As [`start`], with other options.
pub async fn start_with(world: &World, store: &Store, change: impl FnOnce(&mut Options)) -> Cluster {
    let tasks = world.tasks("apiserver");
    let mut options = options(world, store);
    change(&mut options);
    let server = ApiServer::start(options, &tasks).await.unwrap();
    Cluster { world: world.clone(), tasks, server, store: store.clone() }
}

/// What a test's API server is made of.
pub fn options(world: &World, store: &Store) -> Options {
    Options::alone(world, store.keyspace("cluster/"))
}

impl Cluster {
    pub fn admin(&self) -> Client {
        self.server.client(UserInfo::new("admin", &["system:masters"]), "test")
    }

    pub fn user(&self, name: &str) -> Client {
        self.server.client(UserInfo::new(name, &[]), "test")
    }
}

/// Runs a test against a new cluster.
pub fn with_cluster<F: Future<Output = ()>>(test: impl FnOnce(Cluster) -> F) {
    with_options(|_| {}, test);
}

/// As [`with_cluster`], with other options.
pub fn with_options<F: Future<Output = ()>>(change: impl FnOnce(&mut Options), test: impl FnOnce(Cluster) -> F) {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, store::Limits::default());
    simulation.block_on(async move {
        let cluster = start_with(&world, &store, change).await;
        test(cluster).await;
    });
}

pub fn request(verb: Verb, resource: &GroupVersionResource, namespace: &str, name: &str) -> Request {
    Request::new(verb, resource, namespace, name)
}

pub async fn call(cluster: &Cluster, user: &UserInfo, request: Request) -> Result<Reply, ApiError> {
    cluster.server.api().call(&std::sync::Arc::new(user.clone()), "test", request).await
}
