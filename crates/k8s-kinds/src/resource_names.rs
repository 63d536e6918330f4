//! Names of resources (`cpu`, `requests.storage`, `example.com/gpu`) and what may be said of their amounts (core
//! `helper/helpers.go`).

use k8s_object::{Cause, Quantity, is_extended_resource, is_native_resource};
use serde_json::Value;

use crate::causes::invalid;
use crate::names::qualified;
use crate::pod_spec::quantity;

const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const CONTAINER: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
/// Amounts that quotas count beside objects.
const QUOTA_AMOUNTS: [&str; 7] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
];

pub(crate) fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether a quota may count it under this name.
pub(crate) fn is_standard_for_quota(name: &str) -> bool {
    COUNTED.contains(&name)
        || CONTAINER.contains(&name)
        || QUOTA_AMOUNTS.contains(&name)
        || is_huge_pages(name)
        || name.starts_with("requests.hugepages-")
}

/// Whether containers may ask for it under this name.
pub(crate) fn is_standard_for_containers(name: &str) -> bool {
    CONTAINER.contains(&name) || is_huge_pages(name)
}

/// Whether it is a vendor's, by a name that they may have.
pub(crate) fn is_extended(name: &str) -> bool {
    is_extended_resource(name) && qualified(&format!("requests.{name}")).is_empty()
}

/// Whether limits may be above what is requested.
pub(crate) fn is_overcommit_allowed(name: &str) -> bool {
    is_native_resource(name) && !is_huge_pages(name)
}

/// Whether it comes in whole pieces.
pub(crate) fn is_integer(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

/// Any name of a resource.
pub(crate) fn any(name: &str, field: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = qualified(name).iter().map(|problem| invalid(field, name, problem)).collect();
    if causes.is_empty() && !name.contains('/') && name != "storage" && !is_standard_for_quota(name) {
        causes.push(invalid(field, name, "must be a standard resource type or fully qualified"));
    }
    causes
}

/// The name of what a container asks for.
pub(crate) fn of_container(name: &str, field: &str) -> Vec<Cause> {
    let mut causes = any(name, field);
    if !name.contains('/') {
        if !is_standard_for_containers(name) {
            causes.push(invalid(field, name, "must be a standard resource for containers"));
        }
    } else if !is_native_resource(name) && !is_extended(name) {
        causes.push(invalid(field, name, "doesn't follow extended resource name standard"));
    }
    causes
}

/// The name of what a quota limits.
pub(crate) fn of_quota(name: &str, field: &str) -> Vec<Cause> {
    let mut causes = any(name, field);
    if !name.contains('/') && !is_standard_for_quota(name) {
        causes.push(invalid(field, name, "must be a standard resource for quota"));
    }
    causes
}

/// An amount that is not negative.
pub(crate) fn non_negative(amount: &Value, field: &str) -> Option<Cause> {
    let is_negative = quantity(amount).is_some_and(|amount| amount < Quantity::ZERO);
    is_negative.then(|| invalid(field, amount.clone(), "must be greater than or equal to 0"))
}

/// An amount that is not negative, and whole where the resource comes in pieces.
pub(crate) fn amount(name: &str, amount: &Value, field: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = non_negative(amount, field).into_iter().collect();
    if is_integer(name) && quantity(amount).is_some_and(|amount| amount.milli() % 1000 != 0) {
        causes.push(invalid(field, amount.clone(), "must be an integer"));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_where_they_are_known() {
        // Name, and how many problems it has anywhere, in a container, in a quota.
        let cases = [
            ("cpu", 0, 0, 0),
            ("storage", 0, 1, 1),
            ("pods", 0, 1, 0),
            ("requests.storage", 0, 1, 0),
            ("hugepages-2Mi", 0, 0, 0),
            ("requests.hugepages-2Mi", 0, 1, 0),
            ("example.com/gpu", 0, 0, 0),
            ("requests.example.com/gpu", 0, 1, 0),
            ("count/deployments.apps", 0, 0, 0),
            ("gpu", 1, 2, 2),
            ("-", 1, 2, 2),
        ];
        for (name, anywhere, container, quota) in cases {
            let found = (any(name, "f").len(), of_container(name, "f").len(), of_quota(name, "f").len());
            assert_eq!(found, (anywhere, container, quota), "{name}");
        }
    }
}
