//! Job: pods that run to their end.

use k8s_object::Cause;
use serde_json::{Value, json};
use world::Timestamp;

use super::{job_rules as rules, job_status};
use crate::causes::{immutable, invalid, required};
use crate::columns::{AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR};
use crate::fields::{at, carry_over, child, default_to, default_zero_to, flag, int, is_empty, items, items_mut, text};
use crate::strategy::is_terminating;
use crate::{Context, Kind, STATUS, human_duration, names, workload};

pub(crate) static KIND: Kind = Kind {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    type_name: "io.k8s.api.batch.v1.Job",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("Status", "How it goes, or how it ended.", |object, _| state(object).into()),
        Column::text("Completions", "Pods that ended well, of all that should.", |object, _| {
            completions(object).into()
        }),
        Column::text("Duration", "Time from its start to its end, or until now.", |object, now| {
            duration(object, now).into()
        }),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    selectable: &["status.successful"],
    field: |object, _| int(object, "status.succeeded").to_string().into(),
    has_generation: true,
    orphans_by_default: true,
    default,
    prepare_create,
    prepare_update: workload::prepare_update,
    validate,
    warnings,
    ..Kind::BASE
};

const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

fn default(object: &mut Value, context: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    default_spec(spec);
    default_run(spec);
    // Upstream's new Job has the very map of its template then, and with it what is added to that; see `prepare_create`.
    if context.old.is_some() {
        default_labels(object);
    }
}

/// A Job that has no labels has those of its template.
fn default_labels(object: &mut Value) {
    if is_empty(at(object, "metadata.labels")) && !at(object, "spec.template.metadata.labels").is_null() {
        let template = at(object, "spec.template.metadata").clone();
        if let Some(metadata) = child(object, "metadata") {
            carry_over(metadata, &template, "labels");
        }
    }
}

/// What is defaulted in the template of a CronJob too.
pub(super) fn default_spec(spec: &mut Value) {
    if let Some(policy) = spec.get_mut("podFailurePolicy") {
        for rule in items_mut(policy, "rules") {
            for pattern in items_mut(rule, "onPodConditions") {
                default_zero_to(pattern, "status", "True");
            }
        }
    }
    workload::default_template(spec);
}

/// What is defaulted when it is to run.
fn default_run(spec: &mut Value) {
    if at(spec, "completions").is_null() && at(spec, "parallelism").is_null() {
        default_to(spec, "completions", 1);
    }
    default_to(spec, "parallelism", 1);
    let limit = if at(spec, "backoffLimitPerIndex").is_null() { 6 } else { i64::from(i32::MAX) };
    default_to(spec, "backoffLimit", limit);
    default_to(spec, "completionMode", "NonIndexed");
    default_to(spec, "suspend", false);
    let replacement = if at(spec, "podFailurePolicy").is_null() { "TerminatingOrFailed" } else { "Failed" };
    default_to(spec, "podReplacementPolicy", replacement);
    default_to(spec, "manualSelector", false);
}

fn prepare_create(object: &mut Value, context: &Context<'_>) {
    workload::prepare_create(object, context);
    if !flag(object, "spec.manualSelector") {
        generate_selector(object);
    }
    // Where its template had none either, upstream finds them when it reads the object back.
    default_labels(object);
}

/// Its pods carry its name and uid, and it selects them by the uid.
fn generate_selector(object: &mut Value) {
    let name = text(object, "metadata.name").to_owned();
    let uid = text(object, "metadata.uid").to_owned();
    let Some(spec) = child(object, "spec") else { return };
    let template = child(spec, "template").and_then(|template| child(template, "metadata"));
    if let Some(labels) = template.and_then(|metadata| child(metadata, "labels")) {
        for (keys, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
            for key in keys {
                if labels.get(key).is_none() {
                    labels[key] = json!(value);
                }
            }
        }
    }
    if let Some(labels) = child(spec, "selector").and_then(|selector| child(selector, "matchLabels"))
        && labels.get(UID_LABELS[1]).is_none()
    {
        labels[UID_LABELS[1]] = json!(uid);
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        return match context.old {
            Some(old) => job_status::validate(object, old),
            None => Vec::new(),
        };
    }
    let spec = at(object, "spec");
    let mut causes = generated_selector(object, context.old);
    causes.extend(rules::validate(spec, "spec", context.minor));
    let selector = at(spec, "selector");
    if selector.is_null() {
        causes.push(required("spec.selector", ""));
    } else {
        causes.extend(names::label_selector(selector, "spec.selector"));
    }
    let labels = at(spec, "template.metadata.labels");
    if selector.is_null() || workload::selects(selector, labels) == Some(false) {
        let detail = "`selector` does not match template `labels`";
        causes.push(invalid("spec.template.metadata.labels", labels.clone(), detail));
    }
    if let Some(completions) = at(spec, "completions").as_i64().filter(|completions| *completions > 0)
        && text(spec, "completionMode") == "Indexed"
    {
        let name = text(object, "metadata.name");
        let longest = format!("{name}-{}", completions - 1);
        if !names::label(&longest, false).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {longest}");
            causes.push(invalid("metadata.name", name, &detail));
        }
    }
    if let Some(old) = context.old {
        causes.extend(updated(spec, old, context.minor));
    }
    causes
}

