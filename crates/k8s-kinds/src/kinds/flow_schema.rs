//! FlowSchema: which requests are of which priority level.

use k8s_object::Cause;
use serde_json::{Value, json};

use super::priority_level_configuration::{keep_apart_and_all_metadata, validate_conditions};
use crate::causes::{forbidden, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME, text_or};
use crate::fields::{at, child, default_zero_to, flag, int, items, text};
use crate::names::{label, subdomain};
use crate::strategy::drop_status;
use crate::{Context, Kind, STATUS, Scope, flow_control};

const PRECEDENCE_LIMIT: i64 = 10_000;
const DEFAULT_PRECEDENCE: i64 = 1_000;
const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

pub(crate) static KIND: Kind = Kind {
    group: flow_control::GROUP,
    kind: "FlowSchema",
    plural: "flowschemas",
    singular: "flowschema",
    scope: Scope::Cluster,
    type_name: "io.k8s.api.flowcontrol.v1.FlowSchema",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("PriorityLevel", "The level of the requests.", |object, _| {
            text(object, "spec.priorityLevelConfiguration.name").into()
        }),
        Column::text("MatchingPrecedence", "Schemas are asked in this order.", |object, _| {
            int(object, "spec.matchingPrecedence").into()
        }),
        Column::text("DistinguisherMethod", "What tells flows of requests apart.", |object, _| {
            text_or(object, "spec.distinguisherMethod.type", "<none>")
        }),
        AGE,
        Column::text("MissingPL", "Whether the level is not there.", |object, _| {
            let dangling = |condition: &&Value| text(condition, "type") == "Dangling";
            items(object, "status.conditions")
                .iter()
                .find(dangling)
                .map_or("?", |condition| text(condition, "status"))
                .into()
        }),
    ],
    has_generation: true,
    default: |object, _| {
        if let Some(spec) = child(object, "spec") {
            default_zero_to(spec, "matchingPrecedence", DEFAULT_PRECEDENCE);
        }
    },
    prepare_create: drop_status,
    prepare_update: keep_apart_and_all_metadata,
    validate,
    ..Kind::BASE
};

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        return validate_conditions(object);
    }
    let (name, spec) = (text(object, "metadata.name"), &object["spec"]);
    let mut causes = validate_spec(name, spec);
    if let Some(fixed) = flow_control::mandatory(flow_control::SCHEMAS, name)
        && !flow_control::same(&fixed, spec)
    {
        causes.push(invalid("spec", spec.clone(), &format!("spec of '{name}' must equal the fixed value")));
    }
    causes.extend(validate_conditions(object));
    causes
}

fn validate_spec(name: &str, spec: &Value) -> Vec<Cause> {
    const METHODS: [&str; 2] = ["ByNamespace", "ByUser"];
    const FIELD: &str = "spec.matchingPrecedence";
    let mut causes = Vec::new();
    let precedence = int(spec, "matchingPrecedence");
    if precedence <= 0 {
        causes.push(invalid(FIELD, precedence, "must be a positive value"));
    }
    if precedence > PRECEDENCE_LIMIT {
        causes.push(invalid(FIELD, precedence, &format!("must not be greater than {PRECEDENCE_LIMIT}")));
    }
    if precedence == 1 && name != "exempt" {
        let problem = "only the schema named 'exempt' may have matchingPrecedence 1";
        causes.push(invalid(FIELD, precedence, problem));
    }
    let method = at(spec, "distinguisherMethod");
    if !method.is_null() && !METHODS.contains(&text(method, "type")) {
        // Upstream shows the whole method, with the name of its field in Go.
        let shown = json!({"Type": text(method, "type")});
        causes.push(not_supported("spec.distinguisherMethod.type", shown, &METHODS));
    }
    let field = "spec.priorityLevelConfiguration.name";
    match text(spec, "priorityLevelConfiguration.name") {
        "" => causes.push(required(field, "must reference a priority level")),
        level => causes.extend(subdomain(level, false).iter().map(|problem| invalid(field, level, problem))),
    }
    for (index, rule) in items(spec, "rules").iter().enumerate() {
        causes.extend(validate_rule(rule, &format!("spec.rules[{index}]")));
    }
    causes
}

