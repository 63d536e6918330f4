//! Access keys of users.

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::{Paging, invalid, limit_exceeded, listing, no_such_entity};
use super::model::{AccessKey, Grants, User};
use super::{Call, Iam, nothing};
use crate::call::CallerKind;
use crate::records::{RecordError, Tx};
use crate::service::decode_input;

/// AWS's quota.
const MAX_KEYS: usize = 2;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    user_name: Option<String>,
    access_key_id: Option<String>,
    status: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

/// The user named in the input, or the caller.
async fn owner(call: &mut Call<'_>, name: Option<&String>) -> Result<User, AwsError> {
    let name = match (name, &call.ctx.caller.kind) {
        (Some(name), _) => name.clone(),
        (None, CallerKind::User { name } | CallerKind::UserSession { name }) => name.clone(),
        (None, CallerKind::Root | CallerKind::AssumedRole { .. } | CallerKind::Service { .. }) => {
            return Err(invalid("Must specify userName when calling with non-User credentials"));
        }
    };
    call.user(&name).await
}

fn new_key(iam: &Iam, user: &User, now: i64) -> AccessKey {
    AccessKey {
        id: iam.new_key_id("AKIA"),
        secret: iam.new_secret(),
        user: user.name.clone(),
        user_arn: user.arn(iam.account()),
        user_id: user.id.clone(),
        active: true,
        created: now,
    }
}

/// The administrator and an active key of it, made when they are not there.
pub(super) async fn administrator(iam: &Iam, tx: &mut Tx, name: &str) -> Result<AccessKey, RecordError> {
    let now = iam.0.world.now().seconds();
    let stored: Option<User> = tx.get(&name.to_lowercase()).await?;
    let mut user = stored.unwrap_or_else(|| User {
        name: name.to_owned(),
        path: "/".to_owned(),
        id: iam.new_id("AIDA"),
        created: now,
        tags: Default::default(),
        grants: Grants {
            attached: ["arn:aws:iam::aws:policy/AdministratorAccess".to_owned()].into(),
            ..Grants::default()
        },
        keys: Default::default(),
    });
    for id in &user.keys {
        if let Some(key) = tx.get::<AccessKey>(id).await?.filter(|key| key.active) {
            return Ok(key);
        }
    }
    let key = new_key(iam, &user, now);
    user.keys.insert(key.id.clone());
    tx.put(&key.id, &key);
    tx.put(&name.to_lowercase(), &user);
    Ok(key)
}

pub(super) async fn create(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut user = owner(&mut call, input.user_name.as_ref()).await?;
    if user.keys.len() >= MAX_KEYS {
        return Err(limit_exceeded("AccessKeysPerUser", MAX_KEYS));
    }
    let key = new_key(call.iam, &user, call.ctx.now.seconds());
    user.keys.insert(key.id.clone());
    call.tx.put(&key.id, &key);
    call.put_user(&user);
    Ok(json!({"AccessKey": {
        "UserName": key.user, "AccessKeyId": key.id, "Status": key.status(), "SecretAccessKey": key.secret, "CreateDate": key.created,
    }}))
}

pub(super) async fn list(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let user = owner(&mut call, input.user_name.as_ref()).await?;
    let mut keys = Vec::new();
    for id in &user.keys {
        keys.extend(call.tx.get::<AccessKey>(id).await?.map(|key| (id.clone(), key)));
    }
    listing(
        keys,
        &input.paging,
        "AccessKeyMetadata",
        |key| json!({"UserName": key.user, "AccessKeyId": key.id, "Status": key.status(), "CreateDate": key.created}),
    )
}

async fn of_user(call: &mut Call<'_>, input: &Input) -> Result<(User, AccessKey), AwsError> {
    let user = owner(call, input.user_name.as_ref()).await?;
    let id = input.access_key_id.clone().unwrap_or_default();
    let key = if user.keys.contains(&id) { call.tx.get::<AccessKey>(&id).await? } else { None };
    let key = key.ok_or_else(|| no_such_entity(format!("The Access Key with id {id} cannot be found.")))?;
    Ok((user, key))
}

pub(super) async fn update(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let (_, mut key) = of_user(&mut call, &input).await?;
    key.active = match input.status.as_deref() {
        Some("Active") => true,
        Some("Inactive") => false,
        other => {
            return Err(invalid(format!(
                "The status {:?} is not supported: use Active or Inactive",
                other.unwrap_or("")
            )));
        }
    };
    call.tx.put(&key.id, &key);
    Ok(nothing())
}

pub(super) async fn delete(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let (mut user, key) = of_user(&mut call, &input).await?;
    user.keys.remove(&key.id);
    call.tx.delete::<AccessKey>(&key.id);
    call.put_user(&user);
    Ok(nothing())
}

/// Minato does not record uses, so every key reads like one that AWS has not seen used.
pub(super) async fn last_used(call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let id = input.access_key_id.unwrap_or_default();
    let Some(key) = call.tx.get::<AccessKey>(&id).await? else {
        return Err(no_such_entity(format!("The Access Key with id {id} cannot be found.")));
    };
    Ok(json!({"UserName": key.user, "AccessKeyLastUsed": {"ServiceName": "N/A", "Region": "N/A"}}))
}
