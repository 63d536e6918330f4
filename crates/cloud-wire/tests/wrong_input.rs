//! What clients get wrong, and the error that each mistake gets.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloud_wire::{
    AwsError, Credentials, MAX_TOKEN_BYTES, Name, PathRules, Protocol, RequestParts, Secret, Service, SignOptions,
    TOKEN_PREFIX, TokenError, TokenRequest, Verifier, WireError, eks_token, presign, recognise, sign_headers,
    verify_eks_token,
};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use world::Timestamp;

const NOW: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z
const HOST: &str = "127.0.0.1:4566";
const ADMIN: Credentials<'_> = Credentials { access_key_id: "AKIDADMIN", secret_key: "secret", session_token: None };
const TEMPORARY: Credentials<'_> =
    Credentials { access_key_id: "ASIATEMP", secret_key: "other", session_token: Some("session/+=") };

fn lookup(access_key_id: &str) -> Option<Secret> {
    let secret = |key: &str, token: Option<&str>, expires_at| {
        Some(Secret { secret_key: key.to_owned(), session_token: token.map(str::to_owned), expires_at })
    };
    match access_key_id {
        "AKIDADMIN" => secret("secret", None, None),
        "ASIATEMP" => secret("other", Some("session/+="), None),
        "ASIAOLD" => secret("old", Some("session"), Some(Timestamp::from_seconds(NOW - 1))),
        _ => None,
    }
}

fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value")))
        .collect()
}

/// A request that can be spoilt before it is verified.
struct Request {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    fn new() -> Request {
        let headers = map(&[("host", HOST), ("content-type", "application/json")]);
        let path = "/clusters/blue/access-entries/arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fa%2Fb";
        Request { method: "POST".into(), path: path.into(), query: "x=1&a=b%20c".into(), headers, body: b"{}".to_vec() }
    }

    fn parts(&self) -> RequestParts<'_> {
        RequestParts { method: &self.method, raw_path: &self.path, raw_query: &self.query, headers: &self.headers }
    }

    fn signed(credentials: &Credentials<'_>, service: &str, skew: i64) -> Request {
        let mut request = Request::new();
        let options = SignOptions::new("us-east-1", service, Timestamp::from_seconds(NOW + skew));
        let signed = sign_headers(&request.parts(), &request.body, credentials, &options).expect("signable");
        request.headers.extend(signed.headers);
        request
    }

    fn presigned(credentials: &Credentials<'_>, service: &str, skew: i64, expires: u32) -> Request {
        let mut request = Request::new();
        let options = SignOptions::new("us-east-1", service, Timestamp::from_seconds(NOW + skew));
        request.query =
            presign(&request.parts(), &request.body, credentials, &options, expires).expect("signable").query;
        request
    }

    fn replace_header(&mut self, name: &'static str, from: &str, to: &str) {
        let value = self
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .expect("the header is there")
            .replace(from, to);
        self.headers.insert(name, value.parse().expect("a value"));
    }

    fn verify(&self, service: Name, protocol: Protocol) -> Result<String, AwsError> {
        let verifier = Verifier {
            region: "eu-west-1",
            global_region: Some("us-east-1"),
            service: service.signing(),
            now: Timestamp::from_seconds(NOW),
            path: PathRules::STANDARD,
            lookup: &lookup,
        };
        let verified = verifier.verify(&self.parts(), &self.body);
        verified.map(|verified| verified.access_key_id).map_err(|error| error.to_aws(protocol))
    }
}

fn outcome(result: Result<String, AwsError>) -> String {
    match result {
        Ok(caller) => caller,
        Err(error) => format!("{} {}", error.status, error.code),
    }
}

