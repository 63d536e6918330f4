//! Rules and cells that roles and their bindings share.

use k8s_object::Cause;
use serde_json::Value;

use crate::Context;
use crate::causes::{invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, default_zero_to, items, items_mut, text};
use crate::names::{label_selector, path_segment};

pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

/// What both bindings show.
pub(super) const BINDING_COLUMNS: &[Column] = &[
    NAME,
    Column::text("Role", "The role that is granted.", |object, _| {
        format!("{}/{}", text(object, "roleRef.kind"), text(object, "roleRef.name")).into()
    }),
    AGE,
    Column::text("Users", "Users it is granted to.", |object, _| subjects(object, "User").into()).wide(),
    Column::text("Groups", "Groups it is granted to.", |object, _| subjects(object, "Group").into()).wide(),
    Column::text("ServiceAccounts", "ServiceAccounts it is granted to.", |object, _| {
        subjects(object, "ServiceAccount").into()
    })
    .wide(),
];

fn subjects(object: &Value, kind: &str) -> String {
    let of_kind = items(object, "subjects").iter().filter(|subject| text(subject, "kind") == kind);
    let written = of_kind.map(|subject| match (kind, text(subject, "namespace")) {
        ("ServiceAccount", namespace) => format!("{namespace}/{}", text(subject, "name")),
        _ => text(subject, "name").to_owned(),
    });
    written.collect::<Vec<_>>().join(", ")
}

/// Of bindings: groups of what they refer to.
pub(super) fn default_binding(object: &mut Value, _: &Context<'_>) {
    if let Some(role) = object.get_mut("roleRef").filter(|role| role.is_object()) {
        default_zero_to(role, "apiGroup", GROUP);
    }
    for subject in items_mut(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            default_zero_to(subject, "apiGroup", GROUP);
        }
    }
}

/// Of `rules`; what is not of a resource has its place in ClusterRoles only.
pub(super) fn validate_rules(object: &Value, namespaced: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, rule) in items(object, "rules").iter().enumerate() {
        let field = format!("rules[{index}]");
        if items(rule, "verbs").is_empty() {
            causes.push(required(format!("{field}.verbs"), "verbs must contain at least one value"));
        }
        let has = |list: &str| !items(rule, list).is_empty();
        if has("nonResourceURLs") {
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                causes.push(invalid(format!("{field}.nonResourceURLs"), rule["nonResourceURLs"].clone(), detail));
            }
            if has("apiGroups") || has("resources") || has("resourceNames") {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                causes.push(invalid(format!("{field}.nonResourceURLs"), rule["nonResourceURLs"].clone(), detail));
            }
            continue;
        }
        if !has("apiGroups") {
            let detail = "resource rules must supply at least one api group";
            causes.push(required(format!("{field}.apiGroups"), detail));
        }
        if !has("resources") {
            let detail = "resource rules must supply at least one resource";
            causes.push(required(format!("{field}.resources"), detail));
        }
    }
    causes
}

/// Of an aggregation rule.
pub(super) fn validate_aggregation(object: &Value) -> Vec<Cause> {
    const FIELD: &str = "aggregationRule.clusterRoleSelectors";
    let rule = at(object, "aggregationRule");
    if rule.is_null() {
        return Vec::new();
    }
    let selectors = items(rule, "clusterRoleSelectors");
    if selectors.is_empty() {
        return vec![required(FIELD, "at least one clusterRoleSelector required if aggregationRule is non-nil")];
    }
    let each = selectors.iter().enumerate();
    each.flat_map(|(index, selector)| {
        let field = format!("{FIELD}[{index}]");
        let mut causes = label_selector(selector, &field);
        if !causes.is_empty() {
            causes.push(invalid(field, Value::Null, "invalid label selector."));
        }
        causes
    })
    .collect()
}

/// Of a binding.
pub(super) fn validate_binding(object: &Value, context: &Context<'_>, role_kinds: &[&str]) -> Vec<Cause> {
    let mut causes = Vec::new();
    let role = at(object, "roleRef");
    let (group, kind, name) = (text(role, "apiGroup"), text(role, "kind"), text(role, "name"));
    if group != GROUP {
        causes.push(not_supported("roleRef.apiGroup", group, &[GROUP]));
    }
    if !role_kinds.contains(&kind) {
        causes.push(not_supported("roleRef.kind", kind, role_kinds));
    }
    if name.is_empty() {
        causes.push(required("roleRef.name", ""));
    } else {
        causes.extend(path_segment(name, false).iter().map(|problem| invalid("roleRef.name", name, problem)));
    }
    let namespaced = role_kinds.len() > 1;
    for (index, subject) in items(object, "subjects").iter().enumerate() {
        causes.extend(validate_subject(subject, namespaced, &format!("subjects[{index}]")));
    }
    if let Some(old) = context.old
        && at(old, "roleRef") != role
    {
        causes.push(invalid("roleRef", role.clone(), "cannot change roleRef"));
    }
    causes
}

fn validate_subject(subject: &Value, namespaced: bool, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (group, kind, name) = (text(subject, "apiGroup"), text(subject, "kind"), text(subject, "name"));
    if name.is_empty() {
        causes.push(required(format!("{field}.name"), ""));
    }
    match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                let problems = crate::names::subdomain(name, false);
                causes.extend(problems.iter().map(|problem| invalid(format!("{field}.name"), name, problem)));
            }
            if !group.is_empty() {
                causes.push(not_supported(format!("{field}.apiGroup"), group, &[""]));
            }
            let namespace = text(subject, "namespace");
            // A binding in a namespace may leave it out; the authorizer then reads its own.
            if namespace.is_empty() && !namespaced {
                causes.push(required(format!("{field}.namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                causes.push(not_supported(format!("{field}.apiGroup"), group, &[GROUP]));
            }
        }
        other => causes.push(not_supported(format!("{field}.kind"), other, &["ServiceAccount", "User", "Group"])),
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use world::Timestamp;

    #[test]
    fn rules_are_judged() {
        let check = |rule: Value, namespaced| {
            let causes = validate_rules(&json!({ "rules": [rule] }), namespaced);
            causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect::<Vec<_>>()
        };
        let full = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
        assert!(check(full, true).is_empty());
        assert!(check(json!({"nonResourceURLs": ["/healthz"], "verbs": ["get"]}), false).is_empty());
        assert_eq!(
            check(json!({"apiGroups": [""], "resources": ["pods"]}), true),
            ["rules[0].verbs: Required value: verbs must contain at least one value"]
        );
        assert_eq!(
            check(json!({"nonResourceURLs": ["/"], "verbs": ["get"]}), true),
            [r#"rules[0].nonResourceURLs: Invalid value: ["/"]: namespaced rules cannot apply to non-resource URLs"#]
        );
    }

    #[test]
    fn what_a_binding_grants_never_changes() {
        let binding = |name: &str| json!({"roleRef": {"apiGroup": GROUP, "kind": "Role", "name": name}});
        let old = binding("a");
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: Some(&old), subresource: "" };
        let causes = validate_binding(&binding("b"), &context, &["Role", "ClusterRole"]);
        assert_eq!(
            causes[0].message,
            r#"Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"b"}: cannot change roleRef"#
        );
    }

    #[test]
    fn bindings_show_whom_they_grant() {
        let binding = json!({"subjects": [
            {"kind": "User", "name": "jane"}, {"kind": "User", "name": "joe"},
            {"kind": "ServiceAccount", "name": "sa", "namespace": "ns"},
        ]});
        assert_eq!(subjects(&binding, "User"), "jane, joe");
        assert_eq!(subjects(&binding, "ServiceAccount"), "ns/sa");
    }
}
