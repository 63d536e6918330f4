//! `AuthenticationConfiguration` and `AuthorizationConfiguration` of `apiserver.config.k8s.io`: the files by which upstream's server is
//! told how clients are known and who decides.

use std::time::Duration;

use k8s_kinds::causes;
use k8s_object::Cause;
use serde_json::Value;

use super::expressions::{About, Expression};
use super::oidc::{self, JwtAuthenticator};
use super::options::{Anonymous, Mode};
use super::webhook::{AuthorizationWebhook, FailurePolicy, Remote};

const VERSIONS: &[&str] =
    &["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
/// The longest that an authorizer may take.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// Conditions of one webhook.
const MAX_CONDITIONS: usize = 64;
const KINDS: &[&str] = &["Node", "RBAC", "Webhook"];

/// A configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", texts(.0))]
pub struct ConfigError(pub Vec<Cause>);

fn texts(causes: &[Cause]) -> String {
    let texts: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    if let [one] = &texts[..] { one.clone() } else { format!("[{}]", texts.join(", ")) }
}

fn parse(text: &str, kind: &str) -> Result<Value, ConfigError> {
    let value: Value = serde_yaml::from_str(text)
        .map_err(|error| ConfigError(vec![causes::invalid("", "", &format!("it cannot be read: {error}"))]))?;
    let version = value["apiVersion"].as_str().unwrap_or("");
    if !VERSIONS.contains(&version) {
        return Err(ConfigError(vec![causes::not_supported("apiVersion", version, VERSIONS)]));
    }
    match value["kind"].as_str().unwrap_or("") {
        own if own == kind => Ok(value),
        other => Err(ConfigError(vec![causes::not_supported("kind", other, &[kind])])),
    }
}

/// What an `AuthenticationConfiguration` says: the issuers whose tokens are taken, and where strangers are let in, if it says so.
///
/// # Errors
/// All that is wrong with it. `own_issuer` is the cluster's own, whose tokens nobody else may issue.
pub fn authentication(text: &str, own_issuer: &str) -> Result<(Vec<JwtAuthenticator>, Option<Anonymous>), ConfigError> {
    let config = parse(text, "AuthenticationConfiguration")?;
    let issuers = oidc::parse(&config["jwt"], own_issuer).map_err(ConfigError)?;
    let anonymous = &config["anonymous"];
    if !anonymous.is_object() {
        return Ok((issuers, None));
    }
    let conditions = anonymous["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let paths: Vec<String> =
        conditions.iter().filter_map(|condition| condition["path"].as_str()).map(str::to_owned).collect();
    let anonymous = match (anonymous["enabled"] == true, paths.is_empty()) {
        (false, true) => Anonymous::Nowhere,
        (false, false) => {
            let problem = "enabled should be set to true when conditions are defined";
            let cause = causes::invalid("anonymous.conditions", anonymous["conditions"].clone(), problem);
            return Err(ConfigError(vec![cause]));
        }
        (true, true) => Anonymous::Everywhere,
        (true, false) => Anonymous::On(paths),
    };
    Ok((issuers, Some(anonymous)))
}

/// What an `AuthorizationConfiguration` says: who decides, in which order. `load` reads the files that it and its kubeconfigs name.
///
/// # Errors
/// All that is wrong with it.
pub fn authorization(text: &str, load: impl Fn(&str) -> std::io::Result<Vec<u8>>) -> Result<Vec<Mode>, ConfigError> {
    let config = parse(text, "AuthorizationConfiguration")?;
    let list = config["authorizers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        let problem = "at least one authorization mode must be defined";
        return Err(ConfigError(vec![causes::required("authorizers", problem)]));
    }
    let (mut found, mut modes, mut names, mut kinds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, own) in list.iter().enumerate() {
        let path = format!("authorizers[{index}]");
        let (kind, name) = (own["type"].as_str().unwrap_or(""), own["name"].as_str().unwrap_or(""));
        match kind {
            "" => found.push(causes::required(format!("{path}.type"), "")),
            "Node" | "RBAC" | "Webhook" => {
                if kind != "Webhook" && kinds.contains(&kind) {
                    found.push(causes::duplicate(format!("{path}.type"), kind));
                }
            }
            other => found.push(causes::not_supported(format!("{path}.type"), other, KINDS)),
        }
        kinds.push(kind);
        if name.is_empty() {
            found.push(causes::required(format!("{path}.name"), ""));
        } else if names.contains(&name) {
            found.push(causes::duplicate(format!("{path}.name"), name));
        }
        names.push(name);
        let webhook = &own["webhook"];
        match kind {
            "Node" => modes.push(Mode::Node),
            "RBAC" => modes.push(Mode::Rbac),
            "Webhook" if !webhook.is_object() => {
                found.push(causes::required(format!("{path}.webhook"), "required when type=Webhook"));
            }
            "Webhook" => modes.extend(self::webhook(webhook, name, &format!("{path}.webhook"), &load, &mut found)),
            _ => {}
        }
        if kind != "Webhook" && webhook.is_object() {
            let problem = "may only be specified when type=Webhook";
            found.push(causes::invalid(format!("{path}.webhook"), "non-null", problem));
        }
    }
    if found.is_empty() { Ok(modes) } else { Err(ConfigError(found)) }
}

fn webhook(
    value: &Value,
    name: &str,
    path: &str,
    load: &impl Fn(&str) -> std::io::Result<Vec<u8>>,
    found: &mut Vec<Cause>,
) -> Option<Mode> {
    let text = |field: &str| value[field].as_str().unwrap_or("");
    let at = |field: &str| format!("{path}.{field}");
    let mut duration = |field: &str, default: Duration, limit: Option<Duration>| {
        let own = match text(field) {
            "" if field == "timeout" => {
                found.push(causes::required(at(field), ""));
                return default;
            }
            "" => return default,
            own => own,
        };
        let parsed = seconds(own).filter(|own| !own.is_zero() && limit.is_none_or(|limit| *own <= limit));
        parsed.unwrap_or_else(|| {
            let problem = if limit.is_some() { "must be > 0s and <= 30s" } else { "must be > 0s" };
            found.push(causes::invalid(at(field), own, problem));
            default
        })
    };
    let timeout = duration("timeout", Duration::from_secs(3), Some(MAX_TIMEOUT));
    let authorized_ttl = duration("authorizedTTL", Duration::from_secs(300), None);
    let unauthorized_ttl = duration("unauthorizedTTL", Duration::from_secs(30), None);
    match text("subjectAccessReviewVersion") {
        "v1" => {}
        "" => found.push(causes::required(at("subjectAccessReviewVersion"), "")),
        other => found.push(causes::not_supported(at("subjectAccessReviewVersion"), other, &["v1"])),
    }
    let failure_policy = match text("failurePolicy") {
        "NoOpinion" => FailurePolicy::NoOpinion,
        "Deny" => FailurePolicy::Deny,
        "" => {
            found.push(causes::required(at("failurePolicy"), ""));
            FailurePolicy::Deny
        }
        other => {
            found.push(causes::not_supported(at("failurePolicy"), other, &["NoOpinion", "Deny"]));
            FailurePolicy::Deny
        }
    };
    let match_conditions = conditions(value, path, found);
    let connection = &value["connectionInfo"];
    let file = connection["kubeConfigFile"].as_str().unwrap_or("");
    match connection["type"].as_str().unwrap_or("") {
        "KubeConfigFile" if file.is_empty() => {
            found.push(causes::required(at("connectionInfo.kubeConfigFile"), ""));
            return None;
        }
        "KubeConfigFile" => {}
        "" => {
            found.push(causes::required(at("connectionInfo.type"), ""));
            return None;
        }
        other => {
            found.push(causes::not_supported(at("connectionInfo.type"), other, &["KubeConfigFile"]));
            return None;
        }
    }
    let remote = load(file)
        .map_err(|error| error.to_string())
        .and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()))
        .and_then(|text| Remote::from_kubeconfig(&text, load));
    match remote {
        Ok(remote) => {
            let own = AuthorizationWebhook::new(name, remote, failure_policy);
            let webhook = AuthorizationWebhook { timeout, authorized_ttl, unauthorized_ttl, match_conditions, ..own };
            Some(Mode::Webhook(Box::new(webhook)))
        }
        Err(why) => {
            let problem = format!("error loading file: {why}");
            found.push(causes::invalid(at("connectionInfo.kubeConfigFile"), file, &problem));
            None
        }
    }
}

