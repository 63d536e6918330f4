//! StatefulSet: pods with names and volumes of their own.

use k8s_object::Cause;
use serde_json::{Value, json};

use super::persistent_volume_claim as claim;
use crate::causes::{forbidden, invalid, non_negative, not_supported, required};
use crate::columns::{AGE, CONTAINERS, Column, IMAGES, NAME};
use crate::fields::{at, carry_over, child, default_to, default_zero_to, int, is_empty, items, items_mut, text};
use crate::pod_spec::validate_template;
use crate::workload::{self, int_or_percent, percent};
use crate::{Context, Kind, SCALE, STATUS, names};

pub(crate) static KIND: Kind = Kind {
    group: "apps",
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    type_name: "io.k8s.api.apps.v1.StatefulSet",
    subresources: &[SCALE, STATUS],
    columns: &[
        NAME,
        Column::text("Ready", "Ready pods, of all that are wanted.", |object, _| {
            format!("{}/{}", int(object, "status.readyReplicas"), int(object, "spec.replicas")).into()
        }),
        AGE,
        CONTAINERS,
        IMAGES,
    ],
    name_rule: names::label,
    has_generation: true,
    default,
    prepare_create: |object, context| {
        workload::prepare_create(object, context);
        drop_max_unavailable(object, context);
    },
    prepare_update: |object, context| {
        workload::prepare_update(object, context);
        drop_max_unavailable(object, context);
    },
    validate,
    warnings,
    ..Kind::BASE
};

/// The first minor that serves `maxUnavailable` by default (feature `MaxUnavailableStatefulSet`).
const MAX_UNAVAILABLE_SINCE: u8 = 35;

