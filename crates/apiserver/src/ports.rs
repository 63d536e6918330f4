//! What the API server asks of others: who a token stands for, whether a request is allowed, where audit events go.
//! Nothing here knows who answers.

use std::sync::Arc;

use k8s_auth::Attributes;
use k8s_object::UserInfo;
use world::{BoxFuture, Timestamp};

/// A token authenticator could not decide, or refuses a token that is its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The token is of the authenticator's form, and it is not valid.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// The authenticator cannot answer now.
    #[error("the authenticator is not available: {0}")]
    Unavailable(String),
}

/// Knows one form of bearer token.
pub trait TokenAuthenticator: Send + Sync {
    /// The user that `token` stands for; `None` when the token is of another form.
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<UserInfo>, AuthError>>;
}

/// An authorizer's answer, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, whatever others say.
    Allow(String),
    /// Others decide; what to tell if all say so.
    NoOpinion(String),
    /// Denied, whatever others say.
    Deny(String),
}

/// Decides before RBAC does.
pub trait Authorizer: Send + Sync {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;
}

/// One completed request.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    pub audit_id: String,
    pub user: Arc<UserInfo>,
    pub agent: Arc<str>,
    /// Addresses of the client, nearest last; empty for requests within the process.
    pub source: Option<std::net::IpAddr>,
    pub verb: &'static str,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// HTTP status of the answer.
    pub code: u16,
    pub received: Timestamp,
    pub completed: Timestamp,
}

/// Takes audit events. It is called in the request's path and must not block.
pub trait AuditSink: Send + Sync {
    fn record(&self, event: AuditEvent);
}
