//! Users.

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::{self, Paging, Tag, already_exists, delete_conflict, limit_exceeded, listing};
use super::model::{AccessKey, Grants, User, tags_json};
use super::{Call, nothing};
use crate::call::CallerKind;
use crate::service::decode_input;

/// AWS's quota `Users per account`.
const MAX_USERS: usize = 5000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    user_name: String,
    path: Option<String>,
    permissions_boundary: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

pub(super) async fn create(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Create = decode_input(call.input)?;
    checks::name("userName", &input.user_name, 64)?;
    let mut user = User {
        path: checks::path(input.path.as_deref())?,
        id: call.iam.new_id("AIDA"),
        created: call.ctx.now.seconds(),
        tags: Default::default(),
        grants: Grants::default(),
        keys: Default::default(),
        name: input.user_name,
    };
    checks::add_tags(&mut user.tags, &input.tags)?;
    if let Some(boundary) = &input.permissions_boundary {
        user.grants.boundary = Some(call.boundary(boundary).await?);
    }
    if call.tx.get::<User>(&user.name.to_lowercase()).await?.is_some() {
        return Err(already_exists(format!("User with name {} already exists.", user.name)));
    }
    if call.tx.list::<User>("").await?.len() >= MAX_USERS {
        return Err(limit_exceeded("UsersPerAccount", MAX_USERS));
    }
    call.put_user(&user);
    Ok(json!({ "User": user.json(call.iam.account()) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    user_name: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

pub(super) async fn get(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Named = decode_input(call.input)?;
    let name = match (&input.user_name, &call.ctx.caller.kind) {
        (Some(name), _) => name.clone(),
        (None, CallerKind::User { name } | CallerKind::UserSession { name }) => name.clone(),
        (None, CallerKind::Root) => {
            let account = call.iam.account();
            let arn = &call.ctx.caller.arn;
            return Ok(
                json!({"User": {"Path": "/", "UserName": "root", "UserId": account, "Arn": arn, "CreateDate": 0}}),
            );
        }
        (None, CallerKind::AssumedRole { .. } | CallerKind::Service { .. }) => {
            return Err(checks::invalid("Must specify userName when calling with non-User credentials"));
        }
    };
    let user = call.user(&name).await?;
    Ok(json!({ "User": user.json(call.iam.account()) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    path_prefix: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

pub(super) async fn list(call: Call<'_>) -> Result<Value, AwsError> {
    let input: List = decode_input(call.input)?;
    let prefix = input.path_prefix.unwrap_or_else(|| "/".to_owned());
    let mut users = call.tx.list::<User>("").await?;
    users.retain(|(_, user)| user.path.starts_with(&prefix));
    listing(users, &input.paging, "Users", |user| {
        let mut json = user.json(call.iam.account());
        // Lists leave tags and boundaries out.
        for member in ["Tags", "PermissionsBoundary"] {
            json.as_object_mut().map(|user| user.remove(member));
        }
        json
    })
}

pub(super) async fn delete(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Named = decode_input(call.input)?;
    let user = call.user(&input.user_name.unwrap_or_default()).await?;
    if !user.keys.is_empty() {
        return Err(delete_conflict("Cannot delete entity, must delete access keys first."));
    }
    if !user.grants.attached.is_empty() {
        return Err(delete_conflict("Cannot delete entity, must detach all policies first."));
    }
    if !user.grants.inline.is_empty() {
        return Err(delete_conflict("Cannot delete entity, must delete policies first."));
    }
    call.tx.delete::<User>(&user.name.to_lowercase());
    Ok(nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Update {
    user_name: String,
    new_path: Option<String>,
    new_user_name: Option<String>,
}

/// A new name or path is a new ARN, which the user's keys carry too.
pub(super) async fn update(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Update = decode_input(call.input)?;
    let mut user = call.user(&input.user_name).await?;
    if let Some(path) = &input.new_path {
        user.path = checks::path(Some(path))?;
    }
    if let Some(name) = input.new_user_name {
        checks::name("newUserName", &name, 64)?;
        if name.to_lowercase() != user.name.to_lowercase() {
            if call.tx.get::<User>(&name.to_lowercase()).await?.is_some() {
                return Err(already_exists(format!("User with name {name} already exists.")));
            }
            call.tx.delete::<User>(&user.name.to_lowercase());
        }
        user.name = name;
    }
    for id in &user.keys {
        if let Some(mut key) = call.tx.get::<AccessKey>(id).await? {
            key.user.clone_from(&user.name);
            key.user_arn = user.arn(call.iam.account());
            call.tx.put(id, &key);
        }
    }
    call.put_user(&user);
    Ok(nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeTags {
    user_name: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

pub(super) async fn tag(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: ChangeTags = decode_input(call.input)?;
    let mut user = call.user(&input.user_name).await?;
    checks::add_tags(&mut user.tags, &input.tags)?;
    call.put_user(&user);
    Ok(nothing())
}

pub(super) async fn untag(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: ChangeTags = decode_input(call.input)?;
    let mut user = call.user(&input.user_name).await?;
    user.tags.retain(|key, _| !input.tag_keys.contains(key));
    call.put_user(&user);
    Ok(nothing())
}

pub(super) async fn list_tags(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Named = decode_input(call.input)?;
    let user = call.user(&input.user_name.unwrap_or_default()).await?;
    Ok(json!({"Tags": tags_json(&user.tags), "IsTruncated": false}))
}

/// There are no groups, so a user is in none; Terraform asks before it deletes a user.
pub(super) async fn list_groups(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Named = decode_input(call.input)?;
    call.user(&input.user_name.unwrap_or_default()).await?;
    listing::<()>(Vec::new(), &input.paging, "Groups", |()| Value::Null)
}
