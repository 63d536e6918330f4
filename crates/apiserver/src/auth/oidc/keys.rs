//! The keys of an issuer: found through its discovery document when the first token comes, and again when a token names another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use tokio::sync::Mutex;

use super::config::JwtAuthenticator;
use super::signature::Key;
use crate::core::Core;
use crate::webhook::{Address, Client, Trust};

/// Keys of one issuer that are kept.
const MAX_KEYS: usize = 100;
/// How long an issuer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An issuer is asked at most this often, whatever tokens come.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct State {
    keys: Arc<Vec<Key>>,
    /// When the issuer was last asked, and what went wrong.
    asked: Option<Duration>,
    error: Option<String>,
}

#[derive(Default)]
pub(super) struct Keys(Mutex<State>);

impl Keys {
    /// The keys that are known. If `enough` says that they are not, the issuer is asked first.
    pub(super) async fn get(
        &self,
        core: &Core,
        config: &JwtAuthenticator,
        enough: impl Fn(&[Key]) -> bool,
    ) -> Result<Arc<Vec<Key>>, String> {
        let mut state = self.0.lock().await;
        let now = core.world.elapsed();
        let rested = state.asked.is_none_or(|asked| now.saturating_sub(asked) >= PAUSE);
        if !enough(&state.keys) && rested {
            state.asked = Some(now);
            match fetch(core, config).await {
                Ok(keys) => (state.keys, state.error) = (Arc::new(keys), None),
                Err(error) => state.error = Some(error),
            }
        }
        match &state.error {
            Some(error) if state.keys.is_empty() => Err(format!("authenticator not initialized: {error}")),
            _ => Ok(state.keys.clone()),
        }
    }
}

async fn fetch(core: &Core, config: &JwtAuthenticator) -> Result<Vec<Key>, String> {
    let url = match config.discovery_url.as_str() {
        "" => format!("{}/.well-known/openid-configuration", config.issuer.trim_end_matches('/')),
        url => url.to_owned(),
    };
    let trust = match config.authorities_pem.as_str() {
        "" => Trust::System,
        pem => Trust::Bundle(pem.as_bytes().to_vec()),
    };
    let document = get(core, &url, &trust).await?;
    let issuer = document["issuer"].as_str().unwrap_or("");
    if issuer != config.issuer {
        let wanted = &config.issuer;
        return Err(format!(
            "oidc: issuer did not match the issuer returned by provider, expected {wanted:?} got {issuer:?}"
        ));
    }
    let keys = get(core, document["jwks_uri"].as_str().unwrap_or(""), &trust).await?;
    let keys = keys["keys"].as_array().into_iter().flatten().filter_map(Key::parse);
    Ok(keys.take(MAX_KEYS).collect())
}

async fn get(core: &Core, url: &str, trust: &Trust) -> Result<Value, String> {
    let (address, path) = Address::of_url(url)?;
    let client = Client::new(core, address, path, trust, None).map_err(|error| error.to_string())?;
    let answer = client.send(core, Method::GET, "", HeaderMap::new(), Bytes::new(), TIMEOUT).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
    }
    serde_json::from_slice(&answer.body).map_err(|error| format!("oidc: failed to decode what {url} answers: {error}"))
}
