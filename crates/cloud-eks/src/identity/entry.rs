//! Access entries: their types, and what `CreateAccessEntry` and `UpdateAccessEntry` refuse. Must never store one.
//!
//! Sources: EKS user guide, "Create access entries", "Set a custom username"; the texts of errors that AWS answers.

use serde::{Deserialize, Serialize};

use super::arn::{Kind, PrincipalArn};
use super::template::{PRIVATE_DNS_NAME, SESSION_NAME, SESSION_NAME_RAW};
use crate::model::AccessEntry;

/// Neither usernames nor groups may begin with one of these. The list is closed.
const RESERVED_PREFIXES: &[&str] = &["amazon:", "aws:", "eks:", "iam:", "system:"];

/// What stands before the name of a node in its username.
const NODE_PREFIX: &str = "system:node:";

/// What kind of caller an entry is for. `HYPERPOD_LINUX` is not here: AWS does not publish what its nodes become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryType {
    /// Nodes of EKS Auto Mode.
    #[serde(rename = "EC2")]
    Ec2,
    /// Linux and Bottlerocket nodes.
    #[serde(rename = "EC2_LINUX")]
    Ec2Linux,
    /// Windows nodes.
    #[serde(rename = "EC2_WINDOWS")]
    Ec2Windows,
    /// Pod execution roles of Fargate.
    #[serde(rename = "FARGATE_LINUX")]
    FargateLinux,
    /// Nodes outside AWS.
    #[serde(rename = "HYBRID_LINUX")]
    HybridLinux,
    /// People and programs.
    #[serde(rename = "STANDARD")]
    Standard,
}

/// Why an access entry is refused. All are `InvalidParameterException`; texts are those of AWS unless noted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    /// A username with a reserved prefix.
    #[error("The username must not begin with {0}")]
    UsernamePrefix(&'static str),
    /// A session's name right at the start would let whoever names the session choose the prefix. Our text.
    #[error("The username must contain a colon before {{{{SessionName}}}}: {0}")]
    UsernameSession(String),
    /// Empty. Our text.
    #[error("The username must not be empty")]
    UsernameEmpty,
    /// Nodes get theirs from EKS.
    #[error("The specified username is invalid: setting username is not allowed when the type is \"{}\"", .0.as_str())]
    UsernameOfNode(EntryType),
    /// A group with a reserved prefix.
    #[error("The kubernetes group name {group} is invalid, it cannot start with {prefix}")]
    GroupPrefix {
        /// The group.
        group: String,
        /// What it starts with.
        prefix: &'static str,
    },
    /// An empty group. Our text.
    #[error("The kubernetes group name is invalid, it cannot be empty")]
    GroupEmpty,
    /// Nodes get theirs from EKS.
    #[error(
        "The specified kubernetesGroups is invalid: setting kubernetesGroups is not allowed when the type is \"{}\"", .0.as_str()
    )]
    GroupsOfNode(EntryType),
    /// No such type, or one that this service has not. Our text.
    #[error(
        "The type {0:?} of an access entry is not supported, it must be one of \
         [EC2, EC2_LINUX, EC2_WINDOWS, FARGATE_LINUX, HYBRID_LINUX, STANDARD]"
    )]
    Type(String),
    /// Neither a role nor a user nor root: sessions and services have no entries. Our text.
    #[error(
        "The specified principalArn is invalid: {0} is not the ARN of an IAM role, an IAM user or an account's root user"
    )]
    Principal(String),
    /// A user where only a role can be.
    #[error(
        "AccessEntry principalArn must be IAM role when using types [EC2_LINUX, EC2_WINDOWS, FARGATE_LINUX, HYBRID_LINUX, EC2]"
    )]
    PrincipalNotRole,
    /// Nodes are of the cluster's account.
    #[error(
        "AccessEntry principalArn must be from the same account as the cluster when using types \
         [EC2_LINUX, EC2_WINDOWS, FARGATE_LINUX, HYBRID_LINUX, EC2]"
    )]
    PrincipalAccount,
    /// A role of AWS's own.
    #[error("The caller is not allowed to modify access entries with a principalArn value of a Service Linked Role")]
    ServiceLinkedRole,
}

