//! Empties namespaces that are being deleted and lets them go.
//!
//! Pods go first, then everything else, collection by collection; what has finalizers of its own is waited for. The last
//! step asks the server, not the view, whether every resource is empty, and only then takes the finalizer `kubernetes` away.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_client::Change;
use k8s_object::resources::{NAMESPACES, PODS};
use k8s_object::views::{Condition, Namespace};
use serde_json::{Value, json};
use world::Timestamp;

use super::condition_json;
use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::options::ResourceInfo;
use crate::view::{Read, View};

pub(super) static CONTROLLER: Controller = Controller {
    name: "namespace-controller",
    event_source: "namespace-controller",
    service_account: "namespace-controller",
    about: "Deletes the content of namespaces that are being deleted, then the namespaces.",
    watches: &[Watched { resource: NAMESPACES, indices: &[] }],
    watches_everything: true,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 10,
    rest: Duration::from_millis(10),
};

const FINALIZER: &str = "kubernetes";
/// Objects that the view does not show (events, or what a stale view misses) are looked for again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    let name = if change.resource == NAMESPACES { &change.key.name } else { &change.key.namespace };
    if name.is_empty() {
        return Vec::new();
    }
    let key = Key::new(NAMESPACES, "", name);
    match view.get(&NAMESPACES, &key.object) {
        Some(namespace) if namespace.meta().is_terminating() => vec![key.into()],
        _ => Vec::new(),
    }
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let Some(object) = view.get(&NAMESPACES, &key.object) else { return Ok(Plan::nothing()) };
    let namespace = object.view::<Namespace>()?;
    if !object.meta().is_terminating() || !namespace.spec.finalizers.iter().any(|own| own == FINALIZER) {
        return Ok(Plan::nothing());
    }
    let name = key.object.name.as_str();
    let mut plan = Plan::nothing();
    let mut remaining = Remaining::default();
    let resources: Vec<ResourceInfo> = view.resources().into_iter().filter(|info| info.namespaced).collect();
    for info in &resources {
        let objects = view.list_namespace(&info.resource, name);
        remaining.note(info, &objects);
    }
    let deletable = |info: &&ResourceInfo| {
        view.list_namespace(&info.resource, name).iter().any(|object| !object.meta().is_terminating())
    };
    let pods = resources.iter().find(|info| info.resource == PODS).filter(|_| remaining.has("pods"));
    let first: Vec<&ResourceInfo> = match pods {
        Some(pods) => vec![pods],
        None => resources.iter().collect(),
    };
    for info in first.into_iter().filter(deletable) {
        plan.then(Action::DeleteAll { resource: info.resource.clone(), namespace: name.to_owned() });
    }
    if remaining.counts.is_empty() {
        let reads = resources.iter().map(|info| Read::Namespace(info.resource.clone(), name.to_owned()));
        let (asked, missing): (Vec<Read>, Vec<Read>) = reads.partition(|read| view.live(read).is_some());
        if !missing.is_empty() {
            return Ok(Plan::ask(missing));
        }
        for (info, read) in resources.iter().zip(&asked) {
            let found = view.live(read).unwrap_or_default();
            if !found.is_empty() {
                plan.then(Action::DeleteAll { resource: info.resource.clone(), namespace: name.to_owned() });
                plan.requeue(LOOK_AGAIN);
                if info.resource.resource != "events" {
                    remaining.note(info, found);
                }
            }
        }
        if plan.steps.is_empty() {
            let kept: Vec<&String> = namespace.spec.finalizers.iter().filter(|own| *own != FINALIZER).collect();
            let change = json!({"spec": {"finalizers": kept}});
            plan.then(Action::Update { resource: NAMESPACES, base: object, subresource: "finalize", change });
            return Ok(plan);
        }
    }
    if let Some(conditions) = remaining.conditions(&namespace.status.conditions, now) {
        let change = json!({"status": {"phase": "Terminating", "conditions": conditions}});
        // The status first: what follows may end the namespace.
        plan.steps.insert(
            0,
            crate::Step::One(Action::Update { resource: NAMESPACES, base: object, subresource: "status", change }),
        );
    }
    Ok(plan)
}

/// What still stands in the namespace.
#[derive(Default)]
struct Remaining {
    /// Number of objects by `resource.group`.
    counts: BTreeMap<String, usize>,
    /// Number of objects by finalizer.
    finalizers: BTreeMap<String, usize>,
}

