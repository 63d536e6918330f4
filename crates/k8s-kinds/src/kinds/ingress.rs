//! Ingress: which requests from outside lead to which Services.

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::addresses::{ip_warnings, legacy_ip, parse_lenient};
use crate::causes::{invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME, text_or};
use crate::fields::{at, default_to, int, items, text};
use crate::names::{dns_1035, port_name, port_number, subdomain};
use crate::strategy::{drop_status, keep_apart};
use crate::web::{typed_local_reference, wildcard_subdomain};
use crate::{Context, Kind, STATUS};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

pub(crate) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    type_name: "io.k8s.api.networking.v1.Ingress",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("Class", "The IngressClass that says which controller serves it.", |object, _| {
            text_or(object, "spec.ingressClassName", "<none>")
        }),
        Column::text("Hosts", "The hosts whose requests it takes.", |object, _| hosts(object).into()),
        Column::text("Address", "Where its load balancer is reached.", |object, _| addresses(object).into()),
        Column::text("Ports", "The ports on which it listens.", |object, _| {
            (if items(object, "spec.tls").is_empty() { "80" } else { "80, 443" }).into()
        }),
        AGE,
    ],
    has_generation: true,
    prepare_create: drop_status_to_empty,
    prepare_update: keep_apart,
    validate,
    warnings,
    ..Kind::BASE
};

fn drop_status_to_empty(object: &mut Value, context: &Context<'_>) {
    drop_status(object, context);
    default_to(object, "status", json!({"loadBalancer": {}}));
}

fn hosts(object: &Value) -> String {
    const SHOWN: usize = 3;
    let rules = items(object, "spec.rules");
    let mut shown: Vec<&str> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= shown.len() == SHOWN;
        let host = text(rule, "host");
        if !more && !host.is_empty() {
            shown.push(host);
        }
    }
    match (shown.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (_, true) => format!("{} + {} more...", shown.join(","), rules.len().saturating_sub(SHOWN)),
        _ => shown.join(","),
    }
}

fn addresses(object: &Value) -> String {
    let points = items(object, "status.loadBalancer.ingress").iter();
    let mut addresses: Vec<&str> = points
        .map(|point| if text(point, "ip").is_empty() { text(point, "hostname") } else { text(point, "ip") })
        .filter(|address| !address.is_empty())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.join(",")
}

fn class_annotation(object: &Value) -> Option<&str> {
    at(object, "metadata.annotations").get(CLASS_ANNOTATION).and_then(Value::as_str)
}

fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    if context.subresource == "status" {
        let points = items(object, "status.loadBalancer.ingress").iter().enumerate();
        return points
            .filter_map(|(index, point)| {
                ip_warnings(&format!("status.loadBalancer.ingress[{index}]"), text(point, "ip"))
            })
            .collect();
    }
    let deprecated =
        context.old.is_none() && class_annotation(object).is_some() && at(object, "spec.ingressClassName").is_null();
    match deprecated {
        true => {
            vec![format!("annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead")]
        }
        false => Vec::new(),
    }
}

/// What an update bears because the object had it before.
#[derive(Default, Clone, Copy)]
struct Lenient {
    secret_names: bool,
    wildcard_rules: bool,
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        return validate_status(object, context);
    }
    let spec = &object["spec"];
    let lenient = context.old.map(|old| Lenient {
        secret_names: items(old, "spec.tls").iter().any(|tls| !secret_name(text(tls, "secretName")).is_empty()),
        wildcard_rules: items(old, "spec.rules")
            .iter()
            .any(|rule| text(rule, "host").contains('*') && !rule_value(rule, "").is_empty()),
    });
    let lenient = lenient.unwrap_or_default();
    let (rules, default) = (items(spec, "rules"), at(spec, "defaultBackend"));
    let mut causes = Vec::new();
    if rules.is_empty() && default.is_null() {
        let problem = "either `defaultBackend` or `rules` must be specified";
        causes.push(invalid("spec", at(spec, "rules").clone(), problem));
    }
    if !default.is_null() {
        causes.extend(backend(default, "spec.defaultBackend"));
    }
    for (index, rule) in rules.iter().enumerate() {
        causes.extend(validate_rule(rule, &format!("spec.rules[{index}]"), lenient));
    }
    for (index, tls) in items(spec, "tls").iter().enumerate() {
        causes.extend(validate_tls(tls, &format!("spec.tls[{index}]"), lenient));
    }
    let class = at(spec, "ingressClassName").as_str();
    if let Some(class) = class {
        causes.extend(subdomain(class, false).iter().map(|problem| invalid("spec.ingressClassName", class, problem)));
    }
    if context.old.is_none()
        && let (Some(class), Some(annotation)) = (class, class_annotation(object))
        && class != annotation
    {
        let problem = "must match `ingressClassName` when both are specified";
        causes.push(invalid(format!("annotations.{CLASS_ANNOTATION}"), annotation, problem));
    }
    causes
}

