//! Tokens of other issuers (OpenID Connect): verified with the issuer's keys and mapped to a user.

mod config;
mod keys;
mod signature;

use k8s_object::UserInfo;
use serde_json::{Map, Value, json};
use world::Timestamp;

pub(super) use config::parse;
pub use config::{JwtAuthenticator, Mapping, Rule};

use super::expressions::{self, About, Expression};
use crate::core::Core;
use keys::Keys;

/// How far a token's beginning may lie ahead (go-oidc).
const NOT_BEFORE_LEEWAY_SECONDS: i64 = 5 * 60;

/// One issuer.
pub(super) struct Oidc {
    config: JwtAuthenticator,
    expressions: Expressions,
    keys: Keys,
}

/// What is compiled of a configuration.
struct Expressions {
    username: Option<Expression>,
    groups: Option<Expression>,
    uid: Option<Expression>,
    /// By the key of the extra value.
    extra: Vec<(String, Expression)>,
    /// With what is told when they do not hold.
    claim_rules: Vec<(Expression, String)>,
    user_rules: Vec<(Expression, String)>,
}

impl Expressions {
    fn compile(config: &JwtAuthenticator) -> Result<Expressions, String> {
        let mapping = |mapping: &Mapping| match mapping.expression.as_str() {
            "" => Ok(None),
            text => Expression::compile(About::Claims, text).map(Some),
        };
        let rules = |about, rules: &[Rule]| {
            let rules =
                rules.iter().map(|rule| Ok((Expression::condition(about, &rule.expression)?, rule.message.clone())));
            rules.collect::<Result<Vec<_>, String>>()
        };
        let extra = config.extra.iter().map(|(key, text)| Ok((key.clone(), Expression::compile(About::Claims, text)?)));
        Ok(Expressions {
            username: mapping(&config.username)?,
            groups: mapping(&config.groups)?,
            uid: mapping(&config.uid)?,
            extra: extra.collect::<Result<_, String>>()?,
            claim_rules: rules(About::Claims, &config.claim_rules)?,
            user_rules: rules(About::User, &config.user_rules)?,
        })
    }
}

impl Oidc {
    /// # Errors
    /// If an expression does not compile.
    pub(super) fn new(config: JwtAuthenticator) -> Result<Oidc, String> {
        Ok(Oidc { expressions: Expressions::compile(&config)?, config, keys: Keys::default() })
    }

