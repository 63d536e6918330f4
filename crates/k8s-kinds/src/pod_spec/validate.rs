//! Rules for the spec of a pod or template (core `ValidatePodSpec`).

use k8s_object::Cause;
use serde_json::Value;

use super::volumes::Volumes;
use super::{Owner, containers, resources, scheduling, security};
use crate::addresses::legacy_ip;
use crate::causes::{forbidden, invalid, not_found, not_supported, required, too_long};
use crate::fields::{at, flag, int, is_empty, items, text};
use crate::names::{self, annotations, label, subdomain, subdomain_with_underscores};

/// Everything that is wrong with the spec at `field`.
pub(crate) fn validate(spec: &Value, field: &str, owner: Owner<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if at(spec, "terminationGracePeriodSeconds").is_null() {
        causes.push(required(format!("{field}.terminationGracePeriodSeconds"), ""));
    }
    let volumes = Volumes::judge(spec, field, owner, &mut causes);
    causes.extend(resources::claims(spec, &format!("{field}.resourceClaims"), owner));
    causes.extend(containers::validate(spec, &volumes, field, owner));
    if owner.minor >= resources::OF_PODS_SINCE {
        causes.extend(resources::of_pod(spec, &format!("{field}.resources")));
    }
    causes.extend(host_network_ports(spec, field, owner));
    let one_of = |key: &str, allowed: &[&str]| match text(spec, key) {
        "" => Some(required(format!("{field}.{key}"), "")),
        value if allowed.contains(&value) => None,
        value => Some(not_supported(format!("{field}.{key}"), value, allowed)),
    };
    causes.extend(one_of("restartPolicy", &["Always", "OnFailure", "Never"]));
    causes.extend(one_of("dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]));
    causes.extend(names::labels(at(spec, "nodeSelector"), &format!("{field}.nodeSelector")));
    causes.extend(security::of_pod(spec, field));
    causes.extend(scheduling::affinity(spec, field));
    causes.extend(dns_config(spec, field, owner.minor));
    for (index, gate) in items(spec, "readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        let field = format!("{field}.readinessGates[{index}].conditionType");
        causes.extend(names::qualified(kind).iter().map(|problem| invalid(&field, kind, problem)));
    }
    causes.extend(scheduling::gates(spec, field));
    causes.extend(scheduling::spread(spec, field, owner));
    causes.extend(security::host_process(spec, field));
    causes.extend(security::host_users(spec, field));
    causes.extend(hostname_override(spec, field));
    let named = |key: &str, rule: names::Rule| -> Vec<Cause> {
        let name = text(spec, key);
        let problems = if name.is_empty() { Vec::new() } else { rule(name, false) };
        problems.iter().map(|problem| invalid(format!("{field}.{key}"), name, problem)).collect()
    };
    causes.extend(named("serviceAccountName", subdomain));
    causes.extend(named("nodeName", subdomain));
    if let Some(deadline) = at(spec, "activeDeadlineSeconds").as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&deadline)
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        causes.push(invalid(format!("{field}.activeDeadlineSeconds"), deadline, detail));
    }
    causes.extend(named("hostname", label));
    causes.extend(named("subdomain", label));
    causes.extend(scheduling::tolerations(items(spec, "tolerations"), &format!("{field}.tolerations")));
    for (index, alias) in items(spec, "hostAliases").iter().enumerate() {
        let field = format!("{field}.hostAliases[{index}]");
        causes.extend(legacy_ip(&format!("{field}.ip"), text(alias, "ip"), &[], owner.minor));
        for (at, name) in items(alias, "hostnames").iter().filter_map(Value::as_str).enumerate() {
            let field = format!("{field}.hostnames[{at}]");
            causes.extend(subdomain(name, false).iter().map(|problem| invalid(&field, name, problem)));
        }
    }
    causes.extend(named("priorityClassName", subdomain));
    if let Some(class) = at(spec, "runtimeClassName").as_str() {
        let field = format!("{field}.runtimeClassName");
        causes.extend(subdomain(class, false).iter().map(|problem| invalid(&field, class, problem)));
    }
    if !at(spec, "preemptionPolicy").is_null() {
        causes.extend(one_of("preemptionPolicy", &["PreemptLowerPriority", "Never"]));
    }
    causes.extend(resources::overhead(spec, &format!("{field}.overhead")));
    causes.extend(security::operating_system(spec, field));
    causes.extend(file_keys(spec, field));
    causes
}

/// A pod in the host's network has the host's ports.
fn host_network_ports(spec: &Value, field: &str, owner: Owner<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if !flag(spec, "hostNetwork") {
        return causes;
    }
    for (at, container) in items(spec, "containers").iter().enumerate() {
        for (index, port) in items(container, "ports").iter().enumerate() {
            let host = int(port, "hostPort");
            if (owner.pod.is_some() || host != 0) && host != int(port, "containerPort") {
                let field = format!("{field}.containers[{at}].ports[{index}].hostPort");
                causes.push(invalid(field, host, "must match `containerPort` when `hostNetwork` is true"));
            }
        }
    }
    causes
}

