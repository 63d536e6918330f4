//! The documents by which others verify ServiceAccount tokens (OpenID Connect discovery).

use http::{Response, StatusCode};
use serve::Body;

use super::respond;
use crate::core::Core;

pub(super) fn answer(core: &Core, path: &str) -> Option<Response<Body>> {
    let issuer = core.auth.issuer();
    let document = match path {
        "/.well-known/openid-configuration" => {
            let keys = format!("{}/openid/v1/jwks", issuer.url().trim_end_matches('/'));
            issuer.openid_configuration(&keys)
        }
        "/openid/v1/jwks" => issuer.jwks(),
        _ => return None,
    };
    Some(respond::json_bytes(StatusCode::OK, document.to_string(), false))
}
