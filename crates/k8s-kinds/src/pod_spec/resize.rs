//! `pods/resize`: CPU and memory of the containers of a running pod (core `ValidatePodResize`).

use k8s_object::Cause;
use serde_json::Value;

use super::{is_restartable_init, qos_class, resources, security};
use crate::causes::{forbidden, invalid};
use crate::fields::{at, carry_over, entries, items, items_mut, text};

const LISTS: [&str; 2] = ["containers", "initContainers"];
/// The minor from which init containers that end can be resized too (feature `InPlacePodVerticalScalingInitContainers`).
const INIT_CONTAINERS_SINCE: u8 = 36;

/// Before the write: only resources of containers, and how they bear a change, are taken from what the client sends.
pub(crate) fn keep_all_but_resources(new: &mut Value, old: &Value) {
    let same = |list: &str| {
        let names = |pod: &Value| -> Vec<String> {
            items(at(pod, "spec"), list).iter().map(|container| text(container, "name").to_owned()).collect()
        };
        names(new) == names(old)
    };
    // Containers that come, go or change their order are left for validation to refuse.
    if !LISTS.iter().all(|list| same(list)) {
        return;
    }
    let sent = at(new, "spec").clone();
    for part in ["spec", "status"] {
        carry_over(new, old, part);
    }
    let Some(spec) = new.get_mut("spec") else { return };
    for list in LISTS {
        for (container, sent) in items_mut(spec, list).zip(items(&sent, list)) {
            for key in ["resources", "resizePolicy"] {
                carry_over(container, sent, key);
            }
        }
    }
}

/// Judges what is asked for, beyond the rules of every pod.
pub(crate) fn validate_resize(new_pod: &Value, old_pod: &Value, minor: u8) -> Vec<Cause> {
    let (new, old) = (at(new_pod, "spec"), at(old_pod, "spec"));
    let only = |detail: &str| vec![forbidden("", detail)];
    if resources::has_of_pod(new) || resources::has_of_pod(old) {
        return only("pods with pod-level resources cannot be resized");
    }
    if at(old_pod, "metadata.annotations").get(security::MIRROR).is_some() {
        return only("static pods cannot be resized");
    }
    if text(old, "os.name") == "windows" {
        return only("windows pods cannot be resized");
    }
    let mut causes = Vec::new();
    let class = match text(old_pod, "status.qosClass") {
        "" => qos_class(old),
        class => class,
    };
    if class != qos_class(new) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        causes.push(invalid("spec", at(new_pod, "status.qosClass").clone(), detail));
    }
    let running =
        items(old_pod, "status.containerStatuses").iter().find(|status| !at(status, "state.running").is_null());
    if running.is_some_and(|status| at(status, "resources").is_null()) {
        causes.push(forbidden("spec", "Pod running on node without support for resize"));
    }
    let order = ordering(new, old);
    if !order.is_empty() {
        causes.extend(order);
        return causes;
    }
    for list in ["initContainers", "containers"] {
        for (index, (new, old)) in items(new, list).iter().zip(items(old, list)).enumerate() {
            if list == "initContainers" && !can_resize_init(old, minor) {
                continue;
            }
            for (kind, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
                let (now, was) = (at(at(new, "resources"), kind), at(old, "resources"));
                if entries(was, kind).any(|(name, _)| now.get(name).is_none()) {
                    let field = format!("spec.{list}[{index}].resources.{kind}");
                    causes.push(forbidden(field, &format!("{what} cannot be removed")));
                }
            }
        }
    }
    causes.extend(beyond_cpu_and_memory(new, old, minor));
    causes
}

fn ordering(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for list in LISTS {
        let (now, was) = (items(new, list), items(old, list));
        if now.len() != was.len() {
            let detail = format!("{list} may not be added or removed on resize");
            causes.push(forbidden(format!("spec.{list}"), &detail));
            continue;
        }
        for (index, (now, was)) in now.iter().zip(was).enumerate() {
            if text(now, "name") != text(was, "name") {
                let detail = format!("{list} may not be renamed or reordered on resize");
                causes.push(forbidden(format!("spec.{list}[{index}].name"), &detail));
            }
        }
    }
    causes
}

fn can_resize_init(container: &Value, minor: u8) -> bool {
    minor >= INIT_CONTAINERS_SINCE || is_restartable_init(container)
}