/// A selector that the server made selects this Job's pods and no others.
fn generated_selector(object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = at(object, "spec");
    if flag(spec, "manualSelector") || at(spec, "selector").is_null() {
        return causes;
    }
    let (name, uid) = (text(object, "metadata.name"), text(object, "metadata.uid"));
    if uid.is_empty() {
        causes.push(required("metadata.uid", ""));
    }
    // Jobs from before there were prefixed labels do without.
    let had = |old: &Value| {
        let labels = at(old, "spec.template.metadata.labels");
        labels.get(NAME_LABELS[1]).is_some() && labels.get(UID_LABELS[1]).is_some()
    };
    let prefixed = old.is_none_or(had);
    let own = at(spec, "template.metadata.labels");
    let mut expected = json!({});
    for at in 0..if prefixed { 2 } else { 1 } {
        for (key, value) in [(UID_LABELS[at], uid), (NAME_LABELS[at], name)] {
            let field = format!("spec.template.metadata.labels[{key}]");
            let detail = format!("must be '{value}'");
            match own.get(key) {
                None => causes.push(required(field, &detail)),
                Some(label) if label != value => causes.push(invalid(field, own.clone(), &detail)),
                Some(_) => {}
            }
            expected[key] = json!(value);
        }
    }
    let selector = at(spec, "selector");
    if workload::selects(selector, &expected) == Some(false) {
        causes.push(invalid("spec.selector", selector.clone(), "`selector` not auto-generated"));
    }
    causes
}

fn updated(spec: &Value, old_job: &Value, minor: u8) -> Vec<Cause> {
    let old = at(old_job, "spec");
    let unchanged = |key: &str| {
        let (now, was) = (at(spec, key), at(old, key));
        (now != was).then(|| immutable(format!("spec.{key}"), now))
    };
    let (completions, is_indexed) = (at(spec, "completions"), text(spec, "completionMode") == "Indexed");
    let mut causes = Vec::from_iter(unchanged("completions").filter(|_| !is_indexed));
    causes.extend(unchanged("selector"));
    causes.extend(template_updated(at(spec, "template"), old_job, minor));
    let others = ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];
    causes.extend(others.into_iter().filter_map(unchanged));
    if is_indexed
        && completions != at(old, "completions")
        && !completions.is_null()
        && completions != at(spec, "parallelism")
    {
        let detail = "can only be modified in tandem with spec.parallelism";
        causes.push(invalid("spec.completions", completions.clone(), detail));
    }
    causes
}

/// While it is suspended and has no pods, it may be said where they will go and what they will need: from 1.36 on whenever that is
/// so, and before only where they will go, of a Job that has never started (features `MutableSchedulingDirectivesForSuspendedJobs`
/// and `MutablePodResourcesForSuspendedJobs`).
fn template_updated(template: &Value, old_job: &Value, minor: u8) -> Option<Cause> {
    let (suspended, is_new) = (flag(old_job, "spec.suspend"), minor >= 36);
    let told = |condition: &Value| text(condition, "type") == "Suspended" && text(condition, "status") == "True";
    let is_idle = items(old_job, "status.conditions").iter().any(told) && int(old_job, "status.active") == 0;
    let has_started = !text(old_job, "status.startTime").is_empty();
    let old = at(old_job, "spec.template");
    if !suspended || !(if is_new { is_idle } else { !has_started }) {
        return (template != old).then(|| immutable("spec.template", template));
    }
    let mut allowed = with_directives_of(template, old);
    let mut keys = &["metadata", "spec"][..];
    if is_new {
        // As upstream, which then compares pods alone.
        keys = &keys[1..];
        if let Some(pod) = child(&mut allowed, "spec") {
            carry_over_resources(pod, at(old, "spec"));
        }
    }
    let is_same = |key: &&str| {
        let (new, old) = (at(&allowed, key), at(old, key));
        new == old || (is_empty(new) && is_empty(old))
    };
    if keys.iter().all(is_same) {
        return None;
    }
    Some(match is_new {
        true => immutable("spec.template.spec", at(template, "spec")),
        false => immutable("spec.template", template),
    })
}