fn host_problems(host: &str) -> Vec<String> {
    if host.contains('*') { wildcard_subdomain(host) } else { subdomain(host, false) }
}

fn secret_name(name: &str) -> Vec<String> {
    if name.is_empty() { Vec::new() } else { subdomain(name, false) }
}

fn validate_tls(tls: &Value, field: &str, lenient: Lenient) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, host) in items(tls, "hosts").iter().filter_map(Value::as_str).enumerate() {
        let problems = host_problems(host);
        causes.extend(problems.iter().map(|problem| invalid(format!("{field}.hosts[{index}]"), host, problem)));
    }
    if !lenient.secret_names {
        let name = text(tls, "secretName");
        let problems = secret_name(name);
        causes.extend(problems.iter().map(|problem| invalid(format!("{field}.secretName"), name, problem)));
    }
    causes
}

fn validate_rule(rule: &Value, field: &str, lenient: Lenient) -> Vec<Cause> {
    let host = text(rule, "host");
    let mut causes = Vec::new();
    if !host.is_empty() {
        let field = format!("{field}.host");
        if parse_lenient(host).is_some() {
            causes.push(invalid(&field, host, "must be a DNS name, not an IP address"));
        }
        causes.extend(host_problems(host).iter().map(|problem| invalid(&field, host, problem)));
    }
    if !host.contains('*') || !lenient.wildcard_rules {
        causes.extend(rule_value(rule, field));
    }
    causes
}

fn rule_value(rule: &Value, field: &str) -> Vec<Cause> {
    let http = at(rule, "http");
    if http.is_null() {
        return Vec::new();
    }
    let (field, paths) = (format!("{field}.http.paths"), items(http, "paths"));
    let mut causes = Vec::new();
    if paths.is_empty() {
        causes.push(required(&field, ""));
    }
    for (index, path) in paths.iter().enumerate() {
        causes.extend(validate_path(path, &format!("{field}[{index}]")));
    }
    causes
}

