//! The templates that a StatefulSet has had, as ControllerRevisions: pods say by name which one they are made from.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_object::resources::CONTROLLER_REVISIONS;
use k8s_object::views::{ControllerRevision, StatefulSet};
use k8s_object::{DecodeError, NamespacedName, Object};
use serde_json::{Value, json};

use super::super::deployment::template::hash_text;
use super::super::time;
use crate::controller::Action;
use crate::json::normal;
use crate::ownership::controller_reference;
use crate::view::View;

const HASH: &str = "controller.kubernetes.io/hash";
/// Bytes of a set's name in the name of a revision.
const MAX_PREFIX: usize = 223;

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

/// The data of a revision: a patch that replaces the template.
fn data(template: &Value) -> Value {
    let mut template = template.clone();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

fn template_of(data: &Value) -> Value {
    let mut template = data["spec"]["template"].clone();
    crate::json::remove(&mut template, "$patch");
    template
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
                (name.clone(), Some(create(object, set, &name, &hash, next)))
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

/// A name that no other revision has, and the hash in it.
fn free_name(view: &View<'_>, object: &Object, template: &Value, collisions: &mut i64) -> (String, String) {
    let meta = object.meta();
    let mut end = meta.name.len().min(MAX_PREFIX);
    while !meta.name.is_char_boundary(end) {
        end -= 1;
    }
    loop {
        let hash = hash_text(format!("{template}{collisions}").as_bytes());
        let name = format!("{}-{hash}", &meta.name[..end]);
        if view.get(&CONTROLLER_REVISIONS, &NamespacedName::new(meta.namespace.as_str(), name.as_str())).is_none() {
            return (name, hash);
        }
        *collisions += 1;
    }
}

fn create(object: &Object, set: &StatefulSet, name: &str, hash: &str, number: i64) -> Action {
    let meta = object.meta();
    let mut metadata = json!({
        "name": name, "namespace": meta.namespace, "ownerReferences": [controller_reference(object)],
        "labels": set.spec.template["metadata"]["labels"],
    });
    metadata["labels"][HASH] = json!(hash);
    if !meta.annotations.is_empty() {
        metadata["annotations"] = json!(meta.annotations);
    }
    let body = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "data": data(&set.spec.template),
        "revision": number,
    });
    Action::Create { resource: CONTROLLER_REVISIONS, namespace: meta.namespace.clone(), body, exists_ok: false }
}
