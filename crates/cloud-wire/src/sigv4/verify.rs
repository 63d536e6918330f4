//! Verifying a signature in headers or in the query, with the codes and sentences of AWS's front ends. Must never say which part of a
//! secret was wrong.

use hmac::Mac as _;
use world::Timestamp;

use super::canonical::{
    ALGORITHM, PathRules, Scope, TERMINATOR, UNSIGNED_PAYLOAD, canonical_path, canonical_request,
    query_without_signature, sha256_hex, signature, string_to_sign,
};
use crate::error::{AwsError, WireError};
use crate::model::Protocol;
use crate::request::RequestParts;

/// How far the clocks of a signer and ours may differ, in seconds.
pub const MAX_SKEW_SECONDS: i64 = 5 * 60;

/// How long a presigned STS request lives, in seconds, whatever it says itself; also how far ahead its clock may be.
pub const MAX_PRESIGN_AGE_SECONDS: i64 = 15 * 60;

/// Longest life that a presigned request may ask for, in seconds: a week.
const MAX_EXPIRES_SECONDS: i64 = 7 * 24 * 3600;

/// The header that names the operation in the JSON protocols.
const TARGET: &str = "x-amz-target";

/// Most names in `SignedHeaders`; each costs a look-up.
const MAX_SIGNED_HEADERS: usize = 100;

/// What belongs to an access key.
#[derive(Clone)]
pub struct Secret {
    /// The secret access key.
    pub secret_key: String,
    /// Of temporary credentials: requests must carry it.
    pub session_token: Option<String>,
    /// Of temporary credentials: when they end.
    pub expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a verified signature proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Whose signature it is.
    pub access_key_id: String,
    /// What it is valid for.
    pub scope: Scope,
    /// When it was made.
    pub signed_at: Timestamp,
    /// Lower-case names, in the order of the signature.
    pub signed_headers: Vec<String>,
    /// Whether it stood in the query.
    pub presigned: bool,
}

/// Why a signature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No signature at all.
    #[error("Request is missing Authentication Token")]
    MissingToken,
    /// There is one, but parts of it are missing or malformed.
    #[error("{0}")]
    Incomplete(String),
    /// The access key is unknown, or the session token does not belong to it.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The temporary credentials have ended.
    #[error("The security token included in the request is expired")]
    ExpiredCredentials,
    /// The signature is too old.
    #[error("Signature expired: {signed} is now earlier than {limit} ({now} - {minutes} min.)")]
    Expired {
        /// When it was made.
        signed: String,
        /// The oldest that is accepted.
        limit: String,
        /// Our time.
        now: String,
        /// How long signatures live.
        minutes: i64,
    },
    /// The presigned request has outlived the life that it asked for.
    #[error("Request has expired.")]
    PresignExpired,
    /// The signature is from the future.
    #[error("Signature not yet current: {signed} is still later than {limit} ({now} + {minutes} min.)")]
    NotYetCurrent {
        /// When it was made.
        signed: String,
        /// The newest that is accepted.
        limit: String,
        /// Our time.
        now: String,
        /// How far clocks may differ.
        minutes: i64,
    },
    /// The scope is for another region, service or date.
    #[error("{0}")]
    Scope(String),
    /// `host` is not among the signed headers.
    #[error("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")]
    HostNotSigned,
    /// A header that decides what the request does is not among the signed headers.
    #[error("There were headers present in the request which were not signed: {0}")]
    HeaderNotSigned(&'static str),
    /// `x-amz-content-sha256` is not the hash of the body.
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    PayloadHash,
    /// A way of signing that Minato lacks.
    #[error("{0} is not supported by Minato yet")]
    NotSupported(String),
    /// It is another signature than ours.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and \
         signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

impl SignatureError {
    /// Code, status and message by the protocol of the service (its "common errors"; EC2 has its own).
    pub fn to_aws(&self, protocol: Protocol) -> AwsError {
        let json = matches!(protocol, Protocol::Json | Protocol::RestJson);
        let pick = |for_json: &'static str, for_query: &'static str| if json { for_json } else { for_query };
        if protocol == Protocol::Ec2 {
            return self.to_ec2();
        }
        let (code, status) = match self {
            SignatureError::MissingToken => {
                (pick("MissingAuthenticationTokenException", "MissingAuthenticationToken"), 403)
            }
            SignatureError::Incomplete(_) => (pick("IncompleteSignatureException", "IncompleteSignature"), 400),
            SignatureError::UnknownKey => (pick("UnrecognizedClientException", "InvalidClientTokenId"), 403),
            SignatureError::ExpiredCredentials => (pick("ExpiredTokenException", "ExpiredToken"), 403),
            SignatureError::PresignExpired => ("RequestExpired", 400),
            SignatureError::PayloadHash => {
                (pick("InvalidSignatureException", "XAmzContentSHA256Mismatch"), if json { 403 } else { 400 })
            }
            SignatureError::NotSupported(_) => ("NotImplemented", 501),
            SignatureError::Expired { .. }
            | SignatureError::NotYetCurrent { .. }
            | SignatureError::Scope(_)
            | SignatureError::HostNotSigned
            | SignatureError::HeaderNotSigned(_)
            | SignatureError::Mismatch => (pick("InvalidSignatureException", "SignatureDoesNotMatch"), 403),
        };
        AwsError::new(code, status, self.to_string())
    }

    fn to_ec2(&self) -> AwsError {
        const REFUSED: &str = "AWS was not able to validate the provided access credentials";
        match self {
            SignatureError::MissingToken => AwsError::new("MissingAuthenticationToken", 403, self.to_string()),
            SignatureError::Incomplete(_) => AwsError::new("IncompleteSignature", 400, self.to_string()),
            SignatureError::Expired { .. } | SignatureError::PresignExpired | SignatureError::ExpiredCredentials => {
                AwsError::new("RequestExpired", 400, "Request has expired.")
            }
            SignatureError::NotSupported(_) => AwsError::new("NotImplemented", 501, self.to_string()),
            SignatureError::UnknownKey
            | SignatureError::NotYetCurrent { .. }
            | SignatureError::Scope(_)
            | SignatureError::HostNotSigned
            | SignatureError::HeaderNotSigned(_)
            | SignatureError::PayloadHash
            | SignatureError::Mismatch => AwsError::new("AuthFailure", 401, REFUSED),
        }
    }
}

impl From<WireError> for SignatureError {
    fn from(error: WireError) -> SignatureError {
        SignatureError::Incomplete(error.to_string())
    }
}

/// What requests are verified against.
#[derive(Clone, Copy)]
pub struct Verifier<'a> {
    /// The region that answers.
    pub region: &'a str,
    /// The region in which the service's global endpoint is signed, if it has one.
    pub global_region: Option<&'a str>,
    /// Signing name of the service that answers.
    pub service: &'a str,
    /// Our time.
    pub now: Timestamp,
    /// How the path is canonicalised.
    pub path: PathRules,
    /// Finds the secret of an access key.
    pub lookup: &'a dyn Fn(&str) -> Option<Secret>,
}

