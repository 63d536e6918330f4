//! What every Kubernetes component agrees on: identifiers of kinds, metadata, objects held once as bytes, selectors,
//! quantities, `Status` errors, and typed views of the kinds that components read. Pure: no clock, no io, no API server.

mod error;
mod escape;
mod gvk;
mod meta;
pub mod names;
mod object;
mod quantity;
mod resource_name;
mod selector;
mod selector_text;
mod strings;
mod user;
pub mod views;

pub use error::{ApiError, Cause, Reason};
pub use escape::escaped;
pub use gvk::{GroupVersionKind, GroupVersionResource, resources};
pub use meta::{ObjectMeta, OwnerReference, Properties};
pub use object::{DecodeError, NamespacedName, Object, encode, encode_with};
pub use quantity::{ParseQuantityError, Quantity};
pub use resource_name::{is_extended_resource, is_native_resource};
pub use selector::{FieldSelector, LabelSelector, ParseSelectorError, Requirement};
pub use strings::Strings;
pub use user::UserInfo;
