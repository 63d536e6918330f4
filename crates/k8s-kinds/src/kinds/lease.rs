//! Lease: who holds a lock, and the heartbeat of nodes.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::invalid;
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, text};
use crate::{Context, Kind};

pub(crate) static KIND: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    type_name: "io.k8s.api.coordination.v1.Lease",
    columns: &[
        NAME,
        Column::text("Holder", "Who holds it.", |object, _| text(object, "spec.holderIdentity").into()),
        AGE,
    ],
    validate,
    updates_name_version: true,
    creates_on_update: true,
    ..Kind::BASE
};

fn validate(object: &Value, _: &Context<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(seconds) = at(object, "spec.leaseDurationSeconds").as_i64().filter(|seconds| *seconds <= 0) {
        causes.push(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
    }
    if let Some(count) = at(object, "spec.leaseTransitions").as_i64().filter(|count| *count < 0) {
        causes.push(invalid("spec.leaseTransitions", count, "must be greater than or equal to 0"));
    }
    causes
}
