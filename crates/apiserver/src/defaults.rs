//! What every cluster has comes back when somebody takes it away: system namespaces and the defaults of priority and fairness
//! within a minute, where Services get their addresses and the Service `kubernetes` within ten seconds, as from upstream's
//! controllers. Specs of priority and fairness that are the server's are put back too (apiserver `flowcontrol/ensurer`).

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Request, Verb};
use k8s_kinds::flow_control::{self, AUTO_UPDATE, Fixed};
use k8s_object::{ApiError, Object, UserInfo};
use serde_json::{Value, json};

use crate::bootstrap::{self, PRIORITY_LEVELS};
use crate::core::Core;
use crate::own_objects;
use crate::registry::{Resource, Strategy};

/// How often the Service and its range are looked at (kube-apiserver `EndpointReconcilerInterval`).
const OFTEN: Duration = Duration::from_secs(10);
/// How many of these pass between two looks at all else (a minute).
const SELDOM: u32 = 6;
/// As whom managed fields name the writer.
const MANAGER: &str = "api-priority-and-fairness-config-producer-v1";

/// Runs until it is dropped.
pub(crate) async fn keep(core: Arc<Core>) {
    let user = own_objects::user();
    let mut looks = 0;
    loop {
        core.world.sleep(OFTEN).await;
        looks = (looks + 1) % SELDOM;
        // What fails now is done at the next look.
        let _ = bootstrap::keep_network(&core, &user).await;
        if looks == 0 {
            let _ = bootstrap::keep_namespaces(&core, &user).await;
            let _ = keep_flow_control(&core, &user).await;
        }
    }
}

async fn keep_flow_control(core: &Core, user: &Arc<UserInfo>) -> Result<(), ApiError> {
    bootstrap::keep_flow_control(core, user).await?;
    for (gvr, fixed) in bootstrap::flow_control() {
        let (_, resource) = core.registry.find(&gvr)?;
        let wanted = completed(core, &resource, flow_control::object(fixed));
        // What fails now is done at the next look.
        let _ =
            own_objects::keep(core, MANAGER, &gvr, ("", fixed.name), |current| revised(fixed, current?, &wanted)).await;
    }
    remove_unwanted(core).await
}

/// An object as it would be stored, as far as its spec goes.
fn completed(core: &Core, resource: &Resource, mut object: Value) -> Value {
    resource.schema.default(&mut object);
    if let Strategy::Builtin(kind) = &resource.strategy {
        let context = k8s_kinds::Context { minor: core.minor, now: core.world.now(), old: None, subresource: "" };
        (kind.default)(&mut object, &context);
    }
    object
}

/// What an annotation says about whose the spec is.
fn said(value: &Value) -> Option<bool> {
    match value["metadata"]["annotations"][AUTO_UPDATE].as_str()? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The object with the spec and the annotation that it should have; `None` when it has them.
fn revised(fixed: &Fixed, current: &Object, wanted: &Value) -> Option<Value> {
    let mut value = current.value();
    let said = said(&value);
    let is_ours = fixed.is_mandatory || said.unwrap_or(current.meta().generation == 1);
    let mut spec = wanted["spec"].clone();
    if fixed.kind == "PriorityLevelConfiguration" && fixed.name == "exempt" {
        // What this one level lends is for the operator to say.
        for key in ["lendablePercent", "nominalConcurrencyShares"] {
            spec["exempt"][key] = value["spec"]["exempt"][key].clone();
        }
    }
    let changes = is_ours && value["spec"] != spec;
    if !changes && said == Some(is_ours) {
        return None;
    }
    if changes {
        value["spec"] = wanted["spec"].clone();
    }
    if !value["metadata"]["annotations"].is_object() {
        value["metadata"]["annotations"] = json!({});
    }
    value["metadata"]["annotations"][AUTO_UPDATE] = json!(is_ours.to_string());
    Some(value)
}

/// Removes what a server of another version put there and this one does not have.
async fn remove_unwanted(core: &Core) -> Result<(), ApiError> {
    let known = bootstrap::flow_control();
    for gvr in [bootstrap::FLOW_SCHEMAS, PRIORITY_LEVELS] {
        for object in core.lookup_all(flow_control::GROUP, &gvr.resource, "") {
            let name = object.meta().name.clone();
            let is_known = known.iter().any(|(of, fixed)| *of == gvr && fixed.name == name);
            if !is_known && said(&object.value()) == Some(true) {
                own_objects::execute(core, MANAGER, Request::new(Verb::Delete, &gvr, "", &name)).await?;
            }
        }
    }
    Ok(())
}
