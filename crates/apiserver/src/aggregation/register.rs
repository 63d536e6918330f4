//! The APIServices of what this server serves itself: made and taken away with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_client::{Body, Options, Preconditions, Request, Verb};
use k8s_object::{ApiError, GroupVersionResource, Object};
use serde_json::{Value, json};

use super::{GROUP, PLURAL, priorities};
use crate::core::Core;
use crate::own_objects;
use crate::registry::Strategy;

const SERVICES: GroupVersionResource = GroupVersionResource::of(GROUP, "v1", PLURAL);
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const AGENT: &str = "kube-aggregator";

/// Runs until it is dropped.
pub(crate) async fn run(core: Arc<Core>) {
    let (Some(services), Some(definitions)) =
        (core.registry.cache(GROUP, PLURAL), core.registry.cache("apiextensions.k8s.io", "customresourcedefinitions"))
    else {
        return;
    };
    let (mut service_changes, mut definition_changes) = (services.subscribe(), definitions.subscribe());
    let mut first = true;
    loop {
        service_changes.borrow_and_update();
        definition_changes.borrow_and_update();
        for step in steps(&wanted(&core), &services.all(), first) {
            // Another process may have been faster, or the store is away; the next change looks again.
            let _ = carry_out(&core, step).await;
        }
        first = false;
        tokio::select! {
            biased;
            changed = service_changes.changed() => if changed.is_err() { return },
            changed = definition_changes.changed() => if changed.is_err() { return },
        }
    }
}

/// What a version's APIService is like.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    spec: Value,
    /// Whether it goes with its custom resources.
    custom: bool,
}

/// By name.
fn wanted(core: &Core) -> BTreeMap<String, Wanted> {
    let served = core.registry.served();
    let mut found = BTreeMap::new();
    // None is made for the group of APIServices itself.
    for resource in served.resources().filter(|resource| resource.group != GROUP) {
        let (group, version) = (resource.group.as_str(), resource.version.as_str());
        let custom = matches!(resource.strategy, Strategy::Custom(_));
        let Some((of_group, of_version)) = priorities::of(group, version).or(custom.then_some(priorities::CUSTOM))
        else {
            continue;
        };
        let mut spec = json!({"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version});
        if !group.is_empty() {
            spec["group"] = json!(group);
        }
        found.entry(format!("{version}.{group}")).or_insert(Wanted { spec, custom });
    }
    found
}

#[derive(Debug, PartialEq)]
enum Step {
    Create(String, Wanted),
    /// The whole object, with the new spec.
    Update(Value),
    /// By name and uid.
    Delete(String, String),
}

fn steps(wanted: &BTreeMap<String, Wanted>, there: &[Arc<Object>], first: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, own) in wanted {
        match there.iter().find(|object| object.meta().name == *name) {
            None if first || own.custom => steps.push(Step::Create(name.clone(), own.clone())),
            // Somebody took it away, and it is made again when the server starts.
            None => {}
            Some(object) if object.meta().labels.get(AUTOMANAGED).is_some() => {
                let mut value = object.value();
                if value["spec"] != own.spec {
                    value["spec"] = own.spec.clone();
                    steps.push(Step::Update(value));
                }
            }
            Some(_) => {}
        }
    }
    for object in there.iter().filter(|object| !wanted.contains_key(&object.meta().name)) {
        let goes = match object.meta().labels.get(AUTOMANAGED) {
            Some("true") => true,
            Some("onstart") => first,
            _ => false,
        };
        if goes && !object.meta().is_terminating() {
            steps.push(Step::Delete(object.meta().name.clone(), object.meta().uid.clone()));
        }
    }
    steps
}

async fn carry_out(core: &Core, step: Step) -> Result<(), ApiError> {
    let request =
        |verb, name: String, body, options| Request { body, options, ..Request::new(verb, &SERVICES, "", &name) };
    let request = match step {
        Step::Create(name, wanted) => {
            let labels = json!({AUTOMANAGED: if wanted.custom { "true" } else { "onstart" }});
            let object = json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": name, "labels": labels}, "spec": wanted.spec,
            });
            request(Verb::Create, String::new(), Body::Json(object), Options::default())
        }
        Step::Update(value) => {
            let name = value["metadata"]["name"].as_str().unwrap_or("").to_owned();
            request(Verb::Update, name, Body::Json(value), Options::default())
        }
        Step::Delete(name, uid) => {
            let preconditions = Preconditions { uid: Some(uid), ..Preconditions::default() };
            request(Verb::Delete, name, Body::None, Options { preconditions, ..Options::default() })
        }
    };
    own_objects::execute(core, AGENT, request).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_follow_what_is_served() {
        let spec = |priority: i64| json!({"group": "g", "version": "v1", "groupPriorityMinimum": priority, "versionPriority": 1});
        let own = |custom: bool| BTreeMap::from([("v1.g".to_owned(), Wanted { spec: spec(1), custom })]);
        let object = |label: &str, spec: Value| {
            let labels = if label.is_empty() { json!({}) } else { json!({AUTOMANAGED: label}) };
            let value = json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": "v1.g", "uid": "u", "labels": labels}, "spec": spec,
            });
            Arc::new(Object::from_value(&value).unwrap())
        };
        let none = BTreeMap::new();
        let create = |custom| Step::Create("v1.g".to_owned(), Wanted { spec: spec(1), custom });
        let delete = || Step::Delete("v1.g".to_owned(), "u".to_owned());
        let cases = [
            (own(false), vec![], true, vec![create(false)]),
            (own(false), vec![], false, vec![]),
            (own(true), vec![], false, vec![create(true)]),
            (own(true), vec![object("true", spec(1))], false, vec![]),
            (own(true), vec![object("true", spec(2))], false, vec![Step::Update(object("true", spec(1)).value())]),
            (own(true), vec![object("", spec(2))], false, vec![]),
            (none.clone(), vec![object("true", spec(1))], false, vec![delete()]),
            (none.clone(), vec![object("onstart", spec(1))], false, vec![]),
            (none.clone(), vec![object("onstart", spec(1))], true, vec![delete()]),
            (none, vec![object("", spec(1))], true, vec![]),
        ];
        for (position, (wanted, there, first, expected)) in cases.into_iter().enumerate() {
            assert_eq!(steps(&wanted, &there, first), expected, "case {position}");
        }
    }
}
