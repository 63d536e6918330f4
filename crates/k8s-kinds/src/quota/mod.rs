//! What an object costs a ResourceQuota, and which quotas it costs (upstream `pkg/quota/v1/evaluator/core`).
//!
//! Admission charges with it before an object is written; the controller counts with it what is there.

mod amounts;
mod devices;
mod pod;

use std::collections::{BTreeMap, BTreeSet};

use k8s_object::{LabelSelector, Properties, Requirement, is_extended_resource};
use serde_json::Value;
use world::Timestamp;

use crate::pod_spec::is_pod_terminal;

pub use amounts::{Amount, Amounts, add, amounts, to_text, to_value};
pub use pod::{Side, charged, specified, total};

/// Resources that pods are charged for; beside them huge pages and extended resources.
const POD: &[&str] = &[
    "count/pods",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "pods",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// A quota on one of these wants it said of every container (and never more, which upstream calls a mistake not to be repeated).
const MUST_BE_SAID: &[&str] = &["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
const SERVICE: &[&str] = &["count/services", "services", "services.loadbalancers", "services.nodeports"];
const CLAIM: &[&str] = &["persistentvolumeclaims", "requests.storage"];
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
/// Kinds of the core group that had a name in quotas before `count/`.
const ALIASED: &[&str] = &["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
/// What no quota counts.
const IGNORED: &[(&str, &str)] =
    &[("", "bindings"), ("", "componentstatuses"), ("", "events"), ("events.k8s.io", "events")];

/// Whether quotas have nothing to do with a resource.
pub fn is_ignored(group: &str, plural: &str) -> bool {
    IGNORED.contains(&(group, plural))
}

/// `count/pods`, `count/deployments.apps`
pub fn count_name(group: &str, plural: &str) -> String {
    if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") }
}

/// One scope of a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    name: String,
    operator: String,
    values: Vec<String>,
}

/// The scopes of a quota, from `scopes` and `scopeSelector`.
pub fn scopes(quota: &Value) -> Vec<Scope> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let plain = quota["spec"]["scopes"].as_array().into_iter().flatten();
    let plain = plain.map(|name| Scope { name: text(name), operator: "Exists".to_owned(), values: Vec::new() });
    let selected = quota["spec"]["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    plain
        .chain(selected.map(|own| Scope {
            name: text(&own["scopeName"]),
            operator: text(&own["operator"]),
            values: own["values"].as_array().into_iter().flatten().map(text).collect(),
        }))
        .collect()
}

/// The resources of a quota that a kind of object is charged for.
pub fn matching(group: &str, plural: &str, hard: &Amounts) -> BTreeSet<String> {
    let counted = count_name(group, plural);
    let matches = |name: &str| match (group, plural) {
        ("", "pods") => {
            POD.contains(&name)
                || name.starts_with("hugepages-")
                || name.starts_with("requests.hugepages-")
                || name.strip_prefix("requests.").is_some_and(is_extended_in_quota)
        }
        ("", "services") => SERVICE.contains(&name),
        ("", "persistentvolumeclaims") => {
            name == counted
                || CLAIM.contains(&name)
                || CLAIM.iter().any(|own| name.strip_suffix(own).is_some_and(|class| class.ends_with(BY_CLASS)))
        }
        ("", plural) if ALIASED.contains(&plural) => name == counted || name == plural,
        (devices::GROUP, devices::CLAIMS) => name == counted || devices::counts(name),
        _ => name == counted,
    };
    hard.keys().filter(|name| matches(name)).cloned().collect()
}

/// `requests.` was before it: with a domain that is not Kubernetes' own.
fn is_extended_in_quota(name: &str) -> bool {
    name.contains('/') && !name.split('/').next().unwrap_or("").ends_with("kubernetes.io")
}

/// Whether an object is in all scopes.
pub fn in_scopes(group: &str, plural: &str, scopes: &[Scope], object: &Value) -> bool {
    scopes.iter().all(|scope| match (group, plural) {
        ("", "pods") => pod_in_scope(scope, object),
        ("", "persistentvolumeclaims") => claim_in_scope(scope, object),
        _ => false,
    })
}

fn pod_in_scope(scope: &Scope, pod: &Value) -> bool {
    let spec = &pod["spec"];
    match scope.name.as_str() {
        "Terminating" => is_limited_in_time(pod),
        "NotTerminating" => !is_limited_in_time(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "CrossNamespacePodAffinity" => crosses_namespaces(&spec["affinity"]),
        "PriorityClass" => {
            let class = spec["priorityClassName"].as_str().unwrap_or("");
            let has = Some(class).filter(|class| !class.is_empty());
            selects(scope, &has.into_iter().collect::<Vec<_>>())
        }
        _ => false,
    }
}

fn claim_in_scope(scope: &Scope, claim: &Value) -> bool {
    if scope.name != "VolumeAttributesClass" {
        return false;
    }
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let names = [
        &spec["volumeAttributesClassName"],
        &status["currentVolumeAttributesClassName"],
        &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ];
    let names: BTreeSet<&str> = names.into_iter().filter_map(Value::as_str).filter(|name| !name.is_empty()).collect();
    selects(scope, &names.into_iter().collect::<Vec<_>>())
}

/// Whether a scope that selects by name takes one of these.
fn selects(scope: &Scope, names: &[&str]) -> bool {
    if scope.operator == "Exists" {
        return !names.is_empty();
    }
    let requirement = Requirement::from_operator(scope.name.clone(), &scope.operator, scope.values.clone());
    let Ok(requirement) = requirement else { return false };
    let selector = LabelSelector { requirements: vec![requirement], nothing: false };
    let labelled =
        |name: Option<&&str>| -> Properties { name.into_iter().map(|name| (scope.name.as_str(), *name)).collect() };
    match names.is_empty() {
        true => selector.matches(&labelled(None)),
        false => names.iter().any(|name| selector.matches(&labelled(Some(name)))),
    }
}

/// Whether a pod has a deadline, which quotas call terminating.
pub fn is_limited_in_time(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

fn containers<'a>(pod: &'a Value, fields: &'static [&str]) -> impl Iterator<Item = &'a Value> {
    fields.iter().flat_map(|field| pod["spec"][*field].as_array().into_iter().flatten())
}

/// Whether no container asks for CPU or memory or is limited in them.
fn is_best_effort(pod: &Value) -> bool {
    let asks = |resources: &Value| {
        ["requests", "limits"].into_iter().any(|side| {
            let own = amounts(&resources[side]);
            ["cpu", "memory"].iter().any(|name| own.get(*name).is_some_and(|amount| !amount.is_zero()))
        })
    };
    !asks(&pod["spec"]["resources"])
        && !containers(pod, &["containers", "initContainers"]).any(|container| asks(&container["resources"]))
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let crosses = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|list| !list.is_empty()) || term["namespaceSelector"].is_object()
    };
    ["podAffinity", "podAntiAffinity"].into_iter().any(|side| {
        let list = |field: &str| affinity[side][field].as_array().map(Vec::as_slice).unwrap_or_default();
        list("requiredDuringSchedulingIgnoredDuringExecution").iter().any(crosses)
            || list("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| crosses(&weighted["podAffinityTerm"]))
    })
}

/// What is missing in an object for the resources of a quota that it is charged for: `must specify limits.cpu for: web`.
pub fn missing(group: &str, plural: &str, resources: &BTreeSet<String>, object: &Value) -> Option<String> {
    if (group, plural) != ("", "pods") || is_pod_level_set(object) {
        return None;
    }
    let mut missing = BTreeMap::<&str, BTreeSet<&str>>::new();
    for container in containers(object, &["containers", "initContainers"]) {
        let used = compute(&specified(container, Side::Requests), &specified(container, Side::Limits));
        for name in resources.iter().filter(|name| MUST_BE_SAID.contains(&name.as_str()) && !used.contains_key(*name)) {
            missing.entry(name).or_default().insert(container["name"].as_str().unwrap_or(""));
        }
    }
    if missing.is_empty() {
        return None;
    }
    let parts = missing
        .into_iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(",")));
    Some(format!("must specify {}", parts.collect::<Vec<_>>().join("; ")))
}

fn is_pod_level_set(pod: &Value) -> bool {
    let resources = &pod["spec"]["resources"];
    ["requests", "limits"].into_iter().any(|side| resources[side].as_object().is_some_and(|map| !map.is_empty()))
}

/// Requests and limits under the names that quotas give them.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::from([("pods".to_owned(), Amount::units(1))]);
    for (name, amount) in requests {
        if ["cpu", "ephemeral-storage", "memory"].contains(&name.as_str()) || name.starts_with("hugepages-") {
            used.insert(name.clone(), *amount);
            used.insert(format!("requests.{name}"), *amount);
        } else if is_extended_resource(name) {
            used.insert(format!("requests.{name}"), *amount);
        }
    }
    for name in ["cpu", "ephemeral-storage", "memory"] {
        if let Some(amount) = limits.get(name) {
            used.insert(format!("limits.{name}"), *amount);
        }
    }
    used
}

