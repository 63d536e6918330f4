//! The published SigV4 suite: every step of signing in both forms, and our verifier on the signed requests.

use std::path::{Path, PathBuf};

use cloud_wire::{Credentials, PathRules, RequestParts, Secret, SignOptions, Verifier, presign, sign_headers};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use world::Timestamp;

fn suite() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = std::env::var("MINATO_TEST_DATA").unwrap_or_else(|_| default.to_owned());
    let suite = Path::new(&data).join("sigv4");
    if suite.is_dir() {
        return Some(suite);
    }
    println!("skipped: {} is absent; set MINATO_TEST_DATA", suite.display());
    None
}

/// A request as the suite writes it.
struct Request {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: String,
}

impl Request {
    fn parse(text: &str) -> Request {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((text.as_str(), ""));
        let mut lines = head.lines();
        let line = lines.next().expect("a request line").trim_end_matches(" HTTP/1.1");
        let (method, target) = line.split_once(' ').expect("a method and a target");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            match (line.starts_with(' '), fields.last_mut()) {
                // A folded header: HTTP parsers join its lines with a space.
                (true, Some((_, value))) => *value = format!("{value} {}", line.trim()),
                _ => fields.extend(line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()))),
            }
        }
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a header name");
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        }
        Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: body.to_owned(),
        }
    }

    fn parts(&self) -> RequestParts<'_> {
        RequestParts { method: &self.method, raw_path: &self.path, raw_query: &self.query, headers: &self.headers }
    }
}

struct Case {
    name: String,
    folder: PathBuf,
    context: Value,
}

impl Case {
    fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.join(file)).ok()
    }

    fn text(&self, pointer: &str) -> &str {
        self.context.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn path_rules(&self) -> PathRules {
        let normalise = self.context["normalize"].as_bool().unwrap_or(true);
        // The suite does not say it, but only these cases are about encoding twice.
        PathRules { normalise, encode_twice: self.name.starts_with("double-") }
    }

    fn check(&self, failures: &mut Vec<String>) {
        let request = Request::parse(&self.read("request.txt").expect("every case has a request"));
        let token = self.context.pointer("/credentials/token").and_then(Value::as_str);
        let access_key_id = self.text("/credentials/access_key_id");
        let secret_key = self.text("/credentials/secret_access_key");
        let credentials = Credentials { access_key_id, secret_key, session_token: token };
        let now = Timestamp::parse(self.text("/timestamp")).expect("a timestamp");
        let options = SignOptions {
            path: self.path_rules(),
            content_sha256: self.context["sign_body"].as_bool().unwrap_or(false),
            token_after: self.context["omit_session_token"].as_bool().unwrap_or(false),
            ..SignOptions::new(self.text("/region"), self.text("/service"), now)
        };
        let expires = self.context["expiration_in_seconds"].as_u64().unwrap_or(3600) as u32;
        let body = request.body.as_bytes();
        let header = sign_headers(&request.parts(), body, &credentials, &options).expect("signable");
        let query = presign(&request.parts(), body, &credentials, &options, expires).expect("signable");
        for (form, signed) in [("header", &header), ("query", &query)] {
            for (step, actual) in [
                ("canonical-request", &signed.canonical_request),
                ("string-to-sign", &signed.string_to_sign),
                ("signature", &signed.signature),
            ] {
                if let Some(expected) = self.read(&format!("{form}-{step}.txt"))
                    && expected.trim_end() != actual.trim_end()
                {
                    failures.push(format!("{} {form} {step}\nexpected {expected}\nactual   {actual}", self.name));
                }
            }
        }
        let mut signed = request.parts().headers.clone();
        signed.extend(header.headers.clone());
        if let Some(expected) = self.read("header-signed-request.txt") {
            let expected = Request::parse(&expected).headers;
            if !same_headers(&expected, &signed) {
                failures
                    .push(format!("{} header signed request\nexpected {expected:?}\nactual   {signed:?}", self.name));
            }
        }
        if let Some(expected) = self.read("query-signed-request.txt") {
            let expected = Request::parse(&expected);
            if sorted(&expected.query) != sorted(&query.query) {
                failures.push(format!(
                    "{} query signed request\nexpected {}\nactual   {}",
                    self.name, expected.query, query.query
                ));
            }
        }
        self.verify_published(failures, now, secret_key, token);
    }

    /// Our verifier accepts what the suite signed, and not with another secret.
    fn verify_published(&self, failures: &mut Vec<String>, now: Timestamp, secret_key: &str, token: Option<&str>) {
        for form in ["header", "query"] {
            let Some(text) = self.read(&format!("{form}-signed-request.txt")) else { continue };
            let request = Request::parse(&text);
            for (secret_key, valid) in [(secret_key, true), ("another", false)] {
                let lookup = |_: &str| {
                    Some(Secret {
                        secret_key: secret_key.to_owned(),
                        session_token: token.map(str::to_owned),
                        expires_at: None,
                    })
                };
                let (region, service) = (self.text("/region"), self.text("/service"));
                let verifier =
                    Verifier { region, global_region: None, service, now, path: self.path_rules(), lookup: &lookup };
                let result = verifier.verify(&request.parts(), request.body.as_bytes());
                if result.is_ok() != valid {
                    failures.push(format!("{} verify {form}, secret {secret_key}: {result:?}", self.name));
                }
            }
        }
    }
}

fn sorted(query: &str) -> Vec<&str> {
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    pairs
}

fn same_headers(a: &HeaderMap, b: &HeaderMap) -> bool {
    let list = |map: &HeaderMap| {
        let mut list: Vec<(String, Vec<u8>)> =
            map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().trim_ascii().to_vec())).collect();
        list.sort();
        list
    };
    list(a) == list(b)
}

#[test]
fn every_published_case_is_signed_and_verified() {
    let Some(suite) = suite() else { return };
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(suite).expect("readable").map(|entry| entry.expect("readable").path()).collect();
    folders.sort();
    let mut failures = Vec::new();
    let mut count = 0;
    for folder in folders {
        let Ok(context) = std::fs::read_to_string(folder.join("context.json")) else { continue };
        let context = serde_json::from_str(&context).expect("JSON");
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Case { name, folder, context }.check(&mut failures);
        count += 1;
    }
    assert!(count >= 38, "the suite has {count} cases");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
