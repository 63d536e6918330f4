//! One AWS account and region with its clusters. Wiring only: what AWS services and Kubernetes components need of each other
//! meets here, through the ports that each side declares.
//!
//! | meeting point | port of | here |
//! |---|---|---|
//! | start and stop a control plane | `cloud_eks::ControlPlanes` | [`planes`], [`serving`], [`control_plane`] |
//! | who is this IAM token | `apiserver::TokenAuthenticator` | [`identity`] |
//! | what do access policies allow | `apiserver::Authorizer` | [`identity`] |
//! | a node for this instance | `cloud_ec2::InstanceWatch`, `kubelet::Host` | [`nodes`], [`node_bootstrap`] |
//! | keys that Secrets are encrypted with | `apiserver::Kms` | [`kms`] |
//! | the AWS endpoint | `serve::Handler` | [`front`], [`credentials`] |
//! | what one process of several does | | [`lead`], [`components`] |
//!
//! Several processes may be the same region on one store: each is a [`Region`], and each answers everything.

mod admin;
mod audit;
mod cloud_provider;
mod components;
mod control_plane;
mod credentials;
mod front;
mod identity;
mod kms;
mod known_tokens;
mod lead;
mod marker;
mod node_bootstrap;
mod nodes;
mod past;
mod planes;
mod processes;
mod restore;
mod serving;
mod settle;
mod snapshot;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloud_ec2::Ec2;
use cloud_eks::{Eks, EksParts};
use cloud_iam::{CallContext, Caller, Iam, Sts};
use cloud_wire::{AwsError, Name, Service};
use k8s_client::Client;
use k8s_object::UserInfo;
use serde_json::Value;
use store::{Keyspace, Store};
use world::{Tasks, World};

use control_plane::ControlPlane;
use known_tokens::KnownTokens;
use lead::Lead;
use planes::Planes;

pub use apiserver::{Dialer, Sockets};
pub use marker::{Marker, marker};

/// Name of the account's first administrator.
const ADMINISTRATOR: &str = "admin";
/// Where the records of EKS are in the store.
const EKS: &str = "/aws/eks/";
/// The name under which a region without sockets is reached.
const NO_ADDRESS: &str = "minato.internal";

/// How long life cycles take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the machine.
    Instant,
    /// The minutes that AWS takes.
    Real,
}

impl Pace {
    fn ec2(self) -> cloud_ec2::Pace {
        match self {
            Pace::Instant => cloud_ec2::Pace::INSTANT,
            Pace::Real => cloud_ec2::Pace::REAL,
        }
    }

    fn eks(self) -> cloud_eks::Pace {
        match self {
            Pace::Instant => cloud_eks::Pace::INSTANT,
            Pace::Real => cloud_eks::Pace::REAL,
        }
    }
}

/// What a region is made of.
pub struct Options {
    pub world: World,
    /// Where everything is kept that a region knows. It is the caller's: whoever opened it shuts it down after the region.
    pub store: Store,
    /// Where the AWS endpoint listens. Without one the region has no sockets at all, for simulated worlds.
    pub listener: Option<TcpListener>,
    /// Where the API servers of clusters listen, each on a free port.
    pub address: IpAddr,
    /// E.g. `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    pub pace: Pace,
    /// Where the API servers of clusters record requests, a file per cluster; nowhere when absent.
    pub audit_folder: Option<PathBuf>,
    /// How API servers reach what is outside of the region: webhooks, issuers of tokens, aggregated servers. Without it they reach
    /// nothing.
    pub outside: Option<Arc<dyn Dialer>>,
}

