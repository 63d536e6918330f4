//! One cluster's API server without its sockets: the state, and the one path that every request takes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use k8s_auth::Attributes;
use k8s_client::{Api, Body, Reply, Request, Verb, Watch};
use k8s_object::{ApiError, FieldSelector, LabelSelector, NamespacedName, Object, Reason, UserInfo};
use serde_json::Value;
use store::{Keyspace, Revision};
use world::{BoxFuture, Tasks, Timestamp, World};

use crate::admission::{Admission, Answers, Charging, Said};
use crate::aggregation::Aggregator;
use crate::audit::{Audit, AuditStage, Record};
use crate::auth::Auth;
use crate::crd;
use crate::duties::Duties;
use crate::encryption::Encryption;
use crate::feed::{Feed, Target};
use crate::flow::{self, Flow};
use crate::horizon::Horizon;
use crate::leases::EventLeases;
use crate::metrics::Metrics;
use crate::network::ServiceNetwork;
use crate::ports::Decision;
use crate::proxy::Kubelets;
use crate::registry::{Entry, Registry, Resource, Served, Strategy};
use crate::schema::FieldValidation;
use crate::webhook::Dialer;
use crate::{
    aggregation, counted, create, delete, http, managed, read, storage, subresources, update, virtuals, watch,
};

/// Bytes of a request's body (apiserver `MaxRequestBodyBytes`).
pub(crate) const MAX_REQUEST_BYTES: usize = 3 << 20;
/// Bytes of a stored object (etcd's request limit, less the room for its key).
pub(crate) const MAX_OBJECT_BYTES: usize = (1 << 20) + (512 << 10) - 1024;
/// How long a list waits for a revision that is still to come (apiserver `blockTimeout`).
const FUTURE_REVISION_WAIT: Duration = Duration::from_secs(3);

pub(crate) struct Core {
    /// Itself, for what outlives a call.
    pub me: Weak<Core>,
    pub world: World,
    pub keyspace: Keyspace,
    pub minor: u8,
    pub git_version: String,
    /// What its own host is called.
    pub host: String,
    /// Where clients reach it.
    pub endpoint: Option<std::net::SocketAddr>,
    pub registry: Registry,
    pub feed: Feed,
    pub auth: Auth,
    pub audit: Option<Audit>,
    pub network: ServiceNetwork,
    pub event_leases: EventLeases,
    pub documents: http::Documents,
    pub lists: http::Kept,
    pub encryption: Arc<Encryption>,
    pub horizon: Horizon,
    pub admission: Admission,
    pub charging: Charging,
    /// How it reaches others; none where it cannot.
    pub dialer: Option<Arc<dyn Dialer>>,
    pub kubelets: Kubelets,
    pub aggregator: Aggregator,
    /// For what outlives a request: an upgraded connection.
    pub tasks: Tasks,
    pub stop: world::Stop,
    pub duties: Duties,
    pub flow: Arc<Flow>,
    pub metrics: Metrics,
    /// When the server began, of [`World::elapsed`].
    pub began: Duration,
}

/// What one request is about while it is carried out.
pub(crate) struct Call<'a> {
    pub core: &'a Core,
    /// Where it writes, with what guards the writes of this client.
    pub space: &'a Keyspace,
    pub user: &'a Arc<UserInfo>,
    /// What the client calls itself (`User-Agent`).
    pub agent: &'a str,
    /// What is recorded of it.
    pub audit: &'a Record,
    pub entry: Entry,
    pub resource: Arc<Resource>,
    /// The request without its body.
    pub request: Request,
    pub now: Timestamp,
    /// For the client, in `Warning` headers.
    pub warnings: Vec<String>,
    /// For the audit event: what admission notes, as key and value.
    pub annotations: Vec<(String, String)>,
    /// What the request wants has been admitted as a kind of its own: the write behind it is not admitted again.
    pub admitted: bool,
    pub aside: Aside,
}

/// What a write finds out on its way for who comes later.
#[derive(Default)]
pub(crate) struct Aside {
    /// To create is another right than the one that the user was asked for; it is looked at once the object is judged.
    pub asks_to_create: bool,
    /// The object is still to be deleted, and the client asked in the way that wants to know.
    pub deletes_later: bool,
    /// A delete has removed the object.
    pub removed: bool,
    /// Owners of fields, as text, for those who admit objects; absent where nobody does.
    pub owners: Option<ShownOwners>,
    /// What authorizers have said to the expressions of those who admit objects.
    pub answers: Answers,
}

