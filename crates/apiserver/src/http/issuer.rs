//! The documents by which others verify ServiceAccount tokens (OpenID Connect discovery).

use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Response, StatusCode};
use serve::Body;

use super::respond;
use crate::core::Core;

/// Whoever verifies tokens may keep the documents for an hour (`routes/openidmetadata.go`).
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=3600");

pub(super) fn answer(core: &Core, path: &str) -> Option<Response<Body>> {
    let issuer = core.auth.issuer();
    let (content_type, document) = match path {
        "/.well-known/openid-configuration" => {
            let keys = format!("{}/openid/v1/jwks", issuer.url().trim_end_matches('/'));
            ("application/json", issuer.openid_configuration(&keys))
        }
        "/openid/v1/jwks" => ("application/jwk-set+json", issuer.jwks()),
        _ => return None,
    };
    let mut response = respond::response(StatusCode::OK, content_type, serve::full(document.to_string()));
    response.headers_mut().insert(CACHE_CONTROL, CACHE);
    Some(response)
}