fn conditions(value: &Value, path: &str, found: &mut Vec<Cause>) -> Vec<String> {
    let list = value["matchConditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if list.len() > MAX_CONDITIONS {
        found.push(causes::too_many(format!("{path}.matchConditions"), list.len(), MAX_CONDITIONS));
        return Vec::new();
    }
    if !list.is_empty() {
        match value["matchConditionSubjectAccessReviewVersion"].as_str().unwrap_or("") {
            "v1" => {}
            "" => {
                let problem = "required if match conditions are specified";
                found.push(causes::required(format!("{path}.matchConditionSubjectAccessReviewVersion"), problem));
            }
            other => {
                let field = format!("{path}.matchConditionSubjectAccessReviewVersion");
                found.push(causes::not_supported(field, other, &["v1"]));
            }
        }
    }
    let mut texts = Vec::<String>::new();
    for (index, condition) in list.iter().enumerate() {
        let path = format!("{path}.matchConditions[{index}].expression");
        let text = condition["expression"].as_str().unwrap_or("").to_owned();
        if text.trim().is_empty() {
            found.push(causes::required(path, ""));
        } else if texts.contains(&text) {
            found.push(causes::duplicate(path, text.as_str()));
        } else if let Err(why) = Expression::condition(About::Request, &text) {
            found.push(causes::invalid(path, text.as_str(), &why));
        }
        texts.push(text);
    }
    texts
}

