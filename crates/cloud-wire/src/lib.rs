//! AWS protocols interpreted from compact service models, SigV4, errors, pagination.
//!
//! A request goes through [`recognise`], [`Verifier::verify`], [`Service::route`] and [`Service::validate`]; a result comes back through
//! [`Service::respond`] or [`Service::respond_error`]. Everything is a function of its arguments: this crate must never read a
//! clock, draw a random number, open a socket or know what an operation does.

mod account;
mod arn;
pub mod convert;
mod error;
mod model;
mod model_text;
mod page;
mod protocol;
mod request;
mod route;
mod scalar;
mod service;
mod sigv4;
mod validate;
mod xml;

pub use account::{AccountId, ParseAccountIdError};
pub use arn::{Arn, ArnParts, MAX_ARN_BYTES, ParseArnError};
pub use error::{AwsError, Fault, WireError};
pub use model::{
    Enumeration, Kind, Location, Member, Namespace, Operation, Pagination, Pattern, Protocol, Segment, Service, Shape,
    ShapeId, Structure, TimestampFormat,
};
pub use model_text::{ModelError, parse_model};
pub use page::{InvalidToken, Page, PageLimits, PageRequest, set_next};
pub use protocol::respond_unrouted;
pub use request::{MAX_PARAMETERS, RequestParts, decode_percent, encode_percent, parse_pairs};
pub use scalar::{decode_blob, encode_blob, time_value, value_time};
pub use service::{Call, Name, recognise};
pub use sigv4::{
    Credentials, MAX_PRESIGN_AGE_SECONDS, MAX_SKEW_SECONDS, MAX_TOKEN_BYTES, PathRules, Scope, Secret, SignOptions,
    SignatureError, Signed, TOKEN_PREFIX, TokenError, TokenRequest, Verified, VerifiedCaller, Verifier,
    credential_scope, eks_token, presign, sign_headers, verify_eks_token,
};
pub use validate::{MAX_VIOLATIONS, Rule, ValidationError, Violation};
pub use xml::Element;
