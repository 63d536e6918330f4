//! Binding: where a pod runs. The old form of `pods/binding`; it is carried out, not stored.

use k8s_object::Cause;
use serde_json::Value;

use crate::Kind;
use crate::causes::{not_supported, required};
use crate::fields::text;

pub(crate) static KIND: Kind = Kind {
    kind: "Binding",
    plural: "bindings",
    singular: "binding",
    verbs: &["create"],
    type_name: "io.k8s.api.core.v1.Binding",
    columns: &[],
    validate: |object, _| validate(object),
    ..Kind::BASE
};

fn validate(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let kind = text(object, "target.kind");
    if !matches!(kind, "" | "Node") {
        causes.push(not_supported("target.kind", kind, &["Node", "<empty>"]));
    }
    if text(object, "target.name").is_empty() {
        causes.push(required("target.name", ""));
    }
    causes
}
