//! Instance profiles.

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::{self, Paging, Tag, already_exists, delete_conflict, limit_exceeded, listing, no_such_entity};
use super::model::{InstanceProfile, Role, put_some, tags_json};
use super::{Call, nothing};
use crate::records::Tx;
use crate::service::decode_input;

/// AWS's quota `Instance profiles per account`.
const MAX_PROFILES: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(default)]
    instance_profile_name: String,
    #[serde(default)]
    role_name: String,
    path: Option<String>,
    path_prefix: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(flatten)]
    paging: Paging,
}

async fn find(call: &mut Call<'_>, name: &str) -> Result<InstanceProfile, AwsError> {
    let profile = call.tx.get::<InstanceProfile>(&name.to_lowercase()).await?;
    profile.ok_or_else(|| no_such_entity(format!("Instance Profile {name} cannot be found.")))
}

async fn show(account: &str, tx: &mut Tx, profile: &InstanceProfile) -> Result<Value, AwsError> {
    let mut roles = Vec::new();
    if let Some(role) = &profile.role
        && let Some(role) = tx.get::<Role>(&role.to_lowercase()).await?
    {
        roles.push(role.json(account));
    }
    let mut json = json!({
        "Path": profile.path, "InstanceProfileName": profile.name, "InstanceProfileId": profile.id, "Arn": profile.arn(account),
        "CreateDate": profile.created, "Roles": roles,
    });
    put_some(&mut json, "Tags", (!profile.tags.is_empty()).then(|| tags_json(&profile.tags)));
    Ok(json)
}

pub(super) async fn create(call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    checks::name("instanceProfileName", &input.instance_profile_name, 128)?;
    let mut profile = InstanceProfile {
        path: checks::path(input.path.as_deref())?,
        id: call.iam.new_id("AIPA"),
        created: call.ctx.now.seconds(),
        role: None,
        tags: Default::default(),
        name: input.instance_profile_name,
    };
    checks::add_tags(&mut profile.tags, &input.tags)?;
    let key = profile.name.to_lowercase();
    if call.tx.get::<InstanceProfile>(&key).await?.is_some() {
        return Err(already_exists(format!("Instance Profile {} already exists.", profile.name)));
    }
    if call.tx.list::<InstanceProfile>("").await?.len() >= MAX_PROFILES {
        return Err(limit_exceeded("InstanceProfilesPerAccount", MAX_PROFILES));
    }
    call.tx.put(&key, &profile);
    Ok(json!({ "InstanceProfile": show(call.iam.account(), call.tx, &profile).await? }))
}

pub(super) async fn get(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let profile = find(&mut call, &input.instance_profile_name).await?;
    Ok(json!({ "InstanceProfile": show(call.iam.account(), call.tx, &profile).await? }))
}

async fn shown(call: &mut Call<'_>, keep: impl Fn(&InstanceProfile) -> bool) -> Result<Vec<(String, Value)>, AwsError> {
    let mut items = Vec::new();
    for (name, profile) in call.tx.list::<InstanceProfile>("").await? {
        if keep(&profile) {
            items.push((name, show(call.iam.account(), call.tx, &profile).await?));
        }
    }
    Ok(items)
}

pub(super) async fn list(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let prefix = input.path_prefix.clone().unwrap_or_else(|| "/".to_owned());
    let items = shown(&mut call, |profile| profile.path.starts_with(&prefix)).await?;
    listing(items, &input.paging, "InstanceProfiles", |json| json)
}

pub(super) async fn list_for_role(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let role = call.role(&input.role_name).await?;
    let items = shown(&mut call, |profile| role.profiles.contains(&profile.name)).await?;
    listing(items, &input.paging, "InstanceProfiles", |json| json)
}

pub(super) async fn add_role(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut profile = find(&mut call, &input.instance_profile_name).await?;
    let mut role = call.role(&input.role_name).await?;
    if profile.role.is_some() {
        return Err(limit_exceeded("InstanceSessionsPerInstanceProfile", 1));
    }
    profile.role = Some(role.name.clone());
    role.profiles.insert(profile.name.clone());
    call.tx.put(&profile.name.to_lowercase(), &profile);
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn remove_role(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut profile = find(&mut call, &input.instance_profile_name).await?;
    let mut role = call.role(&input.role_name).await?;
    if profile.role.as_ref() != Some(&role.name) {
        return Err(no_such_entity(format!("The role with name {} cannot be found.", input.role_name)));
    }
    profile.role = None;
    role.profiles.remove(&profile.name);
    call.tx.put(&profile.name.to_lowercase(), &profile);
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn delete(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let profile = find(&mut call, &input.instance_profile_name).await?;
    if profile.role.is_some() {
        return Err(delete_conflict("Cannot delete entity, must remove roles from instance profile first."));
    }
    call.tx.delete::<InstanceProfile>(&profile.name.to_lowercase());
    Ok(nothing())
}
