//! Rules for what steers scheduling: tolerations, affinity, topology spread, gates.

use k8s_object::Cause;
use serde_json::Value;

use super::Owner;
use crate::causes::{duplicate, forbidden, invalid, not_supported, required};
use crate::fields::{at, entries, int, items, text};
use crate::names::{self, label_value, qualified, subdomain};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The affinity of the spec at `field`.
pub(super) fn affinity(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = node_affinity(at(spec, "affinity.nodeAffinity"), &format!("{field}.affinity.nodeAffinity"));
    for kind in ["podAffinity", "podAntiAffinity"] {
        causes.extend(pod_affinity(at(at(spec, "affinity"), kind), &format!("{field}.affinity.{kind}")));
    }
    causes
}

/// What must be taken away before the pod is scheduled.
pub(super) fn gates(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = Vec::new();
    for (at, gate) in items(spec, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        let field = format!("{field}.schedulingGates[{at}]");
        causes.extend(qualified(name).iter().map(|problem| invalid(&field, name, problem)));
        if seen.contains(&name) {
            causes.push(duplicate(field, name));
        }
        seen.push(name);
    }
    causes
}

pub(crate) fn tolerations(tolerations: &[Value], field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let (key, operator, effect) =
            (text(toleration, "key"), text(toleration, "operator"), text(toleration, "effect"));
        if !key.is_empty() {
            causes.extend(qualified(key).iter().map(|problem| invalid(format!("{field}.key"), key, problem)));
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            causes.push(invalid(format!("{field}.operator"), operator, detail));
        }
        if !at(toleration, "tolerationSeconds").is_null() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            causes.push(invalid(format!("{field}.effect"), effect, detail));
        }
        let value = text(toleration, "value");
        match operator {
            "" | "Equal" => {
                let problems = label_value(value);
                if !problems.is_empty() {
                    causes.push(invalid(format!("{field}.operator"), value, &problems.join(";")));
                }
            }
            "Exists" if value.is_empty() => {}
            "Exists" => {
                let detail = "value must be empty when `operator` is 'Exists'";
                causes.push(invalid(format!("{field}.operator"), value, detail));
            }
            other => causes.push(not_supported(format!("{field}.operator"), other, &["Equal", "Exists"])),
        }
        if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            let allowed = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            causes.push(not_supported(format!("{field}.effect"), effect, &allowed));
        }
    }
    causes
}

fn weight(term: &Value, field: &str) -> Option<Cause> {
    let weight = int(term, "weight");
    let valid = (1..=100).contains(&weight);
    (!valid).then(|| invalid(format!("{field}.weight"), weight, "must be in the range 1-100"))
}

fn node_affinity(affinity: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(selector) = affinity.get(REQUIRED).filter(|selector| selector.is_object()) {
        let field = format!("{field}.{REQUIRED}.nodeSelectorTerms");
        let terms = items(selector, "nodeSelectorTerms");
        if terms.is_empty() {
            causes.push(required(&field, "must have at least one node selector term"));
        }
        for (index, term) in terms.iter().enumerate() {
            causes.extend(node_term(term, &format!("{field}[{index}]")));
        }
    }
    for (index, term) in items(affinity, PREFERRED).iter().enumerate() {
        let field = format!("{field}.{PREFERRED}[{index}]");
        causes.extend(weight(term, &field));
        causes.extend(any_node_term(at(term, "preference"), &format!("{field}.preference")));
    }
    causes
}

/// A term that nodes must match: its values are such that labels can have.
pub(crate) fn node_term(term: &Value, field: &str) -> Vec<Cause> {
    let mut causes = any_node_term(term, field);
    for (index, requirement) in items(term, "matchExpressions").iter().enumerate() {
        for (at, value) in items(requirement, "values").iter().filter_map(Value::as_str).enumerate() {
            let field = format!("{field}.matchExpressions[{index}].values[{at}]");
            causes.extend(label_value(value).iter().map(|problem| invalid(&field, value, problem)));
        }
    }
    causes
}

