//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: rules in CEL that requests must satisfy, or that change them.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use super::admission_rules::{
    FAILURE_POLICIES, GROUP, REINVOCATION_POLICIES, default_match_resources, expression_or_required, match_conditions,
    match_resources, mutating_operations, needed_of, one_of,
};
use crate::causes::{duplicate, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME};
use crate::expressions::{self, Expression, Judged, Sees, Variables, Yields, is_identifier};
use crate::fields::{at, child, default_to, items, text};
use crate::names::{dns_1035, qualified, subdomain};
use crate::strategy::{drop_status, keep_apart_and_metadata};
use crate::{Context, Kind, STATUS, Scope, conditions};

/// Annotations of one policy, and bytes of the expression of one.
const AUDIT_ANNOTATIONS_LIMIT: usize = 20;
const VALUE_EXPRESSION_LIMIT: usize = 5 << 10;

const POLICY: Kind = Kind {
    group: GROUP,
    scope: Scope::Cluster,
    categories: &["api-extensions"],
    has_generation: true,
    updates_name_version: true,
    ..Kind::BASE
};

const PARAM_KIND: Column =
    Column::text("ParamKind", "The kind of the objects that hold its parameters.", |object, _| {
        let kind = at(object, "spec.paramKind");
        match kind.is_null() {
            true => "<unset>".into(),
            false => format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")).into(),
        }
    });

pub(crate) static MUTATING: Kind = Kind {
    kind: "MutatingAdmissionPolicy",
    plural: "mutatingadmissionpolicies",
    singular: "mutatingadmissionpolicy",
    since: 36,
    type_name: "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
    columns: &[
        NAME,
        Column::integer("Mutations", "Number of changes that it makes.", |object, _| {
            items(object, "spec.mutations").len().into()
        }),
        PARAM_KIND,
        AGE,
    ],
    default: |object, _| default(object),
    validate: validate_mutating,
    ..POLICY
};

pub(crate) static VALIDATING: Kind = Kind {
    kind: "ValidatingAdmissionPolicy",
    plural: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    type_name: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::integer("Validations", "Number of rules that requests must satisfy.", |object, _| {
            items(object, "spec.validations").len().into()
        }),
        PARAM_KIND,
        AGE,
    ],
    default: |object, _| default(object),
    prepare_create: drop_status,
    prepare_update: keep_apart_and_metadata,
    validate: validate_validating,
    ..POLICY
};

fn default(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    default_to(spec, "failurePolicy", "Fail");
    default_match_resources(spec, "matchConstraints");
}

/// What of a policy stood there before the write; such expressions are judged as they were.
struct Before<'a> {
    old: Option<&'a Value>,
    minor: u8,
}

impl<'a> Before<'a> {
    /// Texts at a path in the elements of a list of the spec.
    fn texts(&self, list: &str, path: &str) -> Vec<&'a str> {
        let list = self.old.map(|old| items(&old["spec"], list)).unwrap_or_default();
        list.iter().map(|item| text(item, path)).filter(|text| !text.is_empty()).collect()
    }

    fn judged(&self, list: &str, path: &str, written: &str) -> Judged {
        Judged { minor: self.minor, stored: self.texts(list, path).contains(&written) }
    }

    /// Whether conditions and what they can see are as before.
    fn has_conditions(&self, spec: &Value) -> bool {
        self.old.is_some_and(|old| {
            ["paramKind", "matchConditions"].iter().all(|key| at(&old["spec"], key) == at(spec, key))
        })
    }
}

/// What both kinds of policies have up to their conditions.
fn validate_common(spec: &Value) -> Vec<Cause> {
    let mut causes: Vec<Cause> = needed_of(spec, "failurePolicy", "spec", &FAILURE_POLICIES).into_iter().collect();
    let params = at(spec, "paramKind");
    if !params.is_null() {
        causes.extend(param_kind(params, "spec.paramKind"));
    }
    let constraints = at(spec, "matchConstraints");
    if constraints.is_null() {
        causes.push(required("spec.matchConstraints", ""));
    } else {
        causes.extend(match_resources(constraints, "spec.matchConstraints"));
        if items(constraints, "resourceRules").is_empty() {
            causes.push(required("spec.matchConstraints.resourceRules", ""));
        }
    }
    causes
}

fn validate_conditions(spec: &Value, before: &Before<'_>) -> Vec<Cause> {
    if before.has_conditions(spec) {
        return Vec::new();
    }
    let known = before.texts("matchConditions", "expression");
    let params = !at(spec, "paramKind").is_null();
    match_conditions(items(spec, "matchConditions"), "spec.matchConditions", params, &known, before.minor)
}

