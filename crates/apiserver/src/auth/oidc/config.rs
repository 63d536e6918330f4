//! Authenticators of JSON Web Tokens, as `AuthenticationConfiguration` of `apiserver.config.k8s.io` describes them.

use k8s_kinds::causes;
use k8s_object::Cause;
use serde_json::Value;

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
    pub username: Prefixed,
    pub groups: Option<Prefixed>,
    /// The claim that is the uid; no uid when empty.
    pub uid: String,
}

/// A claim and what is put before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefixed {
    pub claim: String,
    pub prefix: String,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Expressions are refused by name: a rule that is not applied would let in whom it is to keep out.
fn refuse_expression(value: &Value, name: &str, path: &str, found: &mut Vec<Cause>) {
    if !text(value, name).is_empty() {
        let problem = "CEL expressions in AuthenticationConfiguration are not supported by Minato yet";
        found.push(causes::invalid(format!("{path}.{name}"), text(value, name), problem));
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
    refuse_expression(&mappings["uid"], "expression", &at("uid"), found);
    for (index, extra) in list(&mappings["extra"]).iter().enumerate() {
        refuse_expression(extra, "valueExpression", &format!("{}[{index}]", at("extra")), found);
    }
    for (index, rule) in list(&value["userValidationRules"]).iter().enumerate() {
        refuse_expression(rule, "expression", &format!("{path}.userValidationRules[{index}]"), found);
    }
    JwtAuthenticator {
        issuer: text(issuer, "url").to_owned(),
        discovery_url: text(issuer, "discoveryURL").to_owned(),
        authorities_pem: authorities.to_owned(),
        audiences,
        required_claims: required(&value["claimValidationRules"], path, found),
        username,
        groups: Some(groups).filter(|groups| !groups.claim.is_empty()),
        uid: text(&mappings["uid"], "claim").to_owned(),
    }
}

fn required(rules: &Value, path: &str, found: &mut Vec<Cause>) -> Vec<(String, String)> {
    let mut claims: Vec<(String, String)> = Vec::new();
    for (index, rule) in list(rules).iter().enumerate() {
        let path = format!("{path}.claimValidationRules[{index}]");
        let claim = text(rule, "claim");
        match (claim.is_empty(), text(rule, "expression").is_empty()) {
            (false, false) => found.push(causes::invalid(path, claim, "claim and expression can't both be set")),
            (true, true) => found.push(causes::required(path, "claim or expression is required")),
            (true, false) => refuse_expression(rule, "expression", &path, found),
            (false, true) => {
                if !text(rule, "message").is_empty() {
                    let problem = "may not be specified when claim is set";
                    found.push(causes::invalid(format!("{path}.message"), text(rule, "message"), problem));
                }
                if claims.iter().any(|(own, _)| own == claim) {
                    found.push(causes::duplicate(format!("{path}.claim"), claim));
                }
                claims.push((claim.to_owned(), text(rule, "requiredValue").to_owned()));
            }
        }
    }
    claims
}

fn prefixed(value: &Value, path: &str, required: bool, found: &mut Vec<Cause>) -> Prefixed {
    let (claim, expression) = (text(value, "claim"), text(value, "expression"));
    match (claim.is_empty(), expression.is_empty()) {
        (false, false) => found.push(causes::invalid(path, "", "claim and expression can't both be set")),
        (true, true) if required => found.push(causes::required(path, "claim or expression is required")),
        (true, false) => refuse_expression(value, "expression", path, found),
        (false, true) if !value["prefix"].is_string() => {
            let problem = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
            found.push(causes::required(format!("{path}.prefix"), problem));
        }
        _ => {}
    }
    Prefixed { claim: claim.to_owned(), prefix: text(value, "prefix").to_owned() }
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
            (json!([valid(), valid()]), "jwt[1].issuer.url: Duplicate value: \"https://issuer.example\""),
        ];
        for (config, expected) in cases {
            let found = parse(&config, "https://own.example").err().unwrap_or_default();
            let found: Vec<String> = found.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(found.join("; "), expected, "{config}");
        }
    }
}
