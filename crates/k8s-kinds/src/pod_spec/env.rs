//! Rules for the environment of a container.

use k8s_object::{Cause, Quantity};
use serde_json::Value;

use super::quantity;
use crate::causes::{invalid, not_supported, required};
use crate::fields::{at, items, text};
use crate::names::{config_key, label, qualified, subdomain};
use crate::volume_sources::no_backsteps;

/// The first minor that serves `fileKeyRef` by default (feature `EnvFiles`).
pub(super) const FILES_SINCE: u8 = 35;

pub(super) fn validate(container: &Value, minor: u8, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, variable) in items(container, "env").iter().enumerate() {
        let field = format!("{field}.env[{index}]");
        match text(variable, "name") {
            "" => causes.push(required(format!("{field}.name"), "")),
            name => causes.extend(variable_name(name, &format!("{field}.name"))),
        }
        causes.extend(value_from(variable, minor, &format!("{field}.valueFrom")));
    }
    let list = format!("{field}.envFrom");
    for (index, source) in items(container, "envFrom").iter().enumerate() {
        let field = format!("{list}[{index}]");
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            causes.extend(variable_name(prefix, &format!("{field}.prefix")));
        }
        let kinds = ["configMapRef", "secretRef"].into_iter().filter(|kind| !at(source, kind).is_null());
        let mut count = 0;
        for kind in kinds {
            count += 1;
            let field = format!("{field}.{kind}.name");
            match text(at(source, kind), "name") {
                "" => causes.push(required(field, "")),
                name => causes.extend(subdomain(name, true).iter().map(|problem| invalid(&field, name, problem))),
            }
        }
        // Upstream blames the list.
        match count {
            0 => causes.push(invalid(&list, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => causes.push(invalid(&list, "", "may not have more than one field specified at a time")),
        }
    }
    causes
}

fn variable_name(name: &str, field: &str) -> Option<Cause> {
    let printable = name.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=');
    let detail = "a valid environment variable name must consist only of printable ASCII characters other than '=' (regex used for validation is '^[ -<>-~]+$')";
    (!printable).then(|| invalid(field, name, detail))
}

fn value_from(variable: &Value, minor: u8, field: &str) -> Vec<Cause> {
    let source = at(variable, "valueFrom");
    let mut causes = Vec::new();
    if !source.is_object() {
        return causes;
    }
    let mut count = 0;
    for kind in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let reference = at(source, kind);
        if reference.is_null() {
            continue;
        }
        count += 1;
        let field = format!("{field}.{kind}");
        match kind {
            "fieldRef" => causes.extend(field_ref(reference, &OF_VARIABLES, &field)),
            "resourceFieldRef" => causes.extend(resource_field_ref(reference, false, &field)),
            "fileKeyRef" => causes.extend(file_key(reference, &field)),
            _ => causes.extend(key_of(reference, &field)),
        }
    }
    if count == 0 {
        let last = if minor >= FILES_SINCE {
            "`configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        } else {
            "`configMapKeyRef` or `secretKeyRef`"
        };
        causes.push(invalid(field, "", &format!("must specify one of: `fieldRef`, `resourceFieldRef`, {last}")));
    } else if !text(variable, "value").is_empty() {
        causes.push(invalid(field, "", "may not be specified when `value` is not empty"));
    } else if count > 1 {
        causes.push(invalid(field, "", "may not have more than one field specified at a time"));
    }
    causes
}

fn key_of(reference: &Value, field: &str) -> Vec<Cause> {
    let name = text(reference, "name");
    let mut causes: Vec<Cause> =
        subdomain(name, false).iter().map(|problem| invalid(format!("{field}.name"), name, problem)).collect();
    match text(reference, "key") {
        "" => causes.push(required(format!("{field}.key"), "")),
        key => {
            let problems = config_key(key);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.key"), key, problem)));
        }
    }
    causes
}

fn file_key(reference: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    match text(reference, "key") {
        "" => causes.push(required(format!("{field}.key"), "")),
        key => causes.extend(variable_name(key, &format!("{field}.key"))),
    }
    match text(reference, "volumeName") {
        "" => causes.push(required(format!("{field}.volumeName"), "")),
        name => {
            let problems = label(name, false);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.volumeName"), name, problem)));
        }
    }
    match text(reference, "path") {
        "" => causes.push(required(format!("{field}.path"), "")),
        path => causes.extend(no_backsteps(path, &format!("{field}.path"))),
    }
    causes
}

/// What a variable may take from its pod.
const OF_VARIABLES: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// What a file may take from its pod.
pub(super) const OF_FILES: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Fields that pods have and of which one kind of reference or the other may take.
const CONVERTIBLE: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

