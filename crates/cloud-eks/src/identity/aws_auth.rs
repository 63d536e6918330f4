//! The `aws-auth` ConfigMap of `kube-system`: `mapRoles`, `mapUsers` and `mapAccounts`, YAML in strings.
//!
//! Must never fail as a whole: people edit it by hand, and a broken list may lock out only those whom it names. Rules: the
//! ConfigMap mapper of aws-iam-authenticator. Names of the lists are case-sensitive, names of their members are not.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::{Mapping as YamlMapping, Value};

/// Longest text of a list that is read, in bytes: Kubernetes lets a ConfigMap hold no more.
const MAX_AWS_AUTH_BYTES: usize = 1024 * 1024;

/// Who a role or a user is in the cluster. Texts may hold placeholders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Empty when the list has none.
    pub(super) username: String,
    /// Empty when the list has none.
    pub(super) groups: Vec<String>,
}

/// The data of the ConfigMap `kube-system/aws-auth`, each list a text of YAML; empty when it is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsAuth {
    /// `mapRoles`.
    pub map_roles: String,
    /// `mapUsers`.
    pub map_users: String,
    /// `mapAccounts`.
    pub map_accounts: String,
}

/// What can be used of the ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mappings {
    /// Accounts of which every principal is a user named by its ARN.
    pub(super) accounts: BTreeSet<String>,
    /// What could not be used, for the log.
    errors: Vec<AwsAuthError>,
    /// By lower-case role ARN. The last of two counts.
    roles: BTreeMap<String, Mapping>,
    /// By lower-case user ARN. The last of two counts.
    users: BTreeMap<String, Mapping>,
}

/// A part of the ConfigMap that is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsAuthError {
    /// The whole list.
    #[error("aws-auth: {list} is left out: {why}")]
    List {
        /// `mapRoles`, `mapUsers` or `mapAccounts`.
        list: &'static str,
        /// What is wrong.
        why: String,
    },
    /// One item. The authenticator would use what it can read of it; a principal whose groups or name are not what was written is
    /// better left out.
    #[error("aws-auth: item {index} of {list} is left out: {why}")]
    Item {
        /// `mapRoles`, `mapUsers` or `mapAccounts`.
        list: &'static str,
        /// From 0.
        index: usize,
        /// What is wrong.
        why: String,
    },
}

impl AwsAuth {
    /// What cannot be used of it, for whoever edits it.
    pub fn errors(&self) -> Vec<AwsAuthError> {
        self.read().errors
    }

    /// Reads the lists. Never fails; what cannot be used is in [`Mappings::errors`].
    pub(super) fn read(&self) -> Mappings {
        let mut errors = vec![];
        let roles = read_mappings("mapRoles", &self.map_roles, "rolearn", &mut errors);
        let users = read_mappings("mapUsers", &self.map_users, "userarn", &mut errors);
        let accounts = read_accounts(&self.map_accounts, &mut errors);
        Mappings { accounts, errors, roles, users }
    }
}

impl Mappings {
    /// Who a canonical ARN is: roles come before users.
    pub(super) fn find(&self, canonical_arn: &str) -> Option<&Mapping> {
        let key = canonical_arn.to_ascii_lowercase();
        self.roles.get(&key).or_else(|| self.users.get(&key))
    }
}

/// The items of a list; none when it is missing or one of the spellings of nothing that people leave behind.
fn read_items(list: &'static str, text: &str, errors: &mut Vec<AwsAuthError>) -> Vec<Value> {
    if matches!(text.trim(), "" | "``" | "\"\"" | "''") {
        return vec![];
    }
    let why = match serde_yaml::from_str(text) {
        _ if text.len() > MAX_AWS_AUTH_BYTES => format!("it is longer than {MAX_AWS_AUTH_BYTES} bytes"),
        Ok(Value::Sequence(items)) => return items,
        Ok(Value::Null) => return vec![],
        Ok(_) => "it is not a list".to_owned(),
        Err(error) => error.to_string(),
    };
    errors.push(AwsAuthError::List { list, why });
    vec![]
}