fn default(object: &mut Value, context: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    default_zero_to(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = child(spec, "updateStrategy") {
        if text(strategy, "type").is_empty() {
            default_zero_to(strategy, "type", "RollingUpdate");
            default_to(strategy, "rollingUpdate", json!({}));
        }
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = strategy.get_mut("rollingUpdate").filter(|rolling| rolling.is_object())
        {
            default_to(rolling, "partition", 0);
            if context.minor >= MAX_UNAVAILABLE_SINCE {
                default_to(rolling, "maxUnavailable", 1);
            }
        }
    }
    if let Some(policy) = child(spec, "persistentVolumeClaimRetentionPolicy") {
        default_zero_to(policy, "whenDeleted", "Retain");
        default_zero_to(policy, "whenScaled", "Retain");
    }
    default_to(spec, "replicas", 1);
    default_to(spec, "revisionHistoryLimit", 10);
    for template in items_mut(spec, "volumeClaimTemplates") {
        default_to(template, "apiVersion", "v1");
        default_to(template, "kind", "PersistentVolumeClaim");
        claim::default_claim(template);
    }
    workload::default_template(spec);
}

/// What the minor does not serve goes, unless it was there.
fn drop_max_unavailable(object: &mut Value, context: &Context<'_>) {
    const FIELD: &str = "spec.updateStrategy.rollingUpdate.maxUnavailable";
    let was_there = context.old.is_some_and(|old| !at(old, FIELD).is_null());
    if context.minor < MAX_UNAVAILABLE_SINCE
        && !was_there
        && let Some(rolling) = object.pointer_mut("/spec/updateStrategy/rollingUpdate").and_then(Value::as_object_mut)
    {
        rolling.remove("maxUnavailable");
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        return validate_status(object, context);
    }
    let spec = at(object, "spec");
    let Some(old) = context.old else { return judge(spec, Updating::No, context.minor) };
    let old = at(old, "spec");
    // What could not be created today may stay as it is.
    let was_wrong = !judge(old, Updating::Yes { skip_template: false }, context.minor).is_empty();
    let mut causes = judge(spec, Updating::Yes { skip_template: was_wrong }, context.minor);
    let mut rest = spec.clone();
    for key in [
        "replicas",
        "template",
        "updateStrategy",
        "minReadySeconds",
        "ordinals",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
    ] {
        carry_over(&mut rest, old, key);
    }
    if rest != *old {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        causes.push(forbidden("spec", detail));
    }
    causes
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Updating {
    No,
    Yes { skip_template: bool },
}

fn judge(spec: &Value, updating: Updating, minor: u8) -> Vec<Cause> {
    let mut causes = Vec::new();
    match text(spec, "podManagementPolicy") {
        "" => causes.push(required("spec.podManagementPolicy", "")),
        "OrderedReady" | "Parallel" => {}
        other => {
            causes.push(invalid("spec.podManagementPolicy", other, "must be 'OrderedReady' or 'Parallel'"));
        }
    }
    causes.extend(strategy(at(spec, "updateStrategy")));
    for key in ["whenDeleted", "whenScaled"] {
        let policy = at(at(spec, "persistentVolumeClaimRetentionPolicy"), key);
        if !matches!(policy.as_str(), None | Some("Delete" | "Retain")) {
            let field = format!("spec.persistentVolumeClaimRetentionPolicy.{key}");
            causes.push(not_supported(field, policy.clone(), &["Retain", "Delete"]));
        }
    }
    if updating == Updating::No {
        for (index, template) in items(spec, "volumeClaimTemplates").iter().enumerate() {
            let field = format!("spec.volumeClaimTemplates[{index}].spec");
            causes.extend(claim::validate_spec(at(template, "spec"), &field));
        }
    }
    for key in ["replicas", "minReadySeconds", "ordinals.start"] {
        causes.extend(non_negative(format!("spec.{key}"), at(spec, key)));
    }
    let service = text(spec, "serviceName");
    if updating == Updating::No && !service.is_empty() {
        let problems = names::label(service, false);
        causes.extend(problems.iter().map(|problem| invalid("spec.serviceName", service, problem)));
    }
    let selector = at(spec, "selector");
    if selector.is_null() {
        causes.push(required("spec.selector", ""));
    } else {
        causes.extend(names::label_selector(selector, "spec.selector"));
        if is_empty(at(selector, "matchLabels")) && is_empty(at(selector, "matchExpressions")) {
            causes.push(invalid("spec.selector", selector.clone(), "empty selector is invalid for statefulset"));
        }
    }
    causes.extend(template(spec, updating, minor));
    causes
}

fn template(spec: &Value, updating: Updating, minor: u8) -> Vec<Cause> {
    const FIELD: &str = "spec.template";
    let own = at(spec, "template");
    let mut causes = Vec::new();
    let selector = at(spec, "selector");
    let Some(matches) = workload::selects(selector, at(own, "metadata.labels")) else {
        // Upstream looks no further then.
        return vec![invalid("spec.selector", selector.clone(), "")];
    };
    if !matches {
        let labels = at(own, "metadata.labels").clone();
        let detail = "`selector` does not match template `labels`";
        causes.push(invalid(format!("{FIELD}.metadata.labels"), labels, detail));
    }
    if updating != (Updating::Yes { skip_template: true }) {
        causes.extend(validate_template(&with_claims(spec), FIELD, minor));
    }
    let policy = text(own, "spec.restartPolicy");
    if !matches!(policy, "Always" | "") {
        causes.push(not_supported(format!("{FIELD}.spec.restartPolicy"), policy, &["Always"]));
    }
    if !at(own, "spec.activeDeadlineSeconds").is_null() {
        let detail = "activeDeadlineSeconds in StatefulSet is not Supported";
        causes.push(forbidden(format!("{FIELD}.spec.activeDeadlineSeconds"), detail));
    }
    causes
}

/// The template as its pods will have it: with the volumes of the claims, and names that the controller gives.
fn with_claims(spec: &Value) -> Value {
    let mut template = at(spec, "template").clone();
    let claims: Vec<&str> =
        items(spec, "volumeClaimTemplates").iter().map(|claim| text(claim, "metadata.name")).collect();
    let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) else { return template };
    pod.remove("hostname");
    pod.remove("subdomain");
    if !claims.is_empty() {
        let of_claims = claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
        let mut volumes: Vec<Value> = of_claims.collect();
        let own = pod.get("volumes").and_then(Value::as_array).into_iter().flatten();
        volumes.extend(own.filter(|volume| !claims.contains(&text(volume, "name"))).cloned());
        pod.insert("volumes".to_owned(), volumes.into());
    }
    template
}

fn strategy(strategy: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.updateStrategy";
    let rolling = at(strategy, "rollingUpdate");
    match text(strategy, "type") {
        "" => return vec![required(FIELD, "")],
        "OnDelete" if !rolling.is_null() => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            return vec![invalid(format!("{FIELD}.rollingUpdate"), rolling.clone(), detail)];
        }
        "OnDelete" => return Vec::new(),
        "RollingUpdate" => {}
        _ => return vec![invalid(FIELD, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'")],
    }
    let mut causes: Vec<Cause> =
        non_negative(format!("{FIELD}.rollingUpdate.partition"), at(rolling, "partition")).into_iter().collect();
    let most = at(rolling, "maxUnavailable");
    if !most.is_null() {
        let field = format!("{FIELD}.rollingUpdate.maxUnavailable");
        causes.extend(int_or_percent(most, &field));
        if percent(most).or(most.as_i64()).unwrap_or_default() == 0 {
            causes.push(invalid(&field, most.clone(), "cannot be 0"));
        }
        if percent(most).is_some_and(|percent| percent > 100) {
            causes.push(invalid(&field, most.clone(), "must not be greater than 100%"));
        }
    }
    causes
}

fn validate_status(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let status = at(object, "status");
    let counts = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    let mut causes: Vec<Cause> =
        counts.iter().filter_map(|key| non_negative(format!("status.{key}"), at(status, key))).collect();
    for (few, many) in [
        ("readyReplicas", "replicas"),
        ("currentReplicas", "replicas"),
        ("updatedReplicas", "replicas"),
        ("availableReplicas", "replicas"),
        ("availableReplicas", "readyReplicas"),
    ] {
        if int(status, few) > int(status, many) {
            let detail = format!("cannot be greater than status.{many}");
            causes.push(invalid(format!("status.{few}"), int(status, few), &detail));
        }
    }
    causes.extend(workload::collisions(object, context));
    causes
}

fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    if !context.is_main() {
        return Vec::new();
    }
    let mut warnings = workload::warnings(object, context);
    // Upstream writes the path so on update.
    let part = if context.old.is_some() { ".Spec" } else { "" };
    for (index, template) in items(object, "spec.volumeClaimTemplates").iter().enumerate() {
        let field = format!("spec.volumeClaimTemplates[{index}]{part}");
        warnings.extend(claim::spec_warnings(at(template, "spec"), &field));
    }
    if int(object, "spec.revisionHistoryLimit") < 0 {
        let words = "a negative value retains all historical revisions; a value >= 0 is recommended";
        warnings.push(format!("spec.revisionHistoryLimit: {words}"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use world::Timestamp;

    fn set(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
        }});
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object
    }

    fn check(mut object: Value, old: Option<&Value>, minor: u8) -> Vec<String> {
        let context = Context { minor, now: Timestamp::from_seconds(0), old, subresource: "" };
        default(&mut object, &context);
        let causes = validate(&object, &context);
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn broken_sets_are_refused() {
        let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        let mounted = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
            {"name": "c", "image": "nginx", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}});
        let cases = [
            (json!({}), vec![]),
            (json!({"volumeClaimTemplates": [claim], "template": mounted}), vec![]),
            (
                json!({"template": mounted}),
                vec![r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data""#],
            ),
            (
                json!({"podManagementPolicy": "Odd"}),
                vec![r#"spec.podManagementPolicy: Invalid value: "Odd": must be 'OrderedReady' or 'Parallel'"#],
            ),
            (
                json!({"serviceName": "A"}),
                vec![
                    r#"spec.serviceName: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#,
                ],
            ),
            (
                json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}}),
                vec![
                    "spec.updateStrategy.rollingUpdate: Invalid value: {}: only allowed for updateStrategy 'RollingUpdate'",
                ],
            ),
            (
                json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Odd"}}),
                vec![
                    r#"spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Odd": supported values: "Retain", "Delete""#,
                ],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(check(set(spec.clone()), None, 34), expected, "{spec}");
        }
    }

    #[test]
    fn only_what_may_change_changes() {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" };
        let mut old = set(json!({}));
        default(&mut old, &context);
        assert!(check(set(json!({"replicas": 3, "ordinals": {"start": 1}})), Some(&old), 34).is_empty());
        let causes = check(set(json!({"serviceName": "other"})), Some(&old), 34);
        assert_eq!(causes.len(), 1);
        assert!(
            causes[0].starts_with("spec: Forbidden: updates to statefulset spec for fields other than"),
            "{causes:?}"
        );
    }

    #[test]
    fn what_a_minor_does_not_serve_goes() {
        for (minor, kept) in [(34, false), (35, true)] {
            let context = Context { minor, now: Timestamp::from_seconds(0), old: None, subresource: "" };
            let mut object =
                set(json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}}));
            (KIND.prepare_create)(&mut object, &context);
            assert_eq!(!at(&object, "spec.updateStrategy.rollingUpdate.maxUnavailable").is_null(), kept, "1.{minor}");
        }
    }
}
