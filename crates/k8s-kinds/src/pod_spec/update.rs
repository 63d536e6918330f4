//! What an update of a pod may change (core `ValidatePodUpdate`): a running pod is what it was made as.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{forbidden, invalid};
use crate::difference::difference;
use crate::fields::{at, carry_over, is_empty, items, items_mut, text};

const MAY_CHANGE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Of the specs of a pod, new and old.
pub(crate) fn validate_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for list in ["containers", "initContainers"] {
        if items(new, list).len() != items(old, list).len() {
            causes.push(forbidden(format!("spec.{list}"), "pod updates may not add or remove containers"));
        }
    }
    if !causes.is_empty() {
        return causes;
    }
    causes.extend(active_deadline(at(new, "activeDeadlineSeconds"), at(old, "activeDeadlineSeconds")));
    for gate in items(new, "schedulingGates") {
        if !items(old, "schedulingGates").contains(gate) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", text(gate, "name"));
            causes.push(forbidden("spec.schedulingGates", &detail));
        }
    }
    causes.extend(tolerations(items(new, "tolerations"), items(old, "tolerations")));
    causes.extend(rest(new, old));
    causes
}

fn active_deadline(new: &Value, old: &Value) -> Option<Cause> {
    const FIELD: &str = "spec.activeDeadlineSeconds";
    match (new.as_i64(), old.as_i64()) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            Some(invalid(FIELD, new, "must be between 0 and 2147483647, inclusive"))
        }
        (Some(new), Some(old)) if new > old => {
            Some(invalid(FIELD, new, "must be less than or equal to previous value"))
        }
        (None, Some(_)) => Some(invalid(FIELD, Value::Null, "must not update from a positive integer to nil value")),
        _ => None,
    }
}

fn tolerations(new: &[Value], old: &[Value]) -> Option<Cause> {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(map) = toleration.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        toleration
    };
    let kept = |old: &Value| new.iter().any(|new| without_seconds(new) == without_seconds(old));
    let detail = "existing toleration can not be modified except its tolerationSeconds";
    (!old.iter().all(kept)).then(|| forbidden("spec.tolerations", detail))
}

/// Whatever the rules above do not speak of must be equal.
fn rest(new: &Value, old: &Value) -> Option<Cause> {
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
        let narrowed = |(key, value): (&String, &Value)| new["nodeSelector"].get(key) == Some(value);
        if at(old, "nodeSelector").as_object().into_iter().flatten().all(narrowed) {
            carried.push("nodeSelector");
        } else {
            let value = at(new, "nodeSelector").clone();
            return Some(invalid("spec.nodeSelector", value, "only additions are allowed to the existing labels"));
        }
        if at(old, "affinity.nodeAffinity").is_null() {
            carried.push("affinity");
        }
    }
    for key in carried {
        carry_over(&mut allowed, old, key);
    }
    (allowed != *old).then(|| {
        let difference = difference(&allowed, old, "spec");
        forbidden("spec", &format!("pod updates may not change fields other than {MAY_CHANGE}\n{difference}"))
    })
}

/// Of the subresource `ephemeralcontainers`: existing ones stay as they are.
pub(crate) fn validate_ephemeral_containers(new: &Value, old: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.ephemeralContainers";
    let find = |name: &str| items(new, "ephemeralContainers").iter().find(|container| text(container, "name") == name);
    let changed = items(old, "ephemeralContainers").iter().filter_map(|container| {
        let name = text(container, "name");
        match find(name) {
            None => Some(forbidden(FIELD, &format!("existing ephemeral containers {name:?} may not be removed\n"))),
            Some(new) if new != container => {
                let lines = difference(new, container, "spec");
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

    #[test]
    fn only_few_fields_of_a_pod_change() {
        let old = json!({
            "containers": [{"name": "a", "image": "x:1"}], "nodeName": "n1",
            "tolerations": [{"key": "a", "operator": "Exists"}], "activeDeadlineSeconds": 10,
            "terminationGracePeriodSeconds": -1,
        });
        let with = |changes: Value| {
            let mut new = old.clone();
            for (key, value) in changes.as_object().unwrap() {
                new[key] = value.clone();
            }
            let causes = validate_update(&new, &old);
            causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect::<Vec<_>>()
        };
        let refused = |field: &str, text: &str| vec![format!("{field}: {text}")];
        let cases = [
            (json!({"containers": [{"name": "a", "image": "x:2"}]}), vec![]),
            (
                json!({"tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 3}, {"key": "b"}]}),
                vec![],
            ),
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
                json!({"tolerations": []}),
                refused(
                    "spec.tolerations",
                    "Forbidden: existing toleration can not be modified except its tolerationSeconds",
                ),
            ),
            (
                json!({"containers": []}),
                refused("spec.containers", "Forbidden: pod updates may not add or remove containers"),
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
        let old = json!({"schedulingGates": [{"name": "g"}], "nodeSelector": {"a": "1"}});
        let open = json!({"schedulingGates": [], "nodeSelector": {"a": "1", "b": "2"}});
        assert!(validate_update(&open, &old).is_empty());
        let wider = json!({"schedulingGates": [{"name": "g"}], "nodeSelector": {"b": "2"}});
        assert_eq!(validate_update(&wider, &old)[0].field, "spec.nodeSelector");
        let more = json!({"schedulingGates": [{"name": "g"}, {"name": "h"}], "nodeSelector": {"a": "1"}});
        assert_eq!(validate_update(&more, &old)[0].field, "spec.schedulingGates");
    }

    #[test]
    fn ephemeral_containers_are_only_added() {
        let old = json!({"ephemeralContainers": [{"name": "a", "image": "x"}]});
        let added = json!({"ephemeralContainers": [{"name": "a", "image": "x"}, {"name": "b"}]});
        assert!(validate_ephemeral_containers(&added, &old).is_empty());
        assert_eq!(validate_ephemeral_containers(&json!({}), &old).len(), 1);
        assert_eq!(
            validate_ephemeral_containers(&json!({"ephemeralContainers": [{"name": "a", "image": "y"}]}), &old).len(),
            1
        );
    }
}
