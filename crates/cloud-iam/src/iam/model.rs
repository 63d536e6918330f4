//! Stored types of IAM and STS, and the form in which answers show them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use world::Timestamp;

use crate::call::{Caller, CallerKind};
use crate::credentials::{Credential, KeyStatus};
use crate::records::Record;
use crate::service::encode_percent;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

pub(crate) fn tags_json(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

/// What users and roles have in common: the policies that decide what they may do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Grants {
    /// ARNs of attached policies.
    pub attached: BTreeSet<String>,
    /// Inline documents by name.
    pub inline: BTreeMap<String, String>,
    /// ARN of the permissions boundary.
    pub boundary: Option<String>,
}

impl Grants {
    fn boundary_json(&self) -> Option<Value> {
        let boundary = self.boundary.as_ref()?;
        Some(json!({"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": boundary}))
    }
}

/// An IAM user. Stored under its name in lower case: names that differ in case only are the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// As it was created.
    pub name: String,
    /// Starts and ends with a slash.
    pub path: String,
    /// `AIDA…`.
    pub id: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// Tags.
    pub tags: Tags,
    /// Policies.
    pub grants: Grants,
    /// Ids of its access keys.
    pub keys: BTreeSet<String>,
}

impl Record for User {
    const KIND: &'static str = "user";
}

impl User {
    /// Its ARN.
    pub fn arn(&self, account: &str) -> String {
        format!("arn:aws:iam::{account}:user{}{}", self.path, self.name)
    }

    pub(crate) fn json(&self, account: &str) -> Value {
        let mut user = json!({
            "Path": self.path, "UserName": self.name, "UserId": self.id, "Arn": self.arn(account), "CreateDate": self.created,
        });
        put_some(&mut user, "PermissionsBoundary", self.grants.boundary_json());
        put_some(&mut user, "Tags", (!self.tags.is_empty()).then(|| tags_json(&self.tags)));
        user
    }
}

/// Sets a member when there is a value for it.
pub(crate) fn put_some(object: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        object[name] = value;
    }
}

/// A long-term key of a user. Stored under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA…`.
    pub id: String,
    /// Forty characters.
    pub secret: String,
    /// Its user.
    pub user: String,
    /// The user's ARN.
    pub user_arn: String,
    /// The user's id.
    pub user_id: String,
    /// Whether it may be used.
    pub active: bool,
    /// Seconds since the epoch.
    pub created: i64,
}

impl Record for AccessKey {
    const KIND: &'static str = "credential/key";
}

impl AccessKey {
    pub(crate) fn credential(&self, account: &str) -> Credential {
        Credential {
            secret: self.secret.clone(),
            session_token: None,
            caller: Caller {
                arn: self.user_arn.clone(),
                user_id: self.user_id.clone(),
                account: account.to_owned(),
                kind: CallerKind::User { name: self.user.clone() },
                access_key_id: self.id.clone(),
            },
            expires: None,
            status: if self.active { KeyStatus::Active } else { KeyStatus::Inactive },
        }
    }

    pub(crate) fn status(&self) -> &'static str {
        if self.active { "Active" } else { "Inactive" }
    }
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "camelCase")]
pub enum SessionOf {
    /// A role.
    Role {
        /// The role's name.
        role: String,
        /// The role's unique id: a role made anew under the same name is another role.
        role_id: String,
        /// The session's name.
        session: String,
    },
    /// A user, through `GetSessionToken`.
    User {
        /// The user's name.
        user: String,
        /// The user's ARN.
        user_arn: String,
        /// The user's unique id.
        user_id: String,
    },
}

/// Temporary credentials. Stored under their key id, with a lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// `ASIA…`.
    pub id: String,
    /// Forty characters.
    pub secret: String,
    /// The token that must come with the key.
    pub token: String,
    /// Whose.
    #[serde(flatten)]
    pub of: SessionOf,
    /// Seconds since the epoch.
    pub issued: i64,
    /// Seconds since the epoch.
    pub expires: i64,
    /// Session policies: documents, inline and by ARN.
    pub policies: Vec<String>,
    /// ARNs of managed session policies.
    pub policy_arns: Vec<String>,
    /// Session tags.
    pub tags: Tags,
    /// `SourceIdentity`.
    pub source_identity: Option<String>,
}

impl Record for Session {
    const KIND: &'static str = "credential/session";
}

impl Session {
    pub(crate) fn caller(&self, account: &str) -> Caller {
        let (arn, user_id, kind) = match &self.of {
            SessionOf::Role { role, role_id, session } => (
                format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
                format!("{role_id}:{session}"),
                CallerKind::AssumedRole { role: role.clone(), session: session.clone() },
            ),
            SessionOf::User { user, user_arn, user_id } => {
                (user_arn.clone(), user_id.clone(), CallerKind::UserSession { name: user.clone() })
            }
        };
        Caller { arn, user_id, account: account.to_owned(), kind, access_key_id: self.id.clone() }
    }

