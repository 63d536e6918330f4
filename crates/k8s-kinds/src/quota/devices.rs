//! What a ResourceClaim costs by device class (upstream `pkg/quota/v1/evaluator/core/resource_claims.go`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Amount, Amounts};

pub(super) const GROUP: &str = "resource.k8s.io";
pub(super) const CLAIMS: &str = "resourceclaims";
/// Behind the name of a class.
const BY_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// Devices that one claim may get at most: what it costs to want all (`AllocationResultsMaxSize`).
const ALL: i64 = 32;

/// Whether a resource of a quota counts devices of a class.
pub(super) fn counts(name: &str) -> bool {
    name.ends_with(BY_CLASS)
}

/// The devices that a claim may be given, by class; of alternatives the most of each class.
pub(super) fn usage(claim: &Value) -> Amounts {
    let mut devices = BTreeMap::<String, i64>::new();
    let mut charge = |name: String, count: i64| {
        let own = devices.entry(name).or_default();
        *own = own.saturating_add(count);
    };
    for request in claim["spec"]["devices"]["requests"].as_array().into_iter().flatten() {
        match request["firstAvailable"].as_array().filter(|alternatives| !alternatives.is_empty()) {
            Some(alternatives) => {
                let mut most = BTreeMap::<String, i64>::new();
                for alternative in alternatives {
                    let own = most.entry(name(alternative)).or_default();
                    *own = (*own).max(count(alternative));
                }
                most.into_iter().filter(|(_, count)| *count > 0).for_each(|(name, count)| charge(name, count));
            }
            None if request["exactly"].is_object() => charge(name(&request["exactly"]), count(&request["exactly"])),
            // As v1beta1 has it.
            None if request["deviceClassName"].is_string() => charge(name(request), count(request)),
            None => {}
        }
    }
    devices.into_iter().map(|(name, count)| (name, Amount::units(count))).collect()
}

fn name(request: &Value) -> String {
    format!("{}{BY_CLASS}", request["deviceClassName"].as_str().unwrap_or(""))
}

fn count(request: &Value) -> i64 {
    match request["allocationMode"].as_str() {
        Some("ExactCount") => request["count"].as_i64().unwrap_or(0),
        Some("All") => ALL,
        _ => 0,
    }
}