/// The owners of the fields of an object that is written, and of the one before.
pub(crate) struct ShownOwners {
    pub new: Option<String>,
    pub old: Option<String>,
}

/// How a request ended well.
pub(crate) struct Outcome {
    pub reply: Reply,
    pub warnings: Vec<String>,
    /// The status of the answer: 200, 201 or 202.
    pub code: u16,
}

impl Core {
    /// Refuses what the user may not do.
    pub(crate) async fn authorize(&self, user: &UserInfo, request: &Request) -> Result<(), ApiError> {
        self.check(user, &Record::NONE, request).await
    }

    /// As [`Core::authorize`], recorded.
    pub(crate) async fn check(&self, user: &UserInfo, audit: &Record, request: &Request) -> Result<(), ApiError> {
        self.check_as(user, audit, request, request.verb.as_str()).await
    }

    /// As [`Core::check`], with a verb that is not the request's.
    pub(crate) async fn check_as(
        &self,
        user: &UserInfo,
        audit: &Record,
        request: &Request,
        verb: &str,
    ) -> Result<(), ApiError> {
        // A namespace is in itself, so that roles in it can grant reading it (apiserver `RequestInfo`).
        let itself = request.resource.group.is_empty() && request.resource.resource == "namespaces";
        let namespace = if itself { &request.name } else { &request.namespace };
        let many = matches!(request.verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
        let text = |text: &Option<String>| text.clone().filter(|text| many && !text.is_empty());
        // A selector that cannot be read narrows nothing; it is refused once the request is allowed.
        let fields = text(&request.options.field_selector).and_then(|text| FieldSelector::parse(&text).ok());
        let labels = text(&request.options.label_selector).filter(|_| self.auth.wants_labels());
        let labels = labels.and_then(|text| LabelSelector::parse(&text).ok());
        // To ask for all objects of one name is to ask for that object.
        let named = fields.as_ref().filter(|_| request.name.is_empty() && request.verb != Verb::DeleteCollection);
        let named = named.and_then(|fields| fields.required("metadata.name")).filter(|name| is_segment(name));
        let attributes = Attributes {
            user,
            verb,
            group: &request.resource.group,
            version: &request.resource.version,
            resource: &request.resource.resource,
            subresource: &request.subresource,
            namespace,
            name: named.unwrap_or(&request.name),
            path: "",
            field_selector: fields.as_ref(),
            label_selector: labels.as_ref(),
        };
        self.decide(&attributes, audit).await
    }

    /// As [`Core::check`], for whatever is asked.
    pub(crate) async fn decide(&self, attributes: &Attributes<'_>, audit: &Record) -> Result<(), ApiError> {
        let began = self.world.elapsed();
        let verdict = self.auth.judge(self, attributes).await;
        let (result, allowed) = match &verdict.decision {
            Decision::Allow(_) => ("allowed", true),
            _ if !verdict.error.is_empty() => ("error", false),
            Decision::Deny(_) => ("denied", false),
            Decision::NoOpinion(_) => ("no-opinion", false),
        };
        self.metrics.authorization.with(&[result]).inc();
        self.metrics.authorization_time.with(&[result]).seconds(self.world.elapsed().saturating_sub(began));
        let (Decision::Allow(reason) | Decision::Deny(reason) | Decision::NoOpinion(reason)) = &verdict.decision;
        audit.decided(allowed, reason);
        Auth::judged(attributes, verdict)
    }

    pub(crate) async fn begin<'a>(
        &'a self,
        space: &'a Keyspace,
        user: &'a Arc<UserInfo>,
        agent: &'a str,
        audit: &'a Record,
        request: Request,
    ) -> Result<Call<'a>, ApiError> {
        if wants_now(&request) {
            self.refresh().await?;
        }
        self.check(user, audit, &request).await?;
        let (entry, resource) = self.registry.find(&request.resource)?;
        check_scope(&resource, &request)?;
        let verb = request.verb.as_str();
        if request.subresource.is_empty() {
            if !resource.verbs.contains(&verb) {
                return Err(ApiError::method_not_allowed());
            }
        } else {
            let subresource = resource.subresource(&request.subresource).ok_or_else(subresources::missing)?;
            if !subresource.verbs.contains(&verb) {
                return Err(ApiError::method_not_allowed());
            }
        }
        let now = self.world.now();
        let warnings = resource.deprecation.iter().cloned().collect();
        Ok(Call {
            core: self,
            space,
            user,
            agent,
            audit,
            entry,
            resource,
            request,
            now,
            warnings,
            annotations: Vec::new(),
            admitted: false,
            aside: Aside::default(),
        })
    }

    /// Carries out a request after authentication: authorization, admission, storage. It writes through `space`, which is the
    /// server's own keyspace, guarded for some clients. What there is to record goes to `audit`; the caller says how it ended.
    pub(crate) async fn execute(
        &self,
        space: &Keyspace,
        user: &Arc<UserInfo>,
        agent: &str,
        audit: &Record,
        mut request: Request,
    ) -> Result<Outcome, ApiError> {
        let body = std::mem::take(&mut request.body);
        audit.body(&body);
        let mut call = self.begin(space, user, agent, audit, request).await?;
        let dispatched = dispatch(&mut call, body).await;
        for (key, value) in std::mem::take(&mut call.annotations) {
            audit.annotate(&key, value);
        }
        // What was said on the way is told however it ended.
        let reply = dispatched.map_err(|error| ApiError { warnings: std::mem::take(&mut call.warnings), ..error })?;
        if let Reply::List { items, .. } = &reply {
            let (group, plural) = (call.resource.group.as_str(), call.resource.plural.as_str());
            self.metrics.cache_lists.with(&[group, plural, ""]).inc();
            self.metrics.cache_lists_returned.with(&[group, plural]).add(items.len() as u64);
        }
        let created = call.request.verb == Verb::Create && call.request.subresource != "eviction";
        Ok(Outcome {
            code: if call.aside.deletes_later { 202 } else { 200 + u16::from(created) },
            reply,
            warnings: call.warnings,
        })
    }

    /// Starts a watch after authentication; `send` is `sendInitialEvents`.
    pub(crate) async fn start_watch(
        &self,
        user: &Arc<UserInfo>,
        agent: &str,
        audit: &Record,
        request: Request,
        send: Option<bool>,
    ) -> Result<watch::Cursor, ApiError> {
        let call = self.begin(&self.keyspace, user, agent, audit, request).await?;
        watch::start(&call, send).await
    }

    /// Counts changes of what is served, here and by others.
    pub(crate) fn generation(&self, served: &Served) -> u64 {
        served.generation.wrapping_add(self.aggregator.generation())
    }

    /// The newest revision that caches have.
    pub(crate) fn revision(&self) -> Revision {
        self.feed.revision()
    }

    /// Waits until caches have `revision`.
    pub(crate) async fn reach(&self, revision: Revision) {
        self.feed.reach(self, &self.world, revision).await;
    }

    /// Brings the caches up to every write that was acknowledged before, by whichever process. Costs a comparison where the
    /// store is in this process and nobody else has written.
    pub(crate) async fn refresh(&self) -> Result<(), ApiError> {
        let revision = self.keyspace.current_revision().await.map_err(storage::error)?;
        self.reach_soon(revision).await
    }

    /// Waits a little for a revision that a client names.
    pub(crate) async fn reach_soon(&self, revision: Revision) -> Result<(), ApiError> {
        if self.revision() >= revision {
            return Ok(());
        }
        if self.world.timeout(FUTURE_REVISION_WAIT, self.reach(revision)).await.is_ok() {
            return Ok(());
        }
        let message = format!("Timeout: Too large resource version: {revision}, current: {}", self.revision());
        let mut error = ApiError::new(Reason::Timeout, message);
        error.retry_after_seconds = Some(1);
        error.causes.push(k8s_object::Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        });
        Err(error)
    }

    /// An object of a built-in resource, as the caches have it.
    pub(crate) fn lookup(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.registry.cache(group, plural)?.get(&NamespacedName::new(namespace, name))
    }

    /// All objects of a built-in resource; of one namespace unless it is empty.
    pub(crate) fn lookup_all(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Object>> {
        let Some(cache) = self.registry.cache(group, plural) else { return Vec::new() };
        if namespace.is_empty() { cache.all() } else { cache.in_namespace(namespace) }
    }
}

