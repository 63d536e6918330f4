//! Another server decides about requests: `SubjectAccessReview` of `authorization.k8s.io/v1`, sent to it.

use std::time::Duration;

use k8s_auth::Attributes;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::cache::{Cache, key};
use super::remote::Remote;
use crate::auth::expressions::{About, Expression};
use crate::core::Core;
use crate::ports::Decision;
use crate::selectors;
use crate::webhook::Client;

/// Bytes of a question whose answer is remembered (upstream's `maxControlledAttrCacheSize`).
const MAX_REMEMBERED_BYTES: usize = 10_000;

/// What to do when the server cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    NoOpinion,
    Deny,
}

/// A server that decides.
#[derive(Clone)]
pub struct AuthorizationWebhook {
    pub name: String,
    pub remote: Remote,
    /// How long an answer may take; 30 seconds at most.
    pub timeout: Duration,
    /// How long it is believed that something is allowed.
    pub authorized_ttl: Duration,
    /// How long it is believed that something is not.
    pub unauthorized_ttl: Duration,
    pub failure_policy: FailurePolicy,
    /// What must hold of a `request` for it to be asked about.
    pub match_conditions: Vec<String>,
}

impl AuthorizationWebhook {
    /// With upstream's times.
    pub fn new(name: &str, remote: Remote, failure_policy: FailurePolicy) -> AuthorizationWebhook {
        AuthorizationWebhook {
            name: name.to_owned(),
            remote,
            timeout: Duration::from_secs(3),
            authorized_ttl: Duration::from_secs(300),
            unauthorized_ttl: Duration::from_secs(30),
            failure_policy,
            match_conditions: Vec::new(),
        }
    }
}

/// Asks and remembers.
pub(in crate::auth) struct Asking {
    config: AuthorizationWebhook,
    conditions: Vec<Expression>,
    client: OnceCell<Client>,
    known: Cache<Decision>,
}

impl Asking {
    /// # Errors
    /// If a condition does not compile.
    pub(in crate::auth) fn new(config: AuthorizationWebhook) -> Result<Asking, String> {
        let conditions = config.match_conditions.iter().map(|text| Expression::condition(About::Request, text));
        let conditions = conditions.collect::<Result<_, _>>()?;
        Ok(Asking { config, conditions, client: OnceCell::new(), known: Cache::new() })
    }

    /// Whether a question is for this webhook. One condition that does not hold is enough, whatever else fails.
    fn matches(&self, spec: &Value) -> Result<bool, String> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let (seen, mut failed) = (with_empty(spec), None);
        for condition in &self.conditions {
            match condition.holds(&seen) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => {
                    failed = failed.or(Some(format!(
                        "cel evaluation error: expression '{}' resulted in error: {why}",
                        condition.text
                    )))
                }
            }
        }
        failed.map_or(Ok(true), Err)
    }

    /// A decision, or what is decided when there is none and why there is none.
    pub(in crate::auth) async fn decide(
        &self,
        core: &Core,
        attributes: &Attributes<'_>,
    ) -> Result<Decision, (Decision, String)> {
        let spec = spec(attributes);
        match self.matches(&spec) {
            Ok(true) => {}
            Ok(false) => return Ok(Decision::NoOpinion(String::new())),
            Err(why) => return Err((self.without_answer(), why)),
        }
        let text = spec.to_string();
        let key = key(&[text.as_bytes()]);
        if let Some(decision) = self.known.get(&key, core.world.elapsed()) {
            return Ok(decision);
        }
        match self.ask(core, spec).await {
            Ok(decision) => {
                let lifetime = match decision {
                    Decision::Allow(_) => self.config.authorized_ttl,
                    Decision::NoOpinion(_) | Decision::Deny(_) => self.config.unauthorized_ttl,
                };
                if text.len() < MAX_REMEMBERED_BYTES {
                    self.known.put(key, decision.clone(), core.world.elapsed(), lifetime);
                }
                Ok(decision)
            }
            Err(why) => Err((self.without_answer(), why)),
        }
    }

    fn without_answer(&self) -> Decision {
        match self.config.failure_policy {
            FailurePolicy::NoOpinion => Decision::NoOpinion(String::new()),
            FailurePolicy::Deny => Decision::Deny(String::new()),
        }
    }

    async fn ask(&self, core: &Core, spec: Value) -> Result<Decision, String> {
        let client = self.client.get_or_try_init(async || self.config.remote.client(core)).await?;
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {"creationTimestamp": null},
            "spec": spec, "status": {"allowed": false},
        });
        let answer = self.config.remote.ask(core, client, &review, self.config.timeout).await?;
        let status = &answer["status"];
        let reason = status["reason"].as_str().unwrap_or("").to_owned();
        match (status["allowed"] == true, status["denied"] == true) {
            (true, true) => Err("webhook subject access review returned both allow and deny response".to_owned()),
            (_, true) => Ok(Decision::Deny(reason)),
            (true, _) => Ok(Decision::Allow(reason)),
            _ => Ok(Decision::NoOpinion(reason)),
        }
    }
}

