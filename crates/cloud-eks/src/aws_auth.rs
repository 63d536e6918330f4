//! The aws-auth ConfigMap: roles, users and accounts that get in. Pure; the caller reads the ConfigMap.
//!
//! Source: aws-iam-authenticator, "Full Configuration Format" and its mapper of ConfigMaps. Entries that cannot be read are left
//! out, as the authenticator does, so that one mistake locks out nobody else.

use serde::Deserialize;

/// The data of the ConfigMap `kube-system/aws-auth`, each entry a text of YAML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsAuth {
    /// `mapRoles`.
    pub map_roles: String,
    /// `mapUsers`.
    pub map_users: String,
    /// `mapAccounts`.
    pub map_accounts: String,
}

/// A part of the ConfigMap is no YAML of the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} of aws-auth cannot be read: {why}")]
pub struct AwsAuthError {
    /// `mapRoles`, `mapUsers` or `mapAccounts`.
    pub part: &'static str,
    /// What the parser says.
    pub why: String,
}

/// Who someone is, with templates not yet filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) username: String,
    pub(crate) groups: Vec<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "rolearn", alias = "roleARN", alias = "userarn", alias = "userARN")]
    arn: Option<String>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    groups: Vec<String>,
}

impl AwsAuth {
    /// Reads the parts.
    ///
    /// # Errors
    /// The first part that cannot be read.
    pub fn check(&self) -> Result<(), AwsAuthError> {
        entries("mapRoles", &self.map_roles)?;
        entries("mapUsers", &self.map_users)?;
        accounts(&self.map_accounts)?;
        Ok(())
    }

    /// The mapping of a principal by its canonical ARN: roles without path and session, compared without regard to case.
    pub(crate) fn map(&self, canonical: &str, account: &str) -> Option<Mapping> {
        let arn = canonical.to_lowercase();
        for (part, text) in [("mapRoles", &self.map_roles), ("mapUsers", &self.map_users)] {
            for entry in entries(part, text).unwrap_or_default() {
                if entry.arn.as_ref().is_some_and(|entry| entry.to_lowercase() == arn) {
                    let username = if entry.username.is_empty() { canonical.to_owned() } else { entry.username };
                    return Some(Mapping { username, groups: entry.groups });
                }
            }
        }
        let known = accounts(&self.map_accounts).unwrap_or_default();
        let mapped = known.iter().any(|known| known == account);
        mapped.then(|| Mapping { username: canonical.to_owned(), groups: Vec::new() })
    }
}

fn entries(part: &'static str, text: &str) -> Result<Vec<Entry>, AwsAuthError> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_yaml::from_str(text).map_err(|error| AwsAuthError { part, why: error.to_string() })
}

fn accounts(text: &str) -> Result<Vec<String>, AwsAuthError> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let values: Vec<serde_yaml::Value> =
        serde_yaml::from_str(text).map_err(|error| AwsAuthError { part: "mapAccounts", why: error.to_string() })?;
    // An account without quotes is a number to YAML, and may have lost its leading zeros.
    let text = |value: serde_yaml::Value| match value {
        serde_yaml::Value::String(text) => Some(text),
        serde_yaml::Value::Number(number) => Some(format!("{:0>12}", number.to_string())),
        _ => None,
    };
    Ok(values.into_iter().filter_map(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_mapped_by_canonical_arn() {
        let auth = AwsAuth {
            map_roles: "- rolearn: arn:aws:iam::1:role/Dev\n  username: dev:{{SessionName}}\n  groups: [devs]\n"
                .to_owned(),
            map_users: "- userarn: arn:aws:iam::1:user/bob\n  groups:\n  - system:masters\n".to_owned(),
            map_accounts: "- \"111122223333\"\n- 000000000001\n".to_owned(),
        };
        assert_eq!(auth.check(), Ok(()));
        for (arn, account, expected) in [
            ("arn:aws:iam::1:role/dev", "1", Some(("dev:{{SessionName}}", vec!["devs"]))),
            ("arn:aws:iam::1:user/bob", "1", Some(("arn:aws:iam::1:user/bob", vec!["system:masters"]))),
            ("arn:aws:iam::1:user/al", "1", None),
            ("arn:aws:iam::111122223333:user/al", "111122223333", Some(("arn:aws:iam::111122223333:user/al", vec![]))),
        ] {
            let mapping = auth.map(arn, account);
            let mapping =
                mapping.as_ref().map(|m| (m.username.as_str(), m.groups.iter().map(String::as_str).collect()));
            assert_eq!(mapping, expected, "{arn}");
        }
    }

    #[test]
    fn a_broken_part_is_named_and_locks_out_no_one_else() {
        let auth = AwsAuth {
            map_roles: "- rolearn: [".to_owned(),
            map_users: "- userarn: arn:aws:iam::1:user/bob\n  username: bob\n".to_owned(),
            map_accounts: String::new(),
        };
        assert_eq!(auth.check().map_err(|error| error.part), Err("mapRoles"));
        assert_eq!(auth.map("arn:aws:iam::1:user/bob", "1").map(|mapping| mapping.username), Some("bob".to_owned()));
    }
}