/// Containers with the CPU and memory that they had must be what they were.
fn beyond_cpu_and_memory(new: &Value, old: &Value, minor: u8) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (now, was) in items(new, "containers").iter().zip(items(old, "containers")) {
        if with_resources_of(now, was) != *was {
            causes.push(forbidden("spec", "only cpu and memory resources are mutable"));
        }
    }
    let pairs = items(new, "initContainers").iter().zip(items(old, "initContainers"));
    for (index, (now, was)) in pairs.enumerate() {
        if !can_resize_init(now, minor) {
            if now != was {
                causes.push(forbidden("spec", "resources for non-sidecar init containers are immutable"));
            }
            continue;
        }
        let own = format!("spec.initContainers[{index}]");
        if with_resources_of(now, was) != *was {
            causes.push(match minor >= INIT_CONTAINERS_SINCE {
                true => forbidden(&own, "only cpu and memory resources for init or sidecar containers are mutable"),
                false => forbidden("spec", "only cpu and memory resources for sidecar containers are mutable"),
            });
        }
        if now != was && !is_restartable_init(now) {
            let restarts = |policy: &&Value| text(policy, "restartPolicy") == "RestartContainer";
            for _ in items(now, "resizePolicy").iter().filter(restarts) {
                let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                causes.push(forbidden(&own, detail));
            }
        }
    }
    causes
}

fn with_resources_of(now: &Value, was: &Value) -> Value {
    let mut container = now.clone();
    let old = at(was, "resources");
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else {
        carry_over(&mut container, was, "resources");
        return container;
    };
    for kind in ["limits", "requests"] {
        match old.get(kind) {
            // What had none before may get them.
            None | Some(Value::Null) => _ = resources.remove(kind),
            Some(amounts) => {
                let mut now = resources.remove(kind).unwrap_or_else(|| serde_json::json!({}));
                for name in ["cpu", "memory"] {
                    carry_over(&mut now, amounts, name);
                }
                resources.insert(kind.to_owned(), now);
            }
        }
    }
    // How it bears a change may change.
    carry_over(&mut container, was, "resizePolicy");
    container
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(resources: Value) -> Value {
        json!({"metadata": {}, "spec": {"containers": [{"name": "c", "image": "x", "resources": resources}]}, "status": {"qosClass": "Burstable"}})
    }

    #[test]
    fn only_resources_are_taken_from_the_client() {
        let old = pod(json!({"requests": {"cpu": "1"}}));
        let mut new = pod(json!({"requests": {"cpu": "2"}}));
        new["spec"]["containers"][0]["image"] = json!("y");
        new["spec"]["nodeName"] = json!("n");
        keep_all_but_resources(&mut new, &old);
        assert_eq!(new, pod(json!({"requests": {"cpu": "2"}})));
    }

    #[test]
    fn init_containers_that_end_are_resized_from_1_36_on() {
        let init = |cpu: &str, own: Value| {
            let mut pod = pod(json!({"requests": {"cpu": "1"}}));
            let mut container = json!({"name": "i", "image": "x", "resources": {"requests": {"cpu": cpu}}});
            container.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
            pod["spec"]["initContainers"] = json!([container]);
            pod
        };
        let restarts = json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]});
        let sidecar = json!({"restartPolicy": "Always"});
        let immutable = "spec: Forbidden: resources for non-sidecar init containers are immutable";
        let cases = [
            (35, init("1", json!({})), init("2", json!({})), vec![immutable]),
            (36, init("1", json!({})), init("2", json!({})), vec![]),
            (
                36,
                init("1", restarts.clone()),
                init("2", restarts),
                vec![
                    "spec.initContainers[0]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
                ],
            ),
            (
                35,
                init("1", sidecar.clone()),
                init("1", json!({"restartPolicy": "Always", "image": "y"})),
                vec!["spec: Forbidden: only cpu and memory resources for sidecar containers are mutable"],
            ),
            (
                36,
                init("1", sidecar),
                init("1", json!({"restartPolicy": "Always", "image": "y"})),
                vec![
                    "spec.initContainers[0]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
                ],
            ),
        ];
        for (minor, old, new, expected) in cases {
            let causes = validate_resize(&new, &old, minor);
            let causes: Vec<String> =
                causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(causes, expected, "1.{minor} {new}");
        }
    }

    #[test]
    fn a_resize_is_judged() {
        let old = pod(json!({"requests": {"cpu": "1", "memory": "1Gi"}}));
        let cases = [
            (pod(json!({"requests": {"cpu": "2", "memory": "1Gi"}})), vec![]),
            (pod(json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "4"}})), vec![]),
            (
                pod(json!({"requests": {"cpu": "2"}})),
                vec!["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"],
            ),
            (
                pod(json!({"requests": {"cpu": "2", "memory": "1Gi", "ephemeral-storage": "1Gi"}})),
                vec!["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
            (
                json!({"spec": {"containers": []}}),
                vec![
                    "spec: Invalid value: null: Pod QOS Class may not change as a result of resizing",
                    "spec.containers: Forbidden: containers may not be added or removed on resize",
                ],
            ),
        ];
        for (new, expected) in cases {
            let causes = validate_resize(&new, &old, 34);
            let causes: Vec<String> =
                causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(causes, expected, "{new}");
        }
    }
}
