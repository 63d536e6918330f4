//! ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding: where a policy applies, and with which parameters.

use std::collections::BTreeSet;
use std::fmt::Write;

use k8s_object::Cause;
use serde_json::Value;

use super::admission_rules::{GROUP, default_match_resources, match_resources, mutating_operations};
use crate::causes::{duplicate, forbidden, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, child, entries, items, text};
use crate::names::{label_selector, path_segment, subdomain};
use crate::{Context, Kind, Scope};

const BINDING: Kind = Kind {
    group: GROUP,
    scope: Scope::Cluster,
    categories: &["api-extensions"],
    columns: &[
        NAME,
        Column::text("PolicyName", "The policy that applies.", |object, _| text(object, "spec.policyName").into()),
        Column::text("ParamRef", "Where its parameters are.", |object, _| param_ref(object).into()),
        AGE,
    ],
    has_generation: true,
    updates_name_version: true,
    default: |object, _| {
        if let Some(spec) = child(object, "spec") {
            default_match_resources(spec, "matchResources");
        }
    },
    ..Kind::BASE
};

pub(crate) static MUTATING: Kind = Kind {
    kind: "MutatingAdmissionPolicyBinding",
    plural: "mutatingadmissionpolicybindings",
    singular: "mutatingadmissionpolicybinding",
    since: 36,
    type_name: "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
    validate: |object, _| {
        let mut causes = validate(&object["spec"]);
        causes.extend(mutating_operations(at(object, "spec.matchResources"), "spec.matchResources"));
        causes
    },
    ..BINDING
};

pub(crate) static VALIDATING: Kind = Kind {
    kind: "ValidatingAdmissionPolicyBinding",
    plural: "validatingadmissionpolicybindings",
    singular: "validatingadmissionpolicybinding",
    type_name: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    validate: |object, _: &Context<'_>| {
        let mut causes = validate(&object["spec"]);
        causes.extend(validation_actions(items(object, "spec.validationActions")));
        causes
    },
    ..BINDING
};

fn param_ref(object: &Value) -> String {
    let reference = at(object, "spec.paramRef");
    let (name, namespace) = (text(reference, "name"), text(reference, "namespace"));
    match (name, namespace) {
        ("", _) if !at(reference, "selector").is_null() => selector_text(at(reference, "selector")),
        ("", _) => "<unset>".to_owned(),
        (name, "") => format!("*/{name}"),
        (name, namespace) => format!("{namespace}/{name}"),
    }
}

/// A selector in the form of Go's debugging output, which upstream shows here.
fn selector_text(selector: &Value) -> String {
    let mut written = "&LabelSelector{MatchLabels:map[string]string{".to_owned();
    for (key, value) in entries(selector, "matchLabels") {
        let _ = write!(written, "{key}: {},", value.as_str().unwrap_or_default());
    }
    written.push_str("},MatchExpressions:[]LabelSelectorRequirement{");
    for expression in items(selector, "matchExpressions") {
        let values: Vec<&str> = items(expression, "values").iter().filter_map(Value::as_str).collect();
        let (key, operator) = (text(expression, "key"), text(expression, "operator"));
        let _ = write!(
            written,
            "LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},",
            values.join(" ")
        );
    }
    written.push_str("},}");
    written
}

fn validate(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match text(spec, "policyName") {
        "" => causes.push(required("spec.policyName", "")),
        name => {
            causes.extend(subdomain(name, false).iter().map(|problem| invalid("spec.policyName", name, problem)));
        }
    }
    let reference = at(spec, "paramRef");
    if !reference.is_null() {
        causes.extend(validate_param_ref(reference, "spec.paramRef"));
    }
    let resources = at(spec, "matchResources");
    if !resources.is_null() {
        causes.extend(match_resources(resources, "spec.matchResources"));
    }
    causes
}

