//! PodTemplate: a template for pods that stands for itself.

use k8s_object::Cause;
use serde_json::Value;

use crate::columns::{Column, NAME, labels, of_containers};
use crate::fields::{at, child};
use crate::pod_spec::{default_spec, validate_template};
use crate::{Context, Kind, workload};

pub(crate) static KIND: Kind = Kind {
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    type_name: "io.k8s.api.core.v1.PodTemplate",
    columns: &[
        NAME,
        Column::text("Containers", "Names of the template's containers.", |object, _| {
            of_containers(at(object, "template.spec"), "name").into()
        }),
        Column::text("Images", "Images of the template's containers.", |object, _| {
            of_containers(at(object, "template.spec"), "image").into()
        }),
        Column::text("Pod Labels", "Labels of the template.", |object, _| {
            labels(at(object, "template.metadata.labels")).into()
        }),
    ],
    has_generation: true,
    default: |object, _| {
        if let Some(spec) = child(object, "template").and_then(|template| child(template, "spec")) {
            default_spec(spec);
        }
    },
    prepare_create: |object, context| workload::drop_unserved(object, "/template/spec", context),
    prepare_update: |object, context| workload::drop_unserved(object, "/template/spec", context),
    validate,
    warnings: |object, context| match workload::is_new_specification(object, context) {
        true => crate::pod_spec::warnings(at(object, "template"), "template"),
        false => Vec::new(),
    },
    returns_deleted: true,
    ..Kind::BASE
};

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    validate_template(at(object, "template"), "template", context.minor)
}
