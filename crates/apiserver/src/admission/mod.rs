//! Admission: what a cluster adds to objects, and what it refuses, after authorization and before storage.
//!
//! A static table of plugins, in upstream's order; behind it, what waits for others: policies, webhooks, and quotas, which come
//! last because they charge what everybody else has let through. A plugin of the table reads the caches and must never write or wait.

mod escalation;
mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod service_account;
mod tolerations;

use k8s_object::{ApiError, Object};
use serde_json::{Value, json};

use crate::core::Call;
use crate::metadata;

/// What is about to happen to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
}

/// What a plugin may look at beside the object.
pub(crate) struct Review<'a, 'b> {
    pub call: &'a Call<'b>,
    pub operation: Operation,
    /// The object before an update; absent otherwise.
    pub old: Option<&'a Value>,
}

impl Review<'_, '_> {
    /// Whether an object of its own is created, and not something below one.
    pub(crate) fn is_create(&self) -> bool {
        self.operation == Operation::Create && self.call.request.subresource.is_empty()
    }

    pub(crate) fn is_pod_create(&self) -> bool {
        self.is_create() && self.call.resource.is("", "pods")
    }
}

/// What plugins have to say without refusing.
#[derive(Default)]
pub(crate) struct Said {
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit event: key and value.
    pub annotations: Vec<(String, String)>,
}

type Admit = fn(&Review<'_, '_>, &mut Value) -> Result<(), ApiError>;
type Judge = fn(&Review<'_, '_>, &Value, &mut Said) -> Result<(), ApiError>;
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

fn operation(old: Option<&Value>) -> Operation {
    if old.is_some() { Operation::Update } else { Operation::Create }
}

/// Lets the cluster change an object that is about to be written.
///
/// What is below an object and has a kind of its own (a Binding, a Scale, an Eviction) is admitted as that kind, and its call is
/// marked [`Call::admitted`], so that the write of the object behind it is not admitted again.
pub(crate) async fn admit(call: &mut Call<'_>, object: &mut Value, old: Option<&Value>) -> Result<(), ApiError> {
    if call.admitted {
        return Ok(());
    }
    let review = Review { call, operation: operation(old), old };
    if old.is_none() {
        // Before anything is added: an object in a namespace that does not exist is told that first.
        namespace_lifecycle::judge(&review, object, &mut Said::default())?;
    }
    PLUGINS.iter().filter_map(|plugin| plugin.admit).try_for_each(|admit| admit(&review, object))
}

/// Lets the cluster refuse the object as it would be stored.
pub(crate) async fn judge(call: &mut Call<'_>, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    if call.admitted {
        return Ok(());
    }
    let mut said = Said::default();
    let review = Review { call, operation: operation(old), old };
    let judged =
        PLUGINS.iter().filter_map(|plugin| plugin.judge).try_for_each(|judge| judge(&review, object, &mut said));
    call.say(said);
    judged
}

/// Lets the cluster refuse a deletion.
pub(crate) async fn judge_delete(call: &mut Call<'_>, object: &Object) -> Result<(), ApiError> {
    if call.admitted {
        return Ok(());
    }
    PLUGINS.iter().filter_map(|plugin| plugin.judge_delete).try_for_each(|judge| judge(call, object))
}

/// Admits what is written below an object with a kind of its own; what is stored because of it is not admitted again.
pub(crate) async fn admit_below(
    call: &mut Call<'_>,
    (api_version, kind): (&str, &str),
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let map =
        object.as_object_mut().ok_or_else(|| ApiError::bad_request("the object provided is not a JSON object"))?;
    map.insert("apiVersion".into(), json!(api_version));
    map.insert("kind".into(), json!(kind));
    admit(call, object, old).await?;
    judge(call, object, old).await?;
    call.admitted = true;
    Ok(())
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