fn param_kind(kind: &Value, field: &str) -> Vec<Cause> {
    let (version, name) = (text(kind, "apiVersion"), text(kind, "kind"));
    let mut causes = Vec::new();
    let version_field = format!("{field}.apiVersion");
    match version.split('/').collect::<Vec<_>>()[..] {
        _ if version.is_empty() => causes.push(required(version_field, "")),
        [version] => causes.extend(api_version(version, version, &version_field)),
        [group, number] => {
            let problems = if group.is_empty() { Vec::new() } else { subdomain(group, false) };
            if !problems.is_empty() {
                causes.push(invalid(&version_field, group, &problems.join(",")));
            }
            causes.extend(api_version(number, version, &version_field));
        }
        _ => causes.push(invalid(version_field, version, &format!("unexpected GroupVersion string: {version}"))),
    }
    if name.is_empty() {
        causes.push(required(format!("{field}.kind"), ""));
        return causes;
    }
    let problems = dns_1035(&name.to_lowercase(), false);
    if !problems.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", problems.join(","));
        causes.push(invalid(format!("{field}.kind"), name, &detail));
    }
    causes
}

fn api_version(version: &str, written: &str, field: &str) -> Option<Cause> {
    if version.is_empty() {
        return Some(invalid(field, written, "version must be specified"));
    }
    let problems = dns_1035(version, false);
    (!problems.is_empty()).then(|| invalid(field, version, &problems.join(",")))
}

/// What is wrong with variables, and their types for what comes after them.
fn validate_variables(spec: &Value, before: &Before<'_>) -> (Vec<Cause>, Variables) {
    let params = !at(spec, "paramKind").is_null();
    let (mut causes, mut variables) = (Vec::new(), Variables::default());
    for (index, variable) in items(spec, "variables").iter().enumerate() {
        let field = format!("spec.variables[{index}]");
        let (name, text) = (text(variable, "name"), text(variable, "expression"));
        if name.trim().is_empty() {
            causes.push(required(format!("{field}.name"), "name is not specified"));
        } else if !is_identifier(name) {
            causes.push(invalid(format!("{field}.name"), name, "must be a valid CEL identifier"));
        }
        let field = format!("{field}.expression");
        if text.trim().is_empty() {
            causes.push(required(field, "expression is not specified"));
            continue;
        }
        let sees = Sees::Request { params, authorizer: true };
        let judged = before.judged("validations", "expression", text);
        let expression = Expression { text, yields: Yields::Any, sees, variables: None, judged };
        causes.extend(variables.add(name, &expression).map(|problem| invalid(field, text, &problem)));
    }
    (causes, variables)
}

fn validate_validating(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        return validate_status(object);
    }
    let (spec, before) = (&object["spec"], Before { old: context.old, minor: context.minor });
    let mut causes = validate_common(spec);
    causes.extend(validate_conditions(spec, &before));
    let (told, variables) = validate_variables(spec, &before);
    causes.extend(told);
    let (validations, annotations) = (items(spec, "validations"), items(spec, "auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        causes.push(required("spec.validations", detail));
        causes.push(required("spec.auditAnnotations", detail));
        return causes;
    }
    for (index, validation) in validations.iter().enumerate() {
        causes.extend(validate_validation(
            validation,
            &format!("spec.validations[{index}]"),
            spec,
            &before,
            &variables,
        ));
    }
    if annotations.len() > AUDIT_ANNOTATIONS_LIMIT {
        let problem = format!("must not have more than {AUDIT_ANNOTATIONS_LIMIT} auditAnnotations");
        causes.push(invalid("spec.auditAnnotations", annotations.to_vec(), &problem));
    }
    let mut seen = BTreeSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let field = format!("spec.auditAnnotations[{index}]");
        causes.extend(audit_annotation(annotation, &field, object, &before, &variables));
        let key = text(annotation, "key");
        if !seen.insert(key) {
            causes.push(duplicate(format!("{field}.key"), key));
        }
    }
    causes
}

fn validate_validation(
    validation: &Value,
    field: &str,
    spec: &Value,
    before: &Before<'_>,
    variables: &Variables,
) -> Vec<Cause> {
    const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    let params = !at(spec, "paramKind").is_null();
    let written = text(validation, "expression");
    let expression = Expression {
        text: written,
        yields: Yields::Flag,
        sees: Sees::Request { params, authorizer: true },
        variables: Some(variables),
        judged: before.judged("validations", "expression", written),
    };
    let mut causes = Vec::new();
    let missing = "expression is not specified";
    causes.extend(expression_or_required(&expression, &format!("{field}.expression"), missing));
    let (told, told_field) = (text(validation, "messageExpression"), format!("{field}.messageExpression"));
    if !told.is_empty() && told.trim().is_empty() {
        causes.push(invalid(&told_field, told, "must be non-empty if specified"));
    } else if !told.is_empty() {
        let judged = before.judged("validations", "messageExpression", told);
        let sees = Sees::Request { params, authorizer: false };
        let expression = Expression { text: told, yields: Yields::Text, sees, variables: Some(variables), judged };
        causes.extend(expressions::problem(&expression, &told_field));
    }
    let message = text(validation, "message");
    if !message.is_empty() && message.trim().is_empty() {
        causes.push(invalid(format!("{field}.message"), message, "must be non-empty if specified"));
    } else if message.trim().contains(['\n', '\r']) {
        causes.push(invalid(format!("{field}.message"), message, "must not contain line breaks"));
    }
    causes.extend(one_of(validation, "reason", field, &REASONS));
    causes
}

