//! What inputs must look like beyond the model, and AWS's words when they do not.

use cloud_wire::AwsError;
use serde::Deserialize;

use super::Call;
use super::model::{Grants, Role, Tags, User};
use crate::page::{Page, page};
use crate::policy::{Malformed, PolicyDocument, Usage, parse};

/// Tags on one principal or policy.
const MAX_TAGS: usize = 50;
/// Names on one page unless asked for otherwise.
const DEFAULT_PAGE: usize = 100;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
}

/// `Marker` and `MaxItems`, which all lists have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Paging {
    pub(crate) marker: Option<String>,
    pub(crate) max_items: Option<usize>,
}

pub(crate) fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationError", 400, message)
}

pub(crate) fn no_such_entity(message: impl Into<String>) -> AwsError {
    AwsError::new("NoSuchEntity", 404, message)
}

pub(crate) fn already_exists(message: impl Into<String>) -> AwsError {
    AwsError::new("EntityAlreadyExists", 409, message)
}

pub(crate) fn delete_conflict(message: impl Into<String>) -> AwsError {
    AwsError::new("DeleteConflict", 409, message)
}

pub(crate) fn limit_exceeded(quota: &str, limit: usize) -> AwsError {
    AwsError::new("LimitExceeded", 409, format!("Cannot exceed quota for {quota}: {limit}"))
}

impl From<Malformed> for AwsError {
    fn from(error: Malformed) -> AwsError {
        AwsError::new("MalformedPolicyDocument", 400, error.0)
    }
}

/// Names of users, roles, profiles and policies; `member` is `userName` and so on, as the messages write it.
pub(crate) fn name(member: &str, name: &str, max: usize) -> Result<(), AwsError> {
    if name.is_empty() || name.chars().count() > max {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: Member must have length less than or equal to {max}"
        )));
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c)) {
        return Err(invalid(format!(
            "The specified value for {member} is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"
        )));
    }
    Ok(())
}

/// `/` when absent.
pub(crate) fn path(path: Option<&str>) -> Result<String, AwsError> {
    let path = path.unwrap_or("/");
    let inner = path.chars().all(|c| ('!'..='\u{7e}').contains(&c));
    if path.len() > 512 || !path.starts_with('/') || !path.ends_with('/') || !inner || path.contains("//") {
        return Err(invalid(
            "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
        ));
    }
    Ok(path.to_owned())
}

/// A document of an identity policy that is not longer than its quota, which does not count white space.
pub(crate) fn identity_document(text: &str, max: usize, of: &str) -> Result<PolicyDocument, AwsError> {
    let document = parse(text, Usage::Identity)?;
    let size = text.chars().filter(|c| !c.is_whitespace()).count();
    if size > max {
        return Err(AwsError::new(
            "LimitExceeded",
            409,
            format!("Maximum policy size of {max} bytes exceeded for {of}"),
        ));
    }
    Ok(document)
}

/// Adds tags to those that are there.
pub(crate) fn add_tags(tags: &mut Tags, new: &[Tag]) -> Result<(), AwsError> {
    let mut seen = std::collections::BTreeSet::new();
    for tag in new {
        if tag.key.is_empty() || tag.key.chars().count() > 128 || tag.value.chars().count() > 256 {
            return Err(invalid(
                "1 validation error detected: a tag key has 1 to 128 characters and a value up to 256",
            ));
        }
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            return Err(AwsError::new("InvalidInput", 400, "Tag keys beginning with aws: are reserved for system use"));
        }
        if !seen.insert(tag.key.to_lowercase()) {
            return Err(AwsError::new(
                "InvalidInput",
                400,
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
        // Keys are the same in every case; the newest spelling stays.
        tags.retain(|key, _| key.to_lowercase() != tag.key.to_lowercase());
        tags.insert(tag.key.clone(), tag.value.clone());
    }
    if tags.len() > MAX_TAGS {
        return Err(limit_exceeded("TagsPerResource", MAX_TAGS));
    }
    Ok(())
}

/// One page of a sorted list, its members shown by `show`, under `member`.
pub(crate) fn listing<T>(
    items: Vec<(String, T)>,
    paging: &Paging,
    member: &str,
    show: impl Fn(T) -> serde_json::Value,
) -> Result<serde_json::Value, AwsError> {
    let max = paging.max_items.unwrap_or(DEFAULT_PAGE).clamp(1, 1000);
    let Page { items, next } = page(items, paging.marker.as_deref(), max).map_err(|_| invalid("Invalid Marker."))?;
    let shown: Vec<serde_json::Value> = items.into_iter().map(show).collect();
    let mut output = serde_json::json!({ member: shown, "IsTruncated": next.is_some() });
    if let Some(next) = next {
        output["Marker"] = next.into();
    }
    Ok(output)
}

impl Call<'_> {
    pub(crate) async fn role(&mut self, name: &str) -> Result<Role, AwsError> {
        let role = self.tx.get::<Role>(&name.to_lowercase()).await?;
        role.ok_or_else(|| no_such_entity(format!("The role with name {name} cannot be found.")))
    }

    pub(crate) async fn user(&mut self, name: &str) -> Result<User, AwsError> {
        let user = self.tx.get::<User>(&name.to_lowercase()).await?;
        user.ok_or_else(|| no_such_entity(format!("The user with name {name} cannot be found.")))
    }

    pub(crate) fn put_role(&mut self, role: &Role) {
        self.tx.put(&role.name.to_lowercase(), role);
    }

    pub(crate) fn put_user(&mut self, user: &User) {
        self.tx.put(&user.name.to_lowercase(), user);
    }

    /// The boundary must be a policy that exists.
    pub(crate) async fn boundary(&mut self, arn: &str) -> Result<String, AwsError> {
        if self.policy_document(arn).await?.is_none() {
            return Err(no_such_entity(format!("Scope ARN: {arn} does not exist or is not attachable.")));
        }
        Ok(arn.to_owned())
    }

    /// The default document of a policy of AWS or of the account.
    pub(crate) async fn policy_document(&mut self, arn: &str) -> Result<Option<String>, AwsError> {
        if let Some((policy, _)) = crate::managed::find(arn) {
            return Ok(Some(policy.text()));
        }
        let Some((_, policy)) = self.customer_policy(arn).await? else { return Ok(None) };
        Ok(policy.versions.get(&policy.default).map(|version| version.document.clone()))
    }
}

/// A user or role: what the operations on policies see of either.
pub(crate) trait Holder {
    fn grants(&mut self) -> &mut Grants;
}

impl Holder for User {
    fn grants(&mut self) -> &mut Grants {
        &mut self.grants
    }
}

impl Holder for Role {
    fn grants(&mut self) -> &mut Grants {
        &mut self.grants
    }
}
