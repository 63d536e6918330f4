//! Keeps pods with lasting names, one after the other or all at once, each with its own claims on storage, and moves them to a new
//! template from the last to the first.

mod claims;
mod replica;
mod revision;
mod sync;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Index};
use k8s_object::resources::{CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS};
use k8s_object::views::StatefulSet;
use k8s_object::{LabelSelector, Object};
use world::Timestamp;

use crate::controller::{Controller, Key, Plan, Planned, Step, Trigger, Watched};
use crate::ownership::{Claim, ORPHAN, claim, controller_of, owners};
use crate::view::{Read, View};
use replica::ordinal;

pub(super) static CONTROLLER: Controller = Controller {
    name: "statefulset-controller",
    event_source: "statefulset-controller",
    service_account: "statefulset-controller",
    about: "Keeps the pods and claims of StatefulSets.",
    watches: &[
        Watched { resource: CONTROLLER_REVISIONS, indices: &[Index::OWNER, ORPHAN] },
        Watched { resource: PERSISTENT_VOLUME_CLAIMS, indices: &[] },
        Watched { resource: PODS, indices: &[Index::OWNER, ORPHAN] },
        Watched { resource: STATEFUL_SETS, indices: &[] },
    ],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: true,
    concurrency: 5,
    rest: Duration::from_millis(20),
};

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.resource == STATEFUL_SETS {
        return vec![Key { resource: STATEFUL_SETS, object: change.key.clone() }.into()];
    }
    if change.resource != PODS {
        return Vec::new();
    }
    let owners = change.old.iter().chain(&change.new);
    let owners = owners.filter_map(|pod| controller_of(view, pod.meta(), &STATEFUL_SETS, "StatefulSet"));
    let mut keys: BTreeSet<Key> = owners.map(|set| Key::of(STATEFUL_SETS, &set)).collect();
    if let Some(new) = &change.new
        && new.meta().controller().is_none()
        && !new.meta().is_terminating()
    {
        let sets = view.list_namespace(&STATEFUL_SETS, &new.meta().namespace);
        let selects = |set: &&Arc<Object>| {
            let selector = set.view::<StatefulSet>().ok().and_then(|set| set.spec.selector.clone());
            selector.is_some_and(|selector| selector.matches(&new.meta().labels)) && ordinal(set, new).is_some()
        };
        keys.extend(sets.iter().filter(selects).map(|set| Key::of(STATEFUL_SETS, set)));
    }
    keys.into_iter().map(Trigger::from).collect()
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let Some(object) = view.get(&STATEFUL_SETS, &key.object) else { return Ok(Plan::nothing()) };
    let set = object.view::<StatefulSet>()?;
    let selector = set.spec.selector.clone().unwrap_or_else(LabelSelector::nothing);
    let pods = claim(view, &object, &STATEFUL_SETS, &selector, &PODS).map(|claim| members(&object, claim));
    let revisions = claim(view, &object, &STATEFUL_SETS, &selector, &CONTROLLER_REVISIONS);
    let (pods, revisions) = match (pods, revisions) {
        (Ok(pods), Ok(revisions)) => (pods, revisions),
        (pods, revisions) => {
            let questions: BTreeSet<Read> = pods.err().into_iter().chain(revisions.err()).flatten().collect();
            return Ok(Plan::ask(questions.into_iter().collect()));
        }
    };
    let mut plan = Plan::nothing();
    if view.failure().is_none() {
        plan.steps.extend(pods.actions.into_iter().chain(revisions.actions).map(Step::One));
    }
    sync::plan(view, &object, &set, pods.owned, revisions.owned, now, plan)
}

/// Only pods whose names are of the set are its members: others are neither adopted nor kept.
fn members(set: &Object, claim: Claim) -> Claim {
    let (owned, strangers): (Vec<Arc<Object>>, Vec<Arc<Object>>) =
        claim.owned.into_iter().partition(|pod| ordinal(set, pod).is_some());
    let names: BTreeSet<String> = strangers.iter().map(|pod| pod.meta().name.clone()).collect();
    let is_strange = |action: &crate::Action| match action {
        crate::Action::Patch { object, .. } => names.contains(&object.name),
        _ => false,
    };
    let mut actions: Vec<crate::Action> = claim.actions.into_iter().filter(|action| !is_strange(action)).collect();
    let ours = |pod: &&Arc<Object>| {
        pod.meta().controller().is_some_and(|controller| controller.uid == set.meta().uid)
            && !pod.meta().is_terminating()
            && !set.meta().is_terminating()
    };
    let release = |pod: &Arc<Object>| owners(&PODS, pod, |reference| reference["uid"] != set.meta().uid.as_str(), None);
    actions.extend(strangers.iter().filter(ours).map(release));
    Claim { owned, actions }
}

#[cfg(test)]
mod tests;
