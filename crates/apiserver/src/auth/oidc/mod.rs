//! Tokens of other issuers (OpenID Connect): verified with the issuer's keys and mapped to a user.

mod config;
mod keys;
mod signature;

use k8s_object::UserInfo;
use serde_json::{Map, Value};
use world::Timestamp;

pub(super) use config::parse;
pub use config::{JwtAuthenticator, Prefixed};

use crate::core::Core;
use keys::Keys;

/// How far a token's beginning may lie ahead (go-oidc).
const NOT_BEFORE_LEEWAY_SECONDS: i64 = 5 * 60;

/// One issuer.
pub(super) struct Oidc {
    config: JwtAuthenticator,
    keys: Keys,
}

impl Oidc {
    pub(super) fn new(config: JwtAuthenticator) -> Oidc {
        Oidc { config, keys: Keys::default() }
    }

    /// The user that a token stands for; nothing for tokens of other issuers.
    pub(super) async fn user(&self, core: &Core, token: &str) -> Result<Option<UserInfo>, String> {
        let Some(parts) = signature::parts(token) else { return Ok(None) };
        if parts.claims.get("iss").and_then(Value::as_str) != Some(self.config.issuer.as_str()) {
            return Ok(None);
        }
        let fits = |own: &signature::Key| parts.key_id.is_empty() || own.id == parts.key_id;
        let verifies =
            |own: &signature::Key| fits(own) && own.verifies(&parts.algorithm, parts.signed, &parts.signature);
        let keys = self.keys.get(core, &self.config, |keys| keys.iter().any(fits)).await;
        let keys = keys.map_err(|why| format!("oidc: {why}"))?;
        if !keys.iter().any(verifies) {
            return Err(
                "oidc: verify token: failed to verify signature: failed to verify id token signature".to_owned()
            );
        }
        check(&self.config, &parts.claims, core.world.now()).map_err(|why| format!("oidc: verify token: {why}"))?;
        map(&self.config, &parts.claims).map(Some).map_err(|why| format!("oidc: {why}"))
    }
}

/// Whether a token is for us, and of now.
fn check(config: &JwtAuthenticator, claims: &Map<String, Value>, now: Timestamp) -> Result<(), String> {
    let audiences = strings(claims.get("aud").unwrap_or(&Value::Null)).unwrap_or_default();
    if !audiences.iter().any(|audience| config.audiences.contains(audience)) {
        return Err(match &config.audiences[..] {
            [one] => format!("oidc: expected audience {one:?} got {audiences:?}"),
            many => format!("oidc: expected audience in {many:?} got {audiences:?}"),
        });
    }
    // Seconds may have fractions.
    let time = |name: &str| claims.get(name).and_then(Value::as_f64).map(|seconds| seconds as i64);
    let expires = time("exp").unwrap_or(0);
    if expires < now.seconds() {
        return Err(format!("oidc: token is expired (Token Expiry: {})", Timestamp::from_seconds(expires)));
    }
    match time("nbf") {
        Some(begins) if now.seconds().saturating_add(NOT_BEFORE_LEEWAY_SECONDS) < begins => {
            let begins = Timestamp::from_seconds(begins);
            Err(format!("oidc: current time {now} before the nbf (not before) time: {begins}"))
        }
        _ => Ok(()),
    }
}

/// One text, or a list of them.
fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(many) => many.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// The user of a token.
fn map(config: &JwtAuthenticator, claims: &Map<String, Value>) -> Result<UserInfo, String> {
    let text = |name: &str| match claims.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err("it is no text".to_owned()),
        None => Err("claim not present".to_owned()),
    };
    let claim = &config.username.claim;
    let name = text(claim).map_err(|why| format!("parse username claims {claim:?}: {why}"))?;
    if claim == "email" {
        match claims.get("email_verified") {
            None | Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err("email not verified".to_owned()),
            Some(_) => return Err("parse 'email_verified' claim: it is no boolean".to_owned()),
        }
    }
    let mut user = UserInfo { username: format!("{}{name}", config.username.prefix), ..UserInfo::default() };
    if let Some(groups) = &config.groups
        && let Some(value) = claims.get(&groups.claim)
    {
        let names =
            strings(value).ok_or_else(|| format!("parse groups claim {:?}: it is no list of texts", groups.claim))?;
        user.groups = names.into_iter().map(|name| format!("{}{name}", groups.prefix)).collect();
    }
    if !config.uid.is_empty() {
        user.uid = text(&config.uid).map_err(|why| format!("parse uid claim {:?}: {why}", config.uid))?;
    }
    if let Ok(id) = text("jti").map(|id| format!("JTI={id}")) {
        user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![id]);
    }
    for (claim, wanted) in &config.required_claims {
        if !claims.contains_key(claim) {
            return Err(format!("required claim {claim} not present in ID token"));
        }
        let own = text(claim).map_err(|why| format!("parse claim {claim}: {why}"))?;
        if own != *wanted {
            return Err(format!("required claim {claim} value does not match. Got = {own}, want = {wanted}"));
        }
    }
    user.add_authenticated();
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config() -> JwtAuthenticator {
        let prefixed = |claim: &str, prefix: &str| Prefixed { claim: claim.into(), prefix: prefix.into() };
        JwtAuthenticator {
            issuer: "https://issuer.example".into(),
            audiences: vec!["a".into(), "b".into()],
            required_claims: vec![("hd".into(), "example.com".into())],
            username: prefixed("email", "x:"),
            groups: Some(prefixed("roles", "g:")),
            uid: "sub".into(),
            ..JwtAuthenticator::default()
        }
    }

    #[test]
    fn claims_are_mapped_to_a_user() {
        let claims = json!({"email": "j@x", "sub": "7", "hd": "example.com", "roles": ["r", "s"], "jti": "i"});
        let with = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            map(&config(), claims.as_object().unwrap())
        };
        let user = with("x", json!(1)).unwrap();
        assert_eq!((user.username.as_str(), user.uid.as_str()), ("x:j@x", "7"));
        assert_eq!(user.groups, ["g:r", "g:s", "system:authenticated"]);
        assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], ["JTI=i"]);
        assert_eq!(with("roles", json!("one")).unwrap().groups, ["g:one", "system:authenticated"]);
        let cases = [
            ("email_verified", json!(false), "email not verified"),
            ("email", json!(1), "parse username claims \"email\": it is no text"),
            ("hd", json!("other"), "required claim hd value does not match. Got = other, want = example.com"),
            ("roles", json!({}), "parse groups claim \"roles\": it is no list of texts"),
            ("sub", json!(null), "parse uid claim \"sub\": it is no text"),
        ];
        for (name, value, expected) in cases {
            assert_eq!(with(name, value).unwrap_err(), expected, "{name}");
        }
    }

    #[test]
    fn tokens_are_for_an_audience_and_a_time() {
        let now = Timestamp::from_seconds(1_000);
        let cases = [
            (json!({"aud": "b", "exp": 1_000}), true),
            (json!({"aud": ["c", "a"], "exp": 1_000.5}), true),
            (json!({"aud": "c", "exp": 2_000}), false),
            (json!({"aud": "a", "exp": 999}), false),
            (json!({"aud": "a"}), false),
            (json!({"aud": "a", "exp": 2_000, "nbf": 1_300}), true),
            (json!({"aud": "a", "exp": 2_000, "nbf": 1_301}), false),
        ];
        for (claims, expected) in cases {
            assert_eq!(check(&config(), claims.as_object().unwrap(), now).is_ok(), expected, "{claims}");
        }
    }
}