/// A signature as the request states it.
struct Claim {
    access_key_id: String,
    scope: Scope,
    amz_date: String,
    signed_headers: Vec<String>,
    signature: String,
    token: Option<String>,
    expires: Option<i64>,
}

impl Verifier<'_> {
    /// Verifies the signature of a request over its method, path, query, signed headers and body.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(&self, parts: &RequestParts<'_>, body: &[u8]) -> Result<Verified, SignatureError> {
        let query = query_without_signature(parts.raw_query)?;
        let claim = match parts.header("authorization") {
            Some(value) => from_header(value, parts)?,
            None => from_query(parts)?.ok_or(SignatureError::MissingToken)?,
        };
        let signed_at = self.check_claim(&claim)?;
        if parts.headers.contains_key(TARGET) && !claim.signed_headers.iter().any(|name| name == TARGET) {
            return Err(SignatureError::HeaderNotSigned(TARGET));
        }
        let secret = (self.lookup)(&claim.access_key_id).ok_or(SignatureError::UnknownKey)?;
        check_token(&secret, claim.token.as_deref(), self.now)?;
        let payload = payload_hash(parts, body, &claim)?;
        let path = canonical_path(parts.raw_path, self.path)?;
        let names: Vec<&str> = claim.signed_headers.iter().map(String::as_str).collect();
        let matches = |query: &[(String, String)]| {
            let canonical = canonical_request(parts.method, &path, query, parts.headers, &names, &payload);
            let to_sign = string_to_sign(&claim.amz_date, &claim.scope, &canonical);
            let expected = signature(&secret.secret_key, &claim.scope, &to_sign);
            unhex(&claim.signature).is_some_and(|given| expected.verify_slice(&given).is_ok())
        };
        let mut valid = matches(&query);
        if !valid && claim.expires.is_some() && claim.token.is_some() {
            // Some signers add the session token to a presigned request after they signed it.
            let without: Vec<_> = query.into_iter().filter(|(name, _)| name != "X-Amz-Security-Token").collect();
            valid = matches(&without);
        }
        if !valid {
            return Err(SignatureError::Mismatch);
        }
        Ok(Verified {
            access_key_id: claim.access_key_id,
            scope: claim.scope,
            signed_at,
            signed_headers: claim.signed_headers,
            presigned: claim.expires.is_some(),
        })
    }

    /// Everything that needs no secret. Returns when the signature was made.
    fn check_claim(&self, claim: &Claim) -> Result<Timestamp, SignatureError> {
        let Scope { date, region, service } = &claim.scope;
        if service != self.service {
            return Err(SignatureError::Scope(format!(
                "Credential should be scoped to correct service: '{}'.",
                self.service
            )));
        }
        if region != self.region && Some(region.as_str()) != self.global_region {
            return Err(SignatureError::Scope(format!(
                "Credential should be scoped to a valid region, not '{region}'."
            )));
        }
        let amz_date = &claim.amz_date;
        let signed_at = Timestamp::parse_amz_date(amz_date).map_err(|_| {
            SignatureError::Incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{amz_date}'. See http://en.wikipedia.org/wiki/ISO_8601"
            ))
        })?;
        if !amz_date.starts_with(date.as_str()) || date.len() != 8 {
            return Err(SignatureError::Scope(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' != '{}', from '{amz_date}'.",
                amz_date.get(..8).unwrap_or_default()
            )));
        }
        if !claim.signed_headers.iter().any(|name| name == "host" || name == ":authority") {
            return Err(SignatureError::HostNotSigned);
        }
        self.check_time(claim, signed_at)?;
        Ok(signed_at)
    }

    fn check_time(&self, claim: &Claim, signed_at: Timestamp) -> Result<(), SignatureError> {
        let (now, signed) = (self.now.seconds(), signed_at.seconds());
        let skew = if claim.expires.is_some() { MAX_PRESIGN_AGE_SECONDS } else { MAX_SKEW_SECONDS };
        // STS gives presigned requests fifteen minutes, whatever they ask for; clients of EKS ask for one and count on more.
        let (age, own_life) = match claim.expires {
            Some(expires) if self.service != "sts" => (expires, true),
            _ => (skew, false),
        };
        let at = |seconds| Timestamp::from_seconds(seconds).to_amz_date();
        if signed > now + skew {
            let (limit, minutes) = (at(now + skew), skew / 60);
            return Err(SignatureError::NotYetCurrent { signed: claim.amz_date.clone(), limit, now: at(now), minutes });
        }
        if signed + age < now {
            if own_life {
                return Err(SignatureError::PresignExpired);
            }
            let (limit, minutes) = (at(now - age), age / 60);
            return Err(SignatureError::Expired { signed: claim.amz_date.clone(), limit, now: at(now), minutes });
        }
        Ok(())
    }
}

