//! Rules for containers: regular, init and ephemeral.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use super::volumes::Volumes;
use super::{Owner, env, is_restartable_init, mounts, probes, resources, security};
use crate::causes::{duplicate, forbidden, invalid, not_found, not_supported, required, too_long};
use crate::fields::{at, int, is_empty, items, text};
use crate::names::{label, port_name, port_number};

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
/// The first minor that serves `restartPolicyRules` by default (feature `ContainerRestartRules`).
pub(super) const RESTART_RULES_SINCE: u8 = 35;

/// Every container with its path, in the order in which upstream looks at them.
pub(super) fn all<'a>(spec: &'a Value, field: &str) -> Vec<(&'a Value, String)> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let of = |list: &'static str| {
        items(spec, list).iter().enumerate().map(move |(index, container)| (container, format!("{list}[{index}]")))
    };
    lists.into_iter().flat_map(of).map(|(container, at)| (container, format!("{field}.{at}"))).collect()
}

pub(super) fn validate(spec: &Value, volumes: &Volumes<'_>, field: &str, owner: Owner<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let containers = items(spec, "containers");
    if containers.is_empty() {
        causes.push(required(format!("{field}.containers"), ""));
    }
    for (index, container) in containers.iter().enumerate() {
        let field = format!("{field}.containers[{index}]");
        causes.extend(common(container, spec, volumes, owner, &field));
        let name = text(container, "name");
        if !names.insert(name) {
            causes.push(duplicate(format!("{field}.name"), name));
        }
        causes.extend(probes::of_container(container, spec, &field));
        if owner.minor >= RESTART_RULES_SINCE {
            causes.extend(restart_policy(container, &field));
        } else if !at(container, "restartPolicy").is_null() {
            causes.push(forbidden(format!("{field}.restartPolicy"), "may not be set for non-init containers"));
        }
    }
    causes.extend(host_ports(containers, &format!("{field}.containers")));
    for (index, container) in items(spec, "initContainers").iter().enumerate() {
        let list = format!("{field}.initContainers");
        let field = format!("{list}[{index}]");
        causes.extend(common(container, spec, volumes, owner, &field));
        causes.extend(init_restart_policy(container, &field, owner));
        let name = text(container, "name");
        if !name.is_empty() && !names.insert(name) {
            causes.push(duplicate(format!("{field}.name"), name));
        }
        causes.extend(host_ports(std::slice::from_ref(container), &list));
        if is_restartable_init(container) {
            causes.extend(probes::of_container(container, spec, &field));
        } else {
            for key in ["lifecycle"].into_iter().chain(PROBES).filter(|key| !at(container, key).is_null()) {
                let detail = "may not be set for init containers without restartPolicy=Always";
                causes.push(forbidden(format!("{field}.{key}"), detail));
            }
        }
    }
    for (index, container) in items(spec, "ephemeralContainers").iter().enumerate() {
        let field = format!("{field}.ephemeralContainers[{index}]");
        causes.extend(common(container, spec, volumes, owner, &field));
        causes.extend(trimmed_image(container, &field));
        let name = text(container, "name");
        if !names.insert(name) {
            causes.push(duplicate(format!("{field}.name"), name));
        }
        causes.extend(ephemeral(container, spec, &field));
    }
    causes
}

/// What holds for containers of all sorts.
fn common(container: &Value, spec: &Value, volumes: &Volumes<'_>, owner: Owner<'_>, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    match text(container, "name") {
        "" => causes.push(required(format!("{field}.name"), "")),
        name => {
            let problems = label(name, false);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.name"), name, problem)));
        }
    }
    if text(container, "image").is_empty() {
        causes.push(required(format!("{field}.image"), ""));
    }
    let one_of = |key: &str, allowed: &[&str]| match text(container, key) {
        "" => Some(required(format!("{field}.{key}"), "")),
        value if allowed.contains(&value) => None,
        value => Some(not_supported(format!("{field}.{key}"), value, allowed)),
    };
    causes.extend(one_of("terminationMessagePolicy", &["File", "FallbackToLogsOnError"]));
    causes.extend(ports(container, field));
    causes.extend(env::validate(container, owner.minor, field));
    causes.extend(mounts::validate(container, volumes, field));
    causes.extend(one_of("imagePullPolicy", &["Always", "IfNotPresent", "Never"]));
    let own = at(container, "resources");
    causes.extend(resources::of_container(own, spec, &format!("{field}.resources")));
    causes.extend(resources::resize_policy(container, spec, &format!("{field}.resizePolicy")));
    causes.extend(security::of_container(container, security::shares_host_users(spec), field));
    causes
}