fn validate_rule(rule: &Value, field: &str) -> Vec<Cause> {
    let (subjects, resources, paths) =
        (items(rule, "subjects"), items(rule, "resourceRules"), items(rule, "nonResourceRules"));
    let mut causes = Vec::new();
    if subjects.is_empty() {
        causes.push(required(format!("{field}.subjects"), "subjects must contain at least one value"));
    }
    for (index, subject) in subjects.iter().enumerate() {
        causes.extend(validate_subject(subject, &format!("{field}.subjects[{index}]")));
    }
    if resources.is_empty() && paths.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        causes.push(required(field, detail));
    }
    for (index, rule) in resources.iter().enumerate() {
        causes.extend(validate_resource_rule(rule, &format!("{field}.resourceRules[{index}]")));
    }
    for (index, rule) in paths.iter().enumerate() {
        causes.extend(validate_path_rule(rule, &format!("{field}.nonResourceRules[{index}]")));
    }
    causes
}

fn validate_subject(subject: &Value, field: &str) -> Vec<Cause> {
    /// Kinds of subjects, and the field that each has.
    const KINDS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = text(subject, "kind");
    let Some((_, own)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        return vec![not_supported(format!("{field}.kind"), kind, &KINDS.map(|(kind, _)| kind))];
    };
    let mut causes = Vec::new();
    let (value, own_field) = (at(subject, own), format!("{field}.{own}"));
    if value.is_null() {
        causes.push(required(&own_field, &format!("{own} is required when subject kind is '{kind}'")));
    } else {
        causes.extend(validate_name(value, kind, &own_field));
    }
    // In upstream's order: accounts, users, groups.
    for (other_kind, other) in [KINDS[1], KINDS[2], KINDS[0]] {
        if other != *own && !at(subject, other).is_null() {
            let detail = format!("{other} is forbidden when subject kind is not '{other_kind}'");
            causes.push(forbidden(format!("{field}.{other}"), &detail));
        }
    }
    causes
}

fn validate_name(subject: &Value, kind: &str, field: &str) -> Vec<Cause> {
    let (name, namespace) = (text(subject, "name"), text(subject, "namespace"));
    let mut causes = Vec::new();
    let name_field = format!("{field}.name");
    if name.is_empty() {
        causes.push(required(name_field, ""));
    } else if kind == "ServiceAccount" && name != "*" {
        causes.extend(subdomain(name, false).iter().map(|problem| invalid(&name_field, name, problem)));
    }
    if kind == "ServiceAccount" {
        let field = format!("{field}.namespace");
        match namespace {
            "" => causes.push(required(field, "must specify namespace for service account")),
            namespace => {
                causes.extend(label(namespace, false).iter().map(|problem| invalid(&field, namespace, problem)))
            }
        }
    }
    causes
}

/// A list in which `*` stands alone; whether it does is told.
fn validate_list(rule: &Value, key: &str, field: &str, missing: &str, others: &str) -> (Vec<Cause>, bool) {
    let list = items(rule, key);
    let field = format!("{field}.{key}");
    let is_wild = list.iter().any(|item| item == "*");
    if list.is_empty() {
        return (vec![required(field, missing)], false);
    }
    let mut causes = Vec::new();
    if is_wild && list.len() > 1 {
        let problem = format!("if '*' is present, must not specify other {others}");
        causes.push(invalid(field, list.to_vec(), &problem));
    }
    (causes, is_wild)
}

fn validate_verbs(rule: &Value, field: &str) -> Vec<Cause> {
    let (mut causes, is_wild) = validate_list(rule, "verbs", field, "verbs must contain at least one value", "verbs");
    let verbs = items(rule, "verbs");
    if !is_wild && !verbs.iter().all(|verb| verb.as_str().is_some_and(|verb| VERBS.contains(&verb))) {
        causes.push(not_supported(format!("{field}.verbs"), verbs.to_vec(), &VERBS));
    }
    causes
}

