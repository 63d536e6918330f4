//! Keeps one pod of a DaemonSet on every node that it selects, and moves them to a new template node by node.

mod history;
mod manage;
mod placement;
mod pods;
mod rollout;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Change, Index};
use k8s_object::resources::{CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS};
use k8s_object::views::{DaemonSet, Node};
use k8s_object::{DecodeError, LabelSelector, Object};
use world::Timestamp;

use super::BY_NODE;
use crate::controller::{Action, Announce, Controller, Key, Plan, Planned, Step, Trigger, Watched};
use crate::ownership::{ORPHAN, claim, controller_of};
use crate::view::{Read, View};
use history::History;
use manage::Changes;
use placement::Placement;
use pods::DaemonPods;

pub(super) static CONTROLLER: Controller = Controller {
    name: "daemonset-controller",
    event_source: "daemonset-controller",
    service_account: "daemon-set-controller",
    about: "Keeps a pod of each DaemonSet on every node that it selects.",
    watches: &[
        Watched { resource: CONTROLLER_REVISIONS, indices: &[Index::OWNER, ORPHAN] },
        Watched { resource: DAEMON_SETS, indices: &[] },
        Watched { resource: NODES, indices: &[] },
        Watched { resource: PODS, indices: &[Index::OWNER, ORPHAN, BY_NODE] },
    ],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: true,
    concurrency: 2,
    rest: Duration::from_millis(20),
};

/// Pods created, and pods deleted, by one plan at most: upstream's `BurstReplicas`.
const BURST: usize = 250;

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.resource == DAEMON_SETS {
        return vec![Key { resource: DAEMON_SETS, object: change.key.clone() }.into()];
    }
    let sets = if change.resource == NODES { of_node(change, view) } else { of_dependent(change, view) };
    let keys: BTreeSet<Key> = sets.iter().map(|set| Key::of(DAEMON_SETS, set)).collect();
    keys.into_iter().map(Trigger::from).collect()
}

/// The sets that own a pod or a revision, owned it before, or may adopt it.
fn of_dependent(change: &Change, view: &View<'_>) -> Vec<Arc<Object>> {
    let states = change.old.iter().chain(&change.new);
    let mut sets: Vec<Arc<Object>> =
        states.filter_map(|state| controller_of(view, state.meta(), &DAEMON_SETS, "DaemonSet")).collect();
    if let Some(new) = &change.new
        && new.meta().controller().is_none()
        && !new.meta().is_terminating()
    {
        let selects = |set: &Arc<Object>| {
            let selector = set.view::<DaemonSet>().ok().and_then(|set| set.spec.selector.clone());
            selector.is_some_and(|selector| selector.matches(&new.meta().labels))
        };
        sets.extend(view.list_namespace(&DAEMON_SETS, &new.meta().namespace).into_iter().filter(selects));
    }
    sets
}

/// The sets that have to do something about a node whose labels or taints are new to them.
fn of_node(change: &Change, view: &View<'_>) -> Vec<Arc<Object>> {
    let read = |node: &Arc<Object>| node.view::<Node>().ok();
    let (old, new) = (change.old.as_ref().and_then(read), change.new.as_ref().and_then(read));
    if let (Some(old), Some(new)) = (&old, &new)
        && old.metadata.labels == new.metadata.labels
        && old.spec.taints == new.spec.taints
    {
        return Vec::new();
    }
    let sets = view.list(&DAEMON_SETS);
    if sets.is_empty() {
        return sets;
    }
    let pods = view.indexed(&PODS, BY_NODE.name, &change.key.name);
    let owners: BTreeSet<&str> =
        pods.iter().filter_map(|pod| pod.meta().controller()).map(|owner| owner.uid.as_str()).collect();
    let concerned = |object: &Arc<Object>| {
        let Ok(set) = object.view::<DaemonSet>() else { return false };
        let has_pod = owners.contains(object.meta().uid.as_str());
        match (&new, &old) {
            (Some(node), _) => {
                let placement = Placement::of(&set, node);
                if has_pod { !placement.may_stay || set.status.number_misscheduled > 0 } else { placement.should_run }
            }
            (None, Some(node)) => has_pod || Placement::of(&set, node).should_run,
            (None, None) => false,
        }
    };
    sets.into_iter().filter(concerned).collect()
}