    /// Whether this is what a configuration describes.
    pub(super) fn is_of(&self, config: &JwtAuthenticator) -> bool {
        self.config == *config
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
        map(&self.config, &self.expressions, parts.claims).map(Some).map_err(|why| format!("oidc: {why}"))
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
fn map(config: &JwtAuthenticator, own: &Expressions, claims: Map<String, Value>) -> Result<UserInfo, String> {
    let claims = Value::Object(claims);
    let text = |name: &str| match claims.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err("it is no text".to_owned()),
        None => Err("claim not present".to_owned()),
    };
    let mut user = UserInfo { username: username(config, own, &claims)?, ..UserInfo::default() };
    if let Some(expression) = &own.groups {
        let groups = expression.eval(&claims).and_then(|value| expressions::strings(&value));
        user.groups = groups.map_err(|why| format!("error evaluating group claim expression: {why}"))?;
    } else if let Some(value) = claims.get(&config.groups.claim) {
        let Mapping { claim, prefix, .. } = &config.groups;
        let names = strings(value).ok_or_else(|| format!("parse groups claim {claim:?}: it is no list of texts"))?;
        user.groups = names.into_iter().map(|name| format!("{prefix}{name}")).collect();
    }
    if let Some(expression) = &own.uid {
        let failed = |why: &str| format!("error evaluating uid claim expression: {why}");
        let value = expression.eval(&claims).map_err(|why| failed(&why))?;
        user.uid = value.as_str().ok_or_else(|| failed("uid claim expression must return a string"))?.to_owned();
    } else if !config.uid.claim.is_empty() {
        let claim = &config.uid.claim;
        user.uid = text(claim).map_err(|why| format!("parse uid claim {claim:?}: {why}"))?;
    }
    if let Ok(id) = text("jti").map(|id| format!("JTI={id}")) {
        user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![id]);
    }
    for (key, expression) in &own.extra {
        let values = expression.eval(&claims).and_then(|value| expressions::strings(&value));
        let failed = |why| format!("error evaluating extra claim expression: {}: {why}", expression.text);
        let values = values.map_err(failed)?;
        if !values.is_empty() {
            user.extra.insert(key.clone(), values);
        }
    }
    for (claim, wanted) in &config.required_claims {
        if claims.get(claim).is_none() {
            return Err(format!("required claim {claim} not present in ID token"));
        }
        let own = text(claim).map_err(|why| format!("parse claim {claim}: {why}"))?;
        if own != *wanted {
            return Err(format!("required claim {claim} value does not match. Got = {own}, want = {wanted}"));
        }
    }
    let failed = |why| format!("error evaluating claim validation expression: {why}");
    hold(&own.claim_rules, &claims).map_err(failed)?;
    if !own.user_rules.is_empty() {
        let value = json!({"username": user.username, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        let failed = |why| format!("error evaluating user info validation rule: {why}");
        hold(&own.user_rules, &value).map_err(failed)?;
    }
    user.add_authenticated();
    Ok(user)
}

fn username(config: &JwtAuthenticator, own: &Expressions, claims: &Value) -> Result<String, String> {
    if let Some(expression) = &own.username {
        let failed = |why: &str| format!("error evaluating username claim expression: {why}");
        let value = expression.eval(claims).map_err(|why| failed(&why))?;
        return match value.as_str() {
            None => Err(failed("username claim expression must return a string")),
            Some("") => Err("empty username via CEL expression is not allowed".to_owned()),
            Some(name) => Ok(name.to_owned()),
        };
    }
    let claim = &config.username.claim;
    let name = match &claims[claim.as_str()] {
        Value::String(name) => name,
        Value::Null => return Err(format!("parse username claims {claim:?}: claim not present")),
        _ => return Err(format!("parse username claims {claim:?}: it is no text")),
    };
    if claim == "email" {
        match claims.get("email_verified") {
            None | Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err("email not verified".to_owned()),
            Some(_) => return Err("parse 'email_verified' claim: it is no boolean".to_owned()),
        }
    }
    Ok(format!("{}{name}", config.username.prefix))
}

/// Whether all rules hold.
fn hold(rules: &[(Expression, String)], value: &Value) -> Result<(), String> {
    for (expression, message) in rules {
        if !expression.holds(value)? {
            return Err(format!("validation expression '{}' failed: {message}", expression.text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> JwtAuthenticator {
        let mapping =
            |claim: &str, prefix: &str| Mapping { claim: claim.into(), prefix: prefix.into(), ..Mapping::default() };
        JwtAuthenticator {
            issuer: "https://issuer.example".into(),
            audiences: vec!["a".into(), "b".into()],
            required_claims: vec![("hd".into(), "example.com".into())],
            username: mapping("email", "x:"),
            groups: mapping("roles", "g:"),
            uid: mapping("sub", ""),
            ..JwtAuthenticator::default()
        }
    }

    fn mapped(config: &JwtAuthenticator, claims: &Value) -> Result<UserInfo, String> {
        let Oidc { config, expressions, .. } = Oidc::new(config.clone())?;
        map(&config, &expressions, claims.as_object().unwrap().clone())
    }

    #[test]
    fn expressions_map_claims_and_rules_keep_users_out() {
        let of = |expression: &str| Mapping { expression: expression.into(), ..Mapping::default() };
        let rule = |expression: &str, message: &str| Rule { expression: expression.into(), message: message.into() };
        let config = JwtAuthenticator {
            username: of("claims.sub + '@x'"),
            groups: of("claims.roles.filter(r, r != 'none')"),
            uid: of("string(claims.n)"),
            extra: vec![
                ("example.com/n".into(), "string(claims.n)".into()),
                ("example.com/gone".into(), "claims.?gone.orValue('')".into()),
            ],
            claim_rules: vec![rule("claims.n > 0", "n is small")],
            user_rules: vec![rule("!user.username.startsWith('system:')", "no system users")],
            ..JwtAuthenticator::default()
        };
        let with = |sub: &str, n: i64| mapped(&config, &json!({"sub": sub, "n": n, "roles": ["a", "none"]}));
        let user = with("j", 7).unwrap();
        assert_eq!((user.username.as_str(), user.uid.as_str()), ("j@x", "7"));
        assert_eq!(user.groups, ["a", "system:authenticated"]);
        assert_eq!(user.extra, [("example.com/n".to_owned(), vec!["7".to_owned()])].into());
        let cases = [
            (
                with("j", 0),
                "error evaluating claim validation expression: validation expression 'claims.n > 0' failed: n is small",
            ),
            (
                with("system:j", 7),
                "error evaluating user info validation rule: validation expression '!user.username.startsWith('system:')' failed: no system users",
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found.unwrap_err(), expected);
        }
    }

    #[test]
    fn claims_are_mapped_to_a_user() {
        let claims = json!({"email": "j@x", "sub": "7", "hd": "example.com", "roles": ["r", "s"], "jti": "i"});
        let with = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            mapped(&config(), &claims)
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
