//! What workloads share.

use k8s_object::{Cause, LabelSelector, Properties};
use serde::Deserialize;
use serde_json::Value;

use crate::Context;
use crate::causes::{forbidden, immutable, invalid, non_negative, not_supported, required};
use crate::fields::{at, child, is_empty, text};
use crate::names;
use crate::pod_spec::{default_spec, validate_template};
use crate::strategy::{drop_status, keep_apart};

/// Defaults of `spec.template`.
pub(crate) fn default_template(spec: &mut Value) {
    if let Some(template) = child(spec, "template").and_then(|template| child(template, "spec")) {
        default_spec(template);
    }
}

/// Before create: no status, and nothing in the template that the minor does not serve.
pub(crate) fn prepare_create(object: &mut Value, context: &Context<'_>) {
    drop_status(object, context);
    drop_unserved(object, TEMPLATE, context);
}

/// Before update: as [`keep_apart`], and nothing new in the template that the minor does not serve.
pub(crate) fn prepare_update(object: &mut Value, context: &Context<'_>) {
    keep_apart(object, context);
    drop_unserved(object, TEMPLATE, context);
}

/// Where the pod's specification stands in most workloads.
const TEMPLATE: &str = "/spec/template/spec";

/// Takes what the minor does not serve out of the pod's specification at a JSON pointer.
pub(crate) fn drop_unserved(object: &mut Value, pointer: &str, context: &Context<'_>) {
    let old = context.old.and_then(|old| old.pointer(pointer));
    if let Some(spec) = object.pointer_mut(pointer) {
        crate::pod_spec::drop_unserved(spec, old, context.minor);
    }
}

/// Whether a structured selector selects these labels: none selects nothing, and one that is wrong says nothing.
pub(crate) fn selects(selector: &Value, labels: &Value) -> Option<bool> {
    if selector.is_null() {
        return Some(false);
    }
    if !names::label_selector(selector, "").is_empty() {
        return None;
    }
    let selector = LabelSelector::deserialize(selector).ok()?;
    let labels: Properties = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
        .collect();
    Some(selector.matches(&labels))
}

/// Rules for `spec.replicas`, `spec.selector` and `spec.template`.
pub(crate) fn validate(object: &Value, kind: &str, context: &Context<'_>) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    for key in ["minReadySeconds", "replicas"] {
        causes.extend(non_negative(format!("spec.{key}"), at(spec, key)));
    }
    let selector = at(spec, "selector");
    if selector.is_null() {
        causes.push(required("spec.selector", ""));
    } else {
        causes.extend(names::label_selector(selector, "spec.selector"));
        if is_empty(at(selector, "matchLabels")) && is_empty(at(selector, "matchExpressions")) {
            causes.push(invalid("spec.selector", selector.clone(), &format!("empty selector is invalid for {kind}")));
        }
    }
    match selects(selector, at(spec, "template.metadata.labels")) {
        Some(matches) => causes.extend(judge_template(at(spec, "template"), matches, "ReplicaSet", context.minor)),
        // Upstream looks no further then.
        None => causes.push(invalid("spec.selector", selector.clone(), "invalid label selector")),
    }
    if let Some(old) = context.old
        && at(old, "spec.selector") != selector
    {
        causes.push(immutable("spec.selector", selector));
    }
    causes
}

/// Rules for the template of a workload whose pods run for ever; `matches` says whether its selector selects them.
pub(crate) fn judge_template(template: &Value, matches: bool, kind: &str, minor: u8) -> Vec<Cause> {
    let mut causes = Vec::new();
    if !matches {
        let labels = at(template, "metadata.labels").clone();
        let detail = "`selector` does not match template `labels`";
        causes.push(invalid("spec.template.metadata.labels", labels, detail));
    }
    causes.extend(validate_template(template, "spec.template", minor));
    let policy = text(template, "spec.restartPolicy");
    if !matches!(policy, "Always" | "") {
        causes.push(not_supported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
    if !at(template, "spec.activeDeadlineSeconds").is_null() {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        causes.push(forbidden("spec.template.spec.activeDeadlineSeconds", &detail));
    }
    causes
}

/// The count of names that were taken only grows.
pub(crate) fn collisions(object: &Value, context: &Context<'_>) -> Option<Cause> {
    const PATH: &str = "status.collisionCount";
    let old = at(context.old?, PATH).as_i64()?;
    let new = at(object, PATH).as_i64();
    new.is_none_or(|new| new < old).then(|| invalid(PATH, new.unwrap_or(0), "cannot be decremented"))
}

/// Whether the write brings a specification that was not there before: only then it is warned of what it says.
pub(crate) fn is_new_specification(object: &Value, context: &Context<'_>) -> bool {
    let generation = |object: &Value| at(object, "metadata.generation").clone();
    context.is_main() && context.old.is_none_or(|old| generation(old) != generation(object))
}

/// Counts in a status are not negative, and neither ready nor available pods outnumber all.
pub(crate) fn validate_status(object: &Value, counts: &[&str]) -> Vec<Cause> {
    let status = &object["status"];
    let mut causes = Vec::new();
    for count in counts {
        causes.extend(non_negative(format!("status.{count}"), at(status, count)));
    }
    let number = |name: &str| status[name].as_i64().unwrap_or_default();
    for (few, many) in [
        ("fullyLabeledReplicas", "replicas"),
        ("updatedReplicas", "replicas"),
        ("readyReplicas", "replicas"),
        ("availableReplicas", "replicas"),
        ("availableReplicas", "readyReplicas"),
    ] {
        if number(few) > number(many) {
            let detail =
                format!("cannot be greater than {}", if many == "replicas" { "status.replicas" } else { many });
            causes.push(invalid(format!("status.{few}"), number(few), &detail));
        }
    }
    causes
}

/// A number or percentage that is not negative.
pub(crate) fn int_or_percent(value: &Value, field: &str) -> Vec<Cause> {
    match value {
        Value::String(text) if is_percent(text) => Vec::new(),
        Value::String(text) => vec![invalid(
            field,
            text.as_str(),
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        )],
        other => non_negative(field, other).into_iter().collect(),
    }
}

fn is_percent(text: &str) -> bool {
    text.strip_suffix('%').is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The percentage, if it is one.
pub(crate) fn percent(value: &Value) -> Option<i64> {
    value.as_str().filter(|text| is_percent(text))?.trim_end_matches('%').parse().ok()
}

/// The warnings of `spec.template`.
pub(crate) fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    if !is_new_specification(object, context) {
        return Vec::new();
    }
    crate::pod_spec::warnings(at(object, "spec.template"), "spec.template")
}