impl EntryType {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryType::Ec2 => "EC2",
            EntryType::Ec2Linux => "EC2_LINUX",
            EntryType::Ec2Windows => "EC2_WINDOWS",
            EntryType::FargateLinux => "FARGATE_LINUX",
            EntryType::HybridLinux => "HYBRID_LINUX",
            EntryType::Standard => "STANDARD",
        }
    }

    /// The inverse of [`EntryType::as_str`].
    ///
    /// # Errors
    /// [`EntryError::Type`].
    pub(crate) fn parse(text: &str) -> Result<EntryType, EntryError> {
        let all = [
            EntryType::Ec2,
            EntryType::Ec2Linux,
            EntryType::Ec2Windows,
            EntryType::FargateLinux,
            EntryType::HybridLinux,
            EntryType::Standard,
        ];
        all.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| EntryError::Type(text.to_owned()))
    }

    /// Whether policies can be associated with entries of this type. Where not, AWS answers `InvalidRequestException`: `This
    /// operation can only be performed on Access Entries with a type of "STANDARD"`.
    pub(crate) fn takes_policies(self) -> bool {
        match self {
            EntryType::Ec2 | EntryType::Standard => true,
            EntryType::Ec2Linux | EntryType::Ec2Windows | EntryType::FargateLinux | EntryType::HybridLinux => false,
        }
    }

    /// The groups that callers of this type are in beside those of the entry.
    fn node_groups(self) -> &'static [&'static str] {
        match self {
            EntryType::Ec2 | EntryType::Ec2Linux | EntryType::HybridLinux => &["system:bootstrappers", "system:nodes"],
            EntryType::Ec2Windows => &["eks:kube-proxy-windows", "system:bootstrappers", "system:nodes"],
            EntryType::FargateLinux => &["system:bootstrappers", "system:node-proxier", "system:nodes"],
            EntryType::Standard => &[],
        }
    }
}

impl AccessEntry {
    /// The groups of its callers, those that its type brings included.
    pub(crate) fn mapped_groups(&self) -> Vec<String> {
        let added = self.kind.node_groups().iter().filter(|group| !self.groups.contains(**group));
        self.groups.iter().cloned().chain(added.map(|group| (*group).to_owned())).collect()
    }
}

/// The `kubernetesGroups` that `DescribeAccessEntry` shows of an entry of which none are given: fewer than its callers are in.
pub(crate) fn shown_groups(entry_type: EntryType) -> &'static [&'static str] {
    match entry_type {
        EntryType::Standard => &[],
        EntryType::Ec2
        | EntryType::Ec2Linux
        | EntryType::Ec2Windows
        | EntryType::FargateLinux
        | EntryType::HybridLinux => &["system:nodes"],
    }
}

/// The username that EKS gives an entry: a template for roles, without the role's path.
///
/// # Errors
/// What is no principal, and for node types what is no role.
pub(crate) fn default_username(principal_arn: &str, entry_type: EntryType) -> Result<String, EntryError> {
    let arn = parse_principal(principal_arn)?;
    match (entry_type, arn.kind) {
        (EntryType::Standard, Kind::Role) => Ok(arn.session_template()),
        (EntryType::Standard, _) => Ok(principal_arn.to_owned()),
        (EntryType::Ec2 | EntryType::Ec2Linux | EntryType::Ec2Windows, Kind::Role) => {
            Ok(format!("{NODE_PREFIX}{PRIVATE_DNS_NAME}"))
        }
        (EntryType::FargateLinux | EntryType::HybridLinux, Kind::Role) => Ok(format!("{NODE_PREFIX}{SESSION_NAME}")),
        (_, _) => Err(EntryError::PrincipalNotRole),
    }
}

/// Whether a principal may have an entry of a type in a cluster of an account. Does not know whether it exists.
///
/// # Errors
/// See [`EntryError`].
pub(crate) fn validate_principal(
    principal_arn: &str,
    entry_type: EntryType,
    cluster_account: &str,
) -> Result<PrincipalArn, EntryError> {
    let arn = parse_principal(principal_arn)?;
    if arn.is_service_linked() {
        return Err(EntryError::ServiceLinkedRole);
    }
    if entry_type == EntryType::Standard {
        return Ok(arn);
    }
    if arn.kind != Kind::Role {
        return Err(EntryError::PrincipalNotRole);
    }
    if arn.account() == cluster_account { Ok(arn) } else { Err(EntryError::PrincipalAccount) }
}

