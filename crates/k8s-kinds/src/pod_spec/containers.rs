//! Rules for containers: regular, init and ephemeral.

use std::collections::BTreeSet;

use k8s_object::{Cause, Quantity};
use serde_json::Value;

use super::{is_restartable_init, quantity};
use crate::causes::{duplicate, forbidden, invalid, non_negative, not_found, not_supported, required};
use crate::fields::{at, entries, flag, int, is_empty, items, text};
use crate::names::{self, config_key, label, port_name, port_number, qualified};

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

pub(super) fn validate(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if items(spec, "containers").is_empty() {
        causes.push(required(format!("{field}.containers"), ""));
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for (at, container) in items(spec, list).iter().enumerate() {
            let field = format!("{field}.{list}[{at}]");
            let name = text(container, "name");
            if name.is_empty() {
                causes.push(required(format!("{field}.name"), ""));
            } else {
                let problems = label(name, false);
                causes.extend(problems.iter().map(|problem| invalid(format!("{field}.name"), name, problem)));
                if !names.insert(name) {
                    causes.push(duplicate(format!("{field}.name"), name));
                }
            }
            causes.extend(container_rules(container, spec, &field));
            match list {
                "containers" => causes.extend(regular(container, &field)),
                "initContainers" => causes.extend(init(container, &field)),
                _ => causes.extend(ephemeral(container, spec, &field)),
            }
        }
    }
    causes.extend(host_ports(spec, field));
    causes
}

fn container_rules(container: &Value, spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    match text(container, "image") {
        "" => causes.push(required(format!("{field}.image"), "")),
        image if image.trim() != image => {
            causes.push(invalid(format!("{field}.image"), image, "must not have leading or trailing whitespace"));
        }
        _ => {}
    }
    for (key, allowed) in [
        ("imagePullPolicy", &["Always", "IfNotPresent", "Never"][..]),
        ("terminationMessagePolicy", &["FallbackToLogsOnError", "File"]),
    ] {
        match text(container, key) {
            "" => causes.push(required(format!("{field}.{key}"), "")),
            value if allowed.contains(&value) => {}
            value => causes.push(not_supported(format!("{field}.{key}"), value, allowed)),
        }
    }
    causes.extend(ports(container, flag(spec, "hostNetwork"), field));
    causes.extend(env(container, field));
    causes.extend(mounts(container, spec, field));
    causes.extend(resources(at(container, "resources"), &format!("{field}.resources")));
    causes.extend(security_context(container, field));
    for probe in PROBES {
        if let Some(probe_value) = container.get(probe).filter(|probe| probe.is_object()) {
            causes.extend(validate_probe(probe, probe_value, &format!("{field}.{probe}")));
        }
    }
    for hook in ["postStart", "preStop"] {
        let handler = at(container, "lifecycle").get(hook).filter(|hook| hook.is_object());
        if let Some(handler) = handler {
            let kinds = ["exec", "httpGet", "sleep", "tcpSocket"];
            causes.extend(validate_handler(handler, &kinds, &format!("{field}.lifecycle.{hook}")));
        }
    }
    causes
}

fn regular(container: &Value, field: &str) -> Option<Cause> {
    let policy = text(container, "restartPolicy");
    (!policy.is_empty()).then(|| forbidden(format!("{field}.restartPolicy"), "may not be set for non-init containers"))
}

fn init(container: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    match text(container, "restartPolicy") {
        "" | "Always" => {}
        policy => causes.push(not_supported(format!("{field}.restartPolicy"), policy, &["Always"])),
    }
    if !is_restartable_init(container) {
        for key in PROBES.into_iter().chain(["lifecycle"]) {
            if container.get(key).is_some_and(|value| !value.is_null()) {
                let detail = "may not be set for init containers without restartPolicy=Always";
                causes.push(forbidden(format!("{field}.{key}"), detail));
            }
        }
    }
    causes
}

