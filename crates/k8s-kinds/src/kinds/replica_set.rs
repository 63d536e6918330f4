//! ReplicaSet.

use k8s_object::Cause;
use serde_json::Value;

use crate::columns::{AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR};
use crate::fields::{child, default_to, int};
use crate::{Context, Kind, SCALE, STATUS, workload};

pub(crate) static KIND: Kind = Kind {
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    type_name: "io.k8s.api.apps.v1.ReplicaSet",
    subresources: &[SCALE, STATUS],
    columns: &[
        NAME,
        Column::integer("Desired", "Pods that are wanted.", |object, _| int(object, "spec.replicas").into()),
        Column::integer("Current", "Pods that there are.", |object, _| int(object, "status.replicas").into()),
        Column::integer("Ready", "Pods that are ready.", |object, _| int(object, "status.readyReplicas").into()),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    selectable: &["status.replicas"],
    field: |object, path| int(object, path).to_string().into(),
    has_generation: true,
    default,
    prepare_create: workload::prepare_create,
    prepare_update: workload::prepare_update,
    validate,
    warnings: workload::warnings,
    ..Kind::BASE
};

fn default(object: &mut Value, _: &Context<'_>) {
    if let Some(spec) = child(object, "spec") {
        default_to(spec, "replicas", 1);
        workload::default_template(spec);
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        let counts = ["availableReplicas", "fullyLabeledReplicas", "observedGeneration", "readyReplicas", "replicas"];
        return workload::validate_status(object, &counts);
    }
    // Upstream says deployment here too.
    workload::validate(object, "deployment", context)
}
