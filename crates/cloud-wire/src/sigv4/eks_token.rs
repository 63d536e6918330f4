//! The bearer token of EKS: a presigned STS `GetCallerIdentity` bound to a cluster by the signed header `x-k8s-aws-id`. The checks are
//! those of aws-iam-authenticator (`pkg/token/token.go`), with the network call replaced by recomputing the signature. Must never
//! open a connection.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac as _;
use http::{HeaderMap, HeaderValue};
use world::Timestamp;

use super::canonical::{
    ALGORITHM, PathRules, Scope, canonical_path, canonical_request, sha256_hex, signature, string_to_sign,
};
use super::sign::{Credentials, SignOptions, presign};
use super::verify::{MAX_PRESIGN_AGE_SECONDS, Secret, check_token, parse_credential, unhex};
use crate::error::WireError;
use crate::request::{RequestParts, parse_pairs};

/// What every token starts with.
pub const TOKEN_PREFIX: &str = "k8s-aws-v1.";
/// Longest token, in bytes; upstream's limit.
pub const MAX_TOKEN_BYTES: usize = 4096;
/// The signed header that names the cluster.
const CLUSTER_HEADER: &str = "x-k8s-aws-id";
/// What tokens ask for, in seconds; STS gives them fifteen minutes all the same.
const EXPIRES_SECONDS: u32 = 60;
/// Longest life that a token may ask for, in seconds; upstream's limit.
const MAX_EXPIRES_SECONDS: i64 = 900;
/// How far ahead the signer's clock may be, in seconds.
const MAX_FUTURE_SECONDS: i64 = super::MAX_SKEW_SECONDS;

/// The only query parameters that a token may have, in lower case.
const PARAMETERS: &[&str] = &[
    "action",
    "version",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// What a token is made from.
#[derive(Debug, Clone, Copy)]
pub struct TokenRequest<'a> {
    /// Whose token it is.
    pub credentials: Credentials<'a>,
    /// For example `us-east-1`.
    pub region: &'a str,
    /// Where STS answers, for example `https://sts.us-east-1.amazonaws.com` or `http://127.0.0.1:4566`.
    pub endpoint_url: &'a str,
    /// Name of the cluster that it is for.
    pub cluster_name: &'a str,
    /// The moment of signing; the token lives for fifteen minutes from then.
    pub now: Timestamp,
}

/// Why a token is refused. The message is for the log; clients get 401 without a reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// It does not start with [`TOKEN_PREFIX`], is not base64url, or holds no URL.
    #[error("the token is malformed: {0}")]
    Format(&'static str),
    /// The URL leads to a host that is neither AWS STS nor allowed.
    #[error("the token's host {0:?} is not an STS endpoint")]
    Host(String),
    /// A query parameter stands twice.
    #[error("the token has the query parameter {0:?} more than once")]
    DuplicateParameter(String),
    /// A query parameter does not belong into a token.
    #[error("the token has the unexpected query parameter {0:?}")]
    UnknownParameter(String),
    /// A query parameter is missing, or has a value that it must not have.
    #[error("the token's query parameter {0} is missing or wrong")]
    Parameter(&'static str),
    /// The cluster's name is not signed.
    #[error("the token does not sign {CLUSTER_HEADER}")]
    ClusterNotSigned,
    /// It signs a header whose value nobody knows.
    #[error("the token signs the header {0:?}, which a token must not have")]
    UnknownHeader(String),
    /// It was made more than fifteen minutes ago.
    #[error("the token expired: it was signed at {0}")]
    Expired(String),
    /// It was made in the future.
    #[error("the token is not valid yet: it was signed at {0}")]
    NotYetValid(String),
    /// The access key is unknown, or the session token does not belong to it.
    #[error("the token's access key or session token is unknown")]
    UnknownKey,
    /// The temporary credentials have ended.
    #[error("the token's credentials have expired")]
    ExpiredCredentials,
    /// The signature is not that of this key for this cluster.
    #[error("the token's signature does not match; it may be for another cluster")]
    Signature,
}

/// What a token proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCaller {
    /// Whose token it is.
    pub access_key_id: String,
    /// The region of its scope.
    pub region: String,
    /// When it was made.
    pub signed_at: Timestamp,
    /// When it ends: fifteen minutes later.
    pub expires_at: Timestamp,
}

