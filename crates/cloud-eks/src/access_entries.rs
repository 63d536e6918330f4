//! Access entries and the policies associated with them.

use std::collections::{BTreeMap, BTreeSet};

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};
use world::Timestamp;

use crate::access_policies;
use crate::clusters::check_tags;
use crate::error;
use crate::model::{AccessEntry, Association, Cluster, Tags};
use crate::service::{Call, Eks, paged, text};

/// AWS's quota.
const MAX_ENTRIES: usize = 3000;
/// Policies of one entry, AWS's quota.
const MAX_POLICIES: usize = 20;
/// Groups of one entry.
const MAX_GROUPS: usize = 100;

/// Types, their default user name and their groups. `STANDARD` has neither.
static TYPES: &[(&str, &str, &[&str])] = &[
    ("EC2", "system:node:{{EC2PrivateDNSName}}", &["system:nodes"]),
    ("EC2_LINUX", "system:node:{{EC2PrivateDNSName}}", &["system:nodes"]),
    ("EC2_WINDOWS", "system:node:{{EC2PrivateDNSName}}", &["system:nodes", "eks:kube-proxy-windows"]),
    ("FARGATE_LINUX", "system:node:{{SessionName}}", &["system:nodes", "system:node-proxier"]),
    ("HYBRID_LINUX", "system:node:{{SessionName}}", &["system:nodes"]),
    ("STANDARD", "", &[]),
];

/// Names that belong to Kubernetes and AWS.
static RESERVED: &[&str] = &["amazon:", "aws:", "eks:", "iam:", "system:"];

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
        "tags": entry.tags, "username": entry.username, "type": entry.kind,
    })
}

fn key(cluster: &str, principal: &str) -> String {
    format!("{cluster}/{principal}")
}

fn new_entry(eks: &Eks, cluster: &str, principal: &str, kind: &str, id: String) -> AccessEntry {
    let (resource, name) = kind_and_name(principal);
    let account = principal.split(':').nth(4).unwrap_or_default();
    let now = eks.0.parts.world.now().micros();
    let row = TYPES.iter().find(|(known, ..)| *known == kind);
    let (username, groups) = row.map_or(("", &[][..]), |(_, username, groups)| (*username, *groups));
    let username = match (username, resource) {
        ("", "role") => format!("arn:aws:sts::{account}:assumed-role/{name}/{{{{SessionName}}}}"),
        ("", _) => principal.to_owned(),
        (username, _) => username.to_owned(),
    };
    AccessEntry {
        cluster: cluster.to_owned(),
        principal: principal.to_owned(),
        principal_id: id,
        arn: format!(
            "arn:aws:eks:{}:{}:access-entry/{cluster}/{resource}/{account}/{name}/{}",
            eks.region(),
            eks.account(),
            eks.0.parts.world.uuid()
        ),
        kind: kind.to_owned(),
        username,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        policies: BTreeMap::new(),
        tags: Tags::new(),
        created: now,
        modified: now,
        managed: false,
    }
}

/// The creator's entry, with the policy of cluster administrators.
pub(crate) fn insert_creator(call: &mut Call<'_>, cluster: &Cluster, id: String) {
    let mut entry = new_entry(call.eks, &cluster.name, &cluster.creator, "STANDARD", id);
    let now = entry.created;
    entry.policies.insert(
        "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy".to_owned(),
        Association { namespaces: None, created: now, modified: now },
    );
    call.tx.put(&key(&cluster.name, &cluster.creator), &entry);
}

/// The entry of a node role, unless the role has one.
pub(crate) async fn ensure_node_entry(
    call: &mut Call<'_>,
    cluster: &str,
    role: &str,
    kind: &str,
) -> Result<(), AwsError> {
    let key = key(cluster, role);
    if call.tx.get::<AccessEntry>(&key).await?.is_some() {
        return Ok(());
    }
    let id = call.eks.0.parts.iam.principal_id(role).await?.unwrap_or_default();
    let mut entry = new_entry(call.eks, cluster, role, kind, id);
    entry.managed = true;
    call.tx.put(&key, &entry);
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
    let kind = input.kind.as_deref().unwrap_or("STANDARD");
    let id = check_principal(&call, &principal, kind).await.map_err(with_name)?;
    check_tags(&input.tags).map_err(with_name)?;
    if call.tx.get::<AccessEntry>(&key(&cluster.name, &principal)).await?.is_some() {
        return Err(with_name(error::in_use("The specified access entry resource is already in use on this cluster.")));
    }
    if call.tx.list::<AccessEntry>(&format!("{}/", cluster.name)).await?.len() >= MAX_ENTRIES {
        return Err(with_name(error::limit(format!("A cluster has at most {MAX_ENTRIES} access entries"))));
    }
    let mut entry = new_entry(call.eks, &cluster.name, &principal, kind, id);
    entry.tags = input.tags;
    if kind != "STANDARD" && (input.username.is_some() || !input.kubernetes_groups.is_empty()) {
        return Err(with_name(error::invalid_parameter(format!(
            "The username and kubernetesGroups of an access entry of type {kind} are set by EKS and can't be specified"
        ))));
    }
    set_identity(&mut entry, input.username, Some(input.kubernetes_groups)).map_err(with_name)?;
    call.tx.put(&key(&cluster.name, &principal), &entry);
    Ok(json!({ "accessEntry": show(&entry) }))
}

