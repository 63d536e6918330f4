//! One cluster's control plane: API server, controllers, scheduler and the host of its simulated nodes, in one group of tasks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use apiserver::{ApiServer, ServiceCidr};
use cloud_eks::{ControlPlaneSpec, Endpoint};
use controllers::{Controllers, ResourceInfo};
use k8s_auth::pki::{Authority, PrivateKey, Purpose};
use k8s_auth::tokens::Issuer;
use k8s_client::{Client, Informers};
use k8s_object::resources::NODES;
use k8s_object::views::Node;
use k8s_object::{GroupVersionResource, Object, UserInfo};
use kubelet::{Host, HostOptions};
use serde::{Deserialize, Serialize};
use serve::Tls;
use store::{KeyRange, Keyspace};
use world::{Tasks, World};

use crate::identity::{AccessPolicies, IamTokens};
use crate::{Inner, Pace};

/// Common name of every cluster's certificate authority.
const AUTHORITY: &str = "kubernetes";
/// The audience of ServiceAccount tokens for the API server itself.
const AUDIENCE: &str = "https://kubernetes.default.svc";

/// A running control plane.
pub(crate) struct ControlPlane {
    pub(crate) spec: ControlPlaneSpec,
    pub(crate) endpoint: Endpoint,
    pub(crate) server: ApiServer,
    pub(crate) host: Host,
    tasks: Tasks,
    /// Kept for as long as they run.
    _controllers: Controllers,
}

/// Keys of a control plane. Stored, so that a restarted one is the same to its clients.
#[derive(Serialize, Deserialize)]
struct Keys {
    /// Version of this record.
    v: u32,
    authority_key: String,
    authority_certificate: String,
    service_account_key: String,
    /// The port it listened on, taken again if it is free.
    port: u16,
}

const KEYS_VERSION: u32 = 1;

impl ControlPlane {
    /// Starts one on its part of the region's store.
    ///
    /// # Errors
    /// Why it cannot run, for the cluster's health.
    pub(crate) async fn start(inner: &Arc<Inner>, spec: &ControlPlaneSpec) -> Result<Arc<ControlPlane>, String> {
        let world = &inner.world;
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let mut keys = keys(inner, &spec.name).await?;
        let authority = Authority::from_pem(AUTHORITY, &keys.authority_key, &keys.authority_certificate)
            .map_err(|error| text(&error))?;
        let service_cidr = ServiceCidr::parse(&spec.service_cidr)
            .ok_or_else(|| format!("{} is no range for services", spec.service_cidr))?;
        let listener =
            if inner.sockets { Some(listen(inner.address, keys.port).map_err(|error| text(&error))?) } else { None };
        let issuer = format!("https://oidc.eks.{}.amazonaws.com/id/{}", inner.region, spec.id.to_uppercase());
        let address = listener.as_ref().map(TcpListener::local_addr).transpose().map_err(|error| text(&error))?;
        let url = match address {
            Some(address) => format!("https://{address}"),
            None => format!("https://{}.gr7.{}.eks.amazonaws.com", spec.id.to_uppercase(), inner.region),
        };
        if let Some(address) = address
            && address.port() != keys.port
        {
            keys.port = address.port();
            store_keys(inner, &spec.name, &keys).await?;
        }
        let tasks = world.tasks("control plane");
        let policies = Arc::new(AccessPolicies::default());
        let tokens = Arc::new(IamTokens::new(inner, &spec.name, policies.clone()));
        let service_account_key = PrivateKey::from_pem(&keys.service_account_key).map_err(|error| text(&error))?;
        let options = apiserver::Options {
            world: world.clone(),
            keyspace: objects(inner, &spec.name),
            minor: minor(&spec.version)?,
            git_version: cloud_eks::git_version(&spec.version)
                .ok_or_else(|| format!("{} is not served", spec.version))?,
            issuer: Issuer::new(service_account_key, &issuer, &[AUDIENCE]),
            token_authenticators: vec![tokens],
            authorizers: vec![policies],
            audit: None,
            service_cidr,
            endpoint: address.filter(|address| !address.ip().is_loopback()),
        };
        let server = ApiServer::start(options, &tasks).await.map_err(|error| text(&error))?;
        if let Some(listener) = listener {
            let tls = tls(world, &authority, inner.address, service_cidr)?;
            let options = serve::Options { tls: Some(tls), ..serve::Options::default() };
            serve::start(listener, server.handler(), options, &tasks).map_err(|error| text(&error))?;
        }
        let client = |user: &str| server.client(UserInfo::new(user, &[]), user.trim_start_matches("system:"));
        let controllers = controllers::start(
            client("system:kube-controller-manager"),
            world,
            &tasks,
            controllers::Options {
                root_ca_pem: authority.certificate_pem(),
                started: world.now(),
                resources: resources(server.minor()),
                ..controllers::Options::default()
            },
        );
        scheduler::run(client("system:kube-scheduler"), &tasks, scheduler::Options::default());
        let pace = match inner.pace {
            Pace::Instant => kubelet::Pace::instant(),
            Pace::Real => kubelet::Pace::realistic(),
        };
        // The host only watches under this name; each node writes under its own.
        let watcher = server.client(UserInfo::new("eks:node-host", &["system:masters"]), "kubelet-host");
        let host = Host::start(watcher, world.clone(), &tasks, HostOptions { pace, ..HostOptions::default() });
        tell_eks_of_nodes(inner, &spec.name, &server, &tasks);
        let endpoint = Endpoint { url, ca_pem: authority.certificate_pem(), oidc_issuer: issuer };
        Ok(Arc::new(ControlPlane { spec: spec.clone(), endpoint, server, host, tasks, _controllers: controllers }))
    }

