//! One cluster's control plane as every process of the region runs it: its API server, in a group of tasks. What runs in one
//! process only is in [`crate::components`].
//!
//! All processes have the same keys for it; each listens on a port of its own. Its API server writes only as long as the record
//! of the keys is the one that it has begun with: when the cluster is deleted it goes together with all objects, when it is
//! restored it changes, and nothing of before comes after.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apiserver::{ApiServer, JwtAuthenticator, Mapping, ServiceCidr};
use cloud_eks::{ControlPlaneSpec, Endpoint, OidcProvider, Settings};
use cloud_wire::AwsError;
use k8s_auth::pki::{Authority, PrivateKey, Purpose};
use k8s_auth::tokens::Issuer;
use k8s_client::Client;
use k8s_object::UserInfo;
use serde::{Deserialize, Serialize};
use serve::{Clients, Tls};
use store::{Compare, KeyRange, Keyspace, Op, Revision, Txn};
use world::{Tasks, World};

use crate::Inner;
use crate::identity::{AccessPolicies, IamTokens};
use crate::past::Past;

/// Common name of every cluster's certificate authority.
const AUTHORITY: &str = "kubernetes";
/// Common names of the authority of front proxies, and of the one that there is.
const FRONT_PROXY: &str = "front-proxy-ca";
const FRONT_PROXY_CLIENT: &str = "front-proxy-client";
/// The audience of ServiceAccount tokens for the API server itself.
const AUDIENCE: &str = "https://kubernetes.default.svc";
/// Bytes of the name of a host: a label's value takes no more.
const MAX_HOST_BYTES: usize = 63;

/// A running control plane.
pub(crate) struct ControlPlane {
    /// What it began as; of its settings see [`ControlPlane::spec_now`].
    pub(crate) spec: ControlPlaneSpec,
    settings: Mutex<Settings>,
    pub(crate) endpoint: Endpoint,
    pub(crate) server: ApiServer,
    /// Signs the certificates of the cluster.
    pub(crate) authority: Authority,
    /// The revision of the keys that it has begun with.
    since: Revision,
    tasks: Tasks,
}

/// What a control plane is made of. Stored, so that a restarted one, and one in another process, is the same to its clients. It
/// is written when the cluster is made and when it is restored.
#[derive(Serialize, Deserialize)]
struct Keys {
    /// Version of this record.
    v: u32,
    authority_key: String,
    authority_certificate: String,
    service_account_key: String,
    /// The authority of those who may say who somebody else is: this API server, to those that it passes requests on to. Empty in
    /// clusters that were made before there was one.
    #[serde(default)]
    front_proxy_key: String,
    #[serde(default)]
    front_proxy_certificate: String,
    /// Which of the cluster's objects in the store are the present ones; another after each restore.
    #[serde(default)]
    generation: i64,
}

const KEYS_VERSION: u32 = 1;