pub(super) fn field_ref(reference: &Value, allowed: &[&str], field: &str) -> Vec<Cause> {
    let (version, path) = (text(reference, "apiVersion"), text(reference, "fieldPath"));
    if version.is_empty() {
        return vec![required(format!("{field}.apiVersion"), "")];
    }
    if path.is_empty() {
        return vec![required(format!("{field}.fieldPath"), "")];
    }
    let wrong = |problem: String| {
        vec![invalid(format!("{field}.fieldPath"), path, &format!("error converting fieldPath: {problem}"))]
    };
    if version != "v1" {
        return wrong(format!("unsupported pod version: {version}"));
    }
    if let Some((of, key)) = path.split_once("['").and_then(|(of, rest)| Some((of, rest.strip_suffix("']")?))) {
        let key = match of {
            "metadata.annotations" => key.to_lowercase(),
            "metadata.labels" => key.to_owned(),
            _ => return wrong(format!("field label does not support subscript: {path}")),
        };
        return qualified(&key).iter().map(|problem| invalid(field, key.as_str(), problem)).collect();
    }
    if path == "spec.host" && allowed.contains(&"spec.nodeName") {
        return Vec::new();
    }
    if !CONVERTIBLE.contains(&path) {
        return wrong(format!("field label not supported: {path}"));
    }
    if allowed.contains(&path) {
        return Vec::new();
    }
    vec![not_supported(format!("{field}.fieldPath"), path, allowed)]
}

/// What may be taken of the resources of a container; files must say of which.
pub(super) fn resource_field_ref(reference: &Value, of_file: bool, field: &str) -> Vec<Cause> {
    const RESOURCES: [&str; 6] = [
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let mut causes = Vec::new();
    let resource = text(reference, "resource");
    let is_huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if of_file && text(reference, "containerName").is_empty() {
        causes.push(required(format!("{field}.containerName"), ""));
    } else if resource.is_empty() {
        causes.push(required(format!("{field}.resource"), ""));
    } else if !RESOURCES.contains(&resource) && !is_huge {
        causes.push(not_supported(format!("{field}.resource"), resource, &RESOURCES));
    }
    let divisor = at(reference, "divisor");
    let Some(amount) = quantity(divisor).filter(|amount| amount.milli() != 0) else { return causes };
    let is_one_of = |sizes: &[&str]| sizes.iter().any(|size| size.parse::<Quantity>().is_ok_and(|size| amount == size));
    let (allowed, what) = match resource.split_once('.').map(|(_, resource)| resource) {
        Some("cpu") => (&["1m", "1"][..], "cpu resource"),
        Some("memory") => (&SIZES[..], "memory resource"),
        Some("ephemeral-storage") => (&SIZES[..], "local ephemeral storage resource"),
        Some(resource) if resource.starts_with("hugepages-") => (&SIZES[..], "hugepages resource"),
        _ => return causes,
    };
    if !is_one_of(allowed) {
        let values = match what {
            "cpu resource" => "1m and 1".to_owned(),
            _ => SIZES.join(", "),
        };
        let detail = format!("only divisor's values {values} are supported with the {what}");
        causes.push(invalid(format!("{field}.divisor"), resource, &detail));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_judged_in_upstreams_words() {
        let from = |source: Value| json!({"env": [{"name": "A", "valueFrom": source}]});
        let cases = [
            (from(json!({"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels['a/b']"}})), vec![]),
            (
                from(json!({"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.hostname"}})),
                vec![
                    r#"c.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.hostname": error converting fieldPath: field label not supported: spec.hostname"#,
                ],
            ),
            (
                from(json!({"fieldRef": {"apiVersion": "v1", "fieldPath": "status.phase"}})),
                vec![
                    r#"c.env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs""#,
                ],
            ),
            (
                from(json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}})),
                vec![
                    r#"c.env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor's values 1m and 1 are supported with the cpu resource"#,
                ],
            ),
            (
                from(json!({})),
                vec![
                    r#"c.env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"#,
                ],
            ),
            (
                json!({"envFrom": [{}]}),
                vec![r#"c.envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`"#],
            ),
            (
                json!({"env": [{"name": "A=B"}]}),
                vec![
                    r#"c.env[0].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '=' (regex used for validation is '^[ -<>-~]+$')"#,
                ],
            ),
        ];
        for (container, expected) in cases {
            let causes = validate(&container, 34, "c");
            let causes: Vec<String> =
                causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(causes, expected, "{container}");
        }
    }
}