/// Checks the session token of temporary credentials; others must not carry one.
pub(crate) fn check_token(secret: &Secret, token: Option<&str>, now: Timestamp) -> Result<(), SignatureError> {
    let same = match (&secret.session_token, token) {
        (Some(expected), Some(given)) => same_bytes(expected.as_bytes(), given.as_bytes()),
        (None, None) => true,
        _ => false,
    };
    if !same {
        return Err(SignatureError::UnknownKey);
    }
    match secret.expires_at {
        Some(expires_at) if expires_at <= now => Err(SignatureError::ExpiredCredentials),
        _ => Ok(()),
    }
}

/// Compares in a time that depends on the lengths only.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn from_header(value: &str, parts: &RequestParts<'_>) -> Result<Claim, SignatureError> {
    let incomplete = |what: &str| SignatureError::Incomplete(what.to_owned());
    let Some(rest) = value.strip_prefix(ALGORITHM) else {
        if value.starts_with("AWS4-") {
            let algorithm = value.split_ascii_whitespace().next().unwrap_or_default();
            return Err(SignatureError::NotSupported(format!("the signing algorithm {algorithm}")));
        }
        // Other schemes (Basic, Bearer) are no AWS signature.
        return Err(SignatureError::MissingToken);
    };
    if parts.headers.get_all("authorization").iter().count() > 1 {
        return Err(incomplete("Authorization header must not be given more than once."));
    }
    let fields: Vec<(&str, &str)> = rest.split(',').filter_map(|field| field.trim().split_once('=')).collect();
    let field = |name: &str| {
        fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value).filter(|value| !value.is_empty())
    };
    let date = parts.header("x-amz-date");
    let (Some(credential), Some(signature), Some(signed), Some(amz_date)) =
        (field("Credential"), field("Signature"), field("SignedHeaders"), date)
    else {
        let mut why: Vec<String> = ["Credential", "Signature", "SignedHeaders"]
            .iter()
            .filter(|name| field(name).is_none())
            .map(|name| format!("Authorization header requires '{name}' parameter."))
            .collect();
        if date.is_none() {
            why.push("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.".to_owned());
        }
        return Err(SignatureError::Incomplete(why.join(" ")));
    };
    let (access_key_id, scope) = parse_credential(credential)?;
    Ok(Claim {
        access_key_id,
        scope,
        amz_date: amz_date.to_owned(),
        signed_headers: parse_signed_headers(signed)?,
        signature: signature.to_owned(),
        token: parts.header("x-amz-security-token").map(str::to_owned),
        expires: None,
    })
}