impl ControlPlane {
    /// Starts one on its part of the region's store. The keys of one that never ran are only made by the leader, whose guard is
    /// given: else a process that has not heard of a deletion would bring back what was deleted.
    ///
    /// # Errors
    /// Why it cannot run, for the cluster's health.
    pub(crate) async fn start(
        inner: &Arc<Inner>,
        spec: &ControlPlaneSpec,
        leader: Option<&Compare>,
    ) -> Result<Arc<ControlPlane>, String> {
        let world = &inner.world;
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let (keys, since) = keys(inner, &spec.name, leader).await?;
        let authority = Authority::from_pem(AUTHORITY, &keys.authority_key, &keys.authority_certificate)
            .map_err(|error| text(&error))?;
        let front_proxy = match keys.front_proxy_key.as_str() {
            "" => None,
            key => Some(
                Authority::from_pem(FRONT_PROXY, key, &keys.front_proxy_certificate).map_err(|error| text(&error))?,
            ),
        };
        let service_cidr = ServiceCidr::parse(&spec.service_cidr)
            .ok_or_else(|| format!("{} is no range for services", spec.service_cidr))?;
        let listener = match inner.sockets {
            true => Some(listen(inner, &spec.name).await?),
            false => None,
        };
        let issuer = format!("https://oidc.eks.{}.amazonaws.com/id/{}", inner.region, spec.id.to_uppercase());
        let address = listener.as_ref().map(TcpListener::local_addr).transpose().map_err(|error| text(&error))?;
        let url = match address {
            Some(address) => format!("https://{address}"),
            None => format!("https://{}.gr7.{}.eks.amazonaws.com", spec.id.to_uppercase(), inner.region),
        };
        let tasks = world.tasks("control plane");
        let policies = Arc::new(AccessPolicies::default());
        let tokens = Arc::new(IamTokens::new(inner, &spec.name, policies.clone()));
        let service_account_key = PrivateKey::from_pem(&keys.service_account_key).map_err(|error| text(&error))?;
        let folder = inner.audit_folder.as_deref();
        let audit = folder.map(|folder| crate::audit::start(&tasks, folder, &spec.name)).transpose()?;
        let options = apiserver::Options {
            world: world.clone(),
            keyspace: objects(inner, &spec.name, keys.generation, since),
            minor: minor(&spec.version)?,
            git_version: cloud_eks::git_version(&spec.version)
                .ok_or_else(|| format!("{} is not served", spec.version))?,
            host: host(&inner.endpoint, &inner.region),
            issuer: Issuer::new(service_account_key, &issuer, &[AUDIENCE]),
            token_authenticators: vec![tokens],
            authorizers: vec![policies],
            authentication: apiserver::Authentication {
                client_authorities: vec![authority.certificate().clone()],
                jwt: issuers(&spec.settings),
                front_proxy: front_proxy.as_ref().map(|front| front_proxy_of(world, front)).transpose()?,
                ..Default::default()
            },
            authorization: apiserver::Mode::usual(),
            kubelets: apiserver::Kubelets { simulated: Some(crate::node_bootstrap::PROVIDER), ..Default::default() },
            audit,
            encryption: Some(inner.keys.encryption(spec.settings.key.as_deref())),
            service_cidr,
            endpoint: address.filter(|address| !address.ip().is_loopback()),
            dialer: inner.outside.clone(),
        };
        let server = ApiServer::start(options, &tasks).await.map_err(|error| text(&error))?;
        if let Some(listener) = listener {
            let tls = tls(world, &authority, front_proxy.as_ref(), inner.address, service_cidr)?;
            let options = serve::Options { tls: Some(tls), ..serve::Options::default() };
            serve::start(listener, server.handler(), options, &tasks).map_err(|error| text(&error))?;
        }
        let endpoint = Endpoint { url, ca_pem: authority.certificate_pem(), oidc_issuer: issuer };
        let settings = Mutex::new(spec.settings.clone());
        Ok(Arc::new(ControlPlane { spec: spec.clone(), settings, endpoint, server, authority, since, tasks }))
    }

    /// Stops it; its data stays.
    pub(crate) async fn stop(&self, deadline: Duration) -> Vec<&'static str> {
        self.tasks.shutdown(deadline).await
    }

    /// Ends it in the midst of whatever it does.
    pub(crate) fn abort(&self) {
        self.tasks.abort();
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is now.
    pub(crate) fn spec_now(&self) -> ControlPlaneSpec {
        ControlPlaneSpec { settings: self.settings().clone(), ..self.spec.clone() }
    }

    /// Takes on what has changed of its settings. Requests under way are finished with those of before.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn configure(&self, inner: &Inner, settings: &Settings) -> Result<(), String> {
        let mut own = self.settings();
        if own.provider != settings.provider {
            self.server.use_issuers(&issuers(settings)).map_err(|error| error.to_string())?;
        }
        if own.key != settings.key {
            self.server.use_encryption(inner.keys.encryption(settings.key.as_deref()));
        }
        own.clone_from(settings);
        Ok(())
    }

    /// Whether it is still what the cluster of this specification is.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn is_current(&self, inner: &Inner, spec: &ControlPlaneSpec) -> Result<bool, String> {
        let stored = inner.store.get(format!("{KEYS}{}", spec.name)).await.map_err(|error| error.to_string())?;
        Ok(self.spec.id == spec.id && stored.is_some_and(|stored| stored.mod_revision == self.since))
    }

    /// A client of it as a user.
    pub(crate) fn client_as(&self, user: UserInfo, agent: &str) -> Client {
        self.server.client(user, agent)
    }

    /// EKS itself, at work in the cluster.
    pub(crate) fn eks(&self) -> Client {
        eks(&self.server)
    }
}

/// What the host of a process's API servers is called: after its address, as EC2 calls hosts. The port tells processes of one
/// machine apart, and the whole is the value of a label.
fn host(endpoint: &str, region: &str) -> String {
    let suffix = format!(".{region}.compute.internal");
    let address = endpoint.trim_start_matches("http://");
    let address = address.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let room = MAX_HOST_BYTES.saturating_sub("ip-".len() + suffix.len());
    let address = address[address.len().saturating_sub(room)..].trim_matches('-');
    format!("ip-{address}{suffix}")
}

/// A client as which EKS itself works in a cluster.
pub(crate) fn eks(server: &ApiServer) -> Client {
    server.client(UserInfo::new("eks:cluster-bootstrap", &["system:masters"]), "eks")
}

