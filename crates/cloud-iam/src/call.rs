//! Who calls an AWS operation, from where and when: what every service's handlers are given besides the input.
//!
//! Nothing here decides anything; credentials were verified before a [`Caller`] exists.

use std::fmt;

use world::Timestamp;

/// What kind of principal a caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerKind {
    /// The account itself.
    Root,
    /// An IAM user with a long-term key.
    User {
        /// Its name, without the path.
        name: String,
    },
    /// A session of a role.
    AssumedRole {
        /// The role's name, without the path.
        role: String,
        /// The session's name.
        session: String,
    },
    /// A temporary session of an IAM user (`GetSessionToken`).
    UserSession {
        /// The user's name, without the path.
        name: String,
    },
    /// An AWS service that acts on its own behalf, for example `eks.amazonaws.com`.
    Service {
        /// Its principal name.
        principal: String,
    },
}

/// A verified principal, as `GetCallerIdentity` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// `arn:aws:iam::A:user/x`, `arn:aws:iam::A:root` or `arn:aws:sts::A:assumed-role/R/S`.
    pub arn: String,
    /// `AIDA…`, `AROA…:session`, or the account for root.
    pub user_id: String,
    /// Twelve digits.
    pub account: String,
    /// What it is.
    pub kind: CallerKind,
    /// The key that signed the request; empty for services.
    pub access_key_id: String,
}

impl Caller {
    /// The account's root user.
    pub fn root(account: &str, access_key_id: &str) -> Caller {
        Caller {
            arn: format!("arn:aws:iam::{account}:root"),
            user_id: account.to_owned(),
            account: account.to_owned(),
            kind: CallerKind::Root,
            access_key_id: access_key_id.to_owned(),
        }
    }

    /// An AWS service that works in an account.
    pub fn service(account: &str, principal: &str) -> Caller {
        Caller {
            arn: format!("arn:aws:iam::{account}:service/{principal}"),
            user_id: principal.to_owned(),
            account: account.to_owned(),
            kind: CallerKind::Service { principal: principal.to_owned() },
            access_key_id: String::new(),
        }
    }

    /// The session's name, when there is one.
    pub fn session_name(&self) -> Option<&str> {
        match &self.kind {
            CallerKind::AssumedRole { session, .. } => Some(session),
            CallerKind::Root
            | CallerKind::User { .. }
            | CallerKind::UserSession { .. }
            | CallerKind::Service { .. } => None,
        }
    }

    /// The unique id without the session: `AIDA…` or `AROA…`.
    pub fn principal_id(&self) -> &str {
        self.user_id.split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

/// One call of an operation.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The account that is called, twelve digits.
    pub account: String,
    /// The region that is called; services without regions see the one of the endpoint.
    pub region: String,
    /// Who calls.
    pub caller: Caller,
    /// Appears in the answer and in events.
    pub request_id: String,
    /// The caller's address as text.
    pub source_ip: String,
    /// When the request was accepted.
    pub now: Timestamp,
}
