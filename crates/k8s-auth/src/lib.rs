//! Certificates, ServiceAccount tokens, RBAC and its bootstrap policy. Pure: no io, no ambient time.

// `pki` and `tokens` are complete. `rbac`, `bootstrap` and `node` belong beside them.
pub mod pki;
pub mod tokens;
