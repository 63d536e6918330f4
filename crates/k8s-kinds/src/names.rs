//! What names, labels and metadata may look like, in upstream's words (apimachinery `util/validation` and
//! `api/validation`). Rules return what is wrong, one sentence each; nothing means it is right.

use k8s_object::Cause;
pub use k8s_object::names::{LABEL_LIMIT, SUBDOMAIN_LIMIT, is_label, label_value, qualified, subdomain};
use k8s_object::names::{ends_alphanumeric, pattern_message, too_many_bytes, unprefixed};
use serde_json::Value;

use crate::causes::{forbidden, immutable, invalid, required, too_long};
use crate::fields::{at, entries, items, text};
use crate::{Context, Scope};

/// A rule for the names of a kind. The flag says that the text is a prefix (`generateName`), which may end in a dash.
pub type Rule = fn(&str, bool) -> Vec<String>;

/// Bytes of all annotations of an object together, keys and values.
pub const ANNOTATIONS_LIMIT: usize = 256 << 10;

const LABEL_PATTERN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const DNS_1035_PATTERN: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const DNS_1035_MESSAGE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const CONFIG_KEY_PATTERN: &str = "[-._a-zA-Z0-9]+";
const CONFIG_KEY_MESSAGE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";

/// A DNS-1123 label: namespaces, containers, volumes.
pub fn label(name: &str, prefix: bool) -> Vec<String> {
    let name = unprefixed(name, prefix);
    let mut problems = Vec::new();
    if name.len() > LABEL_LIMIT {
        problems.push(too_many_bytes(LABEL_LIMIT));
    }
    if !is_label(&name) {
        // A name that would be a subdomain is told so, since dots are the usual mistake.
        if !name.is_empty() && name.split('.').all(is_label) {
            problems.push("must not contain dots".to_owned());
        } else {
            problems.push(pattern_message(LABEL_MESSAGE, LABEL_PATTERN, &["my-name", "123-abc"]));
        }
    }
    problems
}

/// A DNS-1035 label: Services.
pub fn dns_1035(name: &str, prefix: bool) -> Vec<String> {
    let name = unprefixed(name, prefix);
    let mut problems = Vec::new();
    if name.len() > LABEL_LIMIT {
        problems.push(too_many_bytes(LABEL_LIMIT));
    }
    if !is_label(&name) || !name.as_bytes()[0].is_ascii_lowercase() {
        problems.push(pattern_message(DNS_1035_MESSAGE, DNS_1035_PATTERN, &["my-name", "abc-123"]));
    }
    problems
}

/// A subdomain of DNS in which labels may have underscores, as the search paths of resolvers may.
pub(crate) fn subdomain_with_underscores(name: &str) -> Vec<String> {
    const PATTERN: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
    const MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
    let mut problems = Vec::new();
    if name.len() > SUBDOMAIN_LIMIT {
        problems.push(too_many_bytes(SUBDOMAIN_LIMIT));
    }
    let is_part = |part: &str| {
        let part = part.strip_prefix('_').unwrap_or(part);
        is_label(&part.replace('_', "-")) && ends_alphanumeric(part)
    };
    if !name.split('.').all(is_part) {
        problems.push(pattern_message(MESSAGE, PATTERN, &["example.com"]));
    }
    problems
}

/// A segment of a path: the names of roles and bindings.
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if !prefix && (name == "." || name == "..") {
        return vec![format!("may not be '{name}'")];
    }
    for forbidden in ['/', '%'] {
        if name.contains(forbidden) {
            problems.push(format!("may not contain '{forbidden}'"));
        }
    }
    problems
}

