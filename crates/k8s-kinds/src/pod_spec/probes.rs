//! Rules for what a container is asked and told: probes and the hooks of its life.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{forbidden, invalid, non_negative, not_supported, required};
use crate::fields::{at, int, items, text};
use crate::names::{self, port_number};

/// Of a container at `field` that may have them.
pub(super) fn of_container(container: &Value, spec: &Value, field: &str) -> Vec<Cause> {
    let grace = at(spec, "terminationGracePeriodSeconds").as_i64();
    let mut causes = Vec::new();
    for hook in ["postStart", "preStop"] {
        let handler = at(at(container, "lifecycle"), hook);
        if !handler.is_null() {
            causes.extend(validate_handler(handler, grace, &format!("{field}.lifecycle.{hook}")));
        }
    }
    if let Some(signal) = at(container, "lifecycle.stopSignal").as_str() {
        causes.extend(stop_signal(signal, spec, &format!("{field}.lifecycle.stopSignal")));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if !at(container, probe).is_null() {
            causes.extend(validate_probe(probe, at(container, probe), grace, &format!("{field}.{probe}")));
        }
    }
    causes
}

fn validate_probe(name: &str, probe: &Value, grace: Option<i64>, field: &str) -> Vec<Cause> {
    let mut causes = validate_handler(probe, grace, field);
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        causes.extend(non_negative(format!("{field}.{key}"), at(probe, key)));
    }
    let own = at(probe, "terminationGracePeriodSeconds").as_i64();
    let own_field = format!("{field}.terminationGracePeriodSeconds");
    if let Some(seconds) = own.filter(|seconds| *seconds <= 0) {
        causes.push(invalid(&own_field, seconds, "must be greater than 0"));
    }
    if name == "readinessProbe" {
        if let Some(seconds) = own {
            causes.push(invalid(&own_field, seconds, "must not be set for readinessProbes"));
        }
    } else if int(probe, "successThreshold") != 1 {
        causes.push(invalid(format!("{field}.successThreshold"), int(probe, "successThreshold"), "must be 1"));
    }
    causes
}

fn validate_handler(handler: &Value, grace: Option<i64>, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut count = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let action = at(handler, kind);
        if action.is_null() {
            continue;
        }
        let field = format!("{field}.{kind}");
        count += 1;
        if count > 1 {
            causes.push(forbidden(field, "may not specify more than 1 handler type"));
            continue;
        }
        match kind {
            "exec" if items(action, "command").is_empty() => causes.push(required(format!("{field}.command"), "")),
            "exec" => {}
            "httpGet" => causes.extend(http_get(action, &field)),
            "sleep" => {
                let seconds = int(action, "seconds");
                if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
                    let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    causes.push(invalid(field, seconds, &detail));
                }
            }
            _ => causes.extend(port(at(action, "port"), &format!("{field}.port"))),
        }
    }
    if count == 0 {
        causes.push(required(field, "must specify a handler type"));
    }
    causes
}

fn http_get(action: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if text(action, "path").is_empty() {
        causes.push(required(format!("{field}.path"), ""));
    }
    causes.extend(port(at(action, "port"), &format!("{field}.port")));
    let scheme = text(action, "scheme");
    if !matches!(scheme, "HTTP" | "HTTPS") {
        causes.push(not_supported(format!("{field}.scheme"), scheme, &["HTTP", "HTTPS"]));
    }
    for header in items(action, "httpHeaders") {
        let name = text(header, "name");
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            causes.push(invalid(format!("{field}.httpHeaders"), name, detail));
        }
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

fn stop_signal(signal: &str, spec: &Value, field: &str) -> Option<Cause> {
    const OF_WINDOWS: [&str; 2] = ["SIGKILL", "SIGTERM"];
    match text(spec, "os.name") {
        "" if at(spec, "os").is_null() => {
            Some(forbidden(field, "may not be set for containers with empty `spec.os.name`"))
        }
        "windows" if !OF_WINDOWS.contains(&signal) => Some(not_supported(field, signal, &OF_WINDOWS)),
        _ => None,
    }
}
