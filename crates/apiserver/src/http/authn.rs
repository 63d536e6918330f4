//! Who sends a request: a front proxy's word, a certificate, a bearer token, or nobody who says.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use k8s_object::{ApiError, UserInfo};
use serve::Peer;

use super::{header, joined};
use crate::auth::Known;
use crate::core::Core;

/// How browsers, which cannot set headers, hand a token over with a WebSocket.
pub(crate) const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Who sends a request.
pub(super) struct Sender {
    pub user: Arc<UserInfo>,
    pub warnings: Vec<String>,
    /// For the audit event: key and value.
    pub annotations: Vec<(&'static str, String)>,
}

impl Sender {
    fn new(user: UserInfo) -> Sender {
        Sender { user: Arc::new(user), warnings: Vec::new(), annotations: Vec::new() }
    }
}

/// # Errors
/// 401 for credentials that are not good, and for strangers where they are not let in.
pub(super) async fn authenticate(
    core: &Core,
    peer: &Peer,
    headers: &HeaderMap,
    path: &str,
) -> Result<Sender, ApiError> {
    let mut refused = None;
    if !peer.certificates.is_empty() {
        let proxied = || core.auth.by_front_proxy(core, &peer.certificates, headers);
        if let Some(user) = proxied().or_else(|| core.auth.by_certificate(core, &peer.certificates)) {
            return Ok(Sender::new(user));
        }
        refused = Some(ApiError::unauthorized());
    }
    let mut tokens = Vec::new();
    if let Some(token) = bearer(header(headers, AUTHORIZATION)) {
        tokens.push(token.to_owned());
    }
    match websocket_token(headers) {
        Ok(token) => tokens.extend(token),
        Err(()) => refused = Some(ApiError::unauthorized()),
    }
    for token in tokens {
        match core.auth.by_token(core, &token).await {
            Ok(known) => {
                let Known { user, warnings, annotations, .. } = known;
                return Ok(Sender { user: Arc::new(user), warnings, annotations });
            }
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) => Err(error),
        None if core.auth.authentication().anonymous.lets_in(path) => Ok(Sender::new(UserInfo::anonymous())),
        None => Err(ApiError::unauthorized()),
    }
}

/// The token of an `Authorization` header.
fn bearer(authorization: &str) -> Option<&str> {
    let mut words = authorization.trim().splitn(3, ' ');
    let scheme = words.next()?;
    words.next().filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// The token among the subprotocols of a WebSocket. An error if it cannot be read, or stands there alone: the server has to
/// choose a subprotocol, and must not choose this one.
fn websocket_token(headers: &HeaderMap) -> Result<Option<String>, ()> {
    if !header(headers, UPGRADE).eq_ignore_ascii_case("websocket") {
        return Ok(None);
    }
    let protocols = joined(headers, SEC_WEBSOCKET_PROTOCOL);
    let (own, others): (Vec<&str>, Vec<&str>) =
        protocols.split(',').map(str::trim).partition(|protocol| protocol.starts_with(BEARER_PROTOCOL));
    let token = match own[..] {
        [] => return Ok(None),
        [one] => URL_SAFE_NO_PAD.decode(&one[BEARER_PROTOCOL.len()..]).map_err(drop)?,
        _ => return Err(()),
    };
    let token = String::from_utf8(token).map_err(drop)?;
    if token.is_empty() {
        return Ok(None);
    }
    if others.iter().all(|protocol| protocol.is_empty()) { Err(()) } else { Ok(Some(token)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_from_headers() {
        let cases = [
            ("Bearer a", Some("a")),
            ("bearer a b", Some("a")),
            ("  BEARER a ", Some("a")),
            ("Bearer  a", None),
            ("Bearer", None),
            ("Basic a", None),
            ("", None),
        ];
        for (value, expected) in cases {
            assert_eq!(bearer(value), expected, "{value:?}");
        }
        let token = format!("{BEARER_PROTOCOL}{}", URL_SAFE_NO_PAD.encode("t"));
        let cases = [
            ("websocket", format!("v5.channel.k8s.io, {token}"), Ok(Some("t".to_owned()))),
            ("spdy/3.1", format!("v5.channel.k8s.io, {token}"), Ok(None)),
            ("websocket", "v5.channel.k8s.io".to_owned(), Ok(None)),
            ("websocket", token.clone(), Err(())),
            ("websocket", format!("a, {token}, {token}"), Err(())),
            ("websocket", format!("a, {BEARER_PROTOCOL}!"), Err(())),
            ("websocket", format!("a, {BEARER_PROTOCOL}"), Ok(None)),
        ];
        for (upgrade, protocols, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(UPGRADE, upgrade.parse().unwrap());
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocols.parse().unwrap());
            assert_eq!(websocket_token(&headers), expected, "{upgrade} {protocols}");
        }
    }
}
