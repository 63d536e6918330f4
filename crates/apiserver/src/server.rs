//! An API server from options to handle.

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_auth::{Issuer, PrivateKey};
use k8s_client::{Api, Client, Identity};
use k8s_object::{ApiError, GroupVersionResource, UserInfo};
use store::{Compare, Keyspace};
use world::{Tasks, World};

use crate::admission::{Admission, Charging, keep_policy_status};
use crate::aggregation::{self, Aggregator};
use crate::audit::Audit;
use crate::auth::{Auth, Authentication, JwtAuthenticator, Mode, account_secrets, last_used, published, reconcile};
use crate::core::{Core, InProcess};
use crate::duties::{Duties, Duty, begin};
use crate::encryption::{Encryption, EncryptionConfig};
use crate::feed::Feed;
use crate::flow::{self, Flow};
use crate::horizon::Horizon;
use crate::http::{ApiHandler, Documents, Kept, is_ready};
use crate::leases::EventLeases;
use crate::metrics::Metrics;
use crate::network::{ServiceCidr, ServiceNetwork};
use crate::ports::{Authorizer, TokenAuthenticator};
use crate::proxy::Kubelets;
use crate::registry::Registry;
use crate::webhook::Dialer;
use crate::{bootstrap, crd, defaults, horizon, server_lease};

/// What a cluster's API server is made of.
pub struct Options {
    pub world: World,
    /// Where its objects live; nothing else writes there.
    pub keyspace: Keyspace,
    /// The minor of Kubernetes 1.x that it serves.
    pub minor: u8,
    /// The build that `/version` names, e.g. `v1.35.2-eks-4d696e6`.
    pub git_version: String,
    /// What its own host is called: a DNS name that is a label's value too. Servers of one store that share it share a Lease.
    pub host: String,
    /// Issues and verifies ServiceAccount tokens.
    pub issuer: Issuer,
    /// Asked for the user behind a bearer token, in this order, before ServiceAccount tokens are looked at.
    pub token_authenticators: Vec<Arc<dyn TokenAuthenticator>>,
    /// Asked whether a request is allowed, in this order, before the Node authorizer and RBAC.
    pub authorizers: Vec<Arc<dyn Authorizer>>,
    /// How clients are known, beside the authenticators above.
    pub authentication: Authentication,
    /// Who decides after the authorizers above, in this order.
    pub authorization: Vec<Mode>,
    /// How it shows itself to kubelets.
    pub kubelets: Kubelets,
    /// Nothing is recorded when absent.
    pub audit: Option<Audit>,
    /// Where Services get their addresses.
    pub service_cidr: ServiceCidr,
    /// Where clients reach the server, if that is known and not a loopback address: the endpoint of Service `kubernetes`.
    pub endpoint: Option<SocketAddr>,
    /// How it reaches webhooks and other servers; without one, calls to them fail.
    pub dialer: Option<Arc<dyn Dialer>>,
    /// What the store may hold only encrypted; everything as it is when absent.
    pub encryption: Option<Arc<EncryptionConfig>>,
}

impl Options {
    /// A server that stands alone, of a cluster that nobody configured: who is in `system:masters` or has a role may do something, and
    /// it calls nobody.
    pub fn alone(world: &World, keyspace: Keyspace) -> Options {
        Options {
            world: world.clone(),
            keyspace,
            minor: 34,
            git_version: "v1.34.4-eks-4d696e6".to_owned(),
            host: "apiserver".to_owned(),
            issuer: Issuer::new(
                PrivateKey::generate(world),
                "https://oidc.example",
                &["https://kubernetes.default.svc"],
            ),
            token_authenticators: Vec::new(),
            authorizers: Vec::new(),
            authentication: Authentication::default(),
            authorization: Mode::usual(),
            kubelets: Kubelets::default(),
            audit: None,
            service_cidr: ServiceCidr::default(),
            endpoint: None,
            dialer: None,
            encryption: None,
        }
    }
}

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("the API server cannot {action}: {source}")]
pub struct StartError {
    /// What it was about to do.
    pub action: &'static str,
    pub source: ApiError,
}

/// A running API server. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    core: Arc<Core>,
    api: Arc<InProcess>,
}

