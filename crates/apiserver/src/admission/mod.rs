//! Admission: what a cluster adds to objects, and what it refuses, after authorization and before storage.
//!
//! A static table of plugins, in upstream's order. A plugin reads the caches and must never write or wait; the one wait there is
//! stands in [`wait`].

mod escalation;
mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod service_account;
mod tolerations;

use k8s_object::{ApiError, Object};
use serde_json::Value;

use crate::core::Call;
use crate::metadata;

/// What a plugin may look at beside the object.
pub(crate) struct Review<'a, 'b> {
    pub call: &'a Call<'b>,
    /// The object before an update; absent on create.
    pub old: Option<&'a Value>,
}

impl Review<'_, '_> {
    pub(crate) fn is_create(&self) -> bool {
        self.old.is_none() && self.call.request.subresource.is_empty()
    }

    pub(crate) fn is_pod_create(&self) -> bool {
        self.is_create() && self.call.resource.is("", "pods")
    }
}

type Admit = fn(&Review<'_, '_>, &mut Value) -> Result<(), ApiError>;
type Judge = fn(&Review<'_, '_>, &Value) -> Result<(), ApiError>;
type JudgeDelete = fn(&Call<'_>, &Object) -> Result<(), ApiError>;

struct Plugin {
    /// For the error of a plugin and for reports.
    #[allow(dead_code)] // Read by the test that walks the table.
    name: &'static str,
    admit: Option<Admit>,
    judge: Option<Judge>,
    judge_delete: Option<JudgeDelete>,
}

const NOTHING: Plugin = Plugin { name: "", admit: None, judge: None, judge_delete: None };

/// In upstream's order (`kubeapiserver/options/plugins.go`), which matters: later plugins see what earlier ones added.
static PLUGINS: &[Plugin] = &[
    Plugin {
        name: "NamespaceLifecycle",
        judge: Some(namespace_lifecycle::judge),
        judge_delete: Some(namespace_lifecycle::judge_delete),
        ..NOTHING
    },
    Plugin { name: "ServiceAccount", admit: Some(service_account::admit), ..NOTHING },
    Plugin {
        name: "NodeRestriction",
        judge: Some(node_restriction::judge),
        judge_delete: Some(node_restriction::judge_delete),
        ..NOTHING
    },
    // Upstream has it in the strategies of the four kinds.
    Plugin { name: "RBACEscalation", judge: Some(escalation::judge), ..NOTHING },
    Plugin { name: "Priority", admit: Some(priority::admit), ..NOTHING },
    Plugin { name: "DefaultTolerationSeconds", admit: Some(tolerations::admit), ..NOTHING },
];

/// Lets plugins change an object that is about to be written.
pub(crate) fn admit(call: &Call<'_>, object: &mut Value, old: Option<&Value>) -> Result<(), ApiError> {
    let review = Review { call, old };
    if old.is_none() {
        // Before anything is added: an object in a namespace that does not exist is told that first.
        namespace_lifecycle::judge(&review, object)?;
    }
    PLUGINS.iter().filter_map(|plugin| plugin.admit).try_for_each(|admit| admit(&review, object))
}

/// Lets plugins refuse the object as it would be stored.
pub(crate) fn judge(call: &Call<'_>, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let review = Review { call, old };
    PLUGINS.iter().filter_map(|plugin| plugin.judge).try_for_each(|judge| judge(&review, object))
}

/// Lets plugins refuse a deletion.
pub(crate) fn judge_delete(call: &Call<'_>, object: &Object) -> Result<(), ApiError> {
    PLUGINS.iter().filter_map(|plugin| plugin.judge_delete).try_for_each(|judge| judge(call, object))
}

/// Waits a little for what a new object needs and a controller is about to make: a pod's ServiceAccount.
pub(crate) async fn wait(call: &Call<'_>, object: &Value) {
    if call.resource.is("", "pods") {
        service_account::wait(call, object).await;
    }
}

/// The namespace of the object, or of the request.
fn namespace<'a>(call: &'a Call<'_>, object: &'a Value) -> &'a str {
    match metadata::text(object, "namespace") {
        "" => &call.request.namespace,
        own => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_does_something_and_has_its_own_name() {
        let mut names: Vec<&str> = PLUGINS.iter().map(|plugin| plugin.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PLUGINS.len());
        assert!(
            PLUGINS
                .iter()
                .all(|plugin| plugin.admit.is_some() || plugin.judge.is_some() || plugin.judge_delete.is_some())
        );
    }
}