fn validate_path(entry: &Value, field: &str) -> Vec<Cause> {
    const TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
    let Some(kind) = at(entry, "pathType").as_str() else {
        return vec![required(format!("{field}.pathType"), "pathType must be specified")];
    };
    let (path, path_field) = (text(entry, "path"), format!("{field}.path"));
    let mut causes = Vec::new();
    match kind {
        "Exact" | "Prefix" => {
            if !path.starts_with('/') {
                causes.push(invalid(&path_field, path, "must be an absolute path"));
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| path.contains(**part)) {
                causes.push(invalid(&path_field, path, &format!("must not contain '{part}'")));
            }
            for end in ["/..", "/."].iter().filter(|end| path.ends_with(**end)) {
                causes.push(invalid(&path_field, path, &format!("cannot end with '{end}'")));
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !path.starts_with('/') {
                causes.push(invalid(&path_field, path, "must be an absolute path"));
            }
        }
        other => causes.push(not_supported(format!("{field}.pathType"), other, &TYPES)),
    }
    causes.extend(backend(at(entry, "backend"), &format!("{field}.backend")));
    causes
}

fn backend(backend: &Value, field: &str) -> Vec<Cause> {
    let (resource, service) = (at(backend, "resource"), at(backend, "service"));
    match (resource.is_null(), service.is_null()) {
        (false, false) => vec![invalid(field, "", "cannot set both resource and service backends")],
        (false, true) => typed_local_reference(resource, &format!("{field}.resource")),
        (true, false) => service_backend(service, field),
        (true, true) => vec![invalid(field, "", "resource or service backend is required")],
    }
}

fn service_backend(service: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (name, name_field) = (text(service, "name"), format!("{field}.service.name"));
    match name {
        "" => causes.push(required(name_field, "")),
        name => causes.extend(dns_1035(name, false).iter().map(|problem| invalid(&name_field, name, problem))),
    }
    let (port, number) = (text(service, "port.name"), int(service, "port.number"));
    match (port.is_empty(), number) {
        (false, 0) => {
            let field = format!("{field}.service.port.name");
            causes.extend(port_name(port).iter().map(|problem| invalid(&field, port, problem)));
        }
        (false, _) => causes.push(invalid(field, "", "cannot set both port name & port number")),
        (true, 0) => causes.push(required(field, "port name or number is required")),
        (true, number) => {
            let field = format!("{field}.service.port.number");
            causes.extend(port_number(number).iter().map(|problem| invalid(&field, number, problem)));
        }
    }
    causes
}

fn validate_status(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    const PATH: &str = "status.loadBalancer.ingress";
    let before = context.old.map(|old| items(old, PATH)).unwrap_or_default();
    let before: Vec<&str> = before.iter().map(|point| text(point, "ip")).filter(|ip| !ip.is_empty()).collect();
    let mut causes = Vec::new();
    for (index, point) in items(object, PATH).iter().enumerate() {
        let (ip, host) = (text(point, "ip"), text(point, "hostname"));
        if !ip.is_empty() {
            causes.extend(legacy_ip(&format!("{PATH}[{index}].ip"), ip, &before, context.minor));
        }
        if !host.is_empty() {
            let field = format!("{PATH}[{index}].hostname");
            causes.extend(subdomain(host, false).iter().map(|problem| invalid(&field, host, problem)));
            if parse_lenient(host).is_some() {
                causes.push(invalid(&field, host, "must be a DNS name, not an IP address"));
            }
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{told, told_of_update};

    fn with_path(path: Value) -> Value {
        json!({"spec": {"rules": [{"host": "a.example", "http": {"paths": [path]}}]}})
    }

    #[test]
    fn rules_lead_to_backends() {
        let service = json!({"service": {"name": "web", "port": {"number": 80}}});
        let path = |path: &str, kind: &str| with_path(json!({"path": path, "pathType": kind, "backend": service}));
        let cases = [
            (path("/a", "Prefix"), vec![]),
            (path("", "ImplementationSpecific"), vec![]),
            (
                json!({"spec": {}}),
                vec!["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
            ),
            (json!({"spec": {"defaultBackend": service}}), vec![]),
            (
                path("a", "Exact"),
                vec![r#"spec.rules[0].http.paths[0].path: Invalid value: "a": must be an absolute path"#],
            ),
            (
                path("/a//b/..", "Prefix"),
                vec![
                    r#"spec.rules[0].http.paths[0].path: Invalid value: "/a//b/..": must not contain '//'"#,
                    r#"spec.rules[0].http.paths[0].path: Invalid value: "/a//b/..": cannot end with '/..'"#,
                ],
            ),
            (
                path("/", "Other"),
                vec![
                    r#"spec.rules[0].http.paths[0].pathType: Unsupported value: "Other": supported values: "Exact", "ImplementationSpecific", "Prefix""#,
                ],
            ),
            (
                with_path(json!({"path": "/", "backend": service})),
                vec!["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
            ),
            (
                with_path(json!({"path": "/", "pathType": "Exact"})),
                vec![
                    r#"spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is required"#,
                ],
            ),
            (
                json!({"spec": {"defaultBackend": {"service": {"name": "", "port": {}}}}}),
                vec![
                    "spec.defaultBackend.service.name: Required value",
                    "spec.defaultBackend: Required value: port name or number is required",
                ],
            ),
            (
                json!({"spec": {"defaultBackend": {"resource": {"kind": "a/b", "apiGroup": "x.y"}}}}),
                vec![
                    r#"spec.defaultBackend.resource.kind: Invalid value: "a/b": may not contain '/'"#,
                    "spec.defaultBackend.resource.name: Required value",
                ],
            ),
            (
                json!({"spec": {"rules": [{"host": "1.2.3.4"}]}}),
                vec![r#"spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address"#],
            ),
            (
                json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "b"}}, "spec": {"defaultBackend": service, "ingressClassName": "a"}}),
                vec![
                    r#"annotations.kubernetes.io/ingress.class: Invalid value: "b": must match `ingressClassName` when both are specified"#,
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
    }

    #[test]
    fn what_was_wrong_before_stays_allowed() {
        let with = |name: &str| json!({"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 1}}}, "tls": [{"secretName": name}]}});
        assert!(!told_of_update(&KIND, &with("a"), &with("A_"), "").is_empty());
        assert!(told_of_update(&KIND, &with("A_"), &with("B_"), "").is_empty());
    }

    #[test]
    fn cells_show_three_hosts_and_every_address() {
        let rules: Vec<Value> = ["a", "", "b", "c", "d"].iter().map(|host| json!({"host": host})).collect();
        let object = json!({
            "spec": {"rules": rules},
            "status": {"loadBalancer": {"ingress": [{"hostname": "z"}, {"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]}},
        });
        assert_eq!(hosts(&object), "a,b,c + 2 more...");
        assert_eq!(hosts(&json!({})), "*");
        assert_eq!(addresses(&object), "1.1.1.1,z");
    }

    #[test]
    fn addresses_in_the_status_are_judged() {
        let with = |point: Value| json!({"status": {"loadBalancer": {"ingress": [point]}}});
        let causes = told_of_update(&KIND, &json!({}), &with(json!({"ip": "x", "hostname": "1.1.1.1"})), "status");
        assert_eq!(
            causes,
            [
                r#"status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
                r#"status.loadBalancer.ingress[0].hostname: Invalid value: "1.1.1.1": must be a DNS name, not an IP address"#,
            ]
        );
    }
}