fn validate_param_ref(reference: &Value, field: &str) -> Vec<Cause> {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    const ACTIONS: [&str; 2] = ["Deny", "Allow"];
    let (name, selector) = (text(reference, "name"), at(reference, "selector"));
    let mut causes = Vec::new();
    if !name.is_empty() {
        let field = format!("{field}.name");
        causes.extend(path_segment(name, false).iter().map(|problem| invalid(&field, name, problem)));
        if !selector.is_null() {
            causes.push(forbidden(field, EXCLUSIVE));
        }
    }
    if !selector.is_null() {
        let field = format!("{field}.selector");
        causes.extend(label_selector(selector, &field));
        if !name.is_empty() {
            causes.push(forbidden(field, EXCLUSIVE));
        }
    }
    if name.is_empty() && selector.is_null() {
        causes.push(required(field, "one of name or selector must be specified"));
    }
    let field = format!("{field}.parameterNotFoundAction");
    match text(reference, "parameterNotFoundAction") {
        "" => causes.push(required(field, "")),
        action if !ACTIONS.contains(&action) => causes.push(not_supported(field, action, &ACTIONS)),
        _ => {}
    }
    causes
}

fn validation_actions(actions: &[Value]) -> Vec<Cause> {
    const FIELD: &str = "spec.validationActions";
    const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, action) in actions.iter().filter_map(Value::as_str).enumerate() {
        if !ACTIONS.contains(&action) {
            causes.push(not_supported(format!("{FIELD}[{index}]"), action, &ACTIONS));
        }
        if !seen.insert(action) {
            causes.push(duplicate(format!("{FIELD}[{index}]"), action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let problem = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        causes.push(invalid(FIELD, actions.to_vec(), problem));
    }
    if seen.is_empty() {
        causes.push(required(FIELD, "at least one validation action is required"));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::told;
    use serde_json::json;

    #[test]
    fn bindings_are_judged() {
        let with = |changes: Value| {
            let mut spec = json!({"policyName": "p", "validationActions": ["Deny"]});
            for (key, value) in changes.as_object().unwrap() {
                spec[key] = value.clone();
            }
            json!({"spec": spec})
        };
        let cases = [
            (with(json!({"matchResources": {}})), vec![]),
            (with(json!({"policyName": ""})), vec!["spec.policyName: Required value"]),
            (
                with(json!({"paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "x"}})),
                vec![
                    "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
                    "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
                    r#"spec.paramRef.parameterNotFoundAction: Unsupported value: "x": supported values: "Deny", "Allow""#,
                ],
            ),
            (
                with(json!({"paramRef": {}})),
                vec![
                    "spec.paramRef: Required value: one of name or selector must be specified",
                    "spec.paramRef.parameterNotFoundAction: Required value",
                ],
            ),
            (
                with(json!({"validationActions": ["Deny", "Warn", "Deny", "x"]})),
                vec![
                    r#"spec.validationActions[2]: Duplicate value: "Deny""#,
                    r#"spec.validationActions[3]: Unsupported value: "x": supported values: "Audit", "Deny", "Warn""#,
                    r#"spec.validationActions: Invalid value: ["Deny","Warn","Deny","x"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"#,
                ],
            ),
            (
                with(json!({"validationActions": []})),
                vec!["spec.validationActions: Required value: at least one validation action is required"],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&VALIDATING, &object), expected, "{object}");
        }
        assert!(told(&MUTATING, &json!({"spec": {"policyName": "p"}})).is_empty(), "a change has no actions");
    }

    #[test]
    fn the_cell_says_where_parameters_are() {
        let cases = [
            (json!(null), "<unset>"),
            (json!({"name": "a"}), "*/a"),
            (json!({"name": "a", "namespace": "b"}), "b/a"),
            (
                json!({"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]}}),
                "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}",
            ),
        ];
        for (reference, expected) in cases {
            assert_eq!(param_ref(&json!({"spec": {"paramRef": reference}})), expected);
        }
    }
}