fn from_query(parts: &RequestParts<'_>) -> Result<Option<Claim>, SignatureError> {
    let pairs = crate::request::parse_pairs(parts.raw_query)?;
    let value = |name: &str| -> Result<Option<&str>, SignatureError> {
        let mut values = pairs.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let first = values.next().map(|(_, value)| value.as_str());
        match values.next() {
            Some(_) => {
                Err(SignatureError::Incomplete(format!("AWS query-string parameter '{name}' is given more than once.")))
            }
            None => Ok(first),
        }
    };
    let Some(algorithm) = value("X-Amz-Algorithm")? else { return Ok(None) };
    if algorithm != ALGORITHM {
        return Err(SignatureError::NotSupported(format!("the signing algorithm {algorithm}")));
    }
    let need = |name: &str| -> Result<&str, SignatureError> {
        let missing = || SignatureError::Incomplete(format!("AWS query-string parameters must include '{name}'."));
        value(name)?.filter(|value| !value.is_empty()).ok_or_else(missing)
    };
    let (access_key_id, scope) = parse_credential(need("X-Amz-Credential")?)?;
    let expires = match value("X-Amz-Expires")? {
        None => MAX_PRESIGN_AGE_SECONDS,
        Some(text) => {
            text.parse().ok().filter(|seconds| (0..=MAX_EXPIRES_SECONDS).contains(seconds)).ok_or_else(|| {
                SignatureError::Incomplete(format!(
                    "X-Amz-Expires must be a number of seconds from 0 to {MAX_EXPIRES_SECONDS}."
                ))
            })?
        }
    };
    Ok(Some(Claim {
        access_key_id,
        scope,
        amz_date: need("X-Amz-Date")?.to_owned(),
        signed_headers: parse_signed_headers(need("X-Amz-SignedHeaders")?)?,
        signature: need("X-Amz-Signature")?.to_owned(),
        token: value("X-Amz-Security-Token")?.map(str::to_owned),
        expires: Some(expires),
    }))
}

pub(crate) fn parse_credential(credential: &str) -> Result<(String, Scope), SignatureError> {
    let words: Vec<&str> = credential.split('/').collect();
    let [access_key_id, date, region, service, terminator] = words.as_slice() else {
        let why = format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"
        );
        return Err(SignatureError::Incomplete(why));
    };
    if *terminator != TERMINATOR {
        let why = format!("Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator}'.");
        return Err(SignatureError::Scope(why));
    }
    let scope = Scope { date: (*date).to_owned(), region: (*region).to_owned(), service: (*service).to_owned() };
    Ok(((*access_key_id).to_owned(), scope))
}

fn parse_signed_headers(text: &str) -> Result<Vec<String>, SignatureError> {
    let names: Vec<String> = text.split(';').map(str::to_ascii_lowercase).collect();
    if names.len() > MAX_SIGNED_HEADERS {
        return Err(SignatureError::Incomplete(format!("SignedHeaders has more than {MAX_SIGNED_HEADERS} names.")));
    }
    Ok(names)
}

/// The hash that stands in the canonical request: that of the body, unless the signed request says that its body is not signed.
fn payload_hash(parts: &RequestParts<'_>, body: &[u8], claim: &Claim) -> Result<String, SignatureError> {
    let computed = sha256_hex(body);
    match parts.header("x-amz-content-sha256") {
        None => Ok(computed),
        Some(UNSIGNED_PAYLOAD) if claim.signed_headers.iter().any(|name| name == "x-amz-content-sha256") => {
            Ok(UNSIGNED_PAYLOAD.to_owned())
        }
        Some(streaming) if streaming.starts_with("STREAMING-") => {
            Err(SignatureError::NotSupported(format!("the payload signature {streaming}")))
        }
        Some(given) if given == computed => Ok(computed),
        Some(_) => Err(SignatureError::PayloadHash),
    }
}
