//! Audit events as audit.k8s.io/v1 has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use k8s_object::UserInfo;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use world::Timestamp;

/// How much of a request is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum AuditLevel {
    #[default]
    None,
    /// Who, what and when.
    Metadata,
    /// The object in the request too.
    Request,
    /// And the one in the answer.
    RequestResponse,
}

/// When in the life of a request an event is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum AuditStage {
    /// As soon as it is known who asks.
    RequestReceived,
    /// The head of the answer is sent, and the body takes its time: watches and the like.
    ResponseStarted,
    /// The answer is sent.
    ResponseComplete,
    /// What carries out the request has failed in a way that it should not.
    Panic,
}

/// What a request is about. Texts that do not apply are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditObject {
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub group: String,
    pub version: String,
    pub resource_version: String,
    pub subresource: String,
}

/// One event: a request at a stage.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    pub level: AuditLevel,
    /// The same for all stages of a request, and in the answer's header `Audit-ID`.
    pub audit_id: Arc<str>,
    pub stage: AuditStage,
    pub request_uri: Arc<str>,
    pub verb: Arc<str>,
    pub user: Arc<UserInfo>,
    /// As whom the user acts.
    pub impersonated: Option<Arc<UserInfo>>,
    /// Of the client and of what stood between, the client first; empty for requests within the process.
    pub source_ips: Vec<String>,
    pub agent: Arc<str>,
    /// Absent for paths that are no resources.
    pub object: Option<AuditObject>,
    /// HTTP status of the answer; 0 before there is one.
    pub code: u16,
    /// What else the answer's Status says, if it is one: `status`, `message`, `reason`, `details`.
    pub status: Option<Value>,
    /// JSON.
    pub request_object: Option<Bytes>,
    /// JSON.
    pub response_object: Option<Bytes>,
    pub received: Timestamp,
    /// When the stage was reached.
    pub at: Timestamp,
    pub annotations: BTreeMap<String, String>,
}

impl AuditEvent {
    /// As `audit.k8s.io/v1` `Event`.
    pub fn to_json(&self) -> Value {
        let mut event = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1",
            "level": format!("{:?}", self.level), "auditID": &*self.audit_id, "stage": format!("{:?}", self.stage),
            "requestURI": &*self.request_uri, "verb": &*self.verb, "user": user(&self.user),
        });
        let Value::Object(map) = &mut event else { return event };
        let mut set = |key: &str, value: Value| map.insert(key.to_owned(), value);
        if let Some(impersonated) = &self.impersonated {
            set("impersonatedUser", user(impersonated));
        }
        if !self.source_ips.is_empty() {
            set("sourceIPs", json!(self.source_ips));
        }
        if !self.agent.is_empty() {
            set("userAgent", json!(&*self.agent));
        }
        if let Some(object) = &self.object {
            set("objectRef", object.to_json());
        }
        if self.code != 0 || self.status.is_some() {
            let mut status = self.status.clone().unwrap_or_else(|| json!({}));
            status["metadata"] = json!({});
            if self.code != 0 {
                status["code"] = json!(self.code);
            }
            set("responseStatus", status);
        }
        for (key, bytes) in [("requestObject", &self.request_object), ("responseObject", &self.response_object)] {
            if let Some(object) = bytes.as_ref().and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok()) {
                set(key, object);
            }
        }
        set("requestReceivedTimestamp", json!(self.received.to_micro_string()));
        set("stageTimestamp", json!(self.at.to_micro_string()));
        if !self.annotations.is_empty() {
            set("annotations", json!(self.annotations));
        }
        event
    }
}

fn user(user: &UserInfo) -> Value {
    serde_json::to_value(user).unwrap_or_default()
}

impl AuditObject {
    fn to_json(&self) -> Value {
        let fields = [
            ("resource", &self.resource),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("uid", &self.uid),
            ("apiGroup", &self.group),
            ("apiVersion", &self.version),
            ("resourceVersion", &self.resource_version),
            ("subresource", &self.subresource),
        ];
        let set = fields.into_iter().filter(|(_, text)| !text.is_empty());
        Value::Object(set.map(|(key, text)| (key.to_owned(), json!(text))).collect::<Map<String, Value>>())
    }
}