/// The parts of a URL that a token uses.
struct Url<'a> {
    https: bool,
    authority: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Option<Url<'a>> {
        let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return None,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        let valid =
            !authority.is_empty() && !authority.contains('@') && plain(authority) && plain(path) && plain(query);
        valid.then_some(Url { https, authority, path: if path.is_empty() { "/" } else { path }, query })
    }

    /// The authority as the `host` header has it: without the scheme's own port.
    fn host(&self) -> &'a str {
        let port = if self.https { ":443" } else { ":80" };
        self.authority.strip_suffix(port).unwrap_or(self.authority)
    }
}

fn token_headers(host: &str, cluster_name: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_str(host).ok()?);
    headers.insert(CLUSTER_HEADER, HeaderValue::from_str(cluster_name).ok()?);
    Some(headers)
}

/// Makes a token.
///
/// # Errors
/// An endpoint that is not a plain `http` or `https` URL, or a cluster name that no header can hold.
pub fn eks_token(request: &TokenRequest<'_>) -> Result<String, WireError> {
    let malformed =
        || WireError::Malformed { what: "STS endpoint URL or cluster name", why: request.endpoint_url.to_owned() };
    let url = Url::parse(request.endpoint_url).filter(|url| url.query.is_empty()).ok_or_else(malformed)?;
    let headers = token_headers(url.host(), request.cluster_name).ok_or_else(malformed)?;
    let query = "Action=GetCallerIdentity&Version=2011-06-15";
    let parts = RequestParts { method: "GET", raw_path: url.path, raw_query: query, headers: &headers };
    let options = SignOptions::new(request.region, "sts", request.now);
    let signed = presign(&parts, b"", &request.credentials, &options, EXPIRES_SECONDS)?;
    let scheme = if url.https { "https" } else { "http" };
    let text = format!("{scheme}://{}{}?{}", url.authority, url.path, signed.query);
    Ok(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(text)))
}

/// Whether `host` is one of AWS's names for STS: `sts.amazonaws.com`, `sts.<region>.amazonaws.com` and their FIPS and China forms.
fn is_aws_sts(host: &str) -> bool {
    let Some(middle) = host.strip_prefix("sts.").or_else(|| host.strip_prefix("sts-fips.")) else { return false };
    let suffixes = ["amazonaws.com", "amazonaws.com.cn", "api.aws"];
    suffixes.iter().any(|suffix| {
        middle == *suffix
            || middle.strip_suffix(suffix).and_then(|region| region.strip_suffix('.')).is_some_and(|region| {
                !region.is_empty() && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    })
}

/// Verifies a token for a cluster. `allowed_hosts` are the `host:port` under which this region's STS is reached; AWS's own STS names
/// are accepted over https too, because clients without a configured endpoint sign for those.
///
/// # Errors
/// See [`TokenError`]. A token for another cluster has the wrong signature.
pub fn verify_eks_token(
    token: &str,
    cluster_name: &str,
    allowed_hosts: &[&str],
    lookup: &dyn Fn(&str) -> Option<Secret>,
    now: Timestamp,
) -> Result<VerifiedCaller, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong);
    }
    let encoded = token.strip_prefix(TOKEN_PREFIX).ok_or(TokenError::Format("it does not start with k8s-aws-v1."))?;
    let bytes =
        URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Format("it is not base64url without padding"))?;
    let text = String::from_utf8(bytes).map_err(|_| TokenError::Format("it is not text"))?;
    let url = Url::parse(&text).ok_or(TokenError::Format("it holds no http or https URL"))?;
    let ours = allowed_hosts.contains(&url.authority) || allowed_hosts.contains(&url.host());
    let aws = url.https && is_aws_sts(url.host()) && url.path == "/";
    if !(ours || aws) {
        return Err(TokenError::Host(url.authority.to_owned()));
    }
    let pairs = parse_pairs(url.query).map_err(|_| TokenError::Format("its query is not percent-encoded"))?;
    let claim = Claim::check(&pairs, now)?;
    let (access_key_id, scope) =
        parse_credential(claim.credential).map_err(|_| TokenError::Parameter("X-Amz-Credential"))?;
    if scope.service != "sts" || !claim.amz_date.starts_with(&scope.date) || scope.date.len() != 8 {
        return Err(TokenError::Parameter("X-Amz-Credential"));
    }
    let secret = lookup(&access_key_id).ok_or(TokenError::UnknownKey)?;
    check_token(&secret, claim.token, now).map_err(|error| match error {
        super::SignatureError::ExpiredCredentials => TokenError::ExpiredCredentials,
        _ => TokenError::UnknownKey,
    })?;
    if !claim.signature_matches(&url, &pairs, cluster_name, &scope, &secret) {
        return Err(TokenError::Signature);
    }
    let expires_at = Timestamp::from_seconds(claim.signed_at.seconds() + MAX_PRESIGN_AGE_SECONDS);
    Ok(VerifiedCaller { access_key_id, region: scope.region, signed_at: claim.signed_at, expires_at })
}