    /// Stops it; its data stays.
    pub(crate) async fn stop(&self, deadline: Duration) -> Vec<&'static str> {
        self.tasks.shutdown(deadline).await
    }

    /// Ends it in the midst of whatever it does.
    pub(crate) fn abort(&self) {
        self.tasks.abort();
    }

    /// A client of it as a user.
    pub(crate) fn client_as(&self, user: UserInfo, agent: &str) -> Client {
        self.server.client(user, agent)
    }

    /// EKS itself, at work in the cluster.
    pub(crate) fn eks(&self) -> Client {
        self.client_as(UserInfo::new("eks:cluster-bootstrap", &["system:masters"]), "eks")
    }
}

/// Tells EKS when a node of a node group becomes Ready or stops being so, so that no life cycle waits for its next look.
fn tell_eks_of_nodes(inner: &Arc<Inner>, cluster: &str, server: &ApiServer, tasks: &Tasks) {
    let client = server.client(UserInfo::new("eks:node-watcher", &["system:masters"]), "eks");
    let informers = Informers::builder().with(NODES, &[]).build(client);
    let (eks, cluster) = (inner.eks.clone(), cluster.to_owned());
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

/// Forgets all that a control plane has stored.
pub(crate) async fn erase(inner: &Inner, cluster: &str) -> Result<(), String> {
    let failed = |error: store::StoreError| error.to_string();
    objects(inner, cluster).delete(KeyRange::all()).await.map_err(failed)?;
    let keys = inner.store.keyspace(KEYS).delete(KeyRange::key(cluster.to_owned())).await;
    keys.map(drop).map_err(failed)
}

/// Where a cluster's objects are.
fn objects(inner: &Inner, cluster: &str) -> Keyspace {
    inner.store.keyspace(&format!("/clusters/{cluster}/"))
}

/// Where the keys of control planes are.
const KEYS: &str = "/control-planes/";

async fn keys(inner: &Inner, cluster: &str) -> Result<Keys, String> {
    let stored = inner.store.keyspace(KEYS).get(cluster.to_owned()).await.map_err(|error| error.to_string())?;
    if let Some(stored) = stored {
        let keys: Keys =
            serde_json::from_slice(&stored.value).map_err(|error| format!("its keys cannot be read: {error}"))?;
        if keys.v != KEYS_VERSION {
            return Err(format!("its keys have version {}, this build reads {KEYS_VERSION}", keys.v));
        }
        return Ok(keys);
    }
    let authority = Authority::generate(&inner.world, AUTHORITY).map_err(|error| error.to_string())?;
    let keys = Keys {
        v: KEYS_VERSION,
        authority_key: authority.key_pem(),
        authority_certificate: authority.certificate_pem(),
        service_account_key: PrivateKey::generate(&inner.world).to_pem(),
        port: 0,
    };
    store_keys(inner, cluster, &keys).await?;
    Ok(keys)
}

async fn store_keys(inner: &Inner, cluster: &str, keys: &Keys) -> Result<(), String> {
    let text = serde_json::to_vec(keys).map_err(|error| error.to_string())?;
    inner.store.keyspace(KEYS).put(cluster.to_owned(), text).await.map(drop).map_err(|error| error.to_string())
}

/// The port it had before if it is free, else any.
fn listen(address: IpAddr, port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::new(address, port)).or_else(|_| TcpListener::bind(SocketAddr::new(address, 0)))
}

fn minor(version: &str) -> Result<u8, String> {
    version
        .strip_prefix("1.")
        .and_then(|minor| minor.parse().ok())
        .ok_or_else(|| format!("{version} is no version of Kubernetes"))
}

/// The server's identity, good for every name that clients use.
fn tls(world: &World, authority: &Authority, address: IpAddr, service_cidr: ServiceCidr) -> Result<Tls, String> {
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let addresses = vec![address, IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(service_cidr.address(1))];
    let purpose = Purpose::Server { names: names.map(str::to_owned).to_vec(), addresses };
    let identity = authority.issue(world, &purpose).map_err(|error| error.to_string())?;
    let client_ca = vec![authority.certificate().clone()];
    Ok(Tls { chain: vec![identity.certificate], key: identity.key.to_der(), client_ca })
}

/// The stored built-in resources of a minor, one version of each.
fn resources(minor: u8) -> Vec<ResourceInfo> {
    let mut newest = BTreeMap::new();
    for kind in k8s_kinds::KINDS {
        let served = kind.since <= minor && kind.until.is_none_or(|until| minor < until);
        if served && ["list", "watch", "delete"].iter().all(|verb| kind.verbs.contains(verb)) {
            let resource = GroupVersionResource::of(kind.group, kind.version, kind.plural);
            let namespaced = kind.scope == k8s_kinds::Scope::Namespaced;
            newest.insert((kind.group, kind.plural), ResourceInfo::new(resource, kind.kind, namespaced));
        }
    }
    newest.into_values().collect()
}