/// Forgets all that a control plane has stored, at once, if the guard of the leader holds.
pub(crate) async fn erase(inner: &Inner, cluster: &str, leader: &Compare) -> Result<(), String> {
    let everything = [
        KeyRange::prefix(format!("{OBJECTS}{cluster}/")),
        KeyRange::prefix(format!("{OBJECTS}{cluster}{GENERATION}")),
        KeyRange::prefix(format!("{PORTS}{cluster}/")),
        KeyRange::key(format!("{KEYS}{cluster}")),
    ];
    let txn = everything.into_iter().fold(Txn::default(), |txn, range| txn.then(Op::delete(range)));
    let space = inner.store.keyspace("").guarded(leader.clone());
    space.txn(txn).await.map(drop).map_err(|error| error.to_string())
}

/// What the objects of all clusters are below.
pub(crate) const OBJECTS: &str = "/clusters/";
/// Between the name of a cluster and a generation of its objects. No cluster's name holds it.
const GENERATION: char = '@';
/// Where the keys of control planes are.
const KEYS: &str = "/control-planes/";
/// Where it is written which port a cluster has in which process.
const PORTS: &str = "/ports/";

/// Where a cluster's objects are, for a server that began with the keys of this revision.
fn objects(inner: &Inner, cluster: &str, generation: i64, since: Revision) -> Keyspace {
    let guard = Compare::unchanged(format!("{KEYS}{cluster}"), since);
    inner.store.keyspace(&objects_prefix(cluster, generation)).guarded(guard)
}

/// Where a generation of a cluster's objects is.
pub(crate) fn objects_prefix(cluster: &str, generation: i64) -> String {
    match generation {
        0 => format!("{OBJECTS}{cluster}/"),
        _ => format!("{OBJECTS}{cluster}{GENERATION}{generation}/"),
    }
}

/// The prefix, cluster and generation of an object's key.
pub(crate) fn parse_objects(key: &[u8]) -> Option<(String, String, i64)> {
    let (segment, _) = std::str::from_utf8(key).ok()?.strip_prefix(OBJECTS)?.split_once('/')?;
    let (cluster, generation) = match segment.split_once(GENERATION) {
        Some((cluster, generation)) => (cluster, generation.parse().ok()?),
        None => (segment, 0),
    };
    let prefix = objects_prefix(cluster, generation);
    key.starts_with(prefix.as_bytes()).then(|| (prefix, cluster.to_owned(), generation))
}

/// Which objects a cluster has; `None` when no control plane of it was ever started.
pub(crate) async fn generation(inner: &Inner, cluster: &str) -> Result<Option<i64>, String> {
    let stored = inner.store.get(format!("{KEYS}{cluster}")).await.map_err(|error| error.to_string())?;
    stored.map(|stored| Ok(read_keys(&stored.value)?.generation)).transpose()
}

/// Which objects it had then.
pub(crate) async fn generation_at(past: &Past, cluster: &str) -> Result<i64, AwsError> {
    let Some(stored) = past.get(&format!("{KEYS}{cluster}")).await? else { return Ok(0) };
    Ok(read_keys(&stored.value).map_err(AwsError::internal)?.generation)
}