fn any_node_term(term: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for list in ["matchExpressions", "matchFields"] {
        for (index, requirement) in items(term, list).iter().enumerate() {
            let field = format!("{field}.{list}[{index}]");
            let values = items(requirement, "values");
            match text(requirement, "operator") {
                "In" | "NotIn" if list == "matchFields" && values.len() != 1 => causes.push(required(
                    format!("{field}.values"),
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                )),
                "In" | "NotIn" if values.is_empty() => {
                    let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                    causes.push(required(format!("{field}.values"), detail));
                }
                "Exists" | "DoesNotExist" if list == "matchExpressions" && !values.is_empty() => {
                    let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    causes.push(forbidden(format!("{field}.values"), detail));
                }
                "Gt" | "Lt" if list == "matchExpressions" && values.len() != 1 => {
                    let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                    causes.push(required(format!("{field}.values"), detail));
                }
                "In" | "NotIn" => {}
                "Exists" | "DoesNotExist" | "Gt" | "Lt" if list == "matchExpressions" => {}
                other => causes.push(invalid(format!("{field}.operator"), other, "not a valid selector operator")),
            }
            let key = text(requirement, "key");
            if list == "matchExpressions" {
                causes.extend(qualified(key).iter().map(|problem| invalid(format!("{field}.key"), key, problem)));
            } else if key != "metadata.name" {
                causes.push(invalid(format!("{field}.key"), key, "not a valid field selector key"));
            } else {
                for (at, value) in values.iter().filter_map(Value::as_str).enumerate() {
                    let field = format!("{field}.values[{at}]");
                    causes.extend(subdomain(value, false).iter().map(|problem| invalid(&field, value, problem)));
                }
            }
        }
    }
    causes
}

fn pod_affinity(affinity: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, term) in items(affinity, REQUIRED).iter().enumerate() {
        causes.extend(pod_term(term, &format!("{field}.{REQUIRED}[{index}]")));
    }
    for (index, term) in items(affinity, PREFERRED).iter().enumerate() {
        let field = format!("{field}.{PREFERRED}[{index}]");
        causes.extend(weight(term, &field));
        causes.extend(pod_term(at(term, "podAffinityTerm"), &format!("{field}.podAffinityTerm")));
    }
    causes
}

fn pod_term(term: &Value, field: &str) -> Vec<Cause> {
    let mut causes = names::label_selector(at(term, "labelSelector"), &format!("{field}.labelSelector"));
    causes.extend(names::label_selector(at(term, "namespaceSelector"), &format!("{field}.namespaceSelector")));
    // Upstream calls the field so, and names no element.
    for namespace in items(term, "namespaces").iter().filter_map(Value::as_str) {
        let problems = names::label(namespace, false);
        causes.extend(problems.iter().map(|problem| invalid(format!("{field}.namespace"), namespace, problem)));
    }
    causes.extend(label_keys(term, field));
    let key = text(term, "topologyKey");
    if key.is_empty() {
        causes.push(required(format!("{field}.topologyKey"), "can not be empty"));
    }
    causes.extend(qualified(key).iter().map(|problem| invalid(format!("{field}.topologyKey"), key, problem)));
    causes
}

/// Keys of labels whose values the server adds to the selector of a term.
fn label_keys(term: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let selector = at(term, "labelSelector");
    let keys = |list: &'static str| items(term, list).iter().filter_map(Value::as_str);
    for list in ["matchLabelKeys", "mismatchLabelKeys"] {
        let field = format!("{field}.{list}");
        if selector.is_null() && keys(list).next().is_some() {
            causes.push(forbidden(field, "must not be specified when labelSelector is not set"));
            continue;
        }
        for (index, key) in keys(list).enumerate() {
            let field = format!("{field}[{index}]");
            causes.extend(qualified(key).iter().map(|problem| invalid(&field, key, problem)));
        }
    }
    // The server has added one expression for each key; a second one was there before.
    let mut seen: Vec<&str> = entries(selector, "matchLabels").map(|(key, _)| key.as_str()).collect();
    for expression in items(selector, "matchExpressions") {
        let key = text(expression, "key");
        if let Some(index) = keys("matchLabelKeys").position(|own| own == key).filter(|_| seen.contains(&key)) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            causes.push(invalid(format!("{field}[{index}]"), key, detail));
        }
        seen.push(key);
    }
    for (index, key) in keys("matchLabelKeys").enumerate() {
        if keys("mismatchLabelKeys").any(|other| other == key) {
            let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
            causes.push(invalid(format!("{field}.matchLabelKeys[{index}]"), key, detail));
        }
    }
    causes
}

