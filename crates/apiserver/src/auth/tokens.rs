//! ServiceAccount tokens: verified against the issuer's key, and against what they are bound to.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_auth::{BoundObject, Issuer, LegacyClaims, TokenError};
use k8s_object::Object;
use world::Timestamp;

use super::Known;
use crate::core::Core;
use crate::ports::AuthError;

/// Marks the Secret of a token that is no longer taken.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// The audiences that mean this server.
pub(super) fn own_audiences(issuer: &Issuer) -> Vec<String> {
    issuer.audiences().to_vec()
}

/// The user that a token stands for, and which of the audiences it is good for. `None` for tokens of others. `used` becomes the
/// Secret that the token stands in, if it is one of those.
pub(super) fn verify(
    core: &Core,
    issuer: &Issuer,
    token: &str,
    audiences: Option<&[String]>,
    used: &mut Option<Arc<Object>>,
) -> Result<Option<Known>, AuthError> {
    let wanted = audiences.unwrap_or(issuer.audiences());
    let texts: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let invalid = |error: TokenError| AuthError::Invalid(error.to_string());
    let now = core.world.now();
    let claims = match issuer.verify(token, &texts, now) {
        Err(TokenError::Foreign) => return of_secret(core, issuer, token, wanted, used),
        verified => verified.map_err(invalid)?,
    };
    claims.check_bound(now, |kind, namespace, name| find(core, kind, namespace, name)).map_err(invalid)?;
    let audiences = claims.aud.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
    let mut known = Known::new(claims.user(), audiences);
    if let Some(late) = claims.seconds_stale(now) {
        if late > 0 {
            core.metrics.stale_tokens.with(&[]).inc();
            let value = format!("subject: {}, seconds after warning threshold: {late}", claims.sub);
            known.annotations.push(("authentication.k8s.io/stale-token", value));
        } else {
            core.metrics.valid_tokens.with(&[]).inc();
        }
    }
    Ok(Some(known))
}

/// An object that a token may be bound to.
fn find(core: &Core, kind: &str, namespace: &str, name: &str) -> Option<BoundObject> {
    let (plural, namespace) = match kind {
        "Node" => ("nodes", ""),
        "Pod" => ("pods", namespace),
        "Secret" => ("secrets", namespace),
        "ServiceAccount" => ("serviceaccounts", namespace),
        _ => return None,
    };
    let object = core.lookup("", plural, namespace, name)?;
    let deleted = object.meta().deletion_timestamp.as_deref().and_then(|text| Timestamp::parse(text).ok());
    Some(BoundObject { uid: object.meta().uid.clone(), deleted })
}

/// A token without an end that stands in a Secret and lives as long as it.
fn of_secret(
    core: &Core,
    issuer: &Issuer,
    token: &str,
    wanted: &[String],
    used: &mut Option<Arc<Object>>,
) -> Result<Option<Known>, AuthError> {
    let invalid = |why: String| Err(AuthError::Invalid(why));
    let claims = match issuer.verify_legacy(token) {
        Err(TokenError::Foreign) => return Ok(None),
        verified => verified.map_err(|error| AuthError::Invalid(error.to_string()))?,
    };
    let LegacyClaims { namespace, service_account, service_account_uid, secret, .. } = &claims;
    let held = core.lookup("", "secrets", namespace, secret).filter(|held| !held.meta().is_terminating());
    let Some(held) = held else { return invalid("Token has been invalidated".to_owned()) };
    let copy = held.value()["data"]["token"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    if !super::same_secret(&copy, token.as_bytes()) {
        return invalid("Token does not match server's copy".to_owned());
    }
    let Some(account) = core.lookup("", "serviceaccounts", namespace, service_account) else {
        return invalid(format!("serviceaccounts {service_account:?} not found"));
    };
    if account.meta().is_terminating() {
        return invalid(format!("ServiceAccount {namespace}/{service_account} has been deleted"));
    }
    if account.meta().uid != *service_account_uid {
        let own = &account.meta().uid;
        return invalid(format!("ServiceAccount UID ({own}) does not match claim ({service_account_uid})"));
    }
    // Also of one that is not taken any more: somebody still needs it.
    *used = Some(held.clone());
    if held.meta().labels.get(INVALID_SINCE).is_some_and(|since| !since.is_empty()) {
        core.metrics.legacy_invalid.with(&[]).inc();
        return invalid(format!(
            "the token in secret {namespace}/{secret} for service account {namespace}/{service_account} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        ));
    }
    let mut known = Known::new(claims.user(), Vec::new());
    let listed = is_listed(&account, secret);
    if listed {
        known.warnings.push("Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.".to_owned());
    }
    // Such a token names no audience: it is for the server itself.
    let audiences: Vec<String> = issuer.audiences().iter().filter(|own| wanted.contains(own)).cloned().collect();
    if audiences.is_empty() {
        let error = TokenError::Audience { has: own_audiences(issuer), wants: wanted.to_vec() };
        return invalid(error.to_string());
    }
    known.audiences = audiences;
    let (counted, key) = match listed {
        true => (&core.metrics.legacy_auto, "authentication.k8s.io/legacy-token-autogenerated-secret"),
        false => (&core.metrics.legacy_manual, "authentication.k8s.io/legacy-token-manual-secret"),
    };
    counted.with(&[]).inc();
    core.metrics.legacy_tokens.with(&[]).inc();
    known.annotations.push((key, secret.clone()));
    known.annotations.push(("authentication.k8s.io/legacy-token", known.user.username.clone()));
    Ok(Some(known))
}

/// Whether the account lists the Secret: it was made for it, and not by hand.
fn is_listed(account: &Object, secret: &str) -> bool {
    account.value()["secrets"].as_array().into_iter().flatten().any(|own| own["name"] == secret)
}
