//! Rules for the spec of a pod or template (core `ValidatePodSpec`).

use k8s_object::Cause;
use serde_json::Value;

use super::{containers, scheduling, volumes};
use crate::causes::{forbidden, invalid, not_supported, required};
use crate::fields::{at, entries, flag, int, is_empty, items, text};
use crate::names::{self, label, subdomain};

/// Everything that is wrong with the spec at `field`.
pub(crate) fn validate(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = volumes::validate(spec, field);
    causes.extend(containers::validate(spec, field));
    let one_of = |key: &str, allowed: &[&str]| match text(spec, key) {
        "" => Some(required(format!("{field}.{key}"), "")),
        value if allowed.contains(&value) => None,
        value => Some(not_supported(format!("{field}.{key}"), value, allowed)),
    };
    causes.extend(one_of("restartPolicy", &["Always", "OnFailure", "Never"]));
    causes.extend(one_of("dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]));
    causes.extend(dns_config(spec, field));
    causes.extend(names::labels(at(spec, "nodeSelector"), &format!("{field}.nodeSelector")));
    for (key, rule) in [
        ("serviceAccountName", subdomain as names::Rule),
        ("nodeName", subdomain),
        ("hostname", label),
        ("subdomain", label),
        ("priorityClassName", subdomain),
        ("runtimeClassName", subdomain),
    ] {
        let name = text(spec, key);
        if !name.is_empty() {
            causes.extend(rule(name, false).iter().map(|problem| invalid(format!("{field}.{key}"), name, problem)));
        }
    }
    if let Some(deadline) = at(spec, "activeDeadlineSeconds").as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&deadline)
    {
        causes.push(invalid(
            format!("{field}.activeDeadlineSeconds"),
            deadline,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    causes.extend(security_context(at(spec, "securityContext"), &format!("{field}.securityContext")));
    for (at, gate) in items(spec, "readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        let field = format!("{field}.readinessGates[{at}].conditionType");
        causes.extend(names::qualified(kind).iter().map(|problem| invalid(&field, kind, problem)));
    }
    for (at, alias) in items(spec, "hostAliases").iter().enumerate() {
        let ip = text(alias, "ip");
        if ip.parse::<std::net::IpAddr>().is_err() {
            let field = format!("{field}.hostAliases[{at}].ip");
            causes.push(invalid(field, ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
        }
    }
    for (at, secret) in items(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            causes.push(required(format!("{field}.imagePullSecrets[{at}].name"), ""));
        }
    }
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        causes.push(invalid(
            format!("{field}.shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
    causes.extend(scheduling::validate(spec, field));
    causes
}

fn dns_config(spec: &Value, field: &str) -> Vec<Cause> {
    const NAMESERVERS_LIMIT: usize = 3;
    let mut causes = Vec::new();
    let config = at(spec, "dnsConfig");
    let nameservers = items(config, "nameservers");
    let field = format!("{field}.dnsConfig");
    if text(spec, "dnsPolicy") == "None" {
        if config.is_null() {
            causes.push(required(&field, "must provide `dnsConfig` when `dnsPolicy` is None"));
        } else if nameservers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            causes.push(required(format!("{field}.nameservers"), detail));
        }
    }
    if nameservers.len() > NAMESERVERS_LIMIT {
        let value = at(config, "nameservers").clone();
        causes.push(invalid(format!("{field}.nameservers"), value, "must not have more than 3 nameservers"));
    }
    for (at, server) in nameservers.iter().filter_map(Value::as_str).enumerate() {
        if server.parse::<std::net::IpAddr>().is_err() {
            let field = format!("{field}.nameservers[{at}]");
            causes.push(invalid(field, server, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
        }
    }
    causes
}

fn security_context(context: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in ["fsGroup", "runAsGroup", "runAsUser"] {
        let id = at(context, key).as_i64();
        if let Some(id) = id.filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
            causes.push(invalid(format!("{field}.{key}"), id, "must be between 0 and 2147483647, inclusive"));
        }
    }
    let mut seen = Vec::new();
    for (at, sysctl) in items(context, "sysctls").iter().enumerate() {
        let name = text(sysctl, "name");
        let field = format!("{field}.sysctls[{at}].name");
        if name.is_empty() {
            causes.push(required(field, ""));
        } else if seen.contains(&name) {
            causes.push(crate::causes::duplicate(field, name));
        }
        seen.push(name);
    }
    causes
}

/// The labels, annotations and spec of a pod template.
pub(crate) fn validate_template(template: &Value, field: &str) -> Vec<Cause> {
    let mut causes = names::labels(at(template, "metadata.labels"), &format!("{field}.metadata.labels"));
    for (key, _) in entries(template, "metadata.annotations") {
        let field = format!("{field}.metadata.annotations");
        let problems = names::qualified(&key.to_lowercase());
        causes.extend(problems.iter().map(|problem| invalid(&field, key.as_str(), problem)));
    }
    causes.extend(validate(at(template, "spec"), &format!("{field}.spec")));
    if !is_empty(at(template, "spec.ephemeralContainers")) {
        causes.push(forbidden(
            format!("{field}.spec.ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
    causes
}

/// Seconds of grace that a deletion of the pod leaves: none where nothing can be running.
pub(crate) fn grace_period(pod: &Value, asked: Option<i64>) -> i64 {
    if text(pod, "spec.nodeName").is_empty() || super::is_pod_terminal(pod) {
        return 0;
    }
    let own = at(pod, "spec.terminationGracePeriodSeconds")
        .as_i64()
        .map_or(30, |_| int(pod, "spec.terminationGracePeriodSeconds"));
    match asked.unwrap_or(own) {
        ..0 => 1,
        seconds => seconds,
    }
}
