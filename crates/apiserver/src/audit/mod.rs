//! What is recorded of requests: a policy says of each request how much, a record gathers it on the way, and each stage goes to the
//! sink as an event.
//!
//! Without a sink, and for requests that the policy leaves out, a record is nothing, and whatever is told to it costs a branch.

mod event;
mod policy;
mod sinks;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use k8s_client::{Body, Reply, Request};
use k8s_object::{ApiError, UserInfo};
use serde_json::{Value, json};

use crate::core::{Core, Outcome};
use crate::ports::AuditSink;
use crate::{metadata, yaml};

pub use event::{AuditEvent, AuditLevel, AuditObject, AuditStage};
pub use policy::{AuditPolicy, AuditPolicyError};
pub use sinks::{AuditFile, AuditRing};

pub(crate) use policy::Audited;

use policy::Verdict;

/// Bytes of a client's name that are kept, and what stands for the rest (apiserver `maxUserAgentLength`).
const MAX_AGENT_BYTES: usize = 1024;
const TRUNCATED: &str = "...TRUNCATED";
/// Addresses in `X-Forwarded-For` that are kept.
const MAX_SOURCES: usize = 16;
/// Annotations of one event, as no more than a dozen are known.
const MAX_ANNOTATIONS: usize = 128;

/// Auditing of one API server.
#[derive(Clone)]
pub struct Audit {
    pub policy: Arc<AuditPolicy>,
    pub sink: Arc<dyn AuditSink>,
}

/// What is recorded of one request. Cheap to make when nothing is.
pub(crate) struct Record(Option<Box<Gathered>>);

struct Gathered {
    core: Arc<Core>,
    verdict: Verdict,
    event: Mutex<AuditEvent>,
}

/// Where a request comes from.
pub(crate) struct Source<'a> {
    pub audit_id: &'a str,
    pub uri: &'a str,
    pub agent: &'a str,
    pub addresses: Vec<String>,
}

impl Record {
    /// Nothing is recorded.
    pub(crate) const NONE: Record = Record(None);

