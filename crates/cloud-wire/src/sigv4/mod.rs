//! AWS Signature Version 4: one canonical form, used to sign and to verify. Must never compare secrets in a time that depends on them.

mod canonical;
mod eks_token;
mod sign;
mod verify;

pub use canonical::{PathRules, Scope, credential_scope};
pub use eks_token::{
    MAX_TOKEN_BYTES, TOKEN_PREFIX, TokenError, TokenRequest, VerifiedCaller, eks_token, verify_eks_token,
};
pub use sign::{Credentials, SignOptions, Signed, presign, sign_headers};
pub use verify::{MAX_PRESIGN_AGE_SECONDS, MAX_SKEW_SECONDS, Secret, SignatureError, Verified, Verifier};