/// Whether an entry of a type may be given this username. Reserved prefixes come first: that is what AWS answers for the default
/// username of a node, which some tools send back.
///
/// # Errors
/// See [`EntryError`].
pub(crate) fn validate_username(entry_type: EntryType, username: &str) -> Result<(), EntryError> {
    if username.is_empty() {
        return Err(EntryError::UsernameEmpty);
    }
    if let Some(prefix) = reserved_prefix(username) {
        return Err(EntryError::UsernamePrefix(prefix));
    }
    if entry_type != EntryType::Standard {
        return Err(EntryError::UsernameOfNode(entry_type));
    }
    let session = [SESSION_NAME, SESSION_NAME_RAW].iter().filter_map(|placeholder| username.find(placeholder)).min();
    match session {
        Some(at) if !username[..at].contains(':') => Err(EntryError::UsernameSession(username.to_owned())),
        _ => Ok(()),
    }
}

/// Whether an entry of a type may be given these groups. None are always fine. Whether bindings name them is not checked.
///
/// # Errors
/// See [`EntryError`].
pub(crate) fn validate_groups(entry_type: EntryType, groups: &[String]) -> Result<(), EntryError> {
    for group in groups {
        if group.is_empty() {
            return Err(EntryError::GroupEmpty);
        }
        if let Some(prefix) = reserved_prefix(group) {
            return Err(EntryError::GroupPrefix { group: group.clone(), prefix });
        }
    }
    if groups.is_empty() || entry_type == EntryType::Standard {
        Ok(())
    } else {
        Err(EntryError::GroupsOfNode(entry_type))
    }
}

fn reserved_prefix(text: &str) -> Option<&'static str> {
    RESERVED_PREFIXES.iter().copied().find(|prefix| text.starts_with(prefix))
}

