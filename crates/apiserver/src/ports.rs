//! What the API server asks of others: who a token stands for, whether a request is allowed, where audit events go.
//! Nothing here knows who answers.

use k8s_auth::Attributes;
use k8s_object::UserInfo;
use world::BoxFuture;

use crate::audit::AuditEvent;

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

/// Takes audit events. It is called in the request's path and must not block.
pub trait AuditSink: Send + Sync {
    /// False when the event is lost.
    fn record(&self, event: AuditEvent) -> bool;
}
