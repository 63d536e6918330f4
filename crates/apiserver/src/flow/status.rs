//! Condition `Dangling` of FlowSchemas: whether the priority level that they name is there.

use std::sync::Arc;

use k8s_client::{Body, Request, Verb};
use k8s_object::{GroupVersionResource, Object};
use serde_json::{Value, json};

use super::GROUP;
use crate::core::Core;
use crate::own_objects;

/// As whom managed fields name the writer.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Keeps the conditions current until it is dropped.
pub(crate) async fn keep(core: Arc<Core>) {
    let caches = ["flowschemas", "prioritylevelconfigurations"].map(|plural| core.registry.cache(GROUP, plural));
    let [Some(schemas), Some(levels)] = caches else { return };
    let (mut schemas, mut levels) = (schemas.subscribe(), levels.subscribe());
    loop {
        schemas.borrow_and_update();
        levels.borrow_and_update();
        for schema in core.lookup_all(GROUP, "flowschemas", "") {
            if let Some(changed) = judged(&core, &schema) {
                write(&core, &schema, changed).await;
            }
        }
        tokio::select! {
            biased;
            changed = schemas.changed() => if changed.is_err() { return },
            changed = levels.changed() => if changed.is_err() { return },
        }
    }
}

/// The schema with the condition that it should have; `None` when it has it.
fn judged(core: &Core, schema: &Object) -> Option<Value> {
    let mut value = schema.value();
    let level = value["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default().to_owned();
    let found = core.lookup(GROUP, "prioritylevelconfigurations", "", &level).is_some();
    let which = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = match found {
        true => ("False", "Found", format!("{which} and it exists")),
        false => ("True", "NotFound", format!("{which} but there is no such object")),
    };
    let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let is_own = |condition: &Value| condition["type"] == "Dangling";
    if conditions
        .iter()
        .find(|condition| is_own(condition))
        .is_some_and(|own| own["status"] == status && own["reason"] == reason && own["message"] == message.as_str())
    {
        return None;
    }
    let own = json!({
        "type": "Dangling", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": core.world.now().to_string(),
    });
    let others = conditions.into_iter().filter(|condition| !is_own(condition));
    value["status"]["conditions"] = others.chain([own]).collect();
    Some(value)
}

async fn write(core: &Core, schema: &Object, changed: Value) {
    let request = Request {
        subresource: "status".to_owned(),
        body: Body::Json(changed),
        ..Request::new(Verb::Update, &GroupVersionResource::new(GROUP, "v1", "flowschemas"), "", &schema.meta().name)
    };
    // Somebody else may have been faster; then there is another change to look at.
    let _ = own_objects::execute(core, MANAGER, request).await;
}
