//! ServiceAccount tokens: signed JWTs (RFC 7519) bound to their ServiceAccount and, if asked for, to a pod, node or secret.
//! Signatures are ES256 (RFC 7518) over keys of the world, deterministic as everything here. Whether what a token is bound
//! to still exists, the caller checks: [`Claims::check_bound`]. Never io, never ambient time.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_object::UserInfo;
use p256::ecdsa::Signature;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::pkcs8::EncodePublicKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use world::{Timestamp, World};

use crate::pki::PrivateKey;

/// Longest token that is looked at, in bytes: the largest that we issue has a tenth of it.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;

/// How far past its end, or before its beginning, a token is still taken, in seconds; and how long what is being deleted still
/// counts as there (go-jose `DefaultLeeway`).
const LEEWAY_SECONDS: i64 = 60;

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWT of this issuer at all: another authenticator may know it.
    #[error("the token is not one of this issuer")]
    Foreign,
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    #[error("the token's signature does not verify")]
    Signature,
    #[error("service account token has expired")]
    Expired(Timestamp),
    #[error("service account token is not valid yet")]
    NotYetValid(Timestamp),
    #[error("service account token is issued in the future")]
    IssuedInTheFuture(Timestamp),
    #[error("token audiences {} is invalid for the target audiences {}", quoted(.has), quoted(.wants))]
    Audience { has: Vec<String>, wants: Vec<String> },
    /// What it is bound to is gone, in upstream's words.
    #[error("{0}")]
    Unbound(String),
}

/// An object that a token is bound to, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundObject {
    pub uid: String,
    /// When it is or was to be deleted.
    pub deleted: Option<Timestamp>,
}

/// What signs tokens.
#[derive(Debug, Clone)]
pub enum Signer {
    /// ECDSA on P-256 with SHA-256.
    Es256(PrivateKey),
}

impl Signer {
    /// The name of the algorithm in headers.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Signer::Es256(_) => "ES256",
        }
    }

    /// Tells this key from others: a digest of its public half, as upstream computes it.
    fn key_id(&self) -> String {
        let public = match self {
            Signer::Es256(key) => key.signing_key().verifying_key().to_public_key_der(),
        };
        let public = public.expect("a P-256 public key can be encoded");
        URL_SAFE_NO_PAD.encode(Sha256::digest(public.as_bytes()))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Signer::Es256(key) => {
                let signature: Signature = key.signing_key().sign(message);
                signature.to_bytes().to_vec()
            }
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Signer::Es256(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.signing_key().verifying_key().verify(message, &signature).is_ok()),
        }
    }

    /// The public half as a JSON Web Key (RFC 7517).
    fn jwk(&self, key_id: &str) -> Value {
        match self {
            Signer::Es256(key) => {
                let point = key.signing_key().verifying_key().to_encoded_point(false);
                let coordinate =
                    |bytes: Option<&_>| bytes.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default();
                json!({
                    "use": "sig", "kty": "EC", "kid": key_id, "crv": "P-256", "alg": self.algorithm(),
                    "x": coordinate(point.x()), "y": coordinate(point.y()),
                })
            }
        }
    }
}

/// An object that a token dies with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectRef {
    pub name: String,
    /// Empty for a node that a pod names and that is not there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What a token lives and dies with beside its ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// A pod, and the node it runs on, if it has one.
    Pod {
        pod: ObjectRef,
        node: Option<ObjectRef>,
    },
    Node(ObjectRef),
    Secret(ObjectRef),
}

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    pub namespace: String,
    pub service_account: ObjectRef,
    /// Whom it is for; the server's own audiences where empty.
    pub audiences: Vec<String>,
    /// How long it lives.
    pub seconds: i64,
    pub bound: Option<Bound>,
    /// After this many seconds its use is worth a warning, though it still lives: for clients that never read it again.
    pub warn_after_seconds: Option<i64>,
}

/// `kubernetes.io` of the claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KubernetesClaims {
    pub namespace: String,
    /// The pod's node, or the node that the token is bound to if there is no pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectRef>,
    pub serviceaccount: ObjectRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// What a token says. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    pub exp: i64,
    #[serde(default)]
    pub iat: i64,
    pub iss: String,
    #[serde(default)]
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
    #[serde(default)]
    pub nbf: i64,
    pub sub: String,
}

/// RFC 7519 lets a single audience stand without brackets.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