#[test]
fn signed_requests_are_accepted_and_spoilt_ones_refused() {
    type Spoil = fn(&mut Request);
    let cases: &[(&str, Credentials<'_>, Spoil, &str)] = &[
        ("untouched", ADMIN, |_| {}, "AKIDADMIN"),
        ("temporary credentials", TEMPORARY, |_| {}, "ASIATEMP"),
        (
            "an unsigned header may be added",
            ADMIN,
            |r| drop(r.headers.insert("accept", HeaderValue::from_static("a"))),
            "AKIDADMIN",
        ),
        ("query parameters may change their order", ADMIN, |r| r.query = "a=b%20c&x=1".into(), "AKIDADMIN"),
        ("another body", ADMIN, |r| r.body = b"{ }".to_vec(), "403 InvalidSignatureException"),
        ("another query", ADMIN, |r| r.query = "x=2&a=b%20c".into(), "403 InvalidSignatureException"),
        ("another path", ADMIN, |r| r.path = r.path.replace("%2Fb", "%2Fc"), "403 InvalidSignatureException"),
        ("a decoded path", ADMIN, |r| r.path = r.path.replace("%2F", "/"), "403 InvalidSignatureException"),
        ("another method", ADMIN, |r| r.method = "DELETE".into(), "403 InvalidSignatureException"),
        ("another host", ADMIN, |r| r.replace_header("host", "127", "128"), "403 InvalidSignatureException"),
        (
            "another signature",
            ADMIN,
            |r| r.replace_header("authorization", "Signature=", "Signature=0"),
            "403 InvalidSignatureException",
        ),
        ("no signature", ADMIN, |r| drop(r.headers.remove("authorization")), "403 MissingAuthenticationTokenException"),
        (
            "a bearer token",
            ADMIN,
            |r| r.replace_header("authorization", "AWS4-HMAC-SHA256", "Bearer"),
            "403 MissingAuthenticationTokenException",
        ),
        ("no date", ADMIN, |r| drop(r.headers.remove("x-amz-date")), "400 IncompleteSignatureException"),
        (
            "no credential",
            ADMIN,
            |r| r.replace_header("authorization", "Credential=", "Kredential="),
            "400 IncompleteSignatureException",
        ),
        (
            "an unknown key",
            ADMIN,
            |r| r.replace_header("authorization", "AKIDADMIN", "AKIDNOBODY"),
            "403 UnrecognizedClientException",
        ),
        (
            "a short scope",
            ADMIN,
            |r| r.replace_header("authorization", "/aws4_request", ""),
            "400 IncompleteSignatureException",
        ),
        (
            "another terminator",
            ADMIN,
            |r| r.replace_header("authorization", "aws4_request", "aws5"),
            "403 InvalidSignatureException",
        ),
        (
            "another region",
            ADMIN,
            |r| r.replace_header("authorization", "us-east-1", "ap-south-1"),
            "403 InvalidSignatureException",
        ),
        (
            "another date in the scope",
            ADMIN,
            |r| r.replace_header("authorization", "/20260101/", "/20251231/"),
            "403 InvalidSignatureException",
        ),
        (
            "an unsigned host",
            ADMIN,
            |r| r.replace_header("authorization", "host;", ""),
            "403 InvalidSignatureException",
        ),
        (
            "a removed session token",
            TEMPORARY,
            |r| drop(r.headers.remove("x-amz-security-token")),
            "403 UnrecognizedClientException",
        ),
        (
            "another session token",
            TEMPORARY,
            |r| r.replace_header("x-amz-security-token", "session", "Session"),
            "403 UnrecognizedClientException",
        ),
        (
            "a session token without need",
            ADMIN,
            |r| drop(r.headers.insert("x-amz-security-token", HeaderValue::from_static("t"))),
            "403 UnrecognizedClientException",
        ),
        (
            "another payload hash",
            ADMIN,
            |r| drop(r.headers.insert("x-amz-content-sha256", HeaderValue::from_static("00"))),
            "403 InvalidSignatureException",
        ),
        (
            "a body that suddenly is unsigned",
            ADMIN,
            |r| drop(r.headers.insert("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"))),
            "403 InvalidSignatureException",
        ),
        (
            "an unsigned operation",
            ADMIN,
            |r| drop(r.headers.insert("x-amz-target", HeaderValue::from_static("X.Y"))),
            "403 InvalidSignatureException",
        ),
        ("bad percent-encoding", ADMIN, |r| r.query = "a=%zz".into(), "400 IncompleteSignatureException"),
        (
            "another algorithm",
            ADMIN,
            |r| r.replace_header("authorization", "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            "501 NotImplemented",
        ),
    ];
    for (name, credentials, spoil, expected) in cases {
        let mut request = Request::signed(credentials, "eks", 0);
        spoil(&mut request);
        assert_eq!(outcome(request.verify(Name::Eks, Protocol::RestJson)), *expected, "{name}");
    }
    let for_another_service = Request::signed(&ADMIN, "iam", 0).verify(Name::Eks, Protocol::RestJson);
    let message = for_another_service.map_err(|error| error.message);
    assert_eq!(message, Err("Credential should be scoped to correct service: 'eks'.".to_owned()));
    let old = Credentials { access_key_id: "ASIAOLD", secret_key: "old", session_token: Some("session") };
    assert_eq!(
        outcome(Request::signed(&old, "eks", 0).verify(Name::Eks, Protocol::RestJson)),
        "403 ExpiredTokenException"
    );
}

#[test]
fn clocks_may_differ_by_five_minutes() {
    for (skew, accepted) in [(-300, true), (-301, false), (300, true), (301, false)] {
        assert_eq!(
            Request::signed(&ADMIN, "eks", skew).verify(Name::Eks, Protocol::RestJson).is_ok(),
            accepted,
            "{skew}"
        );
    }
    let message = |skew| {
        Request::signed(&ADMIN, "sts", skew).verify(Name::Sts, Protocol::Query).map_err(|error| error.to_string())
    };
    assert_eq!(
        message(-600),
        Err("SignatureDoesNotMatch: Signature expired: 20251231T235000Z is now earlier than 20251231T235500Z (20260101T000000Z - 5 min.)".into())
    );
    assert_eq!(
        message(600),
        Err("SignatureDoesNotMatch: Signature not yet current: 20260101T001000Z is still later than 20260101T000500Z (20260101T000000Z + 5 min.)".into())
    );
}

#[test]
fn presigned_requests_live_as_long_as_they_say_and_those_of_sts_fifteen_minutes() {
    for (service, skew, expires, expected) in [
        (Name::Ec2, 0, 60, "AKIDADMIN"),
        (Name::Ec2, -60, 60, "AKIDADMIN"),
        (Name::Ec2, -61, 60, "400 RequestExpired"),
        (Name::Ec2, 901, 60, "401 AuthFailure"),
        (Name::Sts, -900, 60, "AKIDADMIN"),
        (Name::Sts, -901, 60, "403 SignatureDoesNotMatch"),
        (Name::Sts, 0, 604_801, "400 IncompleteSignature"),
    ] {
        let protocol = Service::get(service).protocol;
        let result = Request::presigned(&ADMIN, service.signing(), skew, expires).verify(service, protocol);
        assert_eq!(outcome(result), expected, "{service:?} {skew} {expires}");
    }
    let mut twice = Request::presigned(&ADMIN, "sts", 0, 60);
    twice.query.push_str("&x-amz-date=20260101T000000Z");
    assert_eq!(outcome(twice.verify(Name::Sts, Protocol::Query)), "400 IncompleteSignature");
    let mut tampered = Request::presigned(&TEMPORARY, "sts", 0, 60);
    assert_eq!(outcome(tampered.verify(Name::Sts, Protocol::Query)), "ASIATEMP");
    tampered.query = tampered.query.replace("x=1", "x=2");
    assert_eq!(outcome(tampered.verify(Name::Sts, Protocol::Query)), "403 SignatureDoesNotMatch");
}

#[test]
fn every_family_has_its_own_codes() {
    let codes = |protocol| {
        let mut unknown = Request::signed(&ADMIN, "eks", 0);
        unknown.replace_header("authorization", "AKIDADMIN", "AKIDNOBODY");
        let mut unsigned = Request::new();
        unsigned.query.clear();
        let mut tampered = Request::signed(&ADMIN, "eks", 0);
        tampered.body.push(b' ');
        [unsigned, unknown, tampered].map(|request| outcome(request.verify(Name::Eks, protocol)))
    };
    assert_eq!(
        codes(Protocol::Query),
        ["403 MissingAuthenticationToken", "403 InvalidClientTokenId", "403 SignatureDoesNotMatch"]
    );
    assert_eq!(codes(Protocol::Ec2), ["403 MissingAuthenticationToken", "401 AuthFailure", "401 AuthFailure"]);
    assert_eq!(
        codes(Protocol::Json),
        ["403 MissingAuthenticationTokenException", "403 UnrecognizedClientException", "403 InvalidSignatureException"]
    );
}

fn token(credentials: Credentials<'_>, endpoint_url: &str, cluster_name: &str, skew: i64) -> String {
    let now = Timestamp::from_seconds(NOW + skew);
    eks_token(&TokenRequest { credentials, region: "us-east-1", endpoint_url, cluster_name, now }).expect("a token")
}

fn verify(token: &str) -> Result<String, TokenError> {
    let verified = verify_eks_token(token, "blue", &[HOST], &lookup, Timestamp::from_seconds(NOW));
    verified.map(|caller| caller.access_key_id)
}

#[test]
fn tokens_are_accepted_from_every_endpoint_of_sts_and_nowhere_else() {
    let local = format!("http://{HOST}");
    for (endpoint_url, accepted) in [
        (local.as_str(), true),
        (&format!("https://{HOST}/sts"), true),
        ("https://sts.us-east-1.amazonaws.com", true),
        ("https://sts.amazonaws.com/", true),
        ("https://sts.amazonaws.com:443/", true),
        ("https://sts-fips.us-east-1.amazonaws.com/", true),
        ("https://sts.cn-north-1.amazonaws.com.cn/", true),
        ("http://sts.us-east-1.amazonaws.com", false),
        ("https://sts.us-east-1.amazonaws.com/x", false),
        ("https://sts.us-east-1.amazonaws.com:8443", false),
        ("https://sts.evil.example", false),
        ("https://sts.a.b.amazonaws.com", false),
        ("https://evilamazonaws.com", false),
    ] {
        let result = verify(&token(ADMIN, endpoint_url, "blue", 0));
        assert_eq!(result.is_ok(), accepted, "{endpoint_url}: {result:?}");
        assert!(accepted || matches!(result, Err(TokenError::Host(_))), "{endpoint_url}: {result:?}");
    }
    assert_eq!(verify(&token(TEMPORARY, &local, "blue", 0)), Ok("ASIATEMP".into()));
    let caller =
        verify_eks_token(&token(ADMIN, &local, "blue", -60), "blue", &[HOST], &lookup, Timestamp::from_seconds(NOW));
    assert_eq!(caller.map(|caller| caller.expires_at.seconds()), Ok(NOW - 60 + 900));
}

/// Changes the URL inside a good token.
fn edited(edit: impl Fn(String) -> String) -> Result<String, TokenError> {
    let good = token(ADMIN, &format!("http://{HOST}"), "blue", 0);
    let bytes = URL_SAFE_NO_PAD.decode(good.trim_start_matches(TOKEN_PREFIX)).expect("base64");
    verify(&format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(edit(String::from_utf8(bytes).expect("text")))))
}

