//! Another server knows tokens: `TokenReview` of `authentication.k8s.io/v1`, sent to it.

use std::time::Duration;

use k8s_object::UserInfo;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::cache::{Cache, key};
use super::remote::Remote;
use crate::core::Core;
use crate::webhook::Client;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A server that knows tokens.
#[derive(Clone)]
pub struct TokenWebhook {
    pub remote: Remote,
    /// How long an answer is believed (`--authentication-token-webhook-cache-ttl`).
    pub cache_ttl: Duration,
}

impl TokenWebhook {
    /// With upstream's two minutes.
    pub fn new(remote: Remote) -> TokenWebhook {
        TokenWebhook { remote, cache_ttl: Duration::from_secs(120) }
    }
}

/// Whom a token stands for and the audiences that it is good for; nothing if it is not known.
type Answer = Option<(UserInfo, Vec<String>)>;

/// Asks and remembers.
pub(in crate::auth) struct TokenAsking {
    config: TokenWebhook,
    client: OnceCell<Client>,
    known: Cache<Answer>,
}

impl TokenAsking {
    pub(in crate::auth) fn new(config: TokenWebhook) -> TokenAsking {
        TokenAsking { config, client: OnceCell::new(), known: Cache::new() }
    }

    pub(in crate::auth) async fn user(&self, core: &Core, token: &str, audiences: &[String]) -> Result<Answer, String> {
        let joined = audiences.join("\0");
        let key = key(&[token.as_bytes(), joined.as_bytes()]);
        if let Some(answer) = self.known.get(&key, core.world.elapsed()) {
            return Ok(answer);
        }
        let client = self.client.get_or_try_init(async || self.config.remote.client(core)).await?;
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {"creationTimestamp": null},
            "spec": {"token": token, "audiences": audiences}, "status": {"user": {}},
        });
        let answer = self.config.remote.ask(core, client, &review, TIMEOUT).await?;
        let answer = read(&answer, audiences)?;
        self.known.put(key, answer.clone(), core.world.elapsed(), self.config.cache_ttl);
        Ok(answer)
    }
}

fn read(review: &Value, wanted: &[String]) -> Result<Answer, String> {
    let status = &review["status"];
    if status["authenticated"] != true {
        return match status["error"].as_str().unwrap_or("") {
            "" => Ok(None),
            error => Err(error.to_owned()),
        };
    }
    let named = status["audiences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named: Vec<&str> = named.iter().filter_map(Value::as_str).collect();
    // Who says nothing of audiences speaks of this server's.
    let good = |own: &&String| named.is_empty() || named.contains(&own.as_str());
    let audiences: Vec<String> = wanted.iter().filter(good).cloned().collect();
    if audiences.is_empty() {
        return Ok(None);
    }
    let user: UserInfo = serde_json::from_value(status["user"].clone()).map_err(|error| error.to_string())?;
    let mut user = user;
    user.add_authenticated();
    Ok(Some((user, audiences)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let wanted = ["a".to_owned(), "b".to_owned()];
        let jane = |audiences: Value| json!({"status": {"authenticated": true, "user": {"username": "jane", "groups": ["g"]}, "audiences": audiences}});
        let name = |review: Value| read(&review, &wanted).map(|answer| answer.map(|(user, good)| (user.groups, good)));
        let groups = || vec!["g".to_owned(), "system:authenticated".to_owned()];
        let cases = [
            (jane(json!(null)), Ok(Some((groups(), wanted.to_vec())))),
            (jane(json!(["b", "c"])), Ok(Some((groups(), vec!["b".to_owned()])))),
            (jane(json!(["c"])), Ok(None)),
            (json!({"status": {"authenticated": false}}), Ok(None)),
            (json!({"status": {"error": "expired"}}), Err("expired".to_owned())),
        ];
        for (review, expected) in cases {
            assert_eq!(name(review.clone()), expected, "{review}");
        }
    }
}
