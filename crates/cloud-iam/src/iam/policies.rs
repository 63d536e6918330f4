//! Policies of the account and their versions.

use std::collections::BTreeMap;

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::{self, Paging, Tag, already_exists, delete_conflict, limit_exceeded, listing, no_such_entity};
use super::model::{Policy, PolicyVersion, Role, User};
use super::{Call, nothing};
use crate::managed;
use crate::service::{decode_input, encode_percent};

/// AWS's quota of a managed policy, in characters without white space.
const MAX_DOCUMENT: usize = 6144;
/// AWS's quota `Customer managed policies per account`.
const MAX_POLICIES: usize = 1500;
/// AWS's quota.
const MAX_VERSIONS: usize = 5;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(default)]
    policy_arn: String,
    #[serde(default)]
    policy_name: String,
    #[serde(default)]
    policy_document: String,
    #[serde(default)]
    version_id: String,
    #[serde(default)]
    set_as_default: bool,
    path: Option<String>,
    description: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(flatten)]
    paging: Paging,
}

impl Call<'_> {
    /// A policy of the account by ARN, with the name of its record.
    pub(crate) async fn customer_policy(&mut self, arn: &str) -> Result<Option<(String, Policy)>, AwsError> {
        let prefix = format!("arn:aws:iam::{}:policy/", self.iam.account());
        let Some(name) = arn.strip_prefix(&prefix).and_then(|rest| rest.rsplit('/').next()) else { return Ok(None) };
        let key = name.to_lowercase();
        let policy = self.tx.get::<Policy>(&key).await?;
        Ok(policy.filter(|policy| policy.arn(self.iam.account()) == arn).map(|policy| (key, policy)))
    }

    async fn own_policy(&mut self, arn: &str) -> Result<(String, Policy), AwsError> {
        if managed::find(arn).is_some() {
            return Err(AwsError::new(
                "AccessDenied",
                403,
                format!("The policy {arn} is owned by AWS and cannot be changed."),
            ));
        }
        self.customer_policy(arn).await?.ok_or_else(|| no_such_entity(format!("Policy {arn} was not found.")))
    }
}

pub(super) async fn create(call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    checks::name("policyName", &input.policy_name, 128)?;
    checks::identity_document(&input.policy_document, MAX_DOCUMENT, &format!("policy {}", input.policy_name))?;
    let now = call.ctx.now.seconds();
    let mut policy = Policy {
        path: checks::path(input.path.as_deref())?,
        id: call.iam.new_id("ANPA"),
        created: now,
        updated: now,
        description: input.description,
        versions: BTreeMap::from([(1, PolicyVersion { document: input.policy_document, created: now })]),
        default: 1,
        attachments: 0,
        tags: Default::default(),
        name: input.policy_name,
    };
    checks::add_tags(&mut policy.tags, &input.tags)?;
    let key = policy.name.to_lowercase();
    if call.tx.get::<Policy>(&key).await?.is_some() {
        let name = &policy.name;
        return Err(already_exists(format!("A policy called {name} already exists. Duplicate names are not allowed.")));
    }
    if call.tx.list::<Policy>("").await?.len() >= MAX_POLICIES {
        return Err(limit_exceeded("PoliciesPerAccount", MAX_POLICIES));
    }
    call.tx.put(&key, &policy);
    Ok(json!({ "Policy": policy.json(call.iam.account()) }))
}

fn managed_json(policy: &managed::ManagedPolicy) -> Value {
    json!({
        "PolicyName": policy.name, "PolicyId": format!("ANPA{:A<17}", policy.name.to_uppercase().replace('_', "")).chars().take(21).collect::<String>(),
        "Arn": policy.arn(), "Path": policy.path, "DefaultVersionId": "v1", "AttachmentCount": 0,
        "PermissionsBoundaryUsageCount": 0, "IsAttachable": true, "CreateDate": 1_423_000_000, "UpdateDate": 1_423_000_000,
    })
}

/// Policies of AWS have no record that counts, so principals are counted.
async fn attachments(call: &mut Call<'_>, arn: &str) -> Result<usize, AwsError> {
    let roles = call.tx.list::<Role>("").await?;
    let users = call.tx.list::<User>("").await?;
    let of_roles = roles.iter().filter(|(_, role)| role.grants.attached.contains(arn)).count();
    Ok(of_roles + users.iter().filter(|(_, user)| user.grants.attached.contains(arn)).count())
}