fn audit_annotation(
    annotation: &Value,
    field: &str,
    policy: &Value,
    before: &Before<'_>,
    variables: &Variables,
) -> Vec<Cause> {
    let (name, key) = (text(policy, "metadata.name"), text(annotation, "key"));
    let key_field = format!("{field}.key");
    let mut causes = Vec::new();
    if name.is_empty() {
        causes.push(invalid(key_field, key, "requires metadata.name be non-empty"));
    } else {
        let whole = format!("{name}/{key}");
        causes.extend(qualified(&whole).iter().map(|problem| invalid(&key_field, whole.as_str(), problem)));
    }
    let written = text(annotation, "valueExpression");
    let field = format!("{field}.valueExpression");
    if written.trim().len() > VALUE_EXPRESSION_LIMIT {
        causes.push(required(field, &format!("must not exceed {VALUE_EXPRESSION_LIMIT} bytes in length")));
        return causes;
    }
    let spec = &policy["spec"];
    let expression = Expression {
        text: written.trim(),
        yields: Yields::OptionalText,
        sees: Sees::Request { params: !at(spec, "paramKind").is_null(), authorizer: true },
        variables: Some(variables),
        judged: before.judged("auditAnnotations", "valueExpression", written),
    };
    causes.extend(expression_or_required(&expression, &field, "valueExpression is not specified"));
    causes
}

fn validate_status(object: &Value) -> Vec<Cause> {
    const WARNINGS: &str = "status.typeChecking.expressionWarnings";
    let mut causes = Vec::new();
    for (index, warning) in items(object, WARNINGS).iter().enumerate() {
        for key in ["warning", "fieldRef"] {
            if text(warning, key).trim().is_empty() {
                causes.push(required(format!("{WARNINGS}[{index}].{key}"), ""));
            }
        }
    }
    causes.extend(conditions::validate(items(object, "status.conditions"), "status.conditions"));
    causes
}

fn validate_mutating(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let (spec, before) = (&object["spec"], Before { old: context.old, minor: context.minor });
    let mut causes = validate_common(spec);
    causes.extend(mutating_operations(at(spec, "matchConstraints"), "spec.matchConstraints"));
    causes.extend(validate_conditions(spec, &before));
    let (told, variables) = validate_variables(spec, &before);
    causes.extend(told);
    let mutations = items(spec, "mutations");
    if mutations.is_empty() {
        causes.push(required("spec.mutations", "mutations must contain at least one item"));
    }
    for (index, mutation) in mutations.iter().enumerate() {
        causes.extend(validate_mutation(mutation, &format!("spec.mutations[{index}]"), spec, &before, &variables));
    }
    match text(spec, "reinvocationPolicy") {
        "" => causes.push(required("spec.reinvocationPolicy", "")),
        _ => causes.extend(one_of(spec, "reinvocationPolicy", "spec", &REINVOCATION_POLICIES)),
    }
    causes
}

