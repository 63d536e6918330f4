//! ServiceAccount tokens: verified against the issuer's key, and against what they are bound to.

use k8s_auth::Issuer;
use k8s_object::UserInfo;

use crate::core::Core;
use crate::ports::AuthError;

/// The audiences that mean this server.
pub(super) fn own_audiences(issuer: &Issuer) -> Vec<String> {
    issuer.audiences().to_vec()
}

/// The user that a token stands for, and which of the audiences it is good for.
pub(super) fn verify(
    core: &Core,
    issuer: &Issuer,
    token: &str,
    audiences: Option<&[String]>,
) -> Result<(UserInfo, Vec<String>), AuthError> {
    let wanted = audiences.unwrap_or(issuer.audiences());
    let texts: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let invalid = |error: k8s_auth::TokenError| AuthError::Invalid(error.to_string());
    let claims = issuer.verify(token, &texts, core.world.now()).map_err(invalid)?;
    claims.check_bound(|kind, namespace, name| uid_of(core, kind, namespace, name)).map_err(invalid)?;
    let good = claims.aud.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
    Ok((claims.user(), good))
}

/// The uid of an object that a token may be bound to.
fn uid_of(core: &Core, kind: &str, namespace: &str, name: &str) -> Option<String> {
    let (plural, namespace) = match kind {
        "Node" => ("nodes", ""),
        "Pod" => ("pods", namespace),
        "Secret" => ("secrets", namespace),
        "ServiceAccount" => ("serviceaccounts", namespace),
        _ => return None,
    };
    core.lookup("", plural, namespace, name).map(|object| object.meta().uid.clone())
}
