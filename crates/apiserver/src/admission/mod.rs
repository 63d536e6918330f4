//! Admission: what a cluster adds to objects, and what it refuses, after authorization and before storage.
//!
//! A static table of plugins, in upstream's order; behind it, what waits for others: policies, webhooks, and quotas, which come
//! last because they charge what everybody else has let through. A plugin of the table reads the caches and must never write or wait.

mod asks;
mod certificates;
mod checks;
mod claim_resize;
mod conditions;
mod configured;
mod default_class;
mod escalation;
mod expressions;
mod extended_resource_toleration;
mod hooks;
mod limit_ranger;
mod measured;
mod namespace_lifecycle;
mod node_restriction;
mod pod_security;
mod pod_topology_labels;
mod policies;
mod priority;
mod reinvocation;
mod resource_quota;
mod rules;
mod runtime_class;
mod service_account;
mod storage_protection;
mod taint_nodes_by_condition;
mod tolerations;

use std::sync::Arc;
use std::time::Duration;

use k8s_object::{ApiError, Object};
use serde_json::{Value, json};

use crate::core::{Call, ShownOwners, converted};
use crate::registry::Resource;
use crate::{metadata, write};

pub(crate) use checks::Answers;
pub(crate) use configured::Admission;
use configured::Configured;
pub(crate) use measured::PluginTimes;
use measured::Step;
pub(crate) use policies::keep_status as keep_policy_status;
pub(crate) use resource_quota::Charging;

use reinvocation::Reinvocation;

/// What is about to happen to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    /// A stream through the server: exec, attach, portforward, proxy. The object is the options of the stream.
    Connect,
}