/// The parameters of a token that passed every check that needs no secret.
struct Claim<'a> {
    credential: &'a str,
    amz_date: &'a str,
    signed_at: Timestamp,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
    token: Option<&'a str>,
}

impl<'a> Claim<'a> {
    fn check(pairs: &'a [(String, String)], now: Timestamp) -> Result<Claim<'a>, TokenError> {
        let mut seen = std::collections::BTreeMap::new();
        for (name, value) in pairs {
            let lower = name.to_ascii_lowercase();
            if !PARAMETERS.contains(&lower.as_str()) {
                return Err(TokenError::UnknownParameter(name.clone()));
            }
            if seen.insert(lower, value.as_str()).is_some() {
                return Err(TokenError::DuplicateParameter(name.clone()));
            }
        }
        let need = |name: &'static str| {
            let value = seen.get(name.to_ascii_lowercase().as_str()).copied();
            value.filter(|value| !value.is_empty()).ok_or(TokenError::Parameter(name))
        };
        if need("Action")? != "GetCallerIdentity" {
            return Err(TokenError::Parameter("Action"));
        }
        if need("X-Amz-Algorithm")? != ALGORITHM {
            return Err(TokenError::Parameter("X-Amz-Algorithm"));
        }
        let expires: Option<i64> = need("X-Amz-Expires")?.parse().ok();
        if !expires.is_some_and(|seconds| (0..=MAX_EXPIRES_SECONDS).contains(&seconds)) {
            return Err(TokenError::Parameter("X-Amz-Expires"));
        }
        let signed_headers: Vec<&str> = need("X-Amz-SignedHeaders")?.split(';').collect();
        if !signed_headers.contains(&CLUSTER_HEADER) {
            return Err(TokenError::ClusterNotSigned);
        }
        if !signed_headers.contains(&"host") {
            return Err(TokenError::Parameter("X-Amz-SignedHeaders"));
        }
        if let Some(other) = signed_headers.iter().find(|name| **name != CLUSTER_HEADER && **name != "host") {
            return Err(TokenError::UnknownHeader((*other).to_owned()));
        }
        let amz_date = need("X-Amz-Date")?;
        let signed_at = Timestamp::parse_amz_date(amz_date).map_err(|_| TokenError::Parameter("X-Amz-Date"))?;
        if now.seconds() > signed_at.seconds() + MAX_PRESIGN_AGE_SECONDS {
            return Err(TokenError::Expired(amz_date.to_owned()));
        }
        if signed_at.seconds() > now.seconds() + MAX_FUTURE_SECONDS {
            return Err(TokenError::NotYetValid(amz_date.to_owned()));
        }
        let token = seen.get("x-amz-security-token").copied();
        Ok(Claim {
            credential: need("X-Amz-Credential")?,
            amz_date,
            signed_at,
            signed_headers,
            signature: need("X-Amz-Signature")?,
            token,
        })
    }

    fn signature_matches(
        &self,
        url: &Url<'_>,
        pairs: &[(String, String)],
        cluster_name: &str,
        scope: &Scope,
        secret: &Secret,
    ) -> bool {
        let (Some(given), Some(headers), Ok(path)) = (
            unhex(self.signature),
            token_headers(url.host(), cluster_name),
            canonical_path(url.path, PathRules::STANDARD),
        ) else {
            return false;
        };
        let matches = |with_token: bool| {
            let signed = |name: &str| {
                !name.eq_ignore_ascii_case("X-Amz-Signature")
                    && (with_token || !name.eq_ignore_ascii_case("X-Amz-Security-Token"))
            };
            let query: Vec<_> = pairs.iter().filter(|(name, _)| signed(name)).cloned().collect();
            let canonical = canonical_request("GET", &path, &query, &headers, &self.signed_headers, &sha256_hex(b""));
            let to_sign = string_to_sign(self.amz_date, scope, &canonical);
            signature(&secret.secret_key, scope, &to_sign).verify_slice(&given).is_ok()
        };
        // Some signers add the session token after they signed.
        matches(true) || (self.token.is_some() && matches(false))
    }
}
