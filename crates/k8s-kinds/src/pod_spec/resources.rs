//! Rules for the resources that containers and pods ask for.

use std::collections::{BTreeMap, BTreeSet};

use k8s_object::{Cause, Quantity};
use serde_json::{Value, json};

use super::{Owner, is_restartable_init, quantity, security};
use crate::causes::{duplicate, forbidden, invalid, not_found, not_supported, required};
use crate::fields::{at, default_to, entries, is_empty, items, text};
use crate::names::{label, subdomain};
use crate::resource_names;

/// The first minor that serves `spec.resources` by default (feature `PodLevelResources`).
pub(super) const OF_PODS_SINCE: u8 = 34;

fn written(amount: &Value) -> String {
    amount.as_str().map_or_else(|| amount.to_string(), str::to_owned)
}

/// The resources of a container at `field`.
pub(super) fn of_container(resources: &Value, spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = amounts(resources, resource_names::of_container, field);
    causes.extend(claimed(resources, spec, &format!("{field}.claims")));
    causes
}

/// What a pod needs beyond its containers.
pub(super) fn overhead(spec: &Value, field: &str) -> Vec<Cause> {
    fixed_overhead(at(spec, "overhead"), field)
}

/// What pods of a class need beyond their containers.
pub(crate) fn fixed_overhead(overhead: &Value, field: &str) -> Vec<Cause> {
    if overhead.is_null() {
        return Vec::new();
    }
    amounts(&json!({ "limits": overhead }), resource_names::of_container, field)
}

/// Limits and requests: known names, no negative amounts, and no request above its limit.
fn amounts(resources: &Value, name_rule: fn(&str, &str) -> Vec<Cause>, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let limits = at(resources, "limits");
    let (mut has_compute, mut has_huge_pages) = (false, false);
    for list in ["limits", "requests"] {
        for (name, amount) in entries(resources, list) {
            let own = format!("{field}.{list}[{name}]");
            causes.extend(name_rule(name, &own));
            causes.extend(resource_names::amount(name, amount, &own));
            if list == "requests" {
                causes.extend(against_limit(name, amount, limits.get(name), field));
            }
            if resource_names::is_huge_pages(name) {
                has_huge_pages = true;
                if !is_whole_pages(name, amount) {
                    let amount = written(amount);
                    let detail = format!("{amount} is not positive integer multiple of {name}");
                    causes.push(invalid(own, amount, &detail));
                }
            }
            has_compute |= matches!(name.as_str(), "cpu" | "memory");
        }
    }
    if has_huge_pages && !has_compute {
        causes.push(forbidden(field, "HugePages require cpu or memory"));
    }
    causes
}

fn against_limit(name: &str, amount: &Value, limit: Option<&Value>, field: &str) -> Option<Cause> {
    let over_commit = resource_names::is_overcommit_allowed(name);
    let requests = format!("{field}.requests");
    match limit {
        Some(limit) => {
            let (own, most) = (quantity(amount)?, quantity(limit)?);
            let relation = match () {
                () if !over_commit && own != most => "equal to",
                () if own > most => "less than or equal to",
                () => return None,
            };
            let detail = format!("must be {relation} {name} limit of {}", written(limit));
            Some(invalid(requests, written(amount), &detail))
        }
        None if !over_commit => {
            Some(required(format!("{field}.limits"), "Limit must be set for non overcommitable resources"))
        }
        None => None,
    }
}

/// Whether an amount of huge pages is one of whole pages.
fn is_whole_pages(name: &str, amount: &Value) -> bool {
    let size = name.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok());
    match (size, quantity(amount)) {
        (Some(size), Some(amount)) => {
            size > Quantity::ZERO && size.milli() % 1000 == 0 && amount.value() % size.value() == 0
        }
        (None, _) => false,
        (_, None) => true,
    }
}

/// The claims of devices that a container uses are its pod's.
fn claimed(resources: &Value, spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let known: BTreeSet<&str> = items(spec, "resourceClaims").iter().map(|claim| text(claim, "name")).collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (index, claim) in items(resources, "claims").iter().enumerate() {
        let field = format!("{field}[{index}]");
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            causes.push(required(field, ""));
            continue;
        }
        if seen.contains(name) {
            causes.push(duplicate(&field, name));
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                let problems = label(request, false);
                causes.extend(problems.iter().map(|problem| invalid(format!("{field}.request"), request, problem)));
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                causes.push(duplicate(&field, key.as_str()));
            } else if request.is_empty() {
                let of_same = seen.iter().filter(|other| other.split_once('/').is_some_and(|(of, _)| of == name));
                causes.extend(of_same.map(|_| duplicate(&field, name)));
            }
            seen.insert(key);
        }
        if !known.contains(name) {
            let mut cause = not_found(field, name);
            cause.message.push_str(": must be one of the names in pod.spec.resourceClaims");
            match known.is_empty() {
                true => cause.message.push_str(" which is empty"),
                false => {
                    let known: Vec<&str> = known.iter().copied().collect();
                    cause.message.push_str(&format!(": {}", known.join(", ")));
                }
            }
            causes.push(cause);
        }
    }
    causes
}

