//! APIService: who serves a version of a group, this server or another one behind a Service.

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::causes::{invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, child, default_to, flag, int, is_empty, items, text};
use crate::names::{dns_1035, path_segment, port_number, subdomain};
use crate::strategy::{drop_status, keep_apart_and_metadata};
use crate::{Context, Kind, STATUS, Scope};

/// What a group's and a version's priority may be at most.
const GROUP_PRIORITY_LIMIT: i64 = 20_000;
const VERSION_PRIORITY_LIMIT: i64 = 1_000;

pub(crate) static KIND: Kind = Kind {
    group: "apiregistration.k8s.io",
    kind: "APIService",
    plural: "apiservices",
    singular: "apiservice",
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    type_name: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("Service", "The Service behind which the version is served.", |object, _| {
            let service = at(object, "spec.service");
            match service.is_null() {
                true => "Local".into(),
                false => format!("{}/{}", text(service, "namespace"), text(service, "name")).into(),
            }
        }),
        Column::text("Available", "Whether it can be asked.", |object, _| available(object).into()),
        AGE,
    ],
    name_rule: path_segment,
    updates_name_version: true,
    default: |object, _| {
        if !at(object, "spec.service").is_null()
            && let Some(service) = child(object, "spec").and_then(|spec| child(spec, "service"))
        {
            default_to(service, "port", 443);
        }
    },
    prepare_create,
    prepare_update: keep_apart_and_metadata,
    validate,
    ..Kind::BASE
};

fn available(object: &Value) -> String {
    let of_type = |condition: &&Value| text(condition, "type") == "Available";
    let Some(condition) = items(object, "status.conditions").iter().find(of_type) else {
        return "Unknown".to_owned();
    };
    match (text(condition, "status"), text(condition, "reason")) {
        ("True", _) => "True".to_owned(),
        (status, "") => status.to_owned(),
        (status, reason) => format!("{status} ({reason})"),
    }
}

/// What this server serves itself is there from the beginning.
fn prepare_create(object: &mut Value, context: &Context<'_>) {
    drop_status(object, context);
    if at(object, "spec.service").is_null() {
        let condition = json!({
            "type": "Available", "status": "True", "lastTransitionTime": context.now.to_string(),
            "reason": "Local", "message": "Local APIServices are always available",
        });
        default_to(object, "status", json!({"conditions": [condition]}));
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        return validate_status(object);
    }
    let spec = &object["spec"];
    let (name, group, version) = (text(object, "metadata.name"), text(spec, "group"), text(spec, "version"));
    let mut causes = Vec::new();
    let wanted = format!("{version}.{group}");
    if !name.is_empty() && name != wanted && path_segment(name, false).is_empty() {
        let problem = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        causes.push(invalid("metadata.name", name, &problem));
    }
    if group.is_empty() && version != "v1" {
        causes.push(required("spec.group", "only v1 may have an empty group and it better be legacy kube"));
    }
    if !group.is_empty() {
        causes.extend(subdomain(group, false).iter().map(|problem| invalid("spec.group", group, problem)));
    }
    causes.extend(dns_1035(version, false).iter().map(|problem| invalid("spec.version", version, problem)));
    for (key, limit) in [("groupPriorityMinimum", GROUP_PRIORITY_LIMIT), ("versionPriority", VERSION_PRIORITY_LIMIT)] {
        let priority = int(spec, key);
        if !(1..=limit).contains(&priority) {
            let problem = format!("must be positive and less than {limit}");
            causes.push(invalid(format!("spec.{key}"), priority, &problem));
        }
    }
    causes.extend(validate_service(spec));
    causes
}

fn validate_service(spec: &Value) -> Vec<Cause> {
    let (service, bundle, insecure) = (at(spec, "service"), at(spec, "caBundle"), flag(spec, "insecureSkipTLSVerify"));
    let mut causes = Vec::new();
    if service.is_null() {
        if !is_empty(bundle) {
            let bytes = bundle.as_str().map_or(0, |text| text.trim_end_matches('=').len() * 3 / 4);
            causes.push(invalid(
                "spec.caBundle",
                format!("{bytes} bytes"),
                "local APIServices may not have a caBundle",
            ));
        }
        if insecure {
            let problem = "local APIServices may not have insecureSkipTLSVerify";
            causes.push(invalid("spec.insecureSkipTLSVerify", true, problem));
        }
        return causes;
    }
    for key in ["namespace", "name"] {
        if text(service, key).is_empty() {
            causes.push(required(format!("spec.service.{key}"), ""));
        }
    }
    let port = int(service, "port");
    let problems = port_number(port);
    if !problems.is_empty() {
        causes.push(invalid("spec.service.port", port, &format!("port is not valid: {}", problems.join(", "))));
    }
    if insecure && !is_empty(bundle) {
        causes.push(invalid("spec.insecureSkipTLSVerify", true, "may not be true if caBundle is present"));
    }
    causes
}

fn validate_status(object: &Value) -> Vec<Cause> {
    const STATUSES: [&str; 3] = ["True", "False", "Unknown"];
    let conditions = items(object, "status.conditions").iter().enumerate();
    conditions
        .map(|(index, condition)| (index, text(condition, "status")))
        .filter(|(_, status)| !STATUSES.contains(status))
        .map(|(index, status)| not_supported(format!("status.conditions[{index}].status"), status, &STATUSES))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{created, told, told_of_update};

    fn service(name: &str, changes: Value) -> Value {
        let mut spec =
            json!({"group": "a.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10});
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        json!({"metadata": {"name": name}, "spec": spec})
    }

    #[test]
    fn versions_are_named_and_served_somewhere() {
        let cases = [
            (service("v1.a.example", json!({})), vec![]),
            (
                service("x", json!({})),
                vec![r#"metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1.a.example""#],
            ),
            (
                service("v1.a.example", json!({"groupPriorityMinimum": 20_001, "versionPriority": 0})),
                vec![
                    "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
                    "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
                ],
            ),
            (
                service("v1.a.example", json!({"caBundle": "YWJj", "insecureSkipTLSVerify": true})),
                vec![
                    r#"spec.caBundle: Invalid value: "3 bytes": local APIServices may not have a caBundle"#,
                    "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
                ],
            ),
            (
                service(
                    "v1.a.example",
                    json!({"service": {"port": 0}, "caBundle": "YWJj", "insecureSkipTLSVerify": true}),
                ),
                vec![
                    "spec.service.namespace: Required value",
                    "spec.service.name: Required value",
                    "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                    "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
    }

    #[test]
    fn local_ones_are_available() {
        let local = created(&KIND, &service("v1.a.example", json!({})));
        assert_eq!(local["status"]["conditions"][0]["reason"], "Local");
        assert_eq!(available(&local), "True");
        let remote = created(&KIND, &service("v1.a.example", json!({"service": {"name": "a", "namespace": "b"}})));
        assert!(remote["status"].is_null());
        assert_eq!((available(&remote), remote["spec"]["service"]["port"].as_i64()), ("Unknown".to_owned(), Some(443)));
        let missing =
            json!({"status": {"conditions": [{"type": "Available", "status": "False", "reason": "ServiceNotFound"}]}});
        assert_eq!(available(&missing), "False (ServiceNotFound)");
        let odd = json!({"metadata": {}, "status": {"conditions": [{"type": "Available", "status": "x"}]}});
        assert_eq!(
            told_of_update(&KIND, &local, &odd, "status"),
            [r#"status.conditions[0].status: Unsupported value: "x": supported values: "True", "False", "Unknown""#]
        );
    }
}