fn validate_resource_rule(rule: &Value, field: &str) -> Vec<Cause> {
    let mut causes = validate_verbs(rule, field);
    let (group, resource) =
        ("resource rules must supply at least one api group", "resource rules must supply at least one resource");
    causes.extend(validate_list(rule, "apiGroups", field, group, "api groups").0);
    causes.extend(validate_list(rule, "resources", field, resource, "resources").0);
    let namespaces = items(rule, "namespaces");
    if namespaces.is_empty() && flag(rule, "clusterScope") {
        return causes;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    let (told, is_wild) = validate_list(rule, "namespaces", field, missing, "namespaces");
    causes.extend(told);
    if !is_wild {
        for (index, namespace) in namespaces.iter().filter_map(Value::as_str).enumerate() {
            let field = format!("{field}.namespaces[{index}]");
            let told = label(namespace, false).into_iter();
            let told =
                told.map(|problem| format!("each member of this list must be '*' or a DNS-1123 label; {problem}"));
            causes.extend(told.map(|problem| invalid(&field, namespace, &problem)));
        }
    }
    causes
}

fn validate_path_rule(rule: &Value, field: &str) -> Vec<Cause> {
    let mut causes = validate_verbs(rule, field);
    let missing = "nonResourceURLs must contain at least one value";
    let (told, is_wild) = validate_list(rule, "nonResourceURLs", field, missing, "non-resource URLs");
    causes.extend(told);
    if !is_wild {
        for (index, path) in items(rule, "nonResourceURLs").iter().filter_map(Value::as_str).enumerate() {
            causes.extend(
                path_problem(path).map(|problem| invalid(format!("{field}.nonResourceURLs[{index}]"), path, problem)),
            );
        }
    }
    causes
}

fn path_problem(path: &str) -> Option<&'static str> {
    let stars = path.matches('*').count();
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !path.starts_with('/') => Some("must start with slash"),
        _ if path.contains(' ') => Some("must not contain white-space"),
        _ if path.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !path.ends_with("/*")) => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::told;

    fn schema(rule: Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"priorityLevelConfiguration": {"name": "p"}, "rules": [rule]}})
    }

    #[test]
    fn schemas_are_judged() {
        let subject = json!([{"kind": "User", "user": {"name": "u"}}]);
        let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true}]);
        let cases = [
            (schema(json!({"subjects": subject, "resourceRules": all})), vec![]),
            (
                json!({"spec": {"matchingPrecedence": 1, "distinguisherMethod": {"type": "x"}}}),
                vec![
                    "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                    r#"spec.distinguisherMethod.type: Unsupported value: {"Type":"x"}: supported values: "ByNamespace", "ByUser""#,
                    "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
                ],
            ),
            (
                schema(json!({})),
                vec![
                    "spec.rules[0].subjects: Required value: subjects must contain at least one value",
                    "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
                ],
            ),
            (
                schema(json!({"subjects": [
                    {"kind": "x"}, {"kind": "Group", "user": {"name": "u"}}, {"kind": "ServiceAccount", "serviceAccount": {"name": "*"}},
                ], "resourceRules": all})),
                vec![
                    r#"spec.rules[0].subjects[0].kind: Unsupported value: "x": supported values: "Group", "ServiceAccount", "User""#,
                    "spec.rules[0].subjects[1].group: Required value: group is required when subject kind is 'Group'",
                    "spec.rules[0].subjects[1].user: Forbidden: user is forbidden when subject kind is not 'User'",
                    "spec.rules[0].subjects[2].serviceAccount.namespace: Required value: must specify namespace for service account",
                ],
            ),
            (
                schema(
                    json!({"subjects": subject, "resourceRules": [{"verbs": ["x"], "apiGroups": ["*", "a"], "resources": [], "namespaces": []}]}),
                ),
                vec![
                    r#"spec.rules[0].resourceRules[0].verbs: Unsupported value: ["x"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch""#,
                    r#"spec.rules[0].resourceRules[0].apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other api groups"#,
                    "spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource",
                    "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
                ],
            ),
            (
                schema(
                    json!({"subjects": subject, "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/a/*", "b", "/a*b"]}]}),
                ),
                vec![
                    r#"spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: "b": must start with slash"#,
                    r#"spec.rules[0].nonResourceRules[0].nonResourceURLs[2]: Invalid value: "/a*b": wildcard can only do suffix matching"#,
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
    }

    #[test]
    fn what_every_cluster_has_is_valid_and_fixed() {
        for fixed in flow_control::SCHEMAS {
            assert_eq!(told(&KIND, &flow_control::object(fixed)), Vec::<String>::new(), "{}", fixed.name);
        }
        let mut changed = flow_control::object(&flow_control::SCHEMAS[0]);
        changed["spec"]["matchingPrecedence"] = json!(9000);
        assert!(told(&KIND, &changed)[0].ends_with("spec of 'catch-all' must equal the fixed value"));
    }
}
