//! What a method, a path and a query ask for.

use k8s_client::{Body, Options, PatchType, Preconditions, Request, Verb};
use k8s_object::{ApiError, Cause, GroupVersionResource};

use super::negotiate::unsupported;
use crate::delete::parse_propagation;

const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

/// A path's meaning.
#[derive(Debug)]
pub(crate) enum Route {
    /// A resource or an object.
    Resource(Box<ResourceRoute>),
    /// Everything else: health, version, discovery, OpenAPI.
    Other(String),
}

#[derive(Debug)]
pub(crate) struct ResourceRoute {
    pub request: Request,
    pub query: Query,
}

/// Query parameters that are no options of the request itself.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pub watch: bool,
    pub allow_bookmarks: bool,
    pub send_initial_events: Option<bool>,
    pub timeout_seconds: Option<u64>,
    /// `None`, `Metadata` or `Object`.
    pub include_object: Option<String>,
    /// What `dryRun` says that is not known.
    pub unknown_dry_run: Option<String>,
    /// Parameters that should be numbers, and what is wrong with them.
    pub bad_numbers: Vec<(String, String)>,
    /// `export`, which is gone.
    pub export: bool,
}

/// Decodes percent signs and, in queries, plus signs. Bytes that are no UTF-8 are replaced.
pub(crate) fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _, _) if plus => decoded.push(b' '),
            (byte, _, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Names and values of a query.
pub(crate) fn query_pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (decode(k, true), decode(v, true)))
        .collect()
}

/// Group and version of a path below `/apis`.
pub(crate) fn group_version(path: &str) -> Option<(String, String)> {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let apis = segments.next() == Some("apis");
    let (group, version) = (segments.next()?, segments.next()?);
    apis.then(|| (decode(group, false), decode(version, false)))
}

/// Reads a request's line. Of one for another server (`foreign`) only what decides who may send it.
///
/// # Errors
/// 400 for queries that cannot be read, 405 for methods that mean nothing.
pub(crate) fn parse(
    method: &http::Method,
    path: &str,
    query: &str,
    content_type: &str,
    foreign: bool,
) -> Result<Route, ApiError> {
    let segments: Vec<String> =
        path.split('/').filter(|segment| !segment.is_empty()).map(|segment| decode(segment, false)).collect();
    let texts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match &texts[..] {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Ok(Route::Other(path.to_owned())),
    };
    // `/api/v1/watch/…` is how watches were asked for once.
    let (legacy_watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let (namespace, resource, name, below) = match rest {
        // A namespace itself, and what is below it as a resource of its own.
        ["namespaces"] => ("", "namespaces", "", &[][..]),
        ["namespaces", name] => ("", "namespaces", *name, &[][..]),
        ["namespaces", name, "finalize"] => ("", "namespaces", *name, &["finalize"][..]),
        ["namespaces", name, "status"] => ("", "namespaces", *name, &["status"][..]),
        ["namespaces", namespace, resource] => (*namespace, *resource, "", &[][..]),
        ["namespaces", namespace, resource, name, below @ ..] => (*namespace, *resource, *name, below),
        [resource] => ("", *resource, "", &[][..]),
        [resource, name, below @ ..] => ("", *resource, *name, below),
        [] => return Ok(Route::Other(path.to_owned())),
    };
    let mut own = Query { watch: legacy_watch, ..Query::default() };
    let streamed = crate::proxy::stream(group, resource, below.first().copied().unwrap_or("")).is_some();
    let options = match (streamed, foreign) {
        // What is passed on means nothing here.
        (true, _) => Options::default(),
        (false, true) => selectors(query, name.is_empty(), &mut own),
        (false, false) => options(query, &mut own)?,
    };
    let verb = match (method.as_str(), name.is_empty()) {
        ("GET", _) if legacy_watch => Verb::Watch,
        _ if legacy_watch => return Err(ApiError::method_not_allowed()),
        ("GET", true) if own.watch => Verb::Watch,
        ("GET", true) => Verb::List,
        ("GET", false) => Verb::Get,
        ("POST", true) => Verb::Create,
        // Objects are created in their collection, subresources below their object.
        ("POST", false) if !below.is_empty() => Verb::Create,
        ("PUT", false) => Verb::Update,
        ("PATCH", false) => Verb::Patch,
        ("DELETE", true) => Verb::DeleteCollection,
        ("DELETE", false) => Verb::Delete,
        (method, all) if streamed && !all || foreign => passed_on(method, all),
        _ => return Err(ApiError::method_not_allowed()),
    };
    if let (Some(unknown), Some(kind)) = (&own.unknown_dry_run, options_kind(verb)) {
        let cause = k8s_kinds::causes::not_supported("dryRun", "", &["All"]);
        let message = cause.message.replacen("\"\"", &format!("[]string{{{unknown:?}}}"), 1);
        return Err(ApiError::invalid("meta.k8s.io", kind, "", vec![Cause { message, ..cause }]));
    }
    if let Some((_, problem)) = own.bad_numbers.iter().find(|(name, _)| takes_number(verb, name)) {
        return Err(ApiError::bad_request(problem.clone()));
    }
    const VALIDATIONS: [&str; 4] = ["", "Ignore", "Strict", "Warn"];
    if let (Verb::Create | Verb::Update | Verb::Patch, Some(kind)) = (verb, options_kind(verb))
        && let Some(unknown) = options.field_validation.as_deref().filter(|own| !VALIDATIONS.contains(own))
    {
        let cause = k8s_kinds::causes::not_supported("fieldValidation", unknown, &VALIDATIONS);
        return Err(ApiError::invalid("meta.k8s.io", kind, "", vec![cause]));
    }
    if verb == Verb::Get && own.export {
        let message = "the export parameter, deprecated since v1.14, is no longer supported";
        return Err(ApiError::bad_request(message));
    }
    let patch = if verb == Verb::Patch && !streamed && !foreign { Some(patch_type(content_type)?) } else { None };
    let request = Request {
        verb,
        resource: GroupVersionResource::new(group, version, resource),
        subresource: below.first().copied().unwrap_or("").to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        body: Body::None,
        patch,
        options,
    };
    Ok(Route::Resource(Box::new(ResourceRoute { request, query: own })))
}

/// What a method that only others have an answer to counts as. Who may send it is asked by its own verb, [`verb_of`].
fn passed_on(method: &str, all: bool) -> Verb {
    match method {
        "POST" => Verb::Create,
        "PUT" => Verb::Update,
        "PATCH" => Verb::Patch,
        _ if all => Verb::List,
        _ => Verb::Get,
    }
}

/// The verb by which a request that is passed on is authorized: a method that is none of REST's has an empty one, which only those
/// may use who may do everything there (apiserver `RequestInfo`).
pub(crate) fn verb_of(method: &http::Method, verb: Verb) -> &'static str {
    match method.as_str() {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" => verb.as_str(),
        _ => "",
    }
}