    pub(crate) fn credential(&self, account: &str) -> Credential {
        Credential {
            secret: self.secret.clone(),
            session_token: Some(self.token.clone()),
            caller: self.caller(account),
            expires: Some(Timestamp::from_seconds(self.expires)),
            status: KeyStatus::Active,
        }
    }

    pub(crate) fn credentials_json(&self) -> Value {
        json!({
            "AccessKeyId": self.id, "SecretAccessKey": self.secret, "SessionToken": self.token, "Expiration": self.expires,
        })
    }
}

/// A role. Stored under its name in lower case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// As it was created.
    pub name: String,
    /// Starts and ends with a slash.
    pub path: String,
    /// `AROA…`.
    pub id: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// The trust policy as it was given.
    pub trust: String,
    /// Free text.
    pub description: Option<String>,
    /// Seconds, 3600 to 43200.
    pub max_session: i64,
    /// Tags.
    pub tags: Tags,
    /// Policies.
    pub grants: Grants,
    /// Names of instance profiles that hold it.
    pub profiles: BTreeSet<String>,
}

impl Record for Role {
    const KIND: &'static str = "role";
}

impl Role {
    /// Its ARN, with the path.
    pub fn arn(&self, account: &str) -> String {
        format!("arn:aws:iam::{account}:role{}{}", self.path, self.name)
    }

    /// Whether it belongs to an AWS service, which alone may use and delete it.
    pub fn is_service_linked(&self) -> bool {
        self.path.starts_with("/aws-service-role/")
    }

    pub(crate) fn json(&self, account: &str) -> Value {
        let mut role = json!({
            "Path": self.path, "RoleName": self.name, "RoleId": self.id, "Arn": self.arn(account), "CreateDate": self.created,
            "AssumeRolePolicyDocument": encode_percent(&self.trust), "MaxSessionDuration": self.max_session,
        });
        put_some(&mut role, "Description", self.description.as_ref().map(|text| json!(text)));
        put_some(&mut role, "PermissionsBoundary", self.grants.boundary_json());
        put_some(&mut role, "Tags", (!self.tags.is_empty()).then(|| tags_json(&self.tags)));
        role
    }
}

/// A policy of the account. Stored under its name in lower case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// As it was created.
    pub name: String,
    /// Starts and ends with a slash.
    pub path: String,
    /// `ANPA…`.
    pub id: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// Seconds since the epoch.
    pub updated: i64,
    /// Free text.
    pub description: Option<String>,
    /// Documents and creation times by version number.
    pub versions: BTreeMap<u32, PolicyVersion>,
    /// The version that counts.
    pub default: u32,
    /// Users and roles that it is attached to.
    pub attachments: u32,
    /// Tags.
    pub tags: Tags,
}

/// One version of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// As it was given.
    pub document: String,
    /// Seconds since the epoch.
    pub created: i64,
}

impl Record for Policy {
    const KIND: &'static str = "policy";
}

impl Policy {
    /// Its ARN, with the path.
    pub fn arn(&self, account: &str) -> String {
        format!("arn:aws:iam::{account}:policy{}{}", self.path, self.name)
    }

    pub(crate) fn json(&self, account: &str) -> Value {
        let mut policy = json!({
            "PolicyName": self.name, "PolicyId": self.id, "Arn": self.arn(account), "Path": self.path,
            "DefaultVersionId": format!("v{}", self.default), "AttachmentCount": self.attachments,
            "PermissionsBoundaryUsageCount": 0, "IsAttachable": true, "CreateDate": self.created, "UpdateDate": self.updated,
        });
        put_some(&mut policy, "Description", self.description.as_ref().map(|text| json!(text)));
        put_some(&mut policy, "Tags", (!self.tags.is_empty()).then(|| tags_json(&self.tags)));
        policy
    }

    pub(crate) fn version_json(&self, version: u32, with_document: bool) -> Option<Value> {
        let stored = self.versions.get(&version)?;
        let mut json = json!({
            "VersionId": format!("v{version}"), "IsDefaultVersion": version == self.default, "CreateDate": stored.created,
        });
        if with_document {
            json["Document"] = json!(encode_percent(&stored.document));
        }
        Some(json)
    }
}

/// An instance profile: the container that gives a role to an instance. Stored under its name in lower case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceProfile {
    /// As it was created.
    pub name: String,
    /// Starts and ends with a slash.
    pub path: String,
    /// `AIPA…`.
    pub id: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// At most one.
    pub role: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Record for InstanceProfile {
    const KIND: &'static str = "profile";
}

impl InstanceProfile {
    /// Its ARN, with the path.
    pub fn arn(&self, account: &str) -> String {
        format!("arn:aws:iam::{account}:instance-profile{}{}", self.path, self.name)
    }
}