pub(super) async fn get(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    if let Some((policy, _)) = managed::find(&input.policy_arn) {
        let mut json = managed_json(policy);
        json["AttachmentCount"] = attachments(&mut call, &input.policy_arn).await?.into();
        return Ok(json!({ "Policy": json }));
    }
    let (_, policy) = call.own_policy(&input.policy_arn).await?;
    Ok(json!({ "Policy": policy.json(call.iam.account()) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    scope: Option<String>,
    #[serde(default)]
    only_attached: bool,
    path_prefix: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

pub(super) async fn list(call: Call<'_>) -> Result<Value, AwsError> {
    let input: List = decode_input(call.input)?;
    let scope = input.scope.as_deref().unwrap_or("All");
    let prefix = input.path_prefix.unwrap_or_else(|| "/".to_owned());
    let mut items = Vec::new();
    if scope != "AWS" {
        for (name, policy) in call.tx.list::<Policy>("").await? {
            if policy.path.starts_with(&prefix) && (policy.attachments > 0 || !input.only_attached) {
                let mut json = policy.json(call.iam.account());
                for member in ["Tags", "Description"] {
                    json.as_object_mut().map(|policy| policy.remove(member));
                }
                items.push((format!("a/{name}"), json));
            }
        }
    }
    if scope != "Local" {
        let mut attached: BTreeMap<String, u32> = BTreeMap::new();
        for (_, role) in call.tx.list::<Role>("").await? {
            role.grants.attached.into_iter().for_each(|arn| *attached.entry(arn).or_default() += 1);
        }
        for (_, user) in call.tx.list::<User>("").await? {
            user.grants.attached.into_iter().for_each(|arn| *attached.entry(arn).or_default() += 1);
        }
        for policy in managed::MANAGED_POLICIES.iter().filter(|policy| policy.path.starts_with(&prefix)) {
            let count = attached.get(&policy.arn()).copied().unwrap_or_default();
            if count > 0 || !input.only_attached {
                let mut json = managed_json(policy);
                json["AttachmentCount"] = count.into();
                items.push((format!("b/{}", policy.name), json));
            }
        }
    }
    listing(items, &input.paging, "Policies", |json| json)
}

pub(super) async fn delete(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let (key, policy) = call.own_policy(&input.policy_arn).await?;
    if policy.attachments > 0 {
        return Err(delete_conflict("Cannot delete a policy attached to entities."));
    }
    if policy.versions.len() > 1 {
        return Err(delete_conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.",
        ));
    }
    call.tx.delete::<Policy>(&key);
    Ok(nothing())
}

fn version_number(id: &str) -> Option<u32> {
    id.strip_prefix('v').and_then(|number| number.parse().ok())
}

fn no_version(arn: &str, id: &str) -> AwsError {
    no_such_entity(format!("Policy {arn} version {id} does not exist or is not attachable."))
}

pub(super) async fn create_version(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let (key, mut policy) = call.own_policy(&input.policy_arn).await?;
    checks::identity_document(&input.policy_document, MAX_DOCUMENT, &format!("policy {}", policy.name))?;
    if policy.versions.len() >= MAX_VERSIONS {
        return Err(AwsError::new(
            "LimitExceeded",
            409,
            "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.",
        ));
    }
    let now = call.ctx.now.seconds();
    let number = policy.versions.last_key_value().map_or(1, |(number, _)| number + 1);
    policy.versions.insert(number, PolicyVersion { document: input.policy_document, created: now });
    policy.updated = now;
    if input.set_as_default {
        policy.default = number;
    }
    call.tx.put(&key, &policy);
    Ok(json!({ "PolicyVersion": policy.version_json(number, false) }))
}

pub(super) async fn get_version(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    if let Some((policy, _)) = managed::find(&input.policy_arn) {
        if input.version_id != "v1" {
            return Err(no_version(&input.policy_arn, &input.version_id));
        }
        return Ok(json!({"PolicyVersion": {
            "Document": encode_percent(&policy.text()), "VersionId": "v1", "IsDefaultVersion": true, "CreateDate": 1_423_000_000,
        }}));
    }
    let (_, policy) = call.own_policy(&input.policy_arn).await?;
    let version = version_number(&input.version_id).and_then(|number| policy.version_json(number, true));
    let version = version.ok_or_else(|| no_version(&input.policy_arn, &input.version_id))?;
    Ok(json!({ "PolicyVersion": version }))
}

pub(super) async fn list_versions(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    if managed::find(&input.policy_arn).is_some() {
        let version = json!({"VersionId": "v1", "IsDefaultVersion": true, "CreateDate": 1_423_000_000});
        return Ok(json!({"Versions": [version], "IsTruncated": false}));
    }
    let (_, policy) = call.own_policy(&input.policy_arn).await?;
    // Newest first: names that sort that way.
    let shown = |number: &u32| Some((format!("{:010}", u32::MAX - number), policy.version_json(*number, false)?));
    let versions = policy.versions.keys().rev().filter_map(shown).collect();
    listing(versions, &input.paging, "Versions", |version| version)
}

pub(super) async fn delete_version(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let (key, mut policy) = call.own_policy(&input.policy_arn).await?;
    let number = version_number(&input.version_id).filter(|number| policy.versions.contains_key(number));
    let number = number.ok_or_else(|| no_version(&input.policy_arn, &input.version_id))?;
    if number == policy.default {
        return Err(delete_conflict("Cannot delete the default version of a policy."));
    }
    policy.versions.remove(&number);
    call.tx.put(&key, &policy);
    Ok(nothing())
}

pub(super) async fn set_default_version(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let (key, mut policy) = call.own_policy(&input.policy_arn).await?;
    let number = version_number(&input.version_id).filter(|number| policy.versions.contains_key(number));
    policy.default = number.ok_or_else(|| no_version(&input.policy_arn, &input.version_id))?;
    policy.updated = call.ctx.now.seconds();
    call.tx.put(&key, &policy);
    Ok(nothing())
}