impl Claims {
    /// Fails if an object that the token is bound to is gone, another one of the same name, or has been going for longer than the
    /// leeway. `find` looks an object up by kind (`ServiceAccount`, `Pod`, `Node`, `Secret`), namespace and name.
    pub fn check_bound(
        &self,
        now: Timestamp,
        find: impl Fn(&str, &str, &str) -> Option<BoundObject>,
    ) -> Result<(), TokenError> {
        let claims = &self.kubernetes;
        let (namespace, account) = (claims.namespace.as_str(), &claims.serviceaccount);
        let gone = |object: &BoundObject| {
            object.deleted.is_some_and(|at| at.seconds() < now.seconds().saturating_sub(LEEWAY_SECONDS))
        };
        let unbound = |why: String| Err(TokenError::Unbound(why));
        match find("ServiceAccount", namespace, &account.name) {
            None => return unbound(format!("serviceaccounts {:?} not found", account.name)),
            Some(found) if found.uid != account.uid => {
                return unbound(format!("service account UID ({}) does not match claim ({})", found.uid, account.uid));
            }
            Some(found) if gone(&found) => {
                return unbound(format!("service account {namespace}/{} has been deleted", account.name));
            }
            Some(_) => {}
        }
        let objects = [
            ("Secret", "secret", namespace, claims.secret.as_ref()),
            ("Pod", "pod", namespace, claims.pod.as_ref()),
            // The node of a pod's token only says where the pod runs, and may go first.
            ("Node", "node", "", claims.node.as_ref().filter(|_| claims.pod.is_none())),
        ];
        for (kind, word, namespace, wanted) in objects {
            let Some(wanted) = wanted else { continue };
            match find(kind, namespace, &wanted.name) {
                Some(found) if found.uid != wanted.uid => {
                    let (own, claimed) = (found.uid, &wanted.uid);
                    return unbound(format!(
                        "{word} UID ({own}) does not match service account {word} ref claim ({claimed})"
                    ));
                }
                Some(found) if !gone(&found) => {}
                _ => return unbound("service account token has been invalidated".to_owned()),
            }
        }
        Ok(())
    }

    /// The user that the token stands for, with what audit and `SelfSubjectReview` show of the token.
    pub fn user(&self) -> UserInfo {
        let claims = &self.kubernetes;
        let mut user = UserInfo::service_account(&claims.namespace, &claims.serviceaccount.name);
        user.uid.clone_from(&claims.serviceaccount.uid);
        let mut extra = BTreeMap::new();
        let mut add = |key: &str, value: String| {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        };
        if !self.jti.is_empty() {
            add("credential-id", format!("JTI={}", self.jti));
        }
        if let Some(pod) = &claims.pod {
            add("pod-name", pod.name.clone());
            add("pod-uid", pod.uid.clone());
        }
        if let Some(node) = &claims.node {
            add("node-name", node.name.clone());
            // The node of a pod may be known by its name only.
            if !node.uid.is_empty() {
                add("node-uid", node.uid.clone());
            }
        }
        user.extra = extra;
        user
    }

    /// For how many seconds its use has been to be warned about, not above zero while it is not; `None` for a token that is never.
    pub fn seconds_stale(&self, now: Timestamp) -> Option<i64> {
        self.kubernetes.warnafter.filter(|after| *after != 0).map(|after| now.seconds() - after)
    }
}

/// A new token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    pub token: String,
    pub expires: Timestamp,
    /// Its `jti`, for the audit log.
    pub id: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    crit: Option<Value>,
}

/// Only what tells whose token it is.
#[derive(Deserialize)]
struct Origin {
    iss: String,
}

/// Issues and verifies the tokens of one cluster.
#[derive(Debug, Clone)]
pub struct Issuer {
    url: String,
    audiences: Vec<String>,
    signer: Signer,
    key_id: String,
}

impl Issuer {
    /// An issuer whose `iss` is `url` and who accepts tokens for `audiences`.
    pub fn new(key: PrivateKey, url: &str, audiences: &[&str]) -> Issuer {
        Issuer::with_signer(Signer::Es256(key), url, audiences)
    }

    /// As [`Issuer::new`], with any signer.
    pub fn with_signer(signer: Signer, url: &str, audiences: &[&str]) -> Issuer {
        let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        Issuer { url: url.to_owned(), audiences, key_id: signer.key_id(), signer }
    }

