//! `pods/binding`: the scheduler says where a pod runs, once.

use k8s_client::{Body, Reply};
use k8s_object::{ApiError, Cause};
use serde_json::{Value, json};

use crate::core::Call;
use crate::update::ATTEMPTS;
use crate::{admission, metadata, update, write};

pub(super) async fn create(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let (mut binding, _) = write::parse(body)?;
    super::expect(&binding, "Binding", &["v1"])?;
    admission::admit_below(call, ("v1", "Binding"), &mut binding, None).await?;
    let node = binding["target"]["name"].as_str().unwrap_or("").to_owned();
    let kind = binding["target"]["kind"].as_str().unwrap_or("Node");
    let name = call.request.name.clone();
    let mut causes: Vec<Cause> = Vec::new();
    if !["", "Node"].contains(&kind) {
        causes.push(k8s_kinds::causes::not_supported("target.kind", kind, &["Node", "<empty>"]));
    }
    if node.is_empty() {
        causes.push(k8s_kinds::causes::required("target.name", ""));
    }
    if !causes.is_empty() {
        return Err(ApiError::invalid("", "Binding", &name, causes));
    }
    let uid = metadata::text(&binding, "uid");
    for _ in 0..ATTEMPTS {
        let old = call.current().await?;
        let mut pod = old.value_without_managed_fields();
        if !uid.is_empty() && uid != old.meta().uid {
            let why =
                format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.meta().uid);
            return Err(call.resource.conflict(&name, &why));
        }
        if old.meta().is_terminating() {
            return Err(call
                .resource
                .conflict(&name, &format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        if let Some(own) = pod["spec"]["nodeName"].as_str().filter(|own| !own.is_empty()) {
            return Err(call.resource.conflict(&name, &format!("pod {name} is already assigned to node {own:?}")));
        }
        if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
            return Err(call.resource.conflict(&name, &format!("pod {name} has non-empty .spec.schedulingGates")));
        }
        bind(call, &mut pod, &binding, &node);
        if let Some(_bound) = update::replace(call, &old, pod).await? {
            return Ok(Reply::Value(json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
            })));
        }
    }
    Err(call.resource.conflict(&name, "the pod keeps changing while it is bound; please try again"))
}

fn bind(call: &Call<'_>, pod: &mut Value, binding: &Value, node: &str) {
    pod["spec"]["nodeName"] = json!(node);
    for field in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
            pod["metadata"][field][key.as_str()] = value.clone();
        }
    }
    let conditions = &mut pod["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Some(list) = conditions.as_array_mut() {
        list.retain(|condition| condition["type"] != "PodScheduled");
        let now = call.now.to_string();
        list.push(json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}));
    }
}