/// The claims that a pod brings for its containers.
pub(super) fn claims(spec: &Value, field: &str, owner: Owner<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, claim) in items(spec, "resourceClaims").iter().enumerate() {
        let is_mirror = |pod: &Value| at(pod, "metadata.annotations").get(security::MIRROR).is_some();
        if owner.pod.is_some_and(is_mirror) {
            causes.push(forbidden("", "static pods do not support resource claims"));
            continue;
        }
        let field = format!("{field}[{index}]");
        match text(claim, "name") {
            "" => causes.push(required(format!("{field}.name"), "")),
            name if !seen.insert(name) => causes.push(duplicate(format!("{field}.name"), name)),
            name => {
                let problems = label(name, false);
                causes.extend(problems.iter().map(|problem| invalid(format!("{field}.name"), name, problem)));
            }
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"].map(|key| (key, at(claim, key).as_str()));
        match sources.iter().filter(|(_, name)| name.is_some()).count() {
            0 => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                causes.push(invalid(&field, claim.clone(), detail));
            }
            1 => {}
            _ => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                causes.push(invalid(&field, claim.clone(), detail));
            }
        }
        for (key, name) in sources {
            let Some(name) = name else { continue };
            let problems = subdomain(name, false);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.{key}"), name, problem)));
        }
    }
    causes
}

/// How a container bears a change of its resources.
pub(super) fn resize_policy(container: &Value, spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, policy) in items(container, "resizePolicy").iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if !seen.insert(resource) {
            causes.push(duplicate(format!("{field}[{index}]"), resource));
        }
        for (value, allowed) in [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])] {
            if value.is_empty() {
                causes.push(required(field, ""));
            } else if !allowed.contains(&value) {
                causes.push(not_supported(field, value, &allowed));
            }
        }
        if text(spec, "restartPolicy") == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            causes.push(invalid(field, restart, detail));
        }
    }
    causes
}

/// The resources of a pod as a whole.
pub(super) fn of_pod(spec: &Value, field: &str) -> Vec<Cause> {
    let resources = at(spec, "resources");
    if resources.is_null() {
        return Vec::new();
    }
    if text(spec, "os.name") == "windows" {
        return vec![forbidden(field, "may not be set for a windows pod")];
    }
    let mut causes = Vec::new();
    if !at(resources, "claims").is_null() {
        causes.push(forbidden(format!("{field}.claims"), "claims may not be set for Resources at pod-level"));
    }
    causes.extend(amounts(resources, pod_resource, field));
    causes.extend(claimed(resources, spec, &format!("{field}.claims")));
    causes.extend(consistency(spec, field));
    causes
}

fn pod_resource(name: &str, field: &str) -> Vec<Cause> {
    let causes = resource_names::any(name, field);
    if causes.is_empty() && !matches!(name, "cpu" | "memory") && !resource_names::is_huge_pages(name) {
        return vec![not_supported(field, name, &["cpu", "hugepages-", "memory"])];
    }
    causes
}

/// What containers ask for together must fit into what their pod asks for.
fn consistency(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let all = |list: &str| at(spec, "resources").get(list).and_then(Value::as_object).cloned().unwrap_or_default();
    let (requests, limits) = (all("requests"), all("limits"));
    for (list, of_pod) in [("requests", &requests), ("limits", &limits)] {
        for (name, sum) in together(spec, list) {
            let Some(own) = of_pod.get(&name).filter(|_| list == "requests" || resource_names::is_huge_pages(&name))
            else {
                continue;
            };
            if quantity(own).is_some_and(|own| sum > own) {
                let sum = sum_text(spec, list, &name, sum);
                let detail = format!("must be greater than or equal to aggregate container {list} of {sum}");
                causes.push(invalid(format!("{field}.{list}[{name}]"), written(own), &detail));
            }
        }
    }
    for (index, container) in items(spec, "containers").iter().enumerate() {
        for (name, limit) in entries(container, "resources.limits") {
            let Some(most) = limits.get(name) else { continue };
            if let (Some(limit_read), Some(most_read)) = (quantity(limit), quantity(most))
                && limit_read > most_read
            {
                let detail = format!("must be less than or equal to pod limits of {}", written(most));
                let field = format!("{field}.containers[{index}][{name}].limits");
                causes.push(invalid(field, written(limit), &detail));
            }
        }
    }
    causes
}

