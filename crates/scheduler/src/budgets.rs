//! PodDisruptionBudgets as preemption sees them: a wish, which it breaks last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_object::{LabelSelector, NamespacedName, Object};
use serde::Deserialize;
use serde_json::Value;

use crate::pod_info::PodInfo;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    selector: Option<LabelSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    disruptions_allowed: i64,
    disrupted_pods: BTreeMap<String, Value>,
}

#[derive(Debug)]
struct Budget {
    selector: LabelSelector,
    allowed: i64,
    /// Pods whose disruption it has been charged for already.
    disrupted: BTreeSet<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Budgets(BTreeMap<NamespacedName, Budget>);

impl Budgets {
    /// A budget as it is now; absent when it is gone. One that selects nothing, everything (upstream's scheduler takes that for
    /// nothing) or cannot be read protects no pod.
    pub fn set(&mut self, key: &NamespacedName, object: Option<&Object>) {
        let view = object.and_then(|object| object.view::<View>().ok());
        let selector = view.as_ref().and_then(|view| view.spec.selector.as_ref());
        match (&view, selector.filter(|selector| !selector.is_everything())) {
            (Some(view), Some(selector)) => {
                let budget = Budget {
                    selector: selector.clone(),
                    allowed: view.status.disruptions_allowed,
                    disrupted: view.status.disrupted_pods.keys().cloned().collect(),
                };
                self.0.insert(key.clone(), budget);
            }
            _ => _ = self.0.remove(key),
        }
    }

    /// Parts pods into those that could not all go without breaking a budget, and the others, each in the order given.
    pub fn part(&self, pods: Vec<Arc<PodInfo>>) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
        let mut charged: BTreeMap<&NamespacedName, i64> = BTreeMap::new();
        pods.into_iter().partition(|pod| {
            let mut breaks = false;
            for (key, budget) in self.protecting(pod) {
                let charged = charged.entry(key).or_default();
                *charged += 1;
                breaks |= *charged > budget.allowed;
            }
            breaks
        })
    }

    fn protecting<'a, 'p>(
        &'a self,
        pod: &'p PodInfo,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a Budget)> + use<'a, 'p> {
        let namespace = &pod.key.namespace;
        let first = NamespacedName::new(namespace, "");
        let here = self.0.range(first..).take_while(move |(key, _)| key.namespace == *namespace);
        let labelled = !pod.shape.labels.is_empty();
        here.filter(move |(_, budget)| {
            labelled && budget.selector.matches(&pod.shape.labels) && !budget.disrupted.contains(&pod.key.name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::pod_object;
    use serde_json::json;

    fn budgets(budgets: &[(&str, Value, i64, &[&str])]) -> Budgets {
        let mut all = Budgets::default();
        for (name, selector, allowed, disrupted) in budgets {
            let disrupted: BTreeMap<_, _> = disrupted.iter().map(|pod| (*pod, "2026-01-01T00:00:00Z")).collect();
            let value = json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"namespace": "default", "name": name},
                "spec": {"selector": selector}, "status": {"disruptionsAllowed": allowed, "disruptedPods": disrupted},
            });
            let object = Object::from_value(&value).unwrap();
            all.set(&object.key(), Some(&object));
        }
        all
    }

    #[test]
    fn pods_beyond_a_budget_break_it() {
        let web = || json!({"matchLabels": {"app": "web"}});
        let cases: [(&str, Budgets, &[&str]); 9] = [
            ("no budget", budgets(&[]), &[]),
            ("nothing is allowed", budgets(&[("p", web(), 0, &[])]), &["web-1", "web-2"]),
            ("one is allowed", budgets(&[("p", web(), 1, &[])]), &["web-2"]),
            ("all are allowed", budgets(&[("p", web(), 2, &[])]), &[]),
            ("the stricter counts", budgets(&[("p", web(), 2, &[]), ("q", web(), 1, &[])]), &["web-2"]),
            ("what was charged for is not charged again", budgets(&[("p", web(), 0, &["web-1"])]), &["web-2"]),
            ("others are not protected", budgets(&[("p", json!({"matchLabels": {"app": "x"}}), 0, &[])]), &[]),
            ("an empty selector protects nobody", budgets(&[("p", json!({}), 0, &[])]), &[]),
            ("no selector protects nobody", budgets(&[("p", Value::Null, 0, &[])]), &[]),
        ];
        for (name, budgets, expected) in cases {
            let pod = |name: &str, labels| {
                Arc::new(PodInfo::new(&pod_object(name, json!({}), labels), &Default::default()).unwrap())
            };
            let web = json!({"app": "web"});
            let pods = vec![pod("web-1", web.clone()), pod("bare", json!({})), pod("web-2", web)];
            let names = |pods: &[Arc<PodInfo>]| pods.iter().map(|pod| pod.key.name.clone()).collect::<Vec<_>>();
            let (breaking, others) = budgets.part(pods);
            assert_eq!(
                (names(&breaking), others.len()),
                (expected.iter().map(|n| n.to_string()).collect(), 3 - expected.len()),
                "{name}"
            );
        }
    }

    #[test]
    fn a_budget_ends_with_its_object_and_its_namespace() {
        let mut budgets = budgets(&[("p", json!({"matchLabels": {"app": "web"}}), 0, &[])]);
        let web = |namespace: &str| {
            let mut value = pod_object("web", json!({}), json!({"app": "web"})).value();
            value["metadata"]["namespace"] = json!(namespace);
            Arc::new(PodInfo::new(&Object::from_value(&value).unwrap(), &Default::default()).unwrap())
        };
        let breaking = |budgets: &Budgets, namespace| budgets.part(vec![web(namespace)]).0.len();
        assert_eq!((breaking(&budgets, "default"), breaking(&budgets, "other")), (1, 0));
        budgets.set(&NamespacedName::new("default", "p"), None);
        assert_eq!(breaking(&budgets, "default"), 0);
    }
}
