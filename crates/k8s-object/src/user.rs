//! Who makes a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An authenticated user, as `authentication.k8s.io` writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserInfo {
    /// The name that authorization and audit see.
    pub username: String,
    /// Tells two users of one name apart; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Groups, `system:authenticated` among them for everybody who proved who they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What the authenticator adds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// The name of everybody who did not prove who they are.
    pub const ANONYMOUS: &'static str = "system:anonymous";
    /// The group of everybody who proved who they are.
    pub const AUTHENTICATED: &'static str = "system:authenticated";
    /// The group of everybody who did not.
    pub const UNAUTHENTICATED: &'static str = "system:unauthenticated";

    /// A user of these groups and of `system:authenticated`.
    pub fn new(username: impl Into<String>, groups: &[&str]) -> UserInfo {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        groups.push(Self::AUTHENTICATED.to_owned());
        UserInfo { username: username.into(), groups, ..UserInfo::default() }
    }

    /// Adds the group of everybody who proved who they are, unless the user is a stranger.
    pub fn add_authenticated(&mut self) {
        let special = [Self::AUTHENTICATED, Self::UNAUTHENTICATED];
        if self.username != Self::ANONYMOUS && !self.groups.iter().any(|group| special.contains(&group.as_str())) {
            self.groups.push(Self::AUTHENTICATED.to_owned());
        }
    }

    /// `system:anonymous`.
    pub fn anonymous() -> UserInfo {
        UserInfo {
            username: Self::ANONYMOUS.to_owned(),
            groups: vec![Self::UNAUTHENTICATED.to_owned()],
            ..UserInfo::default()
        }
    }

    /// The user that a ServiceAccount's token stands for.
    pub fn service_account(namespace: &str, name: &str) -> UserInfo {
        UserInfo::new(
            format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")],
        )
    }

    /// Whether the user is in `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}