    /// The `iss` claim.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The audiences of the server itself.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Signs a new token.
    pub fn issue(&self, world: &World, request: &TokenRequest) -> IssuedToken {
        let now = world.now().seconds();
        let mut kubernetes = KubernetesClaims {
            namespace: request.namespace.clone(),
            serviceaccount: request.service_account.clone(),
            warnafter: request.warn_after_seconds.map(|seconds| now.saturating_add(seconds)),
            ..KubernetesClaims::default()
        };
        match request.bound.clone() {
            Some(Bound::Pod { pod, node }) => (kubernetes.pod, kubernetes.node) = (Some(pod), node),
            Some(Bound::Node(node)) => kubernetes.node = Some(node),
            Some(Bound::Secret(secret)) => kubernetes.secret = Some(secret),
            None => {}
        }
        let audiences = if request.audiences.is_empty() { &self.audiences } else { &request.audiences };
        let claims = Claims {
            sub: subject(&kubernetes),
            aud: audiences.clone(),
            exp: now.saturating_add(request.seconds),
            iat: now,
            nbf: now,
            iss: self.url.clone(),
            jti: world.uuid(),
            kubernetes,
        };
        let token = self.seal(&claims);
        IssuedToken { token, expires: Timestamp::from_seconds(claims.exp), id: claims.jti }
    }

    /// A token that says this.
    pub(crate) fn seal(&self, claims: &impl Serialize) -> String {
        let header = json!({"alg": self.signer.algorithm(), "kid": self.key_id}).to_string();
        let payload = serde_json::to_vec(claims).expect("claims can be written as JSON");
        let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signer.sign(token.as_bytes());
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        token
    }

    /// What a token of this key under the name `url` says, whatever it says of its time.
    pub(crate) fn open<T: serde::de::DeserializeOwned>(&self, token: &str, url: &str) -> Result<T, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Foreign);
        };
        let origin: Origin = decode(payload).ok_or(TokenError::Foreign)?;
        if origin.iss != url {
            return Err(TokenError::Foreign);
        }
        let parsed: Header = decode(header).ok_or(TokenError::Malformed("its header is no JSON in base64url"))?;
        // The key decides the algorithm, never the token: `none` and HMAC over the public key end here.
        if parsed.alg != self.signer.algorithm() {
            return Err(TokenError::Malformed("its algorithm is not this issuer's"));
        }
        if parsed.crit.is_some() {
            return Err(TokenError::Malformed("its header demands extensions"));
        }
        let signature =
            URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed("its signature is no base64url"))?;
        let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
        if (!parsed.kid.is_empty() && parsed.kid != self.key_id) || !self.signer.verifies(signed, &signature) {
            return Err(TokenError::Signature);
        }
        decode(payload).ok_or(TokenError::Malformed("its payload lacks claims"))
    }

    /// What a token says, if it is ours, of now, and for one of these audiences (the server's own if there are none).
    pub fn verify(&self, token: &str, audiences: &[&str], now: Timestamp) -> Result<Claims, TokenError> {
        let claims: Claims = self.open(token, &self.url)?;
        if claims.sub != subject(&claims.kubernetes) {
            return Err(TokenError::Malformed("its subject is not its ServiceAccount"));
        }
        if now.seconds().saturating_add(LEEWAY_SECONDS) < claims.nbf {
            return Err(TokenError::NotYetValid(Timestamp::from_seconds(claims.nbf)));
        }
        if now.seconds().saturating_sub(LEEWAY_SECONDS) > claims.exp {
            return Err(TokenError::Expired(Timestamp::from_seconds(claims.exp)));
        }
        if now.seconds().saturating_add(LEEWAY_SECONDS) < claims.iat {
            return Err(TokenError::IssuedInTheFuture(Timestamp::from_seconds(claims.iat)));
        }
        let own = || self.audiences.iter().map(String::as_str).collect();
        let wants: Vec<&str> = if audiences.is_empty() { own() } else { audiences.to_vec() };
        if !claims.aud.iter().any(|audience| wants.contains(&audience.as_str())) {
            let wants = wants.into_iter().map(str::to_owned).collect();
            return Err(TokenError::Audience { has: claims.aud, wants });
        }
        Ok(claims)
    }

    /// The public keys as a JSON Web Key Set.
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.signer.jwk(&self.key_id)]})
    }

    /// The document at `/.well-known/openid-configuration`.
    pub fn openid_configuration(&self, jwks_uri: &str) -> Value {
        json!({
            "issuer": self.url, "jwks_uri": jwks_uri, "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": [self.signer.algorithm()],
        })
    }
}

/// `["a" "b"]`
fn quoted(list: &[String]) -> String {
    crate::rbac::quoted(list)
}

fn subject(claims: &KubernetesClaims) -> String {
    format!("system:serviceaccount:{}:{}", claims.namespace, claims.serviceaccount.name)
}

fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use world::World;

    const URL: &str = "https://kubernetes.default.svc";

    fn reference(name: &str) -> ObjectRef {
        ObjectRef { name: name.into(), uid: format!("uid-of-{name}") }
    }

    fn request() -> TokenRequest {
        TokenRequest {
            namespace: "ns".into(),
            service_account: reference("sa"),
            audiences: Vec::new(),
            seconds: 600,
            bound: Some(Bound::Pod { pod: reference("p"), node: Some(reference("n")) }),
            warn_after_seconds: None,
        }
    }

    fn issuer(seed: u64) -> (Issuer, World) {
        let (world, _simulation) = World::simulated(seed);
        (Issuer::new(PrivateKey::generate(&world), URL, &[URL]), world)
    }

    fn after(now: Timestamp, seconds: i64) -> Timestamp {
        Timestamp::from_seconds(now.seconds() + seconds)
    }

    #[test]
    fn a_token_says_whose_it_is() {
        let (issuer, world) = issuer(1);
        let now = world.now();
        let issued = issuer.issue(&world, &request());
        assert_eq!(issued.expires, after(now, 600));
        let claims = issuer.verify(&issued.token, &[], now).unwrap();
        assert_eq!((claims.jti.as_str(), claims.exp), (issued.id.as_str(), issued.expires.seconds()));
        let user = claims.user();
        assert_eq!((user.username.as_str(), user.uid.as_str()), ("system:serviceaccount:ns:sa", "uid-of-sa"));
        assert!(user.in_group("system:serviceaccounts:ns") && user.in_group("system:authenticated"));
        let extra = |key: &str| user.extra[&format!("authentication.kubernetes.io/{key}")][0].clone();
        assert_eq!(extra("credential-id"), format!("JTI={}", issued.id));
        assert_eq!((extra("pod-name").as_str(), extra("node-uid").as_str()), ("p", "uid-of-n"));
    }

    #[test]
    fn a_token_lives_its_time_and_no_longer() {
        let (issuer, world) = issuer(1);
        let now = world.now();
        let issued = issuer.issue(&world, &request());
        let verify = |at| issuer.verify(&issued.token, &[], at);
        assert!(verify(after(now, 600 + LEEWAY_SECONDS)).is_ok());
        assert_eq!(verify(after(now, 601 + LEEWAY_SECONDS)), Err(TokenError::Expired(issued.expires)));
        assert_eq!(verify(after(now, -1 - LEEWAY_SECONDS)), Err(TokenError::NotYetValid(after(now, 0))));
    }

    #[test]
    fn a_token_is_for_its_audience() {
        let (issuer, world) = issuer(1);
        let request = TokenRequest { audiences: vec!["sts".into(), "vault".into()], ..request() };
        let token = issuer.issue(&world, &request).token;
        assert!(matches!(issuer.verify(&token, &[], world.now()), Err(TokenError::Audience { .. })));
        assert!(issuer.verify(&token, &["vault"], world.now()).is_ok());
    }

    /// A token of this issuer with another header or payload under a good signature, or another signature.
    fn forged(issuer: &Issuer, header: Value, payload: Value, signature: Option<&[u8]>) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload.to_string()));
        let own = issuer.signer.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap_or(&own)))
    }

    #[test]
    fn forged_tokens_are_refused() {
        let (issuer, world) = issuer(1);
        let now = world.now();
        let (other, _) = self::issuer(2);
        let header = json!({"alg": "ES256", "kid": issuer.key_id});
        let payload = json!({
            "iss": URL, "aud": URL, "exp": now.seconds() + 60, "sub": "system:serviceaccount:ns:sa",
            "kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "sa", "uid": "u"}},
        });
        let with = |key: &str, value: Value| {
            let mut changed = payload.clone();
            changed[key] = value;
            changed
        };
        assert!(issuer.verify(&forged(&issuer, header.clone(), payload.clone(), None), &[], now).is_ok());
        let malformed = |error: &TokenError| matches!(error, TokenError::Malformed(_));
        type Expected<'a> = &'a dyn Fn(&TokenError) -> bool;
        let cases: Vec<(String, Expected<'_>)> = vec![
            (forged(&issuer, json!({"alg": "none"}), payload.clone(), Some(b"")), &malformed),
            (forged(&issuer, json!({"alg": "HS256"}), payload.clone(), None), &malformed),
            (forged(&issuer, json!({"alg": "ES256", "crit": ["x"]}), payload.clone(), None), &malformed),
            (forged(&issuer, json!({"alg": "ES256", "kid": "x"}), payload.clone(), None), &|e| {
                *e == TokenError::Signature
            }),
            (forged(&issuer, header.clone(), payload.clone(), Some(&[0; 64])), &|e| *e == TokenError::Signature),
            (forged(&issuer, header.clone(), payload.clone(), Some(&[1; 63])), &|e| *e == TokenError::Signature),
            (forged(&other, header.clone(), payload.clone(), None), &|e| *e == TokenError::Signature),
            (forged(&issuer, header.clone(), with("iss", json!("https://x")), None), &|e| *e == TokenError::Foreign),
            (forged(&issuer, header.clone(), with("sub", json!("system:admin")), None), &malformed),
            (forged(&issuer, header.clone(), with("exp", json!("soon")), None), &malformed),
            ("nonsense".to_owned(), &|e| *e == TokenError::Foreign),
            ("a.b.c".to_owned(), &|e| *e == TokenError::Foreign),
            ("x".repeat(MAX_TOKEN_BYTES + 1), &|e| *e == TokenError::TooLong),
        ];
        for (token, expected) in cases {
            let error = issuer.verify(&token, &[], now).unwrap_err();
            assert!(expected(&error), "{token}: {error:?}");
        }
        // Every part of a good token matters.
        let token = issuer.issue(&world, &request()).token;
        for at in [5, token.len() / 2, token.len() - 5] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(issuer.verify(&String::from_utf8(bytes).unwrap(), &[], now).is_err(), "{at}");
        }
    }

    #[test]
    fn tokens_die_with_what_they_are_bound_to() {
        let (issuer, world) = issuer(1);
        let now = world.now();
        let token = issuer.issue(&world, &request()).token;
        let verified = issuer.verify(&token, &[], now).unwrap();
        let check = |find: &dyn Fn(&str, &str) -> Option<BoundObject>| {
            verified.check_bound(now, |kind, _, name| find(kind, name)).map_err(|error| error.to_string())
        };
        let found = |name: &str| Some(BoundObject { uid: format!("uid-of-{name}"), deleted: None });
        let other = || Some(BoundObject { uid: "other".to_owned(), deleted: None });
        let going = |name: &str, ago: i64| BoundObject { deleted: Some(after(now, -ago)), ..found(name).unwrap() };
        type Find<'a> = &'a dyn Fn(&str, &str) -> Option<BoundObject>;
        let invalid = "service account token has been invalidated";
        let cases: [(Find<'_>, &str); 9] = [
            (&|_, name| found(name), ""),
            (&|kind, name| found(name).filter(|_| kind != "Node"), ""),
            (&|kind, name| found(name).filter(|_| kind != "ServiceAccount"), "serviceaccounts \"sa\" not found"),
            (
                &|kind, name| if kind == "ServiceAccount" { other() } else { found(name) },
                "service account UID (other) does not match claim (uid-of-sa)",
            ),
            (&|kind, name| found(name).filter(|_| kind != "Pod"), invalid),
            (
                &|kind, name| if kind == "Pod" { other() } else { found(name) },
                "pod UID (other) does not match service account pod ref claim (uid-of-p)",
            ),
            (&|_, name| Some(going(name, 60)), ""),
            (&|kind, name| if kind == "Pod" { Some(going(name, 61)) } else { found(name) }, invalid),
            (&|_, name| Some(going(name, 61)), "service account ns/sa has been deleted"),
        ];
        for (position, (find, expected)) in cases.into_iter().enumerate() {
            assert_eq!(check(find).err().unwrap_or_default(), expected, "case {position}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_token_and_another_another() {
        let token = |seed| {
            let (issuer, world) = issuer(seed);
            (issuer.issue(&world, &request()), issuer.jwks())
        };
        assert_eq!(token(1), token(1));
        assert_ne!(token(1), token(2));
    }

    #[test]
    fn the_key_set_holds_the_key_of_the_header() {
        let (issuer, world) = issuer(1);

        let token = issuer.issue(&world, &request()).token;
        let header: Value = decode(token.split('.').next().unwrap()).unwrap();
        let key = &issuer.jwks()["keys"][0];
        assert_eq!(key["kid"], header["kid"]);
        let point: Vec<u8> =
            ["x", "y"].iter().flat_map(|c| URL_SAFE_NO_PAD.decode(key[*c].as_str().unwrap()).unwrap()).collect();
        assert_eq!(point.len(), 64);
        assert_eq!(issuer.openid_configuration("u")["id_token_signing_alg_values_supported"], json!(["ES256"]));
    }

    #[test]
    fn old_tokens_of_careless_clients_are_told_apart() {
        let (issuer, world) = issuer(1);
        let now = world.now();
        let token = issuer.issue(&world, &TokenRequest { warn_after_seconds: Some(10), ..request() }).token;
        let verified = issuer.verify(&token, &[], now).unwrap();
        assert_eq!([10, 11].map(|seconds| verified.seconds_stale(after(now, seconds))), [Some(0), Some(1)]);
    }
}
