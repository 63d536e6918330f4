//! One component's way to an API server.

use std::sync::Arc;

use k8s_object::{ApiError, GroupVersionResource, Object, UserInfo};
use serde_json::Value;
use world::BoxFuture;

use crate::request::{Body, Options, PatchType, Preconditions, Reply, Request, Verb};

/// An API server in the same process.
pub trait Api: Send + Sync {
    /// Carries out one request as `user`, through authorization, admission and audit.
    fn call<'a>(
        &'a self,
        user: &'a Arc<UserInfo>,
        agent: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, ApiError>>;

    /// Starts a watch as `user`. `request.verb` is [`Verb::Watch`]; `options.resource_version` says from where: changes after
    /// that version, or, when absent or `0`, first an `Added` for everything there is.
    /// Fails with [`k8s_object::Reason::Expired`] where history does not reach back so far.
    fn watch<'a>(
        &'a self,
        user: &'a Arc<UserInfo>,
        agent: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Watch, ApiError>>;
}

/// One change to what is watched.
#[derive(Debug, Clone)]
pub enum WatchEvent {
    Added(Arc<Object>),
    Modified(Arc<Object>),
    /// The last state of the object, with the resourceVersion of its deletion.
    Deleted(Arc<Object>),
    /// Nothing else happened up to this resourceVersion.
    Bookmark(String),
}

/// Where the events of a [`Watch`] come from.
pub trait WatchSource: Send {
    /// The next events in order, at least one. An error ends the watch: `Expired` when the reader was too slow.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<WatchEvent>, ApiError>>;
}

/// A running watch; dropping it ends it.
pub struct Watch(pub Box<dyn WatchSource>);

impl Watch {
    /// See [`WatchSource::next`].
    pub async fn next(&mut self) -> Result<Vec<WatchEvent>, ApiError> {
        self.0.next().await
    }
}

/// Who a client is.
#[derive(Clone)]
pub enum Identity {
    /// Always the same user.
    Fixed(Arc<UserInfo>),
    /// Asked at every request, as a token plugin is: a node's IAM role may lose its access entry at any time.
    Provider(Arc<dyn Fn() -> BoxFuture<'static, Result<Arc<UserInfo>, ApiError>> + Send + Sync>),
}

/// One component's way to an API server: the port, who the component is, and its user agent. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    api: Arc<dyn Api>,
    identity: Identity,
    agent: Arc<str>,
}

impl Client {
    /// A client of `api` that is `identity` and calls itself `agent`.
    pub fn new(api: Arc<dyn Api>, identity: Identity, agent: &str) -> Client {
        Client { api, identity, agent: agent.into() }
    }

    /// The same server as another user.
    pub fn as_user(&self, user: UserInfo, agent: &str) -> Client {
        Client::new(self.api.clone(), Identity::Fixed(Arc::new(user)), agent)
    }

    /// The same server under an identity.
    pub fn with_identity(&self, identity: Identity, agent: &str) -> Client {
        Client::new(self.api.clone(), identity, agent)
    }

    async fn user(&self) -> Result<Arc<UserInfo>, ApiError> {
        match &self.identity {
            Identity::Fixed(user) => Ok(user.clone()),
            Identity::Provider(provider) => provider().await,
        }
    }

    /// Carries out a request.
    pub async fn call(&self, request: Request) -> Result<Reply, ApiError> {
        let user = self.user().await?;
        self.api.call(&user, &self.agent, request).await
    }

    /// Starts a watch of a resource in all namespaces; see [`Api::watch`].
    pub async fn watch(&self, resource: &GroupVersionResource, options: Options) -> Result<Watch, ApiError> {
        let user = self.user().await?;
        let request = Request { options, ..request(Verb::Watch, resource, "", "", "") };
        self.api.watch(&user, &self.agent, request).await
    }

    /// One object.
    pub async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Object>, ApiError> {
        object(self.call(request(Verb::Get, resource, namespace, name, "")).await?)
    }

    /// A subresource that can be read, e.g. `deployments/scale`.
    pub async fn get_subresource(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
    ) -> Result<Arc<Object>, ApiError> {
        object(self.call(request(Verb::Get, resource, namespace, name, subresource)).await?)
    }

    /// All objects, of all namespaces when `namespace` is empty, and the resourceVersion of the list.
    pub async fn list(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
    ) -> Result<(Vec<Arc<Object>>, String), ApiError> {
        self.list_with(resource, namespace, Options::default()).await
    }

    /// The objects that `options` select.
    pub async fn list_with(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        options: Options,
    ) -> Result<(Vec<Arc<Object>>, String), ApiError> {
        let request = Request { options, ..request(Verb::List, resource, namespace, "", "") };
        match self.call(request).await? {
            Reply::List { items, resource_version, .. } => Ok((items.to_vec(), resource_version)),
            Reply::Object(_) | Reply::Value(_) => Err(ApiError::internal("a list was answered with something else")),
        }
    }

    /// Creates an object.
    pub async fn create(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        body: Value,
    ) -> Result<Arc<Object>, ApiError> {
        let request = Request { body: Body::Json(body), ..request(Verb::Create, resource, namespace, "", "") };
        object(self.call(request).await?)
    }

    /// Posts to a subresource, e.g. `pods/binding` or `serviceaccounts/token`.
    pub async fn create_subresource(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: Value,
    ) -> Result<Reply, ApiError> {
        let request =
            Request { body: Body::Json(body), ..request(Verb::Create, resource, namespace, name, subresource) };
        self.call(request).await
    }

    /// Replaces an object; `metadata.resourceVersion` in the body makes it conditional.
    pub async fn update(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: Value,
    ) -> Result<Arc<Object>, ApiError> {
        let request =
            Request { body: Body::Json(body), ..request(Verb::Update, resource, namespace, name, subresource) };
        object(self.call(request).await?)
    }

    /// Patches an object or a subresource of it; `metadata.resourceVersion` in a merge patch makes it conditional.
    pub async fn patch(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch: PatchType,
        body: Value,
    ) -> Result<Arc<Object>, ApiError> {
        let request = Request {
            body: Body::Json(body),
            patch: Some(patch),
            ..request(Verb::Patch, resource, namespace, name, subresource)
        };
        object(self.call(request).await?)
    }

    /// Deletes an object if `preconditions` hold.
    pub async fn delete(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        preconditions: Preconditions,
    ) -> Result<(), ApiError> {
        let options = Options { preconditions, ..Options::default() };
        self.delete_with(resource, namespace, name, options).await
    }

    /// Deletes an object as `options` say.
    pub async fn delete_with(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        options: Options,
    ) -> Result<(), ApiError> {
        let request = Request { options, ..request(Verb::Delete, resource, namespace, name, "") };
        self.call(request).await.map(drop)
    }
}

fn request(verb: Verb, resource: &GroupVersionResource, namespace: &str, name: &str, subresource: &str) -> Request {
    Request {
        verb,
        resource: resource.clone(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        body: Body::None,
        patch: None,
        options: Options::default(),
    }
}

fn object(reply: Reply) -> Result<Arc<Object>, ApiError> {
    match reply {
        Reply::Object(object) => Ok(object),
        Reply::Value(value) => Object::from_value(&value).map(Arc::new).map_err(ApiError::internal),
        Reply::List { .. } => Err(ApiError::internal("a request for one object was answered with a list")),
    }
}
