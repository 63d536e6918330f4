//! Names of domains, URLs and paths beyond those of objects (apimachinery `util/validation`, apiserver `util/webhook`).

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{invalid, required};
use crate::fields::{at, int, text};
use crate::names::{SUBDOMAIN_LIMIT, is_label, path_segment, port_number, subdomain};

/// `*.example.com` (RFC 1034, 4.3.3).
pub(crate) fn wildcard_subdomain(name: &str) -> Vec<String> {
    const MESSAGE: &str = r"a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let mut problems = Vec::new();
    if name.len() > SUBDOMAIN_LIMIT {
        problems.push(format!("must be no more than {SUBDOMAIN_LIMIT} characters"));
    }
    // Only the form is asked here; the length has been told.
    let rest = name.strip_prefix("*.").unwrap_or("");
    if !rest.split('.').all(is_label) {
        problems.push(MESSAGE.to_owned());
    }
    problems
}

/// A name of three parts and more, such as a webhook's.
pub(crate) fn fully_qualified(field: &str, name: &str) -> Vec<Cause> {
    if name.is_empty() {
        return vec![required(field, "")];
    }
    let problems = subdomain(name, false);
    if !problems.is_empty() {
        return vec![invalid(field, name, &problems.join(","))];
    }
    if name.split('.').count() < 3 {
        return vec![invalid(field, name, "should be a domain with at least three segments separated by dots")];
    }
    Vec::new()
}

/// `example.com/some/path`.
pub(crate) fn domain_prefixed_path(field: &str, path: &str) -> Vec<Cause> {
    if path.is_empty() {
        return vec![required(field, "")];
    }
    let (host, rest) = match path.split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => (host, rest),
        _ => return vec![invalid(field, path, "must be a domain-prefixed path (such as \"acme.io/foo\")")],
    };
    let mut causes: Vec<Cause> = subdomain(host, false).iter().map(|problem| invalid(field, host, problem)).collect();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !rest.bytes().all(allowed) {
        let problem = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";
        causes.push(invalid(field, rest, problem));
    }
    causes
}

/// Kind and name of a thing in the same namespace, with the group where there is one.
pub(crate) fn typed_local_reference(reference: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(group) = at(reference, "apiGroup").as_str() {
        let problems = subdomain(group, false);
        causes.extend(problems.iter().map(|problem| invalid(format!("{field}.apiGroup"), group, problem)));
    }
    for key in ["kind", "name"] {
        causes.extend(segment(reference, key, field));
    }
    causes
}

/// A text that must be there and fit into a path.
pub(crate) fn segment(object: &Value, key: &str, field: &str) -> Vec<Cause> {
    let (name, field) = (text(object, key), format!("{field}.{key}"));
    if name.is_empty() {
        return vec![required(field, "")];
    }
    path_segment(name, false).iter().map(|problem| invalid(&field, name, problem)).collect()
}

/// Where a webhook is: a URL or a Service.
pub(crate) fn client_config(config: &Value, field: &str) -> Vec<Cause> {
    let (url, service) = (at(config, "url"), at(config, "service"));
    match (url.as_str(), service.is_null()) {
        (Some(url), true) => webhook_url(url, &format!("{field}.url")),
        (None, false) => webhook_service(service, &format!("{field}.service")),
        _ => vec![required(field, "exactly one of url or service is required")],
    }
}

fn webhook_url(url: &str, field: &str) -> Vec<Cause> {
    const FORM: &str = "; desired format: https://host[/path]";
    let parts = match UrlParts::parse(url) {
        Ok(parts) => parts,
        Err(problem) => {
            return vec![required(field, &format!("url must be a valid URL: parse {url:?}: {problem}{FORM}"))];
        }
    };
    let mut causes = Vec::new();
    if parts.scheme != "https" {
        causes.push(invalid(field, parts.scheme, &format!("'https' is the only allowed URL scheme{FORM}")));
    }
    if parts.host.is_empty() {
        causes.push(invalid(field, "", &format!("host must be specified{FORM}")));
    }
    if let Some(user) = parts.user {
        causes.push(invalid(field, user, "user information is not permitted in the URL"));
    }
    if !parts.fragment.is_empty() {
        causes.push(invalid(field, parts.fragment, "fragments are not permitted in the URL"));
    }
    if !parts.query.is_empty() {
        causes.push(invalid(field, parts.query, "query parameters are not permitted in the URL"));
    }
    causes
}

