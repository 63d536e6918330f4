//! The patches of the API, one file each. All take values and return a new one; the original is never half changed.

mod json;
mod merge;
pub(crate) mod strategic;

pub use json::{MAX_JSON_PATCH_OPERATIONS, json_patch};
pub use merge::merge_patch;

use thiserror::Error;

/// Why a patch was not applied. The texts are upstream's where clients see them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PatchError {
    /// The patch itself is wrong: 400.
    #[error("{0}")]
    Malformed(String),
    /// 413.
    #[error("The allowed maximum operations in a JSON patch is {limit}, got {operations}")]
    TooManyOperations { operations: usize, limit: usize },
    /// The patch is well formed, but not for this object: 422.
    #[error("{0}")]
    NotApplicable(String),
    /// What upstream's code for strategic merges says without a status: 500.
    #[error("{0}")]
    Unexplained(String),
    /// 415.
    #[error(
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )]
    StrategicUnsupported,
}