/// What an object costs.
pub fn usage(group: &str, plural: &str, object: &Value, now: Timestamp) -> Amounts {
    let one = Amount::units(1);
    let mut used = Amounts::from([(count_name(group, plural), one)]);
    match (group, plural) {
        ("", "pods") if is_charged(object, now) => {
            used.extend(compute(&charged(object, Side::Requests), &charged(object, Side::Limits)));
        }
        ("", "services") => used.extend(service(object)),
        ("", "persistentvolumeclaims") => used.extend(claim(object)),
        ("", plural) if ALIASED.contains(&plural) => {
            used.insert(plural.to_owned(), one);
        }
        (devices::GROUP, devices::CLAIMS) => used.extend(devices::usage(object)),
        _ => {}
    }
    used
}

/// Whether a pod still costs more than its count: not when it has ended, or should have been gone by now.
fn is_charged(pod: &Value, now: Timestamp) -> bool {
    if is_pod_terminal(pod) {
        return false;
    }
    let deletion = pod["metadata"]["deletionTimestamp"].as_str().and_then(|text| Timestamp::parse(text).ok());
    match (deletion, pod["metadata"]["deletionGracePeriodSeconds"].as_u64()) {
        (Some(moment), Some(grace)) => now <= moment + std::time::Duration::from_secs(grace),
        _ => true,
    }
}