fn validate_mutation(
    mutation: &Value,
    field: &str,
    spec: &Value,
    before: &Before<'_>,
    variables: &Variables,
) -> Vec<Cause> {
    const TYPES: [&str; 2] = ["ApplyConfiguration", "JSONPatch"];
    let kind = text(mutation, "patchType");
    let (own, other, yields) = match kind {
        "" => return vec![required(format!("{field}.patchType"), "")],
        "JSONPatch" => ("jsonPatch", "applyConfiguration", Yields::JsonPatch),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Yields::ApplyConfiguration),
        unknown => return vec![not_supported(format!("{field}.patchType"), unknown, &TYPES)],
    };
    let mut causes = Vec::new();
    if at(mutation, own).is_null() {
        causes.push(required(format!("{field}.{own}"), &format!("must be specified when patchType is {kind}")));
    } else {
        let path = format!("{own}.expression");
        let written = text(mutation, &path);
        let expression = Expression {
            text: written.trim(),
            yields,
            sees: Sees::Request { params: !at(spec, "paramKind").is_null(), authorizer: true },
            variables: Some(variables),
            judged: before.judged("mutations", &path, written),
        };
        causes.extend(expression_or_required(&expression, &format!("{field}.{path}"), ""));
    }
    if !at(mutation, other).is_null() {
        let problem = format!("must not be specified when patchType is {kind}");
        causes.push(invalid(format!("{field}.{other}"), format!("{{{other}}}"), &problem));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{created, told, told_of_update};
    use serde_json::json;

    fn policy(changes: Value) -> Value {
        let mut spec = json!({
            "matchConstraints": {"resourceRules": [
                {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]},
            ]},
            "reinvocationPolicy": "Never",
        });
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        json!({"metadata": {"name": "p"}, "spec": spec})
    }

    #[test]
    fn rules_of_validating_policies_are_judged() {
        let valid = json!([{"expression": "true"}]);
        let cases = [
            (policy(json!({"validations": valid})), vec![]),
            (json!({"spec": {"validations": valid}}), vec!["spec.matchConstraints: Required value"]),
            (
                policy(json!({})),
                vec![
                    "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                    "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
                ],
            ),
            (
                policy(
                    json!({"validations": [{"expression": " ", "message": "a\nb", "messageExpression": " ", "reason": "x"}]}),
                ),
                vec![
                    "spec.validations[0].expression: Required value: expression is not specified",
                    r#"spec.validations[0].messageExpression: Invalid value: " ": must be non-empty if specified"#,
                    r#"spec.validations[0].message: Invalid value: "a\nb": must not contain line breaks"#,
                    r#"spec.validations[0].reason: Unsupported value: "x": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge""#,
                ],
            ),
            (
                policy(
                    json!({"auditAnnotations": [{"key": "k", "valueExpression": "'a'"}, {"key": "k", "valueExpression": ""}]}),
                ),
                vec![
                    "spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified",
                    r#"spec.auditAnnotations[1].key: Duplicate value: "k""#,
                ],
            ),
            (
                policy(
                    json!({"validations": valid, "variables": [{"name": "a-b", "expression": "1"}, {"name": "if"}]}),
                ),
                vec![
                    r#"spec.variables[0].name: Invalid value: "a-b": must be a valid CEL identifier"#,
                    r#"spec.variables[1].name: Invalid value: "if": must be a valid CEL identifier"#,
                    "spec.variables[1].expression: Required value: expression is not specified",
                ],
            ),
            (
                policy(json!({"validations": valid, "paramKind": {"apiVersion": "a/b/c", "kind": "1"}})),
                vec![
                    r#"spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#,
                    r#"spec.paramKind.kind: Invalid value: "1": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"#,
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&VALIDATING, &object), expected, "{object}");
        }
    }

    #[test]
    fn changes_of_mutating_policies_are_judged() {
        let cases = [
            (
                policy(
                    json!({"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/a'}]"}}]}),
                ),
                vec![],
            ),
            (
                policy(json!({"reinvocationPolicy": "x"})),
                vec![
                    "spec.mutations: Required value: mutations must contain at least one item",
                    r#"spec.reinvocationPolicy: Unsupported value: "x": supported values: "IfNeeded", "Never""#,
                ],
            ),
            (
                policy(json!({"mutations": [
                    {"patchType": "JSONPatch", "applyConfiguration": {}},
                    {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": ""}},
                    {"patchType": "x"}, {},
                ]})),
                vec![
                    "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
                    r#"spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch"#,
                    "spec.mutations[1].applyConfiguration.expression: Required value",
                    r#"spec.mutations[2].patchType: Unsupported value: "x": supported values: "ApplyConfiguration", "JSONPatch""#,
                    "spec.mutations[3].patchType: Required value",
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&MUTATING, &object), expected, "{object}");
        }
        let mut deleting = policy(
            json!({"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/a'}]"}}]}),
        );
        deleting["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = json!(["DELETE"]);
        assert_eq!(
            told(&MUTATING, &deleting),
            [
                r#"spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE""#
            ]
        );
    }

    #[test]
    fn the_status_is_written_apart() {
        let old = policy(json!({"validations": [{"expression": "true"}]}));
        let new =
            json!({"metadata": {"name": "p"}, "status": {"typeChecking": {"expressionWarnings": [{"warning": "w"}]}}});
        assert_eq!(
            told_of_update(&VALIDATING, &old, &new, "status"),
            ["status.typeChecking.expressionWarnings[0].fieldRef: Required value"]
        );
        let made = created(&VALIDATING, &json!({"spec": {"matchConstraints": {}}, "status": {}}));
        assert_eq!(
            made,
            json!({"spec": {"failurePolicy": "Fail", "matchConstraints": {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}}}})
        );
    }
}
