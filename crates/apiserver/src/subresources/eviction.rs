//! `pods/eviction`: a deletion that PodDisruptionBudgets may refuse.

use std::sync::Arc;

use k8s_client::{Body, Reply};
use k8s_object::{ApiError, Cause, LabelSelector, Object, Reason};
use serde_json::{Value, json};

use crate::core::Call;
use crate::storage::{self, Claims};
use crate::{admission, delete, update, write};

/// How often the budget is tried to be charged when somebody else changes it.
const ATTEMPTS: usize = 20;
/// Pods that a budget remembers as being evicted (registry `MaxDisruptedPodSize`).
const MAX_DISRUPTED: usize = 2000;
const GROUP: &str = "policy";
const PLURAL: &str = "poddisruptionbudgets";

pub(super) async fn create(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let (mut eviction, _) = write::parse(body)?;
    super::expect(&eviction, "Eviction", &["policy/v1", "policy/v1beta1"])?;
    let own = eviction["metadata"]["name"].as_str().unwrap_or_default();
    if own != call.request.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let options = &eviction["deleteOptions"];
    call.request.options.dry_run |=
        options["dryRun"].as_array().is_some_and(|list| list.iter().any(|text| text == "All"));
    call.current().await?;
    admission::admit_below(call, ("policy/v1", "Eviction"), &mut eviction, None).await?;
    let options = std::mem::take(&mut eviction["deleteOptions"]);
    let asked = options["preconditions"]["resourceVersion"].is_string();
    for _ in 0..ATTEMPTS {
        let pod = call.current().await?;
        let mut options = if options.is_object() { options.clone() } else { json!({}) };
        let charged = if is_free(&pod) { Charged::Free } else { charge_budget(call, &pod).await? };
        // What was decided about this state of the pod holds for no other; what is done stays done.
        if !asked && (charged.is_unhealthy() || (charged == Charged::Free && !is_done(&pod))) {
            options["preconditions"]["resourceVersion"] = json!(pod.meta().resource_version);
        }
        match (evict(call, options).await, charged) {
            (Ok(()), _) => {
                let done =
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
                return Ok(Reply::Value(done));
            }
            (Err(error), Charged::Free) if error.reason == Reason::Conflict && !asked => {}
            (Err(error), Charged::Unhealthy(budget)) if error.reason == Reason::Conflict && !asked => {
                return Err(being_processed(&budget));
            }
            (Err(error), _) => return Err(error),
        }
    }
    Err(call.resource.conflict(&call.request.name, update::MODIFIED))
}

/// Says in the status of the pod why it goes, and deletes it.
async fn evict(call: &mut Call<'_>, mut options: Value) -> Result<(), ApiError> {
    if call.request.options.dry_run {
        // Where options are given, those of the request itself do not count.
        options["dryRun"] = json!(["All"]);
    } else {
        let condemned = condemn(call, &options["preconditions"]).await?;
        if options["preconditions"]["resourceVersion"].is_string() {
            options["preconditions"]["resourceVersion"] = json!(condemned.meta().resource_version);
        }
    }
    let subresource = std::mem::take(&mut call.request.subresource);
    let deleted = delete::delete(call, Body::Json(options)).await;
    call.request.subresource = subresource;
    deleted.map(drop)
}

async fn condemn(call: &mut Call<'_>, preconditions: &Value) -> Result<Arc<Object>, ApiError> {
    for _ in 0..ATTEMPTS {
        let old = call.current().await?;
        let (uid, version) = (&old.meta().uid, &old.meta().resource_version);
        let differs =
            |key: &str, own: &str| preconditions[key].as_str().filter(|text| !text.is_empty() && *text != own);
        if let Some(asked) = differs("uid", uid) {
            let why = format!(
                "the UID in the precondition ({asked}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            );
            return Err(ApiError::conflict("", "Pod", &call.request.name, &why));
        }
        if let Some(asked) = differs("resourceVersion", version) {
            let why = format!(
                "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({version}). The object might have been modified"
            );
            return Err(ApiError::conflict("", "Pod", &call.request.name, &why));
        }
        let mut pod = old.value_without_managed_fields();
        let conditions = &mut pod["status"]["conditions"];
        if !conditions.is_array() {
            *conditions = json!([]);
        }
        let mut condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": call.now.to_string(),
        });
        let list = conditions.as_array_mut().ok_or_else(|| ApiError::internal("conditions are a list"))?;
        match list.iter_mut().find(|own| own["type"] == condition["type"]) {
            Some(own) => {
                if own["status"] == condition["status"] {
                    condition["lastTransitionTime"] = own["lastTransitionTime"].take();
                }
                *own = condition;
            }
            None => list.push(condition),
        }
        if let Some(condemned) = update::replace(call, &old, pod).await? {
            return Ok(condemned);
        }
    }
    Err(call.resource.conflict(&call.request.name, update::MODIFIED))
}