/// A pod's image is written without blanks around it.
pub(super) fn trimmed_image(container: &Value, field: &str) -> Option<Cause> {
    let image = text(container, "image");
    let detail = "must not have leading or trailing whitespace";
    (image.trim() != image).then(|| invalid(format!("{field}.image"), image, detail))
}

fn restart_policy(container: &Value, field: &str) -> Vec<Cause> {
    const RULES_LIMIT: usize = 20;
    const VALUES_LIMIT: usize = 255;
    const POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
    let mut causes = Vec::new();
    let rules = items(container, "restartPolicyRules");
    match at(container, "restartPolicy").as_str() {
        None if rules.is_empty() => return causes,
        None => {
            let detail = "must specify restartPolicy when restart rules are used";
            causes.push(required(format!("{field}.restartPolicy"), detail));
        }
        Some(policy) if POLICIES.contains(&policy) => {}
        Some(policy) => causes.push(not_supported(format!("{field}.restartPolicy"), policy, &POLICIES)),
    }
    if rules.len() > RULES_LIMIT {
        causes.push(too_long(format!("{field}.restartPolicyRules"), RULES_LIMIT));
    }
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("{field}.restartPolicyRules[{index}]");
        let action = text(rule, "action");
        if action != "Restart" {
            causes.push(not_supported(format!("{field}.action"), action, &["Restart"]));
        }
        let codes = at(rule, "exitCodes");
        if codes.is_null() {
            causes.push(required(format!("{field}.exitCodes"), "must be specified"));
            continue;
        }
        let operator = text(codes, "operator");
        if !matches!(operator, "In" | "NotIn") {
            causes.push(not_supported(format!("{field}.exitCodes.operator"), operator, &["In", "NotIn"]));
        }
        if items(codes, "values").len() > VALUES_LIMIT {
            causes.push(too_long(format!("{field}.exitCodes.values"), VALUES_LIMIT));
        }
    }
    causes
}

fn init_restart_policy(container: &Value, field: &str, owner: Owner<'_>) -> Vec<Cause> {
    match at(container, "restartPolicy").as_str() {
        None => Vec::new(),
        Some("Always") if owner.minor >= RESTART_RULES_SINCE && !is_empty(at(container, "restartPolicyRules")) => {
            let detail = "restartPolicyRules are not allowed for init containers with restart policy Always";
            vec![forbidden(format!("{field}.restartPolicyRules"), detail)]
        }
        Some("Always") => Vec::new(),
        Some(_) if owner.minor >= RESTART_RULES_SINCE => restart_policy(container, field),
        Some(policy) => vec![not_supported(format!("{field}.restartPolicy"), policy, &["Always"])],
    }
}

fn ephemeral(container: &Value, spec: &Value, field: &str) -> Vec<Cause> {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    let mut causes = Vec::new();
    let target = text(container, "targetContainerName");
    let mut targets = items(spec, "containers").iter().chain(items(spec, "initContainers"));
    if !target.is_empty() && !targets.any(|other| text(other, "name") == target) {
        causes.push(not_found(format!("{field}.targetContainerName"), target));
    }
    for key in [
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ] {
        if !is_empty(at(container, key)) {
            causes.push(forbidden(format!("{field}.{key}"), DETAIL));
        }
    }
    for (index, mount) in items(container, "volumeMounts").iter().enumerate() {
        for key in ["subPath", "subPathExpr"] {
            if !text(mount, key).is_empty() {
                causes.push(forbidden(format!("{field}.volumeMounts[{index}].{key}"), DETAIL));
            }
        }
    }
    causes
}

fn ports(container: &Value, field: &str) -> Vec<Cause> {
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
        match text(port, "protocol") {
            "" => causes.push(required(format!("{field}.protocol"), "")),
            "SCTP" | "TCP" | "UDP" => {}
            other => causes.push(not_supported(format!("{field}.protocol"), other, &["SCTP", "TCP", "UDP"])),
        }
    }
    causes
}

/// No two ports of these containers may want the same port of the host.
fn host_ports(containers: &[Value], field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut taken = BTreeSet::new();
    for (at, container) in containers.iter().enumerate() {
        for (index, port) in items(container, "ports").iter().enumerate() {
            let host = int(port, "hostPort");
            let claim = format!("{}/{}/{host}", text(port, "protocol"), text(port, "hostIP"));
            if host != 0 && !taken.insert(claim.clone()) {
                causes.push(duplicate(format!("{field}[{at}].ports[{index}].hostPort"), claim));
            }
        }
    }
    causes
}
