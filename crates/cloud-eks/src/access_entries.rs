//! Access entries and the policies associated with them.

use std::collections::BTreeMap;

use cloud_iam::records::Tx;
use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};
use world::Timestamp;

use crate::access_policies::{self, AssociateError, Scope};
use crate::clusters::check_tags;
use crate::error;
use crate::identity::{
    EntryError, EntryType, Kind, PrincipalArn, default_username, shown_groups, validate_groups, validate_principal,
    validate_username,
};
use crate::model::{AccessEntry, Association, Cluster, Nodegroup, Tags};
use crate::service::{Call, Eks, paged, text};

/// AWS's quota.
const MAX_ENTRIES: usize = 3000;
/// Policies of one entry, AWS's quota.
const MAX_POLICIES: usize = 20;
/// Groups of one entry.
const MAX_GROUPS: usize = 100;

/// `("role", "name")` of a principal's ARN; the name without its path.
pub(crate) fn kind_and_name(principal: &str) -> (&str, &str) {
    let resource = principal.splitn(6, ':').nth(5).unwrap_or("*");
    let (kind, rest) = resource.split_once('/').unwrap_or((resource, resource));
    (kind, rest.rsplit('/').next().unwrap_or(rest))
}

fn show(entry: &AccessEntry) -> Value {
    json!({
        "clusterName": entry.cluster, "principalArn": entry.principal, "kubernetesGroups": entry.groups, "accessEntryArn": entry.arn,
        "createdAt": Timestamp::from_micros(entry.created).epoch_seconds(),
        "modifiedAt": Timestamp::from_micros(entry.modified).epoch_seconds(),
        "tags": entry.tags, "username": entry.username, "type": entry.kind.as_str(),
    })
}

fn key(cluster: &str, principal: &str) -> String {
    format!("{cluster}/{principal}")
}

fn refused(error: EntryError) -> AwsError {
    error::invalid_parameter(error.to_string())
}

fn new_entry(
    eks: &Eks,
    cluster: &str,
    principal: &str,
    kind: EntryType,
    id: String,
) -> Result<AccessEntry, EntryError> {
    let (resource, name) = kind_and_name(principal);
    let account = principal.split(':').nth(4).unwrap_or_default();
    let now = eks.0.parts.world.now().micros();
    Ok(AccessEntry {
        cluster: cluster.to_owned(),
        principal: principal.to_owned(),
        principal_id: id,
        arn: format!(
            "arn:aws:eks:{}:{}:access-entry/{cluster}/{resource}/{account}/{name}/{}",
            eks.region(),
            eks.account(),
            eks.0.parts.world.uuid()
        ),
        kind,
        username: default_username(principal, kind)?,
        groups: shown_groups(kind).iter().map(|group| (*group).to_owned()).collect(),
        policies: BTreeMap::new(),
        tags: Tags::new(),
        created: now,
        modified: now,
        managed: false,
    })
}

/// The creator's entry, with the policy of cluster administrators.
pub(crate) fn insert_creator(eks: &Eks, tx: &mut Tx, cluster: &Cluster, id: String) -> Result<(), AwsError> {
    let mut entry = new_entry(eks, &cluster.name, &cluster.creator, EntryType::Standard, id).map_err(refused)?;
    let now = entry.created;
    entry
        .policies
        .insert(access_policies::cluster_admin_arn(), Association { namespaces: None, created: now, modified: now });
    tx.put(&key(&cluster.name, &cluster.creator), &entry);
    Ok(())
}

/// The entry of a group's node role, unless the role has one. A role that is gone gets none: without its unique id the entry
/// would be that of whoever takes the name next.
pub(crate) async fn ensure_node_entry(eks: &Eks, tx: &mut Tx, nodegroup: &Nodegroup) -> Result<(), AwsError> {
    let key = key(&nodegroup.cluster, &nodegroup.role);
    if tx.get::<AccessEntry>(&key).await?.is_some() {
        return Ok(());
    }
    let Some(id) = eks.0.parts.iam.principal_id(&nodegroup.role).await? else { return Ok(()) };
    let windows = nodegroup.ami_type.starts_with("WINDOWS");
    let kind = if windows { EntryType::Ec2Windows } else { EntryType::Ec2Linux };
    let mut entry = new_entry(eks, &nodegroup.cluster, &nodegroup.role, kind, id).map_err(refused)?;
    entry.managed = true;
    tx.put(&key, &entry);
    Ok(())
}

