//! ReplicationController, the ancestor of ReplicaSet.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{non_negative, required};
use crate::columns::{AGE, CONTAINERS, Column, IMAGES, NAME, labels};
use crate::fields::{at, carry_over, child, default_to, int, is_empty};
use crate::{Context, Kind, SCALE, STATUS, names, workload};

pub(crate) static KIND: Kind = Kind {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    type_name: "io.k8s.api.core.v1.ReplicationController",
    subresources: &[SCALE, STATUS],
    columns: &[
        NAME,
        Column::integer("Desired", "Pods that are wanted.", |object, _| int(object, "spec.replicas").into()),
        Column::integer("Current", "Pods that there are.", |object, _| int(object, "status.replicas").into()),
        Column::integer("Ready", "Pods that are ready.", |object, _| int(object, "status.readyReplicas").into()),
        AGE,
        CONTAINERS,
        IMAGES,
        Column::text("Selector", "Selects the pods that belong to it.", |object, _| {
            labels(at(object, "spec.selector")).into()
        })
        .wide(),
    ],
    selectable: &["status.replicas"],
    field: |object, path| int(object, path).to_string().into(),
    has_generation: true,
    orphans_by_default: true,
    default,
    prepare_create: workload::prepare_create,
    prepare_update: workload::prepare_update,
    validate,
    warnings,
    ..Kind::BASE
};

fn default(object: &mut Value, _: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    default_to(spec, "replicas", 1);
    if !at(spec, "template").is_null() {
        workload::default_template(spec);
    }
    let template = at(spec, "template.metadata").clone();
    if at(&template, "labels").is_null() {
        return;
    }
    // Without a selector it selects what its template makes; without labels it is labelled as that.
    if is_empty(at(spec, "selector"))
        && let Some(map) = spec.as_object_mut()
    {
        map.insert("selector".to_owned(), at(&template, "labels").clone());
    }
    if is_empty(at(object, "metadata.labels"))
        && let Some(metadata) = child(object, "metadata")
    {
        carry_over(metadata, &template, "labels");
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        let counts = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
        return workload::validate_status(object, &counts);
    }
    let spec = at(object, "spec");
    let mut causes: Vec<Cause> =
        non_negative("spec.minReadySeconds", at(spec, "minReadySeconds")).into_iter().collect();
    let selector = at(spec, "selector");
    if is_empty(selector) {
        causes.push(required("spec.selector", ""));
    }
    causes.extend(non_negative("spec.replicas", at(spec, "replicas")));
    let template = at(spec, "template");
    if template.is_null() {
        causes.push(required("spec.template", ""));
        return causes;
    }
    let has = |(key, value): (&String, &Value)| at(template, "metadata.labels").get(key) == Some(value);
    let matches = selector.as_object().into_iter().flatten().all(has);
    causes.extend(workload::judge_template(template, matches, "ReplicationController", context.minor));
    causes
}

fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    let mut warnings = names::hostname_warnings(object, context, "Pod names and hostnames");
    warnings.extend(workload::warnings(object, context));
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use world::Timestamp;

    fn controller(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "web"}, "spec": {
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
        }});
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object
    }

    #[test]
    fn selector_and_labels_come_from_the_template() {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" };
        let mut object = controller(json!({}));
        default(&mut object, &context);
        assert_eq!(object["spec"]["selector"], json!({"app": "web"}));
        assert_eq!(object["metadata"]["labels"], json!({"app": "web"}));
        assert!(validate(&object, &context).is_empty());
    }

    #[test]
    fn broken_controllers_are_refused() {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" };
        let cases = [
            (json!({"replicas": -1}), vec!["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
            (
                json!({"selector": {"app": "db"}}),
                vec![
                    r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#,
                ],
            ),
            (json!({"template": null}), vec!["spec.selector: Required value", "spec.template: Required value"]),
        ];
        for (spec, expected) in cases {
            let mut object = controller(spec.clone());
            default(&mut object, &context);
            let causes = validate(&object, &context);
            let causes: Vec<String> =
                causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(causes, expected, "{spec}");
        }
    }
}
