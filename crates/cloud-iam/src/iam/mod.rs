//! The IAM service: its table of operations and the loop that runs one as a transaction.

mod attachments;
pub(crate) mod authorize;
mod checks;
mod inline_policies;
mod instance_profiles;
mod keys;
pub(crate) mod model;
mod policies;
mod roles;
mod simulate;
mod users;

use std::sync::Arc;

use cloud_wire::AwsError;
use serde_json::{Value, json};
use store::{Compare, Keyspace, LeaseId};
use world::World;

use crate::call::{CallContext, Caller};
use crate::credentials::{self, Credential};
use crate::records::{Commit, MAX_ATTEMPTS, RecordError, Tx};
use crate::service::BoxFuture;
use model::{AccessKey, InstanceProfile, Role, User};

/// Characters of ids, after their four letter prefix: base 32.
const ID_ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET_ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The IAM of one account. Cheap to clone.
#[derive(Clone)]
pub struct Iam(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) world: World,
    pub(crate) space: Keyspace,
    pub(crate) account: String,
}

/// One call on its way through a handler.
pub(crate) struct Call<'a> {
    pub(crate) iam: &'a Iam,
    pub(crate) ctx: &'a CallContext,
    pub(crate) input: &'a Value,
    pub(crate) tx: &'a mut Tx,
}

type Handler = for<'a> fn(Call<'a>) -> BoxFuture<'a, Result<Value, AwsError>>;

/// What a permission to call an operation is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    /// No resource: `*`.
    All,
    /// The instance profile named by `InstanceProfileName`.
    Profile,
    /// The ARN in `PolicyArn`, or the policy named by `PolicyName`.
    Policy,
    /// The role named by `RoleName`.
    Role,
    /// The user named by `UserName`, the caller when there is none.
    User,
}

/// A row of the table of operations.
pub struct IamOperation {
    /// As in the API.
    pub name: &'static str,
    on: On,
    handler: Handler,
}

/// Credentials of a bootstrapped account.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountAccess {
    /// Twelve digits.
    pub account: String,
    /// The administrator's key.
    pub key: AccessKey,
}

macro_rules! row {
    ($name:literal, $on:ident, $handler:path) => {
        IamOperation { name: $name, on: On::$on, handler: |call| Box::pin($handler(call)) }
    };
}

/// By name.
static OPERATIONS: &[IamOperation] = &[
    row!("AddRoleToInstanceProfile", Profile, instance_profiles::add_role),
    row!("AttachRolePolicy", Role, attachments::attach_role_policy),
    row!("AttachUserPolicy", User, attachments::attach_user_policy),
    row!("CreateAccessKey", User, keys::create),
    row!("CreateInstanceProfile", Profile, instance_profiles::create),
    row!("CreatePolicy", Policy, policies::create),
    row!("CreatePolicyVersion", Policy, policies::create_version),
    row!("CreateRole", Role, roles::create),
    row!("CreateServiceLinkedRole", All, roles::create_service_linked),
    row!("CreateUser", User, users::create),
    row!("DeleteAccessKey", User, keys::delete),
    row!("DeleteInstanceProfile", Profile, instance_profiles::delete),
    row!("DeletePolicy", Policy, policies::delete),
    row!("DeletePolicyVersion", Policy, policies::delete_version),
    row!("DeleteRole", Role, roles::delete),
    row!("DeleteRolePermissionsBoundary", Role, roles::delete_boundary),
    row!("DeleteRolePolicy", Role, inline_policies::delete_role_policy),
    row!("DeleteUser", User, users::delete),
    row!("DeleteUserPolicy", User, inline_policies::delete_user_policy),
    row!("DetachRolePolicy", Role, attachments::detach_role_policy),
    row!("DetachUserPolicy", User, attachments::detach_user_policy),
    row!("GetAccessKeyLastUsed", All, keys::last_used),
    row!("GetInstanceProfile", Profile, instance_profiles::get),
    row!("GetPolicy", Policy, policies::get),
    row!("GetPolicyVersion", Policy, policies::get_version),
    row!("GetRole", Role, roles::get),
    row!("GetRolePolicy", Role, inline_policies::get_role_policy),
    row!("GetUser", User, users::get),
    row!("GetUserPolicy", User, inline_policies::get_user_policy),
    row!("ListAccessKeys", User, keys::list),
    row!("ListAttachedRolePolicies", Role, attachments::list_role_policies),
    row!("ListAttachedUserPolicies", User, attachments::list_user_policies),
    row!("ListEntitiesForPolicy", Policy, attachments::list_entities),
    row!("ListGroupsForUser", User, users::list_groups),
    row!("ListInstanceProfiles", All, instance_profiles::list),
    row!("ListInstanceProfilesForRole", Role, instance_profiles::list_for_role),
    row!("ListPolicies", All, policies::list),
    row!("ListPolicyVersions", Policy, policies::list_versions),
    row!("ListRolePolicies", Role, inline_policies::list_role_policies),
    row!("ListRoleTags", Role, roles::list_tags),
    row!("ListRoles", All, roles::list),
    row!("ListUserPolicies", User, inline_policies::list_user_policies),
    row!("ListUserTags", User, users::list_tags),
    row!("ListUsers", All, users::list),
    row!("PutRolePermissionsBoundary", Role, roles::put_boundary),
    row!("PutRolePolicy", Role, inline_policies::put_role_policy),
    row!("PutUserPolicy", User, inline_policies::put_user_policy),
    row!("RemoveRoleFromInstanceProfile", Profile, instance_profiles::remove_role),
    row!("SetDefaultPolicyVersion", Policy, policies::set_default_version),
    row!("SimulatePrincipalPolicy", All, simulate::simulate_principal),
    row!("TagRole", Role, roles::tag),
    row!("TagUser", User, users::tag),
    row!("UntagRole", Role, roles::untag),
    row!("UntagUser", User, users::untag),
    row!("UpdateAccessKey", User, keys::update),
    row!("UpdateAssumeRolePolicy", Role, roles::update_trust),
    row!("UpdateRole", Role, roles::update),
    row!("UpdateRoleDescription", Role, roles::update_description),
    row!("UpdateUser", User, users::update),
];

