//! Attaching policies of AWS and of the account to users and roles.

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::{Holder, Paging, limit_exceeded, listing, no_such_entity};
use super::model::{Role, User};
use super::{Call, nothing};
use crate::service::decode_input;

/// AWS's default quota `Managed policies per role` (and per user).
const MAX_ATTACHED: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(default)]
    role_name: String,
    #[serde(default)]
    user_name: String,
    #[serde(default)]
    policy_arn: String,
    #[serde(flatten)]
    paging: Paging,
}

async fn attach(call: &mut Call<'_>, holder: &mut impl Holder, arn: &str, quota: &str) -> Result<(), AwsError> {
    let attached = &mut holder.grants().attached;
    if attached.contains(arn) {
        return Ok(());
    }
    if crate::managed::find(arn).is_none() {
        let Some((name, mut policy)) = call.customer_policy(arn).await? else {
            return Err(no_such_entity(format!("Policy {arn} does not exist or is not attachable.")));
        };
        policy.attachments += 1;
        call.tx.put(&name, &policy);
    }
    if attached.len() >= MAX_ATTACHED {
        return Err(limit_exceeded(quota, MAX_ATTACHED));
    }
    attached.insert(arn.to_owned());
    Ok(())
}

async fn detach(call: &mut Call<'_>, holder: &mut impl Holder, arn: &str) -> Result<(), AwsError> {
    if !holder.grants().attached.remove(arn) {
        return Err(no_such_entity(format!("Policy {arn} was not found.")));
    }
    if let Some((name, mut policy)) = call.customer_policy(arn).await? {
        policy.attachments = policy.attachments.saturating_sub(1);
        call.tx.put(&name, &policy);
    }
    Ok(())
}

pub(super) async fn attach_role_policy(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = call.role(&input.role_name).await?;
    attach(&mut call, &mut role, &input.policy_arn, "PoliciesPerRole").await?;
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn attach_user_policy(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut user = call.user(&input.user_name).await?;
    attach(&mut call, &mut user, &input.policy_arn, "PoliciesPerUser").await?;
    call.put_user(&user);
    Ok(nothing())
}

pub(super) async fn detach_role_policy(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = call.role(&input.role_name).await?;
    detach(&mut call, &mut role, &input.policy_arn).await?;
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn detach_user_policy(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut user = call.user(&input.user_name).await?;
    detach(&mut call, &mut user, &input.policy_arn).await?;
    call.put_user(&user);
    Ok(nothing())
}

fn list(holder: &mut impl Holder, paging: &Paging) -> Result<Value, AwsError> {
    let attached = std::mem::take(&mut holder.grants().attached);
    let items = attached.into_iter().map(|arn| (arn.clone(), arn)).collect();
    listing(
        items,
        paging,
        "AttachedPolicies",
        |arn: String| json!({"PolicyName": arn.rsplit('/').next().unwrap_or_default(), "PolicyArn": arn}),
    )
}

pub(super) async fn list_role_policies(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    list(&mut call.role(&input.role_name).await?, &input.paging)
}

pub(super) async fn list_user_policies(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    list(&mut call.user(&input.user_name).await?, &input.paging)
}

pub(super) async fn list_entities(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    if call.policy_document(&input.policy_arn).await?.is_none() {
        return Err(no_such_entity(format!("Policy {} was not found.", input.policy_arn)));
    }
    let roles: Vec<Value> = call
        .tx
        .list::<Role>("")
        .await?
        .into_iter()
        .filter(|(_, role)| role.grants.attached.contains(&input.policy_arn))
        .map(|(_, role)| json!({"RoleName": role.name, "RoleId": role.id}))
        .collect();
    let users: Vec<Value> = call
        .tx
        .list::<User>("")
        .await?
        .into_iter()
        .filter(|(_, user)| user.grants.attached.contains(&input.policy_arn))
        .map(|(_, user)| json!({"UserName": user.name, "UserId": user.id}))
        .collect();
    Ok(json!({"PolicyGroups": [], "PolicyRoles": roles, "PolicyUsers": users, "IsTruncated": false}))
}