/// Gives containers the resources that they had, where they have kept their places.
fn carry_over_resources(pod: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let before = items(old, list);
        if items(pod, list).len() != before.len() {
            continue;
        }
        for (container, was) in items_mut(pod, list).zip(before) {
            if text(container, "name") == text(was, "name") {
                carry_over(container, was, "resources");
            }
        }
    }
}

/// A template with what the old one says about where its pods go.
fn with_directives_of(template: &Value, old: &Value) -> Value {
    let mut allowed = template.clone();
    if let Some(metadata) = child(&mut allowed, "metadata") {
        for key in ["annotations", "labels"] {
            carry_over(metadata, at(old, "metadata"), key);
        }
    }
    if let Some(pod) = child(&mut allowed, "spec") {
        for key in ["nodeSelector", "schedulingGates", "tolerations"] {
            carry_over(pod, at(old, "spec"), key);
        }
        let without = |affinity: &Value| {
            let mut affinity = affinity.clone();
            if let Some(map) = affinity.as_object_mut() {
                map.remove("nodeAffinity");
            }
            affinity
        };
        let (new, was) = (without(at(pod, "affinity")), without(at(old, "spec.affinity")));
        if new == was || (is_empty(&new) && is_empty(&was)) {
            carry_over(pod, at(old, "spec"), "affinity");
        }
    }
    allowed
}

fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    let mut warnings = names::hostname_warnings(object, context, "Pod names and hostnames");
    if workload::is_new_specification(object, context) {
        warnings.extend(rules::warnings(at(object, "spec"), "spec"));
    }
    warnings
}