#[test]
fn spoilt_tokens_are_refused() {
    let local = format!("http://{HOST}");
    assert_eq!(verify(&token(ADMIN, &local, "green", 0)), Err(TokenError::Signature), "for another cluster");
    assert_eq!(verify(&token(ADMIN, &local, "blue", -900)), Ok("AKIDADMIN".into()), "just not expired");
    assert!(matches!(verify(&token(ADMIN, &local, "blue", -901)), Err(TokenError::Expired(_))));
    assert!(matches!(verify(&token(ADMIN, &local, "blue", 301)), Err(TokenError::NotYetValid(_))));
    let stranger = Credentials { access_key_id: "AKIDNOBODY", ..ADMIN };
    assert_eq!(verify(&token(stranger, &local, "blue", 0)), Err(TokenError::UnknownKey));
    let guessed = Credentials { secret_key: "guess", ..ADMIN };
    assert_eq!(verify(&token(guessed, &local, "blue", 0)), Err(TokenError::Signature));
    let without = Credentials { session_token: None, ..TEMPORARY };
    assert_eq!(verify(&token(without, &local, "blue", 0)), Err(TokenError::UnknownKey));
    let old = Credentials { access_key_id: "ASIAOLD", secret_key: "old", session_token: Some("session") };
    assert_eq!(verify(&token(old, &local, "blue", 0)), Err(TokenError::ExpiredCredentials));
    assert_eq!(verify(&format!("{TOKEN_PREFIX}{}", "A".repeat(MAX_TOKEN_BYTES))), Err(TokenError::TooLong));
    for malformed in [
        "",
        "k8s-aws-v1",
        "k8s-aws-v2.AAAA",
        "k8s-aws-v1.!!!",
        "k8s-aws-v1.AAAA====",
        "k8s-aws-v1._w",
        "k8s-aws-v1.AAAA",
    ] {
        assert!(matches!(verify(malformed), Err(TokenError::Format(_))), "{malformed}");
    }

    assert_eq!(edited(|url| url), Ok("AKIDADMIN".into()), "untouched");
    assert_eq!(
        edited(|url| format!("{url}&action=GetCallerIdentity")),
        Err(TokenError::DuplicateParameter("action".into()))
    );
    assert_eq!(edited(|url| format!("{url}&foo=bar")), Err(TokenError::UnknownParameter("foo".into())));
    assert_eq!(edited(|url| url.replace("GetCallerIdentity", "GetSessionToken")), Err(TokenError::Parameter("Action")));
    assert_eq!(edited(|url| url.replace("Expires=60", "Expires=901")), Err(TokenError::Parameter("X-Amz-Expires")));
    assert_eq!(edited(|url| url.replace("Expires=60", "Expires=-1")), Err(TokenError::Parameter("X-Amz-Expires")));
    assert_eq!(edited(|url| url.replace("Expires=60", "Expires=61")), Err(TokenError::Signature));
    assert_eq!(edited(|url| url.replace("host%3Bx-k8s-aws-id", "host")), Err(TokenError::ClusterNotSigned));
    assert_eq!(edited(|url| url.replace("host%3B", "")), Err(TokenError::Parameter("X-Amz-SignedHeaders")));
    assert_eq!(
        edited(|url| url.replace("host%3B", "host%3Baccept%3B")),
        Err(TokenError::UnknownHeader("accept".into()))
    );
    assert_eq!(edited(|url| url.replace("%2Fsts%2F", "%2Feks%2F")), Err(TokenError::Parameter("X-Amz-Credential")));
    assert_eq!(edited(|url| url.replace("AWS4-HMAC-SHA256", "none")), Err(TokenError::Parameter("X-Amz-Algorithm")));
    assert_eq!(edited(|url| url.replace("us-east-1", "eu-west-1")), Err(TokenError::Signature));
    assert!(matches!(edited(|url| url.replace("http://", "ftp://")), Err(TokenError::Format(_))));
    assert!(matches!(edited(|url| url.replace("http://", "http://user@")), Err(TokenError::Format(_))));
    assert!(matches!(edited(|url| format!("{url}#x")), Err(TokenError::Format(_))));
    assert!(matches!(edited(|url| format!("{url}%2")), Err(TokenError::Format(_))));
}

