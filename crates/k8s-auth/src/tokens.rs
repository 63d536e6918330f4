//! ServiceAccount tokens: signed JWTs bound to their ServiceAccount and, if asked for, to a pod, node or secret.
//!
//! Signatures are ES256 over the world's keys, deterministic as everything here. Whether what a token is bound to still
//! exists, the caller checks: [`Verified::bound`] says what to look at. Never io, never ambient time.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use world::Timestamp;

use crate::pki::PrivateKey;

/// Longest token that is looked at, in bytes: the largest that we issue has a tenth of it.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;
/// The only algorithm that is signed with and accepted, whatever a token's header says.
const ALGORITHM: &str = "ES256";

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWT of this issuer at all: another authenticator may know it.
    #[error("the token is not one of this issuer")]
    Foreign,
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    #[error("the token is malformed: {0}")]
    Malformed(String),
    #[error("the token's signature does not verify")]
    Signature,
    #[error("the token expired at {0}")]
    Expired(Timestamp),
    #[error("the token is valid from {0} only")]
    NotYetValid(Timestamp),
    #[error("token audiences {has:?} is invalid for the target audiences {wants:?}")]
    Audience { has: Vec<String>, wants: Vec<String> },
}

/// An object that a token dies with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    pub uid: String,
}

/// What stands under `kubernetes.io`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub namespace: String,
    pub serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// Seconds since the epoch from which on the token's use is to be warned about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Bound,
    nbf: i64,
    sub: String,
}

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    pub bound: Bound,
    /// The server's own audiences where empty.
    pub audiences: Vec<String>,
    pub valid: Duration,
    /// Unique: a UUID of the world.
    pub id: String,
}

/// A verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub bound: Bound,
    pub audiences: Vec<String>,
    pub id: String,
    pub expires: Timestamp,
}

impl Verified {
    /// `extra` of the user: what audit and `SelfSubjectReview` show of the token (upstream `serviceaccount.UserInfo`).
    pub fn extra(&self) -> BTreeMap<String, Vec<String>> {
        let mut extra = BTreeMap::new();
        let mut put = |key: &str, value: &str| extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        put("credential-id", &format!("JTI={}", self.id));
        for (kind, reference) in [("pod", &self.bound.pod), ("node", &self.bound.node)] {
            if let Some(reference) = reference {
                put(&format!("{kind}-name"), &reference.name);
                put(&format!("{kind}-uid"), &reference.uid);
            }
        }
        extra
    }
}

/// Issues and verifies the tokens of one cluster.
#[derive(Clone)]
pub struct Issuer {
    key: PrivateKey,
    key_id: String,
    url: String,
    audiences: Vec<String>,
}

impl Issuer {
    /// An issuer whose `iss` is `url` and who accepts tokens for `audiences`.
    pub fn new(key: PrivateKey, url: &str, audiences: &[&str]) -> Issuer {
        let key_id = URL_SAFE_NO_PAD.encode(key.fingerprint());
        Issuer { key, key_id, url: url.to_owned(), audiences: audiences.iter().map(|own| (*own).to_owned()).collect() }
    }

    /// The `iss` claim.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The audiences of the server itself.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// A signed token and when it expires.
    pub fn issue(&self, request: TokenRequest, now: Timestamp) -> (String, Timestamp) {
        let expires = Timestamp::from_seconds((now + request.valid).seconds());
        let TokenRequest { bound, audiences, id, .. } = request;
        let claims = Claims {
            aud: if audiences.is_empty() { self.audiences.clone() } else { audiences },
            exp: expires.seconds(),
            iat: now.seconds(),
            iss: self.url.clone(),
            jti: id,
            sub: format!("system:serviceaccount:{}:{}", bound.namespace, bound.serviceaccount.name),
            kubernetes: bound,
            nbf: now.seconds(),
        };
        let header = json!({"alg": ALGORITHM, "kid": self.key_id}).to_string();
        let claims = serde_json::to_vec(&claims).expect("claims are plain JSON");
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature: Signature = self.key.signing_key().sign(signed.as_bytes());
        (format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())), expires)
    }

    /// Verifies a token for the server's own audiences.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, TokenError> {
        self.verify_for(token, &self.audiences, now)
    }

    /// Verifies a token for one of `audiences`.
    pub fn verify_for(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Verified, TokenError> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(TokenError::Foreign);
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let unsigned: Value = decode(claims).map_err(|_| TokenError::Foreign)?;
        if unsigned["iss"] != self.url.as_str() {
            return Err(TokenError::Foreign);
        }
        let header: Value = decode(header)?;
        // The header chooses neither algorithm nor key: it must name the only ones there are.
        if header["alg"] != ALGORITHM || header["kid"] != self.key_id.as_str() {
            return Err(TokenError::Signature);
        }
        let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Signature)?;
        let signature = Signature::from_slice(&signature).map_err(|_| TokenError::Signature)?;
        let key: &VerifyingKey = self.key.signing_key().verifying_key();
        key.verify(signed.as_bytes(), &signature).map_err(|_| TokenError::Signature)?;
        let claims: Claims = decode(claims)?;
        let expires = Timestamp::from_seconds(claims.exp);
        if now >= expires {
            return Err(TokenError::Expired(expires));
        }
        let from = Timestamp::from_seconds(claims.nbf);
        if now < from {
            return Err(TokenError::NotYetValid(from));
        }
        if !claims.aud.iter().any(|audience| audiences.contains(audience)) {
            return Err(TokenError::Audience { has: claims.aud, wants: audiences.to_vec() });
        }
        Ok(Verified { bound: claims.kubernetes, audiences: claims.aud, id: claims.jti, expires })
    }

    /// The public keys as a JSON Web Key Set.
    pub fn jwks(&self) -> Value {
        let point = self.key.signing_key().verifying_key().to_encoded_point(false);
        let coordinate = |bytes: Option<&p256::FieldBytes>| bytes.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default();
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": ALGORITHM,
            "x": coordinate(point.x()), "y": coordinate(point.y()),
        }]})
    }
}

fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|error| TokenError::Malformed(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| TokenError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use world::World;

    const URL: &str = "https://oidc.example.com/id/1";

    fn issuer(seed: u64) -> (Issuer, Timestamp) {
        let (world, _simulation) = World::simulated(seed);
        (Issuer::new(PrivateKey::generate(&world), URL, &["https://kubernetes.default.svc"]), world.now())
    }

    fn request() -> TokenRequest {
        let reference = |name: &str| Reference { name: name.into(), uid: format!("{name}-uid") };
        let bound = Bound {
            namespace: "default".into(),
            serviceaccount: reference("builder"),
            pod: Some(reference("pod")),
            ..Bound::default()
        };
        TokenRequest { bound, audiences: Vec::new(), valid: Duration::from_secs(3600), id: "id-1".into() }
    }

    #[test]
    fn an_issued_token_verifies_until_it_expires() {
        let (issuer, now) = issuer(1);
        let (token, expires) = issuer.issue(request(), now);
        let verified = issuer.verify(&token, now).unwrap();
        assert_eq!((verified.bound.clone(), verified.expires), (request().bound, expires));
        assert_eq!(verified.extra()["authentication.kubernetes.io/pod-name"], ["pod"]);
        assert_eq!(issuer.verify(&token, expires), Err(TokenError::Expired(expires)));
        assert!(matches!(issuer.verify(&token, now - Duration::from_secs(1)), Err(TokenError::NotYetValid(_))));
    }

    #[test]
    fn a_token_for_others_is_not_for_the_server() {
        let (issuer, now) = issuer(1);
        let (token, _) = issuer.issue(TokenRequest { audiences: vec!["vault".into()], ..request() }, now);
        assert!(matches!(issuer.verify(&token, now), Err(TokenError::Audience { .. })));
        assert!(issuer.verify_for(&token, &["vault".into()], now).is_ok());
    }

    #[test]
    fn tampered_forged_and_foreign_tokens_are_refused() {
        let (issuer, now) = issuer(1);
        let (token, _) = issuer.issue(request(), now);
        let parts: Vec<&str> = token.split('.').collect();
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut claims: Value = decode(parts[1]).unwrap();
        claims["sub"] = json!("system:serviceaccount:kube-system:admin");
        let forged_claims = format!("{}.{}.{}", parts[0], part(claims), parts[2]);
        let none = format!("{}.{}.", part(json!({"alg": "none"})), parts[1]);
        let hmac = format!("{}.{}.{}", part(json!({"alg": "HS256", "kid": issuer.key_id})), parts[1], parts[2]);
        for forged in [&forged_claims, &none, &hmac] {
            assert_eq!(issuer.verify(forged, now), Err(TokenError::Signature), "{forged}");
        }
        let (other, _) = (Issuer::new(PrivateKey::generate(&World::simulated(2).0), URL, &["a"]), ());
        assert_eq!(issuer.verify(&other.issue(request(), now).0, now), Err(TokenError::Signature));
        for foreign in ["", "a.b.c", "k8s-aws-v1.abc", "a.b"] {
            assert_eq!(issuer.verify(foreign, now), Err(TokenError::Foreign), "{foreign}");
        }
        let long = format!("{}.{}.{}", parts[0], parts[1], "A".repeat(MAX_TOKEN_BYTES));
        assert_eq!(issuer.verify(&long, now), Err(TokenError::TooLong));
    }

    #[test]
    fn the_key_set_holds_the_public_key_only() {
        let (issuer, _) = issuer(1);
        let jwks = issuer.jwks();
        let key = jwks["keys"][0].as_object().unwrap();
        assert_eq!(key["kid"], issuer.key_id.as_str());
        assert!(!key.contains_key("d"));
        assert_eq!(URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap().len(), 32);
    }
}
