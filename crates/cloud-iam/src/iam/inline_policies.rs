//! Inline policies of users and roles.

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::{self, Holder, Paging, listing, no_such_entity};
use super::{Call, nothing};
use crate::service::{decode_input, encode_percent};

/// AWS's quotas: all inline policies of a role or user together, in characters without white space.
const MAX_ROLE_POLICIES: usize = 10_240;
const MAX_USER_POLICIES: usize = 2048;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(default)]
    role_name: String,
    #[serde(default)]
    user_name: String,
    #[serde(default)]
    policy_name: String,
    #[serde(default)]
    policy_document: String,
    #[serde(flatten)]
    paging: Paging,
}

fn put(holder: &mut impl Holder, input: &Input, max: usize, of: &str) -> Result<(), AwsError> {
    checks::name("policyName", &input.policy_name, 128)?;
    let inline = &mut holder.grants().inline;
    let others: usize = inline
        .iter()
        .filter(|(name, _)| **name != input.policy_name)
        .map(|(_, document)| document.chars().filter(|c| !c.is_whitespace()).count())
        .sum();
    checks::identity_document(&input.policy_document, max.saturating_sub(others), of)?;
    inline.insert(input.policy_name.clone(), input.policy_document.clone());
    Ok(())
}

fn get(holder: &mut impl Holder, input: &Input, member: &str, of: &str, kind: &str) -> Result<Value, AwsError> {
    let Some(document) = holder.grants().inline.get(&input.policy_name) else {
        return Err(missing(kind, &input.policy_name));
    };
    Ok(json!({ member: of, "PolicyName": input.policy_name, "PolicyDocument": encode_percent(document) }))
}

fn missing(kind: &str, name: &str) -> AwsError {
    no_such_entity(format!("The {kind} policy with name {name} cannot be found."))
}

fn list(holder: &mut impl Holder, paging: &Paging) -> Result<Value, AwsError> {
    let names = std::mem::take(&mut holder.grants().inline).into_keys();
    listing(names.map(|name| (name.clone(), name)).collect(), paging, "PolicyNames", Value::String)
}

pub(super) async fn put_role_policy(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = call.role(&input.role_name).await?;
    put(&mut role, &input, MAX_ROLE_POLICIES, &format!("role {}", input.role_name))?;
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn put_user_policy(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut user = call.user(&input.user_name).await?;
    put(&mut user, &input, MAX_USER_POLICIES, &format!("user {}", input.user_name))?;
    call.put_user(&user);
    Ok(nothing())
}

pub(super) async fn get_role_policy(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = call.role(&input.role_name).await?;
    let name = role.name.clone();
    get(&mut role, &input, "RoleName", &name, "role")
}

pub(super) async fn get_user_policy(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut user = call.user(&input.user_name).await?;
    let name = user.name.clone();
    get(&mut user, &input, "UserName", &name, "user")
}

pub(super) async fn delete_role_policy(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = call.role(&input.role_name).await?;
    if role.grants.inline.remove(&input.policy_name).is_none() {
        return Err(missing("role", &input.policy_name));
    }
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn delete_user_policy(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut user = call.user(&input.user_name).await?;
    if user.grants.inline.remove(&input.policy_name).is_none() {
        return Err(missing("user", &input.policy_name));
    }
    call.put_user(&user);
    Ok(nothing())
}

pub(super) async fn list_role_policies(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    list(&mut call.role(&input.role_name).await?, &input.paging)
}

pub(super) async fn list_user_policies(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    list(&mut call.user(&input.user_name).await?, &input.paging)
}
