//! LimitRanger: what a namespace gives containers that ask for nothing, and the least and most that may be asked for.

use k8s_kinds::quota::{Amount, Amounts, Side, amounts, specified, to_value, total};
use k8s_object::ApiError;
use serde_json::{Value, json};

use super::{Operation, Review, Said, forbidden, namespace};
use crate::metadata;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// The limits of the namespace that the write is subject to.
fn limits(review: &Review<'_, '_>, object: &Value) -> Vec<Value> {
    let call = review.call;
    let subject = match (call.resource.group.as_str(), call.resource.plural.as_str()) {
        // Containers are not changed by an update, except where they are resized.
        ("", "pods") => match call.request.subresource.as_str() {
            "" => review.operation == Operation::Create,
            subresource => subresource == "resize" && review.operation == Operation::Update,
        },
        ("", "persistentvolumeclaims") => call.request.subresource.is_empty(),
        _ => false,
    };
    if !subject || review.old.is_some_and(metadata::is_terminating) {
        return Vec::new();
    }
    let ranges = call.core.lookup_all("", "limitranges", namespace(call, object));
    let limits = ranges.iter().flat_map(|range| match range.value()["spec"]["limits"].take() {
        Value::Array(limits) => limits,
        _ => Vec::new(),
    });
    limits.collect()
}