/// Refuses what is asked for in a namespace and is in none, and the reverse. Only what lists may ask for all namespaces at once.
fn check_scope(resource: &Resource, request: &Request) -> Result<(), ApiError> {
    let lists = matches!(request.verb, Verb::List | Verb::Watch);
    match (resource.namespaced, request.namespace.is_empty()) {
        (true, false) | (false, true) => Ok(()),
        (true, true) if lists => Ok(()),
        // The path of a list is there, for lists.
        (true, true) if request.name.is_empty() && matches!(resource.strategy, Strategy::Builtin(_)) => {
            Err(ApiError::method_not_allowed())
        }
        _ => Err(ApiError::new(Reason::NotFound, "the server could not find the requested resource")),
    }
}

/// Whether a name can stand in a path (apimachinery `IsValidPathSegmentName`).
fn is_segment(name: &str) -> bool {
    !["", ".", ".."].contains(&name) && !name.contains(['/', '%'])
}

/// Whether a request must see all that was acknowledged before it: every one but reads that name the state that will do.
fn wants_now(request: &Request) -> bool {
    let names = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let options = &request.options;
    let reads = matches!(request.verb, Verb::Get | Verb::List | Verb::Watch);
    !(reads && (names(&options.resource_version) || names(&options.continue_token)))
}

