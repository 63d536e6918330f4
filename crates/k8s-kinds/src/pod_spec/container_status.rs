//! What kubelets report of a container beside its state: as whom it runs, and the health of what it was given (core
//! `validateContainerStatusUsers`, `validateContainerStatusAllocatedResourcesStatus`).

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use super::security::id;
use crate::causes::{duplicate, forbidden, invalid, not_supported, required, too_long};
use crate::fields::{at, is_empty, items, text};

/// Bytes of what is said of the health of one resource (core `ResourceHealthMessageMaxLength`).
const MAX_MESSAGE_BYTES: usize = 1024;
/// The lists of a status, and the lists of the spec that they are about.
const LISTS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// Judges the statuses of all containers of a pod.
pub(super) fn validate(pod: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let system = text(pod, "spec.os.name");
    for (list, _) in LISTS {
        for (index, status) in items(at(pod, "status"), list).iter().enumerate() {
            causes.extend(user(at(status, "user.linux"), &format!("status.{list}[{index}].user.linux"), system));
        }
    }
    for (list, containers) in LISTS {
        for (index, status) in items(at(pod, "status"), list).iter().enumerate() {
            let field = format!("status.{list}[{index}].allocatedResourcesStatus");
            if is_empty(at(status, "allocatedResourcesStatus")) {
                continue;
            }
            if list == "ephemeralContainerStatuses" {
                causes.push(forbidden(field, "must not be specified in container status"));
                continue;
            }
            let mut own = items(at(pod, "spec"), containers).iter();
            let own = own.find(|container| text(container, "name") == text(status, "name"));
            causes.extend(allocated(status, own, &field));
        }
    }
    causes
}

fn user(user: &Value, field: &str, system: &str) -> Vec<Cause> {
    match system {
        "windows" if !user.is_null() => vec![forbidden(field, "cannot be set for a windows pod")],
        "" | "linux" => {
            let mut causes: Vec<Cause> =
                ["uid", "gid"].iter().filter_map(|key| id(at(user, key), format!("{field}.{key}"))).collect();
            let groups = items(user, "supplementalGroups").iter().enumerate();
            causes
                .extend(groups.filter_map(|(index, group)| id(group, format!("{field}.supplementalGroups[{index}]"))));
            causes
        }
        _ => Vec::new(),
    }
}

/// `container` is absent where the pod has none of that name, which is not judged.
fn allocated(status: &Value, container: Option<&Value>, field: &str) -> Vec<Cause> {
    const HEALTH: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
    let mut causes = Vec::new();
    for (index, resource) in items(status, "allocatedResourcesStatus").iter().enumerate() {
        let field = format!("{field}[{index}]");
        let name = text(resource, "name");
        if let Some(problem) = container.and_then(|container| unknown(container, name)) {
            causes.push(invalid(format!("{field}.name"), name, problem));
        }
        let mut seen = BTreeSet::new();
        for (index, unit) in items(resource, "resources").iter().enumerate() {
            let field = format!("{field}.resources[{index}]");
            let health = text(unit, "health");
            if !HEALTH.contains(&health) {
                causes.push(not_supported(format!("{field}.health"), health, &HEALTH));
            }
            match at(unit, "message").as_str() {
                Some("") => causes.push(required(format!("{field}.message"), "must be non-empty if specified")),
                Some(message) if message.len() > MAX_MESSAGE_BYTES => {
                    causes.push(too_long(format!("{field}.message"), MAX_MESSAGE_BYTES));
                }
                _ => {}
            }
            if !seen.insert(text(unit, "resourceID")) {
                causes.push(duplicate(format!("{field}.resourceID"), text(unit, "resourceID")));
            }
        }
    }
    causes
}

/// What is wrong with the name of a resource that a container does not ask for.
fn unknown(container: &Value, name: &str) -> Option<&'static str> {
    let Some(claimed) = name.strip_prefix("claim:") else {
        let asked = at(container, "resources.requests").get(name).is_some();
        return (!asked).then_some("must match one of the container's resource requests");
    };
    let asked = items(container, "resources.claims").iter().any(|claim| match text(claim, "request") {
        "" => claimed == text(claim, "name"),
        request => claimed.strip_prefix(text(claim, "name")).and_then(|rest| rest.strip_prefix('/')) == Some(request),
    });
    (!asked).then_some(
        "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn users_and_health_are_judged_in_upstreams_words() {
        let spec = json!({"containers": [{"name": "c", "resources": {
            "requests": {"a.example/gpu": "1"}, "claims": [{"name": "n", "request": "r"}, {"name": "m"}],
        }}]});
        let healthy = |name: &str| json!({"name": name, "resources": [{"resourceID": "1", "health": "Healthy"}]});
        let cases: &[(Value, &[&str])] = &[
            (json!({"user": {"linux": {"uid": 0, "gid": 1, "supplementalGroups": [2]}}}), &[]),
            (
                json!({"user": {"linux": {"uid": -1, "gid": 1, "supplementalGroups": [2, -2]}}}),
                &[
                    "status.containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                    "status.containerStatuses[0].user.linux.supplementalGroups[1]: Invalid value: -2: must be between 0 and 2147483647, inclusive",
                ],
            ),
            (
                json!({"allocatedResourcesStatus": [healthy("a.example/gpu"), healthy("claim:n/r"), healthy("claim:m")]}),
                &[],
            ),
            (
                json!({"allocatedResourcesStatus": [healthy("cpu"), healthy("claim:n")]}),
                &[
                    r#"status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: "cpu": must match one of the container's resource requests"#,
                    r#"status.containerStatuses[0].allocatedResourcesStatus[1].name: Invalid value: "claim:n": must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"#,
                ],
            ),
            (
                json!({"allocatedResourcesStatus": [{"name": "claim:m", "resources": [
                    {"resourceID": "1", "health": "Well"}, {"resourceID": "1", "health": "Unknown"},
                ]}]}),
                &[
                    r#"status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: "Well": supported values: "Healthy", "Unhealthy", "Unknown""#,
                    r#"status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: "1""#,
                ],
            ),
        ];
        for (status, expected) in cases {
            let mut status = status.clone();
            status["name"] = json!("c");
            let pod = json!({"spec": spec, "status": {"containerStatuses": [status]}});
            assert_eq!(&crate::testing::lines(validate(&pod)), expected, "{status}");
        }
        let windows = json!({"spec": {"os": {"name": "windows"}}, "status": {"containerStatuses": [{"user": {"linux": {"uid": 1}}}]}});
        assert_eq!(
            crate::testing::lines(validate(&windows)),
            ["status.containerStatuses[0].user.linux: Forbidden: cannot be set for a windows pod"]
        );
    }
}