fn route(name: Name, method: &str, path: &str, query: &str, body: &str) -> Result<(String, Value), String> {
    let content_type = if name == Name::Eks { "application/json" } else { "application/x-www-form-urlencoded" };
    let headers = map(&[("content-type", content_type)]);
    let service = Service::get(name);
    let parts = RequestParts { method, raw_path: path, raw_query: query, headers: &headers };
    match service.route(&parts, body.as_bytes()) {
        Ok(call) => Ok((call.operation.name.to_owned(), call.input)),
        Err(error) => Err(format!("{} {}", error.to_aws(service.protocol).status, error.to_aws(service.protocol))),
    }
}

#[test]
fn requests_are_routed_and_read() {
    let arn = "arn:aws:iam::111122223333:role/a/b";
    let encoded = "arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fa%2Fb";
    for (name, method, path, query, body, operation, input) in [
        (
            Name::Eks,
            "GET",
            "/clusters",
            "include=all&include=x&maxResults=7",
            "",
            "ListClusters",
            json!({"include": ["all", "x"], "maxResults": 7}),
        ),
        (Name::Eks, "GET", "/clusters/blue", "", "", "DescribeCluster", json!({"name": "blue"})),
        (
            Name::Eks,
            "GET",
            &format!("/clusters/blue/access-entries/{encoded}"),
            "",
            "",
            "DescribeAccessEntry",
            json!({"clusterName": "blue", "principalArn": arn}),
        ),
        (
            Name::Eks,
            "DELETE",
            &format!("/tags/{encoded}"),
            "tagKeys=a&tagKeys=b",
            "",
            "UntagResource",
            json!({"resourceArn": arn, "tagKeys": ["a", "b"]}),
        ),
        (
            Name::Eks,
            "DELETE",
            "/clusters/blue/addons/x",
            "preserve=true",
            "",
            "DeleteAddon",
            json!({"clusterName": "blue", "addonName": "x", "preserve": true}),
        ),
        (
            Name::Eks,
            "POST",
            "/clusters",
            "",
            r#"{"name":"blue","unknown":1,"tags":{"a":"b"},"version":null}"#,
            "CreateCluster",
            json!({"name": "blue", "tags": {"a": "b"}}),
        ),
        (
            Name::Eks,
            "GET",
            "/addons/supported-versions",
            "addonName=x",
            "",
            "DescribeAddonVersions",
            json!({"addonName": "x"}),
        ),
        (
            Name::Iam,
            "POST",
            "/",
            "",
            "Action=CreateUser&Version=2010-05-08&UserName=u&Tags.member.1.Key=k&Tags.member.1.Value=a+b%2B",
            "CreateUser",
            json!({"UserName": "u", "Tags": [{"Key": "k", "Value": "a b+"}]}),
        ),
        (
            Name::Sts,
            "GET",
            "/",
            "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Date=x",
            "",
            "GetCallerIdentity",
            json!({}),
        ),
        (
            Name::Ec2,
            "POST",
            "/",
            "",
            "Action=DescribeVpcs&Version=2016-11-15&Filter.2.Name=b&Filter.1.Name=a&Filter.1.Value.1=x&Filter.1.Value.10=z&Filter.1.Value.2=y&VpcId.1=v",
            "DescribeVpcs",
            json!({"Filters": [{"Name": "a", "Values": ["x", "y", "z"]}, {"Name": "b"}], "VpcIds": ["v"]}),
        ),
    ] {
        assert_eq!(route(name, method, path, query, body), Ok((operation.to_owned(), input)));
    }
}