/// What a budget had to say about a pod.
#[derive(Debug, PartialEq, Eq)]
enum Charged {
    /// Its going disrupts nothing.
    Free,
    /// No budget selects it, or the one that does allows it.
    Allowed,
    /// It is not ready, so the budget of this name does not count it.
    Unhealthy(String),
}

impl Charged {
    fn is_unhealthy(&self) -> bool {
        matches!(self, Charged::Unhealthy(_))
    }
}

fn is_done(pod: &Object) -> bool {
    let value = pod.value();
    let phase = value["status"]["phase"].as_str().unwrap_or("");
    ["Failed", "Succeeded"].contains(&phase) || pod.meta().is_terminating()
}

fn being_processed(budget: &str) -> ApiError {
    let why = format!("The disruption budget {budget} is still being processed by the server.");
    too_many("Cannot evict pod as it would violate the pod's disruption budget.", &why, 10)
}

/// Pods that are done, not placed, or going already disrupt nothing.
fn is_free(pod: &Object) -> bool {
    let value = pod.value();
    value["status"]["phase"] == "Pending" || is_done(pod)
}

fn is_ready(pod: &Object) -> bool {
    let value = pod.value();
    let mut conditions = value["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

async fn charge_budget(call: &Call<'_>, pod: &Object) -> Result<Charged, ApiError> {
    for _ in 0..ATTEMPTS {
        let budgets = call.core.lookup_all(GROUP, PLURAL, &pod.meta().namespace);
        let matching: Vec<_> = budgets.into_iter().filter(|budget| selects(&budget.value(), pod)).collect();
        let budget = match &matching[..] {
            [] => return Ok(Charged::Allowed),
            [budget] => budget,
            _ => {
                let message =
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                return Err(ApiError::new(Reason::InternalError, message));
            }
        };
        let mut value = budget.value();
        if !is_ready(pod) && value["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" {
            return Ok(Charged::Unhealthy(budget.meta().name.clone()));
        }
        let status = &value["status"];
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        // A pod that is not ready does not count into the budget as long as enough others are (`IfHealthyBudget`).
        if !is_ready(pod) && number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0 {
            return Ok(Charged::Unhealthy(budget.meta().name.clone()));
        }
        check(call, &value, &budget.meta().name)?;
        if call.request.options.dry_run {
            return Ok(Charged::Allowed);
        }
        value["status"]["disruptionsAllowed"] = json!(number("disruptionsAllowed") - 1);
        value["status"]["disruptedPods"][pod.meta().name.as_str()] = json!(call.now.to_string());
        if let Some(map) = value["metadata"].as_object_mut() {
            map.remove("resourceVersion");
        }
        let key = storage::key(GROUP, PLURAL, &budget.key());
        let bytes = k8s_object::encode(&value).into();
        let bytes = call.core.encryption.seal(GROUP, PLURAL, &key, &bytes).await?;
        match storage::put(call.space, key, bytes, write::revision(budget)?, None, Claims::default()).await? {
            storage::Written::Done(revision) => {
                call.core.reach(revision).await;
                return Ok(Charged::Allowed);
            }
            storage::Written::Conflict(revision) => call.core.reach(revision).await,
        }
    }
    Err(too_many("The disruption budget keeps changing; please try again.", "", 10))
}

fn selects(budget: &Value, pod: &Object) -> bool {
    let selector = &budget["spec"]["selector"];
    if selector.is_null() {
        return false;
    }
    serde_json::from_value::<LabelSelector>(selector.clone()).is_ok_and(|selector| selector.matches(&pod.meta().labels))
}

fn check(call: &Call<'_>, budget: &Value, name: &str) -> Result<(), ApiError> {
    let status = &budget["status"];
    let generation = budget["metadata"]["generation"].as_i64().unwrap_or(0);
    if status["observedGeneration"].as_i64().unwrap_or(0) < generation {
        return Err(being_processed(name));
    }
    let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
    if allowed < 0 {
        return Err(call.resource.forbidden(name, "pdb disruptions allowed is negative"));
    }
    if status["disruptedPods"].as_object().is_some_and(|map| map.len() > MAX_DISRUPTED) {
        return Err(call
            .resource
            .forbidden(name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if allowed == 0 {
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        let why = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        );
        return Err(too_many("Cannot evict pod as it would violate the pod's disruption budget.", &why, 0));
    }
    Ok(())
}

fn too_many(message: &str, why: &str, seconds: u32) -> ApiError {
    let mut error = ApiError::new(Reason::TooManyRequests, message);
    if !why.is_empty() {
        error.causes.push(Cause { reason: "DisruptionBudget".into(), message: why.into(), field: String::new() });
    }
    error.retry_after_seconds = (seconds > 0).then_some(seconds);
    error
}