fn read_accounts(text: &str, errors: &mut Vec<AwsAuthError>) -> BTreeSet<String> {
    let list = "mapAccounts";
    let mut accounts = BTreeSet::new();
    for (index, item) in read_items(list, text, errors).into_iter().enumerate() {
        match item {
            Value::String(account) => _ = accounts.insert(account),
            // Without quotes. Digits that begin with a zero are text to YAML, so none are lost.
            Value::Number(account) => _ = accounts.insert(account.to_string()),
            _ => errors.push(AwsAuthError::Item { list, index, why: "it is not an account".to_owned() }),
        }
    }
    accounts
}

fn read_mappings(
    list: &'static str,
    text: &str,
    arn_member: &str,
    errors: &mut Vec<AwsAuthError>,
) -> BTreeMap<String, Mapping> {
    let mut mappings = BTreeMap::new();
    for (index, item) in read_items(list, text, errors).iter().enumerate() {
        match read_mapping(item, arn_member) {
            Ok((arn, mapping)) => _ = mappings.insert(arn.to_ascii_lowercase(), mapping),
            Err(why) => errors.push(AwsAuthError::Item { list, index, why }),
        }
    }
    mappings
}

fn read_mapping(item: &Value, arn_member: &str) -> Result<(String, Mapping), String> {
    let Value::Mapping(item) = item else { return Err("it is not a map".to_owned()) };
    let arn = read_text(item, arn_member)?;
    if arn.is_empty() {
        // Matching roles of IAM Identity Center by `sso` is off in EKS.
        return Err(format!("it has no {arn_member}"));
    }
    Ok((arn, Mapping { username: read_text(item, "username")?, groups: read_texts(item, "groups")? }))
}

/// A member whatever the case of its name; the exact name wins.
fn member<'a>(item: &'a YamlMapping, name: &str) -> Option<&'a Value> {
    let folded = || item.iter().find(|(key, _)| key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)));
    item.get(name).or_else(|| folded().map(|(_, value)| value))
}

fn read_text(item: &YamlMapping, name: &str) -> Result<String, String> {
    match member(item, name) {
        Some(Value::String(text)) => Ok(text.clone()),
        None | Some(Value::Null) => Ok(String::new()),
        Some(_) => Err(format!("its {name} is not text; put quotes around it")),
    }
}