/// What the options of a write are called.
fn options_kind(verb: Verb) -> Option<&'static str> {
    match verb {
        Verb::Create => Some("CreateOptions"),
        Verb::Update => Some("UpdateOptions"),
        Verb::Patch => Some("PatchOptions"),
        Verb::Delete | Verb::DeleteCollection => Some("DeleteOptions"),
        Verb::Get | Verb::List | Verb::Watch => None,
    }
}

fn patch_type(content_type: &str) -> Result<PatchType, ApiError> {
    match content_type.split(';').next().unwrap_or("").trim() {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(unsupported(PATCH_TYPES)),
    }
}

/// What of a query decides who may ask.
fn selectors(query: &str, many: bool, own: &mut Query) -> Options {
    let mut options = Options::default();
    for (name, value) in query_pairs(query) {
        match name.as_str() {
            "fieldSelector" => options.field_selector = Some(value),
            "labelSelector" => options.label_selector = Some(value),
            "watch" if many => own.watch = !matches!(value.to_lowercase().as_str(), "false" | "0"),
            _ => {}
        }
    }
    options
}

fn not_a_number(text: &str, error: &std::num::ParseIntError) -> String {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let problem = match error.kind() {
        NegOverflow | PosOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.ParseInt: parsing {text:?}: {problem}")
}

/// Whether a parameter that is a number means something to a verb.
fn takes_number(verb: Verb, name: &str) -> bool {
    match verb {
        Verb::DeleteCollection => true,
        Verb::Delete => name == "gracePeriodSeconds",
        Verb::List | Verb::Watch => name != "gracePeriodSeconds",
        Verb::Create | Verb::Get | Verb::Patch | Verb::Update => false,
    }
}

fn options(query: &str, own: &mut Query) -> Result<Options, ApiError> {
    let mut options = Options::default();
    for (name, value) in query_pairs(query) {
        // Whether it matters is known once the verb is.
        let mut number = || {
            value.parse::<i64>().unwrap_or_else(|error| {
                own.bad_numbers.push((name.clone(), not_a_number(&value, &error)));
                0
            })
        };
        let some = || (!value.is_empty()).then(|| value.clone());
        // A parameter without a value is true, as in upstream's conversion.
        let flag = || !matches!(value.to_lowercase().as_str(), "false" | "0");
        match name.as_str() {
            "allowWatchBookmarks" => own.allow_bookmarks = flag(),
            "continue" => options.continue_token = some(),
            "dryRun" => match value.as_str() {
                "All" => options.dry_run = true,
                _ => own.unknown_dry_run = Some(value),
            },
            "export" => own.export = flag(),
            "fieldManager" => options.field_manager = some(),
            "fieldSelector" => options.field_selector = some(),
            "fieldValidation" => options.field_validation = some(),
            "force" => options.force = Some(flag()),
            "gracePeriodSeconds" => options.grace_period_seconds = Some(number()),
            "includeObject" => own.include_object = some(),
            "labelSelector" => options.label_selector = some(),
            // A negative limit is none (apiserver `storage.ListOptions`).
            "limit" => options.limit = usize::try_from(number()).unwrap_or(0),
            "orphanDependents" => options.orphan_dependents = Some(flag()),
            "propagationPolicy" => options.propagation = Some(parse_propagation(&value)?),
            "resourceVersion" => options.resource_version = some(),
            "resourceVersionMatch" => options.resource_version_match = some(),
            "sendInitialEvents" => own.send_initial_events = Some(flag()),
            "timeoutSeconds" => own.timeout_seconds = u64::try_from(number()).ok().filter(|seconds| *seconds > 0),
            "watch" => own.watch = flag(),
            _ => {}
        }
    }
    options.preconditions = Preconditions::default();
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(method: &str, line: &str) -> String {
        let (path, query) = line.split_once('?').unwrap_or((line, ""));
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        match parse(&method, path, query, "application/merge-patch+json", false) {
            Err(error) => format!("{}", error.code()),
            Ok(Route::Other(path)) => format!("other {path}"),
            Ok(Route::Resource(route)) => {
                let r = &route.request;
                format!(
                    "{} {} {}|{}|{}",
                    r.verb.as_str(),
                    r.resource.group_resource(),
                    r.namespace,
                    r.name,
                    r.subresource
                )
            }
        }
    }

    #[test]
    fn paths_mean_what_upstream_reads_in_them() {
        let cases = [
            ("GET", "/api/v1/namespaces", "list namespaces ||"),
            ("GET", "/api/v1/namespaces/a", "get namespaces |a|"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update namespaces |a|finalize"),
            ("GET", "/api/v1/namespaces/a/pods", "list pods a||"),
            ("GET", "/api/v1/pods?watch=true", "watch pods ||"),
            ("GET", "/api/v1/watch/pods", "watch pods ||"),
            ("GET", "/api/v1/watch/namespaces/a/pods/b?watch=false", "watch pods a|b|"),
            ("GET", "/api/v1/namespaces/a/pods/b?watch=true", "get pods a|b|"),
            ("GET", "/api/v1/pods?watch=1", "watch pods ||"),
            ("GET", "/api/v1/pods/?watch", "watch pods ||"),
            ("HEAD", "/api/v1/pods", "405"),
            ("OPTIONS", "/api/v1/pods", "405"),
            ("POST", "/api/v1/watch/pods", "405"),
            ("POST", "/api/v1/namespaces/a/pods/b", "405"),
            ("POST", "/api/v1/namespaces/a/pods/b/binding", "create pods a|b|binding"),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection deployments.apps a||"),
            ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b", "patch deployments.apps a|b|"),
            (
                "GET",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "get clusterroles.rbac.authorization.k8s.io |system:node|",
            ),
            ("GET", "/apis/apps/v1", "other /apis/apps/v1"),
            ("GET", "/healthz", "other /healthz"),
            ("GET", "/api/v1/namespaces/a/pods/b/proxy/c?watch=true&limit=x", "get pods a|b|proxy"),
            ("HEAD", "/api/v1/namespaces/a/services/b/proxy/c", "get services a|b|proxy"),
            ("OPTIONS", "/api/v1/namespaces/a/services/b/proxy/c", "get services a|b|proxy"),
            ("OPTIONS", "/api/v1/namespaces/a/services/b/status", "405"),
            ("PUT", "/api/v1/pods", "405"),
            ("GET", "/api/v1/pods?limit=x", "400"),
            ("POST", "/api/v1/namespaces/a/pods?dryRun=Some", "422"),
            ("GET", "/api/v1/namespaces/a/pods?dryRun=Some", "list pods a||"),
            ("GET", "/api/v1/namespaces/a?export=true", "400"),
            ("GET", "/api/v1/namespaces/a?export=false", "get namespaces |a|"),
            ("GET", "/api/v1/namespaces?export=true", "list namespaces ||"),
        ];
        for (method, line, expected) in cases {
            assert_eq!(describe(method, line), expected, "{method} {line}");
        }
    }
}