/// The region cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0:?} is not an AWS account: it has twelve digits")]
    Account(String),
    #[error("{0:?} is not an AWS region such as us-east-1")]
    Region(String),
    #[error("the store cannot be used: {0}")]
    Store(String),
    #[error(
        "the store holds region {} of account {}, not {wanted_region} of {wanted_account}: start that one, or use another store",
        found.region, found.account
    )]
    OtherRegion { found: Box<Marker>, wanted_account: String, wanted_region: String },
    #[error(transparent)]
    Serve(#[from] serve::ServeError),
    #[error("the AWS endpoint has no address: {0}")]
    Address(#[source] std::io::Error),
}

/// Keys of the account's first administrator.
#[derive(Clone)]
pub struct Administrator {
    pub access_key_id: String,
    pub secret_access_key: String,
    caller: Caller,
}

/// A running region. It stops when [`Region::shutdown`] is called.
pub struct Region(Arc<Inner>);

pub(crate) struct Inner {
    world: World,
    region: String,
    account: String,
    pace: Pace,
    audit_folder: Option<PathBuf>,
    outside: Option<Arc<dyn Dialer>>,
    /// `http://127.0.0.1:4566`.
    endpoint: String,
    address: IpAddr,
    /// Whether clusters get sockets.
    sockets: bool,
    store: Store,
    keys: kms::Keys,
    iam: Iam,
    sts: Sts,
    ec2: Ec2,
    eks: Eks,
    administrator: Administrator,
    /// Who the kubelets of nodes are.
    known_nodes: KnownTokens,
    /// The control planes that run in this process.
    clusters: Mutex<BTreeMap<String, Arc<ControlPlane>>>,
    /// Whose turn it is to start or stop a control plane.
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Clusters whose control plane could not be started or stopped and is tried again.
    retrying: Mutex<BTreeSet<String>>,
    /// While this process leads.
    lead: Mutex<Option<Arc<Lead>>>,
    tasks: Tasks,
}

impl Region {
    /// Starts the region that the store holds, as it was when it ended, however it did. On an empty store that is an account with
    /// an administrator, the default VPC, and no clusters.
    ///
    /// # Errors
    /// An account or region that cannot be or is not the store's, or an address that cannot be used.
    pub async fn start(options: Options) -> Result<Region, StartError> {
        check(&options)?;
        let Options { world, store, listener, address, region, account, pace, audit_folder, outside } = options;
        let endpoint = match &listener {
            Some(listener) => format!("http://{}", listener.local_addr().map_err(StartError::Address)?),
            None => format!("http://{NO_ADDRESS}"),
        };
        let tasks = world.tasks("region");
        let port = listener.as_ref().map(TcpListener::local_addr).transpose().map_err(StartError::Address)?;
        marker::claim(&store, &account, &region, port.map(|address| address.port())).await?;
        let failed = |error: &dyn std::fmt::Display| StartError::Store(error.to_string());
        let iam = Iam::new(&world, store.keyspace("/aws/iam/"), &account);
        let access = iam.bootstrap(ADMINISTRATOR).await.map_err(|error| failed(&error))?;
        let credential = iam.lookup(&access.key.id).await.map_err(|error| failed(&error))?;
        let credential = credential.ok_or_else(|| failed(&"the administrator has no key"))?;
        let administrator = Administrator {
            access_key_id: access.key.id.clone(),
            secret_access_key: credential.secret,
            caller: credential.caller,
        };
        let ec2 = Ec2::new(&world, store.keyspace("/aws/ec2/"), iam.clone(), &region, pace.ec2());
        ec2.bootstrap().await.map_err(|error| failed(&error))?;
        let planes = Arc::new(Planes::default());
        let eks = Eks::new(EksParts {
            world: world.clone(),
            space: store.keyspace(EKS),
            iam: iam.clone(),
            ec2: ec2.clone(),
            planes: planes.clone(),
            pace: pace.eks(),
            tasks: tasks.clone(),
        });
        let inner = Arc::new(Inner {
            sts: Sts::new(iam.clone()),
            sockets: listener.is_some(),
            clusters: Mutex::default(),
            turns: Mutex::default(),
            retrying: Mutex::default(),
            lead: Mutex::default(),
            tasks: tasks.clone(),
            region,
            account,
            pace,
            audit_folder,
            outside,
            keys: kms::Keys::new(&world, &store),
            known_nodes: KnownTokens::new(&store, kubelet::MAX_NODES),
            endpoint,
            world,
            address,
            store,
            iam,
            ec2,
            eks,
            administrator,
        });
        planes.connect(&inner, None);
        processes::run(&inner);
        serving::run(&inner);
        lead::run(&inner);
        if let Some(listener) = listener {
            let handler = Arc::new(front::Front(inner.clone()));
            serve::start(listener, handler, serve::Options::default(), &tasks)?;
        }
        Ok(Region(inner))
    }

    /// Where AWS clients reach it.
    pub fn endpoint(&self) -> String {
        self.0.endpoint.clone()
    }

    /// Keys that may do everything.
    pub fn administrator(&self) -> Administrator {
        self.0.administrator.clone()
    }

    /// What is stored, every revision of it.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Calls an operation in the process, as the administrator: the same path as a request, without the socket. `service` is the
    /// name in credential scopes.
    ///
    /// # Errors
    /// Those of the operation.
    pub async fn call_as_administrator(
        &self,
        service: &str,
        operation: &str,
        input: &Value,
    ) -> Result<Value, AwsError> {
        let name = Name::from_signing(service).ok_or_else(|| AwsError::not_supported(service, operation))?;
        let model = Service::get(name);
        let known = model.operation(operation).ok_or_else(|| AwsError::not_supported(service, operation))?;
        model.validate(known, input).map_err(|error| error.to_aws(model))?;
        self.0.dispatch(name, &self.0.context(self.0.administrator.caller.clone()), operation, input).await
    }

    /// Brings a cluster back to a point in its past, as the administrator: the request of `POST /_minato/restore` without the socket.
    ///
    /// # Errors
    /// AWS's: a moment that is not retained, a cluster that was not there or is busy, a name that is taken.
    pub async fn restore_cluster(&self, request: &Value) -> Result<Value, AwsError> {
        restore::handle(&self.0, request.to_string().as_bytes()).await
    }

    /// A client of a cluster's API server in the process, as any user; `None` for a cluster that does not run.
    pub fn kubernetes(&self, cluster: &str, user: UserInfo) -> Option<Client> {
        Some(self.0.control_plane(cluster)?.client_as(user, "minato"))
    }

    /// Stops accepting requests, finishes those in flight until `deadline`, and returns the names of what did not end by then.
    pub async fn shutdown(&self, deadline: Duration) -> Vec<&'static str> {
        // The AWS side first, so that it starts nothing on the clusters that stop after it.
        let mut aborted = self.0.tasks.shutdown(deadline).await;
        let clusters = std::mem::take(&mut *self.0.clusters());
        for cluster in clusters.into_values() {
            aborted.extend(cluster.stop(deadline).await);
        }
        aborted
    }

    /// Ends at once, as a process that is killed does: nothing is finished, nobody is told. For tests of what a restart finds.
    pub fn abort(&self) {
        self.0.tasks.abort();
        if let Some(lead) = self.0.lead_slot().take() {
            lead.abort();
        }
        let clusters = std::mem::take(&mut *self.0.clusters());
        clusters.into_values().for_each(|cluster| cluster.abort());
    }
}