fn hostname_override(spec: &Value, field: &str) -> Vec<Cause> {
    const LIMIT: usize = 64;
    let Some(name) = at(spec, "hostnameOverride").as_str() else { return Vec::new() };
    let field = format!("{field}.hostnameOverride");
    let mut causes = Vec::new();
    for (key, what) in [("setHostnameAsFQDN", "setHostnameAsFQDN"), ("hostNetwork", "hostNetwork")] {
        if flag(spec, key) {
            causes.push(forbidden(&field, &format!("may not be specified when {what} is true")));
        }
    }
    if name.len() > LIMIT {
        causes.push(too_long(&field, LIMIT));
    }
    causes.extend(subdomain(name, false).iter().map(|problem| invalid(&field, name, problem)));
    causes
}

fn dns_config(spec: &Value, field: &str, minor: u8) -> Vec<Cause> {
    const NAMESERVERS_LIMIT: usize = 3;
    const SEARCHES_LIMIT: usize = 32;
    /// Bytes of all search paths with blanks between them.
    const SEARCH_LIST_LIMIT: usize = 2048;
    let field = format!("{field}.dnsConfig");
    let config = at(spec, "dnsConfig");
    let nameservers = items(config, "nameservers");
    let mut causes = Vec::new();
    if text(spec, "dnsPolicy") == "None" {
        if config.is_null() {
            return vec![required(field, "must provide `dnsConfig` when `dnsPolicy` is None")];
        }
        if nameservers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return vec![required(format!("{field}.nameservers"), detail)];
        }
    }
    if nameservers.len() > NAMESERVERS_LIMIT {
        let detail = format!("must not have more than {NAMESERVERS_LIMIT} nameservers");
        causes.push(invalid(format!("{field}.nameservers"), at(config, "nameservers").clone(), &detail));
    }
    for (index, server) in nameservers.iter().filter_map(Value::as_str).enumerate() {
        causes.extend(legacy_ip(&format!("{field}.nameservers[{index}]"), server, &[], minor));
    }
    let searches: Vec<&str> = items(config, "searches").iter().filter_map(Value::as_str).collect();
    let mut too_much = |detail: String| {
        causes.push(invalid(format!("{field}.searches"), at(config, "searches").clone(), &detail));
    };
    if searches.len() > SEARCHES_LIMIT {
        too_much(format!("must not have more than {SEARCHES_LIMIT} search paths"));
    }
    if searches.join(" ").len() > SEARCH_LIST_LIMIT {
        too_much(format!(
            "must not have more than {SEARCH_LIST_LIMIT} characters (including spaces) in the search list"
        ));
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| **search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        let field = format!("{field}.searches[{index}]");
        causes.extend(subdomain_with_underscores(search).iter().map(|problem| invalid(&field, search, problem)));
    }
    for (index, option) in items(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            causes.push(required(format!("{field}.options[{index}]"), "must not be empty"));
        }
    }
    causes
}

/// Variables from files come from volumes that init containers write.
fn file_keys(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (container, field) in containers::all(spec, field) {
        for (index, variable) in items(container, "env").iter().enumerate() {
            let Some(name) = at(variable, "valueFrom.fileKeyRef.volumeName").as_str() else { continue };
            let field = format!("{field}.env[{index}].valueFrom.fileKeyRef.volumeName");
            match items(spec, "volumes").iter().find(|volume| text(volume, "name") == name) {
                None => causes.push(not_found(field, name)),
                Some(volume) if at(volume, "emptyDir").is_null() => {
                    causes.push(invalid(field, name, "referenced volume must be of type emptyDir"));
                }
                Some(_) => {}
            }
        }
    }
    causes
}

/// What only pods have: their annotations, and rules that a template leaves to its pods.
pub(crate) fn validate_pod(pod: &Value, minor: u8) -> Vec<Cause> {
    let spec = at(pod, "spec");
    let mut causes = security::annotations(pod, "metadata.annotations");
    causes.extend(validate(spec, "spec", Owner { minor, pod: Some(pod) }));
    if text(spec, "serviceAccountName").is_empty() {
        for (index, volume) in items(spec, "volumes").iter().enumerate() {
            for (at_source, source) in items(volume, "projected.sources").iter().enumerate() {
                if !at(source, "serviceAccountToken").is_null() {
                    let field = format!("spec.volumes[{index}].projected.sources[{at_source}].serviceAccountToken");
                    causes.push(forbidden(field, "must not be specified when serviceAccountName is not set"));
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for (index, container) in items(spec, list).iter().enumerate() {
            causes.extend(containers::trimmed_image(container, &format!("spec.{list}[{index}]")));
        }
    }
    causes
}

/// The labels, annotations and spec of a pod template.
pub(crate) fn validate_template(template: &Value, field: &str, minor: u8) -> Vec<Cause> {
    let mut causes = names::labels(at(template, "metadata.labels"), &format!("{field}.labels"));
    causes.extend(annotations(at(template, "metadata.annotations"), &format!("{field}.annotations")));
    causes.extend(security::annotations(template, &format!("{field}.annotations")));
    causes.extend(validate(at(template, "spec"), &format!("{field}.spec"), Owner { minor, pod: None }));
    causes.extend(security::annotated(template, field));
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
    let own = at(pod, "spec.terminationGracePeriodSeconds").as_i64().unwrap_or(30);
    match asked.unwrap_or(own) {
        ..0 => 1,
        seconds => seconds,
    }
}
