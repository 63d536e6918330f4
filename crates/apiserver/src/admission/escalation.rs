//! Nobody grants what they do not have (upstream `registry/rbac/*/policybased`).

use std::cell::RefCell;

use k8s_auth::EscalationError;
use k8s_auth::rbac::{GROUP, check_binding, check_role};
use k8s_object::ApiError;
use k8s_object::views::{PolicyRule, RoleRef};
use serde_json::Value;

use super::asks::{Ask, Question};
use super::{Review, Said};
use crate::metadata;
use crate::ports::Decision;

pub(super) fn judge(review: &Review<'_, '_>, object: &Value, said: &mut Said) -> Result<(), ApiError> {
    let call = review.call;
    if call.resource.group != GROUP {
        return Ok(());
    }
    // What does not touch the rules or the role grants nothing.
    let grants = |object: &Value| {
        (
            object["rules"].clone(),
            object["aggregationRule"].clone(),
            object["subjects"].clone(),
            object["roleRef"].clone(),
        )
    };
    if review.old.is_some_and(|old| grants(old) == grants(object)) {
        return Ok(());
    }
    let (namespace, name) = (metadata::text(object, "namespace"), metadata::text(object, "name"));
    let rbac = call.core.auth.rbac();
    let (webhooks, asked) = (call.core.auth.has_webhooks(), RefCell::new(Vec::new()));
    let ask = |attributes: &k8s_auth::Attributes<'_>| {
        if webhooks {
            asked.borrow_mut().push(Question::of(attributes));
            return false;
        }
        matches!(call.core.auth.decide_with(call.core, &rbac, attributes), Decision::Allow(_))
    };
    let checked = match call.resource.plural.as_str() {
        "clusterroles" | "roles" => {
            // The schema has let the rules through, so they can be read; were they not, nothing would be granted.
            let rules: Vec<PolicyRule> = serde_json::from_value(object["rules"].clone()).unwrap_or_default();
            let gathers = |object: &Value| {
                let selectors = object["aggregationRule"]["clusterRoleSelectors"].as_array();
                selectors.is_some_and(|selectors| !selectors.is_empty())
            };
            let gathers = gathers(object) || review.old.is_some_and(gathers);
            check_role(&rbac, call.user, (namespace, &call.request.name), &rules, gathers, ask)
        }
        "clusterrolebindings" | "rolebindings" => {
            let role: RoleRef = serde_json::from_value(object["roleRef"].clone()).unwrap_or_default();
            check_binding(&rbac, call.user, namespace, &role, ask)
        }
        _ => Ok(()),
    };
    let refusal = match checked {
        Ok(()) => return Ok(()),
        Err(EscalationError::NotHeld(why)) => call.resource.forbidden(name, &why),
        Err(EscalationError::NoRole { resource, name }) => ApiError::not_found(GROUP, resource, &name),
    };
    let one_of = asked.take();
    if one_of.is_empty() {
        return Err(refusal);
    }
    said.asks.push(Ask { one_of, refusal });
    Ok(())
}
