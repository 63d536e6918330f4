//! What StatefulSets and DaemonSets keep of a pod template, as ControllerRevisions: a patch that puts it back, under a name that says
//! which one it is.

use k8s_object::resources::CONTROLLER_REVISIONS;
use k8s_object::{NamespacedName, Object};
use serde_json::{Value, json};

use super::deployment::template::hash_text;
use crate::controller::Action;
use crate::ownership::controller_reference;
use crate::view::View;

/// Bytes of the owner's name in the name of a revision.
const MAX_PREFIX: usize = 223;

/// The template that the data of a revision puts back.
pub(super) fn template_of(data: &Value) -> Value {
    let mut template = data["spec"]["template"].clone();
    crate::json::remove(&mut template, "$patch");
    template
}

/// A name that no other revision has, and the hash in it. Each name that is taken counts as a collision.
pub(super) fn free_name(view: &View<'_>, owner: &Object, template: &Value, collisions: &mut i64) -> (String, String) {
    let meta = owner.meta();
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

/// A revision of a template to be made, with a label of its hash.
pub(super) struct NewRevision<'a> {
    pub(super) name: &'a str,
    pub(super) label: &'static str,
    pub(super) hash: &'a str,
    pub(super) number: i64,
    pub(super) template: &'a Value,
}

impl NewRevision<'_> {
    pub(super) fn create(&self, owner: &Object) -> Action {
        let meta = owner.meta();
        let mut metadata = json!({
            "name": self.name, "namespace": meta.namespace, "ownerReferences": [controller_reference(owner)],
            "labels": self.template["metadata"]["labels"],
        });
        metadata["labels"][self.label] = json!(self.hash);
        if !meta.annotations.is_empty() {
            metadata["annotations"] = json!(meta.annotations);
        }
        let mut template = self.template.clone();
        template["$patch"] = json!("replace");
        let body = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata,
            "data": {"spec": {"template": template}}, "revision": self.number,
        });
        Action::Create { resource: CONTROLLER_REVISIONS, namespace: meta.namespace.clone(), body, exists_ok: false }
    }
}
