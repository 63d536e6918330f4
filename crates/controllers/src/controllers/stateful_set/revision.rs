//! The templates that a StatefulSet has had, as ControllerRevisions: pods say by name which one they are made from.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_object::resources::CONTROLLER_REVISIONS;
use k8s_object::views::{ControllerRevision, StatefulSet};
use k8s_object::{DecodeError, Object};
use serde_json::{Value, json};

use super::super::controller_revision::{NewRevision, free_name, template_of};
use super::super::time;
use crate::controller::Action;
use crate::json::normal;
use crate::view::View;

const HASH: &str = "controller.kubernetes.io/hash";

/// A template and its name.
#[derive(Clone)]
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) template: Value,
}

/// The revisions of a set.
pub(super) struct Revisions {
    pub(super) current: Revision,
    pub(super) update: Revision,
    pub(super) collisions: i64,
    /// Makes or renumbers the newest.
    pub(super) action: Option<Action>,
    known: Vec<Arc<Object>>,
}

impl Revisions {
    pub(super) fn new(
        view: &View<'_>,
        object: &Object,
        set: &StatefulSet,
        mut known: Vec<Arc<Object>>,
    ) -> Result<Revisions, DecodeError> {
        let mut read = Vec::new();
        known.sort_by_cached_key(|own| {
            let number = own.view::<ControllerRevision>().map_or(0, |own| own.revision);
            (number, time(own.meta().creation_timestamp.as_ref()), own.meta().name.clone())
        });
        for own in &known {
            read.push((own, own.view::<ControllerRevision>()?));
        }
        let wanted = normal(&set.spec.template);
        let next = read.last().map_or(1, |(_, last)| last.revision + 1);
        let equal = read.iter().rposition(|(_, own)| normal(&template_of(&own.data)) == wanted);
        let mut collisions = set.status.collision_count.unwrap_or(0);
        let (name, action) = match equal {
            Some(at) if at + 1 == read.len() => (read[at].0.meta().name.clone(), None),
            Some(at) => {
                let base = read[at].0.clone();
                let name = base.meta().name.clone();
                let change = json!({"revision": next});
                (name, Some(Action::Update { resource: CONTROLLER_REVISIONS, base, subresource: "", change }))
            }
            None => {
                let (name, hash) = free_name(view, object, &wanted, &mut collisions);
                let template = &set.spec.template;
                let new = NewRevision { name: &name, label: HASH, hash: &hash, number: next, template };
                let action = new.create(object);
                (name, Some(action))
            }
        };
        let update = Revision { name, template: set.spec.template.clone() };
        let current = read.iter().find(|(own, _)| own.meta().name == set.status.current_revision);
        let current =
            current.map(|(own, view)| Revision { name: own.meta().name.clone(), template: template_of(&view.data) });
        Ok(Revisions { current: current.unwrap_or_else(|| update.clone()), update, collisions, action, known })
    }

    /// Deletions of the oldest revisions that nothing uses, beyond the limit.
    pub(super) fn surplus<'a>(&self, set: &StatefulSet, used: impl Iterator<Item = &'a str>) -> Vec<Action> {
        let mut live: BTreeSet<&str> = used.collect();
        live.extend([self.current.name.as_str(), self.update.name.as_str()]);
        let unused: Vec<&Arc<Object>> =
            self.known.iter().filter(|own| !live.contains(own.meta().name.as_str())).collect();
        let limit = usize::try_from(set.spec.revision_history_limit.unwrap_or(10)).unwrap_or(usize::MAX);
        let surplus = unused.len().saturating_sub(limit);
        unused[..surplus].iter().map(|own| Action::delete(CONTROLLER_REVISIONS, own)).collect()
    }
}