impl Inner {
    fn clusters(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ControlPlane>>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All control planes that run in this process.
    pub(crate) fn control_planes(&self) -> Vec<Arc<ControlPlane>> {
        self.clusters().values().cloned().collect()
    }

    fn lead_slot(&self) -> MutexGuard<'_, Option<Arc<Lead>>> {
        self.lead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this process does as the leader, if it is.
    pub(crate) fn lead(&self) -> Option<Arc<Lead>> {
        self.lead_slot().clone()
    }

    /// Where the records of EKS are.
    pub(crate) fn eks_space(&self) -> Keyspace {
        self.store.keyspace(EKS)
    }

    /// A running control plane.
    pub(crate) fn control_plane(&self, cluster: &str) -> Option<Arc<ControlPlane>> {
        self.clusters().get(cluster).cloned()
    }

    /// A call that starts in the process.
    pub(crate) fn context(&self, caller: Caller) -> CallContext {
        CallContext {
            account: self.account.clone(),
            region: self.region.clone(),
            caller,
            request_id: self.world.uuid(),
            source_ip: "127.0.0.1".to_owned(),
            now: self.world.now(),
        }
    }

    /// Passes a verified call on to its service.
    pub(crate) async fn dispatch(
        &self,
        name: Name,
        context: &CallContext,
        operation: &str,
        input: &Value,
    ) -> Result<Value, AwsError> {
        match name {
            Name::Ec2 => self.ec2.call(context, operation, input).await,
            Name::Eks => settle::call(self, context, operation, input).await,
            Name::Iam => self.iam.call(context, operation, input).await,
            Name::Sts => self.sts.call(context, operation, input).await,
        }
    }
}

/// Names of the operations of a service that have a handler.
pub fn operations(service: Name) -> BTreeSet<&'static str> {
    match service {
        Name::Ec2 => Ec2::operations().iter().map(|operation| operation.name).collect(),
        Name::Eks => Eks::operations().iter().map(|operation| operation.name).collect(),
        Name::Iam => Iam::operations().iter().map(|operation| operation.name).collect(),
        Name::Sts => Sts::operations().iter().map(|operation| operation.name).collect(),
    }
}

fn check(options: &Options) -> Result<(), StartError> {
    let account = &options.account;
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(StartError::Account(account.clone()));
    }
    let region = &options.region;
    let parts: Vec<&str> = region.split('-').collect();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let valid = parts.len() >= 3
        && parts[..parts.len() - 1].iter().all(word)
        && parts[parts.len() - 1].parse::<u8>().is_ok_and(|number| number > 0);
    if !valid {
        return Err(StartError::Region(region.clone()));
    }
    Ok(())
}
