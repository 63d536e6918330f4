//! The canonical request, the string to sign and the derived key. Must never read the clock or a secret store.

use hmac::{Hmac, Mac};
use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use crate::error::WireError;
use crate::request::{RequestParts, decode_percent, encode_percent, parse_pairs};

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(crate) const TERMINATOR: &str = "aws4_request";
/// The hash that stands for a body that is not signed.
pub(crate) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// How the path enters the canonical request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRules {
    /// Resolve `.` and `..` and merge slashes.
    pub normalise: bool,
    /// Encode the already encoded path again.
    pub encode_twice: bool,
}

impl PathRules {
    /// Every service but S3.
    pub const STANDARD: PathRules = PathRules { normalise: true, encode_twice: true };
    /// S3, whose keys may contain anything.
    pub const S3: PathRules = PathRules { normalise: false, encode_twice: false };
}

/// What a signature is valid for: `date/region/service/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub date: String,
    /// For example `us-east-1`.
    pub region: String,
    /// Signing name, for example `eks`.
    pub service: String,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/{TERMINATOR}", self.date, self.region, self.service)
    }
}

/// The scope that a request claims in its `Authorization` header or its query; nothing when it claims none that is readable.
pub fn credential_scope(parts: &RequestParts<'_>) -> Option<Scope> {
    let credential = match parts.header("authorization").filter(|value| value.starts_with("AWS4-")) {
        Some(value) => value.split_once("Credential=")?.1.split([',', ' ']).next()?.to_owned(),
        None => {
            let raw = parts.raw_query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
            decode_percent(raw, true).ok()?
        }
    };
    let mut words = credential.rsplit('/');
    let (_, service, region, date) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some(Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() })
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hmac(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(message);
    mac
}

/// The HMAC over the string to sign. Deriving the key takes four short HMACs, about two microseconds: no cache is worth its
/// invalidation.
pub(crate) fn signature(secret_key: &str, scope: &Scope, string_to_sign: &str) -> Hmac<Sha256> {
    let mut key = hmac(format!("AWS4{secret_key}").as_bytes(), scope.date.as_bytes()).finalize().into_bytes();
    for part in [scope.region.as_str(), scope.service.as_str(), TERMINATOR] {
        key = hmac(&key, part.as_bytes()).finalize().into_bytes();
    }
    hmac(&key, string_to_sign.as_bytes())
}

pub(crate) fn string_to_sign(amz_date: &str, scope: &Scope, canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{amz_date}\n{scope}\n{}", sha256_hex(canonical_request.as_bytes()))
}

/// The canonical request. `query` is decoded; `signed_headers` are lower-case names in the order that the signature states.
pub(crate) fn canonical_request(
    method: &str,
    path: &str,
    query: &[(String, String)],
    headers: &HeaderMap,
    signed_headers: &[&str],
    payload_hash: &str,
) -> String {
    let mut out = format!("{method}\n{path}\n{}\n", canonical_query(query));
    for name in signed_headers {
        out.push_str(name);
        out.push(':');
        for (index, value) in headers.get_all(*name).iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_folded(&mut out, &String::from_utf8_lossy(value.as_bytes()));
        }
        out.push('\n');
    }
    out.push('\n');
    out.push_str(&signed_headers.join(";"));
    out.push('\n');
    out.push_str(payload_hash);
    out
}

/// Trims, and makes one space of every run of white space.
fn push_folded(out: &mut String, value: &str) {
    for (index, word) in value.split_ascii_whitespace().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}

fn canonical_query(pairs: &[(String, String)]) -> String {
    let mut encoded: Vec<(String, String)> =
        pairs.iter().map(|(name, value)| (encode_percent(name, false), encode_percent(value, false))).collect();
    encoded.sort();
    encoded.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// The canonical path of a raw one.
pub(crate) fn canonical_path(raw: &str, rules: PathRules) -> Result<String, WireError> {
    let normalised = if rules.normalise { normalise(raw) } else { raw.to_owned() };
    let path = if normalised.is_empty() { "/".to_owned() } else { normalised };
    if rules.encode_twice {
        return Ok(encode_percent(&path, true));
    }
    let segments: Result<Vec<String>, WireError> =
        path.split('/').map(|segment| Ok(encode_percent(&decode_percent(segment, false)?, false))).collect();
    Ok(segments?.join("/"))
}

fn normalise(raw: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let mut path = format!("/{}", kept.join("/"));
    let last = raw.rsplit('/').next().unwrap_or_default();
    if !kept.is_empty() && matches!(last, "" | "." | "..") {
        path.push('/');
    }
    path
}

/// The pairs of a raw query, without the signature.
pub(crate) fn query_without_signature(raw: &str) -> Result<Vec<(String, String)>, WireError> {
    let mut pairs = parse_pairs(raw)?;
    pairs.retain(|(name, _)| name != "X-Amz-Signature");
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_eks_are_encoded_again_and_those_of_s3_once() {
        let raw = "/access-entries/arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fa";
        let canonical = |rules| canonical_path(raw, rules).expect("well formed");
        assert_eq!(
            canonical(PathRules::STANDARD),
            "/access-entries/arn%253Aaws%253Aiam%253A%253A111122223333%253Arole%252Fa"
        );
        assert_eq!(canonical(PathRules::S3), raw);
    }

    #[test]
    fn the_scope_is_found_in_header_and_query() {
        let mut headers = HeaderMap::new();
        let scope = Scope { date: "20260101".into(), region: "eu-west-1".into(), service: "sts".into() };
        let query = "A=b&X-Amz-Credential=AK%2F20260101%2Feu-west-1%2Fsts%2Faws4_request";
        let parts = RequestParts { method: "GET", raw_path: "/", raw_query: query, headers: &headers };
        assert_eq!(credential_scope(&parts), Some(scope.clone()));
        let value = format!("{ALGORITHM} Credential=AK/{scope}, SignedHeaders=host, Signature=00");
        headers.insert("authorization", value.parse().expect("a header value"));
        let parts = RequestParts { method: "GET", raw_path: "/", raw_query: "", headers: &headers };
        assert_eq!(credential_scope(&parts), Some(scope));
    }
}