impl Target for Core {
    fn apply(
        &self,
        group: &str,
        plural: &str,
        changes: Vec<(NamespacedName, Option<Arc<Object>>)>,
        revision: Revision,
    ) {
        let definitions = crd::is_definition(group, plural).then(|| changes.clone());
        if let Some(entry) = self.registry.served().entry(group, plural) {
            self.auth.changed(group, &entry.stored().kind, &changes);
            self.network.changed(group, plural, &changes);
            self.metrics.cache_events.with(&[group, plural]).add(changes.len() as u64);
            self.aggregator.changed(group, plural, &changes);
            match crd::differs(entry.stored()) {
                // What was written in another version has that one's defaults and not those of the stored one.
                true => {
                    let read = |object| crd::as_read(&entry.versions, object);
                    entry.cache.apply_stored(changes, revision, self.world.elapsed(), read);
                }
                false => entry.cache.apply(changes, revision, self.world.elapsed()),
            }
            if group == flow::GROUP {
                self.flow.changed();
            }
            self.admission.changed(group);
        }
        for (name, definition) in definitions.into_iter().flatten() {
            crd::changed(&self.registry, &name.name, definition.as_deref(), revision);
        }
    }

    fn replace(&self, objects: Vec<(String, String, Arc<Object>)>, revision: Revision) {
        // Definitions first: they say where the objects of custom resources go.
        for (_, _, definition) in objects.iter().filter(|(group, plural, _)| crd::is_definition(group, plural)) {
            crd::changed(&self.registry, &definition.meta().name, Some(definition), revision);
        }
        self.auth.replace(objects.iter().map(|(_, _, object)| object));
        self.network.replace(&objects);
        let services = objects.iter().filter(|(group, plural, _)| aggregation::is_service(group, plural));
        self.aggregator.replace(services.map(|(_, _, object)| object));
        let mut by_resource = std::collections::BTreeMap::<(String, String), Vec<Arc<Object>>>::new();
        for (group, plural, object) in objects {
            by_resource.entry((group, plural)).or_default().push(object);
        }
        for entry in self.registry.served().entries().filter(|entry| entry.is_own()) {
            let resource = entry.stored();
            let key = (resource.group.clone(), resource.plural.clone());
            let objects = by_resource.remove(&key).unwrap_or_default();
            entry.cache.replace_stored(objects, revision, |object| crd::as_read(&entry.versions, object));
            self.admission.changed(&resource.group);
        }
        self.flow.changed();
    }
}

async fn dispatch(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    managed::check_options(&call.request)?;
    if call.resource.is_virtual() {
        return virtuals::answer(call, body).await;
    }
    if !call.request.subresource.is_empty() {
        return subresources::dispatch(call, body).await;
    }
    match call.request.verb {
        Verb::Get => read::get(call).await.map(Reply::Object),
        Verb::List => read::list(call).await,
        Verb::Watch => Err(ApiError::bad_request("a watch is started through Api::watch")),
        Verb::Create => create::create(call, body).await.map(Reply::Object),
        Verb::Update => update::update(call, body).await.map(Reply::Object),
        Verb::Patch => update::patch(call, body).await.map(Reply::Object),
        Verb::Delete => delete::delete(call, body).await,
        Verb::DeleteCollection => delete::delete_collection(call, body).await,
    }
}

