//! ResourceClaimTemplate: what claims are made for each pod.

use k8s_object::Cause;
use serde_json::Value;

use super::devices::GROUP;
use super::resource_claim::{default_spec, drop_unknown, validate_spec};
use crate::causes::{forbidden, immutable};
use crate::fields::{at, child, is_empty};
use crate::names::{annotations, labels};
use crate::{Context, Kind};

pub(crate) static KIND: Kind = Kind {
    group: GROUP,
    kind: "ResourceClaimTemplate",
    plural: "resourceclaimtemplates",
    singular: "resourceclaimtemplate",
    since: 34,
    type_name: "io.k8s.api.resource.v1.ResourceClaimTemplate",
    default: |object, _| {
        if let Some(spec) = child(object, "spec").and_then(|spec| child(spec, "spec")) {
            default_spec(spec);
        }
    },
    prepare_create: |object, context| drop_unknown(object, "spec.spec", context),
    prepare_update: |object, context| drop_unknown(object, "spec.spec", context),
    validate,
    returns_deleted: true,
    ..Kind::BASE
};

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = annotations(at(spec, "metadata.annotations"), "spec.metadata.annotations");
    causes.extend(labels(at(spec, "metadata.labels"), "spec.metadata.labels"));
    for (key, value) in at(spec, "metadata").as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "annotations" | "labels") && !is_empty(value) {
            causes.push(forbidden(format!("spec.metadata.{key}"), "cannot be set"));
        }
    }
    causes.extend(validate_spec(at(spec, "spec"), "spec.spec", context.old.is_some(), context));
    if context.old.is_some_and(|old| &old["spec"] != spec) {
        causes.push(immutable("spec", spec));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{told, told_of_update};
    use serde_json::json;

    #[test]
    fn templates_are_judged_and_do_not_change() {
        let with = |class: &str| json!({"spec": {"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": class}}]}}}});
        assert!(told(&KIND, &with("c")).is_empty());
        assert_eq!(
            told(
                &KIND,
                &json!({"spec": {"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"devices": {"requests": [{"name": "a"}]}}}})
            ),
            [
                "spec.metadata.name: Forbidden: cannot be set",
                "spec.spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            ]
        );
        assert!(told_of_update(&KIND, &with("c"), &with("d"), "")[0].ends_with("field is immutable"));
    }
}
