//! What an update of a pod may change (core `ValidatePodUpdate`): a running pod is what it was made as.

use k8s_object::Cause;
use serde_json::Value;

use super::{scheduling, security};
use crate::causes::{forbidden, invalid};
use crate::difference::difference;
use crate::fields::{at, carry_over, entries, is_empty, items, items_mut, map_in, text};

const MAY_CHANGE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Of a pod, new and old.
pub(crate) fn validate_update(new_pod: &Value, old_pod: &Value) -> Vec<Cause> {
    let mut causes = security::annotation_updates(new_pod, old_pod);
    let (new, old) = (at(new_pod, "spec"), at(old_pod, "spec"));
    for list in ["containers", "initContainers"] {
        let field = format!("spec.{list}");
        if items(new, list).len() != items(old, list).len() {
            causes.push(forbidden(field, "pod updates may not add or remove containers"));
            return causes;
        }
        for (index, container) in items(new, list).iter().enumerate() {
            if text(container, "image").is_empty() {
                causes.push(crate::causes::required(format!("{field}[{index}].image"), ""));
            }
        }
    }
    if let Some((cause, is_last)) = active_deadline(at(new, "activeDeadlineSeconds"), at(old, "activeDeadlineSeconds"))
    {
        causes.push(cause);
        if is_last {
            return causes;
        }
    }
    causes.extend(tolerations(items(new, "tolerations"), items(old, "tolerations")));
    for (index, gate) in items(new, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !items(old, "schedulingGates").iter().any(|old| text(old, "name") == name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            causes.push(forbidden(format!("spec.schedulingGates[{index}].name"), &detail));
        }
    }
    causes.extend(rest(new, old));
    causes
}

/// What is wrong, and whether upstream looks no further.
fn active_deadline(new: &Value, old: &Value) -> Option<(Cause, bool)> {
    const FIELD: &str = "spec.activeDeadlineSeconds";
    match (new.as_i64(), old.as_i64()) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            Some((invalid(FIELD, new, "must be between 0 and 2147483647, inclusive"), true))
        }
        (Some(new), Some(old)) if new > old => {
            Some((invalid(FIELD, new, "must be less than or equal to previous value"), true))
        }
        (None, Some(_)) => {
            Some((invalid(FIELD, Value::Null, "must not update from a positive integer to nil value"), false))
        }
        _ => None,
    }
}

fn tolerations(new: &[Value], old: &[Value]) -> Vec<Cause> {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(map) = toleration.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        toleration
    };
    let kept = |old: &Value| new.iter().any(|new| without_seconds(new) == without_seconds(old));
    if !old.iter().all(kept) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        return vec![forbidden("spec.tolerations", detail)];
    }
    scheduling::tolerations(new, "spec.tolerations")
}

/// Whatever the rules above do not speak of must be equal.
fn rest(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut allowed = new.clone();
    for list in ["containers", "initContainers"] {
        for (container, old) in items_mut(&mut allowed, list).zip(items(old, list)) {
            carry_over(container, old, "image");
        }
    }
    let mut carried = vec!["activeDeadlineSeconds", "schedulingGates", "tolerations"];
    let seconds = "terminationGracePeriodSeconds";
    if at(old, seconds).as_i64().is_some_and(|seconds| seconds < 0) && new[seconds] == 1 {
        carried.push(seconds);
    }
    // A pod that waits at its gates has not been scheduled: it may still narrow down where it goes.
    if !is_empty(at(old, "schedulingGates")) {
        carried.push("nodeSelector");
        let kept = |(key, value): (&String, &Value)| at(new, "nodeSelector").get(key) == Some(value);
        if !entries(old, "nodeSelector").all(kept) {
            let value = at(new, "nodeSelector").clone();
            let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            causes.push(invalid("spec.nodeSelector", value, detail));
        }
        causes.extend(node_affinity(at(new, "affinity.nodeAffinity"), at(old, "affinity.nodeAffinity")));
        if let Some(affinity) = map_in(&mut allowed, "affinity") {
            match at(old, "affinity").get("nodeAffinity") {
                Some(affinity_of_old) => affinity.insert("nodeAffinity".to_owned(), affinity_of_old.clone()),
                None => affinity.remove("nodeAffinity"),
            };
        }
        if is_empty(at(&allowed, "affinity")) && is_empty(at(old, "affinity")) {
            carried.push("affinity");
        }
    }
    for key in carried {
        carry_over(&mut allowed, old, key);
    }
    if allowed != *old {
        let lines = difference(&allowed, old, "spec");
        let detail = format!("pod updates may not change fields other than {MAY_CHANGE}\n{lines}");
        causes.push(forbidden("spec", &detail));
    }
    causes
}

/// Terms that nodes must match may ask for more of a node, never for less.
fn node_affinity(new: &Value, old: &Value) -> Vec<Cause> {
    const TERMS: &str = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let field = format!("spec.affinity.nodeAffinity.{TERMS}");
    let (new, old) = (items(new, TERMS), items(old, TERMS));
    if !old.is_empty() && old.len() != new.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return vec![invalid(field, new.to_vec(), detail)];
    }
    let begins = |new: &Value, old: &Value| {
        ["matchExpressions", "matchFields"].iter().all(|list| items(new, list).starts_with(items(old, list)))
    };
    // A term that matches nothing cannot be made to match something.
    let is_nothing = |term: &Value| is_empty(at(term, "matchExpressions")) && is_empty(at(term, "matchFields"));
    let wrong = new
        .iter()
        .zip(old)
        .enumerate()
        .filter(|(_, (new, old))| !begins(new, old) || (is_nothing(old) && !is_nothing(new)));
    let detail = "only additions are allowed (no mutations or deletions)";
    wrong.map(|(index, (new, _))| invalid(format!("{field}[{index}]"), new.clone(), detail)).collect()
}