pub(super) fn admit(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    if !review.call.resource.is("", "pods") {
        return Ok(());
    }
    let limits = limits(review, object);
    let (mut requests, mut most) = (Amounts::new(), Amounts::new());
    for limit in limits.iter().filter(|limit| limit["type"] == "Container") {
        requests.extend(amounts(&limit["defaultRequest"]));
        most.extend(amounts(&limit["default"]));
    }
    if requests.is_empty() && most.is_empty() {
        return Ok(());
    }
    let mut said = Vec::new();
    for (field, what) in [("containers", "container"), ("initContainers", "init container")] {
        let list = object["spec"].get_mut(field).and_then(Value::as_array_mut);
        for container in list.into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or("").to_owned();
            let resources = &mut container["resources"];
            if !resources.is_object() {
                *resources = json!({});
            }
            let set_most = fill(resources, "limits", &most);
            let set_requests = fill(resources, "requests", &requests);
            for (set, side) in [(set_requests, "request"), (set_most, "limit")] {
                if !set.is_empty() {
                    said.push(format!("{} {side} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !said.is_empty() {
        let map = metadata::of(object)?;
        let annotations = map.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(ANNOTATION.into(), json!(format!("LimitRanger plugin set: {}", said.join("; "))));
        }
    }
    Ok(())
}

/// Sets what is not there; returns the names of it.
fn fill(resources: &mut Value, side: &str, defaults: &Amounts) -> Vec<String> {
    let own = amounts(&resources[side]);
    let missing: Amounts =
        defaults.iter().filter(|(name, _)| !own.contains_key(*name)).map(|(name, own)| (name.clone(), *own)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    if !resources[side].is_object() {
        resources[side] = json!({});
    }
    if let (Some(map), Value::Object(missing)) = (resources[side].as_object_mut(), to_value(&missing)) {
        map.extend(missing);
    }
    missing.into_keys().collect()
}

pub(super) fn judge(review: &Review<'_, '_>, object: &Value, _: &mut Said) -> Result<(), ApiError> {
    let limits = limits(review, object);
    if limits.is_empty() {
        return Ok(());
    }
    let is_pod = review.call.resource.is("", "pods");
    let mut problems = Vec::new();
    for limit in &limits {
        let kind = limit["type"].as_str().unwrap_or("");
        match kind {
            "Container" if is_pod => {
                for field in ["containers", "initContainers"] {
                    for container in object["spec"][field].as_array().into_iter().flatten() {
                        let own = (specified(container, Side::Requests), specified(container, Side::Limits));
                        check(limit, kind, &own.0, &own.1, &mut problems);
                    }
                }
            }
            "Pod" if is_pod => {
                let sum = |side| total(object, side, |container, _| specified(container, side));
                check(limit, kind, &sum(Side::Requests), &sum(Side::Limits), &mut problems);
            }
            "PersistentVolumeClaim" if !is_pod => {
                let requests = amounts(&object["spec"]["resources"]["requests"]);
                for (name, least) in amounts(&limit["min"]) {
                    problems.extend(minimum(kind, &name, least, &requests, &Amounts::new()));
                }
                for (name, most) in amounts(&limit["max"]) {
                    problems.extend(maximum_request(kind, &name, most, &requests));
                }
            }
            _ => {}
        }
    }
    match problems.len() {
        0 => Ok(()),
        _ => Err(forbidden(review, object, &together(problems))),
    }
}

/// Several problems as one (apimachinery `NewAggregate`): each once, in brackets if there are more.
fn together(problems: Vec<String>) -> String {
    let mut once: Vec<String> = Vec::new();
    for problem in problems {
        if !once.contains(&problem) {
            once.push(problem);
        }
    }
    if once.len() == 1 { once.remove(0) } else { format!("[{}]", once.join(", ")) }
}

fn check(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts, problems: &mut Vec<String>) {
    for (name, least) in amounts(&limit["min"]) {
        problems.extend(minimum(kind, &name, least, requests, limits));
    }
    for (name, most) in amounts(&limit["max"]) {
        problems.extend(maximum(kind, &name, most, requests, limits));
    }
    for (name, most) in amounts(&limit["maxLimitRequestRatio"]) {
        problems.extend(ratio(kind, &name, most, requests, limits));
    }
}

fn minimum(kind: &str, name: &str, least: Amount, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let head = format!("minimum {name} usage per {kind} is {least}");
    match (requests.get(name), limits.get(name)) {
        (None, _) => Some(format!("{head}.  No request is specified")),
        (Some(own), _) if own.quantity < least.quantity => Some(format!("{head}, but request is {own}")),
        (_, Some(own)) if own.quantity < least.quantity => Some(format!("{head}, but limit is {own}")),
        _ => None,
    }
}

fn maximum(kind: &str, name: &str, most: Amount, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let head = format!("maximum {name} usage per {kind} is {most}");
    match (requests.get(name), limits.get(name)) {
        (_, None) => Some(format!("{head}.  No limit is specified")),
        (_, Some(own)) if own.quantity > most.quantity => Some(format!("{head}, but limit is {own}")),
        (Some(own), _) if own.quantity > most.quantity => Some(format!("{head}, but request is {own}")),
        _ => None,
    }
}

fn maximum_request(kind: &str, name: &str, most: Amount, requests: &Amounts) -> Option<String> {
    let head = format!("maximum {name} usage per {kind} is {most}");
    match requests.get(name) {
        None => Some(format!("{head}.  No request is specified")),
        Some(own) if own.quantity > most.quantity => Some(format!("{head}, but request is {own}")),
        Some(_) => None,
    }
}

fn ratio(kind: &str, name: &str, most: Amount, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let head = format!("{name} max limit to request ratio per {kind} is {most}");
    let there = |own: Option<&Amount>| own.copied().filter(|own| !own.is_zero());
    let Some(request) = there(requests.get(name)) else {
        return Some(format!("{head}, but no request is specified or request is 0"));
    };
    let Some(limit) = there(limits.get(name)) else {
        return Some(format!("{head}, but no limit is specified or limit is 0"));
    };
    let found = limit.quantity.milli() as f64 / request.quantity.milli() as f64;
    let allowed = most.quantity.milli() as f64 / 1000.0;
    (found > allowed).then(|| format!("{head}, but provided ratio is {found:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_as_upstream_does() {
        let of = |value: Value| amounts(&value);
        let limit = json!({"min": {"cpu": "100m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}});
        let cases = [
            (json!({"cpu": "500m"}), json!({"cpu": "1"}), ""),
            (
                json!({"cpu": "50m"}),
                json!({"cpu": "100m"}),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (json!({"cpu": "1"}), json!({"cpu": "2"}), "maximum cpu usage per Container is 1, but limit is 2"),
            (
                json!({"cpu": "300m"}),
                json!({"cpu": "1"}),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 3.333333",
            ),
            (
                json!({}),
                json!({"cpu": "1"}),
                "[minimum cpu usage per Container is 100m.  No request is specified, cpu max limit to request ratio per Container is 2, but no request is specified or request is 0]",
            ),
        ];
        for (requests, limits, expected) in cases {
            let mut problems = Vec::new();
            check(&limit, "Container", &of(requests.clone()), &of(limits), &mut problems);
            let told = if problems.is_empty() { String::new() } else { together(problems) };
            assert_eq!(told, expected, "{requests}");
        }
    }
}
