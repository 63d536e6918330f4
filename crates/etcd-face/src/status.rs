//! Errors of the store as etcd's gRPC statuses: clients go by code and text.

use store::StoreError;
use tonic::{Code, Status};

/// The status of an error. The texts are the store's, which are etcd's where etcd has them.
pub(crate) fn status(error: StoreError) -> Status {
    let code = match &error {
        StoreError::Closed
        | StoreError::Stopped { .. }
        | StoreError::OutcomeUnknown { .. }
        | StoreError::Unavailable { .. } => Code::Unavailable,
        StoreError::Compacted { .. }
        | StoreError::FutureRevision { .. }
        | StoreError::LeaseTtlTooLarge
        | StoreError::TimeNotRetained { .. } => Code::OutOfRange,
        StoreError::Past { .. } => Code::DataLoss,
        StoreError::DuplicateKey
        | StoreError::EmptyKey
        | StoreError::KeyTooLong { .. }
        | StoreError::RequestTooLarge { .. }
        | StoreError::TooManyOperations => Code::InvalidArgument,
        StoreError::Fenced | StoreError::LeaseExists { .. } | StoreError::Refused { .. } => Code::FailedPrecondition,
        StoreError::LeaseNotFound { .. } => Code::NotFound,
        StoreError::DiskFull
        | StoreError::NoSpace { .. }
        | StoreError::TooManyLeases { .. }
        | StoreError::TooManyWatchers { .. } => Code::ResourceExhausted,
    };
    Status::new(code, error.to_string())
}

/// etcd's words for a put that keeps what a missing key has, and for an operation of a transaction that is none.
pub(crate) fn key_not_found() -> Status {
    Status::invalid_argument("etcdserver: key not found")
}

/// A field that the store cannot do.
pub(crate) fn unsupported(what: &str) -> Status {
    Status::unimplemented(format!("Minato does not support {what}"))
}
