//! What an answer of etcd, or the lack of one, says about a request: whether it was carried out, and which [`StoreError`] it is.
//!
//! etcd's clients know errors by their text, so this does too. When in doubt a request may have been carried out.

use std::error::Error;

use tonic::{Code, ConnectError, Status};

use crate::{LeaseId, Limits, Revision, StoreError};

/// How one attempt of a request failed.
#[derive(Debug)]
pub(super) enum Attempt {
    /// etcd refused it, and would again.
    Refused(Status),
    /// The token is not valid any more; nothing was done.
    Token,
    /// Nothing was done, and another member may do it.
    NotDone(String),
    /// It may have been carried out, or may be later.
    Unknown(String),
}

impl Attempt {
    pub fn of(status: Status) -> Attempt {
        if never_sent(&status) {
            return Attempt::NotDone(explain(&status));
        }
        match status.message() {
            "etcdserver: invalid auth token" | "etcdserver: revision of auth store is old" => return Attempt::Token,
            "etcdserver: no leader"
            | "etcdserver: not capable"
            | "etcdserver: rpc not supported for learner"
            | "etcdserver: too many requests" => return Attempt::NotDone(explain(&status)),
            _ => {}
        }
        match status.code() {
            Code::Aborted
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unavailable
            | Code::Unknown => Attempt::Unknown(explain(&status)),
            _ => Attempt::Refused(status),
        }
    }
}

/// Whether no connection came about, or the request never left this process.
fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        source = error.source();
    }
    false
}

/// The message and what lies beneath it: tonic's own says only that there was an error.
fn explain(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
        source = error.source();
    }
    if text.is_empty() { format!("{:?}", status.code()) } else { text }
}

/// How a request failed in the end.
#[derive(Debug)]
pub(super) enum Failure {
    /// etcd refused it; `repeated` when an attempt before may have been carried out.
    Refused { status: Status, repeated: bool },
    /// Nothing was done.
    Unavailable(String),
    /// It may have been carried out, or may be later.
    Unknown(String),
}

/// What a request was about, for errors that name it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About {
    pub lease: LeaseId,
    /// What is known of the store.
    pub revision: Revision,
    pub compacted: Revision,
}

impl Failure {
    /// The error of the store's interface. For [`StoreError::Compacted`] the caller finds out how far.
    pub fn into_error(self, about: About, limits: &Limits) -> StoreError {
        let status = match self {
            Failure::Unavailable(reason) => return StoreError::Unavailable { reason },
            Failure::Unknown(reason) => return StoreError::OutcomeUnknown { reason },
            Failure::Refused { status, .. } => status,
        };
        match status.message() {
            "etcdserver: mvcc: required revision has been compacted" => {
                StoreError::Compacted { compact_revision: about.compacted }
            }
            "etcdserver: mvcc: required revision is a future revision" => {
                StoreError::FutureRevision { revision: about.revision }
            }
            "etcdserver: duplicate key given in txn request" => StoreError::DuplicateKey,
            "etcdserver: key is not provided" => StoreError::EmptyKey,
            "etcdserver: lease already exists" => StoreError::LeaseExists { id: about.lease },
            "etcdserver: requested lease not found" => StoreError::LeaseNotFound { id: about.lease },
            "etcdserver: too large lease TTL" => StoreError::LeaseTtlTooLarge,
            "etcdserver: mvcc: database space exceeded" => StoreError::NoSpace { quota: limits.quota_bytes },
            "etcdserver: request is too large" => {
                StoreError::RequestTooLarge { bytes: limits.request_bytes, limit: limits.request_bytes }
            }
            "etcdserver: too many operations in txn request" => StoreError::TooManyOperations,
            _ => StoreError::Refused { reason: explain(&status) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_surely_not_done_is_called_so() {
        type Expected = fn(Attempt) -> bool;
        let unknown = |attempt| matches!(attempt, Attempt::Unknown(_));
        let not_done = |attempt| matches!(attempt, Attempt::NotDone(_));
        let refused = |attempt| matches!(attempt, Attempt::Refused(_));
        let cases: [(Status, Expected); 8] = [
            (Status::unavailable("etcdserver: request timed out"), unknown),
            (Status::unavailable("etcdserver: leader changed"), unknown),
            (Status::unavailable("etcdserver: server stopped"), unknown),
            (Status::unknown("transport error"), unknown),
            (Status::unavailable("etcdserver: no leader"), not_done),
            (Status::resource_exhausted("etcdserver: too many requests"), not_done),
            (Status::permission_denied("etcdserver: permission denied"), refused),
            (Status::unauthenticated("etcdserver: invalid auth token"), |attempt| matches!(attempt, Attempt::Token)),
        ];
        for (status, expected) in cases {
            assert!(expected(Attempt::of(status.clone())), "{status}");
        }
        let refused = Status::from_error(Box::new(ConnectError("connection refused".into())));
        assert!(not_done(Attempt::of(refused)));
    }
}