impl Remaining {
    fn note(&mut self, info: &ResourceInfo, objects: &[std::sync::Arc<k8s_object::Object>]) {
        if objects.is_empty() {
            return;
        }
        *self.counts.entry(format!("{}.{}", info.resource.resource, info.resource.group)).or_default() += objects.len();
        for finalizer in objects.iter().flat_map(|object| &object.meta().finalizers) {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    fn has(&self, resource: &str) -> bool {
        self.counts.contains_key(&format!("{resource}."))
    }

    /// All conditions, if they differ from the old ones. Types, reasons and messages are upstream's.
    fn conditions(&self, old: &[Condition], now: Timestamp) -> Option<Vec<Value>> {
        let content: Vec<String> =
            self.counts.iter().map(|(resource, count)| format!("{resource} has {count} resource instances")).collect();
        let finalizers: Vec<String> =
            self.finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
        let remaining = match content.is_empty() {
            true => ("False", "ContentRemoved", "All content successfully removed".to_owned()),
            false => ("True", "SomeResourcesRemain", format!("Some resources are remaining: {}", content.join(", "))),
        };
        let finalizing = match finalizers.is_empty() {
            true => ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished".to_owned()),
            false => {
                let message =
                    format!("Some content in the namespace has finalizers remaining: {}", finalizers.join(", "));
                ("True", "SomeFinalizersRemain", message)
            }
        };
        let deleted = "All content successfully deleted, may be waiting on finalization".to_owned();
        let wanted = [
            (
                "NamespaceDeletionDiscoveryFailure",
                ("False", "ResourcesDiscovered", "All resources successfully discovered".to_owned()),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                ("False", "ParsedGroupVersions", "All legacy kube types successfully parsed".to_owned()),
            ),
            ("NamespaceDeletionContentFailure", ("False", "ContentDeleted", deleted)),
            ("NamespaceContentRemaining", remaining),
            ("NamespaceFinalizersRemaining", finalizing),
        ];
        let mut changed = false;
        let conditions = wanted.into_iter().map(|(kind, (status, reason, message))| {
            let before = old.iter().find(|condition| condition.kind == kind);
            let same = |condition: &&Condition| {
                condition.status == status && condition.reason == reason && condition.message == message
            };
            changed |= !before.is_some_and(|before| same(&before));
            let kept =
                before.filter(|before| before.status == status).and_then(|before| before.last_transition_time.clone());
            condition_json(&Condition {
                kind: kind.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message,
                last_transition_time: Some(kept.unwrap_or_else(|| now.to_string())),
                ..Condition::default()
            })
        });
        let conditions = conditions.collect();
        changed.then_some(conditions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, plan_of};
    use k8s_object::resources::{CONFIG_MAPS, EVENTS};

    fn namespace(terminating: bool) -> std::sync::Arc<k8s_object::Object> {
        let deletion = terminating.then_some("2026-01-01T00:00:00Z");
        object(
            &NAMESPACES,
            "",
            "a",
            json!({"metadata": {"deletionTimestamp": deletion}, "spec": {"finalizers": ["kubernetes"]}}),
        )
    }

    fn actions(objects: &[std::sync::Arc<k8s_object::Object>]) -> Vec<String> {
        let plan = plan_of(&CONTROLLER, objects, &Key::new(NAMESPACES, "", "a"));
        let without_status = |action: &String| !action.starts_with("update namespaces/status");
        plan.actions.into_iter().filter(without_status).collect()
    }

    #[test]
    fn content_goes_in_order_and_the_namespace_last() {
        let pod = || object(&PODS, "a", "p", json!({}));
        let going = || object(&PODS, "a", "p", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        let map = || object(&CONFIG_MAPS, "a", "m", json!({"metadata": {"finalizers": ["x/y"]}}));
        let event = || object(&EVENTS, "a", "e", json!({}));
        let elsewhere = || object(&CONFIG_MAPS, "b", "m", json!({}));
        let finalize = r#"update namespaces/finalize a {"spec":{"finalizers":[]}}"#;
        assert_eq!(actions(&[namespace(false), pod()]), [""; 0], "it is not being deleted");
        assert_eq!(actions(&[namespace(true), pod(), map(), event()]), ["delete all pods a"]);
        assert_eq!(actions(&[namespace(true), going(), map()]), [""; 0], "pods are waited for");
        assert_eq!(actions(&[namespace(true), map(), event()]), ["delete all configmaps a"]);
        assert_eq!(actions(&[namespace(true), event(), elsewhere()]), ["delete all events a"]);
        assert_eq!(actions(&[namespace(true), elsewhere()]), [finalize]);
    }

    #[test]
    fn conditions_say_what_remains() {
        let map = object(&CONFIG_MAPS, "a", "m", json!({"metadata": {"finalizers": ["x/y"]}}));
        let plan = plan_of(&CONTROLLER, &[namespace(true), map], &Key::new(NAMESPACES, "", "a"));
        for message in [
            "Some resources are remaining: configmaps. has 1 resource instances",
            "Some content in the namespace has finalizers remaining: x/y in 1 resource instances",
        ] {
            assert!(plan.actions[0].contains(message), "{}", plan.actions[0]);
        }
    }
}
