//! Counts what the namespaces with ResourceQuotas use.
//!
//! Admission charges quotas before objects are written and never gives back; this controller counts anew when objects go or cost
//! less, when a quota changes, and from time to time, for what was charged and never written.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_client::Change;
use k8s_kinds::quota::{self, Amounts};
use k8s_object::GroupVersionResource;
use k8s_object::resources::{PODS, SERVICES};
use serde_json::{Map, Value, json};
use world::Timestamp;

use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::options::ResourceInfo;
use crate::view::View;

const QUOTAS: GroupVersionResource = GroupVersionResource::of("", "v1", "resourcequotas");
const CLAIMS: GroupVersionResource = GroupVersionResource::of("", "v1", "persistentvolumeclaims");

pub(super) static CONTROLLER: Controller = Controller {
    name: "resourcequota-controller",
    event_source: "resourcequota-controller",
    service_account: "resourcequota-controller",
    about: "Keeps the status of ResourceQuotas: what is allowed and what is used.",
    watches: &[Watched { resource: QUOTAS, indices: &[] }],
    watches_everything: true,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 5,
    // A burst of deletions is one count.
    rest: Duration::from_millis(200),
};

/// How often everything is counted again (kube-controller-manager `--resource-quota-sync-period`).
const RESYNC: Duration = Duration::from_secs(5 * 60);
/// When what was given back is counted again: some of it may have been charged for objects that were just being written.
const RECOUNT: Duration = Duration::from_secs(1);

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.resource == QUOTAS {
        let spec =
            |object: &Option<std::sync::Arc<k8s_object::Object>>| object.as_ref().map(|own| own.value()["spec"].take());
        let status_only = change.old.is_some() && change.new.is_some() && spec(&change.old) == spec(&change.new);
        let own: Trigger = Key { resource: QUOTAS, object: change.key.clone() }.into();
        // Quotas count as objects too.
        return if status_only { Vec::new() } else { std::iter::once(own).chain(all(change, view)).collect() };
    }
    // What is new has been charged.
    let may_cost_less = match (&change.old, &change.new) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(_), Some(_)) => [&PODS, &SERVICES, &CLAIMS].contains(&&change.resource),
    };
    if may_cost_less { all(change, view) } else { Vec::new() }
}

/// The quotas of the namespace of a change.
fn all(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.key.namespace.is_empty() {
        return Vec::new();
    }
    let quotas = view.list_namespace(&QUOTAS, &change.key.namespace);
    quotas.iter().map(|quota| Key::of(QUOTAS, quota).into()).collect()
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(object) = view.get(&QUOTAS, &key.object) else { return Ok(plan) };
    let value = object.value();
    let hard = quota::amounts(&value["spec"]["hard"]);
    let used = count(view, &key.object.namespace, &value, &hard, now);
    let status = &value["status"];
    let charged = quota::amounts(&status["used"]);
    let gives_back =
        charged.iter().any(|(name, amount)| used.get(name).is_some_and(|own| own.quantity < amount.quantity));
    plan.requeue(if gives_back { RECOUNT } else { RESYNC });
    if quota::amounts(&status["hard"]) == hard && charged == used {
        return Ok(plan);
    }
    let change = json!({"status": {
        "hard": replacement(&status["hard"], &hard),
        "used": replacement(&status["used"], &used),
    }});
    plan.then(Action::Update { resource: QUOTAS, base: object.clone(), subresource: "status", change });
    Ok(plan)
}

/// What makes of one list another: the new amounts, and null for what is in it no more.
fn replacement(old: &Value, new: &Amounts) -> Value {
    let gone = old.as_object().into_iter().flat_map(Map::keys).filter(|name| !new.contains_key(*name));
    let mut list = quota::to_value(new);
    for name in gone {
        list[name.as_str()] = Value::Null;
    }
    list
}

/// What is used of each resource of a quota.
fn count(view: &View<'_>, namespace: &str, quota: &Value, hard: &Amounts, now: Timestamp) -> Amounts {
    let mut used: Amounts = hard.keys().map(|name| (name.clone(), quota::Amount::default())).collect();
    let scopes = quota::scopes(quota);
    let mut seen = BTreeSet::new();
    for ResourceInfo { resource, namespaced, .. } in view.resources() {
        let (group, plural) = (resource.group.as_ref(), resource.resource.as_ref());
        // One version of each.
        let first = seen.insert((group.to_owned(), plural.to_owned()));
        let charged = quota::matching(group, plural, hard);
        if !namespaced || !first || charged.is_empty() || quota::is_ignored(group, plural) {
            continue;
        }
        for object in view.list_namespace(&resource, namespace) {
            let value = object.value();
            if !quota::in_scopes(group, plural, &scopes, &value) {
                continue;
            }
            let mut cost = quota::usage(group, plural, &value, now);
            cost.retain(|name, _| charged.contains(name));
            quota::add(&mut used, &cost);
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, object};

    fn quota(hard: Value, status: Value) -> std::sync::Arc<k8s_object::Object> {
        object(&QUOTAS, "a", "q", json!({"spec": {"hard": hard}, "status": status}))
    }

    fn pod(name: &str, extra: Value) -> std::sync::Arc<k8s_object::Object> {
        let mut pod = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]}});
        crate::json::merge(&mut pod, &extra);
        object(&PODS, "a", name, pod)
    }

    #[test]
    fn what_is_there_is_counted() {
        let key = Key::new(QUOTAS, "a", "q");
        let hard = json!({"pods": "3", "requests.cpu": "2", "count/configmaps": "5"});
        let empty = || quota(hard.clone(), json!({}));
        check(
            &CONTROLLER,
            &[empty(), pod("x", json!({})), pod("y", json!({"status": {"phase": "Failed"}}))],
            &key,
            &[
                r#"update resourcequotas/status a/q {"status":{"hard":{"count/configmaps":"5","pods":"3","requests.cpu":"2"},"used":{"count/configmaps":"0","pods":"1","requests.cpu":"500m"}}}"#,
            ],
        );
        let counted = json!({"hard": {"pods": "3"}, "used": {"pods": "1", "services": "2"}});
        check(
            &CONTROLLER,
            &[quota(json!({"pods": "3"}), counted), pod("x", json!({}))],
            &key,
            &[
                r#"update resourcequotas/status a/q {"status":{"hard":{"pods":"3"},"used":{"pods":"1","services":null}}}"#,
            ],
        );
        let settled = json!({"hard": {"pods": "3"}, "used": {"pods": "1"}});
        check(&CONTROLLER, &[quota(json!({"pods": "3"}), settled), pod("x", json!({}))], &key, &[]);
        check(&CONTROLLER, &[], &key, &[]);
    }
}
