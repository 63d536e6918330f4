//! One schema engine for built-in kinds and custom resources, and the patches that need it.
//!
//! A [`Schema`] comes from the table of Kubernetes types ([`Schema::builtin`]) or from a CustomResourceDefinition
//! ([`Schema::from_crd`]); everything after that is one code path over `serde_json::Value`: find and prune unknown
//! fields, check types, apply defaults, validate, patch, describe as OpenAPI. Protobuf is read into the same values
//! ([`decode_protobuf`]), and written from their text ([`ProtobufKind::encode`]). The crate must never do I/O, look at a clock, or know one kind by name.

mod check;
mod crd;
mod declared;
mod decode;
mod default;
mod error;
mod leaf;
mod model;
mod node;
mod nulls;
mod openapi;
mod order;
mod patch;
mod path;
mod protobuf;
mod quantities;
mod schema;
mod typed;
mod unknown;

pub use decode::{DecodeError, Decoded, MAX_DEPTH, decode, decode_from};
pub use error::{FieldError, FieldErrorKind, MAX_FIELD_ERRORS, TypeMismatch};
pub use model::{EnumValue, Field, KindEntry, LifeCycle, Minor, NEWEST_MINOR, OLDEST_MINOR, kinds};
pub use openapi::{
    OPENAPI_ABOUT_THE_SERVER, OpenApiGroup, OpenApiKind, OpenApiSubresource, keep_openapi_v2_paths, merge_openapi_v2,
    openapi_v2, openapi_v2_protobuf, openapi_v3, openapi_v3_of_v2, openapi_v3_protobuf, openapi_v3_root,
};
pub use order::sort_as_in_text;
pub use patch::{MAX_JSON_PATCH_OPERATIONS, PatchError, json_patch, merge_patch};
pub use protobuf::{
    ProtobufError, ProtobufKind, ProtobufList, decode_protobuf, encode_protobuf, protobuf_envelope, protobuf_event,
};
pub use schema::Schema;
pub use typed::{Atom, Keys, List, Map, Scalar, Step, Typed};
