//! What the server warns of when a pod or template is written (core `pod/warnings.go`): legal, and hardly meant.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::containers;
use crate::addresses::ip_warnings;
use crate::fields::{at, entries, int, items, text};
use crate::kinds::persistent_volume_claim as claim;

/// What is said of a label of nodes that has gone out of use.
pub(crate) fn deprecated_node_label(label: &str) -> Option<&'static str> {
    Some(match label {
        "app.kubernetes.io/created-by" => "deprecated since v1.9",
        "beta.kubernetes.io/arch" => r#"deprecated since v1.14; use "kubernetes.io/arch" instead"#,
        "beta.kubernetes.io/instance-type" => {
            r#"deprecated since v1.17; use "node.kubernetes.io/instance-type" instead"#
        }
        "beta.kubernetes.io/os" => r#"deprecated since v1.14; use "kubernetes.io/os" instead"#,
        "failure-domain.beta.kubernetes.io/region" => {
            r#"deprecated since v1.17; use "topology.kubernetes.io/region" instead"#
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            r#"deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#
        }
        "node-role.kubernetes.io/master" => r#"use "node-role.kubernetes.io/control-plane" instead"#,
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => "deprecated since v1.22; use Taints and Tolerations instead",
        _ => return None,
    })
}

/// Kinds of volumes that have gone out of use.
const DEPRECATED_VOLUMES: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// For a pod, or the template at `field`.
pub(crate) fn warnings(object: &Value, field: &str) -> Vec<String> {
    let below = |part: &str| if field.is_empty() { part.to_owned() } else { format!("{field}.{part}") };
    let (spec, field, metadata) = (at(object, "spec"), below("spec"), below("metadata.annotations"));
    let mut warnings = placement(spec, &field);
    warnings.extend(annotations(object, &metadata));
    warnings.extend(volumes(spec, &field));
    for (list, key, what) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let mut seen = BTreeSet::new();
        for (index, item) in items(spec, list).iter().enumerate() {
            let value = text(item, key);
            if !seen.insert(value) {
                warnings.push(format!("{field}.{list}[{index}].{key}: duplicate {what} {value:?}"));
            }
        }
    }
    for (index, secret) in items(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            warnings.push(format!("{field}.imagePullSecrets[{index}].name: invalid empty name \"\""));
        }
    }
    warnings.extend(fractional_bytes(at(spec, "overhead"), &format!("{field}.overhead")));
    warnings.extend(seccomp_annotations(object, &metadata));
    for (container, field) in containers::all(spec, &field) {
        for list in ["limits", "requests"] {
            let field = format!("{field}.resources.{list}");
            warnings.extend(fractional_bytes(at(at(container, "resources"), list), &field));
        }
        warnings.extend(hidden_variables(container, &field));
    }
    warnings.extend(ports(spec, &field));
    if int(spec, "terminationGracePeriodSeconds") < 0 {
        warnings.push(format!(
            "{field}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    warnings.extend(null_selectors(spec, &field));
    for (index, alias) in items(spec, "hostAliases").iter().enumerate() {
        warnings.extend(ip_warnings(&format!("{field}.hostAliases[{index}].ip"), text(alias, "ip")));
    }
    warnings
}

/// What the term of a node selector at `field` is warned of.
pub(crate) fn node_selector_warnings(term: &Value, field: &str) -> Vec<String> {
    let expressions = items(term, "matchExpressions").iter().enumerate();
    let deprecated = expressions.filter_map(|(index, expression)| {
        let key = text(expression, "key");
        let message = deprecated_node_label(key)?;
        Some(format!("{field}.matchExpressions[{index}].key: {key} is {message}"))
    });
    deprecated.collect()
}

fn placement(spec: &Value, field: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (label, _) in entries(spec, "nodeSelector") {
        if let Some(message) = deprecated_node_label(label) {
            warnings.push(format!("{field}.nodeSelector[{label}]: {message}"));
        }
    }
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let affinity = at(spec, "affinity.nodeAffinity");
    for (index, term) in items(affinity, REQUIRED).iter().enumerate() {
        let field = format!("{field}.affinity.nodeAffinity.{REQUIRED}[{index}]");
        warnings.extend(node_selector_warnings(term, &field));
    }
    for (index, term) in items(affinity, PREFERRED).iter().enumerate() {
        let field = format!("{field}.affinity.nodeAffinity.{PREFERRED}[{index}].preference");
        let term = at(term, "preference");
        warnings.extend(node_selector_warnings(term, &field));
        for (index, expression) in items(term, "matchExpressions").iter().enumerate() {
            for (at, value) in items(expression, "values").iter().filter_map(Value::as_str).enumerate() {
                for problem in crate::names::label_value(value) {
                    warnings
                        .push(format!("{field}.matchExpressions[{index}].values[{at}]: {value} is invalid, {problem}"));
                }
            }
        }
    }
    for (index, constraint) in items(spec, "topologySpreadConstraints").iter().enumerate() {
        let field = format!("{field}.topologySpreadConstraints[{index}]");
        let key = text(constraint, "topologyKey");
        if let Some(message) = deprecated_node_label(key) {
            warnings.push(format!("{field}.topologyKey: {key} is {message}"));
        }
        if at(constraint, "labelSelector").is_null() {
            warnings.push(format!("{field}.labelSelector: a null labelSelector results in matching no pod"));
        }
    }
    warnings
}

fn annotations(object: &Value, field: &str) -> Vec<String> {
    const DEPRECATED: [(&str, &str); 3] = [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            r#"non-functional in v1.16+; use the "priorityClassName" field instead"#,
        ),
        ("security.alpha.kubernetes.io/sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
        ("security.alpha.kubernetes.io/unsafe-sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
    ];
    let own = at(object, "metadata.annotations");
    let found = DEPRECATED.iter().filter(|(key, _)| own.get(key).is_some());
    found.map(|(key, message)| format!("{field}[{key}]: {message}")).collect()
}

fn volumes(spec: &Value, field: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, volume) in items(spec, "volumes").iter().enumerate() {
        let field = format!("{field}.volumes[{index}]");
        for (kind, shown, message) in DEPRECATED_VOLUMES {
            if !at(volume, kind).is_null() {
                warnings.push(format!("{field}.{shown}: {message}"));
            }
        }
        let template = at(volume, "ephemeral.volumeClaimTemplate");
        if !template.is_null() {
            let field = format!("{field}.ephemeral.volumeClaimTemplate.spec");
            warnings.extend(claim::spec_warnings(at(template, "spec"), &field));
        }
    }
    warnings
}

/// `100m` of memory is a tenth of a byte, and was meant to be megabytes.
fn fractional_bytes(amounts: &Value, field: &str) -> Vec<String> {
    let fractional = ["memory", "ephemeral-storage"].into_iter().filter_map(|name| {
        let amount = amounts.get(name)?;
        let is_fractional = super::quantity(amount).is_some_and(|amount| amount.milli() % 1000 != 0);
        is_fractional.then(|| {
            let amount = amount.as_str().unwrap_or_default();
            format!("{field}[{name}]: fractional byte value {amount:?} is invalid, must be an integer")
        })
    });
    fractional.collect()
}

/// Annotations of seccomp do nothing any more.
fn seccomp_annotations(object: &Value, field: &str) -> Vec<String> {
    const MESSAGE: &str = r#"non-functional in v1.27+; use the "seccompProfile" field instead"#;
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    let (own, spec) = (at(object, "metadata.annotations"), at(object, "spec"));
    let mut warnings = Vec::new();
    if own.get(POD).is_some() && at(spec, "securityContext.seccompProfile").is_null() {
        warnings.push(format!("{field}[{POD}]: {MESSAGE}"));
    }
    for (container, _) in containers::all(spec, "") {
        let key = format!("container.seccomp.security.alpha.kubernetes.io/{}", text(container, "name"));
        if own.get(&key).is_some() && at(container, "securityContext.seccompProfile").is_null() {
            warnings.push(format!("{field}[{key}]: {MESSAGE}"));
        }
    }
    warnings
}

/// A variable that is set twice, and not out of what it was.
fn hidden_variables(container: &Value, field: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, variable) in items(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        let reference = format!("$({name})");
        let hides = !at(variable, "valueFrom").is_null() || value == reference || !value.contains(&reference);
        if !seen.insert(name) && hides {
            warnings.push(format!(
                "{field}.env[{index}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
    warnings
}

fn ports(spec: &Value, field: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen: BTreeMap<(i64, &str), Vec<(String, &Value)>> = BTreeMap::new();
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    let mut of_names = Vec::new();
    for (container, field) in containers::all(spec, field) {
        for (index, port) in items(container, "ports").iter().enumerate() {
            let own = format!("{field}.ports[{index}]");
            let (host, ip) = (int(port, "hostPort"), text(port, "hostIP"));
            let (name, protocol, number) = (text(port, "name"), text(port, "protocol"), int(port, "containerPort"));
            if !ip.is_empty() && host == 0 {
                warnings.push(format!(
                    "{own}: hostIP set without hostPort: {{Name:{name} HostPort:{host} ContainerPort:{number} Protocol:{protocol} HostIP:{ip}}}"
                ));
            }
            let others = seen.entry((number, protocol)).or_default();
            for (other, port) in others.iter() {
                let (other_host, other_ip) = (int(port, "hostPort"), text(port, "hostIP"));
                let what = match () {
                    () if host == other_host && ip == other_ip => "duplicate",
                    () if host == 0 || other_host == 0 => "overlapping",
                    () if host == other_host && (ip.is_empty() != other_ip.is_empty()) => "dangerously ambiguous",
                    () => continue,
                };
                warnings.push(format!("{own}: {what} port definition with {other}"));
            }
            others.push((own.clone(), port));
            if name.is_empty() {
                continue;
            }
            match names.get(name) {
                Some(other) => of_names.push(format!(
                    "{own}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use {other}"
                )),
                None => _ = names.insert(name, own),
            }
        }
    }
    warnings.extend(of_names);
    warnings
}

/// Terms of affinity without a selector match nothing.
fn null_selectors(spec: &Value, field: &str) -> Vec<String> {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let mut warnings = Vec::new();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = at(at(spec, "affinity"), kind);
        let field = format!("{field}.affinity.{kind}");
        let required = items(affinity, REQUIRED).iter().enumerate();
        let required = required.map(|(index, term)| (term, format!("{field}.{REQUIRED}[{index}]")));
        let preferred = items(affinity, PREFERRED).iter().enumerate();
        let preferred = preferred.map(|(index, term)| {
            (at(term, "podAffinityTerm"), format!("{field}.{PREFERRED}[{index}].podAffinityTerm"))
        });
        for (term, field) in required.chain(preferred) {
            if at(term, "labelSelector").is_null() {
                warnings.push(format!("{field}.labelSelector: a null labelSelector results in matching no pod"));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_hardly_meant_is_warned_of() {
        let pod = json!({"spec": {
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "terminationGracePeriodSeconds": -1,
            "volumes": [{"name": "v", "gitRepo": {}}],
            "imagePullSecrets": [{}],
            "containers": [{
                "env": [{"name": "A"}, {"name": "A", "value": "$(A)x"}, {"name": "A"}],
                "resources": {"requests": {"memory": "100m", "cpu": "100m"}},
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}],
            }],
        }});
        assert_eq!(
            warnings(&pod, ""),
            [
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
                "spec.imagePullSecrets[0].name: invalid empty name \"\"",
                "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            ]
        );
        assert!(warnings(&json!({"spec": {"containers": [{"name": "a"}]}}), "spec.template").is_empty());
    }
}
