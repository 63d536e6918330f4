//! Authenticators of JSON Web Tokens, as `AuthenticationConfiguration` of `apiserver.config.k8s.io` describes them.

use k8s_kinds::causes;
use k8s_object::Cause;
use serde_json::Value;

use crate::auth::expressions::{About, Expression};

/// Authenticators of one configuration.
const MAX_AUTHENTICATORS: usize = 64;

/// One issuer's tokens, and what they say of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JwtAuthenticator {
    /// The `iss` claim, an `https` URL.
    pub issuer: String,
    /// Where the issuer is described; below its URL when empty.
    pub discovery_url: String,
    /// Of the issuer's certificate, as PEM; the system's when empty.
    pub authorities_pem: String,
    /// A token must be for one of these.
    pub audiences: Vec<String>,
    /// Claims and the values that they must have.
    pub required_claims: Vec<(String, String)>,
    /// What must hold of `claims`.
    pub claim_rules: Vec<Rule>,
    pub username: Mapping,
    /// No groups when empty.
    pub groups: Mapping,
    /// No uid when empty.
    pub uid: Mapping,
    /// Keys of extra values and expressions of `claims` for them.
    pub extra: Vec<(String, String)>,
    /// What must hold of the `user` that all this makes.
    pub user_rules: Vec<Rule>,
}

/// What a claim is mapped to: its value behind a prefix, or what an expression makes of all `claims`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    pub claim: String,
    pub prefix: String,
    pub expression: String,
}

/// An expression that must be true, and what is told when it is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub expression: String,
    pub message: String,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Finds what is wrong with an expression.
fn check(compiled: Result<Expression, String>, expression: &str, path: String, found: &mut Vec<Cause>) {
    if let Err(why) = compiled {
        found.push(causes::invalid(path, expression, &why));
    }
}

/// Reads the list `jwt` of a configuration.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn parse(jwt: &Value, own_issuer: &str) -> Result<Vec<JwtAuthenticator>, Vec<Cause>> {
    let (mut found, mut parsed) = (Vec::new(), Vec::<JwtAuthenticator>::new());
    if list(jwt).len() > MAX_AUTHENTICATORS {
        found.push(causes::too_many("jwt", list(jwt).len(), MAX_AUTHENTICATORS));
        return Err(found);
    }
    for (index, value) in list(jwt).iter().enumerate() {
        let path = format!("jwt[{index}]");
        let one = authenticator(value, &path, own_issuer, &mut found);
        if parsed.iter().any(|other| other.issuer == one.issuer) {
            found.push(causes::duplicate(format!("{path}.issuer.url"), one.issuer.as_str()));
        }
        if !one.discovery_url.is_empty() && parsed.iter().any(|other| other.discovery_url == one.discovery_url) {
            found.push(causes::duplicate(format!("{path}.issuer.discoveryURL"), one.discovery_url.as_str()));
        }
        parsed.push(one);
    }
    if found.is_empty() { Ok(parsed) } else { Err(found) }
}