impl Operation {
    /// As rules of webhooks and policies name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// What a plugin may look at beside the object.
pub(crate) struct Review<'a, 'b> {
    pub call: &'a Call<'b>,
    pub operation: Operation,
    /// The object before an update or a deletion; absent otherwise.
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
    /// What has to be allowed besides, by whom only a wait tells.
    pub asks: Vec<asks::Ask>,
}

type Admit = fn(&Review<'_, '_>, &mut Value) -> Result<(), ApiError>;
type Judge = fn(&Review<'_, '_>, &Value, &mut Said) -> Result<(), ApiError>;
type JudgeDelete = fn(&Call<'_>, &Object) -> Result<(), ApiError>;

struct Plugin {
    /// As it is counted.
    name: &'static str,
    /// The operations that upstream's has a say in.
    handles: &'static [Operation],
    /// Upstream's has its say before the object is complete, though ours judges it as it is then.
    admits: bool,
    admit: Option<Admit>,
    judge: Option<Judge>,
    judge_delete: Option<JudgeDelete>,
}

const NOTHING: Plugin =
    Plugin { name: "", handles: WRITES, admits: false, admit: None, judge: None, judge_delete: None };
const CREATE: &[Operation] = &[Operation::Create];
const UPDATE: &[Operation] = &[Operation::Update];
const WRITES: &[Operation] = &[Operation::Create, Operation::Update];
const ALL: &[Operation] = &[Operation::Create, Operation::Update, Operation::Delete];

/// In upstream's order (`kubeapiserver/options/plugins.go`), which matters: later plugins see what earlier ones added.
static PLUGINS: &[Plugin] = &[
    Plugin {
        name: "NamespaceLifecycle",
        handles: ALL,
        admits: true,
        judge: Some(namespace_lifecycle::judge),
        judge_delete: Some(namespace_lifecycle::judge_delete),
        ..NOTHING
    },
    Plugin { name: "LimitRanger", admit: Some(limit_ranger::admit), judge: Some(limit_ranger::judge), ..NOTHING },
    Plugin {
        name: "ServiceAccount",
        admit: Some(service_account::admit),
        judge: Some(service_account::judge),
        ..NOTHING
    },
    Plugin {
        name: "NodeRestriction",
        handles: ALL,
        admits: true,
        judge: Some(node_restriction::judge),
        judge_delete: Some(node_restriction::judge_delete),
        ..NOTHING
    },
    Plugin { name: "TaintNodesByCondition", handles: CREATE, admit: Some(taint_nodes_by_condition::admit), ..NOTHING },
    Plugin { name: "PodSecurity", judge: Some(pod_security::judge), ..NOTHING },
    Plugin { name: "Priority", admit: Some(priority::admit), judge: Some(priority::judge), ..NOTHING },
    Plugin { name: "DefaultTolerationSeconds", admit: Some(tolerations::admit), ..NOTHING },
    Plugin { name: "ExtendedResourceToleration", admit: Some(extended_resource_toleration::admit), ..NOTHING },
    Plugin { name: "DefaultStorageClass", handles: CREATE, admit: Some(default_class::admit_claim), ..NOTHING },
    Plugin { name: "StorageObjectInUseProtection", handles: CREATE, admit: Some(storage_protection::admit), ..NOTHING },
    Plugin { name: "PersistentVolumeClaimResize", handles: UPDATE, judge: Some(claim_resize::judge), ..NOTHING },
    Plugin {
        name: "RuntimeClass",
        handles: CREATE,
        admit: Some(runtime_class::admit),
        judge: Some(runtime_class::judge),
        ..NOTHING
    },
    Plugin { name: "CertificateApproval", handles: UPDATE, judge: Some(certificates::judge_approval), ..NOTHING },
    Plugin { name: "CertificateSigning", handles: UPDATE, judge: Some(certificates::judge_signing), ..NOTHING },
    Plugin { name: "ClusterTrustBundleAttest", judge: Some(certificates::judge_trust_bundle), ..NOTHING },
    Plugin {
        name: "CertificateSubjectRestriction",
        handles: CREATE,
        judge: Some(certificates::judge_subject),
        ..NOTHING
    },
    Plugin { name: "DefaultIngressClass", handles: CREATE, admit: Some(default_class::admit_ingress), ..NOTHING },
    Plugin { name: "PodTopologyLabels", handles: CREATE, admit: Some(pod_topology_labels::admit), ..NOTHING },
    // Upstream has it in the strategies of the four kinds.
    Plugin { name: "RBACEscalation", handles: &[], judge: Some(escalation::judge), ..NOTHING },
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
    let began = call.core.world.elapsed();
    let admitted = admit_steps(call, object, old, began).await;
    took(call, "admit", operation(old), began, admitted.is_err());
    admitted
}

/// A step of admission has ended.
fn took(call: &Call<'_>, step: &str, operation: Operation, began: Duration, rejected: bool) {
    let labels = [step, operation.as_str(), if rejected { "true" } else { "false" }];
    let took = call.core.world.elapsed().saturating_sub(began);
    call.core.metrics.admission_step.with(&labels).seconds(took);
}

async fn admit_steps(
    call: &mut Call<'_>,
    object: &mut Value,
    old: Option<&Value>,
    began: Duration,
) -> Result<(), ApiError> {
    let review = Review { call, operation: operation(old), old };
    if old.is_none() {
        // Before anything is added: an object in a namespace that does not exist is told that first.
        namespace_lifecycle::judge(&review, object, &mut Said::default())?;
    }
    plugins_admit(&review, object, began)?;
    let Some(configured) = configured(call) else { return Ok(()) };
    if !configured.mutates() {
        return Ok(());
    }
    Box::pin(async move {
        let operation = operation(old);
        let (mut by_policy, mut by_hook) = (Reinvocation::default(), Reinvocation::default());
        let others = Others { configured: &configured, operation, old };
        others.admit(call, object, &mut by_policy, &mut by_hook).await?;
        if !by_policy.needed && !by_hook.needed {
            return Ok(());
        }
        // Whoever has a say gets to see what others have changed, once.
        let now = call.core.world.elapsed();
        plugins_admit(&Review { call, operation, old }, object, now)?;
        by_policy.begin_second(Some(object));
        others.admit(call, object, &mut by_policy, &mut by_hook).await
    })
    .await
}

/// A plugin beside the table has had its say, where there was something for it to do.
fn other_took(call: &Call<'_>, (name, step): (&str, &str), operation: Operation, began: Duration, rejected: bool) {
    let labels = [name, step, operation.as_str(), if rejected { "true" } else { "false" }];
    let took = call.core.world.elapsed().saturating_sub(began);
    call.core.metrics.plugin_time.with(&labels).seconds(took);
}

/// What is configured to change objects.
struct Others<'a> {
    configured: &'a Configured,
    operation: Operation,
    old: Option<&'a Value>,
}

impl Others<'_> {
    /// One round: policies, then webhooks.
    async fn admit(
        &self,
        call: &mut Call<'_>,
        object: &mut Value,
        by_policy: &mut Reinvocation<policies::Key>,
        by_hook: &mut Reinvocation<hooks::Key>,
    ) -> Result<(), ApiError> {
        let Others { configured, operation, old } = *self;
        // Reviews of access and identity are nobody's business but the server's.
        if !call.resource.is_virtual() {
            let bindings = configured.mutating_bindings();
            if call.core.auth.has_webhooks() {
                // What they ask others is asked by a rehearsal.
                loop {
                    let (mut copy, mut state) = (object.clone(), by_policy.clone());
                    let policies = configured.mutating_policies();
                    let _ = policies::mutate(policies, &bindings, call, operation, &mut copy, old, &mut state);
                    if !checks::settle(call).await {
                        break;
                    }
                }
            }
            let began = call.core.world.elapsed();
            let mutated =
                policies::mutate(configured.mutating_policies(), &bindings, call, operation, object, old, by_policy);
            other_took(call, ("MutatingAdmissionPolicy", "admit"), operation, began, mutated.is_err());
            mutated?;
        }
        if by_policy.round() > 0 {
            by_hook.begin_second(Some(object));
        }
        let began = call.core.world.elapsed();
        let mutated = hooks::mutate(&configured.mutating, call, operation, Some(object), old, by_hook).await;
        other_took(call, ("MutatingAdmissionWebhook", "admit"), operation, began, mutated.is_err());
        mutated
    }
}

