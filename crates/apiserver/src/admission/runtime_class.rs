//! RuntimeClass: a pod gets the overhead of its class, and goes where the class can run.

use k8s_kinds::quota::amounts;
use k8s_object::{ApiError, Object};
use serde_json::{Value, json};
use std::sync::Arc;

use super::{Review, Said, forbidden};

fn class(review: &Review<'_, '_>, object: &Value) -> Result<Option<Arc<Object>>, ApiError> {
    let Some(name) = object["spec"]["runtimeClassName"].as_str() else { return Ok(None) };
    let found = review.call.core.lookup("node.k8s.io", "runtimeclasses", "", name);
    let missing = || forbidden(review, object, &format!("pod rejected: RuntimeClass {name:?} not found"));
    found.ok_or_else(missing).map(Some)
}

const DIFFERS: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

pub(super) fn admit(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    if !review.is_pod_create() {
        return Ok(());
    }
    let Some(class) = class(review, object)? else { return Ok(()) };
    let class = class.value();
    if class["overhead"].is_object() {
        let own = amounts(&object["spec"]["overhead"]);
        if !own.is_empty() && own != amounts(&class["overhead"]["podFixed"]) {
            return Err(forbidden(review, object, DIFFERS));
        }
        object["spec"]["overhead"] = class["overhead"]["podFixed"].clone();
    }
    let scheduling = &class["scheduling"];
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let own = &object["spec"]["nodeSelector"][key];
        if own.is_string() && own != value {
            let (wanted, own) = (value.as_str().unwrap_or(""), own.as_str().unwrap_or(""));
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
            );
            return Err(forbidden(review, object, &why));
        }
    }
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        if !object["spec"]["nodeSelector"].is_object() {
            object["spec"]["nodeSelector"] = json!({});
        }
        object["spec"]["nodeSelector"][key.as_str()] = value.clone();
    }
    let wanted = scheduling["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !wanted.is_empty() {
        let own = object["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        object["spec"]["tolerations"] = json!(merged(own, wanted));
    }
    Ok(())
}

/// All tolerations of both, without those that another one covers.
fn merged(own: Vec<Value>, wanted: &[Value]) -> Vec<Value> {
    let all: Vec<Value> = own.into_iter().chain(wanted.iter().cloned()).collect();
    let mut kept: Vec<Value> = Vec::new();
    for (at, toleration) in all.iter().enumerate() {
        let by_earlier = kept.iter().any(|other| covers(other, toleration));
        let by_later = all[at + 1..].iter().any(|other| other != toleration && covers(other, toleration));
        if !by_earlier && !by_later {
            kept.push(toleration.clone());
        }
    }
    kept
}

/// Whether what the second tolerates the first tolerates too, for at least as long.
fn covers(first: &Value, second: &Value) -> bool {
    if first == second {
        return true;
    }
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or("").to_owned();
    let same = |field: &str| text(first, field).is_empty() || text(first, field) == text(second, field);
    if !same("key") || !same("effect") {
        return false;
    }
    if let Some(seconds) = first["tolerationSeconds"].as_i64() {
        match second["tolerationSeconds"].as_i64() {
            Some(other) if other <= seconds => {}
            _ => return false,
        }
    }
    match text(first, "operator").as_str() {
        "Exists" => true,
        _ => text(second, "operator") != "Exists" && text(first, "value") == text(second, "value"),
    }
}

pub(super) fn judge(review: &Review<'_, '_>, object: &Value, _: &mut Said) -> Result<(), ApiError> {
    let overhead = &object["spec"]["overhead"];
    if !review.is_pod_create() || (overhead.is_null() && !object["spec"]["runtimeClassName"].is_string()) {
        return Ok(());
    }
    let class = class(review, object)?.map(|class| class.value());
    match class.filter(|class| class["overhead"].is_object()) {
        Some(class) if amounts(&class["overhead"]["podFixed"]) != amounts(overhead) => {
            Err(forbidden(review, object, DIFFERS))
        }
        None if !overhead.is_null() => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            Err(forbidden(review, object, why))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_merged_once() {
        let a = json!({"key": "a", "operator": "Exists"});
        let b = json!({"key": "b", "operator": "Equal", "value": "x", "effect": "NoSchedule"});
        let b_all = json!({"key": "b", "operator": "Exists"});
        let cases = [
            (vec![a.clone()], vec![b.clone()], vec![a.clone(), b.clone()]),
            (vec![a.clone()], vec![a.clone()], vec![a.clone()]),
            (vec![b.clone()], vec![b_all.clone()], vec![b_all.clone()]),
            (vec![b_all.clone()], vec![b.clone()], vec![b_all.clone()]),
        ];
        for (own, wanted, expected) in cases {
            assert_eq!(merged(own, &wanted), expected);
        }
    }
}
