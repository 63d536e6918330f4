//! `UpdateNodegroupConfig`: size, labels, taints, and how updates roll.

use std::collections::BTreeMap;

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error;
use crate::model::{Change, NodegroupStatus, Taint};
use crate::nodegroups::{ScalingRequest, check_labels, check_taints, check_update_config};
use crate::service::Call;
use crate::updates;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    cluster_name: String,
    nodegroup_name: String,
    labels: Option<Labels>,
    taints: Option<Taints>,
    scaling_config: Option<ScalingRequest>,
    update_config: Option<Value>,
    node_repair_config: Option<Value>,
    client_request_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Labels {
    #[serde(default)]
    add_or_update_labels: BTreeMap<String, String>,
    #[serde(default)]
    remove_labels: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taints {
    #[serde(default)]
    add_or_update_taints: Vec<Taint>,
    #[serde(default)]
    remove_taints: Vec<Taint>,
}

pub(crate) async fn update(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = cloud_iam::decode_input(call.input)?;
    let (cluster, name) = (input.cluster_name.clone(), input.nodegroup_name.clone());
    let with_names = |error: AwsError| error.with("clusterName", cluster.as_str()).with("nodegroupName", name.as_str());
    call.cluster(&cluster).await?;
    let mut nodegroup = call.nodegroup(&cluster, &name).await?;
    if let Some(update) = updates::repeated(call.tx, (&cluster, &name), input.client_request_token.as_ref()).await? {
        return Ok(json!({ "update": update.json() }));
    }
    if call.input.get("warmPoolConfig").is_some() {
        return Err(AwsError::not_supported("eks", "UpdateNodegroupConfig with warmPoolConfig"));
    }
    match nodegroup.status {
        NodegroupStatus::Active | NodegroupStatus::Degraded => {}
        NodegroupStatus::Updating => {
            return Err(with_names(error::in_use(format!(
                "Nodegroup cannot be updated because it currently has update in progress: {name}"
            ))));
        }
        status => {
            return Err(with_names(error::in_use(format!(
                "Nodegroup cannot be updated as it is currently not in Active State: {}",
                status.name()
            ))));
        }
    }
    let mut params: Vec<(String, String)> = Vec::new();
    let mut add = |kind: &str, value: String| params.push((kind.to_owned(), value));
    if let Some(request) = input.scaling_config {
        let scaling = request.over(nodegroup.scaling).map_err(with_names)?;
        add("MinSize", scaling.min_size.to_string());
        add("MaxSize", scaling.max_size.to_string());
        add("DesiredSize", scaling.desired_size.to_string());
        nodegroup.scaling = scaling;
    }
    if let Some(labels) = input.labels {
        check_labels(&labels.add_or_update_labels).map_err(with_names)?;
        if !labels.add_or_update_labels.is_empty() {
            add("LabelsToAdd", json!(labels.add_or_update_labels).to_string());
        }
        if !labels.remove_labels.is_empty() {
            add("LabelsToRemove", json!(labels.remove_labels).to_string());
        }
        nodegroup.labels.extend(labels.add_or_update_labels);
        nodegroup.labels.retain(|key, _| !labels.remove_labels.contains(key));
    }
    if let Some(taints) = input.taints {
        check_taints(&taints.add_or_update_taints).map_err(with_names)?;
        if !taints.add_or_update_taints.is_empty() {
            add("TaintsToAdd", json!(taints.add_or_update_taints).to_string());
        }
        if !taints.remove_taints.is_empty() {
            add("TaintsToRemove", json!(taints.remove_taints).to_string());
        }
        // A taint is the same as another with its key and effect.
        let same = |a: &Taint, b: &Taint| (&a.key, &a.effect) == (&b.key, &b.effect);
        let replaced = |taint: &Taint| {
            taints.add_or_update_taints.iter().chain(&taints.remove_taints).any(|other| same(other, taint))
        };
        nodegroup.taints.retain(|taint| !replaced(taint));
        nodegroup.taints.extend(taints.add_or_update_taints);
        check_taints(&nodegroup.taints).map_err(with_names)?;
    }
    if let Some(config) = input.update_config {
        let config = check_update_config(Some(config)).map_err(with_names)?;
        for (member, kind) in [
            ("maxUnavailable", "MaxUnavailable"),
            ("maxUnavailablePercentage", "MaxUnavailablePercentage"),
            ("updateStrategy", "UpdateStrategy"),
        ] {
            if let Some(value) = config.get(member) {
                add(kind, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
        }
        nodegroup.update_config = config;
    }
    if let Some(repair) = input.node_repair_config {
        add("NodeRepairConfig", repair.to_string());
        nodegroup.repair = Some(repair);
    }
    if params.is_empty() {
        return Err(with_names(error::invalid_parameter("No changes were given for the node group")));
    }
    let update = updates::begin(
        call.eks,
        call.tx,
        (&cluster, &name),
        "ConfigUpdate",
        params,
        Change::Nodegroup,
        input.client_request_token,
    )
    .await?;
    nodegroup.status = NodegroupStatus::Updating;
    nodegroup.since = call.ctx.now.micros();
    nodegroup.modified = call.ctx.now.micros();
    nodegroup.due = (call.ctx.now + call.eks.0.parts.pace.nodegroup_update).micros();
    nodegroup.update = Some(update.id.clone());
    call.tx.put(&nodegroup.key(), &nodegroup);
    Ok(json!({ "update": update.json() }))
}