    /// Asks the policy what is to be recorded of a request. `source` is asked for only when something is.
    pub(crate) fn begin<'a>(
        core: &Core,
        audited: &Audited<'_>,
        version: &str,
        source: impl FnOnce() -> Source<'a>,
    ) -> Record {
        let (Some(audit), Some(me)) = (&core.audit, core.me.upgrade()) else { return Record::NONE };
        let verdict = audit.policy.judge(audited);
        core.metrics.audit_levels.with(&[level_name(verdict.level)]).inc();
        if verdict.level == AuditLevel::None {
            return Record::NONE;
        }
        let source = source();
        let now = core.world.now();
        let event = AuditEvent {
            level: verdict.level,
            audit_id: source.audit_id.into(),
            stage: AuditStage::RequestReceived,
            request_uri: source.uri.into(),
            verb: audited.verb.into(),
            user: Arc::new(audited.user.cloned().unwrap_or_default()),
            impersonated: None,
            source_ips: source.addresses,
            agent: truncated(source.agent),
            object: (!audited.resource.is_empty()).then(|| AuditObject {
                resource: audited.resource.to_owned(),
                namespace: audited.namespace.to_owned(),
                name: audited.name.to_owned(),
                group: audited.group.to_owned(),
                version: version.to_owned(),
                subresource: audited.subresource.to_owned(),
                ..AuditObject::default()
            }),
            code: 0,
            status: None,
            request_object: None,
            response_object: None,
            received: now,
            at: now,
            annotations: Default::default(),
        };
        Record(Some(Box::new(Gathered { core: me, verdict, event: Mutex::new(event) })))
    }

    /// Of a request of a component in the process.
    pub(crate) fn of_component(core: &Core, user: &UserInfo, agent: &str, request: &Request) -> Record {
        if core.audit.is_none() {
            return Record::NONE;
        }
        let (audit_id, uri) = (core.world.uuid(), uri(request));
        let source = || Source { audit_id: &audit_id, uri: &uri, agent, addresses: Vec::new() };
        let record = Record::begin(core, &audited(user, request), &request.resource.version, source);
        record.stage(AuditStage::RequestReceived);
        record
    }

    fn gathered(&self) -> Option<(&Gathered, MutexGuard<'_, AuditEvent>)> {
        let gathered = self.0.as_deref()?;
        Some((gathered, gathered.event.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Whether anything is recorded.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A stage is reached: the sink gets an event, unless the policy omits the stage.
    pub(crate) fn stage(&self, stage: AuditStage) {
        let Some((gathered, mut event)) = self.gathered() else { return };
        event.stage = stage;
        if stage != AuditStage::RequestReceived {
            event.at = gathered.core.world.now();
        }
        let Some(audit) = gathered.core.audit.as_ref().filter(|_| !gathered.verdict.omitted[stage as usize]) else {
            return;
        };
        let metrics = &gathered.core.metrics;
        metrics.audit_events.with(&[]).inc();
        if !audit.sink.record(event.clone()) {
            metrics.audit_errors.with(&["sink"]).inc();
        }
    }

    /// The user acts as another.
    pub(crate) fn impersonated(&self, user: &Arc<UserInfo>) {
        if let Some((_, mut event)) = self.gathered() {
            event.impersonated = Some(user.clone());
        }
    }

    /// Adds what a part of the server wants to be recorded. What was said first stays.
    pub(crate) fn annotate(&self, key: &str, value: impl Into<String>) {
        if let Some((_, mut event)) = self.gathered()
            && event.annotations.len() < MAX_ANNOTATIONS
        {
            event.annotations.entry(key.to_owned()).or_insert_with(|| value.into());
        }
    }

    /// What the authorizers said.
    pub(crate) fn decided(&self, allowed: bool, reason: &str) {
        if self.is_on() {
            self.annotate("authorization.k8s.io/decision", if allowed { "allow" } else { "forbid" });
            self.annotate("authorization.k8s.io/reason", reason);
        }
    }

    /// Whether objects are recorded, and not only what the request is about.
    pub(crate) fn has_objects(&self) -> bool {
        self.gathered().is_some_and(|(_, event)| event.level >= AuditLevel::Request)
    }

    /// The object in the request, as it was understood.
    pub(crate) fn request_object(&self, object: &Value) {
        let Some((gathered, mut event)) = self.gathered() else { return };
        if let Some(about) = &mut event.object {
            let meta = &object["metadata"];
            let fill = |field: &mut String, key: &str| {
                if field.is_empty() {
                    *field = meta[key].as_str().unwrap_or_default().to_owned();
                }
            };
            fill(&mut about.namespace, "namespace");
            fill(&mut about.name, "name");
            fill(&mut about.uid, "uid");
            fill(&mut about.resource_version, "resourceVersion");
        }
        if event.level >= AuditLevel::Request {
            event.request_object = Some(gathered.encode(object));
        }
    }

    /// The body of the request, as it came: what is told of patches and options; objects follow once they are understood.
    pub(crate) fn body(&self, body: &Body) {
        let Some((_, mut event)) = self.gathered() else { return };
        if event.level >= AuditLevel::Request {
            event.request_object = match body {
                Body::None => None,
                Body::Bytes(bytes) => Some(bytes.clone()),
                Body::Json(value) => serde_json::to_vec(value).ok().map(Bytes::from),
                Body::Yaml(bytes) => yaml::decode(bytes).ok().map(|read| Bytes::from(read.value.to_string())),
            };
        }
    }

    /// Whether the answer's object is to be told.
    pub(crate) fn wants_response(&self) -> bool {
        self.gathered().is_some_and(|(_, event)| event.level >= AuditLevel::RequestResponse)
    }

    /// The object in the answer.
    pub(crate) fn response_object(&self, object: &Value) {
        let Some((gathered, mut event)) = self.gathered() else { return };
        if object["kind"] == "Status" {
            event.status = Some(status_fields(object));
        }
        if event.level >= AuditLevel::RequestResponse {
            event.response_object = Some(gathered.encode(object));
        }
    }

    /// The request was refused.
    pub(crate) fn failed(&self, error: &ApiError) {
        if self.is_on() {
            self.response_object(&error.to_status());
            self.code(error.code());
        }
    }

    /// The status of the answer.
    pub(crate) fn code(&self, code: u16) {
        if let Some((_, mut event)) = self.gathered() {
            event.code = code;
        }
    }

    /// The request of a component has ended.
    pub(crate) fn ended(&self, outcome: Result<&Outcome, &ApiError>) {
        if !self.is_on() {
            return;
        }
        match outcome {
            Ok(outcome) => {
                self.reply(&outcome.reply, "v1", "List");
                self.code(outcome.code);
            }
            Err(error) => self.failed(error),
        }
        self.stage(AuditStage::ResponseComplete);
    }

    /// What is answered. Lists and objects are read only where they are to be told.
    pub(crate) fn reply(&self, reply: &Reply, api_version: &str, list_kind: &str) {
        match reply {
            Reply::Value(value) if self.is_on() => self.response_object(value),
            _ if !self.wants_response() => {}
            Reply::Value(_) => {}
            Reply::Object(object) => self.response_object(&object.value()),
            Reply::List { items, resource_version, .. } => {
                let items: Vec<Value> = items.iter().map(|item| item.value()).collect();
                self.response_object(&json!({
                    "kind": list_kind, "apiVersion": api_version,
                    "metadata": {"resourceVersion": resource_version}, "items": items,
                }));
            }
        }
    }

    /// The client went before there was an answer.
    pub(crate) fn closed_early(&self, long_running: bool) {
        let Some((_, mut event)) = self.gathered() else { return };
        event.code = 200;
        event.status = Some(json!({"status": "Success", "message": "Connection closed early"}));
        drop(event);
        if long_running {
            self.stage(AuditStage::ResponseStarted);
        }
        self.stage(AuditStage::ResponseComplete);
    }
}

impl Gathered {
    fn encode(&self, object: &Value) -> Bytes {
        let bytes = if self.verdict.omit_managed_fields {
            let mut object = object.clone();
            without_managed_fields(&mut object);
            serde_json::to_vec(&object)
        } else {
            serde_json::to_vec(object)
        };
        bytes.unwrap_or_default().into()
    }
}

fn without_managed_fields(object: &mut Value) {
    if let Ok(map) = metadata::of(object) {
        map.remove("managedFields");
    }
    for item in object["items"].as_array_mut().into_iter().flatten() {
        without_managed_fields(item);
    }
}

fn status_fields(status: &Value) -> Value {
    let fields = ["status", "message", "reason", "details"];
    let own = fields.into_iter().filter_map(|field| Some((field.to_owned(), status.get(field)?.clone())));
    Value::Object(own.collect())
}

fn truncated(agent: &str) -> Arc<str> {
    if agent.len() <= MAX_AGENT_BYTES {
        return agent.into();
    }
    let end = (0..=MAX_AGENT_BYTES).rev().find(|at| agent.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{TRUNCATED}", &agent[..end]).into()
}

fn level_name(level: AuditLevel) -> &'static str {
    match level {
        AuditLevel::None => "None",
        AuditLevel::Metadata => "Metadata",
        AuditLevel::Request => "Request",
        AuditLevel::RequestResponse => "RequestResponse",
    }
}

/// A request for a resource, as policies see it.
pub(crate) fn audited<'a>(user: &'a UserInfo, request: &'a Request) -> Audited<'a> {
    Audited {
        user: Some(user),
        verb: request.verb.as_str(),
        resource: &request.resource.resource,
        group: &request.resource.group,
        subresource: &request.subresource,
        namespace: namespace(request),
        name: &request.name,
        path: "",
    }
}

/// A namespace is in itself (apiserver `RequestInfo`).
fn namespace(request: &Request) -> &str {
    let itself = request.resource.group.is_empty() && request.resource.resource == "namespaces";
    if itself { &request.name } else { &request.namespace }
}

/// The addresses that a request came through, the client's first: forwarded ones are taken at their word, as upstream does.
pub(crate) fn addresses(headers: &HeaderMap, peer: IpAddr) -> Vec<String> {
    let forwarded = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok()).unwrap_or("");
    let forwarded = forwarded.split(',').take(MAX_SOURCES).filter_map(|part| part.trim().parse::<IpAddr>().ok());
    let mut addresses: Vec<String> = forwarded.map(|address| address.to_string()).collect();
    if addresses.is_empty() {
        let real = headers.get("x-real-ip").and_then(|value| value.to_str().ok()?.trim().parse::<IpAddr>().ok());
        addresses.extend(real.map(|address| address.to_string()));
    }
    let peer = peer.to_string();
    if addresses.last() != Some(&peer) {
        addresses.push(peer);
    }
    addresses
}

/// The path that an HTTP client would ask for.
fn uri(request: &Request) -> String {
    let resource = &request.resource;
    let mut uri = match resource.group.is_empty() {
        true => format!("/api/{}", resource.version),
        false => format!("/apis/{}/{}", resource.group, resource.version),
    };
    if !request.namespace.is_empty() {
        uri += &format!("/namespaces/{}", request.namespace);
    }
    for part in [&*resource.resource, &request.name, &request.subresource] {
        if !part.is_empty() {
            uri.push('/');
            uri += part;
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn addresses_are_the_clients_first() {
        let peer: IpAddr = [192, 0, 2, 7].into();
        let of = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            addresses(&headers, peer)
        };
        assert_eq!(of("x-forwarded-for", "198.51.100.1, 203.0.113.9"), ["198.51.100.1", "203.0.113.9", "192.0.2.7"]);
        assert_eq!(of("x-forwarded-for", "nonsense"), ["192.0.2.7"]);
        assert_eq!(of("x-real-ip", "198.51.100.1"), ["198.51.100.1", "192.0.2.7"]);
        assert_eq!(of("x-forwarded-for", "192.0.2.7"), ["192.0.2.7"]);
    }

    #[test]
    fn long_names_of_clients_are_cut() {
        assert_eq!(&*truncated("kubectl"), "kubectl");
        let long = "é".repeat(1000);
        assert_eq!(truncated(&long).len(), MAX_AGENT_BYTES + TRUNCATED.len());
    }
}