fn read_texts(item: &YamlMapping, name: &str) -> Result<Vec<String>, String> {
    let values = match member(item, name) {
        Some(Value::Sequence(values)) => values.as_slice(),
        None | Some(Value::Null) => &[],
        Some(_) => return Err(format!("its {name} is not a list")),
    };
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(format!("its {name} holds something that is not text; put quotes around it")),
    };
    values.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "arn:aws:iam::555555555555:role/Nodes";
    const ADMIN: &str = "arn:aws:iam::555555555555:user/admin";

    fn parse(lists: &[(&str, &str)]) -> Mappings {
        let text = |wanted| lists.iter().find(|(name, _)| *name == wanted).map_or("", |(_, text)| *text).to_owned();
        let (map_roles, map_users, map_accounts) = (text("mapRoles"), text("mapUsers"), text("mapAccounts"));
        AwsAuth { map_roles, map_users, map_accounts }.read()
    }

    /// `username: group group` of an ARN, and how many errors there are.
    fn check(lists: &[(&str, &str)], arn: &str, expected: Option<&str>, errors: usize) {
        let parsed = parse(lists);
        let found = parsed.find(arn).map(|mapping| format!("{}: {}", mapping.username, mapping.groups.join(" ")));
        assert_eq!(found.as_deref(), expected, "{lists:?} {:?}", parsed.errors);
        assert_eq!(parsed.errors.len(), errors, "{lists:?} {:?}", parsed.errors);
    }

    #[test]
    fn lists_are_read_as_the_authenticator_reads_them() {
        let role = format!(
            "- rolearn: {NODE}\n  username: system:node:{{{{EC2PrivateDNSName}}}}\n  groups:\n    - system:bootstrappers\n    - system:nodes\n"
        );
        let node = Some("system:node:{{EC2PrivateDNSName}}: system:bootstrappers system:nodes");
        let user = format!("- userarn: {ADMIN}\n  username: admin\n  groups:\n  - system:masters\n");
        let admin = Some("admin: system:masters");
        check(&[("mapRoles", &role)], NODE, node, 0);
        check(&[("mapRoles", &role)], &NODE.to_uppercase(), node, 0);
        check(&[("mapRoles", &role)], ADMIN, None, 0);
        check(&[("mapUsers", &user)], ADMIN, admin, 0);
        // Names of members have any spelling.
        check(&[("mapRoles", &role.replace("rolearn", "rOlEaRn").replace("groups", "gRoUpS"))], NODE, node, 0);
        // JSON is YAML.
        let json = format!(r#"[{{"rolearn": "{NODE}", "username": "n", "groups": ["a"]}}]"#);
        check(&[("mapRoles", &json)], NODE, Some("n: a"), 0);
        // A misplaced space joins two groups to one.
        let joined = role.replace("    - system:nodes", "     - system:nodes");
        let one = Some("system:node:{{EC2PrivateDNSName}}: system:bootstrappers - system:nodes");
        check(&[("mapRoles", &joined)], NODE, one, 0);
        // The last of two counts.
        let twice =
            format!("- rolearn: {NODE}\n  username: one\n- rolearn: {}\n  username: two\n", NODE.to_lowercase());
        check(&[("mapRoles", &twice)], NODE, Some("two: "), 0);
        for nothing in ["", " \n", "``", "''", "\"\"", "[]", "# none\n"] {
            check(&[("mapRoles", nothing), ("mapUsers", nothing), ("mapAccounts", nothing)], NODE, None, 0);
        }
    }

    #[test]
    fn what_is_broken_leaves_the_rest_working() {
        let user = format!("- userarn: {ADMIN}\n  username: admin\n");
        let admin = Some("admin: ");
        for broken in ["- rolearn: [", "{", "rolearn: x", "just text", "- - -\n\t- x"] {
            check(&[("mapRoles", broken), ("mapUsers", &user)], ADMIN, admin, 1);
        }
        check(&[("mapRoles", "- 7\n- username: x\n"), ("mapUsers", &user)], ADMIN, admin, 2);
        check(&[("mapAccounts", "{a: b}"), ("mapUsers", &user)], ADMIN, admin, 1);
        check(&[("mapUsers", &format!("- x\n{user}"))], ADMIN, admin, 1);
        // A wrong member takes its item with it and no other.
        for wrong in ["username: 7", "username: [a]", "groups: a", "groups: [a, 1, b]", "groups: [[a]]"] {
            let both = format!("- userarn: {NODE}\n  {wrong}\n{user}");
            check(&[("mapUsers", &both)], ADMIN, admin, 1);
            check(&[("mapUsers", &both)], NODE, None, 1);
        }
        // What is missing or null is empty.
        check(&[("mapUsers", &format!("- userarn: {ADMIN}\n"))], ADMIN, Some(": "), 0);
        check(&[("mapUsers", &format!("- userarn: {ADMIN}\n  username:\n  groups: [a]\n"))], ADMIN, Some(": a"), 0);
        check(&[("mapUsers", &format!("- userarn: {ADMIN}\n  username: ''\n"))], ADMIN, Some(": "), 0);
        check(&[("mapUsers", &format!("{user}{}", " ".repeat(MAX_AWS_AUTH_BYTES)))], ADMIN, None, 1);
        let broken = AwsAuth { map_roles: "- username: x\n".to_owned(), ..AwsAuth::default() };
        let error = broken.errors()[0].to_string();
        assert_eq!(error, "aws-auth: item 0 of mapRoles is left out: it has no rolearn");
    }

    #[test]
    fn accounts_keep_their_digits() {
        let accounts = |text| parse(&[("mapAccounts", text)]).accounts.into_iter().collect::<Vec<_>>();
        assert_eq!(accounts("- 555555555555\n- \"111122223333\"\n"), ["111122223333", "555555555555"]);
        assert_eq!(accounts("- 012345670123\n- {a: b}\n- 000000000001\n"), ["000000000001", "012345670123"]);
    }
}
