//! RuntimeClass: which of a node's container runtimes runs a pod.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{duplicate, immutable, invalid};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, items, text};
use crate::names::{label, labels};
use crate::pod_spec::{fixed_overhead, tolerations};
use crate::{Context, Kind, Scope};

pub(crate) static KIND: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    scope: Scope::Cluster,
    type_name: "io.k8s.api.node.v1.RuntimeClass",
    columns: &[
        NAME,
        Column::text("Handler", "The runtime's name on the node.", |object, _| text(object, "handler").into()),
        AGE,
    ],
    validate,
    updates_name_version: true,
    creates_on_update: true,
    ..Kind::BASE
};

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let handler = text(object, "handler");
    let mut causes: Vec<Cause> =
        label(handler, false).iter().map(|problem| invalid("handler", handler, problem)).collect();
    causes.extend(fixed_overhead(at(object, "overhead.podFixed"), "overhead"));
    causes.extend(labels(at(object, "scheduling.nodeSelector"), "scheduling.nodeSelector"));
    let (list, field) = (items(object, "scheduling.tolerations"), "scheduling.tolerations");
    // Upstream names the list twice.
    causes.extend(tolerations(list, &format!("{field}.tolerations")));
    for (index, toleration) in list.iter().enumerate() {
        let key =
            |toleration: &Value| ["key", "operator", "value", "effect"].map(|key| text(toleration, key).to_owned());
        if list[..index].iter().any(|earlier| key(earlier) == key(toleration)) {
            causes.push(duplicate(format!("{field}[{index}]"), toleration.clone()));
        }
    }
    if let Some(old) = context.old
        && at(old, "handler") != at(object, "handler")
    {
        causes.push(immutable("handler", at(object, "handler")));
    }
    causes
}