fn authenticator(value: &Value, path: &str, own_issuer: &str, found: &mut Vec<Cause>) -> JwtAuthenticator {
    let issuer = &value["issuer"];
    let at = |field: &str| format!("{path}.issuer.{field}");
    match text(issuer, "url") {
        "" => found.push(causes::required(at("url"), "")),
        url if url == own_issuer => {
            let problem = format!("URL must not overlap with disallowed issuers: [{own_issuer}]");
            found.push(causes::invalid(at("url"), url, &problem));
        }
        url => check_url(url, &at("url"), found),
    }
    match text(issuer, "discoveryURL") {
        "" => {}
        url if url.trim_end_matches('/') == text(issuer, "url").trim_end_matches('/') => {
            found.push(causes::invalid(at("discoveryURL"), url, "discoveryURL must be different from URL"));
        }
        url => check_url(url, &at("discoveryURL"), found),
    }
    let audiences: Vec<String> =
        list(&issuer["audiences"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        let field = at("audiences");
        found.push(causes::required(field.clone(), &format!("at least one {field} is required")));
    }
    for (index, audience) in audiences.iter().enumerate() {
        let field = format!("{}[{index}]", at("audiences"));
        if audience.is_empty() {
            found.push(causes::required(field, ""));
        } else if audiences[..index].contains(audience) {
            found.push(causes::duplicate(field, audience.as_str()));
        }
    }
    let policy = text(issuer, "audienceMatchPolicy");
    if audiences.len() > 1 && policy != "MatchAny" {
        let problem = "audienceMatchPolicy must be MatchAny for multiple audiences";
        found.push(causes::invalid(at("audienceMatchPolicy"), policy, problem));
    }
    if audiences.len() == 1 && !["", "MatchAny"].contains(&policy) {
        let problem = "audienceMatchPolicy must be empty or MatchAny for single audience";
        found.push(causes::invalid(at("audienceMatchPolicy"), policy, problem));
    }
    let authorities = text(issuer, "certificateAuthority");
    if !authorities.is_empty() && !authorities.contains("-----BEGIN CERTIFICATE-----") {
        let problem = "data does not contain any valid RSA or ECDSA certificates";
        found.push(causes::invalid(at("certificateAuthority"), "<omitted>", problem));
    }
    let mappings = &value["claimMappings"];
    let at = |field: &str| format!("{path}.claimMappings.{field}");
    let username = prefixed(&mappings["username"], &at("username"), true, found);
    let groups = prefixed(&mappings["groups"], &at("groups"), false, found);
    let own = |field: &str| text(&mappings["uid"], field).to_owned();
    let uid = Mapping { claim: own("claim"), prefix: String::new(), expression: own("expression") };
    if !uid.claim.is_empty() && !uid.expression.is_empty() {
        found.push(causes::invalid(at("uid"), "", "claim and expression can't both be set"));
    } else if !uid.expression.is_empty() {
        check(Expression::compile(About::Claims, &uid.expression), &uid.expression, at("uid.expression"), found);
    }
    let extra = extra(&mappings["extra"], &at("extra"), found);
    let (required_claims, claim_rules) = claim_rules(&value["claimValidationRules"], path, found);
    let uses = |claim: &str| {
        let named = [
            format!("claims.{claim}"),
            format!("claims.?{claim}"),
            format!("claims[\"{claim}\"]"),
            format!("claims['{claim}']"),
        ];
        move |text: &str| named.iter().any(|name| text.contains(name.as_str()))
    };
    let verified = uses("email_verified");
    let all = std::iter::once(&username.expression).chain(extra.iter().map(|(_, text)| text));
    let mut all = all.chain(claim_rules.iter().map(|rule| &rule.expression));
    // An address that nobody has verified is anybody's.
    if uses("email")(&username.expression.replace("email_verified", "")) && !all.any(|text| verified(text)) {
        let problem = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
        found.push(causes::invalid(at("username.expression"), username.expression.as_str(), problem));
    }
    JwtAuthenticator {
        issuer: text(issuer, "url").to_owned(),
        discovery_url: text(issuer, "discoveryURL").to_owned(),
        authorities_pem: authorities.to_owned(),
        audiences,
        required_claims,
        claim_rules,
        username,
        groups,
        uid,
        extra,
        user_rules: user_rules(&value["userValidationRules"], path, found),
    }
}

fn rule(value: &Value) -> Rule {
    Rule { expression: text(value, "expression").to_owned(), message: text(value, "message").to_owned() }
}

fn claim_rules(rules: &Value, path: &str, found: &mut Vec<Cause>) -> (Vec<(String, String)>, Vec<Rule>) {
    let (mut claims, mut expressions) = (Vec::<(String, String)>::new(), Vec::<Rule>::new());
    for (index, value) in list(rules).iter().enumerate() {
        let path = format!("{path}.claimValidationRules[{index}]");
        let (claim, expression) = (text(value, "claim"), text(value, "expression"));
        match (claim.is_empty(), expression.is_empty()) {
            (false, false) => found.push(causes::invalid(path, claim, "claim and expression can't both be set")),
            (true, true) => found.push(causes::required(path, "claim or expression is required")),
            (true, false) => {
                if !text(value, "requiredValue").is_empty() {
                    let problem = "may not be specified when expression is set";
                    found.push(causes::invalid(format!("{path}.requiredValue"), text(value, "requiredValue"), problem));
                }
                if expressions.iter().any(|own| own.expression == expression) {
                    found.push(causes::duplicate(format!("{path}.expression"), expression));
                }
                check(
                    Expression::condition(About::Claims, expression),
                    expression,
                    format!("{path}.expression"),
                    found,
                );
                expressions.push(rule(value));
            }
            (false, true) => {
                if !text(value, "message").is_empty() {
                    let problem = "may not be specified when claim is set";
                    found.push(causes::invalid(format!("{path}.message"), text(value, "message"), problem));
                }
                if claims.iter().any(|(own, _)| own == claim) {
                    found.push(causes::duplicate(format!("{path}.claim"), claim));
                }
                claims.push((claim.to_owned(), text(value, "requiredValue").to_owned()));
            }
        }
    }
    (claims, expressions)
}

fn user_rules(rules: &Value, path: &str, found: &mut Vec<Cause>) -> Vec<Rule> {
    let mut expressions = Vec::<Rule>::new();
    for (index, value) in list(rules).iter().enumerate() {
        let path = format!("{path}.userValidationRules[{index}].expression");
        let expression = text(value, "expression");
        if expression.is_empty() {
            found.push(causes::required(path, ""));
            continue;
        }
        if expressions.iter().any(|own| own.expression == expression) {
            found.push(causes::duplicate(path.clone(), expression));
        }
        check(Expression::condition(About::User, expression), expression, path, found);
        expressions.push(rule(value));
    }
    expressions
}

fn extra(mappings: &Value, path: &str, found: &mut Vec<Cause>) -> Vec<(String, String)> {
    let mut parsed = Vec::<(String, String)>::new();
    for (index, value) in list(mappings).iter().enumerate() {
        let path = format!("{path}[{index}]");
        let (key, expression) = (text(value, "key"), text(value, "valueExpression"));
        let domain = key.split('/').next().unwrap_or("");
        let reserved = |own: &str| domain == own || domain.ends_with(&format!(".{own}"));
        if key.is_empty() {
            found.push(causes::required(format!("{path}.key"), ""));
        } else if key.to_lowercase() != key {
            found.push(causes::invalid(format!("{path}.key"), key, "must be lowercase"));
        } else if reserved("k8s.io") || reserved("kubernetes.io") {
            let problem = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
            found.push(causes::invalid(format!("{path}.key"), key, problem));
        } else if parsed.iter().any(|(own, _)| own == key) {
            found.push(causes::duplicate(format!("{path}.key"), key));
        }
        if expression.is_empty() {
            found.push(causes::required(format!("{path}.valueExpression"), ""));
        } else {
            let path = format!("{path}.valueExpression");
            check(Expression::compile(About::Claims, expression), expression, path, found);
        }
        parsed.push((key.to_owned(), expression.to_owned()));
    }
    parsed
}

fn prefixed(value: &Value, path: &str, required: bool, found: &mut Vec<Cause>) -> Mapping {
    let (claim, expression) = (text(value, "claim"), text(value, "expression"));
    match (claim.is_empty(), expression.is_empty()) {
        (false, false) => found.push(causes::invalid(path, "", "claim and expression can't both be set")),
        (true, true) if required => found.push(causes::required(path, "claim or expression is required")),
        (true, false) => {
            if value["prefix"].is_string() {
                let problem = "may not be specified when expression is set";
                found.push(causes::invalid(format!("{path}.prefix"), text(value, "prefix"), problem));
            }
            let compiled = Expression::compile(About::Claims, expression);
            check(compiled, expression, format!("{path}.expression"), found);
        }
        (false, true) if !value["prefix"].is_string() => {
            let problem = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
            found.push(causes::required(format!("{path}.prefix"), problem));
        }
        _ => {}
    }
    let prefix = text(value, "prefix").to_owned();
    Mapping { claim: claim.to_owned(), prefix, expression: expression.to_owned() }
}

fn check_url(url: &str, path: &str, found: &mut Vec<Cause>) {
    let mut refuse = |problem: &str| found.push(causes::invalid(path, url, problem));
    let Some((scheme, rest)) = url.split_once("://") else { return refuse("URL scheme must be https") };
    if scheme != "https" {
        refuse("URL scheme must be https");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.contains('@') {
        refuse("URL must not contain a username or password");
    }
    if rest.contains('?') {
        refuse("URL must not contain a query");
    }
    if rest.contains('#') {
        refuse("URL must not contain a fragment");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn valid() -> Value {
        json!({
            "issuer": {"url": "https://issuer.example", "audiences": ["a"]},
            "claimMappings": {"username": {"claim": "sub", "prefix": "x:"}},
        })
    }

    #[test]
    fn configurations_are_checked() {
        let with = |pointer: &str, value: Value| {
            let mut config = valid();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[field] = value;
            json!([config])
        };
        let cases = [
            (json!([valid()]), ""),
            (with("/issuer/url", json!("")), "jwt[0].issuer.url: Required value"),
            (
                with("/issuer/url", json!("http://x")),
                "jwt[0].issuer.url: Invalid value: \"http://x\": URL scheme must be https",
            ),
            (
                with("/issuer/url", json!("https://own.example")),
                "jwt[0].issuer.url: Invalid value: \"https://own.example\": URL must not overlap with disallowed issuers: [https://own.example]",
            ),
            (
                with("/issuer/audiences", json!(["a", "b"])),
                "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences",
            ),
            (
                with("/claimMappings/username", json!({"claim": "sub"})),
                "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
            ),
            (
                with("/claimMappings/username", json!({})),
                "jwt[0].claimMappings.username: Required value: claim or expression is required",
            ),
            (
                with("/claimValidationRules", json!([{"claim": "hd", "requiredValue": "a"}, {"claim": "hd"}])),
                "jwt[0].claimValidationRules[1].claim: Duplicate value: \"hd\"",
            ),
            (
                with("/claimMappings/username", json!({"expression": "claims.email"})),
                "jwt[0].claimMappings.username.expression: Invalid value: \"claims.email\": claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression",
            ),
            (
                with("/userValidationRules", json!([{"expression": "user.username"}])),
                "jwt[0].userValidationRules[0].expression: Invalid value: \"user.username\": must evaluate to bool",
            ),
            (
                with("/claimMappings/extra", json!([{"key": "kubernetes.io/x", "valueExpression": "claims.x"}])),
                "jwt[0].claimMappings.extra[0].key: Invalid value: \"kubernetes.io/x\": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
            ),
            (json!([valid(), valid()]), "jwt[1].issuer.url: Duplicate value: \"https://issuer.example\""),
        ];
        for (config, expected) in cases {
            let found = parse(&config, "https://own.example").err().unwrap_or_default();
            let found: Vec<String> = found.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(found.join("; "), expected, "{config}");
        }
    }
}