/// Principals that exist by themselves; sessions do not.
fn parse_principal(text: &str) -> Result<PrincipalArn, EntryError> {
    let arn = PrincipalArn::parse(text).ok();
    let kept = arn.filter(|arn| matches!(arn.kind, Kind::Role | Kind::Root | Kind::User));
    kept.ok_or_else(|| EntryError::Principal(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [EntryType; 6] = [
        EntryType::Ec2,
        EntryType::Ec2Linux,
        EntryType::Ec2Windows,
        EntryType::FargateLinux,
        EntryType::HybridLinux,
        EntryType::Standard,
    ];

    fn outcome(result: Result<(), EntryError>) -> String {
        result.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn types_are_read_and_written_alike() {
        for kind in TYPES {
            assert_eq!(EntryType::parse(kind.as_str()), Ok(kind));
            let stored = serde_json::to_string(&kind).expect("stored");
            assert_eq!(stored, format!("{:?}", kind.as_str()));
        }
        for unknown in ["HYPERPOD_LINUX", "ec2_linux", ""] {
            assert_eq!(EntryType::parse(unknown), Err(EntryError::Type(unknown.to_owned())));
        }
    }

    #[test]
    fn usernames() {
        let cases = [
            (EntryType::Standard, "ann", ""),
            (EntryType::Standard, "sts:ann", ""),
            (EntryType::Standard, "team:{{SessionName}}", ""),
            (EntryType::Standard, ":john{{SessionName}}", ""),
            (EntryType::Standard, "arn:aws:sts::111122223333:assumed-role/dev/{{SessionName}}", ""),
            (EntryType::Standard, "ann{{AccountID}}", ""),
            (EntryType::Standard, "system:admin", "The username must not begin with system:"),
            (EntryType::Standard, "eks:x", "The username must not begin with eks:"),
            (EntryType::Standard, "aws:x", "The username must not begin with aws:"),
            (EntryType::Standard, "amazon:x", "The username must not begin with amazon:"),
            (EntryType::Standard, "iam:x", "The username must not begin with iam:"),
            (
                EntryType::Standard,
                "john{{SessionName}}",
                "The username must contain a colon before {{SessionName}}: john{{SessionName}}",
            ),
            (
                EntryType::Standard,
                "{{SessionNameRaw}}:x",
                "The username must contain a colon before {{SessionName}}: {{SessionNameRaw}}:x",
            ),
            (EntryType::Standard, "", "The username must not be empty"),
            (
                EntryType::Ec2Linux,
                "node",
                "The specified username is invalid: setting username is not allowed when the type is \"EC2_LINUX\"",
            ),
            (EntryType::Ec2Linux, "system:node:{{EC2PrivateDNSName}}", "The username must not begin with system:"),
        ];
        for (kind, username, expected) in cases {
            assert_eq!(outcome(validate_username(kind, username)), expected, "{kind:?} {username}");
        }
    }

    #[test]
    fn groups() {
        let cases: &[(EntryType, &[&str], &str)] = &[
            (EntryType::Standard, &[], ""),
            (EntryType::Standard, &["developers", "team:blue"], ""),
            (
                EntryType::Standard,
                &["ok", "system:masters"],
                "The kubernetes group name system:masters is invalid, it cannot start with system:",
            ),
            (EntryType::Standard, &["eks:x"], "The kubernetes group name eks:x is invalid, it cannot start with eks:"),
            (EntryType::Standard, &[""], "The kubernetes group name is invalid, it cannot be empty"),
            (EntryType::FargateLinux, &[], ""),
            (
                EntryType::Ec2Windows,
                &["x"],
                "The specified kubernetesGroups is invalid: setting kubernetesGroups is not allowed when the type is \"EC2_WINDOWS\"",
            ),
        ];
        for (kind, groups, expected) in cases {
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            assert_eq!(outcome(validate_groups(*kind, &groups)), *expected, "{kind:?} {groups:?}");
        }
    }

    #[test]
    fn principals() {
        let role = "arn:aws:iam::111122223333:role/a/dev";
        let cases = [
            (EntryType::Standard, role, "111122223333", Ok(())),
            (EntryType::Standard, role, "999999999999", Ok(())),
            (EntryType::Standard, "arn:aws:iam::111122223333:root", "111122223333", Ok(())),
            (EntryType::Standard, "arn:aws:iam::111122223333:user/ann", "111122223333", Ok(())),
            (EntryType::Ec2Linux, role, "111122223333", Ok(())),
            (EntryType::Ec2Linux, role, "999999999999", Err(EntryError::PrincipalAccount)),
            (EntryType::Ec2, "arn:aws:iam::111122223333:user/ann", "111122223333", Err(EntryError::PrincipalNotRole)),
            (
                EntryType::Standard,
                "arn:aws:iam::111122223333:role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS",
                "111122223333",
                Err(EntryError::ServiceLinkedRole),
            ),
        ];
        for (kind, arn, account, expected) in cases {
            assert_eq!(validate_principal(arn, kind, account).map(|_| ()), expected, "{kind:?} {arn}");
        }
        for arn in ["arn:aws:sts::111122223333:assumed-role/dev/ann", "arn:aws:iam::111122223333:group/x", "x"] {
            assert_eq!(
                validate_principal(arn, EntryType::Standard, "1").map(|_| ()),
                Err(EntryError::Principal(arn.to_owned()))
            );
        }
    }

    #[test]
    fn default_usernames() {
        let role = "arn:aws-cn:iam::111122223333:role/a/b/dev";
        let user = "arn:aws:iam::111122223333:user/a/ann";
        let cases = [
            (role, EntryType::Standard, Some("arn:aws-cn:sts::111122223333:assumed-role/dev/{{SessionName}}")),
            (user, EntryType::Standard, Some(user)),
            ("arn:aws:iam::111122223333:root", EntryType::Standard, Some("arn:aws:iam::111122223333:root")),
            (role, EntryType::Ec2, Some("system:node:{{EC2PrivateDNSName}}")),
            (role, EntryType::Ec2Linux, Some("system:node:{{EC2PrivateDNSName}}")),
            (role, EntryType::Ec2Windows, Some("system:node:{{EC2PrivateDNSName}}")),
            (role, EntryType::FargateLinux, Some("system:node:{{SessionName}}")),
            (role, EntryType::HybridLinux, Some("system:node:{{SessionName}}")),
            (user, EntryType::Ec2Linux, None),
            ("arn:aws:sts::111122223333:assumed-role/dev/x", EntryType::Standard, None),
        ];
        for (arn, kind, expected) in cases {
            let username = default_username(arn, kind).ok();
            assert_eq!(username.as_deref(), expected, "{arn} {kind:?}");
            // Whatever EKS generates for people passes its own rules.
            if let Some(username) = username.filter(|_| kind == EntryType::Standard) {
                assert_eq!(validate_username(kind, &username), Ok(()));
            }
        }
    }

    #[test]
    fn only_people_and_auto_mode_take_policies() {
        let takes: Vec<&str> = TYPES.into_iter().filter(|kind| kind.takes_policies()).map(EntryType::as_str).collect();
        assert_eq!(takes, ["EC2", "STANDARD"]);
        assert_eq!(shown_groups(EntryType::Ec2Linux), ["system:nodes"]);
        assert!(shown_groups(EntryType::Standard).is_empty());
    }
}