#[test]
fn malformed_requests_are_refused_by_name() {
    let deep = format!("Action=ListUsers&Version=2010-05-08&{}x=1", "a.".repeat(100));
    for (name, method, path, query, body, expected) in [
        (
            Name::Eks,
            "PUT",
            "/clusters",
            "",
            "",
            "404 UnknownOperationException: eks has no operation for PUT /clusters",
        ),
        (
            Name::Eks,
            "POST",
            "/clusters",
            "",
            "{",
            "400 SerializationException: the JSON body is malformed: EOF while parsing an object at line 1 column 1",
        ),
        (
            Name::Eks,
            "POST",
            "/clusters",
            "",
            "[]",
            "400 SerializationException: START_ARRAY can not be converted to a Structure at ''",
        ),
        (
            Name::Eks,
            "POST",
            "/clusters",
            "",
            r#"{"name":1}"#,
            "400 SerializationException: NUMBER_VALUE can not be converted to a String at 'name'",
        ),
        (
            Name::Eks,
            "POST",
            "/clusters",
            "",
            r#"{"resourcesVpcConfig":{"subnetIds":["a",1]}}"#,
            "400 SerializationException: NUMBER_VALUE can not be converted to a String at 'resourcesVpcConfig.subnetIds.2'",
        ),
        (
            Name::Eks,
            "POST",
            "/clusters/a/node-groups",
            "",
            r#"{"diskSize":1.5}"#,
            "400 SerializationException: NUMBER_VALUE can not be converted to an Integer at 'diskSize'",
        ),
        (
            Name::Eks,
            "POST",
            "/clusters/a/node-groups",
            "",
            r#"{"diskSize":3000000000}"#,
            "400 SerializationException: NUMBER_VALUE can not be converted to an Integer at 'diskSize'",
        ),
        (
            Name::Eks,
            "GET",
            "/clusters",
            "maxResults=many",
            "",
            "400 SerializationException: STRING_VALUE can not be converted to an Integer at 'maxResults'",
        ),
        (
            Name::Eks,
            "GET",
            "/clusters",
            "maxResults=1&maxResults=2",
            "",
            "400 SerializationException: the parameter \"maxResults\" is given more than once",
        ),
        (
            Name::Eks,
            "GET",
            "/clusters/%zz",
            "",
            "",
            "400 SerializationException: \"%zz\" is not valid percent-encoded UTF-8",
        ),
        (
            Name::Eks,
            "GET",
            "/clusters/%ff",
            "",
            "",
            "400 SerializationException: \"%ff\" is not valid percent-encoded UTF-8",
        ),
        (Name::Iam, "POST", "/", "", "", "400 MissingAction: The request must contain the parameter Action"),
        (
            Name::Iam,
            "POST",
            "/",
            "",
            "Action=Nope&Version=2010-05-08",
            "400 InvalidAction: iam has no operation for Nope and version 2010-05-08",
        ),
        (
            Name::Iam,
            "POST",
            "/",
            "",
            "Action=ListUsers&Version=1999-01-01",
            "400 InvalidAction: iam has no operation for ListUsers and version 1999-01-01",
        ),
        (
            Name::Iam,
            "POST",
            "/",
            "",
            "Action=ListUsers&Version=2010-05-08&Action=ListRoles",
            "400 MalformedQueryString: the parameter \"Action\" is given more than once",
        ),
        (
            Name::Iam,
            "POST",
            "/",
            "",
            "Action=ListUsers&Version=2010-05-08&MaxItems=x",
            "400 MalformedInput: STRING_VALUE can not be converted to an Integer at 'MaxItems'",
        ),
        (Name::Iam, "POST", "/", "", "Action=%", "400 MalformedQueryString: \"%\" is not valid percent-encoded UTF-8"),
        (
            Name::Iam,
            "POST",
            "/",
            "",
            &deep,
            "413 RequestEntityTooLarge: the request has too many levels in a parameter name: at most 64 are allowed",
        ),
        (
            Name::Ec2,
            "POST",
            "/",
            "",
            "Action=RunInstances&Version=2016-11-15",
            "501 NotImplemented: ec2:RunInstances is not supported by Minato yet",
        ),
        (
            Name::Ec2,
            "POST",
            "/",
            "",
            "Action=DescribeVpcs&Version=2016-11-15&DryRun=perhaps",
            "400 InvalidParameterValue: STRING_VALUE can not be converted to a Boolean at 'DryRun'",
        ),
    ] {
        assert_eq!(route(name, method, path, query, body).map(|_| ()), Err(expected.to_owned()));
    }
}