fn ephemeral(container: &Value, spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in PROBES.into_iter().chain(["lifecycle", "ports", "resizePolicy"]) {
        if !is_empty(at(container, key)) {
            causes.push(forbidden(format!("{field}.{key}"), "cannot be set for an Ephemeral Container"));
        }
    }
    if !is_empty(at(container, "resources.limits")) || !is_empty(at(container, "resources.requests")) {
        causes.push(forbidden(format!("{field}.resources"), "cannot be set for an Ephemeral Container"));
    }
    let target = text(container, "targetContainerName");
    let targets = || items(spec, "containers").iter().chain(items(spec, "initContainers"));
    if !target.is_empty() && !targets().any(|other| text(other, "name") == target) {
        causes.push(not_found(format!("{field}.targetContainerName"), target));
    }
    causes
}

fn ports(container: &Value, host_network: bool, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, port) in items(container, "ports").iter().enumerate() {
        let field = format!("{field}.ports[{index}]");
        let name = text(port, "name");
        if !name.is_empty() {
            let problems = port_name(name);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.name"), name, problem)));
            if problems.is_empty() && !seen.insert(name) {
                causes.push(duplicate(format!("{field}.name"), name));
            }
        }
        let (number, host) = (int(port, "containerPort"), int(port, "hostPort"));
        if number == 0 {
            causes.push(required(format!("{field}.containerPort"), ""));
        } else {
            let problems = port_number(number);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.containerPort"), number, problem)));
        }
        if host != 0 {
            let problems = port_number(host);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.hostPort"), host, problem)));
        }
        if host_network && host != number {
            let detail = "must match `hostPort` when `hostNetwork` is true";
            causes.push(invalid(format!("{field}.containerPort"), number, detail));
        }
        match text(port, "protocol") {
            "" => causes.push(required(format!("{field}.protocol"), "")),
            "SCTP" | "TCP" | "UDP" => {}
            other => causes.push(not_supported(format!("{field}.protocol"), other, &["SCTP", "TCP", "UDP"])),
        }
    }
    causes
}

/// No two containers of a pod may want the same port of the host.
fn host_ports(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut taken = BTreeSet::new();
    for (at, container) in items(spec, "containers").iter().enumerate() {
        for (index, port) in items(container, "ports").iter().enumerate() {
            let host = int(port, "hostPort");
            let claim = format!("{}/{}/{host}", text(port, "protocol"), text(port, "hostIP"));
            if host != 0 && !taken.insert(claim.clone()) {
                causes.push(duplicate(format!("{field}.containers[{at}].ports[{index}].hostPort"), claim));
            }
        }
    }
    causes
}

fn env(container: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, variable) in items(container, "env").iter().enumerate() {
        let field = format!("{field}.env[{index}]");
        match text(variable, "name") {
            "" => causes.push(required(format!("{field}.name"), "")),
            name if !name.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=') => causes.push(invalid(
                format!("{field}.name"),
                name,
                "a valid environment variable name must consist only of printable ASCII characters other than '=' (regex used for validation is '^[ -<>-~]+$')",
            )),
            _ => {}
        }
        let Some(source) = variable.get("valueFrom").filter(|source| source.is_object()) else { continue };
        let field = format!("{field}.valueFrom");
        match source.as_object().map_or(0, serde_json::Map::len) {
            0 => causes.push(invalid(
                &field,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            )),
            1 => {}
            _ => causes.push(invalid(&field, "", "may not have more than one field specified at a time")),
        }
        if !text(variable, "value").is_empty() {
            causes.push(invalid(&field, "", "may not be specified when `value` is not empty"));
        }
        for kind in ["configMapKeyRef", "secretKeyRef"] {
            let Some(reference) = source.get(kind) else { continue };
            if text(reference, "name").is_empty() {
                causes.push(required(format!("{field}.{kind}.name"), ""));
            }
            match text(reference, "key") {
                "" => causes.push(required(format!("{field}.{kind}.key"), "")),
                key => {
                    let problems = config_key(key);
                    causes.extend(problems.iter().map(|problem| invalid(format!("{field}.{kind}.key"), key, problem)));
                }
            }
        }
        if let Some(reference) = source.get("fieldRef") {
            causes.extend(field_ref(reference, &format!("{field}.fieldRef")));
        }
    }
    causes
}