fn state(object: &Value) -> &'static str {
    let is_true = |kind: &str| job_status::is_true(object, kind);
    match () {
        () if is_true("Complete") => "Complete",
        () if is_true("Failed") => "Failed",
        () if is_terminating(object) => "Terminating",
        () if is_true("Suspended") => "Suspended",
        () if is_true("FailureTarget") => "FailureTarget",
        () if is_true("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(object: &Value) -> String {
    let done = int(object, "status.succeeded");
    match (at(object, "spec.completions").as_i64(), int(object, "spec.parallelism")) {
        (Some(all), _) => format!("{done}/{all}"),
        (None, parallelism @ 2..) => format!("{done}/1 of {parallelism}"),
        (None, _) => format!("{done}/1"),
    }
}

fn duration(object: &Value, now: Timestamp) -> String {
    let moment = |path: &str| Timestamp::parse(text(object, path)).ok();
    match (moment("status.startTime"), moment("status.completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => human_duration(end.unwrap_or(now).since(start)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn job(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {
            "template": {"spec": {"containers": [{"name": "c", "image": "busybox"}], "restartPolicy": "Never"}},
        }});
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object
    }

    fn context(old: Option<&Value>) -> Context<'_> {
        Context { minor: 34, now: Timestamp::from_seconds(0), old, subresource: "" }
    }

    fn created(spec: Value) -> Value {
        let mut object = job(spec);
        default(&mut object, &context(None));
        prepare_create(&mut object, &context(None));
        object
    }

    #[test]
    fn a_job_without_labels_has_all_of_its_template() {
        let labels = |object: &Value| {
            let labels = object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
            labels.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {}});
        let generated =
            ["app", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];
        assert_eq!(labels(&created(json!({"template": template}))), generated);
        assert_eq!(labels(&created(json!({"template": template, "manualSelector": true}))), ["app"]);
        // One that has its own keeps to them, even if they are the same.
        let mut own = job(json!({"template": template}));
        own["metadata"]["labels"] = json!({"app": "a"});
        default(&mut own, &context(None));
        prepare_create(&mut own, &context(None));
        assert_eq!(labels(&own), ["app"]);
        // And one that loses them has them again.
        let old = created(json!({"template": template}));
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({});
        default(&mut new, &context(Some(&old)));
        assert_eq!(labels(&new), generated);
    }

    fn said(causes: Vec<Cause>) -> Vec<String> {
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn a_job_selects_its_own_pods() {
        let object = created(json!({}));
        let spec = &object["spec"];
        assert_eq!(object["metadata"]["labels"], spec["template"]["metadata"]["labels"]);
        assert_eq!(spec["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}));
        assert_eq!(
            spec["template"]["metadata"]["labels"],
            json!({"job-name": "j", "batch.kubernetes.io/job-name": "j", "controller-uid": "u", "batch.kubernetes.io/controller-uid": "u"})
        );
        assert_eq!(
            (&spec["completions"], &spec["parallelism"], &spec["backoffLimit"], &spec["podReplacementPolicy"]),
            (&json!(1), &json!(1), &json!(6), &json!("TerminatingOrFailed"))
        );
        assert_eq!(said(validate(&object, &context(None))), Vec::<String>::new());
        let foreign = created(json!({"selector": {"matchLabels": {"a": "b"}}}));
        assert_eq!(
            said(validate(&foreign, &context(None))),
            [
                r#"spec.selector: Invalid value: {"matchLabels":{"a":"b","batch.kubernetes.io/controller-uid":"u"}}: `selector` not auto-generated"#,
                r#"spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"j","controller-uid":"u","job-name":"j"}: `selector` does not match template `labels`"#,
            ]
        );
    }

    #[test]
    fn only_what_may_change_changes() {
        let old = created(json!({}));
        let mut indexed = created(json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}));
        let with = |old: &Value, path: &str, value: Value| {
            let mut new = old.clone();
            *new.pointer_mut(path).unwrap() = value;
            said(validate(&new, &context(Some(old))))
        };
        assert!(with(&old, "/spec/parallelism", json!(3)).is_empty());
        assert_eq!(
            with(&old, "/spec/completions", json!(3)),
            ["spec.completions: Invalid value: 3: field is immutable"]
        );
        assert_eq!(
            with(&indexed, "/spec/completions", json!(3)),
            ["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"]
        );
        assert_eq!(with(&old, "/spec/template/spec/restartPolicy", json!("OnFailure")).len(), 1);
        indexed["spec"]["suspend"] = json!(true);
        indexed["spec"]["template"]["spec"]["nodeSelector"] = json!({});
        assert!(with(&indexed, "/spec/template/spec/nodeSelector", json!({"a": "b"})).is_empty());
        indexed["status"] = json!({"startTime": "2026-01-01T00:00:00Z"});
        assert_eq!(with(&indexed, "/spec/template/spec/nodeSelector", json!({"a": "b"})).len(), 1);
    }

    #[test]
    fn a_suspended_job_without_pods_may_change_what_they_need() {
        let mut old = created(json!({"suspend": true}));
        old["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
        old["spec"]["template"]["spec"]["nodeSelector"] = json!({});
        let started =
            json!({"startTime": "2026-01-01T00:00:00Z", "conditions": [{"type": "Suspended", "status": "True"}]});
        let mut running = started.clone();
        running["active"] = json!(1);
        let (selector, container) = ("/spec/template/spec/nodeSelector", "/spec/template/spec/containers/0");
        let (cpu, image) = (format!("{container}/resources/requests/cpu"), format!("{container}/image"));
        let cases = [
            (34, json!({}), selector, None),
            (34, json!({}), &cpu, Some("spec.template")),
            (34, started.clone(), selector, Some("spec.template")),
            (36, json!({}), selector, Some("spec.template")),
            (36, started.clone(), selector, None),
            (36, started.clone(), &cpu, None),
            (36, started, &image, Some("spec.template.spec")),
            (36, running, &cpu, Some("spec.template")),
        ];
        for (minor, status, path, field) in cases {
            old["status"] = status;
            let mut new = old.clone();
            *new.pointer_mut(path).unwrap() = if path == selector { json!({"a": "b"}) } else { json!("2") };
            let causes = validate(&new, &Context { minor, ..context(Some(&old)) });
            let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
            assert_eq!(fields, Vec::from_iter(field), "1.{minor} {path} {}", old["status"]);
        }
    }

    #[test]
    fn jobs_show_how_they_go() {
        let now = Timestamp::parse("2026-01-01T00:01:00Z").unwrap();
        let cases = [
            (json!({"spec": {"completions": 2}}), ("Running", "0/2", "")),
            (json!({"spec": {"parallelism": 3}, "status": {"succeeded": 1}}), ("Running", "1/1 of 3", "")),
            (
                json!({"spec": {}, "status": {"startTime": "2026-01-01T00:00:00Z", "conditions": [{"type": "Suspended", "status": "True"}]}}),
                ("Suspended", "0/1", "60s"),
            ),
            (
                json!({"spec": {"completions": 1}, "status": {"succeeded": 1, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:05Z", "conditions": [{"type": "Complete", "status": "True"}]}}),
                ("Complete", "1/1", "5s"),
            ),
        ];
        for (job, expected) in cases {
            assert_eq!((state(&job), &completions(&job)[..], &duration(&job, now)[..]), expected, "{job}");
        }
    }
}