/// What somebody has made of an object in version `about`, in the version of the request and as its type wants it.
fn taken(call: &Call<'_>, about: &Resource, changed: Value, old: Option<&Value>) -> Result<Value, ApiError> {
    if changed["kind"] != call.resource.kind.as_str() {
        // What is below an object has no schema here.
        return Ok(changed);
    }
    let mut changed = converted(about, &call.resource, changed);
    metadata::of(&mut changed)?;
    call.resource.schema.prune(&mut changed);
    call.resource.schema.check_types(&changed, &call.resource.kind, &call.resource.version)?;
    call.resource.schema.drop_nulls(&mut changed);
    metadata::tidy(metadata::of(&mut changed)?);
    note_owners(call, &mut changed);
    write::default(call, &mut changed, old);
    Ok(changed)
}

/// Keeps the owners of fields in an object that somebody has changed only where these are others than before: they are looked at
/// when all have had their say ([`managed::after_admission`]).
fn note_owners(call: &Call<'_>, changed: &mut Value) {
    let known = call.aside.owners.as_ref().and_then(|owners| owners.new.as_deref());
    let known = known.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(metadata) = changed["metadata"].as_object_mut() else { return };
    match (metadata.get("managedFields"), known) {
        (Some(now), Some(known)) if *now == known => drop(metadata.remove("managedFields")),
        (Some(_), _) => {}
        (None, Some(_)) => drop(metadata.insert("managedFields".to_owned(), json!([]))),
        (None, None) => {}
    }
}

fn plugins_admit(review: &Review<'_, '_>, object: &mut Value, now: Duration) -> Result<(), ApiError> {
    measured::each(review.call.core, Step::Admit, review.operation, now, |plugin| {
        plugin.admit.map(|admit| admit(review, object))
    })
}

/// Keeps the owners of fields for those who admit, if there is anybody outside of this server.
pub(crate) fn show_owners(call: &mut Call<'_>, new: Option<&str>, old: Option<&str>) {
    if !call.admitted && configured(call).is_some() {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        call.aside.owners = Some(ShownOwners { new: owned(new), old: owned(old) });
    }
}

/// Which of the two objects of a review.
#[derive(Clone, Copy)]
enum Side {
    New,
    Old,
}

/// An object of the request's version as whoever admits wants it: in version `about`, and with the owners of its fields.
fn shown(call: &Call<'_>, about: &Resource, object: &Value, side: Side) -> Value {
    let mut object = object.clone();
    if object["kind"] != call.resource.kind.as_str() {
        return object;
    }
    let owners = call.aside.owners.as_ref().and_then(|owners| match side {
        Side::New => owners.new.as_deref(),
        Side::Old => owners.old.as_deref(),
    });
    if let Some(owners) = owners.and_then(|text| serde_json::from_str::<Value>(text).ok())
        && let Some(metadata) = object["metadata"].as_object_mut()
        && !metadata.contains_key("managedFields")
    {
        metadata.insert("managedFields".to_owned(), owners);
    }
    converted(&call.resource, about, object)
}

/// What is configured for the resource of a call.
fn configured(call: &Call<'_>) -> Option<Arc<Configured>> {
    call.core.admission.current(call.core).filter(|_| !rules::is_exempt(&call.resource))
}

/// Lets the cluster refuse the object as it would be stored.
pub(crate) async fn judge(call: &mut Call<'_>, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    if call.admitted {
        return Ok(());
    }
    let began = call.core.world.elapsed();
    let judged = judge_steps(call, object, old, began).await;
    took(call, "validate", operation(old), began, judged.is_err());
    judged
}

