//! Services as the scheduler sees them: pods of one Service are spread by default, even those that no controller has made.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_object::views::Service;
use k8s_object::{LabelSelector, NamespacedName, Object, Requirement};

use crate::groups::PodGroup;
use crate::pod_info::{self, PodInfo};

/// The selectors of all Services that have one, by namespace and name.
#[derive(Debug, Default)]
pub struct Services(BTreeMap<NamespacedName, LabelSelector>);

impl Services {
    /// A Service as it is now; absent when it is gone. One without a selector, or that cannot be read, has no pods.
    pub fn set(&mut self, key: &NamespacedName, object: Option<&Object>) {
        let view = object.and_then(|object| object.view::<Service>().ok());
        match view.map(|view| view.spec.selector.clone()).filter(|labels| !labels.is_empty()) {
            Some(labels) => {
                let equal = |(key, value): (String, String)| Requirement::In(key, [value].into());
                let requirements = labels.into_iter().map(equal).collect();
                self.0.insert(key.clone(), LabelSelector { requirements, nothing: false });
            }
            None => _ = self.0.remove(key),
        }
    }

    /// The pod as decisions see it: one that says nothing of how it is spread, and that no controller has made, is spread with the
    /// pods that all its Services select (kube-scheduler `helper.DefaultSelector`). The pods of a controller are of the same
    /// Services all.
    pub fn with_default_spread<'a>(&self, pod: &'a PodInfo) -> Cow<'a, PodInfo> {
        if self.0.is_empty() || !pod.shape.spread.is_empty() {
            return Cow::Borrowed(pod);
        }
        let first = NamespacedName::new(&pod.key.namespace, "");
        let here = self.0.range(first..).take_while(|(key, _)| key.namespace == pod.key.namespace);
        let own = here.map(|(_, selector)| selector).filter(|selector| selector.matches(&pod.shape.labels));
        let mut requirements: Vec<Requirement> = Vec::new();
        for requirement in own.flat_map(|selector| &selector.requirements) {
            if !requirements.contains(requirement) {
                requirements.push(requirement.clone());
            }
        }
        if requirements.is_empty() {
            return Cow::Borrowed(pod);
        }
        let selector = LabelSelector { requirements, nothing: false };
        let mut spread = pod.clone();
        spread.shape.spread = pod_info::default_spread(&PodGroup::of_services(selector, &pod.key.namespace));
        spread.shape.spread_is_default = true;
        Cow::Owned(spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::pod_object;
    use serde_json::{Value, json};

    type Given = (&'static str, &'static str, Value);

    fn services(list: &[Given]) -> Services {
        let mut services = Services::default();
        for (namespace, name, selector) in list {
            let value = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name}, "spec": {"selector": selector}});
            services.set(&NamespacedName::new(*namespace, *name), Some(&Object::from_value(&value).unwrap()));
        }
        services
    }

    fn pod(spec: Value, labels: Value) -> PodInfo {
        PodInfo::new(&pod_object("x", spec, labels), &Default::default()).unwrap()
    }

    #[test]
    fn pods_of_a_service_are_spread_unless_they_say_how() {
        let own = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]});
        let web = || ("default", "web", json!({"app": "web"}));
        let cases: [(&str, Vec<Given>, Value, usize); 6] = [
            ("selected", vec![web()], json!({}), 2),
            ("none is", vec![("default", "db", json!({"app": "db"}))], json!({}), 0),
            ("not here", vec![("elsewhere", "web", json!({"app": "web"}))], json!({}), 0),
            ("without a selector", vec![("default", "web", json!({}))], json!({}), 0),
            (
                "between others",
                vec![("a", "a", json!({"app": "web"})), web(), ("e", "e", json!({"app": "db"}))],
                json!({}),
                2,
            ),
            ("with constraints of its own", vec![web()], own, 1),
        ];
        for (name, list, spec, constraints) in cases {
            let pod = pod(spec, json!({"app": "web"}));
            assert_eq!(services(&list).with_default_spread(&pod).shape.spread.len(), constraints, "{name}");
        }
    }

    #[test]
    fn those_of_several_services_are_spread_with_the_pods_of_all() {
        let services = services(&[("default", "a", json!({"app": "web"})), ("default", "b", json!({"tier": "front"}))]);
        let both = pod(json!({}), json!({"app": "web", "tier": "front"}));
        let spread = services.with_default_spread(&both);
        assert!(spread.shape.spread_is_default);
        let group = &spread.shape.spread[0].group;
        assert!(group.contains(&both) && !group.contains(&pod(json!({}), json!({"app": "web"}))));
    }

    #[test]
    fn services_come_and_go() {
        let mut services = services(&[("default", "web", json!({"app": "web"}))]);
        services.set(&NamespacedName::new("default", "web"), None);
        assert!(services.with_default_spread(&pod(json!({}), json!({"app": "web"}))).shape.spread.is_empty());
    }
}
