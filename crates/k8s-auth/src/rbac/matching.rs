//! Whether a rule speaks of a request (rbac `RuleAllows`).

use k8s_object::views::PolicyRule;

use crate::Attributes;

const ANY: &str = "*";

/// Whether the rule allows the request.
pub fn allows(rule: &PolicyRule, attributes: &Attributes<'_>) -> bool {
    if !has(&rule.verbs, attributes.verb) {
        return false;
    }
    if !attributes.is_resource() {
        return rule.non_resource_urls.iter().any(|pattern| path_matches(pattern, attributes.path));
    }
    has(&rule.api_groups, attributes.group)
        && rule.resources.iter().any(|pattern| resource_matches(pattern, attributes.resource, attributes.subresource))
        && (rule.resource_names.is_empty() || rule.resource_names.iter().any(|name| name == attributes.name))
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == ANY || own == wanted)
}

/// `*`, `pods`, `pods/log`, or `*/scale`. The name of a resource alone does not cover its subresources.
fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == ANY {
        return true;
    }
    // What asks about access may also name both in one text.
    if subresource.is_empty() {
        return pattern == resource;
    }
    pattern.split_once('/').is_some_and(|(own, sub)| sub == subresource && (own == ANY || own == resource))
}

/// `*`, `/healthz`, or `/healthz/*`.
pub(super) fn path_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix(ANY) {
        Some(head) => path.starts_with(head),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_object::UserInfo;
    use serde_json::json;

    #[test]
    fn rules_speak_of_what_they_name() {
        let user = UserInfo::new("u", &[]);
        let rule = |json: serde_json::Value| serde_json::from_value::<PolicyRule>(json).unwrap();
        let pods = rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}));
        let log = rule(json!({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}));
        let scale = rule(json!({"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["update"]}));
        let named = rule(json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["*"]}));
        let all = rule(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
        let paths = rule(json!({"nonResourceURLs": ["/healthz", "/api/*"], "verbs": ["get"]}));
        let resource = |verb, group, resource, subresource, name| Attributes {
            subresource,
            name,
            ..Attributes::resource(&user, verb, group, resource)
        };
        let cases = [
            (&pods, resource("get", "", "pods", "", "p"), true),
            (&pods, resource("delete", "", "pods", "", "p"), false),
            (&pods, resource("get", "apps", "pods", "", "p"), false),
            (&pods, resource("get", "", "pods", "log", "p"), false),
            (&log, resource("get", "", "pods", "log", "p"), true),
            (&log, resource("get", "", "pods", "", "p"), false),
            (&log, resource("get", "", "pods/log", "", "p"), true),
            (&scale, resource("update", "apps", "deployments/scale", "", "d"), false),
            (&scale, resource("update", "apps", "deployments", "scale", "d"), true),
            (&scale, resource("update", "apps", "deployments", "status", "d"), false),
            (&scale, resource("update", "apps", "deployments", "", "d"), false),
            (&named, resource("get", "", "secrets", "", "a"), true),
            (&named, resource("get", "", "secrets", "", "b"), false),
            (&named, resource("list", "", "secrets", "", ""), false),
            (&all, resource("anything", "x.io", "ys", "z", ""), true),
            (&all, Attributes::path(&user, "get", "/healthz"), false),
            (&paths, Attributes::path(&user, "get", "/healthz"), true),
            (&paths, Attributes::path(&user, "get", "/healthz/x"), false),
            (&paths, Attributes::path(&user, "get", "/api/v1"), true),
            (&paths, Attributes::path(&user, "get", "/api"), false),
            (&paths, Attributes::path(&user, "post", "/healthz"), false),
            (&paths, resource("get", "", "pods", "", ""), false),
        ];
        for (rule, attributes, expected) in cases {
            assert_eq!(allows(rule, &attributes), expected, "{rule:?} {attributes:?}");
        }
    }
}