/// What all parts of a plan look at.
struct Sync<'a> {
    view: &'a View<'a>,
    object: &'a Arc<Object>,
    set: &'a DaemonSet,
    /// In order of their names.
    nodes: Vec<Site>,
    now: Timestamp,
}

/// A node, and what the set has to do with it.
struct Site {
    name: String,
    placement: Placement,
}

impl Sync<'_> {
    fn site(&self, name: &str) -> Option<&Site> {
        let at = self.nodes.binary_search_by(|site| site.name.as_str().cmp(name)).ok()?;
        Some(&self.nodes[at])
    }
}

fn sites(view: &View<'_>, set: &DaemonSet) -> Result<Vec<Site>, DecodeError> {
    let mut sites = Vec::new();
    for object in view.list(&NODES) {
        let placement = Placement::of(set, &*object.view::<Node>()?);
        sites.push(Site { name: object.meta().name.clone(), placement });
    }
    Ok(sites)
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let Some(object) = view.get(&DAEMON_SETS, &key.object) else { return Ok(Plan::nothing()) };
    let set = object.view::<DaemonSet>()?;
    let selector = set.spec.selector.clone().unwrap_or_else(LabelSelector::nothing);
    let mut plan = Plan::nothing();
    if selector.is_everything() {
        let message = "This daemon set is selecting all pods. A non-empty selector is required.";
        plan.then(Action::warning(&object, "SelectingAll", message));
        return Ok(plan);
    }
    // What is left of a set that is going is the garbage collector's, and nothing that could be counted lasts.
    if object.meta().is_terminating() {
        return Ok(plan);
    }
    let pods = claim(view, &object, &DAEMON_SETS, &selector, &PODS);
    let revisions = claim(view, &object, &DAEMON_SETS, &selector, &CONTROLLER_REVISIONS);
    let (pods, revisions) = match (pods, revisions) {
        (Ok(pods), Ok(revisions)) => (pods, revisions),
        (pods, revisions) => {
            let questions: BTreeSet<Read> = pods.err().into_iter().chain(revisions.err()).flatten().collect();
            return Ok(Plan::ask(questions.into_iter().collect()));
        }
    };
    if view.failure().is_some_and(|failure| failure.resource != PODS) {
        return Ok(plan);
    }
    let sync = Sync { view, object: &object, set: &set, nodes: sites(view, &set)?, now };
    let daemons = DaemonPods::new(pods.owned)?;
    let history = History::new(&sync, &daemons, revisions.owned)?;
    if view.failure().is_none() {
        plan.steps.extend(pods.actions.into_iter().chain(revisions.actions).map(Step::One));
        plan.steps.extend(history.actions.iter().cloned().map(Step::One));
        let mut changes = manage::changes(&sync, &daemons, &history.hash, &mut plan);
        if changes.is_empty() && !history.is_moving {
            changes = rollout::changes(&sync, &daemons, &history.hash);
        }
        carry_out(&sync, changes, &history.hash, &mut plan);
        plan.steps.extend(history.surplus(&set, &daemons).into_iter().map(Step::One));
    }
    status::write(&sync, &daemons, &history, &mut plan);
    Ok(plan)
}

fn carry_out(sync: &Sync<'_>, changes: Changes, hash: &str, plan: &mut Plan) {
    let announce = |success, failure| Some(Announce { about: sync.object.clone(), what: "pod", success, failure });
    let creations: Vec<Action> = changes
        .create_on
        .iter()
        .take(BURST)
        .map(|node| Action::Create {
            resource: PODS,
            namespace: sync.object.meta().namespace.clone(),
            body: placement::body(sync.object, sync.set, hash, node),
            exists_ok: false,
        })
        .collect();
    if !creations.is_empty() {
        plan.steps.push(Step::Burst { actions: creations, announce: announce("SuccessfulCreate", "FailedCreate") });
    }
    let deletions: Vec<Action> = changes.delete.iter().take(BURST).map(|pod| Action::delete(PODS, pod)).collect();
    if !deletions.is_empty() {
        plan.steps.push(Step::Burst { actions: deletions, announce: announce("SuccessfulDelete", "FailedDelete") });
    }
}

#[cfg(test)]
mod tests;
