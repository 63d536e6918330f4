//! What the server warns of when a pod or template is written (core `pod/warnings.go`): legal, and hardly meant.

use std::collections::BTreeSet;

use serde_json::Value;

use super::CONTAINER_LISTS;
use crate::fields::{at, entries, int, items, text};

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

/// For the spec at `field`.
pub(crate) fn warnings(spec: &Value, field: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (label, _) in entries(spec, "nodeSelector") {
        if let Some(message) = deprecated_node_label(label) {
            warnings.push(format!("{field}.nodeSelector[{label}]: {message}"));
        }
    }
    if int(spec, "terminationGracePeriodSeconds") < 0 {
        warnings.push(format!(
            "{field}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    for list in CONTAINER_LISTS {
        for (index, container) in items(spec, list).iter().enumerate() {
            let field = format!("{field}.{list}[{index}]");
            warnings.extend(duplicate_env(container, &field));
            warnings.extend(fractional_bytes(container, &field));
        }
    }
    warnings.extend(duplicate_ports(spec, field));
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

fn duplicate_env(container: &Value, field: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let variables = items(container, "env").iter().enumerate();
    let duplicates = variables.filter(|(_, variable)| !seen.insert(text(variable, "name")));
    duplicates
        .map(|(at, variable)| {
            format!(
                "{field}.env[{at}]: hides previous definition of \"{}\", which may be dropped when using apply",
                text(variable, "name")
            )
        })
        .collect()
}

/// `100m` of memory is a tenth of a byte, and was meant to be megabytes.
fn fractional_bytes(container: &Value, field: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["limits", "requests"] {
        for (name, amount) in entries(at(container, "resources"), list) {
            let fractional = super::quantity(amount).is_some_and(|amount| amount.milli() % 1000 != 0);
            if fractional && matches!(name.as_str(), "memory" | "ephemeral-storage") {
                warnings.push(format!(
                    "{field}.resources.{list}[{name}]: fractional byte value \"{}\" is invalid, must be an integer",
                    amount.as_str().unwrap_or_default()
                ));
            }
        }
    }
    warnings
}

fn duplicate_ports(spec: &Value, field: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen: Vec<(String, i64, i64, &str)> = Vec::new();
    for (at, container) in items(spec, "containers").iter().enumerate() {
        for (index, port) in items(container, "ports").iter().enumerate() {
            let own = format!("{field}.containers[{at}].ports[{index}]");
            let (number, host, protocol) = (int(port, "containerPort"), int(port, "hostPort"), text(port, "protocol"));
            let same = seen.iter().find(|(_, other, other_host, other_protocol)| {
                (*other, *other_host, *other_protocol) == (number, host, protocol)
            });
            if let Some((other, ..)) = same {
                warnings.push(format!("{own}: duplicate port definition with {other}"));
            }
            seen.push((own, number, host, protocol));
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
        let spec = json!({
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "terminationGracePeriodSeconds": -1,
            "containers": [{
                "env": [{"name": "A"}, {"name": "A"}],
                "resources": {"requests": {"memory": "100m", "cpu": "100m"}},
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}],
            }],
        });
        assert_eq!(
            warnings(&spec, "spec"),
            [
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            ]
        );
        assert!(warnings(&json!({"containers": [{"name": "a"}]}), "spec").is_empty());
    }
}