/// What all containers ask for at once: those that run together add up, an init container runs beside earlier sidecars.
fn together(spec: &Value, list: &str) -> BTreeMap<String, Quantity> {
    type Amounts = BTreeMap<String, Quantity>;
    let of = |container: &Value| -> Amounts {
        let resources = at(container, "resources");
        entries(resources, list).filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?))).collect()
    };
    let add = |to: &mut Amounts, more: &Amounts| {
        for (name, amount) in more {
            let sum = to.entry(name.clone()).or_default();
            *sum = *sum + *amount;
        }
    };
    let (mut running, mut sidecars, mut peak) = (Amounts::new(), Amounts::new(), Amounts::new());
    items(spec, "containers").iter().for_each(|container| add(&mut running, &of(container)));
    for container in items(spec, "initContainers") {
        let mut now = of(container);
        if is_restartable_init(container) {
            add(&mut running, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        for (name, amount) in now {
            let most = peak.entry(name).or_default();
            *most = (*most).max(amount);
        }
    }
    for (name, amount) in peak {
        let most = running.entry(name).or_default();
        *most = (*most).max(amount);
    }
    running
}

/// A sum in the form in which what it is made of is written.
fn sum_text(spec: &Value, list: &str, name: &str, sum: Quantity) -> String {
    let is_binary = |container: &Value| {
        let amount = at(at(container, "resources"), list).get(name).and_then(Value::as_str);
        amount.is_some_and(|text| text.ends_with('i'))
    };
    let mut containers = items(spec, "containers").iter().chain(items(spec, "initContainers"));
    if containers.any(is_binary) { sum.to_binary_string() } else { sum.to_string() }
}

/// Where a pod as a whole has a limit and no request, it asks for what its containers ask for together, else for the limit;
/// huge pages that its containers may have, it may have too (core/v1 `defaultPodRequests`, `defaultHugePagePodLimits`).
pub(super) fn default_of_pod(spec: &mut Value) {
    let own = at(spec, "resources");
    let (mut limits, mut requests) = (at(own, "limits").clone(), at(own, "requests").clone());
    if is_empty(&limits) && is_empty(&requests) {
        return;
    }
    for list in [&mut limits, &mut requests] {
        if !list.is_object() {
            *list = json!({});
        }
    }
    let sums = |spec: &Value, list: &str| -> Vec<(String, String)> {
        let sums = together(spec, list).into_iter();
        sums.map(|(name, sum)| (name.clone(), sum_text(spec, list, &name, sum))).collect()
    };
    for (name, sum) in sums(spec, "limits") {
        if resource_names::is_huge_pages(&name) && requests.get(&name).is_none() {
            default_to(&mut limits, &name, sum);
        }
    }
    if !is_empty(&limits) {
        for (name, sum) in sums(spec, "requests") {
            if matches!(name.as_str(), "cpu" | "memory") {
                default_to(&mut requests, &name, sum);
            }
        }
        for (name, limit) in limits.as_object().into_iter().flatten() {
            if matches!(name.as_str(), "cpu" | "memory") || resource_names::is_huge_pages(name) {
                default_to(&mut requests, name, limit.clone());
            }
        }
    }
    for (key, list) in [("limits", limits), ("requests", requests)] {
        if !is_empty(&list) {
            spec["resources"][key] = list;
        }
    }
}

/// Whether a pod asks for resources as a whole.
pub(super) fn has_of_pod(spec: &Value) -> bool {
    !is_empty(at(spec, "resources.requests")) || !is_empty(at(spec, "resources.limits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(causes: Vec<Cause>) -> Vec<String> {
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn resources_of_containers_are_judged() {
        let cases = [
            (json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}), vec![]),
            (
                json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
                vec![r#"r.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#],
            ),
            (
                json!({"requests": {"example.com/gpu": "1"}}),
                vec!["r.limits: Required value: Limit must be set for non overcommitable resources"],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "3Mi"}}),
                vec![
                    r#"r.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi"#,
                    "r: Forbidden: HugePages require cpu or memory",
                ],
            ),
            (
                json!({"limits": {"gpu": "1"}}),
                vec![
                    r#"r.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified"#,
                    r#"r.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers"#,
                ],
            ),
            (
                json!({"claims": [{"name": "a"}, {"name": "b"}]}),
                vec![r#"r.claims[1]: Not found: "b": must be one of the names in pod.spec.resourceClaims: a"#],
            ),
        ];
        let spec = json!({"resourceClaims": [{"name": "a"}]});
        for (resources, expected) in cases {
            assert_eq!(said(of_container(&resources, &spec, "r")), expected, "{resources}");
        }
    }

    #[test]
    fn containers_fit_into_their_pod() {
        let spec = json!({
            "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}},
            "containers": [
                {"resources": {"requests": {"cpu": "1500m"}, "limits": {"cpu": "3"}}},
                {"resources": {"requests": {"cpu": "1"}}},
            ],
        });
        assert_eq!(
            said(of_pod(&spec, "spec.resources")),
            [
                r#"spec.resources.requests[cpu]: Invalid value: "2": must be greater than or equal to aggregate container requests of 2500m"#,
                r#"spec.resources.containers[0][cpu].limits: Invalid value: "3": must be less than or equal to pod limits of 2"#,
            ]
        );
    }
}