/// Gives a cluster other objects, if the guard of the leader holds; a new one gets keys of its own. Servers that have begun with
/// what it had before write nothing any more.
pub(crate) async fn use_generation(
    inner: &Inner,
    cluster: &str,
    generation: i64,
    leader: &Compare,
) -> Result<(), String> {
    let (mut keys, since) = keys(inner, cluster, Some(leader)).await?;
    keys.generation = generation;
    let value = serde_json::to_vec(&keys).map_err(|error| error.to_string())?;
    let cluster = cluster.to_owned();
    let write = Txn::when(Compare::unchanged(cluster.clone(), since)).then(Op::put(cluster, value));
    match inner.store.keyspace(KEYS).guarded(leader.clone()).txn(write).await {
        Ok(result) if result.succeeded => Ok(()),
        Ok(_) => Err("another process has just changed it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn read_keys(stored: &[u8]) -> Result<Keys, String> {
    let keys: Keys = serde_json::from_slice(stored).map_err(|error| format!("its keys cannot be read: {error}"))?;
    if keys.v != KEYS_VERSION {
        return Err(format!("its keys have version {}, this build reads {KEYS_VERSION}", keys.v));
    }
    Ok(keys)
}

/// The keys of a cluster and the revision at which they were written.
async fn keys(inner: &Inner, cluster: &str, leader: Option<&Compare>) -> Result<(Keys, Revision), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let space = inner.store.keyspace(KEYS);
    let stored = space.get(cluster.to_owned()).await.map_err(|error| text(&error))?;
    if let Some(stored) = stored {
        return Ok((read_keys(&stored.value)?, stored.mod_revision));
    }
    let Some(leader) = leader else { return Err(format!("{cluster} has no keys (any more)")) };
    let authority = Authority::generate(&inner.world, AUTHORITY).map_err(|error| text(&error))?;
    let front_proxy = Authority::generate(&inner.world, FRONT_PROXY).map_err(|error| text(&error))?;
    let keys = Keys {
        v: KEYS_VERSION,
        authority_key: authority.key_pem(),
        authority_certificate: authority.certificate_pem(),
        service_account_key: PrivateKey::generate(&inner.world).to_pem(),
        front_proxy_key: front_proxy.key_pem(),
        front_proxy_certificate: front_proxy.certificate_pem(),
        generation: 0,
    };
    let value = serde_json::to_vec(&keys).map_err(|error| text(&error))?;
    let cluster = cluster.to_owned();
    let made = Txn::when(Compare::absent(cluster.clone())).then(Op::put(cluster, value));
    match space.guarded(leader.clone()).txn(made).await {
        Ok(result) if result.succeeded => Ok((keys, result.revision)),
        Ok(_) => Err("another process has just made its keys".to_owned()),
        Err(error) => Err(text(&error)),
    }
}

/// A listener on the port that the cluster had before in this process, if it is free, else on any, which is written down. A
/// process is known by the address of its AWS endpoint.
async fn listen(inner: &Inner, cluster: &str) -> Result<TcpListener, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let space = inner.store.keyspace(PORTS);
    let key = format!("{cluster}/{}", inner.endpoint.trim_start_matches("http://"));
    let known = space.get(key.clone()).await.map_err(|error| text(&error))?;
    let known = known.and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse::<u16>().ok()).unwrap_or(0);
    let bind = |port: u16| TcpListener::bind(SocketAddr::new(inner.address, port));
    let listener = bind(known).or_else(|_| bind(0)).map_err(|error| text(&error))?;
    let port = listener.local_addr().map_err(|error| text(&error))?.port();
    if port != known {
        space.put(key, port.to_string()).await.map_err(|error| text(&error))?;
    }
    Ok(listener)
}

fn minor(version: &str) -> Result<u8, String> {
    version
        .strip_prefix("1.")
        .and_then(|minor| minor.parse().ok())
        .ok_or_else(|| format!("{version} is no version of Kubernetes"))
}

/// Whose tokens it takes beside its own.
fn issuers(settings: &Settings) -> Vec<JwtAuthenticator> {
    settings.provider.iter().map(issuer).collect()
}

fn issuer(provider: &OidcProvider) -> JwtAuthenticator {
    let mapping = |claim: &str, prefix: &str| Mapping {
        claim: claim.to_owned(),
        prefix: prefix.to_owned(),
        ..Mapping::default()
    };
    JwtAuthenticator {
        issuer: provider.issuer.clone(),
        audiences: vec![provider.client_id.clone()],
        required_claims: provider.required_claims.clone().into_iter().collect(),
        username: mapping(&provider.username_claim, &provider.username_prefix),
        groups: mapping(&provider.groups_claim, &provider.groups_prefix),
        ..JwtAuthenticator::default()
    }
}

/// Whom the server believes about others, and who it is when it says such things itself.
fn front_proxy_of(world: &World, authority: &Authority) -> Result<apiserver::FrontProxy, String> {
    let purpose = Purpose::Client { user: FRONT_PROXY_CLIENT.to_owned(), group: None };
    let identity = authority.issue(world, &purpose).map_err(|error| error.to_string())?;
    let certificate =
        apiserver::ClientCertificate { chain: vec![identity.certificate], key: Arc::new(identity.key.to_der()) };
    let proxy = apiserver::FrontProxy::new(vec![authority.certificate().clone()], &[FRONT_PROXY_CLIENT]);
    Ok(apiserver::FrontProxy { certificate: Some(certificate), ..proxy })
}

/// The server's identity, good for every name that clients use.
fn tls(
    world: &World,
    authority: &Authority,
    front_proxy: Option<&Authority>,
    address: IpAddr,
    service_cidr: ServiceCidr,
) -> Result<Tls, String> {
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
    let authorities = std::iter::once(authority).chain(front_proxy);
    let clients = Clients::MayShow(authorities.map(|authority| authority.certificate().clone()).collect());
    Ok(Tls { chain: vec![identity.certificate], key: identity.key.to_der(), clients })
}