/// What a variable may take from its pod.
fn field_ref(reference: &Value, field: &str) -> Vec<Cause> {
    const PATHS: [&str; 9] = [
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
    let path = text(reference, "fieldPath");
    if path.is_empty() {
        return vec![required(format!("{field}.fieldPath"), "")];
    }
    let subscript = |of: &str| path.strip_prefix(of).and_then(|rest| rest.strip_prefix("['")?.strip_suffix("']"));
    if PATHS.contains(&path) || subscript("metadata.labels").or_else(|| subscript("metadata.annotations")).is_some() {
        return Vec::new();
    }
    vec![not_supported(format!("{field}.fieldPath"), path, &PATHS)]
}

fn mounts(container: &Value, spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut paths = BTreeSet::new();
    for (index, mount) in items(container, "volumeMounts").iter().enumerate() {
        let field = format!("{field}.volumeMounts[{index}]");
        let name = text(mount, "name");
        if name.is_empty() {
            causes.push(required(format!("{field}.name"), ""));
        }
        if !items(spec, "volumes").iter().any(|volume| text(volume, "name") == name) {
            causes.push(not_found(format!("{field}.name"), name));
        }
        match text(mount, "mountPath") {
            "" => causes.push(required(format!("{field}.mountPath"), "")),
            path if !paths.insert(path) => causes.push(invalid(format!("{field}.mountPath"), path, "must be unique")),
            _ => {}
        }
        if !text(mount, "subPath").is_empty() && !text(mount, "subPathExpr").is_empty() {
            let expression = text(mount, "subPathExpr");
            causes.push(invalid(
                format!("{field}.subPathExpr"),
                expression,
                "subPathExpr and subPath are mutually exclusive",
            ));
        }
    }
    causes
}

/// Requests and limits: known names, no negative amounts, and no request above its limit.
fn resources(resources: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let limits = at(resources, "limits");
    for list in ["limits", "requests"] {
        for (name, amount) in entries(resources, list) {
            let field = format!("{field}.{list}");
            let key = format!("{field}[{name}]");
            causes.extend(resource_name(name, &field));
            let Some(amount_read) = quantity(amount) else { continue };
            if amount_read < Quantity::ZERO {
                causes.push(invalid(&key, amount.clone(), "must be greater than or equal to 0"));
            }
            if !matches!(name.as_str(), "cpu" | "memory")
                && !name.starts_with("hugepages-")
                && amount_read.milli() % 1000 != 0
            {
                causes.push(invalid(&key, amount.clone(), "must be an integer"));
            }
        }
    }
    for (name, request) in entries(resources, "requests") {
        let field = format!("{field}.requests");
        let over_commit = !is_exact(name);
        let (Some(request_read), limit) = (quantity(request), limits.get(name)) else { continue };
        match limit.and_then(quantity) {
            Some(limit_read) => {
                let limit = limit.and_then(Value::as_str).map_or_else(|| limit_read.to_string(), str::to_owned);
                if !over_commit && request_read != limit_read {
                    causes.push(invalid(field, request.clone(), &format!("must be equal to {name} limit of {limit}")));
                } else if request_read > limit_read {
                    let detail = format!("must be less than or equal to {name} limit of {limit}");
                    causes.push(invalid(field, request.clone(), &detail));
                }
            }
            None if !over_commit => {
                causes.push(required(
                    format!("{}.limits", field.trim_end_matches(".requests")),
                    "Limit must be set for non overcommitable resources",
                ));
            }
            None => {}
        }
    }
    causes
}

/// Whether request and limit must be equal: huge pages and resources of vendors.
fn is_exact(name: &str) -> bool {
    name.starts_with("hugepages-") || (name.contains('/') && !name.contains("kubernetes.io/"))
}

fn resource_name(name: &str, field: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = qualified(name).iter().map(|problem| invalid(field, name, problem)).collect();
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if causes.is_empty() && !standard && !name.contains('/') {
        causes.push(invalid(field, name, "must be a standard resource type or fully qualified"));
        causes.push(invalid(field, name, "must be a standard resource for containers"));
    }
    causes
}

fn security_context(container: &Value, field: &str) -> Vec<Cause> {
    let context = at(container, "securityContext");
    let field = format!("{field}.securityContext");
    let mut causes = Vec::new();
    for key in ["runAsGroup", "runAsUser"] {
        let id = at(context, key).as_i64();
        if let Some(id) = id.filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
            causes.push(invalid(format!("{field}.{key}"), id, "must be between 0 and 2147483647, inclusive"));
        }
    }
    if context["allowPrivilegeEscalation"] == false {
        if flag(context, "privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            causes.push(invalid(&field, context.clone(), detail));
        }
        if items(context, "capabilities.add").iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            causes.push(invalid(&field, context.clone(), detail));
        }
    }
    causes
}