#[test]
fn an_unknown_service_is_named() {
    let headers = map(&[(
        "authorization",
        "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0",
    )]);
    let parts = RequestParts { method: "POST", raw_path: "/", raw_query: "", headers: &headers };
    assert_eq!(recognise(&parts, b""), Err(WireError::UnknownService("bedrock".into())));
    let error = WireError::UnknownService("bedrock".into()).to_aws(Protocol::Json);
    assert_eq!((error.status, error.message.as_str()), (501, "the service \"bedrock\" is not supported by Minato yet"));
}

#[test]
fn answers_have_the_form_of_their_protocol() {
    let text = |response: http::Response<bytes::Bytes>| {
        let header =
            |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
        let (kind, id) = (header("x-amzn-errortype"), header("x-amzn-requestid"));
        format!(
            "{} {} {kind} {id} {}",
            response.status().as_u16(),
            header("content-type"),
            String::from_utf8_lossy(response.body())
        )
    };
    let (eks, iam, sts, ec2) =
        (Service::get(Name::Eks), Service::get(Name::Iam), Service::get(Name::Sts), Service::get(Name::Ec2));
    let error = eks.error("ResourceNotFoundException", "No cluster found for name: x.").with("clusterName", "x");
    assert_eq!(
        text(eks.respond_error(&error, "id", None)),
        "404 application/json ResourceNotFoundException id \
         {\"__type\":\"ResourceNotFoundException\",\"clusterName\":\"x\",\"message\":\"No cluster found for name: x.\"}"
    );
    assert_eq!(
        text(iam.respond_error(&iam.error("NoSuchEntityException", "no <role>"), "id", None)),
        "404 text/xml - id <ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type>\
         <Code>NoSuchEntity</Code><Message>no &lt;role&gt;</Message></Error><RequestId>id</RequestId></ErrorResponse>"
    );
    assert_eq!(
        text(ec2.respond_error(&AwsError::new("InvalidVpcID.NotFound", 400, "m"), "id", None)),
        "400 text/xml;charset=UTF-8 - id <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
         <Code>InvalidVpcID.NotFound</Code><Message>m</Message></Error></Errors><RequestID>id</RequestID></Response>"
    );
    let identity = sts.operation("GetCallerIdentity").expect("modelled");
    let caller = json!({"Account": "111122223333", "Arn": "arn:aws:iam::111122223333:root", "UserId": "111122223333"});
    assert_eq!(
        text(sts.respond(identity, &caller, "id", None)),
        "200 text/xml - id <GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <UserId>111122223333</UserId><Account>111122223333</Account><Arn>arn:aws:iam::111122223333:root</Arn>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    );
    assert_eq!(
        text(sts.respond(identity, &caller, "id", Some("application/json"))),
        "200 application/json - id {\"GetCallerIdentityResponse\":{\"GetCallerIdentityResult\":{\"Account\":\"111122223333\",\
         \"Arn\":\"arn:aws:iam::111122223333:root\",\"UserId\":\"111122223333\"},\"ResponseMetadata\":{\"RequestId\":\"id\"}}}"
    );
    let vpcs = ec2.operation("DescribeVpcs").expect("modelled");
    assert_eq!(
        text(ec2.respond(vpcs, &json!({"Vpcs": [{"VpcId": "vpc-1", "IsDefault": true, "Tags": []}]}), "id", None)),
        "200 text/xml;charset=UTF-8 - id <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <DescribeVpcsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>id</requestId><vpcSet><item>\
         <isDefault>true</isDefault><tagSet></tagSet><vpcId>vpc-1</vpcId></item></vpcSet></DescribeVpcsResponse>"
    );
    // A handler's mistake is an internal error that names the member.
    let cluster = eks.operation("DescribeCluster").expect("modelled");
    let answer = text(eks.respond(cluster, &json!({"cluster": {"name": "x", "createdAt": "today"}}), "id", None));
    assert!(answer.starts_with("500 ") && answer.contains("cluster.createdAt"), "{answer}");
    let answer = text(eks.respond(cluster, &json!({"cluster": {"nmae": "x"}}), "id", None));
    assert!(answer.starts_with("500 ") && answer.contains("cluster.nmae"), "{answer}");
}
