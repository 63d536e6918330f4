//! PodSecurity: pods that ask for more than their namespace's labels allow are refused, and templates of pods are warned about.
//! Nobody is exempt, as on EKS.

mod checks;
mod measure;
mod policy;

use std::collections::{BTreeMap, BTreeSet};

use k8s_object::{ApiError, Object};
use serde_json::Value;

use super::{Operation, Review, Said, forbidden, rules};
use checks::{Pod, details, evaluate, reasons};
use measure::{Mode, evaluated, unreadable};
use policy::{Level, PREFIX, Policy, Rule};

/// Pods of a namespace that are looked at when it gets other labels (upstream's default).
const MAX_PODS: usize = 3000;
/// Below a pod, what has nothing to do with its specification.
const IGNORED: &[&str] = &["attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "status"];

pub(super) fn judge(review: &Review<'_, '_>, object: &Value, said: &mut Said) -> Result<(), ApiError> {
    let call = review.call;
    let subresource = call.request.subresource.as_str();
    let template = match (call.resource.group.as_str(), call.resource.plural.as_str()) {
        ("", "namespaces") if subresource.is_empty() => return namespace(review, object, said),
        ("", "pods") if IGNORED.contains(&subresource) => return Ok(()),
        ("", "pods") => object,
        ("", "podtemplates") => &object["template"],
        ("", "replicationcontrollers")
        | ("apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets")
        | ("batch", "jobs") => &object["spec"]["template"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return Ok(()),
    };
    let is_pod = call.resource.is("", "pods");
    if !is_pod && (!subresource.is_empty() || !template.is_object()) {
        return Ok(());
    }
    let namespace = call.core.lookup("", "namespaces", "", &call.request.namespace);
    let Some(namespace) = namespace else { return Ok(()) };
    let (policy, problems) = Policy::of(&namespace.meta().labels);
    let rules = [policy.enforce, policy.audit, policy.warn];
    let first = usize::from(!is_pod);
    if problems.is_empty() && rules[first..].iter().all(|rule| rule.level == Level::Privileged) {
        if is_pod {
            evaluated(review, policy.enforce, Mode::Enforce, true);
        }
        return Ok(());
    }
    if is_pod && review.old.is_some_and(|old| !is_significant(object, old)) {
        return Ok(());
    }
    if !problems.is_empty() {
        unreadable(review);
        let texts: Vec<String> = problems.iter().map(|own| format!("{}: {}", own.field, own.message)).collect();
        let text = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        said.annotations.push((format!("{PREFIX}error"), format!("Failed to parse policy: {text}")));
    }
    let pod = Pod { metadata: &template["metadata"], spec: &template["spec"] };
    let judged = |rule: Rule| evaluate(rule, call.core.minor, &pod);
    let mut refused = Ok(());
    if is_pod {
        said.annotations.push((format!("{PREFIX}enforce-policy"), policy.enforce.to_string()));
        let found = judged(policy.enforce);
        evaluated(review, policy.enforce, Mode::Enforce, found.is_empty());
        if !found.is_empty() {
            let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&found));
            refused = Err(forbidden(review, object, &why));
        }
    }
    let would = |rule: Rule| {
        let found = judged(rule);
        (!found.is_empty()).then(|| format!("would violate PodSecurity \"{rule}\": {}", details(&found)))
    };
    if let Some(text) = would(policy.audit) {
        evaluated(review, policy.audit, Mode::Audit, false);
        said.annotations.push((format!("{PREFIX}audit-violations"), text));
    }
    if refused.is_ok()
        && let Some(text) = would(policy.warn)
    {
        evaluated(review, policy.warn, Mode::Warn, false);
        said.warnings.push(text);
    }
    refused
}

/// Whether an update changes what the checks look at: the images, or which containers there are.
fn is_significant(new: &Value, old: &Value) -> bool {
    let list = |pod: &Value, field: &str| -> Vec<(Value, Value)> {
        let list = pod["spec"][field].as_array().into_iter().flatten();
        list.map(|container| (container["name"].clone(), container["image"].clone())).collect()
    };
    for field in ["containers", "initContainers"] {
        let (new, old) = (list(new, field), list(old, field));
        if new.len() != old.len() || new.iter().zip(&old).any(|(new, old)| new.1 != old.1) {
            return true;
        }
    }
    let old = list(old, "ephemeralContainers");
    list(new, "ephemeralContainers").iter().any(|container| !old.contains(container))
}

/// Labels must be sound, and whoever makes them stricter is told which pods are against them.
fn namespace(review: &Review<'_, '_>, object: &Value, said: &mut Said) -> Result<(), ApiError> {
    let (policy, problems) = Policy::of(&rules::labels(object));
    let name = object["metadata"]["name"].as_str().unwrap_or("");
    let invalid = |problems| Err(ApiError::invalid("", "Namespace", name, problems));
    let old = match (review.operation, review.old) {
        (Operation::Update, Some(old)) => old,
        _ if problems.is_empty() => return Ok(()),
        _ => return invalid(problems),
    };
    let (before, old_problems) = Policy::of(&rules::labels(old));
    if !problems.is_empty() && problems != old_problems {
        return invalid(problems);
    }
    let (new, old) = (policy.enforce, before.enforce);
    let relaxed = new.version == old.version && new.level <= old.level;
    if new != old && new.level != Level::Privileged && !relaxed {
        said.warnings.extend(existing(review, name, new));
    }
    Ok(())
}

/// What is wrong with the pods of a namespace, one warning for all that have the same.
fn existing(review: &Review<'_, '_>, namespace: &str, rule: Rule) -> Vec<String> {
    let core = review.call.core;
    let pods = core.lookup_all("", "pods", namespace);
    let all = pods.len();
    // One of each controller first: the others will be like it.
    let mut controllers = BTreeSet::new();
    let is_first = |pod: &std::sync::Arc<Object>| {
        pod.meta().controller().is_none_or(|owner| controllers.insert(owner.uid.clone()))
    };
    let (mut first, more): (Vec<_>, Vec<_>) = pods.into_iter().partition(is_first);
    first.extend(more);
    first.truncate(MAX_PODS);
    let mut found = BTreeMap::<String, (String, usize)>::new();
    for pod in &first {
        let value = pod.value();
        let own = evaluate(rule, core.minor, &Pod { metadata: &value["metadata"], spec: &value["spec"] });
        if own.is_empty() {
            continue;
        }
        let name = pod.meta().name.clone();
        let entry = found.entry(reasons(&own)).or_insert_with(|| (name.clone(), 0));
        entry.0 = entry.0.clone().min(name);
        entry.1 += 1;
    }
    let mut warnings = Vec::new();
    if first.len() < all {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {} of {all} existing pods",
            first.len()
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{rule}\""
        ));
    }
    let mut texts: Vec<String> = found
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            count => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    texts.sort();
    warnings.append(&mut texts);
    warnings
}
