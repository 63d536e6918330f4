//! IngressClass: which controller serves Ingresses.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{forbidden, immutable, invalid, not_supported, required, too_long};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, child, default_to, text};
use crate::names::label;
use crate::web::{domain_prefixed_path, typed_local_reference};
use crate::{Context, Kind, Scope};

/// Bytes of the controller's name.
const CONTROLLER_LIMIT: usize = 250;

pub(crate) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    scope: Scope::Cluster,
    type_name: "io.k8s.api.networking.v1.IngressClass",
    columns: &[
        NAME,
        Column::text("Controller", "The controller that serves the class.", |object, _| {
            text(object, "spec.controller").into()
        }),
        Column::text("Parameters", "Where the controller finds more about the class.", |object, _| {
            parameters(object).into()
        }),
        AGE,
    ],
    has_generation: true,
    default: |object, _| {
        if !at(object, "spec.parameters").is_null()
            && let Some(parameters) = child(object, "spec").and_then(|spec| child(spec, "parameters"))
        {
            default_to(parameters, "scope", "Cluster");
        }
    },
    validate,
    ..Kind::BASE
};

fn parameters(object: &Value) -> String {
    let parameters = at(object, "spec.parameters");
    let (kind, name) = (text(parameters, "kind"), text(parameters, "name"));
    match at(parameters, "apiGroup").as_str() {
        _ if parameters.is_null() => "<none>".to_owned(),
        Some(group) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let controller = text(object, "spec.controller");
    if let Some(old) = context.old
        && text(old, "spec.controller") != controller
    {
        causes.push(immutable("spec.controller", &controller.into()));
    }
    if controller.len() > CONTROLLER_LIMIT {
        causes.push(too_long("spec.controller", CONTROLLER_LIMIT));
    }
    causes.extend(domain_prefixed_path("spec.controller", controller));
    let parameters = at(object, "spec.parameters");
    if !parameters.is_null() {
        causes.extend(validate_parameters(parameters));
    }
    causes
}

fn validate_parameters(parameters: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.parameters.namespace";
    let mut causes = typed_local_reference(parameters, "spec.parameters");
    let namespace = at(parameters, "namespace").as_str();
    match (at(parameters, "scope").as_str(), namespace) {
        (None, _) => causes.push(required("spec.parameters.scope", "")),
        (Some("Namespace"), None) => causes.push(required(FIELD, "`parameters.scope` is set to 'Namespace'")),
        (Some("Namespace"), Some(namespace)) => {
            causes.extend(label(namespace, false).iter().map(|problem| invalid(FIELD, namespace, problem)));
        }
        (Some("Cluster"), Some(_)) => causes.push(forbidden(FIELD, "`parameters.scope` is set to 'Cluster'")),
        (Some("Cluster"), None) => {}
        (Some(other), _) => {
            causes.push(not_supported("spec.parameters.scope", other, &["Cluster", "Namespace"]));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{told, told_of_update};
    use serde_json::json;

    #[test]
    fn controllers_and_parameters_are_judged() {
        let with = |parameters: Value| json!({"spec": {"controller": "a.example/b", "parameters": parameters}});
        let cases = [
            (with(Value::Null), vec![]),
            (with(json!({"kind": "A", "name": "b"})), vec![]),
            (
                json!({"spec": {"controller": "a"}}),
                vec![r#"spec.controller: Invalid value: "a": must be a domain-prefixed path (such as "acme.io/foo")"#],
            ),
            (
                with(json!({"kind": "A", "name": "b", "scope": "Namespace"})),
                vec!["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
            ),
            (
                with(json!({"kind": "A", "name": "b", "namespace": "c"})),
                vec!["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
            ),
            (
                with(json!({"kind": "A", "name": "b", "scope": "X"})),
                vec![r#"spec.parameters.scope: Unsupported value: "X": supported values: "Cluster", "Namespace""#],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
        assert_eq!(
            told_of_update(&KIND, &with(Value::Null), &json!({"spec": {"controller": "c.example/d"}}), ""),
            [r#"spec.controller: Invalid value: "c.example/d": field is immutable"#]
        );
    }

    #[test]
    fn the_cell_names_what_the_parameters_are() {
        let cases = [
            (json!({}), "<none>"),
            (json!({"spec": {"parameters": {"kind": "A", "name": "b"}}}), "A/b"),
            (json!({"spec": {"parameters": {"kind": "A", "name": "b", "apiGroup": "c"}}}), "A.c/b"),
        ];
        for (object, expected) in cases {
            assert_eq!(parameters(&object), expected);
        }
    }
}