/// The entries that a cluster has from the moment it uses entries: those of its creator and of its node groups. Whoever has
/// one keeps it as it is.
pub(crate) async fn ensure_first_entries(eks: &Eks, tx: &mut Tx, cluster: &Cluster) -> Result<(), AwsError> {
    if cluster.creator_admin && tx.get::<AccessEntry>(&key(&cluster.name, &cluster.creator)).await?.is_none() {
        // A creator that can have no entry, such as a service or a deleted user, must not hold the cluster up.
        let id = match validate_principal(&cluster.creator, EntryType::Standard, eks.account()) {
            Ok(arn) => unique_id(eks, &arn, &cluster.creator).await?,
            Err(_) => None,
        };
        if let Some(id) = id {
            insert_creator(eks, tx, cluster, id)?;
        }
    }
    for (key, _) in tx.list::<Nodegroup>(&format!("{}/", cluster.name)).await? {
        // Read again, so that a group that is deleted meanwhile leaves no entry behind.
        if let Some(nodegroup) = tx.get::<Nodegroup>(&key).await? {
            ensure_node_entry(eks, tx, &nodegroup).await?;
        }
    }
    Ok(())
}

/// The cluster of a call about access entries, which it must use.
async fn cluster_with_entries(call: &mut Call<'_>) -> Result<Cluster, AwsError> {
    let name = text(call.input, "clusterName").unwrap_or_default().to_owned();
    let cluster = call.cluster(&name).await?;
    if !cluster.authentication.has_entries() {
        return Err(error::invalid_request(
            "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.",
        )
        .with("clusterName", name));
    }
    Ok(cluster)
}

fn principal_of(call: &Call<'_>) -> String {
    text(call.input, "principalArn").unwrap_or_default().to_owned()
}