/// A duration as Go writes it, of whole units: `1m30s`, `500ms`.
fn seconds(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        total = total.checked_add(match &rest[digits..unit] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        })?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {type: Node, name: node}
- type: Webhook
  name: hook
  webhook:
    timeout: 5s
    authorizedTTL: 1m30s
    subjectAccessReviewVersion: v1
    failurePolicy: NoOpinion
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: /hook}
- {type: RBAC, name: rbac}
";

    fn load(path: &str) -> std::io::Result<Vec<u8>> {
        match path {
            "/hook" => Ok(b"{current-context: c, contexts: [{name: c, context: {cluster: k}}], clusters: [{name: k, cluster: {server: 'https://h'}}]}".to_vec()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    #[test]
    fn authorizers_are_read_in_their_order() {
        let modes = authorization(HOOK, load).unwrap();
        let [Mode::Node, Mode::Webhook(hook), Mode::Rbac] = &modes[..] else { panic!("three modes") };
        assert_eq!((hook.name.as_str(), hook.remote.url.as_str()), ("hook", "https://h"));
        let times = [hook.timeout, hook.authorized_ttl, hook.unauthorized_ttl].map(|time| time.as_secs());
        assert_eq!((times, hook.failure_policy), ([5, 90, 30], FailurePolicy::NoOpinion));
        let cases = [
            (
                "type: Node",
                "type: ABAC",
                "authorizers[0].type: Unsupported value: \"ABAC\": supported values: \"Node\", \"RBAC\", \"Webhook\"",
            ),
            ("name: rbac", "name: node", "authorizers[2].name: Duplicate value: \"node\""),
            (
                "timeout: 5s",
                "timeout: 31s",
                "authorizers[1].webhook.timeout: Invalid value: \"31s\": must be > 0s and <= 30s",
            ),
            (
                "NoOpinion",
                "Ignore",
                "authorizers[1].webhook.failurePolicy: Unsupported value: \"Ignore\": supported values: \"NoOpinion\", \"Deny\"",
            ),
            (
                "failurePolicy: NoOpinion",
                "failurePolicy: NoOpinion\n    matchConditionSubjectAccessReviewVersion: v1\n    matchConditions: [{expression: request.user}]",
                "authorizers[1].webhook.matchConditions[0].expression: Invalid value: \"request.user\": must evaluate to bool but got string",
            ),
            (
                "kubeConfigFile: /hook",
                "kubeConfigFile: /none",
                "authorizers[1].webhook.connectionInfo.kubeConfigFile: Invalid value: \"/none\": error loading file: entity not found",
            ),
        ];
        for (from, to, expected) in cases {
            let error = authorization(&HOOK.replacen(from, to, 1), load).err().unwrap();
            assert_eq!(error.to_string(), expected, "{to}");
        }
    }

    #[test]
    fn strangers_are_let_in_where_a_configuration_says() {
        let of = |rest: &str| {
            let text = format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n{rest}");
            authentication(&text, "https://own").map(|(_, anonymous)| anonymous).map_err(|error| error.to_string())
        };
        let cases = [
            ("", Ok(None)),
            ("anonymous: {enabled: true}", Ok(Some(Anonymous::Everywhere))),
            ("anonymous: {enabled: false}", Ok(Some(Anonymous::Nowhere))),
            (
                "anonymous: {enabled: true, conditions: [{path: /livez}]}",
                Ok(Some(Anonymous::On(vec!["/livez".to_owned()]))),
            ),
        ];
        for (rest, expected) in cases {
            assert_eq!(of(rest), expected, "{rest}");
        }
        let refused = of("anonymous: {enabled: false, conditions: [{path: /livez}]}").unwrap_err();
        assert!(refused.ends_with("enabled should be set to true when conditions are defined"), "{refused}");
    }
}