/// `domain/path`, as the names of controllers are.
pub(crate) fn domain_prefixed_path(path: &str, field: &str) -> Vec<Cause> {
    const PATTERN: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
    if path.is_empty() {
        return vec![required(field, "")];
    }
    let Some((domain, rest)) = path.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        return vec![invalid(field, path, r#"must be a domain-prefixed path (such as "acme.io/foo")"#)];
    };
    let mut causes: Vec<Cause> =
        subdomain(domain, false).iter().map(|problem| invalid(field, domain, problem)).collect();
    let known = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(known) {
        let detail = format!("Invalid path (regex used for validation is '{PATTERN}')");
        causes.push(invalid(field, rest, &detail));
    }
    causes
}

/// What a new object is warned of whose name becomes part of a host's name and is no label.
pub(crate) fn hostname_warnings(object: &Value, context: &Context<'_>, used_in: &str) -> Vec<String> {
    let name = text(object, "metadata.name");
    let problems = if context.old.is_none() && context.is_main() { label(name, false) } else { Vec::new() };
    if problems.is_empty() {
        return Vec::new();
    }
    let problems = problems.join(" ");
    vec![format!(
        "metadata.name: this is used in {used_in}, which can result in surprising behavior; a DNS label is recommended: [{problems}]"
    )]
}

/// A key of a ConfigMap or Secret.
pub fn config_key(key: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if key.len() > SUBDOMAIN_LIMIT {
        problems.push(too_many_bytes(SUBDOMAIN_LIMIT));
    }
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if key.is_empty() || !key.bytes().all(valid) {
        problems.push(pattern_message(CONFIG_KEY_MESSAGE, CONFIG_KEY_PATTERN, &["key.name", "KEY_NAME", "key-name"]));
    }
    match key {
        "." => problems.push("must not be '.'".to_owned()),
        ".." => problems.push("must not be '..'".to_owned()),
        _ if key.starts_with("..") => problems.push("must not start with '..'".to_owned()),
        _ => {}
    }
    problems
}

/// The name of a container's or Service's port (RFC 6335).
pub fn port_name(name: &str) -> Vec<String> {
    const LIMIT: usize = 15;
    let mut problems = Vec::new();
    if name.len() > LIMIT {
        problems.push(too_many_bytes(LIMIT));
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// The number of a port.
pub fn port_number(port: i64) -> Vec<String> {
    let valid = (1..=65_535).contains(&port);
    if valid { Vec::new() } else { vec!["must be between 1 and 65535, inclusive".to_owned()] }
}

/// Labels: keys and values.
pub fn labels(labels: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        causes.extend(qualified(key).iter().map(|problem| invalid(field, key.as_str(), problem)));
        let value = value.as_str().unwrap_or_default();
        causes.extend(label_value(value).iter().map(|problem| invalid(field, value, problem)));
    }
    causes
}

/// Annotations: keys, and the size of all.
pub(crate) fn annotations(annotations: &Value, field: &str) -> Vec<Cause> {
    let (mut causes, mut bytes) = (Vec::new(), 0);
    for (key, value) in annotations.as_object().into_iter().flatten() {
        causes.extend(qualified(&key.to_lowercase()).iter().map(|problem| invalid(field, key.as_str(), problem)));
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_LIMIT {
        causes.push(too_long(field, ANNOTATIONS_LIMIT));
    }
    causes
}

/// Finalizers: qualified, and with a prefix unless they are Kubernetes' own.
pub fn finalizer(name: &str, field: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = qualified(name).iter().map(|problem| invalid(field, name, problem)).collect();
    causes.extend(finalizer_of_nobody(name, field));
    causes
}

/// Whether a name of a finalizer says whose it is.
pub fn is_finalizer_of_somebody(name: &str) -> bool {
    name.contains('/') || ["foregroundDeletion", "kubernetes", "orphan"].contains(&name)
}

fn finalizer_of_nobody(name: &str, field: &str) -> Option<Cause> {
    let problem = "name is neither a standard finalizer name nor is it fully qualified";
    (!is_finalizer_of_somebody(name)).then(|| invalid(field, name, problem))
}

/// What kinds of most built-in groups ask of finalizers beyond [`metadata`] (core `validateKubeFinalizerName`).
pub fn finalizers_say_whose_they_are(object: &Value) -> Vec<Cause> {
    let names = items(&object["metadata"], "finalizers").iter().filter_map(Value::as_str).enumerate();
    names.filter_map(|(index, name)| finalizer_of_nobody(name, &format!("metadata.finalizers[{index}]"))).collect()
}

fn owner_references(owners: &[Value], field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut controller: Option<&str> = None;
    // Upstream does not say which one it is.
    for owner in owners {
        let api_version = text(owner, "apiVersion");
        if api_version.rsplit('/').next().is_none_or(str::is_empty) {
            causes.push(invalid(format!("{field}.apiVersion"), api_version, "version must not be empty"));
        }
        for key in ["kind", "name", "uid"] {
            if text(owner, key).is_empty() {
                causes.push(invalid(format!("{field}.{key}"), text(owner, key), "must not be empty"));
            }
        }
        if (api_version, text(owner, "kind")) == ("v1", "Event") {
            causes.push(invalid(field, "v1, Kind=Event", "is disallowed from being an owner"));
        }
        if owner["controller"] == true {
            let name = text(owner, "name");
            if let Some(other) = controller {
                causes.push(invalid(
                    "metadata.ownerReferences",
                    Value::Array(owners.to_vec()),
                    &format!("Only one reference can have Controller set to true. Found \"true\" in references for {other} and {name}"),
                ));
            }
            controller = Some(name);
        }
    }
    causes
}

/// `metadata` of an object, on create (no `old`) and update.
pub fn metadata(object: &Value, scope: Scope, rule: Rule, context: &Context<'_>) -> Vec<Cause> {
    let metadata = &object["metadata"];
    let mut causes = Vec::new();
    let generate_name = text(metadata, "generateName");
    if !generate_name.is_empty() {
        let problems = rule(generate_name, true);
        causes.extend(problems.iter().map(|problem| invalid("metadata.generateName", generate_name, problem)));
    }
    match text(metadata, "name") {
        "" => causes.push(required("metadata.name", "name or generateName is required")),
        name => causes.extend(rule(name, false).iter().map(|problem| invalid("metadata.name", name, problem))),
    }
    match (scope, text(metadata, "namespace")) {
        (Scope::Namespaced, "") => causes.push(required("metadata.namespace", "")),
        (Scope::Namespaced, namespace) => {
            let problems = label(namespace, false);
            causes.extend(problems.iter().map(|problem| invalid("metadata.namespace", namespace, problem)));
        }
        (Scope::Cluster, "") => {}
        (Scope::Cluster, _) => causes.push(forbidden("metadata.namespace", "not allowed on this type")),
    }
    if let Some(generation) = metadata["generation"].as_i64().filter(|generation| *generation < 0) {
        causes.push(invalid("metadata.generation", generation, "must be greater than or equal to 0"));
    }
    causes.extend(labels(&metadata["labels"], "metadata.labels"));
    causes.extend(annotations(&metadata["annotations"], "metadata.annotations"));
    causes.extend(owner_references(items(metadata, "ownerReferences"), "metadata.ownerReferences"));
    let finalizers = || items(metadata, "finalizers").iter().filter_map(Value::as_str);
    let named = |name| qualified(name).into_iter().map(move |problem| invalid("metadata.finalizers", name, &problem));
    causes.extend(finalizers().flat_map(named));
    let has = |name: &str| finalizers().any(|own| own == name);
    if has("orphan") && has("foregroundDeletion") {
        causes.push(invalid(
            "metadata.finalizers",
            metadata["finalizers"].clone(),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
    if let Some(old) = context.old {
        causes.extend(metadata_update(metadata, &old["metadata"]));
    }
    causes
}

/// What an update may not change. What it does not say has been carried over.
fn metadata_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if at(new, key) != at(old, key) {
            causes.push(immutable(format!("metadata.{key}"), at(new, key)));
        }
    }
    if text(new, "resourceVersion").is_empty() {
        causes.push(invalid("metadata.resourceVersion", "", "must be specified for an update"));
    }
    if !text(old, "deletionTimestamp").is_empty() {
        let known = items(old, "finalizers");
        let added: Vec<String> = items(new, "finalizers")
            .iter()
            .filter(|name| !known.contains(name))
            .map(|name| format!("{name}"))
            .collect();
        if !added.is_empty() {
            causes.push(forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.join(", ")
                ),
            ));
        }
    }
    causes
}

/// A structured label selector.
pub fn label_selector(selector: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in entries(selector, "matchLabels") {
        let field = format!("{field}.matchLabels");
        causes.extend(qualified(key).iter().map(|problem| invalid(&field, key.as_str(), problem)));
        let value = value.as_str().unwrap_or_default();
        causes.extend(label_value(value).iter().map(|problem| invalid(&field, value, problem)));
    }
    for (at, expression) in items(selector, "matchExpressions").iter().enumerate() {
        let field = format!("{field}.matchExpressions[{at}]");
        let values = items(expression, "values");
        match text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                causes
                    .push(required(format!("{field}.values"), "must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => causes.push(forbidden(
                format!("{field}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => causes.push(invalid(format!("{field}.operator"), other, "not a valid selector operator")),
        }
        let key = text(expression, "key");
        causes.extend(qualified(key).iter().map(|problem| invalid(format!("{field}.key"), key, problem)));
        for (at, value) in values.iter().filter_map(Value::as_str).enumerate() {
            let problems = label_value(value);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.values[{at}]"), value, problem)));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use world::Timestamp;

    #[test]
    fn search_paths_may_have_underscores() {
        for (path, is_good) in [
            ("_sip._tcp.abc_d.example.com", true),
            ("example.com", true),
            ("a_", false),
            ("__a", false),
            ("a.-b", false),
            ("_", false),
        ] {
            assert_eq!(subdomain_with_underscores(path).is_empty(), is_good, "{path}");
        }
    }

    #[test]
    fn names_are_judged_by_their_rule() {
        let long = "a".repeat(64);
        let cases: [(Rule, &str, bool, bool); 24] = [
            (label, "web-1", false, true),
            (label, "1", false, true),
            (label, "web.1", false, false),
            (label, "Web", false, false),
            (label, "-web", false, false),
            (label, "web-", false, false),
            (label, "web-", true, true),
            (label, "-", true, false),
            (label, "", false, false),
            (label, &long, false, false),
            (subdomain, "a.b-c.d", false, true),
            (subdomain, &long, false, true),
            (subdomain, "a..b", false, false),
            (subdomain, "a_b", false, false),
            (subdomain, ".a", false, false),
            (dns_1035, "web-1", false, true),
            (dns_1035, "1web", false, false),
            (dns_1035, "", false, false),
            (path_segment, "system:node", false, true),
            (path_segment, "a/b", false, false),
            (path_segment, "..", false, false),
            (path_segment, "a%b", false, false),
            (path_segment, ".", true, true),
            (subdomain, "é", false, false),
        ];
        for (rule, name, prefix, valid) in cases {
            assert_eq!(rule(name, prefix).is_empty(), valid, "{name:?}: {:?}", rule(name, prefix));
        }
    }

    #[test]
    fn keys_and_values_are_judged() {
        for (name, valid) in [
            ("app", true),
            ("x.io/App_1.b", true),
            ("/a", false),
            ("x.io/", false),
            ("a/b/c", false),
            ("X.io/a", false),
        ] {
            assert_eq!(qualified(name).is_empty(), valid, "{name}");
        }
        for (value, valid) in [("", true), ("a.B_c-1", true), ("-a", false), ("a b", false)] {
            assert_eq!(label_value(value).is_empty(), valid, "{value}");
        }
        for (key, valid) in [("a.b_C-1", true), ("..a", false), (".", false), ("", false), ("a/b", false), (".a", true)]
        {
            assert_eq!(config_key(key).is_empty(), valid, "{key}");
        }
        for (name, valid) in [("http", true), ("80", false), ("a--b", false), ("-a", false), ("HTTP", false)] {
            assert_eq!(port_name(name).is_empty(), valid, "{name}");
        }
    }

    #[test]
    fn messages_are_upstreams() {
        assert_eq!(
            label("A", false),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(
            qualified("a b"),
            [
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ]
        );
    }

    fn check(new: Value, old: Option<Value>, scope: Scope) -> Vec<String> {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: old.as_ref(), subresource: "" };
        let causes = metadata(&json!({ "metadata": new }), scope, subdomain, &context);
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn finalizers_of_most_kinds_say_whose_they_are() {
        let object = json!({"metadata": {"finalizers": ["orphan", "a.example/b", "mine"]}});
        assert_eq!(
            crate::testing::lines(finalizers_say_whose_they_are(&object)),
            [
                r#"metadata.finalizers[2]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified"#
            ]
        );
    }

    #[test]
    fn metadata_is_judged() {
        use Scope::{Cluster, Namespaced};
        let owner =
            |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u", "controller": true});
        let cases = [
            (json!({"name": "a", "namespace": "b"}), Namespaced, vec![]),
            (
                json!({"namespace": "b"}),
                Namespaced,
                vec!["metadata.name: Required value: name or generateName is required"],
            ),
            (json!({"name": "a"}), Namespaced, vec!["metadata.namespace: Required value"]),
            (
                json!({"name": "a", "generation": -1}),
                Cluster,
                vec!["metadata.generation: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({"name": "a", "namespace": "b"}),
                Cluster,
                vec!["metadata.namespace: Forbidden: not allowed on this type"],
            ),
            (
                json!({"name": "a", "finalizers": ["mine", "a.example/b", "a/b/c"]}),
                Cluster,
                vec![
                    r#"metadata.finalizers: Invalid value: "a/b/c": a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"#,
                ],
            ),
            (
                json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
                Cluster,
                vec![r#"metadata.ownerReferences.uid: Invalid value: "": must not be empty"#],
            ),
        ];
        for (metadata, scope, expected) in cases {
            assert_eq!(check(metadata, None, scope), expected);
        }
        let two = check(json!({"name": "a", "ownerReferences": [owner("x"), owner("y")]}), None, Cluster);
        assert!(two[0].ends_with("in references for x and y"), "{two:?}");
        let large = json!({"name": "a", "annotations": {"k": "v".repeat(ANNOTATIONS_LIMIT)}});
        assert_eq!(check(large, None, Cluster), ["metadata.annotations: Too long: may not be more than 262144 bytes"]);
    }

    #[test]
    fn identity_does_not_change() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}});
        let new = json!({"name": "a", "uid": "2", "resourceVersion": "1", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b", "c/d"]});
        assert_eq!(
            check(new, Some(old), Scope::Cluster),
            [
                r#"metadata.uid: Invalid value: "2": field is immutable"#,
                r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"c/d"}"#,
            ]
        );
    }
}