/// The first minor whose server adds the values of `matchLabelKeys` to the selectors of spread constraints (feature
/// `MatchLabelKeysInPodTopologySpreadSelectorMerge`).
pub(crate) const MERGED_SPREAD_SINCE: u8 = 34;

/// Keys of spread constraints as they were before the server merged them.
fn unmerged_label_keys(constraint: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let keys: Vec<&str> = items(constraint, "matchLabelKeys").iter().filter_map(Value::as_str).collect();
    let selector = at(constraint, "labelSelector");
    let field = format!("{field}.matchLabelKeys");
    if !keys.is_empty() && selector.is_null() {
        causes.push(forbidden(&field, "must not be specified when labelSelector is not set"));
    }
    for (index, key) in keys.iter().enumerate() {
        let field = format!("{field}[{index}]");
        causes.extend(qualified(key).iter().map(|problem| invalid(&field, *key, problem)));
        let selected = entries(selector, "matchLabels").any(|(own, _)| own == key)
            || items(selector, "matchExpressions").iter().any(|expression| text(expression, "key") == *key);
        if selected {
            causes.push(invalid(field, *key, "exists in both matchLabelKeys and labelSelector"));
        }
    }
    causes
}

pub(super) fn spread(spec: &Value, field: &str, owner: Owner<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let constraints = items(spec, "topologySpreadConstraints");
    for (index, constraint) in constraints.iter().enumerate() {
        let field = format!("{field}.topologySpreadConstraints[{index}]");
        let skew = int(constraint, "maxSkew");
        if skew <= 0 {
            causes.push(invalid(format!("{field}.maxSkew"), skew, "must be greater than zero"));
        }
        let key = text(constraint, "topologyKey");
        if key.is_empty() {
            causes.push(required(format!("{field}.topologyKey"), "can not be empty"));
        }
        let action = text(constraint, "whenUnsatisfiable");
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            let allowed = ["DoNotSchedule", "ScheduleAnyway"];
            causes.push(not_supported(format!("{field}.whenUnsatisfiable"), action, &allowed));
        }
        let same = |other: &Value| (text(other, "topologyKey"), text(other, "whenUnsatisfiable")) == (key, action);
        if constraints[index + 1..].iter().any(same) {
            let at = field.clone() + ".{topologyKey, whenUnsatisfiable}";
            causes.push(duplicate(at, format!("{{{key}, {action}}}")));
        }
        if let Some(domains) = at(constraint, "minDomains").as_i64() {
            if domains <= 0 {
                causes.push(invalid(format!("{field}.minDomains"), domains, "must be greater than zero"));
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                causes.push(invalid(format!("{field}.minDomains"), domains, &detail));
            }
        }
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = at(constraint, key).as_str();
            if let Some(policy) = policy.filter(|policy| !matches!(*policy, "Honor" | "Ignore")) {
                causes.push(not_supported(format!("{field}.{key}"), policy, &["Honor", "Ignore"]));
            }
        }
        if owner.minor >= MERGED_SPREAD_SINCE {
            causes.extend(label_keys(constraint, &field));
        } else {
            causes.extend(unmerged_label_keys(constraint, &field));
        }
        causes.extend(names::label_selector(at(constraint, "labelSelector"), &format!("{field}.labelSelector")));
    }
    causes
}