/// The principal's unique id; empty when it is in another account, where it cannot be looked up.
async fn check_principal(call: &Call<'_>, principal: &str, kind: &str) -> Result<String, AwsError> {
    let invalid = |why: &str| error::invalid_parameter(format!("The principalArn {principal} is not valid: {why}"));
    if TYPES.iter().all(|(known, ..)| *known != kind) {
        let known: Vec<&str> = TYPES.iter().map(|(known, ..)| *known).collect();
        return Err(error::invalid_parameter(format!("The type {kind} is not valid: use one of {}", known.join(", "))));
    }
    let arn: cloud_wire::Arn = principal.parse().map_err(|_| invalid("it is not an ARN"))?;
    let (resource, rest) = arn.resource_kind();
    let root = resource.is_empty() && rest == "root";
    if arn.service() != "iam" || !(matches!(resource, "role" | "user") || root) {
        return Err(invalid("it must name an IAM user or an IAM role"));
    }
    if rest.starts_with("aws-service-role/") {
        return Err(invalid("service-linked roles can't be used"));
    }
    if kind != "STANDARD" && (resource != "role" || arn.account() != call.eks.account()) {
        return Err(invalid(&format!("an entry of type {kind} must name a role of the cluster's account")));
    }
    if arn.account() != call.eks.account() {
        return Ok(String::new());
    }
    if root {
        return Ok(call.eks.account().to_owned());
    }
    let id = call.eks.0.parts.iam.principal_id(principal).await?;
    id.ok_or_else(|| error::invalid_parameter("The specified principalArn is invalid: invalid principal."))
}

/// Sets what the caller gives, after checking it.
fn set_identity(
    entry: &mut AccessEntry,
    username: Option<String>,
    groups: Option<Vec<String>>,
) -> Result<(), AwsError> {
    if let Some(username) = username.filter(|username| !username.is_empty()) {
        if RESERVED.iter().any(|prefix| username.starts_with(prefix)) {
            return Err(error::invalid_parameter(format!(
                "The username {username} is not valid: it can't begin with {}",
                RESERVED.join(", ")
            )));
        }
        if let Some((before, _)) = username.split_once("{{SessionName")
            && !before.contains(':')
        {
            return Err(error::invalid_parameter(format!(
                "The username {username} is not valid: a colon must stand before {{{{SessionName}}}}"
            )));
        }
        entry.username = username;
    }
    if let Some(groups) = groups.filter(|_| entry.kind == "STANDARD") {
        if groups.len() > MAX_GROUPS {
            return Err(error::invalid_parameter(format!("An access entry has at most {MAX_GROUPS} groups")));
        }
        if let Some(group) = groups.iter().find(|group| RESERVED.iter().any(|prefix| group.starts_with(prefix))) {
            return Err(error::invalid_parameter(format!(
                "The kubernetes group name {group} is invalid, it cannot start with {}",
                RESERVED.join(", ")
            )));
        }
        entry.groups = groups.into_iter().collect::<BTreeSet<_>>();
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
    if entry.kind != "STANDARD" {
        return Err(error::invalid_request(format!("An access entry of type {} can't be updated", entry.kind))
            .with("clusterName", entry.cluster));
    }
    set_identity(&mut entry, input.username, input.kubernetes_groups)?;
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
    access_scope: Scope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scope {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    namespaces: Vec<String>,
}

fn association_json(arn: &str, association: &Association) -> Value {
    let scope = match &association.namespaces {
        None => json!({"type": "cluster", "namespaces": []}),
        Some(namespaces) => json!({"type": "namespace", "namespaces": namespaces}),
    };
    json!({
        "policyArn": arn, "accessScope": scope,
        "associatedAt": Timestamp::from_micros(association.created).epoch_seconds(),
        "modifiedAt": Timestamp::from_micros(association.modified).epoch_seconds(),
    })
}

pub(crate) async fn associate(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Associate = cloud_iam::decode_input(call.input)?;
    let mut entry = entry_of(&mut call).await?;
    let with_name = |error: AwsError| error.with("clusterName", entry.cluster.as_str());
    let Some(name) = access_policies::name_of(&input.policy_arn) else {
        return Err(with_name(error::invalid_parameter(format!(
            "The specified policyArn is not valid: {}",
            input.policy_arn
        ))));
    };
    if access_policies::is_service_only(name) {
        return Err(with_name(error::invalid_parameter(
            "The specified policyArn can only be associated with service-linked roles",
        )));
    }
    if entry.kind != "STANDARD" {
        return Err(with_name(error::invalid_request(format!(
            "Access policies can't be associated with an access entry of type {}",
            entry.kind
        ))));
    }
    let namespaces = match (input.access_scope.kind.as_deref(), input.access_scope.namespaces) {
        (Some("cluster"), namespaces) if namespaces.is_empty() => None,
        (Some("cluster"), _) => {
            return Err(with_name(error::invalid_parameter(
                "Namespaces can't be given with an accessScope of type cluster",
            )));
        }
        (Some("namespace"), namespaces) if namespaces.is_empty() => {
            return Err(with_name(error::invalid_parameter("An accessScope of type namespace must have namespaces")));
        }
        (Some("namespace"), namespaces) => Some(namespaces),
        (kind, _) => {
            let kind = kind.unwrap_or_default();
            return Err(with_name(error::invalid_parameter(format!("The accessScope type {kind:?} is not valid"))));
        }
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