impl ApiServer {
    /// Loads what is stored, creates what every cluster has, and keeps the caches current in `tasks`.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn start(options: Options, tasks: &Tasks) -> Result<ApiServer, StartError> {
        let encryption = Arc::new(Encryption::new(&options.world, options.encryption));
        let error = |action| move |source| StartError { action, source };
        let auth = Auth::new(
            options.issuer,
            options.token_authenticators,
            options.authorizers,
            options.authentication,
            options.authorization,
        );
        let auth = auth.map_err(error("use its authorities"))?;
        let core = Arc::new_cyclic(|me| Core {
            me: me.clone(),
            flow: Flow::new(&options.world, tasks),
            metrics: Metrics::default(),
            began: options.world.elapsed(),
            world: options.world,
            keyspace: options.keyspace.clone(),
            minor: options.minor,
            git_version: options.git_version,
            host: options.host,
            endpoint: options.endpoint,
            registry: Registry::new(options.minor),
            feed: Feed::new(options.keyspace, encryption.clone()),
            encryption,
            auth,
            audit: options.audit,
            network: ServiceNetwork::new(options.service_cidr),
            event_leases: EventLeases::default(),
            documents: Documents::default(),
            lists: Kept::default(),
            horizon: Horizon::default(),
            admission: Admission::default(),
            charging: Charging::default(),
            dialer: options.dialer,
            kubelets: options.kubelets,
            aggregator: Aggregator::default(),
            tasks: tasks.clone(),
            stop: tasks.stop(),
            duties: Duties::default(),
        });
        core.feed.load(core.as_ref()).await.map_err(error("load its objects"))?;
        bootstrap::run(&core).await.map_err(error("create what every cluster has"))?;
        reconcile::run(&core).await.map_err(error("bring its default roles up to date"))?;
        published::run(&core).await.map_err(error("publish whom it trusts"))?;
        last_used::run(&core).await.map_err(error("write down since when tokens are tracked"))?;
        begin(&core, tasks, Duty::WatchCache, |core| async move { core.feed.run(core.as_ref(), &core.world).await });
        begin(&core, tasks, Duty::Horizon, |core| async move { horizon::run(&core).await });
        begin(&core, tasks, Duty::Definitions, crd::control);
        begin(&core, tasks, Duty::Defaults, defaults::keep);
        begin(&core, tasks, Duty::FlowSchemaStatus, flow::keep_status);
        begin(&core, tasks, Duty::PolicyTypes, keep_policy_status);
        begin(&core, tasks, Duty::AccountSecrets, account_secrets::run);
        begin(&core, tasks, Duty::ApiServices, aggregation::register);
        begin(&core, tasks, Duty::Availability, aggregation::check_availability);
        begin(&core, tasks, Duty::Discovery, aggregation::keep_discovery);
        begin(&core, tasks, Duty::Documents, aggregation::keep_documents);
        begin(&core, tasks, Duty::Lease, server_lease::keep);
        let api = Arc::new(InProcess { core: core.clone(), space: core.keyspace.clone() });
        Ok(ApiServer { core, api })
    }

    /// The same server for clients in this process that may write only while `guard` holds: an election that they have won. See
    /// [`Keyspace::guarded`]. Its [`ApiServer::handler`] is not guarded.
    #[must_use]
    pub fn guarded(&self, guard: Compare) -> ApiServer {
        let space = self.api.space.guarded(guard);
        ApiServer { core: self.core.clone(), api: Arc::new(InProcess { core: self.core.clone(), space }) }
    }

    /// The port for components in the same process.
    pub fn api(&self) -> Arc<dyn Api> {
        self.api.clone()
    }

    /// A client in the same process.
    pub fn client(&self, user: UserInfo, agent: &str) -> Client {
        Client::new(self.api(), Identity::Fixed(Arc::new(user)), agent)
    }

    /// Answers requests over HTTP; connections are [`serve`]'s.
    pub fn handler(&self) -> Arc<dyn serve::Handler> {
        Arc::new(ApiHandler(self.core.clone()))
    }

    /// Whether `/readyz` says ok.
    pub fn is_ready(&self) -> bool {
        is_ready(&self.core)
    }

    /// The minor of Kubernetes 1.x that is served.
    pub fn minor(&self) -> u8 {
        self.core.minor
    }

    /// What issues ServiceAccount tokens, whose public keys IAM needs.
    pub fn issuer(&self) -> &Issuer {
        self.core.auth.issuer()
    }

    /// The user that a bearer token stands for, as a request with it would have.
    ///
    /// # Errors
    /// 401 for a token that is not valid.
    pub async fn authenticate(&self, token: &str) -> Result<UserInfo, ApiError> {
        Ok(self.core.auth.by_token(&self.core, token).await?.user)
    }

    /// From now on takes tokens of these issuers and of no others.
    ///
    /// # Errors
    /// If an expression does not compile; nothing changes then.
    pub fn use_issuers(&self, jwt: &[JwtAuthenticator]) -> Result<(), ApiError> {
        self.core.auth.use_issuers(jwt)
    }

    /// From now on writes and reads what it stores by another configuration, which must be able to read what the one of before
    /// wrote. What is stored already stays as it is until it is written again.
    pub fn use_encryption(&self, config: Arc<EncryptionConfig>) {
        self.core.encryption.replace(config);
    }

    /// The revision at which an object was last written, after all writes that were acknowledged so far; `None` where there is no such
    /// object. It tells nothing else of the object, so nobody has to be allowed to read it: for those who remember what they made of
    /// it.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn resource_version(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<String>, ApiError> {
        self.core.refresh().await?;
        let object = self.core.lookup(&resource.group, &resource.resource, namespace, name);
        Ok(object.map(|object| object.meta().resource_version.clone()))
    }

    /// How many objects of a resource there are; `None` for one that is not served.
    pub fn count(&self, group: &str, plural: &str) -> Option<usize> {
        self.core.registry.cache(group, plural).map(|cache| cache.len())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use store::Store;

    use super::*;

    #[test]
    fn health_checks_miss_a_duty_that_has_ended() {
        let (world, mut simulation) = World::simulated(1);
        simulation.block_on(async move {
            let store = Store::memory(&world, store::Limits::default());
            let tasks = world.tasks("apiserver");
            let server = ApiServer::start(Options::alone(&world, store.keyspace("cluster/")), &tasks).await.unwrap();
            assert!(server.is_ready());
            begin(&server.core, &tasks, Duty::Documents, |_| async {});
            world.sleep(std::time::Duration::from_millis(1)).await;
            assert!(!server.is_ready());
            let peer = serve::Peer { address: ([192, 0, 2, 7], 4711).into(), certificates: Vec::new(), tls: false };
            let request = ::http::Request::get("/livez").body(serve::empty()).unwrap();
            let answer = server.handler().handle(&Arc::new(peer), request).await;
            assert_eq!(answer.status(), 500);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8_lossy(&body);
            let failed: Vec<&str> = text.lines().filter(|line| line.starts_with("[-]")).collect();
            let expected = ["openapi", "openapiv3"]
                .map(|what| format!("[-]poststarthook/apiservice-{what}-controller failed: reason withheld"));
            assert_eq!(failed, expected);
        });
    }
}