/// A URL taken apart as Go's `net/url` does.
struct UrlParts<'a> {
    scheme: String,
    user: Option<&'a str>,
    host: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> UrlParts<'a> {
    fn parse(url: &'a str) -> Result<UrlParts<'a>, &'static str> {
        if url.bytes().any(|byte| byte.is_ascii_control()) {
            return Err("net/url: invalid control character in URL");
        }
        if url.is_empty() {
            return Err("empty url");
        }
        let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
        let (scheme, rest) = UrlParts::scheme(url)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if scheme.is_empty() && rest.split('/').next().is_some_and(|first| first.contains(':')) {
            return Err("first path segment in URL cannot contain colon");
        }
        let authority = rest.strip_prefix("//").map(|rest| rest.split('/').next().unwrap_or(rest)).unwrap_or("");
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let port = host.rsplit_once(']').map_or(host, |(_, rest)| rest).split_once(':').map(|(_, port)| port);
        if port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err("invalid port after host");
        }
        if host.contains(' ') {
            return Err("invalid character \" \" in host name");
        }
        Ok(UrlParts { scheme, user, host, query, fragment })
    }

    fn scheme(url: &str) -> Result<(String, &str), &'static str> {
        let Some((head, rest)) = url.split_once(':') else { return Ok((String::new(), url)) };
        let plain = head.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        match head.bytes().next() {
            None => Err("missing protocol scheme"),
            Some(first) if plain && first.is_ascii_alphabetic() => Ok((head.to_ascii_lowercase(), rest)),
            Some(_) => Ok((String::new(), url)),
        }
    }
}

fn webhook_service(service: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    // Upstream hands name and namespace over in the wrong order, so that each is missed under the other's path.
    for (told, key) in [("name", "namespace"), ("namespace", "name")] {
        if text(service, key).is_empty() {
            causes.push(required(format!("{field}.{told}"), ""));
        }
    }
    let port = int(service, "port");
    let problems = port_number(port);
    if !problems.is_empty() {
        causes.push(invalid(format!("{field}.port"), port, &format!("port is not valid: {}", problems.join(", "))));
    }
    let path = text(service, "path");
    let field = format!("{field}.path");
    match path {
        "" | "/" => return causes,
        "//" => {
            causes.push(invalid(field, path, "segment[0] may not be empty"));
            return causes;
        }
        _ if !path.starts_with('/') => causes.push(invalid(&field, path, "must start with a '/'")),
        _ => {}
    }
    // Upstream cuts off the first byte, whatever it is.
    let mut bare = path.chars();
    bare.next();
    let bare = bare.as_str();
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    for (index, step) in bare.split('/').enumerate() {
        if step.is_empty() {
            causes.push(invalid(&field, path, &format!("segment[{index}] may not be empty")));
            continue;
        }
        let problems = subdomain(step, false);
        causes.extend(problems.iter().map(|problem| invalid(&field, path, &format!("segment[{index}]: {problem}"))));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(causes: &[Cause]) -> Vec<String> {
        causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn webhooks_are_at_a_url_or_a_service() {
        let form = "desired format: https://host[/path]";
        let cases = [
            (json!({}), vec!["c: Required value: exactly one of url or service is required".to_owned()]),
            (json!({"url": "https://a.example/x"}), vec![]),
            (
                json!({"url": "http://a"}),
                vec![format!("c.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; {form}")],
            ),
            (json!({"url": "https:///x"}), vec![format!("c.url: Invalid value: \"\": host must be specified; {form}")]),
            (
                json!({"url": "https://u:p@a/?q=1#f"}),
                vec![
                    "c.url: Invalid value: \"u:p\": user information is not permitted in the URL".to_owned(),
                    "c.url: Invalid value: \"f\": fragments are not permitted in the URL".to_owned(),
                    "c.url: Invalid value: \"q=1\": query parameters are not permitted in the URL".to_owned(),
                ],
            ),
            (
                json!({"url": "a\n"}),
                vec![format!(
                    "c.url: Required value: url must be a valid URL: parse \"a\\n\": net/url: invalid control character in URL; {form}"
                )],
            ),
            (json!({"service": {"name": "a", "namespace": "b", "port": 443, "path": "/x/y/"}}), vec![]),
            (
                json!({"service": {"namespace": "b", "port": 0, "path": "x"}}),
                vec![
                    "c.service.namespace: Required value".to_owned(),
                    "c.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive"
                        .to_owned(),
                    "c.service.path: Invalid value: \"x\": must start with a '/'".to_owned(),
                    "c.service.path: Invalid value: \"x\": segment[0] may not be empty".to_owned(),
                ],
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(told(&client_config(&config, "c")), expected, "{config}");
        }
    }

    #[test]
    fn domains_are_judged_by_their_rule() {
        let cases = [
            (wildcard_subdomain("*.a.example").is_empty(), true),
            (wildcard_subdomain("*").is_empty(), false),
            (wildcard_subdomain("a.*.b").is_empty(), false),
            (fully_qualified("f", "a.b.c").is_empty(), true),
            (fully_qualified("f", "a.b").is_empty(), false),
            (domain_prefixed_path("f", "a.b/c").is_empty(), true),
            (domain_prefixed_path("f", "a.b/c d").is_empty(), false),
            (domain_prefixed_path("f", "a").is_empty(), false),
        ];
        for (index, (found, expected)) in cases.into_iter().enumerate() {
            assert_eq!(found, expected, "{index}");
        }
    }
}