async fn judge_steps(
    call: &mut Call<'_>,
    object: &Value,
    old: Option<&Value>,
    began: Duration,
) -> Result<(), ApiError> {
    let mut said = Said::default();
    let review = Review { call, operation: operation(old), old };
    let judged = measured::each(call.core, Step::Validate, review.operation, began, |plugin| {
        plugin.judge.map(|judge| judge(&review, object, &mut said))
    });
    let asks = std::mem::take(&mut said.asks);
    call.say(said);
    judged?;
    if !asks.is_empty() {
        Box::pin(asks::settle(call, asks)).await?;
    }
    others_judge(call, operation(old), Some(object), old).await?;
    let review = Review { call, operation: operation(old), old };
    if resource_quota::concerns(&review, object) {
        let began = call.core.world.elapsed();
        let charged = Box::pin(resource_quota::charge(&review, object)).await;
        other_took(call, ("ResourceQuota", "validate"), review.operation, began, charged.is_err());
        return charged;
    }
    Ok(())
}

/// What is configured judges, whatever the operation.
async fn others_judge(
    call: &mut Call<'_>,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let Some(configured) = configured(call).filter(|configured| configured.judges()) else { return Ok(()) };
    if !call.resource.is_virtual() {
        let began = call.core.world.elapsed();
        let (said, judged) = loop {
            let review = Review { call, operation, old };
            let judged = policies::validate(configured.policies(), &configured.bindings(), &review, object);
            if !call.core.auth.has_webhooks() || !Box::pin(checks::settle(call)).await {
                break judged;
            }
        };
        call.say(said);
        other_took(call, ("ValidatingAdmissionPolicy", "validate"), operation, began, judged.is_err());
        judged?;
    }
    if configured.validating.is_empty() {
        return Ok(());
    }
    let began = call.core.world.elapsed();
    let (said, judged) =
        Box::pin(async { hooks::validate(&configured.validating, &Review { call, operation, old }, object).await })
            .await;
    call.say(said);
    other_took(call, ("ValidatingAdmissionWebhook", "validate"), operation, began, judged.is_err());
    judged
}

/// Lets the cluster refuse a deletion.
pub(crate) async fn judge_delete(call: &mut Call<'_>, object: &Object) -> Result<(), ApiError> {
    if call.admitted {
        return Ok(());
    }
    let began = call.core.world.elapsed();
    let judged = judge_delete_steps(call, object, began).await;
    took(call, "validate", Operation::Delete, began, judged.is_err());
    judged
}

async fn judge_delete_steps(call: &mut Call<'_>, object: &Object, began: Duration) -> Result<(), ApiError> {
    measured::each(call.core, Step::Validate, Operation::Delete, began, |plugin| {
        plugin.judge_delete.map(|judge| judge(call, object))
    })?;
    let Some(configured) = configured(call) else { return Ok(()) };
    Box::pin(async move {
        let old = object.value();
        let mut state = Reinvocation::default();
        hooks::mutate(&configured.mutating, call, Operation::Delete, None, Some(&old), &mut state).await?;
        others_judge(call, Operation::Delete, None, Some(&old)).await
    })
    .await
}

/// Lets the cluster refuse a stream, whose options are an object of a kind of their own (`PodExecOptions`, for instance).
pub(crate) async fn connect(call: &mut Call<'_>, options: &mut Value) -> Result<(), ApiError> {
    let Some(configured) = configured(call) else { return Ok(()) };
    Box::pin(async move {
        let mut state = Reinvocation::default();
        hooks::mutate(&configured.mutating, call, Operation::Connect, Some(&mut *options), None, &mut state).await?;
        others_judge(call, Operation::Connect, Some(options), None).await
    })
    .await
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

/// `pods "web" is forbidden: why`, for an object that may not have got its name yet (apiserver `admission.NewForbidden`).
fn forbidden(review: &Review<'_, '_>, object: &Value, why: &str) -> ApiError {
    let own = [metadata::text(object, "name"), metadata::text(object, "generateName"), "Unknown"];
    let names = [review.call.request.name.as_str()].into_iter().chain(own);
    let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or("");
    review.call.resource.forbidden(name, why)
}

/// Who a certificate is asked for, from the PEM in a CertificateSigningRequest.
fn request_subject(object: &Value) -> Result<k8s_auth::pki::Subject, String> {
    use base64::Engine;
    let text = object["spec"]["request"].as_str().unwrap_or("");
    let pem = base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| error.to_string())?;
    k8s_auth::pki::subject_of_request(&pem).map_err(|error| error.to_string())
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
        assert!(PLUGINS.len() <= measured::MAX_PLUGINS);
        assert!(
            PLUGINS
                .iter()
                .all(|plugin| plugin.admit.is_some() || plugin.judge.is_some() || plugin.judge_delete.is_some())
        );
    }
}
