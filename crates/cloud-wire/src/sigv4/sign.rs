//! Signing, in headers and in the query: for `minato token`, for in-process clients and for tests. Must never send anything.

use http::{HeaderMap, HeaderValue};
use world::Timestamp;

use super::canonical::{
    ALGORITHM, PathRules, Scope, canonical_path, canonical_request, hex, query_without_signature, sha256_hex,
    signature, string_to_sign,
};
use crate::error::WireError;
use crate::request::{RequestParts, encode_percent};
use hmac::Mac as _;

/// Headers that proxies change on the way, so that signing them would break the signature.
const NEVER_SIGNED: &[&str] =
    &["authorization", "connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"];

/// Who signs.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// For example `AKIDEXAMPLE`.
    pub access_key_id: &'a str,
    /// The secret that belongs to it.
    pub secret_key: &'a str,
    /// Of temporary credentials.
    pub session_token: Option<&'a str>,
}

/// For what, when and how to sign.
#[derive(Debug, Clone, Copy)]
pub struct SignOptions<'a> {
    /// For example `us-east-1`.
    pub region: &'a str,
    /// Signing name, for example `eks`.
    pub service: &'a str,
    /// The moment of signing.
    pub now: Timestamp,
    /// How the path is canonicalised.
    pub path: PathRules,
    /// Adds `x-amz-content-sha256`, as S3 wants.
    pub content_sha256: bool,
    /// The session token is added after signing instead of being signed.
    pub token_after: bool,
}

impl<'a> SignOptions<'a> {
    /// What every service but S3 uses.
    pub fn new(region: &'a str, service: &'a str, now: Timestamp) -> SignOptions<'a> {
        SignOptions { region, service, now, path: PathRules::STANDARD, content_sha256: false, token_after: false }
    }

    fn scope(&self) -> Scope {
        let date = self.now.to_amz_date().chars().take(8).collect();
        Scope { date, region: self.region.to_owned(), service: self.service.to_owned() }
    }
}

/// A signature and what it was made of.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Headers to add to the request; empty for a presigned one.
    pub headers: HeaderMap,
    /// The raw query string to send.
    pub query: String,
    /// Step one.
    pub canonical_request: String,
    /// Step two.
    pub string_to_sign: String,
    /// Step three, 64 hexadecimal digits.
    pub signature: String,
}

fn header_value(text: &str) -> Result<HeaderValue, WireError> {
    HeaderValue::from_str(text).map_err(|error| WireError::Malformed { what: "header", why: error.to_string() })
}

/// Signs all headers of the request (which must include `host`) and the body; the result is to be added as headers.
///
/// # Errors
/// Bad percent-encoding in the query, or credentials that no header can hold.
pub fn sign_headers(
    parts: &RequestParts<'_>,
    body: &[u8],
    credentials: &Credentials<'_>,
    options: &SignOptions<'_>,
) -> Result<Signed, WireError> {
    let amz_date = options.now.to_amz_date();
    let payload = sha256_hex(body);
    let mut added = HeaderMap::new();
    added.insert("x-amz-date", header_value(&amz_date)?);
    if options.content_sha256 {
        added.insert("x-amz-content-sha256", header_value(&payload)?);
    }
    let token = credentials.session_token.map(header_value).transpose()?;
    if let Some(token) = token.clone().filter(|_| !options.token_after) {
        added.insert("x-amz-security-token", token);
    }
    let mut headers = parts.headers.clone();
    headers.extend(added.clone());
    let names = signed_names(&headers);
    let query = query_without_signature(parts.raw_query)?;
    let path = canonical_path(parts.raw_path, options.path)?;
    let canonical = canonical_request(parts.method, &path, &query, &headers, &names, &payload);
    let scope = options.scope();
    let to_sign = string_to_sign(&amz_date, &scope, &canonical);
    let signature = hex(&signature(credentials.secret_key, &scope, &to_sign).finalize().into_bytes());
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
        credentials.access_key_id,
        names.join(";")
    );
    added.insert("authorization", header_value(&authorization)?);
    if let Some(token) = token {
        added.insert("x-amz-security-token", token);
    }
    let query = parts.raw_query.to_owned();
    Ok(Signed { headers: added, query, canonical_request: canonical, string_to_sign: to_sign, signature })
}

fn signed_names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> =
        headers.keys().map(|name| name.as_str()).filter(|name| !NEVER_SIGNED.contains(name)).collect();
    names.sort_unstable();
    names
}

/// Signs into the query string, with all headers of the request (which must include `host`).
///
/// # Errors
/// Bad percent-encoding in the query.
pub fn presign(
    parts: &RequestParts<'_>,
    body: &[u8],
    credentials: &Credentials<'_>,
    options: &SignOptions<'_>,
    expires_seconds: u32,
) -> Result<Signed, WireError> {
    let amz_date = options.now.to_amz_date();
    let scope = options.scope();
    let names = signed_names(parts.headers);
    let mut added = vec![
        ("X-Amz-Algorithm", ALGORITHM.to_owned()),
        ("X-Amz-Credential", format!("{}/{scope}", credentials.access_key_id)),
        ("X-Amz-Date", amz_date.clone()),
        ("X-Amz-Expires", expires_seconds.to_string()),
        ("X-Amz-SignedHeaders", names.join(";")),
    ];
    let token = credentials.session_token.map(|token| ("X-Amz-Security-Token", token.to_owned()));
    let (token, token_after) = if options.token_after { (None, token) } else { (token, None) };
    added.extend(token);
    let mut query = query_without_signature(parts.raw_query)?;
    query.extend(added.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let path = canonical_path(parts.raw_path, options.path)?;
    let canonical = canonical_request(parts.method, &path, &query, parts.headers, &names, &sha256_hex(body));
    let to_sign = string_to_sign(&amz_date, &scope, &canonical);
    let signature = hex(&signature(credentials.secret_key, &scope, &to_sign).finalize().into_bytes());
    added.extend(token_after);
    added.push(("X-Amz-Signature", signature.clone()));
    let mut raw = parts.raw_query.to_owned();
    for (name, value) in &added {
        if !raw.is_empty() {
            raw.push('&');
        }
        raw.push_str(name);
        raw.push('=');
        raw.push_str(&encode_percent(value, false));
    }
    Ok(Signed {
        headers: HeaderMap::new(),
        query: raw,
        canonical_request: canonical,
        string_to_sign: to_sign,
        signature,
    })
}