/// What is asked, as conditions see it: they may name what is empty.
fn with_empty(spec: &Value) -> Value {
    let mut seen = json!({"user": "", "uid": "", "groups": [], "extra": {}});
    let own = spec.as_object().into_iter().flatten();
    for (key, value) in own {
        seen[key] = match key.as_str() {
            "resourceAttributes" => {
                let mut all = json!({
                    "namespace": "", "verb": "", "group": "", "version": "", "resource": "", "subresource": "", "name": "",
                });
                value.as_object().into_iter().flatten().for_each(|(key, value)| all[key] = value.clone());
                all
            }
            "nonResourceAttributes" => json!({
                "path": value["path"].as_str().unwrap_or(""), "verb": value["verb"].as_str().unwrap_or(""),
            }),
            _ => value.clone(),
        };
    }
    seen
}

/// What is asked. Fields that are empty are not there.
fn spec(attributes: &Attributes<'_>) -> Value {
    let Attributes { user, verb, group, version, resource, subresource, namespace, name, path, .. } = *attributes;
    let texts = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().filter(|(_, text)| !text.is_empty());
        Value::Object(pairs.map(|(key, text)| ((*key).to_owned(), json!(text))).collect())
    };
    let mut spec = texts(&[("user", &user.username), ("uid", &user.uid)]);
    if !user.groups.is_empty() {
        spec["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        spec["extra"] = json!(user.extra);
    }
    if !attributes.is_resource() {
        spec["nonResourceAttributes"] = texts(&[("path", path), ("verb", verb)]);
        return spec;
    }
    let mut asked = texts(&[
        ("namespace", namespace),
        ("verb", verb),
        ("group", group),
        ("version", version),
        ("resource", resource),
        ("subresource", subresource),
        ("name", name),
    ]);
    if let Some(selector) = attributes.field_selector.filter(|selector| !selector.is_everything()) {
        asked["fieldSelector"] = selectors::fields_value(selector);
    }
    if let Some(selector) = attributes.label_selector.filter(|selector| !selector.is_everything()) {
        asked["labelSelector"] = selectors::labels_value(selector);
    }
    spec["resourceAttributes"] = asked;
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_object::{FieldSelector, LabelSelector, UserInfo};

    #[test]
    fn a_question_says_what_there_is_to_say() {
        let user = UserInfo::new("jane", &["g"]);
        let (fields, labels) =
            (FieldSelector::parse("spec.nodeName=n").unwrap(), LabelSelector::parse("a in (b)").unwrap());
        let pods = Attributes {
            namespace: "d",
            field_selector: Some(&fields),
            label_selector: Some(&labels),
            ..Attributes::resource(&user, "list", "", "pods")
        };
        let expected = json!({
            "user": "jane", "groups": ["g", "system:authenticated"],
            "resourceAttributes": {
                "namespace": "d", "verb": "list", "resource": "pods",
                "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]},
                "labelSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b"]}]},
            },
        });
        assert_eq!(spec(&pods), expected);
        let path = json!({
            "user": "jane", "groups": ["g", "system:authenticated"], "nonResourceAttributes": {"path": "/x", "verb": "get"},
        });
        assert_eq!(spec(&Attributes::path(&user, "get", "/x")), path);
    }

    #[test]
    fn conditions_see_what_is_empty() {
        let user = UserInfo::new("jane", &[]);
        let seen = with_empty(&spec(&Attributes::resource(&user, "list", "", "pods")));
        assert_eq!(seen["resourceAttributes"]["resource"], "pods");
        for text in [
            "request.resourceAttributes.namespace == '' && request.uid == ''",
            "request.extra.size() == 0 && !has(request.resourceAttributes.labelSelector)",
        ] {
            assert_eq!(
                Expression::condition(About::Request, text).and_then(|own| own.holds(&seen)),
                Ok(true),
                "{text}"
            );
        }
        let seen = with_empty(&spec(&Attributes::path(&user, "get", "")));
        let condition = Expression::condition(About::Request, "request.nonResourceAttributes.path == ''").unwrap();
        assert_eq!(condition.holds(&seen), Ok(true));
    }
}
