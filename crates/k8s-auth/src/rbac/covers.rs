//! Whether rules include other rules, and how rules are written in messages (rbac `Covers`, `CompactString`).

use std::collections::BTreeMap;

use k8s_object::views::PolicyRule;

use super::matching::path_matches;

/// Single grants that one comparison takes apart at most; what is larger counts as not covered. A role of 1 MiB could
/// otherwise be taken apart into billions.
const PARTS_LIMIT: usize = 100_000;

/// What of `wanted` is not included in `owned`, taken apart into single grants and put together again by resource;
/// empty if all is.
pub fn covers(owned: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let mut missing = Vec::new();
    let mut parts = 0_usize;
    for rule in wanted {
        // Most rules are included whole.
        if owned.iter().any(|own| includes(own, rule)) {
            continue;
        }
        parts = parts.saturating_add(size(rule));
        if parts > PARTS_LIMIT {
            missing.push(rule.clone());
            continue;
        }
        missing.extend(take_apart(rule).into_iter().filter(|part| !owned.iter().any(|own| includes(own, part))));
    }
    compact(missing)
}

fn size(rule: &PolicyRule) -> usize {
    let lists = [&rule.api_groups, &rule.resources, &rule.verbs];
    let of_resources =
        lists.iter().map(|list| list.len()).fold(rule.resource_names.len().max(1), usize::saturating_mul);
    of_resources.saturating_add(rule.non_resource_urls.len().saturating_mul(rule.verbs.len()))
}

fn one(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

fn take_apart(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut parts = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let part = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: one(verb),
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part.clone());
                }
                parts.extend(
                    rule.resource_names.iter().map(|name| PolicyRule { resource_names: one(name), ..part.clone() }),
                );
            }
        }
    }
    for url in &rule.non_resource_urls {
        let of_url = rule.verbs.iter().map(|verb| PolicyRule {
            non_resource_urls: one(url),
            verbs: one(verb),
            ..PolicyRule::default()
        });
        parts.extend(of_url);
    }
    parts
}

/// Whether one rule includes all of another.
fn includes(own: &PolicyRule, other: &PolicyRule) -> bool {
    let all = |own: &[String], other: &[String]| {
        own.iter().any(|text| text == "*") || other.iter().all(|text| own.contains(text))
    };
    let names = if other.resource_names.is_empty() {
        own.resource_names.is_empty()
    } else {
        own.resource_names.is_empty() || other.resource_names.iter().all(|name| own.resource_names.contains(name))
    };
    let urls = other
        .non_resource_urls
        .iter()
        .all(|url| own.non_resource_urls.iter().any(|pattern| path_matches(pattern, url)));
    all(&own.verbs, &other.verbs)
        && all(&own.api_groups, &other.api_groups)
        && includes_resources(&own.resources, &other.resources)
        && urls
        && names
}

fn includes_resources(own: &[String], other: &[String]) -> bool {
    other.iter().all(|resource| {
        let of_any = resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
        own.iter().any(|pattern| pattern == "*" || pattern == resource || Some(pattern) == of_any.as_ref())
    })
}

/// Rules for one group and resource (and name) become one, with all their verbs.
fn compact(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut simple: BTreeMap<[Vec<String>; 3], PolicyRule> = BTreeMap::new();
    let mut others = Vec::new();
    for rule in rules {
        let is_simple = rule.non_resource_urls.is_empty()
            && rule.api_groups.len() == 1
            && rule.resources.len() == 1
            && rule.resource_names.len() <= 1;
        if !is_simple {
            others.push(rule);
            continue;
        }
        let key = [rule.api_groups.clone(), rule.resources.clone(), rule.resource_names.clone()];
        match simple.get_mut(&key) {
            Some(own) => own.verbs.extend(rule.verbs),
            None => {
                simple.insert(key, rule);
            }
        }
    }
    simple.into_values().chain(others).collect()
}

/// `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`
pub fn rule_text(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let written =
        parts.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name}:{}", quoted(list)));
    format!("{{{}}}", written.collect::<Vec<_>>().join(", "))
}

/// `["a" "b"]`
pub(crate) fn quoted(list: &[String]) -> String {
    let texts: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rules(json: Value) -> Vec<PolicyRule> {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_is_not_owned_is_found() {
        let pods = |verbs: Value| json!([{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]);
        let all = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]);
        let cases: [(Value, Value, &[&str]); 12] = [
            (pods(json!(["get"])), pods(json!(["get"])), &[]),
            (pods(json!(["*"])), pods(json!(["get"])), &[]),
            (pods(json!(["get"])), pods(json!(["*"])), &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["*"]}"#]),
            (
                pods(json!(["get"])),
                pods(json!(["get", "list", "watch"])),
                &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#],
            ),
            (all.clone(), pods(json!(["get"])), &[]),
            (all, json!([{"nonResourceURLs": ["/x"], "verbs": ["get"]}]), &[]),
            (
                json!([{"nonResourceURLs": ["/x/*"], "verbs": ["get"]}]),
                json!([{"nonResourceURLs": ["/x/y", "/z"], "verbs": ["get"]}]),
                &[r#"{NonResourceURLs:["/z"], Verbs:["get"]}"#],
            ),
            (
                json!([{"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["get"]}]),
                json!([{"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get"]}]),
                &[],
            ),
            (
                json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get"]}]),
                json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]),
                &[r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#],
            ),
            (
                json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]),
                json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get"]}]),
                &[],
            ),
            (
                // Two rules together own what neither owns alone.
                json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]),
                pods(json!(["get", "list"])),
                &[],
            ),
            (
                json!([]),
                json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get"]}]),
                &[r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["a"], Verbs:["get"]}"#],
            ),
        ];
        for (owned, wanted, expected) in cases {
            let missing: Vec<String> =
                covers(&rules(owned.clone()), &rules(wanted.clone())).iter().map(rule_text).collect();
            assert_eq!(missing, expected, "{owned} {wanted}");
        }
    }

    #[test]
    fn monstrous_rules_are_not_taken_apart() {
        let many = |prefix: &str| (0..1000).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
        let rule =
            PolicyRule { api_groups: many("g"), resources: many("r"), verbs: many("v"), ..PolicyRule::default() };
        assert_eq!(covers(&[], std::slice::from_ref(&rule)).len(), 1);
        assert!(covers(std::slice::from_ref(&rule), std::slice::from_ref(&rule)).is_empty());
    }
}
