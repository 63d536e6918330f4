//! Nobody grants what they do not have (rbac `policybased` storage): checked when roles and bindings are written.

use k8s_object::UserInfo;
use k8s_object::views::{PolicyRule, RoleRef};

use super::covers::{covers, quoted, rule_text};
use super::{GROUP, PRIVILEGED_GROUP, RbacIndex};
use crate::Attributes;

/// Why a role or binding may not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EscalationError {
    /// Somebody tries to grant more than they have, in upstream's words: who, and which permissions are not held.
    #[error("{0}")]
    NotHeld(String),
    /// The role that a binding names is not there, by its plural resource and name.
    #[error("{resource}.{GROUP} {name:?} not found")]
    NoRole { resource: &'static str, name: String },
}

/// Before a Role or ClusterRole (in no namespace) with these rules is written; `gathers` says whether it is or was one that gathers
/// others' rules. `name` is that of the request, which a new role does not have. `authorize` asks all authorizers: the verb `escalate`
/// lifts the rule.
pub fn check_role(
    index: &RbacIndex,
    user: &UserInfo,
    (namespace, name): (&str, &str),
    rules: &[PolicyRule],
    gathers: bool,
    authorize: impl Fn(&Attributes<'_>) -> bool,
) -> Result<(), EscalationError> {
    let resource = if namespace.is_empty() { "clusterroles" } else { "roles" };
    let ask = Attributes { version: "*", namespace, name, ..Attributes::resource(user, "escalate", GROUP, resource) };
    if user.in_group(PRIVILEGED_GROUP) || authorize(&ask) {
        return Ok(());
    }
    confirm(index, user, namespace, rules)?;
    // It may gather anything.
    if gathers && confirm(index, user, namespace, &everything()).is_err() {
        let message = "must have cluster-admin privileges to use the aggregationRule";
        return Err(EscalationError::NotHeld(message.to_owned()));
    }
    Ok(())
}

fn everything() -> [PolicyRule; 2] {
    let any = || vec!["*".to_owned()];
    let resources = PolicyRule { verbs: any(), api_groups: any(), resources: any(), ..PolicyRule::default() };
    [resources, PolicyRule { verbs: any(), non_resource_urls: any(), ..PolicyRule::default() }]
}

/// Before a RoleBinding or ClusterRoleBinding (in no namespace) to that role is written. The verb `bind` lifts the rule.
pub fn check_binding(
    index: &RbacIndex,
    user: &UserInfo,
    namespace: &str,
    role: &RoleRef,
    authorize: impl Fn(&Attributes<'_>) -> bool,
) -> Result<(), EscalationError> {
    let (resource, role_namespace) = if role.kind == "Role" { ("roles", namespace) } else { ("clusterroles", "") };
    let ask =
        Attributes { version: "*", namespace, name: &role.name, ..Attributes::resource(user, "bind", GROUP, resource) };
    if user.in_group(PRIVILEGED_GROUP) || authorize(&ask) {
        return Ok(());
    }
    let Some(known) = index.role(role_namespace, &role.name) else {
        return Err(EscalationError::NoRole { resource, name: role.name.clone() });
    };
    confirm(index, user, namespace, &known.rules)
}

fn confirm(index: &RbacIndex, user: &UserInfo, namespace: &str, rules: &[PolicyRule]) -> Result<(), EscalationError> {
    let owned = index.rules_for(user, namespace);
    let missing = covers(&owned.rules, rules);
    if missing.is_empty() {
        return Ok(());
    }
    let mut texts: Vec<String> = missing.iter().map(rule_text).collect();
    texts.sort();
    texts.dedup();
    let mut message = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.username,
        quoted(&user.groups),
        texts.join("\n")
    );
    if !owned.missing.is_empty() {
        message.push_str(&format!("; resolution errors: [{}]", owned.missing.join(", ")));
    }
    Err(EscalationError::NotHeld(message))
}
