//! Who is asking, and what may they do: certificates, ServiceAccount tokens, RBAC with its bootstrap policy, and the rules
//! for nodes. Pure: no io, no ambient time, no knowledge of HTTP.

pub mod attributes;
pub mod bootstrap;
mod legacy;
pub mod node;
pub mod pki;
pub mod rbac;
mod requests;
pub mod tokens;

pub use attributes::{Attributes, Decision};
pub use legacy::LegacyClaims;
pub use node::{Related, authorize_node};
pub use pki::{PkiError, PrivateKey, user_of_certificate};
pub use rbac::{EscalationError, RbacIndex};
pub use requests::{CertificateRequest, end_of_certificate};
pub use tokens::{Bound, BoundObject, Claims, IssuedToken, Issuer, ObjectRef, Signer, TokenError, TokenRequest};
