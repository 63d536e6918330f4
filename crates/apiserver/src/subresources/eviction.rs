//! `pods/eviction`: a deletion that PodDisruptionBudgets may refuse.

use k8s_client::{Body, Reply};
use k8s_object::{ApiError, Cause, LabelSelector, Object, Reason};
use serde_json::{Value, json};

use crate::core::Call;
use crate::storage::{self, Claims};
use crate::{admission, delete, write};

/// How often the budget is tried to be charged when somebody else changes it.
const ATTEMPTS: usize = 20;
/// Pods that a budget remembers as being evicted (registry `MaxDisruptedPodSize`).
const MAX_DISRUPTED: usize = 2000;
const GROUP: &str = "policy";
const PLURAL: &str = "poddisruptionbudgets";

pub(super) async fn create(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let (mut eviction, _) = write::parse(body)?;
    let own = eviction["metadata"]["name"].as_str().unwrap_or(&call.request.name);
    if own != call.request.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let options = &eviction["deleteOptions"];
    call.request.options.dry_run |=
        options["dryRun"].as_array().is_some_and(|list| list.iter().any(|text| text == "All"));
    let pod = call.current().await?;
    admission::admit_below(call, ("policy/v1", "Eviction"), &mut eviction, None).await?;
    let mut options = eviction["deleteOptions"].take();
    if !is_free(&pod) {
        charge_budget(call, &pod).await?;
    }
    // Where there are options, those of the request itself do not count.
    if options.is_object() && call.request.options.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    let body = if options.is_object() { Body::Json(options) } else { Body::None };
    let subresource = std::mem::take(&mut call.request.subresource);
    let deleted = delete::delete(call, body).await;
    call.request.subresource = subresource;
    deleted?;
    Ok(Reply::Value(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})))
}

/// Pods that are done, not placed, or going already disrupt nothing.
fn is_free(pod: &Object) -> bool {
    let value = pod.value();
    let phase = value["status"]["phase"].as_str().unwrap_or("");
    ["Failed", "Pending", "Succeeded"].contains(&phase) || pod.meta().is_terminating()
}

fn is_ready(pod: &Object) -> bool {
    let value = pod.value();
    let mut conditions = value["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

async fn charge_budget(call: &Call<'_>, pod: &Object) -> Result<(), ApiError> {
    for _ in 0..ATTEMPTS {
        let budgets = call.core.lookup_all(GROUP, PLURAL, &pod.meta().namespace);
        let matching: Vec<_> = budgets.into_iter().filter(|budget| selects(&budget.value(), pod)).collect();
        let budget = match &matching[..] {
            [] => return Ok(()),
            [budget] => budget,
            _ => {
                let message =
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                return Err(ApiError::new(Reason::InternalError, message));
            }
        };
        let mut value = budget.value();
        if !is_ready(pod) && value["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" {
            return Ok(());
        }
        let status = &value["status"];
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        // A pod that is not ready does not count into the budget as long as enough others are (`IfHealthyBudget`).
        if !is_ready(pod) && number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0 {
            return Ok(());
        }
        check(call, &value, &budget.meta().name)?;
        if call.request.options.dry_run {
            return Ok(());
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
                return Ok(());
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
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(too_many("Cannot evict pod as it would violate the pod's disruption budget.", &why, 10));
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