impl Call<'_> {
    /// Namespace and name of the object.
    pub(crate) fn key(&self) -> NamespacedName {
        NamespacedName::new(self.request.namespace.clone(), self.request.name.clone())
    }

    /// The object as it is, in the version of the request.
    pub(crate) async fn current(&self) -> Result<Arc<Object>, ApiError> {
        let found = self.entry.cache.get(&self.key());
        let found = found.ok_or_else(|| self.resource.not_found(&self.request.name))?;
        self.versioned(found).await
    }

    /// A stored object in the version of the request.
    pub(crate) async fn versioned(&self, object: Arc<Object>) -> Result<Arc<Object>, ApiError> {
        crd::convert::object(self.core, &self.resource, object).await
    }

    pub(crate) fn kind_context<'b>(&'b self, old: Option<&'b Value>) -> k8s_kinds::Context<'b> {
        k8s_kinds::Context { minor: self.core.minor, now: self.now, old, subresource: &self.request.subresource }
    }

    /// The strategy of a built-in kind.
    pub(crate) fn builtin(&self) -> Option<&'static k8s_kinds::Kind> {
        match &self.resource.strategy {
            Strategy::Builtin(kind) => Some(kind),
            Strategy::Custom(_) => None,
        }
    }

    /// Takes over what admission has to say.
    pub(crate) fn say(&mut self, said: Said) {
        self.warnings.extend(said.warnings);
        self.annotations.extend(said.annotations);
    }

    pub(crate) fn field_validation(&self) -> Result<FieldValidation, ApiError> {
        FieldValidation::parse(self.request.options.field_validation.as_deref())
    }
}

/// A stored object in the version of `resource`; as it is where only a webhook can convert it ([`crd::convert`]).
pub(crate) fn in_version(resource: &Resource, object: Arc<Object>) -> Arc<Object> {
    let own = object.kind();
    if own.version == resource.version && own.group == resource.group {
        return object;
    }
    if crd::converts_by_webhook(resource) {
        return object;
    }
    if let Some(conversion) = resource.conversion() {
        let mut value = object.value_without_managed_fields();
        (conversion.from_storage)(&mut value);
        value["apiVersion"] = resource.api_version().into();
        let json = k8s_object::encode_with(&value, object.managed_fields());
        return Object::from_json(json).map_or(object, Arc::new);
    }
    if crd::differs(resource) {
        let mut value = object.value_without_managed_fields();
        crd::convert::to_version(resource, &mut value);
        let json = k8s_object::encode_with(&value, object.managed_fields());
        return Object::from_json(json).map_or(object, Arc::new);
    }
    // Where only `apiVersion` differs the rest need not be read.
    object.in_api_version(&resource.api_version()).map_or(object, Arc::new)
}

/// An object of one version of its kind in another.
pub(crate) fn converted(from: &Resource, to: &Resource, mut object: Value) -> Value {
    if from.version == to.version && from.group == to.group {
        return object;
    }
    if let Some(conversion) = from.conversion() {
        (conversion.to_storage)(&mut object);
    }
    if let Some(conversion) = to.conversion() {
        (conversion.from_storage)(&mut object);
    }
    object["apiVersion"] = to.api_version().into();
    object
}

/// The port for components in the same process.
pub(crate) struct InProcess {
    pub core: Arc<Core>,
    /// Where they write.
    pub space: Keyspace,
}

impl Api for InProcess {
    fn call<'a>(
        &'a self,
        user: &'a Arc<UserInfo>,
        agent: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, ApiError>> {
        Box::pin(async move {
            let audit = Record::of_component(&self.core, user, agent, &request);
            let counted = counted::InProcess::begin(&self.core, &request);
            let outcome = self.core.execute(&self.space, user, agent, &audit, request).await;
            counted.end(&self.core, outcome.as_ref());
            audit.ended(outcome.as_ref());
            Ok(outcome?.reply)
        })
    }

    fn watch<'a>(
        &'a self,
        user: &'a Arc<UserInfo>,
        agent: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Watch, ApiError>> {
        Box::pin(async move {
            let audit = Record::of_component(&self.core, user, agent, &request);
            let watched = self.core.flow.watches.open_for(&request);
            let started = self.core.start_watch(user, agent, &audit, request, None).await;
            audit.code(started.as_ref().map_or_else(ApiError::code, |_| 200));
            audit.stage(AuditStage::ResponseStarted);
            let cursor = started.inspect_err(|_| audit.stage(AuditStage::ResponseComplete))?;
            Ok(Watch(Box::new(watch::InProcessWatch { core: self.core.clone(), cursor, audit, _watched: watched })))
        })
    }
}