impl Iam {
    /// The account's IAM in its keyspace.
    pub fn new(world: &World, space: Keyspace, account: &str) -> Iam {
        Iam(Arc::new(Inner { world: world.clone(), space, account: account.to_owned() }))
    }

    /// The same for one who may write only while `guard` holds; see [`Keyspace::guarded`].
    #[must_use]
    pub fn guarded(&self, guard: Compare) -> Iam {
        Iam::new(&self.0.world, self.0.space.guarded(guard), &self.0.account)
    }

    /// The account's number.
    pub fn account(&self) -> &str {
        &self.0.account
    }

    /// Makes the first administrator of the account, or finds the one that is there, and returns an active key.
    ///
    /// # Errors
    /// The store's.
    pub async fn bootstrap(&self, user: &str) -> Result<AccountAccess, RecordError> {
        for _ in 0..MAX_ATTEMPTS {
            let mut tx = Tx::new(&self.0.space);
            let key = keys::administrator(self, &mut tx, user).await?;
            if let Commit::Done(_) = tx.commit().await? {
                return Ok(AccountAccess { account: self.0.account.clone(), key });
            }
        }
        Err(RecordError::Contended)
    }

    /// The table, by name.
    pub fn operations() -> &'static [IamOperation] {
        OPERATIONS
    }

    /// Runs an operation for a caller who may call it.
    ///
    /// # Errors
    /// IAM's errors, `AccessDenied`, and `NotImplemented` for an operation without a handler.
    pub async fn call(&self, ctx: &CallContext, operation: &str, input: &Value) -> Result<Value, AwsError> {
        let Ok(row) = OPERATIONS.binary_search_by(|row| row.name.cmp(operation)) else {
            return Err(AwsError::not_supported("iam", operation));
        };
        let row = &OPERATIONS[row];
        let resource = self.resource(row, ctx, input).await?;
        self.authorize(ctx, &format!("iam:{operation}"), &resource, &[]).await?;
        for _ in 0..MAX_ATTEMPTS {
            let mut tx = Tx::new(&self.0.space);
            let output = (row.handler)(Call { iam: self, ctx, input, tx: &mut tx }).await?;
            if let Commit::Done(_) = tx.commit().await? {
                return Ok(output);
            }
        }
        Err(RecordError::Contended.into())
    }

    async fn resource(&self, row: &IamOperation, ctx: &CallContext, input: &Value) -> Result<String, AwsError> {
        let text = |member: &str| input.get(member).and_then(Value::as_str);
        let path = || text("Path").unwrap_or("/");
        let account = &self.0.account;
        let mut tx = Tx::new(&self.0.space);
        Ok(match row.on {
            On::All => "*".to_owned(),
            On::Policy => match (text("PolicyArn"), text("PolicyName")) {
                (Some(arn), _) => arn.to_owned(),
                (None, name) => format!("arn:aws:iam::{account}:policy{}{}", path(), name.unwrap_or("*")),
            },
            On::Profile => {
                let name = text("InstanceProfileName").unwrap_or("*");
                match tx.get::<InstanceProfile>(&name.to_lowercase()).await? {
                    Some(profile) => profile.arn(account),
                    None => format!("arn:aws:iam::{account}:instance-profile{}{name}", path()),
                }
            }
            On::Role => {
                let name = text("RoleName").unwrap_or("*");
                match tx.get::<Role>(&name.to_lowercase()).await? {
                    Some(role) => role.arn(account),
                    None => format!("arn:aws:iam::{account}:role{}{name}", path()),
                }
            }
            On::User => match text("UserName") {
                None => ctx.caller.arn.clone(),
                Some(name) => match tx.get::<User>(&name.to_lowercase()).await? {
                    Some(user) => user.arn(account),
                    None => format!("arn:aws:iam::{account}:user{}{name}", path()),
                },
            },
        })
    }

    /// The credential behind a key id, as it is now: a key is good, or bad, from the moment that a call has said so, whichever
    /// process was called.
    ///
    /// # Errors
    /// The store's.
    pub async fn lookup(&self, access_key_id: &str) -> Result<Option<Credential>, RecordError> {
        credentials::find(&self.0.space, &self.0.account, access_key_id).await
    }

    /// A role by its ARN, as stored.
    ///
    /// # Errors
    /// The store's.
    pub async fn role_by_arn(&self, arn: &str) -> Result<Option<Role>, RecordError> {
        let prefix = format!("arn:aws:iam::{}:role/", self.0.account);
        let Some(name) = arn.strip_prefix(&prefix).and_then(|rest| rest.rsplit('/').next()) else { return Ok(None) };
        let role: Option<Role> = Tx::new(&self.0.space).get(&name.to_lowercase()).await?;
        Ok(role.filter(|role| role.arn(&self.0.account) == arn))
    }

    /// A user by its ARN, as stored.
    ///
    /// # Errors
    /// The store's.
    pub async fn user_by_arn(&self, arn: &str) -> Result<Option<User>, RecordError> {
        let prefix = format!("arn:aws:iam::{}:user/", self.0.account);
        let Some(name) = arn.strip_prefix(&prefix).and_then(|rest| rest.rsplit('/').next()) else { return Ok(None) };
        let user: Option<User> = Tx::new(&self.0.space).get(&name.to_lowercase()).await?;
        Ok(user.filter(|user| user.arn(&self.0.account) == arn))
    }

    /// The unique id of a user or role by ARN: `AIDA…` or `AROA…`.
    ///
    /// # Errors
    /// The store's.
    pub async fn principal_id(&self, arn: &str) -> Result<Option<String>, RecordError> {
        if let Some(role) = self.role_by_arn(arn).await? {
            return Ok(Some(role.id));
        }
        Ok(self.user_by_arn(arn).await?.map(|user| user.id))
    }

    /// The ARN, with its path, of the role behind a session. Sessions name roles without their paths.
    ///
    /// # Errors
    /// The store's.
    pub async fn role_arn_of(&self, caller: &Caller) -> Result<Option<String>, RecordError> {
        let crate::CallerKind::AssumedRole { role, .. } = &caller.kind else { return Ok(None) };
        let role: Option<Role> = Tx::new(&self.0.space).get(&role.to_lowercase()).await?;
        Ok(role.map(|role| role.arn(&self.0.account)))
    }

    pub(crate) fn new_id(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.0.world.random_string(ID_ALPHABET, 17))
    }

    pub(crate) fn new_key_id(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.0.world.random_string(ID_ALPHABET, 16))
    }

    pub(crate) fn new_secret(&self) -> String {
        self.0.world.random_string(SECRET_ALPHABET, 40)
    }

    pub(crate) fn new_token(&self) -> String {
        format!("IQoJb3JpZ2luX2Vj{}==", self.0.world.random_string(SECRET_ALPHABET, 334))
    }

    /// A lease after which a temporary key is forgotten. It outlives the key by an hour, so that an expired key is told apart from an
    /// unknown one.
    pub(crate) async fn session_lease(&self, seconds: i64) -> Result<LeaseId, AwsError> {
        let ttl = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default() + 3600);
        let lease = self.0.space.lease_grant(ttl, None).await.map_err(RecordError::from)?;
        Ok(lease.id)
    }
}

/// The output of operations that return nothing.
pub(crate) fn nothing() -> Value {
    json!({})
}

#[cfg(test)]
mod tests;
