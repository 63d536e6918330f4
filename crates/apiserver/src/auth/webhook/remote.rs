//! A server that answers reviews, as a kubeconfig names it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::core::Core;
use crate::proxy::ClientCertificate;
use crate::webhook::{Address, Client, Trust};

/// Pauses between attempts (upstream's `DefaultRetryBackoff`: half a second, half more each time).
const PAUSES: &[Duration] =
    &[Duration::from_millis(500), Duration::from_millis(750), Duration::from_millis(1125), Duration::from_millis(1688)];

/// Where reviews are sent, and who sends them.
#[derive(Clone, Default)]
pub struct Remote {
    /// An `https` URL.
    pub url: String,
    /// Of the server's certificate, as PEM; the system's when empty.
    pub authorities_pem: Vec<u8>,
    pub certificate: Option<ClientCertificate>,
    /// A bearer token, or nothing.
    pub token: String,
}

impl Remote {
    /// What the current context of a kubeconfig names. `load` reads the files that it names.
    ///
    /// # Errors
    /// What is missing or cannot be read.
    pub fn from_kubeconfig(text: &str, load: impl Fn(&str) -> std::io::Result<Vec<u8>>) -> Result<Remote, String> {
        let config: Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        let named = |list: &str, name: &Value, what: &str| {
            let items = config[list].as_array().into_iter().flatten();
            items.into_iter().find(|item| item["name"] == *name).map(|item| item[what].clone()).unwrap_or_default()
        };
        let context = named("contexts", &config["current-context"], "context");
        let cluster = named("clusters", &context["cluster"], "cluster");
        let user = named("users", &context["user"], "user");
        let bytes = |from: &Value, name: &str| -> Result<Vec<u8>, String> {
            let data = format!("{name}-data");
            if let Some(text) = from[data.as_str()].as_str() {
                return STANDARD.decode(text).map_err(|error| format!("{data}: {error}"));
            }
            let path = from[name].as_str().unwrap_or("");
            if path.is_empty() { Ok(Vec::new()) } else { load(path).map_err(|error| format!("{path}: {error}")) }
        };
        let (chain, key) = (bytes(&user, "client-certificate")?, bytes(&user, "client-key")?);
        let certificate = match (chain.is_empty(), key.is_empty()) {
            (true, true) => None,
            _ => Some(ClientCertificate {
                chain: CertificateDer::pem_slice_iter(&chain).filter_map(Result::ok).collect(),
                key: Arc::new(PrivateKeyDer::from_pem_slice(&key).map_err(|error| format!("client-key: {error}"))?),
            }),
        };
        let url = cluster["server"].as_str().unwrap_or("").to_owned();
        if url.is_empty() {
            return Err("the kubeconfig names no server".to_owned());
        }
        let token = user["token"].as_str().unwrap_or("").to_owned();
        Ok(Remote { url, authorities_pem: bytes(&cluster, "certificate-authority")?, certificate, token })
    }

    /// A client of it.
    pub(super) fn client(&self, core: &Core) -> Result<Client, String> {
        let (address, path) = Address::of_url(&self.url)?;
        let trust = match self.authorities_pem.is_empty() {
            true => Trust::System,
            false => Trust::Bundle(self.authorities_pem.clone()),
        };
        let identity = self.certificate.as_ref().map(ClientCertificate::identity);
        Client::new(core, address, path, &trust, identity).map_err(|error| error.to_string())
    }

    /// Sends a review and reads the answer, again and again while the server fails.
    pub(super) async fn ask(
        &self,
        core: &Core,
        client: &Client,
        review: &Value,
        timeout: Duration,
    ) -> Result<Value, String> {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if !self.token.is_empty() {
            let value = HeaderValue::from_str(&format!("Bearer {}", self.token)).map_err(|error| error.to_string())?;
            headers.insert(AUTHORIZATION, value);
        }
        let body: Bytes = review.to_string().into();
        let mut pauses = PAUSES.iter();
        loop {
            let answer = client.send(core, Method::POST, "", headers.clone(), body.clone(), timeout).await;
            let (why, again) = match answer {
                Err(error) => (error.to_string(), true),
                Ok(answer) => match answer.failure() {
                    None => {
                        return serde_json::from_slice(&answer.body).map_err(|error| error.to_string());
                    }
                    Some(error) => (error.message, answer.status >= 500 || answer.status == 429),
                },
            };
            match pauses.next() {
                Some(pause) if again => core.world.sleep(*pause).await,
                _ => return Err(why),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeconfigs_name_a_server() {
        let text = "
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: other, cluster: {server: https://other}}, {name: k, cluster: {server: https://hook.example/x, certificate-authority: ca.pem}}]
users: [{name: u, user: {token: t}}]
";
        let load = |path: &str| Ok(format!("pem of {path}").into_bytes());
        let remote = Remote::from_kubeconfig(text, load).unwrap();
        assert_eq!((remote.url.as_str(), remote.token.as_str()), ("https://hook.example/x", "t"));
        assert_eq!(remote.authorities_pem, b"pem of ca.pem");
        let missing = Remote::from_kubeconfig("{}", load).err();
        assert_eq!(missing.as_deref(), Some("the kubeconfig names no server"));
    }
}
