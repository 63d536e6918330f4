//! What each node needs whatever the update strategy is: a pod where there is none, none where none may be, one instead of several
//! or of one that has ended.

use std::sync::Arc;

use k8s_object::Object;
use k8s_object::views::DaemonSet;

use super::pods::{Daemon, DaemonPods};
use super::rollout::surge;
use super::{Site, Sync};
use crate::controller::{Action, Plan};

/// What a plan does about pods.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Names of nodes that get a pod.
    pub(super) create_on: Vec<String>,
    pub(super) delete: Vec<Arc<Object>>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.create_on.is_empty() && self.delete.is_empty()
    }

    pub(super) fn delete(&mut self, daemon: &Daemon) {
        self.delete.push(daemon.object.clone());
    }
}

/// Whether two pods may be on one node while it is updated.
fn may_surge(set: &DaemonSet) -> bool {
    surge(set, 1) > 0
}

pub(super) fn changes(sync: &Sync<'_>, daemons: &DaemonPods, hash: &str, plan: &mut Plan) -> Changes {
    let mut changes = Changes::default();
    for Site { name, placement } in &sync.nodes {
        let own = daemons.of(name);
        if placement.should_run && own.is_empty() {
            changes.create_on.push(name.clone());
        } else if placement.may_stay {
            let running = end_finished(sync, name, own, &mut changes, plan);
            if !may_surge(sync.set) {
                running.iter().skip(1).for_each(|daemon| changes.delete(daemon));
            } else if running.len() > 1 {
                thin_out(sync, &running, hash, &mut changes);
            } else if running.is_empty() && placement.should_run {
                changes.create_on.push(name.clone());
            }
        } else {
            own.iter().filter(|daemon| !daemon.is_terminating()).for_each(|daemon| changes.delete(daemon));
        }
    }
    // The scheduler will never bind these, and nobody collects what was never bound.
    for (_, own) in daemons.by_node.iter().filter(|(name, _)| sync.site(name).is_none()) {
        let unbound = own.iter().filter(|daemon| daemon.pod.spec.node_name.is_empty() && !daemon.is_terminating());
        unbound.for_each(|daemon| changes.delete(daemon));
    }
    changes
}

/// Deletes the pods of a node that have ended, failed ones no faster than their backoff allows; returns those that run.
fn end_finished<'a>(
    sync: &Sync<'_>,
    node: &str,
    own: &'a [Daemon],
    changes: &mut Changes,
    plan: &mut Plan,
) -> Vec<&'a Daemon> {
    let mut running = Vec::new();
    for daemon in own.iter().filter(|daemon| !daemon.is_terminating()) {
        let pod = daemon.object.key();
        match daemon.pod.status.phase.as_str() {
            "Failed" => {
                // Each template begins anew, since it may be what was wrong.
                let item = format!("{}/{}/{node}", sync.object.meta().uid, sync.set.status.observed_generation);
                let wait = sync.view.backoff(&item, sync.now);
                if !wait.is_zero() {
                    plan.requeue(wait);
                    continue;
                }
                plan.then(Action::Backoff { item });
                let message = format!("Found failed daemon pod {pod} on node {node}, will try to kill it");
                plan.then(Action::warning(sync.object, "FailedDaemonPod", message));
                changes.delete(daemon);
            }
            "Succeeded" => {
                let message = format!("Found succeeded daemon pod {pod} on node {node}, will try to delete it");
                plan.then(Action::event(sync.object, "SucceededDaemonPod", message));
                changes.delete(daemon);
            }
            _ => running.push(daemon),
        }
    }
    running
}

/// Of several pods keeps the oldest new one, and the oldest old one as long as it is ready and the new one is not available.
fn thin_out(sync: &Sync<'_>, running: &[&Daemon], hash: &str, changes: &mut Changes) {
    let (new, old): (Vec<&Daemon>, Vec<&Daemon>) = running.iter().partition(|daemon| daemon.hash() == hash);
    new.iter().skip(1).chain(old.iter().skip(1)).for_each(|daemon| changes.delete(daemon));
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!old.pod.is_ready() || new.is_available(sync.set, sync.now))
    {
        changes.delete(old);
    }
}