fn service(service: &Value) -> Amounts {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let all = i64::try_from(ports.len()).unwrap_or(i64::MAX);
    let chosen = ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count();
    let chosen = i64::try_from(chosen).unwrap_or(i64::MAX);
    let (balancers, node_ports) = match spec["type"].as_str().unwrap_or("") {
        "NodePort" => (0, all),
        // Without ports of nodes of its own, only those count that are asked for.
        "LoadBalancer" if spec["allocateLoadBalancerNodePorts"] == false => (1, chosen),
        "LoadBalancer" => (1, all),
        _ => (0, 0),
    };
    Amounts::from([
        ("services".to_owned(), Amount::units(1)),
        ("services.loadbalancers".to_owned(), Amount::units(balancers)),
        ("services.nodeports".to_owned(), Amount::units(node_ports)),
    ])
}

fn claim(claim: &Value) -> Amounts {
    let mut used = Amounts::from([("persistentvolumeclaims".to_owned(), Amount::units(1))]);
    let asked = Amount::of(&claim["spec"]["resources"]["requests"]["storage"]).map(Amount::rounded_up);
    let allocated = Amount::of(&claim["status"]["allocatedResources"]["storage"]).map(Amount::rounded_up);
    let storage = asked.map(|asked| match allocated {
        Some(allocated) if allocated.quantity > asked.quantity => allocated,
        _ => asked,
    });
    if let Some(storage) = storage {
        used.insert("requests.storage".to_owned(), storage);
    }
    let class = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"]
        .as_str()
        .or_else(|| claim["spec"]["storageClassName"].as_str())
        .unwrap_or("");
    if !class.is_empty() {
        let by_class: Vec<_> = used.iter().map(|(name, own)| (format!("{class}{BY_CLASS}{name}"), *own)).collect();
        used.extend(by_class);
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_767_225_600)
    }

    #[test]
    fn objects_cost_what_upstream_charges() {
        let pod = json!({"spec": {"containers": [{"name": "a", "resources": {
            "requests": {"cpu": "1", "memory": "1Gi", "example.com/gpu": 2}, "limits": {"cpu": "2"}}}]}});
        let with = |pod: &Value, field: &str, value: Value| {
            let mut pod = pod.clone();
            pod[field] = value;
            pod
        };
        let claim = |spec: Value| json!({"spec": spec});
        let cases = [
            (
                "pods",
                pod.clone(),
                "count/pods=1,cpu=1,limits.cpu=2,memory=1Gi,pods=1,requests.cpu=1,requests.example.com/gpu=2,requests.memory=1Gi",
            ),
            ("pods", with(&pod, "status", json!({"phase": "Succeeded"})), "count/pods=1"),
            (
                "pods",
                with(
                    &pod,
                    "metadata",
                    json!({"deletionTimestamp": "2025-12-31T00:00:00Z", "deletionGracePeriodSeconds": 30}),
                ),
                "count/pods=1",
            ),
            (
                "services",
                json!({"spec": {"type": "LoadBalancer", "ports": [{}, {"nodePort": 30000}]}}),
                "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2",
            ),
            (
                "services",
                json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{}, {"nodePort": 30000}]}}),
                "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1",
            ),
            (
                "persistentvolumeclaims",
                claim(json!({"storageClassName": "gold", "resources": {"requests": {"storage": "1500m"}}})),
                "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2",
            ),
            ("secrets", json!({}), "count/secrets=1,secrets=1"),
        ];
        for (plural, object, expected) in cases {
            assert_eq!(to_text(&usage("", plural, &object, now())), expected, "{object}");
        }
        assert_eq!(to_text(&usage("apps", "deployments", &json!({}), now())), "count/deployments.apps=1");
        let exactly = |class: &str, mode: &str, count: i64| json!({"deviceClassName": class, "allocationMode": mode, "count": count});
        let claim = json!({"spec": {"devices": {"requests": [
            {"name": "a", "exactly": exactly("gpu", "ExactCount", 2)},
            {"name": "b", "exactly": exactly("gpu", "All", 0)},
            {"name": "c", "firstAvailable": [exactly("gpu", "ExactCount", 1), exactly("gpu", "ExactCount", 3), exactly("nic", "ExactCount", 1)]},
            exactly("nic", "ExactCount", 4),
        ]}}});
        assert_eq!(
            to_text(&usage("resource.k8s.io", "resourceclaims", &claim, now())),
            "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=37,nic.deviceclass.resource.k8s.io/devices=5"
        );
    }

    #[test]
    fn scopes_select_pods() {
        let plain = json!({"spec": {"containers": [{"name": "a"}]}});
        let spec = |field: &str, value: Value| {
            let mut pod = plain.clone();
            pod["spec"][field] = value;
            pod
        };
        let quota = |scope: &str| json!({"spec": {"scopes": [scope]}});
        let class = |operator: &str, values: Value| {
            json!({"spec": {"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": values}]}}})
        };
        let urgent = spec("priorityClassName", json!("urgent"));
        let asking = spec("containers", json!([{"name": "a", "resources": {"requests": {"cpu": "1"}}}]));
        let crossing = spec(
            "affinity",
            json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["b"]}]}}),
        );
        let cases = [
            (json!({}), &plain, true),
            (quota("BestEffort"), &plain, true),
            (quota("BestEffort"), &asking, false),
            (quota("NotBestEffort"), &asking, true),
            (quota("Terminating"), &plain, false),
            (quota("Terminating"), &spec("activeDeadlineSeconds", json!(5)), true),
            (quota("NotTerminating"), &plain, true),
            (quota("PriorityClass"), &plain, false),
            (quota("PriorityClass"), &urgent, true),
            (class("In", json!(["urgent"])), &urgent, true),
            (class("In", json!(["other"])), &urgent, false),
            (class("NotIn", json!(["urgent"])), &plain, true),
            (class("DoesNotExist", json!([])), &plain, true),
            (quota("CrossNamespacePodAffinity"), &plain, false),
            (quota("CrossNamespacePodAffinity"), &crossing, true),
        ];
        for (quota, pod, expected) in cases {
            assert_eq!(in_scopes("", "pods", &scopes(&quota), pod), expected, "{quota} {pod}");
        }
        assert!(!in_scopes("", "services", &scopes(&quota("BestEffort")), &plain));
    }

    #[test]
    fn quotas_on_cpu_and_memory_want_them_said() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let pod = json!({"spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1"}}}, {"name": "b"}]}});
        let cases = [
            (names(&["requests.cpu"]), Some("must specify requests.cpu for: b")),
            (names(&["limits.cpu", "cpu"]), Some("must specify cpu for: b; limits.cpu for: a,b")),
            (names(&["pods", "requests.ephemeral-storage"]), None),
        ];
        for (resources, expected) in cases {
            assert_eq!(missing("", "pods", &resources, &pod).as_deref(), expected);
        }
    }
}