/// Of the subresource `ephemeralcontainers`: existing ones stay as they are.
pub(crate) fn validate_ephemeral_containers(new_pod: &Value, old_pod: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.ephemeralContainers";
    if at(old_pod, "metadata.annotations").get(security::MIRROR).is_some() {
        return vec![forbidden("", "static pods do not support ephemeral containers")];
    }
    let (new, old) = (items(new_pod, FIELD), items(old_pod, FIELD));
    let changed = old.iter().filter_map(|container| {
        let name = text(container, "name");
        match new.iter().find(|container| text(container, "name") == name) {
            None => Some(forbidden(FIELD, &format!("existing ephemeral containers {name:?} may not be removed\n"))),
            Some(new) if new != container => {
                let lines = difference(new, container, FIELD);
                Some(forbidden(FIELD, &format!("existing ephemeral containers {name:?} may not be changed\n{lines}")))
            }
            Some(_) => None,
        }
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(causes: Vec<Cause>) -> Vec<String> {
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    fn pods(new: &Value, old: &Value) -> (Value, Value) {
        (json!({ "spec": new }), json!({ "spec": old }))
    }

    #[test]
    fn only_few_fields_of_a_pod_change() {
        let old = json!({
            "containers": [{"name": "a", "image": "x:1"}], "nodeName": "n1",
            "tolerations": [{"key": "a", "operator": "Exists"}], "activeDeadlineSeconds": 10,
            "terminationGracePeriodSeconds": -1,
        });
        let with = |changes: Value| {
            let mut new = old.clone();
            new.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let (new, old) = pods(&new, &old);
            said(validate_update(&new, &old))
        };
        let refused = |field: &str, text: &str| vec![format!("{field}: {text}")];
        let cases = [
            (json!({"containers": [{"name": "a", "image": "x:2"}]}), vec![]),
            (
                json!({"tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 3, "effect": "NoExecute"}, {"key": "b"}]}),
                refused(
                    "spec.tolerations",
                    "Forbidden: existing toleration can not be modified except its tolerationSeconds",
                ),
            ),
            (json!({"tolerations": [{"key": "a", "operator": "Exists"}, {"key": "b"}]}), vec![]),
            (json!({"activeDeadlineSeconds": 5}), vec![]),
            (json!({"terminationGracePeriodSeconds": 1}), vec![]),
            (
                json!({"activeDeadlineSeconds": 11}),
                refused(
                    "spec.activeDeadlineSeconds",
                    "Invalid value: 11: must be less than or equal to previous value",
                ),
            ),
            (
                json!({"containers": []}),
                refused("spec.containers", "Forbidden: pod updates may not add or remove containers"),
            ),
            (
                json!({"schedulingGates": [{"name": "g"}]}),
                refused(
                    "spec.schedulingGates[0].name",
                    "Forbidden: only deletion is allowed, but found new scheduling gate 'g'",
                ),
            ),
            (
                json!({"nodeName": "n2"}),
                refused(
                    "spec",
                    &format!(
                        "Forbidden: pod updates may not change fields other than {MAY_CHANGE}\n- spec.nodeName: \"n1\"\n+ spec.nodeName: \"n2\""
                    ),
                ),
            ),
        ];
        for (changes, expected) in cases {
            assert_eq!(with(changes.clone()), expected, "{changes}");
        }
    }

    #[test]
    fn a_gated_pod_may_narrow_where_it_goes() {
        let terms = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
        let expression = json!({"key": "a", "operator": "Exists"});
        let plain = json!({"schedulingGates": [{"name": "g"}], "nodeSelector": {"a": "1"}});
        let mut placed = plain.clone();
        placed["affinity"] = terms(json!([{"matchExpressions": [expression]}]));
        let cases = [
            (&plain, json!({"schedulingGates": [], "nodeSelector": {"a": "1", "b": "2"}}), vec![]),
            (
                &plain,
                json!({"schedulingGates": [{"name": "g"}], "nodeSelector": {"b": "2"}}),
                vec!["spec.nodeSelector"],
            ),
            (&plain, placed.clone(), vec![]),
            (
                &placed,
                json!({"schedulingGates": [{"name": "g"}], "nodeSelector": {"a": "1"}, "affinity": terms(json!([{"matchExpressions": [expression, {"key": "b", "operator": "Exists"}]}]))}),
                vec![],
            ),
            (
                &placed,
                plain.clone(),
                vec!["spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"],
            ),
        ];
        for (old, new, expected) in cases {
            let (new, old) = pods(&new, old);
            let causes = validate_update(&new, &old);
            let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
            assert_eq!(fields, expected, "{new}");
        }
    }

    #[test]
    fn ephemeral_containers_are_only_added() {
        let old = json!({"ephemeralContainers": [{"name": "a", "image": "x"}]});
        for (new, count) in [
            (json!({"ephemeralContainers": [{"name": "a", "image": "x"}, {"name": "b"}]}), 0),
            (json!({}), 1),
            (json!({"ephemeralContainers": [{"name": "a", "image": "y"}]}), 1),
        ] {
            let (new, old) = pods(&new, &old);
            assert_eq!(validate_ephemeral_containers(&new, &old).len(), count, "{new}");
        }
    }
}
