//! The templates that a DaemonSet has had, as ControllerRevisions, which `kubectl rollout history` and `undo` read. Pods carry the
//! hash of theirs.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_object::resources::{CONTROLLER_REVISIONS, PODS};
use k8s_object::views::{ControllerRevision, DaemonSet};
use k8s_object::{DecodeError, Object};
use serde_json::json;

use super::super::controller_revision::{NewRevision, free_name, template_of};
use super::Sync;
use super::pods::{DaemonPods, HASH};
use crate::controller::Action;
use crate::json::normal;

pub(super) struct History {
    /// What pods of the template of now are labelled with.
    pub(super) hash: String,
    pub(super) collisions: i64,
    /// Makes, renumbers and unites revisions.
    pub(super) actions: Vec<Action>,
    /// Pods are being labelled anew: those that look old may not be.
    pub(super) is_moving: bool,
    /// The others, the oldest first.
    old: Vec<Arc<Object>>,
}

/// The hash of a revision; one that somebody has taken the label from has its name for it.
fn hash_of(revision: &Object) -> &str {
    revision.meta().labels.get(HASH).unwrap_or(&revision.meta().name)
}

impl History {
    pub(super) fn new(
        sync: &Sync<'_>,
        daemons: &DaemonPods,
        revisions: Vec<Arc<Object>>,
    ) -> Result<History, DecodeError> {
        let wanted = normal(&sync.set.spec.template.json);
        let (mut actions, mut old, mut current) = (Vec::new(), Vec::new(), Vec::new());
        for object in revisions {
            let revision = object.view::<ControllerRevision>()?;
            if object.meta().labels.get(HASH).is_none() {
                let change = json!({"metadata": {"labels": {HASH: object.meta().name}}});
                let base = object.clone();
                actions.push(Action::Update { resource: CONTROLLER_REVISIONS, base, subresource: "", change });
            }
            let same = normal(&template_of(&revision.data)) == wanted;
            if same { &mut current } else { &mut old }.push((revision.revision, object));
        }
        old.sort_by_key(|(number, _)| *number);
        let next = old.last().map_or(0, |(number, _)| *number) + 1;
        let mut collisions = sync.set.status.collision_count.unwrap_or(0);
        let newest = current.iter().max_by_key(|(number, _)| *number).cloned();
        let is_moving = current.len() > 1;
        let hash = match newest {
            None => {
                let (name, hash) = free_name(sync.view, sync.object, &wanted, &mut collisions);
                let template = &sync.set.spec.template.json;
                let new = NewRevision { name: &name, label: HASH, hash: &hash, number: next, template };
                actions.push(new.create(sync.object));
                hash
            }
            Some((number, newest)) => {
                let hash = hash_of(&newest).to_owned();
                actions.extend(unite(daemons, &current, &newest, &hash));
                if number < next {
                    let (base, change) = (newest, json!({"revision": next}));
                    actions.push(Action::Update { resource: CONTROLLER_REVISIONS, base, subresource: "", change });
                }
                hash
            }
        };
        Ok(History { hash, collisions, actions, is_moving, old: old.into_iter().map(|(_, object)| object).collect() })
    }

    /// Deletions of the oldest revisions that no pod is of, beyond the limit.
    pub(super) fn surplus(&self, set: &DaemonSet, daemons: &DaemonPods) -> Vec<Action> {
        let limit = usize::try_from(set.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
        let surplus = self.old.len().saturating_sub(limit);
        if surplus == 0 {
            return Vec::new();
        }
        let live: BTreeSet<&str> = daemons.all().iter().map(|daemon| daemon.hash()).collect();
        let unused = self.old.iter().filter(|revision| !live.contains(hash_of(revision)));
        unused.take(surplus).map(|revision| Action::delete(CONTROLLER_REVISIONS, revision)).collect()
    }
}

/// Leaves one of several revisions of the same template, which the pods of the others move to.
fn unite(daemons: &DaemonPods, current: &[(i64, Arc<Object>)], newest: &Arc<Object>, hash: &str) -> Vec<Action> {
    let others: Vec<&Arc<Object>> =
        current.iter().map(|(_, object)| object).filter(|object| !Arc::ptr_eq(object, newest)).collect();
    if others.is_empty() {
        return Vec::new();
    }
    let twins: BTreeSet<&str> = others.iter().map(|object| hash_of(object)).collect();
    let moved = daemons.all().iter().filter(|daemon| twins.contains(daemon.hash()));
    let relabel =
        moved.map(|daemon| Action::merge(PODS, &daemon.object, "", json!({"metadata": {"labels": {HASH: hash}}})));
    let removed = others.iter().map(|object| Action::delete(CONTROLLER_REVISIONS, object));
    relabel.chain(removed).collect()
}
