//! AWS IAM and STS: users, access keys, roles, policies, sessions, and the decision whether a call is allowed.
//!
//! [`Iam`] keeps the account's principals in the store and answers two questions of others: whose key is this
//! ([`Iam::lookup`]) and may this caller do that ([`Iam::authorize`]). The crate also holds what every service here shares with it:
//! the context of a call, versioned records, pages. It knows nothing of EC2, EKS or Kubernetes.

pub mod call;
mod credentials;
mod error;
mod iam;
pub mod managed;
pub mod page;
pub mod policy;
pub mod records;
mod service;
mod sts;

pub use call::{CallContext, Caller, CallerKind};
pub use credentials::{Credential, KeyStatus};
pub use iam::authorize::{Access, denied};
pub use iam::model::{AccessKey, InstanceProfile, Role, User};
pub use iam::{AccountAccess, Iam, IamOperation};
pub use service::{BoxFuture, decode_input, encode_percent};
pub use sts::{Sts, StsOperation};
