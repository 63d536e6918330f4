//! Fills ClusterRoles that are the sum of others, such as `admin`, `edit` and `view`.

use std::time::Duration;

use k8s_client::{Change, Index};
use k8s_object::resources::CLUSTER_ROLES;
use k8s_object::views::{PolicyRule, Role};
use serde_json::json;
use world::Timestamp;

use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::view::View;

/// Roles that have an aggregation rule.
const AGGREGATED: Index = Index {
    name: "aggregated",
    keys: |object| match object.view::<Role>() {
        Ok(role) if role.aggregation_rule.is_some() => vec![String::new()],
        _ => Vec::new(),
    },
};

pub(super) static CONTROLLER: Controller = Controller {
    name: "clusterrole-aggregation-controller",
    event_source: "clusterrole-aggregation-controller",
    service_account: "clusterrole-aggregation-controller",
    about: "Keeps the rules of aggregated ClusterRoles equal to the rules of the roles they select.",
    watches: &[Watched { resource: CLUSTER_ROLES, indices: &[AGGREGATED] }],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 1,
    rest: Duration::ZERO,
};

fn triggers(_change: &Change, view: &View<'_>) -> Vec<Trigger> {
    let roles = view.indexed(&CLUSTER_ROLES, AGGREGATED.name, "");
    roles.iter().map(|role| Key::of(CLUSTER_ROLES, role).into()).collect()
}

fn plan(view: &View<'_>, key: &Key, _now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(object) = view.get(&CLUSTER_ROLES, &key.object) else { return Ok(plan) };
    let role = object.view::<Role>()?;
    let Some(aggregation) = &role.aggregation_rule else { return Ok(plan) };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in &aggregation.cluster_role_selectors {
        for other in view.list(&CLUSTER_ROLES) {
            if other.key() == key.object || !selector.matches(&other.meta().labels) {
                continue;
            }
            for rule in &other.view::<Role>()?.rules {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    if rules != role.rules {
        plan.then(Action::Update {
            resource: CLUSTER_ROLES,
            base: object,
            subresource: "",
            change: json!({"rules": rules}),
        });
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, object};
    use serde_json::Value;

    fn role(name: &str, label: &str, rules: Value) -> std::sync::Arc<k8s_object::Object> {
        object(&CLUSTER_ROLES, "", name, json!({"metadata": {"labels": {"to": label}}, "rules": rules}))
    }

    #[test]
    fn rules_are_those_of_the_selected_roles() {
        let sum = |rules: Value| {
            let rule = json!({"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]});
            object(
                &CLUSTER_ROLES,
                "",
                "sum",
                json!({"metadata": {"labels": {"to": "sum"}}, "aggregationRule": rule, "rules": rules}),
            )
        };
        let get = || json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        let list = || json!([{"verbs": ["list"]}]);
        let key = Key::new(CLUSTER_ROLES, "", "sum");
        let both = r#"update clusterroles sum {"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]},{"verbs":["list"]}]}"#;
        check(&CONTROLLER, &[sum(json!(null)), role("a", "sum", get()), role("b", "sum", list())], &key, &[both]);
        check(
            &CONTROLLER,
            &[sum(get()), role("a", "sum", get()), role("b", "sum", get()), role("c", "other", list())],
            &key,
            &[],
        );
        check(&CONTROLLER, &[sum(get())], &key, &[r#"update clusterroles sum {"rules":[]}"#]);
        check(&CONTROLLER, &[role("sum", "sum", get())], &key, &[]);
    }
}
