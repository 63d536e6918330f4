//! Update records.

use cloud_iam::records::Tx;
use cloud_wire::AwsError;
use serde_json::{Value, json};

use crate::error;
use crate::model::{Change, Issue, Update};
use crate::service::{Call, Eks, paged, text};

/// Updates of one cluster or node group that are kept; the oldest make room.
const MAX_UPDATES: usize = 200;

/// The record names of a cluster's updates begin with this; `nodegroup` is empty for the cluster itself.
fn prefix(cluster: &str, nodegroup: &str) -> String {
    format!("{cluster}/{}/", if nodegroup.is_empty() { String::new() } else { format!("ng:{nodegroup}") })
}

/// Writes a new update in progress, and returns it.
pub(crate) async fn begin(
    eks: &Eks,
    tx: &mut Tx,
    (cluster, nodegroup): (&str, &str),
    kind: &str,
    params: Vec<(String, String)>,
    change: Change,
    token: Option<String>,
) -> Result<Update, AwsError> {
    let update = Update {
        id: eks.0.parts.world.uuid(),
        status: "InProgress".to_owned(),
        kind: kind.to_owned(),
        params,
        created: eks.0.parts.world.now().micros(),
        errors: Vec::new(),
        change,
        token,
    };
    let prefix = prefix(cluster, nodegroup);
    let old = tx.list::<Update>(&prefix).await?;
    if old.len() >= MAX_UPDATES {
        tx.delete::<Update>(&old[0].0);
    }
    tx.put(&format!("{prefix}{:020}/{}", update.created, update.id), &update);
    Ok(update)
}

/// Finds an update by id.
pub(crate) async fn find(
    tx: &mut Tx,
    (cluster, nodegroup): (&str, &str),
    id: &str,
) -> Result<Option<(String, Update)>, AwsError> {
    let updates = tx.list::<Update>(&prefix(cluster, nodegroup)).await?;
    Ok(updates.into_iter().find(|(_, update)| update.id == id))
}

/// An earlier update with the same request token.
pub(crate) async fn repeated(
    tx: &mut Tx,
    of: (&str, &str),
    token: Option<&String>,
) -> Result<Option<Update>, AwsError> {
    let Some(token) = token else { return Ok(None) };
    let updates = tx.list::<Update>(&prefix(of.0, of.1)).await?;
    Ok(updates.into_iter().map(|(_, update)| update).find(|update| update.token.as_ref() == Some(token)))
}

/// Ends an update: well without errors, else badly.
pub(crate) async fn finish(tx: &mut Tx, of: (&str, &str), id: &str, errors: Vec<Issue>) -> Result<(), AwsError> {
    if let Some((key, mut update)) = find(tx, of, id).await? {
        update.status = if errors.is_empty() { "Successful" } else { "Failed" }.to_owned();
        update.errors = errors;
        tx.put(&key, &update);
    }
    Ok(())
}

/// Ends an update whose node group goes away.
pub(crate) async fn cancel(tx: &mut Tx, of: (&str, &str), id: &str) -> Result<(), AwsError> {
    if let Some((key, mut update)) = find(tx, of, id).await? {
        update.status = "Cancelled".to_owned();
        tx.put(&key, &update);
    }
    Ok(())
}

/// Deletes all updates of a node group, or of a cluster and everything in it.
pub(crate) async fn forget(tx: &mut Tx, cluster: &str, nodegroup: Option<&str>) -> Result<(), AwsError> {
    let prefix = nodegroup.map_or_else(|| format!("{cluster}/"), |nodegroup| prefix(cluster, nodegroup));
    // A transaction has room for about a hundred deletions; the caller comes back for the rest.
    for (key, _) in tx.list::<Update>(&prefix).await?.into_iter().take(90) {
        tx.delete::<Update>(&key);
    }
    Ok(())
}

/// Which thing's updates a request is about.
async fn scope(call: &mut Call<'_>) -> Result<(String, String), AwsError> {
    let cluster = text(call.input, "name").unwrap_or_default().to_owned();
    call.cluster(&cluster).await?;
    if let Some(addon) = text(call.input, "addonName") {
        return Err(error::not_found(format!("No addon: {addon} found in cluster: {cluster}"))
            .with("clusterName", cluster.as_str()));
    }
    let nodegroup = text(call.input, "nodegroupName").unwrap_or_default().to_owned();
    if !nodegroup.is_empty() {
        call.nodegroup(&cluster, &nodegroup).await?;
    }
    Ok((cluster, nodegroup))
}

pub(crate) async fn describe(mut call: Call<'_>) -> Result<Value, AwsError> {
    let (cluster, nodegroup) = scope(&mut call).await?;
    let id = text(call.input, "updateId").unwrap_or_default().to_owned();
    match find(call.tx, (&cluster, &nodegroup), &id).await? {
        Some((_, update)) => Ok(json!({ "update": update.json() })),
        None => Err(error::not_found(format!("No update found for ID: {id}")).with("clusterName", cluster)),
    }
}

pub(crate) async fn list(mut call: Call<'_>) -> Result<Value, AwsError> {
    let (cluster, nodegroup) = scope(&mut call).await?;
    let updates = call.tx.list::<Update>(&prefix(&cluster, &nodegroup)).await?;
    let items = updates.into_iter().map(|(key, update)| (key, Value::String(update.id))).collect();
    paged(call.input, items, "updateIds")
}
