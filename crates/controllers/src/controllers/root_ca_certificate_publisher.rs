//! Publishes the cluster's CA in every namespace, where pods mount it beside their tokens.

use std::time::Duration;

use k8s_client::Change;
use k8s_object::NamespacedName;
use k8s_object::resources::{CONFIG_MAPS, NAMESPACES};
use serde_json::json;
use world::Timestamp;

use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::view::View;

pub(super) static CONTROLLER: Controller = Controller {
    name: "root-ca-certificate-publisher-controller",
    event_source: "root-ca-certificate-publisher-controller",
    service_account: "root-ca-cert-publisher",
    about: "Keeps the ConfigMap `kube-root-ca.crt` in every namespace.",
    watches: &[Watched { resource: CONFIG_MAPS, indices: &[] }, Watched { resource: NAMESPACES, indices: &[] }],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 2,
    rest: Duration::ZERO,
};

const NAME: &str = "kube-root-ca.crt";
/// Upstream's annotation, which `kubectl describe` shows.
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

fn triggers(change: &Change, _view: &View<'_>) -> Vec<Trigger> {
    if change.resource == NAMESPACES {
        return vec![Key::new(NAMESPACES, "", &change.key.name).into()];
    }
    if change.key.name == NAME { vec![Key::new(NAMESPACES, "", &change.key.namespace).into()] } else { Vec::new() }
}

fn plan(view: &View<'_>, key: &Key, _now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let namespace = key.object.name.as_str();
    if view.get(&NAMESPACES, &key.object).is_none_or(|found| found.meta().is_terminating()) {
        return Ok(plan);
    }
    let data = json!({"ca.crt": view.options().root_ca_pem});
    let annotations = json!({"kubernetes.io/description": DESCRIPTION});
    match view.get(&CONFIG_MAPS, &NamespacedName::new(namespace, NAME)) {
        None => plan.then(Action::Create {
            resource: CONFIG_MAPS,
            namespace: namespace.to_owned(),
            body: json!({
                "apiVersion": "v1", "kind": "ConfigMap", "data": data,
                "metadata": {"name": NAME, "namespace": namespace, "annotations": annotations},
            }),
            exists_ok: true,
        }),
        Some(map) => {
            let stored = map.value();
            if stored["data"] != data {
                // Keys that somebody added go; null removes them from what the update puts.
                let strangers = stored["data"].as_object().into_iter().flatten().filter(|(name, _)| *name != "ca.crt");
                let mut change = json!({"data": data, "metadata": {"annotations": annotations}});
                for (name, _) in strangers {
                    change["data"][name.as_str()] = serde_json::Value::Null;
                }
                plan.then(Action::Update { resource: CONFIG_MAPS, base: map, subresource: "", change });
            }
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_with, object, options};

    #[test]
    fn the_map_is_made_and_mended() {
        let namespace = || object(&NAMESPACES, "", "a", json!({}));
        let map = |data| object(&CONFIG_MAPS, "a", NAME, json!({"data": data}));
        let key = Key::new(NAMESPACES, "", "a");
        let options = crate::Options { root_ca_pem: "PEM".into(), ..options() };
        let update = format!(
            r#"update configmaps a/kube-root-ca.crt {{"data":{{"ca.crt":"PEM","x":null}},"metadata":{{"annotations":{{"kubernetes.io/description":"{DESCRIPTION}"}}}}}}"#
        );
        check_with(&options, &CONTROLLER, &[namespace()], &key, &["create configmaps a/kube-root-ca.crt"]);
        check_with(&options, &CONTROLLER, &[namespace(), map(json!({"ca.crt": "PEM"}))], &key, &[]);
        check_with(&options, &CONTROLLER, &[namespace(), map(json!({"ca.crt": "old", "x": "y"}))], &key, &[&update]);
        check_with(&options, &CONTROLLER, &[], &key, &[]);
    }
}
