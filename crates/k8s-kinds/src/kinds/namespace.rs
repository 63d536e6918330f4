//! Namespace. It is deleted in two steps: marked, then removed when its finalizers are gone.

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::causes::{immutable, invalid};
use crate::columns::{AGE, Column, NAME, text_or};
use crate::fields::{at, carry_over, child, items, text};
use crate::names::{finalizer, label};
use crate::strategy::{drop_status, is_terminating, keep_apart};
use crate::{Context, Kind, STATUS, Scope, Subresource};

pub(crate) static KIND: Kind = Kind {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    scope: Scope::Cluster,
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    type_name: "io.k8s.api.core.v1.Namespace",
    subresources: &[Subresource { name: "finalize", group: "", version: "", kind: "", verbs: &["update"] }, STATUS],
    columns: &[
        NAME,
        Column::text("Status", "Active, or Terminating while its content is deleted.", |object, _| {
            text_or(object, "status.phase", "")
        }),
        AGE,
    ],
    selectable: &["status.phase"],
    name_rule: label,
    default,
    prepare_create,
    prepare_update,
    validate,
    returns_deleted: true,
    ..Kind::BASE
};

/// Every namespace carries its name as a label, so that selectors can name namespaces. Who writes a status without a phase means the
/// first.
fn default(object: &mut Value, context: &Context<'_>) {
    if context.subresource == "status"
        && text(object, "status.phase").is_empty()
        && let Some(status) = child(object, "status")
    {
        status["phase"] = "Active".into();
    }
    let name = text(object, "metadata.name").to_owned();
    if !name.is_empty()
        && let Some(labels) = child(object, "metadata").and_then(|metadata| child(metadata, "labels"))
    {
        labels["kubernetes.io/metadata.name"] = name.into();
    }
}

fn prepare_create(object: &mut Value, context: &Context<'_>) {
    drop_status(object, context);
    // A name that the server has made was not there when defaults were.
    default(object, context);
    if let Some(map) = object.as_object_mut() {
        map.insert("status".to_owned(), json!({"phase": "Active"}));
    }
    let own = items(object, "spec.finalizers").iter().any(|name| name == "kubernetes");
    if !own
        && let Some(spec) = child(object, "spec")
        && let Some(map) = spec.as_object_mut()
    {
        let list = map.entry("finalizers").or_insert(Value::Null);
        match list {
            Value::Array(list) => list.push("kubernetes".into()),
            other => *other = json!(["kubernetes"]),
        }
    }
}

fn prepare_update(object: &mut Value, context: &Context<'_>) {
    keep_apart(object, context);
    let Some(old) = context.old else { return };
    match context.subresource {
        "" => {
            if let Some(spec) = child(object, "spec") {
                carry_over(spec, at(old, "spec"), "finalizers");
            }
        }
        "finalize" => carry_over(object, old, "status"),
        _ => {}
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    for name in items(object, "spec.finalizers").iter().filter_map(Value::as_str) {
        causes.extend(finalizer(name, "spec.finalizers"));
    }
    let name = text(object, "metadata.name");
    let labelled = at(object, "metadata.labels").get("kubernetes.io/metadata.name");
    if context.is_main() && labelled.is_some_and(|label| label != name) {
        causes.push(immutable("metadata.labels[kubernetes.io/metadata.name]", labelled.unwrap_or(&Value::Null)));
    }
    if context.subresource == "status" {
        let phase = text(object, "status.phase");
        match (is_terminating(object), phase) {
            (false, "Active") | (true, "Terminating") => {}
            (false, _) => {
                causes.push(invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty"))
            }
            (true, _) => causes.push(invalid(
                "status.Phase",
                phase,
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            )),
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::told_of_update;

    #[test]
    fn a_status_without_a_phase_means_that_it_is_active() {
        let with = |status: Value| json!({"metadata": {"name": "a"}, "status": status});
        let cases = [
            (json!({}), vec![]),
            (json!({"phase": "Active"}), vec![]),
            (
                json!({"phase": "Terminating"}),
                vec![
                    r#"status.Phase: Invalid value: "Terminating": may only be 'Active' if `deletionTimestamp` is empty"#,
                ],
            ),
        ];
        for (status, expected) in cases {
            let told = told_of_update(&KIND, &with(json!({"phase": "Active"})), &with(status.clone()), "status");
            assert_eq!(told, expected, "{status}");
        }
    }
}
