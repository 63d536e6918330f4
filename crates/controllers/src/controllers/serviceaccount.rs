//! Gives every namespace its ServiceAccount `default`.

use std::time::Duration;

use k8s_client::Change;
use k8s_object::NamespacedName;
use k8s_object::resources::{NAMESPACES, SERVICE_ACCOUNTS};
use serde_json::json;
use world::Timestamp;

use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::view::View;

pub(super) static CONTROLLER: Controller = Controller {
    name: "serviceaccount-controller",
    event_source: "serviceaccount-controller",
    service_account: "service-account-controller",
    about: "Creates the ServiceAccount `default` in every namespace, and again when it was deleted.",
    watches: &[Watched { resource: NAMESPACES, indices: &[] }, Watched { resource: SERVICE_ACCOUNTS, indices: &[] }],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 2,
    rest: Duration::ZERO,
};

const NAME: &str = "default";

fn triggers(change: &Change, _view: &View<'_>) -> Vec<Trigger> {
    if change.resource == NAMESPACES {
        return vec![Key::new(NAMESPACES, "", &change.key.name).into()];
    }
    let missing = change.new.is_none() && change.key.name == NAME;
    if missing { vec![Key::new(NAMESPACES, "", &change.key.namespace).into()] } else { Vec::new() }
}

fn plan(view: &View<'_>, key: &Key, _now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let namespace = key.object.name.as_str();
    let active = view.get(&NAMESPACES, &key.object).is_some_and(|found| !found.meta().is_terminating());
    if active && view.get(&SERVICE_ACCOUNTS, &NamespacedName::new(namespace, NAME)).is_none() {
        plan.then(Action::Create {
            resource: SERVICE_ACCOUNTS,
            namespace: namespace.to_owned(),
            body: json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace}}),
            exists_ok: true,
        });
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, object};

    #[test]
    fn every_active_namespace_has_the_account() {
        let namespace = || object(&NAMESPACES, "", "a", json!({}));
        let going = object(&NAMESPACES, "", "a", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        let key = Key::new(NAMESPACES, "", "a");
        check(&CONTROLLER, &[namespace()], &key, &["create serviceaccounts a/default"]);
        check(&CONTROLLER, &[namespace(), object(&SERVICE_ACCOUNTS, "a", "default", json!({}))], &key, &[]);
        check(
            &CONTROLLER,
            &[namespace(), object(&SERVICE_ACCOUNTS, "b", "default", json!({}))],
            &key,
            &["create serviceaccounts a/default"],
        );
        check(&CONTROLLER, &[going], &key, &[]);
        check(&CONTROLLER, &[], &key, &[]);
    }
}
