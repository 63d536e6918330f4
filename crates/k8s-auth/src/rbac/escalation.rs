//! Nobody grants what they do not have (rbac `policybased` storage): checked when roles and bindings are written.

use k8s_object::UserInfo;
use k8s_object::views::{PolicyRule, RoleRef};

use super::covers::{covers, quoted, rule_text};
use super::{GROUP, PRIVILEGED_GROUP, RbacIndex};
use crate::Attributes;

/// Somebody tries to grant more than they have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EscalationError {
    /// Upstream's message: who, and which permissions are not held.
    pub message: String,
}

/// Before a Role or ClusterRole (in no namespace) with these rules is written. `authorize` asks all authorizers: the verb
/// `escalate` lifts the rule.
pub fn check_role(
    index: &RbacIndex,
    user: &UserInfo,
    namespace: &str,
    name: &str,
    rules: &[PolicyRule],
    authorize: impl Fn(&Attributes<'_>) -> bool,
) -> Result<(), EscalationError> {
    let resource = if namespace.is_empty() { "clusterroles" } else { "roles" };
    let ask = Attributes { namespace, name, ..Attributes::resource(user, "escalate", GROUP, resource) };
    if user.in_group(PRIVILEGED_GROUP) || authorize(&ask) {
        return Ok(());
    }
    confirm(index, user, namespace, rules)
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
    let ask = Attributes { namespace, name: &role.name, ..Attributes::resource(user, "bind", GROUP, resource) };
    if user.in_group(PRIVILEGED_GROUP) || authorize(&ask) {
        return Ok(());
    }
    let Some(known) = index.role(role_namespace, &role.name) else {
        let message = format!("{resource}.{GROUP} {:?} not found", role.name);
        return Err(EscalationError { message });
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
    Err(EscalationError { message })
}