fn validate_probe(name: &str, probe: &Value, field: &str) -> Vec<Cause> {
    let mut causes = validate_handler(probe, &["exec", "grpc", "httpGet", "tcpSocket"], field);
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        causes.extend(non_negative(format!("{field}.{key}"), at(probe, key)));
    }
    let grace = at(probe, "terminationGracePeriodSeconds");
    if name == "readinessProbe" {
        if !grace.is_null() {
            causes.push(invalid(
                format!("{field}.terminationGracePeriodSeconds"),
                grace.clone(),
                "must not be set for readinessProbes",
            ));
        }
    } else {
        let successes = int(probe, "successThreshold");
        if successes != 1 {
            causes.push(invalid(format!("{field}.successThreshold"), successes, "must be 1"));
        }
        if let Some(seconds) = grace.as_i64().filter(|seconds| *seconds <= 0) {
            causes.push(invalid(format!("{field}.terminationGracePeriodSeconds"), seconds, "must be greater than 0"));
        }
    }
    causes
}

fn validate_handler(handler: &Value, kinds: &[&str], field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut count = 0;
    for kind in kinds {
        let Some(action) = handler.get(kind).filter(|action| action.is_object()) else { continue };
        let field = format!("{field}.{kind}");
        count += 1;
        if count > 1 {
            causes.push(forbidden(field, "may not specify more than 1 handler type"));
            continue;
        }
        match *kind {
            "exec" if items(action, "command").is_empty() => causes.push(required(format!("{field}.command"), "")),
            "httpGet" => {
                if text(action, "path").is_empty() {
                    causes.push(required(format!("{field}.path"), ""));
                }
                causes.extend(port(at(action, "port"), &format!("{field}.port")));
                let scheme = text(action, "scheme");
                if !matches!(scheme, "HTTP" | "HTTPS") {
                    causes.push(not_supported(format!("{field}.scheme"), scheme, &["HTTP", "HTTPS"]));
                }
            }
            "grpc" | "tcpSocket" => causes.extend(port(at(action, "port"), &format!("{field}.port"))),
            _ => {}
        }
    }
    if count == 0 {
        causes.push(required(field, "must specify a handler type"));
    }
    causes
}

/// A port by number or by name.
fn port(port: &Value, field: &str) -> Vec<Cause> {
    let problems = match port {
        Value::String(name) => names::port_name(name),
        other => port_number(other.as_i64().unwrap_or_default()),
    };
    problems.iter().map(|problem| invalid(field, port.clone(), problem)).collect()
}
