//! Rules for what steers scheduling: tolerations, affinity, topology spread, gates.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{duplicate, forbidden, invalid, not_supported, required};
use crate::fields::{at, int, items, text};
use crate::names::{self, label_value, qualified};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn validate(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = tolerations(items(spec, "tolerations"), &format!("{field}.tolerations"));
    causes.extend(node_affinity(at(spec, "affinity.nodeAffinity"), &format!("{field}.affinity.nodeAffinity")));
    for kind in ["podAffinity", "podAntiAffinity"] {
        causes.extend(pod_affinity(at(at(spec, "affinity"), kind), &format!("{field}.affinity.{kind}")));
    }
    causes.extend(spread(items(spec, "topologySpreadConstraints"), &format!("{field}.topologySpreadConstraints")));
    let gates = items(spec, "schedulingGates");
    let mut seen = Vec::new();
    for (at, gate) in gates.iter().enumerate() {
        let name = text(gate, "name");
        let field = format!("{field}.schedulingGates[{at}]");
        causes.extend(qualified(name).iter().map(|problem| invalid(&field, name, problem)));
        if seen.contains(&name) {
            causes.push(duplicate(field, name));
        }
        seen.push(name);
    }
    if !gates.is_empty() && !text(spec, "nodeName").is_empty() {
        causes
            .push(forbidden(format!("{field}.nodeName"), "cannot be set until all schedulingGates have been cleared"));
    }
    causes
}

fn tolerations(tolerations: &[Value], field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let (key, operator, effect) =
            (text(toleration, "key"), text(toleration, "operator"), text(toleration, "effect"));
        if key.is_empty() {
            if operator != "Exists" {
                let detail =
                    "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
                causes.push(invalid(format!("{field}.operator"), operator, detail));
            }
        } else {
            causes.extend(qualified(key).iter().map(|problem| invalid(format!("{field}.key"), key, problem)));
        }
        if !at(toleration, "tolerationSeconds").is_null() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            causes.push(invalid(format!("{field}.effect"), effect, detail));
        }
        let value = text(toleration, "value");
        match operator {
            "" | "Equal" => {
                let problems = label_value(value);
                causes.extend(problems.iter().map(|problem| invalid(format!("{field}.operator"), value, problem)));
            }
            "Exists" if value.is_empty() => {}
            "Exists" => causes.push(invalid(
                format!("{field}.operator"),
                toleration.clone(),
                "value must be empty when `operator` is 'Exists'",
            )),
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
        causes.extend(node_term(at(term, "preference"), &format!("{field}.preference")));
    }
    causes
}

pub(crate) fn node_term(term: &Value, field: &str) -> Vec<Cause> {
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
                for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
                    let problems = label_value(value);
                    let field = format!("{field}.values[{index}]");
                    causes.extend(problems.iter().map(|problem| invalid(&field, value, problem)));
                }
            } else if key != "metadata.name" {
                causes.push(invalid(format!("{field}.key"), key, "not a valid field selector key"));
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
    for (index, namespace) in items(term, "namespaces").iter().filter_map(Value::as_str).enumerate() {
        let field = format!("{field}.namespaces[{index}]");
        causes.extend(names::label(namespace, false).iter().map(|problem| invalid(&field, namespace, problem)));
    }
    match text(term, "topologyKey") {
        "" => causes.push(required(format!("{field}.topologyKey"), "can not be empty")),
        key => {
            let problems = qualified(key);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.topologyKey"), key, problem)));
        }
    }
    causes
}

fn spread(constraints: &[Value], field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, constraint) in constraints.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let skew = int(constraint, "maxSkew");
        if skew <= 0 {
            causes.push(invalid(format!("{field}.maxSkew"), skew, "must be greater than zero"));
        }
        let key = text(constraint, "topologyKey");
        if key.is_empty() {
            causes.push(required(format!("{field}.topologyKey"), "can not be empty"));
        } else {
            let problems = qualified(key);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.topologyKey"), key, problem)));
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
        causes.extend(names::label_selector(at(constraint, "labelSelector"), &format!("{field}.labelSelector")));
    }
    causes
}