async fn entry_of(call: &mut Call<'_>) -> Result<AccessEntry, AwsError> {
    let cluster = cluster_with_entries(call).await?;
    let principal = principal_of(call);
    let entry = call.tx.get::<AccessEntry>(&key(&cluster.name, &principal)).await?;
    entry.ok_or_else(|| {
        error::not_found(format!("The specified principalArn could not be found. You can view your available access entries with 'list-access-entries'. principalArn: {principal}"))
            .with("clusterName", cluster.name)
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    principal_arn: String,
    #[serde(default)]
    kubernetes_groups: Vec<String>,
    #[serde(default)]
    tags: Tags,
    username: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

pub(crate) async fn create(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Create = cloud_iam::decode_input(call.input)?;
    let cluster = cluster_with_entries(&mut call).await?;
    let with_name = |error: AwsError| error.with("clusterName", cluster.name.as_str());
    let principal = input.principal_arn.clone();
    let kind = input.kind.as_deref().map_or(Ok(EntryType::Standard), EntryType::parse);
    let kind = kind.map_err(refused).map_err(with_name)?;
    let id = check_principal(&call, &principal, kind).await.map_err(with_name)?;
    check_tags(&input.tags).map_err(with_name)?;
    if call.tx.get::<AccessEntry>(&key(&cluster.name, &principal)).await?.is_some() {
        return Err(with_name(error::in_use("The specified access entry resource is already in use on this cluster.")));
    }
    if call.tx.list::<AccessEntry>(&format!("{}/", cluster.name)).await?.len() >= MAX_ENTRIES {
        return Err(with_name(error::limit(format!("A cluster has at most {MAX_ENTRIES} access entries"))));
    }
    let mut entry = new_entry(call.eks, &cluster.name, &principal, kind, id).map_err(refused).map_err(with_name)?;
    entry.tags = input.tags;
    set_identity(&mut entry, input.username, Some(input.kubernetes_groups)).map_err(with_name)?;
    call.tx.put(&key(&cluster.name, &principal), &entry);
    Ok(json!({ "accessEntry": show(&entry) }))
}

/// The principal's unique id, as [`unique_id`] has it.
async fn check_principal(call: &Call<'_>, principal: &str, kind: EntryType) -> Result<String, AwsError> {
    let arn = validate_principal(principal, kind, call.eks.account()).map_err(refused)?;
    let id = unique_id(call.eks, &arn, principal).await?;
    id.ok_or_else(|| error::invalid_parameter("The specified principalArn is invalid: invalid principal."))
}

/// A principal's unique id; empty when it is in another account, where it cannot be looked up, none when it does not exist.
async fn unique_id(eks: &Eks, arn: &PrincipalArn, principal: &str) -> Result<Option<String>, AwsError> {
    if arn.account() != eks.account() {
        return Ok(Some(String::new()));
    }
    if arn.kind == Kind::Root {
        return Ok(Some(eks.account().to_owned()));
    }
    Ok(eks.0.parts.iam.principal_id(principal).await?)
}

/// Sets what the caller gives, after checking it.
fn set_identity(
    entry: &mut AccessEntry,
    username: Option<String>,
    groups: Option<Vec<String>>,
) -> Result<(), AwsError> {
    if let Some(username) = username {
        validate_username(entry.kind, &username).map_err(refused)?;
        entry.username = username;
    }
    if let Some(groups) = groups {
        validate_groups(entry.kind, &groups).map_err(refused)?;
        if groups.len() > MAX_GROUPS {
            return Err(error::invalid_parameter(format!("An access entry has at most {MAX_GROUPS} groups")));
        }
        if entry.kind == EntryType::Standard {
            entry.groups = groups.into_iter().collect();
        }
    }
    Ok(())
}

pub(crate) async fn describe(mut call: Call<'_>) -> Result<Value, AwsError> {
    Ok(json!({ "accessEntry": show(&entry_of(&mut call).await?) }))
}

pub(crate) async fn list(mut call: Call<'_>) -> Result<Value, AwsError> {
    let cluster = cluster_with_entries(&mut call).await?;
    let policy = text(call.input, "associatedPolicyArn").map(str::to_owned);
    let entries = call.tx.list::<AccessEntry>(&format!("{}/", cluster.name)).await?;
    let items = entries
        .into_iter()
        .filter(|(_, entry)| policy.as_ref().is_none_or(|policy| entry.policies.contains_key(policy)))
        .map(|(key, entry)| (key, Value::String(entry.principal)))
        .collect();
    paged(call.input, items, "accessEntries")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    kubernetes_groups: Option<Vec<String>>,
    username: Option<String>,
}

pub(crate) async fn update(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Update = cloud_iam::decode_input(call.input)?;
    let mut entry = entry_of(&mut call).await?;
    set_identity(&mut entry, input.username, input.kubernetes_groups)
        .map_err(|error| error.with("clusterName", entry.cluster.as_str()))?;
    entry.modified = call.ctx.now.micros();
    call.tx.put(&key(&entry.cluster, &entry.principal), &entry);
    Ok(json!({ "accessEntry": show(&entry) }))
}

pub(crate) async fn delete(mut call: Call<'_>) -> Result<Value, AwsError> {
    let entry = entry_of(&mut call).await?;
    call.tx.delete::<AccessEntry>(&key(&entry.cluster, &entry.principal));
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Associate {
    policy_arn: String,
    access_scope: AccessScope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccessScope {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    namespaces: Vec<String>,
}

fn association_json(arn: &str, association: &Association) -> Value {
    let scope = association.scope();
    json!({
        "policyArn": arn, "accessScope": {"type": scope.kind(), "namespaces": scope.namespaces()},
        "associatedAt": Timestamp::from_micros(association.created).epoch_seconds(),
        "modifiedAt": Timestamp::from_micros(association.modified).epoch_seconds(),
    })
}

pub(crate) async fn associate(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Associate = cloud_iam::decode_input(call.input)?;
    let mut entry = entry_of(&mut call).await?;
    let with_name = |error: AwsError| error.with("clusterName", entry.cluster.as_str());
    access_policies::associable(&input.policy_arn).map_err(|error| {
        let message = error.to_string();
        with_name(match error {
            AssociateError::Format => error::invalid_parameter(message),
            AssociateError::NotFound => error::not_found(message),
            AssociateError::RulesUnknown(_) | AssociateError::ServiceOnly => error::invalid_request(message),
        })
    })?;
    if !entry.kind.takes_policies() {
        return Err(with_name(error::invalid_request(
            "This operation can only be performed on Access Entries with a type of \"STANDARD\"",
        )));
    }
    let AccessScope { kind, namespaces } = input.access_scope;
    let scope = Scope::parse(kind.as_deref().unwrap_or_default(), namespaces)
        .map_err(|error| with_name(error::invalid_parameter(error.to_string())))?;
    let namespaces = match scope {
        Scope::Cluster => None,
        Scope::Namespaces(namespaces) => Some(namespaces),
    };
    let now = call.ctx.now.micros();
    let created = entry.policies.get(&input.policy_arn).map_or(now, |old| old.created);
    if entry.policies.len() >= MAX_POLICIES && !entry.policies.contains_key(&input.policy_arn) {
        return Err(with_name(error::invalid_request(format!("An access entry has at most {MAX_POLICIES} policies"))));
    }
    let association = Association { namespaces, created, modified: now };
    let shown = association_json(&input.policy_arn, &association);
    entry.policies.insert(input.policy_arn, association);
    entry.modified = now;
    call.tx.put(&key(&entry.cluster, &entry.principal), &entry);
    Ok(json!({"clusterName": entry.cluster, "principalArn": entry.principal, "associatedAccessPolicy": shown}))
}

pub(crate) async fn disassociate(mut call: Call<'_>) -> Result<Value, AwsError> {
    let mut entry = entry_of(&mut call).await?;
    let arn = text(call.input, "policyArn").unwrap_or_default();
    if entry.policies.remove(arn).is_none() {
        return Err(error::not_found(format!("The policy {arn} is not associated with {}", entry.principal))
            .with("clusterName", entry.cluster));
    }
    entry.modified = call.ctx.now.micros();
    call.tx.put(&key(&entry.cluster, &entry.principal), &entry);
    Ok(json!({}))
}

pub(crate) async fn list_policies(mut call: Call<'_>) -> Result<Value, AwsError> {
    let entry = entry_of(&mut call).await?;
    let items =
        entry.policies.iter().map(|(arn, association)| (arn.clone(), association_json(arn, association))).collect();
    let mut output = paged(call.input, items, "associatedAccessPolicies")?;
    output["clusterName"] = json!(entry.cluster);
    output["principalArn"] = json!(entry.principal);
    Ok(output)
}
